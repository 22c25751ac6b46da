"""Text files: read with words for what can go wrong, written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import select
import stat
import tempfile
from pathlib import Path
from typing import IO

from run_kfp.errors import InputError
from run_kfp.locks import lock

# No file that this program reads is larger; /dev/zero has no end.
LARGEST_FILE = 64 * 2**20

# How often a temporary file is made anew that another program took for one that was left.
_ATTEMPTS = 3

# Seconds to wait at a pipe: for somebody to open it for writing, and for whoever did to write on. The second has to
# suffice for `-f <(kfp dsl compile …)`.
_FIRST_WAIT = 2.0
_NEXT_WAIT = 60.0


def read_text(path: Path, what: str, hint: str = "") -> str | None:
    """Return the text of a file in UTF-8; a byte order mark is dropped.

    Args:
        path: the file.
        what: what it is to the user, for the words of an error ("the registry run-kfp.toml").
        hint: what to do when invalid line.

    Returns:
        None when there is no such file.

    Raises:
        InputError: invalid line, or is not text in UTF-8.
    """
    try:
        content = _read_bytes(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except IsADirectoryError:
        raise _unreadable(f"cannot read {what}: it is a folder", "pass a file", path) from None
    except TimeoutError as error:
        raise _unreadable(f"cannot read {what}: {error}", hint, path) from None
    except ValueError:  # a NUL in the name
        raise _unreadable(f"cannot read {what}: invalid file name", hint, path) from None
    except OSError as error:
        raise _unreadable(f"cannot read {what}: {error.strerror}", hint or "check its permissions", path) from None
    if len(content) > LARGEST_FILE:
        raise _unreadable(f"cannot read {what}: it is larger than {LARGEST_FILE // 2**20} MB", hint, path)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _unreadable(f"{what} is not text in UTF-8", "save it as UTF-8", path) from None


def _read_bytes(path: Path) -> bytes:
    """Return the content of a file, of one that is too large `LARGEST_FILE` bytes and one more.

    Raises:
        TimeoutError: it is a pipe, and nobody writes to it.
        OSError: invalid line.
    """
    if path.is_dir():  # opening one is another error on each system
        raise IsADirectoryError
    # Without O_NONBLOCK, opening a pipe waits until somebody writes to it.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags), "rb") as file:
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode) or not hasattr(select, "poll"):
            return file.read(LARGEST_FILE + 1)
        return _read_stream(file.fileno())


def open_regular(path: Path, flags: int = os.O_RDONLY, *, within: Path) -> IO[bytes]:
    """Open a regular file that is where its path says: no link, pipe, socket or device, and no link on the way to it.

    Args:
        path: the file, below `within`.
        flags: as of `os.open`; with O_CREAT the file is made for its owner alone.
        within: a folder that is trusted, links and all.

    Raises:
        FileNotFoundError: there is no such file.
        PermissionError: it is something else, or a link leads out of the folder; `strerror` says what.
        OSError: it cannot be opened.
    """
    folder = Path(os.path.realpath(within))
    inside = path.parent.relative_to(within) if path.parent.is_relative_to(within) else None
    if inside is None or ".." in inside.parts or Path(os.path.realpath(path.parent)) != folder / inside:
        raise PermissionError(errno.EACCES, "a link leads out of its folder")
    if path.is_symlink():
        raise PermissionError(errno.EACCES, "it is a link")
    # Without O_NONBLOCK, opening a pipe waits for its other end.
    more = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags | more, 0o600)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.EISDIR):  # a socket, or a pipe that nobody reads; a folder
            raise PermissionError(errno.EACCES, "it is not a regular file") from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise PermissionError(errno.EACCES, "it is not a regular file")
    mode = {os.O_RDONLY: "rb", os.O_WRONLY: "wb", os.O_RDWR: "r+b"}[flags & (os.O_RDONLY | os.O_WRONLY | os.O_RDWR)]
    return os.fdopen(descriptor, "ab" if flags & os.O_APPEND else mode)


def _read_stream(descriptor: int) -> bytes:
    """Read what is no regular file (a pipe, a terminal, a device) to its end, as `_read_bytes` does."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    pieces: list[bytes] = []
    size, wait = 0, _FIRST_WAIT
    while size <= LARGEST_FILE:
        ready = poll.poll(wait * 1000)
        try:
            piece = os.read(descriptor, 2**20)
        except BlockingIOError:  # somebody has it open for writing
            if not ready and wait == _NEXT_WAIT:
                raise TimeoutError(f"no data on this pipe for {wait:g} s") from None
            wait = _NEXT_WAIT
            continue
        if not piece:
            if not ready:
                raise TimeoutError("it is a pipe without a writer")
            break
        pieces.append(piece)
        size += len(piece)
        wait = _NEXT_WAIT
    return b"".join(pieces)


def _unreadable(message: str, hint: str, path: Path) -> InputError:
    return InputError(message, hint, code="RK-FILE", place=str(from_here(path)))


def is_file(path: Path) -> bool:
    """Whether `path` is a file; a name that no file can have is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long, or a NUL in it
        return False


def is_folder(path: Path) -> bool:
    """Whether `path` is a folder; a name that no folder can have is none."""
    try:
        return path.is_dir()
    except (OSError, ValueError):  # too long, or a NUL in it
        return False


def readable_by_others(path: Path) -> bool:
    """Say whether users other than its owner can read a file, and its mode can be changed.

    On Windows, and on a mount that is read-only, as a container has its secrets, a mode says nothing that could be
    changed.
    """
    try:
        readable = bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))
        return readable and hasattr(os, "statvfs") and not os.statvfs(path).f_flag & os.ST_RDONLY
    except OSError:
        return False


def is_below(path: Path, folder: Path) -> bool:
    """Say whether a path lies below a folder once all links are followed; a name that no file can have does not.

    Args:
        path: absolute, or from the current folder; it need not exist.
        folder: without links.
    """
    try:
        return Path(os.path.realpath(path)).is_relative_to(folder)
    except (OSError, ValueError):  # a NUL in the name, a circle of links
        return False


def write_atomically(
    path: Path,
    text: str,
    hint: str = "pass another file with -o",
    *,
    private: bool = False,
    within: Path | None = None,
) -> None:
    """Write `text` to `path` in UTF-8, whole or not at all.

    Args:
        path: the file. What is no file, such as /dev/stdout or a fifo, is written to as it is: renaming would take its
            place. A file that is there keeps its mode.
        text: its new content.
        hint: what to do where it cannot be written.
        private: make it readable for its owner alone.
        within: a folder that no link may lead out of, and in which a regular file is written or nothing; None for a
            path that a user typed.

    Raises:
        InputError: the folder does not exist, cannot be written or is left.
    """
    try:
        if within is not None and not is_below(path, Path(os.path.realpath(within))):
            raise PermissionError(errno.EACCES, "a link leads out of its folder")
        if within is not None and path.exists() and not path.is_file():
            raise PermissionError(errno.EACCES, "it is not a regular file")
        # A link is written through, as every editor does; the rename would replace it.
        target = Path(os.path.realpath(path))
        if path.is_dir():
            raise IsADirectoryError(21, "it is a folder")
        if path.exists() and not path.is_file():
            with path.open("w", encoding="utf-8", newline="\n") as device:
                device.write(text)
            return
        _sweep_beside(target)
        file, temporary = _held_beside(target)
        with file:
            try:
                file.write(text.encode())
                file.flush()
                # What the umask leaves of 0666, or what the file had: a temporary file is made for the owner alone.
                if not private:
                    temporary.chmod(target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask())
                if os.name == "nt":  # elsewhere the lock is held until the file has its name
                    file.close()
                temporary.replace(target)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
    except (OSError, ValueError) as error:
        words = error.strerror if isinstance(error, OSError) else "invalid file name"
        raise InputError(f"cannot write {path}: {words}", hint=hint) from None


def _held_beside(target: Path) -> tuple[IO[bytes], Path]:
    """Make a temporary file beside `target`, for its owner alone; it is locked as long as somebody writes it.

    A file system without locks, such as some networks', does without: nothing is swept there either.
    """
    for attempt in itertools.count(1):
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        file = os.fdopen(descriptor, "wb")
        if (lock(file) and Path(name).exists()) or attempt == _ATTEMPTS:
            return file, Path(name)
        file.close()  # somebody took it for one that was left
        Path(name).unlink(missing_ok=True)
    raise AssertionError("unreachable: the last attempt returns")


def _sweep_beside(target: Path) -> None:
    """Remove the temporary files of `target` that killed programs left."""
    left = re.compile(rf"\.{re.escape(target.name)}\.[a-z0-9_]{{8}}")
    with contextlib.suppress(OSError), os.scandir(target.parent) as entries:
        for entry in [entry for entry in entries if left.fullmatch(entry.name)]:
            with contextlib.suppress(OSError), open_regular(Path(entry.path), os.O_RDWR, within=target.parent) as file:
                if lock(file):
                    Path(entry.path).unlink()


def make_private_folder(path: Path, hint: str) -> None:
    """Make a folder, with those above it, that only its owner can read; one that is there stays as it is.

    Args:
        path: the folder.
        hint: what to do where it cannot be made.

    Raises:
        InputError: it cannot be made.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        words = error.strerror if isinstance(error, OSError) else "invalid file name"
        raise InputError(f"cannot create {path}: {words}", hint=hint) from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def from_here(path: Path) -> Path:
    """Return `path` as seen from the current folder where it lies below it: shorter words for a person."""
    return path.relative_to(Path.cwd()) if path.is_absolute() and path.is_relative_to(Path.cwd()) else path
