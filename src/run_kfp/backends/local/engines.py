"""What an engine does for the runner: it starts one step at a time, hands over its output, and tells how it ended."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from run_kfp.limits import MOST_OUTPUT

# Takes what a step wrote: "O" for stdout or "E" for stderr, and the bytes as they came.
Sink = Callable[[str, bytes], None]

# Tells how far a pull is: the image, and bytes done and in all (0 when that is not known yet).
PullProgress = Callable[[str, int, int], None]

# Seconds that a step has between being asked to stop and being killed. Together with the kill and the removal it stays
# below the five seconds within which Ctrl-C leaves nothing behind.
GRACE = 2


@dataclass(frozen=True)
class StepCall:
    """One step, ready to start: every placeholder is replaced.

    Attributes:
        run: the id of the run.
        step: the name of the step.
        image: as the pipeline names it.
        command: replaces the image's ENTRYPOINT and CMD where it is not empty.
        args: replace the image's CMD where they are not empty.
        env: what the pipeline gives it; there is nothing else of the caller's environment.
        cpu: the limit, in CPUs.
        memory: the limit, in bytes.
        accelerator: kind and count.
        outputs: the files that are wanted of its outputs folder, by name.
        outputs_folder: that folder, as the step sees it; empty for a step without outputs.
    """

    run: str
    step: str
    image: str
    command: Sequence[str]
    args: Sequence[str]
    env: Mapping[str, str]
    cpu: float | None = None
    memory: int | None = None
    accelerator: tuple[str, int] | None = None
    outputs: Collection[str] = ()
    outputs_folder: str = ""


@dataclass(frozen=True)
class Ended:
    """How a step ended.

    Attributes:
        exit_code: as a shell would tell it; None when it is not known, which is never a success.
        error: what the engine says beside the exit code, in words; empty for a success.
        warning: what is worth a word all the same.
        files: the texts of those outputs that it wrote, by name.
        stopped: whether `Running.stop` or `Running.kill` found it running; else it ended by itself.
    """

    exit_code: int | None
    error: str = ""
    warning: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    stopped: bool = False


class StartRefusedError(Exception):
    """The engine did not start a step: no such program, for one. It is the step's failure, not the engine's."""

    def __init__(self, message: str, exit_code: int | None = None, shell: str = "") -> None:
        """Take the engine's words, the exit code that a shell would give (127, 126), and what `Running.keep` gave."""
        super().__init__(message)
        self.exit_code = exit_code
        self.shell = shell


class Running(Protocol):
    """A step that was started."""

    @property
    def identity(self) -> str:
        """What finds it again after a crash of this program."""
        ...

    def wait(self) -> Ended:
        """Hand its output to the sink until it has ended; called once, by the thread that started it."""
        ...

    def remove(self) -> None:
        """Remove what is left of it, its container for one; called once, after `wait`."""
        ...

    def keep(self) -> str:
        """Leave what is left of it, stopped, in place of `remove`; return the command line that opens a shell in it."""
        ...

    def stop(self) -> None:
        """Ask it to stop, and kill it after `GRACE`; returns when it is done or killed. Any thread may call it."""
        ...

    def kill(self) -> None:
        """Kill it at once. Any thread may call it."""
        ...


class Engine(Protocol):
    """Where steps run."""

    @property
    def name(self) -> str:
        """Its name on the command line."""
        ...

    def prepare(
        self, calls: Sequence[StepCall], progress: PullProgress, stopping: threading.Event
    ) -> tuple[list[str], Mapping[str, list[str]]]:
        """Get ready for these steps (reach the Engine, pull images) before any of them starts.

        Args:
            calls: the steps, with their arguments as far as those are known.
            progress: is told of pulls.
            stopping: is set when the run is to stop; a pull then ends early.

        Returns:
            Warnings about the run, and about single steps by their names.

        Raises:
            EngineError: it is missing, does not answer, or an image cannot be had.
        """
        ...

    def image_id(self, image: str) -> str | None:
        """Return the id of what has the name `image` now, None where there is no such image.

        Raises:
            EngineError: it does not answer.
        """
        ...

    def outputs_folder(self, step: str) -> str:
        """Return where `step` finds the folder for its outputs."""
        ...

    def start(self, call: StepCall, sink: Sink) -> Running:
        """Start a step.

        Raises:
            StartRefusedError: it cannot be started.
        """
        ...

    def close(self) -> None:
        """Remove what was made for all steps together; called once, when they have ended."""
        ...


def too_large(name: str) -> str:
    """Say that an output is larger than Vertex AI takes; it is not read."""
    return f"its output {name!r} is larger than {MOST_OUTPUT:,} bytes, the limit of Vertex AI"


def exit_words(code: int, engine: str) -> str:
    """Say what an exit code means to the engine of this name; reserved are those of shells and `docker run`."""
    meaning = {
        126: "the program cannot be executed: check its permissions and its first line",
        127: f"the program was not found {'on this machine' if engine == 'process' else 'in the image'}",
        134: "aborted (SIGABRT)",
        137: "killed (SIGKILL)",
        139: "crashed (SIGSEGV)",
        143: "stopped (SIGTERM)",
    }.get(code)
    return f"exit code {code}: {meaning}" if meaning else f"exit code {code}"
