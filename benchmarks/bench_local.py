"""How long steps take on this machine's Docker Engine, beside `docker run` and beside kfp's own local runner.

    python3 dev.py bench
    PYTHONPATH=tests .venv/bin/python benchmarks/bench_local.py --runs 21 --only local-step --json figures.json

A Docker Engine is started for it and gone after it; its containers are busybox's `true`, on the default bridge network.
Each row runs A (run-kfp) and B (the same containers without it) A B A B …, after one of each that does not count:

    local-step   one step, from the decision to start it until its container is removed, its log kept and its end
                 written down, beside `docker run --rm`; the run is one in this process, many in a row
    local-four   four steps in sequence, the whole run in this process, beside a shell loop of four `docker run --rm`
    local-kfp    four steps in sequence, `run-kfp -r 1-4 --local`, beside a script with `kfp.local`; whole processes

A target is what ours may take more than theirs. After the warm-up the Engine is asked how many containers each has run
to a success, and whether run-kfp left one behind: a row that compared different work would be worth nothing.

Exit code 0 with targets met or missed; 1 when there is no Engine, a program fails, or the two did different work.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from engine import Engine, EngineUnavailableError, images, running_engine
from run_kfp.backends.local import LocalPlan, execute
from run_kfp.backends.local.docker_engine import DockerSettings
from run_kfp.backends.local.leftovers import RUN_LABEL
from run_kfp.backends.local.runner import Policy
from run_kfp.errors import RunKfpError
from run_kfp.graph import executable_steps
from run_kfp.localruns import RunRecord, StepRecord
from run_kfp.localstore import LocalRuns
from run_kfp.masking import Masker
from run_kfp.pipeline import CompiledPipeline, read_pipeline
from run_kfp.runs import RunState, StepState
from run_kfp.steplogs import LogLine

SCRIPTS = Path(sys.executable).parent
PLAIN = Path(__file__).resolve().parent / "plain" / "four.py"
MORE_PER_STEP = 30
"""Milliseconds that a step may take beyond `docker run`."""

NAMES = ("local-step", "local-four", "local-kfp")

Timed = Callable[[], float]
"""Does the work once; returns the seconds that it took."""


@dataclass(frozen=True)
class Case:
    """Two ways to run the same containers; `target` is what ours may take more than theirs, in milliseconds."""

    name: str
    title: str
    target: int
    containers: int
    ours: Timed
    theirs: Timed


@dataclass(frozen=True)
class Figures:
    """What was measured for one row, in milliseconds, in the order of the runs."""

    name: str
    title: str
    target: int
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
    def more(self) -> float:
        """What the median of ours is more than that of theirs; less than 0 when ours is faster."""
        return self.ours - self.theirs

    @property
    def pairwise(self) -> float:
        """The median of the differences of neighbours: what slows the machine down slows both of a pair."""
        return statistics.median(a - b for a, b in zip(self.ours_ms, self.theirs_ms, strict=True))

    @property
    def met(self) -> bool:
        """Whether both differences keep to the target."""
        return max(self.more, self.pairwise) <= self.target


class Failed(Exception):
    """A way to run the containers did not do its work."""


@dataclass
class Stopwatch:
    """Observes a run of one step; keeps when it decided to start the step, and its latest write of the record."""

    began: float = 0.0
    ended: float = 0.0

    def changed(self, record: RunRecord, state: RunState, steps: Sequence[StepRecord]) -> None:
        """Look at the clock. The last change comes when the container is removed."""
        self.ended = time.perf_counter()
        if steps and steps[0].state is StepState.WAITING:
            self.began = self.ended

    def lines(self, step: str, lines: Sequence[LogLine], dropped: int) -> None:
        """A line is no change."""

    def bar(self, step: str, text: str) -> None:
        """See nothing."""

    def pulling(self, image: str, done: int, total: int) -> None:
        """Nothing is pulled."""


@dataclass
class InProcess:
    """Runs a pipeline again and again in this process, on the Engine of its environment."""

    pipeline: CompiledPipeline
    runs: LocalRuns
    step_alone: bool = False
    """Whether the time is that of the first step, instead of the whole run with the reaching of the Engine."""

    count: int = 0

    def __call__(self) -> float:
        """Run it once; return the seconds."""
        self.count += 1
        plan = LocalPlan(
            self.pipeline,
            executable_steps(self.pipeline),
            f"bench-{self.count}",
            "docker",
            values={},
            policy=Policy(),
            docker=DockerSettings("missing", None, {}, None),
        )
        watch = Stopwatch()
        start = time.perf_counter()
        done = execute(plan, self.runs, Masker(), watch)
        if done.error is not None:
            raise done.error
        record = done.record
        took = time.perf_counter() - start
        if record.state is not RunState.SUCCEEDED:
            raise Failed(f"a run in this process ended as {record.state.value}: {record.error}")
        if missing := [step.log for step in record.steps if not self.runs.folder(record.id).log(step).is_file()]:
            raise Failed(f"a run in this process kept no {', '.join(missing)}")
        return watch.ended - watch.began if self.step_alone else took


def process(command: Sequence[str | Path], folder: Path, environment: Mapping[str, str]) -> Timed:
    """Return what runs a command from its start to its exit."""

    def run() -> float:
        log = folder / "log.txt"
        with log.open("wb") as output:
            start = time.perf_counter()
            done = subprocess.run(
                list(map(str, command)),
                cwd=folder,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
            took = time.perf_counter() - start
        if done.returncode:
            words = log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise Failed(f"{Path(command[0]).name} ended with exit code {done.returncode}:\n{words}")
        return took

    return run


# ── the rows ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def registry(image: str) -> str:
    """Return four containers, as in the script of `kfp.local`."""
    names = ("first", "second", "third", "fourth")
    entries = (
        f'[containers.{index}]\nname = "{name}"\nimage = "{image}"\ncommand = ["true"]\n'
        for index, name in enumerate(names, 1)
    )
    return '[pipeline]\nname = "four"\n\n' + "\n".join(entries)


def cases(names: Sequence[str], folder: Path, environment: Mapping[str, str], image: str) -> list[Case]:
    """Make the rows that `names` asks for; their files go into `folder`."""
    (folder / "run-kfp.toml").write_text(registry(image), encoding="utf-8")
    run_kfp = SCRIPTS / "run-kfp"

    def pipeline(selection: str) -> CompiledPipeline:
        file = folder / f"{selection}.yaml"
        process((run_kfp, "-r", selection, "--compile-only", "-o", file), folder, environment)()
        return read_pipeline(file)

    docker_run = ("docker", "run", "--rm", image, "true")
    loop = f"for step in 1 2 3 4; do {' '.join(docker_run)} || exit; done"
    made: list[Case] = []
    if "local-step" in names:
        ours: Timed = InProcess(pipeline("1"), LocalRuns(folder / "one"), step_alone=True)
        theirs = process(docker_run, folder, environment)
        made.append(Case("local-step", "a step, to docker run", MORE_PER_STEP, 1, ours, theirs))
    if "local-four" in names:
        ours = InProcess(pipeline("1-4"), LocalRuns(folder / "four"))
        theirs = process(("sh", "-c", loop), folder, environment)
        made.append(Case("local-four", "4 steps, to 4 docker run", 4 * MORE_PER_STEP, 4, ours, theirs))
    if "local-kfp" in names:
        ours = process((run_kfp, "-r", "1-4", "--local"), folder, environment)
        theirs = process((sys.executable, PLAIN), folder, environment)
        made.append(Case("local-kfp", "run-kfp --local, to kfp.local", 0, 4, ours, theirs))
    return made


# ── measuring ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def succeeded(engine: Engine, work: Timed) -> int:
    """Do the work once; return how many containers of the Engine ended with exit code 0 meanwhile."""
    begin = time.time()
    work()
    words = ("--since", f"{begin:.6f}", "--until", f"{time.time():.6f}", "--filter", "event=die")
    codes = engine.docker("events", *words, "--format", "{{.Actor.Attributes.exitCode}}").stdout.split()
    return codes.count("0")


def measure(case: Case, engine: Engine) -> Callable[[int], Figures]:
    """Warm both up and compare what they did; return what measures so many pairs."""
    for whose, work in (("run-kfp", case.ours), ("the other", case.theirs)):
        if (count := succeeded(engine, work)) != case.containers:
            raise Failed(f"{case.name}: {whose} ran {count} containers to a success, not {case.containers}")
    if left := engine.docker("ps", "--all", "--quiet", "--filter", f"label={RUN_LABEL}").stdout.split():
        raise Failed(f"{case.name}: run-kfp left {len(left)} containers behind")

    def pairs(runs: int) -> Figures:
        times = [(1000 * case.ours(), 1000 * case.theirs()) for _ in range(runs)]
        return Figures(case.name, case.title, case.target, [a for a, _ in times], [b for _, b in times])

    return pairs


def table(rows: Sequence[Figures]) -> str:
    """Return the figures as lines of text."""
    head = f"{'':<32}{'ours':>10}{'theirs':>10}{'more':>10}{'pairwise':>10}{'target':>11}"
    lines = [
        f"{row.title:<32}{row.ours:>7.0f} ms{row.theirs:>7.0f} ms{row.more:>+7.0f} ms{row.pairwise:>+7.0f} ms"
        f"{'≤ ' + format(row.target, '+d'):>8} ms  {'met' if row.met else 'missed'}  ({len(row.ours_ms)} runs)"
        for row in rows
    ]
    return "\n".join([head, *lines])


def machine(engine: Engine) -> dict[str, str | int]:
    """Return what the figures depend on."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count() or 0,
        **{name: version(name) for name in ("run-kfp", "kfp", "docker")},
        "engine": engine.docker("version", "--format", "{{.Server.Version}}").stdout.strip(),
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
    wanted = [name for name in NAMES if name in (options.only or NAMES)]
    if not wanted:  # `dev.py bench` hands the rows of one benchmark to all of them
        print("bench_local: none of these rows is here", file=sys.stderr)
        return 0
    rows: list[Figures] = []
    try:
        with contextlib.ExitStack() as opened:
            folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="run-kfp-bench-")))
            engine = opened.enter_context(running_engine())
            os.environ.update(engine.env())  # for the runs in this process
            # Nothing of the caller's own: no settings, no keys, no proxies.
            environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8", **engine.env()}
            for case in cases(wanted, folder, environment, images.busybox(engine)):
                print(f"measuring: {case.title} …", file=sys.stderr, flush=True)
                rows.append(measure(case, engine)(options.runs))
            where = machine(engine)
    except (EngineUnavailableError, Failed, RunKfpError) as error:
        print(f"bench_local: {error}", file=sys.stderr)
        return 1
    print(", ".join(f"{name} {value}" for name, value in where.items()))
    print(table(rows))
    if options.json:
        figures = [{**asdict(row), "more_ms": row.more, "pairwise_ms": row.pairwise, "met": row.met} for row in rows]
        options.json.write_text(json.dumps({"machine": where, "rows": figures}, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
