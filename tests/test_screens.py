"""What a person reads, to the last space: the registry, the graph, the plans, a run as it goes, an error."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from local_pipelines import pipeline_text, task
from run_kfp import progress, screens
from run_kfp.backends.local import LocalPlan
from run_kfp.backends.local.docker_engine import DockerSettings
from run_kfp.backends.local.runner import Policy
from run_kfp.errors import BackendError, InputError, Submitted
from run_kfp.findings import Finding
from run_kfp.lines import Space, Text
from run_kfp.localruns import RunRecord, StepRecord
from run_kfp.masking import Masker
from run_kfp.pipeline import CompiledPipeline, Parameter, Step
from run_kfp.plans import RunRequest, Value
from run_kfp.registry import SecretSource
from run_kfp.registry_file import parse_registry
from run_kfp.runs import BackendName, RunState, RunStatus, StepState, StepStatus
from run_kfp.secrets import SecretFinder, SecretRef
from run_kfp.settings import Layers

NOW = datetime(2026, 11, 23, 14, 2, 10, tzinfo=UTC)

REGISTRY = """
[pipeline]
name = "dermaid"

[containers.2]
name = "read"
image = "busybox:1.36"
entrypoint = ["run"]
env = { TAG = { param = "tag" } }

[containers.10]
name = "train"
display_name = "03-train"
description = "Trains the model."
image = "example/train"
command = ["python"]
args = ["--fast", { param = "tag", prefix = "--tag=" }, { secret = "login" }, { secret = "login" }]
env = { MODE = "online" }
cpu = 16
memory = "128G"
accelerator = { type = "NVIDIA_TESLA_T4", count = { param = "gpus" } }
side_effects = true
process = { cwd = "steps", entrypoint = ["sh"] }

[containers.3]
factory = "steps:make"
name = "make"
cpu = 2

[params.gpus]
default = "4"
[secrets.login]
env = "LOGIN"
"""


def shown(lines: Iterable[Text]) -> str:
    return "\n".join(line.plain.rstrip() for line in lines)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


# ── registry ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_registry() -> None:
    registry = parse_registry(REGISTRY, source="run-kfp.toml", folder=Path())

    assert (
        shown(screens.registry_lines(registry))
        == """\
dermaid  from run-kfp.toml

   2  read
      image      busybox:1.36
      resources  default machine
      parameters tag

  10  train  03-train
      Trains the model.
      image      example/train
      resources  16 CPU, 128G, <gpus> × NVIDIA_TESLA_T4
      parameters tag, gpus
      secrets    login
      caching    never (side effects)

   3  make
      image      created by steps:make
      resources  2 CPU"""
    )


def test_a_registry_as_data() -> None:
    data = screens.registry_data(parse_registry(REGISTRY, source="run-kfp.toml", folder=Path()))

    assert data == {
        "source": "run-kfp.toml",
        "pipeline": {"name": "dermaid", "display_name": "", "labels": {}},
        "containers": [
            {
                "index": "2",
                "name": "read",
                "display_name": "read",
                "image": "busybox:1.36",
                "factory": None,
                "command": None,
                "entrypoint": ["run"],
                "args": [],
                "env": {"TAG": {"param": "tag"}},
                "cpu": None,
                "memory": None,
                "accelerator": None,
                "side_effects": False,
                "process": None,
                "params": ["tag"],
                "secrets": [],
            },
            {
                "index": "10",
                "name": "train",
                "display_name": "03-train",
                "image": "example/train",
                "factory": None,
                "command": ["python"],
                "entrypoint": None,
                "args": ["--fast", {"param": "tag", "prefix": "--tag="}, {"secret": "login"}, {"secret": "login"}],
                "env": {"MODE": "online"},
                "cpu": "16",
                "memory": "128G",
                "accelerator": {"type": "NVIDIA_TESLA_T4", "count": {"param": "gpus"}},
                "side_effects": True,
                "process": {"cwd": "steps", "entrypoint": ["sh"]},
                "params": ["tag", "gpus"],
                "secrets": ["login"],
            },
            {
                "index": "3",
                "name": "make",
                "display_name": "make",
                "image": None,
                "factory": "steps:make",
                "command": None,
                "entrypoint": None,
                "args": [],
                "env": {},
                "cpu": "2",
                "memory": None,
                "accelerator": None,
                "side_effects": False,
                "process": None,
                "params": [],
                "secrets": [],
            },
        ],
        "params": {"gpus": {"env": None, "default": "4", "description": ""}},
        "secrets": {"login": {"env": "LOGIN", "file": None, "env_file": None, "description": ""}},
    }


# ── the graph and the plans ─────────────────────────────────────────────────────────────────────────────────────────


TEXT = pipeline_text("dermaid", {"one": task("busybox")})
PARAMETER = Parameter("tag", "STRING", required=True)


def pipeline(*steps: Step) -> CompiledPipeline:
    return CompiledPipeline(TEXT, "pipeline.yaml", "dermaid", "Derma AI", (PARAMETER,), steps)


def step(name: str, *after: str, resources: str = "", cached: bool = False) -> Step:
    return Step(name, name, f"example/{name}", after, resources, cached)


FORK = pipeline(
    step("read", resources="2 CPU"),
    step("train", "read", cached=True),
    step("test", "read"),
    step("push", "train", "test"),
    step("end", "push"),
)


def test_a_graph() -> None:
    assert (
        shown(screens.graph_lines(FORK))
        == """\
Derma AI  5 steps
  ○ read   example/read   2 CPU
  │
  ○ train  example/train  default machine  cached
  ○ test   example/test   default machine  after read
  ○ push   example/push   default machine  after train, test
  │
  ○ end    example/end    default machine"""
    )
    assert (
        shown(screens.graph_lines(pipeline(step("one"))))
        == """\
Derma AI  1 step
  ○ one  example/one  default machine"""
    )


SECRET = SecretRef(
    "login",
    "environment LOGIN",
    SecretSource(env="LOGIN"),
    SecretFinder(Layers({}, {}, {}), folder=None, within=None, registry_folder=Path(), masker=Masker()),
)
REQUEST = RunRequest(
    backend=BackendName.VERTEX,
    pipeline=FORK,
    job_id="dermaid-1",
    display_name="Derma AI",
    values={"tag": Value("v1 é", "-t"), "login": SECRET},
    project="my-project",
    region="us-east1",
    pipeline_root="gs://bucket/root",
    service_account="runner@my-project.iam.gserviceaccount.com",
    failure_policy="slow",
    submission="mark",
    root_source="--pipeline-root",
    labels={"team": "derma", "stage": "test"},
)


def test_a_plan() -> None:
    assert (
        shown(screens.plan_lines(REQUEST, REQUEST.ref))
        == """\
Plan of the submission
  run              vertex://projects/my-project/locations/us-east1/pipelineJobs/dermaid-1
  display name     Derma AI
  project          my-project
  region           us-east1
  service account  runner@my-project.iam.gserviceaccount.com
  pipeline root    gs://bucket/root  (--pipeline-root)
  failure policy   slow (independent steps continue after a failure)
  labels           team=derma, stage=test
  parameters
    tag    "v1 é"  (-t)
    login  secret  (from environment LOGIN)

Derma AI  5 steps
  ○ read   example/read   2 CPU
  │
  ○ train  example/train  default machine  cached
  ○ test   example/test   default machine  after read
  ○ push   example/push   default machine  after train, test
  │
  ○ end    example/end    default machine"""
    )
    quick = replace(
        REQUEST, values={}, failure_policy="fast", labels={}, network="net", encryption_key="key", endpoint="x"
    )
    assert shown(screens.plan_lines(quick, quick.ref)).splitlines()[1:] == [
        "  run              vertex://projects/my-project/locations/us-east1/pipelineJobs/dermaid-1",
        "  display name     Derma AI",
        "  project          my-project",
        "  region           us-east1",
        "  service account  runner@my-project.iam.gserviceaccount.com",
        "  endpoint         x",
        "  pipeline root    gs://bucket/root  (--pipeline-root)",
        "  failure policy   fast (the first failure stops the run)",
        "  network          net",
        "  encryption key   key",
        "",
        "Derma AI  5 steps",
        "  ○ read   example/read   2 CPU",
        "  │",
        "  ○ train  example/train  default machine  cached",
        "  ○ test   example/test   default machine  after read",
        "  ○ push   example/push   default machine  after train, test",
        "  │",
        "  ○ end    example/end    default machine",
    ]


def without_spec(data: dict[str, Any]) -> dict[str, Any]:
    assert data.pop("pipeline_spec")["pipelineInfo"] == {"name": "dermaid"}
    return data


def test_a_plan_as_data() -> None:
    assert without_spec(screens.plan_data(REQUEST, REQUEST.ref)) == {
        "run": "vertex://projects/my-project/locations/us-east1/pipelineJobs/dermaid-1",
        "job_id": "dermaid-1",
        "display_name": "Derma AI",
        "project": "my-project",
        "region": "us-east1",
        "service_account": "runner@my-project.iam.gserviceaccount.com",
        "endpoint": "",
        "pipeline_root": "gs://bucket/root",
        "pipeline_root_from": "--pipeline-root",
        "failure_policy": "slow",
        "network": None,
        "encryption_key": None,
        "labels": {"team": "derma", "stage": "test"},
        "parameter_values": {
            "tag": {"value": "v1 é", "from": "-t"},
            "login": {"secret": "login", "from": "environment LOGIN"},
        },
    }
    assert screens.pipeline_data(FORK, "p.yaml") == {
        "pipeline": "dermaid",
        "file": "p.yaml",
        "parameters": ["tag"],
        "steps": [
            {"name": "read", "image": "example/read", "after": [], "resources": "2 CPU"},
            {"name": "train", "image": "example/train", "after": ["read"], "resources": None},
            {"name": "test", "image": "example/test", "after": ["read"], "resources": None},
            {"name": "push", "image": "example/push", "after": ["train", "test"], "resources": None},
            {"name": "end", "image": "example/end", "after": ["push"], "resources": None},
        ],
    }


def test_who_can_read_the_secrets() -> None:
    assert (
        screens.secrets_note(REQUEST)
        == "login: sent as arguments, so everyone who may view the run on Vertex AI can read them"
    )
    assert screens.secrets_note(replace(REQUEST, values={"tag": Value("v1", "-t")})) == ""
    several = {name: replace(SECRET, name=name) for name in ("login-10", "login-2")}
    assert screens.secrets_note(replace(REQUEST, values=several)).startswith("login-2, login-10: sent")


def local_plan(**more: Any) -> LocalPlan:
    return LocalPlan(FORK, (), "dermaid-1", "docker", {"tag": Value("v1", "-t")}, **{"policy": Policy(), **more})


def test_a_plan_of_a_local_run() -> None:
    assert (
        shown(screens.rehearsal_plan_lines(local_plan()))
        == """\
Plan of the local run
  run              local://dermaid-1
  engine           docker
  parallel         2 steps at a time
  failure policy   fast (the first failure stops the run)
  parameters
    tag  "v1"  (-t)

Derma AI  5 steps
  ○ read   example/read   2 CPU
  │
  ○ train  example/train  default machine  cached
  ○ test   example/test   default machine  after read
  ○ push   example/push   default machine  after train, test
  │
  ○ end    example/end    default machine"""
    )
    docker = DockerSettings("missing", None, {"/gcs/b": Path("data")}, None)
    slow = local_plan(policy=Policy(3, False, 90.0), docker=docker, base=RECORD, reused=frozenset({"b", "a"}))
    assert shown(screens.rehearsal_plan_lines(slow)).splitlines()[1:8] == [
        "  run              local://dermaid-1",
        "  engine           docker",
        "  parallel         3 steps at a time",
        "  failure policy   slow (independent steps continue after a failure)",
        "  step timeout     90 s",
        "  repeats          local://dermaid-0; already done: a, b",
        "  mounted          data at /gcs/b",
    ]
    many = local_plan(base=RECORD, reused=frozenset({"work-10", "work-2"}))
    assert "; already done: work-2, work-10" in shown(screens.rehearsal_plan_lines(many))
    assert "  repeats          local://dermaid-0; already done: nothing" in shown(
        screens.rehearsal_plan_lines(local_plan(base=RECORD))
    )


def test_a_plan_of_a_local_run_as_data() -> None:
    assert without_spec(screens.rehearsal_plan_data(local_plan())) == {
        "run": "local://dermaid-1",
        "job_id": "dermaid-1",
        "engine": "docker",
        "parallel": 2,
        "failure_policy": "fast",
        "step_timeout": None,
        "credentials": None,
        "local_only": [],
        "from_run": None,
        "reused": [],
        "parameter_values": {"tag": {"value": "v1", "from": "-t"}},
    }
    slow = local_plan(
        policy=Policy(3, False, 90.0),
        base=RECORD,
        reused=frozenset({"b", "a"}),
        credentials=Path("key.json"),
        local_only=("--gpus all",),
    )
    assert without_spec(screens.rehearsal_plan_data(slow)) == {
        "run": "local://dermaid-1",
        "job_id": "dermaid-1",
        "engine": "docker",
        "parallel": 3,
        "failure_policy": "slow",
        "step_timeout": 90.0,
        "credentials": "key.json",
        "local_only": ["--gpus all"],
        "from_run": "local://dermaid-0",
        "reused": ["a", "b"],
        "parameter_values": {"tag": {"value": "v1", "from": "-t"}},
    }


# ── a run ───────────────────────────────────────────────────────────────────────────────────────────────────────────


STATUS = RunStatus(
    RunState.RUNNING,
    (
        StepStatus("train", StepState.RUNNING, ago(3725)),
        StepStatus("read", StepState.SUCCEEDED, ago(3800), ago(3735)),
        StepStatus("test", StepState.FAILED, ago(59), ago(0), "exit code 1", "job/1"),
        StepStatus("new", StepState.PENDING, ago(9)),
    ),
)


def test_the_progress_of_a_run() -> None:
    assert (
        shown(progress.progress_lines(FORK, STATUS, NOW, Space(80)))
        == """\
Derma AI  RUNNING  1:03:20
  ✓ read   SUCCEEDED   1:05
  ● train  RUNNING     1:02:05
  ✗ test   FAILED      0:59  exit code 1
  ○ push   WAITING
  ○ end    WAITING
  ○ new    PENDING"""
    )
    assert (
        shown(progress.progress_lines(pipeline(step("one")), RunStatus(RunState.FAILED), NOW, Space(80)))
        == """\
Derma AI  FAILED
  ○ one  WAITING"""
    )


def test_what_is_new_in_a_run() -> None:
    before = RunStatus(RunState.PENDING, (StepStatus("read", StepState.SUCCEEDED, ago(3800), ago(3735)),))

    assert list(progress.changes(FORK, None, STATUS, NOW)) == [
        "14:02:10Z  run RUNNING",
        "14:02:10Z  read SUCCEEDED  1:05",
        "14:02:10Z  train RUNNING  1:02:05",
        "14:02:10Z  test FAILED  0:59  exit code 1",
        "14:02:10Z  new PENDING",
    ]
    assert list(progress.changes(FORK, before, STATUS, NOW)) == [
        "14:02:10Z  run RUNNING",
        "14:02:10Z  train RUNNING  1:02:05",
        "14:02:10Z  test FAILED  0:59  exit code 1",
        "14:02:10Z  new PENDING",
    ]
    assert list(progress.changes(FORK, STATUS, STATUS, NOW)) == []


def test_a_status_as_data() -> None:
    assert screens.status_data(STATUS) == {
        "state": "RUNNING",
        "state_message": None,
        "steps": [
            {
                "name": "train",
                "state": "RUNNING",
                "started": "2026-11-23T13:00:05+00:00",
                "ended": None,
                "error": None,
                "job": None,
            },
            {
                "name": "read",
                "state": "SUCCEEDED",
                "started": "2026-11-23T12:58:50+00:00",
                "ended": "2026-11-23T12:59:55+00:00",
                "error": None,
                "job": None,
            },
            {
                "name": "test",
                "state": "FAILED",
                "started": "2026-11-23T14:01:11+00:00",
                "ended": "2026-11-23T14:02:10+00:00",
                "error": "exit code 1",
                "job": "job/1",
            },
            {
                "name": "new",
                "state": "PENDING",
                "started": "2026-11-23T14:02:01+00:00",
                "ended": None,
                "error": None,
                "job": None,
            },
        ],
    }
    assert screens.status_data(RunStatus(RunState.FAILED, (), "out of quota")) == {
        "state": "FAILED",
        "state_message": "out of quota",
        "steps": [],
    }


RECORD = RunRecord(
    id="dermaid-0",
    ref="local://dermaid-0",
    pipeline={"name": "dermaid", "display_name": "Derma AI"},
    engine="process",
    state=RunState.RUNNING,
    created=ago(4000),
    started=ago(3900),
    parameters={},
    runner={},
    steps=[
        StepRecord("read", "", "", [], "", StepState.SUCCEEDED, ago(3800), ago(3735), reused_from="dermaid-old"),
        StepRecord("train", "", "", ["read"], "", StepState.RUNNING, ago(61)),
        StepRecord("test", "", "", ["read"], "", StepState.FAILED, ago(60), ago(0), 1, "exit code 1"),
        StepRecord("push", "", "", ["test"], "", StepState.WAITING),
        StepRecord("end", "", "", ["read", "push"], "", StepState.CANCELLING, ago(5)),
    ],
)


def test_a_record() -> None:
    tails = {"train": ["\tepoch 1", "\x1b[31mepoch 2"], "test": ["not shown"], "end": ["stopping"]}
    lines = list(progress.record_lines(RECORD, tails, NOW, Space(80)))

    assert (
        shown(lines)
        == """\
Derma AI  RUNNING  1:05:00
  ✓ read   SUCCEEDED   1:05  done by dermaid-old
  ● train  RUNNING     1:01
          epoch 1
      epoch 2
  ✗ test   FAILED      1:00  after read  exit code 1
  ○ push   WAITING
  ● end    CANCELLING  0:05  after read, push
      stopping"""
    )
    assert [(line.no_wrap, line.overflow) for line in lines if "epoch" in line.plain] == [(True, "ellipsis")] * 2


def test_what_is_new_in_a_record() -> None:
    assert list(progress.record_changes({}, RECORD.state, RECORD.steps, NOW)) == [
        "14:02:10Z  run RUNNING",
        "14:02:10Z  read SUCCEEDED  done by dermaid-old",
        "14:02:10Z  train RUNNING  1:01",
        "14:02:10Z  test FAILED  1:00  exit code 1",
        "14:02:10Z  end CANCELLING  0:05",
    ]
    before = {"": "RUNNING", "read": "SUCCEEDED", "train": "PENDING"}
    assert list(progress.record_changes(before, RECORD.state, RECORD.steps, NOW)) == [
        "14:02:10Z  train RUNNING  1:01",
        "14:02:10Z  test FAILED  1:00  exit code 1",
        "14:02:10Z  end CANCELLING  0:05",
    ]


def test_runs_of_this_machine() -> None:
    failed = replace(RECORD, id="dermaid-long", state=RunState.FAILED, error="step test failed", ended=ago(3890))

    assert (
        shown(screens.runs_lines([RECORD, failed], NOW))
        == """\
dermaid-0     RUNNING     2026-11-23 12:55:30Z  1:05:00  1/5 steps  process
dermaid-long  FAILED      2026-11-23 12:55:30Z     0:10  1/5 steps  process  step test failed"""
    )
    assert list(screens.runs_lines([], NOW)) == []


def test_a_record_as_data() -> None:
    data = screens.record_data(RECORD)

    assert data == {
        "run": "local://dermaid-0",
        "pipeline": "dermaid",
        "engine": "process",
        "created": "2026-11-23T12:55:30+00:00",
        "state": "RUNNING",
        "state_message": None,
        "steps": [
            {
                "name": "read",
                "state": "SUCCEEDED",
                "started": "2026-11-23T12:58:50+00:00",
                "ended": "2026-11-23T12:59:55+00:00",
                "error": None,
                "job": None,
            },
            {
                "name": "train",
                "state": "RUNNING",
                "started": "2026-11-23T14:01:09+00:00",
                "ended": None,
                "error": None,
                "job": None,
            },
            {
                "name": "test",
                "state": "FAILED",
                "started": "2026-11-23T14:01:10+00:00",
                "ended": "2026-11-23T14:02:10+00:00",
                "error": "exit code 1",
                "job": None,
            },
            {"name": "push", "state": "WAITING", "started": None, "ended": None, "error": None, "job": None},
            {
                "name": "end",
                "state": "CANCELLING",
                "started": "2026-11-23T14:02:05+00:00",
                "ended": None,
                "error": None,
                "job": None,
            },
        ],
    }


# ── errors ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_errors() -> None:
    several = InputError.of("the call", [Finding("no tag", "pass -t"), Finding("no project")])

    assert (
        shown(screens.error_lines(InputError("invalid tag", "pass -t")))
        == """\
error: invalid tag
  → pass -t"""
    )
    assert (
        shown(screens.error_lines(several))
        == """\
error: 2 problems with the call
  1. no tag
     → pass -t
  2. no project"""
    )
    of_steps = InputError(
        "the run failed", faults=[Finding("step a: exit code 1", "    one\n    two"), Finding("step b")]
    )
    assert (
        shown(screens.error_lines(of_steps))
        == """\
error: the run failed
  1. step a: exit code 1
     one
     two
  2. step b"""
    )
    assert screens.error_data(several) == {
        "exit_code": 2,
        "message": "2 problems with the call",
        "hint": "",
        "faults": [{"message": "no tag", "hint": "pass -t"}, {"message": "no project", "hint": ""}],
    }
    assert screens.error_data(BackendError("refused", submitted=Submitted.NO)) == {
        "exit_code": 4,
        "message": "refused; nothing was submitted",
        "hint": "",
        "faults": [],
        "submitted": "no",
    }
