"""The arguments of a container: which literals and references are taken, and what is said of the others."""

from __future__ import annotations

import json
import re
from datetime import date
from typing import Any

import pytest

from run_kfp.arguments import (
    ARGUMENT_FORM,
    ENV_VALUE_FORM,
    PARAM_FORM,
    Reference,
    literal_fault,
    read_argument,
    read_environment_value,
    read_parameter_reference,
    text_fault,
    toml_type,
)

NUL = "contains a NUL character, which a process argument cannot"
SURROGATE = "contains bytes that are not valid UTF-8"
REPLACED = "contains '{{$', which the backend would replace: use { param = … } or { secret = … }"
CHANNEL = "contains '{{channel:', which kfp would replace"
EVALUATED = "is a JSON object with 'Concat' or 'IfPresent', which the backend would evaluate"
EXPANDED = "contains '$(NAME)', which Vertex AI would expand in an environment variable"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", None),
        ("a\tb\n\x01\x7f", None),
        ("\ud7ff\ue000 é漢😀", None),
        ("a\0", NUL),
        ("\ud800", SURROGATE),
        ("x\udfff", SURROGATE),
        ("\0\ud800", NUL),
    ],
)
def test_what_a_process_or_utf_8_cannot_hold(text: str, fault: str | None) -> None:
    assert text_fault(text) == fault
    assert literal_fault(text) == fault


@pytest.mark.parametrize(
    ("text", "fault", "in_env"),
    [
        ("{{ jinja }} {{x}} $(NAME) ${NAME} {channel:", None, EXPANDED),
        ("a{{$.inputs}}", REPLACED, REPLACED),
        ("a{{channel:b", CHANNEL, CHANNEL),
        ("{{channel:{{$", REPLACED, REPLACED),
        ("$(_a1)", None, EXPANDED),
        ("$(1a) $(a-b) $() $(a", None, None),
        ('{"Concat": []}', EVALUATED, EVALUATED),
        (' \n{"a": 1, "IfPresent": 0}', EVALUATED, EVALUATED),
        ('{"concat": []}', None, None),
        ('["Concat"]', None, None),
        ('"Concat"', None, None),
        ('x {"Concat": []}', None, None),
        ('{"Concat": []', None, None),
        ('{"a":' * 100_000, None, None),
    ],
)
def test_a_literal_arrives_as_it_stands_or_is_refused(text: str, fault: str | None, in_env: str | None) -> None:
    assert literal_fault(text) == fault
    assert literal_fault(text, in_env=True) == in_env
    if in_env is None:
        assert read_environment_value(text) == text
    else:
        with pytest.raises(ValueError, match=f"^{re.escape(in_env)}$"):
            read_environment_value(text)


REFERENCE = "an argument is a string, { param = … } or { secret = … }"


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("", ""),
        ("--fast", "--fast"),
        ({"param": "tag"}, Reference("param", "tag")),
        ({"secret": "key"}, Reference("secret", "key")),
        ({"secret": "key", "prefix": "--key="}, Reference("secret", "key", "--key=")),
    ],
)
def test_an_argument(value: Any, read: Any) -> None:
    assert read_argument(value) == read


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("{{$", REPLACED),
        ({"param": "tag", "prefix": "{{$"}, REPLACED),
        (
            {"param": "tag", "b": 1, "a": 1},
            "has an unknown key 'a': a reference is { param = … } or { secret = … }, with an optional prefix",
        ),
        ({}, "has neither a param nor a secret"),
        ({"prefix": "x"}, "has neither a param nor a secret"),
        ({"param": "a", "secret": "b"}, "has both a param and a secret"),
        ({"param": 1}, "has a key whose value is not a string"),
        ({"param": "a", "prefix": 1}, "has a key whose value is not a string"),
        (1, 'is a number; arguments are strings: write "1"'),
        (0.5, 'is a number; arguments are strings: write "0.5"'),
        (True, 'is a boolean; arguments are strings: write "true"'),
        ([], f"is an array; {REFERENCE}"),
        (date(2030, 1, 1), f"is a date or time; {REFERENCE}"),
    ],
)
def test_what_is_no_argument(value: Any, fault: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(fault)}$"):
        read_argument(value)


def test_the_value_of_a_variable_is_a_literal_or_a_reference_alone() -> None:
    assert read_environment_value({"param": "tag"}) == Reference("param", "tag")
    assert read_environment_value({"secret": "key", "prefix": ""}) == Reference("secret", "key")
    with pytest.raises(ValueError, match=r"^has a prefix; in env a value is a literal or one reference$"):
        read_environment_value({"param": "tag", "prefix": "x"})


def test_a_resource_refers_to_a_parameter_alone() -> None:
    assert read_parameter_reference({"param": "gpus"}) == Reference("param", "gpus")
    assert [read_parameter_reference(value) for value in ("4", 4, ["4"], None)] == [None] * 4
    for wrong in ({"secret": "key"}, {"param": "gpus", "prefix": "x"}):
        with pytest.raises(ValueError, match=r"^a resource is a literal or \{ param = … \}, resolved when compiling$"):
            read_parameter_reference(wrong)


def test_the_types_of_toml() -> None:
    values: tuple[Any, ...] = (True, 1, 0.5, [], {}, "", date(2030, 1, 1))
    assert [toml_type(value) for value in values] == [
        *("a boolean", "a number", "a number", "an array", "a table", "a string", "a date or time")
    ]


def test_the_forms_for_editors_know_the_same_keys() -> None:
    literal = {"type": "string", "not": {"pattern": r"\{\{(\$|channel:)|\x00"}}
    text = {"type": "string"}

    table = {"type": "object", "properties": {"param": text}, "required": ["param"], "additionalProperties": False}
    assert table == PARAM_FORM
    tables = [
        {
            "type": "object",
            "properties": {kind: text, "prefix": literal},
            "required": [kind],
            "additionalProperties": False,
        }
        for kind in ("param", "secret")
    ]
    assert {"anyOf": [literal, *tables]} == ARGUMENT_FORM
    in_env, *references = ENV_VALUE_FORM["anyOf"]
    assert re.search(in_env["not"]["pattern"], "a $(HOME)")
    assert [json.dumps(each["properties"]) for each in references] == [
        '{"param": {"type": "string"}}',
        '{"secret": {"type": "string"}}',
    ]
