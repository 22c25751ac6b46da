"""Whether an account has a permission: from the IAM policies that the caller may read, and Policy Troubleshooter.

A policy that grants is certain. What no readable policy grants may be granted by a folder, an organisation, a group
or a custom role: only Policy Troubleshooter can say no, and only to a caller who may read all of these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any

from run_kfp.preflight.cloud.session import Answer, GoogleSession, part, rows, together
from run_kfp.preflight.cloud.terms import account_project

# Of each role the permissions that the checks ask for. A role that is not here may hold anything.
# Source: https://cloud.google.com/iam/docs/roles-permissions, state of 2026-08.
_VERTEX_READ, _VERTEX_CREATE = "aiplatform.metadataStores.get", "aiplatform.metadataStores.create"
_PULL, _LOG, _ACT = (
    "artifactregistry.repositories.downloadArtifacts",
    "logging.logEntries.create",
    "iam.serviceAccounts.actAs",
)
_GET, _CREATE, _BUCKET = "storage.objects.get", "storage.objects.create", "storage.buckets.get"
_EDIT = frozenset({_VERTEX_READ, _VERTEX_CREATE, _PULL, _LOG, _ACT})
_AGENT = frozenset({_VERTEX_READ, _VERTEX_CREATE, _PULL, _LOG, _GET, _CREATE, _BUCKET})

ROLES: Mapping[str, frozenset[str]] = {
    "roles/aiplatform.user": frozenset({_VERTEX_READ, _VERTEX_CREATE}),
    "roles/aiplatform.admin": frozenset({_VERTEX_READ, _VERTEX_CREATE}),
    "roles/aiplatform.viewer": frozenset({_VERTEX_READ}),
    "roles/aiplatform.serviceAgent": _AGENT | {_ACT},
    "roles/aiplatform.customCodeServiceAgent": _AGENT,
    **{
        f"roles/artifactregistry.{name}": frozenset({_PULL})
        for name in ("reader", "writer", "repoAdmin", "admin", "createOnPushWriter", "createOnPushRepoAdmin")
    },
    "roles/bigquery.admin": frozenset(),
    "roles/bigquery.dataEditor": frozenset(),
    "roles/bigquery.dataViewer": frozenset(),
    "roles/bigquery.jobUser": frozenset(),
    "roles/bigquery.user": frozenset(),
    "roles/iam.serviceAccountUser": frozenset({_ACT}),
    "roles/iam.serviceAccountTokenCreator": frozenset(),
    "roles/logging.logWriter": frozenset({_LOG}),
    "roles/logging.admin": frozenset({_LOG}),
    "roles/logging.viewer": frozenset(),
    "roles/monitoring.metricWriter": frozenset(),
    "roles/secretmanager.secretAccessor": frozenset(),
    "roles/serviceusage.serviceUsageConsumer": frozenset(),
    "roles/storage.admin": frozenset({_GET, _CREATE, _BUCKET}),
    "roles/storage.objectAdmin": frozenset({_GET, _CREATE}),
    "roles/storage.objectUser": frozenset({_GET, _CREATE}),
    "roles/storage.objectCreator": frozenset({_CREATE}),
    "roles/storage.objectViewer": frozenset({_GET}),
    "roles/storage.bucketViewer": frozenset({_BUCKET}),
    "roles/storage.legacyBucketOwner": frozenset({_BUCKET, _CREATE}),
    "roles/storage.legacyBucketWriter": frozenset({_BUCKET, _CREATE}),
    "roles/storage.legacyBucketReader": frozenset({_BUCKET}),
    "roles/storage.legacyObjectOwner": frozenset({_GET}),
    "roles/storage.legacyObjectReader": frozenset({_GET}),
}

# What they hold of Cloud Storage comes from bindings of the bucket to `projectEditor:…`, which are looked at as well.
BASIC_ROLES: Mapping[str, frozenset[str]] = {
    "roles/owner": _EDIT,
    "roles/editor": _EDIT,
    "roles/viewer": frozenset({_VERTEX_READ, _PULL}),
}
_CONVENIENCE = {"projectOwner": "roles/owner", "projectEditor": "roles/editor", "projectViewer": "roles/viewer"}

# Members that stand for accounts which cannot be seen from here.
_OF_MANY = ("group:", "principalSet:", *(f"{name}:" for name in _CONVENIENCE))


class Held(Enum):
    """What is known of a permission: YES and NO are certain, ABSENT means that nothing that can be read grants it."""

    YES = "yes"
    NO = "no"
    ABSENT = "absent"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Verdict:
    """Whether a permission is held, and why that is not known where it is not."""

    held: Held
    why: str = ""


@dataclass(frozen=True)
class Resource:
    """Something that permissions are held on.

    Attributes:
        full_name: as Policy Troubleshooter takes it (https://cloud.google.com/iam/docs/full-resource-names).
        project: that the last of the policies belongs to.
        policies: its own IAM policy and that of its project, as the calls gave them.
        test: asks which of some permissions the caller itself has there; None where that is not of use.
    """

    full_name: str
    project: str
    policies: tuple[Answer, ...]
    test: Callable[[Sequence[str]], Answer] | None = None


def project_policy(session: GoogleSession, project: str) -> Answer:
    """Read the IAM policy of a project."""
    # `getIamPolicy` of a project is a POST: https://cloud.google.com/resource-manager/reference/rest/v3/projects
    return session.post(
        "cloudresourcemanager",
        f"/v3/projects/{part(project)}:getIamPolicy",
        {"options": {"requestedPolicyVersion": 3}},
    )


def bucket_policy(session: GoogleSession, bucket: str) -> Answer:
    """Read the IAM policy of a bucket."""
    return session.get("storage", f"/storage/v1/b/{part(bucket)}/iam", {"optionsRequestedPolicyVersion": "3"})


def account_answer(session: GoogleSession, email: str) -> Answer | None:
    """Read a service account; None where its e-mail does not tell the project that it belongs to."""
    owner = account_project(email)
    return session.get("iam", f"/v1/projects/{part(owner)}/serviceAccounts/{part(email)}") if owner else None


def held_by(session: GoogleSession, email: str, permissions: Sequence[str], resource: Resource) -> dict[str, Verdict]:
    """Say of each permission whether a service account holds it on a resource; of none where there is no such account.

    Args:
        session: to ask Policy Troubleshooter where the policies do not grant it.
        email: of the service account.
        permissions: such as `storage.objects.get`; those that `ROLES` knows.
        resource: with its policies.
    """
    open_ones = [one for one in permissions if not granted(email, one, resource)]
    account = account_answer(session, email) if open_ones else None
    if account is not None and account.status == 404:
        return {}
    if open_ones and resource.test is not None and session.service_account == email:
        answer = resource.test(open_ones)
        if answer.ok:
            mine = answer.body.get("permissions") or ()
            return {one: Verdict(Held.YES if one not in open_ones or one in mine else Held.NO) for one in permissions}
    answers = together([partial(_verdict, session, email, one, resource) for one in open_ones])
    told = dict(zip(open_ones, answers, strict=True))
    return {one: told.get(one, Verdict(Held.YES)) for one in permissions}


def granted(email: str, permission: str, resource: Resource) -> bool:
    """Say whether a policy that could be read grants a permission to a service account, without a condition."""
    me = _members(email, resource)
    return any(
        permission in _permissions(role) and members & me
        for binding, role, members in _bound(resource)
        if not binding.get("condition")
    )


def troubleshoot(session: GoogleSession, email: str, permission: str, full_name: str) -> Answer:
    """Ask Policy Troubleshooter about a permission on the resource of this full name."""
    return session.post(
        "policytroubleshooter",
        "/v1/iam:troubleshoot",
        {"accessTuple": {"principal": email, "fullResourceName": full_name, "permission": permission}},
    )


def _verdict(session: GoogleSession, email: str, permission: str, resource: Resource) -> Verdict:
    answer = troubleshoot(session, email, permission, resource.full_name)
    access = answer.body.get("access") if answer.ok else None
    if access == "GRANTED":
        return Verdict(Held.YES)
    if access == "NOT_GRANTED":
        return Verdict(Held.NO)
    for policy in resource.policies:
        if not policy.ok:
            return Verdict(Held.UNKNOWN, policy.reason)
    me = _members(email, resource)
    for binding, role, members in _bound(resource):
        mine, known = members & me, role in ROLES or role in BASIC_ROLES
        if mine and not known:
            return Verdict(Held.UNKNOWN, f"it has {role}, whose permissions are not known here")
        if mine and binding.get("condition") and permission in _permissions(role):
            return Verdict(Held.UNKNOWN, f"it has {role} under a condition")
        many = [one for one in members - me if one.startswith(_OF_MANY)]
        if many and permission in _permissions(role):
            return Verdict(Held.UNKNOWN, f"it may be one of {min(many)}, which has {role}")
    return Verdict(Held.ABSENT)


def bindings(policy: Answer) -> Iterator[Mapping[str, Any]]:
    """Yield the bindings of an IAM policy."""
    yield from rows(policy.body.get("bindings"))


def has_role(policy: Answer, email: str, role: str) -> bool:
    """Say whether a policy binds an account to a role, whatever the condition."""
    return any(_of(binding)[0] == role and f"serviceAccount:{email}" in _of(binding)[1] for binding in bindings(policy))


def _bound(resource: Resource) -> Iterator[tuple[Mapping[str, Any], str, frozenset[str]]]:
    """Yield the bindings of all policies of a resource that could be read, with their roles and members."""
    for policy in resource.policies:
        if policy.ok:
            for binding in bindings(policy):
                yield binding, *_of(binding)


def _of(binding: Mapping[str, Any]) -> tuple[str, frozenset[str]]:
    members = binding.get("members")
    return str(binding.get("role", "")), frozenset(map(str, members if isinstance(members, list) else ()))


def _permissions(role: str) -> frozenset[str]:
    return ROLES.get(role) or BASIC_ROLES.get(role) or frozenset()


def _members(email: str, resource: Resource) -> frozenset[str]:
    """Return the names under which policies may bind a service account.

    A bucket may bind those who have a basic role in a project
    (https://cloud.google.com/storage/docs/access-control/iam#convenience-values).
    """
    plain = {f"serviceAccount:{email}", "allUsers", "allAuthenticatedUsers"}
    basic = {role for _, role, members in _bound(resource) if members & plain}
    return frozenset(plain | {f"{name}:{resource.project}" for name, role in _CONVENIENCE.items() if role in basic})
