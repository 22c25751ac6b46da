"""What Vertex AI asks of a CreatePipelineJob request, as far as it is documented.

Sources: the reference of google.cloud.aiplatform.v1.PipelineJob (field comments), the pipeline IR
(kfp's pipeline_spec.proto) and Google's rules for labels. Where the service is known to accept less
than is written here, nothing; where the fake is stricter than the service, the rule says so.
"""

from __future__ import annotations

import graphlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from google.cloud.aiplatform_v1.types import (
    CreatePipelineJobRequest,
    PipelineFailurePolicy,
    PipelineJob,
)
from google.protobuf import json_format, struct_pb2

Fault = tuple[str, str]
"""The path of a field, and what is wrong with it."""

PARENT = re.compile(r"projects/(?P<project>[a-z][-a-z0-9]{4,28}[a-z0-9]|\d+)/locations/[a-z0-9-]+")
_JOB_ID = re.compile(r"[a-z][-a-z0-9]{0,127}")
_EMAIL = re.compile(r"[a-z0-9.-]+@[a-z0-9-]+(\.[a-z0-9-]+)+")
_BUCKET = re.compile(r"gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/.*)?")
_KMS_KEY = re.compile(r"projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+")
_NETWORK = re.compile(r"projects/\d+/global/networks/[a-z][-a-z0-9]*")
_REQUIRED = "Required field is not set."
_MOST_LABELS = 64
_LONGEST_LABEL = 64
_LONGEST_DISPLAY_NAME = 128
_SCHEMA_VERSIONS = ("2.0.0", "2.1.0")


def _whole(value: struct_pb2.Value) -> bool:
    return value.WhichOneof("kind") == "number_value" and value.number_value.is_integer()


def _of_kind(kind: str) -> Callable[[struct_pb2.Value], bool]:
    return lambda value: value.WhichOneof("kind") == kind


_FITS: Mapping[str, Callable[[struct_pb2.Value], bool]] = {
    "STRING": _of_kind("string_value"),
    "NUMBER_INTEGER": _whole,
    "NUMBER_DOUBLE": _of_kind("number_value"),
    "BOOLEAN": _of_kind("bool_value"),
    "LIST": _of_kind("list_value"),
    "STRUCT": _of_kind("struct_value"),
}
"""Whether a value fits a `parameterType` of the IR."""


def faults_of_create(request: CreatePipelineJobRequest) -> Iterator[Fault]:
    """Yield every fault of the request; an accepted request has none."""
    if not PARENT.fullmatch(request.parent):
        yield (
            "parent",
            f"Invalid resource name {request.parent!r}: projects/P/locations/R expected.",
        )
    # The service makes up an id where none is given; a program that counts on being able to repeat
    # its request must not.
    if not _JOB_ID.fullmatch(request.pipeline_job_id):
        yield (
            "pipeline_job_id",
            f"{request.pipeline_job_id!r} does not match [a-z][-a-z0-9]{{0,127}}.",
        )
    yield from _faults_of_job(request.pipeline_job)
    spec = spec_of(request.pipeline_job)
    yield from _faults_of_spec(spec)
    yield from _faults_of_parameters(request.pipeline_job, spec)


def spec_of(job: PipelineJob) -> dict[str, object]:
    """Return the pipeline specification of a job as plain data."""
    return json_format.MessageToDict(PipelineJob.pb(job).pipeline_spec)


def tasks_in_order(spec: Mapping[str, object]) -> list[str]:
    """Return the names of the tasks of root.dag, each after those that it depends on.

    Raises graphlib.CycleError if they depend on each other in a circle.
    """
    tasks = section(spec, "root", "dag", "tasks")
    return list(
        graphlib.TopologicalSorter(
            {name: sorted(_upstream(section(tasks, name))) for name in sorted(tasks)}
        ).static_order()
    )


def section(tree: Mapping[str, object], *path: str) -> Mapping[str, object]:
    """Return the object at `path`, empty where there is none."""
    for key in path:
        child = tree.get(key)
        tree = child if isinstance(child, dict) else {}
    return tree


def _upstream(task: Mapping[str, object]) -> set[str]:
    dependent = task.get("dependentTasks")
    found = {str(name) for name in dependent} if isinstance(dependent, list) else set()
    for kind, output in (
        ("parameters", "taskOutputParameter"),
        ("artifacts", "taskOutputArtifact"),
    ):
        inputs = section(task, "inputs", kind)
        found |= {str(section(inputs, name, output).get("producerTask", "")) for name in inputs}
    return found - {""}


def _faults_of_job(job: PipelineJob) -> Iterator[Fault]:
    config = job.runtime_config
    if len(job.display_name) > _LONGEST_DISPLAY_NAME:
        yield "pipeline_job.display_name", "The name can be up to 128 characters long."
    if not _EMAIL.fullmatch(job.service_account):
        # Unset, the service takes the project's default account, which is never what is meant here.
        yield "pipeline_job.service_account", f"{job.service_account!r} is not an e-mail address."
    if not _BUCKET.fullmatch(config.gcs_output_directory):
        yield (
            "pipeline_job.runtime_config.gcs_output_directory",
            f"Invalid Cloud Storage URI {config.gcs_output_directory!r}.",
        )
    if config.failure_policy not in (
        PipelineFailurePolicy.PIPELINE_FAILURE_POLICY_FAIL_SLOW,
        PipelineFailurePolicy.PIPELINE_FAILURE_POLICY_FAIL_FAST,
    ):
        # The service reads "unspecified" as "slow"; the program is to say what it wants.
        yield "pipeline_job.runtime_config.failure_policy", _REQUIRED
    if job.encryption_spec.kms_key_name and not _KMS_KEY.fullmatch(job.encryption_spec.kms_key_name):
        yield "pipeline_job.encryption_spec.kms_key_name", "Not the resource name of a key."
    if job.network and not _NETWORK.fullmatch(job.network):
        yield "pipeline_job.network", "projects/{number}/global/networks/{name} expected."
    if len(job.labels) > _MOST_LABELS:
        yield "pipeline_job.labels", "No more than 64 user labels can be associated."
    for key, value in job.labels.items():
        if not key or not all(map(_right_label, (key, value))):
            yield "pipeline_job.labels", f"Invalid label {key!r}: {value!r}."


def _right_label(text: str) -> bool:
    """Whether a label's key or value holds lower-case letters, digits, _ and - alone."""
    return len(text) <= _LONGEST_LABEL and text == text.lower() and re.fullmatch(r"[\w-]*", text) is not None


def _faults_of_spec(spec: Mapping[str, object]) -> Iterator[Fault]:
    for key in ("root", "deploymentSpec", "pipelineInfo", "schemaVersion"):
        if not spec.get(key):
            yield f"pipeline_job.pipeline_spec.{key}", _REQUIRED
    if spec.get("schemaVersion", "2.1.0") not in _SCHEMA_VERSIONS:
        yield (
            "pipeline_job.pipeline_spec.schemaVersion",
            f"{spec['schemaVersion']!r} is not supported.",
        )
    if not section(spec, "pipelineInfo").get("name"):
        yield "pipeline_job.pipeline_spec.pipelineInfo.name", _REQUIRED
    tasks = section(spec, "root", "dag", "tasks")
    if not tasks:
        yield "pipeline_job.pipeline_spec.root.dag.tasks", _REQUIRED
    for name in tasks:
        yield from _faults_of_task(spec, name, section(tasks, name))
    try:
        tasks_in_order(spec)
    except graphlib.CycleError:
        yield (
            "pipeline_job.pipeline_spec.root.dag.tasks",
            "The tasks depend on each other in a circle.",
        )


def _faults_of_task(spec: Mapping[str, object], name: str, task: Mapping[str, object]) -> Iterator[Fault]:
    field = f"pipeline_job.pipeline_spec.root.dag.tasks.{name}"
    component = section(spec, "components", str(section(task, "componentRef").get("name", "")))
    if not component:
        yield field, "The component of the task is not defined."
    executor = component.get("executorLabel")
    if executor is not None and not section(spec, "deploymentSpec", "executors", str(executor)):
        yield field, f"The executor {executor!r} of the task is not defined."
    container = section(spec, "deploymentSpec", "executors", str(executor), "container")
    if container and not container.get("image"):
        yield f"pipeline_job.pipeline_spec.deploymentSpec.executors.{executor}", _REQUIRED
    for upstream in sorted(_upstream(task) - section(spec, "root", "dag", "tasks").keys()):
        yield field, f"The task depends on {upstream!r}, which is not defined."


_OLDER_KINDS = {"INT": "int_value", "DOUBLE": "double_value", "STRING": "string_value"}


def _faults_of_older_parameters(config: Any, declared: Mapping[str, object]) -> Iterator[Fault]:
    """Look at `parameters`, whose values name their types."""
    field = "pipeline_job.runtime_config.parameters"
    if config.parameter_values:
        yield "pipeline_job.runtime_config.parameter_values", "Not supported by schema version 2.0.0: use parameters."
    for name, value in config.parameters.items():
        kind = str(section(declared, name).get("type"))
        if name not in declared:
            yield field, f"The input parameter {name!r} is not found in the pipeline's definition."
        elif value.WhichOneof("value") != _OLDER_KINDS.get(kind):
            yield field, f"The input parameter {name!r} is a {kind}, given: {value.WhichOneof('value')}."
    for name in sorted(declared.keys() - config.parameters.keys()):
        yield field, f"The input parameter {name!r} has no value and no default."


def _faults_of_parameters(job: PipelineJob, spec: Mapping[str, object]) -> Iterator[Fault]:
    field = "pipeline_job.runtime_config.parameter_values"
    declared = section(spec, "root", "inputDefinitions", "parameters")
    config = PipelineJob.pb(job).runtime_config
    # "Used by the pipelines built with PipelineJob.pipeline_spec.schema_version 2.0.0 or lower" (RuntimeConfig).
    if spec.get("schemaVersion") == "2.0.0":
        yield from _faults_of_older_parameters(config, declared)
        return
    if config.parameters:
        yield "pipeline_job.runtime_config.parameters", "Deprecated: use parameter_values."
    for name, value in config.parameter_values.items():
        if name not in declared:
            yield field, f"The input parameter {name!r} is not found in the pipeline's definition."
            continue
        kind = str(section(declared, name).get("parameterType"))
        if kind not in _FITS:
            yield field, f"The input parameter {name!r} has the unknown type {kind!r}."
        elif not _FITS[kind](value):
            yield (
                field,
                f"The input parameter {name!r} is a {kind}, given: {value.WhichOneof('kind')}.",
            )
    for name in sorted(declared.keys() - config.parameter_values.keys()):
        definition = section(declared, name)
        if "defaultValue" not in definition and not definition.get("isOptional"):
            yield field, f"The input parameter {name!r} has no value and no default."
