"""What can go wrong, and the exit code that tells a caller what to do about it.

    RunKfpError             1    a fault of ours: report it
    ├── InputError          2    the call cannot become a plan: fix what it names
    ├── CheckFailed         3    a check found an error: nothing was submitted
    ├── BackendError        4    the backend refused or could not be reached
    ├── EngineError         4    the local engine is missing or refused
    ├── StoreError          4    the folder of a local run cannot be written: the run was stopped
    ├── RunFailed           5    the run failed: look at the step named
    ├── RunStopped          6    the run was cancelled or paused
    └── WatchTimeout        7    the watch ended, the run goes on

Exit code 130 belongs to Ctrl-C. Only `cli.py` turns these into an exit, and `terminal.py`
into words.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import ClassVar

from run_kfp.findings import Finding


class RunKfpError(Exception):
    """The root of the tree; itself an internal error."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, hint: str = "", faults: Sequence[Finding] = ()) -> None:
        """Take what, where and what next; `faults` lists the single ones where there are several."""
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.faults = tuple(faults)


class InputError(RunKfpError):
    """Invalid call: a flag, a file, a setting, a parameter or a secret is missing or invalid."""

    exit_code: ClassVar[int] = 2

    def __init__(
        self,
        message: str,
        hint: str = "",
        faults: Sequence[Finding] = (),
        *,
        code: str = "RK-CALL",
        place: str = "this call",
    ) -> None:
        """Take what a `Finding` has, or several faults under a headline."""
        super().__init__(Finding(message, hint, code, place).text, hint, faults)
        self._itself = Finding(message, hint, code, place)

    @property
    def all_faults(self) -> tuple[Finding, ...]:
        """The single faults; the error itself where it is one."""
        return self.faults or (self._itself,)

    @classmethod
    def of(cls, where: str, faults: Sequence[Finding]) -> InputError:
        """Make one error of all `faults`; a single one stands for itself.

        Args:
            where: what they have in common ("the registry run-kfp.toml"), for the headline of several.
            faults: at least one.
        """
        if len(faults) == 1:
            (fault,) = faults
            return cls(fault.message, fault.hint, code=fault.code, place=fault.place)
        return cls(f"{len(faults)} problems with {where}", faults=faults)


class CheckFailed(RunKfpError):
    """The check found an error; nothing was submitted."""

    exit_code: ClassVar[int] = 3


class Submitted(StrEnum):
    """What is known of a submission that ended in an error."""

    NO = "nothing was submitted"
    UNKNOWN = "it is not known whether the run was created"


class BackendError(RunKfpError):
    """The backend refused the request, or is unreachable."""

    exit_code: ClassVar[int] = 4

    def __init__(self, message: str, hint: str = "", submitted: Submitted = Submitted.NO) -> None:
        """Take what happened, and whether a run may exist all the same."""
        super().__init__(f"{message}; {submitted}", hint)
        self.what = message
        self.submitted = submitted


class EngineError(RunKfpError):
    """The Docker Engine is missing, unreachable, or refused the request."""

    exit_code: ClassVar[int] = 4


class StoreError(RunKfpError):
    """The folder of the local run cannot be written; the run was stopped."""

    exit_code: ClassVar[int] = 4

    @classmethod
    def of(cls, path: object, error: OSError) -> StoreError:
        """Make one of a file that cannot be written and of what the system says."""
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        first = "free space on this disk" if full else "check this folder and its permissions"
        return cls(f"cannot write {path}: {error.strerror}", f"{first}, then repeat the run")


class RunFailed(RunKfpError):
    """The run ended FAILED."""

    exit_code: ClassVar[int] = 5


class RunStopped(RunKfpError):
    """The run was canceled or paused: no step failed, but the run did not succeed."""

    exit_code: ClassVar[int] = 6


class WatchTimeout(RunKfpError):
    """Stopped waiting; the run continues."""

    exit_code: ClassVar[int] = 7


class Refusal(ValueError):
    """A value that is not taken: why, and what to write instead."""

    def __init__(self, message: str, hint: str = "") -> None:
        """Take the reason, as the end of a sentence about the value or with the value in it, and the next step."""
        super().__init__(message)
        self.hint = hint


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the known word nearest to `word`, in upper or lower case; an empty string where none is near."""
    words = {each.lower(): each for each in known}
    word = word.lower()[:_LONGEST_SHOWN]
    # Two letters that changed places are nearer than difflib takes them to be: `us-esat1` is us-east1, not us-west1.
    swapped = [each for each in words if sorted(each) == sorted(word)]
    near = swapped or difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    return words[near[0]] if near else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `did you mean 'x'?` for the known word nearest to `word`, or an empty string."""
    near = nearest(word, known)
    return f"did you mean {near!r}?" if near else ""


# Characters of a value that are enough to know it again.
_LONGEST_SHOWN = 80


def shown(value: object) -> str:
    """Return a value as it is written in TOML and JSON, for a sentence: text in quotes, shortened where it is long."""
    if isinstance(value, bool):
        return str(value).lower()
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of more than 4300 digits, and TOML reads one in hexadecimal
        return "a number of thousands of digits"
    return (
        text
        if len(text) <= _LONGEST_SHOWN + 2
        else f"{text[:_LONGEST_SHOWN]}… ({len(value if isinstance(value, str) else text):,} characters)"
    )
