"""Google credentials: found and made valid within a time, with words for what can go wrong."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import queue
import signal
import subprocess
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from run_kfp.errors import BackendError
from run_kfp.files import is_file
from run_kfp.settings import Settings

SCOPE = "https://www.googleapis.com/auth/cloud-platform"

Answer = TypeVar("Answer")

# Seconds: the longest that one call may take, and what must be left for another one.
LONGEST_ATTEMPT, LAST_ATTEMPT = 20.0, 0.4
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0


def gcloud_login(environ: Mapping[str, str]) -> Path | None:
    """Return the file that `gcloud auth application-default login` wrote, None where there is none.

    Args:
        environ: the environment, without any `.env`.
    """
    # google-auth 2.62, _cloud_sdk.py: get_config_path.
    if folder := environ.get("CLOUDSDK_CONFIG"):
        config = Path(folder)
    elif home := environ.get("APPDATA" if os.name == "nt" else "HOME"):
        config = Path(home, "gcloud") if os.name == "nt" else Path(home, ".config", "gcloud")
    else:
        return None
    file = config / "application_default_credentials.json"
    return file if is_file(file) else None


def time_slice(left: float) -> float:
    """Return seconds for one attempt: half of what is left.

    So a lost answer leaves time to find out what became of it.
    """
    return max(min(left / 2, LONGEST_ATTEMPT), 0.1)


def find_credentials(
    settings: Settings,
    deadline: float,
    *,
    notify: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Any:
    """Find Application Default Credentials and refresh them now, where a refresh asks a server.

    Left to gRPC, a failing refresh comes back as UNAVAILABLE and would be retried. A service account key signs its
    own tokens: no server is asked.

    Args:
        settings: which key file, and the timeout for words.
        deadline: on `clock`, in seconds.
        notify: takes a line on a retry.
        sleep: waits for a number of seconds; tests bring their own.
        clock: tells seconds; tests bring their own.

    Raises:
        BackendError: there are none, they are refused, or Google's token service was not reached in time.
    """
    import google.auth
    from google.auth import exceptions
    from google.auth.transport.requests import Request
    from google.oauth2 import service_account

    login = (
        "run `gcloud auth application-default login`, "
        "or set GOOGLE_APPLICATION_CREDENTIALS to the file of a service account key"
    )
    if (key := settings.credentials_file) is not None:
        if not is_file(key):
            # What stands there may be the key itself, so it is not repeated; google-auth would.
            raise BackendError(
                "no usable Google credentials: GOOGLE_APPLICATION_CREDENTIALS names a file that does not exist",
                hint=login,
            )
        os.environ["GOOGLE_APPLICATION_CREDENTIALS"] = str(key)
    try:
        # It may start programs: gcloud for a project that nobody asked for, a helper of the credentials.
        credentials, _ = in_time(lambda: google.auth.default(scopes=[SCOPE]), deadline - clock())
    except TimeoutError:
        raise BackendError(
            f"looking for Google credentials took longer than {settings.timeout:g} s", hint=login
        ) from None
    except Exception as error:  # noqa: BLE001 - google-auth lets through what a malformed file leads to
        raise BackendError(f"no usable Google credentials: {first_sentence(error)}", hint=login) from None
    if isinstance(credentials, service_account.Credentials):
        return credentials
    pause = FIRST_PAUSE
    while True:
        try:
            limit = time_slice(deadline - clock())
            request = functools.partial(Request(), timeout=limit)
            in_time(functools.partial(credentials.refresh, request), deadline - clock())
            return credentials
        except Exception as error:  # noqa: BLE001 - a helper program of the credentials may do anything
            left = deadline - clock()
            passing = isinstance(error, exceptions.TransportError | TimeoutError) or (
                isinstance(error, exceptions.GoogleAuthError) and error.retryable
            )
            if not passing:
                raise BackendError(
                    f"the Google credentials were refused: {first_sentence(error)}", hint=login
                ) from None
            if left < LAST_ATTEMPT:
                raise BackendError(
                    f"Google's token service did not answer within {settings.timeout:g} s: {first_sentence(error)}",
                    hint="check the network and proxies",
                ) from None
            notify(f"Google's token service: {first_sentence(error)}; retrying ({left:.1f} s left)")
        sleep(min(pause, left / 2))
        pause = min(2 * pause, LONGEST_PAUSE)


def in_time(call: Callable[[], Answer], seconds: float) -> Answer:
    """Return what `call` returns, or raise what it raises.

    Programs that `call` starts end with it, at the latest: when the time is over, at Ctrl-C, and at the end of this
    program. Each gets a session of its own, so that what it starts in turn (gcloud is a shell script around a Python)
    ends too.

    Raises:
        TimeoutError: it takes longer than `seconds`.
    """
    done: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()
    programs = _Programs()

    def run() -> None:
        _thread.programs = programs
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a login without quota project: Vertex AI asks for none
            try:
                done.put((True, call()))
            except BaseException as error:  # noqa: BLE001 - raised again by who waits
                done.put((False, error))

    _watch_starts()
    # Whoever waits here may be a daemon itself, whom the end of this program does not let go on.
    atexit.register(programs.end)
    try:
        # A daemon: what does not end does not keep the program.
        threading.Thread(target=run, daemon=True).start()
        fine, answer = done.get(timeout=max(seconds, 0.1))
    except queue.Empty:
        raise TimeoutError(f"no answer within {seconds:.1f} s") from None
    finally:
        programs.end()
        atexit.unregister(programs.end)
    if not fine:
        raise answer
    result: Answer = answer
    return result


class _Programs:
    """The programs that one call started and that run still, as far as we know."""

    def __init__(self) -> None:
        self._started: list[subprocess.Popen[Any]] = []
        self._over = False
        self._lock = threading.Lock()

    def add(self, program: subprocess.Popen[Any]) -> None:
        """Take a program that was just started; end it where the call is over by now."""
        with self._lock:
            self._started.append(program)
            over = self._over
        if over:
            self.end()

    def end(self) -> None:
        """Kill those that run still, with all that they started."""
        with self._lock:
            self._over = True
            started, self._started = self._started, []
        for program in started:
            if program.returncode is None:
                with contextlib.suppress(OSError):
                    if hasattr(os, "killpg"):
                        os.killpg(program.pid, signal.SIGKILL)
                    else:
                        program.kill()


# The programs of the call whose thread this is.
_thread = threading.local()


@functools.cache
def _watch_starts() -> None:
    """Make `subprocess` tell of the programs that a call of `in_time` starts.

    google-auth runs gcloud and the helpers of credentials by `subprocess`, without a limit of time for gcloud, and
    tells nobody. Programs that other threads start are left as they are.
    """
    start = subprocess.Popen.__init__

    @functools.wraps(start)
    def told(self: subprocess.Popen[Any], *args: Any, **options: Any) -> None:
        programs: _Programs | None = getattr(_thread, "programs", None)
        if programs is None:
            start(self, *args, **options)
        else:
            start(self, *args, **{**options, "start_new_session": True})
            programs.add(self)

    subprocess.Popen.__init__ = told  # type: ignore[method-assign]  # there is no other way to learn of them


def first_sentence(error: Exception) -> str:
    """Return the first line of what google-auth says; the rest repeats links and answers of servers."""
    text = str(error.args[0]) if error.args else type(error).__name__
    return printable(text.splitlines()[0]).rstrip(".") if text.strip() else type(error).__name__


def printable(text: str) -> str:
    """Return foreign text on one line, without what would steer a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
