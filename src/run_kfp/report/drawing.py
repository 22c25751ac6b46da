"""The graph of a run as SVG: a row for every level of dependency, branches side by side.

Many branches that wait for the same steps, and that the same steps wait for, are one block with an edge in and an edge
out: a hundred edges side by side are a wall.

Edges that another path implies are not drawn (a → c where a → b → c), as `dot`'s `tred` does it; the order of the
boxes in a row follows the mean position of their neighbours (Sugiyama, Tagawa and Toda, 1981), in a few sweeps.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

from run_kfp.report.markup import Html, tag

BOX_WIDTH, BOX_HEIGHT = 184, 52
GAP_ACROSS, GAP_DOWN = 16, 34
LANE = 12
"""The width that an edge takes where it passes a row."""
MARGIN = 2
LEFT, RIGHT = 38, 4
"""What a box has beside its texts: its mark, and some room."""
WHOLE_NAME, END_OF_NAME = 18, 8
"""Characters of a name that is never cut, and of the end that a longer one keeps: repeated steps differ there."""
FEWEST_IN_BLOCK, LONGEST_IN_BLOCK, ACROSS = 7, 3, 5
"""Branches that make a block, the steps that each has at most, and how many stand side by side in it."""
BLOCK_MARGIN, BLOCK_GAP = 10, 12
SWEEPS = 4


@dataclass(frozen=True)
class Box:
    """A step in the graph."""

    name: str
    mark: str
    look: str
    """Its class in the style sheet."""
    words: str
    link: str


@dataclass(frozen=True)
class Place:
    """A step or a block of them, or a spot where an edge to a later row passes this one."""

    step: int
    toward: int | None = None
    level: int | None = None
    width: int = field(default=BOX_WIDTH, compare=False)
    """In pixels."""


Path = tuple[Place, ...]

_JOINER = "\u200d"
"""What stands between the parts of one character (Unicode Standard Annex 29)."""


def direct(after: Sequence[Sequence[int]]) -> tuple[list[int], list[list[int]]]:
    """Return the steps in an order in which they can run, and for each the steps before it that no other implies.

    A run whose steps wait for each other in a circle cannot be; should a file say so, the edges that point to a step
    listed later are left out.
    """
    before = [sorted(set(waits) - {step}) for step, waits in enumerate(after)]
    try:
        order = list(TopologicalSorter(dict(enumerate(before))).static_order())
    except CycleError:
        before = [[waited for waited in waits if waited < step] for step, waits in enumerate(before)]
        order = list(range(len(before)))
    reached: dict[int, int] = {}  # sets as bits
    kept: list[list[int]] = [[] for _ in before]
    for step in order:
        implied = 0
        for waited in before[step]:
            implied |= reached[waited]
        kept[step] = [waited for waited in before[step] if not implied >> waited & 1]
        reached[step] = implied | sum(1 << waited for waited in kept[step])
    return order, kept


def rows_and_paths(
    after: Sequence[Sequence[int]], widths: Sequence[int] | None = None
) -> tuple[list[list[Place]], list[Path]]:
    """Put the steps into rows and lead every edge through the rows between its ends.

    Args:
        after: for each step, the numbers of those that it waits for.
        widths: of each step in pixels; that of a box where they are not given.
    """
    order, before = direct(after)
    places = [Place(step, width=width) for step, width in enumerate(widths or [BOX_WIDTH] * len(after))]
    level: dict[int, int] = {}
    for step in order:
        level[step] = max((level[waited] + 1 for waited in before[step]), default=0)
    rows: list[list[Place]] = [[] for _ in set(level.values())]
    for step in sorted(level):
        rows[level[step]].append(places[step])
    paths: list[Path] = []
    for step, waits in enumerate(before):
        for waited in waits:
            lanes = {between: Place(waited, step, between, LANE) for between in range(level[waited] + 1, level[step])}
            for between, lane in lanes.items():
                rows[between].append(lane)
            paths.append((places[waited], *lanes.values(), places[step]))
    _untangle(rows, paths)
    return rows, paths


def _untangle(rows: list[list[Place]], paths: Sequence[Path]) -> None:
    above: dict[Place, list[Place]] = {}
    below: dict[Place, list[Place]] = {}
    for path in paths:
        for upper, lower in pairwise(path):
            below.setdefault(upper, []).append(lower)
            above.setdefault(lower, []).append(upper)
    for sweep in range(SWEEPS):
        neighbours = below if sweep % 2 else above
        position = _centres(rows)
        for row in reversed(rows) if sweep % 2 else rows:
            wanted = {place: _mean([position[near] for near in neighbours.get(place, [place])]) for place in row}
            row.sort(key=wanted.__getitem__)
            position.update(_centres([row]))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _width(row: Sequence[Place]) -> int:
    return sum(place.width for place in row) + GAP_ACROSS * (len(row) - 1)


def _centres(rows: Sequence[Sequence[Place]]) -> dict[Place, float]:
    """Give the middle of every place, as pixels from the middle of its row."""
    centres: dict[Place, float] = {}
    for row in rows:
        left = -_width(row) / 2
        for place in row:
            centres[place] = left + place.width / 2
            left += place.width + GAP_ACROSS
    return centres


Branch = list[int]
"""Steps of which each waits for the one before it alone."""


def blocks(after: Sequence[Sequence[int]]) -> list[list[Branch]]:
    """Return the steps one by one, but for branches that have the same before and behind them: many of these together.

    Args:
        after: for each step, the numbers of those that it waits for; none that another one implies.
    """
    followers: list[list[int]] = [[] for _ in after]
    for step, waits in enumerate(after):
        for waited in waits:
            followers[waited].append(step)

    def goes_on(step: int) -> bool:
        return len(followers[step]) == 1 and len(after[followers[step][0]]) == 1

    alike: dict[tuple[frozenset[int], tuple[int, ...], int], list[Branch]] = {}
    for step, waits in enumerate(after):
        if not (waits and goes_on(waits[0]) and len(waits) == 1):
            branch = [step]
            while goes_on(branch[-1]):
                branch += followers[branch[-1]]
            alike.setdefault((frozenset(waits), tuple(followers[branch[-1]]), len(branch)), []).append(branch)
    found: list[list[Branch]] = []
    for branches in alike.values():
        if len(branches) >= FEWEST_IN_BLOCK and len(branches[0]) <= LONGEST_IN_BLOCK:
            found.append(branches)
        else:
            found += [[[step]] for branch in branches for step in branch]
    return sorted(found)


def _size(branches: Sequence[Branch]) -> tuple[int, int]:
    """Return the width and the height of a box, or of a block of several branches."""
    if len(branches) == 1:
        return BOX_WIDTH, BOX_HEIGHT
    down = -(-len(branches) // ACROSS)
    return (
        ACROSS * (BOX_WIDTH + GAP_ACROSS) - GAP_ACROSS + 2 * BLOCK_MARGIN,
        down * _pitch(branches[0]) - BLOCK_GAP + 2 * BLOCK_MARGIN,
    )


def _pitch(branch: Branch) -> int:
    """Return how far one branch of a block is above the next, in pixels."""
    return len(branch) * (BOX_HEIGHT + GAP_DOWN) - GAP_DOWN + BLOCK_GAP


def graph(boxes: Sequence[Box], after: Mapping[str, Sequence[str]]) -> Html:
    """Draw the steps and what each waits for.

    Args:
        boxes: the steps.
        after: by the name of a step, the names of those it waits for; names that are no step are passed over.
    """
    if not boxes:
        return Html()
    number = {box.name: index for index, box in enumerate(boxes)}
    _, waits = direct([[number[name] for name in after[box.name] if name in number] for box in boxes])
    parts = blocks(waits)
    part_of = {step: part for part, branches in enumerate(parts) for branch in branches for step in branch}
    sizes = [_size(branches) for branches in parts]
    rows, paths = rows_and_paths(
        [[part_of[waited] for waited in waits[branches[0][0]]] for branches in parts], [width for width, _ in sizes]
    )
    heights = [max(sizes[place.step][1] for place in row if place.toward is None) for row in rows]
    tops = [MARGIN + sum(heights[:depth]) + depth * GAP_DOWN for depth in range(len(rows))]
    width = max(map(_width, rows)) + 2 * MARGIN
    height = tops[-1] + heights[-1] + MARGIN
    x = {place: width / 2 + centre for place, centre in _centres(rows).items()}
    # Of each place its top, the lower end of what stands there, and that of its row.
    y = {
        place: (top, top + (row_height if place.toward is not None else sizes[place.step][1]), top + row_height)
        for top, row_height, row in zip(tops, heights, rows, strict=True)
        for place in row
    }
    return tag(
        "svg",
        tag(
            "defs",
            tag(
                "marker",
                tag("path", d="M0 0L8 4L0 8z", class_="head"),
                id="arrow",
                viewBox="0 0 8 8",
                refX=8,
                refY=4,
                markerWidth=8,
                markerHeight=8,
                markerUnits="userSpaceOnUse",
                orient="auto",
            ),
        ),
        [tag("path", d=_curve(path, x, y), class_="edge", marker_end="url(#arrow)") for path in paths],
        [_part(boxes, branches, x[Place(part)], y[Place(part)][0], sizes[part]) for part, branches in enumerate(parts)],
        width=width,
        height=height,
        viewBox=f"0 0 {width} {height}",
        # Two boxes side by side can still be read when they are shrunk to a phone's width; more are scrolled.
        class_="narrow" if width <= 2 * (BOX_WIDTH + GAP_ACROSS) else None,
    )


def _curve(path: Path, x: Mapping[Place, float], y: Mapping[Place, tuple[int, int, int]]) -> str:
    _, bottom, end_of_row = y[path[0]]
    words = [f"M{x[path[0]]:g} {bottom}", f"V{end_of_row}" if bottom < end_of_row else ""]
    for upper, lower in pairwise(path):
        start, end, half = y[upper][2], y[lower][0], GAP_DOWN / 2
        words.append(f"C{x[upper]:g} {start + half:g} {x[lower]:g} {end - half:g} {x[lower]:g} {end}")
        if lower.toward is not None:
            words.append(f"V{y[lower][2]}")
    return "".join(words)


def _part(
    boxes: Sequence[Box], branches: Sequence[Branch], centre: float, top: int, size: tuple[int, int]
) -> Iterator[Html]:
    width, height = size
    left = centre - width / 2
    if len(branches) == 1:
        yield _drawn(boxes[branches[0][0]], left, top)
        return
    yield tag("rect", x=f"{left:g}", y=top, width=width, height=height, rx=12, class_="block")
    for number, branch in enumerate(branches):
        x = left + BLOCK_MARGIN + number % ACROSS * (BOX_WIDTH + GAP_ACROSS)
        y = top + BLOCK_MARGIN + number // ACROSS * _pitch(branch)
        for depth, step in enumerate(branch):
            if depth:
                edge = f"M{x + BOX_WIDTH / 2:g} {y - GAP_DOWN}V{y}"
                yield tag("path", d=edge, class_="edge", marker_end="url(#arrow)")
            yield _drawn(boxes[step], x, y)
            y += BOX_HEIGHT + GAP_DOWN


def _drawn(box: Box, left: float, top: int) -> Html:
    return tag(
        "a",
        tag("title", f"{box.name}: {box.words}"),
        tag("rect", x=f"{left:g}", y=top, width=BOX_WIDTH, height=BOX_HEIGHT, rx=8),
        tag("text", box.mark, x=f"{left + 20:g}", y=top + 32, class_="mark"),
        # Text of HTML is cut where it ends in the reader's own font, and in the direction of its script.
        tag(
            "foreignObject",
            tag("div", [tag("span", part) for part in divided(box.name)], class_="name", dir="auto"),
            tag("div", box.words, class_="words"),
            x=f"{left + LEFT:g}",
            y=top + 6,
            width=BOX_WIDTH - LEFT - RIGHT,
            height=BOX_HEIGHT - 12,
        ),
        href=box.link,
        class_=f"box {box.look}",
    )


def divided(name: str) -> list[str]:
    """Divide a long name into a part that may be cut and the end that stays; a character stays with its marks."""
    place = len(name) - END_OF_NAME
    if len(name) <= WHOLE_NAME:
        return [name]
    while place and (unicodedata.category(name[place])[0] in "MC" or name[place - 1] == _JOINER):
        place -= 1
    return [name[:place], name[place:]] if place else [name]
