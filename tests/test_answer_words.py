"""What is read of an answer of Google's APIs: whether it is right, and the reason where it is not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from run_kfp.preflight.cloud.session import Answer, rows, together

INFO = "type.googleapis.com/google.rpc.ErrorInfo"


def refused(status: int, message: object = "", *details: object) -> Answer:
    return Answer(status, {"error": {"message": message, "details": list(details)}})


def test_the_reason() -> None:
    disabled = {"@type": INFO, "reason": "SERVICE_DISABLED", "metadata": {"service": "x", "consumer": "projects/1"}}
    answers: Mapping[str, Answer] = {
        "right": Answer(200, {"error": {"message": "not looked at"}}),
        "fault": Answer(0, fault="no network"),
        "disabled": refused(403, "m", "text", {"@type": "other"}, disabled),
        "disabled, no metadata": refused(403, "m", {**disabled, "metadata": None}),
        "other reason": refused(403, "m", {**disabled, "reason": "X"}),
        "401": refused(401),
        "403": refused(403, "Permission denied."),
        "404": refused(404, None),
        "500": refused(500, "a\nb"),
        "long": refused(500, "x" * 301),
        "no error": Answer(503, {}),
        "another form": Answer(503, {"error": "text"}),
        "no list": Answer(503, {"error": {"details": 1}}),
    }
    assert {name: answer.reason for name, answer in answers.items()} == {
        "right": "",
        "fault": "no network",
        "disabled": "x is not enabled in projects/1",
        "disabled, no metadata": "missing permission (m)",
        "other reason": "missing permission (m)",
        "401": "the credentials are refused",
        "403": "missing permission (Permission denied)",
        "404": "not found",
        "500": "the server answers 500 (a b)",
        "long": f"the server answers 500 ({'x' * 300})",
        "no error": "the server answers 503",
        "another form": "the server answers 503",
        "no list": "the server answers 503",
    }
    assert [name for name, answer in answers.items() if answer.ok] == ["right"]


@pytest.mark.parametrize(
    ("answer", "missing"),
    [
        (refused(403, "", {"@type": INFO, "reason": "ACCESS_TOKEN_SCOPE_INSUFFICIENT"}), True),
        (refused(403, "Request had insufficient authentication scopes."), True),
        (refused(403, "The scope(s) are not authorized"), True),
        (refused(401, "insufficient authentication scopes"), False),
        (refused(403, "other"), False),
    ],
)
def test_scopes_that_are_missing(answer: Answer, missing: bool) -> None:
    assert answer.scopes_missing is missing


def test_rows_and_calls() -> None:
    def call(number: int) -> Any:
        return lambda: number

    assert list(rows([{"a": 1}, 2, {}])) == [{"a": 1}, {}]
    assert list(rows("text")) == []
    assert together([]) == []
    assert together([call(1)]) == [1]
    assert together([call(number) for number in range(5)]) == [0, 1, 2, 3, 4]
