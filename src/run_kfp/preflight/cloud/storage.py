"""The bucket of the pipeline root: that it exists, where it lies, and what the run's account may do there."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from run_kfp.findings import Severity
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
from run_kfp.preflight.rules import rule
from run_kfp.visible import shell_word

BUCKET_GONE = rule("RK-BUCKET-GONE")
BUCKET_LOCATION = rule("RK-BUCKET-LOCATION")
BUCKET_ACCESS = rule("RK-BUCKET-ACCESS")

OBJECTS = ("storage.objects.get", "storage.objects.create")
BUCKETS = "storage.buckets.get"


def check_bucket(bucket: str, place: str, region: str | None, session: GoogleSession) -> Seen:
    """See whether the bucket exists, and whether it is of the run's region."""
    answer = session.get("storage", f"/storage/v1/b/{part(bucket)}")
    if answer.status == 404:
        yield BUCKET_GONE(
            place,
            f"bucket {bucket} does not exist",
            f"gcloud storage buckets create {shell_word(f'gs://{bucket}')} --location={shell_word(region or 'REGION')}",
        )
        return
    if not answer.ok:
        yield Unseen(f"bucket {bucket}", answer.reason)
        return
    location, kind = str(answer.body.get("location", "")), str(answer.body.get("locationType", ""))
    yield Fact("bucket", f"{bucket} in {location.lower()} ({kind})")
    if not location or not kind or region is None:
        return
    mend = f"gcloud storage buckets create gs://NAME --location={shell_word(region)}"
    if kind != "region":
        yield BUCKET_LOCATION(
            place,
            f"bucket {bucket} is of location type {kind} ({location}); a run in {region} requires a regional bucket",
            mend,
        )
    elif location.lower() != region:
        yield BUCKET_LOCATION(place, f"bucket {bucket} is in {location.lower()}; the run is in {region}", mend)


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
                "(grants of folders, organizations, groups and custom roles cannot be seen from here)"
            )
            yield BUCKET_ACCESS(
                place,
                words,
                " && ".join(
                    f"gcloud storage buckets add-iam-policy-binding {shell_word(f'gs://{bucket}')} "
                    f"--member={shell_word(f'serviceAccount:{account}')} --role={role}"
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
