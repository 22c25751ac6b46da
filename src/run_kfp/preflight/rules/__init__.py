"""The register of rules: every kind of finding, under a name that stays, as data.

Each file beside this one is a group of rules, and each table in it a rule: what `run-kfp explain` shows. Code names a
rule (`GPU_COUNT = rule("RK-GPU-COUNT")`) and calls it for a finding; one that no file has fails on import.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources

from run_kfp.findings import Finding, Severity

_KEYS = frozenset({"severity", "when", "title", "impact", "explanation", "source"})


class When(StrEnum):
    """When a mistake would have shown without a check."""

    COMPILE = "when compiling"
    SUBMIT = "at submission"
    CREATE = "within a minute of submission"
    RUN = "minutes or hours into the run"
    SILENT = "silently"


@dataclass(frozen=True)
class Rule:
    """A rule of the register.

    Attributes:
        name: `RK-…`; it never changes its meaning.
        group: what a report puts together ("images", "resources", …), the name of its file.
    """

    name: str
    group: str

    def __call__(self, place: str, message: str, hint: str = "", severity: Severity | None = None) -> Finding:
        """Make a finding of this rule; see `Finding`.

        Args:
            place: where the value stands.
            message: what is wrong.
            hint: the next step.
            severity: when it is not the usual one.
        """
        return Finding(message, hint, self.name, place, severity or self.severity)

    @property
    def severity(self) -> Severity:
        """How bad a finding of it usually is."""
        return Severity(self._table["severity"])

    @property
    def when(self) -> When:
        """When it would have shown without a check."""
        return When[self._table["when"].upper()]

    @property
    def title(self) -> str:
        """The mistake in a few words."""
        return self._table["title"]

    @property
    def impact(self) -> str:
        """What would have happened, one sentence without a full stop."""
        return self._table["impact"]

    @property
    def explanation(self) -> str:
        """The rule behind it and what to do; paragraphs are apart by an empty line."""
        return "\n\n".join(" ".join(part.split()) for part in self._table["explanation"].split("\n\n"))

    @property
    def source(self) -> str:
        """Where the rule or number comes from: a document, an issue thread, a probe of an SDK."""
        return self._table["source"]

    @property
    def _table(self) -> Mapping[str, str]:
        return _tables(self.group)[self.name]


def rule(name: str) -> Rule:
    """Return the rule of a name.

    Raises:
        KeyError: the register has none.
    """
    return rules()[name]


@functools.cache
def rules() -> Mapping[str, Rule]:
    """Return every rule by its name, in alphabetical order."""
    return register({group: _text(group) for group in _groups()})


def register(groups: Mapping[str, str]) -> Mapping[str, Rule]:
    """Return the rules of files, given by group, in alphabetical order.

    Their names are found without reading the files as TOML, which takes 25 ms and is done for a group when one of its
    rules is broken or explained.

    Raises:
        ValueError: two files have a rule of the same name.
    """
    found: dict[str, Rule] = {}
    for group, text in groups.items():
        for name in re.findall(r"(?m)^\[(.+)\]$", text):
            if name in found and found[name].group != group:
                raise ValueError(f"{name} is a rule of {found[name].group}.toml and of {group}.toml")
            found[name] = Rule(name, group)
    return dict(sorted(found.items()))


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings without repetitions, the worst first, and what belongs together side by side."""
    return sorted(
        dict.fromkeys(findings),
        key=lambda found: (found.severity.rank, rule(found.code).group, found.code, found.place),
    )


def _groups() -> list[str]:
    files = (file.name for file in resources.files(__name__).iterdir())
    return sorted(name.removesuffix(".toml") for name in files if name.endswith(".toml"))


@functools.cache
def _text(group: str) -> str:
    return (resources.files(__name__) / f"{group}.toml").read_text(encoding="utf-8")


@functools.cache
def _tables(group: str) -> Mapping[str, Mapping[str, str]]:
    return read_group(group, _text(group))


def read_group(group: str, text: str) -> Mapping[str, Mapping[str, str]]:
    """Read the rules of a file.

    Raises:
        ValueError: the text is not TOML or has a table twice; or a rule lacks a key, has an unknown one, or a value
            that is not text or not known.
    """
    tables: dict[str, dict[str, str]] = tomllib.loads(text)
    for name, table in tables.items():
        if table.keys() != _KEYS or not all(value and str(value) == value for value in table.values()):
            raise ValueError(f"{group}.toml: {name} needs {', '.join(sorted(_KEYS))}, each a text")
        if table["severity"] not in set(Severity) or table["when"].upper() not in When.__members__:
            raise ValueError(f"{group}.toml: {name} has an unknown severity or when")
    return tables
