"""Pipelines that other tools compiled: what is told of them, and what they do on this machine."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.cloud.aiplatform_v1.types import PipelineJob
from google.protobuf import json_format

from conftest import Cli, Write
from dermaid import canary
from engine import Engine
from fakes.vertex import FakeVertex
from local_pipelines import latest, log, on, pipeline_text, task
from run_kfp.pipeline.placeholders import OF_RUN, OF_VERTEX
from run_kfp.pipeline.types import takes_older_values

CASES = Path(__file__).with_name("cases")

SETTINGS = """
[settings]
project = "acme-project"
region = "us-central1"
bucket = "acme-bucket"
service_account = "runner@acme-project.iam.gserviceaccount.com"

[containers.1]
name = "none"
image = "acme/none:1"
"""

# Told of every call of these tests, and not what they are about.
AROUND = {"RK-LOGIN-MISSING"}


@pytest.fixture
def program(cli: Cli, write: Write) -> Cli:
    """The program in a folder with settings alone and every file of `tests/cases`."""
    write("run-kfp.toml", SETTINGS)
    for file in CASES.iterdir():
        shutil.copy(file, cli.folder / file.name)
    return cli


def findings(program: Cli, *args: str) -> list[tuple[str, str, str]]:
    """Return severity, code and text of what `check` finds, without the project's own login."""
    result = program("check", *args, "--offline", "--json")
    found = json.loads(result.out)["findings"]
    return [
        (one["severity"], one["code"], f"{one['place']}: {one['message']} → {one['hint']}")
        for one in found
        if one["code"] not in AROUND
    ]


def told(found: list[tuple[str, str, str]]) -> list[tuple[str, str]]:
    """Return severity and code of each."""
    return [(severity, code) for severity, code, _ in found]


def changed(program: Cli, name: str, **changes: Any) -> None:
    """Write a case again, with parts of it replaced: `a__b__c` names a place."""
    path = program.folder / name
    spec = yaml.safe_load(path.read_text(encoding="utf-8"))
    for place, value in changes.items():
        *way, last = place.split("__")
        inner = spec
        for key in way:
            inner = inner[key.replace("_", "-") if key.replace("_", "-") in inner else key]
        inner[last] = value
    path.write_text(yaml.safe_dump(spec), encoding="utf-8")


# ── values ──────────────────────────────────────────────────────────────────────────────────────────────────────────

GRID = [16, [-3, 0.5, [2]], True, {"depth": 4}, 9007199254740991, 1e300]
TOPIC = "{{$.inputs.parameters['pipelinechannel--topic']}}"


def seen(folder: Path) -> None:
    """Compare what the two steps of `numbers.yaml` printed."""
    record = latest(folder)
    everything, numbers, grid, settings, seed, _ = log(folder, record, "fold")
    expected = {TOPIC: "a key is left as it is", "nested": [{"of": "<rain>"}, 3], "off": False}
    assert json.loads(everything)["inputs"]["parameterValues"] == {
        "grid": GRID,
        "note": "about rain",
        "pipelinechannel--topic": "rain",
        "rounds": 3,
        "scale": 2.5,
        "settings": expected,
        "seed": -7,
    }
    # A float would be equal to them.
    assert '"rounds": 3,' in everything
    assert '"grid": [16, [-3, 0.5, [2]], true, {"depth": 4}, 9007199254740991, 1e+300]' in everything
    assert (numbers, seed) == ("3/2.5", "-7")
    assert grid == '[16, [-3, 0.5, [2]], true, {"depth": 4}, 9007199254740991, 1e+300]'
    assert json.loads(settings) == expected
    whole, best = log(folder, record, "report")
    assert '"best": [4, {"at": 2}]' in whole
    assert best == '[4, {"at": 2}]'


@pytest.mark.engine
def test_whole_numbers_and_references_inside_of_constants(
    engine: Engine, busybox: str, program: Cli, folder: Path
) -> None:
    text = (folder / "numbers.yaml").read_text(encoding="utf-8").replace("busybox:1.36", busybox)
    (folder / "numbers.yaml").write_text(text, encoding="utf-8")

    result = on(engine, folder)("-f", "numbers.yaml", "--local")

    assert result.code == 0, result.err
    seen(folder)


def test_the_same_values_reach_processes(program: Cli, folder: Path, write: Write) -> None:
    spec = yaml.safe_load((folder / "numbers.yaml").read_text(encoding="utf-8"))
    entries = ""
    for number, name in enumerate(("fold", "report"), 2):
        command = spec["deploymentSpec"]["executors"][f"exec-{name}"]["container"]["command"]
        entries += f'[containers.{number}]\nname = "{name}"\nimage = "busybox:1.36"\ncommand = {json.dumps(command)}\n'
        entries += f'process = {{ cwd = ".", entrypoint = {json.dumps(command)} }}\n'
    write("run-kfp.toml", SETTINGS + entries)

    result = program("-f", "numbers.yaml", "--local", "--engine", "process")

    assert result.code == 0, result.err
    seen(folder)


def test_a_reference_inside_of_a_constant_that_stands_for_nothing(program: Cli, folder: Path) -> None:
    text = (folder / "numbers.yaml").read_text(encoding="utf-8")
    (folder / "numbers.yaml").write_text(text.replace("of: '<{{$.inputs", "of: '<{{$.input"), encoding="utf-8")

    result = program("-f", "numbers.yaml", "--local", "--dry-run")

    assert result.code == 2
    assert "step fold holds {{$.input.parameters['pipelinechannel--topic']}}, which nothing fills" in result.err
    assert "did you mean 'inputs.parameters'?" in result.err


# ── placeholders ────────────────────────────────────────────────────────────────────────────────────────────────────


def with_args(program: Cli, *args: str, image: str = "acme/step:1", command: list[str] | None = None) -> None:
    """Write `p.yaml`: one step with these arguments."""
    one = task(image, ["run"] if command is None else command, args, inputs={"day": "monday"}, outputs=["out"])
    (program.folder / "p.yaml").write_text(pipeline_text("p", {"one": one}), encoding="utf-8")


FILLED = [
    "{{$}}",
    "{{$.inputs.parameters['day']}}",
    "{{$.inputs.parameters['day'].json_escape[0]}}",
    "{{$.outputs.parameters['out'].output_file}}",
    "{{$.json_escape[1]}}",
    "{{$.outputs.output_file}}",
    "{{$.outputMetadataUri}}",
    *(f"{{{{$.{name}}}}}" for name in sorted(OF_RUN | OF_VERTEX)),
    "{{ $.day }} {{day}} {{$.never closed",
]


def test_placeholders_that_vertex_ai_fills_are_silent(program: Cli) -> None:
    with_args(program, *FILLED)
    assert findings(program, "-f", "p.yaml") == []


@pytest.mark.parametrize(
    ("text", "severity", "words"),
    [
        ("{{$.pipeline_job_nam}}", "error", "did you mean 'pipeline_job_name'?"),
        ("a/{{$.PIPELINE_ROOT}}/b", "error", "did you mean 'pipeline_root'?"),
        ("{{$.pipeline_google_cloud_project}}", "error", "did you mean 'pipeline_google_cloud_project_id'?"),
        ("{{$.input.parameters['day']}}", "error", "did you mean 'inputs.parameters'?"),
        ("{{$.inputs.parameter['day']}}", "error", "did you mean 'inputs.parameters'?"),
        ("{{$.output.parameters['out'].output_file}}", "error", "did you mean 'outputs.parameters'?"),
        ("{{$.outputs.outputfile}}", "error", "did you mean 'outputs.output_file'?"),
        ("{{$.workspace_path}}/data", "warning", "is filled by a KFP server, and not by Vertex AI"),
        ("{{$.something_of_tomorrow}}", "warning", "unknown placeholder {{$.something_of_tomorrow}}"),
    ],
)
def test_placeholders_that_nothing_fills(program: Cli, text: str, severity: str, words: str) -> None:
    with_args(program, "--on", text)

    ((found, code, message),) = findings(program, "-f", "p.yaml")
    local = program("-f", "p.yaml", "--local", "--dry-run")

    assert (found, code) == (severity, "RK-PLACEHOLDER-UNKNOWN")
    assert words in message
    assert local.code == 2
    assert "submit to Vertex AI" not in local.err
    assert "which nothing fills" in local.err or "a KFP server fills" in local.err


def test_placeholders_in_constant_lists_and_tables(program: Cli) -> None:
    changed(program, "numbers.yaml", root__dag__tasks__fold__inputs__parameters__grid={
        "runtimeValue": {"constant": [{"a": ["{{$.pipeline_job_nam}}", "{{$.inputs.parameters['nobody']}}"]}]}
    })  # fmt: skip
    found = findings(program, "-f", "numbers.yaml")
    assert told(found) == [("error", "RK-PLACEHOLDER-UNKNOWN")] * 2
    assert "'nobody', which the task does not have" in found[1][2]


def test_a_rehearsal_knows_the_run(program: Cli, folder: Path, write: Write) -> None:
    names = sorted(OF_VERTEX | {"pipeline_job_schedule_time_utc", "outputs.output_file"})
    one = task("acme/one:1", ["sh", "-c", SAY, "one"], [f"{{{{$.{name}}}}}" for name in names])
    write("p.yaml", pipeline_text("p", {"one": one}))
    command = json.dumps(["sh", "-c", SAY, "one"])
    entry = f'[containers.2]\nname = "one"\nimage = "acme/one:1"\ncommand = {command}\n'
    write("run-kfp.toml", f'{SETTINGS}{entry}process = {{ cwd = ".", entrypoint = {command} }}\n')

    result = program("-f", "p.yaml", "--local", "--engine", "process")

    assert result.code == 0, result.err
    said = dict(zip(names, (line[1:-1] for line in log(folder, latest(folder), "one")), strict=True))
    assert said.pop("outputs.output_file").endswith("/executor_output.json")
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", said.pop("pipeline_job_schedule_time_utc"))
    assert said == {
        "pipeline_google_cloud_project_id": "acme-project",
        "pipeline_google_cloud_location": "us-central1",
        "pipeline_service_account": "runner@acme-project.iam.gserviceaccount.com",
        "pipeline_network": "",
        "pipeline_encryption_key_name": "",
        "pipeline_persistent_resource_id": "",
    }


SAY = 'for word in "$@"; do echo "<$word>"; done'


# ── other platforms ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("image", ["argostub/createpvc", "argostub/deletepvc:1", "docker.io/argostub/createpvc"])
def test_a_step_of_a_kfp_server_has_no_image(program: Cli, image: str) -> None:
    with_args(program, image=image, command=[])
    found = findings(program, "-f", "p.yaml")
    assert told(found) == [("warning", "RK-IMAGE-SERVER")]
    local = program("-f", "p.yaml", "--local", "--dry-run")
    assert local.code == 2
    assert "a volume on a KFP server and has no image to run" in local.err


@pytest.mark.parametrize("image", ["acme/createpvc:1", "argostub/other:1"])
def test_images_beside_those(program: Cli, image: str) -> None:
    with_args(program, image=image)
    assert findings(program, "-f", "p.yaml") == []
    assert program("-f", "p.yaml", "--local", "--dry-run").code == 0


def test_settings_for_kubernetes_by_kind(program: Cli) -> None:
    with_args(program)
    path = program.folder / "p.yaml"
    settings = {
        "secretAsEnv": [{"secretName": "tracker", "keyToEnv": [{"secretKey": "key", "envVar": "TRACKER"}]}],
        "pvcMount": [{"mountPath": "/data", "constant": "disk"}],
        "nodeSelector": {"labels": {"pool": "gpu"}},
        "tolerations": [{"key": "gpu"}],
    }
    platform = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {"exec-one": settings}}}}}
    path.write_text(path.read_text(encoding="utf-8") + "---\n" + yaml.safe_dump(platform), encoding="utf-8")
    hint = (
        "pass secrets as parameters ([secrets] of the registry); use /gcs/BUCKET/… instead of volumes; "
        "no equivalent for nodeSelector, tolerations: remove them"
    )

    ((severity, code, text),) = findings(program, "-f", "p.yaml")
    local = program("-f", "p.yaml", "--local", "--dry-run")

    assert (severity, code) == ("warning", "RK-PLATFORM-KUBERNETES")
    assert text.endswith(hint)
    assert local.code == 0
    assert "note: the settings for kubernetes have no effect here: nodeSelector, pvcMount, secretAsEnv" in local.err
    assert hint in local.err


# ── Google's launchers ──────────────────────────────────────────────────────────────────────────────────────────────

LAUNCHERS = "google_cloud_pipeline_components.container.v1"
GOOGLES = "gcr.io/ml-pipeline/google-cloud-pipeline-components:2.20.0"


@pytest.mark.parametrize(
    ("image", "command"),
    [
        (GOOGLES, ["python3", "-u", "-m", f"{LAUNCHERS}.custom_job.launcher"]),
        (GOOGLES, ["python3", "-m", f"{LAUNCHERS}.aiplatform.remote_runner", "--cls_name", "ImageDataset"]),
        ("us-docker.pkg.dev/acme/mirror/launchers:1", ["sh", "-c", f"exec python3 -m {LAUNCHERS}.bigquery.query_job"]),
        (GOOGLES, []),
        (GOOGLES.partition(":")[0], []),
    ],
)
def test_googles_launchers_start_nothing_from_a_rehearsal(program: Cli, image: str, command: list[str]) -> None:
    first = task("acme/first:1", ["true"])
    second = task(image, command, ["--type", "CustomJob"], after=["first"])
    (program.folder / "p.yaml").write_text(pipeline_text("p", {"first": first, "second": second}), encoding="utf-8")

    for more in ([], ["--dry-run"], ["--engine", "process"], ["--with-credentials"]):
        result = program("-f", "p.yaml", "--local", *more)
        assert result.code == 2
        assert "step second starts a job in Google Cloud, which --local does not do" in result.err
        assert "submit to Vertex AI" in result.err
    assert not list((program.folder / ".run-kfp").glob("runs/*"))


def test_steps_on_the_image_of_the_launchers_with_a_program_of_their_own_run(program: Cli) -> None:
    with_args(program, image=GOOGLES, command=["python3", "own.py"])
    assert program("-f", "p.yaml", "--local", "--dry-run").code == 0


# ── artifacts ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_artifact_that_a_run_does_not_bring_is_a_warning(program: Cli) -> None:
    with_args(program)
    kind = {"artifactType": {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"}}
    changed(
        program, "p.yaml", root__inputDefinitions={"artifacts": {"data": kind, "more": {**kind, "isOptional": True}}}
    )

    ((severity, code, text),) = findings(program, "-f", "p.yaml")

    assert (severity, code) == ("warning", "RK-ARTIFACT-INPUT")
    assert "'data'" in text
    assert "runtimeConfig.inputArtifacts" in text
    assert "input_artifacts" in text
    assert program("check", "-f", "p.yaml", "--offline").code == 0


# ── types ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def with_defaults(program: Cli, **defaults: tuple[str, Any]) -> None:
    """Write `p.yaml`: parameters of the pipeline with a type and a default each, and the same of a component."""
    with_args(program)
    declared = {
        name: {"parameterType": kind, "defaultValue": value, "isOptional": True}
        for name, (kind, value) in defaults.items()
    }
    path = program.folder / "p.yaml"
    spec = yaml.safe_load(path.read_text(encoding="utf-8"))
    spec["root"]["inputDefinitions"] = {"parameters": declared}
    spec["components"]["comp-one"]["inputDefinitions"]["parameters"].update(declared)
    path.write_text(yaml.safe_dump(spec), encoding="utf-8")


def test_defaults_of_another_type(program: Cli) -> None:
    with_defaults(
        program,
        text=("STRING", 3),
        text_of_yes=("STRING", True),
        count=("NUMBER_INTEGER", 1.5),
        count_of_yes=("NUMBER_INTEGER", True),
        count_in_words=("NUMBER_INTEGER", "3"),
        share=("NUMBER_DOUBLE", "0.5"),
        flag=("BOOLEAN", 1),
        some=("LIST", "a,b"),
        table=("STRUCT", []),
    )
    names = ["count", "count_in_words", "count_of_yes", "flag", "share", "some", "table", "text", "text_of_yes"]

    found = findings(program, "-f", "p.yaml")
    given = findings(
        program, "-f", "p.yaml", *(f"-p{name}={value}" for name, value in (("text", "x"), ("some", '["a"]')))
    )

    assert told(found) == [("warning", "RK-SPEC-TYPE")] * 18
    for place in ("root", "components.comp-one"):
        places = [f"p.yaml: {place}.inputDefinitions.parameters.{name}.defaultValue: " for name in names]
        assert all(any(text.startswith(each) for _, _, text in found) for each in places)
    # What a value of the call replaces need not be told; the component's own stay.
    assert len(given) == 16


def test_defaults_of_their_type_are_silent(program: Cli) -> None:
    with_defaults(
        program,
        text=("STRING", ""),
        count=("NUMBER_INTEGER", 3.0),
        below=("NUMBER_INTEGER", -2),
        share=("NUMBER_DOUBLE", 1),
        flag=("BOOLEAN", False),
        some=("LIST", []),
        table=("STRUCT", {"a": 1.5}),
    )
    assert findings(program, "-f", "p.yaml") == []


# ── schema 2.0.0 ────────────────────────────────────────────────────────────────────────────────────────────────────

OLDER = ("-f", "older.yaml", "-p", "day=monday", "-p", "ratio=2")


@pytest.mark.parametrize(("value", "wrong"), [("many", True), ("1.5", True), ("-3", False), ("100", False)])
def test_types_by_their_older_names(program: Cli, value: str, wrong: bool) -> None:
    found = findings(program, *OLDER, "-p", f"rows={value}")
    assert told(found) == ([("error", "RK-PARAM-TYPE")] if wrong else [])


def test_an_older_spec_gets_its_values_by_their_types(program: Cli, vertex: FakeVertex, account_key_file: Path) -> None:
    variables = {**vertex.environment(), "GOOGLE_APPLICATION_CREDENTIALS": str(account_key_file)}
    call = (*OLDER, "-p", "rows=100", "--api-endpoint", vertex.endpoint, "--no-check")

    result = program(*call, **variables)

    assert result.code == 0, result.err
    (create,) = vertex.creates
    config = json_format.MessageToDict(PipelineJob.pb(create.pipeline_job).runtime_config)
    assert config["parameters"] == {
        "day": {"stringValue": "monday"},
        "rows": {"intValue": "100"},
        "ratio": {"doubleValue": 2.0},
    }
    assert "parameterValues" not in config


@pytest.mark.parametrize(
    ("version", "older"), [("2.0.0", True), ("1.9.0", True), ("2.0.1", False), ("2.1.0", False), ("2.1", False)]
)
def test_which_specs_are_older(version: str, older: bool) -> None:
    assert takes_older_values({"schemaVersion": version}) is older
    assert not takes_older_values({})


def test_an_older_spec_runs_on_this_machine(program: Cli, folder: Path, write: Write) -> None:
    command = json.dumps(["sh", "-c", SAY, "sum"])
    entry = f'[containers.2]\nname = "sum"\nimage = "acme/sum:1"\ncommand = {command}\n'
    write("run-kfp.toml", f'{SETTINGS}{entry}process = {{ cwd = ".", entrypoint = {command} }}\n')

    result = program(*OLDER, "-p", "rows=7", "--local", "--engine", "process")

    assert result.code == 0, result.err
    assert log(folder, latest(folder), "sum") == ["<monday>", "<7>", "<0.5>", "<-3>"]


# ── the pipeline root ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("args", "root", "source"),
    [
        ((), "gs://acme-data/from-the-file", "defaultPipelineRoot of rooted.yaml"),
        (("--bucket", "acme-other"), "gs://acme-data/from-the-file", "defaultPipelineRoot of rooted.yaml"),
        (("--pipeline-root", "gs://acme-other/mine"), "gs://acme-other/mine", "--pipeline-root"),
    ],
)
def test_the_root_of_the_file(program: Cli, args: tuple[str, ...], root: str, source: str) -> None:
    shown = program("-f", "rooted.yaml", "--dry-run", *args)
    data = json.loads(program("-f", "rooted.yaml", "--dry-run", "--json", *args).out)

    assert (data["pipeline_root"], data["pipeline_root_from"]) == (root, source)
    assert f"pipeline root    {root}  ({source})" in shown.out


def test_a_file_with_a_root_needs_no_bucket(program: Cli, write: Write) -> None:
    write("run-kfp.toml", SETTINGS.replace('bucket = "acme-bucket"\n', ""))
    assert findings(program, "-f", "rooted.yaml") == []
    assert program("-f", "rooted.yaml", "--dry-run").code == 0


@pytest.mark.parametrize("root", [None, "minio://mlpipeline/v2", "/files"])
def test_a_root_that_vertex_ai_cannot_take_is_made_from_the_bucket(
    program: Cli, write: Write, root: str | None
) -> None:
    changed(program, "rooted.yaml", defaultPipelineRoot=root)
    data = json.loads(program("-f", "rooted.yaml", "--dry-run", "--json").out)
    made = ("gs://acme-bucket/pipeline_root/root", "made from the bucket")
    assert (data["pipeline_root"], data["pipeline_root_from"]) == made
    write("run-kfp.toml", SETTINGS.replace('bucket = "acme-bucket"\n', ""))
    assert told(findings(program, "-f", "rooted.yaml")) == [("error", "RK-SETTING-MISSING")]


# ── limits from parameters ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ([], []),
        (["gpus=0"], []),
        (["gpus=3"], [("error", "RK-GPU-COUNT")]),
        (["gpu=NVIDIA_TESLA_T5"], [("error", "RK-GPU-TYPE")]),
        # Both steps take it: the one of the nested pipeline too. What is said in the same words is said once.
        (["cpu=200"], [("error", "RK-CPU-LIMIT")] * 2),
        (["memory=much"], [("error", "RK-MEMORY-FORMAT")]),
    ],
)
def test_limits_from_parameters_are_checked_as_literals_are(
    program: Cli, args: list[str], expected: list[tuple[str, str]]
) -> None:
    given = [word for value in args for word in ("-p", value)]
    found = [one for one in told(findings(program, "-f", "limits.yaml", *given)) if one[1] != "RK-QUOTA-DEFAULT"]
    assert found == expected


@pytest.mark.parametrize(
    ("source", "severity", "words"),
    [
        (
            {"taskOutputParameter": {"producerTask": "size", "outputParameterKey": "Output"}},
            "note",
            "which is known only when the run is created",
        ),
        (None, "error", "refers to the input 'pipelinechannel--cpu', which the task does not have"),
    ],
)
def test_limits_that_are_known_only_during_the_run(
    program: Cli, source: dict[str, Any] | None, severity: str, words: str
) -> None:
    path = program.folder / "limits.yaml"
    spec = yaml.safe_load(path.read_text(encoding="utf-8"))
    inputs = spec["root"]["dag"]["tasks"]["fit"]["inputs"]["parameters"]
    inputs.pop("pipelinechannel--cpu")
    inputs |= {"pipelinechannel--cpu": source} if source else {}
    spec["root"]["dag"]["tasks"].pop("inner")
    path.write_text(yaml.safe_dump(spec), encoding="utf-8")

    found = [one for one in findings(program, "-f", "limits.yaml") if one[1] == "RK-RESOURCE-PLACEHOLDER"]
    local = program("-f", "limits.yaml", "--local", "--dry-run")

    assert told(found) == [(severity, "RK-RESOURCE-PLACEHOLDER")]
    assert words in found[0][2]
    assert local.code == (0 if source else 2)


def test_older_fields_take_no_placeholder(program: Cli) -> None:
    path = program.folder / "limits.yaml"
    text = path.read_text(encoding="utf-8").replace("resourceCpuLimit:", "cpuLimit:")
    path.write_text(text, encoding="utf-8")
    found = [one for one in findings(program, "-f", "limits.yaml") if one[1] == "RK-RESOURCE-PLACEHOLDER"]
    assert told(found) == [("error", "RK-RESOURCE-PLACEHOLDER")]
    assert "cpuLimit takes no placeholder; resourceCpuLimit does" in found[0][2]


def test_plans_show_the_limits_of_the_call(program: Cli) -> None:
    path = program.folder / "limits.yaml"
    spec = yaml.safe_load(path.read_text(encoding="utf-8"))
    spec["root"]["dag"]["tasks"].pop("inner")
    path.write_text(yaml.safe_dump(spec), encoding="utf-8")
    for more in ([], ["--local"]):
        for args, words in (
            ([], "  8 CPU, 30G, 1 × NVIDIA_TESLA_T4"),
            (["-p", "cpu=4", "-p", "gpus=2"], "  4 CPU, 30G, 2 × NVIDIA_TESLA_T4"),
        ):
            shown = program("-f", "limits.yaml", "--dry-run", *more, *args)
            assert shown.code == 0, shown.err
            assert words in shown.out


# ── a whole PipelineJob ─────────────────────────────────────────────────────────────────────────────────────────────

JOB = ("-f", "nightly.json", "--dry-run", "--json")


def test_a_whole_job_is_read(program: Cli) -> None:
    data = json.loads(program(*JOB, "-p", "rows=7").out)

    assert data["parameter_values"] == {
        "day": {"value": "monday", "from": "nightly.json: runtimeConfig"},
        "rows": {"value": 7, "from": "-p"},
        "some": {"value": [1, "a"], "from": "nightly.json: runtimeConfig"},
    }
    assert json.loads(program(*JOB).out)["parameter_values"]["rows"]["value"] == 100
    root = (data["pipeline_root"], data["pipeline_root_from"])
    assert root == ("gs://acme-data/jobs", "gcsOutputDirectory of nightly.json")
    assert data["labels"]["team"] == "rain"
    assert data["service_account"] == "runner@acme-project.iam.gserviceaccount.com"
    assert "pipelineSpec" not in data["pipeline_spec"]
    assert program("-f", "nightly.json", "--local", "--dry-run").code == 0


def test_what_the_call_says_goes_before_the_job(program: Cli) -> None:
    data = json.loads(program(*JOB, "--pipeline-root", "gs://acme-other/mine", "--label", "team=sun").out)
    assert (data["pipeline_root"], data["labels"]["team"]) == ("gs://acme-other/mine", "sun")


def test_what_is_not_taken_from_a_job_is_told(program: Cli) -> None:
    ((severity, code, text),) = findings(program, "-f", "nightly.json")
    assert (severity, code) == ("warning", "RK-SPEC-KEY")
    assert "serviceAccount of a PipelineJob is not used → pass --service-account" in text


def test_values_of_a_job_have_their_types(program: Cli) -> None:
    changed(program, "nightly.json", runtimeConfig__parameterValues__rows="many")
    found = findings(program, "-f", "nightly.json")
    assert ("error", "RK-PARAM-TYPE") in told(found)


def test_labels_of_a_job_keep_to_the_rules_of_labels(program: Cli) -> None:
    changed(program, "nightly.json", labels__team="Rain & Sun")
    result = program(*JOB)
    assert (result.code, "label team has the invalid value 'Rain & Sun'" in result.err) == (2, True)


def test_a_secret_in_the_values_of_a_job_is_found(program: Cli, write: Write) -> None:
    value = canary("job")
    write("run-kfp.toml", f'{SETTINGS}[secrets.key]\nenv = "KEY"\n')
    changed(program, "nightly.json", runtimeConfig__parameterValues__day=value)
    result = program("check", "-f", "nightly.json", "--offline", KEY=value)
    assert "RK-SECRET-WRITTEN: nightly.json: runtimeConfig.day" in result.out
    assert value not in result.out + result.err


def test_a_submission_sends_a_file_as_it_is(program: Cli, vertex: FakeVertex, account_key_file: Path) -> None:
    """Also what the installed schema does not have: a newer one may."""
    changed(program, "older.yaml", root__ofTheFuture={"kept": [1]})
    variables = {**vertex.environment(), "GOOGLE_APPLICATION_CREDENTIALS": str(account_key_file)}
    call = (*OLDER, "-p", "rows=1", "--api-endpoint", vertex.endpoint, "--no-check")

    result = program(*call, **variables)

    assert result.code == 0, result.err
    (create,) = vertex.creates
    sent = json_format.MessageToDict(PipelineJob.pb(create.pipeline_job).pipeline_spec)
    assert sent == yaml.safe_load((program.folder / "older.yaml").read_text(encoding="utf-8"))
    assert "\npipeline root: gs://" in f"\n{result.err}"
