"""The types of parameters, by both names that a pipeline spec has for them, and whether a value fits one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# The types of JSON that a value of each type has (ParameterType of pipeline_spec.proto).
JSON_TYPES: Mapping[str, tuple[type, ...]] = {
    "STRING": (str,),
    "NUMBER_INTEGER": (int, float),
    "NUMBER_DOUBLE": (int, float),
    "BOOLEAN": (bool,),
    "LIST": (list,),
    "STRUCT": (Mapping,),
}

# `type` of older specs (PrimitiveType of pipeline_spec.proto); BOOLEAN, LIST and STRUCT were STRING there.
_OLDER = {"INT": "NUMBER_INTEGER", "DOUBLE": "NUMBER_DOUBLE", "STRING": "STRING"}


def parameter_type(declaration: Mapping[str, Any], default: str = "STRING") -> str:
    """Return the type that an input or output is declared with, `default` where it has none."""
    if found := declaration.get("parameterType"):
        return str(found)
    older = str(declaration.get("type") or default)
    return _OLDER.get(older, older)


def fits(kind: str, value: object) -> bool:
    """Say whether a value is of a type; every value is of a type that is not known here."""
    kinds = JSON_TYPES.get(kind)
    if kinds is None:
        return True
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        return False
    # A file of kfp holds whole numbers as 3.0.
    return not (kind == "NUMBER_INTEGER" and isinstance(value, float) and not value.is_integer())


def takes_older_values(spec: Mapping[str, Any]) -> bool:
    """Say whether a run of a spec takes `runtimeConfig.parameters`: up to version 2.0.0, later ones `parameterValues`.

    https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.pipelineJobs#RuntimeConfig
    """
    match = re.fullmatch(r"([0-9]{1,4})\.([0-9]{1,4})\.([0-9]{1,4})", str(spec.get("schemaVersion")))
    return match is not None and tuple(map(int, match.groups())) <= (2, 0, 0)
