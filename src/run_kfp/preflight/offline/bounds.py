"""How much a pipeline holds, how long its values and times are, and whether that is allowed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from run_kfp.findings import Finding, Severity
from run_kfp.limits import LONGEST_ARGUMENT
from run_kfp.pipeline.resources import holds_placeholder
from run_kfp.pipeline.tables import table_at, waits_for
from run_kfp.plans import Value
from run_kfp.preflight.context import CheckContext
from run_kfp.preflight.offline.spec import Dag, Spec, shown
from run_kfp.preflight.rules import rule

MANY_TASKS = rule("RK-LIMIT-TASKS")
MANY_ARTIFACTS = rule("RK-LIMIT-ARTIFACTS")
PARALLEL = rule("RK-LIMIT-PARALLEL")
LONG_VALUE = rule("RK-VALUE-LONG")
HUGE = rule("RK-SPEC-SIZE")
RETRY = rule("RK-RETRY")
TASK_TIME = rule("RK-TASK-TIME")

_MOST_TASKS = 10_000
_MOST_ARTIFACTS_OF_TASK = 100
_MOST_ARTIFACTS = 10_000
_MOST_AT_ONCE = 600
_LARGEST_SPEC = 4 * 1024 * 1024
_LONGEST_TASK = 7 * 24 * 3600
_LONGEST_BACKOFF = 3600


def check_bounds(context: CheckContext, spec: Spec) -> Iterator[Finding]:
    """Check numbers of tasks and artifacts, lengths of values, the size of the file, retries and times."""
    yield from _check_limits(spec)
    if (size := len(context.pipeline.text.encode(errors="replace"))) > _LARGEST_SPEC:
        yield HUGE(
            spec.at("the file"),
            f"has {size / 1024**2:.1f} MiB, and more than {_LARGEST_SPEC // 1024**2} MiB may be refused",
            "write loops as loops, and put long constants into files",
        )
    yield from _check_values(context, spec)
    yield from _check_retries(spec)


@dataclass(frozen=True)
class _Size:
    """How much a DAG holds, loops counted by their items: all of it, and what no condition may leave out."""

    tasks: int = 0
    sure_tasks: int = 0
    artifacts: int = 0
    sure_artifacts: int = 0
    at_once: int = 0


# Beyond this nothing is told apart any more, so that numbers stay small however deep loops lie in each other.
_ENOUGH = 10**9


def _check_limits(spec: Spec) -> Iterator[Finding]:
    size = _size(spec)
    for number, sure, most, code, words in (
        (size.tasks, size.sure_tasks, _MOST_TASKS, MANY_TASKS, "tasks"),
        (size.artifacts, size.sure_artifacts, _MOST_ARTIFACTS, MANY_ARTIFACTS, "artifacts"),
    ):
        if number > most:
            yield code(
                spec.at("root"),
                f"the job has {_count(number)} {words}, and at most {most:,} are allowed",
                "split them over several pipelines, or process several items in one task",
                None if sure > most else Severity.WARNING,
            )
    if size.at_once > _MOST_AT_ONCE:
        yield PARALLEL(
            spec.at("root"),
            f"{_count(size.at_once)} tasks could run side by side, and {_MOST_AT_ONCE} do",
            "nothing to do, if waiting is acceptable",
        )
    for dag in spec.dags.values():
        for name, task in dag.tasks.items():
            number = _artifacts(spec, task)
            if number > _MOST_ARTIFACTS_OF_TASK:
                yield MANY_ARTIFACTS(
                    spec.at(f"{dag.place}.dag.tasks.{name}"),
                    f"has {number} artifacts as inputs and outputs; at most {_MOST_ARTIFACTS_OF_TASK} are allowed",
                    "put files into a folder that is one artifact",
                )


def _count(number: int) -> str:
    return f"{number:,}" if number < _ENOUGH else "more than a billion"


def _artifacts(spec: Spec, task: Mapping[str, Any]) -> int:
    outputs = table_at(spec.component_of(task), "outputDefinitions", "artifacts")
    return len(table_at(task, "inputs", "artifacts")) + len(outputs)


def _size(spec: Spec) -> _Size:
    """Add up the root DAG, inner DAGs before those that hold them: each is looked at once."""
    inner = {
        name: {str(table_at(task, "componentRef").get("name")) for task in dag.tasks.values()} & spec.dags.keys()
        for name, dag in spec.dags.items()
    }
    sizes: dict[str, _Size] = {}
    waiting = dict(inner)
    while ready := [name for name, parts in waiting.items() if parts <= sizes.keys()]:
        for name in ready:
            sizes[name] = _size_of(spec, spec.dags[name], sizes)
            del waiting[name]
    return sizes.get("", _Size())


def _size_of(spec: Spec, dag: Dag, sizes: Mapping[str, _Size]) -> _Size:
    tasks = sure_tasks = artifacts = sure_artifacts = at_once = 0
    chained = any(waits_for(task) for task in dag.tasks.values())
    for task in dag.tasks.values():
        times = _items(task)
        reference = str(table_at(task, "componentRef").get("name"))
        part = sizes.get(reference) if reference in spec.dags else None
        number = _artifacts(spec, task)
        one = part or _Size(1, 1, number, number, 1)
        sure = 0 if table_at(task, "triggerPolicy").get("condition") else times
        limit = table_at(task, "iteratorPolicy").get("parallelismLimit")
        wide = min(times, int(limit)) if isinstance(limit, int | float) and limit > 0 else times
        tasks, sure_tasks = tasks + times * one.tasks, sure_tasks + sure * one.sure_tasks
        artifacts, sure_artifacts = artifacts + times * one.artifacts, sure_artifacts + sure * one.sure_artifacts
        # Of tasks that wait for others the widest counts: fewer than could be, never more.
        at_once = max(at_once, wide * one.at_once) if chained else at_once + wide * one.at_once
    numbers = (tasks, sure_tasks, artifacts, sure_artifacts, at_once)
    return _Size(*(min(number, _ENOUGH) for number in numbers))


def _items(task: Mapping[str, Any]) -> int:
    """Return how often a task runs: the items of a loop over a constant, else 1 (the least that is known)."""
    raw = table_at(task, "parameterIterator", "items").get("raw")
    if not isinstance(raw, str):
        return 1
    try:
        items = json.loads(raw)
    except (ValueError, RecursionError):
        return 1
    return len(items) if isinstance(items, list) else 1


def _check_values(context: CheckContext, spec: Spec) -> Iterator[Finding]:
    for name, given in context.values.items():
        if isinstance(given, Value) and (size := _bytes(given.value)) >= LONGEST_ARGUMENT:
            yield _long(f"{given.source}: {name}", f"the value of {name}", size)
    for dag in spec.dags.values():
        for name, declared in table_at(dag.component, "inputDefinitions", "parameters").items():
            if (size := _bytes(table_at(declared).get("defaultValue"))) >= LONGEST_ARGUMENT:
                place = f"{dag.place}.inputDefinitions.parameters.{name}.defaultValue"
                yield _long(spec.at(place), f"the default of {name}", size)
        for task_name, task in dag.tasks.items():
            for name, source in table_at(task, "inputs", "parameters").items():
                if (size := _bytes(table_at(source, "runtimeValue").get("constant"))) >= LONGEST_ARGUMENT:
                    place = f"{dag.place}.dag.tasks.{task_name}.inputs.parameters.{name}"
                    yield _long(spec.at(place), f"the constant for {name}", size)
    told: set[str] = set()
    for step in context.steps:
        for key, words in (("command", step.command), ("args", step.args)):
            for number, word in enumerate(words):
                place = f"{step.at(key)}[{number}]"
                # One byte of the limit is for the NUL at the end.
                if (size := len(word.encode(errors="replace"))) >= LONGEST_ARGUMENT and place not in told:
                    told.add(place)
                    yield LONG_VALUE(
                        place,
                        f"has {size:,} bytes; Linux takes fewer than {LONGEST_ARGUMENT:,} in one argument",
                        "put it into a file of the image or of the bucket",
                        Severity.ERROR,
                    )


def _bytes(value: object) -> int:
    if isinstance(value, str):
        return len(value.encode(errors="replace"))
    return len(json.dumps(value, default=str)) if isinstance(value, list | Mapping) else 0


def _long(place: str, what: str, size: int) -> Finding:
    return LONG_VALUE(
        place,
        f"{what} has {size:,} bytes; from {LONGEST_ARGUMENT:,} on it fits into no argument and no output",
        "upload it (gcloud storage cp FILE gs://BUCKET/FILE) and pass /gcs/BUCKET/FILE",
    )


def _check_retries(spec: Spec) -> Iterator[Finding]:
    for dag in spec.dags.values():
        for name, task in dag.tasks.items():
            if "retryPolicy" in task:
                yield from _check_retry(spec.at(f"{dag.place}.dag.tasks.{name}.retryPolicy"), task["retryPolicy"])
    for label, executor in table_at(spec.body, "deploymentSpec", "executors").items():
        words = table_at(executor, "container").get("args")
        for word in words if isinstance(words, list) else ():
            # The payload of Google's own components for custom jobs: JSON with a `scheduling.timeout`.
            for text in re.findall(r'"timeout"\s*:\s*"([0-9]{1,12})s"', word) if isinstance(word, str) else ():
                if int(text) > _LONGEST_TASK:
                    yield _too_long(spec.at(f"deploymentSpec.executors.{label}.container.args"), "timeout", int(text))


def _check_retry(place: str, policy: Any) -> Iterator[Finding]:
    if not isinstance(policy, Mapping):
        yield RETRY(place, "is not a table", "write maxRetryCount and the durations under it")
        return
    for key, value in policy.items():
        if holds_placeholder(value):
            yield RETRY(f"{place}.{key}", "waits for a parameter", "write a literal, and recompile when it changes")
    count = policy.get("maxRetryCount", 0)
    if not holds_placeholder(count) and not (_is_number(count) and count >= 0 and float(count).is_integer()):
        yield RETRY(f"{place}.maxRetryCount", f"is {shown(count)}, and takes an integer from 0", "write 0 for none")
    elif _is_number(count) and count > 10:
        yield RETRY(
            f"{place}.maxRetryCount",
            f"is {count:g}: a step that always fails would run {count + 1:g} times, each on a paid machine",
            "two or three are enough for temporary failures",
            Severity.NOTE,
        )
    factor = policy.get("backoffFactor", 2.0)
    if not holds_placeholder(factor) and not (_is_number(factor) and factor > 0):
        yield RETRY(f"{place}.backoffFactor", f"is {shown(factor)}, and takes a number above 0", "write 2.0")
    for key in ("backoffDuration", "backoffMaxDuration"):
        value = policy.get(key, "0s")
        if holds_placeholder(value):
            continue
        seconds = _seconds(value)
        if seconds is None:
            yield RETRY(f"{place}.{key}", f"is {shown(value)}, and takes seconds with an s", 'write "60s" for a minute')
        elif seconds > _LONGEST_TASK:
            yield _too_long(f"{place}.{key}", key, seconds)
        elif seconds > _LONGEST_BACKOFF:
            yield RETRY(
                f"{place}.{key}",
                f"is {seconds:g} seconds; Vertex AI waits {_LONGEST_BACKOFF} at most",
                f'write "{_LONGEST_BACKOFF}s"',
                Severity.NOTE,
            )


def _too_long(place: str, key: str, seconds: float) -> Finding:
    return TASK_TIME(
        place,
        f"{key} is {seconds / 86400:.3g} days, and a task ends after {_LONGEST_TASK // 86400}",
        "let the step write checkpoints, and split it",
    )


def _seconds(value: object) -> float | None:
    return float(value[:-1]) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,15}(\.[0-9]{1,9})?s", value) else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
