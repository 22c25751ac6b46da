"""Whatever stands in a registry, a compiled file or a setting: a check ends, in its own words, and shows no secret."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import sys
import tempfile
import tomllib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dermaid import SETTINGS, Canaries
from run_kfp.arguments import literal_fault
from run_kfp.cli import execute
from run_kfp.registry_file import packaged_registry_text
from run_kfp.settings import RULES
from test_canaries import found_in
from test_corpus import CORPUS
from test_strings import WORST, nasty, toml

# The same examples each time; with RUN_KFP_FUZZ_EXAMPLES=2000 many more of them.
fuzzed = settings(
    max_examples=int(os.environ.get("RUN_KFP_FUZZ_EXAMPLES", "40")),
    deadline=timedelta(seconds=20),  # a check takes a tenth of one; the machine may be busy
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)

# ── the program, in this process ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Checked:
    """What `run-kfp check --offline --json` said."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Checker:
    """Runs checks one after the other, each in a folder of its own, with a canary for each secret of the main job."""

    canaries: Canaries

    def __call__(
        self, *args: str, files: Mapping[str, str] | None = None, variables: Mapping[str, str] | None = None
    ) -> Checked:
        """Write `files` into an empty folder and check there; text that is not UTF-8 is written as it is."""
        with tempfile.TemporaryDirectory(prefix="run-kfp-fuzz-") as name, contextlib.chdir(name):
            for file, text in (files or {}).items():
                Path(file).write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
            before = dict(os.environ)
            os.environ.update(variables or {})
            try:
                with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
                    code = execute(["check", *args, "--offline", "--json"])
            finally:
                os.environ.clear()
                os.environ.update(before)
            return Checked(code, out.getvalue(), err.getvalue())

    def holds_up(self, checked: Checked, hidden: Sequence[str] = ()) -> None:
        """Assert that a check ended as checks do, and shows none of the canaries nor of `hidden`."""
        assert checked.code in (0, 2, 3), checked.out + checked.err
        assert found_in(checked.out + checked.err, (*self.canaries.values, *hidden)) == []
        result = json.loads(checked.out)
        if checked.code == 2:  # the command line itself
            assert result["error"]["message"]
            return
        for finding in result["findings"]:
            assert finding["severity"] in ("error", "warning", "note", "skipped")
            assert finding["code"].startswith("RK-")
            assert finding["place"]
            assert finding["message"]
        assert (checked.code == 3) == any(finding["severity"] == "error" for finding in result["findings"])


@pytest.fixture
def checker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checker:
    for name in [name for name in os.environ if name not in ("PATH", "SYSTEMROOT")]:
        monkeypatch.delenv(name)
    canaries = Canaries()
    for name, value in {**SETTINGS, **canaries.variables, "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setattr(sys, "path", list(sys.path))
    # Imports and lazily built tables are no part of what an example may take.
    made = Checker(canaries)
    made.holds_up(made("-r", "1-4", "-t", "v1"))
    return made


# ── values ───────────────────────────────────────────────────────────────────────────────────────────────────────────

numbers = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0, 1, -1, 3, 8, 96, 97, 624, 2**31, 2**53 + 1, 1e-300, 1e300]),
)
# Words that checks look for: what is nearly right reaches deeper than what is random.
words = st.sampled_from(
    [
        *("NVIDIA_TESLA_T4", "nvidia-tesla-t4", "NVIDIA_L4", "nvidia.com/gpu", "TPU_V3", "16G", "32GB", "1.5G", "500m"),
        *("sh", "-c", "bash", "-exc", "{{$.inputs.parameters['x']}}", "{{$.inputs.parameters['tag']}}", "{{$}}"),
        *("us-east1-docker.pkg.dev/p/r/i:1", "a@sha256:" + "0" * 64, "Docker/Hub:UP", "localhost:5000/x", "a:b:c", "@"),
        *(
            "gs://bucket/x",
            "gs://",
            "/gcs/other/x",
            "https://user:@host",
            "us-east1",
            "mars-north1",
            "train",
            "x" * 300,
        ),
        *("STRING", "NUMBER_INTEGER", "comp-train", "exec-train", "root", "http://[", "https://[::1", "e@f"),
    ]
)
texts = st.one_of(words, st.sampled_from(WORST), nasty)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=8,
)


def paths(tree: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each value below `tree`."""
    items: Any = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield (*above, key)
        yield from paths(value, (*above, key))


def mutated(draw: st.DrawFn, original: Any, values: st.SearchStrategy[Any]) -> Any:
    """Draw a tree with one to four changes: a value replaced, left out, moved to another place, a key renamed."""
    tree = copy.deepcopy(original)
    for _ in range(draw(st.integers(1, 4))):
        places = list(paths(tree))
        if not places:
            break
        *above, key = draw(st.sampled_from(places))
        parent = tree
        for part in above:
            parent = parent[part]
        change = draw(st.sampled_from(["replace", "replace", "drop", "copy", "rename"]))
        if change == "replace":
            parent[key] = draw(values)
        elif change == "drop":
            del parent[key]
        elif change == "copy":
            other = tree
            for part in draw(st.sampled_from(places)):
                other = other[part]
            parent[key] = copy.deepcopy(other)
        elif isinstance(parent, dict):
            parent[draw(texts)] = parent.pop(key)
    return tree


# ── compiled files ───────────────────────────────────────────────────────────────────────────────────────────────────


def read_spec(name: str) -> Any:
    import yaml

    return yaml.load((CORPUS / "compiled" / name).read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)


SPECS = [
    read_spec(name)
    for name in (
        "kfp-2.17-everything.yaml",
        "kfp-2.17-resources.yaml",
        "kfp-2.17-one-of.yaml",
        "kfp-2.17-imported.yaml",
        "kfp-2.17-types.yaml",
        "google-custom-training.yaml",
        "kedro-petals-of-a-season.yaml",
        "tfx-form.json",
        "zenml-form.yaml",
    )
]


@st.composite
def specs(draw: st.DrawFn) -> Any:
    return mutated(draw, draw(st.sampled_from(SPECS)), json_values)


@fuzzed
@given(spec=specs(), params=st.lists(st.tuples(texts, texts), max_size=2))
def test_any_compiled_file(checker: Checker, spec: Any, params: list[tuple[str, str]]) -> None:
    given_params = [word for name, value in params for word in ("-p", f"{name}={value}")]

    checked = checker("-f", "p.json", "-t", "v1", *given_params, files={"p.json": json.dumps(spec)})

    checker.holds_up(checked)


@fuzzed
@given(data=st.data())
def test_a_secret_anywhere_in_a_compiled_file_is_not_shown(checker: Checker, data: st.DataObject) -> None:
    spec = copy.deepcopy(data.draw(st.sampled_from(SPECS)))
    secret = data.draw(st.sampled_from(sorted(checker.canaries.parameter_values)), label="secret")
    value = checker.canaries.parameter_values[secret]
    places = [path for path in paths(spec) if isinstance(at(spec, path), str)]
    for *above, key in data.draw(st.lists(st.sampled_from(places), min_size=1, max_size=3), label="places"):
        at(spec, above)[key] = data.draw(st.sampled_from([value, f"--key={value}", f"{{{{{value}"]))

    checker.holds_up(checker("-f", "p.json", "-t", "v1", files={"p.json": json.dumps(spec)}))


def at(tree: Any, path: Sequence[Any]) -> Any:
    for part in path:
        tree = tree[part]
    return tree


@fuzzed
@given(text=st.one_of(nasty, st.text(st.sampled_from("{}[]:-&*!|>'\"%@`\n\t ,?#~0ab"), max_size=60)))
def test_any_text_as_a_compiled_file(checker: Checker, text: str) -> None:
    checker.holds_up(checker("-f", "p.yaml", "-t", "v1", files={"p.yaml": text}))


# ── registries ───────────────────────────────────────────────────────────────────────────────────────────────────────

toml_values = st.recursive(
    st.one_of(st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)


def to_toml(value: Any) -> str:
    """Write a value as TOML, tables inline."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(key)} = {to_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(to_toml, value)) + "]"
    return toml(value) if isinstance(value, str) else str(value)


def registry_text(tree: Mapping[str, Any]) -> str:
    return "".join(f"{toml(key)} = {to_toml(value)}\n" for key, value in tree.items())


REGISTRIES = [
    tomllib.loads(packaged_registry_text()),
    *(
        tomllib.loads((CORPUS / "registries" / f"{name}.toml").read_text(encoding="utf-8"))
        for name in (
            "settings",
            "env-delivery",
            "shell-lines",
            "docker-hub",
            "cpu-from-parameters",
            "secrets",
            "cached",
        )
    ),
]


@st.composite
def registries(draw: st.DrawFn) -> str:
    return registry_text(mutated(draw, draw(st.sampled_from(REGISTRIES)), toml_values))


selections = st.sampled_from(["1", "1-4", "1,1", "2", "9", "", "train", "0-99999999", "-1", "1-", "x" * 99])


@fuzzed
@given(text=registries(), selection=selections)
def test_any_registry(checker: Checker, text: str, selection: str) -> None:
    checker.holds_up(checker("-r", selection, "-t", "v1", files={"run-kfp.toml": text}))


@fuzzed
@given(data=st.data())
def test_a_registry_with_scratches(checker: Checker, data: st.DataObject) -> None:
    text = packaged_registry_text()
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 40)))
        text = text[:start] + data.draw(st.one_of(st.just(""), texts)) + text[end:]

    checker.holds_up(checker("-r", "1-4", "-t", "v1", files={"run-kfp.toml": text}))


# What a registry takes, so that the checks of the pipeline have something to look at; other tests give it the rest.
literals = texts.filter(lambda text: literal_fault(text, in_env=True) is None)

words_of_a_container = {
    "name": st.sampled_from(["train", "evaluate", "a-b", "a-b-2"]),
    "image": literals.filter(lambda text: bool(text) and not any(map(str.isspace, text))),
    "command": st.lists(literals, min_size=1, max_size=3),
    "entrypoint": st.lists(literals, min_size=1, max_size=2),
    "args": st.lists(
        st.one_of(
            literals,
            st.fixed_dictionaries(
                {"param": st.sampled_from(["tag", "bucket", "num_gpu"])}, optional={"prefix": literals}
            ),
            st.fixed_dictionaries({"secret": st.sampled_from(["git_login", "wandb_api_key"])}),
        ),
        max_size=5,
    ),
    "env": st.dictionaries(
        st.sampled_from(["A", "PATH", "WANDB_API_KEY", "GCP_PROJECT"]),
        st.one_of(literals, st.just({"secret": "git_login"}), st.just({"param": "tag"})),
        max_size=3,
    ),
    "cpu": st.one_of(st.integers(1, 200), st.sampled_from(["500m", "0.5", "1e9", {"param": "num_gpu"}]), numbers),
    "memory": st.one_of(st.sampled_from(["16G", "700G", "1K", "9999Ei", "32GB", "64Gi"]), texts),
    "accelerator": st.fixed_dictionaries(
        {"type": st.one_of(st.sampled_from(["NVIDIA_TESLA_T4", "NVIDIA_B200", "TPU_V3", "NVIDIA_TESLA_K80"]), words)},
        optional={"count": st.one_of(st.integers(0, 20), st.just({"param": "num_gpu"}), texts)},
    ),
    "side_effects": st.booleans(),
    "factory": st.sampled_from(["os:getcwd", "json:loads", "nowhere:nothing", "sys:exit", "collections:Counter"]),
}


@st.composite
def made_up_registries(draw: st.DrawFn) -> str:
    """Containers whose keys all are ones that there are, over the parameters and secrets of the packaged registry."""
    packaged = REGISTRIES[0]
    containers = {
        str(index): {
            "name": f"step{'abc'[index]}",
            "image": "a/b:1",
            **draw(st.fixed_dictionaries({}, optional=words_of_a_container)),
        }
        for index in range(draw(st.integers(1, 3)))
    }
    section = draw(st.fixed_dictionaries({}, optional=dict.fromkeys(RULES, texts)))
    pipeline = draw(st.fixed_dictionaries({}, optional={"name": st.just("made-up"), "display_name": texts}))
    tables = {"pipeline": pipeline, "settings": section, "containers": containers}
    return registry_text({**tables, "params": packaged["params"], "secrets": packaged["secrets"]})


@fuzzed
@given(text=made_up_registries(), gpus=st.one_of(texts, st.sampled_from(["0", "4", "3"])))
def test_any_made_up_registry(checker: Checker, text: str, gpus: str) -> None:
    checker.holds_up(checker("-r", "0-2", "-r", "0", "-t", "v1", "-p", f"num_gpu={gpus}", files={"run-kfp.toml": text}))


@fuzzed
@given(data=st.data())
def test_a_secret_anywhere_in_a_registry_is_not_shown(checker: Checker, data: st.DataObject) -> None:
    tree = copy.deepcopy(REGISTRIES[0])
    places = [path for path in paths(tree["containers"]) if isinstance(at(tree["containers"], path), str)]
    value = data.draw(st.sampled_from(checker.canaries.values))
    *above, key = data.draw(st.sampled_from(places), label="place")
    at(tree["containers"], above)[key] = value

    checker.holds_up(checker("-r", "1-4", "-t", "v1", files={"run-kfp.toml": registry_text(tree)}))


# ── settings, parameters, secrets ────────────────────────────────────────────────────────────────────────────────────

flags = st.sampled_from(
    [
        *(rule.flag for rule in RULES.values()),
        *(
            "-t",
            "-p",
            "--label",
            "--job-id",
            "--failure-policy",
            "--timeout",
            "--secrets-dir",
            "-r",
            "--registry",
            "-f",
        ),
    ]
)
# A process cannot be given NUL.
typed = texts.filter(lambda text: "\0" not in text)


@fuzzed
@given(given_flags=st.lists(st.tuples(flags, typed), max_size=4))
def test_any_flag(checker: Checker, given_flags: list[tuple[str, str]]) -> None:
    checker.holds_up(checker("-r", "1-4", "-t", "v1", *(word for pair in given_flags for word in pair)))


variables = st.sampled_from(
    [
        *(rule.variable for rule in RULES.values() if rule.variable),
        *("NUM_GPU", "WHYLABS_DEFAULT_ORG_ID", "RUN_KFP_SECRETS", "RUN_KFP_REGISTRY", "GOOGLE_APPLICATION_CREDENTIALS"),
    ]
)


@fuzzed
@given(
    environment=st.dictionaries(variables, typed, max_size=3),
    dotenv=st.one_of(
        nasty, st.dictionaries(variables, typed).map(lambda found: "\n".join(map("=".join, found.items())))
    ),
)
def test_any_environment(checker: Checker, environment: dict[str, str], dotenv: str) -> None:
    checker.holds_up(checker("-r", "1-4", "-t", "v1", files={".env": dotenv}, variables=environment))


@fuzzed
@given(
    secret=st.sampled_from(["WANDB_API_KEY", "WHYLABS_API_KEY", "GIT_LOGIN"]),
    before=st.sampled_from(
        ["", " ", "https://", "https://somebody:", "{{$.inputs.parameters['", "<", "\n", "'", "x@y:"]
    ),
    after=st.sampled_from(["", " ", "\n", "\r\n", "@github.com", ">", "']}}", " # note", "\nsecond line", "/x.git"]),
)
def test_a_secret_of_any_shape_is_not_shown(checker: Checker, secret: str, before: str, after: str) -> None:
    odd = Canaries()
    value = f"{before}{odd.wandb}{after}"

    checked = checker("-r", "1-4", "-t", "v1", variables={secret: value})

    checker.holds_up(checked, hidden=(odd.wandb,))
    # An empty variable counts as none: the file is read.
    from_file = checker("-r", "1-4", "-t", "v1", files={".env": f"{secret}={value}\n"}, variables={secret: ""})
    checker.holds_up(from_file, hidden=(odd.wandb,))
