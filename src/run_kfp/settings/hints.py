"""What was meant by a setting of a wrong form, or by a variable that is not read."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping

from run_kfp.settings.env_file import ENV_FILE
from run_kfp.settings.rules import RULES, wrong_form
from run_kfp.visible import shell_word

# Addresses that people copy, in front of what is meant.
_STORAGE = re.compile(
    r"^((gs:/+)+|/gcs/|https?://(console|storage)\.cloud\.google\.com/(storage/browser/)?"
    r"|https?://storage\.googleapis\.com/)"
)

_COMPUTE = re.compile(r"^(https?:)?//(www|compute)\.googleapis\.com/compute/\w+/")

_ACCOUNT = re.compile(r"^(serviceAccount:|projects/[^/]*/serviceAccounts/|<)+")

_AREAS = "africa|asia|australia|europe|me|northamerica|southamerica|us|eu|ap"

_DIRECTIONS = "northeast|northwest|southeast|southwest|north|south|east|west|central"

_LIKE_A_REGION = re.compile(rf"({_AREAS})[-_ ]?({_DIRECTIONS})[-_ ]?([0-9]{{1,2}})?(?:[-_ ]?([a-f]))?")

# As Amazon calls them.
_AREA_OF = {"eu": "europe", "ap": "asia"}


def region_meant(text: str) -> str:
    """Return the region that a text is, spelled as Google does: us-east1 for us-east-1, useast1, US-EAST1, us-east1-b.

    It need not exist. An empty text where none can be told.
    """
    found = _LIKE_A_REGION.fullmatch(text.strip().lower())
    return f"{_AREA_OF.get(found[1], found[1])}-{found[2]}{found[3]}" if found and found[3] else ""


def suggest(name: str, value: str, project: str) -> str:
    """Return the next step for a value of a wrong form; what it says to write has the right form.

    Args:
        name: of the setting, a key of `RULES`.
        value: what was given.
        project: for the commands to look at; empty where it is not known.
    """
    value = value.strip()
    of = f" --project={shell_word(project)}" if project else ""
    for meant in _meant(name, value, project):
        if meant and not wrong_form(name, meant):
            more = ""
            if name == "bucket" and (folder := re.sub(_STORAGE, "", value).partition("/")[2].strip("/")):
                more = f"; for a folder in it, set pipeline_root 'gs://{meant}/{folder}'"
            return f"write {meant!r}{more}"
    if name == "project":
        return "find it: gcloud projects list"
    if name == "region":
        return _suggest_region(value)
    if name in ("bucket", "pipeline_root"):
        return f"find it: gcloud storage buckets list{of}"
    if name == "service_account":
        who = "steps cannot run as a user account; " if re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", value) else ""
        return f"{who}find it: gcloud iam service-accounts list{of}"
    if name == "network" and re.fullmatch(r"[a-z0-9-]+", value):
        number = f"gcloud projects describe {shell_word(project or 'PROJECT')} --format='value(projectNumber)'"
        return f"write 'projects/NUMBER/global/networks/{value}'; the number: {number}"
    if name == "network" and "/subnetworks/" in value:
        return f"set the network, not its subnetwork: gcloud compute networks list{of}"
    if name == "encryption_key":
        return f"find it: gcloud kms keys list --location=REGION --keyring=NAME --format='value(name)'{of}"
    return ""


def _meant(name: str, value: str, project: str) -> Iterator[str]:
    """Yield what may have been meant by a value of a wrong form, the likeliest first; it need not be right either."""
    if name == "project":
        yield value.removeprefix("projects/").split("/")[0]
    elif name == "region":
        zone = re.fullmatch(r"(.*[0-9])-[a-f]", value)
        yield region_meant(value) or (zone[1] if zone else "")
    elif name == "bucket":
        yield re.sub(_STORAGE, "", value).split("/")[0]
    elif name == "pipeline_root" and not re.match(r"(?!gs|https?)\w+://", value):
        bucket, slash, folders = re.sub(_STORAGE, "", value).split("?")[0].partition("/")
        yield f"gs://{bucket}{slash}{re.sub('/{2,}', '/', folders).lstrip('/')}"
    elif name == "service_account":
        account = re.sub(_ACCOUNT, "", value).rstrip(">")
        user, at, domain = account.partition("@")
        google = ".".join(domain.split(".")[-2:])
        if difflib.SequenceMatcher(None, google, "gserviceaccount.com").ratio() > 0.8:
            yield f"{user}@{domain.removesuffix(google)}gserviceaccount.com"
        elif at and domain.endswith(".iam"):
            yield f"{account}.gserviceaccount.com"
        elif (
            project and ":" not in project and not project.isdigit() and re.fullmatch(r"[a-z][a-z0-9-]{5,29}", account)
        ):
            yield f"{account}@{project}.iam.gserviceaccount.com"
    elif name == "network":
        yield re.sub(_COMPUTE, "", value).strip("/")
    elif name == "encryption_key":
        yield re.sub(r"/cryptoKeyVersions/[^/]*$", "", re.sub(r"^/*(cloudkms\.googleapis\.com/(v1/)?)?", "", value))
    elif name == "api_endpoint":
        yield re.sub(r"^\w+://", "", value).split("/")[0]


_REGIONS_OF = {
    "us": "us-central1, us-east1 or us-west1",
    "europe": "europe-west1 or europe-west4",
    "eu": "europe-west1 or europe-west4",
    "asia": "asia-east1 or asia-southeast1",
}


def _suggest_region(value: str) -> str:
    value = value.lower()
    if value in (*_REGIONS_OF, "global", "multi-region"):
        return f"set one region, such as {_REGIONS_OF.get(value, 'us-central1 or europe-west4')}"
    if _LIKE_A_REGION.fullmatch(value):
        return "add the number at the end, as in us-central1"
    return "`run-kfp machines --json` lists the regions"


# Names of variables that other tools read, and this one does not.
_OTHER_VARIABLES: Mapping[str, tuple[str, ...]] = {
    "project": (
        *("GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT", "GOOGLE_PROJECT"),
        *("GCP_PROJECT_ID", "PROJECT_ID", "PROJECT"),
    ),
    "region": (
        *("GOOGLE_CLOUD_REGION", "GOOGLE_CLOUD_LOCATION", "CLOUDSDK_COMPUTE_REGION", "CLOUD_ML_REGION"),
        *("GCP_LOCATION", "LOCATION", "REGION"),
    ),
    "bucket": ("GCS_BUCKET", "GCP_BUCKET", "GOOGLE_CLOUD_BUCKET", "BUCKET_NAME", "BUCKET"),
    "service_account": ("GCP_SERVICE_ACCOUNT", "SERVICE_ACCOUNT", "SERVICE_ACCOUNT_EMAIL"),
}


def misnamed(name: str, dotenv: Mapping[str, str], environ: Mapping[str, str]) -> str:
    """Say which variable may have been meant for a setting that is missing: a misspelt one, or another tool's.

    Args:
        name: of the setting, a key of `RULES`.
        dotenv: the variables of `.env`.
        environ: those of the environment.
    """
    variable = RULES[name].variable
    if variable is None:
        return ""
    read = {rule.variable for rule in RULES.values()}
    for place, layer in ((ENV_FILE, dotenv), ("the environment", environ)):
        names = [each for each, value in layer.items() if value and each not in read]
        near = difflib.get_close_matches(variable, names, n=1, cutoff=0.85)
        near += [each for each in names if each.upper() == variable]
        near += [each for each in _OTHER_VARIABLES[name] if each in names]
        if near:
            return f"{place} has {near[0]}, which is not a setting; did you mean {variable}?"
    return ""
