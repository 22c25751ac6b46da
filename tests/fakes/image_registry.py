"""Strict image registries by their real names: Docker Hub, Google's and others, with their logins and token servers.

What it holds is made by `image`, `index` and `schema_1`; `push` puts the same into a real registry.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import http.client
import http.server
import io
import json
import re
import secrets
import socket
import ssl
import tarfile
import tempfile
import threading
import urllib.parse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from fakes.accounts import Accounts, Rejected
from fakes.certs import Authority
from fakes.sockets import Listener

HUB, HUB_AUTH, HUB_BLOBS = "registry-1.docker.io", "auth.docker.io", "production.cloudfront.docker.com"
GOOGLE_BLOBS = "storage.googleapis.com"

DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
SIGNED_SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"


@dataclass(frozen=True)
class Document:
    """Bytes with a media type, known by their digest."""

    media_type: str
    data: bytes

    @cached_property
    def digest(self) -> str:
        return f"sha256:{hashlib.sha256(self.data).hexdigest()}"

    def described(self, **more: object) -> dict[str, object]:
        """The descriptor by which another document names this one."""
        return {"mediaType": self.media_type, "size": len(self.data), "digest": self.digest, **more}


@dataclass(frozen=True)
class Pushed:
    """All documents of a push: `top` is what the tag will name, `manifests` what it names, then the blobs."""

    top: Document
    manifests: tuple[Document, ...] = ()
    blobs: tuple[Document, ...] = ()
    platform: str = ""


def image(
    platform: str = "linux/amd64",
    *,
    entrypoint: Sequence[str] | None = None,
    cmd: Sequence[str] | None = ("sh",),
    created: str = "2026-01-01T00:00:00Z",
    created_by: Sequence[str] = ("ADD rootfs.tar.xz / # buildkit",),
    layer_bytes: int | None = None,
    config_type: str | None = None,
    oci: bool = False,
) -> Pushed:
    """Make an image; `layer_bytes` is said of its layer, whatever the size of that."""
    os, architecture, *variant = platform.split("/")
    tar = _tar(platform)
    layer = Document(
        "application/vnd.oci.image.layer.v1.tar+gzip" if oci else "application/vnd.docker.image.rootfs.diff.tar.gzip",
        gzip.compress(tar, mtime=0),
    )
    body = {
        "os": os,
        "architecture": architecture,
        **({"variant": variant[0]} if variant else {}),
        "created": created,
        "config": {"Entrypoint": entrypoint, "Cmd": cmd, "User": "worker", "WorkingDir": "/app"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}"]},
        "history": [{"created_by": line} for line in created_by] + [{"created_by": "CMD", "empty_layer": True}],
    }
    kind = config_type or (
        "application/vnd.oci.image.config.v1+json" if oci else "application/vnd.docker.container.image.v1+json"
    )
    config = Document(kind, json.dumps(body).encode())
    sized = {"size": layer_bytes} if layer_bytes else {}
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI if oci else DOCKER,
        "config": config.described(),
        "layers": [layer.described(**sized)],
    }
    return Pushed(Document(OCI if oci else DOCKER, json.dumps(manifest).encode()), (), (config, layer), platform)


def index(*images: Pushed, oci: bool = True) -> Pushed:
    """Make an index of images; one of OCI gets an attestation too, as buildx adds them."""
    attestation = image("unknown/unknown", oci=True)
    members = (*images, attestation) if oci else images
    entries = []
    for member in members:
        os, architecture, *variant = member.platform.split("/")
        platform = {"os": os, "architecture": architecture, **({"variant": variant[0]} if variant else {})}
        entries.append(member.top.described(platform=platform))
    kind = OCI_INDEX if oci else DOCKER_LIST
    top = Document(kind, json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": entries}).encode())
    blobs = tuple(blob for member in members for blob in member.blobs)
    return Pushed(top, tuple(member.top for member in members), blobs)


def schema_1(name: str) -> Pushed:
    """Make a manifest as Docker 1.9 pushed it; its signature is of the right form only."""
    body = {
        "schemaVersion": 1,
        "name": name,
        "tag": "old",
        "architecture": "amd64",
        "fsLayers": [{"blobSum": f"sha256:{'0' * 64}"}],
        "history": [{"v1Compatibility": json.dumps({"architecture": "amd64"})}],
        "signatures": [{"header": {"alg": "ES256"}, "signature": "", "protected": ""}],
    }
    return Pushed(Document(SIGNED_SCHEMA_1, json.dumps(body, indent=3).encode()))


def push(address: str, repository: str, tag: str, pushed: Pushed) -> str:
    """Put an image into a registry that asks for no login (`127.0.0.1:PORT`); return its reference."""
    connection = http.client.HTTPConnection(address, timeout=30)
    with contextlib.closing(connection):

        def send(method: str, path: str, body: bytes, kind: str, expected: int) -> str:
            connection.request(method, path, body, {"Content-Type": kind})
            answer = connection.getresponse()
            said = answer.read()
            assert answer.status == expected, (method, path, answer.status, said)
            return answer.headers.get("Location", "")

        for blob in pushed.blobs:
            place = send("POST", f"/v2/{repository}/blobs/uploads/", b"", "application/octet-stream", 202)
            path = place.partition(address)[2]
            send("PUT", f"{path}&digest={blob.digest}", blob.data, "application/octet-stream", 201)
        for manifest in pushed.manifests:
            send("PUT", f"/v2/{repository}/manifests/{manifest.digest}", manifest.data, manifest.media_type, 201)
        send("PUT", f"/v2/{repository}/manifests/{tag}", pushed.top.data, pushed.top.media_type, 201)
    return f"{address}/{repository}:{tag}"


def _tar(text: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo("platform.txt")
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


@dataclass(frozen=True)
class Seen:
    """A request that reached the fake."""

    method: str
    host: str
    path: str
    query: Mapping[str, str]
    authorization: str | None
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Reply:
    """An answer."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def error(cls, status: int, code: str, message: str, **headers: str) -> Reply:
        """An error in the form of the registry API."""
        body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
        return cls(status, body, {"Content-Type": "application/json", **headers})

    @classmethod
    def json(cls, value: Any) -> Reply:
        """A JSON document."""
        return cls(200, json.dumps(value).encode(), {"Content-Type": "application/json"})


@dataclass
class _Repository:
    public: bool
    documents: dict[str, Document] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    blobs: dict[str, Document] = field(default_factory=dict)


class FakeImageRegistry:
    """Registries behind TLS on one port of loopback; each host has its own repositories. Thread-safe.

    A request without the right token is refused as the host does it: Docker Hub with 401, others with 403. A blob is a
    redirect to another host, which refuses requests with a login. Google's hosts also take access tokens: of `accounts`
    and of nobody else. `requests` keeps every request.
    """

    def __init__(
        self,
        authority: Authority,
        *others: str,
        plain: Sequence[str] = (),
        accounts: Accounts | None = None,
        google_blobs: str = GOOGLE_BLOBS,
    ) -> None:
        """Stand for Docker Hub and more.

        Args:
            authority: issues the certificate of all.
            others: hosts each with its token server beside its images, as Google has it.
            plain: hosts that ask nobody for a login, and hold their blobs themselves.
            accounts: whose access tokens the Google hosts among `others` take.
            google_blobs: where the hosts of `others` have their blobs.
        """
        self.hosts = (HUB, HUB_AUTH, HUB_BLOBS, google_blobs, *others, *plain)
        self.before_answer: Callable[[str], None] = lambda host: None
        """Called with the host, in the thread of each request, before it is answered."""
        self._others = others
        self._plain = plain
        self._accounts = accounts
        self._readable: dict[str, set[str]] = {}
        self._google_blobs = google_blobs
        self._lock = threading.Lock()
        self._repositories: dict[tuple[str, str], _Repository] = {}
        self._logins: dict[str, set[str]] = {}
        self._tokens: dict[str, tuple[str, str, bool]] = {}
        self._planned: dict[tuple[str, str], Callable[[], Reply]] = {}
        self._seen: list[Seen] = []
        self._listener = Listener(self._serve, tls=_tls(authority, self.hosts))
        self.port = self._listener.port

    def __enter__(self) -> Self:
        self._listener.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._listener.__exit__(*exception)

    @property
    def requests(self) -> list[Seen]:
        """Every request, in order."""
        with self._lock:
            return list(self._seen)

    def add(self, host: str, repository: str, tag: str, pushed: Pushed, *, public: bool = True) -> str:
        """Hold an image; return the digest of what the tag names."""
        with self._lock:
            held = self._repositories.setdefault((host, repository), _Repository(public))
            held.documents |= {document.digest: document for document in (pushed.top, *pushed.manifests)}
            held.blobs |= {blob.digest: blob for blob in pushed.blobs}
            held.tags[tag] = pushed.top.digest
        return pushed.top.digest

    def login(self, *readable: str) -> tuple[str, str]:
        """Make a user who may read these private repositories ("host/repository"); return name and password."""
        user, password = f"user{secrets.token_hex(4)}", secrets.token_urlsafe(24)
        self.let_in(user, password, *readable)
        return user, password

    def let_in(self, user: str, password: str, *readable: str) -> None:
        """Know a user by this name and password; Google's tokens have the name oauth2accesstoken."""
        with self._lock:
            self._logins[base64.b64encode(f"{user}:{password}".encode()).decode()] = set(readable)

    def let_account_read(self, email: str, *readable: str) -> None:
        """Let one of `accounts` read these private repositories ("host/repository")."""
        with self._lock:
            self._readable.setdefault(email, set()).update(readable)

    def plan(self, host: str, path: str, reply: Reply | Callable[[], Reply]) -> None:
        """Answer every request for a path with this; a function is called in the thread of the request."""
        self._planned[host, path] = reply if callable(reply) else lambda: reply

    def _serve(self, connection: socket.socket) -> None:
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body in one packet: the second would wait for the first one's acknowledgement

            def do_GET(self) -> None:
                path, _, query = self.path.partition("?")
                host = self.headers.get("Host", "").partition(":")[0]
                authorization = self.headers.get("Authorization")
                asked = dict(urllib.parse.parse_qsl(query))
                seen = Seen(self.command, host, path, asked, authorization, dict(self.headers))
                with fake._lock:
                    fake._seen.append(seen)
                fake.before_answer(host)
                planned = fake._planned.get((host, path))
                reply = planned() if planned else fake._answer(seen, self.headers.get("Accept", ""))
                self.send_response(reply.status)
                for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply.body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        Handler(connection, ("", 0), None)  # type: ignore[arg-type]  # it asks nothing of the server it belongs to

    def _answer(self, seen: Seen, accept: str) -> Reply:
        if seen.host == HUB_AUTH and seen.path == "/token":
            return self._token(seen, HUB, "registry.docker.io")
        if seen.host in self._others and seen.path == "/v2/token":
            return self._token(seen, seen.host, seen.host)
        if seen.host in (HUB_BLOBS, self._google_blobs):
            return self._blob(seen)
        found = re.fullmatch(r"/v2/(?P<name>[a-z0-9._/-]+?)/(manifests|blobs|tags)/(?P<what>[^/]+)", seen.path)
        if found and seen.host in (HUB, *self._others, *self._plain):
            return self._document(seen, found["name"], found[2], found["what"], accept)
        return Reply.error(501, "UNSUPPORTED", f"the fake has no {seen.method} https://{seen.host}{seen.path}")

    def _token(self, seen: Seen, registry: str, service: str) -> Reply:
        scope = re.fullmatch(r"repository:([a-z0-9._/-]+):pull", seen.query.get("scope", ""))
        if seen.query.get("service") != service or scope is None or set(seen.query) != {"service", "scope"}:
            return Reply.error(400, "UNSUPPORTED", f"no token for {dict(seen.query)}")
        readable: set[str] = set()
        if seen.authorization is not None:
            scheme, _, login = seen.authorization.partition(" ")
            with self._lock:
                known = self._logins.get(login)
            if known is None and scheme == "Basic" and _is_google(registry):
                user, _, password = base64.b64decode(login).decode().partition(":")
                known = self._readable_by(password) if user == "oauth2accesstoken" else None
            if scheme != "Basic" or known is None:
                return Reply.error(401, "UNAUTHORIZED", "incorrect username or password")
            readable = known
        token = secrets.token_urlsafe(32)
        held = self._repositories.get((registry, scope[1]))
        allowed = held is not None and (held.public or f"{registry}/{scope[1]}" in readable)
        with self._lock:
            self._tokens[token] = (registry, scope[1], allowed)
        return Reply.json({"token": token, "expires_in": 300})

    def _document(self, seen: Seen, name: str, kind: str, what: str, accept: str) -> Reply:
        realm, service = (
            (f"https://{HUB_AUTH}/token", "registry.docker.io")
            if seen.host == HUB
            else (f"https://{seen.host}/v2/token", seen.host)
        )
        challenge = f'Bearer realm="{realm}",service="{service}",scope="repository:{name}:pull"'
        token = (seen.authorization or "").removeprefix("Bearer ")
        held = self._repositories.get((seen.host, name), _Repository(public=False))
        with self._lock:
            registry, repository, allowed = self._tokens.get(token, ("", "", False))
        readable = self._readable_by(token) if _is_google(seen.host) else None
        if seen.host in self._plain:
            if seen.authorization is not None:
                return Reply.error(400, "UNSUPPORTED", "nobody was asked for a login")
            allowed = True
        elif readable is not None:
            allowed = held.public or f"{seen.host}/{name}" in readable
        elif (registry, repository) != (seen.host, name):
            return Reply.error(401, "UNAUTHORIZED", "authentication required", **{"WWW-Authenticate": challenge})
        if not allowed and seen.host == HUB:
            return Reply.error(401, "UNAUTHORIZED", "authentication required", **{"WWW-Authenticate": challenge})
        if not allowed:
            permission = "artifactregistry.repositories.downloadArtifacts"
            return Reply.error(403, "DENIED", f'Permission "{permission}" denied (or it may not exist)')
        if kind == "tags":
            return Reply.json({"name": name, "tags": sorted(held.tags)}) if what == "list" else Reply(404)
        if kind == "blobs" and seen.host in self._plain:
            blob = held.blobs.get(what)
            octets = {"Content-Type": "application/octet-stream"}
            return Reply(200, blob.data, octets) if blob else Reply.error(404, "BLOB_UNKNOWN", "no blob")
        if kind == "blobs":
            blobs = HUB_BLOBS if seen.host == HUB else self._google_blobs
            location = f"https://{blobs}/{what}?for={seen.host}/{name}"
            known = what in held.blobs
            return Reply(307, b"", {"Location": location}) if known else Reply.error(404, "BLOB_UNKNOWN", "no blob")
        document = held.documents.get(held.tags.get(what, what))
        # A media type that was not asked for is not given.
        if document is None or document.media_type not in re.split(r"(?:;q=[0-9.]+)?,\s*|;q=[0-9.]+$", accept):
            return Reply.error(404, "MANIFEST_UNKNOWN", "manifest unknown")
        headers = {"Content-Type": document.media_type, "Docker-Content-Digest": document.digest}
        return Reply(200, document.data, headers)

    def _readable_by(self, access_token: str) -> set[str] | None:
        """Return what the account of an access token may read; None for a token of nobody."""
        try:
            email = self._accounts.authenticate(access_token, audiences=()) if self._accounts else None
        except Rejected:
            email = None
        with self._lock:
            return None if email is None else set(self._readable.get(email, ()))

    def _blob(self, seen: Seen) -> Reply:
        if seen.authorization is not None:
            return Reply(400, b"<Error>Only one auth mechanism allowed</Error>")
        host, _, name = seen.query.get("for", "").partition("/")
        held = self._repositories.get((host, name))
        blob = held.blobs.get(seen.path.removeprefix("/")) if held else None
        return Reply(200, blob.data, {"Content-Type": "application/octet-stream"}) if blob else Reply(404)


def _is_google(host: str) -> bool:
    return host == "gcr.io" or host.endswith((".gcr.io", "-docker.pkg.dev"))


def _tls(authority: Authority, hosts: Iterable[str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:  # the context takes a certificate as files alone
        certificate, key = authority.issue(*hosts)
        certificate_file, key_file = Path(folder, "certificate.pem"), Path(folder, "key.pem")
        certificate_file.write_bytes(certificate)
        key_file.write_bytes(key)
        context.load_cert_chain(certificate_file, key_file)
    return context
