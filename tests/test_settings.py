"""Settings and parameters: who comes first, and what is told when one is missing or wrong."""

from __future__ import annotations

import pytest

from conftest import Cli, Result, Write
from dermaid import MAIN, RUNNER, SETTINGS, Canaries


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
    assert ".env: line 2 is not NAME=VALUE" in result.err
    assert "this is a line" not in result.err


def test_everything_that_is_missing_comes_in_one_message(cli: Cli) -> None:
    result = cli("-r", "1-4", "--dry-run")

    assert result.code == 2
    for words in (
        "project is not set",
        "bucket is not set",
        "service account is not set",
        "no tag is given",
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
        "project is 'P' (--project)",
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
        "an empty tag",
        "label key 'Team'",
        "label x has the value 'A'",
        "'run-kfp-submission' is reserved",
        "--label takes NAME=VALUE",
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
    assert "which is no folder" in result.err
    assert "gs://x" in result.err


def test_bytes_in_a_setting_are_told_before_they_are_sent(cli: Cli) -> None:
    result = plan(cli, "--pipeline-root", "gs://bucket/\udcff", **SETTINGS)

    assert result.code == 2
    assert "no text in UTF-8" in result.err


def test_a_secret_that_is_a_word_of_the_settings_is_refused(cli: Cli) -> None:
    result = plan(cli, **SETTINGS, GIT_LOGIN="test-project")

    assert result.code == 2
    assert "the value of a secret stands in the project" in result.err


def test_a_word_in_the_place_of_a_key_that_is_not_used_tears_up_nothing(cli: Cli) -> None:
    result = plan(cli, **SETTINGS, WANDB_API_KEY="project")

    assert result.json["run"].startswith("vertex://projects/test-project/")


def test_the_endpoint_is_in_the_plan(cli: Cli, write: Write) -> None:
    assert plan(cli, **SETTINGS).json["endpoint"] == "us-east1-aiplatform.googleapis.com"
    assert plan(cli, "--api-endpoint", "host:8443", **SETTINGS).json["endpoint"] == "host:8443"
    text = cli("-r", "1", "--dry-run", "--api-endpoint", "host:8443", **SETTINGS)
    assert "host:8443" in text.out
