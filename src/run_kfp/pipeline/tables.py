"""Safe ways into a pipeline spec, which may hold anything, and what refers to itself in it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any


def table_at(value: object, *keys: str) -> Mapping[str, Any]:
    """Return the table that stands under `keys`, one inside the other; an empty one where there is none."""
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def cycle(waits_for: Mapping[str, Collection[str]]) -> list[str]:
    """Return names of which each waits for the next, and the last for the first; an empty list where none do.

    Args:
        waits_for: the names that each name waits for; those that are no key are passed over.
    """
    left = dict(waits_for)
    while ready := [name for name, others in left.items() if not left.keys() & set(others)]:
        for name in ready:
            del left[name]
    path: list[str] = list(left)[:1]
    while path:
        following = min(left.keys() & set(left[path[-1]]))
        if following in path:
            return path[path.index(following) :]
        path.append(following)
    return path
