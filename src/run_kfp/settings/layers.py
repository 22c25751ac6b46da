"""Settings: flags over environment over `.env` over the registry's `[settings]`.

Loading never asks what a call needs: `Settings.require` says which are missing, for whoever is about to use them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from run_kfp.arguments import text_fault
from run_kfp.errors import did_you_mean
from run_kfp.findings import Finding
from run_kfp.registry import SettingsSection
from run_kfp.settings.env_file import ENV_FILE
from run_kfp.settings.hints import misnamed, suggest
from run_kfp.settings.rules import (
    CREDENTIALS_VARIABLE,
    DEFAULT_TIMEOUT,
    FAILURE_POLICIES,
    RULES,
    Rule,
    label_faults,
    seconds,
    wrong_form,
)


@dataclass(frozen=True)
class Layers:
    """What the settings of a call are read from, each a plain mapping; a missing key is not set.

    `dotenv` is the content of `.env` in the current folder, `user` what the user's own file sets.
    """

    flags: Mapping[str, str | None]
    environ: Mapping[str, str]
    dotenv: Mapping[str, str]
    user: Mapping[str, str] = field(default_factory=dict)

    def variable(self, name: str) -> tuple[str, str] | None:
        """Return the value of an environment variable and where it was found; an empty one counts as not set.

        A blank `NAME=` in `.env` and an unset variable that `docker run -e NAME=` hands on are how people leave a
        setting out.
        """
        for place, layer in (("environment", self.environ), (ENV_FILE, self.dotenv), ("config.toml", self.user)):
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
        refused: what the folder asked for, a submission needs, and its user has not agreed to.
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
    refused: tuple[Finding, ...] = ()

    def get(self, name: str) -> str | None:
        """Return the value of the setting `name` (a key of `RULES`), or None when it is not set."""
        setting = self.values.get(name)
        return setting.value if setting else None

    def require(self, names: Sequence[str]) -> Iterator[Finding]:
        """Yield a fault for each of `names` that is not set."""
        for name in names:
            if name not in self.values:
                yield self.missing(name)

    def missing(self, name: str) -> Finding:
        """Say that the setting `name` is missing, every way to give it, and what may have been meant for it."""
        rule = RULES[name]
        ways = f"pass {rule.flag}"
        ways += f", set {rule.variable} (also in {ENV_FILE})" if rule.variable else ""
        ways += f" or add {name} to [settings] of the registry"
        meant = f"; {self.misnamed[name]}" if name in self.misnamed else ""
        return Finding(
            f"{name.replace('_', ' ')} is not set",
            f"{ways}{meant}",
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
) -> tuple[Settings, list[Finding], list[Finding]]:
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
    typed: list[Finding] = []
    ambient: list[Finding] = []
    for name, rule in RULES.items():
        found = _find(name, rule, layers, section, registry_source)
        if found is None:
            continue
        values[name] = found
        if words := text_fault(found.value) or wrong_form(name, found.value):
            malformed.add(name)
            (typed if found.source == rule.flag else ambient).append(
                Finding(
                    f"{name.replace('_', ' ')} {words}",
                    "" if text_fault(found.value) else suggest(name, found.value, _right_project(values)),
                    code="RK-SETTING-FORMAT",
                    place=found.place,
                )
            )
    typed += list(label_faults(labels or {}))
    limit = seconds("--timeout", timeout, typed)
    if failure_policy not in (None, *FAILURE_POLICIES):
        typed.append(
            Finding(
                f"--failure-policy {failure_policy!r} is invalid; valid values: {', '.join(FAILURE_POLICIES)}",
                did_you_mean(str(failure_policy), FAILURE_POLICIES),
                code="RK-SETTING-FORMAT",
                place="--failure-policy",
            )
        )
    credentials = layers.variable(CREDENTIALS_VARIABLE)
    settings = Settings(
        values,
        malformed=frozenset(malformed),
        misnamed={
            name: words
            for name in RULES.keys() - values.keys()
            if (words := misnamed(name, layers.dotenv, layers.environ))
        },
        caching=next((choice for choice in (caching, section.caching) if choice is not None), False),
        failure_policy=failure_policy or section.failure_policy or "fast",
        timeout=limit or DEFAULT_TIMEOUT,
        labels=dict(labels or {}),
        credentials_file=Path(credentials[0]) if credentials else None,
        credentials_place=credentials[1] if credentials else CREDENTIALS_VARIABLE,
    )
    return settings, typed, ambient


def _find(name: str, rule: Rule, layers: Layers, section: SettingsSection, registry_source: str) -> Setting | None:
    flag = layers.flags.get(name)
    if flag is not None:
        return Setting(flag, rule.flag, rule.flag)
    if rule.variable and (variable := layers.variable(rule.variable)):
        value, place = variable
        return Setting(value, place, place)
    value = getattr(section, name)
    return Setting(value, f"[settings] of {registry_source}", f"{registry_source}: settings.{name}") if value else None


def _right_project(values: Mapping[str, Setting]) -> str:
    """Return the project, for the commands of hints; empty where there is none of the right form."""
    project = values.get("project")
    return project.value if project and not wrong_form("project", project.value) else ""
