"""What a call gives the steps on this machine alone: mounts, variables, shared memory, GPUs.

A flag counts for all steps, with `STEP:` in front of its value for one; what is said of one step goes before what is
said of all. Only the flags of a call say so: neither the registry nor `.env` of a folder has a word for it.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from run_kfp.backends.local.naming import step_named
from run_kfp.errors import InputError
from run_kfp.files import is_file, is_folder
from run_kfp.findings import Finding
from run_kfp.graph import ExecutableStep
from run_kfp.masking import MASK
from run_kfp.plans import Inputs
from run_kfp.secret_shapes import called_secret, holds_token, is_secret_name

ALL_GPUS = -1

# HOST:CONTAINER[:MODE]; a folder of this machine may have colons in its name, one of a container may not.
_MOUNT = re.compile(r"(?P<host>.+):(?P<place>/[^:]*)(?::(?P<mode>[^:/]*))?", re.DOTALL)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")

# As Docker reads it (docker/go-units, RAMInBytes): powers of 1024.
_SIZE = re.compile(r"(?P<number>[0-9]{1,9}(?:\.[0-9]{1,3})?) ?(?P<unit>[kmgt]?)i?b?", re.IGNORECASE)


@dataclass(frozen=True)
class TypedExtras:
    """The values of `--mount`, `--env`, `--shm-size` and `--gpus`, as they were typed."""

    mounts: Sequence[str] = ()
    env: Sequence[str] = ()
    shm_size: Sequence[str] = ()
    gpus: Sequence[str] = ()


@dataclass(frozen=True)
class HostMount:
    """A file or folder of this machine that a step finds at a place of its own."""

    source: Path
    read_only: bool = False


@dataclass(frozen=True)
class Extras:
    """What one step gets beside what the pipeline says.

    Attributes:
        mounts: by the place where the step finds them.
        env: variables; they go before those of the pipeline.
        shm_size: of /dev/shm, in bytes; None for the Engine's own size.
        gpus: how many, `ALL_GPUS` for all; None for what the pipeline says.
    """

    mounts: Mapping[str, HostMount] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    shm_size: int | None = None
    gpus: int | None = None


@dataclass
class _Entry:
    """One flag that was read: for which step, empty for all; of what kind, what it sets, to which value, how told."""

    step: str
    kind: str
    name: str
    value: HostMount | str | int
    told: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What may be said once."""
        return self.step, self.kind, self.name


def read_extras(
    typed: TypedExtras,
    steps: Sequence[ExecutableStep],
    inputs: Inputs,
    taken: Collection[str],
    faults: list[Finding],
) -> tuple[dict[str, Extras], tuple[str, ...]]:
    """Read the flags.

    Args:
        typed: their values.
        steps: those of the pipeline; none where it cannot be read, and then nothing is.
        inputs: of the call. Variables are those of its environment alone; its masker learns the values of those that
            are secrets by their name or form.
        taken: where containers have a mount already; no mount of these flags goes there.
        faults: takes what is wrong.

    Returns:
        What each step gets, by its name, and each flag as it is told in the record: never with a secret.
    """
    if not steps:
        return {}, ()
    entries: list[_Entry] = []
    readers: tuple[tuple[str, Sequence[str], Callable[[str], _Entry]], ...] = (
        ("--mount", typed.mounts, lambda text: _mount(text, taken)),
        ("--env", typed.env, lambda text: _variable(text, inputs)),
        ("--shm-size", typed.shm_size, _shm_size),
        ("--gpus", typed.gpus, _gpus),
    )
    for flag, texts, read in readers:
        for text in texts:
            try:
                entry = read(text)
                entry.step = entry.step and step_named(flag, entry.step, steps, inputs.registry)
                if any(other.key == entry.key for other in entries):
                    what = f"{flag} {entry.name}".strip()
                    raise InputError(f"{what} is set twice for {entry.step or 'all steps'}", hint="remove one")
            except InputError as error:
                faults += error.all_faults
            else:
                entry.told = f"{flag} {entry.step and entry.step + ':'}{entry.told}"
                entries.append(entry)
    extras = {step.name: _of_step(step.name, entries) for step in steps} if entries else {}
    faults += _without_effect(steps, extras)
    return extras, tuple(entry.told for entry in entries)


def told_step(told: str, names: Collection[str]) -> str:
    """Return the step that a flag is for, of those of these names, as `read_extras` tells it; empty for all."""
    first = told.partition(" ")[2].partition(":")[0]
    return first if first in names else ""


def _of_step(name: str, entries: Sequence[_Entry]) -> Extras:
    # Those of the one step come last, and win.
    mine = [entry for step in ("", name) for entry in entries if entry.step == step]
    mounts = {entry.name: entry.value for entry in mine if isinstance(entry.value, HostMount)}
    env = {entry.name: entry.value for entry in mine if isinstance(entry.value, str)}
    numbers = {entry.kind: entry.value for entry in mine if isinstance(entry.value, int)}
    return Extras(mounts, env, numbers.get("shm-size"), numbers.get("gpus"))


def _without_effect(steps: Sequence[ExecutableStep], extras: Mapping[str, Extras]) -> Iterator[Finding]:
    """Name the variables that a step's own call of `env` sets, as the compiler writes it for parameters and secrets."""
    for step in steps:
        if step.command == ("env",) and step.name in extras:
            for name in extras[step.name].env:
                if any(word.startswith(f"{name}=") for word in step.args):
                    yield Finding(
                        f"--env {name} has no effect on step {step.name}, which sets it from a parameter or secret",
                        "set that instead, or name the other steps: --env STEP:NAME=VALUE",
                    )


def _of_one_step(text: str) -> tuple[str, str]:
    """Split a value of the form `STEP:…`; without a colon it is one for all steps."""
    step, colon, rest = text.partition(":")
    return (step, rest) if colon else ("", text)


def _mount(text: str, taken: Collection[str]) -> _Entry:
    step, rest = ("", text) if text.startswith(("/", ".", "~")) else _of_one_step(text)
    found = _MOUNT.fullmatch(rest)
    if found is None or not rest.startswith(("/", ".", "~")):
        raise InputError(
            f"--mount {text!r} is not [STEP:]HOST:CONTAINER[:ro]",
            hint="begin HOST with / or ./ and CONTAINER with /, such as ./data:/data:ro",
        )
    if found["mode"] not in (None, "ro", "rw"):
        raise InputError(f"--mount {text!r}: unknown mode {found['mode']!r}", hint="write :ro, or leave it out")
    source, place = Path(found["host"]).expanduser().absolute(), posixpath.normpath(f"/{found['place'].lstrip('/')}")
    if not (is_folder(source) or is_file(source)):
        raise InputError(f"--mount: {found['host']} does not exist", hint="create it first")
    if place == "/" or place in taken:
        raise InputError(f"--mount: {place} is used already", hint="choose another folder of the container")
    read_only = found["mode"] == "ro"
    return _Entry(step, "mount", place, HostMount(source, read_only), f"{source}:{place}{':ro' if read_only else ''}")


def _variable(text: str, inputs: Inputs) -> _Entry:
    environ = inputs.layers.environ
    head, equals, value = text.partition("=")
    step, name = _of_one_step(head)
    if not _VARIABLE.fullmatch(name):
        raise InputError(f"--env {head!r} is not [STEP:]NAME[=VALUE]", hint="write NAME=VALUE, or NAME to pass it on")
    if not equals and name not in environ:
        raise InputError(f"--env {name}: the variable is not set", hint=f"set it, or write {name}=VALUE")
    value = value if equals else environ[name]
    of_registry = any(source.env == name for source in inputs.registry.secrets.values())
    secret = bool(of_registry or is_secret_name(name) or called_secret(name, value) or holds_token(value))
    if secret:
        inputs.finder.masker.add(value)
    told = f"{name}={MASK if secret else value}" if equals else f"{name} (environment)"
    return _Entry(step, "env", name, value, told)


def _shm_size(text: str) -> _Entry:
    step, size = _of_one_step(text)
    found = _SIZE.fullmatch(size)
    count = int(float(found["number"]) * 1024 ** " kmgt".find(found["unit"].lower() or " ")) if found else 0
    if count <= 0:
        raise InputError(
            f"--shm-size {text!r} is not [STEP:]SIZE", hint="write a number and a unit, such as 512m or 8g"
        )
    return _Entry(step, "shm-size", "", count, size)


def _gpus(text: str) -> _Entry:
    step, number = _of_one_step(text)
    if number != "all" and not re.fullmatch(r"[1-9][0-9]{0,2}", number):
        raise InputError(f"--gpus {text!r} is not [STEP:]N or [STEP:]all", hint="write --gpus 1 or --gpus all")
    return _Entry(step, "gpus", "", ALL_GPUS if number == "all" else int(number), number)
