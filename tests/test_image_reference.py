"""References of images: what a right one is read as, and what is said of every kind of wrong one."""

from __future__ import annotations

import re
from collections.abc import Iterable

from run_kfp.image_reference import BadImageError, google_repository, parse_image


def whole(text: str) -> str:
    """Write `a{64}` out."""
    return re.sub(r"(\w)\{(\d+)\}", lambda match: match[1] * int(match[2]), text)


def short(text: str) -> str:
    """Write more than nine times one letter as `a{64}`."""
    return re.sub(r"(\w)\1{9,}", lambda match: f"{match[1]}{{{len(match[0])}}}", text)


def said(texts: Iterable[str]) -> dict[str, tuple[str, str | None]]:
    """Map wrong references to what is said and the nearest right one."""
    found = {}
    for text in texts:
        try:
            parse_image(whole(text))
        except BadImageError as error:
            found[text] = (short(str(error)), error.nearest and short(error.nearest))
    return found


def read(texts: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Map right references to host, repository, tag, digest (empty where there is none) and what is asked for."""
    images = {text: parse_image(whole(text)) for text in texts}
    return {
        text: tuple(short(part or "") for part in (one.host, one.repository, one.tag, one.digest, one.target))
        for text, one in images.items()
    }


def test_right_ones() -> None:
    expected = {
        "python": ("docker.io", "library/python", "", "", "latest"),
        "python:3.11": ("docker.io", "library/python", "3.11", "", "3.11"),
        "user/image": ("docker.io", "user/image", "", "", "latest"),
        "index.docker.io/python": ("docker.io", "library/python", "", "", "latest"),
        "docker.io/user/image:v1": ("docker.io", "user/image", "v1", "", "v1"),
        "LOCALHOST/image": ("localhost", "image", "", "", "latest"),
        "host:5000/image:v1": ("host:5000", "image", "v1", "", "v1"),
        "[::1]:65535/a/b": ("[::1]:65535", "a/b", "", "", "latest"),
        "python@sha256:a{64}": ("docker.io", "library/python", "", "sha256:a{64}", "sha256:a{64}"),
        "python:3.11@sha512:b{128}": ("docker.io", "library/python", "3.11", "sha512:b{128}", "sha512:b{128}"),
        "gcr.io/p/a__b--c.d": ("gcr.io", "p/a__b--c.d", "", "", "latest"),
        "a:t{128}": ("docker.io", "library/a", "t{128}", "", "t{128}"),
        "a{255}": ("docker.io", "library/a{255}", "", "", "latest"),
    }
    assert read(expected) == expected


def test_wrong_ones() -> None:
    expected = {
        "": ("has no image", ""),
        "docker pull python": ("holds white space, which no reference does", "docker-pull-python"),
        "GS://bucket/file": (
            "is a file, and an image is taken from a registry: docker load, docker tag, docker push",
            "",
        ),
        "https://user:pass@host.example/image": (
            "begins with https://, and a reference begins with the registry's host or the name",
            "host.example/image",
        ),
        "image:${TAG}": ("holds ${TAG}, which nothing replaces", ""),
        "imagé": ("holds other letters than those of ASCII", ""),
        ":v1": ("has no image in front of its tag or digest", ""),
        "@sha256:a{64}": ("has no image in front of its tag or digest", ""),
        "-x.example/image": ("begins with '-x.example', which is not a host", ""),
        "host:0/image": ("has the port 0; ports go up to 65535", ""),
        "host:65536/image": ("has the port 65536; ports go up to 65535", ""),
        "host:999999999/image": ("has the port 999999999; ports go up to 65535", ""),
        "a{256}": ("has a name of 256 characters, and 255 are allowed", ""),
        "c{64}": ("is the id of an image of this machine, which no registry knows", ""),
        "user//image": ("has a slash too many", "user/image"),
        "User/Image": ("has capitals in its name (User); names are of lower-case letters", "user/image"),
        "gcr.io/my-project/PROJECT_ID/USER": (
            "holds PROJECT_ID and USER, in whose place a name of yours belongs",
            "",
        ),
        "user/a___b": (
            "has 'a___b' in its name; a part is of lower-case letters and digits, with single dots, one or two "
            "underscores or dashes between them",
            "",
        ),
        "user/A___b": (
            "has 'A___b' in its name; a part is of lower-case letters and digits, with single dots, one or two "
            "underscores or dashes between them",
            "",
        ),
        "user/im$age": ("holds $age, which nothing replaces", ""),
        "python:": ("ends in a colon, without a tag", "python"),
        "a:t{129}": ("has a tag of 129 characters, and 128 are allowed", "a:t{128}"),
        "python:sha256:a{64}": ("has its digest behind a colon, where an @ belongs", "python@sha256:a{64}"),
        "python:a:b": ("has two tags (a and b)", "python:a"),
        "python:.v1": (
            "has the tag '.v1'; a tag is of letters, digits, underscores, dots and dashes, and "
            "begins with none of the last two",
            "python:v1",
        ),
        "python: v1": ("holds white space, which no reference does", "python:v1"),
        "python@a{64}": ("has a digest without its algorithm", "python@sha256:a{64}"),
        "python@a{63}": ("has 'a{63}' after the @; a digest is sha256: and 64 hexadecimal digits", ""),
        "python@md5:a{64}": ("has 'md5:a{64}' after the @; a digest is sha256: and 64 hexadecimal digits", ""),
        "python@sha256:a{63}": ("has a digest of 63 characters, and sha256 has 64: copy all of it", ""),
        "python@sha256:A{64}": ("has a digest of other characters than 0-9 and a-f (A{64})", "python@sha256:a{64}"),
        "python@sha256:z{64}": ("has a digest of other characters than 0-9 and a-f (z{64})", ""),
    }
    assert said(expected) == expected


def test_where_an_image_is() -> None:
    expected = {
        "python": ["on_docker_hub"],
        "registry-1.docker.io/a/b": ["on_docker_hub"],
        "gcr.io/p/image": ["on_google"],
        "eu.gcr.io/p/image": ["on_google"],
        "xgcr.io/p/image": [],
        "us-east1-docker.pkg.dev/p/r/image": ["on_google"],
        "localhost/image": ["on_loopback"],
        "a.localhost:5000/image": ["on_loopback"],
        "127.0.0.9:5000/image": ["on_loopback"],
        "[::1]:5000/image": ["on_loopback"],
        "10.0.0.1:5000/image": [],
    }
    images = {text: parse_image(text) for text in expected}
    marks = {
        text: [name for name in ("on_docker_hub", "on_google", "on_loopback") if getattr(image, name)]
        for text, image in images.items()
    }
    assert marks == expected


def test_repositories_of_google() -> None:
    expected = {
        "python": None,
        "gcr.io/p": None,
        "gcr.io/p/image": ("projects/p/locations/us/repositories/gcr.io", False),
        "gcr.io/example.com/p/image": ("projects/example.com:p/locations/us/repositories/gcr.io", False),
        "gcr.io/example.com": None,
        "us-east1-docker.pkg.dev/p/r": None,
        "us-east1-docker.pkg.dev/p/r/image": ("projects/p/locations/us-east1/repositories/r", False),
        "europe-docker.pkg.dev/vertex-ai/training/image": (
            "projects/vertex-ai/locations/europe/repositories/training",
            True,
        ),
    }
    found = {text: google_repository(parse_image(text)) for text in expected}
    assert {text: (one.path, one.is_public) if one else None for text, one in found.items()} == expected
