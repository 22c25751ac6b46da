"""Checks of what joins the file at the submission: the values of parameters, and secrets.

A secret is read here to judge its form; no finding holds any part of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from run_kfp.backends import Given
from run_kfp.preflight.findings import Code, Finding, Severity, When
from run_kfp.preflight.subject import Subject
from run_kfp.registry import SecretSource
from run_kfp.secrets import Located, is_template

# The kernel's limit of one argument, its closing NUL included: MAX_ARG_STRLEN, 32 pages of 4096 bytes (execve(2)).
LONGEST_ARGUMENT = 131_072

PARAM_LONG = Code(
    "RK-PARAM-LONG",
    "parameters",
    "a value that is longer than an argument can be",
    Severity.ERROR,
    When.RUN,
    "the container does not start: “argument list too long”",
    "A value arrives as one argument of a process, and Linux takes arguments of less than 131,072 bytes each. What is "
    "longer belongs into a file of the bucket, whose name is handed over.",
    "execve(2), MAX_ARG_STRLEN",
)
PARAM_NULL = Code(
    "RK-PARAM-NULL",
    "parameters",
    "a parameter whose default is null",
    Severity.WARNING,
    When.RUN,
    "the value is dropped without a word, and the step gets nothing for it",
    "The SDK sends no parameter whose value is None, and a default of null is no value either. A step that takes such "
    "a parameter fails or works with an empty text, minutes into the run. Give it a value with -p, or compile the "
    "file with a default.",
    "google-cloud-aiplatform 2.7, runtime_config_builder.py: None values are left out; probes",
)
ARTIFACT_INPUT = Code(
    "RK-ARTIFACT-INPUT",
    "parameters",
    "a pipeline that takes an artifact",
    Severity.ERROR,
    When.CREATE,
    "Vertex AI accepts the job and fails it: the pipeline lacks an input",
    "A run of this program brings parameters, and no artifacts for the pipeline as a whole. Let an importer inside of "
    "the pipeline fetch the artifact by its URI, which can be a parameter.",
    "https://www.kubeflow.org/docs/components/pipelines/user-guides/components/importer-component/",
)
PARAM_TEMPLATE = Code(
    "RK-PARAM-TEMPLATE",
    "parameters",
    "a value that is still the text of a template",
    Severity.WARNING,
    When.RUN,
    "the container works with that text instead of a value",
    "A value such as <your org> or ${ORG} comes from a template that nobody filled in, or from a variable that no "
    "shell expanded: .env files are read without interpolation.",
    "run-kfp's own rules",
)
SECRET_SHAPE = Code(
    "RK-SECRET-SHAPE",
    "secrets",
    "a secret of another shape than such secrets have",
    Severity.WARNING,
    When.RUN,
    "the container starts, works for minutes, and fails at its first login",
    "Some secrets can be told by the variable that they come from. A Git login (GIT_LOGIN) is https://USER:TOKEN, "
    "with or without @HOST behind it. A key of Weights & Biases has 40 characters or more, letters, digits, _ and -. "
    "GitHub's tokens have prefixes and fixed lengths, so that one that was cut off shows. Quotes around a value come "
    "from copying and would be part of it. The value is never shown.",
    "docs.wandb.ai (wandb.login checks for 40 characters); docs.github.com, “About authentication to GitHub”, token "
    "formats",
)
SECRET_WRITTEN = Code(
    "RK-SECRET-WRITTEN",
    "secrets",
    "a secret in clear in a file",
    Severity.ERROR,
    When.SILENT,
    "it stays in the file, in Git, in the artifacts of CI and in every run made from it",
    "A literal of the registry, a default, or a string of the compiled file holds the value of a secret, or something "
    "of the "
    'shape of a token or private key. Replace it by { secret = "NAME" } and declare where its value lies; then make '
    "the old "
    "one invalid: what was written down once is known.",
    "the token formats of the services named in the message",
)
SECRET_VISIBLE = Code(
    "RK-SECRET-VISIBLE",
    "secrets",
    "secrets that viewers of the run can read",
    Severity.NOTE,
    When.SILENT,
    "whoever may view runs in the project can read them there",
    "Secrets travel as parameters of the run and reach the container as arguments. They are written to no file, log "
    "or plan; but Vertex AI shows the parameters of a run to everyone who may view it (aiplatform.pipelineJobs.get). "
    "Use tokens with few rights and a short life.",
    "https://docs.cloud.google.com/vertex-ai/docs/pipelines/visualize-pipeline",
)

# What cannot well be anything else: a prefix that the service reserves, and the length that its tokens have.
TOKENS: Mapping[str, re.Pattern[str]] = {
    "a GitHub token": re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59})\b"),
    "a GitLab token": re.compile(r"\bglpat-[A-Za-z0-9_-]{20,}"),
    "a Hugging Face token": re.compile(r"\bhf_[A-Za-z0-9]{34,}\b"),
    "a key of Weights & Biases": re.compile(r"\bwandb_v1_[A-Za-z0-9_]{40,}"),
    "an API key of Google": re.compile(r"\bAIza[A-Za-z0-9_-]{35}"),
    "an access token of Google": re.compile(r"\bya29\.[A-Za-z0-9_-]{30,}"),
    "an access key of AWS": re.compile(r"\b(?:AKIA|ASIA)[A-Z2-7]{16}\b"),
    "a Slack token": re.compile(r"\bxox[abposr]-[A-Za-z0-9-]{20,}"),
    "a key of OpenAI": re.compile(r"\bsk-(?:proj-)?[A-Za-z0-9_-]{32,}"),
    "a private key": re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"),
    "a login with its password": re.compile(r"\bhttps?://[^\s/:@'\"$<{]+:[^\s/:@'\"$<{]{8,}@"),
}

# GitHub's tokens that are cut off or have something behind them (docs.github.com, token formats: 4 + 36 characters).
_GITHUB = re.compile(r"gh[pousr]_[A-Za-z0-9]*")


def check_values(subject: Subject) -> Iterator[Finding]:
    """Check the values of parameters and the form of secrets."""
    yield from _null_defaults(subject)
    yield from _artifact_inputs(subject)
    for name, value in subject.values.items():
        if isinstance(value, Located):
            yield from _secret(name, value, subject.registry.secrets[name])
        else:
            yield from _parameter(name, value)
    hidden = [name for name, value in subject.values.items() if isinstance(value, Located)]
    if hidden:
        count = "1 secret travels" if len(hidden) == 1 else f"{len(hidden)} secrets travel"
        yield SECRET_VISIBLE(
            ", ".join(f"secrets.{name}" for name in hidden),
            f"{count} as parameters of the run: whoever may view the run can read them",
            "use tokens with few rights and a short life",
        )


def check_written(subject: Subject, holds_secret: Callable[[str], bool]) -> Iterator[Finding]:
    """Look for secrets in clear in the compiled file and in the registry.

    Args:
        subject: what is checked.
        holds_secret: whether a text holds the value of a secret that this call knows, in any of its forms.
    """
    texts = [*_texts(subject.pipeline.spec, "")]
    seen: set[str] = set()
    for path, text in texts:
        if words := _written(text, holds_secret):
            seen.add(text)
            yield SECRET_WRITTEN(_author_place(subject, text, path), words, _REPLACE)
    for name, param in subject.registry.params.items():
        if param.default and param.default not in seen and (words := _written(param.default, holds_secret)):
            yield SECRET_WRITTEN(f"{subject.registry.source}: params.{name}.default", words, _REPLACE)
    for index, container in subject.registry.containers.items():
        literals = [argument for argument in container.args if isinstance(argument, str)]
        literals += [value for value in container.env.values() if isinstance(value, str)]
        for text in literals:
            if text not in seen and (words := _written(text, holds_secret)):
                yield SECRET_WRITTEN(f"{subject.registry.source}: containers.{index}", words, _REPLACE)


_REPLACE = 'write { secret = "NAME" } and declare [secrets.NAME]; then make the old value invalid'


def _written(text: str, holds_secret: Callable[[str], bool]) -> str:
    """Say what stands in a text that must not, without any part of it; an empty text where nothing does."""
    if kind := next((kind for kind, pattern in TOKENS.items() if pattern.search(text)), ""):
        return f"holds what looks like {kind}, in clear"
    return "holds the value of a secret in clear" if holds_secret(text) else ""


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


def _author_place(subject: Subject, text: str, path: str) -> str:
    """Return where the author wrote a text of the spec."""
    for step in subject.steps:
        if step.container is None:
            continue
        for key, texts in (("args", step.args), ("command", step.command), ("image", (step.image,))):
            if text in texts:
                return step.at(key)
        for name, value in step.env.items():
            if value == text:
                return step.at(f"env.{name}")
    return f"{subject.pipeline.source}: {path}"


def _null_defaults(subject: Subject) -> Iterator[Finding]:
    inputs = subject.pipeline.spec["root"].get("inputDefinitions", {}).get("parameters", {})
    for name, body in inputs.items():
        if "defaultValue" in body and body["defaultValue"] is None and name not in subject.values:
            yield PARAM_NULL(
                f"{subject.pipeline.source}: root.inputDefinitions.parameters.{name}",
                f"the default of parameter {name} is null, and no value is given",
                f"give it by -p {name}=…",
            )


def _artifact_inputs(subject: Subject) -> Iterator[Finding]:
    inputs = subject.pipeline.spec["root"].get("inputDefinitions", {})
    artifacts = inputs.get("artifacts") if isinstance(inputs, Mapping) else None
    for name, body in artifacts.items() if isinstance(artifacts, Mapping) else ():
        if not (isinstance(body, Mapping) and body.get("isOptional")):
            yield ARTIFACT_INPUT(
                f"{subject.pipeline.source}: root.inputDefinitions.artifacts.{name}",
                f"the pipeline takes the artifact {name!r}, which a run of this program cannot give",
                "fetch it inside of the pipeline: dsl.importer(artifact_uri=…)",
            )


def _parameter(name: str, given: Given) -> Iterator[Finding]:
    text = given.value if isinstance(given.value, str) else json.dumps(given.value)
    if (size := len(text.encode())) >= LONGEST_ARGUMENT:
        yield PARAM_LONG(
            given.source,
            f"parameter {name} has {size:,} bytes; an argument has less than {LONGEST_ARGUMENT:,}",
            "put it into a file of the bucket and hand over the file's name",
        )
    if is_template(text):
        yield PARAM_TEMPLATE(
            given.source,
            f"parameter {name} is {text!r}, which looks like a template that nobody filled in",
            f"put the value there, or give it by -p {name}=…",
        )


def _secret(name: str, located: Located, source: SecretSource) -> Iterator[Finding]:
    value = located.reveal().get_secret_value()
    size = len(value.encode())
    if size >= LONGEST_ARGUMENT:
        yield PARAM_LONG(
            located.place,
            f"secret {name} has {size:,} bytes; an argument has less than {LONGEST_ARGUMENT:,}",
            "is it the right file?",
        )
    if words := _wrong_shape(value, {source.env or "", name.upper()}):
        yield SECRET_SHAPE(located.place, f"secret {name} {words}", "put the real value there; it is not shown here")


def _wrong_shape(value: str, names: set[str]) -> str:
    """Say in what a secret differs from others of its kind, without showing it; an empty text where it does not."""
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'`":
        return "stands in quotes, which would be part of it"
    if names & {"GIT_LOGIN"}:
        return _wrong_login(value)
    if names & {"WANDB_API_KEY"} and not re.fullmatch(r"[A-Za-z0-9_-]{40,}", value):
        return f"has {len(value)} characters; a key of Weights & Biases has 40 or more, letters, digits, _ and - alone"
    return _cut_off(value)


def _wrong_login(value: str) -> str:
    form = "a Git login is https://USER:TOKEN, with or without @HOST behind it"
    try:
        parts = urlsplit(value)
    except ValueError:
        return f"is no address; {form}"
    if parts.scheme != "https":
        return f"does not begin with https://; {form}"
    user, colon, token = parts.netloc.partition("@")[0].partition(":")
    if not (user and colon and token):
        return f"names no {'user' if not user else 'token'}; {form}"
    if value.endswith(("/", "@")):
        return f"ends with {value[-1]!r}, which would stand twice in the address; {form}"
    return _cut_off(token)


def _cut_off(token: str) -> str:
    if _GITHUB.fullmatch(token) and len(token) != 40:
        return f"begins as a GitHub token does, but has {len(token)} characters instead of 40"
    return ""
