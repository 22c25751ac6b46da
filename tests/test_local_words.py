"""What a run on this machine says from its plan to its end, whole; times and ids are written as letters."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from conftest import Cli, Write
from run_kfp.commands.check import WIDEST
from run_kfp.commands.local import conclude_rehearsal
from run_kfp.errors import RunFailed, RunStopped
from run_kfp.localstore import LocalRuns
from run_kfp.preflight.rules import rule, rules
from run_kfp.runs import RunState, StepState
from run_kfp.steplogs import log_text
from test_localruns import a_record

NOON = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)

REGISTRY = """
[pipeline]
name = "chain"
[containers.1]
name = "good"
image = "nobody/good"
args = [{ param = "tag" }]
process = { cwd = ".", entrypoint = ["{python}", "-c", "import sys; print('tag', sys.argv[1])"] }
[containers.2]
name = "bad"
image = "nobody/bad"
args = [{ secret = "key" }]
process = { cwd = ".", entrypoint = ["{python}", "-c", "import sys; sys.exit('no data')"] }
[secrets.key]
env = "KEY"
"""


def steady(text: str) -> list[str]:
    """Write clocks as T, durations as D, ids of runs as chain-ID."""
    text = re.sub(r"\d\d:\d\d:\d\dZ", "T", text)
    text = re.sub(r"\d{4}-\d\d-\d\d T", "DAY T", text)
    text = re.sub(r"\bchain-\d{14}-[0-9a-f]{6}\b", "chain-ID", text)
    return [re.sub(r"\b\d:\d\d\b", "D", line).rstrip() for line in text.splitlines()]


def test_a_run_that_succeeds(cli: Cli, write: Write) -> None:
    write("run-kfp.toml", REGISTRY.replace("{python}", sys.executable))
    ended = cli("-r", "1", "-t", "v1", "--local", "--engine", "process")

    assert ended.code == 0
    assert steady(ended.out) == ["local://chain-ID"]
    assert steady(ended.err) == [
        "chain  1 step",
        "  ○ good  nobody/good  default machine",
        "T  run PENDING",
        "warning: engine process: no images, no file system per step, no limits; use --engine docker to "
        "test what ships",
        "T  run RUNNING",
        "T  good PENDING",
        "T  good RUNNING  D",
        "T  good │ tag v1",
        "T  good SUCCEEDED  D",
        "T  run SUCCEEDED",
        "logs: .run-kfp/runs/chain-ID/logs",
        "report: .run-kfp/runs/chain-ID/report.html",
    ]
    assert steady(cli("runs").out) == ["chain-ID  SUCCEEDED   DAY T     D  1/1 steps  process"]
    assert steady(cli("logs").out) == ["good │ tag v1"]


def test_a_run_that_fails(cli: Cli, write: Write) -> None:
    write("run-kfp.toml", REGISTRY.replace("{python}", sys.executable))
    ended = cli("-r", "1", "-r", "2", "-t", "v1", "--local", "--engine", "process", KEY="k" * 30)

    assert ended.code == 5
    assert steady(ended.out) == ["local://chain-ID"]
    assert steady(ended.err) == [
        "chain  2 steps",
        "  ○ good  nobody/good  default machine",
        "  │",
        "  ○ bad   nobody/bad   default machine",
        "note: key: passed as arguments, masked in logs and records",
        "T  run PENDING",
        "warning: engine process: no images, no file system per step, no limits; use --engine docker to "
        "test what ships",
        "T  run RUNNING",
        "T  good PENDING",
        "T  good RUNNING  D",
        "T  good │ tag v1",
        "T  good SUCCEEDED  D",
        "T  bad PENDING",
        "T  bad RUNNING  D",
        "T  bad │ no data",
        "T  bad FAILED  D  exit code 1",
        "T  run FAILED",
        "logs: .run-kfp/runs/chain-ID/logs",
        "report: .run-kfp/runs/chain-ID/report.html",
        "error: the run failed: step bad: exit code 1",
        "    no data",
        "  → full log: run-kfp logs chain-ID bad; `--from bad` restarts it at this step",
    ]
    assert steady(cli("watch").err) == [
        "warning: engine process: no images, no file system per step, no limits; use --engine docker to "
        "test what ships",
        "T  run FAILED",
        "T  good SUCCEEDED  D",
        "T  bad FAILED  D  exit code 1",
        "error: the run failed: step bad: exit code 1",
        "    no data",
        "  → full log: run-kfp logs chain-ID bad; `--from bad` restarts it at this step",
    ]


def test_how_a_run_ended_is_told(tmp_path: Path) -> None:
    folder = LocalRuns(tmp_path).folder("chain-1")
    record = a_record()

    def told(state: RunState, step: StepState, error: str | None = None) -> tuple[str, str, int]:
        ended = replace(
            record, state=state, error=error, steps=[replace(record.steps[0], state=step, error="exit code 1")]
        )
        with pytest.raises((RunFailed, RunStopped)) as raised:
            conclude_rehearsal(ended, folder)
        return raised.value.message, raised.value.hint.replace(str(tmp_path), "…"), len(raised.value.faults)

    conclude_rehearsal(replace(record, state=RunState.SUCCEEDED), folder)
    assert told(RunState.CANCELLED, StepState.CANCELLED) == (
        "the run was canceled: local://chain-1",
        "its logs are in …/runs/chain-1",
        0,
    )
    assert told(RunState.FAILED, StepState.FAILED) == (
        "the run failed: step one: exit code 1",
        "full log: run-kfp logs chain-1 one",
        0,
    )
    assert told(RunState.FAILED, StepState.SKIPPED) == (
        "the run failed: no reason given",
        "full log: run-kfp logs chain-1",
        0,
    )
    assert told(RunState.FAILED, StepState.SKIPPED, "the disk is full") == (
        "the run failed: the disk is full",
        "full log: run-kfp logs chain-1",
        0,
    )


@pytest.mark.parametrize(("count", "most"), [(1, 10), (2, 10), (5, 10), (10, 5), (50, 1), (60, 1)])
def test_of_many_failures_each_shows_less(tmp_path: Path, count: int, most: int) -> None:
    folder = LocalRuns(tmp_path).folder("chain-1")
    (folder.path / "logs").mkdir(parents=True)
    (folder.path / "logs/one.log").write_text(log_text(NOON, "E", [f"line {n}" for n in range(20)]), encoding="utf-8")
    record = a_record()
    steps = [
        replace(record.steps[0], name=f"s{n}", state=StepState.FAILED, error="e", log="logs/one.log")
        for n in range(count)
    ]

    with pytest.raises(RunFailed) as raised:
        conclude_rehearsal(replace(record, state=RunState.FAILED, error="e", steps=steps), folder)

    words = [fault.hint for fault in raised.value.faults] or ["\n".join(raised.value.message.split("\n")[1:])]
    lines = [f"    line {number}" for number in range(20 - most, 20)]
    assert words == ["\n".join(lines)] * count


def test_what_explain_lists(cli: Cli) -> None:
    known = rules().values()
    width = max(len(one.name) for one in known)
    expected: list[str] = []
    for group in sorted({one.group for one in known}):
        expected += [group, *(f"  {one.name:<{width}}  {one.title}" for one in known if one.group == group)]

    assert cli("explain").out.splitlines() == expected


def test_what_explain_says(cli: Cli) -> None:
    told = cli("explain", "RK-ENV-NAME").out.splitlines()
    found = rule("RK-ENV-NAME")

    assert told[:2] == [f"{found.name}  {found.title}", f"✗ error; without the check, {found.when.value}:"]
    assert told[2:4] == [f"  {found.impact}", ""]
    assert " ".join(told[4:-5]) == " ".join(found.explanation.split())
    assert max(map(len, told[4:-5])) < WIDEST
    assert told[-5:] == [
        "",
        "source: google.cloud.aiplatform.v1.ContainerSpec and EnvVar (custom_job.proto, env_var.proto)",
        "to suppress it: --ignore RK-ENV-NAME, or in the registry",
        "  [check.ignore]",
        '  RK-ENV-NAME = "the reason"',
    ]
