"""What a person sees: help, errors, colours, the live view; and what a shell sees of it."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conftest import PROGRAM, Cli, Write, killed_after_the_test
from dermaid import MAIN, SETTINGS, Canaries
from fakes.vertex import FakeVertex
from run_kfp.cli import command
from run_kfp.flags import CONFLICTS, RunOptions
from run_kfp.program import overview

COMMANDS: tuple[list[str], ...] = ([], ["run"], ["list"], ["init"])


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_help_loads_neither_kfp_nor_googles_sdk(cli: Cli, command: list[str]) -> None:
    words = [sys.executable, "-X", "importtime", "-m", "run_kfp", *command, "--help"]
    unreachable = {"https_proxy": "http://localhost:9", "HTTPS_PROXY": "http://localhost:9"}

    done = subprocess.run(words, cwd=cli.folder, env=cli.environment(unreachable), capture_output=True, text=True)

    assert done.returncode == 0
    assert "Usage: run-kfp" in done.stdout
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "run_kfp.cli" in loaded
    heavy = {name for name in loaded if re.match(r"(kfp|google|grpc|yaml|docker|kubernetes)(\.|$)", name)}
    assert heavy == set()
    # Typer itself takes pydantic for the flags in front of a command.
    assert command or "pydantic" not in loaded


def test_help_has_examples_and_codes(cli: Cli) -> None:
    result = cli("--help")

    assert "run-kfp -r 1 -r 2 -r 3 -r 4 -t dataset_v22" in result.out
    assert result.out.count("\n") <= 40
    assert max(map(len, result.out.splitlines())) <= 100
    assert "5 the run failed" in " ".join(result.out.split())
    assert cli("-h").out == result.out


@pytest.mark.parametrize("count", [12, 13, 22])
def test_the_help_of_more_commands_fits_one_screen(count: int) -> None:
    commands: dict[str, Any] = dict(command().commands)
    groups = [one.rich_help_panel for one in commands.values()]
    more = (name for name in map("command{}".format, itertools.count()) if name not in commands)
    while len(commands) < count:
        commands[next(more)] = SimpleNamespace(
            rich_help_panel=groups[len(commands) % len(groups)],
            help="Show everything that there is of a run, and more.",
        )
    lines = "\n".join(line.plain for line in overview(commands)).splitlines()

    assert len(lines) <= 40
    assert max(map(len, lines)) <= 100
    for name in commands:
        assert re.search(rf"(^|  ){name}  +[A-Z]", "\n".join(lines), re.MULTILINE)


def test_nothing_shows_the_help_and_is_no_success(cli: Cli) -> None:
    result = cli()

    assert result.code == 2
    assert "Usage: run-kfp" in result.out
    assert result.err == ""


def test_the_version(cli: Cli) -> None:
    assert re.fullmatch(r"run-kfp \d+\.\d+\.\d+\n", cli("--version").out)


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--dryrun"], "--dry-run"),
        (["lst"], "No such command"),
        (["-r"], "requires an argument"),
        (["--timeout", "soon", "-r", "1", "--compile-only"], "--timeout 'soon' is invalid: the seconds"),
        (["--failure-policy", "quick", "-r", "1", "--compile-only"], "is invalid; valid values: fast, slow"),
        (["-t", "v1"], "no container selected"),
        (["-r", "1", "list"], "-r in front of `list` would be ignored"),
        (["--project", "x", "init"], "--project in front of `init` would be ignored"),
        (["-r", "1", "lst"], "unknown command 'lst'"),
        (["-r", "1", "-f", "x.yaml"], "-r and -f cannot be used together"),
        (["-f", "x.yaml", "-o", "y.yaml"], "-o and -f cannot be used together"),
        (["-r", "1", "--compile-only", "--dry-run"], "--compile-only and --dry-run cannot be used together"),
        (["-f", "x.yaml", "--compile-only"], "--compile-only and -f cannot be used together"),
        (["-r", "1", "--compile-only", "--wait"], "--wait and --compile-only cannot be used together"),
        (["-r", "1", "--wait-timeout", "3"], "--wait-timeout requires --wait"),
        (["-r", "1", "--wait", "--poll-every", "0"], "--poll-every '0'"),
        (["-r", "1", "--poll-every", "3"], "--poll-every requires --wait"),
        (["-f", "x.yaml", "--no-caching"], "--no-caching and -f cannot be used together"),
        (["-r", "1", "--wait", "--wait-timeout", "-1"], "--wait-timeout '-1'"),
    ],
)
def test_a_call_that_is_none(cli: Cli, args: list[str], told: str) -> None:
    result = cli(*args)

    assert result.code == 2
    assert told in result.err
    assert result.err.startswith("error: ")
    assert result.out == ""
    assert "Traceback" not in result.err
    data = cli(*args, "--json")
    if args[-1] not in ("init", "-r"):
        assert data.json["error"]["exit_code"] == 2


def test_every_conflict_of_a_call_is_told_at_once(cli: Cli) -> None:
    result = cli(
        *(
            "-r",
            "1",
            "--compile-only",
            "--dry-run",
            "--wait",
            "--engine",
            "docker",
            "--from-run",
            "x",
            "--timeout",
            "0",
        ),
        *("--poll-every", "0"),
    )

    assert result.code == 2
    assert [line.split(". ", 1)[1] for line in result.err.splitlines() if re.match(r" +[0-9]\.", line)] == [
        "--compile-only and --dry-run cannot be used together",
        "--wait and --compile-only cannot be used together",
        "--wait and --dry-run cannot be used together",
        "--from-run requires --from",
        "--engine requires --local",
        "--from-run requires --local",
        "--poll-every '0' is invalid: the seconds must be above 0 and at most 31536000",
    ]


def test_the_conflicts_are_between_flags_that_exist() -> None:
    known = {field.name for field in dataclasses.fields(RunOptions)}

    assert {name for conflict in CONFLICTS for name in (conflict.flag, conflict.other)} <= known


def test_flags_without_a_command_are_those_of_run(cli: Cli) -> None:
    """Flags of the program stay in front; what only looks like one of them goes to `run`."""
    args = ("-r", "1", "--compile-only", "-o", "-")
    short, long = cli(*args), cli("run", *args)

    assert (short.code, short.out) == (0, long.out)
    assert cli("--json", *args).json == cli(*args, "--json").json == cli("run", *args, "--json").json
    assert cli("--json", "list").json == cli("list", "--json").json
    assert cli("-r", "1", "-h").out == cli("run", "--help").out


@pytest.mark.parametrize("args", [["-t", "--json", "-r", "99"], ["list", "--region=--json"]])
def test_a_value_that_looks_like_a_flag_is_a_value(cli: Cli, args: list[str]) -> None:
    result = cli(*args)

    assert result.code == 2
    assert result.out == ""


def test_debug_shows_the_traceback_without_values(cli: Cli) -> None:
    canaries = Canaries()
    quiet = cli(*MAIN, "--dry-run", "--bucket", "gs://x", **canaries.variables)
    loud = cli(*MAIN, "--dry-run", "--bucket", "gs://x", "--debug", **canaries.variables)

    assert "Traceback" not in quiet.err
    assert "Traceback" in loud.err
    assert "vertex.py" in loud.err
    assert not any(value in loud.err for value in canaries.values)


def test_a_fault_of_ours_is_code_1_and_no_traceback(cli: Cli, write: Write) -> None:
    """A broken installation stands for every fault that nobody thought of."""
    write("broken/kfp/__init__.py", "raise ZeroDivisionError('the secret reason')\n")

    quiet = cli("-r", "1", "--compile-only", PYTHONPATH="broken")
    loud = cli("-r", "1", "--compile-only", "--debug", PYTHONPATH="broken")

    assert (quiet.code, loud.code) == (1, 1)
    assert "internal error: ZeroDivisionError" in quiet.err
    assert "--debug" in quiet.err
    assert "Traceback" not in quiet.err
    assert "Traceback" in loud.err
    assert not (cli.folder / "pipeline.yaml").exists()


def test_the_shell_completes_containers(cli: Cli, write: Write) -> None:
    def offered(words: str) -> str:
        count = str(len(words.split(" ")) - 1)
        result = cli(_RUN_KFP_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=count)
        return result.out

    assert "train-model" in offered("run-kfp -r tr")
    assert "--run-containers" in offered("run-kfp --run")
    assert "list" in offered("run-kfp l")
    assert offered("run-kfp --engine ").split() == ["docker", "process"]
    assert offered("run-kfp --failure-policy s").split() == ["slow"]
    write("run-kfp.toml", "broken [")
    broken = cli(_RUN_KFP_COMPLETE="complete_bash", COMP_WORDS="run-kfp -r tr", COMP_CWORD="2")
    assert broken.err == ""
    assert "train-model" not in broken.out


def test_a_reader_that_has_enough_is_no_fault(cli: Cli) -> None:
    process = cli.start("list", "--json")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(timeout=60) == 0


def on_terminal(cli: Cli, *args: str, **variables: str) -> tuple[int, str]:
    """Run the program on a pseudo-terminal and return its exit code and all that the terminal got."""
    leader, follower = pty.openpty()
    environment = {**cli.environment(variables), "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
    process = killed_after_the_test(
        subprocess.Popen(
            [*PROGRAM, *args], cwd=cli.folder, env=environment, stdin=follower, stdout=follower, stderr=follower
        )
    )
    os.close(follower)
    seen = bytearray()
    # Reading from the leader of a terminal that has no follower any more is an error on Linux, an end elsewhere.
    with contextlib.suppress(OSError):
        while chunk := os.read(leader, 65536):
            seen += chunk
    os.close(leader)
    return process.wait(timeout=60), seen.decode()


COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def live(vertex: FakeVertex, account_key_file: Path, folder: Path) -> tuple[Cli, list[str]]:
    canaries = Canaries()
    vertex.fails("versioning", f"the push of {canaries.git_login} was refused")
    variables = {
        **SETTINGS,
        **canaries.variables,
        **vertex.environment(),
        "GOOGLE_APPLICATION_CREDENTIALS": str(account_key_file),
    }
    args = [*MAIN, "--no-check", "--api-endpoint", vertex.endpoint, "--wait", "--poll-every", "0.05"]
    return Cli(folder, variables), args


def test_the_live_view_of_a_run(live: tuple[Cli, list[str]]) -> None:
    cli, args = live

    code, seen = on_terminal(cli, *args)

    assert code == 5
    assert COLOUR.search(seen)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen)
    assert "● get-raw-data" in plain
    assert "✓ get-raw-data" in plain
    assert "✗ versioning" in plain
    assert "the push of *** was refused" in plain
    assert "error: the run failed: step versioning" in plain


def test_no_color_is_heard(live: tuple[Cli, list[str]]) -> None:
    cli, args = live

    code, seen = on_terminal(cli, *args, NO_COLOR="1")

    assert code == 5
    colours = {code for found in COLOUR.findall(seen) for code in re.findall(r"\d+", found)}
    assert not {number for number in colours if 30 <= int(number) <= 49 or int(number) >= 90}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full: a device without room, which Linux has")
@pytest.mark.parametrize(
    ("args", "code"),
    [(["list", "--json"], 1), (["-r", "1", "--compile-only"], 1), (["-r", "99", "--compile-only", "--json"], 2)],
)
def test_a_result_that_cannot_be_written_is_no_success(cli: Cli, args: list[str], code: int) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*PROGRAM, *args], cwd=cli.folder, env=cli.environment({}), stdout=full, stderr=subprocess.PIPE, text=True
        )

    assert done.returncode == code
    assert "could not be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_words_that_nobody_reads_stop_nothing(cli: Cli, folder: Path) -> None:
    process = cli.start("-r", "1-4", "--compile-only")
    assert process.stderr is not None
    assert process.stdout is not None
    process.stderr.close()
    assert process.stdout.read() == "pipeline.yaml\n"
    process.stdout.close()
    assert process.wait(timeout=60) == 0


def test_a_folder_that_is_gone_is_told(cli: Cli) -> None:
    script = (
        f"import os, sys; os.rmdir({str(cli.folder)!r}); "
        "os.execv(sys.executable, [sys.executable, '-m', 'run_kfp', 'list'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=cli.folder, env=cli.environment({}), capture_output=True, text=True
    )

    assert done.returncode == 2
    assert "the current folder no longer exists" in done.stderr
