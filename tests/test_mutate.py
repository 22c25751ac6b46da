"""The mutation run changes what is behaviour, one place at a time, and nothing else."""

from __future__ import annotations

import textwrap

import pytest

import mutate


def changes(source: str) -> list[tuple[str, str]]:
    """What is changed in a module, and into what."""
    return [(each.before, each.after) for each in mutate.mutants("m.py", textwrap.dedent(source).encode())]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = a < b", [("a < b", "(a <= b)")]),
        ("x = a and b", [("a and b", "(a or b)")]),
        ("x = not a", [("not a", "(a)")]),
        ("x = a + b", [("a + b", "(a - b)")]),
        ("x = [3, True]", [("3", "4"), ("True", "False")]),
        ("x = a if b else c", [("a if b else c", "(c if b else a)")]),
        ("def f():\n    return x", [("return x", "return None")]),
        ("f(x)", [("f(x)", "pass")]),
        ("raise x", [("raise x", "pass")]),
        ("if a: x = y", [("a", "(not a)")]),
        ("x = [y for y in z if y]", [("y", "(not y)")]),
        ("while a:\n    break", [("a", "(not a)"), ("break", "continue")]),
        ("x = 'é', a == b", [("a == b", "(a != b)")]),
    ],
)
def test_what_is_changed(source: str, expected: list[tuple[str, str]]) -> None:
    assert changes(source) == expected


def test_what_is_no_behaviour_is_left_alone() -> None:
    source = '''
    """Text: 1 < 2."""
    __all__ = ["a", 1]
    if TYPE_CHECKING:
        import x
    if sys.platform == "win32":
        x = 1
    @dataclass(frozen=True)
    class A:
        y: Literal[1]
        def f(self, z: Literal[2]) -> Literal[3]:
            return "text"
    class B(Protocol):
        z = 1
    x = f"{1 + 2}"
    '''

    assert changes(source) == []


def test_a_mutant_is_run_by_the_lines_of_its_statement_or_of_its_function() -> None:
    source = b"LIMIT = 1\ndef f(x=2):\n    if x < (\n        3\n    ):\n        return g(4)\n"

    lines = {each.after: each.lines for each in mutate.mutants("m.py", source)}

    assert (lines["2"], lines["3"], lines["4"], lines["5"]) == (None, (3, 6), (3, 5), (6, 6))


def test_one_change_is_made_and_the_rest_is_as_it_was() -> None:
    source = "é = a < b  # a < b\n".encode()

    (mutant,) = mutate.mutants("m.py", source)

    assert mutant.applied(source).decode() == "é = (a <= b)  # a < b\n"
    assert str(mutant) == "m.py:1: a < b  →  (a <= b)"


def test_a_seed_gives_the_same_mutants_and_another_seed_others() -> None:
    first, again, other = (mutate.chosen(["runs.py"], 5, seed) for seed in (1, 1, 2))

    assert first == again != other
    assert {each.module for each in first} == {"runs.py"}


@pytest.mark.parametrize(("module", "before", "after", "reason"), mutate.EQUIVALENT)
def test_a_change_that_nobody_can_observe_is_one_of_a_module(module: str, before: str, after: str, reason: str) -> None:
    source = (mutate.SOURCES / mutate.PACKAGE / module).read_bytes()

    assert [(each.before, each.after) for each in mutate.mutants(module, source)].count((before, after)) == 1
    assert reason
    assert (module, before, after) not in {
        (each.module, each.before, each.after) for each in mutate.chosen([module], 10**6, 1)
    }
