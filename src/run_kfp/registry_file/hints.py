"""What a faulty registry file was meant to say: in words, and as values, so that the rest of it can be looked at."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from run_kfp.errors import nearest, shown
from run_kfp.findings import Finding
from run_kfp.limits import nearest_memory
from run_kfp.registry import Accelerator, Container, GitCheck, Model, Process, name_meant

# What tomllib says of a text, in words, and what to do.
_TOML_FAULTS = (
    (r"Cannot declare .* twice", "duplicate table", "rename the second table, or merge the two"),
    (r"Cannot overwrite a value|Duplicate inline", "duplicate key", "remove one of the two"),
    (
        r"Illegal character '\\n'|Unterminated string|Expected \"'\"",
        "missing closing quote",
        'close it on the same line; put text of several lines between """ and """',
    ),
    (r"Expected '\]'", "missing closing bracket of a table name", "write [containers.1]"),
    (r"Unclosed array", "missing closing bracket of an array", "close it with ]"),
    (r"Expected '='", "missing = after the key", 'write key = "value"'),
    (r"Unescaped '\\'", "invalid escape: a backslash in double quotes", "use single quotes: 'a\\b'"),
    (r"for a key part", "an inline table must be on one line", "write { a = 1, b = 2 }, without a trailing comma"),
    (
        r"Invalid value|Expected newline",
        "invalid value",
        'put text in quotes, amounts such as "128G" too; write true and false in lower case',
    ),
)


def toml_fault(text: str, source: str, message: str) -> Finding:
    """Say why a text is no TOML: the line, its key or table, what is wrong; no value, which may be a secret."""
    lines = text.replace("\r\n", "\n").split("\n")
    number = int(match[1]) if (match := re.search(r"\(at line ([0-9]+)", message)) else None
    what, hint = message, "see https://toml.io for the grammar"
    for pattern, words, next_step in _TOML_FAULTS:
        if re.search(pattern, message):
            what, hint = words, next_step
            break
    if number is None:
        return Finding(f"invalid TOML: {what}", hint, code="RK-REGISTRY", place=source)
    line = lines[number - 1] if number <= len(lines) else ""
    if re.search(r"[\u2018-\u201f]", line):
        what, hint = "invalid quotes: typographic quotes", 'write straight quotes: "text"'
    key = re.match(r"\s*(\[[\w.\s-]{1,80}\]?|[\w.-]{1,80}\s*(?==))", line)
    shown_key = f" ({key[1].strip()}{'' if key[1].startswith('[') else ' = …'})" if key else ""
    place = f"{source}: line {number}"
    return Finding(f"invalid TOML: {what}{shown_key}", hint, code="RK-REGISTRY", place=place)


def index_meant(key: str, taken: Sequence[str]) -> tuple[str, str]:
    """Return the index under which to go on with a container whose key is none, and what to write."""
    number = key.lstrip("0")
    if re.fullmatch(r"[1-9][0-9]{0,5}", number):
        if number not in taken:
            return number, f"write [containers.{number}]"
        return key, f"[containers.{number}] already exists: choose another number"
    free = next(str(one) for one in range(1, len(taken) + 2) if str(one) not in taken)
    name = f" with name = {json.dumps(name_meant(key))}" if name_meant(key) else ""
    return key, f"write [containers.{free}]{name}"


def text_of(value: Any) -> str:
    """Return a string as it is, another value as it is shown."""
    return value if isinstance(value, str) else shown(value)


def value_at(table: Mapping[str, Any], path: Sequence[int | str]) -> Any:
    """Return what stands at `path`, whose last parts may be pydantic's own words for a branch."""
    value: Any = table
    for part in path:
        if not _holds(value, part):
            break
        value = value[part]
    return value


# Keys of other tools, and what says the same here.
_KEYS_MEANT: Mapping[str, tuple[str, ...]] = {
    "accelerator": (
        "gpu",
        "gpus",
        "num_gpu",
        "num_gpus",
        "gpu_count",
        "gpu_limit",
        "accelerator_count",
        "accelerators",
    ),
    "type": ("gpu_type", "accelerator_type"),
    "memory": ("ram", "mem", "memory_limit", "memory_gb", "memory_request", "max_memory"),
    "cpu": ("cpus", "cpu_limit", "cpu_count", "cpu_request", "vcpu", "vcpus", "cores"),
    'env = { NAME = "value" }': ("environment", "environments", "env_vars", "envs", "variables", "vars"),
    'args = ["--tag", { param = "tag" }]': ("arg", "arguments", "argument", "params", "parameters", "inputs"),
    'args = [{ secret = "NAME" }], and declare [secrets.NAME]': ("secret", "secrets"),
    "args = [...] for CMD, command = [...] for ENTRYPOINT": ("cmd", "run", "commands", "script"),
    'cpu = 4, memory = "16G", accelerator = { … } in the table of the container': ("resources", "limits", "requests"),
    "cpu, memory, accelerator: Vertex AI chooses the machine from them": ("machine", "machine_type", "instance_type"),
}


def key_meant(model: type[Model], key: str, value: Any) -> str:
    """Say what to write instead of a key of another tool; an empty string where nothing is known."""
    key = key.lower().replace("-", "_")
    text = text_of(value)
    number = text if re.fullmatch(r"[0-9]{1,3}", text) else ""
    if model is Accelerator and key in ("limit", "limits", "number", "num", "n", "gpus", "amount"):
        return f"write count = {number or 1}"
    if model is Accelerator and key in ("name", "model", "kind", "gpu_type", "accelerator_type"):
        return 'write type = "NVIDIA_TESLA_T4"'
    meant = next((meant for meant, keys in _KEYS_MEANT.items() if key in keys), "") if model is Container else ""
    if meant in ("accelerator", "type"):
        kind = text if re.fullmatch(r"(NVIDIA|TPU)_[A-Z0-9_]{1,30}", text) else "NVIDIA_TESLA_T4"
        return f'write accelerator = {{ type = "{kind}", count = {number or 1} }}'
    if meant == "memory":
        return f'write memory = "{nearest_memory(text) or "16G"}"'
    if meant == "cpu":
        return f"write cpu = {number or 4}"
    return f"write {meant}" if meant else ""


def form_meant(key: str, kind: str, value: Any) -> str:
    """Say how a value of another form is written; an empty string where that cannot be told."""
    if kind == "tuple_type" and isinstance(value, str):
        words = _meant(kind, value)
        if words is None:
            return f'write {key} = ["…", "…"], one word each; for a shell line, command = ["sh", "-c", "…"]'
        return f"write {key} = {json.dumps(words, ensure_ascii=False)}"
    if kind == "model_type" and key == "accelerator":
        name = value if re.fullmatch(r"[A-Z0-9_]{1,40}", text_of(value)) else "NVIDIA_TESLA_T4"
        return f'write accelerator = {{ type = "{name}", count = 1 }}'
    if kind == "missing":
        return {"name": 'write name = "train-model"', "type": 'write type = "NVIDIA_TESLA_T4"'}.get(key, "")
    if kind == "dict_type" and key == "env":
        return 'write env = { NAME = "value" }'
    meant = _meant(kind, value)
    if meant is None:
        return ""
    return f"write {'' if key.isdigit() else f'{key} = '}{json.dumps(meant, ensure_ascii=False)}"


def _meant(kind: str, value: Any) -> Any:
    """Return what a value of another type is meant to be; None where that is not certain.

    Args:
        kind: pydantic's name for what is wrong with it.
        value: of the file.
    """
    if kind == "string_type" and isinstance(value, bool | int | float):
        return shown(value)
    if kind == "bool_type":
        return {"yes": True, "true": True, "on": True, "1": True, "no": False, "false": False, "0": False}.get(
            text_of(value).lower()
        )
    # `shlex` takes a time that grows with the square of a word.
    short = isinstance(value, str) and len(value) < 10_000
    if kind == "tuple_type" and short and not re.search(r"[|&;<>$`*\n]", value):
        try:
            return shlex.split(value)
        except ValueError:
            return None
    return None


def mend(model: type[Model], table: dict[str, Any], detail: Any, *, guess: bool) -> None:
    """Take a mistake, which is told, out of a table; with `guess`, put what is meant in its place.

    Otherwise what is written in another form, or under a misspelt key, would be told to be missing as well.
    """
    path, kind = detail["loc"], detail["type"]
    value = value_at(table, path)
    meant = _meant(kind, value) if guess else None
    holder = value_at(table, path[:-1])
    if meant is not None and _holds(holder, path[-1]):
        holder[path[-1]] = meant
        return
    _remove(table, path[:-1] if kind == "missing" else path)
    if guess and kind == "extra_forbidden" and isinstance(holder, dict):
        key = nearest(path[-1], fields(model, path[:-1]))
        if key and key not in (*holder, "index"):
            holder[key] = value


def _remove(value: Any, path: Sequence[int | str]) -> None:
    """Take what stands at `path` out of a table; in an array an empty string takes its place.

    The last parts of a path may be pydantic's own words for a branch, which stand nowhere.
    """
    for depth, part in enumerate(path):
        last = depth == len(path) - 1
        inner = value[part] if _holds(value, part) else None
        if not last and isinstance(inner, dict | list) and _holds(inner, path[depth + 1]):
            value = inner
        elif isinstance(value, dict):
            value.pop(part, None)
            return
        elif isinstance(value, list) and _holds(value, part):
            value[int(part)] = ""
            return


def _holds(value: Any, part: int | str) -> bool:
    if isinstance(value, dict):
        return part in value
    return isinstance(value, list) and isinstance(part, int) and part < len(value)


def fields(model: type[Model], path: Sequence[str]) -> list[str]:
    """Name the keys that stand at `path` below `model`."""
    return list((PARTS.get(path[0], model) if path else model).model_fields)


PARTS: Mapping[str, type[Model]] = {"accelerator": Accelerator, "process": Process, "git": GitCheck}
