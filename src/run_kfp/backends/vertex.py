"""Vertex AI Pipelines: the plan of a PipelineJob, its creation exactly once, and looks at it.

Uses `aiplatform_v1.PipelineServiceClient` of google-cloud-aiplatform. `aiplatform.PipelineJob.submit()` sends the same
message, but creates the bucket of the pipeline root when it is missing, never retries, has no deadline, and takes twice
as long to import.
"""

from __future__ import annotations

import functools
import json
import os
import random
import re
import secrets as random_source
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from run_kfp.credentials import (
    FIRST_PAUSE,
    LAST_ATTEMPT,
    LONGEST_ATTEMPT,
    LONGEST_PAUSE,
    find_credentials,
    first_sentence,
    printable,
    time_slice,
)
from run_kfp.errors import BackendError, InputError, Submitted, shown
from run_kfp.fast_imports import import_pipeline_service
from run_kfp.findings import Finding
from run_kfp.masking import Masker
from run_kfp.pipeline import CompiledPipeline
from run_kfp.pipeline.types import takes_older_values
from run_kfp.plans import Inputs, RunRequest, Value, fill, pipeline_root, settled
from run_kfp.runs import JOB_ID, BackendName, PollFailed, RunRef, RunState, RunStatus, StepState, StepStatus
from run_kfp.settings import SUBMISSION_LABEL, Settings, label_faults
from run_kfp.visible import shell_word

if TYPE_CHECKING:
    from google.api_core.exceptions import GoogleAPICallError
    from google.cloud import aiplatform_v1

# Foreign states in one table each; what is not in them is UNKNOWN, never a success.
_RUN_STATES = {f"PIPELINE_STATE_{state.value}": state for state in RunState if state is not RunState.UNKNOWN}
_STEP_STATES = {
    "PENDING": StepState.PENDING,
    "RUNNING": StepState.RUNNING,
    "SUCCEEDED": StepState.SUCCEEDED,
    "FAILED": StepState.FAILED,
    "CANCEL_PENDING": StepState.CANCELLING,
    "CANCELLING": StepState.CANCELLING,
    "CANCELLED": StepState.CANCELLED,
    "SKIPPED": StepState.SKIPPED,
    "NOT_TRIGGERED": StepState.SKIPPED,
}

# What may pass by itself. After all but RESOURCE_EXHAUSTED (the service refused) it is open whether the create took
# place, which a second create with the same id finds out.
_PASSING = frozenset({"UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "INTERNAL", "ABORTED", "UNKNOWN"})
_REFUSALS = frozenset(
    {
        "RESOURCE_EXHAUSTED",
        "PERMISSION_DENIED",
        "UNAUTHENTICATED",
        "NOT_FOUND",
        "INVALID_ARGUMENT",
        "FAILED_PRECONDITION",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
    }
)
# gRPC's words when no connection was made at all, so that nothing can have been sent (grpc core, client_channel).
_NEVER_SENT = ("failed to connect to all addresses", "DNS resolution failed", "Getting metadata from plugin failed")

_OTHER_ID = "choose another --job-id, or remove it to get a new id"


def plan(pipeline: CompiledPipeline, inputs: Inputs) -> RunRequest:
    """Make the request for a PipelineJob, without network.

    Raises:
        InputError: with every fault of settings, parameters, secrets, labels and names.
    """
    settings = inputs.settings
    values, faults = fill(pipeline, inputs)
    faults = [*inputs.faults, *faults, *_settings_faults(pipeline, inputs)]
    root = pipeline_root(pipeline, settings)
    job_id = inputs.job_id if inputs.job_id is not None else new_job_id(pipeline.name, datetime.now(UTC))
    submission = random_source.token_hex(8)
    request = RunRequest(
        backend=BackendName.VERTEX,
        pipeline=settled(pipeline, values),
        job_id=job_id,
        display_name=f"{pipeline.display_name[:110]}-{job_id[-6:] if inputs.job_id is None else submission[:6]}",
        values=values,
        project=settings.get("project") or "",
        region=settings.get("region") or "",
        pipeline_root=str(root.value) if root else "",
        root_source=root.source if root else "",
        service_account=settings.get("service_account") or "",
        failure_policy=settings.failure_policy,
        submission=submission,
        network=settings.get("network"),
        encryption_key=settings.get("encryption_key"),
        labels={**pipeline.own_labels, **settings.labels, SUBMISSION_LABEL: submission},
        endpoint=settings.get("api_endpoint") or f"{settings.get('region')}-aiplatform.googleapis.com",
    )
    faults += label_faults(pipeline.own_labels)
    faults += _words_taken_for_secrets(request, inputs.finder.masker)
    if faults:
        raise InputError.of("this call", list(dict.fromkeys(faults)))
    return request


def plan_faults(pipeline: CompiledPipeline | None, inputs: Inputs) -> tuple[Finding, ...]:
    """Return what `plan` would refuse; without a pipeline, what it would refuse of the settings."""
    if pipeline is None:
        return tuple(_settings_faults(None, inputs))
    try:
        plan(pipeline, inputs)
    except InputError as error:
        return error.all_faults
    return ()


def _settings_faults(pipeline: CompiledPipeline | None, inputs: Inputs) -> Iterator[Finding]:
    """Yield what is missing of the settings that every run needs, and what is wrong with its id."""
    settings = inputs.settings
    own_root = pipeline is not None and pipeline.own_root
    root = [] if settings.get("pipeline_root") or own_root else ["bucket"]
    if inputs.registry.whole:
        yield from settings.require(["project", "region", "service_account", *root])
    yield from settings.refused
    if inputs.job_id is not None and not JOB_ID.fullmatch(inputs.job_id):
        yield Finding(
            f"invalid job id {shown(inputs.job_id)}",
            "use up to 128 lower-case letters, digits and dashes; start with a letter",
            code="RK-JOB-ID",
            place="--job-id",
        )


def _words_taken_for_secrets(request: RunRequest, masker: Masker) -> Iterator[Finding]:
    """Yield a fault where a secret's value is a word of the run's own settings.

    The ref of the run and the link to it would be masked, and whoever reads them would read something else.
    """
    told = {
        "job id": request.job_id,
        "project": request.project,
        "region": request.region,
        "pipeline root": request.pipeline_root,
        "service account": request.service_account,
    }
    for name, text in told.items():
        if (masked := masker.mask(text)) != text:
            yield Finding(
                f"the value of a secret is part of the {name} {masked!r}: it is not secret, or the wrong value",
                f"check {', '.join(request.secrets) or 'the variables of the secrets'}",
                code="RK-SECRET-VALUE",
                place=name,
            )


def new_job_id(pipeline_name: str, now: datetime) -> str:
    """Return a fresh id: the pipeline's name, the time, six random digits.

    The SDK's own ids have a resolution of a second: two runs in one second collide.
    """
    name = re.sub(r"[^a-z0-9]+", "-", pipeline_name.lower()).strip("-")
    name = name if name[:1].isalpha() else f"run-{name}".rstrip("-")
    return f"{name[:100].rstrip('-')}-{now:%Y%m%d%H%M%S}-{random_source.token_hex(3)}"


def open_backend(settings: Settings, notify: Callable[[str], None]) -> Vertex:
    """Return the backend; nothing is imported or contacted before the first call."""
    return Vertex(settings, notify)


class Vertex:
    """Vertex AI Pipelines under the settings of a call."""

    def __init__(
        self,
        settings: Settings,
        notify: Callable[[str], None],
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the settings, where to tell of retries, and time (seconds), which tests bring themselves."""
        self._settings = settings
        self._notify = notify
        self._sleep = sleep
        self._clock = clock
        self._clients: dict[str, aiplatform_v1.PipelineServiceClient] = {}

    def submit(self, request: RunRequest) -> RunRef:
        """Create the PipelineJob, exactly once, within the timeout of the settings.

        A create whose answer is lost is sent again with the same id; ALREADY_EXISTS then means our run or a stranger's,
        and the label tells which.

        Raises:
            BackendError: refused, or not reached in time; it says whether a run may exist.
            InputError: a secret is gone.
        """
        parent = f"projects/{request.project}/locations/{request.region}"
        run = request.ref
        job = _message(request)  # imports the SDK, whose time is not the network's
        deadline = self._clock() + self._settings.timeout
        client = self._client(request.region, deadline, request.endpoint)
        create = functools.partial(
            client.create_pipeline_job, parent=parent, pipeline_job=job, pipeline_job_id=request.job_id, retry=None
        )
        may_exist, pause = False, FIRST_PAUSE
        while True:
            code, answer = _attempt(create, time_slice(deadline - self._clock()))
            if taken := code == "ALREADY_EXISTS":
                code, answer = _attempt(
                    functools.partial(client.get_pipeline_job, name=run.path, retry=None),
                    time_slice(deadline - self._clock()),
                )
                if code == "OK" and answer.labels.get(SUBMISSION_LABEL) != request.submission:
                    raise BackendError(f"another run already has the id {request.job_id}", hint=_OTHER_ID)
            if code == "OK":
                return run
            if not taken and code not in _REFUSALS and not any(words in answer.message for words in _NEVER_SENT):
                may_exist = True
            left = deadline - self._clock()
            if taken and (code not in _PASSING or left < LAST_ATTEMPT):
                raise BackendError(
                    f"a run with the id {request.job_id} exists, and Vertex AI does not say whose "
                    f"({code}: {_words(answer)})",
                    hint=_OTHER_ID,
                    submitted=Submitted.UNKNOWN if may_exist else Submitted.NO,
                )
            if code not in _PASSING or left < LAST_ATTEMPT:
                raise _create_error(code, answer, request, may_exist, self._settings.timeout)
            self._notify(f"Vertex AI answered {code}: {_words(answer)}; retrying ({left:.1f} s left)")
            self._sleep(min(pause, left / 2) * random.uniform(0.7, 1.0))
            pause = min(2 * pause, LONGEST_PAUSE)

    def status(self, run: RunRef, timeout: float = LONGEST_ATTEMPT) -> RunStatus:
        """Look at the run once, within `timeout` seconds.

        Raises:
            PollFailed: Vertex AI refused or could not be reached.
        """
        region = run.path.split("/")[3]
        try:
            client = self._client(region, self._clock() + self._settings.timeout)
        except BackendError as error:
            raise PollFailed(error.what, passing=False) from None
        timeout = max(min(timeout, LONGEST_ATTEMPT, self._settings.timeout), 0.1)
        code, answer = _attempt(functools.partial(client.get_pipeline_job, name=run.path, retry=None), timeout)
        if code != "OK":
            raise PollFailed(f"Vertex AI answered {code}: {_words(answer)}", passing=code in _PASSING)
        return _status(answer)

    def console_url(self, run: RunRef) -> str:
        """Return the page of the run in the Google Cloud console."""
        _, project, _, region, _, job_id = run.path.split("/")
        return (
            f"https://console.cloud.google.com/vertex-ai/locations/{region}/pipelines/runs/{job_id}?project={project}"
        )

    def _client(self, region: str, deadline: float, endpoint: str | None = None) -> aiplatform_v1.PipelineServiceClient:
        """Return the client of a region, with credentials that are valid now."""
        if region not in self._clients:
            sdk = _sdk()
            from google.api_core.client_options import ClientOptions
            from google.auth.exceptions import GoogleAuthError

            endpoint = endpoint or self._settings.get("api_endpoint") or f"{region}-aiplatform.googleapis.com"
            credentials = find_credentials(
                self._settings, deadline, notify=self._notify, sleep=self._sleep, clock=self._clock
            )
            try:
                self._clients[region] = sdk.PipelineServiceClient(
                    credentials=credentials, client_options=ClientOptions(api_endpoint=endpoint)
                )
            except (GoogleAuthError, ValueError) as error:  # client certificates, another universe domain
                raise BackendError(
                    f"Google's client cannot be set up: {first_sentence(error)}",
                    hint="check the GOOGLE_… environment variables",
                ) from None
        return self._clients[region]


@functools.cache
def _sdk() -> Any:
    """Import the SDK, keep it from logging requests, and tell it of the proxy."""
    # With this variable set, google-api-core logs requests whole, secrets and all (google/api_core/client_logging.py).
    os.environ.pop("GOOGLE_SDK_PYTHON_LOGGING_SCOPE", None)
    # Without credentials google-auth looks for the metadata server of a Google machine, three times for three seconds.
    os.environ.setdefault("GCE_METADATA_DETECT_RETRIES", "1")
    # gRPC's core (1.85) reads the names of these variables in lower case only, requests and most other programs both.
    for name in ("HTTPS_PROXY", "NO_PROXY"):
        if value := os.environ.get(name):
            os.environ.setdefault(name.lower(), value)
    return import_pipeline_service()


def _attempt(call: Callable[..., Any], timeout: float) -> tuple[str, Any]:
    """Make one call with a deadline in seconds; return "OK" and the answer, or the gRPC code's name and the error."""
    from google.api_core.exceptions import GoogleAPICallError, RetryError

    try:
        return "OK", call(timeout=timeout)
    except GoogleAPICallError as error:
        return (error.grpc_status_code.name if error.grpc_status_code else "UNKNOWN"), error
    except RetryError as error:
        return "DEADLINE_EXCEEDED", error


def _message(request: RunRequest) -> aiplatform_v1.PipelineJob:
    """Build the message: here, and nowhere earlier, secrets become values."""
    sdk = _sdk()
    from google.protobuf import json_format, struct_pb2

    spec = struct_pb2.Struct()
    json_format.ParseDict(dict(request.pipeline.sent), spec)  # what JSON does not have was refused with the file
    plain = {
        name: found.value if isinstance(found, Value) else found.reveal().get_secret_value()
        for name, found in request.values.items()
    }
    values: dict[str, Any]
    if takes_older_values(request.pipeline.spec):
        types = {parameter.name: parameter.type for parameter in request.pipeline.parameters}
        values = {"parameters": {name: _older_value(types[name], value) for name, value in plain.items()}}
    else:
        values = {
            "parameter_values": {
                name: json_format.Parse(json.dumps(value), struct_pb2.Value()) for name, value in plain.items()
            }
        }
    policy = {"fast": "PIPELINE_FAILURE_POLICY_FAIL_FAST", "slow": "PIPELINE_FAILURE_POLICY_FAIL_SLOW"}[
        request.failure_policy
    ]
    job: aiplatform_v1.PipelineJob = sdk.PipelineJob(
        display_name=request.display_name,
        pipeline_spec=spec,
        runtime_config=sdk.PipelineJob.RuntimeConfig(
            gcs_output_directory=request.pipeline_root,
            **values,
            failure_policy=sdk.PipelineFailurePolicy[policy],
        ),
        service_account=request.service_account,
        labels=dict(request.labels),
        network=request.network or "",
        encryption_spec=sdk.EncryptionSpec(kms_key_name=request.encryption_key) if request.encryption_key else None,
    )
    return job


def _older_value(kind: str, value: Any) -> dict[str, Any]:
    """Return the value of a parameter as a spec of version 2.0.0 takes it (aiplatform_v1, Value)."""
    if kind == "NUMBER_INTEGER":
        return {"int_value": int(value)}
    if kind == "NUMBER_DOUBLE":
        return {"double_value": float(value)}
    return {"string_value": value if isinstance(value, str) else json.dumps(value)}


def _create_error(
    code: str, error: GoogleAPICallError, request: RunRequest, may_exist: bool, timeout: float
) -> BackendError:
    """Say what became of a create that did not succeed, and what to do."""
    submitted = Submitted.UNKNOWN if may_exist else Submitted.NO
    words = _words(error)
    if code in _PASSING:
        message = f"Vertex AI could not be reached within {timeout:g} s ({code}: {words})"
        hint = "check the region, the network and proxies; then run the command again"
        if code in ("INTERNAL", "UNKNOWN", "ABORTED"):
            message, hint = f"Vertex AI kept failing for {timeout:g} s ({code}: {words})", "run the command again later"
        if code == "RESOURCE_EXHAUSTED":
            message, hint = (
                f"Vertex AI refused for {timeout:g} s: too many requests or no quota ({words})",
                "wait a minute, or request more quota",
            )
    else:
        message, hint = f"Vertex AI refused the run ({code}: {words})", _HINTS.get(code, "")
        if "act as" in words:
            hint = (
                "let the caller act as it: "
                f"gcloud iam service-accounts add-iam-policy-binding {shell_word(request.service_account or '')} "
                "--member=user:YOU --role=roles/iam.serviceAccountUser"
            )
        elif "SERVICE_DISABLED" in words or "has not been used in project" in words or "is disabled" in words:
            hint = f"gcloud services enable aiplatform.googleapis.com --project={shell_word(request.project)}"
    if may_exist:
        hint = f"look for {request.job_id} in the console before you submit again" + (f"; {hint}" if hint else "")
    return BackendError(message, hint, submitted)


_HINTS: Mapping[str, str] = {
    "PERMISSION_DENIED": (
        "the caller needs roles/aiplatform.user on the project and roles/iam.serviceAccountUser on the service account"
    ),
    "UNAUTHENTICATED": (
        "the credentials are expired or revoked: run `gcloud auth application-default login`, or use a new key"
    ),
    "NOT_FOUND": "check the project and the region",
    "INVALID_ARGUMENT": "fix what the message names",
    "FAILED_PRECONDITION": "fix what the message names",
}


def _words(error: Exception) -> str:
    """Return what the API says, on one line."""
    return printable(str(getattr(error, "message", error))).rstrip(".") or type(error).__name__


def _status(job: aiplatform_v1.PipelineJob) -> RunStatus:
    """Translate what Vertex says of a run; the entry that stands for the run itself is left out."""
    itself = job.name.rpartition("/")[2]
    steps = tuple(
        StepStatus(
            task.task_name,
            _STEP_STATES.get(task.state.name, StepState.UNKNOWN),
            started=_time(task, "start_time"),
            ended=_time(task, "end_time"),
            error=_error(task.error),
            log=_custom_job(task),
        )
        for task in job.job_detail.task_details
        if task.task_name != itself
    )
    return RunStatus(_RUN_STATES.get(job.state.name, RunState.UNKNOWN), steps, _error(job.error))


def _time(task: Any, name: str) -> datetime | None:
    return getattr(task, name) if name in task else None


def _error(status: Any) -> str:
    return (printable(str(status.message)) or f"code {status.code}") if status and status.code else ""


def _custom_job(task: Any) -> str:
    """Return the CustomJob whose log holds the container's output, or an empty string."""
    detail = task.executor_detail.container_detail
    failed = list(detail.failed_main_jobs)
    return str(failed[-1] if failed else detail.main_job)
