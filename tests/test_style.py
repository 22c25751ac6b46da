"""The words that a person reads: none of those that docs/style.md replaces, in strings, rules, help or pages."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "run_kfp"
STYLE = ROOT / "docs" / "style.md"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

BANNED = re.compile(
    r"\b(?:(?:is|are) no|stands?|lies?|(?:is|are) told|mends?|anew|whole|nobody|of (?:its|their|your|his|her) own"
    r"|hand(?:s|ed)? over|give it by|a fault of this program|exclude each other|does nothing without"
    r"|looks at it any more|text of a template|stays done|without a sign|at the submission|whoever"
    r"|colours?|organisations?|(?-i:cancelled)|misspelt)\b",
    re.IGNORECASE,
)


def found(text: str) -> list[str]:
    """The banned words of a text, wherever its lines break."""
    return [match[0] for match in BANNED.finditer(" ".join(text.split()))]


def shown_strings(source: str) -> Iterator[tuple[int, str]]:
    """The string literals of a module that are not docstrings, with their lines; of an f-string its own words."""
    tree = ast.parse(source)
    docstrings = {
        id(statement.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        for statement in node.body
        if isinstance(statement, ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            if node.value.isidentifier():  # a name in code
                continue
            yield node.lineno, node.value


def prose(page: Path) -> str:
    """The text of a page, without names in code; of the page on style without the words that it replaces."""
    text = page.read_text(encoding="utf-8")
    if page == STYLE:
        text = re.sub(r"^\| .* \| (.*) \|$", r"\1", text, flags=re.MULTILINE)
    return re.sub(r"`[^`\n]+`", "", text)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_strings_have_none_of_the_banned_words(path: Path) -> None:
    strings = shown_strings(path.read_text(encoding="utf-8"))
    assert [(line, words, text) for line, text in strings if (words := found(text))] == []


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.toml")), ids=lambda path: path.stem)
def test_rules_have_none_of_the_banned_words(path: Path) -> None:
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    texts = {(name, key): str(text) for name, table in tables.items() for key, text in table.items()}
    assert {place: words for place, text in texts.items() if (words := found(text))} == {}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_pages_have_none_of_the_banned_words(page: Path) -> None:
    assert found(prose(page)) == []


def test_the_words_are_looked_for() -> None:
    source = '''
"""It stands here."""
def f(x):
    """Nobody reads it."""
    return f"it is no {x} and stands twice", "fine"
'''
    assert [words for _, text in shown_strings(source) for words in found(text)] == ["is no", "stands"]
    assert found("compile it\nanew, the\n whole of it") == ["anew", "whole"]
    assert found("an understanding that relies on wholesale") == []


def test_the_page_on_style_replaces_banned_words() -> None:
    """Each left column of its table has one, each right column none."""
    rows = re.findall(r"^\| (.*) \| (.*) \|$", STYLE.read_text(encoding="utf-8"), re.MULTILINE)[2:]
    assert len(rows) == 10
    assert [old for old, _ in rows if not found(old)] == []
    assert [new for _, new in rows if found(new)] == []
