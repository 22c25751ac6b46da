"""Pipelines that other tools compiled: what is told of them, and what they do on this machine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import Cli, Write
from engine import Engine
from local_pipelines import latest, log, on

CASES = Path(__file__).with_name("cases")

SETTINGS = """
[settings]
project = "acme-project"
region = "us-central1"
bucket = "acme-bucket"
service_account = "runner@acme-project.iam.gserviceaccount.com"

[containers.1]
name = "none"
image = "acme/none:1"
"""

# Told of every call of these tests, and not what they are about.
AROUND = {"RK-LOGIN-MISSING"}


@pytest.fixture
def program(cli: Cli, write: Write) -> Cli:
    """The program in a folder with settings alone and every file of `tests/cases`."""
    write("run-kfp.toml", SETTINGS)
    for file in CASES.iterdir():
        shutil.copy(file, cli.folder / file.name)
    return cli


def findings(program: Cli, *args: str) -> list[tuple[str, str, str]]:
    """Return severity, code and text of what `check` finds, without the project's own login."""
    result = program("check", *args, "--offline", "--json")
    found = json.loads(result.out)["findings"]
    return [
        (one["severity"], one["code"], f"{one['place']}: {one['message']} → {one['hint']}")
        for one in found
        if one["code"] not in AROUND
    ]


def told(found: list[tuple[str, str, str]]) -> list[tuple[str, str]]:
    """Return severity and code of each."""
    return [(severity, code) for severity, code, _ in found]


def changed(program: Cli, name: str, **changes: Any) -> None:
    """Write a case again, with parts of it replaced: `a__b__c` names a place."""
    path = program.folder / name
    spec = yaml.safe_load(path.read_text(encoding="utf-8"))
    for place, value in changes.items():
        *way, last = place.split("__")
        inner = spec
        for key in way:
            inner = inner[key.replace("_", "-") if key.replace("_", "-") in inner else key]
        inner[last] = value
    path.write_text(yaml.safe_dump(spec), encoding="utf-8")


# ── values ──────────────────────────────────────────────────────────────────────────────────────────────────────────

GRID = [16, [-3, 0.5, [2]], True, {"depth": 4}, 9007199254740991, 1e300]
TOPIC = "{{$.inputs.parameters['pipelinechannel--topic']}}"


def seen(folder: Path) -> None:
    """Compare what the two steps of `numbers.yaml` printed."""
    record = latest(folder)
    everything, numbers, grid, settings, seed, _ = log(folder, record, "fold")
    expected = {TOPIC: "a key is left as it is", "nested": [{"of": "<rain>"}, 3], "off": False}
    assert json.loads(everything)["inputs"]["parameterValues"] == {
        "grid": GRID,
        "note": "about rain",
        "pipelinechannel--topic": "rain",
        "rounds": 3,
        "scale": 2.5,
        "settings": expected,
        "seed": -7,
    }
    # A float would be equal to them.
    assert '"rounds": 3,' in everything
    assert '"grid": [16, [-3, 0.5, [2]], true, {"depth": 4}, 9007199254740991, 1e+300]' in everything
    assert (numbers, seed) == ("3/2.5", "-7")
    assert grid == '[16, [-3, 0.5, [2]], true, {"depth": 4}, 9007199254740991, 1e+300]'
    assert json.loads(settings) == expected
    whole, best = log(folder, record, "report")
    assert '"best": [4, {"at": 2}]' in whole
    assert best == '[4, {"at": 2}]'


@pytest.mark.engine
def test_whole_numbers_and_references_inside_of_constants(
    engine: Engine, busybox: str, program: Cli, folder: Path
) -> None:
    text = (folder / "numbers.yaml").read_text(encoding="utf-8").replace("busybox:1.36", busybox)
    (folder / "numbers.yaml").write_text(text, encoding="utf-8")

    result = on(engine, folder)("-f", "numbers.yaml", "--local")

    assert result.code == 0, result.err
    seen(folder)


def test_the_same_values_reach_processes(program: Cli, folder: Path, write: Write) -> None:
    spec = yaml.safe_load((folder / "numbers.yaml").read_text(encoding="utf-8"))
    entries = ""
    for number, name in enumerate(("fold", "report"), 2):
        command = spec["deploymentSpec"]["executors"][f"exec-{name}"]["container"]["command"]
        entries += f'[containers.{number}]\nname = "{name}"\nimage = "busybox:1.36"\ncommand = {json.dumps(command)}\n'
        entries += f'process = {{ cwd = ".", entrypoint = {json.dumps(command)} }}\n'
    write("run-kfp.toml", SETTINGS + entries)

    result = program("-f", "numbers.yaml", "--local", "--engine", "process")

    assert result.code == 0, result.err
    seen(folder)


def test_a_reference_inside_of_a_constant_that_stands_for_nothing(program: Cli, folder: Path) -> None:
    text = (folder / "numbers.yaml").read_text(encoding="utf-8")
    (folder / "numbers.yaml").write_text(text.replace("of: '<{{$.inputs", "of: '<{{$.input"), encoding="utf-8")

    result = program("-f", "numbers.yaml", "--local", "--dry-run")

    assert result.code == 2
    assert "step fold holds {{$.input.parameters['pipelinechannel--topic']}}, which nothing fills" in result.err
    assert "did you mean 'inputs.parameters'?" in result.err
