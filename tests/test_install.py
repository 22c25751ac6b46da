"""The documented installs, under the package index of tomorrow; that of the example is in test_example.py."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tomorrow import LOCKS, ROOT, index_of_tomorrow, locked, others

CHECKOUT = ("pyproject.toml", "README.md", "LICENSE", "dev.py", "requirements*.lock", "src", "examples")

pytestmark = [pytest.mark.install, pytest.mark.example]  # they run examples/demo


@pytest.fixture(scope="module")
def tomorrow(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables that put the index of tomorrow in front of the real one."""
    return index_of_tomorrow(tmp_path_factory.mktemp("tomorrow"))


@dataclass(frozen=True)
class Place:
    """A copy of the checkout with an environment beside it, and the index of tomorrow in front of the real one."""

    folder: Path
    python: Path
    env: dict[str, str]

    def sh(self, line: str) -> subprocess.CompletedProcess[str]:
        """Run a line as a user types it, in the checkout, with the environment activated."""
        path = os.pathsep.join([str(self.python.parent), self.env["PATH"]])
        return self.run(["sh", "-c", line], PATH=path, VIRTUAL_ENV=str(self.python.parent.parent))

    def run(self, command: Sequence[str | Path], **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the checkout."""
        return subprocess.run(
            [str(word) for word in command],
            cwd=self.folder,
            env={**self.env, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )

    def installed(self, python: Path | None = None) -> dict[str, str]:
        """The versions in the environment."""
        script = "from importlib import metadata as m; [print(d.name.lower(), d.version) for d in m.distributions()]"
        done = self.run([python or self.python, "-c", script])
        assert done.returncode == 0, done.stderr
        return dict(line.replace("_", "-").split(" ") for line in done.stdout.splitlines())


@pytest.fixture
def place(tmp_path: Path, tomorrow: dict[str, str]) -> Place:
    """A fresh copy of the checkout, without an environment yet."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for pattern in CHECKOUT:
        for source in ROOT.glob(pattern):
            if source.is_dir():
                shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, folder)
    passed = ("PATH", "HOME", "LANG", "SSL_CERT_FILE", "PIP_CERT", "PIP_CACHE_DIR", "PIP_INDEX_URL", "UV_INDEX_URL")
    env = {name: os.environ[name] for name in passed if name in os.environ}
    env |= tomorrow
    # What is installed is looked at, not run for long: compiling it would take most of the time. pip takes the variable
    # for the value of its option `compile` (pip/_internal/cli/parser.py), so that 0 is no.
    env |= {"PIP_NO_COMPILE": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return Place(folder, tmp_path / "venv" / "bin" / "python", env)


def python_of(version: str) -> str:
    """The program of a Python version; where this machine has none, that is said."""
    if sys.version.startswith(f"{version}."):
        return sys.executable
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for program in (shutil.which(f"python{version}"), *sorted(pyenv.glob(f"{version}.*/bin/python{version}"))):
        # A shim of pyenv is there for versions that it does not start.
        if (
            program
            and not subprocess.run([program, "-c", "import ensurepip"], capture_output=True, check=False).returncode
        ):
            return str(program)
    pytest.skip(f"NOT SHOWN, no Python {version} on this machine")


def documented(tool: str) -> Iterator[str]:
    """The lines of docs/install.md that install from the locks."""
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"<!-- locked install -->\s+```sh\n(.*?)```", page, re.DOTALL)
    for line in block.splitlines():
        yield line if tool == "pip" else f"uv {line}"


def with_pip(place: Place, version: str, pip: str) -> None:
    """Make the environment, with another pip than its Python brings."""
    done = place.run([python_of(version), "-m", "venv", place.python.parent.parent])
    assert done.returncode == 0, done.stderr
    done = place.run([place.python, "-m", "pip", "install", "-q", "-U", "pip" if pip == "newest" else f"pip=={pip}"])
    assert done.returncode == 0, done.stderr


def test_the_locks_are_found() -> None:
    """The lists above are not empty by mistake: what asks for an extra is in the index of tomorrow."""
    names = locked(*LOCKS)
    assert {"google-auth", "google-api-core", "kfp", "numpy"} <= names.keys()
    assert len(LOCKS) == 5


@pytest.mark.parametrize(
    ("version", "pip"),
    [("3.11", "22.3"), ("3.13", "newest")],  # 23.2.1 and 24.2 are those that the Pythons below bring
)
def test_the_documented_install_from_the_locks(place: Place, version: str, pip: str) -> None:
    with_pip(place, version, pip)

    for line in documented("pip"):
        done = place.sh(line)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"

    assert_locked(place)


def test_the_documented_install_with_uv(place: Place) -> None:
    done = place.run([python_of("3.11"), "-m", "venv", place.python.parent.parent])
    assert done.returncode == 0, done.stderr
    if not shutil.which("uv"):
        done = place.run([place.python, "-m", "pip", "install", "-q", "--no-deps", UV], PIP_FIND_LINKS="")
        assert done.returncode == 0, done.stderr

    for line in documented("uv"):
        done = place.sh(line)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"

    assert_locked(place)


def assert_locked(place: Place, python: Path | None = None) -> None:
    """The environment has the versions of the lock, and the program of it does its work."""
    installed = place.installed(python)
    assert others(installed, ROOT / "requirements.lock") == {}
    assert {"kfp", "google-auth", "docker"} <= installed.keys()
    program = (python or place.python).with_name("run-kfp")
    done = place.run([program, "-r", "1-4", "--compile-only", "-o", "-"])
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("# PIPELINE DEFINITION")


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_the_first_command_with_the_pip_of_each_python(place: Place, version: str) -> None:
    """The README's first command, in a fresh clone, without uv on the way."""
    python = python_of(version)
    done = place.run([python, "dev.py", "demo"], PATH=without_uv(place.env["PATH"]))

    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert_locked(place, place.folder / ".venv" / "bin" / "python")
    *_, last = done.stdout.splitlines()
    assert re.fullmatch(r"open in a browser: build/demo/\.run-kfp/runs/demo-[0-9]{14}-[0-9a-f]{6}/report\.html", last)
    assert (place.folder / last.removeprefix("open in a browser: ")).is_file()


def test_a_lock_that_is_resolved_takes_what_is_newest(place: Place) -> None:
    """The control: without --no-deps, the index of tomorrow is what stops a pip of Python 3.11."""
    with_pip(place, "3.11", "23.2.1")
    lines = [line.replace("--no-deps --require-hashes", "--require-hashes") for line in documented("pip")]
    assert place.sh(lines[0]).returncode == 0

    done = place.sh(lines[1])

    assert done.returncode != 0
    assert "In --require-hashes mode, all requirements must have their versions pinned" in done.stderr


def test_no_place_resolves_a_lock() -> None:
    """Whatever installs or builds with hashes says --no-deps in the same command."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    places = [
        f"{path}: {line.strip()}"
        for path in tracked
        if (ROOT / path).suffix in ("", ".md", ".py", ".sh", ".bat", ".yml", ".yaml")
        and path != "tests/test_install.py"
        for line in re.sub(r"\\\n\s*", " ", (ROOT / path).read_text(encoding="utf-8")).splitlines()
        if "--require-hashes" in line and "--no-deps" not in line
    ]
    assert places == []


def without_uv(path: str) -> str:
    """A PATH on which there is no uv."""
    return os.pathsep.join(each for each in path.split(os.pathsep) if not (Path(each) / "uv").exists())


UV = next(
    value
    for value in [re.search(r'^UV = "(.+?)"', (ROOT / "dev.py").read_text(encoding="utf-8"), re.MULTILINE)]
    if value
)[1]


def test_the_ranges_hold_the_locked_versions() -> None:
    """What pyproject.toml promises includes what is tested."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {re.split(r"[<>=\[ ]", dependency)[0].lower() for dependency in project["dependencies"]}
    assert names <= locked(ROOT / "requirements.lock").keys()
    assert "optional-dependencies" not in project  # what a user expects to be there is there
