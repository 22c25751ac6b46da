"""The program on one screen: select → compile → plan → submit → watch.

Each step takes the value of the one before it.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
    param_faults,
    plan_faults,
    plan_run,
)
from run_kfp.errors import Fault, InputError, RunFailed, RunStopped
from run_kfp.files import write_atomically
from run_kfp.masking import Masker
from run_kfp.pipeline import CompiledPipeline, compile_pipeline, read_pipeline
from run_kfp.registry import Container, Registry
from run_kfp.registry_file import PACKAGED, REGISTRY_VARIABLE, load_registry, read_registry
from run_kfp.runs import RunRef, RunState, RunStatus, watch
from run_kfp.settings import ENV_FILE, Layers, Settings, load_settings, pairs, read_env_file

if TYPE_CHECKING:
    from run_kfp.backends.local import LocalOptions, LocalPlan, Observer
    from run_kfp.localruns import LocalRuns, RunFolder, RunRecord
    from run_kfp.preflight import Report, Subject, Watcher
    from run_kfp.secrets import Located

# Lines of a failed step that are told with its failure.
LAST_LINES = 10


# Characters from which on the value of a variable is taken for a key, whether a step takes it or not.
_LOOKS_LIKE_A_KEY = 12


@dataclass(frozen=True)
class Call:
    """What one command line asks for, as it was typed."""

    containers: Sequence[str] = ()
    file: Path | None = None
    tag: str | None = None
    params: Sequence[str] = ()
    registry: Path | None = None
    secrets_dir: Path | None = None
    flags: Mapping[str, str | None] = field(default_factory=dict)
    labels: Sequence[str] = ()
    job_id: str | None = None
    caching: bool | None = None
    failure_policy: str | None = None
    timeout: str | None = None
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True)
class Prepared:
    """A compiled pipeline with everything that was read on the way to it.

    `selection` is what it was compiled from, with the values of resources in `fixed`; both are empty for a finished
    file. `faults` are those of the call that do not keep the pipeline from being compiled, `ambient_faults` those of
    settings that nobody typed; `notes` are worth a line to the user.
    """

    pipeline: CompiledPipeline
    registry: Registry
    layers: Layers
    settings: Settings
    params: Mapping[str, str]
    selection: tuple[Container, ...]
    fixed: Mapping[str, str]
    faults: tuple[Fault, ...]
    ambient_faults: tuple[Fault, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Draft:
    """A call as far as it could be read: what is right of it, and everything that is wrong.

    `pipeline` holds what could be compiled, None where nothing could; `selection` the containers in it. `unreadable`
    are the faults of the registry and of `.env`, `obstacles` those that keep the call from becoming a pipeline; the
    others are as in `Prepared`.
    """

    pipeline: CompiledPipeline | None
    registry: Registry
    layers: Layers
    settings: Settings
    params: Mapping[str, str]
    selection: tuple[Container, ...]
    fixed: Mapping[str, str]
    faults: tuple[Fault, ...]
    ambient_faults: tuple[Fault, ...]
    notes: tuple[str, ...]
    unreadable: tuple[Fault, ...]
    obstacles: tuple[Fault, ...]


def find_registry(path: Path | None, environ: Mapping[str, str]) -> Registry:
    """Read the registry: `path`, else what the environment or the `.env` of the current folder names.

    Raises:
        InputError: one of the two files cannot be read or holds faults.
    """
    return load_registry(path or _named_registry(environ, read_env_file(Path(ENV_FILE))))


def _named_registry(environ: Mapping[str, str], dotenv: Mapping[str, str]) -> Path | None:
    named = Layers({}, environ, dotenv).variable(REGISTRY_VARIABLE)
    return Path(named[0]) if named else None


def prepare(call: Call, environ: Mapping[str, str], masker: Masker) -> Prepared:
    """Read registry and settings, select, and compile (or read the finished file).

    Raises:
        InputError: the call cannot become a pipeline.
    """
    draft = sketch(call, environ, masker, thorough=False)
    if draft.unreadable:
        where = draft.registry.source
        raise InputError.of(where if where == PACKAGED else f"the registry {where}", draft.unreadable)
    if draft.pipeline is None or draft.obstacles:
        # One message for what is known to be wrong by now, not one at a time.
        raise InputError.of("this call", [*draft.faults, *draft.obstacles])
    return Prepared(
        draft.pipeline,
        draft.registry,
        draft.layers,
        draft.settings,
        draft.params,
        draft.selection,
        draft.fixed,
        draft.faults,
        draft.ambient_faults,
        draft.notes,
    )


def sketch(call: Call, environ: Mapping[str, str], masker: Masker, *, thorough: bool) -> Draft:
    """Read and compile, and gather what is wrong; nothing is raised for a mistake of the user.

    Args:
        call: what was typed.
        environ: the environment.
        masker: learns secrets.
        thorough: where there are faults, go on with what is right, so that more can be looked for.
    """
    unreadable: list[Fault] = []
    dotenv: Mapping[str, str] = {}
    try:
        dotenv = read_env_file(Path(ENV_FILE))
    except InputError as error:
        unreadable += error.all_faults
    registry = read_registry(call.registry or _named_registry(environ, dotenv), unreadable)
    faults: list[Fault] = list(call.faults)
    params = pairs("-p", call.params, faults)
    labels = {**registry.pipeline.labels, **pairs("--label", call.labels, faults)}
    layers = Layers(_joined_flags(call.flags, params, faults), environ, dotenv)
    _teach(masker, registry, params, layers)
    settings, typed, ambient = load_settings(
        layers,
        registry.settings,
        registry_source=registry.source,
        caching=call.caching,
        failure_policy=call.failure_policy,
        timeout=call.timeout,
        labels=labels,
    )
    if call.tag is not None and params.get("tag", call.tag) != call.tag:
        faults.append(Fault("-t and -p tag= give two different tags", "leave one out"))
    faults += typed
    if call.file is not None and call.containers:
        faults.append(Fault("-r and -f exclude each other", "-f sends a finished file as it is"))
    obstacles: list[Fault] = []
    selection: tuple[Container, ...] = ()
    fixed: dict[str, str] = {}
    pipeline: CompiledPipeline | None = None
    if call.file is not None:
        pipeline = _read(call.file, obstacles)
        declared = {parameter.name for parameter in pipeline.parameters} if pipeline else params.keys()
        faults += [
            Fault(
                f"-p {name} would change nothing: it was fixed when {call.file} was compiled",
                f"compile anew with -p {name}=…",
                code="RK-PARAM-UNKNOWN",
                place=f"-p {name}",
            )
            for name in params
            if name in registry.compile_time_params and name not in declared
        ]
    elif not call.containers:
        obstacles.append(
            Fault(
                "nothing to run: no container is chosen",
                "choose with -r (see `run-kfp list`), or send a finished file with -f",
                code="RK-SELECTION",
                place="-r",
            )
        )
    elif registry.containers or not unreadable:
        selection = _select(registry, call.containers, obstacles)
        fixed = _fixed_params(registry, selection, params, layers, obstacles)
        if thorough or not obstacles:
            pipeline = _compile(registry, selection, fixed, settings.caching, obstacles)
        if thorough and pipeline is None:
            alone = [_compile(registry, (container,), fixed, settings.caching, []) for container in selection]
            selection = tuple(container for container, made in zip(selection, alone, strict=True) if made)
            pipeline = _compile(registry, selection, fixed, settings.caching, [])
    if pipeline is not None:
        faults += param_faults(pipeline, registry, params)
    return Draft(
        pipeline,
        registry,
        layers,
        settings,
        {name: value for name, value in params.items() if name not in fixed},
        selection,
        fixed,
        tuple(faults),
        tuple(ambient),
        tuple(_notes(selection, settings)),
        tuple(unreadable),
        tuple(obstacles),
    )


def _read(path: Path, obstacles: list[Fault]) -> CompiledPipeline | None:
    try:
        return read_pipeline(path, obstacles)
    except InputError as error:
        obstacles += error.all_faults
        return None


def _select(registry: Registry, words: Sequence[str], obstacles: list[Fault]) -> tuple[Container, ...]:
    """Select what can be, and gather the words that name nothing."""
    try:
        return registry.select(words)
    except InputError as error:
        obstacles += error.all_faults
    words = [part for word in words for part in word.split(",")]
    return tuple(container for word in words for container in _selected(registry, word))


def _selected(registry: Registry, word: str) -> tuple[Container, ...]:
    try:
        return registry.select([word])
    except InputError:
        return ()


def _compile(
    registry: Registry,
    selection: tuple[Container, ...],
    fixed: Mapping[str, str],
    caching: bool,
    obstacles: list[Fault],
) -> CompiledPipeline | None:
    try:
        return compile_pipeline(registry, selection, fixed=fixed, caching=caching) if selection else None
    except InputError as error:
        obstacles += error.all_faults
        return None


def _teach(masker: Masker, registry: Registry, params: Mapping[str, str], layers: Layers) -> None:
    """Let the masker know secrets before anything is said of the call.

    A value typed after -p is refused later. Of the variables only what looks like a key is learnt, chosen or not: a
    word such as `test` in the place of a key that is not even used would tear up what is printed.
    """
    for name, secret in registry.secrets.items():
        masker.add(params.get(name, ""))
        for layer in (layers.environ, layers.dotenv):
            value = layer.get(secret.env or "", "")
            if len(value) >= _LOOKS_LIKE_A_KEY:
                masker.add(value)


def _joined_flags(
    flags: Mapping[str, str | None], params: Mapping[str, str], faults: list[Fault]
) -> dict[str, str | None]:
    """Let `-p project=…` stand for `--project …`; two different values are a fault."""
    joined = dict(flags)
    for name in ("project", "region", "bucket"):
        if name not in params:
            continue
        flag = flags.get(name)
        if flag is not None and flag != params[name]:
            faults.append(
                Fault(
                    f"--{name} and -p {name}= give two different values: {flag!r} and {params[name]!r}", "leave one out"
                )
            )
        joined[name] = params[name]
    return joined


def _fixed_params(
    registry: Registry,
    selection: Sequence[Container],
    params: Mapping[str, str],
    layers: Layers,
    obstacles: list[Fault],
) -> dict[str, str]:
    """Resolve the parameters that resources refer to and that this selection uses: -p, variable, default."""
    used = {
        reference.name
        for container in selection
        for reference in (*container.references, *container.resource_references)
    }
    fixed: dict[str, str] = {}
    for name in sorted(used & registry.compile_time_params & registry.params.keys()):
        param = registry.params[name]
        variable = layers.variable(param.env) if param.env else None
        value = params.get(name, variable[0] if variable else param.default)
        if value is None:
            ways = [f"-p {name}=…", *([f"the variable {param.env}"] if param.env else [])]
            obstacles.append(
                Fault(
                    f"parameter {name} has no value, and a resource needs it when compiling",
                    f"give it by {' or '.join(ways)}",
                    code="RK-PARAM-MISSING",
                    place=f"-p {name}",
                )
            )
        else:
            fixed[name] = value
    return fixed


def _notes(selection: Sequence[Container], settings: Settings) -> Iterator[str]:
    times: dict[str, int] = {}
    for container in selection:
        times[container.name] = times.get(container.name, 0) + 1
    for name, count in times.items():
        if count > 1:
            yield f"{name} is chosen {count} times and runs {count} times"
    effects = list(dict.fromkeys(container.name for container in selection if container.side_effects))
    if settings.caching and effects:
        yield f"never taken from the cache, because of their side effects: {', '.join(effects)}"


def plan(call: Call, prepared: Prepared, masker: Masker) -> RunRequest:
    """Make the whole request that a submission would send; no network, no credentials.

    Raises:
        InputError: with every fault of settings, parameters and secrets.
    """
    return plan_run("vertex", prepared.pipeline, _inputs(call, prepared, masker))


def _inputs(call: Call, read: Prepared | Draft, masker: Masker) -> Inputs:
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
    return draft, preflight.check(_subject(call, draft, draft.pipeline, values), faults, watcher)


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

    subject = _subject(call, prepared, request.pipeline, request.values)
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
    facts, findings = ask_registries(_subject(call, prepared, prepared.pipeline, {}), watcher)
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
    pipeline = compile_pipeline(prepared.registry, selection, fixed=prepared.fixed, caching=prepared.settings.caching)
    return dataclasses.replace(prepared, pipeline=pipeline, selection=selection)


def _subject(
    call: Call, read: Prepared | Draft, pipeline: CompiledPipeline, values: Mapping[str, Given | Located]
) -> Subject:
    from run_kfp.preflight import Subject, read_steps

    steps = read_steps(pipeline, read.registry, read.selection)
    return Subject(pipeline, steps, read.registry, read.settings, values, call.job_id)


def _watcher(
    read: Prepared | Draft,
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
