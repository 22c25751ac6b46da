"""One reader of a step's limits: check, quota, local run, screen and machine table speak of the same machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from run_kfp import limits
from run_kfp.errors import InputError
from run_kfp.graph import executable_steps
from run_kfp.limits import count_text, cpu_text, memory_text, nearest_memory
from run_kfp.machines import choose, load_machines
from run_kfp.pipeline.resources import Flaw, read_limits
from run_kfp.preflight.cloud.quota import CPU_METRIC, needs
from run_kfp.preflight.offline.resources import chosen_machines
from specs import context_of_spec, registry, step_spec

MACHINES = load_machines()
T4, L4 = "NVIDIA_TESLA_T4", "NVIDIA_L4"
PLACEHOLDER = "{{$.inputs.parameters['pipelinechannel--n']}}"


@dataclass(frozen=True)
class Field:
    """A limit as it may stand in a file: what is written in both fields, and what it amounts to."""

    newer: Any
    older: Any
    value: Any

    @property
    def late(self) -> bool:
        return PLACEHOLDER in (self.newer, self.older)


def fields(newer: st.SearchStrategy[tuple[Any, Any]], older: st.SearchStrategy[tuple[Any, Any]]) -> Any:
    """Pairs of what is written and what it means; the older one counts, unless it says nothing."""
    nothing = st.just((None, None))
    late = st.just((PLACEHOLDER, None))
    return st.tuples(st.one_of(nothing, newer, newer, late), st.one_of(nothing, older, older)).map(
        lambda pair: Field(pair[0][0], pair[1][0], pair[1][1] if pair[1][1] is not None else pair[0][1])
    )


cpus = fields(
    st.sampled_from([("4", 4.0), ("500m", 0.5), ("16", 16.0), ("0.25", 0.25), (8, 8.0)]),
    st.sampled_from([(4, 4.0), (16.0, 16.0), (0.5, 0.5), (0, None), (96, 96.0), ("2", 2.0)]),
)
memories = fields(
    st.sampled_from([("16G", 16.0), ("512Mi", 0.536870912), ("64Gi", 68.719476736), ("8000000000", 8.0)]),
    st.sampled_from([(16, 16.0), (128.0, 128.0), (0.0, None), ("4", 4.0)]),
)
kinds = fields(
    st.sampled_from([(T4, T4), (L4, L4), ("", None)]),
    st.sampled_from([(T4, T4), (L4, L4), ("ACCELERATOR_TYPE_UNSPECIFIED", None)]),
)
counts = fields(
    st.sampled_from([("1", 1), ("2", 2), ("0", 0), (4, 4)]), st.sampled_from([("1", 1), (2, 2), (4.0, 4), ("0", 0)])
)


@given(cpu=cpus, memory=memories, kind=kinds, count=counts)
def test_all_speak_of_the_same_machine(cpu: Field, memory: Field, kind: Field, count: Field) -> None:
    written = {"resourceCpuLimit": cpu.newer, "cpuLimit": cpu.older}
    written |= {"resourceMemoryLimit": memory.newer, "memoryLimit": memory.older}
    accelerator = {"resourceType": kind.newer, "type": kind.older, "resourceCount": count.newer, "count": count.older}
    written |= {"accelerator": {name: value for name, value in accelerator.items() if value is not None}}
    resources = {name: value for name, value in written.items() if value not in (None, {})}
    context = context_of_spec(step_spec({"resources": resources}), registry_text=registry(""), region="us-east1")
    machine = chosen_machines(context, MACHINES).get("step")

    if any(field.late for field in (cpu, memory, kind, count)):
        assert machine is None
        with pytest.raises(InputError) as refused:
            executable_steps(context.pipeline)
        assert all("depends on a parameter" in fault.message for fault in refused.value.all_faults)
        return

    gpus = (kind.value, count.value) if kind.value and count.value else None
    expected = choose(
        MACHINES, cpu=cpu.value, memory=memory.value, accelerator=kind.value, count=count.value or 0, region="us-east1"
    )
    assert machine == expected

    asked, _ = needs(context, {T4: "t4", L4: "l4"})
    found = {metric: need.amount for metric, need in asked.items()}
    metrics = {{T4: "t4", L4: "l4"}[gpus[0]]: gpus[1]} if gpus else {}
    if cpu.value and (gpus is None or gpus[0] == T4):  # the CPUs of an L4 are of another family
        metrics[CPU_METRIC] = cpu.value
    assert found == metrics

    (step,) = executable_steps(context.pipeline)
    assert step.cpu == cpu.value
    assert step.memory == (None if memory.value is None else round(memory.value * 10**9))
    assert step.accelerator == gpus

    assert step.resources == context.pipeline.steps[0].resources
    parts = [part for part in step.resources.split(", ") if part]
    assert [in_cpus(part) for part in parts if part.endswith(" CPU")] == [cpu.value] * (cpu.value is not None)
    assert [part for part in parts if "×" in part] == ([f"{gpus[1]} × {gpus[0]}"] if gpus else [])


def in_cpus(words: str) -> float:
    number = words.removesuffix(" CPU")
    return float(number.removesuffix("m")) / (1000 if number.endswith("m") else 1)


@pytest.mark.parametrize(
    ("resources", "flaw"),
    [
        ({"resourceCpuLimit": "4", "cpuLimit": 16}, Flaw.CONFLICT),
        ({"accelerator": {"type": T4}}, Flaw.NO_COUNT),
        ({"accelerator": {"count": "2"}}, Flaw.NO_TYPE),
        ({"resourceCpuLimit": "4"}, Flaw.NEWER_ALONE),
        ({"resourceCpuLimit": 4, "cpuLimit": 4}, Flaw.NUMBER),
        ({"resourceMemoryLimit": "32", "memoryLimit": 3.2e-08}, Flaw.TINY),
        ({"resourceCpuLimit": "four"}, Flaw.FORM),
        ({"accelerator": ["x"]}, Flaw.FORM),
    ],
)
def test_what_is_wrong_is_said(resources: dict[str, Any], flaw: Flaw) -> None:
    assert [mistake.flaw for mistake in read_limits(resources).mistakes][-1] is flaw


def test_the_words_are_those_of_the_file_where_both_fields_agree() -> None:
    limits = {"resourceCpuLimit": "500m", "cpuLimit": 0.5, "resourceMemoryLimit": "512Mi", "memoryLimit": 0.536870912}
    assert read_limits(limits).words == "500m CPU, 512Mi"
    assert read_limits({**limits, "cpuLimit": 16.0}).words == "16 CPU, 512Mi"


# ── limits as they are written ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("read", "value", "text"),
    [
        (cpu_text, "16", "16"),
        (cpu_text, "500m", "500m"),
        (cpu_text, ".5", ".5"),
        (cpu_text, 16, "16"),
        (cpu_text, 0.5, "0.5"),
        (memory_text, "128G", "128G"),
        (memory_text, "512Mi", "512Mi"),
        (count_text, "0", "0"),
        (count_text, "007", "7"),
        (count_text, 9999, "9999"),
    ],
)
def test_a_limit_is_taken(read: Callable[[Any], str], value: Any, text: str) -> None:
    assert read(value) == text


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("16 vCPU", "16"),
        ("0.5 cores", "0.5"),
        ("0,25 cpu", "0.25"),
        (" 500M ", "500m"),
        ("4 cores of it", ""),
        ("0 cpus", ""),
        ("0.0", ""),
        (0, ""),
        (True, ""),
        (None, ""),
        ([4], ""),
    ],
)
def test_cpus_of_another_form_are_refused(value: Any, meant: str) -> None:
    with pytest.raises(ValueError, match="is not a valid CPU limit") as error:
        cpu_text(value)

    suggested = str(error.value).partition(': write CPUs (16, 0.5) or thousandths ("500m")')[2]
    assert suggested == (f': "{meant}"?' if meant else "")


@pytest.mark.parametrize("value", ["16", 16, 1.5, True, None, [], "1.5G", "0G", "G", "16g", "16 G", "16GB", "016G"])
def test_memory_of_another_form_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="is not a valid memory limit: write an integer and a unit"):
        memory_text(value)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        # Without a unit: gigabytes, and from a million on bytes.
        ("32", "32G"),
        ("999999", "999999G"),
        ("1000000", "1M"),
        ("1000001", "2M"),
        ("1024000", "1000Ki"),
        ("1048576", "1Mi"),
        ("1073741824", "1Gi"),
        ("2147483648000", "2000Gi"),
        ("3000000000", "3G"),
        # A fraction is one of the next smaller unit; there is none below K.
        ("1.5", "1500M"),
        ("1,5G", "1500M"),
        ("0.25Gi", "256Mi"),
        ("1.5E", "1500P"),
        ("1.5P", "1500T"),
        ("1.5t", "1500G"),
        ("1.0005M", "1000K"),
        ("0.0001M", ""),
        ("1.5K", ""),
        ("1.5Ki", ""),
        ("16gib", "16Gi"),
        ("007kb", "7K"),
        ("0", ""),
        ("0.0G", ""),
        ("many", ""),
        ("1" * 19, ""),
    ],
)
def test_the_memory_that_is_meant(text: str, meant: str) -> None:
    assert nearest_memory(text) == meant


@pytest.mark.parametrize("value", [-1, 10_000, "10000", True, 1.0, "1.0", "", "one", None])
def test_a_count_of_another_form_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="is not a valid number of accelerators: write an integer, 0 for none"):
        count_text(value)


def test_what_a_limit_amounts_to() -> None:
    assert [limits.cpus(text) for text in ("16", "0.5", "500m", "1500m")] == [16.0, 0.5, 0.5, 1.5]
    units = ("7", "7K", "7Ki", "7M", "7Mi", "7G", "7Gi", "7T", "7Ti", "7P", "7Pi", "7E", "7Ei")
    assert [limits.memory_bytes(text) for text in units] == [
        *(7, 7 * 10**3, 7 * 2**10, 7 * 10**6, 7 * 2**20, 7 * 10**9, 7 * 2**30),
        *(7 * 10**12, 7 * 2**40, 7 * 10**15, 7 * 2**50, 7 * 10**18, 7 * 2**60),
    ]


def test_what_linux_and_vertex_ai_take() -> None:
    assert limits.LONGEST_ARGUMENT == 32 * 4096  # MAX_ARG_STRLEN is 32 pages
    assert limits.MOST_OUTPUT == 128 * 1024


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (1234, "1.23 kB"),
        (1_500_000, "1.5 MB"),
        (2 * 10**9, "2 GB"),
        (3 * 10**12, "3 TB"),
        (5 * 10**15, "5e+03 TB"),
    ],
)
def test_a_number_of_bytes_for_a_person(count: int, words: str) -> None:
    assert limits.bytes_words(count) == words
