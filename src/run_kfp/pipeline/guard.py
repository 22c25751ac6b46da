"""What a YAML text must not be before a loader gets it, and what JSON does not have."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import yaml

from run_kfp.errors import shown
from run_kfp.files import LARGEST_FILE

# Protobuf's parser refuses messages that are nested more deeply than 100.
_DEEPEST = 90
_TOO_DEEP = f"nested more than {_DEEPEST} deep"

# Characters of a key that the place of a value keeps.
_LONGEST_KEY = 100

# What a value counts for beside its characters when the size of a document is measured: about what it takes in a file.
_SIZE_OF_VALUE = 32


@dataclass
class _Open:
    """A list or table of YAML whose end has not come yet: its keys, its size, and where it can be referred to."""

    keys: set[str] | None
    anchor: str | None
    size: int = 0
    at_key: bool = True


class YamlFault(NamedTuple):
    """Why a text must not be loaded: the line, from 1; what is wrong there; what to do."""

    line: int
    message: str
    hint: str


def yaml_fault(text: str, loader: type[Any]) -> YamlFault | None:
    """Say why a text must not be loaded; None where it may be.

    The loader follows nesting by recursion, in C, where it ends the process; aliases make one line stand for a million;
    and of two equal keys it drops the first. So this looks at the events that the text consists of, one at a time.
    """
    anew = "recompile the file"
    stack: list[_Open] = []
    sizes: dict[str, int] = {}
    for event in _events(text, loader):
        if isinstance(event, yaml.MarkedYAMLError):
            return YamlFault(event.problem_mark.line + 1 if event.problem_mark else 1, _TOO_DEEP, anew)
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.CollectionStartEvent):
            _is_key(stack, None)
            if len(stack) >= _DEEPEST:
                return YamlFault(line, _TOO_DEEP, anew)
            stack.append(_Open(set() if isinstance(event, yaml.MappingStartEvent) else None, event.anchor))
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            ended = stack.pop()
            anchor, size = ended.anchor, ended.size + _SIZE_OF_VALUE
        elif isinstance(event, yaml.ScalarEvent):
            if _is_key(stack, event.value):
                message = f"the key {shown(event.value)}: duplicate key"
                return YamlFault(line, message, "remove one of the two; was the file pasted twice?")
            anchor, size = event.anchor, len(event.value) + _SIZE_OF_VALUE
        elif isinstance(event, yaml.AliasEvent):
            _is_key(stack, None)
            if any(event.anchor == outer.anchor for outer in stack):
                return YamlFault(line, f"*{event.anchor} contains itself: {_TOO_DEEP}", anew)
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
                return YamlFault(line, f"with its aliases (*name) expanded, it is larger than {limit}", anew)
    return None


def _events(text: str, loader: type[Any]) -> Iterator[yaml.Event | yaml.MarkedYAMLError]:
    """Yield the events of a text; at last the error, where libyaml refuses the text's depth by itself.

    That of PyYAML 6.0.4 does from 1000 on, and reads so far ahead that the events of the first 90 do not come before.
    """
    try:
        yield from yaml.parse(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        if "nesting depth" not in (error.problem or ""):
            raise
        yield error


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


def json_faults(value: Any) -> Iterator[tuple[str, str]]:
    """Yield where a value stands that YAML has and JSON has not, and what it is; the first hundred of them."""
    return itertools.islice(_json_faults(value), 100)


def _json_faults(value: Any) -> Iterator[tuple[str, str]]:
    todo: list[tuple[str, Any, int]] = [("", value, 0)]
    # Parts that aliases make one object are looked at again only where they stand deeper: a line of aliases may stand
    # for millions.
    seen: dict[int, int] = {}
    while todo:
        place, found, depth = todo.pop()
        where = place.lstrip(".")
        if depth > _DEEPEST:
            yield where[:60], f"nested more than {_DEEPEST} deep"
            return  # what follows is probably the same in other places
        if isinstance(found, Mapping | list):
            if seen.get(id(found), -1) >= depth:
                continue
            seen[id(found)] = depth
            items = found.items() if isinstance(found, Mapping) else enumerate(found)
            inner: list[tuple[str, Any, int]] = []
            for key, item in items:
                if isinstance(found, list):
                    inner.append((f"{place}[{key}]", item, depth + 1))
                elif isinstance(key, str):
                    inner.append((f"{place}.{key[:_LONGEST_KEY]}", item, depth + 1))
                else:
                    yield where, f"has the key {shown(key)}, which is not a string"
            todo += reversed(inner)
        elif isinstance(found, float) and not math.isfinite(found):
            yield where, f"is {found}, a number that JSON does not have"
        elif isinstance(found, int) and not isinstance(found, bool) and abs(found) > 2**53:
            yield where, "is an integer beyond 2^53, which loses digits in JSON"
        elif not isinstance(found, str | int | float | None):
            yield where, f"is a {type(found).__name__}, which JSON does not have"
