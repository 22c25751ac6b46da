"""Lines that are drawn in the same place of a terminal again and again, with everything else that is printed above.

Rich's own `Live` counts the rows of its last picture as they were when it was drawn. A window that has become narrower
has wrapped them since, and pieces of them would stay.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeAlias

from rich.cells import chop_cells
from rich.control import Control
from rich.segment import ControlType, Segment, Segments

from run_kfp.lines import Space

if TYPE_CHECKING:
    from rich.console import Console

    from run_kfp.lines import Text

Render: TypeAlias = "Callable[[Space], Iterable[Text]]"

# Seconds between two pictures when nothing happens: the time of a running step moves.
_TICK = 0.5

# A picture that took so long is followed by a pause of so many times that: drawing takes a sixth of the time at most.
_PAUSE = 5


class InPlace:
    """A picture at the end of what a terminal shows, from `with` to its end; all threads may call it."""

    def __init__(self, console: Console, render: Render) -> None:
        """Take where to draw and what: `render` is called for every picture."""
        self._console = console
        self._render = render
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._rows: list[str] = []
        self._quiet_until = 0.0
        self._thread = threading.Thread(target=self._keep_moving, name="picture", daemon=True)

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._console.show_cursor(False)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the last picture where it is.

        What was followed to its end is left complete, however long: it can be scrolled, and nothing is drawn over it
        any more. What was broken off is left as it was seen.
        """
        self._ended.set()
        self._thread.join()
        with self._lock, self._console:
            self._draw(complete=kind is None)
            if self._rows:
                self._console.line()
            self._console.show_cursor(True)

    def update(self) -> None:
        """Draw what is new: at once, or at the next tick where pictures follow each other too fast."""
        with self._lock:
            if time.monotonic() >= self._quiet_until:
                self._draw()

    @contextmanager
    def above(self) -> Iterator[None]:
        """Take the picture away while something else is printed."""
        with self._lock:
            self._console.control(self._erasing())
            self._rows = []
            yield
            self._draw()

    def _keep_moving(self) -> None:
        while not self._ended.wait(_TICK):
            with self._lock, contextlib.suppress(OSError, ValueError):  # nobody reads any more
                self._draw()

    def _draw(self, *, complete: bool = False) -> None:
        began = time.monotonic()
        console = self._console
        width, height = console.size
        # A terminal that is asked to wrap a line takes it for two.
        options = console.options.update(no_wrap=True, overflow="ellipsis")
        rows = [
            row
            for line in self._render(Space(width, None if complete else height))
            for row in console.render_lines(line, options, pad=False)
        ]
        if not complete:
            rows = rows[:height]
        with console:  # one write
            console.control(self._erasing())
            lines = [piece for row in rows for piece in (Segment.line(), *row)]
            console.print(Segments(lines[1:]), end="", soft_wrap=True)
        self._rows = ["".join(segment.text for segment in row) for row in rows]
        self._quiet_until = time.monotonic() + _PAUSE * (time.monotonic() - began)

    def _erasing(self) -> Control:
        """Return what takes the last picture away.

        In a window that is narrower by now its longer rows are wrapped: that is what terminals do, but for xterm, in
        which some of what was printed before is lost.
        """
        width, height = self._console.size
        rows = sum(max(len(chop_cells(row, width)), 1) for row in self._rows)
        return Control(
            ControlType.CARRIAGE_RETURN,
            (ControlType.ERASE_IN_LINE, 2),
            *[(ControlType.CURSOR_UP, 1), (ControlType.ERASE_IN_LINE, 2)] * (min(rows, height) - 1),
        )
