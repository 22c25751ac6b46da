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
from run_kfp.pipeline import CompiledPipeline, Step
from run_kfp.plans import RunRequest, Value
from run_kfp.registry import Container, Registry
from run_kfp.runs import RunRef, RunState, RunStatus, StepState, StepStatus
from run_kfp.visible import visible_line

if TYPE_CHECKING:
    from run_kfp.backends.local import LocalPlan
    from run_kfp.localruns import RunRecord, StepRecord

_MARKS = {
    StepState.WAITING: ("○", "dim"),
    StepState.PENDING: ("○", "yellow"),
    StepState.RUNNING: ("●", "cyan"),
    StepState.SUCCEEDED: ("✓", "green"),
    StepState.FAILED: ("✗", "bold red"),
    StepState.CANCELLING: ("●", "yellow"),
    StepState.CANCELLED: ("✗", "yellow"),
    StepState.SKIPPED: ("–", "dim"),
    StepState.UNKNOWN: ("?", "yellow"),
}


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
    names = ", ".join(sorted(request.secrets))
    return f"{names}: sent as arguments, so everyone who may view the run on Vertex AI can read them"


def steps_in_order(pipeline: CompiledPipeline, status: RunStatus) -> list[StepStatus]:
    """Put the steps of a status into the pipeline's order; one that the backend does not know yet is WAITING."""
    known = {step.name: step for step in status.steps}
    ordered = [known.pop(step.name, StepStatus(step.name, StepState.WAITING)) for step in pipeline.steps]
    return [*ordered, *known.values()]


def progress_lines(pipeline: CompiledPipeline, status: RunStatus, now: datetime) -> Iterator[Text]:
    """Draw a run as it stands, a line a step."""
    colour = {RunState.SUCCEEDED: "green", RunState.FAILED: "bold red"}.get(status.state, "cyan")
    yield Text.assemble((pipeline.display_name, "bold"), "  ", (status.state.value, colour))
    steps = steps_in_order(pipeline, status)
    width = max(len(step.name) for step in steps)
    for step in steps:
        line = _step_line(step, width, now)
        if step.error:
            line.append(f"  {step.error}", "red")
        yield line


def changes(pipeline: CompiledPipeline, before: RunStatus | None, status: RunStatus, now: datetime) -> Iterator[str]:
    """Yield a line for everything that is new since the last look: what a log without a terminal wants."""
    clock = f"{now.astimezone(UTC):%H:%M:%S}Z"
    if before is None or before.state is not status.state:
        yield f"{clock}  run {status.state.value}"
    old = {step.name: step.state for step in before.steps} if before else {}
    for step in steps_in_order(pipeline, status):
        if step.state is not StepState.WAITING and old.get(step.name) is not step.state:
            yield "  ".join(
                part for part in (clock, f"{step.name} {step.state.value}", _duration(step, now), step.error) if part
            )


def _step_line(step: StepStatus | StepRecord, width: int, now: datetime) -> Text:
    """Begin the line of a step with its mark, name, state and time."""
    mark, style = _MARKS[step.state]
    return Text.assemble(
        "  ",
        (mark, style),
        f" {step.name:<{width}}  ",
        (f"{step.state.value:<10}", style),
        f"  {_duration(step, now)}",
    )


def _duration(step: StepStatus | StepRecord | RunRecord, now: datetime) -> str:
    if step.started is None or step.state in (StepState.WAITING, StepState.PENDING):
        return ""
    seconds = max(int(((step.ended or now) - step.started).total_seconds()), 0)
    hours, minutes = divmod(seconds // 60, 60)
    return f"{hours}:{minutes:02}:{seconds % 60:02}" if hours else f"{minutes}:{seconds % 60:02}"


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
        "repeats": f"{plan.base.ref}; already done: {', '.join(sorted(plan.reused)) or 'nothing'}" if plan.base else "",
        "credentials": str(plan.credentials or ""),
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
        "from_run": plan.base.ref if plan.base else None,
        "reused": sorted(plan.reused),
        "parameter_values": _value_data(plan.values),
        "pipeline_spec": plan.pipeline.spec,
    }


def record_lines(record: RunRecord, tails: Mapping[str, Sequence[str]], now: datetime) -> Iterator[Text]:
    """Draw a run on this machine as it stands: a line a step, below a running one the last lines of its log."""
    colour = {RunState.SUCCEEDED: "green", RunState.FAILED: "bold red"}.get(record.state, "cyan")
    yield Text.assemble((record.pipeline["display_name"], "bold"), "  ", (record.state.value, colour))
    width = max(len(step.name) for step in record.steps)
    before: StepRecord | None = None
    for step in record.steps:
        line = _step_line(step, width, now)
        if step.reused_from:
            line.append(f"  done by {step.reused_from}", "dim")
        elif step.after and (before is None or step.after != [before.name]):
            line.append(f"  after {', '.join(step.after)}", "dim")
        if step.error:
            line.append(f"  {step.error}", "red")
        yield line
        if step.state in (StepState.RUNNING, StepState.CANCELLING):
            for text in tails.get(step.name, ()):
                yield Text(
                    f"      {visible_line(text, colour=False).expandtabs(4)}", "dim", no_wrap=True, overflow="ellipsis"
                )
        before = step


def record_changes(
    before: Mapping[str, str], state: RunState, steps: Sequence[StepRecord], now: datetime
) -> Iterator[str]:
    """Yield a line for every state that is new; `before` maps "" to the run's and names to the steps' states."""
    clock = f"{now.astimezone(UTC):%H:%M:%S}Z"
    if before.get("") != state:
        yield f"{clock}  run {state.value}"
    for step in steps:
        if step.state is not StepState.WAITING and before.get(step.name) != step.state:
            done = f"done by {step.reused_from}" if step.reused_from else _duration(step, now)
            yield "  ".join(part for part in (clock, f"{step.name} {step.state.value}", done, step.error) if part)


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
            f"  {record.created.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z  {_duration(record, now):>7}",
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
        if fault.hint:
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
