"""What a literal text says of the world around the container, wherever it stands.

Paths of other machines, services that are not there, addresses that nobody can open, templates nobody filled in: in
arguments, variables, constants of tasks and the values of parameters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from run_kfp.findings import Finding, Severity
from run_kfp.pipeline.tables import table_at
from run_kfp.plans import Value
from run_kfp.preflight.context import CheckContext
from run_kfp.preflight.offline.spec import Spec, shown, source_of
from run_kfp.preflight.offline.values import PARAM_TEMPLATE
from run_kfp.preflight.rules import rule
from run_kfp.visible import shell_word

HOST_PATH = rule("RK-PATH-HOST")
STORAGE_PATH = rule("RK-PATH-STORAGE")
LOCAL_SERVICE = rule("RK-SERVICE-LOCAL")
ENV_CREDENTIALS = rule("RK-ENV-CREDENTIALS")

# What a folder of this machine may be that an image has as well.
_OF_IMAGES = re.compile(r"/|/home|/(root|usr|bin|sbin|lib|etc|opt|app|src|code|workspace|tmp|var|srv|run|gcs)(/.*)?")
# An absolute path at the beginning of a word, or behind what may stand in front of one; not inside of an address.
_PATHS = re.compile(r"""(?:^|(?<=[\s='"(,]))(?:/|~/|[A-Za-z]:\\|[A-Zcd]:/(?!/))[^\s'"),;]*""")


@dataclass(frozen=True)
class Surroundings:
    """The folders of this machine that a text may name by mistake; None where there is none."""

    home: Path | None
    here: Path | None


def check_paths(place: str, text: str, around: Surroundings, told: set[str]) -> Iterator[Finding]:
    """Look for paths of another machine.

    Args:
        place: where the text stands.
        text: a literal; it may be a script.
        around: this machine.
        told: the paths that were told already; those that are found join them.
    """
    for path in _PATHS.findall(text):
        found = _host_path(path, around)
        if found is None or path in told:
            continue
        told.add(path)
        severity, whose = found
        yield HOST_PATH(
            place,
            f"{_short(path)} is {whose}",
            f"upload it (gcloud storage cp -r {shell_word(path)} gs://BUCKET/) and write /gcs/BUCKET/…"
            if severity is Severity.WARNING
            else "a file that is not in the image must be under /gcs/BUCKET/…",
            severity,
        )


def _host_path(path: str, around: Surroundings) -> tuple[Severity, str] | None:
    """Say what speaks for a path being one of a machine of the user, and how surely; None where nothing does."""
    if path.startswith("~/"):
        return None  # which home is meant is the shell's to say, if there is one
    if re.match(r"[A-Za-z]:[\\/]", path):
        return Severity.WARNING, "a path of Windows"
    if re.match(r"/(Users|Volumes)/[^/]", path):
        return Severity.WARNING, "a path of a Mac"
    if re.match(r"/media/[^/]+/", path):
        return Severity.WARNING, "a path of a drive of one machine"
    for folder, whose in (
        (around.here, "in the current folder of this machine"),
        (around.home, "in your home on this machine"),
    ):
        place = folder.as_posix() if folder else "/"
        if not _OF_IMAGES.fullmatch(place) and (path == place or path.startswith(f"{place}/")):
            return Severity.WARNING, whose
    if re.match(r"/mnt/[a-z](/|$)", path):
        return Severity.WARNING, "a drive of Windows, as WSL mounts it"
    if re.match(r"/mnt/disks/[^/]", path):
        return Severity.WARNING, "where a machine mounts its drives"
    # Images have folders there as well. NFS shares of a custom job are mounted below /mnt/nfs.
    if re.match(r"/(home/[^/]+|data)/|/mnt/(?!nfs(/|$))[^/]", path):
        return Severity.NOTE, "there only if the image has it"
    return None


def check_environment(place: str, name: str, value: str, around: Surroundings) -> Iterator[Finding]:
    """Look at a variable of a step; no part of its value is told but a path, a host or the text of a template."""
    if name == "GOOGLE_APPLICATION_CREDENTIALS" and value:
        yield ENV_CREDENTIALS(
            place, f"{name} is set: the step would not run as the service account of the run", "remove it"
        )
        return
    told: set[str] = set()
    for part in re.split(r":(?=/(?!/))", value):
        # Folders that an image may have are too common in variables for a line each.
        yield from (one for one in check_paths(place, part, around, told) if one.severity is Severity.WARNING)
    yield from check_text(place, value, name)


_LOCAL = r"(?:localhost|127\.0\.0\.1|\[::1\]|0\.0\.0\.0)"
_LOCAL_URL = re.compile(
    rf"(?P<scheme>\b[a-z][a-z0-9+.-]{{1,30}})://(?:[^\s/@'\"]{{0,200}}@)?(?P<host>{_LOCAL}(?::[0-9]{{1,5}})?)(?![\w.-])"
)
_HOST_OF_DOCKER = re.compile(r"\b(?:host|gateway)\.docker\.internal\b(?::[0-9]{1,5})?")
_DOCKER_SOCKET = re.compile(r"(?:/var)?/run/docker\.sock\b")
_DATABASES = frozenset({"postgres", "postgresql", "mysql", "mariadb", "mongodb", "redis", "amqp", "mssql", "oracle"})
# A program is told by them where another one is; its own address it gets by others, such as OLLAMA_HOST.
_OF_CLIENTS = re.compile(r"(?i)(?:.*_)?(?:tracking_uri|database_url|base_url|https?_proxy|webhook_url|broker_url)")

_STORAGE = r"(?:^|(?<=[\s='\"(,]))"
_ONE_SLASH = re.compile(rf"{_STORAGE}gs:/(?!/)[^\s'\"]+")
_BROWSER = re.compile(r"https?://(?:storage\.cloud\.google\.com|console\.cloud\.google\.com/storage/browser)/")
_SPACE = re.compile(r"(?:--?[\w-]+=)?gs://[^\s/]*\s+(?:/\S*)?")

# Words of a template, not those of a tokenizer (<pad>, <s>) or of markup.
_GAP_WORDS = (
    r"your|bucket|project|region|tag|path|folder|name|password|login|paste|insert|replace|fill|version|url|account|key"
)
_GAP = re.compile(
    rf"(?i)(?:--?[\w-]+=)?(?P<gap>(?:\w+://)?<(?:[a-z][^<>]*(?<![a-z]))?(?:{_GAP_WORDS})(?![a-z])[^<>]*>)(?:/.*)?"
)
_BRACES = re.compile(r"(?:--?[\w-]+=)?(?P<gap>\{\{\s*[A-Za-z_][\w.]*\s*\}\})")
_WORDS = re.compile(r"(?i)(?:--?[\w-]+=)?(?P<gap>(?:change|replace|fill)[-_ ]?(?:me|this)|your[-_][a-z_-]+)")

# What is longer is a document or a script.
_LONGEST_WORD = 4096


def check_text(place: str, text: str, name: str = "") -> Iterator[Finding]:
    """Look for services that are not there, addresses that nobody can open, and templates.

    Args:
        place: where the text stands.
        text: a literal.
        name: of the variable or parameter that has it.
    """
    if len(text) > _LONGEST_WORD:
        return
    yield from _services(place, text, name)
    if match := _ONE_SLASH.search(text):
        yield STORAGE_PATH(
            place,
            f"{_short(match[0])} lacks a slash",
            f"write {_short(match[0].replace('gs:/', 'gs://', 1), 200)}",
        )
    elif _SPACE.fullmatch(text):
        yield STORAGE_PATH(place, "a gs:// address contains a space", "remove it", Severity.NOTE)
    elif match := _BROWSER.search(text):
        yield STORAGE_PATH(
            place,
            f"{match[0]}… is for a browser with a login",
            "a program finds the file under gs://BUCKET/NAME or /gcs/BUCKET/NAME",
            Severity.NOTE,
        )
    if match := _GAP.fullmatch(text) or _BRACES.fullmatch(text) or _WORDS.fullmatch(text):
        yield PARAM_TEMPLATE(
            place,
            f"{name} holds {shown(match['gap'])}, which looks like a placeholder".lstrip(),
            "set the value there",
            # The program may have templates of its own.
            Severity.NOTE if match["gap"].startswith("{") else None,
        )


def _services(place: str, text: str, name: str) -> Iterator[Finding]:
    for pattern, why in (
        (_HOST_OF_DOCKER, "only exists in Docker Desktop"),
        (_DOCKER_SOCKET, "is not mounted: a step has no Docker daemon"),
    ):
        if match := pattern.search(text):
            yield LOCAL_SERVICE(place, f"{match[0]} {why}", "set a host that the network of the run reaches")
            return
    if match := _LOCAL_URL.search(text):
        known = match["scheme"].partition("+")[0] in _DATABASES or _OF_CLIENTS.fullmatch(name) is not None
        sure = known and not re.search(r"\s", text)  # a script may start the service itself
        yield LOCAL_SERVICE(
            place,
            f"{match['scheme']}://{'…@' if '@' in match[0] else ''}{match['host']} is the container of the step itself",
            "set a host that the network of the run reaches"
            if sure
            else "nothing to do, if the step starts that service itself",
            None if sure else Severity.NOTE,
        )


def check_constants(context: CheckContext, around: Surroundings) -> Iterator[Finding]:
    """Look at the texts that reach a step by its inputs: constants of tasks, and values of parameters."""
    spec = Spec(context.pipeline.spec, source_of(context))
    for name, given in context.values.items():
        if isinstance(given, Value) and isinstance(given.value, str):
            # Templates among the values of parameters are told with them.
            place = f"-p {name}" if given.source == "-p" else given.source
            found = _of_constant(place, name, given.value, around)
            yield from (one for one in found if one.code != PARAM_TEMPLATE.name)
    for dag in spec.dags.values():
        for task_name, task in dag.tasks.items():
            for name, source in table_at(task, "inputs", "parameters").items():
                if isinstance(constant := table_at(source, "runtimeValue").get("constant"), str):
                    place = spec.at(f"{dag.place}.dag.tasks.{task_name}.inputs.parameters.{name}")
                    yield from _of_constant(place, name, constant, around)


def _of_constant(place: str, name: str, text: str, around: Surroundings) -> Iterator[Finding]:
    if len(text) > _LONGEST_WORD or "\n" in text:
        return
    yield from (one for one in check_paths(place, text, around, set()) if one.severity is Severity.WARNING)
    yield from check_text(place, text, name)


def _short(text: str, most: int = 60) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
