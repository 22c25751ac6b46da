"""The log of a step as a file: a line is `<RFC 3339 time> <O or E> <text>`; read in pieces, from either end.

It is input like any other when it is read: the folder of a run may come with a checkout.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from run_kfp.errors import InputError
from run_kfp.files import open_regular

# Characters of a line of a step; a longer one is cut into several.
LONGEST_TEXT = 2**20

# Bytes of a line of a log: a character of UTF-8 takes four at most, a time and a mark some more.
_LONGEST_LINE = 4 * LONGEST_TEXT + 1000


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of a step: when it came (UTC), `O` for stdout or `E` for stderr, its text without the line end."""

    time: datetime
    stream: str
    text: str

    def __str__(self) -> str:
        return log_text(self.time, self.stream, [self.text]).removesuffix("\n")

    @classmethod
    def parse(cls, line: str) -> LogLine | None:
        """Read a line of a log file; None when it is none (the last one of a machine that went down)."""
        stamp, _, rest = line.rstrip("\n").partition(" ")
        stream, _, text = rest.partition(" ")
        try:
            time = datetime.fromisoformat(stamp)
        except ValueError:
            return None
        return cls(time, stream, text) if stream in ("O", "E") and time.tzinfo else None


def log_time(time: datetime) -> str:
    """Return a time as it stands in a log: RFC 3339, UTC, milliseconds."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def log_text(time: datetime, stream: str, texts: Sequence[str]) -> str:
    """Return lines of a log file: those that came at one time."""
    front = f"{log_time(time)} {stream} "
    return "".join([f"{front}{text}\n" for text in texts])


def log_names(steps: Sequence[str]) -> dict[str, str]:
    """Return the file of each step's log, relative to the folder of the run; a name is no path."""
    names: dict[str, str] = {}
    for number, step in enumerate(steps, 1):
        safe = re.sub(r"[^A-Za-z0-9._-]", "_", step)[:100]
        name = f"logs/{safe}.log"
        names[step] = name if name not in names.values() else f"logs/{safe}.{number}.log"
    return names


# Bytes of a log that are read at a time; with many logs, so much of each is in memory.
_PIECE = 64 * 1024


def last_lines(path: Path, count: int) -> list[LogLine]:
    """Return the last lines of a log, read from its end; none where there is no log."""
    with contextlib.suppress(FileNotFoundError), open_log(path) as file:
        file.seek(_begin_of_last(file, count))
        lines = [LogLine.parse(raw.decode("utf-8", "replace")) for raw in file.read().split(b"\n")[:-1]]
        return [line for line in lines if line is not None]
    return []


def _begin_of_last(file: IO[bytes], count: int) -> int:
    """Return where the last `count` complete lines of a log begin; no more than their longest is looked at."""
    end = file.seek(0, os.SEEK_END)
    first = max(end - count * _LONGEST_LINE, 0)
    wanted = count + 1  # the end of the line before them, too
    while end > first:
        begin = max(end - _PIECE, first)
        file.seek(begin)
        piece = file.read(end - begin)
        if (found := piece.count(b"\n")) >= wanted:
            place = len(piece)
            for _ in range(wanted):
                place = piece.rindex(b"\n", 0, place)
            return begin + place + 1
        wanted -= found
        end = begin
    return first


def follow_logs(
    paths: Mapping[str, Path],
    ended: Callable[[], bool],
    *,
    tail: int | None = None,
    since: datetime | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[tuple[str, LogLine]]:
    """Yield the lines of several logs as they come, each look in the order of their times.

    Memory does not follow the size of the logs: a piece of each is read at a time.

    Args:
        paths: the logs by the names of their steps; a file may be missing as long as its step has not begun.
        ended: says that no more will come; what is there then is still read.
        tail: how many lines of each are taken of what is there at the beginning, the last ones; None for all.
        since: before which lines are left out.
        sleep: waits for a number of seconds; tests bring their own.

    Raises:
        InputError: a log is no regular file, or cannot be read.
    """
    positions = {name: 0 if tail is None else place_of_last(path, tail) for name, path in paths.items()}
    while True:
        last = ended()
        lines = new_lines(paths, positions)
        yield from (pair for pair in lines if since is None or pair[1].time >= since)
        if last:
            return
        sleep(0.3)


def new_lines(paths: Mapping[str, Path], positions: dict[str, int]) -> Iterator[tuple[str, LogLine]]:
    """Yield the complete lines of several logs from a position of each on, in the order of their times.

    Args:
        paths: the logs by the names of their steps; a file may be missing.
        positions: by the same names, in bytes; each is moved behind the lines that were read.

    Raises:
        InputError: a log is no regular file, or cannot be read.
    """
    logs = [_new_lines(name, path, positions) for name, path in paths.items()]
    yield from heapq.merge(*logs, key=lambda pair: pair[1].time)


def place_of_last(path: Path, count: int) -> int:
    """Return where in a log its last lines begin, in bytes.

    Raises:
        InputError: it is no regular file, or cannot be read.
    """
    with contextlib.suppress(FileNotFoundError), open_log(path) as file:
        return _begin_of_last(file, count)
    return 0


def open_log(path: Path) -> IO[bytes]:
    """Open a log, `logs/<name>.log` of a run's folder.

    Raises:
        FileNotFoundError: it is not there.
        InputError: it is no regular file, or cannot be read.
    """
    try:
        return open_regular(path, within=path.parent.parent)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InputError(f"cannot read the log {path}: {error.strerror}") from None


def _new_lines(name: str, path: Path, positions: dict[str, int]) -> Iterator[tuple[str, LogLine]]:
    """Yield the complete lines of a log from a position on, and move the position behind each."""
    rest = b""
    while True:
        piece = b""
        # Opened for each piece: a run may have more logs than a process may have open files.
        with contextlib.suppress(FileNotFoundError), open_log(path) as file:
            file.seek(positions[name] + len(rest))
            piece = file.read(_PIECE)
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) > _LONGEST_LINE:  # of another program: it may have no end
            positions[name] += len(rest)
            rest = b""
        for raw in lines:
            positions[name] += len(raw) + 1
            if line := LogLine.parse(raw.decode("utf-8", "replace")):
                yield name, line
        if len(piece) < _PIECE:
            return
