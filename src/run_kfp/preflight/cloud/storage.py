"""The bucket of the pipeline root: that it exists, where it lies, and what the run's account may do there."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from run_kfp.preflight.cloud.policies import (
    Held,
    Resource,
    bucket_policy,
    granted,
    held_by,
    project_policy,
    troubleshoot,
)
from run_kfp.preflight.cloud.session import Answer, GoogleSession, part, together
from run_kfp.preflight.cloud.terms import Fact, Seen, Unseen, project_number
from run_kfp.preflight.findings import Code, Severity, When

BUCKET_GONE = Code(
    "RK-BUCKET-GONE",
    "cloud",
    "the bucket of the pipeline root does not exist",
    Severity.ERROR,
    When.CREATE,
    "the run fails, or Google's own client makes a new bucket of a mistyped name",
    "The outputs of the steps and the run's own files are written below the pipeline root, into a bucket that must be "
    "there.\n\nMake it in the region of the run, or mend its name.",
    "https://cloud.google.com/vertex-ai/docs/pipelines/configure-project#cloud-storage",
)
BUCKET_LOCATION = Code(
    "RK-BUCKET-LOCATION",
    "cloud",
    "the bucket is not in the region of the run",
    Severity.WARNING,
    When.RUN,
    "a step that hands the bucket to Vertex AI may be refused, and every other one reads and writes from afar",
    "Google asks for a bucket of one region, the region of the run. A job that gets another one, a multi-region (US, "
    "EU, ASIA) or a dual-region, may be refused (It must be in the same regional location as the service location); "
    "the mount at /gcs is not supported there. Steps that merely read and write may work, slower and at a price.\n\n"
    "The location of a bucket cannot be changed: make one in the region, or run in the region of the bucket.",
    "https://cloud.google.com/vertex-ai/docs/general/locations; googleapis/python-aiplatform#885; "
    "GoogleCloudPlatform/vertex-ai-samples#19 and #142",
)
BUCKET_ACCESS = Code(
    "RK-BUCKET-ACCESS",
    "cloud",
    "the run's service account lacks permissions on the bucket",
    Severity.ERROR,
    When.CREATE,
    "the run fails within a minute, when it writes its first file",
    "The run's service account reads and writes below the pipeline root: it needs storage.objects.get, "
    "storage.objects.create and storage.buckets.get on the bucket.\n\n"
    "It is an error where Policy Troubleshooter says so, and a warning where merely no policy that can be read grants "
    "it: grants of folders, organisations, groups and custom roles cannot be seen there.",
    "https://cloud.google.com/vertex-ai/docs/pipelines/configure-project#service-account",
)

OBJECTS = ("storage.objects.get", "storage.objects.create")
BUCKETS = "storage.buckets.get"


def check_bucket(bucket: str, place: str, region: str | None, session: GoogleSession) -> Seen:
    """See whether the bucket exists, and whether it is of the run's region."""
    answer = session.get("storage", f"/storage/v1/b/{part(bucket)}")
    if answer.status == 404:
        yield BUCKET_GONE(
            place,
            f"there is no bucket {bucket}",
            f"gcloud storage buckets create gs://{bucket} --location={region or 'REGION'}",
        )
        return
    if not answer.ok:
        yield Unseen(f"bucket {bucket}", answer.reason)
        return
    location, kind = str(answer.body.get("location", "")), str(answer.body.get("locationType", ""))
    yield Fact("bucket", f"{bucket} in {location.lower()} ({kind})")
    if not location or not kind or region is None:
        return
    mend = f"gcloud storage buckets create gs://NAME --location={region}"
    if kind != "region":
        yield BUCKET_LOCATION(
            place,
            f"bucket {bucket} is of location type {kind} ({location}), and a run in {region} needs a region",
            mend,
        )
    elif location.lower() != region:
        yield BUCKET_LOCATION(place, f"bucket {bucket} is in {location.lower()}, and the run is in {region}", mend)


def check_bucket_access(bucket: str, place: str, account: str, project: str, session: GoogleSession) -> Seen:
    """See whether the run's account may read and write in the bucket."""
    own_policy = bucket_policy(session, bucket)
    if own_policy.status == 404:
        return  # no bucket: told by `check_bucket`
    owner = _owner(bucket, project, session)  # other checks ask for it at the same time as for the policy
    full_name = f"//storage.googleapis.com/projects/_/buckets/{bucket}"
    wanted = (*OBJECTS, BUCKETS)
    calls: list[Callable[[], Answer]] = [partial(project_policy, session, owner)]
    if owner != project:
        # Its policy is asked for only now, so what `held_by` may need besides is asked for with it.
        alone = Resource(full_name, owner, (own_policy,))
        open_ones = [one for one in wanted if not granted(account, one, alone)]
        calls += [partial(troubleshoot, session, account, one, full_name) for one in open_ones]
    owners_policy, *_ = together(calls)
    resource = Resource(
        full_name,
        owner,
        (own_policy, owners_policy),
        lambda permissions: session.get(
            "storage", f"/storage/v1/b/{part(bucket)}/iam/testPermissions", {"permissions": permissions}
        ),
    )
    verdicts = held_by(session, account, wanted, resource)
    for held, severity in ((Held.NO, Severity.ERROR), (Held.ABSENT, Severity.WARNING)):
        lacking = [one for one, verdict in verdicts.items() if verdict.held is held]
        if lacking:
            roles = ["roles/storage.objectUser"] if set(lacking) & set(OBJECTS) else []
            roles += ["roles/storage.legacyBucketReader"] if BUCKETS in lacking else []
            words = (
                f"{account} lacks {', '.join(lacking)} on bucket {bucket}"
                if severity is Severity.ERROR
                else f"no policy of bucket {bucket} or project {owner} gives {account} {', '.join(lacking)} "
                "(grants of folders, organisations, groups and custom roles cannot be seen from here)"
            )
            yield BUCKET_ACCESS(
                place,
                words,
                " && ".join(
                    f"gcloud storage buckets add-iam-policy-binding gs://{bucket} "
                    f"--member=serviceAccount:{account} --role={role}"
                    for role in roles
                ),
                severity,
            )
    for one, verdict in verdicts.items():
        if verdict.held is Held.UNKNOWN:
            yield Unseen(f"whether {account} has {one} on bucket {bucket}", verdict.why)


def _owner(bucket: str, project: str, session: GoogleSession) -> str:
    """Return the project whose policy counts for a bucket: `project` unless it is known to be another one."""
    number = str(session.get("storage", f"/storage/v1/b/{part(bucket)}").body.get("projectNumber") or "")
    ours = project_number(session.get("cloudresourcemanager", f"/v3/projects/{part(project)}"))
    return number if number and ours and number != ours else project
