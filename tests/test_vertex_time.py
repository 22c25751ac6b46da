"""Vertex AI through the unpatched SDK, with a time of the test's own: what is tried again, how often and how long."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clock import FakeClock
from fakes.vertex import FakeVertex
from run_kfp.backends.vertex import Vertex, new_job_id
from run_kfp.errors import BackendError, Submitted
from run_kfp.pipeline import read_pipeline
from run_kfp.plans import RunRequest, Value
from run_kfp.runs import BackendName, PollFailed, RunRef, RunState, StepState
from run_kfp.settings import SUBMISSION_LABEL, Settings
from test_fakes import PARENT, a_spec
from test_localruns import NOON


class Submission:
    """The backend, its time, and a request that it takes."""

    def __init__(self, vertex: FakeVertex, key: Path, folder: Path, timeout: float) -> None:
        file = folder / "pipeline.json"
        file.write_text(json.dumps(a_spec()), encoding="utf-8")
        self.clock, self.said = FakeClock(), list[str]()
        self.backend = Vertex(
            Settings({}, timeout=timeout, credentials_file=key),
            self.said.append,
            sleep=self.clock.sleep,
            clock=self.clock,
        )
        self.request = RunRequest(
            backend=BackendName.VERTEX,
            pipeline=read_pipeline(file),
            job_id="chain-1",
            display_name="chain",
            values={"tag": Value("v1", "-t")},
            project="test-project",
            region="us-east1",
            pipeline_root="gs://bucket/pipeline_root/root",
            service_account="runner@test-project.iam.gserviceaccount.com",
            failure_policy="fast",
            submission="0123456789abcdef",
            endpoint=vertex.endpoint,
            labels={SUBMISSION_LABEL: "0123456789abcdef"},
        )


RUN = RunRef("vertex", f"{PARENT}/pipelineJobs/chain-1")


@pytest.fixture
def submission(
    vertex: FakeVertex, account_key_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Submission:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "")  # the backend sets it
    return Submission(vertex, account_key_file, tmp_path, timeout=60)


def test_pauses_grow_to_eight_seconds_and_end_with_the_time(vertex: FakeVertex, submission: Submission) -> None:
    vertex.fault("CreatePipelineJob", "RESOURCE_EXHAUSTED", "too many", times=99)

    with pytest.raises(BackendError, match="refused for 60 s") as error:
        submission.backend.submit(submission.request)

    slept = submission.clock.slept
    assert error.value.submitted is Submitted.NO
    assert all(0.7 * most <= pause <= most for pause, most in zip(slept, [0.5, 1, 2, 4, 8, 8, 8], strict=False))
    assert 8 < len(slept) < 40
    assert 59 < sum(slept) <= 60
    assert submission.said[0] == "Vertex AI answered RESOURCE_EXHAUSTED: too many; retrying (60.0 s left)"
    assert len(submission.said) == len(slept) == len(vertex.requests) - 1
    assert not vertex.jobs


def test_what_passes_costs_one_pause(vertex: FakeVertex, submission: Submission) -> None:
    vertex.fault("CreatePipelineJob", "UNAVAILABLE", "for a moment")

    assert submission.backend.submit(submission.request) == RUN

    (pause,) = submission.clock.slept
    assert 0.35 <= pause <= 0.5
    assert len(vertex.jobs) == 1


def test_a_refusal_is_not_tried_again(vertex: FakeVertex, submission: Submission) -> None:
    vertex.fault("CreatePipelineJob", "PERMISSION_DENIED", "not for you")

    with pytest.raises(BackendError, match="not for you"):
        submission.backend.submit(submission.request)

    assert (submission.clock.slept, submission.said, len(vertex.requests)) == ([], [], 1)


@pytest.mark.parametrize(
    ("code", "submitted"),
    [
        ("UNAVAILABLE", Submitted.UNKNOWN),
        ("INTERNAL", Submitted.UNKNOWN),
        ("ABORTED", Submitted.UNKNOWN),
        ("RESOURCE_EXHAUSTED", Submitted.NO),
        ("OUT_OF_RANGE", Submitted.NO),
        ("DATA_LOSS", Submitted.UNKNOWN),
    ],
)
def test_what_is_known_of_a_submission_that_failed(
    vertex: FakeVertex, submission: Submission, code: str, submitted: Submitted
) -> None:
    vertex.fault("CreatePipelineJob", code, "so it is", times=99)

    with pytest.raises(BackendError) as error:
        submission.backend.submit(submission.request)

    assert error.value.submitted is submitted
    assert ("before you submit again" in error.value.hint) == (submitted is Submitted.UNKNOWN)


@pytest.mark.parametrize("ours", [True, False])
def test_an_id_that_is_taken_is_ours_by_its_mark(vertex: FakeVertex, submission: Submission, ours: bool) -> None:
    vertex.plant("chain-1", parent=PARENT, labels={SUBMISSION_LABEL: "0123456789abcdef" if ours else "another"})

    if ours:
        assert submission.backend.submit(submission.request) == RUN
    else:
        with pytest.raises(BackendError, match="another run already has the id chain-1"):
            submission.backend.submit(submission.request)

    assert submission.clock.slept == []


def test_a_run_whose_owner_is_not_told_for_the_whole_time(vertex: FakeVertex, submission: Submission) -> None:
    vertex.plant("chain-1", parent=PARENT, labels={SUBMISSION_LABEL: "0123456789abcdef"})
    vertex.fault("GetPipelineJob", "UNAVAILABLE", "for ever", times=99)

    with pytest.raises(BackendError, match="does not say whose") as error:
        submission.backend.submit(submission.request)

    assert error.value.submitted is Submitted.NO
    assert 59 < sum(submission.clock.slept) <= 60


@pytest.mark.parametrize(
    ("code", "message", "advice"),
    [
        ("PERMISSION_DENIED", "you may not", "roles/aiplatform.user"),
        ("PERMISSION_DENIED", "you may not act as runner", "add-iam-policy-binding runner@test-project"),
        ("PERMISSION_DENIED", "Vertex AI API has not been used in project 1", "gcloud services enable aiplatform"),
        ("PERMISSION_DENIED", "the API is disabled", "--project=test-project"),
        ("PERMISSION_DENIED", "SERVICE_DISABLED", "gcloud services enable aiplatform"),
        ("NOT_FOUND", "no such project", "check the project and the region"),
        ("OUT_OF_RANGE", "too far", ""),
        ("UNAVAILABLE", "down", "network and proxies"),
        ("INTERNAL", "broken", "again later"),
        ("RESOURCE_EXHAUSTED", "too many", "quota"),
    ],
)
def test_a_refusal_has_its_advice(
    vertex: FakeVertex, submission: Submission, code: str, message: str, advice: str
) -> None:
    vertex.fault("CreatePipelineJob", code, message, times=99)

    with pytest.raises(BackendError) as error:
        submission.backend.submit(submission.request)

    assert message in error.value.message
    assert advice in error.value.hint
    assert bool(advice) == bool(error.value.hint)
    assert ("act as" in message) == ("add-iam-policy-binding" in error.value.hint)


# ── looks ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_look_shows_states_times_errors_and_the_log_of_the_last_try(
    vertex: FakeVertex, submission: Submission
) -> None:
    submission.backend.submit(submission.request)
    first, last = (f"{PARENT}/customJobs/{number}" for number in (1, 2))
    vertex.plant(
        "other",
        parent=PARENT,
        state="PIPELINE_STATE_FAILED",
        error={"code": 9, "message": "the run broke"},
        job_detail={
            "task_details": [
                {"task_name": "other", "state": "FAILED"},
                {
                    "task_name": "tried-twice",
                    "state": "FAILED",
                    "start_time": NOON,
                    "end_time": NOON,
                    "error": {"code": 13, "message": "it\nbroke"},
                    "executor_detail": {"container_detail": {"main_job": last, "failed_main_jobs": [first, last]}},
                },
                {
                    "task_name": "fine",
                    "state": "SUCCEEDED",
                    "executor_detail": {"container_detail": {"main_job": first}},
                },
                {"task_name": "no-words", "state": "FAILED", "error": {"code": 13}},
                {"task_name": "behind", "state": "NOT_TRIGGERED"},
                {"task_name": "odd", "state": "STATE_UNSPECIFIED"},
            ]
        },
    )

    status = submission.backend.status(RunRef("vertex", f"{PARENT}/pipelineJobs/other"))

    assert (status.state, status.error) == (RunState.FAILED, "the run broke")
    assert [(step.name, step.state, step.error, step.log) for step in status.steps] == [
        ("tried-twice", StepState.FAILED, "it broke", last),
        ("fine", StepState.SUCCEEDED, "", first),
        ("no-words", StepState.FAILED, "code 13", ""),
        ("behind", StepState.SKIPPED, "", ""),
        ("odd", StepState.UNKNOWN, "", ""),
    ]
    assert (status.steps[0].started, status.steps[0].ended) == (NOON, NOON)
    assert (status.steps[1].started, status.steps[1].ended) == (None, None)


@pytest.mark.parametrize(
    ("code", "passing"), [("UNAVAILABLE", True), ("PERMISSION_DENIED", False), ("NOT_FOUND", False)]
)
def test_a_look_that_failed_says_whether_the_next_may_succeed(
    vertex: FakeVertex, submission: Submission, code: str, passing: bool
) -> None:
    submission.backend.submit(submission.request)
    vertex.fault("GetPipelineJob", code, "so it is")

    with pytest.raises(PollFailed, match=f"{code}: so it is") as error:
        submission.backend.status(RUN)

    assert error.value.passing is passing


def test_a_look_without_credentials_does_not_pass(tmp_path: Path) -> None:
    backend = Vertex(Settings({}, credentials_file=tmp_path / "missing"), lambda words: None)

    with pytest.raises(PollFailed) as error:
        backend.status(RUN)

    assert not error.value.passing
    assert "submitted" not in str(error.value)


# ── names ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "front"),
    [
        ("Skin: Lesions 2", "skin-lesions-2"),
        ("2 skins", "run-2-skins"),
        ("éé", "run"),
        ("x" * 150, "x" * 100),
        (f"{'x' * 99}  y", "x" * 99),
    ],
)
def test_a_fresh_id_has_the_name_the_time_and_six_digits(name: str, front: str) -> None:
    made = new_job_id(name, NOON)

    assert made[:-6] == f"{front}-20300101120000-"
    assert made != new_job_id(name, NOON)


def test_the_page_of_a_run() -> None:
    backend = Vertex(Settings({}), lambda words: None)

    assert backend.console_url(RUN) == (
        "https://console.cloud.google.com/vertex-ai/locations/us-east1/pipelines/runs/chain-1?project=test-project"
    )
