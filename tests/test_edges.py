"""Edges of checks and plans that a change by one would cross unseen."""

from __future__ import annotations

import pytest

from conftest import Cli, Write
from local_pipelines import pipeline_text, task
from run_kfp.findings import Severity
from run_kfp.preflight.offline import bounds
from run_kfp.preflight.offline.caching import check_caching
from run_kfp.preflight.offline.structure import check_structure
from specs import context_of_registry, context_of_spec, registry, step_spec
from test_check_calls import call, codes, one

# ── the memory that Docker takes ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("runs_on", "memory", "refused"), [("docker", "5M", True), ("docker", "7M", False), ("process", "5M", False)]
)
def test_docker_takes_no_less_than_6_mb(cli: Cli, write: Write, runs_on: str, memory: str, refused: bool) -> None:
    write(
        "run-kfp.toml",
        registry('process = { cwd = ".", entrypoint = ["x"] }').replace("busybox:1.36", "busybox"),
    )
    file = pipeline_text("test-pipeline", {"step": task("busybox", resources={"resourceMemoryLimit": memory})})
    write("p.yaml", file)

    result = cli("-f", "p.yaml", "--local", "--engine", runs_on, "--dry-run")

    assert result.code == (2 if refused else 0), result.err
    assert ("the minimum of Docker is 6M" in result.err) is refused


@pytest.mark.parametrize(
    ("runs_on", "limits", "refused"),
    [
        ("docker", {"resourceCpuLimit": "1m"}, "0.001"),
        ("docker", {"resourceCpuLimit": "9m"}, "0.009"),
        ("docker", {"cpuLimit": 0.0099}, "0.0099"),
        ("docker", {"resourceCpuLimit": "10m"}, ""),
        ("docker", {"resourceCpuLimit": "0.01"}, ""),
        ("process", {"resourceCpuLimit": "1m"}, ""),
    ],
)
def test_docker_takes_no_less_than_a_hundredth_of_a_cpu(
    cli: Cli, write: Write, runs_on: str, limits: dict[str, object], refused: str
) -> None:
    write(
        "run-kfp.toml",
        registry('process = { cwd = ".", entrypoint = ["x"] }').replace("busybox:1.36", "busybox"),
    )
    write("p.yaml", pipeline_text("test-pipeline", {"step": task("busybox", resources=limits)}))

    result = cli("-f", "p.yaml", "--local", "--engine", runs_on, "--dry-run")

    words = f"step step has a limit of {refused} CPUs; the minimum of Docker is 0.01" if refused else ""
    assert result.code == (2 if refused else 0), result.err
    assert words in result.err


# ── calls ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_option_without_a_script_is_no_script() -> None:
    assert codes(call(args=["-c"])) == []


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["python", "a.py", "&&", "python", "b.py"], "knows this"),
        (["cd", "/app", "&&", "python", "b.py"], "knows these"),
    ],
)
def test_what_only_a_shell_knows_is_counted(args: list[str], words: str) -> None:
    assert words in one(call(args[:1], args[1:])).message


# ── caching ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_caching_is_switched_off_where_it_was_switched_on() -> None:
    ours = context_of_registry(registry(""), caching=True)
    theirs = context_of_spec(step_spec({}, cachingOptions={"enableCache": True}))

    hints = [found.hint for context in (ours, theirs) for found in check_caching(context)]

    assert any("--no-caching" in hint for hint in hints)
    assert any("set_caching_options(False)" in hint for hint in hints)
    assert all("--no-caching" not in found.hint for found in check_caching(theirs))
    assert all("set_caching_options" not in found.hint for found in check_caching(ours))


# ── what a pipeline inside of a pipeline hands on ───────────────────────────────────────────────────────────────────


def outputs(kind: str, body: object) -> list[str]:
    """What is said of the outputs of a pipeline inside whose one step makes `out`."""
    singular = {"parameters": "NUMBER_INTEGER", "artifacts": None}[kind]
    spec = step_spec({})
    step = spec["components"]["comp-step"]
    step["outputDefinitions"] = {kind: {"out": {"parameterType": singular} if singular else {}}}
    spec["components"]["comp-inner"] = {
        "dag": {
            "tasks": {"inside": {"componentRef": {"name": "comp-step"}, "taskInfo": {"name": "inside"}}},
            "outputs": {kind: {"out": body}},
        }
    }
    spec["root"]["dag"]["tasks"]["inner"] = {"componentRef": {"name": "comp-inner"}, "taskInfo": {"name": "inner"}}
    context = context_of_spec(spec, faults=[])
    return [found.message for found in check_structure(context) if "inner" in found.place]


@pytest.mark.parametrize("odd", [[], ["text", 7]])
@pytest.mark.parametrize(
    ("producer", "key", "words"),
    [
        ("inside", "out", []),
        ("insied", "out", ["comes from the task 'insied'"]),
        ("inside", "otu", ["is the output 'otu' of inside"]),
    ],
)
def test_outputs_come_from_tasks_that_make_them(producer: str, key: str, words: list[str], odd: list[object]) -> None:
    artifact = {"artifactSelectors": [*odd, {"producerSubtask": producer, "outputArtifactKey": key}]}
    parameter = {"producerSubtask": producer, "outputParameterKey": key}
    several = {"valueFromOneof": {"parameterSelectors": [*odd, parameter]}}

    for kind, body in (
        ("artifacts", artifact),
        ("parameters", several),
        ("parameters", {"valueFromParameter": parameter}),
    ):
        found = outputs(kind, body)
        assert len(found) == len(words), found
        assert all(each.startswith(word) for each, word in zip(found, words, strict=True))


# ── how large a job may be ──────────────────────────────────────────────────────────────────────────────────────────


def sized(most: int, monkeypatch: pytest.MonkeyPatch, **conditional: bool) -> list[tuple[str, Severity]]:
    """What is found of a job of these tasks, of which some only run on a condition."""
    monkeypatch.setattr(bounds, "_MOST_TASKS", most)
    spec = step_spec({})
    step = spec["root"]["dag"]["tasks"].pop("step")
    for name, on_condition in conditional.items():
        policy = {"triggerPolicy": {"condition": "1 == 1"}} if on_condition else {}
        spec["root"]["dag"]["tasks"][name] = {**step, "taskInfo": {"name": name}, **policy}
    return [(found.code, found.severity) for found in check_structure(context_of_spec(spec))]


def test_a_job_is_too_large_for_sure_where_what_certainly_runs_is_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sized(2, monkeypatch, a=False, b=False) == []
    assert [severity for _, severity in sized(2, monkeypatch, a=False, b=False, c=True)] == [Severity.WARNING]
    assert [severity for _, severity in sized(2, monkeypatch, a=False, b=False, c=False)] == [Severity.ERROR]


# ── JSON ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_one_result_is_an_object_that_people_read(cli: Cli) -> None:
    result = cli("list", "--json")

    assert result.out.startswith("{\n")
    assert result.json["containers"]
