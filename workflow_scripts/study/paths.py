"""What is at a path that a study names: nothing, where the name is too long to be one; a file; a folder, and the files in it.

Takes a path as the configuration has it; leaves whether there is something, a file or a folder, or the files of a folder.
`pathlib` raises OSError for a name of more than 255 bytes, and its `rglob` enters no link to a folder.
"""

from __future__ import annotations

import os
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


def files_below(folder: Path, hidden: tuple[str, ...] = (".",)) -> list[Path]:
    """The files in a folder and below, sorted, but those whose name, or a folder's between, begins with one of `hidden`. Links
    to folders are followed, and each folder is read once: by its own name where it lies in `folder` itself. Raises OSError."""
    root = folder.resolve()
    seen, found = {root}, []
    for place, folders, files in os.walk(folder, onerror=_raise, followlinks=True):
        found += [Path(place, name) for name in files if not name.startswith(hidden)]
        below = [Path(place, name) for name in folders if not name.startswith(hidden)]
        folders.clear()
        for path in sorted(below, key=lambda path: (path.is_symlink(), path)):
            target = path.resolve()
            if target not in seen and not (path.is_symlink() and _is_read_already(target, root, hidden)):
                seen.add(target)
                folders.append(path.name)
    return sorted(path for path in found if path.is_file())


def _raise(error: OSError) -> None:
    raise error


def _is_read_already(target: Path, root: Path, hidden: tuple[str, ...]) -> bool:
    """Whether a link's target is in the root, and not hidden there; or the root in it."""
    if target.is_relative_to(root):
        return not any(part.startswith(hidden) for part in target.relative_to(root).parts)
    return root.is_relative_to(target)
