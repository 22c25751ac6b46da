"""When the steps ran: a bar for each on one scale of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from run_kfp.report.markup import Html, tag

TICKS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
"""Seconds between two marks of the scale, the ones that people count in."""
MOST_TICKS = 5


@dataclass(frozen=True)
class Span:
    """A step on the timeline; one that has not ended goes on to the end of the scale."""

    name: str
    look: str
    link: str
    state: str
    started: datetime | None
    ended: datetime | None


def moment(text: str | None) -> datetime | None:
    """Read an ISO 8601 time of a run record, UTC where it names no zone; None when there is none."""
    if not text:
        return None
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def duration_words(time: timedelta) -> str:
    """Say how long something took: `0.4 s`, `12 s`, `4 min 05 s`, `1 h 04 min`."""
    seconds = max(time.total_seconds(), 0.0)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def timeline(spans: Sequence[Span], start: datetime, end: datetime) -> Html:
    """Draw the timeline as a list that also says its times in words.

    Args:
        spans: the steps in the order in which they are listed.
        start: the left end of the scale.
        end: its right end, the last moment that is known of the run.
    """
    length = max((end - start).total_seconds(), 0.001)
    marks = _marks(length)

    def percent(seconds: float) -> str:
        return f"{100 * min(max(seconds / length, 0), 1):.2f}%"

    lines = [tag("line", x1=percent(mark), x2=percent(mark), y1=0, y2="100%", class_="tick") for mark in marks]

    def row(span: Span) -> Html:
        bar: Html | None = None
        words = span.state.lower()
        if span.started:
            after = (span.started - start).total_seconds()
            took = ((span.ended or end) - span.started).total_seconds()
            bar = tag("rect", x=percent(after), width=percent(took), y="20%", height="60%", rx=2, class_="bar")
            words = f"{duration_words(timedelta(seconds=took))} from +{duration_words(timedelta(seconds=after))}"
        return tag(
            "li",
            tag("a", span.name, href=span.link, title=span.name),
            tag("svg", lines, bar, aria_hidden="true"),
            tag("span", words, class_="words"),
            class_=span.look,
        )

    scale = tag(
        "div",
        tag("svg", [tag("text", _mark_words(mark), x=percent(mark), y="80%") for mark in marks]),
        class_="scale",
        aria_hidden="true",
    )
    return tag("div", scale, tag("ol", map(row, spans)), class_="timeline")


def _marks(length: float) -> list[int]:
    every = next((tick for tick in TICKS if length / tick < MOST_TICKS), None)
    if every is None:
        every = TICKS[-1] * (int(length / TICKS[-1] / MOST_TICKS) + 1)
    # A mark close to the right end would have its words cut off.
    return [every * count for count in range(MOST_TICKS) if every * count <= 0.93 * length]


def _mark_words(seconds: int) -> str:
    minutes, hours = seconds // 60, seconds // 3600
    if seconds < 60:
        return f"{seconds} s" if seconds else "0"
    if hours < 1:
        return f"{minutes}:{seconds % 60:02} min" if seconds % 60 else f"{minutes} min"
    return f"{hours}:{minutes % 60:02} h"
