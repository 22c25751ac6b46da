"""HTML that is escaped by its construction: a text becomes markup only through `tag`."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable
from typing import Any

_UNPRINTABLE = {
    # Control characters become their pictures (␀, ␛, ␍ …), those of the second row and lone surrogates U+FFFD: HTML
    # drops some, changes others, and the file could not be written with the last.
    **{code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"},
    0x7F: 0x2421,
    **dict.fromkeys((*range(0x80, 0xA0), *range(0xD800, 0xE000)), 0xFFFD),
}
_VOID = frozenset({"meta"})


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


Child = Html | str | None | Iterable["Child"]
"""What an element may hold: markup as it is, text (escaped), nothing, or several of these."""


def printable(text: str) -> str:
    """Return `text` with every character that HTML cannot hold made visible."""
    return text.translate(_UNPRINTABLE)


def tag(name: str, *children: Child, **attributes: str | float | bool | None) -> Html:
    """Make an element.

    Args:
        name: of the element; written as it is, so never one that comes from data.
        children: what is in it.
        attributes: `class_` is written class, `aria_label` aria-label; True is an attribute without value, and one that
            is False, None or "" is left out.
    """
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{html.escape(printable(str(value)))}"')
        for key, value in attributes.items()
        if value is not None and value is not False and value != ""
    )
    if name in _VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{joined(children)}</{name}>")


def joined(child: Child) -> Html:
    """Make one piece of markup of all that `child` holds."""
    if child is None:
        return Html()
    if isinstance(child, Html):
        return child
    if isinstance(child, str):
        return Html(html.escape(printable(child), quote=False))
    return Html("".join(map(joined, child)))


def data_block(id_: str, data: Any) -> Html:
    """Embed `data` as JSON that the page's script reads; no text in it can end the element, or open a comment."""
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    return Html(f'<script type="application/json" id="{html.escape(id_)}">{text}</script>')
