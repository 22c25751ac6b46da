"""The machine table by a small one made up for it: what is chosen, what is shown, to the last word."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from run_kfp.commands.machines import machine_lines
from run_kfp.machines import Machines, accelerator_rows, choose, machine_rows
from run_kfp.machines.choice import Choice, most, quota_uses
from run_kfp.machines.table import Accelerator, CpuQuota, MachineType

EAST, WEST = "us-east1", "us-west1"
MACHINES = Machines(
    "the small table",
    frozenset({EAST, WEST, "europe-west4", "asia-east1"}),
    {
        one.name: one
        for one in (
            MachineType("n1-standard-8", 8, 30.0, {"T4": (1, 2, 4)}),
            MachineType("n1-standard-4", 4, 15.0, {"T4": (1, 2)}),
            MachineType("e2-standard-4", 4, 16.0),
            MachineType("e2-highcpu-4", 4, 4.0),
            MachineType("e2-standard-16", 16, 64.0, regions=frozenset({EAST})),
            MachineType("n2-highmem-96", 96, 768.0),
            MachineType("g2-standard-4", 4, 16.0, {"L4": (1,)}),
            MachineType("a9-giga", None, None, {"X9": (8,)}),
        )
    },
    {
        one.name: one
        for one in (
            Accelerator("T4", frozenset({EAST, WEST}), {EAST: 4}, "t4", date(2026, 12, 1)),
            Accelerator("L4", frozenset({WEST}), {EAST: 0}, "l4"),
            Accelerator("X9"),
            Accelerator("TPU_V2", frozenset({EAST}), retired=True),
        )
    },
    (CpuQuota(("n1", "e2"), {EAST: 42}, "cpus"), CpuQuota(("n2",), {WEST: 20})),
)


def words(choice: Choice) -> tuple[str, ...]:
    """Return the machine, the reason, what fails, what is near, and the machine by the other reading of a GB."""
    other = f"or {choice.other}" if choice.other else ""
    return tuple(
        filter(None, (str(choice.machine or ""), choice.reason, "/".join(choice.failing), choice.nearest, other))
    )


def demand(text: str) -> dict[str, Any]:
    """Read `cpu=4 memory=16 accelerator=T4 count=2 region=us-east1`."""
    pairs = dict(word.split("=") for word in text.split())
    return {
        name: value if name in ("accelerator", "region") else float(value) if name != "count" else int(value)
        for name, value in pairs.items()
    }


def test_the_choice() -> None:
    expected = {
        "": ("e2-standard-4 (4 vCPU, 16 GB)", "the default for a step without limits"),
        "cpu=4": ("e2-highcpu-4 (4 vCPU, 4 GB)", "the smallest machine with 4 CPU or more"),
        "cpu=0": ("e2-highcpu-4 (4 vCPU, 4 GB)", "the smallest machine with 0 CPU or more"),
        "memory=4": ("e2-highcpu-4 (4 vCPU, 4 GB)", "the smallest machine with 4 GB or more"),
        "memory=4.1": (
            "e2-standard-4 (4 vCPU, 16 GB)",
            "the smallest machine with 4.1 GB or more",
            "or e2-highcpu-4 (4 vCPU, 4 GB)",
        ),
        "cpu=4 memory=16": ("e2-standard-4 (4 vCPU, 16 GB)", "the smallest machine with 4 CPU, 16 GB or more"),
        "cpu=4 memory=16.1": (
            "e2-standard-16 (16 vCPU, 64 GB)",
            "the smallest machine with 4 CPU, 16.1 GB or more",
            "or e2-standard-4 (4 vCPU, 16 GB)",
        ),
        "cpu=8 memory=30": ("e2-standard-16 (16 vCPU, 64 GB)", "the smallest machine with 8 CPU, 30 GB or more"),
        "cpu=9": ("e2-standard-16 (16 vCPU, 64 GB)", "the smallest machine with 9 CPU or more"),
        "cpu=9 region=us-west1": ("n2-highmem-96 (96 vCPU, 768 GB)", "the smallest machine with 9 CPU or more"),
        "cpu=96": ("n2-highmem-96 (96 vCPU, 768 GB)", "the smallest machine with 96 CPU or more"),
        "cpu=96.5": ("a step can request at most 96 CPUs", "cpu", "96 CPUs"),
        "memory=624": ("n2-highmem-96 (96 vCPU, 768 GB)", "the smallest machine with 624 GB or more"),
        "memory=625": ("a step can request at most 624 GB", "memory", "624 GB", "or n2-highmem-96 (96 vCPU, 768 GB)"),
        "cpu=97 memory=700": ("a step can request at most 96 CPUs and 624 GB", "cpu/memory", "96 CPUs and 624 GB"),
        "cpu=95 memory=623": ("n2-highmem-96 (96 vCPU, 768 GB)", "the smallest machine with 95 CPU, 623 GB or more"),
        "accelerator=T4": ("e2-standard-4 (4 vCPU, 16 GB)", "the default for a step without limits"),
        "count=2": ("e2-standard-4 (4 vCPU, 16 GB)", "the default for a step without limits"),
        "accelerator=T4 count=1": ("n1-standard-4 (4 vCPU, 15 GB)", "the smallest n1 machine with 1 × T4 or more"),
        "accelerator=T4 count=2 cpu=5": (
            "n1-standard-8 (8 vCPU, 30 GB)",
            "the smallest n1 machine with 5 CPU, 2 × T4 or more",
        ),
        "accelerator=T4 count=3": ("a machine has 1, 2 or 4 of T4, not 3", "count", "2 or 4"),
        "accelerator=T4 count=5": ("a machine has 1, 2 or 4 of T4, not 5", "count", "4"),
        "accelerator=T4 count=1 cpu=9": (
            "no machine has 9 CPU, 1 × T4",
            "cpu",
            "the largest machine with 1 × T4 is n1-standard-8 (8 vCPU, 30 GB)",
        ),
        "accelerator=T4 count=2 memory=31": (
            "no machine has 31 GB, 2 × T4",
            "memory",
            "the largest machine with 2 × T4 is n1-standard-8 (8 vCPU, 30 GB)",
            "or n1-standard-8 (8 vCPU, 30 GB)",
        ),
        "accelerator=T4 count=1 cpu=9 memory=31": (
            "no machine has 9 CPU, 31 GB, 1 × T4",
            "cpu/memory",
            "the largest machine with 1 × T4 is n1-standard-8 (8 vCPU, 30 GB)",
        ),
        "accelerator=T4 count=1 region=us-west1": (
            "n1-standard-4 (4 vCPU, 15 GB)",
            "the smallest n1 machine with 1 × T4 or more",
        ),
        "accelerator=T4 count=1 region=europe-west4": (
            "custom training does not offer T4 in europe-west4",
            "region",
            "us-east1, us-west1",
        ),
        "accelerator=T4 count=1 region=mars": (
            "n1-standard-4 (4 vCPU, 15 GB)",
            "the smallest n1 machine with 1 × T4 or more",
        ),
        "accelerator=L4 count=1 cpu=5": (
            "no machine has 5 CPU, 1 × L4",
            "cpu",
            "the largest machine with 1 × L4 is g2-standard-4 (4 vCPU, 16 GB)",
        ),
        "accelerator=L4 count=1 region=us-east1": (
            "g2-standard-4 (4 vCPU, 16 GB)",
            "the smallest g2 machine with 1 × L4 or more",
        ),
        "accelerator=L4 count=1 region=asia-east1": (
            "custom training does not offer L4 in asia-east1",
            "region",
            "us-west1",
        ),
        "accelerator=X9 count=8": ("the small table does not know enough to say which machine has 8 × X9",),
        "accelerator=X9 count=8 cpu=4": (
            "the small table does not know enough to say which machine has 4 CPU, 8 × X9",
        ),
        "accelerator=TPU_V2 count=1": ("the small table has no machine with TPU_V2",),
    }
    assert {text: words(choose(MACHINES, **demand(text))) for text in expected} == expected


def test_the_most_that_can_be_had() -> None:
    assert most(MACHINES, None, 0, None) == (96, 624.0)
    assert most(MACHINES, "T4", 1, None) == (8, 30.0)
    assert most(MACHINES, "X9", 8, None) == (96, 624.0)
    assert most(MACHINES, "T4", 1, WEST) == (8, 30.0)
    assert most(MACHINES, None, 0, "mars") == (96, 624.0)


def test_quotas() -> None:
    def told(text: str, region: str) -> list[tuple[str, int, str | None]]:
        chosen = choose(MACHINES, **demand(text))
        return [(use.words, use.limit, use.metric) for use in quota_uses(MACHINES, chosen, region)]

    assert told("accelerator=T4 count=2", EAST) == [("2 × T4", 4, "t4"), ("4 N1 and E2 CPUs", 42, "cpus")]
    assert told("accelerator=T4 count=2", WEST) == []
    assert told("cpu=96", WEST) == [("96 N2 CPUs", 20, None)]
    assert told("cpu=96", EAST) == []
    assert told("accelerator=X9 count=8", EAST) == []


def names(rows: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    return [
        (row["machine"], " ".join(f"{name}{counts}" for name, counts in row["accelerators"].items())) for row in rows
    ]


def test_rows_of_machines() -> None:
    assert machine_rows(MACHINES)[0] == {
        "machine": "a9-giga",
        "family": "a9",
        "vcpus": None,
        "memory_gb": None,
        "accelerators": {"X9": [8]},
    }
    assert names(machine_rows(MACHINES)) == [
        ("a9-giga", "X9[8]"),
        ("e2-highcpu-4", ""),
        ("e2-standard-4", ""),
        ("e2-standard-16", ""),
        ("g2-standard-4", "L4[1]"),
        ("n1-standard-4", "T4[1, 2]"),
        ("n1-standard-8", "T4[1, 2, 4]"),
        ("n2-highmem-96", ""),
    ]
    assert names(machine_rows(MACHINES, region=EAST)) == [
        ("a9-giga", "X9[8]"),
        ("e2-highcpu-4", ""),
        ("e2-standard-4", ""),
        ("e2-standard-16", ""),
        ("g2-standard-4", "L4[1]"),
        ("n1-standard-4", "T4[1, 2]"),
        ("n1-standard-8", "T4[1, 2, 4]"),
        ("n2-highmem-96", ""),
    ]
    assert names(machine_rows(MACHINES, region=WEST)) == [
        ("a9-giga", "X9[8]"),
        ("e2-highcpu-4", ""),
        ("e2-standard-4", ""),
        ("g2-standard-4", "L4[1]"),
        ("n1-standard-4", "T4[1, 2]"),
        ("n1-standard-8", "T4[1, 2, 4]"),
        ("n2-highmem-96", ""),
    ]
    assert names(machine_rows(MACHINES, accelerator="T4")) == [
        ("n1-standard-4", "T4[1, 2]"),
        ("n1-standard-8", "T4[1, 2, 4]"),
    ]
    assert names(machine_rows(MACHINES, region=EAST, accelerator="L4")) == [("g2-standard-4", "L4[1]")]


def test_rows_of_accelerators() -> None:
    assert accelerator_rows(MACHINES, region=EAST, today=date(2026, 11, 30)) == [
        {
            "accelerator": "T4",
            "counts": [1, 2, 4],
            "families": ["n1"],
            "regions": ["us-east1", "us-west1"],
            "default_quota": 4,
            "quota_metric": "t4",
            "end_of_support": "2026-12-01",
            "supported": True,
            "retired": False,
        },
        {
            "accelerator": "TPU_V2",
            "counts": [],
            "families": [],
            "regions": ["us-east1"],
            "default_quota": None,
            "quota_metric": None,
            "end_of_support": None,
            "supported": False,
            "retired": True,
        },
    ]
    assert accelerator_rows(MACHINES, today=date(2026, 12, 1)) == [
        {
            "accelerator": "T4",
            "counts": [1, 2, 4],
            "families": ["n1"],
            "regions": ["us-east1", "us-west1"],
            "default_quota": None,
            "quota_metric": "t4",
            "end_of_support": "2026-12-01",
            "supported": False,
            "retired": False,
        },
        {
            "accelerator": "L4",
            "counts": [1],
            "families": ["g2"],
            "regions": ["us-west1"],
            "default_quota": None,
            "quota_metric": "l4",
            "end_of_support": None,
            "supported": True,
            "retired": False,
        },
        {
            "accelerator": "X9",
            "counts": [8],
            "families": ["a9"],
            "regions": [],
            "default_quota": None,
            "quota_metric": None,
            "end_of_support": None,
            "supported": True,
            "retired": False,
        },
        {
            "accelerator": "TPU_V2",
            "counts": [],
            "families": [],
            "regions": ["us-east1"],
            "default_quota": None,
            "quota_metric": None,
            "end_of_support": None,
            "supported": False,
            "retired": True,
        },
    ]


def test_what_machines_says() -> None:
    def shown(region: str | None, today: date) -> str:
        machines = machine_rows(MACHINES, region=region)
        accelerators = accelerator_rows(MACHINES, region=region, today=today)
        return "\n".join(line.plain.rstrip() for line in machine_lines(MACHINES, machines, accelerators, region))

    assert (
        shown(EAST, date(2026, 11, 30))
        == """\
the small table  in us-east1

  a9-giga                     size not known   8 × X9
  e2-highcpu-4             4 vCPU     4.0 GB
  e2-standard-4            4 vCPU    16.0 GB
  e2-standard-16          16 vCPU    64.0 GB
  g2-standard-4            4 vCPU    16.0 GB   1 × L4
  n1-standard-4            4 vCPU    15.0 GB   1/2 × T4
  n1-standard-8            8 vCPU    30.0 GB   1/2/4 × T4
  n2-highmem-96           96 vCPU   768.0 GB

  T4                    1/2/4 a machine; default quota 4
  TPU_V2                machines not known; support ended"""
    )
    assert (
        shown(None, date(2026, 12, 1))
        == """\
the small table  all regions

  a9-giga                     size not known   8 × X9
  e2-highcpu-4             4 vCPU     4.0 GB
  e2-standard-4            4 vCPU    16.0 GB
  e2-standard-16          16 vCPU    64.0 GB
  g2-standard-4            4 vCPU    16.0 GB   1 × L4
  n1-standard-4            4 vCPU    15.0 GB   1/2 × T4
  n1-standard-8            8 vCPU    30.0 GB   1/2/4 × T4
  n2-highmem-96           96 vCPU   768.0 GB

  T4                    1/2/4 a machine; support ended 2026-12-01   us-east1, us-west1
  L4                    1 a machine   us-west1
  X9                    8 a machine
  TPU_V2                machines not known; support ended   us-east1"""
    )


def test_regions_that_are_near() -> None:
    assert MACHINES.near("us-central1", sorted(MACHINES.regions)) == [
        "us-east1",
        "us-west1",
        "asia-east1",
        "europe-west4",
    ]
    assert MACHINES.near("me-west1", sorted(MACHINES.regions)) == ["europe-west4", "asia-east1", "us-east1", "us-west1"]
    assert MACHINES.near("mars", sorted(MACHINES.regions)) == ["asia-east1", "europe-west4", "us-east1", "us-west1"]


def test_the_words_of_a_machine() -> None:
    assert [
        str(one)
        for one in (MachineType("a"), MachineType("a", 2), MachineType("a", None, 2.0), MachineType("a", 2, 7.5))
    ] == ["a", "a", "a", "a (2 vCPU, 7.5 GB)"]
