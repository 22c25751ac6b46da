"""The pipeline spec as the checks walk it: safe ways into what may hold anything, and its DAGs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from run_kfp.pipeline.tables import table_at
from run_kfp.preflight.context import CheckContext


def names_in_words(names: Sequence[str], most: int = 5) -> str:
    """Join names for a sentence, each once: the first few, and how many more there are."""
    once = list(dict.fromkeys(names))
    shown = ", ".join(name if len(name) <= 60 else f"{name[:59]}…" for name in once[:most])
    return f"{shown} and {len(once) - most} more" if len(once) > most else shown


def compiled_here(context: CheckContext) -> bool:
    """Say whether the pipeline was compiled from the registry, and is no finished file."""
    source = f"{context.registry.source}: "  # what `compile_pipeline` begins the pipeline's own with
    return any(step.container for step in context.steps) or context.pipeline.source.startswith(source)


def source_of(context: CheckContext) -> str:
    """Return the file to look into: the registry, or the finished file."""
    return context.registry.source if compiled_here(context) else context.pipeline.source


@dataclass(frozen=True)
class Dag:
    """A DAG of the spec: the root's, or that of a component.

    Attributes:
        place: of the component that holds it ("root", "components.comp-loop").
        component: that component.
        tasks: the tasks that are tables, by name.
    """

    place: str
    component: Mapping[str, Any]
    tasks: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Spec:
    """A pipeline spec, and the file it came from."""

    body: Mapping[str, Any]
    source: str

    def at(self, place: str) -> str:
        """Name a place of the file."""
        return f"{self.source}: {place}"

    @cached_property
    def components(self) -> Mapping[str, Any]:
        """All components by name."""
        return table_at(self.body, "components")

    @cached_property
    def dags(self) -> Mapping[str, Dag]:
        """Every DAG by the name of its component; the root's has the name ""."""
        holders = {"": ("root", table_at(self.body, "root"))}
        holders |= {
            name: (f"components.{name}", body)
            for name, body in self.components.items()
            if isinstance(body, Mapping) and "dag" in body
        }
        return {
            name: Dag(
                place,
                component,
                {key: task for key, task in table_at(component, "dag", "tasks").items() if isinstance(task, Mapping)},
            )
            for name, (place, component) in holders.items()
        }

    def component_of(self, task: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the component that a task refers to; an empty table where there is none."""
        return table_at(self.components, str(table_at(task, "componentRef").get("name")))


def shown(value: object) -> str:
    """Return a value for a sentence, shortened where it is long."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
