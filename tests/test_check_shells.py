"""Shell scripts of steps: failures that they hide, words of another shell, variables of another machine."""

from __future__ import annotations

import shlex

import pytest

from run_kfp.preflight.context import CheckContext
from run_kfp.preflight.offline.calls import check_calls
from specs import context_of_registry, context_of_spec, registry, step_spec

RULES = ("RK-SHELL-FAILURE", "RK-SHELL-DIALECT", "RK-SHELL-ACTIVATE", "RK-SHELL-VARIABLE")


def told(context: CheckContext) -> list[tuple[str, str]]:
    return [(found.severity.value, found.code) for found in check_calls(context) if found.code in RULES]


def of(call: str, script: str, image: str = "python:3.11", env: dict[str, str] | None = None) -> list[tuple[str, str]]:
    """Say what is told of a step that is called by the words of a line, with the script behind them."""
    entries = [{"name": name, "value": value} for name, value in (env or {}).items()]
    step = step_spec({"image": image, "command": [*shlex.split(call), script], "env": entries})
    return told(context_of_spec(step))


WARNED, NOTED = ("warning", "RK-SHELL-FAILURE"), ("note", "RK-SHELL-FAILURE")


@pytest.mark.parametrize(
    "end", ["grep -v x", "head -n 5", "wc -l", "tail -1", "tee log", "cat", "sort | uniq", "sed s/a/b/"]
)
@pytest.mark.parametrize("start", ["python train.py", "./train.sh", "(cd app; python x.py)", "dvc repro 2>&1"])
def test_a_pipeline_with_the_exit_code_of_its_last_part(start: str, end: str) -> None:
    assert of("bash -c", f"{start} | {end}") == [WARNED]
    assert of("bash -o pipefail -c", f"{start} | {end}") == []
    assert of("bash -c", f"set -eo pipefail\n{start} | {end}") == []
    assert of("bash -c", f"{start} | {end}; exit ${{PIPESTATUS[0]}}") == []


@pytest.mark.parametrize(
    "call",
    [
        "sh -c",
        "bash -ec",
        "/bin/bash -euxc",
        "bash -lc",
        "zsh -c",
        "dash -c",
        "ash -c",
        "ksh -c",
        "env bash -c",
        "/usr/bin/env A=b bash -c",
        "timeout 5 bash -c",
        "nice -n 5 sh -c",
        "tini -- bash -c",
        "bash --norc -c",
    ],
)
def test_shells_of_every_call(call: str) -> None:
    assert of(call, "python train.py | tee log") == [WARNED]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        # the end of the script succeeds
        ("python train.py; echo done", WARNED),
        ("python a.py\npython b.py\necho finished", WARNED),
        ("python a.py; rm -rf /tmp/x", WARNED),
        ("python train.py || echo failed", WARNED),
        ("python train.py || { echo failed; date; }", WARNED),
        ("python train.py; exit 0", NOTED),
        # the script goes on
        ("python a.py; python b.py", NOTED),
        ("python a.py && python b.py; python c.py", NOTED),
        ("for f in a b; do python x.py $f; done", NOTED),
        ("python a.py; set -e; python b.py", NOTED),
        ("set -e; set +e; python a.py; python b.py", NOTED),
        ("if [ -f x ]; then python a.py; fi; python b.py", NOTED),
        ("main() { python a.py; python b.py; }; main", NOTED),
        ("(python a.py; python b.py)", NOTED),
        ("while read -r f; do python x.py $f; done < list", NOTED),
        # the background
        ("python train.py &", WARNED),
        ("python a.py & python b.py & wait", WARNED),
        # pipelines in front of something else
        ("set -e; python a.py | tee log; python b.py", WARNED),
        ("python a.py | tee log && python b.py", WARNED),
        ("python a.py | python b.py", NOTED),
        ("bash -c 'python a.py | tee log'", WARNED),
        ("timeout 60 bash -c 'python a.py | tee log'", WARNED),
        ("python a.py |\n  tee log  # both", WARNED),
        ("for f in a b; do python x.py $f; done | tee log", WARNED),
        ("curl -fsS https://example.com/x | tee x", NOTED),
    ],
)
def test_scripts_that_hide_a_failure(script: str, expected: tuple[str, str]) -> None:
    assert of("bash -c", script) == [expected]


@pytest.mark.parametrize(
    "script",
    [
        "python train.py",
        "exec python train.py",
        "cd /app; python train.py",
        "mkdir -p out; cp -r a b; export A=b; python train.py",
        "python a.py || exit 1; python b.py",
        "python a.py || true; python b.py",
        "python a.py || true",
        "python a.py; status=$?; echo $status; exit $status",
        "python a.py\nrc=$?\nif [ $rc -ne 0 ]; then exit $rc; fi\npython b.py",
        "if python a.py; then python b.py; else exit 3; fi",
        "if ! python a.py; then echo failed; exit 1; fi; exec python b.py",
        "set -o errexit\npython a.py\npython b.py",
        "set -euxo pipefail; python a.py; python b.py | tee log",
        "trap 'exit 1' ERR; python a.py; python b.py",
        "for i in 1 2 3; do python a.py && break; sleep 5; done",
        "until python ready.py; do sleep 1; done; python b.py",
        "while true; do python poll.py; sleep 60; done",
        "for f in a b; do python x.py $f || exit 1; done",
        "python a.py & a=$!; python b.py & b=$!; wait $a && wait $b",
        "python server.py & python client.py",
        "python server.py & server=$!; python client.py; s=$?; kill $server; wait; exit $s",
        "ls | grep x | wc -l; exec python a.py",
        "echo y | python a.py",
        "cat x | python a.py",
        "pip freeze | grep torch; python a.py",
        "nvidia-smi | head -n 5; exec python a.py",
        "if python a.py | grep -q ok; then python b.py; fi",
        "python a.py | grep -q ok && python b.py",
        "curl -fsS https://example.com/x.tgz | tar xz && python a.py",
        "python a.py && python b.py && echo done",
        "cat <<EOF > x\npython a.py; python b.py\nEOF\npython c.py",
        "echo 'python a.py | tee log'",
        "python -c 'a | b; c'",
        "(cd /app && python a.py)",
        "{ python a.py; } 2>&1",
        'case "$1" in train) python a.py ;; *) python b.py ;; esac',
        '"$@"',
        'python a.py "$(date +%F | tr - _)"',
        "echo start; python a.py",
        "trap 'rm -rf /tmp/x' EXIT; python a.py",
        "python a.py 'open",  # no script
        "",
    ],
)
def test_scripts_whose_failures_are_seen(script: str) -> None:
    assert of("bash -c", script) == []


def test_the_script_may_stand_in_args() -> None:
    step = step_spec({"command": ["bash", "-c"], "args": ["python a.py | tee log"]})
    assert told(context_of_spec(step)) == [WARNED]
    # Whether the ENTRYPOINT of the image is a shell is not known.
    assert told(context_of_spec(step_spec({"command": [], "args": ["-c", "python a.py | tee log"]}))) == [NOTED]


@pytest.mark.parametrize(
    "script",
    [
        "source venv/bin/activate && python a.py",
        "set -euo pipefail; python a.py",
        "[[ -f x ]] && python a.py",
        "files=(a b); python a.py",
        'python a.py "${files[@]}"',
        "python a.py <(cat x)",
        "function f { python a.py; }; f",
        "python a.py <<< x",
        "python a.py &> log",
        "python a.py |& cat -n; exit 1",
        "for ((i = 0; i < 3; i++)); do echo $i; done; python a.py",
        "for i in {1..5}; do echo $i; done; python a.py",
        "python a.py ${x//a/b}",
        "python a.py ${x:0:3}",
        "python a.py ${x,,}",
        "pushd app; python a.py",
        "declare x=1; python a.py",
        "read -t 5 x; python a.py",
        'if [ "$1" == a ]; then python a.py; fi',
        "x=a; x+=b; python a.py",
        "(( 1 + 1 )); python a.py",
        "echo $RANDOM; python a.py",
        "if true; then source x; fi; python a.py",
        "x=$(source a; echo b); python a.py",
        "printf -v x a; python a.py",
    ],
)
def test_what_sh_of_debian_does_not_know(script: str) -> None:
    found = [one for one in of("sh -c", script) if one[1] != "RK-SHELL-FAILURE"]
    assert found == [("warning", "RK-SHELL-DIALECT")]
    assert ("warning", "RK-SHELL-DIALECT") not in of("bash -c", script)
    assert ("warning", "RK-SHELL-DIALECT") not in of("sh -c", script, "rockylinux:9")


@pytest.mark.parametrize(
    "script",
    [
        ". venv/bin/activate && python a.py",
        "set -eu; python a.py",
        "[ -f x ] && python a.py",
        "f() { local x; x=1; echo $x; }; f; python a.py",
        "python a.py ${x:-b} ${y%.*} ${z##*/} ${#x}",
        "python a.py > log 2>&1",
        "cat <<EOF | python a.py\nsource x; [[ a ]]\nEOF",
        "echo '[[ $x ]] && source y'; python a.py",
        "bash -c 'source venv/bin/activate && python a.py'",
        "x=$((1 + 1)); python a.py",
        "read -r x < f; python a.py",
        "echo -n x; python a.py",
        'if [ "$1" = "==" ]; then :; fi; python a.py',
        "find . -exec ls {} \\; ; python a.py",
        "python a.py '{a,b}' # source x",
        "python source.py source",
        "trap 'rm x' EXIT; python a.py",
        'if [ -n "$BASH_VERSION" ]; then source x; fi; python a.py',
        "python a.py --data={{$.inputs.parameters['x']}}",
    ],
)
def test_what_every_sh_knows(script: str) -> None:
    assert of("sh -c", script) == []


def test_a_note_where_sh_only_prints_more() -> None:
    assert of("sh -c", "echo -e 'a\\tb'; python a.py") == [("note", "RK-SHELL-DIALECT")]


def test_sh_of_alpine_knows_some_of_bash() -> None:
    assert of("sh -c", "source x; [[ -f y ]]; set -o pipefail; python a.py", "python:3.12-alpine") == []
    assert of("sh -c", "x=(a b); python a.py", "alpine:3") == [("warning", "RK-SHELL-DIALECT")]


def test_pipefail_as_an_option_of_sh() -> None:
    assert of("sh -o pipefail -c", "python a.py") == [("warning", "RK-SHELL-DIALECT")]


@pytest.mark.parametrize(
    "script",
    [
        "conda activate x && python a.py",
        "mamba activate x; exec python a.py",
        "conda init bash && conda activate x && python a.py",
        "cd /app && nvm use 18 && node x.js",
    ],
)
def test_environments_without_their_start_up_file(script: str) -> None:
    activated = ("warning", "RK-SHELL-ACTIVATE")
    assert activated in of("bash -c", script)
    for call in ("bash -lc", "bash --login -c", "bash -ic", "bash -l -c"):
        assert activated not in of(call, script)
    for front in ('eval "$(conda shell.bash hook)"', ". /opt/conda/etc/profile.d/conda.sh", "source ~/.bashrc"):
        assert activated not in of("bash -c", f"{front}; {script}")
    assert activated not in of("bash -c", script, env={"BASH_ENV": "/opt/conda.sh"})


PARAMS = '[params.rows]\nenv = "ROWS"\ndefault = "10"\n[secrets.login]\nenv = "GIT_LOGIN"\n'


def in_registry(script: str, more: str = "") -> list[tuple[str, str]]:
    keys = f"command = ['bash', '-c', '''{script}''', 'step']\n{more}"
    return told(context_of_registry(registry(keys, PARAMS), params={"rows": "1"}, bucket="acme-bucket"))


@pytest.mark.parametrize(
    "script",
    [
        'python a.py --bucket "$GCS_BUCKET_NAME"',
        "python a.py --rows ${ROWS}",
        "python a.py --project=$GCP_PROJECT --region=x",
        'git clone "$GIT_LOGIN@example.com/x"',
        "echo $(cat x$ROWS); python a.py",
        "cat <<EOF | python a.py\n$ROWS\nEOF",
        "if [ $ROWS -gt 5 ]; then python a.py; fi",
        "python a.py ${ROWS%0}",
        "sh -c 'python a.py $ROWS'",
        "A=$ROWS python a.py",
    ],
)
def test_variables_of_this_machine(script: str) -> None:
    assert in_registry(script) == [("warning", "RK-SHELL-VARIABLE")]


@pytest.mark.parametrize(
    "script",
    [
        'ROWS="$1"; python a.py $ROWS',
        "export ROWS=5; python a.py $ROWS",
        "for ROWS in 1 2; do echo $ROWS; done; python a.py",
        "read -r ROWS < f; python a.py $ROWS",
        "python a.py ${ROWS:-10} ${GCP_PROJECT-x} ${GIT_LOGIN:?missing}",
        ": ${ROWS:=5}; python a.py $ROWS",
        "python a.py '$ROWS' \\$ROWS",
        "cat <<'EOF' | python a.py\n$ROWS\nEOF",
        ". ./settings.sh; python a.py $ROWS",
        'if [ -n "$ROWS" ]; then python a.py $ROWS; fi',
        "python a.py $HOME $PATH $EPOCHS",
        "local() { ROWS=1; }; local; python a.py $ROWS",
    ],
)
def test_variables_that_the_container_has(script: str) -> None:
    assert in_registry(script) == []


def test_variables_of_the_step() -> None:
    assert in_registry("python a.py $ROWS", "env = { ROWS = '5' }") == []
    assert in_registry("python a.py $ROWS", "env = { ROWS = { param = 'rows' } }") == []


def test_the_next_step_names_the_reference() -> None:
    keys = "command = ['sh', '-c', 'exec python a.py $GIT_LOGIN $ROWS']"
    found = check_calls(context_of_registry(registry(keys, PARAMS)))
    hints = {one.message.split()[0]: one.hint for one in found if one.code == "RK-SHELL-VARIABLE"}
    assert '{ secret = "login" }' in hints["$GIT_LOGIN"]
    assert '{ param = "rows" }' in hints["$ROWS"]
