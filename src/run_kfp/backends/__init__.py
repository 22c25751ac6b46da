"""Where a run happens: what every backend promises, and the table of those that a run is submitted to.

This machine (`backends.local`) is not in the table: a run there lives in the program that started it, so nothing is
submitted that could be looked at apart from its execution, and its plan is what an engine executes, not a request.
What both promise alike is in one test suite, `tests/test_backends.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from run_kfp.findings import Finding
from run_kfp.pipeline import CompiledPipeline
from run_kfp.plans import Inputs, RunRequest
from run_kfp.runs import BackendName, RunRef, RunStatus
from run_kfp.settings import Settings


class Backend(Protocol):
    """Where runs happen."""

    def submit(self, request: RunRequest) -> RunRef:
        """Create the run that `request` describes, exactly once. Raises BackendError."""
        ...

    def status(self, run: RunRef, timeout: float = 20.0) -> RunStatus:
        """Look at the run once, within `timeout` seconds. Raises PollFailed."""
        ...

    def console_url(self, run: RunRef) -> str:
        """Return where a person can look at the run."""
        ...


class BackendModule(Protocol):
    """The module of a backend; its SDK is imported by the first call that needs it, and no sooner."""

    def plan(self, pipeline: CompiledPipeline, inputs: Inputs) -> RunRequest:
        """Plan the run, without network. Raises InputError with every fault of settings, parameters and secrets."""
        ...

    def plan_faults(self, pipeline: CompiledPipeline | None, inputs: Inputs) -> tuple[Finding, ...]:
        """Return what `plan` would refuse; without a pipeline, what it would refuse of the settings."""
        ...

    def open_backend(self, settings: Settings, notify: Callable[[str], None]) -> Backend:
        """Return the backend under these settings; `notify` takes a line on what goes on, such as a retry."""
        ...


def _vertex() -> BackendModule:
    from run_kfp.backends import vertex

    return vertex


_MODULES: Mapping[BackendName, Callable[[], BackendModule]] = {BackendName.VERTEX: _vertex}


def load_backend(name: BackendName) -> BackendModule:
    """Return the module of a backend, imported now and no sooner."""
    return _MODULES[name]()
