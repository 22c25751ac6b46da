"""The JSON Schema of a registry: it takes what the reader takes, and refuses the mistakes that a schema can know."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

import test_docs
import test_registry
from conftest import Cli
from run_kfp.registry_file import packaged_registry_text
from run_kfp.schema import SCHEMA_FILE, packaged_schema_text

ROOT = Path(__file__).resolve().parent.parent
SCHEMA = json.loads(packaged_schema_text())


def complaints(text: str) -> list[str]:
    """Say what a validator that knows nothing of run-kfp finds wrong."""
    return [error.message for error in Draft7Validator(SCHEMA).iter_errors(tomllib.loads(text))]


def parameters(test: Any) -> list[Any]:
    """Return the cases of a parametrized test."""
    (mark,) = test.pytestmark
    return list(mark.args[1])


def valid_registries() -> dict[str, str]:
    files = [*(ROOT / "tests" / "corpus" / "registries").glob("*.toml"), *(ROOT / "examples").glob("*/run-kfp.toml")]
    found = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in files}
    found["the packaged one"] = packaged_registry_text()
    for page, number, text in test_docs.EXAMPLES:
        if not text.startswith("# machines.toml"):
            whole = text if "containers" in tomllib.loads(text) else f"{test_docs.ONE}{text}"
            found[f"{test_docs.names(page)}-{number}"] = whole
    for number, text in enumerate(parameters(test_registry.test_what_is_right_is_taken)):
        found[f"right-{number}"] = text
    return found


VALID = valid_registries()


def test_it_is_a_schema() -> None:
    Draft7Validator.check_schema(SCHEMA)
    assert len(VALID) >= 50


@pytest.mark.parametrize("name", VALID)
def test_every_valid_registry_is_valid_by_the_schema(name: str) -> None:
    assert complaints(VALID[name]) == []


# Mistakes of the registry's tests that no schema can know: names that are declared elsewhere, or twice; what a JSON
# text in a string means; what a value that is a reference asks of another key.
BEYOND_A_SCHEMA = {
    "is also the name of container 1",
    "unknown param 'tga' → did you mean 'tag'?",
    'it is a param: write { param = "tag" }',
    "declare it as [secrets.key]",
    "the backend would evaluate",
    "requires entrypoint = [...]",
    "`env` does not accept 'A=b'",
    "to replace the image's ENTRYPOINT, write command",
    "containers.1.args.1: unknown param 'tga'",
    "containers.1.env.A: unknown param 'tga'",
    "containers.1.cpu: unknown param 'nope'",
    "a resource cannot depend on 'tag'",
    "duplicate: also declared in [params]",
}


def can_be_asked(text: str) -> bool:
    """Say whether a text is TOML, without a number that Python cannot write into the validator's message."""
    if "f" * 5000 in text:
        return False
    try:
        tomllib.loads(text)
    except ValueError:
        return False
    return True


WRONG = [case for case in parameters(test_registry.test_a_fault_is_told_with_its_place) if can_be_asked(case[0])]


@pytest.mark.parametrize(("text", "told"), WRONG)
def test_a_wrong_registry_is_wrong_by_the_schema_where_a_schema_can_know(text: str, told: str) -> None:
    assert bool(complaints(text)) is (told not in BEYOND_A_SCHEMA)


def test_each_mistake_beyond_a_schema_is_one_of_the_registry() -> None:
    assert {told for _, told in WRONG} >= BEYOND_A_SCHEMA


@pytest.mark.parametrize(
    "text",
    [
        '[settings]\nregion = "us-east1-b"\n',
        '[settings]\nbucket = "gs://b"\n',
        '[pipeline]\nname = "a-2"\n',
        '[check]\nendpoints = { storage = "http://example.com" }\n',
        '[check.git]\nremote = "https://login@example.com/a.git"\n',
        '[check.ignore]\nRK-QUOTA-DEFAULT = " "\n',
    ],
)
def test_forms_are_checked_too(text: str) -> None:
    assert complaints(test_registry.ONE + text) != []


def test_the_command_prints_it_and_init_writes_it_beside_the_registry(cli: Cli) -> None:
    printed = cli("schema")
    assert (printed.code, printed.out, printed.err) == (0, packaged_schema_text(), "")

    assert cli("init").code == 0
    first, *_ = (cli.folder / "run-kfp.toml").read_text(encoding="utf-8").splitlines()
    named = cli.folder / first.removeprefix("#:schema ")
    assert named == cli.folder / SCHEMA_FILE
    assert named.read_text(encoding="utf-8") == printed.out


def test_printing_it_loads_no_models(cli: Cli) -> None:
    words = [sys.executable, "-X", "importtime", "-m", "run_kfp", "schema"]
    done = subprocess.run(words, cwd=cli.folder, env=cli.environment({}), capture_output=True, text=True)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "run_kfp.schema" in loaded
    assert {"run_kfp.registry", "run_kfp.settings", "kfp"} & loaded == set()


# ── a language server ────────────────────────────────────────────────────────────────────────────────────────────────

TOMBI = shutil.which("tombi", path=Path(sys.executable).parent)


class LanguageServer:
    """Speaks the Language Server Protocol with a program: JSON-RPC behind a Content-Length."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._in, self._out = process.stdin, process.stdout
        self._last = 0

    def send(self, **message: Any) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode("utf-8")
        self._in.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self._in.flush()

    def _receive(self) -> dict[str, Any]:
        length = 0
        while line := self._out.readline().strip():
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        assert length, "the server has ended"
        message: dict[str, Any] = json.loads(self._out.read(length))
        return message

    def _until(self, what: str, value: object) -> dict[str, Any]:
        """Read to the message that has the value; the server's own questions are answered with nothing."""
        while True:
            message = self._receive()
            if "method" in message and "id" in message:
                self.send(id=message["id"], result=None)
            elif message.get(what) == value:
                return message

    def ask(self, method: str, params: Mapping[str, Any]) -> Any:
        """Send a request and return its result."""
        self._last += 1
        self.send(id=self._last, method=method, params=params)
        return self._until("id", self._last)["result"]

    def wait_for(self, method: str) -> None:
        """Wait until the server says something by itself."""
        self._until("method", method)


@contextmanager
def language_server(folder: Path, program: str) -> Iterator[LanguageServer]:
    process = subprocess.Popen(
        [program, "lsp", "--offline", "--no-cache"],
        cwd=folder,
        env={"HOME": str(folder), "PATH": ""},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield LanguageServer(process)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.skipif(TOMBI is None, reason="tombi is not installed: it has no wheel for some systems")
@pytest.mark.parametrize(
    ("table", "typed", "model", "key"),
    [
        ("[containers.9]", "side", "Container", "side_effects"),
        ("[settings]", "serv", "SettingsSection", "service_account"),
        ("[secrets.new_key]", "env_f", "SecretSource", "env_file"),
    ],
)
def test_an_editor_completes_a_key(cli: Cli, table: str, typed: str, model: str, key: str) -> None:
    assert TOMBI is not None
    assert cli("init").code == 0
    path = cli.folder / "run-kfp.toml"
    lines = path.read_text(encoding="utf-8").splitlines()
    if table == "[settings]":
        lines.insert(next(place for place, line in enumerate(lines) if line.startswith("[settings]")) + 1, typed)
    else:
        lines += [table, typed, ""]
    where = {"textDocument": {"uri": path.as_uri()}}

    with language_server(cli.folder, TOMBI) as server:
        server.ask("initialize", {"processId": None, "rootUri": cli.folder.as_uri(), "capabilities": {}})
        server.send(method="initialized", params={})
        document = {**where["textDocument"], "languageId": "toml", "version": 1, "text": "\n".join(lines)}
        server.send(method="textDocument/didOpen", params={"textDocument": document})
        server.wait_for("textDocument/publishDiagnostics")  # it reads a document while it answers other questions
        position = {"line": lines.index(typed), "character": len(typed)}
        offered = server.ask("textDocument/completion", {**where, "position": position})

    assert [offer["label"] for offer in offered] == [key]
    assert SCHEMA["definitions"][model]["properties"][key]["description"] in offered[0]["documentation"]["value"]
