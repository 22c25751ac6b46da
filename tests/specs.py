"""What the checks look at, for their tests: made from the text of a registry, from a spec, or by kfp."""

from __future__ import annotations

import contextlib
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler, dsl

from run_kfp.findings import Finding
from run_kfp.masking import Masker
from run_kfp.pipeline import CompiledPipeline, compile_pipeline, read_pipeline
from run_kfp.plans import Inputs, fill
from run_kfp.preflight.context import CheckContext, read_steps
from run_kfp.registry import Container, Registry
from run_kfp.registry_file import packaged_registry_text, parse_registry
from run_kfp.secrets import SecretFinder
from run_kfp.settings import Layers, load_settings

FILE = "pipeline.yaml"
REGISTRY_FILE = "run-kfp.toml"

# A container in few words, for tests that look at one key of it: `registry("args = ['x']")`.
_ONE = """
[pipeline]
name = "test-pipeline"
[containers.1]
name = "step"
image = "busybox:1.36"
"""


def registry(keys: str, more: str = "") -> str:
    """Return the text of a registry with one container, number 1, that has `keys`; `more` are further tables."""
    return f"{_ONE}{keys}\n{more}\n"


def context_of_registry(
    text: str | None,
    selection: Sequence[str] = ("1",),
    *,
    params: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
    caching: bool | None = None,
    failure_policy: str | None = None,
    job_id: str | None = None,
    folder: Path | None = None,
    **settings: str,
) -> CheckContext:
    """Compile containers of a registry, as `run-kfp -r …` does.

    Args:
        text: of the registry, called run-kfp.toml; None for the packaged one.
        selection: what stands after -r.
        params: what stands after -p, `tag` among them.
        environ: the variables; secrets are found there.
        caching: the flag.
        failure_policy: the flag.
        job_id: the flag.
        folder: of the registry file, where factories and secrets may lie.
        settings: by name (`region="us-east1"`).
    """
    folder = folder or Path.cwd()
    declared = parse_registry(text or packaged_registry_text(), source=REGISTRY_FILE, folder=folder)
    chosen = declared.select(selection)
    used = {part.name for one in chosen for part in (*one.references, *one.resource_references)}
    values = {name: param.default for name, param in declared.params.items()} | dict(params or {})
    fixed = {name: values[name] or "" for name in used & declared.compile_time_params}
    layers = Layers(settings, environ or {}, {})
    pipeline = compile_pipeline(
        declared, chosen, fixed=fixed, caching=caching if caching is not None else bool(declared.settings.caching)
    )
    return _context(pipeline, declared, chosen, layers, params or {}, caching, failure_policy, job_id, folder)


def context_of_spec(
    spec: Mapping[str, Any],
    *,
    params: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
    failure_policy: str | None = None,
    job_id: str | None = None,
    registry_text: str | None = None,
    folder: Path | None = None,
    platforms: Mapping[str, Any] | None = None,
    faults: list[Finding] | None = None,
    **settings: str,
) -> CheckContext:
    """Write a spec to a file and read it, as `run-kfp -f pipeline.yaml` does; the rest as in `context_of_registry`.

    Args:
        spec: the IR.
        params: as above.
        environ: as above.
        failure_policy: as above.
        job_id: as above.
        registry_text: of the registry beside it; without one the packaged registry.
        folder: of the registry.
        platforms: the second document of the file, which kfp writes for other platforms.
        faults: takes what the reader finds, as `run-kfp check` does; None to raise it.
        settings: as above.
    """
    folder = folder or Path.cwd()
    with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):
        path = Path(FILE)
        documents = [dict(spec), *([dict(platforms)] if platforms is not None else [])]
        path.write_text(yaml.safe_dump_all(documents, sort_keys=False), encoding="utf-8")
        pipeline = read_pipeline(path, faults)
    declared = parse_registry(registry_text or packaged_registry_text(), source=REGISTRY_FILE, folder=folder)
    layers = Layers(settings, environ or {}, {})
    return _context(pipeline, declared, (), layers, params or {}, None, failure_policy, job_id, folder)


def spec_of_kfp(function: Callable[..., Any], name: str = "test-pipeline") -> dict[str, Any]:
    """Compile a function of kfp's own words and return the spec (the first document of the file)."""
    return documents_of_kfp(function, name)[0]


def documents_of_kfp(function: Callable[..., Any], name: str = "test-pipeline") -> list[dict[str, Any]]:
    """Compile a function of kfp's own words and return every document of the file."""
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # kfp's own, of coming changes
        path = Path(place) / FILE
        compiler.Compiler().compile(dsl.pipeline(name=name)(function), str(path))
        return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def step_spec(container: Mapping[str, Any], **task: Any) -> dict[str, Any]:
    """Return a whole spec of one step `step`, whose executor has `container` and whose task has `task`."""
    return {
        "pipelineInfo": {"name": "test-pipeline"},
        "schemaVersion": "2.1.0",
        "sdkVersion": "kfp-2.17.0",
        "root": {
            "dag": {"tasks": {"step": {"componentRef": {"name": "comp-step"}, "taskInfo": {"name": "step"}, **task}}}
        },
        "components": {"comp-step": {"executorLabel": "exec-step"}},
        "deploymentSpec": {"executors": {"exec-step": {"container": {"image": "busybox:1.36", **container}}}},
    }


def _context(
    pipeline: CompiledPipeline,
    registry: Registry,
    selection: tuple[Container, ...],
    layers: Layers,
    params: Mapping[str, str],
    caching: bool | None,
    failure_policy: str | None,
    job_id: str | None,
    folder: Path,
) -> CheckContext:
    settings, _, _ = load_settings(
        layers, registry.settings, registry_source=registry.source, caching=caching, failure_policy=failure_policy
    )
    finder = SecretFinder(layers, None, None, folder, Masker())
    tag = params.get("tag")
    values, _ = fill(pipeline, Inputs(settings, registry, layers, finder, params, tag, job_id))
    return CheckContext(
        pipeline=pipeline,
        steps=read_steps(pipeline, registry, selection, values),
        registry=registry,
        settings=settings,
        values=values,
        job_id=job_id,
    )
