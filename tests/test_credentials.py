"""Credentials: what is tried again and for how long, and that no program that was started for them is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.auth import exceptions

from clock import FakeClock
from conftest import Write
from fakes.accounts import Accounts
from fakes.google_hosts import GoogleHosts
from fakes.vertex import FakeVertex
from processes import await_end
from run_kfp.credentials import find_credentials, first_sentence, gcloud_login, in_time, printable, time_slice
from run_kfp.errors import BackendError
from run_kfp.settings import Settings

# Starts a child, as the shell script gcloud does, tells both numbers, and waits for ever.
HANGS = """#!{python}
import os, signal
child = os.fork()
if child:
    with open({told!r}, "w") as told:
        print(os.getpid(), child, file=told, flush=True)
signal.pause()
"""


@pytest.fixture
def hangs(tmp_path: Path) -> Iterator[tuple[Path, Callable[[], list[int]]]]:
    """A program that hangs, and who tells the processes that it became."""
    told = tmp_path / "told"
    os.mkfifo(told)
    program = tmp_path / "gcloud"
    program.write_text(HANGS.format(python=sys.executable, told=str(told)))
    program.chmod(0o755)
    with os.fdopen(os.open(told, os.O_RDWR), "r") as reader:
        yield program, lambda: [int(word) for word in reader.readline().split()]


# ── a call within a time ────────────────────────────────────────────────────────────────────────────────────────────


def test_the_answer_or_the_error_of_a_call_comes_through() -> None:
    def wrong() -> None:
        raise KeyError("x")

    assert in_time(lambda: 7, 30) == 7
    with pytest.raises(KeyError, match="x"):
        in_time(wrong, 30)


def test_a_call_that_takes_longer_is_given_up() -> None:
    with pytest.raises(TimeoutError, match=r"no answer within 0\.1 s"):
        in_time(threading.Event().wait, 0.1)


def test_a_call_has_a_moment_though_none_is_left() -> None:
    assert in_time(lambda: 7, -5) == 7


def test_a_program_ends_with_the_call_that_started_it(hangs: tuple[Path, Callable[[], list[int]]]) -> None:
    program, told = hangs
    pids: list[int] = []

    def call() -> None:
        with subprocess.Popen([program]):
            pids.extend(told())
            threading.Event().wait()

    with pytest.raises(TimeoutError):
        in_time(call, 2)

    assert len(pids) == 2
    for pid in pids:
        await_end(pid)


def test_a_program_that_is_started_too_late_ends_at_once() -> None:
    given_up, ended = threading.Event(), threading.Event()
    codes: list[int] = []

    def call() -> None:
        given_up.wait(30)
        codes.append(subprocess.call([sys.executable, "-c", "import signal; signal.pause()"]))
        ended.set()

    with pytest.raises(TimeoutError):
        in_time(call, 0.1)
    given_up.set()

    assert ended.wait(30)
    assert codes == [-signal.SIGKILL]


def test_a_program_that_has_ended_is_no_matter() -> None:
    assert in_time(lambda: subprocess.run([sys.executable, "-c", "print(7)"], capture_output=True).stdout, 30) == b"7\n"


def test_programs_of_others_are_left_alone() -> None:
    in_time(lambda: 7, 30)  # from now on programs are watched
    ours = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getsid(0))"], capture_output=True, text=True, check=True
    )

    assert int(ours.stdout) == os.getsid(0)


def test_a_program_ends_with_ours_though_a_thread_waits_for_it(hangs: tuple[Path, Callable[[], list[int]]]) -> None:
    program, told = hangs
    script = (
        "import subprocess, sys, threading\n"
        "from run_kfp.credentials import in_time\n"
        "wait = lambda: in_time(lambda: subprocess.run([sys.argv[1]]), 600)\n"
        "threading.Thread(target=wait, daemon=True).start()\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, program], stdin=subprocess.PIPE) as process:
        pids = told()
        process.communicate()

    for pid in pids:
        await_end(pid)


def test_half_of_the_time_is_for_an_attempt_within_limits() -> None:
    assert [time_slice(left) for left in (30.0, 100.0, 0.05, -1.0)] == [15.0, 20.0, 0.1, 0.1]


# ── Google's token service ──────────────────────────────────────────────────────────────────────────────────────────


def user(write: Write) -> Settings:
    """The settings of somebody who is logged in; a token has to be fetched."""
    return Settings(
        {}, timeout=60, credentials_file=write("user.json", json.dumps(Accounts().user("somebody@example.com")))
    )


@pytest.fixture
def nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every host is behind a proxy that does not exist."""
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.setenv(name, "")


@pytest.mark.usefixtures("nobody_answers")
def test_an_unreachable_token_service_is_tried_again_until_the_time_is_over(write: Write) -> None:
    clock, said = FakeClock(), list[str]()

    with pytest.raises(BackendError) as error:
        find_credentials(user(write), clock.now + 60, notify=said.append, sleep=clock.sleep, clock=clock)

    assert clock.slept == [0.5, 1, 2, 4, 8, 8, 8, 8, 8, 6.25, 3.125, 1.5625, 0.78125, 0.390625]
    assert len(said) == len(clock.slept)
    assert all(words.startswith("Google's token service: ") for words in said)
    assert "retrying (60.0 s left)" in said[0]
    assert "within 60 s" in error.value.message
    assert error.value.exit_code == 4


@pytest.mark.usefixtures("nobody_answers")
def test_no_time_left_means_one_try(write: Write) -> None:
    clock, said = FakeClock(), list[str]()

    with pytest.raises(BackendError, match="did not answer"):
        find_credentials(user(write), clock.now + 0.3, notify=said.append, sleep=clock.sleep, clock=clock)

    assert (clock.slept, said) == ([], [])


@pytest.fixture
def through_google(vertex: FakeVertex, google_hosts: GoogleHosts, monkeypatch: pytest.MonkeyPatch) -> GoogleHosts:
    for name, value in google_hosts.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
    return google_hosts


def test_a_refused_login_is_not_tried_again(through_google: GoogleHosts, write: Write) -> None:
    clock, said = FakeClock(), list[str]()

    with pytest.raises(BackendError, match=r"refused.*expired or revoked") as error:
        find_credentials(user(write), clock.now + 60, notify=said.append, sleep=clock.sleep, clock=clock)

    assert (clock.slept, said) == ([], [])
    assert "gcloud auth application-default login" in error.value.hint


def test_a_login_that_is_known_gets_its_token(
    through_google: GoogleHosts, vertex: FakeVertex, folder: Path, write: Write
) -> None:
    clock, said = FakeClock(), list[str]()
    login = write("user.json", json.dumps(vertex.accounts.user("somebody@example.com")))

    found = find_credentials(
        Settings({}, credentials_file=login), clock.now + 60, notify=said.append, sleep=clock.sleep, clock=clock
    )

    assert vertex.accounts.authenticate(found.token, audiences=()) == "somebody@example.com"
    assert said == []


@pytest.mark.usefixtures("nobody_answers")
def test_a_service_account_key_asks_nobody(account_key_file: Path) -> None:
    clock, said = FakeClock(), list[str]()

    found = find_credentials(
        Settings({}, credentials_file=account_key_file), clock.now + 60, notify=said.append, clock=clock
    )

    assert found.token is None
    assert said == []


# ── foreign words ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("one.\ntwo"), "one"),
        (ValueError(), "ValueError"),
        (ValueError(" \n "), "ValueError"),
        (ValueError(404, "x"), "404"),
        (ValueError("a\x1b[31m\tb"), "a [31m b"),
    ],
)
def test_the_first_sentence_of_an_error(error: Exception, words: str) -> None:
    assert first_sentence(error) == words


def test_foreign_text_is_one_line_that_steers_no_terminal() -> None:
    assert printable("a\r\n\x1b[2J b\u202ec ") == "a [2J b c"


# ── where they are ──────────────────────────────────────────────────────────────────────────────────────────────────

LOGIN = "application_default_credentials.json"


def test_the_login_of_gcloud_is_where_gcloud_has_it(tmp_path: Path) -> None:
    home, own = tmp_path / "home", tmp_path / "own"
    files = [home / ".config/gcloud" / LOGIN, own / LOGIN]
    environ = {"HOME": str(home), "CLOUDSDK_CONFIG": str(own)}
    assert [gcloud_login(each) for each in ({}, {"HOME": ""}, {"HOME": str(home)}, environ)] == [None] * 4
    for file in files:
        file.parent.mkdir(parents=True)
        file.write_text("{}")

    assert gcloud_login({"HOME": str(home)}) == files[0]
    assert gcloud_login(environ) == files[1]
    assert gcloud_login({**environ, "CLOUDSDK_CONFIG": ""}) == files[0]
    files[1].unlink()
    assert gcloud_login(environ) is None


HINT = (
    "run `gcloud auth application-default login`, "
    "or set GOOGLE_APPLICATION_CREDENTIALS to the file of a service account key"
)


def refusal(settings: Settings, clock: FakeClock, seconds: float = 60) -> BackendError:
    with pytest.raises(BackendError) as error:
        find_credentials(settings, clock.now + seconds, notify=lambda words: None, sleep=clock.sleep, clock=clock)
    return error.value


@pytest.mark.usefixtures("nobody_answers")
def test_a_key_file_that_is_not_there_is_told_without_its_name(tmp_path: Path) -> None:
    error = refusal(Settings({}, credentials_file=tmp_path / "a-secret-that-was-pasted"), FakeClock())

    assert error.what == "no usable Google credentials: GOOGLE_APPLICATION_CREDENTIALS names a file that does not exist"
    assert error.hint == HINT


@pytest.mark.usefixtures("nobody_answers")
def test_a_key_file_that_is_none_is_told(write: Write) -> None:
    error = refusal(Settings({}, credentials_file=write("key.json", '{"type": "odd"}')), FakeClock())

    assert error.what.startswith("no usable Google credentials: The file ")
    assert error.hint == HINT


class Login:
    """Credentials whose refresh ends in one way after the other."""

    def __init__(self, *ends: BaseException | None) -> None:
        self.ends = list(ends)

    def refresh(self, request: object) -> None:
        end = self.ends.pop(0)
        if end is not None:
            raise end


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Let google-auth find this."""
    import google.auth

    def find(login: Any) -> None:
        def default(scopes: object) -> tuple[Any, None]:
            assert scopes == ["https://www.googleapis.com/auth/cloud-platform"]
            if isinstance(login, BaseException):
                raise login
            return login, None

        monkeypatch.setattr(google.auth, "default", default)

    return find


UNTYPED: Any = exceptions  # its constructors have no types


@pytest.mark.parametrize(
    ("error", "retried"),
    [
        (UNTYPED.TransportError("lost."), True),
        (TimeoutError("late"), True),
        (UNTYPED.RefreshError("busy", retryable=True), True),
        (UNTYPED.RefreshError("revoked", retryable=False), False),
        (OSError("no such program"), False),
    ],
)
def test_what_passes_is_tried_again(found: Callable[[Any], None], error: Exception, retried: bool) -> None:
    clock, said, login = FakeClock(), list[str](), Login(error, None)
    found(login)
    words = first_sentence(error)

    if retried:
        assert (
            find_credentials(Settings({}), clock.now + 60, notify=said.append, sleep=clock.sleep, clock=clock) is login
        )
        assert clock.slept == [0.5]
        assert said == [f"Google's token service: {words}; retrying (60.0 s left)"]
    else:
        refused = refusal(Settings({}), clock)
        assert (refused.what, refused.hint) == (f"the Google credentials were refused: {words}", HINT)


@pytest.mark.parametrize(("left", "tries"), [(0.4, 2), (0.39, 1)])
def test_there_is_time_for_another_try(found: Callable[[Any], None], left: float, tries: int) -> None:
    clock, lost = FakeClock(1024.0), UNTYPED.TransportError("lost")
    login = Login(lost, lost)
    found(login)

    error = refusal(Settings({}, timeout=7), clock, left)

    assert len(login.ends) == 2 - tries
    assert clock.slept == ([pytest.approx(0.2)] if tries == 2 else [])
    assert error.what == "Google's token service did not answer within 7 s: lost"
    assert error.hint == "check the network and proxies"


def test_a_search_that_hangs_is_given_up(found: Callable[[Any], None]) -> None:
    found(TimeoutError("no answer within 1 s"))

    error = refusal(Settings({}, timeout=7), FakeClock())

    assert error.what == "looking for Google credentials took longer than 7 s"
    assert error.hint == HINT
