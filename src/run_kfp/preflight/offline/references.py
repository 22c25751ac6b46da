"""References of images: the registries that Vertex AI pulls from, and what a name alone tells."""

from __future__ import annotations

import re
from collections.abc import Iterator

from run_kfp.errors import did_you_mean
from run_kfp.findings import Finding, Severity
from run_kfp.image_reference import (
    ARTIFACT_REGISTRY,
    DOCKER_HUB,
    GCR,
    HEX,
    HUB_HOSTS,
    BadImageError,
    ImageReference,
    google_repository,
    host_address,
    host_name,
    parse_image,
)
from run_kfp.pipeline.platforms import server_image
from run_kfp.pipeline.resources import holds_placeholder
from run_kfp.preflight.context import CheckContext, StepSpec
from run_kfp.preflight.rules import rule
from run_kfp.settings import region_meant
from run_kfp.visible import shell_word

BAD_REFERENCE = rule("RK-IMAGE-REFERENCE")
SERVER_IMAGE = rule("RK-IMAGE-SERVER")
BAD_HOST = rule("RK-IMAGE-HOST")
PRIVATE_HOST = rule("RK-IMAGE-PRIVATE-HOST")
OTHER_HOST = rule("RK-IMAGE-OTHER-HOST")
CONTAINER_REGISTRY = rule("RK-IMAGE-GCR")
MOVING_TAG = rule("RK-IMAGE-TAG")
OTHER_PROJECT = rule("RK-IMAGE-PROJECT")
OTHER_LOCATION = rule("RK-IMAGE-LOCATION")


def image_place(step: StepSpec) -> str:
    """Return where the image of a step was written: in the registry, its factory, or the file."""
    return step.at("factory" if step.container and step.container.factory else "image")


def check_references(context: CheckContext) -> Iterator[Finding]:
    """Look at the text of every image; one that becomes known only when the run is made is passed over."""
    for step in context.steps:
        if holds_placeholder(step.image) or (step.container is not None and not step.image):
            continue  # an image that a registry file lacks is told already
        place = image_place(step)
        if does := server_image(step.image):
            words = f"{step.image} is not an image: it {does} on a KFP server"
            yield SERVER_IMAGE(place, words, "remove the step; use /gcs/BUCKET/… instead of a volume")
            continue
        try:
            image = parse_image(step.image)
        except BadImageError as error:
            yield BAD_REFERENCE(
                place,
                f"{_without_login(step.image)!r} {error}",
                _next_step(error.nearest or "", context.project),
            )
            continue
        wrong = list(_host_findings(place, image, context))
        yield from wrong
        if not any(found.severity is Severity.ERROR for found in wrong):
            yield from _tag_findings(place, image, step)
            yield from _google_findings(place, image, context)


def _next_step(nearest: str, project: str | None) -> str:
    """Say what to write in place of a text that is no reference; the nearest one may be of a web site."""
    if not nearest:
        return "write it as `docker pull` takes it: user/image:tag"
    wrong = wrong_address(parse_image(nearest), project)
    return wrong[1] if wrong else f"write {nearest}"


def _without_login(text: str) -> str:
    """Leave out the user and password of a URL, which some copy with it: `https://user:password@host/…`."""
    return re.sub(r"^([A-Za-z][A-Za-z0-9+.-]*://)?[^/@:]*:[^/@]*@(?!sha)", r"\1…@", text)


def _host_findings(place: str, image: ImageReference, context: CheckContext) -> Iterator[Finding]:
    if wrong := wrong_address(image, context.project):
        yield BAD_HOST(place, f"{image.name}: {wrong[0]}", wrong[1])
    elif image.on_loopback:
        yield PRIVATE_HOST(
            place,
            f"{image.name} is in a registry of this machine ({image.host}), which Vertex AI cannot reach",
            _push_elsewhere(image, context),
        )
    elif words := _private(image.host):
        if network := context.settings.get("network"):
            yield PRIVATE_HOST(
                place,
                f"{image.name} is on {image.host}, {words}; Vertex AI reaches it at best through {network}",
                _push_elsewhere(image, context),
                severity=Severity.WARNING,
            )
        else:
            yield PRIVATE_HOST(
                place,
                f"{image.name} is on {image.host}, {words}, which Vertex AI cannot reach",
                _push_elsewhere(image, context),
            )
    elif not (image.on_docker_hub or _is_documented(image.host)):
        yield OTHER_HOST(
            place,
            f"{image.name} is on {image.host}; Vertex AI documents Artifact Registry and Docker Hub only",
            f"write {image.repository.removeprefix('library/')}{_suffix(image)}: mirror.gcr.io is a cache of Docker Hub"
            if image.host == "mirror.gcr.io"
            else (
                did_you_mean(image.host, [*GCR, "ghcr.io", "quay.io", DOCKER_HUB]) if image.host not in _OTHERS else ""
            )
            or f"to be sure, copy it: docker pull {shell_word(_written(image))} && {_push_elsewhere(image, context)}",
        )
    elif image.host in GCR and (found := google_repository(image)) and not found.is_public:
        yield CONTAINER_REGISTRY(
            place,
            f"{image.host} was Container Registry, which is closed; Artifact Registry answers under this name, if the "
            "image was copied there",
            f"gcloud artifacts docker images list {shell_word(image.host + '/' + found.project.replace(':', '/'))}",
        )


def _is_documented(host: str) -> bool:
    """Whether a host is Artifact Registry: under a name of its own, or one of the four of Container Registry.

    Other names below gcr.io are caches and shops of Google's.
    """
    return host in GCR or host.endswith(("-docker.pkg.dev", ".goog"))


def _tag_findings(place: str, image: ImageReference, step: StepSpec) -> Iterator[Finding]:
    if image.digest or image.tag not in (None, "latest"):
        return
    tag = "has the tag latest" if image.tag else "has no tag, which means latest"
    if step.cached:
        yield MOVING_TAG(
            place,
            f"{step.image} {tag}, and caching is on: after a push of the image the old result would be used",
            "give each build a unique tag, pin the digest (name@sha256:…), or run with --no-caching",
            severity=Severity.WARNING,
        )
    else:
        yield MOVING_TAG(
            place, f"{step.image} {tag}: the run takes what is pushed last", "pin it, where runs must be repeatable"
        )


def _google_findings(place: str, image: ImageReference, context: CheckContext) -> Iterator[Finding]:
    found = google_repository(image)
    if found is None or found.is_public:
        return
    project, region = context.project, context.region
    # A number cannot be compared with an id.
    if project and found.project != project and not project.isdigit() and not found.project.isdigit():
        yield OTHER_PROJECT(
            place,
            f"the image is in the project {found.project} and the run in {project}: the service agents of {project} "
            "(service-NUMBER@gcp-sa-aiplatform-cc.iam.gserviceaccount.com, and @gcp-sa-aiplatform) pull it, and need "
            "roles/artifactregistry.reader there",
            f"gcloud artifacts repositories add-iam-policy-binding {shell_word(found.name)} "
            f"--project={shell_word(found.project)} "
            f"--location={shell_word(found.location)} --role=roles/artifactregistry.reader "
            "--member=serviceAccount:service-"
            f"$(gcloud projects describe {shell_word(project)} --format='value(projectNumber)')"
            "@gcp-sa-aiplatform-cc.iam.gserviceaccount.com",
        )
    if region and found.location != region and not region.startswith(f"{found.location}-"):
        yield OTHER_LOCATION(
            place,
            f"the repository {found.name} is in {found.location} and the run in {region}",
            f"push it to {region}-docker.pkg.dev as well, if starts are slow",
        )


# Registries that are no misspelling of another.
_OTHERS = frozenset({"ghcr.io", "quay.io", "icr.io", "mcr.microsoft.com", "public.ecr.aws", "nvcr.io", "lscr.io"})


def wrong_address(image: ImageReference, project: str | None = None) -> tuple[str, str] | None:
    """Say why nothing can be found under an address, and what to do instead; None where something may.

    Args:
        image: the reference.
        project: of the run, for what to write instead; None where it is not known.
    """
    host, path = image.host, image.repository
    if host in ("hub.docker.com", "www.docker.com", "docker.com"):
        name = re.sub(r"^(r|_|repository/docker)/|/(tags|general)$", "", path)
        return f"{host} is a website, not a registry", f"write {name}{_suffix(image)}"
    if host in ("console.cloud.google.com", "github.com", "gitlab.com", "cloud.google.com"):
        return f"{host} is a website, not a registry", "write the address that `docker push` was given"
    if host == "docker.pkg.github.com":
        return f"{host} was closed; GitHub's registry is ghcr.io", f"write ghcr.io/{path}{_suffix(image)}"
    if _is_local_id(image):
        return (
            "this is the id of a local image, unknown to registries",
            f"give it a name and push it: docker tag {shell_word(_written(image))} NAME && docker push NAME",
        )
    if meant := _letters_swapped(host):
        return f"unknown registry {host}", f"did you mean {meant}?"
    return _wrong_google_address(image, project)


def _wrong_google_address(image: ImageReference, project: str | None) -> tuple[str, str] | None:
    """Say why nothing of Artifact Registry, or under a name of Container Registry, can be there."""
    host, path = image.host, image.repository
    project = project or "PROJECT"
    own, end = project.replace(":", "/"), f"{path.rpartition('/')[2]}{_suffix(image)}"
    if (host == "pkg.dev" or host.endswith((".pkg.dev", "-pkg.dev"))) and ".rep." not in host:
        if not (found := ARTIFACT_REGISTRY.fullmatch(host)):
            return (
                f"{host} is not a Docker host of Artifact Registry",
                "write LOCATION-docker.pkg.dev/PROJECT/REPOSITORY/IMAGE, as us-east1-docker.pkg.dev/…",
            )
        if (meant := _location_meant(found["location"])) is not None:
            return (
                f"unknown Artifact Registry location {found['location']}",
                f"did you mean {meant}-docker.pkg.dev?" if meant else "find it: gcloud artifacts locations list",
            )
        if google_repository(image) is None or path.count("/") < (3 if "." in path.split("/")[0] else 2):
            return (
                f"{path} is not PROJECT/REPOSITORY/IMAGE",
                f"write {host}/{own}/REPOSITORY/{end}; the repositories: gcloud artifacts repositories list "
                f"--project={shell_word(project)}",
            )
    if host in GCR and google_repository(image) is None:
        return f"{path} has no project before it", f"write {host}/{own}/{end}"
    if found := re.fullmatch(r"(?P<area>us|europe|asia)(-[a-z]+[0-9]+)?\.gcr\.io", host):
        area = {"europe": "eu"}.get(found["area"], found["area"])
        if host != f"{area}.gcr.io":
            return f"unknown registry {host}", f"did you mean {area}.gcr.io?"
    repository = google_repository(image)
    name = repository.project.rpartition(":")[2] if repository else ""
    # Container Registry had google_containers and others of Google's under an older spelling.
    if ("_" in name and not name.startswith("google_")) or len(name) > 30:
        return (
            f"{name} is not a project id: 6 to 30 lower-case letters, digits and dashes",
            f"write {project}" if project == name.replace("_", "-") else "find it: gcloud projects list",
        )
    return None


def _is_local_id(image: ImageReference) -> bool:
    """Whether a reference is the id that `docker images` shows, which a registry would look for among its own names."""
    if image.repository == "library/sha256":
        return image.tag is not None and HEX.fullmatch(image.tag) is not None and len(image.tag) in (12, 64)
    short = re.fullmatch(r"[0-9a-f]{12}", image.name)
    return bool(short and image.tag is None and image.digest is None and re.search(r"[0-9]", image.name))


def _location_meant(location: str) -> str | None:
    """Return the location of Artifact Registry that one misspells, empty where it cannot be told; None for a right one.

    A right one is a region or a multi-region (https://cloud.google.com/artifact-registry/docs/repositories/repo-locations).
    What is none of them may be newer than this program, and counts as right.
    """
    if location in ("location", "region", "eu"):
        return {"eu": "europe"}.get(location, "")
    meant = region_meant(location)
    return meant if meant not in ("", location) and not location.startswith("eu-") else None


def _suffix(image: ImageReference) -> str:
    """Return the tag and digest of a reference as they were written."""
    return (f":{image.tag}" if image.tag else "") + (f"@{image.digest}" if image.digest else "")


def _written(image: ImageReference) -> str:
    return f"{image.name}{_suffix(image)}"


def _letters_swapped(host: str) -> str:
    """Return the known host that this one is, but for two neighbours among its letters; empty where there is none."""
    swapped = {
        host[:at] + host[at + 1] + host[at] + host[at + 2 :]
        for at in range(len(host) - 1)
        if host[at].isalpha() and host[at + 1].isalpha() and host[at] != host[at + 1]
    }
    known = {*GCR, *HUB_HOSTS, "ghcr.io"}
    if host in known or ARTIFACT_REGISTRY.fullmatch(host):
        return ""
    return next((meant for meant in sorted(swapped) if meant in known or ARTIFACT_REGISTRY.fullmatch(meant)), "")


def _private(host: str) -> str:
    """Say why a host is none of the Internet; empty for others."""
    name = host_name(host)
    if (address := host_address(name)) is not None:
        return "" if address.is_global else "an address of a private network"
    if "." not in name:
        return "a name of a private network"
    private = (".local", ".internal", ".lan", ".home.arpa", ".corp", ".intranet", ".svc", ".test", ".invalid")
    return "a name of a private network" if name.endswith(private) else ""


def _push_elsewhere(image: ImageReference, context: CheckContext) -> str:
    there = (
        f"{context.region or 'REGION'}-docker.pkg.dev/{context.project or 'PROJECT'}/REPOSITORY/"
        f"{image.repository.rpartition('/')[2]}:{image.tag or 'TAG'}"
    )
    here = f"{image.name}:{image.target}" if not image.digest else f"{image.name}@{image.digest}"
    return f"docker tag {shell_word(here)} {shell_word(there)} && docker push {shell_word(there)}"
