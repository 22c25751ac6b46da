"""A pipeline file held against KFP's schema: what fits comes back in one form, what does not is told with its place."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from conftest import Cli
from run_kfp.errors import InputError
from run_kfp.findings import Severity
from run_kfp.pipeline import read_pipeline
from run_kfp.pipeline.proto import fit
from specs import context_of_spec, step_spec
from test_corpus import CORPUS

Write = Callable[[str, str], Path]
Told = list[tuple[str, str, str, Severity]]

CONTAINER = "deploymentSpec.executors.exec-step.container"
STEP = "root.dag.tasks.step"


def told(spec: object, message: str = "PipelineSpec") -> Told:
    _, found = fit(spec, "p.yaml", message)
    return [(each.code, each.place.removeprefix("p.yaml: "), each.hint, each.severity) for each in found]


def changed(path: str, value: object) -> dict[str, Any]:
    """Return a spec of one step with `value` under `path` ("a.b.c"), tables made where there are none."""
    spec = step_spec({})
    *above, last = path.split(".")
    table: Any = spec
    for key in above:
        table = table.setdefault(key, {})
    table[last] = value
    return spec


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        (f"{CONTAINER}.arg", "did you mean 'args'?"),
        (f"{CONTAINER}.resource", "did you mean 'resources'?"),
        (f"{CONTAINER}.resources.cpuLimits", "did you mean 'cpuLimit'?"),
        (f"{CONTAINER}.resources.accelerator.resource_typ", "did you mean 'resourceType'?"),
        ("deploymentSpec.executers", "did you mean 'executors'?"),
        ("deploymentSpec.executors.exec-step.containers", "did you mean 'container'?"),
        (f"{STEP}.dependantTasks", "did you mean 'dependentTasks'?"),
        (f"{STEP}.cachingOptions.enableCaching", "did you mean 'enableCache'?"),
        ("components.comp-step.inputDefinition", "did you mean 'inputDefinitions'?"),
        ("pipelineInfo.displayname", "did you mean 'displayName'?"),
        ("defaultPipelineRoots", "did you mean 'defaultPipelineRoot'?"),
    ],
)
def test_an_unknown_key_of_any_level_has_the_nearest_one(path: str, hint: str) -> None:
    assert told(changed(path, {})) == [("RK-SPEC-KEY", path, hint, Severity.ERROR)]


@pytest.mark.parametrize("path", [f"{CONTAINER}.zzz", "x-note", f"{STEP}.🙂"])
def test_a_key_that_resembles_none_may_be_newer(path: str) -> None:
    ((code, place, hint, severity),) = told(changed(path, 1))

    assert (code, place, severity) == ("RK-SPEC-KEY", path, Severity.WARNING)
    assert hint.startswith("remove it; the keys here are ")


@pytest.mark.parametrize(
    ("path", "value", "wanted"),
    [
        ("pipelineInfo.description", 3.11, "text in quotes"),
        ("pipelineInfo", "x", "a table"),
        (f"{STEP}.dependentTasks", "pull", "a list"),
        (f"{STEP}.dependentTasks", ["a", 1], "text in quotes"),
        (f"{STEP}.cachingOptions.enableCache", "yes", "true or false, without quotes"),
        (f"{STEP}.cachingOptions", True, "a table"),
        (f"{STEP}.iteratorPolicy.parallelismLimit", -1, "an integer from 0 to 2147483647"),
        (f"{STEP}.iteratorPolicy.parallelismLimit", 2**31, "an integer from 0 to 2147483647"),
        (f"{STEP}.iteratorPolicy.parallelismLimit", 1.5, "an integer"),
        (f"{STEP}.iteratorPolicy.parallelismLimit", "many", "an integer"),
        (f"{STEP}.iteratorPolicy.parallelismLimit", True, "an integer"),
        (f"{STEP}.componentRef.name", ["a"], "text in quotes"),
        (f"{STEP}.inputs", [], "a table"),
        ("components.comp-step.inputDefinitions.parameters", ["x"], "a table"),
        ("components.comp-step.executorLabel", 7, "text in quotes"),
        ("deploymentSpec.executors", [], "a table"),
        ("deploymentSpec", "x", "a table"),
    ],
)
def test_a_value_of_another_type_is_told_and_left_out(path: str, value: object, wanted: str) -> None:
    spec = changed(path, value)

    fitted, found = fit(spec, "p.yaml")

    (only,) = found
    assert (only.code, only.severity) == ("RK-SPEC-VALUE", Severity.ERROR)
    assert only.place.startswith(f"p.yaml: {path}")
    assert only.message.endswith(f"; expected {wanted}")
    json_format.ParseDict(fitted, pipeline_spec_pb2.PipelineSpec())


def test_a_text_in_the_wrong_place_may_be_a_secret_and_is_not_shown() -> None:
    _, (found,) = fit(changed(f"{STEP}.dependentTasks", "hunter2"), "p.yaml")

    assert "hunter2" not in found.message + found.hint


@pytest.mark.parametrize(
    ("kind", "hint", "severity"),
    [
        ("str", "write STRING", Severity.ERROR),
        ("Integer", "write NUMBER_INTEGER", Severity.ERROR),
        ("STRIGN", "did you mean 'STRING'?", Severity.ERROR),
        ("QUATERNION", "write one of", Severity.WARNING),
    ],
)
def test_a_type_that_kfp_does_not_have(kind: str, hint: str, severity: Severity) -> None:
    ((code, place, said, found),) = told(changed("root.inputDefinitions.parameters.x.parameterType", kind))

    assert (code, place, found) == ("RK-SPEC-VALUE", "root.inputDefinitions.parameters.x.parameterType", severity)
    assert said.startswith(hint)


def test_two_of_which_one_is_allowed() -> None:
    spec = changed("components.comp-step.dag", {"tasks": {}})

    assert told(spec) == [("RK-SPEC-KEY", "components.comp-step.dag", "remove one of the two", Severity.ERROR)]


@pytest.mark.parametrize(
    "path",
    [
        f"{CONTAINER}.resources.cpu_limit",
        f"{CONTAINER}.resources.resource_cpu_limit",
        f"{CONTAINER}.resources.cpuLimit",
        f"{CONTAINER}.resources.accelerator.count",
    ],
)
def test_older_fields_and_names_with_underscores_are_the_same_keys(path: str) -> None:
    fitted, found = fit(changed(path, 4), "p.yaml")

    assert found == []
    assert "cpu_limit" not in str(fitted)


def test_a_key_under_both_of_its_names() -> None:
    spec = changed(f"{CONTAINER}.resources", {"cpuLimit": 4, "cpu_limit": 8})

    assert told(spec) == [("RK-SPEC-KEY", f"{CONTAINER}.resources.cpu_limit", "remove one", Severity.ERROR)]


@pytest.mark.parametrize("value", [3, 3.0, "3"])
def test_a_number_may_be_written_as_json_of_protobuf_has_it(value: object) -> None:
    fitted, found = fit(changed(f"{STEP}.iteratorPolicy.parallelismLimit", value), "p.yaml")

    assert found == []
    number = fitted["root"]["dag"]["tasks"]["step"]["iteratorPolicy"]["parallelismLimit"]
    assert (number, type(number)) == (3, int)


def test_null_leaves_a_field_unset_but_is_a_value_where_any_value_may_stand() -> None:
    spec = changed("root.inputDefinitions.parameters.x", {"parameterType": "STRING", "defaultValue": None})
    spec["pipelineInfo"]["description"] = None

    fitted, found = fit(spec, "p.yaml")

    assert found == []
    assert fitted["root"]["inputDefinitions"]["parameters"]["x"]["defaultValue"] is None
    assert "description" not in fitted["pipelineInfo"]


def test_the_settings_of_platforms_are_looked_at_too() -> None:
    platforms: Any = {"platforms": {"kubernetes": {"deploymentSpec": {"executers": {}}}}}

    assert told(platforms, "PlatformSpec") == [
        ("RK-SPEC-KEY", "platforms.kubernetes.deploymentSpec.executers", "did you mean 'executors'?", Severity.ERROR)
    ]
    # What stands there for Kubernetes is another schema's.
    body = {"executors": {"exec-step": {"secretAsEnv": [{"anything": 1}]}}, "platform": "kubernetes"}
    assert (
        told({"platforms": {"kubernetes": {"deploymentSpec": {"executors": body["executors"]}}}}, "PlatformSpec") == []
    )


def test_a_thousand_mistakes_are_told_by_the_first_hundred() -> None:
    spec = changed(f"{CONTAINER}.resources", {f"key{number}": 1 for number in range(1000)})

    assert len(told(spec)) == 100


def test_parts_that_aliases_share_are_looked_at_once() -> None:
    text = yaml.safe_dump(step_spec({}))
    spec = yaml.safe_load(text)
    shared = {"nme": "x"}
    spec["root"]["dag"]["tasks"] = {str(number): shared for number in range(10_000)}

    assert len(told(spec)) == 1


@pytest.mark.parametrize("path", sorted((CORPUS / "compiled").iterdir()), ids=lambda path: path.name)
def test_a_file_of_the_corpus_fits_as_it_is(path: Path) -> None:
    documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))

    fitted, found = fit(copy.deepcopy(documents[0]), path.name)

    assert found == []
    message = json_format.ParseDict(documents[0], pipeline_spec_pb2.PipelineSpec())
    assert json_format.ParseDict(fitted, pipeline_spec_pb2.PipelineSpec()) == message


# ── the program ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_check_tells_every_unknown_key_with_line_and_column(cli: Cli, write: Write) -> None:
    write(
        "edited.yaml",
        """\
components:
  comp-pull: {executorLabel: exec-pull}
  comp-train: {executorLabel: exec-train}
deploymentSpec:
  executors:
    exec-pull:
      container: {image: "my-team/pull:1", command: [python, pull.py], arg: [--all]}
    exec-train:
      container:
        image: my-team/train:1
        command: [python, train.py]
        resource: {cpuLimit: 16.0, memoryLimit: 60.0}
pipelineInfo: {name: edited}
root:
  dag:
    tasks:
      pull: {cachingOptions: {}, componentRef: {name: comp-pull}, taskInfo: {name: pull}}
      train:
        cachingOptions: {}
        componentRef: {name: comp-train}
        dependantTasks: [pull]
        taskInfo: {name: train}
schemaVersion: 2.1.0
sdkVersion: kfp-2.17.0
""",
    )
    flags = ("--project", "my-project", "--region", "us-east1", "--bucket", "my-bucket-1")
    account = ("--service-account", "runner@my-project.iam.gserviceaccount.com")

    result = cli("check", "-f", "edited.yaml", "--offline", "--json", *flags, *account)

    assert result.code == 3
    keys = [
        (found["line"], found["column"], found["hint"])
        for found in result.json["findings"]
        if found["code"] == "RK-SPEC-KEY"
    ]
    assert sorted(keys) == [
        (7, 72, "did you mean 'args'?"),
        (12, 9, "did you mean 'resources'?"),
        (21, 9, "did you mean 'dependentTasks'?"),
    ]
    assert [found["code"] for found in result.json["findings"] if found["severity"] == "error"] == ["RK-SPEC-KEY"] * 3


def test_a_warning_does_not_keep_a_file_from_being_read(write: Write) -> None:
    context = context_of_spec(changed("x-note", 1))

    assert [found.code for found in context.pipeline.unfit] == ["RK-SPEC-KEY"]
    with pytest.raises(InputError):
        context_of_spec(changed("deploymentSpec.executers", {}))


def test_a_key_with_an_underscore_is_read_as_its_newer_name(write: Write) -> None:
    spec = changed(f"{CONTAINER}.resources", {"cpu_limit": 4.0, "memory_limit": 16.0})
    path = write("p.yaml", yaml.safe_dump(spec))

    (step,) = read_pipeline(path).steps
    assert step.resources == "4 CPU, 16G"
