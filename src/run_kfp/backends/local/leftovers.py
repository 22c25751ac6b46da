"""What runs leave behind on a Docker Engine, containers and copies of credentials: whose they are, who removes them.

Their labels say it: the store and the run that made them, the folder where that store lay, and the program that ran the
run. Sweeping takes what a dead run of this store left. What belongs to a store that is gone is taken by
`run-kfp runs prune` alone, which asks: a store is gone when its folder is, or has another store by now.
"""

from __future__ import annotations

import contextlib
import http
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from run_kfp.backends.local.docker_client import connector, docker_sdk, engine_error
from run_kfp.errors import InputError
from run_kfp.localruns import process_lives, process_start
from run_kfp.localstore import LocalRuns

RUN_LABEL, STEP_LABEL, STORE_LABEL = "run-kfp.run", "run-kfp.step", "run-kfp.store"
KEPT_LABEL = "run-kfp.kept"
FOLDER_LABEL, HOST_LABEL, PROCESS_LABEL = "run-kfp.folder", "run-kfp.host", "run-kfp.process"


def labels_of(runs: LocalRuns) -> dict[str, str]:
    """Return the labels of what this program makes for a run of a store, which gets an id where it has none.

    Raises:
        InputError: it cannot be written.
    """
    pid = os.getpid()
    return {
        STORE_LABEL: runs.store(make=True),
        FOLDER_LABEL: str(runs.path.parent.absolute()),
        HOST_LABEL: _host(),
        PROCESS_LABEL: f"{pid} {process_start(pid)}",
    }


@dataclass(frozen=True)
class Leftover:
    """A container or a volume of a run: its kind, its id, its labels, and whether a container runs."""

    kind: str
    identity: str
    labels: Mapping[str, str]
    running: bool = False

    @property
    def run(self) -> str:
        """The id of its run."""
        return self.labels.get(RUN_LABEL, "")

    @property
    def kept(self) -> bool:
        """Whether it was left on purpose, to look into it: no sweep takes it.

        It has its label from its creation on; one that still runs when its program is gone was not left on purpose.
        """
        return KEPT_LABEL in self.labels and not self.running

    def is_of(self, store: str) -> bool:
        """Say whether a store made it."""
        return bool(store) and self.labels.get(STORE_LABEL) == store

    @property
    def elsewhere(self) -> bool:
        """Whether another machine made it, or a container with another view of this one: nothing is known of it here.

        After a restart no program of before is left, whatever it saw.
        """
        host, boot, view = _parts(_host())
        its_host, its_boot, its_view = _parts(self.labels.get(HOST_LABEL, ""))
        return its_host != host or (its_boot == boot and its_view != view)

    @property
    def abandoned(self) -> bool:
        """Whether the program that ran its run is gone, as far as that is known here."""
        if self.elsewhere:
            return False
        pid, _, start = self.labels.get(PROCESS_LABEL, "").partition(" ")
        same_boot = _parts(self.labels.get(HOST_LABEL, ""))[1] == _parts(_host())[1]
        return not (same_boot and pid.isdigit() and process_lives(int(pid), start))

    @property
    def orphaned(self) -> bool:
        """Whether its store is gone from its folder, and the program that ran its run is gone as well."""
        if not self.abandoned or not (folder := self.labels.get(FOLDER_LABEL)):
            return False
        with contextlib.suppress(InputError):  # a link, or somebody else's: not the store that it was
            return LocalRuns(Path(folder)).store() != self.labels.get(STORE_LABEL)
        return True


def leftovers(store: str = "") -> list[Leftover]:
    """Return the containers and volumes of a store that are on the Engine; of every store where none is given.

    Raises:
        EngineError: the Engine does not answer.
    """
    label = f"{STORE_LABEL}={store}" if store else STORE_LABEL
    with _asked() as api:
        found = [
            Leftover("container", each["Id"], each["Labels"] or {}, each.get("State") == "running")
            for each in api.containers(all=True, filters={"label": [label]})
        ]
        volumes = api.volumes(filters={"label": [label]}).get("Volumes") or ()
        return found + [Leftover("volume", each["Name"], each["Labels"] or {}) for each in volumes]


def remove(found: Iterable[Leftover]) -> None:
    """Remove containers, running ones too, and then volumes; what is gone already is no fault.

    Raises:
        EngineError: the Engine does not answer, or refuses.
    """
    with _asked() as api:
        for each in sorted(found, key=lambda each: each.kind):
            with contextlib.suppress(docker_sdk().errors.NotFound):
                if each.kind == "container":
                    api.remove_container(each.identity, v=True, force=True)
                else:
                    _remove_volume(api, each.identity)


def _remove_volume(api: Any, name: str) -> None:
    """Remove a volume, unless a container that was left on purpose has it."""
    try:
        api.remove_volume(name, force=True)
    except docker_sdk().errors.APIError as error:
        if error.status_code != http.HTTPStatus.CONFLICT:
            raise


def sweep(store: str, dead: Callable[[str], bool]) -> None:
    """Remove the containers, and the copies of credentials, that killed runs of this store left behind.

    Args:
        store: its id (`LocalRuns.store`); empty for one that never had a container.
        dead: whether a run, by its id, is one of this store and its program is gone.

    Raises:
        EngineError: the Engine does not answer.
    """
    if not store:
        with _asked():
            return
    remove([each for each in leftovers(store) if dead(each.run) and not each.kept])


@contextlib.contextmanager
def _asked() -> Iterator[Any]:
    """Give a client of the Engine; what goes wrong with it is told in our words."""
    try:
        api = connector()()
        try:
            yield api
        finally:
            api.close()
    except (docker_sdk().errors.DockerException, OSError) as error:
        raise engine_error(error) from None


def _host() -> str:
    """Name this machine, its start, and what is seen of it from here: containers may share a name and an Engine."""
    boot, view = "", ""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        view = "+".join(str(os.stat(f"/proc/self/ns/{kind}").st_ino) for kind in ("pid", "mnt"))  # noqa: PTH116 - proc
    return f"{socket.gethostname()} {boot} {view}"


def _parts(host: str) -> tuple[str, str, str]:
    name, boot, view, *_ = [*host.split(" "), "", "", ""]
    return name, boot, view
