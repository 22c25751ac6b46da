"""What people write as values (limits, arguments, settings, env files, names), and what is said of wrong ones."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from run_kfp.arguments import (
    Reference,
    read_argument,
    read_environment_value,
    read_parameter_reference,
    text_fault,
    toml_type,
)
from run_kfp.errors import InputError, did_you_mean, nearest, shown
from run_kfp.findings import Finding
from run_kfp.limits import count_text, cpu_text, cpus, memory_bytes, memory_text, nearest_memory
from run_kfp.settings.env_file import read_env_file
from run_kfp.settings.hints import misnamed, region_meant, suggest
from run_kfp.settings.rules import LONGEST_TIME, RULES, label_faults, pairs, seconds, wrong_form


def taken(read: Callable[[Any], Any], values: Any) -> dict[Any, Any]:
    """Map each value to what it is read as, or to what is said of it."""
    found = {}
    for value in values:
        try:
            found[value] = read(value)
        except ValueError as error:
            found[value] = f"! {error}"
    return found


def whole(text: str) -> str:
    """Write `a{64}` out."""
    return re.sub(r"(\w)\{(\d+)\}", lambda match: match[1] * int(match[2]), text)


# ── limits ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_cpus() -> None:
    expected = {
        "16": "16",
        16: "16",
        0.5: "0.5",
        ".5": ".5",
        "500m": "500m",
        "0": "! '0' is not a valid CPU limit: write CPUs (16, 0.5) or thousandths (\"500m\")",
        "0.0m": "! '0.0m' is not a valid CPU limit: write CPUs (16, 0.5) or thousandths (\"500m\")",
        "": "! '' is not a valid CPU limit: write CPUs (16, 0.5) or thousandths (\"500m\")",
        "4 vCPUs": '! \'4 vCPUs\' is not a valid CPU limit: write CPUs (16, 0.5) or thousandths ("500m"): "4"?',
        "1,5": '! \'1,5\' is not a valid CPU limit: write CPUs (16, 0.5) or thousandths ("500m"): "1.5"?',
        "2.5 cores": '! \'2.5 cores\' is not a valid CPU limit: write CPUs (16, 0.5) or thousandths ("500m"): "2.5"?',
        "500M": '! \'500M\' is not a valid CPU limit: write CPUs (16, 0.5) or thousandths ("500m"): "500m"?',
        "0 cpu": "! '0 cpu' is not a valid CPU limit: write CPUs (16, 0.5) or thousandths (\"500m\")",
        "0,50": '! \'0,50\' is not a valid CPU limit: write CPUs (16, 0.5) or thousandths ("500m"): "0.50"?',
        "x": "! 'x' is not a valid CPU limit: write CPUs (16, 0.5) or thousandths (\"500m\")",
        True: '! true is not a valid CPU limit: write CPUs (16, 0.5) or thousandths ("500m")',
        None: '! None is not a valid CPU limit: write CPUs (16, 0.5) or thousandths ("500m")',
    }
    assert taken(cpu_text, expected) == expected


def test_memory() -> None:
    expected = {
        "128G": "128G",
        "512Mi": "512Mi",
        "0G": "! '0G' is not a valid memory limit: write an integer and a unit, K, M, G, T or Ki, Mi, Gi, Ti",
        32: '! 32 is not a valid memory limit: write an integer and a unit, K, M, G, T or Ki, Mi, Gi, Ti: "32G"?',
        True: "! true is not a valid memory limit: write an integer and a unit, K, M, G, T or Ki, Mi, Gi, Ti",
        "32": "! '32' is not a valid memory limit: write an integer and a unit, K, M, G, T or Ki, Mi, Gi, Ti: \"32G\"?",
        "1.5G": "! '1.5G' is not a valid memory limit: write an integer and a unit, K, M, G, T or Ki, Mi, "
        'Gi, Ti: "1500M"?',
        "lots": "! 'lots' is not a valid memory limit: write an integer and a unit, K, M, G, T or Ki, Mi, Gi, Ti",
    }
    assert taken(memory_text, expected) == expected


def test_the_memory_that_is_meant() -> None:
    expected = {
        "16": "16G",
        "016 gb": "16G",
        "16Gib": "16Gi",
        "0": "",
        "0.0G": "",
        "999999": "999999G",
        "1000000": "1M",
        "1048576": "1Mi",
        "1073741824": "1Gi",
        "1000000000": "1G",
        "1024000": "1000Ki",
        "1048577": "2M",
        "1.5": "1500M",
        "1,5 GiB": "1536Mi",
        "0.5K": "",
        "1.5K": "",
        "0.0001G": "",
        "2.5E": "2500P",
        "2.5P": "2500T",
        "2.5T": "2500G",
        "2.5M": "2500K",
        "1.0005G": "1000M",
        "1x": "",
        "111111111111111111": "111111111112M",
        "1111111111111111111": "",
    }
    assert taken(nearest_memory, expected) == expected


def test_counts() -> None:
    expected = {
        "4": "4",
        "0": "0",
        "007": "7",
        8: "8",
        "9999": "9999",
        "10000": "! '10000' is not a valid number of accelerators: write an integer, 0 for none",
        "-1": "! '-1' is not a valid number of accelerators: write an integer, 0 for none",
        "": "! '' is not a valid number of accelerators: write an integer, 0 for none",
        True: "! true is not a valid number of accelerators: write an integer, 0 for none",
        1.5: "! 1.5 is not a valid number of accelerators: write an integer, 0 for none",
    }
    assert taken(count_text, expected) == expected


def test_limits_as_numbers() -> None:
    assert [cpus(limit) for limit in ("500m", "16", "0.5")] == [0.5, 16.0, 0.5]
    expected = {
        "1K": 1000,
        "2Ki": 2048,
        "3M": 3000000,
        "4Mi": 4194304,
        "5G": 5000000000,
        "6Gi": 6442450944,
        "7T": 7000000000000,
        "8Ti": 8796093022208,
        "1P": 1000000000000000,
        "1Pi": 1125899906842624,
        "1E": 1000000000000000000,
        "1Ei": 1152921504606846976,
    }
    assert taken(memory_bytes, expected) == expected


# ── arguments ───────────────────────────────────────────────────────────────────────────────────────────────────────


def said(read: Callable[[Any], Any], value: Any) -> Any:
    try:
        return read(value)
    except ValueError as error:
        return f"! {error}"


def test_arguments() -> None:
    values = (
        "x",
        "a\0",
        "\ud800",
        "\udfff",
        "\ud7ff\ue000",
        "{{$.x}}",
        "{{channel:x}}",
        "$(NAME)",
        ' {"Concat": []}',
        '{"IfPresent": {}}',
        '{"Other": 1}',
        '["Concat"]',
        "{no json",
        {"param": "tag"},
        {"secret": "login", "prefix": "--login="},
        {"param": "tag", "prefix": "{{$"},
        {"param": "tag", "secret": "login"},
        {"prefix": "x"},
        {"param": 1},
        {"param": "tag", "zeta": 1, "alpha": 1},
        True,
        3,
        0.5,
        ["x"],
        None,
    )
    assert [said(read_argument, value) for value in values] == [
        "x",
        "! contains a NUL character, which a process argument cannot",
        "! contains bytes that are not valid UTF-8",
        "! contains bytes that are not valid UTF-8",
        "\ud7ff\ue000",
        "! contains '{{$', which the backend would replace: use { param = … } or { secret = … }",
        "! contains '{{channel:', which kfp would replace",
        "$(NAME)",
        "! is a JSON object with 'Concat' or 'IfPresent', which the backend would evaluate",
        "! is a JSON object with 'Concat' or 'IfPresent', which the backend would evaluate",
        '{"Other": 1}',
        '["Concat"]',
        "{no json",
        Reference(kind="param", name="tag", prefix=""),
        Reference(kind="secret", name="login", prefix="--login="),
        "! contains '{{$', which the backend would replace: use { param = … } or { secret = … }",
        "! has both a param and a secret",
        "! has neither a param nor a secret",
        "! has a key whose value is not a string",
        "! has an unknown key 'alpha': a reference is { param = … } or { secret = … }, with an optional prefix",
        '! is a boolean; arguments are strings: write "true"',
        '! is a number; arguments are strings: write "3"',
        '! is a number; arguments are strings: write "0.5"',
        "! is an array; an argument is a string, { param = … } or { secret = … }",
        "! is a date or time; an argument is a string, { param = … } or { secret = … }",
    ]


def test_environment_values_and_resources() -> None:
    values: tuple[Any, ...] = ("x", "$(NAME)", "$(NAME", "{{$.x}}", {"param": "tag"}, {"param": "tag", "prefix": "x"})
    assert [said(read_environment_value, value) for value in values] == [
        "x",
        "! contains '$(NAME)', which Vertex AI would expand in an environment variable",
        "$(NAME",
        "! contains '{{$', which the backend would replace: use { param = … } or { secret = … }",
        Reference(kind="param", name="tag", prefix=""),
        "! has a prefix; in env a value is a literal or one reference",
    ]
    values = ("x", {"param": "tag"}, {"secret": "login"}, {"param": "tag", "prefix": "x"}, {})
    assert [said(read_parameter_reference, value) for value in values] == [
        None,
        Reference(kind="param", name="tag", prefix=""),
        "! a resource is a literal or { param = … }, resolved when compiling",
        "! a resource is a literal or { param = … }, resolved when compiling",
        "! has neither a param nor a secret",
    ]
    values = (True, 1, 1.5, [], {}, "", None)
    assert [toml_type(value) for value in values] == [
        "a boolean",
        "a number",
        "a number",
        "an array",
        "a table",
        "a string",
        "a date or time",
    ]
    assert (text_fault("ok"), text_fault("\0")) == (None, "contains a NUL character, which a process argument cannot")


# ── settings ────────────────────────────────────────────────────────────────────────────────────────────────────────


def told(name: str, value: str) -> tuple[str, str]:
    """Return which rule a value of a setting breaks, and the next step."""
    words, allowed, rule = wrong_form(name, value).partition(f", which is not {RULES[name].allowed}")
    assert words == f"is {shown(value)}"
    assert allowed
    return rule.removeprefix(": "), suggest(name, value, "my-project")


def test_forms_of_settings() -> None:
    texts = {
        "project": (
            "my-project",
            "example.com:my-project",
            "123",
            "abcdef",
            "abcde",
            "a{30}",
            "a{31}",
            "1abcdef",
            "abcdef-",
            "My-Project",
            "my_project",
            "<project>",
            "$PROJECT",
            "YOUR_PROJECT_ID",
            " my-project",
            "my project",
            "projects/my-project",
        ),
        "region": (
            "us-east1",
            "us-east-1",
            "useast1",
            "US-EAST1",
            "us-east1-b",
            "us-east",
            "us",
            "EU",
            "global",
            "eu-west-3",
            "ap-south",
            "mars",
            "us-east123",
        ),
        "bucket": (
            "bucket",
            "gs://bucket/a/b/",
            "/gcs/bucket",
            "a/b",
            "Bucket",
            "bu cket",
            "-bucket",
            "bucket-",
            "ab",
            "a{222}",
            "a{223}",
            "b!cket",
            "https://storage.googleapis.com/bucket/a",
        ),
        "pipeline_root": (
            "gs://bucket/root",
            "bucket/root",
            "s3://bucket/a",
            "gs://gs://bucket",
            "gs:///a",
            "gs://bucket//a///b",
            "gs://Bucket/a",
            "gs://-/a",
        ),
        "service_account": (
            "a@p.iam.gserviceaccount.com",
            "serviceAccount:a@p.iam.gserviceaccount.com",
            "<a@p.iam.gserviceaccount.com>",
            "me@example.com",
            "a@p.iam.gserviceacount.com",
            "a@p.iam",
            "runner",
            "runners",
            "x",
        ),
        "network": (
            "projects/1/global/networks/n",
            "https://www.googleapis.com/compute/v1/projects/1/global/networks/n",
            "n",
            "projects/1/regions/r/subnetworks/s",
            "a b",
        ),
        "encryption_key": (
            "projects/p/locations/l/keyRings/r/cryptoKeys/k",
            "projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1",
            "//cloudkms.googleapis.com/v1/projects/p/locations/l/keyRings/r/cryptoKeys/k",
            "k",
        ),
        "api_endpoint": ("h.example:443", "https://h.example/v1", "h:123456"),
    }
    right = {name: [value for value in values if not wrong_form(name, whole(value))] for name, values in texts.items()}
    assert right == {
        "project": ["my-project", "example.com:my-project", "123", "abcdef", "a{30}"],
        "region": ["us-east1", "us-east123"],
        "bucket": ["bucket", "a{222}"],
        "pipeline_root": ["gs://bucket/root"],
        "service_account": ["a@p.iam.gserviceaccount.com"],
        "network": ["projects/1/global/networks/n"],
        "encryption_key": ["projects/p/locations/l/keyRings/r/cryptoKeys/k"],
        "api_endpoint": ["h.example:443"],
    }
    wrong = {
        name: {value: told(name, whole(value)) for value in values if value not in right[name]}
        for name, values in texts.items()
    }
    assert wrong == {
        "project": {
            "abcde": ("it is shorter than 6 characters", "find it: gcloud projects list"),
            "a{31}": ("it is longer than 30 characters", "find it: gcloud projects list"),
            "1abcdef": ("it does not start with a letter", "find it: gcloud projects list"),
            "abcdef-": ("it ends with a dash", "find it: gcloud projects list"),
            "My-Project": ("it has upper-case letters", "find it: gcloud projects list"),
            "my_project": ("it has invalid characters", "find it: gcloud projects list"),
            "<project>": ("it is still a placeholder", "find it: gcloud projects list"),
            "$PROJECT": ("it is still a placeholder", "find it: gcloud projects list"),
            "YOUR_PROJECT_ID": ("it is still a placeholder", "find it: gcloud projects list"),
            " my-project": ("it has white space around it", "write 'my-project'"),
            "my project": ("it contains white space", "find it: gcloud projects list"),
            "projects/my-project": ("it has invalid characters", "write 'my-project'"),
        },
        "region": {
            "us-east-1": ("", "write 'us-east1'"),
            "useast1": ("", "write 'us-east1'"),
            "US-EAST1": ("it has upper-case letters", "write 'us-east1'"),
            "us-east1-b": ("it is a zone", "write 'us-east1'"),
            "us-east": ("", "add the number at the end, as in us-central1"),
            "us": ("it is several regions", "set one region, such as us-central1, us-east1 or us-west1"),
            "EU": ("it is several regions", "set one region, such as europe-west1 or europe-west4"),
            "global": ("it is several regions", "set one region, such as us-central1 or europe-west4"),
            "eu-west-3": ("", "write 'europe-west3'"),
            "ap-south": ("", "add the number at the end, as in us-central1"),
            "mars": ("", "`run-kfp machines --json` lists the regions"),
        },
        "bucket": {
            "gs://bucket/a/b/": (
                "it is an address",
                "write 'bucket'; for a folder in it, set pipeline_root 'gs://bucket/a/b'",
            ),
            "/gcs/bucket": ("it is an address", "write 'bucket'"),
            "a/b": (
                "it contains a slash; set a folder with pipeline_root",
                "find it: gcloud storage buckets list --project=my-project",
            ),
            "Bucket": ("it has upper-case letters", "find it: gcloud storage buckets list --project=my-project"),
            "bu cket": ("it contains white space", "find it: gcloud storage buckets list --project=my-project"),
            "-bucket": (
                "it does not start with a letter or digit",
                "find it: gcloud storage buckets list --project=my-project",
            ),
            "bucket-": (
                "it does not end with a letter or digit",
                "find it: gcloud storage buckets list --project=my-project",
            ),
            "ab": ("it is shorter than 3 characters", "find it: gcloud storage buckets list --project=my-project"),
            "a{223}": ("it is longer than 222 characters", "find it: gcloud storage buckets list --project=my-project"),
            "b!cket": ("it has invalid characters", "find it: gcloud storage buckets list --project=my-project"),
            "https://storage.googleapis.com/bucket/a": (
                "it is an address",
                "write 'bucket'; for a folder in it, set pipeline_root 'gs://bucket/a'",
            ),
        },
        "pipeline_root": {
            "bucket/root": ("it does not start with gs://", "write 'gs://bucket/root'"),
            "s3://bucket/a": (
                "it does not start with gs://",
                "find it: gcloud storage buckets list --project=my-project",
            ),
            "gs://gs://bucket": ("it starts with gs:// twice", "write 'gs://bucket'"),
            "gs:///a": ("it has no bucket", "find it: gcloud storage buckets list --project=my-project"),
            "gs://bucket//a///b": ("it contains an empty folder name (two slashes)", "write 'gs://bucket/a/b'"),
            "gs://Bucket/a": (
                "its bucket has upper-case letters",
                "find it: gcloud storage buckets list --project=my-project",
            ),
            "gs://-/a": ("its bucket name is invalid", "find it: gcloud storage buckets list --project=my-project"),
        },
        "service_account": {
            "serviceAccount:a@p.iam.gserviceaccount.com": ("", "write 'a@p.iam.gserviceaccount.com'"),
            "<a@p.iam.gserviceaccount.com>": ("it is still a placeholder", "write 'a@p.iam.gserviceaccount.com'"),
            "me@example.com": (
                "",
                "steps cannot run as a user account; find it: gcloud iam service-accounts list --project=my-project",
            ),
            "a@p.iam.gserviceacount.com": ("", "write 'a@p.iam.gserviceaccount.com'"),
            "a@p.iam": ("", "write 'a@p.iam.gserviceaccount.com'"),
            "runner": ("", "write 'runner@my-project.iam.gserviceaccount.com'"),
            "runners": ("", "write 'runners@my-project.iam.gserviceaccount.com'"),
            "x": ("", "find it: gcloud iam service-accounts list --project=my-project"),
        },
        "network": {
            "https://www.googleapis.com/compute/v1/projects/1/global/networks/n": (
                "",
                "write 'projects/1/global/networks/n'",
            ),
            "n": (
                "",
                "write 'projects/NUMBER/global/networks/n'; the number: gcloud projects "
                "describe my-project --format='value(projectNumber)'",
            ),
            "projects/1/regions/r/subnetworks/s": (
                "",
                "set the network, not its subnetwork: gcloud compute networks list --project=my-project",
            ),
            "a b": ("it contains white space", ""),
        },
        "encryption_key": {
            "projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1": (
                "",
                "write 'projects/p/locations/l/keyRings/r/cryptoKeys/k'",
            ),
            "//cloudkms.googleapis.com/v1/projects/p/locations/l/keyRings/r/cryptoKeys/k": (
                "",
                "write 'projects/p/locations/l/keyRings/r/cryptoKeys/k'",
            ),
            "k": (
                "",
                "find it: gcloud kms keys list --location=REGION --keyring=NAME "
                "--format='value(name)' --project=my-project",
            ),
        },
        "api_endpoint": {"https://h.example/v1": ("", "write 'h.example'"), "h:123456": ("", "")},
    }


def test_next_steps_without_a_project() -> None:
    assert suggest("bucket", "!", "") == "find it: gcloud storage buckets list"
    assert suggest("service_account", "runners", "") == "find it: gcloud iam service-accounts list"
    assert (
        suggest("service_account", "runners", "123456") == "find it: gcloud iam service-accounts list --project=123456"
    )
    assert (
        suggest("service_account", "runners", "example.com:p")
        == "find it: gcloud iam service-accounts list --project=example.com:p"
    )
    assert suggest("service_account", "runner", "project") == "write 'runner@project.iam.gserviceaccount.com'"
    assert suggest("service_account", "a" * 30, "project") == f"write '{'a' * 30}@project.iam.gserviceaccount.com'"
    assert (
        suggest("service_account", "a" * 31, "project") == "find it: gcloud iam service-accounts list --project=project"
    )
    assert suggest("network", "n", "") == (
        "write 'projects/NUMBER/global/networks/n'; the number: gcloud projects describe PROJECT "
        "--format='value(projectNumber)'"
    )
    assert (
        suggest("encryption_key", "k", "")
        == "find it: gcloud kms keys list --location=REGION --keyring=NAME --format='value(name)'"
    )
    assert region_meant(" europe_west 4 ") == "europe-west4"


def test_variables_that_are_not_read() -> None:
    def meant(name: str, dotenv: Mapping[str, str] | None = None, **environ: str) -> str:
        return misnamed(name, dotenv or {}, environ)

    assert meant("network", PROJECT="p") == ""
    assert meant("project", PROJECT="") == ""
    assert meant("project", GCP_REGION="p") == ""
    assert (
        meant("project", PROJECT="p")
        == "the environment has PROJECT, which is not a setting; did you mean GCP_PROJECT?"
    )
    assert (
        meant("project", gcp_project="p")
        == "the environment has gcp_project, which is not a setting; did you mean GCP_PROJECT?"
    )
    assert (
        meant("project", GCP_PROJCT="p", PROJECT="p")
        == "the environment has GCP_PROJCT, which is not a setting; did you mean GCP_PROJECT?"
    )
    assert (
        meant("bucket", {"BUCKET": "b"}, GCS_BUCKET="b")
        == ".env has BUCKET, which is not a setting; did you mean GCS_BUCKET_NAME?"
    )


def test_seconds_of_a_flag() -> None:
    faults: list[Finding] = []

    assert seconds("--timeout", None, faults) is None
    assert seconds("--timeout", "0.001", faults) == 0.001
    assert seconds("--timeout", str(LONGEST_TIME), faults) == LONGEST_TIME
    assert faults == []
    for text in ("0", "-1", "nan", "inf", "x", str(math.nextafter(LONGEST_TIME, math.inf))):
        assert seconds("--timeout", text, faults) is None
    assert [fault.text for fault in faults] == [
        "--timeout '0' is invalid: the seconds must be above 0 and at most 31536000",
        "--timeout '-1' is invalid: the seconds must be above 0 and at most 31536000",
        "--timeout 'nan' is invalid: the seconds must be above 0 and at most 31536000",
        "--timeout 'inf' is invalid: the seconds must be above 0 and at most 31536000",
        "--timeout 'x' is invalid: the seconds must be above 0 and at most 31536000",
        "--timeout '31536000.000000004' is invalid: the seconds must be above 0 and at most 31536000",
    ]


def test_labels() -> None:
    def refused(labels: dict[str, str]) -> list[str]:
        return [fault.message for fault in label_faults(labels)]

    assert refused({"a" * 64: "b" * 64, "é_-1": "", "k": "1-_"}) == []
    assert refused({f"k{number}": "v" for number in range(63)}) == []
    assert refused({f"k{number}": "v" for number in range(64)}) == ["64 labels are too many"]
    assert refused(
        {"a" * 65: "", "": "", "1a": "", "A": "", "a.b": "", "ok": "b" * 65, "ok2": "B", "run-kfp-submission": "x"}
    ) == [
        "invalid label key 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'",
        "invalid label key ''",
        "invalid label key '1a'",
        "invalid label key 'A'",
        "invalid label key 'a.b'",
        "label ok has the invalid value 'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb'",
        "label ok2 has the invalid value 'B'",
        "label key 'run-kfp-submission' is reserved",
    ]


def test_pairs_of_a_flag() -> None:
    faults: list[Finding] = []
    found = pairs("--label", ["a=1", "b=", "c==x", "=v", "d", "a=1", "b=2"], faults)

    assert found == {"a": "1", "b": "", "c": "=x"}
    assert [(fault.text, fault.hint) for fault in faults] == [
        ("--label requires NAME=VALUE; got a word without a name", "write --label NAME=VALUE"),
        ("--label requires NAME=VALUE; got a word without =", "write --label NAME=VALUE"),
        ("--label gives b twice, with two values", "remove one"),
    ]


# ── env files ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_lines_of_an_env_file(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(
        "\n# a comment\nA=1\nexport B='two words'\nEMPTY=\n\n\n  set C=3\nSETX D=4\nE: 5\nF\nG H=1\nexport I J=1\n"
        "K='open\nL=\"open\nM='a' b\n=x\nA=last\n"
    )
    faults: list[Finding] = []

    assert read_env_file(file, faults) == {"A": "last", "B": "two words", "EMPTY": "", "C": "3", "D": "4", "E": "5"}
    assert [(fault.text.replace(str(file), ".env"), fault.hint) for fault in faults] == [
        (".env: line 8: is not NAME=VALUE: a Windows command before the name", "remove the word before the name"),
        (".env: line 9: is not NAME=VALUE: a Windows command before the name", "remove the word before the name"),
        (".env: line 10: is not NAME=VALUE: a colon instead of =", "write = between name and value"),
        (".env: line 11: is not NAME=VALUE: = is missing", "write = between name and value; start a comment with #"),
        (".env: line 12: is not NAME=VALUE: a space in the name", "use only letters, digits and _ in a name"),
        (".env: line 13: is not NAME=VALUE: a space in the name", "use only letters, digits and _ in a name"),
        (".env: line 14: is not NAME=VALUE: invalid line", "quote values with spaces, quotes or #"),
        (".env: line 17: is not NAME=VALUE: invalid line", "quote values with spaces, quotes or #"),
    ]
    with pytest.raises(InputError, match="8 problems with"):
        read_env_file(file)
    assert read_env_file(tmp_path / "none") == {}


# ── words ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_words_that_are_near() -> None:
    regions = ("us-east1", "us-west1", "europe-west4", "NVIDIA_L4")
    expected = {
        "us-esat1": "us-east1",
        "US-EAST1": "us-east1",
        "us-east": "us-east1",
        "nvidia-l4": "NVIDIA_L4",
        "mars": "",
        "": "",
        "us-east1xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx": "",
    }
    assert taken(lambda text: nearest(text, regions), expected) == expected
    assert (did_you_mean("us-esat1", regions), did_you_mean("mars", regions), did_you_mean("x", ())) == (
        "did you mean 'us-east1'?",
        "",
        "",
    )


def test_values_in_a_sentence() -> None:
    assert (shown(True), shown("a"), shown(3), shown(10**5000)) == (
        "true",
        "'a'",
        "3",
        "a number of thousands of digits",
    )
    assert shown("x" * 80) == repr("x" * 80)
    assert shown("x" * 81) == "'" + "x" * 79 + "… (81 characters)"
    assert (
        shown([1] * 28)
        == "[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1… (84 characters)"
    )
    assert shown([1] * 1000) == (
        "[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1… (3,000 characters)"
    )
