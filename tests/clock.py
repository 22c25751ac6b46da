"""A time that passes only where it is waited for."""

from __future__ import annotations


class FakeClock:
    """Seconds, for what takes `sleep=` and `clock=`; it does not begin at 0, where a forgotten start would show."""

    def __init__(self, now: float = 1000.0) -> None:
        """Begin at `now`."""
        self.now = now
        self.slept: list[float] = []
        self.looks = 0

    def __call__(self) -> float:
        """Tell the time, and count that somebody looked."""
        self.looks += 1
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.slept.append(seconds)
        self.now += seconds
