"""The picture of a run in the room that there is: what matters has a line, the rest is counted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from run_kfp.lines import Space
from run_kfp.localruns import RunRecord, StepRecord
from run_kfp.progress import record_lines
from run_kfp.runs import RunState, StepState

NOW = datetime(2026, 11, 23, 14, 2, 10, tzinfo=UTC)
WAITING, RUNNING, SUCCEEDED, FAILED, SKIPPED = (
    StepState.WAITING,
    StepState.RUNNING,
    StepState.SUCCEEDED,
    StepState.FAILED,
    StepState.SKIPPED,
)


def record(states: Sequence[StepState], prefix: str = "work-") -> RunRecord:
    """A run whose steps ended, as far as they have, one after the other."""
    steps = [
        StepRecord(f"{prefix}{number}", "", "", [], "", state, NOW - timedelta(hours=1))
        for number, state in enumerate(states, 1)
    ]
    for number, step in enumerate(steps):
        if step.state in (SUCCEEDED, FAILED):
            step.ended = NOW - timedelta(minutes=30) + timedelta(seconds=number)
    return RunRecord(
        id="chain-1",
        ref="local://chain-1",
        pipeline={"name": "chain", "display_name": "chain"},
        engine="process",
        state=RunState.RUNNING,
        created=NOW - timedelta(hours=1),
        started=NOW - timedelta(hours=1),
        parameters={},
        runner={},
        steps=steps,
    )


def drawn(run: RunRecord, rows: int | None, columns: int = 80, tails: dict[str, list[str]] | None = None) -> list[str]:
    return [line.plain for line in record_lines(run, tails or {}, NOW, Space(columns, rows))]


def test_thirty_steps_of_which_the_28th_runs() -> None:
    lines = drawn(record([SUCCEEDED] * 27 + [RUNNING] + [WAITING] * 2), 24, tails={"work-28": ["a", "b", "c"]})

    assert len(lines) == 24
    assert lines[0] == "chain  RUNNING  1:00:00"
    assert lines[1] == "  ✓ 11 done"
    assert lines[2].split() == ["✓", "work-12", "SUCCEEDED", "30:11"]
    assert lines[18].split() == ["●", "work-28", "RUNNING", "1:00:00"]
    assert lines[19:22] == ["      a", "      b", "      c"]
    assert lines[23].split() == ["○", "work-30", "WAITING"]


def test_where_all_fits_all_is_shown() -> None:
    run = record([SUCCEEDED] * 5 + [RUNNING, WAITING])

    assert drawn(run, 8) == drawn(run, None)
    assert not [line for line in drawn(run, 8) if "done" in line]
    assert drawn(run, 7)[1] == "  ✓ 2 done"
    assert len(drawn(record([SUCCEEDED] * 1000), None)) == 1001


def test_a_failure_in_a_hundred_branches_is_seen() -> None:
    states = [SUCCEEDED] * 40 + [FAILED] + [SUCCEEDED] * 20 + [RUNNING] * 2 + [WAITING] * 37

    lines = drawn(record(states), 24)

    assert [line.split()[1] for line in lines if re.match(r"  [●✗]", line)] == [
        "work-41",
        "work-62",
        "work-63",
    ]
    assert len(lines) == 24
    assert lines[-1] == "  ○ 28 waiting"


def test_more_failures_than_rows_are_counted() -> None:
    lines = drawn(record([FAILED] * 98 + [RUNNING] * 2), 10)

    assert len(lines) == 10
    assert [line.split()[1] for line in lines if "RUNNING   " in line] == ["work-99", "work-100"]
    assert lines[-1] == "  ✗ 92 more failed"


@pytest.mark.parametrize("rows", [2, 3, 4, 5, 6, 7])
def test_a_running_step_is_seen_in_the_lowest_window(rows: int) -> None:
    lines = drawn(record([SUCCEEDED] * 27 + [RUNNING] + [WAITING] * 2), rows, tails={"work-28": ["a", "b", "c"]})

    assert len(lines) <= rows
    assert [line for line in lines if line.split()[:2] == ["●", "work-28"]]


@given(st.lists(st.sampled_from(StepState), min_size=1, max_size=60), st.integers(1, 40), st.integers(0, 3))
def test_nothing_is_lost_and_nothing_is_too_high(states: list[StepState], rows: int, tail: int) -> None:
    run = record(states)
    tails = {step.name: ["tail"] * tail for step in run.steps}

    lines = drawn(run, rows, tails=tails)

    assert len(lines) <= rows
    steps = [line for line in lines[1:] if re.match(r"  . work-", line)]
    counted = [int(count) for line in lines[1:] if line not in steps for count in re.findall(r"[^ ] (\d+) ", line)]
    if rows > 2:
        assert len(steps) + sum(counted) == len(states)
    important = sum(state in (RUNNING, FAILED, StepState.CANCELLING, StepState.UNKNOWN) for state in states)
    if important + 4 <= rows:
        assert sum(not re.match(r"  . \S+ +(SUCC|SKIP|CANCELLED|WAIT|PEND)", line) for line in steps) == important
    # A count stands for two steps at least, where it has a row of its own.
    if rows >= 8 and important + 6 <= rows:
        assert all(
            sum(map(int, re.findall(r"[^ ] (\d+) ", line))) > 1
            for line in lines[1:]
            if " more " not in line and re.match(r"  . \d", line)
        )


@pytest.mark.parametrize("prefix", ["a-very-long-name-of-a-step-that-trains-a-model-", "数据准备步骤的名字" * 4])
@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_a_long_name_leaves_room_for_state_and_time(prefix: str, columns: int) -> None:
    lines = drawn(record([SUCCEEDED, RUNNING], prefix), 24, columns)

    for number, line in enumerate(lines[1:], 1):
        assert cell_len(line) <= columns
        assert re.search(rf"{number} +(SUCCEEDED|RUNNING) +[0-9:]+$", line), line


def test_an_error_of_several_lines_is_one_row() -> None:
    run = record([FAILED])
    run.steps[0].error = "no\ndata"

    assert drawn(run, 24)[1].endswith("no data")
