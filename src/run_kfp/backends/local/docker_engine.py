"""Steps as containers of a Docker Engine, through docker-py (7.2).

What `kfp.local` gets wrong is done right here: `command` replaces the ENTRYPOINT, limits are real, a container gets no
environment but its own, and its exit code is awaited before it starts.
"""

from __future__ import annotations

import contextlib
import functools
import io
import tarfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from run_kfp.backends.local.engines import GRACE, Ended, PullProgress, Sink, StartRefusedError, StepCall, exit_words
from run_kfp.errors import EngineError
from run_kfp.limits import MOST_OUTPUT

RUN_LABEL, STEP_LABEL, STORE_LABEL = "run-kfp.run", "run-kfp.step", "run-kfp.store"

# Where a container finds its outputs folder and the credentials.
OUTPUTS_FOLDER = "/run-kfp-outputs"
CREDENTIALS = "/run-kfp-credentials.json"

# The Engine refuses less (moby, daemon/daemon_unix.go: linuxMinMemory).
LEAST_MEMORY = 6 * 1024 * 1024

_SIGKILLED = 128 + 9

_WAYS_OUT = "start Docker, or add process to the containers of the registry and pass --engine process"


@dataclass(frozen=True)
class DockerSettings:
    """What a run wants of the Engine.

    Attributes:
        pull: always, missing or never.
        network: the Engine's network mode; None for its default bridge.
        mounts: folders or files of this machine, by where the containers see them, with `rw` or `ro`.
        env: variables that every step gets beside its own (where the credentials are).
        store: the folder of the runs, by which containers that were left behind are known.
    """

    pull: str
    network: str | None
    mounts: Mapping[str, tuple[Path, str]]
    env: Mapping[str, str]
    store: Path


class DockerEngine:
    """A Docker Engine: DOCKER_HOST, else the current context of the Docker client, else the usual socket."""

    name = "docker"

    def __init__(self, settings: DockerSettings) -> None:
        """Take what the run wants; nothing is contacted yet."""
        self._settings = settings
        self._connect: Callable[[], Any] = _connector
        self._info: Mapping[str, Any] = {}

    def outputs_folder(self, step: str) -> str:
        """Return the folder for outputs, the same in every container."""
        return OUTPUTS_FOLDER

    def prepare(
        self, calls: Sequence[StepCall], progress: PullProgress, stopping: threading.Event
    ) -> tuple[list[str], Mapping[str, list[str]]]:
        """Reach the Engine and pull what is missing; see `Engine.prepare`."""
        errors = _docker().errors
        try:
            self._connect = _connector()
            api = self._connect()
            self._info = api.info()
            warnings: list[str] = []
            if self._emulates:
                warnings.append(
                    f"this Engine runs on {self._info.get('Architecture')}: it emulates linux/amd64, which is slow"
                )
            by_step: dict[str, list[str]] = {}
            for image in dict.fromkeys(call.image for call in calls):
                self._get(api, image, progress, stopping)
                if stopping.is_set():
                    break
                found = api.inspect_image(image).get("Architecture")
                if found not in ("amd64", ""):
                    warnings.append(f"{image} is built for {found}; Vertex AI runs linux/amd64")
            for call in calls:
                by_step[call.step] = list(self._limit_warnings(call))
        except (errors.DockerException, OSError) as error:
            raise EngineError(f"the Docker Engine refused: {_words(error)}", hint=_WAYS_OUT) from None
        return warnings, by_step

    @property
    def _emulates(self) -> bool:
        return str(self._info.get("Architecture", "")) not in ("x86_64", "amd64", "")

    def _get(self, api: Any, image: str, progress: PullProgress, stopping: threading.Event) -> None:
        """Make sure that an image is there, as `--pull` says."""
        docker = _docker()
        if self._settings.pull != "always":
            try:
                api.inspect_image(image)
            except docker.errors.ImageNotFound:
                if self._settings.pull == "never":
                    raise EngineError(
                        f"image {image} not found on this machine, and --pull is never",
                        hint="remove --pull never, or build the image",
                    ) from None
            else:
                return
        repository, tag = docker.utils.parse_repository_tag(image)
        layers: dict[str, tuple[int, int]] = {}
        progress(image, 0, 0)
        try:
            for event in api.pull(repository, tag or "latest", stream=True, decode=True, platform="linux/amd64"):
                if stopping.is_set():
                    return
                if "error" in event:
                    raise docker.errors.APIError(event["error"])
                detail = event.get("progressDetail") or {}
                if event.get("status") == "Downloading" and detail.get("total"):
                    layers[event["id"]] = (int(detail["current"]), int(detail["total"]))
                elif event.get("status") == "Download complete" and event.get("id") in layers:
                    layers[event["id"]] = (layers[event["id"]][1],) * 2
                else:
                    continue
                progress(image, sum(done for done, _ in layers.values()), sum(total for _, total in layers.values()))
        except docker.errors.APIError as error:
            raise EngineError(
                f"the image {image} cannot be pulled: {_words(error)}",
                hint="check its name and `docker login`; an image that is only on this machine requires --pull missing",
            ) from None
        finally:
            progress(image, 1, 1)

    def _limit_warnings(self, call: StepCall) -> Iterable[str]:
        cpus, memory = float(self._info.get("NCPU") or 0), int(self._info.get("MemTotal") or 0)
        if call.cpu and cpus and call.cpu > cpus:
            yield f"requests {call.cpu:g} CPUs; this Engine has {cpus:g}, and the step gets those"
        if call.memory and memory and call.memory > memory:
            yield f"requests {_size(call.memory)} of memory; this Engine has {_size(memory)}, and the step gets that"
        if call.accelerator and not self._has_gpus(call.accelerator[0]):
            yield f"requests {call.accelerator[1]} × {call.accelerator[0]}; this Engine has none: it runs without"

    def _has_gpus(self, kind: str) -> bool:
        return kind.startswith("NVIDIA") and "nvidia" in (self._info.get("Runtimes") or {})

    def start(self, call: StepCall, sink: Sink) -> _Container:
        """Create the container, attach to it, await its exit, start it; see `Engine.start`."""
        docker = _docker()
        # A client of its own: requests' sessions are not made for several threads.
        api = self._connect()
        try:
            created = api.create_container(
                call.image,
                entrypoint=list(call.command) or None,
                command=list(call.args) or None,
                environment={**self._settings.env, **call.env},
                labels={RUN_LABEL: call.run, STEP_LABEL: call.step, STORE_LABEL: str(self._settings.store)},
                host_config=self._host_config(api, call),
                platform="linux/amd64" if self._emulates else None,
                use_config_proxy=False,
            )
        except docker.errors.APIError as error:
            raise StartRefusedError(_words(error)) from None
        container = _Container(api, self._connect, created["Id"], sink, wants_files=call.writes_outputs)
        try:
            container.start()
        except docker.errors.DockerException as error:
            code = container.code_of_a_failed_start()
            container.remove()
            raise StartRefusedError(_words(error), code) from None
        except BaseException:
            container.remove()
            raise
        return container

    def _host_config(self, api: Any, call: StepCall) -> Any:
        types = _docker().types
        cpus, memory = float(self._info.get("NCPU") or 0), int(self._info.get("MemTotal") or 0)
        limits: dict[str, Any] = {}
        if call.cpu:
            limits["nano_cpus"] = int(min(call.cpu, cpus or call.cpu) * 1e9)
        if call.memory:
            # No swap beyond it, else the limit would only slow the step down.
            limits["mem_limit"] = limits["memswap_limit"] = min(call.memory, memory or call.memory)
        if call.accelerator and self._has_gpus(call.accelerator[0]):
            limits["device_requests"] = [types.DeviceRequest(count=call.accelerator[1], capabilities=[["gpu"]])]
        if not (self._settings.network or "").startswith(("host", "container:")):
            # The name by which Docker Desktop knows this machine; elsewhere it has to be given.
            limits["extra_hosts"] = {"host.docker.internal": "host-gateway"}
        return api.create_host_config(
            binds={
                str(source): {"bind": place, "mode": mode} for place, (source, mode) in self._settings.mounts.items()
            },
            network_mode=self._settings.network,
            # The log is kept here, masked; the Engine would keep a second one that is not.
            log_config=types.LogConfig(type="none"),
            **limits,
        )


class _Container:
    """A container, from its creation to its removal."""

    def __init__(self, api: Any, connect: Callable[[], Any], identity: str, sink: Sink, *, wants_files: bool) -> None:
        self.identity = identity
        self._api = api
        self._connect = connect
        self._sink = sink
        self._wants_files = wants_files
        self._output: Any = ()
        self._exit: Any = None

    def start(self) -> None:
        """Start it, with its output attached and its exit awaited before."""
        if self._wants_files:
            self._api.put_archive(self.identity, "/", _empty_folder(OUTPUTS_FOLDER.lstrip("/")))
        self._output = self._api.attach(self.identity, stdout=True, stderr=True, stream=True, demux=True)
        # Awaited before the start: a container that dies at once would otherwise be gone when we ask, and count as a
        # success (kubeflow/pipelines#13332). The Engine answers with headers as soon as it waits; docker-py's own
        # `wait` returns only at the end.
        self._exit = self._api.post(
            f"{self._api.base_url}/v{self._api.api_version}/containers/{self.identity}/wait",
            params={"condition": "next-exit"},
            stream=True,
            timeout=None,
        )
        self._exit.raise_for_status()
        self._api.start(self.identity)

    def code_of_a_failed_start(self) -> int | None:
        """Return the exit code that the Engine gave a container that did not start: 127, 126."""
        with contextlib.suppress(_docker().errors.DockerException, OSError):
            code = int(self._api.inspect_container(self.identity)["State"]["ExitCode"])
            return code or None
        return None

    def wait(self) -> Ended:
        """Read its output, then how it ended."""
        lost = (_docker().errors.DockerException, OSError, ValueError, KeyError)  # requests' errors are OSErrors
        try:
            for out, err in self._output:
                if out:
                    self._sink("O", out)
                if err:
                    self._sink("E", err)
            answer = self._exit.json()
            code = int(answer["StatusCode"])
            state = self._api.inspect_container(self.identity)["State"]
        except lost as error:
            return Ended(None, f"the Engine does not report its exit code: {_words(error)}")
        if state.get("Running") or int(state["ExitCode"]) != code or (answer.get("Error") or {}).get("Message"):
            return Ended(None, f"the Engine reports two different ends (exit code {code} or {state['ExitCode']})")
        warning = ""
        if state.get("OOMKilled"):
            # True as soon as one process was killed; whether the step has failed is for its exit code to say.
            alone = code == _SIGKILLED
            killed = "killed" if alone else "one of its processes was killed"
            words = f"out of memory: {killed} at its limit{self._memory_limit()}"
            if code:
                return Ended(code, words if alone else f"{exit_words(code)}; {words}")
            warning = f"ran {words}"
        if code:
            return Ended(code, exit_words(code))
        try:
            return Ended(code, warning=warning, files=self._files() if self._wants_files else {})
        except lost as error:
            return Ended(code, f"its outputs cannot be read: {_words(error)}")

    def _memory_limit(self) -> str:
        with contextlib.suppress(_docker().errors.DockerException, OSError, KeyError):
            limit = self._api.inspect_container(self.identity)["HostConfig"]["Memory"]
            return f" of {_size(limit)}" if limit else ""
        return ""

    def _files(self) -> dict[str, str]:
        chunks, _ = self._api.get_archive(self.identity, OUTPUTS_FOLDER)
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
            return {
                member.name.partition("/")[2]: file.read(MOST_OUTPUT).decode("utf-8", "replace")
                for member in archive
                if member.isfile() and (file := archive.extractfile(member)) is not None
            }

    def remove(self) -> None:
        """Remove it and its anonymous volumes; one that is gone already is no fault."""
        with contextlib.suppress(_docker().errors.NotFound):
            self._api.remove_container(self.identity, v=True, force=True)
        self._api.close()

    def stop(self) -> None:
        """Send the image's stop signal, and kill it after `GRACE`."""
        with contextlib.suppress(_docker().errors.DockerException, OSError):
            self._connect().stop(self.identity, timeout=GRACE)

    def kill(self) -> None:
        """Kill it at once."""
        with contextlib.suppress(_docker().errors.DockerException, OSError):
            self._connect().kill(self.identity)


def sweep(store: Path, lives: Callable[[str], bool]) -> list[str]:
    """Remove the containers that killed runs of this store left behind.

    Args:
        store: the folder of the runs.
        lives: whether the program of a run, by its id, is still there.

    Returns:
        The ids of the runs whose containers were removed.

    Raises:
        EngineError: the Engine does not answer.
    """
    docker = _docker()
    swept: list[str] = []
    try:
        api = _connector()()
        for found in api.containers(all=True, filters={"label": [f"{STORE_LABEL}={store}"]}):
            run = found["Labels"].get(RUN_LABEL, "")
            if not lives(run):
                with contextlib.suppress(docker.errors.NotFound):
                    api.remove_container(found["Id"], v=True, force=True)
                swept.append(run)
    except (docker.errors.DockerException, OSError) as error:
        raise EngineError(f"the Docker Engine refused: {_words(error)}", hint=_WAYS_OUT) from None
    return list(dict.fromkeys(swept))


@functools.cache
def _docker() -> Any:
    """Import docker-py when it is needed: it takes 0.15 s."""
    import docker
    import docker.errors
    import docker.types
    import docker.utils

    return docker


def _connector() -> Any:
    """Find the Engine; return what makes a client of it.

    Raises:
        EngineError: none answers.
    """
    docker = _docker()
    where = docker.utils.kwargs_from_env()
    if "base_url" not in where:
        # Docker Desktop, colima and others make no /var/run/docker.sock but a context of the Docker client.
        with contextlib.suppress(docker.errors.DockerException, OSError, ValueError, KeyError):
            context = docker.ContextAPI.get_current_context()
            if context is not None and context.Host:
                where = {"base_url": context.Host, "tls": context.TLSConfig or False}
    if str(where.get("base_url", "")).startswith("ssh://"):
        where["use_ssh_client"] = True
    try:
        version = docker.APIClient(version="auto", **where).api_version
    except (docker.errors.DockerException, OSError) as error:
        at = where.get("base_url") or "the usual socket"
        raise EngineError(f"no Docker Engine answers at {at}: {_words(error)}", hint=_WAYS_OUT) from None
    return functools.partial(docker.APIClient, version=version, **where)


def _words(error: Exception) -> str:
    """Return what the Engine says, on one line."""
    text = str(getattr(error, "explanation", None) or error)
    return " ".join(text.split()).rstrip(".") or type(error).__name__


def _size(count: int) -> str:
    """Write a number of bytes for a person."""
    size, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            break
        size /= 1000
    return f"{size:.3g} {unit}"


def _empty_folder(name: str) -> bytes:
    """Return a tar with one folder that every user may write into."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.type, member.mode = tarfile.DIRTYPE, 0o777
        archive.addfile(member)
    return buffer.getvalue()
