"""Runs on a real Docker Engine: what runs, how it ends, what is left of it."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import pytest

from conftest import PROGRAM, Cli, Write, killed_after_the_test
from dermaid import canary
from engine import Engine
from engine.registry import ImageRegistry, running_registry
from local_pipelines import containers, latest, log, on, pipeline_text, steps, task
from run_kfp.backends.local.docker_engine import DockerEngine, DockerSettings
from run_kfp.backends.local.engines import StepCall
from run_kfp.errors import EngineError
from test_bad_days import NOBODY, ONLY_THE_FOLDER, on_a_day
from test_docker_client import UNCLOSED

pytestmark = pytest.mark.engine

SHELL = ["sh", "-c"]


def digest(text: str) -> str:
    """What `sha256sum` prints of a text that it reads from its input."""
    return f"{hashlib.sha256(text.encode()).hexdigest()}  -"


@pytest.fixture
def local(engine: Engine, busybox: str, folder: Path) -> Cli:
    """The program with an Engine that has busybox."""
    return on(engine, folder)


@pytest.fixture
def bucket(folder: Path) -> Path:
    """A folder that the steps find at /gcs/test-bucket."""
    made = folder / "bucket"
    made.mkdir()
    return made


BUCKET = ("--bucket", "test-bucket", "--bucket-dir", "bucket")


def until(stream: IO[str] | None, words: str) -> None:
    """Read a stream up to the line that holds `words`."""
    assert stream is not None
    seen = []
    for line in stream:
        seen.append(line)
        if words in line:
            return
    raise AssertionError(f"{words!r} never came: {''.join(seen)}")


# ── what runs ────────────────────────────────────────────────────────────────────────────────────────────────────────

# Prints its name and its arguments.
SHOW = '#!/bin/sh\nprintf "%s" "$0"; for each in "$@"; do printf "|%s" "$each"; done; echo\n'

ENTRYPOINT, CMD = ["/entrypoint", "e"], ["/cmd", "c"]
COMMAND, ARGS = ["/command", "x"], ["/args", "a"]


@pytest.fixture(scope="module")
def four_images(engine: Engine, busybox: str, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[bool, bool], str]:
    """Images with and without ENTRYPOINT and CMD."""
    script = tmp_path_factory.mktemp("image") / "show"
    script.write_text(SHOW, encoding="utf-8")
    script.chmod(0o755)
    made = engine.docker("create", busybox, "true").stdout.strip()
    for name in ("entrypoint", "cmd", "command", "args"):
        engine.docker("cp", script, f"{made}:/{name}")
    # A commit would keep the CMD of what it is made from; an import begins with neither.
    archive = script.with_name("image.tar")
    engine.docker("export", "--output", archive, made)
    images = {}
    for entrypoint in (True, False):
        for cmd in (True, False):
            name = f"image-{entrypoint}-{cmd}".lower()
            changes = [f"ENTRYPOINT {json.dumps(ENTRYPOINT)}"] if entrypoint else []
            changes += [f"CMD {json.dumps(CMD)}"] if cmd else []
            engine.docker("import", *(word for change in changes for word in ("--change", change)), archive, name)
            images[entrypoint, cmd] = name
    engine.docker("rm", made)
    return images


def test_command_and_args_replace_what_vertex_says(
    engine: Engine, folder: Path, write: Write, four_images: dict[tuple[bool, bool], str]
) -> None:
    """The table of Vertex AI's ContainerSpec: `command` replaces ENTRYPOINT and CMD, `args` replaces CMD."""
    tasks, expected = {}, {}
    for (entrypoint, cmd), image in four_images.items():
        for command in (True, False):
            for args in (True, False):
                argv = (COMMAND if command else ENTRYPOINT if entrypoint else []) + (
                    ARGS if args else CMD if cmd and not command else []
                )
                name = "-".join("yn"[not each] for each in (entrypoint, cmd, command, args))
                tasks[name] = task(image, COMMAND if command else [], ARGS if args else [])
                expected[name] = ["|".join(argv)] if argv else None
    write("p.yaml", pipeline_text("matrix", tasks))

    result = on(engine, folder)("-f", "p.yaml", "--local", "--failure-policy", "slow")

    record = latest(folder)
    ended = {name: each["state"] for name, each in steps(record).items()}
    found = {name: log(folder, record, name) if state == "SUCCEEDED" else None for name, state in ended.items()}
    assert found == expected
    assert result.code == 5, result.err  # the image without either, called without either, has nothing to run
    assert "no command specified" in steps(record)["n-n-n-n"]["error"].lower()
    assert containers(engine) == []


NASTY = {
    "spaces": "  two  words ",
    "quotes": 'it\'s "quoted" `back`',
    "shell": "$(reboot) ${HOME} && true; # *",
    "lines": "one\ntwo\r\nthree\ttab",
    "unicode": "Ünïcødé – 数据 😀",
    "dashes": "--tag=v1",
    "placeholder": "{{$.inputs.parameters['spaces']}}",
    "whole": "{{$}}",
    "structure": '{"Concat": ["a", "{{$.inputs.parameters[\'spaces\']}}"]}',
    "percent": "%s %d \\n \\x00",
    "empty": "",
}


def test_values_arrive_byte_for_byte(local: Cli, bucket: Path, write: Write, busybox: str) -> None:
    args = [f"{{{{$.inputs.parameters['{name}']}}}}" for name in NASTY]
    args.append("<{{$.inputs.parameters['placeholder']}}|{{$.inputs.parameters['quotes']}}>")
    text = 'for each in "$@"; do printf "%s\\0" "$each"; done > /gcs/test-bucket/argv'
    one = task(busybox, [*SHELL, text, "sh"], args, inputs={name: f"${name}" for name in NASTY})
    write("p.yaml", pipeline_text("nasty", {"one": one}, list(NASTY)))
    given = [word for name, value in NASTY.items() for word in ("-p", f"{name}={value}")]

    result = local("-f", "p.yaml", "--local", *BUCKET, *given)

    assert result.code == 0, result.err
    expected = [*NASTY.values(), f"<{NASTY['placeholder']}|{NASTY['quotes']}>"]
    assert (bucket / "argv").read_bytes() == b"".join(value.encode() + b"\0" for value in expected)


def test_structures_constants_and_outputs(local: Cli, write: Write, busybox: str, folder: Path) -> None:
    """What kfp compiles of ConcatPlaceholder, IfPresentPlaceholder, f-strings and output parameters."""
    out = "{{$.outputs.parameters['out'].output_file}}"
    make = task(
        busybox,
        [*SHELL, f'printf "%s" "$1" > {out}', "sh"],
        ["{{$.inputs.parameters['text']}}"],
        inputs={"text": "for {{$.inputs.parameters['tag']}} !", "tag": "$tag"},
        outputs=["out"],
    )
    show = task(
        busybox,
        [*SHELL, 'printf "<%s>" "$@"', "sh"],
        [
            '{"Concat": ["--tag=", "{{$.inputs.parameters[\'tag\']}}", "!"]}',
            '{"IfPresent": {"InputName": "tag", "Then": ["yes", "{{$.inputs.parameters[\'tag\']}}"]}}',
            '{"IfPresent": {"InputName": "other", "Then": "wrong", "Else": "no other"}}',
            "{{$.inputs.parameters['made']}}",
            "{{$.inputs.parameters['number']}}",
            "{{$.pipeline_job_name}} {{$.pipeline_task_name}}",
        ],
        inputs={"tag": "$tag", "made": "make.out", "number": 3.0},
    )
    write("p.yaml", pipeline_text("structures", {"make": make, "show": show}, ["tag"]))

    result = local("-f", "p.yaml", "--local", "-t", "v1", "--job-id", "run-1")

    assert result.code == 0, result.err
    assert log(folder, latest(folder), "show") == ["<--tag=v1!><yes><v1><no other><for v1 !><3><run-1 show>"]


def test_the_environment_is_the_specs(local: Cli, write: Write, busybox: str, folder: Path) -> None:
    one = task(busybox, ["env"], env={"MODE": "online"})
    other = task(busybox, ["env"])
    write("p.yaml", pipeline_text("env", {"one": one, "other": other}))

    result = local("-f", "p.yaml", "--local", LEAKED="from the caller", HTTP_PROXY="http://127.0.0.1:9")

    assert result.code == 0, result.err
    names = {name: {line.split("=")[0] for line in log(folder, latest(folder), name)} for name in ("one", "other")}
    assert names == {"one": {"PATH", "HOSTNAME", "HOME", "MODE"}, "other": {"PATH", "HOSTNAME", "HOME"}}


# What the step reads would be masked in its log; the digest of it is not.
SHOW_KEY = 'sha256sum < "$GOOGLE_APPLICATION_CREDENTIALS"; echo x >> "$GOOGLE_APPLICATION_CREDENTIALS" || echo refused'


def test_credentials_are_mounted_read_only(local: Cli, write: Write, busybox: str, folder: Path) -> None:
    write("key.json", '{"made": "here"}\n')
    write("p.yaml", pipeline_text("key", {"one": task(busybox, SHELL, [SHOW_KEY])}))

    result = local("-f", "p.yaml", "--local", "--with-credentials", GOOGLE_APPLICATION_CREDENTIALS="key.json")

    assert result.code == 0, result.err
    lines = log(folder, latest(folder), "one")
    assert digest('{"made": "here"}\n') in lines
    assert "refused" in lines


@pytest.fixture(scope="module")
def local_user(engine: Engine, busybox: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image that runs as somebody without a name."""
    folder = tmp_path_factory.mktemp("local-user")
    (folder / "Dockerfile").write_text(f"FROM {busybox}\nUSER 1000\n", encoding="utf-8")
    engine.docker("build", "--quiet", "--tag", "local-user", folder)
    return "local-user"


KEY_REGISTRY = """
[containers.1]
name = "read"
image = "local-user"
command = ["sh", "-c", 'id -u; sha256sum < "$GOOGLE_APPLICATION_CREDENTIALS"']
"""

LOGIN = '{"type": "authorized_user"}'


def test_an_image_with_a_user_reads_a_key_that_only_its_owner_may_read(
    local: Cli, engine: Engine, write: Write, local_user: str, folder: Path
) -> None:
    key = write("key.json", f"{LOGIN}\n")
    key.chmod(0o600)
    write("run-kfp.toml", KEY_REGISTRY)

    result = local("-r", "1", "--local", "--pull", "never", GOOGLE_APPLICATION_CREDENTIALS="key.json")

    assert result.code == 0, result.err
    assert log(folder, latest(folder), "read") == ["1000", digest(f"{LOGIN}\n")]
    assert (key.read_text(), key.stat().st_mode & 0o777) == (f"{LOGIN}\n", 0o600)
    assert engine.docker("volume", "ls", "--quiet").stdout == ""


def test_a_gcloud_login_is_named_and_handed_in_where_the_user_says_so(
    local: Cli, write: Write, local_user: str, folder: Path
) -> None:
    login = write("home/.config/gcloud/application_default_credentials.json", f"{LOGIN}\n")
    login.chmod(0o600)
    write("run-kfp.toml", KEY_REGISTRY)
    call = ("-r", "1", "--local", "--pull", "never")

    without = local(*call)
    assert without.code == 5
    assert "the steps run without your gcloud login; pass --with-credentials to hand it in" in without.err
    result = local(*call, "--with-credentials")

    assert result.code == 0, result.err
    assert log(folder, latest(folder), "read") == ["1000", digest(f"{LOGIN}\n")]
    assert "run without" not in result.err


@pytest.mark.parametrize("where", ["a finished file", ".env"])
def test_no_file_decides_on_credentials(local: Cli, write: Write, local_user: str, folder: Path, where: str) -> None:
    write("key.json", LOGIN)
    write("run-kfp.toml", KEY_REGISTRY.replace("sha256sum <", "echo =").replace("; ", " || true; "))
    if where == ".env":
        write(".env", "GOOGLE_APPLICATION_CREDENTIALS=key.json\n")
        result = local("-r", "1", "--local", "--pull", "never")
        place = ".env GOOGLE_APPLICATION_CREDENTIALS"
    else:
        assert local("-r", "1", "--compile-only").code == 0
        result = local(
            *("-f", "pipeline.yaml", "--local", "--pull", "never"),
            GOOGLE_APPLICATION_CREDENTIALS=str(folder / "key.json"),
        )
        place = "environment GOOGLE_APPLICATION_CREDENTIALS"

    assert result.code == 0, result.err
    assert log(folder, latest(folder), "read") == ["1000", "= "]
    assert f"the steps run without the credentials of {place}; pass --with-credentials" in result.err


def test_with_credentials_where_there_are_none(local: Cli, write: Write, busybox: str) -> None:
    write("p.yaml", pipeline_text("key", {"one": task(busybox, ["true"])}))

    result = local("-f", "p.yaml", "--local", "--with-credentials")

    assert result.code == 2
    assert "--with-credentials: no Google credentials found on this machine" in result.err


def test_a_copy_of_credentials_that_a_killed_run_left_is_removed_by_the_next_call(
    local: Cli, engine: Engine, write: Write, busybox: str
) -> None:
    write("key.json", LOGIN)
    write("p.yaml", pipeline_text("key", {"one": task(busybox, SHELL, ["echo here; sleep 100"])}))
    process = local.start(*("-f", "p.yaml", "--local", "--with-credentials"), GOOGLE_APPLICATION_CREDENTIALS="key.json")
    until(process.stderr, "here")
    process.kill()
    process.wait()
    assert engine.docker("volume", "ls", "--quiet").stdout

    assert local("runs").code == 0

    assert engine.docker("volume", "ls", "--quiet").stdout == ""
    assert containers(engine) == []


def test_a_folder_with_a_colon_in_its_name_is_the_bucket(local: Cli, write: Write, busybox: str, folder: Path) -> None:
    (folder / "a:ro").mkdir()
    write("p.yaml", pipeline_text("colon", {"one": task(busybox, SHELL, ["echo made > /gcs/test-bucket/it"])}))

    result = local("-f", "p.yaml", "--local", "--bucket", "test-bucket", "--bucket-dir", "a:ro")

    assert result.code == 0, result.err
    assert (folder / "a:ro/it").read_text() == "made\n"


@pytest.mark.parametrize("name", ["..", "../etc", "a/b", "Upper", "a..b", "/etc"])
def test_a_bucket_that_is_none_is_not_mounted(local: Cli, write: Write, bucket: Path, name: str) -> None:
    write("p.yaml", pipeline_text("bucket", {"one": task("nobody/at-all", ["true"])}))

    result = local("-f", "p.yaml", "--local", "--bucket-dir", "bucket", GCS_BUCKET_NAME=name)

    assert result.code == 2
    assert "--bucket-dir" in result.err


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("dd if=/dev/zero of=$0 bs=1M seek=150 count=0", "is larger than 131,072 bytes"),
        ("dd if=/dev/zero of=$0 bs=131073 count=1", "is larger than 131,072 bytes"),
        ("mkfifo $0", "was not written"),
        ("ln -s /etc/passwd $0", "was not written"),
        ("mkdir $0", "was not written"),
    ],
)
def test_an_output_is_read_no_further_than_what_counts(
    local: Cli, write: Write, busybox: str, folder: Path, script: str, words: str
) -> None:
    out = "{{$.outputs.parameters['out'].output_file}}"
    write("p.yaml", pipeline_text("out", {"one": task(busybox, SHELL, [script, out], outputs=["out"])}))

    result = local("-f", "p.yaml", "--local")

    assert result.code == 5
    assert words in str(steps(latest(folder))["one"]["error"])


def test_the_largest_output_is_passed_on_whole(local: Cli, write: Write, busybox: str, folder: Path) -> None:
    out = "{{$.outputs.parameters['out'].output_file}}"
    script = "dd if=/dev/zero bs=131000 count=1 | tr '\\0' a > $0"
    made = task(busybox, SHELL, [script, out], outputs=["out"])
    write("p.yaml", pipeline_text("out", {"one": made}))

    result = local("-f", "p.yaml", "--local")

    assert result.code == 0, result.err
    assert steps(latest(folder))["one"]["outputs"] == {"out": "a" * 131_000}


def test_the_network_of_the_host(local: Cli, write: Write, busybox: str, folder: Path) -> None:
    write("p.yaml", pipeline_text("net", {"one": task(busybox, ["cat", "/proc/net/dev"])}))

    assert local("-f", "p.yaml", "--local", "--docker-network", "host").code == 0
    here = {line.split(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines() if ":" in line}
    assert {line.split(":")[0].strip() for line in log(folder, latest(folder), "one") if ":" in line} == here


# ── how it ends ──────────────────────────────────────────────────────────────────────────────────────────────────────


@contextlib.contextmanager
def busy_machine() -> Iterator[None]:
    """Keep every core at work."""
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def test_exit_3_at_once_is_a_failure_every_time(
    local: Cli, engine: Engine, write: Write, busybox: str, folder: Path
) -> None:
    """kfp.local calls 18 of 60 such steps a success on a busy machine (kubeflow/pipelines#13332)."""
    tasks = {f"step{number}": task(busybox, SHELL, ["exit 3"]) for number in range(100)}
    write("p.yaml", pipeline_text("hundred", tasks))

    with busy_machine():
        result = local("-f", "p.yaml", "--local", "--failure-policy", "slow", "--parallel", "8")

    assert result.code == 5
    found = [(step["state"], step["exit_code"], step["error"]) for step in latest(folder)["steps"]]
    assert found == [("FAILED", 3, "exit code 3")] * 100
    assert containers(engine) == []


def test_a_failure_names_step_and_last_lines_and_stops_the_chain(
    local: Cli, write: Write, busybox: str, folder: Path
) -> None:
    tasks = {
        "one": task(busybox, ["true"]),
        "two": task(busybox, SHELL, ["echo the reason; printf 'without an end' >&2; exit 3"], after=["one"]),
        "three": task(busybox, ["true"], after=["two"]),
    }
    write("p.yaml", pipeline_text("chain", tasks))

    result = local("-f", "p.yaml", "--local")

    assert result.code == 5
    assert "error: the run failed: step two: exit code 3" in result.err
    assert "    the reason\n" in result.err
    assert "    without an end\n" in result.err
    assert "--from two" in result.err
    record = latest(folder)
    assert record["state"] == "FAILED"
    assert [step["state"] for step in record["steps"]] == ["SUCCEEDED", "FAILED", "SKIPPED"]


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (["/no/such/program"], 127, "not found"),
        (["/etc/passwd"], 126, "cannot be executed"),
        (["sh", "-c", "kill -9 $$"], 137, "SIGKILL"),
    ],
)
def test_what_a_shell_would_say(
    local: Cli, engine: Engine, write: Write, busybox: str, folder: Path, command: list[str], code: int, words: str
) -> None:
    # PID 1 cannot kill itself: a shell below it can.
    command = ["sh", "-c", "sh -c 'kill -9 $$'; exit $?"] if "-9" in command[-1] else command
    write("p.yaml", pipeline_text("codes", {"one": task(busybox, command)}))

    result = local("-f", "p.yaml", "--local")

    assert result.code == 5
    one = steps(latest(folder))["one"]
    assert (one["state"], one["exit_code"]) == ("FAILED", code)
    assert words in one["error"]
    assert containers(engine) == []


def test_limits_are_real_and_an_oom_kill_is_said(local: Cli, write: Write, busybox: str, folder: Path) -> None:
    cgroup = "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max 2>/dev/null; true"
    tasks = {
        "fat": task(busybox, ["tail", "/dev/zero"], resources={"resourceMemoryLimit": "64M", "memoryLimit": 0.064}),
        "child": task(busybox, SHELL, ["tail /dev/zero; true"], resources={"resourceMemoryLimit": "64M"}),
        "slim": task(busybox, SHELL, [cgroup], resources={"resourceCpuLimit": "500m", "cpuLimit": 0.5}),
        "old": task(busybox, ["true"], resources={"memoryLimit": 1e6, "cpuLimit": 96.0}),
        "least": task(busybox, ["true"], resources={"resourceCpuLimit": "10m", "resourceMemoryLimit": "6291456"}),
    }
    write("p.yaml", pipeline_text("limits", tasks))

    result = local("-f", "p.yaml", "--local", "--failure-policy", "slow")

    assert result.code == 5
    record = latest(folder)
    fat = steps(record)["fat"]
    assert (fat["state"], fat["exit_code"]) == ("FAILED", 137)
    assert fat["error"] == "out of memory: killed at its limit of 64 MB"
    child = steps(record)["child"]
    assert (child["state"], child["exit_code"]) == ("SUCCEEDED", 0)
    assert child["warnings"] == ["ran out of memory: one of its processes was killed at its limit of 64 MB"]
    assert log(folder, record, "slim")[0].split(" ")[0] == "50000"
    assert steps(record)["least"]["state"] == "SUCCEEDED"
    assert steps(record)["old"]["state"] == "SUCCEEDED"
    words = " ".join(steps(record)["old"]["warnings"])
    assert "requests 96 CPUs" in words
    assert "of memory; this Engine has" in words


def test_an_accelerator_that_is_not_there_is_told(local: Cli, write: Write, busybox: str) -> None:
    accelerator = {"accelerator": {"type": "NVIDIA_TESLA_T4", "count": "1", "resourceType": "NVIDIA_TESLA_T4"}}
    write("p.yaml", pipeline_text("gpu", {"one": task(busybox, ["true"], resources=accelerator)}))

    result = local("-f", "p.yaml", "--local")

    assert result.code == 0
    assert "warning: step one requests 1 × NVIDIA_TESLA_T4; this Engine has none: it runs without" in result.err


def test_a_step_that_runs_too_long(local: Cli, engine: Engine, write: Write, busybox: str, folder: Path) -> None:
    write("p.yaml", pipeline_text("slow", {"one": task(busybox, SHELL, ["trap 'exit 0' TERM; sleep 100 & wait"])}))

    result = local("-f", "p.yaml", "--local", "--step-timeout", "1")

    assert result.code == 5
    one = steps(latest(folder))["one"]
    assert one["state"] == "FAILED"
    assert one["error"] == "stopped after 1 s (--step-timeout)"
    assert containers(engine) == []


def test_branches_run_side_by_side(local: Cli, write: Write, busybox: str, folder: Path, bucket: Path) -> None:
    """Each of the two ends only when it sees the other."""
    meet = "touch /gcs/test-bucket/{0}; until [ -e /gcs/test-bucket/{1} ]; do sleep 0.05; done"
    tasks = {
        "left": task(busybox, SHELL, [meet.format("left", "right")]),
        "right": task(busybox, SHELL, [meet.format("right", "left")]),
        "join": task(busybox, ["true"], after=["left", "right"]),
    }
    write("p.yaml", pipeline_text("diamond", tasks))

    assert local("-f", "p.yaml", "--local", *BUCKET, "--step-timeout", "60").code == 0

    for name in ("left", "right"):
        (bucket / name).touch()
    assert local("-f", "p.yaml", "--local", *BUCKET, "--parallel", "1").code == 0
    one = steps(latest(folder))
    assert one["left"]["ended"] <= one["right"]["started"]
    assert one["right"]["ended"] <= one["join"]["started"]


def test_the_failure_policy(local: Cli, write: Write, busybox: str, folder: Path, bucket: Path) -> None:
    """The branch `long` waits for the failure of the other; then it is stopped, or goes on."""
    wait = "until [ -e /gcs/test-bucket/go ]; do sleep 0.05; done"
    tasks = {
        "bad": task(busybox, ["false"]),
        "behind": task(busybox, ["true"], after=["bad"]),
        "long": task(busybox, SHELL, [wait]),
        "after-long": task(busybox, ["true"], after=["long"]),
    }
    write("p.yaml", pipeline_text("policy", tasks))

    assert local("-f", "p.yaml", "--local", *BUCKET).code == 5
    fast = {name: each["state"] for name, each in steps(latest(folder)).items()}
    assert fast == {"bad": "FAILED", "behind": "SKIPPED", "long": "CANCELLED", "after-long": "SKIPPED"}

    (bucket / "go").touch()
    assert local("-f", "p.yaml", "--local", *BUCKET, "--failure-policy", "slow").code == 5
    slow = {name: each["state"] for name, each in steps(latest(folder)).items()}
    assert slow == {"bad": "FAILED", "behind": "SKIPPED", "long": "SUCCEEDED", "after-long": "SUCCEEDED"}


# ── Ctrl-C and worse ─────────────────────────────────────────────────────────────────────────────────────────────────

# Hears no SIGTERM, as PID 1 that sets no handler.
DEAF = ["trap '' TERM; echo here; while true; do sleep 1; done"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 6)])
def test_a_signal_leaves_nothing_within_five_seconds(
    local: Cli, engine: Engine, write: Write, busybox: str, folder: Path, number: signal.Signals, code: int
) -> None:
    tasks = {
        "one": task(busybox, SHELL, DEAF),
        "two": task(busybox, SHELL, DEAF),
        "three": task(busybox, after=["one"]),
    }
    write("p.yaml", pipeline_text("stop", tasks))
    process = local.start("-f", "p.yaml", "--local")
    until(process.stderr, " │ here")
    until(process.stderr, " │ here")
    assert len(containers(engine)) == 2

    asked = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate(timeout=30)

    assert time.monotonic() - asked < 5
    assert containers(engine) == []
    assert process.returncode == code, err
    record = latest(folder)
    assert record["state"] == "CANCELLED"
    assert [step["state"] for step in record["steps"]] == ["CANCELLED", "CANCELLED", "SKIPPED"]


def test_a_second_ctrl_c_kills(local: Cli, engine: Engine, write: Write, busybox: str, folder: Path) -> None:
    write("p.yaml", pipeline_text("stop", {"one": task(busybox, SHELL, DEAF)}))
    process = local.start("-f", "p.yaml", "--local")
    until(process.stderr, "one │ here")

    asked = datetime.now(UTC)
    process.send_signal(signal.SIGINT)
    until(process.stderr, "run CANCELLING")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)

    # One Ctrl-C would leave it two seconds.
    assert (datetime.fromisoformat(steps(latest(folder))["one"]["ended"]) - asked).total_seconds() < 1.9
    assert process.returncode == 130
    assert containers(engine) == []


def test_a_killed_runner_leaves_no_running_run(
    local: Cli, engine: Engine, write: Write, busybox: str, folder: Path
) -> None:
    write("p.yaml", pipeline_text("killed", {"one": task(busybox, SHELL, DEAF), "two": task(busybox, after=["one"])}))
    process = local.start("-f", "p.yaml", "--local")
    until(process.stderr, "one │ here")
    process.kill()
    process.communicate()
    assert len(containers(engine)) == 1
    assert latest(folder)["state"] == "RUNNING"

    shown = local("runs", "--json")

    assert shown.code == 0, shown.err
    assert [run["state"] for run in shown.json["runs"]] == ["FAILED"]
    assert containers(engine) == []
    record = latest(folder)
    assert f"was killed (process {process.pid})" in record["error"]
    assert [step["state"] for step in record["steps"]] == ["FAILED", "SKIPPED"]


def test_a_record_that_cannot_be_written_leaves_no_container(
    local: Cli, engine: Engine, write: Write, busybox: str, folder: Path
) -> None:
    """A step takes the folder of the runs away, which it sees as its bucket: a full disk does no better."""
    (folder / ".run-kfp/runs").mkdir(parents=True)
    tasks = {
        "rest": task(busybox, SHELL, DEAF),
        "thief": task(busybox, SHELL, ["sleep 1; rm -r /gcs/test-bucket/*"]),
    }
    write("p.yaml", pipeline_text("thief", tasks))

    result = local("-f", "p.yaml", "--local", "--bucket", "test-bucket", "--bucket-dir", ".run-kfp/runs")

    assert result.code == 4
    assert "cannot write .run-kfp/runs/thief-" in result.err
    assert containers(engine) == []


def test_an_engine_that_goes_away_is_told_in_plain_words(
    engine: Engine, write: Write, busybox: str, folder: Path, bucket: Path
) -> None:
    """The first step takes the socket away, which it sees in its bucket."""
    (bucket / "docker.sock").symlink_to(engine.socket)
    local = on(engine, folder, DOCKER_HOST=f"unix://{bucket}/docker.sock")
    tasks = {
        "thief": task(busybox, SHELL, ["rm /gcs/test-bucket/docker.sock"]),
        "next": task(busybox, ["true"], after=["thief"]),
    }
    write("p.yaml", pipeline_text("thief", tasks))

    result = local("-f", "p.yaml", "--local", *BUCKET)

    assert result.code == 4, result.err
    assert "error: the Docker Engine no longer answers: No such file or directory\n" in result.err
    assert "start Docker" in result.err
    assert not any(word in result.err for word in ("Traceback", "Connection aborted", "HTTP", "FileNotFoundError"))
    record = latest(folder)
    assert (record["state"], [step["state"] for step in record["steps"]]) == ("FAILED", ["SUCCEEDED", "FAILED"])
    assert record["error"] == "the Docker Engine no longer answers: No such file or directory"
    (bucket / "docker.sock").symlink_to(engine.socket)
    write("q.yaml", pipeline_text("after", {"one": task(busybox, ["true"])}))
    assert local("-f", "q.yaml", "--local").code == 0
    assert containers(engine) == []  # the next run has cleared away


@UNCLOSED
def test_an_engine_that_goes_away_between_steps_starts_none(
    engine: Engine, busybox: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = tmp_path / "docker.sock"
    link.symlink_to(engine.socket)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{link}")
    here = DockerEngine(DockerSettings("never", None, {}, None), {})
    here.prepare([], lambda *_: None, threading.Event())
    link.unlink()

    with pytest.raises(EngineError, match=r"\Athe Docker Engine no longer answers: No such file or directory\Z"):
        here.start(StepCall("chain-1", "one", busybox, ["true"], [], {}), lambda *_: None)
    gc.collect()


def test_a_log_that_finds_no_room_leaves_no_container(
    local: Cli, engine: Engine, write: Write, busybox: str, folder: Path
) -> None:
    """The step prints more than a file may hold: it ends, and does not stand still at a full pipe."""
    write("p.yaml", pipeline_text("full", {"one": task(busybox, SHELL, ["seq 1 100000; sleep 100"])}))

    result = on_a_day(local, 'ulimit -f 100; exec "$@"', "-f", "p.yaml", "--local")

    assert result.code == 4
    assert "File too large" in result.err
    assert "Traceback" not in result.err
    assert latest(folder)["state"] == "FAILED"
    assert containers(engine) == []


@pytest.mark.parametrize("streams", ["<&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_change_nothing(
    local: Cli, engine: Engine, write: Write, busybox: str, folder: Path, streams: str
) -> None:
    write("p.yaml", pipeline_text("closed", {"one": task(busybox, SHELL, ["echo said; echo cried >&2"])}))

    result = on_a_day(local, f'"$@" {streams}', "-f", "p.yaml", "--local")

    assert result.code == (1 if ">&-" in streams.replace("2>&-", "") else 0)
    assert latest(folder)["state"] == "SUCCEEDED"
    assert sorted(log(folder, latest(folder), "one")) == ["cried", "said"]
    assert containers(engine) == []


def test_a_user_without_name_and_home_runs_on_the_engine(
    local: Cli, engine: Engine, write: Write, busybox: str, folder: Path
) -> None:
    write("p.yaml", pipeline_text("nobodys", {"one": task(busybox, SHELL, ["echo said; exit 3"])}))
    for place in (engine.socket, engine.socket.parent):
        place.chmod(0o777)

    result = on_a_day(local, NOBODY, "-f", "p.yaml", "--local", unset=["HOME"], PYTHONDONTWRITEBYTECODE="1")

    assert result.code == 5, result.err
    assert "Traceback" not in result.err
    assert log(folder, latest(folder), "one") == ["said"]
    assert containers(engine) == []


def test_a_machine_that_is_read_only_but_for_the_folder(
    local: Cli, engine: Engine, write: Write, busybox: str, folder: Path
) -> None:
    """What `docker run --read-only -v "$PWD":/work` leaves: the folder and /dev/shm."""
    write("p.yaml", pipeline_text("read-only", {"one": task(busybox, SHELL, ["echo said"])}))

    result = on_a_day(local, ONLY_THE_FOLDER, "-f", "p.yaml", "--local")

    assert result.code == 0, result.err
    assert log(folder, latest(folder), "one") == ["said"]
    assert (folder / ".run-kfp/runs" / latest(folder)["id"] / "report.html").is_file()
    assert containers(engine) == []


def test_a_folder_that_goes_away_leaves_no_container(
    local: Cli, engine: Engine, write: Write, busybox: str, folder: Path
) -> None:
    write("p.yaml", pipeline_text("gone", {"one": task(busybox, SHELL, DEAF)}))
    process = local.start("-f", "p.yaml", "--local")
    until(process.stderr, "one │ here")
    shutil.rmtree(folder)
    process.send_signal(signal.SIGINT)

    _, err = process.communicate(timeout=60)

    assert process.returncode in (4, 130)
    assert "Traceback" not in err
    assert "internal error" not in err
    assert containers(engine) == []


def test_a_run_beside_it_is_left_alone(local: Cli, engine: Engine, write: Write, busybox: str) -> None:
    """Whoever clears away after killed runs must not take the containers of a living one."""
    write("p.yaml", pipeline_text("living", {"one": task(busybox, SHELL, DEAF)}))
    write("q.yaml", pipeline_text("other", {"one": task(busybox, ["true"])}))
    process = local.start("-f", "p.yaml", "--local")
    until(process.stderr, "one │ here")

    assert local("-f", "q.yaml", "--local").code == 0
    assert [run["state"] for run in local("runs", "--json").json["runs"]] == ["SUCCEEDED", "RUNNING"]
    assert len(containers(engine)) == 1

    assert local("cancel", "living").code == 0
    process.communicate(timeout=30)
    assert process.returncode == 6
    assert containers(engine) == []


# ── secrets ──────────────────────────────────────────────────────────────────────────────────────────────────────────

REGISTRY = """
[pipeline]
name = "chain"
[containers.1]
name = "first"
image = "busybox"
command = ["sh", "-c", "touch /gcs/test-bucket/first-$1; cat /proc/1/cmdline; env", "sh"]
args = [{ param = "tag" }]
[containers.2]
name = "second"
image = "busybox"
command = ["sh", "-c", 'test "$1" = "$(cat /gcs/test-bucket/right)" || { echo "refused: $1"; exit 4; }', "sh"]
args = [{ secret = "key" }]
[containers.3]
name = "third"
image = "busybox"
command = [
    "sh",
    "-c",
    'begin="${1%????????}"; printf "%s" "$begin"; sleep 0.3; printf "%s\\n" "${1#"$begin"}"; echo "$1" >&2',
    "sh",
]
args = [{ secret = "key" }]
[secrets.key]
env = "KEY"
"""


def test_a_secret_reaches_the_steps_that_name_it_and_is_written_nowhere(
    local: Cli, write: Write, folder: Path, bucket: Path
) -> None:
    key = canary("key")
    write("run-kfp.toml", REGISTRY)
    (bucket / "right").write_text(key, encoding="utf-8")

    for more in ((), ("--json",)):
        result = local("-r", "1-3", "-t", "v1", "--local", *BUCKET, *more, KEY=key)
        assert result.code == 0, result.err
        assert key not in result.out + result.err

    record = latest(folder)
    assert log(folder, record, "third") == ["***", "***"]
    assert not any(key[:-8] in line for line in log(folder, record, "first"))
    for path in (folder / ".run-kfp").rglob("*"):
        assert path.is_dir() or key[:-8].encode() not in path.read_bytes(), path
    assert record["parameters"]["key"].pop("hash")
    assert record["parameters"]["key"] == {"secret": "key", "from": "environment KEY"}
    assert steps(record)["third"]["args"] == ["***"]


def test_from_goes_on_where_it_failed(local: Cli, write: Write, folder: Path, bucket: Path) -> None:
    key = canary("key")
    write("run-kfp.toml", REGISTRY)
    (bucket / "right").write_text(key, encoding="utf-8")
    call = ("-r", "1-3", "-t", "v1", "--local", *BUCKET)

    failed = local(*call, KEY=canary("wrong"))
    assert failed.code == 5
    assert "step second: exit code 4" in failed.err
    assert "refused: ***" in failed.err
    assert [step["state"] for step in latest(folder)["steps"]] == ["SUCCEEDED", "FAILED", "SKIPPED"]
    base = latest(folder)["id"]
    (bucket / "first-v1").unlink()

    mended = local(*call, "--from", "2", KEY=key)

    assert mended.code == 0, mended.err
    record = latest(folder)
    assert [step["state"] for step in record["steps"]] == ["SUCCEEDED"] * 3
    assert [step["reused_from"] for step in record["steps"]] == [base, None, None]
    assert record["from_run"] == base
    assert not (bucket / "first-v1").exists()
    assert log(folder, record, "first")  # the log of what was done before came along

    other = local("-r", "1-3", "-t", "v2", "--local", *BUCKET, "--from", "third", KEY=key)
    assert other.code == 2
    assert "ran with tag='v1', this call has 'v2'" in other.err
    early = local(*call, "--from", "third", "--from-run", base, KEY=key)
    assert early.code == 2
    assert f"local://{base} did not complete step second" in early.err


def test_an_image_that_changed_behind_its_tag_is_told_where_its_step_is_not_run_again(
    local: Cli, engine: Engine, write: Write, busybox: str, folder: Path
) -> None:
    def moved(mark: str) -> str:
        made = engine.docker("create", "--label", f"mark={mark}", busybox, "true").stdout.strip()
        engine.docker("commit", made, "moving:latest")
        engine.docker("rm", made)
        return engine.docker("images", "--quiet", "--no-trunc", "moving").stdout.strip()

    first = moved("one")
    tasks = {"one": task("moving", ["true"]), "two": task("moving", ["true"], after=["one"])}
    write("p.yaml", pipeline_text("moving", tasks))
    assert local("-f", "p.yaml", "--local").code == 0
    base = latest(folder)
    assert [step["image_id"] for step in base["steps"]] == [first, first]

    same = local("-f", "p.yaml", "--local", "--from", "two")
    second = moved("two")
    result = local("-f", "p.yaml", "--local", "--from", "two", "--from-run", base["id"])

    assert "not run again" not in same.err
    assert f"warning: one: the image behind moving changed since {base['id']}; not run again" in result.err
    assert [step["image_id"] for step in latest(folder)["steps"]] == [first, second]
    (report,) = folder.glob(f".run-kfp/runs/{latest(folder)['id']}/report.html")
    assert f"<dt>Image ID</dt><dd><code>{second[7:19]}</code></dd>" in report.read_text("utf-8")


@pytest.fixture
def pruned(engine: Engine) -> Iterator[None]:
    """Leave no container behind that a test has kept."""
    yield
    for container in containers(engine):
        engine.docker("rm", "--force", "--volumes", container)


def typed_shell(line: str, words: str, engine: Engine) -> str:
    """Paste a line into a shell on a terminal, write `words` to what it starts; return what is seen."""
    terminal, inside = pty.openpty()
    process = killed_after_the_test(
        subprocess.Popen(
            ["sh", "-c", line],
            stdin=inside,
            stdout=inside,
            stderr=inside,
            env={**os.environ, **engine.env()},
            start_new_session=True,
        )
    )
    os.close(inside)
    os.write(terminal, words.encode())
    seen = b""
    with contextlib.suppress(OSError):  # Linux says that a terminal has ended so
        while chunk := os.read(terminal, 65536):
            seen += chunk
    os.close(terminal)
    assert process.wait(60) == 0, seen
    return seen.decode().replace("\r\n", "\n")


# ── what Vertex AI would not have ────────────────────────────────────────────────────────────────────────────────────

ASK = "cat /data/it /one/it; (echo no > /data/it) || echo refused; df /dev/shm | tail -n 1; echo $MODE $OTHER"


def test_a_call_gives_steps_what_vertex_would_not(
    local: Cli, engine: Engine, write: Write, busybox: str, folder: Path, pruned: None
) -> None:
    write("a:b/it", "of all\n")
    write("one/it", "of one\n")
    tasks = {
        name: task(busybox, SHELL, [f"exec 2> /dev/null; {ASK}; exit {code}"], env={"MODE": "file", "OTHER": "file"})
        for name, code in (("first", 0), ("second", 3))
    }
    write("p.yaml", pipeline_text("extras", tasks))
    typed = [
        *("-v", "./a:b:/data:ro", "--mount", f"second:{folder}/one:/one", "--shm-size", "96m", "--shm-size", "2:32m"),
        *("-e", "MODE", "-e", "second:OTHER=a:b=c"),
    ]

    result = local("-f", "p.yaml", "--local", "--keep-failed", "--failure-policy", "slow", *typed, MODE="mine")

    record = latest(folder)
    first, second = log(folder, record, "first"), log(folder, record, "second")
    assert result.code == 5, result.err
    assert (first[0], first[-1]) == ("of all", "mine file")
    assert second[:2] == ["of all", "of one"]
    assert second[-1] == "mine a:b=c"
    assert "refused" in first
    assert [line.split()[1] for line in (first[-2], second[-2])] == [str(96 * 1024), str(32 * 1024)]
    assert (folder / "a:b/it").read_text("utf-8") == "of all\n"
    told = [
        f"--mount {folder}/a:b:/data:ro",
        f"--mount second:{folder}/one:/one",
        "--env MODE (environment)",
        "--env second:OTHER=a:b=c",
        "--shm-size 96m",
        "--shm-size second:32m",
    ]
    assert record["local_only"] == told
    assert f"note: {', '.join(told)}: on this machine only, not on Vertex AI" in result.err
    (report,) = folder.glob(".run-kfp/runs/*/report.html")
    assert "<dt>Not on Vertex AI</dt>" in report.read_text("utf-8")
    # The shell in the container that was kept has all of it.
    seen = typed_shell(steps(record)["second"]["shell"], f"{ASK}; exit\n", engine)
    assert "of all\nof one\n" in seen
    assert "mine a:b=c\n" in seen
    assert f" {32 * 1024} " in seen


def test_gpus_that_an_engine_does_not_have(local: Cli, write: Write, busybox: str, folder: Path) -> None:
    accelerator = {"accelerator": {"type": "NVIDIA_TESLA_T4", "count": "1", "resourceType": "NVIDIA_TESLA_T4"}}
    tasks = {"one": task(busybox, ["true"], resources=accelerator), "two": task(busybox, ["true"])}
    write("p.yaml", pipeline_text("gpus", tasks))

    result = local("-f", "p.yaml", "--local", "--gpus", "two:all", "--failure-policy", "slow")

    assert result.code == 5
    assert "step one requests 1 × NVIDIA_TESLA_T4; this Engine has none" in result.err
    assert steps(latest(folder))["one"]["state"] == "SUCCEEDED"
    assert steps(latest(folder))["two"]["error"] == ("exit code 128; could not be started: this Engine has no GPUs")


# ── failed steps that stay ───────────────────────────────────────────────────────────────────────────────────────────


def test_the_container_of_a_failed_step_is_kept_and_a_line_opens_a_shell_in_it(
    local: Cli, engine: Engine, write: Write, folder: Path, bucket: Path, pruned: None
) -> None:
    text = 'FROM busybox\nWORKDIR /home\nRUN chmod 777 /home\nUSER 1234\nENTRYPOINT ["sh", "-c"]\n'
    write("image/Dockerfile", text)
    engine.docker("build", "--quiet", "--tag", "with-user", folder / "image")
    (bucket / "data").write_text("of the bucket\n", encoding="utf-8")
    out = "{{$.outputs.parameters['out'].output_file}}"
    tasks = {
        "good": task("with-user", args=["true"]),
        "bad": task(
            "with-user",
            args=[f"echo written > here; printf result > {out}; exit 3"],
            outputs=["out"],
            env={"MODE": "as it was"},
            after=["good"],
        ),
    }
    write("p.yaml", pipeline_text("kept", tasks))
    images = {*engine.docker("images", "--all", "--quiet").stdout.split()}

    result = local("-f", "p.yaml", "--local", "--keep-failed", *BUCKET)

    assert result.code == 5
    assert len(containers(engine)) == 1
    line = next(line for line in result.err.splitlines() if line.startswith("image=$("))
    record = latest(folder)
    assert line == steps(record)["bad"]["shell"]
    assert steps(record)["good"]["shell"] is None
    asked = "id -u; pwd; cat here /run-kfp-outputs/out; echo; echo $MODE; cat /gcs/test-bucket/data; exit\n"
    answer = "1234\n/home\nwritten\nresult\nas it was\nof the bucket\n"
    assert answer in typed_shell(line, asked, engine)
    # What the line made is gone; the container stays, however often runs begin and end, until it is pruned.
    assert {*engine.docker("images", "--all", "--quiet").stdout.split()} == images
    assert len(engine.docker("ps", "--all", "--quiet").stdout.split()) == 1
    write("q.yaml", pipeline_text("other", {"one": task("with-user", args=["true"])}))
    assert local("-f", "q.yaml", "--local", "--keep-failed").code == 0
    assert local("runs").code == 0
    assert len(containers(engine)) == 1
    assert answer in typed_shell(line, asked, engine)
    assert local("runs", "prune", "--keep", "0", "--yes").code == 0
    assert containers(engine) == []


def test_what_failed_steps_leave_with_credentials_is_gone_when_they_are_pruned(
    local: Cli, engine: Engine, write: Write, busybox: str, pruned: None
) -> None:
    write("key.json", LOGIN)
    tasks = {"never": task(busybox, ["/no/such/program"]), "late": task(busybox, ["sleep", "100"])}
    write("p.yaml", pipeline_text("kept", tasks))
    call = ("-f", "p.yaml", "--local", "--with-credentials", "--failure-policy", "slow", "--step-timeout", "1")

    result = local(*call, "--keep-failed", "--json", GOOGLE_APPLICATION_CREDENTIALS="key.json")

    assert result.code == 5
    shells = json.loads(result.out.splitlines()[-1])["shells"]
    assert len(containers(engine)) == len(shells) == 2
    assert engine.docker("ps", "--quiet").stdout == ""
    for shell in shells.values():
        assert digest(LOGIN) in typed_shell(shell, "sha256sum < /run-kfp-credentials/key.json; exit\n", engine)
    assert local("runs").code == 0  # what is in use is not swept
    assert len(engine.docker("volume", "ls", "--quiet").stdout.split()) == 1
    assert local("runs", "prune", "--keep", "0", "--yes").code == 0
    assert containers(engine) == []
    assert engine.docker("volume", "ls", "--quiet").stdout == ""


def test_a_killed_run_leaves_no_step_running_though_failed_ones_are_kept(
    local: Cli, engine: Engine, write: Write, busybox: str
) -> None:
    write("p.yaml", pipeline_text("killed", {"one": task(busybox, SHELL, DEAF)}))
    process = local.start("-f", "p.yaml", "--local", "--keep-failed")
    until(process.stderr, "one │ here")
    process.kill()
    process.communicate()
    assert len(containers(engine)) == 1

    assert local("runs").code == 0

    assert containers(engine) == []


# ── images ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_image_that_is_not_there(local: Cli, write: Write, folder: Path, busybox: str) -> None:
    tasks = {"one": task(busybox, ["true"]), "two": task("127.0.0.1:9/no/such:image", after=["one"])}
    write("p.yaml", pipeline_text("images", tasks))

    never = local("-f", "p.yaml", "--local", "--pull", "never")
    missing = local("-f", "p.yaml", "--local")

    assert (never.code, missing.code) == (4, 4)
    assert "image 127.0.0.1:9/no/such:image not found on this machine, and --pull is never" in never.err
    assert "the image 127.0.0.1:9/no/such:image cannot be pulled" in missing.err
    assert "→ check the host in its name, and the network and proxy of the Docker Engine\n" in missing.err
    assert "one RUNNING" not in never.err + missing.err
    assert local("runs", "--json").json["runs"] == []


@pytest.fixture
def registry() -> Iterator[ImageRegistry]:
    """An image registry of the test's own."""
    with running_registry() as running:
        yield running


def test_images_are_pulled_with_progress(
    local: Cli, engine: Engine, write: Write, busybox: str, registry: ImageRegistry, tmp_path: Path
) -> None:
    made = engine.docker("create", busybox, "true").stdout.strip()
    archive = tmp_path / "image.tar"
    engine.docker("export", "--output", archive, made)
    engine.docker("rm", made)
    image = registry.add("team/first", archive.read_bytes(), cmd=["echo", "pulled"])
    other = registry.add("team/second", archive.read_bytes(), cmd=["true"], architecture="arm64")
    write("p.yaml", pipeline_text("pulls", {"one": task(image)}))

    first = local("-f", "p.yaml", "--local", "--json")
    asked = len(registry.requests)
    again = local("-f", "p.yaml", "--local")
    assert (first.code, again.code) == (0, 0), first.err + again.err
    assert len(registry.requests) == asked
    assert local("-f", "p.yaml", "--local", "--pull", "always").code == 0
    assert len(registry.requests) > asked

    events = [json.loads(line) for line in first.out.splitlines()]
    pulls = [(event["image"], event["done"] == event["total"] > 0) for event in events if event["event"] == "pull"]
    assert pulls == [*[(image, False)] * (len(pulls) - 1), (image, True)]
    assert [event["text"] for event in events if event["event"] == "log"] == ["pulled"]
    assert "pulling" not in again.err
    write("q.yaml", pipeline_text("pulls", {"one": task(other)}))
    foreign = local("-f", "q.yaml", "--local", "--pull", "always")
    assert f"{other} is built for arm64" in foreign.err or "no matching manifest" in foreign.err


def test_a_pull_that_fails_or_is_stopped_is_not_shown_as_done(
    local: Cli, write: Write, busybox: str, engine: Engine, registry: ImageRegistry
) -> None:
    image = registry.add("team/torn", b"no layer of any image", cmd=["true"])
    write("p.yaml", pipeline_text("torn", {"one": task(image)}))

    def shares(lines: Iterable[str]) -> list[bool]:
        events = [json.loads(line) for line in lines]
        return [event["done"] == event["total"] > 0 for event in events if event["event"] == "pull"]

    failed = local("-f", "p.yaml", "--local", "--json")
    assert failed.code == 4, failed.err
    shown = shares(failed.out.splitlines())
    assert shown
    assert not any(shown)

    registry.free.clear()
    process = local.start("-f", "p.yaml", "--local", "--json")
    assert process.stdout is not None
    before = [process.stdout.readline()]
    while '"pull"' not in before[-1]:
        before.append(process.stdout.readline())
        assert before[-1]
    process.send_signal(signal.SIGINT)
    after = process.stdout.read().splitlines()
    assert process.wait(60) == 130
    assert not any(shares([*before, *after]))


def test_the_executed_file_is_the_compiled_one(local: Cli, write: Write, folder: Path, bucket: Path) -> None:
    write("run-kfp.toml", REGISTRY)
    assert local("-r", "1-3", "--compile-only", "-o", "only.yaml").code == 0

    assert local("-r", "1-3", "-t", "v1", "--local", *BUCKET, KEY=canary("key")).code == 5

    executed = folder / ".run-kfp/runs" / latest(folder)["id"] / "pipeline.yaml"
    assert (folder / "only.yaml").read_bytes() == (folder / "pipeline.yaml").read_bytes() == executed.read_bytes()


SAME_PATH = 'mount --bind "$0" "$1" && cd "$1" && shift && exec "$@"'


@pytest.mark.skipif(
    shutil.which("unshare") is None or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode != 0,
    reason="NOT SHOWN: needs mounts of its own (root and unshare)",
)
def test_two_projects_that_see_the_same_path_leave_each_other_alone(
    engine: Engine, busybox: str, tmp_path: Path
) -> None:
    """As in two containers that share an Engine, each with its project at /work."""
    shared = tmp_path / "work"
    shared.mkdir()
    cli, call = on(engine, shared), ("-f", "p.yaml", "--local")
    started = []
    for name in ("one", "two"):
        project = tmp_path / name
        project.mkdir()
        text = pipeline_text(name, {"step": task(busybox, SHELL, DEAF if name == "one" else ["echo here"])})
        (project / "p.yaml").write_text(text, encoding="utf-8")
        started.append(
            killed_after_the_test(
                subprocess.Popen(
                    ["unshare", "-m", "sh", "-c", SAME_PATH, str(project), str(shared), *PROGRAM, *call],
                    env=cli.environment({}),
                    stdin=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    encoding="utf-8",
                )
            )
        )
        until(started[-1].stderr, "step │ here")
    assert started[1].wait(60) == 0  # it has swept, run and ended
    assert len(containers(engine)) == 1
    started[0].send_signal(signal.SIGINT)
    started[0].communicate(timeout=30)
    assert started[0].returncode == 130
    assert containers(engine) == []
