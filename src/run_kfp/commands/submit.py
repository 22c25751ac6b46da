"""Compile, check, submit, watch: each step takes the value of the one before it."""

from __future__ import annotations

import dataclasses
import os
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from run_kfp.backends import Backend, load_backend
from run_kfp.errors import InputError, RunFailed, RunStopped
from run_kfp.files import read_text, write_atomically
from run_kfp.findings import Finding
from run_kfp.flags import CallOptions, RunOptions, conflicts
from run_kfp.masking import Masker
from run_kfp.pipeline import CompiledPipeline, compile_pipeline
from run_kfp.plans import RunRequest
from run_kfp.progress import changes, progress_lines
from run_kfp.resolve import ResolvedCall, inputs_of, resolve
from run_kfp.runs import BackendName, RunRef, RunState, RunStatus, watch
from run_kfp.screens import (
    graph_lines,
    pipeline_data,
    plan_data,
    plan_lines,
    secrets_note,
    status_data,
)
from run_kfp.settings import seconds
from run_kfp.visible import shell_word

if TYPE_CHECKING:
    from run_kfp.terminal import Screen

# Seconds between two looks at a run.
POLL_EVERY = 10.0

# Where a pipeline is written without -o.
_OUTPUT = "pipeline.yaml"


def plan(resolved: ResolvedCall, masker: Masker) -> RunRequest:
    """Make the whole request that a submission would send; no network, no credentials.

    Raises:
        InputError: with every fault of settings, parameters and secrets.
    """
    return load_backend(BackendName.VERTEX).plan(resolved.pipeline, inputs_of(resolved, masker))


def pin(resolved: ResolvedCall, masker: Masker, notify: Callable[[str], None]) -> ResolvedCall:
    """Compile once more, with the digests that the image registries give in place of tags.

    Raises:
        InputError: a registry does not show an image.
    """
    from run_kfp.commands.check import check_setup, context_of
    from run_kfp.preflight import ask_registries
    from run_kfp.preflight.images import pinned

    setup = check_setup(resolved, inputs_of(resolved, masker), {}, CallOptions(), notify)
    facts, findings = ask_registries(context_of(resolved, resolved.pipeline, {}, None), setup)
    faults = [
        Finding(
            f"--pin: {image} has no readable digest",
            "; ".join(found.message for found in findings if image in found.message) or "remove --pin",
            code="RK-IMAGE-MISSING",
            place="--pin",
        )
        for image in dict.fromkeys(container.image for container in resolved.selection if container.image)
        if image not in facts
    ]
    if faults:
        raise InputError.of("this call", faults)
    selection = tuple(
        container.model_copy(update={"image": pinned(container.image, facts[container.image])})
        if container.image
        else container
        for container in resolved.selection
    )
    if made := [container.name for container in selection if not container.image]:
        notify(f"note: --pin leaves the image of {', '.join(dict.fromkeys(made))} unchanged: a Python factory sets it")
    pipeline = compile_pipeline(resolved.registry, selection, fixed=resolved.fixed, caching=resolved.settings.caching)
    return dataclasses.replace(resolved, pipeline=pipeline, selection=selection)


def follow(
    backend: Backend,
    run: RunRef,
    *,
    every: float,
    deadline: float | None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[RunStatus]:
    """Look at the run until it ends.

    Args:
        backend: where it runs.
        run: the run.
        every: seconds between two looks.
        deadline: seconds after which to give up, None for never.
        sleep: waits for a number of seconds; tests bring their own.
        clock: tells seconds; tests bring their own.

    Raises:
        WatchTimeout: the run goes on, the watch does not.
    """
    started = clock()

    def look() -> RunStatus:
        if deadline is None:
            return backend.status(run)
        return backend.status(run, started + deadline - clock())

    return watch(look, every=every, deadline=deadline, sleep=sleep, clock=clock)


def conclude(run: RunRef, status: RunStatus, console_url: str) -> None:
    """Return when the run succeeded.

    Raises:
        RunFailed: it failed; names the steps and what the API says of them.
        RunStopped: it was cancelled or paused.
    """
    if status.state is RunState.SUCCEEDED:
        return
    if status.state in (RunState.CANCELLED, RunState.PAUSED):
        how = "paused" if status.state is RunState.PAUSED else "canceled"
        raise RunStopped(f"the run was {how}: {run}", hint=f"see {console_url}")
    said = [f"step {step.name}{f': {step.error}' if step.error else ''}" for step in status.failed_steps]
    if not any(step.error for step in status.failed_steps):
        said.append(status.error or "no reason given")
    logs = [step.log for step in status.failed_steps if step.log.startswith("projects/")]
    hint = f"see {console_url}"
    if logs:
        project, job = logs[0].split("/")[1], logs[0].rpartition("/")[2]
        of = f'resource.type="ml_job" resource.labels.job_id="{job}"'
        hint = (
            f"the log of the container: gcloud logging read {shell_word(of)} "
            f"--project={shell_word(project)} --order=asc --format='value(jsonPayload.message)'; or {hint}"
        )
    raise RunFailed("the run failed: " + "; ".join(said), hint=hint)


# ── on the screen ─────────────────────────────────────────────────────────────────────────────────────────────────────


def run_call(screen: Screen, options: RunOptions) -> int:
    """Do what the flags of a run ask for.

    Returns:
        The exit code: 0, or 130 after Ctrl-C in a run on this machine.

    Raises:
        InputError: with every conflict of the flags; or the call cannot become a plan.
        CheckFailed: a check found an error; nothing was submitted.
        BackendError, EngineError: the run was refused.
        RunFailed, RunStopped, WatchTimeout: how the run ended, or that it goes on.
    """
    broken = list(conflicts(options))
    faults = [*broken]
    every = seconds("--poll-every", options.poll_every, faults) or POLL_EVERY
    deadline = seconds("--wait-timeout", options.wait_timeout, faults)
    step_limit = seconds("--step-timeout", options.step_timeout, faults)
    if broken:
        raise InputError.of("this call", faults)
    resolved = resolve(options.call(tuple(faults)), os.environ, screen.masker)
    screen.say(*(f"note: {note}" for note in resolved.notes))
    if options.pin:
        resolved = pin(resolved, screen.masker, screen.say)
    if options.local:
        from run_kfp.commands import local

        machine = local.options_of(options, step_limit)
        if not options.dry_run:
            write = partial(write_pipeline, screen, resolved.pipeline, options.output)
            return local.run_locally(screen, resolved, machine, write)
        if options.output is not None:
            write_pipeline(screen, resolved.pipeline, options.output)
        local.show_plan(screen, resolved, machine)
    elif options.compile_only:
        compile_only(screen, resolved, options.output)
    elif options.dry_run:
        dry_run(screen, resolved, options.output)
    else:
        submit_call(screen, resolved, options, every=every, deadline=deadline)
    return 0


def write_pipeline(screen: Screen, pipeline: CompiledPipeline, output: str | None) -> str | None:
    """Write the pipeline where `-o` says; return the path, or None for stdout.

    Raises:
        InputError: it cannot be written, or holds what must not be written down.
    """
    # In the text a value can be folded or escaped, in the data a key can have it.
    if screen.masker.mask(pipeline.text) != pipeline.text or screen.masker.mask_all(pipeline.spec) != pipeline.spec:
        raise InputError(
            "the pipeline would contain the value of a secret as plain text",
            hint="find it in the literals of the registry or its factories; write { secret = … } there",
        )
    if output == "-":
        screen.raw(pipeline.text)
        return None
    if output is None:
        _check_default_output()
    # What is typed is the user's word, links and all.
    write_atomically(Path(output or _OUTPUT), pipeline.text, within=None if output else Path())
    return output or _OUTPUT


def _check_default_output() -> None:
    """Refuse to replace a file that is no pipeline where nobody said that it should be replaced.

    Raises:
        InputError: the file is something else, or cannot be read.
    """
    path = Path(_OUTPUT)
    hint = "pass a file with -o"
    if not path.exists():  # also a link to nothing, which is looked at when it is written
        return
    if path.is_file():
        text = read_text(path, _OUTPUT, hint) or ""
        if not text.strip() or re.search(r"(?m)^[ \t]*\"?(pipelineInfo|pipelineSpec)\"?[ \t]*:", text):
            return
    raise InputError(f"{_OUTPUT} is not a pipeline file and is not replaced", hint=hint)


def compile_only(screen: Screen, resolved: ResolvedCall, output: str | None) -> None:
    """Write the pipeline file, and nothing else."""
    # The settings are not used: one that was typed is told all the same, one that lies about is not in the way.
    if resolved.faults:
        raise InputError.of("this call", resolved.faults)
    screen.say(*(f"note: {fault.text}; not needed here" for fault in resolved.ambient_faults))
    path = write_pipeline(screen, resolved.pipeline, output)
    screen.say(*graph_lines(resolved.pipeline))
    screen.data(**pipeline_data(resolved.pipeline, path))
    if path is None:
        screen.data(text=resolved.pipeline.text)
    else:
        screen.out(path)


def dry_run(screen: Screen, resolved: ResolvedCall, output: str | None) -> None:
    """Show the plan."""
    request = plan(resolved, screen.masker)
    if output is not None:
        write_pipeline(screen, resolved.pipeline, output)
    screen.data(**plan_data(request, request.ref))
    screen.show(plan_lines(request, request.ref))
    if note := secrets_note(request):
        screen.say(f"note: {note}")


def submit_call(
    screen: Screen, resolved: ResolvedCall, options: RunOptions, *, every: float, deadline: float | None
) -> None:
    """Check and submit; with `--wait`, follow the run with a look `every` so many seconds."""
    request = plan(resolved, screen.masker)
    if not options.no_check:
        from run_kfp.commands.check import before_submitting

        before_submitting(screen, options, resolved, request)
    if resolved.call.file is None:
        path = write_pipeline(screen, resolved.pipeline, options.output)
        screen.data(file=path)
    screen.say(*graph_lines(resolved.pipeline))
    if note := secrets_note(request):
        screen.say(f"note: {note}")
    screen.say(f"pipeline root: {request.pipeline_root} ({request.root_source})")
    screen.say(
        f"submitting {request.job_id} to project {request.project}, {request.region}, as {request.service_account} …"
    )
    screen.data(job_id=request.job_id)
    try:
        backend = load_backend(request.backend).open_backend(resolved.settings, screen.say)
        run_ref = backend.submit(request)
    except KeyboardInterrupt:
        screen.data(submitted="unknown")
        screen.say(f"stopped while submitting: look for {request.job_id} in the console before you submit again")
        raise typer.Exit(130) from None
    url = backend.console_url(run_ref)
    screen.data(run=str(run_ref), console=url)
    screen.out(str(run_ref))
    screen.say(f"console: {url}")
    if options.wait:
        _wait(screen, resolved.pipeline, backend, run_ref, every=every, deadline=deadline)


def _wait(
    screen: Screen,
    pipeline: CompiledPipeline,
    backend: Backend,
    run_ref: RunRef,
    *,
    every: float,
    deadline: float | None,
) -> None:
    last: RunStatus | None = None
    try:
        with screen.live() as show:
            for status in follow(backend, run_ref, every=every, deadline=deadline):
                if show is not None:
                    show(partial(progress_lines, pipeline, status))
                else:
                    screen.say(*changes(pipeline, last, status, datetime.now(UTC)))
                last = status
                screen.data(**status_data(status))
    except KeyboardInterrupt:
        screen.say(f"stopped waiting; the run continues: {run_ref}")
        raise typer.Exit(130) from None
    if last is not None:
        conclude(run_ref, last, backend.console_url(run_ref))
