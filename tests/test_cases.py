"""Inputs that people had, with their neighbors: what is told of each, and what must stay silent."""

from __future__ import annotations

import json
import re
import secrets
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import Cli, Write
from dermaid import SETTINGS

REGISTRY = """
[settings]
project = "acme-project"
region = "us-central1"
bucket = "acme-bucket"
service_account = "runner@acme-project.iam.gserviceaccount.com"
"""

# Told of every call of these tests, and not what they are about.
AROUND = {"RK-LOGIN-MISSING", "RK-CALL-NO-COMMAND", "RK-SECRET-VISIBLE"}


def findings(cli: Cli, *args: str, **variables: str) -> list[dict[str, Any]]:
    """Return what `check` finds beside what every call of these tests has."""
    result = cli("check", *args, "--offline", "--json", **variables)
    found: list[dict[str, Any]] = json.loads(result.out)["findings"]
    return [one for one in found if one["code"] not in AROUND]


def told(found: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return severity and code of each."""
    return [(one["severity"], one["code"]) for one in found]


# ── factories ───────────────────────────────────────────────────────────────────────────────────────────────────────

# Pipelines, whose inner tasks kfp caches by default, and components that have inputs with defaults.
FACTORIES = """
from typing import Optional

from kfp import dsl


@dsl.container_component
def upload(folder: str):
    return dsl.ContainerSpec(image="acme/upload:3", command=["upload"], args=[folder])


@dsl.pipeline
def inner(folder: str):
    upload(folder=folder)


@dsl.pipeline
def release(folder: str):
    inner(folder=folder)
    with dsl.If(folder == "main"):
        upload(folder=folder)
    upload(folder=folder).set_caching_options(False)


@dsl.container_component
def fit(
    bucket: str, rounds: int = 3, rate: float = 0.5, mode: str = "fast", deep: bool = True, note: Optional[str] = None
):
    return dsl.ContainerSpec(
        image="acme/fit:3",
        command=["fit"],
        args=[bucket, rounds, rate, mode, deep, dsl.IfPresentPlaceholder("note", [note])],
    )


@dsl.container_component
def count(rows: int = 3):
    return dsl.ContainerSpec(image="acme/count:3", command=["count"], args=[rows])
"""

CACHED = f"""{REGISTRY}
[containers.1]
name = "release"
factory = "cached_pipeline:release"
[containers.2]
name = "careful"
factory = "cached_pipeline:release"
side_effects = true
[params.folder]
default = "main"
"""


def cached_tasks(folder: Path) -> list[bool]:
    """Say of every task of pipeline.yaml, conditions apart, whether it may be cached."""
    spec = yaml.safe_load((folder / "pipeline.yaml").read_text(encoding="utf-8"))
    dags = [component["dag"] for component in (spec["root"], *spec["components"].values()) if "dag" in component]
    tasks = [task for dag in dags for task in dag["tasks"].values()]
    return [bool(task["cachingOptions"].get("enableCache")) for task in tasks if "cachingOptions" in task]


@pytest.fixture
def factories(write: Write) -> None:
    write("cached_pipeline.py", FACTORIES)


@pytest.mark.usefixtures("factories")
def test_inner_steps_of_a_factory_follow_the_flag(cli: Cli, folder: Path, write: Write) -> None:
    write("run-kfp.toml", CACHED)
    assert cli("-r", "1-2", "--compile-only", RUN_KFP_ALLOW_FACTORIES="1").code == 0
    assert cached_tasks(folder).count(True) == 0

    assert cli("-r", "1", "--compile-only", "--caching", RUN_KFP_ALLOW_FACTORIES="1").code == 0
    # What its author switched off stays off.
    assert cached_tasks(folder).count(False) == 1
    assert cached_tasks(folder).count(True) == 4

    assert cli("-r", "2", "--compile-only", "--caching", RUN_KFP_ALLOW_FACTORIES="1").code == 0
    assert cached_tasks(folder).count(True) == 0


@pytest.mark.usefixtures("factories")
def test_two_entries_of_one_factory_do_not_change_each_other(cli: Cli, folder: Path, write: Write) -> None:
    write("run-kfp.toml", CACHED)
    assert cli("-r", "2,1", "--compile-only", "--caching", RUN_KFP_ALLOW_FACTORIES="1").code == 0
    spec = yaml.safe_load((folder / "pipeline.yaml").read_text(encoding="utf-8"))
    assert sorted(spec["root"]["dag"]["tasks"]) == ["careful", "release"]
    assert True in cached_tasks(folder)
    assert found_cached(cli) == ["release"]


def found_cached(cli: Cli) -> list[str]:
    """Return the tasks of the root that `check` says are cached, with those inside of them."""
    found = findings(cli, "-r", "2,1", "--caching", RUN_KFP_ALLOW_FACTORIES="1")
    (one,) = [one for one in found if one["code"] == "RK-CACHE-EXPIRY"]
    return sorted({name.partition("/")[0] for name in re.findall(r"[\w/-]+/[\w-]+", one["message"])})


@pytest.mark.usefixtures("factories")
def test_no_hint_asks_for_what_the_call_says_already(cli: Cli, write: Write) -> None:
    write("run-kfp.toml", CACHED)
    assert told(findings(cli, "-r", "1", RUN_KFP_ALLOW_FACTORIES="1")) == []
    assert told(findings(cli, "-r", "2", "--caching", RUN_KFP_ALLOW_FACTORIES="1")) == []


@pytest.mark.usefixtures("factories")
def test_inputs_with_defaults_keep_them(cli: Cli, folder: Path, write: Write) -> None:
    write("run-kfp.toml", f'{REGISTRY}[containers.1]\nname = "fit"\nfactory = "cached_pipeline:fit"\n')
    assert told(findings(cli, "-r", "1", RUN_KFP_ALLOW_FACTORIES="1")) == []
    assert cli("-r", "1", "--compile-only", RUN_KFP_ALLOW_FACTORIES="1").code == 0
    spec = yaml.safe_load((folder / "pipeline.yaml").read_text(encoding="utf-8"))
    assert sorted(spec["root"]["inputDefinitions"]["parameters"]) == ["bucket"]
    declared = spec["components"]["comp-fit"]["inputDefinitions"]["parameters"]
    defaults = {name: body.get("defaultValue") for name, body in declared.items()}
    assert defaults == {"bucket": None, "rounds": 3, "rate": 0.5, "mode": "fast", "deep": True, "note": None}


@pytest.mark.usefixtures("factories")
def test_an_input_that_a_parameter_fills_is_text(cli: Cli, write: Write) -> None:
    registry = '[containers.1]\nname = "count"\nfactory = "cached_pipeline:count"\n[params.rows]\ndefault = "5"\n'
    write("run-kfp.toml", REGISTRY + registry)
    (found,) = findings(cli, "-r", "1", RUN_KFP_ALLOW_FACTORIES="1")
    assert (found["severity"], found["code"]) == ("error", "RK-FACTORY")
    assert "'rows' is of type Integer" in found["message"]


# ── secrets of several lines, and values that nothing expanded ──────────────────────────────────────────────────────

SECRETS = f"""{REGISTRY}
[containers.1]
name = "serve"
image = "acme/serve:3"
args = [{{ secret = "session" }}, {{ param = "day" }}]
[secrets.session]
env = "SESSION_KEY"
file = "session.txt"
[params.day]
env = "DAY"
default = "today"
"""


@pytest.mark.parametrize(
    ("text", "severity", "words"),
    [
        ("-----BEGIN EXAMPLE KEY-----\nabc\n-----END EXAMPLE KEY-----\n", "error", "the first line of a key file"),
        ('{"type": "example",\n "name": "x"}\n', "error", "the first line of a JSON file"),
        ("abcdefgh12345678\nijklmnop12345678\n", "warning", "the first line of a file with more lines"),
        ("abcdefgh12345678\r\n\r\nijklmnop12345678", "warning", "the first line of a file with more lines"),
    ],
)
def test_a_secret_of_several_lines(cli: Cli, write: Write, text: str, severity: str, words: str) -> None:
    write("run-kfp.toml", SECRETS)
    write("secrets/session.txt", text).chmod(0o600)
    (found,) = findings(cli, "-r", "1")
    assert found["severity"] == severity
    assert words in found["message"]
    assert "one line" in found["hint"]
    assert "abc" not in json.dumps(found)


@pytest.mark.parametrize("text", ["abcdefgh12345678", "abcdefgh12345678\n\n\r\n  \n", '{"a": "b", "c": [1]}\n'])
def test_a_secret_of_one_line(cli: Cli, write: Write, text: str) -> None:
    write("run-kfp.toml", SECRETS)
    write("secrets/session.txt", text).chmod(0o600)
    assert told(findings(cli, "-r", "1")) == []


@pytest.mark.parametrize(
    "text",
    [
        "$(openssl rand -hex 32)",
        "`openssl rand -hex 32`",
        "run-$(date +%F)",
        "${DAY:-x}",
        "$(cat a):$(cat b)",
        "`date`",
    ],
)
def test_a_command_that_nothing_runs(cli: Cli, write: Write, text: str) -> None:
    write("run-kfp.toml", SECRETS)
    write(".env", f"SESSION_KEY='{text}'\nDAY='{text}'\n")
    assert told(findings(cli, "-r", "1")) == [("error", "RK-SECRET-VALUE"), ("warning", "RK-PARAM-TEMPLATE")]


@pytest.mark.parametrize("text", ["abcd$(efgh", "ab`cd`ef1234", "$5-and-more", "abcd$(e)fgh", "$2b$12$abcdefgh"])
def test_a_value_with_such_characters(cli: Cli, write: Write, text: str) -> None:
    write("run-kfp.toml", SECRETS)
    write(".env", f"SESSION_KEY='{text}'\nDAY='{text}'\n")
    assert told(findings(cli, "-r", "1")) == []


def test_a_script_as_a_value_is_no_template(cli: Cli, write: Write) -> None:
    write("run-kfp.toml", SECRETS)
    write(".env", "SESSION_KEY=abcdefgh12345678\nDAY='exec python x.py --day $(date +%F)'\n")
    assert told(findings(cli, "-r", "1")) == []


# ── addresses in the place of a file ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("address", "hint"),
    [
        (
            "gs://acme-bucket/pipeline.yaml",
            "run `gcloud storage cp gs://acme-bucket/pipeline.yaml .`, then -f pipeline.yaml",
        ),
        (
            "gs://acme-bucket/p$(id)",
            "run `gcloud storage cp 'gs://acme-bucket/p$(id)' pipeline.yaml`, then -f pipeline.yaml",
        ),
        ("https://example.com/a/p.json", "run `curl -fsSL -o p.json https://example.com/a/p.json`, then -f p.json"),
        ("https://[x", "run `curl -fsSL -o pipeline.yaml 'https://[x'`, then -f pipeline.yaml"),
        ("s3://acme/p.yml", "run `aws s3 cp s3://acme/p.yml p.yml`, then -f p.yml"),
    ],
)
def test_an_address_in_the_place_of_a_file(cli: Cli, write: Write, address: str, hint: str) -> None:
    write("run-kfp.toml", f'{REGISTRY}[containers.1]\nname = "x"\nimage = "acme/x:1"\n')
    (found,) = findings(cli, "-f", address)
    assert (found["code"], found["place"], found["hint"]) == ("RK-PIPELINE-FILE", address, hint)
    result = cli("-f", address, "--dry-run", **SETTINGS)
    assert result.code == 2
    assert f"{address} is an address; -f reads files of this machine" in result.err


def test_a_login_goes_to_googles_template_registry_only(cli: Cli, write: Write) -> None:
    write("run-kfp.toml", f'{REGISTRY}[containers.1]\nname = "x"\nimage = "acme/x:1"\n')
    (own,) = findings(cli, "-f", "https://us-central1-kfp.pkg.dev/acme/templates/p/v1")
    (other,) = findings(cli, "-f", "https://example.com/us-central1-kfp.pkg.dev/p/v1")
    assert "print-access-token" in own["hint"]
    assert "print-access-token" not in other["hint"]


# ── images ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_image_of_several_containers_is_told_once(cli: Cli, write: Write) -> None:
    images = {
        "fetch": "ghcr.io/acme/x:3",
        "train": "ghcr.io/acme/x:3",
        "push": "ghcr.io/acme/y:3",
        "end": "ghcr.io/acme/x:3",
    }
    tables = [
        f'[containers.{number}]\nname = "{name}"\nimage = "{image}"\ncommand = ["x"]\n'
        for number, (name, image) in enumerate(images.items(), 1)
    ]
    write("run-kfp.toml", REGISTRY + "".join(tables))
    first, other = sorted(findings(cli, "-r", "1-4"), key=lambda one: str(one["place"]))
    assert (first["code"], first["place"]) == ("RK-IMAGE-OTHER-HOST", "run-kfp.toml: containers.1.image")
    assert first["message"].endswith("(steps fetch, train, end)")
    assert (other["place"], "steps" in other["message"]) == ("run-kfp.toml: containers.3.image", False)


# ── variables of parameters that are secrets ────────────────────────────────────────────────────────────────────────

TAKING = f"""{REGISTRY}
[containers.1]
name = "x"
image = "acme/x:3"
command = ["x"]
args = [{{ param = "x" }}]
KEYS
[params.x]
env = "VARIABLE"
default = "harmless"
"""
TOKEN = "ghp_" + "".join(secrets.choice(string.ascii_letters) for _ in range(36))


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("AWS_SECRET_ACCESS_KEY", "any value at all"),
        ("GITHUB_TOKEN", "abcdefgh"),
        ("DB_PASSWORD", "abcdefgh"),
        ("WANDB_API_KEY", "abcdefgh"),
        ("MY_SECRET", "abcdefgh"),
        ("DAY", "a GitHub token"),
        ("SHARED", "abcdefgh"),
    ],
)
@pytest.mark.parametrize("keys", ["", 'cpu = { param = "x" }'])
@pytest.mark.parametrize("layer", ["environment", ".env"])
def test_a_secret_is_not_taken_for_a_parameter(
    cli: Cli, write: Write, variable: str, value: str, keys: str, layer: str
) -> None:
    value = TOKEN if value == "a GitHub token" else value
    secret = '[secrets.shared]\nenv = "SHARED"\n'
    write("run-kfp.toml", TAKING.replace("KEYS", keys).replace("VARIABLE", variable) + secret)
    environ = {variable: value} if layer == "environment" else {}
    write(".env", f"{variable}='{value}'\n" if layer == ".env" else "")
    found = findings(cli, "-r", "1", **environ)
    (one,) = [one for one in found if one["code"] == "RK-PARAM-SECRET"]
    assert (one["severity"], one["place"]) == ("error", f"{layer} {variable}")
    for call in (["--dry-run"], ["--local", "--engine", "process"]):
        result = cli("-r", "1", *call, **environ)
        assert result.code == 2
        assert f"parameter x would take the variable {variable}" in result.err
        assert value not in result.out + result.err
    # What is typed is the user's own word.
    assert told(findings(cli, "-r", "1", "-p", "x=2", **environ)) == []


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ROWS", "10"),
        ("EOS_TOKEN", "</s>"),
        ("MAX_TOKENS", "512"),
        ("KEY_ID", "a"),
        ("COMMIT", "a" * 40),
        ("GITHUB_TOKEN", ""),
    ],
)
def test_a_variable_that_is_no_secret_is_taken(cli: Cli, write: Write, variable: str, value: str) -> None:
    write("run-kfp.toml", TAKING.replace("KEYS", "").replace("VARIABLE", variable))
    assert told(findings(cli, "-r", "1", **{variable: value})) == []
    plan = cli("-r", "1", "--dry-run", "--json", **{variable: value})
    assert json.loads(plan.out)["parameter_values"]["x"]["value"] == (value or "harmless")
