"""Where a place stands in its file: the line and the column, found late and from the words of the place alone.

A place is text, as a finding has it: `run-kfp.toml: containers.1.image`, `pipeline.yaml: root.dag.tasks.train`,
`.env GCP_REGION`, `run-kfp.toml: line 4`, a file by itself. Whoever wants a position reads the file once more; nobody
else pays for it.
"""

from __future__ import annotations

import functools
import io
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from run_kfp.errors import InputError
from run_kfp.files import read_text

if TYPE_CHECKING:
    from tree_sitter import Node


@dataclass(frozen=True)
class Position:
    """A file, as the place names it, and where in it, both from 1.

    A column counts characters (code points); a byte order mark is none of them.
    """

    file: str
    line: int
    column: int


class _Part(Protocol):
    """A key, an element or a table of a file: where it begins, and what it holds by the words of a place."""

    @property
    def start(self) -> tuple[int, int]: ...

    @property
    def parts(self) -> Mapping[str, _Part]: ...


class Places:
    """Finds positions; every file is read and parsed once."""

    def __init__(self, registry: str | None = None) -> None:
        """Take the name of the registry file: some places are keys of it, without its name (`secrets.git_login`)."""
        self._registry = registry
        self._parsed: dict[tuple[str, Callable[[str], _Part]], _Part | None] = {}

    def position(self, place: str) -> Position | None:
        """Return where a place stands: its key, or the nearest table of it that is there.

        None for what is in no file that can be read again: a flag, a variable of the environment, a pipe.
        """
        if _is_file(place):
            return Position(place, 1, 1)
        for file, rest, parse in self._readings(place):
            if (line := re.match(r"line ([0-9]+)\b", rest)) and _is_file(file):
                return Position(file, int(line[1]), 1)
            root = self._part(file, parse)
            if root is not None:
                return Position(file, *_nearest(root, rest).start)
        return None

    def _readings(self, place: str) -> Iterator[tuple[str, str, Callable[[str], _Part]]]:
        """Yield what a place may mean: a file, the words within, and the parser of the file."""
        for colon in re.finditer(": ", place):
            file = place[: colon.start()]
            yield file, place[colon.end() :], self._parser(file)
        # `environment GCP_REGION` is no file, even where there is one of this name.
        if line := re.fullmatch(r"(.+) \(([^()]+)=…\)|(\.env) ([^ ]+)", place, re.DOTALL):
            yield line[1] or line[3], line[2] or line[4], _env
        key = re.match(r"[a-z]+(?=\.)", place)
        if key and self._registry is not None:
            root = self._part(self._registry, _toml)
            if root is not None and key[0] in root.parts:
                yield self._registry, place, _toml

    def _parser(self, file: str) -> Callable[[str], _Part]:
        return _toml if file == self._registry or file.endswith(".toml") else _yaml

    def _part(self, file: str, parse: Callable[[str], _Part]) -> _Part | None:
        if (file, parse) not in self._parsed:
            self._parsed[file, parse] = _read(file, parse)
        return self._parsed[file, parse]


def _is_file(name: str) -> bool:
    """Say whether it is a file that can be read twice: no pipe, no device."""
    try:
        return Path(name).is_file()
    except (OSError, ValueError):  # a name that is too long, or holds NUL
        return False


def _read(file: str, parse: Callable[[str], _Part]) -> _Part | None:
    try:
        text = read_text(Path(file), file) if _is_file(file) else None
    except InputError:  # it is told by whoever read it first
        return None
    return None if text is None else parse(text)


def _nearest(part: _Part, words: str) -> _Part:
    """Go down by the words of a place, `a.b[3].c`, as far as they lead; a key may hold dots itself."""
    words = re.sub(r"\[([0-9]+)\]", r".\1", words)
    while words:
        keys = [key for key in _beginnings(words) if key in part.parts]
        if not keys:
            break
        part, words = part.parts[keys[-1]], words[len(keys[-1]) + 1 :]
    return part


def _beginnings(words: str) -> list[str]:
    """Return the words to each dot, the shortest first, and the whole."""
    return [words[: dot.start()] for dot in re.finditer(r"\.", words)] + [words]


# ── TOML ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class _Key:
    """A part of a TOML or env file; of an array of tables, its elements are `parts` under their numbers."""

    start: tuple[int, int] = (1, 1)
    parts: dict[str, _Key] = field(default_factory=dict)
    repeated: bool = False


def _toml(text: str) -> _Key:
    import tree_sitter
    import tree_sitter_toml

    source = f"{text}\n".encode()  # its grammar wants the end of the last line
    lines = source.split(b"\n")

    def start(node: Node) -> tuple[int, int]:
        row, column = node.start_point  # the column is one of bytes
        return row + 1, len(lines[row][:column].decode(errors="replace")) + 1

    def child(key: _Key, node: Node) -> _Key:
        """Return the part that a key of one or more words names, made where it is not there yet."""
        for word in _words(node):
            key = key.parts.setdefault(_unquoted(word), _Key(start(word)))
            if key.repeated:
                key = list(key.parts.values())[-1]
        return key

    def pair(key: _Key, node: Node) -> None:
        if len(node.named_children) >= 2:  # one that is not finished has no value
            name, value = node.named_children[0], node.named_children[-1]
            fill(child(key, name), value)

    def fill(key: _Key, node: Node) -> None:
        """Take in what a value holds."""
        inner = [each for each in node.named_children if each.type != "comment"]
        if node.type == "array":
            for number, element in enumerate(inner):
                key.parts[str(number)] = _Key(start(element))
                fill(key.parts[str(number)], element)
        elif node.type == "inline_table":
            pairs(key, inner)

    def pairs(key: _Key, nodes: Sequence[Node]) -> None:
        for node in nodes:
            if node.type == "pair":
                pair(key, node)

    def element(key: _Key, node: Node) -> _Key:
        """Return a new element of the array of tables that a key names."""
        *above, last = _words(node)
        for word in above:
            key = child(key, word)
        array = key.parts.setdefault(_unquoted(last), _Key(start(last)))
        array.repeated = True
        return array.parts.setdefault(str(len(array.parts)), _Key(start(last)))

    root = _Key()
    tree = tree_sitter.Parser(tree_sitter.Language(tree_sitter_toml.language())).parse(source)
    pairs(root, tree.root_node.named_children)
    for table in tree.root_node.named_children:
        if table.type in ("table", "table_array_element") and table.named_children:
            open_ = child if table.type == "table" else element
            pairs(open_(root, table.named_children[0]), table.named_children[1:])
    return root


def _words(node: Node) -> list[Node]:
    """Return the words of a key: `a."b.c"` has two."""
    if node.type != "dotted_key":
        return [node]
    return [word for each in node.named_children for word in _words(each)]


def _unquoted(node: Node) -> str:
    text = (node.text or b"").decode(errors="replace")
    if node.type != "quoted_key":
        return text
    try:
        return next(iter(tomllib.loads(f"{text} = 0")))
    except tomllib.TOMLDecodeError:
        return text


# ── YAML, and JSON with it ───────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _YamlPart:
    """A node of a YAML document; what it holds is looked at when it is asked for, since aliases may make a circle.

    `behind` are the documents behind the first one: a place may be in the settings of a platform there.
    """

    start: tuple[int, int]
    node: Any
    behind: tuple[Any, ...] = ()

    @functools.cached_property
    def parts(self) -> dict[str, _YamlPart]:
        import yaml

        more: dict[str, _YamlPart] = {}
        for node in self.behind:
            more |= _YamlPart(self.start, node).parts
        if more:
            return {**more, **_YamlPart(self.start, self.node).parts}
        if isinstance(self.node, yaml.MappingNode):
            return {str(key.value): _YamlPart(_start(key), value) for key, value in self.node.value}
        if isinstance(self.node, yaml.SequenceNode):
            return {str(number): _YamlPart(_start(item), item) for number, item in enumerate(self.node.value)}
        return {}


def _start(node: Any) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _yaml(text: str) -> _YamlPart:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        node, *behind = yaml.compose_all(text, Loader=loader)
    except (yaml.YAMLError, RecursionError, ValueError):  # it is told by whoever read it first
        return _YamlPart((1, 1), None)
    return _YamlPart((1, 1), node, tuple(behind))


# ── lines of NAME=VALUE ──────────────────────────────────────────────────────────────────────────────────────────────


def _env(text: str) -> _Key:
    from dotenv.parser import parse_stream

    root = _Key()
    for binding in parse_stream(io.StringIO(text)):
        if binding.key is not None:
            written = binding.original.string
            before = written[: len(written) - len(written.lstrip())]
            line = binding.original.line + before.count("\n")
            column = len(before.rpartition("\n")[2]) + 1
            # Of a name that is there twice the last one counts.
            root.parts[binding.key] = _Key((line, column))
    return root
