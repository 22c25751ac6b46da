"""CPU, memory, accelerators, machines, regions and default quotas: what the check says of mistakes, and its silence."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kfp_pipelines
from conftest import Write
from run_kfp.errors import shown
from run_kfp.findings import Finding, Severity
from run_kfp.machines import load_machines
from run_kfp.preflight.context import CheckContext
from run_kfp.preflight.offline.resources import check_resources, chosen_machines
from specs import context_of_registry, context_of_spec, registry, spec_of_kfp, step_spec

MACHINES = load_machines()
TODAY = date(2026, 11, 23)
T4 = "NVIDIA_TESLA_T4"

Told = list[tuple[str, str]]


def found(context: CheckContext, today: date = TODAY) -> list[Finding]:
    return list(check_resources(context, MACHINES, today))


def told(context: CheckContext, today: date = TODAY) -> Told:
    """Return code and severity of every finding."""
    return sorted((one.code, str(one.severity)) for one in found(context, today))


def limits(resources: Any, **settings: Any) -> CheckContext:
    """A step of a file with `resources`, whatever they are."""
    context = context_of_spec(step_spec({}), registry_text=registry(""), **settings)
    return replace(context, steps=(replace(context.steps[0], resources=resources),))


def of_kfp(function: Callable[..., None], **settings: Any) -> CheckContext:
    """A file that kfp compiled."""
    function.__annotations__.pop("return", None)  # postponed to the text "None", which kfp takes for an artifact
    return context_of_spec(spec_of_kfp(function), registry_text=registry(""), **settings)


def both(cpu: float | None = None, memory: float | None = None, kind: str = "", count: Any = None) -> dict[str, Any]:
    """Return the resources of a file as kfp 2.17 writes them, memory in whole GB."""
    resources: dict[str, Any] = {}
    if cpu is not None:
        resources |= {"cpuLimit": float(cpu), "resourceCpuLimit": f"{cpu:g}"}
    if memory is not None:
        resources |= {"memoryLimit": float(memory), "resourceMemoryLimit": f"{memory:g}G"}
    if kind:
        resources["accelerator"] = {
            "type": kind,
            "resourceType": kind,
            "count": str(count),
            "resourceCount": str(count),
        }
    return resources


# ── what is right ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "resources",
    [
        {},
        both(cpu=4),
        both(cpu=0.5, memory=2),
        both(cpu=96, memory=624),
        both(memory=600),
        both(cpu=8, memory=30, kind=T4, count=1),
        both(kind="NVIDIA_TESLA_V100", count=1),
        both(kind="NVIDIA_TESLA_A100", count=8),
        {"cpuLimit": 16, "memoryLimit": 64},
        {"cpuLimit": "16", "memoryLimit": "63.5"},
        {"cpuLimit": 8.0, "memoryLimit": 52.0, "accelerator": {"type": T4, "count": "4"}},
        {"cpuLimit": 0.5, "resourceCpuLimit": "500m"},
        {"memoryLimit": 42.949672960, "resourceMemoryLimit": "40Gi"},
        {"memoryLimit": 42.95, "resourceMemoryLimit": "40Gi"},
        {"memoryLimit": 32.0, "resourceMemoryLimit": "32000000000"},
        {"accelerator": {"type": "NVIDIA_L4", "resourceType": "NVIDIA_L4", "resourceCount": "0"}},
        {"accelerator": {"type": "ACCELERATOR_TYPE_UNSPECIFIED"}},
        {"accelerator": {}},
        {"resourceCpuLimit": "", "cpuLimit": 0.0},
    ],
)
def test_right_limits_are_not_told_of(resources: dict[str, Any]) -> None:
    assert found(limits(resources, region="us-central1")) == []


@pytest.mark.parametrize("accelerator", [one.name for one in MACHINES.accelerators.values() if not one.retired])
def test_every_accelerator_in_every_count_and_region_of_the_table_has_no_error(accelerator: str) -> None:
    known = MACHINES.accelerators[accelerator]
    for count in MACHINES.counts(accelerator) or (8,):
        for region in sorted(known.regions):
            context = limits(both(kind=accelerator, count=count), region=region)
            expected = {"RK-QUOTA-DEFAULT"}
            expected |= {"RK-TPU"} if known.is_tpu else set()
            expected |= {"RK-GPU-RETIRED"} if known.end_of_support else set()
            assert all(one.severity is Severity.WARNING for one in found(context))
            assert {one.code for one in found(context)} <= expected


def test_the_packaged_registry() -> None:
    context = context_of_registry(None, ("1-4",), params={"tag": "v1"}, region="us-east1")
    assert told(context) == [
        ("RK-MEMORY-BOUNDARY", "note"),
        ("RK-MEMORY-BOUNDARY", "note"),
        ("RK-QUOTA-DEFAULT", "warning"),
    ]
    machines = {
        name: choice.machine.name for name, choice in chosen_machines(context, MACHINES).items() if choice.machine
    }
    assert machines == {
        "get-raw-data": "e2-standard-4",
        "preprocess-data": "n1-highmem-32",
        "versioning": "e2-standard-4",
        "train-model": "n1-highmem-32",
    }


def test_a_registry_takes_a_number_of_cpus_as_number() -> None:
    context = context_of_registry(registry("cpu = 16\nmemory = '32G'"), region="us-central1")
    assert found(context) == []
    assert chosen_machines(context, MACHINES)["step"].machine == MACHINES.types["e2-standard-16"]


# ── mistakes in one limit ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.failure("F42", "RK-MEMORY-FORMAT")
@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("32GB", '"32G"?'),
        ("32 GB", '"32G"?'),
        ("1.5G", '"1500M"?'),
        ("500m", '"500M"?'),
        ("lots", "K, M, G, T"),
        ("-4G", "K, M, G, T"),
        ("0G", "K, M, G, T"),
        (32, '"32G"?'),
        (True, "K, M, G, T"),
        (["4G"], "K, M, G, T"),
        ("9" * 400, "too long"),
        ("9" * 6000 + "G", "too long"),
    ],
)
def test_memory_of_a_wrong_form(text: Any, hint: str) -> None:
    (finding, *rest) = found(limits({"resourceMemoryLimit": text}))
    assert (finding.code, finding.severity) == ("RK-MEMORY-FORMAT", Severity.ERROR)
    assert finding.place == "pipeline.yaml: deploymentSpec.executors.exec-step.container.resources.resourceMemoryLimit"
    assert shown(text)[:20] in finding.message
    assert hint in finding.message
    assert rest == []


@pytest.mark.parametrize("value", ["much", -1.0, True, [16], {"a": 1}, "nan", "1e999"])
@pytest.mark.parametrize(("field", "code"), [("cpuLimit", "RK-CPU-FORMAT"), ("memoryLimit", "RK-MEMORY-FORMAT")])
def test_the_older_fields_are_numbers(field: str, code: str, value: Any) -> None:
    assert told(limits({field: value})) == [(code, "error")]


@pytest.mark.parametrize("text", ["abc", "-1", "0", "16 CPU", "1,5", "2M", [4], True])
def test_cpu_of_a_wrong_form(text: Any) -> None:
    assert told(limits({"resourceCpuLimit": text})) == [("RK-CPU-FORMAT", "error")]


@pytest.mark.failure("F44", "RK-CPU-FORMAT")
def test_cpu_as_a_number_where_text_belongs() -> None:
    (finding,) = found(limits({"resourceCpuLimit": 16, "cpuLimit": 16.0}))
    assert (finding.code, finding.severity) == ("RK-CPU-FORMAT", Severity.WARNING)
    assert finding.hint == 'write "16"'


def test_memory_without_a_unit_counts_bytes() -> None:
    def tiny() -> None:
        kfp_pipelines.echo().set_memory_limit("32")

    (finding,) = found(of_kfp(tiny))
    assert (finding.code, finding.severity) == ("RK-MEMORY-TINY", Severity.ERROR)
    assert "32 bytes" in finding.message
    assert finding.hint == 'write "32G"'


@pytest.mark.failure("F33", "RK-RESOURCE-PLACEHOLDER")
def test_limits_that_depend_on_parameters() -> None:
    def late(cpu: str, memory: str, kind: str, count: str) -> None:
        task = kfp_pipelines.echo().set_cpu_limit(cpu).set_memory_limit(memory)
        task.set_accelerator_type(kind).set_accelerator_limit(count)

    late.__annotations__ = dict.fromkeys(("cpu", "memory", "kind", "count"), str)  # kfp reads them as they stand

    findings = found(of_kfp(late, region="us-central1"))
    assert {(one.code, one.severity) for one in findings} == {("RK-RESOURCE-PLACEHOLDER", Severity.NOTE)}
    fields = ["resourceCpuLimit", "resourceMemoryLimit", "accelerator.resourceType", "accelerator.resourceCount"]
    assert [one.place.split(".resources.")[1] for one in findings] == fields


@pytest.mark.parametrize(
    ("resources", "code", "severity"),
    [
        pytest.param(both(cpu=97), "RK-CPU-LIMIT", "error", marks=pytest.mark.failure("F46", "RK-CPU-LIMIT")),
        pytest.param(both(cpu=999), "RK-CPU-LIMIT", "error"),
        pytest.param({"resourceCpuLimit": "97000m", "cpuLimit": 97.0}, "RK-CPU-LIMIT", "error"),
        pytest.param(both(memory=700), "RK-MEMORY-LIMIT", "error", marks=pytest.mark.failure("F46", "RK-MEMORY-LIMIT")),
        pytest.param({"resourceMemoryLimit": "1T", "memoryLimit": 1000.0}, "RK-MEMORY-LIMIT", "error"),
        pytest.param(both(memory=640), "RK-MEMORY-LIMIT", "warning", id="624 GiB are 670 GB"),
    ],
)
def test_more_than_a_step_may_ask_for(resources: dict[str, Any], code: str, severity: str) -> None:
    assert told(limits(resources, region="us-central1")) == [(code, severity)]


@pytest.mark.parametrize("resources", [both(memory=625), both(cpu=80, memory=640), both(memory=670)])
def test_a_limit_between_the_two_sizes_of_a_gb_says_why_it_is_a_warning(resources: dict[str, Any]) -> None:
    (finding,) = found(limits(resources, region="us-central1"))
    assert finding.severity is Severity.WARNING
    assert "GB is 2^30 bytes" in finding.message
    assert finding.hint == "ask for 624G at most"


@pytest.mark.parametrize(
    ("resources", "hint"),
    [
        (
            both(memory=1000, kind="NVIDIA_L4", count=4),
            "ask for 192G at most, as no machine with 4 × NVIDIA_L4 has more",
        ),
        (both(cpu=97, kind="NVIDIA_L4", count=1), "ask for 32 at most, as no machine with 1 × NVIDIA_L4 has more"),
        (both(memory=1000, kind="NVIDIA_L4", count=3), "ask for 624G at most"),
        (both(memory=1000, kind="TPU_V3", count=8), "ask for 624G at most"),
    ],
)
def test_the_most_that_is_named_leads_to_a_machine(resources: dict[str, Any], hint: str) -> None:
    hints = [one.hint for one in found(limits(resources)) if one.code in ("RK-CPU-LIMIT", "RK-MEMORY-LIMIT")]
    assert hints == [hint]


# ── accelerators ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.failure("F47", "RK-GPU-TYPE")
@pytest.mark.parametrize(
    ("kind", "severity", "hint"),
    [
        ("nvidia-tesla-t4", Severity.ERROR, "write NVIDIA_TESLA_T4"),
        ("nvidia-l4", Severity.ERROR, "write NVIDIA_L4"),
        ("nvidia-h100-80gb", Severity.ERROR, "write NVIDIA_H100_80GB"),
        ("nvidia-rtx-pro-6000", Severity.ERROR, "write NVIDIA_RTX_PRO_6000"),
        ("T4", Severity.ERROR, "write NVIDIA_TESLA_T4"),
        ("A100", Severity.ERROR, "write NVIDIA_TESLA_A100 or NVIDIA_A100_80GB"),
        ("NVIDIA_TESLA_T5", Severity.ERROR, "did you mean 'NVIDIA_TESLA_T4'?"),
        ("NVIDA_TESLA_T4", Severity.ERROR, "did you mean 'NVIDIA_TESLA_T4'?"),
        ("nvidia.com/gpu", Severity.ERROR, "NVIDIA_TESLA_T4"),
        ("cloud-tpus.google.com/v3", Severity.ERROR, "NVIDIA_TESLA_T4"),
        ("GPU", Severity.ERROR, "`run-kfp machines` lists them"),
        ("NVIDIA_B300", Severity.WARNING, "did you mean"),
        ("NVIDIA_T4", Severity.ERROR, "write NVIDIA_TESLA_T4"),
        ("NVIDIA_A100", Severity.ERROR, "write NVIDIA_TESLA_A100 or NVIDIA_A100_80GB"),
        ("NVIDIA_A100_40GB", Severity.ERROR, "write NVIDIA_TESLA_A100"),
        ("NVIDIA_H100", Severity.ERROR, "write NVIDIA_H100_80GB or NVIDIA_H100_MEGA_80GB"),
        ("NVIDIA_RTX_6000", Severity.WARNING, "write NVIDIA_RTX_PRO_6000"),
    ],
)
def test_an_accelerator_that_is_none(kind: str, severity: Severity, hint: str) -> None:
    (finding,) = found(limits(both(cpu=4, kind=kind, count=1), region="us-central1"))
    assert (finding.code, finding.severity) == ("RK-GPU-TYPE", severity)
    assert kind in finding.message
    assert hint in finding.hint
    assert finding.place.endswith("resources.accelerator.resourceType")


@pytest.mark.parametrize("accelerator", ["NVIDIA_TESLA_T4", 7, ["x"]])
def test_an_accelerator_of_a_wrong_form(accelerator: Any) -> None:
    assert told(limits({"accelerator": accelerator})) == [("RK-GPU-TYPE", "error")]
    assert told(limits({"accelerator": {"type": [accelerator], "count": 1}})) == [("RK-GPU-TYPE", "error")]


@pytest.mark.parametrize(
    ("kind", "today", "severity"),
    [
        pytest.param("NVIDIA_TESLA_K80", TODAY, "error", marks=pytest.mark.failure("F49", "RK-GPU-RETIRED")),
        pytest.param("NVIDIA_TESLA_P100", TODAY, "warning"),
        pytest.param("NVIDIA_TESLA_P100", date(2026, 9, 14), None),
    ],
)
def test_an_accelerator_without_support(kind: str, today: date, severity: str | None) -> None:
    context = limits(both(cpu=4, kind=kind, count=1), region="us-central1")
    assert told(context, today) == ([("RK-GPU-RETIRED", severity)] if severity else [])


@pytest.mark.failure("F48", "RK-GPU-COUNT")
@pytest.mark.parametrize(
    ("kind", "count", "hint"),
    [(T4, 3, "use 2 or 4"), (T4, 8, "use 4"), ("NVIDIA_L4", 16, "use 8"), ("NVIDIA_B200", 1, "use 8")],
)
def test_a_count_that_no_machine_has(kind: str, count: int, hint: str) -> None:
    (finding,) = found(limits(both(kind=kind, count=count)))
    assert (finding.code, finding.severity) == ("RK-GPU-COUNT", Severity.ERROR)
    assert f"{count} × {kind}" in finding.message
    assert finding.hint == hint


@pytest.mark.parametrize(
    ("resources", "hint"),
    [
        (both(cpu=64, memory=512, kind="NVIDIA_TESLA_V100", count=3), "use 8, for the requested CPU and memory"),
        (both(memory=200, kind=T4, count=3), "use 2 or 4, for the requested CPU and memory"),
        (both(memory=600, kind="NVIDIA_L4", count=3), "use 2 or 4, and request less CPU or memory"),
        (both(memory=200, kind="NVIDIA_T4", count=3), "use 2 or 4, for the requested CPU and memory"),
    ],
)
def test_the_count_that_is_named_leads_to_a_machine(resources: dict[str, Any], hint: str) -> None:
    findings = found(limits(resources))
    assert [one.hint for one in findings if one.code == "RK-GPU-COUNT"] == [hint]


@pytest.mark.parametrize("kind", ["NVIDIA_H200", "nvidia-h200"])
def test_what_another_name_of_an_accelerator_hides_is_told_too(kind: str) -> None:
    context = limits(both(kind=kind, count=1), region="us-east1")
    assert told(context) == [("RK-GPU-COUNT", "error"), ("RK-GPU-REGION", "error"), ("RK-GPU-TYPE", "error")]


def test_a_retired_accelerator_by_another_name_is_not_offered() -> None:
    findings = found(limits(both(kind="K80", count=1)))
    assert {one.code for one in findings} == {"RK-GPU-TYPE", "RK-GPU-RETIRED"}
    assert not any("write NVIDIA_TESLA_K80" in one.hint for one in findings)


@pytest.mark.failure("F48", "RK-GPU-COUNT")
def test_a_count_of_a_registry_has_its_place_there() -> None:
    context = context_of_registry(None, ("4",), params={"tag": "v1", "num_gpu": "3"}, region="us-central1")
    (finding,) = found(context)
    assert finding.code == "RK-GPU-COUNT"
    assert finding.place == "run-kfp.toml: containers.4.accelerator.count"
    assert finding.message == "3 × NVIDIA_TESLA_T4; a machine has 1, 2 or 4"


@pytest.mark.parametrize("count", ["many", -1, 1.5, True, [1], "9" * 6000])
def test_a_count_that_is_no_number(count: Any) -> None:
    assert told(limits({"accelerator": {"type": T4, "count": count}})) == [("RK-GPU-COUNT", "error")]


def test_a_count_without_a_type() -> None:
    def half() -> None:
        kfp_pipelines.echo().set_accelerator_limit(2)

    assert told(of_kfp(half)) == [("RK-GPU-INCOMPLETE", "error")]


def test_a_type_without_a_count() -> None:
    assert told(limits({"accelerator": {"type": T4}})) == [("RK-GPU-INCOMPLETE", "warning")]


@pytest.mark.failure("F51", "RK-GPU-REGION")
@pytest.mark.parametrize(
    ("kind", "region", "near"),
    [
        ("NVIDIA_L4", "europe-west1", "europe-west2, europe-west4"),
        ("NVIDIA_L4", "europe-west3", "europe-west2"),
        ("NVIDIA_L4", "asia-northeast1", "asia-northeast3"),
        ("NVIDIA_L4", "us-west4", "us-central1"),
        (T4, "me-west1", "europe-"),
        ("NVIDIA_TESLA_V100", "us-east4", "us-central1, us-east1"),
    ],
)
def test_an_accelerator_that_the_region_does_not_have(kind: str, region: str, near: str) -> None:
    (finding,) = [
        one for one in found(limits(both(kind=kind, count=1), region=region)) if one.severity is Severity.ERROR
    ]
    assert finding.code == "RK-GPU-REGION"
    assert region in finding.message
    assert f"the nearest first: {near}" in finding.hint


def test_where_the_pages_disagree_there_is_a_warning() -> None:
    context = limits(both(kind="NVIDIA_RTX_PRO_6000", count=1), region="us-west1")
    assert ("RK-GPU-REGION", "warning") in told(context)
    assert all(severity == "warning" for _, severity in told(context))


@pytest.mark.failure("F63", "RK-TPU")
def test_a_tpu_in_a_step() -> None:
    assert ("RK-TPU", "warning") in told(limits(both(kind="TPU_V3", count=8), region="us-central1"))


# ── together ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.failure("F49", "RK-MACHINE-NONE")
@pytest.mark.parametrize(
    ("resources", "words"),
    [
        (both(memory=200, kind=T4, count=1), "2 × NVIDIA_TESLA_T4 come with n1-highmem-32"),
        (both(cpu=48, kind="NVIDIA_L4", count=1), "4 × NVIDIA_L4 come with g2-standard-48"),
        (
            both(cpu=16, memory=64, kind="NVIDIA_TESLA_A100", count=1),
            "the largest machine with 1 × NVIDIA_TESLA_A100 is a2-h",
        ),
        (both(memory=600, kind="NVIDIA_L4", count=8), "g2-standard-96 (96 vCPU, 384 GB)"),
    ],
)
def test_no_machine_has_all_of_it(resources: dict[str, Any], words: str) -> None:
    (finding,) = [one for one in found(limits(resources, region="us-central1")) if one.severity is Severity.ERROR]
    assert finding.code == "RK-MACHINE-NONE"
    assert finding.place.endswith("container.resources.accelerator")
    assert words in finding.hint


@pytest.mark.parametrize(
    ("memory", "kind", "certain"), [("85Gi", "NVIDIA_TESLA_A100", "85G"), ("128Gi", "NVIDIA_L4", "128G")]
)
def test_what_only_the_larger_gb_allows_is_a_warning(memory: str, kind: str, certain: str) -> None:
    resources = {**both(kind=kind, count=1), "resourceMemoryLimit": memory}
    (finding,) = [
        one
        for one in found(limits({**resources, "memoryLimit": int(memory[:-2]) * 1.073741824}, region="us-central1"))
        if one.code != "RK-QUOTA-DEFAULT"
    ]
    assert (finding.code, finding.severity) == ("RK-MACHINE-NONE", Severity.WARNING)
    assert finding.hint == f"with {certain} it is certain"


@pytest.mark.parametrize(
    ("keys", "words", "certain"),
    [
        ("memory = '32Gi'", "34.36 GB lead to e2-highmem-8 (8 vCPU, 64 GB); e2-highmem-4", "32G"),
        ("memory = '33G'\ncpu = 8", "33 GB lead to e2-highmem-8 (8 vCPU, 64 GB); e2-standard-8", "32G"),
        ("memory = '16384M'", "16.384 GB lead to e2-highmem-4", "16G"),
        ("memory = '128Gi'\ncpu = 16", "137.439 GB lead to n1-highmem-32 (32 vCPU, 208 GB); e2-highmem-16", "128G"),
    ],
)
def test_near_the_size_of_a_machine_without_accelerator(keys: str, words: str, certain: str) -> None:
    (finding,) = found(context_of_registry(registry(keys), region="us-central1"))
    assert (finding.code, finding.severity) == ("RK-MEMORY-BOUNDARY", Severity.NOTE)
    assert finding.message.startswith(words)
    assert finding.hint == f"with {certain} it is certain"


def test_near_the_size_of_a_machine() -> None:
    (finding,) = found(limits(both(cpu=8, memory=32, kind=T4, count=1), region="us-central1"))
    assert (finding.code, finding.severity) == ("RK-MEMORY-BOUNDARY", Severity.NOTE)
    assert "n1-highmem-8 (8 vCPU, 52 GB); n1-standard-8 (8 vCPU, 30 GB) is enough if" in finding.message
    assert finding.hint == "with 30G it is certain"
    (finding,) = found(limits(both(cpu=16, memory=15, kind=T4, count=1), region="us-central1"))
    assert "n1-highcpu-16 (16 vCPU, 14.4 GB) is enough if" in finding.message
    assert finding.hint == "with 14G it is certain", "kfp takes whole numbers"


def test_all_mistakes_of_a_step_are_told_at_once() -> None:
    context = limits(both(cpu=97, memory=700, kind="NVIDIA_L4", count=3), region="europe-west1")
    assert told(context) == [
        ("RK-CPU-LIMIT", "error"),
        ("RK-GPU-COUNT", "error"),
        ("RK-GPU-REGION", "error"),
        ("RK-MEMORY-LIMIT", "error"),
    ]


def test_what_a_misspelt_accelerator_hides_is_told_too() -> None:
    context = limits(both(kind="nvidia-l4", count=3), region="europe-west1")
    assert told(context) == [("RK-GPU-COUNT", "error"), ("RK-GPU-REGION", "error"), ("RK-GPU-TYPE", "error")]


def test_an_old_accelerator_and_too_much_memory() -> None:
    context = limits(both(memory=300, kind="NVIDIA_TESLA_P100", count=1), region="us-central1")
    assert told(context) == [("RK-GPU-RETIRED", "warning"), ("RK-MACHINE-NONE", "error")]


# ── region and default quotas ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("region", "severity", "hint"),
    [
        ("us-centrl1", "error", "did you mean 'us-central1'?"),
        ("us-esat1", "error", "did you mean 'us-east1'?"),
        ("eu-west1", "error", "did you mean 'europe-west1'?"),
        ("us-east2", "warning", "with Pipelines there are us-east1, us-east4, us-east5"),
        ("us-central9", "warning", "with Pipelines there is us-central1"),
        ("europe-north2", "warning", "with Pipelines there is europe-north1"),
        ("moon-base1", "error", "the nearest first"),
    ],
)
def test_a_region_without_pipelines(region: str, severity: str, hint: str) -> None:
    (finding,) = found(limits(both(cpu=4, kind=T4, count=1), region=region))
    assert (finding.code, str(finding.severity)) == ("RK-REGION", severity)
    assert finding.place == "--region"
    assert region in finding.message
    assert hint in finding.hint


def test_a_malformed_region_is_told_elsewhere() -> None:
    assert found(limits(both(cpu=4), region="us-central1-a")) == []


@pytest.mark.parametrize("region", sorted(MACHINES.regions))
def test_every_region_of_the_table_is_right(region: str) -> None:
    assert found(limits({}, region=region)) == []


@pytest.mark.parametrize(
    ("resources", "region", "words"),
    [
        pytest.param(
            both(cpu=4, kind=T4, count=4),
            "us-east1",
            "4 × NVIDIA_TESLA_T4 in us-east1; the documented default of a project there is 2",
            marks=pytest.mark.failure("F52", "RK-QUOTA-DEFAULT"),
        ),
        pytest.param(
            both(kind="NVIDIA_L4", count=1),
            "us-central1",
            "1 × NVIDIA_L4 in us-central1; the documented default of a project there is 0",
            marks=pytest.mark.failure("F52", "RK-QUOTA-DEFAULT"),
        ),
        pytest.param(
            both(cpu=32),
            "europe-west6",
            "32 N1 and E2 CPUs in europe-west6; the documented default of a project there is 20",
            marks=pytest.mark.failure("F54", "RK-QUOTA-DEFAULT"),
        ),
    ],
)
def test_more_than_the_default_quota(resources: dict[str, Any], region: str, words: str) -> None:
    (finding,) = found(limits(resources, region=region, project="my-project"))
    assert (finding.code, finding.severity) == ("RK-QUOTA-DEFAULT", Severity.WARNING)
    assert words in finding.message
    assert "--project=my-project --filter=metric:custom_model_training_" in finding.hint


def test_a_quota_is_told_once_for_the_largest_step() -> None:
    def three() -> None:
        for count in (1, 4, 2):
            kfp_pipelines.echo().set_accelerator_type(T4).set_accelerator_limit(count)

    (finding,) = found(of_kfp(three, region="asia-southeast1"))
    assert "4 × NVIDIA_TESLA_T4" in finding.message
    assert "exec-echo-2" in finding.place


def test_a_user_with_more_quota_is_not_warned(write: Write) -> None:
    path = write("machines.toml", "[accelerators.NVIDIA_L4]\nlimits = { us-central1 = 8 }")
    context = limits(both(kind="NVIDIA_L4", count=8), region="us-central1")
    assert list(check_resources(context, load_machines(path), TODAY)) == []


# ── fields of a file ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.failure("F60", "RK-RESOURCE-FIELDS")
def test_a_file_with_the_newer_fields_alone() -> None:
    resources = {
        "resourceCpuLimit": "16",
        "resourceMemoryLimit": "32G",
        "accelerator": {"resourceType": T4, "resourceCount": "1"},
    }
    (finding,) = found(limits(resources, region="us-central1"))
    assert (finding.code, finding.severity) == ("RK-RESOURCE-FIELDS", Severity.WARNING)
    assert finding.place.endswith("container.resources.resourceCpuLimit")
    assert (
        "resourceCpuLimit, resourceMemoryLimit, resourceType, resourceCount without cpuLimit, memory" in finding.message
    )


def test_two_values_for_one_limit() -> None:
    resources = {"cpuLimit": 4.0, "resourceCpuLimit": "16", "memoryLimit": 16.0, "resourceMemoryLimit": "64G"}
    context = limits(resources)
    assert told(context) == [("RK-RESOURCE-CONFLICT", "warning")] * 2
    machine = chosen_machines(context, MACHINES)["step"].machine
    assert machine == MACHINES.types["e2-standard-4"], "the older field is the one that counts"


@pytest.mark.failure("F61", "RK-REQUEST-IGNORED")
def test_requests_have_no_effect() -> None:
    def requests() -> None:
        kfp_pipelines.echo().set_cpu_request("8").set_memory_request("32G").set_memory_limit("16G")
        kfp_pipelines.echo().set_cpu_request("8").set_cpu_limit("8").set_memory_request("8Gi").set_memory_limit("16Gi")

    cpu, memory = found(of_kfp(requests, region="us-central1"))
    assert {cpu.code, memory.code} == {"RK-REQUEST-IGNORED"}
    assert cpu.message == "the CPU request 8 has no effect on Vertex AI, and a limit is missing"
    assert cpu.hint == "set the CPU limit to it (set_cpu_limit)"
    assert memory.message == "the memory request 32G has no effect on Vertex AI, and the limit is 16 GB"
    assert "exec-echo.container" in memory.place, "the second step misses nothing"


# ── machine types of CustomJobs ──────────────────────────────────────────────────────────────────────────────────────


def pool(
    machine: str, kind: str = "ACCELERATOR_TYPE_UNSPECIFIED", count: Any = 1, replicas: Any = 1.0
) -> dict[str, Any]:
    return {
        "machine_spec": {"machine_type": machine, "accelerator_type": kind, "accelerator_count": count},
        "container_spec": {"image_uri": "busybox"},
        "replica_count": replicas,
    }


def custom_job(pools: Any, location: Any = "us-central1") -> CheckContext:
    """A step as google-cloud-pipeline-components compiles it: the pools are an input, and text in an argument."""
    spec = step_spec(
        {"command": ["python3", "-m", "launcher"], "args": ["--payload", '{"Concat": ["{\\"job_spec\\": ", "}"]}']},
        inputs={"parameters": {"location": {"runtimeValue": {"constant": location}}}},
    )
    spec["components"]["comp-step"]["inputDefinitions"] = {
        "parameters": {
            "worker_pool_specs": {"parameterType": "LIST", "defaultValue": pools},
            "location": {"parameterType": "STRING", "defaultValue": "us-central1"},
        }
    }
    return context_of_spec(spec)


@pytest.mark.parametrize(
    "right",
    [
        pool("n1-standard-4"),
        pool("n1-standard-8", T4, 1),
        pool("a2-highgpu-1g", "NVIDIA_TESLA_A100", 1),
        pool("cloud-tpu", "TPU_V3", 8),
        pool("n1-standard-4", T4, 0),
        pool("{{$.inputs.parameters['machine']}}", "{{$.inputs.parameters['kind']}}", 3),
        {"dedicated_resources": {"machine_spec": {"machine_type": "n1-standard-2"}}},
        {"machine_spec": 4, "container_spec": {}},
    ],
)
def test_right_worker_pools_are_not_told_of(right: dict[str, Any]) -> None:
    errors = [one for one in found(custom_job([right])) if one.code != "RK-QUOTA-DEFAULT"]
    assert errors == []


@pytest.mark.failure("F58", "RK-MACHINE-TYPE")
@pytest.mark.parametrize(
    ("machine", "severity"),
    [
        ("n1-standard-2", "error"),
        ("e2-standard-2", "error"),
        ("n1_standard_4", "error"),
        ("n1-standard-5", "error"),
        ("N1-STANDARD-4", "error"),
        ("x4-megamem-960", "warning"),
    ],
)
def test_a_machine_type_that_training_does_not_offer(machine: str, severity: str) -> None:
    (finding,) = found(custom_job([pool(machine)]))
    assert (finding.code, str(finding.severity)) == ("RK-MACHINE-TYPE", severity)
    assert machine in finding.message
    assert finding.place == "pipeline.yaml: task step, input worker_pool_specs[0].machine_spec"


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        pytest.param(
            pool("e2-standard-4", T4, 1), "RK-MACHINE-GPU", marks=pytest.mark.failure("F49", "RK-MACHINE-GPU")
        ),
        pytest.param(pool("g2-standard-4", T4, 1), "RK-MACHINE-GPU"),
        pytest.param(pool("n1-standard-32", T4, 1), "RK-GPU-COUNT", marks=pytest.mark.failure("F49", "RK-GPU-COUNT")),
        pytest.param(pool("n1-standard-4", "NVIDIA_TESLA_K80", 1), "RK-GPU-RETIRED"),
        pytest.param(pool("n1-standard-4", "nvidia-tesla-t4", 1), "RK-GPU-TYPE"),
    ],
)
def test_an_accelerator_on_a_wrong_machine(wrong: dict[str, Any], code: str) -> None:
    assert told(custom_job([wrong])) == [(code, "error")]


def test_a_custom_job_in_a_region_without_its_accelerator() -> None:
    assert ("RK-GPU-REGION", "error") in told(custom_job([pool("g2-standard-4", "NVIDIA_L4", 1)], "europe-west1"))
    late = custom_job([pool("g2-standard-4", "NVIDIA_L4", 1)], "{{$.inputs.parameters['region']}}")
    assert found(late) == [], "the region is not known"


@pytest.mark.failure("F54", "RK-QUOTA-DEFAULT")
@pytest.mark.parametrize(
    ("machine", "replicas", "words"),
    [("m1-ultramem-40", 1, "40 M1 CPUs"), ("c2-standard-60", 1, "60 C2 CPUs"), ("n2-standard-16", 2, "32 N2 CPUs")],
)
def test_the_cpu_quota_of_a_machine_family(machine: str, replicas: int, words: str) -> None:
    (finding,) = found(custom_job([pool(machine, replicas=replicas)], "us-west2"))
    assert finding.code == "RK-QUOTA-DEFAULT"
    assert words in finding.message


def test_worker_pools_as_text_of_an_argument_and_as_an_executor() -> None:
    job = {"jobSpec": {"workerPoolSpecs": [{"machineSpec": {"machineType": "n1-standard-2"}, "containerSpec": {}}]}}
    context = context_of_spec(step_spec({"args": ["--job", json.dumps(job)]}))
    assert [one.place for one in found(context)] == [
        "pipeline.yaml: task step, arguments [1].jobSpec.workerPoolSpecs[0].machineSpec"
    ]
    spec = step_spec({})
    spec["deploymentSpec"]["executors"]["exec-job"] = {"customJob": {"customJob": job}}
    (finding,) = found(context_of_spec(spec))
    assert finding.place == (
        "pipeline.yaml: deploymentSpec.executors.exec-job.customJob.customJob.jobSpec.workerPoolSpecs[0].machineSpec"
    )


# ── anything may stand in a file ─────────────────────────────────────────────────────────────────────────────────────

FIELDS = [
    *("cpuLimit", "memoryLimit", "cpuRequest", "memoryRequest", "accelerator"),
    *("resourceCpuLimit", "resourceMemoryLimit", "resourceCpuRequest", "resourceMemoryRequest"),
]
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(codec="ascii"), max_size=12),
    st.sampled_from(
        ["16", "32G", "32GB", T4, "nvidia-l4", "{{$.inputs.parameters['x']}}", "[[[", '{"machine_spec": 1}']
    ),
)
anything = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["type", "count", "resourceType", "resourceCount", "machine_spec", "container_spec", "x"]),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=8,
)


@given(resources=st.dictionaries(st.sampled_from(FIELDS), anything), pools=anything, job=anything)
def test_whatever_stands_in_a_file_is_no_crash(resources: Any, pools: Any, job: Any) -> None:
    context = limits(resources, region="us-central1")
    (step,) = context.steps
    component = {"inputDefinitions": {"parameters": {"x": pools, "y": {"defaultValue": pools}}}}
    task = {"inputs": {"parameters": {"x": pools, "location": {"runtimeValue": {"constant": pools}}}}}
    step = replace(step, args=(json.dumps(pools),), component=component, task=task)
    text = json.dumps({**context.pipeline.spec, "deploymentSpec": {"executors": {"exec-job": {"customJob": job}}}})
    context = replace(context, steps=(step,), pipeline=replace(context.pipeline, text=text))
    for finding in found(context):
        assert finding.message
        assert finding.place
    chosen_machines(context, MACHINES)


def test_text_that_nests_deeply_is_passed_over() -> None:
    deep = "[" * 5000 + "]" * 5000
    nested: Any = pool("n1-standard-2")
    for _ in range(80):
        nested = [nested]
    assert found(context_of_spec(step_spec({"args": [deep, json.dumps(nested)]}))) == []
