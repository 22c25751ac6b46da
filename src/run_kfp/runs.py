"""A run after its submission: its name as text, its states, and how it is followed to the end."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from run_kfp.errors import WatchTimeout

# https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.pipelineJobs/create
JOB_ID = re.compile(r"[a-z][-a-z0-9]{0,127}")


class BackendName(StrEnum):
    """Where runs happen, as the text of a run begins."""

    VERTEX = "vertex"
    LOCAL = "local"


@dataclass(frozen=True)
class RunRef:
    """A run as text, enough to find it from anywhere: `vertex://projects/P/locations/R/pipelineJobs/ID`."""

    backend: str
    path: str

    def __str__(self) -> str:
        return f"{self.backend}://{self.path}"


class RunState(StrEnum):
    """The states of a run, as Vertex AI names them; what it does not name is UNKNOWN, never a success."""

    QUEUED = "QUEUED"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLING = "CANCELLING"
    CANCELLED = "CANCELLED"
    PAUSED = "PAUSED"
    UNKNOWN = "UNKNOWN"

    @property
    def is_final(self) -> bool:
        """Whether the run will not go on by itself."""
        return self in (RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED, RunState.PAUSED)


class StepState(StrEnum):
    """The states of a step."""

    WAITING = "WAITING"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLING = "CANCELLING"
    CANCELLED = "CANCELLED"
    SKIPPED = "SKIPPED"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True)
class StepStatus:
    """One step of a run: its state, when it ran, and what the backend says of a failure."""

    name: str
    state: StepState
    started: datetime | None = None
    ended: datetime | None = None
    error: str = ""
    log: str = ""


@dataclass(frozen=True)
class RunStatus:
    """What one look at a run shows."""

    state: RunState
    steps: tuple[StepStatus, ...] = ()
    error: str = ""

    @property
    def failed_steps(self) -> tuple[StepStatus, ...]:
        """The steps that ended FAILED."""
        return tuple(step for step in self.steps if step.state is StepState.FAILED)


class PollFailed(Exception):
    """One look at a run failed; `passing` tells whether the next one may succeed."""

    def __init__(self, message: str, *, passing: bool) -> None:
        """Take what happened, in words."""
        super().__init__(message)
        self.passing = passing


def watch(
    poll: Callable[[], RunStatus],
    *,
    every: float = 10.0,
    deadline: float | None = None,
    patience: float = 300.0,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[RunStatus]:
    """Look at a run until it ends; the last status that comes is its end.

    Args:
        poll: one look; raises PollFailed.
        every: seconds between two looks.
        deadline: seconds after which to give up, None for never.
        patience: seconds for which looks may fail one after the other.
        sleep: waits for a number of seconds; tests bring their own.
        clock: tells seconds; tests bring their own.

    Raises:
        WatchTimeout: the deadline or the patience is over; the run goes on.
    """
    started = clock()
    failing_since: float | None = None
    while True:
        try:
            status = poll()
        except PollFailed as error:
            failing_since = failing_since if failing_since is not None else clock()
            if not error.passing or clock() - failing_since >= patience:
                raise WatchTimeout(
                    f"stopped waiting: {error}", hint="the run continues; see it in the console"
                ) from None
        else:
            failing_since = None
            yield status
            if status.state.is_final:
                return
        left = float("inf") if deadline is None else started + deadline - clock()
        if left <= 0:
            raise WatchTimeout(f"stopped waiting after {deadline:g} s", hint="the run continues; see it in the console")
        sleep(min(every, left))
