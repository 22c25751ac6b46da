"""What is said of resources, by a small machine table: each row is a step's limits, and how each finding begins."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from typing import Any

from run_kfp.findings import Finding
from run_kfp.preflight.offline.resources import check_resources, region_hint
from specs import context_of_spec, registry, step_spec
from test_call_words import line
from test_machine_choice import EAST, MACHINES, WEST

TODAY = date(2026, 11, 30)
PLACEHOLDER = "{{$.inputs.parameters['n']}}"
# As MACHINES, with names that Vertex AI could have.
NAMES = {"T4": "NVIDIA_TESLA_T4", "L4": "NVIDIA_L4", "X9": "NVIDIA_X9"}
TABLE = replace(
    MACHINES,
    types={
        name: replace(one, accelerators={NAMES[kind]: counts for kind, counts in one.accelerators.items()})
        for name, one in MACHINES.types.items()
    },
    accelerators={
        NAMES.get(name, name): replace(one, name=NAMES.get(name, name)) for name, one in MACHINES.accelerators.items()
    },
)


def told(findings: Iterable[Finding]) -> list[str]:
    return [line(found) for found in findings]


def of(resources: dict[str, Any], region: str = EAST, today: date = TODAY) -> list[str]:
    context = context_of_spec(step_spec({"resources": resources}), registry_text=registry(""), faults=[], region=region)
    return told(check_resources(context, TABLE, today))


def of_limits(texts: Iterable[str]) -> dict[str, list[str]]:
    """Map `CPU MEMORY TYPE COUNT REGION` (- for none) to what is said."""
    found = {}
    for text in texts:
        cpu, memory, kind, count, region = text.split()
        accelerator = {key: value for key, value in (("type", NAMES.get(kind, kind)), ("count", count)) if value != "-"}
        limits: dict[str, Any] = {"cpuLimit": float(cpu)} if cpu != "-" else {}
        limits |= {"memoryLimit": float(memory)} if memory != "-" else {}
        limits |= {"accelerator": accelerator} if accelerator else {}
        found[text] = of(limits, region)
    return found


def test_limits() -> None:
    expected = {
        "- - - - us-east1": [],
        "4 16 - - us-east1": [],
        "4 16.1 - - us-east1": [
            "note RK-MEMORY-BOUNDARY memoryLimit: 16.1 GB lead to e2-standard-16 (16 "
            "vCPU, 64 GB); e2-standard-4 (4 vCPU → with 16G it is certain"
        ],
        "42 1 - - us-east1": [],
        "96 624 - - us-west1": [
            "warning RK-QUOTA-DEFAULT resourceCpuLimit: needs 96 N2 CPUs in us-west1; "
            "the documented default of a project ther → check yours: gcloud beta "
            "quotas info list --servic"
        ],
        "96.5 1 - - us-east1": [
            "error RK-CPU-LIMIT cpuLimit: 96.5 CPUs; a step can request at most 96 → ask for 96 at most"
        ],
        "1 624.5 - - us-east1": [
            "warning RK-MEMORY-LIMIT memoryLimit: 624.5 GB of memory; a step can "
            "request at most 624 GB, which is enough → ask for 624G at most"
        ],
        "1 670 - - us-east1": [
            "warning RK-MEMORY-LIMIT memoryLimit: 670 GB of memory; a step can request "
            "at most 624 GB, which is enough o → ask for 624G at most"
        ],
        "1 671 - - us-east1": [
            "error RK-MEMORY-LIMIT memoryLimit: 671 GB of memory; a step can request "
            "at most 624 GB → ask for 624G at most"
        ],
        "97 700 T4 1 us-east1": [
            "error RK-CPU-LIMIT cpuLimit: 97 CPUs; a step can request at most 96 → "
            "ask for 8 at most, as no machine with 1 × NVIDIA_T",
            "error RK-MEMORY-LIMIT memoryLimit: 700 GB of memory; a step can request "
            "at most 624 GB → ask for 30G at most, as no machine with 1 × NVIDIA",
        ],
        "- - T4 4 us-east1": [],
        "- - T4 1 us-west1": [],
        "- - T4 3 us-east1": ["error RK-GPU-COUNT count: 3 × NVIDIA_TESLA_T4; a machine has 1, 2 or 4 → use 2 or 4"],
        "- - T4 8 us-east1": ["error RK-GPU-COUNT count: 8 × NVIDIA_TESLA_T4; a machine has 1, 2 or 4 → use 4"],
        "8 - T4 3 us-east1": ["error RK-GPU-COUNT count: 3 × NVIDIA_TESLA_T4; a machine has 1, 2 or 4 → use 2 or 4"],
        "90 - T4 3 us-east1": [
            "error RK-GPU-COUNT count: 3 × NVIDIA_TESLA_T4; a machine has 1, 2 or 4 → "
            "use 2 or 4, and request less CPU or memory"
        ],
        "9 - T4 1 us-east1": [
            "error RK-MACHINE-NONE accelerator: no machine has 9 CPU, 1 × "
            "NVIDIA_TESLA_T4 → the largest machine with 1 × NVIDIA_TESLA_T4 is n1"
        ],
        "- 31 T4 1 us-east1": [
            "warning RK-MACHINE-NONE accelerator: no machine has 31 GB, 1 × "
            "NVIDIA_TESLA_T4; n1-standard-8 (8 vCPU, 30 G → with 30G it is certain"
        ],
        "- - T4 1 europe-west4": [
            "error RK-GPU-REGION type: custom training does not offer "
            "NVIDIA_TESLA_T4 in europe-west4 (the sm → regions with it, the nearest "
            "first: us-east1, us-w"
        ],
        "- - L4 1 us-east1": [
            "warning RK-GPU-REGION type: Google's pages disagree whether training "
            "offers NVIDIA_L4 in us-east1 → regions with it, the nearest first: "
            "us-west1",
            "warning RK-QUOTA-DEFAULT resourceCount: needs 1 × NVIDIA_L4 in us-east1; "
            "the documented default of a project t → check yours: gcloud beta quotas "
            "info list --servic",
        ],
        "- - L4 1 us-west1": [],
        "- - L4 2 us-west1": ["error RK-GPU-COUNT count: 2 × NVIDIA_L4; a machine has 1 → use 1"],
        "- - X9 8 us-east1": [],
        "- - X9 1 us-east1": [
            "error RK-GPU-COUNT count: 1 × NVIDIA_X9; a machine has 8 → use 8, and request less CPU or memory"
        ],
        "- - TPU_V2 8 us-east1": ["error RK-GPU-RETIRED type: TPU_V2 was retired → use NVIDIA_TESLA_T4 or NVIDIA_L4"],
        "- - - 2 us-east1": [
            "error RK-GPU-INCOMPLETE resourceType: 2 accelerators are requested without "
            "a type → add the type, such as NVIDIA_TESLA_T4, or remove t"
        ],
        "- - T4 - us-east1": [
            "warning RK-GPU-INCOMPLETE resourceCount: NVIDIA_TESLA_T4 has no count, "
            "which means none → write how many: 1"
        ],
        "- - T4 0 us-east1": [],
        "- - NVIDIA_T4 1 us-east1": [
            "error RK-GPU-TYPE type: Vertex AI has no accelerator 'NVIDIA_T4' → write NVIDIA_TESLA_T4"
        ],
        "- - NVIDIA_T4 3 us-east1": [
            "error RK-GPU-TYPE type: Vertex AI has no accelerator 'NVIDIA_T4' → write NVIDIA_TESLA_T4",
            "error RK-GPU-COUNT count: 3 × NVIDIA_TESLA_T4; a machine has 1, 2 or 4 → use 2 or 4",
        ],
        "- - NVIDIA_B300 1 us-east1": [
            "warning RK-GPU-TYPE type: the small table does not know the "
            "accelerator NVIDIA_B300 → did you mean 'NVIDIA_X9'?"
        ],
        "- - nvidia.com/gpu 1 us-west1": [
            "error RK-GPU-TYPE type: 'nvidia.com/gpu' is a resource of "
            "Kubernetes, not an accelerator of Ve → use NVIDIA_TESLA_T4 or "
            "NVIDIA_L4"
        ],
        "- - tesla-l4 1 us-west1": [
            "error RK-GPU-TYPE type: Vertex AI has no accelerator 'tesla-l4' → write NVIDIA_L4"
        ],
        "- - gpu 1 us-west1": [
            "error RK-GPU-TYPE type: Vertex AI has no accelerator 'gpu' → `run-kfp machines` lists them"
        ],
        "- - ACCELERATOR_TYPE_UNSPECIFIED 0 us-east1": [],
        "- - - - us-east-1": [],
        "- - - - us-east9": [
            "warning RK-REGION --region: the small table has no Vertex AI Pipelines in "
            "us-east9 → with Pipelines there is us-east1"
        ],
        "- - - - us-south1": [
            "warning RK-REGION --region: the small table has no Vertex AI Pipelines in "
            "us-south1 → did you mean 'us-west1'?"
        ],
        "- - - - mars": [],
        "- - - - aa-bb1": [
            "error RK-REGION --region: unknown region 'aa-bb1' → regions with Pipelines, the nearest first: asia-ea"
        ],
    }
    assert of_limits(expected) == expected


def test_the_end_of_support() -> None:
    kind = {"accelerator": {"type": NAMES["T4"], "count": "1"}}

    assert of(kind, today=date(2026, 11, 30)) == []
    assert of(kind, today=date(2026, 12, 1)) == [
        "warning RK-GPU-RETIRED type: support for NVIDIA_TESLA_T4 ended on 2026-12-01 → use "
        "NVIDIA_TESLA_T4 or NVIDIA_L4"
    ]


def test_fields_and_requests() -> None:
    assert of({"resourceCpuLimit": "4", "cpuLimit": 8}) == [
        "warning RK-RESOURCE-CONFLICT resourceCpuLimit: cpuLimit is 8.0 and resourceCpuLimit is 4.0 → "
        "write the same limit in both, or compile again"
    ]
    assert of({"resourceCpuLimit": "4"}) == [
        "warning RK-RESOURCE-FIELDS resourceCpuLimit: resourceCpuLimit without cpuLimit; Vertex AI reads "
        "the latter → compile the file with kfp 2.17, or add the older f"
    ]
    assert of({"resourceCpuLimit": "four", "resourceMemoryLimit": "32"}) == [
        "error RK-CPU-FORMAT resourceCpuLimit: 'four' is not a valid CPU limit: write CPUs (16, 0.5) or "
        "thousandths ( →",
        'error RK-MEMORY-TINY resourceMemoryLimit: the memory limit is 32 bytes → write "32G"',
    ]
    assert of({"resourceCpuLimit": PLACEHOLDER}) == [
        "error RK-RESOURCE-PLACEHOLDER resourceCpuLimit: resourceCpuLimit refers to the input 'n', which "
        "the task does not have → write a literal"
    ]
    assert of({"resourceCpuRequest": "4", "cpuRequest": 4, "cpuLimit": 4, "resourceCpuLimit": "4"}) == []
    assert of({"resourceMemoryRequest": "4G", "memoryRequest": 4.1, "memoryLimit": 4, "resourceMemoryLimit": "4G"}) == [
        "warning RK-REQUEST-IGNORED resourceMemoryRequest: the memory request 4G has no effect on Vertex "
        "AI, and the limit is 4 G → set the memory limit to it (set_memory_limit)"
    ]
    assert of({"cpuRequest": 2, "resourceCpuRequest": "2"}) == [
        "warning RK-REQUEST-IGNORED resourceCpuRequest: the CPU request 2 has no effect on Vertex AI, and "
        "a limit is missing → set the CPU limit to it (set_cpu_limit)"
    ]


def pool(machine: Any, kind: str = "", count: Any = 0, replicas: int = 1, **more: Any) -> dict[str, Any]:
    spec = {"machine_type": machine, "accelerator_type": kind, "accelerator_count": count}
    return {"machine_spec": spec, "container_spec": {}, "replica_count": replicas, **more}


def of_pool(*pools: Any, location: str | None = EAST) -> list[str]:
    inputs = {"parameters": {"pools": {"runtimeValue": {"constant": json.dumps(pools)}}}}
    if location:
        inputs["parameters"]["location"] = {"runtimeValue": {"constant": location}}
    context = context_of_spec(step_spec({}, inputs=inputs), registry_text=registry(""), region=WEST)
    return told(check_resources(context, TABLE, TODAY))


def test_worker_pools() -> None:
    assert of_pool(pool("n1-standard-4", NAMES["T4"], 2)) == []
    assert of_pool(pool("n1-standard-4", NAMES["T4"], 4)) == [
        "error RK-GPU-COUNT machine_spec: 4 × NVIDIA_TESLA_T4; a machine has 1 or 2 → use 2"
    ]
    assert of_pool(pool("n1-standard-4", NAMES["T4"], "2", replicas=3)) == [
        "warning RK-QUOTA-DEFAULT machine_spec: needs 6 × NVIDIA_TESLA_T4 in us-east1; the documented "
        "default of a pro → check yours: gcloud beta quotas info list --servic"
    ]
    assert of_pool(pool("n1-standard-8", replicas=6)) == [
        "warning RK-QUOTA-DEFAULT machine_spec: needs 48 N1 and E2 CPUs in us-east1; the documented "
        "default of a proje → check yours: gcloud beta quotas info list --servic"
    ]
    assert of_pool(pool("n1-standard-8", replicas=5)) == []
    assert of_pool(pool("e2-standard-4", NAMES["T4"], 1)) == [
        "error RK-MACHINE-GPU machine_spec: e2-standard-4 takes no accelerator, not NVIDIA_TESLA_T4 → "
        "machine types with NVIDIA_TESLA_T4: n1-standard-8,"
    ]
    assert of_pool(pool("n1-standard-4", NAMES["L4"], 1)) == [
        "warning RK-GPU-REGION machine_spec: Google's pages disagree whether training offers NVIDIA_L4 in "
        "us-east1 → regions with it, the nearest first: us-west1",
        "error RK-MACHINE-GPU machine_spec: n1-standard-4 takes NVIDIA_TESLA_T4, not NVIDIA_L4 → machine "
        "types with NVIDIA_L4: g2-standard-4",
        "warning RK-QUOTA-DEFAULT machine_spec: needs 1 × NVIDIA_L4 in us-east1; the documented default "
        "of a project t → check yours: gcloud beta quotas info list --servic",
    ]
    assert of_pool(pool("e2-standard-16"), location=WEST) == [
        "error RK-MACHINE-TYPE machine_spec: e2-standard-16 is not offered in us-west1 (the small table) "
        "→ it is in us-east1"
    ]
    assert of_pool(pool("n1-standart-4"), pool("z9-huge-4"), pool("huge")) == [
        "error RK-MACHINE-TYPE machine_spec: custom training does not offer the machine type "
        "'n1-standart-4' → did you mean 'n1-standard-4'?",
        "warning RK-MACHINE-TYPE machine_spec: the small table does not know the machine type z9-huge-4 → "
        "`run-kfp machines` lists those for training",
        "error RK-MACHINE-TYPE machine_spec: custom training does not offer the machine type 'huge' → "
        "`run-kfp machines` lists those for training",
    ]
    assert of_pool(pool("n1-standard-4", "TPU_V2", 8), pool("n1-standard-4", "NVIDIA_T4", 1)) == [
        "error RK-GPU-RETIRED machine_spec: TPU_V2 was retired → use NVIDIA_TESLA_T4 or NVIDIA_L4",
        "error RK-GPU-TYPE machine_spec: Vertex AI has no accelerator 'NVIDIA_T4' → write NVIDIA_TESLA_T4",
    ]
    assert of_pool(pool("n1-standard-4", NAMES["T4"], 4), location=None) == [
        "error RK-GPU-COUNT machine_spec: 4 × NVIDIA_TESLA_T4; a machine has 1 or 2 → use 2"
    ]
    assert of_pool(pool(PLACEHOLDER, PLACEHOLDER, PLACEHOLDER)) == []
    assert of_pool({"machine_spec": {"machine_type": "huge"}}) == []
    assert of_pool({"machineSpec": {"machineType": "huge"}, "containerSpec": {}, "replicaCount": 1}) == [
        "error RK-MACHINE-TYPE machineSpec: custom training does not offer the machine type 'huge' → "
        "`run-kfp machines` lists those for training"
    ]


def test_a_pool_in_arguments_and_in_a_custom_job() -> None:
    spec = step_spec({"args": ["--x", json.dumps({"worker_pool_specs": [pool("huge")]}), "{no json", "[1]"]})
    spec["deploymentSpec"]["executors"]["job"] = {"customJob": {"customJob": pool("tiny")}}
    context = context_of_spec(spec, registry_text=registry(""), faults=[], region=EAST)

    assert [(found.place, found.message) for found in check_resources(context, TABLE, TODAY)] == [
        (
            "pipeline.yaml: task step, arguments [1].worker_pool_specs[0].machine_spec",
            "custom training does not offer the machine type 'huge'",
        ),
        (
            "pipeline.yaml: deploymentSpec.executors.job.customJob.customJob.machine_spec",
            "custom training does not offer the machine type 'tiny'",
        ),
    ]


def test_the_largest_use_of_a_quota_is_told() -> None:
    resources = [{"cpuLimit": size, "memoryLimit": 700 if size > 16 else 1} for size in (16, 4)]
    quota = replace(TABLE.cpu_quotas[0], limits={EAST: 3})
    spec = step_spec({"resources": resources[0]})
    spec["root"]["dag"]["tasks"]["other"] = {"componentRef": {"name": "comp-other"}, "taskInfo": {"name": "other"}}
    spec["components"]["comp-other"] = {"executorLabel": "exec-other"}
    spec["deploymentSpec"]["executors"]["exec-other"] = {"container": {"image": "busybox:1", "resources": resources[1]}}
    context = context_of_spec(spec, registry_text=registry(""), faults=[], region=EAST, project="p12345")

    found = check_resources(context, replace(TABLE, cpu_quotas=(quota,)), TODAY)
    assert [(one.code, one.message, one.hint) for one in found if one.code == "RK-QUOTA-DEFAULT"] == [
        (
            "RK-QUOTA-DEFAULT",
            "needs 16 N1 and E2 CPUs in us-east1; the documented default of a project there is 3 (the small table)",
            "check yours: gcloud beta quotas info list --service=aiplatform.googleapis.com --project=p12345 "
            "--filter=metric:cpus",
        )
    ]


def test_hints_for_regions() -> None:
    expected = {
        "us-east-1": "did you mean 'us-east1'?",
        "us-east9": "with Pipelines there is us-east1",
        "europe-west9": "with Pipelines there is europe-west4",
        "us-esat1": "did you mean 'us-east1'?",
        "nowhere": "regions with Pipelines, the nearest first: asia-east1, europe-west4, us-east1, us-west1, …",
    }
    assert {text: region_hint(text, TABLE) for text in expected} == expected
