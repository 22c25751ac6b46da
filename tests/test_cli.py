"""A command line in this process: what it becomes, the exit code of each end, and how the program starts."""

from __future__ import annotations

import errno
import gc
import json
import os
import subprocess
import sys
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from run_kfp import __main__ as start
from run_kfp import cli
from run_kfp.errors import CheckFailed, InputError, RunFailed
from run_kfp.flags import WORDS
from run_kfp.program import commands_of
from run_kfp.terminal import Format


@pytest.fixture(autouse=True)
def _in_a_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(folder)
    for name in [name for name in os.environ if name.startswith(("RUN_KFP_", "GCP_", "GCS_", "GOOGLE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(folder / "home"))
    shown, threshold = warnings.showwarning, gc.get_threshold()
    yield
    warnings.showwarning = shown
    gc.set_threshold(*threshold)


def ends(monkeypatch: pytest.MonkeyPatch, end: Any) -> None:
    """Let the command end like this: by an error, or with a result."""

    def main(**_: Any) -> Any:
        if isinstance(end, BaseException):
            raise end
        return end

    monkeypatch.setattr(cli, "command", lambda: SimpleNamespace(main=main))


@pytest.mark.parametrize(
    ("end", "code", "words"),
    [
        (None, 0, ""),
        (0, 0, ""),
        (5, 5, ""),
        (InputError("bad", "do this"), 2, "error: bad\n  → do this\n"),
        (CheckFailed("found"), 3, "error: found\n"),
        (RunFailed("failed"), 5, "error: failed\n"),
        (KeyboardInterrupt(), 130, ""),
        (typer.Abort(), 130, ""),
        (SystemExit(7), 0, ""),
        (MemoryError(), 2, "error: out of memory\n  → free memory, or raise the limit\n"),
        (
            KeyError("x"),
            1,
            "error: internal error: KeyError: 'x'\n  → report it; --debug shows the traceback\n",
        ),
        (
            OSError(errno.EMFILE, "Too many open files"),
            2,
            "error: this machine refused access: Too many open files\n  → free space, or raise the limit\n",
        ),
    ],
)
def test_each_end_has_its_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], end: Any, code: int, words: str
) -> None:
    ends(monkeypatch, end)

    assert cli.execute(["list"]) == code
    captured = capsys.readouterr()
    assert (captured.out, "\n".join(line.rstrip() for line in captured.err.splitlines())) == ("", words.rstrip("\n"))


def test_nothing_is_the_help_and_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.execute([]) == 2
    assert capsys.readouterr().out.startswith("Run Docker images as a Kubeflow pipeline")
    assert cli.execute(["--help"]) == 0
    assert cli.execute(["list", "-h"]) == 0
    assert "Show the containers of the registry" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "form"), [(["list", "--no-such"], Format.TEXT), (["list", "--no-such", "--json"], Format.JSON)]
)
def test_a_call_that_cannot_be_parsed_is_told_in_its_form(
    capsys: pytest.CaptureFixture[str], argv: list[str], form: Format
) -> None:
    assert cli.execute(argv) == 2

    captured = capsys.readouterr()
    assert captured.err.splitlines()[0].rstrip() == "error: No such option: --no-such"
    assert "see `run-kfp --help`" in captured.err
    if form is Format.JSON:
        assert json.loads(captured.out)["error"]["message"] == "No such option: --no-such"
    else:
        assert captured.out == ""


def test_a_word_behind_the_flags_of_a_run_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.execute(["-r", "1", "list"]) == 2
    assert capsys.readouterr().err.startswith("error: -r in front of `list` would be ignored\n")
    assert cli.execute(["run", "list"]) == 2
    assert capsys.readouterr().err.startswith("error: run in front of `list` would be ignored\n")
    assert cli.execute(["-r", "1", "lsit"]) == 2
    assert "unknown command 'lsit'\n  → did you mean 'list'?" in capsys.readouterr().err
    assert cli.execute(["-r", "1", "zzz", "--json"]) == 2
    captured = capsys.readouterr()
    assert "see `run-kfp --help`" in captured.err
    assert json.loads(captured.out)["error"]["message"] == "unknown command 'zzz'"


NO_RUNS = "error: no runs in .run-kfp/runs\n"


@pytest.mark.parametrize(
    ("argv", "code", "out", "err"),
    [
        (["check", "-r", "1", "--offline"], 3, "error: RK-ACCOUNT-MISSING: --service-account: ", ""),
        (["-r", "1", "--compile-only"], 0, "pipeline.yaml\n", ""),
        (["run", "-r", "9", "--compile-only"], 2, "", "error: -r 9: unknown container '9'"),
        (["runs"], 0, "", "no runs in this folder: `--local` creates one\n"),
        (["watch"], 2, "", NO_RUNS),
        (["cancel"], 2, "", NO_RUNS),
        (["logs"], 2, "", NO_RUNS),
        (["init", "new"], 0, "new/run-kfp.toml\n", "next: cd new\n"),
        (["trust"], 0, "Nothing in this folder needs your consent.\n", ""),
        (["trust", "--revoke"], 0, "", "you have agreed to nothing in this folder\n"),
        (["machines", "--region", "us-east1"], 0, "the machine table of ", ""),
        (["machines", "--accelerator", "zzz"], 2, "", "error: the machine table of "),
        (["explain", "RK-CALL"], 0, "RK-CALL  ", ""),
        (["explain", "zzz"], 2, "", "error: "),
    ],
)
def test_each_command_does_its_own(
    capsys: pytest.CaptureFixture[str], argv: list[str], code: int, out: str, err: str
) -> None:
    assert cli.execute(argv) == code
    captured = capsys.readouterr()
    assert captured.out.startswith(out)
    assert captured.err.startswith(err)
    assert bool(out) == bool(captured.out)


def test_the_list_as_data_and_for_a_person(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.execute(["list", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [container["name"] for container in data["containers"]][-1] == "train-model"
    assert cli.execute(["list"]) == 0
    assert "train-model" in capsys.readouterr().out


def test_the_schema_is_the_same_as_data_and_as_text(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert cli.execute(["schema"]) == 0
    text = capsysbinary.readouterr().out
    assert cli.execute(["schema", "--json"]) == 0
    assert json.loads(text) == json.loads(capsysbinary.readouterr().out)


def test_warnings_are_words_of_the_program(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def main(**_: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning("old \x1b[2J", UserWarning, "file.py", 7)

    monkeypatch.setattr(cli, "command", lambda: SimpleNamespace(main=main))
    assert cli.execute(["list"]) == 0
    assert capsys.readouterr().err == "warning: old \\x1b[2J\n"


def test_every_command_has_the_flags_of_all() -> None:
    made = cli.command()
    for _, each in commands_of(made):
        (json_,) = [param for param in each.params if "--json" in param.opts and param.name == "json_"]
        (debug,) = [param for param in each.params if param.name == "debug"]
        assert not json_.expose_value
        assert not debug.expose_value
        assert each.get_help_option(typer.Context(each)).rich_help_panel == WORDS
    shown = [param for param in made.params if getattr(param, "is_flag", False)]
    assert shown
    assert {param.metavar for param in shown} == {""}
    assert [param.metavar for param in made.commands["watch"].params if param.name == "run"] == ["[RUN]"]
    assert {param.rich_help_panel for param in made.params if "completion" in param.name} == {WORDS}


# ── the machine ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("error", "words", "hint"),
    [
        (MemoryError(), "out of memory", "free memory, or raise the limit"),
        *(
            (
                OSError(number, os.strerror(number), "a.yaml"),
                f"this machine refused access a.yaml: {os.strerror(number)}",
                "free space, or raise the limit",
            )
            for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EMFILE, errno.ENFILE)
        ),
        (
            OSError(errno.ENOMEM, "Cannot allocate memory"),
            "this machine refused access: Cannot allocate memory",
            "free space, or raise the limit",
        ),
        (RuntimeError("Could not determine home directory."), "the home folder is unknown", "set HOME"),
    ],
)
def test_a_fault_of_the_machine(error: Exception, words: str, hint: str) -> None:
    told = cli._fault_of_machine(error)
    assert told is not None
    assert (told.message, told.hint, told.exit_code) == (words, hint, 2)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EACCES, "Permission denied"),
        FileNotFoundError(errno.ENOENT, "No such file or directory"),
        RuntimeError("a set changed its size"),
        ValueError("Could not determine home directory."),
        KeyError("x"),
    ],
)
def test_any_other_fault_is_ours(error: Exception) -> None:
    assert cli._fault_of_machine(error) is None


def test_a_folder_that_is_gone(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "gone").mkdir()
    monkeypatch.chdir(folder / "gone")
    (folder / "gone").rmdir()

    told = cli._fault_of_machine(FileNotFoundError())
    assert cli.execute(["list"]) == 2
    said = capsys.readouterr().err
    os.chdir(folder)
    assert told is not None
    assert (told.message, told.hint) == ("the current folder no longer exists", "change to an existing folder")
    assert said == "error: the current folder no longer exists\n  → change to an existing folder\n"


def test_the_program_ends_with_its_code(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["run-kfp", "--no-such"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert (sys.stdout.errors, sys.stderr.errors) == ("backslashreplace", "backslashreplace")
    assert gc.get_threshold()[0] == 50_000
    assert "--no-such" in capsys.readouterr().err


# ── the start ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_imported_from_the_current_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "link").symlink_to(".")
    others = [path for path in sys.path if path and os.path.realpath(path) != os.path.realpath(folder)]
    monkeypatch.setattr(sys, "path", ["", str(folder), str(folder / "link"), *others])
    monkeypatch.setattr(sys, "dont_write_bytecode", False)

    start._prepare()

    assert sys.path == others
    assert not sys.dont_write_bytecode


def test_the_folder_of_the_program_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    home = Path(start.__file__).resolve().parent.parent
    monkeypatch.chdir(home)
    monkeypatch.setattr(sys, "path", ["", str(home)])

    start._prepare()

    assert sys.path == ["", str(home)]


SCRIPT = """
import os, resource, sys
from run_kfp.__main__ import _prepare
{before}
_prepare()
{after}
"""


def ended(before: str, after: str) -> int:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    script = SCRIPT.format(before=before, after=after)
    return subprocess.run([sys.executable, "-c", script], env=environment, check=False).returncode


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_a_closed_stream_is_opened_on_nothing(closed: tuple[int, ...]) -> None:
    close = "; ".join(f"os.close({number})" for number in closed)
    assert ended(close, "sys.exit(40 + os.open(os.devnull, os.O_RDONLY))") == 43


def test_the_program_prepares_itself_and_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(start, "_prepare", lambda: done.append("prepared"))
    monkeypatch.setattr(cli, "main", lambda: done.append("ran"))

    start.main()

    assert done == ["prepared", "ran"]


def test_ctrl_c_while_the_libraries_are_loaded_ends_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(types.ModuleType):
        def __getattr__(self, name: str) -> Any:
            raise KeyboardInterrupt

    monkeypatch.setattr(start, "_prepare", lambda: None)
    monkeypatch.setitem(sys.modules, "run_kfp.cli", Interrupted("run_kfp.cli"))
    with pytest.raises(SystemExit) as ended:
        start.main()
    assert ended.value.code == 130


def test_with_a_limit_of_file_sizes_no_bytecode_is_written() -> None:
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))"
    assert ended(limit, "sys.exit(sys.dont_write_bytecode + 40)") == 41
    assert ended("", "sys.exit(sys.dont_write_bytecode + 40)") == 40
