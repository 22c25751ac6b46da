"""Names in the order in which a person counts: `work-2` before `work-10`."""

from __future__ import annotations

import re

_NUMBER = re.compile(r"([0-9]+)")


def natural(name: str) -> list[tuple[int, str, str]]:
    """Return the key by which names are sorted for a person; what goes into a file or a hash is sorted without it."""
    parts = _NUMBER.split(name)
    # Every second part is a number. By its length first: numbers of any length are compared, none is computed.
    numbers = [part.lstrip("0") if place % 2 else "" for place, part in enumerate(parts)]
    return [(len(number), number, part) for number, part in zip(numbers, parts, strict=True)]
