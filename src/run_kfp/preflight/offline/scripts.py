"""The scripts among the words of a step: who reads them, with which options, and what a shell command calls."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from run_kfp.pipeline.placeholders import replaced
from run_kfp.preflight.context import StepSpec

SHELLS = frozenset({"sh", "bash", "dash", "ash", "zsh", "ksh"})
# Programs that take a script as a word, and the option in front of it.
_SCRIPT_OPTIONS: Mapping[str, str] = {"python": "c", "perl": "e", "node": "e", "ruby": "e", "Rscript": "e", "R": "e"}
INTERPRETERS = SHELLS | _SCRIPT_OPTIONS.keys() | {"java", "pipenv", "poetry", "uv", "conda"}

# Programs that call the one behind them, and those of their options that have a value as the next word.
_WRAPPERS: Mapping[str, frozenset[str]] = {
    "env": frozenset({"-u", "-C", "--unset", "--chdir"}),
    "exec": frozenset({"-a"}),
    "nice": frozenset({"-n"}),
    "ionice": frozenset({"-c", "-n"}),
    "timeout": frozenset({"-s", "-k", "--signal", "--kill-after"}),
    "stdbuf": frozenset({"-i", "-o", "-e"}),
    "sudo": frozenset({"-u", "-g"}),
    "xvfb-run": frozenset({"-s", "-n"}),
    "xargs": frozenset({"-I", "-n", "-P", "-L", "-d", "-a"}),
    **dict.fromkeys(("tini", "dumb-init", "busybox", "time", "command", "nohup", "setsid", "builtin"), frozenset()),
}
WRAPPERS = frozenset(_WRAPPERS)


@dataclass(frozen=True)
class Interpreter:
    """A call of an interpreter.

    Attributes:
        name: of the program, a version left out.
        options: of a shell: the names of those that are set ("errexit", "pipefail", "login", "interactive").
        script: the number of the word that is the script, None where there is none.
    """

    name: str
    options: frozenset[str] = frozenset()
    script: int | None = None


@dataclass(frozen=True)
class Script:
    """A script that stands as a word.

    Attributes:
        key: what holds it, `command` or `args`.
        text: the script.
        interpreter: who reads it.
        sure: whether it is known that it is read.
        behind: the words that follow it: $0, $1, …
    """

    key: str
    text: str
    interpreter: Interpreter
    sure: bool
    behind: tuple[str, ...] = field(default=())

    @property
    def for_shell(self) -> bool:
        """Whether a shell reads it."""
        return self.interpreter.name in SHELLS

    @property
    def shell_text(self) -> str:
        """The script with a plain word in place of each placeholder, whose quotes are none of the shell's."""
        return replaced(self.text, lambda _: "PLACEHOLDER")


def scripts_of(step: StepSpec) -> Iterator[Script]:
    """Find the words that an interpreter reads as a script: behind `sh -c`, `python -c` and their like."""
    keys = ["command"] * len(step.command) + ["args"] * len(step.args)
    words = [*step.command, *step.args]
    if not step.command and step.args and re.fullmatch(r"-[a-z]*c", step.args[0]):
        # An image whose ENTRYPOINT may be a shell; `-c` may also be an option of a program of its own.
        if len(step.args) > 1 and re.search(r"[\s;|&<>$]", replaced(step.args[1], lambda _: "")):
            shell = read_interpreter(["sh", *step.args[:2]])
            # Which shell is not known: bash knows the most.
            reader = Interpreter("bash", shell.options if shell else frozenset())
            yield Script("args", step.args[1], reader, sure=False, behind=step.args[2:])
        return
    for number, word in enumerate(words):
        if program(word) not in INTERPRETERS:
            continue
        found = read_interpreter(words[number:])
        if found and found.script is not None:
            at = number + found.script
            sure = bool(step.command) and (number == 0 or program(words[0]) in WRAPPERS)
            yield Script(keys[at], words[at], found, sure, tuple(words[at + 1 :]))


@functools.lru_cache(maxsize=1024)  # asked of every word by several rules
def program(word: str) -> str:
    """Return the name of the program that a word calls; a version behind it is dropped (python3.11)."""
    if not word or re.search(r"[\s{]", word):
        return ""
    name = PurePosixPath(word).name
    return "python" if re.fullmatch(r"python[0-9.]*", name) else name


def called(words: Sequence[str]) -> int:
    """Return the number of the word that names the program, behind those that only call it (`env A=b timeout 5 …`)."""
    at = 0
    while at < len(words) and (valued := _WRAPPERS.get(program(words[at]))) is not None:
        wrapper = program(words[at])
        at += 1
        while at < len(words) and (words[at].startswith("-") or (wrapper == "env" and _is_assignment(words[at]))):
            at += 2 if words[at] in valued else 1
        at += wrapper == "timeout"
    return at


def _is_assignment(word: str) -> bool:
    return re.match(r"[A-Za-z_]\w*=", word) is not None


# Options of shells with a value as the next word; a value of -o is an option itself.
_SHELL_VALUES = frozenset({"-O", "+O", "--rcfile", "--init-file"})
_LETTERS: Mapping[str, str] = {"e": "errexit", "l": "login", "i": "interactive", "u": "nounset"}
_VALUES: Mapping[str, frozenset[str]] = {"python": frozenset({"-W", "-X"}), "perl": frozenset({"-I"})}


def read_interpreter(words: Sequence[str]) -> Interpreter | None:
    """Read a call of an interpreter that begins with the first of the words; None where another program is called."""
    name = program(words[0]) if words else ""
    if name in SHELLS:
        return _read_shell(name, words)
    letter = _SCRIPT_OPTIONS.get(name)
    if letter is None:
        return None
    at = 1
    while at < len(words) and words[at].startswith("-"):
        if re.fullmatch(rf"-[A-Za-z]*{letter}", words[at]):
            return Interpreter(name, script=at + 1 if at + 1 < len(words) else None)
        at += 2 if words[at] in _VALUES.get(name, ()) else 1
    return Interpreter(name)


def _read_shell(name: str, words: Sequence[str]) -> Interpreter:
    options: set[str] = set()
    asked = False
    at = 1
    while at < len(words) and re.match(r"[-+]\S", words[at]) and words[at] != "--":
        word = words[at]
        at += 1
        if word in _SHELL_VALUES:
            at += 1
        elif word.startswith("--"):
            options.add(word[2:])
        else:
            change = options.add if word[0] == "-" else options.discard
            for letter in word[1:]:
                if letter == "c":
                    asked = True
                elif letter == "o" and at < len(words):
                    change(words[at])
                    at += 1
                else:
                    change(_LETTERS.get(letter, letter))
    at += at < len(words) and words[at] == "--"
    return Interpreter(name, frozenset(options), at if asked and at < len(words) else None)
