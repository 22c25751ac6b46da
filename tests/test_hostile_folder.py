"""A folder of a stranger with every trick in it, and a user with canaries who types each command of the docs there.

No canary arrives anywhere, no code of the folder runs, and nothing outside of it is written. The control takes the
judgment away, and the same search finds what then gets out.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from conftest import Cli, Result
from dermaid import canary
from fakes.fixtures import PROJECT
from fakes.google_hosts import GoogleHosts
from fakes.sockets import LOOPBACK, Listener
from fakes.vertex import FakeVertex
from online import World, right_world
from test_canaries import found_in

PROGRAM = Path(sys.executable).with_name("run-kfp")

# The names that a program finds first in the current folder, where it looks there.
MODULES = ("typer", "kfp", "rich", "google", "pydantic", "dotenv", "requests", "sitecustomize", "usercustomize")

CALLS: Mapping[str, Sequence[str]] = {
    "check": ("check", "-r", "1-4", "-t", "v1"),
    "check, json": ("check", "-r", "1-4", "-t", "v1", "--json"),
    "check, SARIF": ("check", "-r", "1-4", "-t", "v1", "--format", "sarif"),
    "check, offline": ("check", "-r", "1-4", "-t", "v1", "--offline"),
    "check of a file": ("check", "-f", "theirs.yaml", "-t", "v1"),
    "submit": ("-r", "1", "-r", "2", "-t", "v1"),
    "submit, unchecked": ("-r", "1-2", "-t", "v1", "--no-check", "--wait"),
    "submit, pinned": ("-r", "1-2", "-t", "v1", "--pin"),
    "submit a file": ("-f", "theirs.yaml", "-t", "v1", "--no-check"),
    "submit a factory": ("-r", "3", "-t", "v1", "--no-check"),
    "plan": ("-r", "1-2", "-t", "v1", "--dry-run"),
    "plan, json": ("-r", "1-2", "-t", "v1", "--dry-run", "--json"),
    "compile": ("-r", "1-2", "-t", "v1", "--compile-only"),
    "compile a factory": ("-r", "3", "--compile-only"),
    "list": ("list",),
    "list, json": ("list", "--json"),
    "machines": ("machines",),
    "explain": ("explain", "RK-GPU-COUNT"),
    "schema": ("schema",),
    "trust": ("trust",),
    "runs": ("runs",),
    "watch": ("watch",),
    "logs": ("logs",),
    "cancel": ("cancel",),
    "init": ("init",),
    "help": ("--help",),
    "help of a command": ("run", "--help"),
}


@dataclass
class Recorder:
    """A host that the folder names: it keeps every byte, and asks whoever comes for a login."""

    received: list[bytes] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def serve(self, connection: socket.socket) -> None:
        """Keep what comes, and answer each request with a wish for more."""
        while data := connection.recv(65536):
            with self._lock:
                self.received.append(data)
            connection.sendall(
                b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm="x"\r\nContent-Length: 0\r\n\r\n'
            )

    @property
    def text(self) -> str:
        """All of it."""
        with self._lock:
            return b"".join(self.received).decode("latin-1")


@dataclass
class Visit:
    """A user in a stranger's folder.

    Attributes:
        world: Google, image registries and a Git remote, as the user reaches them.
        theirs: a Vertex AI of the stranger.
        recorder: an HTTP server of the stranger.
        home: of the user.
        secrets: what must arrive nowhere, by where the user keeps it.
        before: the files of the home folder: their content and mode.
    """

    world: World
    theirs: FakeVertex
    recorder: Recorder
    home: Path
    secrets: Mapping[str, str]
    before: Mapping[Path, tuple[bytes, int]]

    @property
    def folder(self) -> Path:
        """The stranger's folder."""
        return self.world.cli.folder

    def type(self, *args: str, **variables: str) -> Result:
        """Start the program as a user does, and wait for its end."""
        # Without what the tests say in the user's name.
        environment = self.world.cli.environment(
            {"RUN_KFP_TRUST_HOSTS": "", "RUN_KFP_ALLOW_FACTORIES": "", **variables}
        )
        done = subprocess.run(
            [PROGRAM, *args],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def harm(self, result: Result) -> list[str]:
        """Say what went wrong: what got out, what ran, what was written outside."""
        values = tuple(self.secrets.values())
        places = {
            "the recorder": self.recorder.text,
            "the stranger's Vertex AI": "".join(f"{one.message!r}{one.metadata}" for one in self.theirs.requests),
            "Google's APIs": "".join(f"{one.target}{one.headers}{one.body!r}" for one in self.world.apis.requests),
            "image registries": "".join(f"{one.path}{one.query}{one.headers}" for one in self.world.images.requests),
            "the proxy": " ".join(self.world.hosts.asked),
            "stdout": result.out,
            "stderr": result.err,
        }
        harm = [f"{found_in(text, values)} in {place}" for place, text in places.items() if found_in(text, values)]
        harm += ["a login at the recorder"] if "authorization:" in self.recorder.text.lower() else []
        harm += ["a request to the stranger's Vertex AI"] if self.theirs.requests else []
        harm += [f"{path.name} ran" for path in self.folder.rglob("it-ran*")]
        after = contents(self.home)
        harm += [f"{path} was written" for path in after if after[path] != self.before.get(path)]
        harm += [f"{path} is gone" for path in self.before if path not in after]
        for path in self.folder.rglob("*"):
            if path.is_file() and not path.is_symlink() and found_in(path.read_bytes().decode("latin-1"), values):
                harm.append(f"a secret in {path.name}")
        return harm


def contents(folder: Path) -> dict[Path, tuple[bytes, int]]:
    """Return the files below a folder with content and mode; not what `run-kfp trust` keeps there."""
    return {
        path: (path.read_bytes(), path.stat().st_mode)
        for path in folder.rglob("*")
        if path.is_file() and "state" not in path.relative_to(folder).parts
    }


@pytest.fixture
def visit(
    google_hosts: GoogleHosts, account_key: dict[str, str], account_key_file: Path, folder: Path
) -> Iterator[Visit]:
    home = folder.parent / "home"
    secrets = {
        name: canary(name.lower())
        for name in ("AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "WANDB_API_KEY", "ssh", "git", "docker", "elsewhere")
    }
    for name, text in {
        ".ssh/id_rsa": f"{secrets['ssh']}\n",
        ".git-credentials": f"https://me:{secrets['git']}@github.com\n",
        ".netrc": f"machine 127.0.0.1 login me password {secrets['git']}\n",
        ".docker/config.json": json.dumps({"auths": {"registry.example.com": {"auth": secrets["docker"]}}}),
        ".config/gcloud/application_default_credentials.json": account_key_file.read_text(encoding="utf-8"),
        ".bashrc": "# mine\n",
        "keys/elsewhere.txt": f"{secrets['elsewhere']}\n",
    }.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text, encoding="utf-8")
    secrets["key"] = account_key["private_key"].splitlines()[1]
    recorder = Recorder()
    with (
        right_world(google_hosts, account_key_file, folder, {}, canary("token")) as world,
        FakeVertex(google_hosts.vertex.authority, google_hosts.vertex.accounts) as theirs,
        Listener(recorder.serve) as listener,
    ):
        kept = ("HTTPS_PROXY", "https_proxy", *google_hosts.vertex.environment())
        variables = {name: text for name, text in world.cli.variables.items() if name in kept}
        world.cli = Cli(
            folder,
            {
                **variables,
                "HOME": str(home),
                "DOCKER_CONFIG": str(home / ".docker"),
                "NO_PROXY": "",
                "DOCKER_HOST": f"unix://{folder}/no-engine.sock",
                **{name: secrets[name] for name in ("AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "WANDB_API_KEY")},
            },
        )
        lay_out(folder, home, theirs.endpoint, listener.port)
        yield Visit(world, theirs, recorder, home, secrets, contents(home))


def lay_out(folder: Path, home: Path, endpoint: str, port: int) -> None:
    """Write the stranger's folder."""
    theirs = f"http://{LOOPBACK}:{port}"
    files = {
        "run-kfp.toml": f"""
            [settings]
            project = "{PROJECT}"
            region = "us-east1"
            bucket = "test-bucket"
            service_account = "runner@{PROJECT}.iam.gserviceaccount.com"
            api_endpoint = "{endpoint}"
            [containers.1]
            name = "one"
            image = "{LOOPBACK}:{port}/team/$(touch it-ran-1)"
            command = ["one", "\\u001b]0;title\\u0007"]
            args = [{{ secret = "key" }}, {{ secret = "link" }}, {{ param = "stolen" }}]
            [containers.2]
            name = "two"
            image = "{LOOPBACK}:{port}/team/two:1"
            command = ["two"]
            args = [{{ secret = "wandb" }}, {{ param = "tag" }}]
            [containers.3]
            name = "three"
            factory = "parts:made"
            [containers.4]
            name = "four"
            factory = "os:abort"
            [params.stolen]
            env = "AWS_SECRET_ACCESS_KEY"
            [secrets.key]
            file = "id_rsa"
            [secrets.link]
            file = "linked.txt"
            [secrets.wandb]
            env = "WANDB_API_KEY"
            [check.endpoints]
            storage = "{theirs}"
            iam = "{theirs}"
            serviceusage = "{theirs}"
            oauth2 = "{theirs}"
            cloudresourcemanager = "{theirs}"
            aiplatform = "{theirs}"
            [check.git]
            remote = "{theirs}/data.git"
            login = "wandb"
            makes_tag = ["two"]
            """,
        ".env": (
            f"GOOGLE_APPLICATION_CREDENTIALS=credentials.json\nRUN_KFP_SECRETS={home}/.ssh\n"
            f"RUN_KFP_TRUST_HOSTS={LOOPBACK}\nRUN_KFP_ALLOW_FACTORIES=1\nHTTPS_PROXY={theirs}\nPYTHONPATH=.\n"
            f"DOCKER_CONFIG=.\nGCE_METADATA_HOST={LOOPBACK}:{port}\nXDG_STATE_HOME=.\nHOME=.\n"
        ),
        "credentials.json": json.dumps(
            {
                "type": "external_account",
                "audience": "//iam.googleapis.com/x",
                "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
                "token_url": f"{theirs}/token",
                "credential_source": {"file": str(home / ".ssh" / "id_rsa")},
            }
        ),
        "parts.py": "from pathlib import Path\nPath('it-ran-factory').touch()\n",
        ".git/config": f'[remote "origin"]\n\turl = {theirs}/data.git\n[core]\n\tfsmonitor = "touch it-ran-git"\n',
        "theirs.yaml": THEIRS.replace("PORT", str(port)),
    }
    for name in MODULES:
        files[f"{name}.py"] = f"open('it-ran-{name}', 'w')\n"
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(
            "\n".join(line.strip() for line in text.splitlines()) if name.endswith("toml") else text
        )
    (folder / "secrets").symlink_to(home / ".ssh")
    (folder / "pipeline.yaml").symlink_to(home / ".bashrc")
    (folder / ".run-kfp").symlink_to(home / "keys")


THEIRS = """
components:
  comp-one: {executorLabel: exec-one, inputDefinitions: {parameters: {wandb: {parameterType: STRING}}}}
deploymentSpec:
  executors:
    exec-one:
      container: {image: "127.0.0.1:PORT/team/one:1", command: [one], args: ["{{$.inputs.parameters['wandb']}}"]}
pipelineInfo: {name: theirs}
root:
  dag:
    tasks:
      one:
        componentRef: {name: comp-one}
        inputs: {parameters: {wandb: {componentInputParameter: wandb}}}
        taskInfo: {name: one}
  inputDefinitions: {parameters: {wandb: {parameterType: STRING}}}
schemaVersion: 2.1.0
sdkVersion: kfp-2.17.0
"""


@pytest.mark.parametrize("name", CALLS)
def test_nothing_gets_out_of_a_strangers_folder(visit: Visit, name: str) -> None:
    result = visit.type(*CALLS[name])

    assert visit.harm(result) == []
    assert result.code in (0, 2, 3, 4), result.err
    assert "Traceback" not in result.err
    assert "internal error" not in result.err


# Each by itself, so that none hides behind another that is refused first.
TRICKS: Mapping[str, Sequence[str]] = {
    "endpoints": ("check.endpoints",),
    "git": ("check.git",),
    "api_endpoint": ("settings.api_endpoint",),
    "credentials": (".env GOOGLE_APPLICATION_CREDENTIALS", "credentials.json"),
    "secrets folder": (".env RUN_KFP_SECRETS", "secrets.key"),
    "secret link": ("secrets.key",),
    "stolen variable": ("params.stolen",),
}


@pytest.mark.parametrize("call", [("check",), ("--no-check",), ("--dry-run",)])
@pytest.mark.parametrize("trick", TRICKS)
def test_no_trick_gets_anything_by_itself(visit: Visit, trick: str, call: Sequence[str]) -> None:
    keep_only(visit.folder, TRICKS[trick])

    result = visit.type(*call, "-r", "1-2", "-t", "v1")

    assert visit.harm(result) == []
    assert "internal error" not in result.err
    if trick in ("endpoints", "git"):
        assert call != ("check",) or "RK-TRUST-HOST" in result.out
    else:
        assert result.code in (2, 3)


def keep_only(folder: Path, kept: Sequence[str]) -> None:
    """Take every trick out of the folder but one: keys of the registry, variables of `.env`, files."""
    registry = tomllib.loads((folder / "run-kfp.toml").read_text(encoding="utf-8"))
    if "settings.api_endpoint" not in kept:
        del registry["settings"]["api_endpoint"]
    for key in ("endpoints", "git"):
        if f"check.{key}" not in kept:
            del registry["check"][key]
    del registry["containers"]["3"], registry["containers"]["4"], registry["secrets"]["link"]
    args = [{"secret": "key"}] if "secrets.key" in kept else [{"param": "stolen"}] if "params.stolen" in kept else ["x"]
    registry["containers"]["1"] |= {"image": "team/one:1", "command": ["one"], "args": args}
    registry["containers"]["2"] |= {"image": "team/two:1"}
    (folder / "run-kfp.toml").write_text(toml(registry), encoding="utf-8")
    lines = (folder / ".env").read_text(encoding="utf-8").splitlines()
    (folder / ".env").write_text("\n".join(line for line in lines if f".env {line.split('=')[0]}" in kept))
    for name in ("pipeline.yaml", ".run-kfp"):
        (folder / name).unlink()


def toml(registry: Mapping[str, Any]) -> str:
    """Write a registry as TOML: each value of a table as JSON, which inline tables are not."""

    def value(item: Any) -> str:
        if isinstance(item, Mapping):
            return "{" + ", ".join(f"{key} = {value(each)}" for key, each in item.items()) + "}"
        return f"[{', '.join(map(value, item))}]" if isinstance(item, list) else json.dumps(item)

    return "".join(f"{name} = {value(table)}\n" for name, table in registry.items())


@dataclass
class MetadataServer:
    """The metadata server of a machine of Google's: it gives a token to whoever asks for it."""

    token: str
    asked: list[str] = field(default_factory=list)

    def serve(self, connection: socket.socket) -> None:
        """Answer as documented: https://cloud.google.com/compute/docs/metadata/querying-metadata."""
        while data := connection.recv(65536):
            path = data.split()[1].decode().partition("?")[0]
            self.asked.append(path)
            answers: dict[str, Any] = {
                "/computeMetadata/v1/project/project-id": PROJECT,
                "/computeMetadata/v1/universe/universe-domain": "googleapis.com",
                "/computeMetadata/v1/instance/service-accounts/default/": {
                    "email": f"machine@{PROJECT}.iam.gserviceaccount.com",
                    "scopes": ["https://www.googleapis.com/auth/cloud-platform"],
                    "aliases": ["default"],
                },
            }
            answer = answers.get(path, "")
            if path.endswith("/token"):
                answer = {"access_token": self.token, "expires_in": 3600, "token_type": "Bearer"}
            body = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
            kind = b"application/text" if isinstance(answer, str) else b"application/json"
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nMetadata-Flavor: Google\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b"
                % (kind, len(body), body)
            )


@pytest.mark.parametrize("call", [("check",), ("--no-check",), ("check", "--json")])
@pytest.mark.parametrize("trick", ["endpoints", "api_endpoint", "git"])
def test_the_token_of_a_machine_goes_to_google_alone(visit: Visit, trick: str, call: Sequence[str]) -> None:
    keep_only(visit.folder, TRICKS[trick])
    (visit.home / ".config/gcloud/application_default_credentials.json").unlink()
    visit.before = contents(visit.home)
    server = MetadataServer(canary("machine"))

    with Listener(server.serve) as listener:
        here = f"{LOOPBACK}:{listener.port}"
        result = visit.type(
            *call, "-r", "1-2", "-t", "v1", NO_GCE_CHECK="", GCE_METADATA_HOST=here, GCE_METADATA_IP=here
        )

    visit.secrets = {**visit.secrets, "machine": server.token}
    harm = visit.harm(result)
    assert [words for words in harm if "in Google's APIs" not in words] == []
    assert "internal error" not in result.err
    if trick == "git" and call[0] == "check":
        # The search sees it where it may go.
        assert any(path.endswith("/token") for path in server.asked)
        assert harm != []


@pytest.mark.parametrize("words", ["run-kfp -r ", "run-kfp check -r o"])
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "pwsh"])
def test_completion_only_looks(visit: Visit, words: str, shell: str) -> None:
    count = str(len(words.split()) - (0 if words.endswith(" ") else 1))
    environment = {"COMP_WORDS": words, "COMP_CWORD": count, "_TYPER_COMPLETE_ARGS": words}
    environment["_TYPER_COMPLETE_WORD_TO_COMPLETE"] = ""
    result = visit.type(_RUN_KFP_COMPLETE=f"complete_{shell}", **environment)

    assert visit.harm(result) == []
    assert "touch" not in result.out
    assert "\x1b" not in result.out


def test_the_search_finds_what_the_old_rules_let_out(visit: Visit) -> None:
    """The control: with consent to everything, tokens go to the stranger's hosts, and code of the folder runs."""
    shutil.copy(visit.home / ".ssh" / "id_rsa", visit.folder / "id_rsa")
    consent = {"RUN_KFP_TRUST_HOSTS": LOOPBACK, "RUN_KFP_ALLOW_FACTORIES": "1"}
    (visit.folder / ".env").unlink()
    checked = visit.type("check", "-r", "1-2", "-t", "v1", **consent)
    assert "a login at the recorder" in visit.harm(checked)
    compiled = visit.type("-r", "3", "--compile-only", "-o", "made.yaml", **consent)
    assert "it-ran-factory ran" in visit.harm(compiled)
    (visit.home / ".bashrc").write_text("theirs", encoding="utf-8")
    assert f"{visit.home / '.bashrc'} was written" in visit.harm(checked)
