"""Processes that tests start: Ctrl-C reaches them whoever started the tests, and none outlives its test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from conftest import group_of

TESTS = Path(__file__).parent

# Starts a program as tests do, under a parent that ignores Ctrl-C.
PARENT = """
import signal, subprocess, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
import conftest
subprocess.run([sys.executable, "-c", "import signal; print(signal.getsignal(signal.SIGINT).__name__)"], check=True)
"""

# A test that leaves a process, and one behind it that tells whether it is gone.
LEAVES = """
import subprocess, sys
from conftest import *
from conftest import _nothing_is_left_running
left = []
def test_one():
    left.append(killed_after_the_test(subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])))
def test_two():
    assert left[0].returncode == -9
"""


def test_a_parent_that_ignores_ctrl_c_does_not_pass_that_on() -> None:
    done = subprocess.run([sys.executable, "-c", PARENT], cwd=TESTS, capture_output=True, text=True)

    assert done.stdout == "default_int_handler\n", done.stderr


def test_what_a_test_started_is_killed_behind_it(tmp_path: Path) -> None:
    (tmp_path / "test_leaves.py").write_text(LEAVES, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", "."]
    done = subprocess.run(
        [*command, "test_leaves.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(TESTS), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


def test_what_takes_the_machine_is_done_by_one_worker(request: pytest.FixtureRequest) -> None:
    for item in request.session.items:
        heavy = {"engine", "browser"} & set(getattr(item, "fixturenames", ())) or item.get_closest_marker("example")
        if item.get_closest_marker("install"):
            assert group_of(item.nodeid) == "install"
        elif heavy:
            assert group_of(item.nodeid) == "machine"
    assert group_of("tests/test_started.py::test_one") == "tests/test_started.py::test_one"
    assert group_of("tests/test_local_docker.py::test_one") == group_of("tests/test_example.py::test_two") == "machine"
