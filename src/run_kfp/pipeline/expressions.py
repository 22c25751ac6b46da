"""Expressions of a step's command and arguments: JSON with `Concat` or `IfPresent` (kfp 2.17, dsl/structures.py)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from run_kfp.errors import shown

# Each level is one of the program's own stack when it is evaluated; kfp writes three.
_DEEPEST_EXPRESSION = 50


def structure_of(text: str) -> Mapping[str, Any] | None:
    """Read the JSON object with `Concat` or `IfPresent` that a string of the file may be."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) and len(parsed) == 1 and parsed.keys() & {"Concat", "IfPresent"} else None


def expression_faults(text: str) -> Iterator[str]:
    """Say what of a string with `Concat` or `IfPresent` cannot be evaluated (kfp 2.17, dsl/structures.py)."""
    todo: list[tuple[Any, int]] = [(text, 0)]
    while todo:
        node, depth = todo.pop()
        if isinstance(node, str):
            if (structure := structure_of(node)) is None:
                continue
            node = structure
        if depth > _DEEPEST_EXPRESSION:
            yield f"nested more than {_DEEPEST_EXPRESSION} deep"
            return
        if isinstance(node, list):
            todo += [(item, depth + 1) for item in node]
            continue
        if not isinstance(node, dict) or len(node) != 1 or not node.keys() & {"Concat", "IfPresent"}:
            yield f"{shown(node)} is neither Concat nor IfPresent"
        elif "Concat" in node:
            if isinstance(node["Concat"], list):
                todo.append((node["Concat"], depth + 1))
            else:
                yield "Concat is not a list"
        else:
            body = node["IfPresent"]
            if not isinstance(body, dict) or not isinstance(body.get("InputName"), str) or body.get("Then") is None:
                yield "IfPresent needs InputName and Then"
            else:
                todo += [(body[key], depth + 1) for key in ("Then", "Else") if key in body]
