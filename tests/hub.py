"""A small hub on 127.0.0.1: as much of the Hugging Face Hub's HTTP interface as huggingface_hub and datasets use.

Takes a folder `{models,datasets}/<org>/<name>/<revision>/…` and serves what lies there; `Hub.faults` makes it
misbehave on demand. Exists because no test reaches the real hub, and what is tested is the real loading code.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

LARGE = {".parquet", ".safetensors", ".gz", ".jsonl"}  # what the real hub would keep in LFS, with a sha256
ROUTE = re.compile(
    r"/(?:api/)?(?:(?P<kind>models|datasets|spaces)/)?(?P<name>[\w.-]+/[\w.-]+)"
    r"(?:/(?P<what>revision|tree|paths-info|resolve|refs)(?:/(?P<revision>[^/]+)(?:/(?P<path>.*))?)?)?/?\Z"
)
FaultKind = Literal["status", "cut", "stall", "wrong_bytes", "token", "gated"]


@dataclass
class Fault:
    """What goes wrong, for requests whose path contains `where`, `times` times."""

    kind: FaultKind
    where: str = ""
    times: int = 1
    status: int = 503
    headers: dict[str, str] = field(default_factory=dict)  # `status`: of the answer
    after_bytes: int = 100  # `cut`, `stall`: after so many bytes of the body the connection ends, or nothing comes


@dataclass
class Hub:
    """A running hub: where it is, what it serves, what it was asked."""

    folder: Path
    url: str = ""
    faults: list[Fault] = field(default_factory=list)
    requests: list[tuple[str, str, str]] = field(default_factory=list)  # method, path, Range
    own_etags: bool = False  # a mirror's: sha1 of the content, whatever the repository says of it
    lock: threading.Lock = field(default_factory=threading.Lock)
    closing: threading.Event = field(default_factory=threading.Event)

    def repository(self, kind: Literal["models", "datasets"], name: str, revision: str) -> Path:
        """The folder whose files are `name` at `revision`; made if need be."""
        path = self.folder / kind / name / urllib.parse.quote(revision, safe="")
        path.mkdir(parents=True, exist_ok=True)
        return path

    def environment(self, home: Path) -> dict[str, str]:
        """Environment variables that send the clients here."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_OFFLINE": "0",
            "HF_DATASETS_OFFLINE": "0",
            "NO_PROXY": "127.0.0.1",
        }

    def take_fault(self, *kinds: FaultKind, path: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.kind in kinds and fault.where in path and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None

    def asked(self, part: str, method: str = "GET") -> int:
        """How many requests of a method had `part` in their path."""
        with self.lock:
            return sum(part in path and method == how for how, path, _ in self.requests)


@contextmanager
def small_hub(folder: Path) -> Iterator[Hub]:
    """Serve `folder` on a free port of 127.0.0.1 while the block runs."""
    hub = Hub(folder)

    class Handler(_Handler):
        the_hub = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    the_hub: Hub

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: `Hub.requests` keeps what was asked."""

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_POST(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        hub = self.the_hub
        url = urllib.parse.urlsplit(self.path)
        path = urllib.parse.unquote(url.path)
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with hub.lock:
            hub.requests.append((self.command, path, self.headers.get("Range", "")))
        if fault := hub.take_fault("status", path=path):
            return self._fail(fault.status, None, f"told to answer {fault.status}", fault.headers)
        if "Bearer " not in self.headers.get("Authorization", ""):
            if hub.take_fault("token", path=path):
                return self._fail(401, None, "Invalid username or password.")
            if hub.take_fault("gated", path=path):
                return self._fail(403, "GatedRepo", "Access to this repository is restricted.")
        if not (match := ROUTE.match(url.path)):
            return self._fail(404, "RepoNotFound", "no such route")
        kind = "datasets" if match["kind"] == "datasets" else "models"
        revisions = hub.folder / kind / match["name"]
        if not revisions.is_dir():
            return self._fail(404, "RepoNotFound", "Repository not found")
        if match["what"] == "refs":
            return self._json({"branches": [], "converts": [], "tags": []})
        revision = urllib.parse.unquote(match["revision"] or "main")
        below = urllib.parse.unquote(match["path"] or "")
        known = sorted(urllib.parse.unquote(p.name) for p in revisions.iterdir())
        if revision == "main" and revision not in known:
            revision = known[-1]
        if revision not in known:
            return self._fail(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        root = revisions / urllib.parse.quote(revision, safe="")
        if match["what"] == "resolve":
            return self._file(root / below, root, revision, path, body)
        if match["what"] == "tree":
            recursive = urllib.parse.parse_qs(url.query).get("recursive", ["false"])[0].lower() in ("1", "true")
            return self._tree(root, below, recursive)
        if match["what"] == "paths-info":
            asked = _asked_paths(sent, self.headers.get("Content-Type", ""))
            return self._json([_entry(root / p, root) for p in asked if (root / p).exists()])
        return self._json(
            {
                "_id": "0" * 24,
                "id": match["name"],
                "modelId": match["name"],
                "sha": revision,
                "private": False,
                "disabled": False,
                "gated": False,
                "downloads": 0,
                "likes": 0,
                "tags": [],
                "lastModified": "2024-01-01T00:00:00.000Z",
                "createdAt": "2024-01-01T00:00:00.000Z",
                "siblings": [_sibling(p, root) for p in _files(root)],
            }
        )

    def _tree(self, root: Path, below: str, recursive: bool) -> None:
        folder = root / below
        if not folder.is_dir():
            return self._fail(404, "EntryNotFound", f"{below} does not exist")
        found = sorted(folder.rglob("*") if recursive else folder.iterdir())
        return self._json([_entry(p, root) for p in found])

    def _file(self, file: Path, root: Path, revision: str, path: str, body: bool) -> None:
        if not file.is_file():
            return self._fail(404, "EntryNotFound", f"{file.name} does not exist", {"X-Repo-Commit": revision})
        content = file.read_bytes()
        entry = _entry(file, root)
        etag = entry["lfs"]["oid"] if "lfs" in entry else entry["oid"]
        if self.the_hub.own_etags:
            etag = hashlib.sha1(content, usedforsecurity=False).hexdigest()
        ranged = "Range" in self.headers  # datasets peeks at the end of a parquet file before it fetches it
        if body and not ranged and self.the_hub.take_fault("wrong_bytes", path=path):
            middle = len(content) // 2
            content = content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]
        start, end = 0, len(content)
        if asked := re.match(r"bytes=(\d+)-(\d*)\Z", self.headers.get("Range", "")):
            start = int(asked[1])
            end = min(end, int(asked[2]) + 1) if asked[2] else end
            if start >= len(content):
                return self._fail(416, None, "beyond the end")
        self.send_response(206 if asked else 200)
        self.send_header("ETag", f'"{etag}"')
        self.send_header("X-Repo-Commit", revision)
        self.send_header("X-Linked-Etag", f'"{etag}"')
        self.send_header("X-Linked-Size", str(len(content)))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(end - start))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(content)}")
        self.end_headers()
        if not body:
            return None
        if cut := self.the_hub.take_fault("cut", path=path):
            self.wfile.write(content[start:end][: cut.after_bytes])
            self.close_connection = True
            return None
        if stall := self.the_hub.take_fault("stall", path=path):
            self.wfile.write(content[start:end][: stall.after_bytes])
            self.wfile.flush()
            self.the_hub.closing.wait(60)
            self.close_connection = True
            return None
        self.wfile.write(content[start:end])
        return None

    def _json(self, content: Any) -> None:
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _fail(self, status: int, code: str | None, message: str, extra: dict[str, str] | None = None) -> None:
        data = json.dumps({"error": message}).encode()
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", message)
        for name, value in (extra or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _asked_paths(sent: bytes, content_type: str) -> list[str]:
    if "json" in content_type:
        return list(json.loads(sent)["paths"])
    return urllib.parse.parse_qs(sent.decode()).get("paths", [])


def _files(root: Path) -> list[Path]:
    return sorted(p for p in root.rglob("*") if p.is_file())


_DIGESTS: dict[tuple[str, int, int], tuple[str, str]] = {}


def _digests(file: Path) -> tuple[str, str]:
    """(sha256, git's blob id), remembered while the file stays as it is."""
    key = (str(file), file.stat().st_size, file.stat().st_mtime_ns)
    if key not in _DIGESTS:
        content = file.read_bytes()
        git = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
        _DIGESTS[key] = (hashlib.sha256(content).hexdigest(), git)
    return _DIGESTS[key]


def _entry(path: Path, root: Path) -> dict[str, Any]:
    """A file or folder as `tree` and `paths-info` describe it."""
    name = path.relative_to(root).as_posix()
    if path.is_dir():
        return {
            "type": "directory",
            "oid": hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest(),
            "size": 0,
            "path": name,
        }
    sha256, git = _digests(path)
    size = path.stat().st_size
    entry: dict[str, Any] = {"type": "file", "oid": git, "size": size, "path": name}
    if path.suffix in LARGE:
        entry["lfs"] = {"oid": sha256, "size": size, "pointerSize": 130}
    return entry


def _sibling(path: Path, root: Path) -> dict[str, Any]:
    """A file as the repository's own page describes it, with `?blobs=true`."""
    sha256, git = _digests(path)
    size = path.stat().st_size
    sibling: dict[str, Any] = {"rfilename": path.relative_to(root).as_posix(), "size": size, "blobId": git}
    if path.suffix in LARGE:
        sibling["lfs"] = {"sha256": sha256, "size": size, "pointerSize": 130}
    return sibling


def copy_into(repository: Path, files: dict[str, Path]) -> None:
    """Put files of this machine into a repository under the paths given."""
    for name, source in files.items():
        target = repository / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
