"""Errors and findings: what each says, what is next, and in which order they are shown."""

from __future__ import annotations

import errno
import os

import pytest

from run_kfp.errors import (
    BackendError,
    InputError,
    Refusal,
    RunKfpError,
    StoreError,
    Submitted,
    did_you_mean,
    nearest,
    shown,
)
from run_kfp.findings import Finding, Severity


def test_a_finding_has_its_place_in_front_of_its_words_once() -> None:
    assert Finding("bad").text == "bad"
    assert Finding("bad", place="--flag").text == "--flag: bad"
    assert Finding("--flag is bad", place="--flag").text == "--flag is bad"
    assert Finding("bad").severity is Severity.ERROR
    assert Finding("bad").code == "RK-CALL"


def test_the_worst_comes_first() -> None:
    assert [severity.rank for severity in Severity] == [0, 1, 2, 3]
    assert sorted(Severity, key=lambda severity: severity.rank) == [
        *(Severity.ERROR, Severity.WARNING, Severity.NOTE, Severity.SKIPPED)
    ]


def test_an_error_of_one_fault_is_that_fault() -> None:
    fault = Finding("bad", "do this", "RK-FILE", "p.yaml")
    error = InputError.of("this call", [fault])

    assert (error.message, str(error), error.hint) == ("p.yaml: bad", "p.yaml: bad", "do this")
    assert error.faults == ()
    assert error.all_faults == (fault,)


def test_an_error_of_several_faults_counts_them() -> None:
    faults = (Finding("bad"), Finding("worse"))
    error = InputError.of("the registry r.toml", faults)

    assert (error.message, error.hint) == ("2 problems with the registry r.toml", "")
    assert error.faults == error.all_faults == faults


def test_every_error_has_a_hint_and_no_faults_unless_it_is_given_them() -> None:
    error = RunKfpError("broken", "report it", [Finding("a")])
    assert (error.message, error.hint, error.faults) == ("broken", "report it", (Finding("a"),))
    assert (RunKfpError("broken").hint, RunKfpError("broken").faults) == ("", ())
    refusal = Refusal("is 3", "write 4")
    assert (str(refusal), refusal.hint, Refusal("x").hint) == ("is 3", "write 4", "")


def test_a_backend_says_whether_a_run_exists() -> None:
    error = BackendError("gone", "wait")
    assert (error.what, error.message, error.hint) == ("gone", "gone; nothing was submitted", "wait")
    assert error.submitted is Submitted.NO
    unknown = BackendError("gone", submitted=Submitted.UNKNOWN)
    assert unknown.message == "gone; it is not known whether the run was created"


@pytest.mark.parametrize(
    ("number", "first"),
    [
        (errno.ENOSPC, "free space on this disk"),
        (errno.EDQUOT, "free space on this disk"),
        (errno.EFBIG, "free space on this disk"),
        (errno.EACCES, "check this folder and its permissions"),
        (errno.EROFS, "check this folder and its permissions"),
    ],
)
def test_a_folder_that_cannot_be_written(number: int, first: str) -> None:
    error = StoreError.of("runs/1", OSError(number, os.strerror(number)))

    assert error.message == f"cannot write runs/1: {os.strerror(number)}"
    assert error.hint == f"{first}, then repeat the run"
    assert error.exit_code == 4


@pytest.mark.parametrize(
    ("word", "known", "near"),
    [
        ("fsat", ["slow", "fast"], "fast"),
        ("FAST", ["slow", "Fast"], "Fast"),
        ("ab", ["ba", "ax"], "ba"),  # letters that changed places
        ("regionn", ["project", "region"], "region"),
        ("xyz", ["project", "region"], ""),
        ("", ["project"], ""),
        (f"{'x' * 80}{'y' * 500}", [f"{'x' * 79}z"], f"{'x' * 79}z"),  # the beginning of a long word is enough
    ],
)
def test_a_word_that_is_near(word: str, known: list[str], near: str) -> None:
    assert nearest(word, known) == near
    assert did_you_mean(word, known) == (f"did you mean {near!r}?" if near else "")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (False, "false"),
        (0.5, "0.5"),
        ("", "''"),
        ("a'b", '"a\'b"'),
        ("x" * 80, f"'{'x' * 80}'"),
        ("x" * 81, f"'{'x' * 79}… (81 characters)"),
        ("x" * 2000, f"'{'x' * 79}… (2,000 characters)"),
        (list(range(27)), str(list(range(27)))[:80] + "… (98 characters)"),
        (10**4299, f"1{'0' * 79}… (4,300 characters)"),
    ],
)
def test_a_value_in_a_sentence(value: object, text: str) -> None:
    assert shown(value) == text


def test_a_number_that_python_does_not_write() -> None:
    assert shown(10**4300) == "a number of thousands of digits"
