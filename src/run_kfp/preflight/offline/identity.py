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
from run_kfp.findings import Finding
from run_kfp.preflight.context import CheckContext
from run_kfp.preflight.rules import rule
from run_kfp.registry_file import PACKAGED
from run_kfp.secrets import is_template
from run_kfp.settings import RULES
from run_kfp.visible import shell_word

ACCOUNT_DEFAULT = rule("RK-ACCOUNT-DEFAULT")
ACCOUNT_PROJECT = rule("RK-ACCOUNT-PROJECT")
ACCOUNT_FORM = rule("RK-ACCOUNT-FORM")
BUCKET_NAME = rule("RK-BUCKET-NAME")
BUCKET_TWO = rule("RK-BUCKET-TWO")
SETTING_TEMPLATE = rule("RK-SETTING-TEMPLATE")
REGION_PACKAGED = rule("RK-REGION-PACKAGED")
KEY_REGION = rule("RK-KMS-REGION")
ENDPOINT_REGION = rule("RK-ENDPOINT-REGION")
ENDPOINT_HOST = rule("RK-ENDPOINT-HOST")
NETWORK_NUMBER = rule("RK-NETWORK-NUMBER")
JOB_ID_FIXED = rule("RK-JOB-ID-FIXED")
LOGIN_MISSING = rule("RK-LOGIN-MISSING")
LOGIN_FILE = rule("RK-LOGIN-FILE")
LOGIN_PROJECT = rule("RK-LOGIN-PROJECT")

_LOGIN = (
    "run `gcloud auth application-default login`, "
    "or set GOOGLE_APPLICATION_CREDENTIALS to the file of a service account key"
)


def check_identity(context: CheckContext, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Check accounts, bucket names, keys and ids of the settings; a malformed one is told elsewhere.

    Args:
        context: what is checked.
        environ: for where gcloud keeps its login.
    """
    settings = context.settings
    yield from _templates(context)
    yield from _account(context)
    yield from _buckets(context)
    yield from _login(context, environ)
    region = context.region
    key = context.setting("encryption_key")
    if key and region and (location := key.split("/")[3]) != region:
        yield KEY_REGION(
            context.place("encryption_key"),
            f"the key is in {location}, the run is in {region}",
            f"set a key of {region}: gcloud kms keys list --location={shell_word(region)} --keyring=NAME",
        )
    if region and settings.values["region"].place.startswith(f"{PACKAGED}: ") and _is_file(context):
        yield REGION_PACKAGED(
            context.place("region"),
            f"the run is in {region}, set by the packaged registry only",
            f"to change it: --region REGION, or {RULES['region'].variable} in .env",
        )
    endpoint = context.setting("api_endpoint") or ""
    if meant := _endpoint_meant(endpoint):
        yield ENDPOINT_HOST(
            context.place("api_endpoint"), f"{endpoint} is not a Vertex AI host", f"did you mean {meant!r}?"
        )
    host = re.match(r"([a-z]+-[a-z]+[0-9]+)-aiplatform\.", endpoint)
    if host and region and host[1] != region:
        yield ENDPOINT_REGION(
            context.place("api_endpoint"),
            f"{endpoint} serves {host[1]}; the run is in {region}",
            f"remove it, or set {region}-aiplatform.googleapis.com",
        )
    network = context.setting("network")
    if network and not network.split("/")[1].isdigit():
        project = network.split("/")[1]
        yield NETWORK_NUMBER(
            context.place("network"),
            f"the network is named by the id {project!r}; Vertex AI takes the project's number",
            f"gcloud projects describe {shell_word(project)} --format='value(projectNumber)'",
        )
    if context.job_id is not None:
        yield JOB_ID_FIXED(
            "--job-id", f"the id {context.job_id!r} works for one submission", "remove it to get a new id each time"
        )


# A part of a name that examples have where a reader is to put a name of their own.
_STAND_IN = re.compile(
    r"your[-_]((gcp|gcs|google|own|cloud|service)[-_])*(project|bucket|account|sa|network|vpc|key|keyring|org)"
    r"([-_](id|name|here))*|(gcp[-_])?project[-_](id|name|number)|bucket[-_]name|change[-_]?me"
)


def _templates(context: CheckContext) -> Iterator[Finding]:
    """Say which settings are of a right form and still text of an example."""
    for name in RULES:
        value = context.setting(name)
        # What is handed to a step is told as a parameter.
        if value is None or (name in context.values and is_template(value)):
            continue
        if part := next((part for part in re.split(r"[/@:.]+", value) if _STAND_IN.fullmatch(part)), None):
            yield SETTING_TEMPLATE(
                context.place(name),
                f"{name.replace('_', ' ')} is {value!r}, and {part!r} looks like a placeholder",
                f"set the name there, or pass {RULES[name].flag}",
            )


def _is_file(context: CheckContext) -> bool:
    """Whether the pipeline is a finished file."""
    return not any(step.container for step in context.steps)


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


def _account(context: CheckContext) -> Iterator[Finding]:
    account = context.setting("service_account")
    if account is None:
        return
    place = context.place("service_account")
    name, _, domain = account.partition("@")
    if domain == "developer.gserviceaccount.com":
        yield ACCOUNT_DEFAULT(
            place,
            f"{account} is the Compute Engine default account",
            "create one for pipelines: gcloud iam service-accounts create pipeline-runner",
        )
    elif domain.startswith("gcp-sa-") or domain in ("cloudservices.gserviceaccount.com", "system.gserviceaccount.com"):
        yield ACCOUNT_FORM(
            place,
            f"{account} is an account of a Google service",
            "set an account of your project: gcloud iam service-accounts list",
        )
    elif match := re.fullmatch(r"(.+)\.iam\.gserviceaccount\.com", domain):
        if not re.fullmatch(r"[a-z][a-z0-9-]{4,28}[a-z0-9]", name):
            yield ACCOUNT_FORM(
                place,
                f"{name!r} is not a service account name: 6 to 30 lower-case letters, digits and dashes, a letter "
                "first",
                "find it: gcloud iam service-accounts list",
            )
        elif (project := context.project) and not project.isdigit() and _project_of(match[1]) != project:
            yield ACCOUNT_PROJECT(
                place,
                f"{account} is of project {_project_of(match[1])!r}, and the run is in {project!r}",
                f"did you mean {name}@{project}.iam.gserviceaccount.com?"
                if ":" not in project and _differ_by_a_letter(match[1], project)
                else f"set an account of {project}: gcloud iam service-accounts list --project={shell_word(project)}",
            )


def _project_of(domain: str) -> str:
    """Return the project of an account's domain; one that belongs to an organisation is written back to front there."""
    project, dot, organisation = domain.partition(".")
    return f"{organisation}:{project}" if dot else project


def _buckets(context: CheckContext) -> Iterator[Finding]:
    for name in ("bucket", "pipeline_root"):
        value = context.setting(name)
        if value is None:
            continue
        bucket = value.removeprefix("gs://").partition("/")[0]
        if words := _bucket_fault(bucket):
            yield BUCKET_NAME(context.place(name), f"{bucket!r} {words}", "find it: gcloud storage buckets list")
    data, root = context.setting("bucket"), context.setting("pipeline_root")
    if data and root and _differ_by_a_letter(data, bucket := root.removeprefix("gs://").partition("/")[0]):
        yield BUCKET_TWO(
            context.place("pipeline_root"),
            f"the pipeline root is in {bucket!r} and the bucket is {data!r}",
            f"to use one bucket: gs://{data}{root.removeprefix('gs://').removeprefix(bucket)}",
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
    if any(len(part) > 63 for part in parts):
        return "has a part between dots that is longer than 63 characters"
    if any(part.startswith("-") or part.endswith("-") for part in parts):
        return "has a dash beside a dot"
    if re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3}){3}", name):
        return "looks like an IP address"
    if name.startswith("goog") or "google" in name:
        return "starts with goog or contains google, which Google reserves"
    return ""


def _common(one: str, other: str) -> int:
    """Return how many letters two texts begin with in common."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _login(context: CheckContext, environ: Mapping[str, str]) -> Iterator[Finding]:
    file, place = context.settings.credentials_file, context.settings.credentials_place
    if file is None:
        folder = environ.get("CLOUDSDK_CONFIG") or (
            str(Path(environ["APPDATA"]) / "gcloud")
            if os.name == "nt" and "APPDATA" in environ
            else str(Path(environ.get("HOME", "")) / ".config" / "gcloud")
        )
        if not is_file(Path(folder) / "application_default_credentials.json"):
            yield LOGIN_MISSING(place, "no Google login found on this machine", _LOGIN)
        return
    words, key = _read_login(file)
    if words:
        yield LOGIN_FILE(place, f"names {_shown(file)}, {words}", _LOGIN)
    project = context.project
    of = key.get("project_id")
    if isinstance(of, str) and project and not project.isdigit() and of != project:
        yield LOGIN_PROJECT(
            place,
            f"the key is of project {of!r}, and the run is in {project!r}",
            "use a key of that project, or grant the account its roles there",
        )


def _shown(file: Path) -> str:
    """Return the name of a key file, or words for it: what stands in the variable may be the key itself."""
    text = str(file)
    is_name = is_file(file) or re.fullmatch(r"[\w ./\\:~-]{1,200}\.json", text, re.IGNORECASE)
    return repr(text) if is_name and text.isprintable() else "a text that is not the path of a key file"


def _read_login(file: Path) -> tuple[str, Mapping[str, Any]]:
    """Return what is wrong with a key file, and what it holds."""
    if not is_file(file):
        return "which does not exist", {}
    try:
        key = json.loads(read_text(file, "the key file") or "")
    except InputError:
        return "which cannot be read", {}
    except (ValueError, RecursionError):
        return "which is not JSON", {}
    if not isinstance(key, dict) or not isinstance(key.get("type"), str):
        return "which is JSON but not a key: it has no type", {}
    if key["type"] == "service_account":
        missing = [name for name in ("client_email", "private_key", "token_uri") if not isinstance(key.get(name), str)]
        if missing:
            return f"a service account key without {', '.join(missing)}", key
        if "PRIVATE KEY-----" not in key["private_key"]:
            return "a service account key whose private_key is none", key
    return "", key
