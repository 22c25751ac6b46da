"""A run is followed to its end: how often it is looked at, what a failed look does, and when the watch ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from clock import FakeClock
from run_kfp.commands.submit import conclude, follow
from run_kfp.errors import RunFailed, RunStopped, WatchTimeout
from run_kfp.runs import PollFailed, RunRef, RunState, RunStatus, StepState, StepStatus, watch

ENDS = (RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED, RunState.PAUSED)


def looks(*script: RunState | PollFailed, forever: RunState | PollFailed | None = None) -> Callable[[], RunStatus]:
    """Return a look that goes through the script, then shows `forever`."""

    def go_on() -> Iterator[RunState | PollFailed]:
        yield from script
        while forever is not None:
            yield forever

    shows = go_on()

    def look() -> RunStatus:
        shown = next(shows)
        if isinstance(shown, PollFailed):
            raise shown
        return RunStatus(shown)

    return look


def passing(words: str = "for a moment") -> PollFailed:
    return PollFailed(words, passing=True)


def followed(look: Callable[[], RunStatus], clock: FakeClock, **limits: float) -> list[RunState]:
    return [status.state for status in watch(look, sleep=clock.sleep, clock=clock, **limits)]


@pytest.mark.parametrize("end", ENDS)
def test_a_watch_ends_with_the_run(end: RunState) -> None:
    clock = FakeClock()

    assert followed(looks(RunState.PENDING, RunState.RUNNING, end), clock, every=7) == [
        RunState.PENDING,
        RunState.RUNNING,
        end,
    ]
    assert clock.slept == [7, 7]


@pytest.mark.parametrize("state", [state for state in RunState if state not in ENDS])
def test_no_other_state_ends_it(state: RunState) -> None:
    assert followed(looks(state, RunState.SUCCEEDED), FakeClock()) == [state, RunState.SUCCEEDED]


def test_a_look_every_ten_seconds_unless_told_otherwise() -> None:
    clock = FakeClock()

    followed(looks(RunState.RUNNING, RunState.SUCCEEDED), clock)

    assert clock.slept == [10]


def test_failed_looks_are_borne_for_the_patience_and_not_longer() -> None:
    clock = FakeClock()

    with pytest.raises(WatchTimeout, match="no answer from anybody"):
        followed(looks(forever=passing("no answer from anybody")), clock, every=10, patience=45)

    assert clock.slept == [10] * 5


def test_patience_of_five_minutes_unless_told_otherwise() -> None:
    clock = FakeClock()

    with pytest.raises(WatchTimeout):
        followed(looks(forever=passing()), clock)

    assert sum(clock.slept) == 300


def test_a_good_look_gives_the_whole_patience_back() -> None:
    clock = FakeClock()
    script: list[RunState | PollFailed] = [
        passing(),
        passing(),
        passing(),
        RunState.RUNNING,
        passing(),
        passing(),
        passing(),
        RunState.SUCCEEDED,
    ]

    assert followed(looks(*script), clock, every=10, patience=25) == [RunState.RUNNING, RunState.SUCCEEDED]


def test_patience_begins_with_the_first_failed_look() -> None:
    clock = FakeClock()
    script: list[RunState | PollFailed] = [*[RunState.RUNNING] * 9, passing(), passing(), RunState.SUCCEEDED]

    assert followed(looks(*script), clock, every=10, patience=15)[-1] is RunState.SUCCEEDED


def test_a_look_that_is_refused_ends_the_watch_at_once() -> None:
    clock = FakeClock()

    with pytest.raises(WatchTimeout, match="not for you"):
        followed(looks(RunState.RUNNING, PollFailed("not for you", passing=False)), clock)

    assert clock.slept == [10]


def test_the_deadline_ends_the_watch_with_a_last_look_at_it() -> None:
    clock = FakeClock()
    seen: list[float] = []

    def look() -> RunStatus:
        seen.append(clock.now - 1000)
        return RunStatus(RunState.RUNNING)

    with pytest.raises(WatchTimeout, match="25 s"):
        followed(look, clock, every=10, deadline=25)

    assert seen == [0, 10, 20, 25]


def test_a_run_that_ends_at_the_deadline_has_ended() -> None:
    script = [RunState.RUNNING, RunState.RUNNING, RunState.SUCCEEDED]

    assert followed(looks(*script), FakeClock(), every=10, deadline=20)[-1] is RunState.SUCCEEDED


def test_without_a_deadline_a_run_may_take_as_long_as_it_takes() -> None:
    clock = FakeClock()

    followed(looks(*[RunState.RUNNING] * 1000, RunState.SUCCEEDED), clock, every=3600)

    assert sum(clock.slept) == 3_600_000


def test_a_ref_is_text_and_failed_steps_are_those_that_failed() -> None:
    steps = tuple(StepStatus(state.value.lower(), state) for state in StepState)

    assert str(RunRef("local", "chain-1")) == "local://chain-1"
    assert [step.name for step in RunStatus(RunState.FAILED, steps).failed_steps] == ["failed"]


class Looked:
    """A backend that is looked at, and keeps how long each look might take."""

    def __init__(self) -> None:
        self.limits: list[float | None] = []

    def submit(self, request: object) -> RunRef:
        raise AssertionError("it is only looked at")

    def status(self, run: RunRef, timeout: float | None = None) -> RunStatus:
        self.limits.append(timeout)
        return RunStatus(RunState.RUNNING if len(self.limits) < 4 else RunState.SUCCEEDED)

    def console_url(self, run: RunRef) -> str:
        return ""


@pytest.mark.parametrize(("deadline", "limits"), [(35, [35, 25, 15, 5]), (None, [None] * 4)])
def test_a_look_takes_no_longer_than_the_watch(deadline: float | None, limits: list[float | None]) -> None:
    clock, backend = FakeClock(), Looked()

    list(follow(backend, RunRef("local", "x"), every=10, deadline=deadline, sleep=clock.sleep, clock=clock))

    assert backend.limits == limits


# ── how it ended ────────────────────────────────────────────────────────────────────────────────────────────────────

RUN = RunRef("vertex", "projects/p/locations/r/pipelineJobs/j")


def failed(name: str, error: str = "", log: str = "") -> StepStatus:
    return StepStatus(name, StepState.FAILED, error=error, log=log)


def test_a_run_that_succeeded_is_no_error() -> None:
    conclude(RUN, RunStatus(RunState.SUCCEEDED, (failed("tried"),)), "https://page")


@pytest.mark.parametrize(("state", "word"), [(RunState.CANCELLED, "canceled"), (RunState.PAUSED, "paused")])
def test_a_run_that_was_stopped_is_told_by_its_ref(state: RunState, word: str) -> None:
    with pytest.raises(RunStopped, match=f"{word}.*{RUN}") as error:
        conclude(RUN, RunStatus(state), "https://page")

    assert "https://page" in error.value.hint


@pytest.mark.parametrize(
    ("steps", "error", "words"),
    [
        ((failed("one", "it broke"), failed("two")), "the DAG failed", "step one: it broke; step two"),
        ((failed("one"),), "the DAG failed", "step one; the DAG failed"),
        ((), "the DAG failed", "the DAG failed"),
        ((StepStatus("fine", StepState.SUCCEEDED, error="odd"),), "", "no reason given"),
    ],
)
def test_a_run_that_failed_tells_its_steps_or_its_own_reason(
    steps: tuple[StepStatus, ...], error: str, words: str
) -> None:
    with pytest.raises(RunFailed) as raised:
        conclude(RUN, RunStatus(RunState.FAILED, steps, error), "https://page")

    assert raised.value.message.endswith(f": {words}")
    assert "https://page" in raised.value.hint
    assert "gcloud" not in raised.value.hint


def test_the_log_of_the_first_failed_step_that_has_one_is_named() -> None:
    logs = ("", "projects/5/locations/r/customJobs/8", "projects/5/locations/r/customJobs/9")
    steps = tuple(failed(f"step-{number}", "it broke", log) for number, log in enumerate(logs))

    with pytest.raises(RunFailed) as raised:
        conclude(RUN, RunStatus(RunState.FAILED, steps), "https://page")

    assert 'resource.labels.job_id="8"' in raised.value.hint
    assert "--project=5 " in raised.value.hint
