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
from run_kfp.preflight.spec import names_in_words, table_at
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
    "command, args or env is not of the form that the API takes",
    Severity.ERROR,
    When.SUBMIT,
    "the pipeline spec would be refused",
    """\
`command` and `args` are lists of strings, `env` is a list of entries with a name and a value, both strings. YAML reads
an unquoted 10, yes or 1.0 as a number or a boolean, and nothing after a dash as null: put the words in quotes.""",
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
    "the program would get the text $NAME and not the variable's value",
    """\
Only a shell replaces $NAME and ~, and none stands in this call. Use { param = "name" }, or let a shell do it:
["sh", "-c", 'exec python train.py --bucket "$BUCKET"'].""",
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
    "an option of `docker run` among the arguments",
    Severity.WARNING,
    When.RUN,
    "the program in the image would get it, and stop or pass over it",
    """\
Arguments go to the program in the image, not to Docker. What the options do has other places: volumes become
/gcs/<bucket>/… (every bucket that the run account may read is mounted there), --gpus the accelerator of the container,
-e its env.""",
    "https://cloud.google.com/vertex-ai/docs/training/configure-container-settings",
)

HOST_PATH = Code(
    "RK-PATH-HOST",
    _GROUP,
    "a path of a machine that is not there",
    Severity.WARNING,
    When.RUN,
    "the step would not find the file: it runs on a fresh machine, and nothing of this one is mounted",
    """\
Each step runs on a machine of its own that begins with the files of its image. Folders mounted by `docker run -v` do
not exist there. Cloud Storage is mounted: gs://bucket/data is /gcs/bucket/data. Upload the files once with
`gcloud storage cp -r FOLDER gs://BUCKET/FOLDER`, and name them as /gcs/BUCKET/FOLDER.""",
    "https://cloud.google.com/vertex-ai/docs/training/cloud-storage-file-system",
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
    home, here = home or _folder(Path.home), here or _folder(Path.cwd)
    for step in subject.steps:
        yield from _check_form(subject, step)
        yield from _check_scripts(step)
        yield from _check_words(step)
        yield from _check_paths(step, home, here)
        yield from _check_environment(subject, step)
    yield from _check_entrypoints(subject)


def _folder(find: Callable[[], Path]) -> Path | None:
    try:
        return find()
    except (RuntimeError, OSError):  # an unknown user; a current folder that was deleted
        return None


@dataclass(frozen=True)
class _Script:
    """A script that stands as a word: which key holds it, and whether it is known that a shell reads it."""

    key: str
    text: str
    for_shell: bool
    sure: bool


def _scripts(step: StepSpec) -> Iterator[_Script]:
    """Find the words that an interpreter reads as a script: behind `sh -c`, `python -c` and their like."""
    words = [*(("command", word) for word in step.command), *(("args", word) for word in step.args)]
    if not step.command and step.args and re.fullmatch(r"-[a-z]*c", step.args[0]):
        # An image whose ENTRYPOINT may be a shell; `-c` may also be an option of a program of its own.
        if len(step.args) > 1 and re.search(r"[\s;|&<>$]", _PLACEHOLDER.sub("", step.args[1])):
            yield _Script("args", step.args[1], for_shell=True, sure=False)
        return
    for number, (_, word) in enumerate(words):
        program = _program(word)
        option = "c" if program in _SHELLS else _SCRIPT_OPTIONS.get(program)
        if option is None:
            continue
        sure = number == 0 or _program(words[0][1]) in _WRAPPERS
        asked = False
        for key, following in words[number + 1 :]:
            if asked and not following.startswith(("-", "+")):
                yield _Script(key, following, for_shell=program in _SHELLS, sure=bool(step.command) and sure)
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
    r"(?:--[\w-]+=)?(?:(?:gs://|/gcs/)?(?P<name>\$[A-Z][A-Z0-9_]*|\$\{[A-Z][A-Z0-9_]*\}|~(?=/))(?:/\S*)?)"
)


def _check_words(step: StepSpec) -> Iterator[Finding]:
    command, args = step.command, step.args
    for key, word in (("command", word) for word in command):
        if _is_conditional(word):
            yield COMMAND_PLACEHOLDER(step.at(key), "holds an IfPresent placeholder", "move it into args")
    if command and re.search(r"\s", command[0].strip()) and "{" not in command[0]:
        words = command[0].split()
        yield ONE_WORD(
            step.at("command"),
            f"its first word is {_short(command[0])}, with a space: no shell takes it apart",
            f"write {json.dumps(words[:6])}" if len(words) <= 6 else "write each word as a string of its own",
        )
    again = bool(command and args) and _program(args[0]) == _program(command[0])
    # `sh -c 'exec "$@"' sh sh …` names nothing twice: behind a script stand its parameters.
    if again and _program(args[0]) in _INTERPRETERS and not any(script.key == "command" for script in _scripts(step)):
        yield INTERPRETER_TWICE(
            step.at("args"),
            f"begin with {_program(args[0])!r}, which command begins with too",
            "leave it out of args, or write no command",
        )
    if any(True for _ in _scripts(step)) or _has_shell(step):
        return
    for word in args:
        if re.fullmatch(r"--[A-Za-z][\w-]*\s+[^\s{][^{]*", word):
            yield ONE_WORD(
                step.at("args"),
                f"{_short(word.split()[0])} and its value stand in one string",
                f'write "{word.split()[0]}" and the value as two strings, or join them with =',
            )
        elif match := _UNEXPANDED.fullmatch(word):
            yield VARIABLE(
                step.at("args"),
                f"{match['name']} would arrive as it stands: no shell is called"
                + ("" if command else ", unless the image's ENTRYPOINT does"),
                "write { param = … }, or call a shell",
                None if command else Severity.NOTE,
            )
    if not command and (found := _docker_words(args)):
        yield DOCKER_WORDS(
            step.at("args"),
            f"begin with {found!r}, an option of `docker run`",
            "leave it out: arguments go to the program in the image",
        )


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


def _docker_words(args: Sequence[str]) -> str | None:
    """Return the option of `docker run` that the arguments surely begin with; `-v` alone may mean "verbose"."""
    first, second = [*args, "", ""][:2]
    mount = re.fullmatch(r"(\.{0,2}/|~|[A-Za-z]:\\)?[^:\s]+:/[^\s]*", second)
    if first in ("-v", "--volume") and mount:
        return f"{first} {_short(second, 40)}"
    if re.fullmatch(r"--volume=.+:/.*", first) or first in ("--rm", "-it", "-ti"):
        return _short(first, 40)
    if first == "--gpus" and re.fullmatch(r'all|"?device=.*', second):
        return f"{first} {_short(second, 40)}"
    if first.startswith("--mount") and re.search(r"type=(bind|volume|tmpfs)", f"{first} {second}"):
        return "--mount"
    return "docker run" if (first, second) == ("docker", "run") else None


# What a folder of this machine may be that an image has as well.
_OF_IMAGES = re.compile(r"/|/home|/(root|usr|bin|sbin|lib|etc|opt|app|src|code|workspace|tmp|var|srv|run|gcs)(/.*)?")
# An absolute path at the beginning of a word, or behind what may stand in front of one; not inside of an address.
_PATHS = re.compile(r"""(?:^|(?<=[\s='"(,]))(?:/|~/|[A-Za-z]:\\)[^\s'"),;]*""")


def _check_paths(step: StepSpec, home: Path | None, here: Path | None) -> Iterator[Finding]:
    words = [("command", word) for word in step.command if "\n" not in word]
    words += [("args", word) for word in step.args if not word.startswith("{")]
    told: set[str] = set()
    for key, word in words:
        for path in _PATHS.findall(word):
            found = _host_path(path, home, here)
            if found is None or path in told:
                continue
            told.add(path)
            severity, whose = found
            yield HOST_PATH(
                step.at(key),
                f"{_short(path)} is {whose}",
                f"upload it (gcloud storage cp -r {shlex.quote(path)} gs://BUCKET/) and write /gcs/BUCKET/…"
                if severity is Severity.WARNING
                else "a file that is not in the image is found under /gcs/BUCKET/…",
                severity,
            )


def _host_path(path: str, home: Path | None, here: Path | None) -> tuple[Severity, str] | None:
    """Say what speaks for a path being one of a machine of the user, and how surely; None where nothing does."""
    if path.startswith("~/"):
        return None  # which home is meant is the shell's to say, if there is one
    if re.match(r"[A-Za-z]:\\", path):
        return Severity.WARNING, "a path of Windows"
    if re.match(r"/(Users|Volumes)/[^/]", path):
        return Severity.WARNING, "a path of a Mac"
    if re.match(r"/media/[^/]+/", path):
        return Severity.WARNING, "a path of a drive of one machine"
    for folder, whose in ((here, "in the current folder of this machine"), (home, "in your home on this machine")):
        place = folder.as_posix() if folder else "/"
        if not _OF_IMAGES.fullmatch(place) and (path == place or path.startswith(f"{place}/")):
            return Severity.WARNING, whose
    # NFS shares of a custom job are mounted below /mnt/nfs.
    if re.match(r"/mnt/(?!nfs(/|$))[^/]", path):
        return Severity.WARNING, "where a machine mounts its drives"
    if re.match(r"/(home/[^/]+|data)/", path):
        return Severity.NOTE, "there only if the image has it"
    return None


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
            yield ENV_NAME(place, f"{name!r} is no C identifier", "use letters, digits and underscores")
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
    if len(seen) > _MOST_VARIABLES:
        yield ENV_MANY(place, f"{len(seen)} variables, and at most {_MOST_VARIABLES} are taken", "put them into a file")


def _check_form(subject: Subject, step: StepSpec) -> Iterator[Finding]:
    body = _body(subject, step)
    for key in ("command", "args"):
        words = body.get(key, [])
        if not isinstance(words, list):
            yield FORM(step.at(key), f"is {_kind(words)} and not a list of strings", "write a list: [one, two]")
            continue
        for number, word in enumerate(words):
            if not isinstance(word, str):
                shown = f" ({word})" if isinstance(word, bool | int | float) else ""
                yield FORM(f"{step.at(key)}[{number}]", f"is {_kind(word)}{shown} and not a string", "put it in quotes")
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
