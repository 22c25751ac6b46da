"""References of images: the grammar of `docker pull`, and what a name alone tells of a run on Vertex AI."""

from __future__ import annotations

import secrets
import shlex
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import specs
from conftest import Cli
from engine import Engine
from run_kfp.findings import Finding, Severity
from run_kfp.image_reference import (
    BadImageError,
    GoogleRepository,
    ImageReference,
    google_repository,
    parse_image,
)
from run_kfp.preflight.offline.references import check_references

HEX = "0123456789abcdef" * 4
DIGEST = f"sha256:{HEX}"
ARTIFACTS = "us-east1-docker.pkg.dev"


def check(reference: str, *, cached: bool = False, **settings: Any) -> list[Finding]:
    """Check a finished file of one step with this image."""
    spec = specs.step_spec({"image": reference}, cachingOptions={"enableCache": cached})
    project, region = settings.pop("project", "test-project"), settings.pop("region", "us-east1")
    return list(check_references(specs.context_of_spec(spec, project=project, region=region, **settings)))


def only(found: Sequence[Finding], code: str) -> Finding:
    """The single finding, which has this code."""
    assert [one.code for one in found] == [code], found
    return found[0]


@pytest.mark.parametrize(
    ("text", "host", "repository", "tag", "digest"),
    [
        ("python", "docker.io", "library/python", None, None),
        ("python:3.12-slim", "docker.io", "library/python", "3.12-slim", None),
        ("docker.io/python", "docker.io", "library/python", None, None),
        ("index.docker.io/team/train", "docker.io", "team/train", None, None),
        ("team/train:v1", "docker.io", "team/train", "v1", None),
        (f"team/train@{DIGEST}", "docker.io", "team/train", None, DIGEST),
        (f"team/train:v1@{DIGEST}", "docker.io", "team/train", "v1", DIGEST),
        ("localhost/train", "localhost", "train", None, None),
        ("localhost:5000/a/b:v1", "localhost:5000", "a/b", "v1", None),
        ("[::1]:5000/train", "[::1]:5000", "train", None, None),
        ("US-East1-docker.pkg.dev/p/r/i:V1", ARTIFACTS, "p/r/i", "V1", None),
        ("a.b/c__d/e--f.g_h/i", "a.b", "c__d/e--f.g_h/i", None, None),
        (f"team/train:{'x' * 128}", "docker.io", "team/train", "x" * 128, None),
        (f"gcr.io/p/i@sha512:{HEX * 2}", "gcr.io", "p/i", None, f"sha512:{HEX * 2}"),
    ],
)
def test_a_reference_is_read_as_docker_reads_it(
    text: str, host: str, repository: str, tag: str | None, digest: str | None
) -> None:
    name = text.partition("@")[0].removesuffix(f":{tag}")

    assert parse_image(text) == ImageReference(name, host, repository, tag, digest)


BAD = [
    ("", "has no image", ""),
    ("team/Train:v1", "has capitals in its name (Train)", "team/train:v1"),
    ("Team/train", "has capitals", "team/train"),
    ("gcr.io/Project/train", "has capitals", "gcr.io/project/train"),
    ("team/ train:v1", "white space", "team/train:v1"),
    (" team/train:v1\n", "white space", "team/train:v1"),
    ("my image:v1", "white space", "my-image:v1"),
    ("https://docker.io/team/train:v1", "begins with https://", "docker.io/team/train:v1"),
    ("docker://team/train", "begins with docker://", "team/train"),
    ("team/train:", "without a tag", "team/train"),
    ("team/train:v1:v2", "has two tags (v1 and v2)", "team/train:v1"),
    ("team/train:v1.0+build", "has the tag 'v1.0+build'", "team/train:v1.0-build"),
    ("team/train:-v1", "has the tag '-v1'", "team/train:v1"),
    ("team/train:.v1", "has the tag '.v1'", "team/train:v1"),
    (f"team/train:{'x' * 129}", "has a tag of 129 characters", f"team/train:{'x' * 128}"),
    ("team//train", "a slash too many", "team/train"),
    ("/team/train", "a slash too many", "team/train"),
    ("team/train/", "a slash too many", "team/train"),
    ("team/_train", "has '_train' in its name", "team/train"),
    ("team/tra___in", "has 'tra___in' in its name", ""),
    ("team/tr&in", "has 'tr&in' in its name", ""),
    ("team/träin", "other letters than those of ASCII", ""),
    ("team/train\x00", "other letters than those of ASCII", ""),
    ("${REGION}-docker.pkg.dev/p/r/i", "holds ${REGION}", ""),
    ("$IMAGE", "holds $IMAGE", ""),
    ("gcr.io/<project>/train", "holds <project>", ""),
    ("team/train:{tag}", "holds {tag}", ""),
    ("gcr.io/%s/train", "holds %s", ""),
    (":v1", "has no image in front", ""),
    (f"@{DIGEST}", "has no image in front", ""),
    ("team/train@sha256:abc", "a digest of 3 characters, and sha256 has 64", ""),
    (f"team/train@{HEX}", "a digest without its algorithm", f"team/train@{DIGEST}"),
    (f"team/train:{DIGEST}", "where an @ belongs", f"team/train@{DIGEST}"),
    (f"team/train@sha256:{HEX.upper()}", "other characters than 0-9 and a-f", f"team/train@{DIGEST}"),
    ("team/train@v1", "has 'v1' after the @", ""),
    (f"team/train@md5:{HEX}", "after the @", ""),
    (HEX, "is the id of an image of this machine", ""),
    ("gs://bucket/image.tar", "is a file", ""),
    ("us-docker.pkg.dev/PROJECT/REPOSITORY/train:1", "holds PROJECT and REPOSITORY, in whose place a name of", ""),
    ("us-docker.pkg.dev/test-project/MY_REPO/train:1", "holds MY_REPO", ""),
    ("https://hub.docker.com/r/team/train", "begins with https://", "hub.docker.com/r/team/train"),
    ("https://hub.docker.com/_/python", "begins with https://", "hub.docker.com/python"),
    ("https://github.com/team/train", "begins with https://", "github.com/team/train"),
    ("a/" * 128 + "b", "has a name of 257 characters", ""),
    ("host.example.com:99999/train", "has the port 99999", ""),
    ("host..example.com/train", "which is not a host", ""),
]


@pytest.mark.failure("F09", "RK-IMAGE-REFERENCE")
@pytest.mark.parametrize(("text", "words", "nearest"), BAD)
def test_a_text_that_is_no_reference_is_an_error_with_the_nearest_that_is(text: str, words: str, nearest: str) -> None:
    with pytest.raises(BadImageError) as refused:
        parse_image(text)
    assert words in str(refused.value)
    assert refused.value.nearest == nearest

    if text.isprintable():
        found = only(check(text), "RK-IMAGE-REFERENCE")
        assert found.severity is Severity.ERROR
        assert found.place == "pipeline.yaml: deploymentSpec.executors.exec-step.container.image"
        assert words in found.message
        of_a_web_site = {
            "hub.docker.com/r/team/train": "write team/train",
            "hub.docker.com/python": "write python",
            "github.com/team/train": "write the address that `docker push` was given",
        }
        hint = f"write {nearest}" if nearest else "write it as `docker pull` takes it"
        assert found.hint.startswith(of_a_web_site.get(nearest, hint))


@pytest.mark.engine
def test_docker_itself_refuses_the_same_texts(engine: Engine) -> None:
    """Docker's client reads a reference before it asks anybody for the image."""
    accepted = []
    for text, _, _ in BAD:
        # Docker takes capitals in front of a slash for a host; NUL is no argument of a program.
        if not text.isprintable() or not text or text.startswith("Team/"):
            continue
        done = engine.docker("pull", "--", text, check=False)
        refusals = ("invalid", "cannot specify 64-byte", "unsupported digest", "must not be more than 255")
        if not any(words in done.stderr for words in refusals):
            accepted.append((text, done.stderr))
    assert accepted == []


@given(st.text(max_size=60) | st.text(alphabet="aZ09._-/:@ []$", max_size=40))
def test_any_text_is_a_reference_or_an_error_with_a_right_form(text: str) -> None:
    try:
        image = parse_image(text)
    except BadImageError as error:
        if error.nearest:
            parse_image(error.nearest)
    else:
        google_repository(image)
        again = parse_image(f"{image.name}@{image.digest}" if image.digest else f"{image.name}:{image.target}")
        assert (again.host, again.repository, again.target) == (image.host, image.repository, image.target)


@pytest.mark.parametrize("scheme", ["https://", ""])
def test_a_login_in_the_text_is_not_repeated(scheme: str) -> None:
    password = secrets.token_hex(12)

    found = only(check(f"{scheme}robot:{password}@ghcr.io/team/train:v1"), "RK-IMAGE-REFERENCE")

    assert password not in repr(found)
    assert "…@ghcr.io/team/train:v1" in found.message
    assert found.hint.startswith("write ghcr.io/team/train:v1" if scheme else "write it as")


def test_the_place_is_the_key_of_the_registry() -> None:
    context = specs.context_of_registry(
        '[pipeline]\nname = "test-pipeline"\n[containers.4]\nname = "train"\nimage = "team/Train:v1"', ["4"]
    )

    found = only(list(check_references(context)), "RK-IMAGE-REFERENCE")

    assert found.place == "run-kfp.toml: containers.4.image"
    assert found.hint == "write team/train:v1"


@pytest.mark.parametrize(
    ("reference", "words", "hint"),
    [
        ("eu.grc.io/test-project/train:v1", "unknown registry eu.grc.io", "did you mean eu.gcr.io?"),
        ("dokcer.io/team/train:v1", "unknown registry", "did you mean docker.io?"),
        ("us-east1-dokcer.pkg.dev/p/r/i:v1", "unknown registry", "did you mean us-east1-docker.pkg.dev?"),
        ("us-east1-docker.pgk.dev/p/r/i:v1", "unknown registry", "did you mean us-east1-docker.pkg.dev?"),
        ("hub.docker.com/r/team/train:v1", "is a website", "write team/train:v1"),
        ("hub.docker.com/r/team/train/tags", "is a website", "write team/train"),
        ("docker.pkg.github.com/team/repo/train:v1", "ghcr.io", "write ghcr.io/team/repo/train"),
        (
            "us-docker.pkg.dev/train:v1",
            "is not PROJECT/REPOSITORY/IMAGE",
            "write us-docker.pkg.dev/test-project/REPOSITORY/train:v1; the repositories: gcloud artifacts repositories "
            "list --project=test-project",
        ),
        (
            "us-docker.pkg.dev/test-project/train:v1",
            "is not PROJECT/REPOSITORY/IMAGE",
            "test-project/REPOSITORY/train:v1",
        ),
        ("us-docker.pkg.dev/example.com/p/train:v1", "is not PROJECT/REPOSITORY/IMAGE", "/REPOSITORY/train:v1"),
        (
            "us-east-1-docker.pkg.dev/p/r/i:v1",
            "unknown Artifact Registry location us-east-1",
            "did you mean us-east1-docker.pkg.dev?",
        ),
        (
            "useast1-docker.pkg.dev/p/r/i:v1",
            "unknown Artifact Registry location useast1",
            "did you mean us-east1-docker.pkg.dev?",
        ),
        (
            "us-east1-b-docker.pkg.dev/p/r/i:v1",
            "unknown Artifact Registry location us-east1-b",
            "did you mean us-east1-docker.pkg.dev?",
        ),
        ("eu-docker.pkg.dev/p/r/i:v1", "unknown Artifact Registry location eu", "did you mean europe-docker.pkg.dev?"),
        (
            "LOCATION-docker.pkg.dev/p/r/i:v1",
            "unknown Artifact Registry location location",
            "gcloud artifacts locations list",
        ),
        ("us-docker.pkg.dev/test_project/r/i:v1", "test_project is not a project id", "write test-project"),
        ("us-docker.pkg.dev/other_project/r/i:v1", "other_project is not a project id", "gcloud projects list"),
        ("gcr.io/my_project/i:v1", "my_project is not a project id", "gcloud projects list"),
        (DIGEST, "is the id of a local image", f"docker tag {DIGEST} NAME && docker push NAME"),
        ("3f4e5d6c7b8a", "is the id of a local image", "docker tag 3f4e5d6c7b8a NAME && docker push NAME"),
        ("us-east1-python.pkg.dev/p/r/i:v1", "not a Docker host of", "LOCATION-docker.pkg.dev"),
        ("us-east1.docker.pkg.dev/p/r/i:v1", "not a Docker host of", "LOCATION-docker.pkg.dev"),
        ("gcr.io/train:v1", "has no project before it", "write gcr.io/test-project/train:v1"),
        ("europe.gcr.io/test-project/train:v1", "unknown registry", "did you mean eu.gcr.io?"),
        ("us-east1.gcr.io/test-project/train:v1", "unknown registry", "did you mean us.gcr.io?"),
    ],
)
def test_an_address_where_no_image_can_be_is_an_error(reference: str, words: str, hint: str) -> None:
    found = only(check(reference), "RK-IMAGE-HOST")

    assert found.severity is Severity.ERROR
    assert words in found.message
    assert hint in found.hint


@pytest.mark.parametrize(
    "host", ["localhost:5000", "127.0.0.1:5000", "[::1]:5000", "registry:5000", "10.1.2.3", "registry.local"]
)
def test_a_registry_that_vertex_cannot_reach_is_an_error(host: str) -> None:
    found = only(check(f"{host}/team/train:v1"), "RK-IMAGE-PRIVATE-HOST")

    assert found.severity is Severity.ERROR
    assert "cannot reach" in found.message
    there = f"{ARTIFACTS}/test-project/REPOSITORY/train:v1"
    assert found.hint == f"docker tag {shlex.quote(f'{host}/team/train:v1')} {there} && docker push {there}"


def test_a_network_of_ones_own_may_lead_to_a_private_registry_but_not_to_this_machine() -> None:
    network = "projects/1/global/networks/mine"

    private = only(check("10.1.2.3:5000/train:v1", network=network), "RK-IMAGE-PRIVATE-HOST")
    here = only(check("localhost:5000/train:v1", network=network), "RK-IMAGE-PRIVATE-HOST")

    assert (private.severity, here.severity) == (Severity.WARNING, Severity.ERROR)


@pytest.mark.parametrize("host", ["ghcr.io", "quay.io", "123456789012.dkr.ecr.us-east-1.amazonaws.com", "8.8.8.8:5000"])
def test_a_registry_that_vertex_does_not_name_is_a_warning(host: str) -> None:
    found = only(check(f"{host}/team/train:v1"), "RK-IMAGE-OTHER-HOST")

    assert found.severity is Severity.WARNING
    assert host in found.message
    there = f"{ARTIFACTS}/test-project/REPOSITORY/train:v1"
    image = f"{host}/team/train:v1"
    assert found.hint == (
        f"to be sure, copy it: docker pull {image} && docker tag {image} {there} && docker push {there}"
    )


@pytest.mark.parametrize("host", ["mirror.gcr.io", "marketplace.gcr.io", "k8s.gcr.io", "l.gcr.io"])
def test_other_names_below_gcr_io_are_not_artifact_registry(host: str) -> None:
    found = only(check(f"{host}/library/python:3.12"), "RK-IMAGE-OTHER-HOST")
    assert found.severity is Severity.WARNING
    assert (found.hint == "write python:3.12: mirror.gcr.io is a cache of Docker Hub") is (host == "mirror.gcr.io")


def test_a_likely_misspelling_of_a_host_gets_a_question() -> None:
    assert only(check("grc.oi/team/train:v1"), "RK-IMAGE-OTHER-HOST").hint == "did you mean 'gcr.io'?"


def test_a_name_of_container_registry_is_a_note() -> None:
    found = only(check("gcr.io/test-project/train:v1"), "RK-IMAGE-GCR")

    assert found.severity is Severity.NOTE
    assert found.hint == "gcloud artifacts docker images list gcr.io/test-project"


@pytest.mark.failure("F10", "RK-IMAGE-TAG")
@pytest.mark.parametrize(
    ("reference", "words"),
    [("team/train", "has no tag, which means latest"), ("team/train:latest", "has the tag latest")],
)
def test_a_tag_that_moves_matters_where_the_cache_is_on(reference: str, words: str) -> None:
    cached = only(check(reference, cached=True), "RK-IMAGE-TAG")
    fresh = only(check(reference), "RK-IMAGE-TAG")

    assert (cached.severity, fresh.severity) == (Severity.WARNING, Severity.NOTE)
    assert words in cached.message
    assert words in fresh.message
    assert "old result" in cached.message
    assert "pin" in cached.hint


@pytest.mark.failure("F06", "RK-IMAGE-PROJECT")
def test_an_image_of_another_project_names_who_must_be_let_in() -> None:
    found = only(check(f"{ARTIFACTS}/other-project/images/train:v1"), "RK-IMAGE-PROJECT")

    assert found.severity is Severity.NOTE
    assert "gcp-sa-aiplatform-cc" in found.message
    assert found.hint == (
        "gcloud artifacts repositories add-iam-policy-binding images --project=other-project --location=us-east1 "
        "--role=roles/artifactregistry.reader --member=serviceAccount:service-$(gcloud projects describe test-project "
        "--format='value(projectNumber)')@gcp-sa-aiplatform-cc.iam.gserviceaccount.com"
    )


@pytest.mark.failure("F14", "RK-IMAGE-LOCATION")
@pytest.mark.parametrize(
    ("location", "region"), [("europe-west1", "us-east1"), ("europe", "us-east1"), ("us", "northamerica-northeast1")]
)
def test_a_repository_far_from_the_run_is_a_note(location: str, region: str) -> None:
    found = only(check(f"{location}-docker.pkg.dev/test-project/images/train:v1", region=region), "RK-IMAGE-LOCATION")

    assert found.severity is Severity.NOTE
    assert f"is in {location} and the run in {region}" in found.message


@pytest.mark.parametrize(
    ("reference", "settings"),
    [
        ("python:3.12", {}),
        ("team/train:v1", {}),
        (f"team/train@{DIGEST}", {}),
        (f"team/train:latest@{DIGEST}", {}),
        ("docker.io/team/train:v1", {}),
        ("registry-1.docker.io/team/train:v1", {}),
        (f"{ARTIFACTS}/test-project/images/train:v1", {}),
        (f"{ARTIFACTS}/test-project/images/deep/train@{DIGEST}", {}),
        (f"{ARTIFACTS}/example.com/test-project/images/train:v1", {"project": "example.com:test-project"}),
        (f"{ARTIFACTS}/test-project/images/train:v1", {"project": "123456789012"}),
        ("us-docker.pkg.dev/test-project/images/train:v1", {}),
        ("facade:v1", {}),
        ("deadbeefcafe:v1", {}),
        (f"{ARTIFACTS}/123456789012/images/train:v1", {}),
        ("europe-north9-docker.pkg.dev/test-project/images/train:v1", {"region": "europe-north9"}),
        ("europe-docker.pkg.dev/test-project/images/train:v1", {"region": "europe-west4"}),
        ("asia-docker.pkg.dev/test-project/images/train:v1", {"region": "asia-northeast1"}),
        ("europe-docker.pkg.dev/vertex-ai/training/pytorch-gpu.2-4.py310:v1", {}),
        ("us-docker.pkg.dev/deeplearning-platform-release/gcr.io/base-cu124.py310:v1", {}),
        ("gcr.io/ml-pipeline/google-cloud-pipeline-components:2.21.0", {}),
        ("gcr.io/google.com/cloudsdktool/google-cloud-cli:500.0.0", {}),
        ("{{$.inputs.parameters['image']}}", {}),
    ],
)
@pytest.mark.parametrize("cached", [False, True])
def test_right_references_give_no_finding(reference: str, settings: dict[str, str], cached: bool) -> None:
    assert check(reference, cached=cached, **settings) == []


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        (f"{ARTIFACTS}/p/r/i", GoogleRepository("p", "us-east1", "r")),
        (f"{ARTIFACTS}/example.com/p/r/i", GoogleRepository("example.com:p", "us-east1", "r")),
        ("eu.gcr.io/p/i", GoogleRepository("p", "europe", "eu.gcr.io")),
        ("gcr.io/google.com/cloudsdktool/cloud-sdk", GoogleRepository("google.com:cloudsdktool", "us", "gcr.io")),
        ("gcr.io/i", None),
        ("team/train", None),
    ],
)
def test_the_repository_of_artifact_registry_is_known_by_the_name(
    reference: str, expected: GoogleRepository | None
) -> None:
    assert google_repository(parse_image(reference)) == expected


def test_the_packaged_registry_has_notes_at_most() -> None:
    found = list(check_references(specs.context_of_registry(None, ["1", "2", "3", "4"], params={"num_gpu": "4"})))

    assert {one.severity for one in found} <= {Severity.NOTE}


def test_references_are_read_without_network_libraries(cli: Cli) -> None:
    script = (
        "import sys, run_kfp.preflight.offline.references, run_kfp.preflight.images; "
        "print(sys.modules.keys() & {'requests', 'urllib3', 'docker', 'google.auth', 'kfp', 'grpc'})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=cli.environment({}), cwd=cli.folder, capture_output=True, text=True
    )

    assert (done.stdout, done.stderr) == ("set()\n", "")


@pytest.mark.parametrize(
    "reference",
    ["facadefacade", "gcr.io/google_containers/pause:3.1", "nam4-docker.pkg.dev/test-project/images/train:v1"],
)
def test_what_may_be_right_is_no_error(reference: str) -> None:
    assert {found.severity for found in check(reference)} == {Severity.NOTE}
