"""Runs the steps of a pipeline in their order and keeps the record of it.

One thread decides and writes the record; each step has a thread that starts it, reads its output and reports its end.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import json
import math
import queue
import re
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import IO, Any, Protocol, cast

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
from run_kfp.errors import InputError
from run_kfp.graph import EXECUTOR_OUTPUT, ExecutableStep, StepContext, read_outputs, values_of
from run_kfp.localruns import LogLine, RunFolder, RunRecord, StepRecord
from run_kfp.masking import Masker
from run_kfp.runs import RunState, StepState

# Seconds between two looks at the clock and at whether somebody asked to cancel.
_TICK = 0.5

# Seconds that removing the last containers may take at the end.
_LAST_REMOVALS = 10.0

# A line is cut here, so that one without an end does not fill the memory.
_LONGEST_LINE = 64 * 1024

_LINE_END = re.compile(r"\r\n|\n|\r")

_ENDED = (StepState.SUCCEEDED, StepState.FAILED, StepState.CANCELLED, StepState.SKIPPED)


class Observer(Protocol):
    """Who watches a run; calls come one at a time, from several threads."""

    def changed(self, record: RunRecord) -> None:
        """Take the record after every change of a state."""
        ...

    def line(self, step: str, line: LogLine) -> None:
        """Take a line of a step, masked."""
        ...

    def pulling(self, image: str, done: int, total: int) -> None:
        """Take how far a pull is, in bytes; `total` is 0 as long as it is not known."""
        ...


@dataclass(frozen=True)
class Policy:
    """How a run goes on.

    Attributes:
        parallel: how many steps may run at a time.
        fast: whether the first failure stops the rest; else independent steps go on.
        step_timeout: seconds after which a step is stopped, None for never.
    """

    parallel: int = 2
    fast: bool = True
    step_timeout: float | None = None


@dataclass(frozen=True)
class Stop:
    """The run is to stop: by Ctrl-C, by SIGTERM, or because `cancel` asked for it."""

    why: str


@dataclass(frozen=True)
class _Prepared:
    warnings: Sequence[str]
    by_step: Mapping[str, Sequence[str]]


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
    step: str
    ended: Ended


@dataclass(frozen=True)
class _Unlogged:
    """A line of a step could not be written down: a step whose log is not whole has failed."""

    step: str
    words: str


_Event = Stop | _Prepared | _Broke | _Remark | _Started | _Finished | _Unlogged


@dataclass
class _Active:
    """A step that has a thread: since when, what it is to be stopped for, and whether it has failed then."""

    since: float
    running: Running | None = None
    stopped_for: str = ""
    failed: bool = False
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
        observer: is told of everything.
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

    def __post_init__(self) -> None:
        """Prepare what changes during the run."""
        self._events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
        self._active: dict[str, _Active] = {}
        self._threads: list[threading.Thread] = []
        self._by_name = {step.name: step for step in self.steps}
        self._told = threading.Lock()
        self._stopping = threading.Event()
        self._prepared = False
        self._broken: Exception | None = None
        self._stop_deadline = math.inf
        self._outputs = {
            (step.name, key): value for step in self.record.steps for key, value in (step.outputs or {}).items()
        }

    def run(self) -> RunRecord:
        """Run to the end; return the record, which is written too.

        Raises:
            EngineError: no step was started.
            InputError: the record cannot be written any more.
        """
        with self._signals():
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
                # Such as a full disk: whatever it is, no container outlives the program.
                self._abort()
                raise
            self._await_threads()
        self._conclude()
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
        for thread in self._threads:
            thread.join(max(deadline - self.clock(), 0.0))
        while not self._events.empty():
            if isinstance(event := self._events.get(), _Remark):
                self._handle(event)

    # ── events ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def stop(self, why: str) -> None:
        """Stop the run; the second call kills. May be called from a signal handler and from any thread."""
        self._events.put(Stop(why))

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Turn Ctrl-C and SIGTERM into events for as long as the run lasts."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        whys = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
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
            if not self._stopping.is_set():
                self.record.state = RunState.RUNNING
            self._write()
        elif isinstance(event, _Remark):
            self.record.warnings.append(event.words)
        elif isinstance(event, _Broke):
            self._broken = event.error
            self._begin_stop("")
        elif isinstance(event, _Started):
            self._started(event.step, event.running)
            event.seen.set()
        elif isinstance(event, _Unlogged):
            if (active := self._active.get(event.step)) is not None:
                self._stop_step(active, event.words, failed=True)
        elif isinstance(event, _Finished):
            self._finished(event.step, event.ended)

    def _tick(self) -> None:
        if not self._stopping.is_set() and self.folder.asked_to_cancel:
            self._begin_stop("cancel")
        limit = self.policy.step_timeout
        for active in self._active.values():
            if limit is not None and not active.stopped_for and self.clock() - active.since >= limit:
                self._stop_step(active, f"stopped after {limit:g} s (--step-timeout)", failed=True)

    def _over(self) -> bool:
        if self.clock() >= self._stop_deadline:
            return True
        if self._stopping.is_set():
            return not self._active
        return self._prepared and all(step.state in _ENDED for step in self.record.steps)

    # ── steps ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _prepare(self) -> None:
        waiting = [self._by_name[step.name] for step in self.record.steps if step.state is StepState.WAITING]
        calls = [self._call(step, [], []) for step in waiting]
        warnings, by_step = self.engine.prepare(calls, self._pulling, self._stopping)
        self._events.put(_Prepared(warnings, by_step))

    @property
    def _pulling(self) -> PullProgress:
        def told(image: str, done: int, total: int) -> None:
            with self._told:
                self.observer.pulling(image, done, total)

        return told

    def _launch_ready(self) -> None:
        """Start what can start: everything before it succeeded, and there is room."""
        changed = False
        states = {step.name: step.state for step in self.record.steps}
        for record in self.record.steps:
            if record.state is not StepState.WAITING or self._stopping.is_set():
                continue
            before = [states[name] for name in record.after]
            if any(state in (StepState.FAILED, StepState.CANCELLED, StepState.SKIPPED) for state in before):
                record.state = states[record.name] = StepState.SKIPPED
                changed = True
            elif all(state is StepState.SUCCEEDED for state in before) and len(self._active) < self.policy.parallel:
                record.state = states[record.name] = StepState.PENDING
                self._active[record.name] = _Active(self.clock())
                self._launch(record)
                changed = True
        if changed:
            self._write()

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
        with _StepLog(self, call.step) as log:
            try:
                running = self.engine.start(call, log.feed)
            except StartRefusedError as error:
                log.close()
                words = f"could not be started: {error}"
                if error.exit_code is not None:
                    words = f"{exit_words(error.exit_code)}; {words}"
                self._events.put(_Finished(call.step, Ended(error.exit_code, words)))
                return
            seen = threading.Event()
            self._events.put(_Started(call.step, running, seen))
            seen.wait(1.0)
            try:
                ended = running.wait()
                log.close()
                self._events.put(_Finished(call.step, ended))
            finally:
                # After the report: the next step starts while this one is cleared away.
                self._remove(call.step, running)

    def _remove(self, step: str, running: Running) -> None:
        try:
            running.remove()
        except Exception as error:  # noqa: BLE001 - whatever it is, the step has ended as it has ended
            self._events.put(_Remark(f"{running.identity[:12]} of step {step} could not be removed: {error}"))

    def _started(self, name: str, running: Running) -> None:
        active, record = self._active[name], self.record.step(name)
        active.running, active.since = running, self.clock()
        record.state, record.started, record.container = StepState.RUNNING, self.now(), running.identity
        self._write()
        if active.stopped_for:  # while it was about to start
            self._stop_step(active, active.stopped_for)

    def _finished(self, name: str, ended: Ended) -> None:
        active, record, step = self._active.pop(name, None), self.record.step(name), self._by_name[name]
        if active is None:
            return
        record.ended, record.exit_code = self.now(), ended.exit_code
        record.started = record.started or record.ended
        record.warnings += [ended.warning] if ended.warning else []
        if active.stopped_for:
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
            self._begin_stop("", f"stopped because step {name} failed")
        self._write()

    def _keep_outputs(self, step: ExecutableStep, record: StepRecord, files: Mapping[str, str]) -> None:
        if not step.outputs:
            return
        values = read_outputs(step, files)
        self._outputs |= {(step.name, key): value for key, value in values.items()}
        # One with a secret in it is not written down, so a later `--from` cannot take it.
        text = {key: json.dumps(value) for key, value in values.items()}
        record.outputs = {key: values[key] for key in values if self.masker.mask(text[key]) == text[key]}

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _begin_stop(self, why: str, words: str = "") -> None:
        """Stop every step; when that was asked for before by the same person, kill."""
        again = bool(why and self.stopped_by)
        self.stopped_by = self.stopped_by or why
        words = words or (f"stopped by {why}" if why else "stopped because the run was aborted")
        if not self._stopping.is_set():
            self._stopping.set()
            self.record.state = RunState.CANCELLING if why else self.record.state
            # Twice the grace, for an Engine that does not answer: the record then says so.
            self._stop_deadline = self.clock() + 4 * GRACE + 4
            self._write()
        for active in self._active.values():
            self._stop_step(active, words, kill=again)
        if again:
            self._stop_deadline = min(self._stop_deadline, self.clock() + GRACE)

    def _stop_step(self, active: _Active, words: str, *, kill: bool = False, failed: bool = False) -> None:
        if not active.stopped_for:
            active.stopped_for, active.failed = words, failed
        if active.running is not None and (kill or not active.told):
            active.told = True
            self._thread(active.running.kill if kill else active.running.stop)

    def _conclude(self) -> None:
        for record in self.record.steps:
            if record.state in (StepState.WAITING, StepState.PENDING):
                record.state = StepState.SKIPPED
            elif record.state not in _ENDED:
                record.state, record.ended = StepState.CANCELLED, self.now()
                record.error = "did not end when stopped; its container may remain"
        failed = [step for step in self.record.steps if step.state is StepState.FAILED]
        if self._broken is not None:
            self.record.state = RunState.FAILED
            self.record.error = (
                getattr(self._broken, "message", None) or f"{type(self._broken).__name__}: {self._broken}"
            )
        elif failed:
            self.record.state = RunState.FAILED
            self.record.error = "; ".join(f"step {step.name}: {step.error}" for step in failed)
        elif self.stopped_by:
            self.record.state, self.record.error = RunState.CANCELLED, f"stopped by {self.stopped_by}"
        else:
            self.record.state = RunState.SUCCEEDED
        self.record.ended = self.now()
        self._write()

    def _write(self) -> None:
        self.folder.write(self.record, self.masker.mask)
        with self._told:
            self.observer.changed(self.record)

    def _thread(self, work: Callable[[], None], step: str = "") -> None:
        """Run `work` beside; an error in it ends the run, and the step that it belongs to."""

        def guarded() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - whatever it is, the run must not wait for this thread for ever
                if step:
                    words = getattr(error, "message", None) or f"{type(error).__name__}: {error}"
                    self._events.put(_Finished(step, Ended(None, words)))
                else:
                    self._events.put(_Broke(error))

        thread = threading.Thread(target=guarded, daemon=True)
        self._threads.append(thread)
        thread.start()

    def unlogged(self, step: str, error: OSError) -> None:
        """Stop a step whose log cannot be written."""
        self._events.put(_Unlogged(step, f"stopped because its log cannot be written: {error.strerror}"))

    def tell_line(self, step: str, line: LogLine) -> None:
        """Hand a line to the observer."""
        with self._told:
            self.observer.line(step, line)


class _StepLog:
    """Turns the bytes of a step into masked lines, for its file and for the observer."""

    def __init__(self, runner: Runner, step: str) -> None:
        self._runner = runner
        self._step = step
        self._decoders = {name: codecs.getincrementaldecoder("utf-8")("replace") for name in "OE"}
        self._masked = {name: runner.masker.stream() for name in "OE"}
        self._open = dict.fromkeys("OE", "")
        self._lock = threading.Lock()
        self._unwritten = False
        log = runner.folder.open_log(runner.record.step(step))
        self._file: IO[str] = io.TextIOWrapper(cast("io.BufferedWriter", log), encoding="utf-8", newline="\n")

    def __enter__(self) -> _StepLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def feed(self, stream: str, chunk: bytes) -> None:
        """Take bytes as they came."""
        with self._lock:
            if not self._file.closed:
                self._take(stream, self._masked[stream].feed(self._decoders[stream].decode(chunk)))

    def close(self) -> None:
        """Write what is left: a last line without an end. Once is enough, twice no harm."""
        with self._lock:
            if self._file.closed:
                return
            for stream in "OE":
                self._take(stream, self._masked[stream].feed(self._decoders[stream].decode(b"", final=True)))
                self._take(stream, self._masked[stream].close())
                # A progress bar ends with "\r", and waits here for a "\n" that does not come.
                if rest := self._open[stream].removesuffix("\r"):
                    self._write([LogLine(self._runner.now(), stream, rest)])
            with contextlib.suppress(OSError):  # told when the line was written that it holds still
                self._file.close()

    def _take(self, stream: str, text: str) -> None:
        text = self._open[stream] + text
        # "\r\n" may be cut in two by the chunks.
        end = len(text) - 1 if text.endswith("\r") else len(text)
        *lines, rest = _LINE_END.split(text[:end])
        self._open[stream] = rest + text[end:]
        while len(self._open[stream]) > _LONGEST_LINE:
            lines.append(self._open[stream][:_LONGEST_LINE])
            self._open[stream] = self._open[stream][_LONGEST_LINE:]
        self._write([LogLine(self._runner.now(), stream, line) for line in lines])

    def _write(self, lines: Sequence[LogLine]) -> None:
        if lines:
            try:
                if not self._unwritten:
                    self._file.write("".join(f"{line}\n" for line in lines))
                    self._file.flush()
            except OSError as error:
                # Read on: a step whose output nobody reads stands still at a full pipe.
                self._unwritten = True
                self._runner.unlogged(self._step, error)
            for line in lines:
                self._runner.tell_line(self._step, line)
