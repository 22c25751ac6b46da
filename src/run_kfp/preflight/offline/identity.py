"""Checks of the run's settings against each other: accounts, names, places, keys."""

from __future__ import annotations

import difflib
import itertools
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from run_kfp.errors import InputError
from run_kfp.files import is_file, read_text
from run_kfp.preflight.findings import Code, Finding, Severity, When
from run_kfp.preflight.subject import Subject
from run_kfp.registry_file import PACKAGED
from run_kfp.secrets import is_template
from run_kfp.settings import RULES

ACCOUNT_DEFAULT = Code(
    "RK-ACCOUNT-DEFAULT",
    "identity",
    "the Compute Engine default account as the run's account",
    Severity.WARNING,
    When.SILENT,
    "every step may do what the default account may: often everything in the project",
    "NUMBER-compute@developer.gserviceaccount.com is what a job gets that names no account. Many projects made it an "
    "editor of everything; others removed its rights, and the job fails at its first read. Make an account for "
    "pipelines with the roles that they need.",
    "https://docs.cloud.google.com/vertex-ai/docs/pipelines/configure-project#service-account",
)
ACCOUNT_PROJECT = Code(
    "RK-ACCOUNT-PROJECT",
    "identity",
    "a run account of another project",
    Severity.WARNING,
    When.SUBMIT,
    "Vertex AI refuses: “You do not have permission to act as service_account”, unless both projects were set up for "
    "it",
    "A service account can be attached to jobs of its own project. To use it elsewhere, its project must not enforce "
    "iam.disableCrossProjectServiceAccountUsage, and the service agent of the run's project needs the role Service "
    "Account Token Creator on it.",
    "https://docs.cloud.google.com/iam/docs/attach-service-accounts#attaching-different-project",
)
ACCOUNT_FORM = Code(
    "RK-ACCOUNT-FORM",
    "identity",
    "an e-mail that no service account of a team has",
    Severity.ERROR,
    When.SUBMIT,
    "Vertex AI refuses: “You do not have permission to act as service_account … (or it may not exist)”",
    "The name in front of the @ has 6 to 30 lower-case letters, digits and dashes and begins with a letter. Accounts "
    "of Google's own services (service-…@gcp-sa-…, …@cloudservices.gserviceaccount.com) cannot run a team's steps.",
    "https://docs.cloud.google.com/iam/docs/service-accounts-create",
)
BUCKET_NAME = Code(
    "RK-BUCKET-NAME",
    "storage",
    "a name that no bucket can have",
    Severity.ERROR,
    When.CREATE,
    "the run fails at its first file: there can be no such bucket",
    "A bucket's name has 3 to 63 lower-case letters, digits, dashes, underscores and dots, begins and ends with a "
    "letter or digit, does not look like an IP address, does not begin with goog and holds no google. With dots it "
    "may be longer, and each part has at most 63 characters.",
    "https://docs.cloud.google.com/storage/docs/buckets#naming",
)
BUCKET_TWO = Code(
    "RK-BUCKET-TWO",
    "storage",
    "two buckets whose names differ by a letter",
    Severity.NOTE,
    When.SILENT,
    "where one of them is misspelt, the run's own files and its data go to two places, or it fails at its first file",
    "The pipeline root (pipeline_root) holds what Vertex AI writes for a run; the bucket is handed to the steps. They "
    "may be two buckets. Where their names differ by a single letter, one is likely misspelt.",
    "run-kfp's own rules",
)
SETTING_TEMPLATE = Code(
    "RK-SETTING-TEMPLATE",
    "settings",
    "a setting that is still the text of a template",
    Severity.WARNING,
    When.SUBMIT,
    "Vertex AI refuses the job, or does not find what the setting names",
    "A name such as your-project or project-id has the right form and comes from an example that nobody filled in.",
    "run-kfp's own rules",
)
REGION_PACKAGED = Code(
    "RK-REGION-PACKAGED",
    "settings",
    "a region that nobody chose",
    Severity.NOTE,
    When.SILENT,
    "the run is made in that region, far from a bucket that lies elsewhere",
    "Without a registry of its own, a call takes the packaged one, whose [settings] name a region. A finished file "
    "(-f) has nothing else to do with that registry. Give the region by --region, GCP_REGION, or a run-kfp.toml.",
    "docs/settings.md",
)
KEY_REGION = Code(
    "RK-KMS-REGION",
    "settings",
    "an encryption key of another region",
    Severity.ERROR,
    When.SUBMIT,
    "Vertex AI refuses the job",
    "A customer-managed key encrypts resources of its own region alone; keys of the location global do not serve.",
    "https://docs.cloud.google.com/vertex-ai/docs/general/cmek",
)
ENDPOINT_REGION = Code(
    "RK-ENDPOINT-REGION",
    "settings",
    "an API endpoint of another region",
    Severity.ERROR,
    When.SUBMIT,
    "Vertex AI refuses the job, or looks for it where it is not",
    "The host REGION-aiplatform.googleapis.com serves its own region. Leave --api-endpoint out, or name the region's "
    "host.",
    "https://docs.cloud.google.com/vertex-ai/docs/general/locations",
)
ENDPOINT_HOST = Code(
    "RK-ENDPOINT-HOST",
    "settings",
    "an API endpoint that is nearly one of Vertex AI",
    Severity.WARNING,
    When.SUBMIT,
    "the submission does not find the host, or sends its token to another one",
    "The hosts of Vertex AI are REGION-aiplatform.googleapis.com, aiplatform.REGION.rep.googleapis.com and, for "
    "private endpoints, REGION-aiplatform-NAME.p.googleapis.com. Leave --api-endpoint out where none of them is "
    "needed.",
    "https://docs.cloud.google.com/vertex-ai/docs/general/locations",
)
NETWORK_NUMBER = Code(
    "RK-NETWORK-NUMBER",
    "settings",
    "a network named by the project's id",
    Severity.WARNING,
    When.CREATE,
    "the job fails: the network is not found",
    "The network of a job is projects/NUMBER/global/networks/NAME, with the number of the project, not its id. "
    "`gcloud projects describe ID --format='value(projectNumber)'` prints it.",
    "google/cloud/aiplatform/v1/pipeline_job.proto (network)",
)
JOB_ID_FIXED = Code(
    "RK-JOB-ID-FIXED",
    "settings",
    "a job id that works once",
    Severity.NOTE,
    When.SUBMIT,
    "a second submission with the same id is refused",
    "Ids of runs are unique in a project and region for ever. Leave --job-id out for a fresh one each time.",
    "https://docs.cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.pipelineJobs/create",
)
LOGIN_MISSING = Code(
    "RK-LOGIN-MISSING",
    "identity",
    "no Google login on this machine",
    Severity.NOTE,
    When.SUBMIT,
    "the submission ends at once: no usable Google credentials (on a machine of Google's, its own account is used)",
    "The login is the key file that GOOGLE_APPLICATION_CREDENTIALS names, else what `gcloud auth application-default "
    "login` left, else the account of the machine, where Google runs it. In a container, mount one of the two files.",
    "https://docs.cloud.google.com/docs/authentication/application-default-credentials",
)
LOGIN_FILE = Code(
    "RK-LOGIN-FILE",
    "identity",
    "a key file that is none",
    Severity.ERROR,
    When.SUBMIT,
    "the submission ends at once: no usable Google credentials",
    "GOOGLE_APPLICATION_CREDENTIALS names a JSON file: the key of a service account, with client_email, private_key "
    "and token_uri, or what gcloud wrote at a login.",
    "https://docs.cloud.google.com/docs/authentication/application-default-credentials#GAC",
)
LOGIN_PROJECT = Code(
    "RK-LOGIN-PROJECT",
    "identity",
    "a key of another project",
    Severity.NOTE,
    When.SUBMIT,
    "Vertex AI refuses the job, unless that account has its roles in the run's project",
    "The key in use belongs to a service account of another project than the run's. That works where the account was "
    "given its roles here; more often the key of another environment is still set.",
    "https://docs.cloud.google.com/iam/docs/keys-create-delete",
)

_LOGIN = (
    "run `gcloud auth application-default login`, "
    "or set GOOGLE_APPLICATION_CREDENTIALS to the file of a service account key"
)


def check_identity(subject: Subject, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Check accounts, bucket names, keys and ids of the settings; a malformed one is told elsewhere.

    Args:
        subject: what is checked.
        environ: for where gcloud keeps its login.
    """
    settings = subject.settings
    yield from _templates(subject)
    yield from _account(subject)
    yield from _buckets(subject)
    yield from _login(subject, environ)
    region = subject.region
    key = subject.setting("encryption_key")
    if key and region and (location := key.split("/")[3]) != region:
        yield KEY_REGION(
            subject.place("encryption_key"),
            f"the key lies in {location}, and the run is in {region}",
            f"name a key of {region}: gcloud kms keys list --location={region} --keyring=NAME",
        )
    if region and settings.values["region"].place.startswith(f"{PACKAGED}: ") and _is_file(subject):
        yield REGION_PACKAGED(
            subject.place("region"),
            f"the run is in {region}, which the packaged registry says and nobody else",
            f"if that is not meant: --region REGION, or {RULES['region'].variable} in .env",
        )
    endpoint = subject.setting("api_endpoint") or ""
    if meant := _endpoint_meant(endpoint):
        yield ENDPOINT_HOST(
            subject.place("api_endpoint"), f"{endpoint} is no host of Vertex AI", f"did you mean {meant!r}?"
        )
    host = re.match(r"([a-z]+-[a-z]+[0-9]+)-aiplatform\.", endpoint)
    if host and region and host[1] != region:
        yield ENDPOINT_REGION(
            subject.place("api_endpoint"),
            f"{endpoint} serves {host[1]}, and the run is in {region}",
            f"leave it out, or write {region}-aiplatform.googleapis.com",
        )
    network = subject.setting("network")
    if network and not network.split("/")[1].isdigit():
        project = network.split("/")[1]
        yield NETWORK_NUMBER(
            subject.place("network"),
            f"the network is named by the id {project!r}; Vertex AI takes the project's number",
            f"gcloud projects describe {project} --format='value(projectNumber)'",
        )
    if subject.job_id is not None:
        yield JOB_ID_FIXED(
            "--job-id", f"the id {subject.job_id!r} works for one submission", "leave it out for a fresh id each time"
        )


# A part of a name that examples have where a reader is to put a name of their own.
_STAND_IN = re.compile(
    r"your[-_]((gcp|gcs|google|own|cloud|service)[-_])*(project|bucket|account|sa|network|vpc|key|keyring|org)"
    r"([-_](id|name|here))*|(gcp[-_])?project[-_](id|name|number)|bucket[-_]name|change[-_]?me"
)


def _templates(subject: Subject) -> Iterator[Finding]:
    """Say which settings are of a right form and still text of an example."""
    for name in RULES:
        value = subject.setting(name)
        # What is handed to a step is told as a parameter.
        if value is None or (name in subject.values and is_template(value)):
            continue
        if part := next((part for part in re.split(r"[/@:.]+", value) if _STAND_IN.fullmatch(part)), None):
            yield SETTING_TEMPLATE(
                subject.place(name),
                f"{name.replace('_', ' ')} is {value!r}, and {part!r} looks like an example that nobody filled in",
                f"put the name there, or give it by {RULES[name].flag}",
            )


def _is_file(subject: Subject) -> bool:
    """Whether the pipeline is a finished file."""
    return not any(step.container for step in subject.steps)


def _endpoint_meant(endpoint: str) -> str:
    """Return the host of Vertex AI that an endpoint misspells; empty where it is one, or none at all."""
    host = endpoint.lower().partition(":")[0]
    labels = host.split(".")
    meant = [
        _nearly(label, "googleapis") if number == len(labels) - 2 else label for number, label in enumerate(labels)
    ]
    meant[0] = "-".join(_nearly(word, "aiplatform") for word in meant[0].split("-"))
    joined = ".".join(meant)
    is_google = joined.endswith(".googleapis.com") and "aiplatform" in joined
    return joined if is_google and joined != host else ""


def _nearly(word: str, known: str) -> str:
    """Return `known` where `word` is a misspelling of it, else `word`."""
    return known if difflib.SequenceMatcher(None, word, known).ratio() >= 0.8 else word


def _account(subject: Subject) -> Iterator[Finding]:
    account = subject.setting("service_account")
    if account is None:
        return
    place = subject.place("service_account")
    name, _, domain = account.partition("@")
    if domain == "developer.gserviceaccount.com":
        yield ACCOUNT_DEFAULT(
            place,
            f"{account} is the Compute Engine default account",
            "make one for pipelines: gcloud iam service-accounts create pipeline-runner",
        )
    elif domain.startswith("gcp-sa-") or domain in ("cloudservices.gserviceaccount.com", "system.gserviceaccount.com"):
        yield ACCOUNT_FORM(
            place,
            f"{account} is an account of Google's own services",
            "name an account of your project: gcloud iam service-accounts list",
        )
    elif match := re.fullmatch(r"(.+)\.iam\.gserviceaccount\.com", domain):
        if not re.fullmatch(r"[a-z][a-z0-9-]{4,28}[a-z0-9]", name):
            yield ACCOUNT_FORM(
                place,
                f"{name!r} is no name of a service account: 6 to 30 lower-case letters, digits and dashes, a letter "
                "first",
                "look it up: gcloud iam service-accounts list",
            )
        elif (project := subject.project) and not project.isdigit() and _project_of(match[1]) != project:
            yield ACCOUNT_PROJECT(
                place,
                f"{account} is of project {_project_of(match[1])!r}, and the run is in {project!r}",
                f"did you mean {name}@{project}.iam.gserviceaccount.com?"
                if ":" not in project and _differ_by_a_letter(match[1], project)
                else f"name an account of {project}: gcloud iam service-accounts list --project={project}",
            )


def _project_of(domain: str) -> str:
    """Return the project of an account's domain; one that belongs to an organisation is written back to front there."""
    project, dot, organisation = domain.partition(".")
    return f"{organisation}:{project}" if dot else project


def _buckets(subject: Subject) -> Iterator[Finding]:
    for name in ("bucket", "pipeline_root"):
        value = subject.setting(name)
        if value is None:
            continue
        bucket = value.removeprefix("gs://").partition("/")[0]
        if words := _bucket_fault(bucket):
            yield BUCKET_NAME(subject.place(name), f"{bucket!r} {words}", "look it up: gcloud storage buckets list")
    data, root = subject.setting("bucket"), subject.setting("pipeline_root")
    if data and root and _differ_by_a_letter(data, bucket := root.removeprefix("gs://").partition("/")[0]):
        yield BUCKET_TWO(
            subject.place("pipeline_root"),
            f"the pipeline root is in {bucket!r} and the bucket is {data!r}",
            f"if one bucket is meant: gs://{data}{root.removeprefix('gs://').removeprefix(bucket)}",
        )


def _differ_by_a_letter(one: str, other: str) -> bool:
    """Whether two names differ by one letter, or by two neighbours that changed places; digits are no accident."""
    start = _common(one, other)
    end = _common(one[start:][::-1], other[start:][::-1])
    first, second = one[start : len(one) - end], other[start : len(other) - end]
    swapped = len(first) == 2 and first == second[::-1]
    single = {len(first), len(second)} <= {0, 1} and first != second
    return (swapped or single) and (first + second).isalpha()


def _bucket_fault(name: str) -> str:
    """Say why no bucket can have this name, as far as the form of the setting did not say it."""
    parts = name.split(".")
    if len(parts) == 1 and len(name) > 63:
        return f"has {len(name)} characters; a bucket's name has at most 63"
    if any(not part or len(part) > 63 for part in parts):
        return "has a part between dots that is empty or longer than 63 characters"
    if any(part.startswith("-") or part.endswith("-") for part in parts):
        return "has a dash beside a dot"
    if re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3}){3}", name):
        return "looks like an IP address"
    if name.startswith("goog") or "google" in name:
        return "begins with goog or holds google, which Google keeps for itself"
    return ""


def _common(one: str, other: str) -> int:
    """Return how many letters two texts begin with in common."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _login(subject: Subject, environ: Mapping[str, str]) -> Iterator[Finding]:
    file, place = subject.settings.credentials_file, subject.settings.credentials_place
    if file is None:
        folder = environ.get("CLOUDSDK_CONFIG") or (
            str(Path(environ["APPDATA"]) / "gcloud")
            if os.name == "nt" and "APPDATA" in environ
            else str(Path(environ.get("HOME", "")) / ".config" / "gcloud")
        )
        if not is_file(Path(folder) / "application_default_credentials.json"):
            yield LOGIN_MISSING(place, "no Google login is found on this machine", _LOGIN)
        return
    words, key = _read_login(file)
    if words:
        yield LOGIN_FILE(place, f"names {_shown(file)}, {words}", _LOGIN)
    project = subject.project
    of = key.get("project_id")
    if isinstance(of, str) and project and not project.isdigit() and of != project:
        yield LOGIN_PROJECT(
            place,
            f"the key is of project {of!r}, and the run is in {project!r}",
            "use a key of that project, or see that the account has its roles there",
        )


def _shown(file: Path) -> str:
    """Return the name of a key file, or words for it: what stands in the variable may be the key itself."""
    text = str(file)
    is_name = is_file(file) or re.fullmatch(r"[\w ./\\:~-]{1,200}\.json", text, re.IGNORECASE)
    return repr(text) if is_name and text.isprintable() else "a text that is no name of a key file"


def _read_login(file: Path) -> tuple[str, Mapping[str, Any]]:
    """Return what is wrong with a key file, and what it holds."""
    if not is_file(file):
        return "and no such file is there", {}
    try:
        key = json.loads(read_text(file, "the key file") or "")
    except InputError:
        return "which cannot be read", {}
    except (ValueError, RecursionError):
        return "which is not JSON", {}
    if not isinstance(key, dict) or not isinstance(key.get("type"), str):
        return "which is JSON but no key: it has no type", {}
    if key["type"] == "service_account":
        missing = [name for name in ("client_email", "private_key", "token_uri") if not isinstance(key.get(name), str)]
        if missing:
            return f"a service account key without {', '.join(missing)}", key
        if "PRIVATE KEY-----" not in key["private_key"]:
            return "a service account key whose private_key is none", key
    return "", key
