"""The flags of the command line: their names, their help, the panel that shows them, and which exclude each other.

The flags of a run are one value. A field of `CallOptions` and its kinds is a flag: `flags_of` makes Typer's signature
from the fields, and hands the command the value.
"""

from __future__ import annotations

import functools
import inspect
import os
import re
import typing
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer
from typer.models import OptionInfo

from run_kfp.errors import RunKfpError
from run_kfp.findings import Finding
from run_kfp.terminal import Format

if TYPE_CHECKING:
    from run_kfp.resolve import Call

# The panels of a help screen, in their order.
PANELS = WHAT, WHERE, HOW, CHECKS, LOCAL, INSTEAD, WORDS = (
    "What to run",
    "Where it runs",
    "How it runs",
    "Checks before submission",
    "On this machine",
    "Instead of submission",
    "Output",
)


# What is offered to a shell, and what may be said of it. Typer has zsh evaluate both, twice, and bash expand words as
# patterns; any shell reads a word that was taken when the line is run.
_OFFERED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_NOT_SAID = re.compile(r"[^A-Za-z0-9 ,./:_@-]+|(?<=:):+")


def _offer(words: Iterable[tuple[str, str]], incomplete: str) -> list[tuple[str, str]]:
    """Return the words, each with what it means, that go on from what was typed and that no shell reads as more."""
    return [
        (word, _NOT_SAID.sub(" ", meaning))
        for word, meaning in words
        if word.startswith(incomplete) and _OFFERED.fullmatch(word)
    ]


def _complete_containers(incomplete: str) -> list[tuple[str, str]]:
    """Offer indices and names of the registry in force; a shell that asks is never answered with an error."""
    from run_kfp.resolve import find_registry

    try:
        registry = find_registry(None, os.environ)
    except RunKfpError:
        return []
    offers = [(container.index, container.name) for container in registry.containers.values()]
    offers += [(container.name, container.image) for container in registry.containers.values()]
    return _offer(offers, incomplete)


def complete_codes(incomplete: str) -> list[tuple[str, str]]:
    """Offer the kinds of findings."""
    from run_kfp.preflight.rules import rules

    return _offer(((name, rule.title) for name, rule in rules().items()), incomplete.upper())


def _show_version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        print(f"run-kfp {version('run-kfp')}")
        raise typer.Exit


# Typer has these two before any other flag, so that an error of another one is printed in the form that was asked for.


def _use_json(ctx: typer.Context, value: bool) -> bool:
    if value and ctx.obj is not None:  # None while a shell completes
        ctx.obj.use(Format.JSON)
    return value


def _use_format(ctx: typer.Context, value: Format | None) -> Format | None:
    if value is not None and ctx.obj is not None:
        ctx.obj.use(Format(value))
    return value


def _use_debug(ctx: typer.Context, value: bool) -> bool:
    if value and ctx.obj is not None:
        ctx.obj.debug = True
    return value


def _text(names: str, metavar: str, panel: str, help: str, choices: str = "", **more: Any) -> Any:
    """A flag with a value; `choices` are offered by the shell, and refused or taken by whoever reads the value."""
    if choices:
        more["autocompletion"] = lambda: choices.split()
    return typer.Option(None, *names.split(), metavar=metavar, help=help, rich_help_panel=panel, **more)


def _switch(name: str, panel: str, help: str, default: bool | None = False, **more: Any) -> Any:
    """A flag without a value."""
    return typer.Option(default, name, help=help, rich_help_panel=panel, **more)


REGISTRY = _text(
    "--registry", "FILE", WHAT, "The registry file. Else $RUN_KFP_REGISTRY, ./run-kfp.toml, the packaged one."
)
REGION = _text("--region", "REGION", WHERE, "The region, such as us-east1. Else $GCP_REGION.")
YES = _switch("--yes", HOW, "Agree without being asked.")
JSON = _switch("--json", WORDS, "Print the result as one JSON object.", callback=_use_json, is_eager=True)
DEBUG = _switch("--debug", WORDS, "Show the traceback of an error (never values).", callback=_use_debug, is_eager=True)
VERSION = _switch("--version", WORDS, "Show the version.", callback=_show_version, is_eager=True)

Options = TypeVar("Options", bound="CallOptions")


@typing.dataclass_transform(frozen_default=True)
def _options(kind: type[Options]) -> type[Options]:
    """Make a frozen dataclass whose fields are flags: each has Typer's description and its default."""
    for name, option in list(vars(kind).items()):
        if isinstance(option, OptionInfo):
            setattr(kind, name, field(default=option.default, metadata={"option": option}))
    return dataclass(frozen=True)(kind)


@_options
class CallOptions:
    """The flags of a call, whether it is run or checked; one with its default, or an empty list, was not typed."""

    containers: list[str] | None = _text(
        "-r --run-containers",
        "N",
        WHAT,
        "A container: index, name, range (1-4) or list (1,3). Repeat it; the order is the order of the chain.",
        autocompletion=_complete_containers,
    )
    tag: str | None = _text(
        "-t --tag", "TAG", WHAT, "The tag of the data set. It has no default, so that none is made twice by accident."
    )
    param: list[str] | None = _text("-p --param", "NAME=VALUE", WHAT, "The value of a parameter. Repeat it.")
    file: Path | None = _text(
        "-f --file", "FILE", WHAT, "A compiled pipeline, instead of -r. Of this program or another."
    )
    registry: Path | None = REGISTRY
    secrets_dir: Path | None = _text(
        "--secrets-dir", "DIR", WHAT, "The secrets folder. Else $RUN_KFP_SECRETS, ./secrets, ../secrets, /secrets."
    )
    project: str | None = _text("--project", "ID", WHERE, "The Google Cloud project. Else $GCP_PROJECT.")
    region: str | None = REGION
    bucket: str | None = _text(
        "--bucket", "NAME", WHERE, "The Cloud Storage bucket, without gs://. Else $GCS_BUCKET_NAME."
    )
    service_account: str | None = _text(
        "--service-account", "EMAIL", WHERE, "The service account that the steps run as. Else $GCS_SERVICE_ACCOUNT."
    )
    pipeline_root: str | None = _text(
        "--pipeline-root", "URI", WHERE, "Where the run keeps its files. Else gs://BUCKET/pipeline_root/root."
    )
    network: str | None = _text(
        "--network", "NAME", WHERE, "A peered VPC network: projects/NUMBER/global/networks/NAME."
    )
    encryption_key: str | None = _text(
        "--encryption-key", "NAME", WHERE, "A customer-managed key: projects/…/cryptoKeys/NAME."
    )
    api_endpoint: str | None = _text(
        "--api-endpoint", "HOST", WHERE, "Another host for the API than REGION-aiplatform.googleapis.com."
    )
    trust_host: list[str] | None = _text(
        "--trust-host", "HOST", WHERE, "A host that may get what the registry sends there. Else $RUN_KFP_TRUST_HOSTS."
    )
    job_id: str | None = _text(
        "--job-id", "ID", HOW, "The id of the run. Else the pipeline's name, the time and a random part."
    )
    label: list[str] | None = _text("--label", "KEY=VALUE", HOW, "A label of the run. Repeat it.")
    caching: bool | None = _switch(
        "--caching/--no-caching", HOW, "Take steps without side effects from the cache. Off by default.", None
    )
    failure_policy: str | None = _text(
        "--failure-policy",
        "fast|slow",
        HOW,
        "fast (the default) stops the run at the first failure; slow lets independent steps continue.",
        "fast slow",
    )
    timeout: str | None = _text("--timeout", "SECONDS", HOW, "For reaching Vertex AI, retries included. 60 by default.")
    offline: bool = _switch("--offline", CHECKS, "Check without asking image registries and Google.")
    strict: bool = _switch("--strict", CHECKS, "Refuse warnings as well as errors (exit code 3).")
    ignore: list[str] | None = _text(
        "--ignore",
        "CODE",
        CHECKS,
        "Suppress findings of this kind, this once. For good: \\[check.ignore] of the registry.",
        autocompletion=complete_codes,
    )

    def given(self, name: str) -> bool:
        """Say whether a flag was typed; a flag that the command does not have was not."""
        return getattr(self, name, None) not in (getattr(type(self), name, None), [])

    def spelled(self, name: str) -> str:
        """Return a flag as a message names it: the short form where there is one, `--no-…` where that was typed."""
        option = next(field.metadata["option"] for field in fields(self) if field.name == name)
        on, _, off = str(option.param_decls[0]).partition("/")
        return off if off and getattr(self, name) is False else on

    def call(self, faults: tuple[Finding, ...] = ()) -> Call:
        """Return what the flags ask for; `faults` are those found before."""
        from run_kfp.resolve import Call
        from run_kfp.settings import RULES

        return Call(
            self.containers or (),
            self.file,
            self.tag,
            self.param or (),
            self.registry,
            self.secrets_dir,
            {name: getattr(self, name) for name in RULES},
            self.label or (),
            self.job_id,
            self.caching,
            self.failure_policy,
            self.timeout,
            self.trust_host or (),
            faults,
        )


@_options
class CheckOptions(CallOptions):
    """The flags of a check by itself."""

    format: Format | None = _text(
        "--format",
        "|".join(Format),
        WORDS,
        "The format of the findings: text (the default), data, GitHub's log, SARIF, JUnit.",
        " ".join(Format),
        callback=_use_format,
        is_eager=True,
    )


@_options
class RunOptions(CallOptions):
    """The flags of a run."""

    wait: bool = _switch("--wait", HOW, "Follow the run to its end; the exit code is that of the run.")
    wait_timeout: str | None = _text(
        "--wait-timeout", "SECONDS", HOW, "Stop following after this time; the run continues (exit code 7)."
    )
    poll_every: str | None = _text("--poll-every", "SECONDS", HOW, "Time between two looks at the run. 10 by default.")
    local: bool = _switch("--local", LOCAL, "Run the same file on this machine; the exit code is that of the run.")
    engine: str | None = _text(
        "--engine",
        "docker|process",
        LOCAL,
        "docker (the default) runs the images; process, less faithful, what the registry says instead.",
        "docker process",
    )
    parallel: str | None = _text(
        "--parallel", "N", LOCAL, "How many independent steps may run at a time. 2 by default."
    )
    step_timeout: str | None = _text(
        "--step-timeout", "SECONDS", LOCAL, "Stop a step that runs longer; it has failed then."
    )
    from_step: str | None = _text(
        "--from", "STEP", LOCAL, "Repeat the latest run from this step (name or index); earlier steps are reused."
    )
    from_run: str | None = _text("--from-run", "ID", LOCAL, "Repeat this run instead of the latest.")
    pull: str | None = _text(
        "--pull",
        "always|missing|never",
        LOCAL,
        "When to pull images: missing (the default), always, never.",
        "always missing never",
    )
    bucket_dir: Path | None = _text(
        "--bucket-dir", "DIR", LOCAL, "A folder that the containers find at /gcs/BUCKET, as on Vertex AI."
    )
    docker_network: str | None = _text(
        "--docker-network",
        "MODE",
        LOCAL,
        "The containers' network: host reaches servers on this machine's loopback. Else the Engine's bridge.",
    )
    with_credentials: bool = _switch(
        "--with-credentials",
        LOCAL,
        "Hand your Google credentials to the steps: for -f, for those that .env names, for a gcloud login.",
    )
    mount: list[str] | None = _text(
        "-v --mount",
        "[STEP:]HOST:CONTAINER[:ro]",
        LOCAL,
        "Mount a file or folder of this machine into the containers, or into that of one step. Repeat it.",
    )
    env: list[str] | None = _text(
        "-e --env",
        "[STEP:]NAME[=VALUE]",
        LOCAL,
        "Set a variable of all steps or of one; without a value, that of your environment. Repeat it.",
    )
    shm_size: list[str] | None = _text(
        "--shm-size", "[STEP:]SIZE", LOCAL, "The size of /dev/shm, such as 8g. Docker's default is 64m."
    )
    gpus: list[str] | None = _text(
        "--gpus", "[STEP:]N|all", LOCAL, "GPUs of this machine, instead of what the pipeline requests."
    )
    keep_failed: bool = _switch(
        "--keep-failed", LOCAL, "Keep the container of a failed step, and print the command that opens a shell in it."
    )
    no_check: bool = _switch("--no-check", CHECKS, "Submit without a check.")
    pin: bool = _switch("--pin", CHECKS, "Write the images' digests into the pipeline, as their registries give them.")
    compile_only: bool = _switch(
        "--compile-only", INSTEAD, "Write the pipeline file and stop. Needs no setting, no secret, no network."
    )
    dry_run: bool = _switch(
        "--dry-run",
        INSTEAD,
        "Show the plan and stop. It has the place of each secret instead of its value; no network.",
    )
    output: str | None = _text(
        "-o --output", "FILE", WORDS, "Where to write the pipeline; - for stdout. Else pipeline.yaml."
    )


# What a newcomer needs of them.
FIRST_DAY = (
    *("containers", "tag", "param", "file", "registry"),
    *("local", "wait", "dry_run", "compile_only", "json_"),
)


def flags_of(kind: type[Options]) -> Callable[[Callable[[typer.Context, Options], None]], Callable[..., None]]:
    """Give a command the flags that are the fields of `kind`; it is called with one value of them."""

    def decorated(command: Callable[[typer.Context, Options], None]) -> Callable[..., None]:
        @functools.wraps(command)
        def called(ctx: typer.Context, **flags: Any) -> None:
            command(ctx, kind(**flags))

        hints, keyword = typing.get_type_hints(kind), inspect.Parameter.KEYWORD_ONLY
        options = {field.name: field.metadata["option"] for field in fields(kind)}
        parameters = [
            inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context),
            *(
                inspect.Parameter(name, keyword, default=option, annotation=hints[name])
                for name, option in sorted(options.items(), key=lambda item: PANELS.index(item[1].rich_help_panel))
            ),
        ]
        called.__annotations__ = {one.name: one.annotation for one in parameters}
        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what Typer reads
        return called

    return decorated


# ── flags that exclude each other ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Conflict:
    """Two flags, by the names of their fields, that cannot be used together; and what to do."""

    flag: str
    other: str
    hint: str

    def broken_by(self, options: CallOptions) -> bool:
        """Say whether a call has both."""
        return options.given(self.flag) and options.given(self.other)

    def fault(self, options: CallOptions) -> Finding:
        """Return what is told of a call that has both."""
        flag, other = options.spelled(self.flag), options.spelled(self.other)
        return Finding(f"{flag} and {other} cannot be used together", self.hint)


@dataclass(frozen=True)
class Requires(Conflict):
    """A flag that means something beside another one only."""

    hint: str = ""

    def broken_by(self, options: CallOptions) -> bool:
        """Say whether a call has the first without the other."""
        return options.given(self.flag) and not options.given(self.other)

    def fault(self, options: CallOptions) -> Finding:
        """Return what is told of a call without the other one."""
        flag, other = options.spelled(self.flag), options.spelled(self.other)
        return Finding(f"{flag} requires {other}", self.hint or f"add {other}, or remove {flag}")


CONFLICTS: tuple[Conflict, ...] = (
    Conflict("containers", "file", "-f sends a compiled file as it is"),
    Conflict("caching", "file", "caching is fixed in the file: recompile it"),
    Conflict("output", "file", "-f sends a compiled file as it is"),
    Conflict("compile_only", "file", "the file is compiled already"),
    Conflict("compile_only", "dry_run", "a dry run shows the plan and needs all values; remove one"),
    Conflict("compile_only", "local", "--local compiles too; remove one"),
    Conflict("wait", "compile_only", "nothing is submitted; remove one"),
    Conflict("wait", "dry_run", "nothing is submitted; remove one"),
    Conflict("pin", "file", "--pin compiles with the digests that the image registries give"),
    Conflict("pin", "offline", "--pin asks the image registries for digests"),
    *(
        Conflict(check, instead, "nothing is checked; remove one, or use `run-kfp check`")
        for check, instead in product(("offline", "strict", "ignore"), ("no_check", "compile_only", "dry_run", "local"))
    ),
    *(Requires(flag, "wait") for flag in ("wait_timeout", "poll_every")),
    Requires("from_run", "from_step", "set the step to repeat that run from"),
    *(
        Requires(flag, "local")
        for flag in (
            "engine",
            "parallel",
            "step_timeout",
            "from_step",
            "from_run",
            "pull",
            "bucket_dir",
            "docker_network",
            "with_credentials",
            "mount",
            "env",
            "shm_size",
            "gpus",
            "keep_failed",
        )
    ),
)


def conflicts(options: CallOptions) -> Iterator[Finding]:
    """Yield every conflict of a call."""
    return (conflict.fault(options) for conflict in CONFLICTS if conflict.broken_by(options))
