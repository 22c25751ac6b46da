"""A finding: one thing that is wrong, from whoever sees it to the screen."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

# The place of a finding of no certain place.
THIS_CALL = "this call"


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


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        message: what is wrong with the value found, and the values allowed. Never a secret.
        hint: the next step; a command to paste where there is one.
        code: the rule that it breaks, as `run-kfp explain` knows it.
        place: where the value stands, as a person finds it: a key of a file, a flag, a variable, a file.
        severity: how bad it is.
    """

    message: str
    hint: str = ""
    code: str = "RK-CALL"
    place: str = THIS_CALL
    severity: Severity = Severity.ERROR

    @property
    def text(self) -> str:
        """The message with its place in front, where the message does not name it."""
        named = self.place == THIS_CALL or self.place in self.message
        return self.message if named else f"{self.place}: {self.message}"
