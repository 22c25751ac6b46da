"""The report of a check, whole: on a terminal, in a log, and as data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from run_kfp.commands.check import finding_data, image_words, report_lines, wrapped
from run_kfp.errors import CheckFailed
from run_kfp.findings import Finding, Severity
from run_kfp.lines import Text
from run_kfp.machines import Choice
from run_kfp.machines.table import MachineType
from run_kfp.places import Places
from run_kfp.preflight import Report
from run_kfp.preflight.images import ImageConfig, ImageFacts
from run_kfp.preflight.rules import rule
from test_screens import FORK, pipeline, step

ERROR = rule("RK-ENV-NAME")("run-kfp.toml: containers.1.env", "'a b' is not a C identifier", "use letters")
SAME = replace(ERROR, place="run-kfp.toml: containers.2.env")
WARNING = rule("RK-IMAGE-TAG")(
    "pipeline.yaml: step",
    "busybox has no tag, which means latest: the run takes what is pushed last, whatever that is by then and there",
    severity=Severity.WARNING,
)
NOTE = rule("RK-IMAGE-GCR")("x", "closed")
SKIPPED = replace(NOTE, severity=Severity.SKIPPED, message="no\nnetwork", hint="try again")
FACTS = ImageFacts(f"sha256:{'a' * 64}", ("linux/amd64", "linux/arm64"), 12_600_000, None, frozenset(), False)


def shown(lines: Iterable[Text]) -> list[str]:
    return [line.plain.rstrip() for line in lines]


def test_on_a_terminal() -> None:
    machine = Choice(MachineType("e2-standard-4", 4, 16.0), None, 0, "the default")
    report = Report(
        (ERROR, SAME, WARNING, SKIPPED),
        ((NOTE, "known"),),
        {"read": machine, "train": Choice(None, None, 0, "none fits")},
        {"example/read": FACTS},
        ("offline", "images", "cloud"),
    )

    assert shown(report_lines(report, FORK, width=72)) == [
        "✗ error  RK-ENV-NAME  invalid name of an environment variable",
        "    run-kfp.toml: containers.1.env",
        "      'a b' is not a C identifier",
        "    run-kfp.toml: containers.2.env",
        "      'a b' is not a C identifier",
        "      → use letters",
        "    otherwise, within a minute of submission: the job of the step is",
        "    refused",
        "",
        "! warning  RK-IMAGE-TAG  mutable image tag",
        "    pipeline.yaml: step",
        "      busybox has no tag, which means latest: the run takes what is",
        "      pushed last, whatever that is by then and there",
        "    otherwise, silently: two runs of one file may run two different",
        "    programs; with caching, an old result is used for a new image",
        "",
        "– skipped  RK-IMAGE-GCR  deprecated Container Registry name",
        "    x",
        "      no network",
        "      → try again",
        "",
        "○ read   example/read",
        "         machine  e2-standard-4 (4 vCPU, 16 GB)  the default",
        "         image    sha256:aaaaaaaaaaaa…, linux/amd64 linux/arm64, 13 MB compressed",
        "○ train  example/train",
        "○ test   example/test",
        "○ push   example/push",
        "○ end    example/end",
        "",
        "ignored: RK-IMAGE-GCR  x  (known)",
        "2 errors, 1 warning, 1 skipped; 1 ignored  checked: configuration, the image registries, Google Cloud",
    ]


def test_in_a_log() -> None:
    report = Report((ERROR, SAME, NOTE, SKIPPED), ((NOTE, "known"),), looked=())

    assert shown(report_lines(report, FORK, width=None)) == [
        "error: RK-ENV-NAME: run-kfp.toml: containers.1.env: 'a b' is not a C identifier; otherwise, "
        "within a minute of submission: the job of the step is refused; next: use letters",
        "error: RK-ENV-NAME: run-kfp.toml: containers.2.env: 'a b' is not a C identifier; otherwise, "
        "within a minute of submission: the job of the step is refused; next: use letters",
        "note: RK-IMAGE-GCR: x: closed; otherwise, within a minute of submission: the image is not found, "
        "unless it was copied to Artifact Registry",
        "skipped: RK-IMAGE-GCR: x: no network; next: try again",
        "2 errors, 1 note, 1 skipped; 1 ignored  checked: configuration, as far as it is readable",
    ]


def test_the_last_line() -> None:
    def last(*findings: Finding) -> tuple[str, str]:
        (*_, line) = report_lines(Report(findings), None, width=80)
        return line.plain, str(line.spans[0].style)

    assert last() == ("nothing found  checked: configuration", "green")
    assert last(ERROR, WARNING, WARNING, NOTE, SKIPPED, SKIPPED) == (
        "1 error, 2 warnings, 1 note, 2 skipped  checked: configuration",
        "bold red",
    )
    assert last(WARNING) == ("1 warning  checked: configuration", "bold yellow")
    assert last(NOTE, NOTE) == ("2 notes  checked: configuration", "green")
    assert last(SKIPPED) == ("1 skipped  checked: configuration", "green")
    assert shown(report_lines(Report(()), pipeline(step("one")), width=80)) == [
        "○ one  example/one",
        "",
        "nothing found  checked: configuration",
    ]


def test_long_lines() -> None:
    words = " ".join(["word"] * 40)

    assert [len(line) for line in wrapped(words, "  ", 40)] == [36, 36, 36, 36, 36, 26]
    assert max(len(line) for line in wrapped(words, "  ", 500)) <= 119
    assert wrapped("a-b " + "x" * 90, "", 41) == ["a-b", "x" * 90]


def test_what_an_image_is() -> None:
    config = ImageConfig(("python", "-u"), ("train.py",), "app", "/work", datetime(2026, 1, 2, tzinfo=UTC), ())
    assert image_words(replace(FACTS, config=config)) == (
        "sha256:aaaaaaaaaaaa…, linux/amd64 linux/arm64, 13 MB compressed, ENTRYPOINT python -u, CMD "
        "train.py, USER app, WORKDIR /work"
    )
    assert (
        image_words(replace(FACTS, compressed_size=999_999, platforms=()))
        == "sha256:aaaaaaaaaaaa…, less than 1 MB compressed"
    )
    assert (
        image_words(replace(FACTS, compressed_size=1_000_000))
        == "sha256:aaaaaaaaaaaa…, linux/amd64 linux/arm64, 1 MB compressed"
    )
    assert image_words(replace(FACTS, compressed_size=None)) == "sha256:aaaaaaaaaaaa…, linux/amd64 linux/arm64"


def test_a_finding_as_data() -> None:
    assert finding_data(ERROR, Places(None)) == {
        "code": "RK-ENV-NAME",
        "severity": "error",
        "group": "calls",
        "place": "run-kfp.toml: containers.1.env",
        "file": None,
        "line": None,
        "column": None,
        "message": "'a b' is not a C identifier",
        "when": "within a minute of submission",
        "otherwise": "the job of the step is refused",
        "hint": "use letters",
    }


@pytest.mark.parametrize(
    ("findings", "strict", "words"),
    [
        ((), True, ""),
        ((WARNING,), False, ""),
        ((NOTE, SKIPPED), True, ""),
        ((WARNING,), True, "the check found 1 warning; nothing was submitted"),
        ((WARNING, WARNING), True, "the check found 2 warnings; nothing was submitted"),
        ((ERROR, WARNING), False, "the check found 1 error; nothing was submitted"),
        ((ERROR, SAME, WARNING), True, "the check found 2 errors and 1 warning; nothing was submitted"),
    ],
)
def test_what_keeps_a_run_from_being_submitted(findings: tuple[Finding, ...], strict: bool, words: str) -> None:
    report = Report(findings)
    if not words:
        report.refuse(strict=strict)
        return
    with pytest.raises(CheckFailed) as refused:
        report.refuse(strict=strict, consequence="; nothing was submitted")
    assert refused.value.message == words
