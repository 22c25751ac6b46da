"""Runs the steps of a pipeline in their order and keeps the record of it.

One thread decides and writes the record; each step has a thread that starts it, reads its output and reports its end.
"""

from __future__ import annotations

import heapq
import json
import math
import queue
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from run_kfp.backends.local.engines import (
    GRACE,
    Ended,
    Engine,
    PullProgress,
    Running,
    StartRefusedError,
    StepCall,
    exit_words,
)
from run_kfp.backends.local.step_log import StepLog
from run_kfp.backends.local.telling import Observer, Teller
from run_kfp.errors import EngineError, InputError, StoreError
from run_kfp.graph import EXECUTOR_OUTPUT, ExecutableStep, StepContext, read_outputs, values_of
from run_kfp.localruns import RunFolder, RunRecord, StepRecord
from run_kfp.masking import Masker
from run_kfp.runs import RunState, StepState

# Seconds between two looks at the clock and at whether somebody asked to cancel.
_TICK = 0.5

# Seconds, all from the moment of a stop: until what a step still prints is dropped, until nobody waits for a reader of
# the screen, until the run is over though its engine does not let it end, and until nobody waits for removals.
_DRAIN, _READER, _GIVE_UP, _LEAVE = GRACE + 0.5, GRACE + 1.0, 7.0, 8.0

# Seconds that removing the last containers may take at the end of a run that was not stopped.
_LAST_REMOVALS = 10.0

# Seconds within which a step that has ended is judged; nobody judges it any more when a run is left.
_JUDGED = 5.0

# Failed steps that the error of a run tells of; each has its own.
_TOLD = 5

_LEFT = "did not end when stopped; its container may remain"

_ENDED = (StepState.SUCCEEDED, StepState.FAILED, StepState.CANCELLED, StepState.SKIPPED)


@dataclass(frozen=True)
class Policy:
    """How a run goes on.

    Attributes:
        parallel: how many steps may run at a time.
        fast: whether the first failure stops the rest; else independent steps go on.
        step_timeout: seconds after which a step is stopped, None for never.
        keep_failed: whether what is left of a failed step stays.
    """

    parallel: int = 2
    fast: bool = True
    step_timeout: float | None = None
    keep_failed: bool = False


@dataclass(frozen=True)
class Stop:
    """The run is to stop: by Ctrl-C, by another signal, or because `cancel` asked for it."""

    why: str


@dataclass(frozen=True)
class _Prepared:
    warnings: Sequence[str]
    by_step: Mapping[str, Sequence[str]]
    image_ids: Mapping[str, str | None]


@dataclass(frozen=True)
class _Broke:
    """The engine, or this program, failed: the run cannot go on."""

    error: Exception


@dataclass(frozen=True)
class _Remark:
    """Something to know about the run that changes nothing in its course."""

    words: str


@dataclass(frozen=True)
class _Started:
    """`seen` is set when the record says so: the first line of a step then comes behind that it runs."""

    step: str
    running: Running
    seen: threading.Event


@dataclass(frozen=True)
class _Finished:
    """`judged` is set when the record says how the step has ended."""

    step: str
    ended: Ended
    judged: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class _Kept:
    """What is left of a failed step stays; `shell` is the command line that opens a shell in it."""

    step: str
    shell: str


_Event = Stop | _Prepared | _Broke | _Remark | _Started | _Finished | _Kept


@dataclass
class _Active:
    """A step that has a thread: since when, what it is to be stopped for and whether it has failed then, since when."""

    since: float
    running: Running | None = None
    stopped_for: str = ""
    failed: bool = False
    stopped_at: float = math.inf
    told: bool = False


@dataclass
class Runner:
    """One run.

    Attributes:
        steps: those of the pipeline, each behind those that it waits for.
        parameters: the values of the pipeline's parameters, secrets too.
        run_values: what the run tells of itself (`OF_RUN`, `OF_VERTEX`), without the task's.
        engine: where steps run.
        folder: the run's, made and locked.
        record: the run's; a step that is not WAITING was done by an earlier run.
        policy: how it goes on.
        masker: knows the secrets.
        observer: is told of everything, by a thread of its own.
        now: the time of day (UTC).
        clock: seconds, for timeouts.
    """

    steps: Sequence[ExecutableStep]
    parameters: Mapping[str, Any]
    run_values: Mapping[str, str]
    engine: Engine
    folder: RunFolder
    record: RunRecord
    policy: Policy
    masker: Masker
    observer: Observer
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    clock: Callable[[], float] = time.monotonic
    stopped_by: str = field(default="", init=False)
    unread: bool = field(default=False, init=False)
    """Whether the observer was still busy with what it was told when a stopped run was left."""

    def __post_init__(self) -> None:
        """Prepare what changes during the run."""
        self._events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
        self._active: dict[str, _Active] = {}
        self._threads: list[threading.Thread] = []
        self._by_name = {step.name: step for step in self.steps}
        self._logs: dict[str, StepLog] = {}
        self._stopping = threading.Event()
        self._prepared = False
        self._broken: Exception | None = None
        self._stopped_at = math.inf
        self._records = {step.name: step for step in self.record.steps}
        self._place = {step.name: place for place, step in enumerate(self.record.steps)}
        self._open = {step.name for step in self.record.steps if step.state not in _ENDED}
        self._waits_for = {name: len(self._open.intersection(self._records[name].after)) for name in self._open}
        self._followers: dict[str, list[str]] = {}
        for step in self.record.steps:
            for name in step.after:
                self._followers.setdefault(name, []).append(step.name)
        # By their place in the pipeline: a heap.
        self._ready = [self._place[step.name] for step in self.record.steps if not self._waits_for.get(step.name, 1)]
        self._outputs = {
            (step.name, key): value for step in self.record.steps for key, value in (step.outputs or {}).items()
        }

    def run(self) -> RunRecord:
        """Run to the end; return the record, which is written too.

        Raises:
            EngineError: it is missing, refused, or no longer answers.
            StoreError: the log of a step or the record cannot be written any more.
        """
        with self._signals():
            self._teller = Teller(self.observer, self.broke)
            self.record.started = self.now()
            self._write()
            self._thread(self._prepare)
            try:
                while not self._over():
                    if self._prepared:
                        self._launch_ready()
                        if self._over():
                            break
                    self._tick()
                    self._handle(self._next())
            except BaseException:
                # Whatever it is, no container outlives the program.
                self._abort()
                raise
            self._await_threads()
            self._conclude()
            self._await_reader()
        if self._broken is not None:
            raise self._broken
        return self.record

    def _abort(self) -> None:
        """Kill every step without a word in the record."""
        for active in self._active.values():
            if active.running is not None:
                active.running.kill()
        deadline = self.clock() + _LAST_REMOVALS
        while any(thread.is_alive() for thread in self._threads) and self.clock() < deadline:
            # One that was about to start has started by now.
            if isinstance(event := self._next(), _Started):
                event.seen.set()
                event.running.kill()

    def _await_threads(self) -> None:
        """Let containers be removed; an Engine that hangs does not hold the end."""
        deadline = self.clock() + (_LAST_REMOVALS if self._prepared else 1.0)
        if self._stopping.is_set():
            deadline = max(min(deadline, self._stopped_at + _LEAVE), self.clock() + 0.5)
        for thread in self._threads:
            thread.join(max(deadline - self.clock(), 0.0))
        while not self._events.empty():
            event = self._events.get()
            if isinstance(event, _Remark | _Kept):
                self._handle(event)
            elif isinstance(event, _Broke):
                self._broken = self._broken or event.error

    def _await_reader(self) -> None:
        """Let the observer take what it was told; a run that was stopped does not wait for one that is stuck."""
        while not self._teller.close(_TICK):
            self._handle_late()
            if self._stopping.is_set() and self.clock() >= self._stopped_at + _READER:
                self.unread = True
                return
        self._handle_late()

    def _handle_late(self) -> None:
        """Take a stop that comes when the run has ended: nobody reads any more, and nobody is waited for."""
        while not self._events.empty():
            event = self._events.get()
            if isinstance(event, _Broke):
                self._broken = self._broken or event.error
            if isinstance(event, Stop):
                self._stopping.set()
                self._stopped_at = min(self._stopped_at, self.clock() - _LEAVE)

    # ── events ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def stop(self, why: str) -> None:
        """Stop the run; the second call kills. May be called from a signal handler and from any thread."""
        self._events.put(Stop(why))

    def broke(self, error: Exception) -> None:
        """Take that the run cannot go on. Any thread may call it."""
        self._events.put(_Broke(error))

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Turn Ctrl-C and the signals that ask a program to end into events for as long as the run lasts."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        names = ("SIGTERM", "SIGHUP", "SIGQUIT")
        numbers = [signal.Signals[name] for name in names if name in signal.Signals.__members__]
        whys = {signal.SIGINT: "Ctrl-C", **{number: number.name for number in numbers}}
        before = {number: signal.signal(number, lambda got, _: self.stop(whys[signal.Signals(got)])) for number in whys}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _next(self) -> _Event | None:
        try:
            return self._events.get(timeout=_TICK)
        except queue.Empty:
            return None

    def _handle(self, event: _Event | None) -> None:
        if isinstance(event, Stop):
            self._begin_stop(event.why)
        elif isinstance(event, _Prepared):
            self._prepared = True
            self.record.warnings += event.warnings
            for step in self.record.steps:
                step.warnings += event.by_step.get(step.name, ())
                self._note_image(step, event.image_ids[step.image])
            if not self._stopping.is_set():
                self.record.state = RunState.RUNNING
            self._write()
        elif isinstance(event, _Remark):
            self.record.warnings.append(event.words)
        elif isinstance(event, _Broke):
            if isinstance(event.error, StoreError):
                self.folder.use_reserve()
            self._broken = self._broken or event.error
            self._begin_stop("")
        elif isinstance(event, _Started):
            self._started(event.step, event.running)
            event.seen.set()
        elif isinstance(event, _Finished):
            self._finished(event.step, event.ended)
            event.judged.set()
        elif isinstance(event, _Kept):
            self._records[event.step].shell = event.shell

    def _tick(self) -> None:
        if not self._stopping.is_set() and self.folder.asked_to_cancel:
            self._begin_stop("cancel")
        limit = self.policy.step_timeout
        for name, active in list(self._active.items()):
            if limit is not None and not active.stopped_for and self.clock() - active.since >= limit:
                self._stop_step(active, f"stopped after {limit:g} s (--step-timeout)", failed=True)
            if self.clock() >= active.stopped_at + _DRAIN and name in self._logs:
                self._logs[name].drop_the_rest()
            if self.clock() >= active.stopped_at + _GIVE_UP and not self._stopping.is_set():
                active.stopped_for = f"{active.stopped_for}; {_LEFT}"
                self._finished(name, Ended(None))

    def _over(self) -> bool:
        if self._stopping.is_set():
            return not self._active or self.clock() >= self._stopped_at + _GIVE_UP
        return self._prepared and not self._open

    # ── steps ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _prepare(self) -> None:
        waiting = [self._by_name[step.name] for step in self.record.steps if step.state is StepState.WAITING]
        calls = [self._call(step, [], []) for step in waiting]
        warnings, by_step = self.engine.prepare(calls, self._pulling, self._stopping)
        images = dict.fromkeys(step.image for step in self.record.steps)
        ids = {image: None if self._stopping.is_set() else self.engine.image_id(image) for image in images}
        self._events.put(_Prepared(warnings, by_step, ids))

    def _note_image(self, step: StepRecord, found: str | None) -> None:
        """Keep which image a step runs; say where one that is not run again had another one by the same name."""
        if step.reused_from is None:
            step.image_id = found
        elif found and step.image_id and found != step.image_id:
            words = f"the image behind {step.image} changed since {step.reused_from}"
            self.record.warnings.append(f"{step.name}: {words}; not run again")

    @property
    def _pulling(self) -> PullProgress:
        return self._teller.pulling

    def _launch_ready(self) -> None:
        """Start what can start: everything before it succeeded, and there is room."""
        changed: list[StepRecord] = []
        while self._ready and len(self._active) < self.policy.parallel and not self._stopping.is_set():
            record = self.record.steps[heapq.heappop(self._ready)]
            record.state = StepState.PENDING
            self._active[record.name] = _Active(self.clock())
            self._launch(record)
            changed.append(record)
        if changed:
            self._keep(changed)

    def _settle(self, name: str) -> list[StepRecord]:
        """Note that a step has ended, and return the steps that are skipped because of it."""
        skipped: list[StepRecord] = []
        ended = [name]
        while ended:
            name = ended.pop()
            self._open.discard(name)
            for follower in self._followers.get(name, ()):
                record = self._records[follower]
                self._waits_for[follower] -= 1
                if record.state is not StepState.WAITING:
                    continue
                if self._records[name].state is not StepState.SUCCEEDED:
                    record.state = StepState.SKIPPED
                    skipped.append(record)
                    ended.append(follower)
                elif not self._waits_for[follower]:
                    heapq.heappush(self._ready, self._place[follower])
        return skipped

    def _launch(self, record: StepRecord) -> None:
        step = self._by_name[record.name]
        run = {**self.run_values, "pipeline_task_name": step.name}
        run["pipeline_task_uuid"] = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.record.ref}/{step.name}"))
        try:
            inputs = values_of(step, self.parameters, self._outputs, run)
            folder = self.engine.outputs_folder(step.name) if step.writes_outputs else ""
            command, args = step.call(StepContext(inputs, run, folder, tuple(step.outputs)))
            call = self._call(step, command, args, folder)
        except InputError as error:
            self._events.put(_Finished(step.name, Ended(None, error.message)))
            return
        record.command, record.args = command or None, args or None
        self._thread(lambda: self._work(call), step.name)

    def _call(
        self, step: ExecutableStep, command: Sequence[str], args: Sequence[str], outputs_folder: str = ""
    ) -> StepCall:
        return StepCall(
            self.record.id,
            step.name,
            step.image,
            command,
            args,
            step.env,
            step.cpu,
            step.memory,
            step.accelerator,
            (*step.outputs, EXECUTOR_OUTPUT) if outputs_folder else (),
            outputs_folder,
        )

    def _work(self, call: StepCall) -> None:
        """Start a step, read its output to the end, report; the body of a step's thread."""
        with self._open_log(call.step) as log:
            self._logs[call.step] = log
            try:
                running = self.engine.start(call, log.feed)
            except StartRefusedError as error:
                log.close()
                words = f"could not be started: {error}"
                if error.exit_code is not None:
                    words = f"{exit_words(error.exit_code, self.engine.name)}; {words}"
                if error.shell:
                    self._events.put(_Kept(call.step, error.shell))
                self._events.put(_Finished(call.step, Ended(error.exit_code, words)))
                return
            seen = threading.Event()
            self._events.put(_Started(call.step, running, seen))
            seen.wait(1.0)
            keep = False
            try:
                finished = _Finished(call.step, running.wait())
                log.close()
                self._events.put(finished)
                # Its exit code alone does not say whether it has failed.
                if self.policy.keep_failed and finished.judged.wait(_JUDGED):
                    keep = self._records[call.step].state is StepState.FAILED
            finally:
                # After the report: the next step starts while this one is cleared away.
                self._clear_away(call.step, running, keep=keep)

    def _open_log(self, step: str) -> StepLog:
        """Open the log of a step, which tells the observer of its lines.

        Raises:
            StoreError: it cannot be written.
        """
        record = self._records[step]
        path = self.folder.log(record)
        try:
            file = self.folder.open_log(record)
        except OSError as error:
            raise StoreError.of(path, error) from None
        return StepLog(
            path,
            file,
            self.masker,
            now=self.now,
            tell=partial(self._teller.lines, step),
            tell_bar=partial(self._teller.bar, step),
            broke=self.broke,
        )

    def _clear_away(self, step: str, running: Running, *, keep: bool) -> None:
        try:
            if keep:
                self._events.put(_Kept(step, running.keep()))
            else:
                running.remove()
        except Exception as error:  # noqa: BLE001 - whatever it is, the step has ended as it has ended
            words = getattr(error, "message", None) or error
            self._events.put(_Remark(f"{running.identity[:12]} of step {step} could not be removed: {words}"))

    def _started(self, name: str, running: Running) -> None:
        active, record = self._active[name], self._records[name]
        active.running, active.since = running, self.clock()
        record.state, record.started, record.container = StepState.RUNNING, self.now(), running.identity
        self._keep([record])
        if active.stopped_for:  # while it was about to start
            self._stop_step(active, active.stopped_for)

    def _finished(self, name: str, ended: Ended) -> None:
        active, record, step = self._active.pop(name, None), self._records[name], self._by_name[name]
        if active is None:
            return
        record.ended, record.exit_code = self.now(), ended.exit_code
        record.started = record.started or record.ended
        record.warnings += [ended.warning] if ended.warning else []
        if active.stopped_for and (ended.stopped or ended.exit_code is None):
            record.state = StepState.FAILED if active.failed else StepState.CANCELLED
            record.error = active.stopped_for
        elif ended.exit_code == 0 and not ended.error:
            record.state = StepState.SUCCEEDED
            try:
                self._keep_outputs(step, record, ended.files)
            except InputError as error:
                record.state, record.error = StepState.FAILED, error.message
        else:
            record.state, record.error = StepState.FAILED, ended.error or "its end is unknown"
        if record.state is StepState.FAILED and self.policy.fast:
            self._begin_stop("", f"stopped because step {name} failed", since=active.stopped_at)
        self._keep([record, *self._settle(name)])

    def _keep_outputs(self, step: ExecutableStep, record: StepRecord, files: Mapping[str, str]) -> None:
        if not step.outputs:
            return
        values = read_outputs(step, files)
        self._outputs |= {(step.name, key): value for key, value in values.items()}
        # One with a secret in it is not written down, so a later `--from` cannot take it.
        text = {key: json.dumps(value) for key, value in values.items()}
        record.outputs = {key: values[key] for key in values if self.masker.mask(text[key]) == text[key]}

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _begin_stop(self, why: str, words: str = "", since: float = math.inf) -> None:
        """Stop every step; when that was asked for before by the same person, kill.

        A step that was stopped before, at `since`, has used up what the stop of the run may take.
        """
        again = bool(why and self.stopped_by)
        self.stopped_by = self.stopped_by or why
        words = words or (f"stopped by {why}" if why else "stopped because the run was aborted")
        if not self._stopping.is_set():
            self._stopping.set()
            self.record.state = RunState.CANCELLING if why else self.record.state
            self._stopped_at = min(self.clock(), since)
            self._teller.hurry()
            self._keep([])
        for active in self._active.values():
            self._stop_step(active, words, kill=again)
        if again:  # whoever asks twice does not wait for an Engine that does not answer
            self._stopped_at = min(self._stopped_at, self.clock() + GRACE - _GIVE_UP)

    def _stop_step(self, active: _Active, words: str, *, kill: bool = False, failed: bool = False) -> None:
        if not active.stopped_for:
            active.stopped_for, active.failed = words, failed
        active.stopped_at = min(active.stopped_at, self.clock())
        if active.running is not None and (kill or not active.told):
            active.told = True
            self._thread(active.running.kill if kill else active.running.stop)

    def _conclude(self) -> None:
        for record in self.record.steps:
            if record.state in (StepState.WAITING, StepState.PENDING):
                record.state = StepState.SKIPPED
            elif record.state not in _ENDED:
                record.state, record.ended = StepState.CANCELLED, self.now()
                record.error = _LEFT
        if any(_LEFT in (record.error or "") for record in self.record.steps):
            self.folder.stay_in_hand()
        failed = [step for step in self.record.steps if step.state is StepState.FAILED]
        if self._broken is not None:
            self.record.state = RunState.FAILED
            self.record.error = (
                getattr(self._broken, "message", None) or f"{type(self._broken).__name__}: {self._broken}"
            )
        elif failed:
            self.record.state = RunState.FAILED
            told = [f"step {step.name}: {step.error}" for step in failed[:_TOLD]]
            more = len(failed) - len(told)
            self.record.error = "; ".join([*told, *([f"{more} more failed"] if more else [])])
        elif self.stopped_by:
            self.record.state, self.record.error = RunState.CANCELLED, f"stopped by {self.stopped_by}"
        else:
            self.record.state = RunState.SUCCEEDED
        self.record.ended = self.now()
        self._write()

    def _write(self) -> None:
        """Write the whole record, and tell of it: at the beginning, when the engine is ready, and at the end."""
        with self._writing():
            self.folder.write(self.record, self.masker.mask)
        self._teller.changed(self.record, self.record.steps)

    def _keep(self, steps: Sequence[StepRecord]) -> None:
        """Add to the record what has changed, and tell of it."""
        with self._writing():
            self.folder.append(self.record, steps, self.masker.mask)
        self._teller.changed(self.record, steps)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Turn a disk that is full into the end of the run; what was kept free for it is used up then."""
        try:
            yield
        except StoreError as error:
            if self._broken is None:
                self.folder.use_reserve()
                self._events.put(_Broke(error))

    def _thread(self, work: Callable[[], None], step: str = "") -> None:
        """Run `work` beside; an error in it ends the run, and the step that it belongs to."""

        def guarded() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - whatever it is, the run must not wait for this thread for ever
                if isinstance(error, StoreError):
                    self.broke(error)
                if step:
                    words = getattr(error, "message", None) or f"{type(error).__name__}: {error}"
                    self._events.put(_Finished(step, Ended(None, words)))
                if not step or isinstance(error, EngineError):
                    self._events.put(_Broke(error))

        thread = threading.Thread(target=guarded, daemon=True)
        self._threads.append(thread)
        thread.start()
