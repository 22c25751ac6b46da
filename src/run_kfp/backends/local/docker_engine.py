"""Steps as containers of a Docker Engine, through docker-py (7.2).

What `kfp.local` gets wrong is done right here: `command` replaces the ENTRYPOINT, limits are real, a container gets no
environment but its own, and its exit code is awaited before it starts.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from run_kfp.backends.local.docker_client import connector, docker_sdk, engine_error, pull_hint, words_of
from run_kfp.backends.local.docker_container import OUTPUTS_FOLDER, DockerContainer, file_archive
from run_kfp.backends.local.engines import (
    PullProgress,
    Sink,
    StartRefusedError,
    StepCall,
)
from run_kfp.backends.local.extras import ALL_GPUS, Extras
from run_kfp.backends.local.leftovers import KEPT_LABEL, RUN_LABEL, STEP_LABEL
from run_kfp.errors import EngineError
from run_kfp.limits import bytes_words
from run_kfp.settings import CREDENTIALS_VARIABLE
from run_kfp.threads import in_background

# Where a container finds the credentials.
CREDENTIALS_FOLDER = "/run-kfp-credentials"
CREDENTIALS = f"{CREDENTIALS_FOLDER}/key.json"

# The Engine refuses less (moby, daemon/daemon_unix.go: linuxMinMemory).
LEAST_MEMORY = 6 * 1024 * 1024

# Likewise of CPUs: the kernel gives a group no less than 1 ms of 100 (moby, daemon/daemon_unix.go).
LEAST_CPU = 0.01

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
        extras: what steps get on this machine alone, by their names.
    """

    pull: str
    network: str | None
    mounts: Mapping[str, Path]
    credentials: Path | None
    keep_failed: bool = False
    extras: Mapping[str, Extras] = field(default_factory=dict)


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
            api.put_archive(created["Id"], CREDENTIALS_FOLDER, file_archive(CREDENTIALS.rpartition("/")[2], content))
        finally:
            api.remove_container(created["Id"], v=True, force=True)

    def _labels(self, call: StepCall) -> dict[str, str]:
        return {**self._run_labels, RUN_LABEL: call.run, STEP_LABEL: call.step}

    def _credentials_mount(self, *, read_only: bool) -> Any:
        return docker_sdk().types.Mount(
            CREDENTIALS_FOLDER, self._volume, type="volume", read_only=read_only, no_copy=True
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
        gpus = self._extras(call).gpus
        if call.accelerator and gpus is None and not self._has_gpus(call.accelerator[0]):
            yield f"requests {call.accelerator[1]} × {call.accelerator[0]}; this Engine has none: it runs without"

    def _extras(self, call: StepCall) -> Extras:
        return self._settings.extras.get(call.step, Extras())

    def _has_gpus(self, kind: str) -> bool:
        return kind.startswith("NVIDIA") and "nvidia" in (self._info.get("Runtimes") or {})

    def start(self, call: StepCall, sink: Sink) -> DockerContainer:
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
        container = DockerContainer(api, self._connect, created["Id"], sink, call, self._shell_flags(call))
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

    def _shell_flags(self, call: StepCall) -> list[str]:
        """Return the flags of `docker run` for a container that is like that of a step."""
        extras = self._extras(call)
        flags = ["--network", self._settings.network] if self._settings.network else []
        if extras.shm_size is not None:
            flags += ["--shm-size", str(extras.shm_size)]
        if extras.gpus is not None:
            flags += ["--gpus", "all" if extras.gpus == ALL_GPUS else str(extras.gpus)]
        return flags

    def _host_config(self, api: Any, call: StepCall) -> Any:
        types = docker_sdk().types
        cpus, memory = float(self._info.get("NCPU") or 0), int(self._info.get("MemTotal") or 0)
        limits: dict[str, Any] = {}
        if call.cpu:
            limits["nano_cpus"] = int(min(call.cpu, cpus or call.cpu) * 1e9)
        if call.memory:
            # No swap beyond it, else the limit would only slow the step down.
            limits["mem_limit"] = limits["memswap_limit"] = min(call.memory, memory or call.memory)
        extras = self._extras(call)
        gpus = extras.gpus
        if gpus is None and call.accelerator and self._has_gpus(call.accelerator[0]):
            gpus = call.accelerator[1]
        if gpus is not None:
            limits["device_requests"] = [types.DeviceRequest(count=gpus, capabilities=[["gpu"]])]
        if extras.shm_size is not None:
            limits["shm_size"] = extras.shm_size
        if not (self._settings.network or "").startswith(("host", "container:")):
            # The name by which Docker Desktop knows this machine; elsewhere it has to be given.
            limits["extra_hosts"] = {"host.docker.internal": "host-gateway"}
        # Objects: in the short form `source:target` a folder with a colon in its path would be another one.
        mounts = [types.Mount(place, str(source), type="bind") for place, source in self._settings.mounts.items()]
        mounts += [
            types.Mount(place, str(mount.source), type="bind", read_only=mount.read_only)
            for place, mount in extras.mounts.items()
        ]
        if self._volume:
            mounts.append(self._credentials_mount(read_only=True))
        return api.create_host_config(
            mounts=mounts,
            network_mode=self._settings.network,
            # The log is kept here, masked; the Engine would keep a second one that is not.
            log_config=types.LogConfig(type="none"),
            **limits,
        )
