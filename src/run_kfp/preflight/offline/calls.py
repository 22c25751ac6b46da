"""How each container is called: command, arguments, environment.

Nothing here runs an image. A rule is an error only where the API itself refuses the form; what depends on the image is
a warning at most.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from run_kfp.preflight.findings import Code, Finding, Severity, When
from run_kfp.preflight.offline.spec import names_in_words, shown, table_at
from run_kfp.preflight.offline.texts import Surroundings, check_constants, check_environment, check_paths, check_text
from run_kfp.preflight.subject import StepSpec, Subject

_GROUP = "calls"
_CUSTOM_JOB = "google.cloud.aiplatform.v1.ContainerSpec and EnvVar (custom_job.proto, env_var.proto)"

SHELL_PLACEHOLDER = Code(
    "RK-CALL-SHELL-PLACEHOLDER",
    _GROUP,
    "a value is pasted into a script",
    Severity.WARNING,
    When.RUN,
    "a value with a space, a quote or a semicolon would break the line, or run as a command of its own",
    """\
The backend replaces a placeholder before the shell reads the line, so the shell reads the value as a part of the
script. `echo {{$.inputs.parameters['tag']}}` with the tag `a; rm -rf /data` is two commands. Numbers and booleans are
safe and are not reported, and neither are paths that the backend makes.

Keep the script constant and hand the values over behind it, where the shell knows them as $1, $2, …:
args = ["-c", 'exec python train.py --tag "$1"', "train", { param = "tag" }]. The word behind the script is $0.""",
    "POSIX sh(1), operand command_name; kfp 2.17, dsl/placeholders.py",
)

COMMAND_PLACEHOLDER = Code(
    "RK-CALL-COMMAND-PLACEHOLDER",
    _GROUP,
    "an optional part stands in `command`",
    Severity.WARNING,
    When.RUN,
    "the container may get the JSON text of the placeholder as a word of its command",
    """\
kfp writes `dsl.IfPresentPlaceholder` as a JSON text, which the backend turns into words. In `command` it was reported
to reach the container of Vertex AI as it stands. Put it into `args`.""",
    "https://github.com/googleapis/python-aiplatform/issues/4164",
)

NO_COMMAND = Code(
    "RK-CALL-NO-COMMAND",
    _GROUP,
    "the image's own ENTRYPOINT runs",
    Severity.NOTE,
    When.SUBMIT,
    "a KFP server on Argo Workflows may refuse the step; Vertex AI and this machine run the image's ENTRYPOINT",
    """\
Without `command` the ENTRYPOINT of the image runs with the arguments of the step. Vertex AI and `--local` do that. The
executor of Argo Workflows starts the program itself and so has to know it, either from `command` or by asking the
image registry, which fails for private images.

Nothing has to be done for Vertex AI. For a KFP server write command = [...] with what
`docker inspect -f '{{json .Config.Entrypoint}}' IMAGE` prints.""",
    "https://argo-workflows.readthedocs.io/en/latest/workflow-executors/",
)

FORM = Code(
    "RK-CALL-FORM",
    _GROUP,
    "image, command, args or env is not of the form that the API takes",
    Severity.ERROR,
    When.SUBMIT,
    "the pipeline spec would be refused",
    """\
`image` is a string, `command` and `args` are lists of strings, `env` is a list of entries with a name and a value, both
strings. YAML reads an unquoted 10, yes or 1.0 as a number or a boolean, and nothing after a dash as null: put the words
in quotes.""",
    "kfp-pipeline-spec 2.17, PipelineDeploymentConfig.PipelineContainerSpec",
)

ONE_WORD = Code(
    "RK-CALL-ONE-WORD",
    _GROUP,
    "several words in one string",
    Severity.WARNING,
    When.RUN,
    "the container would look for a program, or an option, with a space in its name",
    """\
Each element of `command` and `args` reaches the program as one word; no shell takes it apart. ["python train.py"] asks
for a program that is called `python train.py`, and "--epochs 10" is one option that no program knows. Write
["python", "train.py"] and "--epochs", "10" (or "--epochs=10").""",
    "Docker's exec form of ENTRYPOINT and CMD; execve(2)",
)

VARIABLE = Code(
    "RK-CALL-VARIABLE",
    _GROUP,
    "a variable that nothing expands",
    Severity.WARNING,
    When.RUN,
    "the program would get that text as it stands, and not the variable's value",
    """\
Only a shell replaces $NAME, ${NAME} and ~, and none stands in this call; %NAME% belongs to Windows. Use
{ param = "name" }, or let a shell do it: ["sh", "-c", 'exec python train.py --bucket "$BUCKET"'].

Nothing expands a variable in `env` either: PATH = "/opt/bin:$PATH" leaves /opt/bin and a folder called $PATH. Write the
whole value, or set it in a shell in front of the program: 'PATH="/opt/bin:$PATH" exec python train.py'.""",
    "execve(2); POSIX shell command language, 2.6",
)

INTERPRETER_TWICE = Code(
    "RK-CALL-TWICE",
    _GROUP,
    "the program is named twice",
    Severity.WARNING,
    When.RUN,
    "the program would get its own name as its first argument",
    """\
`command` replaces ENTRYPOINT and `args` follow it: ["python3", "main.py"] with args ["python3", "main.py", "--tag"]
runs `python3 main.py python3 main.py --tag`. Write the program in one of the two.""",
    _CUSTOM_JOB,
)

SHELL_WORDS = Code(
    "RK-CALL-SHELL-WORDS",
    _GROUP,
    "words that the shell does not read as the script",
    Severity.WARNING,
    When.RUN,
    "the shell would run only a part of what stands there, or take it for the name of a file",
    """\
The script is the ONE word behind -c. What follows is $0 (a name for messages), then $1, $2, …, and "$@" is all of them
from $1 on: ["sh", "-c", 'exec python x.py "$@"', "x", "--lr", "3"]. So ["sh", "-c", "python", "x.py"] runs python
without x.py, and the first value of ["sh", "-c", 'python x.py "$1"', "value"] is $0, so that $1 is empty. Without -c
the word behind the shell is the file that it reads.""",
    "POSIX sh(1), operands command_string, command_name, argument and command_file",
)

NO_SHELL = Code(
    "RK-CALL-NO-SHELL",
    _GROUP,
    "words for a shell, and no shell",
    Severity.WARNING,
    When.RUN,
    "the program would get them as its arguments, or there is no such program",
    """\
&&, |, > and commands of the shell itself, such as cd and export, need a shell that reads them. Write the line as one
word: ["sh", "-c", "cd /app && python x.py > /tmp/log"].""",
    "execve(2); POSIX shell command language, 2.4 to 2.15",
)

TYPOGRAPHY = Code(
    "RK-CALL-TYPOGRAPHY",
    _GROUP,
    "dashes or quotes of a document",
    Severity.WARNING,
    When.RUN,
    "the program would not know the option, or get the quotes as a part of the value",
    """\
Word processors, chats and some web pages turn -- into a long dash and straight quotes into curly ones. Programs know
the plain characters only. Type them anew.""",
    "Unicode, U+2010 to U+201F",
)

QUOTES = Code(
    "RK-CALL-QUOTES",
    _GROUP,
    "a quote in a script is never closed",
    Severity.ERROR,
    When.RUN,
    "the shell would stop with a syntax error before the first command",
    """\
The script holds an odd quote. Inside of '…' no backslash escapes; inside of "…" a quote is written \\". In TOML a
literal string '…' leaves backslashes alone.""",
    "POSIX shell command language, 2.2",
)

DOCKER_WORDS = Code(
    "RK-CALL-DOCKER-OPTION",
    _GROUP,
    "words for Docker in a call",
    Severity.WARNING,
    When.RUN,
    "the program in the image would get them, and stop or pass over them",
    """\
Command and arguments go to the program in the image, not to Docker; the image runs without `docker run`, and a word of
a Dockerfile such as CMD stands for what follows it. What the options of `docker run` do has other places: volumes
become /gcs/<bucket>/… (every bucket that the run account may read is mounted there), --gpus the accelerator of the
container, -e its env.""",
    "https://cloud.google.com/vertex-ai/docs/training/configure-container-settings",
)

ENV_PLACEHOLDER = Code(
    "RK-ENV-PLACEHOLDER",
    _GROUP,
    "an environment variable that waits for a value",
    Severity.ERROR,
    When.RUN,
    "the program would find the text of the placeholder in the variable",
    """\
An environment variable of a step is a literal: what `set_env_variable(name, f"{parameter}")` of kfp 2.17 compiles to
is the text {{channel:…}}, which nothing replaces. Hand the value over as an argument. In a registry of run-kfp,
env = { NAME = { param = "name" } } together with entrypoint = [...] does it.""",
    "kfp 2.17, dsl/pipeline_task.py, set_env_variable (tried)",
)

ENV_NAME = Code(
    "RK-ENV-NAME",
    _GROUP,
    "an environment variable without a right name",
    Severity.ERROR,
    When.CREATE,
    "the job of the step would be refused",
    "The API takes a C identifier: letters, digits and underscores, not beginning with a digit.",
    _CUSTOM_JOB,
)

ENV_TWICE = Code(
    "RK-ENV-TWICE",
    _GROUP,
    "an environment variable with two values",
    Severity.WARNING,
    When.SILENT,
    "one of the two would be passed over",
    "A name stands once in the environment of a process. Leave out the value that is not meant.",
    _CUSTOM_JOB,
)

ENV_MANY = Code(
    "RK-ENV-MANY",
    _GROUP,
    "more than 100 environment variables",
    Severity.ERROR,
    When.CREATE,
    "the job of the step would be refused",
    "The API takes at most 100. Write them into a file of the image or the bucket, and hand over its path.",
    _CUSTOM_JOB,
)

ENV_RESERVED = Code(
    "RK-ENV-RESERVED",
    _GROUP,
    "an environment variable that Vertex AI sets",
    Severity.WARNING,
    When.SILENT,
    "the value that is written may be replaced by Vertex AI's own",
    """\
Vertex AI describes the job to the program in variables of its own: CLOUD_ML_PROJECT_ID (the number of the project),
CLOUD_ML_JOB_ID, CLUSTER_SPEC, TF_CONFIG and others. Choose another name.""",
    "https://cloud.google.com/vertex-ai/docs/training/code-requirements; google/cloud/aiplatform/training_utils",
)

ENV_EXPANSION = Code(
    "RK-ENV-EXPANSION",
    _GROUP,
    "$(NAME) in an environment variable",
    Severity.NOTE,
    When.SILENT,
    "Vertex AI replaces $(NAME) by the variable of that name, and a run on this machine does not",
    "Where the text itself is meant, write $$(NAME), which Vertex AI turns into $(NAME).",
    _CUSTOM_JOB,
)

_SHELLS = frozenset({"sh", "bash", "dash", "ash", "zsh", "ksh"})
# Programs that take a script as a word, and the option in front of it.
_SCRIPT_OPTIONS: Mapping[str, str] = {"python": "c", "perl": "e", "node": "e", "ruby": "e", "Rscript": "e", "R": "e"}
# Programs that call the one behind them.
_WRAPPERS = frozenset({"env", "exec", "nice", "timeout", "tini", "dumb-init"})
_INTERPRETERS = _SHELLS | _SCRIPT_OPTIONS.keys() | {"java", "pipenv", "poetry", "uv", "conda"}

_PLACEHOLDER = re.compile(r"\{\{\$.*?\}\}", re.DOTALL)
_PARAMETER = re.compile(r"""\{\{\$\.inputs\.parameters\[\s*(?P<quote>['"])(?P<name>.*?)(?P=quote)\s*\]""")
_SAFE_TYPES = frozenset({"NUMBER_INTEGER", "NUMBER_DOUBLE", "BOOLEAN", "INT", "DOUBLE"})


def check_calls(subject: Subject, *, home: Path | None = None, here: Path | None = None) -> Iterator[Finding]:
    """Check command, arguments and environment of every container step; no network, nothing is run.

    Args:
        subject: of this program, of kfp or of another tool.
        home: the home folder of the user; this process's when it is not given.
        here: the current folder, likewise.

    Yields:
        Findings of the group "calls"; none holds the value of an environment variable or a whole argument.
    """
    around = Surroundings(home or _folder(Path.home), here or _folder(Path.cwd))
    for step in subject.steps:
        yield from _check_form(subject, step)
        yield from _check_scripts(step)
        yield from _check_words(step)
        yield from _check_texts(step, around)
        yield from _check_environment(subject, step)
    yield from check_constants(subject, around)
    yield from _check_entrypoints(subject)


def _folder(find: Callable[[], Path]) -> Path | None:
    try:
        return find()
    except (RuntimeError, OSError):  # an unknown user; a current folder that was deleted
        return None


@dataclass(frozen=True)
class _Script:
    """A script that stands as a word.

    Attributes:
        key: what holds it, `command` or `args`.
        text: the script.
        for_shell: whether a shell reads it.
        sure: whether it is known that it is read.
        behind: the words that follow it: $0, $1, …
    """

    key: str
    text: str
    for_shell: bool
    sure: bool
    behind: tuple[str, ...]


def _scripts(step: StepSpec) -> Iterator[_Script]:
    """Find the words that an interpreter reads as a script: behind `sh -c`, `python -c` and their like."""
    words = [*(("command", word) for word in step.command), *(("args", word) for word in step.args)]
    if not step.command and step.args and re.fullmatch(r"-[a-z]*c", step.args[0]):
        # An image whose ENTRYPOINT may be a shell; `-c` may also be an option of a program of its own.
        if len(step.args) > 1 and re.search(r"[\s;|&<>$]", _PLACEHOLDER.sub("", step.args[1])):
            yield _Script("args", step.args[1], for_shell=True, sure=False, behind=step.args[2:])
        return
    for number, (_, word) in enumerate(words):
        program = _program(word)
        option = "c" if program in _SHELLS else _SCRIPT_OPTIONS.get(program)
        if option is None:
            continue
        sure = number == 0 or _program(words[0][1]) in _WRAPPERS
        asked = False
        for position, (key, following) in enumerate(words[number + 1 :], number + 2):
            if asked and not following.startswith(("-", "+")):
                yield _Script(
                    key,
                    following,
                    for_shell=program in _SHELLS,
                    sure=bool(step.command) and sure,
                    behind=tuple(word for _, word in words[position:]),
                )
                break
            if re.fullmatch(rf"-[A-Za-z]*{option}", following) or (program == "sh" and following == "-ce"):
                asked = True
            elif following == "-o" or following.startswith(("-", "+")) or following == "pipefail":
                continue
            else:
                break


def _program(word: str) -> str:
    """Return the name of the program that a word calls; a version behind it is dropped (python3.11)."""
    if not word or re.search(r"[\s{]", word):
        return ""
    name = PurePosixPath(word).name
    return "python" if re.fullmatch(r"python[0-9.]*", name) else name


def _check_scripts(step: StepSpec) -> Iterator[Finding]:
    for script in _scripts(step):
        pasted = [
            match["name"]
            for match in _PARAMETER.finditer(script.text)
            if _type_of(step, match["name"]) not in _SAFE_TYPES
        ]
        # A script that is a parameter as a whole is meant to be one.
        if pasted and _PLACEHOLDER.sub("", script.text).strip():
            yield SHELL_PLACEHOLDER(
                step.at(script.key),
                f"the text of a script holds the value of {names_in_words(pasted)}",
                'keep the script constant, write "$1" in it, and give the value behind it: '
                '["-c", \'exec program "$1"\', "program", VALUE]',
            )
        if script.for_shell and _quote_is_open(script.text):
            yield QUOTES(
                step.at(script.key),
                "a shell script has a quote that is never closed",
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


def _lost_words(script: _Script) -> tuple[str, str] | None:
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
                "write the whole line as one word, or leave the shell out"
                + (f": {json.dumps([text.strip(), *behind])}" if plain else ""),
            )
        if behind[0].startswith("-") and behind[0] not in ("-", "--"):
            return (
                f"the script does not use what follows it ({_option(behind[0])} …)",
                'add "$@" to the script, and a word for $0 behind it: ["-c", \'program "$@"\', "program", "--option"]',
            )
        return None
    if 0 in numbers:
        return None
    highest = max(numbers, default=0)
    optional = any(match["braces"] == str(highest) and match["more"] in tuple(":-+=") for match in used)
    if highest and len(behind) <= highest and behind and not optional:
        return (
            f"${highest} is empty: the first word behind a script is $0, and {len(behind)} "
            f"{'word follows' if len(behind) == 1 else 'words follow'}",
            'write a word for $0 in front of the values: ["-c", \'program "$1"\', "program", VALUE]',
        )
    if not numbers and behind and _is_value(behind[0]):
        first = _option(behind[0]) if behind[0].startswith("-") else "the first value"
        return (
            f"{first} is $0, which $@ does not hold",
            'write a word for $0 in front of the values: ["-c", \'program "$@"\', "program", VALUE]',
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
    return word in _SHELLS | {"_", "-", "--"} or PurePosixPath(word).stem == PurePosixPath(script).stem


def _option(word: str) -> str:
    """Return an option for a sentence, without its value."""
    return _short(re.split(r"[=\s]", word, maxsplit=1)[0], 40)


def _is_value(word: str) -> bool:
    """Say whether a word surely is meant for the program, and not a name for $0."""
    return (word.startswith("-") and word not in ("-", "--")) or "{{$.inputs.parameters" in word


def _type_of(step: StepSpec, name: str) -> str:
    declared = table_at(step.component, "inputDefinitions", "parameters", name)
    return str(declared.get("parameterType") or declared.get("type") or "")


def _quote_is_open(script: str) -> bool:
    """Say whether a script surely has an open quote; comments, here-documents and expansions may hold one."""
    text = _PLACEHOLDER.sub("x", script)
    if any(part in text for part in ("#", "<<", "`", "$(", "${", "$'", '$"')):
        return False
    try:
        shlex.split(text)
    except ValueError as error:
        return "quotation" in str(error)
    return False


# Upper case only: `${data_dir}` may be a reference of a program's own configuration language.
_UNEXPANDED = re.compile(
    r"(?:--[\w-]+=)?(?:(?:gs://|/gcs/)?"
    r"(?P<name>\$[A-Z][A-Z0-9_]*|\$\{[A-Z][A-Z0-9_]*\}|\$\([A-Z][A-Z0-9_]*\)|%[A-Z][A-Z0-9_]{2,}%|~(?=/))(?:/\S*)?)"
)


def _check_words(step: StepSpec) -> Iterator[Finding]:
    command, args = step.command, step.args
    for key, word in (("command", word) for word in command):
        if _is_conditional(word):
            yield COMMAND_PLACEHOLDER(step.at(key), "holds an IfPresent placeholder", "move it into args")
    if command and re.search(r"\s", command[0].strip()) and "{" not in command[0]:
        yield _one_word(step.at("command"), command[0])
    again = bool(command and args) and _program(args[0]) == _program(command[0])
    # `sh -c 'exec "$@"' sh sh …` names nothing twice: behind a script stand its parameters.
    if again and _program(args[0]) in _INTERPRETERS and not any(script.key == "command" for script in _scripts(step)):
        yield INTERPRETER_TWICE(
            step.at("args"),
            f"begin with {PurePosixPath(args[0]).name!r}, and command with {PurePosixPath(command[0]).name!r}",
            "leave it out of args, or write no command",
        )
    yield from _check_typography(step)
    yield from _check_docker_words(step)
    if any(True for _ in _scripts(step)):
        return
    yield from _check_shell_words(step)
    if _has_shell(step):
        return
    # A whole call in one word works where the ENTRYPOINT of the image ends with -c.
    if not command and len(args) == 1 and " " in args[0] and _program(args[0].split()[0]) in _INTERPRETERS:
        yield ONE_WORD(
            step.at("args"),
            f"'{' '.join(args[0].split()[:2])} …' is one word, unless the image's ENTRYPOINT is a shell with -c",
            _split_hint(args[0]),
            Severity.NOTE,
        )
    for word in args if command else args[_docker_options(args)[0] :]:
        if re.fullmatch(r"--[A-Za-z][\w-]*\s+[^\s{][^{]*", word):
            yield ONE_WORD(
                step.at("args"),
                f"{_short(word.split()[0])} and its value stand in one string",
                f'write "{word.split()[0]}" and the value as two strings, or join them with =',
            )
        elif match := _UNEXPANDED.fullmatch(word):
            # Vertex AI expands $(NAME) in variables, and of arguments says nothing.
            unsure = not command or match["name"].startswith(("$(", "%"))
            yield VARIABLE(
                step.at("args"),
                f"{match['name']} would arrive as it stands: no shell is called"
                + ("" if command else ", unless the image's ENTRYPOINT does"),
                "write { param = … }, or call a shell",
                Severity.NOTE if unsure else None,
            )


def _one_word(place: str, word: str) -> Finding:
    """Say that the program has a space in its name: surely a mistake where its first part is a known program."""
    words = _split(word)
    path = word.startswith("/") and _program(words[0]) not in _INTERPRETERS | _WRAPPERS if words else False
    return ONE_WORD(
        place,
        f"its first word is {_short(word)}, with a space: no shell takes it apart",
        "nothing to do, if the path of the program has a space" if path else _split_hint(word),
        Severity.NOTE if path else None,
    )


def _split(line: str) -> list[str]:
    """Take a line apart as a shell does; nothing where a quote is open."""
    try:
        return shlex.split(line)
    except ValueError:
        return []


def _split_hint(line: str) -> str:
    words = _split(line)
    written = json.dumps(words, ensure_ascii=False)
    shown_whole = words and len(written) <= 120 and not re.search(r"(?i)token|key|passw|secret|login|://", line)
    return f"write {written}" if shown_whole else "write each word as a string of its own"


_DASHES = "\u2010-\u2015\u2212"
_LONG_DASH = re.compile(rf"(?:[{_DASHES}]-?|-[{_DASHES}])[A-Za-z][\w-]*")
_CURLY = re.compile(r"(?:--?[\w-]+=)?[\u2018-\u201f].*[\u2018-\u201f]", re.DOTALL)


def _check_typography(step: StepSpec) -> Iterator[Finding]:
    scripts = {script.text for script in _scripts(step) if script.for_shell}
    for key, words in (("command", step.command), ("args", step.args)):
        for word in words:
            if word in scripts:
                match, severity = re.search(rf"(?<!\S){_LONG_DASH.pattern}", word), Severity.NOTE
            else:
                match, severity = _LONG_DASH.match(word), Severity.WARNING
            if match:
                yield TYPOGRAPHY(
                    step.at(key), f"{_short(match[0], 40)} begins with a long dash", "type the dashes anew", severity
                )
            elif word not in scripts and _CURLY.fullmatch(word):
                yield TYPOGRAPHY(step.at(key), "a value stands in curly quotes", "take the quotes out", Severity.NOTE)


def _check_docker_words(step: StepSpec) -> Iterator[Finding]:
    command, args = step.command, step.args
    front = command or args
    key = "command" if command else "args"
    if front and front[0] in ("CMD", "ENTRYPOINT"):
        yield DOCKER_WORDS(
            step.at(key),
            f"begin with {front[0]!r}, a word of a Dockerfile"
            if not command
            else f"begins with {front[0]!r}, a word of a Dockerfile",
            "leave it out",
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
            "leave them out: arguments go to the program in the image"
            if len(names) > 1
            else "leave it out: arguments go to the program in the image",
            None if sure else Severity.NOTE,
        )


# Commands that are a part of the shell, and no program.
_BUILT_IN = frozenset({"cd", "export", "source"})
_PIPED = frozenset({"tee", "grep", "head", "tail", "sort", "uniq", "awk", "sed", "cat", "xargs", "wc", "tr", "cut"})


def _check_shell_words(step: StepSpec) -> Iterator[Finding]:
    """Look for a shell without its -c, and for what needs a shell where none is asked to read a script."""
    words = [*(("command", word) for word in step.command), *(("args", word) for word in step.args)]
    if words and _program(words[0][1]) in _SHELLS:
        file = next(((key, word) for key, word in words[1:] if not word.startswith(("-", "+"))), None)
        options = [word for _, word in words[1:] if word.startswith("-")]
        if file and not any(re.fullmatch(r"-[a-z]*[cos]", option) for option in options) and _is_line(file[1]):
            yield SHELL_WORDS(
                step.at(file[0]),
                f"{_program(words[0][1])} takes {_short(file[1], 40)!r} for the name of a file: -c is missing",
                f'write {json.dumps(words[0][1])}, "-c" and the whole line as one word',
                None if step.command else Severity.NOTE,
            )
    found = [step.command[0]] if step.command and step.command[0] in _BUILT_IN else []
    found += _operators([word for _, word in words])
    if found:
        yield NO_SHELL(
            step.at("command" if step.command else "args"),
            f"{names_in_words(found)}: only a shell knows {'this' if len(found) == 1 else 'these'}, and none reads it",
            'write the line as one word behind a shell: ["sh", "-c", "LINE"]',
            None if step.command else Severity.NOTE,
        )


def _is_line(word: str) -> bool:
    """Say whether a word behind a shell is a line of a script, or another program, and not the name of a file."""
    first = word.split(maxsplit=1)[0] if word.strip() else ""
    if "{" in first or not first:
        return False
    if first == word:
        return "/" not in word and _program(word) in _INTERPRETERS - _SHELLS
    return not (word.startswith(("/", ".")) and word.endswith(".sh") and not first.endswith(".sh"))


def _operators(words: Sequence[str]) -> list[str]:
    """Return the operators of a shell that stand as words of their own; one behind an option is its value."""
    found = []
    for before, word, after in zip(words, words[1:], [*words[2:], ""], strict=False):
        sure = word in ("&&", "||", ">>", "2>&1", "2>", "&>") or re.fullmatch(r"[12&]?>>?/[\w./-]+", word)
        to_file = word in (">", "<") and re.search(r"[/.][A-Za-z]", after)
        piped = word == "|" and _program(after) in _PIPED
        if (sure or to_file or piped) and not before.startswith("-"):
            found.append(word)
    return found


def _has_shell(step: StepSpec) -> bool:
    """Say whether a shell is called, or may be: an image without `command` whose arguments begin with `-c`."""
    words = [_program(word) for word in (*step.command, *step.args)]
    return bool(_SHELLS & set(words)) or (not step.command and bool(step.args) and step.args[0] in ("-c", "-lc", "-ec"))


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


def _check_environment(subject: Subject, step: StepSpec) -> Iterator[Finding]:
    place = step.at("env")
    seen: dict[str, object] = {}
    for entry in _entries(_body(subject, step)):
        name, value = entry.get("name"), entry.get("value", "")
        if not isinstance(name, str) or not name:
            yield ENV_NAME(place, "an entry has no name", "give it a name, or take it out")
            continue
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            yield ENV_NAME(place, f"{shown(name)} is no C identifier", "use letters, digits and underscores")
            continue
        if name in seen and seen[name] != value:
            yield ENV_TWICE(place, f"{name} stands there twice, with two values", "leave one out")
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
                f"{itself[0]} stays in {name} as it stands: nothing expands it",
                "write the whole value",
            )
        elif match := _UNEXPANDED.fullmatch(str(value)):
            yield VARIABLE(
                f"{place}.{name}",
                f"{match['name']} stays in {name} as it stands, unless the program expands it",
                "write the value, or { param = … }",
                Severity.NOTE,
            )
    if len(seen) > _MOST_VARIABLES:
        yield ENV_MANY(place, f"{len(seen)} variables, and at most {_MOST_VARIABLES} are taken", "put them into a file")


def _check_form(subject: Subject, step: StepSpec) -> Iterator[Finding]:
    body = _body(subject, step)
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


def _check_entrypoints(subject: Subject) -> Iterator[Finding]:
    without = list(dict.fromkeys(step.name for step in subject.steps if not step.command))
    if without:
        yield NO_COMMAND(
            next(step.source for step in subject.steps if not step.command),
            f"no command is set for {names_in_words(without)}: the ENTRYPOINT of the image runs",
            "nothing to do for Vertex AI and --local",
        )


def _body(subject: Subject, step: StepSpec) -> Mapping[str, Any]:
    """Return the container of a step as it stands in the spec."""
    label = step.component.get("executorLabel")
    return table_at(subject.pipeline.spec, "deploymentSpec", "executors", str(label), "container")


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
