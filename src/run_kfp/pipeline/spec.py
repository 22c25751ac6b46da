"""The text of a pipeline file becomes a pipeline spec (IR), or is refused with words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from run_kfp.errors import InputError
from run_kfp.findings import Finding, Severity
from run_kfp.pipeline.guard import json_faults, yaml_fault
from run_kfp.pipeline.proto import fit
from run_kfp.pipeline.tables import table_at

# An IR value as YAML gives it.
Spec = Mapping[str, Any]

# What makes a document a pipeline.
_NEEDED = ("pipelineInfo", "root", "deploymentSpec", "components")

_HINT = "compile it with `run-kfp -r … --compile-only` or `kfp dsl compile`"


@dataclass(frozen=True)
class Documents:
    """What a pipeline file holds.

    Attributes:
        spec: the pipeline spec (IR), the first document, as far as it fits the schema.
        sent: the same as it stands: what a newer schema has is the backend's to read.
        platforms: settings of platforms such as Kubernetes, by name; kfp writes them as a second document.
        findings: what does not fit the schema; errors and warnings.
        job: the PipelineJob around the spec (TFX and kfp 1.8 write one); an empty table where the file is a spec.
    """

    spec: Spec
    sent: Spec
    platforms: Mapping[str, Any] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    job: Mapping[str, Any] = field(default_factory=dict)


def read_documents(text: str, source: str, *, foreign: bool = False) -> Documents:
    """Read the text of a pipeline file.

    Args:
        text: YAML.
        source: where it comes from, in words.
        foreign: whether nobody has looked through it yet. It is held against the schema then, and only what fits
            comes back.

    Raises:
        InputError: it is not a KFP v2 pipeline spec.
    """
    documents = _load(text, source, foreign=foreign)
    spec = documents[0] if documents else None
    if isinstance(spec, Mapping) and str(spec.get("apiVersion")).startswith("argoproj.io"):
        raise no_pipeline(
            f"{source} is a Workflow of Argo, as kfp 1 wrote it for a KFP server, not a KFP v2 pipeline",
            "compile it with kfp 2: kfp dsl compile --py pipeline.py --output pipeline.yaml",
            source,
        )
    job: Mapping[str, Any] = {}
    if isinstance(spec, Mapping) and "pipelineInfo" not in spec and isinstance(spec.get("pipelineSpec"), Mapping):
        job, spec = spec, spec["pipelineSpec"]
    sent = spec
    platforms = documents[1] if len(documents) > 1 and isinstance(documents[1], Mapping) else {}
    found: list[Finding] = []
    if foreign and isinstance(spec, Mapping) and spec:
        spec, found = fit(spec, source)
        if job:
            found += _job_findings(job, source)
        if platforms:
            platforms, more = fit(platforms, source, "PlatformSpec")
            found += more
    if lacking := _lacking(spec):
        fault = Finding(
            f"{source} is not a KFP v2 pipeline: it has no {lacking}", _HINT, code="RK-PIPELINE-FILE", place=source
        )
        raise InputError.of(source, [fault, *(each for each in found if each.severity is Severity.ERROR)])
    return Documents(spec or {}, sent or {}, table_at(platforms, "platforms"), tuple(found), job)


# What a run takes from a PipelineJob, and what its own flags and settings say instead.
_OF_JOB = frozenset({"displayName", "labels", "name", "pipelineSpec", "runtimeConfig"})
_OF_RUNTIME = frozenset({"gcsOutputDirectory", "parameterValues", "parameters"})
_FLAGS = {
    "serviceAccount": "--service-account",
    "network": "--network",
    "encryptionSpec": "--encryption-key",
    "failurePolicy": "--failure-policy",
}


def _job_findings(job: Mapping[str, Any], source: str) -> list[Finding]:
    """Name what a PipelineJob holds and a run does not take from it."""
    unused = [key for key in job if key not in _OF_JOB and job[key]]
    unused += [key for key in table_at(job, "runtimeConfig") if key not in _OF_RUNTIME]
    return [
        Finding(
            f"{key[:100]} of a PipelineJob is not used",
            f"pass {_FLAGS[key]}" if key in _FLAGS else "remove it",
            "RK-SPEC-KEY",
            f"{source}: {key[:100]}",
            Severity.WARNING,
        )
        for key in unused[:20]
    ]


def _load(text: str, source: str, *, foreign: bool) -> list[Any]:
    # libyaml's loader where PyYAML has it: the pure Python one takes 20 times as long.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        if foreign and (unsafe := yaml_fault(text, loader)):
            raise no_pipeline(unsafe.message, unsafe.hint, f"{source}: line {unsafe.line}")
        documents = list(yaml.load_all(text, Loader=loader))
    # PyYAML's constructors raise whatever a malformed tag leads to.
    except (
        yaml.YAMLError,
        ValueError,
        ArithmeticError,
        LookupError,
        AttributeError,
        TypeError,
        RecursionError,
    ) as error:
        mark = getattr(error, "problem_mark", None)
        last = text.rstrip().count("\n")  # where a text ends is behind its last line
        place = f"{source}: line {min(mark.line, last) + 1}" if mark else source
        raise no_pipeline("is invalid YAML", _HINT, place) from None
    if sum(isinstance(document, Mapping) and "pipelineInfo" in document for document in documents) > 1:
        raise no_pipeline(
            f"{source} contains several pipelines, separated by ---", "save each in a separate file", source
        )
    hint = "a pipeline spec is JSON: put such a value in quotes"
    if faults := [fault for document in documents for fault in json_faults(document)]:
        found = [
            Finding(words, hint, code="RK-PIPELINE-FILE", place=f"{source}: {where}" if where else source)
            for where, words in faults
        ]
        raise InputError.of(source, found)
    return documents


def _lacking(spec: object) -> str:
    """Name what a document lacks to be a pipeline; empty where it is one."""
    missing = [key for key in _NEEDED if not isinstance(spec, Mapping) or not isinstance(spec.get(key), Mapping)]
    if missing:
        return ", ".join(missing)
    if not table_at(spec, "pipelineInfo").get("name"):
        return "name"
    return "" if table_at(spec, "root", "dag", "tasks") else "tasks"


def no_pipeline(message: str, hint: str, place: str) -> InputError:
    """Return the refusal of a text that is not a pipeline."""
    return InputError(message, hint, code="RK-PIPELINE-FILE", place=place)
