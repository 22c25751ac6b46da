"""A machine on a bad day: one line, an exit code with a meaning, nothing left running, no run left RUNNING."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from conftest import PROGRAM, Cli, Result, Write, killed_after_the_test
from local_pipelines import latest
from processes import await_end

REGISTRY = """
[pipeline]
name = "chain"
[containers.1]
name = "one"
image = "nobody/one"
args = [{ param = "tag" }]
process = { cwd = ".", entrypoint = ["sh", "-c", "echo here; echo $$ > pid; seq 1 40000"] }
[containers.2]
name = "waits"
image = "nobody/waits"
process = { cwd = ".", entrypoint = ["sh", "-c", "echo $$ > pid; echo here; sleep 100"] }
"""

LOCAL = ("--local", "--engine", "process")

ROOT = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="NOT SHOWN: needs root")
MOUNTS = pytest.mark.skipif(
    not hasattr(os, "geteuid")
    or shutil.which("unshare") is None
    or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode != 0,
    reason="NOT SHOWN: needs mounts of its own (root and unshare)",
)


@pytest.fixture(autouse=True)
def _registry(write: Write) -> None:
    write("run-kfp.toml", REGISTRY)


def _environment(cli: Cli, variables: Mapping[str, str], unset: Sequence[str] = ()) -> dict[str, str]:
    # A module that is compiled on such a day would be cut short, for every later test.
    whole = cli.environment({"PYTHONDONTWRITEBYTECODE": "1", **variables})
    # Who measures what is executed could not write its figures either, and would say so.
    return {name: value for name, value in whole.items() if name not in (*unset, "COVERAGE_PROCESS_CONFIG")}


def on_a_day(cli: Cli, day: str, *args: str, unset: Sequence[str] = (), **variables: str) -> Result:
    """Run the program at the end of a line of a shell, which takes it as `"$@"`."""
    done = subprocess.run(
        ["sh", "-c", day, "sh", *PROGRAM, *args],
        cwd=cli.folder,
        env=_environment(cli, variables, unset),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def errors(result: Result) -> list[str]:
    """The lines that tell an error; a traceback and an internal error are none that anybody may see."""
    assert "Traceback" not in result.err
    assert "internal error" not in result.err
    return [line for line in result.err.splitlines() if line.startswith("error: ")]


def states(folder: Path) -> list[str]:
    return [json.loads(path.read_text("utf-8"))["state"] for path in folder.glob("**/.run-kfp/runs/*/run.json")]


# ── no room ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("args", [("-r", "1", "--compile-only"), ("-r", "1", "-t", "v1", *LOCAL)])
def test_a_file_size_of_nothing(cli: Cli, folder: Path, args: tuple[str, ...]) -> None:
    result = on_a_day(cli, 'ulimit -f 0; exec "$@"', *args)

    assert (result.code, errors(result)) == (2, ["error: cannot write temporary files: File too large"])
    assert states(folder) == []


def test_a_log_above_the_file_size_ends_the_run(cli: Cli, folder: Path) -> None:
    """The step writes more than the log may hold: it is stopped, and does not wait for ever at a full pipe."""
    result = on_a_day(cli, 'ulimit -f 100; exec "$@"', "-r", "1", "-t", "v1", *LOCAL)

    (told,) = errors(result)
    assert result.code == 4
    assert re.fullmatch(r"error: cannot write \.run-kfp/runs/chain-\S+/logs/one\.log: File too large", told)
    assert latest(folder)["state"] == "FAILED"
    await_end(int((folder / "pid").read_text()))


def test_a_log_without_room_and_a_screen_that_nobody_reads(cli: Cli, folder: Path) -> None:
    """Both at once: the run ends, with its record and its report, though no word of it can be said."""
    entry = '{ cwd = ".", entrypoint = ["yes"] }'
    (folder / "run-kfp.toml").write_text(f'[containers.1]\nname = "one"\nimage = "nobody/one"\nprocess = {entry}\n')
    process = killed_after_the_test(
        subprocess.Popen(
            ["sh", "-c", 'ulimit -f 20000; exec "$@"', "sh", *PROGRAM, "-r", "1", *LOCAL],
            cwd=folder,
            env=_environment(cli, {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    )

    assert process.wait(60) == 4

    assert latest(folder)["state"] == "FAILED"
    assert "File too large" in latest(folder)["error"]
    (report,) = folder.glob(".run-kfp/runs/*/report.html")
    assert report.stat().st_size


FULL = 'mkdir small && mount -t tmpfs -o size={size}k none small && cp run-kfp.toml small && cd small && "$@"; {then}'


@MOUNTS
def test_a_disk_that_a_log_fills_has_room_for_record_and_report(cli: Cli, folder: Path) -> None:
    entry = '{ cwd = ".", entrypoint = ["yes"] }'
    (folder / "run-kfp.toml").write_text(f'[containers.1]\nname = "one"\nimage = "nobody/one"\nprocess = {entry}\n')
    day = FULL.format(size=4000, then="code=$?; cp -r .run-kfp ../kept; exit $code")

    result = on_a_day(cli, f"unshare -m sh -c '{day}' sh \"$@\"", "-r", "1", *LOCAL)

    (told,) = errors(result)
    assert result.code == 4
    assert told.endswith("one.log: No space left on device")
    (record,) = folder.glob("kept/runs/*/run.json")
    assert json.loads(record.read_text("utf-8"))["state"] == "FAILED"
    assert record.with_name("report.html").stat().st_size > 100_000


@MOUNTS
def test_a_record_that_finds_no_room_ends_in_its_place(cli: Cli, folder: Path) -> None:
    day = FULL.format(size=64, then="code=$?; cp -r .run-kfp ../kept; exit $code")
    filled = day.replace("&& cd small", "&& head -c 40000 /dev/zero > small/fill && cd small")

    result = on_a_day(cli, f"unshare -m sh -c '{filled}' sh \"$@\"", "-r", "1", "-t", "v1", *LOCAL)

    (told,) = errors(result)
    assert result.code == 4
    assert told.startswith("error: cannot write .run-kfp/runs/chain-")
    assert told.endswith(": No space left on device")
    (path,) = folder.glob("kept/runs/*/run.json")
    record = json.loads(path.read_text("utf-8"))
    assert (record["state"], record["error"]) == ("FAILED", told.removeprefix("error: "))
    assert {step["state"] for step in record["steps"]} <= {"FAILED", "SKIPPED", "CANCELLED"}


@MOUNTS
def test_a_full_disk_takes_no_pipeline_and_keeps_the_one_that_is_there(cli: Cli, folder: Path) -> None:
    kept = "code=$?; cat pipeline.yaml; ls -A; exit $code"
    day = FULL.format(size=16, then=kept).replace("&& cd small", "&& cd small && echo old > pipeline.yaml && {}")
    filled = day.format("{ head -c 99999 /dev/zero > fill 2> /dev/null || true; }")

    result = on_a_day(
        cli, f"unshare -m sh -c '{filled}' sh \"$@\"", "-r", "1-2", "--compile-only", "-o", "pipeline.yaml"
    )

    assert (result.code, errors(result)) == (2, ["error: cannot write pipeline.yaml: No space left on device"])
    assert result.out.split() == ["old", "fill", "pipeline.yaml", "run-kfp.toml"]


READ_ONLY = """unshare -m sh -c '
mount -o bind . . && mount -o remount,ro,bind / && mount -t tmpfs {shm} none /dev/shm && cd "$PWD" &&
mount -o remount,ro,bind . && cd "$PWD" && "$@"' sh "$@"
"""

# … with a folder to work in.
ONLY_THE_FOLDER = """unshare -m sh -c '
mount -o bind . . && mount -o remount,ro,bind / && mount -t tmpfs none /dev/shm && cd "$PWD" && "$@"' sh "$@"
"""


@MOUNTS
@pytest.mark.parametrize(
    ("args", "code", "told"),
    [
        (("list",), 0, []),
        (("runs",), 0, []),
        (("--help",), 0, []),
        (("check", "-r", "1", "--offline"), 3, ["error: the check found "]),
        (("-r", "1", "--compile-only"), 2, ["error: cannot write pipeline.yaml: Read-only file system"]),
        (("-r", "1", "--compile-only", "-o", "-"), 0, []),
        (("-r", "1", "-t", "v1", *LOCAL), 2, ["error: cannot write pipeline.yaml: Read-only file system"]),
        (("init",), 2, ["error: cannot write run-kfp.schema.json: Read-only file system"]),
    ],
)
def test_a_read_only_machine_with_shared_memory(cli: Cli, args: tuple[str, ...], code: int, told: list[str]) -> None:
    """What a container with a read-only file system has: /dev/shm alone."""
    result = on_a_day(cli, READ_ONLY.format(shm=""), *args)

    found = [line for line in errors(result) if not line.startswith("error: RK-")]
    assert result.code == code, result.err
    assert [line.startswith(start) for line, start in zip(found, told, strict=True)] == [True] * len(told)


@MOUNTS
def test_a_read_only_machine_with_a_folder_to_work_in(cli: Cli, folder: Path) -> None:
    result = on_a_day(cli, ONLY_THE_FOLDER, "-r", "1", "-t", "v1", *LOCAL)

    assert (result.code, errors(result)) == (0, [])
    assert states(folder) == ["SUCCEEDED"]


@MOUNTS
@pytest.mark.parametrize("args", [("-r", "1", "--compile-only", "-o", "-"), ("-r", "1", "-t", "v1", *LOCAL)])
def test_no_folder_for_temporary_files(cli: Cli, args: tuple[str, ...]) -> None:
    result = on_a_day(cli, READ_ONLY.format(shm="-o ro"), *args)

    assert (result.code, errors(result)) == (2, ["error: cannot write temporary files: no folder for them"])
    assert "set TMPDIR" in result.err


# ── no streams ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("streams", ["<&-", "2>&-", "<&- 2>&-", "2>/dev/full"])
def test_closed_streams_change_neither_the_run_nor_its_log(cli: Cli, folder: Path, streams: str) -> None:
    result = on_a_day(cli, f'"$@" {streams}', "-r", "1", "-t", "v1", *LOCAL)

    assert result.code == 0
    assert result.out.startswith("local://chain-")
    (log,) = folder.glob(".run-kfp/runs/*/logs/one.log")
    lines = [line.split(" ", 2)[2] for line in log.read_text("utf-8").splitlines()]
    assert lines == ["here", *map(str, range(1, 40001))]


@pytest.mark.parametrize("streams", [">&-", ">/dev/full", "<&- >&- 2>&-"])
def test_a_result_that_nobody_can_read_is_no_success_and_the_run_has_its_end(
    cli: Cli, folder: Path, streams: str
) -> None:
    result = on_a_day(cli, f'"$@" {streams}', "-r", "1", "-t", "v1", *LOCAL)

    assert result.code == 1
    assert latest(folder)["state"] == "SUCCEEDED"
    assert "Traceback" not in result.err


def test_a_reader_that_has_enough_stops_nothing(cli: Cli, folder: Path) -> None:
    day = '{ "$@" --json; echo $? > code; } | head -n 1'

    on_a_day(cli, day, "-r", "1", "-t", "v1", *LOCAL)

    assert (folder / "code").read_text() == "0\n"
    assert latest(folder)["state"] == "SUCCEEDED"


# ── nobody's home ────────────────────────────────────────────────────────────────────────────────────────────────────

NOBODY = """chmod 777 . && exec setpriv --reuid=54321 --regid=54321 --clear-groups --inh-caps=+dac_read_search \\
--ambient-caps=+dac_read_search "$@" """


@ROOT
@pytest.mark.parametrize(
    ("args", "code", "told"),
    [
        (("-r", "1", "-t", "v1", *LOCAL), 0, []),
        (("-r", "1", "--compile-only"), 0, []),
        (("list",), 0, []),
        (("trust",), 0, []),
        (("check", "-r", "1", "-t", "v1", "--offline"), 3, ["error: the check found "]),
        (("--install-completion",), 2, ["error: the home folder is unknown"]),
        (("-r", "1", "-t", "v1", "--local"), 4, ["error: no Docker Engine answers at "]),
    ],
)
def test_a_user_without_name_and_home(cli: Cli, args: tuple[str, ...], code: int, told: list[str]) -> None:
    result = on_a_day(
        cli, NOBODY, *args, unset=["HOME"], DOCKER_HOST="unix:///no/such.sock", PYTHONDONTWRITEBYTECODE="1"
    )

    found = [line for line in errors(result) if not line.startswith("error: RK-")]
    assert result.code == code, result.err
    assert [line.startswith(start) for line, start in zip(found, told, strict=True)] == [True] * len(told)


# ── what goes away ───────────────────────────────────────────────────────────────────────────────────────────────────


def _until_it_runs(process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if "│ here" in line:
            return
    raise AssertionError("the step never ran")


def test_a_folder_that_goes_away_ends_the_run(cli: Cli, folder: Path) -> None:
    process = cli.start("-r", "2", *LOCAL)
    _until_it_runs(process)
    pid = int((folder / "pid").read_text())
    shutil.rmtree(folder)
    process.send_signal(signal.SIGINT)

    _, err = process.communicate(timeout=60)

    assert process.returncode in (4, 130)
    assert "internal error" not in err
    assert "Traceback" not in err
    await_end(pid)


@pytest.mark.parametrize("args", [("runs",), ("-r", "1", "--compile-only")])
def test_temporary_files_of_a_killed_run_are_removed_by_the_next_call(
    cli: Cli, folder: Path, tmp_path: Path, args: tuple[str, ...]
) -> None:
    place = tmp_path / "tmp"
    (place / "run-kfp-tmp-of_a_user").mkdir(parents=True)
    (place / "run-kfp-tmp-12345678").mkdir()
    process = cli.start("-r", "2", *LOCAL, TMPDIR=str(place))
    _until_it_runs(process)
    process.kill()
    process.communicate()
    assert len(list(place.iterdir())) == 3
    living = cli.start("-r", "2", *LOCAL, TMPDIR=str(place))  # sweeps by itself, and is left alone
    _until_it_runs(living)
    its_own = {path.name for path in place.iterdir()}
    assert len(its_own) == 3

    result = cli(*args, TMPDIR=str(place))

    assert result.code == 0, result.err
    assert {path.name for path in place.iterdir()} == its_own
    living.send_signal(signal.SIGINT)
    living.communicate(timeout=60)
    assert {path.name for path in place.iterdir()} == {"run-kfp-tmp-of_a_user", "run-kfp-tmp-12345678"}


# ── the folder that one happens to be in ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", ["", ":/nowhere", "."])
def test_nothing_is_imported_from_the_current_folder(cli: Cli, write: Write, folder: Path, path: str) -> None:
    for name in (
        "typer",
        "kfp",
        "yaml",
        "docker",
        "dotenv",
        "rich",
        "pydantic",
        "google",
        "tempfile",
        "errno",
        "resource",
    ):
        write(f"{name}.py", "open('ran', 'a').write(__name__)\nraise SystemExit('of the folder')\n")

    for args in (("--help",), ("-r", "1", "--compile-only"), ("-r", "1", "-t", "v1", *LOCAL), ("runs",)):
        paths = os.pathsep.join(filter(None, [cli.environment({}).get("PYTHONPATH", ""), path]))
        result = on_a_day(cli, 'exec "$@"', *args, **({"PYTHONPATH": paths} if path else {}))
        assert result.code == 0, result.err

    assert not (folder / "ran").exists()
