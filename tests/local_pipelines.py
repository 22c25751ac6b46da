"""Pipeline files as another tool might write them, and the program pointed at an Engine."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from conftest import Cli
from engine import Engine


def task(
    image: str,
    command: Sequence[str] = (),
    args: Sequence[str] = (),
    *,
    after: Sequence[str] = (),
    inputs: Mapping[str, Any] | None = None,
    resources: Mapping[str, Any] | None = None,
    env: Mapping[str, str] | None = None,
    outputs: Sequence[str] = (),
    **more: Any,
) -> dict[str, Any]:
    """A task as a test thinks of it; `pipeline_text` spreads it over the places of a pipeline file.

    `inputs` maps a name to a parameter (`"$tag"`), an output of a task (`"make.out"`), or anything else as a constant.
    """
    return locals()


def pipeline_text(name: str, tasks: Mapping[str, Mapping[str, Any]], parameters: Sequence[str] = ()) -> str:
    """Return the file of a pipeline."""
    spec: dict[str, Any] = {
        "pipelineInfo": {"name": name},
        "schemaVersion": "2.1.0",
        "sdkVersion": "another-tool",
        "components": {},
        "deploymentSpec": {"executors": {}},
        "root": {"dag": {"tasks": {}}},
    }
    if parameters:
        spec["root"]["inputDefinitions"] = {"parameters": {key: {"parameterType": "STRING"} for key in parameters}}
    for key, body in tasks.items():
        container = {
            "image": body["image"],
            **({"command": list(body["command"])} if body["command"] else {}),
            **({"args": list(body["args"])} if body["args"] else {}),
            **({"env": [{"name": n, "value": v} for n, v in body["env"].items()]} if body["env"] else {}),
            **({"resources": body["resources"]} if body["resources"] else {}),
        }
        inputs = {name: _source(value) for name, value in (body["inputs"] or {}).items()}
        spec["deploymentSpec"]["executors"][f"exec-{key}"] = {"container": container}
        spec["components"][f"comp-{key}"] = {
            "executorLabel": f"exec-{key}",
            "inputDefinitions": {"parameters": {name: {"parameterType": "STRING"} for name in inputs}},
            "outputDefinitions": {"parameters": {name: {"parameterType": "STRING"} for name in body["outputs"]}},
        }
        spec["root"]["dag"]["tasks"][key] = {
            "componentRef": {"name": f"comp-{key}"},
            "taskInfo": {"name": key},
            "dependentTasks": list(body["after"]),
            "inputs": {"parameters": inputs},
            **body["more"],
        }
    return yaml.safe_dump(spec)


def _source(value: Any) -> dict[str, Any]:
    if isinstance(value, str) and value.startswith("$"):
        return {"componentInputParameter": value[1:]}
    if isinstance(value, str) and value.count(".") == 1 and " " not in value:
        producer, key = value.split(".")
        return {"taskOutputParameter": {"producerTask": producer, "outputParameterKey": key}}
    return {"runtimeValue": {"constant": value}}


def on(engine: Engine, folder: Path, **variables: str) -> Cli:
    """The program, in `folder`, with this Engine for its Docker."""
    return Cli(folder, {**engine.env(), **variables})


def latest(folder: Path) -> dict[str, Any]:
    """The record of the newest run."""
    records = [json.loads(path.read_text(encoding="utf-8")) for path in (folder / ".run-kfp/runs").glob("*/run.json")]
    record: dict[str, Any] = max(records, key=lambda record: str(record["created"]))
    return record


def steps(record: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Its steps by name."""
    return {step["name"]: step for step in record["steps"]}


def log(folder: Path, record: Mapping[str, Any], step: str) -> list[str]:
    """The lines of a step, without time and stream."""
    path = folder / ".run-kfp/runs" / record["id"] / steps(record)[step]["log"]
    return [line.split(" ", 2)[2] for line in path.read_text(encoding="utf-8").splitlines()]


def containers(engine: Engine) -> list[str]:
    """Every container of runs of this program that the Engine knows, in any state."""
    return engine.docker("ps", "--all", "--quiet", "--filter", "label=run-kfp.run").stdout.split()
