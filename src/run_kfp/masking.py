"""The one masking function: every text that leaves the program passes through it.

It knows the secret values that were read and the forms in which tools repeat them: the token inside a login URL,
percent-encoded, JSON- or shell-escaped, in base64 (an HTTP `Authorization: Basic` header), and cut in two by the chunks
of a stream.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterator
from urllib.parse import quote, quote_plus, unquote, urlsplit

MASK = "***"

# A shorter value cannot be told from ordinary text: its mask would tear up ids and paths, and hide nothing.
# `secrets.value_fault` refuses such values.
SHORTEST_SECRET = 8

# A part of a secret (the token of a login, a line of a key) is masked on its own from this length on.
_SHORTEST_PART = 6

_LOGIN = re.compile(r"[^\s/:@]+:(?P<token>[^\s/:@]+)")


class Masker:
    """Knows secret values and replaces each of them, in every known form, by `***`."""

    def __init__(self) -> None:
        """Start with no value known: then every text passes unchanged."""
        self._needles: tuple[str, ...] = ()

    def add(self, value: str) -> None:
        """Learn a secret value and the forms it turns up in; one too short to be a secret is ignored."""
        if len(value.strip()) < SHORTEST_SECRET:
            return
        known = set(self._needles)
        for part in _parts(value):
            known.update(_forms(part))
        # The longest first, so that a look at one place finds the widest match soonest.
        self._needles = tuple(sorted(known, key=lambda needle: (-len(needle), needle)))

    def mask(self, text: str) -> str:
        """Return `text` with every occurrence of a known value replaced; overlapping ones become one mask."""
        spans = self._spans(text)
        if not spans:
            return text
        pieces, position = [], 0
        for start, end in spans:
            pieces += [text[position:start], MASK]
            position = end
        return "".join([*pieces, text[position:]])

    def stream(self) -> MaskedStream:
        """Return a filter for a text that comes in chunks."""
        return MaskedStream(self)

    def _spans(self, text: str) -> list[tuple[int, int]]:
        """Find where known values stand, merged where they touch or overlap, in order."""
        found: list[tuple[int, int]] = []
        for needle in self._needles:
            start = text.find(needle)
            while start >= 0:
                found.append((start, start + len(needle)))
                start = text.find(needle, start + 1)
        merged: list[tuple[int, int]] = []
        for start, end in sorted(found):
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((start, end))
        return merged

    def _open_tail(self, text: str) -> int:
        """Return how many of the last characters could be the beginning of a known value."""
        longest = 0
        for needle in self._needles:
            for length in range(min(len(needle) - 1, len(text)), longest, -1):
                if text.endswith(needle[:length]):
                    longest = length
                    break
        return longest


class MaskedStream:
    """Masks a stream: holds back only what may be the beginning of a value that the next chunk completes."""

    def __init__(self, masker: Masker) -> None:
        """Start an empty stream over the values that `masker` knows."""
        self._masker = masker
        self._held = ""

    def feed(self, chunk: str) -> str:
        """Take the next chunk, return what can safely be shown now."""
        text = self._held + chunk
        cut = len(text) - self._masker._open_tail(text)
        # A mask must not be cut either: what begins before the cut and ends behind it waits whole.
        for start, end in self._masker._spans(text):
            if start < cut < end:
                cut = start
        self._held = text[cut:]
        return self._masker.mask(text[:cut])

    def close(self) -> str:
        """Return what was held back, masked."""
        rest, self._held = self._held, ""
        return self._masker.mask(rest)


def _parts(value: str) -> Iterator[str]:
    """Yield the value and the parts of it that are secret by themselves."""
    yield value
    yield value.strip()
    lines = value.splitlines()
    if len(lines) > 1:
        yield from (line for line in lines if len(line) >= _SHORTEST_PART)
    for token in _tokens(value.strip()):
        if len(token) >= _SHORTEST_PART:
            yield token
            yield unquote(token)


def _tokens(value: str) -> Iterator[str]:
    """Yield the password of a login (`https://login:token@host`, `login:token`), or the name that stands for one."""
    if "://" in value:
        try:
            url = urlsplit(value)
        except ValueError:  # such as an unclosed IPv6 bracket: then the scheme is all that can be told apart
            return
        # A login URL without a host, `https://login:token`, parses as host and port.
        user_info = url.netloc.rpartition("@")[0] if "@" in url.netloc else url.netloc
        login, colon, token = user_info.partition(":")
        if colon:
            yield token
            yield user_info
        elif "@" in url.netloc:
            yield login
    elif match := _LOGIN.fullmatch(value):
        yield match["token"]


def _forms(value: str) -> Iterator[str]:
    """Yield the value as other programs write it."""
    yield value
    for encoded in (
        quote(value, safe="", errors="surrogatepass"),
        quote(value, errors="surrogatepass"),
        quote(value, safe="/:@", errors="surrogatepass"),
        quote_plus(value, errors="surrogatepass"),
    ):
        yield encoded
        yield re.sub(r"%[0-9A-F]{2}", lambda match: match[0].lower(), encoded)
    once = (json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1])
    yield from once
    yield from (json.dumps(form)[1:-1] for form in once)  # JSON inside a JSON string: a log entry of a log entry
    yield repr(value)[1:-1]
    yield html.escape(value)
    yield value.replace("'", "'\"'\"'")
    yield value.replace("'", "'\\''")
    yield value.replace("'", "''")
    if len(value) >= _SHORTEST_PART:
        raw = value.encode("utf-8", "surrogatepass")
        for basic in (base64.b64encode(raw), base64.urlsafe_b64encode(raw)):
            yield basic.decode("ascii")
            yield basic.decode("ascii").rstrip("=")
