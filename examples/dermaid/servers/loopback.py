"""The HTTP server under both: starts in a thread, reads whole bodies, answers in one write."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MAX_BODY = 64 * 1024 * 1024
"""Bytes of one request. Everything of the example is far below."""


class BadRequestError(ValueError):
    """The client sent what the protocol does not allow; the text says what."""


class Handler(BaseHTTPRequestHandler):
    """HTTP/1.1 with bodies of a known length or in chunks."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave together: two small writes wait 40 ms for each other (Nagle, delayed ACK)

    def body(self) -> bytes:
        """The request's body.

        Raises:
            BadRequestError: it has no readable length, or is over MAX_BODY bytes.
        """
        coding = self.headers.get("Transfer-Encoding", "").lower()
        if coding not in ("", "chunked"):
            raise BadRequestError(f"Transfer-Encoding {coding!r} is not known")
        if coding == "chunked":
            parts: list[bytes] = []
            while size := self._length(self.rfile.readline().split(b";")[0].strip().decode(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
                self._length(str(sum(map(len, parts))), 10)
            while self.rfile.readline().strip():  # trailers
                pass
            return b"".join(parts)
        return self.rfile.read(self._length(self.headers.get("Content-Length") or "0", 10))

    @staticmethod
    def _length(text: str, base: int) -> int:
        try:
            length = int(text, base)
        except ValueError:
            raise BadRequestError(f"{text!r} is no length") from None
        if not 0 <= length <= MAX_BODY:
            raise BadRequestError(f"a body of {length} bytes; at most {MAX_BODY} are taken")
        return length

    def answer(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        """Send a whole answer; its Content-Length is that of `body`, which HEAD leaves out."""
        self.send_response(HTTPStatus(status))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the terminal belongs to the pipeline."""


class Server(ThreadingHTTPServer):
    """A server on a free port of `host`, with a thread for each connection."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, handler: type[Handler], host: str = "127.0.0.1") -> None:
        super().__init__((host, 0), handler)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no fault of the server; any other fault is shown."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]  # typeshed names socket types here

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Serve until the block ends; the port is closed then."""
        thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.shutdown()
            thread.join()
            self.server_close()
