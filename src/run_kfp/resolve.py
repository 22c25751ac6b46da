"""A command line becomes a compiled pipeline with everything that was read on the way to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from run_kfp.arguments import Reference
from run_kfp.consent import read_user
from run_kfp.errors import InputError
from run_kfp.findings import Finding
from run_kfp.masking import Masker
from run_kfp.natural import natural
from run_kfp.pipeline import CompiledPipeline, compile_pipeline, read_pipeline, resource_faults
from run_kfp.plans import Inputs, find_secrets, param_faults, param_variable
from run_kfp.registry import Container, Registry
from run_kfp.registry_file import PACKAGED, REGISTRY_VARIABLE, load_registry, read_registry
from run_kfp.settings import ENV_FILE, Layers, Settings, load_settings, pairs, read_env_file
from run_kfp.trust import judge, untrusted_factories

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
    trust_hosts: Sequence[str] = ()
    faults: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class PartialCall:
    """A call as far as it could be read: what is right of it, and everything that is wrong.

    Attributes:
        call: what was typed.
        pipeline: what could be compiled or read; None where nothing could.
        registry: what is right of it.
        layers: flags, environment and `.env`.
        settings: those of a wrong form too.
        params: what `-p` gives, without what `fixed` has.
        selection: what the pipeline was compiled from; empty for a finished file.
        fixed: the values of the parameters that its resources refer to.
        faults: those of the call that do not keep the pipeline from being compiled.
        ambient_faults: those of settings that nobody typed.
        notes: worth a line to the user.
        unreadable: the faults of the registry and of `.env`; values of the right lines of both are taken all the same.
        obstacles: what keeps the call from becoming a pipeline.
        untrusted: what its user has not agreed to, and a check does without.
    """

    call: Call
    pipeline: CompiledPipeline | None
    registry: Registry
    layers: Layers
    settings: Settings
    params: Mapping[str, str]
    selection: tuple[Container, ...]
    fixed: Mapping[str, str]
    faults: tuple[Finding, ...]
    ambient_faults: tuple[Finding, ...]
    notes: tuple[str, ...]
    unreadable: tuple[Finding, ...]
    obstacles: tuple[Finding, ...]
    untrusted: tuple[Finding, ...]


@dataclass(frozen=True)
class ResolvedCall(PartialCall):
    """A call that has a pipeline: nothing kept it from being compiled or read."""

    pipeline: CompiledPipeline


def find_registry(path: Path | None, environ: Mapping[str, str]) -> Registry:
    """Read the registry: `path`, else what the environment or the `.env` of the current folder names.

    Raises:
        InputError: one of the two files cannot be read or holds faults.
    """
    return load_registry(path or _named_registry(environ, read_env_file(Path(ENV_FILE))))


def _named_registry(environ: Mapping[str, str], dotenv: Mapping[str, str]) -> Path | None:
    named = Layers({}, environ, dotenv).variable(REGISTRY_VARIABLE)
    return Path(named[0]) if named else None


def resolve(call: Call, environ: Mapping[str, str], masker: Masker) -> ResolvedCall:
    """Read registry and settings, select, and compile (or read the finished file).

    Args:
        call: what was typed.
        environ: the environment.
        masker: learns secrets.

    Raises:
        InputError: the call cannot become a pipeline.
    """
    found = _read_call(call, environ, masker, thorough=False)
    if found.unreadable:
        of_env_file = [fault for fault in found.unreadable if fault.place.partition(": ")[0] == ENV_FILE]
        source = found.registry.source
        where = source if source == PACKAGED else f"the registry {source}"
        if of_env_file:
            where = ENV_FILE if len(of_env_file) == len(found.unreadable) else f"{ENV_FILE} and {where}"
        raise InputError.of(where, found.unreadable)
    if found.pipeline is None or found.obstacles:
        # One message for what is known to be wrong by now, not one at a time.
        raise InputError.of("this call", [*found.faults, *found.obstacles])
    return ResolvedCall(**vars(found))


def recover(call: Call, environ: Mapping[str, str], masker: Masker) -> PartialCall:
    """Do the same, and go on with what is right where something is wrong, so that more can be looked for.

    Nothing is raised for a mistake of the user.
    """
    return _read_call(call, environ, masker, thorough=True)


def _read_call(call: Call, environ: Mapping[str, str], masker: Masker, *, thorough: bool) -> PartialCall:
    unreadable: list[Finding] = []
    dotenv = read_env_file(Path(ENV_FILE), unreadable)
    dotenv_read = all(fault.code == "RK-ENV-FILE" for fault in unreadable)
    of_registry: list[Finding] = []  # apart: a wrong line of `.env` makes no registry unreadable
    registry = read_registry(call.registry or _named_registry(environ, dotenv), of_registry)
    registry = dataclasses.replace(registry, whole=registry.whole and dotenv_read)
    unreadable += of_registry
    faults: list[Finding] = list(call.faults)
    params = pairs("-p", call.params, faults)
    labels = {**registry.pipeline.labels, **pairs("--label", call.labels, faults)}
    layers = Layers(_joined_flags(call.flags, params, faults), environ, dotenv)
    _teach(masker, registry, params, layers)
    user = read_user(environ, call.trust_hosts, faults)
    judged = judge(layers, registry, user, here=Path.cwd().resolve())
    layers, registry = judged.layers, judged.registry
    settings, typed, ambient = load_settings(
        layers,
        registry.settings,
        registry_source=registry.source,
        caching=call.caching,
        failure_policy=call.failure_policy,
        timeout=call.timeout,
        labels=labels,
    )
    settings = dataclasses.replace(settings, refused=judged.refused)
    ambient += judged.wrong
    if call.tag is not None and params.get("tag", call.tag) != call.tag:
        faults.append(Finding("-t and -p tag= give two different tags", "remove one"))
    faults += typed
    obstacles: list[Finding] = []
    selection: tuple[Container, ...] = ()
    fixed: dict[str, str] = {}
    pipeline: CompiledPipeline | None = None
    if call.file is not None:
        pipeline = _read(call.file, obstacles)
        declared = {parameter.name for parameter in pipeline.parameters} if pipeline else params.keys()
        faults += [
            Finding(
                f"-p {name} would change nothing: it was fixed when {call.file} was compiled",
                f"recompile with -p {name}=…",
                code="RK-PARAM-UNKNOWN",
                place=f"-p {name}",
            )
            for name in params
            if name in registry.compile_time_params and name not in declared
        ]
    elif not call.containers:
        obstacles.append(
            Finding(
                "nothing to run: no container selected",
                "choose with -r (see `run-kfp list`), or send a finished file with -f",
                code="RK-SELECTION",
                place="-r",
            )
        )
    elif registry.containers or registry.whole:
        selection = registry.select(call.containers, obstacles)
        foreign = untrusted_factories(registry, selection, user)
        obstacles += foreign.values()
        selection = tuple(container for container in selection if container.index not in foreign)
        fixed = _fixed_params(registry, selection, params, layers, obstacles)
        if thorough:
            selection = tuple(_with_resources(registry, container, fixed, obstacles) for container in selection)
            obstacles = list(dict.fromkeys(obstacles))
        if any(container.factory for container in selection):
            _teach_all(masker, registry, layers, call.secrets_dir)
        if thorough or not obstacles:
            pipeline = _compile(registry, selection, fixed, settings.caching, obstacles)
        if thorough and pipeline is None:
            alone = [_compile(registry, (container,), fixed, settings.caching, []) for container in selection]
            selection = tuple(container for container, made in zip(selection, alone, strict=True) if made)
            pipeline = _compile(registry, selection, fixed, settings.caching, [])
    if pipeline is not None:
        faults += param_faults(pipeline, registry, params)
    return PartialCall(
        call,
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
        judged.skipped,
    )


def _read(path: Path, obstacles: list[Finding]) -> CompiledPipeline | None:
    try:
        return read_pipeline(path, obstacles)
    except InputError as error:
        obstacles += error.all_faults
        return None


def _compile(
    registry: Registry,
    selection: tuple[Container, ...],
    fixed: Mapping[str, str],
    caching: bool,
    obstacles: list[Finding],
) -> CompiledPipeline | None:
    try:
        return compile_pipeline(registry, selection, fixed=fixed, caching=caching) if selection else None
    except InputError as error:
        obstacles += error.all_faults
        return None


def _with_resources(
    registry: Registry, container: Container, fixed: Mapping[str, str], obstacles: list[Finding]
) -> Container:
    """Return the container without resources whose parameter has no value, which is told already, or a wrong one."""
    wrong = resource_faults(container, fixed, registry.source)
    obstacles += wrong.values()

    def unfixed(value: object) -> bool:
        return isinstance(value, Reference) and value.name not in fixed

    changes: dict[str, object] = {
        key: None for key in ("cpu", "memory") if key in wrong or unfixed(getattr(container, key))
    }
    if container.accelerator and ("accelerator" in wrong or unfixed(container.accelerator.count)):
        changes["accelerator"] = None
    return container.model_copy(update=changes) if changes else container


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


def _teach_all(masker: Masker, registry: Registry, layers: Layers, folder: Path | None) -> None:
    """Let the masker know every secret of the registry: the code of a factory can read each, and write it anywhere."""
    finder = find_secrets(layers, registry, masker, folder, [])
    for name, source in registry.secrets.items():
        finder.locate(name, source)


def _joined_flags(
    flags: Mapping[str, str | None], params: Mapping[str, str], faults: list[Finding]
) -> dict[str, str | None]:
    """Let `-p project=…` stand for `--project …`; two different values are a fault."""
    joined = dict(flags)
    for name in ("project", "region", "bucket"):
        if name not in params:
            continue
        flag = flags.get(name)
        if flag is not None and flag != params[name]:
            faults.append(
                Finding(
                    f"--{name} and -p {name}= give two different values: {flag!r} and {params[name]!r}", "remove one"
                )
            )
        joined[name] = params[name]
    return joined


def _fixed_params(
    registry: Registry,
    selection: Sequence[Container],
    params: Mapping[str, str],
    layers: Layers,
    obstacles: list[Finding],
) -> dict[str, str]:
    """Resolve the parameters that resources refer to and that this selection uses: -p, variable, default."""
    used = {
        reference.name
        for container in selection
        for reference in (*container.references, *container.resource_references)
    }
    fixed: dict[str, str] = {}
    for name in sorted(used & registry.compile_time_params & registry.params.keys(), key=natural):
        param = registry.params[name]
        variable = None if name in params else param_variable(name, registry, layers)
        if isinstance(variable, Finding):
            obstacles.append(variable)
            continue
        value = params.get(name, variable[0] if variable else param.default)
        if value is None:
            ways = [f"-p {name}=…", *([f"the variable {param.env}"] if param.env else [])]
            obstacles.append(
                Finding(
                    f"parameter {name} has no value, and a resource needs it when compiling",
                    f"set {' or '.join(ways)}",
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


def inputs_of(read: PartialCall, masker: Masker) -> Inputs:
    """Return what a backend makes a plan from, with every fault that was found by now."""
    faults = [*read.faults, *read.ambient_faults]
    finder = find_secrets(read.layers, read.registry, masker, read.call.secrets_dir, faults)
    return Inputs(
        read.settings,
        read.registry,
        read.layers,
        finder,
        read.params,
        read.call.tag,
        read.call.job_id,
        tuple(faults),
    )
