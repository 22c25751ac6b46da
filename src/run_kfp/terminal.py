"""What is printed, and where: results on stdout, words on stderr, both through the one masking function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

from run_kfp.errors import RunKfpError

# Imported by the function that needs it: a help screen needs none of it.
if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from run_kfp.masking import Masker

# What the live view draws of a moment.
Draw: TypeAlias = "Callable[[datetime], Iterable[Text]]"


class Screen:
    """What is printed, and where: results on stdout, words on stderr, both masked."""

    def __init__(self, argv: list[str]) -> None:
        # Read here too, because an error in the command line itself is told in the form that was asked for.
        self.json = "--json" in argv
        self.debug = "--debug" in argv
        self.result: dict[str, Any] = {}
        self._consoles: dict[bool, Console] = {}

    @cached_property
    def masker(self) -> Masker:
        """What hides the secrets that the call has read."""
        from run_kfp.masking import Masker

        return Masker()

    def out(self, text: str) -> None:
        """Print a result."""
        print(self.masker.mask(text), flush=True)

    def raw(self, text: str) -> None:
        """Print a file as it is: what goes to stdout and what goes to a file are the same bytes."""
        print(text, end="", flush=True)

    def data(self, **more: Any) -> None:
        """Add to the one JSON object that `--json` prints at the end."""
        self.result |= more

    def flush(self) -> None:
        """Print what `data` gathered."""
        if self.json and self.result:
            import json

            masked = {key: _masked(value, self.masker) for key, value in self.result.items()}
            print(json.dumps(masked, indent=2, ensure_ascii=True), flush=True)

    def say(self, *lines: str | Text) -> None:
        """Print words."""
        self._print(lines, stderr=True)

    def show(self, lines: Iterable[Text]) -> None:
        """Print a result that is made for a person."""
        self._print(lines, stderr=False)

    def tell(self, error: RunKfpError) -> int:
        """Print an error, with its traceback where `--debug` asks for it; return its exit code."""
        from run_kfp.screens import error_data, error_lines

        if self.debug:
            import traceback

            # No locals; the lines of code and the message are masked as everything is.
            self.say(traceback.format_exc().rstrip())
        self.say(*error_lines(error))
        self.data(error=error_data(error))
        return error.exit_code

    def _print(self, lines: Iterable[str | Text], *, stderr: bool) -> None:
        console = self._console(stderr=stderr)
        for line in lines:
            console.print(self.masked(line), soft_wrap=True, highlight=False)

    def masked(self, line: str | Text) -> Text:
        """Mask a line; a styled one that holds a secret loses its styles, since they may cut it into pieces."""
        from rich.text import Text

        plain = line if isinstance(line, str) else line.plain
        masked = self.masker.mask(plain)
        return line if isinstance(line, Text) and masked == plain else Text(masked)

    def _console(self, *, stderr: bool = True) -> Console:
        from rich.console import Console

        if stderr not in self._consoles:
            self._consoles[stderr] = Console(stderr=stderr)
        return self._consoles[stderr]

    @contextmanager
    def live(self) -> Iterator[Callable[[Draw], None] | None]:
        """Yield a function that takes what to draw in place, again and again, or None where there is no terminal."""
        console = self._console()
        if not console.is_terminal or console.is_dumb_terminal:
            yield None
            return
        from rich.console import Group
        from rich.live import Live

        latest: list[Draw] = [lambda now: ()]

        def render() -> Group:
            return Group(*(self.masked(line) for line in latest[0](datetime.now(UTC))))

        # Twice a second, so that the time of a running step moves between two looks.
        with Live(get_renderable=render, console=console, refresh_per_second=2) as view:

            def show(draw: Draw) -> None:
                latest[0] = draw
                view.refresh()

            yield show


def _masked(value: Any, masker: Masker) -> Any:
    """Mask every string of a JSON value, keys too: masking its text instead would break the escapes."""
    if isinstance(value, str):
        return masker.mask(value)
    if isinstance(value, dict):
        return {masker.mask(str(key)): _masked(item, masker) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(item, masker) for item in value]
    return value
