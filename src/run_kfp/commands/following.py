"""A run that another program runs, told as that program tells it: each change, and each line of a step, once."""

from __future__ import annotations

from itertools import groupby, islice
from typing import TYPE_CHECKING

from run_kfp.runs import StepState
from run_kfp.steplogs import new_lines, place_of_last

if TYPE_CHECKING:
    from run_kfp.backends.local.telling import Observer
    from run_kfp.localruns import RunFolder, RunRecord, StepRecord

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
        self._positions: dict[str, int] = {}

    def seen(self, record: RunRecord) -> None:
        """Take what a look shows: a step is told to run before its lines are, and to have ended after them."""
        begun = [step for step in record.steps if step.state not in _WITHOUT_LOG]
        running = [step for step in begun if step.state in _RUNNING]
        if self._over is None:
            self._over = {step.name for step in begun if step not in running}
            if self._tail is not None:
                self._positions = {step.name: place_of_last(self._folder.log(step), self._tail) for step in running}
        if not record.state.is_final:
            self._observer.changed(record, record.state, running)
        self._tell_lines([step for step in begun if step.name not in self._over])
        self._observer.changed(record, record.state, record.steps)
        self._over |= {step.name for step in begun if step not in running}

    def _tell_lines(self, steps: list[StepRecord]) -> None:
        paths = {step.name: self._folder.log(step) for step in steps}
        self._positions |= {name: 0 for name in paths if name not in self._positions}
        for step, lines in groupby(new_lines(paths, self._positions), key=lambda pair: pair[0]):
            while some := [line for _, line in islice(lines, _AT_ONCE)]:
                self._observer.lines(step, some, 0)
