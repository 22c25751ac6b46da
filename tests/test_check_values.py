"""Checks of what joins the file at the submission: parameters and secrets, and of the settings against each other."""

from __future__ import annotations

import json
import secrets
import string
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conftest import Cli
from dermaid import RUNNER
from fakes.certs import service_account_key
from run_kfp.findings import Finding, Severity
from run_kfp.limits import LONGEST_ARGUMENT
from run_kfp.preflight.context import CheckContext
from run_kfp.preflight.offline.identity import check_identity
from run_kfp.preflight.offline.values import check_values, check_written
from run_kfp.registry_file import PACKAGED
from run_kfp.secret_shapes import without_tokens
from run_kfp.settings import Setting, Settings
from specs import context_of_registry, context_of_spec, registry, step_spec

SECRET = """
[secrets.git_login]
env = "GIT_LOGIN"
[secrets.wandb]
env = "WANDB_API_KEY"
"""
ARGS = 'args = [{ param = "tag" }, { secret = "git_login" }, { secret = "wandb" }]'

LETTERS = string.ascii_letters + string.digits


def word(length: int) -> str:
    """Return random letters and digits: what looks like a token is made where it is needed, and written nowhere."""
    return "".join(secrets.choice(LETTERS) for _ in range(length))


def drawn(form: str) -> str:
    """Return `form` with N random letters and digits for each `{N}`.

    Rows of a parametrized test hold the form: processes that share out the tests must see the same names.
    """
    return form.format(*map(word, range(100)))


def codes(findings: Iterable[Finding], *, of: Severity | None = None) -> list[str]:
    return [found.code for found in findings if of in (None, found.severity)]


def only(findings: Iterable[Finding], code: str) -> Finding:
    (found,) = [found for found in findings if found.code == code]
    return found


RIGHT = {"GIT_LOGIN": f"https://somebody:{word(30)}", "WANDB_API_KEY": word(40)}


def with_secrets(**variables: str) -> CheckContext:
    return context_of_registry(registry(ARGS, SECRET), params={"tag": "v1"}, environ={**RIGHT, **variables})


# ── files of secrets ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no modes")
@pytest.mark.parametrize(
    ("mode", "told"), [(0o600, []), (0o400, []), (0o640, ["RK-SECRET-MODE"]), (0o644, ["RK-SECRET-MODE"])]
)
def test_secret_files_that_others_can_read_are_told_once(cli: Cli, folder: Path, mode: int, told: list[str]) -> None:
    (folder / "run-kfp.toml").write_text(
        registry(
            'args = [{ secret = "a_key" }, { secret = "b_key" }]',
            '[secrets.a_key]\nfile = "a.txt"\n[secrets.b_key]\nenv = "B_KEY"\nenv_file = "b.env"\n',
        ),
        encoding="utf-8",
    )
    (folder / "secrets").mkdir()
    for name, text in (("a.txt", word(30)), ("b.env", f"B_KEY={word(30)}")):
        (folder / "secrets" / name).write_text(f"{text}\n", encoding="utf-8")
        (folder / "secrets" / name).chmod(mode)
    flags = ("--project", "my-project-1", "--region", "us-east1", "--bucket", "my-bucket-1")

    found = cli("check", "-r", "1", "--offline", "--json", *flags, "--service-account", RUNNER).json["findings"]

    modes = [each for each in found if each["code"] == "RK-SECRET-MODE"]
    assert [each["code"] for each in modes] == told
    assert [each["severity"] for each in modes] == ["note"] * len(told)
    assert all(each["hint"] == "chmod 600 secrets/a.txt secrets/b.env" for each in modes)


# ── parameters ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_right_values_are_found_right() -> None:
    assert codes(check_values(with_secrets())) == ["RK-SECRET-VISIBLE"]


@pytest.mark.failure("F31", "RK-PARAM-LONG")
def test_a_value_that_is_longer_than_an_argument_can_be() -> None:
    text = registry('args = [{ param = "tag" }]')
    fits = context_of_registry(text, params={"tag": "y" * (LONGEST_ARGUMENT - 1)})
    assert codes(check_values(fits)) == []
    # Two bytes a character: what counts are bytes.
    too_long = context_of_registry(text, params={"tag": "é" * (LONGEST_ARGUMENT // 2)})
    found = only(check_values(too_long), "RK-PARAM-LONG")
    assert "131,072 bytes" in found.message
    assert found.place == "-t"


@pytest.mark.failure("F29", "RK-PARAM-NULL")
def test_a_default_of_null_is_told() -> None:
    spec = step_spec({}, inputs={"parameters": {"text": {"componentInputParameter": "text"}}})
    spec["root"]["inputDefinitions"] = {"parameters": {"text": {"parameterType": "STRING", "defaultValue": None}}}
    found = only(check_values(context_of_spec(spec)), "RK-PARAM-NULL")
    assert found.place == "pipeline.yaml: root.inputDefinitions.parameters.text"
    assert codes(check_values(context_of_spec(spec, params={"text": "x"}))) == []


def test_a_pipeline_that_takes_an_artifact_cannot_be_given_one() -> None:
    spec = step_spec({})
    kind = {"artifactType": {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"}}
    spec["root"]["inputDefinitions"] = {"artifacts": {"data": kind}}
    assert "'data'" in only(check_values(context_of_spec(spec)), "RK-ARTIFACT-INPUT").message
    spec["root"]["inputDefinitions"] = {"artifacts": {"data": {**kind, "isOptional": True}}}
    assert codes(check_values(context_of_spec(spec))) == []


@pytest.mark.parametrize("value", ["<your org>", "${ORG}", "$(ORG)", "changeme"])
def test_a_template_that_nobody_filled_in(value: str) -> None:
    context = context_of_registry(registry('args = [{ param = "tag" }]'), params={"tag": value})
    assert value in only(check_values(context), "RK-PARAM-TEMPLATE").message


def test_a_long_template_is_shortened() -> None:
    context = context_of_registry(registry('args = [{ param = "tag" }]'), params={"tag": f"<your {'x' * 5000}>"})
    assert len(only(check_values(context), "RK-PARAM-TEMPLATE").message) < 150


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        ("my tag", "white space"),
        ("v1\n", "a line break"),
        ("-x", "begins with -"),
        (".x", "begins with ."),
        ("a..b", "it has .."),
        ("a:b", "it has :"),
        ("a@{b", "it has @{"),
        ("a.lock", "ends with .lock"),
        ("a/", "ends with /"),
        ("a/.b", "begins with a dot"),
        ("@", "it is @"),
    ],
)
def test_a_tag_that_git_does_not_take(tag: str, said: str) -> None:
    context = context_of_registry(registry(ARGS, SECRET), params={"tag": tag}, environ=RIGHT)
    found = only(check_values(context), "RK-TAG-NAME")
    assert (found.severity, found.place) == (Severity.NOTE, "-t")
    assert said in found.message
    remote = '[check.git]\nremote = "https://git.example.org/x.git"\n'
    with_remote = context_of_registry(registry('args = [{ param = "tag" }]', remote), params={"tag": tag})
    assert said in only(check_values(with_remote), "RK-TAG-NAME").message
    without_git = context_of_registry(registry('args = [{ param = "tag" }]'), params={"tag": tag})
    assert "RK-TAG-NAME" not in codes(check_values(without_git))


@pytest.mark.parametrize("tag", ["v1", "dataset_v22", "2024-01-01", "a/b", "v1.0+x", "ünïcödé", "a@b"])
def test_a_tag_that_git_takes(tag: str) -> None:
    context = context_of_registry(registry(ARGS, SECRET), params={"tag": tag}, environ=RIGHT)
    assert codes(check_values(context)) == ["RK-SECRET-VISIBLE"]


@pytest.mark.parametrize(
    ("value", "said"), [("a\n", "ends with"), ("\na", "begins with"), ("a\r\nb", "carriage return")]
)
def test_a_line_break_at_the_end_of_a_value(value: str, said: str) -> None:
    context = context_of_registry(registry('args = [{ param = "tag" }]'), params={"tag": value})
    found = only(check_values(context), "RK-PARAM-LINE-BREAK")
    assert found.severity is Severity.NOTE
    assert said in found.message


@pytest.mark.parametrize("value", ["v1", "a<b", "x > y", "{}", "50%", "<a> and <b> b", "null", "a\nb"])
def test_text_that_only_looks_odd_is_none(value: str) -> None:
    context = context_of_registry(registry('args = [{ param = "tag" }]'), params={"tag": value})
    assert codes(check_values(context)) == []


# ── the form of secrets ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.failure("F38", "RK-SECRET-SHAPE")
@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("somebody:{20}", "does not start with https://"),
        ("http://somebody:{20}", "does not start with https://"),
        ("https://{20}", "names no token"),
        ("https://:{20}", "names no user"),
        ("https://somebody:{20}@", "ends with '@'"),
        ("https://somebody:{20}/", "ends with '/'"),
        ("https://somebody:ghp_{20}", "24 characters instead of 40"),
        ('"https://somebody:{20}"', "is in quotes"),
        ("https://[somebody:{20}", "is not an address"),
        ("https://somebody:pass {20}@github.com", "has a space"),
        ("https://me@example.com:{20}", "has an @ in its user"),
    ],
)
def test_a_git_login_of_another_form(form: str, said: str) -> None:
    login = drawn(form)
    found = only(check_values(with_secrets(GIT_LOGIN=login)), "RK-SECRET-SHAPE")
    assert said in found.message
    assert found.place == "environment GIT_LOGIN"
    assert login not in f"{found}"
    assert all(part not in f"{found}" for part in login.split(":") if len(part) >= 20)


@pytest.mark.parametrize(
    "form",
    [
        "https://somebody:{20}",
        "https://somebody:{20}@github.com",
        "https://somebody:ghp_{36}",
        "https://oauth2:glpat-{20}@gitlab.example.org",
        "https://x-access-token:{30}@git.example.org:8443",
    ],
)
def test_a_git_login_of_the_right_form(form: str) -> None:
    assert "RK-SECRET-SHAPE" not in codes(check_values(with_secrets(GIT_LOGIN=drawn(form))))


@pytest.mark.failure("F41", "RK-SECRET-SHAPE")
@pytest.mark.failure("F38", "RK-SECRET-SHAPE")
@pytest.mark.parametrize("form", ["{39}", "{39} x", "'{40}'", "wandb login {40}"])
def test_a_wandb_key_of_another_form(form: str) -> None:
    key = drawn(form)
    found = only(check_values(with_secrets(WANDB_API_KEY=key)), "RK-SECRET-SHAPE")
    assert key not in f"{found}"


@pytest.mark.parametrize("form", ["{40}", "{86}", "wandb_v1_{70}"])
def test_a_wandb_key_of_the_right_form(form: str) -> None:
    assert "RK-SECRET-SHAPE" not in codes(check_values(with_secrets(WANDB_API_KEY=drawn(form))))


@pytest.mark.failure("F36", "RK-SECRET-VISIBLE")
def test_who_can_read_secrets_is_told() -> None:
    found = only(check_values(with_secrets()), "RK-SECRET-VISIBLE")
    assert found.severity is Severity.NOTE
    assert found.place == "secrets.git_login, secrets.wandb"
    assert "2 secrets travel as parameters" in found.message


# ── secrets in clear ─────────────────────────────────────────────────────────────────────────────────────────────────


def never(text: str) -> bool:
    """No secret is known."""
    return False


TOKENS = {
    "a GitHub token": f"ghp_{word(36)}",
    "a GitLab token": f"glpat-{word(20)}",
    "a Hugging Face token": f"hf_{word(34)}",
    "an API key of Google": f"AIza{word(35)}",
    "an access key of AWS": "AKIA" + "".join(secrets.choice("ABCDEFGH234567") for _ in range(16)),
    "a Slack token": f"xoxb-{word(24)}",
    "a private key": "-----BEGIN " + "PRIVATE KEY-----",
    "a login with its password": f"https://me:{word(12)}@github.com/x/y.git",
    "a key of OpenAI": f"sk-proj-A1{word(40)}",
}


@pytest.mark.failure("F35", "RK-SECRET-WRITTEN")
@pytest.mark.parametrize("kind", TOKENS)
@pytest.mark.parametrize("form", ['args = ["--key={}"]', 'env = {{ KEY = "{}" }}', 'command = ["run", "{}"]'])
def test_what_looks_like_a_token_is_found_in_a_registry(kind: str, form: str) -> None:
    context = context_of_registry(registry(form.format(TOKENS[kind])))
    (found,) = check_written(context, never)
    assert f"contains what looks like {kind}, as plain text" == found.message
    assert found.place.startswith("run-kfp.toml: containers.1.")
    assert TOKENS[kind] not in f"{found}"


@pytest.mark.failure("F35", "RK-SECRET-WRITTEN")
@pytest.mark.parametrize("kind", TOKENS)
def test_what_looks_like_a_token_is_found_in_a_compiled_file(kind: str) -> None:
    spec = step_spec({})
    spec["root"]["inputDefinitions"] = {
        "parameters": {"text": {"parameterType": "STRING", "defaultValue": TOKENS[kind]}}
    }
    (found,) = check_written(context_of_spec(spec), never)
    assert found.place == "pipeline.yaml: root.inputDefinitions.parameters.text.defaultValue"
    assert "remove the default" in found.hint
    assert TOKENS[kind] not in f"{found}"


def test_a_login_of_a_database_is_found() -> None:
    context = context_of_registry(registry(f'env = {{ DB = "postgres://u:{word(12)}@h/db" }}'))
    assert codes(check_written(context, never)) == ["RK-SECRET-WRITTEN"]


# Letters and digits in turns, as in what is drawn; drawn anew for each run.
DRAWN = "".join(secrets.choice(string.ascii_lowercase) + secrets.choice(string.digits) for _ in range(20))


@pytest.mark.failure("F35", "RK-SECRET-WRITTEN")
@pytest.mark.parametrize(
    ("form", "severity"),
    [
        ('env = {{ WANDB_API_KEY = "{}" }}', Severity.WARNING),
        ('env = {{ AWS_SECRET_ACCESS_KEY = "{}/+" }}', Severity.WARNING),
        ('env = {{ DB_PASSWORD = "{}" }}', Severity.WARNING),
        ('env = {{ DB_PASSWORD = "ordinary-words" }}', Severity.NOTE),
        ('args = ["--wandb-api-key", "{}"]', Severity.WARNING),
        ('args = ["--apiKey={}"]', Severity.WARNING),
        ('command = ["env", "TOKEN={}", "run"]', Severity.WARNING),
    ],
)
def test_a_name_says_that_its_value_is_a_secret(form: str, severity: Severity) -> None:
    (found,) = check_written(context_of_registry(registry(form.format(DRAWN))), never)
    assert (found.code, found.severity) == ("RK-SECRET-WRITTEN", severity)
    assert found.place.startswith("run-kfp.toml: containers.1.")
    assert DRAWN not in f"{found}"


@pytest.mark.failure("F35", "RK-SECRET-WRITTEN")
def test_a_default_whose_name_says_that_it_is_a_secret() -> None:
    text = registry('args = [{ param = "api_key" }]', f'[params.api_key]\ndefault = "{DRAWN}"\n')
    assert only(check_written(context_of_registry(text), never), "RK-SECRET-WRITTEN").place.endswith(
        "params.api_key.default"
    )
    spec = step_spec({})
    spec["root"]["inputDefinitions"] = {"parameters": {"api_key": {"parameterType": "STRING", "defaultValue": DRAWN}}}
    found = only(check_written(context_of_spec(spec), never), "RK-SECRET-WRITTEN")
    assert found.severity is Severity.WARNING
    assert "remove the default" in found.hint


def test_what_looks_like_a_token_is_told_once_whatever_its_name() -> None:
    token = TOKENS["a GitHub token"]
    for text in (
        registry(f'args = ["--token={token}"]'),
        registry(f'env = {{ TOKEN = "{token}" }}'),
        registry('args = [{ param = "token" }]', f'[params.token]\ndefault = "{token}"\n'),
    ):
        (found,) = check_written(context_of_registry(text), never)
        assert found.severity is Severity.ERROR


@pytest.mark.parametrize(
    "env",
    [
        {"PAD_TOKEN": "<pad>"},
        {"SORT_KEY": DRAWN},
        {"API_KEY": "changeme"},
        {"API_KEY": "dummy"},
        {"API_KEY": "/run/secrets/k1a2b3c4d5e6f7g8"},
        {"API_KEY": "projects/p1/secrets/k1a2b3c4/versions/1"},
        {"API_TOKEN": "the-name-of-a-token-in-a-vault"},
        {"PASSWORD": "short"},
        {"PASSWORD": "password"},
        {"PASSWORD": "arn:aws:secretsmanager:x"},
        {"TOKEN": "$TOKEN_OF_SOMEBODY_1"},
        {"DB": "postgresql://postgres:postgres@db.example.org/x"},
    ],
)
def test_a_name_alone_makes_no_secret(env: Mapping[str, str]) -> None:
    entries = [{"name": name, "value": value} for name, value in env.items()]
    assert list(check_written(context_of_spec(step_spec({"env": entries})), never)) == []


@pytest.mark.parametrize("kind", TOKENS)
def test_tokens_are_cut_out_of_what_is_told(kind: str) -> None:
    token = TOKENS[kind]
    assert token not in without_tokens(f"parameter {token} is {token!r}")
    # Shortened, as in a finding.
    cut = without_tokens(f"is {token[:30]}…, which")
    assert kind == "a private key" or token[12:30] not in cut
    assert "***" in without_tokens(token)


@pytest.mark.parametrize(
    "text",
    [
        "a Git login is https://USER:PASSWORD@HOST",
        "http://localhost:8080/x",
        "us-docker.pkg.dev/a/sk-learn-image-for-training-pipelines:v1@sha256:" + "0" * 64,
        "asia-southeast1",
        "projects/p/locations/us-east1/keyRings/r/cryptoKeys/k",
        "ghp_",
        'write { secret = "NAME" }',
    ],
)
def test_other_texts_are_told_as_they_are(text: str) -> None:
    assert without_tokens(text) == text


@pytest.mark.failure("F35", "RK-SECRET-WRITTEN")
def test_the_value_of_a_known_secret_is_found_wherever_it_stands() -> None:
    key = word(20)
    default = registry('args = [{ param = "key" }]', f'[params.key]\ndefault = "{key}"\n')
    (found,) = check_written(context_of_registry(default), lambda text: key in text)
    assert found.place == "run-kfp.toml: params.key.default"
    other = registry("", f"[containers.2]\nname = 'two'\nimage = 'a/b:1'\nargs = ['{key}']\n")
    (found,) = check_written(context_of_registry(other), lambda text: key in text)
    assert found.place == "run-kfp.toml: containers.2"


@pytest.mark.parametrize(
    "text",
    [
        "https://$LOGIN@github.com/x/y.git",
        "https://user:${TOKEN}@github.com",
        "https://<user>:<token>@github.com",
        "https://example.org:8443/a@b",
        "git clone ${1}@github.com/a/b",
        "sha256:" + "0123456789abcdef" * 4,
        "ghp_short",
        "sk-learn",
        "AIzaX",
        "us-docker.pkg.dev/a/b/c@sha256:" + "0" * 64,
    ],
)
def test_what_is_no_token_is_not_taken_for_one(text: str) -> None:
    assert list(check_written(context_of_registry(registry(f"args = ['{text}']")), never)) == []


# ── settings against each other ──────────────────────────────────────────────────────────────────────────────────────

SETTINGS = {
    "project": "test-project",
    "region": "us-east1",
    "bucket": "test-bucket",
    "service_account": RUNNER,
}


def identity(settings: Mapping[str, str]) -> list[Finding]:
    together: dict[str, Any] = {**SETTINGS, **settings}
    context = context_of_registry(registry(""), **together)
    return [found for found in check_identity(context, {}) if found.code != "RK-LOGIN-MISSING"]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"project": "123456789012"},
        {
            "project": "example.com:legacy-app",
            "service_account": "runner@legacy-app.example.com.iam.gserviceaccount.com",
        },
        {"service_account": "runner-01@test-project.iam.gserviceaccount.com"},
        {"service_account": "test-project@appspot.gserviceaccount.com"},
        {"bucket": "data.example.org"},
        {"bucket": "a_b-c.1"},
        {"pipeline_root": "gs://other-bucket/root"},
        {"network": "projects/123/global/networks/default"},
        {"encryption_key": "projects/p/locations/us-east1/keyRings/r/cryptoKeys/k"},
        {"api_endpoint": "us-east1-aiplatform.googleapis.com"},
        {"api_endpoint": "127.0.0.1:8443"},
        {"api_endpoint": "aiplatform.googleapis.com"},
        {"api_endpoint": "aiplatform.us-east1.rep.googleapis.com"},
        {"api_endpoint": "us-east1-aiplatform-mine.p.googleapis.com"},
        {"api_endpoint": "aiplatform.example.com"},
        {"bucket": "churn-data", "pipeline_root": "gs://churn-runs/root"},
        {"bucket": "flowers-1", "pipeline_root": "gs://flowers-2/root"},
        {"bucket": "data-dev", "pipeline_root": "gs://data-prod/root"},
        {"bucket": "your-car-rides"},
    ],
)
def test_right_settings_are_found_right(settings: dict[str, str]) -> None:
    assert identity(settings) == []


_TEMPLATE = ("RK-SETTING-TEMPLATE", "looks like a placeholder")


@pytest.mark.parametrize(
    ("settings", "code", "said"),
    [
        pytest.param(
            {"service_account": "runner@other-project.iam.gserviceaccount.com"},
            "RK-ACCOUNT-PROJECT",
            "'other-project'",
            marks=pytest.mark.failure("F65", "RK-ACCOUNT-PROJECT"),
        ),
        pytest.param(
            {"service_account": "Run@test-project.iam.gserviceaccount.com"},
            "RK-ACCOUNT-FORM",
            "'Run'",
            marks=pytest.mark.failure("F65", "RK-ACCOUNT-FORM"),
        ),
        (
            {"service_account": "service-12@gcp-sa-aiplatform.iam.gserviceaccount.com"},
            "RK-ACCOUNT-FORM",
            "Google service",
        ),
        pytest.param(
            {"service_account": "12-compute@developer.gserviceaccount.com"},
            "RK-ACCOUNT-DEFAULT",
            "default account",
            marks=pytest.mark.failure("F67", "RK-ACCOUNT-DEFAULT"),
        ),
        ({"bucket": "x" * 64}, "RK-BUCKET-NAME", "64 characters"),
        ({"bucket": "192.168.1.1"}, "RK-BUCKET-NAME", "IP address"),
        ({"bucket": "my-google-data"}, "RK-BUCKET-NAME", "google"),
        ({"bucket": f"a.{'x' * 64}"}, "RK-BUCKET-NAME", "between dots"),
        ({"pipeline_root": "gs://goog-data/x"}, "RK-BUCKET-NAME", "goog"),
        ({"network": "projects/test-project/global/networks/default"}, "RK-NETWORK-NUMBER", "number"),
        ({"encryption_key": "projects/p/locations/global/keyRings/r/cryptoKeys/k"}, "RK-KMS-REGION", "global"),
        ({"api_endpoint": "us-west1-aiplatform.googleapis.com"}, "RK-ENDPOINT-REGION", "us-west1"),
        ({"api_endpoint": "us-east1-aiplatfrom.googleapis.com"}, "RK-ENDPOINT-HOST", "aiplatfrom"),
        ({"api_endpoint": "us-east1-aiplatform.googleapi.com"}, "RK-ENDPOINT-HOST", "googleapi.com"),
        ({"bucket": "churn-data", "pipeline_root": "gs://chrun-data/root"}, "RK-BUCKET-TWO", "'chrun-data'"),
        ({"bucket": "churn-data", "pipeline_root": "gs://churn-dat/root"}, "RK-BUCKET-TWO", "'churn-dat'"),
        ({"bucket": "churn-data", "pipeline_root": "gs://churn-date"}, "RK-BUCKET-TWO", "'churn-date'"),
        ({"project": "123456", "service_account": "runner@your-project.iam.gserviceaccount.com"}, *_TEMPLATE),
        ({"pipeline_root": "gs://your-bucket-name/root"}, *_TEMPLATE),
        ({"network": "projects/12/global/networks/your-vpc"}, *_TEMPLATE),
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, str], code: str, said: str) -> None:
    (found,) = identity(settings)
    assert found.code == code
    assert said in found.message
    assert found.hint


def test_a_project_of_an_example_is_told_with_its_account() -> None:
    account = "pipeline-runner@your-project.iam.gserviceaccount.com"
    told = identity({"project": "your-project", "service_account": account})
    assert [(one.code, one.place) for one in told] == [
        ("RK-SETTING-TEMPLATE", "--project"),
        ("RK-SETTING-TEMPLATE", "--service-account"),
    ]


def test_an_account_of_a_misspelt_project() -> None:
    (found,) = identity({"service_account": "runner@test-projct.iam.gserviceaccount.com"})
    assert found.hint == "did you mean runner@test-project.iam.gserviceaccount.com?"


def test_settings_of_the_registry_have_their_key_as_place() -> None:
    key = "projects/p/locations/global/keyRings/r/cryptoKeys/k"
    text = registry("", f'[settings]\nregion = "us-east1"\nencryption_key = "{key}"')
    (found,) = [one for one in check_identity(context_of_registry(text), {}) if one.code == "RK-KMS-REGION"]
    assert found.place == "run-kfp.toml: settings.encryption_key"


def test_a_region_that_nobody_chose_is_told_of_a_finished_file() -> None:
    spec = step_spec({})
    context = context_of_spec(spec, registry_text=registry("", '[settings]\nregion = "us-east1"'))
    place = f"{PACKAGED}: settings.region"
    packaged = Settings({"region": Setting("us-east1", f"[settings] of {PACKAGED}", place)})

    def told(context: CheckContext) -> list[tuple[str, str]]:
        return [(one.code, one.place) for one in check_identity(context, {}) if "REGION" in one.code]

    assert told(replace(context, settings=packaged)) == [("RK-REGION-PACKAGED", place)]
    assert told(context) == [], "the region of a registry of one's own"
    assert told(replace(context_of_registry(None, ("3",)), settings=packaged)) == [], "the packaged containers"


def login(file: Path | None, folder: Path, *, project: str = "test-project") -> list[Finding]:
    environ = {"HOME": str(folder), **({"GOOGLE_APPLICATION_CREDENTIALS": str(file)} if file else {})}
    settings: dict[str, Any] = {
        **SETTINGS,
        "project": project,
        "service_account": f"runner@{project}.iam.gserviceaccount.com",
    }
    context = context_of_registry(registry(""), environ=environ, **settings)
    return list(check_identity(context, environ))


@pytest.mark.failure("F75", "RK-LOGIN-MISSING")
def test_no_login_is_told_where_none_can_be_found(tmp_path: Path) -> None:
    assert codes(login(None, tmp_path)) == ["RK-LOGIN-MISSING"]
    adc = tmp_path / ".config/gcloud/application_default_credentials.json"
    adc.parent.mkdir(parents=True)
    adc.write_text("{}")
    assert login(None, tmp_path) == []


@pytest.mark.failure("F75", "RK-LOGIN-FILE")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "which does not exist"),
        ("", "not JSON"),
        ("[]", "not a key"),
        ("{}", "no type"),
        ('{"type": "service_account"}', "without client_email, private_key, token_uri"),
    ],
)
def test_a_key_file_that_is_none(tmp_path: Path, text: str | None, said: str) -> None:
    file = tmp_path / "key.json"
    if text is not None:
        file.write_text(text)
    (found,) = login(file, tmp_path)
    assert found.code == "RK-LOGIN-FILE"
    assert said in found.message
    assert str(file) in found.message
    assert found.place == "environment GOOGLE_APPLICATION_CREDENTIALS"


def test_a_key_in_the_place_of_its_file_is_not_shown(tmp_path: Path) -> None:
    key = service_account_key(project="test-project", email=RUNNER)
    for text in (json.dumps(key), key["private_key"], secrets.token_urlsafe(40)):
        (found,) = login(Path(text), tmp_path)
        assert found.code == "RK-LOGIN-FILE"
        assert found.message == "names a text that is not the path of a key file, which does not exist"


def test_a_key_whose_private_key_was_replaced(tmp_path: Path) -> None:
    file = tmp_path / "key.json"
    file.write_text(json.dumps({**service_account_key(project="test-project", email=RUNNER), "private_key": "?"}))
    assert "private_key is none" in only(login(file, tmp_path), "RK-LOGIN-FILE").message


def test_a_key_of_another_project_is_worth_a_line(tmp_path: Path) -> None:
    file = tmp_path / "key.json"
    key = service_account_key(project="test-project", email=RUNNER)
    file.write_text(json.dumps(key))
    assert login(file, tmp_path) == []
    (found,) = login(file, tmp_path, project="prod-project")
    assert found.code == "RK-LOGIN-PROJECT"
    assert found.severity is Severity.NOTE
    assert key["private_key"] not in f"{found}"
