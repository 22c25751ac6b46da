"""A client of the HTTP API of image registries (https://distribution.github.io/distribution/spec/api/), for reading.

Whatever a registry does comes back as a value: `Found`, `Missing`, `Denied` or `Unreachable`.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import json
import os
import re
import subprocess
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from run_kfp.credentials import printable
from run_kfp.image_reference import DOCKER_HUB, ImageReference
from run_kfp.pipeline.tables import table_at

if TYPE_CHECKING:
    import requests

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
SCHEMA_1 = (
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
    "application/vnd.docker.distribution.manifest.v1+json",
)
# Schema 1 last, so that a registry that can give something else does.
_ACCEPT = ", ".join((OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST, *(f"{kind};q=0.1" for kind in SCHEMA_1)))

_HUB_API, _HUB_LOGIN = "registry-1.docker.io", "https://index.docker.io/v1/"
# What Docker Hub would answer to a request without a token (https://docs.docker.com/reference/api/registry/auth/).
_HUB_CHALLENGE = 'Bearer realm="https://auth.docker.io/token",service="registry.docker.io"'

# The name under which Google's registries take an access token as a password
# (https://cloud.google.com/artifact-registry/docs/docker/authentication#token).
GOOGLE_TOKEN_USER = "oauth2accesstoken"

# Bytes. Registries take manifests of up to 4 MiB (distribution-spec: "a limit of 4 MiB"); configs are a few kB.
_LARGEST = 8 * 1024 * 1024
_MOST_REDIRECTS = 5
# Seconds: for one request, and for a credential helper.
_LONGEST_REQUEST, _LONGEST_HELPER = 10.0, 5.0


@dataclass(frozen=True)
class Found:
    """A document of the registry, whose digest was computed from its bytes."""

    digest: str
    media_type: str
    body: Mapping[str, Any]


@dataclass(frozen=True)
class Missing:
    """The registry knows the caller and has no such thing; `words` are its own."""

    words: str


@dataclass(frozen=True)
class Denied:
    """The registry does not show it to the caller, which many do for what does not exist as well."""

    words: str


@dataclass(frozen=True)
class Unreachable:
    """No usable answer came; `words` say why."""

    words: str


Answer = Found | Missing | Denied | Unreachable


@dataclass(frozen=True)
class Login:
    """A user and a password or token, as HTTP's Basic scheme takes them."""

    user: str
    password: str = field(repr=False)

    @property
    def header(self) -> str:
        """The value of an Authorization header."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


class _RefusedError(Exception):
    """An end of a request that is told in an Answer."""

    def __init__(self, answer: Missing | Denied | Unreachable) -> None:
        super().__init__()
        self.answer = answer


class RegistryClient:
    """Reads one repository. Not for several threads at once; close it, or use it as a context."""

    def __init__(
        self,
        image: ImageReference,
        *,
        logins: Callable[[], Sequence[Login]],
        deadline: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take what to read and how; nothing is contacted yet.

        Args:
            image: names registry and repository.
            logins: asked for logins when the registry wants one. Where they are empty, or refused, it is asked without.
            deadline: on `clock`, in seconds; what is not answered then is Unreachable.
            clock: tells seconds.
        """
        import requests

        self._image = image
        self._logins = logins
        self._deadline = deadline
        self._clock = clock
        self._session = requests.Session()
        # A proxy leads to no registry of this machine; for others its variables and REQUESTS_CA_BUNDLE count.
        self._session.trust_env = not image.on_loopback
        host = _HUB_API if image.on_docker_hub else image.host
        self._base = f"{'http' if image.on_loopback else 'https'}://{host}/v2/{image.repository}"
        self._authorization: str | None = None
        self._tokens: dict[tuple[str, str, Login | None], str | _RefusedError] = {}
        self._entered = False
        self.login: Login | None = None

    def __enter__(self) -> RegistryClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def manifest(self, reference: str) -> Answer:
        """Get the manifest or index of a tag or digest."""
        return self._document(f"manifests/{reference}", reference if ":" in reference else None, _ACCEPT)

    def config(self, digest: str) -> Answer:
        """Get the config of an image, a blob: often from another host, which does not see the login."""
        return self._document(f"blobs/{digest}", digest, "*/*")

    def tags(self) -> tuple[str, ...]:
        """Return the first thousand tags of the repository; nothing where they are not to be had."""
        try:
            response, raw = self._get("tags/list?n=1000", "application/json")
        except _RefusedError:
            return ()
        found = _object(raw).get("tags") if response.status_code == 200 else None
        return tuple(tag for tag in found if isinstance(tag, str)) if isinstance(found, list) else ()

    def _document(self, path: str, digest: str | None, accept: str) -> Answer:
        try:
            response, raw = self._get(path, accept)
        except _RefusedError as refused:
            return refused.answer
        body = _object(raw)
        if not body:
            return Unreachable(f"{self._image.host} does not answer with JSON")
        media_type = str(body.get("mediaType") or response.headers.get("Content-Type", "").partition(";")[0]).strip()
        computed = f"sha256:{hashlib.sha256(raw).hexdigest()}"
        if body.get("schemaVersion") == 1:  # its digest leaves out the signatures at its end
            return Found(digest or response.headers.get("Docker-Content-Digest", computed), SCHEMA_1[0], body)
        promised = digest or response.headers.get("Docker-Content-Digest") or computed
        if promised.startswith("sha512:"):
            computed = f"sha512:{hashlib.sha512(raw).hexdigest()}"
        if promised != computed:
            return Unreachable(
                f"{self._image.host} answers with other content than that of the digest {_printable(promised)}"
            )
        return Found(computed, media_type, body)

    def _get(self, path: str, accept: str) -> tuple[requests.Response, bytes]:
        """Get a path of the repository, logging in on the way if the registry asks for it.

        Raises:
            _RefusedError: every answer but 200.
        """
        url = f"{self._base}/{path}"
        response, raw = self._follow(url, accept) if self._entered else self._enter(url, accept)
        if response.status_code != 200:
            raise _RefusedError(self._refusal(response.status_code, raw))
        return response, raw

    def _enter(self, url: str, accept: str) -> tuple[requests.Response, bytes]:
        """Get a URL in the first way that the registry accepts, and remember that way.

        Every question costs a round trip, so the first one goes where it may be the last: with an anonymous token to
        Docker Hub, which takes none without; without anything to the others, whose public images may be open.
        """
        known = self._known_challenge()
        if self._image.on_docker_hub:
            with contextlib.suppress(_RefusedError):  # told below, where the registry wants that token
                self._authorization = self._authorize(known, None)
        response, raw = self._follow(url, accept)
        if response.status_code not in ((401, 403, 429) if known else (401,)):
            return response, raw
        self._entered = True
        challenge = response.headers.get("WWW-Authenticate") or known
        refused: _RefusedError | None = None
        denied: tuple[requests.Response, bytes] | None = None
        for login, is_token in self._ways_in():
            if denied and login:
                continue  # Google knows whose token it is, and says no: its exchange would change nothing
            try:
                authorization = f"Bearer {login.password}" if login and is_token else self._authorize(challenge, login)
            except _RefusedError as error:
                if not isinstance(error.answer, Denied):
                    raise
                refused = error
                continue
            refused = None
            if authorization == self._authorization:
                continue
            self._authorization, self.login = authorization, login
            response, raw = self._follow(url, accept)
            if response.status_code not in (401, 403, 429):
                return response, raw
            if is_token and response.status_code == 403:
                denied = response, raw
        if refused is not None and denied is None:
            raise refused
        return denied or (response, raw)

    def _known_challenge(self) -> str:
        """Return the challenge that the registry is known to send, empty for most."""
        if self._image.on_docker_hub:
            return _HUB_CHALLENGE
        if self._image.on_google:
            return f'Bearer realm="https://{self._image.host}/v2/token",service="{self._image.host}"'
        return ""

    def _ways_in(self) -> Iterator[tuple[Login | None, bool]]:
        """Yield the logins to try, None for the anonymous one, and whether a login's password is itself the token.

        Vertex AI has no login but for Google's registries: elsewhere the anonymous one says more about the run.
        Google's take an access token as it is (https://cloud.google.com/artifact-registry/docs/reference/docker-api),
        which spares its exchange for one of theirs.
        """
        if self._image.on_google:
            for login in self._logins():
                if login.user == GOOGLE_TOKEN_USER:
                    yield login, True
                yield login, False
            yield None, False
        else:
            yield None, False
            for login in self._logins():
                yield login, False

    def _authorize(self, challenge: str, login: Login | None) -> str:
        """Answer a challenge (RFC 9110, 11.6.1); a token is fetched from where it says, once."""
        scheme = challenge.strip().partition(" ")[0].lower()
        if scheme == "basic":
            if login is None:
                raise _RefusedError(Denied(f"{self._image.host} requires a login"))
            return login.header
        fields = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        realm, service = fields.get("realm", ""), fields.get("service", "")
        if scheme != "bearer" or not self._trusted(realm, login):
            raise _RefusedError(
                Unreachable(f"{self._image.host} sends its callers to {_printable(realm) or 'nowhere'} for a token")
            )
        key = (realm, service, login)
        if key not in self._tokens:
            try:
                self._tokens[key] = self._token(realm, service, login)
            except _RefusedError as refused:
                self._tokens[key] = refused
        found = self._tokens[key]
        if isinstance(found, _RefusedError):
            raise found
        return f"Bearer {found}"

    def _token(self, realm: str, service: str, login: Login | None) -> str:
        """Fetch a token (https://distribution.github.io/distribution/spec/auth/token/)."""
        wanted = {
            **({"service": service} if service else {}),
            "scope": f"repository:{self._image.repository}:pull",
        }
        response, raw = self._request(
            f"{realm}{'&' if '?' in realm else '?'}{urllib.parse.urlencode(wanted)}",
            "application/json",
            login.header if login else None,
        )
        if response.status_code in (400, 401, 403, 404):
            raise _RefusedError(Denied(f"the login for {self._image.host} is refused" if login else _message(raw)))
        if response.status_code != 200:
            raise _RefusedError(self._refusal(response.status_code, raw))
        body = _object(raw)
        token = body.get("token") or body.get("access_token")
        if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token):
            raise _RefusedError(Unreachable(f"{self._image.host} gives no token"))
        return token

    def _trusted(self, realm: str, login: Login | None) -> bool:
        """Whether a token may be asked for there: over TLS, and with Google's own token from Google's hosts alone."""
        try:
            parts = urllib.parse.urlsplit(realm)
            host = parts.hostname or ""
        except ValueError:
            return False
        if self._image.on_google and login is not None:
            return parts.scheme == "https" and (host == "gcr.io" or host.endswith((".gcr.io", ".pkg.dev")))
        return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and self._image.on_loopback))

    def _follow(self, url: str, accept: str) -> tuple[requests.Response, bytes]:
        """Follow redirects; the login goes to the registry alone."""
        here = url
        for _ in range(_MOST_REDIRECTS + 1):
            same = urllib.parse.urlsplit(here)[:2] == urllib.parse.urlsplit(url)[:2]
            response, raw = self._request(here, accept, self._authorization if same else None)
            if response.status_code not in (301, 302, 303, 307, 308):
                return response, raw
            with contextlib.suppress(ValueError):
                there = urllib.parse.urljoin(here, response.headers.get("Location", ""))
                if there.startswith("https://") or (self._image.on_loopback and there.startswith("http://")):
                    here = there
                    continue
            raise _RefusedError(Unreachable(f"{self._image.host} sends its callers to no address with TLS"))
        raise _RefusedError(Unreachable(f"{self._image.host} sends its callers round in circles"))

    def _request(self, url: str, accept: str, authorization: str | None) -> tuple[requests.Response, bytes]:
        import requests
        import urllib3

        left = self._deadline - self._clock()
        if left <= 0:
            raise _RefusedError(Unreachable(f"{self._image.host} did not answer in time"))
        headers = {"Accept": accept, "User-Agent": "run-kfp"}
        if authorization:
            headers["Authorization"] = authorization
        try:
            # `auth` keeps requests from adding a login of ~/.netrc.
            with self._session.get(
                url,
                headers=headers,
                auth=lambda request: request,
                timeout=min(left, _LONGEST_REQUEST),
                allow_redirects=False,
                stream=True,
            ) as response:
                return response, self._body(response)
        except (requests.Timeout, TimeoutError, urllib3.exceptions.TimeoutError):
            words = f"{self._image.host} did not answer in time"
        except requests.exceptions.SSLError:
            words = f"the certificate of {self._image.host} is not trusted; REQUESTS_CA_BUNDLE names those that are"
        except requests.exceptions.ProxyError:
            words = f"the proxy does not lead to {self._image.host}"
        except (requests.ConnectionError, urllib3.exceptions.HTTPError, OSError):
            words = f"{self._image.host} cannot be reached"
        except (requests.RequestException, ValueError):  # a URL or a header that cannot be
            words = f"{self._image.host} does not answer with valid HTTP"
        raise _RefusedError(Unreachable(words))

    def _body(self, response: requests.Response) -> bytes:
        """Read a body piece by piece, so that one that trickles or never ends is given up."""
        pieces = bytearray()
        while piece := response.raw.read1(65536, decode_content=True):
            pieces += piece
            if len(pieces) > _LARGEST:
                raise _RefusedError(Unreachable(f"{self._image.host} answers with more than {_LARGEST >> 20} MiB"))
            if self._clock() > self._deadline:
                raise TimeoutError
        return bytes(pieces)

    def _refusal(self, status: int, raw: bytes) -> Missing | Denied | Unreachable:
        host = self._image.host
        if status == 404:
            return Missing(_message(raw))
        if status in (401, 403):
            return Denied(_message(raw))
        if status == 429:
            return Unreachable(f"{host} refuses requests for a while: too many requests (429)")
        return Unreachable(f"{host} answers with status {status}")


def find_logins(host: str) -> list[Login]:
    """Find the login that Docker's own configuration holds for a registry; none where there is none or it is broken.

    It is in `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`, or behind a credential helper named there
    (https://docs.docker.com/reference/cli/docker/login/#credential-stores).

    Args:
        host: as in a reference, with its port.
    """
    folder = os.environ.get("DOCKER_CONFIG") or Path("~/.docker").expanduser()
    try:
        config = _object((Path(folder) / "config.json").read_bytes())
    except (OSError, RuntimeError):
        return []
    wanted = {host, *({"index.docker.io", "registry-1.docker.io"} if host == DOCKER_HUB else ())}
    helpers = table_at(config, "credHelpers")
    named = next((helpers[key] for key in helpers if _config_host(key) in wanted), None)
    if helper := named or config.get("credsStore"):
        login = _from_helper(str(helper), _HUB_LOGIN if host == DOCKER_HUB else host)
        return [login] if login else []
    auths = table_at(config, "auths")
    found = [_from_entry(table_at(auths, key)) for key in auths if _config_host(key) in wanted]
    return [login for login in found if login][:1]


def _config_host(key: str) -> str:
    """Return the host of a key of `auths`, where it may be a URL with a path."""
    return key.partition("://")[2].partition("/")[0] if "://" in key else key.partition("/")[0]


def _from_entry(entry: Mapping[str, Any]) -> Login | None:
    try:
        user, _, password = base64.b64decode(str(entry.get("auth") or ""), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return Login(user, password.rstrip("\0")) if user and password else None


def _from_helper(helper: str, server: str) -> Login | None:
    if not re.fullmatch(r"[A-Za-z0-9._-]+", helper):
        return None
    try:
        done = subprocess.run(
            [f"docker-credential-{helper}", "get"],
            input=server.encode(),
            capture_output=True,
            timeout=_LONGEST_HELPER,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    body = _object(done.stdout)
    user, password = body.get("Username"), body.get("Secret")
    # "<token>" marks an identity token, which another exchange than a pull's would take.
    if isinstance(user, str) and isinstance(password, str) and user and user != "<token>":
        return Login(user, password)
    return None


def _object(raw: bytes) -> Mapping[str, Any]:
    """Read a JSON object; an empty one where there is none."""
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _message(raw: bytes) -> str:
    """Return what a registry says of an error, in one line; empty where it says nothing."""
    errors = _object(raw).get("errors")
    first = errors[0] if isinstance(errors, list) and errors else {}
    return _printable(first.get("message")) if isinstance(first, dict) else ""


def _printable(text: object) -> str:
    return printable(text)[:300] if isinstance(text, str) else ""
