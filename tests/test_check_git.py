"""The Git remote of a step, against a real one (`git http-backend` behind a login) and a strict fake."""

from __future__ import annotations

import base64
import http.server
import secrets
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydantic import SecretStr

from example import GitServer, create_repository
from run_kfp.findings import Finding, Severity
from run_kfp.preflight.cloud.git import check_git

USER = "a-user"


@dataclass
class Remote:
    """A repository `data.git` behind a login."""

    host: str
    token: str

    @property
    def url(self) -> str:
        return f"http://{self.host}/data.git"

    @property
    def login(self) -> SecretStr:
        return SecretStr(f"https://{USER}:{self.token}")


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[Remote]:
    """A real one, with the tags dataset_v20 and dataset_v21 (annotated) and a branch main."""
    repository = tmp_path / "repositories" / "data.git"
    create_repository(repository)
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.test", "-C", str(repository)]
    for command in (["tag", "dataset_v20"], ["tag", "-a", "-m", "of May", "dataset_v21"]):
        subprocess.run(["git", *identity, *command, "main"], check=True, capture_output=True)
    token = secrets.token_urlsafe(24)
    server = GitServer(tmp_path / "repositories", USER, token)
    with server.running():
        yield Remote(f"127.0.0.1:{server.port}", token)


def check(remote: Remote, tag: str | None = "dataset_v22", *, makes_tag: bool = True, **other: object) -> list[Finding]:
    login = other.get("login", remote.login)
    assert login is None or isinstance(login, SecretStr)
    found = list(check_git(str(other.get("url", remote.url)), login, tag, makes_tag=makes_tag, seconds=10))
    assert remote.token not in repr(found)
    return found


@pytest.mark.parametrize(
    "form",
    ["https://{user}:{token}", "https://{user}:{token}@{host}", "https://{user}:{token}@{host}/", "{user}:{token}"],
)
def test_a_new_tag_and_a_login_of_any_form_are_fine(remote: Remote, form: str) -> None:
    login = SecretStr(form.format(user=USER, token=remote.token, host="127.0.0.1"))
    assert check(remote, login=login) == []


def test_a_tag_that_is_only_read_is_fine(remote: Remote) -> None:
    assert check(remote, "dataset_v21", makes_tag=False) == []
    assert check(remote, None, makes_tag=False) == []


@pytest.mark.failure("F38", "RK-GIT-LOGIN")
@pytest.mark.parametrize("makes_tag", [True, False])
def test_a_login_that_is_refused(remote: Remote, makes_tag: bool) -> None:
    wrong = secrets.token_urlsafe(24)
    (found,) = check(remote, makes_tag=makes_tag, login=SecretStr(f"https://{USER}:{wrong}"))
    assert (found.code, found.severity) == ("RK-GIT-LOGIN", Severity.ERROR)
    assert found.place == f"the Git remote {remote.url}"
    assert wrong not in repr(found)


def test_a_tag_that_is_taken(remote: Remote) -> None:
    (found,) = check(remote, "dataset_v21")
    assert (found.code, found.severity, found.place) == ("RK-GIT-TAG-TAKEN", Severity.ERROR, "-t")
    assert found.message == f"{remote.url} already has the tag dataset_v21; tags near it: dataset_v20"


def test_a_tag_that_is_not_there(remote: Remote) -> None:
    (found,) = check(remote, "dataset_v12", makes_tag=False)
    assert (found.code, found.severity) == ("RK-GIT-TAG-ABSENT", Severity.ERROR)
    assert "dataset_v21" in found.message
    assert "^{}" not in found.message


def test_a_branch_is_no_tag(remote: Remote) -> None:
    assert [found.code for found in check(remote, "main", makes_tag=False)] == ["RK-GIT-TAG-ABSENT"]


@pytest.mark.parametrize(
    "url", ["http://{host}/other.git", "http://127.0.0.1:9/x.git", "git@host:x.git", "http://[", ""]
)
def test_a_remote_that_cannot_be_looked_at_is_skipped(remote: Remote, url: str) -> None:
    assert [found.severity for found in check(remote, url=url.format(host=remote.host))] == [Severity.SKIPPED]


def test_without_a_login_a_private_remote_is_skipped(remote: Remote) -> None:
    (found,) = check(remote, login=None)
    assert (found.severity, found.message) == (Severity.SKIPPED, "it requires a login")


def test_a_login_in_the_url_is_neither_used_nor_shown(remote: Remote) -> None:
    url = f"http://{USER}:{remote.token}@{remote.host}/data.git"
    assert [found.severity for found in check(remote, url=url, login=None)] == [Severity.SKIPPED]
    assert check(remote, url=url) == []


# A fake, for what a real one does not do


@dataclass
class FakeGit:
    """Answers GET /REPOSITORY.git/info/refs?service=… as it is told, and keeps what came."""

    answers: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    """Service → status, headers, body"""
    requests: list[tuple[str, str]] = field(default_factory=list)
    """(target, Authorization)"""
    port: int = 0


@pytest.fixture
def fake() -> Iterator[FakeGit]:
    model = FakeGit()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            model.requests.append((self.path, self.headers.get("Authorization", "")))
            status, headers, body = model.answers.get(self.path.rpartition("=")[2], (501, {}, b""))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        model.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield model
        server.shutdown()
        thread.join()


def refs(service: str, *names: str) -> tuple[int, dict[str, str], bytes]:
    """Return an advertisement of refs (gitprotocol-http)."""
    lines = [f"# service={service}\n", *(f"{'0' * 40} {name}\n" for name in names)]
    packets = [f"{len(line) + 4:04x}{line}" for line in lines]
    return 200, {}, (packets[0] + "0000" + "".join(packets[1:]) + "0000").encode()


def ask(fake: FakeGit, token: str, *, makes_tag: bool = True, tag: str | None = "v1") -> list[Finding]:
    login = SecretStr(f"https://{USER}:{token}")
    return list(check_git(f"http://127.0.0.1:{fake.port}/data.git", login, tag, makes_tag=makes_tag, seconds=5))


@pytest.mark.failure("F38", "RK-GIT-LOGIN")
def test_a_login_that_may_read_and_not_push(fake: FakeGit) -> None:
    fake.answers = {"git-upload-pack": refs("git-upload-pack"), "git-receive-pack": (403, {}, b"Write access denied")}
    (found,) = ask(fake, secrets.token_urlsafe(16))
    assert (found.code, "not allowed to push" in found.message) == ("RK-GIT-LOGIN", True)
    assert ask(fake, secrets.token_urlsafe(16), makes_tag=False, tag=None) == []


def test_the_login_is_decoded_and_only_the_right_paths_are_asked(fake: FakeGit) -> None:
    fake.answers = {service: refs(service) for service in ("git-upload-pack", "git-receive-pack")}
    assert ask(fake, "p%40ss%3Aword") == []
    expected = "Basic " + base64.b64encode(f"{USER}:p@ss:word".encode()).decode()
    assert sorted(fake.requests) == [
        ("/data.git/info/refs?service=git-receive-pack", expected),
        ("/data.git/info/refs?service=git-upload-pack", expected),
    ]


@pytest.mark.parametrize(
    "body", [b"", b"<html>Sign in</html>", b"0005", b"001e# service=git-upload-pack\n00ff", b"zzzz"]
)
def test_what_is_not_gits_protocol_is_skipped(fake: FakeGit, body: bytes) -> None:
    fake.answers = {"git-upload-pack": (200, {}, body)}
    assert [found.severity for found in ask(fake, secrets.token_urlsafe(16), makes_tag=False)] == [Severity.SKIPPED]


def test_a_redirect_to_another_host_does_not_get_the_login(fake: FakeGit, remote: Remote) -> None:
    fake.answers = {
        "git-upload-pack": (301, {"Location": f"http://{remote.host}/data.git/info/refs?service=git-upload-pack"}, b"")
    }
    found = ask(fake, remote.token, makes_tag=False)
    assert [one.code for one in found] == ["RK-GIT-LOGIN"]  # the other host saw none
    assert all(authorization for _, authorization in fake.requests)


def test_a_redirect_without_an_end_is_skipped(fake: FakeGit) -> None:
    fake.answers = {"git-upload-pack": (302, {"Location": "/data.git/info/refs?service=git-upload-pack"}, b"")}
    assert [found.severity for found in ask(fake, secrets.token_urlsafe(16), makes_tag=False)] == [Severity.SKIPPED]


@pytest.mark.parametrize("answer", ["HTTP/1.1 200 OK\r\nX: ", "HTTP/1.1 2", "HTTP/1.1 200 OK\r\n\r\n001e"])
def test_a_remote_that_trickles_meets_the_limit(answer: str) -> None:
    """A byte in each tenth of a second would keep every limit of a socket away, for an hour and longer."""
    over = threading.Event()

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(answer.encode())
            while not over.wait(0.1):
                try:
                    connection.sendall(b"0")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=[listener])
        thread.start()
        start = time.monotonic()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/data.git"
        (found,) = check_git(url, None, None, makes_tag=False, seconds=1.0)
        took = time.monotonic() - start
        over.set()
        thread.join()

    assert found.severity is Severity.SKIPPED
    assert "did not" in found.message
    assert took < 20
