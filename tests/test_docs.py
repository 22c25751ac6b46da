"""README.md, CONTRIBUTING.md and docs/: what they say of the program is what the program does."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Cli, Write
from dermaid import MAIN, SETTINGS, Canaries
from run_kfp.machines import load_machines
from run_kfp.registry import (
    Accelerator,
    CheckSection,
    Container,
    GitCheck,
    Model,
    Param,
    PipelineSection,
    Process,
    Registry,
    SecretSource,
    SettingsSection,
)
from run_kfp.registry_file import parse_registry

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
LINKING = [*PAGES, ROOT / "CHANGELOG.md", *sorted((ROOT / "examples").glob("*/README.md"))]

FENCE = re.compile(r"^```(?P<kind>[a-z]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def fences(page: Path, kind: str) -> list[str]:
    return [match["text"] for match in FENCE.finditer(page.read_text(encoding="utf-8")) if match["kind"] == kind]


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def names(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# ── generated parts ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_generated_parts_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate.py", "--check"], capture_output=True, encoding="utf-8", check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def command_lines() -> list[str]:
    """Every `run-kfp …` of the pages, each once; those with an `…` in them are no commands."""
    found: list[str] = []
    for page in PAGES:
        for block in fences(page, "sh"):
            found += [line for line in block.replace("\\\n", " ").splitlines() if line.startswith("run-kfp ")]
        found += [" ".join(text.split()) for text in re.findall(r"`(run-kfp\s[^`]+)`", prose(page))]
    return [line for line in dict.fromkeys(found) if "…" not in line]


def test_the_main_command_is_among_those_that_are_tried() -> None:
    assert shlex.join(["run-kfp", *MAIN]) in command_lines()


@pytest.mark.parametrize("line", command_lines())
def test_every_command_line_works(line: str, folder: Path, write: Write) -> None:
    canaries = Canaries()
    for name, text in canaries.files.items():
        write(f"secrets/{name}", text)
    cli = Cli(folder, SETTINGS)
    args = shlex.split(line, comments=True)[1:]
    if "-f" in args:
        assert cli("-r", "1-4", "--compile-only", "-o", args[args.index("-f") + 1]).code == 0
    # What would submit shows its plan instead; what would change the shell of the user, its help; a check asks nobody.
    if "--install-completion" in args or args == ["check"]:
        args.append("--help")
    elif args[0] == "check":
        args.append("--offline")
    elif args[0].startswith("-") and not {"--compile-only", "--dry-run", "--help", "--version"} & set(args):
        args.append("--dry-run")
        # A plan cannot be waited for; that these flags parse is shown by the tests of the watch.
        if "--wait-timeout" in args:
            place = args.index("--wait-timeout")
            del args[place : place + 2]
        args = [arg for arg in args if arg != "--wait"]
    result = cli(*args)
    assert result.code == 0, result.err


def documented_keys(call: str) -> set[str]:
    """The keys that docs/cli.md names for `call`, without those of special cases."""
    (row,) = re.findall(rf"^\| {re.escape(call)} \| (.+) \|$", prose(ROOT / "docs" / "cli.md"), re.MULTILINE)
    return set(re.findall(r"`([a-z_]+)`", row.split(";")[0]))


@pytest.mark.parametrize(
    ("call", "args"),
    [
        ("`--compile-only`", ("-r", "1", "--compile-only")),
        ("`--dry-run`", ("-r", "1", "--dry-run")),
        ("`run-kfp list`", ("list",)),
        ("`run-kfp check`", ("check", "-r", "1", "--offline", "--ignore", "RK-SECRET-MISSING")),
        ("`run-kfp explain`", ("explain",)),
        ("`run-kfp machines`", ("machines",)),
        ("`run-kfp init`", ("init",)),
        ("any error", ("-r", "9")),
    ],
)
def test_json_has_the_documented_keys(call: str, args: tuple[str, ...], folder: Path) -> None:
    data = Cli(folder, SETTINGS)(*args, "--json").json
    found = {"error", *data["error"]} if "error" in data else set(data)
    assert found == documented_keys(call)


# ── links ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of headings: lower case, spaces as dashes, no punctuation."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links() -> Iterator[tuple[Path, str]]:
    for page in LINKING:
        for target in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", prose(page)):
            if "://" not in target:
                yield page, target


@pytest.mark.parametrize(
    ("page", "target"), [pytest.param(*link, id=f"{names(link[0])}:{link[1]}") for link in links()]
)
def test_every_relative_link_leads_somewhere(page: Path, target: str) -> None:
    path, _, anchor = target.partition("#")
    found = (page.parent / path).resolve() if path else page
    assert found.is_relative_to(ROOT)
    assert found.exists()
    assert not anchor or anchor in anchors(found)


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 160


def test_the_index_has_every_page() -> None:
    index = ROOT / "docs" / "README.md"
    assert {page for page in PAGES if page.parent == index.parent} - {index} <= {
        (page.parent / target).resolve() for page, target in links() if page == index
    }


def test_every_long_module_has_its_reason() -> None:
    package = ROOT / "src" / "run_kfp"
    lines = {
        path.relative_to(package).as_posix(): len(path.read_text("utf-8").splitlines())
        for path in package.rglob("*.py")
    }
    reasons = re.findall(
        r"^\| `([a-z_/]+\.py)` \| .{20,} \|$", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.MULTILINE
    )
    assert sorted(reasons) == sorted(name for name, count in lines.items() if count > 500)


def test_no_change_touches_more_than_four_files() -> None:
    rows = re.findall(
        r"^\| (?:an?|the) [^|]+ \| (\d) \| (\d) \|", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.MULTILINE
    )
    assert len(rows) == 12
    assert all(int(after) <= 4 for _, after in rows)


def test_the_picture_of_the_report_is_small() -> None:
    picture = (ROOT / "docs" / "report.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 150_000


# ── examples ─────────────────────────────────────────────────────────────────────────────────────────────────────────

REGISTRY_PAGE = ROOT / "docs" / "registry.md"
EXAMPLES = [(page, number, text) for page in PAGES for number, text in enumerate(fences(page, "toml"))]


ONE = "[containers.1]\nname = 'one'\nimage = 'busybox'\n"


def read(text: str) -> Registry:
    """Read an example; one without containers is a part of a registry."""
    return parse_registry(text if "containers" in tomllib.loads(text) else f"{ONE}{text}", source="it", folder=ROOT)


@pytest.mark.parametrize("text", [pytest.param(text, id=f"{names(page)}-{n}") for page, n, text in EXAMPLES])
def test_every_file_in_the_pages_can_be_read(text: str, write: Write) -> None:
    if text.startswith("# machines.toml"):
        assert "europe-north2" in load_machines(write("machines.toml", text)).regions
    else:
        assert read(text).containers


def test_the_last_example_shows_every_key() -> None:
    raw = tomllib.loads(fences(REGISTRY_PAGE, "toml")[-1])
    containers = list(raw["containers"].values())

    def keys(*tables: dict[str, object]) -> set[str]:
        return {key for table in tables for key in table}

    def fields(model: type[Model]) -> set[str]:
        return set(model.model_fields)

    assert keys(raw["pipeline"]) == fields(PipelineSection)
    assert keys(raw["settings"]) == fields(SettingsSection)
    assert keys(*containers) == fields(Container) - {"index"}
    assert keys(*(table["accelerator"] for table in containers if "accelerator" in table)) == fields(Accelerator)
    assert keys(*(table["process"] for table in containers if "process" in table)) == fields(Process)
    assert keys(*raw["params"].values()) == fields(Param)
    assert keys(*raw["secrets"].values()) == fields(SecretSource)
    assert keys(raw["check"]) == fields(CheckSection)
    assert keys(raw["check"]["git"]) == fields(GitCheck)


def test_the_factory_of_the_example_compiles(cli: Cli, write: Write) -> None:
    (registry,) = [text for text in fences(REGISTRY_PAGE, "toml") if "factory" in text and "[pipeline]" not in text]
    (module,) = fences(REGISTRY_PAGE, "python")
    write("run-kfp.toml", registry)
    write("my_package/components.py", module)
    result = cli("-r", "evaluate", "--compile-only", "--json")
    assert result.code == 0, result.err
    assert result.json["parameters"] == ["bucket", "threshold"]


# ── messages ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def templates() -> Iterator[str]:
    """Every text of the package, with `…` where a value is filled in."""
    for source in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


MESSAGES = re.findall(r"^\*\*`([^`]+)`\*\*", (ROOT / "docs" / "troubleshooting.md").read_text("utf-8"), re.MULTILINE)


def test_there_are_messages_to_look_up() -> None:
    assert len(MESSAGES) >= 10


@pytest.mark.parametrize("message", MESSAGES)
def test_every_message_to_look_up_is_one_of_the_program(message: str) -> None:
    # A value at the end of a message may be appended to it instead of filled in.
    assert any(message in text or message.removesuffix("…") == text for text in templates())


# ── failures ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_failures_that_can_be_known_are_found() -> None:
    """Of what can be known offline nearly all is found, of what the image registries know all."""
    known = tomllib.loads((ROOT / "docs" / "failures.toml").read_text(encoding="utf-8"))
    shown = {
        row
        for row, _, tests in re.findall(r"^\| (F\d+) \| (.*) \| ([^|]*) \|$", prose(ROOT / "docs" / "checks.md"), re.M)
        if "::" in tests
    }

    def missing(by: str) -> set[str]:
        return {row for row, failure in known.items() if by in failure["known"]} - shown

    assert len(known) == 96
    assert missing("O") == set()
    assert missing("R") == set()
    assert len([row for row, failure in known.items() if "G" in failure["known"] and row in shown]) >= 12
    assert all("instead" in known[row] for row in known.keys() - shown), "what no check tells says what is done instead"
