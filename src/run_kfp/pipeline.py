"""A selection of containers becomes one KFP v2 pipeline file, the same bytes for the same input.

The file holds no value of an environment: parameters and secrets are STRING parameters without default, and values join
at submission.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import math
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from run_kfp.arguments import Argument, Reference, literal_fault
from run_kfp.errors import Fault, InputError, did_you_mean, shown
from run_kfp.files import LARGEST_FILE, read_text
from run_kfp.lean import import_kfp
from run_kfp.limits import count_text, cpu_text, memory_text
from run_kfp.registry import BUILT_IN_PARAMS, Container, Registry

if TYPE_CHECKING:
    from kfp import dsl

# An IR value as YAML gives it.
Spec = Mapping[str, Any]


@dataclass(frozen=True)
class Parameter:
    """A parameter of a pipeline, as its file declares it.

    `type` is KFP's (STRING, NUMBER_INTEGER, NUMBER_DOUBLE, BOOLEAN, LIST, STRUCT); `required` is true when a run must
    bring a value.
    """

    name: str
    type: str
    required: bool


@dataclass(frozen=True)
class Step:
    """A task of the pipeline as a person looks at it."""

    name: str
    label: str
    image: str
    after: tuple[str, ...]
    resources: str
    cached: bool


@dataclass(frozen=True)
class CompiledPipeline:
    """A compiled pipeline: the text of its file, what there is to know of it, and where it came from in words.

    `name` is the pipeline's: the cache and the job ids of its runs go by it. `parameters` are in the order of their
    names, `steps` each behind those that it waits for.
    """

    text: str
    source: str
    name: str
    display_name: str
    parameters: tuple[Parameter, ...]
    steps: tuple[Step, ...]

    @cached_property
    def spec(self) -> Spec:
        """The pipeline spec (IR) that the text holds; read when it is asked for, since a compile needs it for nothing.

        Raises:
            InputError: the text is no KFP v2 pipeline spec.
        """
        return _read_spec(self.text, self.source)


# What people write for the types of parameters that KFP has (ParameterType of pipeline_spec.proto). A type that is
# neither here nor there may be a new one.
_TYPES_MEANT = {
    "STR": "STRING",
    "TEXT": "STRING",
    "INT": "NUMBER_INTEGER",
    "INTEGER": "NUMBER_INTEGER",
    "FLOAT": "NUMBER_DOUBLE",
    "DOUBLE": "NUMBER_DOUBLE",
    "NUMBER": "NUMBER_DOUBLE",
    "BOOL": "BOOLEAN",
    "ARRAY": "LIST",
    "DICT": "STRUCT",
    "OBJECT": "STRUCT",
    "JSON": "STRUCT",
    **{name.lower(): name for name in ("STRING", "NUMBER_INTEGER", "NUMBER_DOUBLE", "BOOLEAN", "LIST", "STRUCT")},
}


def _type_meant(kind: str) -> str | None:
    """Return the type of KFP that a word which is none stands for; None where that cannot be told."""
    return _TYPES_MEANT.get(kind) or _TYPES_MEANT.get(kind.upper())


def _parameters(spec: Spec) -> tuple[Parameter, ...]:
    declared: Mapping[str, Any] = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    kinds = {name: str(body.get("parameterType", "STRING")) for name, body in declared.items()}
    return tuple(
        Parameter(
            name,
            _type_meant(kinds[name]) or kinds[name],
            required="defaultValue" not in body and not body.get("isOptional"),
        )
        for name, body in sorted(declared.items())
    )


def _table(value: object, *keys: str) -> Mapping[str, Any]:
    """Return the table that stands under `keys`, one inside the other; an empty one where something else stands."""
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _mistaken_words(spec: Spec, source: str) -> list[Fault]:
    """Name words of other tools in places where KFP has its own: types of parameters, limits as Kubernetes has them."""
    found: list[tuple[str, str, str]] = []
    components = {"root": spec["root"], **{f"components.{name}": body for name, body in spec["components"].items()}}
    for place, component in components.items():
        for name, body in _table(component, "inputDefinitions", "parameters").items():
            kind = _table(body).get("parameterType")
            if isinstance(kind, str) and (meant := _type_meant(kind)):
                where = f"{place}.inputDefinitions.parameters.{name}.parameterType"
                found.append((where, f"{shown(kind)} is no type of a parameter", f"write {meant}"))
    for label, executor in _table(spec, "deploymentSpec", "executors").items():
        resources = _table(executor, "container", "resources")
        for key, meant in (("limits", "Limit"), ("requests", "Request")):
            if key in resources:
                where = f"deploymentSpec.executors.{label}.container.resources.{key}"
                message = "is Kubernetes' form, and no key of KFP: it would change nothing, or be refused"
                hint = f'write resourceCpu{meant}: "4", resourceMemory{meant}: "16G" in resources itself'
                found.append((where, message, hint))
    return [
        Fault(f"{source}: {where}: {message}", hint, code="RK-PIPELINE-FILE", place=f"{source}: {where}")
        for where, message, hint in found
    ]


def _steps(spec: Spec, source: str, faults: list[Fault]) -> tuple[Step, ...]:
    """Return the tasks of the root DAG, each behind those that it waits for, else in the order of their names.

    A task that waits for one that does not exist is a fault and waits for it no longer; tasks that wait for each other
    are one too, and come last.
    """
    tasks: Mapping[str, Any] = spec["root"]["dag"]["tasks"]
    waiting = {name: _step(spec, name, task) for name, task in sorted(tasks.items())}
    for step in waiting.values():
        faults += [
            Fault(
                f"{name} waits for {shown(other)}, which does not exist",
                did_you_mean(str(other), set(tasks) - {name}) or "take it out of dependentTasks and of the inputs",
                code="RK-DAG-CYCLE",
                place=f"{source}: root.dag.tasks.{name}",
            )
            for name, other in ((step.name, other) for other in step.after)
            if other not in tasks
        ]
    ordered: list[Step] = []
    done: set[str] = set()
    while waiting:
        ready = [name for name, step in waiting.items() if done.issuperset(tasks.keys() & set(step.after))]
        if not ready:
            circle = _circle({name: step.after for name, step in waiting.items()})
            faults.append(
                Fault(
                    f"{source} has tasks that wait for each other: {', '.join(circle)}",
                    "take one of these dependencies out (dependentTasks, inputs), or compile the file anew",
                    code="RK-DAG-CYCLE",
                    place=f"{source}: root.dag.tasks",
                )
            )
            ready = list(waiting)
        ordered += [waiting.pop(name) for name in ready]
        done.update(ready)
    return tuple(ordered)


def _circle(after: Mapping[str, Sequence[str]]) -> list[str]:
    """Return tasks of which each waits for the next, and the last for the first; every task waits for one of them."""
    path = [next(iter(after))]
    while True:
        following = next(name for name in after[path[-1]] if name in after)
        if following in path:
            return path[path.index(following) :]
        path.append(following)


def _step(spec: Spec, name: str, task: Mapping[str, Any]) -> Step:
    component = spec["components"].get(task.get("componentRef", {}).get("name"), {})
    executors = spec.get("deploymentSpec", {}).get("executors", {})
    container = executors.get(component.get("executorLabel"), {}).get("container", {})
    after = set(task.get("dependentTasks", ()))
    for kind in ("parameters", "artifacts"):
        for source in task.get("inputs", {}).get(kind, {}).values():
            producer = source.get("taskOutputParameter") or source.get("taskOutputArtifact") or {}
            after.update([producer["producerTask"]] if "producerTask" in producer else [])
    return Step(
        name,
        label=str(task.get("taskInfo", {}).get("name") or name),
        image=str(container.get("image") or ("(a pipeline of its own)" if "dag" in component else "(no container)")),
        after=tuple(sorted(after)),
        resources=_resources(container.get("resources", {})),
        cached=bool(task.get("cachingOptions", {}).get("enableCache")),
    )


def _resources(resources: Mapping[str, Any]) -> str:
    """Say in words what a container of a pipeline spec asks for.

    kfp writes each limit twice, `resourceCpuLimit` ("16") and the older `cpuLimit` (16.0); other tools one of the two.
    """
    cpu = resources.get("resourceCpuLimit") or resources.get("cpuLimit")
    memory = resources.get("resourceMemoryLimit") or resources.get("memoryLimit")
    accelerator = resources.get("accelerator")
    accelerator = accelerator if isinstance(accelerator, Mapping) else {}
    kind = accelerator.get("resourceType") or accelerator.get("type")
    return _resource_words(
        f"{cpu:g}" if isinstance(cpu, int | float) else cpu and str(cpu),
        f"{memory:g}G" if isinstance(memory, int | float) else memory and str(memory),
        (str(kind), str(accelerator.get("resourceCount") or accelerator.get("count") or 1)) if kind else None,
    )


def _resource_words(cpu: str | None, memory: str | None, accelerator: tuple[str, str] | None) -> str:
    words = [f"{cpu} CPU" if cpu else "", memory or "", f"{accelerator[1]} × {accelerator[0]}" if accelerator else ""]
    return ", ".join(word for word in words if word)


def _read_spec(text: str, source: str, *, foreign: bool = False) -> Spec:
    """Read the text of a pipeline file.

    Args:
        text: YAML.
        source: where it comes from, in words.
        foreign: whether nobody has looked through it yet.

    Raises:
        InputError: it is no KFP v2 pipeline spec.
    """
    # libyaml's loader where PyYAML has it: the pure Python one takes 20 times as long.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    hint = "compile it with `run-kfp -r … --compile-only` or `kfp dsl compile`"
    try:
        if foreign and (unsafe := _yaml_fault(text, loader)):
            raise _no_pipeline(f"{source}: {unsafe[0]}", unsafe[1], source)
        documents = list(yaml.load_all(text, Loader=loader))
    # PyYAML's constructors raise whatever a malformed tag leads to.
    except (
        yaml.YAMLError,
        ValueError,
        ArithmeticError,
        LookupError,
        AttributeError,
        TypeError,
        RecursionError,
    ) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        raise _no_pipeline(f"{source} is not YAML{where}", hint, source) from None
    if sum(isinstance(document, Mapping) and "pipelineInfo" in document for document in documents) > 1:
        raise _no_pipeline(f"{source} holds several pipelines, apart by ---", "put each into a file of its own", source)
    spec = documents[0] if documents else None
    if fault := _json_fault(spec):
        raise _no_pipeline(f"{source}: {fault}", "a pipeline spec is JSON: put such a value in quotes", source)
    if isinstance(spec, Mapping) and str(spec.get("apiVersion")).startswith("argoproj.io"):
        raise _no_pipeline(
            f"{source} is a Workflow of Argo, as kfp 1 wrote it for a KFP server, and no KFP v2 pipeline",
            "compile it with kfp 2: kfp dsl compile --py pipeline.py --output pipeline.yaml",
            source,
        )
    if isinstance(spec, Mapping) and "pipelineSpec" in spec:
        raise _no_pipeline(
            f"{source} is a whole PipelineJob, not a pipeline spec",
            "give the file that `kfp dsl compile` writes",
            source,
        )
    missing = [
        key
        for key in ("pipelineInfo", "root", "deploymentSpec", "components")
        if not isinstance(spec, Mapping) or not isinstance(spec.get(key), Mapping)
    ]
    if missing or not isinstance(spec, Mapping):
        raise _no_pipeline(f"{source} is no KFP v2 pipeline: it has no {', '.join(missing)}", hint, source)
    tasks = spec["root"].get("dag", {}).get("tasks") if isinstance(spec["root"].get("dag", {}), Mapping) else None
    if not isinstance(tasks, Mapping) or not tasks or not spec["pipelineInfo"].get("name"):
        lacking = "tasks" if spec["pipelineInfo"].get("name") else "name"
        raise _no_pipeline(f"{source} is no KFP v2 pipeline: it has no {lacking}", hint, source)
    return spec


def _no_pipeline(message: str, hint: str, source: str) -> InputError:
    return InputError(message, hint, code="RK-PIPELINE-FILE", place=source)


# Protobuf's parser refuses messages that are nested more deeply than 100.
_DEEPEST = 90

# What a value counts for beside its characters when the size of a document is measured: about what it takes in a file.
_SIZE_OF_VALUE = 32


@dataclass
class _Open:
    """A list or table of YAML whose end has not come yet: its keys, its size, and where it can be referred to."""

    keys: set[str] | None
    anchor: str | None
    size: int = 0
    at_key: bool = True


def _yaml_fault(text: str, loader: type[Any]) -> tuple[str, str] | None:
    """Say why a text must not be loaded, and what to do; None where it may be.

    The loader follows nesting by recursion, in C, where it ends the process; aliases make one line stand for a million;
    and of two equal keys it drops the first. So this looks at the events that the text consists of, one at a time.
    """
    anew = "compile the file anew"
    stack: list[_Open] = []
    sizes: dict[str, int] = {}
    for event in yaml.parse(text, Loader=loader):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.CollectionStartEvent):
            _is_key(stack, None)
            if len(stack) >= _DEEPEST:
                return f"line {line} is nested more than {_DEEPEST} deep", anew
            stack.append(_Open(set() if isinstance(event, yaml.MappingStartEvent) else None, event.anchor))
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            ended = stack.pop()
            anchor, size = ended.anchor, ended.size + _SIZE_OF_VALUE
        elif isinstance(event, yaml.ScalarEvent):
            if _is_key(stack, event.value):
                message = f"line {line}: the key {shown(event.value)} stands twice in one table"
                return message, "take one of the two out; was the file pasted twice?"
            anchor, size = event.anchor, len(event.value) + _SIZE_OF_VALUE
        elif isinstance(event, yaml.AliasEvent):
            _is_key(stack, None)
            if any(event.anchor == outer.anchor for outer in stack):
                return (
                    f"line {line}: *{event.anchor} stands within itself: it is nested more than {_DEEPEST} deep",
                    anew,
                )
            anchor, size = None, sizes.get(event.anchor or "", 0)
        else:  # the beginning and end of a document
            sizes.clear()
            continue
        if anchor is not None:
            sizes[anchor] = size
        if stack:
            stack[-1].size += size
            if stack[-1].size > LARGEST_FILE:
                limit = f"{LARGEST_FILE // 2**20} MB"
                return f"line {line}: with its aliases (*name) written out it is larger than {limit}", anew
    return None


def _is_key(stack: list[_Open], word: str | None) -> bool:
    """Take note of a key or value that begins in the innermost table; say whether it is a key for the second time."""
    if not stack or stack[-1].keys is None:
        return False
    keys = stack[-1].keys
    stack[-1].at_key, at_key = not stack[-1].at_key, stack[-1].at_key
    if not at_key or word is None:
        return False
    twice = word in keys
    keys.add(word)
    return twice


def _json_fault(value: Any) -> str | None:
    """Say where a value that YAML has and JSON has not stands first, and what it is; None where there is none."""
    todo: list[tuple[str, Any, int]] = [("", value, 0)]
    while todo:
        place, found, depth = todo.pop()
        where = place.lstrip(".") or "the document"
        if depth > _DEEPEST:
            return f"{where[:60]}… is nested more than {_DEEPEST} deep"
        if isinstance(found, Mapping):
            for key, item in found.items():
                if not isinstance(key, str):
                    return f"{where} has the key {key!r}, which is no string"
                todo.append((f"{place}.{key}", item, depth + 1))
        elif isinstance(found, list):
            todo += [(f"{place}[{number}]", item, depth + 1) for number, item in enumerate(found)]
        elif isinstance(found, float) and not math.isfinite(found):
            return f"{where} is {found}, a number that JSON does not have"
        elif isinstance(found, int) and not isinstance(found, bool) and abs(found) > 2**53:
            return f"{where} is a whole number beyond 2^53, which would not arrive as it is"
        elif not isinstance(found, str | int | float | None):
            return f"{where} is a {type(found).__name__}, which JSON does not have"
    return None


def read_pipeline(path: Path, faults: list[Fault] | None = None) -> CompiledPipeline:
    """Read a compiled pipeline file, of this program or another.

    Args:
        path: the file.
        faults: takes the faults of a pipeline that can be read and is no use all the same; None to raise them.

    Raises:
        InputError: the file cannot be read or is no KFP v2 pipeline spec.
    """
    hint = "write one with `run-kfp -r … --compile-only`"
    text = read_text(path, str(path), hint)
    if text is None:
        raise _no_pipeline(f"there is no file {path}", hint, str(path))
    spec = _read_spec(text, str(path), foreign=True)
    info = spec["pipelineInfo"]
    useless: list[Fault] = []
    try:
        parameters, steps = _parameters(spec), _steps(spec, str(path), useless)
    except (AttributeError, KeyError, TypeError, ValueError):
        message = f"{path} is no KFP v2 pipeline: its tasks or parameters are not of that form"
        raise _no_pipeline(message, "compile it anew", str(path)) from None
    useless += _mistaken_words(spec, str(path))
    if useless and faults is None:
        raise InputError.of(str(path), useless)
    (faults if faults is not None else []).extend(useless)
    name = str(info["name"])
    return CompiledPipeline(text, str(path), name, str(info.get("displayName") or name), parameters, steps)


def compile_pipeline(
    registry: Registry, selection: Sequence[Container], *, fixed: Mapping[str, str], caching: bool = False
) -> CompiledPipeline:
    """Chain the selected containers, each after the one before it, and compile them with kfp.

    Args:
        registry: for the pipeline's names, and for what factories may refer to.
        selection: at least one container, in the order of the chain.
        fixed: the values of the parameters that resources refer to (`Registry.compile_time_params`).
        caching: whether steps without side effects may be taken from Vertex's cache.

    Returns:
        The pipeline; equal arguments give equal bytes.

    Raises:
        InputError: a value in `fixed` is no resource, or a factory fails.
    """
    faults = [
        fault
        for container in {container.index: container for container in selection}.values()
        for fault in (
            *resource_faults(container, fixed, registry.source).values(),
            *_argument_faults(container, fixed),
        )
    ]
    if faults:
        raise InputError.of("the resources", faults)
    kfp = import_kfp(whole=any(container.factory for container in selection))
    made: dict[str, Any] = {}
    inputs: dict[str, list[str]] = {}
    for container in selection:
        if container.index not in made:
            component = (
                _from_factory(registry, container, kfp) if container.factory else _component(container, fixed, kfp)
            )
            made[container.index] = component
            inputs[container.index] = list(component.component_spec.inputs or {})
    names = sorted({name for container in selection for name in inputs[container.index]})
    steps: list[Step] = []

    def chain(*channels: Any) -> None:
        by_name = dict(zip(names, channels, strict=True))
        before = None
        for container in selection:
            task = made[container.index](**{name: by_name[name] for name in inputs[container.index]})
            resources = _configure(task, container, fixed, caching)
            if before is not None:
                task.after(before)
            image = task.container_spec.image if task.container_spec else "(a pipeline of its own)"
            after = (before.name,) if before is not None else ()
            cached = caching and not container.side_effects
            steps.append(Step(task.name, container.label, image, after, resources, cached))
            before = task

    section = registry.pipeline

    def compiled() -> str:
        pipeline = kfp.dsl.pipeline(name=section.name, display_name=section.display_name or None)(
            _with_signature(chain, section.name, names)
        )
        with tempfile.TemporaryDirectory(prefix="run-kfp-") as folder:
            target = Path(folder) / "pipeline.yaml"
            kfp.compiler.Compiler().compile(pipeline, str(target))
            return target.read_text(encoding="utf-8")

    # kfp's setters walk the whole stack (`inspect.stack()`), which in a thread of its own is short: a quarter of the
    # time of a pipeline of 1000 steps.
    with ThreadPoolExecutor(max_workers=1) as fresh_stack:
        text = fresh_stack.submit(compiled).result()
    return CompiledPipeline(
        text,
        source=f"{registry.source}: {', '.join(list(inputs)[:8])}{', …' if len(inputs) > 8 else ''}",
        name=section.name,
        display_name=section.display_name or section.name,
        parameters=tuple(Parameter(name, "STRING", required=True) for name in names),
        steps=tuple(steps),
    )


def _with_signature(function: Callable[..., Any], name: str, parameters: Sequence[str]) -> Callable[..., Any]:
    """Give `function` the name and the string parameters that kfp reads from what it decorates."""
    function.__name__ = name.replace("-", "_")
    function.__annotations__ = dict.fromkeys(parameters, str)
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    signature = inspect.Signature([inspect.Parameter(parameter, kind, annotation=str) for parameter in parameters])
    function.__signature__ = signature  # type: ignore[attr-defined]  # what inspect.signature reads first
    return function


def _component(container: Container, fixed: Mapping[str, str], kfp: Any) -> Any:
    """Build the container component: references become its inputs, literals stay as they are."""
    command, args = _call(container)
    args = tuple(_literal_if_fixed(argument, fixed) for argument in args)
    names = sorted({argument.name for argument in args if isinstance(argument, Reference)})

    def spec(*placeholders: Any) -> dsl.ContainerSpec:
        by_name = dict(zip(names, placeholders, strict=True))

        def filled(argument: Argument) -> Any:
            if isinstance(argument, str):
                return argument
            return f"{argument.prefix}{by_name[argument.name]}" if argument.prefix else by_name[argument.name]

        return kfp.dsl.ContainerSpec(
            image=container.image, command=list(command) or None, args=[filled(argument) for argument in args] or None
        )

    return kfp.dsl.container_component(_with_signature(spec, container.name, names))


def _call(container: Container) -> tuple[tuple[str, ...], tuple[Argument, ...]]:
    """Return command and args of the spec.

    kfp and Vertex take literals for environment variables only, so values that join later go through `env NAME=value…`
    in front of the entrypoint; they stand in args, because a placeholder in `command` was reported unresolved on Vertex
    (googleapis/python-aiplatform#4164).
    """
    late = {name: value for name, value in container.env.items() if isinstance(value, Reference)}
    if not late:
        return container.command or (), container.args
    assignments = tuple(Reference(value.kind, value.name, f"{name}=") for name, value in late.items())
    return ("env",), (*assignments, *(container.command or container.entrypoint or ()), *container.args)


def _literal_if_fixed(argument: Argument, fixed: Mapping[str, str]) -> Argument:
    if isinstance(argument, Reference) and argument.kind == "param" and argument.name in fixed:
        return argument.prefix + fixed[argument.name]
    return argument


def _configure(task: Any, container: Container, fixed: Mapping[str, str], caching: bool) -> str:
    """Set what belongs to the task: names, caching and resources, in the form that Vertex reads.

    Returns the resources in words.
    """
    task.set_display_name(container.label)
    # Said in each task: kfp's default comes from a variable of the environment, and `PipelineJob(enable_caching=…)`
    # would rewrite the file.
    task.set_caching_options(caching and not container.side_effects)
    for name, value in container.env.items():
        if isinstance(value, str):
            task.set_env_variable(name, value)
    cpu, memory, accelerator = _resources_of(container, fixed)
    if cpu:
        task.set_cpu_limit(cpu)
    if memory:
        task.set_memory_limit(memory)
    if accelerator:
        task.set_accelerator_type(accelerator[0])
        task.set_accelerator_limit(accelerator[1])
    return _resource_words(cpu, memory, accelerator)


def _resources_of(
    container: Container, fixed: Mapping[str, str]
) -> tuple[str | None, str | None, tuple[str, str] | None]:
    """Return CPU, memory and accelerator with references resolved, which `resource_faults` has looked at."""

    def resolved(value: str | Reference | None, read: Callable[[str], str]) -> str | None:
        return read(fixed[value.name]) if isinstance(value, Reference) else value

    count = resolved(container.accelerator.count, count_text) if container.accelerator else None
    accelerator = (container.accelerator.type, count) if container.accelerator and count and count != "0" else None
    return resolved(container.cpu, cpu_text), resolved(container.memory, memory_text), accelerator


def resource_faults(container: Container, fixed: Mapping[str, str], source: str) -> dict[str, Fault]:
    """Find the parameters that are no resource.

    Args:
        container: whose resources may refer to parameters.
        fixed: the values of those that have one.
        source: the registry, in words.

    Returns:
        A fault for each of the keys `cpu`, `memory`, `accelerator` whose parameter has a value of another form.
    """
    parts = {
        "cpu": (container.cpu, "cpu", cpu_text, "4"),
        "memory": (container.memory, "memory", memory_text, "16G"),
        "accelerator": (
            container.accelerator.count if container.accelerator else None,
            "accelerator.count",
            count_text,
            "1",
        ),
    }
    faults: dict[str, Fault] = {}
    for key, (value, name, read, example) in parts.items():
        if isinstance(value, Reference) and value.name in fixed:
            try:
                read(fixed[value.name])
            except ValueError as error:
                place = f"{source}: containers.{container.index}.{name}"
                faults[key] = Fault(
                    f"{place}: parameter {value.name}: {error}",
                    f"give it such a value: -p {value.name}={example}",
                    code="RK-RESOURCE-PARAM",
                    place=place,
                )
    return faults


def _argument_faults(container: Container, fixed: Mapping[str, str]) -> list[Fault]:
    """Find what a prefix and a fixed value make together, and neither is alone: something that would be replaced."""
    for argument in (*container.args, *container.env.values()):
        joined = _literal_if_fixed(argument, fixed)
        if isinstance(argument, Reference) and isinstance(joined, str) and (fault := literal_fault(joined)):
            message = f"{argument.name} in the arguments of container {container.index} {fault}"
            return [Fault(message, code="RK-RESOURCE-PARAM", place=f"-p {argument.name}")]
    return []


def _from_factory(registry: Registry, container: Container, kfp: Any) -> Any:
    """Import the factory, call it, and check that this registry can fill the inputs of the component it returns."""
    place = f"{registry.source}: containers.{container.index}.factory {container.factory}"
    module_name, _, attribute = container.factory.partition(":")
    folder = str(registry.folder)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    base = importlib.import_module("kfp.dsl.base_component").BaseComponent
    here = Path.cwd()
    try:
        # What it prints are words, not our result; where it goes to is not where the rest of the call goes on.
        with contextlib.redirect_stdout(sys.stderr):
            made = getattr(importlib.import_module(module_name), attribute)
            component = made if isinstance(made, base) else made()
    except (Exception, SystemExit) as error:
        raise InputError(
            f"{place} failed: {type(error).__name__}: {error}",
            hint="run it in Python, in the folder of the registry file",
            code="RK-FACTORY",
            place=place,
        ) from error
    finally:
        os.chdir(here)
    if not isinstance(component, base):
        raise InputError(
            f"{place} returned a {type(component).__name__}, which is no KFP component",
            hint="return what @dsl.component or @dsl.container_component makes",
            code="RK-FACTORY",
            place=place,
        )
    known = {*registry.params, *registry.secrets, *BUILT_IN_PARAMS}
    faults = []
    for name, body in (component.component_spec.inputs or {}).items():
        if name not in known:
            faults.append(
                Fault(
                    f"{place}: input {name!r} is no parameter and no secret of the registry",
                    f"declare it as [params.{name}]",
                    code="RK-FACTORY",
                    place=place,
                )
            )
        elif str(body.type) != "String":
            faults.append(
                Fault(
                    f"{place}: input {name!r} is of type {body.type}; parameters of a registry are strings",
                    "annotate it with str",
                    code="RK-FACTORY",
                    place=place,
                )
            )
    if component.component_spec.implementation.container is None and (
        container.resource_references or any((container.cpu, container.memory, container.accelerator))
    ):
        message = f"{place} returned a pipeline: its steps have resources, not the pipeline itself"
        faults.append(Fault(message, code="RK-FACTORY", place=place))
    if faults:
        raise InputError.of(place, faults)
    # The step is called as the registry says, whatever the function is called: names are unique there.
    component.component_spec.name = container.name
    return component
