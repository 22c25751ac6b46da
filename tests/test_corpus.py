"""Valid registries and compiled pipelines of many origins: `run-kfp check` has nothing against them."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
import tomllib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from run_kfp.cli import execute
from run_kfp.registry_file import load_registry
from test_docs import fences

ROOT = Path(__file__).resolve().parent.parent
CORPUS = ROOT / "tests" / "corpus"

DEFAULTS: Mapping[str, str] = {
    "project": "corpus-project",
    "bucket": "corpus-bucket",
    "service_account": "runner@corpus-project.iam.gserviceaccount.com",
}


@dataclass(frozen=True)
class Entry:
    """A table of index.toml: an input, how it is called, and the warnings that are right for it, with their reasons."""

    name: str
    family: str
    source: str
    select: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    flags: Sequence[str] = ()
    expected: Mapping[str, str] = field(default_factory=dict)

    @property
    def compiled(self) -> bool:
        """Whether it is a compiled file, and no registry."""
        return self.source.startswith("compiled/")

    def args(self) -> list[str]:
        """Return the flags of its call, behind those that name the input."""
        given = {**DEFAULTS, **self.settings}
        return [
            *(["-r", self.select] if self.select else []),
            *(word for name, value in self.params.items() for word in ("-p", f"{name}={value}")),
            *(word for name, value in given.items() if value for word in (f"--{name.replace('_', '-')}", value)),
            *self.flags,
        ]


INDEX: Mapping[str, Any] = tomllib.loads((CORPUS / "index.toml").read_text(encoding="utf-8"))
ENTRIES = [Entry(name, **body) for name, body in INDEX.items()]


def lay_out(entry: Entry, folder: Path) -> list[str]:
    """Put the input into a folder, with values for its secrets; return the flags that name it."""
    if entry.compiled:
        target = folder / Path(entry.source).name
        shutil.copy(CORPUS / entry.source, target)
        return ["-f", target.name]
    registry = folder / "run-kfp.toml"
    if "#" in entry.source:
        page, number = entry.source.split("#")
        text = [text for text in fences(ROOT / page, "toml") if "[containers" in text][int(number)]
        registry.write_text(text, encoding="utf-8")
        if "machines.toml" in text:
            (folder / "machines.toml").write_text('date = "2026-11-20"\n', encoding="utf-8")
        for module in fences(ROOT / page, "python"):
            (folder / "my_package").mkdir()
            (folder / "my_package" / "components.py").write_text(module, encoding="utf-8")
    elif entry.source != "packaged":
        source = next(path for path in (CORPUS / entry.source, ROOT / entry.source) if path.exists())
        shutil.copy(source, registry)
        for module_file in source.parent.glob("factory_*.py"):
            shutil.copy(module_file, folder)
    lay_secrets(registry if registry.exists() else None, folder)
    return ["-t", "dataset_v22"]


def lay_secrets(registry: Path | None, folder: Path) -> None:
    """Write a value for each secret of a registry where it is looked for, made for this one test."""
    (folder / "secrets").mkdir()
    for name, source in load_registry(registry).secrets.items():
        value = secrets.token_hex(20)
        if "git" in name:
            value = f"https://somebody:{value}"
        if source.file:
            (folder / "secrets" / source.file).write_text(value + "\n", encoding="utf-8")
        else:
            with (folder / ".env").open("a", encoding="utf-8") as env_file:
                env_file.write(f"{source.env}={value}\n")


Check = Callable[..., tuple[int, Any]]


@pytest.fixture
def check(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Check:
    """Run `run-kfp check --offline --json` in this process, in an empty folder and environment."""
    for name in [name for name in os.environ if name not in ("PATH", "SYSTEMROOT")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(folder / "home"))
    monkeypatch.setenv("RUN_KFP_ALLOW_FACTORIES", "1")  # the factories of the corpus are ours
    monkeypatch.chdir(folder)
    # What the program sets for its process, and what factories leave behind.
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in [name for name in sys.modules if name.startswith(("factory_", "my_package"))]:
        monkeypatch.delitem(sys.modules, name)

    def run(*args: str) -> tuple[int, Any]:
        code = execute(["check", *args, "--offline", "--json"])
        printed = capsys.readouterr()
        assert printed.out, printed.err
        return code, json.loads(printed.out)

    return run


@pytest.mark.parametrize("entry", [pytest.param(entry, id=entry.name) for entry in ENTRIES])
def test_nothing_is_said_against_a_valid_input(entry: Entry, folder: Path, check: Check) -> None:
    named = lay_out(entry, folder)

    code, result = check(*named, *entry.args())

    told = [
        f"{found['severity']} {found['code']} {found['place']}: {found['message']}"
        for found in result["findings"]
        if found["severity"] == "error" or (found["severity"] == "warning" and found["code"] not in entry.expected)
    ]
    assert told == []
    assert code == 0
    assert set(entry.expected) <= {found["code"] for found in result["findings"] if found["severity"] == "warning"}


@pytest.mark.parametrize("path", sorted((CORPUS / "refused").iterdir()), ids=lambda path: path.stem)
def test_a_loop_that_kfp_compiles_wrongly_is_told(path: Path, folder: Path, check: Check) -> None:
    """The control: near to the valid ones, and refused by Vertex AI (kubeflow/pipelines#6628, #13273)."""
    shutil.copy(path, folder / path.name)
    params = ["-p", 'outer=["x"]'] if path.stem == "same-list-twice" else []

    _, result = check("-f", path.name, *params, *Entry("", "", "").args(), "--region", "us-east1")

    bad = {found["code"] for found in result["findings"] if found["severity"] in ("error", "warning")}
    assert "RK-SPEC-REFERENCE" in bad


def test_the_corpus_is_broad() -> None:
    assert len(ENTRIES) >= 45
    assert len({entry.family for entry in ENTRIES}) >= 10


def test_every_file_of_the_corpus_is_checked() -> None:
    files = {
        path.relative_to(CORPUS).as_posix()
        for folder, suffixes in (("registries", (".toml",)), ("compiled", (".yaml", ".json")))
        for path in (CORPUS / folder).iterdir()
        if path.suffix in suffixes
    }
    assert files == {entry.source for entry in ENTRIES if entry.source in files}
