"""A run as it goes on: the picture of its steps for a terminal, and its changes, a line each, for everything else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size

from run_kfp.lines import Space, Text
from run_kfp.pipeline import CompiledPipeline
from run_kfp.runs import RunState, RunStatus, StepState, StepStatus
from run_kfp.visible import visible, visible_line

if TYPE_CHECKING:
    from run_kfp.localruns import RunRecord, StepRecord

_MARKS = {
    StepState.WAITING: ("○", "dim"),
    StepState.PENDING: ("○", "yellow"),
    StepState.RUNNING: ("●", "cyan"),
    StepState.SUCCEEDED: ("✓", "green"),
    StepState.FAILED: ("✗", "bold red"),
    StepState.CANCELLING: ("●", "yellow"),
    StepState.CANCELLED: ("✗", "yellow"),
    StepState.SKIPPED: ("–", "dim"),
    StepState.UNKNOWN: ("?", "yellow"),
}


# What a step that has no line of its own is counted as.
_COUNTED = {
    StepState.SUCCEEDED: "done",
    StepState.SKIPPED: "skipped",
    StepState.CANCELLED: "canceled",
    StepState.WAITING: "waiting",
    StepState.PENDING: "pending",
    StepState.RUNNING: "more running",
    StepState.CANCELLING: "more canceling",
    StepState.FAILED: "more failed",
    StepState.UNKNOWN: "more unknown",
}

_OVER = (StepState.SUCCEEDED, StepState.SKIPPED, StepState.CANCELLED)

# What has a line before everything else, in this order; then the steps that ended last, and the next ones.
_FIRST = {
    StepState.RUNNING: 0,
    StepState.CANCELLING: 0,
    StepState.UNKNOWN: 0,
    StepState.FAILED: 1,
    StepState.PENDING: 2,
}

# Columns that the line of a step needs beside its name, and the least that its name gets.
_BESIDE, _LEAST = 25, 12

# Rows below which all steps without a line are counted in one.
_LOW = 6


def steps_in_order(pipeline: CompiledPipeline, status: RunStatus) -> list[StepStatus]:
    """Put the steps of a status into the pipeline's order; one that the backend does not know yet is WAITING."""
    known = {step.name: step for step in status.steps}
    ordered = [known.pop(step.name, StepStatus(step.name, StepState.WAITING)) for step in pipeline.steps]
    return [*ordered, *known.values()]


def progress_lines(pipeline: CompiledPipeline, status: RunStatus, now: datetime, space: Space) -> Iterator[Text]:
    """Draw a run as it stands, a line a step as far as they fit."""
    steps = steps_in_order(pipeline, status)
    started = min((step.started for step in steps if step.started), default=None)
    ended = max((step.ended for step in steps if step.ended), default=None) if status.state.is_final else None
    yield _head(pipeline.display_name, status.state, _clock(started, ended or now))
    yield from _picture(steps, lambda _: [], {}, now, space)


def changes(pipeline: CompiledPipeline, before: RunStatus | None, status: RunStatus, now: datetime) -> Iterator[str]:
    """Yield a line for everything that is new since the last look: what a log without a terminal wants."""
    clock = f"{now.astimezone(UTC):%H:%M:%S}Z"
    if before is None or before.state is not status.state:
        yield f"{clock}  run {status.state.value}"
    old = {step.name: step.state for step in before.steps} if before else {}
    for step in steps_in_order(pipeline, status):
        if step.state is not StepState.WAITING and old.get(step.name) is not step.state:
            yield "  ".join(
                part for part in (clock, f"{step.name} {step.state.value}", duration(step, now), step.error) if part
            )


def record_lines(record: RunRecord, tails: Mapping[str, Sequence[str]], now: datetime, space: Space) -> Iterator[Text]:
    """Draw a run on this machine as it stands.

    Args:
        record: the run.
        tails: the last lines of the logs, by step; those of a running one are drawn below it.
        now: the moment.
        space: where all steps do not fit, the running and the failed ones have a line each, and of the others those
            that ended last and the next ones, as far as there is room; what has no line is counted.
    """
    yield _head(record.pipeline["display_name"], record.state, _clock(record.started, record.ended or now))

    def note(place: int) -> list[tuple[str, str]]:
        step = record.steps[place]
        if step.reused_from:
            return [(f"  done by {step.reused_from}", "dim")]
        if step.after and (place == 0 or step.after != [record.steps[place - 1].name]):
            return [(f"  after {', '.join(step.after)}", "dim")]
        return []

    yield from _picture(record.steps, note, tails, now, space)


def _head(name: str, state: RunState, took: str) -> Text:
    colour = {RunState.SUCCEEDED: "green", RunState.FAILED: "bold red"}.get(state, "cyan")
    line = Text.assemble((name, "bold"), "  ", (state.value, colour))
    return line.append(f"  {took}") if took else line


def _picture(
    steps: Sequence[StepStatus | StepRecord],
    note: Callable[[int], list[tuple[str, str]]],
    tails: Mapping[str, Sequence[str]],
    now: datetime,
    space: Space,
) -> Iterator[Text]:
    """Draw the steps below the head; `note` says what stands behind the time of a step, by its place."""
    below = {
        place: list(tails.get(step.name, ()))
        for place, step in enumerate(steps)
        if step.state in (StepState.RUNNING, StepState.CANCELLING)
    }
    cut = _cut(steps, {place: len(lines) for place, lines in below.items()}, space.rows)
    width = max((cell_len(step.name) for step in steps), default=0)
    width = min(width, max(space.columns - _BESIDE, _LEAST))
    if cut.before:
        yield _counted(cut.before)
    for place in cut.shown:
        step = steps[place]
        mark, style = _MARKS[step.state]
        yield Text.assemble(
            "  ",
            (mark, style),
            f" {_fitted(step.name, width)}  ",
            (f"{step.state.value:<10}", style),
            f"  {duration(step, now)}",
            *note(place),
            (f"  {' '.join(step.error.split())}" if step.error else "", "red"),
        )
        lines = below.get(place, [])
        for text in lines[max(len(lines) - cut.tail, 0) :]:
            # Of a line of a megabyte no more is looked at than is seen.
            shown = visible_line(text, colour=False)[: space.columns].expandtabs(4)
            yield Text(f"      {shown}", "dim", no_wrap=True, overflow="ellipsis")
    if cut.behind:
        yield _counted(cut.behind)


@dataclass(frozen=True)
class _Cut:
    """What is drawn of the steps.

    Attributes:
        shown: the places of those with a line.
        tail: how many lines of its log stand below a running one.
        before: the states of those that are over and counted above the others.
        behind: the states of all else that is counted, below them.
    """

    shown: Sequence[int]
    tail: int
    before: Counter[StepState]
    behind: Counter[StepState]


def _cut(steps: Sequence[StepStatus | StepRecord], tails: Mapping[int, int], rows: int | None) -> _Cut:
    """Choose what is drawn in so many rows, of which one is taken by the head."""
    longest = max(tails.values(), default=0)
    if rows is None or 1 + len(steps) + sum(tails.values()) <= rows:
        return _Cut(range(len(steps)), longest, Counter(), Counter())
    first = [place for place, step in enumerate(steps) if step.state in _FIRST]
    first.sort(key=lambda place: _FIRST[steps[place].state])
    over = [place for place, step in enumerate(steps) if step.state in _OVER]
    over.sort(key=lambda place: _ended(steps[place]), reverse=True)
    waiting = [place for place, step in enumerate(steps) if step.state is StepState.WAITING]
    low = rows < _LOW
    # A row each for the two counts; at the least one for both, and in three rows none: then a step is better.
    counts = (rows > 2) if low else bool(over) + bool(waiting)
    room = rows - 1 - counts
    if len(first) > room and not (low or waiting):
        room -= 1  # they are counted, too
    seen = first[: max(room, 0)]
    room -= len(seen)
    tail = next(few for few in range(longest, -1, -1) if sum(min(few, lines) for lines in tails.values()) <= room)
    room -= sum(min(tail, lines) for lines in tails.values())
    if not low and len(seen) == len(first):
        ahead = _taken(len(waiting), max(room - max(len(over) - 1, 0), room // 2))
        seen += waiting[:ahead]
        seen += over[: _taken(len(over), room - min(ahead, max(len(waiting) - 1, 0)))]
    shown = sorted(seen)
    hidden = Counter(step.state for step in steps)
    hidden.subtract(Counter(steps[place].state for place in shown))
    states = {state: count for state, count in hidden.items() if count}
    before = Counter() if low else Counter({state: count for state, count in states.items() if state in _OVER})
    behind = Counter({state: count for state, count in states.items() if state not in before})
    return _Cut(shown, tail, before, behind if counts or not low else Counter())


def _taken(count: int, rows: int) -> int:
    """Return how many of so many steps are drawn; where all are, the row of their count is free for one of them."""
    return count if count <= rows + 1 else rows


def _ended(step: StepStatus | StepRecord) -> float:
    return step.ended.timestamp() if step.ended else 0.0


def _counted(states: Mapping[StepState, int]) -> Text:
    parts: list[tuple[str, str]] = []
    for state, words in _COUNTED.items():
        if count := states.get(state):
            mark, style = _MARKS[state]
            parts += [("  ", ""), (mark, style), (f" {count} {words}", "dim")]
    return Text.assemble(*parts)


def _fitted(name: str, width: int) -> str:
    """Fill a name up to so many columns; of one that is longer the middle is left out: repeats differ at the end."""
    name = visible(name)
    if cell_len(name) <= width:
        return set_cell_size(name, width)
    end = name[-(width // 3) :]
    return f"{set_cell_size(name, width - 1 - cell_len(end))}…{end}"


def _clock(started: datetime | None, until: datetime) -> str:
    """Say how long something took, as `1:05` or `1:02:05`; nothing of what has not begun."""
    if started is None:
        return ""
    seconds = max(int((until - started).total_seconds()), 0)
    hours, minutes = divmod(seconds // 60, 60)
    return f"{hours}:{minutes:02}:{seconds % 60:02}" if hours else f"{minutes}:{seconds % 60:02}"


def duration(step: StepStatus | StepRecord | RunRecord, now: datetime) -> str:
    """Say how long a step or a run took so far, as `1:05` or `1:02:05`; nothing of one that waits."""
    if step.state in (StepState.WAITING, StepState.PENDING):
        return ""
    return _clock(step.started, step.ended or now)


def record_changes(
    before: Mapping[str, str], state: RunState, steps: Sequence[StepRecord], now: datetime
) -> Iterator[str]:
    """Yield a line for every state that is new; `before` maps "" to the run's and names to the steps' states."""
    clock = f"{now.astimezone(UTC):%H:%M:%S}Z"
    if before.get("") != state:
        yield f"{clock}  run {state.value}"
    for step in steps:
        if step.state is not StepState.WAITING and before.get(step.name) != step.state:
            done = f"done by {step.reused_from}" if step.reused_from else duration(step, now)
            yield "  ".join(part for part in (clock, f"{step.name} {step.state.value}", done, step.error) if part)
