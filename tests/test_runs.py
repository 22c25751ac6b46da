"""`run-kfp runs` and `run-kfp runs prune`: which runs are shown, which go; and what is read for it."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from conftest import Cli
from run_kfp.backends.local.leftovers import (
    FOLDER_LABEL,
    HOST_LABEL,
    KEPT_LABEL,
    PROCESS_LABEL,
    RUN_LABEL,
    STORE_LABEL,
    Leftover,
    labels_of,
)
from run_kfp.errors import InputError, StoreError
from run_kfp.localruns import RunRecord, process_lives, process_start
from run_kfp.localstore import LocalRuns
from run_kfp.runs import RunState
from run_kfp.times import age, moment
from test_localruns import NOON, a_record

NOW = datetime.now(UTC)


@pytest.fixture
def runs(folder: Path) -> LocalRuns:
    return LocalRuns(folder / ".run-kfp")


def ended(runs: LocalRuns, run_id: str, ago: timedelta = timedelta()) -> RunRecord:
    """Write a run that ended some time ago, as if its files had been written then."""
    record = a_record(run_id, NOW - ago)
    record.state, record.ended = RunState.SUCCEEDED, NOW - ago
    folder = runs.folder(run_id)
    folder.make("a pipeline\n")
    folder.write(record, str)
    folder.release()
    for path in (folder.path / "pipeline.yaml", folder.path):
        os.utime(path, (record.created.timestamp(),) * 2)
    return record


# ── which runs are shown ────────────────────────────────────────────────────────────────────────────────────────────


def test_the_newest_runs_are_shown_and_no_other_record_is_read(cli: Cli, runs: LocalRuns) -> None:
    for number in range(30):
        ended(runs, f"run-{number}", timedelta(hours=30 - number))
    (runs.folder("run-9").path / "run.json").write_text("no record", encoding="utf-8")  # the 21st

    shown = cli("runs")

    assert [line.split()[0] for line in shown.out.splitlines()] == [f"run-{number}" for number in range(29, 9, -1)]
    assert shown.err == "10 older: `run-kfp runs --limit 0` shows all, `run-kfp runs prune` removes old ones\n"
    assert [run["run"] for run in cli("runs", "--limit", "2", "--json").json["runs"]] == [
        "local://run-29",
        "local://run-28",
    ]
    every = cli("runs", "--limit", "0")
    assert len(every.out.splitlines()) == 29
    assert every.err == "warning: .run-kfp/runs/run-9/run.json is ignored: not a run record of this version\n"


def test_a_store_that_was_copied_is_read_whole(runs: LocalRuns) -> None:
    for number, ago in enumerate((1, 3, 2)):
        ended(runs, f"run-{number}", timedelta(days=ago))
    for path in runs.path.glob("*/pipeline.yaml"):
        os.utime(path)

    found, _ = runs.newest(2)

    assert [record.id for _, record in found] == ["run-0", "run-2"]


def test_of_one_pipeline(runs: LocalRuns) -> None:
    ended(runs, "mine", timedelta(hours=2))
    other = ended(runs, "other", timedelta(hours=1))
    other.pipeline = {"name": "another"}
    runs.folder("other").write(other, str)

    assert [record.id for _, record in runs.newest(1, "chain")[0]] == ["mine"]
    assert runs.newest(1, "none")[0] == []


def test_a_run_that_has_ended_is_in_nobodys_hand(runs: LocalRuns) -> None:
    ended(runs, "ended")
    folder = runs.folder("going")
    folder.make("a pipeline\n")
    folder.write(a_record("going"), str)

    assert [each.id for each in runs.in_hand()] == ["going"]
    folder.release()
    assert [each.id for each in runs.in_hand()] == ["going"]  # without an end: somebody has to look at it


@pytest.mark.parametrize("flags", [("runs", "--limit"), ("runs", "prune", "--keep")])
@pytest.mark.parametrize("word", ["x", "-1", "1.5", ""])
def test_a_number_of_runs(cli: Cli, flags: tuple[str, ...], word: str) -> None:
    result = cli(*flags, word)

    assert (result.code, result.out) == (2, "")
    assert f"error: {flags[-1]} {word!r} is not a number of runs" in result.err


# ── which go ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_prune_keeps_the_newest_shows_what_goes_and_asks(cli: Cli, runs: LocalRuns) -> None:
    for number in range(25):
        ended(runs, f"run-{number}", timedelta(hours=30 - number))

    refused = cli("runs", "prune")

    assert refused.code == 2
    assert "To be removed" in refused.err
    assert "  run-4  " in refused.err
    assert "run-5" not in refused.err
    assert "in all 5 runs: " in refused.err
    assert "pass --yes to agree" in refused.err
    assert len(runs.folders()) == 25

    done = cli("runs", "prune", "--yes")

    assert done.code == 0
    assert done.out.startswith("removed 5 runs: ")
    assert done.out.endswith("B\n")
    assert [folder.id for folder in runs.folders()] == [f"run-{number}" for number in range(24, 4, -1)]
    assert "nothing to remove\n" in cli("runs", "prune", "--yes").err


def test_an_age_and_a_number_that_stays(cli: Cli, runs: LocalRuns) -> None:
    for days in range(1, 7):
        ended(runs, f"run-{days}", timedelta(days=days, minutes=1))

    for flags, gone in (
        (("--older-than", "7d"), []),
        (("--older-than", "5d", "--keep", "5"), ["run-6"]),
        (("--older-than", "3d"), ["run-3", "run-4", "run-5"]),
        (("--keep", "1"), ["run-2"]),
        (("--keep", "0"), ["run-1"]),
    ):
        result = cli("runs", "prune", *flags, "--yes", "--json")
        assert result.code == 0
        assert result.json["runs"] == gone
        assert result.json["removed"] is bool(gone)
        assert (result.json["bytes"] > 0) is bool(gone)
    assert runs.folders() == []


def test_a_run_that_is_not_over_stays(cli: Cli, runs: LocalRuns) -> None:
    ended(runs, "over", timedelta(days=9))
    going = runs.folder("going")
    going.make("a pipeline\n")
    going.write(a_record("going", NOW - timedelta(days=10)), str)

    assert cli("runs", "prune", "--keep", "0", "--yes", "--json").json["runs"] == ["over"]
    assert [folder.id for folder in runs.folders()] == ["going"]
    going.release()
    # Its program is gone by now: it is over, and failed.
    assert cli("runs", "prune", "--keep", "0", "--yes", "--json").json["runs"] == ["going"]


def test_what_a_link_leads_to_stays(cli: Cli, runs: LocalRuns, folder: Path) -> None:
    outside = folder / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x" * 5000, encoding="utf-8")
    ended(runs, "over")
    (runs.folder("over").path / "logs/link").symlink_to(outside)
    (runs.path / "all").symlink_to(outside)

    result = cli("runs", "prune", "--keep", "0", "--yes", "--json")

    assert result.json["runs"] == ["over"]
    assert result.json["bytes"] < 5000
    assert (outside / "precious").exists()


def test_a_folder_that_cannot_be_removed(runs: LocalRuns) -> None:
    runs.path.mkdir(parents=True)
    (runs.path / "over").touch()

    with pytest.raises(StoreError, match=r"cannot remove \S*/over: Not a directory"):
        runs.remove("over")
    runs.remove("gone")


@pytest.mark.parametrize("text", ["", "7", "d", "7 d", "-7d", "7y", "1.5h", "1234567d"])
def test_an_age_of_another_form(cli: Cli, text: str) -> None:
    result = cli("runs", "prune", "--older-than", text)

    assert result.code == 2
    assert f"--older-than {text!r} is not an age" in result.err
    assert "write --older-than 7d" in result.err


def test_ages_and_moments() -> None:
    assert [age("--x", text).total_seconds() for text in ("90s", "15m", "12h", "7d", "2w")] == [
        90,
        900,
        43_200,
        604_800,
        1_209_600,
    ]
    assert moment("--x", "15m", NOON) == NOON - timedelta(minutes=15)
    assert moment("--x", "2026-03-02T09:30:15", NOON) == datetime(2026, 3, 2, 9, 30, 15, tzinfo=UTC)
    assert moment("--x", "2026-03-02T09:30:15+02:00", NOON) == datetime(2026, 3, 2, 7, 30, 15, tzinfo=UTC)
    with pytest.raises(InputError, match="--x 'noon' is not a time"):
        moment("--x", "noon", NOON)


def test_without_an_engine_the_runs_go_and_that_is_said(cli: Cli, runs: LocalRuns) -> None:
    ended(runs, "over")

    result = cli("runs", "prune", "--keep", "0", "--yes", DOCKER_HOST="unix:///nowhere/docker.sock")

    assert result.code == 0
    assert "note: containers were not looked for: no Docker Engine answers at unix:///nowhere/docker.sock" in result.err


# ── whose a container is ────────────────────────────────────────────────────────────────────────────────────────────


def labels(runs: LocalRuns, **changed: str) -> Leftover:
    """A container of this program, with other labels where they are given."""
    found = {RUN_LABEL: "chain-1", **labels_of(runs)}
    names = {"host": HOST_LABEL, "process": PROCESS_LABEL, "folder": FOLDER_LABEL, "store": STORE_LABEL}
    return Leftover("container", "abc", found | {names[name]: value for name, value in changed.items()})


def test_a_container_of_a_living_store_or_program_is_no_orphan(runs: LocalRuns) -> None:
    assert not labels(runs).orphaned
    assert labels(runs).is_of(runs.store())
    assert not labels(runs).is_of("")
    # The program lives, wherever its folder is.
    assert not labels(runs, folder="/nowhere/.run-kfp").orphaned
    # The folder has this store, though the program is gone: its own sweep takes it.
    assert not labels(runs, process="999999999 5").orphaned


def test_a_container_whose_store_and_program_are_gone_is_an_orphan(runs: LocalRuns, tmp_path: Path) -> None:
    assert labels(runs, process="999999999 5", folder="/nowhere/.run-kfp").orphaned
    assert labels(runs, process=f"{os.getpid()} 5", store="another").orphaned  # the pid is used again, the store new
    assert not labels(runs, process="999999999 5", folder="").orphaned  # of a version that did not say it


def test_a_container_without_a_folder_of_its_run_belongs_to_its_program_while_that_lives(runs: LocalRuns) -> None:
    assert not labels(runs).abandoned
    assert labels(runs, process="999999999 5").abandoned
    assert not labels(runs, process="999999999 5", host="other").abandoned


def test_a_process_is_known_by_its_start_or_where_the_system_does_not_say_it_by_its_number() -> None:
    mine = os.getpid()

    assert process_lives(mine, process_start(mine))
    assert not process_lives(mine, "5")
    assert process_lives(mine, "")
    assert process_lives(1, "")  # somebody else's, maybe
    assert not process_lives(999_999_999, "")


def test_nothing_is_known_of_another_machine_or_of_another_view_of_this_one(runs: LocalRuns) -> None:
    name, boot, view = labels_of(runs)[HOST_LABEL].split(" ")
    gone = {"process": "999999999 5", "folder": "/nowhere/.run-kfp"}
    for host in (f"other {boot} {view}", f"{name} {boot} 1+2", "", name):
        found = labels(runs, host=host, **gone)
        assert (found.elsewhere, found.orphaned) == ((host != name), (host == name)), host
    # Before the last start of this machine: no program of then is left, whatever its number.
    before = labels(runs, host=f"{name} {'0' * 36} 1+2", folder="/nowhere/.run-kfp")
    assert (before.elsewhere, before.orphaned) == (False, True)


def test_a_container_that_was_kept_says_so(runs: LocalRuns) -> None:
    assert not labels(runs).kept
    assert Leftover("container", "abc", {KEPT_LABEL: "1"}).kept
