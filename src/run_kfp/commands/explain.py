"""The explanation of a finding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from run_kfp.commands.check import STYLES, WIDEST, wrapped
from run_kfp.errors import Fault, InputError
from run_kfp.preflight import codes, find_code
from run_kfp.preflight.findings import Code

if TYPE_CHECKING:
    from run_kfp.terminal import Screen


def explain(screen: Screen, word: str | None) -> None:
    """Say what a kind of finding means; without a word, list all of them.

    Raises:
        InputError: the word names none.
    """
    if word is None:
        known = codes()
        screen.data(codes=[code_data(code) for code in known.values()])
        screen.show(_code_table(list(known.values())))
        return
    found = find_code(word)
    if isinstance(found, Fault):
        raise InputError(found.message, found.hint)
    screen.data(**code_data(found))
    screen.show(_explanation(found, screen.width() or WIDEST))


def code_data(code: Code) -> dict[str, str]:
    """Return a kind of finding as data."""
    return {
        "code": code.name,
        "group": code.group,
        "title": code.title,
        "severity": code.severity.value,
        "when": code.when.value,
        "otherwise": code.otherwise,
        "explanation": code.explanation,
        "source": code.source,
    }


def _explanation(code: Code, width: int) -> Iterator[Text]:
    mark, style = STYLES[code.severity]
    yield Text.assemble((code.name, "bold"), f"  {code.title}")
    yield Text.assemble((f"{mark} {code.severity.value}", style), f"; without the check, {code.when.value}:")
    yield from map(Text, wrapped(code.otherwise, "  ", width))
    for paragraph in code.explanation.split("\n\n"):
        yield Text("")
        yield from map(Text, wrapped(paragraph, "", width))
    yield Text("")
    yield Text.assemble(("source: ", "dim"), code.source)
    yield Text.assemble(("not to be told it: ", "dim"), f"--ignore {code.name}, or in the registry")
    yield Text(f'  [check.ignore]\n  {code.name} = "the reason"')


def _code_table(known: Sequence[Code]) -> Iterator[Text]:
    width = max(len(code.name) for code in known)
    for group in sorted({code.group for code in known}):
        yield Text(group, "bold")
        for code in known:
            if code.group == group:
                yield Text.assemble("  ", (f"{code.name:<{width}}", STYLES[code.severity][1]), f"  {code.title}")
