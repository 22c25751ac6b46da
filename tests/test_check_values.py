"""Checks of what joins the file at the submission: parameters and secrets, and of the settings against each other."""

from __future__ import annotations

import json
import secrets
import string
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from dermaid import RUNNER
from fakes.certs import service_account_key
from run_kfp.preflight.findings import Finding, Severity
from run_kfp.preflight.identity import check_identity
from run_kfp.preflight.subject import Subject
from run_kfp.preflight.values import LONGEST_ARGUMENT, check_values, check_written
from specs import registry, step_spec, subject_of_registry, subject_of_spec

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


def codes(findings: Iterable[Finding], *, of: Severity | None = None) -> list[str]:
    return [found.code.name for found in findings if of in (None, found.severity)]


def only(findings: Iterable[Finding], code: str) -> Finding:
    (found,) = [found for found in findings if found.code.name == code]
    return found


RIGHT = {"GIT_LOGIN": f"https://somebody:{word(30)}", "WANDB_API_KEY": word(40)}


def with_secrets(**variables: str) -> Subject:
    return subject_of_registry(registry(ARGS, SECRET), params={"tag": "v1"}, environ={**RIGHT, **variables})


# ── parameters ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_right_values_are_found_right() -> None:
    assert codes(check_values(with_secrets())) == ["RK-SECRET-VISIBLE"]


@pytest.mark.failure("F31", "RK-PARAM-LONG")
def test_a_value_that_is_longer_than_an_argument_can_be() -> None:
    text = registry('args = [{ param = "tag" }]')
    fits = subject_of_registry(text, params={"tag": "y" * (LONGEST_ARGUMENT - 1)})
    assert codes(check_values(fits)) == []
    # Two bytes a character: what counts are bytes.
    too_long = subject_of_registry(text, params={"tag": "é" * (LONGEST_ARGUMENT // 2)})
    found = only(check_values(too_long), "RK-PARAM-LONG")
    assert "131,072 bytes" in found.message
    assert found.place == "-t"


@pytest.mark.failure("F29", "RK-PARAM-NULL")
def test_a_default_of_null_is_told() -> None:
    spec = step_spec({}, inputs={"parameters": {"text": {"componentInputParameter": "text"}}})
    spec["root"]["inputDefinitions"] = {"parameters": {"text": {"parameterType": "STRING", "defaultValue": None}}}
    found = only(check_values(subject_of_spec(spec)), "RK-PARAM-NULL")
    assert found.place == "pipeline.yaml: root.inputDefinitions.parameters.text"
    assert codes(check_values(subject_of_spec(spec, params={"text": "x"}))) == []


def test_a_pipeline_that_takes_an_artifact_cannot_be_given_one() -> None:
    spec = step_spec({})
    kind = {"artifactType": {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"}}
    spec["root"]["inputDefinitions"] = {"artifacts": {"data": kind}}
    assert "'data'" in only(check_values(subject_of_spec(spec)), "RK-ARTIFACT-INPUT").message
    spec["root"]["inputDefinitions"] = {"artifacts": {"data": {**kind, "isOptional": True}}}
    assert codes(check_values(subject_of_spec(spec))) == []


@pytest.mark.parametrize("value", ["<your org>", "${ORG}", "$(ORG)", "..."])
def test_a_template_that_nobody_filled_in(value: str) -> None:
    subject = subject_of_registry(registry('args = [{ param = "tag" }]'), params={"tag": value})
    assert value in only(check_values(subject), "RK-PARAM-TEMPLATE").message


@pytest.mark.parametrize("value", ["v1", "a<b", "x > y", "{}", "50%", "<a> and <b> b"])
def test_text_that_only_looks_odd_is_none(value: str) -> None:
    subject = subject_of_registry(registry('args = [{ param = "tag" }]'), params={"tag": value})
    assert codes(check_values(subject)) == []


# ── the form of secrets ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.failure("F38", "RK-SECRET-SHAPE")
@pytest.mark.parametrize(
    ("login", "said"),
    [
        (f"somebody:{word(20)}", "does not begin with https://"),
        (f"http://somebody:{word(20)}", "does not begin with https://"),
        (f"https://{word(20)}", "names no token"),
        (f"https://:{word(20)}", "names no user"),
        (f"https://somebody:{word(20)}@", "ends with '@'"),
        (f"https://somebody:{word(20)}/", "ends with '/'"),
        (f"https://somebody:ghp_{word(20)}", "24 characters instead of 40"),
        (f'"https://somebody:{word(20)}"', "stands in quotes"),
        (f"https://[somebody:{word(20)}", "is no address"),
    ],
)
def test_a_git_login_of_another_form(login: str, said: str) -> None:
    found = only(check_values(with_secrets(GIT_LOGIN=login)), "RK-SECRET-SHAPE")
    assert said in found.message
    assert found.place == "environment GIT_LOGIN"
    assert login not in f"{found}"
    assert all(part not in f"{found}" for part in login.split(":") if len(part) >= 20)


@pytest.mark.parametrize(
    "login",
    [
        f"https://somebody:{word(20)}",
        f"https://somebody:{word(20)}@github.com",
        f"https://somebody:ghp_{word(36)}",
        f"https://oauth2:glpat-{word(20)}@gitlab.example.org",
        f"https://x-access-token:{word(30)}@git.example.org:8443",
    ],
)
def test_a_git_login_of_the_right_form(login: str) -> None:
    assert "RK-SECRET-SHAPE" not in codes(check_values(with_secrets(GIT_LOGIN=login)))


@pytest.mark.failure("F41", "RK-SECRET-SHAPE")
@pytest.mark.failure("F38", "RK-SECRET-SHAPE")
@pytest.mark.parametrize("key", [word(39), word(39) + " x", f"'{word(40)}'", f"wandb login {word(40)}"])
def test_a_wandb_key_of_another_form(key: str) -> None:
    found = only(check_values(with_secrets(WANDB_API_KEY=key)), "RK-SECRET-SHAPE")
    assert key not in f"{found}"


@pytest.mark.parametrize("key", [word(40), word(86), f"wandb_v1_{word(70)}"])
def test_a_wandb_key_of_the_right_form(key: str) -> None:
    assert "RK-SECRET-SHAPE" not in codes(check_values(with_secrets(WANDB_API_KEY=key)))


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
}


@pytest.mark.failure("F35", "RK-SECRET-WRITTEN")
@pytest.mark.parametrize("kind", TOKENS)
@pytest.mark.parametrize("form", ['args = ["--key={}"]', 'env = {{ KEY = "{}" }}', 'command = ["run", "{}"]'])
def test_what_looks_like_a_token_is_found_in_a_registry(kind: str, form: str) -> None:
    subject = subject_of_registry(registry(form.format(TOKENS[kind])))
    (found,) = check_written(subject, never)
    assert f"holds what looks like {kind}, in clear" == found.message
    assert found.place.startswith("run-kfp.toml: containers.1.")
    assert TOKENS[kind] not in f"{found}"


@pytest.mark.failure("F35", "RK-SECRET-WRITTEN")
@pytest.mark.parametrize("kind", TOKENS)
def test_what_looks_like_a_token_is_found_in_a_compiled_file(kind: str) -> None:
    spec = step_spec({})
    spec["root"]["inputDefinitions"] = {
        "parameters": {"text": {"parameterType": "STRING", "defaultValue": TOKENS[kind]}}
    }
    (found,) = check_written(subject_of_spec(spec), never)
    assert found.place == "pipeline.yaml: root.inputDefinitions.parameters.text.defaultValue"
    assert TOKENS[kind] not in f"{found}"


@pytest.mark.failure("F35", "RK-SECRET-WRITTEN")
def test_the_value_of_a_known_secret_is_found_wherever_it_stands() -> None:
    key = word(20)
    default = registry('args = [{ param = "key" }]', f'[params.key]\ndefault = "{key}"\n')
    (found,) = check_written(subject_of_registry(default), lambda text: key in text)
    assert found.place == "run-kfp.toml: params.key.default"
    other = registry("", f"[containers.2]\nname = 'two'\nimage = 'a/b:1'\nargs = ['{key}']\n")
    (found,) = check_written(subject_of_registry(other), lambda text: key in text)
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
    assert list(check_written(subject_of_registry(registry(f"args = ['{text}']")), never)) == []


# ── settings against each other ──────────────────────────────────────────────────────────────────────────────────────

SETTINGS = {
    "project": "test-project",
    "region": "us-east1",
    "bucket": "test-bucket",
    "service_account": RUNNER,
}


def identity(settings: Mapping[str, str]) -> list[Finding]:
    together: dict[str, Any] = {**SETTINGS, **settings}
    subject = subject_of_registry(registry(""), **together)
    return [found for found in check_identity(subject, {}) if found.code.name != "RK-LOGIN-MISSING"]


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
    ],
)
def test_right_settings_are_found_right(settings: dict[str, str]) -> None:
    assert identity(settings) == []


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
            "Google's own",
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
        ({"bucket": "a..b"}, "RK-BUCKET-NAME", "empty"),
        ({"pipeline_root": "gs://goog-data/x"}, "RK-BUCKET-NAME", "goog"),
        ({"network": "projects/test-project/global/networks/default"}, "RK-NETWORK-NUMBER", "number"),
        ({"encryption_key": "projects/p/locations/global/keyRings/r/cryptoKeys/k"}, "RK-KMS-REGION", "global"),
        ({"api_endpoint": "us-west1-aiplatform.googleapis.com"}, "RK-ENDPOINT-REGION", "us-west1"),
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, str], code: str, said: str) -> None:
    (found,) = identity(settings)
    assert found.code.name == code
    assert said in found.message
    assert found.hint


def login(file: Path | None, folder: Path, *, project: str = "test-project") -> list[Finding]:
    environ = {"HOME": str(folder), **({"GOOGLE_APPLICATION_CREDENTIALS": str(file)} if file else {})}
    settings: dict[str, Any] = {
        **SETTINGS,
        "project": project,
        "service_account": f"runner@{project}.iam.gserviceaccount.com",
    }
    subject = subject_of_registry(registry(""), environ=environ, **settings)
    return list(check_identity(subject, environ))


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
        (None, "does not name a file"),
        ("", "not JSON"),
        ("[]", "no key"),
        ("{}", "no type"),
        ('{"type": "service_account"}', "without client_email, private_key, token_uri"),
    ],
)
def test_a_key_file_that_is_none(tmp_path: Path, text: str | None, said: str) -> None:
    file = tmp_path / "key.json"
    if text is not None:
        file.write_text(text)
    (found,) = login(file, tmp_path)
    assert found.code.name == "RK-LOGIN-FILE"
    assert said in found.message
    assert str(file) not in f"{found}"


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
    assert found.code.name == "RK-LOGIN-PROJECT"
    assert found.severity is Severity.NOTE
    assert key["private_key"] not in f"{found}"
