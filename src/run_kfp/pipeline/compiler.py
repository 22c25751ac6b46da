"""A selection of containers becomes one KFP v2 pipeline file, the same bytes for the same input.

The file holds no value of an environment: parameters and secrets are STRING parameters without default, and values join
at submission.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from run_kfp.arguments import Argument, Reference, literal_fault
from run_kfp.errors import InputError
from run_kfp.fast_imports import import_kfp
from run_kfp.findings import Finding
from run_kfp.limits import count_text, cpu_text, memory_text
from run_kfp.pipeline.factories import component_of_factory, filled_inputs
from run_kfp.pipeline.resources import resource_words
from run_kfp.pipeline.values import CompiledPipeline, Parameter, Step
from run_kfp.registry import Container, Registry
from run_kfp.temporary import TemporaryFolder, unusable

if TYPE_CHECKING:
    from kfp import dsl


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
                component_of_factory(registry, container, caching=caching and not container.side_effects)
                if container.factory
                else _component(container, fixed, kfp)
            )
            made[container.index] = component
            inputs[container.index] = filled_inputs(registry, component)
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
            image = task.container_spec.image if task.container_spec else "(a nested pipeline)"
            after = (before.name,) if before is not None else ()
            cached = caching and not container.side_effects
            steps.append(Step(task.name, container.label, image, after, resources, cached))
            before = task

    section = registry.pipeline

    def compiled() -> str:
        pipeline = kfp.dsl.pipeline(name=section.name, display_name=section.display_name or None)(
            _with_signature(chain, section.name, names)
        )
        with TemporaryFolder() as folder:
            target = folder / "pipeline.yaml"
            try:
                kfp.compiler.Compiler().compile(pipeline, str(target))
                return target.read_text(encoding="utf-8")
            except OSError as error:
                raise unusable(error) from None

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
    return resource_words(cpu, memory, accelerator)


def _resources_of(
    container: Container, fixed: Mapping[str, str]
) -> tuple[str | None, str | None, tuple[str, str] | None]:
    """Return CPU, memory and accelerator with references resolved, which `resource_faults` has looked at."""

    def resolved(value: str | Reference | None, read: Callable[[str], str]) -> str | None:
        return read(fixed[value.name]) if isinstance(value, Reference) else value

    count = resolved(container.accelerator.count, count_text) if container.accelerator else None
    accelerator = (container.accelerator.type, count) if container.accelerator and count and count != "0" else None
    return resolved(container.cpu, cpu_text), resolved(container.memory, memory_text), accelerator


def resource_faults(container: Container, fixed: Mapping[str, str], source: str) -> dict[str, Finding]:
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
    faults: dict[str, Finding] = {}
    for key, (value, name, read, example) in parts.items():
        if isinstance(value, Reference) and value.name in fixed:
            try:
                read(fixed[value.name])
            except ValueError as error:
                place = f"{source}: containers.{container.index}.{name}"
                faults[key] = Finding(
                    f"parameter {value.name}: {error}",
                    f"pass such a value: -p {value.name}={example}",
                    code="RK-RESOURCE-PARAM",
                    place=place,
                )
    return faults


def _argument_faults(container: Container, fixed: Mapping[str, str]) -> list[Finding]:
    """Find what a prefix and a fixed value make together, and neither is alone: something that would be replaced."""
    for argument in (*container.args, *container.env.values()):
        joined = _literal_if_fixed(argument, fixed)
        if isinstance(argument, Reference) and isinstance(joined, str) and (fault := literal_fault(joined)):
            message = f"{argument.name} in the arguments of container {container.index} {fault}"
            return [Finding(message, code="RK-RESOURCE-PARAM", place=f"-p {argument.name}")]
    return []
