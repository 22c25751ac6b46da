"""What the checks look at: every container step of a compiled pipeline, and where its author wrote each part of it.

The checks read the compiled file, of this program or another, because that is what Vertex AI gets; their findings name
the place in the registry where there is one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from run_kfp.pipeline import CompiledPipeline
from run_kfp.pipeline.known import known_inputs, known_parameters
from run_kfp.pipeline.resources import resolved
from run_kfp.pipeline.tables import table_at
from run_kfp.plans import Value, Values, known_values
from run_kfp.registry import Container, Registry
from run_kfp.secrets import SecretRef
from run_kfp.settings import RULES, Settings

# More than Vertex AI takes (10,000 tasks in a job), which is told elsewhere. DAGs that share their inner DAGs can have
# more steps than could ever be looked at.
MOST_STEPS = 10_001

# Keys of a registry's container, and where the same thing stands in an executor of a pipeline spec.
_IN_SPEC: Mapping[str, str] = {
    "cpu": "resources.resourceCpuLimit",
    "memory": "resources.resourceMemoryLimit",
    "accelerator.type": "resources.accelerator.resourceType",
    "accelerator.count": "resources.accelerator.resourceCount",
    "accelerator": "resources.accelerator",
}


@dataclass(frozen=True)
class StepSpec:
    """A container step as the pipeline spec has it.

    Attributes:
        name: the task's; one of an inner DAG has the task around it in front ("for-loop-1/train").
        source: the file or registry it comes from, as a person knows it.
        path: where its container stands there: `containers.4` of a registry,
            `deploymentSpec.executors.exec-train.container` of a file.
        container: the entry of the registry, None for a step of a finished file.
        image: as it stands.
        command: replaces ENTRYPOINT and CMD where it is not empty.
        args: replace CMD.
        env: the literals of its environment.
        resources: the `resources` of the spec, with the values of this call for parameters that they refer to.
        task: the whole task of the spec.
        component: the whole component of the spec.
    """

    name: str
    source: str
    path: str
    container: Container | None
    image: str
    command: tuple[str, ...]
    args: tuple[str, ...]
    env: Mapping[str, str]
    resources: Mapping[str, Any]
    task: Mapping[str, Any]
    component: Mapping[str, Any]

    def at(self, key: str) -> str:
        """Return the place of one of its keys, named as in a registry ("image", "args", "accelerator.count")."""
        return f"{self.source}: {self.path}.{key if self.container else _IN_SPEC.get(key, key)}"

    @property
    def cached(self) -> bool:
        """Whether Vertex AI may take its result from the cache."""
        return bool(table_at(self.task, "cachingOptions").get("enableCache"))

    @property
    def side_effects(self) -> bool:
        """Whether the registry says that it changes something outside of the pipeline."""
        return self.container is not None and self.container.side_effects

    @property
    def pipeline_parameters(self) -> Mapping[str, str]:
        """The parameters of the enclosing DAG that it takes, by the name of the input."""
        return {
            name: str(source["componentInputParameter"])
            for name, source in table_at(self.task, "inputs", "parameters").items()
            if isinstance(source, Mapping) and "componentInputParameter" in source
        }


@dataclass(frozen=True)
class CheckContext:
    """Everything that an offline check may look at.

    Attributes:
        pipeline: what would be submitted.
        steps: its container steps, those of inner DAGs too.
        registry: whose parameters and secrets it takes.
        settings: of the call; some may be malformed, which is told already.
        values: the value of each parameter, or the place of a secret; one that is missing has a finding already.
        job_id: the flag; None where it is refused already.
    """

    pipeline: CompiledPipeline
    steps: tuple[StepSpec, ...]
    registry: Registry
    settings: Settings
    values: Mapping[str, Value | SecretRef] = field(default_factory=dict)
    job_id: str | None = None

    @property
    def region(self) -> str | None:
        """The region, None where it is not set or cannot be one."""
        return self.setting("region")

    @property
    def project(self) -> str | None:
        """The project, likewise."""
        return self.setting("project")

    def setting(self, name: str) -> str | None:
        """Return a setting (a key of `RULES`); None where it is missing or malformed, which is told elsewhere."""
        return None if name in self.settings.malformed else self.settings.get(name)

    def place(self, name: str) -> str:
        """Return where a setting was given, or the flag that would give it."""
        found = self.settings.values.get(name)
        return found.place if found else RULES[name].flag


def read_steps(
    pipeline: CompiledPipeline, registry: Registry, selection: Sequence[Container], values: Values | None = None
) -> tuple[StepSpec, ...]:
    """Read every container step of a pipeline.

    Args:
        pipeline: compiled here or elsewhere.
        registry: for its name.
        selection: the containers that it was compiled from, in order; empty for a finished file.
        values: of the call, for limits that depend on parameters.
    """
    spec = pipeline.spec
    known = known_parameters(spec, *known_values(values or {}))
    by_task = dict(zip((step.name for step in pipeline.steps), selection, strict=True)) if selection else {}
    walk = _walk(spec, table_at(spec, "root"), "", pipeline.source, registry.source, by_task, (), known)
    return tuple(itertools.islice(walk, MOST_STEPS))


def _walk(
    spec: Mapping[str, Any],
    component: Mapping[str, Any],
    prefix: str,
    file: str,
    registry: str,
    by_task: Mapping[str, Container],
    above: tuple[str, ...],
    known: Mapping[str, Any],
) -> Iterator[StepSpec]:
    components, executors = table_at(spec, "components"), table_at(spec, "deploymentSpec", "executors")
    for name, task in table_at(component, "dag", "tasks").items():
        if not isinstance(task, Mapping):
            continue
        reference = str(table_at(task, "componentRef").get("name", ""))
        found = table_at(components, reference)
        container = by_task.get(name) if not prefix else None
        if "dag" in found:
            if reference not in above:  # a component that holds itself is told elsewhere
                inner = known_inputs(task, found, known)
                yield from _walk(spec, found, f"{prefix}{name}/", file, registry, by_task, (*above, reference), inner)
            continue
        executor = str(found.get("executorLabel", ""))
        body = table_at(executors, executor).get("container")
        if not isinstance(body, Mapping):
            continue
        yield StepSpec(
            name=prefix + name,
            source=registry if container else file,
            path=f"containers.{container.index}" if container else f"deploymentSpec.executors.{executor}.container",
            container=container,
            image=str(body.get("image") or ""),
            command=tuple(map(str, _list(body, "command"))),
            args=tuple(map(str, _list(body, "args"))),
            env={
                str(entry.get("name", "")): str(entry.get("value", ""))
                for entry in _list(body, "env")
                if isinstance(entry, Mapping)
            },
            resources=resolved(table_at(body, "resources"), known_inputs(task, found, known)),
            task=task,
            component=found,
        )


def _list(value: Mapping[str, Any], key: str) -> list[Any]:
    """Return the list under `key`; an empty one where something else stands."""
    found = value.get(key)
    return found if isinstance(found, list) else []
