"""How each container is called: command, arguments, environment.

Nothing here runs an image. A rule is an error only where the API itself refuses the form; what depends on the image is
a warning at most.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from run_kfp.findings import Finding, Severity
from run_kfp.pipeline.placeholders import replaced
from run_kfp.pipeline.platforms import server_image
from run_kfp.pipeline.tables import table_at
from run_kfp.preflight.context import CheckContext, StepSpec
from run_kfp.preflight.offline.scripts import INTERPRETERS, SHELLS, WRAPPERS, Script, program, scripts_of
from run_kfp.preflight.offline.shells import check_shells, instead_of, users_variables
from run_kfp.preflight.offline.spec import names_in_words, shown
from run_kfp.preflight.offline.texts import Surroundings, check_constants, check_environment, check_paths, check_text
from run_kfp.preflight.rules import rule
from run_kfp.shell_text import ShellSyntaxError, read_shell, words_of

SHELL_PLACEHOLDER = rule("RK-CALL-SHELL-PLACEHOLDER")
COMMAND_PLACEHOLDER = rule("RK-CALL-COMMAND-PLACEHOLDER")
NO_COMMAND = rule("RK-CALL-NO-COMMAND")
FORM = rule("RK-CALL-FORM")
ONE_WORD = rule("RK-CALL-ONE-WORD")
VARIABLE = rule("RK-CALL-VARIABLE")
INTERPRETER_TWICE = rule("RK-CALL-TWICE")
SHELL_WORDS = rule("RK-CALL-SHELL-WORDS")
NO_SHELL = rule("RK-CALL-NO-SHELL")
TYPOGRAPHY = rule("RK-CALL-TYPOGRAPHY")
QUOTES = rule("RK-CALL-QUOTES")
DOCKER_WORDS = rule("RK-CALL-DOCKER-OPTION")
ENV_PLACEHOLDER = rule("RK-ENV-PLACEHOLDER")
ENV_NAME = rule("RK-ENV-NAME")
ENV_TWICE = rule("RK-ENV-TWICE")
ENV_MANY = rule("RK-ENV-MANY")
ENV_RESERVED = rule("RK-ENV-RESERVED")
ENV_EXPANSION = rule("RK-ENV-EXPANSION")

_PARAMETER = re.compile(r"""\{\{\$\.inputs\.parameters\[\s*(?P<quote>['"])(?P<name>[^'"]*+)(?P=quote)\s*\]""")
_SAFE_TYPES = frozenset({"NUMBER_INTEGER", "NUMBER_DOUBLE", "BOOLEAN", "INT", "DOUBLE"})


def check_calls(context: CheckContext, *, home: Path | None = None, here: Path | None = None) -> Iterator[Finding]:
    """Check command, arguments and environment of every container step; no network, nothing is run.

    Args:
        context: of this program, of kfp or of another tool.
        home: the home folder of the user; this process's when it is not given.
        here: the current folder, likewise.

    Yields:
        Findings of the group "calls"; none holds the value of an environment variable or a whole argument.
    """
    around = Surroundings(home or _folder(Path.home), here or _folder(Path.cwd))
    for step in context.steps:
        yield from _check_form(context, step)
        yield from _check_scripts(step)
        yield from check_shells(context, step)
        yield from _check_words(context, step)
        yield from _check_texts(step, around)
        yield from _check_environment(context, step)
    yield from check_constants(context, around)
    yield from _check_entrypoints(context)


def _folder(find: Callable[[], Path]) -> Path | None:
    try:
        return find()
    except (RuntimeError, OSError):  # an unknown user; a current folder that was deleted
        return None


def _check_scripts(step: StepSpec) -> Iterator[Finding]:
    for script in scripts_of(step):
        pasted = [
            match["name"]
            for match in _PARAMETER.finditer(script.text)
            if _type_of(step, match["name"]) not in _SAFE_TYPES
        ]
        # A script that is a parameter as a whole is meant to be one.
        if pasted and replaced(script.text, lambda _: "").strip():
            yield SHELL_PLACEHOLDER(
                step.at(script.key),
                f"a script contains the value of {names_in_words(pasted)}",
                'keep the script constant, write "$1" in it, and give the value behind it: '
                '["-c", \'exec program "$1"\', "program", VALUE]',
            )
        if script.for_shell and _quote_is_open(script.text):
            yield QUOTES(
                step.at(script.key),
                "missing closing quote in a shell script",
                "close the quote",
                severity=None if script.sure else Severity.WARNING,
            )
        elif script.for_shell and (lost := _lost_words(script)):
            message, hint = lost
            yield SHELL_WORDS(step.at(script.key), message, hint, None if script.sure else Severity.NOTE)


# Where positional parameters are used under no number, belong to a function, or are set anew.
_OTHER_POSITIONS = re.compile(
    r"\(\)|<<|\b(?:shift|getopts|eval|source|function)\b|\bset +--|\bfor +\w+ *(?:;|\n|\bdo\b)|(?:^|[\s;&|(])\.\s"
)
_POSITION = re.compile(r"(?<!\\)\$(?:\{(?P<braces>[0-9]+)(?P<more>[^}]?)|(?P<plain>[0-9@*#]|\{[@*#!]))")


def _lost_words(script: Script) -> tuple[str, str] | None:
    """Say which words behind a script the shell does not use as they are meant, and what to write; None if all are."""
    text, behind = script.text, script.behind
    # What a placeholder turns into is not known; neither is how many words a conditional one is.
    if "{{" in text or any(word.startswith("{") and "IfPresent" in word for word in behind):
        return None
    if _OTHER_POSITIONS.search(text):
        return None
    used = list(_POSITION.finditer(_without_single_quoted(text)))
    numbers = {
        int(match["braces"] or match["plain"]) for match in used if (match["braces"] or match["plain"]).isdigit()
    }
    if not used:
        if not behind or "$" in text or (len(behind) == 1 and _is_name_of(behind[0], text.strip())):
            return None
        if not re.search(r"\s", text.strip()):
            plain = len(behind) <= 3 and all(re.fullmatch(r"[\w./-]{1,40}", word) for word in behind)
            return (
                f"the shell runs {_short(text.strip(), 40)!r} alone: a script is one word, and the next is $0",
                "write the line as one word, or remove the shell"
                + (f": {json.dumps([text.strip(), *behind])}" if plain else ""),
            )
        if behind[0].startswith("-") and behind[0] not in ("-", "--"):
            return (
                f"the script does not use what follows it ({_option(behind[0])} …)",
                'add "$@" to the script, and a word for $0 after it: ["-c", \'program "$@"\', "program", "--option"]',
            )
        return None
    if 0 in numbers:
        return None
    highest = max(numbers, default=0)
    optional = any(match["braces"] == str(highest) and match["more"] in tuple(":-+=") for match in used)
    if highest and len(behind) <= highest and behind and not optional:
        return (
            f"${highest} is empty: the first word after a script is $0, and {len(behind)} "
            f"{'word follows' if len(behind) == 1 else 'words follow'}",
            'write a word for $0 before the values: ["-c", \'program "$1"\', "program", VALUE]',
        )
    if not numbers and behind and _is_value(behind[0]):
        first = _option(behind[0]) if behind[0].startswith("-") else "the first value"
        return (
            f"{first} is $0, which $@ does not hold",
            'write a word for $0 before the values: ["-c", \'program "$@"\', "program", VALUE]',
        )
    return None


def _without_single_quoted(script: str) -> str:
    """Return a shell script without what stands in single quotes: $1 there belongs to awk and its like."""
    kept: list[str] = []
    quote = ""
    for character in script:
        if quote != "'":
            kept.append(character)
        if not quote and character in "'\"":
            quote = character
        elif character == quote:
            quote = ""
    return "".join(kept)


def _is_name_of(word: str, script: str) -> bool:
    """Say whether the one word behind a script of one word is a usual name for $0."""
    return word in SHELLS | {"_", "-", "--"} or PurePosixPath(word).stem == PurePosixPath(script).stem


def _option(word: str) -> str:
    """Return an option for a sentence, without its value."""
    return _short(re.split(r"[=\s]", word, maxsplit=1)[0], 40)


def _is_value(word: str) -> bool:
    """Say whether a word surely is meant for the program, and not a name for $0."""
    return (word.startswith("-") and word not in ("-", "--")) or "{{$.inputs.parameters" in word


def _type_of(step: StepSpec, name: str) -> str:
    declared = table_at(step.component, "inputDefinitions", "parameters", name)
    return str(declared.get("parameterType") or declared.get("type") or "")


# Words of a shell as far as every quote is closed. `shlex` takes a time that grows with the square of a word.
_QUOTED = re.compile(r"""(?:[^'"\\]++|\\.|'[^']*+'|"(?:[^"\\]++|\\.)*+")*+""", re.DOTALL)

# Characters of a line from which on no hint takes it apart.
_LONGEST_SPLIT = 10_000


def _quote_is_open(script: str) -> bool:
    """Say whether a script surely has an open quote; comments, here-documents and expansions may hold one."""
    text = replaced(script, lambda _: "x")
    if any(part in text for part in ("#", "<<", "`", "$(", "${", "$'", '$"')):
        return False
    closed = _QUOTED.match(text)
    return closed is not None and text[closed.end() : closed.end() + 1] in ("'", '"')


# Upper case only: `${data_dir}` may be a reference of a program's own configuration language.
_UNEXPANDED = re.compile(
    r"(?:--[\w-]+=)?(?:(?:gs://|/gcs/)?"
    r"(?P<name>\$[A-Z][A-Z0-9_]*|\$\{[A-Z][A-Z0-9_]*\}|\$\([A-Z][A-Z0-9_]*\)|%[A-Z][A-Z0-9_]{2,}%|~(?=/))(?:/\S*)?)"
)


def _check_words(context: CheckContext, step: StepSpec) -> Iterator[Finding]:
    command, args = step.command, step.args
    for key, word in (("command", word) for word in command):
        if _is_conditional(word):
            yield COMMAND_PLACEHOLDER(step.at(key), "contains an IfPresent placeholder", "move it into args")
    # A whole line as the program is told by what it holds.
    line = bool(command) and bool(_shell_syntax(command[0])) and not any(True for _ in scripts_of(step))
    if command and re.search(r"\s", command[0].strip()) and "{" not in command[0] and not line:
        yield _one_word(step.at("command"), command[0])
    again = bool(command and args) and program(args[0]) == program(command[0])
    # `sh -c 'exec "$@"' sh sh …` names nothing twice: behind a script stand its parameters.
    if again and program(args[0]) in INTERPRETERS and not any(script.key == "command" for script in scripts_of(step)):
        yield INTERPRETER_TWICE(
            step.at("args"),
            f"start with {PurePosixPath(args[0]).name!r}, and command with {PurePosixPath(command[0]).name!r}",
            "remove it from args, or remove command",
        )
    yield from _check_typography(step)
    yield from _check_docker_words(step)
    if any(True for _ in scripts_of(step)):
        return
    yield from _check_shell_words(step)
    if _has_shell(step):
        return
    # A whole call in one word works where the ENTRYPOINT of the image ends with -c.
    line = not command and len(args) == 1 and " " in args[0].strip() and not _shell_syntax(args[0])
    if line and program(args[0].split()[0]) in INTERPRETERS:
        yield ONE_WORD(
            step.at("args"),
            f"'{' '.join(args[0].split()[:2])} …' is one word, unless the image's ENTRYPOINT is a shell with -c",
            _split_hint(args[0]),
            Severity.NOTE,
        )
    yield from _check_values(context, step)


# Options whose value is a list of options, or a line, for a program or shell that they start.
_FOR_OTHERS = re.compile(r"--?[\w-]*(?:args?|opts?|options?|flags|params|cmd|command|exec|script|run|hook|shell|line)")
_SEVERAL = re.compile(r"(?P<option>--[A-Za-z][\w-]*|-[A-Za-z])\s+[^\s{][^{]*")


def _check_values(context: CheckContext, step: StepSpec) -> Iterator[Finding]:
    """Look for what only a shell would take apart or replace in the words behind the program."""
    front = _docker_options(step.args)[0] if not step.command else 0
    words = [*(("command", word) for word in step.command[1:]), *(("args", word) for word in step.args[front:])]
    unsure: list[str] = []
    if step.command and (found := _shell_syntax(step.command[0])):
        yield _no_shell(step, "command", found)
    before = ""
    for key, word in words:
        option, before = before, word
        if _FOR_OTHERS.fullmatch(option):
            continue
        if (found := _shell_syntax(word)) and (not option.startswith("-") or found == ["$(…)"]):
            yield _no_shell(step, key, found)
        elif match := _SEVERAL.fullmatch(word):
            if step.command:
                yield ONE_WORD(
                    step.at(key),
                    f"{_short(match['option'])} and its value are in one string",
                    f'write "{match["option"]}" and the value as two strings'
                    + (", or join them with =" if match["option"].startswith("--") else ""),
                )
            else:
                unsure.append(_short(match["option"]))
        elif match := _UNEXPANDED.fullmatch(word):
            yield _unexpanded(context, step, key, match["name"])
    if unsure:
        several = len(unsure) > 1
        yield ONE_WORD(
            step.at("args"),
            f"{names_in_words(unsure)} and {'their values' if several else 'its value'} are in one string"
            f"{' each' if several else ''}, unless the image's ENTRYPOINT splits its arguments",
            "write each option and its value as two strings",
            Severity.NOTE,
        )


def _unexpanded(context: CheckContext, step: StepSpec, key: str, name: str) -> Finding:
    # Vertex AI expands $(NAME) in variables, and of arguments says nothing.
    unsure = not step.command or name.startswith(("$(", "%"))
    known = name.strip("$(){}%") in users_variables(context)
    reference = instead_of(context, name.strip("$(){}%")) if known else "{ param = … }"
    # In a shell of the container the variable would be empty.
    shell = "" if known else ", or call a shell"
    return VARIABLE(
        step.at(key),
        f"{name} would arrive unexpanded: no shell is called"
        + ("" if step.command else ", unless the image's ENTRYPOINT does"),
        f"write {reference}{shell}" if step.container else f"make it an input of the component{shell}",
        Severity.NOTE if unsure else None,
    )


# Programs that a line of a shell begins with, beside interpreters and paths; and those that are words of prose as well.
_OF_LINES = re.compile(
    r"cd|mkdir|rm|cp|mv|ls|chmod|unzip|curl|wget|git|pip3?|gsutil|gcloud|bq|dvc|aws|kubectl|docker|apt-get|apk|npm|yarn"
    r"|torchrun|accelerate|jupyter|mlflow|dbt|\.{0,2}/[\w./-]+|[\w/-]+\.(?:sh|py)|[A-Z_]+=\S*"
)
_OF_PROSE = re.compile(r"export|source|set|echo|cat|touch|tar|make")
_COMMAND_SUBSTITUTION = re.compile(
    r"(?:--?[\w-]+=)?[\w./:-]*(?:\$\([a-z][\w./-]*(?:\s[^()]*)?\)|`[a-z][\w./-]*(?:\s[^`]*)?`)\S*"
)


def _shell_syntax(word: str) -> list[str]:
    """Return the operators of a shell in a word that is a line of commands; `$(…)` where it holds the output of one.

    Expressions of other languages (`a && b`, `x > 5`, `.a | .b`) begin with no program.
    """
    if _COMMAND_SUBSTITUTION.fullmatch(word):
        return ["$(…)"]
    first = word.split(maxsplit=1)[0] if word.strip() else ""
    known = program(first) in INTERPRETERS | WRAPPERS or bool(_OF_LINES.fullmatch(first))
    is_line = known or bool(_OF_PROSE.fullmatch(first))
    if not is_line or first == word or not re.search(r"[;&|<>\n]|\$\(|`", word):
        return []
    try:
        script = read_shell(replaced(word, lambda _: "PLACEHOLDER")).script
    except ShellSyntaxError:
        return []
    found: dict[str, None] = {}
    for chain in script.chains:
        found |= dict.fromkeys(chain.operators)
        for pipeline in chain.pipelines:
            found |= {"|": None} if len(pipeline.parts) > 1 else {}
            for part in pipeline.parts:
                found |= dict.fromkeys(redirect.operator for redirect in part.redirects)
                found |= {"$(…)": None} if any(one.scripts for one in words_of(part)) else {}
    if len(script.chains) > 1:
        found["; or a new line" if "\n" in word else ";"] = None
    return list(found) if known or {"&&", "||"} & found.keys() else []


def _no_shell(step: StepSpec, key: str, found: Sequence[str]) -> Finding:
    """Say that shell syntax stands where no shell reads it."""
    return NO_SHELL(
        step.at(key),
        f"{names_in_words(found)}: only a shell knows {'this' if len(found) == 1 else 'these'}, and none reads it"
        + ("" if step.command else ", unless the image's ENTRYPOINT does"),
        'write the line as one word behind a shell: ["sh", "-c", "LINE"]',
        None if step.command else Severity.NOTE,
    )


def _one_word(place: str, word: str) -> Finding:
    """Say that the program has a space in its name: surely a mistake where its first part is a known program."""
    words = _split(word)
    path = word.startswith("/") and program(words[0]) not in INTERPRETERS | WRAPPERS if words else False
    return ONE_WORD(
        place,
        f"its first word is {_short(word)}, with a space: no shell splits it",
        "nothing to do, if the path of the program has a space" if path else _split_hint(word),
        Severity.NOTE if path else None,
    )


def _split(line: str) -> list[str]:
    """Take a line apart as a shell does; nothing where a quote is open."""
    try:
        return shlex.split(line) if len(line) <= _LONGEST_SPLIT else []
    except ValueError:
        return []


def _split_hint(line: str) -> str:
    words = _split(line)
    written = json.dumps(words, ensure_ascii=False)
    shown_whole = words and len(written) <= 120 and not re.search(r"(?i)token|key|passw|secret|login|://", line)
    return f"write {written}" if shown_whole else "write each word as a separate string"


_DASHES = "\u2010-\u2015\u2212"
_LONG_DASH = re.compile(rf"(?:[{_DASHES}]-?|-[{_DASHES}])[A-Za-z][\w-]*")
_CURLY = re.compile(r"(?:--?[\w-]+=)?[\u2018-\u201f].*[\u2018-\u201f]", re.DOTALL)


def _check_typography(step: StepSpec) -> Iterator[Finding]:
    scripts = {script.text for script in scripts_of(step) if script.for_shell}
    for key, words in (("command", step.command), ("args", step.args)):
        for word in words:
            if word in scripts:
                match, severity = re.search(rf"(?<!\S){_LONG_DASH.pattern}", word), Severity.NOTE
            else:
                match, severity = _LONG_DASH.match(word), Severity.WARNING
            if match:
                yield TYPOGRAPHY(
                    step.at(key), f"{_short(match[0], 40)} starts with a long dash", "retype the dashes", severity
                )
            elif word not in scripts and _CURLY.fullmatch(word):
                yield TYPOGRAPHY(step.at(key), "a value is in curly quotes", "remove the quotes", Severity.NOTE)


def _check_docker_words(step: StepSpec) -> Iterator[Finding]:
    command, args = step.command, step.args
    front = command or args
    key = "command" if command else "args"
    if front and front[0] in ("CMD", "ENTRYPOINT"):
        yield DOCKER_WORDS(
            step.at(key),
            f"start with {front[0]!r}, a Dockerfile instruction"
            if not command
            else f"begins with {front[0]!r}, a word of a Dockerfile",
            "remove it",
        )
    elif (
        command[:2] in (("docker", "run"), ("docker", "exec"), ("docker", "compose")) and "DOCKER_HOST" not in step.env
    ):
        yield DOCKER_WORDS(
            step.at("command"),
            f"begins with '{' '.join(command[:2])}': a step runs its image itself, and has no Docker daemon",
            "name the image under image, and write command and args for what runs in it",
        )
    elif not command and (found := _docker_options(args))[1]:
        _, names, sure = found
        yield DOCKER_WORDS(
            step.at("args"),
            f"begin with '{' '.join(names)}', {'an option' if len(names) == 1 else 'options'} of `docker run`",
            "remove them: arguments go to the program in the image"
            if len(names) > 1
            else "remove it: arguments go to the program in the image",
            None if sure else Severity.NOTE,
        )


# Commands that are a part of the shell, and no program.
_BUILT_IN = frozenset({"cd", "export", "source"})
_PIPED = frozenset({"tee", "grep", "head", "tail", "sort", "uniq", "awk", "sed", "cat", "xargs", "wc", "tr", "cut"})


def _check_shell_words(step: StepSpec) -> Iterator[Finding]:
    """Look for a shell without its -c, and for what needs a shell where none is asked to read a script."""
    words = [*(("command", word) for word in step.command), *(("args", word) for word in step.args)]
    if words and program(words[0][1]) in SHELLS:
        file = next(((key, word) for key, word in words[1:] if not word.startswith(("-", "+"))), None)
        options = [word for _, word in words[1:] if word.startswith("-")]
        if file and not any(re.fullmatch(r"-[a-z]*[cos]", option) for option in options) and _is_line(file[1]):
            yield SHELL_WORDS(
                step.at(file[0]),
                f"{program(words[0][1])} takes {_short(file[1], 40)!r} for the name of a file: -c is missing",
                f'write {json.dumps(words[0][1])}, "-c" and the line as one word',
                None if step.command else Severity.NOTE,
            )
    found = [step.command[0]] if step.command and step.command[0] in _BUILT_IN else []
    found += _operators([word for _, word in words])
    if found:
        yield _no_shell(step, "command" if step.command else "args", found)


def _is_line(word: str) -> bool:
    """Say whether a word behind a shell is a line of a script, or another program, and not the name of a file."""
    first = word.split(maxsplit=1)[0] if word.strip() else ""
    if "{" in first or not first:
        return False
    if first == word:
        return "/" not in word and program(word) in INTERPRETERS - SHELLS
    return not (word.startswith(("/", ".")) and word.endswith(".sh") and not first.endswith(".sh"))


def _operators(words: Sequence[str]) -> list[str]:
    """Return the operators of a shell that stand as words of their own; one behind an option is its value."""
    found = []
    for before, word, after in zip(words, words[1:], [*words[2:], ""], strict=False):
        sure = word in ("&&", "||", ">>", "2>&1", "2>", "&>") or re.fullmatch(r"[12&]?>>?/[\w./-]+", word)
        to_file = word in (">", "<") and re.search(r"[/.][A-Za-z]", after)
        piped = word == "|" and program(after) in _PIPED
        if (sure or to_file or piped) and not before.startswith("-"):
            found.append(word)
    return found


def _has_shell(step: StepSpec) -> bool:
    """Say whether a shell is called, or may be: an image without `command` whose arguments begin with `-c`."""
    words = [program(word) for word in (*step.command, *step.args)]
    return bool(SHELLS & set(words)) or (not step.command and bool(step.args) and step.args[0] in ("-c", "-lc", "-ec"))


def _is_conditional(word: str) -> bool:
    if not word.lstrip().startswith("{") or "IfPresent" not in word:
        return False
    try:
        parsed = json.loads(word)
    except (ValueError, RecursionError):
        return False
    return isinstance(parsed, Mapping) and "IfPresent" in parsed


# Options of `docker run`, as one word or two; the first say so by themselves, the others only beside them.
_SURE_OPTIONS = re.compile(
    r"--rm|-it|-ti|--volume=.+:/.*|(?:-v|--volume) (?:\.{0,2}/|~|[A-Za-z]:\\)?[^:\s]+:/\S*|--gpus (?:all|\"?device=.*)"
    r"|--mount[ =].*type=(?:bind|volume|tmpfs).*|docker run|(?:-p|--publish) [0-9]+:[0-9]+"
)
_VARIABLE_OPTIONS = re.compile(r"(?:-e|--env)[ =](?P<name>[A-Z_][A-Z0-9_]*)=.*", re.DOTALL)
_OTHER_OPTIONS = re.compile(
    r"-[dit]|--(?:init|privileged)"
    r"|--(?:env-file|name|net|network|ipc|shm-size|platform|entrypoint|gpus|user|workdir)[ =]\S+"
    r"|(?:-e|--env) [A-Z_][A-Z0-9_]*|-u [\w:.-]+|-w /\S*"
)


def _docker_options(args: Sequence[str]) -> tuple[int, list[str], bool]:
    """Return the options of `docker run` that the arguments begin with: how many words, their text, whether surely."""
    found: list[tuple[int, str, int]] = []  # where it ends, its text, how surely it is one
    position = 0
    while position < len(args):
        for width in (2, 1):
            text = " ".join(args[position : position + width])
            if len(args) < position + width or len(text) > _LONGEST_OPTION:
                continue
            rank = 2 if _SURE_OPTIONS.fullmatch(text) else 1 if _VARIABLE_OPTIONS.fullmatch(text) else 0
            if rank or _OTHER_OPTIONS.fullmatch(text):
                match = _VARIABLE_OPTIONS.fullmatch(text)
                found.append((position + width, f"-e {match['name']}=…" if match else _short(text, 40), rank))
                position += width
                break
        else:
            break
    while found and not found[-1][2]:
        found.pop()  # it may be the program's own
    best = max((rank for _, _, rank in found), default=0)
    if best < 2:  # `-e NAME=value` alone, from the front
        found = found[: next((n for n, (_, _, rank) in enumerate(found) if not rank), len(found))]
    return (found[-1][0] if found else 0, [text for _, text, _ in found], best == 2)


_LONGEST_OPTION = 4096


def _check_texts(step: StepSpec, around: Surroundings) -> Iterator[Finding]:
    words = [("command", word) for word in step.command if "\n" not in word]
    # Behind the options of `docker run` everything is told with them.
    args = step.args[_docker_options(step.args)[0] :] if not step.command else step.args
    words += [("args", word) for word in args if not word.startswith("{") or word.startswith("{{")]
    told: set[str] = set()
    for key, word in words:
        yield from check_paths(step.at(key), word, around, told)
        yield from check_text(step.at(key), word)
    for name, value in step.env.items():
        yield from check_environment(step.at(f"env.{name}"), name, value, around)


# Set in every custom job; of AIP_* only those below: the others come with a base output folder or a dataset, which
# a step of a pipeline does not have.
_RESERVED = frozenset(
    {
        "CLOUD_ML_PROJECT_ID",
        "CLOUD_ML_JOB_ID",
        "CLOUD_ML_JOB",
        "CLOUD_ML_REGION",
        "CLUSTER_SPEC",
        "TF_CONFIG",
        "AIP_HTTP_HANDLER_PORT",
        "AIP_TF_PROFILER_PORT",
    }
)
_MOST_VARIABLES = 100
_EXPANSION = re.compile(r"(?<!\$)\$\([A-Za-z_][A-Za-z0-9_]*\)")


def _check_environment(context: CheckContext, step: StepSpec) -> Iterator[Finding]:
    place = step.at("env")
    seen: dict[str, object] = {}
    for entry in _entries(_body(context, step)):
        name, value = entry.get("name"), entry.get("value", "")
        if not isinstance(name, str) or not name:
            yield ENV_NAME(place, "an entry has no name", "name it, or remove it")
            continue
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            yield ENV_NAME(place, f"{shown(name)} is not a C identifier", "use letters, digits and underscores")
            continue
        if name in seen and seen[name] != value:
            yield ENV_TWICE(place, f"{name} is set twice, with two values", "remove one")
        seen[name] = value
        if name in _RESERVED:
            yield ENV_RESERVED(place, f"{name} is a variable that Vertex AI sets itself", "choose another name")
        if "{{channel:" in str(value):
            yield ENV_PLACEHOLDER(
                place, f"{name} waits for a parameter, which nothing puts there", "hand the value over in args"
            )
        # Values of the run itself ({{$.pipeline_job_name}}) are filled in: ZenML's orchestrator counts on it.
        elif re.search(r"\{\{\$\.(inputs|outputs)\b", str(value)):
            yield ENV_PLACEHOLDER(
                place,
                f"{name} refers to an input or output, and the variables of a step are literals",
                "hand the value over in args",
                Severity.WARNING,
            )
        elif expansion := _EXPANSION.search(str(value)):
            yield ENV_EXPANSION(place, f"{name} refers to {expansion[0]}", "write $$(…) where the text is meant")
        elif itself := re.search(rf"(?<!\$)\$(?:{name}\b|\{{{name}\}})", str(value)):
            yield VARIABLE(
                f"{place}.{name}",
                f"{itself[0]} stays in {name} unexpanded",
                "write the complete value",
            )
        elif match := _UNEXPANDED.fullmatch(str(value)):
            yield VARIABLE(
                f"{place}.{name}",
                f"{match['name']} stays in {name} unexpanded, unless the program expands it",
                "write the value, or { param = … }",
                Severity.NOTE,
            )
    if len(seen) > _MOST_VARIABLES:
        yield ENV_MANY(place, f"{len(seen)} variables, and at most {_MOST_VARIABLES} are taken", "put them into a file")


def _check_form(context: CheckContext, step: StepSpec) -> Iterator[Finding]:
    body = _body(context, step)
    if (image := body.get("image", "")) is not None and not isinstance(image, str):
        text = f" ({shown(image)})" if isinstance(image, bool | int | float) else ""
        yield FORM(step.at("image"), f"is {_kind(image)}{text} and not a string", "put it in quotes")
    for key in ("command", "args"):
        words = body.get(key, [])
        if not isinstance(words, list):
            yield FORM(step.at(key), f"is {_kind(words)} and not a list of strings", "write a list: [one, two]")
            continue
        for number, word in enumerate(words):
            if not isinstance(word, str):
                value = f" ({word})" if isinstance(word, bool | int | float) else ""
                yield FORM(f"{step.at(key)}[{number}]", f"is {_kind(word)}{value} and not a string", "put it in quotes")
    env = body.get("env", [])
    if not isinstance(env, list):
        yield FORM(step.at("env"), f"is {_kind(env)} and not a list", "write entries with name and value")
        return
    for number, entry in enumerate(env):
        value = entry.get("value", "") if isinstance(entry, Mapping) else ""
        if not isinstance(entry, Mapping):
            yield FORM(f"{step.at('env')}[{number}]", f"is {_kind(entry)}", "write an entry with name and value")
        elif not isinstance(value, str):
            yield FORM(
                f"{step.at('env')}[{number}].value", f"is {_kind(value)} and not a string", "put the value in quotes"
            )


def _check_entrypoints(context: CheckContext) -> Iterator[Finding]:
    # What a KFP server does in place of an image needs no command.
    steps = [step for step in context.steps if not step.command and not server_image(step.image)]
    if without := list(dict.fromkeys(step.name for step in steps)):
        yield NO_COMMAND(
            steps[0].source,
            f"no command is set for {names_in_words(without)}: the ENTRYPOINT of the image runs",
            "nothing to do for Vertex AI and --local",
        )


def _body(context: CheckContext, step: StepSpec) -> Mapping[str, Any]:
    """Return the container of a step as it stands in the spec."""
    label = step.component.get("executorLabel")
    return table_at(context.pipeline.spec, "deploymentSpec", "executors", str(label), "container")


def _entries(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    env = body.get("env")
    yield from (entry for entry in env if isinstance(entry, Mapping)) if isinstance(env, list) else ()


def _kind(value: object) -> str:
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list", dict: "a table"}
    return names.get(type(value), "something else")


def _short(text: str, most: int = 60) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
