"""No value of a secret turns up where it does not belong, in success and in failure, from whatever source it came."""

from __future__ import annotations

import base64
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from google.cloud.aiplatform_v1.types import CreatePipelineJobRequest, PipelineJob

from conftest import Cli, Result, Write
from dermaid import MAIN, SETTINGS, Canaries, canary
from fakes.vertex import FakeVertex


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
    }
    if request.param == "environment":
        variables |= canaries.variables
    elif request.param == "dotenv":
        write(".env", "".join(f"{name}={value}\n" for name, value in canaries.variables.items()))
    else:
        place = "secrets" if request.param == "folder" else "elsewhere"
        for name, text in canaries.files.items():
            write(f"{place}/{name}", text)
        variables |= {"RUN_KFP_SECRETS": place} if request.param == "flag" else {}
    return Field(canaries, vertex, Cli(folder, variables), account_key)


SUBMIT = MAIN
WAIT = (*MAIN, "--wait", "--poll-every", "0.01")


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

    file = field.cli(*flags)
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
