"""Settings and parameters: who comes first, and what is told when one is missing or wrong."""

from __future__ import annotations

import pytest

from conftest import Cli, Result, Write
from dermaid import MAIN, RUNNER, SETTINGS, Canaries
from run_kfp.findings import Finding
from run_kfp.registry import SettingsSection
from run_kfp.settings import RULES, Layers, Settings, load_settings, region_meant


def plan(cli: Cli, *args: str, **variables: str) -> Result:
    return cli("-r", "3", "-t", "v1", *args, "--dry-run", "--json", **{"GIT_LOGIN": Canaries().git_login, **variables})


def test_flags_over_environment_over_dotenv_over_registry(cli: Cli, write: Write) -> None:
    write(
        "run-kfp.toml",
        '[settings]\nregion = "us-east1"\nproject = "from-registry"\nbucket = "from-registry"\n'
        f'service_account = "{RUNNER}"\nfailure_policy = "slow"\n'
        '[containers.3]\nname = "x"\nimage = "alpine"\nargs = [{ param = "project" }, { param = "bucket" }]\n',
    )
    registry = plan(cli).json
    write(".env", "GCP_REGION=europe-west4\nGCP_PROJECT='from-dotenv'\nGCS_BUCKET_NAME=from-dotenv # comment\n")
    dotenv = plan(cli).json
    environment = plan(cli, GCP_PROJECT="from-environment", GCS_BUCKET_NAME="from-environment").json
    flags = plan(cli, "--project", "from-flag", "-p", "bucket=from-param", GCP_PROJECT="from-environment").json

    assert (registry["region"], registry["project"]) == ("us-east1", "from-registry")
    assert (dotenv["region"], dotenv["project"]) == ("europe-west4", "from-dotenv")
    assert dotenv["pipeline_root"] == "gs://from-dotenv/pipeline_root/root"
    assert environment["project"] == "from-environment"
    assert environment["parameter_values"]["bucket"] == {
        "value": "from-environment",
        "from": "environment GCS_BUCKET_NAME",
    }
    assert flags["project"] == "from-flag"
    assert flags["parameter_values"]["bucket"]["value"] == "from-param"
    assert flags["parameter_values"]["project"] == {"value": "from-flag", "from": "--project"}
    assert flags["failure_policy"] == "slow"
    assert plan(cli, "--failure-policy", "fast").json["failure_policy"] == "fast"


def test_an_empty_variable_is_not_set(cli: Cli, write: Write) -> None:
    write(".env", "GCP_PROJECT=from-dotenv\nNUM_GPU=\n")

    result = plan(cli, **{**SETTINGS, "GCP_PROJECT": ""})

    assert result.json["project"] == "from-dotenv"


def test_dotenv_is_not_interpolated(cli: Cli, write: Write) -> None:
    write(".env", 'WHYLABS_DEFAULT_ORG_ID="${HOME}"\n')
    variables = {**SETTINGS, **Canaries().variables}
    del variables["WHYLABS_DEFAULT_ORG_ID"]

    result = cli("-r", "2", "--dry-run", "--json", **variables)

    assert result.json["parameter_values"]["whylabs_org_id"]["value"] == "${HOME}"


def test_a_dotenv_that_cannot_be_read_is_told_by_line(cli: Cli, write: Write) -> None:
    write(".env", "GCP_PROJECT=fine-project\nthis is a line\nA='never closed\n")

    result = plan(cli, **SETTINGS)

    assert result.code == 2
    assert result.err.startswith("error: 2 problems with .env\n")
    assert ".env: line 2: is not NAME=VALUE" in result.err
    assert "this is a line" not in result.err


def test_everything_that_is_missing_comes_in_one_message(cli: Cli) -> None:
    result = cli("-r", "1-4", "--dry-run")

    assert result.code == 2
    for words in (
        "project is not set",
        "bucket is not set",
        "service account is not set",
        "missing tag",
        "parameter whylabs_org_id has no value",
        "parameter whylabs_dataset_id has no value",
        "secret git_login is missing",
        "secret wandb_api_key is missing",
        "secret whylabs_api_key is missing",
        "--project",
        "GCP_PROJECT",
    ):
        assert words in result.err, words
    assert result.err.startswith("error: 9 problems with this call")


def test_everything_that_is_wrong_comes_in_one_message(cli: Cli) -> None:
    flags = {
        "--project": "P",
        "--region": "useast1",
        "--bucket": "gs://my-bucket/x",
        "--service-account": "somebody@example.com",
        "--pipeline-root": "gs://gs://b",
        "--network": "default",
        "--encryption-key": "my-key",
        "--api-endpoint": "https://host/",
        "--job-id": "1st",
        "--timeout": "0",
        "-t": "",
    }
    words = [word for pair in flags.items() for word in pair]
    labels = ["--label", "Team=x", "--label", "x=A", "--label", "run-kfp-submission=x", "--label", "novalue"]
    result = cli("-r", "3", *words, *labels, "-p", "unheard=1", "--dry-run", GIT_LOGIN=Canaries().git_login)

    assert result.code == 2
    for told in (
        "--project: project is 'P'",
        "region is 'useast1'",
        "bucket is 'gs://my-bucket/x'",
        "write 'my-bucket'",
        "service account is 'somebody@example.com'",
        "pipeline root is 'gs://gs://b'",
        "network is 'default'",
        "encryption key is 'my-key'",
        "api endpoint is 'https://host/'",
        "write 'host'",
        "job id '1st'",
        "--timeout '0'",
        "-t is empty",
        "label key 'Team'",
        "label x has the invalid value 'A'",
        "'run-kfp-submission' is reserved",
        "--label requires NAME=VALUE",
        "-p unheard",
    ):
        assert told in result.err, told


def test_two_values_for_one_thing_are_refused(cli: Cli) -> None:
    result = plan(cli, "--project", "one-project", "-p", "project=other-project", "-p", "tag=v2", **SETTINGS)

    assert result.code == 2
    assert "--project and -p project= give two different values" in result.err
    assert "-t and -p tag= give two different tags" in result.err
    same = plan(cli, "--project", "one-project", "-p", "project=one-project", "-p", "tag=v1", **SETTINGS)
    assert same.code == 0, same.err


def test_an_empty_value_may_be_given_on_purpose(cli: Cli) -> None:
    variables = {**SETTINGS, **Canaries().variables}

    result = cli("-r", "2", "-p", "whylabs_org_id=", "--dry-run", "--json", **variables)

    assert result.json["parameter_values"]["whylabs_org_id"]["value"] == ""


def test_a_parameter_of_another_container_does_no_harm(cli: Cli) -> None:
    assert plan(cli, "-p", "num_gpu=4", "-p", "whylabs_org_id=x", **SETTINGS).code == 0


def test_the_plan_needs_no_network_and_no_credentials(cli: Cli) -> None:
    canaries = Canaries()
    variables = {
        **SETTINGS,
        **canaries.variables,
        "https_proxy": "http://localhost:9",
        "HTTPS_PROXY": "http://localhost:9",
    }

    text = cli(*MAIN, "--dry-run", **variables)
    data = cli(*MAIN, "--dry-run", "--json", **variables)

    assert (text.code, data.code) == (0, 0)
    assert "secret  (from environment GIT_LOGIN)" in text.out
    assert data.json["parameter_values"]["git_login"] == {"secret": "git_login", "from": "environment GIT_LOGIN"}
    assert data.json["pipeline_spec"]["pipelineInfo"]["name"] == "dermaid"
    assert data.json["service_account"] == RUNNER


def test_a_dry_run_writes_nothing(cli: Cli) -> None:
    assert plan(cli, **SETTINGS).code == 0
    assert list(cli.folder.iterdir()) == []


@pytest.mark.parametrize("root", ["gs://other-bucket", "gs://other-bucket/a/b"])
def test_a_pipeline_root_makes_the_bucket_unnecessary(cli: Cli, write: Write, root: str) -> None:
    write("run-kfp.toml", '[containers.3]\nname = "x"\nimage = "alpine"\n[settings]\nregion = "us-east1"\n')
    settings = {name: value for name, value in SETTINGS.items() if name != "GCS_BUCKET_NAME"}

    result = plan(cli, "--pipeline-root", root, **settings)

    assert result.code == 0, result.err
    assert result.json["pipeline_root"] == root


def test_job_ids_are_fresh_and_legal_for_any_name(cli: Cli, write: Write) -> None:
    write("given.yaml", "")
    assert cli("-r", "3", "--compile-only", "-o", "given.yaml").code == 0
    text = (cli.folder / "given.yaml").read_text(encoding="utf-8").replace("name: dermaid\n", "name: 9 Straße_x\n")
    write("given.yaml", text)

    ids = {
        cli("-f", "given.yaml", "-t", "v", "--dry-run", "--json", GIT_LOGIN=Canaries().git_login, **SETTINGS).json[
            "job_id"
        ]
        for _ in range(2)
    }

    assert len(ids) == 2
    assert all(made.startswith("run-9-stra-e-x-") for made in ids)


def test_a_parameter_that_the_file_has_fixed_is_told(cli: Cli) -> None:
    assert cli("-r", "4", "--compile-only").code == 0

    result = cli("-f", "pipeline.yaml", "-t", "v1", "-p", "num_gpu=2", "--dry-run", **SETTINGS, **Canaries().variables)

    assert result.code == 2
    assert "-p num_gpu would change nothing: it was fixed when pipeline.yaml was compiled" in result.err


def test_faults_of_flags_and_of_the_selection_come_together(cli: Cli) -> None:
    result = cli("-r", "3", "-r", "99", "--bucket", "gs://x", "--wait", "--poll-every", "no", "--timeout", "never")

    assert result.code == 2
    for words in ("'99'", "gs://x", "--poll-every 'no'", "--timeout 'never'"):
        assert words in result.err, words


def test_faults_of_the_secrets_folder_come_with_the_others(cli: Cli) -> None:
    result = plan(cli, "--secrets-dir", "x" * 5000, "--bucket", "gs://x", **SETTINGS)

    assert result.code == 2
    assert "which is not a folder" in result.err
    assert "gs://x" in result.err


def test_bytes_in_a_setting_are_told_before_they_are_sent(cli: Cli) -> None:
    result = plan(cli, "--pipeline-root", "gs://bucket/\udcff", **SETTINGS)

    assert result.code == 2
    assert "not valid UTF-8" in result.err


def test_a_secret_that_is_a_word_of_the_settings_is_refused(cli: Cli) -> None:
    result = plan(cli, **SETTINGS, GIT_LOGIN="test-project")

    assert result.code == 2
    assert "the value of a secret is part of the project" in result.err


def test_a_word_in_the_place_of_a_key_that_is_not_used_tears_up_nothing(cli: Cli) -> None:
    result = plan(cli, **SETTINGS, WANDB_API_KEY="project")

    assert result.json["run"].startswith("vertex://projects/test-project/")


def test_the_endpoint_is_in_the_plan(cli: Cli, write: Write) -> None:
    assert plan(cli, **SETTINGS).json["endpoint"] == "us-east1-aiplatform.googleapis.com"
    assert plan(cli, "--api-endpoint", "host:8443", **SETTINGS).json["endpoint"] == "host:8443"
    text = cli("-r", "1", "--dry-run", "--api-endpoint", "host:8443", **SETTINGS)
    assert "host:8443" in text.out


# ── values of a wrong form ───────────────────────────────────────────────────────────────────────────────────────────


def load(values: dict[str, str], layers: Layers | None = None) -> tuple[Settings, list[Finding]]:
    """Read `[settings]` of a registry run-kfp.toml."""
    section = SettingsSection.model_validate(values)
    settings, typed, ambient = load_settings(layers or Layers({}, {}, {}), section, registry_source="run-kfp.toml")
    return settings, [*typed, *ambient]


KEY = "projects/p/locations/us-east1/keyRings/r/cryptoKeys/k"
WRONG = [
    ("project", "my-project-", "it ends with a dash", "gcloud projects list"),
    ("project", "MyProject", "it has upper-case letters", "gcloud projects list"),
    ("project", "my_project", "it has invalid characters", "gcloud projects list"),
    ("project", "proj", "it is shorter than 6 characters", "gcloud projects list"),
    ("project", "p" * 31, "it is longer than 30 characters", "gcloud projects list"),
    ("project", "1-project", "it does not start with a letter", "gcloud projects list"),
    ("project", "<project id>", "it is still a placeholder", "gcloud projects list"),
    ("project", "PROJECT_ID", "it is still a placeholder", "gcloud projects list"),
    ("project", "my-project ", "white space around it", "write 'my-project'"),
    ("project", "projects/my-project", "invalid characters", "write 'my-project'"),
    ("region", "us-east-1", "not a region", "write 'us-east1'"),
    ("region", "useast1", "not a region", "write 'us-east1'"),
    ("region", "US-EAST1", "it has upper-case letters", "write 'us-east1'"),
    ("region", "us-central1-a", "it is a zone", "write 'us-central1'"),
    ("region", "eu-west-1", "not a region", "write 'europe-west1'"),
    ("region", "us", "it is several regions", "such as us-central1, us-east1"),
    ("region", "Europe", "it is several regions", "such as europe-west1"),
    ("region", "global", "it is several regions", "such as us-central1 or europe-west4"),
    ("region", "us-central", "not a region", "add the number at the end, as in us-central1"),
    ("region", "here", "not a region", "`run-kfp machines --json` lists the regions"),
    ("bucket", "fl", "it is shorter than 3 characters", "gcloud storage buckets list"),
    ("bucket", "flowers_", "it does not end with a letter or digit", "gcloud storage buckets list"),
    ("bucket", "-flowers", "it does not start with a letter or digit", "gcloud storage buckets list"),
    ("bucket", "Flowers", "it has upper-case letters", "gcloud storage buckets list"),
    ("bucket", "gs://flowers", "it is an address", "write 'flowers'"),
    ("bucket", "/gcs/flowers", "it is an address", "write 'flowers'"),
    (
        "bucket",
        "flowers/sub",
        "it contains a slash; set a folder with pipeline_root",
        "write 'flowers'; for a folder in it, set pipeline_root 'gs://flowers/sub'",
    ),
    ("pipeline_root", "gs://flowers-1//x", "two slashes", "write 'gs://flowers-1/x'"),
    ("pipeline_root", "gs://gs://flowers", "gs:// twice", "write 'gs://flowers'"),
    ("pipeline_root", "/gcs/flowers/x", "does not start with gs://", "write 'gs://flowers/x'"),
    ("pipeline_root", "flowers/x", "does not start with gs://", "write 'gs://flowers/x'"),
    ("pipeline_root", "https://storage.googleapis.com/flowers/x", "does not start", "write 'gs://flowers/x'"),
    ("pipeline_root", "s3://flowers/x", "does not start with gs://", "gcloud storage buckets list"),
    ("pipeline_root", "gs://Flowers/x", "its bucket has upper-case letters", "gcloud storage buckets list"),
    ("pipeline_root", "gs://flowers/x y", "it contains white space", "gcloud storage buckets list"),
    ("service_account", f"serviceAccount:{RUNNER}", "not an e-mail", f"write {RUNNER!r}"),
    ("service_account", f"projects/p/serviceAccounts/{RUNNER}", "not an e-mail", f"write {RUNNER!r}"),
    ("service_account", RUNNER.replace("account.com", "acount.com"), "not an e-mail", f"write {RUNNER!r}"),
    ("service_account", RUNNER.removesuffix(".gserviceaccount.com"), "not an e-mail", f"write {RUNNER!r}"),
    ("service_account", "me@gmail.com", "not an e-mail", "steps cannot run as a user account; find it: gcloud iam"),
    ("service_account", "1234567890", "not an e-mail", "find it: gcloud iam service-accounts list"),
    (
        "network",
        "default",
        "not projects/<number>",
        "write 'projects/NUMBER/global/networks/default'; the number: gcloud projects describe",
    ),
    (
        "network",
        "https://www.googleapis.com/compute/v1/projects/12/global/networks/vpc",
        "not projects/<number>",
        "write 'projects/12/global/networks/vpc'",
    ),
    ("network", "projects/12/regions/us-east1/subnetworks/s", "not projects/<number>", "gcloud compute networks list"),
    ("encryption_key", f"{KEY}/cryptoKeyVersions/1", "not projects/", f"write {KEY!r}"),
    ("encryption_key", "k", "not projects/", "gcloud kms keys list"),
    ("api_endpoint", "https://host.example.com/v1", "not a host", "write 'host.example.com'"),
]


@pytest.mark.parametrize(("name", "value", "words", "hint"), WRONG)
def test_a_value_of_a_wrong_form_names_its_key_the_rule_and_the_right_one(
    name: str, value: str, words: str, hint: str
) -> None:
    settings, (fault,) = load({name: value})

    assert name in settings.malformed
    assert fault.place == f"run-kfp.toml: settings.{name}"
    assert fault.text == f"{fault.place}: {fault.message}"
    assert "run-kfp.toml" not in fault.message
    assert repr(value) in fault.message
    assert words in fault.message
    assert hint in fault.hint
    if fault.hint.startswith("write '") and "NUMBER" not in fault.hint:
        right = fault.hint.split("'")[1]
        assert load({name: right})[1] == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("project", "example.com:my-project"),
        ("project", "123456789012"),
        ("region", "europe-west12"),
        ("bucket", "data.example.org"),
        ("bucket", "a_b-c.1"),
        ("pipeline_root", "gs://flowers/a/b/"),
        ("service_account", "my-project@appspot.gserviceaccount.com"),
        ("service_account", "runner@my-project.example.com.iam.gserviceaccount.com"),
        ("service_account", "12-compute@developer.gserviceaccount.com"),
        ("encryption_key", KEY),
        ("api_endpoint", "us-east1-aiplatform.googleapis.com:443"),
    ],
)
def test_a_value_of_a_right_form_has_no_fault(name: str, value: str) -> None:
    assert load({name: value})[1] == []


def test_a_name_alone_is_completed_with_the_project() -> None:
    _, (fault,) = load({"project": "my-project", "service_account": "runner"})
    assert fault.hint == "write 'runner@my-project.iam.gserviceaccount.com'"
    _, (_, fault) = load({"project": "my-project-", "service_account": "runner"})
    assert fault.hint == "find it: gcloud iam service-accounts list"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("us-east1", "us-east1"),
        ("us-east-1", "us-east1"),
        ("us-east1-b", "us-east1"),
        ("ap-southeast-2", "asia-southeast2"),
        ("us-central", ""),
        ("moon-base1", ""),
    ],
)
def test_the_region_that_is_meant(text: str, meant: str) -> None:
    assert region_meant(text) == meant


@pytest.mark.parametrize(
    ("dotenv", "environ", "words"),
    [
        ({"GCP_PROJCT": "x"}, {}, ".env has GCP_PROJCT, which is not a setting; did you mean GCP_PROJECT?"),
        ({"gcp_project": "x"}, {}, ".env has gcp_project, which is not a setting; did you mean GCP_PROJECT?"),
        ({"PROJECT_ID": "x"}, {}, ".env has PROJECT_ID"),
        ({}, {"GOOGLE_CLOUD_PROJECT": "x"}, "the environment has GOOGLE_CLOUD_PROJECT"),
        ({"GCP_PROJCT": ""}, {"PROJECTOR": "x", "GCP_REGION": "us-east1"}, ""),
    ],
)
def test_a_variable_that_may_have_been_meant_is_named(
    dotenv: dict[str, str], environ: dict[str, str], words: str
) -> None:
    settings, _ = load({}, Layers({}, environ, dotenv))
    (fault,) = settings.require(["project"])
    assert fault.hint.startswith("pass --project, set GCP_PROJECT (also in .env) or add project to [settings]")
    assert fault.hint.partition("; ")[2].startswith(words)
    assert bool(words) == ("; " in fault.hint)


def test_a_setting_that_is_given_has_no_variable_beside_it() -> None:
    settings, _ = load(dict.fromkeys(RULES, "x"), Layers({}, {}, {"GCP_PROJCT": "x", "BUCKET": "y"}))
    assert settings.misnamed == {}


def test_plans_name_the_table_and_faults_its_key(cli: Cli, write: Write) -> None:
    write(
        "run-kfp.toml",
        '[settings]\nregion = "us-east1"\nbucket = "flowers"\n'
        '[containers.3]\nname = "x"\nimage = "alpine"\nargs = [{ param = "bucket" }]\n',
    )
    settings = {name: value for name, value in SETTINGS.items() if name != "GCS_BUCKET_NAME"}
    right = plan(cli, **settings)
    wrong = plan(cli, "--encryption-key", "k", "--region", "us-east-1", **settings)

    assert right.json["parameter_values"]["bucket"] == {"value": "flowers", "from": "[settings] of run-kfp.toml"}
    assert "--region: region is 'us-east-1'" in wrong.err
    assert "--encryption-key: encryption key is 'k'" in wrong.err
