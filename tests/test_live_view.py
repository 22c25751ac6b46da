"""What a person sees on a terminal while a run goes on: a real one, in tmux, of which rows and columns are read."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from conftest import PROGRAM, Cli, Write

LOCAL = ("--no-check", "--local", "--engine", "process")

# Each step prints four long lines; the one that is named waits until a word comes through the pipe.
STEP = """
import sys
name, waits = sys.argv[1:]
for number in range(1, 5):
    text = "of a text that is longer than sixty columns, and longer than eighty " * 2
    print(f"{name} line {number} {text}", flush=True)
if waits == "True" and open("pipe").read() == "fail":
    sys.exit("it failed")
"""


class Terminal:
    """A terminal with the program in it."""

    def __init__(self, cli: Cli, columns: int, rows: int, *args: str) -> None:
        self._cli = cli
        words = " ".join(map(shlex.quote, [*PROGRAM, *args]))
        environment = {**cli.environment({}), "TERM": "xterm-256color"}
        names = " ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items())
        begin = ("new-session", "-d", "-c", str(cli.folder), "-x", str(columns), "-y", str(rows))
        self._tmux("-f", os.devnull, *begin, f"env -i {names} {words}; echo ended with $?; cat")

    def _tmux(self, *args: str) -> str:
        socket = str(self._cli.folder.parent / "tmux")
        done = subprocess.run(["tmux", "-u", "-S", socket, *args], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def screen(self, *, history: bool = False) -> list[str]:
        """Return the rows that are seen, or all since the beginning."""
        return self._tmux("capture-pane", "-p", *(["-S", "-"] if history else [])).rstrip("\n").split("\n")

    def until(self, seen: Callable[[list[str]], object]) -> list[str]:
        """Wait until the screen shows something; return its rows."""
        deadline = time.monotonic() + 30
        while not seen(rows := self.screen()):
            assert time.monotonic() < deadline, "\n".join(rows)
        return rows

    def resize(self, columns: int, rows: int) -> None:
        self._tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def press(self, key: str) -> None:
        self._tmux("send-keys", key)

    def close(self) -> None:
        with suppress(AssertionError):  # it has ended by itself
            self._tmux("kill-server")


Start = Callable[..., Terminal]


@pytest.fixture
def start(cli: Cli) -> Iterator[Start]:
    """Start the program in a terminal of so many columns and rows."""
    if shutil.which("tmux") is None:
        if os.environ.get("CI"):
            pytest.fail("tmux is not installed", pytrace=False)
        pytest.skip("NOT SHOWN: tmux is not installed")
    started: list[Terminal] = []

    def start_one(columns: int, rows: int, *args: str) -> Terminal:
        started.append(Terminal(cli, columns, rows, *args))
        return started[-1]

    yield start_one
    for one in started:
        one.close()


def registry(count: int, *waiting: int) -> str:
    words = ["[pipeline]", 'name = "chain"']
    for number in range(1, count + 1):
        entrypoint = [sys.executable, "step.py", f"work-item-{number}x", str(number in waiting)]
        words += [
            f"[containers.{number}]",
            f'name = "work-item-{number}x"',
            'image = "nobody/work"',
            f"process = {{ cwd = '.', entrypoint = {entrypoint} }}",
        ]
    return "\n".join(words)


@pytest.fixture
def thirty(folder: Path, write: Write) -> Path:
    """A chain of thirty steps of which the 28th waits; the pipe that it reads."""
    write("step.py", STEP)
    write("run-kfp.toml", registry(30, 28))
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


def begins_with(rows: list[str], word: str) -> list[str]:
    return [row for row in rows if re.match(rf"  {word}( |$)", row)]


def shows_28th(terminal: Terminal, columns: int) -> None:
    terminal.resize(columns, 24)
    # As soon as the window is drawn anew, no piece of an earlier picture is left.
    rows = terminal.until(lambda rows: len(rows) == 24 and len(rows[21]) == columns)

    assert [row for row in rows if row.startswith("chain")] == rows[:1]
    assert begins_with(rows, "✓ [0-9]+ done") == rows[1:2]
    done = int(rows[1].split()[1])
    assert [row.split()[1] for row in rows[2:] if row.startswith("  ✓")] == [
        f"work-item-{number}x" for number in range(done + 1, 28)
    ]
    assert [row.split()[:3] for row in begins_with(rows, "●")] == [["●", "work-item-28x", "RUNNING"]]
    text = "of a text that is longer than sixty columns, and longer than eighty "
    assert [row for row in rows if " line " in row] == [
        f"      work-item-28x line {number} {text}"[: columns - 1] + "…" for number in (2, 3, 4)
    ]
    assert [row.split()[1] for row in begins_with(rows, "○")] == ["work-item-29x", "work-item-30x"]


def test_what_matters_is_seen_in_every_width(start: Start, thirty: Path) -> None:
    terminal = start(200, 24, "-r", "1-30", *LOCAL)
    wide = terminal.until(lambda rows: "  ● work-item-28x  RUNNING" in "\n".join(rows) and "line 4" in "\n".join(rows))
    assert len(wide) == 24
    assert re.fullmatch(r"chain  RUNNING  0:\d\d", wide[0])
    assert [row.split(" of ")[0] for row in wide if " line " in row] == [
        f"      work-item-28x line {number}" for number in (2, 3, 4)
    ]

    shows_28th(terminal, 60)
    shows_28th(terminal, 80)

    thirty.write_text("", encoding="utf-8")
    terminal.until(lambda rows: "ended with 0" in rows)
    whole = terminal.screen(history=True)
    picture = whole[max(place for place, row in enumerate(whole) if row.startswith("chain  SUCCEEDED")) :]
    assert [row.split()[:3] for row in picture[1:31]] == [
        ["✓", f"work-item-{number}x", "SUCCEEDED"] for number in range(1, 31)
    ]
    assert picture[31].startswith("local://chain-")


def test_a_narrower_window_holds_no_pieces_of_an_earlier_picture(start: Start, thirty: Path) -> None:
    terminal = start(200, 50, "-r", "1-30", *LOCAL)
    terminal.until(lambda rows: "work-item-28x line 4" in "\n".join(rows))

    terminal.resize(60, 50)

    rows = terminal.until(lambda rows: [row for row in rows if len(row) == 60 and row.endswith("…")])
    top = next(place for place, row in enumerate(rows) if row.startswith("chain  RUNNING"))
    assert [row.split()[1] for row in rows[top + 1 :] if "line" not in row] == [
        f"work-item-{number}x" for number in range(1, 31)
    ]
    assert len(rows) == top + 1 + 30 + 3
    # Above it stands what was printed before, of which nothing is lost.
    assert [row for row in rows[:top] if row.startswith("chain") or " line " in row] == []
    assert "warning: engine process" in "\n".join(rows[:top])


def test_a_lower_window_shows_the_running_step(start: Start, thirty: Path) -> None:
    terminal = start(80, 24, "-r", "1-30", *LOCAL)
    terminal.until(lambda rows: begins_with(rows, "●") and len(rows) == 24)

    terminal.resize(80, 8)

    rows = terminal.until(lambda rows: len(rows) == 8 and begins_with(rows, "● work-item-28x"))
    assert rows[0].startswith("chain  RUNNING")
    assert begins_with(rows, "✓ [0-9]+ done")
    thirty.write_text("fail", encoding="utf-8")
    whole = "\n".join(terminal.until(lambda rows: "ended with 5" in rows))
    assert "it failed" in whole


def test_a_run_that_is_watched_no_longer_stays_as_it_was_seen(start: Start, cli: Cli, thirty: Path) -> None:
    process = cli.start("-r", "1-30", *LOCAL)
    assert process.stderr is not None
    for line in process.stderr:
        if "work-item-28x │" in line:
            break
    terminal = start(80, 24, "watch")
    terminal.until(lambda rows: begins_with(rows, "● work-item-28x") and "work-item-28x line 4" in "\n".join(rows))

    terminal.press("C-c")

    rows = terminal.until(lambda rows: "ended with 130" in rows)
    assert rows[-2:] == ["stopped waiting; the run continues", "ended with 130"]
    assert begins_with(rows, "● work-item-28x")
    thirty.write_text("", encoding="utf-8")
    process.stderr.read()
    assert process.wait(timeout=60) == 0
