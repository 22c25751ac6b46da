"""Feed the program pipeline files, run records and registries that nobody would write: it must answer all of them.

    .venv/bin/python tests/fuzz.py [--count 20000] [--seed 1] [--kind pipelines|records|registries]

Pipeline files are generated over the messages of pipeline_spec.proto: the shape is valid, the values are hostile.
Records and registries are valid ones with up to four changes. Whatever comes, the program must not end with an
internal error (exit code 1) or an exception, take more than five seconds or more than 500 MB. The same seed makes the
same inputs; an input that fails is kept in `build/fuzz/`.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from run_kfp.cli import execute
from run_kfp.fast_imports import import_pipeline_messages

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "build" / "fuzz"

SLOW = 5.0
MOST_MEMORY = 500  # MB
HANGS = 60  # seconds after which an input is given up

SETTINGS = (
    *("--project", "a-project-1", "--region", "us-east1", "--bucket", "a-bucket-1"),
    *("--service-account", "runner@a-project-1.iam.gserviceaccount.com"),
)

# ── values ───────────────────────────────────────────────────────────────────────────────────────────────────────────

WORDS = (
    *(
        "",
        " ",
        "a",
        "step",
        "train",
        "comp-a",
        "comp-b",
        "exec-a",
        "exec-b",
        "root",
        "x" * 300,
        "é",
        "🙂",
        "\u202e",
        "\0",
    ),
    *(
        "\x1b[31m",
        "a\nb",
        "a\r\n",
        "a: b",
        "- a",
        "null",
        "true",
        "~",
        "0",
        "-1",
        "1e999",
        "nan",
        "2030-01-01",
        "<<",
        "=",
        "*a",
    ),
    *(
        "&a",
        "!!binary",
        "{{$}}",
        "{{$.inputs.parameters['a']}}",
        "{{$.inputs.parameters['a",
        "{{$" * 50,
        "{{$.pipeline_job_name}}",
    ),
    *(
        '{"IfPresent": {"InputName": "a", "Then": ["x"]}}',
        '{"IfPresent": 3}',
        '{"Concat": ["a", {"Concat": []}]}',
        '{"Concat": {}}',
    ),
    *(
        '{"Concat": [' * 60,
        "{{channel:task=;name=x;type=String;}}",
        "inputs.parameter_values['a'] == 'b'",
        "[1, 2, 3]",
        "[" * 200,
    ),
    *(
        '[{"a": 1}]',
        "gs://bucket/x",
        "/gcs/../x",
        "../../etc/passwd",
        "/dev/zero",
        "busybox:1.36",
        "a@sha256:" + "0" * 64,
        "A B:C@D",
    ),
    *(
        "us-docker.pkg.dev/p/r/i:1",
        "localhost:5000/x",
        "http://[",
        "16G",
        "500m",
        "0",
        "NVIDIA_TESLA_T4",
        "30s",
        "-1s",
        "1" * 50 + "s",
    ),
    *(
        "STRING",
        "NUMBER_INTEGER",
        "LIST",
        "system.Dataset",
        "2.1.0",
        "2.0.0",
        "kfp-2.17.0",
        "kfp-" + "9" * 30 + ".1",
        "$(id)",
        "a && b",
    ),
)
NUMBERS: tuple[Any, ...] = (
    0,
    1,
    -1,
    3,
    2**31,
    -(2**31) - 1,
    2**53,
    2**53 + 1,
    2**63,
    10**30,
    0.5,
    3.0,
    -0.0,
    1e-300,
    1e300,
    16,
)
ODD: tuple[Any, ...] = (None, True, False, [], {}, [[]], {"a": {}}, [None], {"": ""})


def any_value(rng: random.Random, depth: int = 2) -> Any:
    """Return any value of JSON."""
    kind = rng.random()
    if depth and kind < 0.15:
        return [any_value(rng, depth - 1) for _ in range(rng.randint(0, 3))]
    if depth and kind < 0.3:
        return {rng.choice(WORDS): any_value(rng, depth - 1) for _ in range(rng.randint(0, 3))}
    return rng.choice(NUMBERS) if kind < 0.5 else rng.choice(ODD) if kind < 0.6 else rng.choice(WORDS)


# ── pipeline files ───────────────────────────────────────────────────────────────────────────────────────────────────

# What a name of a map or a reference is taken from, so that some of the references lead somewhere.
NAMES = ("a", "b", "step", "train", "comp-a", "comp-b", "exec-a", "exec-b")

STRUCTS = {("PipelineSpec", "deploymentSpec"): "PipelineDeploymentConfig"}


def table_in(tree: dict[str, Any], *keys: str) -> dict[str, Any]:
    """Return the table under `keys`, one inside the other, made where there is none."""
    for key in keys:
        if not isinstance(tree.get(key), dict):
            tree[key] = {}
        tree = tree[key]
    return tree


class Pipelines:
    """Makes messages of pipeline_spec.proto as JSON."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._messages = import_pipeline_messages().message_types_by_name

    def spec(self) -> dict[str, Any]:
        """Return a pipeline spec, most of them with all that makes one."""
        made: dict[str, Any] = self._message(self._messages["PipelineSpec"], 0)
        if self._rng.random() < 0.9:
            table_in(made, "pipelineInfo").setdefault("name", "made-up")
            made.setdefault("schemaVersion", "2.1.0")
            for name in ("comp-a", "comp-b"):
                table_in(made, "components").setdefault(name, {"executorLabel": f"exec-{name[-1]}"})
            for name in ("exec-a", "exec-b"):
                executors = table_in(made, "deploymentSpec", "executors")
                executors.setdefault(name, {"container": {"image": "busybox:1.36", "command": ["true"]}})
            table_in(made, "root", "dag", "tasks").setdefault("step", {"componentRef": {"name": "comp-a"}})
        return made

    def _message(self, descriptor: Any, depth: int) -> dict[str, Any]:
        made: dict[str, Any] = {}
        chosen = {oneof.name: self._rng.choice(list(oneof.fields)).name for oneof in descriptor.oneofs}
        share = 0.75 if depth < 3 else 0.5 if depth < 7 else 0.25
        for field in descriptor.fields:
            oneof = field.containing_oneof
            if (oneof is not None and chosen[oneof.name] != field.name and self._rng.random() < 0.97) or (
                self._rng.random() > share
            ):
                continue
            key = field.json_name if self._rng.random() < 0.97 else field.name
            made[key] = (
                self._field(descriptor.name, field, depth) if self._rng.random() < 0.99 else any_value(self._rng)
            )
            if self._rng.random() < 0.002:
                made[self._rng.choice(WORDS)] = any_value(self._rng)
        return made

    def _field(self, owner: str, field: Any, depth: int) -> Any:
        inner = field.message_type
        if inner is not None and inner.GetOptions().map_entry:
            value = inner.fields_by_name["value"]
            names = [self._name() for _ in range(self._rng.choice((0, 1, 1, 2, 3)))]
            return {name: self._one(owner, value, depth) for name in names}
        if field.is_repeated:
            return [self._one(owner, field, depth) for _ in range(self._rng.choice((0, 1, 1, 2, 3)))]
        return self._one(owner, field, depth)

    def _name(self) -> str:
        return self._rng.choice(NAMES) if self._rng.random() < 0.9 else self._rng.choice(WORDS)

    def _one(self, owner: str, field: Any, depth: int) -> Any:
        inner = field.message_type
        if inner is not None:
            if (content := STRUCTS.get((owner, field.json_name))) is not None:
                return self._message(self._messages[content], depth + 1)
            match inner.full_name:
                case "google.protobuf.Value":
                    return any_value(self._rng)
                case "google.protobuf.Struct":
                    return {self._rng.choice(WORDS): any_value(self._rng) for _ in range(self._rng.randint(0, 3))}
                case "google.protobuf.Duration":
                    return self._rng.choice(("30s", "0s", "-1s", "1.5s", "315576000001s", "x"))
            return self._message(inner, depth + 1) if depth < 12 else {}
        if field.enum_type is not None:
            return self._rng.choice([value.name for value in field.enum_type.values])
        if field.type == field.TYPE_STRING:
            return self._name() if self._rng.random() < 0.5 else self._rng.choice(WORDS)
        if field.type == field.TYPE_BOOL:
            return self._rng.random() < 0.5
        return self._rng.choice(NUMBERS)


def pipeline_text(rng: random.Random) -> str:
    """Return a pipeline file; now and then with a second document or a text that is no JSON."""
    text = json.dumps(Pipelines(rng).spec(), ensure_ascii=rng.random() < 0.5, allow_nan=True)
    if rng.random() < 0.1:
        text += f"\n---\n{json.dumps({'platforms': {'kubernetes': any_value(rng)}})}"
    if rng.random() < 0.05:
        at = rng.randrange(len(text))
        text = text[:at] + rng.choice((*WORDS, "\ufeff", "\t", "%", "\u2028", "&a ", "*a ")) + text[at:]
    return text


# ── changes to what is valid ─────────────────────────────────────────────────────────────────────────────────────────


def paths(tree: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each value below `tree`."""
    items: Any = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield (*above, key)
        yield from paths(value, (*above, key))


def changed(rng: random.Random, original: Any) -> Any:
    """Return a copy with one to four values replaced, left out or moved, or keys renamed."""
    tree = copy.deepcopy(original)
    for _ in range(rng.randint(1, 4)):
        places = list(paths(tree))
        if not places:
            break
        *above, key = rng.choice(places)
        parent = tree
        for part in above:
            parent = parent[part]
        match rng.choice(("replace", "replace", "drop", "copy", "rename")):
            case "replace":
                parent[key] = any_value(rng)
            case "drop":
                del parent[key]
            case "copy":
                other = tree
                for part in rng.choice(places):
                    other = other[part]
                parent[key] = copy.deepcopy(other)
            case _ if isinstance(parent, dict):
                parent[rng.choice(WORDS)] = parent.pop(key)
    return tree


# ── run records ──────────────────────────────────────────────────────────────────────────────────────────────────────

RUN = "chain-20300101120000-abcdef"
RECORD: Mapping[str, Any] = {
    "schema": 1,
    "id": RUN,
    "ref": f"local://{RUN}",
    "pipeline": {"name": "chain", "display_name": "Chain"},
    "file": "pipeline.yaml",
    "engine": "process",
    "state": "FAILED",
    "error": "step one failed",
    "created": "2030-01-01T12:00:00Z",
    "started": "2030-01-01T12:00:01Z",
    "ended": "2030-01-01T12:01:00Z",
    "parameters": {"tag": {"value": "v1", "from": "-t"}, "key": {"secret": "key", "from": "secrets/key.txt"}},
    "warnings": ["a warning"],
    "from_run": None,
    "runner": {"pid": 1, "host": "here", "boot": "1"},
    "steps": [
        {
            "name": "one",
            "label": "One",
            "image": "a/b:1",
            "after": [],
            "resources": "4 CPU",
            "state": "FAILED",
            "started": "2030-01-01T12:00:01Z",
            "ended": "2030-01-01T12:01:00Z",
            "exit_code": 3,
            "error": "it broke",
            "warnings": [],
            "command": ["sh"],
            "args": ["-c", "x"],
            "log": "logs/one.log",
            "container": "pid 99999999 1",
            "reused_from": None,
            "outputs": {"x": [1]},
        },
        {
            "name": "two",
            "label": "Two",
            "image": "a/b:1",
            "after": ["one"],
            "resources": "",
            "state": "SKIPPED",
            "log": "logs/two.log",
        },
    ],
}


def record_text(rng: random.Random) -> str:
    """Return the text of a `run.json`."""
    text = json.dumps(changed(rng, dict(RECORD)), ensure_ascii=rng.random() < 0.5)
    if rng.random() < 0.1:
        at = rng.randrange(len(text))
        text = text[:at] + rng.choice(WORDS) + text[at:]
    return text


# ── registries ───────────────────────────────────────────────────────────────────────────────────────────────────────


def toml(value: Any) -> str:
    """Write a value as TOML; what TOML does not have (null) is left out by the caller."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return (
            "{" + ", ".join(f"{toml(str(key))} = {toml(item)}" for key, item in value.items() if item is not None) + "}"
        )
    if isinstance(value, list):
        return "[" + ", ".join(toml(item) for item in value if item is not None) + "]"
    if isinstance(value, str):
        return '"' + "".join(_escaped(character) for character in value) + '"'
    return repr(value)


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    return character if character.isprintable() else f"\\U{ord(character):08x}"


def registry_text(rng: random.Random) -> str:
    """Return a registry: the packaged one, changed."""
    import tomllib

    from run_kfp.registry_file import packaged_registry_text

    tree = changed(rng, tomllib.loads(packaged_registry_text()))
    text = "\n".join(f"{toml(str(key))} = {toml(value)}" for key, value in tree.items() if value is not None)
    if rng.random() < 0.1:
        at = rng.randrange(len(text) or 1)
        text = text[:at] + rng.choice(WORDS) + text[at:]
    return text


# ── the program ──────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Kind:
    """A kind of input: where its text goes, and what is called then."""

    file: str
    text: Callable[[random.Random], str]
    calls: Sequence[Sequence[str]]


KINDS: Mapping[str, Kind] = {
    "pipelines": Kind(
        "p.yaml",
        pipeline_text,
        (
            ("check", "-f", "p.yaml", "--offline", "--json", *SETTINGS),
            ("-f", "p.yaml", "--local", "--dry-run", "--json", *SETTINGS),
            ("-f", "p.yaml", "--dry-run", *SETTINGS),
        ),
    ),
    "records": Kind(
        f".run-kfp/runs/{RUN}/run.json",
        record_text,
        (("runs", "--json"), ("runs",), ("watch",), ("logs",), ("cancel",)),
    ),
    "registries": Kind(
        "run-kfp.toml",
        registry_text,
        (("check", "-r", "1-4", "-t", "v1", "--offline", "--json", *SETTINGS), ("list",)),
    ),
}


@dataclass(frozen=True)
class Failure:
    """What an input did to the program."""

    kind: str
    number: int
    call: Sequence[str]
    words: str


class _Hangs(BaseException):
    """An input takes for ever; no handler of the program may take it for its own."""


def _give_up(_: int, __: FrameType | None) -> None:
    raise _Hangs


def feed(kind: str, number: int, seed: int) -> list[Failure]:
    """Write an input into an empty folder and make every call of its kind there.

    Args:
        kind: a key of `KINDS`.
        number: of the input; with the seed it makes the input.
        seed: of all inputs.
    """
    shape = KINDS[kind]
    text = shape.text(random.Random(f"{seed} {kind} {number}"))
    failures: list[Failure] = []
    with tempfile.TemporaryDirectory(prefix="run-kfp-fuzz-") as folder, contextlib.chdir(folder):
        path = Path(shape.file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
        for call in shape.calls:
            if words := _said(call):
                failures.append(Failure(kind, number, call, words))
    if failures:
        KEPT.mkdir(parents=True, exist_ok=True)
        (KEPT / f"{seed}-{kind}-{number}.txt").write_text(text, encoding="utf-8", errors="surrogatepass")
    return failures


def _said(call: Sequence[str]) -> str:
    """Make a call in this process; return what is wrong with its end, or an empty text."""
    begun = time.monotonic()
    before = signal.signal(signal.SIGALRM, _give_up)
    signal.alarm(HANGS)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as err:
            code = execute(list(call))
    except _Hangs:
        return f"took more than {HANGS} s: {traceback.format_exc(limit=-6)}"
    except Exception:  # noqa: BLE001 - it is what is looked for
        return traceback.format_exc(limit=-6)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    took = time.monotonic() - begun
    if code not in (0, 2, 3, 4, 5, 6, 7):
        return f"exit code {code}: {err.getvalue()[-1500:]}"
    return f"took {took:.1f} s" if took > SLOW else ""


def memory() -> float:
    """Return the most memory that this process had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def main() -> int:
    """Feed inputs and tell what happened; return 1 where anything is wrong."""
    parser = argparse.ArgumentParser(description="Feed the program what nobody would write.")
    parser.add_argument("--count", type=int, default=20_000, help="inputs in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kind", choices=list(KINDS), action="append")
    parser.add_argument("--only", type=int, help="the number of a single input")
    options = parser.parse_args()
    kinds = options.kind or list(KINDS)
    for name in [name for name in os.environ if name not in ("PATH", "LANG")]:
        del os.environ[name]
    bad = 0
    with tempfile.TemporaryDirectory() as home:
        os.environ["HOME"] = home
        for kind in kinds:
            begun = time.monotonic()
            numbers = range(options.count // len(kinds)) if options.only is None else [options.only]
            for number in numbers:
                for failure in feed(kind, number, options.seed):
                    bad += 1
                    print(f"{kind} {number}: run-kfp {' '.join(failure.call[:4])} …: {failure.words}", flush=True)
            print(f"{len(numbers)} {kind} in {time.monotonic() - begun:.0f} s; {memory():.0f} MB", flush=True)
    print(f"{bad} of the calls failed")
    return 1 if bad or memory() > MOST_MEMORY else 0


if __name__ == "__main__":
    sys.exit(main())
