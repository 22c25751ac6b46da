"""What the page of a run draws, to the last coordinate: graph, timeline, and the markup that they are made of."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest

from run_kfp.report.drawing import Box, blocks, divided, graph, rows_and_paths
from run_kfp.report.markup import Html, data_block, joined, printable, tag
from run_kfp.report.timeline import Span, duration_words, moment, timeline

NAMES = "abcdefgh"
START = datetime(2026, 11, 23, 14, 2, 10, tzinfo=UTC)


def lines(drawn: str) -> list[str]:
    """One element a line; an end that follows its start stays beside it."""
    return re.sub(r">(?=<)", ">\n", drawn.replace("></path>", "/>").replace("></rect>", "/>")).split("\n")


def box(name: str) -> Box:
    return Box(name, "✓", "succeeded", "12 s", f"#{name}")


def drawn(after: list[list[int]]) -> str:
    names = NAMES[: len(after)]
    waits = {name: [NAMES[number] for number in numbers] for name, numbers in zip(names, after, strict=True)}
    return graph([box(name) for name in names], waits)


# ── the graph ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_graph_is_drawn_whole() -> None:
    steps = [Box("train", "✓", "succeeded", "12 s", "#train"), Box("test", "✗", "failed", "exit code 1", "#test")]

    assert lines(graph(steps, {"train": ["no-step"], "test": ["train"]})) == [
        '<svg width="188" height="142" viewBox="0 0 188 142" class="narrow">',
        "<defs>",
        '<marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8"'
        ' markerUnits="userSpaceOnUse" orient="auto">',
        '<path d="M0 0L8 4L0 8z" class="head"/>',
        "</marker>",
        "</defs>",
        '<path d="M94 54C94 71 94 71 94 88" class="edge" marker-end="url(#arrow)"/>',
        '<a href="#train" class="box succeeded">',
        "<title>train: 12 s</title>",
        '<rect x="2" y="2" width="184" height="52" rx="8"/>',
        '<text x="22" y="34" class="mark">✓</text>',
        '<foreignObject x="40" y="8" width="142" height="40">',
        '<div class="name" dir="auto">',
        "<span>train</span>",
        "</div>",
        '<div class="words">12 s</div>',
        "</foreignObject>",
        "</a>",
        '<a href="#test" class="box failed">',
        "<title>test: exit code 1</title>",
        '<rect x="2" y="88" width="184" height="52" rx="8"/>',
        '<text x="22" y="120" class="mark">✗</text>',
        '<foreignObject x="40" y="94" width="142" height="40">',
        '<div class="name" dir="auto">',
        "<span>test</span>",
        "</div>",
        '<div class="words">exit code 1</div>',
        "</foreignObject>",
        "</a>",
        "</svg>",
    ]


def test_no_step_is_drawn_as_nothing() -> None:
    assert graph([], {}) == ""


@pytest.mark.parametrize(
    ("after", "size", "boxes", "edges"),
    [
        ([[], []], "388x56 narrow", "2,2 202,2", []),
        ([[], [], []], "588x56", "2,2 202,2 402,2", []),
        # The edge from b to d passes the row of c in a lane, 12 pixels wide.
        (
            [[], [0], [1], [0], [2, 3]],
            "388x314 narrow",
            "102,2 2,88 88,174 202,88 102,260",
            [
                "M194 54C194 71 94 71 94 88",
                "M94 140C94 157 180 157 180 174",
                "M194 54C194 71 294 71 294 88",
                "M180 226C180 243 194 243 194 260",
                "M294 140C294 157 294 157 294 174V226C294 243 194 243 194 260",
            ],
        ),
    ],
)
def test_where_boxes_and_edges_are(after: list[list[int]], size: str, boxes: str, edges: list[str]) -> None:
    svg = drawn(after)
    head = re.match(r'<svg width="(\d+)" height="(\d+)" viewBox="0 0 \1 \2"(?: class="(\w+)")?>', svg)

    assert head, svg
    assert f"{head[1]}x{head[2]}{f' {head[3]}' if head[3] else ''}" == size
    assert " ".join(map(",".join, re.findall(r'<rect x="(\S+)" y="(\S+)"', svg))) == boxes
    assert re.findall(r'd="([^"]+)" class="edge"', svg) == edges


@pytest.mark.parametrize(
    ("after", "rows"),
    [
        ([], ""),
        ([[1], [0], [1]], "a / b / c"),  # in a circle: what points to a step listed later is left out
        ([[2], [], [1, 0]], "a b / c"),
        # Four sweeps, down and up in turn; three or five give another order.
        ([[], [], [0], [1, 2], [0]], "a b / c b>d e / d"),
        ([[], [], [0, 1], [0], [1, 3], [0, 4], [2, 3, 5]], "a b / d b>e c / e c>g / f c>g / g"),
        ([[], [0], [], [0, 1, 2], [2], [2], [4]], "a c / b c>d e f / d g"),
        ([[], [], [1], [0]], "a b / d c"),  # no edge crosses another one
    ],
)
def test_the_order_in_the_rows(after: list[list[int]], rows: str) -> None:
    found = [
        " ".join(NAMES[place.step] + ("" if place.toward is None else f">{NAMES[place.toward]}") for place in row)
        for row in rows_and_paths(after)[0]
    ]

    assert " / ".join(found) == rows


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("n" * 18, ["n" * 18]),
        ("preprocess-images-2", ["preprocess-", "images-2"]),
        ("👩‍👩‍👧‍👦" * 8, ["👩‍👩‍👧‍👦" * 6, "👩‍👩‍👧‍👦" * 2]),
        ("a" * 12 + "e\u0301" + "b" * 7, ["a" * 12, "e\u0301" + "b" * 7]),
        ("e" + "\u0301" * 30, ["e" + "\u0301" * 30]),
    ],
)
def test_a_long_name_keeps_its_end(name: str, parts: list[str]) -> None:
    assert divided(name) == parts


def test_many_branches_are_one_block() -> None:
    after: list[list[int]] = [[], *[[0] for _ in range(12)], [*range(1, 13)]]

    assert blocks(after) == [[[0]], [[step] for step in range(1, 13)], [[13]]]
    svg = graph(
        [box(str(step)) for step in range(14)], {str(step): [*map(str, waits)] for step, waits in enumerate(after)}
    )

    assert re.findall(r'd="([^"]+)" class="edge"', svg) == [
        "M504 54C504 71 504 71 504 88",
        "M504 288C504 305 504 305 504 322",
    ]
    assert re.findall(r'<rect x="(\S+)" y="(\S+)" width="(\S+)" height="(\S+)" rx="12" class="block"', svg) == [
        ("2", "88", "1004", "200")
    ]
    assert (
        re.findall(r'<rect x="(\S+)" y="(\S+)" width="184"', svg)[1:13]
        == [(str(x), str(y)) for y in (98, 162, 226) for x in (12, 212, 412, 612, 812)][:12]
    )


@pytest.mark.parametrize(
    "after",
    [
        [[], *[[0] for _ in range(6)]],  # few
        [[], *[[0] for _ in range(7)], *[[1 + step % 2, 3] for step in range(7)], [1]],  # other steps behind them
        [[], *[[0] for _ in range(7)], *[[step] for step in range(1, 22)]],  # long
        [[], [], *[[step % 2] for step in range(12)]],  # six behind each
    ],
)
def test_what_differs_is_no_block(after: list[list[int]]) -> None:
    assert all(len(branches) == 1 for branches in blocks(after))


def test_branches_of_several_steps_are_one_block_too() -> None:
    after: list[list[int]] = [[], *[[0] for _ in range(8)], *[[step] for step in range(1, 9)], [*range(9, 17)]]
    names = [str(step) for step in range(18)]

    assert blocks(after) == [[[0]], [[step, step + 8] for step in range(1, 9)], [[17]]]
    svg = graph([box(name) for name in names], {name: [*map(str, after[int(name)])] for name in names})
    edges = re.findall(r'd="([^"]+)" class="edge"', svg)

    assert len(edges) == 10
    # The first branch: from the box of step 1 to that of step 9 below it.
    assert "M104 150V184" in edges
    places = re.findall(r'<rect x="(\S+)" y="(\S+)" width="184"', svg)
    assert len(places) == len(set(places)) == 18


def test_an_edge_beside_a_block_begins_below_its_row() -> None:
    after: list[list[int]] = [[], *[[0] for _ in range(10)], [0], [*range(1, 11)], [11], [0, 13]]
    names = [str(step) for step in range(15)]
    svg = graph([box(name) for name in names], {name: [*map(str, after[int(name)])] for name in names})

    # The block is 136 high, and the box beside it 52.
    beside = [edge for edge in re.findall(r'd="([^"]+)" class="edge"', svg) if " 140V224C" in edge]
    assert len(beside) == 1
    assert beside[0].endswith(" 258")


# ── the timeline ────────────────────────────────────────────────────────────────────────────────────────────────────


def span(name: str, state: str, started: float | None = None, ended: float | None = None) -> Span:
    began, end = (None if second is None else START + timedelta(seconds=second) for second in (started, ended))
    return Span(name, state.lower(), f"#{name}", state, began, end)


def test_a_timeline_is_drawn_whole() -> None:
    steps = [span("train", "SUCCEEDED", 0, 4), span("test", "RUNNING", 5), span("push", "PENDING")]
    ticks = [
        f'<line x1="{at}%" x2="{at}%" y1="0" y2="100%" class="tick"></line>'
        for at in ("0.00", "25.00", "50.00", "75.00")
    ]

    assert lines(timeline(steps, START, START + timedelta(seconds=8))) == lines(
        '<div class="timeline"><div class="scale" aria-hidden="true"><svg>'
        '<text x="0.00%" y="80%">0</text><text x="25.00%" y="80%">2 s</text>'
        '<text x="50.00%" y="80%">4 s</text><text x="75.00%" y="80%">6 s</text>'
        "</svg></div><ol>"
        f'<li class="succeeded"><a href="#train" title="train">train</a><svg aria-hidden="true">{"".join(ticks)}'
        '<rect x="0.00%" width="50.00%" y="20%" height="60%" rx="2" class="bar"></rect></svg>'
        '<span class="words">4.0 s from +0.0 s</span></li>'
        f'<li class="running"><a href="#test" title="test">test</a><svg aria-hidden="true">{"".join(ticks)}'
        '<rect x="62.50%" width="37.50%" y="20%" height="60%" rx="2" class="bar"></rect></svg>'
        '<span class="words">3.0 s from +5.0 s</span></li>'
        f'<li class="pending"><a href="#push" title="push">push</a><svg aria-hidden="true">{"".join(ticks)}</svg>'
        '<span class="words">pending</span></li>'
        "</ol></div>"
    )


def test_a_bar_stays_on_the_scale() -> None:
    early = timeline([span("early", "SUCCEEDED", -5, 9)], START, START + timedelta(seconds=8))

    assert '<rect x="0.00%" width="100.00%"' in early
    assert '<span class="words">14 s from +0.0 s</span>' in early


def test_a_run_of_less_than_a_second_fills_the_scale() -> None:
    assert '<rect x="50.00%" width="50.00%"' in timeline(
        [span("quick", "SUCCEEDED", 0.25, 0.5)], START, START + timedelta(seconds=0.5)
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0"),
        (1, "0"),
        (4.9, "0, 1 s, 2 s, 3 s, 4 s"),
        (5, "0, 2 s, 4 s"),
        (10, "0, 5 s"),
        (25, "0, 10 s, 20 s"),
        (50, "0, 15 s, 30 s, 45 s"),
        (75, "0, 30 s, 1 min"),
        (149, "0, 30 s, 1 min, 1:30 min, 2 min"),
        (150, "0, 1 min, 2 min"),
        (300, "0, 2 min, 4 min"),
        (600, "0, 5 min"),
        (1500, "0, 10 min, 20 min"),
        (3000, "0, 15 min, 30 min, 45 min"),
        (4500, "0, 30 min, 1:00 h"),
        (9000, "0, 1:00 h, 2:00 h"),
        (18000, "0, 2:00 h, 4:00 h"),
        (36000, "0, 3:00 h, 6:00 h, 9:00 h"),
        (54000, "0, 6:00 h, 12:00 h"),
        (108000, "0, 12:00 h, 24:00 h"),
        (216000, "0, 24:00 h, 48:00 h"),
        (432000, "0, 48:00 h, 96:00 h"),
        (5 * 432000, "0, 144:00 h, 288:00 h, 432:00 h"),
    ],
)
def test_the_marks_of_the_scale(seconds: float, words: str) -> None:
    scale = timeline([], START, START + timedelta(seconds=seconds))

    assert ", ".join(re.findall(r'y="80%">(.*?)<', scale)) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0.0 s"),
        (0.349, "0.3 s"),
        (0.96, "1.0 s"),
        (9.94, "9.9 s"),
        (9.95, "10 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (61, "1 min 01 s"),
        (245, "4 min 05 s"),
        (3599.4, "59 min 59 s"),
        (3600, "1 h 00 min"),
        (3659, "1 h 00 min"),
        (3660, "1 h 01 min"),
        (90061, "25 h 01 min"),
    ],
)
def test_the_words_of_a_duration(seconds: float, words: str) -> None:
    assert duration_words(timedelta(seconds=seconds)) == words


def test_a_moment_is_utc_where_it_names_no_zone() -> None:
    assert moment(None) is moment("") is None
    assert moment("2026-11-23T14:02:10") == START
    assert moment("2026-11-23T16:02:10+02:00") == START.astimezone(timezone(timedelta(hours=2)))


# ── markup ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\0\x1b\x1f", "␀␛␟"),
        ("\t\n ", "\t\n "),
        ("~\x7f\x80\x9f\xa0", "~␡��\xa0"),
        ("\ud7ff\ud800\udfff\ue000", "\ud7ff��\ue000"),
    ],
)
def test_what_html_cannot_hold_is_shown(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert joined(text) == shown
    assert tag("b", title=text) == f'<b title="{shown}"></b>'


def test_the_parts_of_an_element() -> None:
    assert tag("b", "a < b", None, [Html("<i></i>"), '"c"']) == '<b>a &lt; b<i></i>"c"</b>'
    assert tag("meta", "unused", charset="utf-8") == '<meta charset="utf-8">'
    assert tag("b", class_="c", aria_label='"d"', hidden=True, x=0) == (
        '<b class="c" aria-label="&quot;d&quot;" hidden x="0"></b>'
    )
    assert tag("b", title="", hidden=False, id=None) == "<b></b>"
    assert data_block("a&b", ["<", 1]) == '<script type="application/json" id="a&amp;b">["\\u003c",1]</script>'
