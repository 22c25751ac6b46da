"""What the strings of a step stand for: placeholders, `Concat` and `IfPresent`, as KFP's own driver reads them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from run_kfp.errors import InputError
from run_kfp.graph import StepContext
from run_kfp.pipeline.placeholders import as_text
from test_runner import a_step

TAG = "{{$.inputs.parameters['tag']}}"
OTHER = "{{$.inputs.parameters['other']}}"


def called(*args: str, **inputs: Any) -> list[str]:
    context = StepContext(inputs, {"pipeline_job_name": "chain-1"}, "/outputs", ("out",))
    command, given = a_step("one", command=("run", TAG), args=args).call(context)
    assert command == ["run", "v1"]
    return list(given)


def present(name: str, then: Any, *orelse: Any) -> str:
    body = {"InputName": name, "Then": then}
    return json.dumps({"IfPresent": {**body, "Else": orelse[0]} if orelse else body})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (TAG, ["v1"]),
        (f"--tag={TAG}/{TAG}", ["--tag=v1/v1"]),
        ('{{$.inputs.parameters["tag"]}}', ["v1"]),
        ("{{$.pipeline_job_name}}", ["chain-1"]),
        ("{{$.outputs.parameters['out'].output_file}}", ["/outputs/out"]),
        ("", [""]),
        ("{}", ["{}"]),
        ('{"a": 1}', ['{"a": 1}']),
        ('{"Concat": ["a"], "more": 1}', ['{"Concat": ["a"], "more": 1}']),
        ("{not json", ["{not json"]),
        (json.dumps({"Concat": ["a=", TAG]}), ["a=v1"]),
        (f"  {json.dumps({'Concat': ['a']})}", ["a"]),
        (json.dumps({"Concat": ["a", {"Concat": ["b", TAG]}]}), ["abv1"]),
        (present("tag", ["--tag", TAG]), ["--tag", "v1"]),
        (present("tag", TAG), ["v1"]),
        (present("other", ["--other", OTHER]), []),
        (present("other", ["--other", OTHER], ["--none", TAG]), ["--none", "v1"]),
        (present("tag", ["yes"], ["no"]), ["yes"]),
        (json.dumps({"Concat": ["a", json.loads(present("other", "b", "c"))]}), ["ac"]),
    ],
)
def test_what_a_string_stands_for(text: str, expected: list[str]) -> None:
    assert called(text, tag="v1") == expected


def test_an_input_that_is_none_is_not_present() -> None:
    assert called(present("other", ["yes"], ["no"]), tag="v1", other=None) == ["no"]


def test_a_structure_of_another_form_is_refused() -> None:
    with pytest.raises(InputError, match="is neither Concat nor IfPresent"):
        called('{"Concat": [3]}', tag="v1")


def test_an_input_without_a_value_is_named() -> None:
    with pytest.raises(InputError, match="the input 'other' has no value"):
        called(OTHER, tag="v1")


def test_what_kfps_own_components_read() -> None:
    assert json.loads(called("{{$}}", tag="v1")[0]) == {
        "inputs": {"parameterValues": {"tag": "v1"}},
        "outputs": {
            "parameters": {"out": {"outputFile": "/outputs/out"}},
            "outputFile": "/outputs/executor_output.json",
        },
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [("a", "a"), (3.0, "3"), (3.5, "3.5"), (3, "3"), (True, "true"), ([1, "é"], '[1, "\\u00e9"]'), (None, "null")],
)
def test_a_value_as_text(value: Any, text: str) -> None:
    assert as_text(value) == text
