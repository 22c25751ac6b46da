"""How a user names a step on the command line."""

from __future__ import annotations

import re
from collections.abc import Sequence

from run_kfp.errors import InputError, did_you_mean
from run_kfp.graph import ExecutableStep
from run_kfp.registry import Registry


def step_named(flag: str, word: str, steps: Sequence[ExecutableStep], registry: Registry) -> str:
    """Return the step that a flag names: by its name, its container's index, or its place in the order.

    Raises:
        InputError: there is no such step.
    """
    names = [step.name for step in steps]
    if word in names:
        return word
    container = registry.containers.get(word)
    if container is not None and container.name in names:
        return container.name
    if re.fullmatch(r"[1-9][0-9]{0,4}", word) and int(word) <= len(names):
        return names[int(word) - 1]
    raise InputError(f"{flag} {word}: unknown step; valid steps: {', '.join(names)}", hint=did_you_mean(word, names))
