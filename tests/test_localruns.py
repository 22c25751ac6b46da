"""Runs of this machine as they lie in their folder: the record, the logs, the lock, and how a run is found."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from clock import FakeClock
from conftest import Cli
from run_kfp.errors import InputError
from run_kfp.localruns import RunFolder, RunRecord, StepRecord, local_ref, process_start, this_runner
from run_kfp.localstore import LocalRuns
from run_kfp.runs import RunState, StepState, StepStatus
from run_kfp.steplogs import LogLine, follow_logs, last_lines, log_names, log_text

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def a_record(run_id: str = "chain-1", created: datetime = NOON) -> RunRecord:
    return RunRecord(
        id=run_id,
        ref=str(local_ref(run_id)),
        pipeline={"name": "chain"},
        engine="process",
        created=created,
        parameters={},
        runner=this_runner(),
        steps=[StepRecord("one", "One", "an/one", [], "", log="logs/one.log")],
    )


def written(runs: LocalRuns, run_id: str, created: datetime = NOON) -> RunFolder:
    folder = runs.folder(run_id)
    folder.make("a pipeline\n")
    folder.write(a_record(run_id, created), str)
    folder.release()
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> LocalRuns:
    return LocalRuns(tmp_path / ".run-kfp")


# ── the record ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_record_is_read_as_it_was_written(runs: LocalRuns) -> None:
    record = a_record()
    record.started, record.state = NOON, RunState.FAILED
    record.steps[0].outputs, record.steps[0].exit_code = {"x": [1, None]}, 3
    folder = runs.folder("chain-1")
    folder.path.mkdir(parents=True)

    folder.write(record, str)

    assert folder.read() == record


def test_every_word_of_a_record_is_masked_but_those_that_make_it_readable(runs: LocalRuns) -> None:
    record = a_record("failed-1")
    record.state, record.steps[0].state = RunState.FAILED, StepState.FAILED
    record.error = record.steps[0].error = "FAILED"
    record.parameters = {"x": {"value": "FAILED", "from": "-p"}}
    record.warnings = record.steps[0].warnings = ["is FAILED"]
    record.steps[0].args, record.steps[0].outputs = ["--FAILED"], {"state": "kept", "y": {"z": ["FAILED"]}}
    record.steps[0].log, record.steps[0].container = "logs/FAILED.log", "pid FAILED"
    folder = runs.folder("failed-1")
    folder.path.mkdir(parents=True)

    folder.write(record, lambda text: text.replace("FAILED", "***"))

    read = folder.read()
    assert read is not None
    assert (read.state, read.error, read.warnings) == (RunState.FAILED, "***", ["is ***"])
    assert read.parameters == {"x": {"value": "***", "from": "-p"}}
    step = read.steps[0]
    assert (step.state, step.error, step.warnings, step.args) == (StepState.FAILED, "***", ["is ***"], ["--***"])
    assert step.outputs == {"state": "kept", "y": {"z": ["***"]}}
    assert (step.log, step.container) == ("logs/FAILED.log", "pid FAILED")


@pytest.mark.parametrize("text", [None, "", "{", "{}", '{"schema": 1, "id": "chain-1"}'])
def test_a_record_that_is_none_is_no_run(runs: LocalRuns, text: str | None) -> None:
    path = runs.path / "chain-1"
    path.mkdir(parents=True)
    if text is not None:
        (path / "run.json").write_text(text, encoding="utf-8")

    assert runs.folder("chain-1").read() is None
    assert runs.newest()[0] == []


def changed(record: RunRecord, **keys: Any) -> str:
    return json.dumps({**record.data, **keys})


def with_step(record: RunRecord, **keys: Any) -> str:
    data = record.data
    data["steps"][0] |= keys
    return json.dumps(data)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (changed(a_record(), id="chain-2"), "its id is not the name of its folder"),
        (changed(a_record(), ref="vertex://projects/p"), "its id is not the name of its folder"),
        (changed(a_record(), schema=2), "version 2 is not supported"),
        (changed(a_record(), file="/etc/passwd"), "it names a file outside of its folder"),
        (changed(a_record(), file="../../../x"), "it names a file outside of its folder"),
        (with_step(a_record(), log="../../../../etc/passwd"), "it names a file outside of its folder"),
        (with_step(a_record(), log="/dev/zero"), "it names a file outside of its folder"),
        (with_step(a_record(), log="logs/../run.json"), "it names a file outside of its folder"),
        (changed(a_record(), steps=[a_record().data["steps"][0]] * 2), "two steps have the same name"),
        (changed(a_record(), pipeline={}), "it names no pipeline"),
        (changed(a_record(), created="2030-01-01T12:00:00"), "a time is invalid"),
        (changed(a_record(), created="9999-12-31T23:59:59Z"), "a time is invalid"),
        (with_step(a_record(), started="0001-01-01T00:00:00Z"), "a time is invalid"),
        (changed(a_record(), state="BETTER"), "not a run record of this version"),
        ("[" * 100_000, "not a run record of this version"),
        ("\0" * 100, "not a run record of this version"),
        ("\xff", "not a run record of this version"),
    ],
)
def test_a_record_that_does_not_fit_its_folder_is_told_and_the_others_are_read(
    runs: LocalRuns, text: str, words: str
) -> None:
    (runs.path / "chain-1").mkdir(parents=True)
    (runs.path / "chain-1/run.json").write_text(text, encoding="latin-1")
    written(runs, "other-1")

    found, told = runs.newest()

    assert [record.id for _, record in found] == ["other-1"]
    assert told == [f"warning: {runs.path}/chain-1/run.json is ignored: {words}"]
    assert runs.folder("chain-1").read() is None


def link_to(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


def socket_at(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made, contextlib.chdir(path.parent):
        made.bind(path.name)


ODD: Mapping[str, Callable[[Path], None]] = {
    "a link to a valid record": link_to("../../../record.json"),
    "a link to a device": link_to("/dev/zero"),
    "a link to nothing": link_to("nothing"),
    "a pipe": os.mkfifo,
    "a socket": socket_at,
    "a folder": Path.mkdir,
}


@pytest.mark.parametrize("kind", ODD)
def test_a_record_that_is_no_regular_file_is_told_at_once(runs: LocalRuns, tmp_path: Path, kind: str) -> None:
    (tmp_path / "record.json").write_text(changed(a_record()), encoding="utf-8")
    (runs.path / "chain-1").mkdir(parents=True)
    ODD[kind](runs.path / "chain-1/run.json")
    written(runs, "other-1")

    found, told = runs.newest()

    assert [record.id for _, record in found] == ["other-1"]
    words = "it is a link" if "link" in kind else "it is not a regular file"
    assert told == [f"warning: {runs.path}/chain-1/run.json is ignored: {words}"]


def test_a_folder_of_a_run_that_is_a_link_is_told(runs: LocalRuns, tmp_path: Path) -> None:
    written(LocalRuns(tmp_path / "elsewhere"), "chain-1")
    runs.path.mkdir(parents=True)
    (runs.path / "chain-1").symlink_to(tmp_path / "elsewhere/runs/chain-1")

    assert runs.newest() == ([], [f"warning: {runs.path}/chain-1/run.json is ignored: a link leads out of its folder"])


def test_a_record_is_read_no_further_than_its_limit(runs: LocalRuns) -> None:
    (runs.path / "chain-1").mkdir(parents=True)
    with (runs.path / "chain-1/run.json").open("wb") as file:
        file.truncate(2**40)

    assert runs.newest()[1] == [f"warning: {runs.path}/chain-1/run.json is ignored: larger than 16 MB"]


@pytest.mark.parametrize("kind", [kind for kind in ODD if kind != "a link to nothing"])
def test_a_log_that_is_no_regular_file_is_not_read(runs: LocalRuns, tmp_path: Path, kind: str) -> None:
    (tmp_path / "record.json").write_text("secret\n", encoding="utf-8")
    folder = written(runs, "chain-1")
    log = folder.log(a_record().steps[0])
    ODD[kind](log)

    with pytest.raises(InputError, match=r"cannot read the log .*: it is "):
        last_lines(log, 10)
    with pytest.raises(OSError, match=r"it is a link|not a regular file"):
        folder.open_log(a_record().steps[0])


def test_the_marks_of_a_run_do_not_lead_out_of_its_folder(runs: LocalRuns, tmp_path: Path) -> None:
    folder = written(runs, "chain-1")
    (folder.path / "cancel").symlink_to(tmp_path / "made")
    (folder.path / "lock").unlink()
    (folder.path / "lock").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").touch()

    with pytest.raises(InputError, match=r"cannot write .*/cancel: it is a link"):
        folder.ask_to_cancel()

    assert not (tmp_path / "made").exists()
    assert folder.abandoned()


def test_a_store_that_is_a_link_is_refused(runs: LocalRuns, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".run-kfp").symlink_to(tmp_path / "elsewhere")

    for refused in (runs.newest, lambda: runs.find(None), lambda: runs.folder("chain-1").make("x")):
        with pytest.raises(InputError, match=r"\.run-kfp is a link"):
            refused()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_runs_that_are_a_link_are_refused(runs: LocalRuns, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    runs.path.parent.mkdir()
    runs.path.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(InputError, match="runs is a link"):
        runs.folder("chain-1").make("x")
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_store_of_another_user_is_refused(runs: LocalRuns) -> None:
    runs.path.mkdir(parents=True)
    os.chown(runs.path.parent, 12345, -1)

    with pytest.raises(InputError, match=r"belongs to another user \(uid 12345\)"):
        runs.newest()[0]


@pytest.mark.parametrize("command", ["runs", "logs", "watch", "cancel"])
def test_a_command_tells_of_an_invalid_record_in_a_line_and_goes_on(cli: Cli, folder: Path, command: str) -> None:
    runs = LocalRuns(folder / ".run-kfp")
    (runs.path / "odd").mkdir(parents=True)
    os.mkfifo(runs.path / "odd/run.json")
    record = a_record()
    record.state = RunState.SUCCEEDED
    made = runs.folder(record.id)
    made.make("a pipeline\n")
    made.write(record, str)
    made.release()
    os.utime(runs.path / "odd", (9e9, 9e9))  # it seems to be the newest

    result = cli(command)

    assert result.code == (2 if command == "cancel" else 0)  # it has ended
    lines = [line for line in result.err.splitlines() if "odd" in line]
    assert lines == ["warning: .run-kfp/runs/odd/run.json is ignored: it is not a regular file"]
    assert command != "runs" or "chain-1" in result.out


def test_logs_takes_the_last_lines_since_a_time_with_their_times(cli: Cli, folder: Path) -> None:
    runs = LocalRuns(folder / ".run-kfp")
    record = a_record()
    record.state = RunState.SUCCEEDED
    record.steps.append(StepRecord("two", "Two", "an/image", [], "", log="logs/two.log"))
    made = runs.folder(record.id)
    made.make("a pipeline\n")
    made.write(record, str)
    for seconds, step in enumerate((*record.steps * 3, record.steps[0])):
        with made.open_log(step) as log:
            log.write(log_text(NOON + timedelta(seconds=seconds), "O", [f"line {seconds}"]).encode())
    made.release()

    assert cli("logs", "--tail", "2").out == "two │ line 3\none │ line 4\ntwo │ line 5\none │ line 6\n"
    assert cli("logs", "one", "--tail", "0").out == ""
    assert cli("logs", "one", "--tail", "9", "--since", f"{NOON + timedelta(seconds=4)}").out == "line 4\nline 6\n"
    assert cli("logs", "--since", "2999-01-01").out == ""
    stamp = f"{NOON + timedelta(seconds=6):%Y-%m-%dT%H:%M:%S}.000Z"
    assert cli("logs", "one", "--tail", "1", "--timestamps").out == f"{stamp} line 6\n"
    assert cli("logs", "--tail", "1", "--timestamps").out.endswith(f"{stamp} one │ line 6\n")
    assert cli("logs", "--tail", "x").code == 2
    assert "--since 'noon' is not a time: " in cli("logs", "--since", "noon").err


@pytest.mark.parametrize("length", [1, 65_533, 65_536, 200_000])
def test_the_last_lines_wherever_a_piece_of_the_file_ends(tmp_path: Path, length: int) -> None:
    path = tmp_path / "logs" / "one.log"
    path.parent.mkdir()
    texts = [f"{number}{'x' * length}" for number in range(5)]
    path.write_text(log_text(NOON, "O", texts), encoding="utf-8")

    for count in range(7):
        assert [line.text for line in last_lines(path, count)] == texts[max(5 - count, 0) :]


def test_everything_of_a_run_is_the_owners_alone(runs: LocalRuns) -> None:
    runs.path.parent.mkdir(mode=0o755)
    folder = written(runs, "chain-1")
    folder.open_log(a_record().steps[0]).close()
    folder.ask_to_cancel()

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [folder._store, *folder._store.rglob("*")]}
    del modes[".gitignore"]
    assert {name for name, mode in modes.items() if mode == 0o700} == {".run-kfp", "runs", "chain-1", "logs"}
    assert {name for name, mode in modes.items() if mode == 0o600} == modes.keys() - {
        ".run-kfp",
        "runs",
        "chain-1",
        "logs",
    }


def test_a_record_tells_its_status_as_every_backend_does() -> None:
    record = a_record()
    record.state, record.error = RunState.FAILED, "step one: it broke"
    record.steps[0] = StepRecord(
        "one", "One", "an/one", [], "", StepState.FAILED, NOON, NOON, 3, "it broke", log="logs/one.log"
    )

    status = record.status

    assert (status.state, status.error) == (RunState.FAILED, "step one: it broke")
    assert status.steps == (StepStatus("one", StepState.FAILED, NOON, NOON, "it broke", "logs/one.log"),)
    assert record.step("one") is record.steps[0]
    assert a_record().status.error == ""


# ── the folder ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_folder_holds_the_pipeline_and_is_not_for_git(runs: LocalRuns) -> None:
    folder = runs.folder("chain-1")
    folder.make("a pipeline\n")
    folder.release()

    assert (folder.path / "pipeline.yaml").read_text(encoding="utf-8") == "a pipeline\n"
    assert (folder.path / "logs").is_dir()
    assert (runs.path.parent / ".gitignore").read_text(encoding="utf-8") == "*\n"
    assert folder.id == "chain-1"


def test_a_gitignore_that_is_there_is_kept(runs: LocalRuns) -> None:
    runs.path.mkdir(parents=True)
    (runs.path.parent / ".gitignore").write_text("mine\n", encoding="utf-8")

    written(runs, "chain-1")

    assert (runs.path.parent / ".gitignore").read_text(encoding="utf-8") == "mine\n"


def test_a_run_is_made_once(runs: LocalRuns) -> None:
    written(runs, "chain-1")

    with pytest.raises(InputError, match="run chain-1 already exists") as error:
        runs.folder("chain-1").make("another\n")

    assert "--job-id" in error.value.hint


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / ".run-kfp").write_text("no folder", encoding="utf-8")

    with pytest.raises(InputError, match="cannot create"):
        LocalRuns(tmp_path / ".run-kfp").folder("chain-1").make("a pipeline\n")


def test_a_run_is_abandoned_when_its_program_is_gone_and_not_before(runs: LocalRuns) -> None:
    script = (
        "import sys; from pathlib import Path; from run_kfp.localstore import LocalRuns\n"
        "folder = LocalRuns(Path(sys.argv[1])).folder('chain-1'); folder.make('')\n"
        "print('made', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, runs.path.parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        folder = runs.folder("chain-1")
        during = folder.abandoned()
        process.kill()
        process.communicate()

    assert (during, folder.abandoned()) == (False, True)


def test_a_run_that_ended_lets_go(runs: LocalRuns) -> None:
    folder = runs.folder("chain-1")
    folder.make("")
    held = runs.folder("chain-1").abandoned()
    folder.release()
    folder.release()

    assert (held, runs.folder("chain-1").abandoned(), runs.folder("nothing").abandoned()) == (False, True, True)


def test_the_mark_of_cancel(runs: LocalRuns) -> None:
    folder = written(runs, "chain-1")
    before = folder.asked_to_cancel
    folder.ask_to_cancel()

    assert (before, folder.asked_to_cancel) == (False, True)


def test_a_removed_run_is_gone(runs: LocalRuns) -> None:
    written(runs, "chain-1")

    runs.remove("chain-1")
    runs.remove("nothing")

    assert runs.newest()[0] == []


# ── which run ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_newest_comes_first_and_names_decide_between_equals(runs: LocalRuns) -> None:
    for number, (name, minutes) in enumerate([("b", 1), ("a", 1), ("old", 0), ("new", 2)]):
        written(runs, f"{name}-{number}", NOON + timedelta(minutes=minutes))

    assert [record.id for _, record in runs.newest()[0]] == ["new-3", "b-0", "a-1", "old-2"]
    assert runs.find(None)[1].id == "new-3"


@pytest.mark.parametrize("word", ["chain-12", "local://chain-12", "chain-12-", "other"])
def test_a_run_is_found_by_its_id_its_ref_and_the_beginning_of_one_id(runs: LocalRuns, word: str) -> None:
    for name in ("chain-12", "chain-12-3", "other-1"):
        written(runs, name)

    found = runs.find(word)[1].id

    assert found == {"chain-12-": "chain-12-3", "other": "other-1"}.get(word, "chain-12")


@pytest.mark.parametrize(
    ("word", "message", "hint"),
    [
        ("chain", "matches 2 runs", "write more characters"),
        ("chian-1", "unknown run 'chian-1'", "did you mean 'chain-1'?"),
        ("xyz", "unknown run 'xyz'", "see `run-kfp runs`"),
    ],
)
def test_a_run_that_is_not_found_is_told(runs: LocalRuns, word: str, message: str, hint: str) -> None:
    for name in ("chain-1", "chain-2"):
        written(runs, name)

    with pytest.raises(InputError) as error:
        runs.find(word)

    assert message in error.value.message
    assert error.value.hint == hint


def test_without_any_run_that_is_told(runs: LocalRuns) -> None:
    with pytest.raises(InputError, match="no runs in"):
        runs.find(None)


# ── who runs ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_this_process_is_told_from_another_with_its_number() -> None:
    assert this_runner() == {"pid": os.getpid(), "host": socket.gethostname(), "boot": process_start(os.getpid())}
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as later:
        assert int(process_start(later.pid)) >= int(process_start(os.getpid())) > 0
        later.communicate(b"\n")
    assert process_start(later.pid) == ""


# ── logs ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_line_is_its_time_its_stream_and_its_text() -> None:
    line = LogLine(datetime(2030, 1, 1, 14, 0, 0, 1999, tzinfo=timezone(timedelta(hours=2))), "E", "some  words ")

    assert str(line) == "2030-01-01T12:00:00.001Z E some  words "
    assert LogLine.parse(f"{line}\n") == LogLine(NOON + timedelta(milliseconds=1), "E", "some  words ")


@pytest.mark.parametrize("text", ["", "O x", "2030-01-01T12:00:00.000Z", "2030-01-01T12:00:00.000Z X x", "then O x"])
def test_what_is_no_line_is_none(text: str) -> None:
    assert LogLine.parse(text) is None


def line(seconds: int, text: str) -> str:
    return f"{LogLine(NOON + timedelta(seconds=seconds), 'O', text)}\n"


def test_half_a_line_is_not_read_before_its_end_has_come(tmp_path: Path) -> None:
    path, clock, read = tmp_path / "log", FakeClock(), list[str]()
    whole = line(1, "second é").encode()
    cut = whole.index("é".encode()) + 1
    path.write_bytes(line(0, "first").encode() + whole[:cut])

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        assert read == ["first"]
        with path.open("ab") as file:
            file.write(whole[cut:])

    for _, found in follow_logs({"one": path}, lambda: bool(clock.slept), sleep=sleep):
        read.append(found.text)

    assert read == ["first", "second é"]


def test_half_a_line_at_the_end_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(line(0, "first") + line(1, "second")[:-3], encoding="utf-8")

    assert [found.text for found in last_lines(path, 10)] == ["first"]


def test_a_line_that_is_none_hides_no_other(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(line(0, "first") + "torn\n" + line(1, "second"), encoding="utf-8")

    assert [found.text for found in last_lines(path, 10)] == ["first", "second"]


def test_several_logs_are_followed_by_their_times_and_one_that_begins_later_too(tmp_path: Path) -> None:
    one, two, clock = tmp_path / "one", tmp_path / "two", FakeClock()
    one.write_text(line(0, "a") + line(3, "d"), encoding="utf-8")

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        with one.open("a", encoding="utf-8") as file:
            file.write(line(6, "g"))
        two.write_text(line(4, "e") + line(5, "f"), encoding="utf-8")

    found = [
        (name, each.text)
        for name, each in follow_logs({"one": one, "two": two}, lambda: bool(clock.slept), sleep=sleep)
    ]

    assert found == [("one", "a"), ("one", "d"), ("two", "e"), ("two", "f"), ("one", "g")]
    assert len(clock.slept) == 1


def test_one_log_keeps_its_order_though_the_clock_was_set_back(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(line(5, "first") + line(1, "second"), encoding="utf-8")

    assert [found.text for found in last_lines(path, 10)] == ["first", "second"]


def test_what_came_before_the_end_was_seen_is_read(tmp_path: Path) -> None:
    """A run that ends between two looks has written its last lines before."""
    path = tmp_path / "log"

    def ended() -> bool:
        path.write_text(line(0, "last"), encoding="utf-8")
        return True

    assert [found.text for _, found in follow_logs({"one": path}, ended)] == ["last"]


@pytest.mark.parametrize("count", [1, 10, 5000])
def test_the_last_lines_are_read_from_the_end(tmp_path: Path, count: int) -> None:
    path = tmp_path / "log"
    path.write_text("".join(line(number, f"number {number} {'x' * 100}") for number in range(3000)), encoding="utf-8")

    found = [each.text.split()[1] for each in last_lines(path, count)]

    assert found == [str(number) for number in range(max(3000 - count, 0), 3000)]
    assert last_lines(tmp_path / "none", count) == []


def test_long_lines_and_many_logs_are_read_in_pieces(tmp_path: Path) -> None:
    """Lines longer than a piece, and more logs than this process may have open files."""
    logs = {str(number): tmp_path / f"{number}.log" for number in range(200)}
    for number, path in enumerate(logs.values()):
        path.write_text(line(number, "y" * 150_000) + line(number + 1000, "end"), encoding="utf-8")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (150, hard))
    try:
        found = [(name, len(each.text)) for name, each in follow_logs(logs, lambda: True)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert found == [*((name, 150_000) for name in logs), *((name, 3) for name in logs)]


def test_a_store_has_a_random_id_that_stays(runs: LocalRuns, tmp_path: Path) -> None:
    assert runs.store() == ""
    made = runs.store(make=True)
    assert re.fullmatch(r"[0-9a-f]{16}", made)
    assert (runs.store(), runs.store(make=True)) == (made, made)
    assert LocalRuns(tmp_path / "other" / ".run-kfp").store(make=True) != made
    file = runs.path.parent / "store"
    file.write_text("../of/another", encoding="utf-8")
    assert runs.store() == ""
    file.unlink()
    file.symlink_to("elsewhere")
    assert runs.store() == ""


def test_only_a_run_of_this_store_is_dead(runs: LocalRuns) -> None:
    folder = runs.folder("chain-1")
    assert not runs.is_dead("chain-1")  # of another store that this Engine knows, or removed by hand
    folder.make("a pipeline\n")
    assert not runs.is_dead("chain-1")
    folder.release()
    assert runs.is_dead("chain-1")
    assert not runs.is_dead("../runs/chain-1")


def test_changes_are_joined_to_the_record(runs: LocalRuns) -> None:
    folder = runs.folder("chain-1")
    folder.make("a pipeline\n")
    record = a_record()
    folder.write(record, str)
    for state in (StepState.PENDING, StepState.RUNNING):
        record.steps[0].state = state
        folder.append(record, record.steps[:1], str)
    record.state = RunState.RUNNING
    folder.append(record, [], str)
    path = folder.path / "changes.jsonl"
    assert len(path.read_text(encoding="utf-8").splitlines()) == 3
    assert folder.read() == record

    with path.open("a", encoding="utf-8") as file:
        file.write('{"change": 9, "ru')  # the machine went down, or the disk was full
    assert folder.read() == record
    with path.open("a", encoding="utf-8") as file:
        file.write('{"change": 10}\n')
    assert folder.read() == record

    stale = path.read_bytes()
    record.steps[0].state = StepState.SUCCEEDED
    record.state = RunState.SUCCEEDED
    folder.write(record, str)
    assert not path.exists()
    path.write_bytes(stale)  # read before it was removed: what is in the record already is not done again
    assert folder.read() == record
    folder.release()


def test_what_is_kept_free_for_the_end_is_given_back(runs: LocalRuns) -> None:
    folder = runs.folder("chain-1")
    folder.make("a pipeline\n")
    assert (folder.path / "reserve").stat().st_blocks * 512 >= 2**20
    folder.release()
    assert not (folder.path / "reserve").exists()


def test_the_name_of_a_step_is_no_path() -> None:
    names = log_names(["train", "a/../b", "a.../b", "a/.../b", "é" * 300, "train-2"])

    assert names["train"] == "logs/train.log"
    assert names["a/../b"] == "logs/a_.._b.log"
    assert names["é" * 300] == f"logs/{'_' * 100}.log"
    assert len(set(names.values())) == len(names)


def test_two_names_that_look_alike_have_two_logs() -> None:
    assert log_names(["a/b", "a:b", "a_b"]) == {
        "a/b": "logs/a_b.log",
        "a:b": "logs/a_b.2.log",
        "a_b": "logs/a_b.3.log",
    }


def test_the_record_is_json_that_people_read(runs: LocalRuns) -> None:
    folder = written(runs, "chain-1")
    record = a_record()
    record.warnings = ["é"]
    folder.write(record, str)

    text = (folder.path / "run.json").read_text(encoding="utf-8")

    assert '"é"' in text
    assert text.startswith('{\n "schema": 1,')
    assert text.endswith("}\n")
    assert json.loads(text)["file"] == "pipeline.yaml"
    assert stat.S_ISREG((folder.path / "run.json").stat().st_mode)


def test_a_record_without_steps_has_no_log(cli: Cli, folder: Path) -> None:
    runs = LocalRuns(folder / ".run-kfp")
    made = runs.folder("chain-1")
    made.make("a pipeline\n")
    record = a_record()
    record.steps, record.state = [], RunState.SUCCEEDED
    made.write(record, str)
    made.release()

    told = cli("logs")

    assert (told.code, told.out, told.err) == (0, "", "")
