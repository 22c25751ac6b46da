"""The limits of a pipeline at the limit and one beyond, in the words of the finding."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from run_kfp.findings import Finding
from run_kfp.limits import LONGEST_ARGUMENT
from run_kfp.preflight.offline.bounds import check_bounds
from run_kfp.preflight.offline.spec import Spec
from specs import context_of_spec, step_spec


def told(spec: Mapping[str, Any]) -> list[str]:
    """Return severity, place and message of everything that is found."""
    context = context_of_spec(spec)
    found: list[Finding] = list(check_bounds(context, Spec(context.pipeline.spec, "p")))
    return [f"{one.severity} {one.place}: {one.message}" for one in found]


def loop(items: int, **more: Any) -> dict[str, Any]:
    """Return a spec whose one task runs so many times."""
    raw = json.dumps([0] * items)
    return step_spec({}, parameterIterator={"itemInput": "x", "items": {"raw": raw}}, **more)


@pytest.mark.parametrize(
    ("items", "more", "expected"),
    [
        (600, {}, []),
        (601, {}, ["note p: root: 601 tasks could run side by side, and 600 do"]),
        (1000, {"iteratorPolicy": {"parallelismLimit": 600}}, []),
        (1000, {"iteratorPolicy": {"parallelismLimit": 601}}, ["601"]),
        (601, {"iteratorPolicy": {"parallelismLimit": 0}}, ["601"]),
        (10_000, {"iteratorPolicy": {"parallelismLimit": 1}}, []),
        (
            10_001,
            {"iteratorPolicy": {"parallelismLimit": 1}},
            ["error p: root: the job has 10,001 tasks, and at most 10,000 are allowed"],
        ),
        (
            10_001,
            {"iteratorPolicy": {"parallelismLimit": 1}, "triggerPolicy": {"condition": "true"}},
            ["warning p: root: the job has 10,001 tasks, and at most 10,000 are allowed"],
        ),
    ],
)
def test_tasks(items: int, more: dict[str, Any], expected: list[str]) -> None:
    found = told(loop(items, **more))
    assert len(found) == len(expected)
    assert all(words in line for words, line in zip(expected, found, strict=True))


@pytest.mark.parametrize(
    ("number", "items", "expected"),
    [
        (100, 100, []),
        (101, 99, ["error p: root.dag.tasks.step: has 101 artifacts as inputs and outputs; at most 100 are allowed"]),
        (100, 101, ["error p: root: the job has 10,100 artifacts, and at most 10,000 are allowed"]),
    ],
)
def test_artifacts(number: int, items: int, expected: list[str]) -> None:
    spec = loop(items)
    schema = {"artifactType": {"schemaTitle": "system.Artifact"}}
    spec["components"]["comp-step"]["outputDefinitions"] = {"artifacts": {f"a{n}": schema for n in range(number)}}
    assert told(spec) == expected


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_the_longest_values(more: int) -> None:
    size = LONGEST_ARGUMENT + more
    text = "é" + "x" * (size - 2)
    spec = step_spec(
        {"command": ["a", text], "args": [text]},
        inputs={"parameters": {"x": {"runtimeValue": {"constant": text}}}},
    )
    spec["components"]["comp-step"]["inputDefinitions"] = {"parameters": {"x": {"parameterType": "STRING"}}}
    declared = {
        "a": {"parameterType": "STRING", "defaultValue": text},
        "b": {"parameterType": "LIST", "defaultValue": ["x" * (size - 4)]},
    }
    spec["root"]["inputDefinitions"] = {"parameters": declared}
    fits = f"{size:,} bytes; from 131,072 on it fits into no argument and no output"
    takes = f"has {size:,} bytes; Linux takes fewer than 131,072 in one argument"
    container = "deploymentSpec.executors.exec-step.container"
    expected = [
        f"warning p: root.inputDefinitions.parameters.a.defaultValue: the default of a has {fits}",
        f"warning p: root.inputDefinitions.parameters.b.defaultValue: the default of b has {fits}",
        f"warning p: root.dag.tasks.step.inputs.parameters.x: the constant for x has {fits}",
        f"error pipeline.yaml: {container}.command[1]: {takes}",
        f"error pipeline.yaml: {container}.args[0]: {takes}",
    ]
    assert told(spec) == (expected if more >= 0 else [])


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("maxRetryCount", 10, []),
        ("maxRetryCount", 11, ["note"]),
        ("maxRetryCount", 0, []),
        ("maxRetryCount", 0.5, ["error"]),
        ("backoffFactor", 0.1, []),
        ("backoffDuration", "3600s", []),
        ("backoffDuration", "3601s", ["note"]),
        ("backoffMaxDuration", "604800s", ["note"]),
        ("backoffMaxDuration", "604801s", ["warning"]),
    ],
)
def test_retries(key: str, value: object, expected: list[str]) -> None:
    assert [line.partition(" ")[0] for line in told(step_spec({}, retryPolicy={key: value}))] == expected
