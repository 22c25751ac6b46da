"""The command line: flags become one call, its result becomes words and an exit code."""

from __future__ import annotations

import gc
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from run_kfp import flags
from run_kfp.errors import Fault, InputError, RunKfpError
from run_kfp.terminal import Screen

# Everything else is imported by the function that needs it: `--help` answers without pydantic, kfp and Google's SDK.
if TYPE_CHECKING:
    from run_kfp.prepare import Call

app = typer.Typer(
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

# The flags that mean something with --local only, by the names of their parameters.
_LOCAL_FLAGS = {
    "engine": "--engine",
    "parallel": "--parallel",
    "step_timeout": "--step-timeout",
    "from_step": "--from",
    "from_run": "--from-run",
    "pull": "--pull",
    "bucket_dir": "--bucket-dir",
    "docker_network": "--docker-network",
}

_CACHED_FILE = Fault("--caching and -f exclude each other", "caching is fixed in the file: compile it anew")

# The flags of the check that every submission makes, and what leaves it out.
_CHECK_FLAGS = {"offline": "--offline", "strict": "--strict", "ignore": "--ignore", "no_check": "--no-check"}
_WITHOUT_CHECK = {
    "no_check": "--no-check",
    "compile_only": "--compile-only",
    "dry_run": "--dry-run",
    "local": "--local",
}

_EPILOG = (
    "Exit codes: 0 done, 1 a fault of this program, 2 mend the call, 3 a check found an error, 4 Vertex AI or the "
    "Engine refused or was not reached, 5 the run failed, 6 cancelled or paused, 7 the watch gave up, 130 Ctrl-C."
)


@app.callback(invoke_without_command=True, epilog=_EPILOG)
def run(
    ctx: typer.Context,
    containers: flags.Containers = None,
    tag: flags.Tag = None,
    param: flags.Param = None,
    file: flags.File = None,
    registry: flags.Registry = None,
    secrets_dir: flags.SecretsDir = None,
    project: flags.Project = None,
    region: flags.Region = None,
    bucket: flags.Bucket = None,
    service_account: flags.ServiceAccount = None,
    pipeline_root: flags.PipelineRoot = None,
    network: flags.Network = None,
    encryption_key: flags.EncryptionKey = None,
    api_endpoint: flags.ApiEndpoint = None,
    job_id: flags.JobId = None,
    label: flags.Label = None,
    caching: flags.Caching = None,
    failure_policy: flags.FailurePolicy = None,
    timeout: flags.Timeout = None,
    wait: flags.Wait = False,
    wait_timeout: flags.WaitTimeout = None,
    poll_every: flags.PollEvery = None,
    local: flags.Local = False,
    engine: flags.Engine = "docker",
    parallel: flags.Parallel = None,
    step_timeout: flags.StepTimeout = None,
    from_step: flags.FromStep = None,
    from_run: flags.FromRun = None,
    pull: flags.Pull = "missing",
    bucket_dir: flags.BucketDir = None,
    docker_network: flags.DockerNetwork = None,
    no_check: flags.NoCheck = False,
    offline: flags.Offline = False,
    strict: flags.Strict = False,
    ignore: flags.Ignore = None,
    pin: flags.Pin = False,
    compile_only: flags.CompileOnly = False,
    dry_run: flags.DryRun = False,
    output: flags.Output = None,
    json_: flags.Json = False,
    debug: flags.Debug = False,
    version: flags.Version = False,
) -> None:
    """Run Docker images as a pipeline, on Vertex AI or on this machine: compile, check the call, submit.

    [bold]run-kfp -r 1 -r 2 -r 3 -r 4 -t dataset_v22[/bold]  chain four containers, submit
    [bold]run-kfp -r 1-4 -t dataset_v22 --wait[/bold]        the same, followed to the end
    [bold]run-kfp -r 1-4 -t dataset_v22 --dry-run[/bold]     show what would be sent
    [bold]run-kfp -r 1-4 -t dataset_v22 --local[/bold]       run the same file on this machine
    [bold]run-kfp -r 1-4 --compile-only[/bold]               write pipeline.yaml, nothing else
    [bold]run-kfp -f pipeline.yaml -t dataset_v22[/bold]     send a file compiled before
    """
    screen: Screen = ctx.obj
    given = [
        name
        for name in ctx.params
        if name not in ("json_", "debug") and str(ctx.get_parameter_source(name)).endswith("COMMANDLINE")
    ]
    if ctx.invoked_subcommand:
        if given:
            typed = (
                ", ".join(f"--{name.replace('_', '-')}" for name in given)
                .replace("--containers", "-r")
                .replace("--param", "-p")
                .replace("--from-step", "--from")
            )
            raise InputError(
                f"{typed} in front of `{ctx.invoked_subcommand}` would be ignored",
                hint=f"see `run-kfp {ctx.invoked_subcommand} --help` for its own flags",
            )
        return
    if compile_only and dry_run:
        raise InputError(
            "--compile-only and --dry-run exclude each other",
            hint="a dry run shows the plan and needs all values; leave one out",
        )
    if file and caching is not None:
        raise InputError.of("this call", [_CACHED_FILE])
    if file and output:
        raise InputError("-o and -f exclude each other", hint="-f sends a finished file as it is")
    if compile_only and file:
        raise InputError("--compile-only and -f exclude each other", hint="the file is compiled already")
    if wait and (compile_only or dry_run):
        raise InputError(
            f"--wait and {'--compile-only' if compile_only else '--dry-run'} exclude each other",
            hint="nothing is submitted that could be waited for; leave one out",
        )
    if not local and (names := [flag for name, flag in _LOCAL_FLAGS.items() if name in given]):
        raise InputError(f"{', '.join(names)} without --local would be ignored", hint="add --local, or leave it out")
    if local and compile_only:
        raise InputError("--compile-only and --local exclude each other", hint="--local compiles too; leave one out")
    for flag, value in (("--wait-timeout", wait_timeout), ("--poll-every", poll_every)):
        if value is not None and not wait:
            raise InputError(f"{flag} does nothing without --wait", hint="add --wait, or leave it out")
    if unchecked := [flag for name, flag in _WITHOUT_CHECK.items() if name in given]:
        names = [flag for name, flag in _CHECK_FLAGS.items() if name in given and flag not in unchecked]
        if names:
            raise InputError(
                f"{', '.join(names)} with {unchecked[0]} would be ignored: nothing is checked",
                hint="`run-kfp check` takes them; leave one out",
            )
    if pin and (file or offline):
        raise InputError(
            f"--pin and {'-f' if file else '--offline'} exclude each other",
            hint="--pin compiles with the digests that the image registries give",
        )
    from run_kfp.commands import submit
    from run_kfp.prepare import prepare
    from run_kfp.settings import seconds

    faults: list[Fault] = []
    every = seconds("--poll-every", poll_every, faults) or 10.0
    deadline = seconds("--wait-timeout", wait_timeout, faults)
    step_limit = seconds("--step-timeout", step_timeout, faults)
    call = _call(ctx.params, faults)
    prepared = prepare(call, os.environ, screen.masker)
    screen.say(*(f"note: {note}" for note in prepared.notes))
    if pin:
        prepared = submit.pin(call, prepared, screen.masker, screen.say)
    if local:
        from run_kfp.backends.local import LocalOptions
        from run_kfp.commands.local import run_locally, show_plan

        options = LocalOptions(engine, parallel, step_limit, from_step, from_run, pull, bucket_dir, docker_network)
        if dry_run:
            if output is not None:
                submit.write_pipeline(screen, prepared.pipeline, output)
            show_plan(screen, call, prepared, options)
        else:
            raise typer.Exit(
                run_locally(
                    screen, call, prepared, options, lambda: submit.write_pipeline(screen, prepared.pipeline, output)
                )
            )
    elif compile_only:
        submit.compile_only(screen, prepared, output)
    elif dry_run:
        submit.dry_run(screen, call, prepared, output)
    else:
        from run_kfp.commands.check import Checking

        checking = None if no_check else Checking(offline, ignore or (), strict)
        submit.submit_call(screen, call, prepared, output, checking, every=every if wait else None, deadline=deadline)


def _call(params: Mapping[str, Any], faults: Sequence[Fault]) -> Call:
    """Make the call of the flags of a run, by the names of their parameters."""
    from run_kfp.prepare import Call
    from run_kfp.settings import RULES

    return Call(
        params["containers"] or (),
        params["file"],
        params["tag"],
        params["param"] or (),
        params["registry"],
        params["secrets_dir"],
        {name: params[name] for name in RULES},
        params["label"] or (),
        params["job_id"],
        params["caching"],
        params["failure_policy"],
        params["timeout"],
        tuple(faults),
    )


@app.command()
def check(
    ctx: typer.Context,
    containers: flags.Containers = None,
    tag: flags.Tag = None,
    param: flags.Param = None,
    file: flags.File = None,
    registry: flags.Registry = None,
    secrets_dir: flags.SecretsDir = None,
    project: flags.Project = None,
    region: flags.Region = None,
    bucket: flags.Bucket = None,
    service_account: flags.ServiceAccount = None,
    pipeline_root: flags.PipelineRoot = None,
    network: flags.Network = None,
    encryption_key: flags.EncryptionKey = None,
    api_endpoint: flags.ApiEndpoint = None,
    job_id: flags.JobId = None,
    label: flags.Label = None,
    caching: flags.Caching = None,
    failure_policy: flags.FailurePolicy = None,
    timeout: flags.Timeout = None,
    offline: flags.Offline = False,
    strict: flags.Strict = False,
    ignore: flags.Ignore = None,
    json_: flags.Json = False,
    debug: flags.Debug = False,
) -> None:
    """Say before submitting what would fail on Vertex AI, and when; nothing is submitted or written.

    Every submission does the same by itself. Exit code 3 where there is an error.
    """
    from run_kfp.commands.check import Checking, check_call

    faults = [_CACHED_FILE] if file and caching is not None else []
    check_call(ctx.obj, _call(ctx.params, faults), Checking(offline, ignore or (), strict))


@app.command()
def explain(
    ctx: typer.Context,
    code: Annotated[
        str | None,
        typer.Argument(
            metavar="[CODE]",
            help="Such as RK-GPU-COUNT; all when left out.",
            autocompletion=flags.complete_codes,
        ),
    ] = None,
    json_: flags.Json = False,
    debug: flags.Debug = False,
) -> None:
    """Explain a finding of a check: the rule behind it, its source, and how to mend it."""
    from run_kfp.commands.explain import explain as explain_code

    explain_code(ctx.obj, code)


@app.command()
def machines(
    ctx: typer.Context,
    region: flags.Region = None,
    accelerator: Annotated[
        str | None,
        typer.Option("--accelerator", metavar="TYPE", help="Only machines that take it.", rich_help_panel=flags.WHAT),
    ] = None,
    registry: flags.Registry = None,
    json_: flags.Json = False,
    debug: flags.Debug = False,
) -> None:
    """Show the machines and accelerators that Vertex AI offers for training, and where."""
    from run_kfp.commands.machines import machines_table

    machines_table(ctx.obj, registry, region, accelerator)


@app.command("list")
def list_(
    ctx: typer.Context, registry: flags.Registry = None, json_: flags.Json = False, debug: flags.Debug = False
) -> None:
    """Show the containers of the registry: index, name, image, resources, what each takes."""
    from run_kfp.prepare import find_registry
    from run_kfp.screens import registry_data, registry_lines

    screen: Screen = ctx.obj
    found = find_registry(registry, os.environ)
    if screen.json:
        screen.data(**registry_data(found))
        return
    screen.show(registry_lines(found))


RunArgument = Annotated[
    str | None,
    typer.Argument(metavar="[RUN]", help="Its id, the beginning of it, or local://ID; the newest when left out."),
]


@app.command()
def runs(ctx: typer.Context, json_: flags.Json = False, debug: flags.Debug = False) -> None:
    """Show the runs of this folder on this machine, the newest first."""
    from run_kfp.commands.local import list_runs

    list_runs(ctx.obj)


@app.command()
def watch(ctx: typer.Context, run: RunArgument = None, json_: flags.Json = False, debug: flags.Debug = False) -> None:
    """Follow a run on this machine to its end; the exit code tells how it ended."""
    from run_kfp.commands.local import watch_run

    try:
        watch_run(ctx.obj, run)
    except KeyboardInterrupt:
        ctx.obj.say("stopped watching; the run goes on")
        raise typer.Exit(130) from None


@app.command()
def logs(
    ctx: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN] [STEP]", help="The run (the newest when left out), and one step of it."),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the run has ended.", rich_help_panel=flags.WORDS)
    ] = False,
    json_: flags.Json = False,
    debug: flags.Debug = False,
) -> None:
    """Print the log of a run on this machine, or of one of its steps."""
    from run_kfp.commands.local import show_logs

    if words and len(words) > 2:
        raise InputError("logs takes a run and a step", hint="see `run-kfp runs`")
    show_logs(ctx.obj, words or (), follow=follow)


@app.command()
def cancel(ctx: typer.Context, run: RunArgument = None, json_: flags.Json = False, debug: flags.Debug = False) -> None:
    """Stop a run on this machine, and wait until it has stopped."""
    from run_kfp.commands.local import cancel_run

    cancel_run(ctx.obj, run)


@app.command()
def init(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Where to write; the current folder when left out.")] = Path(),
    json_: flags.Json = False,
    debug: flags.Debug = False,
) -> None:
    """Write a commented run-kfp.toml, a .env and a secrets folder to start from; what is there is kept."""
    from run_kfp.commands.init import start_folder

    start_folder(ctx.obj, folder)


def _command() -> Any:
    """Build the command, and put the help of Typer's own options where a reader expects it."""
    command = typer.main.get_command(app)
    for each in (command, *getattr(command, "commands", {}).values()):
        for param in (*each.params, each.get_help_option(typer.Context(each, **each.context_settings))):
            if getattr(param, "is_flag", False):
                param.metavar = ""  # "<bool>" reads as if a value were to follow
            if param.name in ("help", "install_completion", "show_completion"):
                param.rich_help_panel = flags.WORDS
    return command


def execute(argv: list[str]) -> int:
    """Run one command line (without the program's name); print, and return the exit code."""
    screen = Screen(argv)
    # Python's own way of telling a warning passes by the mask.
    warnings.showwarning = lambda message, *_, **__: screen.say(f"warning: {message}")
    return screen.finish(_execute(screen, argv))


def _execute(screen: Screen, argv: list[str]) -> int:
    try:
        _look_around()
        if not argv or {"--help", "-h"} & set(argv):
            from run_kfp.lean import import_help_screens

            import_help_screens()
        code = _command().main(args=argv or ["--help"], prog_name="run-kfp", standalone_mode=False, obj=screen) or 0
    except RunKfpError as error:
        return screen.tell(error)
    except typer.TyperException as error:
        return screen.tell(InputError(error.format_message().rstrip("."), hint="see `run-kfp --help`"))
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except SystemExit:
        return 0  # Rich's way to end where whoever reads a help screen has enough
    except Exception as error:  # noqa: BLE001 - the last line of defence: whatever it is, no traceback reaches the user
        fault = RunKfpError(
            f"a fault of this program: {type(error).__name__}: {error}",
            hint="please report it; --debug shows the traceback",
        )
        return screen.tell(fault)
    # A script whose list of arguments came out empty has not done what it was to do.
    return int(code) if argv else InputError.exit_code


def _look_around() -> None:
    """Refuse to start where there is no folder to work in: every path would fail with other words."""
    try:
        Path.cwd()
    except OSError:
        raise InputError("the current folder does not exist any more", hint="go to one that does") from None


def main() -> None:
    """Run the program and exit."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A console that cannot show a character shows its escape instead of a traceback.
            stream.reconfigure(errors="backslashreplace")
    # Imports make objects by the hundred thousand and hardly any garbage: fewer collections save a tenth of the time.
    gc.set_threshold(50_000)
    sys.exit(execute(sys.argv[1:]))
