"""What is read of a stranger takes a time that grows with its size, and no faster."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from dotenv import dotenv_values
from hypothesis import given
from hypothesis import strategies as st

from run_kfp.findings import Finding
from run_kfp.image_reference import BadImageError, parse_image
from run_kfp.pipeline.placeholders import bodies, replaced
from run_kfp.preflight.offline import calls, placeholders, references
from run_kfp.settings import read_env_file, wrong_form

# Characters of the smaller text: of one that is four times as long, a quadratic search takes some seconds.
SIZE = 10_000


def seconds(call: Callable[[], object]) -> float:
    """The least time that it takes of this process in three attempts; what else the machine does is not in it."""
    times = []
    for _ in range(3):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def assert_linear(call: Callable[[str], object], unit: str, before: str = "", behind: str = "") -> None:
    """Compare the times for a text and for one four times as long: 4 is linear, 16 quadratic."""

    def text(size: int) -> str:
        return before + unit * (size // len(unit)) + behind

    short = seconds(lambda: call(text(SIZE)))
    assert seconds(lambda: call(text(4 * SIZE))) < 9 * short + 0.05


@pytest.mark.parametrize(
    ("before", "unit", "behind"),
    [
        ("A=x", " ", "\n"),
        ("A=x", " ", "y\n"),
        ("A=x", "\t", "#y\n"),
        ("A=x", " #", "\n"),
        ("", " ", "\n"),
        ("A", " ", "\n"),
        ("A=", "'", "\n"),
        ('A="', '\\"', "\n"),
        ("", "a b\n", ""),
        ("", "\n", ""),
    ],
)
def test_an_env_file(tmp_path: Path, before: str, unit: str, behind: str) -> None:
    def read(text: str) -> None:
        (tmp_path / ".env").write_text(text)
        read_env_file(tmp_path / ".env", [])

    assert_linear(read, unit, before, behind)


@given(st.text(alphabet="a=# \t'\"\\\x0b\u00a0\n", max_size=30))
def test_an_env_file_is_read_as_python_dotenv_reads_it(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "of-dotenv.env"
    path.write_text(f"A={text}", encoding="utf-8", newline="")
    faults: list[Finding] = []

    found = read_env_file(path, faults)

    if not faults:
        assert found == dotenv_values(path, interpolate=False)


PIECES = ["{{$", "{{$.inputs.parameters['", "}}", "{", "{{channel:", "{{$.inputs.parameters['x']}}", '{"Concat":[']


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize(
    "search",
    [
        lambda text: list(bodies(text)),
        lambda text: replaced(text, lambda _: "x"),
        lambda text: list(calls._PARAMETER.finditer(text)),
        lambda text: list(placeholders._PLACEHOLDER.finditer(text)),
    ],
)
def test_placeholders(search: Callable[[str], object], piece: str) -> None:
    assert_linear(search, piece)
    assert_linear(search, piece, "}}")


@pytest.mark.parametrize(
    ("text", "found", "left"),
    [
        ("{{$}}", ["{{$}}"], "-"),
        ("a{{$.x}}b{{$}}c", ["{{$.x}}", "{{$}}"], "a-b-c"),
        ("{{$ {{$}} }}", ["{{$ {{$}}"], "- }}"),
        ("}}{{$", [], "}}{{$"),
        ("{{$", [], "{{$"),
        ("{{$}", [], "{{$}"),
        ("", [], ""),
        ("{{$\n}}{{$", ["{{$\n}}"], "-{{$"),
    ],
)
def test_a_placeholder_is_the_shortest_match(text: str, found: list[str], left: str) -> None:
    assert [text[start:end] for start, end, _ in bodies(text)] == found
    assert replaced(text, lambda _: "-") == left


@pytest.mark.parametrize("unit", ["<", "{", "$", " ", "A", "/", "gs://", "-", "a.", "serviceAccount:", "<>"])
@pytest.mark.parametrize("name", ["project", "region", "bucket", "pipeline_root", "service_account", "network"])
def test_the_form_of_a_setting(name: str, unit: str) -> None:
    assert_linear(lambda text: wrong_form(name, text), unit)


def _checked(text: str) -> None:
    try:
        parse_image(text)
    except BadImageError:
        return


@pytest.mark.parametrize("unit", ["a:", "a/", "a@", " ", "a b", "{", "<", "-", "a.", "token: "])
def test_an_image(unit: str) -> None:
    assert_linear(references._without_login, unit)
    assert_linear(_checked, unit, "a", "z")


@pytest.mark.parametrize("unit", ["a", "'", '"', "\\", "a'b\"", "'a' "])
def test_an_open_quote_of_a_script(unit: str) -> None:
    assert_linear(lambda text: calls._quote_is_open(text * 20), unit)


@pytest.mark.parametrize(
    ("script", "is_open"),
    [
        ("echo 'a", True),
        ('echo "a', True),
        ("echo 'a' b", False),
        ("echo it\\'s", False),
        ("a '\"' \"'\"", False),
        ("", False),
    ],
)
def test_whether_a_quote_is_open(script: str, is_open: bool) -> None:
    assert calls._quote_is_open(script) == is_open
