"""What refers to what in a pipeline spec: components, executors, tasks, inputs, outputs, placeholders.

kfp's compiler makes no spec that breaks these rules; hands, templates and other tools do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from run_kfp.errors import did_you_mean
from run_kfp.findings import Finding, Severity
from run_kfp.natural import natural
from run_kfp.pipeline.placeholders import texts_of
from run_kfp.pipeline.resources import holds_placeholder
from run_kfp.pipeline.tables import cycle, table_at, waits_for
from run_kfp.pipeline.types import JSON_TYPES, fits, parameter_type
from run_kfp.preflight.context import CheckContext
from run_kfp.preflight.offline.bounds import check_bounds
from run_kfp.preflight.offline.origin import check_origin
from run_kfp.preflight.offline.placeholders import check_constant, check_executor, named
from run_kfp.preflight.offline.spec import Dag, Spec, names_in_words, source_of
from run_kfp.preflight.rules import rule

REFERENCE = rule("RK-SPEC-REFERENCE")
CYCLE = rule("RK-SPEC-CYCLE")
INPUT_MISSING = rule("RK-SPEC-INPUT-MISSING")
INPUT_UNKNOWN = rule("RK-SPEC-INPUT-UNKNOWN")
NULL = rule("RK-PARAM-NULL")
TYPE = rule("RK-SPEC-TYPE")


def check_structure(context: CheckContext) -> Iterator[Finding]:
    """Check the whole spec: references, limits, values, retries, names, versions; no network, no SDK.

    Args:
        context: of this program, of kfp or of another tool. Anything may stand anywhere in a spec of others.

    Yields:
        Findings of the group "structure".
    """
    spec = Spec(context.pipeline.spec, source_of(context))
    # Errors are told when the file is read.
    yield from (found for found in context.pipeline.unfit if found.severity is not Severity.ERROR)
    yield from _check_references(spec)
    yield from _check_defaults(context, spec)
    yield from check_bounds(context, spec)
    yield from check_origin(context, spec)


def _check_references(spec: Spec) -> Iterator[Finding]:
    yield from _check_executors(spec)
    for name, dag in spec.dags.items():
        base = f"{dag.place}.dag.tasks"
        for key, value in table_at(dag.component, "dag", "tasks").items():
            if name and not isinstance(value, Mapping):
                yield REFERENCE(spec.at(f"{base}.{key}"), "is not a task", "remove it, or recompile the file")
        for key, task in dag.tasks.items():
            place = f"{base}.{key}"
            yield from _check_task(spec, dag, place, task)
            if name:  # of the root it is refused when the file is read
                for missing in sorted(waits_for(task) - dag.tasks.keys(), key=natural):
                    yield REFERENCE(
                        spec.at(place),
                        f"depends on the task {missing!r}, which this DAG does not have",
                        did_you_mean(missing, dag.tasks) or f"it has {names_in_words(list(dag.tasks))}",
                    )
        if name and (circle := cycle({key: waits_for(task) for key, task in dag.tasks.items()})):
            yield CYCLE(
                spec.at(base), f"these tasks depend on each other: {names_in_words(circle)}", "remove a dependency"
            )
        yield from _check_outputs(spec, dag)
    inner = {
        name: {str(table_at(task, "componentRef").get("name")) for task in dag.tasks.values()}
        for name, dag in spec.dags.items()
    }
    if circle := cycle(inner):
        yield CYCLE(
            spec.at("components"),
            f"these components contain each other: {names_in_words(circle)}",
            "a pipeline cannot contain itself",
        )


# What an executor may be (PipelineDeploymentConfig.ExecutorSpec, and Vertex AI's own kinds).
_EXECUTORS = frozenset({"container", "importer", "resolver", "customJob"})


def _check_executors(spec: Spec) -> Iterator[Finding]:
    executors = table_at(spec.body, "deploymentSpec", "executors")
    for name, component in spec.components.items():
        place = spec.at(f"components.{name}")
        if not isinstance(component, Mapping):
            yield REFERENCE(place, "is not a component", "remove it, or recompile the file")
        elif "dag" not in component and "executorLabel" not in component:
            yield REFERENCE(place, "has neither executorLabel nor dag", "recompile the file")
        elif "dag" not in component:
            label = component["executorLabel"]
            if not isinstance(label, str) or not isinstance(executors.get(label), Mapping):
                yield REFERENCE(
                    f"{place}.executorLabel",
                    f"executor {label!r} missing in deploymentSpec.executors",
                    did_you_mean(str(label), executors) or f"there are {names_in_words(list(executors)) or 'none'}",
                )
            elif not _EXECUTORS & executors[label].keys():
                yield REFERENCE(
                    spec.at(f"deploymentSpec.executors.{label}"),
                    f"has none of {', '.join(sorted(_EXECUTORS))}",
                    "recompile the file",
                    Severity.WARNING,
                )
            else:
                yield from check_executor(spec, label, executors[label], component)


def _check_task(spec: Spec, dag: Dag, place: str, task: Mapping[str, Any]) -> Iterator[Finding]:
    reference = table_at(task, "componentRef").get("name")
    if not isinstance(reference, str) or not isinstance(spec.components.get(reference), Mapping):
        yield REFERENCE(
            spec.at(f"{place}.componentRef"),
            f"unknown component {reference!r}" if reference is not None else "has no component",
            did_you_mean(str(reference), spec.components) or "recompile the file",
        )
        return
    component = spec.component_of(task)
    for kind in ("parameters", "artifacts"):
        given = table_at(task, "inputs", kind)
        for name, source in given.items():
            yield from _check_input(spec, dag, f"{place}.inputs.{kind}.{name}", task, kind, name, source)
        yield from _check_given(spec, place, task, component, kind, given)
    yield from _check_condition(spec, place, task)


def _check_given(
    spec: Spec,
    place: str,
    task: Mapping[str, Any],
    component: Mapping[str, Any],
    kind: str,
    given: Mapping[str, Any],
) -> Iterator[Finding]:
    """Compare the inputs that a task gives with those that its component declares."""
    declared = table_at(component, "inputDefinitions", kind)
    iterated = [table_at(task, key).get("itemInput") for key in ("parameterIterator", "artifactIterator")]
    for name, body in declared.items():
        needed = isinstance(body, Mapping) and not body.get("isOptional") and "defaultValue" not in body
        # The backend itself gives a task's configuration and final status.
        filled = table_at(declared, name).get("parameterType") in ("TASK_CONFIG", "TASK_FINAL_STATUS")
        if needed and not filled and name not in given and name not in iterated:
            yield INPUT_MISSING(
                spec.at(f"{place}.inputs"),
                f"the component needs the {kind[:-1]} {name!r}, and the task does not set it",
                did_you_mean(name, given) or f"set it under inputs.{kind}.{name}",
                # Files of kfp before 2.0 do not mark what is optional.
                None if spec.body.get("schemaVersion") == "2.1.0" else Severity.WARNING,
            )
    used = {name for way, _, name in _in_constants(task) if way == "inputs"} | {*_in_condition(task), *_iterated(task)}
    for name, source in given.items():
        # kfp's own names are for texts that are joined and for conditions.
        if name in declared or name in used or name.startswith("pipelinechannel--") or _of_resources(name, source):
            continue
        yield INPUT_UNKNOWN(
            spec.at(f"{place}.inputs.{kind}.{name}"),
            f"the component has no {kind[:-1]} {name!r}",
            did_you_mean(name, declared) or (f"it has {names_in_words(list(declared))}" if declared else "it has none"),
        )


# What kfp 2.17 itself adds to the inputs of a task whose resource or image waits for a parameter
# (compiler/pipeline_spec_builder.py, build_task_spec_for_task). That they wait is told by the checks of resources.
_RESOURCE_INPUTS = frozenset(
    {
        "cpu_request",
        "cpu_limit",
        "memory_request",
        "memory_limit",
        "accelerator_type",
        "accelerator_count",
        "base_image",
    }
)


def _of_resources(name: str, source: Any) -> bool:
    constant = table_at(source, "runtimeValue").get("constant")
    return name in _RESOURCE_INPUTS and isinstance(constant, str) and "'pipelinechannel--" in constant


def _in_constants(task: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield what the constants of a task refer to, as `_named` does."""
    for source in table_at(task, "inputs", "parameters").values():
        constant = table_at(source, "runtimeValue").get("constant")
        for text in texts_of(constant):
            yield from named(text)


def _in_condition(task: Mapping[str, Any]) -> list[str]:
    """Return the inputs that the condition of a task asks for."""
    condition = table_at(task, "triggerPolicy").get("condition")
    found = re.findall(
        r"inputs\.parameter_values\[\s*['\"](.*?)['\"]\s*\]", condition if isinstance(condition, str) else ""
    )
    return list(dict.fromkeys(found))


def _iterated(task: Mapping[str, Any]) -> list[str]:
    """Return the inputs that a loop goes over."""
    found = [
        table_at(task, "parameterIterator", "items").get("inputParameter"),
        table_at(task, "artifactIterator", "items").get("inputArtifact"),
    ]
    return [name for name in found if isinstance(name, str)]


def _check_input(
    spec: Spec, dag: Dag, place: str, task: Mapping[str, Any], kind: str, name: str, source: Any
) -> Iterator[Finding]:
    one = kind[:-1]
    wanted = table_at(spec.component_of(task), "inputDefinitions", kind, name)
    outer = table_at(dag.component, "inputDefinitions", kind)
    if not isinstance(source, Mapping):
        yield NULL(spec.at(place), "has no value", "set a constant, a parameter or an output")
        return
    from_dag = source.get(f"componentInput{one.capitalize()}")
    from_task = table_at(source, f"taskOutput{one.capitalize()}")
    given = ""
    if isinstance(from_dag, str):
        if from_dag not in outer:
            yield REFERENCE(
                spec.at(place),
                f"takes the {one} {from_dag!r}, which {dag.place}.inputDefinitions does not declare",
                did_you_mean(from_dag, outer)
                or (f"it declares {names_in_words(list(outer))}" if outer else "it declares none"),
                # kfp 2.17 itself writes this for a loop over constant tables inside of an exit handler.
                Severity.WARNING if from_dag.startswith("loop-item-param-") else None,
            )
        given = parameter_type(table_at(outer, from_dag), "")
    elif from_task:
        producer, key = from_task.get("producerTask"), from_task.get(f"output{one.capitalize()}Key")
        if isinstance(producer, str) and producer in dag.tasks:
            made = table_at(spec.component_of(dag.tasks[producer]), "outputDefinitions", kind)
            if not isinstance(key, str) or key not in made:
                yield REFERENCE(
                    spec.at(place),
                    f"takes the output {one} {key!r} of {producer}, which has none of that name",
                    did_you_mean(str(key), made)
                    or (f"it has {names_in_words(list(made))}" if made else f"it has no output {kind}"),
                )
            else:
                given = parameter_type(table_at(made, key), "")
    elif "runtimeValue" in source:
        yield from _check_constant(spec, place, task, wanted, source["runtimeValue"])
    elif not source.keys() & {"taskFinalStatus", f"taskOutput{one.capitalize()}", f"componentInput{one.capitalize()}"}:
        yield NULL(spec.at(place), "has no value", "set a constant, a parameter or an output")
    if (
        kind == "parameters"
        and given in JSON_TYPES
        and parameter_type(wanted, "") in JSON_TYPES
        and given != parameter_type(wanted, "")
        and "parameterExpressionSelector" not in source
    ):
        yield TYPE(
            spec.at(place), f"is {given}; the input takes {parameter_type(wanted)}", "use the same type for both"
        )


def _check_constant(
    spec: Spec, place: str, task: Mapping[str, Any], wanted: Mapping[str, Any], value: Any
) -> Iterator[Finding]:
    """Check `runtimeValue`: `constant`, or in schema 2.0.0 `constantValue` or `runtimeParameter`."""
    if isinstance(value, Mapping) and value.keys() & {"constantValue", "runtimeParameter"}:
        return
    constant = value.get("constant") if isinstance(value, Mapping) else None
    if constant is None:
        optional = bool(wanted.get("isOptional")) or "defaultValue" in wanted
        yield NULL(
            spec.at(f"{place}.runtimeValue.constant"),
            "is null, which is not a value",
            "remove the input: it is optional" if optional else 'set a value; an empty string is ""',
            Severity.WARNING if optional else None,
        )
        return
    yield from check_constant(spec.at(f"{place}.runtimeValue.constant"), task, constant)
    if isinstance(constant, str) and holds_placeholder(constant):
        return
    if not fits(parameter_type(wanted, ""), constant):
        yield TYPE(
            spec.at(f"{place}.runtimeValue.constant"),
            f"is of another type than the input, which takes {parameter_type(wanted)}",
            _OF_TYPE,
        )


def _check_defaults(context: CheckContext, spec: Spec) -> Iterator[Finding]:
    """Compare defaults with their declared types; one of the pipeline that a value replaces is passed over."""
    for place, component in [("root", table_at(spec.body, "root")), *_components(spec)]:
        for name, body in table_at(component, "inputDefinitions", "parameters").items():
            default = table_at(body).get("defaultValue")
            if default is None or (place == "root" and name in context.values):
                continue  # null is told elsewhere
            if isinstance(default, str) and holds_placeholder(default):
                continue
            kind = parameter_type(table_at(body), "")
            if not fits(kind, default):
                yield TYPE(
                    spec.at(f"{place}.inputDefinitions.parameters.{name}.defaultValue"),
                    f"is of another type than the parameter, which is {kind}",
                    f"write a value of that type, or pass -p {name}=…" if place == "root" else _OF_TYPE,
                )


_OF_TYPE = 'write a value of that type; text is in quotes ("3")'


def _components(spec: Spec) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, component in spec.components.items():
        yield f"components.{name}", table_at(component)


def _check_condition(spec: Spec, place: str, task: Mapping[str, Any]) -> Iterator[Finding]:
    given = {**table_at(task, "inputs", "parameters"), **table_at(task, "inputs", "artifacts")}
    asked = [(name, "triggerPolicy.condition", "asks for") for name in _in_condition(task)]
    asked += [
        (name, "parameterIterator" if "parameterIterator" in task else "artifactIterator", "goes over")
        for name in _iterated(task)
    ]
    for name, key, does in asked:
        if name not in given:
            yield REFERENCE(
                spec.at(f"{place}.{key}"),
                f"{does} the input {name!r}, which the task does not have",
                did_you_mean(name, given) or "add it as an input of the task",
            )


def _check_outputs(spec: Spec, dag: Dag) -> Iterator[Finding]:
    """Check what a DAG hands on as its own outputs."""
    for kind in ("parameters", "artifacts"):
        for name, body in table_at(dag.component, "dag", "outputs", kind).items():
            for selector in _selectors(body, kind):
                producer = selector.get("producerSubtask")
                key = selector.get(f"output{kind[:-1].capitalize()}Key")
                place = spec.at(f"{dag.place}.dag.outputs.{kind}.{name}")
                if not isinstance(producer, str) or producer not in dag.tasks:
                    yield REFERENCE(
                        place,
                        f"comes from the task {producer!r}, which this DAG does not have",
                        did_you_mean(str(producer), dag.tasks) or f"it has {names_in_words(list(dag.tasks))}",
                    )
                    continue
                made = table_at(spec.component_of(dag.tasks[producer]), "outputDefinitions", kind)
                if not isinstance(key, str) or key not in made:
                    yield REFERENCE(
                        place,
                        f"is the output {key!r} of {producer}, which has none of that name",
                        did_you_mean(str(key), made) or "recompile the file",
                    )


def _selectors(body: Any, kind: str) -> Iterator[Mapping[str, Any]]:
    lists = [table_at(body, "valueFromOneof").get("parameterSelectors")]
    lists += [body.get("artifactSelectors") if isinstance(body, Mapping) else None]
    for found in lists:
        yield from (one for one in found if isinstance(one, Mapping)) if isinstance(found, list) else ()
    if kind == "parameters" and (one := table_at(body, "valueFromParameter")):
        yield one
