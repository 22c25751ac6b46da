"""Removes old runs of a folder, and what runs left behind on the Engine: first as a plan that can be shown."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from run_kfp.backends.local.leftovers import Leftover, leftovers, remove
from run_kfp.errors import EngineError
from run_kfp.localruns import RunFolder, RunRecord
from run_kfp.localstore import LocalRuns


@dataclass(frozen=True)
class Pruning:
    """What there is to remove.

    Attributes:
        runs: those of this folder, with the bytes of each.
        leftovers: containers and volumes of these, of runs whose folder is gone, and of folders that are gone.
        elsewhere: how many containers and volumes other machines, or containers with this Engine, made: they stay.
        unasked: why the Engine was not asked; empty where it was.
    """

    runs: tuple[tuple[RunFolder, int], ...]
    leftovers: tuple[Leftover, ...]
    elsewhere: int = 0
    unasked: str = ""

    @property
    def size(self) -> int:
        """The bytes that the runs take."""
        return sum(size for _, size in self.runs)


def plan_pruning(runs: LocalRuns, keep: int, older_than: timedelta | None, now: datetime) -> Pruning:
    """Find what can be removed; nothing is.

    Args:
        runs: of which folder.
        keep: how many of the newest runs stay, whatever their age.
        older_than: the age that the others have at least, since their end; None for any.
        now: the present moment.

    Raises:
        InputError: the folder `.run-kfp` is a link or somebody else's.
    """
    found, _ = runs.newest()
    old = [folder for folder, record in found[keep:] if _is_old(folder, record, older_than, now)]
    left, elsewhere, unasked = _on_the_engine(runs, {folder.id for folder in old})
    return Pruning(tuple((folder, _size(folder.path)) for folder in old), tuple(left), elsewhere, unasked)


def prune(runs: LocalRuns, what: Pruning) -> None:
    """Remove it: what lies on the Engine first, so that the record of a run outlives its containers.

    Raises:
        EngineError: the Engine refuses.
        StoreError: a folder cannot be removed.
    """
    if what.leftovers:
        remove(what.leftovers)
    for folder, _ in what.runs:
        runs.remove(folder.id)


def _is_old(folder: RunFolder, record: RunRecord, older_than: timedelta | None, now: datetime) -> bool:
    """Say whether a run has ended, long enough ago. One without an end that nobody runs is ended by `mend` before."""
    if not record.state.is_final or not folder.abandoned():
        return False
    return older_than is None or (record.ended or record.created) <= now - older_than


def _on_the_engine(runs: LocalRuns, pruned: Collection[str]) -> tuple[list[Leftover], int, str]:
    """Return what can be removed there, how many of other machines there are, and why it was not asked."""
    try:
        found = leftovers()
    except EngineError as error:
        return [], 0, error.message
    store = runs.store()
    removed: list[Leftover] = []
    elsewhere = 0
    for each in found:
        if each.is_of(store):
            dead = runs.is_dead(each.run) and not each.kept if runs.has(each.run) else each.abandoned
            if each.run in pruned or dead:
                removed.append(each)
        elif each.elsewhere:
            elsewhere += 1
        elif each.orphaned:
            removed.append(each)
    return removed, elsewhere, ""


def _size(folder: Path) -> int:
    """Return the bytes of the files below a folder; a link counts for itself."""
    size = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # gone since
            size += path.lstat().st_size if path.is_symlink() or path.is_file() else 0
    return size
