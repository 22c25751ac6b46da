"""Reads a registry file: TOML becomes a frozen `Registry`, or one `InputError` that lists every fault of the file.

Of a file with faults, what is right can be had too (`read_registry`), so that checks find more than the first mistake.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import keyword
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from run_kfp.arguments import Reference, toml_type
from run_kfp.errors import InputError, did_you_mean, shown
from run_kfp.files import from_here, read_text
from run_kfp.findings import Finding
from run_kfp.registry import (
    BUILT_IN_PARAMS,
    INDEX,
    LONGEST_PARAMETER,
    PARAMETER,
    CheckSection,
    Container,
    Model,
    Param,
    PipelineSection,
    Registry,
    RegistryFile,
    SecretSource,
    SettingsSection,
    name_meant,
)
from run_kfp.registry_file.hints import (
    PARTS,
    fields,
    form_meant,
    index_meant,
    key_meant,
    mend,
    text_of,
    toml_fault,
    value_at,
)
from run_kfp.visible import shell_word

REGISTRY_VARIABLE = "RUN_KFP_REGISTRY"

REGISTRY_FILE = "run-kfp.toml"

PACKAGED = "the packaged registry"


def packaged_registry_text() -> str:
    """Return the text of the packaged registry, which is also what `run-kfp init` starts from."""
    return (resources.files("run_kfp") / "containers.toml").read_text(encoding="utf-8")


def load_registry(path: Path | None) -> Registry:
    """Read the registry: `path`, else `run-kfp.toml` in the current folder, else the packaged one.

    Raises:
        InputError: the file cannot be read, or holds faults; all of them are listed.
    """
    faults: list[Finding] = []
    registry = read_registry(path, faults)
    if faults:
        raise InputError.of(f"the registry {registry.source}" if registry.source != PACKAGED else PACKAGED, faults)
    return registry


def read_registry(path: Path | None, faults: list[Finding]) -> Registry:
    """Read the registry as `load_registry` does, as far as it can be read; what is wrong with it goes to `faults`.

    What is right of a faulty registry is enough to look for more mistakes, and for nothing else.
    """
    if path is None and os.path.lexists(REGISTRY_FILE):  # a link that leads nowhere is told, not passed over
        path = Path(REGISTRY_FILE)
    if path is None:
        return parse_registry(packaged_registry_text(), source=PACKAGED, folder=Path.cwd())
    source = str(from_here(path))
    hint = "pass --registry FILE or create one with `run-kfp init`"
    try:
        text = read_text(path, f"the registry {source}", hint)
    except InputError as error:
        faults += error.all_faults
        text = ""
    if text is None:
        faults.append(Finding(f"registry not found: {source}", hint, code="RK-FILE", place=source))
    if not text:
        faults += [] if faults else [Finding(f"{source} is empty", hint, code="RK-REGISTRY", place=source)]
        return dataclasses.replace(_Reader(source).registry({}, path.absolute().parent), whole=False)
    return _parse(text, source, path.absolute().parent, faults)


SectionModel = TypeVar("SectionModel", bound=Model)

# The name of a container whose own is missing, while the rest of it is looked at.
_NAMELESS = "nameless"

# How often a table with faults is validated anew: what is guessed may be wrong too, and what is missing inside of a
# table takes that table with it.
_MOST_ROUNDS = 5


def parse_registry(text: str, *, source: str, folder: Path) -> Registry:
    """Read the text of a registry file.

    Args:
        text: TOML.
        source: how errors name the file.
        folder: where its relative paths start.

    Raises:
        InputError: with every fault of the text.
    """
    faults: list[Finding] = []
    registry = _parse(text, source, folder, faults)
    if faults:
        raise InputError.of(f"the registry {source}" if source != PACKAGED else source, faults)
    return registry


def _parse(text: str, source: str, folder: Path, faults: list[Finding]) -> Registry:
    reader = _Reader(source)
    raw: Mapping[str, Any] = {}
    try:
        # TOML takes both line endings, tomllib only "\n" inside of multi-line strings as they stand.
        raw = tomllib.loads(text.replace("\r\n", "\n"))
    except ValueError as error:  # a number of thousands of digits is no TOMLDecodeError
        faults.append(toml_fault(text, source, str(error)))
    except RecursionError:
        faults.append(Finding(f"{source} nests arrays or tables too deeply", code="RK-REGISTRY", place=source))
    else:
        known = tuple(RegistryFile.model_fields)
        for key in raw.keys() - set(known):
            reader.fault(key, f"unknown table; a registry has {', '.join(known)}", did_you_mean(key, known))
        if not raw.get("containers"):
            reader.fault("containers", "no containers declared", "start with [containers.1]")
    broken = bool(faults)
    registry = reader.registry(raw, folder)
    faults += reader.faults
    return dataclasses.replace(registry, whole=not broken)


def _keys(raw: Mapping[str, Any], table: str) -> list[str]:
    return list(raw[table]) if isinstance(raw.get(table), Mapping) else []


class _Reader:
    """Validates the tables of one file and keeps every fault with its place."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.faults: list[Finding] = []

    def registry(self, raw: Mapping[str, Any], folder: Path) -> Registry:
        """Read all tables; of those with faults, what is right."""
        params = dict(self.entries(Param, raw.get("params", {}), "params"))
        secrets = dict(self.entries(SecretSource, raw.get("secrets", {}), "secrets"))
        containers = dict(self.containers(raw.get("containers", {})))
        check = self.section(CheckSection, raw.get("check", {}), "check") or CheckSection()
        _check_names(self, params, secrets)
        known = {"param": {*_keys(raw, "params"), *BUILT_IN_PARAMS}, "secret": set(_keys(raw, "secrets"))}
        _check_references(self, containers, known)
        containers = {index: _without_unknown(container, known) for index, container in containers.items()}
        _check_check(self, check, containers, secrets)
        return Registry(
            self.source,
            folder,
            self.section(PipelineSection, raw.get("pipeline", {}), "pipeline") or PipelineSection(),
            self.section(SettingsSection, raw.get("settings", {}), "settings") or SettingsSection(),
            containers,
            params,
            secrets,
            check,
        )

    def fault(self, place: str, message: str, hint: str = "", code: str = "RK-REGISTRY") -> None:
        self.faults.append(Finding(message, hint, code, f"{self.source}: {place}"))

    def told(self, place: str) -> bool:
        """Say whether something at `place` or below has a fault already."""
        place = f"{self.source}: {place}"
        return any(fault.place == place or fault.place.startswith(f"{place}.") for fault in self.faults)

    def section(
        self, model: type[SectionModel], value: Any, place: str, stand_ins: Mapping[str, str] | None = None, **more: str
    ) -> SectionModel | None:
        """Validate a table; of one with faults what is right is returned, so that more faults can be looked for.

        Args:
            model: what the table is.
            value: it.
            place: where it stands.
            stand_ins: what stands for required keys that are missing or wrong, which is told.
            more: keys that do not stand in the file.
        """
        right = copy.deepcopy({**value, **more}) if isinstance(value, Mapping) else {**more}
        if not isinstance(value, Mapping):
            self.fault(place, f"is {toml_type(value)}; write a table [{place}]")
        for round_ in range(_MOST_ROUNDS):
            try:
                return model.model_validate(right)
            except ValidationError as error:
                details = error.errors(include_input=False, include_url=False)
            for detail in details:
                if round_ == 0 and isinstance(value, Mapping):
                    self._pydantic_fault(model, place, detail, value)
                mend(model, right, detail, guess=round_ == 0)
            right = {**(stand_ins or {}), **right}
        return None

    def entries(self, model: type[SectionModel], table: Any, place: str) -> Iterator[tuple[str, SectionModel]]:
        if not isinstance(table, Mapping):
            self.fault(place, f"is {toml_type(table)}; write tables [{place}.<name>]")
            return
        for key, value in table.items():
            if entry := self.section(model, value, f"{place}.{key}"):
                yield key, entry

    def containers(self, table: Any) -> Iterator[tuple[str, Container]]:
        if not isinstance(table, Mapping):
            self.fault("containers", f"is {toml_type(table)}; write tables [containers.<index>]")
            return
        taken: dict[str, str] = {}
        for key, value in table.items():
            place, index = f"containers.{key}", key
            names = {"name": _NAMELESS}
            if not INDEX.fullmatch(key):
                index, hint = index_meant(key, [*table, *taken.values()])
                self.fault(place, "an index is an integer" + (" without leading zeros" if key.isdigit() else ""), hint)
            if isinstance(value, Mapping) and "index" in value:
                self.fault(f"{place}.index", "unknown key; the index is the number in the table name")
                value = {name: item for name, item in value.items() if name != "index"}
            if isinstance(value, Mapping):
                if index == key and not key.isdigit() and "name" not in value:
                    value = {"name": name_meant(key) or _NAMELESS, **value}
                names = {"name": name_meant(text_of(value.get("name", ""))) or _NAMELESS}
            container = self.section(Container, value, place, names, index=index)
            if container is None or not isinstance(value, Mapping):
                continue
            self._check_container(place, container)
            if container.name == value.get("name"):
                if container.name in taken:
                    self.fault(
                        f"{place}.name",
                        f"{container.name!r} is also the name of container {taken[container.name]}",
                        "names are unique",
                    )
                taken.setdefault(container.name, index)
            yield index, container

    def _check_container(self, place: str, container: Container) -> None:
        told = any(self.told(f"{place}.{key}") for key in ("image", "factory"))
        if bool(container.image) == bool(container.factory) and not told:
            self.fault(place, "requires either image or factory" + (", not both" if container.image else ""))
        if container.factory:
            for key in ("args", "command", "entrypoint", "env"):
                if getattr(container, key):
                    self.fault(f"{place}.{key}", "cannot be used together with factory: remove this key")
            return
        before = container.command or container.entrypoint
        if container.command and container.entrypoint:
            self.fault(
                f"{place}.entrypoint",
                "cannot be used together with command, which replaces the image's ENTRYPOINT",
                "remove entrypoint; or remove command to run the image's ENTRYPOINT",
            )
        elif any(isinstance(value, Reference) for value in container.env.values()):
            if before is None:
                self.fault(
                    f"{place}.env",
                    "a value that is a param or a secret requires entrypoint = [...]: "
                    "the step then runs `env NAME=value… entrypoint… args…`",
                    "write what `docker inspect -f '{{json .Config.Entrypoint}}' "
                    f"{shell_word(container.image)}` prints",
                )
            elif "=" in before[0] or before[0].startswith("-"):
                self.fault(
                    f"{place}.entrypoint",
                    f"`env` does not accept {before[0]!r} as a program",
                    "start with the path of the program",
                )
        elif container.entrypoint:
            self.fault(
                f"{place}.entrypoint",
                "is only used for env values that are a param or a secret",
                "to replace the image's ENTRYPOINT, write command = [...]",
            )

    def _pydantic_fault(self, model: type[Model], place: str, detail: Any, table: Mapping[str, Any]) -> None:
        path = [str(part) for part in detail["loc"]]
        kind, message = detail["type"], str(detail["msg"]).removeprefix("Value error, ")
        value = value_at(table, detail["loc"])
        if kind == "extra_forbidden":
            known = [name for name in fields(model, path[:-1]) if name != "index"]
            inside = PARTS.get(path[0], model) if len(path) > 1 else model
            meant = key_meant(inside, path[-1], value)
            message = "unknown key" if meant else f"unknown key; valid keys: {', '.join(known)}"
            self.fault(".".join([place, *path]), message, meant or did_you_mean(path[-1], known))
            return
        words = {
            "missing": "is missing",
            "string_type": "must be a string",
            "bool_type": "must be true or false",
            "dict_type": "must be a table",
            "tuple_type": "must be an array of strings",
            "model_type": "must be a table",
        }
        if path[0] in ("endpoints", "git"):
            host = "storage-internal.p.googleapis.com" if path[0] == "endpoints" else "github.com/team/data.git"
            words["string_pattern_mismatch"] = f"must be an address such as https://{host}, without a login"
        if "[key]" in path:
            path.remove("[key]")
        # A field that may be absent or a union adds the branch that failed to the place: that is pydantic's matter, not
        # the reader's.
        path = [part for part in path if re.fullmatch(r"[A-Za-z0-9_-]+", part)]
        hint = str(getattr(detail.get("ctx", {}).get("error"), "hint", "")) or form_meant(path[-1], kind, value)
        if kind == "literal_error":
            expected = [word.strip("'") for word in re.findall(r"'[^']*'", str(detail["ctx"]["expected"]))]
            words[kind] = f"is {shown(value)}; valid values: {', '.join(expected)}"
            hint = did_you_mean(text_of(value), expected) or f"write {' or '.join(map(json.dumps, expected))}"
        self.fault(
            ".".join([place, *path]), words.get(kind, message), hint, code=_CODES.get(".".join(path), "RK-REGISTRY")
        )


# Kinds of mistakes that have a name of their own, by the key of a container.
_CODES: Mapping[str, str] = {
    "image": "RK-IMAGE-REFERENCE",
    "cpu": "RK-CPU-FORMAT",
    "memory": "RK-MEMORY-FORMAT",
    "accelerator.type": "RK-GPU-TYPE",
    "accelerator.count": "RK-GPU-COUNT",
}


def _check_names(reader: _Reader, params: Mapping[str, Param], secrets: Mapping[str, SecretSource]) -> None:
    """Check names across tables: parameters and secrets share one space in a pipeline."""
    for table, names in (("params", params), ("secrets", secrets)):
        for name in names:
            if not PARAMETER.fullmatch(name) or keyword.iskeyword(name) or len(name) > LONGEST_PARAMETER:
                reader.fault(
                    f"{table}.{name}",
                    "use lower-case letters, digits and single underscores; begin with a letter; no Python keyword",
                )
            if name in BUILT_IN_PARAMS:
                reader.fault(
                    f"{table}.{name}",
                    "reserved: every registry has this parameter, set by the setting or by -t",
                    "choose another name",
                )
    for name in params.keys() & secrets.keys():
        reader.fault(f"secrets.{name}", "duplicate: also declared in [params]", "remove one of the two")
    for name, secret in secrets.items():
        if reader.told(f"secrets.{name}"):
            continue
        if not (secret.env or secret.file):
            reader.fault(f"secrets.{name}", "has no place to look in", 'write env = "NAME", file = "name.txt", or both')
        if secret.env_file and not secret.env:
            reader.fault(f"secrets.{name}.env_file", "requires env: the name to look up in the file")


def _check_check(
    reader: _Reader, check: CheckSection, containers: Mapping[str, Container], secrets: Mapping[str, SecretSource]
) -> None:
    for code, reason in check.ignore.items():
        if not reason.strip():
            reader.fault(f"check.ignore.{code}", "has no reason", "write the reason, for the next reader of this file")
    if check.git is None:
        return
    if check.git.login is not None and check.git.login not in secrets:
        reader.fault(
            "check.git.login", f"no secret {check.git.login!r} is declared", did_you_mean(check.git.login, secrets)
        )
    known = {*containers, *(container.name for container in containers.values())}
    for word in check.git.makes_tag:
        if word not in known and not (word == "" and reader.told("check.git.makes_tag")):
            reader.fault("check.git.makes_tag", f"no container {word!r}", did_you_mean(word, known))


def _without_unknown(container: Container, known: Mapping[str, set[str]]) -> Container:
    """Return the container without references to what nothing declares, which are told already."""

    def right(value: Any) -> bool:
        return not isinstance(value, Reference) or value.name in known[value.kind]

    changes: dict[str, Any] = {key: None for key in ("cpu", "memory") if not right(getattr(container, key))}
    if container.accelerator and not right(container.accelerator.count):
        changes["accelerator"] = container.accelerator.model_copy(update={"count": "1"})
    if not all(right(reference) for reference in container.references):
        changes["args"] = tuple(argument if right(argument) else "" for argument in container.args)
        changes["env"] = {name: value for name, value in container.env.items() if right(value)}
    return container.model_copy(update=changes) if changes else container


def _check_references(reader: _Reader, containers: Mapping[str, Container], known: Mapping[str, set[str]]) -> None:
    for index, container in containers.items():
        accelerator = container.accelerator
        resources = {
            "cpu": container.cpu,
            "memory": container.memory,
            "accelerator.count": accelerator.count if accelerator else None,
        }
        parts: dict[str, Any] = {f"args.{number}": argument for number, argument in enumerate(container.args)}
        parts |= {f"env.{name}": value for name, value in container.env.items()} | resources
        for key, reference in parts.items():
            if not isinstance(reference, Reference):
                continue
            place = f"containers.{index}.{key}"
            if reference.name not in known[reference.kind]:
                other = "secret" if reference.kind == "param" else "param"
                if reference.name in known[other]:
                    hint = f'it is a {other}: write {{ {other} = "{reference.name}" }}'
                else:
                    hint = (
                        did_you_mean(reference.name, known[reference.kind])
                        or f"declare it as [{reference.kind}s.{reference.name}]"
                    )
                reader.fault(place, f"unknown {reference.kind} {shown(reference.name)}", hint)
            if key in resources and reference.name in BUILT_IN_PARAMS:
                reader.fault(
                    place,
                    f"a resource cannot depend on {reference.name!r}",
                    "declare a separate parameter for it",
                )
