"""A strict Vertex AI PipelineService on loopback: gRPC over TLS, spoken to by the unpatched SDK."""

from __future__ import annotations

import contextlib
import copy
import threading
import time
import urllib.parse
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NoReturn, Protocol, Self

import grpc
from google.cloud.aiplatform_v1.types import (
    CancelPipelineJobRequest,
    Context,
    CreatePipelineJobRequest,
    GetPipelineJobRequest,
    ListPipelineJobsRequest,
    ListPipelineJobsResponse,
    PipelineJob,
    PipelineState,
)
from google.protobuf import empty_pb2

from fakes import rpc, vertex_script
from fakes.accounts import Accounts
from fakes.certs import Authority
from fakes.rpc import Call, Refusal
from fakes.sockets import LOOPBACK, Relay
from fakes.vertex_rules import PARENT, faults_of_create, section, spec_of, tasks_in_order
from fakes.vertex_script import Script, Step

When = Literal["before", "after"]
Message = CreatePipelineJobRequest | GetPipelineJobRequest | CancelPipelineJobRequest | ListPipelineJobsRequest | bytes
"""A request; bytes where the fake does not know the method."""

SERVICE = "google.cloud.aiplatform.v1.PipelineService"
HOST = "aiplatform.googleapis.com"
BILLING_LABEL = "vertex-ai-pipelines-run-billing-id"
"""A label that the service puts on every job, over whatever the caller gave."""

_OUTPUT_ONLY = (
    "create_time",
    "start_time",
    "end_time",
    "update_time",
    "state",
    "job_detail",
    "error",
)
_CANCELLABLE = ("QUEUED", "PENDING", "RUNNING", "PAUSED")
_LARGEST_PAGE = 100


@dataclass
class Request:
    """A call that reached the fake, refused or not."""

    method: str
    """The bare name: "CreatePipelineJob"."""
    message: Message
    metadata: Mapping[str, str]
    time: float
    """Seconds of the monotonic clock at arrival; good for differences only."""
    code: str | None = None
    """The name of the gRPC status answered ("OK", "UNAVAILABLE"); None: nothing was answered."""


class FakeVertex:
    """The service, running while its context is open. Thread-safe.

    It refuses what the service refuses (`vertex_rules`), lets in whom `accounts` knows, and names
    projects by number in what it answers, as the service does. Without a script jobs stay PENDING.
    """

    def __init__(self, authority: Authority, accounts: Accounts | None = None) -> None:
        """Take certificates from `authority`; share `accounts` with a fake token endpoint."""
        self.authority = authority
        self.accounts = accounts or Accounts()
        self._changed = threading.Condition(threading.RLock())
        self._requests: list[Request] = []
        self._runs: dict[str, _Run] = {}
        self._projects: dict[str, str] = {}
        self._scripts: dict[str | None, Script] = {}
        self._faults: defaultdict[str, deque[_Fault | None]] = defaultdict(deque)
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as opening:
            port = opening.enter_context(
                rpc.server(
                    self._answer,
                    self.authority.issue("localhost", LOOPBACK, "*.googleapis.com"),
                )
            )
            self._relay = opening.enter_context(Relay(port))
            self._open = opening.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    # Where it is, and who may come in

    @property
    def port(self) -> int:
        """The port of loopback that it answers on."""
        return self._relay.port

    @property
    def endpoint(self) -> str:
        """What to give as `api_endpoint`: "localhost:PORT"."""
        return f"localhost:{self.port}"

    def environment(self) -> dict[str, str]:
        """Return the variables with which a process trusts the fake and needs no proxy."""
        ca_file = str(self.authority.ca_file)
        return {
            "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": ca_file,
            "REQUESTS_CA_BUNDLE": ca_file,
            "SSL_CERT_FILE": ca_file,
            "NO_PROXY": f"localhost,{LOOPBACK}",
            "no_proxy": f"localhost,{LOOPBACK}",
        }

    def trust(self, key: Mapping[str, str]) -> None:
        """Let in what this service account key signs."""
        self.accounts.trust(key)

    def revoke(self, key: Mapping[str, str]) -> None:
        """Answer UNAUTHENTICATED to this key from now on: it was deleted."""
        self.accounts.revoke(key)

    def expire(self, key: Mapping[str, str]) -> None:
        """Answer UNAUTHENTICATED to this key from now on: its tokens have expired."""
        self.accounts.expire(key)

    # What it has seen

    @property
    def requests(self) -> list[Request]:
        """Every call so far, in the order of arrival."""
        with self._changed:
            return list(self._requests)

    @property
    def creates(self) -> list[CreatePipelineJobRequest]:
        """The messages of all CreatePipelineJob calls so far, refused ones as well."""
        return [r.message for r in self.requests if isinstance(r.message, CreatePipelineJobRequest)]

    @property
    def jobs(self) -> dict[str, PipelineJob]:
        """Copies of all jobs, planted ones as well, by full name (with the project's number)."""
        with self._changed:
            return {name: PipelineJob(run.job) for name, run in self._runs.items()}

    def project_number(self, project: str) -> str:
        """Return the number by which the fake names a project, whatever it is called."""
        with self._changed:
            number = str(100_000_000_001 + len(self._projects))
            return project if project.isdigit() else self._projects.setdefault(project, number)

    def wait_for(self, method: str, *, count: int = 1, timeout: float = 30.0) -> None:
        """Return when `count` calls of `method` have arrived; TimeoutError after `timeout` s."""
        with self._changed:
            if not self._changed.wait_for(lambda: sum(r.method == method for r in self._requests) >= count, timeout):
                raise TimeoutError(f"{method} was not called {count} times within {timeout} s")

    # What becomes of jobs

    def script(self, *steps: Step | str, job_id: str | None = None) -> None:
        """Let the following GetPipelineJob calls show these steps, one each, the last one for ever.

        A string is a step that says nothing of tasks. Holds for every job, made already or not, or
        for the one with `job_id`; each job goes through the steps by itself.
        """
        fixed = [Step(step) if isinstance(step, str) else step for step in steps]
        if not fixed:
            raise ValueError("a script needs a step")
        self._play(lambda tasks: fixed, job_id)

    def succeeds(self, *, job_id: str | None = None) -> None:
        """Let jobs run task after task to SUCCEEDED."""
        self._play(vertex_script.succeeding, job_id)

    def fails(self, task: str, message: str, *, job_id: str | None = None) -> None:
        """Let jobs run up to `task`, which fails with `message`."""
        self._play(vertex_script.failing(task, message), job_id)

    def cancelled(self, *, job_id: str | None = None) -> None:
        """Let jobs be cancelled by somebody while their first task runs."""
        self._play(vertex_script.cancelled, job_id)

    def paused(self, *, job_id: str | None = None) -> None:
        """Let jobs be paused after their first task."""
        self._play(vertex_script.paused, job_id)

    def plant(self, job_id: str, *, parent: str, **fields: object) -> str:
        """Put a stranger's job there, with fields of PipelineJob; return its full name."""
        with self._changed:
            run = self._add(parent, job_id, PipelineJob(**fields))
            return str(run.job.name)

    # What goes wrong: faults are planned per method and consumed in order

    def fault(
        self,
        method: str,
        code: str,
        message: str,
        *,
        when: When = "before",
        times: int = 1,
        reason: str = "",
    ) -> None:
        """Answer the next `times` calls of `method` with the gRPC status `code` ("UNAVAILABLE").

        "before": nothing is done. "after": the work is done first, so that the answer tells the
        caller wrong; where the work itself is refused, that refusal is answered. `reason` goes into
        the google.rpc.ErrorInfo of the answer. Credentials are checked in front of every fault.
        """
        if code not in grpc.StatusCode.__members__:
            raise ValueError(f"no gRPC status {code!r}")
        self._plan(method, _Fault(when, Refusal(code, message, reason)), times)

    def hang(self, method: str, *, when: When = "before", times: int = 1) -> None:
        """Never answer the next `times` calls of `method`; "after": but do the work."""
        self._plan(method, _Fault(when, "hang"), times)

    def drop(self, method: str, *, when: When = "after", times: int = 1) -> None:
        """Cut the connection of the next `times` calls of `method` instead of answering."""
        self._plan(method, _Fault(when, "drop"), times)

    def allow(self, method: str, *, times: int = 1) -> None:
        """Answer the next `times` calls of `method` as they deserve; later plans wait."""
        self._plan(method, None, times)

    # Inside

    def _plan(self, method: str, fault: _Fault | None, times: int) -> None:
        if method not in _METHODS:
            raise ValueError(f"no method {method!r}: the fake has {', '.join(_METHODS)}")
        with self._changed:
            self._faults[method].extend([fault] * times)

    def _play(self, script: Script, job_id: str | None) -> None:
        with self._changed:
            if job_id is None:
                self._scripts.clear()
            self._scripts[job_id] = script
            for name, run in self._runs.items():
                if job_id is None or name.endswith(f"/{job_id}"):
                    run.steps = None

    def _answer(self, full_method: str, raw: bytes, call: Call) -> bytes:
        method = full_method.removeprefix(f"/{SERVICE}/")
        kind = _METHODS.get(method)
        request = Request(method, kind.deserialize(raw) if kind else raw, rpc.metadata(call), time.monotonic())
        with self._changed:
            self._requests.append(request)
            self._changed.notify_all()
        try:
            answer = self._worked(request, call)
        except Refusal as refusal:
            request.code = refusal.code
            raise
        except _Unanswered:
            return b""
        request.code = "OK"
        return answer

    def _worked(self, request: Request, call: Call) -> bytes:
        """Return the serialized answer; raise Refusal, or _Unanswered if the caller is gone."""
        if request.method not in _METHODS:
            raise Refusal("UNIMPLEMENTED", f"The fake has no method {request.method}.")
        rpc.authenticate(self.accounts, request.metadata, HOST)
        with self._changed:
            queue = self._faults[request.method]
            fault = queue.popleft() if queue else None
        if fault is not None and fault.when == "before":
            self._misbehave(fault, call)
        with self._changed:
            answer = self._work(request)
        if fault is not None and fault.when == "after":
            self._misbehave(fault, call)
        return answer

    def _misbehave(self, fault: _Fault, call: Call) -> NoReturn:
        if isinstance(fault.act, Refusal):
            raise copy.copy(fault.act)
        gone = threading.Event()
        if call.add_callback(gone.set):
            if fault.act == "drop":
                self._relay.cut(int(call.peer().rpartition(":")[2]))
            gone.wait()
        raise _Unanswered

    def _work(self, request: Request) -> bytes:
        answer: bytes
        match request.message:
            case CreatePipelineJobRequest() as message:
                _check_routing(request, "parent", message.parent)
                answer = PipelineJob.serialize(self._create(message))
            case GetPipelineJobRequest() as message:
                _check_routing(request, "name", message.name)
                answer = PipelineJob.serialize(self._get(message.name))
            case CancelPipelineJobRequest() as message:
                _check_routing(request, "name", message.name)
                self._cancel(message.name)
                answer = empty_pb2.Empty().SerializeToString()
            case ListPipelineJobsRequest() as message:
                _check_routing(request, "parent", message.parent)
                answer = ListPipelineJobsResponse.serialize(self._list(message))
            case bytes():
                raise AssertionError(f"{request.method} is in _METHODS but not here")
        return answer

    def _create(self, message: CreatePipelineJobRequest) -> PipelineJob:
        faults = list(faults_of_create(message))
        if faults:
            found = "".join(
                f"{number}.Field: {field}; Message: {words}\t" for number, (field, words) in enumerate(faults, 1)
            )
            raise Refusal("INVALID_ARGUMENT", f"List of found errors:\t{found}")
        job = PipelineJob(message.pipeline_job)
        for field in _OUTPUT_ONLY:
            PipelineJob.pb(job).ClearField(field)
        return self._add(message.parent, message.pipeline_job_id, job).job

    def _get(self, name: str) -> PipelineJob:
        run = self._find(name)
        if run.steps is None:
            script = self._scripts.get(run.job_id, self._scripts.get(None))
            if script is None:
                return run.job
            run.steps = deque(script(tasks_in_order(spec_of(run.job))))
        step = run.steps.popleft() if len(run.steps) > 1 else run.steps[0]
        vertex_script.show(run.job, step, project=run.project)
        return run.job

    def _cancel(self, name: str) -> None:
        run = self._find(name)
        state = run.job.state.name.removeprefix("PIPELINE_STATE_")
        if state not in _CANCELLABLE:
            raise Refusal("FAILED_PRECONDITION", f"The PipelineJob {name} is {state}.")
        run.steps = deque(vertex_script.cancelled(tasks_in_order(spec_of(run.job)))[-2:])

    def _list(self, message: ListPipelineJobsRequest) -> ListPipelineJobsResponse:
        if message.filter or message.order_by or message.read_mask.paths:
            raise Refusal("UNIMPLEMENTED", "The fake lists without filter, order_by and read_mask.")
        parent = self._canonical(message.parent)
        newest_first = [
            run.job for name, run in reversed(self._runs.items()) if name.startswith(f"{parent}/pipelineJobs/")
        ]
        start = int(message.page_token or 0)
        end = start + (message.page_size or _LARGEST_PAGE)
        return ListPipelineJobsResponse(
            pipeline_jobs=newest_first[start:end],
            next_page_token=str(end) if end < len(newest_first) else "",
        )

    def _add(self, parent: str, job_id: str, given: PipelineJob) -> _Run:
        canonical = self._canonical(parent)
        name = f"{canonical}/pipelineJobs/{job_id}"
        if name in self._runs:
            # Words as quoted in https://github.com/sky-uk/kfp-operator/issues/349.
            raise Refusal("ALREADY_EXISTS", "Pipeline job with the specified ID already exists.")
        job = PipelineJob(given)
        message = PipelineJob.pb(job)
        message.name = name
        message.state = message.state or PipelineState.PIPELINE_STATE_PENDING
        for field in ("create_time", "update_time"):
            if not message.HasField(field):
                getattr(message, field).GetCurrentTime()
        job.labels[BILLING_LABEL] = str(len(self._runs) + 1)
        contexts = f"{canonical}/metadataStores/default/contexts"
        pipeline = section(spec_of(job), "pipelineInfo").get("name", "")
        job.job_detail.pipeline_context = Context(name=f"{contexts}/{pipeline}")
        job.job_detail.pipeline_run_context = Context(name=f"{contexts}/{job_id}")
        self._runs[name] = _Run(job, job_id, parent.split("/")[1])
        return self._runs[name]

    def _find(self, name: str) -> _Run:
        parent, _, job_id = name.rpartition("/pipelineJobs/")
        run = self._runs.get(f"{self._canonical(parent)}/pipelineJobs/{job_id}")
        if run is None:
            raise Refusal("NOT_FOUND", f"The PipelineJob {name} does not exist.")
        return run

    def _canonical(self, parent: str) -> str:
        """Return a parent with the project's number for its id, as the service names things."""
        match = PARENT.fullmatch(parent)
        if match is None:
            raise Refusal("INVALID_ARGUMENT", f"Invalid resource name {parent!r}.")
        project = self.project_number(match["project"])
        return f"projects/{project}/locations/{parent.rpartition('/')[2]}"


class _Kind(Protocol):
    """The class of a request message, as far as it is used here."""

    def deserialize(self, payload: bytes) -> Message: ...


_METHODS: Mapping[str, _Kind] = {
    "CreatePipelineJob": CreatePipelineJobRequest,
    "GetPipelineJob": GetPipelineJobRequest,
    "CancelPipelineJob": CancelPipelineJobRequest,
    "ListPipelineJobs": ListPipelineJobsRequest,
}


@dataclass
class _Run:
    job: PipelineJob
    job_id: str
    project: str
    """The project as its creator named it."""
    steps: deque[Step] | None = None
    """What is still to be shown; None until it is asked for."""


class _Unanswered(Exception):
    """The caller is gone, or its connection is: there is no one to answer."""


@dataclass(frozen=True)
class _Fault:
    when: When
    act: Refusal | Literal["hang", "drop"]


def _check_routing(request: Request, field: str, value: str) -> None:
    """Refuse a call without the routing header that generated clients send (AIP-4222)."""
    header = urllib.parse.parse_qs(request.metadata.get("x-goog-request-params", ""))
    if header.get(field) != [value]:
        raise Refusal("INVALID_ARGUMENT", f"x-goog-request-params has no {field}={value!r}.")
