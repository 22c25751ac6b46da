"""The reader of shell scripts: what it makes of each form, what it refuses, and how long it takes."""

from __future__ import annotations

import contextlib
import random
import re
import time

import pytest

from run_kfp.shell_text import LONGEST_SCRIPT, Command, Compound, Script, ShellSyntaxError, read_shell, words_of


def flat(script: Script) -> list[list[str]]:
    """Return the words of every simple command, in the order of the text."""
    return [[word.text for word in node.words] for node in script.nodes() if isinstance(node, Command)]


def expanded(text: str) -> list[str]:
    nodes = read_shell(text).script.nodes()
    return [one.name + one.operator for node in nodes for word in words_of(node) for one in word.expansions]


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ("a b; c\nd", [["a", "b"], ["c"], ["d"]]),
        ("a && b || c | d & e", [["a"], ["b"], ["c"], ["d"], ["e"]]),
        ("a 'b c' \"d e\" f\\ g h'i'j", [["a", "b c", "d e", "f g", "hij"]]),
        ("a # b\nc#d", [["a"], ["c#d"]]),
        ("a \\\n b", [["a", "b"]]),
        ("a\r\nb\r\n", [["a"], ["b"]]),
        ("a 2>&1 > b < c d", [["a", "d"]]),
        ("A=1 B='2 3' c", [["c"]]),
        ("(a; b) | { c; }", [["a"], ["b"], ["c"]]),
        ("if a; then b; elif c; then d; else e; fi", [["a"], ["c"], ["b"], ["d"], ["e"]]),
        ("while a; do b; done; until c\ndo d\ndone", [["a"], ["b"], ["c"], ["d"]]),
        ("for x in 1 2; do a; done; for y\ndo b; done", [["a"], ["b"]]),
        ("case $x in a|b) c ;; (*) d; esac; e", [["c"], ["d"], ["e"]]),
        ("f() { a; }; function g { b; }; f", [["a"], ["b"], ["f"]]),
        ('a "$(b "c")" `d e`', [["a", '$(b "c")', "`d e`"], ["b", "c"], ["d", "e"]]),
        ("a <(b) >(c)", [["a", "<(b)", ">(c)"], ["b"], ["c"]]),
        ("cat <<E; a\nb $(c)\nE\nd", [["cat"], ["c"], ["a"], ["d"]]),
        ("cat <<'E'\nb $(c)\nE\nd", [["cat"], ["d"]]),
        ("x=$(cat <<-E\n\ta\n\tE\n); b", [[], ["cat"], ["b"]]),
        ("! a; time b", [["a"], ["b"]]),
        ("[[ a =~ ^(x|y)$ && -f z ]] || b", [["b"]]),
        ("((a + 1)); b $((1 + (2))); ((c; d); e)", [["b", "$((1 + (2)))"], ["c"], ["d"], ["e"]]),
        ("echo if then; done=1 x", [["echo", "if", "then"], ["x"]]),
        ("", []),
        (" # nothing", []),
    ],
)
def test_commands(text: str, commands: list[list[str]]) -> None:
    assert flat(read_shell(text).script) == commands


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a $b ${c} \"$d\" '$e' \\$f $1 $@", ["b", "c", "d", "1", "@"]),
        ("a ${b:-$c} ${d%.*} ${#e} ${f//g/h} ${i[0]}", ["b:-", "c", "d%", "e#", "f//", "i"]),
        ("cat <<E\n$a \\$b '$c'\nE", ["a", "c"]),
        ("cat <<\\E\n$a\nE", []),
        ("a=$b c", ["b"]),
        ("for a in $b; do c; done", ["b"]),
        ('a "${b:-"c d"}" "cost $5"', ["b:-", "5"]),
        ("a $", []),
    ],
)
def test_expansions(text: str, names: list[str]) -> None:
    assert expanded(text) == names


@pytest.mark.parametrize(
    ("text", "features"),
    [
        ("[[ a ]]", ("[[",)),
        ("a=(1 2); b ${a[0]}", ("array",)),
        ("a <(b) <<< c &> d |& e", ("<(…)", "<<<", "&>", "|&")),
        ("function f { a; }", ("function",)),
        ("((a)); for ((;;)); do b; done", ("((", "for ((")),
        ("a {1..3} {b,c} '{d,e}' {}", ("{…}",)),
        ("a $'b' \"$'c'\" ${d^^}", ("$'…'", "${…}")),
        ("a ${b:-c} ${d:=e} $((1)) $(f) 2>&1", ()),
    ],
)
def test_what_only_some_shells_know(text: str, features: tuple[str, ...]) -> None:
    assert read_shell(text).features == features


def test_a_word_knows_whether_it_is_literal() -> None:
    nodes = read_shell("A=b C=$d 'e f' g$(h)").script.nodes()
    node = next(node for node in nodes if isinstance(node, Command))
    assert [(word.assignment, word.literal) for word in node.assignments] == [(("A", "b"), True), (("C", "$d"), False)]
    assert [(word.text, word.literal, word.quoted) for word in node.words] == [
        ("e f", True, True),
        ("g$(h)", False, False),
    ]


def test_the_parts_of_an_if() -> None:
    (node,) = [node for node in read_shell("if a; then b; else c; fi > d").script.nodes() if isinstance(node, Compound)]
    assert [flat(script) for script in node.conditions] == [[["a"]]]
    assert [flat(script) for script in node.bodies] == [[["b"]], [["c"]]]
    assert [(one.operator, one.target.text) for one in node.redirects] == [(">", "d")]


@pytest.mark.parametrize(
    ("text", "quote"),
    [
        ("a 'b", True),
        ('a "b', True),
        ("a `b", True),
        ("a $(b", False),
        ("if a; then b", False),
        ("a (b)", False),
        ("a ;; b", False),
        ("| a", False),
        ("a && ", False),
        (")", False),
        ("{ a", False),
        ("[[ a", False),
        ("f() a", False),
        ("a ${", False),
        ("a > ", False),
        ("a " * LONGEST_SCRIPT, False),
    ],
)
def test_what_is_no_script(text: str, quote: bool) -> None:
    with pytest.raises(ShellSyntaxError) as caught:
        read_shell(text)
    assert caught.value.quote is quote


PIECES = re.findall(
    r"\S+",
    "$( ` ${ } \" ' ( ) (( )) [[ ]] if then fi do done for in case esac ;; ; & | && || a = <<E E <( { } $ \\ # "
    "function x() ! $' < > 2>&1 [ select while coproc time a=( <<< ${a: ?(",
)


def test_any_text_is_read_or_refused() -> None:
    drawn = random.Random(7)
    for _ in range(5000):
        text = "".join(drawn.choice(PIECES) + drawn.choice(("", " ", "\n")) for _ in range(drawn.randint(1, 25)))
        with contextlib.suppress(ShellSyntaxError):
            read_shell(text)


@pytest.mark.parametrize(
    "piece",
    ["$(", "(", "((", "a|", "${a:-", "`", '"$(', "<<E ", "<<E\n", "if ", "a=(", "a\n", "$((1+", "[[ ", "{a,", "?("],
)
def test_the_time_does_not_grow_faster_than_the_text(piece: str) -> None:
    """Eight times the text takes about eight times as long, and not 64 times; or it is refused at once."""

    def seconds(size: int) -> float:
        best = 9.0
        for _ in range(3):
            start = time.process_time()
            with contextlib.suppress(ShellSyntaxError):
                read_shell(piece * (size // len(piece)))
            best = min(best, time.process_time() - start)
        return best

    assert seconds(LONGEST_SCRIPT) < max(25 * seconds(LONGEST_SCRIPT // 8), 0.05)
