"""What a person reads: the registry, the graph, the plan, a run's progress, an error.

Text only; `terminal.py` prints it. Every function returns lines with Rich's styles, so that one place decides about
colour and masks what they hold.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from run_kfp.arguments import Argument, Reference
from run_kfp.errors import BackendError, RunKfpError
from run_kfp.lines import Text
from run_kfp.natural import natural
from run_kfp.pipeline import CompiledPipeline, Step
from run_kfp.plans import RunRequest, Value
from run_kfp.progress import duration
from run_kfp.registry import Container, Registry
from run_kfp.runs import RunRef, RunState, RunStatus, StepState

if TYPE_CHECKING:
    from run_kfp.backends.local import LocalPlan
    from run_kfp.localruns import RunRecord


def resources_words(container: Container) -> str:
    """Say what a container asks for; a parameter stands as its name in angle brackets."""

    def words(value: str | Reference | None) -> str:
        return f"<{value.name}>" if isinstance(value, Reference) else value or ""

    parts = [f"{words(container.cpu)} CPU" if container.cpu else "", words(container.memory)]
    if container.accelerator:
        parts.append(f"{words(container.accelerator.count)} × {container.accelerator.type}")
    return ", ".join(part for part in parts if part) or "default machine"


def needs(container: Container, kind: str) -> list[str]:
    """Name the parameters or secrets that a container refers to."""
    references = (*container.references, *container.resource_references)
    return list(dict.fromkeys(reference.name for reference in references if reference.kind == kind))


def registry_lines(registry: Registry) -> Iterator[Text]:
    """Show the registry, a container a paragraph."""
    yield Text.assemble(
        (registry.pipeline.display_name or registry.pipeline.name, "bold"), (f"  from {registry.source}", "dim")
    )
    width = max(len(container.index) for container in registry.containers.values())
    for container in registry.containers.values():
        pad = " " * (width + 4)
        yield Text("")
        yield Text.assemble(
            (f"  {container.index:>{width}}  ", "bold cyan"), (container.name, "bold"), f"  {container.display_name}"
        )
        if container.description:
            yield Text(f"{pad}{container.description}")
        yield Text.assemble((f"{pad}image      ", "dim"), container.image or f"created by {container.factory}")
        yield Text.assemble((f"{pad}resources  ", "dim"), resources_words(container))
        for kind, label in (("param", "parameters"), ("secret", "secrets   ")):
            if names := needs(container, kind):
                yield Text.assemble((f"{pad}{label} ", "dim"), ", ".join(names))
        if container.side_effects:
            yield Text.assemble((f"{pad}caching    ", "dim"), "never (side effects)")


def registry_data(registry: Registry) -> dict[str, Any]:
    """Return the registry as data."""

    def plain(value: Argument | None) -> Any:
        if not isinstance(value, Reference):
            return value
        return {value.kind: value.name, **({"prefix": value.prefix} if value.prefix else {})}

    return {
        "source": registry.source,
        "pipeline": registry.pipeline.model_dump(),
        "containers": [
            {
                "index": container.index,
                "name": container.name,
                "display_name": container.label,
                "image": container.image or None,
                "factory": container.factory or None,
                "command": list(container.command) if container.command else None,
                "entrypoint": list(container.entrypoint) if container.entrypoint else None,
                "args": [plain(argument) for argument in container.args],
                "env": {name: plain(value) for name, value in container.env.items()},
                "cpu": plain(container.cpu),
                "memory": plain(container.memory),
                "accelerator": {"type": container.accelerator.type, "count": plain(container.accelerator.count)}
                if container.accelerator
                else None,
                "side_effects": container.side_effects,
                "process": {"cwd": container.process.cwd, "entrypoint": list(container.process.entrypoint)}
                if container.process
                else None,
                "params": needs(container, "param"),
                "secrets": needs(container, "secret"),
            }
            for container in registry.containers.values()
        ],
        "params": {name: param.model_dump() for name, param in registry.params.items()},
        "secrets": {name: secret.model_dump() for name, secret in registry.secrets.items()},
    }


def graph_lines(pipeline: CompiledPipeline) -> Iterator[Text]:
    """Draw the steps in the order in which they run; where they are no chain, each says what it waits for."""
    count = len(pipeline.steps)
    yield Text.assemble((pipeline.display_name, "bold"), f"  {count} step{'s' if count != 1 else ''}")
    names = max(len(step.name) for step in pipeline.steps)
    images = max(len(step.image) for step in pipeline.steps)
    before: Step | None = None
    for step in pipeline.steps:
        chained = before is not None and step.after == (before.name,)
        if chained:
            yield Text("  │", "dim")
        line = Text.assemble(
            "  ",
            ("○", "cyan"),
            " ",
            (f"{step.name:<{names}}", "bold"),
            f"  {step.image:<{images}}  ",
            (step.resources or "default machine", "dim"),
        )
        if step.after and not chained:
            line.append(f"  after {', '.join(step.after)}", "yellow")
        if step.cached:
            line.append("  cached", "dim")
        yield line
        before = step


def pipeline_data(pipeline: CompiledPipeline, path: str | None) -> dict[str, Any]:
    """Return what was compiled as data."""
    return {
        "pipeline": pipeline.name,
        "file": path,
        "parameters": [parameter.name for parameter in pipeline.parameters],
        "steps": [
            {"name": step.name, "image": step.image, "after": list(step.after), "resources": step.resources or None}
            for step in pipeline.steps
        ],
    }


def plan_lines(request: RunRequest, run: RunRef) -> Iterator[Text]:
    """Show what a submission would send; a secret shows only its place."""
    yield Text("Plan of the submission", "bold")
    rows = {
        "run": f"{run}",
        "display name": request.display_name,
        "project": request.project,
        "region": request.region,
        "service account": request.service_account,
        "endpoint": request.endpoint,
        "pipeline root": f"{request.pipeline_root}  ({request.root_source})",
        "failure policy": {
            "fast": "fast (the first failure stops the run)",
            "slow": "slow (independent steps continue after a failure)",
        }[request.failure_policy],
        "network": request.network,
        "encryption key": request.encryption_key,
        "labels": ", ".join(f"{key}={value}" for key, value in request.labels.items()),
    }
    for name, value in rows.items():
        if value:
            yield Text.assemble((f"  {name:<15}  ", "dim"), value)
    yield from _value_lines(request.values)
    yield Text("")
    yield from graph_lines(request.pipeline)


def _value_lines(values: Mapping[str, Any]) -> Iterator[Text]:
    """Show values (`Value`) and the places of secrets (`SecretRef`)."""
    if values:
        yield Text("  parameters", "dim")
    width = max((len(name) for name in values), default=0)
    for name, found in values.items():
        if isinstance(found, Value):
            yield Text.assemble(
                f"    {name:<{width}}  {json.dumps(found.value, ensure_ascii=False)}", (f"  ({found.source})", "dim")
            )
        else:
            yield Text.assemble(f"    {name:<{width}}  ", ("secret", "yellow"), (f"  (from {found.place})", "dim"))


def _value_data(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: {"value": found.value, "from": found.source}
        if isinstance(found, Value)
        else {"secret": name, "from": found.place}
        for name, found in values.items()
    }


def plan_data(request: RunRequest, run: RunRef) -> dict[str, Any]:
    """Return the whole plan as data; a secret is `{"secret": name, "from": place}`."""
    return {
        "run": str(run),
        "job_id": request.job_id,
        "display_name": request.display_name,
        "project": request.project,
        "region": request.region,
        "service_account": request.service_account,
        "endpoint": request.endpoint,
        "pipeline_root": request.pipeline_root,
        "pipeline_root_from": request.root_source,
        "failure_policy": request.failure_policy,
        "network": request.network,
        "encryption_key": request.encryption_key,
        "labels": dict(request.labels),
        "parameter_values": _value_data(request.values),
        "pipeline_spec": request.pipeline.sent,
    }


def secrets_note(request: RunRequest) -> str:
    """Say in one line who can read the secrets of a run; empty when it has none."""
    if not request.secrets:
        return ""
    names = ", ".join(sorted(request.secrets, key=natural))
    return f"{names}: sent as arguments, so everyone who may view the run on Vertex AI can read them"


def rehearsal_plan_lines(plan: LocalPlan) -> Iterator[Text]:
    """Show what would run on this machine; a secret shows only its place."""
    yield Text("Plan of the local run", "bold")
    policy = plan.policy
    rows = {
        "run": f"local://{plan.run_id}",
        "engine": plan.engine,
        "parallel": f"{policy.parallel} steps at a time",
        "failure policy": "fast (the first failure stops the run)"
        if policy.fast
        else "slow (independent steps continue after a failure)",
        "step timeout": f"{policy.step_timeout:g} s" if policy.step_timeout else "",
        "repeats": f"{plan.base.ref}; already done: {', '.join(sorted(plan.reused, key=natural)) or 'nothing'}"
        if plan.base
        else "",
        "credentials": str(plan.credentials or ""),
        "local only": ", ".join(plan.local_only),
        "mounted": ", ".join(f"{source} at {place}" for place, source in plan.docker.mounts.items())
        if plan.docker
        else "",
    }
    for name, value in rows.items():
        if value:
            yield Text.assemble((f"  {name:<15}  ", "dim"), value)
    yield from _value_lines(plan.values)
    yield Text("")
    yield from graph_lines(plan.pipeline)


def rehearsal_plan_data(plan: LocalPlan) -> dict[str, Any]:
    """Return the plan of a run on this machine as data; a secret is `{"secret": name, "from": place}`."""
    return {
        "run": f"local://{plan.run_id}",
        "job_id": plan.run_id,
        "engine": plan.engine,
        "parallel": plan.policy.parallel,
        "failure_policy": "fast" if plan.policy.fast else "slow",
        "step_timeout": plan.policy.step_timeout,
        "credentials": str(plan.credentials) if plan.credentials else None,
        "local_only": list(plan.local_only),
        "from_run": plan.base.ref if plan.base else None,
        "reused": sorted(plan.reused),
        "parameter_values": _value_data(plan.values),
        "pipeline_spec": plan.pipeline.spec,
    }


def runs_lines(records: Sequence[RunRecord], now: datetime) -> Iterator[Text]:
    """Show runs of this machine, a line each."""
    width = max((len(record.id) for record in records), default=0)
    for record in records:
        colour = {RunState.SUCCEEDED: "green", RunState.FAILED: "bold red"}.get(record.state, "cyan")
        done = sum(step.state is StepState.SUCCEEDED for step in record.steps)
        line = Text.assemble(
            (f"{record.id:<{width}}", "bold"),
            "  ",
            (f"{record.state.value:<10}", colour),
            f"  {record.created.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z  {duration(record, now):>7}",
            f"  {done}/{len(record.steps)} steps  {record.engine}",
        )
        if record.error:
            line.append(f"  {record.error}", "red")
        yield line


def record_data(record: RunRecord) -> dict[str, Any]:
    """Return a run of this machine as data."""
    return {
        "run": record.ref,
        "pipeline": record.pipeline["name"],
        "engine": record.engine,
        "created": record.created.isoformat(),
        **status_data(record.status),
    }


def status_data(status: RunStatus) -> dict[str, Any]:
    """Return a status as data."""
    return {
        "state": status.state.value,
        "state_message": status.error or None,
        "steps": [
            {
                "name": step.name,
                "state": step.state.value,
                "started": step.started.isoformat() if step.started else None,
                "ended": step.ended.isoformat() if step.ended else None,
                "error": step.error or None,
                "job": step.log or None,
            }
            for step in status.steps
        ],
    }


def error_lines(error: RunKfpError) -> Iterator[Text]:
    """Show an error: what, where, what next; each of several."""
    yield Text.assemble(("error: ", "bold red"), error.message)
    for number, fault in enumerate(error.faults, 1):
        yield Text.assemble((f"  {number}. ", "bold"), fault.text)
        if fault.hint.startswith(" "):  # lines of a log
            yield Text("\n".join(f" {line}" for line in fault.hint.split("\n")))
        elif fault.hint:
            yield Text.assemble("     ", ("→ ", "cyan"), fault.hint)
    if error.hint:
        yield Text.assemble("  ", ("→ ", "cyan"), error.hint)


def error_data(error: RunKfpError) -> dict[str, Any]:
    """Return an error as data."""
    faults: Sequence[Mapping[str, str]] = [{"message": fault.text, "hint": fault.hint} for fault in error.faults]
    data: dict[str, Any] = {
        "exit_code": error.exit_code,
        "message": error.message,
        "hint": error.hint,
        "faults": faults,
    }
    if isinstance(error, BackendError):
        data["submitted"] = error.submitted.name.lower()
    return data
