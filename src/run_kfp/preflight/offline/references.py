"""References of images: their grammar, the registries that Vertex AI pulls from, and what a name alone tells."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass

from run_kfp.errors import did_you_mean
from run_kfp.findings import Finding, Severity
from run_kfp.pipeline.resources import holds_placeholder
from run_kfp.preflight.context import CheckContext, StepSpec
from run_kfp.preflight.rules import rule
from run_kfp.settings import region_meant

DOCKER_HUB = "docker.io"

# distribution/reference (https://pkg.go.dev/github.com/distribution/reference): the grammar of `docker pull`.
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:]+\])(?::(?P<port>[0-9]+))?")
_PATH_PART = re.compile(r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_LONGEST_PATH, _LONGEST_TAG = 255, 128
_DIGESTS = {"sha256": 64, "sha512": 128}  # hexadecimal digits
_HEX = re.compile(r"[0-9a-f]+")

# What a template or a shell leaves behind: $IMAGE, ${REGION}, <project>, {tag}, %s.
_UNFILLED = re.compile(r"\$\{?\w+\}?|<[^<>]*>|\{[^{}]*\}|%[sd]\b")

# Words in capitals that stand for a name of one's own, in this program's own hints too.
_STAND_IN = re.compile(
    r"((YOUR|MY)[-_])?((GCP|DOCKER)[-_])?(PROJECT|REPOSITORY|REPO|IMAGE|USER|USERNAME|ORG|ACCOUNT)([-_](ID|NAME))?"
)

# Hosts of Container Registry, and where Artifact Registry keeps what they serve
# (https://cloud.google.com/artifact-registry/docs/transition/gcr-repositories).
_GCR = {"gcr.io": "us", "us.gcr.io": "us", "eu.gcr.io": "europe", "asia.gcr.io": "asia"}
_ARTIFACT_REGISTRY = re.compile(r"(?P<location>[a-z0-9-]+)-docker\.pkg\.dev")
_HUB_HOSTS = frozenset({DOCKER_HUB, "registry-1.docker.io", "registry.hub.docker.com"})

# Projects of Google's that everybody may pull from: no grant is needed.
_PUBLIC_PROJECTS = frozenset(
    {
        "cloud-aiplatform",
        "cloud-builders",
        "cloud-marketplace",
        "cloud-nl-images",
        "cloudsql-docker",
        "deeplearning-platform-release",
        "distroless",
        "google-appengine",
        "google-containers",
        "google-samples",
        "google.com:cloudsdktool",
        "k8s-minikube",
        "kaggle-gpu-images",
        "kaggle-images",
        "kaniko-project",
        "kubebuilder",
        "ml-pipeline",
        "tfx-oss-public",
        "vertex-ai",
        "vertex-ai-restricted",
    }
)

BAD_REFERENCE = rule("RK-IMAGE-REFERENCE")
BAD_HOST = rule("RK-IMAGE-HOST")
PRIVATE_HOST = rule("RK-IMAGE-PRIVATE-HOST")
OTHER_HOST = rule("RK-IMAGE-OTHER-HOST")
CONTAINER_REGISTRY = rule("RK-IMAGE-GCR")
MOVING_TAG = rule("RK-IMAGE-TAG")
OTHER_PROJECT = rule("RK-IMAGE-PROJECT")
OTHER_LOCATION = rule("RK-IMAGE-LOCATION")


class BadImageError(ValueError):
    """A text that is no reference of an image.

    Attributes:
        nearest: the nearest one that is, empty where none is; while the text is read, None where it is not known yet.
    """

    def __init__(self, words: str, nearest: str | None = None) -> None:
        """Take what is wrong, as the end of a sentence that begins with the text."""
        super().__init__(words)
        self.nearest = nearest


@dataclass(frozen=True)
class ImageReference:
    """A reference, read.

    Attributes:
        name: host and path as they were written.
        host: the registry, in lower case, with its port where one is given; `docker.io` where none is named.
        repository: the path at that registry (`library/python` for `python`).
        tag: None where none is given.
        digest: `sha256:…`, or None.
    """

    name: str
    host: str
    repository: str
    tag: str | None
    digest: str | None

    @property
    def target(self) -> str:
        """What a registry is asked for: the digest, else the tag, else `latest`."""
        return self.digest or self.tag or "latest"

    @property
    def on_docker_hub(self) -> bool:
        """Whether Docker Hub holds it."""
        return self.host in _HUB_HOSTS

    @property
    def on_google(self) -> bool:
        """Whether Artifact Registry holds it, under a name of its own or one of Container Registry."""
        return self.host == "gcr.io" or self.host.endswith((".gcr.io", "-docker.pkg.dev"))

    @property
    def on_loopback(self) -> bool:
        """Whether it is in a registry of this machine."""
        name = _host_name(self.host)
        address = _address(name)
        return name == "localhost" or name.endswith(".localhost") or (address is not None and address.is_loopback)


@dataclass(frozen=True)
class GoogleRepository:
    """The repository of Artifact Registry that serves an image; the location is a region or a multi-region."""

    project: str
    location: str
    name: str

    @property
    def is_public(self) -> bool:
        """Whether Google lets everybody read it."""
        return self.project in _PUBLIC_PROJECTS


def parse_image(text: str) -> ImageReference:
    """Read a reference as `docker pull` does.

    Raises:
        BadImageError: a ValueError with what is wrong and the nearest right form.
    """
    try:
        return _parse(text)
    except BadImageError as error:
        raise BadImageError(str(error), _nearest(text) if error.nearest is None else error.nearest) from None


def google_repository(image: ImageReference) -> GoogleRepository | None:
    """Return the repository of Artifact Registry that an image is in; None for other registries and half addresses."""
    parts = image.repository.split("/")
    project = parts.pop(0)
    if "." in project and parts:  # a project of an organisation that has a domain: example.com:project
        project = f"{project}:{parts.pop(0)}"
    if image.host in _GCR:
        return GoogleRepository(project, _GCR[image.host], image.host) if parts else None
    if found := _ARTIFACT_REGISTRY.fullmatch(image.host):
        return GoogleRepository(project, found["location"], parts[0]) if len(parts) > 1 else None
    return None


def image_place(step: StepSpec) -> str:
    """Return where the image of a step was written: in the registry, its factory, or the file."""
    return step.at("factory" if step.container and step.container.factory else "image")


def check_references(context: CheckContext) -> Iterator[Finding]:
    """Look at the text of every image; one that becomes known only when the run is made is passed over."""
    for step in context.steps:
        if holds_placeholder(step.image) or (step.container is not None and not step.image):
            continue  # an image that a registry file lacks is told already
        place = image_place(step)
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
    return re.sub(r"^([A-Za-z][A-Za-z0-9+.-]*://)?[^/@]*:[^/@]*@(?!sha)", r"\1…@", text)


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
    elif not (image.on_docker_hub or image.on_google or image.host.endswith(".goog")):
        yield OTHER_HOST(
            place,
            f"{image.name} is on {image.host}; Vertex AI names Artifact Registry and Docker Hub as places of images",
            (did_you_mean(image.host, [*_GCR, "ghcr.io", "quay.io", DOCKER_HUB]) if image.host not in _OTHERS else "")
            or f"to be sure, copy it: docker pull {_written(image)} && {_push_elsewhere(image, context)}",
        )
    elif image.host in _GCR and (found := google_repository(image)) and not found.is_public:
        yield CONTAINER_REGISTRY(
            place,
            f"{image.host} was Container Registry, which is closed; Artifact Registry answers under this name, if the "
            "image was copied there",
            f"gcloud artifacts docker images list {image.host}/{found.project.replace(':', '/')}",
        )


def _tag_findings(place: str, image: ImageReference, step: StepSpec) -> Iterator[Finding]:
    if image.digest or image.tag not in (None, "latest"):
        return
    tag = "has the tag latest" if image.tag else "has no tag, which means latest"
    if step.cached:
        yield MOVING_TAG(
            place,
            f"{step.image} {tag}, and step {step.name} may be taken from the cache: after a push of the image its old "
            "result would be used",
            "give each build a tag of its own, pin the digest (name@sha256:…), or run with --no-caching",
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
            f"gcloud artifacts repositories add-iam-policy-binding {found.name} --project={found.project} "
            f"--location={found.location} --role=roles/artifactregistry.reader --member=serviceAccount:service-"
            f"$(gcloud projects describe {project} --format='value(projectNumber)')"
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
        return f"{host} is a web site, not a registry", f"write {name}{_suffix(image)}"
    if host in ("console.cloud.google.com", "github.com", "gitlab.com", "cloud.google.com"):
        return f"{host} is a web site, not a registry", "write the address that `docker push` was given"
    if host == "docker.pkg.github.com":
        return f"{host} was closed; GitHub's registry is ghcr.io", f"write ghcr.io/{path}{_suffix(image)}"
    if _is_local_id(image):
        return (
            "this is the id of an image of this machine, which no registry knows",
            f"give it a name and push it: docker tag {_written(image)} NAME && docker push NAME",
        )
    if meant := _letters_swapped(host):
        return f"there is no registry {host}", f"did you mean {meant}?"
    return _wrong_google_address(image, project)


def _wrong_google_address(image: ImageReference, project: str | None) -> tuple[str, str] | None:
    """Say why nothing of Artifact Registry, or under a name of Container Registry, can be there."""
    host, path = image.host, image.repository
    project = project or "PROJECT"
    own, end = project.replace(":", "/"), f"{path.rpartition('/')[2]}{_suffix(image)}"
    if (host == "pkg.dev" or host.endswith((".pkg.dev", "-pkg.dev"))) and ".rep." not in host:
        if not (found := _ARTIFACT_REGISTRY.fullmatch(host)):
            return (
                f"{host} is no host of Docker images in Artifact Registry",
                "write LOCATION-docker.pkg.dev/PROJECT/REPOSITORY/IMAGE, as us-east1-docker.pkg.dev/…",
            )
        if (meant := _location_meant(found["location"])) is not None:
            return (
                f"there is no location {found['location']} of Artifact Registry",
                f"did you mean {meant}-docker.pkg.dev?" if meant else "find it: gcloud artifacts locations list",
            )
        if google_repository(image) is None or path.count("/") < (3 if "." in path.split("/")[0] else 2):
            return (
                f"{path} is not PROJECT/REPOSITORY/IMAGE",
                f"write {host}/{own}/REPOSITORY/{end}; the repositories: gcloud artifacts repositories list "
                f"--project={project}",
            )
    if host in _GCR and google_repository(image) is None:
        return f"{path} has no project in front", f"write {host}/{own}/{end}"
    if found := re.fullmatch(r"(?P<area>us|europe|asia)(-[a-z]+[0-9]+)?\.gcr\.io", host):
        area = {"europe": "eu"}.get(found["area"], found["area"])
        if host != f"{area}.gcr.io":
            return f"there is no registry {host}", f"did you mean {area}.gcr.io?"
    repository = google_repository(image)
    name = repository.project.rpartition(":")[2] if repository else ""
    # Container Registry had google_containers and others of Google's under an older spelling.
    if ("_" in name and not name.startswith("google_")) or len(name) > 30:
        return (
            f"{name} is no project id, which has 6 to 30 lower-case letters, digits and dashes",
            f"write {project}" if project == name.replace("_", "-") else "find it: gcloud projects list",
        )
    return None


def _is_local_id(image: ImageReference) -> bool:
    """Whether a reference is the id that `docker images` shows, which a registry would look for among its own names."""
    if image.repository == "library/sha256":
        return image.tag is not None and _HEX.fullmatch(image.tag) is not None and len(image.tag) in (12, 64)
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
    known = {*_GCR, *_HUB_HOSTS, "ghcr.io"}
    if host in known or _ARTIFACT_REGISTRY.fullmatch(host):
        return ""
    return next((meant for meant in sorted(swapped) if meant in known or _ARTIFACT_REGISTRY.fullmatch(meant)), "")


def _private(host: str) -> str:
    """Say why a host is none of the Internet; empty for others."""
    name = _host_name(host)
    if (address := _address(name)) is not None:
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
    return f"docker tag {here} {there} && docker push {there}"


def _host_name(host: str) -> str:
    return host[1 : host.index("]")] if host.startswith("[") else host.partition(":")[0]


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _parse(text: str) -> ImageReference:
    _refuse_foreign_text(text)
    name, at, digest = text.partition("@")
    if at:
        _check_digest(digest, name)
    path, colon, tag = _split_tag(name)
    if colon:
        _check_tag(tag, path, hexadecimal=bool(at))
    if not path:
        raise BadImageError("has no image in front of its tag or digest")
    host, repository = _split_host(path)
    if host:
        found = _HOST.fullmatch(host)
        if not found:
            raise BadImageError(f"begins with {host!r}, which is no host")
        if found["port"] and not 0 < int(found["port"][:6]) < 65536:
            raise BadImageError(f"has the port {found['port']}; ports go up to 65535")
    _check_path(repository)
    host = host.lower()
    if host in ("", "index.docker.io"):
        host = DOCKER_HUB
    if host == DOCKER_HUB and "/" not in repository:
        repository = f"library/{repository}"
    return ImageReference(path, host, repository, tag if colon else None, digest if at else None)


def _refuse_foreign_text(text: str) -> None:
    if not text:
        raise BadImageError("has no image")
    if any(character.isspace() for character in text):
        raise BadImageError("holds white space, which no reference does")
    if re.match(r"(gs|s3|file)://", text, re.IGNORECASE):
        raise BadImageError(
            "is a file, and an image is taken from a registry: docker load, docker tag, docker push", ""
        )
    if scheme := re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text):
        raise BadImageError(f"begins with {scheme[0]}, and a reference begins with the registry's host or the name")
    if unfilled := _UNFILLED.search(text):
        raise BadImageError(f"holds {unfilled[0]}, which nothing replaces: it is taken as it stands")
    if not text.isascii() or not text.isprintable():
        raise BadImageError("holds other letters than those of ASCII")


def _split_tag(name: str) -> tuple[str, str, str]:
    """Split off the tag: a colon in front of the last slash belongs to a port."""
    folder, slash, last = name.rpartition("/")
    last, colon, tag = last.partition(":")
    return folder + slash + last, colon, tag


def _split_host(path: str) -> tuple[str, str]:
    first, slash, rest = path.partition("/")
    is_host = slash and (any(mark in first for mark in ".:[") or first.lower() == "localhost")
    return (first, rest) if is_host else ("", path)


def _check_path(path: str) -> None:
    if len(path) > _LONGEST_PATH:
        raise BadImageError(f"has a name of {len(path)} characters, and {_LONGEST_PATH} are allowed")
    if _HEX.fullmatch(path) and len(path) == 64:
        raise BadImageError("is the id of an image of this machine, which no registry knows", "")
    if stand_ins := [part for part in path.split("/") if _STAND_IN.fullmatch(part)]:
        raise BadImageError(f"holds {' and '.join(stand_ins)}, in whose place a name of yours belongs", "")
    for part in path.split("/"):
        if _PATH_PART.fullmatch(part):
            continue
        if not part:
            raise BadImageError("has a slash too many")
        if part.lower() != part and _PATH_PART.fullmatch(part.lower()):
            raise BadImageError(f"has capitals in its name ({part}); names are of lower-case letters")
        raise BadImageError(
            f"has {part!r} in its name; a part is of lower-case letters and digits, with single dots, one or two "
            "underscores or dashes between them"
        )


def _check_tag(tag: str, path: str, *, hexadecimal: bool) -> None:
    if not tag:
        raise BadImageError("ends its name in a colon, with no tag behind it")
    if len(tag) > _LONGEST_TAG and ":" not in tag:
        raise BadImageError(f"has a tag of {len(tag)} characters, and {_LONGEST_TAG} are allowed")
    algorithm, colon, rest = tag.partition(":")
    if colon and algorithm in _DIGESTS and not hexadecimal:
        raise BadImageError("has its digest behind a colon, where an @ belongs", _if_right(f"{path}@{tag}"))
    if colon:
        raise BadImageError(f"has two tags ({algorithm} and {rest})", _if_right(f"{path}:{algorithm}"))
    if not _TAG.fullmatch(tag):
        raise BadImageError(
            f"has the tag {tag!r}; a tag is of letters, digits, underscores, dots and dashes, and begins with none of "
            "the last two"
        )


def _check_digest(digest: str, name: str) -> None:
    algorithm, colon, value = digest.partition(":")
    if not colon and _HEX.fullmatch(digest) and len(digest) == _DIGESTS["sha256"]:
        raise BadImageError("has a digest without its algorithm", _if_right(f"{name}@sha256:{digest}"))
    if algorithm not in _DIGESTS:
        raise BadImageError(f"has {digest!r} behind the @, and a digest is sha256: and 64 hexadecimal digits")
    if len(value) != _DIGESTS[algorithm]:
        raise BadImageError(
            f"has a digest of {len(value)} characters, and {algorithm} has {_DIGESTS[algorithm]}: copy it whole"
        )
    if not _HEX.fullmatch(value):
        raise BadImageError(
            f"has a digest of other characters than 0-9 and a-f ({value})",
            _if_right(f"{name}@{algorithm}:{value.lower()}") if value != value.lower() else "",
        )


def _nearest(text: str) -> str:
    """Return the right form nearest to a wrong one, empty where what was meant cannot be told."""
    mended = re.sub(r"^[A-Za-z][A-Za-z0-9+.-]*://([^/@]*@)?", "", text.strip())
    mended = re.sub(r"\s*([/:@])\s*", r"\1", mended)
    mended = re.sub(r"\s+", "-", mended)
    mended = re.sub(r"/{2,}", "/", mended).strip("/")
    name, at, digest = mended.partition("@")
    path, colon, tag = _split_tag(name)
    tag = re.sub(r"[^A-Za-z0-9_.-]+", "-", tag).lstrip(".-")[:_LONGEST_TAG]
    host, repository = _split_host(path)
    repository = "/".join(filter(None, (part.strip("._-") for part in repository.lower().split("/"))))
    name = (f"{host}/" if host else "") + repository + (f":{tag}" if colon and tag else "")
    return _if_right(f"{name}{at}{digest}") if mended and not _UNFILLED.search(text) else ""


def _if_right(text: str) -> str:
    try:
        _parse(text)
    except BadImageError:
        return ""
    return text
