"""The register of rules: each has all its words, under one name, and says when it would have shown."""

from __future__ import annotations

import pytest

from run_kfp.preflight.rules import read_group, register, rule, rules

RULE = """
[RK-MADE-UP]
severity = "warning"
when = "run"
title = "a made-up mistake"
impact = "nothing happens"
explanation = "It is here for this test."
source = "this test"
"""


def test_every_file_of_the_register_can_be_read() -> None:
    for name, found in rules().items():
        assert found.name == name
        assert all((found.severity, found.when, found.title, found.impact, found.explanation, found.source))


def test_a_name_that_the_register_does_not_have_fails_where_it_is_named() -> None:
    with pytest.raises(KeyError, match="RK-NOT-THERE"):
        rule("RK-NOT-THERE")


def test_a_rule_of_two_files_is_refused() -> None:
    assert list(register({"calls": RULE})) == ["RK-MADE-UP"]
    with pytest.raises(ValueError, match=r"RK-MADE-UP is a rule of calls\.toml and of files\.toml"):
        register({"calls": RULE, "files": RULE})


@pytest.mark.parametrize(
    "text",
    [
        RULE * 2,
        RULE.replace("source", "sauce"),
        RULE.replace("source", "# source"),
        RULE.replace("warning", "worrying"),
        RULE.replace('when = "run"', 'when = "soon"'),
        RULE.replace('"this test"', "3"),
        RULE.replace('"this test"', '""'),
    ],
)
def test_a_rule_that_is_not_complete_is_refused(text: str) -> None:
    assert read_group("calls", RULE).keys() == {"RK-MADE-UP"}
    with pytest.raises(ValueError, match="RK-MADE-UP"):
        read_group("calls", text)


def test_explain_and_check_speak_of_the_same_mistake() -> None:
    assert "null" in rule("RK-PARAM-NULL").title
    assert rule("RK-PARAM-NULL").group == "parameters"
