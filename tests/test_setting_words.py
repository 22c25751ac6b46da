"""What is said of settings, labels and lines of an env file, without a process: each row is a value and its words."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from run_kfp.errors import InputError
from run_kfp.findings import Finding
from run_kfp.registry import SettingsSection
from run_kfp.settings import RULES, Layers, Setting, Settings, load_settings, pairs, read_env_file, seconds, wrong_form
from run_kfp.settings.hints import misnamed, region_meant, suggest
from run_kfp.settings.rules import DEFAULT_TIMEOUT, LONGEST_TIME, label_faults


def words(fault: Finding) -> str:
    return f"{fault.place}: {fault.message} ({fault.code}) → {fault.hint}".rstrip(" →")


# ── forms ───────────────────────────────────────────────────────────────────────────────────────────────────────────

PROJECT = "a project id (6 to 30 lower-case letters, digits, dashes)"
BUCKET = "a bucket name without gs:// (lower-case letters, digits, dashes, underscores, dots)"
ROOT = "a folder such as gs://bucket/pipeline_root"
RUNNER = "an e-mail such as name@project.iam.gserviceaccount.com"
REGION = "a region such as us-east1"
PLACEHOLDER = "it is still a placeholder"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("project", "p12345"),
        ("project", "p" * 30),
        ("project", "1"),
        ("project", "example.com:p12345"),
        ("region", "us-east1"),
        ("bucket", "abc"),
        ("bucket", "a" * 222),
        ("bucket", "1.a_b-2"),
        ("service_account", "1@gserviceaccount.com"),
        ("pipeline_root", "gs://abc"),
        ("pipeline_root", "gs://abc/"),
        ("pipeline_root", "gs://abc/a/b"),
        ("network", "projects/1/global/networks/n"),
        ("encryption_key", "projects/p/locations/l/keyRings/r/cryptoKeys/k"),
        ("api_endpoint", "host"),
        ("api_endpoint", "Host.example:1"),
        ("api_endpoint", "host:65535"),
    ],
)
def test_a_value_of_the_right_form(name: str, value: str) -> None:
    assert wrong_form(name, value) == ""


@pytest.mark.parametrize(
    ("name", "value", "allowed", "broken"),
    [
        ("project", "<my project>", PROJECT, PLACEHOLDER),
        ("project", "${PROJECT}", PROJECT, PLACEHOLDER),
        ("project", "YOUR_GCP_PROJECT_ID", PROJECT, PLACEHOLDER),
        ("project", "MY-PROJECT", PROJECT, PLACEHOLDER),
        ("project", "REGION_NAME", PROJECT, PLACEHOLDER),
        ("project", " p12345", PROJECT, "it has white space around it"),
        ("project", "p12345\n", PROJECT, "it has white space around it"),
        ("project", "p1 2345", PROJECT, "it contains white space"),
        ("project", "P12345", PROJECT, "it has upper-case letters"),
        ("project", "p_12345", PROJECT, "it has invalid characters"),
        ("project", "-p12345", PROJECT, "it does not start with a letter"),
        ("project", "p12345-", PROJECT, "it ends with a dash"),
        ("project", "p1234", PROJECT, "it is shorter than 6 characters"),
        ("project", "", PROJECT, "it is shorter than 6 characters"),
        ("project", "p" * 31, PROJECT, "it is longer than 30 characters"),
        ("region", "us-east1-f", REGION, "it is a zone"),
        ("region", "EU", REGION, "it is several regions"),
        ("region", "Us-East1", REGION, "it has upper-case letters"),
        ("region", "east", REGION, ""),
        ("bucket", "gs:abc", BUCKET, "it is an address"),
        ("bucket", "http://abc", BUCKET, "it is an address"),
        ("bucket", "abc/", BUCKET, "it contains a slash; set a folder with pipeline_root"),
        ("bucket", "aBc", BUCKET, "it has upper-case letters"),
        ("bucket", "a+c", BUCKET, "it has invalid characters"),
        ("bucket", ".abc", BUCKET, "it does not start with a letter or digit"),
        ("bucket", "abc-", BUCKET, "it does not end with a letter or digit"),
        ("bucket", "ab", BUCKET, "it is shorter than 3 characters"),
        ("bucket", "a" * 223, BUCKET, "it is longer than 222 characters"),
        ("bucket", "a..c", BUCKET, ""),
        ("pipeline_root", "abc", ROOT, "it does not start with gs://"),
        ("pipeline_root", "gs://gs://abc", ROOT, "it starts with gs:// twice"),
        ("pipeline_root", "gs://", ROOT, "it has no bucket"),
        ("pipeline_root", "gs:///a", ROOT, "it has no bucket"),
        ("pipeline_root", "gs://abc//a", ROOT, "it contains an empty folder name (two slashes)"),
        ("pipeline_root", "gs://aBc/a", ROOT, "its bucket has upper-case letters"),
        ("pipeline_root", "gs://ab", ROOT, "its bucket name is invalid"),
        ("service_account", "a@b.com", RUNNER, ""),
    ],
)
def test_a_value_of_a_wrong_form(name: str, value: str, allowed: str, broken: str) -> None:
    told = wrong_form(name, value)

    assert told.partition(", which is not ")[2] == allowed + (f": {broken}" if broken else "")
    assert told.startswith("is '")


# ── what to write instead ───────────────────────────────────────────────────────────────────────────────────────────

SOME_KEY = "projects/p/locations/l/keyRings/r/cryptoKeys/k"
OWN = "name@my-project.iam.gserviceaccount.com"
NUMBER = "gcloud projects describe {} --format='value(projectNumber)'"


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("project", "projects/p12345/locations", "write 'p12345'"),
        ("project", "p", "find it: gcloud projects list"),
        ("region", "EU-WEST-1", "write 'europe-west1'"),
        ("region", "us east 4", "write 'us-east4'"),
        ("region", "moon-base1-c", "write 'moon-base1'"),
        ("region", "us", "set one region, such as us-central1, us-east1 or us-west1"),
        ("region", "EU", "set one region, such as europe-west1 or europe-west4"),
        ("region", "asia", "set one region, such as asia-east1 or asia-southeast1"),
        ("region", "global", "set one region, such as us-central1 or europe-west4"),
        ("region", "multi-region", "set one region, such as us-central1 or europe-west4"),
        ("region", "us-central", "add the number at the end, as in us-central1"),
        ("region", "central", "`run-kfp machines --json` lists the regions"),
        ("bucket", "gs:/abc", "write 'abc'"),
        ("bucket", "gs://gs://abc/a/b/", "write 'abc'; for a folder in it, set pipeline_root 'gs://abc/a/b'"),
        ("bucket", "https://console.cloud.google.com/storage/browser/abc", "write 'abc'"),
        (
            "bucket",
            "https://storage.googleapis.com/abc/a",
            "write 'abc'; for a folder in it, set pipeline_root 'gs://abc/a'",
        ),
        ("bucket", "ab", "find it: gcloud storage buckets list --project=my-project"),
        ("pipeline_root", "abc/a//b?x=1", "write 'gs://abc/a/b'"),
        ("pipeline_root", "gs://abc", "write 'gs://abc'"),
        ("pipeline_root", "https://storage.cloud.google.com/abc", "write 'gs://abc'"),
        ("pipeline_root", "minio://abc/a", "find it: gcloud storage buckets list --project=my-project"),
        ("service_account", f"<{OWN}>", f"write {OWN!r}"),
        ("service_account", f"projects/p/serviceAccounts/{OWN}", f"write {OWN!r}"),
        ("service_account", "a@p.iam.gserviceacount.com", "write 'a@p.iam.gserviceaccount.com'"),
        ("service_account", "a@p.iam", "write 'a@p.iam.gserviceaccount.com'"),
        ("service_account", "runner", "write 'runner@my-project.iam.gserviceaccount.com'"),
        ("service_account", "r" * 30, f"write '{'r' * 30}@my-project.iam.gserviceaccount.com'"),
        ("service_account", "r" * 31, "find it: gcloud iam service-accounts list --project=my-project"),
        ("service_account", "runn", "find it: gcloud iam service-accounts list --project=my-project"),
        (
            "service_account",
            "me@example.com",
            "steps cannot run as a user account; find it: gcloud iam service-accounts list --project=my-project",
        ),
        ("network", "/projects/1/global/networks/n/", "write 'projects/1/global/networks/n'"),
        (
            "network",
            "//compute.googleapis.com/compute/beta/projects/1/global/networks/n",
            "write 'projects/1/global/networks/n'",
        ),
        (
            "network",
            "my-net",
            f"write 'projects/NUMBER/global/networks/my-net'; the number: {NUMBER.format('my-project')}",
        ),
        (
            "network",
            "projects/1/regions/r/subnetworks/s",
            "set the network, not its subnetwork: gcloud compute networks list --project=my-project",
        ),
        ("network", "My Net", ""),
        ("encryption_key", f"//cloudkms.googleapis.com/v1/{SOME_KEY}/cryptoKeyVersions/3", f"write {SOME_KEY!r}"),
        (
            "encryption_key",
            "k",
            "find it: gcloud kms keys list --location=REGION --keyring=NAME --format='value(name)'"
            " --project=my-project",
        ),
        ("api_endpoint", "grpc://host:1/a/b", "write 'host:1'"),
        ("api_endpoint", "a b", ""),
    ],
)
def test_what_to_write_instead(name: str, value: str, hint: str) -> None:
    assert suggest(name, f" {value}\n", "my-project") == hint


@pytest.mark.parametrize(
    ("name", "value", "project", "hint"),
    [
        ("bucket", "ab", "", "find it: gcloud storage buckets list"),
        ("network", "n", "", f"write 'projects/NUMBER/global/networks/n'; the number: {NUMBER.format('PROJECT')}"),
        ("service_account", "runner", "", "find it: gcloud iam service-accounts list"),
        ("service_account", "runner", "123", "find it: gcloud iam service-accounts list --project=123"),
        ("service_account", "runner", "a.b:p12345", "find it: gcloud iam service-accounts list --project=a.b:p12345"),
    ],
)
def test_what_to_write_depends_on_the_project(name: str, value: str, project: str, hint: str) -> None:
    assert suggest(name, value, project) == hint


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("us-east1", "us-east1"),
        (" US_EAST_1 ", "us-east1"),
        ("useast12", "us-east12"),
        ("ap-south-1a", "asia-south1"),
        ("eu central 2 f", "europe-central2"),
        ("me-west1", "me-west1"),
        ("us-east", ""),
        ("us-east1-g", ""),
        ("us-east123", ""),
        ("atlantis-east1", ""),
        ("", ""),
    ],
)
def test_the_region_that_a_text_is(text: str, meant: str) -> None:
    assert region_meant(text) == meant


@pytest.mark.parametrize(
    ("name", "dotenv", "environ", "told"),
    [
        ("project", {"GCP_PROJCT": "x"}, {"PROJECT": "y"}, ".env has GCP_PROJCT"),
        ("project", {}, {"gcp_project": "x"}, "the environment has gcp_project"),
        ("project", {}, {"PROJECT": "x", "GOOGLE_CLOUD_PROJECT": "y"}, "the environment has GOOGLE_CLOUD_PROJECT"),
        ("region", {"REGION": "x"}, {}, ".env has REGION"),
        ("bucket", {"BUCKET": "x"}, {}, ".env has BUCKET"),
        ("service_account", {}, {"SERVICE_ACCOUNT": "x"}, "the environment has SERVICE_ACCOUNT"),
        ("project", {"GCP_PROJCT": "", "GCP_REGION": "x"}, {"NOTHING": "x"}, ""),
        ("network", {"NETWORK": "x"}, {"GCP_NETWORK": "x"}, ""),
    ],
)
def test_a_variable_that_was_meant(name: str, dotenv: Mapping[str, str], environ: Mapping[str, str], told: str) -> None:
    variable = RULES[name].variable
    rest = f", which is not a setting; did you mean {variable}?"
    assert misnamed(name, dotenv, environ) == (f"{told}{rest}" if told else "")


# ── layers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def load(
    layers: Layers, section: Mapping[str, Any] | None = None, **more: Any
) -> tuple[Settings, list[str], list[str]]:
    read = SettingsSection.model_validate(section or {})
    settings, typed, ambient = load_settings(layers, read, registry_source="r.toml", **more)
    return settings, [words(fault) for fault in typed], [words(fault) for fault in ambient]


def test_a_variable_is_of_the_first_layer_that_has_it() -> None:
    layers = Layers({}, {"A": "1", "B": ""}, {"A": "2", "B": "3", "C": ""}, {"C": "4"})

    assert [layers.variable(name) for name in "ABCD"] == [
        ("1", "environment A"),
        ("3", ".env B"),
        ("4", "config.toml C"),
        None,
    ]


def test_where_each_setting_is_from() -> None:
    layers = Layers({"project": "p-flag1", "bucket": None}, {"GCP_PROJECT": "p-env12"}, {"GCP_REGION": "us-east1"})
    settings, typed, ambient = load(
        layers, {"project": "p-file1", "bucket": "file", "network": "projects/1/global/networks/n", "region": ""}
    )

    assert settings.values == {
        "project": Setting("p-flag1", "--project", "--project"),
        "region": Setting("us-east1", ".env GCP_REGION", ".env GCP_REGION"),
        "bucket": Setting("file", "[settings] of r.toml", "r.toml: settings.bucket"),
        "network": Setting("projects/1/global/networks/n", "[settings] of r.toml", "r.toml: settings.network"),
    }
    assert (settings.get("project"), settings.get("encryption_key")) == ("p-flag1", None)
    assert (typed, ambient) == ([], [])
    assert settings == Settings(settings.values)


def test_an_empty_flag_is_a_wrong_value_and_an_empty_key_is_none() -> None:
    settings, typed, ambient = load(Layers({"region": ""}, {}, {}), {"region": "us-east1", "bucket": ""})

    assert (typed, ambient) == (
        [
            "--region: region is '', which is not a region such as us-east1 (RK-SETTING-FORMAT) → "
            "`run-kfp machines --json` lists the regions"
        ],
        [],
    )
    assert "bucket" not in settings.values


def test_faults_of_what_was_typed_and_of_the_rest_are_apart() -> None:
    layers = Layers({"region": "us"}, {"GCP_PROJECT": "P12345"}, {"GCS_BUCKET_NAME": "a\0"})
    settings, typed, ambient = load(layers, timeout="0", failure_policy="fsat", labels={"A": "x"})

    assert typed == [
        "--region: region is 'us', which is not a region such as us-east1: it is several regions "
        "(RK-SETTING-FORMAT) → set one region, such as us-central1, us-east1 or us-west1",
        "label A: invalid label key 'A' (RK-LABEL) → use up to 64 lower-case letters, digits, _ and -, "
        "and begin with a letter",
        "--timeout: --timeout '0' is invalid: the seconds must be above 0 and at most 31536000 "
        "(RK-SETTING-FORMAT) → write a number such as --timeout 30",
        "--failure-policy: --failure-policy 'fsat' is invalid; valid values: fast, slow (RK-SETTING-FORMAT) "
        "→ did you mean 'fast'?",
    ]
    assert ambient == [
        f"environment GCP_PROJECT: project is 'P12345', which is not {PROJECT}: it has upper-case letters "
        "(RK-SETTING-FORMAT) → find it: gcloud projects list",
        ".env GCS_BUCKET_NAME: bucket contains a NUL character, which a process argument cannot (RK-SETTING-FORMAT)",
    ]
    assert settings.malformed == {"region", "project", "bucket"}
    assert (settings.timeout, settings.labels) == (DEFAULT_TIMEOUT, {"A": "x"})


def test_the_project_of_a_hint_is_a_right_one() -> None:
    for project, command in (("my-project", " --project=my-project"), ("P", ""), (None, "")):
        flags = {"project": project, "bucket": "ab"}
        _, typed, _ = load(Layers(flags, {}, {}))
        assert typed[-1].endswith(f"→ find it: gcloud storage buckets list{command}")


@pytest.mark.parametrize(
    ("flag", "file", "caching"),
    [(None, None, False), (None, True, True), (False, True, False), (True, False, True), (None, False, False)],
)
def test_the_flag_for_the_cache_comes_first(flag: bool | None, file: bool | None, caching: bool) -> None:
    assert load(Layers({}, {}, {}), {"caching": file}, caching=flag)[0].caching is caching


@pytest.mark.parametrize(
    ("flag", "file", "policy"), [(None, None, "fast"), (None, "slow", "slow"), ("fast", "slow", "fast")]
)
def test_the_flag_for_the_failure_policy_comes_first(flag: str | None, file: str | None, policy: str) -> None:
    settings, typed, _ = load(Layers({}, {}, {}), {"failure_policy": file}, failure_policy=flag)
    assert (settings.failure_policy, typed) == (policy, [])


def test_credentials_and_time() -> None:
    variable = "GOOGLE_APPLICATION_CREDENTIALS"
    given, _, _ = load(Layers({}, {}, {variable: "key.json"}), timeout="2.5")
    none, _, _ = load(Layers({}, {variable: ""}, {}))

    assert (given.credentials_file, given.credentials_place) == (Path("key.json"), f".env {variable}")
    assert (none.credentials_file, none.credentials_place) == (None, variable)
    assert (given.timeout, none.timeout) == (2.5, 60.0)


def test_what_is_missing_names_every_way_to_give_it() -> None:
    settings, _, _ = load(Layers({}, {"SERVICE_ACCOUNT": "x"}, {}), {"region": "us-east1"})

    assert [words(fault) for fault in settings.require(["region", "network", "service_account"])] == [
        "--network: network is not set (RK-SETTING-MISSING) → pass --network or add network to [settings] of "
        "the registry",
        "--service-account: service account is not set (RK-ACCOUNT-MISSING) → pass --service-account, set "
        "GCS_SERVICE_ACCOUNT (also in .env) or add service_account to [settings] of the registry; the environment has "
        "SERVICE_ACCOUNT, which is not a setting; did you mean GCS_SERVICE_ACCOUNT?",
    ]
    assert settings.misnamed.keys() == {"service_account"}


# ── flags ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1.0),
        ("0.001", 0.001),
        ("31536000", LONGEST_TIME),
        ("0", None),
        ("-1", None),
        ("31536000.1", None),
        ("nan", None),
        ("inf", None),
        ("x", None),
        ("", None),
    ],
)
def test_a_number_of_seconds(text: str, value: float | None) -> None:
    faults: list[Finding] = []

    assert seconds("--wait-timeout", text, faults) == value
    assert [words(fault) for fault in faults] == (
        [
            f"--wait-timeout: --wait-timeout {text!r} is invalid: the seconds must be above 0 and at most 31536000 "
            "(RK-SETTING-FORMAT) → write a number such as --wait-timeout 30"
        ]
        if value is None
        else []
    )


def test_no_seconds_are_no_fault() -> None:
    faults: list[Finding] = []
    assert seconds("--timeout", None, faults) is None
    assert (faults, LONGEST_TIME) == ([], 365 * 24 * 3600)


def test_pairs_of_names_and_values() -> None:
    faults: list[Finding] = []
    typed = ["a=1", "b=x=y", "c=", "a=1", "a=2", "=5", "secret", ""]

    assert pairs("-p", typed, faults) == {"a": "1", "b": "x=y", "c": ""}
    assert [words(fault) for fault in faults] == [
        "-p: -p gives a twice, with two values (RK-CALL) → remove one",
        "-p: -p requires NAME=VALUE; got a word without a name (RK-CALL) → write -p NAME=VALUE",
        "-p: -p requires NAME=VALUE; got a word without = (RK-CALL) → write -p NAME=VALUE",
        "-p: -p requires NAME=VALUE; got a word without = (RK-CALL) → write -p NAME=VALUE",
    ]


def test_each_fault_of_a_label() -> None:
    key = "use up to 64 lower-case letters, digits, _ and -, and begin with a letter"

    def told(labels: Mapping[str, str]) -> list[str]:
        return [words(fault) for fault in label_faults(labels)]

    assert told({"k" * 64: "v" * 64, "é-1_a": "", "a": "1-_é"}) == []
    assert told({"k" * 65: "v" * 65}) == [
        f"label {'k' * 65}: invalid label key '{'k' * 65}' (RK-LABEL) → {key}",
        f"label {'k' * 65}: label {'k' * 65} has the invalid value '{'v' * 65}' (RK-LABEL) → use up to 64 lower-case "
        "letters, digits, _ and -",
    ]
    assert told({"": "x", "1a": "x", "_a": "x", "A": "x", "a.b": "x"}) == [
        f"label {name}: invalid label key {name!r} (RK-LABEL) → {key}" for name in ("", "1a", "_a", "A", "a.b")
    ]
    assert told({"run-kfp-submission": "x"}) == [
        "label run-kfp-submission: label key 'run-kfp-submission' is reserved (RK-LABEL) → choose another key"
    ]
    many = {f"k{number}": "x" for number in range(64)}
    assert told(many) == ["the labels: 64 labels are too many (RK-LABEL) → a run can have at most 63"]
    assert told(dict(list(many.items())[:63])) == []


# ── env files ───────────────────────────────────────────────────────────────────────────────────────────────────────


def env_file(folder: Path, text: str) -> tuple[dict[str, str], list[str]]:
    path = folder / "x.env"
    path.write_bytes(text.encode())
    faults: list[Finding] = []
    values = read_env_file(path, faults)
    return values, [words(dataclasses.replace(fault, place=fault.place.replace(f"{path}: ", ""))) for fault in faults]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", {}),
        ("A=1\nB = two words \nexport C='x y' # note\n", {"A": "1", "B": "two words", "C": "x y"}),
        ("A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("A=b#c\nB=b #c\nC=b\t# c # d\nD=#e\nE= # e\n", {"A": "b#c", "B": "b", "C": "b", "D": "#e", "E": ""}),
        ("A=$HOME\nA=${A}2\n", {"A": "${A}2"}),
        ("# A=1\n\n   # B=2\n", {}),
        ("\ufeffA=1\n", {"A": "1"}),
        ('A="a\nb"\nB=c', {"A": "a\nb", "B": "c"}),
        ("A=\n", {"A": ""}),
    ],
)
def test_an_env_file_as_python_dotenv_reads_it(tmp_path: Path, text: str, values: dict[str, str]) -> None:
    assert env_file(tmp_path, text) == (values, [])


SPACES = "quote values with spaces, quotes or #"


@pytest.mark.parametrize(
    ("line", "values", "told"),
    [
        ("NAME", {}, "= is missing (RK-ENV-FILE) → write = between name and value; start a comment with #"),
        ("some words", {}, "= is missing (RK-ENV-FILE) → write = between name and value; start a comment with #"),
        ("A : b", {"A": "b"}, "a colon instead of = (RK-ENV-FILE) → write = between name and value"),
        ("A:", {"A": ""}, "a colon instead of = (RK-ENV-FILE) → write = between name and value"),
        ("set A=b", {"A": "b"}, "a Windows command before the name (RK-ENV-FILE) → remove the word before the name"),
        ("SETX A=", {"A": ""}, "a Windows command before the name (RK-ENV-FILE) → remove the word before the name"),
        ("A B=c", {}, "a space in the name (RK-ENV-FILE) → use only letters, digits and _ in a name"),
        ('A="b', {}, "missing closing quote (RK-ENV-FILE) → close the quote at the end of the line, or remove it"),
        ("A= 'b", {}, "missing closing quote (RK-ENV-FILE) → close the quote at the end of the line, or remove it"),
        ("A='b' c", {}, f"invalid line (RK-ENV-FILE) → {SPACES}"),
    ],
)
def test_a_line_of_another_form(tmp_path: Path, line: str, values: dict[str, str], told: str) -> None:
    found, faults = env_file(tmp_path, f"FIRST=1\n\n\n  {line}\nLAST=2\n")

    assert faults == [f"line 4: is not NAME=VALUE: {told}"]
    assert found == {"FIRST": "1", "LAST": "2", **values}


def test_faults_are_raised_where_nobody_takes_them(tmp_path: Path) -> None:
    path = tmp_path / "x.env"
    assert read_env_file(path) == {}
    path.write_text("A\nB\n", encoding="utf-8")

    with pytest.raises(InputError, match="2 problems with") as error:
        read_env_file(path)
    assert [fault.place for fault in error.value.all_faults] == [f"{path}: line 1", f"{path}: line 2"]
    faults: list[Finding] = []
    assert read_env_file(tmp_path, faults) == {}
    assert [fault.message for fault in faults] == [f"cannot read {tmp_path}: it is a folder"]
