"""From the bytes of a step to the masked lines of its log, which are told to an observer as well."""

from __future__ import annotations

import codecs
import contextlib
import io
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import IO, cast

from run_kfp.errors import StoreError
from run_kfp.masking import Masker
from run_kfp.steplogs import LONGEST_TEXT, LogLine, log_text

_CUT = " … [cut: longer than 1 MB; the next line goes on]"

# Seconds between two states of a progress bar that are told: somebody looks at it.
_BAR_EVERY = 0.25


class StepLog:
    """The log of a step that runs.

    A line is what stands before a line feed. A carriage return goes back to its beginning, as on a terminal: what comes
    behind it replaces the line, so that a progress bar is one line, its last state.
    """

    def __init__(
        self,
        path: Path,
        file: IO[bytes],
        masker: Masker,
        *,
        now: Callable[[], datetime],
        tell: Callable[[Sequence[LogLine]], None],
        tell_bar: Callable[[str], None],
        broke: Callable[[Exception], None],
    ) -> None:
        """Take where it goes.

        Args:
            path: of the file, for errors.
            file: open to write at its end; it is closed with the log.
            masker: knows the secrets.
            now: the time of day.
            tell: takes the lines.
            tell_bar: takes the state of a line that is not over and was replaced: a progress bar.
            broke: takes a `StoreError` when a line could not be written; nothing is kept after it.
        """
        self._path = path
        self._file: IO[str] = io.TextIOWrapper(cast("io.BufferedWriter", file), encoding="utf-8", newline="\n")
        self._now, self._tell, self._tell_bar, self._broke = now, tell, tell_bar, broke
        self._decoders = {name: codecs.getincrementaldecoder("utf-8")("replace") for name in "OE"}
        self._masked = {name: masker.stream() for name in "OE"}
        self._open = dict.fromkeys("OE", "")
        self._lock = threading.Lock()
        self._dropping = False
        self._bar_told = 0.0

    def __enter__(self) -> StepLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def feed(self, stream: str, chunk: bytes) -> None:
        """Take bytes as they came, of `O` (stdout) or `E` (stderr)."""
        if self._dropping:
            return
        with self._lock:
            if not self._file.closed:
                self._take(stream, self._masked[stream].feed(self._decoders[stream].decode(chunk)))

    def drop_the_rest(self) -> None:
        """Keep nothing more: the step was stopped, and what it has printed since is more than there is time for."""
        self._dropping = True

    def close(self) -> None:
        """Write what is left: a last line without an end. Once is enough, twice no harm."""
        with self._lock:
            if self._file.closed:
                return
            for stream in "OE":
                self._take(stream, self._masked[stream].feed(self._decoders[stream].decode(b"", final=True)))
                self._take(stream, self._masked[stream].close())
                if rest := _seen(self._open[stream]):
                    self._write(stream, [rest])
            with contextlib.suppress(OSError):  # told by the write that failed
                self._file.close()

    def _take(self, stream: str, text: str) -> None:
        *lines, rest = (self._open[stream] + text).split("\n")
        if "\r" in text or "\r" in self._open[stream]:
            lines = [_seen(line) for line in lines]
            if "\r" in rest:
                # The last of it stays: where a line feed follows, it belongs to the return.
                rest = _seen(rest) + "\r" * rest.endswith("\r")
                self._show_bar(_seen(rest))
        if len(rest) > LONGEST_TEXT or any(len(line) > LONGEST_TEXT for line in lines):
            lines = [piece for line in lines for piece in _pieces(line)]
            *begun, rest = _pieces(rest)
            lines += begun
        self._open[stream] = rest
        self._write(stream, lines)

    def _show_bar(self, text: str) -> None:
        if (now := time.monotonic()) >= self._bar_told + _BAR_EVERY:
            self._bar_told = now
            self._tell_bar(text)

    def _write(self, stream: str, texts: Sequence[str]) -> None:
        if not texts:
            return
        now = self._now()
        try:
            self._file.write(log_text(now, stream, texts))
            self._file.flush()
        except OSError as error:
            self._dropping = True
            self._broke(StoreError.of(self._path, error))
        self._tell([LogLine(now, stream, text) for text in texts])


def _seen(line: str) -> str:
    """Return what is seen of a line in the end: what stands behind the last return that something follows."""
    return line.rstrip("\r").rpartition("\r")[2]


def _pieces(line: str) -> list[str]:
    """Cut a line that is too long, so that one without an end does not fill the memory; a piece says that it is one."""
    pieces = [line[start : start + LONGEST_TEXT] for start in range(0, len(line), LONGEST_TEXT)] or [""]
    return [*(piece + _CUT for piece in pieces[:-1]), pieces[-1]]
