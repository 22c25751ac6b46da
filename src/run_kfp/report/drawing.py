"""The graph of a run as SVG: a row for every level of dependency, branches side by side.

Edges that another path implies are not drawn (a → c where a → b → c), as `dot`'s `tred` does it; the order of the
boxes in a row follows the mean position of their neighbours (Sugiyama, Tagawa and Toda, 1981), in a few sweeps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

from run_kfp.report.markup import Html, tag

BOX_WIDTH, BOX_HEIGHT = 184, 52
GAP_ACROSS, GAP_DOWN = 16, 34
LANE = 12
"""The width that an edge takes where it passes a row."""
MARGIN = 2
LONGEST_NAME = 18
"""Characters of a name that fit into a box."""
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
    """A step, or a spot where an edge to a later row passes this one."""

    step: int
    toward: int | None = None
    level: int | None = None

    @property
    def width(self) -> int:
        """In pixels."""
        return BOX_WIDTH if self.toward is None else LANE


Path = tuple[Place, ...]


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


def rows_and_paths(after: Sequence[Sequence[int]]) -> tuple[list[list[Place]], list[Path]]:
    """Put the steps into rows and lead every edge through the rows between its ends.

    Args:
        after: for each step, the numbers of those that it waits for.
    """
    order, before = direct(after)
    level: dict[int, int] = {}
    for step in order:
        level[step] = max((level[waited] + 1 for waited in before[step]), default=0)
    rows: list[list[Place]] = [[] for _ in set(level.values())]
    for step in sorted(level):
        rows[level[step]].append(Place(step))
    paths: list[Path] = []
    for step, waits in enumerate(before):
        for waited in waits:
            lanes = {between: Place(waited, step, between) for between in range(level[waited] + 1, level[step])}
            for between, lane in lanes.items():
                rows[between].append(lane)
            paths.append((Place(waited), *lanes.values(), Place(step)))
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


def graph(boxes: Sequence[Box], after: Mapping[str, Sequence[str]]) -> Html:
    """Draw the steps and what each waits for.

    Args:
        boxes: the steps.
        after: by the name of a step, the names of those it waits for; names that are no step are passed over.
    """
    if not boxes:
        return Html()
    number = {box.name: index for index, box in enumerate(boxes)}
    rows, paths = rows_and_paths([[number[name] for name in after[box.name] if name in number] for box in boxes])
    width = max(map(_width, rows)) + 2 * MARGIN
    height = len(rows) * (BOX_HEIGHT + GAP_DOWN) - GAP_DOWN + 2 * MARGIN
    x = {place: width / 2 + centre for place, centre in _centres(rows).items()}
    y = {place: MARGIN + depth * (BOX_HEIGHT + GAP_DOWN) for depth, row in enumerate(rows) for place in row}
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
        [_drawn(box, x[Place(index)], y[Place(index)]) for index, box in enumerate(boxes)],
        width=width,
        height=height,
        viewBox=f"0 0 {width} {height}",
        # Two boxes side by side can still be read when they are shrunk to a phone's width; more are scrolled.
        class_="narrow" if width <= 2 * (BOX_WIDTH + GAP_ACROSS) else None,
    )


def _curve(path: Path, x: Mapping[Place, float], y: Mapping[Place, int]) -> str:
    words = [f"M{x[path[0]]:g} {y[path[0]] + BOX_HEIGHT}"]
    for upper, lower in pairwise(path):
        start, end, half = y[upper] + BOX_HEIGHT, y[lower], GAP_DOWN / 2
        words.append(f"C{x[upper]:g} {start + half:g} {x[lower]:g} {end - half:g} {x[lower]:g} {end}")
        if lower.toward is not None:
            words.append(f"V{end + BOX_HEIGHT}")
    return "".join(words)


def _drawn(box: Box, centre: float, top: int) -> Html:
    left = centre - BOX_WIDTH / 2
    return tag(
        "a",
        tag("title", f"{box.name}: {box.words}"),
        tag("rect", x=f"{left:g}", y=top, width=BOX_WIDTH, height=BOX_HEIGHT, rx=8),
        tag("text", box.mark, x=f"{left + 20:g}", y=top + 32, class_="mark"),
        tag("text", shortened(box.name), x=f"{left + 38:g}", y=top + 22, class_="name"),
        tag("text", box.words, x=f"{left + 38:g}", y=top + 40, class_="words"),
        href=box.link,
        class_=f"box {box.look}",
    )


def shortened(name: str) -> str:
    """Take a name's middle out where it is too long for a box: repeated steps differ at the end."""
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[: LONGEST_NAME - 9]}…{name[-8:]}"
