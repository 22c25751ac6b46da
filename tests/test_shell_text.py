"""The reader of shell scripts: what it makes of each form, what it refuses, and how long it takes."""

from __future__ import annotations

import contextlib
import random
import re
import time

import pytest

from run_kfp.shell_text import (
    LONGEST_SCRIPT,
    Command,
    Compound,
    Script,
    ShellSyntaxError,
    Word,
    read_shell,
    words_of,
)


def shown(script: Script) -> str:
    """Write a script as it was read: `&&`, `||`, `|`, `!` and `&` as in a shell, each part in its own brackets."""
    return "; ".join(
        "".join(
            f" {operator} {'!' * pipeline.negated}{' | '.join(map(shown_node, pipeline.parts))}"
            for operator, pipeline in zip(("", *chain.operators), chain.pipelines, strict=True)
        ).strip()
        + " &" * chain.background
        for chain in script.chains
    )


def shown_node(node: Command | Compound) -> str:
    """Write `[A=1 word >file]` for a command, `kind(words ?condition :body >file)` for a compound one."""
    redirects = [f"{one.operator}{shown_word(one.target)}" for one in node.redirects]
    if isinstance(node, Command):
        return f"[{' '.join([*map(shown_word, node.assignments), *map(shown_word, node.words), *redirects])}]"
    conditions = [f"?{shown(one)}" for one in node.conditions]
    bodies = [f":{shown(one)}" for one in node.bodies]
    return f"{node.kind} ({' '.join([*map(shown_word, node.words), *conditions, *bodies, *redirects])})"


def shown_word(word: Word) -> str:
    """Write `'…'` around a word with quotes, `~` before one that is expanded, and what it expands behind it."""
    text = f"{'' if word.literal else '~'}{repr(word.text) if word.quoted else word.text}"
    text += "".join(f"<{one.name}{one.operator}>" for one in word.expansions)
    return text + "".join(f"«{shown(one)}»" for one in word.scripts)


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
    ("text", "tree", "features"),
    [
        ("a && b || c | d & e", "[a] && [b] || [c] | [d] &; [e]", ()),
        ("!  ! ! a | b", "![a] | [b]", ()),
        ("! a && ! b", "![a] && ![b]", ()),
        ("time -p a | b", "[a] | [b]", ()),
        ("time a", "[a]", ()),
        ("a |& b |\n c", "[a] | [b] | [c]", ("|&",)),
        ("a &&\n\nb ||\nc", "[a] && [b] || [c]", ()),
        ("a & b &", "[a] &; [b] &", ()),
        ("a;b;", "[a]; [b]", ()),
        ("f() { a; } | b", "function (f :{ (:[a])) | [b]", ()),
        ("f ( ) ( a )", "function (f :( (:[a]))", ()),
        ("f()\n\n{ a; }", "function (f :{ (:[a]))", ()),
        (
            "function f { a; } > x; function g ( ) { b; }",
            "function (f :{ (:[a]) >x); function (g :{ (:[b]))",
            ("function",),
        ),
        ("function h\n\n{ a; }", "function (h :{ (:[a]))", ("function",)),
        ("A=1 B+=2 C[0]=3 d E=4 > f", "[A=1 B+=2 C[0]=3 d E=4 >f]", ()),
        ("A=$(b) c", "[~A=$(b)«[b]» c]", ()),
        ("> f A=1 b", "[A=1 b >f]", ()),
        ("a >f 2>&1 <g >>h <>i <&3 >|j 5>&- {k}>l", "[a >f >&1 <g >>h <>i <&3 >|j >&- >l]", ()),
        ('a &> f &>> g <<< "h $i"', "[a &>f &>>g <<<~'h $i'<i>]", ("&>", "<<<")),
        ("{ a; } > f 2> g; ( b ) < h", "{ (:[a] >f >g); ( (:[b] <h)", ()),
        ("(a;b)&&{ c;}", "( (:[a]; [b]) && { (:[c])", ()),
        (
            "if a; then b; elif c; d; then e; elif f\nthen g\nelse h; fi > i",
            "if (?[a] ?[c]; [d] ?[f] :[b] :[e] :[g] :[h] >i)",
            (),
        ),
        ("if a\nthen b\nfi && c", "if (?[a] :[b]) && [c]", ()),
        ("while a; b; do c; done < f", "while (?[a]; [b] :[c] <f)", ()),
        ("until a\ndo\nb\ndone", "until (?[a] :[b])", ()),
        ('for x in 1 2 "$y" ; do a; done > f', "for (x 1 2 ~'$y'<y> :[a] >f)", ()),
        ("for x; do a; done", "for (x :[a])", ()),
        ("for x\ndo a; done", "for (x :[a])", ()),
        ("for x in 1\ndo\na\ndone", "for (x 1 :[a])", ()),
        ("for x\nin 1; do a; done", "for (x 1 :[a])", ()),
        ("for x in 1 2; { a; }", "for (x 1 2 :[a])", ()),
        ("for ((i = 0; i < 3; i++)); do a; done", "for (:[a])", ("for ((",)),
        ("for ((;;)) { a; }", "for (:[a])", ("for ((",)),
        ("select x in a; do b; done", "select (x a :[b])", ("select",)),
        ('case $x in a) b;; (c|"d") e ;& f*) g;;& h) esac', "case (~$x<x> a c 'd' f* h :[b] :[e] :[g] :)", ()),
        ("case x\nin\n\na ) b\n\n;;\n*) c\nesac > f", "case (x a * :[b] :[c] >f)", ()),
        ("coproc a b", "[a b]", ("coproc",)),
        ("[[ -n $a && ( b == c ) || ! d < e ]] && f", "[[ (-n ~$a<a> b == c ! d e) && [f]", ("[[",)),
        ("[[ $a =~ ^(b|c d)+$ ]] || g", "[[ (~$a<a> =~ ^(b|c d)+$) || [g]", ("[[",)),
        ("[[ a =~ b ]]", "[[ (a =~ b)", ("[[",)),
        ("[[ a\n]]", "[[ (a)", ("[[",)),
        ("((a + (b * 2))) && c", "(( () && [c]", ("((",)),
        ("((a); (b))", "( (:( (:[a]); ( (:[b]))", ()),
        ("((a) | b)", "( (:( (:[a]) | [b])", ()),
        ("((a)\nb)", "( (:( (:[a]); [b])", ()),
        ('a $((1 + 2)) "$(( (3) ))" $((b); c)', "[a ~$((1 + 2)) ~'$(( (3) ))' ~$((b); c)«( (:[b]); [c]»]", ()),
        ('a=(1 $b "c d"\n # e\n f) g', "[~'a=(1$bc df'<b> g]", ("array",)),
        ("a=( $(b) <x ) c", "[~a=($(b)x«[b]» c]", ("array",)),
        ("b ?(c|d) *(e) +(f) @(g) !(h)", "[b ~?(cd ~*(e ~+(f ~@(g ~!(h]", ()),
        ("a 'b c'd\"e f\"g\\ h \\\ni", "[a 'b cde fg h' i]", ()),
        ('a "b\\"c\\\\d\\$e\\`f\\g\\\nh" \'i\\j\'', "[a 'b\"c\\\\d$e`f\\\\gh' 'i\\\\j']", ()),
        (
            'a "$b ${c} $d_1e $12 $@ $# $? $$ $! $-" $ "$" $%',
            "[a ~'$b ${c} $d_1e $12 $@ $# $? $$ $! $-'<b><c><d_1e><1><@><#><?><$><!><-> $ '$' $%]",
            (),
        ),
        ("a ${b} ${b:-c} ${b:=c d} ${b:?e}", "[a ~${b}<b> ~${b:-c}<b:-> ~${b:=c d}<b:=> ~${b:?e}<b:?>]", ()),
        (
            "a ${b:+f} ${b-g} ${b=h} ${b?i} ${b+j}",
            "[a ~${b:+f}<b:+> ~${b-g}<b-> ~${b=h}<b=> ~${b?i}<b?> ~${b+j}<b+>]",
            (),
        ),
        (
            "a ${b%c} ${b%%c} ${b#c} ${b##c} ${#b}",
            "[a ~${b%c}<b%> ~${b%%c}<b%%> ~${b#c}<b#> ~${b##c}<b##> ~${#b}<b#>]",
            (),
        ),
        (
            "a ${#} ${#@} ${!b} ${!} ${b[0]} ${b[@]:1}",
            "[a ~${#}<#> ~${#@}<@#> ~${!b}<b> ~${!}<!> ~${b[0]}<b> ~${b[@]:1}<b:>]",
            ("${…}", "array"),
        ),
        (
            "a ${b/c/d} ${b//c} ${b^} ${b^^} ${b,}",
            "[a ~${b/c/d}<b/> ~${b//c}<b//> ~${b^}<b^> ~${b^^}<b^^> ~${b,}<b,>]",
            ("${…}",),
        ),
        (
            "a ${b,,} ${b:1:2} ${b@Q} ${1} ${10}",
            "[a ~${b,,}<b,,> ~${b:1:2}<b:> ~${b@Q}<b@> ~${1}<1> ~${10}<10>]",
            ("${…}",),
        ),
        (
            'a ${b:-$(c $d)} "${e:-${f:-"g h"}}" ${i:-\'j }\' \\} }',
            "[a ~${b:-$(c $d)}<b:->«[c ~$d<d>]» ~'${e:-${f:-\"g h\"}}'<e:-><f:-> ~${i:-'j }' \\} }<i:->]",
            (),
        ),
        ("a ${b:-\"c 'd'\"} \"${b:-'c'}\"", "[a ~${b:-\"c 'd'\"}<b:-> ~\"${b:-'c'}\"<b:->]", ()),
        ('a $(b "$(c)" `d`) "x $(e) y"', "[a ~$(b \"$(c)\" `d`)«[b ~'$(c)'«[c]» ~`d`«[d]»]» ~'x $(e) y'«[e]»]", ()),
        ('a `b \\`c\\` \\$d` "`e`"', "[a ~`b \\`c\\` \\$d`«[b ~`c`«[c]» ~$d<d>]» ~'`e`'«[e]»]", ()),
        ("a <(b -c) >(d) x<y", "[a ~<(b -c)«[b -c]» ~>(d)«[d]» x <y]", ("<(…)",)),
        ("a $'b\\n' $'c' $\"d e\" \"$'f'\"", "[a ~'b\\\\n' 'c' 'd e' \"$'f'\"]", ("$'…'",)),
        ('a # b\nc#d e\\#f "#g"', "[a]; [c#d 'e#f' '#g']", ()),
        ("cat <<A <<-'B'; c\nx $y \\$z\nA\n\t`d`\n\tB\ne", "[cat <<~x $y $z<y> <<-`d`]; [c]; [e]", ()),
        ('cat <<"A"\n$b\nA', "[cat <<$b]", ()),
        ("cat << \\A\n$b\nA", "[cat <<$b]", ()),
        ("cat <<A\n\"b\" 'c' $(d) \\e\nA", "[cat <<~\"b\" 'c' $(d) \\e«[d]»]", ()),
        ("cat <<A\nb", "[cat <<b]", ()),
        ("cat <<A", "[cat <<A]", ()),
        (
            'a {b,c} {1..3} {d} $x{e,f} "{g,h}" {} {i ,j}',
            "[a {b,c} {1..3} {d} ~$x{e,f}<x> '{g,h}' {} {i ,j}]",
            ("{…}",),
        ),
        ("{ a; }; {b; }a", "{ (:[a]); [{b]; [}a]", ()),
        ("! [[ a ]]", "![[ (a)", ("[[",)),
        ("ifa b; if=1 c; done=2 d", "[ifa b]; [if=1 c]; [done=2 d]", ()),
        ("echo if then fi { }", "[echo if then fi { }]", ()),
        ("a%b^c~d,e:f]g", "[a%b^c~d,e:f]g]", ()),
        ("a\tb", "[a b]", ()),
        ("if a; then ! b; fi", "if (?[a] :![b])", ()),
        ("(a)", "( (:[a])", ()),
        ("( (a) )", "( (:( (:[a]))", ()),
        ("{\na\n}", "{ (:[a])", ()),
        ('a ""', "[a '']", ()),
        ("a ''", "[a '']", ()),
        ("a \\", "[a '\\\\']", ()),
        ("''", "['']", ()),
        ("! ! a", "[a]", ()),
        ("$(a)", "[~$(a)«[a]»]", ()),
        ("a=b", "[a=b]", ()),
        ("a\x0bb", "[a\x0bb]", ()),
        ("a=(\x0b1)", "[~a=(1]", ("array",)),
    ],
)
def test_the_whole_of_what_is_read(text: str, tree: str, features: tuple[str, ...]) -> None:
    read = read_shell(text)
    assert shown(read.script) == tree
    assert read.features == features


@pytest.mark.parametrize(
    ("text", "words", "quote"),
    [
        ("a 'b", "a single quote is open", True),
        ('a "b', '" is missing', True),
        ("a `b", "a backtick is open", True),
        ("a `b\\`", "a backtick is open", True),
        ("a $'b", "a single quote is open", True),
        ("a $(b", "')' is missing", False),
        ("a $(b 'c", "a single quote is open", True),
        ("if a; then b", "'fi' is missing", False),
        ("if a", "'then' is missing", False),
        ("if a then b; fi", "'then' is missing", False),
        ("while a; do b", "'done' is missing", False),
        ("while a; b; done", "'do' is missing", False),
        ("until a; do b; done c", "unexpected 'c'", False),
        ("for x in 1; b", "'do' is missing", False),
        ("for x in 1; do b", "'done' is missing", False),
        ("for ; do a; done", "a word is missing", False),
        ("for ((a; do b; done", "'))' is missing", False),
        ("case a b", "'in' is missing", False),
        ("case a in b) c", "a word is missing", False),
        ("case a in b", "a word is missing", False),
        ("a (b)", "')' is missing", False),
        ("A=1 (b)", "unexpected '('", False),
        ("a ;; b", "unexpected ';'", False),
        ("a ;& b", "unexpected ';'", False),
        ("; a", "a command is missing", False),
        ("| a", "a command is missing", False),
        ("a |", "a command is missing", False),
        ("a &&", "a command is missing", False),
        ("a || ;", "a command is missing", False),
        ("! ", "a command is missing", False),
        ("& a", "a command is missing", False),
        (")", "a command is missing", False),
        ("a )", "unexpected ')'", False),
        ("a; )", "a command is missing", False),
        ("{ a", "'}' is missing", False),
        ("{ a }", "'}' is missing", False),
        ("(a", "')' is missing", False),
        ("{ }x", "'}' is missing", False),
        ("[[ a", "']]' is missing", False),
        ("f() a", "the body of a function is missing", False),
        ("f(", "')' is missing", False),
        ("f(a) { b; }", "')' is missing", False),
        ("function", "a word is missing", False),
        ("function f a", "the body of a function is missing", False),
        ("a ${", "bad substitution", False),
        ("a ${b", "bad substitution", False),
        ("a ${}", "bad substitution", False),
        ("a ${b c}", "bad substitution", False),
        ("a ${b[0}", "bad substitution", False),
        ("a ${b:", "} is missing", False),
        ('a ${b:-"c}', '" is missing', True),
        ("a >", "a word is missing", False),
        ("a > ;", "a word is missing", False),
        ("a <<", "a word is missing", False),
        ("a=(b", "')' is missing", False),
        ("a=('b'", "')' is missing", False),
        ("x?(a", "')' is missing", False),
        ("$((1", "')' is missing", False),
        ("`a)`", "unexpected ')'", False),
        ('"$(a"', '" is missing', True),
        ("if a; fi", "'then' is missing", False),
        ("time", "a command is missing", False),
        ("coproc", "a command is missing", False),
        ("a ${b&}", "bad substitution", False),
        ("a;\n\n;", "a command is missing", False),
        ("a\n;b", "a command is missing", False),
    ],
)
def test_what_is_no_script(text: str, words: str, quote: bool) -> None:
    with pytest.raises(ShellSyntaxError) as caught:
        read_shell(text)
    assert str(caught.value) == words
    assert caught.value.quote is quote


def test_an_array_far_behind_in_a_script() -> None:
    assert shown(read_shell("b " * 150 + "; a=(1)").script).endswith("; [~a=(1]")


def test_the_longest_script() -> None:
    assert flat(read_shell("a" * LONGEST_SCRIPT).script) == [["a" * LONGEST_SCRIPT]]
    with pytest.raises(ShellSyntaxError, match=r"^too long$"):
        read_shell("a" * (LONGEST_SCRIPT + 1))


@pytest.mark.parametrize(("begin", "end"), [("$(", ")"), ("${a:-", "}"), ("{ ", "; }"), ('"$(', ')"'), ("( ", ")")])
def test_the_deepest_script(begin: str, end: str) -> None:
    read_shell(begin * 39 + "a" + end * 39)
    with pytest.raises(ShellSyntaxError, match=r"^too deep$"):
        read_shell(begin * 40 + "a" + end * 40)
    assert shown(read_shell(f"{begin}a{end}; " * 80).script).count(";") >= 79, "what is closed does not count"


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
