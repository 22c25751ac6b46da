"""Placeholders of a pipeline spec: their forms, who fills them, and what a value becomes in their place.

Their forms are those of kfp 2.17 (dsl/placeholders.py, dsl/__init__.py) and of Google's components for pipelines
(google-cloud-pipeline-components 2, placeholders.py and utils.py), which name the ones that Vertex AI alone fills.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from run_kfp.errors import did_you_mean

INPUT_PARAMETER = re.compile(r"""\.inputs\.parameters\[(?P<quote>['"])(?P<name>.+)(?P=quote)\]""")
OUTPUT_FILE = re.compile(r"""\.outputs\.parameters\[(?P<quote>['"])(?P<name>.+)(?P=quote)\]\.output_file""")

# What a run tells of itself, on every backend.
OF_RUN = frozenset(
    {
        "pipeline_job_name",
        "pipeline_job_resource_name",
        "pipeline_job_uuid",
        "pipeline_task_name",
        "pipeline_task_uuid",
        "pipeline_job_create_time_utc",
        "pipeline_job_schedule_time_utc",
        "pipeline_root",
    }
)

# What Vertex AI adds to them; the last three are empty where the job does not set them.
OF_VERTEX = frozenset(
    {
        "pipeline_google_cloud_project_id",
        "pipeline_google_cloud_location",
        "pipeline_service_account",
        "pipeline_network",
        "pipeline_encryption_key_name",
        "pipeline_persistent_resource_id",
    }
)

# The file that kfp's own Python components write their outputs into, by its two names.
EXECUTOR_FILES = frozenset({"outputs.output_file", "outputMetadataUri"})

# What a KFP server fills, and Vertex AI does not: the folder of dsl.WorkspaceConfig (kfp 2.15).
OF_KFP_SERVER = frozenset({"workspace_path"})

_IO = re.compile(r"(?P<way>inputs|outputs)\.(?P<kind>parameters|artifacts)\[")
_ESCAPED = re.compile(r"json_escape\[[0-9]\]")

# A longer name is no misspelled one.
_LONGEST_NAME = 200

# Beyond this JSON of Go has an exponent, and digits would say more than a double holds.
_MOST_DIGITS = 1e21


@dataclass(frozen=True)
class Unfilled:
    """A placeholder that nothing fills, or none but a KFP server.

    Attributes:
        text: as it stands.
        hint: the one that is meant, empty where none is near.
        of_server: whether a KFP server fills it.
    """

    text: str
    hint: str
    of_server: bool = False


def bodies(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield start, end and body of each placeholder of a text, `.inputs.parameters['tag']` or nothing for `{{$}}`.

    The shortest each, so that two in one text stay two; in a time that grows with the text.
    """
    start = text.find("{{$")
    while start >= 0 and (end := text.find("}}", start + 3)) >= 0:
        yield start, end + 2, text[start + 3 : end]
        start = text.find("{{$", end + 2)


def replaced(text: str, value_of: Callable[[str], str]) -> str:
    """Replace every placeholder of a text once, by what `value_of` makes of its body."""
    parts: list[str] = []
    behind = 0
    for start, end, body in bodies(text):
        parts += [text[behind:start], value_of(body)]
        behind = end
    return "".join((*parts, text[behind:]))


def unfilled(text: str) -> Iterator[Unfilled]:
    """Yield each placeholder of a text that Vertex AI does not fill; names of inputs and outputs are not looked at."""
    for start, end, body in bodies(text):
        name = body.removeprefix(".")
        if name in OF_KFP_SERVER and name != body:
            yield Unfilled(text[start:end], "", of_server=True)
        elif body and (name == body or not _is_filled(name)):
            yield Unfilled(text[start:end], _meant(name))


def _is_filled(name: str) -> bool:
    return bool(
        name in OF_RUN
        or name in OF_VERTEX
        or name in EXECUTOR_FILES
        or name in ("inputs", "outputs")
        or _IO.match(name)
        or _ESCAPED.fullmatch(name)
    )


def _meant(name: str) -> str:
    """Say what a name is meant to be; an empty text where nothing is near."""
    if len(name) > _LONGEST_NAME:
        return ""
    way, dot, rest = name.partition(".")
    if dot:
        kind, bracket, _ = rest.partition("[")
        if not bracket:
            return did_you_mean(name, EXECUTOR_FILES)
        pairs = [f"{one}.{other}" for one in ("inputs", "outputs") for other in ("parameters", "artifacts")]
        return did_you_mean(f"{way}.{kind}", pairs)
    return did_you_mean(name.lower(), [*sorted(OF_RUN | OF_VERTEX), "inputs", "outputs"])


def whole(value: Any) -> Any:
    """Return a value without the fraction of its whole numbers, wherever they stand in it.

    A file of kfp holds them as `3.0`, since it keeps values as doubles of JSON; KFP's driver writes `3`, and a Python
    component that declares `int` counts with it.
    """
    if isinstance(value, float) and value.is_integer() and abs(value) < _MOST_DIGITS:
        return int(value)
    if isinstance(value, list):
        return [whole(item) for item in value]
    if isinstance(value, dict):
        return {key: whole(item) for key, item in value.items()}
    return value


def as_text(value: Any) -> str:
    """Return a value as an argument: text as it stands, a number without exponent or empty fraction, else JSON."""
    if isinstance(value, str):
        return value
    value = whole(value)
    if isinstance(value, float) and value - value == 0:
        return f"{Decimal(repr(value)):f}".removesuffix(".0")
    return json.dumps(value)


def filled(value: Any, fill: Callable[[str], str]) -> Any:
    """Return a constant with every text in it filled in; keys of tables are left as they are, as kfp leaves them."""
    if isinstance(value, str):
        return fill(value)
    if isinstance(value, list):
        return [filled(item, fill) for item in value]
    if isinstance(value, dict):
        return {key: filled(item, fill) for key, item in value.items()}
    return value


def texts_of(value: Any) -> Iterator[str]:
    """Yield every text of a constant that `filled` would fill in."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for item in value if isinstance(value, list) else value.values():
            yield from texts_of(item)
