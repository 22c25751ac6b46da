"""A client of the Docker Engine that this user has, and the words for what it refuses; through docker-py (7.2)."""

from __future__ import annotations

import contextlib
import functools
import re
from typing import Any

from run_kfp.errors import EngineError

WAYS_OUT = "start Docker, or add process to the containers of the registry and pass --engine process"


# What the Engine says of a registry that it does not reach, whose certificate it does not take, that knows no login.
_UNREACHABLE = re.compile(
    r"no such host|name resolution|server misbehaving|dial tcp|connection refused|timeout|deadline exceeded"
    r"|network is unreachable|no route to host|proxyconnect|connection reset",
    re.IGNORECASE,
)
_CERTIFICATE = re.compile(r"x509|certificate|HTTP response to HTTPS client", re.IGNORECASE)
_LOGIN = re.compile(r"unauthorized|denied|authentication required|no basic auth|forbidden", re.IGNORECASE)


@functools.cache
def docker_sdk() -> Any:
    """Import docker-py when it is needed: it takes 0.15 s."""
    import docker
    import docker.errors
    import docker.types
    import docker.utils

    return docker


def connector() -> Any:
    """Find the Engine; return what makes a client of it.

    Raises:
        EngineError: none answers.
    """
    docker = docker_sdk()
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
        with contextlib.closing(docker.APIClient(**where)) as api:
            version = api.version(api_version=False)["ApiVersion"]
    except (docker.errors.DockerException, OSError) as error:
        at = where.get("base_url") or "the usual socket"
        raise EngineError(f"no Docker Engine answers at {at}: {words_of(error)}", hint=WAYS_OUT) from None
    return functools.partial(docker.APIClient, version=version, **where)


def engine_error(error: Exception) -> EngineError:
    """Return the error of an Engine that refused a request, or that answers no more."""
    refused = isinstance(error, docker_sdk().errors.APIError)
    what = "refused" if refused else "no longer answers"
    return EngineError(f"the Docker Engine {what}: {words_of(error)}", hint="" if refused else WAYS_OUT)


def words_of(error: Exception) -> str:
    """Return what the Engine says, on one line; of a connection that failed, what the system says."""
    if isinstance(error, docker_sdk().errors.APIError):
        return _one_line(str(error.explanation or error)) or "no reason given"
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None:
        chain.append(link)
        link = link.__cause__ or link.__context__
    for found in reversed(chain):
        if isinstance(found, TimeoutError):
            return "no answer in time"
        if isinstance(found, OSError) and found.strerror:
            return str(found.strerror)
    if isinstance(error, docker_sdk().errors.DockerException):
        return _one_line(str(error)) or type(error).__name__
    return "the connection was closed"  # in the middle of an answer, or before it


def _one_line(text: str) -> str:
    line = " ".join(text.split()).rstrip(".")
    # What it says where nothing of NVIDIA's is installed (moby, daemon/devices.go).
    return "this Engine has no GPUs" if line.startswith("could not select device driver") else line


def pull_hint(said: str, *, always: bool) -> str:
    """Say what to do about a pull that failed, by what the Engine says of it."""
    if _UNREACHABLE.search(said):
        hint = "check the host in its name, and the network and proxy of the Docker Engine"
    elif _CERTIFICATE.search(said):
        hint = "let the Docker Engine trust its registry (certs.d, or insecure-registries)"
    elif _LOGIN.search(said):
        hint = "check its name and `docker login`"
    else:
        hint = "check its name and tag"
    return f"{hint}; an image that is only on this machine requires --pull missing" if always else hint
