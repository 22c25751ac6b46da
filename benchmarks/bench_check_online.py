"""How many answers long the online part of `run-kfp check` is: image registries, Google's APIs, a Git remote.

    python3 dev.py bench
    PYTHONPATH=tests .venv/bin/python benchmarks/bench_check_online.py --runs 9 --only online-hub --answer 0.3

The strict fakes of the tests give every answer, a redirect too, after the same time. Beside the time of the whole the
caller's slowest single call of the same run is measured; their ratio is the figure. *In sequence* is the longest row of
calls of which each began after the one before had ended: what no parallelism can take away.

Exit code 0 with targets met or missed; 1 when the checks did not find what they are timed for.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import requests

from fakes.certs import Authority, service_account_key, write_key
from fakes.google_apis import FakeAccount, FakeBucket, FakeGoogleApis, FakeProject, FakeRepository, bind
from fakes.google_hosts import GoogleHosts
from fakes.image_registry import HUB, FakeImageRegistry, Pushed, Reply, image, index
from fakes.vertex import FakeVertex
from run_kfp import preflight
from run_kfp.machines import load_machines
from run_kfp.masking import Masker
from run_kfp.secrets import SecretFinder
from run_kfp.settings import Layers
from specs import context_of_registry

TARGET = 3.0
"""How many times the slowest single call the whole may take."""

PROJECT, BUCKET, REGION, TAG = "bench-project", "bench-bucket", "us-east1", "dataset_v22"
RUNNER = f"runner@{PROJECT}.iam.gserviceaccount.com"
SUBMITTER = f"submitter@{PROJECT}.iam.gserviceaccount.com"
NUMBER = 123456789012
ARTIFACTS, PLAIN = f"{REGION}-docker.pkg.dev", "registry.example.org"
DOWNLOADS = "downloads.example.org"
"""Where the blobs of Artifact Registry are here; Cloud Storage's API answers under Cloud Storage's own name."""
REMOTE = f"https://{PLAIN}/team/data.git"
STEPS = 4


class Failed(Exception):
    """The checks did not find what they are timed for."""


@dataclass(frozen=True)
class Case:
    """What is asked.

    Attributes:
        name: of the row.
        title: for people.
        host: of the images.
        indexes: whether each image is an index of two platforms.
        mistakes: whether the run's account lacks its roles, so that Policy Troubleshooter is asked.
    """

    name: str
    title: str
    host: str
    indexes: bool = False
    mistakes: bool = False

    @property
    def images(self) -> list[str]:
        """The images of the steps, as a registry file has them."""
        folder = f"{PROJECT}/images" if self.host == ARTIFACTS else "team"
        prefix = "" if self.host == HUB else f"{self.host}/"
        return [f"{prefix}{folder}/step{number}:v1" for number in range(1, STEPS + 1)]

    @property
    def expected(self) -> list[str]:
        """The codes of the errors that are to be found."""
        return ["RK-BUCKET-ACCESS", "RK-VERTEX-ROLE"] if self.mistakes else []


CASES = (
    Case("online-open", "open registry, images of one platform", PLAIN),
    Case("online-open-index", "open registry, indexes", PLAIN, indexes=True),
    Case("online-mistakes", "the same; roles are missing", PLAIN, mistakes=True),
    Case("online-google", "Artifact Registry, images of one platform", ARTIFACTS),
    Case("online-google-index", "Artifact Registry, indexes", ARTIFACTS, indexes=True),
    Case("online-hub", "Docker Hub, images of one platform", HUB),
    Case("online-hub-index", "Docker Hub, indexes", HUB, indexes=True),
)


@dataclass(frozen=True)
class Call:
    """One call as the caller sees it: from asking to the head of the answer, connecting included; in seconds."""

    what: str
    start: float
    end: float


@dataclass(frozen=True)
class Run:
    """One online part: how long it took in seconds, its calls, and what was found."""

    took: float
    calls: Sequence[Call]
    errors: Sequence[str]
    skipped: Sequence[str]
    images: int

    @property
    def slowest(self) -> Call:
        """The call that took longest."""
        return max(self.calls, key=lambda call: call.end - call.start)

    @property
    def ratio(self) -> float:
        """The whole to its slowest call."""
        return self.took / (self.slowest.end - self.slowest.start)

    @property
    def in_sequence(self) -> int:
        """The most calls of which each began after the end of the one before."""
        count, end = 0, 0.0
        for call in sorted(self.calls, key=lambda one: one.end):
            if call.start >= end:
                count, end = count + 1, call.end
        return count


@dataclass(frozen=True)
class Figures:
    """What was measured for one row."""

    name: str
    title: str
    runs: list[Run] = field(repr=False)

    @property
    def ratio(self) -> float:
        """The median of the ratios."""
        return statistics.median(run.ratio for run in self.runs)

    @property
    def met(self) -> bool:
        """Whether it keeps to the target."""
        return self.ratio <= TARGET


# ── the far side ──────────────────────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def answering(case: Case, seconds: float, folder: Path) -> Iterator[dict[str, str]]:
    """Start everything that is asked, each answer late; give the variables of a process that asks it."""
    authority = Authority(folder)
    key = service_account_key(project=PROJECT, email=SUBMITTER)
    with contextlib.ExitStack() as opened:
        vertex = opened.enter_context(FakeVertex(authority))
        vertex.trust(key)
        hosts = opened.enter_context(GoogleHosts(vertex, regions=()))
        apis = opened.enter_context(FakeGoogleApis(vertex.accounts, authority))
        registries = opened.enter_context(
            FakeImageRegistry(authority, ARTIFACTS, plain=[PLAIN], accounts=vertex.accounts, google_blobs=DOWNLOADS)
        )
        for host in registries.hosts:
            hosts.route(host, registries.port)
        apis.stand_behind(hosts, regions=[REGION])
        fill_registries(registries, case)
        fill_project(apis, mistakes=case.mistakes)
        apis.before_answer = registries.before_answer = lambda host: time.sleep(seconds)
        answer_late(hosts, seconds)
        yield {
            **hosts.environment(),
            "GOOGLE_APPLICATION_CREDENTIALS": str(write_key(key, folder / "key.json")),
            "NO_GCE_CHECK": "true",
            "DOCKER_CONFIG": str(folder),
            "DOCKER_HOST": f"unix://{folder}/none.sock",
            "GIT_LOGIN": f"https://bench:{secrets.token_hex(20)}",
        }


def answer_late(hosts: GoogleHosts, seconds: float) -> None:
    """Let the token service take its time."""
    answer = hosts._https._answer

    def late(request: Any) -> Any:
        time.sleep(seconds)
        return answer(request)

    hosts._https._answer = late  # type: ignore[method-assign]


def fill_registries(registries: FakeImageRegistry, case: Case) -> None:
    """Push the images of a case, and make the Git remote."""
    for number, reference in enumerate(case.images):
        mine = image(entrypoint=["python", f"step{number}.py"], oci=True)
        pushed: Pushed = index(mine, image("linux/arm64", oci=True)) if case.indexes else mine
        repository = reference.removeprefix(f"{case.host}/").partition(":")[0]
        registries.add(case.host, repository, "v1", pushed, public=case.host != ARTIFACTS)
        registries.let_account_read(SUBMITTER, f"{case.host}/{repository}")
    lines = [b"# service=git-upload-pack\n", b"", f"{'0' * 40} refs/tags/{TAG}\0side-band\n".encode(), b""]
    listed = b"".join(f"{len(line) + 4:04x}".encode() + line if line else b"0000" for line in lines)
    registries.plan(PLAIN, "/team/data.git/info/refs", Reply(200, listed))


def fill_project(apis: FakeGoogleApis, *, mistakes: bool) -> None:
    """Make a project in which everything is right, or the run's account lacks its roles."""
    project = apis.projects[PROJECT] = FakeProject(NUMBER)
    project.enabled = {f"{name}.googleapis.com" for name in ("aiplatform", "storage", "logging", "artifactregistry")}
    roles = {
        "roles/aiplatform.serviceAgent": f"service-{NUMBER}@gcp-sa-aiplatform.iam.gserviceaccount.com",
        "roles/aiplatform.customCodeServiceAgent": f"service-{NUMBER}@gcp-sa-aiplatform-cc.iam.gserviceaccount.com",
        "roles/logging.logWriter": RUNNER,
    }
    bind(project.policy, "roles/aiplatform.user", f"serviceAccount:{SUBMITTER}")
    for role, email in roles.items():
        bind(project.policy, role, f"serviceAccount:{email}")
    bucket = apis.buckets[BUCKET] = FakeBucket(PROJECT)
    if not mistakes:
        bind(project.policy, "roles/aiplatform.user", f"serviceAccount:{RUNNER}")
        for role in ("roles/storage.objectUser", "roles/storage.legacyBucketReader"):
            bind(bucket.policy, role, f"serviceAccount:{RUNNER}")
    account = apis.accounts[RUNNER] = FakeAccount(PROJECT)
    bind(account.policy, "roles/iam.serviceAccountUser", f"serviceAccount:{SUBMITTER}")
    apis.repositories[f"projects/{PROJECT}/locations/{REGION}/repositories/images"] = FakeRepository()
    apis.quotas = {"custom_model_training_cpus": {REGION: 2200}, "custom_model_training_nvidia_t4_gpus": {REGION: 8}}


# ── the asking side, a process of its own ─────────────────────────────────────────────────────────────────────────────


def ask(case: Case, count: int) -> Iterator[Run]:
    """Do the online part `count` times, after one that does not count: it imports what is needed."""
    containers = "\n".join(
        f'[containers.{number}]\nname = "step{number}x"\nimage = "{reference}"\ncpu = 8\n'
        f'memory = "30G"\naccelerator = {{ type = "NVIDIA_TESLA_T4", count = 1 }}\nargs = [{{ param = "tag" }}]\n'
        for number, reference in enumerate(case.images, 1)
    )
    git = f'[secrets.git_login]\nenv = "GIT_LOGIN"\n[check.git]\nremote = "{REMOTE}"\n'
    context = context_of_registry(
        f'[pipeline]\nname = "bench"\n{containers}\n{git}',
        [str(number) for number in range(1, STEPS + 1)],
        params={"tag": TAG},
        environ=os.environ,
        job_id="bench-1",
        project=PROJECT,
        region=REGION,
        bucket=BUCKET,
        service_account=RUNNER,
    )
    finder = SecretFinder(Layers({}, os.environ, {}), None, None, Path.cwd(), Masker())
    setup = preflight.CheckSetup(context.registry, finder, os.environ, False, (), notify=lambda line: None)
    machines, calls = load_machines(), noted_calls()
    for run in range(count + 1):
        calls.clear()
        start = time.perf_counter()
        findings, images, _ = preflight._online(context, context.registry.check, machines, setup)
        took = time.perf_counter() - start
        errors = sorted({one.code for one in findings if one.severity is preflight.Severity.ERROR})
        skipped = [str(one.message) for one in findings if one.severity is preflight.Severity.SKIPPED]
        if run:
            yield Run(took, list(calls), errors, skipped, len(images))


def noted_calls() -> list[Call]:
    """Return a list that will hold every call of `requests`, which all that is asked goes through."""
    calls: list[Call] = []
    send = requests.adapters.HTTPAdapter.send

    def noting(self: Any, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        start = time.perf_counter()
        response = send(self, request, *args, **options)
        calls.append(Call(f"{request.method} {str(request.url).partition('?')[0]}", start, time.perf_counter()))
        return response

    requests.adapters.HTTPAdapter.send = noting  # type: ignore[method-assign]
    return calls


# ── measuring ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def measure(case: Case, runs: int, seconds: float) -> Figures:
    """Let a process ask, and see that it found what there is."""
    with tempfile.TemporaryDirectory(prefix="run-kfp-bench-") as place:
        folder = Path(place)
        with answering(case, seconds, folder) as variables:
            done = subprocess.run(
                [sys.executable, __file__, "--ask", case.name, "--runs", str(runs)],
                env={**clean_environment(folder), **variables},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                check=False,
            )
    if done.returncode:
        raise Failed(f"{case.name}: {done.stderr[-2000:]}")
    made = [Run(**{**run, "calls": [Call(**call) for call in run["calls"]]}) for run in json.loads(done.stdout)]
    for run in made:
        if list(run.errors) != case.expected or run.skipped or run.images != STEPS:
            raise Failed(f"{case.name}: errors {run.errors}, skipped {run.skipped}, {run.images} images of {STEPS}")
        if (fastest := min(call.end - call.start for call in run.calls)) < seconds:
            raise Failed(f"{case.name}: an answer came after {fastest:.3f} s")
    return Figures(case.name, case.title, made)


def clean_environment(home: Path) -> dict[str, str]:
    """Return this environment without the caller's settings, keys and proxies."""
    own = ("AIP_", "CLOUDSDK_", "CLOUD_ML_", "GCE_", "GCP_", "GCS_", "GIT_", "GOOGLE_", "RUN_KFP_")
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(own) and "proxy" not in name.lower()
    }
    return {**kept, "HOME": str(home)}


def table(rows: Iterable[Figures]) -> str:
    """Return the figures as lines of text."""
    head = f"{'':<44}{'whole':>10}{'slowest call':>14}{'calls':>7}{'in sequence':>13}{'ratio':>8}{'target':>9}"
    lines = []
    for row in rows:
        took = statistics.median(1000 * run.took for run in row.runs)
        slowest = statistics.median(1000 * (run.slowest.end - run.slowest.start) for run in row.runs)
        calls = statistics.median(len(run.calls) for run in row.runs)
        sequence = max(run.in_sequence for run in row.runs)
        lines.append(
            f"{row.title:<44}{took:>7.0f} ms{slowest:>11.0f} ms{calls:>7.0f}{sequence:>13}{row.ratio:>8.2f}"
            f"{'≤ ' + format(TARGET, '.2f'):>9}  {'met' if row.met else 'missed'}  ({len(row.runs)} runs)"
        )
    return "\n".join([head, *lines])


def main() -> int:
    """Measure, print, and give the exit code."""
    cases: Mapping[str, Case] = {case.name: case for case in CASES}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="runs of a row (default 5)")
    parser.add_argument("--only", metavar="ROW", action="append", help=f"this row alone; repeat it: {', '.join(cases)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--answer", type=float, default=0.5, metavar="SECONDS", help="of each answer (default 0.5)")
    parser.add_argument("--ask", choices=cases, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.runs < 1:
        parser.error("--runs takes 1 or more")
    if options.ask:
        print(json.dumps([asdict(run) for run in ask(cases[options.ask], options.runs)]))
        return 0
    rows: list[Figures] = []
    for name, case in cases.items():
        if name in (options.only or cases):  # `dev.py bench` gives rows of the others too
            print(f"measuring: {case.title} …", file=sys.stderr, flush=True)
            try:
                rows.append(measure(case, options.runs, options.answer))
            except Failed as error:
                print(f"bench_check_online: {error}", file=sys.stderr)
                return 1
    if not rows:
        return 0
    print(f"each answer after {1000 * options.answer:.0f} ms")
    print(table(rows))
    if options.json:
        figures = [{**asdict(row), "ratio": row.ratio, "met": row.met} for row in rows]
        options.json.write_text(json.dumps({"answer": options.answer, "rows": figures}, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
