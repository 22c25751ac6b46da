"""Steps as containers of a Docker Engine, through docker-py (7.2).

What `kfp.local` gets wrong is done right here: `command` replaces the ENTRYPOINT, limits are real, a container gets no
environment but its own, and its exit code is awaited before it starts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import http
import io
import tarfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from run_kfp.backends.local.docker_client import connector, docker_sdk, engine_error, pull_hint, words_of
from run_kfp.backends.local.engines import (
    GRACE,
    Ended,
    PullProgress,
    Sink,
    StartRefusedError,
    StepCall,
    exit_words,
    too_large,
)
from run_kfp.backends.local.leftovers import KEPT_LABEL, RUN_LABEL, STEP_LABEL
from run_kfp.errors import EngineError
from run_kfp.limits import MOST_OUTPUT, bytes_words
from run_kfp.settings import CREDENTIALS_VARIABLE
from run_kfp.threads import in_background
from run_kfp.visible import shell_word

# Where a container finds its outputs folder and the credentials.
OUTPUTS_FOLDER = "/run-kfp-outputs"
_CREDENTIALS_FOLDER = "/run-kfp-credentials"
CREDENTIALS = f"{_CREDENTIALS_FOLDER}/key.json"

# The Engine's answer on a path: Go's bits for what is not a regular file (io/fs: ModeType).
_PATH_STAT, _NOT_REGULAR = "X-Docker-Container-Path-Stat", 0x8F28_0000

# The Engine refuses less (moby, daemon/daemon_unix.go: linuxMinMemory).
LEAST_MEMORY = 6 * 1024 * 1024

# Likewise of CPUs: the kernel gives a group no less than 1 ms of 100 (moby, daemon/daemon_unix.go).
LEAST_CPU = 0.01

_SIGKILLED = 128 + 9

# Seconds for removing the copy of the credentials: an Engine that does not answer does not hold the end of a run.
_LAST_REMOVAL = 2.0

# Bytes: a service account key has 2,400.
_LARGEST_KEY = 2**20


@dataclass(frozen=True)
class DockerSettings:
    """What a run wants of the Engine.

    Attributes:
        pull: always, missing or never.
        network: the Engine's network mode; None for its default bridge.
        mounts: folders of this machine, by where the containers see them and write into them.
        credentials: the file that every container finds at `CREDENTIALS`, read-only; None for none.
        keep_failed: whether the containers of failed steps are left.
    """

    pull: str
    network: str | None
    mounts: Mapping[str, Path]
    credentials: Path | None
    keep_failed: bool = False


class DockerEngine:
    """A Docker Engine: DOCKER_HOST, else the current context of the Docker client, else the usual socket."""

    name = "docker"

    def __init__(self, settings: DockerSettings, labels: Mapping[str, str]) -> None:
        """Take what the run wants, and the labels of what it makes (`labels_of`); nothing is contacted yet."""
        self._settings = settings
        self._run_labels = labels
        self._connect: Callable[[], Any] = connector
        self._info: Mapping[str, Any] = {}
        self._volume = ""

    def outputs_folder(self, step: str) -> str:
        """Return the folder for outputs, the same in every container."""
        return OUTPUTS_FOLDER

    def prepare(
        self, calls: Sequence[StepCall], progress: PullProgress, stopping: threading.Event
    ) -> tuple[list[str], Mapping[str, list[str]]]:
        """Reach the Engine and pull what is missing; see `Engine.prepare`."""
        errors = docker_sdk().errors
        try:
            self._connect = connector()
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
            if self._settings.credentials is not None and calls and not stopping.is_set():
                self._hand_in(api, self._settings.credentials, calls[0])
        except (errors.DockerException, OSError) as error:
            raise engine_error(error) from None
        return warnings, by_step

    def image_id(self, image: str) -> str | None:
        """Return the Engine's id of an image, `sha256:…`; see `Engine.image_id`."""
        errors = docker_sdk().errors
        try:
            api = self._connect()
            with contextlib.closing(api):
                return str(api.inspect_image(image)["Id"])
        except errors.NotFound:
            return None
        except (errors.DockerException, OSError) as error:
            raise engine_error(error) from None

    def _hand_in(self, api: Any, file: Path, call: StepCall) -> None:
        """Copy the credentials into a volume of this run, readable for whoever an image runs as.

        A mount of the file itself would keep its owner and its mode 600, which an image with USER cannot read, and
        needs an Engine that sees the folders of this machine. A container that never starts takes the copy.
        """
        try:
            with file.open("rb") as key:
                content = key.read(_LARGEST_KEY)
        except OSError as error:
            raise EngineError(f"cannot read the credentials {file}: {error.strerror}") from None
        self._volume = api.create_volume(labels=self._labels(call))["Name"]
        created = api.create_container(
            call.image,
            command=["true"],
            labels=self._labels(call),
            host_config=api.create_host_config(mounts=[self._credentials_mount(read_only=False)]),
            platform="linux/amd64" if self._emulates else None,
            use_config_proxy=False,
        )
        try:
            api.put_archive(created["Id"], _CREDENTIALS_FOLDER, _file(CREDENTIALS.rpartition("/")[2], content))
        finally:
            api.remove_container(created["Id"], v=True, force=True)

    def _labels(self, call: StepCall) -> dict[str, str]:
        return {**self._run_labels, RUN_LABEL: call.run, STEP_LABEL: call.step}

    def _credentials_mount(self, *, read_only: bool) -> Any:
        return docker_sdk().types.Mount(
            _CREDENTIALS_FOLDER, self._volume, type="volume", read_only=read_only, no_copy=True
        )

    def close(self) -> None:
        """Remove the copy of the credentials; see `Engine.close`. What fails here, the next sweep does."""
        if self._volume:
            with contextlib.suppress(docker_sdk().errors.DockerException, OSError):  # a time that is over is an OSError
                in_background(self._remove_volume).result(_LAST_REMOVAL)

    def _remove_volume(self) -> None:
        api = self._connect()
        api.remove_volume(self._volume, force=True)
        api.close()

    @property
    def _emulates(self) -> bool:
        return str(self._info.get("Architecture", "")) not in ("x86_64", "amd64", "")

    def _get(self, api: Any, image: str, progress: PullProgress, stopping: threading.Event) -> None:
        """Make sure that an image is there, as `--pull` says."""
        docker = docker_sdk()
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
                # A byte is kept back: layers that were not heard of yet, and unpacking, are still to come.
                known = sum(total for _, total in layers.values())
                progress(image, min(sum(done for done, _ in layers.values()), known - 1), known)
        except docker.errors.APIError as error:
            raise EngineError(
                f"the image {image} cannot be pulled: {words_of(error)}",
                hint=pull_hint(words_of(error), always=self._settings.pull == "always"),
            ) from None
        size = sum(total for _, total in layers.values()) or 1
        progress(image, size, size)

    def _limit_warnings(self, call: StepCall) -> Iterable[str]:
        cpus, memory = float(self._info.get("NCPU") or 0), int(self._info.get("MemTotal") or 0)
        if call.cpu and cpus and call.cpu > cpus:
            yield f"requests {call.cpu:g} CPUs; this Engine has {cpus:g}, and the step gets those"
        if call.memory and memory and call.memory > memory:
            wanted, there = bytes_words(call.memory), bytes_words(memory)
            yield f"requests {wanted} of memory; this Engine has {there}, and the step gets that"
        if call.accelerator and not self._has_gpus(call.accelerator[0]):
            yield f"requests {call.accelerator[1]} × {call.accelerator[0]}; this Engine has none: it runs without"

    def _has_gpus(self, kind: str) -> bool:
        return kind.startswith("NVIDIA") and "nvidia" in (self._info.get("Runtimes") or {})

    def start(self, call: StepCall, sink: Sink) -> _Container:
        """Create the container, attach to it, await its exit, start it; see `Engine.start`."""
        docker = docker_sdk()
        # A client of its own: requests' sessions are not made for several threads.
        api = self._connect()
        try:
            created = api.create_container(
                call.image,
                entrypoint=list(call.command) or None,
                command=list(call.args) or None,
                environment={**({CREDENTIALS_VARIABLE: CREDENTIALS} if self._volume else {}), **call.env},
                labels={**self._labels(call), **({KEPT_LABEL: "1"} if self._settings.keep_failed else {})},
                host_config=self._host_config(api, call),
                platform="linux/amd64" if self._emulates else None,
                use_config_proxy=False,
            )
        except docker.errors.APIError as error:
            raise StartRefusedError(words_of(error)) from None
        except (docker.errors.DockerException, OSError) as error:
            raise engine_error(error) from None
        container = _Container(api, self._connect, created["Id"], sink, call, self._settings.network)
        try:
            container.start()
        except docker.errors.APIError as error:
            code = container.code_of_a_failed_start()
            if self._settings.keep_failed:
                raise StartRefusedError(words_of(error), code, container.keep()) from None
            container.remove()
            raise StartRefusedError(words_of(error), code) from None
        except (docker.errors.DockerException, OSError) as error:
            with contextlib.suppress(EngineError):
                container.remove()
            raise engine_error(error) from None
        except BaseException:
            container.remove()
            raise
        return container

    def _host_config(self, api: Any, call: StepCall) -> Any:
        types = docker_sdk().types
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
        # Objects: in the short form `source:target` a folder with a colon in its path would be another one.
        mounts = [types.Mount(place, str(source), type="bind") for place, source in self._settings.mounts.items()]
        if self._volume:
            mounts.append(self._credentials_mount(read_only=True))
        return api.create_host_config(
            mounts=mounts,
            network_mode=self._settings.network,
            # The log is kept here, masked; the Engine would keep a second one that is not.
            log_config=types.LogConfig(type="none"),
            **limits,
        )


class _Container:
    """A container, from its creation to its removal."""

    def __init__(
        self, api: Any, connect: Callable[[], Any], identity: str, sink: Sink, call: StepCall, network: str | None
    ) -> None:
        self.identity = identity
        self._network = network
        self._api = api
        self._connect = connect
        self._sink = sink
        self._call = call
        self._output: Any = ()
        self._exit: Any = None
        self._stopped = False

    def start(self) -> None:
        """Start it, with its output attached and its exit awaited before."""
        if self._call.outputs_folder:
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
        with contextlib.suppress(docker_sdk().errors.DockerException, OSError):
            code = int(self._api.inspect_container(self.identity)["State"]["ExitCode"])
            return code or None
        return None

    def wait(self) -> Ended:
        """Read its output, then how it ended."""
        return dataclasses.replace(self._end(), stopped=self._stopped)

    def _end(self) -> Ended:
        lost = (docker_sdk().errors.DockerException, OSError, ValueError, KeyError)  # requests' errors are OSErrors
        try:
            for out, err in self._output:
                if out:
                    self._sink("O", out)
                if err:
                    self._sink("E", err)
            answer = self._exit.json()
            code = int(answer["StatusCode"])
            state = self._api.inspect_container(self.identity)["State"]
        except docker_sdk().errors.APIError as error:
            return Ended(None, f"the Engine does not report its exit code: {words_of(error)}")
        except lost as error:
            raise engine_error(error) from None
        if state.get("Running") or int(state["ExitCode"]) != code or (answer.get("Error") or {}).get("Message"):
            return Ended(None, f"the Engine reports two different ends (exit code {code} or {state['ExitCode']})")
        warning = ""
        if state.get("OOMKilled"):
            # True as soon as one process was killed; whether the step has failed is for its exit code to say.
            alone = code == _SIGKILLED
            killed = "killed" if alone else "one of its processes was killed"
            words = f"out of memory: {killed} at its limit{self._memory_limit()}"
            if code:
                return Ended(code, words if alone else f"{exit_words(code, DockerEngine.name)}; {words}")
            warning = f"ran {words}"
        if code:
            return Ended(code, exit_words(code, DockerEngine.name))
        try:
            files: dict[str, str] = {}
            for name in self._call.outputs:
                if (size := self._size_of(name)) is None:
                    continue
                if size > MOST_OUTPUT:
                    return Ended(code, too_large(name), warning)
                files[name] = self._text_of(name)
            return Ended(code, warning=warning, files=files)
        except lost as error:
            return Ended(code, f"its outputs cannot be read: {words_of(error)}")

    def _memory_limit(self) -> str:
        with contextlib.suppress(docker_sdk().errors.DockerException, OSError, KeyError):
            limit = self._api.inspect_container(self.identity)["HostConfig"]["Memory"]
            return f" of {bytes_words(limit)}" if limit else ""
        return ""

    def _size_of(self, output: str) -> int | None:
        """Return the bytes of an output; None where there is no regular file of that name: a link is none."""
        answer = self._api.head(
            f"{self._api.base_url}/v{self._api.api_version}/containers/{self.identity}/archive",
            params={"path": f"{OUTPUTS_FOLDER}/{output}"},
        )
        if answer.status_code == http.HTTPStatus.NOT_FOUND:
            return None
        answer.raise_for_status()
        found = docker_sdk().utils.decode_json_header(answer.headers[_PATH_STAT])
        return None if int(found["mode"]) & _NOT_REGULAR else int(found["size"])

    def _text_of(self, output: str) -> str:
        chunks, _ = self._api.get_archive(self.identity, f"{OUTPUTS_FOLDER}/{output}")
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
            member = archive.next()
            file = archive.extractfile(member) if member is not None else None
            return file.read(MOST_OUTPUT).decode("utf-8", "replace") if file is not None else ""

    def remove(self) -> None:
        """Remove it and its anonymous volumes; one that is gone already is no fault."""
        errors = docker_sdk().errors
        try:
            self._api.remove_container(self.identity, v=True, force=True)
        except errors.NotFound:
            pass
        except (errors.DockerException, OSError) as error:
            raise engine_error(error) from None
        finally:
            self._api.close()

    def keep(self) -> str:
        """Stop it where it still runs; return a line for a shell: see `Running.keep`.

        A container that has ended cannot be entered. So its file system becomes an image, which has the environment,
        the user and the folder of the step, and a container of it the same mounts; both are gone afterwards.
        """
        with contextlib.suppress(docker_sdk().errors.DockerException, OSError):
            self._api.stop(self.identity, timeout=GRACE)
        self._api.close()
        short = self.identity[:12]
        network = f"--network {shell_word(self._network)} " if self._network else ""
        run = f"docker run --rm -it {network}--volumes-from {short} --entrypoint sh"
        return f'image=$(docker commit {short}) && {run} "$image"; docker rmi "$image"'

    def stop(self) -> None:
        """Send the image's stop signal, and kill it after `GRACE`."""
        with contextlib.suppress(docker_sdk().errors.DockerException, OSError, KeyError):
            api = self._connect()
            self._stopped = self._stopped or bool(api.inspect_container(self.identity)["State"]["Running"])
            api.stop(self.identity, timeout=GRACE)

    def kill(self) -> None:
        """Kill it at once."""
        self._stopped = True
        with contextlib.suppress(docker_sdk().errors.DockerException, OSError):
            self._connect().kill(self.identity)


def _empty_folder(name: str) -> bytes:
    """Return a tar with one folder that every user may write into."""
    member = tarfile.TarInfo(name)
    member.type, member.mode = tarfile.DIRTYPE, 0o777
    return _archive(member)


def _file(name: str, content: bytes) -> bytes:
    """Return a tar with one file that every user may read."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o444
    return _archive(member, content)


def _archive(member: tarfile.TarInfo, content: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
