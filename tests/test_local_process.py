"""Runs on this machine by processes: without Docker, the same logs and the same end; and what a person sees of runs."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.cloud.aiplatform_v1.types import PipelineJob
from google.protobuf import json_format

from conftest import Cli, Write
from dermaid import SETTINGS, canary
from fakes.vertex import FakeVertex
from local_pipelines import latest, log, pipeline_text, steps, task
from test_words import on_terminal

# What each step of the registry below runs: the step's name and arguments, then what the test asks for.
PROGRAM = """
import json, os, pathlib, signal, sys, time
name, *args = sys.argv[1:]
if name == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = os.fork()
    if child == 0:
        time.sleep(100)
    pathlib.Path("child").write_text(str(child))
    print("here", flush=True)
    time.sleep(100)
print(json.dumps({"args": args, "env": dict(os.environ), "cwd": os.getcwd()}))
print("\\x1b[31mred\\x1b[0m", name, file=sys.stderr)
if "fail" in args and not pathlib.Path("mended").exists():
    sys.exit("cannot: " + args[-1])
"""

REGISTRY = """
[pipeline]
name = "chain"
[containers.1]
name = "first"
image = "nobody/first"
args = [{ param = "tag" }, "-x", ""]
env = { MODE = "online" }
memory = "64M"
process = { cwd = "code", entrypoint = ["{python}", "program.py", "first"] }
[containers.2]
name = "second"
image = "nobody/second"
entrypoint = ["/in/the/image"]
args = ["fail", { secret = "key" }]
env = { KEY = { secret = "key" }, MODE = "online" }
process = { cwd = "code", entrypoint = ["{python}", "program.py", "second"] }
[containers.3]
name = "deaf"
image = "nobody/deaf"
process = { cwd = "code", entrypoint = ["{python}", "program.py", "deaf"] }
[containers.4]
name = "imageonly"
image = "nobody/imageonly"
[secrets.key]
env = "KEY"
"""

LOCAL = ("--local", "--engine", "process")


@pytest.fixture
def local(cli: Cli, write: Write) -> Cli:
    """The program without any Docker Engine, and a registry whose steps have processes."""
    write("code/program.py", PROGRAM)
    write("run-kfp.toml", REGISTRY.replace("{python}", sys.executable))
    return Cli(cli.folder, {"DOCKER_HOST": "unix:///no/such/docker.sock"})


def test_without_docker_both_ways_out_are_named(local: Cli, folder: Path) -> None:
    result = local("-r", "1", "-t", "v1", "--local")

    assert result.code == 4
    assert "no Docker Engine answers at unix:///no/such/docker.sock" in result.err
    assert "start Docker" in result.err
    assert "--engine process" in result.err
    assert not list((folder / ".run-kfp/runs").glob("*"))


def told(lines: list[str]) -> Any:
    """What a step printed of itself; its two streams come in any order."""
    return json.loads(next(line for line in lines if line.startswith("{")))


def test_same_arguments_clean_environment(local: Cli, folder: Path) -> None:
    key = canary("key")
    result = local("-r", "1", "-r", "2", "-t", "{{$.inputs.parameters['x']}} a", *LOCAL, KEY=key, LEAKED="x")

    assert result.code == 5, result.err
    assert "engine process: no images" in result.err
    assert "warning: step first runs without its limits" in result.err
    record = latest(folder)
    first, second = (told(log(folder, record, name)) for name in ("first", "second"))
    assert first["args"] == ["{{$.inputs.parameters['x']}} a", "-x", ""]
    assert first["cwd"] == str(folder / "code")
    assert set(first["env"]) - {"LC_CTYPE"} == {"PATH", "LANG", "HOME", "TMPDIR", "MODE"}
    assert second["args"] == ["fail", "***"]
    assert second["env"]["KEY"] == "***"
    assert not Path(first["env"]["HOME"]).exists()
    assert "step second: exit code 1" in result.err
    assert "cannot: ***" in result.err
    assert key not in result.err + result.out + json.dumps(record)
    assert record["engine"] == "process"


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one["container"].update(command=["/bin/sh"], args=["-c", "touch stranger"]),
        lambda one: one["container"].update(command=["env"], args=["LD_PRELOAD=x", "a", "b"]),
    ],
)
def test_a_finished_file_brings_no_program_of_its_own(
    local: Cli, folder: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    assert local("-r", "1", "--compile-only").code == 0
    spec = yaml.safe_load((folder / "pipeline.yaml").read_text(encoding="utf-8"))
    change(spec["deploymentSpec"]["executors"]["exec-first"])
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")

    result = local("-f", "pipeline.yaml", "-t", "v1", *LOCAL)

    assert result.code == 2
    assert "step first is outdated: containers.1 of run-kfp.toml has changed" in result.err


def test_a_finished_file_assigns_no_variable_of_its_own(local: Cli, folder: Path) -> None:
    assert local("-r", "2", "--compile-only").code == 0
    path = folder / "pipeline.yaml"
    text = path.read_text(encoding="utf-8")
    assert text.count("KEY={{") == 1
    path.write_text(text.replace("KEY={{", "LD_PRELOAD={{"), encoding="utf-8")

    result = local("-f", "pipeline.yaml", *LOCAL, KEY=canary("key"))

    assert result.code == 2
    assert "step second is outdated" in result.err


@pytest.mark.parametrize("flags", [(), ("--with-credentials",)])
def test_a_process_of_a_finished_file_gets_credentials_where_the_user_says_so(
    local: Cli, folder: Path, write: Write, flags: tuple[str, ...]
) -> None:
    key = write("key.json", "{}")
    assert local("-r", "1", "--compile-only").code == 0

    result = local("-f", "pipeline.yaml", "-t", "v1", *LOCAL, *flags, GOOGLE_APPLICATION_CREDENTIALS=str(key))

    assert result.code == 0, result.err
    given = told(log(folder, latest(folder), "first"))["env"].get("GOOGLE_APPLICATION_CREDENTIALS")
    assert given == (str(key) if flags else None)
    assert ("pass --with-credentials" in result.err) == (not flags)


def test_from_repeats_the_failed_step(local: Cli, folder: Path, write: Write) -> None:
    call = ("-r", "1-2", "-t", "v1", *LOCAL)
    assert local(*call, KEY=canary("key")).code == 5
    base = latest(folder)["id"]
    write("code/mended", "")

    result = local(*call, "--from", "second", KEY=canary("key"))

    assert result.code == 0, result.err
    assert [step["reused_from"] for step in latest(folder)["steps"]] == [base, None]


def test_a_step_without_a_process_is_refused(local: Cli, write: Write) -> None:
    alone = local("-r", "4", *LOCAL)
    write("p.yaml", pipeline_text("foreign", {"strange": task("busybox", ["true"])}))
    foreign = local("-f", "p.yaml", *LOCAL)

    assert (alone.code, foreign.code) == (2, 2)
    assert "write [containers.4.process]" in alone.err
    assert "step strange is not a container of run-kfp.toml" in foreign.err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--engine", "doker"], "--engine 'doker' is none of docker, process"),
        (["--pull", "maybe"], "--pull 'maybe'"),
        (["--parallel", "0"], "--parallel '0'"),
        (["--step-timeout", "0"], "--step-timeout '0'"),
        (["--from", "9"], "no earlier run"),
        (["--from-run", "x"], "--from-run requires --from"),
        (["--bucket-dir", "."], "name of the bucket"),
        (["--compile-only"], "--compile-only and --local cannot be used together"),
        (["--job-id", "No"], "invalid job id 'No'"),
        (["--engine", "process", "--keep-failed"], "--keep-failed requires --engine docker"),
    ],
)
def test_calls_that_are_none(local: Cli, args: list[str], words: str) -> None:
    if args[0] == "--from":
        words = "unknown step"
    result = local("-r", "1", "-t", "v1", "--local", *args)
    assert result.code == 2, result.err
    assert words in result.err


def test_local_flags_without_local_are_refused(local: Cli) -> None:
    result = local("-r", "1", "-t", "v1", "--engine", "process", "--from", "1")
    assert result.code == 2
    assert "--engine requires --local" in result.err
    assert "--from requires --local" in result.err


def test_nothing_is_needed_that_no_parameter_refers_to(local: Cli) -> None:
    shown = local("-r", "1", "-t", "v1", "--local", "--dry-run")
    assert shown.code == 0, shown.err
    assert "Plan of the local run" in shown.out
    missing = local("-r", "1-2", "--local")
    assert missing.code == 2
    assert "missing tag" in missing.err
    assert "secret key" in missing.err
    assert "project" not in missing.err


def test_json_is_one_object_a_line(local: Cli, folder: Path) -> None:
    result = local("-r", "1-2", "-t", "v1", *LOCAL, "--json", KEY=canary("key"))

    assert result.code == 5
    events = [json.loads(line) for line in result.out.splitlines()]
    states = [(event.get("step", ""), event["state"]) for event in events if event["event"] in ("run", "step")]
    assert states == [
        ("", "PENDING"),
        ("", "RUNNING"),
        ("first", "PENDING"),
        ("first", "RUNNING"),
        ("first", "SUCCEEDED"),
        ("second", "PENDING"),
        ("second", "RUNNING"),
        ("second", "FAILED"),
        ("", "FAILED"),
    ]
    assert [event["text"] for event in events if event["event"] == "log" and event["stream"] == "E"][
        -1
    ] == "cannot: ***"
    end = events[-1]
    assert end["event"] == "end"
    assert end["run"] == latest(folder)["ref"]
    assert end["error"]["exit_code"] == 5


def test_a_reader_that_has_enough_does_not_change_the_end(local: Cli, folder: Path) -> None:
    process = local.start("-r", "1-2", "-t", "v1", *LOCAL, "--json", KEY=canary("key"))
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()

    assert process.wait(timeout=60) == 5
    assert "step second: exit code 1" in said
    assert [step["state"] for step in latest(folder)["steps"]] == ["SUCCEEDED", "FAILED"]


def test_the_executed_file_is_what_vertex_gets(
    local: Cli, folder: Path, vertex: FakeVertex, account_key_file: Path
) -> None:
    assert local("-r", "1", "-t", "v1", *LOCAL).code == 0
    executed = folder / ".run-kfp/runs" / latest(folder)["id"] / "pipeline.yaml"
    assert executed.read_bytes() == (folder / "pipeline.yaml").read_bytes()
    cloud = Cli(folder, {**SETTINGS, **vertex.environment(), "GOOGLE_APPLICATION_CREDENTIALS": str(account_key_file)})

    assert cloud("-f", "pipeline.yaml", "-t", "v1", "--no-check", "--api-endpoint", vertex.endpoint).code == 0

    (create,) = vertex.creates
    sent = json_format.MessageToDict(PipelineJob.pb(create.pipeline_job).pipeline_spec)
    assert sent == yaml.safe_load(executed.read_text(encoding="utf-8"))


def test_a_setting_that_is_not_used_is_not_judged(local: Cli) -> None:
    assert local("-r", "1", "-t", "v1", *LOCAL, GCS_SERVICE_ACCOUNT="somebody").code == 0


def test_the_live_tree(local: Cli) -> None:
    code, seen = on_terminal(local, "-r", "1-2", "-t", "v1", *LOCAL, KEY=canary("key"))

    assert code == 5
    assert "local://chain-" in seen
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen)
    assert "✓ first" in plain
    assert "✗ second" in plain
    assert "exit code 1" in plain


def test_logs_runs_and_watch(local: Cli, folder: Path) -> None:
    assert local("runs").code == 0
    none = local("logs")
    assert none.code == 2
    assert "no runs" in none.err
    assert local("-r", "1-2", "-t", "v1", *LOCAL, KEY=canary("key")).code == 5
    run = latest(folder)["id"]

    assert re.fullmatch(rf"{run}  FAILED .* 1/2 steps  process  step second: exit code 1\n", local("runs").out)
    # stdout and stderr are two pipes: which of their lines is read first is open.
    assert "cannot: ***" in local("logs", "second").out.splitlines()
    everything = local("logs", f"local://{run}")
    assert "first  │ " in everything.out
    assert "\x1b" not in everything.out
    assert [json.loads(line)["step"] for line in local("logs", run, "first", "--json").out.splitlines()] == [
        "first"
    ] * 2
    watched = local("watch", run)
    assert watched.code == 5
    assert "second FAILED" in watched.err
    wrong = local("logs", run, "third")
    assert wrong.code == 2
    assert "has no step 'third'" in wrong.err
    ended = local("cancel")
    assert ended.code == 2
    assert "has already ended: FAILED" in ended.err
    assert local("watch", "vertex://projects/p/locations/r/pipelineJobs/j").code == 2


def gone(pid: int) -> bool:
    try:
        return "Z" in Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except OSError:
        return True


def begun(local: Cli, folder: Path) -> tuple[Any, int]:
    """Start the deaf step; return the runner and the pid of the step's own child."""
    process = local.start("-r", "3", *LOCAL)
    assert process.stderr is not None
    for line in process.stderr:
        if "deaf │ here" in line:
            break
    return process, int((folder / "code/child").read_text(encoding="ascii"))


def test_ctrl_c_leaves_no_process(local: Cli, folder: Path) -> None:
    process, child = begun(local, folder)

    asked = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)

    assert time.monotonic() - asked < 5
    assert process.returncode == 130
    assert gone(child)
    assert latest(folder)["state"] == "CANCELLED"


def test_cancel_from_elsewhere(local: Cli, folder: Path) -> None:
    process, child = begun(local, folder)
    follower = local.start("logs", "--follow", "deaf")

    result = local("cancel", latest(folder)["id"])

    assert result.code == 0, result.err
    assert result.out == f"{latest(folder)['ref']} CANCELLED\n"
    process.communicate(timeout=30)
    assert process.returncode == 6
    assert follower.communicate(timeout=30)[0] == "here\n"
    assert gone(child)


def test_a_killed_runner_leaves_no_process(local: Cli, folder: Path) -> None:
    process, child = begun(local, folder)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not gone(child)

    assert [run["state"] for run in local("runs", "--json").json["runs"]] == ["FAILED"]

    assert gone(child)
    assert steps(latest(folder))["deaf"]["state"] == "FAILED"
