"""What grows with a local run, and what must not: ratios of a large one to a small one, in one run.

    python3 dev.py bench
    PYTHONPATH=tests .venv/bin/python benchmarks/bench_growth.py --runs 3 --only runs-list --json figures.json

Each row runs A and B in turn, A B A B …, whole processes, and compares them:

    chain-process  what a step costs in a chain of 1000 steps, beside one of 50: `--engine process`; at most 1.3
    chain-docker   the same on a Docker Engine that is started for it; 8 minutes a pair, so only where it is asked for
    lines-plain    100,000 lines of one step, kept and printed into a file, beside `docker run` into a file; at most 3
    lines-json     the same with `--json`
    memory         the peak memory of a run whose step prints 1,000,000 lines, beside one of 10,000; at most 1.2
    memory-logs    the same of `run-kfp logs`
    runs-list      `run-kfp runs` in a folder of 2,000 runs, beside one of 10; at most 1.5

Rows with Docker need an Engine and are left out, loudly, where none can be started. Exit code 0 with targets met or
missed; 1 when a run fails.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from engine import EngineUnavailableError, images, running_engine

PROGRAM = Path(sys.executable).parent / "run-kfp"
LINES = 100_000
PROCESS = ("--local", "--engine", "process")


class Failed(Exception):
    """A run failed, or did not do what it was to do."""


@dataclass
class Row:
    """Two ways, each of which returns what is compared."""

    name: str
    target: float
    unit: str
    large: Callable[[], float]
    small: Callable[[], float]
    pairs: list[tuple[float, float]] = field(default_factory=list)

    @property
    def pairwise(self) -> float:
        """The median of the ratios of neighbours: what slows the machine down slows both of a pair."""
        return statistics.median(a / b for a, b in self.pairs)

    def line(self) -> str:
        """Return the row as one of a table."""
        large, small = (statistics.median(values) for values in zip(*self.pairs, strict=True))
        met = "met" if self.pairwise <= self.target else "missed"
        return (
            f"| `{self.name}` | {large:.4g} {self.unit} | {small:.4g} {self.unit} | {self.pairwise:.2f} "
            f"| ≤ {self.target} | {met} | {len(self.pairs)} |"
        )


@dataclass(frozen=True)
class Bench:
    """Where the rows work: a folder, and the variables of the processes."""

    folder: Path
    variables: Mapping[str, str]

    def run(self, command: Sequence[str | Path], folder: Path) -> tuple[float, float]:
        """Run a process, its output into files; return its seconds, and the megabytes that it had at most."""
        with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
            started = time.perf_counter()
            process = subprocess.Popen(
                list(map(str, command)),
                cwd=folder,
                env=dict(self.variables),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
            _, status, used = os.wait4(process.pid, 0)
            taken = time.perf_counter() - started
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise Failed(f"{command[0]} ended with {process.returncode}: {(folder / 'err').read_text()[-2000:]}")
        return taken, used.ru_maxrss / 1024

    def place(self, name: str, registry: str) -> Path:
        """Make a folder with a registry."""
        folder = self.folder / name
        folder.mkdir()
        (folder / "run-kfp.toml").write_text(registry, encoding="utf-8")
        return folder


def registry(count: int, command: Sequence[str], image: str = "nobody/one") -> str:
    """Return a registry of so many containers that do the same."""
    words = json.dumps(list(command))
    entries = (
        f'[containers.{index}]\nname = "step{index}"\nimage = "{image}"\ncommand = {words}\n'
        f"process = {{ entrypoint = {words} }}\n"
        for index in range(1, count + 1)
    )
    return '[pipeline]\nname = "growth"\n\n' + "\n".join(entries)


def latest(folder: Path) -> dict[str, object]:
    """Return the record of the only run of a folder, and remove the run."""
    (path,) = (folder / ".run-kfp" / "runs").iterdir()
    record: dict[str, object] = json.loads((path / "run.json").read_text(encoding="utf-8"))
    shutil.rmtree(path)
    return record


def chain(bench: Bench, name: str, image: str, more: Sequence[str]) -> Row:
    """Compare what a step costs, in milliseconds, from the first start to the last end."""

    def cost(count: int) -> Callable[[], float]:
        folder = bench.place(f"{name}-{count}", registry(count, ["true"], image))

        def run() -> float:
            bench.run([PROGRAM, "-r", f"1-{count}", "--local", *more], folder)
            steps = latest(folder)["steps"]
            assert isinstance(steps, list)
            moments = [datetime.fromisoformat(step[key]) for step in steps for key in ("started", "ended")]
            return (max(moments) - min(moments)).total_seconds() * 1000 / count

        return run

    return Row(name, 1.3, "ms", cost(1000), cost(50))


def printing(count: int) -> list[str]:
    """Return a command that prints so many lines."""
    return ["sh", "-c", f"seq 1 {count}"]


def lines(bench: Bench, name: str, image: str, more: Sequence[str]) -> Row:
    """Compare a run whose step prints with `docker run`."""
    folder = bench.place(name, registry(1, printing(LINES), image))

    def ours() -> float:
        taken, _ = bench.run([PROGRAM, "-r", "1", "--local", *more], folder)
        (log,) = (folder / ".run-kfp").rglob("step1.log")
        if log.read_bytes().count(b"\n") != LINES:
            raise Failed("lines are missing from the log")
        latest(folder)
        return taken

    def theirs() -> float:
        taken, _ = bench.run(["docker", "run", "--rm", image, *printing(LINES)], folder)
        if (folder / "out").read_bytes().count(b"\n") != LINES:
            raise Failed("lines are missing from the output of docker run")
        return taken

    return Row(name, 3.0, "s", ours, theirs)


def memory(bench: Bench) -> Row:
    """Compare the peak memory of two runs."""

    def peak(count: int) -> Callable[[], float]:
        folder = bench.place(f"memory-{count}", registry(1, printing(count)))

        def run() -> float:
            _, megabytes = bench.run([PROGRAM, "-r", "1", *PROCESS], folder)
            latest(folder)
            return megabytes

        return run

    return Row("memory", 1.2, "MB", peak(1_000_000), peak(10_000))


def memory_of_logs(bench: Bench) -> Row:
    """Compare the peak memory of printing two logs."""

    def peak(count: int) -> Callable[[], float]:
        folder = bench.place(f"logs-{count}", registry(1, printing(count)))
        bench.run([PROGRAM, "-r", "1", *PROCESS], folder)

        def run() -> float:
            _, megabytes = bench.run([PROGRAM, "logs"], folder)
            if (folder / "out").read_bytes().count(b"\n") != count:
                raise Failed("logs left out lines")
            return megabytes

        return run

    return Row("memory-logs", 1.2, "MB", peak(1_000_000), peak(10_000))


def runs_list(bench: Bench) -> Row:
    """Compare lists of runs: copies of one, each with an id and a time of its own."""

    def listing(count: int) -> Callable[[], float]:
        folder = bench.place(f"runs-{count}", registry(1, ["true"]))
        bench.run([PROGRAM, "-r", "1", *PROCESS], folder)
        runs = folder / ".run-kfp" / "runs"
        (first,) = runs.iterdir()
        text = (first / "run.json").read_text(encoding="utf-8")
        for number in range(1, count):
            copy = shutil.copytree(first, runs / f"copy-{number}")
            (copy / "run.json").write_text(text.replace(first.name, copy.name), encoding="utf-8")

        def run() -> float:
            taken, _ = bench.run([PROGRAM, "runs"], folder)
            if (folder / "out").read_bytes().count(b"\n") != min(count, 20):
                raise Failed("another number of runs was listed")
            return taken

        return run

    return Row("runs-list", 1.5, "s", listing(2000), listing(10))


NAMES = ("chain-process", "chain-docker", "lines-plain", "lines-json", "memory", "memory-logs", "runs-list")
BY_ITSELF = frozenset({"chain-docker"})
WITH_DOCKER = frozenset({"chain-docker", "lines-plain", "lines-json"})


def rows(bench: Bench, names: Sequence[str], image: str) -> list[Row]:
    """Make the rows that `names` asks for."""
    make: dict[str, Callable[[], Row]] = {
        "chain-process": lambda: chain(bench, "chain-process", "nobody/one", ["--engine", "process"]),
        "chain-docker": lambda: chain(bench, "chain-docker", image, []),
        "lines-plain": lambda: lines(bench, "lines-plain", image, []),
        "lines-json": lambda: lines(bench, "lines-json", image, ["--json"]),
        "memory": lambda: memory(bench),
        "memory-logs": lambda: memory_of_logs(bench),
        "runs-list": lambda: runs_list(bench),
    }
    return [make[name]() for name in names]


def main() -> int:
    """Measure, print, and give the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="pairs of a row (default 3)")
    parser.add_argument("--only", metavar="ROW", action="append", help=f"this row alone; repeat it: {', '.join(NAMES)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    options = parser.parse_args()
    wanted = [name for name in NAMES if (name in options.only if options.only else name not in BY_ITSELF)]
    if not wanted:
        print("bench_growth: none of these rows is here", file=sys.stderr)
        return 0
    with contextlib.ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="run-kfp-bench-")))
        variables = {"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8"}
        image = ""
        try:
            if WITH_DOCKER.intersection(wanted):
                try:
                    engine = opened.enter_context(running_engine())
                    variables |= engine.env()
                    image = images.busybox(engine)
                except EngineUnavailableError as error:
                    print(f"bench_growth: LEFT OUT, {', '.join(WITH_DOCKER)}: {error}", file=sys.stderr)
                    wanted = [name for name in wanted if name not in WITH_DOCKER]
            measured = rows(Bench(folder, variables), wanted, image)
            for row in measured:
                print(f"measuring: {row.name} …", file=sys.stderr, flush=True)
                row.pairs += [(row.large(), row.small()) for _ in range(options.runs)]
        except Failed as error:
            print(f"bench_growth: {error}", file=sys.stderr)
            return 1
    print("| row | large | small | pairwise | target | | pairs |\n|---|---|---|---|---|---|---|")
    print("\n".join(row.line() for row in measured))
    if options.json:
        data = [{"name": row.name, "pairs": row.pairs, "pairwise": row.pairwise} for row in measured]
        options.json.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
