"""The DermAID pipeline on this machine, from images to a model: four containers, a bucket, a Git host.

    python3 examples/dermaid/run.py                     the four steps as processes: Python 3.11 to 3.13, git and bash
    python3 examples/dermaid/run.py --engine docker     the same in containers; builds the images first
    python3 examples/dermaid/run.py --keep --tag TAG    another version beside those that are there
    python3 examples/dermaid/run.py --serve             the bucket and the Git host alone, to call run-kfp by hand

It installs what it needs with the hashes of lock files, makes the keys for this one call, and runs
`run-kfp -r 1 -r 2 -r 3 -r 4 -t TAG --local`. All that it makes is in build/dermaid and .venv of the checkout.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import dev  # before all else: it ends with words on a Python that is too old

# isort: split
import argparse
import contextlib
import hashlib
import importlib.util
import json
import os
import platform
import secrets
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from servers.git_server import GitServer, create_repository, git
from servers.object_store import ObjectStoreServer

HERE = Path(__file__).resolve().parent
FOLDER = dev.BUILD / "dermaid"
BUCKET = "dermaid-example"
REPOSITORY = "dermaid-data.git"
IMAGES = ("get-raw-data", "preprocess-data", "versioning", "train-model")
STEPS = ("-r", "1", "-r", "2", "-r", "3", "-r", "4")


@dataclass(frozen=True)
class Place:
    """A folder in which run-kfp can be called, and what its servers keep."""

    folder: Path

    @property
    def bucket(self) -> Path:
        """The objects of the bucket, as files."""
        return self.folder / "buckets" / BUCKET

    @property
    def repository(self) -> Path:
        """The bare repository of the Git host."""
        return self.folder / "git" / REPOSITORY

    @contextlib.contextmanager
    def serving(self, host: str) -> Iterator[None]:
        """Run the servers on loopback, and write the .env and the secrets that fit to them.

        Args:
            host: the name by which the steps reach this machine's loopback.
        """
        if not self.repository.exists():
            create_repository(self.repository)
        token = secrets.token_hex(20)
        git_server = GitServer(self.repository.parent, "dermaid", token)
        store = ObjectStoreServer(self.folder / "buckets")
        if not self.bucket.exists():
            store.store.create_bucket(BUCKET)
        settings = {
            "GCP_PROJECT": "dermaid-example",
            "GCS_BUCKET_NAME": BUCKET,
            "STORAGE_EMULATOR_HOST": f"http://{host}:{store.port}",
            "GIT_REPOSITORY": f"{host}:{git_server.port}/{REPOSITORY}",
            "WHYLABS_DEFAULT_ORG_ID": "org-example",
            "WHYLABS_DEFAULT_DATASET_ID": "model-1",
            "NUM_GPU": "0",
        }
        keys = self.folder / "secrets"
        keys.mkdir(mode=0o700, exist_ok=True)
        for file, text in {
            self.folder / ".env": "".join(f"{name}={value}\n" for name, value in settings.items()),
            keys / "git.env": f"GIT_LOGIN=http://dermaid:{token}\n",
            keys / "wandb.txt": secrets.token_hex(20) + "\n",
            keys / "whylabs.txt": secrets.token_hex(20) + "\n",
        }.items():
            file.write_text(text, encoding="utf-8")
        with git_server.running(), store.running():
            yield

    def tags(self) -> list[str]:
        """The tags of the Git host."""
        return git("tag", "--list", folder=self.repository).split()


def run_kfp_command() -> list[str]:
    """How run-kfp is called: with the Python that runs this if it is installed there, else in .venv, made now."""
    if importlib.util.find_spec("run_kfp") is not None:
        return [sys.executable, "-m", "run_kfp"]
    dev.environment(dev.RUN_LOCK)
    return [str(dev.script("run-kfp"))]


def process_path(folder: Path) -> str:
    """The PATH that makes this machine look like the images: an environment of `requirements.lock`, made once."""
    environment = folder / "venv"
    stamp = environment / "dermaid.stamp"
    locks = [HERE / "requirements-build.lock", HERE / "requirements.lock"]
    state = hashlib.sha256(b"".join([sys.version.encode(), *(lock.read_bytes() for lock in locks)])).hexdigest()
    scripts = environment / dev.SCRIPTS
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != state:
        dev.new_venv(environment)
        dev.install(scripts / "python", *locks)
        # In the images, tfrecord.py lies beside the programs that use it.
        (packages,) = environment.glob("lib/python*/site-packages")
        (packages / "dermaid.pth").write_text(f"{HERE / 'containers' / 'shared'}\n", encoding="utf-8")
        stamp.write_text(state, encoding="utf-8")
    return os.pathsep.join([str(scripts), str(HERE / "containers" / "shared"), os.environ.get("PATH", os.defpath)])


def build_images(python: str) -> None:
    """Build the five images from the image `python`; Docker's cache knows those that are there already.

    Raises:
        dev.Stop: there is no docker, or a build failed.
    """
    if shutil.which("docker") is None:
        raise dev.Stop("there is no docker command here; without --engine docker, the steps run as processes", code=4)
    builds = [("base", "containers/Dockerfile", ".", f"PYTHON={python}")]
    builds += [(name, f"containers/{name}/Dockerfile", f"containers/{name}", "") for name in IMAGES]
    for name, file, context, argument in builds:
        dev.say(f"docker build: dermaid/{name}:example …")
        command = ["docker", "build", "--file", file, "--tag", f"dermaid/{name}:example"]
        command += ["--build-arg", argument] if argument else []
        if platform.machine().lower() not in ("x86_64", "amd64"):  # run-kfp runs what Vertex AI would: linux/amd64
            command += ["--platform", "linux/amd64"]
        done = subprocess.run(
            [*command, context],
            cwd=HERE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode:
            raise dev.Stop("\n".join([*done.stdout.splitlines()[-40:], f"docker build ended with {done.returncode}"]))


def clean_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment without settings and keys of their own, which have no part in the example."""
    own = ("GCP_", "GCS_", "GIT_", "GOOGLE_", "NUM_GPU", "RUN_KFP_", "STORAGE_", "WANDB_", "WHYLABS_")
    return {**{name: value for name, value in os.environ.items() if not name.startswith(own)}, **extra}


def attached(command: Sequence[str], folder: Path, env: Mapping[str, str]) -> int:
    """Run a program on our terminal; gives its exit code. Ctrl-C is its own to handle, and we wait for its end."""
    before = signal.signal(signal.SIGINT, lambda *_: None)  # not SIG_IGN, which the program would inherit
    try:
        with subprocess.Popen(command, cwd=folder, env=env) as process:
            return process.wait()
    finally:
        signal.signal(signal.SIGINT, before)


def summary(place: Place, tag: str, seconds: float) -> None:
    """What came of it: shards, tags, accuracy, report."""
    shards = sorted((place.bucket / "tf_records").rglob("*.tfrecords"))
    metrics = json.loads((place.bucket / "models" / tag / "metrics.json").read_text(encoding="utf-8"))
    dev.say(f"\nDone in {seconds:.0f} s.")
    dev.say(f"  shards    {len(shards)} in {shown(place.bucket / 'tf_records')}")
    for shard in shards:
        dev.say(f"            {shard.relative_to(place.bucket)}  {shard.stat().st_size / 1000:.0f} kB")
    commit = git("rev-parse", "--short", f"{tag}^{{commit}}", folder=place.repository)
    dev.say(f"  Git tag   {tag} at {commit}; all tags: {', '.join(place.tags())}")
    dev.say(f"  accuracy  {metrics['accuracy']:.1%} of the test images; by chance {metrics['chance']:.1%}")
    dev.say(f"  model     {shown(place.bucket / 'models' / tag / 'model.npz')}")
    reports = sorted(place.folder.glob(".run-kfp/runs/*/report.html"), key=lambda path: path.stat().st_mtime)
    dev.say(f"  report    {shown(reports[-1]) if reports else 'none was written'}")


def shown(path: Path) -> str:
    """A path as a person in the current folder writes it."""
    return os.path.relpath(path)


def call(options: argparse.Namespace) -> int:
    """Do what the options say; gives the exit code."""
    if shutil.which("git") is None or shutil.which("bash") is None:
        raise dev.Stop("the example needs git and bash", code=2)
    folder: Path = options.folder.resolve()
    start = time.monotonic()
    program = run_kfp_command()
    extra = {}
    if options.engine == "docker":
        build_images(options.python_image)
    else:
        extra["PATH"] = process_path(folder)

    place = Place(folder)
    if not options.keep:
        for name in ("buckets", "git"):
            shutil.rmtree(folder / name, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    # On Linux, a container on the host's network has the host's loopback; Docker Desktop has a name for it.
    network = ["--docker-network", "host"] if options.engine == "docker" and sys.platform == "linux" else []
    host = "host.docker.internal" if options.engine == "docker" and not network else "127.0.0.1"
    local = ["--registry", str(HERE / "run-kfp.toml"), "--local", "--engine", options.engine, *network]
    with place.serving(host):
        if options.serve:
            path = f"PATH={shlex.quote(extra['PATH'])} " if extra else ""
            dev.say("\nThe bucket and the Git host run until Ctrl-C. In another terminal:\n")
            dev.say(f"cd {shlex.quote(str(folder))}")
            dev.say(f"{path}{shlex.join([*program, *STEPS, '-t', options.tag, *local])}")
            threading.Event().wait()
        if options.tag in place.tags():
            raise dev.Stop(f"the tag {options.tag} is there from the call before; choose another with --tag", code=2)
        command = [*STEPS, "-t", options.tag, *local, *options.run_kfp]
        dev.say(f"\n$ run-kfp {shlex.join(command)}")
        code = attached([*program, *command], folder, clean_environment(extra))
    if code == 0:
        summary(place, options.tag, time.monotonic() - start)
    return code


def main(argv: Sequence[str] | None = None) -> int:
    """Gives run-kfp's exit code; 1 or 2 where the example itself cannot go on, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="run.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", choices=["process", "docker"], default="process")
    parser.add_argument("--tag", default="dataset_v22", help="the Git tag that the data get (%(default)s)")
    parser.add_argument("--keep", action="store_true", help="go on with the bucket and the repository of the last call")
    parser.add_argument("--serve", action="store_true", help="start the servers, say how to call run-kfp, and wait")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where everything is kept (build/dermaid)")
    parser.add_argument("--python-image", default="python:3.12-slim", help="the images' base (%(default)s)")
    parser.add_argument("run_kfp", nargs="*", metavar="-- ARGS", help="more for run-kfp, such as -p images=300")
    options = parser.parse_args(argv)
    try:
        return call(options)
    except dev.Stop as stop:
        print(f"run.py: {stop}", file=sys.stderr, flush=True)
        return stop.code
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
