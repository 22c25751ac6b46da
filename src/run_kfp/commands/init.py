"""What `run-kfp init` writes: a registry with its schema, a `.env`, and a secrets folder with placeholders."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from run_kfp.errors import InputError
from run_kfp.files import is_below, write_atomically
from run_kfp.registry import Registry
from run_kfp.registry_file import REGISTRY_FILE, packaged_registry_text, parse_registry
from run_kfp.schema import SCHEMA_FILE, packaged_schema_text
from run_kfp.settings import CREDENTIALS_VARIABLE, ENV_FILE, RULES
from run_kfp.visible import shell_word

if TYPE_CHECKING:
    from run_kfp.terminal import Screen

SECRETS = Path("secrets")

_ENV_HEAD = """\
# Settings of run-kfp in this folder: flags and the environment come before it, [settings] of run-kfp.toml after it.
# Keys and passwords go into secrets/ instead. Keep this file out of Git.

"""

# Twice, because the folder may be copied elsewhere without the file above it.
_GITIGNORE = "# Settings and keys of one person: a committed line stays in the history.\n.env\ngit.env\nsecrets/\n"
_SECRETS_GITIGNORE = "# A committed key stays in the history.\n*\n"


def starter_files() -> Iterator[tuple[Path, str]]:
    """Yield each file that `init` writes, relative to its folder, with its text."""
    text = packaged_registry_text()
    registry = parse_registry(text, source=REGISTRY_FILE, folder=Path())
    yield Path(REGISTRY_FILE), text
    yield Path(SCHEMA_FILE), packaged_schema_text()
    yield Path(ENV_FILE), _env_text(registry)
    yield Path(".gitignore"), _GITIGNORE
    yield SECRETS / ".gitignore", _SECRETS_GITIGNORE
    yield from ((SECRETS / name, content) for name, content in secret_placeholders(registry).items())


def secret_placeholders(registry: Registry) -> dict[str, str]:
    """Return the files of a secrets folder with placeholder text, which the program refuses as a value."""
    files: dict[str, str] = {}
    for name, source in registry.secrets.items():
        words = source.description or f"the value of {name}"
        placeholder = words if "<" in words else f"<paste {words} here>"
        if source.file:
            files[source.file] = f"{placeholder}\n"
        elif source.env_file:
            files[source.env_file] = files.get(source.env_file, "") + f"{source.env}={placeholder}\n"
    return files


def _env_text(registry: Registry) -> str:
    lines = [_ENV_HEAD]
    for name, rule in RULES.items():
        if rule.variable:
            lower = getattr(registry.settings, name)
            lines.append(f"# {rule.allowed}{_else(lower)}\n{rule.variable}=\n")
    lines.append("# the file of a service account key; else the login of `gcloud auth application-default login`\n")
    lines.append(f"{CREDENTIALS_VARIABLE}=\n")
    for name, param in registry.params.items():
        if param.env:
            lines.append(f"# parameter {name}{_else(param.default)}\n{param.env}=\n")
    return "".join(lines)


def _else(lower: str | None) -> str:
    return f"; when left empty: {lower}" if lower else ""


def write_starter(folder: Path) -> tuple[list[Path], list[Path]]:
    """Write the starter files that are not there yet; a file that is there is never touched.

    Returns:
        What was written, and what was there and kept.

    Raises:
        InputError: the folder cannot be written.
    """
    written: list[Path] = []
    kept: list[Path] = []
    for path, text in starter_files():
        target = folder / path
        if target.exists() or target.is_symlink():
            kept.append(target)
            continue
        private = path.parent == SECRETS
        if private and not is_below(target.parent, folder.resolve()):
            raise InputError(
                f"{target.parent} is a link out of {folder}", hint="remove the link, or pass another folder"
            )
        try:
            # Only a folder that is made here gets these permissions: 0o700 for secrets, the umask's for others.
            target.parent.mkdir(mode=0o700 if private else 0o777, parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot create the folder {target.parent}: {error.strerror}") from None
        write_atomically(
            target, text, hint="pass another folder: `run-kfp init FOLDER`", private=private, within=folder
        )
        written.append(target)
    return written, kept


def start_folder(screen: Screen, folder: Path) -> None:
    """Write the starter files, and say what was written and what to do next."""
    written, kept = write_starter(folder)
    screen.say(*(f"kept: {path}" for path in kept))
    screen.data(written=[str(path) for path in written], kept=[str(path) for path in kept])
    for path in written:
        screen.out(str(path))
    ignored = folder / ".gitignore"
    if ignored in kept and ".env" not in ignored.read_text(encoding="utf-8", errors="replace").split():
        screen.say(f"add a line .env to {ignored}, so that your settings stay out of Git")
    if folder != Path():
        screen.say(f"next: cd {shell_word(str(folder))}")
    screen.say(
        "next: run-kfp -r 1-4 -t dataset_v22 --compile-only",
        "then put your settings into .env and your keys into secrets/, and see what is missing:",
        "      run-kfp check -r 1-4 -t dataset_v22",
    )
