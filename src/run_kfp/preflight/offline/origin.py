"""Where a pipeline comes from and where it goes: its names, the versions of who wrote it, the platform it is for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata

from run_kfp.findings import Finding
from run_kfp.pipeline.platforms import unused_settings
from run_kfp.preflight.context import CheckContext
from run_kfp.preflight.offline.spec import Spec, compiled_here, names_in_words, shown
from run_kfp.preflight.rules import rule

KUBERNETES = rule("RK-PLATFORM-KUBERNETES")
SCHEMA = rule("RK-SPEC-VERSION")
SDK_NEWER = rule("RK-VERSION-KFP")
SDK_PAIR = rule("RK-VERSION-SDK")
PIPELINE_NAME = rule("RK-PIPELINE-NAME")
DISPLAY_NAME = rule("RK-DISPLAY-NAME")
TASK_NAME = rule("RK-TASK-NAME")

_LONGEST_DISPLAY_NAME = 110  # what the Vertex backend leaves of it
_SCHEMAS = ("2.0.0", "2.1.0")


def check_origin(context: CheckContext, spec: Spec) -> Iterator[Finding]:
    """Check names, versions of the spec and of the installed SDKs, and settings for other platforms."""
    yield from _check_names(context, spec)
    yield from _check_versions(context, spec)
    yield from _check_platforms(context, spec)


def _check_names(context: CheckContext, spec: Spec) -> Iterator[Finding]:
    own = compiled_here(context)
    pipeline = context.pipeline
    kept = re.sub(r"-+", "-", re.sub(r"[^-0-9a-z]+", "-", pipeline.name.lower())).strip("-")[:128]
    if kept != pipeline.name:
        yield PIPELINE_NAME(
            spec.at("pipelineInfo.name"),
            f"is {shown(pipeline.name)}; kfp and the job ids make {kept or 'nothing'!r} of it",
            f"write {kept!r}" if kept else "write a name of lower-case letters, digits and dashes",
        )
    if len(pipeline.display_name) > _LONGEST_DISPLAY_NAME:
        # Without a display name the name itself is shown.
        key = "name" if pipeline.display_name == pipeline.name else "display_name" if own else "displayName"
        yield DISPLAY_NAME(
            spec.at(f"{'pipeline' if own else 'pipelineInfo'}.{key}"),
            f"has {len(pipeline.display_name)} characters; {_LONGEST_DISPLAY_NAME} of them are kept, because the name "
            "of a run has at most 128 with its suffix",
            "shorten it",
        )
    for dag in spec.dags.values():
        for name in dag.tasks:
            if not re.fullmatch(r"[A-Za-z0-9_.-]{1,200}", name):
                yield TASK_NAME(
                    spec.at(f"{dag.place}.dag.tasks"),
                    f"the task name {shown(name)} has characters beside letters, digits, dashes and underscores",
                    "rename it, and put the visible name into taskInfo.name",
                )


def _check_versions(context: CheckContext, spec: Spec) -> Iterator[Finding]:
    schema = spec.body.get("schemaVersion")
    if schema not in _SCHEMAS:
        yield SCHEMA(
            spec.at("schemaVersion"),
            f"is {shown(schema)}; known versions: {', '.join(_SCHEMAS)}" if schema is not None else "is missing",
            "compile the file with kfp 2",
        )
    installed = {name: found for name in _SDKS if (found := _installed(name))}
    written = re.match(r"kfp-([0-9]+)\.([0-9]+)", str(spec.body.get("sdkVersion", "")))
    here = re.match(r"([0-9]+)\.([0-9]+)", installed.get("kfp", ""))
    if written and here and (int(written[1]), int(written[2])) > (int(here[1]), int(here[2])):
        yield SDK_NEWER(
            spec.at("sdkVersion"),
            f"the file was compiled by {shown(spec.body['sdkVersion'])}, and kfp {installed['kfp']} is installed here",
            "nothing to do, if the run works as expected",
        )
    try:
        required = metadata.requires("run-kfp") or []
    except metadata.PackageNotFoundError:  # run from its source
        required = []
    yield from version_findings(required, installed)


_SDKS = ("kfp", "google-cloud-aiplatform")


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def version_findings(required: Sequence[str], installed: Mapping[str, str]) -> Iterator[Finding]:
    """Compare the installed SDKs with the versions that this program asks for.

    Args:
        required: requirements as the package's metadata has them ("kfp<2.18,>=2.17").
        installed: versions by package name; one that is not installed is left out.
    """
    for requirement in required:
        match = re.match(r"([A-Za-z0-9._-]+)\s*([<>=!~][^;]*)", requirement)
        if match is None or match[1] not in installed:
            continue
        version, allowed = installed[match[1]], match[2].strip()
        if not all(_satisfies(version, bound.strip()) for bound in allowed.split(",")):
            yield SDK_PAIR(
                f"the package {match[1]}",
                f"version {version} is installed; run-kfp was tested with {allowed}",
                f"python -m pip install '{match[1]}{allowed}'",
            )


def _satisfies(version: str, bound: str) -> bool:
    """Compare release numbers; a bound of another kind than <, <=, > and >= is taken as kept."""
    match = re.fullmatch(r"(<=|>=|<|>)\s*([0-9][0-9.]*)", bound)
    release = re.match(r"[0-9]+(\.[0-9]+)*", version)
    if match is None or release is None:
        return True
    left, right = ([int(part) for part in text.strip(".").split(".")] for text in (release[0], match[2]))
    width = max(len(left), len(right))
    left, right = ([*numbers, *([0] * (width - len(numbers)))] for numbers in (left, right))
    return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[match[1]]


def _check_platforms(context: CheckContext, spec: Spec) -> Iterator[Finding]:
    for unused in unused_settings(context.pipeline.platforms):
        what = f": {names_in_words(unused.kinds)}" if unused.kinds else ""
        yield KUBERNETES(
            spec.at(f"platforms.{unused.platform}"),
            f"the file has settings for {shown(unused.platform)}{what}",
            unused.hint,
        )
