"""The one masking function: every text that leaves the program passes through it.

It knows the secret values that were read, their parts and the forms in which tools repeat them (`secret_forms`), also
with colours in the middle, and cut in two by the chunks of a stream.
"""

from __future__ import annotations

import re
import sys
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, cached_property
from itertools import accumulate
from typing import Any

from run_kfp.secret_forms import secret_forms, secret_parts

MASK = "***"

# A shorter value cannot be told from ordinary text: its mask would tear up ids and paths, and hide nothing.
# `secrets.value_fault` refuses such values.
SHORTEST_SECRET = 8

_MASK = MASK.encode()

# The bytes that are looked at together: a machine word, so that a text is read as an array of numbers.
_WORD = 4

# What may stand in the middle of a value and is no part of it: a colour (SGR of ECMA-48), raw or escaped.
_COLOUR = re.compile(rb"(?:\x1b|\\(?:x1[bB]|u001[bB]|033|e))\[[0-9;]*m")
_RAW_COLOUR = re.compile(rb"\x1b\[[0-9;]*m")
_ESCAPED_SIGNS = (b"\\x1b[", b"\\x1B[", b"\\u001b[", b"\\u001B[", b"\\033[", b"\\e[")
# One that is cut by the end of a chunk, and where it is looked for: any has fewer bytes.
_COLOUR_BEGINS = re.compile(rb"(?:\x1b|\\(?:x1[bB]|u001[bB]|033|e))(?:\[[0-9;]*)?\Z|\\(?:x1?|u0{0,2}|u001|03?)?\Z")
_LONGEST_COLOUR = 64

# Words that are looked at in one go; one that is known costs a second look at them.
_BLOCK = 256

# The kinds of bytes of ordinary text: letters, digits and punctuation; any other is rarer.
_KINDS = bytes.maketrans(b"abcdefghijklmnopqrstuvwxyz0123456789 \n\t.,:;-_/=\"'", b"a" * 26 + b"0" * 10 + b"." * 13)

# Words of a value of which the rarest is chosen.
_CHOICE = 64

# Bytes that a stream holds back at most for the end of a value; only colours without end take so many.
_LONGEST_HELD = 1 << 16

_Span = tuple[int, int]


class Masker:
    """Knows secret values and replaces each of them, in every known form, by `***`."""

    def __init__(self) -> None:
        """Start with no value known: then every text passes unchanged."""
        self._parts: set[str] = set()
        self._made: _Finder | None = None

    def add(self, value: str) -> None:
        """Learn a secret value and the forms it turns up in; one too short to be a secret is ignored."""
        if len(value.strip()) < SHORTEST_SECRET:
            return
        parts = {*secret_parts(value)}
        if not parts <= self._parts:
            self._parts |= parts
            self._made = None

    @property
    def _finder(self) -> _Finder:
        if self._made is None:
            self._made = _Finder(form for part in self._parts for form in secret_forms(part))
        return self._made

    def mask(self, text: str) -> str:
        """Return `text` with every occurrence of a known value replaced; overlapping ones become one mask."""
        data = text.encode("utf-8", "surrogatepass")
        spans = self._finder.spans(data)
        return _masked(data, spans, 0, len(data))[0] if spans else text

    def mask_all(self, value: Any) -> Any:
        """Return a JSON value with every text in it masked, keys too: masking its text would break the escapes."""
        # One look for secrets in all of it; only where there is one, each text is masked by itself.
        whole = "\n".join(_texts(value))
        return value if self.mask(whole) == whole else self._masked(value)

    def _masked(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.mask(value)
        if isinstance(value, Mapping):
            return {self.mask(str(key)): self._masked(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._masked(item) for item in value]
        return value

    def stream(self) -> MaskedStream:
        """Return a filter for a text that comes in chunks."""
        return MaskedStream(self)


def _texts(value: Any) -> Iterator[str]:
    """Yield every text in a JSON value, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key)
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


class MaskedStream:
    """Masks a stream: holds back only what may be the beginning of a value that the next chunk completes."""

    def __init__(self, masker: Masker) -> None:
        """Start an empty stream over the values that `masker` knows."""
        self._masker = masker
        self._held = b""
        self._covered = 0
        """How many bytes of what is held belong to a mask that was shown."""

    def feed(self, chunk: str) -> str:
        """Take the next chunk, return what can safely be shown now."""
        finder = self._masker._finder
        data = self._held + chunk.encode("utf-8", "surrogatepass")
        spans, cut = finder.spans_and_tail(data)
        if not spans and not self._covered:
            self._held = data[cut:]
            return chunk if cut == len(chunk) == len(data) else data[:cut].decode("utf-8", "surrogatepass")
        shown, end = _masked(data, spans, self._covered, cut)
        self._held, self._covered = data[cut:], max(0, end - cut)
        return shown

    def close(self) -> str:
        """Return what was held back, masked."""
        data, covered = self._held, self._covered
        self._held, self._covered = b"", 0
        return _masked(data, self._masker._finder.spans(data), covered, len(data))[0]


def _masked(data: bytes, spans: Sequence[_Span], position: int, cut: int) -> tuple[str, int]:
    """Replace what begins before `cut`; return the text from `position` on, and where it ends."""
    pieces: list[bytes] = []
    for start, end in spans:
        if start >= cut:
            break
        if end > position:
            pieces += [data[position:start], _MASK]
            position = end
    pieces.append(data[position:cut])
    return b"".join(pieces).decode("utf-8", "surrogatepass"), max(position, cut)


class _Finder:
    """Finds known values in bytes of UTF-8, in a time that does not depend on how many there are.

    Of every value one word (`_WORD` bytes) at each of the offsets that it can have to the words of a text is kept in a
    table. A text is read as an array of words, and only where one is in the table is a value compared.
    """

    def __init__(self, needles: Iterable[str]) -> None:
        known = sorted({needle.encode("utf-8", "surrogatepass") for needle in needles})
        self._known = known
        self._longest = max(map(len, known), default=0)
        # At the worst offset, a whole word of a value begins in its fourth byte.
        self._short = [needle for needle in known if len(needle) < 2 * _WORD - 1]
        table: dict[int, list[tuple[int, bytes]]] = defaultdict(list)
        for needle in known:
            if len(needle) >= 2 * _WORD - 1:
                kinds = needle.translate(_KINDS)
                for offset in range(_WORD):
                    place = _rarest(needle, kinds, offset)
                    word = int.from_bytes(needle[place : place + _WORD], sys.byteorder)
                    table[word].append((place, needle))
        self._table = dict(table)
        self._words = frozenset(table)
        self._with_colour = any(map(_COLOUR.search, known))
        self._heads = {needle[:size] for needle in known for size in range(1, _WORD + 1)}

    @cached_property
    def _line_ends(self) -> list[tuple[int, bytes]]:
        """Where the values of several lines have their line ends."""
        return [(place, needle) for needle in self._known for place in range(len(needle)) if needle[place] == 0x0A]

    def spans(self, data: bytes) -> list[_Span]:
        """Find where known values stand, merged where they touch or overlap, in order."""
        if not self._known:
            return []
        colours = _colours_of(data)
        return self._but_colours(data, colours)[0] if colours else _merged([*self._in(data)])

    def spans_and_tail(self, data: bytes) -> tuple[list[_Span], int]:
        """Return the spans, and where the last bytes begin that may be the beginning of a known value, else the size.

        What stands behind that place may not be in the spans.
        """
        if not self._known:
            return [], len(data)
        cut = _COLOUR_BEGINS.search(data, max(0, len(data) - _LONGEST_COLOUR))
        colours = _colours_of(data)
        if not cut and not colours:
            return _merged([*self._in(data)]), self._open(data)
        end = cut.start() if cut else len(data)
        spans, place = self._but_colours(data[:end], colours or _RAW_COLOUR)
        return spans, place if len(data) - place <= _LONGEST_HELD else len(data)

    def _but_colours(self, data: bytes, colours: re.Pattern[bytes]) -> tuple[list[_Span], int]:
        pieces = colours.split(data)
        bare = b"".join(pieces)
        found, place = [*self._in(bare)], self._open(bare)
        if found or place < len(bare):
            back = _way_back(pieces, colours.findall(data))
            found = [(back(start), back(end - 1) + 1) for start, end in found]
            place = back(place) if place < len(bare) else len(data)
        else:
            place = len(data)
        if self._with_colour:
            found += self._in(data)
            place = min(place, self._open(data))
        return _merged(found), place

    def _in(self, data: bytes) -> Iterator[_Span]:
        known = self._words
        words = memoryview(data + bytes(-len(data) % _WORD)).cast("I")
        for first in range(0, len(words), _BLOCK):
            block = words[first : first + _BLOCK]
            if known.isdisjoint(block):
                continue
            for number in [number for number, word in enumerate(block, first) if word in known]:
                for place, needle in self._table[words[number]]:
                    start = number * _WORD - place
                    if start >= 0 and data.startswith(needle, start):
                        yield start, start + len(needle)
        for needle in self._short:
            start = data.find(needle)
            while start >= 0:
                yield start, start + len(needle)
                start = data.find(needle, start + 1)

    def _open(self, data: bytes) -> int:
        size = len(data)
        line = data.rfind(b"\n")
        best = size
        for place, needle in self._line_ends if line >= 0 else ():
            start = line - place
            if 0 <= start < best and len(needle) > size - start and needle.startswith(data[start:]):
                best = start
        heads = self._heads
        for start in range(max(line + 1, size - self._longest + 1), best):
            if data[start : start + _WORD] in heads and self._begins(data[start:]):
                return start
        return best

    def _begins(self, tail: bytes) -> bool:
        """Whether a known value begins with `tail` and goes on."""
        place = bisect_right(self._known, tail)
        return place < len(self._known) and self._known[place].startswith(tail)


def _rarest(needle: bytes, kinds: bytes, offset: int) -> int:
    """Return the place of the word that is met least in other text, of those `offset` bytes and whole words on."""
    places = range(offset, len(needle) - _WORD + 1, _WORD)[:_CHOICE]
    return min(places, key=lambda place: _commonness(kinds[place : place + _WORD]))


@cache
def _commonness(kinds: bytes) -> tuple[bool, int]:
    """Order words by how often they are met: those of letters alone or digits alone most, with punctuation or not."""
    ordinary = sum(kinds.count(kind) for kind in (b"a", b"0", b"."))
    return ordinary == _WORD and not (b"a" in kinds and b"0" in kinds), ordinary


def _colours_of(data: bytes) -> re.Pattern[bytes] | None:
    """Return what finds the colours in a text; None where it has none."""
    if b"\\" in data and any(sign in data for sign in _ESCAPED_SIGNS):
        return _COLOUR
    return _RAW_COLOUR if b"\x1b[" in data else None


def _way_back(pieces: Sequence[bytes], colours: Sequence[bytes]) -> Callable[[int], int]:
    """Return the function from a place in a text without its colours, which are between its pieces, to one in it."""
    begins = [0, *accumulate(map(len, pieces[:-1]))]
    shifts = [0, *accumulate(map(len, colours))]
    return lambda place: place + shifts[bisect_right(begins, place) - 1]


def _merged(found: list[_Span]) -> list[_Span]:
    if not found:
        return found
    merged: list[_Span] = []
    for start, end in sorted(found):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
