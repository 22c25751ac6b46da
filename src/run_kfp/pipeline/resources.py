"""The limits of a step: the one reader of CPU, memory and accelerator in a pipeline spec.

kfp writes each limit twice, in a newer field (`resourceCpuLimit`, text) and in an older one (`cpuLimit`, a number);
other tools write one of the two. Vertex AI reads the older field (kubeflow/pipelines#11374), so it wins where the two
disagree. What asks for a machine, a quota, an Engine or a line on a screen takes its numbers from here.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from run_kfp.limits import count_text, cpu_text, cpus, memory_bytes, memory_text
from run_kfp.pipeline.known import fill

# What stands for no accelerator in the field of its type.
NO_ACCELERATOR = ("", "ACCELERATOR_TYPE_UNSPECIFIED")

# Below this a limit counts bytes by mistake: 1 MB, in units of 10^9 bytes.
_TINY = 0.001


class Limit(StrEnum):
    """A limit, by its key in a registry."""

    CPU = "cpu"
    MEMORY = "memory"
    ACCELERATOR = "accelerator"
    TYPE = "accelerator.type"
    COUNT = "accelerator.count"


# For each limit the newer and the older field.
FIELDS: Mapping[Limit, tuple[str, str]] = {
    Limit.CPU: ("resourceCpuLimit", "cpuLimit"),
    Limit.MEMORY: ("resourceMemoryLimit", "memoryLimit"),
    Limit.TYPE: ("resourceType", "type"),
    Limit.COUNT: ("resourceCount", "count"),
}


class Flaw(StrEnum):
    """What can be wrong with a limit; the first three leave it without a value."""

    FORM = "not a limit"
    TINY = "a few bytes"
    PLACEHOLDER = "filled in when the run is made"
    NUMBER = "a number in a field of text"
    CONFLICT = "two values"
    NO_COUNT = "a type without a count"
    NO_TYPE = "a count without a type"
    NEWER_ALONE = "in the newer field only"


_UNREADABLE = frozenset({Flaw.FORM, Flaw.TINY, Flaw.PLACEHOLDER})


@dataclass(frozen=True)
class Mistake:
    """Something wrong with a limit: in `field`, or in the limit as such where that is empty."""

    flaw: Flaw
    limit: Limit
    message: str
    hint: str = ""
    field: str = ""


@dataclass(frozen=True)
class Limits:
    """What a step asks for, as far as it can be read.

    Attributes:
        cpu: a number of CPUs, None for none.
        memory: in units of 10^9 bytes, None for none.
        accelerator: the type, None for none; it may have no count.
        count: how many accelerators; None where the field is not set, which means none.
        words: all of it for a person, empty for nothing.
        mistakes: what is wrong with it.
    """

    cpu: float | None
    memory: float | None
    accelerator: str | None
    count: int | None
    words: str
    mistakes: tuple[Mistake, ...]

    @property
    def readable(self) -> bool:
        """Whether every limit that is set has a value."""
        return not any(mistake.flaw in _UNREADABLE for mistake in self.mistakes)

    @property
    def memory_bytes(self) -> int | None:
        """The memory limit in bytes."""
        return None if self.memory is None else round(self.memory * 10**9)

    @property
    def accelerators(self) -> tuple[str, int] | None:
        """Type and count where the step gets accelerators, else None."""
        return (self.accelerator, self.count) if self.accelerator and self.count else None


def read_limits(resources: Mapping[str, Any]) -> Limits:
    """Read the `resources` of a container in a pipeline spec, whatever they hold."""
    mistakes: list[Mistake] = []
    accelerator = resources.get("accelerator") or {}
    if not isinstance(accelerator, Mapping):
        words = "the accelerator is not a table of a type and a count"
        mistakes.append(Mistake(Flaw.FORM, Limit.ACCELERATOR, words))
        accelerator = {}
    cpu, cpu_words = _read(Limit.CPU, resources, (_newer_cpu, _older_number), mistakes)
    memory, memory_words = _read(Limit.MEMORY, resources, (_newer_memory, _older_number), mistakes)
    if memory is not None and memory < _TINY:
        digits = str(resources.get("resourceMemoryLimit", ""))
        hint = f'write "{digits}G"' if digits.isdecimal() else "add a unit, such as 32G"
        mistakes.append(Mistake(Flaw.TINY, Limit.MEMORY, f"the memory limit is {memory * 10**9:.0f} bytes", hint))
    kind, _ = _read(Limit.TYPE, accelerator, (_name, _name), mistakes)
    count, _ = _read(Limit.COUNT, accelerator, (accelerator_count, accelerator_count), mistakes)
    limits = Limits(
        cpu,
        memory,
        kind,
        count,
        resource_words(cpu_words, memory_words, (kind, str(count)) if kind and count else None),
        tuple(mistakes),
    )
    if not limits.readable:
        return limits
    found = (*mistakes, *_incomplete(kind, count), *_newer_alone(resources, accelerator))
    return Limits(cpu, memory, kind, count, limits.words, found)


def resolved(resources: Mapping[str, Any], inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the `resources` of a container with the known values in place of the inputs that they refer to.

    `set_cpu_limit(parameter)` and its like leave a placeholder in the newer field alone (kfp 2.10, kubeflow/pipelines
    #11097); a value stands in both fields then, as kfp writes a literal.

    Args:
        resources: as they stand in the spec.
        inputs: what is known of the inputs of the task.
    """
    accelerator = resources.get("accelerator")
    found = _resolved(resources, inputs, {Limit.CPU: _newer_cpu, Limit.MEMORY: _newer_memory})
    if isinstance(accelerator, Mapping):
        found["accelerator"] = _resolved(accelerator, inputs, {Limit.TYPE: _name, Limit.COUNT: accelerator_count})
    return found


def _resolved(
    table: Mapping[str, Any], inputs: Mapping[str, Any], readers: Mapping[Limit, Callable[[Any], Any]]
) -> dict[str, Any]:
    found = dict(table)
    for limit, read in readers.items():
        newer, older = FIELDS[limit]
        for field in (newer, newer.replace("Limit", "Request")):
            if isinstance(raw := table.get(field), str) and holds_placeholder(raw):
                with contextlib.suppress(KeyError):
                    found[field] = fill(raw, inputs)
        if found.get(newer) != table.get(newer) and older not in table:
            with contextlib.suppress(ValueError):
                found[older] = read(found[newer])
    return found


def resource_words(cpu: str | None, memory: str | None, accelerator: tuple[str, str] | None) -> str:
    """Say in words what a step asks for; `accelerator` is its type and count."""
    words = [f"{cpu} CPU" if cpu else "", memory or "", f"{accelerator[1]} × {accelerator[0]}" if accelerator else ""]
    return ", ".join(word for word in words if word)


def request_size(resources: Mapping[str, Any], limit: Limit) -> tuple[str, float] | None:
    """Return the field of the request beside a CPU or memory limit, and its size, 0 where that cannot be read.

    None where there is no request.
    """
    newer, older = (field.replace("Limit", "Request") for field in FIELDS[limit])
    field = next((name for name in (newer, older) if resources.get(name)), None)
    if field is None:
        return None
    for name, read in ((older, _older_number), (newer, _newer_cpu if limit is Limit.CPU else _newer_memory)):
        try:
            if (raw := resources.get(name)) and (value := read(raw)):
                return field, value
        except ValueError:
            continue
    return field, 0


def holds_placeholder(value: object) -> bool:
    """Say whether a value of the spec would be filled in when the run is made."""
    return "{{$" in str(value) or "{{channel:" in str(value)


def _read(
    limit: Limit,
    table: Mapping[str, Any],
    readers: tuple[Callable[[Any], Any], Callable[[Any], Any]],
    mistakes: list[Mistake],
) -> tuple[Any, str]:
    """Read a limit from its two fields: its value, None for none, and the value in words."""
    values: list[Any] = []
    late = ""
    for field, read in zip(FIELDS[limit], readers, strict=True):
        raw, value = table.get(field), None
        if holds_placeholder(raw):
            late = late or str(raw)
            words = f"{field} is {raw}, which is known only when the run is created"
            mistakes.append(Mistake(Flaw.PLACEHOLDER, limit, words, "to have it checked, write a literal", field))
        elif raw is not None and raw != "":
            try:
                value = read(raw)
            except ValueError as error:
                mistakes.append(Mistake(Flaw.FORM, limit, str(error), "", field))
            else:
                if isinstance(raw, int | float) and field in ("resourceCpuLimit", "resourceMemoryLimit"):
                    words = f"{field} is the number {raw}; the field is a string"
                    mistakes.append(Mistake(Flaw.NUMBER, limit, words, f'write "{raw}"', field))
        values.append(value)
    newer, older = values
    value = newer if older is None else older
    agree = newer is not None and (older is None or _same(newer, older))
    if newer is not None and not agree:
        words = f"{FIELDS[limit][1]} is {older} and {FIELDS[limit][0]} is {newer}"
        mistakes.append(Mistake(Flaw.CONFLICT, limit, words, "write the same limit in both, or compile again"))
    if value is None:
        return None, late
    # As it is written in the field of text, where the two agree: 512Mi says more than 0.536871G.
    raw = table.get(FIELDS[limit][0])
    if agree and isinstance(raw, str):
        return value, raw
    return value, f"{value:g}{'G' if limit is Limit.MEMORY else ''}" if isinstance(value, int | float) else str(value)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=0.01)
    return bool(one == other)


def _newer_cpu(raw: Any) -> float | None:
    """Read `resourceCpuLimit`. Raises ValueError."""
    return cpus(cpu_text(raw))


def _newer_memory(raw: Any) -> float | None:
    """Read `resourceMemoryLimit` in units of 10^9 bytes. Raises ValueError."""
    if isinstance(raw, str) and len(raw) > 30:
        raise ValueError(f"{raw[:30]!r}… is not a memory limit: it is too long")
    if isinstance(raw, str) and raw.isascii() and raw.isdigit() and raw.strip("0"):
        return int(raw) / 10**9
    return memory_bytes(memory_text(raw)) / 10**9


def _older_number(raw: Any) -> float | None:
    """Read `cpuLimit` or `memoryLimit`, where 0 means that there is none. Raises ValueError."""
    try:
        value = math.nan if isinstance(raw, bool) else float(raw)
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not 0 <= value < math.inf:
        raise ValueError(f"{raw!r} is not a valid limit: this field is a number above 0, such as 16")
    return value or None


def _name(raw: Any) -> str | None:
    """Read the type of an accelerator. Raises ValueError."""
    if not isinstance(raw, str):
        raise ValueError(f"{raw!r} is not an accelerator: write a type such as NVIDIA_TESLA_T4")
    return raw if raw not in NO_ACCELERATOR else None


def accelerator_count(raw: Any) -> int:
    """Read a count of accelerators: text, or a number that may stand there as 4.0.

    Raises:
        ValueError: it is none.
    """
    return int(count_text(int(raw) if isinstance(raw, float) and raw.is_integer() else raw))


def _incomplete(kind: str | None, count: int | None) -> Iterator[Mistake]:
    if kind is not None and count is None:
        yield Mistake(Flaw.NO_COUNT, Limit.COUNT, f"{kind} has no count, which means none", "write how many: 1")
    elif kind is None and count:
        yield Mistake(
            Flaw.NO_TYPE,
            Limit.TYPE,
            f"{count} {'accelerator is' if count == 1 else 'accelerators are'} requested without a type",
            "add the type, such as NVIDIA_TESLA_T4, or remove the count",
        )


def _newer_alone(resources: Mapping[str, Any], accelerator: Mapping[str, Any]) -> Iterator[Mistake]:
    """Say which limits stand in their newer fields alone."""
    # kfp writes a count of 0, which is none, in the newer field alone.
    alone = [
        limit
        for limit, (newer, older) in FIELDS.items()
        for table in [resources if limit in (Limit.CPU, Limit.MEMORY) else accelerator]
        if table.get(newer) not in (None, "", "0", 0) and older not in table
    ]
    if alone:
        newer, older = (", ".join(FIELDS[limit][number] for limit in alone) for number in (0, 1))
        words = f"{newer} without {older}; Vertex AI reads the latter"
        hint = "compile the file with kfp 2.17, or add the older fields"
        yield Mistake(Flaw.NEWER_ALONE, alone[0], words, hint)
