"""The Artifact Registry repositories of the images: whether Vertex AI's service agents may pull from them."""

from __future__ import annotations

from functools import partial

from run_kfp.findings import Severity
from run_kfp.image_reference import BadImageError, GoogleRepository, google_repository, parse_image
from run_kfp.pipeline.resources import holds_placeholder
from run_kfp.preflight.cloud.policies import Held, Resource, granted, has_role, held_by, project_policy
from run_kfp.preflight.cloud.session import GoogleSession, part, together
from run_kfp.preflight.cloud.terms import Seen, Unseen, project_number
from run_kfp.preflight.context import CheckContext
from run_kfp.preflight.rules import rule
from run_kfp.visible import shell_word

IMAGE_PULL = rule("RK-IMAGE-PULL")
READER_MISPLACED = rule("RK-IMAGE-READER")

# Role of the project → the service agent that has it from the start; {} is the project's number.
# Source: https://cloud.google.com/vertex-ai/docs/general/access-control#service-agents
AGENTS = {
    "roles/aiplatform.serviceAgent": "service-{}@gcp-sa-aiplatform.iam.gserviceaccount.com",
    "roles/aiplatform.customCodeServiceAgent": "service-{}@gcp-sa-aiplatform-cc.iam.gserviceaccount.com",
}

_PULL = "artifactregistry.repositories.downloadArtifacts"


def repositories(context: CheckContext) -> dict[GoogleRepository, str]:
    """Return the repositories of the images, without Google's own, each with the place of the first image from it."""
    found: dict[GoogleRepository, str] = {}
    for step in context.steps:
        try:
            repository = None if holds_placeholder(step.image) else google_repository(parse_image(step.image))
        except BadImageError:  # told by the checks of the reference
            continue
        if repository is not None and not repository.is_public:
            found.setdefault(repository, step.at("image"))
    return found


def check_pull(
    repository: GoogleRepository, place: str, project: str, account: str | None, session: GoogleSession
) -> Seen:
    """See whether one of Vertex AI's service agents of `project` may pull from a repository.

    Google's documents name the one, its error messages the other of the two, so either will do.

    Args:
        repository: of any project.
        place: of an image from it.
        project: of the run.
        account: of the run, to see whether it was given the role in their place.
        session: to ask with.
    """
    what = f"whether Vertex AI may pull from {repository.path}"
    own_policy, its_project_policy, answer = together(
        [
            lambda: session.get(
                "artifactregistry",
                f"/v1/{'/'.join(map(part, repository.path.split('/')))}:getIamPolicy",
                {"options.requestedPolicyVersion": "3"},
            ),
            lambda: project_policy(session, repository.project),
            lambda: session.get("cloudresourcemanager", f"/v3/projects/{part(project)}"),
        ]
    )
    policies = (own_policy, its_project_policy)
    if policies[0].status == 404:
        return  # told by the checks of the images
    number = project_number(answer)
    if number is None:
        yield Unseen(what, answer.reason or f"the number of project {project} is not known")
        return
    if (
        repository.project == project
        and policies[1].ok
        and not any(has_role(policies[1], agent.format(number), role) for role, agent in AGENTS.items())
    ):
        return  # they come with a role that lets them pull; that they are missing is told elsewhere
    resource = Resource(f"//artifactregistry.googleapis.com/{repository.path}", repository.project, policies)
    agents = [pattern.format(number) for pattern in AGENTS.values()]
    if any(granted(agent, _PULL, resource) for agent in agents):
        return
    everybody = [*reversed(agents), *([account] if account is not None else [])]
    held = together([partial(held_by, session, one, (_PULL,), resource) for one in everybody])
    verdicts = [one[_PULL] for one in held[: len(agents)]]  # an agent's e-mail names no project, so it is looked at
    if any(verdict.held is Held.YES for verdict in verdicts):
        return
    unknown = next((verdict for verdict in verdicts if verdict.held is Held.UNKNOWN), None)
    if unknown is not None:
        yield Unseen(what, unknown.why)
        return
    certain = all(verdict.held is Held.NO for verdict in verdicts)
    mend = _mend(repository, agents)
    tail = "" if certain else " (grants of folders, organizations, groups and custom roles cannot be seen from here)"
    severity = Severity.ERROR if certain else Severity.WARNING
    runs = held[-1].get(_PULL) if account is not None else None
    if runs is not None and runs.held is Held.YES:
        yield READER_MISPLACED(
            place,
            f"{account} can read {repository.path}, but {agents[1]}, which pulls the images, cannot{tail}",
            mend,
            severity,
        )
    else:
        yield IMAGE_PULL(place, f"{agents[1]} cannot read {repository.path}{tail}", mend, severity)


def _mend(repository: GoogleRepository, agents: list[str]) -> str:
    return " && ".join(
        f"gcloud artifacts repositories add-iam-policy-binding {shell_word(repository.name)} "
        f"--project={shell_word(repository.project)} "
        f"--location={shell_word(repository.location)} --member={shell_word(f'serviceAccount:{agent}')} "
        "--role=roles/artifactregistry.reader"
        for agent in agents
    )
