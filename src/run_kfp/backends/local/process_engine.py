"""Steps as processes of this machine, for steps whose registry entry says how; less faithful than containers.

Same arguments, a clean environment, same logs, same end; but no image, no file system of its own, and no limits.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from run_kfp.backends.local.engines import GRACE, Ended, PullProgress, Sink, StartRefusedError, StepCall, exit_words
from run_kfp.errors import EngineError
from run_kfp.localruns import process_start

# What a process needs to start at all; the rest of the caller's environment stays with the caller.
_PASSED_ON = ("PATH", "LANG", "SYSTEMROOT")

# Seconds that a pipe may stay open after its process: one that left the session can hold it for ever.
_LAST_OUTPUT = 2.0


@dataclass(frozen=True)
class ProcessEntry:
    """How a step runs without its image.

    Attributes:
        cwd: the folder it runs in.
        entrypoint: what stands for the image's ENTRYPOINT, or for the command that replaces it.
        assignments: how many of the first args are `NAME=value`, which `env` would read.
        replaced: how many of the args after those are the image's ENTRYPOINT, which is not here.
    """

    cwd: Path
    entrypoint: tuple[str, ...]
    assignments: int = 0
    replaced: int = 0


class ProcessEngine:
    """Child processes, each in a session and a home folder of its own."""

    name = "process"

    def __init__(self, entries: Mapping[str, ProcessEntry], env: Mapping[str, str]) -> None:
        """Take how each step runs, by its name, and variables that every step gets beside its own."""
        self._entries = entries
        self._env = env
        self._folders: dict[str, Path] = {}

    def prepare(
        self, calls: Sequence[StepCall], progress: PullProgress, stopping: threading.Event
    ) -> tuple[list[str], Mapping[str, list[str]]]:
        """Check that programs and folders are there; see `Engine.prepare`."""
        by_step: dict[str, list[str]] = {}
        for call in calls:
            entry = self._entries[call.step]
            if not entry.cwd.is_dir():
                raise EngineError(f"step {call.step} runs in {entry.cwd}, which does not exist")
            by_step[call.step] = (
                [f"runs without its limits ({'CPU, memory' if call.memory else 'CPU'})"]
                if call.cpu or call.memory
                else []
            )
        warnings = [
            "engine process: no images, no file system per step, no limits; use --engine docker to test what ships"
        ]
        return warnings, by_step

    def outputs_folder(self, step: str) -> str:
        """Return the outputs folder of a step, which is made now."""
        return str(self._folder(step) / "outputs")

    def _folder(self, step: str) -> Path:
        if step not in self._folders:
            self._folders[step] = Path(tempfile.mkdtemp(prefix="run-kfp-"))
            for name in ("home", "tmp", "outputs"):
                (self._folders[step] / name).mkdir()
        return self._folders[step]

    def start(self, call: StepCall, sink: Sink) -> _Process:
        """Start the process; see `Engine.start`."""
        entry, folder = self._entries[call.step], self._folder(call.step)
        assigned = dict(word.split("=", 1) for word in call.args[: entry.assignments])
        argv = [*entry.entrypoint, *call.args[entry.assignments + entry.replaced :]]
        env = {
            **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
            "HOME": str(folder / "home"),
            "TMPDIR": str(folder / "tmp"),
            **self._env,
            **call.env,
            **assigned,
        }
        try:
            process = subprocess.Popen(
                argv,
                cwd=entry.cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            codes: Mapping[type[Exception], int] = {FileNotFoundError: 127, PermissionError: 126}
            code = codes.get(type(error))
            raise StartRefusedError(f"{argv[0]}: {getattr(error, 'strerror', None) or error}", code) from None
        return _Process(process, folder, sink, wants_files=call.writes_outputs)


class _Process:
    """A process and all that it starts in its session."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path, sink: Sink, *, wants_files: bool) -> None:
        self._process = process
        self._folder = folder
        self._sink = sink
        self._wants_files = wants_files
        self._readers: list[threading.Thread] = []
        self.identity = f"pid {process.pid} {process_start(process.pid)}"

    def wait(self) -> Ended:
        """Read its output, then how it ended."""
        pipes = [("O", self._process.stdout), ("E", self._process.stderr)]
        self._readers = [threading.Thread(target=self._read, args=pipe, daemon=True) for pipe in pipes]
        for reader in self._readers:
            reader.start()
        status = self._process.wait()
        # Like a container, it ends as a whole: what it started and left behind is killed.
        _signal(self._process.pid, "SIGKILL")
        for reader in self._readers:
            reader.join(_LAST_OUTPUT)
        code = 128 - status if status < 0 else status
        if code:
            return Ended(code, exit_words(code))
        folder = self._folder / "outputs"
        files = {path.name: path.read_text("utf-8", "replace") for path in folder.iterdir() if path.is_file()}
        return Ended(code, files=files if self._wants_files else {})

    def _read(self, stream: str, pipe: IO[bytes] | None) -> None:
        while pipe is not None and (chunk := os.read(pipe.fileno(), 65536)):
            self._sink(stream, chunk)

    def remove(self) -> None:
        """Remove its home, its temporary files and its outputs."""
        if not any(reader.is_alive() for reader in self._readers):
            for pipe in (self._process.stdout, self._process.stderr):
                if pipe is not None:
                    pipe.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def stop(self) -> None:
        """Send SIGTERM to the session, and SIGKILL after `GRACE`."""
        _signal(self._process.pid, "SIGTERM")
        try:
            self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Kill it and all that it started."""
        _signal(self._process.pid, "SIGKILL")


def kill_left_behind(identity: str) -> bool:
    """Kill the session of a process that a killed run left behind, unless its pid belongs to another one by now."""
    _, _, rest = identity.partition("pid ")
    pid, _, start = rest.partition(" ")
    if not (pid.isdigit() and start and process_start(int(pid)) == start):
        return False
    _signal(int(pid), "SIGKILL")
    return True


def _signal(group: int, name: str) -> None:
    """Send a signal to a process group (on Windows, which has none, to the process); one that is gone is no fault."""
    with contextlib.suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(group, getattr(signal, name))
        else:
            os.kill(group, signal.SIGTERM)
