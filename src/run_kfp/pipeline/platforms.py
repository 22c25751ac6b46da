"""What a pipeline file holds for a KFP server on Kubernetes, and Vertex AI and a local run do without."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from run_kfp.pipeline.tables import table_at

# Components of kfp-kubernetes whose image is a word to a KFP server (its common/constants.py), and what they do there.
SERVER_IMAGES: Mapping[str, str] = {
    "argostub/createpvc": "creates a volume",
    "argostub/deletepvc": "deletes a volume",
}

# Settings of kfp-kubernetes (kubernetes_executor_config.proto) that have another way, and the way.
_OTHER_WAYS: Mapping[str, tuple[str, ...]] = {
    "pass secrets as parameters ([secrets] of the registry)": ("secretAsEnv", "secretAsVolume"),
    "pass config as parameters or arguments": ("configMapAsEnv", "configMapAsVolume"),
    "use /gcs/BUCKET/… instead of volumes": ("pvcMount", "genericEphemeralVolume"),
    "write temporary files to the disk of the machine": ("emptyDirMounts",),
}


@dataclass(frozen=True)
class UnusedSettings:
    """The settings of one platform: its name, the kinds of settings, and what to do instead."""

    platform: str
    kinds: tuple[str, ...]
    hint: str


def unused_settings(platforms: Mapping[str, Any]) -> Iterator[UnusedSettings]:
    """Yield what a file holds for each platform."""
    for platform, body in platforms.items():
        executors = table_at(body, "deploymentSpec", "executors")
        kinds = sorted({key for executor in executors.values() for key in table_at(executor)})
        ways = [way for way, known in _OTHER_WAYS.items() if set(known) & set(kinds)]
        with_way = {kind for known in _OTHER_WAYS.values() for kind in known}
        if without := [kind for kind in kinds if kind not in with_way]:
            ways.append(f"no equivalent for {', '.join(without)}: remove {'it' if len(without) == 1 else 'them'}")
        yield UnusedSettings(platform, tuple(kinds), "; ".join(ways) or "remove them")


def server_image(image: str) -> str:
    """Say what a KFP server does in place of an image that does not exist; empty for every other image."""
    name = image.partition("@")[0].removeprefix("docker.io/")
    head, slash, last = name.rpartition("/")
    return SERVER_IMAGES.get(f"{head}{slash}{last.partition(':')[0]}", "")
