"""What becomes of a job on the fake: scripts of steps, and how a step looks in a PipelineJob."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from google.cloud.aiplatform_v1.types import (
    PipelineJob,
    PipelineState,
    PipelineTaskDetail,
)
from google.rpc import code_pb2, status_pb2

TaskOutcome = tuple[str, str | None]
"""The name of a PipelineTaskDetail.State, and an error message or None."""

Script = Callable[[Sequence[str]], Sequence["Step"]]
"""From the tasks of a job, in the order of their dependencies, to the steps of the job."""


class _Message(Protocol):
    """What is used of every protobuf message."""

    def HasField(self, field_name: str) -> bool: ...


class _Container(_Message, Protocol):
    main_job: str
    failed_main_jobs: list[str]


class _Executor(_Message, Protocol):
    @property
    def container_detail(self) -> _Container: ...


class _Detail(_Message, Protocol):
    """The protobuf message beneath a PipelineTaskDetail."""

    task_id: int
    parent_task_id: int
    state: int

    @property
    def error(self) -> status_pb2.Status: ...
    @property
    def executor_detail(self) -> _Executor: ...


_ENDED = ("SUCCEEDED", "FAILED", "CANCELLED")
_TASK_ENDED = ("SUCCEEDED", "FAILED", "CANCELLED", "SKIPPED", "NOT_TRIGGERED")
_NEVER_RAN = ("PENDING", "SKIPPED", "NOT_TRIGGERED")
_ids = itertools.count(4_611_686_018_427_387_905)


@dataclass(frozen=True)
class Step:
    """What one GetPipelineJob shows.

    `state` is a state of the job, with or without "PIPELINE_STATE_" in front; `tasks` says how the
    tasks stand, by name; `error` is the job's own error message.
    """

    state: str
    tasks: Mapping[str, TaskOutcome] = field(default_factory=dict)
    error: str | None = None

    def __post_init__(self) -> None:
        """Refuse a state that the API does not have (AttributeError)."""
        _job_state(self.short_state)
        for state, _ in self.tasks.values():
            _task_state(state)

    @property
    def short_state(self) -> str:
        """The state without its prefix."""
        return self.state.removeprefix("PIPELINE_STATE_")


def succeeding(tasks: Sequence[str]) -> Sequence[Step]:
    """PENDING, RUNNING once for each task, SUCCEEDED."""
    running = [_running(tasks, number) for number in range(len(tasks))]
    return [_pending(tasks), *running, Step("SUCCEEDED", _all(tasks, "SUCCEEDED"))]


def failing(task: str, message: str) -> Script:
    """Return a script in which `task` fails with `message`; those after it do not start."""

    def script(tasks: Sequence[str]) -> Sequence[Step]:
        place = tasks.index(task)
        ended: dict[str, TaskOutcome] = {
            **_all(tasks[:place], "SUCCEEDED"),
            task: ("FAILED", message),
            **_all(tasks[place + 1 :], "NOT_TRIGGERED"),
        }
        running = [_running(tasks, number) for number in range(place + 1)]
        return [
            _pending(tasks),
            *running,
            Step(
                "FAILED",
                ended,
                f"The DAG failed because some tasks failed. The failed tasks are: [{task}].",
            ),
        ]

    return script


def cancelled(tasks: Sequence[str]) -> Sequence[Step]:
    """PENDING, RUNNING, CANCELLING, CANCELLED: somebody cancels while the first task runs."""
    rest = _all(tasks[1:], "NOT_TRIGGERED")
    return [
        _pending(tasks),
        _running(tasks, 0),
        Step("CANCELLING", {**_all(tasks[:1], "CANCELLING"), **_all(tasks[1:], "PENDING")}),
        Step("CANCELLED", {**_all(tasks[:1], "CANCELLED"), **rest}),
    ]


def paused(tasks: Sequence[str]) -> Sequence[Step]:
    """PENDING, RUNNING, PAUSED: the first task is done, the rest waits."""
    waiting = {**_all(tasks[:1], "SUCCEEDED"), **_all(tasks[1:], "PENDING")}
    return [_pending(tasks), _running(tasks, 0), Step("PAUSED", waiting)]


def show(job: PipelineJob, step: Step, *, project: str) -> None:
    """Write a step into a job, as the service would answer it. `project` is the project's id."""
    # On the protobuf message beneath: what proto-plus declares of times is not what it returns.
    message = PipelineJob.pb(job)
    state = step.short_state
    message.state = _job_state(state)
    message.update_time.GetCurrentTime()
    if state not in ("QUEUED", "PENDING"):
        _stamp(message, "start_time")
    if state in _ENDED:
        _stamp(message, "end_time")
    parent, _, job_id = message.name.rpartition("/pipelineJobs/")
    known: dict[str, _Detail] = {detail.task_name: detail for detail in message.job_detail.task_details}

    def task_detail(name: str) -> _Detail:
        if name not in known:
            known[name] = message.job_detail.task_details.add(task_id=next(_ids), task_name=name)
        return known[name]

    # The service lists the run itself too, under the id of the job.
    own = task_detail(job_id)
    started = "RUNNING" if message.HasField("start_time") else "PENDING"
    _show_task(own, state if state in _ENDED else started, None)
    for name, (task_state, error) in step.tasks.items():
        detail = task_detail(name)
        detail.parent_task_id = own.task_id
        _show_task(detail, task_state, error)
        _show_custom_job(detail, parent)
    if step.error is not None:
        job.error = status_pb2.Status(
            code=code_pb2.FAILED_PRECONDITION,
            message=f"{step.error}; Job (project_id = {project}, job_id = {own.task_id}) is failed "
            "due to the above error.; Failed to handle the job: "
            f"{{project_number = {parent.split('/')[1]}, job_id = {own.task_id}}}",
        )


def _show_task(detail: _Detail, state: str, error: str | None) -> None:
    detail.state = _task_state(state)
    _stamp(detail, "create_time")
    if state not in _NEVER_RAN:
        _stamp(detail, "start_time")
    if state in _TASK_ENDED:
        _stamp(detail, "end_time")
    if error is not None:
        detail.error.code = code_pb2.FAILED_PRECONDITION
        detail.error.message = error


def _show_custom_job(detail: _Detail, parent: str) -> None:
    """Name the CustomJob that a task runs as, from its start on."""
    if not detail.HasField("start_time"):
        return
    container = detail.executor_detail.container_detail
    if not container.main_job:
        container.main_job = f"{parent}/customJobs/{next(_ids)}"
    if detail.state == _task_state("FAILED") and not container.failed_main_jobs:
        container.failed_main_jobs.append(container.main_job)


def _stamp(message: _Message, field: str) -> None:
    """Set a time to now, unless it is set."""
    if not message.HasField(field):
        getattr(message, field).GetCurrentTime()


def _job_state(short: str) -> int:
    """Return the number of a job's state; AttributeError if there is no such state."""
    return int(getattr(PipelineState, f"PIPELINE_STATE_{short}"))


def _task_state(name: str) -> int:
    """Return the number of a task's state; AttributeError if there is no such state."""
    return int(getattr(PipelineTaskDetail.State, name))


def _pending(tasks: Sequence[str]) -> Step:
    return Step("PENDING", _all(tasks, "PENDING"))


def _running(tasks: Sequence[str], number: int) -> Step:
    """The step in which task `number` runs, those before it are done and those after it wait."""
    return Step(
        "RUNNING",
        {
            **_all(tasks[:number], "SUCCEEDED"),
            **_all(tasks[number : number + 1], "RUNNING"),
            **_all(tasks[number + 1 :], "PENDING"),
        },
    )


def _all(tasks: Sequence[str], state: str) -> dict[str, TaskOutcome]:
    return dict.fromkeys(tasks, (state, None))
