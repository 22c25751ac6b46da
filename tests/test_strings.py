"""Values arrive byte for byte: through registry, compiler and request, and through the argv of a real process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from google.cloud.aiplatform_v1.types import PipelineJob
from google.protobuf import json_format
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from conftest import Cli
from dermaid import RUNNER, SETTINGS
from fakes.vertex import FakeVertex
from run_kfp.arguments import literal_fault
from run_kfp.backends import vertex
from run_kfp.backends.vertex import Vertex
from run_kfp.errors import InputError
from run_kfp.masking import Masker
from run_kfp.pipeline import compile_pipeline
from run_kfp.plans import Inputs, find_secrets
from run_kfp.registry_file import packaged_registry_text, parse_registry
from run_kfp.settings import Layers, load_settings

# What breaks shells, YAML, TOML, JSON, templates, terminals and argument parsers.
WORST = [
    "",
    " ",
    "  two  spaces  ",
    "\t",
    "\n",
    "line\nbreak\n",
    "\r\n",
    "a\rb",
    "'",
    '"',
    "''",
    '""',
    "it's",
    'say "hi"',
    "`id`",
    "$(id)",
    "${HOME}",
    "$HOME",
    "$1",
    "$@",
    "$$",
    "$",
    "\\",
    "\\n",
    "\\\\",
    "trailing\\",
    ";",
    "; rm -rf nothing",
    "&& echo x",
    "|| true",
    "| cat",
    "> file",
    "< file",
    "&",
    "!",
    "!!",
    "#",
    "# comment",
    "a # b",
    "*",
    "?",
    "[a-z]*",
    "{a,b}",
    "~",
    "~root",
    "-",
    "--",
    "-c",
    "-e",
    "--help",
    "-n value",
    "=",
    "a=b",
    "A=B C=D",
    "%s",
    "%(x)s",
    "%20",
    "{}",
    "{0}",
    "{{ jinja }}",
    "{{workflow.name}}",
    "{% raw %}",
    "{{channel",
    "{$",
    "<a>&amp;</a>",
    "true",
    "null",
    "~",
    "yes",
    "no",
    "on",
    "0",
    "007",
    "1e3",
    ".5",
    "0x10",
    "1_000",
    "2024-01-01",
    "12:30:45",
    "!!python/object:os.system",
    "&anchor",
    "*alias",
    "- item",
    "key: value",
    "? complex",
    "|",
    ">-",
    "@at",
    "%TAG",
    "---",
    "...",
    "é",
    "e\u0301",
    "漢字かな",
    "\U0001f642",
    "\u202eright to left",
    "\u200b",
    "\ufeff",
    "\x85",
    "\u2028",
    "\x7f",
    "\x1b[31m",
    "\x07",
    "\x01",
    "\ufffe",
    "\U0010ffff",
    "a" * 5000,
    '{"json": "object"}',
    '["Concat"]',
    '{"a": {"Concat": []}}',
    "{{$.inputs.parameters['git_login']}}",
    "{{$}}",
    "{{channel:task=x;name=y;type=String;}}",
    '{"Concat": ["a"]}',
    '{"IfPresent": {}}',
]


def toml(text: str) -> str:
    """Write any text that UTF-8 can hold as a TOML basic string."""
    quoted = "".join(f"\\U{ord(c):08x}" if ord(c) < 32 or c in '"\\' or ord(c) == 127 else c for c in text)
    return f'"{quoted}"'


def substituted(args: list[str], values: Mapping[str, object]) -> list[str]:
    """Do what a backend does with the arguments of a container: replace each placeholder, once."""
    placeholders = {f"{{{{$.inputs.parameters['{name}']}}}}": str(value) for name, value in values.items()}
    done = []
    for argument in args:
        for placeholder, value in placeholders.items():
            if placeholder in argument:
                argument = value.join(argument.split(placeholder))
                break
        done.append(argument)
    return done


text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
nasty = st.one_of(st.sampled_from(WORST), text, st.builds(str.__add__, st.sampled_from(WORST), text))
literal = nasty.filter(lambda value: literal_fault(value) is None)
tag = nasty.filter(bool)


@dataclass(frozen=True)
class Way:
    """From a registry to the request, in this process, by the unpatched SDK and a real connection."""

    vertex: FakeVertex
    backend: Vertex

    def request(self, registry_text: str, given_params: Mapping[str, str], tag: str) -> PipelineJob:
        registry = parse_registry(registry_text, source="run-kfp.toml", folder=Path())
        pipeline = compile_pipeline(registry, registry.select(["1"]), fixed={})
        layers = Layers({}, {}, {})
        settings_ = self.backend._settings
        finder = find_secrets(layers, registry, Masker(), None, [])
        run = vertex.plan(pipeline, Inputs(settings_, registry, layers, finder, given_params, tag))
        self.backend.submit(run)
        (create,) = self.vertex.creates[-1:]
        return create.pipeline_job


@pytest.fixture
def way(vertex: FakeVertex, account_key_file: Path, monkeypatch: pytest.MonkeyPatch) -> Way:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(account_key_file))
    flags = {
        "project": "test-project",
        "region": "us-east1",
        "bucket": "test-bucket",
        "service_account": RUNNER,
        "api_endpoint": vertex.endpoint,
    }
    section = parse_registry(packaged_registry_text(), source="", folder=Path()).settings
    loaded, typed, ambient = load_settings(Layers(flags, {}, {}), section, registry_source="")
    assert not typed
    assert not ambient
    return Way(vertex, Vertex(loaded, notify=lambda words: pytest.fail(words)))


@settings(
    max_examples=1000,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much, HealthCheck.too_slow],
)
@given(
    literals=st.lists(literal, min_size=1, max_size=4),
    prefix=literal,
    variable=literal.filter(lambda value: literal_fault(value, in_env=True) is None),
    tag=tag,
    param=nasty,
)
@example(literals=["-c"], prefix="", variable="", tag="{{$.inputs.parameters['other']}}", param='{"Concat": []}')
def test_strings_arrive_in_the_request_unchanged(
    way: Way, literals: list[str], prefix: str, variable: str, tag: str, param: str
) -> None:
    registry = (
        '[containers.1]\nname = "one"\nimage = "alpine"\n'
        f"args = [{', '.join(map(toml, literals))}, {{ param = 'tag' }}, "
        f"{{ param = 'other', prefix = {toml(prefix)} }}]\n"
        f"env = {{ VARIABLE = {toml(variable)} }}\n"
        "[params.other]\n"
    )

    job = way.request(registry, {"other": param}, tag)

    message = PipelineJob.pb(job)
    values = {name: value.string_value for name, value in message.runtime_config.parameter_values.items()}
    assert values == {"tag": tag, "other": param}
    spec: Any = json_format.MessageToDict(message.pipeline_spec)
    container = spec["deploymentSpec"]["executors"]["exec-one"]["container"]
    assert substituted(container["args"], values) == [*literals, tag, prefix + param]
    # JSON of protobuf leaves out an empty string; absent and empty are one.
    assert [{"value": "", **entry} for entry in container["env"]] == [{"name": "VARIABLE", "value": variable}]


# Stands in for pipenv: writes the variables asked for, and its arguments, as they arrived.
STUB = f"""#!{sys.executable} -IS
import json, os, sys
names = ["GCS_BUCKET_NAME", "WHYLABS_DEFAULT_ORG_ID", "WHYLABS_API_KEY", "WHYLABS_DEFAULT_DATASET_ID"]
seen = {{"args": sys.argv[1:], "env": {{name: os.environ[name] for name in names if name in os.environ}}}}
json.dump(seen, open(os.environ["SEEN"], "w"))
"""


@pytest.mark.parametrize(
    ("index", "program", "variables"),
    [
        ("1", "get_data.py", {"GCS_BUCKET_NAME": "bucket"}),
        (
            "2",
            "preprocess_data.py",
            {
                "GCS_BUCKET_NAME": "bucket",
                "WHYLABS_DEFAULT_ORG_ID": "whylabs_org_id",
                "WHYLABS_API_KEY": "whylabs_api_key",
                "WHYLABS_DEFAULT_DATASET_ID": "whylabs_dataset_id",
            },
        ),
    ],
)
def test_the_shell_lines_hand_over_the_worst(
    tmp_path: Path, index: str, program: str, variables: Mapping[str, str]
) -> None:
    """The image's ENTRYPOINT /bin/bash with the packaged arguments, as a real process."""
    bash = shutil.which("bash")
    assert bash, "bash is the ENTRYPOINT of these images: install it to run this test"
    pipenv = tmp_path / "bin" / "pipenv"
    pipenv.parent.mkdir()
    pipenv.write_text(STUB)
    pipenv.chmod(0o755)
    registry = parse_registry(packaged_registry_text(), source="", folder=Path())
    pipeline = compile_pipeline(registry, registry.select([index]), fixed={})
    ((executor),) = pipeline.spec["deploymentSpec"]["executors"].values()
    assert "command" not in executor["container"]
    for number, worst in enumerate(WORST[:100]):
        seen = tmp_path / f"seen-{number}"
        # Each value another one, so that none can stand in for its neighbour.
        values = {name: worst + "|" * place for place, name in enumerate(variables.values())}
        arguments = substituted(executor["container"]["args"], values)
        path = f"{pipenv.parent}{os.pathsep}{os.environ['PATH']}"
        subprocess.run([bash, *arguments], env={"PATH": path, "SEEN": str(seen)}, cwd=tmp_path, check=True)
        arrived = json.loads(seen.read_text())
        assert arrived == {
            "args": ["run", "python", program],
            "env": {variable: values[name] for variable, name in variables.items()},
        }


def test_values_of_the_command_line_stand_in_the_plan(cli: Cli, folder: Path) -> None:
    params = "".join(f"[params.p{number}]\n" for number in range(len(WORST)))
    args = ", ".join(f'{{ param = "p{number}" }}' for number in range(len(WORST)))
    (folder / "run-kfp.toml").write_text(f'[containers.1]\nname = "one"\nimage = "x"\nargs = [{args}]\n{params}')
    given_ = [word for number, value in enumerate(WORST) for word in ("-p", f"p{number}={value}")]

    result = cli("-r", "1", *given_, "--dry-run", "--json", **SETTINGS)

    assert result.code == 0, result.err
    planned = result.json["parameter_values"]
    assert [planned[f"p{number}"]["value"] for number in range(len(WORST))] == WORST


def test_bytes_that_are_no_text_are_refused(cli: Cli, folder: Path) -> None:
    (folder / "run-kfp.toml").write_text('[containers.1]\nname = "one"\nimage = "x"\nargs = [{ param = "tag" }]\n')

    result = cli("-r", "1", "-t", "v\udcff1", "--dry-run", **SETTINGS)

    assert result.code == 2
    assert "not valid UTF-8" in result.err


@pytest.mark.parametrize("value", [value for value in WORST if literal_fault(value)])
def test_a_literal_that_a_backend_would_expand_is_refused(value: str) -> None:
    with pytest.raises(InputError):
        parse_registry(f'[containers.1]\nname = "a"\nimage = "x"\nargs = [{toml(value)}]\n', source="r", folder=Path())
