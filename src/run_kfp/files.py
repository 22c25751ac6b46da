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
    except OSError as error:
        raise InputError(f"cannot read {what}: {error.strerror}", hint=hint or "look at its permissions") from None
    except UnicodeDecodeError:
        raise InputError(f"{what} is not text in UTF-8", hint="save it as UTF-8") from None


def write_atomically(path: Path, text: str) -> None:
    """Write `text` to `path` in UTF-8, whole or not at all.

    Raises:
        InputError: the folder does not exist or cannot be written.
    """
    # A link is written through, as every editor does; the rename would replace it.
    target = Path(os.path.realpath(path))
    try:
        if target.is_dir():
            raise IsADirectoryError(21, "it is a folder")
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
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}", hint="give another file with -o") from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
