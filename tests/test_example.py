"""The example from its one command to the model, on both engines, and what it leaves behind."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine import Engine
from example import FOLDER, image_with_git
from tomorrow import EXAMPLE, index_of_tomorrow, locked, others

pytestmark = pytest.mark.example

LIMIT = 280.0
"""Seconds for one call; the first one installs the example's packages."""

STEPS = ("get-raw-data", "preprocess-data", "versioning", "train-model")


def crc32c(data: bytes) -> int:
    """The sum by its definition, bit by bit: the polynomial 0x1EDC6F41 reversed (RFC 3720, 12.1)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return (((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")


def records(shard: Path) -> list[bytes]:
    """The records of a TFRecord file; fails where a sum does not fit."""
    content, found = shard.read_bytes(), []
    while content:
        length = int.from_bytes(content[:8], "little")
        data, end = content[12 : 12 + length], 16 + length
        assert content[8:12] == masked(content[:8])
        assert content[12 + length : end] == masked(data)
        found.append(data)
        content = content[end:]
    return found


@dataclass(frozen=True)
class Call:
    """The folder of an example, in which run.py and run-kfp are called."""

    folder: Path
    env: dict[str, str]

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Call run.py."""
        return self._call([sys.executable, str(FOLDER / "run.py"), "--folder", str(self.folder), *args], FOLDER)

    def run_kfp(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Call run-kfp where the servers' .env and secrets are, with the steps as processes."""
        registry = ["--registry", str(FOLDER / "run-kfp.toml"), "--local", "--engine", "process"]
        return self._call([sys.executable, "-m", "run_kfp", *args, *registry], self.folder)

    def step(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Call a program of the example's own environment."""
        return self._call(list(command), self.folder)

    def _call(self, command: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=cwd,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )

    @property
    def bucket(self) -> Path:
        return self.folder / "buckets" / "dermaid-example"

    def tags(self) -> list[str]:
        return self.step("git", "-C", str(self.folder / "git" / "dermaid-data.git"), "tag").stdout.split()

    def paths_at(self, tag: str) -> list[str]:
        """What `dvc get` gives at a tag; the servers have to run."""
        target = self.folder / f"paths-{tag}.txt"
        repository = self.folder / "git" / "dermaid-data.git"
        anonymous = ["--remote-config", "allow_anonymous_login=true"]
        done = self.step(
            *("dvc", "get", str(repository), "paths.txt", "--rev", tag, "--out", str(target), "--force", *anonymous)
        )
        assert done.returncode == 0, done.stderr
        return target.read_text().splitlines()

    def metrics(self, tag: str) -> Any:
        return json.loads((self.bucket / "models" / tag / "metrics.json").read_text())

    def states(self) -> dict[str, str]:
        """The steps' states of the last run."""
        newest = max((self.folder / ".run-kfp" / "runs").glob("*/run.json"), key=lambda path: path.stat().st_mtime)
        return {step["name"]: step["state"] for step in json.loads(newest.read_text())["steps"]}


def new_call(folder: Path, **extra: str) -> Call:
    own = ("GCP_", "GCS_", "GIT_", "GOOGLE_", "NUM_GPU", "RUN_KFP_", "STORAGE_", "WANDB_", "WHYLABS_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    # As in test_install: what is imported is compiled then, and the rest is not.
    return Call(folder, {**env, "NO_COLOR": "1", "PIP_NO_COMPILE": "0", **extra})


def shards(call: Call) -> list[str]:
    """The shards in the bucket, as gs:// paths."""
    found = (call.bucket / "tf_records").rglob("*.tfrecords")
    return [f"gs://dermaid-example/{path.relative_to(call.bucket).as_posix()}" for path in found]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Call, subprocess.CompletedProcess[str]]:
    """One call of run.py with the steps as processes; what they need is installed from the index of tomorrow."""
    call = new_call(tmp_path_factory.mktemp("dermaid"), **index_of_tomorrow(tmp_path_factory.mktemp("tomorrow")))
    return call, call.run("--", "-p", "images=300")


@pytest.fixture(scope="module")
def served(whole: tuple[Call, subprocess.CompletedProcess[str]]) -> Iterator[Call]:
    """The servers, with what that call left in them."""
    call, done = whole
    assert done.returncode == 0, done.stderr
    command = [sys.executable, str(FOLDER / "run.py"), "--folder", str(call.folder), "--keep", "--serve"]
    with subprocess.Popen(command, env=call.env, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        said = []
        for line in server.stdout:
            said.append(line)
            if found := re.match(r"PATH=(\S+) .*--local", line):
                break
        else:
            pytest.fail("".join(said))
        dotenv = dict(line.split("=", 1) for line in (call.folder / ".env").read_text().splitlines())
        gcs = {"STORAGE_EMULATOR_HOST": dotenv["STORAGE_EMULATOR_HOST"], "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}
        yield Call(call.folder, {**call.env, "PATH": found[1], **gcs, "DVC_NO_ANALYTICS": "1"})
        server.terminate()
        server.stdout.read()


def check_whole(call: Call, done: subprocess.CompletedProcess[str]) -> None:
    """What one call of run.py shows and leaves behind."""
    assert done.returncode == 0, done.stdout + done.stderr
    assert call.states() == dict.fromkeys(STEPS, "SUCCEEDED")
    assert call.tags() == ["dataset_v22"]

    found = [record for path in (call.bucket / "tf_records").rglob("*.tfrecords") for record in records(path)]
    names = [re.findall(rb"ISIC_\d{7}", record) for record in found]
    assert sorted(names) == [[f"ISIC_{number:07d}".encode()] for number in range(300)]

    metrics = call.metrics("dataset_v22")
    assert sum(metrics["examples"].values()) == 300
    assert sorted(metrics["shards"]) == sorted(shards(call))
    assert metrics["accuracy"] > metrics["chance"] + 0.15
    assert (call.bucket / "models" / "dataset_v22" / "model.npz").stat().st_size > 10_000

    for words in (f"{len(shards(call))} in ", "dataset_v22 at ", f"{metrics['accuracy']:.1%} of the test images"):
        assert words in done.stdout
    report = re.search(r"report +(\S+report\.html)$", done.stdout, re.MULTILINE)
    assert report is not None
    assert (FOLDER / report[1]).is_file()

    for file in ("wandb.txt", "whylabs.txt", "git.env"):
        key = (call.folder / "secrets" / file).read_text().strip().rpartition(":")[2]
        kept = [path for path in (call.folder / ".run-kfp").rglob("*") if path.is_file()]
        assert kept
        assert not [path for path in kept if key.encode() in path.read_bytes()]
        assert key not in done.stdout + done.stderr


def test_the_install_from_the_locks(served: Call) -> None:
    script = "from importlib import metadata as m; [print(d.name.lower(), d.version) for d in m.distributions()]"
    lines = served.step("python3", "-c", script).stdout.splitlines()
    installed = dict(line.replace("_", "-").split(" ") for line in lines)

    assert {"numpy", "dvc"} <= installed.keys() & locked(EXAMPLE / "requirements.lock").keys()
    assert others(installed, EXAMPLE / "requirements.lock") == {}


def test_one_command_ends_with_shards_tag_accuracy_and_report(
    whole: tuple[Call, subprocess.CompletedProcess[str]],
) -> None:
    check_whole(*whole)


def test_dvc_get_at_the_tag_gives_the_file_that_names_exactly_the_shards(served: Call) -> None:
    assert sorted(served.paths_at("dataset_v22")) == sorted(shards(served))


def test_a_second_tag_leaves_the_first_intact(served: Call) -> None:
    first = served.paths_at("dataset_v22")
    done = served.run_kfp("-r", "1-4", "-t", "dataset_v23", "-p", "images=450")
    assert done.returncode == 0, done.stderr
    assert served.tags() == ["dataset_v22", "dataset_v23"]
    assert served.paths_at("dataset_v22") == first
    assert len(served.paths_at("dataset_v23")) > len(first)
    assert sorted(served.paths_at("dataset_v23")) == sorted(shards(served))


def test_a_tag_that_is_there_is_refused_and_stays(served: Call) -> None:
    first = served.paths_at("dataset_v22")
    done = served.run_kfp("-r", "3", "-t", "dataset_v22")
    assert done.returncode == 5
    assert "the tag 'dataset_v22' exists" in done.stderr
    assert served.paths_at("dataset_v22") == first


def test_a_wrong_token_fails_at_step_3_and_from_3_finishes_after_the_repair(served: Call) -> None:
    login = served.folder / "secrets" / "git.env"
    right = login.read_text()
    login.write_text(right.rstrip() + "x\n")
    done = served.run_kfp("-r", "1-4", "-t", "dataset_v30", "-p", "images=300")
    assert done.returncode == 5
    assert "08-versioning" in done.stderr or "versioning" in done.stderr
    assert "the Git server refused the login" in done.stderr
    states = served.states()
    assert [states[step] for step in STEPS[:3]] == ["SUCCEEDED", "SUCCEEDED", "FAILED"]
    assert states["train-model"] != "SUCCEEDED"
    assert "dataset_v30" not in served.tags()

    login.write_text(right)
    done = served.run_kfp("-r", "1-4", "-t", "dataset_v30", "-p", "images=300", "--from", "3")
    assert done.returncode == 0, done.stderr
    assert served.states() == dict.fromkeys(STEPS, "SUCCEEDED")
    assert "dataset_v30" in served.tags()
    assert served.metrics("dataset_v30")["examples"] == served.metrics("dataset_v22")["examples"]


@pytest.mark.parametrize("arguments", [["3"], ["1", "2", "-t"]])
def test_a_container_says_what_it_expects(served: Call, arguments: list[str]) -> None:
    for name, words in (("versioning", "<GIT_LOGIN> <tag>"), ("train-model", "<tag> <NUM_GPU>")):
        done = subprocess.run(
            ["bash", "run-commands.sh", *arguments],
            cwd=FOLDER / "containers" / name,
            env=served.env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        assert words in done.stderr


@pytest.mark.engine
def test_one_command_does_the_same_in_containers(
    engine: Engine, python_slim: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    call = new_call(tmp_path_factory.mktemp("dermaid-docker"), **engine.env())
    base = image_with_git(engine, python_slim)
    done = call.run("--engine", "docker", "--python-image", base, "--", "-p", "images=300")
    check_whole(call, done)
    assert engine.docker("ps", "--all", "--quiet").stdout == ""
