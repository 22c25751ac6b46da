"""The machine table: whether its numbers agree with each other, and the machine that it leads to."""

from __future__ import annotations

import itertools
import json
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import Write
from run_kfp.errors import InputError
from run_kfp.machines import (
    GIB,
    MAX_CPUS,
    MAX_MEMORY,
    Choice,
    accelerator_rows,
    accelerators_like,
    choose,
    find_accelerator,
    load_machines,
    machine_rows,
    most,
    quota_uses,
)
from run_kfp.machines.table import _Table

MACHINES = load_machines()
T4, L4, A100 = "NVIDIA_TESLA_T4", "NVIDIA_L4", "NVIDIA_TESLA_A100"

# The most vCPUs and GB with so many of an accelerator on N1: the rule of Compute Engine that the counts follow
# (https://docs.cloud.google.com/compute/docs/gpus#n1-gpus).
N1_RULE = {
    "NVIDIA_TESLA_P4": {1: (24, 156), 2: (48, 312), 4: (96, 624)},
    "NVIDIA_TESLA_T4": {1: (24, 156), 2: (48, 312), 4: (96, 624)},
    "NVIDIA_TESLA_P100": {1: (16, 104), 2: (32, 208), 4: (64, 208)},
    "NVIDIA_TESLA_V100": {1: (12, 78), 2: (24, 156), 4: (48, 312), 8: (96, 624)},
}


def test_the_table_has_what_is_documented() -> None:
    assert len(MACHINES.regions) == 38
    assert len(MACHINES.types) == 117
    assert sum(1 for one in MACHINES.types.values() if one.vcpus is None) == 8, "the TPU machines alone have no shape"


def test_the_numbers_of_the_table_agree_with_each_other() -> None:
    for one in MACHINES.types.values():
        assert (one.vcpus is None) == (one.memory is None), one.name
        assert set(one.accelerators) <= set(MACHINES.accelerators), one.name
        # "g2-standard-24" has 24 vCPUs, "a2-highgpu-4g" 4 GPUs.
        last = one.name.rsplit("-", 1)[1]
        if last.endswith("g"):
            assert [(int(last[:-1]),)] == list(one.accelerators.values()), one.name
        elif one.vcpus:
            assert one.vcpus == int(last), one.name
    for known in MACHINES.accelerators.values():
        assert known.regions <= MACHINES.regions, known.name
        assert MACHINES.counts(known.name) or known.is_tpu or known.retired, known.name
    for quota in MACHINES.cpu_quotas:
        assert set(quota.limits) >= MACHINES.regions


@pytest.mark.parametrize("accelerator", N1_RULE)
def test_the_counts_on_n1_follow_the_rule_of_compute_engine(accelerator: str) -> None:
    for one in MACHINES.types.values():
        if one.family == "n1" and one.vcpus and one.memory:
            allowed = tuple(
                count
                for count, (vcpus, memory) in N1_RULE[accelerator].items()
                if one.vcpus <= vcpus and one.memory <= memory
            )
            assert one.accelerators.get(accelerator, ()) == allowed, one.name


def test_machines_of_one_family_have_memory_in_proportion() -> None:
    for prefix in (
        "n1-standard",
        "n1-highmem",
        "n1-highcpu",
        "n2-standard",
        "e2-standard",
        "c2-standard",
        "g2-standard",
    ):
        shapes = [one for one in MACHINES.types.values() if one.name.startswith(prefix) and one.vcpus and one.memory]
        assert len({round((one.memory or 0) / (one.vcpus or 1), 3) for one in shapes}) == 1, prefix


def name(choice: Choice) -> str | None:
    return choice.machine.name if choice.machine else None


@pytest.mark.parametrize(
    ("demand", "machine"),
    [
        ({}, "e2-standard-4"),
        ({"cpu": 4.0}, "e2-standard-4"),
        ({"cpu": 0.5, "memory": 2.0}, "e2-highmem-2"),
        ({"cpu": 8.0, "memory": 32.0}, "e2-standard-8"),
        ({"cpu": 16.0, "memory": 128.0}, "e2-highmem-16"),
        ({"cpu": 33.0}, "n1-highcpu-64"),
        ({"memory": 129.0}, "n1-highmem-32"),
        ({"cpu": 96.0, "memory": 624.0}, "n1-highmem-96"),
        ({"cpu": 8.0, "memory": 30.0, "accelerator": T4, "count": 1}, "n1-standard-8"),
        ({"cpu": 8.0, "memory": 32.0, "accelerator": T4, "count": 1}, "n1-highmem-8"),
        ({"cpu": 16.0, "memory": 128.0, "accelerator": T4, "count": 4, "region": "us-east1"}, "n1-highmem-32"),
        ({"memory": 200.0, "accelerator": T4, "count": 2}, "n1-highmem-32"),
        ({"accelerator": L4, "count": 1}, "g2-standard-4"),
        ({"cpu": 20.0, "accelerator": L4, "count": 1}, "g2-standard-32"),
        ({"accelerator": L4, "count": 4}, "g2-standard-48"),
        ({"cpu": 12.0, "memory": 85.0, "accelerator": A100, "count": 1}, "a2-highgpu-1g"),
        ({"accelerator": A100, "count": 16}, "a2-megagpu-16g"),
        ({"accelerator": "NVIDIA_H100_80GB", "count": 8}, "a3-highgpu-8g"),
        ({"cpu": 2.0, "accelerator": T4, "count": 0}, "e2-highmem-2"),
    ],
)
def test_the_machine_of_a_step(demand: dict[str, Any], machine: str) -> None:
    choice = choose(MACHINES, **demand)
    assert name(choice) == machine
    assert choice.reason
    assert not choice.failing


@pytest.mark.parametrize(
    ("demand", "failing", "nearest"),
    [
        ({"accelerator": T4, "count": 3}, ("count",), "2 or 4"),
        ({"accelerator": T4, "count": 8}, ("count",), "4"),
        ({"accelerator": "NVIDIA_B200", "count": 1}, ("count",), "8"),
        ({"cpu": 97.0}, ("cpu",), "96 CPUs"),
        ({"cpu": 100.0, "memory": 700.0}, ("cpu", "memory"), "96 CPUs and 624 GB"),
        ({"memory": 200.0, "accelerator": T4, "count": 1}, ("memory",), "2 × NVIDIA_TESLA_T4 come with n1-highmem-32"),
        ({"cpu": 20.0, "accelerator": A100, "count": 1}, ("cpu",), "2 × NVIDIA_TESLA_A100 come with a2-highgpu-2g"),
        (
            {"cpu": 32.0, "memory": 200.0, "accelerator": L4, "count": 1},
            ("memory",),
            "the largest machine with 1 × NVIDIA_L4",
        ),
        ({"accelerator": L4, "count": 1, "region": "europe-west1"}, ("region",), "europe-west2, europe-west4"),
    ],
)
def test_why_no_machine_fits(demand: dict[str, Any], failing: tuple[str, ...], nearest: str) -> None:
    choice = choose(MACHINES, **demand)
    assert choice.machine is None
    assert choice.failing == failing
    assert nearest in choice.nearest


def test_what_the_table_does_not_know_is_no_failure() -> None:
    for accelerator in ("TPU_V3", "NVIDIA_FUTURE"):
        choice = choose(MACHINES, accelerator=accelerator, count=1)
        assert (choice.machine, choice.failing) == (None, ())
        assert choice.reason


@pytest.mark.parametrize(
    ("demand", "machine", "other"),
    [
        ({"memory": 128.0, "accelerator": T4, "count": 4}, "n1-highmem-32", "n1-standard-32"),
        ({"memory": 120.0, "accelerator": T4, "count": 4}, "n1-standard-32", None),
        ({"memory": 129.0, "accelerator": T4, "count": 4}, "n1-highmem-32", None),
        ({"memory": 86.0, "accelerator": A100, "count": 1}, None, "a2-highgpu-1g"),
        ({"memory": 630.0}, None, "n1-highmem-96"),
        ({"memory": 671.0}, None, None),
    ],
)
def test_near_a_boundary_the_other_reading_of_a_gb_is_told(
    demand: dict[str, Any], machine: str | None, other: str | None
) -> None:
    choice = choose(MACHINES, **demand)
    assert name(choice) == machine
    assert (choice.other.name if choice.other else None) == other
    assert bool(choice.boundary) == (other is not None)


accelerators = st.one_of(
    st.none(), st.sampled_from([one.name for one in MACHINES.accelerators.values() if MACHINES.counts(one.name)])
)


@given(
    cpu=st.one_of(st.none(), st.floats(0.1, 130)),
    memory=st.one_of(st.none(), st.floats(0.01, 900)),
    accelerator=accelerators,
    count=st.sampled_from([0, 1, 2, 3, 4, 8, 16]),
    region=st.one_of(st.none(), st.sampled_from(sorted(MACHINES.regions))),
)
def test_the_chosen_machine_satisfies_every_demand_and_is_minimal(
    cpu: float | None, memory: float | None, accelerator: str | None, count: int, region: str | None
) -> None:
    choice = choose(MACHINES, cpu=cpu, memory=memory, accelerator=accelerator, count=count, region=region)
    wanted = accelerator if count else None

    def satisfies(one: Any, memory: float | None = memory) -> bool:
        if one.vcpus is None or one.vcpus < (cpu or 0) or one.memory < (memory or 0):
            return False
        if wanted is None:
            return one.family in ("e2", "n1", "n2")
        here = region is None or MACHINES.accelerators[wanted].offered(region) is not False
        return here and count in one.accelerators.get(wanted, ())

    allowed = (cpu or 0) <= MAX_CPUS and (memory or 0) <= MAX_MEMORY
    fitting = [one for one in MACHINES.types.values() if satisfies(one)] if allowed else []
    assert choice.reason
    if choice.machine is None:
        assert not fitting
        assert choice.failing
        assert choice.nearest
        if choice.other:
            assert satisfies(choice.other, (memory or 0) / GIB)
        return
    assert choice.machine in fitting
    if choice.machine.name == "e2-standard-4" and cpu is None and memory is None:
        return  # the documented default of a step without limits
    smaller = [
        one
        for one in fitting
        if (one.vcpus, one.memory) < (choice.machine.vcpus, choice.machine.memory)
        and one.family == choice.machine.family
    ]
    assert not smaller
    if wanted is None and choice.machine.family != "e2":
        assert not any(one.family == "e2" for one in fitting)


@given(count=st.sampled_from([0, 1, 2, 3, 4, 8]), accelerator=accelerators)
def test_the_most_of_each_can_be_had(accelerator: str | None, count: int) -> None:
    cpus, memory = most(MACHINES, accelerator if count else None, count, None)
    known = not (accelerator and count) or count in MACHINES.counts(accelerator)
    for demand in ({"cpu": cpus}, {"memory": memory}):
        assert (choose(MACHINES, accelerator=accelerator, count=count, **demand).machine is not None) == known
    if not known:
        assert (cpus, memory) == (MAX_CPUS, MAX_MEMORY)


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("T4", [T4]),
        ("t4", [T4]),
        ("nvidia-tesla-t4", [T4]),
        ("NVIDIA_T4", [T4]),
        (T4, [T4]),
        ("nvidia-l4", [L4]),
        ("A100", [A100, "NVIDIA_A100_80GB"]),
        ("a100-80gb", ["NVIDIA_A100_80GB"]),
        ("NVIDIA A100 40GB", [A100]),
        ("H100", ["NVIDIA_H100_80GB", "NVIDIA_H100_MEGA_80GB"]),
        ("h100-80gb", ["NVIDIA_H100_80GB"]),
        ("tpu-v3", ["TPU_V3"]),
        ("GPU", []),
        ("nvidia.com/gpu", []),
        ("", []),
        ("X", []),
    ],
)
def test_other_names_of_accelerators(word: str, names: list[str]) -> None:
    assert sorted(accelerators_like(MACHINES, word)) == sorted(names)
    assert find_accelerator(MACHINES, word) == (names[0] if len(names) == 1 else None)


def test_default_quotas() -> None:
    choice = choose(MACHINES, cpu=16, memory=128, accelerator=T4, count=4, region="us-west2")
    uses = {use.what: (use.needed, use.limit, use.metric) for use in quota_uses(MACHINES, choice, "us-west2")}
    assert uses == {"N1 and E2 CPUs": (32, 20, "custom_model_training_cpus")}
    (gpu, cpus) = quota_uses(MACHINES, choice, "us-east1")
    assert (gpu.words, gpu.limit, gpu.metric) == ("4 × NVIDIA_TESLA_T4", 2, "custom_model_training_nvidia_t4_gpus")
    assert (cpus.words, cpus.limit) == ("32 N1 and E2 CPUs", 2200)


def test_near_regions_come_first() -> None:
    near = MACHINES.near("us-east4", ["asia-east1", "europe-west4", "us-west1", "northamerica-northeast1"])
    assert near == ["us-west1", "northamerica-northeast1", "asia-east1", "europe-west4"]


# ── the file of a user ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_user_corrects_the_table(write: Write) -> None:
    path = write(
        "machines.toml",
        """
        date = 2026-11-20
        regions = ["europe-north2"]
        [machines.g2-standard-4]
        regions = ["us-central1"]
        [machines.x9-mega-8]
        vcpus = 8
        memory = 32.5
        accelerators = { NVIDIA_NEXT = [1, 2] }
        [accelerators.NVIDIA_L4]
        regions = ["us-central1", "europe-west1"]
        limits = { us-central1 = 8 }
        [accelerators.NVIDIA_TESLA_T4]
        limits = { us-east1 = 16 }
        end_of_support = 2030-01-31
        [cpu_quotas.n1-e2]
        limits = { us-west2 = 200 }
        """,
    )
    machines = load_machines(path)
    assert machines.regions == MACHINES.regions | {"europe-north2"}
    assert machines.source == f"the machine table of 2026-11-20 with {path}"
    assert name(choose(machines, accelerator="NVIDIA_NEXT", count=2)) == "x9-mega-8"
    assert name(choose(machines, accelerator=L4, count=1, region="us-central1")) == "g2-standard-4"
    assert name(choose(machines, accelerator=L4, count=1, region="europe-west1")) == "g2-standard-8"
    assert choose(machines, accelerator=L4, count=1, region="us-east4").failing == ("region",)
    assert machines.accelerators[L4].limits == {"us-central1": 8}
    assert machines.accelerators[T4].limits == {**MACHINES.accelerators[T4].limits, "us-east1": 16}
    assert machines.accelerators[T4].end_of_support == date(2030, 1, 31)
    (cpus,) = quota_uses(machines, choose(machines, cpu=4), "us-west2")
    assert cpus.limit == 200
    assert cpus.metric == "custom_model_training_cpus"
    assert load_machines() == MACHINES, "the packaged table stays as it is"


def test_a_machine_without_shape_is_unknown_and_no_failure(write: Write) -> None:
    path = write("machines.toml", "[machines.x9-mega-8]\naccelerators = { NVIDIA_NEXT = [1] }")
    choice = choose(load_machines(path), cpu=4, accelerator="NVIDIA_NEXT", count=1)
    assert (choice.machine, choice.failing) == (None, ())


def test_a_machine_of_another_region_does_not_count(write: Write) -> None:
    rows = "\n".join(f'[machines.{one}]\nregions = ["us-central1"]' for one in MACHINES.types if one.startswith("g2"))
    choice = choose(load_machines(write("machines.toml", rows)), accelerator=L4, count=1, region="us-east4")
    assert (choice.machine, choice.failing) == (None, ("region",))


def test_every_fault_of_the_file_is_told(write: Write) -> None:
    path = write(
        "machines.toml",
        """
        date = "soon"
        machine = 1
        [machines.n1-standard-4]
        vcpu = 4
        memory = -1
        [accelerators.NVIDIA_L4]
        regions = "us-central1"
        """,
    )
    with pytest.raises(InputError) as raised:
        load_machines(path)
    told = {fault.place.split(": ")[1]: fault for fault in raised.value.all_faults}
    assert set(told) == {
        "date",
        "machine",
        "machines.n1-standard-4.vcpu",
        "machines.n1-standard-4.memory",
        "accelerators.NVIDIA_L4.regions",
    }
    assert told["machine"].hint == "did you mean 'machines'?"
    assert told["machines.n1-standard-4.vcpu"].hint == "did you mean 'vcpus'?"


@pytest.mark.parametrize("text", ["= nonsense", "[machines\n", "a = " + "[" * 5000])
def test_a_file_that_is_no_toml(text: str, write: Write) -> None:
    with pytest.raises(InputError, match="invalid TOML"):
        load_machines(write("machines.toml", text))


def test_a_file_that_is_not_there(folder: Path) -> None:
    with pytest.raises(InputError, match="machine table not found"):
        load_machines(folder / "none.toml")


# ── the rows to look at ──────────────────────────────────────────────────────────────────────────────────────────────


def test_machine_rows() -> None:
    rows = machine_rows(MACHINES)
    assert len(rows) == len(MACHINES.types)
    assert json.loads(json.dumps(rows)) == rows, "plain values"
    sizes = [row["vcpus"] for row in rows if row["machine"].startswith("n1-standard")]
    assert sizes == sorted(sizes)
    (row,) = [row for row in rows if row["machine"] == "g2-standard-24"]
    assert row == {
        "machine": "g2-standard-24",
        "family": "g2",
        "vcpus": 24,
        "memory_gb": 96,
        "accelerators": {"NVIDIA_L4": [2]},
    }


def test_machine_rows_of_a_region_and_an_accelerator() -> None:
    europe = machine_rows(MACHINES, region="europe-west1")
    assert not any(row["machine"].startswith("g2") for row in europe), "no L4 for training there"
    assert any(row["machine"] == "e2-standard-4" for row in europe)
    assert {accelerator for row in europe for accelerator in row["accelerators"]} == {
        row["accelerator"] for row in accelerator_rows(MACHINES, region="europe-west1") if row["counts"]
    }
    t4 = machine_rows(MACHINES, accelerator=T4)
    assert {row["family"] for row in t4} == {"n1"}
    assert all(list(row["accelerators"]) == [T4] for row in t4)
    assert machine_rows(MACHINES, region="europe-west1", accelerator=L4) == []


def test_accelerator_rows() -> None:
    rows = {row["accelerator"]: row for row in accelerator_rows(MACHINES)}
    assert list(itertools.islice(rows, 2)) == ["NVIDIA_TESLA_T4", "NVIDIA_TESLA_P4"]
    assert json.loads(json.dumps(rows)) == rows, "plain values"
    assert rows["NVIDIA_TESLA_P100"]["end_of_support"] == "2026-09-15"
    assert rows["NVIDIA_TESLA_K80"]["retired"]
    before, after = (
        {row["accelerator"] for row in accelerator_rows(MACHINES, today=today) if row["supported"]}
        for today in (date(2026, 9, 14), date(2026, 9, 15))
    )
    assert before - after == {"NVIDIA_TESLA_P100"}
    assert "NVIDIA_TESLA_K80" not in before
    here = {row["accelerator"]: row["default_quota"] for row in accelerator_rows(MACHINES, region="us-east1")}
    assert (here[T4], here[L4], here[A100]) == (2, 0, None)


def test_the_packaged_table_has_the_form_of_a_users_file() -> None:
    table = json.loads((resources.files("run_kfp") / "machines.json").read_text(encoding="utf-8"))
    _Table.model_validate(table)
    assert table["date"] in MACHINES.source
    assert all(source.startswith("https://docs.cloud.google.com/") for source in table["sources"])
