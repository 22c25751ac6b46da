"""A client of the Docker Engine that this user has, through docker-py (7.2)."""

from __future__ import annotations

import contextlib
import functools
from typing import Any

from run_kfp.errors import EngineError

WAYS_OUT = "start Docker, or add process to the containers of the registry and pass --engine process"


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


def words_of(error: Exception) -> str:
    """Return what the Engine says, on one line."""
    text = str(getattr(error, "explanation", None) or error)
    return " ".join(text.split()).rstrip(".") or type(error).__name__
