"""What is said of a step and its image, a table: what the step gives, what the image brings."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from run_kfp.image_reference import parse_image
from run_kfp.preflight.context import StepSpec
from run_kfp.preflight.images import Absent, Foreign, ImageConfig, ImageFacts, LocalImage, Look, image_findings
from run_kfp.preflight.images.registry_api import Denied, Unreachable
from specs import context_of_registry, registry
from test_call_words import TAG, line, several

BUILT = datetime(2026, 11, 1, tzinfo=UTC)
CONFIG = ImageConfig((), ("run",), "", "", BUILT, ("ADD x / ",))
FACTS = ImageFacts("sha256:d", ("linux/amd64",), 1, CONFIG, frozenset({"a"}), False)


def step_of(image: str = "user/image:v1", **container: Any) -> StepSpec:
    (step,) = several([{"image": image, **container}]).steps
    return step


def told(found: Look, image: str = "user/image:v1", local: LocalImage | None = None, **container: Any) -> list[str]:
    step = step_of(image, **container)
    return [line(one) for one in image_findings(step, parse_image(image), found, local)]


def of_calls(calls: Iterable[str]) -> dict[str, list[str]]:
    """Map `COMMAND | ARGUMENTS | ENTRYPOINT | CMD`, JSON lists without their brackets, to what is said."""
    found = {}
    for text in calls:
        command, args, entrypoint, cmd = (json.loads(f"[{part}]") for part in text.replace("TAG", TAG).split(" | "))
        config = replace(CONFIG, entrypoint=tuple(entrypoint), cmd=tuple(cmd))
        found[text] = told(replace(FACTS, config=config), command=command, args=args)
    return found


def test_what_a_registry_says() -> None:
    tags = tuple(f"v{number}" for number in range(1, 10))

    assert told(FACTS, command=["x"]) == []
    assert told(Unreachable("no network")) == [
        "note RK-IMAGE-UNREACHED image: user/image:v1 was not checked: no network →"
    ]
    assert told(Denied("")) == [
        "error RK-IMAGE-DENIED image: Docker Hub has no public repository user/image: it does not exist, "
        "or  → check the spelling; push it (docker push user/imag"
    ]
    assert told(Denied("no access"), "gcr.io/p/i:v1") == [
        "warning RK-IMAGE-DENIED image: gcr.io does not show gcr.io/p/i:v1: it does not exist, or you "
        "cannot r → log in with an account that can read it: gcloud au"
    ]
    assert told(Denied("no access"), "quay.io/u/i:v1") == [
        "warning RK-IMAGE-DENIED image: quay.io does not show quay.io/u/i:v1: it does not exist, or you "
        "cannot → docker login quay.io"
    ]
    assert told(Absent("", ())) == [
        "error RK-IMAGE-MISSING image: user/image:v1 does not exist: docker.io has none → docker push user/image:v1"
    ]
    assert told(Absent("unknown", ())) == [
        "error RK-IMAGE-MISSING image: user/image:v1 does not exist: docker.io has none (unknown) → "
        "docker push user/image:v1"
    ]
    assert told(Absent("", tags[:8]), "user/image:v11") == [
        "error RK-IMAGE-MISSING image: user/image:v11 does not exist: the repository user/image has no "
        "tag v1 → did you mean 'v1'? else push it: docker push user/"
    ]
    assert told(Absent("", tags), "user/image:zzz") == [
        "error RK-IMAGE-MISSING image: user/image:zzz does not exist: the repository user/image has no "
        "tag zz → docker push user/image:zzz"
    ]
    assert told(Absent("", tags), f"user/image@sha256:{'a' * 64}") == [
        "error RK-IMAGE-MISSING image: "
        "user/image@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa → docker push "
        "user/image:latest"
    ]
    assert told(Foreign("application/vnd.docker.distribution.manifest.v1+json", "d")) == [
        "warning RK-IMAGE-SCHEMA image: user/image:v1 has a manifest of schema 1, which current versions "
        "of Do → build it again: docker buildx build --platform lin"
    ]
    assert told(Foreign("chart", "d")) == [
        "error RK-IMAGE-KIND image: user/image:v1 is of the kind chart, not an image → name an image"
    ]
    assert told(replace(FACTS, needs_login=True), command=["x"]) == [
        "error RK-IMAGE-DENIED image: user/image:v1 is private: your login can read it on docker.io, "
        "Vertex  → make the repository public, or copy the image to A"
    ]
    assert told(replace(FACTS, needs_login=True), "quay.io/u/i:v1", command=["x"]) == [
        "warning RK-IMAGE-DENIED image: quay.io/u/i:v1 is private: your login can read it on quay.io, "
        "Vertex A → make the repository public, or copy the image to A"
    ]
    assert told(replace(FACTS, needs_login=True), "gcr.io/p/i:v1", command=["x"]) == []
    assert told(replace(FACTS, needs_login=True), "localhost/i:v1", command=["x"]) == []


def test_what_an_image_is() -> None:
    def of(local: LocalImage | None = None, **facts: Any) -> list[str]:
        return told(replace(FACTS, **facts), local=local, command=["x"])

    assert of(platforms=()) == []
    assert of(platforms=("linux/arm64", "linux/amd64/v3")) == []
    assert of(platforms=("linux/arm64", "linux/amd64x")) == [
        "error RK-IMAGE-PLATFORM image: user/image:v1 is made for linux/arm64, linux/amd64x; Vertex AI "
        "runs li → docker buildx build --platform linux/amd64 --tag u"
    ]
    assert of(compressed_size=40_000_000_000) == []
    assert of(compressed_size=40_000_000_001) == [
        "warning RK-IMAGE-SIZE image: user/image:v1 has 40 GB of compressed layers, unpacked about 100 "
        "GB; t → remove data and caches from the image, and read th"
    ]
    assert of(compressed_size=None, config=None) == []

    def newer(seconds: float, *ids: str) -> list[str]:
        return of(LocalImage(frozenset(ids), BUILT + timedelta(seconds=seconds)))

    assert newer(0, "b") == newer(-1, "b") == newer(60, "a", "b") == []
    assert of(LocalImage(frozenset("b"), None)) == []
    assert newer(0.5, "b") == [
        "warning RK-IMAGE-STALE image: the user/image:v1 of this machine was built 1 s after the pushed "
        "image → docker push user/image:v1"
    ]
    assert [
        newer(seconds, "b")[0].partition(" was built ")[2][:9] for seconds in (119, 120, 7199, 7200, 172799, 172800)
    ] == ["119 s aft", "2 minutes", "120 minut", "2 hours a", "48 hours ", "2 days af"]


def test_calls_and_images() -> None:
    expected = {
        " |  |  | ": [
            "error RK-IMAGE-NO-PROGRAM image: user/image:v1 has no ENTRYPOINT and no CMD, and "
            'the step has no comman → write command = ["…"]'
        ],
        ' |  |  | "run"': [],
        ' | "x" |  | ': [],
        ' | "--x=secret" |  | ': [
            "warning RK-IMAGE-NO-PROGRAM args: the image has no ENTRYPOINT, so the "
            'first argument (--x…) is taken for → write command = ["…"]'
        ],
        ' | "--x" |  | "python", "a\\"b"': [
            "warning RK-IMAGE-NO-PROGRAM args: the image has no "
            "ENTRYPOINT, so the first argument (--x) is taken for  → "
            'write command = ["python", "a\\"b"]'
        ],
        ' | "TAG" |  | ': [],
        ' | "TAG" |  | "run"': [
            "warning RK-IMAGE-NO-PROGRAM args: the image has no ENTRYPOINT, so the "
            'first argument ({{$.inputs.paramet → write command = ["run"]'
        ],
        '"x" |  | "x" | ': [],
        '"x", "y" |  | "x" | ': [],
        '"y" |  | "x" | ': [
            'note RK-IMAGE-ENTRYPOINT command: ["y"] runs in place of the image\'s '
            'ENTRYPOINT ["x"]; kfp.local would r → remove command to run the ENTRYPOINT'
        ],
        '"y" |  | "x" | "z"': [
            'note RK-IMAGE-ENTRYPOINT command: ["y"] runs in place of the image\'s '
            'ENTRYPOINT ["x"] and CMD ["z"]; kfp → remove command to run the '
            "ENTRYPOINT"
        ],
        ' | "a" | "sh", "-c" | ': [],
        ' | "a", "b" | "sh", "-c" | ': [
            "warning RK-IMAGE-ARGUMENTS-LOST args: the image's ENTRYPOINT is "
            '["sh", "-c"]: the shell takes one text as it → write ENTRYPOINT '
            '["program", "…"] in the Dockerfil'
        ],
        ' | "a $1", "b" | "/bin/bash", "-lc" | ': [],
        ' | "a", "b" | "sh", "-c", "exec \\"$@\\"", "sh" | ': [],
        ' | "a", "b" | "sh", "-c", "exec x" | ': [
            "warning RK-IMAGE-ARGUMENTS-LOST args: the image's "
            'ENTRYPOINT is ["sh", "-c", "exec…"]: the shell takes '
            'one t → write ENTRYPOINT ["program", "…"] in the '
            "Dockerfil"
        ],
        ' | "TAG", "b" | "sh", "-c" | ': [],
        ' | "a", "b" | "xsh", "-c" | ': [],
        ' | "python", "x" | "python" | ': [
            "warning RK-IMAGE-ARGUMENTS args: the arguments start with "
            '["python"], and the image\'s ENTRYPOINT is ["p → remove these '
            "words, or set command to replace the"
        ],
        ' | "/usr/bin/python", "x" | "python" | ': [
            "warning RK-IMAGE-ARGUMENTS args: the arguments start "
            'with ["/usr/bin/python"], and the image\'s ENTRYPOI '
            "→ remove these words, or set command to replace the"
        ],
        ' | "python", "train.py" | "python", "train.py" | ': [
            "warning RK-IMAGE-ARGUMENTS args: the "
            'arguments start with ["python"], and the '
            "image's ENTRYPOINT is [\"p → remove these "
            "words, or set command to replace the"
        ],
        ' | "train.py", "x" | "python", "train.py" | ': [
            "warning RK-IMAGE-ARGUMENTS args: the arguments "
            'start with ["train.py"], and the image\'s '
            "ENTRYPOINT is [ → remove these words, or set "
            "command to replace the"
        ],
        ' | "/b/train.py", "x" | "python", "/a/train.py" | ': [],
        ' | "-u", "x" | "python", "-u" | ': [],
        ' | "env", "x" | "env" | ': [],
        ' | "bash", "x" | "python", "train.py" | ': [
            "warning RK-IMAGE-ARGUMENTS args: the image's "
            'ENTRYPOINT is bound to a script (["python", '
            '"train.py"]),  → set command to run something else '
            "than that script"
        ],
        ' | "bash", "x" | "python", "-m", "train" | ': [],
        ' | "bash", "x" | "python", "/entrypoint.py" | ': [
            "note RK-IMAGE-ARGUMENTS args: the image's "
            'ENTRYPOINT is bound to a script (["python", '
            '"/entrypoint.p → set command to run something '
            "else than that script"
        ],
        ' | "-c", "x" | "bash", "run.sh" | ': [
            "warning RK-IMAGE-ARGUMENTS args: the image's ENTRYPOINT "
            'is bound to a script (["bash", "run.sh"]), whic → set '
            "command to run something else than that script"
        ],
        ' | "-c", "x" | "python", "run.py" | ': [],
        ' | "bash", "x" | "python" | ': [
            "warning RK-IMAGE-ARGUMENTS args: the image's ENTRYPOINT is "
            '["python"], which would read ["bash"] as a s → remove that '
            "word, or set command to replace the EN"
        ],
        ' | "bash", "x" | "python", "-u" | ': [
            "warning RK-IMAGE-ARGUMENTS args: the image's ENTRYPOINT "
            'is ["python", "-u"], which would read ["bash"]  → remove '
            "that word, or set command to replace the EN"
        ],
        ' | "bash", "x" | "train" | ': [],
        ' |  | "python", "train.py" | ': [],
    }
    assert of_calls(expected) == expected


def test_a_declared_entrypoint() -> None:
    def of(declared: str, entrypoint: tuple[str, ...], cmd: tuple[str, ...] = ()) -> list[str]:
        text = registry(f"entrypoint = {declared}\nenv = {{ A = {{ param = 'tag' }} }}")
        (step,) = context_of_registry(text, params={"tag": "v1"}).steps
        facts = replace(FACTS, config=replace(CONFIG, entrypoint=entrypoint, cmd=cmd))
        return [line(one) for one in image_findings(step, parse_image(step.image), facts, None)]

    assert of("['a', 'b']", ("a", "b")) == []
    assert of("['a']", (), ("a",)) == []
    assert of("['a']", ("b",), ("a",)) == [
        'warning RK-IMAGE-DECLARED-ENTRYPOINT entrypoint: the registry says ["a"], the image ["b"] → '
        'write entrypoint = ["b"]'
    ]
    assert of("['a']", (), ("b",)) == [
        'warning RK-IMAGE-DECLARED-ENTRYPOINT entrypoint: the registry says ["a"], the image has no ENTRYPOINT →'
    ]
    assert of("['a', 'b', 'c', 'd']", ("a", "b c", 'd"', "e")) == [
        'warning RK-IMAGE-DECLARED-ENTRYPOINT entrypoint: the registry says ["a", "b", "c", …], the image '
        '["a", "b…", "d"", …] → write entrypoint = ["a", "b c", "d\\"", "e"]'
    ]


def test_an_image_without_a_shell() -> None:
    def of(*history: str, program: str = "/bin/sh") -> list[str]:
        return told(replace(FACTS, config=replace(CONFIG, history=history)), command=[program, "-c", "x"])

    assert of("COPY a /a", "/bin/sh -c #(nop) COPY b /b") == [
        "warning RK-IMAGE-SHELL command: user/image:v1 seems to be made of copied files alone (COPY a "
        "/a), and  → set the program of the image, or build it on a bas"
    ]
    assert of("COPY a /a", program="/a") == []
    assert of() == of("ADD a /a") == of("COPY a /a", "RUN x") == of("COPY / / # buildkit") == of("COPY rootfs /") == []
