"""The runner: in which order steps start, what stops them, and what is written of them; no process, no container."""

from __future__ import annotations

import dataclasses
import functools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from clock import FakeClock
from dermaid import canary
from run_kfp.backends.local import runner, telling
from run_kfp.backends.local.engines import GRACE, Ended, PullProgress, Sink, StartRefusedError, StepCall
from run_kfp.backends.local.runner import Policy, Runner
from run_kfp.backends.local.telling import Teller
from run_kfp.errors import EngineError, StoreError
from run_kfp.graph import Constant, ExecutableStep, FromOutput, FromParameter
from run_kfp.localruns import RunFolder, RunRecord, StepRecord, local_ref, this_runner
from run_kfp.localstore import LocalRuns
from run_kfp.masking import Masker
from run_kfp.runs import RunState, StepState
from run_kfp.steplogs import LogLine, log_names

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)

# Seconds within which a thread of a test is told to go on; a runner that forgets it fails the test.
SOON = 20.0


class Playing:
    """A step that plays its part: a function that takes this and returns how it ends."""

    def __init__(self, call: StepCall, sink: Sink, part: Callable[[Playing], Ended]) -> None:
        self.call, self.sink, self.part = call, sink, part
        self.identity = f"fake {call.step}"
        self.stopped, self.killed, self.removed = threading.Event(), threading.Event(), threading.Event()
        self.kept = threading.Event()

    def wait(self) -> Ended:
        return self.part(self)

    def says(self, *chunks: bytes, stream: str = "O") -> None:
        for chunk in chunks:
            self.sink(stream, chunk)

    def remove(self) -> None:
        self.removed.set()

    def keep(self) -> str:
        self.kept.set()
        return f"a shell in {self.call.step}"

    def stop(self) -> None:
        self.stopped.set()

    def kill(self) -> None:
        self.killed.set()


def succeeds(step: Playing) -> Ended:
    return Ended(0)


def fails(step: Playing) -> Ended:
    return Ended(3, "exit code 3")


def until_stopped(step: Playing) -> Ended:
    assert step.stopped.wait(SOON)
    return Ended(143, "exit code 143", stopped=True)


class FakeEngine:
    """Runs no program: each step plays the part that a test gives it."""

    name = "fake"

    def __init__(self, **parts: Callable[[Playing], Ended]) -> None:
        self.parts = parts
        self.started: dict[str, Playing] = {}
        self.prepared: list[str] = []
        self.image_ids: dict[str, str] = {}

    def prepare(
        self, calls: Sequence[StepCall], progress: PullProgress, stopping: threading.Event
    ) -> tuple[list[str], Mapping[str, list[str]]]:
        self.prepared = [call.step for call in calls]
        progress("an/image", 1, 2)
        return ["about the run"], {calls[0].step: ["about the step"]}

    def image_id(self, image: str) -> str | None:
        return self.image_ids.get(image)

    def outputs_folder(self, step: str) -> str:
        return f"/outputs/{step}"

    def start(self, call: StepCall, sink: Sink) -> Playing:
        self.started[call.step] = Playing(call, sink, self.parts.get(call.step, succeeds))
        return self.started[call.step]

    def close(self) -> None:
        """Nothing was made."""


class Seen:
    """Who watches: the states as they changed, the lines as they came."""

    def __init__(self) -> None:
        self.states: list[tuple[str, str]] = []
        self.told: list[tuple[str, str, str]] = []
        self.dropped = 0
        self.pulls: list[tuple[str, int, int]] = []
        self.bars: list[tuple[str, str]] = []
        self._last: dict[str, str] = {}

    def changed(self, record: RunRecord, state: RunState, steps: Sequence[StepRecord]) -> None:
        for name, now in [("", state.value), *((step.name, step.state.value) for step in steps)]:
            if self._last.get(name) != now:
                self._last[name] = now
                self.states.append((name, now))

    def lines(self, step: str, lines: Sequence[LogLine], dropped: int) -> None:
        self.told += [(step, line.stream, line.text) for line in lines]
        self.dropped += dropped

    def bar(self, step: str, text: str) -> None:
        self.bars.append((step, text))

    def pulling(self, image: str, done: int, total: int) -> None:
        self.pulls.append((image, done, total))


def a_step(name: str, *after: str, **fields: Any) -> ExecutableStep:
    step = ExecutableStep(name, name, f"an/{name}", after, "", {}, (), (), {}, None, None, None, {}, ())
    return dataclasses.replace(step, **fields)


class Rehearsal:
    """A runner with all that it needs, in a folder of its own."""

    def __init__(
        self,
        folder: RunFolder,
        engine: FakeEngine,
        *steps: ExecutableStep,
        done: Mapping[str, Mapping[str, Any]] | None = None,
        **policy: Any,
    ) -> None:
        """Prepare a run of `steps`; `done` are those of an earlier run with their outputs."""
        self.clock, self.seen, self.masker, self.engine = FakeClock(), Seen(), Masker(), engine
        self.folder = folder
        logs = log_names([step.name for step in steps])
        self.record = RunRecord(
            id="chain-1",
            ref=str(local_ref("chain-1")),
            pipeline={"name": "chain"},
            engine="fake",
            created=NOON,
            parameters={},
            runner=this_runner(),
            steps=[
                StepRecord(step.name, step.label, step.image, list(step.after), "", log=logs[step.name])
                for step in steps
            ],
        )
        for name, outputs in (done or {}).items():
            self.record.step(name).state, self.record.step(name).outputs = StepState.SUCCEEDED, dict(outputs)
        self.runner = Runner(
            steps,
            {"tag": "v1"},
            {"pipeline_job_name": "chain-1"},
            engine,
            self.folder,
            self.record,
            Policy(**policy),
            self.masker,
            self.seen,
            now=lambda: NOON + timedelta(seconds=self.clock.now - 1000),
            clock=self.clock,
        )

    def run(self) -> RunRecord:
        """Run to the end; what is returned was written, and nothing is left of any step."""
        record = self.runner.run()
        written = self.folder.read()
        assert written is not None
        assert (written.state, states(written)) == (record.state, states(record))
        assert all(step.removed.is_set() != step.kept.is_set() for step in self.engine.started.values())
        return record

    def log(self, step: str) -> list[str]:
        """The lines of a log without their times."""
        text = self.folder.log(self.record.step(step)).read_text(encoding="utf-8")
        return [line.partition(" ")[2] for line in text.splitlines()]


Rehearse = Callable[..., Rehearsal]


@pytest.fixture
def rehearse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rehearse]:
    """Prepare a run: engine, steps, policy."""
    monkeypatch.setattr(runner, "_TICK", 0.01)
    folder = LocalRuns(tmp_path / ".run-kfp").folder("chain-1")
    folder.make("a pipeline\n")
    yield functools.partial(Rehearsal, folder)
    folder.release()


def until(condition: Callable[[], bool]) -> None:
    """Return when something has come about."""
    end = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < end
        os.sched_yield()


def the_runner_looked(ran: Rehearsal) -> None:
    """Return when the runner has looked at the clock a few times more."""
    before = ran.clock.looks
    until(lambda: ran.clock.looks > before + 3)


def states(record: RunRecord) -> dict[str, str]:
    return {step.name: step.state.value for step in record.steps}


# ── order ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_chain_runs_in_its_order(rehearse: Rehearse) -> None:
    ran = rehearse(FakeEngine(), a_step("one"), a_step("two", "one"))

    record = ran.run()

    assert ran.seen.states == [
        ("", "PENDING"),
        ("one", "WAITING"),
        ("two", "WAITING"),
        ("", "RUNNING"),
        ("one", "PENDING"),
        ("one", "RUNNING"),
        ("one", "SUCCEEDED"),
        ("two", "PENDING"),
        ("two", "RUNNING"),
        ("two", "SUCCEEDED"),
        ("", "SUCCEEDED"),
    ]
    assert (record.state, record.error) == (RunState.SUCCEEDED, None)
    assert (record.started, record.ended) == (NOON, NOON)
    assert record.warnings == ["about the run"]
    assert [step.warnings for step in record.steps] == [["about the step"], []]
    assert [step.container for step in record.steps] == ["fake one", "fake two"]
    assert [(step.started, step.ended, step.exit_code) for step in record.steps] == [(NOON, NOON, 0)] * 2
    assert ran.folder.read() == record
    assert ran.engine.prepared == ["one", "two"]
    assert ran.seen.pulls == [("an/image", 1, 2)]


@pytest.mark.parametrize("parallel", [1, 2, 3])
def test_as_many_run_at_a_time_as_may(rehearse: Rehearse, parallel: int) -> None:
    running, most, lock = 0, 0, threading.Lock()
    full = threading.Event()

    def part(step: Playing) -> Ended:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if running == parallel:
                full.set()
        assert full.wait(SOON)
        with lock:
            running -= 1
        return Ended(0)

    names = ("a", "b", "c")
    ran = rehearse(FakeEngine(**dict.fromkeys(names, part)), *map(a_step, names), parallel=parallel)

    assert ran.run().state is RunState.SUCCEEDED
    assert most == parallel


def test_two_run_at_a_time_unless_told_otherwise() -> None:
    assert Policy() == Policy(parallel=2, fast=True, step_timeout=None)


def test_a_step_done_by_an_earlier_run_is_not_run_again(rehearse: Rehearse) -> None:
    taken: list[Any] = []

    def part(step: Playing) -> Ended:
        taken.append(list(step.call.args))
        return Ended(0)

    first = a_step("one", outputs={"out": "STRING"})
    second = a_step("two", "one", inputs={"x": FromOutput("one", "out")}, args=("{{$.inputs.parameters['x']}}",))
    ran = rehearse(FakeEngine(two=part), first, second, done={"one": {"out": "kept"}})

    ran.run()

    assert taken == [["kept"]]
    assert (ran.engine.prepared, list(ran.engine.started)) == (["two"], ["two"])


@pytest.mark.parametrize(
    ("now", "note"),
    [
        ("sha256:2", ["one: the image behind an/one changed since chain-0; not run again"]),
        ("sha256:1", []),
        (None, []),  # it has been removed: nobody knows
    ],
)
def test_the_image_that_a_step_runs_is_kept_and_compared_where_the_step_is_not_run_again(
    rehearse: Rehearse, now: str | None, note: list[str]
) -> None:
    engine = FakeEngine()
    engine.image_ids = {"an/two": "sha256:3", **({"an/one": now} if now else {})}
    ran = rehearse(engine, a_step("one"), a_step("two", "one"), a_step("three"), done={"one": {}})
    one = ran.record.step("one")
    one.image_id, one.reused_from = "sha256:1", "chain-0"

    record = ran.run()

    assert [step.image_id for step in record.steps] == ["sha256:1", "sha256:3", None]
    assert record.warnings == ["about the run", *note]
    assert ran.folder.read() == record


def test_an_engine_that_answers_no_more_ends_the_run(rehearse: Rehearse) -> None:
    class Gone(FakeEngine):
        def start(self, call: StepCall, sink: Sink) -> Playing:
            if call.step == "two":
                raise EngineError("it no longer answers")
            return super().start(call, sink)

    steps = a_step("one"), a_step("long"), a_step("two", "one"), a_step("three", "two")
    ran = rehearse(Gone(long=until_stopped), *steps)

    with pytest.raises(EngineError, match="it no longer answers"):
        ran.runner.run()

    assert states(ran.record) == {"one": "SUCCEEDED", "long": "CANCELLED", "two": "FAILED", "three": "SKIPPED"}
    assert (ran.record.state, ran.record.error) == (RunState.FAILED, "it no longer answers")
    assert ran.record.step("two").error == "it no longer answers"
    assert ran.folder.read() == ran.record


# ── failures ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("keep", [True, False])
def test_what_is_left_of_a_failed_step_is_kept_where_that_is_asked_for(rehearse: Rehearse, keep: bool) -> None:
    """Also of one that ended with 0 and did not write its output, and of one that could not be started."""

    class Engine(FakeEngine):
        def start(self, call: StepCall, sink: Sink) -> Playing:
            if call.step == "refused":
                raise StartRefusedError("no such program", 127, "a shell in refused" if keep else "")
            return super().start(call, sink)

    engine = Engine(bad=fails)
    steps = a_step("good"), a_step("bad"), a_step("empty", outputs={"out": "STRING"}), a_step("refused")
    ran = rehearse(engine, *steps, fast=False, keep_failed=keep)

    record = ran.run()

    assert states(record) == {"good": "SUCCEEDED", "bad": "FAILED", "empty": "FAILED", "refused": "FAILED"}
    kept = ["bad", "empty", "refused"] if keep else []
    assert {step.name: step.shell for step in record.steps if step.shell} == {
        name: f"a shell in {name}" for name in kept
    }
    assert {name for name, step in engine.started.items() if step.kept.is_set()} == {*kept} - {"refused"}


def test_a_step_that_the_failure_of_another_stops_is_not_kept(rehearse: Rehearse) -> None:
    ran = rehearse(FakeEngine(bad=fails, long=until_stopped), a_step("long"), a_step("bad"), keep_failed=True)

    record = ran.run()

    assert [(step.state.value, step.shell) for step in record.steps] == [
        ("CANCELLED", None),
        ("FAILED", "a shell in bad"),
    ]


def test_the_first_failure_stops_the_rest(rehearse: Rehearse) -> None:
    other = threading.Event()

    def part(step: Playing) -> Ended:
        assert other.wait(SOON)
        return fails(step)

    def beside(step: Playing) -> Ended:
        other.set()
        return until_stopped(step)

    engine = FakeEngine(broken=part, beside=beside)
    ran = rehearse(engine, a_step("broken"), a_step("beside"), a_step("behind", "broken"), a_step("last"))

    record = ran.run()

    assert states(record) == {"broken": "FAILED", "beside": "CANCELLED", "behind": "SKIPPED", "last": "SKIPPED"}
    assert record.step("beside").error == "stopped because step broken failed"
    assert record.step("broken").exit_code == 3
    assert (record.state, record.error) == (RunState.FAILED, "step broken: exit code 3")


def test_with_the_slow_policy_what_does_not_depend_goes_on(rehearse: Rehearse) -> None:
    engine = FakeEngine(broken=fails)
    chain = (a_step("behind", "broken"), a_step("last", "behind"))
    ran = rehearse(engine, a_step("broken"), *chain, a_step("other"), a_step("more", "other"), fast=False)

    record = ran.run()

    assert states(record) == {
        "broken": "FAILED",
        "behind": "SKIPPED",
        "last": "SKIPPED",
        "other": "SUCCEEDED",
        "more": "SUCCEEDED",
    }
    assert record.state is RunState.FAILED


@pytest.mark.parametrize(
    ("count", "error"),
    [
        (2, "step s1: exit code 3; step s2: exit code 3"),
        (5, "; ".join(f"step s{number}: exit code 3" for number in range(1, 6))),
        (7, "; ".join([*(f"step s{number}: exit code 3" for number in range(1, 6)), "2 more failed"])),
    ],
)
def test_the_error_of_a_run_with_many_failures_is_short(rehearse: Rehearse, count: int, error: str) -> None:
    names = [f"s{number}" for number in range(1, count + 1)]
    ran = rehearse(FakeEngine(**dict.fromkeys(names, fails)), *map(a_step, names), fast=False)

    assert ran.run().error == error


@pytest.mark.parametrize(
    ("ended", "error"),
    [
        (Ended(None), "its end is unknown"),
        (Ended(0, "it was killed for its memory"), "it was killed for its memory"),
        (Ended(1), "its end is unknown"),
    ],
)
def test_only_exit_code_0_without_a_word_is_a_success(rehearse: Rehearse, ended: Ended, error: str) -> None:
    record = rehearse(FakeEngine(one=lambda step: ended), a_step("one")).run()

    assert (record.step("one").state, record.step("one").error) == (StepState.FAILED, error)


def test_a_step_that_cannot_be_started_fails_with_its_exit_code(rehearse: Rehearse) -> None:
    class Refuses(FakeEngine):
        def start(self, call: StepCall, sink: Sink) -> Playing:
            raise StartRefusedError("no such program", 127)

    record = rehearse(Refuses(), a_step("one")).run()

    step = record.step("one")
    assert (step.state, step.exit_code) == (StepState.FAILED, 127)
    assert step.error is not None
    assert step.error.startswith("exit code 127: ")
    assert step.error.endswith("; could not be started: no such program")
    assert (step.started, step.ended) == (NOON, NOON)


def test_an_engine_that_breaks_at_a_step_fails_the_step(rehearse: Rehearse) -> None:
    def part(step: Playing) -> Ended:
        raise ConnectionError("gone")

    record = rehearse(FakeEngine(one=part), a_step("one")).run()

    assert (record.state, record.step("one").error) == (RunState.FAILED, "ConnectionError: gone")


def test_an_engine_that_is_not_there_starts_no_step(rehearse: Rehearse) -> None:
    class Missing(FakeEngine):
        def prepare(
            self, calls: Sequence[StepCall], progress: PullProgress, stopping: threading.Event
        ) -> tuple[list[str], Mapping[str, list[str]]]:
            raise EngineError("no engine answers")

    ran = rehearse(Missing(), a_step("one"))

    with pytest.raises(EngineError, match="no engine answers"):
        ran.run()

    record = ran.folder.read()
    assert record is not None
    assert (record.state, record.error, states(record)) == (RunState.FAILED, "no engine answers", {"one": "SKIPPED"})


def test_what_cannot_be_removed_is_a_warning(rehearse: Rehearse) -> None:
    def part(step: Playing) -> Ended:
        def remove() -> None:
            step.removed.set()
            raise OSError("busy")

        step.remove = remove  # type: ignore[method-assign]  # this one step behaves otherwise
        return Ended(0)

    record = rehearse(FakeEngine(one=part), a_step("one")).run()

    assert record.state is RunState.SUCCEEDED
    assert record.warnings[-1] == "fake one of step one could not be removed: busy"


def test_a_run_ends_when_its_last_container_is_removed(rehearse: Rehearse) -> None:
    def part(step: Playing) -> Ended:
        def remove() -> None:
            threading.Event().wait(0.05)  # it takes its time, as the removal of a container does
            step.removed.set()

        step.remove = remove  # type: ignore[method-assign]  # this one step behaves otherwise
        return Ended(0)

    ran = rehearse(FakeEngine(one=part), a_step("one"))

    assert ran.run().state is RunState.SUCCEEDED


def test_a_warning_of_the_end_is_kept(rehearse: Rehearse) -> None:
    record = rehearse(FakeEngine(one=lambda step: Ended(0, warning="slow disk")), a_step("one")).run()

    assert record.step("one").warnings == ["about the step", "slow disk"]


# ── time and stops ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_step_that_takes_too_long_is_stopped_and_failed(rehearse: Rehearse) -> None:
    def part(step: Playing) -> Ended:
        ran.clock.now += 30
        return until_stopped(step)

    ran = rehearse(FakeEngine(one=part), a_step("one"), a_step("two", "one"), step_timeout=30)

    record = ran.run()

    assert states(record) == {"one": "FAILED", "two": "SKIPPED"}
    assert record.step("one").error == "stopped after 30 s (--step-timeout)"
    assert not ran.engine.started["one"].killed.is_set()
    assert record.state is RunState.FAILED


def test_the_time_of_a_step_begins_with_the_step(rehearse: Rehearse) -> None:
    def part(step: Playing) -> Ended:
        ran.clock.now += 29
        the_runner_looked(ran)
        return Ended(0)

    ran = rehearse(FakeEngine(one=part, two=part), a_step("one"), a_step("two", "one"), step_timeout=30, parallel=1)

    record = ran.run()

    assert record.state is RunState.SUCCEEDED
    assert record.ended == NOON + timedelta(seconds=58)


@pytest.mark.parametrize(("number", "why"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
def test_a_signal_stops_every_step(rehearse: Rehearse, number: signal.Signals, why: str) -> None:
    before = signal.getsignal(number)

    def part(step: Playing) -> Ended:
        os.kill(os.getpid(), number)
        return until_stopped(step)

    ran = rehearse(FakeEngine(one=part), a_step("one"), a_step("two", "one"))

    record = ran.run()

    assert ("", "CANCELLING") in ran.seen.states
    assert states(record) == {"one": "CANCELLED", "two": "SKIPPED"}
    assert (record.state, record.error) == (RunState.CANCELLED, f"stopped by {why}")
    assert record.step("one").error == f"stopped by {why}"
    assert ran.runner.stopped_by == why
    assert not ran.engine.started["one"].killed.is_set()
    assert signal.getsignal(number) is before


def test_the_second_stop_kills(rehearse: Rehearse) -> None:
    def part(step: Playing) -> Ended:
        ran.runner.stop("Ctrl-C")
        assert step.stopped.wait(SOON)
        ran.runner.stop("Ctrl-C")
        assert step.killed.wait(SOON)
        return Ended(137, "exit code 137", stopped=True)

    ran = rehearse(FakeEngine(one=part), a_step("one"))

    assert ran.run().state is RunState.CANCELLED


def test_a_stop_after_a_failure_does_not_kill_at_once(rehearse: Rehearse) -> None:
    """The first failure stops the rest gently; a person's first Ctrl-C behind it is no second one."""

    def part(step: Playing) -> Ended:
        assert step.stopped.wait(SOON)
        ran.runner.stop("Ctrl-C")
        until(lambda: bool(ran.runner.stopped_by))
        return Ended(143, "exit code 143", stopped=True)

    def broken(step: Playing) -> Ended:
        return fails(step)

    ran = rehearse(FakeEngine(one=part, two=broken), a_step("one"), a_step("two"))

    record = ran.run()

    assert record.state is RunState.FAILED
    assert not ran.engine.started["one"].killed.is_set()


def test_a_run_in_a_thread_leaves_the_signals_alone(rehearse: Rehearse) -> None:
    before = signal.getsignal(signal.SIGINT)
    seen: list[object] = []

    def part(step: Playing) -> Ended:
        seen.append(signal.getsignal(signal.SIGINT))
        return Ended(0)

    ran = rehearse(FakeEngine(one=part), a_step("one"))
    thread = threading.Thread(target=ran.run)
    thread.start()
    thread.join(SOON)

    assert (ran.record.state, seen) == (RunState.SUCCEEDED, [before])


def test_a_step_that_starts_while_the_run_stops_is_stopped_too(rehearse: Rehearse) -> None:
    class Slow(FakeEngine):
        def start(self, call: StepCall, sink: Sink) -> Playing:
            ran.runner.stop("Ctrl-C")
            until(lambda: bool(ran.runner.stopped_by))
            return super().start(call, sink)

    ran = rehearse(Slow(one=until_stopped), a_step("one"))

    record = ran.run()

    assert (record.state, record.step("one").error) == (RunState.CANCELLED, "stopped by Ctrl-C")
    assert not ran.engine.started["one"].killed.is_set()


def test_the_mark_of_cancel_stops_the_run(rehearse: Rehearse) -> None:
    def part(step: Playing) -> Ended:
        ran.folder.ask_to_cancel()
        return until_stopped(step)

    ran = rehearse(FakeEngine(one=part), a_step("one"))

    assert ran.run().error == "stopped by cancel"


@pytest.mark.parametrize("times", [1, 2])
def test_a_step_that_does_not_end_does_not_hold_the_run(
    rehearse: Rehearse, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_LAST_REMOVALS", 0.05)
    end = threading.Event()
    # Twice the grace after the first stop, the grace after the second.
    limit = {1: 4 * GRACE + 4, 2: GRACE}[times]

    waited: list[str] = []

    def part(step: Playing) -> Ended:
        for _ in range(times):
            ran.runner.stop("Ctrl-C")
        assert (step.stopped if times == 1 else step.killed).wait(SOON)
        the_runner_looked(ran)
        ran.clock.now += limit - 1
        the_runner_looked(ran)
        waited.append(ran.record.step("one").state.value)
        ran.clock.now += 1
        waited.append("given up" if end.wait(SOON) else "still awaited")
        return Ended(0)

    ran = rehearse(FakeEngine(one=part), a_step("one"))

    record = ran.runner.run()
    end.set()
    until(lambda: len(waited) == 2)

    assert waited == ["RUNNING", "given up"]
    assert (record.state, states(record)) == (RunState.CANCELLED, {"one": "CANCELLED"})
    assert record.step("one").error == "did not end when stopped; its container may remain"
    ran.runner.folder.release()
    assert ran.runner.folder.in_hand  # somebody has to look for the container


def test_who_watches_and_fails_stops_the_run(rehearse: Rehearse) -> None:
    class Failing(Seen):
        def changed(self, record: RunRecord, state: RunState, steps: Sequence[StepRecord]) -> None:
            if [step.state for step in steps] == [StepState.SUCCEEDED]:
                raise OSError("nobody sees this")

    ran = rehearse(FakeEngine(two=until_stopped), a_step("one"), a_step("two"))
    ran.runner.observer = Failing()

    with pytest.raises(OSError, match="nobody sees this"):
        ran.runner.run()

    assert ran.engine.started["two"].stopped.is_set()


@pytest.mark.parametrize("name", ["changes.jsonl", "logs/one.log"])
def test_a_file_that_cannot_be_written_stops_the_run(rehearse: Rehearse, name: str) -> None:
    def part(step: Playing) -> Ended:
        step.says(b"x\n")
        return until_stopped(step)

    ran = rehearse(FakeEngine(one=part), a_step("one"))
    (ran.folder.path / name).symlink_to("elsewhere")

    with pytest.raises(StoreError, match=f"cannot write .*{name}: "):  # a link is not followed
        ran.runner.run()

    written = ran.folder.read()
    assert written is not None
    assert (written.state, states(written)) == (
        RunState.FAILED,
        {"one": "CANCELLED"},
    )
    assert not (ran.folder.path / "reserve").exists()


# ── a reader that is slow, or stuck ──────────────────────────────────────────────────────────────────────────────


def test_a_slow_reader_gets_every_line(rehearse: Rehearse) -> None:
    class Slow(Seen):
        def lines(self, step: str, lines: Sequence[LogLine], dropped: int) -> None:
            os.sched_yield()
            super().lines(step, lines, dropped)

    def part(step: Playing) -> Ended:
        for _ in range(6):
            step.says(b"x\n" * 9_000)
        return Ended(0)

    ran = rehearse(FakeEngine(one=part), a_step("one"))
    ran.seen = ran.runner.observer = Slow()
    ran.run()

    assert (len(ran.seen.told), ran.seen.dropped) == (54_000, 0)


def test_a_stuck_reader_holds_neither_the_step_nor_its_log_nor_a_stop(
    rehearse: Rehearse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "PATIENCE", 0.05)
    free = threading.Event()

    class Stuck(Seen):
        def lines(self, step: str, lines: Sequence[LogLine], dropped: int) -> None:
            assert free.wait(SOON)
            super().lines(step, lines, dropped)

    def part(step: Playing) -> Ended:
        for _ in range(6):
            step.says(b"x\n" * 9_000)
        ran.runner.stop("Ctrl-C")
        ended = until_stopped(step)
        ran.clock.now += 10  # as long as a stopped run is waited for
        return ended

    ran = rehearse(FakeEngine(one=part), a_step("one"))
    ran.seen = ran.runner.observer = Stuck()
    record = ran.run()

    assert (record.state, ran.runner.unread) == (RunState.CANCELLED, True)
    assert len(ran.log("one")) == 54_000
    free.set()
    until(lambda: ran.seen.dropped > 0 and len(ran.seen.told) + ran.seen.dropped == 54_000)


def test_what_else_happens_makes_no_reader_stuck() -> None:
    """Another step prints, or a pull goes on, while one waits for a reader that is only slow."""
    free, taken, ended = threading.Event(), threading.Event(), threading.Event()

    class Slow(Seen):
        def lines(self, step: str, lines: Sequence[LogLine], dropped: int) -> None:
            taken.set()
            assert free.wait(SOON)
            super().lines(step, lines, dropped)

    seen = Slow()
    teller = Teller(seen, lambda error: None)
    line = LogLine(NOON, "O", "x")
    teller.lines("one", [line])
    assert taken.wait(SOON)
    teller.lines("one", [line] * telling.MOST_WAITING)

    def print_more() -> None:
        teller.lines("one", [line] * 10)
        ended.set()

    threading.Thread(target=print_more, daemon=True).start()
    for done in range(30):
        teller.pulling("an/image", done, 30)
        assert not ended.wait(0.01)  # well within the patience
    free.set()

    assert ended.wait(SOON)
    assert teller.close(SOON)
    assert (len(seen.told), seen.dropped) == (telling.MOST_WAITING + 11, 0)


def test_a_step_that_the_engine_does_not_stop_is_left_and_the_run_goes_on(rehearse: Rehearse) -> None:
    end = threading.Event()

    def deaf(step: Playing) -> Ended:
        the_runner_looked(ran)
        ran.clock.now += 5  # its limit
        assert step.stopped.wait(SOON)
        the_runner_looked(ran)
        ran.clock.now += 8
        assert end.wait(SOON)
        return Ended(0)

    def two(step: Playing) -> Ended:
        end.set()
        return Ended(0)

    ran = rehearse(FakeEngine(one=deaf, two=two), a_step("one"), a_step("two"), step_timeout=5, parallel=1, fast=False)
    record = ran.run()

    assert states(record) == {"one": "FAILED", "two": "SUCCEEDED"}
    ran.runner.folder.release()
    assert ran.runner.folder.in_hand
    assert record.step("one").error == (
        "stopped after 5 s (--step-timeout); did not end when stopped; its container may remain"
    )


def test_a_step_that_ended_by_itself_is_told_by_its_own_end(rehearse: Rehearse) -> None:
    """The limit of time came while the end of its output was still read."""

    def part(step: Playing) -> Ended:
        ran.clock.now += 10
        assert step.stopped.wait(SOON)
        return Ended(0)

    ran = rehearse(FakeEngine(one=part), a_step("one"), step_timeout=5)

    assert (ran.run().state, ran.record.step("one").error) == (RunState.SUCCEEDED, None)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_every_signal_that_asks_a_program_to_end_stops_the_run(rehearse: Rehearse, number: signal.Signals) -> None:
    def part(step: Playing) -> Ended:
        os.kill(os.getpid(), number)
        return until_stopped(step)

    ran = rehearse(FakeEngine(one=part), a_step("one"))

    assert (ran.run().error, ran.runner.stopped_by) == (f"stopped by {number.name}", number.name)


# ── output ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def spoken(rehearse: Rehearse, *chunks: bytes, secret: str = "") -> list[str]:
    """Let a step say this, and return its log."""

    def part(step: Playing) -> Ended:
        step.says(*chunks)
        return Ended(0)

    ran = rehearse(FakeEngine(one=part), a_step("one"))
    ran.masker.add(secret)
    ran.run()
    assert [f"{stream} {text}" for _, stream, text in ran.seen.told] == ran.log("one")
    return ran.log("one")


@pytest.mark.parametrize(
    ("chunks", "lines"),
    [
        ((b"a\r", b"\nb\r\n"), ["O a", "O b"]),
        ((b"a\r", b"b\n"), ["O b"]),
        ((b"a\r",), ["O a"]),
        ((b"a\n\nb\n",), ["O a", "O ", "O b"]),
        ((b"no end",), ["O no end"]),
        ((b"", b"\n"), ["O "]),
        (("é".encode()[:1], "é\n".encode()[1:]), ["O é"]),
        ((b"\xff\n",), ["O \ufffd"]),
        ((b"cut \xc3",), ["O cut \ufffd"]),
    ],
)
def test_bytes_become_lines_however_they_are_cut(
    rehearse: Rehearse, chunks: tuple[bytes, ...], lines: list[str]
) -> None:
    assert spoken(rehearse, *chunks) == lines


def test_a_line_of_150_kb_stays_one(rehearse: Rehearse) -> None:
    assert [len(line) for line in spoken(rehearse, b"x" * 150_000)] == [150_002]


def test_a_line_without_an_end_is_cut(rehearse: Rehearse) -> None:
    cut = " … [cut: longer than 1 MB; the next line goes on]"
    assert spoken(rehearse, b"x" * 2**20, b"y" * 2**20, b"z\nnext\n") == [
        f"O {'x' * 2**20}{cut}",
        f"O {'y' * 2**20}{cut}",
        "O z",
        "O next",
    ]


def test_a_secret_that_is_cut_in_two_is_masked(rehearse: Rehearse) -> None:
    secret = canary("cut")

    lines = spoken(rehearse, f"a {secret[:9]}".encode(), f"{secret[9:]} b\n{secret[:5]}".encode(), secret=secret)

    assert lines == ["O a *** b", f"O {secret[:5]}"]


def test_two_streams_do_not_mix(rehearse: Rehearse) -> None:
    def part(step: Playing) -> Ended:
        step.says(b"out ")
        step.says(b"err ", stream="E")
        step.says(b"put\n")
        step.says(b"or\n", stream="E")
        return Ended(0)

    ran = rehearse(FakeEngine(one=part), a_step("one"))
    ran.run()

    assert ran.log("one") == ["O out put", "E err or"]


def test_an_output_goes_to_the_next_step_and_into_the_record_unless_a_secret_is_in_it(rehearse: Rehearse) -> None:
    secret = canary("output")
    taken: list[Sequence[str]] = []

    def two(step: Playing) -> Ended:
        taken.append(step.call.args)
        return Ended(0)

    def one(step: Playing) -> Ended:
        return Ended(0, files={"plain": "said", "login": f"me:{secret}"})

    takes = {"plain": FromOutput("one", "plain"), "login": FromOutput("one", "login")}
    ran = rehearse(
        FakeEngine(one=one, two=two),
        a_step("one", outputs={"plain": "STRING", "login": "STRING"}),
        a_step("two", "one", inputs=takes, args=tuple(f"{{{{$.inputs.parameters['{name}']}}}}" for name in takes)),
    )
    ran.masker.add(secret)

    record = ran.run()

    assert taken == [["said", f"me:{secret}"]]
    assert record.step("one").outputs == {"plain": "said"}
    assert record.step("two").args == ["said", f"me:{secret}"]
    assert secret not in (ran.folder.path / "run.json").read_text(encoding="utf-8")


def test_an_output_that_was_not_written_fails_the_step(rehearse: Rehearse) -> None:
    record = rehearse(FakeEngine(), a_step("one", outputs={"out": "STRING"})).run()

    assert (record.state, record.step("one").error) == (RunState.FAILED, "the output 'out' was not written")


def test_a_step_gets_its_call(rehearse: Rehearse) -> None:
    step = a_step(
        "one",
        inputs={"tag": FromParameter("tag"), "depth": Constant(3)},
        command=("run", "{{$.pipeline_job_name}}"),
        args=("{{$.inputs.parameters['tag']}}", "{{$.inputs.parameters['depth']}}"),
        env={"MODE": "online"},
        cpu=1.5,
        memory=2**20,
        accelerator=("T4", 1),
        outputs={"out": "STRING"},
    )
    engine = FakeEngine(one=lambda playing: Ended(0, files={"out": ""}))

    record = rehearse(engine, step).run()

    assert record.state is RunState.SUCCEEDED
    assert engine.started["one"].call == StepCall(
        run="chain-1",
        step="one",
        image="an/one",
        command=["run", "chain-1"],
        args=["v1", "3"],
        env={"MODE": "online"},
        cpu=1.5,
        memory=2**20,
        accelerator=("T4", 1),
        outputs=("out", "executor_output.json"),
        outputs_folder="/outputs/one",
    )
    assert (record.step("one").command, record.step("one").args) == (["run", "chain-1"], ["v1", "3"])


def test_a_step_without_outputs_has_no_folder_for_them(rehearse: Rehearse) -> None:
    engine = FakeEngine()

    record = rehearse(engine, a_step("one")).run()

    call = engine.started["one"].call
    assert (call.outputs, call.outputs_folder) == ((), "")
    assert (record.step("one").command, record.step("one").args, record.step("one").outputs) == (None, None, None)


def test_an_input_that_nothing_gives_fails_the_step_before_it_starts(rehearse: Rehearse) -> None:
    engine = FakeEngine()
    step = a_step("one", inputs={"x": FromParameter("missing")}, args=("{{$.inputs.parameters['x']}}",))

    record = rehearse(engine, step).run()

    assert (record.state, record.step("one").exit_code, list(engine.started)) == (RunState.FAILED, None, [])
