"""What is told of a run while it goes on, by a thread of its own: a reader that is slow or stuck does not hold the run.

A terminal stops reading at Ctrl-S, a pager when its screen is full, a pipe when it is full. The run goes on, and its
logs and record are complete; lines are dropped from the screen alone, and that is said.
"""

from __future__ import annotations

import dataclasses
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from run_kfp.localruns import RunRecord, StepRecord
from run_kfp.runs import RunState
from run_kfp.steplogs import LogLine

# Lines that wait for a slow reader: some seconds of what a terminal shows, some megabytes at most.
MOST_WAITING = 10_000

# Lines that are told in one call: enough for one write to be cheap, few enough to see a reader move.
_AT_ONCE = 500

# Seconds without a line read after which a reader counts as stuck. Until then the step waits for it, as for a pipe.
PATIENCE = 1.0


class Observer(Protocol):
    """Who watches a run; all calls come from one thread, in the order of what happened."""

    def changed(self, record: RunRecord, state: RunState, steps: Sequence[StepRecord]) -> None:
        """Take a change.

        Args:
            record: the run as it is by now, to be drawn.
            state: that of the run at the change.
            steps: those that changed, as they were then; all at the beginning.
        """
        ...

    def lines(self, step: str, lines: Sequence[LogLine], dropped: int) -> None:
        """Take lines of a step, masked; `dropped` is how many behind them were not read in time."""
        ...

    def bar(self, step: str, text: str) -> None:
        """Take the state of a progress bar of a step, masked: a line that is not over, and is in no log yet."""
        ...

    def pulling(self, image: str, done: int, total: int) -> None:
        """Take how far a pull is, in bytes: `total` is 0 while it is not known; `done` equals it at the end alone."""
        ...


@dataclass
class _Lines:
    """Lines of a step that wait to be told, and how many behind them were dropped."""

    step: str
    lines: list[LogLine]
    dropped: int = 0


class Teller:
    """Hands everything to an observer, in a thread of its own; its methods may be called from any thread."""

    def __init__(self, observer: Observer, failed: Callable[[Exception], None]) -> None:
        """Begin to tell; `failed` is called with what the observer raises, after which it is told nothing more."""
        self._observer = observer
        self._failed = failed
        self._waiting: deque[Callable[[], None] | _Lines] = deque()
        self._bars: dict[str, str] = {}
        self._count = 0
        self._told = 0
        self._patient, self._hurried = True, False
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._tell, name="teller", daemon=True)
        self._thread.start()

    def changed(self, record: RunRecord, steps: Sequence[StepRecord]) -> None:
        """Tell of a change."""
        state, then = record.state, [dataclasses.replace(step) for step in steps]
        self._put(lambda: self._observer.changed(record, state, then))

    def pulling(self, image: str, done: int, total: int) -> None:
        """Tell how far a pull is."""
        self._put(lambda: self._observer.pulling(image, done, total))

    def bar(self, step: str, text: str) -> None:
        """Tell the state of a progress bar; one that is not told yet is replaced."""
        with self._changed:
            waits = step in self._bars
            self._bars[step] = text
        if not waits:
            self._put(lambda: self._tell_bar(step))

    def _tell_bar(self, step: str) -> None:
        with self._changed:  # a state that comes now waits for a telling of its own
            text = self._bars.pop(step)
        self._observer.bar(step, text)

    def lines(self, step: str, lines: Sequence[LogLine]) -> None:
        """Tell lines of a step. It waits for a slow reader; where one is stuck, lines are dropped."""
        with self._changed:
            self._wait_for_room()
            # A reader that moves gets all of it, however large the piece.
            room = len(lines) if self._patient else max(MOST_WAITING - self._count, 0)
            last = self._waiting[-1] if self._waiting else None
            if not isinstance(last, _Lines) or last.step != step or len(last.lines) >= _AT_ONCE:
                last = _Lines(step, [])
                self._waiting.append(last)
            last.lines += lines[:room]
            last.dropped += max(len(lines) - room, 0)
            self._count += min(room, len(lines))
            self._changed.notify_all()

    def hurry(self) -> None:
        """Wait for no reader from now on: the run is to stop."""
        with self._changed:
            self._patient, self._hurried = False, True
            self._changed.notify_all()

    def close(self, seconds: float) -> bool:
        """Tell what is left; return whether it was told within so many seconds."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _wait_for_room(self) -> None:
        while self._patient and self._count >= MOST_WAITING and self._thread.is_alive():
            # Another step that prints wakes this one, too, and says nothing of the reader.
            if not self._changed.wait_for(partial(self._moved_since, self._told), PATIENCE):
                self._patient = False

    def _moved_since(self, told: int) -> bool:
        return self._told != told or self._hurried

    def _put(self, tell: Callable[[], None]) -> None:
        with self._changed:
            self._waiting.append(tell)
            self._changed.notify_all()

    def _tell(self) -> None:
        try:
            while (item := self._next()) is not None:
                if isinstance(item, _Lines):
                    self._observer.lines(item.step, item.lines, item.dropped)
                else:
                    item()
        except Exception as error:  # noqa: BLE001 - whatever it is, the run does not go on unseen
            self._failed(error)

    def _next(self) -> Callable[[], None] | _Lines | None:
        """Return what is to be told next, None at the end; a reader that reads again is waited for again."""
        with self._changed:
            while not self._waiting:
                if self._closed:
                    return None
                self._changed.wait()
            item = self._waiting.popleft()
            if isinstance(item, _Lines):
                self._count -= len(item.lines)
            self._told += 1
            self._patient = not self._hurried
            self._changed.notify_all()
            return item
