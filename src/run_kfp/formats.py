"""A check's result for other programs: GitHub's log, SARIF and JUnit, each made of the data that `--json` prints.

The data is masked before it comes here. It has the findings of a check, or an `error` where there was none.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

Data = Mapping[str, Any]

NAME = "run-kfp"


def _failure(data: Data) -> Data | None:
    """Return the error that kept the check from being made; None where it was made, whatever it found."""
    error: Data | None = data.get("error")
    return None if error is None or "findings" in data else error


def _paragraphs(found: Data) -> Iterator[str]:
    """Yield what a finding says behind its message."""
    if found["severity"] != "skipped":
        yield f"Otherwise, {found['when']}: {found['otherwise']}."
    if found["hint"]:
        yield f"Next: {found['hint']}"


def _from_workspace(file: str | None) -> str | None:
    """Return a file of the current folder as GitHub finds it, which starts from the checkout where a job runs."""
    workspace = os.environ.get("GITHUB_WORKSPACE")
    if not file or not workspace:
        return file
    path = Path(file).absolute()
    return path.relative_to(workspace).as_posix() if path.is_relative_to(workspace) else file


def _said(error: Data) -> str:
    """Return an error with its hint and its faults, a line each."""
    told = [error, *error.get("faults", ())]
    return "\n".join(f"{each['message']}" + (f" → {each['hint']}" if each.get("hint") else "") for each in told)


# ── GitHub ───────────────────────────────────────────────────────────────────────────────────────────────────────────

_COMMANDS = {"error": "error", "warning": "warning"}  # a notice for the others


def github(data: Data) -> str:
    """Return workflow commands, which GitHub shows as annotations of the lines of a pull request.

    Source: https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands, *Setting an error
    message*; what is escaped, and how, is `escapeData` and `escapeProperty` of
    https://github.com/actions/toolkit/blob/main/packages/core/src/command.ts.
    """
    if error := _failure(data):
        return _command("error", _said(error), title=NAME)
    lines = []
    for found in data["findings"]:
        skipped = found["severity"] == "skipped"
        text = "\n".join([f"{found['place']}: {found['message']}", *_paragraphs(found)])
        lines.append(
            _command(
                _COMMANDS.get(found["severity"], "notice"),
                text,
                file=_from_workspace(found["file"]),
                line=found["line"],
                col=found["column"],
                title=f"{found['code']} (skipped)" if skipped else found["code"],
            )
        )
    counts = Counter(found["severity"] for found in data["findings"])
    words = ", ".join(f"{name}: {count}" for name, count in counts.items()) or "nothing found"
    return "\n".join([*lines, f"{NAME} check: {words}"])


def _command(name: str, message: str, **properties: str | int | None) -> str:
    given = ",".join(f"{key}={_property(str(value))}" for key, value in properties.items() if value)
    return f"::{name} {given}::{_message(message)}"


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")


# ── SARIF ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def sarif(data: Data) -> str:
    """Return a SARIF log of one run.

    Source: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html. GitHub's code scanning takes results with
    a location alone: a finding that is in no file has the file that was checked. What was skipped is no result, but a
    notification; what is ignored is left out.
    """
    error = _failure(data)
    findings = data.get("findings", ())
    results = [found for found in findings if found["severity"] != "skipped"]
    notifications = [
        {
            "level": "note",
            "message": _sarif_message(f"{found['place']}: {found['message']}"),
            "associatedRule": {"id": found["code"]},
        }
        for found in findings
        if found["severity"] == "skipped"
    ]
    if error:
        notifications = [{"level": "error", "message": _sarif_message(_said(error))}]
    names = sorted({found["code"] for found in findings})
    run = {
        "tool": {"driver": {"name": NAME, "semanticVersion": version(NAME), "rules": [_rule(name) for name in names]}},
        "columnKind": "unicodeCodePoints",
        "invocations": [{"executionSuccessful": error is None, "toolExecutionNotifications": notifications}],
        "results": [_result(found, names.index(found["code"]), data) for found in results],
    }
    log = {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=2)


def _rule(name: str) -> dict[str, Any]:
    from run_kfp.preflight.rules import rule

    broken = rule(name)
    return {
        "id": name,
        "shortDescription": {"text": broken.title},
        "fullDescription": {"text": f"{broken.title}; otherwise, {broken.when.value}: {broken.impact}"},
        "help": {"text": f"{broken.explanation}\n\nSource: {broken.source}"},
        "defaultConfiguration": {"level": _level(broken.severity.value)},
    }


def _level(severity: str) -> str:
    return "note" if severity == "skipped" else severity


def _result(found: Data, rule: int, data: Data) -> dict[str, Any]:
    file = _from_workspace(found["file"] or data["source"])
    location: dict[str, Any] = {"logicalLocations": [{"fullyQualifiedName": found["place"]}]}
    if file:
        location["physicalLocation"] = {"artifactLocation": {"uri": _uri(file)}}
        if found["line"]:
            location["physicalLocation"]["region"] = {"startLine": found["line"], "startColumn": found["column"]}
    return {
        "ruleId": found["code"],
        "ruleIndex": rule,
        "level": _level(found["severity"]),
        "message": _sarif_message("\n".join([found["message"], *_paragraphs(found)])),
        "locations": [location],
    }


def _sarif_message(text: str) -> dict[str, str]:
    """Return a message object; a brace is doubled there, since one begins a placeholder (section 3.11.5)."""
    return {"text": text.replace("{", "{{").replace("}", "}}")}


def _uri(file: str) -> str:
    path = Path(file)
    return path.as_uri() if path.is_absolute() else quote(path.as_posix())


# ── JUnit ────────────────────────────────────────────────────────────────────────────────────────────────────────────

# What XML 1.0 cannot hold, not even escaped: https://www.w3.org/TR/xml/#charsets
_NO_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(data: Data) -> str:
    """Return a JUnit report: a test case for each finding, and one for each part that was looked at.

    An error is a failure, and a warning where the check is strict; a case that has passed has the words of its warning
    or note as its output. Names are unique within a class, since GitLab takes the first of equal ones alone.

    Source: what GitLab reads, https://docs.gitlab.com/ci/testing/unit_test_reports/ (*JUnit XML format specification*),
    and Jenkins' schema,
    https://github.com/jenkinsci/xunit-plugin/blob/master/src/main/resources/org/jenkinsci/plugins/xunit/types/model/xsd/junit-10.xsd.
    """
    suite = ElementTree.Element("testsuite", name=f"{NAME} check")
    if error := _failure(data):
        case = ElementTree.SubElement(suite, "testcase", classname=NAME, name="check")
        _child(case, "error", error["message"], "error", _said(error))
    for part in data.get("looked", ()):
        ElementTree.SubElement(suite, "testcase", classname=NAME, name=f"check: {part}")
    taken: Counter[str] = Counter()
    for found in data.get("findings", ()):
        name = f"{found['code']} {found['place']}"
        taken[name] += 1
        number = f" ({taken[name]})" if taken[name] > 1 else ""
        case = ElementTree.SubElement(suite, "testcase", classname=f"{NAME}.{found['group']}", name=_xml(name + number))
        where = ":".join(str(found[key]) for key in ("file", "line", "column") if found[key])
        words = "\n".join([*([where] if where else []), found["message"], *_paragraphs(found)])
        if found["severity"] == "error" or (found["severity"] == "warning" and data["strict"]):
            _child(case, "failure", found["message"], found["code"], words)
        elif found["severity"] == "skipped":
            _child(case, "skipped", found["message"], found["code"], words)
        else:
            ElementTree.SubElement(case, "system-out").text = _xml(f"{found['severity']}: {words}")
    for attribute, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(attribute, str(len(list(suite.iter(tag)))))
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    # ASCII with references: the same bytes for a stdout of every encoding.
    text: bytes = ElementTree.tostring(suites, encoding="us-ascii", xml_declaration=True)
    return text.decode("ascii")


def _child(case: ElementTree.Element, tag: str, message: str, kind: str, words: str) -> None:
    ElementTree.SubElement(case, tag, message=_xml(message), type=kind).text = _xml(words)


def _xml(text: str) -> str:
    return _NO_XML.sub(lambda character: f"\\x{ord(character[0]):02x}", text)


RENDERERS: Mapping[str, Callable[[Data], str]] = {"github": github, "sarif": sarif, "junit": junit}
