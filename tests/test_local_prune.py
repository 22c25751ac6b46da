"""`run-kfp runs prune` on a real Docker Engine: containers of folders that are gone, and of runs that go."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from conftest import Cli, Write
from engine import Engine
from local_pipelines import containers, on, pipeline_text, task
from test_local_docker import DEAF, SHELL, until

pytestmark = pytest.mark.engine


@pytest.fixture
def local(engine: Engine, busybox: str, folder: Path) -> Cli:
    """The program with an Engine that has busybox."""
    return on(engine, folder)


def killed(local: Cli, write: Write, busybox: str) -> None:
    """Leave a container behind."""
    write("p.yaml", pipeline_text("killed", {"one": task(busybox, SHELL, DEAF)}))
    process = local.start("-f", "p.yaml", "--local")
    until(process.stderr, "one │ here")
    process.kill()
    process.communicate()


def test_containers_of_a_folder_that_is_gone_are_taken_by_prune_alone(
    local: Cli, engine: Engine, write: Write, busybox: str, folder: Path
) -> None:
    killed(local, write, busybox)
    shutil.rmtree(folder / ".run-kfp")
    write("q.yaml", pipeline_text("other", {"one": task(busybox, ["true"])}))

    assert local("-f", "q.yaml", "--local").code == 0
    assert local("runs").code == 0
    (left,) = containers(engine)
    asked = local("runs", "prune")
    assert asked.code == 2
    assert "of run killed-" in asked.err
    assert ", which runs" in asked.err
    assert len(containers(engine)) == 1

    result = local("runs", "prune", "--yes", "--json")

    assert result.code == 0, result.err
    assert [identity[:12] for identity in result.json["containers"]] == [left[:12]]
    assert containers(engine) == []


def test_a_living_run_loses_nothing_to_a_prune_of_another_folder(
    local: Cli, engine: Engine, write: Write, busybox: str, tmp_path: Path
) -> None:
    write("p.yaml", pipeline_text("living", {"one": task(busybox, SHELL, DEAF)}))
    process = local.start("-f", "p.yaml", "--local")
    until(process.stderr, "one │ here")
    (tmp_path / "other").mkdir()

    result = on(engine, tmp_path / "other")("runs", "prune", "--yes")
    its_own = local("runs", "prune", "--keep", "0", "--yes")

    assert (result.code, its_own.code) == (0, 0)
    assert len(containers(engine)) == 1
    assert local("cancel").code == 0
    process.communicate(timeout=30)
    assert containers(engine) == []
