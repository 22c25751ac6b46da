"""The flags of the command line: their names, their help, and where a help screen shows them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from run_kfp.errors import RunKfpError

# The panels of a help screen.
WHAT, WHERE, HOW, CHECKS, LOCAL, INSTEAD, WORDS = (
    "What to run",
    "Where it runs",
    "How it runs",
    "Checks before submitting",
    "On this machine",
    "Instead of submitting",
    "What is printed",
)


def _complete_containers(incomplete: str) -> list[tuple[str, str]]:
    """Offer indices and names of the registry in force; a shell that asks is never answered with an error."""
    from run_kfp.prepare import find_registry

    try:
        registry = find_registry(None, os.environ)
    except RunKfpError:
        return []
    offers = [(container.index, container.name) for container in registry.containers.values()]
    offers += [(container.name, container.image) for container in registry.containers.values()]
    return [(word, words) for word, words in offers if word.startswith(incomplete)]


def complete_codes(incomplete: str) -> list[tuple[str, str]]:
    """Offer the kinds of findings."""
    from run_kfp.preflight import codes

    return [(name, code.title) for name, code in codes().items() if name.startswith(incomplete.upper())]


def _show_version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        print(f"run-kfp {version('run-kfp')}")
        raise typer.Exit


def _text(flags: str, metavar: str, help: str, panel: str) -> Any:
    return typer.Option(*flags.split("/"), metavar=metavar, help=help, rich_help_panel=panel)


Registry = Annotated[
    Path | None,
    typer.Option(
        "--registry",
        metavar="FILE",
        help="The registry: which containers there are. Else $RUN_KFP_REGISTRY, ./run-kfp.toml, the packaged one.",
        rich_help_panel=WHAT,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.", rich_help_panel=WORDS)]
Debug = Annotated[
    bool, typer.Option("--debug", help="Show the traceback of an error (never values).", rich_help_panel=WORDS)
]

Containers = Annotated[
    list[str] | None,
    typer.Option(
        "-r",
        "--run-containers",
        metavar="N",
        help="A container of the registry: its index or name, a range (1-4) or a list (1,3). "
        "Repeat it; the order is the order of the chain.",
        autocompletion=_complete_containers,
        rich_help_panel=WHAT,
    ),
]
Tag = Annotated[
    str | None,
    _text(
        "-t/--tag",
        "TAG",
        "The tag of the data set. It has no default, so that none is made twice by accident.",
        WHAT,
    ),
]
Param = Annotated[list[str] | None, _text("-p/--param", "NAME=VALUE", "The value of a parameter. Repeat it.", WHAT)]
File = Annotated[
    Path | None,
    _text("-f/--file", "FILE", "Send this compiled pipeline, of this program or another, instead of compiling.", WHAT),
]
SecretsDir = Annotated[
    Path | None,
    _text(
        "--secrets-dir",
        "DIR",
        "The folder of the secret files. Else $RUN_KFP_SECRETS, ./secrets, ../secrets, /secrets.",
        WHAT,
    ),
]
Project = Annotated[str | None, _text("--project", "ID", "The Google Cloud project. Else $GCP_PROJECT.", WHERE)]
Region = Annotated[str | None, _text("--region", "REGION", "The region, such as us-east1. Else $GCP_REGION.", WHERE)]
Bucket = Annotated[
    str | None, _text("--bucket", "NAME", "The Cloud Storage bucket, without gs://. Else $GCS_BUCKET_NAME.", WHERE)
]
ServiceAccount = Annotated[
    str | None,
    _text(
        "--service-account",
        "EMAIL",
        "The service account that the steps run as. Else $GCS_SERVICE_ACCOUNT.",
        WHERE,
    ),
]
PipelineRoot = Annotated[
    str | None,
    _text("--pipeline-root", "URI", "Where the run keeps its files. Else gs://BUCKET/pipeline_root/root.", WHERE),
]
Network = Annotated[
    str | None, _text("--network", "NAME", "A peered VPC network: projects/NUMBER/global/networks/NAME.", WHERE)
]
EncryptionKey = Annotated[
    str | None, _text("--encryption-key", "NAME", "A customer-managed key: projects/…/cryptoKeys/NAME.", WHERE)
]
ApiEndpoint = Annotated[
    str | None,
    _text("--api-endpoint", "HOST", "Another host for the API than REGION-aiplatform.googleapis.com.", WHERE),
]
JobId = Annotated[
    str | None,
    _text("--job-id", "ID", "The id of the run. Else the pipeline's name, the time and a random part.", HOW),
]
Label = Annotated[list[str] | None, _text("--label", "KEY=VALUE", "A label of the run. Repeat it.", HOW)]
Caching = Annotated[
    bool | None,
    typer.Option(
        "--caching/--no-caching",
        help="Take steps without side effects from the cache. Off by default.",
        rich_help_panel=HOW,
    ),
]
FailurePolicy = Annotated[
    str | None,
    typer.Option(
        "--failure-policy",
        metavar="fast|slow",
        help="fast (the default) stops the run at the first failure; slow lets independent steps go on.",
        autocompletion=lambda: ["fast", "slow"],
        rich_help_panel=HOW,
    ),
]
Timeout = Annotated[
    str | None, _text("--timeout", "SECONDS", "For reaching Vertex AI, retries included. 60 by default.", HOW)
]
Wait = Annotated[
    bool,
    typer.Option("--wait", help="Follow the run to its end; the exit code tells how it ended.", rich_help_panel=HOW),
]
WaitTimeout = Annotated[
    str | None,
    _text("--wait-timeout", "SECONDS", "Stop following after this time; the run goes on (exit code 7).", HOW),
]
PollEvery = Annotated[
    str | None, _text("--poll-every", "SECONDS", "Time between two looks at the run. 10 by default.", HOW)
]
Local = Annotated[
    bool,
    typer.Option(
        "--local",
        help="Run the same file on this machine; the exit code tells how it ended.",
        rich_help_panel=LOCAL,
    ),
]
Engine = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar="docker|process",
        help="docker (the default) runs the images; process, less faithful, what the registry says instead.",
        autocompletion=lambda: ["docker", "process"],
        rich_help_panel=LOCAL,
    ),
]
Parallel = Annotated[
    str | None, _text("--parallel", "N", "How many independent steps may run at a time. 2 by default.", LOCAL)
]
StepTimeout = Annotated[
    str | None, _text("--step-timeout", "SECONDS", "Stop a step that runs longer; it has failed then.", LOCAL)
]
FromStep = Annotated[
    str | None,
    _text(
        "--from",
        "STEP",
        "Repeat the latest run of this pipeline from this step (name or index); what was done before stays done.",
        LOCAL,
    ),
]
FromRun = Annotated[str | None, _text("--from-run", "ID", "Repeat this run instead of the latest.", LOCAL)]
Pull = Annotated[
    str,
    typer.Option(
        "--pull",
        metavar="always|missing|never",
        help="When to pull images: missing (the default), always, never.",
        autocompletion=lambda: ["always", "missing", "never"],
        rich_help_panel=LOCAL,
    ),
]
BucketDir = Annotated[
    Path | None,
    typer.Option(
        "--bucket-dir",
        metavar="DIR",
        help="A folder that the containers find at /gcs/BUCKET, as on Vertex AI.",
        rich_help_panel=LOCAL,
    ),
]
DockerNetwork = Annotated[
    str | None,
    _text(
        "--docker-network",
        "MODE",
        "The containers' network: host reaches servers on this machine's loopback. Else the Engine's bridge.",
        LOCAL,
    ),
]
CompileOnly = Annotated[
    bool,
    typer.Option(
        "--compile-only",
        help="Write the pipeline file and nothing else: needs no setting, no secret, no network.",
        rich_help_panel=INSTEAD,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Show the plan, with the place of each secret instead of its value; no network.",
        rich_help_panel=INSTEAD,
    ),
]
NoCheck = Annotated[bool, typer.Option("--no-check", help="Submit without checking first.", rich_help_panel=CHECKS)]
Offline = Annotated[
    bool,
    typer.Option("--offline", help="Check without asking image registries and Google.", rich_help_panel=CHECKS),
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Refuse warnings as well as errors (exit code 3).", rich_help_panel=CHECKS)
]
Ignore = Annotated[
    list[str] | None,
    typer.Option(
        "--ignore",
        metavar="CODE",
        autocompletion=complete_codes,
        rich_help_panel=CHECKS,
        help="Do not tell findings of this kind, this once. For good: \\[check.ignore] of the registry.",
    ),
]
Pin = Annotated[
    bool,
    typer.Option(
        "--pin",
        help="Write the images' digests into the pipeline, as their registries give them.",
        rich_help_panel=CHECKS,
    ),
]
Output = Annotated[
    str | None,
    _text("-o/--output", "FILE", "Where to write the pipeline; - for stdout. Else pipeline.yaml.", WORDS),
]
Version = Annotated[
    bool,
    typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True, rich_help_panel=WORDS),
]
