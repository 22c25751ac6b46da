"""Secrets within longer texts: what their names say in scripts, options, JSON, Python and headers, and what is none.

No key stands in this file: they are drawn for each run.
"""

from __future__ import annotations

import json
import secrets
import string
import time
from typing import Any

import pytest

from run_kfp.findings import Finding, Severity
from run_kfp.preflight.offline.values import check_written, written_values
from specs import context_of_registry, context_of_spec, registry, step_spec

HEX = secrets.token_hex(20)
KEY = "".join(secrets.choice(string.ascii_letters) + secrets.choice(string.digits) for _ in range(16))


def found_in(**container: Any) -> list[Finding]:
    context = context_of_spec(step_spec(container))
    found = list(check_written(context, lambda text: False))
    for one in found:
        assert one.code == "RK-SECRET-WRITTEN"
        assert HEX not in str(one)
        assert KEY not in str(one)
    # What a finding must not show is known to the masker.
    assert bool(found) == any(True for _ in written_values(context))
    return found


def in_script(script: str, *call: str) -> list[Finding]:
    return found_in(command=[*(call or ("bash", "-c")), script.replace("HEX", HEX).replace("KEY16", KEY)])


@pytest.mark.parametrize(
    ("script", "name"),
    [
        ("WANDB_API_KEY=HEX python train.py", "WANDB_API_KEY"),
        ("WANDB_API_KEY='HEX' python train.py", "WANDB_API_KEY"),
        ("export WANDB_API_KEY=HEX; exec python train.py", "WANDB_API_KEY"),
        ('export A=b HF_TOKEN="KEY16"\npython train.py', "HF_TOKEN"),
        ("declare -x MY_SECRET=KEY16; python train.py", "MY_SECRET"),
        ("exec python train.py --api-key HEX", "--api-key"),
        ("exec python train.py --api-key=HEX", "--api-key"),
        ("python train.py \\\n  --wandb-token 'HEX' \\\n  --epochs 5", "--wandb-token"),
        ("cd app && (env DB_PASSWORD=KEY16 python x.py) | tee log", "DB_PASSWORD"),
        ("if true; then TOKEN=HEX; fi", "TOKEN"),
        ("f() { SECRET=KEY16; }; f", "SECRET"),
        ("echo $(API_KEY=HEX python x.py)", "API_KEY"),
        ("echo `API_KEY=HEX python x.py`", "API_KEY"),
        ("cat <<EOF > ~/.config\napi_key: HEX\nEOF\npython x.py", "api_key"),
        ("cat > x <<'EOF'\n[default]\naws_secret_access_key = KEY16\nEOF\n", "aws_secret_access_key"),
        ('curl -H "Authorization: Bearer KEY16" https://example.com', "Authorization"),
        ("curl -H 'X-Api-Key: HEX' https://example.com", "X-Api-Key"),
        ("curl -u user:KEY16 https://example.com", "curl -u"),
        ("mysql -uroot -pKEY16 db < x.sql", "mysql -p"),
        ("sshpass -p KEY16 ssh host", "sshpass -p"),
        ('curl -d \'{"client_secret": "KEY16"}\' https://example.com', "client_secret"),
        ("bash -c 'API_TOKEN=HEX python x.py'", "API_TOKEN"),
        ("timeout 9 sh -c 'python x.py --token HEX'", "--token"),
        ("python -c \"import w; w.login(key='HEX')\"", "key"),
        ("python - <<EOF\nimport os\nos.environ['API_KEY'] = 'HEX'\nEOF", "API_KEY"),
        ("printf 'machine x\\npassword=KEY16' > ~/.netrc", "password"),
        ("docker login -u me -p KEY16 host", "docker -p"),
        ("python x.py --api-key HEX 'open", "--api-key"),  # no script that can be read
    ],
)
def test_secrets_in_scripts_of_shells(script: str, name: str) -> None:
    (found,) = in_script(script)
    assert (found.severity, found.message) == (
        Severity.WARNING,
        f"{name} has a plain-text value that looks like a secret",
    )
    assert found.place.endswith(".command")


@pytest.mark.parametrize(
    ("script", "name"),
    [
        ("import wandb; wandb.login(key='HEX')", "key"),
        ("import wandb\nwandb.login('HEX')", "login()"),
        ("api_key = 'HEX'", "api_key"),
        ("openai.api_key = 'HEX'", "api_key"),
        ("os.environ['WANDB_API_KEY'] = 'HEX'", "WANDB_API_KEY"),
        ("os.environ.setdefault('WANDB_API_KEY', 'HEX')", "WANDB_API_KEY"),
        ("os.environ.update({'HF_TOKEN': 'KEY16'})", "HF_TOKEN"),
        ("os.environ.update(HF_TOKEN='KEY16')", "HF_TOKEN"),
        ("client = Client(host='x', password='KEY16')", "password"),
        ("def f(token='HEX'): pass", "token"),
        ("def f(*, token='HEX'): pass", "token"),
        ("x: str = ''; secret: str = 'KEY16'", "secret"),
        ("user, password = 'me', 'KEY16'", "password"),
        ("requests.get(u, headers={'Authorization': 'Bearer KEY16'})", "Authorization"),
        ("os.system('TOKEN=HEX ./run')", "TOKEN"),
        ('json.loads(\'{ "api_key": "HEX" }\')', "api_key"),
        ("api_key = 'HEX' if", "api_key"),  # does not parse
    ],
)
@pytest.mark.parametrize("call", [("python", "-c"), ("python3.11", "-u", "-c"), ("env", "A=b", "python", "-c")])
def test_secrets_in_scripts_of_python(script: str, name: str, call: tuple[str, ...]) -> None:
    (found,) = in_script(script, *call)
    assert found.message == f"{name} has a plain-text value that looks like a secret"


def test_secrets_in_a_function_that_kfp_hands_over() -> None:
    source = "\nimport kfp\nfrom kfp import dsl\n\ndef train():\n    import wandb\n    wandb.login(key='HEX')\n"
    (found,) = found_in(command=["sh", "-ec", 'printf "%s" "$0" > x.py; python3 x.py', source.replace("HEX", HEX)])
    assert found.message.startswith("key has")


@pytest.mark.parametrize(
    ("call", "script"),
    [
        (("node", "-e"), "process.env.API_KEY = 'HEX'"),
        (("perl", "-e"), '$ENV{"API_KEY"} = "HEX"'),
        (("ruby", "-e"), 'ENV["API_KEY"] = "HEX"'),
        (("Rscript", "-e"), 'Sys.setenv(API_KEY = "HEX")'),
    ],
)
def test_secrets_in_other_scripts(call: tuple[str, ...], script: str) -> None:
    (found,) = in_script(script, *call)
    assert "API_KEY has" in found.message


@pytest.mark.parametrize(
    ("args", "name"),
    [
        (["train.py", "--epochs 20  --batch_size 16  --wandb_api_key HEX"], "--wandb_api_key"),
        (["--config", '{"a": [{"wandb_api_key": "HEX"}]}'], "wandb_api_key"),
        (['--config={"token": "HEX"}'], "token"),
        (["--conf", "spark.hadoop.fs.s3a.secret.key=KEY16"], "spark.hadoop.fs.s3a.secret.key"),
        (["--set", "a=b,auth.token=HEX"], "auth.token"),
        (["--header", "Authorization: Bearer KEY16"], "Authorization"),
        (["--connection", "Server=x;AccountKey=KEY16;Port=1"], "AccountKey"),
        (["--url", "https://example.com/?a=b&access_token=HEX"], "access_token"),
        (["a: b\napi_key: HEX\n"], "api_key"),
        (['{"env": [{"name": "API_KEY", "value": "HEX"}]}'], "API_KEY"),
        (["-apiKey", "HEX"], "-apiKey"),
    ],
)
def test_secrets_in_longer_words(args: list[str], name: str) -> None:
    args = [word.replace("HEX", HEX).replace("KEY16", KEY) for word in args]
    (found,) = found_in(command=["python", "x.py"], args=args)
    assert (found.severity, found.message) == (
        Severity.WARNING,
        f"{name} has a plain-text value that looks like a secret",
    )
    (found,) = found_in(command=["python", "x.py"], env=[{"name": "CONFIG", "value": "\n".join(args[-1:])}]) or (found,)
    assert KEY not in str(found)


@pytest.mark.parametrize(
    "script",
    [
        'WANDB_API_KEY="$1" GIT_SHA=HEX exec python train.py',
        "WANDB_API_KEY=$(cat /run/key) exec python train.py --api-key-file /run/key",
        "export TOKEN; export TOKEN=${TOKEN:-}; python x.py --git-sha HEX",
        "python x.py --api-key $API_KEY --run-id HEX --key-id KEY16",
        'curl -H "Authorization: Bearer $(gcloud auth print-access-token)" https://example.com',
        'curl -H "Authorization: Bearer ${TOKEN}" https://example.com',
        "python x.py --token-file x --tokenizer HEX --max-tokens 1000000000000001",
        "git checkout HEX # token: see the wiki",
        "docker run -p 8080:8080 x",
        "SECRET_NAME=projects/p/secrets/wandb/versions/1 python x.py",
        "API_KEY=your-api-key python x.py --password-env DB_PASSWORD",
        "cat <<'EOF'\ntoken: $TOKEN\napi_key: ${API_KEY}\nEOF",
        "python x.py '--help: token is required for api_key: none-at-all-here'",
    ],
)
def test_scripts_without_a_secret(script: str) -> None:
    assert in_script(script) == []


@pytest.mark.parametrize(
    "script",
    [
        "import os; w.login(key=os.environ['WANDB_API_KEY'])",
        "token = open('/run/key').read(); commit = 'HEX'",
        "d = {'token_type': 'KEY16', 'key': 'HEX'}; sorted(d, key='HEX')",
        "tokenizer = AutoTokenizer.from_pretrained('HEX')",
        "api_key = f'{x}'; print('api_key is', 'HEX')",
        "password = getpass('password: ')",
    ],
)
def test_scripts_of_python_without_a_secret(script: str) -> None:
    assert in_script(script, "python", "-c") == []


@pytest.mark.parametrize(
    "args",
    [
        ["train.py", "--git-sha", HEX, "--wandb", "offline"],
        ["--note", "the token: is in the secret manager; api_key: see there"],
        [json.dumps({"api_key_name": "wandb", "commit": HEX, "token": None})],
        ["--secret", "projects/p/secrets/wandb/versions/latest", "--token", "/run/token"],
        ["--digest", f"sha256:{HEX}", "--key", HEX],
    ],
)
def test_longer_words_without_a_secret(args: list[str]) -> None:
    assert found_in(command=["python", "x.py"], args=args) == []


def test_constants_and_defaults_hold_secrets_too() -> None:
    spec = step_spec({"command": ["x"]})
    spec["root"]["dag"]["tasks"]["step"]["inputs"] = {"parameters": {"api_key": {"runtimeValue": {"constant": HEX}}}}
    (found,) = check_written(context_of_spec(spec), lambda text: False)
    assert found.place == "pipeline.yaml: root.dag.tasks.step.inputs.parameters.api_key"
    text = registry('args = [{ param = "config" }]', f"[params.config]\ndefault = '{json.dumps({'token': HEX})}'\n")
    (found,) = check_written(context_of_registry(text), lambda text: False)
    assert found.place == "run-kfp.toml: params.config.default"


def test_a_value_that_stands_in_many_places_is_told_once() -> None:
    script = f"API_KEY={HEX} python x.py --api-key {HEX}"
    assert len(found_in(command=["bash", "-c", script], env=[{"name": "API_KEY", "value": HEX}])) == 1


@pytest.mark.parametrize(
    "piece", ["a=", "--a ", "a: ", '{"a":', "[", "authorization: ", "a='", "-" * 50, "(" * 50, "not "]
)
def test_the_time_does_not_grow_faster_than_the_text(piece: str) -> None:
    for call in (["python", "-c"], ["bash", "-c"], ["x"]):
        context = context_of_spec(step_spec({"command": [*call, piece * (30_000 // len(piece))]}))
        start = time.process_time()
        assert list(check_written(context, lambda text: False)) == []
        assert time.process_time() - start < 5
