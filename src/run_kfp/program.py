"""The program beside its commands: what a call without one means, and the screen of `run-kfp --help`."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from run_kfp.errors import InputError, did_you_mean
from run_kfp.flags import FIRST_DAY, RunOptions

# A help screen imports Rich when it is printed.
if TYPE_CHECKING:
    from run_kfp.lines import Text

_EXAMPLES = {
    "run-kfp -r 1 -r 2 -r 3 -r 4 -t dataset_v22": "chain four containers, submit",
    "run-kfp -r 1-4 -t dataset_v22 --local": "run the same pipeline on this machine",
    "run-kfp -f pipeline.yaml -t dataset_v22 --wait": "submit a compiled file, follow the run",
    "run-kfp check -r 1-4 -t dataset_v22": "check a run without submitting it",
}

# More commands than that stand in two columns.
_MOST_ROWS = 12

_EXIT_CODES = (
    "0 done, 1 internal error, 2 invalid call, 3 check failed, 4 Vertex AI or Docker refused,",
    "5 the run failed, 6 canceled or paused, 7 stopped waiting, 130 Ctrl-C",
)


class Program(TyperGroup):
    """The program: where no command is named, `run` is meant, so that `run-kfp -r 1` is `run-kfp run -r 1`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Name `run` where no command and no flag of the program itself is named."""
        own = {name for param in self.get_params(ctx) for name in (*param.opts, *param.secondary_opts)}
        first = next((place for place, word in enumerate(args) if word not in ("--json", "--debug")), len(args))
        if args and (first == len(args) or (args[first][:1] == "-" and args[first].partition("=")[0] not in own)):
            args.insert(first, "run")
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Offer the flags of `run`, too."""
        offers = super().shell_complete(ctx, incomplete)
        if incomplete.startswith("-"):
            run = self.commands["run"]
            offers += run.shell_complete(typer.Context(run, parent=ctx), incomplete)
        return offers

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the overview."""
        ctx.obj.page(overview(self.commands))


def commands_of(group: Any, *names: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the commands below a group, and below those of them that are groups, each behind the words that name it."""
    for name, command in group.commands.items():
        yield (*names, name), command
        if hasattr(command, "commands"):
            yield from commands_of(command, *names, name)


def unexpected(ctx: Any, options: RunOptions) -> InputError:
    """Return what is said of a word behind the flags of a run: of a command, they would not be its flags."""
    word = ctx.args[0]
    commands = ctx.parent.command.commands
    if word not in commands:
        return InputError(f"unknown command {word!r}", did_you_mean(word, commands) or "see `run-kfp --help`")
    typed = ", ".join(options.spelled(name) for name in ctx.params if options.given(name)) or "run"
    return InputError(
        f"{typed} in front of `{word}` would be ignored", f"see `run-kfp {word} --help` for its own flags"
    )


def overview(commands: Mapping[str, Any]) -> Iterator[Text]:
    """Return the lines of the screen: 40 at most, of 100 columns at most.

    Args:
        commands: of the program, by name; their panels are the groups, in the order in which they come.
    """
    from run_kfp.lines import Text

    yield Text("Run Docker images as a Kubeflow pipeline: on this machine, and from the same file on Vertex AI.")
    yield Text.assemble(("Usage: ", "bold"), "run-kfp [COMMAND] [FLAGS]\n")
    yield Text("Examples", "bold")
    yield from _rows(_EXAMPLES)
    groups: dict[str, dict[str, str]] = {}
    for name, command in commands.items():
        groups.setdefault(command.rich_help_panel, {})[name] = (command.help or "").partition("\n")[0]
    yield Text("")
    for group, rows in groups.items():
        yield Text(group, "bold")
        yield from (_pairs if len(commands) > _MOST_ROWS else _rows)(rows, width=max(map(len, commands)))
    run = {param.name: param for param in commands["run"].params}
    yield Text("\nFlags of a first day", "bold")
    yield from _rows({_spelled(run[name]): _first_sentence(run[name].help or "") for name in FIRST_DAY})
    yield Text.assemble("All flags: ", ("run-kfp run --help", "bold"), "; of a command: run-kfp COMMAND --help")
    yield Text(f"Exit codes: {_EXIT_CODES[0]}")
    yield Text(f"            {_EXIT_CODES[1]}")


def _rows(rows: Mapping[str, str], *, width: int = 0) -> Iterator[Text]:
    from run_kfp.lines import Text

    width = width or max(map(len, rows))
    for word, meaning in rows.items():
        yield Text.assemble("  ", (f"{word:<{width}}", "cyan"), f"  {meaning.rstrip('.')}")


def _pairs(rows: Mapping[str, str], *, width: int) -> Iterator[Text]:
    """Two commands a line, each with the beginning of what it does."""
    from run_kfp.lines import Text

    room = 44 - width

    def brief(meaning: str) -> str:
        words = re.split(r"[;:.]( |$)", meaning)[0]
        words = words if len(words) <= room else words.partition(",")[0]
        return words if len(words) <= room else f"{words[: room - 1].rstrip()}…"

    cells = [
        Text.assemble((f"{name:<{width}}", "cyan"), f"  {brief(meaning):<{room}}") for name, meaning in rows.items()
    ]
    for left, right in itertools.zip_longest(cells[::2], cells[1::2], fillvalue=Text("")):
        line = Text.assemble("  ", left, "  ", right)
        line.rstrip()
        yield line


def _spelled(param: Any) -> str:
    short, *rest = sorted(param.opts, key=len)
    metavar = f" {param.metavar}" if param.metavar else ""
    return f"{short}, {rest[0]}{metavar}" if rest else f"    {short}{metavar}"


def _first_sentence(text: str) -> str:
    return text.partition(". ")[0]
