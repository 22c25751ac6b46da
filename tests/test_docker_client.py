"""What is said of a Docker Engine that refuses something or that does not answer: the system's words, no library's."""

from __future__ import annotations

import gc
import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import APIError, DockerException

from run_kfp.backends.local.docker_client import WAYS_OUT, engine_error, pull_hint, words_of

HOST = "check the host in its name, and the network and proxy of the Docker Engine"
LOGIN = "check its name and `docker login`"
NAME = "check its name and tag"
TRUST = "let the Docker Engine trust its registry (certs.d, or insecure-registries)"


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("Get https://quai.io/v2/: dial tcp: lookup quai.io on 127.0.0.53:53: no such host", HOST),
        ("Get https://quai.io/v2/: dial tcp: lookup quai.io: Temporary failure in name resolution", HOST),
        ("Get https://a.io/v2/: dial tcp: lookup a.io on 10.0.0.2:53: server misbehaving", HOST),
        ("Get http://127.0.0.1:9/v2/: dial tcp 127.0.0.1:9: connect: connection refused", HOST),
        ("Get https://a.io/v2/: net/http: TLS handshake timeout", HOST),
        ("Get https://a.io/v2/: context deadline exceeded", HOST),
        ("Get https://a.io/v2/: proxyconnect tcp: EOF", HOST),
        ("Get https://a.io/v2/: x509: certificate signed by unknown authority", TRUST),
        ("Get https://a.io/v2/: http: server gave HTTP response to HTTPS client", TRUST),
        ("pull access denied for a/b, repository does not exist or may require 'docker login': denied", LOGIN),
        ("Head https://a.io/v2/b/manifests/1: unauthorized: authentication required", LOGIN),
        ("Head https://a.io/v2/b/manifests/1: no basic auth credentials", LOGIN),
        ("manifest for a/b:c not found: manifest unknown: manifest unknown", NAME),
    ],
)
def test_a_pull_that_failed_has_the_next_step_of_its_cause(said: str, hint: str) -> None:
    assert pull_hint(said, always=False) == hint
    assert pull_hint(said, always=True) == f"{hint}; an image that is only on this machine requires --pull missing"


# docker-py leaves the socket of a connection that fails to the garbage collector.
UNCLOSED = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


def failed(call: Callable[[], Any]) -> Exception:
    try:
        call()
    except (DockerException, OSError) as error:
        found: Exception = error
        return found
    raise AssertionError("it did not fail")


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[str]:
    """An Engine that takes a request and does not answer; with "cut" in its path it closes the connection."""
    with closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind(str(tmp_path / "docker.sock"))
        listening.listen()

        def serve() -> None:
            with ExitStack() as kept:
                while True:
                    try:
                        connection, _ = listening.accept()
                    except OSError:
                        return
                    kept.enter_context(connection)
                    if b"/cut/" in connection.recv(65536):
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
                        connection.close()

        server = threading.Thread(target=serve, daemon=True)
        server.start()
        yield f"unix://{tmp_path}/docker.sock"
        listening.shutdown(socket.SHUT_RDWR)
        server.join()


@UNCLOSED
def test_a_connection_that_fails_is_told_in_the_words_of_the_system(tmp_path: Path, silent: str) -> None:
    def client(url: str, **more: Any) -> Any:
        return docker.APIClient(version="1.41", base_url=url, **more)

    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    errors = {
        "No such file or directory": failed(lambda: docker.APIClient(version="auto", base_url=f"unix://{tmp_path}/no")),
        "Connection refused": failed(lambda: client(nobody).info()),
        "no answer in time": failed(lambda: client(silent, timeout=0.1).info()),
        "the connection was closed": failed(lambda: client(silent).inspect_image("cut")),
    }

    assert {words: words_of(error) for words, error in errors.items()} == {words: words for words in errors}
    told = engine_error(errors.pop("Connection refused"))
    assert (told.message, told.hint) == ("the Docker Engine no longer answers: Connection refused", WAYS_OUT)
    errors.clear()
    gc.collect()


def test_what_the_engine_says_is_on_one_line() -> None:
    refused = APIError("500 Server Error", explanation="cannot do that:\n  no space.\n")

    assert words_of(refused) == "cannot do that: no space"
    assert words_of(APIError("a pull that ended")) == "a pull that ended"
    no_driver = 'could not select device driver "" with capabilities: [[gpu]]'
    assert words_of(APIError("500", explanation=no_driver)) == "this Engine has no GPUs"
    assert (engine_error(refused).message, engine_error(refused).hint) == (
        "the Docker Engine refused: cannot do that: no space",
        "",
    )
    assert words_of(DockerException("invalid address.")) == "invalid address"
    assert words_of(http.client.RemoteDisconnected("Remote end closed connection")) == "the connection was closed"
