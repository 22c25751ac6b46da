"""Rules that no other test would miss: of labels, ranges, numbers, names that are near, and the slow policy."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Cli, Write
from dermaid import SETTINGS, canary
from local_pipelines import latest, pipeline_text, steps, task
from run_kfp import errors
from run_kfp.errors import InputError, did_you_mean, nearest, shown
from run_kfp.graph import read_outputs
from run_kfp.masking import Masker
from run_kfp.registry import Registry, SecretSource
from run_kfp.registry_file import parse_registry
from run_kfp.secrets import SecretFinder, secret_finder
from run_kfp.settings import Layers
from run_kfp.settings.rules import label_faults
from test_runner import a_step

REGISTRY = """
[pipeline]
name = "chain"
[containers.1]
name = "broken"
image = "nobody/broken"
args = ["1"]
process = { cwd = ".", entrypoint = ["{python}", "-c", "import sys; sys.exit(int(sys.argv[1]))"] }
[containers.2]
name = "behind"
image = "nobody/behind"
process = { cwd = ".", entrypoint = ["{python}", "-c", ""] }
[containers.3]
name = "other"
image = "nobody/other"
process = { cwd = ".", entrypoint = ["{python}", "-c", ""] }
"""


def registry() -> Registry:
    return parse_registry(REGISTRY, source="run-kfp.toml", folder=Path())


# ── the slow policy ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("policy", "other"), [("slow", "SUCCEEDED"), ("fast", "SKIPPED")])
def test_the_failure_policy_holds_without_docker(cli: Cli, folder: Path, write: Write, policy: str, other: str) -> None:
    write("run-kfp.toml", REGISTRY.replace("{python}", sys.executable))
    tasks = {
        "broken": task("nobody/broken", args=["1"]),
        "behind": task("nobody/behind", after=["broken"]),
        "other": task("nobody/other"),
    }
    write("p.yaml", pipeline_text("chain", tasks))

    one_at_a_time = ("--local", "--engine", "process", "--parallel", "1")
    result = cli("-f", "p.yaml", *one_at_a_time, "--failure-policy", policy)

    assert result.code == 5, result.err
    assert {name: step["state"] for name, step in steps(latest(folder)).items()} == {
        "broken": "FAILED",
        "behind": "SKIPPED",
        "other": other,
    }


# ── ranges ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["3-3"], ["other"]),
        (["2-3"], ["behind", "other"]),
        (["1-3,1"], ["broken", "behind", "other", "broken"]),
        (["other", "1"], ["other", "broken"]),
        ([" 2 , 1 "], ["behind", "broken"]),
    ],
)
def test_a_range_is_what_lies_between(words: list[str], names: list[str]) -> None:
    assert [container.name for container in registry().select(words)] == names


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("3-2", "is reversed"),
        ("1-10001", "unknown container '4, 5, 6, 7, 8, …' in run-kfp.toml"),
        ("1-10002", "too long"),
        ("2-5", "unknown container '4, 5' in"),
        ("1,,2", "'1,,2'"),
        ("0", "unknown container '0'"),
    ],
)
def test_a_range_of_what_is_not_there_is_refused(word: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        registry().select([word])

    assert message in error.value.message


def test_a_container_under_its_name_is_one_mistake() -> None:
    text = '[pipeline]\nname = "chain"\n[containers.train]\nimage = "an/image"\n'

    with pytest.raises(InputError) as error:
        parse_registry(text, source="run-kfp.toml", folder=Path())

    (fault,) = error.value.all_faults
    assert "index" in fault.message


# ── numbers ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "value"), [("nan", None), ("inf", None), ("-Infinity", None), ("1e3", 1000.0), ("-0.5", -0.5)]
)
def test_only_numbers_that_json_has_are_numbers(cli: Cli, write: Write, text: str, value: float | None) -> None:
    file = pipeline_text("chain", {"one": task("an/image")}, ["rate"])
    write("p.yaml", file.replace("parameterType: STRING", "parameterType: NUMBER_DOUBLE"))

    result = cli("-f", "p.yaml", "-p", f"rate={text}", "--dry-run", "--json", **SETTINGS)

    if value is None:
        assert result.code == 2
        assert f"rate is '{text}'" in result.err
    else:
        assert result.json["parameter_values"]["rate"]["value"] == value


# ── labels ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_takes_63_labels_beside_our_own() -> None:
    labels = {f"label-{number}": "x" for number in range(64)}

    assert [fault.message for fault in label_faults(labels)] == ["64 labels are too many"]
    del labels["label-0"]
    assert list(label_faults(labels)) == []


@pytest.mark.parametrize(
    ("key", "value", "count"),
    [
        ("team", "", 0),
        ("k" * 64, "v" * 64, 0),
        ("é-1_a", "1é", 0),
        ("k" * 65, "x", 1),
        ("team", "v" * 65, 1),
        ("1team", "x", 1),
        ("-team", "x", 1),
        ("", "x", 1),
        ("Team", "x", 1),
        ("team", "X", 1),
        ("team", "a.b", 1),
        ("te am", "a b", 2),
        ("run-kfp-submission", "x", 1),
        ("vertex-ai-pipelines-run-billing-id", "x", 1),
    ],
)
def test_a_label_keeps_to_googles_rules(key: str, value: str, count: int) -> None:
    assert len(list(label_faults({key: value}))) == count


# ── names that are near ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("word", "known", "near"),
    [
        ("us-esat1", ["us-west1", "us-east1"], "us-east1"),
        ("US-EAST1", ["us-west1", "us-east1"], "us-east1"),
        ("t4", ["T4", "P4"], "T4"),
        ("nothing-like-it", ["us-west1"], ""),
        ("x", [], ""),
    ],
)
def test_the_name_that_was_meant(word: str, known: list[str], near: str) -> None:
    assert nearest(word, known) == near
    assert did_you_mean(word, known) == (f"did you mean {near!r}?" if near else "")


def test_a_value_is_shown_shortened_where_it_is_long() -> None:
    assert shown("x" * 80) == repr("x" * 80)
    assert shown("x" * 81) == f"'{'x' * 79}… (81 characters)"
    assert shown([1] * 1000) == f"{str([1] * 1000)[:80]}… (3,000 characters)"
    assert (shown(True), shown(3), shown("a'b")) == ("true", "3", '"a\'b"')
    assert shown(16**5000) == "a number of thousands of digits"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.RunKfpError, 1),
        (errors.InputError, 2),
        (errors.CheckFailed, 3),
        (errors.BackendError, 4),
        (errors.EngineError, 4),
        (errors.RunFailed, 5),
        (errors.RunStopped, 6),
        (errors.WatchTimeout, 7),
    ],
)
def test_each_error_has_the_exit_code_that_the_documentation_promises(
    error: type[errors.RunKfpError], code: int
) -> None:
    assert error("words").exit_code == code


# ── outputs ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("STRING", "1", "1"),
        ("NUMBER_INTEGER", "1", 1),
        ("NUMBER_INTEGER", "1.5", None),
        ("NUMBER_DOUBLE", "1.5", 1.5),
        ("NUMBER_DOUBLE", "1", 1),
        ("NUMBER_DOUBLE", "x", None),
        ("BOOLEAN", "True", True),
        ("BOOLEAN", "false", False),
        ("BOOLEAN", "1", None),
        ("LIST", "[1]", [1]),
        ("LIST", "{}", None),
        ("STRUCT", '{"a": 1}', {"a": 1}),
        ("STRUCT", "[]", None),
        ("ARTIFACT", "{}", None),
    ],
)
def test_an_output_is_of_the_type_that_its_component_declares(kind: str, text: str, value: object) -> None:
    step = a_step("one", outputs={"out": kind})

    if value is None:
        with pytest.raises(InputError, match="does not have the declared type"):
            read_outputs(step, {"out": text})
    else:
        assert read_outputs(step, {"out": text}) == {"out": value}


def test_what_kfps_own_components_write_comes_first() -> None:
    step = a_step("one", outputs={"a": "STRING", "b": "STRING"})
    files = {"executor_output.json": '{"parameterValues": {"a": "theirs"}}', "a": "ours", "b": "ours"}

    assert read_outputs(step, files) == {"a": "theirs", "b": "ours"}


# ── masks ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("token", "masked"), [("abc123", "***"), ("abc12", "abc12")])
def test_the_token_of_a_login_is_masked_alone_from_six_characters_on(token: str, masked: str) -> None:
    masker = Masker()
    masker.add(f"somebody:{token}")

    assert masker.mask(f"it is {token}!") == f"it is {masked}!"


@pytest.mark.parametrize(("value", "masked"), [("12345678", "***"), ("1234567", "1234567")])
def test_a_value_is_a_secret_from_eight_characters_on(value: str, masked: str) -> None:
    masker = Masker()
    masker.add(f" {value}")

    assert masker.mask(value) == masked


@pytest.mark.parametrize(
    "written",
    [
        json.dumps,
        lambda value: json.dumps(json.dumps(value)),
        lambda value: json.dumps(value, ensure_ascii=False),
        repr,
        lambda value: "'" + value.replace("'", "'\"'\"'") + "'",
        lambda value: "'" + value.replace("'", "'\\''") + "'",
        lambda value: "'" + value.replace("'", "''") + "'",
    ],
)
def test_a_secret_is_masked_from_its_first_to_its_last_character_however_it_is_quoted(
    written: Callable[[str], str],
) -> None:
    value = "Xy\"q'é\\n\"w'é\\yZ"
    masker = Masker()
    masker.add(value)

    masked = masker.mask(f"a {written(value)} b")

    assert masked.count("***") == 1
    assert not {"X", "y", "Z"} & set(masked)


# ── secrets ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Places:
    """A secret with all places that it may have."""

    source = SecretSource(env="KEY", file="key.txt", env_file="key.env")

    def __init__(self, folder: Path) -> None:
        self.folder, self.masker = folder, Masker()
        self.environ: dict[str, str] = {}
        self.dotenv: dict[str, str] = {}
        self.finder: SecretFinder = secret_finder(
            Layers({}, self.environ, self.dotenv), registry(), self.masker, flag=folder, faults=[]
        )

    def found(self) -> tuple[str, str]:
        """Where the secret is found, and what it is."""
        located = self.finder.locate("key", self.source)
        assert not isinstance(located, list), located
        return located.place, located.reveal().get_secret_value()


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path)


def test_the_environment_comes_before_dotenv_before_the_file_before_the_env_file(places: Places) -> None:
    values = {name: canary(name) for name in ("environ", "dotenv", "file", "envfile")}
    (places.folder / "key.env").write_text(f"KEY={values['envfile']}\n", encoding="utf-8")
    assert places.found() == (f"{places.folder}/key.env (KEY=…)", values["envfile"])
    (places.folder / "key.txt").write_text(f"{values['file']}\nmore\n", encoding="utf-8")
    assert places.found() == (f"{places.folder}/key.txt", values["file"])
    places.dotenv["KEY"] = values["dotenv"]
    assert places.found() == (".env KEY", values["dotenv"])
    places.environ["KEY"] = values["environ"]
    assert places.found() == ("environment KEY", values["environ"])
    places.environ["KEY"] = ""
    assert places.found() == (".env KEY", values["dotenv"])


def test_a_secret_that_changes_between_plan_and_submission_is_read_again_and_masked(places: Places) -> None:
    before, after = canary("before"), canary("after")
    file = places.folder / "key.txt"
    file.write_text(before, encoding="utf-8")
    located = places.finder.locate("key", places.source)
    assert not isinstance(located, list)
    file.write_text(after, encoding="utf-8")

    assert located.reveal().get_secret_value() == after
    assert places.masker.mask(f"{before} {after}") == "*** ***"


def test_a_secret_is_read_where_the_plan_found_it(places: Places) -> None:
    value = canary("file")
    (places.folder / "key.txt").write_text(value, encoding="utf-8")
    located = places.finder.locate("key", places.source)
    assert not isinstance(located, list)
    places.environ["KEY"] = canary("later")

    assert located.reveal().get_secret_value() == value


@pytest.mark.parametrize("left", [None, "", "<paste it here>", "short"])
def test_a_secret_that_is_gone_by_the_submission_is_an_error(places: Places, left: str | None) -> None:
    file = places.folder / "key.txt"
    file.write_text(canary("file"), encoding="utf-8")
    located = places.finder.locate("key", places.source)
    assert not isinstance(located, list)
    if left is None:
        file.unlink()
    else:
        file.write_text(left, encoding="utf-8")

    with pytest.raises(InputError, match="secret key has disappeared from") as error:
        located.reveal()

    assert error.value.exit_code == 2
