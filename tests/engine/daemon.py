"""Starts and stops a `dockerd` with folders and a socket of its own."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 60.0  # it is up in one; a loaded machine gets the rest
STOP_SECONDS = 30.0  # dockerd gives its containers ten seconds to end

INSTALL = "apt-get install -y --no-install-recommends docker.io iptables"


class EngineUnavailableError(RuntimeError):
    """There is no Docker Engine to be had here; the text says how to get one."""


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket, the Engine's own way of talking."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


@dataclass(frozen=True)
class Engine:
    """A running Docker Engine.

    Attributes:
        socket: its Unix socket (root:root, 0660).
        log: what dockerd has written.
    """

    socket: Path
    log: Path

    def env(self) -> dict[str, str]:
        """The variables that point a Docker client at this Engine and at no user's configuration.

        The classic builder is named since the Engine's client may have no BuildKit.
        """
        return {
            "DOCKER_HOST": f"unix://{self.socket}",
            "DOCKER_CONFIG": str(self.socket.parent / "client"),
            "DOCKER_BUILDKIT": "0",
        }

    def docker(
        self, *args: str | os.PathLike[str], check: bool = True, timeout: float = 600.0
    ) -> subprocess.CompletedProcess[str]:
        """Run the Docker client against this Engine; returns its exit code and output as text.

        Raises:
            AssertionError: it ended with another code than 0 and `check` is set; holds its output.
        """
        argv: Sequence[str | os.PathLike[str]] = ["docker", *args]
        done = subprocess.run(
            argv,
            env={**os.environ, **self.env()},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"{argv} ended with {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
        return done

    def log_tail(self, lines: int = 60) -> str:
        """The last lines that dockerd has written."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def answers(self) -> bool:
        """Whether the Engine answers `GET /_ping` with 200."""
        connection = _UnixConnection(self.socket, timeout=5.0)
        try:
            connection.request("GET", "/_ping")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


@contextlib.contextmanager
def running_engine() -> Iterator[Engine]:
    """Start a Docker Engine, give it, stop it and remove all that it made.

    Raises:
        EngineUnavailableError: dockerd or a Docker client is missing, the caller is not root, or
            dockerd does not come up (the end of its log is in the text).
    """
    dockerd = shutil.which("dockerd") or shutil.which("dockerd", path="/usr/sbin:/sbin")
    if dockerd is None or shutil.which("docker") is None:
        raise EngineUnavailableError(f"no Docker Engine on this machine: {INSTALL}")
    if os.geteuid() != 0:
        raise EngineUnavailableError("a Docker Engine of our own needs root: run the tests as root")

    # Not a folder of pytest's: a socket's path has 107 characters at most, and others than root
    # have to reach it.
    folder = Path(tempfile.mkdtemp(prefix="engine-"))
    folder.chmod(0o755)
    engine = Engine(socket=folder / "docker.sock", log=folder / "dockerd.log")
    try:
        with engine.log.open("wb") as log:
            process = subprocess.Popen(
                [
                    dockerd,
                    *("--data-root", folder / "data"),
                    *("--exec-root", folder / "exec"),
                    *("--pidfile", folder / "dockerd.pid"),
                    *("--host", f"unix://{engine.socket}"),
                    *("--group", "root"),
                    *("--mtu", "1400"),  # below that of a virtual machine's or an overlay's link
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            _await(engine, process)
            yield engine
        finally:
            _stop(process)
    finally:
        _unmount(folder)
        shutil.rmtree(folder)


def _await(engine: Engine, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not engine.answers():
        # The wait is on the process: one that dies is seen at once, a living one is asked again.
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = process.wait(timeout=0.1)
            raise EngineUnavailableError(f"dockerd ended with {code}:\n{engine.log_tail()}")
        if time.monotonic() > deadline:
            raise EngineUnavailableError(f"dockerd does not answer after {START_SECONDS:.0f} s:\n{engine.log_tail()}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _unmount(folder: Path) -> None:
    """Unmount what dockerd leaves mounted in its folder (`exec/netns/default`)."""
    mounts = [line.split(" ")[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    below = [mount for mount in mounts if Path(mount).is_relative_to(folder)]
    for mount in sorted(below, key=len, reverse=True):
        subprocess.run(["umount", "--lazy", mount], check=True)
