"""A step's log as the report shows it: which lines are errors, and what is left out of a log that is too long."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

LONGEST_LINE = 10_000
"""Characters that a line may have; a browser takes seconds to wrap one of megabytes."""

_RECORD = re.compile(r"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z) (?P<stream>[OE]) (?P<text>.*)", re.DOTALL)
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-Z\\^-~])")
"""Sequences that colour a terminal's text, move its cursor or set its title (ECMA-48)."""


class Severity(StrEnum):
    """How grave a line looks."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


_TRACEBACK = "Traceback (most recent call last)"
_LEVEL = re.compile(
    r"""\b(?P<word>DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|CRITICAL|FATAL)\b   # Python's logging, Google Cloud, Java
    | "(?:level|severity)"\s*:\s*"(?P<key>\w+)"                             # JSON, one object a line
    | ^(?P<glog>[IWEF])\d{4}\ \d\d:\d\d:                                    # TensorFlow, Kubernetes: E1123 14:02:10.1
    | ^(?:\S+:\ )?(?P<prefix>[Ww]arning|[Ee]rror|[Ff]atal):\ (?!\d)         # git, argparse, gcc; not `error: 0.031`
    | ^(?:\w+\.)*\w*?(?P<raised>Error|Exception|Warning):\                  # the last line of a Python traceback
    | ^\S+:\d+:\ \w*?(?P<shown>Warning):\                                   # file.py:12: UserWarning: …
    """,
    re.VERBOSE,
)
_SEVERITIES = {
    **dict.fromkeys(("error", "critical", "fatal", "exception", "e", "f"), Severity.ERROR),
    **dict.fromkeys(("warn", "warning", "w"), Severity.WARNING),
}


def severity(text: str) -> Severity:
    """Guess how grave a line is: by the first level that it names, so that `INFO no ERROR found` is none."""
    if _TRACEBACK in text:
        return Severity.ERROR
    found = _LEVEL.search(text)
    return _SEVERITIES.get(found[found.lastgroup or 0].lower(), Severity.INFO) if found else Severity.INFO


@dataclass(frozen=True, slots=True)
class Line:
    """One line: `raw` as it is kept, without escape sequences."""

    raw: str
    severity: Severity

    @property
    def grave(self) -> bool:
        """Whether it is an error or a warning."""
        return self.severity is not Severity.INFO


@dataclass(frozen=True)
class Log:
    """What the report shows of a log: its first lines, its last lines, and how many it leaves out between them."""

    head: tuple[Line, ...]
    left_out: int
    tail: tuple[Line, ...]
    counts: Counter[Severity]
    """Of all lines, also those that are left out; what was not read counts as neither error nor warning."""

    @classmethod
    def read(cls, lines: Iterable[str | int], room: int) -> Log:
        """Read a log whose lines are `<RFC 3339 time> <O or E> <text>`; any other line is taken as text.

        Args:
            lines: with or without their line ends; a number stands for so many lines that were not read.
            room: how many characters to keep; of a longer log a quarter at its start, the rest at its end, where most
                failures say what happened.
        """
        head: list[Line] = []
        tail: deque[Line] = deque()
        counts: Counter[Severity] = Counter()
        free_head, free_tail, left_out, full = room // 4, room - room // 4, 0, False
        for line in _classified(lines):
            if isinstance(line, int):
                # What follows is shown behind it, so that nothing of the first part stays in the tail.
                left_out, full, free_tail = left_out + line + len(tail), True, room - room // 4
                counts[Severity.INFO] += line
                tail.clear()
                continue
            counts[line.severity] += 1
            size = len(line.raw) + 1
            full = full or size > free_head
            if not full:
                head.append(line)
                free_head -= size
                continue
            tail.append(line)
            free_tail -= size
            while free_tail < 0 and len(tail) > 1:
                free_tail += len(tail.popleft().raw) + 1
                left_out += 1
        return cls(tuple(head), left_out, tuple(tail), counts)

    @property
    def lines(self) -> tuple[Line, ...]:
        """What is shown; where lines are missing, one line says so."""
        if not self.left_out:
            return (*self.head, *self.tail)
        note = Line(f"… {self.left_out:,} lines are left out here; the log file has them all …", Severity.INFO)
        return (*self.head, note, *self.tail)

    @property
    def total(self) -> int:
        """How many lines the log has."""
        return self.counts.total()

    @property
    def size(self) -> int:
        """How many characters are shown."""
        return sum(len(line.raw) + 1 for line in self.lines)


def _classified(lines: Iterable[str | int]) -> Iterator[Line | int]:
    in_traceback: dict[str, bool] = {}
    for line in lines:
        if isinstance(line, int):
            yield line
            continue
        raw = _ESCAPES.sub("", line.rstrip("\r\n")).replace("\n", " ")
        record = _RECORD.fullmatch(raw)
        stream, text = (record["stream"], record["text"]) if record else ("O", raw)
        guess = severity(text[:LONGEST_LINE])
        if in_traceback.get(stream):
            # The indented lines belong to it, and so does the first that is not: it names the exception.
            in_traceback[stream] = text.startswith(" ")
            guess = Severity.ERROR
        if _TRACEBACK in text:
            in_traceback[stream] = True
        if len(raw) > LONGEST_LINE:
            raw = f"{raw[:LONGEST_LINE]}… ({len(raw) - LONGEST_LINE:,} more characters)"
        yield Line(raw, guess)
