"""Positions: from the words of a place to a line and a column."""

from __future__ import annotations

import json
import random
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from run_kfp.places import Places, Position


@pytest.fixture(autouse=True)
def _in_a_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


REGISTRY = """\
# a note
[pipeline]
name = "flowers"
labels = { team = "vision", "team.b" = "c", 'd' = "e" }

[containers.1]
name = "fetch"
image = "my-team/fetch:1"
args = ["-c", { param = "tag" }, [
    "deep"
]]
accelerator = { type = "NVIDIA_L4", count = 2 }

[containers."2"]
name = "train"
env.MODE = "online"
accelerator.type = "NVIDIA_L4"
\tcpu = 4

[[lists]]
a = 1

[[lists]]
a = 2
[lists.inner]
b = 3

[containers.3]
name = "évaluer"; image = "é"
"""

# Place within the file: line, column, and the text that stands there.
IN_TOML = {
    "pipeline": (2, 2, "pipeline"),
    "pipeline.name": (3, 1, "name"),
    "pipeline.labels": (4, 1, "labels"),
    "pipeline.labels.team": (4, 12, "team"),
    "pipeline.labels.team.b": (4, 29, '"team.b"'),
    "pipeline.labels.d": (4, 45, "'d'"),
    "containers.1": (6, 13, "1"),
    "containers.1.image": (8, 1, "image"),
    "containers.1.args": (9, 1, "args"),
    "containers.1.args.0": (9, 9, '"-c"'),
    "containers.1.args.1": (9, 15, "{ param"),
    "containers.1.args[1].param": (9, 17, "param"),
    "containers.1.args.2.0": (10, 5, '"deep"'),
    "containers.1.accelerator.count": (12, 37, "count"),
    "containers.2.env.MODE": (16, 5, "MODE"),
    "containers.2.accelerator.type": (17, 13, "type"),
    "containers.2.cpu": (18, 2, "cpu"),
    "lists.0.a": (21, 1, "a"),
    "lists.1.a": (24, 1, "a"),
    "lists.1.inner.b": (26, 1, "b"),
    # What is missing stands for the nearest table that is there.
    "containers.1.memory": (6, 13, "1"),
    "containers.1.args.7": (9, 1, "args"),
    "containers.2.accelerator.count": (17, 1, "accelerator"),
    "containers.9.image": (6, 2, "containers"),
    "settings.region": (1, 1, "# a note"),
    "line 12": (12, 1, "accelerator"),
}


def text_at(text: str, found: Position) -> str:
    return text.splitlines()[found.line - 1][found.column - 1 :]


@pytest.mark.parametrize("place", IN_TOML)
def test_a_key_of_a_registry(place: str) -> None:
    Path("run-kfp.toml").write_text(REGISTRY, encoding="utf-8")
    line, column, starts = IN_TOML[place]

    found = Places().position(f"run-kfp.toml: {place}")

    assert found == Position("run-kfp.toml", line, column)
    assert text_at(REGISTRY, found).startswith(starts)


@pytest.mark.parametrize(
    ("content", "place", "line", "column"),
    [
        (REGISTRY.replace("\n", "\r\n").encode(), "containers.1.accelerator.count", 12, 37),
        (b"\xef\xbb\xbf[pipeline]\nname = 1\n", "pipeline", 1, 2),
        ('[a]\nx = { "é😀" = 1, y = 2 }\n'.encode(), "a.x.y", 2, 17),
        ('[a]\nx = { "é😀" = 1, y = 2 }\n'.encode(), "a.x.é😀", 2, 7),
        (b"[a]\n\t\tx\t=\t[ 1,\t2 ]\n", "a.x.1", 2, 12),
        (b"[a]\nx = 1", "a.x", 2, 1),
        (b'[a]\n"x\\u0041" = 1\n', "a.xA", 2, 1),
        (b"[a]\nx = \n[b]\ny = 1\n", "b.y", 4, 1),
        (b"\n# note\n top = 1\n[a]\nx = 1\n", "top", 3, 2),
        (b"[]\n[a]\nx = 1\n", "a.x", 3, 1),
        (b"[[]]\n[a]\nx = 1\n", "a.x", 3, 1),
        (b"[[a.b]]\nx = 1\n[[a.b]]\ny = 1\n", "a.b.1.y", 4, 1),
    ],
)
def test_bytes_of_every_kind(content: bytes, place: str, line: int, column: int) -> None:
    Path("run-kfp.toml").write_bytes(content)
    assert Places().position(f"run-kfp.toml: {place}") == Position("run-kfp.toml", line, column)


PIPELINE = """\
# PIPELINE DEFINITION
deploymentSpec:
  executors:
    exec-train:
      container:
        args: [-c, "é", {a: 1}]
        env:
        - name: A
          value: b
        image: &image my-team/train
    exec-again:
      container: {image: *image}
root:
  dag:
    tasks:
      train.it: {}
---
platforms: {}
"""


@pytest.mark.parametrize(
    ("place", "line", "column"),
    [
        ("deploymentSpec.executors.exec-train.container.image", 10, 9),
        ("deploymentSpec.executors.exec-train.container.args[1]", 6, 20),
        ("deploymentSpec.executors.exec-train.container.args.2.a", 6, 26),
        ("deploymentSpec.executors.exec-train.container.env.0.value", 9, 11),
        ("deploymentSpec.executors.exec-again.container.image", 12, 19),
        ("deploymentSpec.executors.exec-train.container.resources.cpuLimit", 5, 7),
        ("root.dag.tasks.train.it", 16, 7),
        ("schemaVersion", 1, 1),
    ],
)
@pytest.mark.parametrize("name", ["pipeline.yaml", "a folder: of mine/compiled"])
def test_a_key_of_a_pipeline(place: str, line: int, column: int, name: str) -> None:
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text(PIPELINE, encoding="utf-8")
    assert Places().position(f"{name}: {place}") == Position(name, line, column)


def test_a_place_may_be_in_a_document_behind_the_first() -> None:
    Path("p.yaml").write_text("root:\n  a: 1\n---\nplatforms:\n  kubernetes:\n    b: 2\n", encoding="utf-8")

    assert Places().position("p.yaml: platforms.kubernetes.b") == Position("p.yaml", 6, 5)
    assert Places().position("p.yaml: root.a") == Position("p.yaml", 2, 3)


def test_json_is_a_pipeline_too() -> None:
    Path("p.json").write_text('{\n\t"root": {"dag": {}}\n}\n', encoding="utf-8")
    assert Places().position("p.json: root.dag") == Position("p.json", 2, 11)


@pytest.mark.parametrize("text", ["a: &x [*x]\n", "a: [\n", "[" * 5000, "- &a [1]\n- *b\n"])
def test_a_file_that_is_a_circle_or_nothing_has_a_beginning(text: str) -> None:
    Path("p.yaml").write_text(text, encoding="utf-8")
    found = Places().position("p.yaml: a.0.0.0.0")
    assert found is not None
    assert found.line == 1


@pytest.mark.parametrize(
    ("place", "line", "column"),
    [
        (".env A", 1, 1),
        (".env SECOND", 4, 3),
        (".env TWICE", 6, 1),
        (".env LAST", 9, 1),
        (".env NOT_THERE", 1, 1),
        (".env (A=…)", 1, 1),
    ],
)
def test_a_line_of_an_env_file(place: str, line: int, column: int) -> None:
    Path(".env").write_text("A=1\n\n# note\n  SECOND='x'\nTWICE=1\nTWICE=2\n\n\nLAST=1\n", encoding="utf-8")
    assert Places().position(place) == Position(".env", line, column)


def test_a_key_without_its_file_is_one_of_the_registry() -> None:
    Path("mine.conf").write_text("[secrets.git_login]\nenv = 'A'\n", encoding="utf-8")
    places = Places("mine.conf")
    assert places.position("secrets.git_login") == Position("mine.conf", 1, 10)
    assert places.position("mine.conf: secrets.git_login.env") == Position("mine.conf", 2, 1)
    assert places.position("params.git_login") is None


@pytest.mark.parametrize(
    "place",
    ["-r 1", "--region", "this call", "environment GCP_REGION", "gone.toml: a.b", "x" * 5000, "a\0b: c", "", ".: a"],
)
def test_what_is_in_no_file_has_no_position(place: str) -> None:
    Path("environment").write_text("GCP_REGION=us-east1\n", encoding="utf-8")
    assert Places().position(place) is None


def test_a_file_is_its_first_line() -> None:
    Path("machines.toml").write_text("[regions]\n", encoding="utf-8")
    assert Places().position("machines.toml") == Position("machines.toml", 1, 1)


# ── any text ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(
    text=st.text(st.characters(codec="utf-8"), max_size=60),
    name=st.sampled_from(["a.toml", "a.yaml", ".env"]),
    words=st.text("ab.[]0: \n", max_size=12),
)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_position_lies_in_its_file(text: str, name: str, words: str) -> None:
    Path(name).write_bytes(text.encode("utf-8"))
    found = Places().position(f"{name}: {words}" if name != ".env" else f".env {words}")
    if found is not None and not words.startswith("line "):
        assert 1 <= found.line <= text.count("\n") + 1
        assert 1 <= found.column <= len(text.split("\n")[found.line - 1]) + 1


KEYS = st.sampled_from(["a", "b-c", "1", "d e", "f.g", "é", 'h"i', "😀"])
TABLES = st.recursive(
    st.integers(0, 9) | st.lists(st.integers(0, 9), max_size=3),
    lambda inner: st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


def written(key: str) -> str:
    """A key as TOML has it: as it is, or in quotes."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)


def lines(table: Mapping[str, Any], above: str, draw: random.Random) -> Iterator[str]:
    """Write a table in one of the ways that TOML has for each part of it."""
    later = []
    for key, value in table.items():
        path = f"{above}{written(key)}"
        way = draw.choice(("inline", "dotted", "header"))
        if isinstance(value, dict) and value and way == "header":
            later.append((path, value))
        elif isinstance(value, dict) and value and way == "dotted":
            yield from (f"{written(key)}.{line}" for line in dotted(value))
        else:
            yield f"{draw.choice(('', '  ', chr(9)))}{written(key)} = {inline(value)}"
    for path, value in later:
        yield f"[ {path}]"
        yield from lines(value, f"{path}.", draw)


def dotted(table: Mapping[str, Any]) -> Iterator[str]:
    for key, value in table.items():
        if isinstance(value, dict) and value:
            yield from (f"{written(key)} . {line}" for line in dotted(value))
        else:
            yield f"{written(key)} = {inline(value)}"


def inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{written(key)} = {inline(inner)}" for key, inner in value.items()) + " }"
    return str(value)


def places_of(value: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*above, key)
            yield from places_of(inner, (*above, key))


@given(table=st.dictionaries(KEYS, TABLES, min_size=1, max_size=4), draw=st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_key_is_found_however_it_is_written(table: dict[str, Any], draw: random.Random) -> None:
    text = "\n".join(lines(table, "", draw))
    assert tomllib.loads(text) == table
    Path("a.toml").write_text(text, encoding="utf-8")
    places = Places()
    for path in places_of(table):
        found = places.position(f"a.toml: {'.'.join(path)}")
        assert found is not None
        assert text_at(text, found).startswith(written(path[-1])), (path, text)
