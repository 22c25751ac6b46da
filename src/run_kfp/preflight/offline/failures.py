"""Where a shell script hides that a program failed: a step whose program failed must not be green.

The exit code of a script is that of its last command, of a pipeline that of its last part, of a chain that goes on
behind `||` that of what follows (POSIX.1-2024, Shell Command Language, 2.9).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from run_kfp.preflight.offline.scripts import INTERPRETERS, called, program
from run_kfp.shell_text import Chain, Command, Compound, Node, Pipeline, Script, words_of


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Commands whose failure says nothing of the work of a step, or that fail for no reason but the work itself.
_PREPARING = _words(
    """
    : [ [[ alias awk basename break cat cd chmod chown command continue cp cut date declare df dirname du echo env eval
    exit export false find free getopts grep hash head hostname id jobs kill let ln local ls lscpu mkdir mktemp mv nproc
    nvidia-smi popd printenv printf ps pushd pwd read readlink readonly realpath return rm sed seq set shift shopt sleep
    sort source stat tail tee test time top touch tr trap tree true type typeset ulimit umask unalias uname uniq unset
    wait wc which whoami yes .
    """
)
# What a script may end with that succeeds whatever went before.
_SUCCEEDING = frozenset(("echo", "printf", "date", "sleep", "rm", "ls", "touch", "kill", "pwd", "sync"))
_MEANT = frozenset(("true", ":"))
# Programs that take whatever they get, nothing at all as well.
_SINKS = _words(
    "tee cat grep egrep fgrep head tail wc sort uniq sed awk tr cut less more ts logger column nl rev xargs"
)
# Programs that are asked for a list, which is no work of a step, and those that fetch: an empty result may show.
_LISTING = _words("git pip conda docker kubectl gcloud apt-get apt apk jq tar gzip zcat")
_FETCHING = _words("gsutil curl wget aws bq")


@dataclass
class Hidden:
    """What a script hides.

    Attributes:
        piped: programs and the last part of the pipeline that has their exit code, and whether the program does work
            for sure.
        lines: programs whose failure is lost because the script goes on.
        ending: the command at the end that succeeds, whatever went before; empty where there is none.
        meant: whether that command is there for this (`exit 0`).
        fallback: a program, and what `||` replaces its failure by.
        background: programs that nobody waits for, at the end of the script.
        awaited: programs in the background, where `wait` has no argument and so succeeds.
        errexit: whether the script ends at the first failure.
    """

    piped: list[tuple[str, str, bool]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    ending: str = ""
    meant: bool = False
    fallback: tuple[str, str] | None = None
    background: list[str] = field(default_factory=list)
    awaited: list[str] = field(default_factory=list)
    errexit: bool = False


def hidden_failures(script: Script, options: frozenset[str]) -> Hidden:
    """Find the failures that a script hides.

    Args:
        script: as it was read.
        options: those that its shell is called with ("errexit", "pipefail").
    """
    walk = _Walk(script, options)
    walk.script(script, final=True)
    return walk.found


class _Walk:
    """A way through a script, with the options of the shell as they are at each command."""

    def __init__(self, script: Script, options: frozenset[str]) -> None:
        self.found = Hidden(errexit="errexit" in options)
        self.pipefail = "pipefail" in options
        nodes = list(script.nodes())
        words = [word for node in nodes for word in words_of(node)]
        names = {expansion.name for word in words for expansion in word.expansions}
        # It looks at the parts itself.
        self.pipes_are_seen = bool(names & {"PIPESTATUS", "pipestatus"})
        self.kills = any(name_of(node) in ("kill", "pkill") for node in nodes)
        self.functions = {
            node.words[0].text
            for node in nodes
            if isinstance(node, Compound) and node.kind == "function" and node.words
        }
        self.background: list[str] = []

    def script(self, script: Script, *, final: bool, loop: bool = False) -> None:
        for number, chain in enumerate(script.chains):
            last = final and number == len(script.chains) - 1
            following = script.chains[number + 1] if number + 1 < len(script.chains) else None
            if chain.background:
                programs = [name for pipeline in chain.pipelines for name in self._works(pipeline.parts)]
                self.background += programs
                if last:
                    self.found.background += programs
                continue
            self._settings(chain)
            if following is not None and _reads_status(following):
                continue
            self._chain(chain, final=last and not loop)
            if last and not loop:
                self._ending(chain)

    def _settings(self, chain: Chain) -> None:
        """Follow `set`, `trap … ERR` and `wait`."""
        for part in (pipeline.parts[0] for pipeline in chain.pipelines):
            if not isinstance(part, Command) or not part.words:
                continue
            words = [word.text for word in part.words]
            if words[0] == "set":
                self._set(words[1:])
            elif words[0] == "trap" and "ERR" in words[2:]:
                self.found.errexit = True
            elif words[0] == "wait" and len(words) == 1 and not self.kills and len(chain.pipelines) == 1:
                self.found.awaited += self.background

    def _set(self, words: Sequence[str]) -> None:
        on = True
        for word in words:
            if word.startswith(("-", "+")):
                on = word[0] == "-"
                if "e" in word[1:] and not word.startswith("--"):
                    self.found.errexit = on
            elif word == "errexit":
                self.found.errexit = on
            elif word == "pipefail":
                self.pipefail = on

    def _chain(self, chain: Chain, *, final: bool) -> None:
        for number, pipeline in enumerate(chain.pipelines):
            after = chain.operators[number:]
            handled = "||" in chain.operators or pipeline.negated
            # `program && break` tries again; `program && exit` looks at the exit code as well.
            handled = handled or any(_leaves(one) for one in chain.pipelines[number + 1 :])
            if len(pipeline.parts) > 1:
                self._pipe(pipeline, seen=final or self.found.errexit or bool(after), handled=handled)
            elif isinstance(part := pipeline.parts[0], Compound):
                self._compound(part, final=final and not after, handled=handled)
            elif not (final or handled or self.found.errexit):
                self.found.lines += self._works([part])
            if final and "||" in after and (name := next(iter(self._works(pipeline.parts)), "")):
                self._fallback(name, chain.pipelines[number + 1 + after.index("||") :])

    def _pipe(self, pipeline: Pipeline, *, seen: bool, handled: bool) -> None:
        *front, last = pipeline.parts
        if self.pipefail or self.pipes_are_seen or (handled and not seen):
            return
        end = name_of(last)
        works = [name for name in self._works(front) if name not in _LISTING]
        if not works or pipeline.negated:
            return
        sure = not _FETCHING.issuperset(works)
        if end in _SINKS and not _is_question(last) and (sure or seen):
            self.found.piped.append((works[0], end, sure))
        elif end in INTERPRETERS and sure:
            self.found.piped.append((works[0], end, False))

    def _works(self, nodes: Sequence[Node]) -> list[str]:
        """Return the programs that do the work of a step, those inside of compound commands too."""
        found = []
        for node in nodes:
            if isinstance(node, Compound):
                # The body of a function is looked at where it stands.
                for body in node.bodies if node.kind != "function" else ():
                    found += self._works(
                        [part for chain in body.chains for one in chain.pipelines for part in one.parts]
                    )
            elif (name := name_of(node)) and name not in _PREPARING and name not in self.functions:
                found.append(name)
        return found

    def _compound(self, node: Compound, *, final: bool, handled: bool) -> None:
        if handled and node.kind != "function":
            return
        errexit, pipefail = self.found.errexit, self.pipefail
        loops = node.kind in ("for", "select", "while", "until")
        if node.kind in ("while", "until") and _is_endless(node):
            return
        for body in node.bodies:
            if node.kind == "function":
                self.script(body, final=True)
            else:
                # Of a loop the last turn counts.
                self.script(body, final=final and not loops, loop=loops)
        if node.kind in ("(", "function"):
            self.found.errexit, self.pipefail = errexit, pipefail

    def _fallback(self, name: str, pipelines: Sequence[Pipeline]) -> None:
        if len(pipelines) == 1 and len(pipelines[0].parts) == 1:
            part = pipelines[0].parts[0]
            inner = part.bodies[0].chains if isinstance(part, Compound) and part.kind in ("{", "(") else ()
            names = [name_of(one.pipelines[-1].parts[-1]) for one in inner] or [name_of(part)]
            if all(one in _SUCCEEDING for one in names):
                self.found.fallback = (name, names[-1])

    def _ending(self, chain: Chain) -> None:
        if len(chain.pipelines) != 1 or len(chain.pipelines[0].parts) != 1:
            return
        part = chain.pipelines[0].parts[0]
        if not isinstance(part, Command):
            return
        words = [word.text for word in part.words]
        name = words[0] if words else ""
        if name in _SUCCEEDING:
            self.found.ending = name
        elif name in _MEANT or words == ["exit", "0"]:
            self.found.ending, self.found.meant = " ".join(words), True


def name_of(node: Node) -> str:
    """Return the program that a command calls, behind those that only call it; empty where that is not known."""
    if not isinstance(node, Command) or not node.words:
        return node.kind if isinstance(node, Compound) else ""
    at = called([word.text for word in node.words])
    if at >= len(node.words):
        return ""
    word = node.words[at]
    return (program(word.text) or word.text) if word.literal else word.text


def _is_question(node: Node) -> bool:
    """Whether a command only answers yes or no: `grep -q`, `grep -c`."""
    words = [word.text for word in node.words] if isinstance(node, Command) else []
    return "grep" in name_of(node) and any(
        word in ("--quiet", "--silent") or (word[:1] == "-" and word[1:2] != "-" and "q" in word) for word in words[1:]
    )


def _leaves(pipeline: Pipeline) -> bool:
    return any(name_of(part) in ("break", "exit", "return") for part in pipeline.parts)


def _is_endless(node: Compound) -> bool:
    """Whether a loop ends by `break` alone: a service, or another try."""
    names = [
        name_of(part) for script in node.conditions for chain in script.chains for part in chain.pipelines[0].parts
    ]
    return names in (["true"], [":"], ["sleep"], ["false"])


def _reads_status(chain: Chain) -> bool:
    """Whether a chain does something with `$?`, and does not only print it."""
    for node in Script((chain,)).nodes():
        if name_of(node) in ("echo", "printf"):
            continue
        if any(expansion.name == "?" for word in words_of(node) for expansion in word.expansions):
            return True
        if any("$?" in word.text for word in words_of(node) if not word.literal):
            return True
    return False
