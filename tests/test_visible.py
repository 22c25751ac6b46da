"""What comes from elsewhere is text on a terminal: no character of it is obeyed, on no stream, in no format."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from conftest import PROGRAM, Cli, Write
from dermaid import SETTINGS
from run_kfp.lines import Text
from run_kfp.visible import shell_word, visible, visible_line
from test_words import on_terminal

# A terminal obeys each of these; what is left of the pair is how it is shown.
OBEYED = {
    r"\x1b[2J": "\x1b[2J",
    r"\x1b]0;title\x07": "\x1b]0;title\x07",
    r"\x1b]52;c;aGkK\x1b\ ".rstrip(): "\x1b]52;c;aGkK\x1b\\",
    r"\x1bP$q\x1b\ ".rstrip(): "\x1bP$q\x1b\\",
    r"\x9b31m": "\x9b31m",
    r"\x00": "\0",
    r"\x08": "\b",
    r"\x0b": "\v",
    r"\x0c": "\f",
    r"\r": "\r",
    r"\x7f": "\x7f",
    r"\x85": "\x85",
    **{f"\\u{code:04x}": chr(code) for code in (0x61C, *range(0x200E, 0x2010), *range(0x2028, 0x202F))},
    **{f"\\u{code:04x}": chr(code) for code in range(0x2066, 0x206A)},
    r"\udcff": "\udcff",
}
HARMLESS = "tab\tand\nline, é 漢 🙂 👩\u200d🔬 م\u200cن \\x1b \u00a0 \ufeff"

# As arguments of a process and in a registry file: without NUL and lone surrogates, which neither can hold.
ALL = "".join(OBEYED.values()).replace("\0", "").replace("\udcff", "")

# What no output may hold: all of the above, but for the colours of the program's own screens.
RAW = re.compile(
    "[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]|\x1b(?!\\[[0-9;]*m)"
)


@pytest.mark.parametrize("shown", OBEYED)
def test_every_character_that_a_terminal_obeys_is_shown(shown: str) -> None:
    raw = OBEYED[shown]

    assert visible(f"a{raw}b") == f"a{shown}b"
    # Rich drops some of them: its text must not see them first.
    assert Text(f"a{raw}b").plain == Text.assemble("a", (raw, "bold"), "b").plain == f"a{shown}b"
    assert Text("a").append(raw, "bold").append("b").plain == f"a{shown}b"


def test_what_is_harmless_stays() -> None:
    assert visible(HARMLESS) == HARMLESS


@pytest.mark.parametrize(
    ("line", "plain", "colour"),
    [
        ("\x1b[1;31mred\x1b[m", "red", "\x1b[1;31mred\x1b[m\x1b[0m"),
        ("\x1b[31mred", "red", "\x1b[31mred\x1b[0m"),
        ("\x1b[31mred\x1b[2K", r"red\x1b[2K", "\x1b[31mred\\x1b[2K\x1b[0m"),
        # A colour taken out must not leave the two ends of another sequence.
        ("\x1b\x1b[31m[2J", r"\x1b[2J", "\\x1b\x1b[31m[2J\x1b[0m"),
        ("\x1b[?31m\x1b[31;>m\x1b[3 m", r"\x1b[?31m\x1b[31;>m\x1b[3 m", r"\x1b[?31m\x1b[31;>m\x1b[3 m"),
        (" 10 %\r 50 %\r100 %\r", "100 %", "100 %"),
        ("\x1b[32m 10 %\r100 %", "100 %", "\x1b[32m100 %\x1b[0m"),
        ("plain", "plain", "plain"),
        ("", "", ""),
    ],
)
def test_of_a_log_plain_colours_and_the_last_state_of_a_bar_stay(line: str, plain: str, colour: str) -> None:
    assert visible_line(line, colour=False) == plain
    assert visible_line(line, colour=True) == colour


@pytest.mark.parametrize(
    "word", ["plain/image:v1", "", "a b", "a'b", 'a"b', "$(a)", "`a`", "a;b", "-x", "~", "*", *OBEYED.values()]
)
@pytest.mark.parametrize("end", ["", "\n", "\t'\\", "é"])
def test_a_word_of_a_command_is_one_word_and_one_line(word: str, end: str) -> None:
    text = f"{word}{end}".replace("\0", "").replace("\udcff", "").replace("\x85", "").replace("\x9b", "")

    written = shell_word(text)

    assert visible(written) == written
    assert "\n" not in written
    read = subprocess.run(
        ["bash", "-c", f"printf %s/ {written}"], capture_output=True, env={"LC_ALL": "C.UTF-8"}, check=True
    )
    assert read.stdout.decode() == f"{text}/"


# ── the whole program ────────────────────────────────────────────────────────────────────────────────────────────────

STEP = """
import sys
sys.stdout.write("::warning::\\x1b[32mgreen\\x1b[0m " + {text} + "\\n")
sys.exit({text})
"""


@pytest.fixture
def hostile(cli: Cli, write: Write) -> Cli:
    """A registry that has the characters wherever its reader lets them, and a step that prints them."""
    # Without "\r", behind which a log keeps the later state of a line alone.
    write("step.py", STEP.format(text=ascii(ALL.replace("\r", ""))))
    text = json.dumps(ALL).replace("\x7f", "\\u007f")
    write(
        "run-kfp.toml",
        f"""
[pipeline]
name = "chain"
display_name = {text}
[containers.1]
name = "first"
display_name = {text}
description = {text}
image = "nobody/first"
args = [{text}, {{ secret = "key" }}]
env = {{ NAME = {text} }}
process = {{ entrypoint = [{json.dumps(sys.executable)}, "step.py"] }}
[secrets.key]
env = "KEY"
description = {text}
""",
    )
    return Cli(cli.folder, {**SETTINGS, "KEY": "a-key-of-the-test"})


CALLS = [
    ("list",),
    ("check", "-r", "1", "--offline"),
    ("check", "-f", f"no{ALL}file.yaml", "--offline"),
    ("-r", "1", "--dry-run"),
    ("-r", "1", "--local", "--engine", "process", "--dry-run"),
    ("-r", "1", "--local", "--engine", "process"),
    ("-r", f"1{ALL}", "--compile-only"),
    ("-r", "1", "-p", f"a{ALL}=b", "--compile-only"),
    ("-r", "1", "-o", f"nowhere{ALL}/x", "--compile-only"),
    (f"list{ALL}",),
    (f"--li{ALL}",),
    ("explain", f"RK{ALL}"),
    ("machines", "--region", f"us{ALL}"),
    ("machines", "--accelerator", f"us{ALL}"),
    ("watch", f"x{ALL}"),
    ("cancel", f"local://x{ALL}"),
    ("logs", f"x{ALL}"),
    ("init", f"new{ALL}"),
    ("list", "--registry", f"x{ALL}.toml"),
]


# They repeat nothing of it here.
SILENT = ("check", "explain", "watch", "cancel", "logs")


@pytest.mark.parametrize("args", CALLS, ids=lambda args: visible(" ".join(args))[:40])
def test_no_command_hands_a_terminal_more_than_text(hostile: Cli, args: tuple[str, ...]) -> None:
    result = hostile(*args)

    assert RAW.findall(result.out) == []
    assert RAW.findall(result.err) == []
    assert "\x1b" not in result.out + result.err  # there is no terminal
    _, seen = on_terminal(hostile, *args)
    assert RAW.findall(re.sub(r"\r\n|\r?\x1b\[(?:\?25[lh]|[0-9]?[KA])|\r", "", seen)) == []
    if args[0] not in SILENT:
        assert r"\x9b31m" in seen


def test_the_logs_of_a_run(hostile: Cli, folder: Path) -> None:
    assert hostile("-r", "1", "--local", "--engine", "process").code == 5

    for args in (("logs",), ("logs", "first"), ("runs",), ("watch",)):
        result = hostile(*args)
        assert RAW.findall(result.out + result.err) == []
        assert "\x1b" not in result.out + result.err
    assert r"::warning::green \x1b[2J\x1b]0;title\x07" in hostile("logs", "first").out
    _, seen = on_terminal(hostile, "logs", "first")
    assert "\x1b[32mgreen" in seen
    assert RAW.findall(seen.replace("\r\n", "")) == []
    _, seen = on_terminal(hostile, "logs", "first", NO_COLOR="1")
    assert "\x1b" not in seen
    # The file has what the container wrote.
    (log,) = (folder / ".run-kfp").rglob("first.log")
    assert "\x1b[2J" in log.read_text(encoding="utf-8")


def test_what_the_code_of_a_user_prints(cli: Cli, write: Write) -> None:
    write(
        "own.py",
        f"import os, sys\nprint({ALL!a}, os.environ['KEY'])\n"
        f"sys.stdout.buffer.write({(ALL + chr(10)).encode()!r})\nsys.stderr.write({ALL!a})\n"
        f"def make(): raise OSError({ALL!a})\n",
    )
    write("run-kfp.toml", '[containers.1]\nname = "one"\nfactory = "own:make"\nargs = []\n[secrets.key]\nenv = "KEY"')

    result = cli("-r", "1", "--compile-only", KEY="a-key-of-the-test")

    assert result.code == 2
    assert result.out == ""
    assert RAW.findall(result.err) == []
    assert result.err.count(r"\x9b31m") == 4
    assert "a-key-of-the-test" not in result.err


@pytest.mark.parametrize("args", [("list",), ("list", "--json"), ("list", "--help"), ("--help",), ("--version",)])
def test_a_stdout_that_was_closed_is_an_error(cli: Cli, args: tuple[str, ...]) -> None:
    line = f"{shlex.join([*PROGRAM, *args])} >&-"

    ended = subprocess.run(
        ["/bin/sh", "-c", line], cwd=cli.folder, env=cli.environment({}), stderr=subprocess.PIPE, text=True, check=False
    )

    assert (ended.returncode, ended.stderr) == (1, "error: the result could not be written: it is closed\n")


def test_a_compiled_file_is_ascii(cli: Cli, write: Write) -> None:
    """It is printed as it is: the bytes of a file are those of stdout."""
    write("run-kfp.toml", f'[containers.1]\nname = "one"\nimage = "nobody/one"\nargs = ["a{ALL[-1]}b"]\n')

    assert cli("-r", "1", "--compile-only", "-o", "-").out.isascii()


def test_a_hint_quotes_what_comes_from_elsewhere(cli: Cli, write: Write) -> None:
    assert "next: cd 'a;b $(c)'\n" in cli("init", "a;b $(c)").err
    image = "evil.example/a$(b)`c`;d'e"
    write("run-kfp.toml", f'[containers.1]\nname = "one"\nimage = "{image}"\nenv = {{ A = {{ param = "tag" }} }}\n')

    refused = cli("-r", "1", "--compile-only").err

    assert f"docker inspect -f '{{{{json .Config.Entrypoint}}}}' {shlex.quote(image)}`" in refused


@pytest.mark.parametrize("form", ["json", "github", "sarif", "junit"])
@pytest.mark.parametrize(
    "name", [f"no{ALL}file.yaml", "no\n::error::file\r\n##[error].yaml", "no%0A::error::file.yaml"]
)
def test_a_report_for_another_program_holds_text(cli: Cli, form: str, name: str) -> None:
    result = cli("check", "-f", name, "--offline", "--format", form)

    assert result.code in (2, 3)
    assert RAW.findall(result.out + result.err) == []
    assert "\x1b" not in result.out + result.err
    if form == "github":
        # One command a finding, whatever a name holds; what is in it is not read as another.
        commands = [line for line in result.out.splitlines() if re.match(r"\s*(::|##\[)", line)]
        assert all(re.match(r"::(error|warning|notice) [a-z]+=", line) for line in commands)
    elif form == "junit":
        ElementTree.fromstring(result.out)
    else:
        json.loads(result.out)
