"""Writes the generated parts of the pages, and the shipped JSON Schema: what the program says itself.

    python docs/generate.py             writes what is out of date
    python docs/generate.py --check     writes nothing; shows the differences, and ends with 1 when there are any
    python docs/generate.py --picture   writes docs/report.png: the report of the demo in a headless Chromium

A part stands between `<!-- generated: NAME -->` and `<!-- end generated -->`; `BLOCKS` says who makes it. It needs a
Python that has run-kfp installed (`.venv/bin/python`), in the versions of the lock: they decide how help screens look.
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import functools
import os
import pty
import re
import shlex
import subprocess
import sys
import tempfile
import tomllib
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from run_kfp import errors
from run_kfp.arguments import Reference
from run_kfp.cli import command
from run_kfp.consent import FACTORIES_VARIABLE, HOSTS_VARIABLE
from run_kfp.preflight import rules
from run_kfp.program import commands_of
from run_kfp.registry import (
    BUILT_IN_PARAMS,
    Accelerator,
    CheckSection,
    Container,
    GitCheck,
    Model,
    Param,
    PipelineSection,
    Process,
    SecretSource,
    SettingsSection,
)
from run_kfp.registry_file import PACKAGED, REGISTRY_FILE, REGISTRY_VARIABLE, packaged_registry_text, parse_registry
from run_kfp.schema import SCHEMA_FILE, schema_text
from run_kfp.secrets import SECRETS_FOLDERS
from run_kfp.settings import CREDENTIALS_VARIABLE, ENV_FILE, RULES, SECRETS_VARIABLE
from run_kfp.trust import POWERS

ROOT = Path(__file__).resolve().parent.parent
FILES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
WIDTH = 100  # columns of a help screen

# The run id, the display name's suffix and the label are random: the page shows these instead.
_SHOWN_ID, _SHOWN_LABEL = "20260302093015-4f1c2a", "9d0e6b7c1a2f3e45"


# ── what the program prints ──────────────────────────────────────────────────────────────────────────────────────────


def run(*args: str, folder: Path | None = None, variables: Mapping[str, str] | None = None) -> str:
    """Run the program and return its stdout.

    Nothing of the caller's environment takes part: no settings, no terminal width, no colour. HOME is `folder`, so that
    no login is found.

    Raises:
        SystemExit: the exit code is not 0.
    """
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "PYTHONPATH") if name in os.environ}
    fixed = {"COLUMNS": str(WIDTH), "TERMINAL_WIDTH": str(WIDTH), "PYTHONUTF8": "1", "HOME": str(folder or "")}
    done = subprocess.run(
        [sys.executable, "-m", "run_kfp", *args],
        cwd=folder,
        env={**kept, **fixed, **(variables or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        sys.exit(f"run-kfp {' '.join(args)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def fenced(text: str) -> str:
    """Return `text` as a block of verbatim text, without the white space at line ends that help screens have."""
    lines = [line.rstrip() for line in text.strip("\n").splitlines()]
    return "\n".join(["```text", *lines, "```"])


def help_screens() -> str:
    """Every `--help` screen, the program's own first, each under a heading."""
    screens = []
    for words in [(), *(words for words, _ in commands_of(command()))]:
        screens.append(f"### {' '.join(['run-kfp', *words])}\n\n{fenced(run(*words, '--help'))}")
    return "\n\n".join(screens)


# A registry with four mistakes. The fifth is in the call: it has no tag.
_MISTAKEN = """\
[settings]
project = "acme-ml"
region = "us-east1"
bucket = "gs://acme-data"
service_account = "runner@acme-ml.iam.gserviceaccount.com"

[containers.1]
name = "prepare"
image = "acme/prepare:2.1"
command = ["python prepare.py"]
args = [{ param = "bucket" }]

[containers.2]
name = "train"
image = "acme/train:2.1"
command = ["python", "train.py"]
args = [{ param = "bucket" }, { param = "tag" }, { secret = "wandb" }]
cpu = 8
memory = "64G"
accelerator = { type = "NVIDIA_TESLA_T4", count = 3 }

[secrets.wandb]
env = "WANDB_API_KEY"
file = "wandb.txt"
"""
_MISTAKEN_CALL = ("check", "-r", "prepare,train", "--offline")


def five_mistakes() -> str:
    """What a terminal shows of a check that finds five mistakes."""
    with tempfile.TemporaryDirectory(prefix="run-kfp-docs-") as name:
        folder = Path(name)
        (folder / REGISTRY_FILE).write_text(_MISTAKEN, encoding="utf-8")
        # The login of gcloud where it looks for it, so that this is not a sixth: an offline check asks no further.
        login = folder / ".config" / "gcloud" / "application_default_credentials.json"
        login.parent.mkdir(parents=True)
        login.write_text('{"type": "authorized_user"}', encoding="utf-8")
        return fenced(f"$ run-kfp {shlex.join(_MISTAKEN_CALL)}\n\n{on_a_terminal(_MISTAKEN_CALL, folder)}")


def on_a_terminal(args: Sequence[str], folder: Path) -> str:
    """Run the program on a terminal of its own and return what it shows, without colors."""
    terminal, its_side = pty.openpty()
    fixed = {"COLUMNS": str(WIDTH), "PYTHONUTF8": "1", "HOME": str(folder), "PATH": os.environ["PATH"], "TERM": "xterm"}
    command = [sys.executable, "-m", "run_kfp", *args]
    with subprocess.Popen(command, cwd=folder, env=fixed, stdin=its_side, stdout=its_side, stderr=its_side):
        os.close(its_side)
        parts = []
        # Linux says EIO where the other side is closed, other systems give nothing.
        with contextlib.suppress(OSError):
            while part := os.read(terminal, 65536):
                parts.append(part)
    os.close(terminal)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", b"".join(parts).decode()).replace("\r\n", "\n")


def run_demo(folder: Path, home: Path) -> str:
    """Run what `python3 dev.py demo` runs, in `folder`, and return what it prints."""
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "demo" / "run.py", folder],
        env={**kept, "COLUMNS": str(WIDTH), "PYTHONUTF8": "1", "HOME": str(home), "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        sys.exit(f"the demo ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def picture() -> None:
    """Write docs/report.png, the first screen of the demo's report."""
    sys.path.insert(0, str(ROOT / "tests"))
    from browser import running_browser

    with tempfile.TemporaryDirectory(prefix="run-kfp-docs-") as name, running_browser() as browser:
        run_demo(Path(name) / "demo", Path(name))
        (report,) = Path(name).glob("demo/.run-kfp/runs/*/report.html")
        browser.window(1120, 780)
        browser.devtools("Emulation.setScrollbarsHidden", hidden=True)
        browser.open(report)
        browser.screenshot(ROOT / "docs" / "report.png")


@functools.cache
def demo_calls() -> tuple[str, ...]:
    """What each call of `python3 dev.py demo` prints, with fixed ids and times."""
    with tempfile.TemporaryDirectory(prefix="run-kfp-docs-") as name:
        printed = run_demo(Path(name) / "demo", Path(name))
    text = re.sub(r"\b[0-9]{14}-[0-9a-f]{6}\b", _SHOWN_ID, printed)
    text = re.sub(r"(?<=dermaid-pipeline-)[0-9a-f]{6}\b", _SHOWN_ID[-6:], text)
    text = re.sub(r"(?<=run-kfp-submission=)[0-9a-f]{16}\b", _SHOWN_LABEL, text)
    text = re.sub(r"(?m)^[0-9:]{8}Z", "09:30:15Z", text)
    text = re.sub(r"(?m)  [0-9]:[0-9]{2}$", "  0:00", text)
    return tuple(f"$ {call}" for call in text.rpartition("\nopen in a browser")[0].split("\n$ ")[1:])


def demo_end() -> str:
    """The calls of the demo, and the end of the last one."""
    calls = demo_calls()
    *_, report = (line for line in calls[-1].splitlines() if line.startswith("report: "))
    ended = [line for line in calls[-1].splitlines() if line.startswith("09:30:15Z  train-model") or " run " in line]
    lines = [call.splitlines()[0] for call in calls] + ["…", *ended[-5:], f"open in a browser: build/demo/{report[8:]}"]
    return fenced("\n".join(lines))


def demo_call(number: int) -> str:
    """One call of the demo, by its place."""
    return fenced(demo_calls()[number])


def registry_list() -> str:
    """What `run-kfp list` says of the packaged registry."""
    with tempfile.TemporaryDirectory(prefix="run-kfp-docs-") as name:
        return fenced(run("list", folder=Path(name)))


def starter_files() -> str:
    """The files that `run-kfp init` writes."""
    with tempfile.TemporaryDirectory(prefix="run-kfp-docs-") as name:
        return fenced(run("init", folder=Path(name)))


# ── tables ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    """Return a Markdown table; an empty cell becomes a dash."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join((cell or "–").replace("|", "\\|") for cell in line) + " |" for line in lines)


def code(text: str | None) -> str:
    """Return `text` as code, nothing for nothing."""
    return f"`{text}`" if text else ""


# What a caller does next; the meaning beside it comes from the class. A class that is missing here stops the build.
_ADVICE = {
    "RunKfpError": "report it with the traceback (`--debug`)",
    "InputError": "fix what it names",
    "CheckFailed": "fix the findings above",
    "EngineError": "start Docker, check the image's name, or pass `--engine process`",
    "StoreError": "free space on the disk, or check the folder; `run-kfp runs` shows the run",
    "BackendError": "check whether anything was submitted, check access and network, try again",
    "RunFailed": "look at the failed step; the hint has the command that shows its log",
    "RunStopped": "nothing, if you stopped it",
    "WatchTimeout": "open the run in the console",
}


def exit_codes() -> str:
    """The exit codes, from the tree of errors."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.RunKfpError)]
    rows = [["0", "done; with `--wait` or `--local`: the run succeeded", "go on"]]
    for kind in sorted(kinds, key=lambda kind: kind.exit_code):
        meaning = (kind.__doc__ or "").splitlines()[0].rstrip(".")
        if kind is errors.RunKfpError:
            meaning = "Internal error"
        rows.append([str(kind.exit_code), f"{meaning[0].lower()}{meaning[1:]}", _ADVICE[kind.__name__]])
    rows.append(["130", "Ctrl-C; a submitted run continues, a local run is stopped", "open the run in the console"])
    return table(["code", "meaning", "what to do"], iter(rows))


# Defaults that the program computes or that belong to no registry.
_SETTING_DEFAULTS = {
    "pipeline_root": "`gs://<bucket>/pipeline_root/root`",
    "api_endpoint": "`<region>-aiplatform.googleapis.com`",
}


def settings() -> str:
    """The settings: flag, variable, key of `[settings]`, form and default."""
    packaged = parse_registry(packaged_registry_text(), source=PACKAGED, folder=Path()).settings

    def rows() -> Iterator[Sequence[str]]:
        for name, rule in RULES.items():
            value = getattr(packaged, name)
            default = f"`{value}` (in the packaged registry)" if value else _SETTING_DEFAULTS.get(name, "")
            yield [code(rule.flag), code(rule.variable), code(name), rule.allowed.replace("<", "&lt;"), default]
        for name in SettingsSection.model_fields.keys() - RULES.keys():
            if name not in ("caching", "failure_policy"):
                raise KeyError(f"say here which flag gives {name}")
        yield ["`--caching`, `--no-caching`", "", "`caching`", "`true` or `false` in the registry", "off"]
        yield ["`--failure-policy`", "", "`failure_policy`", "`fast` or `slow`", "`fast`"]

    return table(["flag", "variable", "key of `[settings]`", "form", "default"], rows())


def variables() -> str:
    """Every other variable that is read, with those of the packaged registry."""
    packaged = parse_registry(packaged_registry_text(), source=PACKAGED, folder=Path())
    folders = ", ".join(code(name if name.startswith(("/", ".")) else f"./{name}") for name in SECRETS_FOLDERS)
    anywhere = f"environment, `{ENV_FILE}`"

    def rows() -> Iterator[Sequence[str]]:
        yield [code(REGISTRY_VARIABLE), "the registry file", anywhere, f"`./{REGISTRY_FILE}`, else {PACKAGED}"]
        yield [code(SECRETS_VARIABLE), "the secrets folder", anywhere, f"the first that exists of {folders}"]
        login = "what `gcloud auth application-default login` left"
        yield [code(CREDENTIALS_VARIABLE), "the file of a service account key", anywhere, login]
        for name, param in packaged.params.items():
            yield [code(param.env), f"parameter `{name}`", anywhere, code(param.default)]
        for name, secret in packaged.secrets.items():
            files = [f"first line of `{secret.file}`"] if secret.file else []
            files += [f"line `{secret.env}=…` of `{secret.env_file}`"] if secret.env_file else []
            yield [code(secret.env), f"secret `{name}`", anywhere, ", ".join(files)]
        yield [code(HOSTS_VARIABLE), "[hosts that you trust](security.md#consent)", "environment", ""]
        yield [code(FACTORIES_VARIABLE), "`1`: the factories of a registry may run", "environment", "`run-kfp trust`"]
        yield ["`NO_COLOR`", "no colors, unless it is empty", "environment", ""]

    return table(["variable", "what it gives", "read from", "else"], rows())


# ── keys of the registry ─────────────────────────────────────────────────────────────────────────────────────────────

# Types that an annotation does not tell: their validators take more.
_TYPES = {
    "Container.cpu": "number, string or `{ param = … }`",
    "Container.memory": "string or `{ param = … }`",
    "Accelerator.count": "integer or `{ param = … }`",
}


def type_words(annotation: object) -> str:
    """Say what a key takes, from the annotation of its field."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return type_words(parts[0])
    if origin is typing.Literal:
        return " or ".join(f'`"{value}"`' for value in parts)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(type_words(part) for part in parts if part is not types.NoneType)
    if origin is tuple:
        return f"array of: {type_words(parts[0])}"
    if origin is dict:
        return f"table of: {type_words(parts[1])}"
    simple = {str: "string", bool: "`true` or `false`", Reference: "reference"}
    simple |= dict.fromkeys((Accelerator, Process, GitCheck), "table")
    return next(words for kind, words in simple.items() if annotation is kind)


def keys(model: type[Model]) -> Callable[[], str]:
    """Return what makes the table of the keys of one part of the registry file."""

    def rows() -> Iterator[Sequence[str]]:
        for name, field in model.model_fields.items():
            if (model, name) == (Container, "index"):  # it stands in the table's name
                continue
            place = f"{model.__name__}.{name}"
            if field.is_required():
                default = "required"
            else:
                default = "" if field.default in (None, "", (), {}) else code(str(field.default).lower())
            if not field.description:
                raise KeyError(f"say in the model what {place} is")
            yield [code(name), _TYPES.get(place) or type_words(field.annotation), default, field.description]

    return lambda: table(["key", "type", "default", "meaning"], rows())


def built_in_params() -> str:
    """The parameters that every registry has."""
    return ", ".join(code(name) for name in BUILT_IN_PARAMS)


# ── checks ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def finding_codes() -> str:
    """Every kind of finding, group by group."""

    def rows() -> Iterator[Sequence[str]]:
        for kind in sorted(rules().values(), key=lambda kind: (kind.group, kind.name)):
            yield [kind.group, code(kind.name), kind.severity.value, kind.title, kind.when.value]

    return table(["group", "code", "usually", "what", "would show"], rows())


def shown_failures() -> dict[str, list[tuple[str, str]]]:
    """Return, for each failure of failures.toml, the codes under which tests show it, and these tests.

    A test says so by its marker `failure(row, code)`, on itself or on one of its parameters.
    """
    shown: dict[str, list[tuple[str, str]]] = {}
    for path in sorted((ROOT / "tests").glob("test_*.py")):
        for test in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(test, ast.FunctionDef):
                continue
            for node in (node for decorator in test.decorator_list for node in ast.walk(decorator)):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "failure":
                    row, kind = (ast.literal_eval(argument) for argument in node.args)
                    shown.setdefault(row, []).append((kind, f"{path.name}::{test.name}"))
    return shown


def failures() -> str:
    """Every failure of failures.toml, with the codes that find it and the tests that show it."""
    known = tomllib.loads((ROOT / "docs" / "failures.toml").read_text(encoding="utf-8"))
    shown = shown_failures()
    if unknown := shown.keys() - known.keys():
        raise KeyError(f"tests show failures that failures.toml does not have: {sorted(unknown)}")

    def rows() -> Iterator[Sequence[str]]:
        for name, failure in known.items():
            pairs = list(dict.fromkeys(shown.get(name, [])))
            found = "<br>".join(dict.fromkeys(code(kind) for kind, _ in pairs))
            tests = "<br>".join(dict.fromkeys(code(test) for _, test in pairs))
            yield [name, failure["what"], failure["known"], found or failure.get("instead", ""), tests]

    return table(["", "what people see", "known by", "finding, or what is done instead", "test"], rows())


# ── contributing ─────────────────────────────────────────────────────────────────────────────────────────────────────


def powers() -> str:
    """Who decides what, from the module that enforces it."""
    rows = ([power.decision, power.user, power.folder] for power in POWERS)
    return table(["decision", "you decide it by", "what the folder can do"], rows)


def layers() -> str:
    """The layers of the package, from the contract of import-linter."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = [part for part in project["tool"]["importlinter"]["contracts"] if part["type"] == "layers"]
    return fenced("\n".join(contract["layers"]))


# ── pages ────────────────────────────────────────────────────────────────────────────────────────────────────────────

BLOCKS: Mapping[str, Callable[[], str]] = {
    "five-mistakes": five_mistakes,
    "plan": functools.partial(demo_call, 2),
    "rehearsal": functools.partial(demo_call, 3),
    "demo": demo_end,
    "list": registry_list,
    "init": starter_files,
    "help": help_screens,
    "exit-codes": exit_codes,
    "settings": settings,
    "variables": variables,
    "built-in-params": built_in_params,
    "keys-pipeline": keys(PipelineSection),
    "keys-container": keys(Container),
    "keys-accelerator": keys(Accelerator),
    "keys-process": keys(Process),
    "keys-param": keys(Param),
    "keys-secret": keys(SecretSource),
    "keys-check": keys(CheckSection),
    "keys-git": keys(GitCheck),
    "codes": finding_codes,
    "failures": failures,
    "layers": layers,
    "powers": powers,
}

# Files that are generated as a whole.
WHOLE: Mapping[Path, Callable[[], str]] = {ROOT / "src" / "run_kfp" / SCHEMA_FILE: schema_text}

_BLOCK = re.compile(r"(<!-- generated: (?P<name>[a-z-]+) -->\n).*?(<!-- end generated -->)", re.DOTALL)


def renewed(text: str) -> str:
    """Return the text of a page with its generated parts made anew. Raises KeyError for a part that nobody makes."""
    return _BLOCK.sub(lambda match: f"{match[1]}\n{BLOCKS[match['name']]()}\n\n{match[3]}", text)


def main(argv: Sequence[str]) -> int:
    """Write or check the pages. Returns 0, or with `--check` 1 when a page is out of date."""
    if argv == ["--picture"]:
        picture()
        return 0
    if argv not in ([], ["--check"]):
        sys.stderr.write(__doc__ or "")
        return 2
    stale = False
    for path in [*FILES, *WHOLE]:
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        new = WHOLE[path]() if path in WHOLE else renewed(old)
        if old == new:
            continue
        stale = True
        name = path.relative_to(ROOT).as_posix()
        if argv:
            sys.stdout.writelines(
                difflib.unified_diff(old.splitlines(True), new.splitlines(True), name, "as it is now")
            )
        else:
            path.write_text(new, encoding="utf-8", newline="\n")
            sys.stdout.write(f"{name}\n")
    if argv and stale:
        sys.stdout.write("\nMade anew by: .venv/bin/python docs/generate.py\n")
    return int(bool(argv) and stale)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
