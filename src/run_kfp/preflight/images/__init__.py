"""What the image registries say of every image of a pipeline, and what that means for its steps."""

from __future__ import annotations

import contextlib
import datetime
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Generic, TypeVar

from run_kfp.credentials import printable
from run_kfp.errors import did_you_mean
from run_kfp.findings import Finding, Severity
from run_kfp.image_reference import BadImageError, ImageReference, parse_image
from run_kfp.natural import natural
from run_kfp.pipeline.resources import holds_placeholder
from run_kfp.preflight.context import CheckContext, StepSpec
from run_kfp.preflight.images.registry_api import (
    GOOGLE_TOKEN_USER,
    SCHEMA_1,
    Answer,
    Denied,
    Found,
    Login,
    Missing,
    RegistryClient,
    Unreachable,
    find_logins,
)
from run_kfp.preflight.offline.references import image_place, wrong_address
from run_kfp.preflight.rules import rule
from run_kfp.threads import in_background
from run_kfp.visible import shell_word

# What Vertex AI's machines run (https://cloud.google.com/vertex-ai/docs/training/create-custom-container).
PLATFORM = "linux/amd64"

# Bytes of the disk of a step's machine: 100 GB, which a component cannot raise. Layers unpack to about two and a half
# times of their compressed size.
_DISK, _UNPACKED = 100_000_000_000, 2.5

_MOST_LOOKS = 32  # at a time
_ENGINE_SECONDS = 1.0
# Seconds that are left for words when the deadline is over.
_GRACE = 0.2

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")

Key = TypeVar("Key")
Value = TypeVar("Value")

MISSING = rule("RK-IMAGE-MISSING")
DENIED = rule("RK-IMAGE-DENIED")
WRONG_PLATFORM = rule("RK-IMAGE-PLATFORM")
OLD_MANIFEST = rule("RK-IMAGE-SCHEMA")
NO_IMAGE = rule("RK-IMAGE-KIND")
TOO_BIG = rule("RK-IMAGE-SIZE")
ENTRYPOINT = rule("RK-IMAGE-ENTRYPOINT")
DECLARED_ENTRYPOINT = rule("RK-IMAGE-DECLARED-ENTRYPOINT")
ARGUMENTS = rule("RK-IMAGE-ARGUMENTS")
ARGUMENTS_LOST = rule("RK-IMAGE-ARGUMENTS-LOST")
NO_PROGRAM = rule("RK-IMAGE-NO-PROGRAM")
NO_SHELL = rule("RK-IMAGE-SHELL")
STALE = rule("RK-IMAGE-STALE")
UNREACHED = rule("RK-IMAGE-UNREACHED")


@dataclass(frozen=True)
class ImageConfig:
    """What an image says of how it is run.

    Attributes:
        entrypoint: empty where it has none.
        cmd: likewise.
        user: empty for root.
        workdir: empty for /.
        created: when it was built, None where it does not say.
        history: how its layers were made, the oldest first.
    """

    entrypoint: tuple[str, ...]
    cmd: tuple[str, ...]
    user: str
    workdir: str
    created: datetime.datetime | None
    history: tuple[str, ...]


@dataclass(frozen=True)
class ImageFacts:
    """What a registry says of an image.

    Attributes:
        digest: of what the reference names: an index, or one image.
        platforms: "os/architecture[/variant]" of each image; empty where it does not say.
        compressed_size: bytes of the layers that Vertex AI pulls, None where it has no image for it.
        config: of that image, None likewise.
        ids: the digests under which an Engine may know that image.
        needs_login: whether the registry showed it to a login only.
    """

    digest: str
    platforms: tuple[str, ...]
    compressed_size: int | None
    config: ImageConfig | None
    ids: frozenset[str]
    needs_login: bool


@dataclass(frozen=True)
class ImagesReport:
    """Facts by the text of the reference, for those images that were found; and what they mean for the steps."""

    facts: Mapping[str, ImageFacts]
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Absent:
    """The registry has no such tag or digest; `tags` are some that it has."""

    words: str
    tags: tuple[str, ...]


@dataclass(frozen=True)
class Foreign:
    """Something else than an image of today: a manifest of schema 1, or a thing of another media type."""

    media_type: str
    digest: str


Look = ImageFacts | Absent | Foreign | Denied | Unreachable


@dataclass(frozen=True)
class LocalImage:
    """What the Engine of this machine has under a reference."""

    ids: frozenset[str]
    created: datetime.datetime | None


def look_at_images(
    context: CheckContext, *, google_token: Callable[[], str | None], deadline_seconds: float
) -> ImagesReport:
    """Ask the registries for every image of the pipeline, all at a time, and compare with the steps.

    Args:
        context: its steps are looked at; an image whose text is wrong is told by `check_references`.
        google_token: gives an access token for Google's registries, or None; called once, and only for these.
        deadline_seconds: for the whole look. What is not answered by then is a finding of the kind "skipped".
    """
    deadline = time.monotonic() + deadline_seconds
    images: dict[str, ImageReference] = {}
    for step in context.steps:
        if not holds_placeholder(step.image):
            with contextlib.suppress(BadImageError):
                image = parse_image(step.image)
                if wrong_address(image) is None:
                    images[step.image] = image
    if not images:
        return ImagesReport({}, tuple(_unknown_yet(context)))
    token = _Once(google_token)
    if any(image.on_google for image in images.values()):
        # Fetched while the registry says what it shows to everybody.
        _start({"": token.get})
    started = time.monotonic()
    engine = _start({"": lambda: _local_images([text for text, image in images.items() if not image.digest])})
    looks = _start({text: _looker(image, token, deadline) for text, image in images.items()})(deadline + _GRACE)
    here = engine(started + _ENGINE_SECONDS).get("", {})
    findings = [*_unknown_yet(context)]
    for step in context.steps:
        if step.image in images:
            found = looks.get(step.image, Unreachable(f"{images[step.image].host} did not answer in time"))
            findings += image_findings(step, images[step.image], found, here.get(step.image))
    facts = {text: found for text, found in looks.items() if isinstance(found, ImageFacts)}
    return ImagesReport(facts, tuple(dict.fromkeys(findings)))


def pinned(image: str, facts: ImageFacts) -> str:
    """Return the reference with the digest in place of the tag: `name@sha256:…`, the name as it was written.

    Raises:
        BadImageError: `image` is no reference.
    """
    return f"{parse_image(image).name}@{facts.digest}"


def _unknown_yet(context: CheckContext) -> Iterator[Finding]:
    for step in context.steps:
        if holds_placeholder(step.image):
            yield UNREACHED(image_place(step), f"the image of step {step.name} is only known when the run is created")


def _looker(image: ImageReference, token: _Once[str | None], deadline: float) -> Callable[[], Look]:
    def logins() -> Sequence[Login]:
        if image.on_google and (access_token := token.get()):
            return [Login(GOOGLE_TOKEN_USER, access_token)]
        return find_logins(image.host)

    def look() -> Look:
        with RegistryClient(image, logins=logins, deadline=deadline) as client:
            return _look(client, image)

    return look


def _look(client: RegistryClient, image: ImageReference) -> Look:
    """Follow manifest, the manifest of our platform, config: each names the next."""
    top = client.manifest(image.target)
    if isinstance(top, Missing):
        return Absent(top.words, client.tags())
    if not isinstance(top, Found):
        return top
    if top.media_type in SCHEMA_1:
        return Foreign(top.media_type, top.digest)
    found: Answer = top
    platforms: tuple[str, ...] = ()
    entries = top.body.get("manifests")
    if isinstance(entries, list):
        by_platform = dict(_platforms(entries))
        platforms = tuple(sorted(by_platform))
        if not platforms:
            return Unreachable(f"{image.host} answers with an index without platforms")
        ours = next((by_platform[name] for name in platforms if _is_ours(name)), None)
        if ours is None:
            return ImageFacts(top.digest, platforms, None, None, frozenset(), client.login is not None)
        found = client.manifest(ours)
    if isinstance(found, Missing):
        return Unreachable(f"{image.host} has an index, but not its image")
    if not isinstance(found, Found):
        return found
    descriptor, layers = found.body.get("config"), found.body.get("layers")
    if not isinstance(descriptor, Mapping) or not isinstance(layers, list):
        return Unreachable(f"{image.host} answers without an image manifest")
    media_type, digest = str(descriptor.get("mediaType", "")), str(descriptor.get("digest", ""))
    if media_type.startswith("application/vnd.") and "image" not in media_type:
        return Foreign(media_type, top.digest)
    if not _DIGEST.fullmatch(digest):
        return Unreachable(f"{image.host} answers without an image manifest")
    config = client.config(digest)
    if isinstance(config, Missing):
        return Unreachable(f"{image.host} has the manifest, but not its config")
    if not isinstance(config, Found):
        return config
    if not platforms and config.body.get("architecture"):
        platforms = (_platform(config.body),)
    sizes = [layer.get("size") for layer in layers if isinstance(layer, Mapping)]
    return ImageFacts(
        top.digest,
        platforms,
        sum(size for size in sizes if isinstance(size, int) and 0 <= size < 2**63),
        _config(config.body),
        frozenset({top.digest, found.digest, config.digest}),
        client.login is not None,
    )


def _platforms(entries: Sequence[Any]) -> Iterator[tuple[str, str]]:
    """Yield platform and digest of the images of an index; an attestation has the platform unknown/unknown."""
    for entry in entries:
        platform = entry.get("platform") if isinstance(entry, Mapping) else None
        if not isinstance(platform, Mapping) or not _DIGEST.fullmatch(str(entry.get("digest"))):
            continue
        if (name := _platform(platform)) != "unknown/unknown":
            yield name, str(entry["digest"])


def _platform(body: Mapping[str, Any]) -> str:
    words = [str(body.get(key) or "") for key in ("os", "architecture", "variant")]
    words[0] = words[0] or "linux"
    return printable("/".join(word for word in words if word))


def _is_ours(platform: str) -> bool:
    # A variant names a level of the instruction set; Vertex AI's machines are not asked for theirs.
    return platform == PLATFORM or platform.startswith(f"{PLATFORM}/")


def _config(body: Mapping[str, Any]) -> ImageConfig:
    run, history = body.get("config"), body.get("history")
    run = run if isinstance(run, Mapping) else {}
    steps = [step for step in history if isinstance(step, Mapping)] if isinstance(history, list) else []
    return ImageConfig(
        _words(run.get("Entrypoint")),
        _words(run.get("Cmd")),
        str(run.get("User") or ""),
        str(run.get("WorkingDir") or ""),
        _time(body.get("created")),
        tuple(str(step.get("created_by") or "") for step in steps if not step.get("empty_layer")),
    )


def _words(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()


def _time(value: object) -> datetime.datetime | None:
    try:
        read = datetime.datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return read if read.tzinfo else read.replace(tzinfo=datetime.UTC)


def image_findings(step: StepSpec, image: ImageReference, found: Look, local: LocalImage | None) -> Iterator[Finding]:
    """Compare a step with what was found of its image: at the registry, and at the Engine of this machine."""
    place = image_place(step)
    if isinstance(found, Unreachable):
        yield UNREACHED(place, f"{step.image} was not checked: {found.words}")
    elif isinstance(found, Denied):
        yield _denied(place, step, image, found)
    elif isinstance(found, Absent):
        yield _missing(place, step, image, found)
    elif isinstance(found, Foreign) and found.media_type in SCHEMA_1:
        yield OLD_MANIFEST(
            place,
            f"{step.image} has a manifest of schema 1, which current versions of Docker and containerd do not pull",
            f"build it again: docker buildx build --platform {PLATFORM} --tag {_named(image)} --push .",
        )
    elif isinstance(found, Foreign):
        yield NO_IMAGE(
            place, f"{step.image} is of the kind {printable(found.media_type)}, not an image", "name an image"
        )
    else:
        if found.needs_login and not image.on_google and not image.on_loopback:
            yield DENIED(
                place,
                f"{step.image} is private: your login can read it on {image.host}, Vertex AI has no login there",
                "make the repository public, or copy the image to Artifact Registry",
                severity=Severity.ERROR if image.on_docker_hub else Severity.WARNING,
            )
        yield from _facts_findings(place, step, image, found, local)


def _denied(place: str, step: StepSpec, image: ImageReference, found: Denied) -> Finding:
    if image.on_docker_hub:
        return DENIED(
            place,
            f"Docker Hub has no public repository {image.repository}: it does not exist, or is private; Vertex AI can "
            "pull neither",
            f"check the spelling; push it (docker push {_named(image)}), and make it public, or use Artifact Registry",
            severity=Severity.ERROR,
        )
    said = f" ({found.words})" if found.words else ""
    return DENIED(
        place,
        f"{image.host} does not show {step.image}: it does not exist, or you cannot read it{said}; whether the "
        "service agents of Vertex AI may is not known",
        "log in with an account that can read it: gcloud auth application-default login"
        if image.on_google
        else f"docker login {shell_word(image.host)}",
    )


def _missing(place: str, step: StepSpec, image: ImageReference, found: Absent) -> Finding:
    wanted = f"digest {image.digest}" if image.digest else f"tag {image.target}"
    if not found.tags:
        said = f" ({found.words})" if found.words else ""
        return MISSING(
            place, f"{step.image} does not exist: {image.host} has none{said}", f"docker push {_named(image)}"
        )
    some = ", ".join(printable(tag) for tag in sorted(found.tags, key=natural)[-8:]) + (
        ", …" if len(found.tags) > 8 else ""
    )
    guess = "" if image.digest else did_you_mean(image.target, found.tags)
    return MISSING(
        place,
        f"{step.image} does not exist: the repository {image.repository} has no {wanted}; it has {some}",
        f"{guess} else push it: docker push {_named(image)}".strip() if guess else f"docker push {_named(image)}",
    )


def _named(image: ImageReference) -> str:
    """Return the image as a word of a command."""
    return shell_word(f"{image.name}:{image.tag or 'latest'}")


def _facts_findings(
    place: str, step: StepSpec, image: ImageReference, facts: ImageFacts, local: LocalImage | None
) -> Iterator[Finding]:
    if facts.platforms and not any(map(_is_ours, facts.platforms)):
        yield WRONG_PLATFORM(
            place,
            f"{step.image} is made for {', '.join(facts.platforms)}; Vertex AI runs {PLATFORM}",
            f"docker buildx build --platform {PLATFORM} --tag {_named(image)} --push .",
        )
    if facts.compressed_size and facts.compressed_size * _UNPACKED > _DISK:
        yield TOO_BIG(
            place,
            f"{step.image} has {facts.compressed_size / 1e9:.0f} GB of compressed layers, unpacked about "
            f"{facts.compressed_size * _UNPACKED / 1e9:.0f} GB; the disk of a step has {_DISK / 1e9:.0f} GB",
            "remove data and caches from the image, and read them from /gcs/BUCKET",
        )
    if facts.config is None:
        return
    if local and local.created and facts.config.created and not local.ids & facts.ids:
        ahead = local.created - facts.config.created
        if ahead > datetime.timedelta(0):
            yield STALE(
                place,
                f"the {step.image} of this machine was built {_ago(ahead)} after the pushed image and differs from it",
                f"docker push {_named(image)}",
            )
    yield from _call_findings(place, step, facts.config)


def _ago(time: datetime.timedelta) -> str:
    seconds = time.total_seconds()
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 1):.0f} s"


_INTERPRETER = re.compile(r"(ba|da|a|z|k|c)?sh|python[0-9.]*|pypy[0-9.]*|Rscript|node|perl|ruby|julia")
_SHELL = re.compile(r"(ba|da|a|z|k)?sh")
_SHELL_TEXT = re.compile(r"-[a-z]*c")  # -c, -lc, -euxc
_READS_ARGUMENTS = re.compile(r"\$([0-9@*#]|\{[0-9@*#])")
# Names of scripts that by custom execute their arguments: ENTRYPOINT ["/entrypoint.sh"].
_EXECUTES = re.compile(r"entry|init|exec|wrap|start|launch", re.IGNORECASE)


def _call_findings(place: str, step: StepSpec, config: ImageConfig) -> Iterator[Finding]:
    """Compare what the step gives with what the image brings (the rule of ENTRYPOINT: `command` and `args`)."""
    declared = step.container.entrypoint if step.container and not step.container.command else None
    if declared:
        if tuple(declared) != config.entrypoint and not (not config.entrypoint and tuple(declared) == config.cmd):
            yield DECLARED_ENTRYPOINT(
                step.at("entrypoint"),
                f"the registry says {_shown(declared)}, the image {_shown(config.entrypoint) or 'has no ENTRYPOINT'}",
                f"write entrypoint = [{', '.join(map(_toml, config.entrypoint))}]" if config.entrypoint else "",
            )
    elif step.command:
        if config.entrypoint and step.command[: len(config.entrypoint)] != config.entrypoint:
            yield ENTRYPOINT(
                step.at("command"),
                f"{_shown(step.command)} runs in place of the image's ENTRYPOINT {_shown(config.entrypoint)}"
                + (f" and CMD {_shown(config.cmd)}" if config.cmd else "")
                + "; kfp.local would run it behind that ENTRYPOINT",
                "remove command to run the ENTRYPOINT",
            )
    elif config.entrypoint:
        yield from _argument_findings(step, config.entrypoint)
    elif step.args:
        yield from _program_findings(step, config)
    elif not config.cmd:
        yield NO_PROGRAM(
            place,
            f"{step.image} has no ENTRYPOINT and no CMD, and the step has no command and no arguments",
            'write command = ["…"]',
            severity=Severity.ERROR,
        )
    program = (step.command or config.entrypoint or step.args or config.cmd)[:1]
    if program and _SHELL.fullmatch(_base(program[0])) and step.command and _from_scratch(config):
        yield NO_SHELL(
            step.at("command"),
            f"{step.image} seems to be made of copied files alone ({printable(config.history[0])[:60]}), and the step "
            f"runs {_base(program[0])}",
            "set the program of the image, or build it on a base with a shell",
        )


def _argument_findings(step: StepSpec, entrypoint: tuple[str, ...]) -> Iterator[Finding]:
    args, place = step.args, step.at("args")
    if not args:
        return
    shell = bool(_SHELL.fullmatch(_base(entrypoint[0])))
    text_at = next((at for at, word in enumerate(entrypoint) if at and _SHELL_TEXT.fullmatch(word)), None)
    if shell and text_at is not None:
        script = (*entrypoint, *args)[text_at + 1]
        behind = len(entrypoint) + len(args) - text_at - 2
        if behind > 0 and not _READS_ARGUMENTS.search(script) and not holds_placeholder(script):
            yield ARGUMENTS_LOST(
                place,
                f"the image's ENTRYPOINT is {_shown(entrypoint)}: the shell takes one text as its script, and the last "
                f"{behind} of the arguments never reach the program",
                'write ENTRYPOINT ["program", "…"] in the Dockerfile (a JSON array), or set command',
            )
        return
    if _repeats(entrypoint, args):
        yield ARGUMENTS(
            place,
            f"the arguments start with {_shown(args[:1])}, and the image's ENTRYPOINT is {_shown(entrypoint)}",
            "remove these words, or set command to replace the ENTRYPOINT",
        )
        return
    if not _INTERPRETER.fullmatch(_base(entrypoint[0])):
        return
    script = next((word for word in entrypoint[1:] if not word.startswith("-")), "")
    is_program = bool(_INTERPRETER.fullmatch(_base(args[0])))
    if script and "-m" not in entrypoint and (is_program or (shell and _SHELL_TEXT.fullmatch(args[0]))):
        yield ARGUMENTS(
            place,
            f"the image's ENTRYPOINT is bound to a script ({_shown(entrypoint)}), which gets {_shown(args[:1])} as its "
            "first argument",
            "set command to run something else than that script; give only the arguments that it takes",
            severity=Severity.NOTE if _EXECUTES.search(_base(script)) else None,
        )
    elif not script and is_program:
        yield ARGUMENTS(
            place,
            f"the image's ENTRYPOINT is {_shown(entrypoint)}, which would read {_shown(args[:1])} as a script",
            "remove that word, or set command to replace the ENTRYPOINT",
        )


def _repeats(entrypoint: tuple[str, ...], args: tuple[str, ...]) -> bool:
    """Whether the arguments start with the whole entrypoint, or with its end from a program or script on."""
    if args[0] == "env" or args[0].startswith("-"):
        return False
    for at, word in enumerate(entrypoint):
        length = len(entrypoint) - at
        same = _base(word) == _base(args[0]) if at == 0 or "/" not in word + args[0] else word == args[0]
        if same and entrypoint[at + 1 :] == args[1:length]:
            return True
    return False


def _program_findings(step: StepSpec, config: ImageConfig) -> Iterator[Finding]:
    first = step.args[0]
    if first.startswith("-") or (holds_placeholder(first) and config.cmd):
        yield NO_PROGRAM(
            step.at("args"),
            f"the image has no ENTRYPOINT, so the first argument ({_cut(first)}) is taken for the program"
            + (f"; its CMD {_shown(config.cmd)} is replaced" if config.cmd else ""),
            f"write command = [{', '.join(map(_toml, config.cmd))}]" if config.cmd else 'write command = ["…"]',
        )


def _from_scratch(config: ImageConfig) -> bool:
    """Whether the history tells of files copied onto nothing: no base that was added, no command that was run."""
    made = config.history
    copied = all(re.match(r"(/bin/sh -c #\(nop\) )?COPY ", line) for line in made)
    whole_system = any(re.search(r" / /( |$)|rootfs", line) for line in made)
    return bool(made) and copied and not whole_system


def _base(word: str) -> str:
    return PurePosixPath(word).name


def _cut(word: str) -> str:
    """Show a word of a command: up to a space or an equals sign, since what stands behind may be a secret."""
    text = re.split(r"(?<=[^\s=])[\s=]", word, maxsplit=1)[0]
    return printable(text)[:40] + ("" if text == word and len(text) <= 40 else "…")


def _shown(words: Sequence[str]) -> str:
    """Show the first words of a command, cut: the rest may be long, and the arguments are nobody's business."""
    if not words:
        return ""
    return "[" + ", ".join(f'"{_cut(word)}"' for word in words[:3]) + (", …]" if len(words) > 3 else "]")


def _toml(word: str) -> str:
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _local_images(texts: Sequence[str]) -> dict[str, LocalImage]:
    """Ask the Engine of this machine for images of these names; nothing where there is none, or no docker package."""
    try:
        import docker
        import docker.constants
        import docker.errors
        import docker.utils
    except ImportError:
        return {}
    found: dict[str, LocalImage] = {}
    with contextlib.suppress(docker.errors.DockerException, OSError, ValueError, KeyError):
        where = docker.utils.kwargs_from_env()
        if "base_url" not in where:
            context = docker.ContextAPI.get_current_context()
            if context is not None and context.Host:
                where = {"base_url": context.Host, "tls": context.TLSConfig or False}
        scheme, _, path = str(where.get("base_url") or docker.constants.DEFAULT_UNIX_SOCKET).partition("://")
        # ssh takes longer than a second. A missing socket would make docker-py (7.2) forget one of its own, unclosed.
        if scheme == "ssh" or (scheme.endswith("unix") and not Path(path).is_socket()):
            return {}
        with contextlib.closing(docker.APIClient(version="auto", timeout=_ENGINE_SECONDS, **where)) as engine:
            for text in texts:
                with contextlib.suppress(docker.errors.NotFound):
                    image = engine.inspect_image(text)
                    digests = [str(name).rpartition("@")[2] for name in image.get("RepoDigests") or ()]
                    found[text] = LocalImage(frozenset({str(image.get("Id")), *digests}), _time(image.get("Created")))
    return found


class _Once(Generic[Value]):
    """The value of a call that is made once, by whoever asks first."""

    def __init__(self, call: Callable[[], Value]) -> None:
        self._call = call
        self._lock = threading.Lock()
        self._values: list[Value] = []

    def get(self) -> Value:
        with self._lock:
            if not self._values:
                self._values.append(self._call())
            return self._values[0]


def _start(tasks: Mapping[Key, Callable[[], Value]]) -> Callable[[float], dict[Key, Value]]:
    """Run the tasks, `_MOST_LOOKS` at a time; return what gives the values there are at a moment of time.monotonic.

    The threads are daemons: one that hangs in a read keeps nobody, as those of an executor would when the program ends.
    """
    waiting: queue.SimpleQueue[tuple[Key, Callable[[], Value]]] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[Key, Value] | BaseException] = queue.SimpleQueue()
    for item in tasks.items():
        waiting.put(item)

    def work() -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                key, task = waiting.get_nowait()
                try:
                    done.put((key, task()))
                except BaseException as error:  # noqa: BLE001 - raised again by who waits
                    done.put(error)

    for _ in range(min(_MOST_LOOKS, len(tasks))):
        in_background(work)

    def gather(deadline: float) -> dict[Key, Value]:
        values: dict[Key, Value] = {}
        with contextlib.suppress(queue.Empty):
            while len(values) < len(tasks):
                found = done.get(timeout=max(deadline - time.monotonic(), 0))
                if isinstance(found, BaseException):
                    raise found
                values[found[0]] = found[1]
        return values

    return gather
