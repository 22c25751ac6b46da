"""Which machine a step gets for its limits, and what that takes from quotas.

A step of a pipeline runs as a CustomJob: its CPU, memory and accelerator limits are no cap, they are what Vertex AI
chooses a machine type by ("the closest match from the supported machine types"; how, is not published).

Memory is in GB as Google's pages write it. Whether that is 10^9 or 2^30 bytes is not documented: a choice takes the
first, and says so where the second would lead to another machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from run_kfp.machines.table import FAMILIES, Machines, MachineType

# The most that a step may ask for: https://docs.cloud.google.com/vertex-ai/docs/pipelines/machine-types
MAX_CPUS = 96

MAX_MEMORY = 624.0

# What a step without any limit gets (same page).
DEFAULT_MACHINE = "e2-standard-4"

# 2^30 bytes in units of 10^9.
GIB = 2**30 / 10**9


@dataclass(frozen=True)
class Choice:
    """The machine that a step gets, or why there is none.

    Attributes:
        machine: None where none fits, or where the table does not know.
        accelerator: the accelerator asked for, None for none.
        count: how many.
        reason: in words, why this machine or why none.
        failing: the demands that cannot be met, of "cpu", "memory", "count", "region"; empty where the table does not
            know.
        nearest: in words, what would fit.
        other: the machine that is chosen if a GB of Google's is 2^30 bytes, where that is another one.
    """

    machine: MachineType | None
    accelerator: str | None
    count: int
    reason: str
    failing: tuple[str, ...] = ()
    nearest: str = ""
    other: MachineType | None = None

    @property
    def boundary(self) -> str:
        """In words, what depends on the size of a GB; empty where nothing does."""
        if self.other is None:
            return ""
        return f"{self.other} is enough if Google's GB is 2^30 bytes, which its documentation does not say"


def choose(
    machines: Machines,
    *,
    cpu: float | None = None,
    memory: float | None = None,
    accelerator: str | None = None,
    count: int = 0,
    region: str | None = None,
) -> Choice:
    """Choose the smallest machine type (fewest vCPUs, then least memory) that satisfies every limit.

    Args:
        machines: the table.
        cpu: CPUs.
        memory: in units of 10^9 bytes.
        accelerator: the name of the API; None for none.
        count: of the accelerator; 0 for none.
        region: where the step runs, None where that is not known.
    """
    if not accelerator or not count:
        accelerator, count = None, 0
    demand = Choice(None, accelerator, count, "")
    if accelerator and (refused := _refused(machines, demand, accelerator, region)):
        return refused
    if cpu is None and memory is None and accelerator is None and DEFAULT_MACHINE in machines.types:
        reason = "the default for a step without limits"
        return replace(demand, machine=machines.types[DEFAULT_MACHINE], reason=reason)
    tiers = _tiers(machines, accelerator, count, region)
    over = _exceeded(cpu, memory)
    chosen = None if over else _smallest(tiers, cpu, memory)
    other = None if _exceeded(cpu, (memory or 0) / GIB) else _smallest(tiers, cpu, memory and memory / GIB)
    other = other if other != chosen else None
    if chosen is not None:
        reason = f"the smallest {_words(tiers, accelerator)} with {_asked(cpu, memory, accelerator, count)} or more"
        return replace(demand, machine=chosen, reason=reason, other=other)
    if over:
        allowed = {"cpu": f"{MAX_CPUS} CPUs", "memory": f"{MAX_MEMORY:g} GB"}
        most = " and ".join(allowed[name] for name in over)
        return replace(demand, reason=f"a step can request at most {most}", failing=over, nearest=most, other=other)
    return _none_fits(machines, replace(demand, other=other), tiers, cpu, memory, region)


def _refused(machines: Machines, demand: Choice, accelerator: str, region: str | None) -> Choice | None:
    """Say why an accelerator alone leads to no machine, or return None."""
    counts = machines.counts(accelerator)
    if not counts:
        return replace(demand, reason=f"{machines.source} has no machine with {accelerator}")
    if demand.count not in counts:
        below = [count for count in counts if count < demand.count][-1:]
        above = [count for count in counts if count > demand.count][:1]
        return replace(
            demand,
            reason=f"a machine has {either(counts)} of {accelerator}, not {demand.count}",
            failing=("count",),
            nearest=either([*below, *above]),
        )
    known = machines.accelerators[accelerator]
    if region in machines.regions and known.offered(region) is False:
        near = machines.near(region, known.regions)
        return replace(
            demand,
            reason=f"custom training does not offer {accelerator} in {region}",
            failing=("region",),
            nearest=", ".join(near[:6]),
        )
    return None


def most(machines: Machines, accelerator: str | None, count: int, region: str | None) -> tuple[int, float]:
    """Return the most CPUs and GB that a step may ask for: of any machine with that accelerator and count.

    Args:
        machines: the table.
        accelerator: the name of the API; None for none.
        count: of the accelerator.
        region: where the step runs, None where that is not known.

    Returns:
        The limits of all steps where the table knows no such machine.
    """
    candidates = [one for tier in _tiers(machines, accelerator or None, count, region) for one in tier]
    vcpus, memory = [one.vcpus for one in candidates if one.vcpus], [one.memory for one in candidates if one.memory]
    return min(MAX_CPUS, max(vcpus, default=MAX_CPUS)), min(MAX_MEMORY, max(memory, default=MAX_MEMORY))


def _exceeded(cpu: float | None, memory: float | None) -> tuple[str, ...]:
    over = {"cpu": (cpu or 0) > MAX_CPUS, "memory": (memory or 0) > MAX_MEMORY}
    return tuple(name for name, exceeds in over.items() if exceeds)


def _tiers(machines: Machines, accelerator: str | None, count: int, region: str | None) -> list[list[MachineType]]:
    """Return the machines to choose from, those of an earlier list before all of a later one."""
    here = [one for one in machines.types.values() if not region or one.regions is None or region in one.regions]
    if accelerator:
        return [[one for one in here if count in one.accelerators.get(accelerator, ())]]
    return [[one for one in here if one.family == family] for family in FAMILIES]


def _smallest(tiers: list[list[MachineType]], cpu: float | None, memory: float | None) -> MachineType | None:
    for tier in tiers:
        if fitting := [one for one in tier if one.fits(cpu or 0, memory or 0)]:
            return min(fitting, key=lambda one: (one.vcpus, one.memory, one.name))
    return None


def _none_fits(
    machines: Machines,
    demand: Choice,
    tiers: list[list[MachineType]],
    cpu: float | None,
    memory: float | None,
    region: str | None,
) -> Choice:
    candidates = [one for tier in tiers for one in tier]
    asked = _asked(cpu, memory, demand.accelerator, demand.count)
    if not candidates and region:
        return replace(demand, reason=f"{machines.source} has no such machine in {region}", failing=("region",))
    if not candidates or any(one.vcpus is None or one.memory is None for one in candidates):
        return replace(demand, reason=f"{machines.source} does not know enough to say which machine has {asked}")
    single = {
        "cpu": any(one.fits(cpu or 0, 0) for one in candidates),
        "memory": any(one.fits(0, memory or 0) for one in candidates),
    }
    failing = tuple(name for name, possible in single.items() if not possible) or tuple(single)
    largest = max(candidates, key=lambda one: (one.memory or 0, one.vcpus or 0))
    with_it = f" with {demand.count} × {demand.accelerator}" if demand.accelerator else ""
    offers = [f"the largest machine{with_it} is {largest}"]
    for count in machines.counts(demand.accelerator) if demand.accelerator else ():
        more = _smallest(_tiers(machines, demand.accelerator, count, region), cpu, memory)
        if more is not None and count > demand.count:
            offers.append(f"{count} × {demand.accelerator} come with {more}")
            break
    return replace(demand, reason=f"no machine has {asked}", failing=failing, nearest="; ".join(offers))


def _words(tiers: list[list[MachineType]], accelerator: str | None) -> str:
    families = sorted({one.family for tier in tiers for one in tier})
    return f"{'/'.join(families)} machine" if accelerator else "machine"


def _asked(cpu: float | None, memory: float | None, accelerator: str | None, count: int) -> str:
    parts = [
        f"{plain(cpu)} CPU" if cpu is not None else "",
        f"{plain(memory)} GB" if memory is not None else "",
        f"{count} × {accelerator}" if accelerator else "",
    ]
    return ", ".join(part for part in parts if part)


def plain(number: float) -> str:
    """Return a number of CPUs or GB without exponent, to a thousandth: 34.36, 1000000."""
    return f"{number:.3f}".rstrip("0").rstrip(".")


def either(words: Iterable[object]) -> str:
    """Join words to "1, 2 or 4"."""
    texts = [str(word) for word in words]
    return " or ".join([", ".join(texts[:-1]), texts[-1]]) if len(texts) > 1 else "".join(texts)


@dataclass(frozen=True)
class QuotaUse:
    """How much of a quota a step needs, and the documented default of a project in its region.

    `what` is the quota in words ("NVIDIA_L4", "N1 and E2 CPUs"), `metric` its name where that is known.
    """

    what: str
    region: str
    metric: str | None
    needed: int
    limit: int

    @property
    def words(self) -> str:
        """How much of what: "4 × NVIDIA_L4", "32 N1 and E2 CPUs"."""
        return f"{self.needed} {self.what}" if self.what.endswith("CPUs") else f"{self.needed} × {self.what}"


def quota_uses(machines: Machines, choice: Choice, region: str) -> Iterator[QuotaUse]:
    """Yield the quotas that the machine of a step counts against, those whose default in `region` is documented."""
    accelerator = machines.accelerators.get(choice.accelerator or "")
    if accelerator and region in accelerator.limits:
        yield QuotaUse(accelerator.name, region, accelerator.metric, choice.count, accelerator.limits[region])
    machine = choice.machine
    for quota in machines.cpu_quotas:
        if machine and machine.vcpus and machine.family in quota.families and region in quota.limits:
            what = f"{' and '.join(family.upper() for family in quota.families)} CPUs"
            yield QuotaUse(what, region, quota.metric, machine.vcpus, quota.limits[region])
