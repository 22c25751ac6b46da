"""What is said of images by their names alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from run_kfp.findings import Finding, Severity
from run_kfp.preflight.offline.references import check_references
from specs import context_of_registry, context_of_spec, registry, step_spec

HERE: Mapping[str, Any] = {"region": "us-east1", "project": "my-project"}
ID = "0123456789ab"


def told(findings: Iterable[Finding]) -> list[str]:
    """Say each finding in a line: how severe, its code, how its message and its next step begin."""
    marks = {Severity.ERROR: "error", Severity.WARNING: "warning"}
    return [
        f"{marks.get(one.severity, 'note')} {one.code}: {one.message[:60]} → {one.hint[:70]}".rstrip()
        for one in findings
    ]


def of_images(images: Iterable[str], **settings: Any) -> dict[str, list[str]]:
    return {image: told(check_references(context_of_spec(step_spec({"image": image}), **settings))) for image in images}


def test_images_that_are_right() -> None:
    right = (
        "busybox:1.36",
        f"busybox@sha256:{'a' * 64}",
        "registry-1.docker.io/user/image:v1",
        "us-east1-docker.pkg.dev/my-project/r/i:v1",
        "us-docker.pkg.dev/my-project/r/i:v1",
        "us-docker.pkg.dev/vertex-ai/training/i:v1",
        "us-east1-docker.pkg.dev/example.com/my-project/r/i:v1",
        "gcr.io/google_containers/pause:3",
        "x.goog/i:v1",
        "{{$.inputs.parameters['image']}}",
        "a23456789012",
        "python:0123456789ab",
    )
    found = of_images(right, **HERE)
    assert {image: words for image, words in found.items() if words} == {
        "us-east1-docker.pkg.dev/example.com/my-project/r/i:v1": [
            "note RK-IMAGE-PROJECT: the image is in "
            "the project example.com:my-project and "
            "the r → gcloud artifacts repositories "
            "add-iam-policy-binding r "
            "--project=examp"
        ],
        "gcr.io/google_containers/pause:3": [
            "note RK-IMAGE-GCR: gcr.io was Container Registry, which is "
            "closed; Artifact Reg → gcloud artifacts docker images list "
            "gcr.io/google_containers",
            "note RK-IMAGE-PROJECT: the image is in the project "
            "google_containers and the run in → gcloud artifacts "
            "repositories add-iam-policy-binding gcr.io --project=",
        ],
        "a23456789012": [
            "error RK-IMAGE-HOST: a23456789012: this is the id of a local image, unknown to "
            "re → give it a name and push it: docker tag a23456789012 NAME && docker pus"
        ],
    }


def test_images_that_are_not() -> None:
    expected = {
        "busybox": [
            "note RK-IMAGE-TAG: busybox has no tag, which means latest: the run takes what i → "
            "pin it, where runs must be repeatable"
        ],
        "busybox:latest": [
            "note RK-IMAGE-TAG: busybox:latest has the tag latest: the run takes what is "
            "pus → pin it, where runs must be repeatable"
        ],
        "user/Image": [
            "error RK-IMAGE-REFERENCE: 'user/Image' has capitals in its name (Image); names are of  → write user/image"
        ],
        "https://me:secret@hub.docker.com/r/user/image": [
            "error RK-IMAGE-REFERENCE: 'https://…@hub.docker.com/r/user/image' begins with https:// → write user/image"
        ],
        "user image:v1": [
            "error RK-IMAGE-REFERENCE: 'user image:v1' holds white space, which no reference does → write user-image:v1"
        ],
        "hub.docker.com/_/python:3": [
            "error RK-IMAGE-REFERENCE: 'hub.docker.com/_/python:3' has '_' in its name; a part is o → write python:3"
        ],
        "hub.docker.com/repository/docker/user/image/tags": [
            "error RK-IMAGE-HOST: hub.docker.com/repository/docker/user/image/tags: hub.docker → write user/image"
        ],
        "www.docker.com/r/user/image/general:v1": [
            "error RK-IMAGE-HOST: www.docker.com/r/user/image/general: www.docker.com is a web → write user/image:v1"
        ],
        "github.com/user/image:v1": [
            "error RK-IMAGE-HOST: github.com/user/image: github.com is a "
            "website, not a regist → write the address that `docker push` was "
            "given"
        ],
        "docker.pkg.github.com/user/repo/image:v1": [
            "error RK-IMAGE-HOST: "
            "docker.pkg.github.com/user/repo/image: "
            "docker.pkg.github.com → write "
            "ghcr.io/user/repo/image:v1"
        ],
        "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa": [
            "error RK-IMAGE-HOST: "
            "sha256: this is the "
            "id of a local image, "
            "unknown to registri "
            "→ give it a name and "
            "push it: docker tag "
            "sha256:aaaaaaaaaaaaaaaaaaaaaaaa"
        ],
        "sha256:aaaaaaaaaaaa": [
            "error RK-IMAGE-HOST: sha256: this is the id of a local image, unknown to "
            "registri → give it a name and push it: docker tag sha256:aaaaaaaaaaaa "
            "NAME && doc"
        ],
        "sha256:aaaaaaaaaaaaa": [],
        "0123456789ab": [
            "error RK-IMAGE-HOST: 0123456789ab: this is the id of a local image, unknown to "
            "re → give it a name and push it: docker tag 0123456789ab NAME && docker pus"
        ],
        "0123456789ab:v1": [],
        "gcr.oi/p/i:v1": ["error RK-IMAGE-HOST: gcr.oi/p/i: unknown registry gcr.oi → did you mean gcr.io?"],
        "us-east1-docker.pgk.dev/p/r/i:v1": [
            "error RK-IMAGE-HOST: us-east1-docker.pgk.dev/p/r/i: unknown "
            "registry us-east1-doc → did you mean "
            "us-east1-docker.pkg.dev?"
        ],
        "ghrc.io/user/image:v1": [
            "error RK-IMAGE-HOST: ghrc.io/user/image: unknown registry ghrc.io → did you mean ghcr.io?"
        ],
        "us-east1.pkg.dev/p/r/i:v1": [
            "error RK-IMAGE-HOST: us-east1.pkg.dev/p/r/i: us-east1.pkg.dev is "
            "not a Docker hos → write "
            "LOCATION-docker.pkg.dev/PROJECT/REPOSITORY/IMAGE, as us-east1-do"
        ],
        "location-docker.pkg.dev/p/r/i:v1": [
            "error RK-IMAGE-HOST: location-docker.pkg.dev/p/r/i: unknown "
            "Artifact Registry loc → find it: gcloud artifacts locations "
            "list"
        ],
        "eu-docker.pkg.dev/my-project/r/i:v1": [
            "error RK-IMAGE-HOST: eu-docker.pkg.dev/my-project/r/i: "
            "unknown Artifact Registry  → did you mean "
            "europe-docker.pkg.dev?"
        ],
        "us-east-1-docker.pkg.dev/my-project/r/i:v1": [
            "error RK-IMAGE-HOST: "
            "us-east-1-docker.pkg.dev/my-project/r/i: unknown "
            "Artifact Re → did you mean "
            "us-east1-docker.pkg.dev?"
        ],
        "us-east1-docker.pkg.dev/r/i:v1": [
            "error RK-IMAGE-HOST: us-east1-docker.pkg.dev/r/i: r/i is not "
            "PROJECT/REPOSITORY/I → write "
            "us-east1-docker.pkg.dev/my-project/REPOSITORY/i:v1; the "
            "reposito"
        ],
        "us-east1-docker.pkg.dev/example.com/p/r:v1": [
            "error RK-IMAGE-HOST: "
            "us-east1-docker.pkg.dev/example.com/p/r: "
            "example.com/p/r is  → write "
            "us-east1-docker.pkg.dev/my-project/REPOSITORY/r:v1; "
            "the reposito"
        ],
        "gcr.io/image:v1": [
            "error RK-IMAGE-HOST: gcr.io/image: image has no project before it → write gcr.io/my-project/image:v1"
        ],
        "europe.gcr.io/p/i:v1": [
            "error RK-IMAGE-HOST: europe.gcr.io/p/i: unknown registry europe.gcr.io → did you mean eu.gcr.io?"
        ],
        "us-east1.gcr.io/p/i:v1": [
            "error RK-IMAGE-HOST: us-east1.gcr.io/p/i: unknown registry us-east1.gcr.io → did you mean us.gcr.io?"
        ],
        "gcr.io/my_project/i:v1": [
            "error RK-IMAGE-HOST: gcr.io/my_project/i: my_project is not a project id: 6 to 30 → write my-project"
        ],
        "gcr.io/other_project/i:v1": [
            "error RK-IMAGE-HOST: gcr.io/other_project/i: other_project is not "
            "a project id: 6 → find it: gcloud projects list"
        ],
        "gcr.io/pppppppppppppppppppppppppppppp/i:v1": [
            "note RK-IMAGE-GCR: gcr.io was Container Registry, "
            "which is closed; Artifact Reg → gcloud artifacts "
            "docker images list "
            "gcr.io/ppppppppppppppppppppppppppp",
            "note RK-IMAGE-PROJECT: the image is in the "
            "project pppppppppppppppppppppppppppppp a → gcloud "
            "artifacts repositories add-iam-policy-binding "
            "gcr.io --project=",
        ],
        "gcr.io/ppppppppppppppppppppppppppppppp/i:v1": [
            "error RK-IMAGE-HOST: "
            "gcr.io/ppppppppppppppppppppppppppppppp/i: "
            "pppppppppppppppppp → find it: gcloud projects "
            "list"
        ],
        "gcr.io/my-project/i:v1": [
            "note RK-IMAGE-GCR: gcr.io was Container Registry, which is closed; "
            "Artifact Reg → gcloud artifacts docker images list gcr.io/my-project"
        ],
        "gcr.io/example.com/p/i:v1": [
            "note RK-IMAGE-GCR: gcr.io was Container Registry, which is closed; "
            "Artifact Reg → gcloud artifacts docker images list "
            "gcr.io/example.com/p",
            "note RK-IMAGE-PROJECT: the image is in the project example.com:p "
            "and the run in my- → gcloud artifacts repositories "
            "add-iam-policy-binding gcr.io --project=",
        ],
        "us-east1-docker.pkg.dev/other-project/r/i:v1": [
            "note RK-IMAGE-PROJECT: the image is in the "
            "project other-project and the run in my- → "
            "gcloud artifacts repositories "
            "add-iam-policy-binding r --project=other"
        ],
        "us-east1-docker.pkg.dev/123456/r/i:v1": [],
        "europe-west4-docker.pkg.dev/my-project/r/i:v1": [
            "note RK-IMAGE-LOCATION: the repository r is in "
            "europe-west4 and the run in us-east1 → push it "
            "to us-east1-docker.pkg.dev as well, if starts "
            "are slow"
        ],
        "europe-docker.pkg.dev/my-project/r/i:v1": [
            "note RK-IMAGE-LOCATION: the repository r is in "
            "europe and the run in us-east1 → push it to "
            "us-east1-docker.pkg.dev as well, if starts are slow"
        ],
        "localhost:5000/a/image": [
            "error RK-IMAGE-PRIVATE-HOST: localhost:5000/a/image is in a registry "
            "of this machine (loc → docker tag localhost:5000/a/image:latest "
            "us-east1-docker.pkg.dev/my-pr"
        ],
        "127.0.0.1:5000/image@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa": [
            "error "
            "RK-IMAGE-PRIVATE-HOST: "
            "127.0.0.1:5000/image "
            "is "
            "in "
            "a "
            "registry "
            "of "
            "this "
            "machine "
            "(127.0 "
            "→ "
            "docker "
            "tag "
            "127.0.0.1:5000/image@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        ],
        "10.0.0.1/image:v1": [
            "error RK-IMAGE-PRIVATE-HOST: 10.0.0.1/image is on 10.0.0.1, an address of "
            "a private netwo → docker tag 10.0.0.1/image:v1 "
            "us-east1-docker.pkg.dev/my-project/REPOSI"
        ],
        "8.8.8.8/image:v1": [
            "warning RK-IMAGE-OTHER-HOST: 8.8.8.8/image is on 8.8.8.8; Vertex AI "
            "documents Artifact Re → to be sure, copy it: docker pull 8.8.8.8/image:v1 "
            "&& docker tag 8.8.8."
        ],
        "host:5000/image:v1": [
            "error RK-IMAGE-PRIVATE-HOST: host:5000/image is on host:5000, a name of a "
            "private network → docker tag host:5000/image:v1 "
            "us-east1-docker.pkg.dev/my-project/REPOS"
        ],
        "registry.corp/image:v1": [
            "error RK-IMAGE-PRIVATE-HOST: registry.corp/image is on registry.corp, "
            "a name of a private → docker tag registry.corp/image:v1 "
            "us-east1-docker.pkg.dev/my-project/R"
        ],
        "quay.io/user/image:v1": [
            "warning RK-IMAGE-OTHER-HOST: quay.io/user/image is on quay.io; Vertex "
            "AI documents Artifa → to be sure, copy it: docker pull "
            "quay.io/user/image:v1 && docker tag q"
        ],
        "quay.oi/user/image:v1": [
            "warning RK-IMAGE-OTHER-HOST: quay.oi/user/image is on quay.oi; Vertex "
            "AI documents Artifa → did you mean 'quay.io'?"
        ],
        "registry.example.com/user/image:v1": [
            "warning RK-IMAGE-OTHER-HOST: "
            "registry.example.com/user/image is on "
            "registry.example.com;  → to be sure, copy it: docker pull "
            "registry.example.com/user/image:v1 &&"
        ],
    }
    assert of_images(expected, **HERE) == expected


def test_images_without_a_project_and_with_a_network() -> None:
    texts = (
        "us-east1-docker.pkg.dev/r/i:v1",
        "gcr.io/image:v1",
        "gcr.io/my_project/i:v1",
        "localhost/image:v1",
        "us-docker.pkg.dev/p/r/i:v1",
    )
    assert of_images(texts) == {
        "us-east1-docker.pkg.dev/r/i:v1": [
            "error RK-IMAGE-HOST: us-east1-docker.pkg.dev/r/i: r/i is not "
            "PROJECT/REPOSITORY/I → write "
            "us-east1-docker.pkg.dev/PROJECT/REPOSITORY/i:v1; the "
            "repositorie"
        ],
        "gcr.io/image:v1": [
            "error RK-IMAGE-HOST: gcr.io/image: image has no project before it → write gcr.io/PROJECT/image:v1"
        ],
        "gcr.io/my_project/i:v1": [
            "error RK-IMAGE-HOST: gcr.io/my_project/i: my_project is not a project "
            "id: 6 to 30 → find it: gcloud projects list"
        ],
        "localhost/image:v1": [
            "error RK-IMAGE-PRIVATE-HOST: localhost/image is in a registry of this "
            "machine (localhost) → docker tag localhost/image:v1 "
            "us-east1-docker.pkg.dev/PROJECT/REPOSITO"
        ],
        "us-docker.pkg.dev/p/r/i:v1": [],
    }
    assert of_images(["registry.corp/i:v1", "localhost/i:v1"], network="projects/1/global/networks/n", **HERE) == {
        "registry.corp/i:v1": [
            "warning RK-IMAGE-PRIVATE-HOST: registry.corp/i is on registry.corp, a "
            "name of a private net → docker tag registry.corp/i:v1 "
            "us-east1-docker.pkg.dev/my-project/REPOS"
        ],
        "localhost/i:v1": [
            "error RK-IMAGE-PRIVATE-HOST: localhost/i is in a registry of this machine "
            "(localhost), wh → docker tag localhost/i:v1 "
            "us-east1-docker.pkg.dev/my-project/REPOSITOR"
        ],
    }
    assert of_images(["us-docker.pkg.dev/p/r/i:v1"], region="us-east1", project="123456") == {
        "us-docker.pkg.dev/p/r/i:v1": []
    }


def test_a_moving_tag_and_the_cache() -> None:
    text = registry("").replace("busybox:1.36", "busybox")
    assert told(check_references(context_of_registry(text, caching=True))) == [
        "warning RK-IMAGE-TAG: busybox has no tag, which means latest, and caching is on: a → give each "
        "build a unique tag, pin the digest (name@sha256:…), or run w"
    ]
    assert [one.place for one in check_references(context_of_registry(text, caching=False))] == [
        "run-kfp.toml: containers.1.image"
    ]
