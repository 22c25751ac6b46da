"""A pipeline file, of this program or another, becomes a compiled pipeline."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from run_kfp.errors import InputError, did_you_mean, shown
from run_kfp.files import read_text
from run_kfp.findings import Finding, Severity
from run_kfp.natural import natural
from run_kfp.pipeline.known import known_inputs, known_parameters
from run_kfp.pipeline.resources import read_limits, resolved
from run_kfp.pipeline.spec import Spec, no_pipeline, read_documents
from run_kfp.pipeline.tables import in_order, table_at, waits_for
from run_kfp.pipeline.types import parameter_type
from run_kfp.pipeline.values import CompiledPipeline, Parameter, Step
from run_kfp.visible import shell_word

_TASKS = "root.dag.tasks"


def _parameters(spec: Spec) -> tuple[Parameter, ...]:
    declared = table_at(spec, "root", "inputDefinitions", "parameters")
    return tuple(
        Parameter(
            name,
            parameter_type(body),
            required="defaultValue" not in body and not body.get("isOptional"),
        )
        for name, body in sorted(declared.items(), key=lambda item: natural(item[0]))
    )


def _steps(spec: Spec, source: str, faults: list[Finding]) -> tuple[Step, ...]:
    """Return the tasks of the root DAG, each behind those that it waits for, else in the order of their names.

    A task that waits for one that does not exist is a fault and waits for it no longer; tasks that wait for each other
    are one too, and come last.
    """
    tasks = table_at(spec, "root", "dag", "tasks")
    known = known_parameters(spec, {}, frozenset())
    steps = {
        name: _step(spec, name, tasks[name], known)
        for name in sorted(tasks, key=natural)
        if isinstance(tasks[name], Mapping)
    }
    faults += [
        Finding("is not a task", "remove it, or recompile the file", "RK-SPEC-REFERENCE", f"{source}: {_TASKS}.{name}")
        for name in tasks.keys() - steps.keys()
    ]
    faults += [
        Finding(
            f"{step.name} depends on {shown(other)}, which does not exist",
            did_you_mean(other, steps.keys() - {step.name}) or "remove it from dependentTasks and the inputs",
            code="RK-SPEC-CYCLE",
            place=f"{source}: {_TASKS}.{step.name}",
        )
        for step in steps.values()
        for other in step.after
        if other not in steps
    ]
    order, circle = in_order({name: step.after for name, step in steps.items()})
    if circle:
        faults.append(
            Finding(
                f"tasks depend on each other: {', '.join(circle)}",
                "take one of these dependencies out (dependentTasks, inputs), or recompile the file",
                code="RK-SPEC-CYCLE",
                place=f"{source}: {_TASKS}",
            )
        )
    return tuple(steps[name] for name in order)


def settle(pipeline: CompiledPipeline, values: Mapping[str, Any], unknown: frozenset[str]) -> CompiledPipeline:
    """Return the pipeline with the limits that its steps have by the values of a call (`known_parameters`)."""
    spec, known = pipeline.spec, known_parameters(pipeline.spec, values, unknown)
    tasks = table_at(spec, "root", "dag", "tasks")
    words = {step.name: _step(spec, step.name, table_at(tasks, step.name), known).resources for step in pipeline.steps}
    return replace(pipeline, steps=tuple(replace(step, resources=words[step.name]) for step in pipeline.steps))


def _step(spec: Spec, name: str, task: Mapping[str, Any], known: Mapping[str, Any]) -> Step:
    component = table_at(spec, "components", str(table_at(task, "componentRef").get("name")))
    executors = table_at(spec, "deploymentSpec", "executors")
    container = table_at(executors, str(component.get("executorLabel")), "container")
    resources = resolved(table_at(container, "resources"), known_inputs(task, component, known))
    return Step(
        name,
        label=str(table_at(task, "taskInfo").get("name") or name),
        image=str(container.get("image") or ("(a nested pipeline)" if "dag" in component else "(no container)")),
        after=tuple(sorted(waits_for(task), key=natural)),
        resources=read_limits(resources).words,
        cached=bool(table_at(task, "cachingOptions").get("enableCache")),
    )


def _address(path: Path) -> str:
    """Return the address that was typed in the place of a path, with the slashes that `Path` joins; else nothing."""
    match = re.match(r"(?P<scheme>gs|s3|https?):/+(?=[^/])", str(path), re.IGNORECASE)
    return f"{match['scheme']}://{str(path)[match.end() :]}" if match else ""


def _download(address: str) -> str:
    """Say how to get the file of an address."""
    name = re.split(r"[?#]", address, maxsplit=1)[0].rpartition("/")[2]
    name = name if re.fullmatch(r"\w[\w.-]*\.(?:ya?ml|json)", name) else "pipeline.yaml"
    quoted = shell_word(address)
    if address.lower().startswith("gs:"):
        return f"run `gcloud storage cp {quoted} {'.' if address.endswith(f'/{name}') else name}`, then -f {name}"
    if address.lower().startswith("s3:"):
        return f"run `aws s3 cp {quoted} {name}`, then -f {name}"
    # A repository for templates of KFP in Artifact Registry answers to a login only.
    template = re.match(r"https://[a-z0-9-]+-kfp\.pkg\.dev/", address)
    login = '-H "Authorization: Bearer $(gcloud auth print-access-token)" ' if template else ""
    return f"run `curl -fsSL {login}-o {name} {quoted}`, then -f {name}"


def read_pipeline(path: Path, faults: list[Finding] | None = None) -> CompiledPipeline:
    """Read a compiled pipeline file, of this program or another.

    Args:
        path: the file.
        faults: takes the faults of a pipeline that can be read and is no use all the same; None to raise them.

    Raises:
        InputError: the file cannot be read or is not a KFP v2 pipeline spec.
    """
    hint = "create one with `run-kfp -r … --compile-only`"
    text = read_text(path, str(path), hint)
    if text is None:
        if address := _address(path):
            message = f"{address} is an address; -f reads files of this machine"
            raise no_pipeline(message, _download(address), address)
        raise no_pipeline(f"file not found: {path}", hint, str(path))
    read = read_documents(text, str(path), foreign=True)
    useless = [found for found in read.findings if found.severity is Severity.ERROR]
    steps = _steps(read.spec, str(path), useless)
    if useless and faults is None:
        raise InputError.of(str(path), useless)
    (faults if faults is not None else []).extend(useless)
    info = read.spec["pipelineInfo"]
    name = info["name"]
    return CompiledPipeline(text, str(path), name, info.get("displayName") or name, _parameters(read.spec), steps, read)
