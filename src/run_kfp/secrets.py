"""Secrets: where a value lies, whether it can be right, and the value itself, at the moment when a backend sends it.

Who may import this module is a contract that the tests check. `locate` reads a value to judge it, teaches it to the
masker and keeps only the place; `SecretRef.reveal` reads it again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from run_kfp.arguments import text_fault
from run_kfp.errors import InputError
from run_kfp.files import from_here, is_below, is_folder, read_text
from run_kfp.findings import Finding
from run_kfp.masking import SHORTEST_SECRET, Masker
from run_kfp.registry import Registry, SecretSource
from run_kfp.settings import ENV_FILE, SECRETS_VARIABLE, Layers, read_env_file

SECRETS_FOLDERS = ("secrets", "../secrets", "/secrets")

# Text of a template that nobody replaced: `<paste your key here>`, also as the parts of a login URL; a variable or
# command that no shell expanded; what people write into templates. Narrow on purpose: a password may hold any of these
# characters.
_TEMPLATE = re.compile(
    r"(?:[a-z]+://)?(?:[^<>\s:@/]*:)?(?:<[a-z][^<>]*>[:@]?)+[^<>\s]*"
    r"|(?:[a-z]+://)?(?:\$(?:\{\w+(?::?[-=?+][^{}]*)?\}|\([^()]*(?:\([^()]*\)[^()]*)*\)|[a-z_]\w*)[:@]?)+"
    # A command with an argument, also as a part of a word: `run-$(date +%F)`. Text around it is a script.
    r"|[^\s$`]*(?:\$\([a-z][\w./-]*\s[^()`]*\)|`[a-z][\w./-]*\s[^`]*`)[^\s$`]*|`[a-z]+`"
    r"|(?:change|replace|fill)[-_ ]?(?:me|this|in)|your[-_ ][a-z_ -]*",
    re.IGNORECASE,
)

_LINE_END = r"\r\n|\n|\r"

# What a key of SSH, TLS or PGP begins with (RFC 7468).
_PEM = re.compile(r"\s*-----BEGIN [A-Z0-9 ]+-----\s*$")

# The next step for a secret of several lines.
ONE_LINE = "encode it as one line (base64 -w0 FILE) and decode it in the container"

# Words that stand for a secret in a template. Of a parameter they may be the value: the name of a token, a null.
_SECRET_WORDS = re.compile(
    r"\.{3,}|x{3,}|\*{3,}|to-?do|tbd|placeholder|dummy|example|secret|token|password|none|null", re.IGNORECASE
)


@dataclass(frozen=True)
class SecretRef:
    """A secret that was found and can be right. The value is read again when it is needed.

    Attributes:
        name: as the registry calls it.
        place: where it was found, in words.
        more_lines: whether the file of its place has text behind the first line, which is not taken.
    """

    name: str
    place: str
    _source: SecretSource = field(repr=False)
    _finder: SecretFinder = field(repr=False)  # it knows the environment
    more_lines: bool = False

    @property
    def file(self) -> Path | None:
        """The file that it was found in; None for a variable."""
        return self._finder.file_of(self._source, self.place)

    def reveal(self) -> SecretStr:
        """Return the value.

        Raises:
            InputError: it is no longer there, or can no longer be right.
        """
        for place, value in self._finder.places(self._source):
            if place == self.place and value is not None and value_fault(value) is None:
                self._finder.masker.add(value)
                return SecretStr(value)
        raise InputError(f"secret {self.name} has disappeared from {self.place}", hint="run the command again")


@dataclass(frozen=True)
class SecretFinder:
    """Knows the places where secrets are looked for.

    Attributes:
        layers: environment and `.env` of the call.
        folder: the secrets folder, or None when there is none.
        within: the folder that links below the secrets folder must not leave; None where the user chose it.
        registry_folder: where an env file lies when it is not in the secrets folder.
        masker: learns every value that is read, right or not.
    """

    layers: Layers = field(repr=False)
    folder: Path | None
    within: Path | None
    registry_folder: Path
    masker: Masker

    def places(self, source: SecretSource) -> Iterator[tuple[str, str | None]]:
        """Yield each place in the order of search, with the value there or None; an empty variable counts as not set.

        Raises:
            InputError: a file is there but cannot be read.
        """
        if source.env:
            for layer, values in (("environment", self.layers.environ), (ENV_FILE, self.layers.dotenv)):
                yield f"{layer} {source.env}", values.get(source.env) or None
        if source.file:
            path = self._file(source)
            _refuse_way_out(path, self.within)
            yield str(path), _first_line(path)
        if source.env_file and source.env:
            folders = [(self.folder or Path(SECRETS_FOLDERS[0]), self.within)]
            if self.registry_folder != folders[0][0]:
                folders.append((self.registry_folder, self.registry_folder.resolve()))
            for folder, within in folders:
                path = folder / source.env_file
                _refuse_way_out(path, within)
                yield f"{path} ({source.env}=…)", read_env_file(path).get(source.env)

    def locate(self, name: str, source: SecretSource) -> SecretRef | list[Finding]:
        """Find a secret at the first place that holds one.

        A value that cannot be right is a fault, and so is none at all.
        """
        looked: list[str] = []
        try:
            for place, value in self.places(source):
                looked.append(place)
                if value is None:
                    continue
                self.masker.add(value)
                if fault := self._fault(name, source, place, value):
                    return [fault]
                return SecretRef(name, place, source, self, self._has_more_lines(source, place))
        except InputError as error:
            return list(error.all_faults)
        if not looked:  # the registry names no place, which is told with its other faults
            return []
        return [
            Finding(
                f"secret {name} is missing; looked in: {', '.join(looked)}",
                self._advice(source),
                code="RK-SECRET-MISSING",
                place=f"secrets.{name}",
            )
        ]

    def _fault(self, name: str, source: SecretSource, place: str, value: str) -> Finding | None:
        """Say what is wrong with the value that was found, without showing it."""
        found = _wrong(value)
        # Not the secret's own name: a login `admin:…` or a header `authorization: …` may be called as it begins.
        front = re.match(rf"(?:export\s+)?{re.escape(source.env)}(?:\s*=|:\s)", value) if source.env else None
        if front:
            self.masker.add(value[front.end() :].strip())
            found = f"begins with {front[0].strip()}", "remove this, so that only the value is left"
        elif self._has_more_lines(source, place):
            if not value.strip():
                found = "has an empty first line", "move the value to the first line of the file"
            elif _PEM.match(value):
                found = "is the first line of a key file; only that line is read", ONE_LINE
            elif value.lstrip()[:1] in ("{", "[") and not _is_json(value):
                found = "is the first line of a JSON file; only that line is read", "put the JSON on one line"
        return Finding(f"secret {name} ({place}) {found[0]}", found[1], "RK-SECRET-VALUE", place) if found else None

    def _has_more_lines(self, source: SecretSource, place: str) -> bool:
        """Whether the value is the first line of a file with text behind it, which is not taken."""
        if not source.file or place != str(self._file(source)):
            return False
        text = read_text(self._file(source), f"the secret file {place}") or ""
        return bool("".join(re.split(_LINE_END, text, maxsplit=1)[1:]).strip())

    def file_of(self, source: SecretSource, place: str) -> Path | None:
        """Return the file that a place of `places` names; None for a variable."""
        if source.file and place == str(self._file(source)):
            return self._file(source)
        front, _, rest = place.rpartition(" (")
        return Path(front) if source.env_file and rest == f"{source.env}=…)" else None

    def _file(self, source: SecretSource) -> Path:
        return (self.folder or Path(SECRETS_FOLDERS[0])) / (source.file or "")

    def _advice(self, source: SecretSource) -> str:
        folder = self.folder or Path(SECRETS_FOLDERS[0])
        if source.file:
            return f"write it on the first line of {self._file(source)}"
        if source.env_file:
            return f"add a line {source.env}=… to {folder / source.env_file}"
        return f"set the variable {source.env}"


def secret_finder(
    layers: Layers, registry: Registry, masker: Masker, *, flag: Path | None, faults: list[Finding]
) -> SecretFinder:
    """Choose the secrets folder.

    It is `--secrets-dir`, else `RUN_KFP_SECRETS`, else the first of ./secrets, ../secrets, /secrets that exists.

    Args:
        layers: environment and `.env`.
        registry: for the folder of its file.
        masker: learns the values.
        flag: `--secrets-dir`.
        faults: takes that the folder named by the flag or the variable does not exist.
    """
    named = flag
    asked = "--secrets-dir"
    if named is None and (variable := layers.variable(SECRETS_VARIABLE)):
        named, asked = Path(variable[0]), variable[1]
    if named is not None and not is_folder(named):
        fault = Finding(
            f"{asked} names {str(named)!r}, which is not a folder",
            hint="create it, or pass the folder with the secrets",
            code="RK-SECRETS-FOLDER",
            place=asked,
        )
        faults.append(fault)
    candidates = [named] if named is not None else [Path(name) for name in SECRETS_FOLDERS]
    chosen = next((path for path in candidates if is_folder(path)), None)
    return SecretFinder(layers, chosen, _bounds(chosen, named, asked), from_here(registry.folder), masker)


def _bounds(chosen: Path | None, named: Path | None, asked: str) -> Path | None:
    """Return the folder that links below the secrets folder must not leave; None where a user's word chose it.

    /secrets is mounted into a container by its user.
    """
    if named is not None and not asked.startswith(ENV_FILE):
        return None
    if chosen == Path(SECRETS_FOLDERS[-1]):
        return None
    here = Path.cwd().resolve()
    return here.parent if chosen == Path(SECRETS_FOLDERS[1]) else here


def _refuse_way_out(path: Path, within: Path | None) -> None:
    """Refuse a path that a link leads out of `within`.

    Raises:
        InputError: it does; nothing was read.
    """
    if within is not None and not is_below(path, within):
        raise InputError(
            "is a link out of the project and is not followed",
            "copy the file, or choose the folder yourself with --secrets-dir",
            code="RK-TRUST-PATH",
            place=str(path),
        )


def locate_all(
    names: Sequence[str], secrets: Mapping[str, SecretSource], finder: SecretFinder
) -> tuple[dict[str, SecretRef], list[Finding]]:
    """Locate the secrets `names`; faults of all of them come together."""
    found: dict[str, SecretRef] = {}
    faults: list[Finding] = []
    for name in names:
        located = finder.locate(name, secrets[name])
        if isinstance(located, SecretRef):
            found[name] = located
        else:
            faults += located
    return found, list(dict.fromkeys(faults))


def value_fault(value: str) -> str | None:
    """Say why a secret's value cannot be right, without showing it, or return None.

    A newline or surrounding white space comes from copying; text such as `<your key>` from a template. (NUL and lone
    surrogates cannot be sent.)
    """
    found = _wrong(value)
    return found[0] if found else None


def _wrong(value: str) -> tuple[str, str] | None:
    """Say why a secret's value cannot be right, and what to do; None where it can."""
    alone = value.strip()
    if not alone:
        return "is empty", "set the value there"
    if alone in ("{", "["):
        return (
            "is the first line of a JSON file; only that line is read",
            "put the JSON on one line",
        )
    if is_template(alone) or _SECRET_WORDS.fullmatch(alone):
        return "is still a placeholder", "replace it with the real value; it is not shown here"
    if len(alone) < SHORTEST_SECRET:
        return (
            f"is shorter than {SHORTEST_SECRET} characters, too short to mask",
            "set the complete value; a token or key is longer",
        )
    if "\n" in value or "\r" in value:
        return "contains a line break", "put the value on one line, without a line break after it"
    if value != alone:
        return "begins or ends with white space", "remove the white space around it"
    if fault := text_fault(value):
        return fault, "copy it again, as text"
    return None


def is_template(value: str) -> bool:
    """Say whether a value, of a parameter or secret, is the text of a template that nobody filled in."""
    return _TEMPLATE.fullmatch(value) is not None


def _first_line(path: Path) -> str | None:
    """Return the first line of a file without its line ending, None when there is no such file.

    A byte order mark is dropped.
    """
    text = read_text(path, f"the secret file {path}")
    return None if text is None else re.split(_LINE_END, text, maxsplit=1)[0]


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
