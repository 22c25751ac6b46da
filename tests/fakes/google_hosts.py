"""Google's hosts by their real names: an HTTPS proxy that leads to the fakes, and to nothing else.

An unpatched program that is given https_proxy resolves no name and opens no connection of its own:
it asks the proxy for `us-east1-aiplatform.googleapis.com:443` and talks TLS to whoever answers,
here a fake with a certificate for that name.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import tempfile
import threading
import urllib.parse
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import IO, Self

from google.cloud.resourcemanager_v3.types import GetProjectRequest, Project

from fakes import rpc
from fakes.accounts import CLOUD_PLATFORM, TOKEN_LIFETIME, Accounts, Rejected
from fakes.certs import TOKEN_URI, Authority
from fakes.sockets import LOOPBACK, Listener, send_at_once, splice
from fakes.vertex import FakeVertex

TOKEN_HOST = "oauth2.googleapis.com"
STORAGE_HOST = "storage.googleapis.com"
PROJECTS_HOST = "cloudresourcemanager.googleapis.com"


@dataclass(frozen=True)
class HttpRequest:
    """A request that reached an HTTPS fake."""

    method: str
    target: str
    """What stands behind the method: a path with its query, for CONNECT HOST:PORT."""
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def host(self) -> str:
        """The host that the client meant, without a port."""
        return self.headers.get("host", "").partition(":")[0]

    @property
    def path(self) -> str:
        """The path without its query."""
        return self.target.partition("?")[0]

    @property
    def form(self) -> dict[str, str]:
        """The fields of a body sent as a form."""
        return dict(urllib.parse.parse_qsl(self.body.decode()))


@dataclass(frozen=True)
class HttpAnswer:
    """What an HTTPS fake gives back: a status and a JSON object."""

    status: HTTPStatus
    body: Mapping[str, object]


_HANG = None
"""In the place of an answer: none is given until the client or the fake goes away."""


class GoogleHosts:
    """A CONNECT proxy on loopback, with a token endpoint behind it and a fake Vertex AI.

    It leads the hosts of Vertex AI in `regions` to `vertex`, and oauth2.googleapis.com to an
    endpoint that issues tokens to the accounts that `vertex` knows. Every other host gets 403 and
    is kept in `refused`. Thread-safe.
    """

    def __init__(self, vertex: FakeVertex, *, regions: Iterable[str] = ("us-east1",)) -> None:
        """Stand in front of a running `vertex`."""
        self.vertex = vertex
        self._https = _HttpsEndpoint(vertex.accounts, vertex.authority)
        self._proxy = Listener(self._connect)
        self._routes = {f"{region}-aiplatform.googleapis.com:443": vertex.port for region in regions}
        self._routes[f"{TOKEN_HOST}:443"] = self._https.port
        self._lock = threading.Lock()
        self._asked: list[str] = []
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as opening:
            opening.enter_context(self._https)
            self._projects_port = opening.enter_context(
                rpc.server(self._project, self.vertex.authority.issue(PROJECTS_HOST))
            )
            opening.enter_context(self._proxy)
            self._open = opening.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def proxy(self) -> str:
        """The proxy's address: "http://127.0.0.1:PORT"."""
        return f"http://{LOOPBACK}:{self._proxy.port}"

    def environment(self) -> dict[str, str]:
        """Return the variables with which a process trusts the fakes and takes the proxy."""
        # requests reads either name, gRPC's C core (1.85) the one in lower case only.
        return {**self.vertex.environment(), "HTTPS_PROXY": self.proxy, "https_proxy": self.proxy}

    @property
    def asked(self) -> list[str]:
        """Every HOST:PORT that a client wanted to reach, in order."""
        with self._lock:
            return list(self._asked)

    @property
    def refused(self) -> list[str]:
        """Those of `asked` that the proxy leads to nowhere."""
        return [target for target in self.asked if target not in self._routes]

    @property
    def token_requests(self) -> list[HttpRequest]:
        """Every request to the token endpoint, in order."""
        return [request for request in self._https.requests if request.host == TOKEN_HOST]

    def route(self, host: str, port: int) -> None:
        """Lead port 443 of `host` to a fake on `port` of loopback."""
        self._routes[f"{host}:443"] = port

    def bucket(self, name: str, *, project: str) -> None:
        """Let there be a bucket of `project`, for a program that asks for more than Vertex AI.

        Opens storage.googleapis.com and cloudresourcemanager.googleapis.com, with no more behind
        them than aiplatform.PipelineJob.submit asks for: buckets, and the numbers of projects.
        """
        self._https.add_bucket(name, self.vertex.project_number(project))
        self._routes[f"{STORAGE_HOST}:443"] = self._https.port
        self._routes[f"{PROJECTS_HOST}:443"] = self._projects_port

    def token_scopes(self, *scopes: str) -> None:
        """Let the token endpoint say that the tokens have these scopes, and no others."""
        self._https.scopes = scopes

    def token_error(
        self,
        error: str = "invalid_grant",
        description: str = "Token has been expired or revoked.",
        *,
        status: HTTPStatus = HTTPStatus.BAD_REQUEST,
        times: int = 1,
    ) -> None:
        """Answer the next `times` token requests with an OAuth error (RFC 6749, 5.2)."""
        self._https.plan_token(_oauth_error(error, description, status), times)

    def token_unavailable(self, *, times: int = 1) -> None:
        """Answer the next `times` token requests with 503."""
        self.token_error("internal_failure", "Try again.", status=HTTPStatus.SERVICE_UNAVAILABLE, times=times)

    def token_hang(self, *, times: int = 1) -> None:
        """Never answer the next `times` token requests."""
        self._https.plan_token(_HANG, times)

    def _project(self, method: str, raw: bytes, call: rpc.Call) -> bytes:
        rpc.authenticate(self.vertex.accounts, rpc.metadata(call), PROJECTS_HOST)
        if method != "/google.cloud.resourcemanager.v3.Projects/GetProject":
            raise rpc.Refusal("UNIMPLEMENTED", f"The fake has no method {method}.")
        project = GetProjectRequest.deserialize(raw).name.removeprefix("projects/")
        found = Project(name=f"projects/{self.vertex.project_number(project)}", project_id=project)
        answer: bytes = Project.serialize(found)
        return answer

    def _connect(self, client: socket.socket) -> None:
        # What the buffer might hold beyond the head would be lost; a client says nothing more until
        # it has its answer.
        with client.makefile("rb") as stream:
            request = read_request(stream)
        if request is None:
            return
        with self._lock:
            self._asked.append(request.target)
        port = self._routes.get(request.target) if request.method == "CONNECT" else None
        if port is None:
            client.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            return
        with socket.create_connection((LOOPBACK, port)) as upstream:
            send_at_once(upstream)
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            splice(client, upstream)


class _HttpsEndpoint:
    """The hosts that speak HTTP: the token endpoint and, of Cloud Storage, the bucket's metadata.

    The token endpoint knows the grants jwt-bearer (RFC 7523) and refresh_token (RFC 6749, 6).
    """

    def __init__(self, accounts: Accounts, authority: Authority) -> None:
        self._accounts = accounts
        self._lock = threading.Lock()
        self._requests: list[HttpRequest] = []
        self._token_answers: deque[HttpAnswer | None] = deque()
        self._project_numbers: dict[str, str] = {}
        self.scopes: tuple[str, ...] = (CLOUD_PLATFORM, "https://www.googleapis.com/auth/userinfo.email", "openid")
        self._listener = Listener(self._serve, tls=server_tls(authority, "*.googleapis.com"))
        self.port = self._listener.port

    def __enter__(self) -> Self:
        self._listener.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._listener.__exit__(*exception)

    @property
    def requests(self) -> list[HttpRequest]:
        with self._lock:
            return list(self._requests)

    def plan_token(self, answer: HttpAnswer | None, times: int) -> None:
        with self._lock:
            self._token_answers.extend([answer] * times)

    def add_bucket(self, name: str, project_number: str) -> None:
        with self._lock:
            self._project_numbers[name] = project_number

    def _serve(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            while (request := read_request(stream)) is not None:
                with self._lock:
                    self._requests.append(request)
                answer = self._answer(request)
                if answer is _HANG:
                    stream.read(1)  # returns when the client hangs up, or the listener is closed
                    return
                send_answer(connection, answer)

    def _answer(self, request: HttpRequest) -> HttpAnswer | None:
        if (request.method, request.host, request.path) == ("POST", TOKEN_HOST, "/token"):
            with self._lock:
                if self._token_answers:
                    return self._token_answers.popleft()
            return self._token(request.form)
        if (request.method, request.host, request.target) == ("POST", TOKEN_HOST, "/tokeninfo"):
            return self._token_info(request)
        if request.method == "GET" and request.host == STORAGE_HOST:
            return self._bucket(request)
        return HttpAnswer(
            HTTPStatus.NOT_IMPLEMENTED,
            {"error": f"the fake has no {request.method} https://{request.host}{request.path}"},
        )

    def _token(self, form: Mapping[str, str]) -> HttpAnswer:
        try:
            match form.get("grant_type"):
                case "urn:ietf:params:oauth:grant-type:jwt-bearer":
                    token = self._accounts.exchange_assertion(form.get("assertion", ""), token_uri=TOKEN_URI)
                case "refresh_token":
                    token = self._accounts.exchange_refresh_token(form)
                case other:
                    return _oauth_error("unsupported_grant_type", f"Invalid grant_type: {other}")
        except Rejected as rejected:
            return _oauth_error("invalid_grant", str(rejected))
        return HttpAnswer(
            HTTPStatus.OK,
            {"access_token": token, "expires_in": TOKEN_LIFETIME - 1, "token_type": "Bearer"},
        )

    def _token_info(self, request: HttpRequest) -> HttpAnswer:
        try:
            email = self._accounts.authenticate(
                request.headers.get("authorization", "").removeprefix("Bearer "), audiences=()
            )
        except Rejected as rejected:
            return _oauth_error("invalid_token", str(rejected))
        told = {"email": email, "email_verified": "true"} if any("email" in scope for scope in self.scopes) else {}
        return HttpAnswer(HTTPStatus.OK, {"scope": " ".join(self.scopes), "expires_in": "3000", **told})

    def _bucket(self, request: HttpRequest) -> HttpAnswer:
        try:
            self._accounts.authenticate(
                request.headers.get("authorization", "").removeprefix("Bearer "),
                audiences=(f"https://{STORAGE_HOST}/",),
            )
        except Rejected:
            return http_error(HTTPStatus.UNAUTHORIZED, "Invalid Credentials")
        name = request.path.removeprefix("/storage/v1/b/")
        with self._lock:
            number = self._project_numbers.get(name)
        if number is None:
            return http_error(HTTPStatus.NOT_FOUND, "The specified bucket does not exist.")
        return HttpAnswer(
            HTTPStatus.OK,
            {"kind": "storage#bucket", "id": name, "name": name, "projectNumber": number},
        )


def _oauth_error(error: str, description: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> HttpAnswer:
    """Return an error as RFC 6749, 5.2 has it."""
    return HttpAnswer(status, {"error": error, "error_description": description})


def http_error(status: HTTPStatus, message: str) -> HttpAnswer:
    """Return an error as Google's JSON APIs have it."""
    return HttpAnswer(status, {"error": {"code": status.value, "message": message}})


def read_request(stream: IO[bytes]) -> HttpRequest | None:
    """Read one HTTP/1.1 request; None at the end of the stream, or where it is no HTTP."""
    parts = stream.readline().decode("latin-1").split()
    if len(parts) != 3:
        return None
    headers = {name.lower(): value for name, value in http.client.parse_headers(stream).items()}
    body = stream.read(int(headers.get("content-length", 0)))
    return HttpRequest(parts[0], parts[1], headers, body)


def send_answer(connection: socket.socket, answer: HttpAnswer) -> None:
    body = json.dumps(answer.body).encode()
    head = (
        f"HTTP/1.1 {answer.status.value} {answer.status.phrase}\r\n"
        "Content-Type: application/json; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    connection.sendall(head.encode() + body)


def server_tls(authority: Authority, *hosts: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:  # the context takes a certificate as files alone
        certificate_file, key_file = Path(folder, "certificate.pem"), Path(folder, "key.pem")
        certificate, key = authority.issue(*hosts)
        certificate_file.write_bytes(certificate)
        key_file.write_bytes(key)
        context.load_cert_chain(certificate_file, key_file)
    return context
