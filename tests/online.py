"""Everything that a check asks of the network, behind one proxy: Google, the image registries and a Git remote."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conftest import Cli
from dermaid import RUNNER, SETTINGS
from example import GitServer, create_repository
from fakes.fixtures import EMAIL, PROJECT
from fakes.google_apis import FakeAccount, FakeBucket, FakeGoogleApis, FakeProject, FakeRepository, bind
from fakes.google_hosts import GoogleHosts
from fakes.image_registry import HUB, FakeImageRegistry, image, index
from fakes.vertex import FakeVertex
from run_kfp.registry_file import packaged_registry_text

ARTIFACTS = "us-east1-docker.pkg.dev"
NUMBER = 123456789012
T4, CPUS = "custom_model_training_nvidia_t4_gpus", "custom_model_training_cpus"

REST = "https://rest-aiplatform.googleapis.com"
"""Where the REST fake answers for Vertex AI, whose own name leads to the gRPC fake."""

# The ENTRYPOINTs of the packaged registry's images, as its comments give them.
ENTRYPOINTS: Mapping[str, Sequence[str]] = {
    "crispinnosidam/01-get-raw-data": ("/bin/bash",),
    "crispinnosidam/02-preprocess-data": ("/bin/bash",),
    "sahilsakhuja/dermaid-versioning": ("/bin/bash", "run-commands.sh"),
    "crispinnosidam/03-train-model": ("/bin/bash", "run-commands.sh"),
}


@dataclass(frozen=True)
class GitRequest:
    """A request that reached the Git server."""

    target: str
    headers: Mapping[str, str]


@dataclass
class World:
    """The fakes, in which the call of the four packaged containers is right, and the program to call."""

    cli: Cli
    vertex: FakeVertex
    hosts: GoogleHosts
    apis: FakeGoogleApis
    images: FakeImageRegistry
    digests: Mapping[str, str]
    """Image as it is written → digest"""
    git_port: int
    git_requests: list[GitRequest] = field(default_factory=list)

    @property
    def project(self) -> FakeProject:
        """The project of the call."""
        return self.apis.projects[PROJECT]

    def registry(self, more: str = "", *, git: bool = False) -> None:
        """Lay the packaged registry into the folder, with more in it, and a `[check.git]` where that is asked for."""
        remote = f'\n[check.git]\nremote = "{self.remote}"\nlogin = "git_login"\nmakes_tag = ["versioning"]\n'
        text = packaged_registry_text() + more + (remote if git else "")
        (self.cli.folder / "run-kfp.toml").write_text(text, encoding="utf-8")

    @property
    def remote(self) -> str:
        """The URL of the Git remote, which has the tag dataset_v21."""
        return f"http://127.0.0.1:{self.git_port}/data.git"

    @property
    def asked_beside_vertex(self) -> list[str]:
        """What the proxy was asked for that a submission by itself does not need.

        google-auth asks iamcredentials.googleapis.com by itself, for the regions of an account's access.
        """
        own = ("us-east1-aiplatform.googleapis.com:443", "iamcredentials.googleapis.com:443")
        return [one for one in self.hosts.asked if one not in own]


@contextlib.contextmanager
def right_world(
    hosts: GoogleHosts, key_file: Path, folder: Path, secrets: Mapping[str, str], git_token: str
) -> Iterator[World]:
    """Start everything.

    Args:
        hosts: the proxy, in front of a Vertex AI.
        key_file: of the account that submits.
        folder: to work in; what must not lie in it is put beside it.
        secrets: variables for the program.
        git_token: of the user "somebody" at the Git remote.
    """
    vertex, beside = hosts.vertex, folder.parent
    with contextlib.ExitStack() as opening:
        apis = opening.enter_context(FakeGoogleApis(vertex.accounts, vertex.authority))
        images = opening.enter_context(FakeImageRegistry(vertex.authority, ARTIFACTS))
        for host in images.hosts:
            hosts.route(host, images.port)
        apis.stand_behind(hosts, regions=())  # storage.googleapis.com is the API's, not that of Google's blobs
        hosts.route(REST.removeprefix("https://"), apis.port)
        _fill(apis)
        digests = {
            name: images.add(HUB, name, "latest", index(image(entrypoint=entrypoint, oci=True)))
            for name, entrypoint in ENTRYPOINTS.items()
        }
        create_repository(beside / "repositories" / "data.git")
        subprocess.run(
            ["git", "-C", str(beside / "repositories" / "data.git"), "tag", "dataset_v21", "main"],
            check=True,
            capture_output=True,
        )
        server = GitServer(beside / "repositories", "somebody", git_token)
        seen: list[GitRequest] = []
        _keep_requests(server, seen)
        opening.enter_context(server.running())
        variables = {
            **SETTINGS,
            **hosts.environment(),
            **secrets,
            "GOOGLE_APPLICATION_CREDENTIALS": str(key_file),
            "DOCKER_CONFIG": str(beside / "docker"),
            "DOCKER_HOST": f"unix://{beside}/no-engine.sock",
        }
        yield World(Cli(folder, variables), vertex, hosts, apis, images, digests, server.port, seen)


def _fill(apis: FakeGoogleApis) -> None:
    """Give everybody what the run needs, and no more."""
    agent = f"service-{NUMBER}@gcp-sa-aiplatform.iam.gserviceaccount.com"
    code_agent = f"service-{NUMBER}@gcp-sa-aiplatform-cc.iam.gserviceaccount.com"
    project = apis.projects[PROJECT] = FakeProject(NUMBER)
    project.enabled = {f"{name}.googleapis.com" for name in ("aiplatform", "storage", "logging", "artifactregistry")}
    for role, email in (
        ("roles/aiplatform.user", EMAIL),
        ("roles/aiplatform.user", RUNNER),
        ("roles/logging.logWriter", RUNNER),
        ("roles/aiplatform.serviceAgent", agent),
        ("roles/aiplatform.customCodeServiceAgent", code_agent),
    ):
        bind(project.policy, role, f"serviceAccount:{email}")
    bucket = apis.buckets["test-bucket"] = FakeBucket(PROJECT)
    for role in ("roles/storage.objectUser", "roles/storage.legacyBucketReader"):
        bind(bucket.policy, role, f"serviceAccount:{RUNNER}")
    account = apis.accounts[RUNNER] = FakeAccount(PROJECT)
    bind(account.policy, "roles/iam.serviceAccountUser", f"serviceAccount:{EMAIL}")
    apis.repositories[f"projects/{PROJECT}/locations/us-east1/repositories/team"] = FakeRepository()
    apis.quotas = {CPUS: {"us-east1": 2200, "": 20}, T4: {"us-east1": 16, "": 0}}


def _keep_requests(server: GitServer, seen: list[GitRequest]) -> None:
    """Let the server keep every request that reaches it."""
    lock = threading.Lock()
    handler_class: Any = server.RequestHandlerClass

    def keep(handler: Any) -> None:
        with lock:
            seen.append(GitRequest(handler.path, dict(handler.headers)))
        handler_class.do_GET(handler)

    server.RequestHandlerClass = type("Keeping", (handler_class,), {"do_GET": keep, "do_POST": keep})
