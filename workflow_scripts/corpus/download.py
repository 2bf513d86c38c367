"""Download MEDI (or another hub data set of pairs) at its pinned revision.

Takes `--settings '{"repository": "org/name@revision"}'` and the hub; leaves the data files in `files/` beside
`source.json` (repository, revision, and size and checksum of each file) and `source.sha256`. Exists as
its own step so that the one thing that needs the network is the one thing that runs where there is one.
"""

from __future__ import annotations

import time
from pathlib import Path

from workflow_scripts.artefact import exclusive_lock, log, versions, write_digests, write_json
from workflow_scripts.command_line import InputError, Settings, parse_settings, parser, run
from workflow_scripts.hub.client import download_snapshot
from workflow_scripts.study.references import HUB_REFERENCE

# What pairs come in, in any of the published layouts; README and scripts stay where they are.
PATTERNS = ("*.parquet", "*.json", "*.jsonl", "*.json.gz", "*.jsonl.gz", "*.arrow")


class DownloadSettings(Settings):
    repository: str


def download(settings: DownloadSettings, manifest: Path) -> None:
    """Leave the data set's files in the manifest's folder, and the manifest last. Raises InputError."""
    if not (match := HUB_REFERENCE.match(settings.repository)):
        raise InputError(f"corpus.repository: {settings.repository!r}; expected org/name@revision")
    folder, started = manifest.parent, time.monotonic()
    with exclusive_lock(folder / "source"):
        for old in (manifest, manifest.with_suffix(".sha256")):
            old.unlink(missing_ok=True)  # they would vouch for files that are about to change
        snapshot = download_snapshot(match["repo"], match["revision"], folder / "files", "dataset", PATTERNS)
        files = snapshot.files
        write_json(
            manifest,
            {
                "repository": match["repo"],
                "revision": snapshot.commit,
                "files": [{"path": f"files/{f.path}", "bytes": f.size, "sha256": f.sha256} for f in files],
                "seconds": round(time.monotonic() - started, 1),
                "versions": versions("huggingface_hub"),
            },
        )
        write_digests(manifest.with_suffix(".sha256"), [folder / "files" / f.path for f in files])
    log.info("%s: %d files, %d bytes", settings.repository, len(files), sum(f.size for f in files))


def main() -> None:
    command = parser(__doc__, '{"repository": "org/name@revision"}')
    command.add_argument("--output", required=True, type=Path, help="source.json; the data lie in files/ beside it")
    arguments = command.parse_args()
    download(parse_settings(DownloadSettings, arguments.settings), arguments.output)


if __name__ == "__main__":
    run(main)
