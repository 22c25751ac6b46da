"""All runs of one folder: the store `.run-kfp`, whose id tells its containers from those of others.

A folder may have thousands of runs. What is asked of the newest ones reads no more than those: which they are is seen
by the times of their files, and a store that was copied, whose files tell nothing of that, is read whole.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from run_kfp.errors import InputError, StoreError, did_you_mean
from run_kfp.files import is_folder, make_private_folder, open_regular, write_atomically
from run_kfp.localruns import FOLDER, HINT, RunFolder, RunRecord, check_store
from run_kfp.runs import JOB_ID, BackendName

Found = tuple[RunFolder, RunRecord]

# The id of a store: 64 random bits.
_STORE, _STORE_ID = "store", re.compile(r"[0-9a-f]{16}")

# Seconds between the moments at which a run is created and its first file is written: some milliseconds, more where
# the folder is on a server whose clock is another one.
_WRITTEN_WITHIN = 60.0


class LocalRuns:
    """All runs of one folder, `.run-kfp/runs` of the current one."""

    def __init__(self, folder: Path = FOLDER) -> None:
        """Take the folder `.run-kfp`; it need not be there."""
        self.path = folder / "runs"

    def folder(self, run_id: str) -> RunFolder:
        """Return the folder of a run that may be or not be there."""
        return RunFolder(self.path / run_id)

    def store(self, *, make: bool = False) -> str:
        """Return the id of this store, by which an Engine tells its containers from those of others.

        It is random: two machines, or two containers with one Engine, may see their stores under the same path.

        Args:
            make: whether to give it one where it has none; else that is an empty text.

        Raises:
            InputError: it cannot be made.
        """
        file = self.path.parent / _STORE
        check_store(self.path.parent)
        with contextlib.suppress(OSError), open_regular(file, within=self.path.parent) as found:
            if _STORE_ID.fullmatch(text := found.read(100).decode("ascii", "replace").strip()):
                return text
        if make:
            make_private_folder(self.path.parent, HINT)
            write_atomically(file, f"{secrets.token_hex(8)}\n", HINT, private=True)
            return self.store()
        return ""

    def is_dead(self, run_id: str) -> bool:
        """Say whether a run is one of this store and the program that ran it is gone."""
        return self.has(run_id) and self.folder(run_id).abandoned()

    def has(self, run_id: str) -> bool:
        """Say whether there is a folder of a run; what is no id of one has none."""
        return bool(JOB_ID.fullmatch(run_id)) and is_folder(self.folder(run_id).path)

    def folders(self) -> list[RunFolder]:
        """Return the folders of all runs, the newest first; none is read.

        Raises:
            InputError: the folder `.run-kfp` is a link or somebody else's.
        """
        return sorted(self._unsorted(), key=lambda folder: (folder.began, folder.id), reverse=True)

    def count(self) -> int:
        """Return how many folders of runs there are."""
        return len(self._unsorted())

    def _unsorted(self) -> list[RunFolder]:
        check_store(self.path.parent)
        with contextlib.suppress(OSError), os.scandir(self.path) as entries:
            return [self.folder(entry.name) for entry in entries]
        return []

    def newest(self, count: int | None = None, pipeline: str | None = None) -> tuple[list[Found], list[str]]:
        """Return the newest runs, the newest first, and a line on each folder whose record is invalid.

        Args:
            count: how many, None for all.
            pipeline: the name of a pipeline, for its runs alone.

        Raises:
            InputError: as `folders` does.
        """
        found: list[Found] = []
        words: list[str] = []
        for folder in self.folders():
            if count is not None and len(found) >= count:
                break
            record = folder.look()
            if isinstance(record, str):
                words.append(f"warning: {folder.record_path} is ignored: {record}")
            elif record is not None and pipeline in (None, record.pipeline["name"]):
                if count is not None and abs(record.created.timestamp() - folder.began) > _WRITTEN_WITHIN:
                    found, words = self.newest(None, pipeline)
                    return found[:count], words
                found.append((folder, record))
        return sorted(found, key=lambda pair: (pair[1].created, pair[1].id), reverse=True), words

    def in_hand(self) -> list[RunFolder]:
        """Return the folders of the runs that a program runs, or left without an end."""
        return [folder for folder in self._unsorted() if folder.in_hand]

    def find(self, word: str | None, notify: Callable[[str], None] = lambda _: None) -> Found:
        """Return the run that `word` names: an id, a ref `local://ID`, the beginning of one id; None for the newest.

        Args:
            word: the name.
            notify: is told of newer ones than the newest whose record is invalid.

        Raises:
            InputError: there is none, or more than one, or its record is invalid.
        """
        folders = self.folders()
        run_id = (word or "").removeprefix(f"{BackendName.LOCAL}://")
        exact = [folder for folder in folders if folder.id == run_id]
        near = self._read(exact) or self._read([each for each in folders if each.id.startswith(run_id)]) if word else []
        if word is None:
            near, words = self.newest(1)
            for line in words:
                notify(line)
        if len(near) == 1:
            return near[0]
        if not near and exact and isinstance(fault := exact[0].look(), str):
            raise InputError(f"invalid record {exact[0].record_path}: {fault}", hint="see `run-kfp runs`")
        if near:
            raise InputError(f"{word!r} matches {len(near)} runs", hint="write more characters")
        if word is None or not self._read(folders):
            raise InputError(f"no runs in {self.path}", hint="run a pipeline with --local in this folder")
        guess = did_you_mean(run_id, [folder.id for folder in folders])
        raise InputError(f"unknown run {word!r} in {self.path}", hint=guess or "see `run-kfp runs`")

    def _read(self, folders: Sequence[RunFolder]) -> list[Found]:
        return [(folder, record) for folder in folders if (record := folder.read()) is not None]

    def remove(self, run_id: str) -> None:
        """Remove the folder of a run; a link in it is removed, and what it leads to stays.

        Raises:
            StoreError: it cannot be removed.
        """
        try:
            shutil.rmtree(self.path / run_id)
        except FileNotFoundError:
            return
        except OSError as error:
            raise StoreError(
                f"cannot remove {error.filename}: {error.strerror}", "check the permissions of this folder"
            ) from None
