"""The machines of Vertex AI as data, and which of them a step gets for its limits.

A step of a pipeline runs as a CustomJob: its CPU, memory and accelerator limits are no cap, they are what Vertex AI
chooses a machine type by ("the closest match from the supported machine types"; how, is not published). The table
(`machines.json`) holds what Google documents, with its date and pages; a file of the user corrects it.

Memory is in GB as Google's pages write it. Whether that is 10^9 or 2^30 bytes is not documented: a choice takes the
first, and says so where the second would lead to another machine.
"""

from __future__ import annotations

import functools
import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, ValidationError

from run_kfp.errors import Fault, InputError, did_you_mean
from run_kfp.files import read_text
from run_kfp.registry import Model

# The most that a step may ask for: https://docs.cloud.google.com/vertex-ai/docs/pipelines/machine-types
MAX_CPUS = 96
MAX_MEMORY = 624.0

# What a step without any limit gets (same page).
DEFAULT_MACHINE = "e2-standard-4"

# 2^30 bytes in units of 10^9.
GIB = 2**30 / 10**9

# Where a machine without accelerator is looked for: the first of these families that has one. Steps were seen on the
# closest e2 machine (tensorflow/tfx#3194); the documented maximum, 96 CPUs and 624 GB, is n1-highmem-96.
_FAMILIES = ("e2", "n1", "n2")

_CONTINENTS = (
    frozenset({"us", "northamerica", "southamerica"}),
    frozenset({"europe", "me", "africa"}),
    frozenset({"asia", "australia"}),
)


@dataclass(frozen=True)
class MachineType:
    """A machine type that training offers.

    Attributes:
        name: as Compute Engine calls it.
        vcpus: None where the table does not know.
        memory: in GB, likewise.
        accelerators: the counts of each accelerator that it takes.
        regions: where it is offered, None for everywhere (or wherever its accelerator is).
    """

    name: str
    vcpus: int | None = None
    memory: float | None = None
    accelerators: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    regions: frozenset[str] | None = None

    @property
    def family(self) -> str:
        """What its name begins with ("n1")."""
        return self.name.split("-")[0]

    def fits(self, cpu: float, memory: float) -> bool:
        """Whether it is known to have `cpu` CPUs and `memory` GB."""
        return self.vcpus is not None and self.memory is not None and self.vcpus >= cpu and self.memory >= memory

    def __str__(self) -> str:
        """Its name and shape."""
        return f"{self.name} ({self.vcpus} vCPU, {self.memory:g} GB)" if self.vcpus and self.memory else self.name


@dataclass(frozen=True)
class Accelerator:
    """An accelerator as Vertex AI names it.

    Attributes:
        name: of the API's enum AcceleratorType.
        regions: where training offers it; empty where the table does not know.
        limits: the documented default quota of a project, by region.
        metric: of that quota, without `aiplatform.googleapis.com/`; None where it is not known.
        end_of_support: the first day without support.
        retired: whether it can no longer be had.
    """

    name: str
    regions: frozenset[str] = frozenset()
    limits: Mapping[str, int] = field(default_factory=dict)
    metric: str | None = None
    end_of_support: date | None = None
    retired: bool = False

    @property
    def is_tpu(self) -> bool:
        """Whether it is a TPU."""
        return self.name.startswith("TPU_")

    def is_supported(self, today: date) -> bool:
        """Whether Google still supports it."""
        return not self.retired and (self.end_of_support is None or today < self.end_of_support)

    def offered(self, region: str | None) -> bool | None:
        """Whether training offers it in a region; None where the table does not know, or Google's pages disagree."""
        if region in self.regions:
            return True
        return None if not self.regions or region in self.limits else False


@dataclass(frozen=True)
class CpuQuota:
    """The quota of the CPUs of some machine families: the documented default of a project, by region."""

    families: tuple[str, ...]
    limits: Mapping[str, int]
    metric: str | None = None


@dataclass(frozen=True)
class Machines:
    """The machine table.

    Attributes:
        source: its date, and the file of the user that corrects it.
        regions: the regions that have Pipelines.
        types: every machine type for training, by name.
        accelerators: by name.
        cpu_quotas: each for some families.
    """

    source: str
    regions: frozenset[str]
    types: Mapping[str, MachineType]
    accelerators: Mapping[str, Accelerator]
    cpu_quotas: tuple[CpuQuota, ...]

    def counts(self, accelerator: str) -> tuple[int, ...]:
        """Return how many of an accelerator a machine can have, ascending; empty where the table does not know."""
        return tuple(sorted({count for one in self.types.values() for count in one.accelerators.get(accelerator, ())}))

    def families(self, accelerator: str) -> tuple[str, ...]:
        """Return the families that take an accelerator."""
        return tuple(sorted({one.family for one in self.types.values() if accelerator in one.accelerators}))

    def near(self, region: str, among: Iterable[str]) -> list[str]:
        """Return regions of `among`, those of the same continent first."""
        group = next((words for words in _CONTINENTS if region.split("-")[0] in words), frozenset[str]())

        def distance(other: str) -> tuple[bool, bool, str]:
            first = other.split("-")[0]
            return first != region.split("-")[0], first not in group, other

        return sorted(among, key=distance)


# ── the table ────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Section(Model):
    """A table of a user's file. Its validator is built when there is such a file: that takes longer than the rest."""

    model_config = ConfigDict(defer_build=True)


class _Type(_Section):
    vcpus: Annotated[int, Field(gt=0)] | None = None
    memory: Annotated[float, Field(gt=0)] | None = None
    accelerators: dict[str, list[Annotated[int, Field(gt=0)]]] = Field(default_factory=dict)
    regions: list[str] | None = None


class _Accelerator(_Section):
    regions: list[str] = Field(default_factory=list)
    limits: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    metric: str | None = None
    end_of_support: Annotated[date | None, Field(strict=False)] = None
    retired: bool = False


class _CpuQuota(_Section):
    families: list[str] = Field(default_factory=list)
    limits: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    metric: str | None = None


class _Table(_Section):
    """The form of `machines.json` and of the file of a user."""

    date: Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}(-[0-9]{2})?$")] | None = None
    sources: list[str] = Field(default_factory=list)
    regions: list[str] = Field(default_factory=list)
    machines: dict[str, _Type] = Field(default_factory=dict)
    accelerators: dict[str, _Accelerator] = Field(default_factory=dict)
    cpu_quotas: dict[str, _CpuQuota] = Field(default_factory=dict)


def load_machines(override: Path | None = None) -> Machines:
    """Return the packaged table, corrected by a file of the user.

    The file is TOML in the form of `machines.json`; what it does not say stays:

        date = "2026-11-20"
        regions = ["europe-north2"]                       # more regions with Pipelines

        [machines.g2-standard-4]                          # a new machine type, or other facts of one
        vcpus = 4
        memory = 16                                       # GB
        accelerators = { NVIDIA_L4 = [1] }
        regions = ["us-central1"]                         # where it is offered; without it, everywhere

        [accelerators.NVIDIA_L4]
        regions = ["us-central1", "europe-west1"]         # replaces the list, and drops quotas elsewhere
        limits = { us-central1 = 8 }                      # quotas of your project; other regions keep theirs
        metric = "custom_model_training_nvidia_l4_gpus"
        end_of_support = "2030-01-31"
        retired = false

        [cpu_quotas.n1-e2]                                # n1-e2, n2, n4, c2, m1
        limits = { us-west2 = 200 }

    Args:
        override: the file, None for the packaged table alone.

    Raises:
        InputError: the file cannot be read, or with every fault of it.
    """
    raw = _packaged()
    if override is None:
        return _machines(raw, f"the machine table of {raw['date']}")
    hint = "see `run-kfp machines --json` for the names of the table"
    text = read_text(override, f"the machine table {override}", hint)
    if text is None:
        raise InputError(f"there is no machine table {override}", hint=hint, code="RK-FILE", place=str(override))
    try:
        changes = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{override}: is not TOML: {error}", code="RK-FILE", place=str(override)) from None
    # A date without quotes is TOML's own, and means the same.
    if isinstance(changes.get("date"), date):
        changes["date"] = str(changes["date"])
    try:
        changes = _Table.model_validate(changes).model_dump(exclude_unset=True)
    except ValidationError as error:
        faults = [_fault(override, detail) for detail in error.errors(include_input=False, include_url=False)]
        raise InputError.of(f"the machine table {override}", faults) from None
    return _machines(_merged(raw, changes), f"the machine table of {changes.get('date', raw['date'])} with {override}")


@functools.cache
def _packaged() -> Mapping[str, Any]:
    text = (resources.files("run_kfp") / "machines.json").read_text(encoding="utf-8")
    table: Mapping[str, Any] = json.loads(text)
    return table


def _merged(raw: Mapping[str, Any], changes: Mapping[str, Any]) -> Mapping[str, Any]:
    table = {**raw, "regions": [*raw["regions"], *changes.get("regions", ())]}
    for section in ("machines", "accelerators", "cpu_quotas"):
        entries = dict(raw[section])
        for name, change in changes.get(section, {}).items():
            before = entries.get(name, {})
            entries[name] = {**before, **change}
            if "limits" in entries[name]:
                entries[name]["limits"] = {**before.get("limits", {}), **change.get("limits", {})}
            if section == "accelerators" and "regions" in change:
                # The user's word is the last: a default quota in another region no longer hints at the accelerator.
                limits = entries[name].get("limits", {})
                entries[name]["limits"] = {one: limits[one] for one in limits if one in change["regions"]}
        table[section] = entries
    return table


def _machines(raw: Mapping[str, Any], source: str) -> Machines:
    types = {
        name: MachineType(
            name,
            entry.get("vcpus"),
            entry.get("memory"),
            {kind: tuple(sorted(counts)) for kind, counts in entry.get("accelerators", {}).items()},
            frozenset(entry["regions"]) if "regions" in entry else None,
        )
        for name, entry in raw["machines"].items()
    }
    accelerators = {
        name: Accelerator(
            name,
            frozenset(entry.get("regions", ())),
            entry.get("limits", {}),
            entry.get("metric"),
            date.fromisoformat(str(entry["end_of_support"])) if entry.get("end_of_support") else None,
            entry.get("retired", False),
        )
        for name, entry in raw["accelerators"].items()
    }
    for name in {kind for one in types.values() for kind in one.accelerators} - accelerators.keys():
        accelerators[name] = Accelerator(name)
    quotas = tuple(
        CpuQuota(tuple(entry.get("families", ())), entry.get("limits", {}), entry.get("metric"))
        for entry in raw["cpu_quotas"].values()
    )
    return Machines(source, frozenset(raw["regions"]), types, accelerators, quotas)


def _fault(path: Path, detail: Any) -> Fault:
    place = ".".join(str(part) for part in detail["loc"])
    if detail["type"] != "extra_forbidden":
        return Fault(f"{path}: {place}: {detail['msg']}", code="RK-FILE", place=f"{path}: {place}")
    models: Mapping[str, type[Model]] = {"machines": _Type, "accelerators": _Accelerator, "cpu_quotas": _CpuQuota}
    known = list(models.get(str(detail["loc"][0]), _Table).model_fields)
    return Fault(
        f"{path}: {place}: unknown key; known are {', '.join(known)}",
        did_you_mean(str(detail["loc"][-1]), known),
        code="RK-FILE",
        place=f"{path}: {place}",
    )


# ── the choice ───────────────────────────────────────────────────────────────────────────────────────────────────────


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
        return f"{self.other} is enough if Google's GB is 2^30 bytes, which its documentation leaves open"


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
        reason = "a step without limits gets it"
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
        return replace(demand, reason=f"a step may ask for at most {most}", failing=over, nearest=most, other=other)
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
            reason=f"training does not offer {accelerator} in {region}",
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
    return [[one for one in here if one.family == family] for family in _FAMILIES]


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


# ── what a step takes from quotas ────────────────────────────────────────────────────────────────────────────────────


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


# ── other names of accelerators ──────────────────────────────────────────────────────────────────────────────────────

# Words of a name that tell no two accelerators apart.
_BRANDS = frozenset({"NVIDIA", "TESLA", "GPU"})
# What Google's pages call the one whose name says nothing of its memory.
_SPELLED_OUT = {frozenset({"A100", "40GB"}): "NVIDIA_TESLA_A100"}


def accelerators_like(machines: Machines, word: str) -> list[str]:
    """Return the accelerators that a word may mean: T4, A100, nvidia-tesla-t4, NVIDIA_H100; empty where none.

    Compute Engine, Kubernetes and people have other names for them than the API of Vertex AI.
    """
    spelled = re.sub(r"[^A-Z0-9]+", "_", word.upper()).strip("_")
    if spelled in machines.accelerators:
        return [spelled]
    words = frozenset(spelled.split("_")) - _BRANDS
    if words in _SPELLED_OUT:
        return [_SPELLED_OUT[words]]
    names = {one.name: frozenset(one.name.split("_")) - _BRANDS for one in machines.accelerators.values()}
    like = [name for name, parts in names.items() if words and words <= parts]
    # H100_80GB is one of them, though H100_MEGA_80GB has these words too; A100 alone may be either of two.
    same = [name for name in like if names[name] == words]
    return same if len(same) == 1 and len(words) > 1 else like


def find_accelerator(machines: Machines, word: str) -> str | None:
    """Return the one accelerator that a word means, None where it is none or may be several (`accelerators_like`)."""
    like = accelerators_like(machines, word)
    return like[0] if len(like) == 1 else None


# ── the table to look at ─────────────────────────────────────────────────────────────────────────────────────────────


def machine_rows(
    machines: Machines, *, region: str | None = None, accelerator: str | None = None
) -> list[dict[str, Any]]:
    """Return the machine types as plain values, in the order of family and size.

    Args:
        machines: the table.
        region: leave out what training does not offer there.
        accelerator: only machines that take it, and only it of what they take.

    Returns:
        For each machine `machine`, `family`, `vcpus`, `memory_gb` (None where not known) and `accelerators`: the
        counts by name.
    """
    rows = []
    for one in sorted(
        machines.types.values(), key=lambda one: (one.family, one.name.rsplit("-", 1)[0], one.vcpus or 0)
    ):
        taken = {
            name: list(counts)
            for name, counts in one.accelerators.items()
            if accelerator in (None, name) and (not region or machines.accelerators[name].offered(region) is not False)
        }
        # Those of the accelerator families come with it only.
        bound = one.accelerators and one.family not in _FAMILIES
        if (region and one.regions is not None and region not in one.regions) or ((accelerator or bound) and not taken):
            continue
        rows.append(
            {
                "machine": one.name,
                "family": one.family,
                "vcpus": one.vcpus,
                "memory_gb": one.memory,
                "accelerators": taken,
            }
        )
    return rows


def accelerator_rows(
    machines: Machines, *, region: str | None = None, today: date | None = None
) -> list[dict[str, Any]]:
    """Return the accelerators as plain values, in the order of the table.

    Args:
        machines: the table.
        region: only those that training offers there, with the documented default quota.
        today: for the end of support; None for the day it is.

    Returns:
        For each `accelerator`, `counts`, `families`, `regions`, `default_quota` (of the region; None without one, or
        where none is documented), `quota_metric`, `end_of_support` (a date as text or None), `supported` (whether that
        day is still to come) and `retired`.
    """
    today = today or datetime.now(tz=UTC).date()
    return [
        {
            "accelerator": one.name,
            "counts": list(machines.counts(one.name)),
            "families": list(machines.families(one.name)),
            "regions": sorted(one.regions),
            "default_quota": one.limits.get(region) if region else None,
            "quota_metric": one.metric,
            "end_of_support": str(one.end_of_support) if one.end_of_support else None,
            "supported": one.is_supported(today),
            "retired": one.retired,
        }
        for one in machines.accelerators.values()
        if not region or region in one.regions
    ]
