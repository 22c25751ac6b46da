"""Placeholders of a pipeline spec: those that nothing fills, and names that a component or a task does not have."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from run_kfp.errors import did_you_mean
from run_kfp.findings import Finding, Severity
from run_kfp.pipeline.placeholders import texts_of, unfilled
from run_kfp.pipeline.tables import table_at
from run_kfp.preflight.offline.spec import Spec, names_in_words
from run_kfp.preflight.rules import rule

# More findings of one place say nothing more.
_MOST = 20

PLACEHOLDER = rule("RK-PLACEHOLDER-UNKNOWN")

_PLACEHOLDER = re.compile(
    r"""\{\{\$\.(?P<way>inputs|outputs)\.(?P<kind>parameters|artifacts)\[\s*(?P<quote>['"])(?P<name>[^'"]*+)(?P=quote)\s*\]"""
)


def check_executor(
    spec: Spec, label: str, executor: Mapping[str, Any], component: Mapping[str, Any]
) -> Iterator[Finding]:
    """Check the placeholders in command, args and environment of a container."""
    body = table_at(executor, "container")
    told: set[tuple[str, str, str]] = set()
    for key in ("command", "args", "env"):
        place = spec.at(f"deploymentSpec.executors.{label}.container.{key}")
        texts = [text for text in texts_of(body.get(key)) if not _is_source(key, text)]
        yield from check_unfilled(place, texts)
        for way, kind, name in (found for text in texts for found in named(text)):
            declared = _declared(component, way)
            known = declared[kind] if kind else [*declared["parameters"], *declared["artifacts"]]
            if name in known or (way, kind, name) in told or key == "env":
                continue
            told.add((way, kind, name))
            shown = f"{way} {kind[:-1]}" if kind else way
            yield PLACEHOLDER(
                place,
                f"refers to the {shown.replace('inputs', 'input').replace('outputs', 'output')} {name!r}, "
                "which its component does not declare",
                did_you_mean(name, known)
                or (f"it declares {names_in_words(list(known))}" if known else "it declares none"),
            )


def _is_source(key: str, text: str) -> bool:
    """Say whether a text is the source code of one of kfp's Python components, which may speak of placeholders."""
    return key == "command" and "\n" in text


def check_unfilled(place: str, texts: list[str]) -> Iterator[Finding]:
    """Yield a finding for each placeholder of some texts that Vertex AI does not fill."""
    found = (wrong for text in texts for wrong in unfilled(text))
    for wrong in dict.fromkeys(itertools.islice(found, _MOST)):
        if wrong.of_server:
            yield PLACEHOLDER(
                place,
                f"{wrong.text} is filled by a KFP server, and not by Vertex AI",
                "write to /gcs/BUCKET/…, or pass the path as a parameter",
                Severity.WARNING,
            )
        else:
            yield PLACEHOLDER(
                place,
                f"unknown placeholder {wrong.text}",
                wrong.hint or "remove it; docs: kfp.dsl, placeholders",
                # It may be newer than this program.
                None if wrong.hint else Severity.WARNING,
            )


def check_constant(place: str, task: Mapping[str, Any], constant: Any) -> Iterator[Finding]:
    """Check the placeholders in a constant input of a task, which may be a list or a table."""
    texts = list(texts_of(constant))
    yield from check_unfilled(place, texts)
    for way, kind, name in dict.fromkeys(found for text in texts for found in named(text)):
        if way == "inputs" and kind and name not in table_at(task, "inputs", kind):
            yield PLACEHOLDER(
                place,
                f"refers to the input {kind[:-1]} {name!r}, which the task does not have",
                did_you_mean(name, table_at(task, "inputs", kind)) or "add it as an input of the task",
            )


def _declared(component: Mapping[str, Any], way: str) -> dict[str, Mapping[str, Any]]:
    definitions = "inputDefinitions" if way == "inputs" else "outputDefinitions"
    return {kind: table_at(component, definitions, kind) for kind in ("parameters", "artifacts")}


def named(word: str) -> Iterator[tuple[str, str, str]]:
    """Yield way, kind ("" for either) and name of what a word refers to."""
    for match in _PLACEHOLDER.finditer(word.replace('\\"', '"')):
        yield match["way"], match["kind"], match["name"]
    if word.lstrip().startswith("{") and "IfPresent" in word:
        for name in re.findall(r'"InputName"\s*:\s*"([^"\\]*)"', word):
            yield "inputs", "", name
