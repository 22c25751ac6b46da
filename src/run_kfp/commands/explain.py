"""The explanation of a finding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from run_kfp.commands.check import STYLES, WIDEST, wrapped
from run_kfp.errors import InputError
from run_kfp.findings import Finding
from run_kfp.lines import Text
from run_kfp.preflight import find_rule, rules
from run_kfp.preflight.rules import Rule

if TYPE_CHECKING:
    from run_kfp.terminal import Screen


def explain(screen: Screen, word: str | None) -> None:
    """Say what a kind of finding means; without a word, list all of them.

    Raises:
        InputError: the word names none.
    """
    if word is None:
        known = rules()
        screen.data(codes=[rule_data(rule) for rule in known.values()])
        screen.show(_rule_table(list(known.values())))
        return
    found = find_rule(word)
    if isinstance(found, Finding):
        raise InputError(found.message, found.hint)
    screen.data(**rule_data(found))
    screen.show(_explanation(found, screen.width() or WIDEST))


def rule_data(rule: Rule) -> dict[str, str]:
    """Return a kind of finding as data."""
    return {
        "code": rule.name,
        "group": rule.group,
        "title": rule.title,
        "severity": rule.severity.value,
        "when": rule.when.value,
        "otherwise": rule.impact,
        "explanation": rule.explanation,
        "source": rule.source,
    }


def _explanation(rule: Rule, width: int) -> Iterator[Text]:
    mark, style = STYLES[rule.severity]
    yield Text.assemble((rule.name, "bold"), f"  {rule.title}")
    yield Text.assemble((f"{mark} {rule.severity.value}", style), f"; without the check, {rule.when.value}:")
    yield from map(Text, wrapped(rule.impact, "  ", width))
    for paragraph in rule.explanation.split("\n\n"):
        yield Text("")
        yield from map(Text, wrapped(paragraph, "", width))
    yield Text("")
    yield Text.assemble(("source: ", "dim"), rule.source)
    yield Text.assemble(("to suppress it: ", "dim"), f"--ignore {rule.name}, or in the registry")
    yield Text(f'  [check.ignore]\n  {rule.name} = "the reason"')


def _rule_table(known: Sequence[Rule]) -> Iterator[Text]:
    width = max(len(rule.name) for rule in known)
    for group in sorted({rule.group for rule in known}):
        yield Text(group, "bold")
        for rule in known:
            if rule.group == group:
                yield Text.assemble("  ", (f"{rule.name:<{width}}", STYLES[rule.severity][1]), f"  {rule.title}")
