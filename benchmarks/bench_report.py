"""How long the report of a run with 20,000 log lines takes to open in Chromium.

    python3 dev.py bench
    PYTHONPATH=tests .venv/bin/python benchmarks/bench_report.py --runs 21 --only report-failed --json figures.json

The page's own clock tells: from the start of the navigation to the later of two moments, the end of the page's script
(its mark `report-ready`) and the end of its load event. Nothing of WebDriver is in these times. Rows in milliseconds:

    report-failed   the step with the 20,000 lines failed: its log is open, and drawn at its end
    report-closed   the same step succeeded: its log is closed
    report-show     from the click that opens that log to the second frame after it
    report-search   from a letter typed into its search to the second frame after it

Exit code 0 with targets met or missed; 1 when there is no browser or the page lacks what it must show.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

from browser import Browser, BrowserUnavailableError, running_browser
from run_kfp.report import report_html

LINES = 20_000
TARGETS = {"report-failed": 2000, "report-closed": 2000, "report-show": 500, "report-search": 250}
"""In milliseconds, at most."""

START = datetime(2026, 11, 23, 14, 2, 10, tzinfo=UTC)

OPENED = """
const navigation = performance.getEntriesByType("navigation")[0];
return Math.max(navigation.loadEventEnd, performance.getEntriesByName("report-ready")[0].startTime);
"""
TIMED = """
return new Promise((done) => {
  const start = performance.now();
  %s;
  requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - start)));
});
"""
SHOW = TIMED % 'document.querySelector("#step-3 summary").click()'
SEARCH = TIMED % (
    'const search = document.querySelector("#step-3 input[type=search]");'
    'search.value = "9"; search.dispatchEvent(new Event("input"))'
)


class Failed(Exception):
    """The page lacks what it must show."""


@dataclass(frozen=True)
class Figures:
    """What was measured for one row, in milliseconds, in the order of the runs."""

    name: str
    target: int
    times_ms: list[float]

    @property
    def median(self) -> float:
        """The time in the middle."""
        return statistics.median(self.times_ms)

    @property
    def met(self) -> bool:
        """Whether the slowest of all keeps to the target."""
        return max(self.times_ms) <= self.target


def log_lines(count: int) -> Iterator[str]:
    """Make a training's log: most lines of 100 to 150 characters, some with colours, warnings and tracebacks."""
    dice = random.Random(count)
    for number in range(count):
        moment = START + timedelta(seconds=0.3 * number)
        at = f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"
        kind = dice.random()
        if kind < 0.01:
            yield f"{at} E ValueError: shapes (32, {number}) and (64,) do not match"
        elif kind < 0.04:
            yield f"{at} E WARNING:tensorflow:The calling iterator did not fully read the dataset being cached"
        elif kind < 0.1:
            yield f"{at} E \x1b[32m{number % 100:3}%|{'█' * (number % 10):<10}|\x1b[0m {number}/{count} [00:18<00:02]"
        else:
            shard = f"gs://bucket/tfrecords/train-{number % 64:05}-of-00064.tfrecord"
            yield f"{at} O INFO step {number} loss={dice.random():.4f} accuracy={dice.random():.4f} shard={shard}"


def run_record(state: str) -> dict[str, Any]:
    """Make the record of a run of four steps; the third, which wrote most, ended as `state`."""
    names = ("upload", "tfrecords", "train", "evaluate")
    steps = [
        {
            "name": name,
            "image": f"example/{name}",
            "after": names[:number][-1:],
            "state": state if name == "train" else "SUCCEEDED",
            "started": (START + timedelta(minutes=number)).isoformat(),
            "ended": (START + timedelta(minutes=number + 1)).isoformat(),
            "args": ["--project=p", "--bucket=b"],
            "log": f"logs/{name}.log",
        }
        for number, name in enumerate(names)
    ]
    return {"id": "bench", "pipeline": {"name": "bench"}, "state": state, "started": START.isoformat(), "steps": steps}


def pages(folder: Path) -> dict[str, Path]:
    """Write the two pages."""
    made = {}
    for name, state in (("failed", "FAILED"), ("closed", "SUCCEEDED")):
        start = time.perf_counter()
        text = report_html(run_record(state), lambda path: log_lines(LINES if "train" in path else 200))
        made[name] = folder / f"{name}.html"
        made[name].write_text(text, encoding="utf-8")
        took, size = time.perf_counter() - start, made[name].stat().st_size
        print(f"{name}.html: {size / 1e6:.1f} MB, made in {1000 * took:.0f} ms (with its log)", file=sys.stderr)
    return made


def measure(browser: Browser, pages: dict[str, Path], runs: int) -> dict[str, list[float]]:
    """Open both pages in turn; the first of each counts too: a report is opened once."""
    times: dict[str, list[float]] = {name: [] for name in TARGETS}

    def look(name: str, script: str) -> None:
        times[name].append(browser.run(script))

    def expect(script: str, wanted: Callable[[Any], bool]) -> None:
        found = browser.run(f"return {script}")
        if not wanted(found):
            raise Failed(f"{script} gives {found!r}")

    for _ in range(runs):
        browser.open(pages["failed"])
        look("report-failed", OPENED)
        expect('[...document.querySelectorAll("#step-3 .number")].at(-1).textContent', str(LINES).__eq__)
        browser.open(pages["closed"])
        look("report-closed", OPENED)
        expect('document.querySelectorAll("#step-3 .row").length', (0).__eq__)
        look("report-show", SHOW)
        expect('document.querySelectorAll("#step-3 .row").length', lambda rows: 0 < rows < 2000)
        look("report-search", SEARCH)
        expect('document.querySelectorAll("#step-3 mark").length', lambda marks: marks > 0)
    return times


def main() -> int:
    """Measure, print, and give the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=11, metavar="N", help="times that each page is opened (default 11)")
    parser.add_argument(
        "--only", metavar="ROW", action="append", help=f"this row alone; repeat it: {', '.join(TARGETS)}"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    options = parser.parse_args()
    if options.runs < 1:
        parser.error("--runs takes 1 or more")
    wanted = [name for name in TARGETS if name in (options.only or TARGETS)]
    if not wanted:  # `dev.py bench` hands the rows of one benchmark to all of them
        print("bench_report: none of these rows is here", file=sys.stderr)
        return 0
    with tempfile.TemporaryDirectory(prefix="run-kfp-bench-") as folder:
        try:
            with running_browser() as browser:
                browser.window(1280, 900)
                times = measure(browser, pages(Path(folder)), options.runs)
                product = browser.devtools("Browser.getVersion")["product"]
        except (BrowserUnavailableError, Failed) as error:
            print(f"bench_report: {error}", file=sys.stderr)
            return 1
    rows = [Figures(name, TARGETS[name], times[name]) for name in wanted]
    machine = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count() or 0,
        "run-kfp": version("run-kfp"),
        "browser": product,
    }
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    print(f"{'':<16}{'median':>10}{'slowest':>11}{'target':>12}")
    for row in rows:
        verdict = "met" if row.met else "missed"
        print(
            f"{row.name:<16}{row.median:>7.0f} ms{max(row.times_ms):>8.0f} ms{'≤ ' + str(row.target):>9} ms  {verdict}"
            f"  ({len(row.times_ms)} runs)"
        )
    if options.json:
        figures = [{**asdict(row), "median_ms": row.median, "met": row.met} for row in rows]
        options.json.write_text(json.dumps({"machine": machine, "rows": figures}, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
