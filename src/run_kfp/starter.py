"""What `run-kfp init` writes: a registry to edit, a `.env`, and a secrets folder with a placeholder for each secret."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from run_kfp.errors import Fault, InputError
from run_kfp.pipeline import write_atomically
from run_kfp.registry import REGISTRY_FILE, Registry, packaged_registry_text, parse_registry
from run_kfp.settings import CREDENTIALS_VARIABLE, ENV_FILE, RULES

_ENV_HEAD = """\
# Settings of run-kfp in this folder. Flags and the environment come first, [settings] of run-kfp.toml last. No quotes
# are needed. Keys and passwords do not belong here: they go into secrets/. This file is not for Git.
"""

# Neither the settings nor the keys of one person belong into the history of a repository.
_GITIGNORE = "# A secret that was committed once stays in the history.\n*\n"


def starter_files() -> Iterator[tuple[Path, str]]:
    """Yield each file that `init` writes, relative to its folder, with its text."""
    text = packaged_registry_text()
    registry = parse_registry(text, source=REGISTRY_FILE, folder=Path())
    yield Path(REGISTRY_FILE), text
    yield Path(ENV_FILE), _env_text(registry)
    yield Path("secrets/.gitignore"), _GITIGNORE
    yield from ((Path("secrets") / name, content) for name, content in secret_placeholders(registry).items())


def secret_placeholders(registry: Registry) -> dict[str, str]:
    """Return the files of a secrets folder with placeholder text, which the program refuses as a value."""
    files: dict[str, str] = {}
    for name, source in registry.secrets.items():
        words = name.replace("_", " ")
        if source.file:
            files[source.file] = f"<paste the {words} here>\n"
        elif source.env_file:
            value = "https://<login>:<token>" if "git" in name else f"<paste the {words} here>"
            files[source.env_file] = files.get(source.env_file, "") + f"{source.env}={value}\n"
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


def write_starter(folder: Path, *, force: bool) -> list[Path]:
    """Write the starter files; none of them when one is there already and `force` is not given.

    Returns:
        What was written.

    Raises:
        InputError: files are there, or the folder cannot be written.
    """
    files = [(folder / path, text) for path, text in starter_files()]
    there = [path for path, _ in files if path.exists()]
    if there and not force:
        raise InputError.of(
            "the folder",
            [
                Fault(f"{path} is there already", "--force overwrites it; another folder: `run-kfp init FOLDER`")
                for path in there
            ],
        )
    written = []
    for path, text in files:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.parent.name == "secrets":
                path.parent.chmod(0o700)
        except OSError as error:
            raise InputError(f"cannot make the folder {path.parent}: {error.strerror}") from None
        write_atomically(path, text)
        written.append(path)
    return written
