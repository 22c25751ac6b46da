"""Runs on this machine, on the screen: `--local`, `runs`, `watch`, `logs`, `cancel`.

On a terminal the steps are drawn in place; elsewhere every change and every line of a step is a line; with `--json`
each is a JSON object on a line of stdout.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from run_kfp.errors import InputError
from run_kfp.launch import conclude_rehearsal, known_runs, plan_rehearsal, rehearse, write_report
from run_kfp.localruns import LocalRuns, LogLine, RunFolder, RunRecord, follow_logs
from run_kfp.runs import RunState, RunStatus, watch
from run_kfp.screens import (
    graph_lines,
    plain_text,
    record_changes,
    record_data,
    record_lines,
    rehearsal_plan_data,
    rehearsal_plan_lines,
    runs_lines,
)

if TYPE_CHECKING:
    from run_kfp.backends.local import LocalOptions, LocalPlan
    from run_kfp.prepare import Call, Prepared
    from run_kfp.terminal import Draw, Screen

# Lines of a running step that are shown below it.
_TAIL = 3

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
        self._pulled: dict[str, int] = {}
        self._warned: set[str] = set()

    def changed(self, record: RunRecord) -> None:
        """Show what is new."""
        now = datetime.now(UTC)
        if not self._screen.json and self._announce and record.state is not RunState.PENDING:
            # Not before the Engine is ready: a run that could not begin is not kept.
            self._announce = False
            self._screen.out(record.ref)
        warnings = [
            *record.warnings,
            *(f"step {step.name} {words}" for step in record.steps for words in step.warnings),
        ]
        self._screen.say(*(f"warning: {words}" for words in warnings if words not in self._warned))
        self._warned.update(warnings)
        if self._show is not None:
            self._show(partial(record_lines, record, self._tails))
        elif not self._screen.json:
            self._screen.say(*record_changes(self._states, record, now))
        if self._states.get("") != record.state:
            self._screen.event("run", run=record.ref, state=record.state.value, time=now.isoformat())
        for step in record.steps:
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
        self._states = {"": record.state, **{step.name: step.state for step in record.steps}}

    def line(self, step: str, line: LogLine) -> None:
        """Show a line of a step."""
        self._tails.setdefault(step, deque(maxlen=_TAIL)).append(line.text)
        if self._screen.json:
            self._screen.event("log", step=step, time=line.time.isoformat(), stream=line.stream, text=line.text)
        elif self._show is None:
            self._screen.say(f"{line.time:%H:%M:%S}Z  {step} │ {plain_text(line.text)}")

    def pulling(self, image: str, done: int, total: int) -> None:
        """Show how far a pull is: every tenth, so that a file does not fill with it."""
        tenth = 10 * done // total if total else 0
        if self._pulled.get(image) == tenth:
            return
        self._pulled[image] = tenth
        bar = "█" * tenth + "░" * (10 - tenth)
        size = f"  {done / 1e6:.0f} of {total / 1e6:.0f} MB" if total > 1 else ""
        self._screen.event("pull", image=image, done=done, total=total)
        if not self._screen.json:
            self._screen.say(f"pulling {image}  {bar}{size}")


def run_locally(
    screen: Screen, call: Call, prepared: Prepared, options: LocalOptions, write: Callable[[], str | None]
) -> int:
    """Run on this machine to the end.

    Args:
        screen: where to show it.
        call: the command line.
        prepared: what was read and compiled.
        options: what the call says of this machine.
        write: writes the compiled file where `-o` says, and returns its path.

    Returns:
        The exit code 0, or 130 after Ctrl-C.

    Raises:
        RunFailed: a step failed.
        RunStopped: it was cancelled from elsewhere.
        EngineError: no step was started.
    """
    runs = LocalRuns()
    plan = plan_rehearsal(call, prepared, options, known_runs(screen.masker, runs, screen.say), screen.masker)
    if call.file is None:
        screen.data(file=write())
    screen.say(*graph_lines(prepared.pipeline))
    if plan.secrets:
        screen.say(f"note: {', '.join(sorted(plan.secrets))}: handed over as arguments, masked in what is written down")
    folder = runs.folder(plan.run_id)
    with screen.live() as show:
        # Below a live view, what is printed to stdout would go where the view goes.
        live = show is not None and not screen.json
        view = _View(screen, show if live else None, announce=not live)
        record, stopped_by = rehearse(plan, runs, screen.masker, view)
    if live:
        screen.out(record.ref)
    report = _report(screen, folder)
    screen.data(**record_data(record), folder=str(folder.path), report=str(report) if report else None)
    screen.say(f"logs: {folder.path / 'logs'}", *([f"report: {report}"] if report else []))
    if stopped_by == "Ctrl-C":
        screen.say(f"stopped by Ctrl-C: {record.ref}")
        return 130
    conclude_rehearsal(record, folder)
    return 0


def _report(screen: Screen, folder: RunFolder) -> Path | None:
    """Write the report; a fault in it must not hide how the run ended."""
    try:
        return write_report(folder)
    except Exception as error:  # noqa: BLE001 - see above
        screen.say(f"warning: no report was written: {type(error).__name__}: {error}")
        return None


def show_plan(screen: Screen, call: Call, prepared: Prepared, options: LocalOptions) -> None:
    """Show what a run on this machine would do; no engine is contacted."""
    plan: LocalPlan = plan_rehearsal(call, prepared, options, LocalRuns(), screen.masker)
    if screen.json:
        screen.data(**rehearsal_plan_data(plan))
    else:
        screen.show(rehearsal_plan_lines(plan))
    screen.say(*(f"note: {note}" for note in plan.notes))


def list_runs(screen: Screen) -> None:
    """Show the runs of this folder, the newest first."""
    records = [record for _, record in known_runs(screen.masker, LocalRuns(), screen.say).all()]
    if screen.json:
        screen.data(runs=[record_data(record) for record in records])
    elif records:
        screen.show(runs_lines(records, datetime.now(UTC)))
    else:
        screen.say("no runs in this folder: `--local` makes one")


def watch_run(screen: Screen, word: str | None, *, every: float = _LOOK) -> None:
    """Follow a run to its end.

    Raises:
        RunFailed, RunStopped: by its end.
    """
    folder, record = _found(screen, word)
    with screen.live() as show:
        view = _View(screen, None if screen.json else show)
        record = _follow(screen, folder, view.changed, every=every, deadline=None)
    screen.data(**record_data(record))
    conclude_rehearsal(record, folder)


def show_logs(screen: Screen, words: Sequence[str], *, follow: bool) -> None:
    """Print the log of a run, or of one of its steps.

    Args:
        screen: where to.
        words: a run and a step, one of the two, or nothing for the newest run.
        follow: whether to go on until the run has ended.
    """
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
    width = max(map(len, paths))

    def ended() -> bool:
        latest = folder.read()
        return not follow or latest is None or latest.state.ends_the_watch or folder.abandoned()

    for name, line in follow_logs(paths, ended):
        if screen.json:
            screen.event("log", step=name, time=line.time.isoformat(), stream=line.stream, text=line.text)
        else:
            screen.out(line.text if step else f"{name:<{width}} │ {plain_text(line.text)}")


def cancel_run(screen: Screen, word: str | None) -> None:
    """Ask the program that runs a run to stop it, and wait until it has.

    Raises:
        InputError: it has ended already.
        WatchGaveUp: it has not ended in time.
    """
    folder, record = _found(screen, word)
    if record.state.ends_the_watch:
        raise InputError(f"{record.ref} has ended already: {record.state.value}", hint="there is nothing to cancel")
    folder.ask_to_cancel()
    screen.say(f"stopping {record.ref} …")
    record = _follow(screen, folder, lambda _: None, every=_LOOK, deadline=_CANCEL_TAKES)
    screen.data(**record_data(record))
    if not screen.json:
        screen.out(f"{record.ref} {record.state.value}")


def _found(screen: Screen, word: str | None) -> tuple[RunFolder, RunRecord]:
    if word is not None and "://" in word and not word.startswith("local://"):
        raise InputError(f"{word} is no run of this machine", hint="look at it in the console")
    return known_runs(screen.masker, LocalRuns(), screen.say).find(word)


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
        if record is not None and not record.state.ends_the_watch and folder.abandoned():
            known_runs(screen.masker, LocalRuns(), screen.say)
            record = folder.read()
        if record is None:
            raise InputError(f"the run {folder.id} is not there any more")
        latest.append(record)
        changed(record)
        return record.status

    for _ in watch(look, every=every, deadline=deadline):
        del latest[:-1]
    return latest[-1]
