"""The request that Vertex AI gets: every field of it, where each is from, and what keeps it from being made."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud.aiplatform_v1.types import PipelineJob
from google.protobuf import json_format

from run_kfp.backends import load_backend, vertex
from run_kfp.errors import InputError, Submitted
from run_kfp.findings import Finding
from run_kfp.masking import Masker
from run_kfp.pipeline import CompiledPipeline, Parameter
from run_kfp.plans import Inputs, RunRequest, Value, known_values, pipeline_root
from run_kfp.registry_file import parse_registry
from run_kfp.runs import BackendName
from run_kfp.secrets import SecretFinder
from run_kfp.settings import SUBMISSION_LABEL, Layers, Settings, load_settings

REGISTRY = """
[containers.1]
name = "step"
image = "busybox:1.36"
[secrets.key]
env = "KEY"
"""
REG = parse_registry(REGISTRY, source="run-kfp.toml", folder=Path())
RUNNER = "runner@my-project.iam.gserviceaccount.com"
FLAGS = {"project": "my-project", "region": "us-east1", "bucket": "flowers", "service_account": RUNNER}
KEY = "a-key-of-the-test"
SPEC: dict[str, Any] = {
    "pipelineInfo": {"name": "chain"},
    "schemaVersion": "2.1.0",
    "root": {"dag": {"tasks": {"a": {}}}},
    "deploymentSpec": {"executors": {}},
    "components": {"a": {}},
}
PARAMETERS = (Parameter("key", "STRING", True), Parameter("tag", "STRING", True))


def pipeline(name: str = "chain", parameters: tuple[Parameter, ...] = PARAMETERS, **changes: Any) -> CompiledPipeline:
    text = json.dumps({**SPEC, **changes})
    return CompiledPipeline(text, "p.yaml", name, "Chain of steps", parameters, ())


def job(**more: Any) -> CompiledPipeline:
    """Return a file that is a whole PipelineJob."""
    text = json.dumps({"pipelineSpec": SPEC, **more})
    return CompiledPipeline(text, "job.json", "chain", "Chain", (), ())


def settings(flags: Mapping[str, str] = FLAGS, **more: Any) -> Settings:
    found, _, _ = load_settings(Layers(flags, {}, {}), REG.settings, registry_source=REG.source, **more)
    return found


def inputs(read: Settings | None = None, tag: str | None = "v1", **more: Any) -> Inputs:
    layers = Layers({}, {"KEY": KEY}, {})
    finder = SecretFinder(layers, None, None, Path(), more.pop("masker", Masker()))
    return Inputs(read or settings(), more.pop("registry", REG), layers, finder, {}, tag, **more)


def refused(*args: Any, **more: Any) -> list[str]:
    """The faults of a plan, in order; `plan_faults` says the same."""
    faults = vertex.plan_faults(*args, **more)
    with pytest.raises(InputError) as error:
        vertex.plan(*args, **more)
    assert error.value.all_faults == faults
    return [f"{fault.place}: {fault.message} ({fault.code})" for fault in faults]


# ── the plan ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_plan_is_the_whole_request() -> None:
    made = vertex.plan(pipeline(), inputs(settings(labels={"team": "vision"}, failure_policy="slow")))

    secret = made.values["key"]
    assert re.fullmatch(r"chain-[0-9]{14}-[0-9a-f]{6}", made.job_id)
    assert re.fullmatch(r"[0-9a-f]{16}", made.submission)
    assert made == RunRequest(
        backend=BackendName.VERTEX,
        pipeline=pipeline(),
        job_id=made.job_id,
        display_name=f"Chain of steps-{made.job_id[-6:]}",
        values={"key": secret, "tag": Value("v1", "-t")},
        project="my-project",
        region="us-east1",
        pipeline_root="gs://flowers/pipeline_root/root",
        root_source="made from the bucket",
        service_account=RUNNER,
        failure_policy="slow",
        submission=made.submission,
        network=None,
        encryption_key=None,
        labels={"team": "vision", SUBMISSION_LABEL: made.submission},
        endpoint="us-east1-aiplatform.googleapis.com",
    )
    assert made.secrets == {"key": secret}
    assert str(made.ref) == f"vertex://projects/my-project/locations/us-east1/pipelineJobs/{made.job_id}"
    assert known_values(made.values) == ({"tag": "v1"}, frozenset({"key"}))


def test_a_plan_takes_what_is_given() -> None:
    given = {
        **FLAGS,
        "pipeline_root": "gs://roots/a",
        "network": "projects/1/global/networks/n",
        "encryption_key": "projects/p/locations/l/keyRings/r/cryptoKeys/k",
        "api_endpoint": "host:8443",
    }
    made = vertex.plan(pipeline(), inputs(settings(given), job_id="my-id"))

    assert (made.job_id, made.display_name) == ("my-id", f"Chain of steps-{made.submission[:6]}")
    assert (made.pipeline_root, made.root_source) == ("gs://roots/a", "--pipeline-root")
    assert (made.network, made.encryption_key) == (given["network"], given["encryption_key"])
    assert made.endpoint == "host:8443"


def test_names_that_are_long_are_cut() -> None:
    long = dataclasses.replace(pipeline(), display_name="d" * 120)

    assert vertex.plan(long, inputs(job_id="x" * 128)).display_name[:-6] == f"{'d' * 110}-"


def test_each_plan_has_a_mark_and_an_id_of_its_own() -> None:
    first, second = (vertex.plan(pipeline(), inputs()) for _ in range(2))

    assert first.submission != second.submission
    assert first.job_id != second.job_id


@pytest.mark.parametrize(
    ("flags", "missing"),
    [
        ({}, ["--project", "--region", "--service-account", "--bucket"]),
        ({"pipeline_root": "gs://roots/a"}, ["--project", "--region", "--service-account"]),
        ({**FLAGS, "bucket": "flowers"}, []),
    ],
)
def test_what_is_missing_of_the_settings(flags: dict[str, str], missing: list[str]) -> None:
    assert [fault.place for fault in vertex.plan_faults(None, inputs(settings(flags)))] == missing
    assert [fault.place for fault in vertex.plan_faults(pipeline(), inputs(settings(flags)))] == missing


def test_a_pipeline_with_a_root_of_its_own_needs_no_bucket() -> None:
    without = settings({name: value for name, value in FLAGS.items() if name != "bucket"})

    assert vertex.plan(pipeline(defaultPipelineRoot="gs://own/root"), inputs(without)).pipeline_root == "gs://own/root"
    assert [fault.place for fault in vertex.plan_faults(None, inputs(without))] == ["--bucket"]


def test_of_a_registry_that_was_not_read_nothing_is_missing() -> None:
    broken = dataclasses.replace(REG, whole=False)

    assert vertex.plan_faults(None, inputs(settings({}), registry=broken)) == ()


def test_every_fault_of_a_plan_comes_at_once() -> None:
    before, refusal = Finding("found before", place="-x"), Finding("not agreed to", place=".env HOST")
    asked = dataclasses.replace(settings({"project": "my-project"}), refused=(refusal,))

    assert refused(pipeline(), inputs(asked, tag="", job_id="1st", faults=(before, before))) == [
        "-x: found before (RK-CALL)",
        "-t: -t is empty (RK-PARAM-MISSING)",
        "--region: region is not set (RK-SETTING-MISSING)",
        "--service-account: service account is not set (RK-ACCOUNT-MISSING)",
        "--bucket: bucket is not set (RK-SETTING-MISSING)",
        ".env HOST: not agreed to (RK-CALL)",
        "--job-id: invalid job id '1st' (RK-JOB-ID)",
    ]


def test_labels_of_a_job_keep_to_googles_rules() -> None:
    assert refused(job(labels={"Team": "x", "fine": "y"}), inputs()) == [
        "label Team: invalid label key 'Team' (RK-LABEL)"
    ]
    made = vertex.plan(job(labels={"team": "file", "own": "x"}), inputs(settings(labels={"team": "flag"})))
    assert made.labels == {"team": "flag", "own": "x", SUBMISSION_LABEL: made.submission}


@pytest.mark.parametrize(
    ("name", "value", "masked"),
    [
        ("project", "my-project", "***"),
        ("region", "us-east1", "***"),
        ("pipeline root", "gs://flowers/pipeline_root", "***/root"),
        ("service account", RUNNER, "***"),
        ("job id", "run-of-noon", "the-***-1"),
    ],
)
def test_a_secret_is_no_word_of_the_settings(name: str, value: str, masked: str) -> None:
    masker = Masker()
    masker.add(value)

    faults = refused(pipeline(), inputs(masker=masker, job_id="the-run-of-noon-1"))

    words = f"the value of a secret is part of the {name} {masked!r}: it is not secret, or the wrong value"
    assert f"{name}: {words} (RK-SECRET-VALUE)" in faults


@pytest.mark.parametrize(
    ("name", "front"),
    [("a1", "a1"), ("x", "x"), ("1a", "run-1a"), ("-a-", "a"), ("", "run"), (f"{'x' * 99}-yz", "x" * 99)],
)
def test_an_id_begins_with_a_letter(name: str, front: str) -> None:
    made = vertex.new_job_id(name, datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC))

    assert re.fullmatch(rf"{front}-20300102030405-[0-9a-f]{{6}}", made)


# ── where a run writes ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("file", "flags", "root", "source"),
    [
        (pipeline(defaultPipelineRoot="gs://own/root"), {"pipeline_root": "gs://a/b"}, "gs://a/b", "--pipeline-root"),
        (pipeline(defaultPipelineRoot="gs://own/root"), FLAGS, "gs://own/root", "defaultPipelineRoot of p.yaml"),
        (pipeline(defaultPipelineRoot="minio://own"), FLAGS, "gs://flowers/pipeline_root/root", "made from the bucket"),
        (
            job(runtimeConfig={"gcsOutputDirectory": "gs://own/job"}),
            FLAGS,
            "gs://own/job",
            "gcsOutputDirectory of job.json",
        ),
        (pipeline(), FLAGS, "gs://flowers/pipeline_root/root", "made from the bucket"),
    ],
)
def test_the_root_of_a_run(file: CompiledPipeline, flags: Mapping[str, str], root: str, source: str) -> None:
    assert pipeline_root(file, settings(flags)) == Value(root, source)


def test_nothing_says_where_a_run_writes() -> None:
    assert pipeline_root(pipeline(), settings({})) is None


# ── the message ─────────────────────────────────────────────────────────────────────────────────────────────────────


def message(request: RunRequest) -> dict[str, Any]:
    read: dict[str, Any] = json_format.MessageToDict(PipelineJob.pb(vertex._message(request)))
    return read


def test_the_message_holds_what_the_plan_says_and_the_value_of_the_secret() -> None:
    made = vertex.plan(pipeline(), inputs(settings(failure_policy="slow")))

    assert message(made) == {
        "displayName": made.display_name,
        "pipelineSpec": SPEC,
        "runtimeConfig": {
            "gcsOutputDirectory": "gs://flowers/pipeline_root/root",
            "failurePolicy": "PIPELINE_FAILURE_POLICY_FAIL_SLOW",
            "parameterValues": {"key": KEY, "tag": "v1"},
        },
        "labels": {SUBMISSION_LABEL: made.submission},
        "serviceAccount": RUNNER,
    }


def test_the_message_holds_network_key_and_policy() -> None:
    made = dataclasses.replace(
        vertex.plan(pipeline(), inputs()), network="projects/1/global/networks/n", encryption_key="k"
    )

    sent = message(made)
    assert (sent["network"], sent["encryptionSpec"]) == ("projects/1/global/networks/n", {"kmsKeyName": "k"})
    assert sent["runtimeConfig"]["failurePolicy"] == "PIPELINE_FAILURE_POLICY_FAIL_FAST"


def test_values_of_an_older_file_have_their_types() -> None:
    kinds = {"whole": "NUMBER_INTEGER", "half": "NUMBER_DOUBLE", "text": "STRING", "items": "LIST"}
    values = {"whole": 3, "half": 0.5, "text": "x", "items": ["é"]}
    older = pipeline(
        parameters=tuple(Parameter(name, kind, True) for name, kind in kinds.items()),
        schemaVersion="2.0.0",
        root={
            "dag": {"tasks": {"a": {}}},
            "inputDefinitions": {"parameters": {"whole": {"type": "INT"}, "half": {"type": "DOUBLE"}}},
        },
    )
    made = dataclasses.replace(
        vertex.plan(pipeline(parameters=()), inputs()),
        pipeline=older,
        values={name: Value(value, "-p") for name, value in values.items()},
    )

    assert message(made)["runtimeConfig"]["parameters"] == {
        "whole": {"intValue": "3"},
        "half": {"doubleValue": 0.5},
        "text": {"stringValue": "x"},
        "items": {"stringValue": '["\\u00e9"]'},
    }


# ── answers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


UNTYPED: Any = exceptions  # its constructors have no types


def refusal(words: str) -> Any:
    """An error of the service whose code is not known."""
    return UNTYPED.GoogleAPICallError(words)


def fails(error: Exception) -> Any:
    def call(timeout: float) -> None:
        raise error

    return call


def test_the_answer_of_a_call_has_the_name_of_its_code() -> None:
    late, busy, odd = UNTYPED.RetryError("late", cause=None), UNTYPED.ResourceExhausted("busy"), refusal("odd")

    assert vertex._attempt(lambda timeout: timeout, 7) == ("OK", 7)
    assert vertex._attempt(fails(busy), 7) == ("RESOURCE_EXHAUSTED", busy)
    assert vertex._attempt(fails(odd), 7) == ("UNKNOWN", odd)
    assert vertex._attempt(fails(late), 7) == ("DEADLINE_EXCEEDED", late)


RETRY = "look for my-id in the console before you submit again"


@pytest.mark.parametrize(
    ("code", "words", "may_exist", "told", "hint"),
    [
        (
            "UNAVAILABLE",
            "gone.",
            False,
            "Vertex AI could not be reached within 60 s (UNAVAILABLE: gone)",
            "check the region, the network and proxies; then run the command again",
        ),
        (
            "INTERNAL",
            "broken",
            True,
            "Vertex AI kept failing for 60 s (INTERNAL: broken)",
            f"{RETRY}; run the command again later",
        ),
        (
            "RESOURCE_EXHAUSTED",
            "busy",
            False,
            "Vertex AI refused for 60 s: too many requests or no quota (busy)",
            "wait a minute, or request more quota",
        ),
        ("OUT_OF_RANGE", "far", False, "Vertex AI refused the run (OUT_OF_RANGE: far)", ""),
        ("DATA_LOSS", "lost", True, "Vertex AI refused the run (DATA_LOSS: lost)", RETRY),
        (
            "NOT_FOUND",
            "none",
            False,
            "Vertex AI refused the run (NOT_FOUND: none)",
            "check the project and the region",
        ),
        (
            "PERMISSION_DENIED",
            "may not act as it",
            False,
            "Vertex AI refused the run (PERMISSION_DENIED: may not act as it)",
            f"let the caller act as it: gcloud iam service-accounts add-iam-policy-binding {RUNNER} "
            "--member=user:YOU --role=roles/iam.serviceAccountUser",
        ),
        (
            "PERMISSION_DENIED",
            "the API is disabled",
            False,
            "Vertex AI refused the run (PERMISSION_DENIED: the API is disabled)",
            "gcloud services enable aiplatform.googleapis.com --project=my-project",
        ),
        # The service, not the words: what passes has other advice.
        (
            "UNAVAILABLE",
            "is disabled",
            False,
            "Vertex AI could not be reached within 60 s (UNAVAILABLE: is disabled)",
            "check the region, the network and proxies; then run the command again",
        ),
    ],
)
def test_what_is_said_of_a_create_that_failed(code: str, words: str, may_exist: bool, told: str, hint: str) -> None:
    request = vertex.plan(pipeline(), inputs(job_id="my-id"))

    error = vertex._create_error(code, refusal(words), request, may_exist, 60)

    submitted = Submitted.UNKNOWN if may_exist else Submitted.NO
    assert (error.what, error.hint, error.submitted) == (told, hint, submitted)
    assert error.message == f"{told}; {submitted}"


def test_the_backend_is_the_module() -> None:
    assert load_backend(BackendName.VERTEX) is vertex
    said: list[str] = []
    assert isinstance(vertex.open_backend(settings(), said.append), vertex.Vertex)
