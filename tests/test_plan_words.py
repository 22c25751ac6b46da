"""What becomes of parameters in a plan: their values, where each is from, and what is said of wrong ones."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from run_kfp.findings import Finding
from run_kfp.masking import Masker
from run_kfp.pipeline import CompiledPipeline, Parameter
from run_kfp.plans import Inputs, Value, fill, param_faults, param_variable
from run_kfp.registry_file import parse_registry
from run_kfp.secret_shapes import holds_token
from run_kfp.secrets import SecretFinder
from run_kfp.settings import Layers, load_settings

REGISTRY = """
[settings]
region = "us-east1"
[containers.1]
name = "step"
image = "busybox:1.36"
[params.from_env]
env = "FROM_ENV"
default = "default"
[params.by_default]
default = "default"
[params.nothing]
env = "NOTHING"
[secrets.login]
env = "LOGIN"
file = "login.txt"
[secrets.key]
env = "KEY"
env_file = "keys.env"
"""
TEXT = (
    '{"pipelineInfo": {"name": "p"}, "root": {"dag": {"tasks": {"a": {}}}}, "deploymentSpec": {"executors": {}}, '
    '"components": {"a": {}}}'
)
REG = parse_registry(REGISTRY, source="run-kfp.toml", folder=Path())


def pipeline(source: str = "p.yaml", **kinds: str) -> CompiledPipeline:
    """Return a pipeline with these parameters; a kind with a ? behind it is optional."""
    parameters = tuple(Parameter(name, kind.rstrip("?"), not kind.endswith("?")) for name, kind in kinds.items())
    return CompiledPipeline(TEXT, source, "p", "p", parameters, ())


def inputs(params: Mapping[str, str], environ: Mapping[str, str], tag: str | None) -> Inputs:
    layers = Layers({}, environ, {})
    settings, _, _ = load_settings(layers, REG.settings, registry_source=REG.source)
    finder = SecretFinder(layers, None, None, Path(), Masker())
    return Inputs(settings, REG, layers, finder, params, tag)


def words(fault: Finding) -> str:
    return f"{fault.place}: {fault.message} ({fault.code}) → {fault.hint}"


def filled(
    kinds: Mapping[str, str],
    params: Mapping[str, str] | None = None,
    tag: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> tuple[dict[str, Any], list[str]]:
    """Fill parameters of these kinds; return values with where they are from, and faults."""
    values, faults = fill(pipeline(**kinds), inputs(params or {}, environ or {}, tag))
    shown = {name: (one.value, one.source) if isinstance(one, Value) else one.place for name, one in values.items()}
    return shown, [words(fault) for fault in faults]


def test_where_values_are_from() -> None:
    kinds = dict.fromkeys(("tag", "region", "project", "from_env", "by_default", "nothing", "free"), "STRING")
    typed = {"tag": "", "region": "here", "from_env": "p"}

    assert filled(kinds, tag="v1", environ={"FROM_ENV": "e"}) == (
        {
            "tag": ("v1", "-t"),
            "region": ("us-east1", "[settings] of run-kfp.toml"),
            "from_env": ("e", "environment FROM_ENV"),
            "by_default": ("default", "default in run-kfp.toml"),
        },
        [
            "--project: project is not set (RK-SETTING-MISSING) → pass --project, set GCP_PROJECT (also in "
            ".env) or add project to [settings] of the registry",
            "-p nothing: parameter nothing has no value (RK-PARAM-MISSING) → set -p nothing=… or the variable NOTHING",
            "-p free: parameter free has no value (RK-PARAM-MISSING) → set -p free=…",
        ],
    )
    assert filled(kinds) == (
        {
            "region": ("us-east1", "[settings] of run-kfp.toml"),
            "from_env": ("default", "default in run-kfp.toml"),
            "by_default": ("default", "default in run-kfp.toml"),
        },
        [
            "-t: missing tag (RK-PARAM-MISSING) → pass -t, such as -t dataset_v22; it has no default, so "
            "that no tag is created twice by accident",
            "--project: project is not set (RK-SETTING-MISSING) → pass --project, set GCP_PROJECT (also in "
            ".env) or add project to [settings] of the registry",
            "-p nothing: parameter nothing has no value (RK-PARAM-MISSING) → set -p nothing=… or the variable NOTHING",
            "-p free: parameter free has no value (RK-PARAM-MISSING) → set -p free=…",
        ],
    )
    assert filled({"tag": "STRING"}, tag="") == (
        {},
        ["-t: -t is empty (RK-PARAM-MISSING) → set the tag: -t dataset_v22 (or -p tag= for an empty one on purpose)"],
    )
    assert filled(dict.fromkeys(typed, "STRING"), typed) == (
        {"tag": ("", "-p"), "region": ("here", "-p"), "from_env": ("p", "-p")},
        [],
    )
    assert filled({"tag": "STRING?", "free": "STRING?"}) == ({}, [])
    assert filled({"login": "STRING"}, environ={"LOGIN": "x" * 20}) == (
        {},
        [
            "environment LOGIN: secret login (environment LOGIN) is still a placeholder (RK-SECRET-VALUE) → "
            "replace it with the real value; it is not shown here"
        ],
    )
    assert filled({"login": "STRING", "key": "STRING"}) == (
        {},
        [
            "secrets.login: secret login is missing; looked in: environment LOGIN, .env LOGIN, "
            "secrets/login.txt (RK-SECRET-MISSING) → write it on the first line of secrets/login.txt",
            "secrets.key: secret key is missing; looked in: environment KEY, .env KEY, secrets/keys.env "
            "(KEY=…), keys.env (KEY=…) (RK-SECRET-MISSING) → add a line KEY=… to secrets/keys.env",
        ],
    )


def test_types_of_values() -> None:
    def of(kind: str, *texts: str) -> dict[str, Any]:
        found = {}
        for text in texts:
            values, faults = filled({"n": kind}, {"n": text})
            found[text] = values["n"][0] if values else faults[0].partition(": ")[2]
        return found

    assert of("STRING", "", "3", "a\0") == {
        "": "",
        "3": "3",
        "a\x00": "parameter n (-p) contains a NUL character, which a process argument cannot (RK-PARAM-TYPE) → ",
    }
    assert of("NUMBER_INTEGER", "3", "-1", "3.0", "x", "1e3", "1,000", "3,0", "1" * 20, "1" * 21 + ".0", "") == {
        "3": 3,
        "-1": -1,
        "3.0": "parameter n is '3.0' (-p); the pipeline takes an integer (RK-PARAM-TYPE) → write -p n=3",
        "x": "parameter n is 'x' (-p); the pipeline takes an integer (RK-PARAM-TYPE) → write an integer, "
        "such as -p n=3",
        "1e3": "parameter n is '1e3' (-p); the pipeline takes an integer (RK-PARAM-TYPE) → write -p n=1000",
        "1,000": "parameter n is '1,000' (-p); the pipeline takes an integer (RK-PARAM-TYPE) → write an "
        "integer, such as -p n=3",
        "3,0": "parameter n is '3,0' (-p); the pipeline takes an integer (RK-PARAM-TYPE) → write -p n=3",
        "11111111111111111111": 11111111111111111111,
        "111111111111111111111.0": "parameter n is '111111111111111111111.0' (-p); the pipeline takes an "
        "integer (RK-PARAM-TYPE) → write an integer, such as -p n=3",
        "": "parameter n is '' (-p); the pipeline takes an integer (RK-PARAM-TYPE) → write an integer, such as -p n=3",
    }
    assert of("NUMBER_DOUBLE", "0.5", "3", "nan", "inf", "1e400", "0,5", "50%") == {
        "0.5": 0.5,
        "3": 3.0,
        "nan": "parameter n is 'nan' (-p); the pipeline takes a number (RK-PARAM-TYPE) → write a number, "
        "such as -p n=0.5",
        "inf": "parameter n is 'inf' (-p); the pipeline takes a number (RK-PARAM-TYPE) → write a number, "
        "such as -p n=0.5",
        "1e400": "parameter n is '1e400' (-p); the pipeline takes a number (RK-PARAM-TYPE) → write a "
        "number, such as -p n=0.5",
        "0,5": "parameter n is '0,5' (-p); the pipeline takes a number (RK-PARAM-TYPE) → write -p n=0.5",
        "50%": "parameter n is '50%' (-p); the pipeline takes a number (RK-PARAM-TYPE) → write a number, "
        "such as -p n=0.5",
    }
    assert of("BOOLEAN", "true", "false", "True", "yes", "0", "x") == {
        "true": True,
        "false": False,
        "True": True,
        "yes": "parameter n is 'yes' (-p); the pipeline takes true or false (RK-PARAM-TYPE) → write -p n=true",
        "0": "parameter n is '0' (-p); the pipeline takes true or false (RK-PARAM-TYPE) → write -p n=false",
        "x": "parameter n is 'x' (-p); the pipeline takes true or false (RK-PARAM-TYPE) → write true or "
        "false, such as -p n=true",
    }
    assert of("LIST", "[1, 2]", "{}", "1, 2", "[nan]") == {
        "[1, 2]": [1, 2],
        "{}": "parameter n is '{}' (-p); the pipeline takes a JSON list (RK-PARAM-TYPE) → write a JSON "
        "list, such as -p n='[1, 2]'",
        "1, 2": "parameter n is '1, 2' (-p); the pipeline takes a JSON list (RK-PARAM-TYPE) → write -p n='[1, 2]'",
        "[nan]": "parameter n is '[nan]' (-p); the pipeline takes a JSON list (RK-PARAM-TYPE) → write a "
        "JSON list, such as -p n='[1, 2]'",
    }
    assert "a JSON list" in of("LIST", "[" * 10_000)["[" * 10_000]
    assert of("STRUCT", '{"a": 1}', "[]", "{'a': 1}", "x") == {
        '{"a": 1}': {"a": 1},
        "[]": "parameter n is '[]' (-p); the pipeline takes a JSON object (RK-PARAM-TYPE) → write a JSON "
        "object, such as -p n='{\"a\": 1}'",
        "{'a': 1}": "parameter n is \"{'a': 1}\" (-p); the pipeline takes a JSON object (RK-PARAM-TYPE) → "
        "write a JSON object, such as -p n='{\"a\": 1}'",
        "x": "parameter n is 'x' (-p); the pipeline takes a JSON object (RK-PARAM-TYPE) → write a JSON "
        "object, such as -p n='{\"a\": 1}'",
    }
    assert of("TASK_FINAL_STATUS", "x") == {
        "x": "parameter n is of type TASK_FINAL_STATUS, which cannot be passed as text (RK-PARAM-TYPE) → "
    }


def test_parameters_that_nothing_takes() -> None:
    def of(source: str, *names: str) -> list[str]:
        return [
            words(fault)
            for fault in param_faults(pipeline(source, alpha="STRING", login="STRING"), REG, dict.fromkeys(names, "x"))
        ]

    assert of("p.yaml", "alpha", "tag", "from_env", "region") == []
    assert of("p.yaml", "alhpa", "zzz", "login", "key") == [
        "-p alhpa: p.yaml has no parameter 'alhpa'; valid parameters: alpha (RK-PARAM-UNKNOWN) → did you mean 'alpha'?",
        "-p zzz: p.yaml has no parameter 'zzz'; valid parameters: alpha (RK-PARAM-UNKNOWN) → remove -p zzz=…",
        "-p login: login is a secret: -p would expose it in the shell history and the process list "
        "(RK-SECRET-TYPED) → put it where the registry looks: the variable LOGIN or login.txt in the "
        "secrets folder",
        "-p key: key is a secret: -p would expose it in the shell history and the process list "
        "(RK-SECRET-TYPED) → put it where the registry looks: the variable KEY or a line KEY=… of "
        "keys.env",
    ]
    assert of("run-kfp.toml: step", "alhpa") == [
        "-p alhpa: no selected container (step) takes 'alhpa'; valid parameters: alpha (RK-PARAM-UNKNOWN) "
        "→ did you mean 'alpha'?"
    ]


def test_a_secret_is_followed_by_other_parameters() -> None:
    kinds = {"login": "STRING", "from_env": "STRING", "tag": "STRING"}

    assert filled(kinds, tag="v1", environ={"LOGIN": "right-value-1"}) == (
        {"login": "environment LOGIN", "from_env": ("default", "default in run-kfp.toml"), "tag": ("v1", "-t")},
        [],
    )


def test_values_of_the_file_come_last_and_have_its_types() -> None:
    job = json.dumps(
        {
            "pipelineSpec": json.loads(TEXT),
            "runtimeConfig": {
                "parameterValues": {"n": 3, "m": 0.5, "on": True, "text": "x", "items": [1], "by_default": "y"}
            },
        }
    )
    kinds = {"n": "NUMBER_INTEGER", "on": "BOOLEAN", "text": "STRING", "items": "LIST", "by_default": "STRING"}
    of_file = CompiledPipeline(
        job, "job.json", "p", "p", tuple(Parameter(name, kind, True) for name, kind in kinds.items()), ()
    )

    values, faults = fill(of_file, inputs({"text": "typed"}, {}, None))
    place = "job.json: runtimeConfig"
    assert faults == []
    assert values == {
        "n": Value(3, place),
        "on": Value(True, place),
        "text": Value("typed", "-p"),
        "items": Value([1], place),
        "by_default": Value("default", "default in run-kfp.toml"),
    }
    wrong = dataclasses.replace(of_file, parameters=(Parameter("m", "NUMBER_INTEGER", True), *of_file.parameters[:1]))
    values, faults = fill(wrong, inputs({}, {}, None))
    assert values == {"n": Value(3, place)}
    assert [words(fault) for fault in faults] == [
        f"{place}: parameter m is '0.5' ({place}); the pipeline takes an integer (RK-PARAM-TYPE) → write an integer, "
        "such as 3"
    ]


def test_a_registry_that_was_not_read_lacks_no_parameter_but_the_tag() -> None:
    broken = dataclasses.replace(inputs({}, {}, None), registry=dataclasses.replace(REG, whole=False))
    _, faults = fill(pipeline(free="STRING", tag="STRING", project="STRING"), broken)

    assert [fault.place for fault in faults] == ["-t"]
    assert param_faults(pipeline(), broken.registry, {"free": "x"}) == []


TOKENS = """
[settings]
[containers.1]
name = "step"
image = "busybox:1.36"
[params.a]
env = "LOGIN"
[params.b]
env = "DB_PASSWORD"
[params.c]
env = "PLAIN"
[params.d]
default = "x"
[params.e]
[secrets.login]
env = "LOGIN"
"""


def test_a_variable_that_holds_a_secret_is_no_value() -> None:
    registry = parse_registry(TOKENS, source="r.toml", folder=Path())
    token = "_".join(["ghp", "a1B2" * 9])

    def of(name: str, environ: Mapping[str, str]) -> Any:
        found = param_variable(name, registry, Layers({}, environ, {}))
        return words(found) if isinstance(found, Finding) else found

    assert of("a", {}) is None
    assert of("a", {"LOGIN": "x"}) == (
        "environment LOGIN: parameter a would take the variable LOGIN, which holds secret login: its value is not used "
        '(RK-PARAM-SECRET) → write { secret = "login" }, or pass -p a=…'
    )
    assert of("b", {"DB_PASSWORD": "x"}) == (
        "environment DB_PASSWORD: parameter b would take the variable DB_PASSWORD, which is named like a secret: its "
        "value is not used (RK-PARAM-SECRET) → declare it as [secrets.b] instead of [params.b], or pass -p b=…"
    )
    kind = holds_token(token)
    assert kind
    assert of("c", {"PLAIN": token}) == (
        f"environment PLAIN: parameter c would take the variable PLAIN, which holds what looks like {kind}: its value "
        "is not used (RK-PARAM-SECRET) → declare it as [secrets.c] instead of [params.c], or pass -p c=…"
    )
    assert of("c", {"PLAIN": "plain"}) == ("plain", "environment PLAIN")
    assert of("d", {"d": "x"}) is None
    layers = Layers({}, {"DB_PASSWORD": "x"}, {})
    given = dataclasses.replace(inputs({}, {}, None), registry=registry, layers=layers)
    values, faults = fill(pipeline(b="STRING", d="STRING", e="STRING"), given)
    assert values == {"d": Value("x", "default in r.toml")}
    assert [fault.code for fault in faults] == ["RK-PARAM-SECRET", "RK-PARAM-MISSING"]


def test_the_number_that_is_meant_is_no_longer_than_20_characters() -> None:
    def hint(kind: str, text: str) -> str:
        (fault,) = filled({"n": kind}, {"n": text})[1]
        return fault.partition(" → ")[2]

    assert hint("NUMBER_INTEGER", f"{'1' * 15}.0000") == f"write -p n={'1' * 15}"
    assert hint("NUMBER_INTEGER", f"{'1' * 15}.00000") == "write an integer, such as -p n=3"
    assert hint("NUMBER_INTEGER", "0.5") == "write an integer, such as -p n=3"
    assert hint("NUMBER_INTEGER", " 4 2 ") == "write an integer, such as -p n=3"
    assert hint("NUMBER_DOUBLE", "1,5e3") == "write -p n=1.5e3"
    assert hint("NUMBER_DOUBLE", "1,000") == "write a number, such as -p n=0.5"
    assert hint("NUMBER_DOUBLE", "-1,000,000") == "write a number, such as -p n=0.5"
    assert hint("BOOLEAN", " ON ") == "write -p n=true"
    assert hint("BOOLEAN", "Off") == "write -p n=false"
    assert hint("LIST", "a, 1,-2.5") == "write -p n='[\"a\", 1, -2.5]'"
    assert hint("LIST", "a b") == "write a JSON list, such as -p n='[1, 2]'"
    assert hint("LIST", f"a,{'b' * 58}") == f'write -p n=\'["a", "{"b" * 58}"]\''
    assert hint("LIST", f"a,{'b' * 59}") == "write a JSON list, such as -p n='[1, 2]'"
    assert hint("STRUCT", "a,1") == "write a JSON object, such as -p n='{\"a\": 1}'"
