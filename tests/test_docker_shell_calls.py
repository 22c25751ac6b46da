"""How docker-shell.sh and docker-shell.bat call docker, seen by a stub in its place.

The batch file is interpreted by Wine's `cmd`; the stub is one C program, built for both systems.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import DEVNULL

import pytest

from conftest import Cli
from processes import await_end

ROOT = Path(__file__).resolve().parent.parent
STUB = Path(__file__).with_name("stub_docker.c")
KEY = "GOOGLE_APPLICATION_CREDENTIALS"


@dataclass(frozen=True)
class Outcome:
    """What a script did: its exit code, its words, and the calls of docker without `docker`."""

    code: int
    words: str
    calls: list[list[str]]

    @property
    def run(self) -> list[str]:
        """The arguments of `docker run`; it has to be the last call."""
        assert self.calls[-1][0] == "run", self.calls
        return self.calls[-1]

    def mounts(self) -> list[str]:
        return [value for name, value in zip(self.run, self.run[1:], strict=False) if name == "--mount"]


class Script:
    """One of the two scripts, in a checkout with a space in its path, with a stub docker in PATH."""

    def __init__(self, checkout: Path, stubs: Path) -> None:
        self.checkout = checkout
        self.stubs = stubs

    def __call__(self, *args: str, work: Path, env: Mapping[str, str] | None = None, docker: bool = True) -> Outcome:
        """Run the script in the folder `work` with `env` beside the least that it needs."""
        record = work.parent / "record"
        record.unlink(missing_ok=True)
        output = work.parent / "output"
        with output.open("wb") as words:  # no pipe: services that Wine starts would keep it open
            done = subprocess.run(
                self.argv(args),
                cwd=work,
                env={**self.base_env(record, docker=docker), **(env or {})},
                stdin=DEVNULL,
                stdout=words,
                stderr=words,
                timeout=60,
                check=False,
            )
        text = record.read_text(encoding="utf-8") if record.exists() else ""
        calls = [call.split("\x1f")[:-1] for call in text.split("\x1e")[:-1]]
        return Outcome(
            done.returncode,
            output.read_text(encoding="utf-8"),
            [[self.as_posix(word) for word in call] for call in calls],
        )

    def argv(self, args: Sequence[str]) -> list[str]:
        return ["sh", str(self.checkout / "docker-shell.sh"), *args]

    def base_env(self, record: Path, *, docker: bool) -> dict[str, str]:
        path = f"{self.stubs}:/usr/bin:/bin" if docker else str(self.tools_without_docker())
        return {"PATH": path, "STUB_RECORD": str(record)}

    def tools_without_docker(self) -> Path:
        """A folder with what the script calls, docker excepted."""
        folder = self.stubs.parent / "tools"
        if not folder.exists():
            folder.mkdir()
            for tool in ("sh", "dirname", "basename", "id"):
                (folder / tool).symlink_to(str(shutil.which(tool)))
        return folder

    def path(self, path: Path) -> str:
        """A path of this machine as the script is given it."""
        return str(path)

    def as_posix(self, word: str) -> str:
        return word


class BatchScript(Script):
    """docker-shell.bat under Wine, where / is the drive Z:."""

    def __init__(self, checkout: Path, stubs: Path, prefix: Path) -> None:
        super().__init__(checkout, stubs)
        self.prefix = prefix

    def argv(self, args: Sequence[str]) -> list[str]:
        return ["wine", self.path(self.checkout / "docker-shell.bat"), *args]

    def base_env(self, record: Path, *, docker: bool) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            **wine_env(self.prefix),
            "WINEPATH": self.path(self.stubs if docker else self.stubs.parent),
            "STUB_RECORD": self.path(record),
        }

    def path(self, path: Path) -> str:
        return "Z:" + str(path).replace("/", "\\")

    def as_posix(self, word: str) -> str:
        before, drive, path = word.partition("Z:")
        return before + path.replace("\\", "/") if drive else word


def wine_env(prefix: Path) -> dict[str, str]:
    return {
        "HOME": str(prefix.parent),
        "WINEPREFIX": str(prefix),
        "WINEDEBUG": "-all",
        "WINEARCH": "win64",
        "DISPLAY": "",
    }


def needed(command: str, package: str) -> str:
    """The path of a command; without it, what stands here is not shown, so the test fails in CI."""
    if path := shutil.which(command):
        return path
    reason = f"no {command}: apt-get install -y --no-install-recommends {package}"
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(f"NOT SHOWN, {reason}")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both scripts as a checkout on their systems has them."""
    folder = tmp_path_factory.mktemp("a checkout")
    shutil.copy(ROOT / "docker-shell.sh", folder)
    batch = (ROOT / "docker-shell.bat").read_bytes().replace(b"\r\n", b"\n")
    (folder / "docker-shell.bat").write_bytes(batch.replace(b"\n", b"\r\n"))
    return folder


@pytest.fixture(scope="module")
def shell(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Script:
    """docker-shell.sh."""
    stubs = tmp_path_factory.mktemp("unix") / "bin"
    stubs.mkdir()
    subprocess.run([needed("cc", "gcc libc6-dev"), "-o", stubs / "docker", STUB], check=True)
    return Script(checkout, stubs)


@pytest.fixture(scope="module")
def batch(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BatchScript]:
    """docker-shell.bat."""
    needed("wine", "wine wine64")
    compiler = needed("x86_64-w64-mingw32-gcc", "gcc-mingw-w64-x86-64-win32")
    folder = tmp_path_factory.mktemp("windows")
    stubs, prefix = folder / "bin", folder / "wine"
    stubs.mkdir()
    prefix.mkdir()
    for name in ("docker.exe", "powershell.exe"):
        subprocess.run([compiler, "-o", stubs / name, STUB], check=True)
    env = {"PATH": os.environ["PATH"], **wine_env(prefix)}
    # A server that stays: without it every script waits for one to start and to end.
    subprocess.run(["wineserver", "--persistent"], env=env, check=True, timeout=60)
    try:
        boot = ["wineboot", "--init"]
        subprocess.run(boot, env=env, check=True, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL, timeout=120)
        yield BatchScript(checkout, stubs, prefix)
    finally:
        subprocess.run(["wineserver", "--kill"], env=env, check=True, timeout=60)


@pytest.fixture(params=["sh", "bat"])
def script(request: pytest.FixtureRequest) -> Script:
    """Each of the two."""
    found: Script = request.getfixturevalue({"sh": "shell", "bat": "batch"}[request.param])
    return found


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A work folder with a space in its path, and nothing in or beside it."""
    folder = tmp_path / "my project"
    folder.mkdir()
    return folder


def with_secrets(folder: Path, *, login: bool = True) -> Path:
    """Make a secrets folder with all files, the Git login excepted where said."""
    folder.mkdir(parents=True)
    for name in ("ac215-dermaid.json", "wandb.txt", "whylabs.txt", *(["git.env"] if login else [])):
        (folder / name).touch()
    return folder


def touch(path: Path) -> Path:
    path.touch()
    return path


def readonly(source: Path, target: str) -> str:
    return f"type=bind,source={source},target={target},readonly"


@dataclass(frozen=True)
class Case:
    """A situation in which both scripts have to make the same calls."""

    args: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    paths: Mapping[str, str] = field(default_factory=dict)
    """Variables that hold a path below the work folder's parent."""
    prepare: Callable[[Path], object] = lambda work: None


COMMAND = ("run-kfp", "-r", "1", "-r", "2", "-r", "3", "-r", "4", "-t", "dataset_v22")
CASES = {
    "shell, no secrets": Case(),
    "command": Case(COMMAND, prepare=lambda work: with_secrets(work / "secrets")),
    "arguments": Case(("run-kfp", "-p", "note=two words", "-t", "x;y", "--label", "a=b")),
    "terminal": Case(env={"STUB_TERMINAL": "1"}),
    "settings": Case(
        env={
            "GCP_PROJECT": "p 1",
            "GCP_REGION": "us-east1",
            "GCS_BUCKET_NAME": "b",
            "GCS_SERVICE_ACCOUNT": "a@b",
            "NUM_GPU": "2",
            "WHYLABS_DEFAULT_ORG_ID": "org-1",
            "WHYLABS_DEFAULT_DATASET_ID": "model-1",
            "NO_COLOR": "1",
            "RUN_KFP_REGISTRY": "run-kfp.toml",
            "UNRELATED": "1",
        }
    ),
    "secrets beside the work folder": Case(prepare=lambda work: with_secrets(work.parent / "secrets")),
    "login beside the secrets": Case(
        prepare=lambda work: (with_secrets(work / "secrets", login=False), touch(work / "git.env"))
    ),
    "login beside the secrets, outside": Case(
        prepare=lambda work: (
            with_secrets(work.parent / "secrets", login=False),
            touch(work.parent / "git.env"),
        )
    ),
    "SECRETS_DIR": Case(
        paths={"SECRETS_DIR": "else where/keys"},
        prepare=lambda work: (
            with_secrets(work / "secrets"),
            with_secrets(work.parent / "else where/keys"),
        ),
    ),
    "SECRETS_DIR inside": Case(
        paths={"SECRETS_DIR": "my project/conf/keys"},
        prepare=lambda work: with_secrets(work / "conf/keys"),
    ),
    "key of its own": Case(
        paths={KEY: "key.json"}, prepare=lambda work: touch(work.parent / "key.json")
    ),
    "image, base, more arguments": Case(
        ("true",),
        env={
            "RUN_KFP_IMAGE": "registry.example/kfp:1",
            "RUN_KFP_BASE": "our-base:2",
            "RUN_KFP_DOCKER_ARGS": "--network host --env A=b",
        },
    ),
}  # fmt: skip  # a case a line where it fits: they are read side by side


@pytest.mark.parametrize("name", CASES)
def test_both_scripts_make_the_same_calls(name: str, shell: Script, batch: Script, work: Path) -> None:
    case = CASES[name]
    case.prepare(work)

    def outcome(script: Script) -> Outcome:
        paths = {key: script.path(work.parent / path) for key, path in case.paths.items()}
        return script(*case.args, work=work, env={**case.env, **paths})

    on_unix, on_windows = outcome(shell), outcome(batch)
    assert on_unix.code == on_windows.code == 0, (on_unix, on_windows)
    assert on_unix.calls[:-1] == on_windows.calls[:-1]
    image = case.env.get("RUN_KFP_IMAGE", "run-kfp")
    unix_options, unix_command = split(on_unix.run, image)
    windows_options, windows_command = split(on_windows.run, image)
    assert unix_command == windows_command == list(case.args)
    # The batch file cannot have a caller's id; a pipe is no terminal whatever the stub says.
    caller = f"--user {os.getuid()}:{os.getgid()}"
    assert caller in unix_options
    unix_options.remove(caller)
    if "STUB_TERMINAL" in case.env:
        windows_options.remove("--interactive")
        windows_options.remove("--tty")
    assert unix_options == windows_options


def split(run: list[str], image: str) -> tuple[list[str], list[str]]:
    """The options of a `docker run`, sorted, each with its value; and the command after the image."""
    end = run.index(image)
    options: list[str] = []
    for word in run[1:end]:
        if word.startswith("-"):
            options.append(word)
        else:
            options[-1] += f" {word}"
    return sorted(options), run[end + 1 :]


def test_the_calls(script: Script, work: Path) -> None:
    """The whole of one call, so that two scripts with the same fault do not pass."""
    secrets = with_secrets(work / "secrets", login=False)
    (work / "git.env").touch()
    outcome = script(*COMMAND, work=work, env={"GCP_PROJECT": "p", "STUB_EXIT_run": "41"})
    assert outcome.code == 41
    assert outcome.calls[:-1] == [
        ["info", "--format", "{{.SecurityOptions}}"],
        ["build", "--tag", "run-kfp", str(script.checkout)],
    ]
    options, command = split(outcome.run, "run-kfp")
    assert command == list(COMMAND)
    expected = [
        "--rm",
        "--init",
        "--env GCP_PROJECT",
        "--env RUN_KFP_SECRETS=/secrets",
        "--tmpfs /secrets:ro",
        f"--mount type=bind,source={work},target=/work",
        *(f"--mount {readonly(path, f'/secrets/{path.name}')}" for path in secrets.iterdir()),
        f"--mount {readonly(work / 'git.env', '/secrets/git.env')}",
        f"--mount {readonly(secrets, '/work/secrets')}",
        f"--mount {readonly(work / 'git.env', '/work/git.env')}",
    ]
    if not isinstance(script, BatchScript):
        expected.append(f"--user {os.getuid()}:{os.getgid()}")
    assert options == sorted(expected)


def test_in_a_rootless_docker_the_caller_is_root_inside(shell: Script, work: Path) -> None:
    outcome = shell("true", work=work, env={"STUB_SECURITY": "[name=seccomp name=rootless]"})
    assert outcome.run[outcome.run.index("--user") + 1] == "0:0"


def test_a_secret_of_the_environment_is_pointed_to_its_file_and_not_passed(script: Script, work: Path) -> None:
    (work / "secrets").mkdir()
    env = {name: f"value-of-{name}" for name in ("WANDB_API_KEY", "WHYLABS_API_KEY", "GIT_LOGIN")}
    outcome = script(work=work, env=env)
    assert outcome.code == 0
    lines = outcome.words.splitlines()
    for name, file in (
        ("WANDB_API_KEY", "wandb.txt"),
        ("WHYLABS_API_KEY", "whylabs.txt"),
        ("GIT_LOGIN", "git.env"),
    ):
        assert [line for line in lines if line.startswith(f"docker-shell: {name} ") and file in line]
        assert not [word for word in outcome.run if name in word]
    assert "value-of" not in outcome.words + str(outcome.calls)


def test_a_missing_docker_is_one_line(script: Script, work: Path) -> None:
    outcome = script("true", work=work, docker=False)
    assert (outcome.code, outcome.calls) == (2, [])
    assert outcome.words.count("\n") == 1
    assert "docker not found" in outcome.words


def test_a_daemon_that_does_not_answer_is_one_line(script: Script, work: Path) -> None:
    outcome = script("true", work=work, env={"STUB_EXIT_info": "1"})
    assert outcome.code == 2
    assert [call[0] for call in outcome.calls] == ["info"]
    assert outcome.words.count("\n") == 1
    assert "the Docker daemon does not answer" in outcome.words


def test_a_build_that_fails_runs_nothing(script: Script, work: Path) -> None:
    outcome = script("true", work=work, env={"STUB_EXIT_build": "1"})
    assert outcome.code == 2
    assert [call[0] for call in outcome.calls] == ["info", "build"]
    assert "the image was not built" in outcome.words


def test_no_secrets_folder_is_one_line_and_goes_on(script: Script, work: Path) -> None:
    outcome = script("true", work=work)
    assert outcome.code == 0
    assert outcome.words.count("\n") == 1
    assert "no secrets folder" in outcome.words
    assert "secrets.example" in outcome.words
    assert len(outcome.mounts()) == 1


def test_a_secrets_dir_that_is_not_there_stops(script: Script, work: Path) -> None:
    with_secrets(work / "secrets")
    outcome = script("true", work=work, env={"SECRETS_DIR": script.path(work / "sekrets")})
    assert outcome.code == 2
    assert outcome.words.count("\n") == 1
    assert "SECRETS_DIR is not a folder" in outcome.words


def test_a_registry_outside_the_work_folder_stops(script: Script, work: Path) -> None:
    outcome = script("true", work=work, env={"RUN_KFP_REGISTRY": script.path(work.parent / "r.toml")})
    assert outcome.code == 2
    assert "RUN_KFP_REGISTRY must be in the current folder" in outcome.words


def test_a_key_that_is_not_there_is_said(script: Script, work: Path) -> None:
    outcome = script("true", work=work, env={KEY: script.path(work / "no.json")})
    assert outcome.code == 0
    assert f"{KEY} is not a file" in outcome.words


def test_a_path_with_a_comma_stops(script: Script, tmp_path: Path) -> None:
    folder = tmp_path / "a,b"
    folder.mkdir()
    outcome = script("true", work=folder)
    assert outcome.code == 2
    assert "comma" in outcome.words
    assert "run" not in [call[0] for call in outcome.calls]


def test_the_examples_of_secrets_are_refused_as_values(cli: Cli) -> None:
    done = cli(
        *("-r", "1-4", "-t", "v1", "--dry-run", "--secrets-dir", ROOT / "secrets.example"),
        GCP_PROJECT="test-project",
        GCS_BUCKET_NAME="test-bucket",
        GCS_SERVICE_ACCOUNT="runner@test-project.iam.gserviceaccount.com",
        WHYLABS_DEFAULT_ORG_ID="org-1",
        WHYLABS_DEFAULT_DATASET_ID="model-1",
    )
    assert done.code == 2
    refused = [line for line in done.err.splitlines() if "is still a placeholder" in line]
    for name in ("wandb.txt", "whylabs.txt", "git.env"):
        assert [line for line in refused if f"secrets.example/{name}" in line], done.err


def test_the_shell_scripts_are_clean() -> None:
    shellcheck = needed("shellcheck", "shellcheck")
    scripts = [ROOT / "docker-shell.sh", ROOT / "docker-entrypoint.sh"]
    done = subprocess.run(
        [shellcheck, "--shell=sh", *scripts],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_a_search_path_of_folders_leads_nowhere_else(shell: Script, work: Path) -> None:
    """With CDPATH, `cd secrets` goes to another folder of that name, and prints where."""
    mine = with_secrets(work.parent / "mine")
    other = with_secrets(work.parent / "others" / "mine")

    outcome = shell(work=work, env={"SECRETS_DIR": "../mine", "CDPATH": str(work.parent / "others")})
    within = shell(work=work.parent, env={"SECRETS_DIR": "mine", "CDPATH": str(other.parent)})

    assert outcome.code == within.code == 0
    for found in (outcome, within):
        assert readonly(mine, "/secrets") in found.mounts()


@pytest.mark.parametrize("name", ["-", "-P", "--help", "-e"])
def test_names_that_begin_with_a_dash(shell: Script, work: Path, name: str) -> None:
    folder = with_secrets(work / name)
    key = touch(work / name / f"{name}.json")

    outcome = shell(work=work, env={"SECRETS_DIR": name, KEY: f"{name}/{key.name}"})

    assert outcome.code == 0, outcome.words
    assert readonly(folder, "/secrets") in outcome.mounts()
    assert readonly(key, "/credentials/key.json") in outcome.mounts()


def test_an_image_that_would_be_an_option(shell: Script, work: Path) -> None:
    outcome = shell(work=work, env={"RUN_KFP_IMAGE": "--privileged"})

    assert outcome.code == 2
    assert "RUN_KFP_IMAGE is not the name of an image: --privileged" in outcome.words
    assert outcome.calls == []


def test_a_glob_is_for_docker(shell: Script, work: Path) -> None:
    for name in ("a.txt", "b.txt"):
        touch(work / name)

    outcome = shell(work=work, env={"RUN_KFP_DOCKER_ARGS": "--env A=* --label *.txt [ab].txt ?.txt"})

    at = outcome.run.index("A=*")
    assert outcome.run[at - 1 : at + 5] == ["--env", "A=*", "--label", "*.txt", "[ab].txt", "?.txt"]


# Hears no SIGTERM, nor does what it starts; both hold its output.
HANGING = """#!/bin/sh
trap "" TERM
sh -c 'trap "" TERM; echo $$ > "$PIDS/child"; while :; do sleep 1; done' &
echo $$ > "$PIDS/gcloud"
while :; do sleep 1; done
"""


def test_a_gcloud_that_hangs_ends_with_its_children_and_the_command_runs(tmp_path: Path) -> None:
    """The entrypoint with a secrets folder of this test, and less patience; as it is, it waits 17 + 2 seconds."""
    text = (ROOT / "docker-entrypoint.sh").read_text(encoding="utf-8")
    assert "GCLOUD_SECONDS=20 " in text
    script = tmp_path / "entrypoint.sh"
    script.write_text(text.replace("GCLOUD_SECONDS=20 ", "GCLOUD_SECONDS=4 ").replace("/secrets", str(tmp_path)))
    gcloud = tmp_path / "bin" / "gcloud"
    gcloud.parent.mkdir()
    gcloud.write_text(HANGING)
    gcloud.chmod(0o755)
    (tmp_path / "ac215-dermaid.json").write_text("{}")

    done = subprocess.run(
        ["sh", script, "echo", "the command"],
        env={"PATH": f"{gcloud.parent}:/usr/bin:/bin", "PIDS": str(tmp_path)},
        cwd=tmp_path,
        stdin=DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (done.returncode, done.stdout) == (0, "the command\n")
    assert "gcloud could not log in" in done.stderr
    assert "within 4 s" in done.stderr
    for name in ("gcloud", "child"):
        await_end(int((tmp_path / name).read_text()))
