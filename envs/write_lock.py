"""Write lock.txt and environment.yaml from what is installed here; `make lock` runs it in a fresh environment.

lock.txt is the one source of truth for versions; environment.yaml says the same to conda (`snakemake --sdm conda`),
which copies the file elsewhere before it reads it, so that it cannot point at lock.txt and must repeat it.
"""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

TOOLS = {"pip", "setuptools", "wheel"}
HEADER = "# Made by `make lock`; every version of the software environment stands here and nowhere else.\n"


def locked() -> list[str]:
    """`name==version` of every installed distribution, without local build tags such as +cpu."""
    found = {
        d.metadata["Name"].lower().replace("_", "-"): d.version.split("+")[0]
        for d in importlib.metadata.distributions()
    }
    return [f"{name}=={version}" for name, version in sorted(found.items()) if name not in TOOLS]


def environment(lock: str) -> str:
    """The conda environment with the lock's versions."""
    lines = [line for line in lock.splitlines() if line and not line.startswith("#")]
    pins = "".join(f"      - {line}\n" for line in lines)
    return f"{HEADER}channels:\n  - conda-forge\ndependencies:\n  - python=3.11\n  - pip\n  - pip:\n{pins}"


def main() -> None:
    folder = Path(sys.argv[1])
    lock = HEADER + "\n".join(locked()) + "\n"
    (folder / "lock.txt").write_text(lock)
    (folder / "environment.yaml").write_text(environment(lock))


if __name__ == "__main__":
    main()
