"""This machine: the plan of a rehearsal, and its execution by a Docker Engine or by processes.

The file that is executed is the one that Vertex AI gets. A run lives in the program that started it; what there is to
know of it lies in `.run-kfp/runs/<id>/` (`localruns`).
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from run_kfp.arguments import Reference
from run_kfp.backends.local.docker_container import OUTPUTS_FOLDER
from run_kfp.backends.local.docker_engine import (
    CREDENTIALS_FOLDER,
    LEAST_CPU,
    LEAST_MEMORY,
    DockerEngine,
    DockerSettings,
)
from run_kfp.backends.local.engines import Engine
from run_kfp.backends.local.extras import TypedExtras, read_extras
from run_kfp.backends.local.identity import new_id, run_values, time_values
from run_kfp.backends.local.leftovers import labels_of, sweep
from run_kfp.backends.local.process_engine import ProcessEngine, ProcessEntry, kill_left_behind
from run_kfp.backends.local.resume import fingerprint, resume
from run_kfp.backends.local.runner import Policy, Runner
from run_kfp.backends.local.telling import Observer
from run_kfp.credentials import gcloud_login
from run_kfp.errors import EngineError, InputError, StoreError, did_you_mean
from run_kfp.files import is_file, is_folder, read_text
from run_kfp.findings import Finding
from run_kfp.graph import ExecutableStep, executable_steps, parameter_defaults
from run_kfp.localruns import RunFolder, RunRecord, StepRecord, local_ref, this_runner
from run_kfp.localstore import LocalRuns
from run_kfp.masking import Masker
from run_kfp.pipeline import CompiledPipeline
from run_kfp.plans import Inputs, Value, fill, known_values, settled
from run_kfp.registry import Registry
from run_kfp.runs import JOB_ID, RunState, StepState
from run_kfp.secrets import SecretRef
from run_kfp.settings import CREDENTIALS_VARIABLE, ENV_FILE, wrong_form
from run_kfp.steplogs import log_names, open_log
from run_kfp.temporary import sweep_temporary

__all__ = ["ENGINES", "PULLS", "Executed", "LocalOptions", "LocalPlan", "Observer", "execute", "mend", "plan"]

ENGINES = ("docker", "process")
PULLS = ("always", "missing", "never")


@dataclass(frozen=True)
class LocalOptions:
    """What a call says of the machine at hand, beside the run itself.

    `parallel` and `step_timeout` are as typed, None when they were not. `finished_file` says that the pipeline was
    compiled before (`-f`), by whomever.
    """

    engine: str = "docker"
    parallel: str | None = None
    step_timeout: float | None = None
    from_step: str | None = None
    from_run: str | None = None
    pull: str = "missing"
    bucket_dir: Path | None = None
    network: str | None = None
    finished_file: bool = False
    with_credentials: bool = False
    keep_failed: bool = False
    extras: TypedExtras = field(default_factory=TypedExtras)


@dataclass(frozen=True)
class LocalPlan:
    """Everything that a run on this machine needs; the values of secrets stand as their places.

    `reused` names the steps that an earlier run, `base`, has done; `credentials` is the file of Google's that the steps
    get, `without_login` says which login they do not get and how they would; `local_only` are the flags that give
    them what Vertex AI would not.
    """

    pipeline: CompiledPipeline
    steps: tuple[ExecutableStep, ...]
    run_id: str
    engine: str
    values: Mapping[str, Value | SecretRef]
    policy: Policy
    docker: DockerSettings | None = None
    processes: Mapping[str, ProcessEntry] = field(default_factory=dict)
    credentials: Path | None = None
    run_values: Mapping[str, str] = field(default_factory=dict)
    base: RunRecord | None = None
    reused: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    without_login: str = ""
    bucket_dir: str | None = None
    local_only: tuple[str, ...] = ()

    @property
    def secrets(self) -> Mapping[str, SecretRef]:
        """The parameters whose values are secrets."""
        return {name: value for name, value in self.values.items() if isinstance(value, SecretRef)}


def plan(pipeline: CompiledPipeline, inputs: Inputs, options: LocalOptions, runs: LocalRuns) -> LocalPlan:
    """Make the plan of a run on this machine; no engine is contacted.

    Raises:
        InputError: with every fault of flags, parameters, secrets, and of what the file holds.
    """
    values, faults = fill(pipeline, inputs)
    faults = [*inputs.faults, *faults]
    settings = inputs.settings
    try:
        steps = executable_steps(pipeline, *known_values(values))
    except InputError as error:
        faults += error.all_faults
        steps = ()
    faults += _flag_faults(options)
    for step in steps:
        if options.engine == "docker" and step.memory is not None and step.memory < LEAST_MEMORY:
            faults.append(
                Finding(
                    f"step {step.name} has a memory limit of {step.memory} bytes; the minimum of Docker is 6M",
                    "add a unit, such as 512M",
                )
            )
        if options.engine == "docker" and step.cpu is not None and step.cpu < LEAST_CPU:
            faults.append(
                Finding(
                    f"step {step.name} has a limit of {step.cpu:g} CPUs; the minimum of Docker is {LEAST_CPU:g}",
                    "write CPUs (16, 0.5) or thousandths (500m)",
                )
            )
    processes: dict[str, ProcessEntry] = {}
    if options.engine == "process":
        for step in steps:
            entry = _process_entry(step, inputs.registry)
            if isinstance(entry, Finding):
                faults.append(entry)
            else:
                processes[step.name] = entry
    credentials, without_login = _credentials(inputs, options, faults)
    mounts = _mounts(inputs, options, faults)
    bucket_dir = next(map(str, mounts.values()), None)
    taken = (*mounts, OUTPUTS_FOLDER, CREDENTIALS_FOLDER)
    extras, local_only = read_extras(options.extras, steps, inputs, taken, faults)
    docker: DockerSettings | None = None
    if options.engine != "process":
        docker = DockerSettings(options.pull, options.network, mounts, credentials, options.keep_failed, extras)
    run_id = inputs.job_id if inputs.job_id is not None else new_id(pipeline.name, datetime.now(UTC))
    if not JOB_ID.fullmatch(run_id):
        faults.append(
            Finding(
                f"invalid job id {run_id!r}",
                "use up to 128 lower-case letters, digits and dashes; start with a letter",
            )
        )
    base: RunRecord | None = None
    reused, notes = frozenset[str](), tuple[str, ...]()
    if steps and (options.from_step is not None or options.from_run is not None):
        try:
            base, reused, notes = resume(
                pipeline,
                steps,
                values,
                inputs.registry,
                runs,
                from_step=str(options.from_step),
                from_run=options.from_run,
                bucket_dir=bucket_dir,
                local_only=local_only,
            )
        except InputError as error:
            faults += error.all_faults
    if faults:
        raise InputError.of("this call", list(dict.fromkeys(faults)))
    for name, extra in extras.items():
        if name in processes:  # what the user says is not refused as what the file says would be
            env = {**processes[name].env, **extra.env}
            processes[name] = replace(processes[name], env=env)
    return LocalPlan(
        settled(pipeline, values),
        tuple(replace(step, env={**step.env, **extras[step.name].env}) if extras else step for step in steps),
        run_id,
        options.engine,
        values,
        Policy(
            int(options.parallel or 2), settings.failure_policy == "fast", options.step_timeout, options.keep_failed
        ),
        docker,
        processes,
        credentials,
        run_values=run_values(run_id, pipeline, settings),
        base=base,
        reused=reused,
        notes=notes,
        without_login=without_login,
        bucket_dir=bucket_dir,
        local_only=local_only,
    )


def _flag_faults(options: LocalOptions) -> list[Finding]:
    faults: list[Finding] = []
    for flag, value, known in (("--engine", options.engine, ENGINES), ("--pull", options.pull, PULLS)):
        if value not in known:
            faults.append(Finding(f"{flag} {value!r} is none of {', '.join(known)}", did_you_mean(value, known)))
    if options.keep_failed and options.engine == "process":
        faults.append(Finding("--keep-failed requires --engine docker", "a process leaves no container"))
    typed = options.extras
    for flag, given in (("--mount", typed.mounts), ("--shm-size", typed.shm_size), ("--gpus", typed.gpus)):
        if given and options.engine == "process":
            faults.append(Finding(f"{flag} requires --engine docker", "a process has what this machine has"))
    if options.parallel is not None and not re.fullmatch(r"[1-9][0-9]{0,3}", options.parallel):
        faults.append(
            Finding(f"--parallel {options.parallel!r} is not a positive number of steps", "write --parallel 2")
        )
    return faults


def _credentials(inputs: Inputs, options: LocalOptions, faults: list[Finding]) -> tuple[Path | None, str]:
    """Return the file of Google credentials that the steps get, or what is told of one that they do not get.

    Without a word of the user only the steps of the user's own registry get them, and only those that the real
    environment names: neither a finished file nor the `.env` of a folder decides on a login.
    """
    named = inputs.settings.credentials_file
    file = named if named is not None else gcloud_login(inputs.layers.environ)
    login = f"the credentials of {inputs.settings.credentials_place}" if named is not None else "your gcloud login"
    of_user = named is not None and not inputs.settings.credentials_place.startswith(ENV_FILE)
    if not options.with_credentials and (options.finished_file or not of_user):
        return None, f"the steps run without {login}; pass --with-credentials to hand it in" if file else ""
    if file is None:
        faults.append(
            Finding(
                "--with-credentials: no Google credentials found on this machine",
                f"run `gcloud auth application-default login`, or set {CREDENTIALS_VARIABLE}",
            )
        )
    elif not is_file(file):
        faults.append(
            Finding(
                f"{CREDENTIALS_VARIABLE} names {file}, which does not exist",
                "set it to a service account key, or unset it to run without Google credentials",
            )
        )
    return file and file.absolute(), ""


def _mounts(inputs: Inputs, options: LocalOptions, faults: list[Finding]) -> dict[str, Path]:
    """Return the folders of this machine that the steps write into, by where they see them; faults are appended."""
    if options.bucket_dir is None:
        return {}
    bucket = inputs.settings.get("bucket")
    if options.engine == "process":
        faults.append(Finding("--bucket-dir requires --engine docker", "a process has no /gcs mount"))
    elif not is_folder(options.bucket_dir):
        faults.append(Finding(f"--bucket-dir {options.bucket_dir} is not a folder", "create it first"))
    elif bucket is None:
        faults.append(Finding("--bucket-dir requires the name of the bucket", "pass --bucket"))
    elif words := wrong_form("bucket", bucket):
        # As a path of the containers it would lead to anywhere.
        faults.append(Finding(f"bucket {words}", "pass --bucket", "RK-SETTING-FORMAT", "--bucket-dir"))
    else:
        return {f"/gcs/{bucket}": options.bucket_dir.absolute()}
    return {}


def _process_entry(step: ExecutableStep, registry: Registry) -> ProcessEntry | Finding:
    """Find how a step runs without its image: the registry's entry of its name."""
    by_name = {container.name: container for container in registry.containers.values()}
    # KFP numbers a container that is chosen twice: train, train-2. No name of the registry ends so.
    container = by_name.get(step.name) or by_name.get(re.sub(r"-[0-9]+$", "", step.name))
    if container is None:
        return Finding(
            f"step {step.name} is not a container of {registry.source}, so it has no process to run",
            "add it with [containers.N.process], or use --engine docker",
        )
    if container.process is None:
        return Finding(
            f"{registry.source}: containers.{container.index} ({container.name}) has no process",
            f"write [containers.{container.index}.process] with cwd and entrypoint, or use --engine docker",
        )
    cwd = Path(os.path.normpath(registry.folder / container.process.cwd))
    late = [name for name, value in container.env.items() if isinstance(value, Reference)]
    before = container.command or container.entrypoint or ()
    env = {name: value for name, value in container.env.items() if isinstance(value, str)}
    if not late:
        same = container.factory or step.command == (container.command or ())
        entry = ProcessEntry(cwd, container.process.entrypoint, env=env)
    else:
        # What `pipeline._call` made of it: `env NAME=value… entrypoint… args…`.
        assigned = [word.partition("=")[0] for word in step.args[: len(late)]]
        same = step.command == ("env",) and assigned == late and step.args[len(late) :][: len(before)] == before
        entry = ProcessEntry(cwd, container.process.entrypoint, len(late), len(before), env)
    # What the registry's process stands for is that program, and not another one of the file.
    if not same:
        return Finding(
            f"step {step.name} is outdated: containers.{container.index} of {registry.source} has changed",
            "recompile it with -r",
        )
    return entry


@dataclass(frozen=True)
class Executed:
    """A run that has ended.

    Attributes:
        record: the run's, as it was written.
        stopped_by: `Ctrl-C`, the name of a signal, `cancel`; empty where nobody stopped it.
        unread: whether the observer was still busy when the run was left.
        error: what broke it off, None where it came to its end; of an `EngineError` nothing is kept.
    """

    record: RunRecord
    stopped_by: str
    unread: bool
    error: Exception | None = None


def execute(request: LocalPlan, runs: LocalRuns, masker: Masker, observer: Observer) -> Executed:
    """Run the plan to its end, or until the Engine or the disk breaks it off.

    Raises:
        EngineError: there is no Engine.
        InputError: a secret is gone, or the folder of the run cannot be made.
    """
    parameters = parameter_defaults(request.pipeline)
    for name, found in request.values.items():
        parameters[name] = found.value if isinstance(found, Value) else found.reveal().get_secret_value()
    if request.credentials is not None:
        masker.add(read_text(request.credentials, f"the credentials {request.credentials}") or "")
    engine: Engine
    if request.docker is not None:
        # Before anything else: it tells whether there is an Engine at all.
        sweep(runs.store(), runs.is_dead)
        engine = DockerEngine(request.docker, labels_of(runs))
    else:
        env = {CREDENTIALS_VARIABLE: str(request.credentials)} if request.credentials else {}
        engine = ProcessEngine(request.processes, env)
    folder = runs.folder(request.run_id)
    folder.make(request.pipeline.text)
    record = _record(request)
    if request.base is not None:
        _copy_logs(request.base, runs.folder(request.base.id), record, folder)
    runner = Runner(
        steps=request.steps,
        parameters=parameters,
        run_values={**request.run_values, **time_values(record.created)},
        engine=engine,
        folder=folder,
        record=record,
        policy=request.policy,
        masker=masker,
        observer=observer,
    )
    broken: Exception | None = None
    try:
        runner.run()
    except Exception as error:  # noqa: BLE001 - raised again by who has told what there is to tell
        broken = error
        began = any(step.started and step.reused_from is None for step in record.steps)
        if (isinstance(error, EngineError) and not began) or folder.read() is None:
            folder.release()
            runs.remove(request.run_id)
        else:
            folder.give_up(masker.mask(getattr(error, "message", "") or f"internal error: {error}"))
    finally:
        engine.close()
        folder.release()
    return Executed(record, runner.stopped_by, runner.unread, broken)


def _record(request: LocalPlan) -> RunRecord:
    salt = secrets.token_hex(16)
    logs = log_names([step.name for step in request.steps])
    steps = []
    for step in request.steps:
        if step.name in request.reused and request.base is not None:
            before = request.base.step(step.name)
            made = StepRecord(**{**vars(before), "reused_from": before.reused_from or request.base.id})
            made.log, made.after, made.container, made.shell = logs[step.name], list(step.after), None, None
        else:
            made = StepRecord(
                step.name, step.label, step.image, list(step.after), step.resources, warnings=list(step.warnings)
            )
            made.log = logs[step.name]
        steps.append(made)
    return RunRecord(
        id=request.run_id,
        ref=str(local_ref(request.run_id)),
        pipeline={"name": request.pipeline.name, "display_name": request.pipeline.display_name},
        engine=request.engine,
        created=datetime.now(UTC),
        parameters={
            name: {"value": found.value, "from": found.source}
            if isinstance(found, Value)
            else {"secret": name, "from": found.place, "hash": fingerprint(found, salt)}
            for name, found in request.values.items()
        },
        salt=salt,
        bucket_dir=request.bucket_dir,
        local_only=list(request.local_only),
        steps=steps,
        runner=this_runner(),
        from_run=request.base.id if request.base else None,
        warnings=list(request.notes),
    )


def _copy_logs(base: RunRecord, base_folder: RunFolder, record: RunRecord, folder: RunFolder) -> None:
    """Give the new run the logs of the steps that it did not repeat: it then tells the whole story."""
    for step in record.steps:
        if step.reused_from is not None:
            with (
                contextlib.suppress(FileNotFoundError),
                open_log(base_folder.log(base.step(step.name))) as before,
                folder.open_log(step) as log,
            ):
                shutil.copyfileobj(before, log)


def mend(runs: LocalRuns, masker: Masker, *folders: RunFolder) -> list[str]:
    """Find the runs whose program was killed, end them as FAILED, and remove what they left behind.

    Args:
        runs: where they lie.
        masker: knows the secrets.
        folders: those of runs that are known to be in nobody's hand, whose record says otherwise.

    Returns:
        Words on what could not be removed.
    """
    sweep_temporary()
    dead: list[tuple[RunFolder, RunRecord]] = []
    over: list[tuple[RunFolder, RunRecord]] = []  # with a container that did not end, or killed in its last moment
    for folder in (*runs.in_hand(), *folders):
        if folder.abandoned() and (record := folder.read()) is not None:
            (over if record.state.is_final else dead).append((folder, record))
    words: list[str] = []
    remains: list[str] = []
    for _, record in dead:
        for step in record.steps:
            if record.engine == "process" and step.state is StepState.RUNNING and step.container:
                kill_left_behind(step.container)
    if any(record.engine == "docker" for _, record in (*dead, *over)):
        try:
            sweep(runs.store(), runs.is_dead)
        except EngineError as error:
            remains.append(f"containers of a killed run may remain: {error.message}")
    if not remains:
        for folder, _ in over:
            folder.forget_program()
    now = datetime.now(UTC)
    for folder, record in dead:
        cause = f"the program that ran it was killed (process {record.runner.get('pid')})"
        record.state, record.error, record.ended = RunState.FAILED, cause, now
        record.warnings += remains
        for step in record.steps:
            if step.state in (StepState.RUNNING, StepState.PENDING, StepState.CANCELLING):
                step.state, step.error, step.ended = StepState.FAILED, cause, now
            elif step.state is StepState.WAITING:
                step.state = StepState.SKIPPED
        try:
            folder.write(record, masker.mask)
            folder.forget_program()
        except StoreError as error:  # a full disk: what there is to read is read all the same
            folder.give_up(cause)
            words.append(f"warning: {error.message}")
    return words + remains
