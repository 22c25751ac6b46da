"""The spec as a whole, the cache, restarts: what is found in files with one mistake, and nothing in what kfp compiles.

(kfp reads annotations as they stand: none is postponed.)
"""

import copy
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Optional

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kfp import dsl

import kfp_pipelines
from run_kfp.errors import InputError
from run_kfp.findings import Finding, Severity
from run_kfp.preflight.context import CheckContext
from run_kfp.preflight.offline.caching import check_caching
from run_kfp.preflight.offline.calls import check_calls
from run_kfp.preflight.offline.origin import version_findings
from run_kfp.preflight.offline.structure import check_structure
from specs import context_of_registry, context_of_spec, registry, spec_of_kfp, step_spec

Change = Callable[[dict[str, Any]], object]


# ── A pipeline in kfp's words with most of what there is ──────────────────────────────────────────────────────────────


def _component(name: str, function: Any, make: Any, **options: Any) -> Any:
    function.__name__ = name
    return make(function, **options)


# Annotations as kfp reads them, which a type checker would have otherwise: it takes a return annotation for an output,
# knows `Optional[str]` only and not `str | None`, a bare `dict`, and a NamedTuple made in place.
def _ask(data: dsl.Input[dsl.Dataset], text: str, count: int = 2, more: Optional[str] = None):  # type: ignore[no-untyped-def]  # noqa: UP045
    optional = dsl.IfPresentPlaceholder("more", then=["--more", more])
    joined = dsl.ConcatPlaceholder(["--data=", data.uri])
    return dsl.ContainerSpec(image="busybox", command=["sh", "-c", 'echo "$0" "$1"'], args=[text, optional, joined])


def _several(text: str, model: dsl.Output[dsl.Model]) -> NamedTuple("Several", [("number", int), ("word", str)]):  # type: ignore[valid-type]
    return 1, "a"


def _total(models: dsl.Input[list[dsl.Model]], numbers: list[int], options: dict, share: float) -> list[str]:  # type: ignore[type-arg]
    return []


def _report(status: dsl.PipelineTaskFinalStatus) -> None:
    assert status


def _nested(word: str, count: int = 3) -> str:
    made = kfp_pipelines.make()
    kfp_pipelines.echo(text=word).after(made)
    result: str = made.outputs["result"]
    return result


ask = _component("ask", _ask, dsl.container_component)
several = _component("several", _several, dsl.component, base_image="python:3.12", packages_to_install=["numpy"])
total = _component("total", _total, dsl.component, base_image="python:3.12")
report = _component("report", _report, dsl.component, base_image="python:3.12")
nested = _component("nested", _nested, dsl.pipeline)


def everything(tag: str, items: list[str], conf: dict, word: Optional[str] = None) -> None:  # type: ignore[type-arg]  # noqa: UP045  # see above
    with dsl.ExitHandler(report(), name="report-handler"):
        data = dsl.importer(artifact_uri="gs://bucket/x", artifact_class=dsl.Dataset, metadata={"k": "v"})
        asked = ask(text=tag, more=word, data=data.output).set_retry(3, backoff_duration="30s")
        with dsl.ParallelFor(items, parallelism=2) as item:
            made = several(text=item)
            with dsl.If(made.outputs["number"] > 2):
                kfp_pipelines.echo(text=made.outputs["word"])
            with dsl.Else():
                kfp_pipelines.echo(text="no")
        summed = total(
            models=dsl.Collected(made.outputs["model"]),
            numbers=dsl.Collected(made.outputs["number"]),
            options=conf,
            share=1.0,
        )
        with dsl.ParallelFor(summed.output) as one:
            kfp_pipelines.echo(text=one)
        inner = nested(word=f"{tag}-{conf}")
        with dsl.If(inner.output == "yes"):
            left = kfp_pipelines.make()
        with dsl.Else():
            right = kfp_pipelines.make()
        kfp_pipelines.echo(text=dsl.OneOf(left.outputs["result"], right.outputs["result"]))
        kfp_pipelines.echo(text=dsl.PIPELINE_JOB_NAME_PLACEHOLDER).after(asked)
    with dsl.ParallelFor([{"a": "1", "b": "x"}, {"a": "2", "b": "y"}]) as pair:
        kfp_pipelines.echo(text=pair.b)


@pytest.fixture(scope="module")
def full() -> dict[str, Any]:
    """The spec of `everything`; whoever changes it takes a copy."""
    return spec_of_kfp(everything)


def structure(spec: Mapping[str, Any], **more: Any) -> list[Finding]:
    return list(check_structure(context_of_spec(spec, **more)))


def one(found: list[Finding]) -> Finding:
    (single,) = found
    return single


@pytest.mark.parametrize(
    "function",
    [
        everything,
        kfp_pipelines.a_condition,
        kfp_pipelines.a_loop,
        kfp_pipelines.an_exit_handler,
        kfp_pipelines.an_importer,
        kfp_pipelines.an_artifact,
        kfp_pipelines.an_inner_pipeline,
        kfp_pipelines.chain,
    ],
)
def test_what_kfp_compiles_is_left_alone(function: Callable[..., None]) -> None:
    context = context_of_spec(spec_of_kfp(function))
    assert list(check_structure(context)) == []
    assert list(check_calls(context)) == []


def test_resources_that_wait_for_a_parameter_are_no_unknown_inputs() -> None:
    def pipeline(cpu: str, memory: str, kind: str, count: str) -> None:
        step = kfp_pipelines.echo().set_cpu_limit(cpu).set_memory_limit(memory).set_container_image(f"a/{kind}:1")
        step.set_accelerator_type(kind).set_accelerator_limit(count)

    spec = spec_of_kfp(pipeline)
    assert {"cpu_limit", "base_image"} <= spec["root"]["dag"]["tasks"]["echo"]["inputs"]["parameters"].keys()
    assert structure(spec) == []


def test_what_this_program_compiles_is_left_alone() -> None:
    assert list(check_structure(context_of_registry(None, ["1-4", "1"], params={"tag": "v1"}))) == []


# ── References ────────────────────────────────────────────────────────────────────────────────────────────────────────


def change(spec: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return a copy of `spec` with `value` at `path` ("a/b/c"); None takes the key out, text renames it as "->name"."""
    changed = copy.deepcopy(dict(spec))
    *above, last = path.split("/")
    place: Any = changed
    for key in above:
        place = place[key]
    if isinstance(value, str) and value.startswith("->"):
        place[value[2:]] = place.pop(last)
    elif value is None:
        del place[last]
    else:
        place[last] = value
    return changed


HANDLER = "components/comp-exit-handler-1/dag/tasks"


@pytest.mark.failure("F96", "RK-SPEC-REFERENCE")
@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (f"{HANDLER}/ask/componentRef/name", "comp-aks", "unknown component 'comp-aks'"),
        (f"{HANDLER}/ask/componentRef", {}, "has no component"),
        ("components/comp-ask/executorLabel", "exec-ak", "executor 'exec-ak' missing"),
        ("components/comp-ask/executorLabel", None, "has neither executorLabel nor dag"),
        ("components/comp-ask", None, "unknown component 'comp-ask'"),
        ("deploymentSpec/executors/exec-ask", None, "executor 'exec-ask' missing"),
        (f"{HANDLER}/ask/dependentTasks", ["importer", "gone"], "depends on the task 'gone'"),
        (
            f"{HANDLER}/ask/inputs/parameters/text/componentInputParameter",
            "pipelinechannel--tga",
            "takes the parameter 'pipelinechannel--tga'",
        ),
        (
            f"{HANDLER}/ask/inputs/artifacts/data/taskOutputArtifact/outputArtifactKey",
            "artefact",
            "takes the output artifact 'artefact' of importer",
        ),
        (
            "components/comp-several/outputDefinitions/parameters/word",
            None,
            "takes the output parameter 'word' of several",
        ),
        (
            "components/comp-nested/dag/outputs/parameters/Output/valueFromParameter/producerSubtask",
            "mak",
            "comes from the task 'mak'",
        ),
        (
            "components/comp-nested/dag/outputs/parameters/Output/valueFromParameter/outputParameterKey",
            "reslt",
            "is the output 'reslt' of make",
        ),
        (
            f"{HANDLER}/for-loop-2/parameterIterator/items",
            {"inputParameter": "nothing"},
            "goes over the input 'nothing'",
        ),
        (
            "components/comp-exit-handler-1/inputDefinitions/parameters/pipelinechannel--tag",
            None,
            "takes the parameter 'pipelinechannel--tag'",
        ),
        (f"{HANDLER}/ask", 7, "is not a task"),
    ],
)
def test_references_to_nothing(full: dict[str, Any], path: str, value: Any, words: str) -> None:
    found = structure(change(full, path, value))
    assert any(words in each.message and each.code == "RK-SPEC-REFERENCE" for each in found), found
    assert all(each.severity is Severity.ERROR for each in found if each.code == "RK-SPEC-REFERENCE")


def test_a_reference_names_the_nearest_name(full: dict[str, Any]) -> None:
    found = structure(change(full, f"{HANDLER}/ask/componentRef/name", "comp-aks"))
    (reference,) = [each for each in found if each.code == "RK-SPEC-REFERENCE"]
    assert reference.place == "pipeline.yaml: components.comp-exit-handler-1.dag.tasks.ask.componentRef"
    assert reference.hint == "did you mean 'comp-ask'?"


@pytest.mark.failure("F96", "RK-SPEC-CYCLE")
def test_tasks_that_wait_for_each_other(full: dict[str, Any]) -> None:
    found = one(structure(change(full, f"{HANDLER}/importer/dependentTasks", ["ask"])))
    assert found.code == "RK-SPEC-CYCLE"
    assert "ask" in found.message
    assert "importer" in found.message


@pytest.mark.failure("F96", "RK-SPEC-CYCLE")
def test_a_pipeline_that_holds_itself(full: dict[str, Any]) -> None:
    spec = change(full, "components/comp-nested/dag/tasks/echo/componentRef/name", "comp-nested")
    assert "RK-SPEC-CYCLE" in [found.code for found in structure(spec)]


@pytest.mark.failure("F96", "RK-SPEC-INPUT-MISSING")
def test_an_input_that_is_not_given(full: dict[str, Any]) -> None:
    found = one(structure(change(full, f"{HANDLER}/ask/inputs/parameters/text", None)))
    assert (found.code, found.severity) == ("RK-SPEC-INPUT-MISSING", Severity.ERROR)
    assert "'text'" in found.message


def test_an_input_under_another_name(full: dict[str, Any]) -> None:
    found = structure(change(full, f"{HANDLER}/ask/inputs/parameters/text", "->txet"))
    assert sorted(each.code for each in found) == ["RK-SPEC-INPUT-MISSING", "RK-SPEC-INPUT-UNKNOWN"]
    assert {each.hint for each in found} == {"did you mean 'txet'?", "did you mean 'text'?"}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("components/comp-ask/inputDefinitions/parameters/text/parameterType", "NUMBER_INTEGER"),
        (f"{HANDLER}/echo-5/inputs/parameters/text/runtimeValue/constant", 3),
        (f"{HANDLER}/total/inputs/parameters/share/runtimeValue/constant", "1.0"),
        (f"{HANDLER}/total/inputs/parameters/share/runtimeValue/constant", True),
    ],
)
def test_a_value_of_another_type(full: dict[str, Any], path: str, value: Any) -> None:
    assert (each := one(structure(change(full, path, value)))).code == "RK-SPEC-TYPE"
    assert each.severity is Severity.WARNING


@pytest.mark.parametrize(("constant", "codes"), [(3, []), (3.0, []), (3.5, ["RK-SPEC-TYPE"]), ("3", ["RK-SPEC-TYPE"])])
def test_whole_numbers(full: dict[str, Any], constant: Any, codes: list[str]) -> None:
    spec = change(full, f"{HANDLER}/ask/inputs/parameters/count", {"runtimeValue": {"constant": constant}})
    assert [each.code for each in structure(spec)] == codes


@pytest.mark.failure("F28", "RK-PARAM-NULL")
@pytest.mark.parametrize(
    "value", [{"runtimeValue": {"constant": ""}}, {"runtimeValue": {}}, {"runtimeValue": 7}, {}, 7]
)
def test_an_input_without_a_value(full: dict[str, Any], value: Any) -> None:
    if value == {"runtimeValue": {"constant": ""}}:
        assert structure(change(full, f"{HANDLER}/ask/inputs/parameters/text", value)) == []
        value = {"runtimeValue": {"constant": None}}
    found = one(structure(change(full, f"{HANDLER}/ask/inputs/parameters/text", value)))
    assert (found.code, found.severity) == ("RK-PARAM-NULL", Severity.ERROR)


def test_null_for_an_optional_input(full: dict[str, Any]) -> None:
    spec = change(full, f"{HANDLER}/ask/inputs/parameters/more", {"runtimeValue": {"constant": None}})
    assert one(structure(spec)).severity is Severity.WARNING


@pytest.mark.parametrize(
    "word",
    [
        "{{$.inputs.parameters['txt']}}",
        '--a={{$.inputs.parameters["txt"]}}',
        "{{$.inputs.artifacts['text'].uri}}",
        "{{$.outputs.parameters['result'].output_file}}",
        '{"IfPresent": {"InputName": "mroe", "Then": ["a"]}}',
        '{"Concat": ["a", "{{$.inputs.parameters[\'txt\']}}"]}',
    ],
)
def test_placeholders_for_nothing(full: dict[str, Any], word: str) -> None:
    found = one(structure(change(full, "deploymentSpec/executors/exec-ask/container/args", ["a", word, word])))
    assert (found.code, found.severity) == ("RK-PLACEHOLDER-UNKNOWN", Severity.ERROR)
    assert found.place == "pipeline.yaml: deploymentSpec.executors.exec-ask.container.args"


@pytest.mark.parametrize(
    "word",
    [
        "{{$.inputs.parameters['text']}}",
        '{{$.inputs.parameters["text"].json_escape[1]}}',
        "{{$.inputs.artifacts['data'].metadata['k']}}",
        "{{$.pipeline_job_name}}",
        "{{$}}",
    ],
)
def test_placeholders_for_something(full: dict[str, Any], word: str) -> None:
    assert structure(change(full, "deploymentSpec/executors/exec-ask/container/args", [word])) == []


def test_a_placeholder_in_a_constant(full: dict[str, Any]) -> None:
    path = f"{HANDLER}/nested/inputs/parameters/word/runtimeValue/constant"
    spec = change(full, path, "{{$.inputs.parameters['pipelinechannel--tga']}}")
    assert one(structure(spec)).code == "RK-PLACEHOLDER-UNKNOWN"


def test_the_reader_refuses_what_the_root_refers_to() -> None:
    with pytest.raises(InputError, match="depend on each other"):
        context_of_spec(step_spec({}, dependentTasks=["step"]))


def test_a_reference_to_nothing_that_kfp_writes_itself() -> None:
    def pipeline() -> None:
        with dsl.ExitHandler(kfp_pipelines.echo()), dsl.ParallelFor([{"a": "1"}, {"a": "2"}]) as pair:
            kfp_pipelines.echo(text=pair.a)

    found = one(structure(spec_of_kfp(pipeline)))
    assert (found.code, found.severity) == ("RK-SPEC-REFERENCE", Severity.WARNING)
    assert "loop-item-param-" in found.message


# ── Limits ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def loop(items: int, inner: dict[str, Any] | None = None, **task: Any) -> dict[str, Any]:
    """A pipeline whose one task loops over constants; the loop's only step is that of `step_spec`."""
    spec = inner or step_spec({"command": ["true"]})
    components = {**spec["components"], f"comp-loop-{len(spec['components'])}": {"dag": spec["root"]["dag"]}}
    name = list(components)[-1]
    raw = json.dumps(list(range(items)))
    iterator = {"itemInput": "item", "items": {"raw": raw}}
    looping = {"componentRef": {"name": name}, "parameterIterator": iterator, **task}
    return {**spec, "components": components, "root": {"dag": {"tasks": {"loop": looping}}}}


@pytest.mark.failure("F97", "RK-LIMIT-TASKS")
def test_too_many_tasks() -> None:
    found = [each for each in structure(loop(101, loop(100))) if each.severity is Severity.ERROR]
    assert one(found).code == "RK-LIMIT-TASKS"
    assert "10,100 tasks" in found[0].message
    assert [each.code for each in structure(loop(100, loop(100)))] == ["RK-LIMIT-PARALLEL"]


def test_too_many_tasks_if_a_condition_holds() -> None:
    condition = {"condition": "1 == 1"}
    found = structure(loop(101, loop(100), triggerPolicy=condition))
    assert (found[0].code, found[0].severity) == ("RK-LIMIT-TASKS", Severity.WARNING)


def test_loops_in_loops_are_counted_at_once() -> None:
    spec = loop(1000)
    for _ in range(30):
        spec = loop(1000, spec)
    assert "more than a billion tasks" in structure_without_steps(spec)[0].message


def structure_without_steps(spec: dict[str, Any]) -> list[Finding]:
    return list(check_structure(context_of_spec(spec)))


@pytest.mark.failure("F97", "RK-LIMIT-ARTIFACTS")
def test_too_many_artifacts_of_a_task() -> None:
    spec = step_spec({"command": ["true"]})
    outputs = {f"a{n}": {"artifactType": {"schemaTitle": "system.Artifact"}} for n in range(101)}
    spec["components"]["comp-step"]["outputDefinitions"] = {"artifacts": outputs}
    found = one(structure(spec))
    assert (found.code, found.severity) == ("RK-LIMIT-ARTIFACTS", Severity.ERROR)
    assert "101 artifacts" in found.message
    del outputs["a0"]
    assert structure(spec) == []


@pytest.mark.failure("F97", "RK-LIMIT-ARTIFACTS")
def test_too_many_artifacts_of_a_job() -> None:
    spec = step_spec({"command": ["true"]})
    outputs = {f"a{n}": {"artifactType": {"schemaTitle": "system.Artifact"}} for n in range(21)}
    spec["components"]["comp-step"]["outputDefinitions"] = {"artifacts": outputs}
    assert "10,500 artifacts" in one(structure(loop(500, spec))).message


def test_too_many_at_once() -> None:
    assert one(structure(loop(601))).severity is Severity.NOTE
    assert structure(loop(601, iteratorPolicy={"parallelismLimit": 600})) == []


LONG = "x" * 131_072


@pytest.mark.failure("F31", "RK-VALUE-LONG")
def test_long_values(full: dict[str, Any]) -> None:
    path = f"{HANDLER}/echo-5/inputs/parameters/text/runtimeValue/constant"
    assert one(structure(change(full, path, LONG))).code == "RK-VALUE-LONG"
    assert structure(change(full, path, LONG[1:])) == []
    path = "root/inputDefinitions/parameters/word/defaultValue"
    assert one(structure(change(full, path, LONG))).place == (
        "pipeline.yaml: root.inputDefinitions.parameters.word.defaultValue"
    )
    assert "the value of tag" in one(structure(full, params={"tag": LONG, "items": "[]"})).message


@pytest.mark.failure("F31", "RK-VALUE-LONG")
def test_a_long_argument() -> None:
    found = one(structure(step_spec({"command": ["train", LONG]})))
    assert (found.severity, found.place.endswith("command[1]")) == (Severity.ERROR, True)


def test_a_huge_file() -> None:
    spec = step_spec({"command": ["true"]})
    spec["pipelineInfo"]["description"] = "x" * (4 * 1024 * 1024)
    assert one(structure(spec)).code == "RK-SPEC-SIZE"


# ── Retries, names, versions, platforms ───────────────────────────────────────────────────────────────────────────────


def retry(**policy: Any) -> list[tuple[str, str, Severity]]:
    spec = step_spec({"command": ["true"]}, retryPolicy=policy)
    return [(each.code, each.place.rpartition(".")[2], each.severity) for each in structure(spec)]


@pytest.mark.failure("F34", "RK-RETRY")
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("maxRetryCount", "{{$.inputs.parameters['retries']}}"),
        ("backoffDuration", "{{channel:task=;name=wait;type=String;}}"),
        ("maxRetryCount", -1),
        ("maxRetryCount", 1.5),
        ("maxRetryCount", "two"),
        ("backoffFactor", 0),
        ("backoffDuration", 30),
        ("backoffDuration", "5m"),
        ("backoffMaxDuration", "-1s"),
    ],
)
def test_retry_policies_that_cannot_be(key: str, value: Any) -> None:
    assert retry(**{key: value}) == [("RK-RETRY", key, Severity.ERROR)]


def test_retry_policies_that_are_odd() -> None:
    assert retry(maxRetryCount=50) == [("RK-RETRY", "maxRetryCount", Severity.NOTE)]
    assert retry(backoffMaxDuration="7200s") == [("RK-RETRY", "backoffMaxDuration", Severity.NOTE)]


def test_retry_policies_that_are_right() -> None:
    assert retry(maxRetryCount=3.0, backoffDuration="0s", backoffFactor=2.0, backoffMaxDuration="3600s") == []
    assert retry(backoffDuration="1.5s") == []
    assert retry() == []


@pytest.mark.failure("F104", "RK-TASK-TIME")
def test_times_beyond_seven_days() -> None:
    assert retry(backoffDuration="864000s") == [("RK-TASK-TIME", "backoffDuration", Severity.WARNING)]


@pytest.mark.failure("F104", "RK-TASK-TIME")
@pytest.mark.parametrize(("seconds", "codes"), [(604_801, ["RK-TASK-TIME"]), (604_800, [])])
def test_the_time_of_a_custom_job(seconds: int, codes: list[str]) -> None:
    payload = json.dumps({"job_spec": {"scheduling": {"timeout": f"{seconds}s"}}})
    found = structure(step_spec({"command": ["python3"], "args": ["--payload", payload]}))
    assert [each.code for each in found] == codes


@pytest.mark.failure("F94", "RK-PIPELINE-NAME")
def test_a_name_that_changes() -> None:
    spec = step_spec({"command": ["true"]})
    spec["pipelineInfo"]["name"] = "Four_Pipe 1"
    found = one(structure(spec))
    assert (found.code, found.severity) == ("RK-PIPELINE-NAME", Severity.NOTE)
    assert found.hint == "write 'four-pipe-1'"
    assert spec_of_kfp(kfp_pipelines.an_artifact, "Four_Pipe 1")["pipelineInfo"]["name"] == "four-pipe-1"


@pytest.mark.failure("F91", "RK-DISPLAY-NAME")
def test_a_long_display_name() -> None:
    text = registry('command = ["true"]').replace("[containers.1]", f'display_name = "{"x" * 111}"\n[containers.1]')
    found = one(list(check_structure(context_of_registry(text))))
    assert (found.code, found.place) == ("RK-DISPLAY-NAME", "run-kfp.toml: pipeline.display_name")
    named = registry('command = ["true"]').replace("test-pipeline", "x" * 111)
    found = one(list(check_structure(context_of_registry(named))))
    assert (found.code, found.place) == ("RK-DISPLAY-NAME", "run-kfp.toml: pipeline.name")
    assert list(check_structure(context_of_registry(text.replace("x" * 111, "x" * 110)))) == []


def test_a_task_with_an_odd_name(full: dict[str, Any]) -> None:
    assert one(structure(change(full, f"{HANDLER}/echo-5", "->echo five"))).code == "RK-TASK-NAME"


@pytest.mark.failure("F98", "RK-VERSION-KFP")
def test_a_file_of_a_newer_kfp(full: dict[str, Any]) -> None:
    found = one(structure(change(full, "sdkVersion", "kfp-2.99.0")))
    assert (found.code, found.severity) == ("RK-VERSION-KFP", Severity.NOTE)
    assert structure(change(full, "sdkVersion", "kfp-2.0.0")) == []
    assert structure(change(full, "sdkVersion", "another-tool")) == []


@pytest.mark.failure("F98", "RK-SPEC-VERSION")
@pytest.mark.parametrize("version", [None, "3.0.0", 2.1])
def test_another_schema(version: Any) -> None:
    spec = change(step_spec({"command": ["true"]}), "schemaVersion", version)
    assert one(structure(spec)).code == "RK-SPEC-VERSION"


@pytest.mark.failure("F98", "RK-VERSION-SDK")
@pytest.mark.parametrize(
    ("kfp", "aiplatform", "wrong"),
    [
        ("2.17.0", "2.7.0", []),
        ("2.17.3rc1", "2.99", []),
        ("2.18.0", "2.7.0", ["the package kfp"]),
        ("1.8.22", "1.20.0", ["the package google-cloud-aiplatform", "the package kfp"]),
        ("2.17.0", "3.0.0", ["the package google-cloud-aiplatform"]),
    ],
)
def test_versions_that_were_not_tried(kfp: str, aiplatform: str, wrong: list[str]) -> None:
    required = ["google-cloud-aiplatform<3,>=2.7", "kfp<2.18,>=2.17", "docker<8,>=7.1; extra == 'local'", "typer"]
    found = list(version_findings(required, {"kfp": kfp, "google-cloud-aiplatform": aiplatform}))
    assert [each.place for each in found] == wrong


@pytest.mark.parametrize("platform", ["kubernetes"])
def test_settings_for_kubernetes(platform: str) -> None:
    body = {"deploymentSpec": {"executors": {"exec-step": {"secretAsEnv": [{"secretName": "a"}]}}}}
    found = one(structure(step_spec({"command": ["true"]}), platforms={"platforms": {platform: body}}))
    assert (found.code, found.severity) == ("RK-PLATFORM-KUBERNETES", Severity.WARNING)
    assert "secretAsEnv" in found.message


# ── The cache, restarts, the failure policy ───────────────────────────────────────────────────────────────────────────


def caching(context: CheckContext) -> dict[str, Finding]:
    return {found.code: found for found in check_caching(context)}


CACHED = {"cachingOptions": {"enableCache": True}}


@pytest.mark.failure("F100", "RK-CACHE-EXPIRY")
def test_results_have_no_expiry(full: dict[str, Any]) -> None:
    found = caching(context_of_spec(full))
    assert found["RK-CACHE-EXPIRY"].severity is Severity.NOTE
    assert caching(context_of_spec(step_spec({}))) == {}
    text = registry('command = ["true"]')
    assert "RK-CACHE-EXPIRY" in caching(context_of_registry(text, caching=True))
    assert caching(context_of_registry(text)) == {}


@pytest.mark.failure("F101", "RK-CACHE-NO-OUTPUTS")
def test_a_cached_step_without_outputs() -> None:
    spec = step_spec({"command": ["true"]}, **CACHED)
    assert caching(context_of_spec(spec))["RK-CACHE-NO-OUTPUTS"].severity is Severity.WARNING
    found = caching(context_of_registry(registry('command = ["true"]'), caching=True))
    assert found["RK-CACHE-NO-OUTPUTS"].severity is Severity.NOTE  # there side effects are declared
    spec["components"]["comp-step"]["outputDefinitions"] = {"parameters": {"a": {"parameterType": "STRING"}}}
    assert list(caching(context_of_spec(spec))) == ["RK-CACHE-EXPIRY"]


@pytest.mark.failure("F101", "RK-CACHE-EFFECTS")
def test_a_cached_step_whose_image_has_side_effects() -> None:
    text = registry("side_effects = true")
    spec = step_spec({"command": ["true"]}, **CACHED)
    assert sorted(caching(context_of_spec(spec, registry_text=text))) == ["RK-CACHE-EFFECTS", "RK-CACHE-EXPIRY"]


def test_a_container_with_side_effects_is_never_cached() -> None:
    found = caching(context_of_registry(registry("side_effects = true"), caching=True))
    assert list(found) == ["RK-RESTART-EFFECTS"]
    assert found["RK-RESTART-EFFECTS"].severity is Severity.NOTE


SECRET = '[secrets.token]\nenv = "TOKEN"'


@pytest.mark.failure("F40", "RK-CACHE-SECRET")
def test_a_cached_step_with_a_secret() -> None:
    text = registry('args = [{ secret = "token" }]', SECRET)
    found = caching(context_of_registry(text, caching=True))
    assert found["RK-CACHE-SECRET"].place == "run-kfp.toml: containers.1.args"
    assert "token" in found["RK-CACHE-SECRET"].message
    assert "RK-CACHE-SECRET" not in caching(context_of_registry(text))


@pytest.mark.failure("F40", "RK-CACHE-SECRET")
def test_a_cached_step_with_a_secret_inside_of_a_loop() -> None:
    def pipeline(token: str) -> None:
        with dsl.ParallelFor(["a", "b"]):
            kfp_pipelines.echo(text=token)

    context = context_of_spec(spec_of_kfp(pipeline), registry_text=registry("", SECRET))
    assert "RK-CACHE-SECRET" in caching(context)


@pytest.mark.failure("F103", "RK-FAILURE-SLOW")
def test_the_failure_policy() -> None:
    def side_by_side() -> None:
        kfp_pipelines.echo()
        kfp_pipelines.echo()

    spec = spec_of_kfp(side_by_side)
    assert caching(context_of_spec(spec, failure_policy="slow"))["RK-FAILURE-SLOW"].severity is Severity.NOTE
    assert "RK-FAILURE-SLOW" not in caching(context_of_spec(spec))
    in_a_row = context_of_registry(None, ["1-4"], params={"tag": "v1"}, failure_policy="slow")
    assert "RK-FAILURE-SLOW" not in caching(in_a_row)


# ── Files of anyone ───────────────────────────────────────────────────────────────────────────────────────────────────

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place of a spec."""
    keys = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in keys for place in places(item, (*path, key)))]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_anything_may_stand_anywhere(full: dict[str, Any], data: st.DataObject) -> None:
    spec = copy.deepcopy(full)
    for _ in range(data.draw(st.integers(1, 4))):
        *above, last = data.draw(st.sampled_from(places(spec)[1:]))
        place: Any = spec
        for key in above:
            place = place[key]
        place[last] = data.draw(JSON)
    try:
        context = context_of_spec(spec)
    except InputError:
        return
    for check in (check_structure, check_calls, check_caching):
        for found in check(context):
            assert found.message
            assert found.place.startswith(("pipeline.yaml", "the package", "--"))
