"""`run-kfp check`, `explain`, `machines`, and the check that every submission makes by itself."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import Cli, Result, Write
from dermaid import MAIN, RUNNER, SETTINGS, Canaries, canary
from fakes.vertex import FakeVertex
from run_kfp.errors import shown
from run_kfp.preflight.rules import rules

RIGHT = {**SETTINGS, **Canaries().variables}

# What a right call of the packaged registry is told all the same: four T4 are above the default quota of us-east1.
EXPECTED = {"RK-QUOTA-DEFAULT"}

REGISTRY = """
[pipeline]
name = "small"
[containers.1]
name = "train"
image = "us-east1-docker.pkg.dev/test-project/images/train:v1"
args = [{ param = "tag" }]
[params.rounds]
env = "ROUNDS"
[secrets.api_key]
env = "API_KEY"
"""


def found(result: Result, severity: str) -> dict[str, str]:
    """Return the message of each finding of a severity, by its code."""
    return {one["code"]: one["message"] for one in result.json["findings"] if one["severity"] == severity}


def of_code(result: Result, code: str) -> list[dict[str, str]]:
    """Return the findings of a kind."""
    return [one for one in result.json["findings"] if one["code"] == code]


def test_a_right_call_is_found_right(cli: Cli) -> None:
    result = cli("check", *MAIN, "--offline", "--json", **RIGHT)

    assert result.code == 0, result.out
    assert found(result, "error") == {}
    assert found(result, "warning").keys() == EXPECTED
    assert result.json["ok"] is True
    assert result.json["looked"] == ["offline"]
    assert result.json["machines"]["train-model"]["machine"] == "n1-highmem-32"


MISTAKES = """
[pipeline]
name = "Skin"
[settings]
region = "us-esat1"
bucket = "gs://my-bucket"
[containers.1]
name = "fetch"
image = "Crispin/fetch data"
args = ["-c", "wget $URL"]
[containers.2]
name = "train"
image = "crispin/train:v2"
memory = "128GB"
cpu = 4
accelerator = { type = "NVIDIA_TESLA_T5", count = 3 }
args = [{ secret = "wandb_api_key" }, { param = "tga" }, { param = "tag" }]
side_effect = true
[secrets.wandb_api_key]
env = "WANDB_API_KEY"
"""


def test_ten_mistakes_are_told_at_once(cli: Cli, write: Write) -> None:
    write("run-kfp.toml", MISTAKES)
    write(".env", "WANDB_API_KEY=<your key>\n")

    result = cli("check", "-r", "1", "-r", "2", "-r", "7", "--offline", "--project", "my-project")

    assert result.code == 3
    for code, place, word in [
        ("RK-REGISTRY", "pipeline.name", "'Skin' is not a name"),
        ("RK-SETTING-FORMAT", "settings.bucket", "write 'my-bucket'"),
        ("RK-REGION", "", "us-east1"),
        ("RK-IMAGE-REFERENCE", "containers.1.image", "is not a valid image"),
        ("RK-MEMORY-FORMAT", "containers.2.memory", '"128G"?'),
        ("RK-GPU-TYPE", "containers.2.accelerator.type", "NVIDIA_TESLA_T4"),
        ("RK-REGISTRY", "containers.2.side_effect", "side_effects"),
        ("RK-REGISTRY", "containers.2", "'tga'"),
        ("RK-SECRET-VALUE", ".env WANDB_API_KEY", "placeholder"),
        ("RK-SELECTION", "-r 7", "unknown container '7'"),
        ("RK-PARAM-MISSING", "-t", "missing tag"),
        ("RK-ACCOUNT-MISSING", "--service-account", "GCS_SERVICE_ACCOUNT"),
    ]:
        pattern = f"^error: {code}: .*{re.escape(place)}.*{re.escape(word)}"
        assert re.search(pattern, result.out, re.MULTILINE), (code, place, word, result.out)
    assert "<your key>" not in result.out + result.err
    assert "Traceback" not in result.err


@pytest.mark.failure("F42", "RK-MEMORY-FORMAT")
@pytest.mark.parametrize(
    ("value", "suggestion"),
    [('"32GB"', '"32G"?'), ('"32 GB"', '"32G"?'), ('"1.5G"', '"1500M"?'), ('"500m"', '"500M"?')],
)
def test_memory_of_another_form_is_told_with_the_right_one(cli: Cli, write: Write, value: str, suggestion: str) -> None:
    write("run-kfp.toml", REGISTRY + f"[containers.2]\nname = 'two'\nimage = 'a/b:1'\nmemory = {value}\n")
    result = cli("check", "-r", "2", "--offline", "--json")
    assert suggestion in found(result, "error")["RK-MEMORY-FORMAT"]


@pytest.mark.failure("F44", "RK-CPU-FORMAT")
def test_a_number_of_cpus_may_be_a_number_and_no_word(cli: Cli, write: Write) -> None:
    two = REGISTRY + "[containers.2]\nname = 'two'\nimage = 'a/b:1'\ncpu = "
    write("run-kfp.toml", f"{two}4\n")
    assert "RK-CPU-FORMAT" not in found(cli("check", "-r", "2", "--offline", "--json"), "error")
    write("run-kfp.toml", f"{two}'four'\n")
    assert (
        "'four' is not a valid CPU limit"
        in found(cli("check", "-r", "2", "--offline", "--json"), "error")["RK-CPU-FORMAT"]
    )


@pytest.mark.failure("F25", "RK-PARAM-UNKNOWN")
def test_an_unknown_parameter_is_told_with_the_nearest(cli: Cli, write: Write) -> None:
    write("run-kfp.toml", REGISTRY)
    result = cli("check", "-r", "1", "-t", "v1", "-p", "ronds=3", "--offline", "--json", **RIGHT)
    assert result.code == 3
    (finding,) = [one for one in result.json["findings"] if one["code"] == "RK-PARAM-UNKNOWN"]
    assert finding["hint"] == "did you mean 'rounds'?"
    assert finding["place"] == "-p ronds"


TYPED = """
pipelineInfo: {name: typed}
root:
  dag: {tasks: {one: {componentRef: {name: comp-one}, inputs: {parameters: {n: {componentInputParameter: n}}}}}}
  inputDefinitions: {parameters: {n: {parameterType: KIND}}}
components: {comp-one: {executorLabel: exec-one, inputDefinitions: {parameters: {n: {parameterType: KIND}}}}}
deploymentSpec: {executors: {exec-one: {container: {image: 'busybox:1.36', command: [echo]}}}}
schemaVersion: 2.1.0
sdkVersion: kfp-2.17.0
"""


@pytest.mark.parametrize(
    ("kind", "value", "hint"),
    [
        ("NUMBER_DOUBLE", "0,5", "write -p n=0.5"),
        ("BOOLEAN", "yes", "write -p n=true"),
        ("NUMBER_INTEGER", "1e3", "write -p n=1000"),
        ("NUMBER_INTEGER", "3.5", "write an integer, such as -p n=3"),
        ("LIST", "1,b", "write -p n='[1, \"b\"]'"),
        ("STRUCT", "[1]", "write a JSON object, such as -p n='{\"a\": 1}'"),
    ],
)
def test_a_value_of_another_type_is_told_with_the_right_form(
    cli: Cli, write: Write, kind: str, value: str, hint: str
) -> None:
    write("typed.yaml", TYPED.replace("KIND", kind))
    result = cli("check", "-f", "typed.yaml", "-p", f"n={value}", "--offline", "--json", **RIGHT)
    assert [(one["place"], one["hint"]) for one in of_code(result, "RK-PARAM-TYPE")] == [("-p n", hint)]


@pytest.mark.failure("F27", "RK-PARAM-TYPE")
@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("NUMBER_INTEGER", "3.5"),
        ("NUMBER_DOUBLE", "much"),
        ("BOOLEAN", "yes"),
        ("LIST", "{}"),
        ("STRUCT", "[1]"),
        ("LIST", "[1"),
    ],
)
def test_a_value_of_another_type_is_told(cli: Cli, write: Write, kind: str, value: str) -> None:
    write("typed.yaml", TYPED.replace("KIND", kind))
    result = cli("check", "-f", "typed.yaml", "-p", f"n={value}", "--offline", "--json", **RIGHT)
    assert result.code == 3
    assert repr(value) in found(result, "error")["RK-PARAM-TYPE"]


@pytest.mark.failure("F26", "RK-PARAM-MISSING")
def test_a_missing_parameter_is_told(cli: Cli, write: Write) -> None:
    write("run-kfp.toml", REGISTRY)
    result = cli("check", "-r", "1", "--offline", "--json", **RIGHT)
    assert result.code == 3
    assert found(result, "error") == {"RK-PARAM-MISSING": "missing tag"}


@pytest.mark.failure("F99", "RK-SELECTION")
@pytest.mark.parametrize(("words", "said"), [(["-r", "9"], "unknown container '9'"), ([], "no container selected")])
def test_a_selection_of_nothing_is_told(cli: Cli, write: Write, words: list[str], said: str) -> None:
    write("run-kfp.toml", REGISTRY)
    result = cli("check", *words, "-t", "v1", "--offline", "--json", **RIGHT)
    assert result.code == 3
    assert said in found(result, "error")["RK-SELECTION"]


@pytest.mark.failure("F89", "RK-JOB-ID")
@pytest.mark.parametrize("job_id", ["1-begins-with-a-digit", "Upper", "under_score", "x" * 129, ""])
def test_an_illegal_job_id_is_told(cli: Cli, write: Write, job_id: str) -> None:
    write("run-kfp.toml", REGISTRY)
    result = cli("check", "-r", "1", "-t", "v1", "--job-id", job_id, "--offline", "--json", **RIGHT)
    assert result.code == 3
    assert f"invalid job id {shown(job_id)}" in found(result, "error")["RK-JOB-ID"]


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("-r", "1", "-p", "tag=v2"), "RK-CALL"),
        (("-f", "registry.txt"), "RK-PIPELINE-FILE"),
        (("-r", "1", "--label", "Team=x"), "RK-LABEL"),
        (("-r", "1", "--secrets-dir", "nowhere"), "RK-SECRETS-FOLDER"),
        (("-r", "1", "-p", "api_key=x"), "RK-SECRET-TYPED"),
    ],
)
def test_what_stops_a_plan_is_a_finding(cli: Cli, write: Write, args: tuple[str, ...], code: str) -> None:
    write("registry.txt", "not a pipeline\n")
    write("run-kfp.toml", REGISTRY)
    result = cli("check", *args, "-t", "v1", "--offline", "--json", **RIGHT)
    assert result.code == 3
    assert code in [one["code"] for one in result.json["findings"]]


@pytest.mark.failure("F90", "RK-JOB-ID-FIXED")
def test_a_fixed_job_id_is_told_to_work_once(cli: Cli, write: Write) -> None:
    write("run-kfp.toml", REGISTRY)
    result = cli("check", "-r", "1", "-t", "v1", "--job-id", "mine", "--offline", "--json", **RIGHT)
    assert result.code == 0
    assert "one submission" in found(result, "note")["RK-JOB-ID-FIXED"]


def test_a_refused_job_id_is_told_once(cli: Cli, write: Write) -> None:
    write("run-kfp.toml", REGISTRY)
    result = cli("check", "-r", "1", "-t", "v1", "--job-id", "Mine", "--offline", "--json", **RIGHT)
    assert [one["code"] for one in result.json["findings"] if one["place"] == "--job-id"] == ["RK-JOB-ID"]


def test_a_missing_setting_is_told_once_with_what_was_meant(cli: Cli, write: Write) -> None:
    """The run needs the project, and so does a step that takes it as a parameter."""
    write(".env", "GCP_PROJCT=my-project\n")
    result = cli("check", "-r", "3", "-t", "v1", "--offline", "--json", **{**RIGHT, "GCP_PROJECT": ""})
    (finding,) = [one for one in result.json["findings"] if one["code"] == "RK-SETTING-MISSING"]
    assert finding["hint"].endswith(".env has GCP_PROJCT, which is not a setting; did you mean GCP_PROJECT?")


@pytest.mark.failure("F67", "RK-ACCOUNT-MISSING")
def test_a_missing_service_account_is_told(cli: Cli, write: Write) -> None:
    write("run-kfp.toml", REGISTRY)
    settings = {name: value for name, value in RIGHT.items() if name != "GCS_SERVICE_ACCOUNT"}
    result = cli("check", "-r", "1", "-t", "v1", "--offline", "--json", **settings)
    assert result.code == 3
    assert found(result, "error") == {"RK-ACCOUNT-MISSING": "service account is not set"}


def test_a_registry_that_is_no_toml_is_told_with_the_rest_of_the_call(cli: Cli, write: Write) -> None:
    write("run-kfp.toml", "[pipeline\n")
    result = cli("check", "-r", "1", "--region", "Europe", "--offline", "--json")
    assert result.code == 3
    errors = found(result, "error")
    assert "invalid TOML" in errors["RK-REGISTRY"]
    assert "'Europe'" in errors["RK-SETTING-FORMAT"]
    assert "RK-SELECTION" not in errors, "the containers are not known"


def test_a_factory_that_fails_does_not_hide_the_other_containers(cli: Cli, write: Write) -> None:
    text = REGISTRY + "[containers.2]\nname = 'made'\nfactory = 'nowhere:make'\n"
    write("run-kfp.toml", text.replace("images/train:v1", "images/Train:v1"))
    result = cli("check", "-r", "2", "-r", "1", "-t", "v1", "--offline", "--json", **RIGHT)
    assert result.code == 3
    assert found(result, "error").keys() == {"RK-FACTORY", "RK-IMAGE-REFERENCE"}


CALLED = """
[settings]
project = "test-project"
region = "us-east1"
bucket = "test-bucket"
service_account = "ACCOUNT"
[containers.1]
name = "one"
image = "a/Big:1"
command = ["ls"]
"""


@pytest.mark.parametrize(
    ("more", "files", "args", "expected"),
    [
        # What stands in a registry that cannot be read is not told to be missing.
        ("[containers", {}, ["-r", "1"], {"RK-REGISTRY": 1}),
        ("", {}, ["-r", "1", "--registry", "nowhere.toml"], {"RK-FILE": 1}),
        ("[containers", {"t.yaml": TYPED.replace("KIND", "STRING")}, ["-f", "t.yaml", "-p", "x=1"], {"RK-REGISTRY": 1}),
        # A bad line of .env leaves the others.
        (
            'args = [{ param = "q" }, { secret = "s" }]\n[params.q]\nenv = "Q"\n[secrets.s]\nenv = "SS"\n',
            {".env": "Q=1\nSS=a-long-value\nsome junk\n"},
            ["-r", "1"],
            {"RK-ENV-FILE": 1, "RK-IMAGE-REFERENCE": 1},
        ),
        # A container keeps its index when its name is wrong, and the others of a range are looked at.
        (
            '[containers.2]\nname = "my_y"\nimage = "b/Big:1"\n[containers.3]\nimage = "c/Big:1"\n',
            {},
            ["-r", "1-3"],
            {"RK-REGISTRY": 2, "RK-IMAGE-REFERENCE": 3},
        ),
        ("", {}, ["-r", "1-2"], {"RK-SELECTION": 1, "RK-IMAGE-REFERENCE": 1}),
        (
            '[containers.007]\nname = "bond"\nimage = "b/Big:1"\n',
            {},
            ["-r", "7"],
            {"RK-REGISTRY": 1, "RK-IMAGE-REFERENCE": 1},
        ),
        ('[containers.train]\nimage = "b/Big:1"\n', {}, ["-r", "train"], {"RK-REGISTRY": 1, "RK-IMAGE-REFERENCE": 1}),
        # A secret without a usable place is one mistake.
        (
            'args = [{ secret = "k" }]\n[secrets.k]\nenv = "MY-KEY"\n',
            {},
            ["-r", "1"],
            {"RK-REGISTRY": 1, "RK-IMAGE-REFERENCE": 1},
        ),
        # A resource that is none leaves the rest of its container.
        (
            'cpu = { param = "cpus" }\n[params.cpus]\n',
            {},
            ["-r", "1", "-p", "cpus=eight"],
            {"RK-RESOURCE-PARAM": 1, "RK-IMAGE-REFERENCE": 1},
        ),
        ("accelerator = {}\n", {}, ["-r", "1"], {"RK-GPU-TYPE": 1, "RK-IMAGE-REFERENCE": 1}),
        # What is written in another form, or under a misspelt key, is not told to be missing as well.
        (
            'args = [{ param = "q" }, { param = "r" }]\nside_effects = "yes"\n'
            '[params.q]\ndefault = 30\n[params.r]\ndefualt = "x"\n',
            {},
            ["-r", "1"],
            {"RK-REGISTRY": 3, "RK-IMAGE-REFERENCE": 1},
        ),
        (
            '[containers.2]\nname = "two"\nimgae = "b/Big:1"\n',
            {},
            ["-r", "2"],
            {"RK-REGISTRY": 1, "RK-IMAGE-REFERENCE": 1},
        ),
    ],
)
def test_one_mistake_is_one_finding_and_hides_no_other(
    cli: Cli, write: Write, more: str, files: dict[str, str], args: list[str], expected: dict[str, int]
) -> None:
    write("run-kfp.toml", CALLED.replace("ACCOUNT", RUNNER) + more)
    for name, text in files.items():
        write(name, text)
    result = cli("check", *args, "--offline", "--json")
    told = [one["code"] for one in result.json["findings"] if one["severity"] in ("error", "warning")]
    assert {code: told.count(code) for code in told} == expected, result.out


@pytest.mark.parametrize("value", ["null", "none", "secret", "token", "example", "xxx", "$5"])
def test_a_parameter_may_be_a_word_that_no_secret_is(cli: Cli, write: Write, value: str) -> None:
    write("run-kfp.toml", REGISTRY.replace('param = "tag"', 'param = "rounds"'))
    result = cli("check", "-r", "1", "-p", f"rounds={value}", "--offline", "--json", **RIGHT)
    assert found(result, "error") == found(result, "warning") == {}


def test_warnings_are_refused_when_asked_for(cli: Cli) -> None:
    result = cli("check", *MAIN, "--offline", "--strict", **RIGHT)
    assert result.code == 3
    assert "the check found 1 warning" in result.err


def test_a_finding_is_ignored_once_or_for_good(cli: Cli, write: Write, folder: Path) -> None:
    once = cli("check", *MAIN, "--offline", "--strict", "--ignore", "RK-QUOTA-DEFAULT", "--json", **RIGHT)
    assert once.code == 0
    assert [(one["code"], one["reason"]) for one in once.json["ignored"]] == [("RK-QUOTA-DEFAULT", "--ignore")]

    cli("init", **RIGHT)
    registry = folder / "run-kfp.toml"
    ignore = '\n[check.ignore]\nRK-QUOTA-DEFAULT = "ours is 16 since May"\n'
    registry.write_text(registry.read_text(encoding="utf-8") + ignore, encoding="utf-8")
    for_good = cli("check", *MAIN, "--offline", "--strict", "--json", **RIGHT)
    assert for_good.code == 0, for_good.out
    assert [one["reason"] for one in for_good.json["ignored"]] == ["ours is 16 since May"]


def test_what_a_run_lacks_can_be_ignored_in_a_check_and_not_in_a_run(cli: Cli, write: Write) -> None:
    write("run-kfp.toml", REGISTRY + '[check.ignore]\nRK-PARAM-MISSING = "CI has no tag"\n')
    assert cli("check", "-r", "1", "--offline", **RIGHT).code == 0
    result = cli("-r", "1", "--offline", **RIGHT)
    assert result.code == 2
    assert "missing tag" in result.err


def test_a_check_table_with_mistakes_is_told(cli: Cli, write: Write) -> None:
    more = '[check]\nmachines = "none.toml"\n[check.ignore]\nRK-GPU-CUONT = "x"\n[check.endpoints]\nstorrage = "https://a.b"\n'
    write("run-kfp.toml", REGISTRY + more)
    result = cli("check", "-r", "1", "-t", "v1", "--offline", **RIGHT)
    assert result.code == 3
    assert "check.ignore.RK-GPU-CUONT: unknown finding 'RK-GPU-CUONT'" in result.out
    assert "did you mean 'RK-GPU-COUNT'?" in result.out
    assert "check.endpoints.storrage: unknown service 'storrage'" in result.out
    assert "did you mean 'storage'?" in result.out
    assert "run-kfp.toml: check.machines: machine table not found: none.toml" in result.out


def test_an_unknown_code_is_refused(cli: Cli) -> None:
    result = cli("check", *MAIN, "--offline", "--ignore", "RK-QUOTA-DEFUALT", **RIGHT)
    assert result.code == 2
    assert "did you mean 'RK-QUOTA-DEFAULT'?" in result.err


# ── what it loads and does ───────────────────────────────────────────────────────────────────────────────────────────

NO_NETWORK_NO_SDK = """
import sys
def watch(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        sys.stderr.write(f"network: {event} {args}\\n"); sys.stderr.flush()
        import os; os._exit(99)
sys.addaudithook(watch)
from run_kfp.cli import execute
code = execute(sys.argv[1:])
all_heavy = "google.auth", "google.cloud.aiplatform_v1", "grpc", "requests", "docker", "kfp.client"
heavy = [name for name in all_heavy if name in sys.modules]
sys.stderr.write(f"loaded: {heavy}\\n")
sys.exit(code)
"""


def test_an_offline_check_needs_no_network_and_no_sdk(cli: Cli) -> None:
    command = [sys.executable, "-c", NO_NETWORK_NO_SDK, "check", *MAIN, "--offline"]
    done = subprocess.run(
        command, cwd=cli.folder, env=cli.environment(RIGHT), capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    assert "loaded: []" in done.stderr


def test_a_check_writes_nothing(cli: Cli, folder: Path) -> None:
    assert cli("check", *MAIN, "--offline", **RIGHT).code == 0
    assert list(folder.iterdir()) == []


def test_a_finding_is_one_line_where_nobody_looks(cli: Cli) -> None:
    lines = cli("check", *MAIN, "--offline", **RIGHT).out.splitlines()
    assert all(re.match(r"(error|warning|note|skipped): RK-[A-Z0-9-]+: ", line) for line in lines[:-1])
    assert "checked: configuration" in lines[-1]


# ── explain ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_finding_is_explained(cli: Cli) -> None:
    result = cli("explain", "gpu-count")
    assert result.code == 0
    assert result.out.startswith("RK-GPU-COUNT")
    assert "source: " in result.out
    assert "[check.ignore]" in result.out


def test_all_findings_are_listed(cli: Cli) -> None:
    result = cli("explain", "--json")
    assert [one["code"] for one in result.json["codes"]] == list(rules())


def test_an_unknown_finding_is_no_traceback(cli: Cli) -> None:
    result = cli("explain", "RK-GPU-CUONT")
    assert result.code == 2
    assert "did you mean 'RK-GPU-COUNT'?" in result.err


def test_every_kind_of_finding_says_what_it_must() -> None:
    for name, code in rules().items():
        assert re.fullmatch(r"RK(-[A-Z0-9]+)+", name)
        assert re.fullmatch(r"[a-z]+", code.group), name
        assert code.title, name
        assert code.title[-1] not in ".!", name
        assert code.impact, name
        assert code.impact[-1] not in ".!", name
        assert not code.impact[0].isupper() or code.impact.split()[0] in ("Vertex", "Cloud", "Google's"), name
        assert not code.title[0].isupper() or code.title.split()[0] in ("Vertex",), name
        assert len(code.explanation) > 60, name
        assert code.source, name


_CODE = re.compile(r"RK(-[A-Z0-9]+)+")


def test_the_register_has_the_rules_that_the_code_names_and_no_others() -> None:
    source = Path(sys.modules["run_kfp"].__file__ or "").parent
    named = {
        node.value
        for file in source.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _CODE.fullmatch(node.value)
    }
    assert named == rules().keys()


def test_every_rule_is_shown_by_a_test() -> None:
    shown = {
        found[0]
        for file in Path(__file__).parent.glob("test_*.py")
        for found in _CODE.finditer(file.read_text(encoding="utf-8"))
    }
    assert rules().keys() - shown == set()


# ── machines ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_machine_table_can_be_looked_at(cli: Cli, write: Write) -> None:
    result = cli("machines", "--region", "us-east1", "--accelerator", "NVIDIA_TESLA_T4", "--json")
    assert result.code == 0
    rows = {row["machine"]: row for row in result.json["machines"]}
    assert rows["n1-standard-32"]["accelerators"] == {"NVIDIA_TESLA_T4": [2, 4]}
    assert "g2-standard-4" not in rows
    assert "n1-standard-32" in cli("machines").out


def test_the_machine_table_can_be_corrected(cli: Cli, write: Write) -> None:
    write("run-kfp.toml", REGISTRY + '[check]\nmachines = "ours.toml"\n')
    write("ours.toml", "[accelerators.NVIDIA_L4]\nlimits = { us-east1 = 8 }\n")
    rows = cli("machines", "--region", "us-east1", "--json").json["accelerators"]
    assert next(row["default_quota"] for row in rows if row["accelerator"] == "NVIDIA_L4") == 8


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["--region", "us-esat1"], "did you mean 'us-east1'?"),
        (["--accelerator", "NVIDIA_TESLA_T5"], "did you mean 'NVIDIA_TESLA_T4'?"),
    ],
)
def test_a_name_that_the_table_lacks_is_told(cli: Cli, words: list[str], hint: str) -> None:
    result = cli("machines", *words)
    assert result.code == 2
    assert hint in result.err


# ── by itself, before a submission ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def submitter(vertex: FakeVertex, account_key_file: Path, folder: Path) -> Cli:
    """The program with everything in place to submit to the fake."""
    key = {"GOOGLE_APPLICATION_CREDENTIALS": str(account_key_file)}
    return Cli(folder, {**RIGHT, **vertex.environment(), **key})


def test_an_error_keeps_a_run_from_being_submitted(submitter: Cli, vertex: FakeVertex, write: Write) -> None:
    write("run-kfp.toml", REGISTRY.replace("images/train:v1", "images/Train:v1"))

    result = submitter("-r", "1", "-t", "v1", "--api-endpoint", vertex.endpoint, "--offline")

    assert result.code == 3
    assert "error: RK-IMAGE-REFERENCE: run-kfp.toml: containers.1.image" in result.err
    assert "nothing was submitted" in result.err
    assert vertex.requests == []


def test_a_warning_is_told_and_the_run_submitted(submitter: Cli, vertex: FakeVertex) -> None:
    args = (*MAIN, "--api-endpoint", vertex.endpoint, "--offline")

    result = submitter(*args)
    assert result.code == 0, result.err
    assert "warning: RK-QUOTA-DEFAULT: " in result.err
    assert "note: RK-" not in result.err
    assert len(vertex.creates) == 1

    assert submitter(*args, "--strict").code == 3
    assert len(vertex.creates) == 1


def test_a_submission_without_a_check(submitter: Cli, vertex: FakeVertex, write: Write) -> None:
    write("run-kfp.toml", REGISTRY.replace("images/train:v1", "images/Train:v1"))
    result = submitter("-r", "1", "-t", "v1", "--api-endpoint", vertex.endpoint, "--no-check")
    assert result.code == 0, result.err
    assert "RK-" not in result.err
    assert len(vertex.creates) == 1


def test_the_check_is_part_of_the_result(submitter: Cli, vertex: FakeVertex) -> None:
    result = submitter(*MAIN, "--api-endpoint", vertex.endpoint, "--offline", "--json")
    assert result.code == 0, result.err
    assert result.json["check"]["ok"] is True
    assert "RK-QUOTA-DEFAULT" in [one["code"] for one in result.json["check"]["findings"]]


@pytest.mark.parametrize("instead", ["--compile-only", "--dry-run", "--local", "--no-check"])
def test_flags_of_a_check_that_is_not_made_are_refused(cli: Cli, instead: str) -> None:
    result = cli(*MAIN, instead, "--strict", **RIGHT)
    assert result.code == 2
    assert f"--strict and {instead} cannot be used together" in result.err


def test_a_secret_in_clear_is_found_and_not_repeated(cli: Cli, write: Write) -> None:
    key = canary("key")
    write("run-kfp.toml", REGISTRY.replace("args = [", f'args = ["--key={key}", {{ secret = "api_key" }}, '))
    result = cli("check", "-r", "1", "-t", "v1", "--offline", **{**RIGHT, "API_KEY": key})
    assert result.code == 3
    assert "error: RK-SECRET-WRITTEN: run-kfp.toml: containers.1.args: contains the value of a secret" in result.out
    assert key not in result.out + result.err


def test_a_report_is_data_too(cli: Cli) -> None:
    result = cli("check", *MAIN, "--offline", "--json", **RIGHT)
    (finding,) = [one for one in result.json["findings"] if one["severity"] == "warning"]
    position = {"file", "line", "column"}
    assert finding.keys() - position == {"code", "severity", "group", "place", "message", "when", "otherwise", "hint"}
    assert finding.keys() >= position
    assert json.loads(result.out) == result.json


def test_settings_of_the_account_are_shown_as_they_are(cli: Cli) -> None:
    result = cli(
        "check", *MAIN, "--offline", "--json", **{**RIGHT, "GCS_SERVICE_ACCOUNT": RUNNER.replace("test-", "prod-")}
    )
    assert "'prod-project'" in found(result, "warning")["RK-ACCOUNT-PROJECT"]
