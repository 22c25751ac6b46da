"""Images as their registries know them: strict fakes of Docker Hub and Google's, and a real registry."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import specs
from engine import Engine
from fakes.certs import Authority
from fakes.fixtures import EMAIL
from fakes.google_hosts import GoogleHosts
from fakes.image_registry import (
    GOOGLE_BLOBS,
    HUB,
    HUB_AUTH,
    HUB_BLOBS,
    FakeImageRegistry,
    Pushed,
    Reply,
    image,
    index,
    push,
    schema_1,
)
from run_kfp.findings import Finding, Severity
from run_kfp.image_reference import DOCKER_HUB
from run_kfp.preflight.context import CheckContext
from run_kfp.preflight.images import ImagesReport, look_at_images, pinned
from run_kfp.preflight.images.registry_api import find_logins

ARTIFACTS, OTHER, PLAIN = "us-east1-docker.pkg.dev", "registry.example.org", "plain.example.org"
HUB_IMAGE = "team/train:v1"
GOOGLE_IMAGE = f"{ARTIFACTS}/test-project/images/train:v1"


@pytest.fixture(autouse=True)
def nobodys_docker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A Docker configuration without logins, and no Engine; return the folder of the configuration."""
    folder = tmp_path / "docker"
    folder.mkdir()
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{folder}/none.sock")
    return folder


@pytest.fixture
def registries(
    authority: Authority, google_hosts: GoogleHosts, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FakeImageRegistry]:
    """Docker Hub, Artifact Registry, gcr.io and others under their own names, through the proxy of the variables."""
    accounts = google_hosts.vertex.accounts
    with FakeImageRegistry(authority, ARTIFACTS, "gcr.io", OTHER, plain=[PLAIN], accounts=accounts) as running:
        for host in running.hosts:
            google_hosts.route(host, running.port)
        for name, value in google_hosts.environment().items():
            monkeypatch.setenv(name, value)
        yield running


def context(reference: str, command: Sequence[str] = (), args: Sequence[str] = (), **task: Any) -> CheckContext:
    """A finished file of one step."""
    return specs.context_of_spec(
        specs.step_spec({"image": reference, "command": list(command), "args": list(args)}, **task),
        project="test-project",
        region="us-east1",
    )


def no_token() -> str | None:
    return None


def look(
    looked_at: CheckContext | str, *, google_token: Callable[[], str | None] = no_token, seconds: float = 20
) -> ImagesReport:
    chosen = context(looked_at) if isinstance(looked_at, str) else looked_at
    return look_at_images(chosen, google_token=google_token, deadline_seconds=seconds)


def told(report: ImagesReport) -> list[tuple[str, Severity]]:
    """Code and severity of each finding."""
    return [(found.code, found.severity) for found in report.findings]


def only(report: ImagesReport, code: str) -> Finding:
    """The single finding of a report, which has this code."""
    assert [found.code for found in report.findings] == [code], report.findings
    return report.findings[0]


def docker_login(folder: Path, host: str, user: str, password: str) -> None:
    """Write what `docker login` writes."""
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))


def test_a_public_image_of_docker_hub_is_read_without_a_login(registries: FakeImageRegistry) -> None:
    mine = image(entrypoint=["python", "main.py"], cmd=["--help"], oci=True)
    digest = registries.add(HUB, "team/train", "v1", index(mine, image("linux/arm64/v8", oci=True)))

    report = look(HUB_IMAGE)

    assert report.findings == ()
    facts = report.facts[HUB_IMAGE]
    assert (facts.digest, facts.platforms) == (digest, ("linux/amd64", "linux/arm64/v8"))
    assert facts.config is not None
    assert (facts.config.entrypoint, facts.config.cmd) == (("python", "main.py"), ("--help",))
    assert (facts.config.user, facts.config.workdir) == ("worker", "/app")
    assert facts.config.created == datetime(2026, 1, 1, tzinfo=UTC)
    assert facts.compressed_size == len(mine.blobs[1].data)
    assert not facts.needs_login
    assert {seen.host for seen in registries.requests} == {HUB, HUB_AUTH, HUB_BLOBS}
    assert [seen.authorization for seen in registries.requests if seen.host in (HUB_AUTH, HUB_BLOBS)] == [None, None]


def test_an_image_of_the_library_is_asked_for_under_its_whole_name(registries: FakeImageRegistry) -> None:
    registries.add(HUB, "library/python", "latest", index(image(), oci=False))

    assert look("python").findings == ()


@pytest.mark.failure("F01", "RK-IMAGE-MISSING")
def test_a_tag_that_was_never_pushed_is_an_error_with_those_that_were(registries: FakeImageRegistry) -> None:
    for tag in ("v20", "v21", "nightly"):
        registries.add(HUB, "team/train", tag, image())

    found = only(look("team/train:v21a"), "RK-IMAGE-MISSING")

    assert found.severity is Severity.ERROR
    assert found.place == "pipeline.yaml: deploymentSpec.executors.exec-step.container.image"
    assert "no tag v21a; it has nightly, v20, v21" in found.message
    assert found.hint.startswith("did you mean 'v21'?")
    assert "docker push team/train:v21a" in found.hint


@pytest.mark.failure("F01", "RK-IMAGE-MISSING")
def test_a_digest_that_is_not_there_is_an_error(registries: FakeImageRegistry) -> None:
    registries.add(HUB, "team/train", "v1", image())

    found = only(look(f"team/train@sha256:{'0' * 64}"), "RK-IMAGE-MISSING")

    assert f"no digest sha256:{'0' * 64}" in found.message


@pytest.mark.failure("F01", "RK-IMAGE-DENIED")
def test_docker_hub_hides_what_is_not_there_as_what_is_private(registries: FakeImageRegistry) -> None:
    found = only(look("taem/train:v1"), "RK-IMAGE-DENIED")

    assert found.severity is Severity.ERROR
    assert "does not exist, or is private" in found.message


def test_an_image_of_docker_hub_that_only_a_login_sees_is_out_of_reach_for_vertex(
    registries: FakeImageRegistry, nobodys_docker: Path
) -> None:
    registries.add(HUB, "team/train", "v1", image(), public=False)
    user, password = registries.login(f"{HUB}/team/train")
    docker_login(nobodys_docker, "https://index.docker.io/v1/", user, password)

    report = look(HUB_IMAGE)

    found = only(report, "RK-IMAGE-DENIED")
    assert found.severity is Severity.ERROR
    assert "your login can read it" in found.message
    assert report.facts[HUB_IMAGE].needs_login
    assert {seen.host for seen in registries.requests if "Basic" in str(seen.authorization)} == {HUB_AUTH}
    assert password not in repr(report)


def test_a_login_that_expired_hides_no_public_image(registries: FakeImageRegistry, nobodys_docker: Path) -> None:
    registries.add(HUB, "team/train", "v1", image())
    docker_login(nobodys_docker, "https://index.docker.io/v1/", "somebody", "old")

    assert look(HUB_IMAGE).findings == ()


def test_artifact_registry_is_asked_with_googles_token(registries: FakeImageRegistry) -> None:
    digest = registries.add(ARTIFACTS, "test-project/images/train", "v1", image(), public=False)
    token = os.urandom(24).hex()
    registries.let_in("oauth2accesstoken", token, f"{ARTIFACTS}/test-project/images/train")

    report = look(GOOGLE_IMAGE, google_token=lambda: token)

    assert report.findings == ()
    assert report.facts[GOOGLE_IMAGE].digest == digest
    with_token = {(seen.host, seen.path) for seen in registries.requests if "Basic" in str(seen.authorization)}
    assert with_token == {(ARTIFACTS, "/v2/token")}
    assert [seen.authorization for seen in registries.requests if seen.host == GOOGLE_BLOBS] == [None]


def access_token(google_hosts: GoogleHosts) -> str:
    """A token that Google's token service gave to EMAIL."""
    accounts = google_hosts.vertex.accounts
    return accounts.exchange_refresh_token(accounts.user(EMAIL))


def asked(registries: FakeImageRegistry) -> list[tuple[str, str, str]]:
    """Each request: the host, what kind of thing it asked for, and the scheme of its login."""
    return [
        (seen.host, seen.path.rpartition("/")[0].rpartition("/")[2], str(seen.authorization).partition(" ")[0])
        for seen in registries.requests
    ]


@pytest.mark.parametrize("pushed", [image(), index(image(), image("linux/arm64"), oci=False)])
def test_docker_hub_is_asked_for_a_token_first(registries: FakeImageRegistry, pushed: Pushed) -> None:
    registries.add(HUB, "team/train", "v1", pushed)

    assert look(HUB_IMAGE).findings == ()

    assert asked(registries) == [
        (HUB_AUTH, "", "None"),
        *[(HUB, "manifests", "Bearer")] * (2 if pushed.manifests else 1),
        (HUB, "blobs", "Bearer"),
        (HUB_BLOBS, "", "None"),
    ]


def test_docker_hub_may_name_another_token_service(registries: FakeImageRegistry) -> None:
    """Under its name a company's mirror may answer."""
    mine = image()
    registries.plan(HUB_AUTH, "/token", Reply(503))
    challenge = f'Bearer realm="https://{OTHER}/v2/token",service="{OTHER}"'
    refused = Reply.error(401, "UNAUTHORIZED", "authentication required", **{"WWW-Authenticate": challenge})
    answers = iter([refused, Reply(200, mine.top.data, {"Content-Type": mine.top.media_type})])
    registries.plan(HUB, MANIFEST, lambda: next(answers))
    registries.plan(HUB, f"/v2/team/train/blobs/{CONFIG}", Reply(200, mine.blobs[0].data))

    assert look(HUB_IMAGE).findings == ()

    assert asked(registries) == [
        (HUB_AUTH, "", "None"),
        (HUB, "manifests", "None"),
        (OTHER, "v2", "None"),
        (HUB, "manifests", "Bearer"),
        (HUB, "blobs", "Bearer"),
    ]


def test_a_token_service_that_fails_is_asked_once(registries: FakeImageRegistry) -> None:
    registries.add(HUB, "team/train", "v1", image())
    registries.plan(HUB_AUTH, "/token", Reply(503))

    assert "status 503" in only(look(HUB_IMAGE), "RK-IMAGE-UNREACHED").message
    assert asked(registries) == [(HUB_AUTH, "", "None"), (HUB, "manifests", "None")]


def test_an_open_registry_is_asked_for_manifest_and_config_alone(registries: FakeImageRegistry) -> None:
    registries.add(PLAIN, "team/train", "v1", image())

    assert look(f"{PLAIN}/team/train:v1").findings == ()
    assert asked(registries) == [(PLAIN, "manifests", "None"), (PLAIN, "blobs", "None")]


def test_google_takes_an_access_token_without_an_exchange(
    registries: FakeImageRegistry, google_hosts: GoogleHosts
) -> None:
    registries.add(ARTIFACTS, "test-project/images/train", "v1", image(), public=False)
    registries.let_account_read(EMAIL, f"{ARTIFACTS}/test-project/images/train")
    token = access_token(google_hosts)

    assert look(GOOGLE_IMAGE, google_token=lambda: token).findings == ()

    assert asked(registries) == [
        (ARTIFACTS, "manifests", "None"),
        (ARTIFACTS, "manifests", "Bearer"),
        (ARTIFACTS, "blobs", "Bearer"),
        (GOOGLE_BLOBS, "", "None"),
    ]


def test_an_access_token_goes_to_google_alone(
    registries: FakeImageRegistry, google_hosts: GoogleHosts, nobodys_docker: Path
) -> None:
    token = access_token(google_hosts)
    docker_login(nobodys_docker, OTHER, "oauth2accesstoken", token)
    for host in (HUB, OTHER):
        registries.add(host, "team/train", "v1", image(), public=False)

    look(chain([HUB_IMAGE, f"{OTHER}/team/train:v1"]), google_token=lambda: token)

    assert f"Bearer {token}" not in {seen.authorization for seen in registries.requests}


def test_what_google_denies_to_a_token_is_not_asked_for_by_its_exchange(
    registries: FakeImageRegistry, google_hosts: GoogleHosts
) -> None:
    registries.add(ARTIFACTS, "test-project/images/train", "v1", image(), public=False)
    token = access_token(google_hosts)
    known = Reply.error(403, "DENIED", "not for you")
    unknown = Reply.error(403, "DENIED", "not for strangers")
    answers = iter([unknown, known, unknown])
    registries.plan(ARTIFACTS, "/v2/test-project/images/train/manifests/v1", lambda: next(answers))

    found = only(look(GOOGLE_IMAGE, google_token=lambda: token), "RK-IMAGE-DENIED")

    assert "not for you" in found.message
    assert not [seen for seen in registries.requests if "Basic" in str(seen.authorization)]


def test_the_token_is_fetched_while_google_is_asked_without_one(
    registries: FakeImageRegistry, google_hosts: GoogleHosts
) -> None:
    registries.add(ARTIFACTS, "test-project/images/train", "v1", image(), public=False)
    registries.let_account_read(EMAIL, f"{ARTIFACTS}/test-project/images/train")
    meeting = threading.Barrier(2)
    first = [True]

    def before_answer(host: str) -> None:
        if first and first.pop():
            meeting.wait(30)

    def google_token() -> str | None:
        meeting.wait(30)  # breaks, and makes the test fail, where one waits for the other
        return access_token(google_hosts)

    registries.before_answer = before_answer

    assert look(GOOGLE_IMAGE, google_token=google_token, seconds=40).findings == ()


def test_the_token_is_asked_for_once_and_for_google_alone(registries: FakeImageRegistry) -> None:
    asked: list[str] = []

    def google_token() -> str | None:
        asked.append("token")
        return None

    registries.add(HUB, "team/train", "v1", image())
    look(HUB_IMAGE, google_token=google_token)
    assert asked == []

    for name in ("a", "b", "c"):
        registries.add("gcr.io", f"test-project/{name}", "v1", image())
    report = look(chain([f"gcr.io/test-project/{name}:v1" for name in "abc"]), google_token=google_token)

    assert asked == ["token"]
    assert len(report.facts) == 3


def test_what_the_caller_may_not_see_is_a_warning_since_another_pulls(registries: FakeImageRegistry) -> None:
    registries.add(ARTIFACTS, "test-project/images/train", "v1", image(), public=False)
    token = os.urandom(24).hex()
    registries.let_in("oauth2accesstoken", token)

    found = only(look(GOOGLE_IMAGE, google_token=lambda: token), "RK-IMAGE-DENIED")

    assert found.severity is Severity.WARNING
    assert "does not exist, or you cannot read it" in found.message
    assert "downloadArtifacts" in found.message
    assert "gcloud auth" in found.hint
    assert token not in repr(found)


def test_a_token_that_google_refuses_hides_no_public_image(registries: FakeImageRegistry) -> None:
    registries.add("gcr.io", "test-project/open", "v1", image())
    registries.add("gcr.io", "test-project/closed", "v1", image(), public=False)
    expired = os.urandom(24).hex()

    assert look("gcr.io/test-project/open:v1", google_token=lambda: expired).findings == ()
    closed = only(look("gcr.io/test-project/closed:v1", google_token=lambda: expired), "RK-IMAGE-DENIED")
    assert closed.severity is Severity.WARNING


def test_a_private_image_elsewhere_is_read_with_dockers_login_and_is_a_warning(
    registries: FakeImageRegistry, nobodys_docker: Path
) -> None:
    registries.add(OTHER, "team/train", "v1", image("linux/arm64"), public=False)
    reference = f"{OTHER}/team/train:v1"
    assert told(look(reference)) == [("RK-IMAGE-DENIED", Severity.WARNING)]

    docker_login(nobodys_docker, OTHER, "somebody", "old")
    refused = only(look(reference), "RK-IMAGE-DENIED")
    assert f"the login for {OTHER} is refused" in refused.message
    assert refused.hint == f"docker login {OTHER}"

    docker_login(nobodys_docker, OTHER, *registries.login(f"{OTHER}/team/train"))
    seen = look(reference)
    assert told(seen) == [("RK-IMAGE-DENIED", Severity.WARNING), ("RK-IMAGE-PLATFORM", Severity.ERROR)]


def test_a_registry_that_wants_the_login_itself_gets_it(registries: FakeImageRegistry, nobodys_docker: Path) -> None:
    challenge = Reply.error(401, "UNAUTHORIZED", "log in", **{"WWW-Authenticate": 'Basic realm="images"'})
    registries.plan(OTHER, MANIFEST, challenge)
    assert told(look(f"{OTHER}/team/train:v1")) == [("RK-IMAGE-DENIED", Severity.WARNING)]

    docker_login(nobodys_docker, OTHER, "somebody", "right")
    look(f"{OTHER}/team/train:v1")
    sent = base64.b64encode(b"somebody:right").decode()
    assert registries.requests[-1].authorization == f"Basic {sent}"


@pytest.mark.parametrize("realm", ["http://registry.example.org/v2/token", "ftp://registry.example.org/"])
def test_nobody_is_sent_for_a_token_without_tls(
    registries: FakeImageRegistry, nobodys_docker: Path, realm: str
) -> None:
    docker_login(nobodys_docker, OTHER, "somebody", "right")
    challenge = Reply.error(401, "UNAUTHORIZED", "x", **{"WWW-Authenticate": f'Bearer realm="{realm}",service="x"'})
    registries.plan(OTHER, MANIFEST, challenge)

    found = only(look(f"{OTHER}/team/train:v1"), "RK-IMAGE-UNREACHED")

    assert "for a token" in found.message
    assert [seen.authorization for seen in registries.requests] == [None]


def test_an_index_without_its_images_is_told(registries: FakeImageRegistry) -> None:
    registries.add(HUB, "team/train", "v1", Pushed(index(image(oci=True)).top))

    assert "not its image" in only(look(HUB_IMAGE), "RK-IMAGE-UNREACHED").message


@pytest.mark.parametrize("realm", ["https://token.example.com/token", f"http://{ARTIFACTS}/v2/token", "", "https://["])
def test_googles_token_goes_to_google_over_tls_alone(
    registries: FakeImageRegistry, google_hosts: GoogleHosts, realm: str
) -> None:
    challenge = Reply.error(401, "UNAUTHORIZED", "x", **{"WWW-Authenticate": f'Bearer realm="{realm}",service="x"'})
    registries.plan(ARTIFACTS, "/v2/test-project/images/train/manifests/v1", challenge)

    found = only(look(GOOGLE_IMAGE, google_token=lambda: os.urandom(24).hex()), "RK-IMAGE-UNREACHED")

    assert found.severity is Severity.SKIPPED
    assert google_hosts.asked == [f"{ARTIFACTS}:443"]


@pytest.mark.failure("F08", "RK-IMAGE-PLATFORM")
@pytest.mark.parametrize(
    ("pushed", "platforms"),
    [
        (image("linux/arm64"), "linux/arm64"),
        (image("windows/amd64"), "windows/amd64"),
        (index(image("linux/arm64/v8", oci=True), image("linux/s390x", oci=True)), "linux/arm64/v8, linux/s390x"),
    ],
)
def test_an_image_for_another_processor_is_an_error(
    registries: FakeImageRegistry, pushed: Pushed, platforms: str
) -> None:
    registries.add(HUB, "team/train", "v1", pushed)

    found = only(look(HUB_IMAGE), "RK-IMAGE-PLATFORM")

    assert found.severity is Severity.ERROR
    assert f"is made for {platforms}; Vertex AI runs linux/amd64" in found.message
    assert "docker buildx build --platform linux/amd64 --tag team/train:v1 --push ." in found.hint


@pytest.mark.failure("F11", "RK-IMAGE-SCHEMA")
def test_a_manifest_of_schema_1_is_recognised(registries: FakeImageRegistry) -> None:
    registries.add(HUB, "team/train", "v1", schema_1("team/train"))

    assert only(look(HUB_IMAGE), "RK-IMAGE-SCHEMA").severity is Severity.WARNING


def test_a_chart_is_no_image(registries: FakeImageRegistry) -> None:
    chart = image(config_type="application/vnd.cncf.helm.config.v1+json", oci=True)
    registries.add(HUB, "team/train", "v1", chart)

    assert only(look(HUB_IMAGE), "RK-IMAGE-KIND").severity is Severity.ERROR


def test_an_image_that_fills_the_disk_is_a_warning(registries: FakeImageRegistry) -> None:
    registries.add(HUB, "team/train", "v1", image(layer_bytes=45_000_000_000))
    registries.add(HUB, "team/train", "v2", image(layer_bytes=30_000_000_000))

    found = only(look(HUB_IMAGE), "RK-IMAGE-SIZE")

    assert "45 GB of compressed layers" in found.message
    assert look("team/train:v2").findings == ()


@pytest.mark.failure("F15", "RK-IMAGE-ENTRYPOINT")
@pytest.mark.failure("F17", "RK-IMAGE-ENTRYPOINT")
def test_a_command_that_replaces_the_entrypoint_is_shown_beside_it(registries: FakeImageRegistry) -> None:
    registries.add(HUB, "team/train", "v1", image(entrypoint=["/opt/setup.sh"], cmd=["serve"]))

    found = only(look(context(HUB_IMAGE, ["python", "main.py"])), "RK-IMAGE-ENTRYPOINT")

    assert found.severity is Severity.NOTE
    assert found.place.endswith("container.command")
    assert '["python", "main.py"] runs in place of the image\'s ENTRYPOINT ["/opt/setup.sh"]' in found.message
    assert 'and CMD ["serve"]; kfp.local would run it behind that ENTRYPOINT' in found.message


@pytest.mark.failure("F15", "RK-IMAGE-ARGUMENTS")
@pytest.mark.failure("F18", "RK-IMAGE-ARGUMENTS")
@pytest.mark.parametrize(
    ("entrypoint", "args"),
    [
        (["/bin/bash", "run-commands.sh"], ["bash", "-c", "python main.py"]),
        (["/bin/bash", "run-commands.sh"], ["/bin/bash", "run-commands.sh", "v1"]),
        (["/bin/bash", "run-commands.sh"], ["-c", "python main.py"]),
        (["/bin/bash", "run-commands.sh"], ["run-commands.sh", "v1"]),
        (["/bin/bash"], ["bash", "run.sh"]),
        (["/bin/bash"], ["python", "main.py"]),
        (["python", "main.py"], ["python", "main.py", "--epochs", "3"]),
        (["python3", "-u", "main.py"], ["main.py", "--epochs", "3"]),
        (["/usr/bin/tini", "--", "python", "main.py"], ["python", "main.py"]),
        (["git"], ["git", "clone"]),
    ],
)
def test_arguments_that_repeat_the_entrypoint_are_a_warning(
    registries: FakeImageRegistry, entrypoint: list[str], args: list[str]
) -> None:
    registries.add(HUB, "team/train", "v1", image(entrypoint=entrypoint))

    found = only(look(context(HUB_IMAGE, (), args)), "RK-IMAGE-ARGUMENTS")

    assert found.severity is Severity.WARNING
    assert found.place.endswith("container.args")


def test_a_script_that_by_custom_runs_its_arguments_is_a_note(registries: FakeImageRegistry) -> None:
    registries.add(HUB, "team/train", "v1", image(entrypoint=["/bin/bash", "docker-entrypoint.sh"]))

    found = only(look(context(HUB_IMAGE, (), ["python", "main.py"])), "RK-IMAGE-ARGUMENTS")

    assert found.severity is Severity.NOTE


@pytest.mark.parametrize(
    ("entrypoint", "args"),
    [
        (["/bin/sh", "-c", "python main.py"], ["--epochs", "3"]),  # the shell form
        (["/bin/sh", "-c"], ["python", "main.py"]),
        (["/bin/bash", "-lc"], ["python main.py", "--epochs", "3"]),
    ],
)
def test_arguments_behind_a_shells_text_never_arrive(
    registries: FakeImageRegistry, entrypoint: list[str], args: list[str]
) -> None:
    registries.add(HUB, "team/train", "v1", image(entrypoint=entrypoint))

    assert only(look(context(HUB_IMAGE, (), args)), "RK-IMAGE-ARGUMENTS-LOST").severity is Severity.WARNING


@pytest.mark.parametrize(
    ("entrypoint", "cmd", "args", "severity"),
    [
        (None, None, [], Severity.ERROR),
        (None, ["python", "main.py"], ["--epochs", "3"], Severity.WARNING),
        (None, ["python", "main.py"], ["{{$.inputs.parameters['tag']}}"], Severity.WARNING),
    ],
)
def test_a_step_without_a_program_is_told(
    registries: FakeImageRegistry,
    entrypoint: list[str] | None,
    cmd: list[str] | None,
    args: list[str],
    severity: Severity,
) -> None:
    registries.add(HUB, "team/train", "v1", image(entrypoint=entrypoint, cmd=cmd))

    assert only(look(context(HUB_IMAGE, (), args)), "RK-IMAGE-NO-PROGRAM").severity is severity


def test_a_shell_in_an_image_of_copied_files_is_a_warning(registries: FakeImageRegistry) -> None:
    registries.add(HUB, "team/train", "v1", image(created_by=["COPY /server /server # buildkit"]))

    assert only(look(context(HUB_IMAGE, ["sh", "-c"], ["x"])), "RK-IMAGE-SHELL").severity is Severity.WARNING
    assert look(context(HUB_IMAGE, ["/server"])).findings == ()


@pytest.mark.parametrize(
    ("entrypoint", "cmd", "command", "args"),
    [
        (["python", "main.py"], None, [], ["--epochs", "3"]),
        (["python", "main.py"], None, [], []),
        (["python"], None, [], ["-m", "trainer"]),
        (["python", "-m", "trainer"], None, [], ["python"]),
        (["/bin/bash"], None, [], ["run.sh", "v1"]),
        (["/bin/bash"], None, [], ["-c", "python main.py"]),
        (["/bin/bash", "-c"], None, [], ["python main.py"]),
        (["/bin/bash", "-c", 'python main.py "$@"', "--"], None, [], ["--epochs", "3"]),
        (["/bin/bash", "run-commands.sh"], None, [], ["{{$.inputs.parameters['project']}}", "v1"]),
        (["/entrypoint.sh"], None, [], ["python", "main.py"]),
        (["/usr/bin/tini", "--"], None, [], ["python", "main.py"]),
        (["conda", "run", "-n", "env"], None, [], ["env", "A=1", "python"]),
        (["python"], None, ["python", "main.py"], []),  # nothing of the ENTRYPOINT is lost
        (None, ["python3"], ["python", "main.py"], []),
        (None, ["python3"], [], ["python", "main.py"]),
        (None, ["python3"], [], []),
        (None, ["python3"], ["sh", "-c"], ["python main.py"]),
    ],
)
def test_calls_that_fit_their_image_give_no_finding(
    registries: FakeImageRegistry,
    entrypoint: list[str] | None,
    cmd: list[str] | None,
    command: list[str],
    args: list[str],
) -> None:
    registries.add(HUB, "team/train", "v1", image(entrypoint=entrypoint, cmd=cmd))

    assert look(context(HUB_IMAGE, command, args)).findings == ()


@pytest.mark.parametrize(
    "created_by",
    [
        ["/bin/sh -c #(nop) ADD file:0123 in / ", "/bin/sh -c #(nop) COPY file:0123 in /app"],
        ["# debian.sh --arch 'amd64' out/ 'bookworm'", "COPY . /app # buildkit"],
        ["COPY / / # buildkit"],
        ["COPY /rootfs / # buildkit"],
        ["COPY /busybox /bin/busybox # buildkit", "RUN /bin/sh -c true # buildkit"],
        [],
        [""],
    ],
)
def test_an_image_with_a_base_has_a_shell_for_all_that_is_known(
    registries: FakeImageRegistry, created_by: list[str]
) -> None:
    registries.add(HUB, "team/train", "v1", image(created_by=created_by))

    assert look(context(HUB_IMAGE, ["sh", "-c"], ["x"])).findings == ()


def test_what_stands_in_a_call_is_not_repeated_whole(registries: FakeImageRegistry) -> None:
    registries.add(HUB, "team/train", "v1", image())
    registries.add(HUB, "team/bound", "v1", image(entrypoint=["bash", "run.sh"]))
    password = os.urandom(12).hex()

    reports = [
        look(context(HUB_IMAGE, (), [f"--password={password}"])),
        look(context("team/bound:v1", (), ["-c", f"login {password}"])),
        look(context("team/bound:v1", ["sh", "-c", f"login {password}", password])),
    ]

    assert [len(report.findings) for report in reports] == [1, 1, 1]
    assert password not in repr(reports)
    assert '"login…"' in reports[2].findings[0].message


def test_a_config_that_names_no_system_is_one_of_linux(registries: FakeImageRegistry) -> None:
    pushed = image("/amd64")
    registries.add(HUB, "team/train", "v1", pushed)

    assert look(HUB_IMAGE).findings == ()


def late_env(entrypoint: str) -> CheckContext:
    """A container whose environment takes a parameter, with this entrypoint declared."""
    return specs.context_of_registry(
        f"""
        [pipeline]
        name = "test-pipeline"
        [containers.1]
        name = "train"
        image = "{HUB_IMAGE}"
        entrypoint = {entrypoint}
        env = {{ TAG = {{ param = "tag" }} }}
        """,
        params={"tag": "v1"},
    )


def test_a_declared_entrypoint_is_compared_with_the_images(registries: FakeImageRegistry) -> None:
    registries.add(HUB, "team/train", "v1", image(entrypoint=["python", "main.py"]))

    found = only(look(late_env('["python", "train.py"]')), "RK-IMAGE-DECLARED-ENTRYPOINT")

    assert found.place == "run-kfp.toml: containers.1.entrypoint"
    assert found.hint == 'write entrypoint = ["python", "main.py"]'
    assert look(late_env('["python", "main.py"]')).findings == ()


def test_an_image_that_is_known_only_later_is_skipped() -> None:
    found = only(look("{{$.inputs.parameters['image']}}"), "RK-IMAGE-UNREACHED")

    assert found.severity is Severity.SKIPPED
    assert "only known when the run is created" in found.message


def test_a_text_that_names_no_image_is_left_to_the_grammar() -> None:
    assert look("team/Train:v1").findings == ()
    assert look(f"{ARTIFACTS}/train:v1").findings == ()


MANIFEST = "/v2/team/train/manifests/v1"
CONFIG = image().blobs[0].digest


@pytest.mark.parametrize(
    ("path", "reply", "words"),
    [
        (MANIFEST, Reply.error(429, "TOOMANYREQUESTS", "slow down"), "429"),
        (MANIFEST, Reply(503), "status 503"),
        (MANIFEST, Reply(200, b"<html>"), "does not answer with JSON"),
        (MANIFEST, Reply(200, b"[]"), "does not answer with JSON"),
        (MANIFEST, Reply(200, b"[" * 100_000), "does not answer with JSON"),
        (MANIFEST, Reply.json({"schemaVersion": 2}), "without an image manifest"),
        (MANIFEST, Reply.json({"manifests": [1, {"platform": 2}], "config": 3}), "without platforms"),
        (MANIFEST, Reply.json({"config": {"digest": "../../x"}, "layers": []}), "without an image manifest"),
        (MANIFEST, Reply(200, b"{" + b" " * 9_000_000 + b"}"), "more than 8 MiB"),
        (MANIFEST, Reply(200, b'{"a": 1}', {"Docker-Content-Digest": f"sha256:{'1' * 64}"}), "other content"),
        (MANIFEST, Reply(307, b"", {"Location": f"https://{HUB}{MANIFEST}"}), "in circles"),
        (MANIFEST, Reply(307, b"", {"Location": "http://plain.example.com/"}), "no address with TLS"),
        (MANIFEST, Reply(307), "in circles"),
        (MANIFEST, Reply(307, b"", {"Location": "https://["}), "does not answer with valid HTTP"),
        (MANIFEST, Reply(307, b"", {"Location": "https://:x/"}), "cannot be reached"),
        (MANIFEST, Reply.json({"layers": [], "manifests": [{"platform": {}, "digest": "../x"}]}), "without platforms"),
        (f"/v2/team/train/blobs/{CONFIG}", Reply.json({"architecture": "amd64"}), "other content"),
        (f"/v2/team/train/blobs/{CONFIG}", Reply(404), "not its config"),
    ],
)
def test_whatever_a_registry_does_is_told_and_nothing_else(
    registries: FakeImageRegistry, path: str, reply: Reply, words: str
) -> None:
    registries.add(HUB, "team/train", "v1", image())
    registries.plan(HUB, path, reply)

    report = look(HUB_IMAGE)

    found = only(report, "RK-IMAGE-UNREACHED")
    assert found.severity is Severity.SKIPPED
    assert words in found.message
    assert report.facts == {}


@pytest.mark.parametrize("reply", [Reply(500), Reply(200, b"{}"), Reply.json({"token": "two\nlines"})])
def test_a_token_server_that_fails_is_told(registries: FakeImageRegistry, reply: Reply) -> None:
    registries.add(HUB, "team/train", "v1", image())
    registries.plan(HUB_AUTH, "/token", reply)

    only(look(HUB_IMAGE), "RK-IMAGE-UNREACHED")


def test_a_registry_that_never_answers_is_given_up_at_the_deadline(registries: FakeImageRegistry) -> None:
    registries.add(HUB, "team/train", "v1", image())
    registries.add("gcr.io", "test-project/train", "v1", image())
    over = threading.Event()

    def never() -> Reply:
        over.wait(60)
        return Reply(503)

    registries.plan("gcr.io", "/v2/test-project/train/manifests/v1", never)
    started = time.monotonic()
    try:
        report = look(chain([HUB_IMAGE, "gcr.io/test-project/train:v1"]), seconds=2)
        took = time.monotonic() - started
    finally:
        over.set()

    found = only(report, "RK-IMAGE-UNREACHED")
    assert "gcr.io did not answer in time" in found.message
    assert list(report.facts) == [HUB_IMAGE]
    assert took < 10, "without the deadline a single request has so long"


def test_a_host_that_cannot_be_reached_is_skipped(registries: FakeImageRegistry, google_hosts: GoogleHosts) -> None:
    found = only(look("registry.example.com/team/train:v1"), "RK-IMAGE-UNREACHED")

    assert "registry.example.com" in found.message
    assert google_hosts.refused == ["registry.example.com:443"]


def test_a_certificate_that_nobody_trusts_is_told(
    registries: FakeImageRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(Authority(tmp_path).ca_file))

    assert "certificate of docker.io is not trusted" in only(look(HUB_IMAGE), "RK-IMAGE-UNREACHED").message


def chain(references: Sequence[str]) -> CheckContext:
    """Steps with these images, one behind the other."""
    text = "\n".join(
        f'[containers.{number}]\nname = "step{number}x"\nimage = "{reference}"\nargs = ["x"]'
        for number, reference in enumerate(references, 1)
    )
    return specs.context_of_registry(
        f'[pipeline]\nname = "test-pipeline"\n{text}',
        [str(number) for number in range(1, len(references) + 1)],
        project="test-project",
    )


def test_all_images_are_asked_for_at_the_same_time(registries: FakeImageRegistry) -> None:
    names = [f"team/step{number}" for number in range(12)]
    meeting = threading.Barrier(len(names))
    for name in names:
        pushed = image(entrypoint=[name])
        registries.add(HUB, name, "v1", pushed)

        def together(data: bytes = pushed.top.data, kind: str = pushed.top.media_type) -> Reply:
            meeting.wait(30)  # breaks, and makes the test fail, where one waits for another
            return Reply(200, data, {"Content-Type": kind})

        registries.plan(HUB, f"/v2/{name}/manifests/v1", together)

    report = look(chain([f"{name}:v1" for name in names]), seconds=40)

    assert {name: facts.config and facts.config.entrypoint for name, facts in report.facts.items()} == {
        f"{name}:v1": (name,) for name in names
    }


def test_an_image_of_many_steps_is_asked_for_once(registries: FakeImageRegistry) -> None:
    registries.add(HUB, "team/train", "v1", image("linux/arm64", entrypoint=["run"]))

    report = look(chain([HUB_IMAGE] * 3))

    assert [found.place for found in report.findings] == [f"run-kfp.toml: containers.{n}.image" for n in (1, 2, 3)]
    assert len([seen for seen in registries.requests if seen.host == HUB_BLOBS]) == 1


def test_pinned_takes_the_digest_of_what_the_tag_names(registries: FakeImageRegistry) -> None:
    digest = registries.add(HUB, "team/train", "v1", index(image(oci=True)))

    facts = look(HUB_IMAGE).facts[HUB_IMAGE]

    assert pinned(HUB_IMAGE, facts) == f"team/train@{digest}"
    assert pinned(f"localhost:5000/team/train@{digest}", facts) == f"localhost:5000/team/train@{digest}"
    assert look(pinned(HUB_IMAGE, facts)).facts[f"team/train@{digest}"] == facts


# ---- logins of Docker's own configuration


@pytest.mark.parametrize(
    ("config", "host", "expected"),
    [
        ({"auths": {"https://index.docker.io/v1/": "LOGIN"}}, DOCKER_HUB, True),
        ({"auths": {"ghcr.io": "LOGIN"}}, "ghcr.io", True),
        ({"auths": {"https://ghcr.io/v2/": "LOGIN"}}, "ghcr.io", True),
        ({"auths": {"localhost:5000": "LOGIN"}}, "localhost:5000", True),
        ({"auths": {"ghcr.io": "LOGIN"}}, "quay.io", False),
        ({"auths": {"ghcr.io": {}}}, "ghcr.io", False),
        ({"auths": {"ghcr.io": {"auth": "%%%"}}}, "ghcr.io", False),
        ({"auths": {"ghcr.io": {"auth": 3}}}, "ghcr.io", False),
        ({"auths": ["ghcr.io"]}, "ghcr.io", False),
        ([], "ghcr.io", False),
        ({"credsStore": "test"}, "ghcr.io", True),
        ({"credHelpers": {"ghcr.io": "test"}}, "ghcr.io", True),
        ({"credHelpers": {"ghcr.io": "test"}}, "quay.io", False),
        ({"credsStore": "is-not-there"}, "ghcr.io", False),
        ({"credsStore": "../test"}, "ghcr.io", False),
        ({"credsStore": "test"}, "refused.example.com", False),
    ],
)
def test_a_login_is_found_as_docker_finds_it(
    nobodys_docker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: Any, host: str, expected: bool
) -> None:
    user, password = os.urandom(4).hex(), os.urandom(12).hex()
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    text = json.dumps(config).replace('"LOGIN"', json.dumps({"auth": auth}))
    (nobodys_docker / "config.json").write_text(text)
    helper = tmp_path / "docker-credential-test"
    answer = json.dumps({"ServerURL": "x", "Username": user, "Secret": password})
    helper.write_text(f"#!/bin/sh\n[ \"$1\" = get ] && [ \"$(cat)\" = ghcr.io ] || exit 1\nprintf '%s' '{answer}'\n")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    found = find_logins(host)

    assert [(login.user, login.password) for login in found] == ([(user, password)] if expected else [])
    assert password not in repr(found)


def test_a_configuration_that_is_not_there_or_no_json_holds_no_login(nobodys_docker: Path) -> None:
    assert find_logins(DOCKER_HUB) == []
    (nobodys_docker / "config.json").write_text("{")
    assert find_logins(DOCKER_HUB) == []


# ---- a real registry


@pytest.fixture(scope="module")
def real_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of Debian's docker-registry on a free port of loopback."""
    program = shutil.which("docker-registry")
    if program is None:
        hint = "NOT SHOWN, no image registry: apt-get install docker-registry"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(hint)
    folder = tmp_path_factory.mktemp("registry")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    config = folder / "config.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nhttp: {{addr: '{address}'}}\n"
        f"storage: {{filesystem: {{rootdirectory: '{folder}/images'}}}}\n"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, "serve", str(config)], stdout=log, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 30
        while not _answers(address):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.05)
            said = (folder / "log").read_text()
            assert process.poll() is None, said
            assert time.monotonic() < deadline, said
        yield address
    finally:
        process.terminate()
        process.wait()


def _answers(address: str) -> bool:
    with contextlib.closing(http.client.HTTPConnection(address, timeout=5)) as connection:
        try:
            connection.request("GET", "/v2/")
            return connection.getresponse().status == 200
        except OSError:
            return False


def test_a_real_registry_gives_an_image_an_index_and_what_is_missing(
    real_registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy"):  # a proxy would know nothing of this machine's registry
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
    single = image(entrypoint=["python", "main.py"])
    one = push(real_registry, "team/train", "v1", single)
    both = index(image(oci=True, cmd=["x"]), image("linux/arm64", oci=True))
    many = push(real_registry, "team/train", "many", both)

    report = look(chain([one, many]))

    assert report.findings == ()
    assert report.facts[one].digest == single.top.digest
    assert report.facts[many].digest == both.top.digest
    assert report.facts[many].platforms == ("linux/amd64", "linux/arm64")

    missing = only(look(f"{real_registry}/team/train:v2"), "RK-IMAGE-MISSING")
    assert "no tag v2; it has many, v1" in missing.message
    nowhere = only(look(f"{real_registry}/team/trian:v1"), "RK-IMAGE-MISSING")
    assert "docker push" in nowhere.hint


@pytest.mark.failure("F08", "RK-IMAGE-PLATFORM")
@pytest.mark.failure("F01", "RK-IMAGE-MISSING")
def test_a_real_registry_shows_an_image_for_another_processor(real_registry: str) -> None:
    reference = push(real_registry, "team/mac", "v1", image("linux/arm64"))

    assert told(look(reference)) == [("RK-IMAGE-PLATFORM", Severity.ERROR)]
    assert told(look(reference.replace(":v1", ":v2"))) == [("RK-IMAGE-MISSING", Severity.ERROR)]


def build(engine: Engine, folder: Path, base: str, reference: str, lines: Sequence[str]) -> None:
    """Build an image with the Engine."""
    (folder / "Dockerfile").write_text("\n".join([f"FROM {base}", *lines]) + "\n")
    engine.docker("build", "--tag", reference, folder)


@pytest.fixture
def with_engine(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    """Point the program at the Engine of the tests."""
    for name, value in engine.env().items():
        monkeypatch.setenv(name, value)
    return engine.env()


@pytest.mark.engine
@pytest.mark.failure("F12", "RK-IMAGE-STALE")
def test_an_image_that_was_built_and_not_pushed_is_told(
    engine: Engine, busybox: str, with_engine: Mapping[str, str], real_registry: str, tmp_path: Path
) -> None:
    reference = f"{real_registry}/team/stale:v1"
    build(engine, tmp_path, busybox, reference, ['ENTRYPOINT ["echo", "one"]'])
    engine.docker("push", reference)

    pushed = look(reference)
    assert pushed.findings == ()  # the same image here and there
    config = pushed.facts[reference].config
    assert config is not None
    assert config.entrypoint == ("echo", "one")

    build(engine, tmp_path, busybox, reference, ['ENTRYPOINT ["echo", "two"]'])
    found = only(look(reference), "RK-IMAGE-STALE")
    assert found.severity is Severity.WARNING
    assert found.hint == f"docker push {reference}"

    engine.docker("push", reference)
    assert look(reference).findings == ()


@pytest.mark.engine
@pytest.mark.failure("F15", "RK-IMAGE-ENTRYPOINT")
@pytest.mark.failure("F17", "RK-IMAGE-ENTRYPOINT")
@pytest.mark.failure("F18", "RK-IMAGE-ARGUMENTS")
def test_an_image_that_docker_pushed_is_compared_with_its_calls(
    engine: Engine, busybox: str, with_engine: Mapping[str, str], real_registry: str, tmp_path: Path
) -> None:
    reference = f"{real_registry}/team/calls:v1"
    build(engine, tmp_path, busybox, reference, ['ENTRYPOINT ["/bin/sh", "run-commands.sh"]', 'CMD ["v1"]'])
    engine.docker("push", reference)

    assert told(look(context(reference, ["echo"], ["x"]))) == [("RK-IMAGE-ENTRYPOINT", Severity.NOTE)]
    assert told(look(context(reference, [], ["sh", "-c", "echo x"]))) == [("RK-IMAGE-ARGUMENTS", Severity.WARNING)]
    assert look(context(reference, [], ["v2"])).findings == ()
    # What the check says of such a call is what happens.
    done = engine.docker("run", "--rm", reference, "sh", "-c", "echo x", check=False)
    assert done.returncode != 0
