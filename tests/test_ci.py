"""For CI: the hook of pre-commit and the GitHub Action are files that their readers take, and they do what they say."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import BASE, Cli, Result, Write
from test_docs import ROOT, fences

HOOKS = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
CI_PAGE = ROOT / "docs" / "ci.md"
RECIPES = [yaml.safe_load(text) for text in fences(CI_PAGE, "yaml")]

RIGHT = '[containers.1]\nname = "one"\nimage = "alpine:3"\nargs = [{ param = "tag" }]\n'
WRONG = RIGHT + 'cpu = "many"\n'


def uses(recipe: Any, name: str) -> list[dict[str, Any]]:
    """Return every table of a recipe that has the key."""
    if isinstance(recipe, dict):
        inner = [found for value in recipe.values() for found in uses(value, name)]
        return [recipe, *inner] if name in recipe else inner
    return [found for item in recipe for found in uses(item, name)] if isinstance(recipe, list) else []


# ── pre-commit ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_hook_has_what_pre_commit_reads() -> None:
    """Keys and types: https://pre-commit.com/#new-hooks."""
    (hook,) = HOOKS
    texts = {key for key, value in hook.items() if isinstance(value, str)}
    assert texts == {"id", "name", "description", "entry", "language", "files"}
    assert set(hook) - texts == {"pass_filenames", "require_serial"}
    assert hook["language"] == "python"  # installed by `pip install .`
    for path, taken in {
        "run-kfp.toml": True,
        "a/b/run-kfp.toml": True,
        "pipeline.yaml": True,
        "my-run-kfp.toml": False,
        "run-kfp_toml": False,
    }.items():
        assert bool(re.search(hook["files"], path)) is taken, path


def hook(cli: Cli, args: list[str]) -> Result:
    program, *words = shlex.split(HOOKS[0]["entry"])
    assert program == "run-kfp"
    return cli(*words, *args)


def test_the_hook_checks_as_its_page_says(cli: Cli, write: Write) -> None:
    (used,) = [each for recipe in RECIPES for each in uses(recipe, "id") if each["id"] == HOOKS[0]["id"]]
    write("run-kfp.toml", RIGHT + "".join(RIGHT.replace("1]", f"{n}]").replace("one", f"n{n}x") for n in (2, 3, 4)))
    assert hook(cli, used["args"]).code == 0

    write("run-kfp.toml", WRONG)
    refused = hook(cli, ["-r", "1"])
    assert refused.code == 3
    assert "RK-CPU-FORMAT: run-kfp.toml: containers.1.cpu" in refused.out


def test_the_hook_checks_a_compiled_file(cli: Cli, write: Write) -> None:
    write("run-kfp.toml", RIGHT)
    assert cli("-r", "1", "--compile-only").code == 0
    assert hook(cli, ["-f", "pipeline.yaml"]).code == 0


# ── the GitHub Action ────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_action_has_what_github_reads() -> None:
    """Keys: https://docs.github.com/en/actions/reference/workflows-and-actions/metadata-syntax."""
    assert set(ACTION) == {"name", "description", "branding", "inputs", "outputs", "runs"}
    assert ACTION["runs"]["using"] == "composite"
    for given in ACTION["inputs"].values():
        assert set(given) <= {"description", "required", "default"}
        assert all(isinstance(given[key], str) for key in ("description", "default") if key in given)
    ids = {step.get("id") for step in ACTION["runs"]["steps"]}
    for output in ACTION["outputs"].values():
        assert re.fullmatch(r"\$\{\{ steps\.([a-z]+)\.outputs\.[a-z-]+ \}\}", output["value"])[1] in ids  # type: ignore[index]  # a Match
    for step in ACTION["runs"]["steps"]:
        assert ("uses" in step) != ("run" in step)
        assert ("shell" in step) == ("run" in step), "a step of a composite action names its shell"


def test_no_input_of_the_action_becomes_code() -> None:
    """An expression in a script is pasted into it; in `env` it is a value."""
    named = set(re.findall(r"inputs\.([a-z-]+)", (ROOT / "action.yml").read_text(encoding="utf-8")))
    assert named == set(ACTION["inputs"])
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step.get("run", "")


def test_the_action_installs_what_the_locks_name() -> None:
    """Nothing is resolved, as in docs/install.md; no index is named."""
    (step,) = [step for step in ACTION["runs"]["steps"] if step.get("name") == "Install run-kfp"]
    compile(step["run"], "action.yml", "exec")
    for words in ("--no-deps", "--no-build-isolation", "--require-hashes", '"check"'):
        assert words in step["run"]
    for lock in re.findall(r'"([a-z-]+\.lock)"', step["run"]):
        assert (ROOT / lock).is_file()


def act(folder: Path, **inputs: str) -> tuple[Result, str]:
    """Run the step that checks, as the runner does; return how it ended, and the outputs of the step."""
    (step,) = [step for step in ACTION["runs"]["steps"] if step.get("id") == "check"]
    given = {name: one.get("default", "") for name, one in ACTION["inputs"].items()} | {
        name.replace("_", "-"): value for name, value in inputs.items()
    }
    outputs = folder / "outputs"
    outputs.write_text("")
    # The environment that the first step makes is the one of the tests here.
    filled = {"${{ runner.temp }}/run-kfp": str(Path(sys.executable).parent.parent)}
    filled |= {f"${{{{ inputs.{name} }}}}": value for name, value in given.items()}
    done = subprocess.run(
        [sys.executable, "-c", step["run"]],
        cwd=folder,
        env={
            **BASE,
            "HOME": str(folder),
            "GITHUB_OUTPUT": str(outputs),
            "GITHUB_WORKSPACE": str(folder),
            **{name: filled[value] for name, value in step["env"].items()},
        },
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr), outputs.read_text(encoding="utf-8")


def test_the_action_annotates_and_fails(folder: Path, write: Write) -> None:
    write("sub folder/run-kfp.toml", WRONG)

    result, outputs = act(folder, arguments="-r 1 -t 'a tag'", working_directory="sub folder")

    assert (result.code, outputs) == (3, "exit-code=3\n")
    assert "::error file=sub folder/run-kfp.toml,line=5,col=1,title=RK-CPU-FORMAT::" in result.out


def test_the_action_writes_a_file(folder: Path, write: Write) -> None:
    write("run-kfp.toml", RIGHT)

    result, outputs = act(folder, arguments="-r 1", format="sarif", output="run-kfp.sarif")

    assert (result.code, result.out, outputs) == (0, "", "exit-code=0\n")
    assert yaml.safe_load((folder / "run-kfp.sarif").read_text(encoding="utf-8"))["version"] == "2.1.0"


def test_arguments_of_the_action_are_no_shell(folder: Path, write: Write) -> None:
    write("run-kfp.toml", RIGHT)
    result, _ = act(folder, arguments="-r 1 -t '$(touch made); touch made'")
    assert result.code in (0, 3)
    assert not (folder / "made").exists()


@pytest.mark.parametrize(
    "step",
    [step for recipe in RECIPES for step in uses(recipe, "uses") if step["uses"] == "./tools/run-kfp"],
    ids=str,
)
def test_the_page_gives_the_action_inputs_that_it_has(step: dict[str, Any], folder: Path, write: Write) -> None:
    assert set(step["with"]) <= set(ACTION["inputs"])
    write("run-kfp.toml", "".join(RIGHT.replace("1]", f"{n}]").replace("one", f"n{n}x") for n in (1, 2, 3, 4)))
    result, _ = act(folder, **step["with"])
    assert result.code == 0, result.out


@pytest.mark.skipif(os.name == "nt", reason="the recipe is for a shell of POSIX")
def test_the_recipe_for_gitlab_gives_a_report(folder: Path, write: Write) -> None:
    (job,) = [each for recipe in RECIPES for each in uses(recipe, "artifacts") if "reports" in each["artifacts"]]
    write("run-kfp.toml", "".join(RIGHT.replace("1]", f"{n}]").replace("one", f"n{n}x") for n in (1, 2, 3, 4)))
    done = subprocess.run(
        ["sh", "-c", job["script"][-1]],
        cwd=folder,
        env={**BASE, "HOME": str(folder), "PATH": f"{Path(sys.executable).parent}:{BASE['PATH']}"},
        check=False,
    )
    assert done.returncode == 0
    assert "<testsuites>" in (folder / job["artifacts"]["reports"]["junit"]).read_text(encoding="utf-8")
