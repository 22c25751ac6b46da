"""What is known of the inputs of a task before a run: values of the call, defaults and constants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from run_kfp.pipeline.placeholders import INPUT_PARAMETER, as_text, bodies, filled, replaced
from run_kfp.pipeline.tables import table_at


def known_parameters(spec: Mapping[str, Any], values: Mapping[str, Any], unknown: frozenset[str]) -> dict[str, Any]:
    """Return the values of the pipeline's parameters.

    Args:
        spec: the pipeline's.
        values: those of the call, which go before the defaults of the file.
        unknown: the parameters whose values nobody may see, or that are not set yet.
    """
    return {
        name: value for name, value in {**_defaults(table_at(spec, "root")), **values}.items() if name not in unknown
    }


def known_inputs(task: Mapping[str, Any], component: Mapping[str, Any], outer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs of a task that are known when those of the DAG around it are `outer`."""
    known = _defaults(component)
    constants: dict[str, Any] = {}
    for name, source in table_at(task, "inputs", "parameters").items():
        known.pop(name, None)
        if not isinstance(source, Mapping) or "parameterExpressionSelector" in source:
            continue
        if (given := str(source.get("componentInputParameter"))) in outer:
            known[name] = outer[given]
        elif (constant := table_at(source, "runtimeValue").get("constant")) is not None:
            constants[name] = constant
    for key in ("parameterIterator", "artifactIterator"):
        known.pop(str(table_at(task, key).get("itemInput")), None)
    for name, constant in constants.items():
        try:
            known[name] = filled(constant, lambda text: fill(text, known))
        except KeyError:
            known.pop(name, None)
    return {name: value for name, value in known.items() if value is not None}


def fill(text: str, known: Mapping[str, Any]) -> str:
    """Fill in the inputs that a text refers to. Raises KeyError where one is not known, or is of another kind."""

    def value_of(body: str) -> str:
        found = INPUT_PARAMETER.fullmatch(body)
        return as_text(known[found["name"] if found else body])

    return replaced(text, value_of)


def inputs_in(text: str) -> set[str]:
    """Return the names of the input parameters that a text refers to."""
    return {found["name"] for _, _, body in bodies(text) if (found := INPUT_PARAMETER.fullmatch(body))}


def _defaults(component: Mapping[str, Any]) -> dict[str, Any]:
    declared = table_at(component, "inputDefinitions", "parameters")
    return {name: body["defaultValue"] for name, body in declared.items() if "defaultValue" in table_at(body)}
