"""The arguments of a container: a literal string, or one reference to a value that joins later.

There are no templates, so a value is never split, joined or read as shell text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from run_kfp.errors import shown

# Vertex expands `$(VAR)` in the value of an environment variable (EnvVar.value in its CustomJob reference).
_ENV_EXPANSION = re.compile(r"\$\([A-Za-z_][A-Za-z0-9_]*\)")


def text_fault(text: str) -> str | None:
    """Say why `text` cannot be an argument of a process or travel as UTF-8, or return None."""
    if "\0" in text:
        return "contains a NUL character, which a process argument cannot"
    if any("\ud800" <= character <= "\udfff" for character in text):
        return "contains bytes that are not valid UTF-8"
    return None


def literal_fault(text: str, *, in_env: bool = False) -> str | None:
    """Say why `text` cannot be handed over as a literal byte for byte, or return None.

    KFP's drivers and Vertex replace `{{$…}}`, kfp's compiler `{{channel:…}}`, wherever they stand in a string; a JSON
    object with `Concat` or `IfPresent` is evaluated (kfp 2.17, dsl/placeholders.py). The arguments of a process cannot
    hold NUL, UTF-8 no lone surrogate.
    """
    if "{{$" in text:
        return "contains '{{$', which the backend would replace: use { param = … } or { secret = … }"
    if "{{channel:" in text:
        return "contains '{{channel:', which kfp would replace"
    if fault := text_fault(text):
        return fault
    if in_env and _ENV_EXPANSION.search(text):
        return "contains '$(NAME)', which Vertex AI would expand in an environment variable"
    if text.lstrip().startswith("{"):
        try:
            parsed = json.loads(text)
        except (ValueError, RecursionError):
            return None
        if isinstance(parsed, dict) and ({"Concat", "IfPresent"} & parsed.keys()):
            return "is a JSON object with 'Concat' or 'IfPresent', which the backend would evaluate"
    return None


def read_literal(text: str) -> str:
    """Return `text`. Raises ValueError when a backend would not hand it over as it stands."""
    if fault := literal_fault(text):
        raise ValueError(fault)
    return text


@dataclass(frozen=True)
class Reference:
    """One value that joins later: a parameter or a secret, with an optional literal in front of it."""

    kind: Literal["param", "secret"]
    name: str
    prefix: str = ""


Argument = str | Reference


def read_argument(value: Any) -> Argument:
    """Read an argument: a string, or a table with one of `param` and `secret`, and an optional `prefix`.

    Raises:
        ValueError: says what it is instead, and what to write.
    """
    if isinstance(value, str):
        return read_literal(value)
    if isinstance(value, Mapping):
        if unknown := sorted(set(value) - {"param", "secret", "prefix"}):
            raise ValueError(
                f"has an unknown key {unknown[0]!r}: "
                "a reference is { param = … } or { secret = … }, with an optional prefix"
            )
        kinds: list[Literal["param", "secret"]] = [kind for kind in ("param", "secret") if kind in value]
        if len(kinds) != 1:
            raise ValueError("has both a param and a secret" if kinds else "has neither a param nor a secret")
        if not all(isinstance(part, str) for part in value.values()):
            raise ValueError("has a key whose value is not a string")
        return Reference(kinds[0], value[kinds[0]], read_literal(value.get("prefix", "")))
    if isinstance(value, bool | int | float):
        raise ValueError(f'is {toml_type(value)}; arguments are strings: write "{shown(value)}"')
    raise ValueError(f"is {toml_type(value)}; an argument is a string, {{ param = … }} or {{ secret = … }}")


def read_environment_value(value: Any) -> Argument:
    """Read the value of an environment variable: a literal or one reference. Raises ValueError."""
    argument = read_argument(value)
    if isinstance(argument, str):
        if fault := literal_fault(argument, in_env=True):
            raise ValueError(fault)
    elif argument.prefix:
        raise ValueError("has a prefix; in env a value is a literal or one reference")
    return argument


def toml_type(value: Any) -> str:
    """Name the TOML type of a value, with its article."""
    names = {bool: "a boolean", int: "a number", float: "a number", list: "an array", dict: "a table", str: "a string"}
    return names.get(type(value), "a date or time")


def read_parameter_reference(value: Any) -> Reference | None:
    """Read `{ param = "name" }`, the one reference that a resource takes; None when `value` is no table."""
    if not isinstance(value, Mapping):
        return None
    reference = read_argument(value)
    if not isinstance(reference, Reference) or reference.kind != "param" or reference.prefix:
        raise ValueError("a resource is a literal or { param = … }, resolved when compiling")
    return reference


# ── what the readers above take, as JSON Schemas ─────────────────────────────────────────────────────────────────────


def _table_of(kind: str, **optional: dict[str, Any]) -> dict[str, Any]:
    keys = {kind: {"type": "string"}, **optional}
    return {"type": "object", "properties": keys, "required": [kind], "additionalProperties": False}


_REPLACED = r"\{\{(\$|channel:)|\x00"  # as in `literal_fault`
_IN_ENV = f"{_REPLACED}|{_ENV_EXPANSION.pattern}"

LITERAL_FORM: dict[str, Any] = {"type": "string", "not": {"pattern": _REPLACED}}
PARAM_FORM = _table_of("param")
ARGUMENT_FORM: dict[str, Any] = {
    "anyOf": [LITERAL_FORM, _table_of("param", prefix=LITERAL_FORM), _table_of("secret", prefix=LITERAL_FORM)]
}
ENV_VALUE_FORM: dict[str, Any] = {
    "anyOf": [{"type": "string", "not": {"pattern": _IN_ENV}}, PARAM_FORM, _table_of("secret")]
}
