"""The main job against a strict Vertex AI over TLS, by the program as a process and the unpatched SDK."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from google.cloud.aiplatform_v1.types import PipelineFailurePolicy, PipelineJob
from google.protobuf import json_format

from conftest import Cli, Result, Write
from dermaid import MAIN, RUNNER, SETTINGS, Canaries
from fakes.google_hosts import GoogleHosts
from fakes.vertex import FakeVertex
from fakes.vertex_script import Step
from processes import await_end

PARENT = "projects/test-project/locations/us-east1"


@dataclass(frozen=True)
class Cloud:
    """The fake, and the program with everything in place to reach it."""

    vertex: FakeVertex
    cli: Cli
    canaries: Canaries

    def submit(self, *more: str | Path, args: tuple[str, ...] = MAIN, **variables: str) -> Result:
        """Submit; that everything is looked at before is another matter, with tests of its own."""
        return self.cli(*args, "--api-endpoint", self.vertex.endpoint, "--no-check", *more, **variables)

    @property
    def made(self) -> list[PipelineJob]:
        return list(self.vertex.jobs.values())


@pytest.fixture
def cloud(vertex: FakeVertex, account_key_file: Path, folder: Path) -> Cloud:
    canaries = Canaries()
    variables = {
        **SETTINGS,
        **canaries.variables,
        **vertex.environment(),
        "GOOGLE_APPLICATION_CREDENTIALS": str(account_key_file),
    }
    return Cloud(vertex, Cli(folder, variables), canaries)


def values_of(job: PipelineJob) -> dict[str, object]:
    return {
        name: json_format.MessageToDict(value)
        for name, value in PipelineJob.pb(job).runtime_config.parameter_values.items()
    }


def codes(vertex: FakeVertex) -> list[tuple[str, str | None]]:
    return [(request.method, request.code) for request in vertex.requests]


def test_the_request_carries_everything(cloud: Cloud, folder: Path) -> None:
    result = cloud.submit("--label", "team=derma", "--failure-policy", "slow")

    assert result.code == 0, result.err
    (create,) = cloud.vertex.creates
    job = create.pipeline_job
    assert create.parent == PARENT
    assert re.fullmatch(r"dermaid-\d{14}-[0-9a-f]{6}", create.pipeline_job_id)
    assert re.fullmatch(r"dermaid-pipeline-[0-9a-f]{6}", job.display_name)
    assert job.service_account == RUNNER
    assert job.runtime_config.gcs_output_directory == "gs://test-bucket/pipeline_root/root"
    assert job.runtime_config.failure_policy == PipelineFailurePolicy.PIPELINE_FAILURE_POLICY_FAIL_SLOW
    assert job.labels["team"] == "derma"
    assert values_of(job) == {
        "project": "test-project",
        "bucket": "test-bucket",
        "tag": "dataset_v22",
        "whylabs_org_id": "org-1",
        "whylabs_dataset_id": "model-7",
        **cloud.canaries.parameter_values,
    }
    spec = yaml.safe_load((folder / "pipeline.yaml").read_text(encoding="utf-8"))
    assert json_format.MessageToDict(PipelineJob.pb(job).pipeline_spec) == spec
    ref = f"vertex://{PARENT}/pipelineJobs/{create.pipeline_job_id}"
    assert result.out == ref + "\n"
    link = "https://console.cloud.google.com/vertex-ai/locations/us-east1/pipelines/runs/"
    assert f"{link}{create.pipeline_job_id}?project=test-project" in result.err
    assert codes(cloud.vertex) == [("CreatePipelineJob", "OK")]


def test_the_failure_policy_is_fast_by_default(cloud: Cloud) -> None:
    assert cloud.submit().code == 0
    (create,) = cloud.vertex.creates
    assert create.pipeline_job.runtime_config.failure_policy == PipelineFailurePolicy.PIPELINE_FAILURE_POLICY_FAIL_FAST


def test_json_gives_ref_and_link_as_data(cloud: Cloud) -> None:
    result = cloud.submit("--json", "--job-id", "run-7")

    assert result.code == 0, result.err
    assert result.json["run"] == f"vertex://{PARENT}/pipelineJobs/run-7"
    assert result.json["job_id"] == "run-7"
    assert result.json["console"].endswith("/runs/run-7?project=test-project")


def test_a_finished_file_is_sent_as_it_is(cloud: Cloud, folder: Path) -> None:
    assert cloud.cli("-r", "3", "--compile-only", "-o", "made.yaml").code == 0
    before = (folder / "made.yaml").read_bytes()

    result = cloud.submit(args=("-f", "made.yaml", "-t", "v1"))

    assert result.code == 0, result.err
    assert (folder / "made.yaml").read_bytes() == before
    assert not (folder / "pipeline.yaml").exists()
    (create,) = cloud.vertex.creates
    assert json_format.MessageToDict(PipelineJob.pb(create.pipeline_job).pipeline_spec) == yaml.safe_load(before)
    assert values_of(create.pipeline_job)["git_login"] == cloud.canaries.git_login
    assert "wandb_api_key" not in values_of(create.pipeline_job)


def test_a_file_of_another_tool_takes_typed_parameters(cloud: Cloud, write: Write) -> None:
    write(
        "typed.py",
        "from kfp import dsl, compiler\n"
        "@dsl.container_component\n"
        "def show(n: int, x: float, flag: bool, items: list, more: dict, word: str = 'w'):\n"
        "    return dsl.ContainerSpec(image='alpine', command=['echo'], args=[n, x, flag, items, more, word])\n"
        "@dsl.pipeline(name='typed')\n"
        "def typed(n: int, x: float, flag: bool, items: list, more: dict, word: str = 'w'):\n"
        "    show(n=n, x=x, flag=flag, items=items, more=more, word=word)\n"
        "compiler.Compiler().compile(typed, 'typed.yaml')\n",
    )
    subprocess.run([sys.executable, "typed.py"], cwd=cloud.cli.folder, check=True)
    given = ["-p", "n=3", "-p", "x=0.5", "-p", "flag=TRUE", "-p", 'items=[1, "é"]', "-p", 'more={"a": null}']

    result = cloud.submit(args=("-f", "typed.yaml", *given))

    assert result.code == 0, result.err
    (create,) = cloud.vertex.creates
    assert values_of(create.pipeline_job) == {
        "n": 3,
        "x": 0.5,
        "flag": True,
        "items": [1, "é"],
        "more": {"a": None},
    }
    wrong = cloud.submit(args=("-f", "typed.yaml", "-p", "n=three", "-p", "flag=1", "-p", "items={}"))
    assert wrong.code == 2
    for words in ("n is 'three'", "flag is '1'", "items is '{}'", "x has no value", "more has no value"):
        assert words in wrong.err


# ── the end of a run ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_is_followed_to_success(cloud: Cloud) -> None:
    cloud.vertex.succeeds()

    result = cloud.submit("--wait", "--poll-every", "0.01")

    assert result.code == 0, result.err
    assert "run SUCCEEDED" in result.err
    for step in ("get-raw-data", "preprocess-data", "versioning", "train-model"):
        assert f"{step} RUNNING" in result.err
        assert f"{step} SUCCEEDED" in result.err


def test_a_failed_run_names_the_step_and_the_reason(cloud: Cloud) -> None:
    cloud.vertex.fails("versioning", "The replica workerpool0-0 exited with a non-zero status of 1.")

    result = cloud.submit("--wait", "--poll-every", "0.01", "--json")

    assert result.code == 5
    assert "step versioning: The replica workerpool0-0 exited with a non-zero status of 1." in result.err
    assert 'resource.type="ml_job"' in result.err
    assert result.json["state"] == "FAILED"
    assert [step["name"] for step in result.json["steps"] if step["state"] == "FAILED"] == ["versioning"]
    assert result.json["error"]["exit_code"] == 5


def test_cancelled_and_paused_are_no_success(cloud: Cloud) -> None:
    cloud.vertex.cancelled()
    cancelled = cloud.submit("--wait", "--poll-every", "0.01")
    cloud.vertex.paused()
    paused = cloud.submit("--wait", "--poll-every", "0.01")

    assert (cancelled.code, paused.code) == (6, 6)
    assert "the run was canceled" in cancelled.err
    assert "the run was paused" in paused.err


def test_a_state_that_is_not_known_is_no_success(cloud: Cloud) -> None:
    cloud.vertex.script("PIPELINE_STATE_UNSPECIFIED")

    result = cloud.submit("--wait", "--poll-every", "0.01", "--wait-timeout", "0.1")

    assert result.code == 7
    assert "run UNKNOWN" in result.err


def test_a_watch_that_ends_leaves_the_run(cloud: Cloud) -> None:
    cloud.vertex.script("RUNNING")

    result = cloud.submit("--wait", "--poll-every", "0.01", "--wait-timeout", "0.2")

    assert result.code == 7
    assert "the run continues" in result.err
    assert result.out.startswith("vertex://")


def test_a_look_that_fails_in_passing_is_repeated(cloud: Cloud) -> None:
    cloud.vertex.succeeds()
    cloud.vertex.fault("GetPipelineJob", "UNAVAILABLE", "try again", times=2)

    result = cloud.submit("--wait", "--poll-every", "0.01")

    assert result.code == 0, result.err


def test_a_look_that_is_refused_ends_the_watch(cloud: Cloud) -> None:
    cloud.vertex.fault("GetPipelineJob", "PERMISSION_DENIED", "Permission 'aiplatform.pipelineJobs.get' denied")

    result = cloud.submit("--wait", "--poll-every", "0.01")

    assert result.code == 7
    assert "aiplatform.pipelineJobs.get" in result.err
    assert len(cloud.made) == 1


def test_ctrl_c_while_watching_leaves_the_run_and_prints_its_ref(cloud: Cloud) -> None:
    cloud.vertex.script("RUNNING")
    process = cloud.cli.start(
        *MAIN, "--no-check", "--api-endpoint", cloud.vertex.endpoint, "--wait", "--poll-every", "0.05"
    )
    cloud.vertex.wait_for("GetPipelineJob", count=2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)

    assert process.returncode == 130
    (name,) = [create.pipeline_job_id for create in cloud.vertex.creates]
    assert f"vertex://{PARENT}/pipelineJobs/{name}" in out
    assert "the run continues" in err
    assert [request.method for request in cloud.vertex.requests].count("CancelPipelineJob") == 0


# ── faults around the create: exactly one run, or none, and the words say which ─────────────────────────────────────


@pytest.mark.parametrize("code", ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "INTERNAL", "DEADLINE_EXCEEDED"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_what_passes_is_tried_again_and_makes_one_run(cloud: Cloud, code: str, when: str) -> None:
    plan: Callable[..., None] = cloud.vertex.fault
    plan("CreatePipelineJob", code, "for a moment", when=when, times=1)

    result = cloud.submit()

    assert result.code == 0, result.err
    assert len(cloud.made) == 1
    assert f"Vertex AI answered {code}" in result.err
    assert result.out == f"vertex://{PARENT}/pipelineJobs/{cloud.vertex.creates[0].pipeline_job_id}\n"
    # The second create carries the same id and the same mark: that is what makes it safe.
    first, second = cloud.vertex.creates
    assert first == second


def test_a_lost_connection_after_the_create_makes_one_run(cloud: Cloud) -> None:
    cloud.vertex.drop("CreatePipelineJob", when="after")

    result = cloud.submit()

    assert result.code == 0, result.err
    assert len(cloud.made) == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_hang_is_given_up_and_makes_one_run(cloud: Cloud, when: str) -> None:
    plan: Callable[..., None] = cloud.vertex.hang
    plan("CreatePipelineJob", when=when)

    result = cloud.submit("--timeout", "6")

    assert result.code == 0, result.err
    assert len(cloud.made) == 1


def test_a_hang_that_lasts_ends_within_the_timeout_and_says_what_is_not_known(cloud: Cloud) -> None:
    cloud.vertex.hang("CreatePipelineJob", times=50)

    result = cloud.submit("--timeout", "2")

    assert result.code == 4
    assert "it is not known whether the run was created" in result.err
    assert "before you submit again" in result.err
    assert not cloud.made


def test_a_refusal_that_lasts_ends_within_the_timeout(cloud: Cloud) -> None:
    cloud.vertex.fault("CreatePipelineJob", "RESOURCE_EXHAUSTED", "Quota exceeded", times=50)

    result = cloud.submit("--timeout", "3")

    assert result.code == 4
    assert "Quota exceeded" in result.err
    assert "nothing was submitted" in result.err
    assert not cloud.made


@pytest.mark.parametrize(
    ("code", "message", "advice"),
    [
        ("PERMISSION_DENIED", "Permission 'aiplatform.pipelineJobs.create' denied", "roles/aiplatform.user"),
        (
            "PERMISSION_DENIED",
            "You do not have permission to act as service_account: runner (or it may not exist).",
            "roles/iam.serviceAccountUser",
        ),
        (
            "PERMISSION_DENIED",
            "Vertex AI API has not been used in project 1 before or it is disabled.",
            "gcloud services enable",
        ),
        ("NOT_FOUND", "The project does not exist.", "check the project and the region"),
        ("INVALID_ARGUMENT", "Invalid image", "fix what the message names"),
        ("FAILED_PRECONDITION", "The bucket is in another location", "fix what the message names"),
    ],
)
def test_what_does_not_pass_is_told_at_once(cloud: Cloud, code: str, message: str, advice: str) -> None:
    cloud.vertex.fault("CreatePipelineJob", code, message)

    result = cloud.submit()

    assert result.code == 4
    assert message.rstrip(".") in result.err
    assert advice in result.err
    assert "nothing was submitted" in result.err
    assert codes(cloud.vertex) == [("CreatePipelineJob", code)]
    assert not cloud.made


def test_a_refusal_after_a_lost_answer_does_not_say_that_nothing_was_submitted(cloud: Cloud) -> None:
    cloud.vertex.fault("CreatePipelineJob", "UNAVAILABLE", "for a moment", when="after")
    cloud.vertex.fault("CreatePipelineJob", "PERMISSION_DENIED", "no more")

    result = cloud.submit()

    assert result.code == 4
    assert "it is not known whether the run was created" in result.err
    assert len(cloud.made) == 1


def test_an_id_that_a_stranger_has_is_refused(cloud: Cloud) -> None:
    cloud.vertex.plant("taken", parent=PARENT, display_name="somebody else's")

    result = cloud.submit("--job-id", "taken")

    assert result.code == 4
    assert "another run already has the id taken" in result.err
    assert "--job-id" in result.err
    assert "nothing was submitted" in result.err
    assert [job.display_name for job in cloud.made] == ["somebody else's"]


def test_a_strangers_run_is_not_taken_for_ours_after_a_lost_answer(cloud: Cloud) -> None:
    cloud.vertex.plant("taken", parent=PARENT, display_name="somebody else's")
    cloud.vertex.fault("CreatePipelineJob", "UNAVAILABLE", "for a moment")

    result = cloud.submit("--job-id", "taken")

    assert result.code == 4
    assert "nothing was submitted" in result.err


def test_our_run_is_found_though_the_first_look_fails(cloud: Cloud) -> None:
    cloud.vertex.fault("CreatePipelineJob", "UNAVAILABLE", "for a moment", when="after")
    cloud.vertex.fault("GetPipelineJob", "UNAVAILABLE", "for a moment")

    result = cloud.submit()

    assert result.code == 0, result.err
    assert len(cloud.made) == 1


# ── credentials ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_revoked_key_is_told_at_once(cloud: Cloud, account_key: dict[str, str]) -> None:
    cloud.vertex.revoke(account_key)

    result = cloud.submit()

    assert result.code == 4
    assert "UNAUTHENTICATED" in result.err
    assert "nothing was submitted" in result.err
    assert len(cloud.vertex.requests) == 1


def test_an_expired_key_is_told_at_once(cloud: Cloud, account_key: dict[str, str]) -> None:
    cloud.vertex.expire(account_key)

    result = cloud.submit()

    assert result.code == 4
    assert "expired" in result.err
    assert len(cloud.vertex.requests) == 1


def test_no_credentials_are_told_in_one_line(cloud: Cloud) -> None:
    result = cloud.submit(GOOGLE_APPLICATION_CREDENTIALS="")

    assert result.code == 4
    assert "gcloud auth application-default login" in result.err
    assert "nothing was submitted" in result.err
    assert "Traceback" not in result.err
    assert not cloud.vertex.requests


@pytest.mark.parametrize("content", [None, "", "{", '{"type": "service_account"}', '{"type": "unheard-of"}'])
def test_a_key_file_that_is_none_is_told(cloud: Cloud, write: Write, content: str | None) -> None:
    if content is not None:
        write("key.json", content)

    result = cloud.submit(GOOGLE_APPLICATION_CREDENTIALS="key.json")

    assert result.code == 4
    assert "credentials" in result.err
    assert "Traceback" not in result.err
    assert not cloud.vertex.requests


@pytest.fixture
def through_proxy(cloud: Cloud, google_hosts: GoogleHosts, write: Write) -> Cloud:
    """The program of a user who is logged in, reaching Google's own names through a proxy."""
    user = write("user.json", json.dumps(cloud.vertex.accounts.user("somebody@example.com")))
    variables = {
        **cloud.cli.variables,
        **google_hosts.environment(),
        "GOOGLE_APPLICATION_CREDENTIALS": str(user),
    }
    return Cloud(cloud.vertex, Cli(cloud.cli.folder, variables), cloud.canaries)


def test_googles_own_names_are_reached_by_default(through_proxy: Cloud, google_hosts: GoogleHosts) -> None:
    result = through_proxy.cli(*MAIN, "--no-check")

    assert result.code == 0, result.err
    assert len(through_proxy.made) == 1
    assert google_hosts.refused == []


def test_a_login_that_is_revoked_is_told_at_once(through_proxy: Cloud, google_hosts: GoogleHosts) -> None:
    google_hosts.token_error()

    result = through_proxy.cli(*MAIN, "--no-check")

    assert result.code == 4
    assert "invalid_grant" in result.err
    assert "gcloud auth application-default login" in result.err
    assert "nothing was submitted" in result.err
    assert not through_proxy.vertex.requests


def test_a_key_in_the_place_of_its_path_is_not_repeated(cloud: Cloud, account_key: dict[str, str]) -> None:
    result = cloud.submit(GOOGLE_APPLICATION_CREDENTIALS=json.dumps(account_key))

    assert result.code == 4
    assert "names a file that does not exist" in result.err
    assert account_key["private_key"].splitlines()[1] not in result.err + result.out


def test_a_slow_search_for_credentials_ends_with_the_timeout(cloud: Cloud, write: Write) -> None:
    """A login of gcloud makes google-auth start gcloud, for a project that nobody asked for."""
    told = cloud.cli.folder / "pid"
    gcloud = write(
        "bin/gcloud",
        f"#!{sys.executable}\nimport os, pathlib, signal\n"
        f"pathlib.Path({str(told)!r}).write_text(str(os.getpid()))\nsignal.pause()\n",
    )
    gcloud.chmod(0o755)
    login = json.dumps(cloud.vertex.accounts.user("somebody@example.com"))
    write("home/.config/gcloud/application_default_credentials.json", login)
    path = f"{gcloud.parent}{os.pathsep}{os.environ['PATH']}"
    started = time.monotonic()

    result = cloud.submit("--timeout", "2", GOOGLE_APPLICATION_CREDENTIALS="", PATH=path)

    assert result.code == 4
    assert "longer than 2 s" in result.err
    assert time.monotonic() - started < 15
    await_end(int(told.read_text(encoding="ascii")))


def test_an_interrupt_while_submitting_tells_the_id(cloud: Cloud) -> None:
    cloud.vertex.hang("CreatePipelineJob", when="after")
    process = cloud.cli.start(*MAIN, "--no-check", "--api-endpoint", cloud.vertex.endpoint, "--json")
    cloud.vertex.wait_for("CreatePipelineJob")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)

    assert process.returncode == 130
    (create,) = cloud.vertex.creates
    assert json.loads(out)["job_id"] == create.pipeline_job_id
    assert f"look for {create.pipeline_job_id}" in err


def test_the_end_of_a_run_is_told_though_nobody_reads(cloud: Cloud) -> None:
    cloud.vertex.fails("versioning", "it broke")
    args = (*MAIN, "--no-check", "--api-endpoint", cloud.vertex.endpoint, "--wait", "--poll-every", "0.01", "--json")
    process = cloud.cli.start(*args)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.stderr.close()

    assert process.wait(timeout=60) == 5
    assert len(cloud.made) == 1


def test_a_run_that_fails_without_a_step_tells_its_own_reason(cloud: Cloud) -> None:
    tasks = {"get-raw-data": ("FAILED", None)}
    cloud.vertex.script(Step("FAILED", tasks, "The service agent lacks a role"))

    result = cloud.submit("--wait", "--poll-every", "0.01")

    assert result.code == 5
    assert "The service agent lacks a role" in result.err


def test_an_id_whose_owner_is_not_told_is_refused(cloud: Cloud) -> None:
    cloud.vertex.plant("taken", parent=PARENT, display_name="somebody else's")
    cloud.vertex.fault("GetPipelineJob", "PERMISSION_DENIED", "no")

    result = cloud.submit("--job-id", "taken")

    assert result.code == 4
    assert "does not say whose" in result.err
    assert "nothing was submitted" in result.err


def test_a_watch_keeps_its_limit_though_a_look_hangs(cloud: Cloud) -> None:
    cloud.vertex.hang("GetPipelineJob", times=9)
    started = time.monotonic()

    result = cloud.submit("--wait", "--wait-timeout", "1", "--poll-every", "0.1")

    assert result.code == 7
    assert time.monotonic() - started < 15


def test_an_endpoint_that_nobody_serves_ends_within_the_timeout(cloud: Cloud) -> None:
    result = cloud.cli(*MAIN, "--no-check", "--api-endpoint", "localhost:9", "--timeout", "2")

    assert result.code == 4
    assert "could not be reached within 2 s" in result.err
    assert "nothing was submitted" in result.err
