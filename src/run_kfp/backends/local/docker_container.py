"""A step's container: from its creation to how it ended, what it wrote, and its removal, or what is left of it."""

from __future__ import annotations

import contextlib
import dataclasses
import http
import io
import tarfile
from collections.abc import Callable, Sequence
from typing import Any

from run_kfp.backends.local.docker_client import docker_sdk, engine_error, words_of
from run_kfp.backends.local.engines import GRACE, Ended, Sink, StepCall, exit_words, too_large
from run_kfp.limits import MOST_OUTPUT, bytes_words
from run_kfp.visible import shell_word

# Where a container finds its outputs folder.
OUTPUTS_FOLDER = "/run-kfp-outputs"

# The Engine's answer on a path: Go's bits for what is not a regular file (io/fs: ModeType).
_PATH_STAT, _NOT_REGULAR = "X-Docker-Container-Path-Stat", 0x8F28_0000

_ENGINE, _SIGKILLED = "docker", 128 + 9


class DockerContainer:
    """A container, from its creation to its removal."""

    def __init__(
        self,
        api: Any,
        connect: Callable[[], Any],
        identity: str,
        sink: Sink,
        call: StepCall,
        shell_flags: Sequence[str],
    ) -> None:
        self.identity = identity
        self._shell_flags = shell_flags
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
            self._api.put_archive(self.identity, "/", folder_archive(OUTPUTS_FOLDER.lstrip("/")))
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
                return Ended(code, words if alone else f"{exit_words(code, _ENGINE)}; {words}")
            warning = f"ran {words}"
        if code:
            return Ended(code, exit_words(code, _ENGINE))
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
        flags = [*self._shell_flags, "--volumes-from", short, "--entrypoint", "sh"]
        run = " ".join(["docker run --rm -it", *map(shell_word, flags)])
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


def folder_archive(name: str) -> bytes:
    """Return a tar with one folder that every user may write into."""
    member = tarfile.TarInfo(name)
    member.type, member.mode = tarfile.DIRTYPE, 0o777
    return _archive(member)


def file_archive(name: str, content: bytes) -> bytes:
    """Return a tar with one file that every user may read."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o444
    return _archive(member, content)


def _archive(member: tarfile.TarInfo, content: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
