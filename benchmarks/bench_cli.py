"""How long `run-kfp` takes beside what people do without it: whole processes, in turn, in one run.

    python3 dev.py bench
    python3 dev.py bench -- --runs 21 --only help --only compile --json figures.json

Every row runs A (run-kfp) and B (the same job without it) A B A B …, after one of each that does not count, and says
what the medians are, what their ratio is, and what the median of the ratios of neighbours is. Where both make a
pipeline or send a request, the two are compared first: a row that compared different work would be worth nothing.

Exit code 0 with targets met or missed; 1 when a program fails or the two did different work.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import yaml
from google.cloud.aiplatform_v1.types import CreatePipelineJobRequest, PipelineJob
from google.protobuf import json_format

from fakes.certs import Authority, service_account_key, write_key
from fakes.google_hosts import PROJECTS_HOST, STORAGE_HOST, GoogleHosts
from fakes.vertex import FakeVertex

PLAIN = Path(__file__).resolve().parent / "plain"
SCRIPTS = Path(sys.executable).parent
PROJECT, BUCKET, REGION = "bench-project", "bench-bucket", "us-east1"
MANY = 1000
MOST_LONG_RUNS = 5
"""Runs of the rows with a thousand steps: one takes seconds, and varies less than the short ones."""

BOUNDARIES_HOST = "iamcredentials.googleapis.com"
"""What google-auth asks in a background thread of both programs; nobody waits for the answer, and the proxy refuses."""

Command = Sequence[str | Path]


@dataclass(frozen=True)
class Case:
    """Two commands that do the same job, and how they compare: `target` is a ratio, ours to theirs, at most."""

    name: str
    title: str
    target: float
    ours: Command
    theirs: Command
    environment: Mapping[str, str]
    runs: int
    verify: Callable[[], None] = lambda: None
    """Called after the warm-up; raises Different when the two did not do the same work."""


@dataclass(frozen=True)
class Figures:
    """What was measured for one row; times of whole processes in milliseconds, in the order of the runs."""

    name: str
    title: str
    target: float
    ours_ms: list[float]
    theirs_ms: list[float]

    @property
    def ours(self) -> float:
        """The median of ours."""
        return statistics.median(self.ours_ms)

    @property
    def theirs(self) -> float:
        """The median of theirs."""
        return statistics.median(self.theirs_ms)

    @property
    def ratio(self) -> float:
        """Of the medians."""
        return self.ours / self.theirs

    @property
    def pairwise(self) -> float:
        """The median of the ratios of neighbours: what slows the machine down for a while slows both of a pair."""
        return statistics.median(a / b for a, b in zip(self.ours_ms, self.theirs_ms, strict=True))

    @property
    def met(self) -> bool:
        """Whether both ratios keep to the target."""
        return max(self.ratio, self.pairwise) <= self.target


class Failed(Exception):
    """A program of the benchmark did not do its work."""


class Different(Exception):
    """The two programs of a row did not do the same work."""


# ── the rows ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def cases(names: Sequence[str], runs: int, folder: Path, google: GoogleHosts) -> Iterator[Case]:
    """Make the rows that `names` asks for; their files go into `folder`."""
    long_runs = min(runs, MOST_LONG_RUNS)
    run_kfp, python, chain = SCRIPTS / "run-kfp", Path(sys.executable), PLAIN / "chain.py"
    environment = clean_environment(folder)
    a, b = folder / "ours.yaml", folder / "theirs.yaml"
    compile_only: Command = ("--compile-only", "-o", a)

    if "help" in names:
        theirs: Command = (python, PLAIN / "hello.py", "--help")
        yield Case("help", "--help, to a bare Typer program's", 1.1, (run_kfp, "--help"), theirs, environment, runs)
    if "compile" in names:
        ours: Command = (run_kfp, "-r", "1-4", *compile_only)
        theirs = (SCRIPTS / "kfp", "dsl", "compile", "--py", chain, "--output", b)
        same = same_files(a, b)
        yield Case("compile", "compile 4 steps, to kfp dsl compile", 0.6, ours, theirs, environment, runs, same)
    if "repeated" in names:
        repeats = MANY // 4
        ours = (run_kfp, "-r", ",".join(["1-4"] * repeats), *compile_only)
        theirs, repeating = (python, chain, "compile", b), {**environment, "REPEATS": str(repeats)}
        title = f"{MANY} steps, 4 containers, to kfp alone"
        yield Case("repeated", title, 1.1, ours, theirs, repeating, long_runs, same_files(a, b))
    if "distinct" in names:
        registry, script = folder / "distinct.toml", folder / "distinct.py"
        registry.write_text(distinct_registry(), encoding="utf-8")
        script.write_text(distinct_script(), encoding="utf-8")
        ours = (run_kfp, "--registry", registry, "-r", f"1-{MANY}", *compile_only)
        title = f"{MANY} steps, {MANY} containers, to kfp alone"
        same = same_files(a, b)
        yield Case("distinct", title, 1.1, ours, (python, script, b), environment, long_runs, same)
    if "submit" in names:
        submitting = {**environment, **settings_of_a_run(google, folder)}
        # The plain script asks nobody for anything but the submission; ours checks the call all the same.
        ours, theirs = (run_kfp, "-r", "1-4", "-t", "dataset_v22", "--offline", "-o", a), (python, chain, "submit", b)
        title, same = "compile + submit, to PipelineJob.submit", same_requests(google)
        yield Case("submit", title, 0.55, ours, theirs, submitting, runs, same)


NAMES = ("help", "compile", "repeated", "distinct", "submit")


def distinct_registry() -> str:
    """Return a registry of as many containers as there are steps, each with literals, a parameter and limits."""
    entries = (
        f'[containers.{index}]\nname = "step{index}"\nimage = "example/step{index}:1"\n'
        f'args = ["--index", "{index}", {{ param = "tag" }}]\ncpu = 2\nmemory = "8G"\n'
        for index in range(1, MANY + 1)
    )
    return '[pipeline]\nname = "distinct"\n\n' + "\n".join(entries)


def distinct_script() -> str:
    """Return the same as a kfp script.

    The tasks are made in a loop: written out one by one they would take kfp five times as long, because each setter
    looks up where in the function it was called from, and that takes time in proportion to the function's length.
    """
    components = (
        f"@dsl.container_component\ndef step{index}(tag: str):\n"
        f'    return dsl.ContainerSpec(image="example/step{index}:1", args=["--index", "{index}", tag])\n'
        for index in range(1, MANY + 1)
    )
    return (
        "import sys\n\nfrom kfp import compiler, dsl\n\n\n"
        + "\n\n".join(components)
        + f"\n\nSTEPS = [{', '.join(f'step{index}' for index in range(1, MANY + 1))}]\n"
        + """

@dsl.pipeline(name="distinct")
def distinct(tag: str):
    before = None
    for step in STEPS:
        task = step(tag=tag).set_caching_options(False).set_display_name(step.name)
        task.set_cpu_limit("2").set_memory_limit("8G")
        if before is not None:
            task.after(before)
        before = task


compiler.Compiler().compile(distinct, sys.argv[1])
"""
    )


def settings_of_a_run(google: GoogleHosts, folder: Path) -> dict[str, str]:
    """Return the variables of a submission through `google`'s proxy, with a key and secrets made for this run."""
    key = service_account_key(project=PROJECT, email=f"submitter@{PROJECT}.iam.gserviceaccount.com")
    google.vertex.trust(key)
    google.bucket(BUCKET, project=PROJECT)
    return {
        **google.environment(),
        "GOOGLE_APPLICATION_CREDENTIALS": str(write_key(key, folder / "key.json")),
        "GCP_PROJECT": PROJECT,
        "GCP_REGION": REGION,
        "GCS_BUCKET_NAME": BUCKET,
        "GCS_SERVICE_ACCOUNT": f"runner@{PROJECT}.iam.gserviceaccount.com",
        "GIT_LOGIN": f"https://bench:{secrets.token_hex(20)}@example.com",
        "WANDB_API_KEY": secrets.token_hex(20),
        "WHYLABS_API_KEY": secrets.token_hex(20),
        "WHYLABS_DEFAULT_ORG_ID": "org-bench",
        "WHYLABS_DEFAULT_DATASET_ID": "model-1",
    }


def clean_environment(home: Path) -> dict[str, str]:
    """Return this environment without what would steer one of the programs: the caller's settings, keys, proxies."""
    google = ("AIP_", "CLOUDSDK_", "CLOUD_ML_", "GCE_", "GOOGLE_", "GRPC_", "VERTEX")
    ours = ("GCP_", "GCS_", "GIT_LOGIN", "NUM_GPU", "RUN_KFP_", "WANDB_", "WHYLABS_")
    own = (*google, *ours, "KFP_", "_KFP_", "PYTHON", "REPEATS")
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(own) and "proxy" not in name.lower()
    }
    return {**kept, "HOME": str(home), "COLUMNS": "100", "NO_COLOR": "1"}


# ── the same work ─────────────────────────────────────────────────────────────────────────────────────────────────────


def same_files(ours: Path, theirs: Path) -> Callable[[], None]:
    """Return a check that the two files hold the same pipeline."""

    def check() -> None:
        texts = [file.read_text(encoding="utf-8") for file in (ours, theirs)]
        if texts[0] != texts[1] and yaml.safe_load(texts[0]) != yaml.safe_load(texts[1]):
            raise Different("run-kfp and the plain script compile different pipelines")

    return check


def same_requests(google: GoogleHosts) -> Callable[[], None]:
    """Return a check that the last two creates ask for the same run, and that nothing was asked in vain."""

    def check() -> None:
        ours, theirs = (substance(request) for request in google.vertex.creates[-2:])
        if ours != theirs:
            raise Different("run-kfp and the plain script send different requests")
        # PipelineJob.submit logs what fails before the create and goes on: its last look is at the project.
        missing = {f"{STORAGE_HOST}:443", f"{PROJECTS_HOST}:443"}.difference(google.asked)
        refused = set(google.refused) - {f"{BOUNDARIES_HOST}:443"}
        if missing or refused:
            raise Failed(f"the plain script did not look at {sorted(missing)}; the proxy refused {sorted(refused)}")

    return check


def substance(request: CreatePipelineJobRequest) -> dict[str, object]:
    """Return what a request asks for, without the names and labels that are each program's own."""
    job = json_format.MessageToDict(PipelineJob.pb(request.pipeline_job))
    return {"parent": request.parent, **{key: job[key] for key in ("pipelineSpec", "runtimeConfig", "serviceAccount")}}


# ── measuring ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def measure(case: Case, folder: Path) -> Figures:
    """Run the two commands of a row in turn."""

    def timed(command: Command) -> float:
        log = folder / "log.txt"
        with log.open("wb") as output:
            start = time.perf_counter()
            done = subprocess.run(
                list(map(str, command)),
                cwd=folder,
                env=dict(case.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
            took = 1000 * (time.perf_counter() - start)
        if done.returncode:
            words = log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise Failed(f"{Path(command[0]).name} ended with exit code {done.returncode}:\n{words}")
        return took

    # The first of each reads the files from the disk and writes the bytecode of what has none.
    timed(case.ours)
    timed(case.theirs)
    case.verify()
    pairs = [(timed(case.ours), timed(case.theirs)) for _ in range(case.runs)]
    return Figures(case.name, case.title, case.target, [a for a, _ in pairs], [b for _, b in pairs])


def table(rows: Sequence[Figures]) -> str:
    """Return the figures as lines of text."""
    head = f"{'':<46}{'ours':>9}{'theirs':>9}{'ratio':>8}{'pairwise':>10}{'target':>9}"
    lines = [
        f"{row.title:<46}{row.ours:>6.0f} ms{row.theirs:>6.0f} ms{row.ratio:>8.2f}{row.pairwise:>10.2f}"
        f"{'≤ ' + format(row.target, '.2f'):>9}  {'met' if row.met else 'missed'}  ({len(row.ours_ms)} runs)"
        for row in rows
    ]
    return "\n".join([head, *lines])


def machine() -> dict[str, str | int]:
    """Return what the figures depend on."""
    packages = ("run-kfp", "kfp", "google-cloud-aiplatform", "typer", "pydantic", "rich")
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count() or 0,
        **{name: version(name) for name in packages},
    }


def main() -> int:
    """Measure, print, and give the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=11, metavar="N", help="pairs of a row (default 11)")
    parser.add_argument("--only", metavar="ROW", action="append", help=f"this row alone; repeat it: {', '.join(NAMES)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    options = parser.parse_args()
    if options.runs < 1:
        parser.error("--runs takes 1 or more")
    rows: list[Figures] = []
    wanted = [name for name in NAMES if name in (options.only or NAMES)]  # `dev.py bench` gives rows of the others too
    if not wanted:
        return 0
    with contextlib.ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="run-kfp-bench-")))
        # For all rows alike, so that an idle server in this process costs each the same.
        vertex = opened.enter_context(FakeVertex(Authority(folder)))
        google = opened.enter_context(GoogleHosts(vertex, regions=(REGION,)))
        try:
            for case in cases(wanted, options.runs, folder, google):
                print(f"measuring: {case.title} …", file=sys.stderr, flush=True)
                rows.append(measure(case, folder))
        except (Failed, Different) as error:
            print(f"bench_cli: {error}", file=sys.stderr)
            return 1
    print(", ".join(f"{name} {value}" for name, value in machine().items()))
    print(table(rows))
    if options.json:
        figures = [{**asdict(row), "ratio": row.ratio, "pairwise_ratio": row.pairwise, "met": row.met} for row in rows]
        options.json.write_text(json.dumps({"machine": machine(), "rows": figures}, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
