"""One reader of a step's limits: check, quota, local run, screen and machine table speak of the same machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from run_kfp.errors import InputError
from run_kfp.graph import executable_steps
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
