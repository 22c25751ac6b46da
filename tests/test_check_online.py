"""A check, and the check before a submission, through the network: the program as a process, the world as fakes."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from conftest import Result
from dermaid import MAIN, RUNNER, Canaries, canary
from fakes.fixtures import PROJECT
from fakes.google_apis import SERVICES, error_answer
from fakes.google_hosts import GoogleHosts, server_tls
from fakes.image_registry import HUB, Reply, image
from fakes.sockets import Listener
from fakes.vertex_rules import spec_of
from online import ARTIFACTS, ENTRYPOINTS, REST, T4, World, right_world
from run_kfp.preflight import LONGEST
from run_kfp.preflight.cloud.session import ONE_TRY

TOKENS = "oauth2.googleapis.com"
TRAIN = "crispinnosidam/03-train-model"


@pytest.fixture
def canaries() -> Canaries:
    """The secrets of every call."""
    return Canaries()


@pytest.fixture
def world(google_hosts: GoogleHosts, account_key_file: Path, folder: Path, canaries: Canaries) -> Iterator[World]:
    """Everything is right, and the program has its secrets from the environment."""
    with right_world(google_hosts, account_key_file, folder, canaries.variables, canaries.token) as made:
        yield made


@pytest.fixture
def silence() -> Iterator[int]:
    """The port of a server that takes connections and says nothing."""

    def listen(connection: socket.socket) -> None:
        while connection.recv(65536):
            pass

    with Listener(listen) as listener:
        yield listener.port


def told(result: Result, *severities: str) -> dict[str, dict[str, Any]]:
    """Return the findings of these severities, by code."""
    report = result.json.get("check", result.json)
    return {one["code"]: one for one in report["findings"] if one["severity"] in severities}


def worst(result: Result) -> list[tuple[str, str]]:
    """Return code and place of what is more than a note."""
    return [(code, one["place"]) for code, one in told(result, "error", "warning", "skipped").items()]


# ── everything right ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_four_right_containers(world: World) -> None:
    world.registry(git=True)

    result = world.cli("check", *MAIN, "--json")

    assert result.code == 0, result.out
    assert worst(result) == [], "RK-QUOTA-DEFAULT too: the quota of the project is known"
    assert result.json["looked"] == ["offline", "images", "cloud"]
    images = {name: (facts["digest"], tuple(facts["entrypoint"])) for name, facts in result.json["images"].items()}
    assert images == {name: (world.digests[name], entrypoint) for name, entrypoint in ENTRYPOINTS.items()}
    machines = {name: choice["machine"] for name, choice in result.json["machines"].items()}
    assert machines == {
        "get-raw-data": "e2-standard-4",
        "preprocess-data": "n1-highmem-32",
        "versioning": "e2-standard-4",
        "train-model": "n1-highmem-32",
    }
    assert world.vertex.requests == []
    assert world.hosts.refused == []
    assert {request.target.rpartition("=")[2] for request in world.git_requests} == {
        "git-upload-pack",
        "git-receive-pack",
    }
    assert sorted(path.name for path in world.cli.folder.iterdir()) == ["run-kfp.toml"], "a check writes nothing"


def test_a_right_call_is_checked_and_submitted_once(world: World) -> None:
    result = world.cli(*MAIN)

    assert result.code == 0, result.err
    assert "checking configuration, images, Google Cloud …" in result.err
    assert "RK-" not in result.err
    assert "checked: configuration, the image registries, Google Cloud" in result.err
    assert [request.method for request in world.vertex.requests] == ["CreatePipelineJob"]
    assert len(world.apis.requests) > 8
    assert HUB in {request.host for request in world.images.requests}


@pytest.mark.failure("F52", "RK-QUOTA-GPU")
def test_the_quota_of_the_project_replaces_the_default(world: World) -> None:
    world.apis.quotas[T4] = {"us-east1": 3}

    result = world.cli("check", *MAIN, "--json")

    assert result.code == 3
    assert [code for code, _ in worst(result)] == ["RK-QUOTA-GPU"]
    finding = told(result, "error")["RK-QUOTA-GPU"]
    assert "4" in finding["message"]
    assert "3" in finding["message"]


def test_a_quota_that_google_does_not_list_leaves_the_default(world: World) -> None:
    """That of the CPUs is seen; it says nothing of the accelerators."""
    del world.apis.quotas[T4]

    result = world.cli("check", *MAIN, "--json")

    assert result.code == 0, result.out
    assert sorted(told(result, "warning", "skipped")) == ["RK-CLOUD-SKIPPED", "RK-QUOTA-DEFAULT"]


def test_a_quota_that_cannot_be_seen_leaves_the_default(world: World) -> None:
    world.apis.fail("cloudquotas", error_answer(HTTPStatus.FORBIDDEN, "The caller does not have permission"))

    result = world.cli("check", *MAIN, "--json")

    assert result.code == 0, result.out
    assert sorted(told(result, "warning", "skipped")) == ["RK-CLOUD-SKIPPED", "RK-QUOTA-DEFAULT"]


# ── one thing broken ─────────────────────────────────────────────────────────────────────────────────────────────────


def break_image(world: World) -> None:
    absent = Reply.error(404, "MANIFEST_UNKNOWN", "manifest unknown")
    world.images.plan(HUB, f"/v2/{TRAIN}/manifests/latest", absent)


def break_bucket(world: World) -> None:
    del world.apis.buckets["test-bucket"]


def break_api(world: World) -> None:
    world.project.enabled.discard("aiplatform.googleapis.com")


def break_act_as(world: World) -> None:
    world.apis.accounts[RUNNER].policy.clear()


BROKEN = [
    pytest.param(break_image, "RK-IMAGE-MISSING", TRAIN, marks=pytest.mark.failure("F01", "RK-IMAGE-MISSING")),
    pytest.param(break_bucket, "RK-BUCKET-GONE", "test-bucket", marks=pytest.mark.failure("F84", "RK-BUCKET-GONE")),
    pytest.param(
        break_api,
        "RK-API-DISABLED",
        f"gcloud services enable aiplatform.googleapis.com --project={PROJECT}",
        marks=pytest.mark.failure("F70", "RK-API-DISABLED"),
    ),
    pytest.param(break_act_as, "RK-ACT-AS", RUNNER, marks=pytest.mark.failure("F65", "RK-ACT-AS")),
]


@pytest.mark.parametrize(("spoil", "code", "words"), BROKEN)
def test_what_is_broken_keeps_the_run_from_being_submitted(
    world: World, spoil: Callable[[World], None], code: str, words: str
) -> None:
    spoil(world)

    result = world.cli(*MAIN)

    assert result.code == 3
    (line,) = [line for line in result.err.splitlines() if line.startswith(("error: RK-", "warning: RK-"))]
    assert line.startswith(f"error: {code}: ")
    assert words in line
    assert "error: the check found 1 error; nothing was submitted" in result.err
    assert result.out == ""
    assert world.vertex.requests == []
    assert list(world.cli.folder.iterdir()) == []


def test_without_a_check_it_is_submitted_and_nobody_asked(world: World) -> None:
    for spoil in (break_image, break_bucket, break_api, break_act_as):
        spoil(world)

    result = world.cli(*MAIN, "--no-check")

    assert result.code == 0, result.err
    assert len(world.vertex.creates) == 1
    assert world.asked_beside_vertex == []


def test_offline_nobody_is_asked_but_vertex(world: World) -> None:
    world.registry(git=True)
    break_bucket(world)

    result = world.cli(*MAIN, "--offline", "--json")

    assert result.code == 0, result.err
    assert result.json["check"]["looked"] == ["offline"]
    assert len(world.vertex.creates) == 1
    assert (world.asked_beside_vertex, world.git_requests) == ([], [])


# ── servers that do not answer ───────────────────────────────────────────────────────────────────────────────────────


def elsewhere(world: World, port: int, *more: str) -> None:
    """Lead everything but Vertex AI and Google's token service to another port, and `more` hosts."""
    for host in (*world.images.hosts, *(f"{service}.googleapis.com" for service in SERVICES), *more):
        world.hosts.route(host, port)
    world.git_port = port
    world.registry(git=True)


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def test_everything_down_is_skipped_and_the_run_submitted(world: World) -> None:
    elsewhere(world, closed_port(), TOKENS)

    result = world.cli(*MAIN, "--json")

    assert result.code == 0, result.err
    assert set(told(result, "skipped")) == {"RK-IMAGE-UNREACHED", "RK-CLOUD-SKIPPED", "RK-GIT-SKIPPED"}
    assert set(told(result, "error", "warning")) == {"RK-QUOTA-DEFAULT"}
    assert len(world.vertex.creates) == 1


def test_everything_hanging_is_skipped_within_the_time_and_the_run_submitted(world: World, silence: int) -> None:
    elsewhere(world, silence, TOKENS)
    begun = time.monotonic()

    result = world.cli(*MAIN, "--timeout", "2", "--json")

    assert result.code == 0, result.err
    assert time.monotonic() - begun < ONE_TRY, "without the limit a single try has so long"
    assert set(told(result, "skipped")) == {"RK-IMAGE-UNREACHED", "RK-CLOUD-SKIPPED", "RK-GIT-SKIPPED"}
    assert set(told(result, "error", "warning")) == {"RK-QUOTA-DEFAULT"}
    assert len(world.vertex.creates) == 1


def test_no_permission_to_look_anywhere_is_skipped_and_the_run_submitted(world: World) -> None:
    for service in SERVICES:
        world.apis.fail(service, error_answer(HTTPStatus.FORBIDDEN, "The caller does not have permission"))

    result = world.cli(*MAIN, "--json")

    assert result.code == 0, result.err
    assert set(told(result, "skipped")) == {"RK-CLOUD-SKIPPED"}
    assert set(told(result, "error", "warning")) == {"RK-QUOTA-DEFAULT"}
    assert len(world.vertex.creates) == 1


@pytest.fixture
def trickle(world: World) -> Iterator[tuple[int, int]]:
    """The ports of two servers, with TLS and without, that answer byte by byte as long as somebody listens."""

    def answer(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{")
        connection.settimeout(0.1)
        while True:
            connection.sendall(b" ")
            with contextlib.suppress(TimeoutError):
                if not connection.recv(65536):
                    return

    tls = server_tls(world.vertex.authority, "*.googleapis.com", *world.images.hosts)
    with Listener(answer, tls=tls) as encrypted, Listener(answer) as plain:
        yield encrypted.port, plain.port


@pytest.mark.parametrize("more", [(), (TOKENS,)])
def test_an_answer_without_an_end_is_skipped_within_the_time(
    world: World, trickle: tuple[int, int], more: tuple[str, ...]
) -> None:
    encrypted, plain = trickle
    elsewhere(world, encrypted, *more)
    world.git_port = plain
    world.registry(git=True)

    result = world.cli("check", *MAIN, "--timeout", "2", "--json")  # ends, though the answers never do

    assert result.code == 0, result.err
    assert set(told(result, "skipped")) == {"RK-IMAGE-UNREACHED", "RK-CLOUD-SKIPPED", "RK-GIT-SKIPPED"}


def test_ctrl_c_ends_a_check_at_once(world: World) -> None:
    asked = threading.Event()

    def listen(connection: socket.socket) -> None:
        while connection.recv(65536):
            asked.set()

    with Listener(listen) as silent:
        elsewhere(world, silent.port)
        process = world.cli.start(*MAIN)
        assert asked.wait(60)
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)

    assert time.monotonic() - begun < 0.75 * LONGEST, "the servers have so long"
    assert (process.returncode, out) == (130, "")
    assert world.vertex.requests == []


SHORT = """
import sys
from run_kfp import preflight
from run_kfp.cli import execute
assert preflight.LONGEST == 20.0
preflight.LONGEST = 1.0
sys.exit(execute(sys.argv[1:]))
"""


def test_a_check_has_a_limit_of_its_own(world: World, silence: int) -> None:
    """Twenty seconds are too long for a test: the limit is set to one, under a `--timeout` of sixty."""
    elsewhere(world, silence, TOKENS)
    begun = time.monotonic()

    done = subprocess.run(
        [sys.executable, "-c", SHORT, "check", *MAIN, "--timeout", "60"],
        cwd=world.cli.folder,
        env=world.cli.environment({}),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert time.monotonic() - begun < ONE_TRY, "without the limit a single try has so long"
    assert "skipped: RK-CLOUD-SKIPPED" in done.stdout


# ── the Git remote of the tag ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("-r", "1-4", "-t", "dataset_v21"), "RK-GIT-TAG-TAKEN"),
        (("-r", "4", "-t", "dataset_v22"), "RK-GIT-TAG-ABSENT"),
        (("-r", "4", "-t", "dataset_v21"), None),
        (("-r", "1", "-t", "dataset_v99"), None),
    ],
)
def test_the_tag_of_the_run(world: World, args: tuple[str, ...], expected: str | None) -> None:
    world.registry(git=True)

    result = world.cli("check", *args, "--json")

    assert set(told(result, "error", "warning", "skipped")) == ({expected} if expected else set())
    assert result.code == (3 if expected else 0)
    if expected:
        assert "dataset_v2" in told(result, "error")[expected]["message"]


@pytest.mark.failure("F38", "RK-GIT-LOGIN")
def test_a_login_that_the_remote_refuses(world: World) -> None:
    world.registry(git=True)
    wrong = canary("wrong")

    result = world.cli("check", *MAIN, GIT_LOGIN=f"https://somebody:{wrong}")

    assert result.code == 3
    assert "RK-GIT-LOGIN" in result.out
    assert world.git_requests, "it was asked"
    assert wrong not in result.out + result.err


# ── --pin ────────────────────────────────────────────────────────────────────────────────────────────────────────────


FACTORY = """
from kfp import dsl

def report():
    @dsl.container_component
    def report():
        return dsl.ContainerSpec(image="team/report:v1", command=["/report"])
    return report
"""


def test_pin_changes_the_images_and_nothing_else(world: World, write: Callable[[str, str], Path]) -> None:
    write("parts.py", FACTORY)
    world.registry('\n[containers.5]\nname = "report"\nfactory = "parts:report"\n')
    assert world.cli("-r", "1-5", "--compile-only", "-o", "moving.yaml").code == 0
    result = world.cli("-r", "1-5", "--compile-only", "--pin", "-o", "pinned.yaml")

    assert result.code == 0, result.err
    assert "note: --pin leaves the image of report unchanged: a Python factory sets it" in result.err
    moving, pinned = (
        (world.cli.folder / name).read_text(encoding="utf-8").splitlines() for name in ("moving.yaml", "pinned.yaml")
    )
    assert len(moving) == len(pinned)
    changed = [(before.strip(), after.strip()) for before, after in zip(moving, pinned, strict=True) if before != after]
    assert sorted(changed) == sorted(
        (f"image: {name}", f"image: {name}@{digest}") for name, digest in world.digests.items()
    )
    assert world.vertex.requests == []


def test_pin_of_an_image_that_is_not_there(world: World) -> None:
    break_image(world)

    result = world.cli("-r", "1-4", "--compile-only", "--pin")

    assert result.code == 2
    assert f"{TRAIN} has no readable digest" in result.err
    assert "crispinnosidam/01-get-raw-data" not in result.err
    assert list(world.cli.folder.iterdir()) == []


def test_pin_where_no_registry_answers(world: World) -> None:
    elsewhere(world, closed_port(), TOKENS)

    result = world.cli("-r", "1-4", "--compile-only", "--pin")

    assert result.code == 2
    assert all(f"--pin: {name} has no readable digest" in result.err for name in ENTRYPOINTS)


def test_a_submission_of_pinned_images(world: World) -> None:
    result = world.cli(*MAIN, "--pin", "--json")

    assert result.code == 0, result.err
    assert set(told(result, "error", "warning", "skipped")) == set()
    assert result.json["check"]["images"].keys() == {f"{name}@{digest}" for name, digest in world.digests.items()}
    assert not [code for code in told(result, "note") if code == "RK-IMAGE-TAG"]
    (create,) = world.vertex.creates
    spec: Any = spec_of(create.pipeline_job)
    images = {executor["container"]["image"] for executor in spec["deploymentSpec"]["executors"].values()}
    assert images == {f"{name}@{digest}" for name, digest in world.digests.items()}


def test_pin_and_a_finished_file(world: World) -> None:
    assert world.cli("-r", "1-4", "--compile-only").code == 0
    result = world.cli("-f", "pipeline.yaml", "-t", "v1", "--pin")
    assert result.code == 2
    assert "--pin and -f cannot be used together" in result.err
    assert world.asked_beside_vertex == []


# ── other addresses, other registries ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.failure("F90", "RK-JOB-ID-TAKEN")
def test_endpoints_lead_the_questions_elsewhere(world: World) -> None:
    private = "https://private-storage.googleapis.com"
    world.hosts.route(private.removeprefix("https://"), world.apis.port)
    world.registry(f'\n[check.endpoints]\nstorage = "{private}"\naiplatform = "{REST}"\n')
    world.apis.jobs.add(f"projects/{PROJECT}/locations/us-east1/pipelineJobs/mine-1")

    result = world.cli("check", *MAIN, "--job-id", "mine-1", "--json")

    assert result.code == 3
    assert set(told(result, "error", "warning", "skipped")) == {"RK-JOB-ID-TAKEN"}
    assert "storage.googleapis.com:443" not in world.hosts.asked
    assert "us-east1-aiplatform.googleapis.com:443" not in world.hosts.asked


def test_images_of_artifact_registry_beside_those_of_docker_hub(world: World) -> None:
    private = "https://private-storage.googleapis.com"
    world.hosts.route(private.removeprefix("https://"), world.apis.port)
    world.hosts.route("storage.googleapis.com", world.images.port)  # where Google's registries keep their blobs
    name = f"{ARTIFACTS}/{PROJECT}/team/report"
    digest = world.images.add(ARTIFACTS, f"{PROJECT}/team/report", "v1", image(entrypoint=["/report"]))
    more = f'\n[containers.5]\nname = "report"\nimage = "{name}:v1"\n[check.endpoints]\nstorage = "{private}"\n'
    world.registry(more)

    result = world.cli("check", "-r", "1-5", "-t", "v1", "--json")

    assert result.code == 0, result.out
    assert worst(result) == []
    assert result.json["images"][f"{name}:v1"]["digest"] == digest


def test_a_finished_file_is_checked_and_submitted(world: World) -> None:
    assert world.cli("-r", "1-4", "--compile-only").code == 0

    result = world.cli("-f", "pipeline.yaml", "-t", "dataset_v22", "--json")

    assert result.code == 0, result.err
    assert worst(result) == []
    assert result.json["check"]["images"].keys() == world.digests.keys()
    assert len(world.vertex.creates) == 1
