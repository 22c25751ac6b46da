"""What a plan is made of: a value, or the place of a secret, for every parameter of a pipeline.

A plan (`RunRequest`) is the whole request, made without network; where a secret's value will stand it holds the place
of the secret. A submission replaces these references by values and adds nothing else.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from run_kfp.arguments import text_fault
from run_kfp.errors import did_you_mean, shown
from run_kfp.findings import Finding
from run_kfp.masking import Masker
from run_kfp.pipeline import CompiledPipeline, Parameter, settle
from run_kfp.pipeline.placeholders import as_text
from run_kfp.registry import BUILT_IN_PARAMS, Registry
from run_kfp.runs import BackendName, RunRef
from run_kfp.secret_shapes import holds_token, is_secret_name
from run_kfp.secrets import SecretFinder, SecretRef, locate_all, secret_finder
from run_kfp.settings import Layers, Settings


@dataclass(frozen=True)
class Value:
    """The value of a parameter and where it came from, in words."""

    value: Any
    source: str


# What a plan has for each parameter.
Values: TypeAlias = Mapping[str, Value | SecretRef]


@dataclass(frozen=True)
class Inputs:
    """What a plan is made from beside the pipeline.

    `faults` are those found before: the plan reports them together with its own. `job_id` is the flag, None for a new
    one.
    """

    settings: Settings
    registry: Registry
    layers: Layers
    finder: SecretFinder
    params: Mapping[str, str]
    tag: str | None = None
    job_id: str | None = None
    faults: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class RunRequest:
    """Everything that a submission sends; the values of secrets stand as their places.

    `root_source` says where the pipeline root comes from. `submission` is a random mark that travels as a label: by it
    a retry knows its own run from a stranger's of the same id.
    """

    backend: BackendName
    pipeline: CompiledPipeline
    job_id: str
    display_name: str
    values: Values
    project: str
    region: str
    pipeline_root: str
    service_account: str
    failure_policy: str
    submission: str
    endpoint: str = ""
    root_source: str = ""
    network: str | None = None
    encryption_key: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def ref(self) -> RunRef:
        """The run that it will be."""
        return RunRef(self.backend, f"projects/{self.project}/locations/{self.region}/pipelineJobs/{self.job_id}")

    @property
    def secrets(self) -> Mapping[str, SecretRef]:
        """The parameters whose values are secrets."""
        return {name: value for name, value in self.values.items() if isinstance(value, SecretRef)}


def find_secrets(
    layers: Layers, registry: Registry, masker: Masker, folder: Path | None, faults: list[Finding]
) -> SecretFinder:
    """Return who looks for secrets: in `folder`, else where the variable or custom says; `faults` takes a wrong one."""
    return secret_finder(layers, registry, masker, flag=folder, faults=faults)


def fill(pipeline: CompiledPipeline, inputs: Inputs) -> tuple[dict[str, Value | SecretRef], list[Finding]]:
    """Find a value, or the place of one, for every parameter of the pipeline.

    Returns:
        The values by name, and a fault for each that is missing or of the wrong type.
    """
    registry = inputs.registry
    names = [parameter.name for parameter in pipeline.parameters]
    located, faults = locate_all([name for name in names if name in registry.secrets], registry.secrets, inputs.finder)
    values: dict[str, Value | SecretRef] = {**located}
    for parameter in pipeline.parameters:
        if parameter.name in registry.secrets:
            continue
        given = _given(parameter.name, inputs)
        if isinstance(given, Value):
            typed = _typed(parameter, given)
            if isinstance(typed, Finding):
                faults.append(typed)
            else:
                values[parameter.name] = typed
        elif given is not None:
            faults.append(given)
        elif (own := pipeline.own_values.get(parameter.name)) is not None:
            place = f"{pipeline.source}: runtimeConfig"
            # As text it is read by the type that the pipeline declares, as a value of `-p` is.
            typed = _typed(parameter, Value(as_text(own), place))
            if isinstance(typed, Finding):
                faults.append(typed)
            else:
                values[parameter.name] = typed
        elif parameter.required and (registry.whole or parameter.name == "tag"):
            faults.append(_missing(parameter.name, inputs))
    return {name: values[name] for name in names if name in values}, faults


def settled(pipeline: CompiledPipeline, values: Values) -> CompiledPipeline:
    """Return the pipeline with the limits that its steps have by these values."""
    return settle(pipeline, *known_values(values))


def known_values(values: Values) -> tuple[dict[str, Any], frozenset[str]]:
    """Return the values that may be looked at, and the names of those that may not: secrets."""
    known = {name: found.value for name, found in values.items() if isinstance(found, Value)}
    return known, frozenset(values.keys() - known.keys())


def pipeline_root(pipeline: CompiledPipeline, settings: Settings) -> Value | None:
    """Return the folder that a run writes into, and where it comes from; None where nothing says one.

    What the user sets goes before the file's own, and that before the one that is made from the bucket.
    """
    if setting := settings.values.get("pipeline_root"):
        return Value(setting.value, setting.source)
    if root := pipeline.own_root:
        return Value(root, f"{'gcsOutputDirectory' if pipeline.is_job else 'defaultPipelineRoot'} of {pipeline.source}")
    if bucket := settings.get("bucket"):
        return Value(f"gs://{bucket}/pipeline_root/root", "made from the bucket")
    return None


def param_faults(pipeline: CompiledPipeline, registry: Registry, params: Mapping[str, str]) -> list[Finding]:
    """Say of each `-p` that nothing declares, or that is a secret, what is wrong with it."""
    names = [parameter.name for parameter in pipeline.parameters]
    faults: list[Finding] = []
    for name in params:
        if name in registry.secrets:
            faults.append(
                Finding(
                    f"{name} is a secret: -p would expose it in the shell history and the process list",
                    hint=f"put it where the registry looks: {_places(registry, name)}",
                    code="RK-SECRET-TYPED",
                    place=f"-p {name}",
                )
            )
        elif registry.whole and name not in (*names, *registry.params, *BUILT_IN_PARAMS):
            known = [*names, *registry.params]
            chosen = pipeline.source.removeprefix(f"{registry.source}: ")
            file = chosen == pipeline.source  # what is compiled here has its containers behind the registry's name
            message = (
                f"{chosen} has no parameter {shown(name)}"
                if file
                else f"no selected container ({chosen}) takes {shown(name)}"
            )
            others = ", ".join(one for one in names if one not in registry.secrets)
            faults.append(
                Finding(
                    f"{message}; valid parameters: {others or 'none'}",
                    did_you_mean(name, known) or f"remove -p {name}=…",
                    code="RK-PARAM-UNKNOWN",
                    place=f"-p {name}",
                )
            )
    return faults


def _places(registry: Registry, name: str) -> str:
    source = registry.secrets[name]
    places = [f"the variable {source.env}"] if source.env else []
    places += [f"{source.file} in the secrets folder"] if source.file else []
    places += [f"a line {source.env}=… of {source.env_file}"] if source.env_file else []
    return " or ".join(places)


def _given(name: str, inputs: Inputs) -> Value | Finding | None:
    """Return the value of a parameter that is no secret: `-t`, `-p`, its setting or variable, its default."""
    if name == "tag" and inputs.tag is not None:
        return (
            Value(inputs.tag, "-t")
            if inputs.tag
            else Finding(
                "-t is empty",
                "set the tag: -t dataset_v22 (or -p tag= for an empty one on purpose)",
                code="RK-PARAM-MISSING",
                place="-t",
            )
        )
    if name in inputs.params:
        return Value(inputs.params[name], "-p")
    if setting := inputs.settings.values.get(name):
        return Value(setting.value, setting.source)
    if param := inputs.registry.params.get(name):
        variable = param_variable(name, inputs.registry, inputs.layers)
        if isinstance(variable, Finding):
            return variable
        if variable:
            return Value(*variable)
        if param.default is not None:
            return Value(param.default, f"default in {inputs.registry.source}")
    return None


def param_variable(name: str, registry: Registry, layers: Layers) -> tuple[str, str] | Finding | None:
    """Return the value of the variable that a parameter names, with its place; None where there is none.

    A registry of a folder names any variable, and the value of a parameter is shown in the run, in plans and in
    records: a secret is not taken. What is one is known by the registry, by its name, or by its shape.
    """
    variable = registry.params[name].env
    found = layers.variable(variable) if variable else None
    if variable is None or found is None:
        return None
    secret = next((secret for secret, source in registry.secrets.items() if source.env == variable), "")
    kind = holds_token(found[0])
    if not (secret or kind or is_secret_name(variable)):
        return found
    why = f"holds secret {secret}" if secret else f"holds what looks like {kind}" if kind else "is named like a secret"
    hint = (
        f'write {{ secret = "{secret}" }}' if secret else f"declare it as [secrets.{name}] instead of [params.{name}]"
    )
    return Finding(
        f"parameter {name} would take the variable {variable}, which {why}: its value is not used",
        f"{hint}, or pass -p {name}=…",
        code="RK-PARAM-SECRET",
        place=found[1],
    )


def _missing(name: str, inputs: Inputs) -> Finding:
    if name == "tag":
        return Finding(
            "missing tag",
            hint="pass -t, such as -t dataset_v22; it has no default, so that no tag is created twice by accident",
            code="RK-PARAM-MISSING",
            place="-t",
        )
    if name in BUILT_IN_PARAMS:
        return inputs.settings.missing(name)
    param = inputs.registry.params.get(name)
    ways = [f"-p {name}=…", *([f"the variable {param.env}"] if param and param.env else [])]
    return Finding(
        f"parameter {name} has no value", f"set {' or '.join(ways)}", code="RK-PARAM-MISSING", place=f"-p {name}"
    )


def _typed(parameter: Parameter, given: Value) -> Value | Finding:
    """Turn the text of a value into the type that the pipeline declares."""
    text = str(given.value)
    place = f"-p {parameter.name}" if given.source == "-p" else given.source
    if fault := text_fault(text):
        return Finding(f"parameter {parameter.name} ({given.source}) {fault}", code="RK-PARAM-TYPE", place=place)
    readers: Mapping[str, tuple[Callable[[str], Any], str]] = {
        "STRING": (str, "text"),
        "NUMBER_INTEGER": (int, "an integer"),
        "NUMBER_DOUBLE": (_finite, "a number"),
        "BOOLEAN": (_boolean, "true or false"),
        "LIST": (lambda value: _json(value, list), "a JSON list"),
        "STRUCT": (lambda value: _json(value, dict), "a JSON object"),
    }
    if parameter.type not in readers:
        return Finding(
            f"parameter {parameter.name} is of type {parameter.type}, which cannot be passed as text",
            code="RK-PARAM-TYPE",
            place=place,
        )
    read, words = readers[parameter.type]
    try:
        return Value(read(text), given.source)
    except (ValueError, RecursionError):
        meant = _meant(parameter.type, text)
        front = f"-p {parameter.name}=" if given.source == "-p" else ""
        return Finding(
            f"parameter {parameter.name} is {shown(text)} ({given.source}); the pipeline takes {words}",
            f"write {front}{meant}" if meant else f"write {words}, such as {front}{_EXAMPLES[parameter.type]}",
            code="RK-PARAM-TYPE",
            place=place,
        )


_EXAMPLES: Mapping[str, str] = {
    "NUMBER_INTEGER": "3",
    "NUMBER_DOUBLE": "0.5",
    "BOOLEAN": "true",
    "LIST": "'[1, 2]'",
    "STRUCT": "'{\"a\": 1}'",
}


def _meant(kind: str, text: str) -> str:
    """Return the value of the type `kind` that a text is meant to be, as a shell takes it; else an empty string."""
    text = text.strip()
    if kind == "BOOLEAN":
        return {"yes": "true", "on": "true", "1": "true", "no": "false", "off": "false", "0": "false"}.get(
            text.lower(), ""
        )
    if kind == "LIST" and re.fullmatch(r"[\w.,\s-]{1,60}", text) and "," in text:
        parts = [part.strip() for part in text.split(",")]
        return shlex.quote(f"[{', '.join(part if _NUMBER.fullmatch(part) else json.dumps(part) for part in parts)}]")
    if re.fullmatch(r"-?[0-9]{1,3}(,[0-9]{3})+", text):  # thousands, or thousandths
        return ""
    number = text.replace(",", ".")
    if kind in ("NUMBER_INTEGER", "NUMBER_DOUBLE") and len(text) <= 20 and _NUMBER.fullmatch(number):
        if kind == "NUMBER_DOUBLE":
            return number
        value = float(number)
        return str(int(value)) if value == int(value) else ""
    return ""


_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,2})?")


def _finite(text: str) -> float:
    number = float(text)
    if number - number != 0:
        raise ValueError("not a JSON number")
    return number


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("neither")
    return text.lower() == "true"


def _json(text: str, kind: type) -> Any:
    value = json.loads(text)
    if not isinstance(value, kind):
        raise ValueError("of another kind")
    return value
