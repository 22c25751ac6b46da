"""A few of the inputs that `dev.py fuzz` feeds by the thousand; and that its net catches something."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

import fuzz


@pytest.fixture(autouse=True)
def _alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name not in ("PATH", "SYSTEMROOT")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(folder))


@pytest.mark.parametrize("kind", fuzz.KINDS)
@pytest.mark.parametrize("part", range(2))
def test_whatever_comes_is_answered(kind: str, part: int) -> None:
    failures = [
        failure
        for number in range(part * 50, part * 50 + 50)
        for failure in fuzz.feed(kind, number, seed=7)
        if not failure.words.startswith("took ")  # the machine may be busy
    ]

    assert failures == []


def test_the_same_seed_makes_the_same_inputs() -> None:
    for kind in fuzz.KINDS.values():
        assert kind.text(random.Random("1")) == kind.text(random.Random("1"))
        assert kind.text(random.Random("1")) != kind.text(random.Random("2"))


def test_an_internal_error_is_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def breaks(_: list[str]) -> int:
        raise KeyError("x")

    monkeypatch.setattr(fuzz, "execute", breaks)
    monkeypatch.setattr(fuzz, "KEPT", tmp_path / "kept")

    failures = fuzz.feed("records", 1, seed=1)

    assert len(failures) == len(fuzz.KINDS["records"].calls)
    assert all("KeyError: 'x'" in failure.words for failure in failures)
    monkeypatch.setattr(fuzz, "execute", lambda _: 1)
    assert "exit code 1" in fuzz.feed("records", 1, seed=1)[0].words
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["1-records-1.txt"]
