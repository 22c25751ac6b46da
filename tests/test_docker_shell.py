"""The docker-shell container in a real Docker Engine: built once, run through docker-shell.sh.

The caller is a user without rights, so that what is owned by the caller is not owned by root by
chance. The fakes of Vertex AI and of Google's token endpoint are reached through the host's network.
"""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

import dermaid
from conftest import killed_after_the_test
from dermaid import canary
from engine import Engine
from fakes.certs import write_key
from fakes.fixtures import EMAIL, PROJECT
from fakes.google_hosts import GoogleHosts

pytestmark = pytest.mark.engine

ROOT = Path(__file__).resolve().parent.parent
CHECKED_OUT = (
    *("Dockerfile", ".dockerignore", "docker-entrypoint.sh", "docker-shell.sh", "secrets.example"),
    *("pyproject.toml", "README.md", "LICENSE", "requirements.lock", "requirements-build.lock"),
    "src",
)
IMAGE = "docker-shell-test"
CALLER = 54321
"""A user and a group that nobody has."""
# Group 0 is that of the Engine's socket. Not Popen's own `user`, which makes it fork: gRPC, which runs in this process
# for the fakes, does not always survive that.
AS_CALLER = ("setpriv", f"--reuid={CALLER}", f"--regid={CALLER}", "--groups=0")
MAIN = ("run-kfp", *dermaid.MAIN)
SETTINGS = {**dermaid.SETTINGS, "NUM_GPU": "2"}


@dataclass(frozen=True)
class Built:
    """The image, and how it came about."""

    checkout: Path
    """A copy of the repository with things in it that must not get into the image."""
    canaries: list[str]
    seconds: float


@pytest.fixture(scope="module")
def ground() -> Iterator[Path]:
    """A folder that users other than root can reach, unlike those of pytest."""
    made = Path(tempfile.mkdtemp(prefix="docker-shell-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def built(engine: Engine, gcloud_base: str, ground: Path) -> Built:
    checkout = ground / "a checkout"
    checkout.mkdir()
    for name in CHECKED_OUT:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, checkout / name)
    canaries = []
    for place in (
        "secrets/wandb.txt",
        "git.env",
        ".env",
        "pipeline.yaml",
        ".git/config",
        "src/.env",
        "src/run_kfp/git.env",
        "src/run_kfp/secrets/wandb.txt",
    ):
        canaries.append(canary("context"))
        (checkout / place).parent.mkdir(parents=True, exist_ok=True)
        (checkout / place).write_text(canaries[-1])
    start = time.monotonic()
    engine.docker("build", "--build-arg", f"BASE={gcloud_base}", "--tag", IMAGE, checkout)
    return Built(checkout, canaries, time.monotonic() - start)


@dataclass(frozen=True)
class Shell:
    """docker-shell.sh of the checkout, called by `CALLER` in a work folder of its own."""

    engine: Engine
    base: str
    checkout: Path
    work: Path

    def __call__(
        self, *args: str, env: Mapping[str, str] | None = None, docker_args: str = ""
    ) -> subprocess.CompletedProcess[str]:
        process = self.start(*args, env=env, docker_args=docker_args)
        out, err = process.communicate(timeout=180)
        return subprocess.CompletedProcess(args, process.returncode, out, err)

    def start(
        self,
        *args: str,
        env: Mapping[str, str] | None = None,
        docker_args: str = "",
        terminal: int | None = None,
    ) -> subprocess.Popen[str]:
        """Start it; its input and output are `terminal`, or nothing and pipes."""
        return killed_after_the_test(
            subprocess.Popen(
                [*AS_CALLER, "sh", self.checkout / "docker-shell.sh", *args],
                cwd=self.work,
                env={
                    "PATH": os.environ["PATH"],
                    **self.engine.env(),
                    "RUN_KFP_BASE": self.base,
                    "RUN_KFP_IMAGE": IMAGE,
                    "RUN_KFP_DOCKER_ARGS": docker_args,
                    **(env or {}),
                },
                stdin=subprocess.DEVNULL if terminal is None else terminal,
                stdout=subprocess.PIPE if terminal is None else terminal,
                stderr=subprocess.PIPE if terminal is None else terminal,
                start_new_session=True,
                text=True,
            )
        )

    def give(self, path: Path) -> Path:
        """Make a file or folder the caller's."""
        for each in (path, *path.rglob("*")):
            os.chown(each, CALLER, CALLER)
        return path

    def secrets(self, key: Mapping[str, str] | None) -> dict[str, str]:
        """Fill the secrets folder of the work folder; returns the values that the run has to get."""
        values = {
            "wandb_api_key": canary("wandb"),
            "whylabs_api_key": canary("whylabs"),
            "git_login": f"https://someone:{canary('token')}",
        }
        folder = self.work / "secrets"
        folder.mkdir()
        (folder / "wandb.txt").write_text(values["wandb_api_key"] + "\n")
        (folder / "whylabs.txt").write_text(values["whylabs_api_key"] + "\n")
        (folder / "git.env").write_text(f"GIT_LOGIN={values['git_login']}\n")
        if key is not None:
            write_key(key, folder / "ac215-dermaid.json")
        self.give(folder)
        return values


@pytest.fixture
def shell(engine: Engine, gcloud_base: str, built: Built, ground: Path) -> Shell:
    work = Path(tempfile.mkdtemp(prefix="my project ", dir=ground))
    made = Shell(engine, gcloud_base, built.checkout, work)
    made.give(work)
    return made


def words_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What script and entrypoint said, without the builder's words."""
    return [line for line in done.stderr.splitlines() if line.startswith("docker-")]


# ── The image ────────────────────────────────────────────────────────────────────────────────────


def test_the_image(engine: Engine, built: Built, shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    """Not root's, labelled, bytecode compiled; its size and the time of the main command are told."""
    image = json.loads(engine.docker("image", "inspect", IMAGE).stdout)[0]
    assert image["Config"]["User"] == "10001:10001"
    labels = image["Config"]["Labels"]
    assert labels["org.opencontainers.image.title"] == "run-kfp"
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    base = json.loads(engine.docker("image", "inspect", shell.base).stdout)[0]

    uncompiled = (
        "import pathlib, importlib.util as u\n"
        "for p in pathlib.Path('/opt/run-kfp').rglob('site-packages/**/*.py'):\n"
        "    if not pathlib.Path(u.cache_from_source(p)).exists(): print(p)\n"
    )
    found = shell("python", "-c", uncompiled).stdout.split()
    # What is no module (a template, a test of a syntax error) cannot be compiled.
    assert len(found) < 5, found
    assert not [path for path in found if "/run_kfp/" in path or "/aiplatform" in path]

    timed = (
        "import subprocess as s, sys, time; b = time.monotonic(); s.run(sys.argv[1:], check=True); "
        "print(time.monotonic() - b)"
    )
    seconds = [float(shell("python", "-c", timed, *MAIN, "--compile-only").stdout.split()[-1]) for _ in range(3)]
    size, base_size = image["Size"] / 1e6, base["Size"] / 1e6
    with capsys.disabled():
        sys.stdout.write(
            f"\n  docker-shell image: {size:.0f} MB, of which {base_size:.0f} MB are the base; "
            f"built in {built.seconds:.0f} s; `run-kfp … --compile-only` in it: "
            f"{sorted(seconds)[1]:.2f} s (median of 3)\n"
        )


def test_a_change_of_our_code_reuses_every_layer_up_to_it(engine: Engine, gcloud_base: str, built: Built) -> None:
    source = built.checkout / "src/run_kfp/errors.py"
    before = source.read_text(encoding="utf-8")
    source.write_text(before + "# one more line\n", encoding="utf-8")
    done = engine.docker("build", "--build-arg", f"BASE={gcloud_base}", "--tag", f"{IMAGE}:changed", built.checkout)
    source.write_text(before, encoding="utf-8")
    steps = re.split(r"^Step \d+/\d+ : ", done.stdout, flags=re.MULTILINE)[1:]
    # Without what makes no layer in the classic builder, or is told without a word on the cache.
    layers = {
        step.splitlines()[0]: "---> Using cache" in step for step in steps if not step.startswith(("ARG", "FROM"))
    }
    code = next(i for i, layer in enumerate(layers) if layer.startswith("COPY src"))
    again = [layer for layer, cached in layers.items() if not cached]
    assert all(list(layers.values())[:code])
    assert any("requirements.lock" in layer for layer in list(layers)[:code])
    assert layers["COPY --from=dependencies /opt/run-kfp /opt/run-kfp"]
    assert [layer for layer in again if layer.startswith(("COPY", "RUN"))] == [
        "COPY src /src/src",
        *(layer for layer in layers if layer.startswith("RUN cd /src")),
        "COPY --from=code /code /opt/run-kfp",
    ]


def test_no_layer_holds_a_secret_a_cache_or_a_compiler(
    engine: Engine, gcloud_base: str, built: Built, ground: Path
) -> None:
    archive = ground / "image.tar"
    engine.docker("save", "--output", archive, IMAGE)
    of_base = json.loads(engine.docker("image", "inspect", gcloud_base).stdout)[0]["RootFS"]
    names: list[str] = []
    with tarfile.open(archive) as image:
        manifest = json.load(member(image, "manifest.json"))[0]
        config = member(image, manifest["Config"]).read()
        assert not found_in(config, built.canaries)
        for layer in manifest["Layers"][len(of_base["Layers"]) :]:
            with tarfile.open(fileobj=member(image, layer)) as files:
                for file in files:
                    names.append(file.name)
                    content = files.extractfile(file) if file.isfile() else None
                    if content is not None:
                        assert not found_in(content.read(), built.canaries), file.name
    archive.unlink()
    assert "opt/run-kfp/bin/run-kfp" in names
    unwanted = re.compile(
        r"\.whl$|(^|/)(gcc|cc|pip|hatchling|setuptools)(/|$)|^(root/\.cache|tmp/.|build|wheels|src|var/lib/apt)"
        r"|(^|/)(\.git|\.env|git\.env|pipeline\.yaml)$"
    )
    assert not [name for name in names if unwanted.search(name)]


def member(archive: tarfile.TarFile, name: str) -> tarfile.ExFileObject:
    found = archive.extractfile(name)
    assert isinstance(found, tarfile.ExFileObject), name
    return found


def found_in(content: bytes | str, canaries: list[str]) -> list[str]:
    data = content if isinstance(content, bytes) else content.encode()
    return [value for value in canaries if value.encode() in data]


def test_the_context_is_small_and_holds_no_secret(engine: Engine, busybox: str, built: Built) -> None:
    """Seen by a build that takes all of it."""
    recipe = built.checkout / "Dockerfile"
    before = recipe.read_text(encoding="utf-8")
    recipe.write_text(f"FROM {busybox}\nCOPY . /context\n", encoding="utf-8")
    engine.docker("build", "--tag", "context", built.checkout)
    recipe.write_text(before, encoding="utf-8")
    listed = engine.docker("run", "--rm", "--network", "none", "context", "find", "/context").stdout
    files = [line.removeprefix("/context").removeprefix("/") for line in listed.splitlines()]
    assert "src/run_kfp/cli.py" in files
    top = {file.partition("/")[0] for file in files} - {""}
    assert top == {*CHECKED_OUT} - {".dockerignore", "docker-shell.sh", "secrets.example"}
    held = engine.docker(
        *("run", "--rm", "--network", "none", "context"),
        *("grep", "-rlE", "|".join(built.canaries), "/context"),
        check=False,
    )
    assert (held.returncode, held.stdout) == (1, "")
    assert "grep" not in held.stderr


# ── The script ───────────────────────────────────────────────────────────────────────────────────


def test_the_main_command_compiles_without_secrets_and_without_waiting_for_gcloud(
    shell: Shell,
) -> None:
    done = shell(*MAIN, "--compile-only")
    assert done.returncode == 0, done.stderr
    assert [line for line in words_of(done) if "docker-entrypoint" in line] == []
    written = shell.work / "pipeline.yaml"
    assert (written.stat().st_uid, written.stat().st_gid) == (CALLER, CALLER)
    tasks = yaml.safe_load(written.read_text(encoding="utf-8"))["root"]["dag"]["tasks"]
    assert len(tasks) == 4
    assert done.stdout.split() == ["pipeline.yaml"]  # the builder's words are on stderr


@pytest.mark.parametrize(
    ("args", "code"),
    [(("sh", "-c", "exit 41"), 41), (("run-kfp", "-r", "99", "-t", "x", "--compile-only"), 2)],
)
def test_the_exit_code_comes_through(shell: Shell, args: tuple[str, ...], code: int) -> None:
    assert shell(*args).returncode == code


def test_a_terminal_gets_a_shell_with_completion(shell: Shell) -> None:
    controller, terminal = pty.openpty()
    process = shell.start(terminal=terminal)
    os.close(terminal)
    os.write(controller, b"complete -p run-kfp; pwd; exit 5\n")
    screen = b""
    # Linux: reading from a terminal that nobody holds any more is an error.
    try:
        while chunk := os.read(controller, 4096):
            screen += chunk
    except OSError:
        pass
    os.close(controller)
    assert process.wait(timeout=60) == 5
    text = screen.decode(errors="replace")
    assert re.search(r"complete .*-F \w+ run-kfp\r?$", text, re.MULTILINE), text[-2000:]
    assert re.search(r"^/work\r?$", text, re.MULTILINE)


def test_nothing_can_be_written_to_the_secrets(shell: Shell) -> None:
    shell.secrets(None)
    tried = "touch /secrets/new; echo x >> /secrets/git.env; touch /work/secrets/wandb.txt; exit 0"

    def refused() -> int:
        # As root, who is not kept out by the rights of files.
        return shell("sh", "-c", tried, docker_args="--user 0:0").stderr.count("Read-only file system")

    assert refused() == 3
    login = shell.work / "secrets/git.env"
    login.rename(shell.work / "git.env")
    assert refused() == 3
    assert sorted(path.name for path in (shell.work / "secrets").iterdir()) == ["wandb.txt", "whylabs.txt"]


def test_the_git_login_may_lie_beside_a_secrets_folder_beside_the_work_folder(shell: Shell) -> None:
    inside = Shell(shell.engine, shell.base, shell.checkout, shell.work / "project")
    values = shell.secrets(None)
    shell.give(shell.work / "secrets")
    (shell.work / "secrets/git.env").rename(shell.work / "git.env")
    inside.work.mkdir()
    shell.give(shell.work)
    assert inside("cat", "/secrets/git.env").stdout == f"GIT_LOGIN={values['git_login']}\n"
    done = inside(*MAIN, "--dry-run", env=SETTINGS)
    assert done.returncode == 0, done.stderr
    assert not found_in(done.stdout + done.stderr, [*values.values()])


# ── The entrypoint ───────────────────────────────────────────────────────────────────────────────


def environment_inside(google: GoogleHosts, shell: Shell) -> str:
    """Arguments with which the container reaches the fakes and trusts them."""
    ca_file = google.vertex.authority.ca_file
    shutil.copy(ca_file, shell.work / "ca.pem")
    shell.give(shell.work / "ca.pem")
    variables = {
        **google.environment(),
        "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE": str(ca_file),
    }
    return "--network host " + " ".join(
        f"--env {name}={value.replace(str(ca_file), '/work/ca.pem')}" for name, value in variables.items()
    )


def test_gcloud_is_logged_in_and_the_submission_arrives(
    shell: Shell, google_hosts: GoogleHosts, account_key: dict[str, str]
) -> None:
    values = shell.secrets(account_key)
    # The region comes from the work folder's own file.
    settings = {**SETTINGS}
    (shell.work / ".env").write_text(f'GCP_REGION="{settings.pop("GCP_REGION")}"\n')
    shell.give(shell.work / ".env")
    look = "gcloud auth list --format 'value(account,status)'; gcloud config get project; gcloud config get ai/region"
    done = shell(
        *("sh", "-c", f'"$@" && {look}', "-", *MAIN, "--no-check"),
        env=settings,
        docker_args=environment_inside(google_hosts, shell),
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert words_of(done) == []
    assert done.stdout.splitlines()[-3:] == [f"{EMAIL}\t*", PROJECT, "us-east1"]
    assert google_hosts.token_requests, "gcloud asked for no token"

    [create] = google_hosts.vertex.creates
    assert create.parent == f"projects/{PROJECT}/locations/us-east1"
    assert create.pipeline_job.service_account == SETTINGS["GCS_SERVICE_ACCOUNT"]
    given = create.pipeline_job.runtime_config.parameter_values
    assert {name: given[name] for name in values} == values
    assert given["tag"] == "dataset_v22"


def shown_of_the_running_container(engine: Engine) -> dict[str, str]:
    """What anyone on this machine can read of it, by the place where it stands."""
    [container] = engine.docker("ps", "--quiet").stdout.split()
    shown = {
        "docker inspect": engine.docker("inspect", container).stdout,
        "docker history": engine.docker("history", "--no-trunc", IMAGE).stdout,
        "docker image inspect": engine.docker("image", "inspect", IMAGE).stdout,
        "docker top": engine.docker("top", container, "-wweo", "pid,args").stdout,
        "docker logs": engine.docker("logs", container).stdout,
    }
    for path in (*Path("/proc").glob("[0-9]*/cmdline"), *Path("/proc").glob("[0-9]*/environ")):
        try:
            shown[str(path)] = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # ended meanwhile
            continue
    return shown


def test_nothing_shows_a_secret_while_it_runs(
    shell: Shell, google_hosts: GoogleHosts, account_key: dict[str, str], engine: Engine
) -> None:
    values = shell.secrets(account_key)
    canaries = [*values.values(), account_key["private_key"].splitlines()[1]]
    google_hosts.vertex.script("RUNNING")
    process = shell.start(
        *MAIN,
        "--no-check",
        *("--wait", "--poll-every", "0.5"),
        env=SETTINGS,
        docker_args=environment_inside(google_hosts, shell),
    )
    try:
        google_hosts.vertex.wait_for("GetPipelineJob", count=2, timeout=60)
        shown = shown_of_the_running_container(engine)
    finally:
        google_hosts.vertex.succeeds()
        out, err = process.communicate(timeout=60)
        sys.stderr.write(err)
    assert process.returncode == 0
    shown |= {"stdout": out, "stderr": err}

    # The control: what is looked through does show what is on command lines and in the environment.
    assert "dataset_v22" in shown["docker top"]
    assert SETTINGS["GCS_SERVICE_ACCOUNT"] in shown["docker inspect"]
    assert any("dataset_v22" in text for place, text in shown.items() if place.endswith("/cmdline"))
    assert not {place: found for place, text in shown.items() if (found := found_in(text, canaries))}


def test_what_is_missing_is_one_line_and_the_command_runs(shell: Shell, account_key: dict[str, str]) -> None:
    def said(docker_args: str = "") -> str:
        done = shell("echo", "ran", docker_args=docker_args)
        assert (done.returncode, done.stdout) == (0, "ran\n"), done.stderr[-2000:]
        [line] = words_of(done)
        return line

    secrets_folder = shell.work / "secrets"
    shutil.copytree(shell.checkout / "secrets.example", secrets_folder)
    shell.give(secrets_folder)
    assert "is still a placeholder" in said()

    key = secrets_folder / "ac215-dermaid.json"
    key.unlink()
    assert "no service account key at /secrets/ac215-dermaid.json" in said()

    shell.give(write_key(account_key, key))
    assert "gcloud could not log in" in said("--network none")
    # An empty file without the right to be executed stands where gcloud was.
    assert "no gcloud in this image" in said("--mount type=bind,source=/dev/null,target=/usr/bin/gcloud")

    os.chown(key, 0, 0)
    key.chmod(0o600)
    assert "/secrets/ac215-dermaid.json is not readable by user 54321" in said()
    os.chown(secrets_folder, 0, 0)
    secrets_folder.chmod(0o700)
    assert "the folder mounted at /secrets is not readable by user 54321" in said()
