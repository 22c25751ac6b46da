"""The fakes are strict: what the unpatched SDK sends rightly passes, and nothing else does."""

from __future__ import annotations

import contextlib
import os
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.api_core import exceptions
from google.auth import crypt, jwt
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import RefreshError
from google.auth.transport.requests import AuthorizedSession, Request
from google.cloud.aiplatform_v1 import PipelineServiceClient
from google.cloud.aiplatform_v1.types import (
    CreatePipelineJobRequest,
    PipelineFailurePolicy,
    PipelineJob,
)
from google.cloud.resourcemanager_v3 import ProjectsClient
from google.oauth2 import service_account
from google.protobuf import json_format, struct_pb2

from fakes.accounts import Accounts, Rejected
from fakes.certs import service_account_key, write_key
from fakes.fixtures import EMAIL, PROJECT
from fakes.google_hosts import GoogleHosts
from fakes.vertex import FakeVertex
from fakes.vertex_script import Step

PARENT = f"projects/{PROJECT}/locations/us-east1"
NAME = f"{PARENT}/pipelineJobs/chain-1"
CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"


def a_task(*after: str) -> dict[str, object]:
    return {"componentRef": {"name": "comp-step"}, "dependentTasks": list(after)}


def a_spec() -> dict[str, object]:
    """Two steps, the second of which comes first by name; one parameter of each kind."""
    return {
        "schemaVersion": "2.1.0",
        "pipelineInfo": {"name": "chain"},
        "components": {"comp-step": {"executorLabel": "exec-step"}},
        "deploymentSpec": {"executors": {"exec-step": {"container": {"image": "an/image"}}}},
        "root": {
            "dag": {"tasks": {"get": a_task(), "a-train": a_task("get")}},
            "inputDefinitions": {
                "parameters": {
                    "tag": {"parameterType": "STRING"},
                    "epochs": {"parameterType": "NUMBER_INTEGER", "defaultValue": 1},
                    "dry": {"parameterType": "BOOLEAN", "isOptional": True},
                }
            },
        },
    }


def a_job(**parameters: object) -> PipelineJob:
    return PipelineJob(
        display_name="chain",
        pipeline_spec=json_format.ParseDict(a_spec(), struct_pb2.Struct()),
        service_account=f"runner@{PROJECT}.iam.gserviceaccount.com",
        labels={"team": "skin"},
        runtime_config=PipelineJob.RuntimeConfig(
            gcs_output_directory="gs://bucket/pipeline_root/root",
            parameter_values={"tag": "v1", **parameters},
            failure_policy=PipelineFailurePolicy.PIPELINE_FAILURE_POLICY_FAIL_FAST,
        ),
    )


def a_client(vertex: FakeVertex, key: dict[str, str]) -> PipelineServiceClient:
    return PipelineServiceClient(
        credentials=service_account.Credentials.from_service_account_info(key),
        client_options={"api_endpoint": vertex.endpoint},
    )


@pytest.fixture
def client(vertex: FakeVertex, account_key: dict[str, str]) -> Iterator[PipelineServiceClient]:
    with a_client(vertex, account_key) as made:
        yield made


def create(
    client: PipelineServiceClient,
    job: PipelineJob | None = None,
    job_id: str = "chain-1",
    *,
    timeout: float = 20.0,
) -> PipelineJob:
    return client.create_pipeline_job(
        parent=PARENT, pipeline_job=job or a_job(), pipeline_job_id=job_id, timeout=timeout
    )


def test_a_right_request_makes_a_job_and_is_kept(vertex: FakeVertex, client: PipelineServiceClient) -> None:
    job = create(client, a_job(epochs=3))
    assert job.state.name == "PIPELINE_STATE_PENDING"
    # The service answers with the project's number, whatever the request named.
    assert job.name.endswith("/locations/us-east1/pipelineJobs/chain-1")
    assert job.name.split("/")[1].isdigit()
    assert list(vertex.jobs) == [job.name]
    [kept] = vertex.creates
    assert kept.parent == PARENT
    assert kept.pipeline_job == a_job(epochs=3)
    [request] = vertex.requests
    assert (request.method, request.code) == ("CreatePipelineJob", "OK")
    assert request.metadata["x-goog-request-params"] == f"parent={PARENT}"


def test_scopes_and_tokens_are_as_good_as_an_audience(vertex: FakeVertex, account_key: dict[str, str]) -> None:
    scoped = service_account.Credentials.from_service_account_info(account_key, scopes=[CLOUD_PLATFORM])
    options = {"api_endpoint": vertex.endpoint}
    with PipelineServiceClient(credentials=scoped, client_options=options) as client:
        create(client)
    assert [request.code for request in vertex.requests] == ["OK"]


def test_a_key_that_is_not_registered_is_refused(vertex: FakeVertex) -> None:
    with (
        a_client(vertex, service_account_key(project=PROJECT, email=EMAIL)) as client,
        pytest.raises(exceptions.Unauthenticated, match="invalid authentication credentials"),
    ):
        create(client)
    assert (vertex.jobs, [r.code for r in vertex.requests]) == ({}, ["UNAUTHENTICATED"])


def test_a_wrong_signature_is_refused(vertex: FakeVertex, account_key: dict[str, str]) -> None:
    other = service_account_key(project=PROJECT, email=EMAIL)
    forged = {**account_key, "private_key": other["private_key"]}
    with a_client(vertex, forged) as client, pytest.raises(exceptions.Unauthenticated):
        create(client)
    assert vertex.jobs == {}


def test_a_call_without_credentials_is_refused(vertex: FakeVertex) -> None:
    options = {"api_endpoint": vertex.endpoint}
    nobody = AnonymousCredentials()
    with (
        PipelineServiceClient(credentials=nobody, client_options=options) as client,
        pytest.raises(exceptions.Unauthenticated, match="missing required") as refused,
    ):
        create(client)
    assert refused.value.reason == "CREDENTIALS_MISSING"


AUDIENCE = "https://aiplatform.googleapis.com/"


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({}, None),
        ({"aud": None, "scope": CLOUD_PLATFORM}, None),
        ({"aud": "https://storage.googleapis.com/"}, "neither the scope nor the audience"),
        ({"sub": "someone@example.com"}, "has its issuer as subject"),
        ({"iss": "someone@example.com", "sub": "someone@example.com"}, "account not found"),
        ({"iat": -7200, "exp": -3600}, "has expired"),
        ({"exp": 3601}, "short-lived"),
        ({"iat": 600, "exp": 900}, "short-lived"),
        ({"exp": None}, "needs iat and exp"),
    ],
)
def test_a_self_signed_token_is_right_in_every_claim(
    account_key: dict[str, str], claims: dict[str, str | int | None], words: str | None
) -> None:
    accounts = Accounts()
    accounts.trust(account_key)
    now = int(time.time())
    right: dict[str, str | int] = {"iss": EMAIL, "sub": EMAIL, "aud": AUDIENCE, "iat": 0, "exp": 3600}
    # Times are given as seconds from now.
    payload = {
        name: now + value if isinstance(value, int) else value
        for name, value in {**right, **claims}.items()
        if value is not None
    }
    token = jwt.encode(crypt.RSASigner.from_service_account_info(account_key), payload).decode()
    with contextlib.nullcontext() if words is None else pytest.raises(Rejected, match=words):
        assert accounts.authenticate(token, audiences=(AUDIENCE,)) == EMAIL


def test_a_key_works_until_it_is_revoked_or_expired(
    vertex: FakeVertex, client: PipelineServiceClient, account_key: dict[str, str]
) -> None:
    create(client)
    vertex.expire(account_key)
    with pytest.raises(exceptions.Unauthenticated) as expired:
        client.get_pipeline_job(name=NAME)
    assert expired.value.reason == "ACCESS_TOKEN_EXPIRED"
    vertex.revoke(account_key)
    with pytest.raises(exceptions.Unauthenticated) as revoked:
        client.get_pipeline_job(name=NAME)
    assert revoked.value.reason == "ACCESS_TOKEN_TYPE_UNSUPPORTED"


def without(job: PipelineJob, *path: str) -> PipelineJob:
    """Return the job with one entry of its specification taken out."""
    spec = json_format.MessageToDict(PipelineJob.pb(job).pipeline_spec)
    tree = spec
    for key in path[:-1]:
        tree = tree[key]
    del tree[path[-1]]
    job.pipeline_spec = json_format.ParseDict(spec, struct_pb2.Struct())
    return job


def changed(**fields: object) -> PipelineJob:
    job = a_job()
    for name, value in fields.items():
        setattr(job, name, value)
    return job


def configured(**fields: object) -> PipelineJob:
    job = a_job()
    for name, value in fields.items():
        setattr(job.runtime_config, name, value)
    return job


@pytest.mark.parametrize(
    ("job", "job_id", "words"),
    [
        (a_job(), "Chain-1", "'Chain-1' does not match"),
        (a_job(), "c" * 129, "does not match"),
        (a_job(nobody="x"), "chain-1", "'nobody' is not found"),
        (a_job(tag=7.0), "chain-1", "'tag' is a STRING, given: number_value"),
        (a_job(epochs="3"), "chain-1", "'epochs' is a NUMBER_INTEGER, given: string_value"),
        (a_job(epochs=1.5), "chain-1", "'epochs' is a NUMBER_INTEGER, given: number_value"),
        (configured(parameter_values={}), "chain-1", "'tag' has no value and no default"),
        (configured(gcs_output_directory="bucket/root"), "chain-1", "Invalid Cloud Storage URI"),
        (configured(failure_policy=0), "chain-1", "failure_policy; Message: Required"),
        (changed(service_account="runner"), "chain-1", "'runner' is not an e-mail address"),
        (changed(labels={"team": "Skin"}), "chain-1", "Invalid label 'team': 'Skin'"),
        (changed(labels={f"l{n}": "" for n in range(65)}), "chain-1", "No more than 64"),
        (changed(display_name="x" * 129), "chain-1", "up to 128 characters"),
        (changed(network="projects/p/global/networks/n"), "chain-1", "pipeline_job.network"),
        (without(a_job(), "schemaVersion"), "chain-1", "schemaVersion; Message: Required"),
        (without(a_job(), "root", "dag", "tasks", "get"), "chain-1", "'get', which is not defined"),
        (without(a_job(), "components"), "chain-1", "component of the task is not defined"),
    ],
)
def test_a_wrong_request_is_refused_with_its_fault(
    vertex: FakeVertex, client: PipelineServiceClient, job: PipelineJob, job_id: str, words: str
) -> None:
    with pytest.raises(exceptions.InvalidArgument) as refused:
        create(client, job, job_id)
    _, *faults = refused.value.message.split("Field:")
    assert faults
    assert all(words in fault for fault in faults)
    assert (vertex.jobs, [r.code for r in vertex.requests]) == ({}, ["INVALID_ARGUMENT"])


def test_all_faults_are_told_at_once(client: PipelineServiceClient) -> None:
    with pytest.raises(exceptions.InvalidArgument, match=r"(?s)'Chain'.*'nobody'"):
        create(client, a_job(nobody="x"), "Chain")


def test_the_routing_header_is_required(vertex: FakeVertex, client: PipelineServiceClient) -> None:
    request = CreatePipelineJobRequest(parent=PARENT, pipeline_job=a_job(), pipeline_job_id="chain-1")
    without_header = client.transport.create_pipeline_job
    with pytest.raises(grpc.RpcError, match="x-goog-request-params has no parent"):
        without_header(request)
    assert [r.code for r in vertex.requests] == ["INVALID_ARGUMENT"]


def test_an_unknown_method_is_unimplemented(vertex: FakeVertex, client: PipelineServiceClient) -> None:
    with pytest.raises(exceptions.MethodNotImplemented, match="GetTrainingPipeline"):
        client.get_training_pipeline(name=f"{PARENT}/trainingPipelines/1")
    assert [r.method for r in vertex.requests] == ["GetTrainingPipeline"]


def test_an_id_is_good_for_one_job(vertex: FakeVertex, client: PipelineServiceClient) -> None:
    vertex.plant("taken", parent=PARENT, display_name="a stranger's")
    create(client)
    for job_id in ("chain-1", "taken"):
        with pytest.raises(exceptions.AlreadyExists):
            create(client, job_id=job_id)
    assert len(vertex.jobs) == 2
    name = f"{PARENT}/pipelineJobs/taken"
    assert client.get_pipeline_job(name=name).display_name == "a stranger's"


def test_a_fault_before_does_nothing_and_one_after_loses_the_reply(
    vertex: FakeVertex, client: PipelineServiceClient
) -> None:
    vertex.fault("CreatePipelineJob", "UNAVAILABLE", "Try again.", times=2)
    vertex.fault("CreatePipelineJob", "UNAVAILABLE", "Lost.", when="after")
    for jobs in (0, 0, 1):
        with pytest.raises(exceptions.ServiceUnavailable):
            create(client)
        assert len(vertex.jobs) == jobs
    with pytest.raises(exceptions.AlreadyExists):
        create(client)


def test_faults_come_in_the_order_they_were_planned(vertex: FakeVertex, client: PipelineServiceClient) -> None:
    create(client)
    vertex.allow("GetPipelineJob")
    vertex.fault("GetPipelineJob", "PERMISSION_DENIED", "No.", reason="IAM_PERMISSION_DENIED")
    client.get_pipeline_job(name=NAME)
    with pytest.raises(exceptions.PermissionDenied) as denied:
        client.get_pipeline_job(name=NAME)
    assert denied.value.reason == "IAM_PERMISSION_DENIED"
    client.get_pipeline_job(name=NAME)


@pytest.mark.parametrize(("when", "jobs"), [("before", 0), ("after", 1)])
def test_a_hang_lasts_until_the_client_gives_up(
    vertex: FakeVertex, client: PipelineServiceClient, when: str, jobs: int
) -> None:
    vertex.hang("CreatePipelineJob", when="before" if when == "before" else "after")
    with pytest.raises(exceptions.DeadlineExceeded):
        create(client, timeout=0.3)
    assert len(vertex.jobs) == jobs
    assert [r.code for r in vertex.requests] == [None]


def test_a_hung_call_ends_with_the_server_and_keeps_no_one_else_waiting(
    vertex: FakeVertex, client: PipelineServiceClient, account_key: dict[str, str]
) -> None:
    create(client)
    vertex.hang("CreatePipelineJob", times=8)
    ends: list[type[Exception]] = []

    def call() -> None:
        try:
            create(client, job_id="hung")
        except exceptions.GoogleAPICallError as error:
            ends.append(type(error))

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    vertex.wait_for("CreatePipelineJob", count=9)
    assert client.get_pipeline_job(name=NAME).display_name == "chain"
    vertex.__exit__(None, None, None)
    for thread in threads:
        thread.join()
    assert len(ends) == 8


def test_a_cut_connection_loses_the_reply_and_the_next_call_connects_again(
    vertex: FakeVertex, client: PipelineServiceClient
) -> None:
    vertex.drop("CreatePipelineJob")
    with pytest.raises(exceptions.ServiceUnavailable):
        create(client)
    assert len(vertex.jobs) == 1
    with pytest.raises(exceptions.AlreadyExists):
        create(client)


def watched(client: PipelineServiceClient, times: int) -> list[PipelineJob]:
    return [client.get_pipeline_job(name=NAME) for _ in range(times)]


def states(jobs: list[PipelineJob]) -> list[str]:
    return [job.state.name.removeprefix("PIPELINE_STATE_") for job in jobs]


def test_a_script_is_shown_step_by_step_and_stays_at_its_end(vertex: FakeVertex, client: PipelineServiceClient) -> None:
    create(client)
    assert states(watched(client, 2)) == ["PENDING", "PENDING"]
    vertex.script("RUNNING", Step("PIPELINE_STATE_FAILED", {"get": ("FAILED", "no")}, "Broken."))
    *_, last = jobs = watched(client, 3)
    assert states(jobs) == ["RUNNING", "FAILED", "FAILED"]
    assert last.error.message.startswith("Broken.")
    with pytest.raises(AttributeError):
        vertex.script("DONE")


def test_a_success_goes_through_the_tasks_in_their_order(vertex: FakeVertex, client: PipelineServiceClient) -> None:
    vertex.succeeds()
    create(client)
    jobs = watched(client, 5)
    assert states(jobs) == ["PENDING", "RUNNING", "RUNNING", "SUCCEEDED", "SUCCEEDED"]
    shown = [{d.task_name: d.state.name for d in job.job_detail.task_details} for job in jobs]
    assert shown[1] == {"chain-1": "RUNNING", "get": "RUNNING", "a-train": "PENDING"}
    assert shown[2] == {"chain-1": "RUNNING", "get": "SUCCEEDED", "a-train": "RUNNING"}
    assert set(shown[4].values()) == {"SUCCEEDED"}


def test_a_failure_names_its_task_and_its_custom_job(vertex: FakeVertex, client: PipelineServiceClient) -> None:
    vertex.fails("get", "The replica workerpool0-0 exited with a non-zero status of 3.")
    create(client)
    *_, last = jobs = watched(client, 3)
    assert states(jobs) == ["PENDING", "RUNNING", "FAILED"]
    assert last.error.code == 9
    assert "some tasks failed. The failed tasks are: [get]." in last.error.message
    details = {detail.task_name: detail for detail in last.job_detail.task_details}
    assert details["get"].error.message.endswith("status of 3.")
    container = details["get"].executor_detail.container_detail
    assert list(container.failed_main_jobs) == [container.main_job]
    assert container.main_job.startswith(last.name.removesuffix("/pipelineJobs/chain-1"))
    assert details["a-train"].state.name == "NOT_TRIGGERED"
    assert not details["a-train"].executor_detail.container_detail.main_job


def test_a_cancelled_and_a_paused_job(vertex: FakeVertex, client: PipelineServiceClient) -> None:
    create(client)
    vertex.paused()
    assert states(watched(client, 3)) == ["PENDING", "RUNNING", "PAUSED"]
    client.cancel_pipeline_job(name=NAME)
    assert states(watched(client, 3)) == ["CANCELLING", "CANCELLED", "CANCELLED"]
    with pytest.raises(exceptions.FailedPrecondition):
        client.cancel_pipeline_job(name=NAME)
    vertex.cancelled()
    assert states(watched(client, 4)) == ["PENDING", "RUNNING", "CANCELLING", "CANCELLED"]


def test_jobs_are_listed_newest_first_by_page(client: PipelineServiceClient) -> None:
    for number in (1, 2, 3):
        create(client, job_id=f"chain-{number}")
    pages = client.list_pipeline_jobs(request={"parent": PARENT, "page_size": 2}).pages
    ids = [[job.name.rpartition("/")[2] for job in page.pipeline_jobs] for page in pages]
    assert ids == [["chain-3", "chain-2"], ["chain-1"]]
    with pytest.raises(exceptions.MethodNotImplemented):
        client.list_pipeline_jobs(request={"parent": PARENT, "filter": "x=1"})


def test_a_job_that_is_not_there(client: PipelineServiceClient) -> None:
    with pytest.raises(exceptions.NotFound):
        client.get_pipeline_job(name=NAME)


# The program below knows nothing of fakes: real host names, Application Default Credentials.
PROGRAM = """
import sys
from google.cloud.aiplatform_v1 import PipelineServiceClient
endpoint = "us-east1-aiplatform.googleapis.com"
client = PipelineServiceClient(client_options={"api_endpoint": endpoint})
print(client.get_pipeline_job(name=sys.argv[1], timeout=20).display_name)
"""


@pytest.mark.parametrize("kind", ["service account", "user"])
def test_an_unpatched_process_reaches_the_real_names_through_the_proxy(
    google_hosts: GoogleHosts,
    account_key_file: Path,
    tmp_path: Path,
    kind: str,
) -> None:
    vertex = google_hosts.vertex
    vertex.plant("chain-1", parent=PARENT, display_name="found through the proxy")
    key_file = account_key_file
    if kind == "user":
        key_file = write_key(vertex.accounts.user("someone@example.com"), tmp_path / "user.json")
    environment = {
        **{k: v for k, v in os.environ.items() if "proxy" not in k.lower()},
        **google_hosts.environment(),
        "GOOGLE_APPLICATION_CREDENTIALS": str(key_file),
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, NAME],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "found through the proxy\n", done.stderr
    assert "us-east1-aiplatform.googleapis.com:443" in google_hosts.asked
    # A service account signs for itself; a user's refresh token is exchanged first.
    assert len(google_hosts.token_requests) == (1 if kind == "user" else 0)


@pytest.fixture
def through_the_proxy(google_hosts: GoogleHosts, monkeypatch: pytest.MonkeyPatch) -> GoogleHosts:
    """This process takes the proxy."""
    for name, value in google_hosts.environment().items():
        monkeypatch.setenv(name, value)
    return google_hosts


def for_storage(key: dict[str, str]) -> service_account.Credentials:
    """Credentials that exchange a signed assertion for a token, as Cloud Storage's client does."""
    credentials: service_account.Credentials = service_account.Credentials.from_service_account_info(
        key, scopes=[CLOUD_PLATFORM]
    )
    return credentials


def test_the_token_endpoint_takes_assertions_of_known_keys_only(
    through_the_proxy: GoogleHosts, account_key: dict[str, str]
) -> None:
    for_storage(account_key).refresh(Request())
    with pytest.raises(RefreshError, match="Invalid JWT Signature"):
        for_storage(service_account_key(project=PROJECT, email=EMAIL)).refresh(Request())
    through_the_proxy.token_error()
    with pytest.raises(RefreshError, match="invalid_grant"):
        for_storage(account_key).refresh(Request())
    through_the_proxy.vertex.revoke(account_key)
    with pytest.raises(RefreshError, match="invalid_grant"):
        for_storage(account_key).refresh(Request())
    assert len(through_the_proxy.token_requests) == 4


def test_a_bucket_and_its_project_are_there_or_not(through_the_proxy: GoogleHosts, account_key: dict[str, str]) -> None:
    through_the_proxy.bucket("ours", project=PROJECT)
    with AuthorizedSession(for_storage(account_key)) as session:
        found, missing = (
            session.get(f"https://storage.googleapis.com/storage/v1/b/{name}") for name in ("ours", "theirs")
        )
    assert (found.status_code, found.json()["name"]) == (200, "ours")
    assert missing.status_code == 404
    with ProjectsClient(credentials=for_storage(account_key)) as projects:
        project = projects.get_project(name=f"projects/{PROJECT}")
    assert project.name == f"projects/{found.json()['projectNumber']}"


def ask(hosts: GoogleHosts, url: str, *, timeout: float = 20.0) -> int:
    """POST nothing to `url` through the proxy; return the status of the answer."""
    trusting = ssl.create_default_context(cafile=hosts.vertex.authority.ca_file)
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({"https": hosts.proxy}),
        urllib.request.HTTPSHandler(context=trusting),
    )
    try:
        with opener.open(url, data=b"", timeout=timeout) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_the_token_endpoint_fails_as_it_is_told(google_hosts: GoogleHosts) -> None:
    url = "https://oauth2.googleapis.com/token"
    google_hosts.token_unavailable()
    google_hosts.token_hang()
    assert ask(google_hosts, url) == 503
    with pytest.raises(TimeoutError):
        ask(google_hosts, url, timeout=0.3)
    assert ask(google_hosts, url) == 400
    assert ask(google_hosts, "https://oauth2.googleapis.com/other") == 501


def test_the_proxy_leads_nowhere_else(google_hosts: GoogleHosts) -> None:
    for host in ("example.com", "us-west1-aiplatform.googleapis.com"):
        with pytest.raises(urllib.error.URLError, match="403 Forbidden"):
            ask(google_hosts, f"https://{host}/")
    assert google_hosts.refused == ["example.com:443", "us-west1-aiplatform.googleapis.com:443"]


def test_a_client_that_does_not_trust_the_authority_gets_nowhere(google_hosts: GoogleHosts) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({"https": google_hosts.proxy}))
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        opener.open("https://oauth2.googleapis.com/token", data=b"", timeout=20)
    assert google_hosts.token_requests == []
