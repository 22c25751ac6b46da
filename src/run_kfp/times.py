"""Ages, moments and counts as a person writes them on a command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from run_kfp.errors import InputError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_AGE = re.compile(r"([0-9]{1,6})([smhdw])")
_AN_AGE = "a number with s, m, h, d or w, such as 90s, 12h or 7d"


def age(flag: str, text: str) -> timedelta:
    """Read an age, as `docker` and `kubectl` write them: `90s`, `15m`, `12h`; days and weeks too.

    Raises:
        InputError: it has another form; `flag` is where it was written.
    """
    if found := _AGE.fullmatch(text):
        return timedelta(seconds=int(found[1]) * _UNITS[found[2]])
    raise InputError(f"{flag} {text!r} is not an age: {_AN_AGE}", hint=f"write {flag} 7d")


def moment(flag: str, text: str, now: datetime) -> datetime:
    """Read a moment: an age before `now`, or a time of RFC 3339, in UTC where it names no zone.

    Raises:
        InputError: it is neither; `flag` is where it was written.
    """
    if _AGE.fullmatch(text):
        return now - age(flag, text)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(
            f"{flag} {text!r} is not a time: {_AN_AGE}, or a time such as {now:%Y-%m-%dT%H:%M:%SZ}",
            hint=f"write {flag} 15m",
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def whole_number(flag: str, text: str, of: str) -> int:
    """Read a number of things, 0 or more.

    Raises:
        InputError: it is none; `flag` is where it was written, `of` what is counted.
    """
    if re.fullmatch(r"[0-9]{1,9}", text):
        return int(text)
    raise InputError(f"{flag} {text!r} is not a number of {of}", hint=f"write {flag} 20")
