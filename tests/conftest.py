"""What every test may ask for: the program as a process of its own, in an empty folder, with an empty environment."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import hypothesis
import pytest

pytest_plugins = ["fakes.fixtures", "engine.fixtures", "warm"]

# A generated example has no time limit of its own: on a busy machine any of them can be slow.
hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.load_profile("tests")

PROGRAM = [sys.executable, "-m", "run_kfp"]

_PASSED_ON = ("PATH", "SYSTEMROOT", "PYTHONPATH", "COVERAGE_PROCESS_CONFIG")  # the last is set where it is measured
BASE = {
    **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
    # Nobody's login is found, and no machine of Google's is looked for.
    "LANG": "C.UTF-8",
    "NO_GCE_CHECK": "true",
    "PYTHONWARNINGS": "error",
    # The fakes of these tests listen there, and the factories are theirs; tests/test_trust.py takes both away.
    "RUN_KFP_TRUST_HOSTS": "127.0.0.1,localhost",
    "RUN_KFP_ALLOW_FACTORIES": "1",
}

# A parent that ignores Ctrl-C (nohup, a job in the background of a script) bequeaths that to all that is started here,
# and no test could interrupt the program. A handler is not inherited; this one goes on ignoring it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, lambda *_: None)

_started: list[subprocess.Popen[Any]] = []

Process = TypeVar("Process", bound="subprocess.Popen[Any]")


def killed_after_the_test(process: Process) -> Process:
    """Return `process`, which will not outlive the test, however that ends."""
    _started.append(process)
    return process


@pytest.fixture(autouse=True)
def _nothing_is_left_running() -> Iterator[None]:
    yield
    while _started:
        with _started.pop() as process:  # closes its pipes and waits
            process.kill()


# What takes the machine (a Docker Engine, the example, a browser) is done by one worker, the installs by one, and the
# rest meanwhile by the others; so what such tests share is made once, as without workers.
_TOGETHER = {"install": re.compile(r"mark\.install\b"), "machine": re.compile(r"mark\.(engine|example)\b|\bBrowser\b")}


@cache
def _together(file: str) -> str | None:
    text = (Path(__file__).parent.parent / file).read_text(encoding="utf-8")
    return next((name for name, mark in _TOGETHER.items() if mark.search(text)), None)


def group_of(nodeid: str) -> str:
    """Return what a test is done together with, by one worker: itself, or the tests of all files of a group.

    By file: with pytest 9.2 the mark `xdist_group` has no effect (pytest-dev/pytest-xdist#1386), and who distributes
    the tests knows their names alone.
    """
    return _together(nodeid.partition("::")[0]) or nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadScopeScheduling

    scheduler = LoadScopeScheduling(config, log)  # the largest group first
    scheduler._split_scope = group_of
    return scheduler


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Start no workers where single tests are asked for: `-s` and a debugger work there, and it is quicker.

    Else one more than there are processors: a worker that waits for Docker or for an install leaves one free.
    """
    return 0 if any("::" in arg for arg in config.args) else (os.cpu_count() or 1) + 1


@dataclass(frozen=True)
class Result:
    """How a process ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What `--json` printed."""
        return json.loads(self.out)


@dataclass(frozen=True)
class Cli:
    """Runs `run-kfp` in a folder, with nothing of the tester's own environment but what a process needs to start."""

    folder: Path
    variables: Mapping[str, str]

    def environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        """Return the whole environment of a call."""
        needed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}  # as it is now
        return {**BASE, **needed, "HOME": str(self.folder / "home"), **self.variables, **variables}

    def start(self, *args: str | Path, **variables: str) -> subprocess.Popen[str]:
        """Start the program and return at once; it is killed at the end of the test."""
        return killed_after_the_test(
            subprocess.Popen(
                [*PROGRAM, *map(str, args)],
                cwd=self.folder,
                env=self.environment(variables),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
            )
        )

    def __call__(self, *args: str | Path, **variables: str) -> Result:
        """Run the program to its end; a test that waits for more than two minutes has failed."""
        import warm  # a plugin: pytest comes first

        ended = warm.call([*map(str, args)], self.folder, self.environment(variables), BASE, timeout=120)
        if ended is not None:
            code, *streams = ended
            return Result(code, *(stream.decode("utf-8").replace("\r\n", "\n") for stream in streams))
        process = self.start(*args, **variables)
        out, err = process.communicate(timeout=120)
        return Result(process.returncode, out, err)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder to work in."""
    made = tmp_path / "work"
    made.mkdir()
    return made


@pytest.fixture
def cli(folder: Path) -> Cli:
    """The program, in an empty folder, with no variable set and no credentials."""
    return Cli(folder, {})


Write = Callable[[str, str], Path]


@pytest.fixture
def write(folder: Path) -> Write:
    """Write a text file into the folder."""

    def write_file(name: str, text: str) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write_file
