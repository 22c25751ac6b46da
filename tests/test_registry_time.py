"""One image registry on loopback: what an answer is taken for, and that a question ends by the time it is given."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator

import pytest

from clock import FakeClock
from run_kfp.image_reference import parse_image
from run_kfp.preflight.images import registry_api
from run_kfp.preflight.images.registry_api import (
    DOCKER_MANIFEST,
    Denied,
    Found,
    Missing,
    RegistryClient,
    Unreachable,
)

MANIFEST = json.dumps({"schemaVersion": 2, "mediaType": DOCKER_MANIFEST}).encode()
DIGEST = f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}"


class Registry:
    """A server that gives every question the same answer."""

    def __init__(self) -> None:
        self.status, self.body, self.digest = 200, MANIFEST, DIGEST
        self.asked: list[str] = []
        registry = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry.asked.append(self.path)
                self.send_response(registry.status)
                self.send_header("Content-Length", str(len(registry.body)))
                self.send_header("Content-Type", DOCKER_MANIFEST)
                self.send_header("Docker-Content-Digest", registry.digest)
                self.end_headers()
                self.wfile.write(registry.body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def client(self, clock: FakeClock, seconds: float = 5.0) -> RegistryClient:
        """A client that has so many seconds."""
        image = parse_image(f"127.0.0.1:{self.server.server_address[1]}/team/image")
        return RegistryClient(image, logins=list, deadline=clock.now + seconds, clock=clock)


@pytest.fixture
def registry() -> Iterator[Registry]:
    made = Registry()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def test_a_manifest_comes_with_its_digest(registry: Registry) -> None:
    with registry.client(FakeClock()) as client:
        assert client.manifest("v1") == Found(DIGEST, DOCKER_MANIFEST, json.loads(MANIFEST))
        assert client.manifest(DIGEST) == Found(DIGEST, DOCKER_MANIFEST, json.loads(MANIFEST))

    assert registry.asked == ["/v2/team/image/manifests/v1", f"/v2/team/image/manifests/{DIGEST}"]


def test_without_time_nobody_is_asked(registry: Registry) -> None:
    with registry.client(FakeClock(), 0) as client:
        answer = client.manifest("v1")

    assert isinstance(answer, Unreachable)
    assert "did not answer in time" in answer.words
    assert registry.asked == []


def test_an_answer_that_goes_on_after_the_time_is_given_up(registry: Registry) -> None:
    class Hurries(FakeClock):
        def __call__(self) -> float:
            self.now += 3
            return self.now

    with registry.client(Hurries()) as client:
        answer = client.manifest("v1")

    assert isinstance(answer, Unreachable)
    assert "did not answer in time" in answer.words
    assert len(registry.asked) == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [(403, Denied), (404, Missing), (429, Unreachable), (500, Unreachable), (204, Unreachable)],
)
def test_a_refusal_is_what_its_status_says(registry: Registry, status: int, kind: type[object]) -> None:
    registry.status = status
    registry.body = b"" if status == 204 else b"{}"

    with registry.client(FakeClock()) as client:
        assert isinstance(client.manifest("v1"), kind)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"<html>"])
def test_an_answer_that_is_no_document_is_none(registry: Registry, body: bytes) -> None:
    registry.body = body

    with registry.client(FakeClock()) as client:
        assert isinstance(client.manifest("v1"), Unreachable)


def test_content_of_another_digest_is_refused(registry: Registry) -> None:
    registry.body = MANIFEST + b" "

    with registry.client(FakeClock()) as client:
        answer = client.manifest("v1")

    assert isinstance(answer, Unreachable)
    assert "other content" in answer.words


@pytest.mark.parametrize(("largest", "kind"), [(len(MANIFEST), Found), (len(MANIFEST) - 1, Unreachable)])
def test_a_document_has_a_largest_size(
    registry: Registry, largest: int, kind: type[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_api, "_LARGEST", largest)

    with registry.client(FakeClock()) as client:
        assert isinstance(client.manifest("v1"), kind)
