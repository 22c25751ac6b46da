"""The commands of this repository, for a fresh machine with Python 3.11 to 3.13 and git.

    python3 dev.py demo     install, then the main job on this machine: compile, check, plan, rehearse
    python3 dev.py test     install, then run every check and all tests (`-- ARGS` go to pytest)
    python3 dev.py bench    run the benchmarks (`-- ARGS` go to each of them)
    python3 dev.py mutate   break the program in 100 places and tell which breaks no test notices
                            (`-- ARGS` go to tests/mutate.py)
    python3 dev.py fuzz     feed the program 20,000 pipeline files, run records and registries that
                            nobody would write (`-- ARGS` go to tests/fuzz.py)
    python3 dev.py checkout count the pipeline files of a checkout that have an error
                            (`-- FOLDER` goes to tests/checkout.py)
    python3 dev.py wheel    build the wheel and compare what it holds with the sources
    python3 dev.py versions run the tests of compiling and submitting with the lowest and the newest
                            versions that pyproject.toml allows (`-- ARGS` go to pytest)
    python3 dev.py lock     write the lock files again (`--upgrade`: with newer versions)

It needs nothing but the standard library. What it installs goes into .venv, with the versions and
hashes of the lock files, by uv where there is one, else by pip; the rest goes into build/.
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
STAMP = VENV / "dev.json"  # written after the last install: what .venv was made of

BUILD_LOCK = ROOT / "requirements-build.lock"  # what builds the packages that come as source
RUN_LOCK = ROOT / "requirements.lock"  # what the program needs
DEV_LOCK = ROOT / "requirements-dev.lock"  # that and what the checks and tests need
UV = "uv==0.13.9"  # writes the locks; another version may write them in another form


COVERED = 97  # per cent of the lines; less fails the tests


class Stop(Exception):
    """Ends the program with these words and exit code."""

    def __init__(self, words: str, code: int = 1) -> None:
        super().__init__(words)
        self.code = code


# ── the commands ──────────────────────────────────────────────────────────────────────────────────────────────────────


def demo() -> None:
    """The main job on this machine, to the report of a run; nothing leaves it after the install."""
    environment(RUN_LOCK)
    code = run([script("python"), ROOT / "examples" / "demo" / "run.py"])
    if code:
        raise Stop(f"run-kfp ended with exit code {code}")


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
        # What is measured is the whole suite: it takes a quarter longer than without.
        **({"pytest": lambda: run([script("pytest"), *pytest_args])} if pytest_args else {"pytest": measured}),
    }
    lines, failed = [], 0
    for name, check in checks.items():
        say(f"\n── {name} " + "─" * (60 - len(name)))
        start = time.monotonic()
        ok = check() == 0
        failed += not ok
        lines.append(f"{'ok  ' if ok else 'FAIL'}  {name:<14}{time.monotonic() - start:7.1f} s")
    say("\n── summary " + "─" * 53 + "\n" + "\n".join(lines))
    if failed:
        raise Stop(f"{failed} of {len(checks)} checks failed")


def measured() -> int:
    """All tests, and the lines of src/run_kfp that they execute, in the processes that they start as well."""
    (BUILD / "coverage").mkdir(parents=True, exist_ok=True)
    coverage = script("coverage")
    run([coverage, "erase"])
    code = run([coverage, "run", "-m", "pytest"])
    run([coverage, "combine", "--quiet"])
    floor = run([coverage, "report", "--skip-covered", f"--fail-under={COVERED}"])
    return code or floor


def bench(args: Sequence[str]) -> None:
    """Each `benchmarks/bench_*.py` in turn."""
    environment(DEV_LOCK)
    files = sorted((ROOT / "benchmarks").glob("bench_*.py"))
    # Times are those of a user, whose Python keeps its bytecode. The tests' fakes are the far side.
    env = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    failed = [file.name for file in files if run([script("python"), file, *args], env=env)]
    if failed or not files:
        raise Stop(f"failed: {', '.join(failed)}" if failed else "no benchmarks/bench_*.py found")


def mutate(args: Sequence[str]) -> None:
    """See tests/mutate.py; no part of `test`, because the tests run once for each break."""
    environment(DEV_LOCK)
    if run([script("python"), ROOT / "tests" / "mutate.py", *args]):
        raise Stop("too many breaks go unnoticed; see above")


def fuzz(args: Sequence[str]) -> None:
    """See tests/fuzz.py; a few hundred of its inputs are part of `test`."""
    environment(DEV_LOCK)
    if run([script("python"), ROOT / "tests" / "fuzz.py", *args]):
        raise Stop("some inputs are not answered; see above")


def checkout(args: Sequence[str]) -> None:
    """See tests/checkout.py."""
    environment(DEV_LOCK)
    if run([script("python"), ROOT / "tests" / "checkout.py", *args]):
        raise Stop("a file took too long; see above")


def wheel() -> int:
    """Builds the wheel. Gives 0 when it holds exactly the files of src/run_kfp, else 1."""
    dist = BUILD / "wheel"
    shutil.rmtree(dist, ignore_errors=True)
    if run([script("python"), "-m", "hatchling", "build", "--target", "wheel", "--directory", dist]):
        return 1
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
        say(f"{name} is {'missing from the wheel' if name in sources else 'in the wheel only'}")
    say(f"{made.relative_to(ROOT)}: {len(packed)} files, {made.stat().st_size // 1024} KiB")
    return int(sources != packed)


# What is asked for in each environment of `versions`, beside pyproject.toml.
VERSIONS: dict[str, tuple[str, Sequence[str]]] = {
    "lowest": ("lowest-direct", ()),
    "newest": ("highest", ()),
    # They want google-cloud-aiplatform<2; teams have them in the environment of their pipelines.
    "with Google's pipeline components": ("highest", ("google-cloud-pipeline-components",)),
}
VERSION_TESTS = [f"tests/test_{name}.py" for name in ("compile", "submit", "registry", "settings", "local_process")]


def versions(pytest_args: Sequence[str]) -> None:
    """The tests of compiling and submitting, with what an index gives today for the ranges of pyproject.toml.

    They are no part of `test`: the index moves though the repository does not.
    """
    uv, failed = uv_program(), []
    for name, (resolution, more) in VERSIONS.items():
        folder = BUILD / "versions" / name.split()[0]
        python = folder / SCRIPTS / "python"
        new_venv(folder)
        install(python, BUILD_LOCK, DEV_LOCK)  # the tests' own tools
        wanted, chosen = folder / "wanted.txt", folder / "chosen.txt"
        wanted.write_text("\n".join(more), encoding="utf-8")
        resolve: list[str | Path] = [
            "pyproject.toml",
            wanted,
            "--resolution",
            resolution,
            "--python",
            python,
            "--output-file",
            chosen,
        ]
        if run([uv, "pip", "compile", "--quiet", *resolve]):
            raise Stop("the version ranges of pyproject.toml conflict")
        installer(python, "install", "--no-deps", "--no-build-isolation", "--requirement", chosen)
        installer(python, "install", "--no-deps", "--no-build-isolation", "--editable", ROOT)
        shown = (
            "google-cloud-aiplatform==",
            "kfp==",
            "pydantic==",
            "rich==",
            "typer==",
            *(f"{each}==" for each in more),
        )
        say(f"\n── {name}: {', '.join(line for line in chosen.read_text().splitlines() if line.startswith(shown))}")
        if run([python, "-m", "pytest", "-q", *(pytest_args or VERSION_TESTS)]):
            failed.append(name)
    if failed:
        raise Stop(f"failed: {', '.join(failed)}")


def uv_program() -> Path:
    """The uv of the version that writes the locks, in an environment of its own."""
    tool = BUILD / "uv" / SCRIPTS
    if not (tool / "uv").exists() and not (tool / "uv.exe").exists():
        new_venv(BUILD / "uv")
        if run([tool / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", UV]):
            raise Stop(f"pip could not install {UV}")
    return tool / "uv"


def lock(*, upgrade: bool) -> None:
    """The three lock files, for all systems and Python versions, from pyproject.toml.

    Versions in the present locks are kept as far as pyproject.toml allows, unless `upgrade` is set.
    """
    uv = uv_program()
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


# ── the environment ───────────────────────────────────────────────────────────────────────────────────────────────────


def environment(lock_file: Path) -> None:
    """Makes .venv hold what `lock_file` names and this package; does nothing where it does."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    package = [settings["project"], settings["build-system"], settings["tool"]["hatch"]]
    locks = [file.read_bytes() for file in (BUILD_LOCK, RUN_LOCK, DEV_LOCK)]
    state = hashlib.sha256(repr([sys.version, sys.base_prefix, str(ROOT), package, locks]).encode()).hexdigest()
    try:
        have = json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        have = {}
    if have.get("state") != state or not script("run-kfp").exists() or not script("python").exists():
        new_venv(VENV)
        have = {}
    if have.get("lock") not in (lock_file.name, DEV_LOCK.name):
        STAMP.unlink(missing_ok=True)
        install(script("python"), BUILD_LOCK, lock_file)
        installer(script("python"), "install", "--no-deps", "--no-build-isolation", "--editable", ROOT)
        STAMP.write_text(json.dumps({"state": state, "lock": lock_file.name}), encoding="utf-8")
    # An editable package is not compiled by its install, and PYTHONDONTWRITEBYTECODE may be set. A file
    # that cannot be compiled is for the checks to report.
    run([script("python"), "-m", "compileall", "-qq", ROOT / "src"])


def install(python: Path, *locks: Path) -> None:
    """Installs what the locks name into the environment of `python`, and checks that it fits together.

    A lock is installed, not resolved: with --no-deps no index can bring in another version than the
    locked one, as pip before 24.1 tries to where a dependency asks for an extra (pypa/pip#9644). The
    one package that comes as source is built with what the first lock brought: nothing comes without
    a hash.
    """
    for file in locks:
        start = time.monotonic()
        say(f"installing {file.relative_to(ROOT)} …")
        installer(python, "install", "--no-deps", "--require-hashes", "--no-build-isolation", "--requirement", file)
        say(f"  done in {time.monotonic() - start:.0f} s")
    installer(python, "check")


def installer(python: Path, *args: str | Path) -> None:
    """Runs `uv pip` where there is a uv that can do it, else pip; shows what it said when it fails."""
    tries = [[str(python), "-m", "pip", *args, "--disable-pip-version-check", "--no-input"]]
    if uv := shutil.which("uv"):
        compiled = ["--compile-bytecode"] if args[0] == "install" else []
        tries.insert(0, [uv, "pip", *args, *compiled, "--python", str(python)])
    for command in tries:
        done = subprocess.run(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode == 0:
            return
        say("\n".join(done.stdout.splitlines()[-40:]))
    raise Stop(f"could not {args[0]}, see above; the first call needs the network")


def new_venv(folder: Path) -> None:
    """An empty virtual environment of the Python that runs this, in place of what was there."""
    if importlib.util.find_spec("ensurepip") is None:
        package = "python{}.{}-venv".format(*sys.version_info)
        raise Stop(
            f"This Python has no ensurepip, so it cannot make a virtual environment.\n"
            f"On Debian and Ubuntu: sudo apt-get install {package}",
            code=2,
        )
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True, symlinks=os.name != "nt")


# ── small helpers ─────────────────────────────────────────────────────────────────────────────────────────────────────


def script(name: str) -> Path:
    """The program `name` of .venv."""
    return VENV / SCRIPTS / (name + (".exe" if os.name == "nt" else ""))


def run(command: Sequence[str | Path], *, env: dict[str, str] | None = None) -> int:
    """Runs a command in the checkout, its output going where ours goes. Gives its exit code."""
    return subprocess.run(list(map(str, command)), cwd=ROOT, env=env, check=False).returncode


def say(words: str) -> None:
    """Prints, at once: other programs write to the same place."""
    print(words, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Gives the exit code: 0 all well, 1 something failed, 2 cannot start, 130 Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="dev.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    commands.add_parser("demo", description=demo.__doc__)
    for name, doc in (
        ("test", test.__doc__),
        ("bench", bench.__doc__),
        ("mutate", mutate.__doc__),
        ("fuzz", fuzz.__doc__),
        ("checkout", checkout.__doc__),
        ("versions", versions.__doc__),
    ):
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
        elif options.command == "mutate":
            mutate(options.args)
        elif options.command == "fuzz":
            fuzz(options.args)
        elif options.command == "checkout":
            checkout(options.args)
        elif options.command == "versions":
            versions(options.args)
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
