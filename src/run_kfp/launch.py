"""The program on one screen: select → compile → plan → submit → watch.

Each step takes the value of the one before it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from run_kfp.backends import Backend, Inputs, RunRequest, find_secrets, open_backend, plan_run
from run_kfp.errors import Fault, InputError, RunFailed, RunStopped
from run_kfp.masking import Masker
from run_kfp.pipeline import CompiledPipeline, compile_pipeline, read_pipeline
from run_kfp.registry import REGISTRY_VARIABLE, Container, Registry, load_registry
from run_kfp.runs import RunRef, RunState, RunStatus, watch
from run_kfp.settings import ENV_FILE, Layers, Settings, load_settings, pairs, read_env_file


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


@dataclass(frozen=True)
class Prepared:
    """A compiled pipeline with everything that was read on the way to it.

    `faults` are those that do not keep the pipeline from being compiled; `notes` are worth a line to the user.
    """

    pipeline: CompiledPipeline
    registry: Registry
    layers: Layers
    settings: Settings
    params: Mapping[str, str]
    faults: tuple[Fault, ...]
    notes: tuple[str, ...]


def find_registry(path: Path | None, environ: Mapping[str, str]) -> tuple[Registry, Mapping[str, str]]:
    """Read the registry and the `.env` of the current folder, which may name it.

    Returns:
        The registry, and the variables of `.env`.

    Raises:
        InputError: one of the two files cannot be read or holds faults.
    """
    dotenv = read_env_file(Path(ENV_FILE))
    named = Layers({}, environ, dotenv).variable(REGISTRY_VARIABLE)
    return load_registry(path or (Path(named[0]) if named else None)), dotenv


def prepare(call: Call, environ: Mapping[str, str], masker: Masker) -> Prepared:
    """Read registry and settings, select, and compile (or read the finished file).

    Raises:
        InputError: the call cannot become a pipeline.
    """
    registry, dotenv = find_registry(call.registry, environ)
    faults: list[Fault] = []
    params = pairs("-p", call.params, faults)
    labels = {**registry.pipeline.labels, **pairs("--label", call.labels, faults)}
    layers = Layers(_joined_flags(call.flags, params, faults), environ, dotenv)
    # Learnt before anything is said, so that no error repeats one; a value typed after -p is refused later.
    for name, secret in registry.secrets.items():
        masker.add(params.get(name, ""))
        for layer in (layers.environ, layers.dotenv):
            masker.add(layer.get(secret.env or "", ""))
    settings, wrong = load_settings(
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
    notes: list[str] = []
    if call.file is not None:
        if call.containers:
            raise InputError("-r and -f exclude each other", hint="-f sends a finished file as it is")
        pipeline = read_pipeline(call.file)
        declared = {parameter.name for parameter in pipeline.parameters}
        faults += [
            Fault(
                f"-p {name} would change nothing: it was fixed when {call.file} was compiled",
                hint=f"compile anew with -p {name}=…",
            )
            for name in params
            if name in registry.compile_time_params and name not in declared
        ]
    else:
        if not call.containers:
            raise InputError(
                "nothing to run: no container is chosen",
                hint="choose with -r (see `run-kfp list`), or send a finished file with -f",
            )
        selection = registry.select(call.containers)
        fixed = _fixed_params(registry, selection, params, layers)
        notes += _notes(selection, settings)
        pipeline = compile_pipeline(registry, selection, fixed=fixed, caching=settings.caching)
        params = {name: value for name, value in params.items() if name not in fixed}
    return Prepared(pipeline, registry, layers, settings, params, (*faults, *wrong), tuple(notes))


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
    registry: Registry, selection: Sequence[Container], params: Mapping[str, str], layers: Layers
) -> dict[str, str]:
    """Resolve the parameters that resources refer to and that this selection uses: -p, variable, default."""
    used = {
        reference.name
        for container in selection
        for reference in (*container.references, *container.resource_references)
    }
    fixed: dict[str, str] = {}
    faults: list[Fault] = []
    for name in sorted(used & registry.compile_time_params):
        param = registry.params[name]
        variable = layers.variable(param.env) if param.env else None
        value = params.get(name, variable[0] if variable else param.default)
        if value is None:
            ways = [f"-p {name}=…", *([f"the variable {param.env}"] if param.env else [])]
            faults.append(
                Fault(
                    f"parameter {name} has no value, and a resource needs it when compiling",
                    hint=f"give it by {' or '.join(ways)}",
                )
            )
        else:
            fixed[name] = value
    if faults:
        raise InputError.of("the resources", faults)
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
    finder = find_secrets(prepared.layers, prepared.registry, masker, call.secrets_dir)
    inputs = Inputs(
        prepared.settings,
        prepared.registry,
        prepared.layers,
        finder,
        prepared.params,
        call.tag,
        call.job_id,
        prepared.faults,
    )
    return plan_run("vertex", prepared.pipeline, inputs)


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
    return watch(lambda: backend.status(run), every=every, deadline=deadline, sleep=sleep)


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
    said = [f"step {step.name}: {step.error or 'no reason given'}" for step in status.failed_steps]
    logs = [step.log for step in status.failed_steps if step.log]
    hint = f"see {console_url}"
    if logs:
        project, job = logs[0].split("/")[1], logs[0].rpartition("/")[2]
        hint = (
            f'the log of the container: gcloud logging read \'resource.type="ml_job" resource.labels.job_id="{job}"\' '
            f"--project={project} --order=asc --format='value(jsonPayload.message)'; or {hint}"
        )
    raise RunFailed("the run failed: " + ("; ".join(said) or status.error or "no reason given"), hint=hint)
