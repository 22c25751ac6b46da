"""Checks of what joins the file at the submission: the values of parameters, and secrets.

A secret is read here to judge its form; no finding holds any part of it.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from run_kfp.files import readable_by_others
from run_kfp.findings import Finding, Severity
from run_kfp.limits import LONGEST_ARGUMENT
from run_kfp.plans import Value
from run_kfp.preflight.context import CheckContext
from run_kfp.preflight.offline.named import named_values
from run_kfp.preflight.offline.spec import compiled_here, shown
from run_kfp.preflight.rules import rule
from run_kfp.registry import SecretSource
from run_kfp.secret_shapes import holds_token
from run_kfp.secrets import ONE_LINE, SecretRef, is_template

PARAM_LONG = rule("RK-PARAM-LONG")
PARAM_NULL = rule("RK-PARAM-NULL")
ARTIFACT_INPUT = rule("RK-ARTIFACT-INPUT")
PARAM_TEMPLATE = rule("RK-PARAM-TEMPLATE")
PARAM_LINE_BREAK = rule("RK-PARAM-LINE-BREAK")
TAG_NAME = rule("RK-TAG-NAME")
SECRET_SHAPE = rule("RK-SECRET-SHAPE")
SECRET_WRITTEN = rule("RK-SECRET-WRITTEN")
SECRET_MODE = rule("RK-SECRET-MODE")
SECRET_VISIBLE = rule("RK-SECRET-VISIBLE")

# GitHub's tokens that are cut off or have something behind them (docs.github.com, token formats: 4 + 36 characters).
_GITHUB = re.compile(r"gh[pousr]_[A-Za-z0-9]*")


def check_values(context: CheckContext) -> Iterator[Finding]:
    """Check the values of parameters and the form of secrets."""
    yield from _null_defaults(context)
    yield from _artifact_inputs(context)
    for name, value in context.values.items():
        if isinstance(value, SecretRef):
            yield from _secret(name, value, context.registry.secrets[name])
        else:
            yield from _parameter(name, value, for_git=name == "tag" and _has_git(context))
    yield from _secret_modes(context)
    hidden = [name for name, value in context.values.items() if isinstance(value, SecretRef)]
    if hidden:
        count = "1 secret travels" if len(hidden) == 1 else f"{len(hidden)} secrets travel"
        yield SECRET_VISIBLE(
            ", ".join(f"secrets.{name}" for name in hidden),
            f"{count} as parameters of the run: everyone who may view the run can read them",
            "use short-lived tokens with few permissions",
        )


def check_written(context: CheckContext, holds_secret: Callable[[str], bool]) -> Iterator[Finding]:
    """Look for secrets in clear in the compiled file and in the registry.

    Args:
        context: what is checked.
        holds_secret: whether a text holds the value of a secret that this call knows, in any of its forms.
    """
    texts = [*_texts(context.pipeline.sent, ""), *_texts(context.pipeline.own_values, "runtimeConfig")]
    seen: set[str] = set()
    instead = _REPLACE if compiled_here(context) else _REPLACE_IN_FILE
    for path, text in texts:
        if words := _written(text, holds_secret):
            seen.add(text)
            yield SECRET_WRITTEN(
                _author_place(context, text, path),
                words,
                _REQUIRE if path.endswith(".defaultValue") and instead is _REPLACE_IN_FILE else instead,
            )
    for place, named in named_values(context):
        text, sure = named.value, named.secret
        # One that is told by what it is needs no name.
        if sure is not None and text not in seen and not _written(text, holds_secret):
            seen.add(text)
            yield SECRET_WRITTEN(
                place,
                f"{named.name[:60]} has a plain-text value that looks like a secret",
                _REQUIRE if place.endswith(".defaultValue") else instead,
                Severity.WARNING if sure else Severity.NOTE,
            )
    for name, param in context.registry.params.items():
        if param.default and param.default not in seen and (words := _written(param.default, holds_secret)):
            yield SECRET_WRITTEN(f"{context.registry.source}: params.{name}.default", words, _REPLACE)
    for index, container in context.registry.containers.items():
        literals = [argument for argument in container.args if isinstance(argument, str)]
        literals += [value for value in container.env.values() if isinstance(value, str)]
        for text in literals:
            if text not in seen and (words := _written(text, holds_secret)):
                yield SECRET_WRITTEN(f"{context.registry.source}: containers.{index}", words, _REPLACE)


def written_values(context: CheckContext) -> Iterator[str]:
    """Yield the values that are told as secrets by their names; no other finding may show them."""
    yield from (named.value for _, named in named_values(context) if named.secret is not None)


_REPLACE = 'write { secret = "NAME" } and declare [secrets.NAME]; then revoke the old value'
_REPLACE_IN_FILE = (
    "make it a parameter without a default, and declare a secret of that name in the registry; then make the old value "
    "invalid"
)
_REQUIRE = (
    "remove the default, so that the value is set at submission: declare a secret of the parameter's name in the "
    "registry; then revoke the old value"
)


def _written(text: str, holds_secret: Callable[[str], bool]) -> str:
    """Say what stands in a text that must not, without any part of it; an empty text where nothing does."""
    if kind := holds_token(text):
        return f"contains what looks like {kind}, as plain text"
    return "contains the value of a secret as plain text" if holds_secret(text) else ""


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield every string of a spec with its place; the depth is bounded by the reader of the file."""
    if isinstance(value, str):
        yield path.lstrip("."), value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(item, f"{path}.{key}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _texts(item, f"{path}[{number}]")


def _author_place(context: CheckContext, text: str, path: str) -> str:
    """Return where the author wrote a text of the spec."""
    for step in context.steps:
        if step.container is None:
            continue
        for key, texts in (("args", step.args), ("command", step.command), ("image", (step.image,))):
            if text in texts:
                return step.at(key)
        for name, value in step.env.items():
            if value == text:
                return step.at(f"env.{name}")
    return f"{context.pipeline.source}: {path}"


def _null_defaults(context: CheckContext) -> Iterator[Finding]:
    inputs = context.pipeline.spec["root"].get("inputDefinitions", {}).get("parameters", {})
    for name, body in inputs.items():
        if "defaultValue" in body and body["defaultValue"] is None and name not in context.values:
            yield PARAM_NULL(
                f"{context.pipeline.source}: root.inputDefinitions.parameters.{name}",
                f"the default of parameter {name} is null, and no value is set",
                f"pass -p {name}=…",
                Severity.WARNING,
            )


def _artifact_inputs(context: CheckContext) -> Iterator[Finding]:
    inputs = context.pipeline.spec["root"].get("inputDefinitions", {})
    artifacts = inputs.get("artifacts") if isinstance(inputs, Mapping) else None
    for name, body in artifacts.items() if isinstance(artifacts, Mapping) else ():
        if not (isinstance(body, Mapping) and body.get("isOptional")):
            yield ARTIFACT_INPUT(
                f"{context.pipeline.source}: root.inputDefinitions.artifacts.{name}",
                f"the pipeline takes the artifact {name!r}, and a run of run-kfp brings none",
                "if a step needs it: dsl.importer(artifact_uri=…) in the pipeline, runtimeConfig.inputArtifacts of the "
                "API, or input_artifacts of Google's SDK",
            )


def _parameter(name: str, given: Value, *, for_git: bool) -> Iterator[Finding]:
    text = given.value if isinstance(given.value, str) else json.dumps(given.value)
    if (size := len(text.encode())) >= LONGEST_ARGUMENT:
        yield PARAM_LONG(
            given.source,
            f"parameter {name} has {size:,} bytes; an argument has less than {LONGEST_ARGUMENT:,}",
            "put it into a file of the bucket and pass the file's name",
        )
    if is_template(text):
        yield PARAM_TEMPLATE(
            given.source,
            f"parameter {name} is {shown(text)}, which looks like a placeholder",
            f"set the value there, or pass -p {name}=…",
        )
    elif for_git and (words := _no_git_tag(text)):
        yield TAG_NAME(
            given.source,
            f"{shown(text)} is not a valid Git tag name: {words}",
            "write letters, digits, dots, dashes and underscores",
        )
    elif text != text.strip("\r\n") or "\r" in text:
        where = "ends with" if text.endswith(("\r", "\n")) else "begins with" if text[:1] in ("\r", "\n") else "has"
        what = "a carriage return, as lines of Windows have" if where == "has" else "a line break"
        yield PARAM_LINE_BREAK(given.source, f"parameter {name} {where} {what}", "take it off")


def _has_git(context: CheckContext) -> bool:
    """Say whether the run has to do with Git: by [check.git], or by a secret that is called like a Git login."""
    secrets = [name for name, value in context.values.items() if isinstance(value, SecretRef)]
    names = {word.lower() for name in secrets for word in (name, context.registry.secrets[name].env or "")}
    return context.registry.check.git is not None or any(re.match(r"(?:.*_)?git(?:hub|lab)?(?:_|$)", n) for n in names)


def _no_git_tag(tag: str) -> str:
    """Say why Git takes no tag of this name (git-check-ref-format), an empty text where it does."""
    if not tag or tag == "@":
        return "it is empty" if not tag else "it is @"
    if re.search(r"\s", tag):
        return "it has a line break" if re.search(r"[\r\n]", tag) else "it has white space"
    if re.search(r"[\x00-\x1f\x7f]", tag):
        return "it has a control character"
    if match := re.search(r"\.\.|@\{|//|[~^:?*\[\\]", tag):
        return f"it has {match[0]}"
    if match := re.match(r"[-/.]", tag):
        return f"it begins with {match[0]}"
    if match := re.search(r"(?:\.lock|[./])$", tag):
        return f"it ends with {match[0]}"
    return "a part of it begins with a dot or ends with .lock" if re.search(r"/\.|\.lock/", tag) else ""


def _secret_modes(context: CheckContext) -> Iterator[Finding]:
    """Tell once of the secret files that other users of this machine can read, as ssh does of its keys."""
    files = [value.file for value in context.values.values() if isinstance(value, SecretRef)]
    readable = [str(file) for file in dict.fromkeys(files) if file is not None and readable_by_others(file)]
    if readable:
        yield SECRET_MODE(
            ", ".join(readable),
            "other users of this machine can read " + ("this file" if len(readable) == 1 else "these files"),
            f"chmod 600 {shlex.join(readable)}",
        )


def _secret(name: str, located: SecretRef, source: SecretSource) -> Iterator[Finding]:
    value = located.reveal().get_secret_value()
    size = len(value.encode())
    if size >= LONGEST_ARGUMENT:
        yield PARAM_LONG(
            located.place,
            f"secret {name} has {size:,} bytes; an argument has less than {LONGEST_ARGUMENT:,}",
            "is it the right file?",
        )
    words, hint = _wrong_shape(value, {source.env or "", name.upper()})
    if words:
        yield SECRET_SHAPE(located.place, f"secret {name} {words}", hint)
    if located.more_lines:
        yield SECRET_SHAPE(
            located.place,
            f"secret {name} is the first line of a file with more lines; only that line is read",
            ONE_LINE,
        )


_RENEW = "replace it with the real value; it is not shown here"
_RIGHT = ("", "")


def _wrong_shape(value: str, names: set[str]) -> tuple[str, str]:
    """Say in what a secret differs from others of its kind, and what to do, without showing it; else empty texts."""
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'`":
        return "is in quotes, which would be part of it", "remove the quotes"
    if names & {"GIT_LOGIN"}:
        return _wrong_login(value)
    if names & {"WANDB_API_KEY"} and not re.fullmatch(r"[A-Za-z0-9_-]{40,}", value):
        if match := re.match(r"(?P<front>.{1,30}?[\s=:]\s*)[A-Za-z0-9_-]{40,}$", value):
            return f"has {len(match['front'])} characters in front of the key", "leave the key alone there"
        words = f"has {len(value)} characters; a key of Weights & Biases has 40 or more, letters, digits, _ and - alone"
        return words, _RENEW
    return _cut_off(value)


_LOGIN_FORM = "a Git login is https://USER:TOKEN, with or without @HOST after it"


def _wrong_login(value: str) -> tuple[str, str]:
    try:
        parts = urlsplit(value)
    except ValueError:
        return f"is not an address; {_LOGIN_FORM}", _RENEW
    if parts.scheme != "https":
        return f"does not start with https://; {_LOGIN_FORM}", _RENEW
    if re.search(r"\s", value):
        return f"has a space in it; {_LOGIN_FORM}", "write %20 for a space that belongs to it, or remove it"
    user, colon, token = parts.netloc.partition("@")[0].partition(":")
    if not colon and re.search(r"@[^@:]+\.[^@:]+:(?![0-9]{1,5}$)[^@]+", parts.netloc):
        return f"has an @ in its user; {_LOGIN_FORM}", "write %40 for the @ of the user"
    if not (user and colon and token):
        return f"names no {'user' if not user else 'token'}; {_LOGIN_FORM}", _RENEW
    if value.endswith(("/", "@")):
        return f"ends with {value[-1]!r}, which would be twice in the address; {_LOGIN_FORM}", "take it off"
    return _cut_off(token)


def _cut_off(token: str) -> tuple[str, str]:
    if _GITHUB.fullmatch(token) and len(token) != 40:
        return f"begins as a GitHub token does, but has {len(token)} characters instead of 40", _RENEW
    return _RIGHT
