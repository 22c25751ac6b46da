"""Which settings there are, and the forms of their values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from run_kfp.errors import shown
from run_kfp.findings import Finding

SECRETS_VARIABLE = "RUN_KFP_SECRETS"

CREDENTIALS_VARIABLE = "GOOGLE_APPLICATION_CREDENTIALS"

# Seconds for reaching the backend, retries included. `PipelineJob.submit()` has none and takes 67 s to say that
# everything is down.
DEFAULT_TIMEOUT = 60.0

# Seconds of a year: more is a mistake, and more than a clock can wait.
LONGEST_TIME = 31_536_000.0

FAILURE_POLICIES = ("fast", "slow")

# A bucket name: https://cloud.google.com/storage/docs/buckets#naming (dots only in domain-named buckets, up to 222
# characters then, no empty part between two).
_BUCKET = r"[a-z0-9](?:[a-z0-9_-]|\.(?!\.)){1,220}[a-z0-9]"


@dataclass(frozen=True)
class Rule:
    """A setting: its flag, its variable (where it has one), the form of its value and words for that form."""

    flag: str
    variable: str | None
    pattern: str
    allowed: str


# The variables are those of the system that this tool took over from; no others are read.
RULES: Mapping[str, Rule] = {
    "project": Rule(
        "--project",
        "GCP_PROJECT",
        r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]|[0-9]+",
        "a project id (6 to 30 lower-case letters, digits, dashes)",
    ),
    "region": Rule("--region", "GCP_REGION", r"[a-z]+-[a-z]+[0-9]+", "a region such as us-east1"),
    "bucket": Rule(
        "--bucket",
        "GCS_BUCKET_NAME",
        _BUCKET,
        "a bucket name without gs:// (lower-case letters, digits, dashes, underscores, dots)",
    ),
    "service_account": Rule(
        "--service-account",
        "GCS_SERVICE_ACCOUNT",
        r"[^@\s:/<>]+@([a-z0-9.-]+\.)?gserviceaccount\.com",
        "an e-mail such as name@project.iam.gserviceaccount.com",
    ),
    "pipeline_root": Rule(
        "--pipeline-root", None, rf"gs://{_BUCKET}(/(?!/)[^\s]*)?", "a folder such as gs://bucket/pipeline_root"
    ),
    "network": Rule(
        "--network", None, r"projects/[^/\s]+/global/networks/[^/\s]+", "projects/<number>/global/networks/<name>"
    ),
    "encryption_key": Rule(
        "--encryption-key",
        None,
        r"projects/[^/\s]+/locations/[^/\s]+/keyRings/[^/\s]+/cryptoKeys/[^/\s]+",
        "projects/…/locations/…/keyRings/…/cryptoKeys/…",
    ),
    "api_endpoint": Rule(
        "--api-endpoint", None, r"[A-Za-z0-9.-]+(:[0-9]{1,5})?", "a host, with a port where it is not 443"
    ),
}


def seconds(flag: str, text: str | None, faults: list[Finding]) -> float | None:
    """Read a number of seconds above 0; None when `text` is None or is no such number, which is then a fault."""
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if 0 < value <= LONGEST_TIME:
        return value
    faults.append(
        Finding(
            f"{flag} {text!r} is invalid: the seconds must be above 0 and at most {LONGEST_TIME:.0f}",
            f"write a number such as {flag} 30",
            code="RK-SETTING-FORMAT",
            place=flag,
        )
    )
    return None


# What a whole value looks like that breaks a rule, and the rule in words, for each setting; "" are those of every
# setting. The first that matches is told.
_BROKEN: Mapping[str, tuple[tuple[str, str], ...]] = {
    "": (
        (r"[^<]*<.*>.*|.*(\$\w|[{}]).*", "it is still a placeholder"),
        (r"((YOUR|MY)[_-])?(GCP[_-])?(PROJECT|BUCKET|REGION)([_-](ID|NAME))?", "it is still a placeholder"),
        (r"\s.*|.*\s", "it has white space around it"),
        (r".*\s.*", "it contains white space"),
    ),
    "project": (
        (r".*[A-Z].*", "it has upper-case letters"),
        (r".*[^a-z0-9-].*", "it has invalid characters"),
        (r"[^a-z].*", "it does not start with a letter"),
        (r".*-", "it ends with a dash"),
        (r".{0,5}", "it is shorter than 6 characters"),
        (r".{31,}", "it is longer than 30 characters"),
    ),
    "region": (
        (r".*[0-9]-[a-f]", "it is a zone"),
        (r"(?i:us|eu|europe|asia|global|multi-region)", "it is several regions"),
        (r".*[A-Z].*", "it has upper-case letters"),
    ),
    "bucket": (
        (r"(gs:|https?:|/gcs/).*", "it is an address"),
        (r".*/.*", "it contains a slash; set a folder with pipeline_root"),
        (r".*[A-Z].*", "it has upper-case letters"),
        (r".*[^a-z0-9._-].*", "it has invalid characters"),
        (r"[^a-z0-9].*", "it does not start with a letter or digit"),
        (r".*[^a-z0-9]", "it does not end with a letter or digit"),
        (r".{0,2}", "it is shorter than 3 characters"),
        (r".{223,}", "it is longer than 222 characters"),
    ),
    "pipeline_root": (
        (r"(?!gs://).*", "it does not start with gs://"),
        (r"gs://gs://.*", "it starts with gs:// twice"),
        (r"gs://(/.*)?", "it has no bucket"),
        (r"gs://.*//.*", "it contains an empty folder name (two slashes)"),
        (r"gs://[^/]*[A-Z].*", "its bucket has upper-case letters"),
        (r"gs://.*", "its bucket name is invalid"),
    ),
}


def wrong_form(name: str, value: str) -> str:
    """Say that a value is not of the form of its setting, and which rule it breaks; empty where it is right."""
    rule = RULES[name]
    if re.fullmatch(rule.pattern, value):
        return ""
    rules = (*_BROKEN[""], *_BROKEN.get(name, ()))
    broken = next((words for pattern, words in rules if re.fullmatch(pattern, value, re.DOTALL)), "")
    return f"is {shown(value)}, which is not {rule.allowed}" + (f": {broken}" if broken else "")


def label_faults(labels: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what Google's rules for labels refuse.

    They allow 64 characters (lower-case letters, digits, `_`, `-`; a letter first in a key) and 64 labels.

    Source: the `labels` of PipelineJob in the API (google/cloud/aiplatform/v1/pipeline_job.proto).
    """

    def allowed(text: str) -> bool:
        return len(text) <= 64 and all(c in "_-" or c.isdigit() or (c.isalpha() and c == c.lower()) for c in text)

    for key, value in labels.items():
        place = f"label {key}"
        if not (key and allowed(key) and key[0].isalpha()):
            yield Finding(
                f"invalid label key {key!r}",
                "use up to 64 lower-case letters, digits, _ and -, and begin with a letter",
                "RK-LABEL",
                place,
            )
        if not allowed(value):
            yield Finding(
                f"label {key} has the invalid value {value!r}",
                "use up to 64 lower-case letters, digits, _ and -",
                "RK-LABEL",
                place,
            )
        if key in RESERVED_LABELS:
            yield Finding(f"label key {key!r} is reserved", "choose another key", "RK-LABEL", place)
    if len(labels) > 64 - 1:  # one is ours
        yield Finding(f"{len(labels)} labels are too many", "a run can have at most 63", "RK-LABEL", "the labels")


# Our mark by which a retry knows its own run, and the one that Vertex overwrites.
SUBMISSION_LABEL = "run-kfp-submission"

RESERVED_LABELS = frozenset({SUBMISSION_LABEL, "vertex-ai-pipelines-run-billing-id"})


def pairs(flag: str, words: Sequence[str], faults: list[Finding]) -> dict[str, str]:
    """Read `NAME=VALUE` words of a repeatable flag; faults are appended.

    The value may hold anything, `=` too, and may be empty.
    """
    read: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            # What was typed is not repeated: with the name left out it may be a value.
            faults.append(
                Finding(
                    f"{flag} requires NAME=VALUE; got a word without {'=' if not equals else 'a name'}",
                    f"write {flag} NAME=VALUE",
                    place=flag,
                )
            )
        elif name in read and read[name] != value:
            faults.append(Finding(f"{flag} gives {name} twice, with two values", "remove one", place=flag))
        else:
            read[name] = value
    return read
