"""The command line: flags become one call, its result becomes words and an exit code."""

from __future__ import annotations

import copy
import errno
import gc
import json
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from run_kfp import flags
from run_kfp.errors import InputError, RunKfpError
from run_kfp.program import Program, commands_of, unexpected
from run_kfp.terminal import Format, Screen

# Everything else is imported by the function that needs it: `--help` answers without pydantic, kfp and Google's SDK.

# The groups of commands, as `--help` shows them.
RUN, FOLLOW, LOOK_UP = "Run a pipeline", "Follow a run on this machine", "Set up and look up"


app = typer.Typer(
    cls=Program,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def program(json_: bool = flags.JSON, debug: bool = flags.DEBUG, version: bool = flags.VERSION) -> None:
    """Take the flags that stand in front of a command; `command` gives the first two to every command."""


# Words behind the flags are no arguments of `run`: what they were meant for is told.
@app.command(rich_help_panel=RUN, context_settings={"allow_extra_args": True, "allow_interspersed_args": False})
@flags.flags_of(flags.RunOptions)
def run(ctx: typer.Context, options: flags.RunOptions) -> None:
    """Compile, check and submit; `run-kfp -r …` is short for it.

    [bold]run-kfp -r 1 -r 2 -r 3 -r 4 -t dataset_v22[/bold]  chain four containers, submit
    [bold]run-kfp -r 1-4 -t dataset_v22 --wait[/bold]        the same, followed to the end
    [bold]run-kfp -r 1-4 -t dataset_v22 --dry-run[/bold]     show what would be sent
    [bold]run-kfp -r 1-4 -t dataset_v22 --local[/bold]       run the same file on this machine
    [bold]run-kfp -r 1-4 --compile-only[/bold]               write pipeline.yaml, nothing else
    [bold]run-kfp -f pipeline.yaml -t dataset_v22[/bold]     send a file compiled before
    """
    if ctx.args:
        ctx.obj.use(Format.asked_for(ctx.args))
        raise unexpected(ctx, options)
    from run_kfp.commands.submit import run_call

    raise typer.Exit(run_call(ctx.obj, options))


@app.command(rich_help_panel=RUN)
@flags.flags_of(flags.CheckOptions)
def check(ctx: typer.Context, options: flags.CheckOptions) -> None:
    """Check a run without submitting it.

    Every submission does the same by itself. Exit code 3 where there is an error.
    """
    from run_kfp.commands.check import check_call

    check_call(ctx.obj, options)


RunArgument = Annotated[
    str | None,
    typer.Argument(metavar="[RUN]", help="Its id, the beginning of it, or local://ID; the newest when left out."),
]


runs_app = typer.Typer(invoke_without_command=True)
app.add_typer(runs_app, name="runs", rich_help_panel=FOLLOW)


@runs_app.callback()
def runs(
    ctx: typer.Context,
    limit: Annotated[
        str, typer.Option("--limit", metavar="N", help="How many; 0 for all.", rich_help_panel=flags.WORDS)
    ] = "20",
) -> None:
    """Show the runs of this folder, the newest first."""
    if ctx.invoked_subcommand is None:
        from run_kfp.commands.runs import list_runs

        list_runs(ctx.obj, limit)


@runs_app.command()
def prune(
    ctx: typer.Context,
    keep: Annotated[
        str | None,
        typer.Option(
            "--keep",
            metavar="N",
            help="Keep the newest N runs: 20 by default, none where --older-than is given.",
            rich_help_panel=flags.HOW,
        ),
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option(
            "--older-than", metavar="AGE", help="Only runs that ended so long ago: 12h, 7d.", rich_help_panel=flags.HOW
        ),
    ] = None,
    yes: bool = flags.YES,
) -> None:
    """Remove old runs of this folder, and containers that runs left behind.

    It shows what it would remove, and asks. A run that is not over stays.
    """
    from run_kfp.commands.runs import prune_runs

    prune_runs(ctx.obj, keep, older_than, yes=yes)


@app.command(rich_help_panel=FOLLOW)
def watch(ctx: typer.Context, run: RunArgument = None) -> None:
    """Follow a run to its end; the exit code is that of the run."""
    from run_kfp.commands.local import watch_run

    raise typer.Exit(watch_run(ctx.obj, run))


@app.command(rich_help_panel=FOLLOW)
def logs(
    ctx: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN] [STEP]", help="The run (the newest when left out), and one step of it."),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Continue until the run has ended.", rich_help_panel=flags.WORDS)
    ] = False,
    tail: Annotated[
        str | None,
        typer.Option("--tail", metavar="N", help="Only the last N lines of each step.", rich_help_panel=flags.WORDS),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="AGE|TIME",
            help="Only lines of the last 15m, or since 2026-03-02T09:30:15Z.",
            rich_help_panel=flags.WORDS,
        ),
    ] = None,
    timestamps: Annotated[
        bool, typer.Option("--timestamps", help="Print the time before each line.", rich_help_panel=flags.WORDS)
    ] = False,
) -> None:
    """Print the log of a run, or of one of its steps."""
    from run_kfp.commands.local import show_logs

    show_logs(ctx.obj, words or (), follow=follow, tail=tail, since=since, timestamps=timestamps)


@app.command(rich_help_panel=FOLLOW)
def cancel(ctx: typer.Context, run: RunArgument = None) -> None:
    """Stop a run, and wait until it has stopped."""
    from run_kfp.commands.local import cancel_run

    cancel_run(ctx.obj, run)


@app.command(rich_help_panel=LOOK_UP)
def init(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Where to write; the current folder when left out.")] = Path(),
) -> None:
    """Write a run-kfp.toml, a .env and a secrets folder to start from; existing files are kept."""
    from run_kfp.commands.init import start_folder

    start_folder(ctx.obj, folder)


@app.command(rich_help_panel=LOOK_UP)
def trust(
    ctx: typer.Context,
    registry: Path | None = flags.REGISTRY,
    revoke: Annotated[
        bool, typer.Option("--revoke", help="Forget what you agreed to.", rich_help_panel=flags.HOW)
    ] = False,
    yes: bool = flags.YES,
) -> None:
    """Agree to the hosts, code and credentials that this folder names.

    It shows what each host would get. A change asks again; a folder that names none needs no consent.
    """
    from run_kfp.commands.trust import trust_folder

    trust_folder(ctx.obj, registry, revoke=revoke, yes=yes)


@app.command("list", rich_help_panel=LOOK_UP)
def list_(ctx: typer.Context, registry: Path | None = flags.REGISTRY) -> None:
    """Show the containers of the registry: index, name, image, resources, what each takes."""
    from run_kfp.resolve import find_registry
    from run_kfp.screens import registry_data, registry_lines

    screen: Screen = ctx.obj
    found = find_registry(registry, os.environ)
    screen.data(**registry_data(found))
    screen.show(registry_lines(found))


@app.command(rich_help_panel=LOOK_UP)
def machines(
    ctx: typer.Context,
    region: str | None = flags.REGION,
    accelerator: Annotated[
        str | None,
        typer.Option("--accelerator", metavar="TYPE", help="Only machines that take it.", rich_help_panel=flags.WHAT),
    ] = None,
    registry: Path | None = flags.REGISTRY,
) -> None:
    """Show the machines and accelerators that Vertex AI offers for training, and where."""
    from run_kfp.commands.machines import machines_table

    machines_table(ctx.obj, registry, region, accelerator)


@app.command(rich_help_panel=LOOK_UP)
def explain(
    ctx: typer.Context,
    code: Annotated[
        str | None,
        typer.Argument(metavar="[CODE]", help="RK-GPU-COUNT; all when left out.", autocompletion=flags.complete_codes),
    ] = None,
) -> None:
    """Explain a finding of a check: the rule behind it, its source, and how to fix it."""
    from run_kfp.commands.explain import explain as explain_code

    explain_code(ctx.obj, code)


@app.command(rich_help_panel=LOOK_UP)
def schema(ctx: typer.Context) -> None:
    """Print the JSON Schema of run-kfp.toml, for editors that complete and check it."""
    from run_kfp.schema import packaged_schema_text

    text = packaged_schema_text()
    ctx.obj.data(**json.loads(text))
    ctx.obj.raw(text)


def command() -> Any:
    """Build the command: every one has `--json` and `--debug`, and Typer's own options in the panel of these."""
    made: Any = typer.main.get_command(app)
    everywhere = [copy.copy(param) for param in made.params if param.name in ("json_", "debug")]
    for param in everywhere:
        param.expose_value = False  # the screen learns it
    commands = [each for _, each in commands_of(made)]
    for each in commands:
        each.params += everywhere
    parent = typer.Context(made, **made.context_settings)
    for each in (made, *commands):
        for param in (*each.params, each.get_help_option(typer.Context(each, parent))):
            if getattr(param, "is_flag", False):
                param.metavar = ""  # "<bool>" reads as if a value were to follow
            if param.name in ("help", "install_completion", "show_completion"):
                param.rich_help_panel = flags.WORDS
    return made


def execute(argv: list[str]) -> int:
    """Run one command line (without the program's name); print, and return the exit code."""
    screen = Screen()
    # Python's own way of telling a warning passes by the mask.
    warnings.showwarning = lambda message, *_, **__: screen.say(f"warning: {message}")
    with screen.guarded():
        return screen.finish(_execute(screen, argv))


def _execute(screen: Screen, argv: list[str]) -> int:
    try:
        if fault := _fault_of_folder():
            raise fault
        if {"--help", "-h"} & set(argv[1:]):
            from run_kfp.fast_imports import import_help_screens

            import_help_screens()
        code = command().main(args=argv or ["--help"], prog_name="run-kfp", standalone_mode=False, obj=screen) or 0
    except RunKfpError as error:
        return screen.tell(error)
    except typer.TyperException as error:
        screen.use(Format.asked_for(argv))
        return screen.tell(InputError(error.format_message().rstrip("."), hint="see `run-kfp --help`"))
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except SystemExit:
        return 0  # Rich's way to end where whoever reads a help screen has enough
    except Exception as error:  # noqa: BLE001 - the last line of defence: whatever it is, no traceback reaches the user
        if fault := _fault_of_machine(error):
            return screen.tell(fault)
        message = f"internal error: {type(error).__name__}: {error}"
        return screen.tell(RunKfpError(message, hint="report it; --debug shows the traceback"))
    # A script whose list of arguments came out empty has not done what it was to do.
    return int(code) if argv else InputError.exit_code


# What a machine runs out of, or does not have: https://man7.org/linux/man-pages/man3/errno.3.html.
_SCARCE = frozenset(
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EMFILE", "ENFILE", "ENOMEM", "EAGAIN", "EIO", "ESTALE")
    if hasattr(errno, name)
)


def _fault_of_machine(error: Exception) -> InputError | None:
    """Return what is told of an error that is the machine's and not ours; None for any other one."""
    if isinstance(error, MemoryError):
        return InputError("out of memory", "free memory, or raise the limit")
    if isinstance(error, OSError) and error.errno in _SCARCE:
        where = f" {error.filename}" if error.filename else ""
        return InputError(f"this machine refused access{where}: {error.strerror}", "free space, or raise the limit")
    if isinstance(error, RuntimeError) and "home directory" in str(error):  # pathlib's words
        return InputError("the home folder is unknown", "set HOME")
    return _fault_of_folder() if isinstance(error, FileNotFoundError) else None


def _fault_of_folder() -> InputError | None:
    """Return what is told where there is no folder to work in: every path would fail with other words."""
    try:
        Path.cwd()  # of a folder that was removed, the system still shows an empty one as `.`
    except OSError:
        return InputError("the current folder no longer exists", "change to an existing folder")
    return None


def main() -> None:
    """Run the program and exit."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A console that cannot show a character shows its escape instead of a traceback.
            stream.reconfigure(errors="backslashreplace")
    # Imports make objects by the hundred thousand and hardly any garbage: fewer collections save a tenth of the time.
    gc.set_threshold(50_000)
    sys.exit(execute(sys.argv[1:]))
