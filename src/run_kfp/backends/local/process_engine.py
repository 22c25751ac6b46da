"""Steps as processes of this machine, for steps whose registry entry says how; less faithful than containers.

Same arguments, a clean environment, same logs, same end; but no image, no file system of its own, and no limits.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import re
import shutil
import signal
import stat
import subprocess
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from run_kfp.backends.local.engines import (
    GRACE,
    Ended,
    PullProgress,
    Sink,
    StartRefusedError,
    StepCall,
    exit_words,
    too_large,
)
from run_kfp.errors import EngineError, InputError
from run_kfp.limits import MOST_OUTPUT
from run_kfp.localruns import process_start
from run_kfp.temporary import TemporaryFolder, unusable

# What a process needs to start at all; the rest of the caller's environment stays with the caller.
_PASSED_ON = ("PATH", "LANG", "SYSTEMROOT")

# Variables by which a pipeline file would choose which program or code runs on this machine, or whose login it has:
# those of the search for programs, of dynamic loaders (ld.so(8), dyld(1)), shells, interpreters, Git, and gcloud.
_STEERING = re.compile(
    r"PATH|HOME|SHELL|IFS|ENV|CDPATH|ZDOTDIR|PS4|PROMPT_COMMAND|SHELLOPTS|BASH.*|EDITOR|VISUAL|PAGER|BROWSER"
    r"|(__)?(LD|DYLD|GIT|SSH|PERL|BUNDLE|NPM_CONFIG|LUA|PHP|OPENSSL|CLOUDSDK)_.*|GEM_(HOME|PATH)"
    r"|NODE_(OPTIONS|PATH|EXTRA_CA_CERTS|REPL_.*|V8_.*)|JULIA_(LOAD_PATH|DEPOT_PATH|PROJECT|BINDIR)"
    r"|PYTHON(?!(UNBUFFERED|DONTWRITEBYTECODE|HASHSEED|IOENCODING|UTF8|FAULTHANDLER)$).*"
    r"|PERL5.*|PERLLIB|RUBY.*|PHPRC|CLASSPATH|_?JAVA_.*|JDK_.*|R_(HOME|PROFILE|ENVIRON|LIBS).*|LIBPATH|SHLIB_PATH"
    r"|GCONV_PATH|GLIBC_TUNABLES|LOCPATH|NLSPATH|TERMINFO.*|GOOGLE_APPLICATION_CREDENTIALS",
    re.IGNORECASE,
)

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
        env: what the registry itself gives the step; of the pipeline file alone, some variables are not taken.
    """

    cwd: Path
    entrypoint: tuple[str, ...]
    assignments: int = 0
    replaced: int = 0
    env: Mapping[str, str] = field(default_factory=dict)

    def refuses(self, env: Mapping[str, str]) -> list[str]:
        """Name the variables of a pipeline file that steer what runs on this machine and that no registry wants."""
        return [name for name, value in env.items() if _STEERING.fullmatch(name) and self.env.get(name) != value]


class ProcessEngine:
    """Child processes, each in a session and a home folder of its own."""

    name = "process"

    def __init__(self, entries: Mapping[str, ProcessEntry], env: Mapping[str, str]) -> None:
        """Take how each step runs, by its name, and variables that every step gets beside its own."""
        self._entries = entries
        self._env = env
        self._folders: dict[str, TemporaryFolder] = {}

    def prepare(
        self, calls: Sequence[StepCall], progress: PullProgress, stopping: threading.Event
    ) -> tuple[list[str], Mapping[str, list[str]]]:
        """Check that programs and folders are there; see `Engine.prepare`."""
        by_step: dict[str, list[str]] = {}
        try:
            TemporaryFolder().remove()
        except InputError as error:
            raise EngineError(error.message, error.hint) from None
        for call in calls:
            entry = self._entries[call.step]
            if not entry.cwd.is_dir():
                raise EngineError(f"step {call.step} runs in {entry.cwd}, which does not exist")
            by_step[call.step] = []
            if call.cpu or call.memory:
                by_step[call.step].append(f"runs without its limits ({'CPU, memory' if call.memory else 'CPU'})")
            if refused := entry.refuses(call.env):
                by_step[call.step].append(
                    f"runs without {', '.join(refused)} of the pipeline file: on this machine they choose programs, "
                    "code or a login"
                )
        warnings = [
            "engine process: no images, no file system per step, no limits; use --engine docker to test what ships"
        ]
        return warnings, by_step

    def image_id(self, image: str) -> None:
        """Return nothing: no image runs."""

    def outputs_folder(self, step: str) -> str:
        """Return the outputs folder of a step, which is made now."""
        return str(self._folder(step).path / "outputs")

    def _folder(self, step: str) -> TemporaryFolder:
        if step not in self._folders:
            made = self._folders[step] = TemporaryFolder()
            try:
                for name in ("home", "tmp", "outputs"):
                    (made.path / name).mkdir()
            except OSError as error:
                raise unusable(error) from None
        return self._folders[step]

    def start(self, call: StepCall, sink: Sink) -> _Process:
        """Start the process; see `Engine.start`."""
        entry, folder = self._entries[call.step], self._folder(call.step)
        assigned = dict(word.split("=", 1) for word in call.args[: entry.assignments])
        argv = [*entry.entrypoint, *call.args[entry.assignments + entry.replaced :]]
        env = {
            **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
            "HOME": str(folder.path / "home"),
            "TMPDIR": str(folder.path / "tmp"),
            **self._env,
            **{name: value for name, value in call.env.items() if name not in entry.refuses(call.env)},
            **assigned,
        }
        try:
            process = subprocess.Popen(
                argv,
                executable=_program(argv[0]),
                cwd=entry.cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            folder.remove()
            codes: Mapping[type[Exception], int] = {FileNotFoundError: 127, PermissionError: 126}
            code = codes.get(type(error))
            raise StartRefusedError(f"{argv[0]}: {getattr(error, 'strerror', None) or error}", code) from None
        return _Process(process, folder, sink, call.outputs)

    def close(self) -> None:
        """Remove the folders of steps that did not start; see `Engine.close`."""
        for folder in self._folders.values():
            folder.remove()


class _Process:
    """A process and all that it starts in its session."""

    def __init__(
        self, process: subprocess.Popen[bytes], folder: TemporaryFolder, sink: Sink, outputs: Collection[str]
    ) -> None:
        self._process = process
        self._folder = folder
        self._sink = sink
        self._outputs = outputs
        self._readers: list[threading.Thread] = []
        self._stopped = False
        self.identity = f"pid {process.pid} {process_start(process.pid)}"

    def wait(self) -> Ended:
        """Read its output, then how it ended."""
        return dataclasses.replace(self._end(), stopped=self._stopped)

    def _end(self) -> Ended:
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
            return Ended(code, exit_words(code, ProcessEngine.name))
        files: dict[str, str] = {}
        for name in self._outputs:
            content = _read_output(self._folder.path / "outputs", name)
            if content is None:
                continue
            if len(content) > MOST_OUTPUT:
                return Ended(code, too_large(name))
            files[name] = content.decode("utf-8", "replace")
        return Ended(code, files=files)

    def _read(self, stream: str, pipe: IO[bytes] | None) -> None:
        while pipe is not None and (chunk := os.read(pipe.fileno(), 65536)):
            self._sink(stream, chunk)

    def remove(self) -> None:
        """Remove its home, its temporary files and its outputs."""
        if not any(reader.is_alive() for reader in self._readers):
            for pipe in (self._process.stdout, self._process.stderr):
                if pipe is not None:
                    pipe.close()
        self._folder.remove()

    def keep(self) -> str:
        """Remove it all the same: it has no file system of its own to look into (`plan` refuses to ask for it)."""
        self.remove()
        return ""

    def stop(self) -> None:
        """Send SIGTERM to the session, and SIGKILL after `GRACE`."""
        self._stopped = self._stopped or self._process.poll() is None
        _signal(self._process.pid, "SIGTERM")
        try:
            self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Kill it and all that it started."""
        self._stopped = self._stopped or self._process.poll() is None
        _signal(self._process.pid, "SIGKILL")


def _program(name: str) -> str:
    """Return where a program is: by the PATH of the user, whose relative folders would lie in that of the step.

    Raises:
        FileNotFoundError: there is none of that name.
    """
    if Path(name).name != name or "\0" in name:
        return name
    folders = [folder for folder in os.get_exec_path() if Path(folder).is_absolute()]
    if (found := shutil.which(name, path=os.pathsep.join(folders))) is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    return found


def _read_output(folder: Path, name: str) -> bytes | None:
    """Return an output, of one that is too large a byte too much; None where there is no regular file of that name.

    A link is none: what it leads to was not written by the step.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    if Path(name).name != name:
        return None
    try:
        descriptor = os.open(folder / name, flags)
    except (OSError, ValueError):
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(MOST_OUTPUT + 1)
    finally:
        os.close(descriptor)


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
