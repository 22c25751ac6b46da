"""The registry: which containers there are, how each is called, and where its parameters and secrets come from.

An argument is a literal string or one reference; there is no template language. `registry_file` reads a registry.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from run_kfp.arguments import (
    ARGUMENT_FORM,
    ENV_VALUE_FORM,
    LITERAL_FORM,
    PARAM_FORM,
    Argument,
    Reference,
    read_argument,
    read_environment_value,
    read_literal,
    read_parameter_reference,
)
from run_kfp.errors import InputError, Refusal, did_you_mean, shown
from run_kfp.files import from_here
from run_kfp.findings import Finding
from run_kfp.limits import COUNT, CPU, MEMORY, count_text, cpu_text, memory_text

# Parameters that every registry has: the first three are settings of the same name, `tag` is `-t`.
BUILT_IN_PARAMS = ("project", "region", "bucket", "tag")

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FACTORY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_WORD = re.compile(r"\S+")
_REPEATED = re.compile(r"-[0-9]+$")  # KFP's names of repeated steps

# What the keys of [containers] and those of [params] and [secrets] look like.
INDEX = re.compile(r"0|[1-9][0-9]{0,5}")
PARAMETER = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
LONGEST_PARAMETER = 100


def name_meant(value: str) -> str:
    """Return the name nearest to `value` that a container or pipeline can have; an empty string where there is none."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])", "-", value) if value.isascii() else ""
    name = re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")
    name = re.sub(r"-(?=[0-9]+$)", "", name)
    return name if _NAME.fullmatch(name) and len(name) <= _LONGEST_WORD and not _REPEATED.search(name) else ""


def _name(value: str) -> str:
    hint = f"write {name_meant(value)!r}" if name_meant(value) else ""
    if not _NAME.fullmatch(value):
        raise Refusal(
            f"{shown(value)} is not a name: use lower-case letters, digits and single dashes; begin with a letter",
            hint,
        )
    if _REPEATED.search(value):
        raise Refusal(
            f"{shown(value)} ends in -<number>, which KFP adds to repeated steps (train, train-2): choose another name",
            hint,
        )
    return value


def _image(value: str) -> str:
    words = value.split()
    if len(words) != 1 or value != words[0]:
        # `docker pull IMAGE`, `docker run … IMAGE`, `FROM IMAGE`, or white space from copying.
        alone = len(words) == 1 or (len(words) > 1 and words[0].lower() in ("docker", "podman", "from"))
        meant = words[-1] if alone and re.fullmatch(r"[a-z0-9][^\s-]\S*", words[-1]) else ""
        raise Refusal(
            f"{shown(value)} is not a valid image: write it as for `docker pull` (user/image:tag)",
            f"write {shown(meant)}" if meant else "",
        )
    return read_literal(value)


def _accelerator_type(value: str) -> str:
    if not _WORD.fullmatch(value):
        meant = "_".join(value.upper().split())
        raise Refusal(
            f"{shown(value)} is not a valid accelerator type" if value else "is empty",
            f"write {meant!r}" if re.fullmatch(r"(NVIDIA|TPU)_\w+", meant) else "`run-kfp machines` lists the types",
        )
    return value


def _entrypoint(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        raise ValueError("is empty: write the image's ENTRYPOINT, or remove the key")
    return value


def _variable(value: str) -> str:
    if not _VARIABLE.fullmatch(value):
        meant = re.sub(r"[^A-Za-z0-9]+", "_", value).strip("_")
        raise Refusal(
            f"{shown(value)} is not a valid environment variable name: use letters, digits and underscores",
            f"write {shown(meant)}" if _VARIABLE.fullmatch(meant) else "",
        )
    return value


def _file_name(value: str) -> str:
    if not value or "\0" in value or Path(value).is_absolute() or ".." in Path(value).parts:
        raise ValueError(f"{shown(value)} is not inside the secrets folder: write a path relative to it")
    return value


def _factory(value: str) -> str:
    if not _FACTORY.fullmatch(value):
        raise ValueError(f'{shown(value)} is not a valid factory: write "package.module:function"')
    return value


def _or_reference(read: Any) -> BeforeValidator:
    return BeforeValidator(lambda value: read_parameter_reference(value) or read(value))


# Beside each validator stands what it takes, for the JSON Schema of a registry (`schema.py`).


def _form(pattern: re.Pattern[str], **more: Any) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": f"^({pattern.pattern})$", **more})


def _or_param(*forms: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": [*forms, PARAM_FORM]})


_CPU = _or_param(
    {"type": "number", "minimum": 0, "not": {"enum": [0]}},
    {"type": "string", "pattern": f"^({CPU.pattern})$", "not": {"pattern": "^[0.]*m?$"}},
)
_MEMORY = _or_param({"type": "string", "pattern": f"^({MEMORY.pattern})$"})
_COUNT = _or_param(
    {"type": "integer", "minimum": 0, "maximum": 9999}, {"type": "string", "pattern": f"^({COUNT.pattern})$"}
)
Text = Annotated[str, AfterValidator(read_literal), WithJsonSchema(LITERAL_FORM)]
Words = Annotated[tuple[Text, ...], Field(strict=False, json_schema_extra={"minItems": 1}), AfterValidator(_entrypoint)]
Name = Annotated[str, AfterValidator(_name), _form(_NAME, **{"not": {"pattern": _REPEATED.pattern}})]
VariableName = Annotated[str, AfterValidator(_variable), _form(_VARIABLE)]
ParameterName = Annotated[
    str,
    _form(
        PARAMETER,
        maxLength=LONGEST_PARAMETER,
        **{"not": {"enum": [*BUILT_IN_PARAMS, *filter(str.islower, keyword.kwlist)]}},
    ),
]
FileName = Annotated[
    str,
    AfterValidator(_file_name),
    WithJsonSchema({"type": "string", "minLength": 1, "not": {"pattern": r"^/|(^|/)\.\.(/|$)|\x00"}}),
]


class Model(BaseModel):
    """A part of the registry file: frozen, with no unknown keys, and silent about rejected values."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, strict=True, arbitrary_types_allowed=True
    )


class Accelerator(Model):
    """An accelerator and how many of it; a count of 0 drops it."""

    type: Annotated[str, AfterValidator(_accelerator_type), _form(_WORD)] = Field(
        description="Its Vertex AI type, such as `NVIDIA_TESLA_T4`."
    )
    count: Annotated[str | Reference, _or_reference(count_text), _COUNT] = Field(
        "1", description="The count; `0` removes the accelerator."
    )


class Process(Model):
    """How a container's step runs without its image (`--engine process`): a program of this machine, in a folder."""

    cwd: str = Field(".", description="The working directory, relative to the folder of the registry file.")
    entrypoint: Words = Field(
        description="The program and its first arguments; replaces the image's `ENTRYPOINT` or `command`."
    )


class Container(Model):
    """One entry of the registry: an image and how to call it, or a Python factory that makes the component."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["image"]},
                {
                    "required": ["factory"],
                    "not": {"anyOf": [{"required": [key]} for key in ("args", "command", "entrypoint", "env")]},
                },
            ],
            "not": {"required": ["command", "entrypoint"]},
        }
    )

    index: SkipJsonSchema[str]  # it stands in the table's name
    name: Name = Field(
        description="The name of the step: lower-case letters, digits and single dashes; unique; not ending in "
        "`-<number>`, which KFP adds to repeated steps."
    )
    display_name: str = Field("", description="The name in the graph; defaults to the name.")
    image: Annotated[str, AfterValidator(_image), _form(_WORD, **{"not": LITERAL_FORM["not"]})] = Field(
        "", description="The image, as for `docker pull`. Either this or `factory`."
    )
    factory: Annotated[str, AfterValidator(_factory), _form(_FACTORY)] = Field(
        "",
        description="`package.module:function`: a KFP component, or a function without arguments that returns one. "
        "The folder of the registry file is importable.",
    )
    args: Annotated[
        tuple[Annotated[Argument, PlainValidator(read_argument), WithJsonSchema(ARGUMENT_FORM)], ...],
        Field(strict=False),
    ] = Field((), description="The arguments for the image's `ENTRYPOINT`; they replace its `CMD`.")
    command: Words | None = Field(None, description="Replaces the image's `ENTRYPOINT`.")
    entrypoint: Words | None = Field(
        None, description="The image's `ENTRYPOINT`, repeated. Only for `env` values that are references."
    )
    env: dict[
        VariableName, Annotated[Argument, PlainValidator(read_environment_value), WithJsonSchema(ENV_VALUE_FORM)]
    ] = Field(
        {},
        description="Environment variables. A string goes into the pipeline file; a reference needs `command` or "
        "`entrypoint`, because the step then runs `env NAME=value… entrypoint… args…`.",
    )
    cpu: Annotated[str | Reference | None, _or_reference(cpu_text), _CPU] = Field(
        None, description="The CPU limit: `16`, `0.5` or `500m`. Vertex AI chooses the machine from it."
    )
    memory: Annotated[str | Reference | None, _or_reference(memory_text), _MEMORY] = Field(
        None, description="The memory limit: an integer and `K`, `M`, `G`, `T` or `Ki`, `Mi`, `Gi`, `Ti`."
    )
    accelerator: Accelerator | None = Field(None, description="The accelerator: a table with its type and count.")
    side_effects: bool = Field(
        False, description="Whether the step changes something outside the pipeline; such a step is never cached."
    )
    description: str = Field("", description="A description for `run-kfp list`.")
    process: Process | None = Field(
        None, description="How the step runs without its image (`--engine process`): a table."
    )

    @property
    def label(self) -> str:
        """What a person reads of it: the display name, else the name."""
        return self.display_name or self.name

    @property
    def references(self) -> tuple[Reference, ...]:
        """Every reference of the arguments and the environment, in order."""
        return tuple(part for part in (*self.args, *self.env.values()) if isinstance(part, Reference))

    @property
    def resource_references(self) -> tuple[Reference, ...]:
        """The parameters that its resources refer to: those are resolved when compiling."""
        parts = (self.cpu, self.memory, self.accelerator.count if self.accelerator else None)
        return tuple(part for part in parts if isinstance(part, Reference))


class Param(Model):
    """Where the value of a parameter comes from when `-p` does not say."""

    env: VariableName | None = Field(
        None, description="The environment variable with the value, also read from `.env`."
    )
    default: str | None = Field(None, description="The value if nothing else sets one.")
    description: str = Field("", description="A description for readers of the file.")


class SecretSource(Model):
    """Where a secret is looked for: an environment variable, a file, a line of an env file; in this order."""

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": ["env"]}, {"required": ["file"], "not": {"required": ["env_file"]}}]}
    )

    env: VariableName | None = Field(
        None, description="The environment variable with the value, and its name in `env_file`."
    )
    file: FileName | None = Field(None, description="A file of the secrets folder; its first line is the value.")
    env_file: FileName | None = Field(
        None,
        description="A file of `NAME=VALUE` lines, in the secrets folder, else beside the registry file. Needs `env`.",
    )
    description: str = Field("", description="A description for the placeholder that `run-kfp init` writes.")


class PipelineSection(Model):
    """The pipeline's own names and labels."""

    name: Name = Field(
        "pipeline", description="The KFP name of the pipeline; job ids start with it, and the cache depends on it."
    )
    display_name: str = Field(
        "", description="The name in the console, with a random suffix for each run; defaults to the name."
    )
    labels: dict[str, str] = Field(
        {}, description="Labels of every run; `--label` adds to them or replaces one with the same key."
    )


class SettingsSection(Model):
    """Settings of the lowest rank."""

    # The forms of the text values are in `settings.RULES`, for flags and variables too.

    project: str | None = None
    region: str | None = None
    bucket: str | None = None
    service_account: str | None = None
    pipeline_root: str | None = None
    network: str | None = None
    encryption_key: str | None = None
    api_endpoint: str | None = None
    caching: bool | None = Field(None, description="Whether steps may use cached results.")
    failure_policy: Literal["fast", "slow"] | None = Field(
        None, description="What happens after a step fails: `slow` lets independent steps continue."
    )


_HOST = r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?"  # nothing that only some libraries read as a host


class GitCheck(Model):
    """Where the tag of a run lies, so that a check can look: the remote, the secret to log in with, who makes the tag.

    `makes_tag` names containers that push the tag: with one of them chosen it must not be there yet, else it must.
    """

    remote: Annotated[str, Field(pattern=rf"^https?://{_HOST}(/[^\s@\\]*)?$")] = Field(
        description="The repository, `https://host/path.git`, without a login."
    )
    login: str | None = Field(None, description="The secret to log in with.")
    makes_tag: Annotated[tuple[str, ...], Field(strict=False)] = Field(
        (),
        description="Containers, by index or name, that push the tag. If one of them is selected, the tag must not "
        "exist; otherwise it must.",
    )


class CheckSection(Model):
    """Options of the checks."""

    ignore: dict[str, Annotated[str, WithJsonSchema({"type": "string", "pattern": r"\S"})]] = Field(
        {}, description="Findings to suppress, by code, each with the reason."
    )
    machines: FileName | None = Field(
        None, description="A file that overrides parts of the machine table, relative to the registry file."
    )
    # The login travels there: in clear within this machine at most.
    endpoints: dict[
        str, Annotated[str, Field(pattern=rf"^(https://{_HOST}|http://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]+)?)$")]
    ] = Field(
        {},
        description="Non-default addresses of Google's services, for example those of Private Service Connect.",
    )
    git: GitCheck | None = Field(None, description="The Git repository of the tag: a table.")


class RegistryFile(Model):
    """The tables of a registry file."""

    pipeline: PipelineSection = Field(PipelineSection(), description="The pipeline's own names and labels.")
    settings: SettingsSection = Field(
        SettingsSection(),
        description="Settings with the lowest precedence, after flags, the environment and `.env`.",
    )
    containers: dict[Annotated[str, _form(INDEX)], Container] = Field(
        min_length=1, description="The containers, by the index that `-r` takes."
    )
    params: dict[ParameterName, Param] = Field({}, description="Where parameter values come from.")
    secrets: dict[ParameterName, SecretSource] = Field({}, description="Where secrets are looked up.")
    check: CheckSection = Field(CheckSection(), description="Options of the checks.")


# A word after -r that is longer is told in the message alone, shortened.
_LONGEST_WORD = 60


def _empty_part(word: str, parts: Sequence[str]) -> Finding:
    """Say that a word after -r is empty, or has a comma with nothing in front of it or behind it."""
    if not parts:
        message, hint = f"-r {shown(word)} selects no container", "write an index or a name, such as -r 1"
    else:
        where = (
            "ends in a comma"
            if word.rstrip().endswith(",")
            else "begins with a comma"
            if word.lstrip().startswith(",")
            else "has an empty item between two commas"
        )
        message, hint = f"-r {shown(word)} {where}", f"write -r {','.join(parts)}" if len(word) <= _LONGEST_WORD else ""
    return Finding(message, hint, code="RK-SELECTION", place="-r")


@dataclass(frozen=True)
class Registry:
    """All entries of one registry file.

    `source` is how a person knows the file, `folder` what relative paths of it start from (the current folder for the
    packaged one). `whole` is false where it, or the `.env` that values come from beside it, could not be read: what is
    missing may stand there.
    """

    source: str
    folder: Path
    pipeline: PipelineSection
    settings: SettingsSection
    containers: Mapping[str, Container]
    params: Mapping[str, Param]
    secrets: Mapping[str, SecretSource]
    check: CheckSection
    whole: bool = True

    def select(self, words: Sequence[str], faults: list[Finding] | None = None) -> tuple[Container, ...]:
        """Return the containers that `words` name, in the order given; one that is named twice comes twice.

        Args:
            words: indices, names, ranges of indices ("1-4") and comma lists of those.
            faults: takes one for every word that selects no container; None to raise them.

        Raises:
            InputError: for every word that selects no container.
        """
        chosen: list[Container] = []
        wrong: list[Finding] = []
        for word in words:
            parts = [part.strip() for part in word.split(",")]
            if "" in parts:
                wrong.append(_empty_part(word, [part for part in parts if part]))
            for part in filter(None, parts):
                found = list(self._named(part))
                chosen += [container for container in found if isinstance(container, Container)]
                wrong += [fault for fault in found if isinstance(fault, Finding)]
        wrong = list(dict.fromkeys(wrong))
        if wrong and faults is None:
            raise InputError.of("the selection", wrong)
        (faults if faults is not None else []).extend(wrong)
        return tuple(chosen)

    def _named(self, word: str) -> Iterator[Container | Finding]:
        by_name = {container.name: container for container in self.containers.values()}
        if span := re.fullmatch(r"([0-9]{1,6})-([0-9]{1,6})", word):
            first, last = int(span[1]), int(span[2])
            if first > last:
                yield Finding(
                    f"the range {word} is reversed",
                    f"write {last}-{first}, or list the containers in the order you want",
                    code="RK-SELECTION",
                    place=f"-r {word}",
                )
            elif last - first > 10_000:
                yield Finding(
                    f"the range {word} is too long",
                    hint="Vertex AI runs at most 10,000 tasks per job",
                    code="RK-SELECTION",
                    place=f"-r {word}",
                )
            else:
                indices = [str(index) for index in range(first, last + 1)]
                yield from (self.containers[index] for index in indices if index in self.containers)
                if unknown := [index for index in indices if index not in self.containers]:
                    yield self._unknown(", ".join(unknown[:5]) + (", …" if len(unknown) > 5 else ""))
        elif container := self.containers.get(word) or by_name.get(word):
            yield container
        else:
            yield self._unknown(word)

    def _unknown(self, word: str) -> Finding:
        known = ", ".join(f"{container.index} ({container.name})" for container in self.containers.values()) or "none"
        guess = did_you_mean(word, [container.name for container in self.containers.values()])
        return Finding(
            f"unknown container {shown(word)} in {self.source}; it has {known}",
            guess or "see `run-kfp list`",
            code="RK-SELECTION",
            place=f"-r {word}" if len(word) <= _LONGEST_WORD else "-r",
        )

    @property
    def machines_file(self) -> Path | None:
        """The file that corrects the machine table, None where there is none."""
        return from_here(self.folder / self.check.machines) if self.check.machines else None

    @property
    def compile_time_params(self) -> frozenset[str]:
        """Parameters that a resource refers to: Vertex wants literals there, so they are resolved when compiling."""
        return frozenset(
            reference.name for container in self.containers.values() for reference in container.resource_references
        )
