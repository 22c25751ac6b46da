"""Runs on this machine, on the screen: `--local`, `runs`, `watch`, `logs`, `cancel`.

On a terminal the steps are drawn in place; elsewhere every change and every line of a step is a line; with `--json`
each is a JSON object on a line of stdout.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from run_kfp.backends import local
from run_kfp.backends.local import LocalOptions
from run_kfp.backends.local.extras import TypedExtras
from run_kfp.commands.following import Follower
from run_kfp.errors import InputError, RunFailed, RunKfpError, RunStopped
from run_kfp.files import write_atomically
from run_kfp.findings import Finding
from run_kfp.localruns import RunFolder, RunRecord, StepRecord
from run_kfp.localstore import LocalRuns
from run_kfp.natural import natural
from run_kfp.pipeline.platforms import unused_settings
from run_kfp.progress import record_changes, record_lines
from run_kfp.resolve import inputs_of
from run_kfp.runs import RunState, RunStatus, watch
from run_kfp.screens import (
    graph_lines,
    record_data,
    rehearsal_plan_data,
    rehearsal_plan_lines,
)
from run_kfp.steplogs import LogLine, follow_logs, last_lines, log_time, open_log
from run_kfp.times import moment, whole_number
from run_kfp.visible import shell_word

if TYPE_CHECKING:
    from run_kfp.backends.local import Executed, LocalPlan
    from run_kfp.flags import RunOptions
    from run_kfp.masking import Masker
    from run_kfp.resolve import ResolvedCall
    from run_kfp.terminal import Draw, Screen

# Lines of a failed step that are told with its failure, and those of all.
LAST_LINES, _FAILURE_LINES = 10, 50

# Lines of a running step that are shown below it.
_TAIL = 3

# Bytes of a log that a report looks at: of its beginning, and of its end, where most failures say what happened.
_REPORTED = (2**17, 3 * 2**17)

# Seconds between two looks at a run that another program runs, and that a cancel waits for its end.
_LOOK, _CANCEL_TAKES = 0.5, 20.0


class _View:
    """What a run shows of itself while it goes on; the runner calls it, one call at a time."""

    def __init__(self, screen: Screen, show: Callable[[Draw], None] | None, *, announce: bool = False) -> None:
        self._screen = screen
        self._show = show
        self._announce = announce
        self._states: dict[str, str] = {}
        self._tails: dict[str, deque[str]] = {}
        self._bars: dict[str, str] = {}
        self._pulled: dict[str, int] = {}
        self._warned: set[str] = set()

    def changed(self, record: RunRecord, state: RunState, steps: Sequence[StepRecord]) -> None:
        """Show what is new."""
        now = datetime.now(UTC)
        if self._announce and state is not RunState.PENDING:
            # Not before the Engine is ready: a run that could not begin is not kept.
            self._announce = False
            self._screen.out(record.ref)
        warnings = [
            *record.warnings,
            *(f"step {step.name} {words}" for step in steps for words in step.warnings),
        ]
        self._screen.say(*(f"warning: {words}" for words in warnings if words not in self._warned))
        self._warned.update(warnings)
        if self._show is not None:
            self._show(lambda now, space: record_lines(record, self._latest_lines(), now, space))
        else:
            self._screen.progress(*record_changes(self._states, state, steps, now))
        if self._states.get("") != state:
            self._screen.event("run", run=record.ref, state=state.value, time=now.isoformat())
        for step in steps:
            if self._states.get(step.name, "WAITING") != step.state:
                self._screen.event(
                    "step",
                    step=step.name,
                    state=step.state.value,
                    time=now.isoformat(),
                    exit_code=step.exit_code,
                    error=step.error,
                    reused_from=step.reused_from,
                )
        self._states |= {"": state, **{step.name: step.state for step in steps}}

    def lines(self, step: str, lines: Sequence[LogLine], dropped: int) -> None:
        """Show lines of a step, and how many behind them are in the log alone."""
        self._bars.pop(step, None)
        self._tails.setdefault(step, deque(maxlen=_TAIL)).extend(line.text for line in lines[-_TAIL:])
        self._screen.events(
            {"event": "log", "step": step, "time": line.time.isoformat(), "stream": line.stream, "text": line.text}
            for line in lines
        )
        if self._show is None:
            self._screen.logs(((f"{line.time:%H:%M:%S}Z  {step} │ ", line.text) for line in lines), stderr=True)
        if dropped:
            self._screen.say(f"note: {dropped:,} lines of {step} not shown: nothing read them in time; see the log")

    def bar(self, step: str, text: str) -> None:
        """Show the state of a progress bar when the steps are drawn again; elsewhere it is one line, in the end."""
        self._bars[step] = text

    def _latest_lines(self) -> dict[str, list[str]]:
        """Return the last lines of each step, with its progress bar where it has one."""
        bars = dict(self._bars)  # another thread draws
        return {
            step: [*self._tails.get(step, ()), *([bars[step]] if step in bars else [])][-_TAIL:]
            for step in {**self._tails, **bars}
        }

    def pulling(self, image: str, done: int, total: int) -> None:
        """Show how far a pull is: every tenth, so that a file does not fill with it."""
        tenth = 10 * done // total if total else 0
        if self._pulled.get(image) == tenth:
            return
        self._pulled[image] = tenth
        bar = "█" * tenth + "░" * (10 - tenth)
        size = f"  {done / 1e6:.0f} of {total / 1e6:.0f} MB" if total > 1 else ""
        self._screen.event("pull", image=image, done=done, total=total)
        self._screen.progress(f"pulling {image}  {bar}{size}")


def options_of(options: RunOptions, step_limit: float | None) -> LocalOptions:
    """Return what the flags say of this machine; `step_limit` is `--step-timeout` as a number."""
    return LocalOptions(
        options.engine or "docker",
        options.parallel,
        step_limit,
        options.from_step,
        options.from_run,
        options.pull or "missing",
        options.bucket_dir,
        options.docker_network,
        options.file is not None,
        options.with_credentials,
        options.keep_failed,
        TypedExtras(options.mount or (), options.env or (), options.shm_size or (), options.gpus or ()),
    )


def run_locally(screen: Screen, resolved: ResolvedCall, options: LocalOptions, write: Callable[[], str | None]) -> int:
    """Run on this machine to the end.

    Args:
        screen: where to show it.
        resolved: what was read and compiled.
        options: what the call says of this machine.
        write: writes the compiled file where `-o` says, and returns its path.

    Returns:
        The exit code 0, or 130 after Ctrl-C.

    Raises:
        RunFailed: a step failed.
        RunStopped: it was cancelled from elsewhere.
        EngineError: it is missing, refused, or no longer answers.
        StoreError: the folder of the run cannot be written any more.
    """
    runs = LocalRuns()
    _say_unused(screen, resolved)
    plan = plan_rehearsal(resolved, options, known_runs(screen.masker, runs, screen.say), screen.masker)
    if resolved.call.file is None:
        screen.data(file=write())
    screen.say(*graph_lines(resolved.pipeline))
    if plan.secrets:
        screen.say(
            f"note: {', '.join(sorted(plan.secrets, key=natural))}: passed as arguments, masked in logs and records"
        )
    screen.say(*(f"note: {note}" for note in (plan.without_login, _only_here(plan)) if note))
    folder = runs.folder(plan.run_id)
    with screen.live(events=True) as show:
        # Below a live view, what is printed to stdout would go where the view goes.
        view = _View(screen, show, announce=show is None)
        done = local.execute(plan, runs, screen.masker, view)
        if done.unread:
            # Whoever reads the screen is stuck, and would hold every word that is still to be said.
            with contextlib.suppress(Exception):
                write_report(folder)
            screen.leave(130 if done.stopped_by == "Ctrl-C" else _exit_code(done, folder))
    record = done.record
    report = _report(screen, folder)
    if shells := {step.name: step.shell for step in record.steps if step.shell}:
        screen.data(shells=shells)
        for name, shell in shells.items():
            screen.say(f"the container of {name} is kept until `run-kfp runs prune`; to open a shell in it:", shell)
    if done.error is not None:
        raise done.error
    if show is not None:
        screen.out(record.ref)
    screen.data(**record_data(record), folder=str(folder.path), report=str(report) if report else None)
    screen.say(f"logs: {folder.path / 'logs'}", *([f"report: {report}"] if report else []))
    if done.stopped_by == "Ctrl-C":
        screen.say(f"stopped by Ctrl-C: {record.ref}")
        return 130
    conclude_rehearsal(record, folder)
    return 0


def _exit_code(done: Executed, folder: RunFolder) -> int:
    try:
        if done.error is not None:
            raise done.error
        conclude_rehearsal(done.record, folder)
    except RunKfpError as error:
        return error.exit_code
    except Exception:  # noqa: BLE001 - an internal error that nobody can be told of
        return RunKfpError.exit_code
    return 0


def _report(screen: Screen, folder: RunFolder) -> Path | None:
    """Write the report; a fault in it must not hide how the run ended."""
    try:
        return write_report(folder)
    except Exception as error:  # noqa: BLE001 - see above
        screen.say(f"warning: no report was written: {type(error).__name__}: {error}")
        return None


def show_plan(screen: Screen, resolved: ResolvedCall, options: LocalOptions) -> None:
    """Show what a run on this machine would do; no engine is contacted."""
    _say_unused(screen, resolved)
    plan: LocalPlan = plan_rehearsal(resolved, options, LocalRuns(), screen.masker)
    screen.data(**rehearsal_plan_data(plan))
    screen.show(rehearsal_plan_lines(plan))
    screen.say(*(f"note: {note}" for note in (plan.without_login, _only_here(plan), *plan.notes) if note))


def _only_here(plan: LocalPlan) -> str:
    """Say what the steps get on this machine alone; empty where that is nothing."""
    return f"{', '.join(plan.local_only)}: on this machine only, not on Vertex AI" if plan.local_only else ""


def _say_unused(screen: Screen, resolved: ResolvedCall) -> None:
    """Say which settings for other platforms have no effect; what is refused is refused all the same."""
    for unused in unused_settings(resolved.pipeline.platforms):
        words = f"the settings for {unused.platform} have no effect here: {', '.join(unused.kinds) or 'none are used'}"
        screen.say(f"note: {words}; {unused.hint}")


def watch_run(screen: Screen, word: str | None, *, every: float = _LOOK) -> int:
    """Follow a run to its end.

    Returns:
        The exit code: 0, or 130 after Ctrl-C.

    Raises:
        RunFailed, RunStopped: by its end.
    """
    folder, record = _found(screen, word)
    try:
        with screen.live(events=True) as show:
            # Below a picture no more than the last lines are seen.
            follower = Follower(folder, _View(screen, show), tail=None if show is None else _TAIL)
            record = _follow(screen, folder, follower.seen, every=every, deadline=None)
    except KeyboardInterrupt:
        screen.say("stopped waiting; the run continues")
        return 130
    screen.data(**record_data(record))
    conclude_rehearsal(record, folder)
    return 0


def show_logs(
    screen: Screen,
    words: Sequence[str],
    *,
    follow: bool,
    tail: str | None = None,
    since: str | None = None,
    timestamps: bool = False,
) -> None:
    """Print the log of a run, or of one of its steps.

    Args:
        screen: where to.
        words: a run and a step, one of the two, or nothing for the newest run.
        follow: whether to go on until the run has ended.
        tail: how many lines of each step, the last ones, as typed; None for all.
        since: an age or a time, as typed, before which lines are left out.
        timestamps: whether the time of a line stands before it.

    Raises:
        InputError: there is no such run or step, there are more words, or a value is invalid.
    """
    count = whole_number("--tail", tail, "lines") if tail is not None else None
    begin = moment("--since", since, datetime.now(UTC)) if since is not None else None
    if len(words) > 2:
        raise InputError("logs takes at most a run and a step", hint="see `run-kfp runs`")
    step: str | None = None
    try:
        folder, record = _found(screen, words[0] if words else None)
        step = words[1] if len(words) > 1 else None
    except InputError:
        if len(words) != 1:
            raise
        folder, record = _found(screen, None)
        step = words[0]
        if step not in [each.name for each in record.steps]:
            raise
    names = [each.name for each in record.steps]
    if step is not None and step not in names:
        raise InputError(f"{record.ref} has no step {step!r}; it has {', '.join(names)}")
    paths = {name: folder.log(record.step(name)) for name in ([step] if step else names)}
    width = max(map(len, paths), default=0)

    def ended() -> bool:
        latest = folder.read()
        return not follow or latest is None or latest.state.is_final or folder.abandoned()

    for name, line in follow_logs(paths, ended, tail=count, since=begin):
        screen.event("log", step=name, time=line.time.isoformat(), stream=line.stream, text=line.text)
        time = f"{log_time(line.time)} " if timestamps else ""
        screen.logs([(time + ("" if step else f"{name:<{width}} │ "), line.text)])


def cancel_run(screen: Screen, word: str | None) -> None:
    """Ask the program that runs a run to stop it, and wait until it has.

    Raises:
        InputError: it has ended already.
        WatchTimeout: it has not ended in time.
    """
    folder, record = _found(screen, word)
    if record.state.is_final:
        raise InputError(f"{record.ref} has already ended: {record.state.value}", hint="nothing to cancel")
    folder.ask_to_cancel()
    screen.say(f"stopping {record.ref} …")
    record = _follow(screen, folder, lambda _: None, every=_LOOK, deadline=_CANCEL_TAKES)
    screen.data(**record_data(record))
    screen.out(f"{record.ref} {record.state.value}")


def _found(screen: Screen, word: str | None) -> tuple[RunFolder, RunRecord]:
    if word is not None and "://" in word and not word.startswith("local://"):
        raise InputError(f"{word} is not a run on this machine", hint="see it in the console")
    return known_runs(screen.masker, LocalRuns(), screen.say).find(word, screen.say)


def _follow(
    screen: Screen,
    folder: RunFolder,
    changed: Callable[[RunRecord], None],
    *,
    every: float,
    deadline: float | None,
) -> RunRecord:
    """Look at a run that another program runs until it has ended."""
    latest: list[RunRecord] = []

    def look() -> RunStatus:
        record = folder.read()
        if record is None:
            raise InputError(f"the run {folder.id} no longer exists")
        record = mended(screen, folder, record)
        latest.append(record)
        changed(record)
        return record.status

    for _ in watch(look, every=every, deadline=deadline):
        del latest[:-1]
    return latest[-1]


# ── from the plan to the end ──────────────────────────────────────────────────────────────────────────────────────────


def plan_rehearsal(resolved: ResolvedCall, options: LocalOptions, runs: LocalRuns, masker: Masker) -> LocalPlan:
    """Make the plan of a run on this machine; no engine is contacted.

    Raises:
        InputError: with every fault of flags, parameters and secrets, and of what this machine cannot run.
    """
    # Settings of another form than Google's do no harm here; a parameter takes what they hold.
    at_home = dataclasses.replace(resolved, ambient_faults=())
    return local.plan(resolved.pipeline, inputs_of(at_home, masker), options, runs)


def known_runs(masker: Masker, runs: LocalRuns, notify: Callable[[str], None]) -> LocalRuns:
    """Return the runs of this folder, after those whose program was killed were ended as FAILED."""
    for words in local.mend(runs, masker):
        notify(words)
    return runs


def mended(screen: Screen, folder: RunFolder, record: RunRecord) -> RunRecord:
    """Return the record, which ends as FAILED where nobody runs it any more."""
    if record.state.is_final or not folder.abandoned():
        return record
    screen.say(*local.mend(LocalRuns(), screen.masker, folder))
    return folder.read() or record


def write_report(folder: RunFolder) -> Path | None:
    """Write `report.html` beside the record of a run; return its path, None where this installation cannot."""
    if importlib.util.find_spec("run_kfp.report") is None:
        return None
    from run_kfp.report import report_html

    record = folder.read()
    if record is None:
        return None
    path = folder.path / "report.html"
    write_atomically(path, report_html(record.data, lambda log: _lines(folder.path / log)), private=True)
    return path


def _lines(path: Path) -> Iterator[str | int]:
    """Yield the lines of a log for the report; of a long one its beginning, its end, and the number of the others."""
    with open_log(path) as file:
        size = os.fstat(file.fileno()).st_size
        begin, end = (size, size) if size <= sum(_REPORTED) else (_REPORTED[0], size - _REPORTED[1])
        while raw := file.readline(_REPORTED[0]):  # a line without an end is read in pieces
            yield raw.decode("utf-8", "replace")
            begin -= len(raw)
            if begin <= 0:
                break
        left_out = 0
        while (piece := file.read(min(2**20, max(end - file.tell(), 0)))) != b"":
            left_out += piece.count(b"\n")
        if left_out:
            rest = file.readline()  # its first part was counted with the others, or not at all
            yield left_out + bool(rest)
        yield from (raw.decode("utf-8", "replace") for raw in file)


def conclude_rehearsal(record: RunRecord, folder: RunFolder) -> None:
    """Return when the run succeeded.

    Raises:
        RunFailed: it failed; names the steps, the cause and their last lines.
        RunStopped: it was cancelled.
    """
    if record.state is RunState.SUCCEEDED:
        return
    if record.state is RunState.CANCELLED:
        raise RunStopped(f"the run was canceled: {record.ref}", hint=f"its logs are in {folder.path}")
    again = "; ".join(
        f"`--from {shell_word(step.name)}` restarts it at this step"
        for step in record.status.failed_steps[:1]
        if _done(record)
    )
    failed = record.status.failed_steps
    # Of many failures each shows less: the words on the run stay within some screens.
    most = max(min(LAST_LINES, _FAILURE_LINES // max(len(failed), 1)), 1)
    faults = [
        Finding(f"step {step.name}: {step.error}", "\n".join(_last_lines(folder, record, step.name, most)))
        for step in failed
    ]
    hint = f"full log: run-kfp logs {shell_word(record.id)}" + (f" {shell_word(failed[0].name)}" if faults else "")
    if again:
        hint += f"; {again}"
    if len(faults) == 1:
        lines = f"\n{faults[0].hint}" if faults[0].hint else ""
        raise RunFailed(f"the run failed: {faults[0].message}{lines}", hint=hint)
    raise RunFailed(f"the run failed: {record.error or 'no reason given'}", hint=hint, faults=faults)


def _done(record: RunRecord) -> bool:
    return any(step.state.value == "SUCCEEDED" for step in record.steps)


def _last_lines(folder: RunFolder, record: RunRecord, name: str, most: int) -> list[str]:
    return [f"    {line.text}" for line in last_lines(folder.log(record.step(name)), most)]
