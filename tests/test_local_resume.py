"""What `--from` takes over of an earlier run: which run that may be, and what is said of what has changed since."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import Cli, Write
from dermaid import canary
from local_pipelines import latest

REGISTRY = """
[pipeline]
name = "{name}"
[containers.1]
name = "first"
image = "nobody/first"
args = [{{ secret = "key" }}]
process = {{ cwd = ".", entrypoint = ["{python}", "-c", ""] }}
[containers.2]
name = "second"
image = "nobody/second"
args = [{{ secret = "other" }}]
process = {{ cwd = ".", entrypoint = ["{python}", "-c", "print('here', flush=True); {then}"] }}
[secrets.key]
env = "KEY"
[secrets.other]
env = "OTHER"
"""

PROCESSES = ("-r", "1-2", "--local", "--engine", "process")
AGAIN = (*PROCESSES, "--from", "second")


def a_registry(write: Write, name: str = "chain", then: str = "") -> None:
    write("run-kfp.toml", REGISTRY.format(name=name, python=sys.executable, then=then))


@pytest.fixture
def local(cli: Cli, write: Write) -> Cli:
    """The program, with two steps, each of which has a secret."""
    a_registry(write)
    return Cli(cli.folder, {"KEY": canary("key"), "OTHER": canary("other")})


def test_a_run_that_still_runs_is_not_repeated(local: Cli, write: Write, folder: Path) -> None:
    a_registry(write, then="import time; time.sleep(100)")
    process = local.start(*PROCESSES)
    assert process.stderr is not None
    assert any("second │ here" in line for line in process.stderr)
    run = latest(folder)["id"]

    for call in (AGAIN, (*AGAIN, "--from-run", run), (*AGAIN, "--dry-run")):
        refused = local(*call)
        assert refused.code == 2
        assert f"error: --from second: local://{run} is still running" in refused.err
        assert f"run-kfp cancel {run}" in refused.err

    # Its program is killed, and only a plan is made, which ends no run: it does not run for all that.
    process.kill()
    process.communicate()
    planned = local(*AGAIN, "--dry-run")
    assert planned.code == 0, planned.err
    assert latest(folder)["state"] == "RUNNING"


def test_a_run_of_another_pipeline_is_not_repeated(local: Cli, write: Write, folder: Path) -> None:
    assert local(*PROCESSES).code == 0
    run = latest(folder)["id"]
    a_registry(write, name="other")

    named = local(*AGAIN, "--from-run", run[:8])
    with_faults = local(*AGAIN, "--from-run", run, "--parallel", "0")
    unnamed = local(*AGAIN)

    assert named.code == 2
    assert f"error: --from-run {run[:8]}: local://{run} is a run of chain, this pipeline is other" in named.err
    assert with_faults.code == 2
    assert "--parallel '0'" in with_faults.err
    assert "is a run of chain" in with_faults.err
    assert unnamed.code == 2
    assert "no earlier run of other" in unnamed.err


def told(err: str, run: str) -> list[str]:
    """What is said of what has changed since a run."""
    return [line.replace(run, "RUN") for line in err.splitlines() if "; not run again" in line]


def test_a_secret_of_a_reused_step_that_has_changed_is_told(local: Cli, folder: Path) -> None:
    assert local(*PROCESSES).code == 0
    base = latest(folder)

    same = local(*AGAIN, "--from-run", base["id"])
    of_the_repeated = local(*AGAIN, "--from-run", base["id"], OTHER=canary("changed"))
    changed = local(*AGAIN, "--from-run", base["id"], KEY=canary("changed"))
    planned = local(*AGAIN, "--from-run", base["id"], "--dry-run", KEY=canary("changed"))

    assert [ran.code for ran in (same, of_the_repeated, changed, planned)] == [0, 0, 0, 0]
    assert told(same.err, base["id"]) == told(of_the_repeated.err, base["id"]) == []
    words = "first: secret key changed since RUN; not run again"
    assert told(changed.err, base["id"]) == [f"warning: {words}"]
    assert told(planned.err, base["id"]) == [f"note: {words}"]


def test_what_is_kept_of_a_secret_is_no_value_and_differs_from_run_to_run(local: Cli, folder: Path) -> None:
    records: list[dict[str, Any]] = []
    for _ in range(2):
        assert local(*PROCESSES).code == 0
        records.append(latest(folder))

    found = [record["parameters"]["key"] for record in records]
    assert [sorted(each) for each in found] == [["from", "hash", "secret"]] * 2
    assert [len(record["salt"]) for record in records] == [32, 32]
    assert found[0]["hash"] != found[1]["hash"]
    assert canary("key") not in json.dumps(records)


def test_other_flags_of_this_machine_alone_are_told_for_the_steps_that_had_them(local: Cli, folder: Path) -> None:
    assert local(*PROCESSES, "-e", "MODE=a:b", "-e", "second:OF_IT=1").code == 0
    base = latest(folder)["id"]
    same = ("--from-run", base, "-e", "MODE=a:b")

    def notes(*typed: str) -> list[str]:
        shown = local(*AGAIN, "--dry-run", *typed)
        assert shown.code == 0, shown.err
        return told(shown.err, base)

    assert notes(*same) == notes(*same, "-e", "second:MODE=debug") == []
    assert notes("--from-run", base) == ["note: first: ran with --env MODE=a:b in RUN; not run again"]
    assert notes(*same, "-e", "first:MORE=1") == ["note: first: ran with --env MODE=a:b in RUN; not run again"]
    assert local(*PROCESSES).code == 0
    base = latest(folder)["id"]
    assert notes("-e", "MODE=x") == ["note: first: ran without --env MODE=x in RUN; not run again"]


def test_another_folder_for_the_bucket_is_told(local: Cli, folder: Path) -> None:
    """The plan for an Engine, which is not contacted; what the run had is written into its record."""
    assert local(*PROCESSES).code == 0
    base = latest(folder)
    path = folder / ".run-kfp/runs" / base["id"] / "run.json"
    for name in ("here", "there"):
        (folder / name).mkdir()
    plan = ("-r", "1-2", "--local", "--from", "2", "--dry-run", "--bucket", "test-bucket")

    def notes(before: str | None, *flags: str, **record: Any) -> list[str]:
        path.write_text(json.dumps({**base, "bucket_dir": before, **record}), encoding="utf-8")
        shown = local(*plan, *flags)
        assert shown.code == 0, shown.err
        return told(shown.err.replace(str(folder), "…"), base["id"])

    here, there = str(folder / "here"), ("--bucket-dir", "there")
    assert notes(here, "--bucket-dir", "here") == notes(None) == []
    assert notes(here, *there) == [
        "note: first: --bucket-dir was '…/here' in RUN and is '…/there'; not run again",
    ]
    assert notes(None, *there) == ["note: first: --bucket-dir was not set in RUN and is '…/there'; not run again"]
    assert notes(here) == ["note: first: --bucket-dir was '…/here' in RUN and is not set; not run again"]
    assert notes(None, *there, salt="", parameters={}) == []  # of a version that did not write it down
