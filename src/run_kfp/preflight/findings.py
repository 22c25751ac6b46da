"""What a check finds: how bad it is, where it stands, what would have happened and when, and what to do next."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad a finding is, the worst first.

    ERROR: the run would not do what it is meant to; nothing is submitted. WARNING: it may. NOTE: worth a line.
    SKIPPED: something could not be looked at, and why.
    """

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"
    SKIPPED = "skipped"

    @property
    def rank(self) -> int:
        """0 for the worst."""
        return list(Severity).index(self)


class When(StrEnum):
    """When a mistake would have shown without a check."""

    COMPILE = "when compiling"
    SUBMIT = "at the submission"
    CREATE = "within a minute of the submission"
    RUN = "minutes or hours into the run"
    SILENT = "without a sign"


@dataclass(frozen=True)
class Code:
    """A kind of finding, under a name that stays: what `run-kfp explain` shows.

    Attributes:
        name: `RK-…`; it never changes its meaning.
        group: what a report puts together ("images", "resources", …).
        title: the mistake in a few words.
        severity: how bad it usually is.
        when: when it would have shown.
        otherwise: what would have happened, one sentence without a full stop.
        explanation: the rule behind it and how to mend it; paragraphs are apart by an empty line.
        source: where the rule or number comes from (a document, an issue thread, a probe of an SDK).
    """

    name: str
    group: str
    title: str
    severity: Severity
    when: When
    otherwise: str
    explanation: str
    source: str

    def __call__(self, place: str, message: str, hint: str = "", severity: Severity | None = None) -> Finding:
        """Make a finding of this kind.

        Args:
            place: where the value stands, as a person finds it: a key of the registry, a flag, a variable, a file.
            message: what is wrong with the value found, and the values allowed. Never a secret.
            hint: the next step; a command to paste where there is one.
            severity: when it is not the usual one.
        """
        return Finding(self, severity or self.severity, place, message, hint)


@dataclass(frozen=True)
class Finding:
    """One result of a check."""

    code: Code
    severity: Severity
    place: str
    message: str
    hint: str = ""


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings without repetitions, the worst first, and what belongs together side by side."""
    return sorted(
        dict.fromkeys(findings), key=lambda found: (found.severity.rank, found.code.group, found.code.name, found.place)
    )
