"""Node-local copies of what a job reads over and over, where the file system that nodes share is slow for that.

Takes a file and one beside it; leaves copies in a folder of its own below `$TMPDIR` while a block runs. The cluster's
profile says which rules do so (`scratch: 1`); without it, the files are read where they are.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from workflow_scripts.artefact import log, temporary_folder

SPARE = 1.1  # of the room that the copies take must be free


@contextlib.contextmanager
def staged_copy(path: Path, beside: str, copy: bool) -> Iterator[Path]:
    """`path` itself; or with `copy` a copy of it, with a copy of its neighbour `beside`, until the block ends.

    Where `$TMPDIR` has no room for them, the log says so and `path` itself is given.
    """
    files = [path, path.with_name(beside)]
    scratch = Path(tempfile.gettempdir())  # $TMPDIR, where it is set
    if not copy:
        yield path
        return
    size = sum(file.stat().st_size for file in files)
    free = shutil.disk_usage(scratch).free
    if free < SPARE * size:
        log.info("%s: %.1f GB do not fit into %s (%.1f GB free); read in place", path, size / 1e9, scratch, free / 1e9)
        yield path
        return
    with temporary_folder(scratch / "matryoshka") as folder:
        for file in files:
            shutil.copyfile(file, folder / file.name)
        log.info("%s: read from a copy in %s (%.2f GB)", path.with_name(beside), folder, size / 1e9)
        yield folder / path.name
