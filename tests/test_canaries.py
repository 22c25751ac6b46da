"""No value of a secret turns up where it does not belong, in success and in failure, from whatever source it came."""

from __future__ import annotations

import base64
import json
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path

import pytest
from google.cloud.aiplatform_v1.types import CreatePipelineJobRequest, PipelineJob

from conftest import Cli, Result, Write
from dermaid import MAIN, SETTINGS, Canaries, canary
from fakes.google_apis import FakeAccount, error_answer
from fakes.google_hosts import GoogleHosts
from fakes.image_registry import HUB, HUB_AUTH, Reply, image
from fakes.vertex import FakeVertex
from online import ARTIFACTS, World, right_world
from run_kfp.terminal import Format


def forms(value: str) -> Iterator[str]:
    """How a value may look when something encoded it, whole or from its second or third byte on."""
    yield value
    yield value[::-1]
    yield urllib.parse.quote(value, safe="")
    for skipped in range(3):
        # Base64 cuts off what the neighbours of the value decide.
        yield base64.b64encode(value.encode()[skipped:]).decode()[:-4]


def found_in(text: str, values: tuple[str, ...]) -> list[str]:
    """Return the values of which a form stands in the text."""
    return [value for value in values if any(form in text for form in forms(value))]


def leaks(values: tuple[str, ...], result: Result, folder: Path, *, planted: Mapping[Path, object]) -> list[str]:
    """Say where a value turned up: in an output, or in a file that is not one of those it was planted in."""
    places = [f"{name}" for name, text in (("stdout", result.out), ("stderr", result.err)) if found_in(text, values)]
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path not in planted:
            text = path.read_bytes().decode("utf-8", "replace")
            places += [str(path)] if found_in(text, values) or found_in(path.name, values) else []
    return places


def leaks_in_requests(values: tuple[str, ...], vertex: FakeVertex) -> list[str]:
    """Say which requests hold a value anywhere but in the `parameter_values` of a create."""
    places = []
    for request in vertex.requests:
        message = request.message
        if isinstance(message, CreatePipelineJobRequest):
            message = CreatePipelineJobRequest(message)
            PipelineJob.pb(message.pipeline_job).runtime_config.ClearField("parameter_values")
        if found_in(f"{message!r} {request.metadata}", values):
            places.append(request.method)
    return places


@dataclass(frozen=True)
class Field:
    """Canaries planted in one source, a fake Vertex AI, and the program."""

    canaries: Canaries
    vertex: FakeVertex
    cli: Cli
    key: Mapping[str, str]

    @property
    def values(self) -> tuple[str, ...]:
        # The service account's key is a secret of the same kind: its second line stands for it.
        return (*self.canaries.values, self.key["private_key"].splitlines()[1])

    def planted(self) -> dict[Path, None]:
        """Return the files that hold values now, before the program runs."""
        folder = self.cli.folder
        return {
            path: None
            for path in folder.rglob("*")
            if path.is_file() and found_in(path.read_bytes().decode("utf-8", "replace"), self.values)
        }


SOURCES = ("environment", "dotenv", "folder", "flag")


@pytest.fixture(params=SOURCES)
def field(
    request: pytest.FixtureRequest,
    vertex: FakeVertex,
    account_key: dict[str, str],
    account_key_file: Path,
    folder: Path,
    write: Write,
) -> Field:
    canaries = Canaries()
    variables = {
        **SETTINGS,
        **vertex.environment(),
        "GOOGLE_APPLICATION_CREDENTIALS": str(account_key_file),
        # google-api-core logs whole requests when it is asked to.
        "GOOGLE_SDK_PYTHON_LOGGING_SCOPE": "google",
        **plant(str(request.param), canaries, write),
    }
    return Field(canaries, vertex, Cli(folder, variables), account_key)


def plant(source: str, canaries: Canaries, write: Write) -> dict[str, str]:
    """Put the secrets into one of `SOURCES`; return the variables that this takes."""
    if source == "environment":
        return canaries.variables
    if source == "dotenv":
        write(".env", "".join(f"{name}={value}\n" for name, value in canaries.variables.items()))
        return {}
    place = "secrets" if source == "folder" else "elsewhere"
    for name, text in canaries.files.items():
        write(f"{place}/{name}", text)
    return {"RUN_KFP_SECRETS": place} if source == "flag" else {}


# Nobody is asked but the fake Vertex AI; checks that ask others have tests of their own, with fakes of these.
SUBMIT = (*MAIN, "--offline")
WAIT = (*SUBMIT, "--wait", "--poll-every", "0.01")


def succeed(field: Field) -> None:
    field.vertex.succeeds()


def fail(field: Field) -> None:
    # What a container prints of its own arguments can come back in the API's words.
    field.vertex.fails("versioning", f"git push {field.canaries.git_login}@github.com said no: {field.canaries.token}")


def refuse(field: Field) -> None:
    field.vertex.fault(
        "CreatePipelineJob",
        "INVALID_ARGUMENT",
        f"bad value {field.canaries.wandb!r} and {urllib.parse.quote(field.canaries.git_login, safe='')}",
    )


def stumble(field: Field) -> None:
    field.vertex.fault("CreatePipelineJob", "UNAVAILABLE", f"later, {field.canaries.whylabs}", times=1)
    field.vertex.fault("GetPipelineJob", "PERMISSION_DENIED", f"no {field.canaries.git_login}")


CALLS = {
    "submit": (SUBMIT, succeed, 0),
    "wait": (WAIT, succeed, 0),
    "wait, json": ((*WAIT, "--json"), succeed, 0),
    "run fails": (WAIT, fail, 5),
    "run fails, json": ((*WAIT, "--json"), fail, 5),
    "refused": (SUBMIT, refuse, 4),
    "refused, json": ((*SUBMIT, "--json"), refuse, 4),
    "stumbles": (WAIT, stumble, 7),
    "dry run": ((*MAIN, "--dry-run"), succeed, 0),
    "dry run, json": ((*MAIN, "--dry-run", "--json"), succeed, 0),
    "compile": ((*MAIN, "--compile-only"), succeed, 0),
    "wrong flags": ((*SUBMIT, "--bucket", "gs://b", "-p", "unheard=1"), succeed, 2),
    "no such container": (("-r", "9", "--compile-only"), succeed, 2),
    "list": (("list",), succeed, 0),
    "list, json": (("list", "--json"), succeed, 0),
    "init": (("init",), succeed, 0),
    "not writable": ((*SUBMIT, "-o", "nowhere/x.yaml"), succeed, 2),
}


@pytest.mark.parametrize("name", CALLS)
def test_no_canary_anywhere(field: Field, name: str) -> None:
    args, prepare, code = CALLS[name]
    prepare(field)
    before = field.planted()
    flags = () if args[0] in ("list", "init") else ("--api-endpoint", field.vertex.endpoint)

    result = field.cli(*args, *flags, "--debug")

    assert result.code == code, result.err
    assert leaks(field.values, result, field.cli.folder, planted=before) == []
    assert leaks_in_requests(field.values, field.vertex) == []
    if code:
        assert "Traceback" in result.err  # --debug was heard: the search had something to search
    if "wait" in args or name == "submit":
        (create,) = field.vertex.creates
        values = PipelineJob.pb(create.pipeline_job).runtime_config.parameter_values
        carried = {name: values[name].string_value for name in field.canaries.parameter_values}
        assert carried == field.canaries.parameter_values


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("secrets/wandb.txt", "{0}\nsecond {0}"),
        ("secrets/wandb.txt", "<{0}>"),
        ("secrets/wandb.txt", " {0}"),
        ("secrets/git.env", "GIT_LOGIN={0} trailing words\nno assignment {0}"),
        ("secrets/git.env", "GIT_LOGIN='{0}"),
        ("secrets/git.env", 'GIT_LOGIN="{0}\n{0}"'),
        (".env", "WANDB_API_KEY {0}"),
        (".env", 'WANDB_API_KEY="{0}\nmore"'),
        (
            "run-kfp.toml",
            '[containers.1]\nname = "{0}"\nimage = "x y {0}"\nargs = ["{0}", 4]\n[secrets.{0}]\nvalue = "{0}"',
        ),
    ],
)
def test_a_value_that_is_refused_is_not_shown(cli: Cli, write: Write, name: str, text: str) -> None:
    value = canary("refused")
    write(name, text.replace("{0}", value))
    planted = dict.fromkeys(cli.folder.rglob("*"))

    result = cli(*MAIN, "--dry-run", "--debug", **SETTINGS)

    if name == "secrets/wandb.txt" and text.startswith("{0}\n"):
        assert "wandb_api_key" not in result.err  # its first line is a fine value
    assert result.code == 2
    if name != "run-kfp.toml":
        assert leaks((value,), result, cli.folder, planted=planted) == []


def test_the_search_finds_a_planted_one(field: Field, write: Write) -> None:
    """The control: a value typed into the registry is compiled into the file, and every search must say so."""
    value = canary("planted")
    write("planted.toml", f'[containers.1]\nname = "one"\nimage = "alpine"\nargs = ["--key", "{value}"]\n')
    planted = {field.cli.folder / "planted.toml": None}
    flags = ("--registry", "planted.toml", "-r", "1", "--api-endpoint", field.vertex.endpoint)

    file = field.cli(*flags, "--offline")
    assert leaks((value,), file, field.cli.folder, planted=planted) == [str(field.cli.folder / "pipeline.yaml")]
    assert leaks_in_requests((value,), field.vertex) == ["CreatePipelineJob"]
    (field.cli.folder / "pipeline.yaml").unlink()
    stdout = field.cli(*flags, "--compile-only", "-o", "-")
    assert leaks((value,), stdout, field.cli.folder, planted=planted) == ["stdout"]
    stderr = field.cli(*flags, "--compile-only", "-o", f"nowhere/{value}.yaml")
    assert leaks((value,), stderr, field.cli.folder, planted=planted) == ["stderr"]


@pytest.mark.parametrize("encode", [str, lambda value: urllib.parse.quote(f" {value}"), lambda value: f"x{value}"])
def test_the_search_sees_through_encodings(encode: object) -> None:
    value = canary("encoded")
    assert callable(encode)
    assert found_in(str(encode(value)), (value,)) == [value]
    for before in ("", "a", "ab", "abc"):
        encoded = base64.b64encode(f"{before}{value}z".encode()).decode()
        assert found_in(encoded, (value,)) == [value]
    assert found_in(canary("other"), (value,)) == []


# ── checks: everybody that they ask ──────────────────────────────────────────────────────────────────────────────────


def leaks_to_others(values: tuple[str, ...], world: World) -> list[str]:
    """Say to whom a value went that has no business there.

    The Git login may stand in the Authorization header to the Git remote; Vertex AI gets the values as parameters.
    """
    apis, tokens = world.apis.requests, world.hosts.token_requests
    texts = {
        "Google's APIs": [f"{one.method} {one.target} {one.headers} {one.body!r}" for one in apis],
        "the token service": [f"{one.target} {one.headers} {one.form}" for one in tokens],
        "image registries": [f"{one.host} {one.path} {one.query} {one.headers}" for one in world.images.requests],
        "the Git remote": [
            f"{one.target} { {name: text for name, text in one.headers.items() if name != 'Authorization'} }"
            for one in world.git_requests
        ],
        "the proxy": world.hosts.asked,
    }
    places = [place for place, seen in texts.items() if any(found_in(text, values) for text in seen)]
    return places + leaks_in_requests(values, world.vertex)


@dataclass(frozen=True)
class OpenField:
    """Canaries planted in one source, and the world that a check asks."""

    canaries: Canaries
    world: World
    key: Mapping[str, str]

    @property
    def values(self) -> tuple[str, ...]:
        return (*self.canaries.values, self.key["private_key"].splitlines()[1])

    def run(self, *args: str, code: int, **variables: str) -> Result:
        """Run a call, and search everything that it leaves behind, or that anybody has got to see."""
        cli = self.world.cli
        before = {
            path: None
            for path in cli.folder.rglob("*")
            if path.is_file() and found_in(path.read_bytes().decode("utf-8", "replace"), self.values)
        }
        result = cli(*args, "--debug", **variables)
        assert result.code == code, result.out + result.err
        assert leaks(self.values, result, cli.folder, planted=before) == []
        assert leaks_to_others(self.values, self.world) == []
        return result


@pytest.fixture
def open_field(
    request: pytest.FixtureRequest,
    google_hosts: GoogleHosts,
    account_key: dict[str, str],
    account_key_file: Path,
    folder: Path,
    write: Write,
) -> Iterator[OpenField]:
    canaries = Canaries()
    variables = plant(getattr(request, "param", "environment"), canaries, write)
    with right_world(google_hosts, account_key_file, folder, variables, canaries.token) as world:
        world.registry(git=True)
        yield OpenField(canaries, world, account_key)


@pytest.mark.parametrize("open_field", SOURCES, indirect=True)
def test_no_canary_where_everything_is_right(open_field: OpenField) -> None:
    world = open_field.world

    findings = open_field.run(*MAIN, "--pin", "--json", code=0).json["check"]["findings"]

    assert [one["code"] for one in findings if one["severity"] in ("error", "skipped")] == []
    assert len(world.vertex.creates) == 1

    assert len(world.apis.requests) > 8
    assert world.images.requests
    login = base64.b64encode(f"somebody:{open_field.canaries.token}".encode()).decode()
    assert {one.headers.get("Authorization") for one in world.git_requests} == {f"Basic {login}"}


@pytest.mark.parametrize(
    ("open_field", "call"),
    [
        *((source, ("check", *MAIN[:-1], "dataset_v21")) for source in SOURCES),
        *(
            ("flag", ("check", *MAIN[:-1], "dataset_v21", "--format", form))
            for form in Format
            if form is not Format.TEXT
        ),
        ("flag", (*MAIN, "--json")),
    ],
    indirect=["open_field"],
)
def test_no_canary_where_everybody_refuses_and_repeats_it(open_field: OpenField, call: tuple[str, ...]) -> None:
    world, canaries = open_field.world, open_field.canaries
    said = f"no: {canaries.git_login}, {urllib.parse.quote(canaries.wandb)}, {canaries.whylabs!r}"
    for service in ("storage", "iam", "cloudquotas", "serviceusage"):
        world.apis.fail(service, error_answer(HTTPStatus.FORBIDDEN, said))
    world.images.plan(HUB_AUTH, "/token", Reply.error(403, "DENIED", said))

    told = open_field.run(*call, code=3).out

    assert ("RK-GIT-TAG-TAKEN" in told) == ("dataset_v21" in call)
    assert "no: ***" in told, "their words are told, without the values"
    assert world.vertex.requests == []


@pytest.mark.parametrize("form", Format)
def test_no_canary_in_an_offline_check_with_mistakes(field: Field, form: Format) -> None:
    before = field.planted()
    wrong = (*MAIN[:-2], "-p", "unheard=1", "--bucket", "gs://b")
    result = field.cli("check", *wrong, "--offline", "--debug", "--format", form)
    assert result.code == 3
    assert "RK-PARAM-UNKNOWN" in result.out
    assert leaks(field.values, result, field.cli.folder, planted=before) == []


@pytest.mark.parametrize("args", [("explain", "RK-SECRET-WRITTEN"), ("machines",)])
def test_no_canary_in_what_looks_things_up(cli: Cli, args: tuple[str, ...]) -> None:
    canaries = Canaries()
    result = cli(*args, "--debug", **SETTINGS, **canaries.variables)
    assert result.code == 0
    assert leaks(canaries.values, result, cli.folder, planted={}) == []


ODD = """
[pipeline]
name = "odd"
[secrets.api_key]
env = "API_KEY"
[containers.1]
name = "first"
image = "team/first:1"
args = ["--key={0}", { secret = "api_key" }]
env = { KEY = "{0}" }
"""

ODD_IMAGES = (
    "team/{0}:1",
    "team/image:{0}",
    f"{ARTIFACTS}/test-project/{{0}}/image:1",
    "{0}.example.org/team/image:1",
    "https://user:{0}@example.org/image:1",
)


def test_a_value_written_into_the_registry_goes_nowhere(open_field: OpenField, write: Write) -> None:
    """Nor to an image registry, as the name of an image that it would be asked for."""
    value = canary("written")
    field = replace(open_field, canaries=replace(open_field.canaries, wandb=value))
    more = "".join(f'[containers.{n}]\nname = "c{n}"\nimage = "{one}"\n' for n, one in enumerate(ODD_IMAGES, 2))
    write("odd.toml", (ODD + more).replace("{0}", value))
    call = ("-r", "1-6", "-t", "v1", "--registry", "odd.toml")

    told = field.run("check", *call, code=3, API_KEY=value).out.splitlines()

    written = [line for line in told if line.startswith("error: RK-SECRET-WRITTEN: ")]
    for number, key in [(1, "args"), (1, "env"), *((number, "image") for number in range(2, 7))]:
        assert [line for line in written if f": containers.{number}.{key}" in line], (number, key, told)
    assert {one.path.split("/")[3] for one in field.world.images.requests if one.path.startswith("/v2/team")} == {
        "first"
    }
    field.run(*call, "--pin", code=2, API_KEY=value)
    field.run(*call, "--no-check", code=2, API_KEY=value)


@pytest.mark.parametrize("form", Format)
def test_values_in_odd_places_are_not_shown(open_field: OpenField, form: Format) -> None:
    field, wandb, login = open_field, open_field.canaries.wandb, open_field.canaries.git_login
    odd = ["-p", f"wandb_api_key={wandb}", "-p", f"unheard={wandb}", "-p", f"{wandb}=1", "-p", login, "-r", wandb]
    odd += ["--job-id", f"Job-{login}", "--label", f"Key={wandb}!", "--secrets-dir", f"nowhere/{wandb}"]

    asked = ("--offline", "--format", form)
    result = field.run("check", *MAIN, *odd, *asked, code=3, GOOGLE_APPLICATION_CREDENTIALS=field.values[-1])

    for code in ("RK-PARAM-UNKNOWN", "RK-JOB-ID", "RK-SELECTION", "RK-LOGIN-FILE"):
        assert code in result.out
    field.run("check", "-f", f"nowhere/{login}", "-t", "v1", *asked, code=3)
    field.run("check", *MAIN, *asked, "--ignore", wandb, code=2)  # told before anything was read


def test_a_value_in_a_finished_file_is_not_shown(open_field: OpenField, write: Write) -> None:
    field, value = open_field, canary("compiled")
    write("literal.toml", ODD.replace("{0}", value))
    compiled = field.world.cli("-r", "1", "--registry", "literal.toml", "--compile-only")
    assert compiled.code == 0, "a value that nobody knows for one"
    field = replace(field, canaries=replace(field.canaries, wandb=value))

    result = field.run("check", "-f", "pipeline.yaml", "--registry", "literal.toml", code=3, API_KEY=value)

    assert "error: RK-SECRET-WRITTEN: pipeline.yaml" in result.out


def test_a_login_of_docker_goes_to_its_registry_alone(open_field: OpenField, folder: Path) -> None:
    """It is no secret of a pipeline, so that no mask knows it: nothing may say it in the first place."""
    world = open_field.world
    password = canary("docker")
    auth = base64.b64encode(f"somebody:{password}".encode()).decode()
    docker = folder.parent / "docker"
    docker.mkdir()
    auths = {host: {"auth": auth} for host in ("https://index.docker.io/v1/", ARTIFACTS, "https://index.example.org")}
    (docker / "config.json").write_text(json.dumps({"auths": auths}), encoding="utf-8")
    world.images.add(HUB, "crispinnosidam/03-train-model", "latest", image(), public=False)
    world.images.plan(HUB, "/v2/sahilsakhuja/dermaid-versioning/manifests/latest", Reply.error(401, "UNAUTHORIZED", ""))

    result = world.cli("check", *MAIN, "--debug")

    assert leaks((password, auth), result, world.cli.folder, planted={}) == []
    with_login = {one.host for one in world.images.requests if found_in(str(one.headers), (password,))}
    assert with_login == {HUB_AUTH}
    assert leaks_to_others((password,), world) == ["image registries"]
    assert leaks_to_others(open_field.values, world) == []


def test_the_search_finds_what_was_sent_to_each(open_field: OpenField, write: Write) -> None:
    """The control: values that nobody knows for secrets reach everybody who is asked, and the search says so."""
    world = open_field.world
    value = canary("sent")
    write(
        "sent.toml",
        f"""
        [pipeline]
        name = "sent"
        [containers.1]
        name = "one"
        image = "team/{value}:1"
        args = [{{ param = "tag" }}, {{ secret = "git_login" }}]
        [containers.2]
        name = "two"
        image = "{value}.example.org/one:1"
        [secrets.git_login]
        env = "GIT_LOGIN"
        [check.git]
        remote = "{world.remote.replace("data", value)}"
        login = "git_login"
        """,
    )
    result = world.cli("check", "-r", "1-2", "-t", "v1", "--registry", "sent.toml", "--bucket", value)

    assert "RK-BUCKET-GONE" in result.out
    assert leaks_to_others((value,), world) == ["Google's APIs", "image registries", "the Git remote", "the proxy"]
    headers = [one for one in world.git_requests if found_in(str(one.headers), open_field.values)]
    assert headers, "a login in a header is seen, where it is not left out"
    account = f"{value[:28]}@test-project.iam.gserviceaccount.com"
    world.apis.accounts[account] = FakeAccount("test-project")
    world.cli("check", "-r", "1-2", "-t", "v1", "--registry", "sent.toml", "--service-account", account)
    assert any(value[:28].encode() in one.body for one in world.apis.requests), "in a body too"
