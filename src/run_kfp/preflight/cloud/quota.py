"""Quotas of Vertex AI training: the accelerators and CPUs that the largest step asks for, in the region of the run.

Vertex AI has quotas of its own for training, apart from Compute Engine's and from those for predictions. A step above
its quota is not refused: it waits in the queue.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from run_kfp.findings import Severity
from run_kfp.pipeline.resources import read_limits
from run_kfp.preflight.cloud.session import GoogleSession, part, rows
from run_kfp.preflight.cloud.terms import Fact, Seen, Unseen
from run_kfp.preflight.context import CheckContext
from run_kfp.preflight.rules import rule

GPU_QUOTA = rule("RK-QUOTA-GPU")
CPU_QUOTA = rule("RK-QUOTA-CPU")

SERVICE = "aiplatform.googleapis.com"

CPU_METRIC = "custom_model_training_cpus"
"""CPUs of N1 and E2 machines."""

# Accelerators that exist on N1 machines only.
_ON_N1 = frozenset({"NVIDIA_TESLA_T4", "NVIDIA_TESLA_P4", "NVIDIA_TESLA_P100", "NVIDIA_TESLA_V100"})

# A page of 1000 is the most that Google's list methods give; the service has a few thousand quotas.
_PAGE, _PAGES = "1000", 20


@dataclass(frozen=True)
class Need:
    """The most that one step asks for of a metric; `firm` where no other metric can stand in."""

    amount: float
    place: str
    firm: bool


def needs(context: CheckContext, metrics: Mapping[str, str]) -> tuple[dict[str, Need], dict[str, str]]:
    """Return the largest need of each metric, and the place of each accelerator without one.

    Steps may run side by side, and then wait for each other; a single step above its quota waits for ever.
    """
    found: dict[str, Need] = {}
    without: dict[str, str] = {}

    def add(metric: str, amount: float, place: str, *, firm: bool) -> None:
        known = found.get(metric)
        if known is None or (firm, amount) > (known.firm, known.amount):
            found[metric] = Need(amount, place, firm)

    for step in context.steps:
        limits = read_limits(step.resources)
        kind, count = limits.accelerators or ("", 0)
        if kind:
            if kind in metrics:
                add(metrics[kind], count, step.at("accelerator.count"), firm=True)
            else:
                without.setdefault(kind, step.at("accelerator.type"))
        if limits.cpu and (not kind or kind in _ON_N1):
            add(CPU_METRIC, limits.cpu, step.at("cpu"), firm=kind in _ON_N1)
    return found, without


def check_quota(
    context: CheckContext, project: str, region: str, session: GoogleSession, metrics: Mapping[str, str]
) -> Seen:
    """See whether the quotas of the region hold the largest step; `metrics` are those of the accelerators."""
    wanted, without = needs(context, metrics)
    for kind in without:
        yield Unseen(f"the quota of {kind} in {region}", "the name of its metric is not known")
    if not wanted:
        return
    seen, reason = _read(session, project, region, set(wanted))
    page = f"https://console.cloud.google.com/iam-admin/quotas?project={project}"
    for metric, need in wanted.items():
        limit = seen.get(metric)
        if limit is None:
            yield Unseen(f"the quota {metric} in {region}", reason or "Cloud Quotas has no value of it there")
            continue
        yield Fact(f"quota {metric} in {region}", "unlimited" if limit < 0 else str(limit))
        if 0 <= limit < need.amount:
            code = CPU_QUOTA if metric == CPU_METRIC else GPU_QUOTA
            yield code(
                need.place,
                f"{need.amount:g} requested; project {project} has a quota of {limit} in {region} ({SERVICE}/{metric})",
                f"request more at {page} (filter: {metric}), or run in a region with quota",
                Severity.ERROR if need.firm else Severity.WARNING,
            )


def _read(session: GoogleSession, project: str, region: str, metrics: set[str]) -> tuple[dict[str, int], str]:
    """Return the limits of the metrics in a region, and why some are missing where a call failed."""
    found: dict[str, int] = {}
    path = f"/v1/projects/{part(project)}/locations/global/services/{SERVICE}/quotaInfos"
    token = ""
    for _ in range(_PAGES):
        answer = session.get("cloudquotas", path, {"pageSize": _PAGE, **({"pageToken": token} if token else {})})
        if not answer.ok:
            return found, answer.reason
        for info in rows(answer.body.get("quotaInfos")):
            metric = str(info.get("metric", "")).removeprefix(f"{SERVICE}/")
            limit = _limit(info, region) if metric in metrics else None
            if limit is not None:
                found[metric] = limit
        token = str(answer.body.get("nextPageToken") or "")
        if not token or metrics <= set(found):
            break
    return found, ""


def _limit(info: Mapping[str, Any], region: str) -> int | None:
    """Return what a quota allows in a region, -1 for everything, None where it says nothing.

    Google orders the entries from the specific to the general; some name the region in `dimensions`, some only among
    the `applicableLocations` (https://cloud.google.com/docs/quotas/reference/rest/v1/DimensionsInfo).
    """
    for entry in rows(info.get("dimensionsInfos")):
        dimensions, places, details = entry.get("dimensions"), entry.get("applicableLocations"), entry.get("details")
        named = dimensions if isinstance(dimensions, Mapping) else {}
        if not isinstance(details, Mapping) or set(named) - {"region"}:
            continue  # of a part of the project only
        if named.get("region") == region if named else not isinstance(places, list) or not places or region in places:
            limit = str(details.get("value", "0"))  # JSON of protobuf leaves a 0 out
            return int(limit) if re.fullmatch(r"-?[0-9]+", limit) else None
    return None
