"""Breaks the program in one place at a time, and tells which breaks no test notices.

    python tests/mutate.py --count 100 --seed 1            100 breaks of the whole program
    python tests/mutate.py --count 50 runs.py backends/    … of these modules and folders of it

A mutant is one change of one expression or statement: a comparison, `and` for `or`, a removed `not`, a condition
turned round, a number, a boolean, an operator, a `return` of None, a removed call, `raise` or `yield`. Text is left
alone: words change on purpose, and the tests look at those that matter.

The first run measures, with coverage.py, which test executes which line, in the processes that a test starts as well,
and keeps that in build/mutate until the program changes (or `--map` asks for it). A mutant is then shown to the tests
that execute its line, the quickest first, until one fails, and to no more than fit into `--budget`. Mutants are made in
copies of src under build/mutate, which come first on PYTHONPATH; the sources themselves are never touched.
"""

from __future__ import annotations

import argparse
import ast
import base64
import concurrent.futures
import copy
import hashlib
import itertools
import json
import os
import queue
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "src"
PACKAGE = Path("run_kfp")
BUILD = ROOT / "build" / "mutate"
MAP = BUILD / "map.json"

# Rules are data with a check each; a register of them is looked through by tests of its own. What speaks to a Docker
# Engine is tested by one that starts for it.
LEFT_OUT = ("preflight/rules", *(f"backends/local/docker_{name}.py" for name in ("client", "container", "engine")))
# What starts Docker or installs packages: minutes for one test.
MARKS = "not engine and not example and not install"

# Changes that nobody can observe, whatever is tested: the module, the text before and after, and why.
EQUIVALENT: Sequence[tuple[str, str, str, str]] = (
    ("report/drawing.py", "waited < step", "(waited <= step)", "no step is among those that it waits for itself"),
    (
        "report/drawing.py",
        "width <= 2 * (BOX_WIDTH + GAP_ACROSS)",
        "(width < 2 * (BOX_WIDTH + GAP_ACROSS))",
        "no row of boxes and lanes is exactly as wide",
    ),
)

# A mutant may make a test wait for ever. A test under load may take some times as long as it did when it was measured.
SLOWER, LONGEST_START = 5.0, 60.0

_SWAPS: Mapping[type[ast.AST], type[Any]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
}


@dataclass(frozen=True)
class Mutant:
    """One change: `module` is relative to the package, `start` and `end` are bytes of it, `lines` those that run it.

    `lines` are empty for what runs when the module is imported.
    """

    module: str
    line: int
    start: int
    end: int
    before: str
    after: str
    lines: tuple[int, int] | None

    def __str__(self) -> str:
        return (
            f"{self.module}:{self.line}: {' '.join(self.before.split())[:70]}  →  {' '.join(self.after.split())[:70]}"
        )

    def applied(self, source: bytes) -> bytes:
        """Return the module with the change in it."""
        return source[: self.start] + self.after.encode() + source[self.end :]

    def is_python(self, source: bytes) -> bool:
        """Say whether the module can still be read."""
        try:
            compile(self.applied(source), self.module, "exec")
        except SyntaxError:
            return False
        return True


# ── mutants ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def mutants(module: str, source: bytes) -> Iterator[Mutant]:
    """Yield every mutant of a module; a few are no Python."""
    begins = [0]
    for text in source.splitlines(keepends=True):
        begins.append(begins[-1] + len(text))
    for node, lines in _places(ast.parse(source), None):
        for after in _changes(node):
            start = begins[node.lineno - 1] + node.col_offset
            end = begins[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0)
            yield Mutant(module, node.lineno, start, end, source[start:end].decode(), after, lines)


def _places(node: ast.AST, lines: tuple[int, int] | None) -> Iterator[tuple[Any, tuple[int, int] | None]]:
    """Yield what can be changed below `node`, with the lines that run it."""
    for child in ast.iter_child_nodes(node):
        if _left_alone(node, child):
            continue
        below = lines
        if isinstance(child, ast.FunctionDef):
            # For the defaults of its parameters too, whose own lines run at the import.
            below = (child.body[0].lineno, child.end_lineno or child.lineno)
        elif isinstance(child, ast.stmt) and lines is not None:
            blocks = [
                block[0].lineno - 1
                for name in ("body", "cases")
                if (block := getattr(child, name, [])) and hasattr(block[0], "lineno")
            ]
            last = min(blocks, default=child.end_lineno or child.lineno)
            below = (child.lineno, max(last, child.lineno))
        yield child, below
        yield from _places(child, below)


def _left_alone(parent: ast.AST, child: ast.AST) -> bool:
    """Say whether a part of a module is no behaviour: annotations, text, decorators, what another system runs."""
    if isinstance(child, ast.JoinedStr):  # Python 3.11 does not tell where the expressions in it stand
        return True
    if child in (getattr(parent, "annotation", None), getattr(parent, "returns", None)):
        return True
    if isinstance(parent, ast.FunctionDef | ast.ClassDef) and child in parent.decorator_list:
        return True
    if isinstance(child, ast.If):
        return any(words in ast.unparse(child.test) for words in ("TYPE_CHECKING", "sys.platform"))
    if isinstance(child, ast.ClassDef):
        return any(ast.unparse(base) == "Protocol" for base in child.bases)
    return isinstance(child, ast.Assign) and ast.unparse(child.targets[0]) == "__all__"


def _changes(node: ast.AST) -> Iterator[str]:
    """Yield what may stand in the place of a node."""
    changed: Any = copy.copy(node)
    match node:
        case ast.Compare(ops=[first, *rest]):
            changed.ops = [_SWAPS[type(first)](), *rest]
            yield f"({ast.unparse(changed)})"
        case ast.BoolOp(op=operator):
            changed.op = _SWAPS[type(operator)]()
            yield f"({ast.unparse(changed)})"
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _SWAPS:
            if not any(isinstance(side, ast.JoinedStr) or _text(side) for side in (left, right)):
                changed.op = _SWAPS[type(operator)]()
                yield f"({ast.unparse(changed)})"
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield f"({ast.unparse(operand)})"
        case ast.Constant(value=bool() as value):
            yield str(not value)
        case ast.Constant(value=int() | float() as value):
            yield repr(value + 1)
        case ast.IfExp(test=test, body=body, orelse=orelse) if _plain(test):
            yield f"({ast.unparse(orelse)} if {ast.unparse(test)} else {ast.unparse(body)})"
        case ast.Return(value=value) if value is not None and not isinstance(value, ast.Constant):
            yield "return None"
        case ast.AugAssign(op=operator) if type(operator) in _SWAPS:
            changed.op = _SWAPS[type(operator)]()
            yield ast.unparse(changed)
        case ast.Expr(value=ast.Call() | ast.Yield() | ast.YieldFrom()) | ast.Raise():
            yield "pass"
        case ast.Continue():
            yield "break"
        case ast.Break():
            yield "continue"
        case ast.Name() | ast.Attribute() | ast.Call() if getattr(node, "is_test", False):
            yield f"(not {ast.unparse(node)})"
        case ast.If(test=test) | ast.While(test=test) if _plain(test):
            test.is_test = True  # type: ignore[attr-defined]  # a mark for the visit of it, which comes next
        case ast.comprehension(ifs=tests):
            for each in filter(_plain, tests):
                each.is_test = True  # type: ignore[attr-defined]  # likewise


def _plain(test: ast.expr) -> bool:
    """Say whether a condition has no operator that could be changed."""
    return isinstance(test, ast.Name | ast.Attribute | ast.Call)


def _text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def chosen(modules: Sequence[str], count: int, seed: int) -> list[Mutant]:
    """Return `count` mutants of the modules, all of them equally likely, always the same for a seed."""
    sources: dict[str, bytes] = {}
    for path in sorted((SOURCES / PACKAGE).rglob("*.py")):
        module = path.relative_to(SOURCES / PACKAGE).as_posix()
        if not module.startswith(LEFT_OUT) and (not modules or module.startswith(tuple(modules))):
            sources[module] = path.read_bytes()
    left_out = {entry[:3] for entry in EQUIVALENT}
    every = [
        each
        for module, source in sources.items()
        for each in mutants(module, source)
        if (module, each.before, each.after) not in left_out
    ]
    random.Random(seed).shuffle(every)
    return list(itertools.islice((each for each in every if each.is_python(sources[each.module])), count))


# ── which test executes which line ──────────────────────────────────────────────────────────────────────────────────


class Tracer:
    """A plugin of pytest: what is executed from now on, here and in processes, belongs to the test that runs."""

    def __init__(self, data: Path) -> None:
        """Start to measure; the data go beside `data`."""
        import coverage

        self.passed: dict[str, float] = {}
        self._coverage = coverage.Coverage(config_file=str(ROOT / "pyproject.toml"), data_file=str(data), branch=False)
        self._coverage.start()
        self._config = os.environ["COVERAGE_PROCESS_CONFIG"]

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Name the test in what is measured here, and in the settings that processes inherit."""
        self._coverage.switch_context(nodeid)
        config = {**json.loads(base64.b64decode(self._config)), "context": nodeid}
        os.environ["COVERAGE_PROCESS_CONFIG"] = base64.b64encode(json.dumps(config).encode()).decode()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what a passed test took, in seconds, with its fixtures."""
        self.passed[report.nodeid] = self.passed.get(report.nodeid, 0.0) + report.duration
        if report.outcome != "passed":
            self.passed[report.nodeid] = float("nan")

    def finish(self) -> dict[str, float]:
        """Stop, save, and return the tests that passed."""
        self._coverage.stop()
        self._coverage.save()
        return {name: seconds for name, seconds in self.passed.items() if seconds == seconds}


def trace(data: Path, files: Sequence[str]) -> int:
    """Run test files and measure them; the body of a process of `measure`. Give pytest's exit code."""
    tracer = Tracer(data)
    code = pytest.main(["-q", "-n0", "-p", "no:cacheprovider", "-m", MARKS, *files], plugins=[tracer])
    data.with_suffix(".json").write_text(json.dumps(tracer.finish()), encoding="utf-8")
    return int(code)


def measure(jobs: int) -> None:
    """Measure every test file, and write the map."""
    folder = BUILD / "data"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    files = sorted((ROOT / "tests").glob("test_*.py"), key=lambda path: -path.stat().st_size)
    todo: queue.SimpleQueue[Path] = queue.SimpleQueue()
    for path in files:
        todo.put(path)

    def work(worker: int) -> None:
        environment = _environment(_copied(worker))
        while not todo.empty():
            path = todo.get()
            data = folder / f"{path.stem}"
            with (folder / f"{path.stem}.log").open("w") as log:
                command = [sys.executable, __file__, "--trace", str(data), str(path)]
                code = subprocess.run(
                    command, cwd=ROOT, env=environment, stdout=log, stderr=log, check=False
                ).returncode
            fine = code in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
            print(f"measured {path.name}{'' if fine else f': see {log.name}'}", flush=True)

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        list(pool.map(work, range(jobs)))
    write_map(folder)


def write_map(folder: Path) -> None:
    """Write `MAP` from what was measured: for each module the tests by line, and what each test takes."""
    import coverage

    seconds: dict[str, float] = {}
    for path in folder.glob("*.json"):
        seconds |= json.loads(path.read_text(encoding="utf-8"))
    tests = sorted(seconds)
    number = {name: index for index, name in enumerate(tests)}
    lines: dict[str, dict[str, list[int]]] = {}
    for path in folder.glob("test_*.*"):
        if path.suffix in (".json", ".log"):
            continue
        data = coverage.CoverageData(str(path))
        data.read()
        for file in data.measured_files():
            module = file.rpartition(f"/{PACKAGE}/")[2]
            for line, contexts in data.contexts_by_lineno(file).items():
                found = {number[name] for name in contexts if name in number}
                known = lines.setdefault(module, {}).setdefault(str(line), [])
                known += sorted(found.difference(known))
    MAP.write_text(json.dumps({"digest": _digest(), "tests": tests, "seconds": seconds, "lines": lines}))


def _digest() -> str:
    """A hash of the sources, whose lines the map speaks of."""
    files = sorted((SOURCES / PACKAGE).rglob("*.py"))
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()


class Tests:
    """Knows which tests may notice a mutant."""

    def __init__(self) -> None:
        """Read the map."""
        read = json.loads(MAP.read_text(encoding="utf-8"))
        self.fresh = read["digest"] == _digest()
        self.seconds: dict[str, float] = read["seconds"]
        self._tests: list[str] = read["tests"]
        self._lines: dict[str, dict[str, list[int]]] = read["lines"]

    def of(self, mutant: Mutant, budget: float) -> tuple[list[str], int]:
        """Return tests for a mutant, the quickest first, that take `budget` seconds at most, and how many there are."""
        by_line = self._lines.get(mutant.module, {})
        first, last = mutant.lines or (0, sys.maxsize)
        found = {test for line, tests in by_line.items() if first <= int(line) <= last for test in tests}
        names = sorted((self._tests[index] for index in found), key=self.seconds.__getitem__)
        taken, left = list[str](), budget
        for name in names:
            left -= self.seconds[name]
            if left < 0 and taken:
                break
            taken.append(name)
        return taken, len(names)


# ── the run ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Chosen:
    """A plugin of pytest: runs these tests and no others, in this order."""

    def __init__(self, names: Sequence[str]) -> None:
        """Take their node ids."""
        self._place = {name: place for place, name in enumerate(names)}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out the rest."""
        items[:] = sorted((each for each in items if each.nodeid in self._place), key=lambda i: self._place[i.nodeid])


def show(tests: Path) -> int:
    """Run the tests that a file names until one fails; the body of a process of `survives`."""
    names: list[str] = json.loads(tests.read_text(encoding="utf-8"))
    files = list(dict.fromkeys(name.partition("::")[0] for name in names))
    return int(pytest.main(["-x", "-q", "-n0", "-p", "no:cacheprovider", *files], plugins=[Chosen(names)]))


def survives(mutant: Mutant, names: Sequence[str], limit: float, copied: Path) -> bool:
    """Say whether all tests pass within `limit` seconds though the program is broken."""
    module = copied / PACKAGE / mutant.module
    source = (SOURCES / PACKAGE / mutant.module).read_bytes()
    wanted = copied.parent / "tests.json"
    wanted.write_text(json.dumps(list(names)), encoding="utf-8")
    try:
        _replaced(module, mutant.applied(source))
        with subprocess.Popen(
            [sys.executable, __file__, "--show", str(wanted)],
            cwd=ROOT,
            env=_environment(copied),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as process:
            try:
                code = process.wait(limit)
            except subprocess.TimeoutExpired:
                return False
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
    finally:
        _replaced(module, source)
    # A module that cannot be imported interrupts the collection. Whatever else it is says nothing of the mutant.
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED):
        raise RuntimeError(f"pytest ended with exit code {code} on {mutant}: {', '.join(names[:3])}, …")
    return code == pytest.ExitCode.OK


def _replaced(module: Path, source: bytes) -> None:
    """Write a module, and remove its bytecode: Python takes that for right by time in seconds and size."""
    module.write_bytes(source)
    for old in (module.parent / "__pycache__").glob(f"{module.stem}.*.pyc"):
        old.unlink()


def _copied(worker: int) -> Path:
    """Return a copy of the sources for a worker."""
    copied = BUILD / str(worker) / "src"
    shutil.rmtree(copied, ignore_errors=True)
    shutil.copytree(SOURCES, copied)
    return copied


def _environment(copied: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(copied), str(ROOT / "tests")])}


def run(mutated: Sequence[Mutant], tests: Tests, budget: float, jobs: int) -> list[tuple[Mutant, str]]:
    """Try every mutant; return those that survived, each with what was tried."""
    workers: queue.SimpleQueue[Path] = queue.SimpleQueue()
    for worker in range(jobs):
        workers.put(_copied(worker))

    def tried(mutant: Mutant) -> tuple[Mutant, str]:
        names, known = tests.of(mutant, budget)
        words = ""
        if not names:
            words = "no test executes it"
        else:
            copied = workers.get()
            began = time.monotonic()
            try:
                limit = LONGEST_START + SLOWER * sum(tests.seconds[name] for name in names)
                if survives(mutant, names, limit, copied):
                    words = f"{len(names)} of {known} tests passed"
            finally:
                workers.put(copied)
            print(f"{'SURVIVED' if words else 'killed'} {time.monotonic() - began:5.1f} s  {mutant}", flush=True)
        return mutant, words

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        return [(mutant, words) for mutant, words in pool.map(tried, mutated) if words]


def main(argv: Sequence[str] | None = None) -> int:
    """Give 0 when no more than `--most` in a hundred mutants survived, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100, help="how many mutants (100)")
    parser.add_argument("--seed", type=int, default=1, help="which ones (1)")
    parser.add_argument("--most", type=float, default=8, help="how many in a hundred may survive (8)")
    parser.add_argument("--budget", type=float, default=120, help="seconds of tests that a mutant is shown to (120)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many at a time")
    parser.add_argument("--map", action="store_true", help="measure again which test executes which line")
    parser.add_argument("--trace", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--show", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="such as runs.py or backends/ (everything)")
    options = parser.parse_args(argv)
    if options.trace:
        return trace(options.trace, options.modules)
    if options.show:
        return show(options.show)
    mutated = chosen(options.modules, options.count, options.seed)
    if options.map or not MAP.exists() or not Tests().fresh:
        measure(options.jobs)
    survivors = run(mutated, Tests(), options.budget, options.jobs)
    print(f"\n{len(mutated) - len(survivors)} of {len(mutated)} mutants were noticed")
    for mutant, words in survivors:
        print(f"  {mutant}  ({words})")
    return int(len(survivors) * 100 > options.most * len(mutated))


if __name__ == "__main__":
    sys.exit(main())
