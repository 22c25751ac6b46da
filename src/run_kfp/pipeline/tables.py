"""Safe ways into a pipeline spec, which may hold anything, and what refers to itself in it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any


def table_at(value: object, *keys: str) -> Mapping[str, Any]:
    """Return the table that stands under `keys`, one inside the other; an empty one where there is none."""
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def waits_for(task: Mapping[str, Any]) -> set[str]:
    """Return the names of the tasks that a task waits for."""
    dependent = task.get("dependentTasks")
    names = set(filter(lambda name: isinstance(name, str), dependent if isinstance(dependent, list) else ()))
    for kind in ("parameters", "artifacts"):
        for source in table_at(task, "inputs", kind).values():
            for key in ("taskOutputParameter", "taskOutputArtifact", "taskFinalStatus"):
                producer = table_at(source, key).get("producerTask")
                names |= {producer} if isinstance(producer, str) else set()
    return names


def in_order(waits_for: Mapping[str, Collection[str]]) -> tuple[list[str], list[str]]:
    """Put names behind those that they wait for, in time that grows with the number of names and of waits.

    Args:
        waits_for: the names that each name waits for; those that are no key are passed over.

    Returns:
        All names: first those that wait for none, then those that wait for these, each in the order of the keys; names
        that wait for each other, and those behind them, come last. And names of which each waits for the next, and the
        last for the first; an empty list where none do.
    """
    left = {name: {other for other in others if other in waits_for} for name, others in waits_for.items()}
    rank = {name: number for number, name in enumerate(left)}
    followers: dict[str, list[str]] = {}
    for name, others in left.items():
        for other in others:
            followers.setdefault(other, []).append(name)
    order: list[str] = []
    ready = [name for name, others in left.items() if not others]
    while ready:
        order += ready
        freed: list[str] = []
        for name in ready:
            for follower in followers.get(name, ()):
                left[follower].discard(name)
                if not left[follower]:
                    freed.append(follower)
        ready = sorted(freed, key=rank.__getitem__)
    done = set(order)
    stuck = [name for name in left if name not in done]
    return order + stuck, _circle(stuck, left)


def cycle(waits_for: Mapping[str, Collection[str]]) -> list[str]:
    """Return names of which each waits for the next, and the last for the first; an empty list where none do."""
    return in_order(waits_for)[1]


def _circle(stuck: list[str], left: Mapping[str, Collection[str]]) -> list[str]:
    """Follow names that all wait for one of each other until one comes again."""
    path: dict[str, None] = dict.fromkeys(stuck[:1])
    while path:
        following = min(left[next(reversed(path))])
        if following in path:
            names = list(path)
            return names[names.index(following) :]
        path[following] = None
    return []
