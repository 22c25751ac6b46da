"""Checks with Google's read APIs: what a run needs of its project, asked for under the caller's own login.

Nothing is changed. What the caller may not look at, or what does not answer in time, is said to be skipped, and why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from functools import partial

from run_kfp.findings import Finding
from run_kfp.machines import Machines, load_machines
from run_kfp.preflight.cloud import accounts, project, quota, repositories, storage
from run_kfp.preflight.cloud.session import Answer, GoogleSession
from run_kfp.preflight.cloud.terms import Fact, Seen, Unseen, bucket
from run_kfp.preflight.context import CheckContext
from run_kfp.preflight.rules import in_order, rule
from run_kfp.threads import in_background

__all__ = ["Answer", "CloudReport", "GoogleSession", "check_cloud"]

NOT_SEEN = rule("RK-CLOUD-SKIPPED")


@dataclass(frozen=True)
class CloudReport:
    """What was found at Google.

    Attributes:
        findings: in order.
        facts: what was seen, by name: "caller", "project", "bucket", "quota … in …".
    """

    findings: tuple[Finding, ...]
    facts: Mapping[str, str] = field(default_factory=dict)


def check_cloud(
    context: CheckContext,
    *,
    endpoints: Mapping[str, str] | None = None,
    tell: Callable[[str], None] = lambda line: None,
    session: GoogleSession | None = None,
    machines: Machines | None = None,
) -> CloudReport:
    """Look at everything of Google's that the run needs, side by side.

    Settings that are missing or malformed are told elsewhere; what hangs on them is left out.

    Args:
        context: what would be submitted.
        endpoints: a URL for some of `SERVICES`, where they are not Google's public ones.
        tell: takes a line when something is tried again.
        session: an open one, to share its login with other checks; it stays open, and `endpoints` are its own.
        machines: the table, for the names of the quotas; None for the packaged one.
    """
    own = session or GoogleSession(context.settings, endpoints=endpoints, tell=tell)
    try:
        table = machines or load_machines()
        metrics = {one.name: one.metric for one in table.accelerators.values() if one.metric}
        return _report(_look(context, own, metrics))
    finally:
        if session is None:
            own.close()


def _look(
    context: CheckContext, session: GoogleSession, gpu_metrics: Mapping[str, str]
) -> list[Finding | Unseen | Fact]:
    refused = accounts.check_credentials(session)
    if refused is not None:
        return [refused]
    checks = _checks(context, session, gpu_metrics)
    futures: dict[Future[list[Finding | Unseen | Fact]], str] = {
        in_background(partial(list, check)): what for what, check in checks
    }
    done, _ = wait(futures, timeout=session.left)
    found: list[Finding | Unseen | Fact] = []
    for future, what in futures.items():
        if future in done:
            found += future.result()
        else:
            found.append(Unseen(what, f"no answer within {context.settings.timeout:g} s"))
    return [*found, *accounts.refusals(session)]


def _checks(
    context: CheckContext, session: GoogleSession, gpu_metrics: Mapping[str, str]
) -> Iterable[tuple[str, Seen]]:
    """Yield every check that the settings allow, with words for what it looks at."""
    where, region, account = bucket(context), context.region, context.setting("service_account")
    yield "the caller", accounts.check_identity(session)
    if account:
        yield f"service account {account}", accounts.check_account(context, account, session)
        yield f"whether you may act as {account}", accounts.check_act_as(context, account, session)
        yield f"whether {account} may act as itself", accounts.check_act_as_itself(context, account, session)
    if where:
        yield f"bucket {where[0]}", storage.check_bucket(*where, region, session)
    name = context.project
    if name is None:
        return
    yield f"project {name}", project.check_project(context, name, session)
    yield f"the enabled APIs of {name}", project.check_services(context, name, session)
    yield f"what you may do in {name}", project.check_caller(context, name, session)
    yield f"the service agents of Vertex AI in {name}", project.check_agents(context, name, session)
    if region:
        yield "the job id", project.check_job_id(context, name, region, session)
        yield f"the quotas of {name}", quota.check_quota(context, name, region, session, gpu_metrics)
    if account:
        yield f"the roles of {account}", accounts.check_roles(context, account, name, session)
    if account and where:
        yield (
            f"the access of {account} to bucket {where[0]}",
            storage.check_bucket_access(*where, account, name, session),
        )
    for repository, place in repositories.repositories(context).items():
        yield (
            f"whether Vertex AI may pull from {repository.path}",
            repositories.check_pull(repository, place, name, account, session),
        )


def _report(found: Iterable[Finding | Unseen | Fact]) -> CloudReport:
    findings: list[Finding] = []
    unseen: dict[str, list[str]] = {}
    facts: dict[str, str] = {}
    for one in found:
        if isinstance(one, Finding):
            findings.append(one)
        elif isinstance(one, Unseen):
            unseen.setdefault(one.why, []).append(one.what)
        else:
            facts[one.name] = one.value
    for why, whats in unseen.items():
        findings.append(NOT_SEEN("Google Cloud", f"not checked: {', '.join(dict.fromkeys(whats))}; {why}"))
    return CloudReport(tuple(in_order(findings)), facts)
