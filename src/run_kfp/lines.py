"""Rich's text, of which no character is obeyed by a terminal: every screen is made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# The one place that takes Rich's own: it drops some control characters silently and lets others through.
import rich.text
from rich.style import Style

from run_kfp.visible import visible


@dataclass(frozen=True)
class Space:
    """The room for a picture: the columns of a terminal, and its rows; None for as many as it takes."""

    columns: int
    rows: int | None = None


class Text(rich.text.Text):
    """A line, or several, with styles; what a terminal would obey is shown as an escape."""

    def __init__(self, text: str = "", style: str | Style = "", **more: Any) -> None:
        """Take what Rich's takes."""
        super().__init__(visible(text), style, **more)

    def append(self, text: rich.text.Text | str, style: str | Style | None = None) -> Text:
        """Add text with a style; return the line."""
        super().append(visible(text) if isinstance(text, str) else text, style)
        return self

    @classmethod
    def assemble(cls, *parts: str | rich.text.Text | tuple[str, str | Style], **more: Any) -> Text:
        """Make a line of texts, and of pairs of a text and its style."""
        line = cls(**more)
        for part in parts:
            line.append(*(part if isinstance(part, tuple) else (part,)))
        return line
