"""A run that another program runs, told as that program tells it: each change, and each line of a step, once."""

from __future__ import annotations

import dataclasses
from itertools import groupby, islice
from typing import TYPE_CHECKING

from run_kfp.runs import StepState
from run_kfp.steplogs import new_lines, place_of_last

if TYPE_CHECKING:
    from run_kfp.backends.local.telling import Observer
    from run_kfp.localruns import RunFolder, RunRecord, StepRecord
    from run_kfp.runs import RunState

_RUNNING = (StepState.RUNNING, StepState.CANCELLING)
_WITHOUT_LOG = (StepState.WAITING, StepState.PENDING, StepState.SKIPPED)

# Lines that are told in one call.
_AT_ONCE = 500


class Follower:
    """Tells an observer what each look at a run shows.

    Steps that had ended before the first look have no line: `logs` prints those. Of the others no line is lost, nor
    told twice.
    """

    def __init__(self, folder: RunFolder, observer: Observer, *, tail: int | None = None) -> None:
        """Take the run and who is told; `tail` is how many of the lines that are there already, None for all."""
        self._folder = folder
        self._observer = observer
        self._tail = tail
        self._over: set[str] | None = None
        self._told: set[str] = set()
        self._state: RunState | None = None
        self._positions: dict[str, int] = {}

    def seen(self, record: RunRecord) -> None:
        """Take what a look shows: a step is told to run before its lines are, and to have ended after them."""
        begun = [step for step in record.steps if step.state not in _WITHOUT_LOG]
        running = {step.name for step in begun if step.state in _RUNNING}
        if self._over is None:
            self._over = {step.name for step in begun} - running
            if self._tail is not None:
                paths = {step.name: self._folder.log(step) for step in begun if step.name in running}
                self._positions = {name: place_of_last(path, self._tail) for name, path in paths.items()}
        if self._state is None or not record.state.is_final:
            self._state = record.state
        following = [step for step in begun if step.name not in self._over]
        # One that could not be started has one time for both.
        ran = [step for step in following if step.started and step.started != step.ended]
        if news := [_as_it_ran(step) for step in ran if step.name not in self._told]:
            self._observer.changed(record, self._state, news)
            self._told |= {step.name for step in news}
        self._tell_lines(following)
        self._observer.changed(record, record.state, record.steps)
        self._over |= {step.name for step in begun} - running

    def _tell_lines(self, steps: list[StepRecord]) -> None:
        paths = {step.name: self._folder.log(step) for step in steps}
        self._positions |= {name: 0 for name in paths if name not in self._positions}
        for step, lines in groupby(new_lines(paths, self._positions), key=lambda pair: pair[0]):
            while some := [line for _, line in islice(lines, _AT_ONCE)]:
                self._observer.lines(step, some, 0)


def _as_it_ran(step: StepRecord) -> StepRecord:
    """Return a step as it was while it ran; a quick one may have ended before the first look at it."""
    if step.state in _RUNNING:
        return step
    return dataclasses.replace(step, state=StepState.RUNNING, ended=None, exit_code=None, error=None)
