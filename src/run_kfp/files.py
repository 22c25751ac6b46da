"""Text files: read with words for what can go wrong, written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from run_kfp.errors import InputError


def read_text(path: Path, what: str, hint: str = "") -> str | None:
    """Return the text of a file in UTF-8; a byte order mark is dropped.

    Args:
        path: the file.
        what: what it is to the user, for the words of an error ("the registry run-kfp.toml").
        hint: what to do when it cannot be read.

    Returns:
        None when there is no such file.

    Raises:
        InputError: it cannot be read, or is not text in UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:  # a NUL in the name; UnicodeDecodeError is one too
        if isinstance(error, UnicodeDecodeError):
            raise _unreadable(f"{what} is not text in UTF-8", "save it as UTF-8", what) from None
        raise _unreadable(f"cannot read {what}: that is no name of a file", hint, what) from None
    except OSError as error:
        raise _unreadable(f"cannot read {what}: {error.strerror}", hint or "look at its permissions", what) from None


def _unreadable(message: str, hint: str, what: str) -> InputError:
    return InputError(message, hint, code="RK-FILE", place=what)


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


def write_atomically(path: Path, text: str, hint: str = "give another file with -o") -> None:
    """Write `text` to `path` in UTF-8, whole or not at all.

    What is no file, such as /dev/stdout or a fifo, is written to as it is: renaming would take its place.

    Raises:
        InputError: the folder does not exist or cannot be written.
    """
    # A link is written through, as every editor does; the rename would replace it.
    target = Path(os.path.realpath(path))
    try:
        if path.is_dir():
            raise IsADirectoryError(21, "it is a folder")
        if path.exists() and not path.is_file():
            with path.open("w", encoding="utf-8", newline="\n") as device:
                device.write(text)
            return
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", newline="\n", dir=target.parent, prefix=f".{target.name}.", delete=False
        ) as file:
            temporary = Path(file.name)
            try:
                file.write(text)
                file.flush()
                # What the umask leaves of 0666, or what the file had: a temporary file is made for the owner alone.
                temporary.chmod(target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask())
                file.close()
                temporary.replace(target)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
    except (OSError, ValueError) as error:
        words = error.strerror if isinstance(error, OSError) else "that is no name of a file"
        raise InputError(f"cannot write {path}: {words}", hint=hint) from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def from_here(path: Path) -> Path:
    """Return `path` as seen from the current folder where it lies below it: shorter words for a person."""
    return path.relative_to(Path.cwd()) if path.is_absolute() and path.is_relative_to(Path.cwd()) else path
