"""An image registry on loopback, which an Engine asks without TLS: the part of its HTTP API that a pull needs."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


@dataclass
class ImageRegistry:
    """A running registry: its address, what it holds, and the paths that were asked for."""

    port: int = 0
    blobs: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    free: threading.Event = field(default_factory=threading.Event)
    """Until it is set, a blob stays away."""

    def __post_init__(self) -> None:
        self.free.set()

    def add(self, name: str, layer: bytes, *, architecture: str = "amd64", cmd: list[str]) -> str:
        """Hold an image of one layer (a tar) under `name:latest`; return the name to pull it by."""
        packed = self._blob(LAYER, gzip.compress(layer, mtime=0))
        config = {
            "architecture": architecture,
            "os": "linux",
            "config": {"Cmd": cmd},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
            "history": [{"created": "2026-01-01T00:00:00Z"}],
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self._blob(CONFIG, json.dumps(config).encode()),
            "layers": [packed],
        }
        self.tags[name] = str(self._blob(MANIFEST, json.dumps(manifest).encode())["digest"])
        return f"127.0.0.1:{self.port}/{name}"

    def _blob(self, kind: str, data: bytes) -> dict[str, object]:
        self.blobs[_digest(data)] = (kind, data)
        return {"mediaType": kind, "size": len(data), "digest": _digest(data)}

    def find(self, path: str) -> tuple[str, bytes] | None:
        """Return what lies at a path of the API: its media type and its bytes."""
        self.requests.append(path)
        if path == "/v2/":
            return "application/json", b"{}"
        name, _, reference = path.removeprefix("/v2/").partition("/manifests/")
        if not reference:
            self.free.wait(60)
            return self.blobs.get(path.rpartition("/")[2])
        return self.blobs.get(self.tags.get(name, "") if reference == "latest" else reference)


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@contextlib.contextmanager
def running_registry() -> Iterator[ImageRegistry]:
    """Start a registry on a free port of loopback, give it, stop it."""
    held = ImageRegistry()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            found = held.find(self.path)
            kind, data = found or ("application/json", b'{"errors": [{"code": "NOT_FOUND", "message": "not here"}]}')
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            if kind == MANIFEST:
                self.send_header("Docker-Content-Digest", _digest(data))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        held.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield held
        finally:
            held.free.set()
            server.shutdown()
            thread.join()
