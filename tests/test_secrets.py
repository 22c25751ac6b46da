"""Where secrets are looked for, which values are refused, and which are not even asked for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from conftest import Cli, Result, Write
from dermaid import SETTINGS, Canaries
from run_kfp.secrets import value_fault


def places(result: Result) -> dict[str, str]:
    assert result.code == 0, result.err
    values = result.json["parameter_values"]
    return {name: found["from"] for name, found in values.items() if "secret" in found}


def plan(cli: Cli, *args: str, **variables: str) -> Result:
    return cli("-r", "4", "-t", "v1", *args, "--dry-run", "--json", **{**SETTINGS, **variables})


def test_environment_then_file_then_env_file(cli: Cli, write: Write) -> None:
    canaries = Canaries()
    for name, text in canaries.files.items():
        write(f"secrets/{name}", text)

    assert places(plan(cli)) == {"git_login": "secrets/git.env (GIT_LOGIN=…)", "wandb_api_key": "secrets/wandb.txt"}
    assert places(plan(cli, **canaries.variables)) == {
        "git_login": "environment GIT_LOGIN",
        "wandb_api_key": "environment WANDB_API_KEY",
    }
    write(".env", f"WANDB_API_KEY={canaries.wandb}\n")
    assert places(plan(cli))["wandb_api_key"] == ".env WANDB_API_KEY"


def test_the_env_file_may_lie_beside_the_registry(cli: Cli, write: Write) -> None:
    canaries = Canaries()
    write("git.env", canaries.files["git.env"])

    found = places(plan(cli, WANDB_API_KEY=canaries.wandb))

    assert found["git_login"] == "git.env (GIT_LOGIN=…)"


def test_the_secrets_folder_is_chosen_by_flag_variable_and_place(cli: Cli, write: Write, folder: Path) -> None:
    canaries = Canaries()
    for name in ("flag", "variable", "secrets"):
        for file, text in canaries.files.items():
            write(f"{name}/{file}", text)
    (folder.parent / "secrets").mkdir()

    assert places(plan(cli))["wandb_api_key"] == "secrets/wandb.txt"
    assert places(plan(cli, RUN_KFP_SECRETS="variable"))["wandb_api_key"] == "variable/wandb.txt"
    flag = places(plan(cli, "--secrets-dir", "flag", RUN_KFP_SECRETS="variable"))
    assert flag["wandb_api_key"] == "flag/wandb.txt"
    missing = plan(cli, "--secrets-dir", "nowhere")
    assert missing.code == 2
    assert "--secrets-dir names 'nowhere', which is not a folder" in missing.err


def test_the_folder_above_is_found(cli: Cli, folder: Path) -> None:
    above = folder.parent / "secrets"
    above.mkdir()
    for name, text in Canaries().files.items():
        (above / name).write_text(text)

    assert places(plan(cli))["wandb_api_key"] == "../secrets/wandb.txt"


def test_a_missing_secret_names_every_place(cli: Cli) -> None:
    result = plan(cli)

    assert result.code == 2
    for place in (
        "environment WANDB_API_KEY",
        ".env WANDB_API_KEY",
        "secrets/wandb.txt",
        "environment GIT_LOGIN",
        "secrets/git.env (GIT_LOGIN=…)",
        "git.env (GIT_LOGIN=…)",
    ):
        assert place in result.err


def test_secrets_of_other_containers_are_not_asked_for(cli: Cli) -> None:
    assert cli("-r", "1", "--dry-run", **SETTINGS).code == 0
    other = cli("-r", "3", "-t", "v1", "--dry-run", **SETTINGS)
    assert "git_login" in other.err
    assert "wandb" not in other.err


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"\xef\xbb\xbf%s\r\nsecond line\n", True),
        (b"%s", True),
        (b"%s\n", True),
        (b"%s\rold Mac\r", True),
        (b"\n%s\n", False),
        (b"%s \n", False),
        (b"\xff%s\n", False),
    ],
)
def test_the_first_line_of_a_file_is_the_value(cli: Cli, folder: Path, content: bytes, value: bool) -> None:
    canaries = Canaries()
    (folder / "secrets").mkdir()
    (folder / "secrets/wandb.txt").write_bytes(content.replace(b"%s", canaries.wandb.encode()))

    result = plan(cli, GIT_LOGIN=canaries.git_login)

    assert (result.code == 0) is value, result.err
    assert canaries.wandb not in result.out + result.err


def test_a_secret_after_p_is_refused_without_being_repeated(cli: Cli) -> None:
    canaries = Canaries()

    result = plan(cli, "-p", f"wandb_api_key={canaries.wandb}", GIT_LOGIN=canaries.git_login)

    assert result.code == 2
    assert "wandb_api_key is a secret" in result.err
    assert "the variable WANDB_API_KEY or wandb.txt in the secrets folder" in result.err
    assert canaries.wandb not in result.out + result.err


@pytest.mark.parametrize(
    "value",
    [
        "",
        "   ",
        "two\nlines",
        "two\rlines",
        " leading",
        "trailing ",
        "a\0b",
        "a\udcffb",
        "<paste your W&B key here>",
        "https://<github login>:<github token>",
        "https://somebody:<token>",
        "https://<login>:<token>@github.com",
        "${WANDB_API_KEY}",
        "$WANDB_API_KEY",
        "https://${LOGIN}:${TOKEN}",
        "changeme",
        "CHANGE-ME",
        "your-api-key",
        "Your key here",
        "xxxxxxxx",
        "x",
        "seven77",
        "  ab      ",
        "...",
        "TODO",
        "placeholder",
    ],
)
def test_a_value_that_cannot_be_right(value: str) -> None:
    assert value_fault(value) is not None


@pytest.mark.parametrize(
    "value",
    [
        "0123456789abcdef" * 2,
        "https://somebody:" + "a1B2" * 9,
        "p<a>ss w0rd",
        "a<b>c<d>e",
        "$ecret{1}",
        "half a $",
        "yours-truly-7",
        "é漢字和é漢字和",
        '"quoted"',
        "examplekey1",
        "-dash-dash",
        "eight888",
        "a=b=c=d=e",
    ],
)
def test_a_value_that_may_be_right(value: str) -> None:
    assert value_fault(value) is None


@pytest.mark.parametrize(
    ("content", "words", "hint"),
    [
        ("\nKEY\n", "has an empty first line", "move the value to the first line"),
        ("\n\n", "is empty", "set the value there"),
        ("short", "is shorter than 8 characters", "set the complete value"),
        (" KEY", "begins or ends with white space", "remove the white space around it"),
        ("WANDB_API_KEY=KEY", "begins with WANDB_API_KEY=", "only the value is left"),
        ("WANDB_API_KEY: KEY", "begins with WANDB_API_KEY:", "only the value is left"),
        ("<your key>", "is still a placeholder", "replace it with the real value"),
        ("{\n", "is the first line of a JSON file", "put the JSON on one line"),
    ],
)
def test_each_fault_of_a_value_has_its_next_step(cli: Cli, write: Write, content: str, words: str, hint: str) -> None:
    canaries = Canaries()
    write("secrets/wandb.txt", re.sub(r"\bKEY\b", canaries.wandb, content))

    result = plan(cli, GIT_LOGIN=canaries.git_login)

    assert result.code == 2
    assert f"secret wandb_api_key (secrets/wandb.txt) {words}" in result.err
    assert hint in result.err
    assert canaries.wandb not in result.out + result.err


def test_a_folder_in_the_place_of_a_secret_is_told(cli: Cli, write: Write) -> None:
    write("secrets/wandb.txt/key", "x")

    result = plan(cli, GIT_LOGIN=Canaries().git_login)

    assert result.code == 2
    assert "cannot read the secret file secrets/wandb.txt: it is a folder" in result.err
    assert "permissions" not in result.err


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("WANDB_API_KEY: VALUE", "a colon instead of ="),
        ('WANDB_API_KEY="VALUE', "missing closing quote"),
        ("set WANDB_API_KEY=VALUE", "a Windows command before the name"),
        ("WANDB API KEY=VALUE", "a space in the name"),
        ("VALUE", "= is missing"),
        ("WANDB_API_KEY='VALUE' x", "quote values with spaces"),
    ],
)
def test_a_line_of_an_env_file_is_told_without_its_value(cli: Cli, write: Write, line: str, told: str) -> None:
    canaries = Canaries()
    write(".env", f"A=1\n\n{line.replace('VALUE', canaries.wandb)}\nGIT_LOGIN={canaries.git_login}\n")

    for args in (["--dry-run"], ["--compile-only"]):
        result = cli("-r", "4", "-t", "v1", *args, **SETTINGS)
        assert result.code == 2
        assert ".env: line 3: is not NAME=VALUE" in result.err
        assert told in result.err
        assert canaries.wandb not in result.out + result.err
    checked = cli("check", "-r", "4", "-t", "v1", "--offline", **SETTINGS)
    assert "secret git_login is missing" not in checked.out, "the other lines are read"
    assert canaries.wandb not in checked.out + checked.err
