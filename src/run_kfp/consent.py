"""Consent: what the user of a folder decided, outside of it: by flags, the environment, an own file, `run-kfp trust`.

A consent is kept with the text of what was agreed to, a file for each folder; another text has to be agreed to again.
"""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from run_kfp.errors import InputError, did_you_mean
from run_kfp.files import make_private_folder, read_text, write_atomically
from run_kfp.findings import Finding

HOSTS_VARIABLE = "RUN_KFP_TRUST_HOSTS"
FACTORIES_VARIABLE = "RUN_KFP_ALLOW_FACTORIES"


class Kind(StrEnum):
    """What a user agrees to."""

    HOST = "host"
    CREDENTIALS = "credentials"
    FACTORY = "factory"


@dataclass(frozen=True)
class Wish:
    """One thing that a folder wants and that its user has to agree to.

    Attributes:
        kind: what it is.
        subject: the host with its port, the factory, the file.
        gets: what the host would get; for a file the digest of its content, so that a change asks again.
        place: where it is written.
        folder: the folder that the agreement is for.
    """

    kind: Kind
    subject: str
    gets: str
    place: str
    folder: Path

    @property
    def agreement(self) -> str:
        """The text that is kept when the user agrees; another text has to be agreed to again."""
        return f"{self.kind} {self.subject} {self.gets}".rstrip()

    @property
    def words(self) -> str:
        """What the user is asked to agree to."""
        match self.kind:
            case Kind.HOST:
                return f"{self.subject} gets {self.gets}"
            case Kind.FACTORY:
                return f"the Python code {self.subject} runs on this machine"
            case Kind.CREDENTIALS:
                return f"{self.subject} logs in to Google with the addresses, files and programs that it names"


@dataclass(frozen=True)
class User:
    """What the user decided, outside of any folder.

    Attributes:
        hosts: `host` or `host:port`, in lower case; they get what a folder wants to send there.
        factories: whether the factories of every folder run.
        records: where agreements are kept, one file for each folder; None where there is no home folder.
        credentials_file: of the user's own file.
        secrets_dir: likewise.
    """

    hosts: frozenset[str] = frozenset()
    factories: bool = False
    records: Path | None = None
    credentials_file: Path | None = None
    secrets_dir: Path | None = None

    def agrees(self, wish: Wish) -> bool:
        """Say whether the user agreed to a wish, by itself or with `run-kfp trust`."""
        if wish.kind is Kind.HOST and {wish.subject, wish.subject.rpartition(":")[0]} & self.hosts:
            return True
        if wish.kind is Kind.FACTORY and self.factories:
            return True
        return wish.agreement in self.agreed(wish.folder)

    def agreed(self, folder: Path) -> tuple[str, ...]:
        """Return the agreements for a folder; a record that cannot be read is none."""
        if self.records is None:
            return ()
        try:
            found = json.loads(read_text(_record(self.records, folder), "the record of trust") or "{}")
        except (InputError, ValueError, RecursionError):
            return ()
        kept = found.get("agreed") if isinstance(found, dict) and found.get("folder") == str(folder) else None
        return tuple(one for one in kept if isinstance(one, str)) if isinstance(kept, list) else ()

    def keep(self, folder: Path, agreements: Collection[str]) -> Path:
        """Replace the agreements for a folder; return the file that keeps them.

        Raises:
            InputError: it cannot be written.
        """
        if self.records is None:
            raise InputError(
                "cannot keep your consent without a home folder",
                f"set HOME; in CI, pass --trust-host or set {HOSTS_VARIABLE}, and {FACTORIES_VARIABLE}=1 for factories",
            )
        file = _record(self.records, folder)
        hint = f"check the permissions of {self.records}"
        make_private_folder(self.records, hint)
        text = json.dumps({"folder": str(folder), "agreed": sorted(agreements)}, indent=2) + "\n"
        write_atomically(file, text, hint, private=True)
        return file


def _record(records: Path, folder: Path) -> Path:
    return records / f"{hashlib.sha256(os.fsencode(folder)).hexdigest()}.json"


# ── the user's own file ──────────────────────────────────────────────────────────────────────────────────────────────

_CONFIG_KEYS = ("trust_hosts", "credentials_file", "secrets_dir")


def read_user(environ: Mapping[str, str], hosts: Sequence[str], faults: list[Finding]) -> User:
    """Return what the user decided by flags, the real environment and `config.toml` in the user's own folder.

    Args:
        environ: the environment, without any `.env`.
        hosts: of `--trust-host`.
        faults: takes what is wrong with them.
    """
    home = environ.get("HOME") or environ.get("USERPROFILE") or ""
    # https://specifications.freedesktop.org/basedir-spec/latest/
    configs = environ.get("XDG_CONFIG_HOME") or (home and f"{home}/.config")
    states = environ.get("XDG_STATE_HOME") or (home and f"{home}/.local/state")
    config = _read_config(Path(configs, "run-kfp", "config.toml"), faults) if configs else {}
    named = [
        *((host, "--trust-host") for host in hosts),
        *((host, HOSTS_VARIABLE) for host in environ.get(HOSTS_VARIABLE, "").replace(",", " ").split()),
        *((host, "config.toml: trust_hosts") for host in config.get("trust_hosts", ())),
    ]
    trusted: set[str] = set()
    for host, place in named:
        if fault := _host_fault(host):
            faults.append(Finding(f"{host!r} {fault}", "write a host, or host:port", "RK-TRUST-INVALID", place))
        trusted.add(host.lower())

    def path(key: str) -> Path | None:
        named = config.get(key)
        return Path(home, named[2:]) if named and named.startswith("~/") else Path(named) if named else None

    return User(
        frozenset(trusted),
        environ.get(FACTORIES_VARIABLE) == "1",
        Path(states, "run-kfp", "trust") if states else None,
        path("credentials_file"),
        path("secrets_dir"),
    )


def _host_fault(host: str) -> str:
    """Say why a text is no host to trust: a pattern or an address would promise more than is compared."""
    try:
        parts = urlsplit(f"//{host}")
        plain = parts.hostname is not None and parts.netloc == host and not parts.path and parts.username is None
        _ = parts.port
    except ValueError:
        plain = False
    return "" if plain and not set(host) & set("*@ ") else "is not a host"


def _read_config(file: Path, faults: list[Finding]) -> dict[str, Any]:
    try:
        read = tomllib.loads(read_text(file, str(file)) or "")
    except InputError as error:
        faults += error.all_faults
        return {}
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        faults.append(Finding(f"is not TOML: {error}", "correct it", "RK-TRUST-INVALID", str(file)))
        return {}
    right: dict[str, Any] = {}
    for key, value in read.items():
        place = f"{file}: {key}"
        if key not in _CONFIG_KEYS:
            hint = did_you_mean(key, _CONFIG_KEYS) or f"valid keys: {', '.join(_CONFIG_KEYS)}"
            faults.append(Finding("unknown key", hint, "RK-TRUST-INVALID", place))
        elif key == "trust_hosts" and not (isinstance(value, list) and all(isinstance(one, str) for one in value)):
            faults.append(Finding("must be an array of strings", '["git.example.com"]', "RK-TRUST-INVALID", place))
        elif key != "trust_hosts" and not isinstance(value, str):
            faults.append(Finding("must be a string", "write a path in quotes", "RK-TRUST-INVALID", place))
        else:
            right[key] = value
    return right
