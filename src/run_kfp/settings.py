"""Settings: flags over environment over `.env` over the registry's `[settings]`.

Loading never asks what a call needs: `Settings.require` says which are missing, for whoever is about to use them.
"""

from __future__ import annotations

import difflib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from run_kfp.arguments import text_fault
from run_kfp.errors import Fault, InputError, did_you_mean, shown
from run_kfp.files import read_text
from run_kfp.registry import SettingsSection

ENV_FILE = ".env"
SECRETS_VARIABLE = "RUN_KFP_SECRETS"
CREDENTIALS_VARIABLE = "GOOGLE_APPLICATION_CREDENTIALS"

# Seconds for reaching the backend, retries included. `PipelineJob.submit()` has none and takes 67 s to say that
# everything is down.
DEFAULT_TIMEOUT = 60.0

# Seconds of a year: more is a mistake, and more than a clock can wait.
LONGEST_TIME = 31_536_000.0

FAILURE_POLICIES = ("fast", "slow")

# A bucket name: https://cloud.google.com/storage/docs/buckets#naming (dots only in domain-named buckets, up to 222
# characters then).
_BUCKET = r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]"


@dataclass(frozen=True)
class _Rule:
    """A setting: its flag, its variable (where it has one), the form of its value and words for that form."""

    flag: str
    variable: str | None
    pattern: str
    allowed: str


# The variables are those of the system that this tool took over from; no others are read.
RULES: Mapping[str, _Rule] = {
    "project": _Rule(
        "--project",
        "GCP_PROJECT",
        r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]|[0-9]+",
        "a project id (6 to 30 lower-case letters, digits, dashes)",
    ),
    "region": _Rule("--region", "GCP_REGION", r"[a-z]+-[a-z]+[0-9]+", "a region such as us-east1"),
    "bucket": _Rule(
        "--bucket",
        "GCS_BUCKET_NAME",
        _BUCKET,
        "a bucket name without gs:// (lower-case letters, digits, dashes, underscores, dots)",
    ),
    "service_account": _Rule(
        "--service-account",
        "GCS_SERVICE_ACCOUNT",
        r"[^@\s:/<>]+@([a-z0-9.-]+\.)?gserviceaccount\.com",
        "an e-mail such as name@project.iam.gserviceaccount.com",
    ),
    "pipeline_root": _Rule(
        "--pipeline-root", None, rf"gs://{_BUCKET}(/(?!/)[^\s]*)?", "a folder such as gs://bucket/pipeline_root"
    ),
    "network": _Rule(
        "--network", None, r"projects/[^/\s]+/global/networks/[^/\s]+", "projects/<number>/global/networks/<name>"
    ),
    "encryption_key": _Rule(
        "--encryption-key",
        None,
        r"projects/[^/\s]+/locations/[^/\s]+/keyRings/[^/\s]+/cryptoKeys/[^/\s]+",
        "projects/…/locations/…/keyRings/…/cryptoKeys/…",
    ),
    "api_endpoint": _Rule(
        "--api-endpoint", None, r"[A-Za-z0-9.-]+(:[0-9]{1,5})?", "a host, with a port where it is not 443"
    ),
}


@dataclass(frozen=True)
class Layers:
    """What the settings of a call are read from, each a plain mapping; a missing key is not set.

    `dotenv` is the content of `.env` in the current folder.
    """

    flags: Mapping[str, str | None]
    environ: Mapping[str, str]
    dotenv: Mapping[str, str]

    def variable(self, name: str) -> tuple[str, str] | None:
        """Return the value of an environment variable and where it was found; an empty one counts as not set.

        A blank `NAME=` in `.env` and an unset variable that `docker run -e NAME=` hands on are how people leave a
        setting out.
        """
        for place, layer in (("environment", self.environ), (ENV_FILE, self.dotenv)):
            if value := layer.get(name):
                return value, f"{place} {name}"
        return None


@dataclass(frozen=True)
class Setting:
    """A value and where it came from.

    Attributes:
        value: as it was given.
        source: where from, in words, as a plan shows it.
        place: where it stands, as faults and findings name it: a flag, a variable, the key of a file.
    """

    value: str
    source: str
    place: str


@dataclass(frozen=True)
class Settings:
    """Everything that a run takes beside its containers and parameters.

    Attributes:
        values: the settings that are given, by name (the keys of `RULES`).
        malformed: names of those with a fault.
        misnamed: for settings that are missing, what looks as if it was meant for them, in words.
        caching: whether steps may be taken from the cache.
        failure_policy: one of `FAILURE_POLICIES`.
        timeout: seconds for reaching the backend.
        labels: of the run.
        credentials_file: what GOOGLE_APPLICATION_CREDENTIALS names.
        credentials_place: where that variable is set.
    """

    values: Mapping[str, Setting]
    malformed: frozenset[str] = frozenset()
    misnamed: Mapping[str, str] = field(default_factory=dict)
    caching: bool = False
    failure_policy: str = "fast"
    timeout: float = DEFAULT_TIMEOUT
    labels: Mapping[str, str] = field(default_factory=dict)
    credentials_file: Path | None = None
    credentials_place: str = CREDENTIALS_VARIABLE

    def get(self, name: str) -> str | None:
        """Return the value of the setting `name` (a key of `RULES`), or None when it is not set."""
        setting = self.values.get(name)
        return setting.value if setting else None

    def require(self, names: Sequence[str]) -> Iterator[Fault]:
        """Yield a fault for each of `names` that is not set."""
        for name in names:
            if name not in self.values:
                yield self.missing(name)

    def missing(self, name: str) -> Fault:
        """Say that the setting `name` is missing, every way to give it, and what may have been meant for it."""
        rule = RULES[name]
        ways = [rule.variable, f"{rule.variable} in {ENV_FILE}"] if rule.variable else []
        ways.append(f"{name} in [settings] of the registry")
        meant = f"; {self.misnamed[name]}" if name in self.misnamed else ""
        return Fault(
            f"{name.replace('_', ' ')} is not set",
            f"give it by {rule.flag}, or set {', or '.join(ways)}{meant}",
            code="RK-ACCOUNT-MISSING" if name == "service_account" else "RK-SETTING-MISSING",
            place=rule.flag,
        )


def load_settings(
    layers: Layers,
    section: SettingsSection,
    *,
    registry_source: str,
    caching: bool | None = None,
    failure_policy: str | None = None,
    timeout: str | None = None,
    labels: Mapping[str, str] | None = None,
) -> tuple[Settings, list[Fault], list[Fault]]:
    """Join the layers.

    Args:
        layers: flags, environment, `.env`.
        section: the registry's `[settings]`, the lowest rank.
        registry_source: how faults name the registry.
        caching: the flag, None when not given.
        failure_policy: likewise.
        timeout: likewise, the text of a number of seconds.
        labels: the run's labels, already joined.

    Returns:
        The settings; a fault for each value of a wrong form that was typed; and one for each other value.
    """
    values: dict[str, Setting] = {}
    malformed: set[str] = set()
    typed: list[Fault] = []
    ambient: list[Fault] = []
    for name, rule in RULES.items():
        found = _find(name, rule, layers, section, registry_source)
        if found is None:
            continue
        values[name] = found
        if words := text_fault(found.value) or _wrong_form(name, found.value):
            malformed.add(name)
            (typed if found.source == rule.flag else ambient).append(
                Fault(
                    f"{found.place}: {name.replace('_', ' ')} {words}",
                    "" if text_fault(found.value) else _suggest(name, found.value, layers, section),
                    code="RK-SETTING-FORMAT",
                    place=found.place,
                )
            )
    typed += list(label_faults(labels or {}))
    limit = seconds("--timeout", timeout, typed)
    if failure_policy not in (None, *FAILURE_POLICIES):
        typed.append(
            Fault(
                f"--failure-policy {failure_policy!r} is none of {', '.join(FAILURE_POLICIES)}",
                did_you_mean(str(failure_policy), FAILURE_POLICIES),
                code="RK-SETTING-FORMAT",
                place="--failure-policy",
            )
        )
    credentials = layers.variable(CREDENTIALS_VARIABLE)
    settings = Settings(
        values,
        malformed=frozenset(malformed),
        misnamed={name: words for name in RULES.keys() - values.keys() if (words := _misnamed(name, layers))},
        caching=next((choice for choice in (caching, section.caching) if choice is not None), False),
        failure_policy=failure_policy or section.failure_policy or "fast",
        timeout=limit or DEFAULT_TIMEOUT,
        labels=dict(labels or {}),
        credentials_file=Path(credentials[0]) if credentials else None,
        credentials_place=credentials[1] if credentials else CREDENTIALS_VARIABLE,
    )
    return settings, typed, ambient


def seconds(flag: str, text: str | None, faults: list[Fault]) -> float | None:
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
        Fault(
            f"{flag} {text!r} is no number of seconds above 0 and up to {LONGEST_TIME:.0f}",
            f"write a number such as {flag} 30",
            code="RK-SETTING-FORMAT",
            place=flag,
        )
    )
    return None


def _find(name: str, rule: _Rule, layers: Layers, section: SettingsSection, registry_source: str) -> Setting | None:
    flag = layers.flags.get(name)
    if flag is not None:
        return Setting(flag, rule.flag, rule.flag)
    if rule.variable and (variable := layers.variable(rule.variable)):
        value, place = variable
        return Setting(value, place, place)
    value = getattr(section, name)
    return Setting(value, f"[settings] of {registry_source}", f"{registry_source}: settings.{name}") if value else None


# ── what is wrong with a value, and what was meant ───────────────────────────────────────────────────────────────────

# What a whole value looks like that breaks a rule, and the rule in words, for each setting; "" are those of every
# setting. The first that matches is told.
_BROKEN: Mapping[str, tuple[tuple[str, str], ...]] = {
    "": (
        (r".*(<.*>|\$\w|[{}]).*", "it is still the text of a template"),
        (r"((YOUR|MY)[_-])?(GCP[_-])?(PROJECT|BUCKET|REGION)([_-](ID|NAME))?", "it is still the text of a template"),
        (r"\s.*|.*\s", "there is white space around it"),
        (r".*\s.*", "it holds white space"),
    ),
    "project": (
        (r".*[A-Z].*", "it has capitals"),
        (r".*[^a-z0-9-].*", "it holds other characters than those"),
        (r"[^a-z].*", "it does not begin with a letter"),
        (r".*-", "it ends with a dash"),
        (r".{0,5}", "it is shorter than 6 characters"),
        (r".{31,}", "it is longer than 30 characters"),
    ),
    "region": (
        (r".*[0-9]-[a-f]", "it is a zone of one"),
        (r"(?i:us|eu|europe|asia|global|multi-region)", "it is more than one"),
        (r".*[A-Z].*", "it has capitals"),
    ),
    "bucket": (
        (r"(gs:|https?:|/gcs/).*", "it is an address"),
        (r".*/.*", "it holds a slash, and a folder goes into pipeline_root"),
        (r".*[A-Z].*", "it has capitals"),
        (r".*[^a-z0-9._-].*", "it holds other characters than those"),
        (r"[^a-z0-9].*", "it does not begin with a letter or digit"),
        (r".*[^a-z0-9]", "it does not end with a letter or digit"),
        (r".{0,2}", "it is shorter than 3 characters"),
        (r".{223,}", "it is longer than 222 characters"),
    ),
    "pipeline_root": (
        (r"(?!gs://).*", "it does not begin with gs://"),
        (r"gs://gs://.*", "it begins with gs:// twice"),
        (r"gs://(/.*)?", "it names no bucket"),
        (r"gs://.*//.*", "it holds two slashes, which make a folder without a name"),
        (r"gs://[^/]*[A-Z].*", "its bucket has capitals"),
        (r"gs://.*", "its bucket is no bucket name"),
    ),
}

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


def _wrong_form(name: str, value: str) -> str:
    """Say that a value is not of the form of its setting, and which rule it breaks; empty where it is right."""
    rule = RULES[name]
    if re.fullmatch(rule.pattern, value):
        return ""
    rules = (*_BROKEN[""], *_BROKEN.get(name, ()))
    broken = next((words for pattern, words in rules if re.fullmatch(pattern, value, re.DOTALL)), "")
    return f"is {shown(value)}, which is not {rule.allowed}" + (f": {broken}" if broken else "")


def _suggest(name: str, value: str, layers: Layers, section: SettingsSection) -> str:
    """Return the next step for a value of a wrong form; what it says to write has the right form."""
    value = value.strip()
    project = _find("project", RULES["project"], layers, section, "")
    of = f" --project={project.value}" if project and not _wrong_form("project", project.value) else ""
    for meant in _meant(name, value, project.value if project and of else None):
        if meant and not _wrong_form(name, meant):
            more = ""
            if name == "bucket" and (folder := re.sub(_STORAGE, "", value).partition("/")[2].strip("/")):
                more = f"; for a folder of it, pipeline_root 'gs://{meant}/{folder}'"
            return f"write {meant!r}{more}"
    if name == "project":
        return "look it up: gcloud projects list"
    if name == "region":
        return _suggest_region(value)
    if name in ("bucket", "pipeline_root"):
        return f"look the bucket up: gcloud storage buckets list{of}"
    if name == "service_account":
        who = "a person's login cannot run steps; " if re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", value) else ""
        return f"{who}look it up: gcloud iam service-accounts list{of}"
    if name == "network" and re.fullmatch(r"[a-z0-9-]+", value):
        number = (
            f"gcloud projects describe {of.removeprefix(' --project=') or 'PROJECT'} --format='value(projectNumber)'"
        )
        return f"write 'projects/NUMBER/global/networks/{value}'; the number: {number}"
    if name == "network" and "/subnetworks/" in value:
        return f"name the network, not its part in a region: gcloud compute networks list{of}"
    if name == "encryption_key":
        return f"look it up: gcloud kms keys list --location=REGION --keyring=NAME --format='value(name)'{of}"
    return ""


def _meant(name: str, value: str, project: str | None) -> Iterator[str]:
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
        yield account
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
        return f"name one region, such as {_REGIONS_OF.get(value, 'us-central1 or europe-west4')}"
    if _LIKE_A_REGION.fullmatch(value):
        return "add the number at its end, as in us-central1"
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


def _misnamed(name: str, layers: Layers) -> str:
    """Say which variable may have been meant for a setting that is missing: a misspelt one, or another tool's."""
    variable = RULES[name].variable
    if variable is None:
        return ""
    read = {rule.variable for rule in RULES.values()}
    for place, layer in ((ENV_FILE, layers.dotenv), ("the environment", layers.environ)):
        names = [each for each, value in layer.items() if value and each not in read]
        near = difflib.get_close_matches(variable, names, n=1, cutoff=0.85)
        near += [each for each in names if each.upper() == variable]
        near += [each for each in _OTHER_VARIABLES[name] if each in names]
        if near:
            return f"{place} has {near[0]}, which is not read: did you mean {variable}?"
    return ""


def label_faults(labels: Mapping[str, str]) -> Iterator[Fault]:
    """Yield what Google's rules for labels refuse.

    They allow 64 characters (lower-case letters, digits, `_`, `-`; a letter first in a key) and 64 labels.

    Source: the `labels` of PipelineJob in the API (google/cloud/aiplatform/v1/pipeline_job.proto).
    """

    def allowed(text: str) -> bool:
        return len(text) <= 64 and all(c in "_-" or c.isdigit() or (c.isalpha() and c == c.lower()) for c in text)

    for key, value in labels.items():
        place = f"label {key}"
        if not (key and allowed(key) and key[0].isalpha()):
            yield Fault(
                f"label key {key!r} is not allowed",
                "up to 64 lower-case letters, digits, _ and -, beginning with a letter",
                "RK-LABEL",
                place,
            )
        if not allowed(value):
            yield Fault(
                f"label {key} has the value {value!r}, which is not allowed",
                "up to 64 lower-case letters, digits, _ and -",
                "RK-LABEL",
                place,
            )
        if key in RESERVED_LABELS:
            yield Fault(f"label key {key!r} is reserved", "choose another key", "RK-LABEL", place)
    if len(labels) > 64 - 1:  # one is ours
        yield Fault(f"{len(labels)} labels are too many", "a run takes at most 63 of yours", "RK-LABEL", "the labels")


# Our mark by which a retry knows its own run, and the one that Vertex overwrites.
SUBMISSION_LABEL = "run-kfp-submission"
RESERVED_LABELS = frozenset({SUBMISSION_LABEL, "vertex-ai-pipelines-run-billing-id"})


def pairs(flag: str, words: Sequence[str], faults: list[Fault]) -> dict[str, str]:
    """Read `NAME=VALUE` words of a repeatable flag; faults are appended.

    The value may hold anything, `=` too, and may be empty.
    """
    read: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            # What was typed is not repeated: with the name left out it may be a value.
            faults.append(
                Fault(
                    f"{flag} takes NAME=VALUE, and got a word without {'=' if not equals else 'a name'}",
                    f"write {flag} NAME=VALUE",
                    place=flag,
                )
            )
        elif name in read and read[name] != value:
            faults.append(Fault(f"{flag} gives {name} twice, with two values", "leave one out", place=flag))
        else:
            read[name] = value
    return read


def read_env_file(path: Path, faults: list[Fault] | None = None) -> dict[str, str]:
    """Read a file of `NAME=VALUE` lines as python-dotenv does, without interpolation.

    Args:
        path: the file.
        faults: takes what is wrong with it, and the rest is read all the same; None to raise it.

    Returns:
        An empty mapping when the file does not exist.

    Raises:
        InputError: the file cannot be read, or holds lines of another form; all are named by number, none is quoted.
    """
    # python-dotenv's own parser: `dotenv_values` passes over a line it cannot read with a log message.
    from dotenv.parser import parse_stream

    found: list[Fault] = []
    values: dict[str, str] = {}
    try:
        text = read_text(path, str(path)) or ""
    except InputError as error:
        found += error.all_faults
        text = ""
    for binding in parse_stream(io.StringIO(text)):
        if binding.error or (binding.key is not None and binding.value is None):
            written = binding.original.string
            line = binding.original.line + written[: len(written) - len(written.lstrip())].count("\n")
            words, hint, meant = _env_line(written.strip())
            message = f"{path}: line {line} is not NAME=VALUE: {words}"
            found.append(Fault(message, hint, code="RK-ENV-FILE", place=str(path)))
            values |= meant
        elif binding.key is not None and binding.value is not None:
            values[binding.key] = binding.value
    if found and faults is None:
        raise InputError.of(str(path), found)
    (faults if faults is not None else []).extend(found)
    return values


def _env_line(line: str) -> tuple[str, str, dict[str, str]]:
    """Say what is wrong with a line of an env file, what to write, and what is meant where that is certain.

    No part of it is repeated: a line without a name may be a secret.
    """
    if match := re.fullmatch(r"setx?\s+([A-Za-z_]\w*)=(\S*)", line, re.IGNORECASE):
        return "a command of Windows stands in front", "leave the word in front of the name out", {match[1]: match[2]}
    if match := re.fullmatch(r"([A-Za-z_]\w*)\s*:\s*(\S*)", line):
        return "there is a colon instead of =", "write = between name and value", {match[1]: match[2]}
    name, equals, value = line.partition("=")
    if not equals:
        return "= is missing", "write = between name and value; a note begins with #", {}
    if re.search(r"\w\s+\w", name.strip().removeprefix("export ")):
        return "there is a space in the name", "a name has letters, digits and _ alone", {}
    if value.lstrip()[:1] in ("'", '"') and value.count(value.lstrip()[0]) == 1:
        return "the quote is never closed", "close it at the end of the line, or leave it out", {}
    return "it cannot be read", "quote values that hold spaces, quotes or #", {}
