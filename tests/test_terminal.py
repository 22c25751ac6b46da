"""What is printed, and where, without a process: every format, both streams, with a terminal and without one."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from run_kfp.errors import InputError, RunKfpError
from run_kfp.findings import Finding
from run_kfp.lines import Space, Text
from run_kfp.terminal import Format, Screen, silence

KEY = "a-key-of-the-test"
RED = "\x1b[31m"


class Stream(io.TextIOWrapper):
    """A standard stream, of a terminal or not."""

    def __init__(self, *, terminal: bool = False) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", newline="")
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal

    @property
    def text(self) -> str:
        self.flush()
        bytes_: io.BytesIO = self.buffer  # type: ignore[assignment]  # it is what `__init__` took
        return bytes_.getvalue().decode()


class Full(Stream):
    """One on a disk that is full."""

    def write(self, text: str, /) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


class Left(Stream):
    """A pipe whose reader has gone."""

    def write(self, text: str, /) -> int:
        raise BrokenPipeError


@pytest.fixture(autouse=True)
def _plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "70")


class Shown:
    """A screen on two streams."""

    def __init__(self, patch: pytest.MonkeyPatch, out: Stream, err: Stream) -> None:
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        self.screen, self._out, self._err = Screen(), out, err
        self.screen.masker.add(KEY)

    @property
    def out(self) -> str:
        return self._out.text

    @property
    def err(self) -> str:
        return self._err.text


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch) -> Shown:
    return Shown(monkeypatch, Stream(), Stream())


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Shown:
    return Shown(monkeypatch, Stream(terminal=True), Stream(terminal=True))


# ── formats ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("argv", "form"),
    [
        ([], Format.TEXT),
        (["check", "--json"], Format.JSON),
        (["check", "--format", "sarif"], Format.SARIF),
        (["check", "--format=junit", "--json"], Format.JUNIT),
        (["--format", "github", "--format", "text"], Format.TEXT),
        (["--format", "nothing"], Format.TEXT),
        (["--json", "--format", "nothing"], Format.JSON),
        (["--json=x"], Format.TEXT),
        (["--format"], Format.TEXT),
        (["sarif"], Format.TEXT),
    ],
)
def test_the_format_of_a_call_that_cannot_be_parsed(argv: list[str], form: Format) -> None:
    assert Format.asked_for(argv) is form


def tell_everything(screen: Screen) -> int:
    """One result, said in each of the ways."""
    screen.say("words", Text("more"))
    screen.out(f"a result with {KEY}")
    screen.show([Text("for a person")])
    screen.raw("raw\n")
    screen.progress("on the way")
    screen.data(a=1)
    screen.data(b=KEY)
    screen.event("moved", to=KEY)
    screen.events([{"event": "x"}, {"event": "y"}])
    screen.logs([("one: ", "line"), ("one: ", "\x1b[31mred"), ("two: ", "")])
    return screen.finish(3)


def test_text_is_for_a_person(piped: Shown) -> None:
    assert tell_everything(piped.screen) == 3

    assert piped.out == "a result with ***\nfor a person\nraw\none: line\none: red\ntwo: \n"
    assert piped.err == "words\nmore\non the way\n"
    assert not piped.screen.takes_data


def test_json_is_events_and_one_object_at_the_end(piped: Shown) -> None:
    piped.screen.use(Format.JSON)

    assert tell_everything(piped.screen) == 3

    assert [json.loads(line) for line in piped.out.splitlines()] == [
        {"event": "moved", "to": "***"},
        {"event": "x"},
        {"event": "y"},
        {"event": "end", "a": 1, "b": "***"},
    ]
    assert piped.err == "words\nmore\n"
    assert piped.screen.takes_data


def test_json_without_events_is_one_object_that_people_read(piped: Shown) -> None:
    piped.screen.use(Format.JSON)
    piped.screen.data(a={"é\x7f": [1]})

    assert piped.screen.finish(0) == 0

    assert piped.out == '{\n  "a": {\n    "\\u00e9\\u007f": [\n      1\n    ]\n  }\n}\n'


@pytest.mark.parametrize("form", list(Format))
def test_nothing_is_printed_of_no_result(piped: Shown, form: Format) -> None:
    piped.screen.use(form)

    assert piped.screen.finish(0) == 0
    assert (piped.out, piped.err) == ("", "")


@pytest.mark.parametrize(("form", "begins"), [("github", "::error "), ("sarif", "{"), ("junit", "<?xml")])
def test_a_report_is_the_data_alone(piped: Shown, form: str, begins: str) -> None:
    piped.screen.use(Format(form))
    piped.screen.data(error={"message": f"wrong {KEY}", "hint": "", "faults": []})
    piped.screen.event("moved")
    piped.screen.out("a result")
    piped.screen.show([Text("for a person")])

    piped.screen.finish(2)

    assert piped.out.startswith(begins)
    assert "wrong ***" in piped.out
    assert "a result" not in piped.out
    assert "for a person" not in piped.out
    assert "moved" not in piped.out
    assert piped.err == ""
    assert piped.screen.takes_data


def test_a_help_screen_is_printed_in_every_format(piped: Shown) -> None:
    piped.screen.use(Format.JSON)
    piped.screen.page(["one", Text("two", "bold"), f"{'long ' * 50}{KEY}"])

    assert piped.out == f"one\ntwo\n{'long ' * 50}***\n"


def test_an_error_has_its_hint_its_data_and_its_code(piped: Shown) -> None:
    piped.screen.use(Format.JSON)
    error = InputError.of("this call", [Finding(f"bad {KEY}", "do this"), Finding("worse", code="RK-FILE", place="f")])

    assert piped.screen.finish(piped.screen.tell(error)) == 2

    data = json.loads(piped.out)["error"]
    assert (data["message"], [fault["message"] for fault in data["faults"]]) == (
        "2 problems with this call",
        ["bad ***", "f: worse"],
    )
    assert piped.err.splitlines()[0] == "error: 2 problems with this call"
    assert "Traceback" not in piped.err


def test_debug_shows_the_traceback(piped: Shown) -> None:
    piped.screen.debug = True
    codes: list[int] = []
    try:
        raise RunKfpError(f"broken {KEY}")
    except RunKfpError as error:
        codes.append(piped.screen.tell(error))

    assert codes == [1]
    assert piped.err.startswith("Traceback (most recent call last):\n")
    assert "RunKfpError: broken ***\nerror: broken ***\n" in piped.err
    assert KEY not in piped.err


# ── terminals ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_colors_are_for_a_terminal(seen: Shown) -> None:
    seen.screen.page([Text("red", "red"), Text(f"red {KEY}", "red")])
    seen.screen.logs([("a\x1b[2J ", f"{RED}x\x1b[2J")])
    seen.screen.logs([("b ", f"{RED}y")], stderr=True)
    seen.screen.logs([])

    # A line that holds a secret loses its styles.
    assert seen.out == f"{RED}red\x1b[0m\nred ***\na\\x1b[2J {RED}x\\x1b[2J\x1b[0m\n"
    assert seen.err == f"b {RED}y\x1b[0m\n"
    assert (seen.screen.width(), seen.screen.width(stderr=True)) == (70, 70)


def test_without_a_terminal_there_are_neither_colors_nor_a_width(piped: Shown) -> None:
    piped.screen.page([Text("red", "red")])
    piped.screen.logs([("a ", f"{RED}x")])

    assert piped.out == "red\na x\n"
    assert (piped.screen.width(), piped.screen.width(stderr=True)) == (None, None)


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_terminal_that_shows_no_color_gets_none(
    monkeypatch: pytest.MonkeyPatch, seen: Shown, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    seen.screen.logs([("a ", f"{RED}x")])
    with seen.screen.guarded():
        sys.stdout.write(f"{RED}y\n")

    assert seen.out == "a x\n\\x1b[31my\n"


def test_each_stream_is_looked_at_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Shown(monkeypatch, Stream(), Stream(terminal=True))

    assert (shown.screen.width(), shown.screen.width(stderr=True)) == (None, 70)
    shown.screen.logs([("", f"{RED}x")])
    shown.screen.logs([("", f"{RED}x")], stderr=True)
    assert (shown.out, shown.err) == ("x\n", f"{RED}x\x1b[0m\n")


def test_the_live_view_draws_what_is_given_last(seen: Shown) -> None:
    def draw(words: str) -> Any:
        return lambda now, space: [Text(f"{words} {now.tzinfo is UTC}"), Text(KEY)]

    with seen.screen.live() as show:
        assert show is not None
        show(draw("first"))
        show(draw("second"))

    assert seen.out == ""
    assert seen.err.index("first True") < seen.err.rindex("second True")
    assert "***" in seen.err
    assert KEY not in seen.err


@pytest.mark.parametrize(
    ("terminal", "term", "form", "events", "live"),
    [
        (True, "xterm", Format.TEXT, False, True),
        (True, "xterm", Format.TEXT, True, True),
        (True, "xterm", Format.JSON, False, True),
        (True, "xterm", Format.JSON, True, False),
        (True, "xterm", Format.SARIF, True, True),
        (True, "dumb", Format.TEXT, False, False),
        (False, "xterm", Format.TEXT, False, False),
    ],
)
def test_where_there_is_a_live_view(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, term: str, form: Format, events: bool, live: bool
) -> None:
    monkeypatch.setenv("TERM", term)
    shown = Shown(monkeypatch, Stream(), Stream(terminal=terminal))
    shown.screen.use(form)

    with shown.screen.live(events=events) as show:
        assert (show is not None) is live


# ── what other code prints ──────────────────────────────────────────────────────────────────────────────────────────


def test_what_other_code_prints_is_masked_and_visible(piped: Shown) -> None:
    out, err = sys.stdout, sys.stderr
    with piped.screen.guarded():
        sys.stdout.write(f"out {KEY} \x1b[31mred\x1b[2J")
        sys.stdout.buffer.write(b"\xc3")
        sys.stdout.buffer.write("é".encode()[1:])
        sys.stderr.write(f"err {KEY}\n")
        assert sys.stdout.writable()
        assert not sys.stdout.isatty()
        assert sys.stdout.write("four") == 4
        assert sys.stdout.buffer.write(b"five5") == 5

    assert (sys.stdout, sys.stderr) == (out, err)
    assert piped.out == r"out *** \x1b[31mred\x1b[2J" + "éfourfive5"
    assert piped.err == "err ***\n"


def test_on_a_terminal_its_colors_stay(seen: Shown) -> None:
    with seen.screen.guarded():
        sys.stdout.write(f"{RED}red\x1b[2J\n")
        assert sys.stdout.isatty()
        sys.stdout.write("plain\x9b\n")

    assert seen.out == f"{RED}red\\x1b[2J\nplain\\x9b\n"


def test_what_stands_for_a_stream_has_its_number(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "out").open("w", encoding="utf-8") as file:
        monkeypatch.setattr(sys, "stdout", file)
        with Screen().guarded():
            assert sys.stdout.fileno() == file.fileno()


# ── streams that fail ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def no_silence(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Streams of these tests have no number; who is silenced is kept."""
    silenced: list[Any] = []
    monkeypatch.setattr("run_kfp.terminal.silence", silenced.append)
    return silenced


@pytest.mark.parametrize(("code", "ends"), [(0, 1), (3, 3)])
def test_a_result_that_cannot_be_written_is_told(
    monkeypatch: pytest.MonkeyPatch, no_silence: list[Any], code: int, ends: int
) -> None:
    out = Full()
    shown = Shown(monkeypatch, out, Stream())
    shown.screen.out("a result")

    assert shown.screen.finish(code) == ends
    assert shown.err == "error: the result could not be written: No space left on device\n"
    assert no_silence == [out]


def test_a_reader_that_has_enough_is_no_fault(monkeypatch: pytest.MonkeyPatch, no_silence: list[Any]) -> None:
    out = Left()
    shown = Shown(monkeypatch, out, Stream())
    shown.screen.out("a result")
    shown.screen.page(["more"])

    assert shown.screen.finish(0) == 0
    assert shown.err == ""
    assert set(no_silence) == {out}


def test_words_that_cannot_be_written_are_no_fault(monkeypatch: pytest.MonkeyPatch, no_silence: list[Any]) -> None:
    err = Full()
    shown = Shown(monkeypatch, Stream(), err)
    shown.screen.say("words")
    shown.screen.out("a result")

    assert shown.screen.finish(0) == 0
    assert shown.out == "a result\n"
    assert no_silence == [err]


def test_a_stream_that_was_closed_before_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    err = Stream()
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", err)
    screen = Screen()
    screen.out("a result")

    assert screen.finish(0) == 1
    assert err.text == "error: the result could not be written: it is closed\n"


def test_a_silenced_stream_leads_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with path.open("w", encoding="utf-8") as file:
        file.write("before")
        file.flush()
        silence(file)
        file.write("after")
    assert path.read_text(encoding="utf-8") == "before"
    silence(Stream())  # it has no number, and that is no error


# ── questions ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("answer", "agreed"),
    [("y\n", True), ("YES\n", True), (" y \n", True), ("n\n", False), ("\n", False), ("", False), ("yess\n", False)],
)
def test_only_yes_is_a_yes(monkeypatch: pytest.MonkeyPatch, seen: Shown, answer: str, agreed: bool) -> None:
    asked = Stream(terminal=True)
    asked.write(answer)
    asked.seek(0)
    monkeypatch.setattr(sys, "stdin", asked)
    monkeypatch.setattr(sys, "stderr", Stream(terminal=True))

    assert seen.screen.agree("Agree?") is agreed
    assert (seen.out, seen.err) == ("", "Agree? [y/N]\n")


@pytest.mark.parametrize(("stdin", "stderr"), [(False, True), (True, False), (None, True), (True, None)])
def test_nobody_is_asked_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch, seen: Shown, stdin: bool | None, stderr: bool | None
) -> None:
    streams = [None if terminal is None else Stream(terminal=terminal) for terminal in (stdin, stderr)]
    monkeypatch.setattr(sys, "stdin", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])

    with pytest.raises(InputError, match="your consent is needed") as error:
        seen.screen.agree("Agree?")
    assert error.value.hint == "pass --yes to agree to what is shown"


def test_a_stuck_stream_does_not_hold_the_end(monkeypatch: pytest.MonkeyPatch, piped: Shown) -> None:
    ended: list[int] = []

    def exit_(code: int) -> None:
        ended.append(code)
        raise SystemExit

    monkeypatch.setattr(os, "_exit", exit_)
    with pytest.raises(SystemExit):
        piped.screen.leave(5)
    assert ended == [5]


def test_now_is_the_time_of_a_draw(seen: Shown) -> None:
    times: list[datetime] = []

    def draw(now: datetime, space: Space) -> list[Text]:
        times.append(now)
        return []

    before = datetime.now(UTC)
    with seen.screen.live() as show:
        assert show is not None
        show(draw)
    assert times
    assert times[0] >= before


def test_what_other_code_begins_waits_for_the_end_of_its_line(seen: Shown) -> None:
    with seen.screen.guarded(), seen.screen.live() as show:
        assert show is not None
        sys.stdout.write("one\ntw")
        assert seen.out == "one\n"
        sys.stdout.write("o\nthree")
        assert seen.out == "one\ntwo\n"

    assert seen.out == "one\ntwo\nthree\n"
    with seen.screen.guarded():
        sys.stdout.write("four")
    assert seen.out == "one\ntwo\nthree\nfour"
