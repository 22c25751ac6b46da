"""What every place to run promises alike: Vertex AI (the fake), processes and a Docker Engine of this machine."""

from __future__ import annotations

import json
import subprocess
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from google.cloud.aiplatform_v1.types import PipelineJob
from google.protobuf import json_format

from conftest import Cli, Result, Write
from dermaid import SETTINGS, canary
from fakes.vertex import FakeVertex
from local_pipelines import latest, log
from run_kfp.backends import load_backend
from run_kfp.runs import BackendName

# The step whose name the tag is fails; with the tag `wait` a step goes on until it is stopped.
SCRIPT = """
echo "$0 got $*"
if [ "$1" = "$0" ]; then echo "it broke" >&2; exit 3; fi
if [ "$1" = "wait" ]; then exec sleep 100; fi
"""

REGISTRY = """
[pipeline]
name = "chain"
"""
STEP = """
[containers.{index}]
name = "{name}"
image = "{image}"
command = {command}
args = [{{ param = "tag" }}, {{ secret = "key" }}]
process = {{ cwd = ".", entrypoint = {command} }}
"""
SECRET = """
[secrets.key]
env = "KEY"
"""
STEPS = ("first", "second", "third")


@dataclass
class Place(ABC):
    """The program in a folder with the registry, and the flags that make a run in one place."""

    cli: Cli
    secret: str = field(default_factory=lambda: canary("key"))

    scheme = BackendName.LOCAL
    flags: tuple[str, ...] = ()

    def run(self, tag: str, *more: str) -> Result:
        """Run the three steps to their end."""
        return self.cli("-r", "1-3", "-t", tag, *self.flags, *more, KEY=self.secret)

    @abstractmethod
    def fails(self, step: str) -> None:
        """Let a step fail, of a run whose tag is its name."""

    @abstractmethod
    def cancelled(self) -> Result:
        """Make a run that is cancelled by somebody while it goes on."""

    @abstractmethod
    def arguments(self, step: str) -> list[str]:
        """What the container of a step got in the last run."""

    @abstractmethod
    def was_asked(self) -> bool:
        """Say whether anything of a run has reached the place."""


class OnVertex(Place):
    """Vertex AI, which follows a script."""

    scheme = BackendName.VERTEX

    def __init__(self, cli: Cli, vertex: FakeVertex) -> None:
        super().__init__(cli)
        self.vertex = vertex
        vertex.succeeds()
        self.flags = ("--no-check", "--api-endpoint", vertex.endpoint, "--wait", "--poll-every", "0.05")

    def fails(self, step: str) -> None:
        self.vertex.fails(step, "it broke")

    def cancelled(self) -> Result:
        self.vertex.cancelled()
        return self.run("v1")

    def arguments(self, step: str) -> list[str]:
        job: Any = json_format.MessageToDict(PipelineJob.pb(self.vertex.creates[-1].pipeline_job))
        values = job["runtimeConfig"]["parameterValues"]
        return [values["tag"], values["key"]]

    def was_asked(self) -> bool:
        return bool(self.vertex.requests)


class OnThisMachine(Place):
    """Processes or containers, which do what the script says."""

    def __init__(self, cli: Cli, engine: str) -> None:
        super().__init__(cli)
        self.flags = ("--local", "--engine", engine)

    def fails(self, step: str) -> None:
        """The script sees to it."""

    def cancelled(self) -> Result:
        process = self.cli.start("-r", "1-3", "-t", "wait", *self.flags, KEY=self.secret)
        assert process.stdout is not None
        ref = process.stdout.readline().strip()
        assert self.cli("cancel", ref).code == 0
        out, err = process.communicate(timeout=120)
        return Result(process.returncode, f"{ref}\n{out}", err)

    def arguments(self, step: str) -> list[str]:
        (line,) = [line for line in log(self.cli.folder, latest(self.cli.folder), step) if line.startswith(step)]
        return line.split()[2:]

    def was_asked(self) -> bool:
        return (self.cli.folder / ".run-kfp").exists()


@pytest.fixture(params=["vertex", "process", pytest.param("docker", marks=pytest.mark.engine)])
def place(request: pytest.FixtureRequest, folder: Path, write: Write) -> Place:
    image, variables = "nobody/made-this", dict(SETTINGS)
    if request.param == "docker":
        image = request.getfixturevalue("busybox")
        variables |= request.getfixturevalue("engine").env()
    tables = (
        STEP.format(index=index, name=name, image=image, command=json.dumps(["sh", "-c", SCRIPT, name]))
        for index, name in enumerate(STEPS, 1)
    )
    write("run-kfp.toml", "".join([REGISTRY, *tables, SECRET]))
    if request.param != "vertex":
        return OnThisMachine(Cli(folder, variables), request.param)
    vertex = request.getfixturevalue("vertex")
    key = str(request.getfixturevalue("account_key_file"))
    variables |= {**vertex.environment(), "GOOGLE_APPLICATION_CREDENTIALS": key}
    return OnVertex(Cli(folder, variables), vertex)


def steps_of(result: Result) -> dict[str, str]:
    """The states of the steps at the end, by name."""
    data = json.loads(result.out[result.out.rindex('{"event": "end"') if '"event"' in result.out else 0 :])
    return {step["name"]: step["state"] for step in data["steps"]}


def test_a_run_that_succeeds(place: Place) -> None:
    result = place.run("v1")

    assert result.code == 0, result.err
    (ref,) = result.out.splitlines()
    assert ref.startswith(f"{place.scheme}://")
    assert steps_of(place.run("v1", "--json")) == dict.fromkeys(STEPS, "SUCCEEDED")


def test_a_run_that_fails_names_its_step(place: Place) -> None:
    place.fails("second")
    result = place.run("second", "--json")

    assert result.code == 5
    assert "step second" in result.err
    assert "it broke" in result.err
    assert steps_of(result) == {"first": "SUCCEEDED", "second": "FAILED", "third": "SKIPPED"}


def test_a_run_that_is_cancelled_is_neither_a_success_nor_a_failure(place: Place) -> None:
    result = place.cancelled()

    assert result.code == 6
    assert f"the run was canceled: {result.out.split()[0]}" in result.err


def test_a_secret_arrives_and_is_not_told(place: Place) -> None:
    place.fails("third")
    result = place.run("third")

    assert place.arguments("third") in (["third", place.secret], ["third", "***"])
    assert place.secret not in result.out + result.err
    for path in place.cli.folder.rglob("*"):
        assert not path.is_file() or place.secret.encode() not in path.read_bytes()


def test_a_plan_asks_nobody(place: Place) -> None:
    flags = [flag for flag in place.flags if flag not in ("--no-check", "--wait", "--poll-every", "0.05")]
    result = place.cli("-r", "1-3", "-t", "v1", *flags, "--dry-run", "--json", KEY=place.secret)

    assert result.code == 0, result.err
    assert result.json["parameter_values"]["key"] == {"secret": "key", "from": "environment KEY"}
    assert not place.was_asked()


def test_what_is_missing_is_told_at_once_and_nothing_runs(place: Place) -> None:
    result = place.cli("-r", "1-3", *place.flags)

    assert result.code == 2
    assert "missing tag" in result.err
    assert "secret key" in result.err
    assert not place.was_asked()


def test_the_file_that_is_compiled_is_the_file_that_runs(place: Place) -> None:
    assert place.cli("-r", "1-3", "--compile-only", "-o", "compiled.yaml").code == 0
    result = place.cli("-f", "compiled.yaml", "-t", "v1", *place.flags, KEY=place.secret)
    again = place.run("v1")

    assert (result.code, again.code) == (0, 0), result.err
    files = [(place.cli.folder / name).read_bytes() for name in ("compiled.yaml", "pipeline.yaml")]
    assert files[0] == files[1]


# ── the table ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", [name for name in BackendName if name is not BackendName.LOCAL])
def test_a_backend_is_loaded_without_its_sdk(name: BackendName) -> None:
    script = (
        f"import sys; from run_kfp.backends import load_backend; load_backend({str(name)!r}); "
        "print(*(name for name in sys.modules if name.startswith(('google.cloud.', 'grpc', 'kfp'))))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.split() == []
    assert callable(load_backend(name).plan)
