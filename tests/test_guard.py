"""The text of a pipeline file before it is read: its depth, its size with aliases written out, keys given twice."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from run_kfp.pipeline import guard
from run_kfp.pipeline.guard import json_faults, yaml_fault

DEEPEST = 90


def fault(text: str) -> str | None:
    found = yaml_fault(text, yaml.SafeLoader)
    return f"line {found.line}: {found.message}" if found else None


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\na: 2",
        "a: {x: 1}\na: 2",
        "a: [1, 2]\nb: 2\na: 3",
        "x: &x 1\na: *x\nb: 2\na: 3",
        "a:\n  b: 1\n  c: [{b: 1}, {b: 2}]\n  b: 3",
        "'a': 1\na: 2",
    ],
)
def test_a_key_that_stands_twice_in_a_table(text: str) -> None:
    found = fault(text)

    assert found is not None
    assert f"line {text.count(chr(10)) + 1}: " in found
    assert "key" in found


@pytest.mark.parametrize(
    "text",
    [
        "a: b\nb: a",
        "a: a",
        "a: [a, a]",
        "a: {a: {a: 1}}\nb: {a: 1}",
        "[{a: 1}, {a: 2}]",
        "{[a]: 1, [b]: 2, a: 3}",
        "{{a: 1}: a, a: 2}",
        "a: &a {b: 1}\nc: *a\nb: *a",
        "a: 1\n---\na: 2",
        "",
    ],
)
def test_keys_that_are_different_or_of_different_tables(text: str) -> None:
    assert fault(text) is None


@pytest.mark.parametrize(("more", "fine"), [(0, True), (1, False)])
def test_nesting_has_an_end(more: int, fine: bool) -> None:
    depth = DEEPEST + more

    assert (fault("[" * depth + "]" * depth) is None) is fine
    assert (fault("- " * depth + "x") is None) is fine


def test_what_stands_within_itself_is_nested_for_ever() -> None:
    found = fault("a: &a\n  b: 1\n  c: *a")

    assert found is not None
    assert "line 3: *a contains itself" in found
    assert fault("a: &a [1]\nb: &b [*a]\nc: [*a, *b]") is None


def test_aliases_count_as_if_they_were_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "LARGEST_FILE", 2**20)
    once = f"a: &a [{'x' * 100_000}]\n"

    assert fault(once + "b: [" + ", ".join(["*a"] * 9) + "]") is None
    found = fault(once + "b: [" + ", ".join(["*a"] * 10) + "]")
    assert found is not None
    assert "line 2: " in found
    assert "1 MB" in found


@pytest.mark.parametrize(("less", "fine"), [(0, True), (1, False)])
def test_a_text_may_be_as_large_as_a_file(monkeypatch: pytest.MonkeyPatch, less: int, fine: bool) -> None:
    monkeypatch.setattr(guard, "LARGEST_FILE", 100 + guard._SIZE_OF_VALUE - less)

    assert (fault(f"[{'x' * 100}]") is None) is fine


def test_an_anchor_of_an_earlier_document_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "LARGEST_FILE", 2**20)
    once = f"a: &a [{'x' * 100_000}]\n"

    assert fault(f"{once}---\nb: [{', '.join(['*a'] * 10)}]") is None


def nested(depth: int) -> Any:
    value: Any = 1
    for number in range(depth):
        value = [value] if number % 2 else {"a": value}
    return value


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"a": [1, 1.5, "x", None, True, False, 2**53, -(2**53)]}, None),
        (nested(DEEPEST), None),
        (nested(DEEPEST + 1), "nested more than 90 deep"),
        ({"a": {1: 2}}, "a has the key 1"),
        ({"a": [0, float("nan")]}, "a[1] is nan"),
        ({"a": float("-inf")}, "a is -inf"),
        ({"a": {"b": 2**53 + 1}}, "a.b is an integer beyond"),
        ({"a": -(2**53) - 1}, "beyond"),
        ({"a": b"x"}, "a is a bytes"),
        (b"x", "is a bytes"),
        ({"a": yaml.safe_load("2030-01-01")}, "a is a date"),
    ],
)
def test_what_json_does_not_have_is_named_by_its_place(value: Any, words: str | None) -> None:
    found = [f"{place} {message}".strip() for place, message in json_faults(value)]

    if words is None:
        assert found == []
    else:
        assert len(found) == 1
        assert words in found[0]


def test_everything_that_json_does_not_have_is_told_in_the_order_of_the_file() -> None:
    value = {"a": [float("nan"), 1, float("inf")], "b": {"c": 2**60, 3: "x"}}

    assert [place for place, _ in json_faults(value)] == ["a[0]", "a[2]", "b", "b.c"]


def test_what_stands_in_many_places_is_looked_at_once_and_its_depth_each_time() -> None:
    value: Any = [1]
    for _ in range(60):
        value = [value, value]

    assert list(json_faults(value)) == []
    assert [words for _, words in json_faults([value, {"a": [[value]] * 2, "b": nested_around(value, 40)}])] == [
        "nested more than 90 deep"
    ]


def nested_around(value: Any, times: int) -> Any:
    for _ in range(times):
        value = [value]
    return value
