"""What every test may ask for: the program as a process of its own, in an empty folder, with an empty environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest_plugins = ["fakes.fixtures", "engine.fixtures"]

PROGRAM = [sys.executable, "-m", "run_kfp"]


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
        needed = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "PYTHONPATH") if name in os.environ}
        # Nobody's login is found, and no machine of Google's is looked for.
        base = {"HOME": str(self.folder / "home"), "LANG": "C.UTF-8", "NO_GCE_CHECK": "true", "PYTHONWARNINGS": "error"}
        return {**needed, **base, **self.variables, **variables}

    def start(self, *args: str | Path, **variables: str) -> subprocess.Popen[str]:
        """Start the program and return at once."""
        return subprocess.Popen(
            [*PROGRAM, *map(str, args)],
            cwd=self.folder,
            env=self.environment(variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )

    def __call__(self, *args: str | Path, **variables: str) -> Result:
        """Run the program to its end; a test that waits for more than two minutes has failed."""
        process = self.start(*args, **variables)
        try:
            out, err = process.communicate(timeout=120)
        except BaseException:
            process.kill()
            process.communicate()
            raise
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
