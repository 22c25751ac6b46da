"""The program as a process forked from one that has loaded its libraries, which is most of the time of a short call.

The process is one like any other: its own folder, environment, streams, signals and exit code, and it ends as Python
ends. What it does not show is the start of the interpreter, and a module that is used without being imported: with
`pytest --cold` each call is an interpreter of its own. Where there is no fork (Windows), each call is one anyway.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import re
import runpy
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import run_kfp
from run_kfp import fast_imports

# Beside the modules of the program, and what it loads of kfp where no code of a registry may look for the rest. Not
# Google's SDK: it reads the environment while it is loaded.
LIBRARIES = (
    *("docstring_parser", "dotenv", "google.protobuf.json_format", "google.protobuf.struct_pb2"),
    *("pydantic.type_adapter", "rich.console", "typer._adapters", "yaml"),
)
# What is read while the program runs. Any other variable may be read by a library while it is loaded.
READ_LATE = re.compile(
    r"(?i:HOME|PATH|(GCP|GCS|GIT|RUN_KFP|WANDB|WHYLABS|GOOGLE|DOCKER)_\w+|NUM_GPU|(API_)?KEY|\w+_PROXY"
    r"|GRPC_DEFAULT_SSL_ROOTS_FILE_PATH|REQUESTS_CA_BUNDLE|SSL_CERT_FILE)"
)


class Warm:
    """A process that has the libraries loaded, and forks for each call."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._socket, theirs = socket.socketpair()
        self._answers = self._socket.makefile("r")
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                env=environment,
                pass_fds=[theirs.fileno()],
                # Python looks once at what its streams are; those of a call are pipes too.
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )

    def close(self) -> None:
        self._answers.close()
        self._socket.close()
        sys.stderr.write(self._process.communicate()[1].decode())

    def call(
        self, args: Sequence[str], folder: Path, environment: Mapping[str, str], timeout: float
    ) -> tuple[int, bytes, bytes]:
        """Run the program to its end; return exit code (negative: a signal), stdout and stderr.

        Raises:
            subprocess.TimeoutExpired: it was killed after `timeout` seconds.
        """
        (out, out_end), (err, err_end) = os.pipe(), os.pipe()
        with os.fdopen(out, "rb") as out_file, os.fdopen(err, "rb") as err_file, ThreadPoolExecutor(1) as pool:
            socket.send_fds(self._socket, [b"\n"], [out_end, err_end])
            os.close(out_end)
            os.close(err_end)
            os.umask(umask := os.umask(0))
            self._socket.sendall(json.dumps([args, str(folder), environment, umask]).encode() + b"\n")
            pid = int(self._answers.readline())
            late = threading.Timer(timeout, os.kill, (pid, signal.SIGKILL))
            late.daemon = True
            late.start()
            said = pool.submit(err_file.read)
            written = out_file.read()
            code = int(self._answers.readline())
            if not late.is_alive() and code == -signal.SIGKILL:
                raise subprocess.TimeoutExpired(args, timeout)
            late.cancel()
            return code, written, said.result()


_warm: Warm | None = None
free = threading.Lock()
_cold = not hasattr(os, "fork")


def call(
    args: Sequence[str], folder: Path, environment: Mapping[str, str], base: Mapping[str, str], timeout: float
) -> tuple[int, bytes, bytes] | None:
    """Do as `Warm.call`; return None where this call needs an interpreter of its own.

    Args:
        base: the variables that all calls have.
    """
    global _warm
    if _cold or not all(READ_LATE.fullmatch(name) for name, _ in environment.items() ^ base.items()):
        return None
    if _has_factory([folder / "run-kfp.toml", *(folder / arg for arg in args if arg.endswith(".toml"))]):
        return None
    if not free.acquire(blocking=False):  # a call of another thread is under way
        return None
    try:
        _warm = _warm or Warm(base)
        return _warm.call(args, folder, environment, timeout)
    finally:
        free.release()


def _has_factory(registries: Sequence[Path]) -> bool:
    """Say whether a registry names code, which finds all of kfp loaded."""
    return any(path.is_file() and b"factory" in path.read_bytes() for path in registries)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cold", action="store_true", help="start an interpreter for each call of the program")


def pytest_configure(config: pytest.Config) -> None:
    global _cold
    _cold |= config.getoption("cold")


def pytest_unconfigure() -> None:
    if _warm is not None:
        _warm.close()


# ── the process that forks ────────────────────────────────────────────────────────────────────────────────────────────


def serve(connection: socket.socket) -> None:
    """Fork for each request, until nobody is there to ask."""
    modules = (module.name for module in pkgutil.walk_packages(run_kfp.__path__, "run_kfp."))
    for name in (*LIBRARIES, *modules):
        if name != "run_kfp.__main__":
            importlib.import_module(name)
    fast_imports.import_kfp(whole=False)
    assert threading.active_count() == 1, "a fork takes one thread along"
    assert not {"google.auth", "grpc"} & sys.modules.keys(), "they are loaded by each call"
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests; they close the connection
    requests = connection.makefile("r")
    while streams := socket.recv_fds(connection, 1, 2)[1]:
        *call, umask = json.loads(requests.readline())
        pid = os.fork()
        if not pid:
            requests.close()
            connection.close()
            os.umask(umask)
            become(streams, *call)
            return
        for stream in streams:
            os.close(stream)
        connection.sendall(f"{pid}\n".encode())
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        connection.sendall(f"{code}\n".encode())


def become(streams: Sequence[int], args: Sequence[str], folder: str, environment: Mapping[str, str]) -> None:
    """Go on as `python -m run_kfp ARGS` in that folder."""
    for stream, number in zip(streams, (1, 2), strict=True):
        os.dup2(stream, number)
        os.close(stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[0] = folder  # as `-m` has it
    sys.argv[1:] = args
    runpy.run_module("run_kfp", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as asked:
        serve(asked)
