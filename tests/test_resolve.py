"""What becomes of a call before its plan: what was read, what was chosen, and everything that is wrong, at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from local_pipelines import pipeline_text, task
from run_kfp.errors import InputError
from run_kfp.findings import Finding
from run_kfp.masking import Masker
from run_kfp.resolve import Call, PartialCall, find_registry, inputs_of, recover, resolve
from run_kfp.settings import Setting

REGISTRY = """
[pipeline]
name = "chain"
labels = { team = "vision", kept = "yes" }
[settings]
region = "us-east1"
caching = true
[containers.1]
name = "first"
image = "busybox:1.36"
args = [{ param = "tag" }]
[containers.2]
name = "sized"
image = "busybox:1.36"
side_effects = true
cpu = { param = "cpus" }
memory = { param = "memory" }
accelerator = { type = "NVIDIA_L4", count = { param = "gpus" } }
args = [{ param = "gpus" }]
[containers.3]
name = "made"
factory = "own:make"
[params.cpus]
env = "CPUS"
[params.memory]
default = "16G"
[params.gpus]
env = "GPUS"
default = "1"
[params.free]
[secrets.key]
env = "KEY"
"""


@pytest.fixture(autouse=True)
def _in_a_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "run-kfp.toml").write_text(REGISTRY, encoding="utf-8")
    (folder / "p.yaml").write_text(pipeline_text("given", {"one": task("an/image")}, ["tag"]), encoding="utf-8")


FILE = Path("p.yaml")


def words(faults: tuple[Finding, ...]) -> list[str]:
    return [f"{fault.place}: {fault.message} → {fault.hint}".rstrip(" →") for fault in faults]


def recovered(environ: Mapping[str, str] | None = None, **call: Any) -> PartialCall:
    return recover(Call(**call), environ or {}, Masker())


def refusal(environ: Mapping[str, str] | None = None, **call: Any) -> InputError:
    with pytest.raises(InputError) as error:
        resolve(Call(**call), environ or {}, Masker())
    return error.value


# ── a file ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_is_read_and_everything_else_joins_later() -> None:
    call = Call(
        file=FILE,
        tag="v1",
        params=("tag=v1", "region=europe-west4"),
        flags={"project": "p12345", "bucket": None},
        labels=("kept=no", "more=x"),
        caching=False,
        timeout="7",
    )
    found = resolve(call, {"GCS_BUCKET_NAME": "flowers"}, Masker())

    assert (found.pipeline.name, found.selection, found.fixed, found.notes) == ("given", (), {}, ())
    assert found.params == {"tag": "v1", "region": "europe-west4"}
    assert found.settings.labels == {"team": "vision", "kept": "no", "more": "x"}
    assert (found.settings.caching, found.settings.timeout) == (False, 7.0)
    assert found.settings.values == {
        "project": Setting("p12345", "--project", "--project"),
        "region": Setting("europe-west4", "--region", "--region"),
        "bucket": Setting("flowers", "environment GCS_BUCKET_NAME", "environment GCS_BUCKET_NAME"),
    }
    assert (found.faults, found.ambient_faults, found.unreadable, found.obstacles) == ((), (), (), ())
    inputs = inputs_of(found, Masker())
    assert (inputs.tag, inputs.job_id, inputs.params, inputs.faults) == ("v1", None, found.params, ())


def test_two_values_for_one_thing_are_faults() -> None:
    found = recovered(
        file=FILE,
        tag="v1",
        params=("tag=v2", "project=b", "bucket=flowers", "n", "free=x", "odd=1"),
        flags={"project": "a", "bucket": "flowers"},
        faults=(Finding("given before"),),
        labels=("x",),
    )

    assert words(found.faults) == [
        "this call: given before",
        "-p: -p requires NAME=VALUE; got a word without = → write -p NAME=VALUE",
        "--label: --label requires NAME=VALUE; got a word without = → write --label NAME=VALUE",
        "this call: --project and -p project= give two different values: 'a' and 'b' → remove one",
        "this call: -t and -p tag= give two different tags → remove one",
        "--project: project is 'b', which is not a project id (6 to 30 lower-case letters, digits, dashes): it is "
        "shorter than 6 characters → find it: gcloud projects list",
        "-p odd: p.yaml has no parameter 'odd'; valid parameters: tag → remove -p odd=…",
    ]
    assert inputs_of(found, Masker()).faults == found.faults


def test_a_parameter_that_the_file_has_fixed_would_change_nothing() -> None:
    found = recovered(file=FILE, params=("cpus=4", "free=x"))

    assert [text for text in words(found.faults) if "fixed" in text] == [
        "-p cpus: -p cpus would change nothing: it was fixed when p.yaml was compiled → recompile with -p cpus=…"
    ]
    FILE.write_text(pipeline_text("given", {"one": task("an/image")}, ["cpus"]), encoding="utf-8")
    assert recovered(file=FILE, params=("cpus=4",)).faults == ()


def test_a_file_that_cannot_be_read_is_in_the_way() -> None:
    error = refusal(file=Path("none.yaml"), params=("cpus=4", "x"))

    assert error.message == "2 problems with this call"
    assert [fault.place for fault in error.all_faults] == ["-p", "none.yaml"]
    found = recovered(file=Path("none.yaml"), params=("cpus=4",))
    assert found.pipeline is None
    assert found.faults == ()


def test_faults_of_settings_that_nobody_typed_are_apart() -> None:
    found = recovered({"GCP_PROJECT": "P"}, file=FILE)

    assert found.faults == ()
    assert [fault.place for fault in found.ambient_faults] == ["environment GCP_PROJECT"]
    assert inputs_of(found, Masker()).faults == found.ambient_faults


# ── registry and .env ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("registry", "env_file", "headline"),
    [
        ("[containers]\n[x]\n", None, "2 problems with the registry run-kfp.toml"),
        ("[containers]\n", "A\n", "2 problems with .env and the registry run-kfp.toml"),
        (REGISTRY, "A\nB\n", "2 problems with .env"),
        (None, "A\nB\n", "2 problems with .env"),
    ],
)
def test_what_cannot_be_read_is_told_by_its_file(
    folder: Path, registry: str | None, env_file: str | None, headline: str
) -> None:
    if registry is None:
        (folder / "run-kfp.toml").unlink()
    else:
        (folder / "run-kfp.toml").write_text(registry, encoding="utf-8")
    if env_file:
        (folder / ".env").write_text(env_file, encoding="utf-8")

    assert refusal(file=FILE).message == headline
    assert recovered(file=FILE).pipeline is not None


def test_where_the_registry_is_found(folder: Path) -> None:
    for name in ("a", "b", "c"):
        (folder / f"{name}.toml").write_text(REGISTRY, encoding="utf-8")
    assert find_registry(None, {}).source == "run-kfp.toml"
    (folder / ".env").write_text("RUN_KFP_REGISTRY=a.toml\n", encoding="utf-8")
    assert find_registry(None, {}).source == "a.toml"
    assert find_registry(None, {"RUN_KFP_REGISTRY": "b.toml"}).source == "b.toml"
    assert find_registry(Path("c.toml"), {"RUN_KFP_REGISTRY": "b.toml"}).source == "c.toml"
    assert recovered({"RUN_KFP_REGISTRY": "b.toml"}, file=FILE).registry.source == "b.toml"
    assert recovered(file=FILE, registry=Path("c.toml")).registry.source == "c.toml"


def test_a_registry_beside_an_env_file_that_cannot_be_read_is_not_whole(folder: Path) -> None:
    assert recovered(file=FILE).registry.whole
    (folder / ".env").write_text("A\n", encoding="utf-8")
    assert recovered(file=FILE).registry.whole
    (folder / ".env").unlink()
    (folder / ".env").mkdir()
    assert not recovered(file=FILE).registry.whole


def test_a_wrong_line_of_an_env_file_hides_nothing(folder: Path) -> None:
    (folder / "run-kfp.toml").write_text("", encoding="utf-8")
    (folder / ".env").write_text("A\n", encoding="utf-8")

    assert [fault.place for fault in recovered(file=FILE).unreadable] == [".env: line 1", "run-kfp.toml"]


# ── a selection ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_chosen() -> None:
    error = refusal(tag="v1", params=("x",))

    assert words(error.all_faults)[1:] == [
        "-r: nothing to run: no container selected → choose with -r (see `run-kfp list`), "
        "or send a finished file with -f"
    ]


def test_limits_are_fixed_when_the_containers_are_compiled() -> None:
    call = Call(containers=("1,2", "2"), tag="v1", params=("cpus=4", "free=x"))
    found = resolve(call, {"GPUS": "2", "CPUS": "8"}, Masker())

    assert found.fixed == {"cpus": "4", "gpus": "2", "memory": "16G"}
    assert found.params == {"free": "x"}
    assert [container.name for container in found.selection] == ["first", "sized", "sized"]
    assert [step.resources for step in found.pipeline.steps][1:] == ["4 CPU, 16G, 2 × NVIDIA_L4"] * 2
    assert found.notes == (
        "sized is chosen 2 times and runs 2 times",
        "never taken from the cache, because of their side effects: sized",
    )
    assert resolve(Call(containers=("1",)), {}, Masker()).fixed == {}
    assert resolve(Call(containers=("1",)), {}, Masker()).notes == ()
    without = resolve(Call(containers=("2",), params=("cpus=4",), caching=False), {}, Masker())
    assert without.notes == ()


def test_a_limit_without_a_value_is_in_the_way() -> None:
    missing = (
        "-p cpus: parameter cpus has no value, and a resource needs it when compiling → set -p cpus=… or the variable "
        "CPUS"
    )
    assert words(refusal(containers=("2", "9")).all_faults) == [
        "-r 9: unknown container '9' in run-kfp.toml; it has 1 (first), 2 (sized), 3 (made) → see `run-kfp list`",
        missing,
    ]
    found = recovered(containers=("1", "2"))
    assert words(found.obstacles) == [missing]
    assert found.pipeline is not None
    assert [(one.name, one.cpu, one.memory) for one in found.selection][1][:2] == ("sized", None)
    assert [step.name for step in found.pipeline.steps] == ["first", "sized"]


def test_a_limit_of_a_wrong_form_is_told_and_left_out() -> None:
    found = recovered({"GPUS": "many"}, containers=("2",), params=("cpus=four", "memory=1"))

    assert len(found.obstacles) == 3
    (sized,) = found.selection
    assert (sized.cpu, sized.memory, sized.accelerator) == (None, None, None)
    assert found.pipeline is not None
    assert [step.resources for step in found.pipeline.steps] == [""]
    assert found.fixed == {"cpus": "four", "memory": "1", "gpus": "many"}


def test_code_that_nobody_agreed_to_is_not_run() -> None:
    found = recovered(containers=("3", "1"))

    assert [container.name for container in found.selection] == ["first"]
    assert [fault.code for fault in found.obstacles] == ["RK-TRUST-FACTORY"]
    assert refusal(containers=("3",)).all_faults[0].code == "RK-TRUST-FACTORY"


ALLOWED = {"RUN_KFP_ALLOW_FACTORIES": "1"}


def test_of_containers_that_cannot_be_compiled_the_others_are(folder: Path) -> None:
    (folder / "own.py").write_text("def make():\n    raise ValueError('broken')\n", encoding="utf-8")
    found = recovered(ALLOWED, containers=("3", "1"))

    assert [container.name for container in found.selection] == ["first"]
    assert found.pipeline is not None
    assert [step.name for step in found.pipeline.steps] == ["first"]
    assert any("broken" in fault.message for fault in found.obstacles)


def test_the_code_of_a_factory_cannot_print_a_secret(folder: Path) -> None:
    (folder / "own.py").write_text("def make():\n    raise ValueError\n", encoding="utf-8")
    short = "key-of-11-c"  # too short to be taken for a key where nothing can read it
    for containers, masked in ((("1",), short), (("3",), "***")):
        masker = Masker()
        recover(Call(containers=containers), {**ALLOWED, "KEY": short}, masker)
        assert masker.mask(short) == masked


@pytest.mark.parametrize(
    ("layer", "value", "masked"), [("environ", "k" * 12, True), ("environ", "k" * 11, False), (".env", "k" * 12, True)]
)
def test_what_looks_like_a_key_is_masked_before_anything_is_said(
    folder: Path, layer: str, value: str, masked: bool
) -> None:
    if layer == ".env":
        (folder / ".env").write_text(f"KEY={value}\n", encoding="utf-8")
    masker = Masker()
    recover(Call(file=FILE), {"KEY": value} if layer == "environ" else {}, masker)

    assert (masker.mask(value) == "***") is masked


def test_a_secret_that_was_typed_is_masked() -> None:
    masker = Masker()
    recover(Call(file=FILE, params=("key=typed-it",)), {}, masker)

    assert masker.mask("typed-it") == "***"


def test_of_a_registry_that_was_not_read_nothing_is_chosen(folder: Path) -> None:
    (folder / "run-kfp.toml").write_text("[containers\n", encoding="utf-8")
    found = recovered(containers=("1",))

    assert (found.selection, found.pipeline, found.obstacles) == ((), None, ())
    assert len(found.unreadable) == 1
