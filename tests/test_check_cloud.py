"""What Google's read APIs tell before a submission, asked through the real network stack of strict fakes."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from fakes.certs import service_account_key, write_key
from fakes.fixtures import EMAIL, PROJECT
from fakes.google_apis import (
    FakeAccount,
    FakeBucket,
    FakeGoogleApis,
    FakeProject,
    FakeRepository,
    bind,
    error_answer,
)
from fakes.google_hosts import GoogleHosts
from fakes.vertex import FakeVertex
from run_kfp.findings import Finding, Severity
from run_kfp.image_reference import GoogleRepository, google_repository, parse_image
from run_kfp.machines import load_machines
from run_kfp.preflight.cloud import CloudReport, GoogleSession, check_cloud
from run_kfp.preflight.cloud.policies import ROLES
from run_kfp.preflight.cloud.session import ONE_TRY
from run_kfp.preflight.cloud.terms import account_project
from run_kfp.preflight.context import CheckContext
from specs import context_of_registry

RUNNER = f"runner@{PROJECT}.iam.gserviceaccount.com"
NUMBER = 123456789012
AGENT = f"service-{NUMBER}@gcp-sa-aiplatform.iam.gserviceaccount.com"
CODE_AGENT = f"service-{NUMBER}@gcp-sa-aiplatform-cc.iam.gserviceaccount.com"
OURS = f"projects/{PROJECT}/locations/us-east1/repositories/team"
T4 = "custom_model_training_nvidia_t4_gpus"
CPUS = "custom_model_training_cpus"

STEP = f'image = "us-east1-docker.pkg.dev/{PROJECT}/team/train:1"'
ONE = f"""
[pipeline]
name = "chain"
[containers.1]
name = "train"
{STEP}
cpu = 16
memory = "60G"
accelerator = {{ type = "NVIDIA_TESLA_T4", count = 4 }}
"""


@dataclass
class World:
    """The fakes, and a context that is right in them."""

    apis: FakeGoogleApis
    hosts: GoogleHosts
    vertex: FakeVertex
    credentials: Path

    def context(self, text: str = ONE, *, job_id: str | None = "chain-1", **settings: str) -> CheckContext:
        given: dict[str, Any] = {
            "project": PROJECT,
            "region": "us-east1",
            "bucket": "a-bucket",
            "service_account": RUNNER,
            **settings,
        }
        environ = {"GOOGLE_APPLICATION_CREDENTIALS": str(self.credentials)}
        return context_of_registry(text, environ=environ, job_id=job_id, **given)

    def check(self, text: str = ONE, **settings: str) -> CloudReport:
        return check_cloud(self.context(text, **settings))

    @property
    def project(self) -> FakeProject:
        return self.apis.projects[PROJECT]

    def take(self, role: str, email: str = "") -> None:
        """Take a role in the project away."""
        kept = [one for one in self.project.policy if one.role != role or (email and email not in str(one.members))]
        self.project.policy[:] = kept

    def forbid(self, *services: str) -> None:
        for service in services:
            self.apis.fail(service, error_answer(HTTPStatus.FORBIDDEN, "The caller does not have permission"))


@pytest.fixture
def world(
    google_hosts: GoogleHosts, vertex: FakeVertex, account_key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    with FakeGoogleApis(vertex.accounts, vertex.authority) as apis:
        apis.stand_behind(google_hosts)
        for name, value in google_hosts.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(account_key_file))
        monkeypatch.setenv("NO_GCE_CHECK", "true")
        project = apis.projects[PROJECT] = FakeProject(NUMBER)
        project.enabled = {
            f"{name}.googleapis.com" for name in ("aiplatform", "storage", "logging", "artifactregistry")
        }
        for role, email in (
            ("roles/aiplatform.user", EMAIL),
            ("roles/aiplatform.user", RUNNER),
            ("roles/logging.logWriter", RUNNER),
            ("roles/aiplatform.serviceAgent", AGENT),
            ("roles/aiplatform.customCodeServiceAgent", CODE_AGENT),
        ):
            bind(project.policy, role, f"serviceAccount:{email}")
        bucket = apis.buckets["a-bucket"] = FakeBucket(PROJECT)
        bind(bucket.policy, "roles/storage.objectUser", f"serviceAccount:{RUNNER}")
        bind(bucket.policy, "roles/storage.legacyBucketReader", f"serviceAccount:{RUNNER}")
        account = apis.accounts[RUNNER] = FakeAccount(PROJECT)
        bind(account.policy, "roles/iam.serviceAccountUser", f"serviceAccount:{EMAIL}")
        apis.repositories[OURS] = FakeRepository()
        apis.quotas = {f"custom_model_serving_{n}": {"": 1} for n in range(5)}
        apis.quotas |= {CPUS: {"us-east1": 2200, "": 20}, T4: {"us-west1": 0, "us-east1": 4}}
        yield World(apis, google_hosts, vertex, account_key_file)


def told(report: CloudReport) -> list[tuple[str, str]]:
    """Codes and severities, the place of neither mattering."""
    return [(finding.code, finding.severity.value) for finding in report.findings]


def only(report: CloudReport) -> Finding:
    assert len(report.findings) == 1, report.findings
    return report.findings[0]


# Everything right


def test_a_right_project_gives_facts_and_no_finding(world: World) -> None:
    report = world.check()
    assert report.findings == ()
    assert report.facts == {
        "caller": EMAIL,
        "project": f"{PROJECT} (number {NUMBER})",
        "bucket": "a-bucket in us-east1 (region)",
        f"quota {T4} in us-east1": "4",
        f"quota {CPUS} in us-east1": "2200",
    }
    assert len(world.hosts.token_requests) == 1
    assert not world.hosts.refused


def test_nothing_is_changed_and_nothing_asked_twice(world: World) -> None:
    world.check()
    asked = [(request.method, request.host, request.target) for request in world.apis.requests]
    assert len(asked) == len(set(asked))
    questions = (":testIamPermissions", ":getIamPolicy", "iam:troubleshoot")
    assert all(method == "GET" or target.partition("?")[0].endswith(questions) for method, _, target in asked)


def test_a_user_is_named_by_the_token_endpoint(world: World, tmp_path: Path) -> None:
    user = "a-user@example.test"
    path = tmp_path / "user.json"
    path.write_text(json.dumps(world.vertex.accounts.user(user)), encoding="utf-8")
    world.credentials = path
    world.project.above.add((user, "roles/aiplatform.user"))
    bind(world.apis.accounts[RUNNER].policy, "roles/iam.serviceAccountUser", f"user:{user}")
    report = world.check()
    assert (report.findings, report.facts["caller"]) == ((), user)


@pytest.mark.parametrize("public", ["allUsers", "allAuthenticatedUsers"])
def test_a_public_repository_of_another_project_is_fine(world: World, public: str) -> None:
    other = FakeRepository()
    bind(other.policy, "roles/artifactregistry.reader", public)
    world.apis.projects["other-project"] = FakeProject(99)
    world.apis.repositories["projects/other-project/locations/us/repositories/gcr.io"] = other
    assert world.check(ONE.replace(STEP, 'image = "gcr.io/other-project/step:1"')).findings == ()


def test_an_editor_is_known_by_the_buckets_own_binding(world: World) -> None:
    """Compute Engine's default account: roles/editor, and the bucket's bindings to the project's editors."""
    world.take("roles/aiplatform.user", RUNNER)
    bind(world.project.policy, "roles/aiplatform.user", f"serviceAccount:{EMAIL}")
    bind(world.project.policy, "roles/editor", f"serviceAccount:{RUNNER}")
    bucket = world.apis.buckets["a-bucket"]
    bucket.policy.clear()
    bind(bucket.policy, "roles/storage.legacyBucketOwner", f"projectEditor:{PROJECT}")
    bind(bucket.policy, "roles/storage.legacyObjectOwner", f"projectEditor:{PROJECT}")
    assert world.check().findings == ()


def test_what_a_folder_grants_is_found_by_the_troubleshooter(world: World) -> None:
    world.take("roles/aiplatform.user")
    world.project.above |= {(RUNNER, "roles/aiplatform.user"), (EMAIL, "roles/aiplatform.user")}
    assert world.check().findings == ()


# Rows of mistakes


@pytest.mark.failure("F75", "RK-CREDENTIALS")
def test_no_credentials_are_one_finding(world: World, tmp_path: Path) -> None:
    world.credentials = tmp_path / "absent.json"
    found = only(world.check())
    assert (found.code, found.severity) == ("RK-CREDENTIALS", Severity.ERROR)
    assert "gcloud auth application-default login" in found.hint
    assert world.apis.requests == []


def test_a_deleted_key_is_refused(world: World, account_key: dict[str, str]) -> None:
    world.vertex.revoke(account_key)
    found = only(world.check())
    assert (found.code, found.severity) == ("RK-CREDENTIALS", Severity.ERROR)


def test_a_token_that_no_api_takes_is_an_error(world: World) -> None:
    answer = error_answer(HTTPStatus.UNAUTHORIZED, "Request had invalid authentication credentials.")
    for service in ("cloudresourcemanager", "storage", "iam", "serviceusage", "cloudquotas", "aiplatform"):
        world.apis.fail(service, answer)
    report = world.check()
    assert told(report)[0] == ("RK-CREDENTIALS", "error")
    assert {severity for _, severity in told(report)[1:]} == {"skipped"}


@pytest.mark.failure("F76", "RK-SCOPES")
def test_scopes_refused_when_the_token_is_made(world: World) -> None:
    world.hosts.token_error("invalid_scope", "Invalid OAuth scope or ID token audience provided.")
    assert told(world.check()) == [("RK-SCOPES", "error")]


@pytest.mark.failure("F76", "RK-SCOPES")
def test_scopes_refused_by_an_api(world: World) -> None:
    world.apis.fail(
        "aiplatform",
        error_answer(
            HTTPStatus.FORBIDDEN,
            "Request had insufficient authentication scopes.",
            "ACCESS_TOKEN_SCOPE_INSUFFICIENT",
            {"service": "aiplatform.googleapis.com"},
        ),
    )
    assert told(world.check()) == [("RK-SCOPES", "error"), ("RK-CLOUD-SKIPPED", "skipped")]


@pytest.mark.failure("F76", "RK-SCOPES")
def test_scopes_of_a_user_as_the_token_endpoint_tells_them(world: World, tmp_path: Path) -> None:
    world.credentials = tmp_path / "user.json"
    world.credentials.write_text(json.dumps(world.vertex.accounts.user(EMAIL)), encoding="utf-8")
    world.hosts.token_scopes("openid", "https://www.googleapis.com/auth/userinfo.email")
    assert told(world.check()) == [("RK-SCOPES", "error")]


def test_a_project_that_is_being_deleted(world: World) -> None:
    world.project.state = "DELETE_REQUESTED"
    assert told(world.check()) == [("RK-PROJECT-GONE", "error")]


def test_a_project_that_google_does_not_admit_is_skipped_with_its_words(world: World) -> None:
    report = world.check(project="another-project")
    assert "skipped" in {severity for _, severity in told(report)}
    assert not [code for code, severity in told(report) if severity == "error"]
    assert any("may not exist" in found.message for found in report.findings)


@pytest.mark.failure("F70", "RK-API-DISABLED")
@pytest.mark.parametrize(
    ("service", "severity"),
    [("aiplatform", "error"), ("artifactregistry", "error"), ("storage", "warning"), ("logging", "warning")],
)
def test_an_api_that_is_off(world: World, service: str, severity: str) -> None:
    world.project.enabled.discard(f"{service}.googleapis.com")
    report = world.check()
    assert told(report) == [("RK-API-DISABLED", severity)]
    assert only(report).hint == f"gcloud services enable {service}.googleapis.com --project={PROJECT}"


def test_artifact_registry_is_not_asked_for_without_an_image_there(world: World) -> None:
    world.project.enabled.discard("artifactregistry.googleapis.com")
    assert world.check(ONE.replace(STEP, 'image = "busybox:1.36"')).findings == ()


@pytest.mark.failure("F84", "RK-BUCKET-GONE")
def test_a_bucket_that_is_not_there(world: World) -> None:
    found = only(world.check(bucket="a-buckett"))
    assert (found.code, found.place) == ("RK-BUCKET-GONE", "--bucket")
    assert found.hint == "gcloud storage buckets create gs://a-buckett --location=us-east1"


def test_the_pipeline_root_names_the_bucket(world: World) -> None:
    found = only(world.check(pipeline_root="gs://other-bucket/root"))
    assert (found.code, found.place) == ("RK-BUCKET-GONE", "--pipeline-root")


@pytest.mark.failure("F81", "RK-BUCKET-LOCATION")
@pytest.mark.failure("F88", "RK-BUCKET-LOCATION")
@pytest.mark.parametrize(
    ("location", "kind"), [("US", "multi-region"), ("NAM4", "dual-region"), ("EUROPE-WEST4", "region")]
)
def test_a_bucket_somewhere_else(world: World, location: str, kind: str) -> None:
    bucket = world.apis.buckets["a-bucket"]
    bucket.location, bucket.kind = location, kind
    report = world.check()
    assert told(report) == [("RK-BUCKET-LOCATION", "warning")]
    assert report.facts["bucket"] == f"a-bucket in {location.lower()} ({kind})"


@pytest.mark.failure("F68", "RK-BUCKET-ACCESS")
def test_an_account_without_access_to_the_bucket(world: World) -> None:
    world.apis.buckets["a-bucket"].policy.clear()
    found = only(world.check())
    assert (found.code, found.severity) == ("RK-BUCKET-ACCESS", Severity.ERROR)
    assert "storage.objects.get, storage.objects.create, storage.buckets.get" in found.message
    assert "--role=roles/storage.objectUser && " in found.hint


@pytest.mark.failure("F68", "RK-BUCKET-ACCESS")
def test_without_the_troubleshooter_it_is_a_warning(world: World) -> None:
    world.forbid("policytroubleshooter")
    world.apis.buckets["a-bucket"].policy.clear()
    bind(world.apis.buckets["a-bucket"].policy, "roles/storage.objectViewer", f"serviceAccount:{RUNNER}")
    found = only(world.check())
    assert (found.code, found.severity) == ("RK-BUCKET-ACCESS", Severity.WARNING)
    assert "storage.objects.create, storage.buckets.get (" in found.message
    assert "groups" in found.message


def test_a_bucket_of_another_project_goes_by_the_policy_of_that_project(world: World) -> None:
    world.forbid("policytroubleshooter")
    other = world.apis.projects["other-project"] = FakeProject(99)
    world.apis.buckets["a-bucket"] = FakeBucket("other-project")
    bind(world.project.policy, "roles/storage.admin", f"serviceAccount:{RUNNER}")
    found = only(world.check())
    assert (found.code, found.severity) == ("RK-BUCKET-ACCESS", Severity.WARNING)
    assert "no policy of bucket a-bucket or project 99 gives" in found.message
    bind(other.policy, "roles/storage.admin", f"serviceAccount:{RUNNER}")
    assert world.check().findings == ()


def test_of_oneself_google_is_certain_without_the_troubleshooter(world: World) -> None:
    """A machine that submits runs under its own account."""
    world.forbid("policytroubleshooter")
    world.apis.accounts[EMAIL] = FakeAccount(PROJECT)
    bind(world.apis.accounts[EMAIL].policy, "roles/iam.serviceAccountUser", f"serviceAccount:{EMAIL}")
    bind(world.apis.buckets["a-bucket"].policy, "roles/storage.objectViewer", f"serviceAccount:{EMAIL}")
    report = world.check(service_account=EMAIL)
    assert told(report) == [("RK-BUCKET-ACCESS", "error"), ("RK-LOG-ROLE", "warning")]
    assert f"{EMAIL} lacks storage.objects.create, storage.buckets.get on" in report.findings[0].message
    world.project.above.add((EMAIL, "roles/logging.logWriter"))
    for role in ("roles/storage.objectUser", "roles/storage.legacyBucketReader"):
        world.project.above.add((EMAIL, role))
    assert world.check(service_account=EMAIL).findings == ()


@pytest.mark.parametrize(
    ("role", "member", "condition", "why"),
    [
        ("projects/test-project/roles/ours", f"serviceAccount:{RUNNER}", "", "projects/test-project/roles/ours"),
        ("roles/storage.objectUser", "group:team@example.test", "", "group:team@example.test"),
        ("roles/storage.objectUser", f"serviceAccount:{RUNNER}", "request.time < x", "under a condition"),
        ("roles/storage.objectUser", "projectEditor:another-project", "", "projectEditor:another-project"),
        ("roles/storage.objectUser", f"projectEditor:{PROJECT}", "", f"projectEditor:{PROJECT}"),
    ],
)
def test_what_may_grant_and_cannot_be_seen_is_no_warning(
    world: World, role: str, member: str, condition: str, why: str
) -> None:
    world.apis.troubleshooter_sees_all = False
    policy = world.apis.buckets["a-bucket"].policy
    policy[:] = [one for one in policy if one.role != "roles/storage.objectUser"]
    bind(policy, role, member, condition=condition)
    found = only(world.check())
    assert found.severity is Severity.SKIPPED
    assert why in found.message


@pytest.mark.failure("F65", "RK-ACCOUNT-GONE")
def test_a_mistyped_account(world: World) -> None:
    """One finding: that it holds no role is no news."""
    found = only(world.check(service_account=f"runnner@{PROJECT}.iam.gserviceaccount.com"))
    assert (found.code, found.place) == ("RK-ACCOUNT-GONE", "--service-account")


def test_a_disabled_account(world: World) -> None:
    world.apis.accounts[RUNNER].disabled = True
    found = only(world.check())
    assert found.code == "RK-ACCOUNT-GONE"
    assert found.hint == f"gcloud iam service-accounts enable {RUNNER} --project={PROJECT}"


@pytest.mark.failure("F65", "RK-ACT-AS")
def test_a_caller_who_may_not_act_as_the_account(world: World) -> None:
    world.apis.accounts[RUNNER].policy.clear()
    found = only(world.check())
    assert (found.code, found.severity) == ("RK-ACT-AS", Severity.ERROR)
    assert f"--member=serviceAccount:{EMAIL} --role=roles/iam.serviceAccountUser" in found.hint


@pytest.mark.failure("F72", "RK-TOKEN-CREATOR")
def test_token_creator_where_user_is_needed(world: World) -> None:
    policy = world.apis.accounts[RUNNER].policy
    policy.clear()
    bind(policy, "roles/iam.serviceAccountTokenCreator", f"serviceAccount:{EMAIL}")
    assert told(world.check()) == [("RK-TOKEN-CREATOR", "error")]


@pytest.mark.failure("F66", "RK-ACT-AS-ITSELF")
def test_an_account_that_may_not_act_as_itself_where_a_step_starts_jobs(world: World) -> None:
    starts = ONE.replace(STEP, 'image = "gcr.io/ml-pipeline/google-cloud-pipeline-components:2.20.0"')
    assert told(world.check(starts)) == [("RK-ACT-AS-ITSELF", "warning")]
    bind(world.apis.accounts[RUNNER].policy, "roles/iam.serviceAccountUser", f"serviceAccount:{RUNNER}")
    assert world.check(starts).findings == ()


@pytest.mark.failure("F69", "RK-VERTEX-ROLE")
@pytest.mark.parametrize(("sees_all", "severity"), [(True, "error"), (False, "warning")])
def test_an_account_without_a_role_of_vertex_ai(world: World, sees_all: bool, severity: str) -> None:
    world.apis.troubleshooter_sees_all = sees_all
    world.take("roles/aiplatform.user")
    bind(world.project.policy, "roles/aiplatform.user", f"serviceAccount:{EMAIL}")
    found = only(world.check())
    assert (found.code, found.severity.value) == ("RK-VERTEX-ROLE", severity)
    assert found.hint.endswith(f"--member=serviceAccount:{RUNNER} --role=roles/aiplatform.user")


def test_an_account_that_may_only_look_at_the_metadata_is_warned_of(world: World) -> None:
    world.take("roles/aiplatform.user")
    bind(world.project.policy, "roles/aiplatform.user", f"serviceAccount:{EMAIL}")
    bind(world.project.policy, "roles/aiplatform.viewer", f"serviceAccount:{RUNNER}")
    assert told(world.check()) == [("RK-VERTEX-ROLE", "warning")]


@pytest.mark.failure("F73", "RK-LOG-ROLE")
def test_an_account_that_cannot_write_logs(world: World) -> None:
    world.take("roles/logging.logWriter")
    assert told(world.check()) == [("RK-LOG-ROLE", "warning")]


def test_a_caller_who_may_not_create_runs(world: World) -> None:
    world.take("roles/aiplatform.user")
    bind(world.project.policy, "roles/aiplatform.user", f"serviceAccount:{RUNNER}")
    assert told(world.check()) == [("RK-CALLER-PERMISSION", "error")]


@pytest.mark.failure("F04", "RK-AGENT-MISSING")
def test_service_agents_that_were_never_made(world: World) -> None:
    world.take("roles/aiplatform.serviceAgent")
    world.take("roles/aiplatform.customCodeServiceAgent")
    report = world.check()
    assert told(report) == [("RK-AGENT-MISSING", "warning")] * 2
    assert report.findings[0].hint.startswith(
        "gcloud beta services identity create --service=aiplatform.googleapis.com"
    )


def other_repository(
    world: World, host: str = "us-east1-docker.pkg.dev/other-project/team"
) -> tuple[str, FakeRepository]:
    """Return a registry with an image of another project, and its repository."""
    world.apis.projects["other-project"] = FakeProject(99)
    found = google_repository(parse_image(f"{host}/train:1"))
    assert found is not None
    made = world.apis.repositories[found.path] = FakeRepository()
    return ONE.replace(STEP, f'image = "{host}/train:1"'), made


@pytest.mark.failure("F02", "RK-IMAGE-PULL")
@pytest.mark.failure("F06", "RK-IMAGE-PULL")
@pytest.mark.parametrize(("sees_all", "severity"), [(True, "error"), (False, "warning")])
def test_an_image_of_another_project_that_the_agent_may_not_pull(world: World, sees_all: bool, severity: str) -> None:
    text, repository = other_repository(world)
    world.apis.troubleshooter_sees_all = sees_all
    report = world.check(text)
    assert told(report) == [("RK-IMAGE-PULL", severity)]
    assert only(report).place == "run-kfp.toml: containers.1.image"
    bind(repository.policy, "roles/artifactregistry.reader", f"serviceAccount:{CODE_AGENT}")
    assert world.check(text).findings == ()


@pytest.mark.failure("F03", "RK-IMAGE-PULL")
def test_the_same_under_a_host_of_container_registry(world: World) -> None:
    text, _ = other_repository(world, "eu.gcr.io/other-project")
    found = only(world.check(text))
    assert found.code == "RK-IMAGE-PULL"
    assert "projects/other-project/locations/europe/repositories/eu.gcr.io" in found.message


@pytest.mark.failure("F05", "RK-IMAGE-READER")
def test_the_reader_role_on_the_runs_account_does_not_help(world: World) -> None:
    text, repository = other_repository(world)
    bind(repository.policy, "roles/artifactregistry.reader", f"serviceAccount:{RUNNER}")
    found = only(world.check(text))
    assert (found.code, found.severity) == ("RK-IMAGE-READER", Severity.ERROR)
    assert f"--member=serviceAccount:{CODE_AGENT} --role=roles/artifactregistry.reader" in found.hint


@pytest.mark.failure("F52", "RK-QUOTA-GPU")
@pytest.mark.failure("F57", "RK-QUOTA-GPU")
def test_a_gpu_quota_of_zero(world: World) -> None:
    """JSON leaves a 0 out, so that the details are empty."""
    world.apis.quotas[T4]["us-east1"] = 0
    found = only(world.check())
    assert (found.code, found.severity) == ("RK-QUOTA-GPU", Severity.ERROR)
    assert found.place == "run-kfp.toml: containers.1.accelerator.count"
    assert "4 requested" in found.message
    assert "a quota of 0 in us-east1" in found.message


@pytest.mark.failure("F55", "RK-QUOTA-GPU")
def test_a_gpu_quota_below_what_is_asked_for(world: World) -> None:
    world.apis.quotas[T4]["us-east1"] = 2
    assert told(world.check()) == [("RK-QUOTA-GPU", "error")]


@pytest.mark.failure("F53", "RK-QUOTA-GPU")
def test_the_quotas_of_other_kinds_do_not_count(world: World) -> None:
    world.apis.quotas |= {
        "custom_model_serving_nvidia_t4_gpus": {"us-east1": 8},
        "custom_model_training_preemptible_nvidia_t4_gpus": {"us-east1": 8},
    }
    world.apis.quotas[T4]["us-east1"] = 0
    assert told(world.check()) == [("RK-QUOTA-GPU", "error")]


@pytest.mark.failure("F54", "RK-QUOTA-CPU")
def test_a_cpu_quota_below_what_is_asked_for(world: World) -> None:
    world.apis.quotas[CPUS]["us-east1"] = 8
    assert told(world.check()) == [("RK-QUOTA-CPU", "error")]


def test_without_a_gpu_another_family_may_serve(world: World) -> None:
    world.apis.quotas[CPUS]["us-east1"] = 8
    text = ONE.replace('accelerator = { type = "NVIDIA_TESLA_T4", count = 4 }', "")
    assert told(world.check(text)) == [("RK-QUOTA-CPU", "warning")]


@pytest.mark.parametrize(("limits", "seen"), [({"us-east1": -1}, "unlimited"), ({"us-west1": 1, "": 16}, "16")])
def test_quotas_without_a_limit_and_for_all_other_regions(world: World, limits: dict[str, int], seen: str) -> None:
    world.apis.quotas[T4] = limits
    report = world.check()
    assert (report.findings, report.facts[f"quota {T4} in us-east1"]) == ((), seen)


def test_a_quota_that_google_does_not_list_is_skipped(world: World) -> None:
    del world.apis.quotas[T4]
    found = only(world.check())
    assert (found.severity, T4 in found.message) == (Severity.SKIPPED, True)


def test_an_accelerator_that_the_table_does_not_know_is_skipped(world: World) -> None:
    found = only(world.check(ONE.replace("NVIDIA_TESLA_T4", "NVIDIA_NEXT")))
    assert found.severity is Severity.SKIPPED
    assert "the quota of NVIDIA_NEXT in us-east1" in found.message


def test_metrics_of_accelerators_may_be_given(world: World, tmp_path: Path) -> None:
    world.apis.quotas["custom_model_training_next_gpus"] = {"": 1}
    context = world.context(ONE.replace("NVIDIA_TESLA_T4", "NVIDIA_NEXT"))
    file = tmp_path / "machines.toml"
    file.write_text('[accelerators.NVIDIA_NEXT]\nmetric = "custom_model_training_next_gpus"\n', encoding="utf-8")
    report = check_cloud(context, machines=load_machines(file))
    assert told(report) == [("RK-QUOTA-GPU", "error")]


@pytest.mark.failure("F90", "RK-JOB-ID-TAKEN")
def test_a_job_id_that_is_taken(world: World) -> None:
    world.apis.jobs.add(f"projects/{PROJECT}/locations/us-east1/pipelineJobs/chain-1")
    found = only(world.check())
    assert (found.code, found.place) == ("RK-JOB-ID-TAKEN", "--job-id")


def test_without_a_job_id_none_is_looked_for(world: World) -> None:
    assert check_cloud(world.context(job_id=None)).findings == ()
    assert not [request for request in world.apis.requests if "aiplatform" in request.host]


# What cannot be looked at

EVERY = ("cloudresourcemanager", "storage", "iam", "serviceusage", "cloudquotas", "policytroubleshooter")
EVERY_HOST = (*EVERY, "aiplatform", "artifactregistry")


def test_no_permission_to_look_is_skipped_everywhere(world: World) -> None:
    world.forbid(*EVERY_HOST)
    report = world.check()
    assert {severity for _, severity in told(report)} == {"skipped"}
    words = only(report).message
    for what in ("bucket a-bucket", f"project {PROJECT}", f"service account {RUNNER}", T4, "job id chain-1", OURS):
        assert what in words
    assert "missing permission" in words


def test_an_api_that_is_off_for_the_checks_is_skipped(world: World) -> None:
    consumer = {"service": "cloudquotas.googleapis.com", "consumer": f"projects/{NUMBER}"}
    world.apis.fail(
        "cloudquotas",
        error_answer(HTTPStatus.FORBIDDEN, "Cloud Quotas API has not been used.", "SERVICE_DISABLED", consumer),
    )
    found = only(world.check())
    assert found.severity is Severity.SKIPPED
    assert found.message.endswith(f"cloudquotas.googleapis.com is not enabled in projects/{NUMBER}")


@pytest.mark.parametrize("status", [HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE])
def test_a_passing_fault_is_tried_once_more(world: World, status: HTTPStatus) -> None:
    world.apis.fail("serviceusage", error_answer(status, "Try again."), times=1)
    assert world.check().findings == ()
    world.apis.fail("serviceusage", error_answer(status, "Try again."), times=2)
    assert told(world.check()) == [("RK-CLOUD-SKIPPED", "skipped")]


def test_an_answer_that_is_no_json_is_skipped_or_empty(world: World) -> None:
    for service in EVERY_HOST:
        world.apis.fail(service, error_answer(HTTPStatus.OK, "of another kind"))
    report = world.check()
    assert not [code for code, _ in told(report) if code in ("RK-API-DISABLED", "RK-BUCKET-LOCATION", "RK-QUOTA-GPU")]


def test_the_token_service_that_is_down_is_skipped(world: World) -> None:
    world.hosts.token_unavailable(times=10)
    context = world.context()
    report = check_cloud(replace(context, settings=replace(context.settings, timeout=0.5)))
    assert told(report) == [("RK-CLOUD-SKIPPED", "skipped")]
    assert "token service" in only(report).message


def test_no_network_is_skipped(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with GoogleSession(world.context().settings) as session:
        assert session.token()
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
        report = check_cloud(world.context(), session=session)
    assert {severity for _, severity in told(report)} == {"skipped"}


def test_hanging_hosts_are_bounded_by_the_deadline(world: World) -> None:
    world.apis.hang(*EVERY_HOST)
    context = world.context()
    begun = time.monotonic()
    report = check_cloud(replace(context, settings=replace(context.settings, timeout=2.0)))
    assert time.monotonic() - begun < ONE_TRY, "without the deadline a single try has so long"
    assert {severity for _, severity in told(report)} == {"skipped"}


def test_independent_calls_run_side_by_side(world: World) -> None:
    """The fake answers nothing before eleven requests are there at once."""
    world.apis.hold(11)
    assert world.check().findings == ()
    first = [request.host.partition(".")[0] for request in world.apis.requests[:11]]
    assert {*EVERY, "us-east1-aiplatform", "artifactregistry"} - {"policytroubleshooter"} <= set(first)


TROUBLESHOOT = "/v1/iam:troubleshoot"


def test_all_who_might_pull_are_asked_after_at_once(world: World) -> None:
    """Both service agents and the run's account, one answer behind the policies."""
    text, _ = other_repository(world)
    world.apis.meet(3, TROUBLESHOOT)
    assert told(world.check(text)) == [("RK-IMAGE-PULL", "error")]


def test_the_policies_that_let_an_account_act_as_itself_are_read_at_once(world: World) -> None:
    owner = "owner-project"
    runner = f"runner@{owner}.iam.gserviceaccount.com"
    world.apis.projects[owner] = FakeProject(99)
    account = world.apis.accounts[runner] = FakeAccount(owner)
    bind(account.policy, "roles/iam.serviceAccountUser", f"serviceAccount:{EMAIL}")
    for role in ("roles/aiplatform.user", "roles/logging.logWriter"):
        bind(world.project.policy, role, f"serviceAccount:{runner}")
    for role in ("roles/storage.objectUser", "roles/storage.legacyBucketReader"):
        bind(world.apis.buckets["a-bucket"].policy, role, f"serviceAccount:{runner}")
    starts = ONE.replace(STEP, 'image = "gcr.io/ml-pipeline/google-cloud-pipeline-components:2.20.0"')
    world.apis.troubleshooter_sees_all = False  # so that the policies decide
    world.apis.meet(2, rf"/v1/projects/{owner}/serviceAccounts/.*:getIamPolicy", rf"/v3/projects/{owner}:getIamPolicy")
    assert told(world.check(starts, service_account=runner)) == [("RK-ACT-AS-ITSELF", "warning")]


def test_a_bucket_of_another_project_costs_one_answer_more_and_not_two(world: World) -> None:
    world.apis.projects["other-project"] = FakeProject(99)
    world.apis.buckets["a-bucket"] = FakeBucket("other-project")
    world.apis.meet(4, TROUBLESHOOT, "/v3/projects/99:getIamPolicy")
    assert told(world.check()) == [("RK-BUCKET-ACCESS", "error")]


def test_missing_settings_leave_out_what_hangs_on_them(world: World) -> None:
    environ = {"GOOGLE_APPLICATION_CREDENTIALS": str(world.credentials)}
    assert check_cloud(context_of_registry(ONE, environ=environ)).findings == ()


@pytest.mark.parametrize(
    "junk",
    [
        {"accelerator": 1},
        {"accelerator": {"resourceCount": {}, "resourceType": []}},
        {"accelerator": {"count": "many", "type": "NVIDIA_TESLA_T4"}},
        {"accelerator": {"count": True, "type": "NVIDIA_TESLA_T4"}, "cpuLimit": [1]},
        {"resourceCpuLimit": "{{$.inputs.parameters['cpu']}}"},
        {"resourceCpuLimit": "1e999", "cpuLimit": float("nan")},
    ],
)
def test_junk_in_a_foreign_file_does_not_matter(world: World, junk: dict[str, Any]) -> None:
    context = world.context()
    (step,) = context.steps
    strange = replace(step, resources=junk, image="us-east1-docker.pkg.dev//{{$.x}}/@")
    assert check_cloud(replace(context, steps=(strange,))).findings == ()


def test_endpoints_of_ones_own(world: World) -> None:
    """By another name than Google's, straight to the fake."""
    ours = "https://private-storage.googleapis.com"
    world.hosts.route("private-storage.googleapis.com", world.apis.port)
    assert check_cloud(world.context(), endpoints={"storage": ours}).findings == ()
    assert "private-storage.googleapis.com:443" in world.hosts.asked
    assert "storage.googleapis.com:443" not in world.hosts.asked


def test_one_token_for_all_who_ask_at_once(world: World) -> None:
    with GoogleSession(world.context().settings) as session:
        tokens: list[str | None] = []
        threads = [threading.Thread(target=lambda: tokens.append(session.token())) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(set(tokens)) == 1
    assert len(tokens) == 8
    assert len(world.hosts.token_requests) == 1


def test_no_finding_holds_a_token_or_a_key(world: World, account_key: Mapping[str, str]) -> None:
    world.forbid(*EVERY_HOST)
    with GoogleSession(world.context().settings) as session:
        report = check_cloud(world.context(), session=session)
        words = repr(report) + repr(session)
        assert str(session.token()) not in words
    assert account_key["private_key"][40:80] not in words


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    code = (
        "import sys, run_kfp.preflight.cloud, run_kfp.preflight.cloud.git; "
        "print(sorted({'requests', 'google.auth', 'google.cloud.aiplatform', 'grpc', 'kfp'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Parts


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("us-east1-docker.pkg.dev/p/r/i:1", GoogleRepository("p", "us-east1", "r")),
        (f"us-docker.pkg.dev/p/r/deep/i@sha256:{64 * '0'}", GoogleRepository("p", "us", "r")),
        ("europe-west4-docker.pkg.dev/example.com/p/r/i", GoogleRepository("example.com:p", "europe-west4", "r")),
        ("gcr.io/p/i", GoogleRepository("p", "us", "gcr.io")),
        ("asia.gcr.io/p/i", GoogleRepository("p", "asia", "asia.gcr.io")),
        ("busybox", None),
        ("docker.io/library/busybox", None),
        ("us-east1-docker.pkg.dev/p/r", None),
        ("us-east1-kfp.pkg.dev/p/r/i", None),
    ],
)
def test_the_repository_of_an_image(image: str, expected: GoogleRepository | None) -> None:
    assert google_repository(parse_image(image)) == expected


@pytest.mark.parametrize(
    ("email", "expected"),
    [
        (RUNNER, PROJECT),
        ("a@p1-x.example.com.iam.gserviceaccount.com", "example.com:p1-x"),
        ("12-compute@developer.gserviceaccount.com", "12"),
        ("project-x@appspot.gserviceaccount.com", "project-x"),
        ("service-1@gcp-sa-aiplatform.iam.gserviceaccount.com", None),
        ("someone@example.com", None),
    ],
)
def test_the_project_of_an_account(email: str, expected: str | None) -> None:
    assert account_project(email) == expected


def test_the_tables_are_of_one_form() -> None:
    assert all(role.startswith("roles/") for role in ROLES)


def test_a_key_of_a_stranger_is_refused(world: World, tmp_path: Path) -> None:
    world.credentials = write_key(service_account_key(project=PROJECT, email=EMAIL), tmp_path / "key.json")
    assert told(world.check()) == [("RK-CREDENTIALS", "error")]
