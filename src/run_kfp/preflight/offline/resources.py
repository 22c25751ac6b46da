"""CPU, memory, accelerators and the region: whether they can be had, together, and on which machine a step runs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

from run_kfp.errors import did_you_mean
from run_kfp.findings import Finding, Severity
from run_kfp.machines import (
    GIB,
    MAX_CPUS,
    MAX_MEMORY,
    Accelerator,
    Choice,
    Machines,
    QuotaUse,
    accelerators_like,
    choose,
    either,
    find_accelerator,
    most,
    plain,
    quota_uses,
)
from run_kfp.natural import natural
from run_kfp.pipeline.known import inputs_in
from run_kfp.pipeline.resources import (
    FIELDS,
    NO_ACCELERATOR,
    Flaw,
    Limit,
    Limits,
    Mistake,
    accelerator_count,
    holds_placeholder,
    read_limits,
    request_size,
)
from run_kfp.pipeline.tables import table_at
from run_kfp.preflight.context import CheckContext, StepSpec
from run_kfp.preflight.rules import rule
from run_kfp.settings import region_meant

CPU_FORMAT = rule("RK-CPU-FORMAT")
MEMORY_FORMAT = rule("RK-MEMORY-FORMAT")
MEMORY_TINY = rule("RK-MEMORY-TINY")
CPU_LIMIT = rule("RK-CPU-LIMIT")
MEMORY_LIMIT = rule("RK-MEMORY-LIMIT")
PLACEHOLDER = rule("RK-RESOURCE-PLACEHOLDER")
GPU_TYPE = rule("RK-GPU-TYPE")
GPU_RETIRED = rule("RK-GPU-RETIRED")
GPU_COUNT = rule("RK-GPU-COUNT")
GPU_INCOMPLETE = rule("RK-GPU-INCOMPLETE")
GPU_REGION = rule("RK-GPU-REGION")
MACHINE_NONE = rule("RK-MACHINE-NONE")
MEMORY_BOUNDARY = rule("RK-MEMORY-BOUNDARY")
REGION_PIPELINES = rule("RK-REGION")
QUOTA_DEFAULT = rule("RK-QUOTA-DEFAULT")
TPU = rule("RK-TPU")
REQUEST_IGNORED = rule("RK-REQUEST-IGNORED")
RESOURCE_FIELDS = rule("RK-RESOURCE-FIELDS")
RESOURCE_CONFLICT = rule("RK-RESOURCE-CONFLICT")
MACHINE_TYPE = rule("RK-MACHINE-TYPE")
MACHINE_GPU = rule("RK-MACHINE-GPU")

# What a Google region is called: a part of the world, a direction, a number.
_REGION = re.compile(
    r"(africa|asia|australia|europe|me|northamerica|southamerica|us)-"
    r"(north|south|east|west|central|northeast|northwest|southeast|southwest)[0-9]{1,2}"
)
# An accelerator that a newer API may have. The brand Tesla is given up: no new name will carry it.
_POSSIBLE_ACCELERATOR = re.compile(r"(NVIDIA|TPU|AMD|INTEL)_(?!TESLA)[A-Z0-9_]+")


def check_resources(context: CheckContext, machines: Machines, today: date | None = None) -> Iterator[Finding]:
    """Check the resources of every step: their form, whether they can be had together, in the region, by default quota.

    Args:
        context: what would be submitted.
        machines: the machine table.
        today: for the end of support of an accelerator; None for the day it is.
    """
    today = today or datetime.now(tz=UTC).date()
    yield from _check_region(context, machines)
    uses: list[tuple[QuotaUse, str]] = []
    for step in context.steps:
        limits = read_limits(step.resources)
        yield from _mistakes(step, limits)
        yield from _check_limits(step, limits, machines, context.region, today)
        yield from _check_requests(step, limits)
        choice = _choice(limits, machines, context.region)
        if context.region and choice and not choice.failing:
            place = step.at("accelerator.count" if choice.accelerator else "cpu")
            uses += [(use, place) for use in quota_uses(machines, choice, context.region)]
    for pool in _worker_pools(context):
        yield from _check_pool(pool, machines, today)
        uses += _pool_uses(pool, machines)
    yield from _check_quotas(uses, context, machines)


def chosen_machines(context: CheckContext, machines: Machines) -> dict[str, Choice]:
    """Return the machine of each step, by its name; a step whose limits cannot be read is left out."""
    chosen: dict[str, Choice] = {}
    for step in context.steps:
        if choice := _choice(read_limits(step.resources), machines, context.region):
            chosen[step.name] = choice
    return chosen


# ── limits ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _mistakes(step: StepSpec, limits: Limits) -> Iterator[Finding]:
    """Tell what is wrong with the form of the limits."""
    forms = {Limit.CPU: CPU_FORMAT, Limit.MEMORY: MEMORY_FORMAT, Limit.COUNT: GPU_COUNT}
    for mistake in limits.mistakes:
        form = forms.get(mistake.limit, GPU_TYPE)
        code, severity = {
            Flaw.FORM: (form, None),
            Flaw.TINY: (MEMORY_TINY, None),
            Flaw.PLACEHOLDER: (PLACEHOLDER, None),
            Flaw.NUMBER: (form, Severity.WARNING),
            Flaw.CONFLICT: (RESOURCE_CONFLICT, None),
            Flaw.NO_COUNT: (GPU_INCOMPLETE, Severity.WARNING),
            Flaw.NO_TYPE: (GPU_INCOMPLETE, None),
            Flaw.NEWER_ALONE: (RESOURCE_FIELDS, None),
        }[mistake.flaw]
        if mistake.flaw is Flaw.PLACEHOLDER and (words := _unfilled(step, mistake)):
            yield code(
                _place(step, mistake.limit, mistake.field),
                f"{mistake.field} {words}",
                "write a literal",
                Severity.ERROR,
            )
            continue
        yield code(_place(step, mistake.limit, mistake.field), mistake.message, mistake.hint, severity=severity)


def _unfilled(step: StepSpec, mistake: Mistake) -> str:
    """Say why a limit that is filled in when the run is created cannot be; empty where it can."""
    newer, _ = FIELDS[mistake.limit]
    if mistake.field != newer:
        return f"takes no placeholder; {newer} does"
    given = {
        *table_at(step.task, "inputs", "parameters"),
        *table_at(step.component, "inputDefinitions", "parameters"),
    }
    names = inputs_in(mistake.message)
    missing = sorted(names - given, key=natural)
    if missing or not names:
        return f"refers to the input {missing[0]!r}, which the task does not have" if missing else "refers to no input"
    return ""


def _place(step: StepSpec, limit: Limit, field: str = "") -> str:
    """Return the place of a limit: the key of the registry, or the very field of a file."""
    if step.container or limit is Limit.ACCELERATOR:
        return step.at(limit)
    before = "accelerator." if limit in (Limit.TYPE, Limit.COUNT) else ""
    table = step.resources.get("accelerator") if before else step.resources
    present = [name for name in FIELDS[limit] if isinstance(table, Mapping) and name in table]
    return step.at(f"resources.{before}{field or (present[0] if present else FIELDS[limit][0])}")


def _choice(limits: Limits, machines: Machines, region: str | None) -> Choice | None:
    """Return the machine for limits that can be read."""
    if not limits.readable:
        return None
    return choose(
        machines,
        cpu=limits.cpu,
        memory=limits.memory,
        accelerator=limits.accelerator,
        count=limits.count or 0,
        region=region,
    )


def _check_limits(
    step: StepSpec, limits: Limits, machines: Machines, region: str | None, today: date
) -> Iterator[Finding]:
    """Check what a step asks for: each limit by itself, then all of them together."""
    alone = [*_check_most(step, limits, machines, region)]
    if limits.accelerator and limits.count != 0:
        alone += _check_accelerator(
            limits.accelerator,
            limits.count,
            _place(step, Limit.TYPE),
            _place(step, Limit.COUNT),
            machines,
            region,
            today,
            machines.counts(limits.accelerator),
            _fitting_counts(limits, machines),
        )
    yield from alone
    offered = not any(finding.code == GPU_REGION.name for finding in alone)
    told = [finding for finding in alone if finding.code != GPU_REGION.name and finding.severity is Severity.ERROR]
    if told or (limits.memory or 0) > MAX_MEMORY:
        return
    choice = _choice(limits, machines, region if offered else None)
    certain = (
        f"with {int(choice.other.memory)}G it is certain" if choice and choice.other and choice.other.memory else ""
    )
    if choice and choice.machine is None and choice.failing:
        yield MACHINE_NONE(
            step.at("accelerator" if choice.accelerator else "cpu"),
            "; ".join(filter(None, [choice.reason, choice.boundary])),
            certain or choice.nearest,
            severity=Severity.WARNING if choice.other else None,
        )
    elif choice and choice.machine and choice.boundary:
        yield MEMORY_BOUNDARY(
            _place(step, Limit.MEMORY),
            f"{plain(limits.memory or 0)} GB lead to {choice.machine}; {choice.boundary}",
            certain,
        )


def _check_most(step: StepSpec, limits: Limits, machines: Machines, region: str | None) -> Iterator[Finding]:
    """Check CPU and memory against the most that a step may ask for; the hints count with its accelerator."""
    accelerator = limits.accelerator if limits.count else None
    cpus_most, memory_most = most(machines, accelerator, limits.count or 0, region)
    of = f", as no machine with {limits.count} × {accelerator} has more"
    if limits.cpu is not None and limits.cpu > MAX_CPUS:
        yield CPU_LIMIT(
            _place(step, Limit.CPU),
            f"{plain(limits.cpu)} CPUs; a step can request at most {MAX_CPUS}",
            f"ask for {cpus_most} at most{of if cpus_most < MAX_CPUS else ''}",
        )
    if limits.memory is not None and limits.memory > MAX_MEMORY:
        within = limits.memory <= MAX_MEMORY * GIB
        yield MEMORY_LIMIT(
            _place(step, Limit.MEMORY),
            f"{plain(limits.memory)} GB of memory; a step can request at most {MAX_MEMORY:g} GB"
            + (
                ", which is enough only if Google's GB is 2^30 bytes, which its documentation does not say"
                if within
                else ""
            ),
            f"ask for {int(memory_most)}G at most{of if memory_most < MAX_MEMORY else ''}",
            severity=Severity.WARNING if within else None,
        )


def _fitting_counts(limits: Limits, machines: Machines) -> tuple[int, ...]:
    """Return how many of the accelerator lead to a machine with the CPU and memory asked for."""
    name = find_accelerator(machines, limits.accelerator or "")
    return tuple(
        count
        for count in machines.counts(name or "")
        if choose(machines, cpu=limits.cpu, memory=limits.memory, accelerator=name, count=count).machine
    )


def _check_accelerator(
    name: str,
    count: int | None,
    type_place: str,
    count_place: str,
    machines: Machines,
    region: str | None,
    today: date,
    counts: tuple[int, ...],
    fitting: tuple[int, ...] | None = None,
) -> Iterator[Finding]:
    """Check an accelerator by itself.

    Args:
        name: as it stands.
        count: None for none.
        type_place: where the name stands.
        count_place: where the count stands.
        machines: the table.
        region: None where it is not known.
        today: for the end of support.
        counts: those allowed, empty where that is not known.
        fitting: those of them that CPU and memory fit; None where nobody asks for these.
    """
    known = machines.accelerators.get(name)
    if known is None:
        yield _unknown_accelerator(name, type_place, machines, region)
        # With the name put right, the rest of it may still be wrong.
        if meant := find_accelerator(machines, name):
            counts = counts or machines.counts(meant)
            yield from _check_accelerator(
                meant, count, type_place, count_place, machines, region, today, counts, fitting
            )
        return
    if known.retired:
        words = f"{name} was retired" + (f" on {known.end_of_support}" if known.end_of_support else "")
        yield GPU_RETIRED(type_place, words, "use NVIDIA_TESLA_T4 or NVIDIA_L4")
        return
    if not known.is_supported(today):
        words = f"support for {name} ended on {known.end_of_support}"
        yield GPU_RETIRED(type_place, words, "use NVIDIA_TESLA_T4 or NVIDIA_L4", severity=Severity.WARNING)
    if known.is_tpu:
        yield TPU(type_place, f"{name} in a step of a pipeline", "run it as a CustomJob with a TPU machine type")
    if count is not None and counts and count not in counts:
        possible = fitting or counts
        near = [*[one for one in possible if one < count][-1:], *[one for one in possible if one > count][:1]]
        words = f"{count} × {name}; a machine has {either(counts)}"
        more = ""
        if fitting is not None and fitting != counts:
            more = ", for the requested CPU and memory" if fitting else ", and request less CPU or memory"
        yield GPU_COUNT(count_place, words, f"use {either(near)}{more}")
    if region:
        yield from _check_offer(known, type_place, machines, region)


def _check_offer(known: Accelerator, place: str, machines: Machines, region: str) -> Iterator[Finding]:
    offered = known.offered(region)
    # A region or an accelerator that the table does not know has a finding of its own, or none.
    if offered or not known.regions or region not in machines.regions:
        return
    near = machines.near(region, known.regions)
    hint = f"regions with it, the nearest first: {', '.join(near[:6])}{', …' if len(near) > 6 else ''}"
    if offered is None:
        words = f"Google's pages disagree whether training offers {known.name} in {region}"
        yield GPU_REGION(place, words, hint, severity=Severity.WARNING)
    else:
        yield GPU_REGION(place, f"custom training does not offer {known.name} in {region} ({machines.source})", hint)


def _unknown_accelerator(name: str, place: str, machines: Machines, region: str | None) -> Finding:
    current = [one for one in machines.accelerators.values() if not one.retired and not one.is_tpu]
    if "/" in name:
        here = [one.name for one in current if not region or one.offered(region)]
        return GPU_TYPE(
            place, f"{name!r} is a resource of Kubernetes, not an accelerator of Vertex AI", f"use {either(here)}"
        )
    like = [one for one in accelerators_like(machines, name) if not machines.accelerators[one].retired]
    hint = f"write {either(like)}" if like else did_you_mean(name.upper(), machines.accelerators)
    hint = hint or "`run-kfp machines` lists them"
    # NVIDIA_T4: the chip is known, and the API has another name for it.
    is_known = like and any(re.fullmatch(r"[A-Z]{1,2}[0-9]+", word) for word in name.split("_"))
    if _POSSIBLE_ACCELERATOR.fullmatch(name) and not is_known:
        message = f"{machines.source} does not know the accelerator {name}"
        return GPU_TYPE(place, message, hint, severity=Severity.WARNING)
    return GPU_TYPE(place, f"Vertex AI has no accelerator {name!r}", hint)


def _check_requests(step: StepSpec, limits: Limits) -> Iterator[Finding]:
    """Say which requests are missed: those above the limit, or without one."""
    for kind, limit, value, unit in (
        ("CPU", Limit.CPU, limits.cpu, ""),
        ("memory", Limit.MEMORY, limits.memory, " GB"),
    ):
        request = request_size(step.resources, limit)
        if request is None or (value is not None and request[1] <= value * 1.01):
            continue
        yield REQUEST_IGNORED(
            step.at(f"resources.{request[0]}"),
            f"the {kind} request {step.resources[request[0]]} has no effect on Vertex AI, and "
            + ("a limit is missing" if value is None else f"the limit is {plain(value)}{unit}"),
            f"set the {kind} limit to it (set_{kind.lower()}_limit)",
        )


# ── region and quotas ────────────────────────────────────────────────────────────────────────────────────────────────


def _check_region(context: CheckContext, machines: Machines) -> Iterator[Finding]:
    region = context.region
    if region is None or region in machines.regions:
        return
    place = context.settings.values["region"].place
    hint = region_hint(region, machines)
    if _REGION.fullmatch(region):
        yield REGION_PIPELINES(place, f"{machines.source} has no Vertex AI Pipelines in {region}", hint)
    else:
        words = f"unknown region {region!r}"
        yield REGION_PIPELINES(place, words, hint, severity=Severity.ERROR)


def region_hint(region: str, machines: Machines) -> str:
    """Return what to write for a region that the table does not have: the one meant, else its neighbours."""
    if (meant := region_meant(region)) in machines.regions:
        return f"did you mean {meant!r}?"
    around = region.rstrip("0123456789")
    beside = sorted((one for one in machines.regions if one.rstrip("0123456789") == around), key=natural)
    if beside:
        return f"with Pipelines there {'is' if len(beside) == 1 else 'are'} {', '.join(beside)}"
    near = f"regions with Pipelines, the nearest first: {', '.join(machines.near(region, machines.regions)[:6])}, …"
    return did_you_mean(region, machines.regions) or near


def _check_quotas(uses: list[tuple[QuotaUse, str]], context: CheckContext, machines: Machines) -> Iterator[Finding]:
    """Compare the largest use of each quota with its default."""
    largest: dict[tuple[str, str], tuple[QuotaUse, str]] = {}
    for use, place in uses:
        before = largest.get((use.what, use.region))
        if before is None or use.needed > before[0].needed:
            largest[use.what, use.region] = (use, place)
    for use, place in largest.values():
        if use.needed <= use.limit:
            continue
        command = (
            f"check yours: gcloud beta quotas info list --service=aiplatform.googleapis.com "
            f"--project={context.project or 'PROJECT'}"
        )
        yield QUOTA_DEFAULT(
            place,
            f"needs {use.words} in {use.region}; the documented default of a project there is "
            f"{use.limit} ({machines.source})",
            command + (f" --filter=metric:{use.metric}" if use.metric else ""),
        )


# ── machine types, which only CustomJobs name ────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Pool:
    """A worker pool of a CustomJob that a step starts: what its `machine_spec` says, and where that stands."""

    place: str
    machine: str
    accelerator: str
    count: int | None
    replicas: int
    region: str | None


# What makes a table with a `machine_spec` a worker pool: the machines of predictions are others.
_WORKER = ("container_spec", "containerSpec", "python_package_spec", "pythonPackageSpec")
_DEEPEST = 50


def _worker_pools(context: CheckContext) -> Iterator[_Pool]:
    """Find the worker pools in arguments and inputs of steps, and in executors that are CustomJobs."""
    for step in context.steps:
        given = table_at(step.task, "inputs", "parameters")
        declared = table_at(step.component, "inputDefinitions", "parameters")
        inputs = {name: _value(body, "defaultValue") for name, body in declared.items()}
        inputs |= {name: _value(_value(body, "runtimeValue"), "constant") for name, body in given.items()}
        region = inputs.get("location")
        region = region if isinstance(region, str) and not holds_placeholder(region) else None
        where = f"{step.source}: {step.path}" if step.container else f"{step.source}: task {step.name}"
        for name, value in inputs.items():
            yield from _pools(value, f"{where}, input {name}", region)
        yield from _pools([*step.command, *step.args], f"{where}, arguments ", region)
    for name, executor in table_at(context.pipeline.spec, "deploymentSpec", "executors").items():
        if job := _value(executor, "customJob"):
            place = f"{context.pipeline.source}: deploymentSpec.executors.{name}.customJob"
            yield from _pools(job, place, context.region)


def _value(table: Any, key: str) -> Any:
    return table.get(key) if isinstance(table, Mapping) else None


def _pools(value: Any, place: str, region: str | None, depth: int = 0) -> Iterator[_Pool]:
    if depth > _DEEPEST:
        return
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return
    if isinstance(value, Mapping):
        if any(name in value for name in _WORKER):
            for name in ("machine_spec", "machineSpec"):
                if isinstance(value.get(name), Mapping):
                    replicas = value.get("replica_count", value.get("replicaCount", 1))
                    yield _pool(value[name], f"{place}.{name}", replicas, region)
        for key, item in value.items():
            yield from _pools(item, f"{place}.{key}", region, depth + 1)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _pools(item, f"{place}[{number}]", region, depth + 1)


def _pool(spec: Mapping[str, Any], place: str, replicas: Any, region: str | None) -> _Pool:
    def text(snake: str, camel: str) -> str:
        found = spec.get(snake, spec.get(camel))
        return found if isinstance(found, str) and not holds_placeholder(found) else ""

    def whole(found: Any) -> int | None:
        try:
            return accelerator_count(found)
        except ValueError:
            return None

    accelerator = text("accelerator_type", "acceleratorType")
    return _Pool(
        place,
        text("machine_type", "machineType"),
        accelerator if accelerator not in NO_ACCELERATOR else "",
        whole(spec.get("accelerator_count", spec.get("acceleratorCount"))),
        whole(replicas) or 1,
        region,
    )


def _check_pool(pool: _Pool, machines: Machines, today: date) -> Iterator[Finding]:
    known = machines.types.get(pool.machine)
    if pool.machine and known is None:
        yield _unknown_machine(pool, machines)
    elif known and pool.region and known.regions is not None and pool.region not in known.regions:
        words = f"{pool.machine} is not offered in {pool.region} ({machines.source})"
        yield MACHINE_TYPE(pool.place, words, f"it is in {', '.join(sorted(known.regions, key=natural))}")
    if not pool.accelerator or pool.count == 0:
        return
    takes = known.accelerators.get(pool.accelerator, ()) if known else ()
    alone = list(
        _check_accelerator(
            pool.accelerator,
            pool.count,
            pool.place,
            pool.place,
            machines,
            pool.region,
            today,
            takes or machines.counts(pool.accelerator),
        )
    )
    # That TPUs end in errors was told of steps, not of CustomJobs.
    yield from (finding for finding in alone if finding.code != TPU.name)
    homes = [one for one in machines.types.values() if pool.accelerator in one.accelerators]
    if known and homes and not takes and not any(finding.code == GPU_RETIRED.name for finding in alone):
        yield MACHINE_GPU(
            pool.place,
            f"{pool.machine} takes {either(known.accelerators) or 'no accelerator'}, not {pool.accelerator}",
            f"machine types with {pool.accelerator}: {', '.join(one.name for one in homes[:6])}",
        )


def _unknown_machine(pool: _Pool, machines: Machines) -> Finding:
    families = {one.family for one in machines.types.values()}
    possible = re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)+", pool.machine)
    if possible and pool.machine.split("-")[0] not in families:
        words = f"{machines.source} does not know the machine type {pool.machine}"
        return MACHINE_TYPE(pool.place, words, "`run-kfp machines` lists those for training", severity=Severity.WARNING)
    return MACHINE_TYPE(
        pool.place,
        f"custom training does not offer the machine type {pool.machine!r}",
        did_you_mean(pool.machine, machines.types) or "`run-kfp machines` lists those for training",
    )


def _pool_uses(pool: _Pool, machines: Machines) -> Iterator[tuple[QuotaUse, str]]:
    machine = machines.types.get(pool.machine)
    if machine and pool.region:
        choice = Choice(machine, pool.accelerator or None, pool.count or 0, "")
        for use in quota_uses(machines, choice, pool.region):
            yield replace(use, needed=use.needed * pool.replicas), pool.place
