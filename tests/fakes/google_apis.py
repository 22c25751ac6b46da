"""Google's read APIs over REST: a small model of projects, buckets, accounts and quotas, from which answers follow.

Messages are Google's own types wherever a package has them, so that no other field can come or go. What the fake does
not know (a path, a method, a parameter, a field of a body) is refused.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import urllib.parse
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Self

from google.cloud.aiplatform_v1.types import PipelineJob
from google.cloud.cloudquotas_v1.types import DimensionsInfo, ListQuotaInfosResponse, QuotaDetails, QuotaInfo
from google.cloud.iam_admin_v1.types import ServiceAccount
from google.cloud.policytroubleshooter_v1.types import (
    AccessState,
    TroubleshootIamPolicyRequest,
    TroubleshootIamPolicyResponse,
)
from google.cloud.resourcemanager_v3.types import Project
from google.cloud.service_usage_v1.types import BatchGetServicesResponse, Service, State
from google.iam.v1 import iam_policy_pb2, policy_pb2
from google.protobuf import json_format

from fakes.accounts import Accounts, Rejected
from fakes.certs import Authority
from fakes.google_hosts import GoogleHosts, HttpAnswer, HttpRequest, read_request, send_answer, server_tls
from fakes.sockets import Listener

SERVICES = (
    "artifactregistry",
    "cloudquotas",
    "cloudresourcemanager",
    "iam",
    "policytroubleshooter",
    "serviceusage",
    "storage",
)

PAGE = 3
"""Quotas of a page, so that tests with few of them see several."""

# What roles hold, of what is asked here. Source: https://cloud.google.com/iam/docs/roles-permissions
_METADATA = {"aiplatform.metadataStores.get", "aiplatform.metadataStores.create"}
_READER = {"artifactregistry.repositories.downloadArtifacts"}
ROLES: Mapping[str, set[str]] = {
    "roles/aiplatform.user": {*_METADATA, "aiplatform.pipelineJobs.create"},
    "roles/aiplatform.viewer": {"aiplatform.metadataStores.get"},
    "roles/aiplatform.serviceAgent": {*_METADATA, *_READER, "logging.logEntries.create"},
    "roles/aiplatform.customCodeServiceAgent": {*_METADATA, *_READER, "logging.logEntries.create"},
    "roles/artifactregistry.reader": _READER,
    "roles/editor": {*_METADATA, *_READER, "logging.logEntries.create", "iam.serviceAccounts.actAs"},
    "roles/iam.serviceAccountUser": {"iam.serviceAccounts.actAs"},
    "roles/iam.serviceAccountTokenCreator": {"iam.serviceAccounts.getAccessToken"},
    "roles/logging.logWriter": {"logging.logEntries.create"},
    "roles/storage.objectUser": {"storage.objects.get", "storage.objects.create"},
    "roles/storage.objectViewer": {"storage.objects.get"},
    "roles/storage.legacyBucketReader": {"storage.buckets.get"},
    "roles/storage.legacyBucketOwner": {"storage.buckets.get", "storage.objects.create"},
    "roles/storage.legacyObjectOwner": {"storage.objects.get"},
}


@dataclass
class FakeProject:
    """A project; `policy` is its own, `above` what folders and groups give, which no policy shows."""

    number: int
    policy: list[policy_pb2.Binding] = field(default_factory=list)
    above: set[tuple[str, str]] = field(default_factory=set)
    """(e-mail, role)"""
    enabled: set[str] = field(default_factory=set)
    state: str = "ACTIVE"


@dataclass
class FakeBucket:
    """A bucket of a project; `kind` is "region", "dual-region" or "multi-region"."""

    project: str
    location: str = "US-EAST1"
    kind: str = "region"
    policy: list[policy_pb2.Binding] = field(default_factory=list)


@dataclass
class FakeAccount:
    """A service account of a project."""

    project: str
    disabled: bool = False
    policy: list[policy_pb2.Binding] = field(default_factory=list)


@dataclass
class FakeRepository:
    """A repository of Artifact Registry."""

    policy: list[policy_pb2.Binding] = field(default_factory=list)


class _Refused(Exception):
    def __init__(self, status: HTTPStatus, message: str, reason: str = "", metadata: Mapping[str, str] | None = None):
        super().__init__(message)
        self.answer = error_answer(status, message, reason, metadata)


def bind(policy: list[policy_pb2.Binding], role: str, *members: str, condition: str = "") -> None:
    """Bind members to a role; `condition` is a CEL expression."""
    binding = policy_pb2.Binding(role=role, members=members)
    if condition:
        binding.condition.expression = condition
    policy.append(binding)


def error_answer(
    status: HTTPStatus, message: str, reason: str = "", metadata: Mapping[str, str] | None = None
) -> HttpAnswer:
    """Return an error as Google's APIs have it (https://google.aip.dev/193)."""
    info = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": "googleapis.com",
        "metadata": dict(metadata or {}),
    }
    names = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}
    return HttpAnswer(
        status,
        {
            "error": {
                "code": status.value,
                "message": message,
                "status": names.get(status.value, status.name),
                **({"details": [info]} if reason else {}),
            }
        },
    )


class FakeGoogleApis:
    """The APIs of `SERVICES` and the pipeline jobs of Vertex AI by REST, behind `GoogleHosts`. Thread-safe.

    Change the model before the calls that shall see it.
    """

    def __init__(self, accounts: Accounts, authority: Authority) -> None:
        self.projects: dict[str, FakeProject] = {}
        self.buckets: dict[str, FakeBucket] = {}
        self.accounts: dict[str, FakeAccount] = {}
        self.repositories: dict[str, FakeRepository] = {}
        self.jobs: set[str] = set()
        """projects/ID/locations/REGION/pipelineJobs/ID"""
        self.quotas: dict[str, dict[str, int]] = {}
        """Metric → region → limit; the region "" stands for all others."""
        self.troubleshooter_sees_all = True
        self.before_answer: Callable[[str], None] = lambda host: None
        """Called with the host, in the thread of each request, before it is answered."""
        self._let_in = accounts
        self._changed = threading.Condition()
        self._requests: list[HttpRequest] = []
        self._answers: defaultdict[str, list[HttpAnswer]] = defaultdict(list)
        self._always: dict[str, HttpAnswer] = {}
        self._hanging: set[str] = set()
        self._meetings: list[tuple[tuple[str, ...], threading.Barrier]] = []
        self._held = 0
        self._listener = Listener(self._serve, tls=server_tls(authority, "*.googleapis.com"))
        self.port = self._listener.port

    def __enter__(self) -> Self:
        self._listener.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        with self._changed:
            self._held = 0
            self._changed.notify_all()
        for _, barrier in self._meetings:
            barrier.abort()
        self._listener.__exit__(*exception)

    def stand_behind(self, hosts: GoogleHosts, *, regions: Iterable[str] = ("us-east1",)) -> None:
        """Let the proxy lead the hosts of `SERVICES`, and Vertex AI in `regions`, here."""
        for service in SERVICES:
            hosts.route(f"{service}.googleapis.com", self.port)
        for region in regions:
            hosts.route(f"{region}-aiplatform.googleapis.com", self.port)

    @property
    def requests(self) -> list[HttpRequest]:
        """Every request, in order of arrival."""
        with self._changed:
            return list(self._requests)

    def fail(self, service: str, answer: HttpAnswer, *, times: int | None = None) -> None:
        """Answer the next `times` requests to a service so, or all."""
        with self._changed:
            if times is None:
                self._always[service] = answer
            else:
                self._answers[service] += [answer] * times

    def hang(self, *services: str) -> None:
        """Never answer these services."""
        self._hanging.update(services)

    def hold(self, count: int) -> None:
        """Answer nothing until `count` requests are here at once; a second more than that is answered at once."""
        self._held = count

    def meet(self, count: int, *patterns: str) -> None:
        """Answer requests to paths of these patterns when `count` of them are here at once, and with 503 otherwise."""
        self._meetings.append((patterns, threading.Barrier(count)))

    # The model

    def permissions(self, principal: str, resource: str) -> set[str]:
        """Return what an account holds on a resource, however it came to it."""
        project, policies = self._policies(resource)
        roles = {
            binding.role
            for policy in policies
            for binding in policy
            if not binding.HasField("condition") and self._is_member(principal, project, binding.members)
        }
        roles |= {role for email, role in self.projects[project].above if email == principal}
        return set().union(*(ROLES.get(role, set()) for role in roles))

    def _policies(self, resource: str) -> tuple[str, list[list[policy_pb2.Binding]]]:
        """Return the project of a resource and the policies that count for it."""
        service, _, path = resource.removeprefix("//").partition(".googleapis.com/")
        parts = path.split("/")
        with contextlib.suppress(KeyError):
            match service, parts:
                case "cloudresourcemanager", ["projects", project]:
                    return project, [self.projects[project].policy]
                case "storage", ["projects", "_", "buckets", name]:
                    bucket = self.buckets[name]
                    return bucket.project, [bucket.policy, self.projects[bucket.project].policy]
                case "iam", ["projects", project, "serviceAccounts", email]:
                    return project, [self.accounts[email].policy, self.projects[project].policy]
                case "artifactregistry", ["projects", project, "locations", _, "repositories", _]:
                    return project, [self.repositories[path].policy, self.projects[project].policy]
        raise _Refused(HTTPStatus.BAD_REQUEST, f"The fake has no resource {resource}.")

    def _is_member(self, principal: str, project: str, members: Iterable[str]) -> bool:
        names = {f"serviceAccount:{principal}", f"user:{principal}", "allUsers", "allAuthenticatedUsers"}
        editors = [binding.members for binding in self.projects[project].policy if binding.role == "roles/editor"]
        if any(names & set(one) for one in editors):
            names.add(f"projectEditor:{project}")
        return bool(names & set(members))

    # The wire

    def _serve(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            while (request := read_request(stream)) is not None:
                service = request.host.partition(".")[0].rpartition("-")[2]
                with self._changed:
                    self._requests.append(request)
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: len(self._requests) >= self._held, timeout=30)
                    planned = self._answers[service].pop(0) if self._answers[service] else self._always.get(service)
                if service in self._hanging:
                    stream.read(1)  # returns when the client hangs up, or the listener is closed
                    return
                self.before_answer(request.host)
                send_answer(connection, self._apart(request) or planned or self._answer(service, request))

    def _apart(self, request: HttpRequest) -> HttpAnswer | None:
        """Wait for the others of a meeting; return an error where they do not come."""
        for patterns, barrier in self._meetings:
            if any(re.fullmatch(pattern, request.path) for pattern in patterns):
                try:
                    barrier.wait(8)  # shorter than a client waits: who has hung up must not count as here
                except threading.BrokenBarrierError:
                    return error_answer(HTTPStatus.SERVICE_UNAVAILABLE, "The others did not come.")
        return None

    def _answer(self, service: str, request: HttpRequest) -> HttpAnswer:
        bearer = request.headers.get("authorization", "")
        try:
            if not bearer.startswith("Bearer "):
                raise Rejected("no token")
            caller = self._let_in.authenticate(bearer.removeprefix("Bearer "), audiences=())
        except Rejected as rejected:
            return error_answer(HTTPStatus.UNAUTHORIZED, "Request had invalid credentials.", rejected.reason)
        for method, known, pattern, allowed, handler in _ROUTES:
            found = re.fullmatch(pattern, request.path)
            if (method, known) != (request.method, service) or found is None:
                continue
            query = urllib.parse.parse_qsl(request.target.partition("?")[2], keep_blank_values=True)
            strange = {name for name, _ in query} - set(allowed)
            if strange:
                return error_answer(HTTPStatus.BAD_REQUEST, f"Unknown name {', '.join(strange)}: Cannot bind.")
            named = {name: urllib.parse.unquote(text) for name, text in found.groupdict().items()}
            try:
                return HttpAnswer(HTTPStatus.OK, handler(self, _Call(caller, named, query, request.body)))
            except _Refused as refused:
                return refused.answer
            except json_format.ParseError as error:
                return error_answer(HTTPStatus.BAD_REQUEST, str(error))
        return HttpAnswer(
            HTTPStatus.NOT_IMPLEMENTED, {"error": f"the fake has no {request.method} {request.host}{request.path}"}
        )

    # The methods

    def _project(self, call: _Call) -> FakeProject:
        name = call.named["project"]
        found = next((one for key, one in self.projects.items() if name in (key, str(one.number))), None)
        if found is None:
            raise _Refused(HTTPStatus.FORBIDDEN, "The caller does not have permission (or the project may not exist).")
        return found

    def get_project(self, call: _Call) -> dict[str, Any]:
        found = self._project(call)
        return _json(
            Project.pb(Project(name=f"projects/{found.number}", project_id=call.named["project"], state=found.state))
        )

    def project_permissions(self, call: _Call) -> dict[str, Any]:
        self._project(call)
        return self._test(call, f"//cloudresourcemanager.googleapis.com/projects/{call.named['project']}")

    def project_policy(self, call: _Call) -> dict[str, Any]:
        request = json_format.Parse(call.body, iam_policy_pb2.GetIamPolicyRequest())
        return _policy(self._project(call).policy, request.options.requested_policy_version)

    def services(self, call: _Call) -> dict[str, Any]:
        project = self._project(call)
        parent = f"projects/{call.named['project']}/services/"
        listed = []
        for _, name in call.query:
            if not name.startswith(parent):
                raise _Refused(HTTPStatus.BAD_REQUEST, f"{name} is not below the parent.")
            state = State.ENABLED if name.removeprefix(parent) in project.enabled else State.DISABLED
            listed.append(Service(name=f"projects/{project.number}/services/{name.removeprefix(parent)}", state=state))
        return _json(BatchGetServicesResponse.pb(BatchGetServicesResponse(services=listed)))

    def bucket(self, call: _Call) -> dict[str, Any]:
        # No package has a type for the JSON API; the fields are those of
        # https://cloud.google.com/storage/docs/json_api/v1/buckets#resource
        found = self._bucket(call)
        return {
            "kind": "storage#bucket",
            "id": call.named["bucket"],
            "name": call.named["bucket"],
            "projectNumber": str(self.projects[found.project].number),
            "location": found.location,
            "locationType": found.kind,
        }

    def bucket_policy(self, call: _Call) -> dict[str, Any]:
        version = int(dict(call.query).get("optionsRequestedPolicyVersion", "1"))
        policy = _policy(self._bucket(call).policy, version)
        return {"kind": "storage#policy", "resourceId": f"projects/_/buckets/{call.named['bucket']}", **policy}

    def bucket_permissions(self, call: _Call) -> dict[str, Any]:
        self._bucket(call)
        held = self.permissions(call.caller, f"//storage.googleapis.com/projects/_/buckets/{call.named['bucket']}")
        mine = [one for _, one in call.query if one in held]
        return {"kind": "storage#testIamPermissionsResponse", **({"permissions": mine} if mine else {})}

    def _bucket(self, call: _Call) -> FakeBucket:
        try:
            return self.buckets[call.named["bucket"]]
        except KeyError:
            raise _Refused(HTTPStatus.NOT_FOUND, "The specified bucket does not exist.") from None

    def _account(self, call: _Call) -> FakeAccount:
        found = self.accounts.get(call.named["email"])
        if found is None or found.project != call.named["project"]:
            raise _Refused(HTTPStatus.NOT_FOUND, f"Unknown service account: {call.named['email']}")
        return found

    def account(self, call: _Call) -> dict[str, Any]:
        found, email = self._account(call), call.named["email"]
        return _json(
            ServiceAccount.pb(
                ServiceAccount(
                    name=f"projects/{found.project}/serviceAccounts/{email}",
                    project_id=found.project,
                    email=email,
                    disabled=found.disabled,
                )
            )
        )

    def account_permissions(self, call: _Call) -> dict[str, Any]:
        found = self._account(call)
        return self._test(call, f"//iam.googleapis.com/projects/{found.project}/serviceAccounts/{call.named['email']}")

    def account_policy(self, call: _Call) -> dict[str, Any]:
        if call.body:
            raise _Refused(HTTPStatus.BAD_REQUEST, "The request body must be empty.")
        version = int(dict(call.query).get("options.requestedPolicyVersion", "1"))
        return _policy(self._account(call).policy, version)

    def repository_policy(self, call: _Call) -> dict[str, Any]:
        try:
            found = self.repositories[call.named["repository"]]
        except KeyError:
            raise _Refused(HTTPStatus.NOT_FOUND, "Requested entity was not found.") from None
        return _policy(found.policy, int(dict(call.query).get("options.requestedPolicyVersion", "1")))

    def quota_infos(self, call: _Call) -> dict[str, Any]:
        self._project(call)
        query = dict(call.query)
        start = int(query.get("pageToken", "0"))
        infos = [
            QuotaInfo(
                metric=f"aiplatform.googleapis.com/{metric}",
                service="aiplatform.googleapis.com",
                dimensions=["region"],
                dimensions_infos=[
                    DimensionsInfo(
                        dimensions={"region": region} if region else {},
                        details=QuotaDetails(value=limit),
                        applicable_locations=[region] if region else [],
                    )
                    for region, limit in limits.items()
                ],
            )
            for metric, limits in self.quotas.items()
        ]
        end = start + min(int(query["pageSize"]), PAGE)
        more = {"next_page_token": str(end)} if end < len(infos) else {}
        return _json(ListQuotaInfosResponse.pb(ListQuotaInfosResponse(quota_infos=infos[start:end], **more)))

    def troubleshoot(self, call: _Call) -> dict[str, Any]:
        request = TroubleshootIamPolicyRequest()
        json_format.Parse(call.body, TroubleshootIamPolicyRequest.pb(request))
        asked = request.access_tuple
        held = asked.permission in self.permissions(asked.principal, asked.full_resource_name)
        if not self.troubleshooter_sees_all:
            state = AccessState.UNKNOWN_INFO_DENIED
        else:
            state = AccessState.GRANTED if held else AccessState.NOT_GRANTED
        return _json(TroubleshootIamPolicyResponse.pb(TroubleshootIamPolicyResponse(access=state)))

    def job(self, call: _Call) -> dict[str, Any]:
        if call.named["name"] not in self.jobs:
            raise _Refused(HTTPStatus.NOT_FOUND, f"The PipelineJob {call.named['name']} does not exist.")
        return _json(PipelineJob.pb(PipelineJob(name=call.named["name"])))

    def _test(self, call: _Call, resource: str) -> dict[str, Any]:
        asked = json_format.Parse(call.body, iam_policy_pb2.TestIamPermissionsRequest()).permissions
        held = self.permissions(call.caller, resource)
        return _json(iam_policy_pb2.TestIamPermissionsResponse(permissions=[one for one in asked if one in held]))


@dataclass(frozen=True)
class _Call:
    caller: str
    named: Mapping[str, str]
    query: list[tuple[str, str]]
    body: bytes


def _policy(bindings: list[policy_pb2.Binding], version: int) -> dict[str, Any]:
    if version < 3 and any(binding.HasField("condition") for binding in bindings):
        raise _Refused(HTTPStatus.BAD_REQUEST, "A policy with conditions must be asked for as version 3.")
    return _json(policy_pb2.Policy(version=1, bindings=bindings, etag=b"etag"))


def _json(message: Any) -> dict[str, Any]:
    # As Google's servers do: what is 0, empty or false is left out.
    written: dict[str, Any] = json_format.MessageToDict(message)
    return written


_Handler = Callable[[FakeGoogleApis, _Call], dict[str, Any]]
_P = r"/v1/projects/(?P<project>[^/:]+)"
_A = rf"{_P}/serviceAccounts/(?P<email>[^/:]+)"
_R = r"(?P<repository>projects/[^/]+/locations/[^/]+/repositories/[^/:]+)"

_ROUTES: list[tuple[str, str, str, tuple[str, ...], _Handler]] = [
    ("GET", "cloudresourcemanager", r"/v3/projects/(?P<project>[^/:]+)", (), FakeGoogleApis.get_project),
    (
        "POST",
        "cloudresourcemanager",
        r"/v3/projects/(?P<project>[^/:]+):testIamPermissions",
        (),
        FakeGoogleApis.project_permissions,
    ),
    (
        "POST",
        "cloudresourcemanager",
        r"/v3/projects/(?P<project>[^/:]+):getIamPolicy",
        (),
        FakeGoogleApis.project_policy,
    ),
    ("GET", "serviceusage", rf"{_P}/services:batchGet", ("names",), FakeGoogleApis.services),
    ("GET", "storage", r"/storage/v1/b/(?P<bucket>[^/]+)", (), FakeGoogleApis.bucket),
    (
        "GET",
        "storage",
        r"/storage/v1/b/(?P<bucket>[^/]+)/iam",
        ("optionsRequestedPolicyVersion",),
        FakeGoogleApis.bucket_policy,
    ),
    (
        "GET",
        "storage",
        r"/storage/v1/b/(?P<bucket>[^/]+)/iam/testPermissions",
        ("permissions",),
        FakeGoogleApis.bucket_permissions,
    ),
    ("GET", "iam", _A, (), FakeGoogleApis.account),
    ("POST", "iam", rf"{_A}:testIamPermissions", (), FakeGoogleApis.account_permissions),
    ("POST", "iam", rf"{_A}:getIamPolicy", ("options.requestedPolicyVersion",), FakeGoogleApis.account_policy),
    (
        "GET",
        "artifactregistry",
        rf"/v1/{_R}:getIamPolicy",
        ("options.requestedPolicyVersion",),
        FakeGoogleApis.repository_policy,
    ),
    (
        "GET",
        "cloudquotas",
        rf"{_P}/locations/global/services/aiplatform\.googleapis\.com/quotaInfos",
        ("pageSize", "pageToken"),
        FakeGoogleApis.quota_infos,
    ),
    ("POST", "policytroubleshooter", r"/v1/iam:troubleshoot", (), FakeGoogleApis.troubleshoot),
    (
        "GET",
        "aiplatform",
        r"/v1/(?P<name>projects/[^/]+/locations/[^/]+/pipelineJobs/[^/]+)",
        (),
        FakeGoogleApis.job,
    ),
]
