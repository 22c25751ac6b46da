"""The screen of `run-kfp --help`: what the program is, four examples, the commands, the flags of a first day."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from run_kfp.flags import FIRST_DAY

# A help screen imports Rich when it is printed.
if TYPE_CHECKING:
    from rich.text import Text

_EXAMPLES = {
    "run-kfp -r 1 -r 2 -r 3 -r 4 -t dataset_v22": "chain four containers, submit",
    "run-kfp -r 1-4 -t dataset_v22 --local": "run the same pipeline on this machine",
    "run-kfp -f pipeline.yaml -t dataset_v22 --wait": "submit a compiled file, follow the run",
    "run-kfp check -r 1-4 -t dataset_v22": "check a run without submitting it",
}

_EXIT_CODES = (
    "0 done, 1 internal error, 2 invalid call, 3 check failed, 4 Vertex AI or Docker refused,",
    "5 the run failed, 6 canceled or paused, 7 stopped waiting, 130 Ctrl-C",
)


def overview(commands: Mapping[str, Any]) -> Iterator[Text]:
    """Return the lines of the screen: 40 at most, of 100 columns at most.

    Args:
        commands: of the program, by name; their panels are the groups, in the order in which they come.
    """
    from rich.text import Text

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
        yield from _rows(rows, width=max(map(len, commands)))
    run = {param.name: param for param in commands["run"].params}
    yield Text("\nFlags of a first day", "bold")
    yield from _rows({_spelled(run[name]): _first_sentence(run[name].help or "") for name in FIRST_DAY})
    yield Text.assemble("\nAll flags: ", ("run-kfp run --help", "bold"), "; of a command: run-kfp COMMAND --help")
    yield Text(f"Exit codes: {_EXIT_CODES[0]}")
    yield Text(f"            {_EXIT_CODES[1]}")


def _rows(rows: Mapping[str, str], *, width: int = 0) -> Iterator[Text]:
    from rich.text import Text

    width = width or max(map(len, rows))
    for word, meaning in rows.items():
        yield Text.assemble("  ", (f"{word:<{width}}", "cyan"), f"  {meaning.rstrip('.')}")


def _spelled(param: Any) -> str:
    short, *rest = sorted(param.opts, key=len)
    metavar = f" {param.metavar}" if param.metavar else ""
    return f"{short}, {rest[0]}{metavar}" if rest else f"    {short}{metavar}"


def _first_sentence(text: str) -> str:
    return text.partition(". ")[0]
