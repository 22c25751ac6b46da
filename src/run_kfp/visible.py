r"""Text from elsewhere for a terminal: what a terminal would obey, or show in another order, is shown as an escape.

A name, a path, a log, an error of a server may hold characters that move the cursor, set the title, fill the clipboard
or turn the direction of what follows. A reader sees `\x1b` and `\u202e` instead.
"""

from __future__ import annotations

import re
import shlex

# C0 without line feed and tab, DEL and C1 (ECMA-48); marks, embeddings, overrides and isolates of the direction
# (Unicode Standard Annex 9, section 2), the separators of lines and paragraphs between them; lone surrogates, which
# stand for the bytes of a file name that are no text.
_OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

# Select Graphic Rendition, the colours of ECMA-48, with nothing but numbers in it.
_SGR = re.compile(r"\x1b\[[0-9;]*m")
_RESET = "\x1b[0m"


def visible(text: str) -> str:
    r"""Return `text` with every character that a terminal would obey as its escape; `\n` and `\t` stay."""
    return _OBEYED.sub(_escape, text)


def shell_word(text: str) -> str:
    """Return `text` as one word of a command line for bash or zsh: for a command that a reader may copy.

    What a terminal would obey, and every line end, is written as an escape within `$'…'`.
    """
    shown = visible(text).replace("\n", "\\n").replace("\t", "\\t")
    if shown == text:
        return shlex.quote(text)
    quoted = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"$'{visible(quoted)}'".replace("\n", "\\n").replace("\t", "\\t")


def visible_line(text: str, *, colour: bool) -> str:
    r"""Return a line of a container's log.

    Args:
        text: the line; of several states of a progress bar, which `\r` divides, the last one is shown.
        colour: whether plain colours stay; then they end with the line. Otherwise they are left out.
    """
    *earlier, last = text.rstrip("\r").split("\r")
    if not colour:
        return visible(_SGR.sub("", last))
    marks = "".join(mark for state in earlier for mark in _SGR.findall(state))
    shown = marks + visible_but_colour(last)
    return f"{shown}{_RESET}" if "\x1b" in shown else shown


def visible_but_colour(text: str) -> str:
    """Return `text` as `visible` does, but for the plain colours in it."""
    words, marks = _SGR.split(text), _SGR.findall(text)
    return "".join(visible(word) + mark for word, mark in zip(words, [*marks, ""], strict=True))


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return "\\r" if code == 0x0D else f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
