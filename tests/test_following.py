"""`watch`: a run that another program runs is told as that program tells it, each line of a step once."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from conftest import Cli, Write
from local_pipelines import latest
from run_kfp.commands.following import Follower
from run_kfp.localruns import RunFolder, RunRecord, StepRecord, local_ref
from run_kfp.localstore import LocalRuns
from run_kfp.runs import RunState, StepState
from run_kfp.steplogs import LogLine, log_text

NOON = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)

STEP = """
import sys
name = sys.argv[1]
for number in range(20):
    print(name, number, flush=True)
if name == "second":
    open("pipe").read()
    for number in range(20, 3000):
        print(name, number)
    sys.exit("no data")
"""


@pytest.fixture
def waiting(cli: Cli, folder: Path, write: Write) -> subprocess.Popen[str]:
    """A run of two steps of which the second has printed its first lines and waits for the end of a pipe."""
    words = ['[pipeline]\nname = "chain"']
    words += [
        f'[containers.{number}]\nname = "{name}"\nimage = "nobody/x"\n'
        f"process = {{ cwd = '.', entrypoint = {[sys.executable, 'step.py', name]} }}"
        for number, name in enumerate(("first", "second"), 1)
    ]
    write("run-kfp.toml", "\n".join(words))
    write("step.py", STEP)
    os.mkfifo(folder / "pipe")
    process = cli.start("-r", "1-2", "--no-check", "--local", "--engine", "process")
    until(process, "second │ second 19")
    return process


def until(process: subprocess.Popen[str], words: str) -> list[str]:
    """Read the words of a program up to a line."""
    assert process.stderr is not None
    seen: list[str] = []
    while words not in "".join(seen[-1:]):
        seen.append(process.stderr.readline())
        assert seen[-1], seen
    return seen


def test_it_shows_the_lines_as_the_run_does(cli: Cli, folder: Path, waiting: subprocess.Popen[str]) -> None:
    watch = cli.start("watch")
    before = until(watch, "second │ second 19")
    (folder / "pipe").write_text("", encoding="utf-8")
    assert waiting.stderr is not None
    assert watch.stderr is not None
    shown, watched = waiting.stderr.read().splitlines(), "".join([*before, watch.stderr.read()]).splitlines()

    assert (waiting.wait(60), watch.wait(60)) == (5, 5)
    lines = [line for line in watched if "│" in line]
    assert [line.split("│ ")[1] for line in lines if "no data" not in line] == [
        f"second {number}" for number in range(3000)
    ]
    # stdout and stderr are two pipes: the last line comes anywhere.
    own = [line for line in shown if "│" in line]
    assert len(own) == len(set(own)) == 2981
    assert set(own) <= set(lines)
    assert all(re.match(r"\d\d:\d\d:\d\dZ  second │ ", line) for line in lines)
    states = [re.sub(r"^\S+Z  |  \d.*$", "", line) for line in watched if re.match(r"\S+Z  (?!second │)", line)]
    assert states == ["run RUNNING", "second RUNNING", "first SUCCEEDED", "run FAILED", "second FAILED"]
    places = [next(place for place, line in enumerate(watched) if words in line) for words in states[1::3]]
    assert places[0] < watched.index(lines[0]) < watched.index(lines[-1]) < places[1]


def test_it_gives_the_lines_as_events(cli: Cli, folder: Path, waiting: subprocess.Popen[str]) -> None:
    watch = cli.start("watch", "--json")
    assert watch.stdout is not None
    before = [watch.stdout.readline()]
    while '"second 19"' not in before[-1]:
        before.append(watch.stdout.readline())
        assert before[-1]
    (folder / "pipe").write_text("", encoding="utf-8")
    events = [json.loads(line) for line in [*before, *watch.stdout.read().splitlines()]]

    assert watch.wait(60) == 5
    assert waiting.stderr is not None
    waiting.stderr.read()
    written = (folder / ".run-kfp/runs" / latest(folder)["id"] / "logs/second.log").read_text(encoding="utf-8")
    logs = [event for event in events if event["event"] == "log"]
    assert [(event["step"], event["stream"], event["text"]) for event in logs] == [
        ("second", line.stream, line.text) for line in map(LogLine.parse, written.splitlines()) if line
    ]
    assert datetime.fromisoformat(logs[0]["time"]).tzinfo is not None
    told = [(event["event"], event.get("step"), event.get("state")) for event in events if event["event"] != "log"]
    assert told[-2:] == [("step", "second", "FAILED"), ("end", None, "FAILED")]


class Seen:
    """Keeps what an observer is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def changed(self, record: RunRecord, state: RunState, steps: Sequence[StepRecord]) -> None:
        words = [f"{step.name} {step.state}" for step in steps if step.state is not StepState.WAITING]
        self.told.append(f"{state}: {', '.join(words)}")

    def lines(self, step: str, lines: Sequence[LogLine], dropped: int) -> None:
        self.told += [line.text for line in lines]

    def bar(self, step: str, text: str) -> None:
        raise AssertionError("a bar is in no log")

    def pulling(self, image: str, done: int, total: int) -> None:
        raise AssertionError("nothing is pulled")


def run_with(tmp_path: Path, *names: str) -> tuple[RunFolder, RunRecord]:
    folder = LocalRuns(tmp_path).folder("chain-1")
    (folder.path / "logs").mkdir(parents=True)
    steps = [StepRecord(name, name, "", [], "", log=f"logs/{name}.log") for name in names]
    return folder, RunRecord(
        id="chain-1",
        ref=str(local_ref("chain-1")),
        pipeline={"name": "chain"},
        engine="process",
        state=RunState.RUNNING,
        created=NOON,
        parameters={},
        runner={},
        steps=steps,
    )


def add(folder: RunFolder, step: str, text: str) -> None:
    with (folder.path / "logs" / f"{step}.log").open("a", encoding="utf-8") as file:
        file.write(text)


def test_a_step_is_told_to_run_before_its_lines_and_to_have_ended_after_them(tmp_path: Path) -> None:
    folder, record = run_with(tmp_path, "one", "two")
    seen = Seen()
    follower = Follower(folder, seen)
    one, two = record.steps
    one.state = StepState.SUCCEEDED
    add(folder, "one", log_text(NOON, "O", ["of an earlier time"]))
    two.state, two.started = StepState.RUNNING, NOON
    add(folder, "two", log_text(NOON, "O", ["a", "b"]) + "2026-11-25T12:00:01.0")
    follower.seen(record)
    assert seen.told == ["RUNNING: two RUNNING", "a", "b", "RUNNING: one SUCCEEDED, two RUNNING"]

    seen.told.clear()
    add(folder, "two", "00Z E c\n")
    two.state, record.state = StepState.SUCCEEDED, RunState.SUCCEEDED
    follower.seen(record)
    follower.seen(record)
    assert seen.told == ["c", *["SUCCEEDED: one SUCCEEDED, two SUCCEEDED"] * 2]


def test_a_step_that_ran_between_two_looks_is_told_to_have_run(tmp_path: Path) -> None:
    folder, record = run_with(tmp_path, "quick", "unable")
    seen = Seen()
    follower = Follower(folder, seen)
    follower.seen(record)
    quick, unable = record.steps
    quick.started, quick.ended, quick.state = NOON, NOON + timedelta(milliseconds=1), StepState.FAILED
    unable.started, unable.ended, unable.state = NOON, NOON, StepState.FAILED
    record.state = RunState.FAILED
    add(folder, "quick", log_text(NOON, "O", ["a"]))

    follower.seen(record)

    assert seen.told == ["RUNNING: ", "RUNNING: quick RUNNING", "a", "FAILED: quick FAILED, unable FAILED"]
    assert quick.state is StepState.FAILED


def test_lines_of_several_steps_come_in_the_order_of_their_times(tmp_path: Path) -> None:
    folder, record = run_with(tmp_path, "one", "two")
    seen = Seen()
    for number, step in enumerate(record.steps):
        step.state, step.started = StepState.RUNNING, NOON
        for second in range(3):
            add(
                folder,
                step.name,
                log_text(NOON + timedelta(seconds=2 * second + number), "O", [f"{step.name}{second}"]),
            )

    Follower(folder, seen).seen(record)

    assert seen.told[1:-1] == ["one0", "two0", "one1", "two1", "one2", "two2"]


def test_for_a_picture_the_end_of_a_long_log_is_enough(tmp_path: Path) -> None:
    folder, record = run_with(tmp_path, "one")
    seen = Seen()
    record.steps[0].state, record.steps[0].started = StepState.RUNNING, NOON
    add(folder, "one", log_text(NOON, "O", [f"line {number}" for number in range(100_000)]))
    follower = Follower(folder, seen, tail=3)
    follower.seen(record)
    add(folder, "one", log_text(NOON, "O", ["the last"]))
    follower.seen(record)

    assert seen.told[1:4] == ["line 99997", "line 99998", "line 99999"]
    assert [words for words in seen.told[4:] if "RUNNING" not in words] == ["the last"]
