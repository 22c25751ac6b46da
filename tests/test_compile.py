"""From a selection to `pipeline.yaml`: its content, its sameness, and what it must not hold or need."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import Cli, Write
from dermaid import MAIN, SETTINGS, Canaries

COMPILE = (*MAIN, "--compile-only")
T4 = {"count": "4", "resourceCount": "4", "type": "NVIDIA_TESLA_T4", "resourceType": "NVIDIA_TESLA_T4"}
LARGE = {
    "cpuLimit": 16.0,
    "resourceCpuLimit": "16",
    "memoryLimit": 128.0,
    "resourceMemoryLimit": "128G",
    "accelerator": T4,
}


def parameter(name: str) -> str:
    return f"{{{{$.inputs.parameters['{name}']}}}}"


def read(folder: Path, name: str = "pipeline.yaml") -> dict[str, Any]:
    spec: dict[str, Any] = yaml.safe_load((folder / name).read_text(encoding="utf-8"))
    return spec


def container(spec: dict[str, Any], task: str) -> dict[str, Any]:
    component = spec["components"][spec["root"]["dag"]["tasks"][task]["componentRef"]["name"]]
    found: dict[str, Any] = spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
    return found


# An interpreter that runs this first ends at the first attempt to look up a name or open a connection.
NO_NETWORK = """
import os, sys
def refuse(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        os.write(2, f"NETWORK: {event} {args}".encode())
        os._exit(97)
sys.addaudithook(refuse)
"""


@pytest.fixture
def offline(tmp_path: Path) -> dict[str, str]:
    """Variables under which a process of the program ends when it reaches for the network."""
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(NO_NETWORK)
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(hook), os.environ.get("PYTHONPATH", "")]))}


def test_the_hook_against_the_network_works(offline: dict[str, str], folder: Path) -> None:
    command = [sys.executable, "-c", "import socket; socket.create_connection(('localhost', 9))"]
    assert subprocess.run(command, env={**os.environ, **offline}, capture_output=True, check=False).returncode == 97


def test_the_main_job_compiles_with_nothing_set(cli: Cli, folder: Path, offline: dict[str, str]) -> None:
    result = cli(*COMPILE, **offline)

    assert result.code == 0, result.err
    assert result.out == "pipeline.yaml\n"
    assert [path.name for path in folder.iterdir()] == ["pipeline.yaml"]
    spec = read(folder)
    assert spec["pipelineInfo"] == {"name": "dermaid", "displayName": "dermaid-pipeline"}
    tasks = spec["root"]["dag"]["tasks"]
    chain = ["get-raw-data", "preprocess-data", "versioning", "train-model"]
    assert sorted(tasks) == sorted(chain)
    for before, task in zip([None, *chain], chain, strict=False):
        assert tasks[task].get("dependentTasks", []) == ([before] if before else [])
        assert tasks[task]["cachingOptions"] == {}
    names = [tasks[task]["taskInfo"]["name"] for task in chain]
    assert names == ["01-get-raw-data", "02-preprocess-data", "08-versioning", "03-train-model"]


def test_the_four_contracts(cli: Cli, folder: Path) -> None:
    assert cli(*COMPILE).code == 0

    spec = read(folder)
    assert container(spec, "get-raw-data") == {
        "image": "crispinnosidam/01-get-raw-data",
        "args": [
            "-c",
            'GCS_BUCKET_NAME="$1" exec pipenv run python get_data.py',
            "get-raw-data",
            parameter("bucket"),
        ],
    }
    assert container(spec, "preprocess-data") == {
        "image": "crispinnosidam/02-preprocess-data",
        "args": [
            "-c",
            'GCS_BUCKET_NAME="$1" WHYLABS_DEFAULT_ORG_ID="$2" WHYLABS_API_KEY="$3" '
            'WHYLABS_DEFAULT_DATASET_ID="$4" exec pipenv run python preprocess_data.py',
            "preprocess-data",
            *map(parameter, ("bucket", "whylabs_org_id", "whylabs_api_key", "whylabs_dataset_id")),
        ],
        "resources": LARGE,
    }
    assert container(spec, "versioning") == {
        "image": "sahilsakhuja/dermaid-versioning",
        "args": [*map(parameter, ("project", "bucket", "git_login", "tag"))],
    }
    assert container(spec, "train-model") == {
        "image": "crispinnosidam/03-train-model",
        "args": [*map(parameter, ("project", "bucket", "git_login", "wandb_api_key", "tag")), "4"],
        "resources": LARGE,
    }


def test_parameters_are_strings_without_default(cli: Cli, folder: Path) -> None:
    assert cli(*COMPILE).code == 0

    declared = read(folder)["root"]["inputDefinitions"]["parameters"]
    assert sorted(declared) == [
        "bucket",
        "git_login",
        "project",
        "tag",
        "wandb_api_key",
        "whylabs_api_key",
        "whylabs_dataset_id",
        "whylabs_org_id",
    ]
    assert all(body == {"parameterType": "STRING"} for body in declared.values())


def test_the_same_bytes_whatever_is_set(cli: Cli, folder: Path, write: Write) -> None:
    def compiled(*args: str, **variables: str) -> bytes:
        (folder / "pipeline.yaml").unlink(missing_ok=True)
        result = cli(*args, **variables)
        assert result.code == 0, result.err
        return (folder / "pipeline.yaml").read_bytes()

    first = compiled(*COMPILE)
    assert compiled(*COMPILE) == first
    assert compiled("-r", "1-4", "-t", "another", "--compile-only") == first
    assert compiled("-r", "1,2", "-r", "versioning", "-r", "4", "--compile-only") == first
    canaries = Canaries()
    variables = {**SETTINGS, **canaries.variables, "KFP_DISABLE_EXECUTION_CACHING_BY_DEFAULT": "true"}
    assert compiled(*COMPILE, "--project", "my-project", "-p", "tag=dataset_v22", **variables) == first
    assert compiled(*COMPILE, PYTHONHASHSEED="1") == compiled(*COMPILE, PYTHONHASHSEED="2") == first
    assert not any(value.encode() in first for value in (*canaries.values, *SETTINGS.values()))


def test_the_same_bytes_with_the_whole_of_kfp(cli: Cli, folder: Path) -> None:
    """`_KFP_RUNTIME` keeps `kfp.client` from being loaded; nothing else may depend on it."""
    assert cli(*COMPILE, "-o", "short.yaml").code == 0
    whole = [sys.executable, "-c", "import kfp; kfp.Client; from run_kfp.cli import main; main()"]
    subprocess.run([*whole, *COMPILE, "-o", "whole.yaml"], cwd=folder, env=cli.environment({}), check=True)

    assert (folder / "short.yaml").read_bytes() == (folder / "whole.yaml").read_bytes()


def test_kfp_client_is_not_loaded(cli: Cli, folder: Path) -> None:
    script = "import sys; from run_kfp.cli import execute; assert not execute(sys.argv[1:]); print(*sys.modules)"
    command = [sys.executable, "-c", script, *COMPILE]
    done = subprocess.run(command, cwd=folder, env=cli.environment({}), check=True, capture_output=True, text=True)

    modules = done.stdout.split()
    assert "kfp.compiler" in modules
    assert "kfp.client" not in modules
    assert "google.cloud.aiplatform_v1" not in modules


@pytest.mark.parametrize(("count", "argument"), [("2", "2"), ("0", "0"), ("1", "1")])
def test_one_number_for_the_script_and_the_machine(cli: Cli, folder: Path, count: str, argument: str) -> None:
    assert cli("-r", "4", "--compile-only", NUM_GPU=count).code == 0

    found = container(read(folder), "train-model")
    assert found["args"][-1] == argument
    assert found["resources"].get("accelerator", {}).get("resourceCount") == (None if count == "0" else count)
    assert cli("-r", "4", "--compile-only", "-p", f"num_gpu={count}", "-o", "flag.yaml", NUM_GPU="7").code == 0
    assert read(folder, "flag.yaml") == read(folder)


def test_a_container_chosen_twice_runs_twice_and_says_so(cli: Cli, folder: Path) -> None:
    result = cli("-r", "3", "-r", "1", "-r", "3", "--compile-only")

    assert result.code == 0, result.err
    assert "versioning is chosen 2 times" in result.err
    tasks = read(folder)["root"]["dag"]["tasks"]
    assert tasks["get-raw-data"]["dependentTasks"] == ["versioning"]
    assert tasks["versioning-2"]["dependentTasks"] == ["get-raw-data"]


def test_stdout_takes_the_file(cli: Cli, folder: Path) -> None:
    result = cli("-r", "1", "--compile-only", "-o", "-")
    assert cli("-r", "1", "--compile-only").code == 0

    assert result.code == 0
    assert result.out == (folder / "pipeline.yaml").read_text(encoding="utf-8")


def test_a_file_that_cannot_be_written_leaves_what_was_there(cli: Cli, folder: Path, write: Write) -> None:
    write("taken/pipeline.yaml/file", "")
    missing = cli("-r", "1", "--compile-only", "-o", "nowhere/pipeline.yaml")
    taken = cli("-r", "1", "--compile-only", "-o", "taken/pipeline.yaml")

    assert (missing.code, taken.code) == (2, 2)
    assert "cannot write nowhere/pipeline.yaml" in missing.err
    assert "it is a folder" in taken.err
    assert sorted(path.name for path in folder.rglob("*")) == ["file", "pipeline.yaml", "taken"]


def test_a_faulty_call_writes_nothing(cli: Cli, folder: Path) -> None:
    result = cli("-r", "1", "--compile-only", "--bucket", "gs://b")

    assert result.code == 2
    assert list(folder.iterdir()) == []


REGISTRY = """
[pipeline]
name = "shop"
[containers.1]
name = "first"
image = "alpine"
command = ["/bin/sh", "-c"]
args = ["echo", { param = "tag", prefix = "--tag=" }]
env = { MODE = "on line" }
cpu = "500m"
memory = "512Mi"
[containers.2]
name = "second"
image = "alpine:3"
entrypoint = ["python3", "main.py"]
args = ["--go"]
env = { KEY = { secret = "key" }, PLACE = { param = "bucket" }, MODE = "x" }
[containers.3]
factory = "parts.steps:evaluate"
name = "evaluate"
memory = "4G"
[containers.4]
name = "again"
factory = "parts.steps:ready"
[params.threshold]
default = "0.5"
[secrets.key]
env = "SHOP_KEY"
"""

FACTORY = """
from kfp import dsl, components, Client

def evaluate():
    @dsl.container_component
    def evaluate(threshold: str, key: str):
        return dsl.ContainerSpec(image="python:3.12", command=["python3", "-c"], args=[threshold, key])
    return evaluate

@dsl.component(base_image="python:3.12")
def ready(tag: str) -> str:
    return tag
"""


def test_command_prefix_environment_and_resources(cli: Cli, folder: Path, write: Write) -> None:
    write("run-kfp.toml", REGISTRY)
    assert cli("-r", "1-2", "--compile-only").code == 0

    spec = read(folder)
    first = container(spec, "first")
    assert first["command"] == ["/bin/sh", "-c"]
    assert first["args"] == ["echo", "--tag=" + parameter("tag")]
    assert first["env"] == [{"name": "MODE", "value": "on line"}]
    assert first["resources"]["resourceCpuLimit"] == "500m"
    assert first["resources"]["memoryLimit"] == pytest.approx(0.536870912)
    second = container(spec, "second")
    assert second["command"] == ["env"]
    assert second["args"] == ["KEY=" + parameter("key"), "PLACE=" + parameter("bucket"), "python3", "main.py", "--go"]
    assert second["env"] == [{"name": "MODE", "value": "x"}]


def test_factories_are_chained_with_containers(cli: Cli, folder: Path, write: Write) -> None:
    write("deep/run-kfp.toml", REGISTRY)
    write("deep/parts/steps.py", FACTORY)
    result = cli("--registry", "deep/run-kfp.toml", "-r", "1", "-r", "3", "-r", "4", "--compile-only")

    assert result.code == 0, result.err
    spec = read(folder)
    tasks = spec["root"]["dag"]["tasks"]
    assert tasks["evaluate"]["dependentTasks"] == ["first"]
    assert tasks["again"]["dependentTasks"] == ["evaluate"]  # as the registry calls it
    assert container(spec, "evaluate")["args"] == [parameter("threshold"), parameter("key")]
    assert container(spec, "evaluate")["resources"]["resourceMemoryLimit"] == "4G"
    assert sorted(spec["root"]["inputDefinitions"]["parameters"]) == ["key", "tag", "threshold"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("def evaluate():\n    raise RuntimeError('no data')", "failed: RuntimeError: no data"),
        ("def evaluate():\n    return 3", "returned a int, which is not a KFP component"),
        ("import nothing_of_that_name", "failed: ModuleNotFoundError"),
        (
            "from kfp import dsl\n@dsl.component(base_image='python')\ndef evaluate(unheard: str):\n    pass",
            "input 'unheard' is not a parameter or secret",
        ),
        (
            "from kfp import dsl\n@dsl.component(base_image='python')\ndef evaluate(threshold: int):\n    pass",
            "of type Integer",
        ),
    ],
)
def test_a_factory_that_fails_is_told(cli: Cli, write: Write, code: str, words: str) -> None:
    write("run-kfp.toml", REGISTRY)
    write("parts/steps.py", code + "\n")

    result = cli("-r", "3", "--compile-only")

    assert result.code == 2
    assert words in result.err
    assert "Traceback" not in result.err


def test_steps_without_side_effects_are_cached_when_asked(cli: Cli, folder: Path, write: Write) -> None:
    write("run-kfp.toml", REGISTRY.replace('image = "alpine:3"', 'image = "alpine:3"\nside_effects = true'))
    result = cli("-r", "1-2", "--compile-only", "--caching")

    assert result.code == 0
    assert "never taken from the cache, because of their side effects: second" in result.err
    tasks = read(folder)["root"]["dag"]["tasks"]
    assert tasks["first"]["cachingOptions"] == {"enableCache": True}
    assert tasks["second"]["cachingOptions"] == {}


def test_json_tells_what_was_compiled(cli: Cli) -> None:
    result = cli("-r", "1,4", "--compile-only", "--json")

    assert result.json["file"] == "pipeline.yaml"
    assert [step["name"] for step in result.json["steps"]] == ["get-raw-data", "train-model"]
    assert result.json["steps"][1]["after"] == ["get-raw-data"]


SMALL = """
pipelineInfo: {name: x}
deploymentSpec: {executors: {e: {container: {image: alpine, command: [ls]}}}}
components: {c: {executorLabel: e}}
root: {dag: {tasks: {a: {componentRef: {name: c}}}}}
schemaVersion: 2.1.0
sdkVersion: kfp-2.17.0
"""
# 341 bytes that stand for 9^10 texts.
ALIASES = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in itertools.pairwise("abcdefghij")
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no pipelineInfo, root"),
        ("[1, 2", "line 1: is invalid YAML"),
        ("pipelineSpec: {}", "is not a KFP v2 pipeline: it has no pipelineInfo"),
        ("pipelineInfo: {name: x}\nroot: {}\ndeploymentSpec: {}\ncomponents: {}", "it has no tasks"),
        (
            "pipelineInfo: {name: x}\ndeploymentSpec: {}\ncomponents: {}\n"
            "root: {dag: {tasks: {a: {dependentTasks: [b]}, b: {dependentTasks: [a]}}}}",
            "depend on each other",
        ),
        (
            "pipelineInfo: {name: x}\ndeploymentSpec: {}\ncomponents: {}\nroot: {dag: {tasks: {a: 3}}}",
            "root.dag.tasks.a: is not a task",
        ),
        # libyaml's recursion would end the process.
        ("[" * 100_000, "line 1: nested more than 90 deep"),
        ("{" * 50_000, "line 1: nested more than 90 deep"),
        ("- " * 50_000, "line 1: nested more than 90 deep"),
        (ALIASES, "with its aliases (*name) expanded, it is larger than 64 MB"),
        ("a: &a " + "x" * 1_000_000 + "\nb: [" + "*a," * 100 + "1]", "expanded, it is larger than 64 MB"),
        ("pipelineInfo: {name: x}\n" * 2, "line 2: the key 'pipelineInfo': duplicate key"),
        (SMALL + "---\n" + SMALL, "contains several pipelines, separated by ---"),
    ],
)
def test_a_file_that_is_no_pipeline_is_refused(cli: Cli, write: Write, text: str, words: str) -> None:
    write("given.yaml", text)

    result = cli("-f", "given.yaml", "-t", "x", "--dry-run")

    assert result.code == 2
    assert words in result.err


def test_aliases_and_a_platform_spec_belong_to_yaml(cli: Cli, write: Write) -> None:
    shared = "extra: &shared {a: 1}\nmore: [*shared, *shared]\n"
    write("given.yaml", f"{SMALL}{shared}---\nplatforms: {{}}\n")

    result = cli("-f", "given.yaml", "--dry-run", **SETTINGS)

    assert result.code == 0, result.err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            SMALL.replace("root: {dag", "root: {inputDefinitions: {parameters: {n: {parameterType: STR}}}, dag"),
            ["root.inputDefinitions.parameters.n.parameterType: 'STR' is not a parameter type", "write STRING"],
        ),
        (
            SMALL.replace("command: [ls]", 'resources: {limits: {cpu: "4"}}'),
            ["deploymentSpec.executors.e.container.resources.limits: is a Kubernetes key", "resourceCpuLimit"],
        ),
        (
            SMALL.replace(
                "{componentRef: {name: c}}", "{componentRef: {name: c}, dependentTasks: [inner, trian]}"
            ).replace("tasks: {", "tasks: {train: {componentRef: {name: c}}, "),
            [
                "a depends on 'inner', which does not exist",
                "a depends on 'trian', which does not exist",
                "did you mean 'train'?",
            ],
        ),
        (
            SMALL.replace("{componentRef: {name: c}}", "{componentRef: {name: c}, dependentTasks: [a, inner]}"),
            ["tasks depend on each other: a", "a depends on 'inner', which does not exist"],
        ),
    ],
)
def test_a_pipeline_of_no_use_is_told_wholly(cli: Cli, write: Write, text: str, told: list[str]) -> None:
    write("given.yaml", text)

    for args in (["--dry-run"], ["check", "--offline"]):
        result = cli(
            *[word for word in args if word == "check"], "-f", "given.yaml", *args[-1:], "-p", "n=1", **SETTINGS
        )
        assert result.code in (2, 3)
        assert all(words in result.out + result.err for words in told), result.out + result.err


def test_what_has_no_end_is_not_read_to_it(cli: Cli, folder: Path) -> None:
    os.mkfifo(folder / "fifo")
    (folder / "folder").mkdir()

    for name, words in (
        ("/dev/zero", "it is larger than 64 MB"),
        ("fifo", "it is a pipe without a writer"),
        ("folder", "it is a folder"),
    ):
        result = cli("-f", name, "--dry-run", **SETTINGS)
        assert result.code == 2
        assert words in result.err


def test_a_pipe_that_somebody_writes_to_is_read_to_its_end(cli: Cli, folder: Path) -> None:
    os.mkfifo(folder / "fifo")
    process = cli.start("-f", "fifo", "--dry-run", **SETTINGS)
    with (folder / "fifo").open("w", encoding="utf-8") as fifo:  # waits until it is opened for reading
        fifo.write(SMALL)
    out, err = process.communicate(timeout=60)

    assert process.returncode == 0, err
    assert "alpine" in out
    shell = [f"exec {sys.executable} -m run_kfp -f <(cat given.yaml) --dry-run"]
    (folder / "given.yaml").write_text(SMALL, encoding="utf-8")
    done = subprocess.run(
        ["bash", "-c", *shell], cwd=folder, env=cli.environment(SETTINGS), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("selection", [("-r", "1-4"), ("-r", "3", "-r", "4", "-r", "3"), ("-r", "2", "--caching")])
def test_what_is_told_of_a_compile_is_what_its_file_says(selection: tuple[str, ...], cli: Cli) -> None:
    """The graph is drawn from what was compiled, not from the file: both must be the same."""
    compiled = cli(*selection, "--compile-only", "--json").json
    variables = {**SETTINGS, **Canaries().variables}
    read = cli("-f", "pipeline.yaml", "-t", "v1", "--dry-run", **variables)
    planned = cli(*selection, "-t", "v1", "--dry-run", **variables)

    assert read.code == 0, read.err
    graph = "dermaid-pipeline  "
    assert read.out.partition(graph)[2] == planned.out.partition(graph)[2]
    assert compiled["parameters"] == sorted(
        cli("-f", "pipeline.yaml", "-t", "v1", "--dry-run", "--json", **variables).json["parameter_values"]
    )


def test_what_is_no_file_is_written_to_and_not_replaced(cli: Cli, folder: Path) -> None:
    fifo = folder / "fifo"
    os.mkfifo(fifo)
    process = cli.start("-r", "1", "--compile-only", "-o", "fifo")
    read = fifo.read_text(encoding="utf-8")
    _, err = process.communicate(timeout=60)

    assert process.returncode == 0, err
    assert fifo.is_fifo()
    assert cli("-r", "1", "--compile-only", "-o", "-").out == read
    link = cli("-r", "1", "--compile-only", "-o", "/dev/stdout")
    assert (link.code, link.out) == (0, read + "/dev/stdout\n")


def test_the_bytes_do_not_depend_on_the_locale(cli: Cli, folder: Path, write: Write) -> None:
    write("run-kfp.toml", REGISTRY.replace('name = "first"', 'name = "first"\ndisplay_name = "Erste – ünï"'))
    posix = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

    assert cli("-r", "1", "--compile-only").code == 0
    result = cli("-r", "1", "--compile-only", "-o", "posix.yaml", **posix)

    assert result.code == 0, result.err
    assert (folder / "posix.yaml").read_bytes() == (folder / "pipeline.yaml").read_bytes()


def test_a_switch_of_kfp_in_the_environment_changes_nothing(cli: Cli) -> None:
    assert cli("-r", "1", "--compile-only", _KFP_RUNTIME="true").code == 0


@pytest.mark.parametrize("args", [("-p", "num_gpus=0"), ("-p", "git_login=https://a:b@c")])
def test_a_parameter_that_nobody_takes_is_told_when_compiling(cli: Cli, folder: Path, args: tuple[str, ...]) -> None:
    result = cli("-r", "4", "--compile-only", *args)

    assert result.code == 2
    assert args[1].partition("=")[0] in result.err
    assert list(folder.iterdir()) == []


def test_a_setting_that_lies_about_is_not_in_the_way(cli: Cli) -> None:
    result = cli("-r", "1", "--compile-only", GCS_BUCKET_NAME="gs://b")

    assert result.code == 0, result.err
    assert "note: environment GCS_BUCKET_NAME: bucket is 'gs://b'" in result.err


def test_a_prefix_and_a_value_do_not_make_a_placeholder(cli: Cli, write: Write) -> None:
    write(
        "run-kfp.toml",
        '[containers.1]\nname = "a"\nimage = "x"\nargs = [{ param = "n", prefix = "{{" }]\n'
        '[containers.2]\nname = "b"\nimage = "x"\ncpu = { param = "n" }\n[params.n]\n',
    )

    result = cli("-r", "1", "--compile-only", "-p", "n=$.inputs.parameters['s']}}")

    assert result.code == 2
    assert "contains '{{$'" in result.err


def test_a_secret_that_a_factory_reads_is_not_written_down(cli: Cli, folder: Path, write: Write) -> None:
    canary_ = Canaries().wandb
    write("run-kfp.toml", REGISTRY)
    write(
        "parts/steps.py",
        "import os\nfrom kfp import dsl\n@dsl.container_component\ndef evaluate():\n"
        "    return dsl.ContainerSpec(image='x', args=[os.environ['SHOP_KEY']])\n",
    )

    result = cli("-r", "3", "--compile-only", SHOP_KEY=canary_)

    assert result.code == 2
    assert "would contain the value of a secret" in result.err
    assert not (folder / "pipeline.yaml").exists()


@pytest.mark.parametrize("noise", ["print('noise')", "import os; os.chdir('/')"])
def test_a_factory_does_not_change_where_results_go(cli: Cli, folder: Path, write: Write, noise: str) -> None:
    write("run-kfp.toml", REGISTRY)
    write("parts/steps.py", f"{noise}\n{FACTORY}")

    result = cli("-r", "3", "--compile-only")

    assert (result.code, result.out) == (0, "pipeline.yaml\n")
    assert (folder / "pipeline.yaml").exists()


@pytest.mark.parametrize("end", ["raise SystemExit(0)", "import sys; sys.exit('bye')"])
def test_a_factory_that_ends_the_program_is_a_fault(cli: Cli, write: Write, end: str) -> None:
    write("run-kfp.toml", REGISTRY)
    write("parts/steps.py", end)

    result = cli("-r", "3", "--compile-only")

    assert result.code == 2
    assert "SystemExit" in result.err


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("2024-01-01", "is a date"),
        ("!!binary aGk=", "is a bytes"),
        (".nan", "a number that JSON does not have"),
        ("123456789012345678901234567890", "beyond 2^53"),
        ("!!bool foo", "is invalid YAML"),
        ("[" * 95 + "]" * 95, "nested more than"),
        ("{1: x}", "which is not a string"),
        ("&a [*a]", "nested more than"),
    ],
)
def test_what_json_does_not_have_is_told_with_its_place(cli: Cli, folder: Path, value: str, told: str) -> None:
    assert cli("-r", "1", "--compile-only", "-o", "given.yaml").code == 0
    text = (folder / "given.yaml").read_text(encoding="utf-8")
    (folder / "given.yaml").write_text(f"{text}\nextra:\n  value: {value}\n", encoding="utf-8")

    result = cli("-f", "given.yaml", "--dry-run", "--json", **SETTINGS)

    assert result.code == 2
    assert told in result.err
    assert "Traceback" not in result.err
