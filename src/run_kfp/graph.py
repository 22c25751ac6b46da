"""A compiled pipeline as steps that a machine can execute: container steps in a DAG, with parameters.

The file is the one that Vertex AI gets, of this program or another. What it may hold and this machine cannot run
(conditions, loops, importers, artifacts, pipelines inside of it) is refused by name before anything starts.

Placeholders are replaced once, in the text of the file; what a value holds is never read again. Their forms are those
of kfp 2.17 (dsl/placeholders.py, dsl/structures.py, dsl/constants.py).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from run_kfp.errors import InputError
from run_kfp.findings import Finding
from run_kfp.pipeline import CompiledPipeline, Spec, Step
from run_kfp.pipeline.expressions import expression_faults, structure_of
from run_kfp.pipeline.known import inputs_in, known_inputs, known_parameters
from run_kfp.pipeline.placeholders import (
    EXECUTOR_FILES,
    INPUT_PARAMETER,
    OF_RUN,
    OF_VERTEX,
    OUTPUT_FILE,
    as_text,
    bodies,
    filled,
    replaced,
    texts_of,
    unfilled,
    whole,
)
from run_kfp.pipeline.platforms import server_image
from run_kfp.pipeline.resources import Flaw, Limits, read_limits, resolved
from run_kfp.pipeline.tables import table_at
from run_kfp.pipeline.types import parameter_type

# The file that kfp's own Python components write their outputs into (kfp 2.17, dsl/executor.py).
EXECUTOR_OUTPUT = "executor_output.json"


@dataclass(frozen=True)
class Constant:
    """An input whose value stands in the file; placeholders in it are replaced."""

    value: Any


@dataclass(frozen=True)
class FromParameter:
    """An input that is a parameter of the pipeline."""

    name: str


@dataclass(frozen=True)
class FromOutput:
    """An input that an earlier step wrote."""

    step: str
    key: str


Source = Constant | FromParameter | FromOutput


@dataclass(frozen=True)
class StepContext:
    """What the placeholders of a step stand for at the moment when it starts.

    Attributes:
        inputs: the values of its inputs; an optional one that nobody gave is missing.
        run: the values of `OF_RUN` and `OF_VERTEX`.
        outputs_folder: the folder that the step writes its output parameters into, a file each, as the step sees it.
        outputs: the names of the output parameters.
    """

    inputs: Mapping[str, Any]
    run: Mapping[str, str]
    outputs_folder: str = ""
    outputs: Collection[str] = ()


@dataclass(frozen=True)
class ExecutableStep:
    """A task of the root DAG that is a container.

    Attributes:
        name: the task's name, unique in the pipeline.
        label: what a person reads of it.
        image: as the file names it.
        after: the steps that must have succeeded before it starts.
        resources: what it asks for, in words.
        inputs: where each input comes from.
        command: replaces the image's ENTRYPOINT and CMD where it is not empty; placeholders are in it.
        args: replace the image's CMD; likewise.
        env: the environment that the file gives it.
        cpu: the limit, in CPUs.
        memory: the limit, in bytes.
        accelerator: kind and count.
        outputs: the types of its output parameters.
        warnings: what the file says of it and this machine does not do.
    """

    name: str
    label: str
    image: str
    after: tuple[str, ...]
    resources: str
    inputs: Mapping[str, Source]
    command: tuple[str, ...]
    args: tuple[str, ...]
    env: Mapping[str, str]
    cpu: float | None
    memory: int | None
    accelerator: tuple[str, int] | None
    outputs: Mapping[str, str]
    warnings: tuple[str, ...]

    @property
    def writes_outputs(self) -> bool:
        """Whether it may write into its outputs folder."""
        whole_input = ("{{$}}", *(f"{{{{$.{name}}}}}" for name in EXECUTOR_FILES))
        return bool(self.outputs) or any(each in text for text in (*self.command, *self.args) for each in whole_input)

    @property
    def parameters(self) -> frozenset[str]:
        """Name the parameters of the pipeline that it takes."""
        return frozenset(source.name for source in self.inputs.values() if isinstance(source, FromParameter))

    def call(self, context: StepContext) -> tuple[list[str], list[str]]:
        """Return command and args with every placeholder replaced, once.

        Raises:
            InputError: an input that it needs has no value.
        """
        return (
            [part for text in self.command for part in _evaluated(text, context)],
            [part for text in self.args for part in _evaluated(text, context)],
        )


def values_of(
    step: ExecutableStep,
    parameters: Mapping[str, Any],
    outputs: Mapping[tuple[str, str], Any],
    run: Mapping[str, str],
) -> dict[str, Any]:
    """Return the values of a step's inputs.

    Args:
        step: whose.
        parameters: the values of the pipeline's parameters; an optional one may be missing.
        outputs: what earlier steps wrote, by step and key.
        run: the values of `OF_RUN` and `OF_VERTEX`.
    """
    values: dict[str, Any] = {}
    for name, source in step.inputs.items():
        if isinstance(source, FromParameter):
            if source.name in parameters:
                values[name] = parameters[source.name]
        elif isinstance(source, FromOutput):
            values[name] = outputs[source.step, source.key]
    # A constant may stand between other inputs (`f"gs://{bucket}/data"` compiles to one): those are complete now.
    context = StepContext(dict(values), run)
    for name, source in step.inputs.items():
        if isinstance(source, Constant):
            values[name] = filled(source.value, lambda text: _replaced(text, context))
    return {name: whole(value) for name, value in values.items()}


def parameter_defaults(pipeline: CompiledPipeline) -> dict[str, Any]:
    """Return the defaults that the file itself gives to parameters of the pipeline."""
    declared = pipeline.spec["root"].get("inputDefinitions", {}).get("parameters", {})
    return {name: body["defaultValue"] for name, body in declared.items() if "defaultValue" in body}


def executable_steps(
    pipeline: CompiledPipeline, values: Mapping[str, Any] | None = None, unknown: frozenset[str] = frozenset()
) -> tuple[ExecutableStep, ...]:
    """Read the steps, each behind those that it waits for.

    Args:
        pipeline: compiled here or elsewhere.
        values: of the call, for the limits that depend on parameters.
        unknown: the parameters whose values nobody may see: secrets.

    Raises:
        InputError: with every construct that this machine cannot run, by the name of its task.
    """
    spec = pipeline.spec
    steps: list[ExecutableStep] = []
    faults: list[Finding] = []
    known = known_parameters(spec, values or {}, unknown)
    try:
        for step in pipeline.steps:
            task = spec["root"]["dag"]["tasks"][step.name]
            limits = _limits(spec, task, known)
            refused = [*_foreign(spec, task)] or [(words, _HINT) for words in _refused(spec, task, limits)]
            if not refused:
                made = _step(spec, step, task, limits)
                refused = list(_unknown_placeholders(made, {parameter.name for parameter in pipeline.parameters}))
                steps.append(made)
            faults += [
                Finding(f"{pipeline.source}: step {step.name} {words}", hint) for words, hint in dict.fromkeys(refused)
            ]
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{pipeline.source} is not a KFP v2 pipeline: a task is invalid ({error})") from None
    if faults:
        raise InputError.of(f"{pipeline.source} on this machine", faults)
    return tuple(steps)


_HINT = "--local runs containers with parameters; submit to Vertex AI for the rest"


def _component(spec: Spec, task: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = spec["components"].get(task.get("componentRef", {}).get("name"), {})
    return found


def _executor(spec: Spec, component: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = spec["deploymentSpec"].get("executors", {}).get(component.get("executorLabel"), {})
    return found


def _limits(spec: Spec, task: Mapping[str, Any], known: Mapping[str, Any]) -> Limits:
    component = _component(spec, task)
    resources = table_at(_executor(spec, component), "container", "resources")
    return read_limits(resolved(resources, known_inputs(task, component, known)))


def _foreign(spec: Spec, task: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Say what a container does that is not its own work, with a hint: on a KFP server, or in Google Cloud."""
    container = table_at(_executor(spec, _component(spec, task)), "container")
    if does := server_image(str(container.get("image"))):
        yield f"{does} on a KFP server and has no image to run", "remove the step; --bucket-dir gives steps a folder"
    elif _is_launcher(container):
        yield (
            "starts a job in Google Cloud, which --local does not do (google-cloud-pipeline-components)",
            "submit to Vertex AI, or rehearse a file without this step",
        )


def _refused(spec: Spec, task: Mapping[str, Any], limits: Limits) -> Iterator[str]:
    """Say what a task is that this machine cannot run."""
    component = _component(spec, task)
    executor = _executor(spec, component)
    trigger = task.get("triggerPolicy", {})
    if task.keys() & {"parameterIterator", "artifactIterator"}:
        yield "is a loop, which --local cannot run"
        return
    if "condition" in trigger:
        yield "is a condition, which --local cannot run"
        return
    if trigger.get("strategy", "ALL_UPSTREAM_TASKS_SUCCEEDED") not in (
        "ALL_UPSTREAM_TASKS_SUCCEEDED",
        "TRIGGER_STRATEGY_UNSPECIFIED",
    ):
        yield "runs after failures too (an exit handler), which --local cannot run"
    if "dag" in component:
        yield "is a nested pipeline, which --local cannot run"
        return
    if "container" not in executor:
        kind = next(iter(executor), None)
        yield f"is of the kind {kind!r}, which --local cannot run" if kind else "has no container"
        return
    if not executor["container"].get("image"):
        yield "has no image"
    for name in task.get("inputs", {}).get("artifacts", {}):
        yield f"takes the artifact {name!r}, which --local cannot pass"
    for name in component.get("outputDefinitions", {}).get("artifacts", {}):
        yield f"produces the artifact {name!r}, which --local cannot keep"
    for name, source in task.get("inputs", {}).get("parameters", {}).items():
        if "parameterExpressionSelector" in source:
            yield f"takes part of a value for {name!r} (an expression), which --local cannot evaluate"
        elif not source.keys() & {"runtimeValue", "componentInputParameter", "taskOutputParameter"}:
            yield f"takes {next(iter(source), 'nothing')!r} for {name!r}, which --local does not support"
        elif "runtimeValue" in source and not source["runtimeValue"].keys() & {
            "constant",
            "constantValue",
            "runtimeParameter",
        }:
            yield f"takes a value for {name!r} that is not a constant, which --local cannot evaluate"
    given = {*table_at(task, "inputs", "parameters"), *table_at(component, "inputDefinitions", "parameters")}
    for mistake in limits.mistakes:
        if mistake.flaw is Flaw.PLACEHOLDER:
            # An output of another step is known in time, and one that no input brings is not.
            names = inputs_in(mistake.message)
            if names and names <= given:
                continue
            yield f"has a {mistake.field} that depends on a parameter, which --local cannot resolve"
        elif mistake.flaw in (Flaw.FORM, Flaw.TINY):
            yield f"has an invalid limit: {mistake.message}"


# Google's components for pipelines: their container starts CustomJobs, batch predictions, endpoints and BigQuery jobs
# with the credentials that it finds (google-cloud-pipeline-components 2, container/). A rehearsal starts nothing there.
_LAUNCHER_MODULE = "google_cloud_pipeline_components.container"
_LAUNCHER_IMAGE = "google-cloud-pipeline-components"


def _is_launcher(container: Mapping[str, Any]) -> bool:
    """Say whether a container is one of Google's launchers: by the module that it runs, or by its image alone."""
    if any(_LAUNCHER_MODULE in str(word) for key in ("command", "args") for word in container.get(key) or ()):
        return True
    image = str(container.get("image")).partition("@")[0].rpartition("/")[2].partition(":")[0]
    return image == _LAUNCHER_IMAGE and not container.get("command")


def _step(spec: Spec, step: Step, task: Mapping[str, Any], limits: Limits) -> ExecutableStep:
    component = _component(spec, task)
    container = _executor(spec, component)["container"]
    declared = component.get("inputDefinitions", {}).get("parameters", {})
    inputs: dict[str, Source] = {
        name: Constant(body["defaultValue"]) for name, body in declared.items() if "defaultValue" in body
    }
    for name, source in task.get("inputs", {}).get("parameters", {}).items():
        if "runtimeValue" in source:
            inputs[name] = _runtime_value(source["runtimeValue"])
        elif "componentInputParameter" in source:
            inputs[name] = FromParameter(source["componentInputParameter"])
        else:
            output = source["taskOutputParameter"]
            inputs[name] = FromOutput(output["producerTask"], output["outputParameterKey"])
    retries = task.get("retryPolicy", {}).get("maxRetryCount")
    late = [mistake.field for mistake in limits.mistakes if mistake.flaw is Flaw.PLACEHOLDER]
    warnings = [f"runs without its {field}, which is known only during the run" for field in late]
    if retries:
        warnings.append(f"is not retried after a failure; Vertex AI tries {retries:g} times")
    return ExecutableStep(
        name=step.name,
        label=step.label,
        image=str(container["image"]),
        after=step.after,
        resources=limits.words,
        inputs=inputs,
        command=tuple(map(str, container.get("command", ()))),
        args=tuple(map(str, container.get("args", ()))),
        env={str(entry["name"]): str(entry.get("value", "")) for entry in container.get("env", ())},
        cpu=limits.cpu,
        memory=limits.memory_bytes,
        accelerator=limits.accelerators,
        outputs={
            name: parameter_type(body)
            for name, body in component.get("outputDefinitions", {}).get("parameters", {}).items()
        },
        warnings=tuple(warnings),
    )


def _runtime_value(value: Mapping[str, Any]) -> Source:
    """Read a constant; a spec of version 2.0.0 says `constantValue` or `runtimeParameter`."""
    if "runtimeParameter" in value:
        return FromParameter(value["runtimeParameter"])
    if "constantValue" not in value:
        return Constant(value["constant"])
    ((kind, constant),) = value["constantValue"].items()
    return Constant(int(constant) if kind == "intValue" else constant)


# ── placeholders ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _unknown_placeholders(step: ExecutableStep, parameters: set[str]) -> Iterator[tuple[str, str]]:
    """Say which placeholders of a step stand for nothing that is known here, each with a hint."""
    for source in step.inputs.values():
        if isinstance(source, FromParameter) and source.name not in parameters:
            yield f"takes the parameter {source.name!r}, which the pipeline does not declare", ""
    for text in (*step.command, *step.args):
        for words in expression_faults(text):
            yield f"has an invalid expression in its command or arguments: {words}", "recompile the file"
    constants = [source.value for source in step.inputs.values() if isinstance(source, Constant)]
    for text in (*step.command, *step.args, *texts_of(constants)):
        for wrong in unfilled(text):
            yield f"holds {wrong.text}, which {_NOT_FILLED if wrong.of_server else 'nothing fills'}", wrong.hint
        for start, end, body in bodies(text):
            if output := OUTPUT_FILE.fullmatch(body):
                if output["name"] not in step.outputs:
                    yield f"writes the output {output['name']!r}, which its component does not declare", ""
            elif not _is_filled_here(body) and not any(unfilled(text[start:end])):
                yield f"holds {text[start:end]}, which --local does not support", _HINT


_NOT_FILLED = "a KFP server fills and Vertex AI and --local do not"


def _is_filled_here(body: str) -> bool:
    name = body.removeprefix(".")
    return not body or name in OF_RUN | OF_VERTEX | EXECUTOR_FILES or bool(INPUT_PARAMETER.fullmatch(body))


def _evaluated(text: str, context: StepContext) -> list[str]:
    """Return what one string of command or args stands for: one string; none or several for `IfPresent`."""
    structure = structure_of(text)
    if structure is None:
        return [_replaced(text, context)]
    return _structure_value(structure, context)


def _structure_value(node: Any, context: StepContext) -> list[str]:
    if isinstance(node, str):
        return _evaluated(node, context)
    if isinstance(node, list):
        return [part for item in node for part in _structure_value(item, context)]
    if isinstance(node, dict) and "Concat" in node:
        return ["".join(_structure_value(node["Concat"], context))]
    if isinstance(node, dict) and "IfPresent" in node:
        body = node["IfPresent"]
        present = context.inputs.get(body["InputName"]) is not None
        return _structure_value(body["Then"] if present else body.get("Else", []), context)
    raise InputError(f"{json.dumps(node)} is neither Concat nor IfPresent")


def _replaced(text: str, context: StepContext) -> str:
    """Replace every placeholder of `text` once: what a value holds is not looked at."""

    def value(body: str) -> str:
        if not body:
            return json.dumps(_executor_input(context))
        if found := INPUT_PARAMETER.fullmatch(body):
            if found["name"] not in context.inputs:
                raise InputError(f"the input {found['name']!r} has no value", hint="pass it with -p")
            return as_text(context.inputs[found["name"]])
        if found := OUTPUT_FILE.fullmatch(body):
            return f"{context.outputs_folder}/{found['name']}"
        name = body.removeprefix(".")
        return f"{context.outputs_folder}/{EXECUTOR_OUTPUT}" if name in EXECUTOR_FILES else context.run[name]

    return replaced(text, value)


def _executor_input(context: StepContext) -> dict[str, Any]:
    """Return what `{{$}}` stands for, which kfp's own Python components read (kfp 2.17, dsl/executor.py)."""
    return {
        "inputs": {"parameterValues": dict(context.inputs)},
        "outputs": {
            "parameters": {name: {"outputFile": f"{context.outputs_folder}/{name}"} for name in context.outputs},
            "outputFile": f"{context.outputs_folder}/{EXECUTOR_OUTPUT}",
        },
    }


def read_outputs(step: ExecutableStep, files: Mapping[str, str]) -> dict[str, Any]:
    """Read the values of a step's output parameters.

    Args:
        step: whose.
        files: the texts in its outputs folder, by name.

    Raises:
        InputError: a declared output was not written, or is not of its type.
    """
    values: dict[str, Any] = {}
    try:
        written = json.loads(files.get(EXECUTOR_OUTPUT) or "{}").get("parameterValues", {})
        for name, kind in step.outputs.items():
            values[name] = written[name] if name in written else _read_output(files[name], kind)
    except KeyError as error:
        raise InputError(f"the output {error} was not written") from None
    except (ValueError, AttributeError, RecursionError) as error:
        raise InputError(f"an output does not have the declared type: {error}") from None
    return values


def _read_output(text: str, kind: str) -> Any:
    """Turn what a step wrote for an output parameter into a value of its type.

    Raises ValueError when it is none.
    """
    if kind == "STRING":
        return text
    value = json.loads(text.lower() if kind == "BOOLEAN" else text)
    kinds: Mapping[str, type | tuple[type, ...]] = {
        "NUMBER_INTEGER": int,
        "NUMBER_DOUBLE": (int, float),
        "BOOLEAN": bool,
        "LIST": list,
        "STRUCT": dict,
    }
    if kind not in kinds or not isinstance(value, kinds[kind]):
        raise ValueError(f"is not {kind}")
    return value


def downstream(steps: Sequence[ExecutableStep], first: str) -> frozenset[str]:
    """Name `first` and every step that waits for it, directly or not; `steps` are in their order."""
    found = {first}
    for step in steps:
        if found & set(step.after):
            found.add(step.name)
    return frozenset(found)
