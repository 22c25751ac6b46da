"""What is printed, and where: results on stdout, words on stderr; the one place that writes to the two.

Every text passes the masking function, and then `visible`: a terminal obeys nothing that comes from elsewhere. What
other code prints while a command runs passes both as well.

A command says its result as lines for a person and as data for a program; the writer of the format that was asked for
takes what is its own.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property, partial
from itertools import pairwise
from typing import IO, TYPE_CHECKING, Any, NoReturn, TextIO, TypeAlias, cast

from run_kfp.errors import InputError, RunKfpError
from run_kfp.visible import visible, visible_but_colour, visible_line

# Imported by the function that needs it: a help screen needs none of it.
if TYPE_CHECKING:
    from _typeshed import ReadableBuffer
    from rich.console import Console

    from run_kfp.inplace import InPlace
    from run_kfp.lines import Space, Text
    from run_kfp.masking import Masker

# What the live view draws of a moment, in the room that there is.
Draw: TypeAlias = "Callable[[datetime, Space], Iterable[Text]]"


class Format(StrEnum):
    """The form of a result."""

    TEXT = "text"
    JSON = "json"
    GITHUB = "github"
    SARIF = "sarif"
    JUNIT = "junit"

    @classmethod
    def asked_for(cls, argv: Sequence[str]) -> Format:
        """Guess it from a command line that cannot be parsed, whose error is told in that form all the same."""
        words = " ".join(argv).replace("=", " ").split()
        asked = [after for word, after in pairwise(words) if word == "--format" and after in list(cls)]
        return cls(asked[-1]) if asked else cls.JSON if "--json" in argv else cls.TEXT


class TextWriter:
    """Lines, at once: a result for a person or a shell, which has no use for data."""

    in_steps = False
    """Whether events are printed while something goes on."""

    takes_data = False
    """Whether data is printed at all."""

    def text(self, write: Callable[[], None]) -> None:
        """Take lines for a person: `write` prints them."""
        write()

    def data(self, more: Mapping[str, Any]) -> None:
        """Take a part of the data."""

    def events(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Take what just happened."""

    def finish(self) -> None:
        """Print what is left to print, at the end of the program."""


class JsonWriter(TextWriter):
    """One object at the end; after events, which are objects on lines of their own, it is the last of the lines."""

    in_steps = True
    takes_data = True

    def __init__(self, screen: Screen) -> None:
        self._print = screen.print_json
        self._result: dict[str, Any] = {}
        self._in_lines = False

    def text(self, write: Callable[[], None]) -> None:
        """Leave out what the data says."""

    def data(self, more: Mapping[str, Any]) -> None:
        """Add to the one object."""
        self._result |= more

    def events(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Print an object for each, at once."""
        self._in_lines = True
        self._print(*events, indent=None)

    def finish(self) -> None:
        """Print the one object."""
        if self._result and self._in_lines:
            self._print({"event": "end", **self._result}, indent=None)
        elif self._result:
            self._print(self._result, indent=2)


class ReportWriter(TextWriter):
    """The data of a check, at the end, in a form of another program."""

    takes_data = True

    def __init__(self, screen: Screen, form: str) -> None:
        self._print = screen.print_report
        self._form = form
        self._result: dict[str, Any] = {}

    def text(self, write: Callable[[], None]) -> None:
        """Leave out what the data says."""

    def data(self, more: Mapping[str, Any]) -> None:
        """Add to the data."""
        self._result |= more

    def finish(self) -> None:
        """Print it."""
        if self._result:
            self._print(self._result, self._form)


_WRITERS: Mapping[Format, Callable[[Screen], TextWriter]] = {
    Format.TEXT: lambda _: TextWriter(),
    Format.JSON: JsonWriter,
    **{form: partial(ReportWriter, form=form) for form in Format if form not in (Format.TEXT, Format.JSON)},
}


class Screen:
    """What is printed, and where: results on stdout, words on stderr, both masked and visible."""

    def __init__(self) -> None:
        self.debug = False
        self._streams = {False: sys.stdout or _closed(), True: sys.stderr or _closed()}
        self.use(Format.TEXT)
        self._unwritten: OSError | None = None
        self._consoles: dict[bool, Console] = {}
        self._view: InPlace | None = None
        self._begun = {False: "", True: ""}

    def use(self, format: Format) -> None:
        """Print the result in this form."""
        self._writer = _WRITERS[format](self)

    @cached_property
    def masker(self) -> Masker:
        """What hides the secrets that the call has read."""
        from run_kfp.masking import Masker

        return Masker()

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Let what other code prints meanwhile, and what is written to `sys.stdout`, pass here too."""
        out, err = (
            _Guard.stream(stream, partial(self._pass_on, stderr=stderr)) for stderr, stream in self._streams.items()
        )
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            yield

    def _pass_on(self, text: str, *, stderr: bool) -> None:
        if self._view is not None:
            # The picture begins a line of its own: the beginning of one waits for its end.
            lines, end, begun = (self._begun[stderr] + text).rpartition("\n")
            self._begun[stderr] = begun
            text = lines + end
        if text:
            self._print_foreign(text, stderr=stderr)

    def _print_foreign(self, text: str, *, stderr: bool) -> None:
        # Until a secret is read there is nothing to mask, and a help screen does without the module.
        text = self.masker.mask(text) if "masker" in vars(self) else text
        text = visible_but_colour(text) if "\x1b" in text and self._in_colour(stderr=stderr) else visible(text)
        self._put(lambda: self._write(text, end="", stderr=stderr), stderr=stderr)

    def out(self, text: str) -> None:
        """Print a result."""
        self._result(lambda: self._write(visible(self.masker.mask(text))))

    def logs(self, lines: Iterable[tuple[str, str]], *, stderr: bool = False) -> None:
        """Print lines of containers, with their colours where a person sees them.

        Args:
            lines: what stands in front of each, and the line, which was masked when its log was written: to search a
                log of 100 MB once more would take a third of the time of its run.
            stderr: whether they are words, and not the result.
        """

        def write() -> None:
            colour = self._in_colour(stderr=stderr)
            fronts: dict[str, str] = {}
            shown: list[str] = []
            for front, text in lines:
                if front not in fronts:
                    fronts[front] = visible(self.masker.mask(front))
                shown.append(fronts[front] + visible_line(text, colour=colour))
            if shown:
                self._write("\n".join(shown), stderr=stderr)

        self._writer.text(lambda: self._put(write, stderr=stderr))

    def raw(self, text: str) -> None:
        """Print a file that the program made, in ASCII: what goes to stdout and to a file are the same bytes."""

        def write() -> None:
            stream = self._streams[False]
            stream.flush()
            stream.buffer.write(text.encode("utf-8"))
            stream.buffer.flush()

        self._result(write)

    def _write(self, text: str, *, end: str = "\n", stderr: bool = False) -> None:
        print(text, end=end, file=self._streams[stderr], flush=True)

    def show(self, lines: Iterable[Text]) -> None:
        """Print a result that is made for a person."""
        self._writer.text(lambda: self.page(lines))

    def page(self, lines: Iterable[str | Text]) -> None:
        """Print lines to stdout in every format: a help screen."""
        self._print(lines, stderr=False)

    def data(self, **more: Any) -> None:
        """Add to the data of the result."""
        self._writer.data(more)

    @property
    def takes_data(self) -> bool:
        """Whether `data` is printed; what costs time to find out is left out where it is not."""
        return self._writer.takes_data

    def event(self, kind: str, **more: Any) -> None:
        """Tell a program what just happened."""
        self._writer.events([{"event": kind, **more}])

    def events(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Tell a program several things that happened, each with its kind as `event`."""
        self._writer.events(events)

    def progress(self, *lines: str | Text) -> None:
        """Print words on what goes on, where no event tells it."""
        self._writer.text(lambda: self.say(*lines))

    def leave(self, code: int) -> NoReturn:
        """End the program at once, without another word: a stream that is stuck holds every other way out."""
        os._exit(code)

    def finish(self, code: int) -> int:
        """Print what `data` gathered; return the exit code of the call.

        It is `code`, but for a result that could not be written: then a success is none.
        """
        self._writer.finish()
        if self._unwritten is not None:
            self.say(f"error: the result could not be written: {self._unwritten.strerror}")
            return code or RunKfpError.exit_code
        return code

    def print_json(self, *objects: Mapping[str, Any], indent: int | None) -> None:
        """Print objects; every string in them is masked."""
        import json

        masked = self.masker.mask_all(objects)
        text = "\n".join([json.dumps(one, indent=indent, ensure_ascii=True) for one in masked])
        # The escapes of JSON leave one character that a terminal may obey.
        self._put(lambda: self._write(text.replace("\x7f", "\\u007f")), stderr=False)

    def print_report(self, data: Mapping[str, Any], form: str) -> None:
        """Print the data of a check in a form of `formats`; every string in it is masked."""
        from run_kfp.formats import RENDERERS

        text = visible(RENDERERS[form](self.masker.mask_all(data)))
        self._put(lambda: self._write(text), stderr=False)

    def _result(self, write: Callable[[], None]) -> None:
        self._writer.text(lambda: self._put(write, stderr=False))

    def width(self, *, stderr: bool = False) -> int | None:
        """Return the columns of the terminal on which a person sees the results (or the words), None without one."""
        console = self._console(stderr=stderr)
        return console.width if console.is_terminal else None

    def say(self, *lines: str | Text) -> None:
        """Print words."""
        self._print(lines, stderr=True)

    def agree(self, question: str) -> bool:
        """Ask the user; only y and yes are a yes.

        Raises:
            InputError: nobody can be asked: input or the words are no terminal.
        """
        if not (sys.stdin and sys.stdin.isatty() and sys.stderr and sys.stderr.isatty()):
            raise InputError(
                "your consent is needed, and there is not a terminal to ask on",
                "pass --yes to agree to what is shown",
            )
        self.say(f"{question} [y/N]")
        return sys.stdin.readline().strip().lower() in ("y", "yes")

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

        def write() -> None:
            for line in lines:
                console.print(self.masked(line), soft_wrap=True, highlight=False)

        self._put(write, stderr=stderr)

    def _put(self, write: Callable[[], None], *, stderr: bool) -> None:
        """Write; where nobody reads any more, or nothing can be written, the work goes on all the same.

        A run that was made is made, and its end is told by the exit code, whoever has closed a pipe.
        """
        try:
            with self._view.above() if self._view is not None else contextlib.nullcontext():
                write()
        except (OSError, ValueError) as error:  # ValueError: the stream is closed
            silence(self._streams[stderr])
            if not stderr and not isinstance(error, BrokenPipeError):
                self._unwritten = error if isinstance(error, OSError) else OSError(9, "it is closed")

    def masked(self, line: str | Text) -> Text:
        """Mask a line; a styled one that holds a secret loses its styles, since they may cut it into pieces."""
        from run_kfp.lines import Text

        if isinstance(line, str):
            return Text(self.masker.mask(line))
        masked = self.masker.mask(line.plain)
        return line if masked == line.plain else Text(masked)

    def _in_colour(self, *, stderr: bool) -> bool:
        console = self._console(stderr=stderr)
        return console.is_terminal and not console.no_color and console.color_system is not None

    def _console(self, *, stderr: bool = True) -> Console:
        if stderr in self._consoles:
            return self._consoles[stderr]
        from rich.console import Console

        class Steady(Console):
            """A console that goes on in silence where Rich would end the program."""

            def on_broken_pipe(self) -> None:
                silence(self.file)

        return self._consoles.setdefault(stderr, Steady(file=self._streams[stderr]))

    @contextmanager
    def live(self, *, events: bool = False) -> Iterator[Callable[[Draw], None] | None]:
        """Yield a function that takes what to draw in place, again and again; None where there is no terminal.

        Args:
            events: whether `event` is called meanwhile: a format that prints them has no view beside them.
        """
        console = self._console()
        if not console.is_terminal or console.is_dumb_terminal or (events and self._writer.in_steps):
            yield None
            return
        from run_kfp.inplace import InPlace

        latest: list[Draw] = [lambda now, space: ()]

        def render(space: Space) -> Iterable[Text]:
            return (self.masked(line) for line in latest[0](datetime.now(UTC), space))

        with InPlace(console, render) as view:

            def show(draw: Draw) -> None:
                latest[0] = draw
                view.update()

            self._view = view
            try:
                yield show
            finally:
                for stderr, begun in self._begun.items():
                    self._pass_on("\n" if begun else "", stderr=stderr)
                self._view = None


class _Guard(io.BufferedIOBase):
    """What is below a stream that other code prints to, instead of the one that it stands for."""

    def __init__(self, stream: TextIO, pass_on: Callable[[str], None]) -> None:
        self._pass_on = pass_on
        # A stream of text alone has no encoding.
        self._decoder = codecs.getincrementaldecoder(stream.encoding or "utf-8")(stream.errors or "strict")
        self._stream = stream

    @classmethod
    def stream(cls, stream: TextIO, pass_on: Callable[[str], None]) -> TextIO:
        """Return a stream with all that code may expect of `stream`, whose texts are passed on at once."""
        guard = cls(stream, pass_on)
        return io.TextIOWrapper(
            cast("io.BufferedWriter", guard), stream.encoding or "utf-8", stream.errors, newline="", write_through=True
        )

    def write(self, data: ReadableBuffer) -> int:
        """Take bytes, which are printed at once."""
        self._pass_on(self._decoder.decode(bytes(data)))
        return memoryview(data).nbytes

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return that of the stream that it stands for."""
        return self._stream.fileno()

    def isatty(self) -> bool:
        """Return whether that is a terminal."""
        return not self._stream.closed and self._stream.isatty()


def _closed() -> TextIO:
    """Return what stands for a stream that was closed before the program began: what is written to it fails."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    stream.close()
    return stream


def silence(stream: IO[str]) -> None:
    """Let a stream that failed lead nowhere, so that what its buffer still holds does no harm at the end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
