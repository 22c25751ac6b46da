"""The program on one screen: prepare → plan → check → submit → watch.

Each step takes the value of the one before it.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from run_kfp.backends import (
    Backend,
    Given,
    Inputs,
    RunRequest,
    fill,
    find_secrets,
    open_backend,
    plan_faults,
    plan_run,
)
from run_kfp.errors import Fault, InputError, RunFailed, RunStopped
from run_kfp.files import write_atomically
from run_kfp.masking import Masker
from run_kfp.pipeline import CompiledPipeline, compile_pipeline
from run_kfp.prepare import Call, Draft, Prepared, sketch
from run_kfp.runs import RunRef, RunState, RunStatus, watch
from run_kfp.settings import Settings

if TYPE_CHECKING:
    from run_kfp.backends.local import LocalOptions, LocalPlan, Observer
    from run_kfp.localruns import LocalRuns, RunFolder, RunRecord
    from run_kfp.preflight import Report, Subject, Watcher
    from run_kfp.secrets import Located

# Lines of a failed step that are told with its failure.
LAST_LINES = 10


def plan(call: Call, prepared: Prepared, masker: Masker) -> RunRequest:
    """Make the whole request that a submission would send; no network, no credentials.

    Raises:
        InputError: with every fault of settings, parameters and secrets.
    """
    return plan_run("vertex", prepared.pipeline, _inputs(call, prepared, masker))


def _inputs(call: Call, read: Draft, masker: Masker) -> Inputs:
    faults = [*read.faults, *read.ambient_faults]
    finder = find_secrets(read.layers, read.registry, masker, call.secrets_dir, faults)
    return Inputs(
        read.settings,
        read.registry,
        read.layers,
        finder,
        read.params,
        call.tag,
        call.job_id,
        tuple(faults),
    )


# ── before submitting ────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Checking:
    """How to check: whether to ask nobody, what not to tell, whether warnings count as errors."""

    offline: bool = False
    ignore: Sequence[str] = ()
    strict: bool = False


def examine(
    call: Call, environ: Mapping[str, str], masker: Masker, checking: Checking, tell: Callable[[str], None]
) -> tuple[Draft, Report]:
    """Check a call, however wrong it is: what would keep it from becoming a plan are findings among the others."""
    from run_kfp import preflight

    draft = sketch(call, environ, masker, thorough=True)
    inputs = _inputs(call, draft, masker)
    faults = [*draft.unreadable, *inputs.faults, *draft.obstacles]
    watcher = _watcher(draft, inputs, environ, checking, tell)
    if draft.pipeline is None:
        faults += plan_faults("vertex", None, inputs)
        return draft, preflight.check(None, faults, watcher)
    faults += plan_faults("vertex", draft.pipeline, inputs)
    values, _ = fill(draft.pipeline, inputs)
    refused = any(fault.code == "RK-JOB-ID" for fault in faults)
    subject = _subject(draft, draft.pipeline, values, None if refused else call.job_id)
    return draft, preflight.check(subject, faults, watcher)


def check_plan(
    call: Call,
    prepared: Prepared,
    request: RunRequest,
    environ: Mapping[str, str],
    masker: Masker,
    checking: Checking,
    tell: Callable[[str], None],
) -> Report:
    """Check what is about to be submitted."""
    from run_kfp import preflight

    subject = _subject(prepared, request.pipeline, request.values, call.job_id)
    watcher = _watcher(prepared, _inputs(call, prepared, masker), environ, checking, tell)
    return preflight.check(subject, (), watcher)


def pin(call: Call, prepared: Prepared, masker: Masker, tell: Callable[[str], None]) -> Prepared:
    """Compile once more, with the digests that the image registries give in place of tags.

    Raises:
        InputError: a registry does not show an image.
    """
    from run_kfp.preflight import ask_registries
    from run_kfp.preflight.images import pinned

    watcher = _watcher(prepared, _inputs(call, prepared, masker), {}, Checking(), tell)
    facts, findings = ask_registries(_subject(prepared, prepared.pipeline, {}, None), watcher)
    faults = [
        Fault(
            f"--pin: {image} has no digest that could be seen",
            "; ".join(found.message for found in findings if image in found.message) or "leave --pin out",
            code="RK-IMAGE-MISSING",
            place="--pin",
        )
        for image in dict.fromkeys(container.image for container in prepared.selection if container.image)
        if image not in facts
    ]
    if faults:
        raise InputError.of("this call", faults)
    selection = tuple(
        container.model_copy(update={"image": pinned(container.image, facts[container.image])})
        if container.image
        else container
        for container in prepared.selection
    )
    if made := [container.name for container in selection if not container.image]:
        tell(f"note: --pin leaves the image of {', '.join(dict.fromkeys(made))} as it is: a Python factory names it")
    pipeline = compile_pipeline(prepared.registry, selection, fixed=prepared.fixed, caching=prepared.settings.caching)
    return dataclasses.replace(prepared, pipeline=pipeline, selection=selection)


def _subject(
    read: Draft, pipeline: CompiledPipeline, values: Mapping[str, Given | Located], job_id: str | None
) -> Subject:
    from run_kfp.preflight import Subject, read_steps

    steps = read_steps(pipeline, read.registry, read.selection)
    return Subject(pipeline, steps, read.registry, read.settings, values, job_id)


def _watcher(
    read: Draft,
    inputs: Inputs,
    environ: Mapping[str, str],
    checking: Checking,
    tell: Callable[[str], None],
) -> Watcher:
    from run_kfp.preflight import Watcher

    return Watcher(read.registry, inputs.finder, environ, checking.offline, checking.ignore, tell)


def submit(request: RunRequest, settings: Settings, tell: Callable[[str], None]) -> tuple[Backend, RunRef]:
    """Create the run. Raises BackendError, which says whether anything was submitted."""
    backend = open_backend(request.backend, settings, tell)
    return backend, backend.submit(request)


def follow(
    backend: Backend, run: RunRef, *, every: float, deadline: float | None, sleep: Callable[[float], None] = time.sleep
) -> Iterator[RunStatus]:
    """Look at the run until it ends.

    Args:
        backend: where it runs.
        run: the run.
        every: seconds between two looks.
        deadline: seconds after which to give up, None for never.
        sleep: time, for tests.

    Raises:
        WatchGaveUp: the run goes on, the watch does not.
    """
    started = time.monotonic()

    def look() -> RunStatus:
        if deadline is None:
            return backend.status(run)
        return backend.status(run, started + deadline - time.monotonic())

    return watch(look, every=every, deadline=deadline, sleep=sleep)


def conclude(run: RunRef, status: RunStatus, console_url: str) -> None:
    """Return when the run succeeded.

    Raises:
        RunFailed: it failed; names the steps and what the API says of them.
        RunStopped: it was cancelled or paused.
    """
    if status.state is RunState.SUCCEEDED:
        return
    if status.state in (RunState.CANCELLED, RunState.PAUSED):
        raise RunStopped(f"the run was {status.state.value.lower()}: {run}", hint=f"see {console_url}")
    said = [f"step {step.name}{f': {step.error}' if step.error else ''}" for step in status.failed_steps]
    if not any(step.error for step in status.failed_steps):
        said.append(status.error or "no reason given")
    logs = [step.log for step in status.failed_steps if step.log.startswith("projects/")]
    hint = f"see {console_url}"
    if logs:
        project, job = logs[0].split("/")[1], logs[0].rpartition("/")[2]
        hint = (
            f'the log of the container: gcloud logging read \'resource.type="ml_job" resource.labels.job_id="{job}"\' '
            f"--project={project} --order=asc --format='value(jsonPayload.message)'; or {hint}"
        )
    raise RunFailed("the run failed: " + "; ".join(said), hint=hint)


# ── this machine ─────────────────────────────────────────────────────────────────────────────────────────────────────


def plan_rehearsal(call: Call, prepared: Prepared, options: LocalOptions, runs: LocalRuns, masker: Masker) -> LocalPlan:
    """Make the plan of a run on this machine; no engine is contacted.

    Raises:
        InputError: with every fault of flags, parameters and secrets, and of what this machine cannot run.
    """
    from run_kfp.backends import local

    # Settings of another form than Google's do no harm here; a parameter takes what they hold.
    at_home = dataclasses.replace(prepared, ambient_faults=())
    return local.plan(prepared.pipeline, _inputs(call, at_home, masker), options, runs)


def rehearse(plan: LocalPlan, runs: LocalRuns, masker: Masker, observer: Observer) -> tuple[RunRecord, str]:
    """Run the plan on this machine to its end.

    Returns:
        The record of the run, and what stopped it (`Ctrl-C`, `SIGTERM`, `cancel`), else an empty text.

    Raises:
        EngineError: no step was started.
        InputError: a secret is gone, or `.run-kfp` cannot be written.
    """
    from run_kfp.backends import local

    return local.execute(plan, runs, masker, observer)


def known_runs(masker: Masker, runs: LocalRuns, tell: Callable[[str], None]) -> LocalRuns:
    """Return the runs of this folder, after those whose program was killed were ended as FAILED."""
    from run_kfp.backends import local

    for words in local.mend(runs, masker):
        tell(words)
    return runs


def write_report(folder: RunFolder) -> Path | None:
    """Write `report.html` beside the record of a run; return its path, None where this installation cannot."""
    if importlib.util.find_spec("run_kfp.report") is None:
        return None
    from run_kfp.report import report_html

    record = json.loads((folder.path / "run.json").read_text(encoding="utf-8"))
    path = folder.path / "report.html"
    write_atomically(path, report_html(record, lambda log: _lines(folder.path / log)))
    return path


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
        yield from file


def conclude_rehearsal(record: RunRecord, folder: RunFolder) -> None:
    """Return when the run succeeded.

    Raises:
        RunFailed: it failed; names the steps, the cause and their last lines.
        RunStopped: it was cancelled.
    """
    if record.state is RunState.SUCCEEDED:
        return
    if record.state is RunState.CANCELLED:
        raise RunStopped(f"the run was cancelled: {record.ref}", hint=f"its logs are in {folder.path}")
    again = "; ".join(
        f"`--from {step.name}` repeats it from there" for step in record.status.failed_steps[:1] if _done(record)
    )
    faults = [
        Fault(f"step {step.name}: {step.error}", "\n".join(_last_lines(folder, record, step.name)))
        for step in record.status.failed_steps
    ]
    hint = f"the whole log: run-kfp logs {record.id}" + (
        f" {faults and record.status.failed_steps[0].name}" if faults else ""
    )
    if again:
        hint += f"; {again}"
    if len(faults) == 1:
        lines = f"\n{faults[0].hint}" if faults[0].hint else ""
        raise RunFailed(f"the run failed: {faults[0].message}{lines}", hint=hint)
    raise RunFailed(f"the run failed: {record.error or 'no reason given'}", hint=hint, faults=faults)


def _done(record: RunRecord) -> bool:
    return any(step.state.value == "SUCCEEDED" for step in record.steps)


def _last_lines(folder: RunFolder, record: RunRecord, name: str) -> list[str]:
    from run_kfp.localruns import read_log

    lines: deque[str] = deque(maxlen=LAST_LINES)
    for line in read_log(folder.log(record.step(name))):
        lines.append(f"    {line.text}")
    return list(lines)
