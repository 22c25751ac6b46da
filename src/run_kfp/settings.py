"""Settings: flags over environment over `.env` over the registry's `[settings]`.

Loading never asks what a call needs: `Settings.require` says which are missing, for whoever is about to use them.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from run_kfp.arguments import text_fault
from run_kfp.errors import Fault, InputError, did_you_mean
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
        r"[^@\s]+@([a-z0-9.-]+\.)?gserviceaccount\.com",
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
    """A value and where it came from, in words."""

    value: str
    source: str


@dataclass(frozen=True)
class Settings:
    """Everything that a run takes beside its containers and parameters; `malformed` names those with a fault."""

    values: Mapping[str, Setting]
    malformed: frozenset[str] = frozenset()
    caching: bool = False
    failure_policy: str = "fast"
    timeout: float = DEFAULT_TIMEOUT
    labels: Mapping[str, str] = field(default_factory=dict)
    credentials_file: Path | None = None

    def get(self, name: str) -> str | None:
        """Return the value of the setting `name` (a key of `RULES`), or None when it is not set."""
        setting = self.values.get(name)
        return setting.value if setting else None

    def require(self, names: Sequence[str]) -> Iterator[Fault]:
        """Yield a fault for each of `names` that is not set."""
        for name in names:
            if name not in self.values:
                yield missing_setting(name)


def missing_setting(name: str) -> Fault:
    """Say that a setting is missing, and every way to give it."""
    rule = RULES[name]
    ways = [
        rule.flag,
        *([rule.variable, f"{rule.variable} in {ENV_FILE}"] if rule.variable else []),
        f"{name} in [settings] of the registry",
    ]
    return Fault(
        f"{name.replace('_', ' ')} is not set",
        f"give it by {ways[0]}, or set {', or '.join(ways[1:])}",
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
        faults = typed if found.source == rule.flag else ambient
        words = name.replace("_", " ")
        if fault := text_fault(found.value):
            malformed.add(name)
            faults.append(Fault(f"{words} ({found.source}) {fault}", code="RK-SETTING-FORMAT", place=found.source))
        elif not re.fullmatch(rule.pattern, found.value):
            malformed.add(name)
            faults.append(
                Fault(
                    f"{words} is {found.value!r} ({found.source}), which is not {rule.allowed}",
                    _suggest(name, found.value),
                    code="RK-SETTING-FORMAT",
                    place=found.source,
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
        caching=next((choice for choice in (caching, section.caching) if choice is not None), False),
        failure_policy=failure_policy or section.failure_policy or "fast",
        timeout=limit or DEFAULT_TIMEOUT,
        labels=dict(labels or {}),
        credentials_file=Path(credentials[0]) if credentials else None,
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
        return Setting(flag, rule.flag)
    if rule.variable and (variable := layers.variable(rule.variable)):
        return Setting(*variable)
    value = getattr(section, name)
    return Setting(value, f"[settings] of {registry_source}") if value else None


def _suggest(name: str, value: str) -> str:
    if name == "bucket" and value.startswith("gs://"):
        return f"write {value.removeprefix('gs://').split('/')[0]!r}"
    if name == "pipeline_root" and re.fullmatch(_BUCKET + r"(/\S*)?", value):
        return f"write 'gs://{value}'"
    if name == "api_endpoint" and "://" in value:
        return f"write {value.split('://')[1].rstrip('/')!r}"
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


def read_env_file(path: Path) -> dict[str, str]:
    """Read a file of `NAME=VALUE` lines as python-dotenv does, without interpolation.

    Returns:
        An empty mapping when the file does not exist.

    Raises:
        InputError: the file cannot be read, or holds lines of another form; all are named by number, none is quoted.
    """
    # python-dotenv's own parser: `dotenv_values` passes over a line it cannot read with a log message.
    from dotenv.parser import parse_stream

    text = read_text(path, str(path)) or ""
    values: dict[str, str] = {}
    faults: list[Fault] = []
    for binding in parse_stream(io.StringIO(text)):
        if binding.error or (binding.key is not None and binding.value is None):
            blank = len(binding.original.string) - len(binding.original.string.lstrip())
            line = binding.original.line + binding.original.string[:blank].count("\n")
            faults.append(
                Fault(
                    f"{path}: line {line} is not NAME=VALUE",
                    "quote values that hold spaces, quotes or #",
                    code="RK-ENV-FILE",
                    place=str(path),
                )
            )
        elif binding.key is not None and binding.value is not None:
            values[binding.key] = binding.value
    if faults:
        raise InputError.of(str(path), faults)
    return values
