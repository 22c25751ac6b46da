"""How containers are called: what the checks say of command, arguments and environment, and what they leave alone.

(kfp reads annotations as they stand: none is postponed.)
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

import pytest
from kfp import dsl

import kfp_pipelines
from run_kfp.findings import Finding, Severity
from run_kfp.preflight.context import CheckContext
from run_kfp.preflight.offline.calls import check_calls
from run_kfp.preflight.rules import rule
from specs import context_of_registry, context_of_spec, registry, spec_of_kfp, step_spec

# Every call without `command` gets this note.
QUIET = "RK-CALL-NO-COMMAND"


def codes(context: CheckContext) -> list[str]:
    return [found.code for found in check_calls(context) if found.code != QUIET]


def one(context: CheckContext) -> Finding:
    (found,) = [found for found in check_calls(context) if found.code != QUIET]
    return found


def call(command: Sequence[Any] = (), args: Sequence[Any] = (), **container: Any) -> CheckContext:
    """A file whose one step has this call."""
    return context_of_spec(step_spec({"command": list(command), "args": list(args), **container}))


TAG = "{{$.inputs.parameters['tag']}}"


def with_input(command: Sequence[str], args: Sequence[str], kind: str = "STRING") -> CheckContext:
    """The same, where the component has an input `tag`."""
    spec = step_spec({"command": list(command), "args": list(args)})
    spec["components"]["comp-step"]["inputDefinitions"] = {"parameters": {"tag": {"parameterType": kind}}}
    return context_of_spec(spec)


@pytest.mark.failure("F22", "RK-CALL-SHELL-PLACEHOLDER")
@pytest.mark.parametrize(
    ("command", "args"),
    [
        (["sh", "-c"], [f"python train.py --tag {TAG}"]),
        (["/bin/bash", "-lc", f"python train.py '{TAG}'"], []),
        (["bash", "-eu", "-o", "pipefail", "-c", f"echo {TAG}; python train.py"], []),
        (["env"], ["A=b", "/bin/sh", "-ec", f"echo {TAG}"]),
        (["python3.11", "-c", f"print('{TAG}')"], []),
        ([], ["-c", f"python train.py --tag {TAG}"]),
        ([], ["bash", "-c", f"echo {TAG.replace(chr(39), chr(34))}"]),
    ],
)
def test_a_value_pasted_into_a_script(command: list[str], args: list[str]) -> None:
    found = one(with_input(command, args))
    assert (found.code, found.severity) == ("RK-CALL-SHELL-PLACEHOLDER", Severity.WARNING)
    assert "the value of tag" in found.message


@pytest.mark.failure("F22", "RK-CALL-SHELL-PLACEHOLDER")
def test_a_value_pasted_into_a_script_of_the_registry() -> None:
    text = registry('args = ["-c", { param = "tag", prefix = "python train.py --tag " }]')
    found = one(context_of_registry(text, params={"tag": "v1"}))
    assert found.place == "run-kfp.toml: containers.1.args"
    assert found.code == "RK-CALL-SHELL-PLACEHOLDER"


@pytest.mark.parametrize(
    ("command", "args", "kind"),
    [
        (["sh", "-c", 'exec python train.py "$1"', "train"], [TAG], "STRING"),  # a positional parameter of the script
        (["sh", "-c"], [TAG], "STRING"),  # the whole script is the parameter
        (["sh", "-c"], [f"sleep {TAG}"], "NUMBER_INTEGER"),
        (["python", "train.py"], ["-c", f"config/{TAG}"], "STRING"),  # -c of another program
        ([], ["-c", f"config/{TAG}.yaml"], "STRING"),  # the ENTRYPOINT may be anything
        ([], ["--tag", TAG, f"--name=a-{TAG}"], "STRING"),
    ],
)
def test_values_that_no_shell_reads(command: list[str], args: list[str], kind: str) -> None:
    assert codes(with_input(command, args, kind)) == []


def test_what_kfp_itself_compiles_is_left_alone() -> None:
    for function in (
        kfp_pipelines.a_condition,
        kfp_pipelines.a_loop,
        kfp_pipelines.an_exit_handler,
        kfp_pipelines.an_importer,
        kfp_pipelines.an_artifact,
        kfp_pipelines.an_inner_pipeline,
        kfp_pipelines.chain,
    ):
        assert list(check_calls(context_of_spec(spec_of_kfp(function)))) == []


def test_the_packaged_registry_gets_one_note() -> None:
    (found,) = check_calls(context_of_registry(None, ["1-4"], params={"tag": "v1"}))
    assert (found.code, found.severity) == ("RK-CALL-NO-COMMAND", Severity.NOTE)


@pytest.mark.failure("F16", "RK-CALL-NO-COMMAND")
def test_steps_without_a_command() -> None:
    text = registry('args = ["a"]', '[containers.2]\nname = "other"\nimage = "busybox"\ncommand = ["true"]')
    (found,) = check_calls(context_of_registry(text, ["1", "2"]))
    assert found.code == "RK-CALL-NO-COMMAND"
    assert "set for step:" in found.message  # and not for `other`


def test_an_optional_part_of_the_command() -> None:
    def _greet(name: Optional[str] = None):  # type: ignore[no-untyped-def]  # noqa: UP045  # kfp knows no other form
        optional = dsl.IfPresentPlaceholder(input_name="name", then=["--name", name])
        return dsl.ContainerSpec(image="busybox", command=["greet", optional], args=[optional])

    greet = dsl.container_component(_greet)

    def pipeline() -> None:
        greet()

    found = one(context_of_spec(spec_of_kfp(pipeline)))
    assert found.code == "RK-CALL-COMMAND-PLACEHOLDER"
    assert found.place.endswith(".command")


@pytest.mark.parametrize(
    ("container", "place"),
    [
        ({"image": 3.11}, "image"),
        ({"args": ["--epochs", 10]}, "args[1]"),
        ({"args": [None]}, "args[0]"),
        ({"args": "--epochs 10"}, "args"),
        ({"command": {"a": "b"}}, "command"),
        ({"env": [{"name": "A", "value": True}]}, "env[0].value"),
        ({"env": [7]}, "env[0]"),
    ],
)
def test_words_of_another_form(container: dict[str, Any], place: str) -> None:
    found = one(context_of_spec(step_spec(container)))
    assert (found.code, found.severity) == ("RK-CALL-FORM", Severity.ERROR)
    assert found.place == f"pipeline.yaml: deploymentSpec.executors.exec-step.container.{place}"


@pytest.mark.parametrize(
    ("command", "args", "code"),
    [
        (["python train.py"], [], "RK-CALL-ONE-WORD"),
        (["python", "train.py"], ["--epochs 10"], "RK-CALL-ONE-WORD"),
        (["python", "train.py"], ["--bucket", "$BUCKET"], "RK-CALL-VARIABLE"),
        (["python", "train.py"], ["--data=${DATA_DIR}/raw"], "RK-CALL-VARIABLE"),
        (["python", "train.py"], ["--data", "gs://$BUCKET/raw"], "RK-CALL-VARIABLE"),
        (["python", "train.py"], ["~/data"], "RK-CALL-VARIABLE"),
        (["python3", "main.py"], ["python3", "main.py"], "RK-CALL-TWICE"),
        (["/bin/bash"], ["bash", "run.sh"], "RK-CALL-TWICE"),
        (["sh", "-c"], ["echo 'a"], "RK-CALL-QUOTES"),
        ([], ["-v", "/data:/data", "--epochs", "3"], "RK-CALL-DOCKER-OPTION"),
        ([], ["--volume=./data:/data"], "RK-CALL-DOCKER-OPTION"),
        ([], ["--gpus", "all"], "RK-CALL-DOCKER-OPTION"),
        ([], ["--mount", "type=bind,source=a,target=/b"], "RK-CALL-DOCKER-OPTION"),
        ([], ["docker", "run", "image"], "RK-CALL-DOCKER-OPTION"),
        (["docker", "run", "image"], [], "RK-CALL-DOCKER-OPTION"),
        (["CMD", "python"], [], "RK-CALL-DOCKER-OPTION"),
        ([], ["-p", "8080:80"], "RK-CALL-DOCKER-OPTION"),
        (["sh", "-c"], ["python", "x.py"], "RK-CALL-SHELL-WORDS"),
        (["sh", "-c", "python", "x.py"], [], "RK-CALL-SHELL-WORDS"),
        (["sh", "-c", "python x.py $1"], ["a b"], "RK-CALL-SHELL-WORDS"),
        (["sh", "-c", 'python x.py "$1" "${2}"'], ["x", "a"], "RK-CALL-SHELL-WORDS"),
        (["sh", "-c", 'python x.py "$@"'], ["--lr", "3"], "RK-CALL-SHELL-WORDS"),
        (["sh", "-c", "python x.py $*"], [TAG], "RK-CALL-SHELL-WORDS"),
        (["sh", "-c", "python x.py"], ["--lr", "3"], "RK-CALL-SHELL-WORDS"),
        (["bash", "python x.py"], [], "RK-CALL-SHELL-WORDS"),
        (["bash", "python", "x.py"], [], "RK-CALL-SHELL-WORDS"),
        (["cd", "/app", "&&", "python", "x.py"], [], "RK-CALL-NO-SHELL"),
        (["python", "x.py"], [">", "/logs/x.log"], "RK-CALL-NO-SHELL"),
        (["python", "train.py", "--epochs 10"], [], "RK-CALL-ONE-WORD"),
        (["python", "train.py"], ["-m 10"], "RK-CALL-ONE-WORD"),
        (["python", "train.py", "--data", "gs://$BUCKET/raw"], [], "RK-CALL-VARIABLE"),
        (["run"], ["python a.py && python b.py"], "RK-CALL-NO-SHELL"),
        (["run", "cd /app; ./x.sh"], [], "RK-CALL-NO-SHELL"),
        (["run"], ["python a.py | tee log"], "RK-CALL-NO-SHELL"),
        (["run"], ["./x.sh > /tmp/log 2>&1"], "RK-CALL-NO-SHELL"),
        (["run"], ["A=b python a.py || true"], "RK-CALL-NO-SHELL"),
        (["run"], ["python a.py\npython b.py"], "RK-CALL-NO-SHELL"),
        (["train"], ["--day", "$(date +%F)"], "RK-CALL-NO-SHELL"),
        (["train"], ["--day=$(date +%F)"], "RK-CALL-NO-SHELL"),
        (["train"], ["run-`git rev-parse HEAD`"], "RK-CALL-NO-SHELL"),
        (["cd /app && python x.py"], [], "RK-CALL-NO-SHELL"),
        (["python", "x.py", "|", "tee", "log"], [], "RK-CALL-NO-SHELL"),
        (["train"], ["\u2013-lr", "3"], "RK-CALL-TYPOGRAPHY"),
        (["train"], ["\u2014lr=3"], "RK-CALL-TYPOGRAPHY"),
        (["train"], ["<your bucket>"], "RK-PARAM-TEMPLATE"),
        (["train"], ["--bucket=<BUCKET>"], "RK-PARAM-TEMPLATE"),
        (["train"], ["gs://<bucket-name>/x"], "RK-PARAM-TEMPLATE"),
        (["train"], ["your-bucket"], "RK-PARAM-TEMPLATE"),
        (["train"], ["host.docker.internal:5432"], "RK-SERVICE-LOCAL"),
        (["train"], ["--socket=/var/run/docker.sock"], "RK-SERVICE-LOCAL"),
        (["train"], ["postgresql://user@localhost:5432/x"], "RK-SERVICE-LOCAL"),
        (["train"], ["redis://127.0.0.1/0"], "RK-SERVICE-LOCAL"),
        (["train"], ["gs:/speech/x"], "RK-PATH-STORAGE"),
    ],
)
def test_words_that_cannot_be_meant(command: list[str], args: list[str], code: str) -> None:
    found = one(call(command, args))
    assert (found.code, found.severity) == (code, rule(code).severity)


@pytest.mark.parametrize(
    ("command", "args", "code"),
    [
        (["train"], ["$(BUCKET)"], "RK-CALL-VARIABLE"),
        (["train"], ["%BUCKET%"], "RK-CALL-VARIABLE"),
        (["train"], ["{{ rate }}"], "RK-PARAM-TEMPLATE"),
        (["train"], ["\u201chello\u201d"], "RK-CALL-TYPOGRAPHY"),
        (["sh", "-c", "python x.py \u2013-lr 3"], [], "RK-CALL-TYPOGRAPHY"),
        (["train"], ["gs://flowers_2 /x"], "RK-PATH-STORAGE"),
        (["train"], ["https://storage.cloud.google.com/b/x.csv"], "RK-PATH-STORAGE"),
        (["train"], ["http://localhost:5000"], "RK-SERVICE-LOCAL"),
        (["sh", "-c", "pg_ctl start && psql postgresql://localhost/x"], [], "RK-SERVICE-LOCAL"),
        (["/bin/My Program/x"], [], "RK-CALL-ONE-WORD"),
        ([], ["python train.py --lr 3"], "RK-CALL-ONE-WORD"),
        ([], ["cd", "/app", "&&", "python", "x.py"], "RK-CALL-NO-SHELL"),
        ([], ["-e", "FOO=bar", "x"], "RK-CALL-DOCKER-OPTION"),
        ([], ["-c", 'python x.py "$1" > log', "v1"], "RK-CALL-SHELL-WORDS"),
    ],
)
def test_words_that_may_be_meant(command: list[str], args: list[str], code: str) -> None:
    found = one(call(command, args))
    assert (found.code, found.severity) == (code, Severity.NOTE)


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ("sh -c 'python x.py'", 'write ["sh", "-c", "python x.py"]'),
        ("/usr/bin/python3 x.py", 'write ["/usr/bin/python3", "x.py"]'),
        ("python 'x.py", "write each word as a separate string"),
        ("login --token abc", "write each word as a separate string"),
    ],
)
def test_a_call_in_one_word_is_taken_apart_as_a_shell_does(command: str, hint: str) -> None:
    assert one(call([command])).hint == hint


def test_the_options_of_docker_run_are_named_together() -> None:
    found = one(call([], ["-v", "/home/me/data:/data", "--gpus", "all", "-e", "FOO=bar", "--name", "x"]))
    assert found.message == "begin with '-v /home/me/data:/data --gpus all -e FOO=…', options of `docker run`"


def test_a_program_that_is_named_twice_is_named_as_it_stands() -> None:
    assert "'python3', and command with 'python3.11'" in one(call(["python3.11"], ["python3", "main.py"])).message


@pytest.mark.parametrize(
    ("command", "args"),
    [
        (["sh", "-c", "echo $HOME && cd ~/x"], []),
        (["sh", "-c", "echo it's # 'fine"], []),  # a comment
        (["sh", "-c", "cat <<EOF\nit's\nEOF"], []),
        (["bash", "-c", "echo $'it\\'s'"], []),
        (["python", "-c", "print('a')\n# it's"], []),
        (["/opt/program/run"], ["a b", "two words"]),
        ([], ["-v"]),
        ([], ["-v", "--epochs", "3"]),
        ([], ["--gpus", "4"]),
        ([], ["--mount", "bucket"]),
        ([], ["model.dir=${data_dir}/x"]),  # a reference of the program's own configuration
        (["python", "main.py"], ["train", "python"]),
        (["sh", "-c", 'exec "$@"', "sh"], ["sh", "run.sh"]),
        (["python", "-m", "a"], ["--text", "it's 10 o'clock: don't"]),
        (["java"], ["-Xmx4g", "-jar", "a.jar"]),
        (["sh", "-c", 'echo "$0"'], ["a"]),
        (["sh", "-c", 'python x.py "$@"', "--"], ["--lr", "3"]),
        (["sh", "-c", 'python x.py "$1" "$2"', "x"], ["a", "b"]),
        (["sh", "-c", 'python x.py "${1:-a}"', "x"], []),
        (["sh", "-c", "awk '{print $1}' x", "x"], []),
        (["sh", "-c", 'f() { echo "$3"; }; f 1 2 3', "x"], []),
        (["sh", "-c", "shift; python x.py $2", "x"], ["a", "b"]),
        (["sh", "-c", ". ./run.sh", "run"], ["--lr", "3"]),
        (["sh", "-c", "./run.sh", "run"], []),
        (["sh", "-c", 'for name; do echo "$name"; done', "x"], ["--a"]),
        (["sh", "-c", "python x.py", "--"], []),
        (["bash", "run.sh"], ["a b"]),
        (["bash", "-o", "pipefail", "run.sh"], []),
        (["bash", "/my scripts/run.sh"], []),
        (["find", ".", "-exec", "rm", "{}", ";"], []),
        (["python", "train.py", "--epochs", "10", "--note", "cost $5, see --help"], []),
        (["spark-submit", "x.py"], ["--extra-args", "--epochs 10", "--java-opts", "-Xmx4g -Xms1g"]),
        (["run"], ["--cmd", "python a.py && python b.py"]),
        (["run", "--filter", "x > 5 && y < 3"], ["a && b", "a; b", ".a | .b", "(a|b)", "x > 5 || y"]),
        (["jq"], [".items[] | select(.a > 1)"]),
        (["ask"], ["cat and dog; which is it?", "make it so & go", "set theory > sets"]),
        (["ask"], ["--prompt", "python is fun; isn't it?"]),
        (["train"], ["python a.py", "see python.org; it's new"]),
        (["cut"], ["--delimiter", "|", "x.csv"]),
        (["filter"], ["age", ">", "30"]),
        (["train"], ["--sep", "||"]),
        (["train"], ["--pad-token", "<pad>", "<s>", "<|endoftext|>", "<image>", "a < b > c"]),
        (["train"], ["a \u2013 b", "\u22125", "\u2013", "it\u2019s"]),
        (["train"], ["--rdzv-endpoint=localhost:29400", "127.0.0.1", "http://localhost.example.com/x"]),
        (["train"], ["gs://bucket/a b.csv", "https://storage.googleapis.com/b/x.csv"]),
        (["train"], ["Your report", "100%", "%Y%m%d", "{name}"]),
        ([], ["-e", "foo=bar"]),
        ([], ["--name", "x", "-d"]),
    ],
)
def test_calls_that_are_right(command: list[str], args: list[str]) -> None:
    assert codes(call(command, args)) == []


def test_options_of_an_image_that_may_split_them_are_one_note() -> None:
    found = one(call([], ["cli.py", "--search", "--nums 10", "--query a+b c+d", "-m 10"]))
    assert (found.code, found.severity) == ("RK-CALL-ONE-WORD", Severity.NOTE)
    assert found.message.startswith("--nums, --query, -m and their values are in one string each, unless the image's")


@pytest.mark.parametrize(
    ("variable", "reference"), [("GCS_BUCKET_NAME", "bucket"), ("ROWS", "rows"), ("GIT_LOGIN", "login")]
)
def test_a_variable_that_a_shell_would_not_have(variable: str, reference: str) -> None:
    tables = '[params.rows]\nenv = "ROWS"\n[secrets.login]\nenv = "GIT_LOGIN"\n'
    kind = "secret" if reference == "login" else "param"
    found = one(context_of_registry(registry(f'command = ["x", "${variable}"]', tables)))
    assert found.hint == f'write {{ {kind} = "{reference}" }}'
    found = one(context_of_registry(registry('command = ["x", "$OTHER"]', tables)))
    assert found.hint.endswith(", or call a shell")


def test_a_variable_is_unsure_where_the_shell_is() -> None:
    assert one(call([], ["$BUCKET"])).severity is Severity.NOTE
    assert one(call(["train"], ["$BUCKET"])).severity is Severity.WARNING


def test_an_open_quote_is_unsure_where_the_shell_is() -> None:
    assert one(call([], ["-c", "echo 'a"])).severity is Severity.WARNING
    assert one(call(["train"], ["bash", "-c", "echo 'a"])).severity is Severity.WARNING
    assert one(call(["env", "A=b", "bash", "-c", "echo 'a"])).severity is Severity.ERROR


@pytest.mark.failure("F85", "RK-PATH-HOST")
@pytest.mark.parametrize(
    ("word", "severity"),
    [
        ("/Users/me/project/data", Severity.WARNING),
        ("--data=/Volumes/disk/images", Severity.WARNING),
        ("C:\\Users\\me\\data", Severity.WARNING),
        ("C:/Users/me/data", Severity.WARNING),
        ("/mnt/c/Users/me/data", Severity.WARNING),
        ("/mnt/disks/data", Severity.WARNING),
        ("/mnt/data", Severity.NOTE),
        ("/media/me/usb/data", Severity.WARNING),
        ("/home/somebody-else/data", Severity.NOTE),
        ("/data/raw", Severity.NOTE),
    ],
)
def test_paths_of_a_machine(word: str, severity: Severity) -> None:
    found = one(call(["train"], [word]))
    assert (found.code, found.severity) == ("RK-PATH-HOST", severity)
    assert "/gcs/BUCKET" in found.hint


@pytest.mark.failure("F85", "RK-PATH-HOST")
def test_paths_of_this_machine() -> None:
    home, here = Path("/home/somebody"), Path("/projects/model")
    context = context_of_registry(
        registry(
            'command = ["train"]\nargs = ["--data=/home/somebody/data", "/projects/model/x.csv", "/projects/other"]'
        )
    )
    found = [found for found in check_calls(context, home=home, here=here) if found.code == "RK-PATH-HOST"]
    assert [(one.severity, one.place) for one in found] == [(Severity.WARNING, "run-kfp.toml: containers.1.args")] * 2
    assert "home" in found[0].message
    assert "current folder" in found[1].message


def test_a_folder_of_this_machine_that_images_have_as_well() -> None:
    context = call(["train"], ["/app/x", "/srv/y"])
    assert list(check_calls(context, home=Path("/srv"), here=Path("/app"))) == []


@pytest.mark.failure("F85", "RK-PATH-HOST")
def test_paths_inside_of_a_script() -> None:
    found = one(call(["sh", "-c", "cd /Users/me/project && python train.py"]))
    assert "/Users/me/project" in found.message


@pytest.mark.parametrize(
    "word",
    [
        "/gcs/bucket/home/x",
        "gs://bucket/Users/me/x",
        "https://host/home/me/x",
        "/usr/bin/python",
        "/bin/sh",
        "/etc/config",
        "/opt/app",
        "/app/train.py",
        "/workspace/x",
        "/var/x",
        "/mnt/nfs/share",
        "/srv/cache",
        "/",
        "a/home/me/x",
        "//home/me",
        "a:/b",
        "s/Users/x/",
        "-flag",
        "{{$.outputs.artifacts['model'].path}}",
    ],
)
def test_paths_that_may_be(word: str) -> None:
    assert codes(call(["train"], [word])) == []


def env(*entries: Any) -> CheckContext:
    return call(["train"], env=list(entries))


@pytest.mark.failure("F32", "RK-ENV-PLACEHOLDER")
def test_a_parameter_in_the_environment() -> None:
    def pipeline(mode: str) -> None:
        kfp_pipelines.echo().set_env_variable("MODE", f"{mode}")

    found = one(context_of_spec(spec_of_kfp(pipeline)))
    assert (found.code, found.severity) == ("RK-ENV-PLACEHOLDER", Severity.ERROR)
    assert "MODE" in found.message


@pytest.mark.parametrize(
    ("entries", "code", "severity"),
    [
        ([{"name": "A", "value": TAG}], "RK-ENV-PLACEHOLDER", Severity.WARNING),
        ([{"value": "x"}], "RK-ENV-NAME", Severity.ERROR),
        ([{"name": "", "value": "x"}], "RK-ENV-NAME", Severity.ERROR),
        ([{"name": "my-name", "value": "x"}], "RK-ENV-NAME", Severity.ERROR),
        ([{"name": "A", "value": "1"}, {"name": "A", "value": "2"}], "RK-ENV-TWICE", Severity.WARNING),
        ([{"name": f"A{n}", "value": "x"} for n in range(101)], "RK-ENV-MANY", Severity.ERROR),
        ([{"name": "CLOUD_ML_PROJECT_ID", "value": "p"}], "RK-ENV-RESERVED", Severity.WARNING),
        ([{"name": "A", "value": "$(HOME)/x"}], "RK-ENV-EXPANSION", Severity.NOTE),
        ([{"name": "PATH", "value": "/usr/local/bin:$PATH"}], "RK-CALL-VARIABLE", Severity.WARNING),
        ([{"name": "PYTHONPATH", "value": "${PYTHONPATH}:/app"}], "RK-CALL-VARIABLE", Severity.WARNING),
        ([{"name": "A", "value": "$BUCKET"}], "RK-CALL-VARIABLE", Severity.NOTE),
        ([{"name": "A", "value": "/Users/me/x"}], "RK-PATH-HOST", Severity.WARNING),
        ([{"name": "PYTHONPATH", "value": "/app:/Users/me/x"}], "RK-PATH-HOST", Severity.WARNING),
        (
            [{"name": "GOOGLE_APPLICATION_CREDENTIALS", "value": "/secrets/k.json"}],
            "RK-ENV-CREDENTIALS",
            Severity.WARNING,
        ),
        ([{"name": "API_KEY", "value": "changeme"}], "RK-PARAM-TEMPLATE", Severity.WARNING),
        ([{"name": "MLFLOW_TRACKING_URI", "value": "http://localhost:5000"}], "RK-SERVICE-LOCAL", Severity.WARNING),
        ([{"name": "OLLAMA_HOST", "value": "http://127.0.0.1:11434"}], "RK-SERVICE-LOCAL", Severity.NOTE),
    ],
)
def test_the_environment(entries: list[dict[str, str]], code: str, severity: Severity) -> None:
    found = one(env(*entries))
    assert (found.code, found.severity) == (code, severity)


def test_environments_that_are_right() -> None:
    assert codes(env(*({"name": f"A{n}", "value": "x"} for n in range(100)))) == []
    assert codes(env({"name": "AIP_MODEL_DIR", "value": "/gcs/b/m"}, {"name": "B", "value": "$$(X) $HOME"})) == []
    assert codes(env({"name": "A", "value": "1"}, {"name": "A", "value": "1"})) == []
    assert codes(env({"name": "RUN", "value": "{{$.pipeline_job_name}}"})) == []
    assert codes(env({"name": "PYTHONPATH", "value": "/workspace:/opt/lib"}, {"name": "H", "value": "/home/u/x"})) == []
    assert codes(env({"name": "MASTER_ADDR", "value": "localhost"}, {"name": "MODE", "value": "none"})) == []


def test_constants_and_values_that_reach_a_step() -> None:
    def pipeline(data: str) -> None:
        kfp_pipelines.echo(text="/Users/anna/data/train.csv")
        kfp_pipelines.echo(text="/data/there")
        kfp_pipelines.echo(text=data)
        kfp_pipelines.echo(text="redis://localhost")

    context = context_of_spec(spec_of_kfp(pipeline), params={"data": "gs:/bucket/x"})
    assert [(found.code, found.place) for found in check_calls(context)] == [
        ("RK-PATH-STORAGE", "-p data"),
        ("RK-PATH-HOST", "pipeline.yaml: root.dag.tasks.echo.inputs.parameters.text"),
        ("RK-SERVICE-LOCAL", "pipeline.yaml: root.dag.tasks.echo-4.inputs.parameters.text"),
    ]


def test_no_finding_holds_a_value() -> None:
    canary = "hunter2-" + "x" * 30
    found = [
        *check_calls(env({"name": "A", "value": f"{canary} $(B)"}, {"name": "A", "value": canary})),
        *check_calls(call(["sh", "-c", f"login {canary} {TAG} 'x"], [f"--token {canary}", f"$TOKEN/{canary}"])),
        *check_calls(call(["sh", "-c", "python x.py"], [f"--token={canary}"])),
        *check_calls(call([], ["-e", f"TOKEN={canary}"])),
        *check_calls(env({"name": "DB", "value": f"redis://:{canary}@localhost:1"})),
        *check_calls(env({"name": "A", "value": f"$A {canary}"})),
    ]
    assert found
    assert canary not in repr(found)
