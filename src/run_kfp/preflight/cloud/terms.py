"""What the cloud checks share: what they yield, where a setting was given, and the identities of a run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from run_kfp.findings import Finding
from run_kfp.preflight.cloud.session import Answer
from run_kfp.preflight.context import CheckContext


@dataclass(frozen=True)
class Unseen:
    """Something that could not be looked at: what, and why."""

    what: str
    why: str


@dataclass(frozen=True)
class Fact:
    """Something seen that a person may want to know."""

    name: str
    value: str


Seen = Iterator[Finding | Unseen | Fact]


def bucket(context: CheckContext) -> tuple[str, str] | None:
    """Return the bucket of the pipeline root and where it was given, None where there is none."""
    for name in ("pipeline_root", "bucket"):
        if name == "bucket" and (root := context.pipeline.own_root):
            place = f"{context.pipeline.source}: defaultPipelineRoot"
            return root.removeprefix("gs://").split("/")[0], place
        if name in context.settings.values:
            value = context.setting(name)
            return (value.removeprefix("gs://").split("/")[0], context.place(name)) if value else None
    return None


def account_project(email: str) -> str | None:
    """Return the project that a service account belongs to, None where its e-mail does not tell.

    Source: https://cloud.google.com/iam/docs/service-account-types. The wildcard `-` in place of the project turns "not
    found" into "forbidden" (https://cloud.google.com/iam/docs/reference/rest/v1/projects.serviceAccounts/get).
    """
    name, _, domain = email.partition("@")
    if found := re.fullmatch(r"([a-z][a-z0-9-]*)\.iam\.gserviceaccount\.com", domain):
        return None if found[1].startswith("gcp-sa-") else found[1]
    if found := re.fullmatch(r"([a-z][a-z0-9-]*)\.(.+)\.iam\.gserviceaccount\.com", domain):
        return f"{found[2]}:{found[1]}"
    if found := re.fullmatch(r"(\d+)-compute@developer\.gserviceaccount\.com", email):
        return found[1]
    return name if domain == "appspot.gserviceaccount.com" else None


def project_number(answer: Answer) -> str | None:
    """Return the number that `projects.get` gave."""
    name = str(answer.body.get("name", ""))
    return name.removeprefix("projects/") if answer.ok and re.fullmatch(r"projects/\d+", name) else None
