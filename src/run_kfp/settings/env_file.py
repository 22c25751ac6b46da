"""Files of `NAME=VALUE` lines."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

from run_kfp.errors import InputError
from run_kfp.files import read_text
from run_kfp.findings import Finding

if TYPE_CHECKING:
    from dotenv.parser import Reader

ENV_FILE = ".env"

_REST_OF_LINE, _COMMENT = re.compile(r"([^\r\n]*)"), re.compile(r"\s#")


def read_env_file(path: Path, faults: list[Finding] | None = None) -> dict[str, str]:
    """Read a file of `NAME=VALUE` lines as python-dotenv does, without interpolation.

    Args:
        path: the file.
        faults: takes what is wrong with it, and the rest is read all the same; None to raise it.

    Returns:
        An empty mapping when the file does not exist.

    Raises:
        InputError: the file cannot be read, or holds lines of another form; all are named by number, none is quoted.
    """
    # python-dotenv's own parser: `dotenv_values` passes over a line it cannot read with a log message.
    from dotenv import parser

    parser.parse_unquoted_value = _unquoted_value
    found: list[Finding] = []
    values: dict[str, str] = {}
    try:
        text = read_text(path, str(path)) or ""
    except InputError as error:
        found += error.all_faults
        text = ""
    for binding in parser.parse_stream(io.StringIO(text)):
        if binding.error or (binding.key is not None and binding.value is None):
            written = binding.original.string
            line = binding.original.line + written[: len(written) - len(written.lstrip())].count("\n")
            words, hint, meant = _env_line(written.strip())
            place = f"{path}: line {line}"
            found.append(Finding(f"is not NAME=VALUE: {words}", hint, code="RK-ENV-FILE", place=place))
            values |= meant
        elif binding.key is not None and binding.value is not None:
            values[binding.key] = binding.value
    if found and faults is None:
        raise InputError.of(str(path), found)
    (faults if faults is not None else []).extend(found)
    return values


def _unquoted_value(reader: Reader) -> str:
    r"""Read a value as python-dotenv 1.2 does (parser.py: parse_unquoted_value), in a time that grows with its length.

    Its own pattern, `\s+#.*`, begins anew at every blank: 300 kB of them take hours.
    """
    (text,) = reader.read_regex(_REST_OF_LINE)
    comment = _COMMENT.search(text)
    return text[: comment.start() if comment else None].rstrip()


def _env_line(line: str) -> tuple[str, str, dict[str, str]]:
    """Say what is wrong with a line of an env file, what to write, and what is meant where that is certain.

    No part of it is repeated: a line without a name may be a secret.
    """
    if match := re.fullmatch(r"setx?\s+([A-Za-z_]\w*)=(\S*)", line, re.IGNORECASE):
        return "a Windows command before the name", "remove the word before the name", {match[1]: match[2]}
    if match := re.fullmatch(r"([A-Za-z_]\w*)\s*:\s*(\S*)", line):
        return "a colon instead of =", "write = between name and value", {match[1]: match[2]}
    name, equals, value = line.partition("=")
    if not equals:
        return "= is missing", "write = between name and value; start a comment with #", {}
    if re.search(r"\w\s+\w", name.strip().removeprefix("export ")):
        return "a space in the name", "use only letters, digits and _ in a name", {}
    if value.lstrip()[:1] in ("'", '"') and value.count(value.lstrip()[0]) == 1:
        return "missing closing quote", "close the quote at the end of the line, or remove it", {}
    return "invalid line", "quote values with spaces, quotes or #", {}
