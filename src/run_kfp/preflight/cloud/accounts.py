"""The caller and the account that the run works under: alive, allowed to be used, and with the roles that it needs."""

from __future__ import annotations

from run_kfp.errors import BackendError
from run_kfp.findings import Finding, Severity
from run_kfp.preflight.cloud.policies import Held, Resource, account_answer, held_by, project_policy
from run_kfp.preflight.cloud.session import GoogleSession, TokenServiceDown, part, together
from run_kfp.preflight.cloud.terms import Fact, Seen, Unseen, account_project
from run_kfp.preflight.context import CheckContext
from run_kfp.preflight.rules import rule
from run_kfp.visible import shell_word

CREDENTIALS = rule("RK-CREDENTIALS")
SCOPES = rule("RK-SCOPES")
ACCOUNT_GONE = rule("RK-ACCOUNT-GONE")
ACT_AS = rule("RK-ACT-AS")
TOKEN_CREATOR = rule("RK-TOKEN-CREATOR")
ACT_AS_ITSELF = rule("RK-ACT-AS-ITSELF")
VERTEX_ROLE = rule("RK-VERTEX-ROLE")
LOG_ROLE = rule("RK-LOG-ROLE")

_USER, _TOKEN_CREATOR = "iam.serviceAccounts.actAs", "iam.serviceAccounts.getAccessToken"
_METADATA = ("aiplatform.metadataStores.get", "aiplatform.metadataStores.create")
_LOG = "logging.logEntries.create"

# Google Cloud Pipeline Components, whose steps start jobs on Vertex AI.
_STARTS_JOBS = "google-cloud-pipeline-components"

CREDENTIALS_PLACE = "the Google credentials"


def check_credentials(session: GoogleSession) -> Finding | Unseen | None:
    """Log in; give what is wrong, None where nothing is."""
    try:
        session.login()
    except TokenServiceDown as error:
        return Unseen("everything at Google", error.what)
    except BackendError as error:
        if "scope" in error.what.lower():
            return SCOPES(CREDENTIALS_PLACE, error.what, error.hint or "gcloud auth application-default login")
        return CREDENTIALS(CREDENTIALS_PLACE, error.what, error.hint or "gcloud auth application-default login")
    return None


def refusals(session: GoogleSession) -> Seen:
    """Tell what Google said of the login itself, whatever was asked."""
    if session.refused_for_scopes:
        yield SCOPES(
            CREDENTIALS_PLACE,
            f"Google refuses the token for its scopes (requested:  {session.refused_for_scopes})",
            "gcloud auth application-default login, or set the access scope cloud-platform on the machine",
        )
    elif session.refused:
        yield CREDENTIALS(
            CREDENTIALS_PLACE, f"{session.refused} refuses the token", "gcloud auth application-default login"
        )


def check_identity(session: GoogleSession) -> Seen:
    """Tell who the caller is, and whether the token is meant for Google Cloud."""
    if email := session.service_account:
        yield Fact("caller", email)
        return
    # With the token in a header: in a URL it could be kept by whoever sees the address.
    answer = session.post("oauth2", "/tokeninfo")
    if answer.ok and isinstance(name := answer.body.get("email"), str):
        yield Fact("caller", name)
    scopes = str(answer.body.get("scope", "")).split()
    if answer.ok and scopes and "https://www.googleapis.com/auth/cloud-platform" not in scopes:
        yield SCOPES(
            CREDENTIALS_PLACE,
            f"the token has the scopes {', '.join(scopes)} and not https://www.googleapis.com/auth/cloud-platform",
            "gcloud auth application-default login",
        )


def check_account(context: CheckContext, account: str, session: GoogleSession) -> Seen:
    """See whether the run's account exists and is enabled."""
    owner, at = account_project(account), context.place("service_account")
    answer = account_answer(session, account)
    if answer is None:
        return
    if answer.status == 404:
        yield ACCOUNT_GONE(
            at,
            f"service account {account} does not exist",
            f"gcloud iam service-accounts list --project={shell_word(owner or 'PROJECT')}",
        )
    elif not answer.ok:
        yield Unseen(f"service account {account}", answer.reason)
    elif answer.body.get("disabled") is True:
        yield ACCOUNT_GONE(
            at,
            f"service account {account} is disabled",
            f"gcloud iam service-accounts enable {shell_word(account)} --project={shell_word(owner or 'PROJECT')}",
        )


def check_act_as(context: CheckContext, account: str, session: GoogleSession) -> Seen:
    """See whether the caller may start a run that works under the account."""
    owner, at = account_project(account), context.place("service_account")
    if owner is None:
        return
    answer = session.post(
        "iam",
        f"/v1/projects/{part(owner)}/serviceAccounts/{part(account)}:testIamPermissions",
        {"permissions": [_USER, _TOKEN_CREATOR]},
    )
    if not answer.ok:
        if answer.status != 404:  # that is told by `check_account`
            yield Unseen(f"whether you may act as {account}", answer.reason)
        return
    held = answer.body.get("permissions") or ()
    if _USER in held:
        return
    mend = (
        f"gcloud iam service-accounts add-iam-policy-binding {shell_word(account)} --project={shell_word(owner)} "
        f"--member={session.member} --role=roles/iam.serviceAccountUser"
    )
    if _TOKEN_CREATOR in held:
        yield TOKEN_CREATOR(at, f"you can create tokens for {account} but lack {_USER} on it: the wrong role", mend)
    else:
        yield ACT_AS(at, f"you do not have {_USER} on {account}", mend)


def check_act_as_itself(context: CheckContext, account: str, session: GoogleSession) -> Seen:
    """See whether the account may act as itself, where a step starts jobs."""
    owner = account_project(account)
    step = next((step for step in context.steps if _STARTS_JOBS in step.image), None)
    if owner is None or step is None:
        return
    path = f"projects/{part(owner)}/serviceAccounts/{part(account)}"
    policies = together(
        [
            # A POST without a body: https://cloud.google.com/iam/docs/reference/rest/v1/projects.serviceAccounts
            lambda: session.post("iam", f"/v1/{path}:getIamPolicy", params={"options.requestedPolicyVersion": "3"}),
            lambda: project_policy(session, owner),
        ]
    )
    full_name = f"//iam.googleapis.com/projects/{owner}/serviceAccounts/{account}"
    resource = Resource(full_name, owner, tuple(policies))
    verdict = held_by(session, account, (_USER,), resource).get(_USER)
    if verdict is None:
        return
    if verdict.held in (Held.NO, Held.ABSENT):
        yield ACT_AS_ITSELF(
            context.place("service_account"),
            f"step {step.name} starts a job on Vertex AI, and {account} has no permission to act as itself",
            f"gcloud iam service-accounts add-iam-policy-binding {shell_word(account)} --project={shell_word(owner)} "
            f"--member={shell_word(f'serviceAccount:{account}')} --role=roles/iam.serviceAccountUser",
        )
    elif verdict.held is Held.UNKNOWN:
        yield Unseen(f"whether {account} may act as itself", verdict.why)


def check_roles(context: CheckContext, account: str, project: str, session: GoogleSession) -> Seen:
    """See whether the account has what a run needs in the project."""
    resource = Resource(
        f"//cloudresourcemanager.googleapis.com/projects/{project}",
        project,
        (project_policy(session, project),),
        lambda permissions: session.post(
            "cloudresourcemanager",
            f"/v3/projects/{part(project)}:testIamPermissions",
            {"permissions": list(permissions)},
        ),
    )
    verdicts = held_by(session, account, (*_METADATA, _LOG), resource)
    for code, permissions, role in (
        (VERTEX_ROLE, _METADATA, "roles/aiplatform.user"),
        (LOG_ROLE, (_LOG,), "roles/logging.logWriter"),
    ):
        lacking = [one for one in permissions if one in verdicts and verdicts[one].held in (Held.NO, Held.ABSENT)]
        if not lacking:
            continue
        certain = verdicts[lacking[0]].held is Held.NO
        # The store of a region is made once: without the right to make one a run may still find it.
        severity = code.severity if certain and lacking[0] == permissions[0] else Severity.WARNING
        words = (
            f"{account} lacks {', '.join(lacking)} on project {project}"
            if certain
            else f"the policy of project {project} gives {account} no {', '.join(lacking)} (grants of folders, "
            "organizations, groups and custom roles cannot be seen from here)"
        )
        yield code(
            context.place("service_account"),
            words,
            f"gcloud projects add-iam-policy-binding {shell_word(project)} "
            f"--member={shell_word(f'serviceAccount:{account}')} --role={role}",
            severity,
        )
    for one, verdict in verdicts.items():
        if verdict.held is Held.UNKNOWN:
            yield Unseen(f"whether {account} has {one} on project {project}", verdict.why)
