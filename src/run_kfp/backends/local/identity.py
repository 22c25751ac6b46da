"""What a run of this machine tells its steps of itself: the placeholders of a run that do not depend on a task."""

from __future__ import annotations

import re
import secrets as random_source
import uuid
from collections.abc import Mapping
from datetime import datetime

from run_kfp.localruns import local_ref
from run_kfp.pipeline import CompiledPipeline
from run_kfp.plans import pipeline_root
from run_kfp.settings import Settings


def new_id(pipeline_name: str, now: datetime) -> str:
    """Return a fresh id: the pipeline's name, the time, six random digits."""
    name = re.sub(r"[^a-z0-9]+", "-", pipeline_name.lower()).strip("-")
    name = name if name[:1].isalpha() else f"run-{name}".rstrip("-")
    return f"{name[:100].rstrip('-')}-{now:%Y%m%d%H%M%S}-{random_source.token_hex(3)}"


def run_values(run_id: str, pipeline: CompiledPipeline, settings: Settings) -> dict[str, str]:
    """Return the values of `OF_RUN` and `OF_VERTEX` that are known before the run; empty where nothing is set."""
    project, region = settings.get("project"), settings.get("region")
    root = pipeline_root(pipeline, settings)
    return {
        "pipeline_job_name": run_id,
        "pipeline_job_resource_name": f"projects/{project or 'local'}/locations/{region or 'local'}"
        f"/pipelineJobs/{run_id}",
        "pipeline_job_uuid": str(uuid.uuid5(uuid.NAMESPACE_URL, str(local_ref(run_id)))),
        "pipeline_root": str(root.value) if root else "",
        "pipeline_google_cloud_project_id": project or "",
        "pipeline_google_cloud_location": region or "",
        "pipeline_service_account": settings.get("service_account") or "",
        "pipeline_network": settings.get("network") or "",
        "pipeline_encryption_key_name": settings.get("encryption_key") or "",
        "pipeline_persistent_resource_id": "",
    }


def time_values(created: datetime) -> Mapping[str, str]:
    """Return the times of a run; nothing schedules one of this machine, so that both are the same."""
    time = f"{created:%Y-%m-%dT%H:%M:%SZ}"
    return {"pipeline_job_create_time_utc": time, "pipeline_job_schedule_time_utc": time}
