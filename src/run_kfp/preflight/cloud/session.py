"""Reads of Google's REST APIs: one token for all threads, a time limit for each, one deadline for all.

Nothing here raises for what a server or the network does: an `Answer` says what came, or why nothing did.
"""

from __future__ import annotations

import contextlib
import functools
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from run_kfp.credentials import find_credentials, first_sentence, in_time, printable
from run_kfp.errors import BackendError
from run_kfp.settings import Settings
from run_kfp.threads import in_background
from run_kfp.trust import SERVICES
from run_kfp.visible import shell_word

if TYPE_CHECKING:
    import requests

T = TypeVar("T")

Params = Mapping[str, str | Sequence[str]]

# Seconds: for one try, for reaching a server, and before the second try.
ONE_TRY, CONNECT, PAUSE = 10.0, 5.0, 0.2

_TOKEN_SERVICE = "Google's token service did not answer: {}"

# Bytes of one answer; the largest page of quotas is far below it.
_LARGEST = 32 * 2**20


@dataclass(frozen=True)
class Answer:
    """What a call gave.

    Attributes:
        status: of HTTP; 0 when there was no answer.
        body: the JSON object of the answer, an empty one where there is none.
        fault: why there is no answer, empty when there is one.
    """

    status: int
    body: Mapping[str, Any] = field(default_factory=dict)
    fault: str = ""

    @property
    def ok(self) -> bool:
        """Whether the call did what it was meant to."""
        return self.status == 200

    @property
    def error(self) -> Mapping[str, Any]:
        """Google's error (https://google.aip.dev/193), empty where there is none."""
        found = self.body.get("error")
        return found if isinstance(found, Mapping) else {}

    @property
    def error_info(self) -> Mapping[str, Any]:
        """The `google.rpc.ErrorInfo` of the error, empty where there is none."""
        details = self.error.get("details")
        for detail in details if isinstance(details, list) else ():
            if isinstance(detail, Mapping) and str(detail.get("@type", "")).endswith("google.rpc.ErrorInfo"):
                return detail
        return {}

    @property
    def scopes_missing(self) -> bool:
        """Whether the token was refused for its OAuth scopes.

        Most APIs give a reason (google/api/error_reason.proto), Cloud Storage has words alone.
        """
        words = str(self.error.get("message", ""))
        return self.status == 403 and (
            self.error_info.get("reason") == "ACCESS_TOKEN_SCOPE_INSUFFICIENT"
            or "insufficient authentication scopes" in words
            or "scope(s) are not authorized" in words
        )

    @property
    def reason(self) -> str:
        """Why it is not what was asked for, in words without a full stop; empty when it is."""
        if self.ok:
            return ""
        if self.fault:
            return self.fault
        metadata = self.error_info.get("metadata")
        if self.error_info.get("reason") == "SERVICE_DISABLED" and isinstance(metadata, Mapping):
            return printable(f"{metadata.get('service')} is not enabled in {metadata.get('consumer')}")
        said = printable(str(self.error.get("message") or "")).rstrip(".")
        kind = {401: "the credentials are refused", 403: "missing permission", 404: "not found"}.get(
            self.status, f"the server answers {self.status}"
        )
        return f"{kind} ({said[:300]})" if said else kind


class TokenServiceDown(BackendError):
    """No token came, and it is not the credentials' fault."""


def rows(value: object) -> Iterator[Mapping[str, Any]]:
    """Yield the objects of a JSON list; nothing where something else stands."""
    yield from (one for one in (value if isinstance(value, list) else ()) if isinstance(one, Mapping))


def together(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Call all side by side and return what they give, in order."""
    if len(calls) < 2:
        return [call() for call in calls]
    return [future.result() for future in [in_background(call) for call in calls]]


class GoogleSession:
    """Google's APIs under one login. Thread-safe; close it, or use it as a context.

    Credentials are found and exchanged for a token at the first need, once. The same question is asked once. The
    deadline (`settings.timeout` seconds) begins when the session is made.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        endpoints: Mapping[str, str] | None = None,
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Take where to look.

        Args:
            settings: for the key file, the timeout, the region and the endpoint of Vertex AI.
            endpoints: a URL ("https://storage-x.p.googleapis.com") for some of `SERVICES`.
            tell: takes a line when something is tried again.
        """
        self._settings = settings
        self._endpoints = dict(endpoints or {})
        self._tell = tell
        self._deadline = time.monotonic() + settings.timeout
        self._lock = threading.Lock()
        self._kept: dict[object, Future[Any]] = {}
        self._open: requests.Session | None = None
        self._closed = False
        self.refused = ""
        """The service that refused the token itself, empty where none did."""
        self.refused_for_scopes = ""
        """The service that refused the token for its scopes."""

    def __enter__(self) -> GoogleSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            self._closed = True
            if self._open is not None:
                self._open.close()

    @property
    def left(self) -> float:
        """Seconds until the deadline, at least 0."""
        return max(self._deadline - time.monotonic(), 0.0)

    # Who asks

    def login(self) -> Any:
        """Return google-auth's credentials, with a token.

        Raises:
            BackendError: there are none, they are refused, or no token came in time.
        """
        return self._once("login", self._log_in)

    def token(self) -> str | None:
        """Return an access token for Google's APIs and registries, None when there is none to be had."""
        with contextlib.suppress(BackendError):
            return str(self.login().token)
        return None

    def _log_in(self) -> Any:
        import requests
        from google.auth import exceptions
        from google.auth.transport.requests import Request

        try:
            credentials = find_credentials(
                self._settings, min(self._deadline, time.monotonic() + ONE_TRY), notify=self._tell
            )
        except BackendError as error:
            # The words are those of `find_credentials`, which has one class of errors.
            raise (TokenServiceDown(error.what) if error.what.startswith("Google's token service") else error) from None
        if credentials.token:
            return credentials
        # A service account key, which nobody has looked at so far. It is exchanged, though it could sign tokens of its
        # own: whether it still exists is known at Google only. google-auth tries again after a 5xx, three times in all.
        with requests.Session() as session:
            for last in (False, True):
                try:
                    limit = max(min(ONE_TRY, self.left), 0.1)
                    in_time(
                        functools.partial(credentials.refresh, functools.partial(Request(session), timeout=limit)),
                        limit,
                    )
                    return credentials
                except (exceptions.TransportError, TimeoutError) as error:
                    if last or not self.left:
                        raise TokenServiceDown(_TOKEN_SERVICE.format(first_sentence(error))) from None
                    self._tell(f"Google's token service: {first_sentence(error)}; retrying")
                except exceptions.GoogleAuthError as error:
                    if error.retryable:
                        raise TokenServiceDown(_TOKEN_SERVICE.format(first_sentence(error))) from None
                    raise BackendError(f"the Google credentials were refused: {first_sentence(error)}") from None
        raise AssertionError("unreachable: the last try returns or raises")

    # What is asked

    def get(self, service: str, path: str, params: Params | None = None) -> Answer:
        """Read.

        Args:
            service: one of `SERVICES`.
            path: from the root of the service, with a leading slash; quote foreign parts with `part`.
            params: the query.
        """
        key = ("GET", service, path, json.dumps(params, sort_keys=True))
        return self._once(key, lambda: self._ask("GET", service, path, params=params))

    def post(
        self, service: str, path: str, body: Mapping[str, Any] | None = None, params: Params | None = None
    ) -> Answer:
        """Ask one of the questions that Google takes as a POST (`:testIamPermissions`, …); it changes nothing."""
        key = ("POST", service, path, json.dumps([body, params], sort_keys=True))
        return self._once(key, lambda: self._ask("POST", service, path, params=params, body=body))

    @property
    def service_account(self) -> str | None:
        """The e-mail of the caller, where it is a service account that tells its name."""
        email = getattr(self.login(), "service_account_email", None)
        return email if isinstance(email, str) and "@" in email else None

    @property
    def member(self) -> str:
        """The caller as IAM names a member, as a word of a command; for a user a command that tells it."""
        email = self.service_account
        return shell_word(f"serviceAccount:{email}") if email else '"user:$(gcloud config get-value account)"'

    def _once(self, key: object, read: Callable[[], T]) -> T:
        """Return what `read` gives; of several threads that ask the same the first one reads."""
        with self._lock:
            kept: Future[T] | None = self._kept.get(key)
            mine = kept is None
            if kept is None:
                kept = self._kept[key] = Future()
        if mine:
            try:
                kept.set_result(read())
            except BaseException as error:  # noqa: BLE001 - raised again by everyone who waits
                kept.set_exception(error)
        return kept.result()

    def _ask(
        self,
        method: str,
        service: str,
        path: str,
        *,
        params: Params | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Answer:
        try:
            self.login()
        except BackendError as error:
            return Answer(0, fault=printable(error.what))
        url = self._root(service) + path
        answer = self._try(method, url, params, body)
        if (answer.status == 429 or answer.status >= 500) and self.left > PAUSE:
            time.sleep(PAUSE)
            answer = self._try(method, url, params, body)
        if answer.scopes_missing:
            self.refused_for_scopes = service
        elif answer.status == 401:
            self.refused = service
        return answer

    def _root(self, service: str) -> str:
        if service in self._endpoints:
            return self._endpoints[service].rstrip("/")
        if service == "aiplatform":
            # A malformed one is told already; where it leads is not certain.
            named = None if "api_endpoint" in self._settings.malformed else self._settings.get("api_endpoint")
            host = named or f"{self._settings.get('region')}-aiplatform.googleapis.com"
            return f"https://{host}"
        return f"https://{service}.googleapis.com"

    def _try(
        self,
        method: str,
        url: str,
        params: Params | None,
        body: Mapping[str, Any] | None,
    ) -> Answer:
        import requests
        import urllib3

        end = time.monotonic() + min(ONE_TRY, self.left)
        limit = max(end - time.monotonic(), 0.05)
        host = url.split("/")[2]
        try:
            with self._connections().request(
                method,
                url,
                params=params,
                json=body,
                # As `auth`, since a .netrc would replace a header.
                auth=self._authorize,
                timeout=(min(CONNECT, limit), limit),
                allow_redirects=False,
                stream=True,
            ) as response:
                content = bytearray()
                # Piece by piece as they come: a larger read would wait for all of it, however long they trickle.
                while piece := response.raw.read1(65536, decode_content=True):
                    content += piece
                    if time.monotonic() > end or len(content) > _LARGEST:
                        return Answer(0, fault=f"{host} did not complete its response")
                return Answer(response.status_code, _object(bytes(content)))
        except (requests.Timeout, urllib3.exceptions.TimeoutError):
            return Answer(0, fault=f"{host} did not answer in time")
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            # The classes of the errors name what happened; their words repeat whole requests.
            return Answer(0, fault=f"{host} could not be reached ({_kind(error)})")

    def _authorize(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        self.login().apply(request.headers)  # the token, and the quota project where the login names one
        return request

    def _connections(self) -> requests.Session:
        import requests
        from requests.adapters import HTTPAdapter

        with self._lock:
            if self._closed:
                raise ValueError("the session is closed")
            if self._open is None:
                self._open = requests.Session()
                self._open.mount("https://", HTTPAdapter(pool_connections=len(SERVICES), pool_maxsize=32))
            return self._open


def part(text: str) -> str:
    """Quote foreign text as one part of a path."""
    return quote(text, safe="")


def _object(content: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _kind(error: BaseException) -> str:
    """Name the innermost reason of an error of requests."""
    inner: Any = error
    while True:
        below = getattr(inner, "reason", None) or next((one for one in inner.args if isinstance(one, Exception)), None)
        if not isinstance(below, BaseException) or below is inner:
            return type(inner).__name__
        inner = below
