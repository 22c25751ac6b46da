"""The project: that it is there, its APIs, its service agents, what the caller may do, and whether a job id is free."""

from __future__ import annotations

from run_kfp.findings import Severity
from run_kfp.preflight.cloud.policies import has_role, project_policy
from run_kfp.preflight.cloud.repositories import AGENTS, repositories
from run_kfp.preflight.cloud.session import GoogleSession, part, rows
from run_kfp.preflight.cloud.terms import Fact, Seen, Unseen, project_number
from run_kfp.preflight.context import CheckContext
from run_kfp.preflight.rules import rule
from run_kfp.runs import JOB_ID
from run_kfp.visible import shell_word

PROJECT_GONE = rule("RK-PROJECT-GONE")
API_DISABLED = rule("RK-API-DISABLED")
AGENT_MISSING = rule("RK-AGENT-MISSING")
CALLER_PERMISSION = rule("RK-CALLER-PERMISSION")
JOB_ID_TAKEN = rule("RK-JOB-ID-TAKEN")

# Service → whether a run certainly fails without it.
_APIS = {"aiplatform.googleapis.com": True, "storage.googleapis.com": False, "logging.googleapis.com": False}
_REGISTRY_API = "artifactregistry.googleapis.com"


def check_project(context: CheckContext, project: str, session: GoogleSession) -> Seen:
    """See whether the project is there and alive."""
    answer = session.get("cloudresourcemanager", f"/v3/projects/{part(project)}")
    if number := project_number(answer):
        yield Fact("project", f"{answer.body.get('projectId', project)} (number {number})")
    at = context.place("project")
    if answer.status == 404:
        yield PROJECT_GONE(at, f"project {project} does not exist", "see `gcloud projects list`")
    elif answer.ok and answer.body.get("state") == "DELETE_REQUESTED":
        yield PROJECT_GONE(at, f"project {project} is being deleted", f"gcloud projects undelete {shell_word(project)}")
    elif not answer.ok:
        # Google tells a missing project and a forbidden one by the same words, on purpose.
        yield Unseen(f"project {project}", answer.reason)


def check_services(context: CheckContext, project: str, session: GoogleSession) -> Seen:
    """See whether the APIs of a run are enabled."""
    wanted = dict(_APIS)
    if any(repository.project == project for repository in repositories(context)):
        wanted[_REGISTRY_API] = True
    parent = f"projects/{project}"
    answer = session.get(
        "serviceusage",
        f"/v1/projects/{part(project)}/services:batchGet",
        {"names": [f"{parent}/services/{name}" for name in wanted]},
    )
    if not answer.ok:
        yield Unseen(f"the enabled APIs of {project}", answer.reason)
        return
    off = []
    for service in rows(answer.body.get("services")):
        name = str(service.get("name", "")).rpartition("/")[2]
        if service.get("state") == "DISABLED" and name in wanted:
            off.append(name)
    for severity in (Severity.ERROR, Severity.WARNING):
        names = [name for name in off if wanted[name] is (severity is Severity.ERROR)]
        if names:
            yield API_DISABLED(
                context.place("project"),
                f"not enabled in project {project}: {', '.join(names)}",
                f"gcloud services enable {' '.join(names)} --project={shell_word(project)}",
                severity,
            )


def check_caller(context: CheckContext, project: str, session: GoogleSession) -> Seen:
    """See whether the caller may create runs."""
    permission = "aiplatform.pipelineJobs.create"
    answer = session.post(
        "cloudresourcemanager", f"/v3/projects/{part(project)}:testIamPermissions", {"permissions": [permission]}
    )
    if not answer.ok:
        yield Unseen(f"what you may do in {project}", answer.reason)
    elif permission not in (answer.body.get("permissions") or ()):
        yield CALLER_PERMISSION(
            context.place("project"),
            f"you do not have {permission} on project {project}",
            f"gcloud projects add-iam-policy-binding {shell_word(project)} --member={session.member} "
            "--role=roles/aiplatform.user",
        )


def check_agents(context: CheckContext, project: str, session: GoogleSession) -> Seen:
    """See whether the service agents of Vertex AI have been made."""
    policy = project_policy(session, project)
    if not policy.ok:
        yield Unseen(f"the service agents of Vertex AI in {project}", policy.reason)
        return
    answer = session.get("cloudresourcemanager", f"/v3/projects/{part(project)}")
    number = project_number(answer)
    if number is None:
        yield Unseen(
            f"the service agents of Vertex AI in {project}", answer.reason or "the project's number is unknown"
        )
        return
    for role, pattern in AGENTS.items():
        agent = pattern.format(number)
        if not has_role(policy, agent, role):
            yield AGENT_MISSING(
                context.place("project"),
                f"{agent} has no {role} in project {project}",
                "gcloud beta services identity create --service=aiplatform.googleapis.com "
                f"--project={shell_word(project)}",
            )


def check_job_id(context: CheckContext, project: str, region: str, session: GoogleSession) -> Seen:
    """See whether the job id that was asked for is free."""
    job_id = context.job_id
    if job_id is None or not JOB_ID.fullmatch(job_id):
        return
    answer = session.get(
        "aiplatform", f"/v1/projects/{part(project)}/locations/{part(region)}/pipelineJobs/{part(job_id)}"
    )
    if answer.ok:
        yield JOB_ID_TAKEN(
            "--job-id",
            f"{region} already has a run {job_id}",
            "choose another --job-id, or remove it to get a new id",
        )
    elif answer.status != 404:
        yield Unseen(f"whether job id {job_id} is free", answer.reason)
