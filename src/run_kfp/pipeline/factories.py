"""A Python factory that stands in for the declaration of a container."""

from __future__ import annotations

import contextlib
import copy
import importlib
import os
import sys
from pathlib import Path
from typing import Any

from run_kfp.errors import InputError
from run_kfp.findings import Finding
from run_kfp.registry import BUILT_IN_PARAMS, Container, Registry


def component_of_factory(registry: Registry, container: Container, *, caching: bool) -> Any:
    """Import the factory, call it, and check that this registry can fill the inputs of the component it returns.

    Args:
        registry: its parameters and secrets fill inputs of the same names.
        container: the entry that names the factory.
        caching: whether the inner steps of a pipeline may be cached, as far as their author lets them.

    Returns:
        A component that belongs to the caller alone.

    Raises:
        InputError: the factory fails, or returns something that the registry cannot fill.
    """
    place = f"{registry.source}: containers.{container.index}.factory {container.factory}"
    module_name, _, attribute = container.factory.partition(":")
    folder = str(registry.folder)
    base = importlib.import_module("kfp.dsl.base_component").BaseComponent
    here = Path.cwd()
    # For the factory alone: what this program imports later must not come from the folder.
    sys.path.insert(0, folder)
    try:
        # What it prints are words, not our result; where it goes to is not where the rest of the call goes on.
        with contextlib.redirect_stdout(sys.stderr):
            made = getattr(importlib.import_module(module_name), attribute)
            component = made if isinstance(made, base) else made()
    except (Exception, SystemExit) as error:
        raise InputError(
            f"failed: {type(error).__name__}: {error}",
            hint="run it in Python, in the folder of the registry file",
            code="RK-FACTORY",
            place=place,
        ) from error
    finally:
        os.chdir(here)
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)
    if not isinstance(component, base):
        raise InputError(
            f"returned a {type(component).__name__}, which is not a KFP component",
            hint="return what @dsl.component or @dsl.container_component creates",
            code="RK-FACTORY",
            place=place,
        )
    faults = []
    for name, body in (component.component_spec.inputs or {}).items():
        if name not in _known(registry):
            if body.optional:
                continue  # it keeps its default, whatever its type
            faults.append(
                Finding(
                    f"input {name!r} is not a parameter or secret of the registry",
                    f"declare it as [params.{name}], or give it a default in the factory",
                    code="RK-FACTORY",
                    place=place,
                )
            )
        elif str(body.type) != "String":
            faults.append(
                Finding(
                    f"input {name!r} is of type {body.type}; parameters of a registry are strings",
                    "annotate it with str",
                    code="RK-FACTORY",
                    place=place,
                )
            )
    if component.component_spec.implementation.container is None and (
        container.resource_references or any((container.cpu, container.memory, container.accelerator))
    ):
        message = "returned a pipeline: its steps have resources, not the pipeline itself"
        faults.append(Finding(message, code="RK-FACTORY", place=place))
    if faults:
        raise InputError.of(place, faults)
    # The module keeps the original, which another entry of the registry may use as well.
    component = copy.deepcopy(component)
    # The step is called as the registry says, whatever the function is called: names are unique there.
    component.component_spec.name = container.name
    if not caching and (graph := component.component_spec.implementation.graph) is not None:
        # A pipeline was compiled when it was made; kfp switches caching on for each of its tasks.
        for inner in (graph.root, *graph.components.values()):
            for task in inner.dag.tasks.values():
                task.caching_options.Clear()
    return component


def filled_inputs(registry: Registry, component: Any) -> list[str]:
    """Return the inputs of a component that parameters and secrets fill; the others keep their defaults."""
    return [name for name in component.component_spec.inputs or {} if name in _known(registry)]


def _known(registry: Registry) -> set[str]:
    return {*registry.params, *registry.secrets, *BUILT_IN_PARAMS}
