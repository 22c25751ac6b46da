"""Values that have a name, wherever one stands beside the other: only by the name many of them are known as secrets.

Options and variables of a call, assignments and options in scripts, keyword arguments in Python, keys of JSON, lines
of configuration, headers. Nothing is run; a text that cannot be read as what it is meant to be is searched as text.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from run_kfp.pipeline.placeholders import replaced
from run_kfp.pipeline.tables import table_at
from run_kfp.preflight.context import CheckContext, StepSpec
from run_kfp.preflight.offline.scripts import SHELLS, Script, called, program, read_interpreter, scripts_of
from run_kfp.preflight.offline.spec import Spec
from run_kfp.secret_shapes import called_secret
from run_kfp.secrets import is_template
from run_kfp.shell_text import LONGEST_SCRIPT, Command, ShellSyntaxError, read_shell

_DEEPEST = 3


@dataclass(frozen=True)
class NamedValue:
    """A value with its name.

    Attributes:
        name: as it stands, with the dashes of an option.
        value: the text.
        alone: whether it is a word, a variable or a default by itself, and not a part of a longer text.
        meaning: what it is called where its own name says less (`login(key=…)`).
    """

    name: str
    value: str
    alone: bool = False
    meaning: str = ""

    @property
    def secret(self) -> bool | None:
        """Whether it surely is a secret, by its name and look; None where it need not be one."""
        if is_template(self.value):
            return None
        sure = called_secret(self.meaning or self.name, self.value)
        return sure if self.alone or sure else None


def named_values(context: CheckContext) -> Iterator[tuple[str, NamedValue]]:
    """Yield every value that has a name, with its place: of the steps, of constants, of defaults."""
    for step in context.steps:
        for name, value in step.env.items():
            yield step.at(f"env.{name}"), NamedValue(name, _credential(value), alone=True)
            yield from ((step.at(f"env.{name}"), found) for found in _in_value(value, 0))
        yield from _of_words(step)
    spec = Spec(context.pipeline.spec, context.pipeline.source)
    for name, param in context.registry.params.items():
        if param.default:
            yield from _of_value(f"{context.registry.source}: params.{name}.default", name, param.default)
    parameters = table_at(spec.body, "root", "inputDefinitions", "parameters")
    for name, body in parameters.items():
        place = spec.at(f"root.inputDefinitions.parameters.{name}.defaultValue")
        yield from _of_value(place, name, table_at(body).get("defaultValue"))
    for dag in spec.dags.values():
        for task_name, task in dag.tasks.items():
            for name, source in table_at(task, "inputs", "parameters").items():
                place = spec.at(f"{dag.place}.dag.tasks.{task_name}.inputs.parameters.{name}")
                yield from _of_value(place, name, table_at(source, "runtimeValue").get("constant"))


def _of_value(place: str, name: str, value: object) -> Iterator[tuple[str, NamedValue]]:
    if isinstance(value, str):
        yield place, NamedValue(name, value, alone=True)
        yield from ((place, found) for found in _in_value(value, 0))
    elif isinstance(value, dict | list):
        yield from ((place, found) for found in _in_json(value))


def _of_words(step: StepSpec) -> Iterator[tuple[str, NamedValue]]:
    scripts = {script.text: script for script in scripts_of(step)}
    words = [*(("command", word) for word in step.command), *(("args", word) for word in step.args)]
    yield from ((step.at("args" if step.args else "command"), one) for one in _in_call([word for _, word in words]))
    for number, (key, word) in enumerate(words):
        following = words[number + 1][1] if number + 1 < len(words) else None
        found = _in_script(scripts[word], 0) if word in scripts else _in_word(word, following, 0)
        yield from ((step.at(key), one) for one in found)


def _in_script(script: Script, depth: int) -> Iterator[NamedValue]:
    return _in_code(script.interpreter.name, script.shell_text, depth)


def _in_code(interpreter: str, text: str, depth: int) -> Iterator[NamedValue]:
    if depth > _DEEPEST:
        return
    if interpreter in SHELLS:
        yield from _in_shell(text, depth)
    elif interpreter == "python":
        yield from _in_python(text)
    else:
        yield from _in_text(text)


def _in_word(word: str, following: str | None, depth: int) -> Iterator[NamedValue]:
    """Look into a word of a call: `--name=value`, `--name` in front of `value`, `NAME=value`, or a longer text."""
    if match := re.fullmatch(r"(?P<name>(?:--?)?[A-Za-z][\w.-]*)=(?P<value>.*)", word, re.DOTALL):
        yield NamedValue(match["name"], _credential(match["value"]), alone=True)
        yield from _in_value(match["value"], depth)
    elif following is not None and re.fullmatch(r"--?[A-Za-z][\w.-]+", word):
        yield NamedValue(word, _credential(following), alone=True)
    else:
        yield from _in_value(word, depth)


# Options of programs that have a password behind them, in the same word or in the next.
_PASSWORD_OPTIONS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("mysql", "mysqldump", "mysqladmin", "mariadb", "mariadb-dump", "sshpass"), ("-p",)),
    "redis-cli": ("-a",),
    "docker": ("-p",),
    "curl": ("-u", "--user"),
}


def _in_call(words: Sequence[str]) -> Iterator[NamedValue]:
    """Look for the short options of some programs: `mysql -pVALUE`, `curl -u USER:VALUE`."""
    at = called(words)
    name = program(words[at]) if at < len(words) else ""
    for number, word in enumerate(words[at + 1 :], at + 1):
        for option in _PASSWORD_OPTIONS.get(name, ()):
            if not word.startswith(option):
                continue
            value = word.removeprefix(option) or (words[number + 1] if number + 1 < len(words) else "")
            # Of `docker run -p 80:80` and a user without a password nothing is said.
            value = value.partition(":")[2] if name == "curl" else value
            yield NamedValue(f"{name} {option}", value, meaning="PASSWORD")


def _in_value(text: str, depth: int) -> Iterator[NamedValue]:
    """Look into a text that is no script of a known language: JSON, source of Python, or lines of anything."""
    if not re.search(r"[\s{\[;&,]", text) or len(text) > LONGEST_SCRIPT:
        return
    plain = replaced(text, lambda _: "PLACEHOLDER")
    # kfp hands a function of Python over as a word.
    if "\n" in text and re.search(r"(?m)^(?:import|from|def) \w", text):
        yield from _in_code("python", plain, depth + 1)
    else:
        yield from _in_text(plain)


# ── shells ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _in_shell(text: str, depth: int) -> Iterator[NamedValue]:
    try:
        script = read_shell(text).script
    except ShellSyntaxError:
        yield from _in_text(text)
        return
    for node in script.nodes():
        if not isinstance(node, Command):
            continue
        for one in node.assignments:
            if (assignment := one.assignment) and one.literal:
                yield NamedValue(*assignment, alone=True)
                yield from _in_value(assignment[1], depth)
        words = [word.text if word.literal else "$" for word in node.words]
        at = called(words)
        inner = read_interpreter(words[at:])
        yield from _in_call(words)
        for number, word in enumerate(words):
            if inner and inner.script is not None and number == at + inner.script:
                yield from _in_code(inner.name, word, depth + 1)
            else:
                yield from _in_word(word, words[number + 1] if number + 1 < len(words) else None, depth)
        for redirect in node.redirects:
            if redirect.operator in ("<<", "<<-", "<<<"):
                yield from _in_code(inner.name if inner else "", redirect.target.text, depth + 1)


# ── Python ──────────────────────────────────────────────────────────────────────────────────────────────────────────

# Calls that set the first argument to the second, and those whose argument is what they are called by.
_SETTERS = frozenset({"setdefault", "putenv", "setenv", "add_header", "set_header"})
_LOGINS = re.compile(r"(?i)login|authenticate|auth|init|configure|connect|\w*client")


def _in_python(text: str) -> Iterator[NamedValue]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of invalid escapes in the text
            tree = ast.parse(text if len(text) <= LONGEST_SCRIPT else "")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        yield from _in_text(text)
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from _of_call(node)
        elif isinstance(node, ast.Assign):
            yield from (one for target in node.targets for one in _assigned(target, node.value))
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr):
            yield from _assigned(node.target, node.value)
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if name := _text_of(key):
                    yield from _set(name, value)
        elif isinstance(node, ast.arguments):
            named = [*node.posonlyargs, *node.args]
            for argument, value in zip(named[len(named) - len(node.defaults) :], node.defaults, strict=True):
                yield from _set(argument.arg, value)
            for argument, default in zip(node.kwonlyargs, node.kw_defaults, strict=True):
                yield from _set(argument.arg, default)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and re.search(r"\s", node.value):
            yield from _in_text(node.value)


def _text_of(node: ast.AST | None) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _set(name: str, value: ast.AST | None, meaning: str = "") -> Iterator[NamedValue]:
    if text := _text_of(value):
        yield NamedValue(name, _credential(text), alone=True, meaning=meaning)


def _assigned(target: ast.expr, value: ast.expr | None) -> Iterator[NamedValue]:
    if isinstance(target, ast.Name):
        yield from _set(target.id, value)
    elif isinstance(target, ast.Attribute):
        yield from _set(target.attr, value)
    elif isinstance(target, ast.Subscript):
        yield from _set(_text_of(target.slice), value)
    elif isinstance(target, ast.Tuple | ast.List) and isinstance(value, ast.Tuple | ast.List):
        for one, other in zip(target.elts, value.elts, strict=False):
            yield from _assigned(one, other)


def _of_call(node: ast.Call) -> Iterator[NamedValue]:
    function = node.func
    name = (
        function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""
    )
    for keyword in node.keywords:
        if keyword.arg:
            # `wandb.login(key=…)`: what it is for is said by the function.
            is_login = keyword.arg in ("key", "auth") and _LOGINS.fullmatch(name)
            yield from _set(keyword.arg, keyword.value, "API_KEY" if is_login else "")
    if name in _SETTERS and len(node.args) == 2 and (key := _text_of(node.args[0])):
        yield from _set(key, node.args[1])
    elif len(node.args) == 1 and name:
        yield from _set(f"{name}()", node.args[0], "API_KEY" if name in ("login", "authenticate") else name)


# ── JSON and other texts ────────────────────────────────────────────────────────────────────────────────────────────


def _in_json(value: Any) -> Iterator[NamedValue]:
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting += one
        elif isinstance(one, dict):
            # `{"name": "X", "value": "…"}`, as Kubernetes writes variables.
            pair = one.get("name", one.get("key")), one.get("value")
            if isinstance(pair[0], str) and isinstance(pair[1], str):
                yield NamedValue(pair[0], _credential(pair[1]), alone=True)
            for key, item in one.items():
                if isinstance(item, str):
                    yield NamedValue(str(key), _credential(item), alone=True)
                else:
                    waiting.append(item)


_HEADER = re.compile(
    r"(?i)\b(?P<name>(?:proxy-)?authorization)['\"]?\s{0,3}[:=]\s{0,3}['\"]?(?P<value>(?:bearer|basic|token)\s[^\s'\"]+)"
)
_OPTION = re.compile(r"(?<![\w-])(?P<name>--?[A-Za-z][\w.-]{1,80})(?:=|\s+)['\"]?(?P<value>[^\s'\"]{6,4096})")
_PAIR = re.compile(
    r"(?<![\w.-])(?P<name>[A-Za-z][\w.-]{1,80})['\"]?[\]}]?\s{0,3}(?:=>|:=|[:=])\s{0,3}['\"]?"
    r"(?P<value>[^\s'\",;&)}\]]{6,4096})"
)


def _in_text(text: str) -> Iterator[NamedValue]:
    if len(text) > LONGEST_SCRIPT:
        return
    if text.lstrip().startswith(("{", "[")):
        try:
            yield from _in_json(json.loads(text))
            return
        except (ValueError, RecursionError):
            pass  # it only begins as JSON does
    text = re.sub(r"\\[nrt]", "\n", text)  # as `printf` and strings of other languages have them
    for pattern in (_HEADER, _OPTION, _PAIR):
        for match in pattern.finditer(text):
            yield NamedValue(match["name"], _credential(match["value"]))


def _credential(value: str) -> str:
    """Return what a header holds behind its scheme (RFC 9110, 11.4)."""
    return re.sub(r"(?i)^(?:bearer|basic|token) +", "", value, count=1)
