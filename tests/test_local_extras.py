"""What a call gives the steps on this machine alone: how it is typed, what is refused, and what is told of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conftest import Cli, Result, Write
from dermaid import canary
from local_pipelines import latest, log

REGISTRY = """
[pipeline]
name = "chain"
[containers.1]
name = "first"
image = "nobody/first"
env = { MODE = "file", KEPT = "file" }
process = { cwd = ".", entrypoint = ["env"] }
[containers.2]
name = "second"
image = "nobody/second"
entrypoint = ["run"]
env = { KEY = { secret = "key" } }
process = { cwd = ".", entrypoint = ["env"] }
[secrets.key]
env = "KEY"
"""

KEY = canary("key")


@pytest.fixture
def local(cli: Cli, write: Write) -> Cli:
    """The program, with two steps that print their environment, and a folder `data`."""
    write("run-kfp.toml", REGISTRY)
    write("data/it", "")
    return Cli(cli.folder, {"KEY": KEY})


def planned(local: Cli, *typed: str, **variables: str) -> Result:
    """The plan for an Engine, which is not contacted."""
    return local("-r", "1-2", "--local", "--dry-run", "--json", *typed, **variables)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (("-v", "./data:/x"), "--mount {here}/data:/x"),
        (("-v", "first:./data/it:/x:ro"), "--mount first:{here}/data/it:/x:ro"),
        (("--mount", "1:./data:/x/:rw"), "--mount first:{here}/data:/x"),
        (("-v", "./a:ro:/x"), "--mount {here}/a:ro:/x"),
        (("-v", "second:../work/data:/x/../y"), "--mount second:{here}/../work/data:/y"),
        (("-e", "MODE=a:b=c"), "--env MODE=a:b=c"),
        (("-e", "first:MODE="), "--env first:MODE="),
        (("--env", "2:LANG"), "--env second:LANG (environment)"),
        (("-e", "WANDB_API_KEY"), "--env WANDB_API_KEY (environment)"),
        (("-e", "WANDB_API_KEY=0123456789abcdef"), "--env WANDB_API_KEY=***"),
        (("-e", f"first:URL=https://me:{KEY}@example.com/"), "--env first:URL=***"),
        (("-e", f"COPY={KEY}"), "--env COPY=***"),
        (("--shm-size", "8g"), "--shm-size 8g"),
        (("--shm-size", "first:512MiB"), "--shm-size first:512MiB"),
        (("--gpus", "all"), "--gpus all"),
        (("--gpus", "second:2"), "--gpus second:2"),
    ],
)
def test_each_is_told_in_the_plan(local: Cli, folder: Path, typed: tuple[str, ...], told: str) -> None:
    (folder / "a:ro").mkdir()

    plan = planned(local, *typed, WANDB_API_KEY="f" * 40)

    assert plan.code == 0, plan.err
    assert plan.json["local_only"] == [told.replace("{here}", str(folder))]
    assert f"note: {plan.json['local_only'][0]}: on this machine only, not on Vertex AI\n" in plan.err


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (("-v", "data:/x"), "--mount 'data:/x' is not [STEP:]HOST:CONTAINER[:ro]"),
        (("-v", "data:/x:ro"), "--mount 'data:/x:ro' is not [STEP:]HOST:CONTAINER[:ro]"),
        (("-v", "./data"), "--mount './data' is not [STEP:]HOST:CONTAINER[:ro]"),
        (("-v", "./data:x"), "--mount './data:x' is not [STEP:]HOST:CONTAINER[:ro]"),
        (("-v", ""), "--mount '' is not [STEP:]HOST:CONTAINER[:ro]"),
        (("-v", "./data:/x:z"), "--mount './data:/x:z': unknown mode 'z'"),
        (("-v", "./none:/x"), "--mount: ./none does not exist"),
        (("-v", "third:./data:/x"), "--mount third: unknown step; valid steps: first, second"),
        (("-v", "./data:/"), "--mount: / is used already"),
        (("-v", "./data:/run-kfp-outputs/"), "--mount: /run-kfp-outputs is used already"),
        (("-v", "./data:/run-kfp-credentials"), "--mount: /run-kfp-credentials is used already"),
        (
            ("--bucket", "a-bucket", "--bucket-dir", "data", "-v", "./data:/gcs/a-bucket"),
            "--mount: /gcs/a-bucket is used already",
        ),
        (("-v", "./data:/x", "-v", "./data/it:/x"), "--mount /x is set twice for all steps"),
        (("-e", "NOT_SET"), "--env NOT_SET: the variable is not set"),
        (("-e", "OF_DOTENV"), "--env OF_DOTENV: the variable is not set"),
        (("-e", "=x"), "--env '' is not [STEP:]NAME[=VALUE]"),
        (("-e", "a b=x"), "--env 'a b' is not [STEP:]NAME[=VALUE]"),
        (("-e", "first:MODE=1", "-e", "1:MODE=2"), "--env MODE is set twice for first"),
        (("-e", "KEY=another"), "--env KEY has no effect on step second, which sets it from a parameter or secret"),
        (("--shm-size", "0"), "--shm-size '0' is not [STEP:]SIZE"),
        (("--shm-size", "8 gigabytes"), "--shm-size '8 gigabytes' is not [STEP:]SIZE"),
        (("--shm-size", "-1g"), "--shm-size '-1g' is not [STEP:]SIZE"),
        (("--shm-size", "1g", "--shm-size", "2g"), "--shm-size is set twice for all steps"),
        (("--gpus", "0"), "--gpus '0' is not [STEP:]N or [STEP:]all"),
        (("--gpus", "first:some"), "--gpus 'first:some' is not [STEP:]N or [STEP:]all"),
        (("--engine", "process", "-v", "./data:/x"), "--mount requires --engine docker"),
        (("--engine", "process", "--shm-size", "1g"), "--shm-size requires --engine docker"),
        (("--engine", "process", "--gpus", "1"), "--gpus requires --engine docker"),
    ],
)
def test_what_is_refused_before_anything_runs(local: Cli, write: Write, typed: tuple[str, ...], words: str) -> None:
    write(".env", "OF_DOTENV=x\n")

    refused = local("-r", "1-2", "--local", *typed)

    assert refused.code == 2
    assert words in refused.err


def test_all_of_them_are_for_local_runs(local: Cli) -> None:
    refused = local("-r", "1", "-v", "./data:/x", "-e", "A=1", "--shm-size", "1g", "--gpus", "1", "--keep-failed")

    assert refused.code == 2
    for flag in ("-v", "-e", "--shm-size", "--gpus", "--keep-failed"):
        assert f"{flag} requires --local" in refused.err


def environment(folder: Path, step: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in log(folder, latest(folder), step) if "=" in line)


def test_variables_of_one_step_go_before_those_of_all_and_these_before_the_pipelines(local: Cli, folder: Path) -> None:
    typed = ("-e", "MODE=all", "-e", "first:MODE=one", "-e", "EMPTY", "-e", "PYTHONPATH=/mine", "-e", "second:TWO=2")

    result = local("-r", "1-2", "--local", "--engine", "process", *typed, EMPTY="")

    assert result.code == 0, result.err
    first, second = environment(folder, "first"), environment(folder, "second")
    assert (first["MODE"], first["KEPT"], first["EMPTY"], first["PYTHONPATH"]) == ("one", "file", "", "/mine")
    assert (second["MODE"], second["TWO"], second["KEY"]) == ("all", "2", "***")
    assert "TWO" not in first
    assert "KEPT" not in second


def test_the_value_of_a_variable_of_the_environment_is_never_written_and_a_secret_nowhere(
    local: Cli, folder: Path
) -> None:
    secret, plain, url = canary("token"), "a plain value that the step does not print", canary("login")
    typed = ("-e", "A_TOKEN", "-e", "first:PLAIN", "-e", f"second:TYPED_SECRET={url}")
    # It prints what it gets, without that.
    registry = (folder / "run-kfp.toml").read_text("utf-8")
    quiet = registry.replace('["env"]', '["sh", "-c", "env | grep -v ^PLAIN="]')
    (folder / "run-kfp.toml").write_text(quiet, encoding="utf-8")

    result = local("-r", "1-2", "--local", "--engine", "process", *typed, A_TOKEN=secret, PLAIN=plain)

    assert result.code == 0, result.err
    assert environment(folder, "second")["A_TOKEN"] == environment(folder, "second")["TYPED_SECRET"] == "***"
    kept = [path.read_text("utf-8") for path in (folder / ".run-kfp").rglob("*") if path.is_file()]
    for value in (secret, plain, url):
        assert not any(value in text for text in (*kept, result.out, result.err))
    assert latest(folder)["local_only"] == [
        "--env A_TOKEN (environment)",
        "--env first:PLAIN (environment)",
        "--env second:TYPED_SECRET=***",
    ]


def test_a_later_run_has_none_of_it(local: Cli, folder: Path) -> None:
    call = ("-r", "1-2", "--local", "--engine", "process")
    assert local(*call, "-e", "MODE=all").code == 0

    result = local(*call, "--from", "second")

    assert result.code == 0, result.err
    assert latest(folder)["local_only"] == []
    assert "MODE" not in environment(folder, "second")
    assert "not on Vertex AI" not in result.err + json.dumps(latest(folder))
