"""How long `run-kfp check` takes beside what people have without it: whole processes, in turn, in one run.

    python3 dev.py bench
    PYTHONPATH=tests .venv/bin/python benchmarks/bench_check.py --runs 21 --only check-deployer --json figures.json

Rows, all over the four containers of the packaged registry (`plain/chain.py` is the same pipeline in kfp's words):

    check-compile    `run-kfp check --offline`, to `kfp dsl compile`, which finds nothing but what keeps it from
                     compiling: at most 0.6 × that and 0.3 s
    check-deployer   the same, to `vertex-deployer check` with a config file for the pipeline: at most 0.25 × that

vertex-deployer needs other versions of the libraries. The first time it is installed into a virtual environment of its
own below build/, which takes a minute or two and the network.

Exit code 0 with targets met or missed; 1 when a program fails, or does not do what it is timed for.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
CHAIN = ROOT / "benchmarks" / "plain" / "chain.py"
SCRIPTS = Path(sys.executable).parent

DEPLOYER_VENV = ROOT / "build" / "vertex-deployer"
# Versions that work together on Python 3.11 to 3.13: vertex-deployer 1.0.0 takes typer < 0.16 and aiplatform < 2, with
# which kfp 2.17 does not resolve. Pinned, so that figures of two days are of the same program.
DEPLOYER = ("vertex-deployer==1.0.0", "kfp==2.16.1", "google-cloud-aiplatform==1.165.1", "pydantic==2.14.3")

Command = Sequence[str | Path]

# Parameters that vertex-deployer's config gives, and `run-kfp` finds in flags and variables. The values of secrets are
# made for the run.
PARAMETERS = {
    "project": "bench-project",
    "bucket": "bench-bucket",
    "tag": "dataset_v22",
    "whylabs_org_id": "org-bench",
    "whylabs_dataset_id": "model-1",
}
VARIABLES = {"git_login": "GIT_LOGIN", "wandb_api_key": "WANDB_API_KEY", "whylabs_api_key": "WHYLABS_API_KEY"}


class Failed(Exception):
    """A program of the benchmark did not do its work."""


@dataclass(frozen=True)
class Case:
    """Two commands, and how they compare: ours takes at most `share` of theirs and `extra_ms` on top of it."""

    name: str
    title: str
    share: float
    extra_ms: float
    ours: Command
    theirs: Command
    environment: Mapping[str, str]
    verify: Callable[[], None]
    """Called after the warm-up; raises Failed when one of the two does not do what it is timed for."""


@dataclass(frozen=True)
class Figures:
    """What was measured for one row; times of whole processes in milliseconds, in the order of the runs."""

    name: str
    title: str
    share: float
    extra_ms: float
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
    def allowed(self) -> float:
        """The most that ours may take, in milliseconds."""
        return self.share * self.theirs + self.extra_ms

    @property
    def pairwise(self) -> float:
        """The median of ours to what its neighbour allows: what slows the machine down slows both of a pair."""
        pairs = zip(self.ours_ms, self.theirs_ms, strict=True)
        return statistics.median(ours / (self.share * theirs + self.extra_ms) for ours, theirs in pairs)

    @property
    def met(self) -> bool:
        """Whether the medians and the pairs keep to the target."""
        return self.ours <= self.allowed and self.pairwise <= 1


# ── the rows ──────────────────────────────────────────────────────────────────────────────────────────────────────────

NAMES = ("check-compile", "check-deployer")

REGION = "us-east1"


def cases(names: Sequence[str], folder: Path) -> Iterator[Case]:
    """Make the rows that `names` asks for; their files go into `folder`."""
    values = {name: secrets.token_hex(20) for name in VARIABLES}
    values["git_login"] = f"https://bench:{values['git_login']}"
    environment = {
        **clean_environment(folder),
        **{variable: values[name] for name, variable in VARIABLES.items()},
        "WHYLABS_DEFAULT_ORG_ID": PARAMETERS["whylabs_org_id"],
        "WHYLABS_DEFAULT_DATASET_ID": PARAMETERS["whylabs_dataset_id"],
    }
    flags = ("-r", "1-4", "--project", PARAMETERS["project"], "--bucket", PARAMETERS["bucket"], "--region", REGION)
    account = ("--service-account", f"runner@{PARAMETERS['project']}.iam.gserviceaccount.com", "--offline")
    ours: Command = (SCRIPTS / "run-kfp", "check", *flags, *account, "-t", PARAMETERS["tag"])

    def checks() -> None:
        """See that the timed command looks: the same call with one mistake is refused."""
        if exit_code((*ours[:-2], "-t", ""), folder, environment) != 3:
            raise Failed("run-kfp check finds nothing in a call without a tag")

    if "check-compile" in names:
        plain = folder / "plain.yaml"
        theirs: Command = (SCRIPTS / "kfp", "dsl", "compile", "--py", CHAIN, "--output", plain)

        def same_pipeline() -> None:
            mine = folder / "ours.yaml"
            exit_code((SCRIPTS / "run-kfp", "-r", "1-4", "--compile-only", "-o", mine), folder, environment)
            if yaml.safe_load(mine.read_text("utf-8")) != yaml.safe_load(plain.read_text("utf-8")):
                raise Failed("run-kfp and the plain script compile different pipelines")
            checks()

        title = "check of 4 steps, to kfp dsl compile"
        yield Case("check-compile", title, 0.6, 300, ours, theirs, environment, same_pipeline)
    if "check-deployer" in names:
        program, project = install_deployer(), folder / "project"
        lay_out_project(project, {**PARAMETERS, **values})
        # Its pipelines are modules of a package `vertex` of the current folder; the two run in the same one.
        importable = {**environment, "PYTHONPATH": str(project)}
        theirs = (program, "check", "dermaid")

        def both_check() -> None:
            checks()
            config = project / "vertex" / "configs" / "dermaid" / "run.json"
            right = config.read_text("utf-8")
            config.write_text(json.dumps({"bucket": 1}), encoding="utf-8")
            code = exit_code(theirs, project, importable)
            config.write_text(right, encoding="utf-8")
            if code == 0:
                raise Failed("vertex-deployer check finds nothing in a config without most of the parameters")

        yield Case(
            "check-deployer", "check of 4 steps, to vertex-deployer", 0.25, 0, ours, theirs, importable, both_check
        )


def install_deployer() -> Path:
    """Make the virtual environment of vertex-deployer where there is none of these versions; return its program."""
    stamp = DEPLOYER_VENV / "bench.txt"
    wanted = hashlib.sha256(repr((DEPLOYER, sys.version)).encode()).hexdigest()
    scripts = DEPLOYER_VENV / ("Scripts" if os.name == "nt" else "bin")
    if not stamp.exists() or stamp.read_text("utf-8") != wanted:
        print("installing vertex-deployer (a minute or two) …", file=sys.stderr, flush=True)
        shutil.rmtree(DEPLOYER_VENV, ignore_errors=True)
        venv.create(DEPLOYER_VENV, with_pip=True, symlinks=os.name != "nt")
        done = subprocess.run(
            [scripts / "python", "-m", "pip", "install", "--quiet", "--compile", "--no-input", *DEPLOYER],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        if done.returncode:
            raise Failed(f"pip could not install {DEPLOYER[0]}:\n{done.stderr[-2000:]}")
        stamp.write_text(wanted, encoding="utf-8")
    return scripts / "vertex-deployer"


def lay_out_project(project: Path, values: Mapping[str, str]) -> None:
    """Write the pipeline and its config in the layout that vertex-deployer looks for."""
    pipelines, configs = project / "vertex" / "pipelines", project / "vertex" / "configs" / "dermaid"
    for folder in (pipelines, configs):
        folder.mkdir(parents=True)
    for package in (pipelines.parent, pipelines):
        (package / "__init__.py").touch()
    shutil.copy(CHAIN, pipelines / "dermaid.py")
    (configs / "run.json").write_text(json.dumps(dict(values)), encoding="utf-8")
    (project / "pyproject.toml").write_text("[tool.vertex-deployer]\n", encoding="utf-8")


def clean_environment(home: Path) -> dict[str, str]:
    """Return this environment without what would steer one of the programs: the caller's settings, keys, proxies."""
    google = ("AIP_", "CLOUDSDK_", "CLOUD_ML_", "GCE_", "GOOGLE_", "GRPC_", "VERTEX")
    ours = ("GCP_", "GCS_", "GIT_LOGIN", "NUM_GPU", "RUN_KFP_", "WANDB_", "WHYLABS_")
    own = (*google, *ours, "DOCKER_", "KFP_", "_KFP_", "PYTHON", "REPEATS")
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(own) and "proxy" not in name.lower()
    }
    return {**kept, "HOME": str(home), "COLUMNS": "100", "NO_COLOR": "1"}


# ── measuring ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def exit_code(command: Command, folder: Path, environment: Mapping[str, str]) -> int:
    """Run a command, its output into `folder`/log.txt; return its exit code."""
    with (folder / "log.txt").open("wb") as output:
        return subprocess.run(
            list(map(str, command)),
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode


def measure(case: Case, folder: Path, runs: int) -> Figures:
    """Run the two commands of a row in turn."""

    def timed(command: Command) -> float:
        start = time.perf_counter()
        code = exit_code(command, folder, case.environment)
        took = 1000 * (time.perf_counter() - start)
        if code:
            words = (folder / "log.txt").read_text("utf-8", errors="replace")[-2000:]
            raise Failed(f"{Path(command[0]).name} ended with exit code {code}:\n{words}")
        return took

    # The first of each reads the files from the disk and writes the bytecode of what has none.
    timed(case.ours)
    timed(case.theirs)
    case.verify()
    pairs = [(timed(case.ours), timed(case.theirs)) for _ in range(runs)]
    return Figures(case.name, case.title, case.share, case.extra_ms, [a for a, _ in pairs], [b for _, b in pairs])


def table(rows: Sequence[Figures]) -> str:
    """Return the figures as lines of text."""
    lines = [f"{'':<42}{'ours':>9}{'theirs':>10}{'ratio':>8}{'allowed':>11}{'pairwise':>10}"]
    for row in rows:
        lines.append(
            f"{row.title:<42}{row.ours:>6.0f} ms{row.theirs:>7.0f} ms{row.ours / row.theirs:>8.2f}"
            f"{row.allowed:>8.0f} ms{row.pairwise:>10.2f}  {'met' if row.met else 'missed'}  ({len(row.ours_ms)} runs)"
        )
    return "\n".join(lines)


def machine() -> dict[str, str | int]:
    """Return what the figures depend on."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count() or 0,
        **{name: version(name) for name in ("run-kfp", "kfp", "typer", "pydantic", "rich")},
        "vertex-deployer": ", ".join(DEPLOYER),
    }


def main() -> int:
    """Measure, print, and give the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7, metavar="N", help="pairs of a row (default 7)")
    parser.add_argument("--only", metavar="ROW", action="append", help=f"this row alone; repeat it: {', '.join(NAMES)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    options = parser.parse_args()
    if options.runs < 1:
        parser.error("--runs takes 1 or more")
    wanted = [name for name in NAMES if name in (options.only or NAMES)]  # `dev.py bench` gives rows of the others too
    if not wanted:
        return 0
    rows: list[Figures] = []
    with tempfile.TemporaryDirectory(prefix="run-kfp-bench-") as name:
        folder = Path(name)
        try:
            for case in cases(wanted, folder):
                print(f"measuring: {case.title} …", file=sys.stderr, flush=True)
                inside = folder / "project" if case.name == "check-deployer" else folder
                rows.append(measure(case, inside, options.runs))
        except Failed as error:
            print(f"bench_check: {error}", file=sys.stderr)
            return 1
    print(", ".join(f"{name} {value}" for name, value in machine().items()))
    print(table(rows))
    if options.json:
        figures = [{**asdict(row), "allowed_ms": row.allowed, "pairwise": row.pairwise, "met": row.met} for row in rows]
        options.json.write_text(json.dumps({"machine": machine(), "rows": figures}, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
