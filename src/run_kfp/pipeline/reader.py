"""A pipeline file, of this program or another, becomes a compiled pipeline."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from run_kfp.errors import InputError, did_you_mean, shown
from run_kfp.files import read_text
from run_kfp.findings import Finding
from run_kfp.pipeline.resources import read_limits
from run_kfp.pipeline.spec import Spec, no_pipeline, read_spec
from run_kfp.pipeline.tables import cycle, table_at
from run_kfp.pipeline.values import CompiledPipeline, Parameter, Step

# What people write for the types of parameters that KFP has (ParameterType of pipeline_spec.proto). A type that is
# neither here nor there may be a new one.
_TYPES_MEANT = {
    "STR": "STRING",
    "TEXT": "STRING",
    "INT": "NUMBER_INTEGER",
    "INTEGER": "NUMBER_INTEGER",
    "FLOAT": "NUMBER_DOUBLE",
    "DOUBLE": "NUMBER_DOUBLE",
    "NUMBER": "NUMBER_DOUBLE",
    "BOOL": "BOOLEAN",
    "ARRAY": "LIST",
    "DICT": "STRUCT",
    "OBJECT": "STRUCT",
    "JSON": "STRUCT",
    **{name.lower(): name for name in ("STRING", "NUMBER_INTEGER", "NUMBER_DOUBLE", "BOOLEAN", "LIST", "STRUCT")},
}


def _type_meant(kind: str) -> str | None:
    """Return the type of KFP that a word which is none stands for; None where that cannot be told."""
    return _TYPES_MEANT.get(kind) or _TYPES_MEANT.get(kind.upper())


def _parameters(spec: Spec) -> tuple[Parameter, ...]:
    declared: Mapping[str, Any] = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    kinds = {name: str(body.get("parameterType", "STRING")) for name, body in declared.items()}
    return tuple(
        Parameter(
            name,
            _type_meant(kinds[name]) or kinds[name],
            required="defaultValue" not in body and not body.get("isOptional"),
        )
        for name, body in sorted(declared.items())
    )


def _mistaken_words(spec: Spec, source: str) -> list[Finding]:
    """Name words of other tools in places where KFP has its own: types of parameters, limits as Kubernetes has them."""
    found: list[tuple[str, str, str]] = []
    components = {"root": spec["root"], **{f"components.{name}": body for name, body in spec["components"].items()}}
    for place, component in components.items():
        for name, body in table_at(component, "inputDefinitions", "parameters").items():
            kind = table_at(body).get("parameterType")
            if isinstance(kind, str) and (meant := _type_meant(kind)):
                where = f"{place}.inputDefinitions.parameters.{name}.parameterType"
                found.append((where, f"{shown(kind)} is not a parameter type", f"write {meant}"))
    for label, executor in table_at(spec, "deploymentSpec", "executors").items():
        resources = table_at(executor, "container", "resources")
        for key, meant in (("limits", "Limit"), ("requests", "Request")):
            if key in resources:
                where = f"deploymentSpec.executors.{label}.container.resources.{key}"
                message = "is a Kubernetes key, not a KFP key: it would be ignored or refused"
                hint = f'write resourceCpu{meant}: "4", resourceMemory{meant}: "16G" directly in resources'
                found.append((where, message, hint))
    return [
        Finding(message, hint, code="RK-PIPELINE-FILE", place=f"{source}: {where}") for where, message, hint in found
    ]


def _steps(spec: Spec, source: str, faults: list[Finding]) -> tuple[Step, ...]:
    """Return the tasks of the root DAG, each behind those that it waits for, else in the order of their names.

    A task that waits for one that does not exist is a fault and waits for it no longer; tasks that wait for each other
    are one too, and come last.
    """
    tasks: Mapping[str, Any] = spec["root"]["dag"]["tasks"]
    waiting = {name: _step(spec, name, task) for name, task in sorted(tasks.items())}
    for step in waiting.values():
        faults += [
            Finding(
                f"{name} depends on {shown(other)}, which does not exist",
                did_you_mean(str(other), set(tasks) - {name}) or "remove it from dependentTasks and the inputs",
                code="RK-SPEC-CYCLE",
                place=f"{source}: root.dag.tasks.{name}",
            )
            for name, other in ((step.name, other) for other in step.after)
            if other not in tasks
        ]
    ordered: list[Step] = []
    done: set[str] = set()
    while waiting:
        ready = [name for name, step in waiting.items() if done.issuperset(tasks.keys() & set(step.after))]
        if not ready:
            circle = cycle({name: step.after for name, step in waiting.items()})
            faults.append(
                Finding(
                    f"tasks depend on each other: {', '.join(circle)}",
                    "take one of these dependencies out (dependentTasks, inputs), or recompile the file",
                    code="RK-SPEC-CYCLE",
                    place=f"{source}: root.dag.tasks",
                )
            )
            ready = list(waiting)
        ordered += [waiting.pop(name) for name in ready]
        done.update(ready)
    return tuple(ordered)


def _step(spec: Spec, name: str, task: Mapping[str, Any]) -> Step:
    component = spec["components"].get(task.get("componentRef", {}).get("name"), {})
    executors = spec.get("deploymentSpec", {}).get("executors", {})
    container = executors.get(component.get("executorLabel"), {}).get("container", {})
    after = set(task.get("dependentTasks", ()))
    for kind in ("parameters", "artifacts"):
        for source in task.get("inputs", {}).get(kind, {}).values():
            producer = source.get("taskOutputParameter") or source.get("taskOutputArtifact") or {}
            after.update([producer["producerTask"]] if "producerTask" in producer else [])
    return Step(
        name,
        label=str(task.get("taskInfo", {}).get("name") or name),
        image=str(container.get("image") or ("(a nested pipeline)" if "dag" in component else "(no container)")),
        after=tuple(sorted(after)),
        resources=read_limits(table_at(container, "resources")).words,
        cached=bool(task.get("cachingOptions", {}).get("enableCache")),
    )


def _address(path: Path) -> str:
    """Return the address that was typed in the place of a path, with the slashes that `Path` joins; else nothing."""
    match = re.match(r"(?P<scheme>gs|s3|https?):/+(?=[^/])", str(path), re.IGNORECASE)
    return f"{match['scheme']}://{str(path)[match.end() :]}" if match else ""


def _download(address: str) -> str:
    """Say how to get the file of an address."""
    name = re.split(r"[?#]", address, maxsplit=1)[0].rpartition("/")[2]
    name = name if re.fullmatch(r"\w[\w.-]*\.(?:ya?ml|json)", name) else "pipeline.yaml"
    quoted = shlex.quote(address)
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
    spec = read_spec(text, str(path), foreign=True)
    info = spec["pipelineInfo"]
    useless: list[Finding] = []
    try:
        parameters, steps = _parameters(spec), _steps(spec, str(path), useless)
    except (AttributeError, KeyError, TypeError, ValueError):
        message = f"{path} is not a KFP v2 pipeline: its tasks or parameters are invalid"
        raise no_pipeline(message, "recompile it", str(path)) from None
    useless += _mistaken_words(spec, str(path))
    if useless and faults is None:
        raise InputError.of(str(path), useless)
    (faults if faults is not None else []).extend(useless)
    name = str(info["name"])
    return CompiledPipeline(text, str(path), name, str(info.get("displayName") or name), parameters, steps)
