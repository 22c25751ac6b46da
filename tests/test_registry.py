"""The registry file: what it allows, what it refuses and in which words, and what a selection picks."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pytest

from conftest import Cli, Write
from run_kfp.arguments import Reference
from run_kfp.commands.init import secret_placeholders
from run_kfp.errors import InputError
from run_kfp.findings import Finding
from run_kfp.limits import memory_text
from run_kfp.registry import Registry, name_meant
from run_kfp.registry_file import packaged_registry_text, parse_registry


def parsed(text: str) -> Registry:
    return parse_registry(text, source="run-kfp.toml", folder=Path())


def faults_of(text: str) -> list[str]:
    """Every fault of a registry: the words and, behind an arrow, the hint."""
    with pytest.raises(InputError) as raised:
        parsed(text)
    error = raised.value
    told = [(fault.text, fault.hint) for fault in error.faults] or [(error.message, error.hint)]
    return [f"{message} → {hint}" for message, hint in told]


ONE = '[containers.1]\nname = "one"\nimage = "alpine"\n'


def test_the_packaged_registry_is_what_the_package_holds() -> None:
    text = (resources.files("run_kfp") / "containers.toml").read_text(encoding="utf-8")

    assert text == packaged_registry_text()
    registry = parsed(text)
    assert list(registry.containers) == ["1", "2", "3", "4"]
    assert registry.compile_time_params == {"num_gpu"}
    assert all(container.side_effects for container in registry.containers.values())


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["1", "2"], ["get-raw-data", "preprocess-data"]),
        (["4", "1"], ["train-model", "get-raw-data"]),
        (["1-4"], ["get-raw-data", "preprocess-data", "versioning", "train-model"]),
        (["3,1", "train-model"], ["versioning", "get-raw-data", "train-model"]),
        (["2", "2"], ["preprocess-data", "preprocess-data"]),
        ([" 1 , versioning "], ["get-raw-data", "versioning"]),
    ],
)
def test_the_order_is_the_order_given(words: list[str], names: list[str]) -> None:
    assert [container.name for container in parsed(packaged_registry_text()).select(words)] == names


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["9"], ["unknown container '9'", "1 (get-raw-data)"]),
        (["trainmodel"], ["did you mean 'train-model'?"]),
        (["1-6"], ["unknown container '5, 6'"]),
        (["4-1"], ["is reversed", "write 1-4"]),
        ([""], ["selects no container"]),
        (["1,"], ["ends in a comma", "write -r 1"]),
        ([",1"], ["begins with a comma"]),
        (["Versioning"], ["did you mean 'versioning'?"]),
        (["1" * 500], ["(500 characters)"]),
        (["1,,2"], ["two commas", "write -r 1,2"]),
        (["1-99999"], ["too long"]),
        (["1-" + "9" * 5000], ["unknown container"]),
        (["2-300"], ["'5, 6, 7, 8, 9, …'"]),
        (["01"], ["unknown container '01'"]),
    ],
)
def test_a_selection_of_nothing_is_told(words: list[str], told: list[str]) -> None:
    with pytest.raises(InputError) as raised:
        parsed(packaged_registry_text()).select(words)
    error = raised.value
    text = " ".join([error.message, error.hint, *(f"{fault.message} {fault.hint}" for fault in error.faults)])
    assert all(words in text for words in told)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "containers: no containers declared"),
        ("[containers", "invalid TOML"),
        ("[container.1]\n", "container: unknown table"),
        ("[container.1]\n", "did you mean 'containers'?"),
        ('[containers.1]\nname = "a"\nimge = "x"\n', "containers.1.imge: unknown key"),
        ('[containers.1]\nname = "a"\nimge = "x"\n', "did you mean 'image'?"),
        ('[containers.1]\nimage = "x"\n', "containers.1.name: is missing"),
        ('[containers.1]\nname = "a"\n', "requires either image or factory"),
        ('[containers.train]\nname = "a"\nimage = "x"\n', "an index is an integer"),
        ('[containers.train]\nimage = "x"\n', 'write [containers.1] with name = "train"'),
        ('[containers.007]\nname = "a"\nimage = "x"\n', "write [containers.7]"),
        ('[containers.1]\nname = "A"\nimage = "x"\n', "'A' is not a name"),
        ('[containers.1]\nname = "a-2"\nimage = "x"\n', "KFP adds to repeated steps"),
        ('[containers.1]\nname = "a--b"\nimage = "x"\n', "'a--b' is not a name"),
        ('[containers.1]\nname = "a"\nimage = "x y"\n', "'x y' is not a valid image"),
        (ONE + '[containers.2]\nname = "one"\nimage = "x"\n', "is also the name of container 1"),
        (ONE + 'args = ["a", 4]\n', 'containers.1.args.1: is a number; arguments are strings: write "4"'),
        (ONE + "args = [true]\n", 'write "true"'),
        (ONE + "args = [[]]\n", "is an array"),
        (ONE + 'args = "ls"\n', "containers.1.args: must be an array of strings"),
        (ONE + "args = [{}]\n", "has neither a param nor a secret"),
        (ONE + 'args = [{ param = "tag", secret = "x" }]\n', "has both"),
        (ONE + 'args = [{ parm = "tag" }]\n', "has an unknown key 'parm'"),
        (ONE + 'args = [{ param = "tga" }]\n', "unknown param 'tga' → did you mean 'tag'?"),
        (ONE + 'args = [{ secret = "tag" }]\n', 'it is a param: write { param = "tag" }'),
        (ONE + 'args = [{ secret = "key" }]\n', "declare it as [secrets.key]"),
        (ONE + "args = [\"{{$.inputs.parameters['a']}}\"]\n", "contains '{{$'"),
        (ONE + 'args = ["{{channel:task=a;name=b}}"]\n', "contains '{{channel:'"),
        (ONE + 'args = ["{\\"Concat\\": []}"]\n', "the backend would evaluate"),
        (ONE + 'args = [" {\\"IfPresent\\": {}}"]\n', "the backend would evaluate"),
        (ONE + 'args = ["a\\u0000b"]\n', "NUL"),
        (ONE + 'args = [{ param = "tag", prefix = "{{$" }]\n', "contains '{{$'"),
        (ONE + 'command = ["{{$.x}}"]\n', "contains '{{$'"),
        (ONE + "command = []\n", "is empty"),
        (ONE + 'env = { "A B" = "x" }\n', "'A B' is not a valid environment variable name"),
        (ONE + 'env = { A = "$(HOME)/x" }\n', "Vertex AI would expand"),
        (ONE + 'env = { A = { param = "tag" } }\n', "requires entrypoint = [...]"),
        (ONE + 'env = { A = { param = "tag" } }\nentrypoint = ["A=b"]\n', "`env` does not accept 'A=b'"),
        (ONE + 'env = { A = { param = "tag", prefix = "p" } }\nentrypoint = ["a"]\n', "has a prefix"),
        (ONE + 'entrypoint = ["a"]\n', "to replace the image's ENTRYPOINT, write command"),
        (ONE + 'command = ["a"]\nentrypoint = ["b"]\n', "cannot be used together with command, which replaces"),
        (ONE + "gpu = 2\n", 'write accelerator = { type = "NVIDIA_TESLA_T4", count = 2 }'),
        (ONE + 'gpu_type = "NVIDIA_L4"\n', 'write accelerator = { type = "NVIDIA_L4", count = 1 }'),
        (ONE + 'ram = "32 GB"\n', 'write memory = "32G"'),
        (ONE + "cpus = 8\n", "write cpu = 8"),
        (ONE + 'environment = { A = "b" }\n', 'write env = { NAME = "value" }'),
        (ONE + 'machine_type = "n1-standard-4"\n', "Vertex AI chooses the machine"),
        (ONE + 'accelerator = { type = "NVIDIA_L4", limit = 2 }\n', "write count = 2"),
        (ONE + "command = \"python3 'my file.py'\"\n", 'write command = ["python3", "my file.py"]'),
        (ONE + 'args = "cd /app && ls"\n', 'for a shell line, command = ["sh", "-c", "…"]'),
        (ONE + 'accelerator = "NVIDIA_L4"\n', 'write accelerator = { type = "NVIDIA_L4", count = 1 }'),
        (ONE + 'accelerator = { type = "RTX 4090" }\n', "lists the types"),
        (ONE + 'accelerator = { type = "NVIDIA TESLA T4 " }\n', "write 'NVIDIA_TESLA_T4'"),
        (ONE + 'accelerator = { type = "" }\n', "accelerator.type: is empty"),
        (ONE + 'side_effects = "yes"\n', "write side_effects = true"),
        (ONE + 'cpu = "16 vCPU"\n', '"16"?'),
        (ONE + "cpu = true\n", "true is not a valid CPU limit"),
        (ONE + f"cpu = 0x{'f' * 5000}\n", "a number of thousands of digits is not a valid CPU limit"),
        (ONE + f"memory = [0x{'f' * 5000}]\n", "a number of thousands of digits is not a valid memory limit"),
        (ONE + f"side_effects = 0x{'f' * 5000}\ngpu = 0x{'f' * 5000}\n", "must be true or false"),
        (f"[containers.1]\nname = 0x{'f' * 5000}\nimage = 0x{'f' * 5000}\n", "containers.1.name: must be a string"),
        (ONE + f"[settings]\nfailure_policy = 0x{'f' * 5000}\n", "valid values: fast, slow"),
        (ONE + f"args = [0x{'f' * 5000}]\n", "is a number; arguments are strings"),
        (ONE + 'args = ["a", { param = "tga" }]\n', "containers.1.args.1: unknown param 'tga'"),
        (ONE + 'env = { A = { param = "tga" } }\nentrypoint = ["a"]\n', "containers.1.env.A: unknown param 'tga'"),
        (ONE + 'cpu = { param = "nope" }\n', "containers.1.cpu: unknown param 'nope'"),
        (ONE.replace('"alpine"', '"docker pull m/a:1"'), "write 'm/a:1'"),
        (ONE.replace('"alpine"', '"m/a:1\u00a0"'), "write 'm/a:1'"),
        (ONE.replace('"one"', '"Flowers_Train"'), "write 'flowers-train'"),
        (ONE.replace('"one"', f'"{"x" * 500}_"'), "(501 characters)"),
        (ONE + ONE, "line 4: invalid TOML: duplicate table ([containers.1])"),
        (ONE + "name = 'x'\n#\n", "duplicate key"),
        (ONE + 'cpu = "4\n', "line 4: invalid TOML: missing closing quote (cpu = …)"),
        (ONE + "memory = 128G\n", "invalid value (memory = …)"),
        (ONE + "memory = “128G”\n", "typographic quotes"),
        (ONE + 'cpu = "many"\n', "'many' is not a valid CPU limit"),
        (ONE + "cpu = 0\n", "0 is not a valid CPU limit"),
        (ONE + "cpu = -2\n", "-2 is not a valid CPU limit"),
        (ONE + 'memory = "128GB"\n', "'128GB' is not a valid memory limit"),
        (ONE + 'memory = "128GB"\n', '"128G"?'),
        (ONE + 'memory = "1.5G"\n', '"1500M"?'),
        (ONE + "memory = 32\n", '"32G"?'),
        (ONE + 'memory = "32"\n', '"32G"?'),
        (ONE + 'accelerator = { type = "NVIDIA_L4", count = -1 }\n', "-1 is not a valid number of accelerators"),
        (ONE + 'accelerator = { type = "NVIDIA_L4", cuont = 1 }\n', "did you mean 'count'?"),
        (ONE + "accelerator = {}\n", "containers.1.accelerator.type: is missing"),
        (ONE + 'accelerator = { type = "NVIDIA_L4", count = { secret = "x" } }\n', "a resource is a literal or"),
        (ONE + 'cpu = { param = "tag" }\n', "a resource cannot depend on 'tag'"),
        (ONE + 'factory = "a:b"\n', "not both"),
        ('[containers.1]\nname = "a"\nfactory = "a"\n', "'a' is not a valid factory"),
        ('[containers.1]\nname = "a"\nfactory = "a:b"\nargs = ["x"]\n', "factory: remove this key"),
        (ONE + "side_effects = 1\n", "containers.1.side_effects: must be true or false"),
        (ONE + '[params.tag]\ndefault = "x"\n', "params.tag: reserved: every registry has this parameter"),
        (ONE + '[params.class]\ndefault = "x"\n', "no Python keyword"),
        (ONE + '[params.a-b]\ndefault = "x"\n', "single underscores"),
        (ONE + "[params.n]\ndefault = 4\n", 'params.n.default: must be a string → write default = "4"'),
        (ONE + '[secrets.key]\nenv = "MY-KEY"\n', "write 'MY_KEY'"),
        (ONE + "[secrets.key]\n", "has no place to look in"),
        (ONE + '[secrets.key]\nenv_file = "git.env"\nfile = "x"\n', "requires env"),
        (ONE + '[secrets.key]\nfile = "/etc/passwd"\n', "relative to it"),
        (ONE + '[secrets.key]\nfile = "../x"\n', "relative to it"),
        (ONE + '[params.key]\n[secrets.key]\nenv = "X"\n', "duplicate: also declared in [params]"),
        (ONE + '[settings]\nregoin = "x"\n', "did you mean 'region'?"),
        (
            ONE + '[settings]\nfailure_policy = "quick"\n',
            "settings.failure_policy: is 'quick'; valid values: fast, slow",
        ),
        (ONE + '[settings]\nfailure_policy = "fsat"\n', "did you mean 'fast'?"),
        ("containers = 3\n", "containers: is a number"),
        ("[containers]\n1 = 3\n", "containers.1: is a number"),
    ],
)
def test_a_fault_is_told_with_its_place(text: str, told: str) -> None:
    assert any(told in fault for fault in faults_of(text)), faults_of(text)


@pytest.mark.parametrize(
    "text",
    [
        ONE + 'command = ["a"]\nentrypoint = ["b"]\n',
        ONE + '[check.git]\nremote = "https://github.com/a/b"\nmakes_tag = [1]\n',
        ONE + '[secrets.key]\nenv = "MY-KEY"\n',
        ONE + '[secrets.key]\nfile = "/etc/passwd"\n',
        ONE + "accelerator = {}\n",
        ONE.replace("one", "my_name") + '[containers.2]\nname = "my-name"\nimage = "x"\n',
        "[containers]\n1 = 3\n",
    ],
)
def test_one_mistake_is_one_fault(text: str) -> None:
    assert len(faults_of(text)) == 1


def test_all_faults_come_together() -> None:
    faults = faults_of(
        '[settings]\nregoin = "x"\n'
        '[containers.1]\nname = "A"\nmemory = "1GB"\n'
        '[containers.2]\nname = "b"\nimage = "x"\nargs = [4, { param = "unheard" }, "{{$"]\n'
        '[containers.3]\nname = "c"\nimage = "x"\nargs = [{ secret = "nope" }]\n'
        "[params.if]\n[secrets.s]\n"
    )

    for place in (
        "settings.regoin",
        "containers.1.name",
        "containers.1.memory",
        "containers.2.args.0",
        "containers.2.args.2",
        "containers.3.args.0: unknown secret 'nope'",
        "params.if",
        "secrets.s",
    ):
        assert any(place in fault for fault in faults), place


@pytest.mark.parametrize(
    "text",
    [
        ONE,
        ONE.replace("\n", "\r\n"),
        ONE + 'args = ["{{ jinja }}", "${HOME}", "$(date)", "{\\"a\\": 1}", "{", "[1]", "", "-x", "\\u00e9\\n"]\n',
        ONE + 'env = { A = "$HOME $( X) $()" }\n',
        ONE + 'cpu = 0.5\nmemory = "1Gi"\naccelerator = { type = "NVIDIA_L4" }\n',
        ONE + 'cpu = { param = "n" }\n[params.n]\ndefault = "4"\n',
        ONE + 'memory = "128G"\naccelerator = { type = "NVIDIA_L4", count = 0 }\n',
    ],
)
def test_what_is_right_is_taken(text: str) -> None:
    assert parsed(text).containers["1"].name == "one"


@pytest.mark.parametrize(
    ("given", "nearest"),
    [
        ("128GB", "128G"),
        ("32 GB", "32G"),
        ("16gib", "16Gi"),
        ("1.5Gi", "1536Mi"),
        ("500m", "500M"),
        ("64", "64G"),
        ("0.5G", "500M"),
        ("17179869184", "16Gi"),
        ("16000000000", "16G"),
    ],
)
def test_the_nearest_memory_is_offered(given: str, nearest: str) -> None:
    with pytest.raises(ValueError, match=f'"{nearest}"'):
        memory_text(given)


def test_where_the_registry_is_found(cli: Cli, write: Write) -> None:
    def source(*args: str, **variables: str) -> str:
        result = cli("list", "--json", *args, **variables)
        assert result.code == 0, result.err
        found: str = result.json["source"]
        return found

    assert source() == "the packaged registry"
    write("run-kfp.toml", ONE)
    assert source() == "run-kfp.toml"
    write("other.toml", ONE)
    assert source(RUN_KFP_REGISTRY="other.toml") == "other.toml"
    write("third.toml", "\ufeff" + ONE)
    assert source("--registry", "third.toml", RUN_KFP_REGISTRY="other.toml") == "third.toml"


def test_a_registry_that_cannot_be_read(cli: Cli, folder: Path) -> None:
    missing = cli("list", "--registry", "nowhere.toml")
    (folder / "latin.toml").write_bytes("# caf\xe9".encode("latin-1"))
    latin = cli("list", "--registry", "latin.toml")

    assert (missing.code, latin.code) == (2, 2)
    assert "registry not found: nowhere.toml" in missing.err
    assert "is not text in UTF-8" in latin.err


def test_the_list_shows_each_container(cli: Cli) -> None:
    result = cli("list")

    assert result.code == 0
    for words in ("train-model", "03-train-model", "16 CPU, 128G, <num_gpu> × NVIDIA_TESLA_T4", "git_login"):
        assert words in result.out
    data = cli("list", "--json").json
    assert data["containers"][3]["args"][2] == {"secret": "git_login"}
    assert data["containers"][3]["accelerator"] == {"type": "NVIDIA_TESLA_T4", "count": {"param": "num_gpu"}}


def test_what_init_writes_compiles_at_once(cli: Cli, folder: Path) -> None:
    first = cli("init")
    assert first.code == 0, first.err
    compiled = cli("-r", "1", "-r", "2", "-r", "3", "-r", "4", "-t", "v1", "--compile-only")

    assert compiled.code == 0, compiled.err
    assert {".env", "run-kfp.toml", "secrets", ".gitignore"} <= {path.name for path in folder.iterdir()}
    # The placeholders are refused as values, without being repeated.
    planned = cli("-r", "1-4", "-t", "v1", "--dry-run")
    assert planned.code == 2
    for name in ("git_login", "wandb_api_key", "whylabs_api_key"):
        assert f"secret {name}" in planned.err
    assert planned.err.count("is still a placeholder") == 3


def test_the_example_secrets_are_those_that_init_writes() -> None:
    example = Path(__file__).parents[1] / "secrets.example"
    key = "ac215-dermaid.json"  # the service account key, which no container takes as a parameter

    found = {path.name: path.read_text(encoding="utf-8") for path in example.iterdir() if path.name != key}

    assert found == secret_placeholders(parsed(packaged_registry_text()))
    assert (example / key).exists()


def test_init_keeps_what_is_there(cli: Cli, folder: Path, write: Write) -> None:
    write("secrets/wandb.txt", "a real key")
    write("run-kfp.toml", ONE)
    result = cli("init", "--json")

    assert result.code == 0, result.err
    assert sorted(result.json["kept"]) == ["run-kfp.toml", "secrets/wandb.txt"]
    assert (folder / "secrets/wandb.txt").read_text() == "a real key"
    assert (folder / "run-kfp.toml").read_text() == ONE
    assert (folder / ".env").exists()


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("train", "train"),
        ("TrainModel", "train-model"),
        ("train_model 2", "train-model2"),
        ("train-2", "train2"),
        ("--a..b--", "a-b"),
        ("a" * 60, "a" * 60),
        ("a" * 61, ""),
        ("2nd", ""),
        ("é", ""),
        ("", ""),
    ],
)
def test_the_name_that_is_meant(text: str, meant: str) -> None:
    assert name_meant(text) == meant


@pytest.mark.parametrize(
    ("image", "hint"),
    [
        (" ", ""),
        (" m/a:1", "write 'm/a:1'"),
        ("FROM m/a:1", "write 'm/a:1'"),
        ("podman run --rm m/a:1", "write 'm/a:1'"),
        ("docker pull M/a", ""),
        ("docker run -it", ""),
        ("docker a", ""),  # one character is no image
        ("run m/a:1", ""),
        ("m/a 1", ""),
    ],
)
def test_an_image_that_is_more_than_a_word(image: str, hint: str) -> None:
    (fault,) = faults_of(ONE.replace('"alpine"', json.dumps(image)))
    assert "is not a valid image: write it as for `docker pull` (user/image:tag)" in fault
    assert fault.partition(" → ")[2] == hint


MANY = "".join(f'[containers.{number}]\nname = "n{"x" * number}"\nimage = "x"\n' for number in (1, 2))


@pytest.mark.parametrize(
    ("word", "told", "place", "indices"),
    [
        ("2-2", None, None, ["2"]),
        (
            "1-7",
            "unknown container '3, 4, 5, 6, 7' in run-kfp.toml; it has 1 (nx), 2 (nxx)",
            "-r 3, 4, 5, 6, 7",
            ["1", "2"],
        ),
        (
            "1-8",
            "unknown container '3, 4, 5, 6, 7, …' in run-kfp.toml; it has 1 (nx), 2 (nxx)",
            "-r 3, 4, 5, 6, 7, …",
            ["1", "2"],
        ),
        ("2-1", "the range 2-1 is reversed", "-r 2-1", []),
        ("1-10002", "the range 1-10002 is too long", "-r 1-10002", []),
        ("0000001-2", "unknown container '0000001-2' in run-kfp.toml; it has 1 (nx), 2 (nxx)", "-r 0000001-2", []),
        ("y" * 60, f"unknown container '{'y' * 60}' in run-kfp.toml; it has 1 (nx), 2 (nxx)", f"-r {'y' * 60}", []),
        ("y" * 61, f"unknown container '{'y' * 61}' in run-kfp.toml; it has 1 (nx), 2 (nxx)", "-r", []),
    ],
)
def test_each_word_of_a_selection(word: str, told: str | None, place: str | None, indices: list[str]) -> None:
    faults: list[Finding] = []
    chosen = parsed(MANY).select([word], faults)

    assert [(fault.message, fault.place, fault.code) for fault in faults] == (
        [(told, place, "RK-SELECTION")] if told else []
    )
    assert [container.index for container in chosen] == indices


@pytest.mark.parametrize(
    ("word", "message", "hint"),
    [
        ("", "-r '' selects no container", "write an index or a name, such as -r 1"),
        (" , ", "-r ' , ' selects no container", "write an index or a name, such as -r 1"),
        ("1, ", "-r '1, ' ends in a comma", "write -r 1"),
        (" ,1", "-r ' ,1' begins with a comma", "write -r 1"),
        ("1,,2", "-r '1,,2' has an empty item between two commas", "write -r 1,2"),
        (f"1,{' ' * 56}2,", None, "write -r 1,2"),
        (f"1,{' ' * 57}2,", None, ""),
    ],
)
def test_an_empty_part_of_a_selection(word: str, message: str | None, hint: str) -> None:
    faults: list[Finding] = []
    parsed(MANY).select([word], faults)

    (fault,) = faults
    assert fault.hint == hint
    assert (fault.code, fault.place) == ("RK-SELECTION", "-r")
    assert message is None or fault.message == message


def test_the_same_mistake_is_told_once() -> None:
    faults: list[Finding] = []
    assert [container.index for container in parsed(MANY).select(["9", "2", "9", "1"], faults)] == ["2", "1"]
    assert len(faults) == 1
    with pytest.raises(InputError, match="2 problems with the selection"):
        parsed(MANY).select(["9", "8"])


def test_what_a_container_refers_to() -> None:
    text = (
        ONE + 'args = ["x", { param = "tag" }]\nenv = { A = { secret = "key" }, B = "y" }\nentrypoint = ["a"]\n'
        'cpu = { param = "n" }\nmemory = { param = "m" }\n'
        'accelerator = { type = "NVIDIA_L4", count = { param = "g" } }\n'
        '[containers.2]\nname = "two"\ndisplay_name = "Two"\nimage = "x"\ncpu = 2\n'
        '[params]\nn = {}\nm = {}\ng = {}\n[secrets.key]\nenv = "KEY"\n[check]\nmachines = "m.toml"\n'
    )
    registry = parse_registry(text, source="run-kfp.toml", folder=Path("/srv/x"))
    one, two = registry.containers.values()

    assert one.references == (Reference("param", "tag"), Reference("secret", "key"))
    assert one.resource_references == tuple(Reference("param", name) for name in "nmg")
    assert (two.references, two.resource_references) == ((), ())
    assert (one.label, two.label) == ("one", "Two")
    assert registry.compile_time_params == {"n", "m", "g"}
    assert registry.machines_file == Path("/srv/x/m.toml")
    assert parsed(ONE).machines_file is None
