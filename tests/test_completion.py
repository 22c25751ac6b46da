"""Completion in real shells: what a registry says is offered as words and never run."""

from __future__ import annotations

import os
import pty
import select
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from conftest import Cli, Write, killed_after_the_test

# An image is any text without white space; each of these makes a file where a shell evaluates it.
IMAGES = (
    "evil/one:$(:>PWNED)`:>PWNED`",
    "evil/one:\\$(:>PWNED)\\`:>PWNED\\`",
    "evil/one:\\\\$(:>PWNED)\\\\\\`:>PWNED\\\\\\`",
    "evil/one'$(:>PWNED)'",
    "evil/one';:>PWNED;'",
    "evil/one'\";:>PWNED;\"'",
    'evil/one";:>PWNED;"',
    "evil/one\\';:>PWNED;\\'",
    "evil/one))';:>PWNED;'((",
    "evil/one(:>PWNED);(touch,PWNED)",
    "evil/one[bold]$(:>PWNED)[/bold]",
    "evil/one:::$(:>PWNED)",
)

SHELLS = {
    "bash": ("bash --norc -i", 'eval "$(run-kfp --show-completion bash)"'),
    "zsh": ("zsh -f -i", 'autoload -U compinit; compinit -u; eval "$(run-kfp --show-completion zsh)"'),
    "fish": ("fish --no-config -i", "run-kfp --show-completion fish | source"),
}


@pytest.fixture
def registry(write: Write) -> None:
    """Images that a shell would run, of containers with names of letters."""
    tables = [
        f"[containers.{number}]\nname = \"step{chr(96 + number)}\"\nimage = '''\n{image}'''\n"
        for number, image in enumerate(IMAGES, 1)
    ]
    write("run-kfp.toml", "".join(tables))


class Typist:
    """A shell on a terminal."""

    def __init__(self, line: str, folder: Path, environment: Mapping[str, str]) -> None:
        self._keys, follower = pty.openpty()
        killed_after_the_test(
            subprocess.Popen(
                # A shell that edits lines wants to own its terminal.
                ["setsid", "--ctty", *shlex.split(line)],
                cwd=folder,
                env=environment,
                stdin=follower,
                stdout=follower,
                stderr=follower,
            )
        )
        os.close(follower)
        self.seen = ""

    def type(self, keys: str, *, until: str) -> None:
        """Type, and read until the terminal shows a text."""
        os.write(self._keys, keys.encode())
        ends = time.monotonic() + 30
        before = len(self.seen)
        while until not in self.seen[before:]:
            assert select.select([self._keys], [], [], max(0, ends - time.monotonic()))[0], self.seen
            self.seen += os.read(self._keys, 65536).decode(errors="replace")


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.usefixtures("registry")
def test_a_tab_runs_nothing(cli: Cli, folder: Path, shell: str) -> None:
    line, setup = SHELLS[shell]
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    where = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    typist = Typist(line, folder, cli.environment({"PATH": where, "TERM": "xterm", "COLUMNS": "200", "LINES": "50"}))
    # The echo of what is typed has the quotes, its output has not.
    typist.type(f"{setup}; echo it is re''ady\n", until="it is ready")

    typist.type("run-kfp -r step\t\t", until="stepd")
    typist.type("a --engine pro\t", until="process")
    # What is done after a whole line is done after all that the keys before it asked for.
    typist.type("\x15echo the e''nd\n", until="the end")

    assert {path.name for path in folder.iterdir()} - {"home"} == {"run-kfp.toml"}
    assert "command not found" not in typist.seen


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell", "pwsh"])
@pytest.mark.usefixtures("registry")
def test_what_is_offered_has_no_character_that_a_shell_reads(cli: Cli, shell: str) -> None:
    """Also for shells that are not here."""
    result = cli(
        _RUN_KFP_COMPLETE=f"complete_{shell}",
        COMP_WORDS="run-kfp -r step",
        COMP_CWORD="2",
        _TYPER_COMPLETE_ARGS="run-kfp -r step",
        _TYPER_COMPLETE_WORD_TO_COMPLETE="step",
        _TYPER_COMPLETE_FISH_ACTION="get-args",
    )

    assert result.out.count("step") == len(IMAGES)
    assert "PWNED" not in result.out if shell == "bash" else "evil/one" in result.out
    # Typer's own list for zsh is in quotes and parentheses, and escapes colons.
    own = {"zsh": "_arguments '*: :((" + '"\\\\:' + "))'"}.get(shell, "")
    assert not set(result.out) & (set("$`'\"\\;&|<>(){}[]*?!#~^%=") - set(own))


def test_a_word_that_a_shell_would_read_is_not_offered() -> None:
    from run_kfp.flags import _offer

    for word in (
        "a;b",
        "$(a)",
        "`a`",
        "-x",
        "a b",
        "a*",
        "~a",
        "=a",
        "a'",
        'a"',
        "a\\b",
        "a\nb",
        "é",
        "a|b",
        "a>b",
        "!a",
    ):
        assert _offer([(word, "")], "") == []
    assert _offer([("train-2.b_c", "team/image:v1@sha256:0a $x::y")], "tra") == [
        ("train-2.b_c", "team/image:v1@sha256:0a  x: y")
    ]
