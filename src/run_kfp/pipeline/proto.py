"""A pipeline file held against KFP's own schema: the messages of pipeline_spec.proto in the installed package.

KFP's servers pass over a key that the schema does not have, and its readers stop at the first value that does not fit.
Here every such key and value is a finding with its place, and what fits comes back in one form: keys as they are in
JSON (`cpuLimit`, not `cpu_limit`), numbers as numbers, nothing that does not fit. So whoever reads a spec behind this
meets no value that the schema does not allow, but for the few that have checks of their own (`_CHECKED_LATER`).
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from run_kfp.errors import did_you_mean, shown
from run_kfp.fast_imports import import_pipeline_messages
from run_kfp.findings import Finding, Severity

# More findings of one file say nothing more; each costs a search for the nearest key.
_MOST = 100

# Characters of a key that its place keeps.
_LONGEST_KEY = 100

# Fields whose values have checks that say more than the schema can: the rules of retries, limits, words of a call,
# versions, references and values that are null. What these tables and lists hold is looked at all the same.
_CHECKED_LATER = frozenset(
    {
        ("PipelineSpec", "schemaVersion"),
        ("PipelineSpec", "components"),
        ("DagSpec", "tasks"),
        ("TaskInputsSpec", "parameters"),
        ("TaskInputsSpec", "artifacts"),
        ("InputParameterSpec", "runtimeValue"),
        ("PipelineTaskSpec", "retryPolicy"),
        *(("PipelineContainerSpec", key) for key in ("image", "command", "args", "env", "resources")),
        *(("EnvVar", key) for key in ("name", "value")),
        *(("RetryPolicy", key) for key in ("maxRetryCount", "backoffDuration", "backoffFactor", "backoffMaxDuration")),
        ("ResourceSpec", "accelerator"),
        *(
            ("ResourceSpec", f"{older}{name}{way}")
            for name in ("pu", "emory")
            for way in ("Limit", "Request")
            for older in (("c", "resourceC") if name == "pu" else ("m", "resourceM"))
        ),
        *(("AcceleratorConfig", key) for key in ("type", "count", "resourceType", "resourceCount")),
    }
)

# Structs of the schema whose content has a message of its own.
_CONTENT_OF_STRUCT = {
    ("PipelineSpec", "deploymentSpec"): "PipelineDeploymentConfig",
    ("PipelineJob", "pipelineSpec"): "PipelineSpec",
}

# Keys that other tools have in these places, and what is meant.
_KEYS_MEANT = {
    ("ResourceSpec", "limits"): 'write resourceCpuLimit: "4", resourceMemoryLimit: "16G" directly in resources',
    ("ResourceSpec", "requests"): 'write resourceCpuRequest: "4", resourceMemoryRequest: "16G" directly in resources',
}

# What people write for the types of parameters that KFP has (ParameterType of pipeline_spec.proto).
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
}

_NOTHING = object()


def fit(document: object, source: str, message: str = "PipelineSpec") -> tuple[dict[str, Any], list[Finding]]:
    """Hold a document against a message of pipeline_spec.proto.

    Args:
        document: what YAML or JSON gave; aliases of YAML may make parts of it the same object.
        source: the file, as places name it.
        message: the message, by its name.

    Returns:
        What fits, with the keys of JSON; and a finding for each key that the message does not have (an error where
        another one is near, else a warning: it may be newer), and for each value that its field does not take.
    """
    fitting = _Fitting(source)
    fitted = fitting.message(document, _message(message), "")
    return (fitted if isinstance(fitted, dict) else {}), fitting.findings


@dataclass(frozen=True)
class _Field:
    """A field of a message: its key in JSON, its kind ("string", "int", …, "message"), how often it stands there."""

    key: str
    kind: str
    times: str
    message: str = ""
    words: tuple[str, ...] = ()
    bits: int = 0
    oneof: str = ""


@dataclass(frozen=True)
class _Message:
    """A message: its name without that of the package, its fields by every name that they have."""

    name: str
    fields: Mapping[str, _Field]

    @property
    def keys(self) -> list[str]:
        """The keys of JSON."""
        return list(dict.fromkeys(each.key for each in self.fields.values()))


@functools.cache
def _message(name: str) -> _Message:
    """Read a message of the installed schema; one inside of another by its full name."""
    found = import_pipeline_messages()
    descriptor = found.message_types_by_name[name] if "." not in name else found.pool.FindMessageTypeByName(name)
    fields: dict[str, _Field] = {}
    for each in descriptor.fields:
        made = _field(each, descriptor.name)
        fields[each.json_name] = fields[each.name] = made
    return _Message(descriptor.name, fields)


def _field(descriptor: Any, owner: str) -> _Field:
    key, inner = descriptor.json_name, descriptor.message_type
    is_map = inner is not None and inner.GetOptions().map_entry
    value = inner.fields_by_name["value"] if is_map else descriptor
    message = value.message_type.full_name if value.message_type is not None else ""
    content = _CONTENT_OF_STRUCT.get((owner, key), message)
    kinds = {
        value.TYPE_STRING: "string",
        value.TYPE_BOOL: "bool",
        value.TYPE_INT32: "int",
        value.TYPE_INT64: "int",
        value.TYPE_DOUBLE: "double",
        value.TYPE_ENUM: "enum",
    }
    well_known = {
        "google.protobuf.Struct": "struct",
        "google.protobuf.Value": "value",
        "google.protobuf.ListValue": "list",
        "google.protobuf.Duration": "duration",
    }
    oneof = descriptor.containing_oneof
    return _Field(
        key,
        kinds.get(value.type) or well_known.get(content, "message"),
        "map" if is_map else "repeated" if descriptor.is_repeated else "once",
        content,
        tuple(each.name for each in value.enum_type.values) if value.enum_type is not None else (),
        64 if value.type == value.TYPE_INT64 else 32,
        # A field that is `optional` stands in a oneof of its own.
        oneof.name if oneof is not None and len(oneof.fields) > 1 else "",
    )


@dataclass
class _Fitting:
    """One document on its way through the schema."""

    source: str
    findings: list[Finding] = field(default_factory=list)
    # Parts that aliases make one object are looked at once for each message that they stand for.
    _seen: dict[tuple[int, str], Any] = field(default_factory=dict)

    def message(self, value: object, message: _Message, place: str) -> Any:
        """Return what fits of a message, `_NOTHING` where nothing does."""
        if not isinstance(value, Mapping):
            return self._wrong(place, value, "a table")
        known = (id(value), message.name)
        if known not in self._seen:
            self._seen[known] = self._table(value, message, place)
        return self._seen[known]

    def _table(self, value: Mapping[str, Any], message: _Message, place: str) -> dict[str, Any]:
        fitted: dict[str, Any] = {}
        chosen: dict[str, str] = {}
        for key, item in value.items():
            where = _below(place, key)
            if (known := message.fields.get(key)) is None:
                self._unknown(key, message, where)
                continue
            if known.key in fitted:
                self._add("RK-SPEC-KEY", where, f"is {known.key} under another name: duplicate key", "remove one")
                continue
            if item is None and known.kind != "value":
                continue  # null in the place of a field leaves it unset
            if known.oneof and (other := chosen.setdefault(known.oneof, key)) != key:
                hint = "remove one of the two"
                self._add("RK-SPEC-KEY", where, f"{key} and {other} cannot be used together", hint)
                continue
            if (found := self._value(item, known, message, where)) is not _NOTHING:
                fitted[known.key] = found
        return fitted

    def _value(self, value: object, known: _Field, owner: _Message, place: str) -> Any:
        later = (owner.name, known.key) in _CHECKED_LATER
        if known.times == "map":
            if not isinstance(value, Mapping):
                return value if later else self._wrong(place, value, "a table")
            items = {key: self._one(item, known, owner, _below(place, key), later) for key, item in value.items()}
            return {key: item for key, item in items.items() if item is not _NOTHING}
        if known.times == "repeated":
            if not isinstance(value, list):
                return value if later else self._wrong(place, value, "a list")
            found = [self._one(item, known, owner, f"{place}[{at}]", later) for at, item in enumerate(value)]
            return [item for item in found if item is not _NOTHING]
        return self._one(value, known, owner, place, later)

    def _one(self, value: object, known: _Field, owner: _Message, place: str, later: bool) -> Any:
        if later and not (known.kind == "message" and isinstance(value, Mapping)):
            return value
        match known.kind:
            case "message":
                return self.message(value, _message(known.message), place)
            case "struct":
                return value if isinstance(value, Mapping) else self._wrong(place, value, "a table")
            case "list":
                return value if isinstance(value, list) else self._wrong(place, value, "a list")
            case "value":
                return value
            case "string":
                return value if isinstance(value, str) else self._wrong(place, value, "text in quotes")
            case "bool":
                return value if isinstance(value, bool) else self._wrong(place, value, "true or false, without quotes")
            case "enum":
                return self._enum(value, known, place)
            case "duration":
                fits = isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,12}(\.[0-9]{1,9})?s", value)
                return value if fits else self._wrong(place, value, 'seconds with an s ("60s")')
            case _:
                return self._number(value, known, owner, place)

    def _number(self, value: object, known: _Field, owner: _Message, place: str) -> Any:
        """Take a number, also one that is text, as JSON of protobuf has it."""
        whole = known.kind == "int"
        wanted = "an integer" if whole else "a number"
        number: float | int | None = None
        if isinstance(value, int | float) and not isinstance(value, bool):
            number = value
        elif isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,40}(\.[0-9]{1,40})?([eE][-+]?[0-9]{1,3})?", value):
            number = int(value) if re.fullmatch(r"-?[0-9]+", value) else float(value)
        if number is None or not math.isfinite(number) or (whole and number != int(number)):
            return self._wrong(place, value, wanted)
        if not whole:
            return float(number)
        number = int(number)
        # Every integer of the schema counts something, but for a value of an older schema.
        least = 0 if owner.name != "Value" else -(2 ** (known.bits - 1))
        most = 2 ** (known.bits - 1) - 1
        if not least <= number <= most:
            return self._wrong(place, value, f"an integer from {least} to {most}")
        return number

    def _enum(self, value: object, known: _Field, place: str) -> Any:
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(known.words):
            return known.words[value]
        if not isinstance(value, str):
            return self._wrong(place, value, f"one of {', '.join(known.words[1:])}")
        if value in known.words:
            return value
        meant = _TYPES_MEANT.get(value.upper(), value.upper())
        meant = meant if meant in known.words else ""
        hint = f"write {meant}" if meant else did_you_mean(value, known.words[1:])
        severity = Severity.ERROR if hint else Severity.WARNING
        what = "parameter type" if "NUMBER_INTEGER" in known.words else "value"
        self._add(
            "RK-SPEC-VALUE",
            place,
            f"{shown(value)} is not a {what}",
            hint or f"write one of {', '.join(known.words[1:])}",
            severity,
        )
        return meant or value

    def _unknown(self, key: str, message: _Message, place: str) -> None:
        hint = _KEYS_MEANT.get((message.name, key), "")
        if hint:
            self._add("RK-SPEC-KEY", place, "is a Kubernetes key, not a KFP key: it is ignored", hint)
        elif hint := did_you_mean(key, message.keys):
            self._add("RK-SPEC-KEY", place, f"unknown key {shown(key)}: it is ignored", hint)
        else:
            keys = ", ".join(message.keys)
            hint = f"remove it; the keys here are {keys}"
            self._add("RK-SPEC-KEY", place, f"unknown key {shown(key)}: it is ignored", hint, Severity.WARNING)

    def _wrong(self, place: str, value: object, wanted: str) -> Any:
        # Text may be a secret in the wrong place: it is not shown.
        words = {str: "text", list: "a list", dict: "a table", type(None): "null"}
        found = words.get(type(value)) or shown(value)
        self._add("RK-SPEC-VALUE", place or "the document", f"is {found}; expected {wanted}", f"write {wanted}")
        return _NOTHING

    def _add(self, code: str, place: str, message: str, hint: str, severity: Severity = Severity.ERROR) -> None:
        if len(self.findings) < _MOST:
            self.findings.append(Finding(message, hint, code, f"{self.source}: {place}", severity))


def _below(place: str, key: str) -> str:
    """Return the place of a key; one of thousands of characters is cut."""
    return f"{place}.{key[:_LONGEST_KEY]}".lstrip(".")
