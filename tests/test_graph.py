"""What a compiled pipeline becomes on this machine: its steps, their arguments, and what is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import compiler, dsl

import kfp_pipelines
from local_pipelines import pipeline_text, task
from run_kfp.errors import InputError
from run_kfp.graph import (
    Constant,
    FromOutput,
    FromParameter,
    StepContext,
    downstream,
    executable_steps,
    read_outputs,
    values_of,
)
from run_kfp.pipeline import read_pipeline
from run_kfp.pipeline.placeholders import as_text


def compiled(function: Callable[..., None], folder: Path) -> Path:
    path = folder / "p.yaml"
    compiler.Compiler().compile(dsl.pipeline(name="p")(function), str(path))
    return path


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    ("function", "words"),
    [
        (kfp_pipelines.a_condition, "step condition-1 is a condition"),
        (kfp_pipelines.a_loop, "step for-loop-2 is a loop"),
        (kfp_pipelines.an_exit_handler, "runs after failures too"),
        (kfp_pipelines.an_importer, "step importer is of the kind 'importer'"),
        (kfp_pipelines.an_artifact, "step keep produces the artifact 'data'"),
        (kfp_pipelines.an_inner_pipeline, "step inner is a nested pipeline"),
    ],
)
def test_what_this_machine_cannot_run_is_refused_by_name(
    function: Callable[..., None], words: str, folder: Path
) -> None:
    pipeline = read_pipeline(compiled(function, folder))
    with pytest.raises(InputError) as raised:
        executable_steps(pipeline)
    told = [raised.value.message, *(fault.message for fault in raised.value.faults)]
    assert any(words in line for line in told), told


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_what_kfp_compiles(folder: Path) -> None:
    steps = {step.name: step for step in executable_steps(read_pipeline(compiled(kfp_pipelines.chain, folder)))}

    assert (steps["make"].memory, steps["make"].cpu) == (512 * 1024**2, 0.5)
    assert steps["make"].outputs == {"result": "STRING"}
    assert steps["echo"].after == ("make",)
    assert steps["echo"].env == {"MODE": "x"}
    assert steps["echo"].warnings == ("is not retried after a failure; Vertex AI tries 2 times",)
    assert steps["number"].accelerator == ("NVIDIA_TESLA_T4", 2)
    assert steps["number"].writes_outputs
    values = values_of(steps["echo"], {"tag": "v1"}, {("make", "result"): "yes"}, {})
    assert steps["echo"].call(StepContext(values, {})) == (["echo"], ["v1/yes"])
    values = values_of(steps["echo-2"], {"count": 3.0}, {}, {})
    assert steps["echo-2"].call(StepContext(values, {})) == (["echo"], ["3"])


def one(folder: Path, *args: str, inputs: dict[str, Any] | None = None, parameters: tuple[str, ...] = ()) -> Any:
    path = folder / "p.yaml"
    path.write_text(
        pipeline_text("p", {"one": task("busybox", ["x"], args, inputs=inputs)}, parameters), encoding="utf-8"
    )
    (step,) = executable_steps(read_pipeline(path))
    return step


@pytest.mark.parametrize(
    ("arg", "words"),
    [
        ("{{$.inputs.artifacts['x'].path}}", "holds {{$.inputs.artifacts['x'].path}}"),
        ("a {{$.unknown}} b", "holds {{$.unknown}}"),
        ("{{$.outputs.parameters['no'].output_file}}", "writes the output 'no'"),
    ],
)
def test_an_unknown_placeholder_is_refused(folder: Path, arg: str, words: str) -> None:
    with pytest.raises(InputError) as raised:
        one(folder, arg)
    assert words in raised.value.message


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ({"IfPresent": 3}, "IfPresent needs InputName and Then"),
        ({"IfPresent": {"InputName": "a"}}, "IfPresent needs InputName and Then"),
        ({"IfPresent": {"InputName": ["a"], "Then": "x"}}, "IfPresent needs InputName and Then"),
        ({"IfPresent": {"InputName": "a", "Then": ["x"], "Else": None}}, "None is neither Concat nor IfPresent"),
        ({"Concat": "ab"}, "Concat is not a list"),
        ({"Concat": ["a", 3]}, "3 is neither Concat nor IfPresent"),
        ({"Concat": ["a", {"Concat": ["b"], "x": 1}]}, "is neither Concat nor IfPresent"),
        ({"Concat": ['{"IfPresent": 3}']}, "IfPresent needs InputName and Then"),
    ],
)
def test_an_expression_is_looked_at_before_anything_starts(folder: Path, expression: object, words: str) -> None:
    with pytest.raises(InputError) as raised:
        one(folder, json.dumps(expression))
    assert words in raised.value.message
    assert "has an invalid expression" in raised.value.message


@pytest.mark.parametrize("deep", [20, 300, 5000])
def test_an_expression_may_be_nested_as_deep_as_kfp_writes_it(folder: Path, deep: int) -> None:
    text = '{"Concat": [' * deep + '"x"' + "]}" * deep

    if deep == 300:
        with pytest.raises(InputError, match="nested more than 50 deep"):
            one(folder, text)
    else:  # what JSON itself refuses is text
        assert one(folder, text).args == (text,)


def test_openings_without_an_end_take_a_time_that_grows_with_their_number(folder: Path) -> None:
    text = "{{$" * 200_000

    assert one(folder, text).args == (text,)


def test_values_are_never_expanded(folder: Path) -> None:
    step = one(
        folder, "{{$.inputs.parameters['tag']}}", inputs={"tag": "$tag", "key": "$key"}, parameters=("tag", "key")
    )
    parameters = {"tag": "{{$.inputs.parameters['key']}}", "key": "hidden"}
    values = values_of(step, parameters, {}, {})
    assert step.call(StepContext(values, {})) == (["x"], [parameters["tag"]])


def test_an_input_without_a_value_is_named(folder: Path) -> None:
    step = one(folder, "{{$.inputs.parameters['tag']}}", inputs={"tag": "$tag"}, parameters=("tag",))
    with pytest.raises(InputError, match="input 'tag' has no value"):
        step.call(StepContext(values_of(step, {}, {}, {}), {}))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"),
        (3.0, "3"),
        (3, "3"),
        (0.5, "0.5"),
        (True, "true"),
        ([1, "a"], '[1, "a"]'),
        ({"k": None}, '{"k": null}'),
    ],
)
def test_values_as_arguments(value: Any, text: str) -> None:
    assert as_text(value) == text


def test_outputs_are_read_by_their_types(folder: Path) -> None:
    path = folder / "p.yaml"
    text = pipeline_text("p", {"one": task("busybox", outputs=["out"])}).replace("STRING", "NUMBER_INTEGER")
    path.write_text(text, encoding="utf-8")
    (step,) = executable_steps(read_pipeline(path))

    assert read_outputs(step, {"out": "3"}) == {"out": 3}
    assert read_outputs(step, {"executor_output.json": '{"parameterValues": {"out": 4}}'}) == {"out": 4}
    with pytest.raises(InputError, match="does not have the declared type"):
        read_outputs(step, {"out": "three"})
    with pytest.raises(InputError, match="'out' was not written"):
        read_outputs(step, {})


def test_what_kfps_python_components_read(folder: Path) -> None:
    """`{{$}}`: inputs by their types, and where outputs go (kfp 2.17, dsl/executor.py)."""
    path = folder / "p.yaml"
    one = task("busybox", args=["--executor_input", "{{$}}"], inputs={"count": 3}, outputs=["out"])
    path.write_text(pipeline_text("p", {"one": one}), encoding="utf-8")
    (step,) = executable_steps(read_pipeline(path))

    _, args = step.call(StepContext(values_of(step, {}, {}, {}), {}, "/outputs", tuple(step.outputs)))

    assert json.loads(args[1]) == {
        "inputs": {"parameterValues": {"count": 3}},
        "outputs": {
            "parameters": {"out": {"outputFile": "/outputs/out"}},
            "outputFile": "/outputs/executor_output.json",
        },
    }


def test_downstream_and_sources(folder: Path) -> None:
    tasks = {
        "a": task("busybox", outputs=["out"]),
        "b": task("busybox", inputs={"text": "a.out", "tag": "$tag", "fixed": 1}),
        "c": task("busybox", after=["a"]),
        "d": task("busybox", after=["b"]),
    }
    path = folder / "p.yaml"
    path.write_text(pipeline_text("p", tasks, ["tag"]), encoding="utf-8")
    steps = executable_steps(read_pipeline(path))
    by_name = {step.name: step for step in steps}

    assert downstream(steps, "b") == {"b", "d"}
    assert by_name["b"].inputs == {"text": FromOutput("a", "out"), "tag": FromParameter("tag"), "fixed": Constant(1)}
    assert by_name["b"].parameters == {"tag"}


def refused(folder: Path, **container: Any) -> list[str]:
    """Return what is said of a step with such a container, with the hints."""
    path = folder / "p.yaml"
    text = pipeline_text("p", {"one": task("busybox")})
    spec = yaml.safe_load(text)
    spec["deploymentSpec"]["executors"]["exec-one"]["container"] = container
    path.write_text(yaml.safe_dump(spec), encoding="utf-8")
    try:
        executable_steps(read_pipeline(path))
    except InputError as error:
        return [f"{fault.message.partition('step one ')[2]} | {fault.hint}" for fault in error.all_faults]
    return []


LAUNCHER = "gcr.io/ml-pipeline/google-cloud-pipeline-components"
STARTS = (
    "starts a job in Google Cloud, which --local does not do (google-cloud-pipeline-components) | "
    "submit to Vertex AI, or rehearse a file without this step"
)


@pytest.mark.parametrize(
    ("container", "words"),
    [
        ({"image": LAUNCHER}, [STARTS]),
        ({"image": f"{LAUNCHER}:2.0"}, [STARTS]),
        ({"image": f"{LAUNCHER}:2.0@sha256:{'a' * 64}"}, [STARTS]),
        ({"image": LAUNCHER, "command": ["python"]}, []),
        ({"image": "google-cloud-pipeline-components"}, [STARTS]),
        ({"image": "google-cloud-pipeline-components/other"}, []),
        ({"image": "a", "command": ["python", "-m", "google_cloud_pipeline_components.container.v1.x"]}, [STARTS]),
        ({"image": "a", "args": ["-m", "google_cloud_pipeline_components.container.v1.x"]}, [STARTS]),
        ({"image": "a", "args": ["google_cloud_pipeline_components"]}, []),
        (
            {"image": "argostub/createpvc"},
            [
                "creates a volume on a KFP server and has no image to run | "
                "remove the step; --bucket-dir gives steps a folder"
            ],
        ),
        (
            {"command": ["x"]},
            ["has no image | --local runs containers with parameters; submit to Vertex AI for the rest"],
        ),
    ],
)
def test_containers_that_this_machine_does_not_start(container: dict[str, Any], words: list[str], folder: Path) -> None:
    assert refused(folder, **container) == words


def with_input(source: dict[str, Any], folder: Path, declared: dict[str, Any] | None = None) -> Any:
    """Return the step of a pipeline whose input `x` comes from `source`."""
    spec = yaml.safe_load(pipeline_text("p", {"one": task("busybox", inputs={"x": 1})}, ["tag"]))
    spec["root"]["dag"]["tasks"]["one"]["inputs"]["parameters"]["x"] = source
    spec["components"]["comp-one"]["inputDefinitions"]["parameters"] |= declared or {}
    path = folder / "p.yaml"
    path.write_text(yaml.safe_dump(spec), encoding="utf-8")
    (step,) = executable_steps(read_pipeline(path))
    return step


@pytest.mark.parametrize(
    ("value", "source"),
    [
        ({"constant": 3.0}, Constant(3.0)),
        ({"constantValue": {"intValue": "3"}}, Constant(3)),
        ({"constantValue": {"doubleValue": 0.5}}, Constant(0.5)),
        ({"constantValue": {"stringValue": "3"}}, Constant("3")),
        ({"runtimeParameter": "tag"}, FromParameter("tag")),
    ],
)
def test_constants_by_both_of_their_names(value: dict[str, Any], source: object, folder: Path) -> None:
    assert with_input({"runtimeValue": value}, folder).inputs == {"x": source}


def test_defaults_count_where_a_task_gives_nothing(folder: Path) -> None:
    step = with_input({"componentInputParameter": "tag"}, folder, {"y": {"parameterType": "LIST", "defaultValue": [1]}})
    assert step.inputs == {"y": Constant([1]), "x": FromParameter("tag")}
    assert values_of(step, {}, {}, {}) == {"y": [1]}
    assert values_of(step, {"tag": 2.0}, {}, {}) == {"x": 2, "y": [1]}


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"runtimeValue": {}}, "takes a value for 'x' that is not a constant, which --local cannot evaluate"),
        (
            {"componentInputParameter": "tag", "parameterExpressionSelector": "a"},
            "takes part of a value for 'x' (an expression), which --local cannot evaluate",
        ),
        ({"componentInputParameter": "no"}, "takes the parameter 'no', which the pipeline does not declare"),
        ({}, "takes 'nothing' for 'x', which --local does not support"),
    ],
)
def test_inputs_that_this_machine_cannot_give(source: dict[str, Any], words: str, folder: Path) -> None:
    with pytest.raises(InputError) as raised:
        with_input(source, folder)
    assert [fault.message.partition("step one ")[2] for fault in raised.value.all_faults] == [words]


def limited(folder: Path, limit: str, **more: Any) -> Any:
    path = folder / "p.yaml"
    resources = {"resourceCpuLimit": limit}
    tasks = {"make": task("busybox", outputs=["out"]), "one": task("busybox", resources=resources, **more)}
    path.write_text(pipeline_text("p", tasks), encoding="utf-8")
    return executable_steps(read_pipeline(path))[-1]


def test_a_limit_that_another_step_writes_is_left_out_and_told(folder: Path) -> None:
    step = limited(folder, "{{$.inputs.parameters['cpu']}}", inputs={"cpu": "make.out"})
    assert step.cpu is None
    assert step.warnings == ("runs without its resourceCpuLimit, which is known only during the run",)
    assert limited(folder, "2", inputs={"cpu": "make.out"}).warnings == ()


def test_a_limit_that_nothing_fills_is_refused(folder: Path) -> None:
    with pytest.raises(InputError) as raised:
        limited(folder, "{{$.inputs.parameters['no']}}", inputs={"cpu": "make.out"})
    assert raised.value.message.endswith(
        "step one has a resourceCpuLimit that depends on a parameter, which --local cannot resolve"
    )


def test_every_wrong_limit_is_told(folder: Path) -> None:
    path = folder / "p.yaml"
    resources = {"resourceCpuLimit": "{{$.inputs.parameters['cpu']}}", "resourceMemoryLimit": "much"}
    tasks = {
        "make": task("busybox", outputs=["out"]),
        "one": task("busybox", resources=resources, inputs={"cpu": "make.out"}),
    }
    path.write_text(pipeline_text("p", tasks), encoding="utf-8")
    with pytest.raises(InputError, match="step one has an invalid limit: "):
        executable_steps(read_pipeline(path))


@pytest.mark.parametrize(
    ("text", "inputs", "args"),
    [
        ({"Concat": ["a", {"Concat": ["b", "c"]}]}, {}, ["abc"]),
        ({"Concat": ["--x=", "{{$.inputs.parameters['x']}}"]}, {"x": 1.0}, ["--x=1"]),
        ({"IfPresent": {"InputName": "x", "Then": ["--x", "{{$.inputs.parameters['x']}}"]}}, {"x": 0}, ["--x", "0"]),
        ({"IfPresent": {"InputName": "x", "Then": "a"}}, {}, []),
        ({"IfPresent": {"InputName": "x", "Then": "a", "Else": ["b", "c"]}}, {}, ["b", "c"]),
        ({"IfPresent": {"InputName": "x", "Then": "a", "Else": "b"}}, {"x": None}, ["b"]),
    ],
)
def test_expressions(text: object, inputs: dict[str, Any], args: list[str], folder: Path) -> None:
    assert one(folder, json.dumps(text)).call(StepContext(inputs, {})) == (["x"], args)


def test_what_an_expression_holds_by_mistake_is_an_error_in_words(folder: Path) -> None:
    step = one(folder, "a")
    for node, words in (({"x": 1}, '{"x": 1}'), (3, "3")):
        broken = replace(step, args=(json.dumps({"Concat": [node]}),))
        with pytest.raises(InputError) as raised:
            broken.call(StepContext({}, {}))
        assert raised.value.message == f"{words} is neither Concat nor IfPresent"


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("STRING", " a\n", " a\n"),
        ("NUMBER_INTEGER", "3", 3),
        ("NUMBER_INTEGER", "0.5", None),
        ("NUMBER_DOUBLE", "3", 3),
        ("NUMBER_DOUBLE", "0.5", 0.5),
        ("NUMBER_DOUBLE", '"0.5"', None),
        ("BOOLEAN", "True", True),
        ("BOOLEAN", "false", False),
        ("BOOLEAN", "1", None),
        ("LIST", '["A"]', ["A"]),
        ("LIST", "{}", None),
        ("STRUCT", '{"A": 1}', {"A": 1}),
        ("STRUCT", "[]", None),
        ("UNKNOWN", "{}", None),
    ],
)
def test_outputs_of_every_type(kind: str, text: str, value: object, folder: Path) -> None:
    step = replace(one(folder, "a"), outputs={"out": kind})
    if value is not None:
        found = read_outputs(step, {"out": text})
        assert found == {"out": value}
        assert type(found["out"]) is type(value)
    else:
        with pytest.raises(InputError) as raised:
            read_outputs(step, {"out": text})
        assert raised.value.message == f"an output does not have the declared type: is not {kind}"
