"""What this machine refuses of a pipeline, by its words, and how the strings of a step become its call."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from local_pipelines import pipeline_text, task
from run_kfp.errors import InputError
from run_kfp.graph import Constant, ExecutableStep, StepContext, executable_steps, parameter_defaults, values_of
from run_kfp.pipeline import read_pipeline
from specs import context_of_spec, registry, step_spec

TAG = "{{$.inputs.parameters['tag']}}"
RUN = {
    "pipeline_job_name": "job",
    "pipeline_job_resource_name": "local://job",
    "pipeline_job_uuid": "1",
    "pipeline_task_name": "step",
    "pipeline_task_uuid": "2",
    "pipeline_job_create_time_utc": "now",
    "pipeline_root": "/root",
}


def spec(
    container: Mapping[str, Any] | None = None, component: Mapping[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    made = step_spec(container or {}, **more)
    made["components"]["comp-step"] |= component or {}
    return made


def refused(made: Mapping[str, Any]) -> list[str]:
    """Return what is said of a pipeline that does not run here; nothing where it does."""
    pipeline = context_of_spec(made, registry_text=registry(""), faults=[]).pipeline
    try:
        executable_steps(pipeline)
    except InputError as error:
        hint = "--local runs containers with parameters; submit to Vertex AI for the rest"
        marks = {hint: "", "": " (no hint)"}
        return [fault.message.removeprefix("pipeline.yaml: ") + marks[fault.hint] for fault in error.all_faults]
    return []


def inputs(**sources: Any) -> dict[str, Any]:
    return {"inputs": {"parameters": sources}}


def test_what_is_refused() -> None:
    def executor(**kind: Any) -> dict[str, Any]:
        made = spec()
        made["deploymentSpec"]["executors"]["exec-step"] = kind
        return made

    nested = spec()
    nested["components"]["comp-step"] = {"dag": {"tasks": {"inner": {"componentRef": {"name": "comp-inner"}}}}}
    nested["components"]["comp-inner"] = {"executorLabel": "exec-step"}
    cases: dict[str, Mapping[str, Any]] = {
        "right": spec(),
        "loop": spec(parameterIterator={"items": {"raw": "[]"}, "itemInput": "i"}),
        "artifacts in a loop": spec(artifactIterator={"items": {"inputArtifact": "a"}, "itemInput": "i"}),
        "condition": spec(triggerPolicy={"condition": "true"}),
        "strategy": spec(triggerPolicy={"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}),
        "strategies that are the default": spec(triggerPolicy={"strategy": "TRIGGER_STRATEGY_UNSPECIFIED"}),
        "nested": nested,
        "importer": executor(importer={}),
        "nothing": executor(),
        "image": spec({"image": ""}),
        "artifacts": spec(
            component={"outputDefinitions": {"artifacts": {"out": {}}}}, inputs={"artifacts": {"in": {}}}
        ),
        "expression": spec(**inputs(a={"componentInputParameter": "p", "parameterExpressionSelector": "x"})),
        "another source": spec(**inputs(a={"taskFinalStatus": {}}, b={})),
        "value": spec(**inputs(a={"runtimeValue": {"runtimeParameter": "x"}})),
        "undeclared": spec(**inputs(a={"componentInputParameter": "p"})),
        "limits": spec({"resources": {"cpuLimit": "x", "resourceMemoryLimit": "32", "resourceCpuLimit": TAG}}),
        "placeholders": spec(
            {
                "command": ["{{$.x}}", "{{$}}", "{{$.pipeline_root}}"],
                "args": ["{{$.outputs.parameters['o'].output_file}}", TAG],
            }
        ),
        "constants": spec(**inputs(a={"runtimeValue": {"constant": "{{$.y}}"}}, b={"runtimeValue": {"constant": 3}})),
        "outputs": spec(
            {"args": ["{{$.outputs.parameters['o'].output_file}}"]},
            {"outputDefinitions": {"parameters": {"o": {"parameterType": "STRING"}}}},
        ),
    }
    assert {name: refused(made) for name, made in cases.items()} == {
        "right": [],
        "loop": ["step step is a loop, which --local cannot run"],
        "artifacts in a loop": ["step step is a loop, which --local cannot run"],
        "condition": ["step step is a condition, which --local cannot run"],
        "strategy": ["step step runs after failures too (an exit handler), which --local cannot run"],
        "strategies that are the default": [],
        "nested": ["step step is a nested pipeline, which --local cannot run"],
        "importer": ["step step is of the kind 'importer', which --local cannot run"],
        "nothing": ["step step has no container"],
        "image": ["step step has no image"],
        "artifacts": [
            "step step takes the artifact 'in', which --local cannot pass",
            "step step produces the artifact 'out', which --local cannot keep",
        ],
        "expression": ["step step takes part of a value for 'a' (an expression), which --local cannot evaluate"],
        "another source": [
            "step step takes 'taskFinalStatus' for 'a', which --local does not support",
            "step step takes 'nothing' for 'b', which --local does not support",
        ],
        "value": ["step step takes the parameter 'x', which the pipeline does not declare (no hint)"],
        "undeclared": ["step step takes the parameter 'p', which the pipeline does not declare (no hint)"],
        "limits": [
            "step step has a resourceCpuLimit that depends on a parameter, which --local cannot resolve",
            "step step has an invalid limit: 'x' is not a valid limit: this field is a number above 0, such as 16",
            "step step has an invalid limit: the memory limit is 32 bytes",
        ],
        "placeholders": [
            "step step holds {{$.x}}, which nothing fills (no hint)",
            "step step writes the output 'o', which its component does not declare (no hint)",
        ],
        "constants": ["step step holds {{$.y}}, which nothing fills (no hint)"],
        "outputs": [],
    }


def step_of(**container: Any) -> ExecutableStep:
    declared = {"tag": {"parameterType": "STRING"}, "x": {"parameterType": "STRING", "defaultValue": "d"}}
    outputs = {"parameters": {"o": {"parameterType": "STRING"}, "n": {"parameterType": "NUMBER_INTEGER"}}}
    made = spec(container, {"inputDefinitions": {"parameters": declared}, "outputDefinitions": outputs})
    (step,) = executable_steps(context_of_spec(made, registry_text=registry(""), faults=[]).pipeline)
    return step


def test_a_step() -> None:
    plain = step_of(command=["a"], args=[1], env=[{"name": "A", "value": "b"}, {"name": "B"}])
    assert (plain.command, plain.args, plain.env, plain.after, plain.warnings) == (
        ("a",),
        ("1",),
        {"A": "b", "B": ""},
        (),
        (),
    )
    assert (plain.inputs, plain.outputs, plain.parameters, plain.writes_outputs) == (
        {"x": Constant(value="d")},
        {"o": "STRING", "n": "NUMBER_INTEGER"},
        frozenset(),
        True,
    )
    assert (plain.cpu, plain.memory, plain.accelerator, plain.resources, plain.label, plain.image) == (
        None,
        None,
        None,
        "",
        "step",
        "busybox:1.36",
    )


def test_who_writes_outputs() -> None:
    def writes(**container: Any) -> bool:
        (step,) = executable_steps(context_of_spec(spec(container), registry_text=registry(""), faults=[]).pipeline)
        return step.writes_outputs

    assert (writes(), writes(args=["{{$}}"]), writes(command=["x", "a {{$}}"]), writes(args=[TAG])) == (
        False,
        True,
        True,
        False,
    )


def test_the_strings_of_a_call() -> None:
    def evaluated(*args: str, **values: Any) -> list[str] | str:
        try:
            step = step_of(command=["c"], args=list(args))
            command, words = step.call(StepContext(values, RUN, "/outputs", ("o", "n")))
        except InputError as error:
            return f"{error.message} → {error.hint}"
        assert command == ["c"]
        return words

    present = json.dumps({"IfPresent": {"InputName": "tag", "Then": ["--tag", TAG], "Else": "none"}})
    bare = json.dumps({"IfPresent": {"InputName": "tag", "Then": "yes"}})
    joined = json.dumps({"Concat": ["a=", TAG, {"Concat": ["!"]}]})
    assert evaluated("plain", f"{TAG}-{TAG}", "{{$.pipeline_job_name}}", tag="v1") == ["plain", "v1-v1", "job"]
    assert evaluated(present, bare, joined, tag="v1") == ["--tag", "v1", "yes", "a=v1!"]
    assert evaluated(present, bare) == ["none"]
    assert evaluated(TAG) == "the input 'tag' has no value → pass it with -p"
    assert evaluated("{no json", ' {"a": 1}', '{"Concat": [], "b": 1}') == [
        "{no json",
        ' {"a": 1}',
        '{"Concat": [], "b": 1}',
    ]
    assert evaluated('{"Concat": [{"a": 1}]}') == (
        "pipeline.yaml: step step has an invalid expression in its command or arguments: {'a': 1} is "
        "neither Concat nor IfPresent → recompile the file"
    )
    assert evaluated("{{$.outputs.parameters['o'].output_file}}") == ["/outputs/o"]
    assert evaluated("{{$}}", tag=True, x=[1]) == [
        '{"inputs": {"parameterValues": {"tag": true, "x": [1]}}, "outputs": {"parameters": {"o": '
        '{"outputFile": "/outputs/o"}, "n": {"outputFile": "/outputs/n"}}, "outputFile": '
        '"/outputs/executor_output.json"}}'
    ]


def test_values_and_defaults(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    tasks = {
        "a": task("busybox", outputs=["out"]),
        "b": task("busybox", inputs={"text": "a.out", "tag": "$tag", "fixed": 1, "mixed": f"gs://{TAG}/x"}),
    }
    file.write_text(pipeline_text("p", tasks, ["tag"]), encoding="utf-8")
    pipeline = read_pipeline(file)
    _, b = executable_steps(pipeline)

    assert values_of(b, {"tag": "v1"}, {("a", "out"): "o"}, RUN) == {
        "tag": "v1",
        "text": "o",
        "fixed": 1,
        "mixed": "gs://v1/x",
    }
    assert parameter_defaults(pipeline) == {}
    with_defaults = spec()
    with_defaults["root"]["inputDefinitions"] = {
        "parameters": {"a": {"defaultValue": None, "parameterType": "STRING"}, "b": {"parameterType": "STRING"}}
    }
    assert parameter_defaults(context_of_spec(with_defaults, registry_text=registry(""), faults=[]).pipeline) == {
        "a": None
    }


def test_a_file_that_is_no_pipeline() -> None:
    def broken(change: Iterable[tuple[str, Any]]) -> list[str]:
        made = spec()
        made["root"]["dag"]["tasks"]["step"] |= dict(change)
        return refused(made)

    assert broken([("componentRef", "x")]) == ["step step has no container"]
    assert broken([("inputs", {"parameters": [1]})]) == [
        "pipeline.yaml is not a KFP v2 pipeline: a task is invalid ('list' object has no attribute 'items') (no hint)"
    ]
