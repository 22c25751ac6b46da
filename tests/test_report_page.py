"""The page of a run, whole: but for its style, its script, the graph and the timeline, which have tests of their own.

After a change that is meant, write the page again and read the difference: `python tests/test_report_page.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from run_kfp.report import PRINTED_LINES, report_html
from test_report import a_run, a_step, at, line, reader

PAGE = Path(__file__).with_name("report_page.html")

RUN = a_run(
    a_step(
        "read",
        label="01 Read",
        started=at(0),
        ended=at(59.5),
        outputs={"rows": 3, "name": "x", "login": None},
        args=["--in", "", "<a>"],
        command=["sh"],
        resources="",
        log="",
    ),
    a_step(
        "train", "FAILED", after=["read"], exit_code=3, error="exit code 3", warnings=["is not retried"], args=["x"]
    ),
    a_step("test", "SUCCEEDED", label="", after=["read", "gone"], reused_from="local://chain-0", container="pid 12 99"),
    a_step(
        "push", "SKIPPED", after=["train", "test"], started=None, ended=None, exit_code=None, container=None, image=""
    ),
    a_step("odd", "NEW", log="logs/missing.log"),
    a_step("bad", log="logs/broken.log"),
    a_step("empty", log="logs/empty.log", started=at(100), ended=None),
    pipeline={"name": "chain", "display_name": "The <chain>"},
    state="FAILED",
    error="step train failed",
    parameters={"tag": {"value": "v1", "from": "-t"}, "n": {"value": 3}, "login": {"secret": "login", "from": ".env"}},
    warnings=["one", "two"],
    from_run="local://chain-0",
)


def a_log() -> Iterator[str]:
    yield line("start", 0)
    yield line("WARNING: <b>", 1, "E")
    for number in range(3):
        yield line(f"epoch {number}", 3 + number)
    yield line("ERROR: no data", 90, "E")
    yield line("ERROR: stop", 90.5, "E")


def page() -> str:
    logs = {"logs/train.log": list(a_log()), "logs/test.log": [line("one line")], "logs/empty.log": []}

    def read(path: str) -> Iterable[str]:
        if path == "logs/broken.log":
            raise PermissionError(13, "Permission denied")
        return reader(logs)(path)

    text = report_html(RUN, read)
    text = re.sub(r"<(style|script)>.*?</\1>", r"<\1>…</\1>", text, flags=re.DOTALL)
    text = re.sub(r"<svg.*?</svg>", "<svg>…</svg>", text, flags=re.DOTALL)
    text = re.sub(r"sha256-[A-Za-z0-9+/=]+", "sha256-…", text)
    return re.sub(
        r"(</(?:p|dl|div|h1|h2|h3|li|tr|article|section|head|header|summary|title)>|<body>|<pre[^>]*>)", r"\1\n", text
    )


def test_the_whole_page() -> None:
    assert page().splitlines() == PAGE.read_text(encoding="utf-8").splitlines()


def test_lines_that_paper_does_not_show() -> None:
    def marks(count: int) -> tuple[str, str, list[str]]:
        lines = [line(f"line {number}") for number in range(count)]
        text = report_html(a_run(a_step("one")), reader({"logs/one.log": lines}))
        early = text[text.index('<span class="early">') : text.index('</span><span class="last"')]
        note = re.search(r'class="last"( data-note="([^"]*)")?', text)
        assert note
        return str(early.count("\n")), note[2] or "", re.findall(r'class="count">([^<]*)', text)

    assert marks(PRINTED_LINES) == ("0", "", ["200 lines"])
    assert marks(PRINTED_LINES + 1) == ("1", "The last 200 of 201 lines:", ["201 lines"])
    assert marks(1) == ("0", "", ["1 line"])


def test_a_run_of_which_little_is_known() -> None:
    text = report_html({"id": "x", "steps": [{}]}, reader({}))
    body = re.sub(r"<(style|script|svg)\b.*?</\1>", "", text[text.index("<body>") :], flags=re.DOTALL)
    words = [part for part in re.split(r"<[^>]*>|\n", body) if part.strip()]

    assert words == [
        "Skip to the steps",
        "run",
        "?",
        " UNKNOWN",
        "Run",
        "x",
        "Steps",
        "1 unknown",
        "Graph",
        "Steps",
        "step",
        "?",
        " UNKNOWN",
        "Command",
        "its own",
        "Arguments",
        "its own",
        "No log.",
        "Created by run-kfp. Times are UTC (Z); the complete logs are in ",
        "logs/",
        " beside this file.",
    ]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
