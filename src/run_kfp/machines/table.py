"""The machine table: what Google documents, corrected by a file of the user."""

from __future__ import annotations

import functools
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, ValidationError

from run_kfp.errors import InputError, did_you_mean
from run_kfp.files import read_text
from run_kfp.findings import Finding
from run_kfp.registry import Model

# Where a machine without accelerator is looked for: the first of these families that has one. Steps were seen on the
# closest e2 machine (tensorflow/tfx#3194); the documented maximum, 96 CPUs and 624 GB, is n1-highmem-96.
FAMILIES = ("e2", "n1", "n2")

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
    hint = "run `run-kfp machines --json` for the names of the table"
    text = read_text(override, f"the machine table {override}", hint)
    if text is None:
        raise InputError(f"machine table not found: {override}", hint=hint, code="RK-FILE", place=str(override))
    try:
        changes = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{override}: invalid TOML: {error}", code="RK-FILE", place=str(override)) from None
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


def _fault(path: Path, detail: Any) -> Finding:
    place = ".".join(str(part) for part in detail["loc"])
    if detail["type"] != "extra_forbidden":
        return Finding(str(detail["msg"]), code="RK-FILE", place=f"{path}: {place}")
    models: Mapping[str, type[Model]] = {"machines": _Type, "accelerators": _Accelerator, "cpu_quotas": _CpuQuota}
    known = list(models.get(str(detail["loc"][0]), _Table).model_fields)
    return Finding(
        f"unknown key; valid keys: {', '.join(known)}",
        did_you_mean(str(detail["loc"][-1]), known),
        code="RK-FILE",
        place=f"{path}: {place}",
    )


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


def machine_rows(
    machines: Machines, *, region: str | None = None, accelerator: str | None = None
) -> list[dict[str, Any]]:
    """Return the machine types as plain values, in the order of family and size.

    Args:
        machines: the table.
        region: leave out what custom training does not offer there.
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
        bound = one.accelerators and one.family not in FAMILIES
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
