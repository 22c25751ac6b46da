"""The commands of this repository, for a fresh machine with Python 3.11 to 3.13 and git.

    python3 dev.py demo     install, compile the four-container pipeline, show its graph and plan
    python3 dev.py test     install, then run every check and all tests (`-- ARGS` go to pytest)
    python3 dev.py bench    run the benchmarks (`-- ARGS` go to each of them)
    python3 dev.py wheel    build the wheel and compare what it holds with the sources
    python3 dev.py lock     write the lock files anew (`--upgrade`: with newer versions)

It needs nothing but the standard library. What it installs goes into .venv, with the versions and
hashes of the lock files; everything else that it makes goes into build/.
"""

import sys

# This stands before all other imports and definitions, and the file keeps to the syntax of
# Python 3.6, so that an older Python comes as far as here.
if not (3, 11) <= sys.version_info[:2] <= (3, 13):
    from shutil import which

    _found = [name for name in ("python3.13", "python3.12", "python3.11") if which(name)]
    _next = f"Try: {_found[0]} dev.py" if _found else "Please install one of them."
    sys.stderr.write(f"run-kfp needs Python 3.11, 3.12 or 3.13; this is {sys.version}\n{_next}\n")
    sys.exit(2)

import argparse
import hashlib
import importlib.util
import io
import json
import os
import secrets
import shlex
import shutil
import subprocess
import time
import tomllib
import venv
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent
BUILD = ROOT / "build"
VENV = ROOT / ".venv"
SCRIPTS = "Scripts" if os.name == "nt" else "bin"
STAMP = VENV / "dev.json"  # written after the last install and removed before the next one

BUILD_LOCK = ROOT / "requirements-build.lock"  # what builds the packages that come as source
RUN_LOCK = ROOT / "requirements.lock"  # what the program needs
DEV_LOCK = ROOT / "requirements-dev.lock"  # that and what the checks and tests need
UV = "uv==0.13.9"  # writes the locks; another version may write them in another form

FANCY = sys.stdout.isatty() and "NO_COLOR" not in os.environ


class Stop(Exception):
    """Ends the program with these words and exit code."""

    def __init__(self, words: str, code: int = 1) -> None:
        super().__init__(words)
        self.code = code


# ── the commands ──────────────────────────────────────────────────────────────────────────────────


def demo() -> None:
    """The main job on an example project: nothing leaves this machine after the install."""
    environment(RUN_LOCK)
    folder = BUILD / "demo"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "secrets").mkdir(parents=True)
    for name, text in {
        "secrets/wandb.txt": secrets.token_hex(20),
        "secrets/whylabs.txt": secrets.token_hex(20),
        "secrets/git.env": f"GIT_LOGIN=https://demo-user:{secrets.token_hex(20)}",
        ".env": "WHYLABS_DEFAULT_ORG_ID=org-demo\nWHYLABS_DEFAULT_DATASET_ID=model-1",
    }.items():
        (folder / name).write_text(text + "\n", encoding="utf-8")

    # The caller's own settings and keys have no part in it.
    own = ("GCP_", "GCS_", "GIT_LOGIN", "NUM_GPU", "RUN_KFP_", "WANDB_", "WHYLABS_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    job = ["run-kfp", "-r", "1", "-r", "2", "-r", "3", "-r", "4", "-t", "dataset_v22"]
    example = ["--project", "demo-project", "--region", "us-east1", "--bucket", "demo-bucket"]
    account = ["--service-account", "runner@demo-project.iam.gserviceaccount.com"]
    say(f"in {folder.relative_to(ROOT)}, with made-up settings and throw-away secrets:")
    for command in ([*job, "--compile-only"], [*job, *example, *account, "--dry-run"]):
        say(f"\n$ {shlex.join(command)}", dim=True)
        code = run([script(command[0]), *command[1:]], cwd=folder, env=env)
        if code:
            raise Stop(f"run-kfp ended with exit code {code}")
    program = script("run-kfp").relative_to(ROOT)
    say(f"\nNothing was submitted. The pipeline is in {folder.relative_to(ROOT)}/pipeline.yaml.")
    say(f"Next: `{program} init` in a folder of your own, or the README's “First hour”.")


def test(pytest_args: Sequence[str]) -> None:
    """Every check and all tests; one that fails does not hide the others."""
    environment(DEV_LOCK)
    short = ["--output-format", "concise"]
    checks: dict[str, Callable[[], int]] = {
        "ruff check": lambda: run([script("ruff"), "check", *short, "."]),
        "ruff format": lambda: run([script("ruff"), "format", "--check", *short, "."]),
        "mypy": lambda: run([script("mypy")]),
        "lint-imports": lambda: run([script("lint-imports"), "--no-logo"]),
        "wheel": wheel,
        "pytest": lambda: run([script("pytest"), *pytest_args]),
    }
    lines, failed = [], 0
    for name, check in checks.items():
        say(f"\n── {name} " + "─" * (60 - len(name)))
        start = time.monotonic()
        try:
            ok = check() == 0
        except Stop as stop:
            say(str(stop))
            ok = False
        failed += not ok
        lines.append(f"{'ok  ' if ok else 'FAIL'}  {name:<14}{time.monotonic() - start:7.1f} s")
    say("\n── summary " + "─" * 53 + "\n" + "\n".join(lines))
    if failed:
        raise Stop(f"{failed} of {len(checks)} checks failed")


def bench(args: Sequence[str]) -> None:
    """Each `benchmarks/bench_*.py` in turn."""
    environment(DEV_LOCK)
    files = sorted((ROOT / "benchmarks").glob("bench_*.py"))
    # Times are those of a user, whose Python keeps its bytecode. The tests' fakes are the far side.
    env = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    failed = [file.name for file in files if run([script("python"), file, *args], env=env)]
    if failed or not files:
        raise Stop(f"failed: {', '.join(failed)}" if failed else "there is no benchmarks/bench_*.py")


def wheel() -> int:
    """Builds the wheel. Gives 0 when it holds exactly the files of src/run_kfp, else 1."""
    dist = BUILD / "wheel"
    shutil.rmtree(dist, ignore_errors=True)
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", dist, ROOT, what="the wheel")
    (made,) = dist.glob("run_kfp-*.whl")
    package = ROOT / "src" / "run_kfp"
    sources = {
        file.relative_to(package.parent).as_posix()
        for file in package.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    with zipfile.ZipFile(made) as archive:
        packed = {name for name in archive.namelist() if name.startswith("run_kfp/")}
    for name in sorted(sources ^ packed):
        say(f"{name} is {'missing from the wheel' if name in sources else 'in the wheel alone'}")
    say(f"{made.relative_to(ROOT)}: {len(packed)} files, {made.stat().st_size // 1024} KiB")
    return int(sources != packed)


def lock(*, upgrade: bool) -> None:
    """The three lock files, for all systems and Python versions, from pyproject.toml.

    Versions in the present locks are kept as far as pyproject.toml allows, unless `upgrade` is set.
    """
    tool = BUILD / "uv"
    new_venv(tool)
    uv = tool / SCRIPTS / "uv"
    pip("install", UV, what=UV, python=tool / SCRIPTS / "python")
    options = ["--universal", "--python-version", "3.11", "--generate-hashes", "--quiet"]
    options += ["--no-config", "--no-emit-index-url", "--no-emit-find-links"]
    options += ["--custom-compile-command", "python3 dev.py lock"]
    same = ["--constraints", DEV_LOCK.name]  # what is in two locks has one version
    for target, sources in {
        DEV_LOCK: ["pyproject.toml", "--group", "dev", *(["--upgrade"] if upgrade else [])],
        RUN_LOCK: ["pyproject.toml", *same],
        BUILD_LOCK: ["--group", "build", *same],
    }.items():
        if run([uv, "pip", "compile", *sources, *options, "--output-file", target.name]):
            raise Stop(f"uv did not write {target.name}")
        text = target.read_text(encoding="utf-8")
        if "://" in text or str(ROOT) in text:
            raise Stop(f"{target.name} names an index or a folder of this machine")
        say(f"{target.name}: {text.count('==')} packages")


# ── the environment ───────────────────────────────────────────────────────────────────────────────


def environment(lock_file: Path) -> None:
    """Makes .venv hold what `lock_file` names and this package; does only what is missing."""
    locks = [file.read_bytes() for file in (BUILD_LOCK, RUN_LOCK, DEV_LOCK)]
    base = digest(sys.version, sys.base_prefix, ROOT, locks)
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = digest(settings["project"], settings["build-system"], settings["tool"]["hatch"])

    have = installed()
    if have.get("base") != base:
        if VENV.exists():
            reason = "other locks or another Python" if have else "it is not whole"
            say(f".venv is made anew: {reason}")
        new_venv(VENV)
        have = {"base": base}
    has_lock = have.get("lock") in (lock_file.name, DEV_LOCK.name)
    if not has_lock or have.get("project") != project:
        STAMP.unlink(missing_ok=True)
        if not has_lock:
            # The one source package is built with what the first lock brought, not with what pip
            # would get for it: nothing comes without a hash.
            hashed = ["install", "--compile", "--require-hashes", "--no-build-isolation", "-r"]
            pip(*hashed, BUILD_LOCK, what=BUILD_LOCK.name)
            pip(*hashed, lock_file, what=f"{lock_file.name} (a minute or two)")
            have["lock"] = lock_file.name
        pip("install", "--no-deps", "--no-build-isolation", "-e", ROOT, what="run-kfp")
        STAMP.write_text(json.dumps({**have, "project": project}), encoding="utf-8")
    # pip compiles what it installs, but not an editable package, and PYTHONDONTWRITEBYTECODE may
    # be set. A file that cannot be compiled is for the checks to report.
    run([script("python"), "-m", "compileall", "-qq", ROOT / "src"])


def installed() -> dict[str, str]:
    """What the stamp says of .venv; nothing if there is none, or if what it says is not there."""
    find = "import importlib.util as u, pip; assert u.find_spec('run_kfp')"
    try:
        stamp: dict[str, str] = json.loads(STAMP.read_text(encoding="utf-8"))
        subprocess.run([str(script("python")), "-c", find], check=True, capture_output=True)
    except (OSError, ValueError, subprocess.CalledProcessError):
        return {}
    return stamp


def new_venv(folder: Path) -> None:
    """An empty virtual environment of the Python that runs this, in place of what was there."""
    if importlib.util.find_spec("ensurepip") is None:
        package = "python{}.{}-venv".format(*sys.version_info)
        raise Stop(
            f"This Python has no ensurepip, so it cannot make a virtual environment.\n"
            f"On Debian and Ubuntu: sudo apt-get install {package}",
            code=2,
        )
    if folder.exists():
        shutil.rmtree(folder)
    venv.create(folder, with_pip=True, symlinks=os.name != "nt")


def pip(*args: str | Path, what: str, python: Path | None = None) -> None:
    """Runs pip, showing one moving line on a terminal, and all that it said when it fails."""
    command = [str(python or script("python")), "-m", "pip", *map(str, args)]
    command += ["--disable-pip-version-check", "--no-input"]
    start = time.monotonic()
    say(f"pip {args[0]}: {what} …")
    said = []
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line.rstrip())
            if FANCY:
                width = shutil.get_terminal_size().columns - 4
                print(f"\r\x1b[2K  \x1b[2m{said[-1].strip()[:width]}\x1b[0m", end="", flush=True)
    if FANCY:
        print("\r\x1b[2K", end="", flush=True)
    if process.returncode:
        say("\n".join(said[-40:]))
        raise Stop(f"pip could not {args[0]} {what}; see above. The first call needs the network.")
    say(f"  done in {time.monotonic() - start:.0f} s", dim=True)


# ── small helpers ─────────────────────────────────────────────────────────────────────────────────


def script(name: str) -> Path:
    """The program `name` of .venv."""
    return VENV / SCRIPTS / (name + (".exe" if os.name == "nt" else ""))


def run(command: Sequence[str | Path], *, cwd: Path = ROOT, env: dict[str, str] | None = None) -> int:
    """Runs a command, its output going where ours goes. Gives its exit code."""
    return subprocess.run(list(map(str, command)), cwd=cwd, env=env, check=False).returncode


def digest(*parts: object) -> str:
    """A hash that differs when one of the parts does."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def say(words: str, *, dim: bool = False) -> None:
    """Prints, at once: other programs write to the same place."""
    print(f"\x1b[2m{words}\x1b[0m" if dim and FANCY else words, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Gives the exit code: 0 all well, 1 something failed, 2 cannot start, 130 Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="dev.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    commands.add_parser("demo", description=demo.__doc__)
    for name, doc in (("test", test.__doc__), ("bench", bench.__doc__)):
        commands.add_parser(name, description=doc).add_argument("args", nargs="*", metavar="-- ARGS")
    commands.add_parser("wheel", description=wheel.__doc__)
    upgrade = "take newer versions, where pyproject.toml allows them"
    commands.add_parser("lock", description=lock.__doc__).add_argument("--upgrade", action="store_true", help=upgrade)
    options = parser.parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a pipe on Windows may not know the lines we draw
    try:
        if options.command == "demo":
            demo()
        elif options.command == "test":
            test(options.args)
        elif options.command == "bench":
            bench(options.args)
        elif options.command == "wheel":
            environment(DEV_LOCK)
            return wheel()
        else:
            lock(upgrade=options.upgrade)
    except Stop as stop:
        print(f"dev.py: {stop}", file=sys.stderr, flush=True)
        return stop.code
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
