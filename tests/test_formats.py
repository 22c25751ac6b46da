"""The forms of a check for other programs: what is printed is what their readers say they read."""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from jsonschema import Draft4Validator

from conftest import Cli, Result, Write
from run_kfp.formats import github, junit, sarif
from run_kfp.preflight.rules import rule

SCHEMA = json.loads((Path(__file__).parent / "schemas" / "sarif-2.1.0.json").read_text(encoding="utf-8"))

# A key that is a mistake, and values with all that a form has to escape.
WRONG = """\
[settings]
region = "us-esat1"
[containers.1]
name = "one"
image = "alpine"
imge = "100%, é😀 ::error::x"
cpu = "a,b:%\\n::warning::\\u001b[31m<&>\\"']]> {0}"
[containers.2]
name = "two"
image = "alpine:latest"
memory = "1GB"
"""
CALL = ("check", "-r", "1,2", "-t", "v1", "--offline")


@pytest.fixture(autouse=True)
def _no_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files stand as they are named: this is no job of GitHub."""
    monkeypatch.delenv("GITHUB_WORKSPACE", raising=False)


@pytest.fixture
def wrong(cli: Cli, write: Write) -> Cli:
    write("run-kfp.toml", WRONG)
    write(".env", "\nGCP_PROJECT='My Project'\n")
    return cli


def findings(cli: Cli, *more: str) -> list[dict[str, Any]]:
    """The findings as data: what every other form is compared with."""
    found: list[dict[str, Any]] = cli(*CALL, "--format", "json", *more).json["findings"]
    assert {each["severity"] for each in found} >= {"error", "note"}
    return found


def valid_sarif(text: str) -> dict[str, Any]:
    """Read a log, and return its one run."""
    log = json.loads(text)
    Draft4Validator.check_schema(SCHEMA)
    assert [error.message for error in Draft4Validator(SCHEMA).iter_errors(log)] == []
    (run,) = log["runs"]
    return dict(run)


# ── positions ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_findings_have_a_position(wrong: Cli) -> None:
    at = {found["place"]: (found["file"], found["line"], found["column"]) for found in findings(wrong)}

    assert at["run-kfp.toml: containers.1.imge"] == ("run-kfp.toml", 6, 1)
    assert at["run-kfp.toml: containers.2.memory"] == ("run-kfp.toml", 11, 1)
    assert at["run-kfp.toml: settings.region"] == ("run-kfp.toml", 2, 1)
    assert at[".env GCP_PROJECT"] == (".env", 2, 1)
    assert at["--bucket"] == (None, None, None)


def test_findings_of_a_pipeline_file_have_a_position(cli: Cli, write: Write) -> None:
    write("run-kfp.toml", '[containers.1]\nname = "one"\nimage = "alpine:1"\ncpu = 4\nmemory = "16G"\n')
    assert cli("-r", "1", "--compile-only", "-o", "p.yaml").code == 0
    path = cli.folder / "p.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("alpine:1", "al pine"), encoding="utf-8")

    result = cli("check", "-f", "p.yaml", "--offline", "--format", "json").json
    (image,) = [found for found in result["findings"] if found["code"] == "RK-IMAGE-REFERENCE"]

    assert result["source"] == "p.yaml"
    line = path.read_text(encoding="utf-8").splitlines()[image["line"] - 1]
    assert line[image["column"] - 1 :] == "image: al pine"


@pytest.mark.parametrize(
    ("name", "text", "args", "line"),
    [
        (".env", "A=1\n\nGCP PROJECT=x\n", ("-r", "1"), 3),
        ("run-kfp.toml", "[containers.1]\nname = one\n", ("-r", "1"), 2),
        ("p.yaml", "a: 1\nb: [\n", ("-f", "p.yaml"), 2),
        ("p.yaml", "a: 1\na: 2\n", ("-f", "p.yaml"), 2),
    ],
)
def test_a_line_that_cannot_be_read_has_its_line(
    cli: Cli, write: Write, name: str, text: str, args: tuple[str, ...], line: int
) -> None:
    write("run-kfp.toml", '[containers.1]\nname = "one"\nimage = "alpine:1"\n')
    write(name, text)
    found = cli("check", *args, "--offline", "--format", "json").json["findings"]
    assert [one["line"] for one in found if one["file"] == name] == [line]
    (message,) = [one["message"] for one in found if one["file"] == name]
    assert not message.startswith(name), "the place is not repeated"


def test_the_text_is_as_before(wrong: Cli) -> None:
    """One line a finding, with its place as text."""
    said = wrong(*CALL).out
    assert "error: RK-MEMORY-FORMAT: run-kfp.toml: containers.2.memory: '1GB' " in said
    assert said == wrong(*CALL, "--format", "text").out


def test_json_is_short_for_the_format(wrong: Cli) -> None:
    assert wrong(*CALL, "--json").json == wrong(*CALL, "--format=json").json


@pytest.mark.parametrize("form", ["text", "json", "github", "sarif", "junit"])
def test_the_exit_code_is_that_of_the_check(form: str, wrong: Cli, write: Write) -> None:
    assert wrong(*CALL, "--format", form).code == 3
    write("run-kfp.toml", '[containers.1]\nname = "one"\nimage = "alpine:1"\n')
    write(".env", "")
    ignored = [word for code in ("SETTING", "ACCOUNT", "PARAM") for word in ("--ignore", f"RK-{code}-MISSING")]
    assert wrong("check", "-r", "1", "--offline", *ignored, "--format", form).code == 0


def test_the_last_format_counts(wrong: Cli) -> None:
    assert wrong(*CALL, "--format", "sarif", "--json").json["ok"] is False
    assert valid_sarif(wrong("--json", *CALL, "--format", "sarif").out)["results"]


# ── GitHub ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Annotation:
    command: str
    properties: dict[str, str]
    message: str


def workflow_commands(text: str) -> Iterator[Annotation]:
    """Read workflow commands as the runner does (actions/runner, src/Runner.Common/ActionCommand.cs, TryParseV2)."""

    def plain(value: str, escapes: dict[str, str]) -> str:
        for escape, character in escapes.items():
            value = value.replace(escape, character)
        return value.replace("%25", "%")

    data = {"%0D": "\r", "%0A": "\n"}
    for line in text.split("\n"):
        if not line.startswith("::"):
            continue
        head, separator, message = line[2:].partition("::")
        assert separator
        command, _, words = head.partition(" ")
        pairs = [word.partition("=") for word in words.split(",") if word]
        properties = {key: plain(value, {**data, "%3A": ":", "%2C": ","}) for key, _, value in pairs}
        yield Annotation(command, properties, plain(message, data))


def test_github_has_an_annotation_for_each_finding(wrong: Cli) -> None:
    said = wrong(*CALL, "--format", "github")
    found = findings(wrong)

    read = list(workflow_commands(said.out))

    assert [each.command for each in read] == [
        {"error": "error", "warning": "warning"}.get(one["severity"], "notice") for one in found
    ]
    for annotation, one in zip(read, found, strict=True):
        assert set(annotation.properties) <= {"file", "line", "col", "title"}
        assert annotation.properties["title"] == one["code"]
        assert annotation.properties.get("file") == one["file"]
        assert annotation.properties.get("line") == (str(one["line"]) if one["line"] else None)
        assert annotation.message.startswith(f"{one['place']}: {one['message']}")
    # Nothing but commands and one line of counts: no value begins a line.
    others = [line for line in said.out.splitlines() if not line.startswith("::")]
    assert len(others) == 1
    assert re.fullmatch(r"run-kfp check: error: \d+, note: \d+", others[0])


def finding(**changes: Any) -> dict[str, Any]:
    return {
        "code": "RK-CALL",
        "severity": "error",
        "group": "call",
        "place": "here",
        "message": "bad",
        "hint": "",
        "file": None,
        "line": None,
        "column": None,
        "when": "later",
        "otherwise": "it fails",
        **changes,
    }


def report(*found: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"ok": True, "strict": False, "source": None, "looked": ["offline"], "findings": list(found), **changes}


def test_github_escapes_what_would_end_a_property_or_a_line() -> None:
    name, words = "50%,\r\nof::it%3A.toml", "100%0A\r\n::stop-commands::x,y"
    (read,) = workflow_commands(github(report(finding(file=name, line=3, column=7, message=words, place="p"))))

    assert read.properties == {"file": name, "line": "3", "col": "7", "title": "RK-CALL"}
    assert read.message == f"p: {words}\nOtherwise, later: it fails."


def test_github_says_what_was_skipped() -> None:
    (read,) = workflow_commands(github(report(finding(severity="skipped", message="no answer"))))
    assert read == Annotation("notice", {"title": "RK-CALL (skipped)"}, "here: no answer")


# ── SARIF ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_sarif_is_valid_and_has_each_finding(wrong: Cli) -> None:
    run = valid_sarif(wrong(*CALL, "--format", "sarif").out)
    found = findings(wrong)

    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == sorted({one["code"] for one in found})
    assert run["columnKind"] == "unicodeCodePoints"
    assert run["invocations"] == [{"executionSuccessful": True, "toolExecutionNotifications": []}]
    for result, one in zip(run["results"], found, strict=True):
        assert result["ruleId"] == one["code"] == rules[result["ruleIndex"]]["id"]
        assert result["level"] == one["severity"]
        assert result["message"]["text"].replace("{{", "{").replace("}}", "}").startswith(one["message"])
        (location,) = result["locations"]
        assert location["logicalLocations"] == [{"fullyQualifiedName": one["place"]}]
        physical = location["physicalLocation"]
        assert urllib.parse.unquote(physical["artifactLocation"]["uri"]) == (one["file"] or "run-kfp.toml")
        assert physical.get("region") == (
            {"startLine": one["line"], "startColumn": one["column"]} if one["line"] else None
        )


def test_sarif_of_unusual_findings() -> None:
    data = report(
        finding(severity="skipped", message="{0}"),
        finding(file="a b/é.toml", line=1, column=1),
        finding(file="/srv/run-kfp.toml", line=1, column=1, severity="note"),
        finding(),
    )
    run = valid_sarif(sarif(data))

    (notified,) = run["invocations"][0]["toolExecutionNotifications"]
    assert notified["message"] == {"text": "here: {{0}}"}
    relative, absolute, nowhere = (result["locations"][0] for result in run["results"])
    assert relative["physicalLocation"]["artifactLocation"] == {"uri": "a%20b/%C3%A9.toml"}
    assert absolute["physicalLocation"]["artifactLocation"] == {"uri": "file:///srv/run-kfp.toml"}
    assert "physicalLocation" not in nowhere


# ── JUnit ────────────────────────────────────────────────────────────────────────────────────────────────────────────

# What Jenkins' schema allows: attributes (with ! those that are required) and children of each element.
# https://github.com/jenkinsci/xunit-plugin/blob/master/src/main/resources/org/jenkinsci/plugins/xunit/types/model/xsd/junit-10.xsd
JENKINS: dict[str, tuple[set[str], set[str]]] = {
    "testsuites": ({"name", "time", "tests", "failures", "errors"}, {"testsuite"}),
    "testsuite": (
        {"!name", "!tests", "!failures", "!errors", "group", "time", "skipped", "timestamp", "hostname", "id"},
        {"testsuite", "properties", "testcase", "system-out", "system-err"},
    ),
    "testcase": (
        {"!name", "time", "classname", "group"},
        {"skipped", "error", "failure", "system-out", "system-err"},
    ),
    "failure": ({"type", "message"}, set()),
    "error": ({"type", "message"}, set()),
    "skipped": ({"type", "message"}, set()),
    "system-out": (set(), set()),
}


def valid_junit(text: str) -> ElementTree.Element:
    """Read a report, and return its one suite."""
    text.encode("ascii")
    root = ElementTree.fromstring(text)
    assert root.tag == "testsuites"
    for element in root.iter():
        attributes, children = JENKINS[element.tag]
        assert set(element.attrib) <= {name.removeprefix("!") for name in attributes}
        assert set(element.attrib) >= {name[1:] for name in attributes if name.startswith("!")}
        assert {child.tag for child in element} <= children
    (suite,) = root
    cases = [(case.get("classname"), case.get("name")) for case in suite]
    assert len(set(cases)) == len(cases), "GitLab takes the first of cases with one name"
    for attribute, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert suite.get(attribute) == str(len(list(suite.iter(tag))))
    return suite


def test_junit_is_valid_and_has_each_finding(wrong: Cli) -> None:
    suite = valid_junit(wrong(*CALL, "--format", "junit").out)
    found = findings(wrong)

    look, *cases = suite
    assert (look.get("name"), list(look)) == ("check: offline", [])
    for case, one in zip(cases, found, strict=True):
        (outcome,) = case
        assert outcome.tag == ("failure" if one["severity"] == "error" else "system-out")
        assert case.get("classname") == f"run-kfp.{one['group']}"
        if one["file"]:
            assert f"{one['file']}:{one['line']}:{one['column']}\n" in (outcome.text or "")


@pytest.mark.parametrize(("strict", "tag"), [(False, "system-out"), (True, "failure")])
def test_junit_fails_for_a_warning_where_the_check_does(strict: bool, tag: str) -> None:
    _, case = valid_junit(junit(report(finding(severity="warning"), strict=strict)))
    assert [child.tag for child in case] == [tag]


def test_junit_of_unusual_findings() -> None:
    bad = "a\0b\x1b[31m ]]> <&> \ud800 é\uffff"
    suite = valid_junit(
        junit(report(finding(message=bad), finding(message=bad), finding(severity="skipped", message="no answer")))
    )

    _, one, two, skipped = suite
    assert (one.get("name"), two.get("name")) == ("RK-CALL here", "RK-CALL here (2)")
    assert one[0].get("message") == "a\\x00b\\x1b[31m ]]> <&> \\xd800 é\\xffff"
    assert (skipped[0].tag, skipped[0].get("message")) == ("skipped", "no answer")


# ── to the last character ────────────────────────────────────────────────────────────────────────────────────────────

FAILURE = {
    "message": "2 problems",
    "hint": "see",
    "faults": [{"message": "a", "hint": "b"}, {"message": "c", "hint": ""}],
}
SAID = "2 problems → see\na → b\nc"
FOUND = (
    finding(severity="warning", hint="do this", file="p.yaml", line=3, column=7),
    finding(severity="note", group="images", place="there"),
    finding(severity="skipped", message="no answer", hint="wait"),
)


def test_github_to_the_last_character() -> None:
    assert github(report(*FOUND)).splitlines() == [
        "::warning file=p.yaml,line=3,col=7,title=RK-CALL::here: bad%0AOtherwise, later: it fails.%0ANext: do this",
        "::notice title=RK-CALL::there: bad%0AOtherwise, later: it fails.",
        "::notice title=RK-CALL (skipped)::here: no answer%0ANext: wait",
        "run-kfp check: warning: 1, note: 1, skipped: 1",
    ]
    assert github(report(finding(), finding())).splitlines()[-1] == "run-kfp check: error: 2"
    assert github(report()) == "run-kfp check: nothing found"
    assert github({"error": FAILURE}) == "::error title=run-kfp::2 problems → see%0Aa → b%0Ac"
    # An error beside findings is that there are some: they are told.
    assert github({**report(finding()), "error": FAILURE}).startswith("::error title=RK-CALL::here: bad")


def test_sarif_to_the_last_key() -> None:
    run = valid_sarif(sarif(report(*FOUND, finding(code="RK-FILE"), source="run-kfp.toml")))

    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["RK-CALL", "RK-FILE"]
    assert run["invocations"] == [
        {
            "executionSuccessful": True,
            "toolExecutionNotifications": [
                {
                    "level": "note",
                    "message": {"text": "here: no answer"},
                    "associatedRule": {"id": "RK-CALL"},
                }
            ],
        }
    ]
    here = {"physicalLocation": {"artifactLocation": {"uri": "run-kfp.toml"}}}
    assert run["results"] == [
        {
            "ruleId": "RK-CALL",
            "ruleIndex": 0,
            "level": "warning",
            "message": {"text": "bad\nOtherwise, later: it fails.\nNext: do this"},
            "locations": [
                {
                    "logicalLocations": [{"fullyQualifiedName": "here"}],
                    "physicalLocation": {
                        "artifactLocation": {"uri": "p.yaml"},
                        "region": {"startLine": 3, "startColumn": 7},
                    },
                }
            ],
        },
        {
            "ruleId": "RK-CALL",
            "ruleIndex": 0,
            "level": "note",
            "message": {"text": "bad\nOtherwise, later: it fails."},
            "locations": [{"logicalLocations": [{"fullyQualifiedName": "there"}], **here}],
        },
        {
            "ruleId": "RK-FILE",
            "ruleIndex": 1,
            "level": "error",
            "message": {"text": "bad\nOtherwise, later: it fails."},
            "locations": [{"logicalLocations": [{"fullyQualifiedName": "here"}], **here}],
        },
    ]


def test_a_rule_of_sarif_says_what_explain_does() -> None:
    run = valid_sarif(sarif(report(finding(code="RK-CALL"))))
    (shown,) = run["tool"]["driver"]["rules"]
    known = rule("RK-CALL")

    assert shown == {
        "id": "RK-CALL",
        "shortDescription": {"text": known.title},
        "fullDescription": {"text": f"{known.title}; otherwise, {known.when.value}: {known.impact}"},
        "help": {"text": f"{known.explanation}\n\nSource: {known.source}"},
        "defaultConfiguration": {"level": known.severity.value},
    }


def test_sarif_of_a_check_that_was_not_made() -> None:
    run = valid_sarif(sarif({"error": FAILURE}))

    assert run["invocations"] == [
        {"executionSuccessful": False, "toolExecutionNotifications": [{"level": "error", "message": {"text": SAID}}]}
    ]
    assert run["results"] == []


def test_junit_to_the_last_character() -> None:
    assert junit(report(*FOUND, strict=True)) == (
        "<?xml version='1.0' encoding='us-ascii'?>\n"
        "<testsuites>\n"
        '  <testsuite name="run-kfp check" tests="4" failures="1" errors="0" skipped="1">\n'
        '    <testcase classname="run-kfp" name="check: offline" />\n'
        '    <testcase classname="run-kfp.call" name="RK-CALL here">\n'
        '      <failure message="bad" type="RK-CALL">p.yaml:3:7\nbad\nOtherwise, later: it fails.\n'
        "Next: do this</failure>\n"
        "    </testcase>\n"
        '    <testcase classname="run-kfp.images" name="RK-CALL there">\n'
        "      <system-out>note: bad\nOtherwise, later: it fails.</system-out>\n"
        "    </testcase>\n"
        '    <testcase classname="run-kfp.call" name="RK-CALL here (2)">\n'
        '      <skipped message="no answer" type="RK-CALL">no answer\nNext: wait</skipped>\n'
        "    </testcase>\n"
        "  </testsuite>\n"
        "</testsuites>"
    )


def test_junit_of_a_check_that_was_not_made() -> None:
    ((error,),) = valid_junit(junit({"error": FAILURE}))

    assert (error.tag, error.get("message"), error.get("type"), error.text) == ("error", "2 problems", "error", SAID)


def test_a_file_is_named_from_the_workspace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def file_of(name: str) -> str | None:
        (read,) = workflow_commands(github(report(finding(file=name))))
        return read.properties.get("file")

    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    assert file_of("p.yaml") == "p.yaml"
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    assert [file_of(name) for name in ("p.yaml", f"{tmp_path}/q.yaml", "/elsewhere/p.yaml")] == [
        *("sub/p.yaml", "q.yaml", "/elsewhere/p.yaml")
    ]
    (outside,) = valid_sarif(sarif(report(finding(), source="p.yaml")))["results"]
    assert outside["locations"][0]["physicalLocation"]["artifactLocation"] == {"uri": "sub/p.yaml"}


# ── a check that cannot be made ──────────────────────────────────────────────────────────────────────────────────────

REFUSED = (*CALL, "--ignore", "RK-NO-SUCH")


def failed(cli: Cli, form: str, *args: str) -> Result:
    result = cli(*args, "--format", form)
    assert result.code == 2
    return result


def test_a_refused_call_is_told_in_each_form(cli: Cli) -> None:
    (annotation,) = workflow_commands(failed(cli, "github", *REFUSED).out)
    assert (annotation.command, annotation.properties) == ("error", {"title": "run-kfp"})
    assert "RK-NO-SUCH" in annotation.message

    (invocation,) = valid_sarif(failed(cli, "sarif", *REFUSED).out)["invocations"]
    assert invocation["executionSuccessful"] is False
    assert "RK-NO-SUCH" in invocation["toolExecutionNotifications"][0]["message"]["text"]

    ((error,),) = valid_junit(failed(cli, "junit", *REFUSED).out)
    assert error.tag == "error"
    assert "RK-NO-SUCH" in (error.text or "")


@pytest.mark.parametrize("words", [("--format", "sarif"), ("--format=sarif",)])
def test_a_flag_that_is_not_known_is_told_in_the_form_that_was_asked_for(cli: Cli, words: tuple[str, ...]) -> None:
    result = cli("check", "--no-such", *words)
    assert result.code == 2
    (invocation,) = valid_sarif(result.out)["invocations"]
    assert "--no-such" in invocation["toolExecutionNotifications"][0]["message"]["text"]


def test_a_form_that_is_not_known_is_refused(cli: Cli) -> None:
    result = cli(*CALL, "--format", "xml")
    assert result.code == 2
    assert "'xml'" in result.err
