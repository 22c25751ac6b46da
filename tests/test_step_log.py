"""The log of a step while it runs: lines, progress bars, lines that are too long."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from run_kfp.backends.local.step_log import StepLog
from run_kfp.errors import StoreError
from run_kfp.masking import Masker
from run_kfp.steplogs import LONGEST_TEXT, LogLine, last_lines
from test_localruns import NOON


class Told:
    """What a log tells, and what it wrote."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[str] = []
        self.bars: list[str] = []
        self.broken: list[Exception] = []

    def log(self) -> StepLog:
        """Begin the log anew."""
        self.lines.clear()

        def tell(lines: Sequence[LogLine]) -> None:
            self.lines += [line.text for line in lines]

        return StepLog(
            self.path,
            self.path.open("wb"),
            Masker(),
            now=lambda: NOON,
            tell=tell,
            tell_bar=self.bars.append,
            broke=self.broken.append,
        )

    def of(self, *chunks: bytes) -> list[str]:
        """Return the lines of these chunks; the file has the same."""
        with self.log() as log:
            for chunk in chunks:
                log.feed("O", chunk)
        assert [line.text for line in last_lines(self.path, 10_000)] == self.lines
        return self.lines


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path / "one.log")


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("10%\r20%\r100%\n", ["100%"]),
        ("\r 10%|#   |\r 20%|##  |\r100%|####|\ndone\n", ["100%|####|", "done"]),
        ("50%\r", ["50%"]),
        ("50%\r\r\r\n", ["50%"]),
        ("one\r\ntwo\r\n", ["one", "two"]),
        ("one\r\n\r\ntwo", ["one", "", "two"]),
        ("\r\r\n", [""]),
        ("\r", []),
        ("1\r2\r\n3\r4", ["2", "4"]),
        ("", []),
        ("\n", [""]),
    ],
)
def test_a_progress_bar_is_one_line_its_last_state(told: Told, text: str, lines: list[str]) -> None:
    assert told.of(text.encode()) == lines
    assert told.of(*(text[place : place + 1].encode() for place in range(len(text)))) == lines


@given(st.lists(st.sampled_from(["a", "bc", "\r", "\n", "\r\n", "é"]), max_size=30), st.data())
def test_lines_do_not_depend_on_how_the_bytes_come(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str], data: st.DataObject
) -> None:
    told = Told(tmp_path_factory.getbasetemp() / "drawn.log")
    content = "".join(parts).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=6)))
    whole = list(told.of(content))

    assert told.of(*(content[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(content)], strict=True))) == whole


def test_a_bar_is_told_while_it_grows_though_no_line_is_over(told: Told) -> None:
    with told.log() as log:
        for percent in range(100):
            log.feed("O", f"{percent}%\r".encode())
        assert told.lines == []
        assert told.bars[0] == "0%"
        assert len(told.bars) < 50  # not each of them: nobody reads so fast
    assert told.lines == ["99%"]


def test_a_bar_without_an_end_does_not_grow_in_memory(told: Told) -> None:
    with told.log() as log:
        for _ in range(100):
            log.feed("O", b"some state of it\r" * 1000)
        assert len(log._open["O"]) < 100
    assert told.lines == ["some state of it"]


def test_a_long_line_stays_one_and_a_longer_one_says_that_it_is_cut(told: Told) -> None:
    exact = "é" * LONGEST_TEXT
    assert told.of(exact.encode(), b"\nnext\n") == [exact, "next"]

    first, second, after = told.of(exact.encode(), b"x\nnext\n")

    assert first == f"{exact} … [cut: longer than 1 MB; the next line goes on]"
    assert (second, after) == ("x", "next")


def test_a_file_that_cannot_be_written_is_told_once(told: Told) -> None:
    with told.log() as log:
        log._file.close()
        log.feed("O", b"a\n")
    assert (told.lines, told.broken) == ([], [])

    told.path = Path("/dev/full")
    with told.log() as log:
        log.feed("O", b"a\n")
        log.feed("O", b"b\n")
    (error,) = told.broken
    assert isinstance(error, StoreError)
    assert error.message == "cannot write /dev/full: No space left on device"
