"""Folders for a while: what a killed program left of them, the next one removes.

A program holds a lock in each of its folders. One that can be locked by another program was left behind.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import IO

from run_kfp.errors import InputError
from run_kfp.locks import lock

# Beside the folders that users name after the program, no other one has such a name and such a file in it.
_PREFIX, _LOCK = "run-kfp-tmp-", ".run-kfp-lock"
_NAME = re.compile(rf"{_PREFIX}[a-z0-9_]{{8}}")

# Of a container whose file system is read-only this one is not.
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder in it is made as in any other one: for this user alone

# How often a folder is made anew that another program took for one left behind.
_ATTEMPTS = 3

_HINT = "set TMPDIR to a folder with free space and write permission"


class TemporaryFolder:
    """A folder for this user alone, until `remove` or the end of a `with`."""

    path: Path

    def __init__(self) -> None:
        """Make it, after those that killed programs left were removed.

        Raises:
            InputError: there is no place to make it in.
        """
        place = _place()
        _sweep(place)
        self._held: IO[bytes] | None = None
        try:
            # On a file system without locks a folder does without: nothing is swept there either.
            for attempt in range(_ATTEMPTS):
                if attempt:
                    shutil.rmtree(self.path, ignore_errors=True)
                self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
                self._held = _hold(self.path / _LOCK)
                if self._held is not None:
                    break
        except OSError as error:
            raise unusable(error) from None

    def remove(self) -> None:
        """Remove it with all that is in it."""
        if self._held is not None:
            self._held.close()
            self._held = None
        shutil.rmtree(self.path, ignore_errors=True)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self.remove()


def unusable(error: OSError) -> InputError:
    """Return what is told where temporary files cannot be written."""
    return InputError(f"cannot write temporary files: {error.strerror}", _HINT)


def sweep_temporary() -> None:
    """Remove the folders that killed programs of this user left behind."""
    with contextlib.suppress(InputError):
        _sweep(_place())


def _place() -> Path:
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        if os.access(_SHARED_MEMORY, os.W_OK | os.X_OK):
            return _SHARED_MEMORY
        raise InputError("cannot write temporary files: no folder for them", _HINT) from error


def _hold(path: Path) -> IO[bytes] | None:
    """Make the lock file of a new folder and lock it; None where another program took it for one left behind."""
    file = path.open("xb")
    if lock(file) and path.exists():
        return file
    file.close()
    return None


def _sweep(place: Path) -> None:
    try:
        found = [Path(entry) for entry in os.scandir(place) if _NAME.fullmatch(entry.name) and _is_ours(entry)]
    except OSError:
        return
    for folder in found:
        with contextlib.suppress(OSError), (folder / _LOCK).open("r+b") as file:
            if lock(file):
                shutil.rmtree(folder, ignore_errors=True)


def _is_ours(entry: os.DirEntry[str]) -> bool:
    """Say whether a folder belongs to this user: in a folder that all share, another one could have put it there."""
    try:
        return entry.is_dir(follow_symlinks=False) and (
            not hasattr(os, "geteuid") or entry.stat(follow_symlinks=False).st_uid == os.geteuid()
        )
    except OSError:
        return False
