"""Loopback listeners whose connections can be cut at will."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Self

LOOPBACK = "127.0.0.1"
_CHUNK = 65536


class Listener:
    """Accepts on a free port of loopback; runs `serve(connection)` in a thread for each connection.

    Leaving the context cuts every connection and returns when every thread has ended. With `tls`
    the connections are TLS, and a client that fails the handshake is dropped without a word.
    """

    def __init__(self, serve: Callable[[socket.socket], None], *, tls: ssl.SSLContext | None = None) -> None:
        self._serve = serve
        self._tls = tls
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._stopping = False
        self._socket = socket.create_server((LOOPBACK, 0))
        self.port: int = self._socket.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, name=f"listener-{self.port}")

    def __enter__(self) -> Self:
        self._acceptor.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._stopping = True
        # A connection of our own wakes the blocked accept() on every platform; closing the socket
        # under it does so on none for certain.
        socket.create_connection((LOOPBACK, self.port)).close()
        self._acceptor.join()
        self._socket.close()
        with self._lock:
            for connection in self._open:
                cut(connection)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            send_at_once(connection)
            with self._lock:
                if self._stopping:
                    connection.close()
                    return
                if self._tls is not None:
                    connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
                self._open.add(connection)
                thread = threading.Thread(target=self._run, args=(connection,))
                self._threads.append(thread)
            thread.start()

    def _run(self, connection: socket.socket) -> None:
        try:
            # The client's going away in the middle is its right, and no fault of a fake.
            with contextlib.suppress(OSError):
                if isinstance(connection, ssl.SSLSocket):
                    connection.do_handshake()
                self._serve(connection)
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()


class Relay:
    """A port of loopback in front of another one: what arrives goes on, until it is cut."""

    def __init__(self, target: int) -> None:
        """Relay to port `target` of loopback."""
        self._target = target
        self._lock = threading.Lock()
        self._clients: dict[int, socket.socket] = {}
        self._listener = Listener(self._relay)
        self.port = self._listener.port

    def __enter__(self) -> Self:
        self._listener.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._listener.__exit__(*exception)

    def cut(self, source: int) -> None:
        """Cut the client whose data reach the target from port `source` of loopback."""
        with self._lock:
            cut(self._clients[source])

    def _relay(self, client: socket.socket) -> None:
        with socket.create_connection((LOOPBACK, self._target)) as upstream:
            send_at_once(upstream)
            source = upstream.getsockname()[1]
            with self._lock:
                self._clients[source] = client
            try:
                splice(client, upstream)
            finally:
                with self._lock:
                    del self._clients[source]


def splice(left: socket.socket, right: socket.socket) -> None:
    """Copy bytes both ways between two sockets until both directions have ended."""
    back = threading.Thread(target=_pump, args=(right, left))
    back.start()
    _pump(left, right)
    back.join()


def cut(connection: socket.socket) -> None:
    """End a connection both ways at once; whoever is blocked on it wakes up."""
    with contextlib.suppress(OSError):
        # Past SSLSocket.shutdown, which would drop the TLS state under another thread's read.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


def send_at_once(connection: socket.socket) -> None:
    """Let no small answer wait for the far side's acknowledgement of the one before it, which takes 40 ms."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(_CHUNK):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        cut(source)
        cut(sink)
