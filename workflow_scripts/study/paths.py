"""What is at a path that a study names: nothing, where the name is too long to be one.

Takes a path as the configuration has it; leaves whether there is something, a file or a folder. `pathlib` raises OSError
for a name of more than 255 bytes.
"""

from __future__ import annotations

from pathlib import Path


def exists(path: str | Path) -> bool:
    """Whether there is something at `path`."""
    try:
        return Path(path).exists()
    except OSError:
        return False


def is_file(path: str | Path) -> bool:
    """Whether there is a file at `path`."""
    return exists(path) and Path(path).is_file()


def is_folder(path: str | Path) -> bool:
    """Whether there is a folder at `path`."""
    return exists(path) and Path(path).is_dir()
