"""What is wrong with the shell scripts of a step: failures that they hide, words of another shell, empty variables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from run_kfp.findings import Finding, Severity
from run_kfp.preflight.context import CheckContext, StepSpec
from run_kfp.preflight.offline.failures import Hidden, hidden_failures, name_of
from run_kfp.preflight.offline.scripts import Interpreter, called, read_interpreter, scripts_of
from run_kfp.preflight.offline.spec import names_in_words
from run_kfp.preflight.rules import rule
from run_kfp.settings import RULES
from run_kfp.shell_text import Command, Compound, ShellSyntaxError, ShellText, Word, read_shell, words_of

FAILURE = rule("RK-SHELL-FAILURE")
DIALECT = rule("RK-SHELL-DIALECT")
ACTIVATE = rule("RK-SHELL-ACTIVATE")
UNSET = rule("RK-SHELL-VARIABLE")

_MOST_NESTED = 3


def check_shells(context: CheckContext, step: StepSpec) -> Iterator[Finding]:
    """Check the shell scripts of a step, and those that they call a shell for (`timeout 5 bash -c '…'`).

    One that cannot be read is left alone.
    """
    for script in scripts_of(step):
        if script.for_shell:
            found = _check_script(context, step, script.shell_text, script.interpreter, 0)
            yield from ((one if script.sure else _as_note(one)) for one in _first_of_each(found, step.at(script.key)))


def _first_of_each(found: Iterator[tuple[Finding, str]], place: str) -> Iterator[Finding]:
    seen: set[tuple[str, str]] = set()
    for finding, what in found:
        if (finding.code, what) not in seen:
            seen.add((finding.code, what))
            yield Finding(finding.message, finding.hint, finding.code, place, finding.severity)


def _as_note(found: Finding) -> Finding:
    return Finding(found.message, found.hint, found.code, found.place, Severity.NOTE)


def _check_script(
    context: CheckContext, step: StepSpec, text: str, shell: Interpreter, depth: int
) -> Iterator[tuple[Finding, str]]:
    """Yield findings without a place, each with what makes it another one than the next of the same rule."""
    try:
        read = read_shell(text)
    except ShellSyntaxError:
        return
    yield from ((one, "") for one in _failure(hidden_failures(read.script, shell.options), shell))
    yield from _dialect(step, read, shell)
    yield from _activation(step, read, shell)
    yield from _variables(context, step, read)
    if depth < _MOST_NESTED:
        for node in read.script.nodes():
            words = list(node.words) if isinstance(node, Command) else []
            at = called([word.text for word in words])
            inner = read_interpreter([word.text for word in words[at:]])
            if inner and inner.script is not None and words[at + inner.script].literal:
                yield from _check_script(context, step, words[at + inner.script].text, inner, depth + 1)


# ── failures ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _failure(hidden: Hidden, shell: Interpreter) -> Iterator[Finding]:
    """Say the worst of what a script hides."""
    has_pipefail = shell.name in ("bash", "zsh", "ksh")
    if hidden.piped:
        sure = [one for one in hidden.piped if one[2]]
        name, end, _ = (sure or hidden.piped)[0]
        options = "set -o pipefail" if hidden.errexit or not hidden.lines else "set -eo pipefail"
        yield FAILURE(
            "",
            f"the exit code of {_shown(name)} is lost: a pipeline has that of its last command, {end}",
            f"start the script with `{options}`"
            if has_pipefail
            else f'call bash, and start the script with it: ["bash", "-c", "{options}; …"]',
            None if sure else Severity.NOTE,
        )
    elif hidden.background:
        yield FAILURE(
            "",
            f"the script ends while {_shown(hidden.background[0])} runs in the background, and ends it",
            "remove the & at the end",
        )
    elif hidden.awaited:
        yield FAILURE(
            "",
            f"`wait` without arguments succeeds, whatever {_shown(hidden.awaited[0])} ended with",
            "write `command & pid=$!` and `wait $pid` for each",
        )
    elif hidden.fallback:
        name, instead = hidden.fallback
        yield FAILURE(
            "",
            f"a failed {_shown(name)} ends as a success: {instead} runs instead, and has the exit code of the script",
            f"write `|| {{ {instead} …; exit 1; }}`",
        )
    elif hidden.lines and hidden.ending:
        yield FAILURE(
            "",
            f"the exit code of {names_in_words([_shown(name) for name in hidden.lines])} is lost: the script ends with "
            f"`{hidden.ending}`, which succeeds",
            "start the script with `set -e`",
            Severity.NOTE if hidden.meant else None,
        )
    elif hidden.lines:
        yield FAILURE(
            "",
            f"a failure of {names_in_words([_shown(name) for name in hidden.lines])} does not end the script: only its "
            "last command counts",
            "start the script with `set -e`, or join the commands with &&",
            Severity.NOTE,
        )


def _shown(name: str) -> str:
    """Return a program for a sentence."""
    return {"": "the program", "$@": "the program", "PLACEHOLDER": "the program"}.get(name, name[:40])


# ── dialects ────────────────────────────────────────────────────────────────────────────────────────────────────────

_BASH = 'call bash: ["bash", "-c", "…"]'
# What `sh` of Debian and Ubuntu (dash) does not know, and what to write.
_FEATURES: Mapping[str, tuple[str, str]] = {
    "[[": ("[[ … ]]", "write [ … ], or " + _BASH),
    "((": ("((…))", "write $((…)) in [ … ], or " + _BASH),
    "array": ("arrays", _BASH),
    "+=": ("NAME+=value", 'write NAME="${NAME}value"'),
    "<(…)": ("<(…)", "write a file or a pipeline, or " + _BASH),
    "<<<": ("<<<", "write printf '%s' TEXT | …, or " + _BASH),
    "&>": ("&>", "write > FILE 2>&1"),
    "|&": ("|&", "write 2>&1 |"),
    "function": ("function NAME", "write NAME() { …; }"),
    "select": ("select", _BASH),
    "coproc": ("coproc", _BASH),
    "for ((": ("for ((…))", "write for i in $(seq N), or " + _BASH),
    "$'…'": ("$'…'", "write \"$(printf '…')\", or " + _BASH),
    "{…}": ("{a,b}", "write the words out, or " + _BASH),
    "${…}": ("${NAME//…} and its like", _BASH),
}
# The shell of BusyBox, `sh` of Alpine, knows these of bash. Source: shell/ash.c of BusyBox, ASH_BASH_COMPAT.
_OF_ASH = frozenset({"[[", "&>", "function", "$'…'", "${…}", "source", "pipefail", "=="})
_COMMANDS: Mapping[str, tuple[str, str]] = {
    "source": ("source", "write `.` instead"),
    **{
        name: (name, _BASH)
        for name in ("declare", "typeset", "shopt", "pushd", "popd", "mapfile", "readarray", "let", "disown")
    },
}
_VARIABLES = frozenset({"RANDOM", "SECONDS", "BASH_SOURCE", "FUNCNAME", "PIPESTATUS", "BASHPID", "EPOCHSECONDS"})
# Names of `set -o` that POSIX and dash have.
_SET_OPTIONS = re.compile(
    "allexport|errexit|ignoreeof|monitor|noclobber|noglob|nolog|noexec|notify|nounset|verbose|vi|emacs|xtrace"
    "|interactive|stdin|privileged|debug"
)


def _shell_of(shell: Interpreter, image: str) -> str:
    """Return which shell a name stands for: `sh` is another one in every family of images."""
    if shell.name != "sh":
        return shell.name
    if re.search(r"alpine|busybox", image):
        return "ash"
    return "bash" if re.search(r"rocky|centos|fedora|/ubi[0-9]|almalinux|amazonlinux|rhel", image) else "dash"


def _dialect(step: StepSpec, read: ShellText, shell: Interpreter) -> Iterator[tuple[Finding, str]]:
    really = _shell_of(shell, step.image)
    if really not in ("dash", "ash"):
        return
    variables = {
        expansion.name for node in read.script.nodes() for word in words_of(node) for expansion in word.expansions
    }
    if variables & {"BASH_VERSION", "ZSH_VERSION"}:
        return  # it asks which shell it is
    where = {"sh": "sh of Debian and Ubuntu images" if really == "dash" else "sh of Alpine images"}.get(
        shell.name, shell.name
    )
    found: dict[str, tuple[str, str, Severity | None]] = {}
    for feature in read.features:
        found[feature] = (*_FEATURES[feature], None)
    for option in shell.options:
        if option == "pipefail":
            found["pipefail"] = ("-o pipefail", _BASH, None)
    for node in read.script.nodes():
        if isinstance(node, Command):
            _dialect_of_command(node, found)
    for name in sorted(variables & _VARIABLES):
        found.setdefault("array" if name == "PIPESTATUS" else name, (f"${name}", _BASH, None))
    for what, (words, hint, severity) in found.items():
        if really == "ash" and what in _OF_ASH:
            continue
        yield DIALECT("", f"{words}: unknown to {where}", hint, severity), what


def _dialect_of_command(node: Command, found: dict[str, tuple[str, str, Severity | None]]) -> None:
    for assignment in node.assignments:
        if re.match(r"[A-Za-z_]\w*\+=", assignment.text):
            found["+="] = (*_FEATURES["+="], None)
    words = [word.text for word in node.words]
    name = words[0] if words else ""
    options = [word for word in words[1:] if word.startswith("-")]
    if name in _COMMANDS:
        found[name] = (*_COMMANDS[name], None)
    elif name == "set":
        for before, option in pairwise(words):
            named = re.fullmatch(r"[-+][A-Za-z]*o", before) and re.fullmatch(r"[a-z]+", option)
            if named and not _SET_OPTIONS.fullmatch(option):
                what = "pipefail" if option == "pipefail" else f"set -o {option}"
                found[what] = (f"set -o {option}", _BASH, None)
    elif name == "echo" and words[1:2] in (["-e"], ["-ne"], ["-en"]):
        found["echo -e"] = (f"echo {words[1]}", "write printf", Severity.NOTE)
    elif name == "read" and any(re.match(r"-\w*[atnsdNuie]", word) for word in options):
        found["read"] = (f"read {options[0]}", _BASH, None)
    elif name == "trap" and any(word in ("ERR", "DEBUG", "RETURN") for word in words[2:]):
        found["trap"] = ("trap … ERR", _BASH, None)
    elif (
        (name == "wait" and "-n" in options)
        or (name == "export" and "-f" in options)
        or (name == "printf" and options[:1] == ["-v"])
    ):
        found[f"{name} {options[0]}"] = (f"{name} {options[0]}", _BASH, None)
    elif name in ("[", "test") and any(word.text == "==" and not word.quoted for word in node.words):
        found["=="] = ("== in [ … ]", "write =", None)


# ── environments ────────────────────────────────────────────────────────────────────────────────────────────────────

# Functions that the start-up files of a shell define, and what to write instead.
_FUNCTIONS: Mapping[tuple[str, str], str] = {
    ("conda", "activate"): "write conda run -n NAME --no-capture-output COMMAND",
    ("mamba", "activate"): "write mamba run -n NAME COMMAND",
    ("micromamba", "activate"): "write micromamba run -n NAME COMMAND",
    ("nvm", "use"): 'write . "$NVM_DIR/nvm.sh" before it',
    ("pyenv", "shell"): "write PYENV_VERSION=VERSION before the command",
}


def _activation(step: StepSpec, read: ShellText, shell: Interpreter) -> Iterator[tuple[Finding, str]]:
    if shell.options & {"login", "interactive"} or "BASH_ENV" in step.env:
        return
    for node in read.script.nodes():
        words = [word.text for word in node.words] if isinstance(node, Command) else []
        if words[:1] in (["."], ["source"], ["eval"]) or (isinstance(node, Compound) and node.kind == "function"):
            return  # it may define them
        if len(words) > 1 and (hint := _FUNCTIONS.get((words[0], words[1]))):
            function = f"{words[0]} {words[1]}"
            yield ACTIVATE("", f"`{function}` needs a start-up file, which {shell.name} -c does not read", hint), ""


# ── variables ───────────────────────────────────────────────────────────────────────────────────────────────────────


def users_variables(context: CheckContext) -> Mapping[str, str]:
    """Return the variables that only the machine of the user has, each with the parameter or secret it is for."""
    found = {rule.variable: name for name, rule in RULES.items() if rule.variable}
    found |= {secret.env: name for name, secret in context.registry.secrets.items() if secret.env}
    return found | {param.env: name for name, param in context.registry.params.items() if param.env}


def instead_of(context: CheckContext, name: str) -> str:
    """Return what a registry writes for a variable of the user's machine: `{ param = "rows" }`."""
    found = users_variables(context)[name]
    return f'{{ {"secret" if found in context.registry.secrets else "param"} = "{found}" }}'


def _variables(context: CheckContext, step: StepSpec, read: ShellText) -> Iterator[tuple[Finding, str]]:
    known = users_variables(context)
    env = {
        *step.env,
        *(match[1] for word in (*step.command, *step.args) if (match := re.match(r"([A-Za-z_]\w*)=", word))),
    }
    nodes = list(read.script.nodes())
    if any(name_of(node) in (".", "source", "eval") for node in nodes):
        return  # it may set them
    env |= {name for node in nodes for name in _set_by(node)}
    expansions = [expansion for node in nodes for word in words_of(node) for expansion in word.expansions]
    for name in dict.fromkeys(one.name for one in expansions if one.operator.lstrip(":") not in ("-", "=", "?", "+")):
        if name in known and name not in env:
            hint = "pass it as an input of the component behind the script, which knows it as $1"
            if step.container:
                given = f'"{step.container.name}", {instead_of(context, name)}'
                hint = f'write "$1" in the script and {given} behind it, or set env = {{ {name} = … }}'
            yield UNSET("", f"${name} is empty in the container: run-kfp reads it on this machine", hint), name


def _set_by(node: Command | Compound) -> Iterator[str]:
    """Yield the variables that a command sets, or asks whether they are set."""
    words: Sequence[Word] = node.words
    if isinstance(node, Command):
        for word in (*node.assignments, *words[1:]):
            if assignment := word.assignment:
                yield assignment[0]
        name = words[0].text if words else ""
        if name in ("read", "mapfile", "readarray", "getopts", "printf", "unset", "declare", "local", "typeset"):
            yield from (word.text for word in words[1:] if word.literal)
    elif node.kind in ("for", "select"):
        yield from (word.text for word in words[:1])
    for word in words_of(node):
        for expansion in word.expansions:
            if expansion.operator in (":=", "="):
                yield expansion.name
    texts = [word.text for word in words]
    if (isinstance(node, Compound) and node.kind == "[[") or texts[:1] in (["["], ["test"]):
        for before, word in zip(texts, words[1:], strict=False):
            if before in ("-n", "-z", "-v"):
                yield from (expansion.name for expansion in word.expansions)
