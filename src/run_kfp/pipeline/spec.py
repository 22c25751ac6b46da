"""The text of a pipeline file becomes a pipeline spec (IR), or is refused with words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from run_kfp.errors import InputError
from run_kfp.pipeline.guard import json_fault, yaml_fault

# An IR value as YAML gives it.
Spec = Mapping[str, Any]


def read_spec(text: str, source: str, *, foreign: bool = False) -> Spec:
    """Read the text of a pipeline file.

    Args:
        text: YAML.
        source: where it comes from, in words.
        foreign: whether nobody has looked through it yet.

    Raises:
        InputError: it is not a KFP v2 pipeline spec.
    """
    # libyaml's loader where PyYAML has it: the pure Python one takes 20 times as long.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    hint = "compile it with `run-kfp -r … --compile-only` or `kfp dsl compile`"
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
        raise no_pipeline("is invalid YAML", hint, place) from None
    if sum(isinstance(document, Mapping) and "pipelineInfo" in document for document in documents) > 1:
        raise no_pipeline(
            f"{source} contains several pipelines, separated by ---", "save each in a separate file", source
        )
    spec = documents[0] if documents else None
    if fault := json_fault(spec):
        raise no_pipeline(fault, "a pipeline spec is JSON: put such a value in quotes", source)
    if isinstance(spec, Mapping) and str(spec.get("apiVersion")).startswith("argoproj.io"):
        raise no_pipeline(
            f"{source} is a Workflow of Argo, as kfp 1 wrote it for a KFP server, not a KFP v2 pipeline",
            "compile it with kfp 2: kfp dsl compile --py pipeline.py --output pipeline.yaml",
            source,
        )
    if isinstance(spec, Mapping) and "pipelineSpec" in spec:
        raise no_pipeline(
            f"{source} is a PipelineJob, not a pipeline spec",
            "pass the file that `kfp dsl compile` writes",
            source,
        )
    missing = [
        key
        for key in ("pipelineInfo", "root", "deploymentSpec", "components")
        if not isinstance(spec, Mapping) or not isinstance(spec.get(key), Mapping)
    ]
    if missing or not isinstance(spec, Mapping):
        raise no_pipeline(f"{source} is not a KFP v2 pipeline: it has no {', '.join(missing)}", hint, source)
    tasks = spec["root"].get("dag", {}).get("tasks") if isinstance(spec["root"].get("dag", {}), Mapping) else None
    if not isinstance(tasks, Mapping) or not tasks or not spec["pipelineInfo"].get("name"):
        lacking = "tasks" if spec["pipelineInfo"].get("name") else "name"
        raise no_pipeline(f"{source} is not a KFP v2 pipeline: it has no {lacking}", hint, source)
    return spec


def no_pipeline(message: str, hint: str, place: str) -> InputError:
    """Return the refusal of a text that is not a pipeline."""
    return InputError(message, hint, code="RK-PIPELINE-FILE", place=place)
