"""Trust: what the user of a folder decides, and what the folder may decide by itself.

A folder (its registry, its `.env`) says what is to be run. Where a token or a secret goes, which login is used, and
whether code of the folder runs is for the user to say: by a flag, the real environment, the user's own file, or once
for the folder with `run-kfp trust`. `POWERS` is the table of it. `judge` takes away what the folder may not decide, so
that nothing behind it has to ask; what it took away are findings.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from run_kfp.consent import FACTORIES_VARIABLE, Kind, User, Wish
from run_kfp.errors import InputError
from run_kfp.files import from_here, is_below, read_text
from run_kfp.findings import Finding, Severity
from run_kfp.registry import Container, Registry
from run_kfp.settings import CREDENTIALS_VARIABLE, ENV_FILE, SECRETS_VARIABLE, Layers
from run_kfp.visible import shell_word

# What the folder's own credentials file may be: Google's token service is all that such a file leads to. Others name
# addresses, files and programs (https://google.aip.dev/auth/4117), whose content would be sent to the addresses.
_PLAIN_CREDENTIALS = ("service_account", "authorized_user")

SERVICES = (
    "aiplatform",
    "artifactregistry",
    "cloudquotas",
    "cloudresourcemanager",
    "iam",
    "oauth2",
    "policytroubleshooter",
    "serviceusage",
    "storage",
)
"""Google's services that a check asks; each may have an endpoint of its own, as Private Service Connect gives one."""

_TOKEN = "a Google access token"
_TOKEN_AND_SECRETS = f"{_TOKEN} and the secrets of a run"


@dataclass(frozen=True)
class Power:
    """A row of the table of who decides what.

    Attributes:
        decision: what is decided.
        user: the ways in which the user decides it.
        folder: what the registry and the `.env` of a folder can do about it.
    """

    decision: str
    user: str
    folder: str


POWERS = (
    Power(
        "The hosts that get a Google access token",
        "`--api-endpoint`, `--trust-host`, `RUN_KFP_TRUST_HOSTS`, `trust_hosts`, `run-kfp trust`",
        "Google's own (`*.googleapis.com`). Another `api_endpoint` or `[check.endpoints]` gets none.",
    ),
    Power(
        "The Git remote that gets a login",
        "`--trust-host`, `RUN_KFP_TRUST_HOSTS`, `trust_hosts`, `run-kfp trust`",
        "`[check.git]` is asked without a login. Without TLS, only loopback addresses ever get one; and only a secret "
        "that a selected container takes is sent.",
    ),
    Power(
        "The image registries that get a login",
        "`docker login`",
        "Google's registries get the Google token; every other one the login in Docker's own configuration, or none.",
    ),
    Power(
        "The file of Google credentials",
        "`GOOGLE_APPLICATION_CREDENTIALS` of the environment, `credentials_file`, `gcloud auth`",
        "`.env` can name a service account key or a user login below the current folder. A file with addresses or "
        "programs in it (`external_account`, …) requires `run-kfp trust`, again when it changes.",
    ),
    Power("Google credentials in local steps", "`--with-credentials`; with `-r`, your environment", "Nothing."),
    Power(
        "The secrets folder",
        "`--secrets-dir`, `RUN_KFP_SECRETS` of the environment, `secrets_dir`",
        "`.env` can name a folder below the current one. No link is followed out of the project.",
    ),
    Power(
        "Whether Python code of the folder runs",
        "`run-kfp trust`, `RUN_KFP_ALLOW_FACTORIES=1`",
        "A `factory` is imported at a compilation alone, after your consent to its name; never for `list`, `--help` or "
        "completion.",
    ),
    Power(
        "Containers, parameters, project, region, bucket, service account",
        "The flags, the environment",
        "All of it: the plan names them, and each secret, before anything is submitted.",
    ),
)


# ── what a folder wants, and what it gets ────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Judged:
    """What is left of a folder's files after judgment.

    Attributes:
        layers: without the variables of `.env` that it may not set, and with those of the user's own file.
        registry: without addresses that would get what the user did not agree to.
        wishes: everything that the folder wants the user to agree to, agreed to or not.
        refused: findings of what was taken away and what a submission cannot do without.
        skipped: findings of what was taken away and what a check can do without.
        wrong: findings of what no agreement makes right.
    """

    layers: Layers
    registry: Registry
    wishes: tuple[Wish, ...] = ()
    refused: tuple[Finding, ...] = ()
    skipped: tuple[Finding, ...] = ()
    wrong: tuple[Finding, ...] = ()


def judge(layers: Layers, registry: Registry, user: User, *, here: Path) -> Judged:
    """Take away what a folder may not decide.

    Args:
        layers: of the call, `.env` among them.
        registry: as it was read.
        user: what the user decided.
        here: the current folder, where `.env` lies; no link in it.
    """
    dotenv = dict(layers.dotenv)
    wrong, skipped = dict(_outside(layers, here)), list[Finding]()
    for name in wrong:
        del dotenv[name]
    wishes = list(_wishes(dataclasses.replace(layers, dotenv=dotenv), registry, here))
    unmet = [wish for wish in wishes if not user.agrees(wish)]
    places = {wish.place for wish in unmet}
    if any(wish.kind is Kind.CREDENTIALS for wish in unmet):
        del dotenv[CREDENTIALS_VARIABLE]
    settings, check = registry.settings, registry.check
    if _place(registry, "settings.api_endpoint") in places:
        settings = settings.model_copy(update={"api_endpoint": None})
    endpoints = {
        name: url for name, url in check.endpoints.items() if _place(registry, f"check.endpoints.{name}") not in places
    }
    git = check.git
    if git is not None and git.login is not None:
        place = _place(registry, "check.git.remote")
        if (clear := _in_clear(git.remote)) or place in places:
            git = git.model_copy(update={"login": None})
        if clear:
            message = f"{_address(git.remote)} would get the login without TLS; it is asked without one"
            skipped.append(_warning("RK-TRUST-CLEAR", place, message, "write https://"))
            unmet = [wish for wish in unmet if wish.place != place]
    check = check.model_copy(update={"endpoints": endpoints, "git": git})
    refused, more = _told(unmet, registry)
    return Judged(
        dataclasses.replace(layers, dotenv=dotenv, user=_user_layer(user)),
        dataclasses.replace(registry, settings=settings, check=check),
        tuple(wishes),
        refused,
        (*skipped, *more),
        tuple(wrong.values()),
    )


def untrusted_factories(registry: Registry, selection: Iterable[Container], user: User) -> dict[str, Finding]:
    """Return a finding, by index, for each container whose factory the user did not agree to run."""
    found: dict[str, Finding] = {}
    for container in selection:
        if container.factory and not user.agrees(wish := _factory_wish(registry, container)):
            found[container.index] = Finding(
                f"{wish.words} only after your consent",
                f"read it, then run `run-kfp trust`; in CI, set {FACTORIES_VARIABLE}=1",
                "RK-TRUST-FACTORY",
                wish.place,
            )
    return found


def _user_layer(user: User) -> dict[str, str]:
    """Return the variables that the user's own file stands for."""
    paths = {CREDENTIALS_VARIABLE: user.credentials_file, SECRETS_VARIABLE: user.secrets_dir}
    return {name: str(path) for name, path in paths.items() if path is not None}


def _place(registry: Registry, key: str) -> str:
    return f"{registry.source}: {key}"


def _outside(layers: Layers, here: Path) -> Iterator[tuple[str, Finding]]:
    """Yield each variable of `.env` that leads out of the folder and counts, with its finding."""
    for name in (CREDENTIALS_VARIABLE, SECRETS_VARIABLE):
        value = layers.dotenv.get(name)
        if value and not layers.environ.get(name) and not is_below(Path(value), here):
            yield (
                name,
                Finding(
                    "leads out of this folder, which only you can do",
                    f"move it below this folder, or set {name} in the environment",
                    "RK-TRUST-PATH",
                    f"{ENV_FILE} {name}",
                ),
            )


def _wishes(layers: Layers, registry: Registry, here: Path) -> Iterator[Wish]:
    folder = Path(os.path.realpath(registry.folder))
    if (endpoint := registry.settings.api_endpoint) and not layers.flags.get("api_endpoint"):
        yield from _host_wish(registry, folder, "settings.api_endpoint", f"https://{endpoint}", _TOKEN_AND_SECRETS)
    for name in (name for name in registry.check.endpoints if name in SERVICES):
        yield from _host_wish(registry, folder, f"check.endpoints.{name}", registry.check.endpoints[name], _TOKEN)
    if (git := registry.check.git) is not None and git.login is not None:
        yield from _host_wish(registry, folder, "check.git.remote", git.remote, f"the secret {git.login}")
    if (named := layers.dotenv.get(CREDENTIALS_VARIABLE)) and not layers.environ.get(CREDENTIALS_VARIABLE):
        yield from _credentials_wish(Path(named), here)
    yield from (_factory_wish(registry, one) for one in registry.containers.values() if one.factory)


def _host_wish(registry: Registry, folder: Path, key: str, url: str, gets: str) -> Iterator[Wish]:
    if not _is_google(_host(url)):
        yield Wish(Kind.HOST, _address(url), gets, _place(registry, key), folder)


def _factory_wish(registry: Registry, container: Container) -> Wish:
    place = _place(registry, f"containers.{container.index}.factory")
    return Wish(Kind.FACTORY, container.factory or "", "", place, Path(os.path.realpath(registry.folder)))


def _credentials_wish(path: Path, here: Path) -> Iterator[Wish]:
    try:
        text = read_text(path, "the credentials file") or ""
        found = json.loads(text)
    except (InputError, ValueError, RecursionError):  # told by who logs in with it
        return
    if not isinstance(found, dict):
        return
    service = found.get("token_uri", "https://oauth2.googleapis.com")
    if found.get("type") in _PLAIN_CREDENTIALS and isinstance(service, str) and _is_google(_host(service)):
        return
    digest = hashlib.sha256(text.encode()).hexdigest()
    yield Wish(Kind.CREDENTIALS, str(from_here(path)), digest, f"{ENV_FILE} {CREDENTIALS_VARIABLE}", here)


def _told(unmet: Sequence[Wish], registry: Registry) -> tuple[tuple[Finding, ...], tuple[Finding, ...]]:
    """Return the findings of wishes that were not granted: what a submission needs, and what a check can do without."""
    refused: list[Finding] = []
    asked: list[Wish] = []
    for wish in unmet:
        if wish.kind is Kind.CREDENTIALS:
            message = f"{wish.words}, which only you can agree to; it is not used"
            refused.append(
                Finding(
                    message,
                    f"run `run-kfp trust`, or set {CREDENTIALS_VARIABLE} in the environment",
                    "RK-TRUST-CREDENTIALS",
                    wish.place,
                )
            )
        elif wish.place == _place(registry, "settings.api_endpoint"):
            message = f"{wish.words} only after your consent; Google's own address is asked until then"
            refused.append(Finding(message, _consent(wish), "RK-TRUST-ENDPOINT", wish.place))
        elif wish.kind is Kind.HOST:
            asked.append(wish)
    if not asked:
        return tuple(refused), ()
    words = "; ".join(dict.fromkeys(wish.words for wish in asked))
    message = f"only after your consent: {words}; until then, a Git remote is asked without a login, and Google's own "
    message += "addresses instead of others"
    return tuple(refused), (_warning("RK-TRUST-HOST", asked[0].place, message, _consent(*asked)),)


def _warning(code: str, place: str, message: str, hint: str) -> Finding:
    return Finding(message, hint, code, place, Severity.WARNING)


def _consent(*wishes: Wish) -> str:
    hosts = " ".join(f"--trust-host {shell_word(host)}" for host in dict.fromkeys(wish.subject for wish in wishes))
    return f"run `run-kfp trust`; in CI, pass {hosts}"


def _in_clear(url: str) -> bool:
    """Say whether what is sent to a URL can be read on the way: without TLS, to another machine."""
    return url.startswith("http://") and _host(url) not in ("localhost", "127.0.0.1", "::1")


# The part of a URL that says where it leads. Narrow: a backslash is a part of the host for one library, and its end for
# another.
_AUTHORITY = re.compile(r"(https?)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?(?=/|$)", re.IGNORECASE)


def _host(url: str) -> str:
    """Return the host of a URL, in lower case; an empty text where it is not certain."""
    found = _AUTHORITY.match(url)
    return found[2].strip("[]").lower() if found else ""


def _address(url: str) -> str:
    """Return the host of a URL with its port, in lower case; a text whose host is not certain as it is."""
    found = _AUTHORITY.match(url)
    return f"{found[2].lower()}:{found[3] or {'http': 80, 'https': 443}[found[1].lower()]}" if found else url


def _is_google(host: str) -> bool:
    return host == "accounts.google.com" or host == "googleapis.com" or host.endswith(".googleapis.com")
