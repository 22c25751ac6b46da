"""The text of a shell script, read as POSIX shells and bash read it; nothing is run.

One pass from left to right finds the commands, how they are joined, their words without quotes, and what a word
expands. What only some shells know (`[[`, arrays, …) is read as well and noted.

Source: POSIX.1-2024, Shell Command Language, 2.2 to 2.10; the reference manual of bash, chapters 3.1 to 3.5.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

# Longer texts and deeper ones are no script that a person wrote.
LONGEST_SCRIPT = 32_768
_DEEPEST = 40


class ShellSyntaxError(ValueError):
    """A text that is not understood as a script; `quote` says whether a quote is open at its end."""

    def __init__(self, message: str, *, quote: bool = False) -> None:
        """Take what is wrong."""
        super().__init__(message)
        self.quote = quote


@dataclass(frozen=True)
class Expansion:
    """A variable in a word.

    Attributes:
        name: of the variable, or the digit or sign of a special one (`1`, `@`, `?`).
        operator: what follows the name in braces (`:-`, `//`); empty where nothing does.
    """

    name: str
    operator: str = ""


@dataclass(frozen=True)
class Word:
    """A word of a command.

    Attributes:
        text: without its quotes; expansions stay as they were written.
        literal: whether it is what the program gets: nothing in it is expanded.
        quoted: whether a part of it is in quotes.
        expansions: its variables, those inside of a default too.
        scripts: its command and process substitutions.
    """

    text: str
    literal: bool = True
    quoted: bool = False
    expansions: tuple[Expansion, ...] = ()
    scripts: tuple[Script, ...] = ()

    @property
    def assignment(self) -> tuple[str, str] | None:
        """The name and the value of `NAME=value`, None where it is none."""
        match = _ASSIGNMENT.match(self.text)
        return (match["name"], self.text[match.end() :]) if match else None


@dataclass
class Redirect:
    """A redirection: its operator, and the file, descriptor or here-document that it names.

    The text of a here-document is read behind the line, when the command is complete: it is put in then.
    """

    operator: str
    target: Word


@dataclass(frozen=True)
class Command:
    """A simple command: the assignments in front of it, its words, its redirections."""

    assignments: tuple[Word, ...] = ()
    words: tuple[Word, ...] = ()
    redirects: tuple[Redirect, ...] = ()


@dataclass(frozen=True)
class Compound:
    """A compound command.

    Attributes:
        kind: "(", "{", "if", "while", "until", "for", "select", "case", "function", "[[" or "((".
        words: of `for NAME in WORDS`, `case WORD`, `[[ … ]]`; the name comes first. Of a function its name.
        conditions: of `if`, `elif`, `while` and `until`.
        bodies: what it holds besides.
        redirects: of the whole.
    """

    kind: str
    words: tuple[Word, ...] = ()
    conditions: tuple[Script, ...] = ()
    bodies: tuple[Script, ...] = ()
    redirects: tuple[Redirect, ...] = ()


Node: TypeAlias = Command | Compound


@dataclass(frozen=True)
class Pipeline:
    """Commands joined by `|`; `negated` where `!` stands in front of them."""

    parts: tuple[Node, ...]
    negated: bool = False


@dataclass(frozen=True)
class Chain:
    """Pipelines joined by `&&` and `||` (one operator fewer), and whether `&` sends them into the background."""

    pipelines: tuple[Pipeline, ...]
    operators: tuple[str, ...] = ()
    background: bool = False


@dataclass(frozen=True)
class Script:
    """A list of commands, one after the other."""

    chains: tuple[Chain, ...] = ()

    def nodes(self) -> Iterator[Node]:
        """Yield every command in the order of the text, those inside of compound commands and substitutions too."""
        for chain in self.chains:
            for pipeline in chain.pipelines:
                for part in pipeline.parts:
                    yield part
                    for script in _inside(part):
                        yield from script.nodes()


def words_of(node: Node) -> Iterator[Word]:
    """Yield the words of one command: assignments, words, targets of redirections; not those of commands inside."""
    if isinstance(node, Command):
        yield from node.assignments
    yield from node.words
    for redirect in node.redirects:
        yield redirect.target


def _inside(node: Node) -> Iterator[Script]:
    if isinstance(node, Compound):
        yield from node.conditions
    for word in words_of(node):
        yield from word.scripts
    if isinstance(node, Compound):
        yield from node.bodies


@dataclass(frozen=True)
class ShellText:
    """A script that was read.

    Attributes:
        script: its commands.
        features: what it uses that `sh` need not know, in the order of the text, each once: "[[", "((", "array", "+=",
            "<(…)", "<<<", "&>", "|&", "function", "select", "coproc", "for ((", "$'…'", "{…}", "${…}" (with an operator
            of bash).
    """

    script: Script
    features: tuple[str, ...]


@functools.lru_cache(maxsize=64)  # several rules look at a script, and many steps may have the same
def read_shell(text: str) -> ShellText:
    """Read a script.

    Raises:
        ShellSyntaxError: it is none, or is too long or too deep to be read.
    """
    if len(text) > LONGEST_SCRIPT:
        raise ShellSyntaxError("too long")
    reader = _Reader(text.replace("\r\n", "\n"))
    script = reader.script(())
    return ShellText(script, tuple(reader.features))


_ASSIGNMENT = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?:\[[^\]\s]*\])?\+?=")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BLANK = re.compile(r"(?:[ \t]|\\\n)*")
_PLAIN = re.compile(r"[A-Za-z0-9_./:,%^~\]\[-]+")
_REDIRECT = re.compile(r"(?:[0-9]+|\{[A-Za-z_]\w*\})?(?P<operator>&>>|&>|<<<|<<-|<<|<>|<&|>>|>\||>&|<(?!\()|>(?!\())")
_BRACES = re.compile(r"(?<!\$)\{[^{}\s,]*(?:,|\.\.)[^{}\s]*\}")
_OPERATOR = re.compile(r":?[-=?+]|%%?|##?|//?|\^\^?|,,?|:|@")
_BASH_OPERATORS = frozenset({"/", "//", "^", "^^", ",", ",,", ":", "@"})
_END = frozenset("\n;&|)")


@dataclass
class _Draft:
    """A word that is being read."""

    text: list[str] = field(default_factory=list)
    literal: bool = True
    quoted: bool = False
    started: bool = False
    bare: bool = True  # no quote yet: an assignment may still begin
    expansions: list[Expansion] = field(default_factory=list)
    scripts: list[Script] = field(default_factory=list)

    def take(self, text: str, *, literal: bool = True) -> None:
        self.text.append(text)
        self.literal = self.literal and literal
        self.started = True

    def word(self) -> Word:
        return Word("".join(self.text), self.literal, self.quoted, tuple(self.expansions), tuple(self.scripts))


class _Reader:
    """A text and how far it was read."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0
        self.features: dict[str, None] = {}
        self.documents: list[Redirect] = []

    # ── commands ────────────────────────────────────────────────────────────────────────────────────────────────────

    def script(self, ends: tuple[str, ...]) -> Script:
        """Read chains until one of the words or signs `ends` stands where a command could begin; it is left there."""
        self.depth += 1
        if self.depth > _DEEPEST:
            raise ShellSyntaxError("too deep")
        chains: list[Chain] = []
        while True:
            self._newlines()
            if self.at >= len(self.text) or self._ends(ends):
                break
            chain = self._chain()
            self._blanks()
            sign = self.text[self.at : self.at + 1]
            if sign == "&":
                self.at += 1
                chain = Chain(chain.pipelines, chain.operators, background=True)
            elif sign == ";" and not self.text.startswith(";;", self.at) and not self.text.startswith(";&", self.at):
                self.at += 1
            elif sign not in ("", "\n") and not self._ends(ends):
                raise ShellSyntaxError(f"unexpected {sign!r}")
            chains.append(chain)
        self.depth -= 1
        return Script(tuple(chains))

    def _ends(self, ends: tuple[str, ...]) -> bool:
        return any(self._stands(end) for end in ends)

    def _stands(self, word: str) -> bool:
        """Whether a reserved word or a sign comes next."""
        if not self.text.startswith(word, self.at):
            return False
        if not (word[0].isalpha() or word in ("{", "}", "!", "[[")):
            return True
        after = self.text[self.at + len(word) : self.at + len(word) + 1]
        return not after or after in " \t\n;&|()<>"

    def _reserved(self, word: str) -> bool:
        self._blanks()
        if not self._stands(word):
            return False
        self.at += len(word)
        return True

    def _demand(self, word: str) -> None:
        self._newlines()
        if not self._reserved(word):
            raise ShellSyntaxError(f"{word!r} is missing")

    def _chain(self) -> Chain:
        pipelines = [self._pipeline()]
        operators: list[str] = []
        while True:
            self._blanks()
            sign = self.text[self.at : self.at + 2]
            if sign not in ("&&", "||"):
                return Chain(tuple(pipelines), tuple(operators))
            self.at += 2
            operators.append(sign)
            self._newlines()
            pipelines.append(self._pipeline())

    def _pipeline(self) -> Pipeline:
        negated = False
        while self._reserved("!"):
            negated = not negated
        if self._reserved("time"):
            self._reserved("-p")
        parts = [self._command()]
        while True:
            self._blanks()
            if self.text.startswith("||", self.at) or not self.text.startswith("|", self.at):
                return Pipeline(tuple(parts), negated)
            self.at += 1
            if self.text.startswith("&", self.at):
                self.at += 1
                self.features["|&"] = None
            self._newlines()
            parts.append(self._command())

    def _command(self) -> Node:
        self._blanks()
        compound = self._compound()
        if compound is not None:
            return Compound(
                compound.kind, compound.words, compound.conditions, compound.bodies, tuple(self._redirects())
            )
        assignments: list[Word] = []
        words: list[Word] = []
        redirects: list[Redirect] = []
        while True:
            self._blanks()
            if redirect := self._redirect():
                redirects.append(redirect)
                continue
            if self._at_end():
                break
            if self.text[self.at] == "(":
                if len(words) != 1 or assignments or redirects:
                    raise ShellSyntaxError("unexpected '('")
                return self._function(words[0])
            start = self.at
            word = self._word()
            if not words and _ASSIGNMENT.match(self.text, start):
                assignments.append(word)
            else:
                words.append(word)
        if not (assignments or words or redirects):
            raise ShellSyntaxError("a command is missing")
        return Command(tuple(assignments), tuple(words), tuple(redirects))

    def _at_end(self) -> bool:
        """Whether a command ends here."""
        return self.at >= len(self.text) or self.text[self.at] in _END

    def _function(self, name: Word) -> Compound:
        self.at += 1
        if not self._reserved(")"):
            raise ShellSyntaxError("')' is missing")
        self._newlines()
        body = self._compound()
        if body is None:
            raise ShellSyntaxError("the body of a function is missing")
        return Compound("function", (name,), bodies=(Script((Chain((Pipeline((body,)),)),)),))

    def _compound(self) -> Compound | None:
        text = self.text
        if text.startswith("((", self.at) and (end := self._arithmetic_end(self.at)) is not None:
            self.features["(("] = None
            self.at = end
            return Compound("((")
        if text.startswith("(", self.at):
            self.at += 1
            return Compound("(", bodies=(self._until(")"),))
        if self._stands("[["):
            return self._test()
        if self._reserved("{"):
            return Compound("{", bodies=(self._until("}"),))
        if self._reserved("if"):
            return self._if()
        for kind in ("while", "until"):
            if self._reserved(kind):
                return Compound(kind, conditions=(self._until("do"),), bodies=(self._until("done"),))
        for kind in ("for", "select"):
            if self._reserved(kind):
                return self._for(kind)
        if self._reserved("case"):
            return self._case()
        if self._reserved("coproc"):
            self.features["coproc"] = None
            return None
        if self._reserved("function"):
            self.features["function"] = None
            self._blanks()
            name = self._word()
            self._blanks()
            if text.startswith("(", self.at):
                return self._function(name)
            self._newlines()
            body = self._compound()
            if body is None:
                raise ShellSyntaxError("the body of a function is missing")
            return Compound("function", (name,), bodies=(Script((Chain((Pipeline((body,)),)),)),))
        return None

    def _until(self, *ends: str) -> Script:
        """Read a script and the word that ends it."""
        script = self.script(ends)
        for end in ends:
            if self._reserved(end):
                return script
        raise ShellSyntaxError(f"{ends[0]!r} is missing")

    def _if(self) -> Compound:
        conditions, bodies = [self._until("then")], []
        while True:
            bodies.append(self.script(("elif", "else", "fi")))
            if self._reserved("elif"):
                conditions.append(self._until("then"))
            elif self._reserved("else"):
                bodies.append(self._until("fi"))
                break
            else:
                self._demand("fi")
                break
        return Compound("if", conditions=tuple(conditions), bodies=tuple(bodies))

    def _for(self, kind: str) -> Compound:
        if kind == "select":
            self.features["select"] = None
        self._blanks()
        words: list[Word] = []
        if self.text.startswith("((", self.at):
            self.features["for (("] = None
            end = self._arithmetic_end(self.at)
            if end is None:
                raise ShellSyntaxError("'))' is missing")
            self.at = end
        else:
            words.append(self._word())
            self._newlines()
            if self._reserved("in"):
                self._blanks()
                while not self._at_end():
                    words.append(self._word())
                    self._blanks()
        self._blanks()
        if self.text.startswith(";", self.at):
            self.at += 1
        self._newlines()
        if self._reserved("{"):
            return Compound(kind, tuple(words), bodies=(self._until("}"),))
        self._demand("do")
        return Compound(kind, tuple(words), bodies=(self._until("done"),))

    def _case(self) -> Compound:
        self._blanks()
        words = [self._word()]
        self._demand("in")
        bodies: list[Script] = []
        while True:
            self._newlines()
            if self._reserved("esac"):
                return Compound("case", tuple(words), bodies=tuple(bodies))
            self._reserved("(")
            while not self._reserved(")"):
                if not self._reserved("|"):
                    self._blanks()
                    words.append(self._word())
            bodies.append(self.script((";;", ";&", "esac")))
            for end in (";;&", ";;", ";&"):
                if self._reserved(end):
                    break

    def _test(self) -> Compound:
        self.features["[["] = None
        self.at += 2
        words: list[Word] = []
        while True:
            self._newlines()
            if self._reserved("]]"):
                return Compound("[[", tuple(words))
            if self.at >= len(self.text):
                raise ShellSyntaxError("']]' is missing")
            if self.text[self.at] in "()<>&|;":
                self.at += 1
            elif words and words[-1].text == "=~":
                words.append(self._pattern())
            else:
                words.append(self._word())

    def _pattern(self) -> Word:
        """Read the regular expression of `[[ … =~ … ]]`, in which `(`, `|` and `<` have their own meaning."""
        draft = _Draft()
        depth = 0
        while self.at < len(self.text) and (depth or not self.text[self.at].isspace()):
            character = self.text[self.at]
            depth += {"(": 1, ")": -1}.get(character, 0)
            if character in "()|<>&; ":
                draft.take(character)
                self.at += 1
            elif character == "\n":
                break
            else:
                self._piece(draft)
        return draft.word()

    # ── redirections ────────────────────────────────────────────────────────────────────────────────────────────────

    def _redirects(self) -> Iterator[Redirect]:
        self._blanks()
        while redirect := self._redirect():
            yield redirect
            self._blanks()

    def _redirect(self) -> Redirect | None:
        match = _REDIRECT.match(self.text, self.at)
        if not match:
            return None
        operator = match["operator"]
        if operator in ("&>", "&>>", "<<<"):
            self.features["&>" if operator[0] == "&" else operator] = None
        self.at = match.end()
        self._blanks()
        redirect = Redirect(operator, self._word())
        if operator in ("<<", "<<-"):
            self.documents.append(redirect)
        return redirect

    def _documents(self) -> None:
        """Read the here-documents that begin behind the line that has just ended."""
        waiting, self.documents = self.documents, []
        for redirect in waiting:
            lines: list[str] = []
            while self.at < len(self.text):
                end = self.text.find("\n", self.at)
                end = len(self.text) if end < 0 else end
                line = self.text[self.at : end]
                line = line.lstrip("\t") if redirect.operator == "<<-" else line
                self.at = min(end + 1, len(self.text))
                if line == redirect.target.text:
                    break
                lines.append(line)
            redirect.target = self._document("\n".join(lines), quoted=redirect.target.quoted)

    def _document(self, body: str, *, quoted: bool) -> Word:
        draft = _Draft()
        if quoted:
            draft.take(body)
            return draft.word()
        reader = _Reader(body)
        reader.depth, reader.features = self.depth, self.features
        reader._inside_quotes(draft, "")
        return draft.word()

    # ── words ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _blanks(self) -> None:
        match = _BLANK.match(self.text, self.at)
        self.at = match.end() if match else self.at
        if self.text.startswith("#", self.at):
            end = self.text.find("\n", self.at)
            self.at = len(self.text) if end < 0 else end

    def _newlines(self) -> None:
        self._blanks()
        while self.text.startswith("\n", self.at):
            self.at += 1
            if self.documents:
                self._documents()
            self._blanks()

    def _word(self) -> Word:
        draft = _Draft()
        start = self.at
        while self.at < len(self.text):
            character = self.text[self.at]
            if character in " \t\n;&|)":
                break
            if character == "(" and not self._array(draft, start):
                break
            if character in "<>" and not self._substitution(draft):
                break
            if character not in "<>(":
                self._piece(draft)
        if not draft.started:
            raise ShellSyntaxError("a word is missing")
        if not draft.quoted and _BRACES.search(self.text, start, self.at):
            self.features["{…}"] = None
        return draft.word()

    def _array(self, draft: _Draft, start: int) -> bool:
        """Read the parentheses of an array or of an extended pattern; say whether there are any."""
        written = self.text[start : self.at] if self.at - start < 200 else ""
        if _ASSIGNMENT.fullmatch(written):
            self.features["array"] = None
        elif not written.endswith(("?", "*", "+", "@", "!")):
            return False
        self.at += 1
        draft.take("(", literal=False)
        while not self.text.startswith(")", self.at):
            if self.at >= len(self.text):
                raise ShellSyntaxError("')' is missing")
            if self.text[self.at] in "|&;<>(":
                self.at += 1
            elif self.text[self.at].isspace() or self.text[self.at] == "#":
                before = self.at
                self._newlines()
                self.at += self.at == before  # white space of another kind
            else:
                self._piece(draft)
        self.at += 1
        return True

    def _substitution(self, draft: _Draft) -> bool:
        """Read `<(…)` or `>(…)`; say whether it is one."""
        if not self.text.startswith("(", self.at + 1):
            return False
        self.features["<(…)"] = None
        self._command_substitution(draft, 2)
        return True

    def _piece(self, draft: _Draft) -> None:
        """Read what stands next in a word: a quote, an expansion, an escape, or plain characters."""
        text, character = self.text, self.text[self.at]
        if match := _PLAIN.match(text, self.at):
            draft.take(match[0])
            self.at = match.end()
        elif character == "'":
            end = text.find("'", self.at + 1)
            if end < 0:
                raise ShellSyntaxError("a single quote is open", quote=True)
            draft.take(text[self.at + 1 : end])
            draft.quoted = True
            self.at = end + 1
        elif character == '"':
            self.at += 1
            draft.quoted = True
            draft.take("")
            self._inside_quotes(draft, '"')
        elif character == "\\":
            following = text[self.at + 1 : self.at + 2]
            draft.take("" if following == "\n" else following or "\\")
            draft.quoted = draft.quoted or following != "\n"
            self.at += 2
        elif character == "$" and text.startswith("'", self.at + 1):
            self.features["$'…'"] = None
            match = re.compile(r"\$'((?:[^'\\]|\\.)*)'", re.DOTALL).match(text, self.at)
            if match is None:
                raise ShellSyntaxError("a single quote is open", quote=True)
            draft.take(match[1], literal="\\" not in match[1])
            draft.quoted = True
            self.at = match.end()
        elif character == "$" and text.startswith('"', self.at + 1):
            self.at += 1
        elif character in "$`":
            self._expansion(draft)
        else:
            draft.take(character)
            self.at += 1

    def _inside_quotes(self, draft: _Draft, end: str) -> None:
        """Read up to the closing quote or brace `end`, which is taken; to the end of the text where it is empty."""
        text = self.text
        plain = re.compile(r"[^\"\\$`}']+" if end else r"[^\\$`]+")
        while self.at < len(text):
            character = text[self.at]
            if end and character == end:
                self.at += 1
                return
            if match := plain.match(text, self.at):
                draft.take(match[0])
                self.at = match.end()
            elif character == "\\":
                following = text[self.at + 1 : self.at + 2]
                draft.take({"\n": ""}.get(following, following if following in '$`"\\}' else f"\\{following}"))
                self.at += 2
            elif character in "$`":
                self._expansion(draft)
            elif end == "}" and character in "\"'":
                self._piece(draft)
            else:
                draft.take(character)
                self.at += 1
        if end:
            raise ShellSyntaxError(f"{end} is missing", quote=end == '"')

    def _expansion(self, draft: _Draft) -> None:
        text, start = self.text, self.at
        if text[start] == "`":
            self._backticks(draft)
        elif text.startswith("$((", start) and (end := self._arithmetic_end(start + 1)) is not None:
            draft.take(text[start:end], literal=False)
            self.at = end
        elif text.startswith("$(", start):
            self._command_substitution(draft, 2)
        elif text.startswith("${", start):
            self._braces(draft)
        elif match := re.compile(r"\$([A-Za-z_]\w*|[0-9@*#?$!-])").match(text, start):
            draft.take(match[0], literal=False)
            draft.expansions.append(Expansion(match[1]))
            self.at = match.end()
        else:
            draft.take("$")
            self.at += 1

    def _command_substitution(self, draft: _Draft, width: int) -> None:
        start = self.at
        self.at += width
        draft.scripts.append(self._until(")"))
        draft.take(self.text[start : self.at], literal=False)

    def _backticks(self, draft: _Draft) -> None:
        match = re.compile(r"`((?:[^`\\]|\\.)*)`", re.DOTALL).match(self.text, self.at)
        if match is None:
            raise ShellSyntaxError("a backtick is open", quote=True)
        inner = _Reader(re.sub(r"\\([`\\$])", r"\1", match[1]))
        inner.depth, inner.features = self.depth + 1, self.features
        draft.scripts.append(inner.script(()))
        draft.take(match[0], literal=False)
        self.at = match.end()

    def _braces(self, draft: _Draft) -> None:
        """Read `${…}`."""
        text, start = self.text, self.at
        self.at += 2
        length = bool(re.compile(r"#(?=[\w@*])").match(text, self.at))
        indirect = text.startswith("!", self.at) and not text.startswith("!}", self.at)
        self.at += length or indirect
        name = _NAME.match(text, self.at) or re.compile(r"[0-9]+|[@*#?$!-]").match(text, self.at)
        if name is None:
            raise ShellSyntaxError("bad substitution")
        self.at = name.end()
        if text.startswith("[", self.at):
            self.features["array"] = None
            end = text.find("]", self.at)
            if end < 0:
                raise ShellSyntaxError("bad substitution")
            self.at = end + 1
        operator = _OPERATOR.match(text, self.at)
        self.at = operator.end() if operator else self.at
        if indirect or (operator and operator[0] in _BASH_OPERATORS):
            self.features["${…}"] = None
        draft.expansions.append(Expansion(name[0], "#" if length else operator[0] if operator else ""))
        if not operator and not text.startswith("}", self.at):
            raise ShellSyntaxError("bad substitution")
        self.depth += 1
        if self.depth > _DEEPEST:
            raise ShellSyntaxError("too deep")
        inner = _Draft()
        self._inside_quotes(inner, "}")
        self.depth -= 1
        draft.expansions += inner.expansions
        draft.scripts += inner.scripts
        draft.take(text[start : self.at], literal=False)

    def _arithmetic_end(self, start: int) -> int | None:
        """Return where the `))` of the `((` at `start` ends; None where these are two subshells."""
        depth = 0
        for position in range(start, min(len(self.text), start + 2000)):
            character = self.text[position]
            if character == "(":
                depth += 1
            elif character == ")":
                depth -= 1
                if depth == 1:
                    # The last but one is closed: the last must follow at once.
                    if self.text.startswith("))", position):
                        return position + 2
                    if self._is_closed_alone(position):
                        return None
                elif depth <= 0:
                    return None
        return None

    def _is_closed_alone(self, position: int) -> bool:
        """Whether the inner of two parentheses is closed and more than an operator of arithmetic follows."""
        return re.compile(r"\)\s*[;&|\n]|\)\s*[A-Za-z]").match(self.text, position) is not None
