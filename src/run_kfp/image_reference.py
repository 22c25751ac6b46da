"""A reference of an image: its grammar, its registry, and the repository of Google's that serves it."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

DOCKER_HUB = "docker.io"

# distribution/reference (https://pkg.go.dev/github.com/distribution/reference): the grammar of `docker pull`.
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:]+\])(?::(?P<port>[0-9]+))?")
_PATH_PART = re.compile(r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_LONGEST_PATH, _LONGEST_TAG = 255, 128
_DIGESTS = {"sha256": 64, "sha512": 128}  # hexadecimal digits
HEX = re.compile(r"[0-9a-f]+")

# What a template or a shell leaves behind: $IMAGE, ${REGION}, <project>, {tag}, %s.
_UNFILLED = re.compile(r"\$\{?\w+\}?|<[^<>]*>|\{[^{}]*\}|%[sd]\b")

# Words in capitals that stand for a name of one's own, in this program's own hints too.
_STAND_IN = re.compile(
    r"((YOUR|MY)[-_])?((GCP|DOCKER)[-_])?(PROJECT|REPOSITORY|REPO|IMAGE|USER|USERNAME|ORG|ACCOUNT)([-_](ID|NAME))?"
)

# Hosts of Container Registry, and where Artifact Registry keeps what they serve
# (https://cloud.google.com/artifact-registry/docs/transition/gcr-repositories).
GCR = {"gcr.io": "us", "us.gcr.io": "us", "eu.gcr.io": "europe", "asia.gcr.io": "asia"}
ARTIFACT_REGISTRY = re.compile(r"(?P<location>[a-z0-9-]+)-docker\.pkg\.dev")
HUB_HOSTS = frozenset({DOCKER_HUB, "registry-1.docker.io", "registry.hub.docker.com"})

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
        return self.host in HUB_HOSTS

    @property
    def on_google(self) -> bool:
        """Whether Artifact Registry holds it, under a name of its own or one of Container Registry."""
        return self.host == "gcr.io" or self.host.endswith((".gcr.io", "-docker.pkg.dev"))

    @property
    def on_loopback(self) -> bool:
        """Whether it is in a registry of this machine."""
        name = host_name(self.host)
        address = host_address(name)
        return name == "localhost" or name.endswith(".localhost") or (address is not None and address.is_loopback)


@dataclass(frozen=True)
class GoogleRepository:
    """The repository of Artifact Registry that serves an image; the location is a region or a multi-region."""

    project: str
    location: str
    name: str

    @property
    def path(self) -> str:
        """Its resource name."""
        return f"projects/{self.project}/locations/{self.location}/repositories/{self.name}"

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
    if image.host in GCR:
        return GoogleRepository(project, GCR[image.host], image.host) if parts else None
    if found := ARTIFACT_REGISTRY.fullmatch(image.host):
        return GoogleRepository(project, found["location"], parts[0]) if len(parts) > 1 else None
    return None


def host_name(host: str) -> str:
    """Return a host without its port and without the brackets of an IPv6 address."""
    return host[1 : host.index("]")] if host.startswith("[") else host.partition(":")[0]


def host_address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address that the name of a host is, None where it is a name."""
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
            raise BadImageError(f"begins with {host!r}, which is not a host")
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
        raise BadImageError(f"holds {unfilled[0]}, which nothing replaces")
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
    if HEX.fullmatch(path) and len(path) == 64:
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
        raise BadImageError("ends in a colon, without a tag")
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
    if not colon and HEX.fullmatch(digest) and len(digest) == _DIGESTS["sha256"]:
        raise BadImageError("has a digest without its algorithm", _if_right(f"{name}@sha256:{digest}"))
    if algorithm not in _DIGESTS:
        raise BadImageError(f"has {digest!r} after the @; a digest is sha256: and 64 hexadecimal digits")
    if len(value) != _DIGESTS[algorithm]:
        raise BadImageError(
            f"has a digest of {len(value)} characters, and {algorithm} has {_DIGESTS[algorithm]}: copy all of it"
        )
    if not HEX.fullmatch(value):
        raise BadImageError(
            f"has a digest of other characters than 0-9 and a-f ({value})",
            _if_right(f"{name}@{algorithm}:{value.lower()}") if value != value.lower() else "",
        )


def _nearest(text: str) -> str:
    """Return the right form nearest to a wrong one, empty where what was meant cannot be told."""
    mended = re.sub(r"^[A-Za-z][A-Za-z0-9+.-]*://([^/@]*@)?", "", text.strip())
    mended = re.sub(r" ?([/:@]) ?", r"\1", re.sub(r"\s+", " ", mended)).replace(" ", "-")
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
