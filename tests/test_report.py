"""The page of a run: what is in it, that no text becomes markup, and how it behaves in a real browser."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from browser import Browser, BrowserUnavailableError, running_browser
from run_kfp import report
from run_kfp.report import report_html
from run_kfp.report.drawing import Place, rows_and_paths
from run_kfp.report.logs import LONGEST_LINE, Log, Severity, severity
from run_kfp.report.markup import data_block, tag
from run_kfp.runs import RunState, StepState

START = datetime(2026, 11, 23, 14, 2, 10, tzinfo=UTC)
NASTY = "\"'><script>window.injected = 1</script><img src=//example.org/x.png onerror='window.injected = 2'></pre><!--"

Lines = Mapping[str, Iterable[str]]


def at(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).isoformat()


def line(text: str, second: float = 0, stream: str = "O") -> str:
    moment = START + timedelta(seconds=second)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z {stream} {text}"


def a_step(name: str, state: str = "SUCCEEDED", **more: Any) -> dict[str, Any]:
    whole = {
        "name": name,
        "label": name,
        "image": f"example/{name}",
        "after": [],
        "resources": "1 CPU, 2G",
        "state": state,
        "started": at(0),
        "ended": at(60),
        "exit_code": 0,
        "error": None,
        "warnings": [],
        "command": None,
        "args": [],
        "log": f"logs/{name}.log",
        "container": "0123456789abcdef",
        "reused_from": None,
        "outputs": None,
    }
    assert set(more) <= set(whole)
    return {**whole, **more}


def a_run(*steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    whole = {
        "schema": 1,
        "id": "chain-1",
        "ref": "local://chain-1",
        "pipeline": {"name": "chain", "display_name": "The chain"},
        "file": "pipeline.yaml",
        "engine": "docker",
        "state": "SUCCEEDED",
        "error": None,
        "created": at(0),
        "started": at(0),
        "ended": at(60),
        "parameters": {},
        "warnings": [],
        "from_run": None,
        "runner": {"pid": 1, "host": "somewhere", "boot": "x"},
        "steps": list(steps),
    }
    assert set(more) <= set(whole)
    return {**whole, **more}


def reader(logs: Lines) -> Callable[[str], Iterable[str]]:
    def read(path: str) -> Iterable[str]:
        if path not in logs:
            raise FileNotFoundError(path)
        return logs[path]

    return read


class Page(HTMLParser):
    """The elements and texts of a page, as Python's own parser sees them; every element must be closed in its order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag != "meta":
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def all(self, name: str) -> list[dict[str, str]]:
        return [attributes for found, attributes in self.elements if found == name]


# ── what the page holds ──────────────────────────────────────────────────────────────────────────────────────────────


def test_it_shows_what_the_record_says() -> None:
    run = a_run(
        a_step("make", command=["python", "-m", "make"], args=["--to=gs://b", "", "two words"]),
        a_step("train", "FAILED", after=["make"], exit_code=137, error="killed: more than 2 GB", warnings=["no GPU"]),
        a_step("done", reused_from="chain-0"),
        a_step("never", "SKIPPED", started=None, ended=None, exit_code=None),
        state="FAILED",
        error="train failed",
        warnings=["16 CPUs were asked for"],
        from_run="chain-0",
        parameters={"tag": {"value": "dataset_v22", "from": "-t"}, "count": {"value": 4, "from": "default"}},
    )

    page = Page(report_html(run, reader({"logs/train.log": [line("Killed", stream="E")]})))

    for words in (
        *(
            "The chain",
            "FAILED",
            "local://chain-1",
            "Docker Engine",
            "2026-11-23 14:02:10Z",
            "1 min 00 s",
            "pipeline.yaml",
        ),
        *("train failed", "16 CPUs were asked for", "2 succeeded, 1 failed, 1 skipped", "Go to train, which failed"),
        *("example/make", "--to=gs://b", "(empty)", "two words", "137", "killed: more than 2 GB", "no GPU", "chain-0"),
        *("reused", "0123456789ab", "2026-11-23T14:02:10.000Z E Killed", "dataset_v22", "default"),
    ):
        assert any(words in text for text in page.texts), words


def test_it_shows_where_a_step_ran_and_what_it_gave() -> None:
    step = a_step("one", container="pid 4711 648700", outputs={"count": 3, "path": "gs://b/x", "token": None})

    texts = Page(report_html(a_run(step), reader({}))).texts

    assert texts[texts.index("Process") + 1] == "4711"
    assert "Container" not in texts
    assert {"count = 3", "path = gs://b/x", "token = (a secret, not kept)"} <= set(texts)


def test_a_secret_shows_its_name_and_place_and_never_a_value() -> None:
    value = os.urandom(12).hex()
    found = {"secret": "git_login", "from": "secrets/git.env", "value": value}

    text = report_html(a_run(parameters={"git_login": found}), reader({}))

    assert value not in text
    assert "secrets/git.env" in text


@pytest.mark.parametrize("state", [*RunState, *StepState])
def test_every_state_has_its_look(state: str) -> None:
    page = Page(report_html(a_run(a_step("one", state), state=state), reader({})))

    # The badges of the run and of the step, and the box in the graph.
    assert page.texts.count("?") == (3 if state == "UNKNOWN" else 0)
    assert page.texts.count(f" {state}") == 2


@pytest.mark.parametrize(
    "run",
    [{}, {"steps": [{}]}, {"steps": [{"name": "one", "log": "x"}]}, a_run(state="NEW"), a_run(a_step("x", "NEW"))],
)
def test_a_record_that_lacks_something_still_makes_a_page(run: Mapping[str, Any]) -> None:
    Page(report_html(run, reader({})))


def test_a_run_that_is_not_over_has_bars_to_its_last_moment() -> None:
    run = a_run(a_step("one", ended=at(10)), a_step("two", "RUNNING", started=at(10), ended=None), ended=None)

    page = Page(report_html(run, reader({})))

    assert "10 s from +0.0 s" in page.text
    assert "0.0 s from +10 s" in page.text


def test_a_log_that_cannot_be_read_is_told_and_costs_nothing_else() -> None:
    def denied(path: str) -> Iterable[str]:
        raise PermissionError(13, "Permission denied", path)

    page = Page(report_html(a_run(a_step("one")), denied))

    assert "The log cannot be read: Permission denied" in page.text


# ── no text becomes markup ───────────────────────────────────────────────────────────────────────────────────────────


def nasty(value: Any) -> Any:
    """Put the nasty text into every string of a record but the states and times, which are read."""
    if isinstance(value, dict):
        return {
            key if key in KNOWN else NASTY + key: item
            if key in ("state", "created", "started", "ended")
            else nasty(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [nasty(item) for item in value]
    return NASTY + value if isinstance(value, str) else value


KNOWN = {*a_run(), *a_step("x"), "display_name", "secret", "from", "value"}


def nasty_page() -> str:
    run = nasty(
        a_run(
            a_step(
                "one",
                "FAILED",
                error="e",
                warnings=["w"],
                command=["c"],
                args=["a"],
                reused_from="r",
                outputs={"o": "v"},
            ),
            a_step("two", after=["one"]),
            error="e",
            warnings=["w"],
            from_run="f",
            parameters={"p": {"value": "v", "from": "f"}, "s": {"secret": "s", "from": "f"}},
        )
    )
    return report_html(run, lambda path: [line(NASTY, stream="E"), NASTY, f"ERROR {NASTY}"])


def test_nasty_text_stays_text() -> None:
    page = Page(nasty_page())

    assert [attributes for attributes in page.all("script") if attributes] == [
        {"type": "application/json", "id": "logs"}
    ]
    assert len(page.all("script")) == 2
    assert page.all("img") == []
    assert not [attributes for _, attributes in page.elements if any(name.startswith("on") for name in attributes)]
    # Header, error, graph, timeline, step, facts, parameters, log: the text is there, whole.
    assert page.text.count(NASTY) >= 20


@given(st.text(st.characters(codec=None)), st.text(st.characters(codec=None)))
def test_any_text_can_stand_in_an_element_and_in_an_attribute(text: str, attribute: str) -> None:
    made = tag("p", text, title=attribute)

    page = Page(made.encode().decode())  # a lone surrogate could not be written

    assert [name for name, _ in page.elements] == ["p"]
    visible = [character for character in text if character.isprintable()]
    assert [character for character in page.text if character in visible] == visible


def test_data_cannot_end_its_element() -> None:
    data = ["</script>", "<!--<script>", "]]>", "\u2028", "\ud800"]

    text = data_block("logs", data)

    assert text.count("<") == 2
    assert json.loads(text[text.index(">") + 1 : text.rindex("<")]) == data


def test_it_loads_nothing() -> None:
    page = Page(report_html(a_run(a_step("one")), reader({"logs/one.log": [line("x")]})))

    names = {name for name, _ in page.elements}
    assert names.isdisjoint({"link", "img", "iframe", "object", "embed", "base", "video", "audio", "source"})
    addresses = [
        value
        for _, found in page.elements
        for name, value in found.items()
        if name in ("src", "href", "srcset", "action")
    ]
    assert addresses
    assert all(re.fullmatch(r"#[\w-]+", address) for address in addresses)
    assert not re.search(r"url\(|@import|https?:", "".join(page.texts))
    policy = next(found["content"] for found in page.all("meta") if "http-equiv" in found)
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy


def test_every_link_has_its_target() -> None:
    page = Page(report_html(a_run(a_step("one", "FAILED"), a_step("two", after=["one"])), reader({})))

    ids = [found["id"] for _, found in page.elements if "id" in found]
    assert len(ids) == len(set(ids))
    assert {found["href"][1:] for found in page.all("a")} <= set(ids)
    assert {found["aria-labelledby"] for _, found in page.elements if "aria-labelledby" in found} <= set(ids)


# ── logs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ERROR something", Severity.ERROR),
        ("2026-11-23 14:02:10,123 - root - CRITICAL - out of memory", Severity.ERROR),
        ('{"severity": "ERROR", "message": "x"}', Severity.ERROR),
        ('{"level":"error","msg":"x"}', Severity.ERROR),
        ('{"level":"info","msg":"no error: none"}', Severity.INFO),
        ("fatal: Authentication failed for 'https://example.org/'", Severity.ERROR),
        ("train.py: error: unrecognized arguments: --tag", Severity.ERROR),
        ("E1123 14:02:10.123456 77 cuda.cc:12] failed call to cuInit", Severity.ERROR),
        ("W1123 14:02:10.123456 77 cuda.cc:12] slow", Severity.WARNING),
        ("google.api_core.exceptions.RetryError: Timeout", Severity.ERROR),
        ("Traceback (most recent call last):", Severity.ERROR),
        ("WARNING:tensorflow:x", Severity.WARNING),
        ("[WARN] x", Severity.WARNING),
        ("train.py:12: UserWarning: x", Severity.WARNING),
        ("INFO retried after an ERROR", Severity.INFO),
        ("DEBUG x", Severity.INFO),
        ("epoch 3 error: 0.031", Severity.INFO),
        ("error: 0.031", Severity.INFO),
        ("0 errors, 0 warnings", Severity.INFO),
        ("TERRORS of the deep", Severity.INFO),
        ("", Severity.INFO),
    ],
)
def test_severity_is_guessed_from_the_first_level_that_a_line_names(text: str, expected: Severity) -> None:
    assert severity(text) is expected


def test_a_traceback_is_an_error_to_its_last_line() -> None:
    log = Log.read(
        [
            line("Traceback (most recent call last):", stream="E"),
            line('  File "train.py", line 3, in main', stream="E"),
            line("on the other stream", stream="O"),
            line("KeyboardInterrupt", stream="E"),
            line("afterwards", stream="E"),
        ],
        room=10_000,
    )

    assert [found.grave for found in log.lines] == [True, True, False, True, False]
    assert log.counts == {Severity.ERROR: 3, Severity.INFO: 2}


def test_escape_sequences_go_and_other_control_characters_are_shown() -> None:
    log = Log.read([line("\x1b[1;31mred\x1b[0m \x1b]0;title\x07after\x1b(B\r\n")], room=10_000)
    assert log.lines[0].raw == line("red after")

    page = report_html(a_run(a_step("one")), lambda path: [line("a\0b\rc\x07")])
    assert "a␀b␍c␇" in page


def test_a_log_that_is_too_long_keeps_its_start_and_its_end_and_counts_all() -> None:
    log = Log.read((line(f"ERROR {number}") for number in range(1000)), room=5000)

    assert log.size <= 5000 + 100
    assert log.total == log.counts[Severity.ERROR] == 1000
    assert log.left_out == 1000 - len(log.head) - len(log.tail) > 0
    assert log.head[0].raw.endswith("ERROR 0")
    assert log.tail[-1].raw.endswith("ERROR 999")
    assert f"{log.left_out:,} lines are left out" in log.lines[len(log.head)].raw


def test_a_line_without_end_is_cut() -> None:
    (only,) = Log.read(["x" * (LONGEST_LINE + 5)], room=100_000).lines

    assert only.raw == "x" * LONGEST_LINE + "… (5 more characters)"


def test_all_logs_together_keep_within_the_size_of_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "CHARACTERS", 100_000)
    monkeypatch.setattr(report, "FEWEST_CHARACTERS", 1000)
    steps = [a_step(f"s{number}", "FAILED" if number == 19 else "SUCCEEDED") for number in range(20)]

    page = report_html(a_run(*steps), lambda path: [line(f"{path} {number}") for number in range(5000)])

    assert 100_000 < len(page) < 250_000
    kept = [len(re.findall(f"logs/s{number}.log ", page)) for number in range(20)]
    assert kept[19] == max(kept)
    assert min(kept) > 5


# ── the graph ────────────────────────────────────────────────────────────────────────────────────────────────────────


def steps_in_rows(after: list[list[int]]) -> list[list[int]]:
    return [[place.step for place in row if place.toward is None] for row in rows_and_paths(after)[0]]


@pytest.mark.parametrize(
    ("after", "rows"),
    [
        ([], []),
        ([[], [0], [1]], [[0], [1], [2]]),
        ([[1], [2], []], [[2], [1], [0]]),
        ([[], [0], [0], [1, 2]], [[0], [1, 2], [3]]),
        ([[], [], [0], [1]], [[0, 1], [2, 3]]),
        ([[], [], [1], [0]], [[0, 1], [3, 2]]),  # no edges that cross
        ([[1], [0]], [[0], [1]]),  # a circle, which no engine runs
        ([[0]], [[0]]),
    ],
)
def test_steps_stand_in_rows_by_what_they_wait_for(after: list[list[int]], rows: list[list[int]]) -> None:
    assert steps_in_rows(after) == rows


def test_an_edge_that_another_path_implies_is_not_drawn() -> None:
    _, paths = rows_and_paths([[], [0], [0, 1]])

    assert paths == [(Place(0), Place(1)), (Place(1), Place(2))]


def test_an_edge_over_several_rows_has_a_lane_in_each() -> None:
    rows, paths = rows_and_paths([[], [0], [1], [0], [2, 3], []])

    assert [len(row) for row in rows] == [2, 2, 2, 1]
    assert max(len(path) for path in paths) == 3


@given(st.integers(1, 12).flatmap(lambda n: st.lists(st.lists(st.integers(0, n - 1)), min_size=n, max_size=n)))
def test_any_graph_can_be_laid_out(after: list[list[int]]) -> None:
    rows, paths = rows_and_paths(after)

    assert sorted(step for row in steps_in_rows(after) for step in row) == list(range(len(after)))
    depth = {place: number for number, row in enumerate(rows) for place in row}
    for path in paths:
        assert [depth[place] for place in path] == list(range(depth[path[0]], depth[path[0]] + len(path)))


# ── in Chromium ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    try:
        with running_browser() as running:
            yield running
    except BrowserUnavailableError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error), pytrace=False)
        pytest.skip(f"NOT SHOWN, no browser: {error}")


@pytest.fixture
def browser(chromium: Browser) -> Browser:
    chromium.devtools("Emulation.setScriptExecutionDisabled", value=False)
    chromium.window(1280, 900)
    chromium.requests()
    chromium.complaints()
    return chromium


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[str], Path]:
    def save(text: str) -> Path:
        file = tmp_path / "report.html"
        file.write_text(text, encoding="utf-8")
        return file

    return save


Save = Callable[[str], Path]

ROWS = "return [...document.querySelectorAll('#step-1 .row')].map(row => row.innerText.split(/\\s+/).join(' ').trim())"
SAID = "return document.querySelector('#step-1 output').textContent"
DRAWN = "requestAnimationFrame(() => requestAnimationFrame(done))"
SETTLED = f"return new Promise(done => {DRAWN})"


def thousands_of_lines() -> Iterator[str]:
    for number in range(1, 5001):
        text = f"step {number} of 5000"
        if number % 1000 == 7:
            yield line(f"ERROR (bad) at {number}", number, "E")
        elif number % 500 == 3:
            yield line(f"WARNING {number}", number, "E")
        else:
            yield line(text, number)


def test_search_and_filter_find_the_lines(browser: Browser, saved: Save) -> None:
    browser.open(saved(report_html(a_run(a_step("one")), lambda path: thousands_of_lines())))
    assert browser.run(ROWS) == []
    browser.click("#step-1 summary")
    browser.run(SETTLED)
    assert browser.run(ROWS)[0] == "1 14:02:11.000Z step 1 of 5000"
    assert browser.run("return document.querySelector('#step-1 fieldset').innerText.replace(/\\s+/g, ' ')") == (
        "Severity Errors (5) Warnings (10) Others (4,985)"
    )

    browser.click("#step-1 input[value=info]")
    assert browser.run(SAID) == "15 of 5,000 lines"
    browser.click("#step-1 input[value=warning]")
    assert browser.run(SAID) == "5 of 5,000 lines"
    assert browser.run(ROWS)[1] == "1007 14:18:57.000Z err ERROR (bad) at 1007"

    browser.click("#step-1 input[value=warning]")
    browser.click("#step-1 input[value=info]")
    browser.type("#step-1 input[type=search]", "STEP 499")
    assert browser.run(SAID) == "11 of 5,000 lines"
    assert browser.run("return document.querySelector('#step-1 mark').textContent") == "step 499"
    browser.run("document.querySelector('#step-1 input[type=search]').value = ''")
    browser.type("#step-1 input[type=search]", "(bad) at 3")  # text, no pattern
    assert browser.run(ROWS) == ["3007 14:52:17.000Z err ERROR (bad) at 3007"]
    browser.type("#step-1 input[type=search]", "<i>")
    assert browser.run(SAID) == "none of 5,000 lines"


def test_a_found_line_can_be_seen_among_its_neighbours(browser: Browser, saved: Save) -> None:
    browser.open(saved(report_html(a_run(a_step("one")), lambda path: thousands_of_lines())))
    browser.click("#step-1 summary")
    browser.type("#step-1 input[type=search]", "at 3007")
    browser.run(SETTLED)

    browser.type("#step-1 button.number", " ")  # by keyboard
    browser.run(SETTLED)

    assert browser.run(
        "const list = document.querySelector('#step-1 .lines').getBoundingClientRect(),"
        " here = document.querySelector('#step-1 .here'), box = here.getBoundingClientRect();"
        "return [here.querySelector('.number').textContent, here.previousSibling.querySelector('.text').textContent,"
        " box.top > list.top && box.bottom < list.bottom]"
    ) == ["3007", "step 3006 of 5000", True]


def test_only_what_is_near_is_drawn(browser: Browser, saved: Save) -> None:
    browser.open(saved(report_html(a_run(a_step("one")), lambda path: thousands_of_lines())))
    count = "return document.querySelectorAll('*').length"
    assert browser.run(count) < 300
    browser.click("#step-1 summary")
    browser.run(SETTLED)
    assert browser.run(count) < 4000

    browser.run("const list = document.querySelector('#step-1 .lines'); list.scrollTop = list.scrollHeight")
    browser.run(SETTLED)
    browser.run(SETTLED)

    assert browser.run(ROWS)[-1] == "5000 15:25:30.000Z step 5000 of 5000"
    assert browser.run(count) < 6000


def test_a_failed_step_shows_the_end_of_its_log_at_once(browser: Browser, saved: Save) -> None:
    run = a_run(a_step("one", "FAILED"), state="FAILED")
    browser.open(saved(report_html(run, lambda path: [*thousands_of_lines(), line("Killed", 6000, "E")])))

    assert browser.run(
        "const list = document.querySelector('#step-1 .lines').getBoundingClientRect(),"
        " last = [...document.querySelectorAll('#step-1 .row')].at(-1), box = last.getBoundingClientRect();"
        "return [last.querySelector('.text').textContent, box.bottom <= list.bottom, scrollY]"
    ) == ["Killed", True, 0]


def test_lines_that_are_left_out_keep_their_numbers(
    browser: Browser, saved: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "FEWEST_CHARACTERS", 2000)
    monkeypatch.setattr(report, "CHARACTERS", 0)
    browser.open(saved(report_html(a_run(a_step("one")), lambda path: thousands_of_lines())))
    browser.click("#step-1 summary")
    browser.run(SETTLED)

    rows = browser.run(ROWS)

    assert rows[0].startswith("1 ")
    assert rows[-1].startswith("5000 ")
    assert len([row for row in rows if row.startswith("… 4,9")]) == 1


def test_nasty_text_does_nothing_in_a_browser(browser: Browser, saved: Save) -> None:
    browser.open(saved(nasty_page()))
    browser.run(SETTLED)

    assert browser.run("return [window.injected ?? null, document.querySelectorAll('img, script').length]") == [None, 2]
    assert browser.run("return document.querySelector('#step-1 .row .text').textContent") == NASTY
    assert browser.complaints() == []


def test_it_asks_for_nothing_but_itself(browser: Browser, saved: Save) -> None:
    file = saved(nasty_page())

    browser.open(file)
    browser.run(SETTLED)

    # What is in the browser's own first page is not the report's.
    assert [url for url in browser.requests() if not url.startswith(("chrome://", "data:"))] == [file.as_uri()]
    assert browser.run("return performance.getEntriesByType('resource').length") == 0
    assert browser.complaints() == []


LONG_NAMES = (
    "train-a-model-on-a-very-large-data-set-with-a-name-that-does-not-end-1",
    "train-a-model-on-a-very-large-data-set-with-a-name-that-does-not-end-2",
    "W" * 18,
    "W" * 200,
    "数据准备步骤的名字很长" * 3,
    "עיבוד נתונים של המודל הגדול מאוד בעולם",
    "تحضير البيانات للنموذج الكبير",
    "👩‍👩‍👧‍👦" * 9,
    "a b  c" * 20,
)

OUTSIDE = """
const inside = (inner, outer) => inner.left >= outer.left && inner.right <= outer.right
  && inner.top >= outer.top && inner.bottom <= outer.bottom;
return [...document.querySelectorAll('.box')].filter((box) => {
  const rect = box.querySelector('rect').getBoundingClientRect();
  // What is longer than its part of the box is cut there, with an ellipsis.
  const cut = (part) => part.scrollWidth <= Math.ceil(part.getBoundingClientRect().width)
    || (getComputedStyle(part).overflowX === 'hidden'
      && (part.children.length > 0 || getComputedStyle(part).textOverflow === 'ellipsis'));
  return ![...box.querySelectorAll('foreignObject, div, span, text')].every(
    (part) => inside(part.getBoundingClientRect(), rect) && (!part.matches('div, span') || cut(part)));
}).map((box) => box.textContent);
"""


@pytest.mark.parametrize("width", [390, 1280])
def test_long_names_are_cut_inside_their_boxes(browser: Browser, saved: Save, width: int) -> None:
    steps = [a_step(name, after=[LONG_NAMES[0]] if number else []) for number, name in enumerate(LONG_NAMES)]
    browser.window(width, 900, mobile=width < 600)
    browser.open(saved(report_html(a_run(*steps), reader({}))))
    browser.run(SETTLED)

    assert browser.run(OUTSIDE) == []
    titles = browser.run("return [...document.querySelectorAll('.box title')].map((title) => title.textContent)")
    assert titles == [f"{name}: succeeded · 1 min 00 s" for name in LONG_NAMES]
    # What differs at the end is told apart: that part is not cut.
    ends = browser.run(
        "return [...document.querySelectorAll('.box')].slice(0, 2).map((box) => box.querySelectorAll('.name span')[1])"
        ".map((end) => [end.textContent, end.scrollWidth <= Math.ceil(end.getBoundingClientRect().width)])"
    )
    assert ends == [["ot-end-1", True], ["ot-end-2", True]]
    assert browser.run("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [390, 1280])
def test_a_hundred_branches_can_be_read(browser: Browser, saved: Save, width: int) -> None:
    branches = [f"branch-{number}" for number in range(1, 101)]
    run = a_run(
        a_step("start"),
        *(a_step(name, "FAILED" if name == "branch-77" else "SUCCEEDED", after=["start"]) for name in branches),
        a_step("end", "SKIPPED", after=branches, started=None, ended=None),
        state="FAILED",
    )
    browser.window(width, 900, mobile=width < 600)
    browser.open(saved(report_html(run, reader({}))))
    browser.run(SETTLED)

    assert browser.run("return document.querySelectorAll('.edge').length") == 2
    assert browser.run("return document.querySelector('.graph').scrollWidth") < 1100
    sizes = "return [...document.querySelectorAll('.box foreignObject, .box div')].map((text) =>"
    assert min(browser.run(f"{sizes} parseFloat(getComputedStyle(text).fontSize))")) >= 12
    # Nothing is shrunk, and no box covers another one.
    boxes = browser.run(
        "return [...document.querySelectorAll('.box rect')].map((rect) => rect.getBoundingClientRect())"
        ".map((box) => [Math.round(box.x), Math.round(box.y), Math.round(box.width), Math.round(box.height)])"
    )
    assert {tuple(box[2:]) for box in boxes} == {(184, 52)}
    assert len({tuple(box[:2]) for box in boxes}) == 102
    # The failed one is in sight at once.
    assert browser.run(
        "const graph = document.querySelector('.graph').getBoundingClientRect();"
        "const box = document.querySelector('.box.bad rect').getBoundingClientRect();"
        "return box.left >= graph.left && box.right <= graph.right"
        " && box.top >= graph.top && box.bottom <= graph.bottom"
    )


def test_many_failures_have_few_links_in_the_header() -> None:
    page = Page(report_html(a_run(*(a_step(f"s{number}", "FAILED") for number in range(100))), reader({})))

    assert len([text for text in page.texts if text.endswith(", which failed")]) == report.FAILED_LINKS
    assert "and 92 more" in page.texts


FOCUS = "const has = document.activeElement; return [has.tagName, has.closest('article')?.id ?? '', has.value ?? '']"


def press(browser: Browser, key: str) -> None:
    """Press a key as a keyboard does, wherever the focus is."""
    code = {"/": 191, "Escape": 27, "x": 88}[key]
    text = {} if len(key) > 1 else {"text": key}
    for kind in ("keyDown", "keyUp"):
        browser.devtools("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **text)


def test_a_key_leads_to_the_search_and_another_one_out_of_it(browser: Browser, saved: Save) -> None:
    run = a_run(a_step("one"), a_step("two", "FAILED"), a_step("three"), state="FAILED")
    browser.open(saved(report_html(run, lambda path: thousands_of_lines())))
    browser.run(SETTLED)

    press(browser, "/")  # the open one
    assert browser.run(FOCUS) == ["INPUT", "step-2", ""]
    press(browser, "/")
    press(browser, "x")
    assert browser.run(FOCUS) == ["INPUT", "step-2", "/x"]
    press(browser, "Escape")
    assert browser.run(FOCUS) == ["DIV", "step-2", ""]
    assert browser.run("return document.querySelector('#step-2 input[type=search]').value") == "/x"
    press(browser, "/")
    assert browser.run(FOCUS) == ["INPUT", "step-2", "/x"]

    browser.run("document.querySelector('#step-2 details').open = false; document.activeElement.blur()")
    press(browser, "/")  # none is open: the first in sight is opened
    assert browser.run(FOCUS)[0] == "INPUT"
    assert browser.run("return document.querySelectorAll('details.log[open]').length") == 1


def test_a_page_without_logs_has_nothing_to_search(browser: Browser, saved: Save) -> None:
    browser.open(saved(report_html(a_run(a_step("one")), reader({}))))
    browser.run(SETTLED)

    press(browser, "/")

    assert browser.run(FOCUS)[0] == "BODY"
    assert browser.complaints() == []


STICKING_OUT = """
return [...document.querySelectorAll('section *, header *, article *')]
  .filter((element) => !element.closest('svg, .lines'))
  .filter((element) => element.getBoundingClientRect().right > document.documentElement.clientWidth)
  .map((element) => element.outerHTML.slice(0, 90));
"""


def wide_run() -> dict[str, Any]:
    long = "x" * 300
    branches = [a_step(f"branch-{number}-{long}", after=["start"], image=long, args=[long]) for number in range(6)]
    run = a_run(a_step("start", "FAILED", error=long), *branches, error=long, warnings=[long], from_run=long)
    run["parameters"] = {long: {"value": long, "from": long}, "s": {"secret": "s", "from": long}}
    return run


@pytest.mark.parametrize("width", [320, 390, 700, 1000, 1600])
def test_no_width_scrolls_sideways(browser: Browser, saved: Save, width: int) -> None:
    browser.window(width, 700, mobile=width < 600)
    lines = [line("y" * 500, stream="E"), *[line("ERROR " + "z" * 500), line("WARNING " + "z" * 500)] * 1000]
    browser.open(saved(report_html(wide_run(), lambda path: lines)))
    for number in range(2, 8):
        browser.run("document.querySelector(arguments[0]).open = true", f"#step-{number} details")
    browser.run(SETTLED)

    assert browser.run("return [document.documentElement.scrollWidth, innerWidth]") == [
        browser.run("return document.documentElement.clientWidth"),
        width,
    ]
    # Nothing sticks out of its card either.
    assert browser.run(STICKING_OUT) == []


CONTRASTS = """
const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
const light = (colour) => channels(colour).slice(0, 3)
  .map((value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
  .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
const behind = (element) => {
  const rect = element.closest('svg a')?.querySelector('rect');
  if (rect) return getComputedStyle(rect).fill;
  for (; element; element = element.parentElement) {
    const colour = getComputedStyle(element).backgroundColor;
    if ((channels(colour)[3] ?? 1) > 0) return colour;
  }
};
const poor = new Set();
let looked = 0;
for (const element of document.querySelectorAll('body *')) {
  const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  if (!own || !element.getClientRects().length || element.closest('script')) continue;
  const style = getComputedStyle(element);
  const pair = [element instanceof SVGElement ? style.fill : style.color, behind(element)].map(light).sort();
  const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
  looked += 1;
  if (ratio < 4.5) poor.add(`${element.tagName}.${element.className.baseVal ?? element.className} ${ratio.toFixed(2)}`);
}
return [looked, [...poor]];
"""


@pytest.mark.parametrize("dark", [False, True])
def test_text_has_the_contrast_of_wcag_aa(browser: Browser, saved: Save, dark: bool) -> None:
    steps = [a_step(f"step-{state.lower()}", state, warnings=["w"], error="e", args=["", "a"]) for state in StepState]
    run = a_run(*steps, state="FAILED", error="e", warnings=["w"], parameters={"s": {"secret": "s", "from": "f"}})
    text = report_html(run, lambda path: [line("info"), line("WARNING w"), line("ERROR e", stream="E")])
    browser.window(1280, 900, dark=dark)
    browser.open(saved(text))
    browser.run("document.querySelectorAll('details').forEach((details) => { details.open = true })")
    browser.run(SETTLED)

    looked, poor = browser.run(CONTRASTS)

    assert looked > 200
    assert poor == []


def test_without_its_script_all_but_the_search_is_there(browser: Browser, saved: Save, tmp_path: Path) -> None:
    text = report_html(
        a_run(a_step("one", "FAILED"), a_step("two")), lambda path: [line("one line"), line("ERROR other", 1, "E")]
    )
    browser.devtools("Emulation.setScriptExecutionDisabled", value=True)
    browser.open(saved(text))

    def seen(expression: str) -> Any:
        return browser.devtools("Runtime.evaluate", expression=expression, returnByValue=True)["result"]["value"]

    assert seen("document.querySelectorAll('.tools').length") == 0
    assert seen("document.querySelector('#step-1 .raw').innerText") == (
        "2026-11-23T14:02:10.000Z O one line\n2026-11-23T14:02:11.000Z E ERROR other"
    )
    assert seen("document.querySelector('#step-1 .raw').checkVisibility()") is True


def test_it_can_be_printed(browser: Browser, saved: Save) -> None:
    run = a_run(a_step("one", "FAILED"), a_step("two"))
    browser.open(saved(report_html(run, lambda path: thousands_of_lines())))
    browser.devtools("Emulation.setEmulatedMedia", media="print")
    try:
        shown = browser.run(
            "const shown = (css) => document.querySelector(css).checkVisibility();"
            "return ['#step-1 .last', '#step-1 .early', '#step-1 .lines', '#step-1 .tools', '#step-2 .raw'].map(shown)"
        )
    finally:
        browser.devtools("Emulation.setEmulatedMedia", media="")

    assert shown == [True, False, False, False, False]
