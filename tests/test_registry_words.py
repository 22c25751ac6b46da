"""What is said of faulty registries, a table: the lines of one container or a whole text, and every fault of it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from run_kfp.errors import InputError
from run_kfp.findings import Finding
from run_kfp.registry import Accelerator, Process, Registry
from run_kfp.registry_file import load_registry, parse_registry, read_registry
from run_kfp.registry_file.hints import index_meant

ONE = '[containers.1]\nname = "step"\nimage = "busybox:1.36"\n'
LOGIN = '[secrets.login]\nenv = "LOGIN"\n'


def told(text: str, folder: Path) -> list[str]:
    file = folder / "r.toml"
    file.write_text(text, encoding="utf-8")
    faults: list[str] = []
    found: list[Finding] = []
    read_registry(file, found)
    for fault in found:
        place = fault.place.rpartition("r.toml")[2].removeprefix(": ")
        code = "" if fault.code == "RK-REGISTRY" else f" ({fault.code})"
        faults.append(f"{place}: {fault.message}{code} → {fault.hint}".replace(str(folder), "").rstrip(" →"))
    return faults


def of_lines(lines: Iterable[str], folder: Path) -> dict[str, list[str]]:
    """Map lines of a container to the faults of its registry."""
    return {line: told(f"{ONE}{line}\n", folder) for line in lines}


def of_texts(texts: Iterable[str], folder: Path) -> dict[str, list[str]]:
    """Map whole texts to their faults; a + in front is a right container, LOGIN a right secret, `a{9}` nine times a."""

    def whole(text: str) -> str:
        text = re.sub(r"^\+", ONE, text).replace("LOGIN", LOGIN)
        return re.sub(r"a\{(\d+)\}", lambda match: "a" * int(match[1]), text)

    return {text: [re.sub("a{50,}", "a…", fault) for fault in told(whole(text), folder)] for text in texts}


def test_keys_of_a_container(tmp_path: Path) -> None:
    expected = {
        "arg = 1": ['containers.1.arg: unknown key → write args = ["--tag", { param = "tag" }]'],
        'gpu = "NVIDIA_L4"': ['containers.1.gpu: unknown key → write accelerator = { type = "NVIDIA_L4", count = 1 }'],
        "num_gpus = 2": [
            'containers.1.num_gpus: unknown key → write accelerator = { type = "NVIDIA_TESLA_T4", count = 2 }'
        ],
        "accelerator_type = 3": [
            'containers.1.accelerator_type: unknown key → write accelerator = { type = "NVIDIA_TESLA_T4", count = 3 }'
        ],
        "ram = 32": ['containers.1.ram: unknown key → write memory = "32G"'],
        'mem = "lots"': ['containers.1.mem: unknown key → write memory = "16G"'],
        "cores = 8": ["containers.1.cores: unknown key → write cpu = 8"],
        'vcpu = "x"': ["containers.1.vcpu: unknown key → write cpu = 4"],
        "env-vars = 1": ['containers.1.env-vars: unknown key → write env = { NAME = "value" }'],
        "secret = 1": [
            'containers.1.secret: unknown key → write args = [{ secret = "NAME" }], and declare [secrets.NAME]'
        ],
        'cmd = "x"': ["containers.1.cmd: unknown key → write args = [...] for CMD, command = [...] for ENTRYPOINT"],
        "limits = 1": [
            'containers.1.limits: unknown key → write cpu = 4, memory = "16G", accelerator = { '
            "… } in the table of the container"
        ],
        "machine_type = 1": [
            "containers.1.machine_type: unknown key → write cpu, memory, accelerator: "
            "Vertex AI chooses the machine from them"
        ],
        "comand = ['x']": [
            "containers.1.comand: unknown key; valid keys: name, display_name, image, "
            "factory, args, command, entrypoint, env, cpu, memory, accelerator, "
            "side_effects, description, process → did you mean 'command'?"
        ],
        "zzz = 1": [
            "containers.1.zzz: unknown key; valid keys: name, display_name, image, factory, args, "
            "command, entrypoint, env, cpu, memory, accelerator, side_effects, description, "
            "process"
        ],
        "index = 3": ["containers.1.index: unknown key; the index is the number in the table name"],
        "args = 'a b'": ['containers.1.args: must be an array of strings → write args = ["a", "b"]'],
        "args = 'a | b'": [
            'containers.1.args: must be an array of strings → write args = ["…", "…"], one '
            'word each; for a shell line, command = ["sh", "-c", "…"]'
        ],
        "args = 'a \"b'": [
            'containers.1.args: must be an array of strings → write args = ["…", "…"], '
            'one word each; for a shell line, command = ["sh", "-c", "…"]'
        ],
        "args = [1, true]": [
            'containers.1.args.0: is a number; arguments are strings: write "1"',
            'containers.1.args.1: is a boolean; arguments are strings: write "true"',
        ],
        "args = [{ param = 'no' }]": ["containers.1.args.0: unknown param 'no' → declare it as [params.no]"],
        "command = []": ["containers.1.command: is empty: write the image's ENTRYPOINT, or remove the key"],
        "command = ['x']\nentrypoint = ['y']": [
            "containers.1.entrypoint: cannot be used together with "
            "command, which replaces the image's ENTRYPOINT → remove "
            "entrypoint; or remove command to run the image's "
            "ENTRYPOINT"
        ],
        "entrypoint = ['y']": [
            "containers.1.entrypoint: is only used for env values that are a param or "
            "a secret → to replace the image's ENTRYPOINT, write command = [...]"
        ],
        "entrypoint = ['a=b']\nenv = { A = { param = 'tag' } }": [
            "containers.1.entrypoint: `env` does not accept 'a=b' as a program → start with the path of the program"
        ],
        "command = ['-x']\nenv = { A = { param = 'tag' } }": [
            "containers.1.entrypoint: `env` does not accept '-x' as a program → start with the path of the program"
        ],
        "env = { A = { param = 'tag' } }": [
            "containers.1.env: a value that is a param or a secret "
            "requires entrypoint = [...]: the step then runs `env "
            "NAME=value… entrypoint… args…` → write what `docker inspect "
            "-f '{{json .Config.Entrypoint}}' busybox:1.36` prints"
        ],
        "env = 1": ['containers.1.env: must be a table → write env = { NAME = "value" }'],
        "env = { 'a-b' = 'x', '1' = 'x' }": [
            "containers.1.env.a-b: 'a-b' is not a valid environment "
            "variable name: use letters, digits and underscores → write "
            "'a_b'",
            "containers.1.env.1: '1' is not a valid environment variable name: use letters, digits and underscores",
        ],
        "env = { A = { param = 'tag', prefix = 'x' } }": [
            "containers.1.env.A: has a prefix; in env a value is a literal or one reference"
        ],
        "side_effects = 'yes'": ["containers.1.side_effects: must be true or false → write side_effects = true"],
        "side_effects = 'maybe'": ["containers.1.side_effects: must be true or false"],
        "side_effects = 0": ["containers.1.side_effects: must be true or false → write side_effects = false"],
        "description = 3": ['containers.1.description: must be a string → write description = "3"'],
        "display_name = true": ['containers.1.display_name: must be a string → write display_name = "true"'],
        "cpu = 'four'": [
            "containers.1.cpu: 'four' is not a valid CPU limit: write CPUs (16, 0.5) or "
            'thousandths ("500m") (RK-CPU-FORMAT)'
        ],
        "cpu = { secret = 'x' }": [
            "containers.1.cpu: a resource is a literal or { param = … }, resolved when compiling (RK-CPU-FORMAT)"
        ],
        "cpu = { param = 'region' }": [
            "containers.1.cpu: a resource cannot depend on 'region' → declare a separate parameter for it"
        ],
        "cpu = { param = 'cpus' }": ["containers.1.cpu: unknown param 'cpus' → declare it as [params.cpus]"],
        "memory = 32": [
            "containers.1.memory: 32 is not a valid memory limit: write an integer and a "
            'unit, K, M, G, T or Ki, Mi, Gi, Ti: "32G"? (RK-MEMORY-FORMAT)'
        ],
        "accelerator = 'NVIDIA_L4'": [
            'containers.1.accelerator: must be a table → write accelerator = { type = "NVIDIA_L4", count = 1 }'
        ],
        "accelerator = 4": [
            'containers.1.accelerator: must be a table → write accelerator = { type = "4", count = 1 }'
        ],
        "accelerator = { }": [
            'containers.1.accelerator.type: is missing (RK-GPU-TYPE) → write type = "NVIDIA_TESLA_T4"'
        ],
        "accelerator = { type = '' }": [
            "containers.1.accelerator.type: is empty (RK-GPU-TYPE) → `run-kfp machines` lists the types"
        ],
        "accelerator = { type = 'nvidia l4' }": [
            "containers.1.accelerator.type: 'nvidia l4' is not a "
            "valid accelerator type (RK-GPU-TYPE) → write "
            "'NVIDIA_L4'"
        ],
        "accelerator = { type = 'l 4', count = 'x' }": [
            "containers.1.accelerator.type: 'l 4' is not a "
            "valid accelerator type (RK-GPU-TYPE) → `run-kfp "
            "machines` lists the types",
            "containers.1.accelerator.count: 'x' is not a "
            "valid number of accelerators: write an integer, "
            "0 for none (RK-GPU-COUNT)",
        ],
        "accelerator = { name = 'x', number = 2 }": [
            'containers.1.accelerator.type: is missing (RK-GPU-TYPE) → write type = "NVIDIA_TESLA_T4"',
            'containers.1.accelerator.name: unknown key → write type = "NVIDIA_TESLA_T4"',
            "containers.1.accelerator.number: unknown key → write count = 2",
        ],
        "accelerator = { type = 'NVIDIA_L4', cuont = 1 }": [
            "containers.1.accelerator.cuont: unknown key; valid keys: type, count → did you mean 'count'?"
        ],
        "process = { cwd = 1 }": [
            'containers.1.process.cwd: must be a string → write cwd = "1"',
            "containers.1.process.entrypoint: is missing",
        ],
        "factory = 'x'": ["containers.1.factory: 'x' is not a valid factory: write \"package.module:function\""],
        "factory = 'a.b:c'": ["containers.1: requires either image or factory, not both"],
    }
    assert of_lines(expected, tmp_path) == expected


def test_names_and_images(tmp_path: Path) -> None:
    def named(name: str) -> str:
        return f"[containers.1]\nname = {name}\nimage = 'x'\n"

    def image(text: str) -> str:
        return f"[containers.1]\nname = 's'\nimage = {text}\n"

    names = ("3", "'Train Model'", "'trainModel'", "'train-2'", "'-'", "'a--b'", "'é'", f"'{'a' * 70}'")
    assert {name: told(named(name), tmp_path) for name in names} == {
        "3": ['containers.1.name: must be a string → write name = "3"'],
        "'Train Model'": [
            "containers.1.name: 'Train Model' is not a name: use lower-case letters, digits "
            "and single dashes; begin with a letter → write 'train-model'"
        ],
        "'trainModel'": [
            "containers.1.name: 'trainModel' is not a name: use lower-case letters, digits "
            "and single dashes; begin with a letter → write 'train-model'"
        ],
        "'train-2'": [
            "containers.1.name: 'train-2' ends in -<number>, which KFP adds to repeated steps "
            "(train, train-2): choose another name → write 'train2'"
        ],
        "'-'": [
            "containers.1.name: '-' is not a name: use lower-case letters, digits and single dashes; "
            "begin with a letter"
        ],
        "'a--b'": [
            "containers.1.name: 'a--b' is not a name: use lower-case letters, digits and single "
            "dashes; begin with a letter → write 'a-b'"
        ],
        "'é'": [
            "containers.1.name: 'é' is not a name: use lower-case letters, digits and single dashes; "
            "begin with a letter"
        ],
        "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'": [],
    }
    images = ("''", "'docker pull user/image'", "' busybox '", "'FROM x'", "'a b'", "'run -it x'", "'{{$.x}}'", "3")
    assert {text: told(image(text), tmp_path) for text in images} == {
        "''": [
            "containers.1.image: '' is not a valid image: write it as for `docker pull` "
            "(user/image:tag) (RK-IMAGE-REFERENCE)"
        ],
        "'docker pull user/image'": [
            "containers.1.image: 'docker pull user/image' is not a valid image: "
            "write it as for `docker pull` (user/image:tag) (RK-IMAGE-REFERENCE) "
            "→ write 'user/image'"
        ],
        "' busybox '": [
            "containers.1.image: ' busybox ' is not a valid image: write it as for `docker "
            "pull` (user/image:tag) (RK-IMAGE-REFERENCE) → write 'busybox'"
        ],
        "'FROM x'": [
            "containers.1.image: 'FROM x' is not a valid image: write it as for `docker pull` "
            "(user/image:tag) (RK-IMAGE-REFERENCE)"
        ],
        "'a b'": [
            "containers.1.image: 'a b' is not a valid image: write it as for `docker pull` "
            "(user/image:tag) (RK-IMAGE-REFERENCE)"
        ],
        "'run -it x'": [
            "containers.1.image: 'run -it x' is not a valid image: write it as for `docker "
            "pull` (user/image:tag) (RK-IMAGE-REFERENCE)"
        ],
        "'{{$.x}}'": [
            "containers.1.image: contains '{{$', which the backend would replace: use { param = "
            "… } or { secret = … } (RK-IMAGE-REFERENCE)"
        ],
        "3": ['containers.1.image: must be a string (RK-IMAGE-REFERENCE) → write image = "3"'],
    }


def test_tables(tmp_path: Path) -> None:
    expected = {
        "": [": /r.toml is empty → pass --registry FILE or create one with `run-kfp init`"],
        "[containers]": ["containers: no containers declared → start with [containers.1]"],
        "containers = 1": ["containers: is a number; write tables [containers.<index>]"],
        "[containers]\nx = 1": [
            'containers.x: an index is an integer → write [containers.1] with name = "x"',
            "containers.x: is a number; write a table [containers.x]",
        ],
        "+[container.2]\nname = 'x'": [
            "container: unknown table; a registry has pipeline, settings, "
            "containers, params, secrets, check → did you mean 'containers'?"
        ],
        "+[containers.01]\nname = 'two'\nimage = 'x'": [
            "containers.01: an index is an integer without "
            "leading zeros → [containers.1] already exists: "
            "choose another number"
        ],
        "+[containers.02]\nname = 'two'\nimage = 'x'": [
            "containers.02: an index is an integer without leading zeros → write [containers.2]"
        ],
        "+[containers.train]\nimage = 'x'": [
            'containers.train: an index is an integer → write [containers.2] with name = "train"'
        ],
        "+[containers.'!']\nimage = 'x'": ["containers.!: an index is an integer → write [containers.2]"],
        "+[containers.2]\nname = 'step'\nimage = 'x'": [
            "containers.2.name: 'step' is also the name of container 1 → names are unique"
        ],
        "+[containers.2]\nimage = 'x'": ['containers.2.name: is missing → write name = "train-model"'],
        "+[containers.2]\nname = 'x'": ["containers.2: requires either image or factory"],
        "+[containers.2]\nname = 'f'\nfactory = 'a:b'\nargs = ['x']\nenv = { A = 'b' }": [
            "containers.2.args: cannot be used together with factory: remove this key",
            "containers.2.env: cannot be used together with factory: remove this key",
        ],
        "+[params]\ntag = { default = 'x' }\nBad = {}\nclass = {}\nok_1 = {}": [
            "params.tag: reserved: "
            "every registry has this "
            "parameter, set by the "
            "setting or by -t → "
            "choose another name",
            "params.Bad: use lower-case letters, digits and single underscores; begin with a letter; no Python keyword",
            "params.class: use "
            "lower-case letters, "
            "digits and single "
            "underscores; begin with "
            "a letter; no Python "
            "keyword",
        ],
        "+[params.a{101}]": [
            "params.a…: use lower-case letters, digits and single underscores; begin with a letter; no Python keyword"
        ],
        "+[params.a{100}]": [],
        "+[params]\nx = 1": ["params.x: is a number; write a table [params.x]"],
        "+params = 1": ['containers.1.params: unknown key → write args = ["--tag", { param = "tag" }]'],
        "+[params.n]\ndefault = 4\n[secrets.n]\nenv = 'N'": [
            'params.n.default: must be a string → write default = "4"',
            "secrets.n: duplicate: also declared in [params] → remove one of the two",
        ],
        "+[secrets.a]\n[secrets.b]\nenv_file = 'x'\nfile = 'y'\n[secrets.c]\nfile = '/x'\n[secrets.d]\nfile = '../x'": [
            "secrets.c.file: '/x' is not inside the secrets folder: write a path relative to it",
            "secrets.d.file: '../x' is not inside the secrets folder: write a path relative to it",
            'secrets.a: has no place to look in → write env = "NAME", file = "name.txt", or both',
            "secrets.b.env_file: requires env: the name to look up in the file",
        ],
        "+[secrets.a]\nenv = 'a b'\n[secrets.b]\nenv = '!'\n[secrets.c]\nfile = ''": [
            "secrets.a.env: 'a "
            "b' is not a valid "
            "environment "
            "variable name: use "
            "letters, digits "
            "and underscores → "
            "write 'a_b'",
            "secrets.b.env: '!' is not a valid environment variable name: use letters, digits and underscores",
            "secrets.c.file: '' is not inside the secrets folder: write a path relative to it",
        ],
        "+args = [{ secret = 'logn' }, { param = 'login' }, { secret = 'tag' }]\nLOGIN": [
            "containers.1.args.0: unknown secret 'logn' → did you mean 'login'?",
            "containers.1.args.1: unknown param 'login' → it is a secret: write { secret = \"login\" }",
            "containers.1.args.2: unknown secret 'tag' → it is a param: write { param = \"tag\" }",
        ],
        "+[settings]\nfailure_policy = 'fats'\ncaching = 'on'\nzone = 'x'": [
            "settings.caching: must be true or false → write caching = true",
            "settings.failure_policy: is 'fats'; valid values: fast, slow → did you mean 'fast'?",
            "settings.zone: unknown key; "
            "valid keys: project, "
            "region, bucket, "
            "service_account, "
            "pipeline_root, network, "
            "encryption_key, "
            "api_endpoint, caching, "
            "failure_policy",
        ],
        "+[settings]\nfailure_policy = 3": [
            'settings.failure_policy: is 3; valid values: fast, slow → write "fast" or "slow"'
        ],
        "+[pipeline]\nname = 'A b'\nlabels = 1": [
            "pipeline.name: 'A b' is not a name: use lower-case "
            "letters, digits and single dashes; begin with a letter "
            "→ write 'a-b'",
            "pipeline.labels: must be a table",
        ],
        "+[check]\nignore = { RK-X = ' ' }\nmachines = '/x'\nendpoints = { storage = 'http://x' }": [
            "check.machines: '/x' is not inside the secrets folder: write a path relative to it",
            "check.endpoints.storage: "
            "must "
            "be "
            "an "
            "address "
            "such "
            "as "
            "https://storage-internal.p.googleapis.com, "
            "without "
            "a "
            "login",
            "check.ignore.RK-X: has no reason → write the reason, for the next reader of this file",
        ],
        "+[check.git]\nremote = 'https://u@h/x'\nlogin = 'x'\nmakes_tag = ['9', 'stepp', '1', 'step']": [
            "check.git.remote: must be an address such as https://github.com/team/data.git, without a login"
        ],
        "+[check.git]\nlogin = 'logn'\nLOGIN": ["check.git.remote: is missing"],
    }
    assert of_texts(expected, tmp_path) == expected


def test_texts_that_are_no_toml(tmp_path: Path) -> None:
    expected = {
        "a = 'x": [
            ": invalid TOML: missing closing quote → close it on the same line; put text of "
            'several lines between """ and """'
        ],
        'a = "x\n': [
            "line 1: invalid TOML: missing closing quote (a = …) → close it on the same line; "
            'put text of several lines between """ and """'
        ],
        "[a]\n[a]": ["line 2: invalid TOML: duplicate table ([a]) → rename the second table, or merge the two"],
        "a = 1\na = 2": [": invalid TOML: duplicate key → remove one of the two"],
        "[a\n": ["line 1: invalid TOML: missing closing bracket of a table name ([a) → write [containers.1]"],
        "a = [1": [": invalid TOML: missing closing bracket of an array → close it with ]"],
        "key": [': invalid TOML: missing = after the key → write key = "value"'],
        'a = "\\d"': [
            "line 1: invalid TOML: invalid escape: a backslash in double quotes (a = …) → use single quotes: 'a\\b'"
        ],
        "a = { b = 1,\n}": [
            "line 1: invalid TOML: an inline table must be on one line (a = …) → write { "
            "a = 1, b = 2 }, without a trailing comma"
        ],
        "a = yes": [
            "line 1: invalid TOML: invalid value (a = …) → put text in quotes, amounts such as "
            '"128G" too; write true and false in lower case'
        ],
        "a = 128G": [
            "line 1: invalid TOML: invalid value (a = …) → put text in quotes, amounts such as "
            '"128G" too; write true and false in lower case'
        ],
        "a = “x”": ['line 1: invalid TOML: invalid quotes: typographic quotes (a = …) → write straight quotes: "text"'],
        "“x”": ['line 1: invalid TOML: invalid quotes: typographic quotes → write straight quotes: "text"'],
        "a = \x00": [
            "line 1: invalid TOML: invalid value (a = …) → put text in quotes, amounts such as "
            '"128G" too; write true and false in lower case'
        ],
    }
    assert of_texts(expected, tmp_path) == expected


def test_indices_that_are_meant() -> None:
    found = {
        (key, *taken): index_meant(key, taken)
        for key, *taken in (
            ("01",),
            ("01", "1"),
            ("0",),
            ("00", "1"),
            ("x", "1", "3"),
            ("0999999",),
            ("01000000",),
            ("Ä", "1"),
        )
    }
    assert found == {
        ("01",): ("1", "write [containers.1]"),
        ("01", "1"): ("01", "[containers.1] already exists: choose another number"),
        ("0",): ("0", "write [containers.1]"),
        ("00", "1"): ("00", "write [containers.2]"),
        ("x", "1", "3"): ("x", 'write [containers.2] with name = "x"'),
        ("0999999",): ("999999", "write [containers.999999]"),
        ("01000000",): ("01000000", "write [containers.1]"),
        ("Ä", "1"): ("Ä", "write [containers.2]"),
    }


# ── what is read of a faulty registry ───────────────────────────────────────────────────────────────────────────────


def read(text: str, folder: Path) -> tuple[Registry, list[str]]:
    """Return what is right of a registry, and the places of its faults."""
    file = folder / "r.toml"
    file.write_text(text, encoding="utf-8")
    found: list[Finding] = []
    registry = read_registry(file, found)
    return registry, [fault.place.rpartition("r.toml")[2].removeprefix(": ") for fault in found]


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        *((f"side_effects = '{word}'", "side_effects", True) for word in ("yes", "TRUE", "on", "1")),
        ("side_effects = 1", "side_effects", True),
        *((f"side_effects = '{word}'", "side_effects", False) for word in ("no", "false", "0", "perhaps")),
        ("description = 3", "description", "3"),
        ("description = []", "description", ""),
        ("args = 'a \"b c\"'", "args", ("a", "b c")),
        ("args = 'a; b'", "args", ()),
        (f"args = '{'a' * 9_999}'", "args", ("a" * 9_999,)),
        (f"args = '{'a' * 10_000}'", "args", ()),
        ("args = ['a', 4, 'c']", "args", ("a", "", "c")),
        ("args = ['a', { param = 'none' }]", "args", ("a", "")),
        ("command = ['a', 4]", "command", ("a", "4")),
        ("comand = ['a']", "command", ("a",)),
        ("comand = ['a']\ncommand = ['b']", "command", ("b",)),
        ("idnex = '7'", "index", "1"),
        ("cpu = 'four'", "cpu", None),
        ("cpus = '4'", "cpu", "4"),
        ("env = { A = 'x', B = 3, 'c d' = 'y' }", "env", {"A": "x"}),
        ("env = 3", "env", {}),
        ("accelerator = { type = 'NVIDIA_L4', cuont = 2 }", "accelerator", Accelerator(type="NVIDIA_L4", count="2")),
        ("accelerator = { type = 'NVIDIA_L4', count = 'x' }", "accelerator", Accelerator(type="NVIDIA_L4")),
        ("accelerator = { type = 3 }", "accelerator", Accelerator(type="3")),
        ("accelerator = { count = 2 }", "accelerator", None),
        ("accelerator = 'NVIDIA_L4'", "accelerator", None),
        ("process = { entrypoint = 'sh -c' }", "process", Process(entrypoint=("sh", "-c"))),
        ("process = { entrypoint = ['sh'], cwd = 3 }", "process", Process(entrypoint=("sh",), cwd="3")),
        ("process = { cwd = 'x' }", "process", None),
    ],
)
def test_what_is_right_of_a_container_is_taken(tmp_path: Path, line: str, key: str, value: object) -> None:
    registry, faults = read(f"{ONE}{line}\n", tmp_path)

    assert len(faults) >= 1
    (container,) = registry.containers.values()
    assert getattr(container, key) == value
    assert (container.name, container.image) == ("step", "busybox:1.36")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("[containers.01]\nname = 'a'\nimage = 'x'\n", {"1": "a"}),
        ("[containers.1]\nname = 'a'\nimage = 'x'\n[containers.01]\nname = 'b'\nimage = 'x'\n", {"1": "a", "01": "b"}),
        ("[containers.Train]\nimage = 'x'\n", {"Train": "train"}),
        ("[containers.'?']\nimage = 'x'\n", {"?": "nameless"}),
        ("[containers.1]\nimage = 'x'\n", {"1": "nameless"}),
        ("[containers.1]\nname = 'My_Train'\nimage = 'x'\n", {"1": "my-train"}),
        ("[containers.1]\nname = 3\nimage = 'x'\n", {"1": "nameless"}),
        ("[containers]\n1 = 3\n", {}),
    ],
)
def test_containers_without_a_right_name_are_looked_at(tmp_path: Path, text: str, names: dict[str, str]) -> None:
    registry, faults = read(text, tmp_path)

    assert {index: container.name for index, container in registry.containers.items()} == names
    assert len(faults) == 1
    assert registry.whole


@pytest.mark.parametrize(
    ("text", "faults", "whole"),
    [
        ("", [""], False),
        ("[containers\n", ["line 1"], False),
        (ONE + "x = " + "[" * 3000 + "\n", [""], False),
        ("[check]\n", ["containers"], True),
        (ONE + "[odd]\n", ["odd"], True),
    ],
)
def test_a_registry_that_was_not_read_is_not_whole(tmp_path: Path, text: str, faults: list[str], whole: bool) -> None:
    registry, told = read(text, tmp_path)

    assert told == faults
    assert registry.folder == tmp_path
    assert registry.whole is whole


def test_other_tables_keep_what_is_right(tmp_path: Path) -> None:
    registry, faults = read(
        ONE + "[pipeline]\nname = 'Flower_Power'\nlabels = { a = 1, b = 'x' }\n"
        "[settings]\nregoin = 'us-east1'\ncaching = 'yes'\nbucket = 3\n"
        "[params.n]\ndefalt = '4'\n[params.m]\ndefault = 4\n[params]\no = 3\n"
        "[secrets.s]\nenv = 'A-B'\nfile = 's.txt'\n[check]\nignore = { RK-CALL = '' }\n",
        tmp_path,
    )

    assert (registry.pipeline.name, registry.pipeline.labels) == ("pipeline", {"a": "1", "b": "x"})
    assert (registry.settings.region, registry.settings.caching, registry.settings.bucket) == ("us-east1", True, "3")
    assert {name: param.default for name, param in registry.params.items()} == {"n": "4", "m": "4", "o": None}
    assert (registry.secrets["s"].env, registry.secrets["s"].file) == (None, "s.txt")
    assert sorted(faults) == [
        *(
            "check.ignore.RK-CALL",
            "params.m.default",
            "params.n.defalt",
            "params.o",
            "pipeline.labels.a",
            "pipeline.name",
        ),
        *("secrets.s.env", "settings.bucket", "settings.caching", "settings.regoin"),
    ]


def test_the_registry_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_registry(None).source == "the packaged registry"
    assert load_registry(None).folder == tmp_path
    for path in (Path("gone.toml"), tmp_path / "gone.toml"):
        with pytest.raises(
            InputError, match=r"^gone\.toml: registry not found: gone\.toml|^registry not found"
        ) as gone:
            load_registry(path)
        assert gone.value.hint == "pass --registry FILE or create one with `run-kfp init`"
    (tmp_path / "run-kfp.toml").symlink_to("nowhere")
    with pytest.raises(InputError, match=r"registry not found: run-kfp\.toml"):
        load_registry(None)
    (tmp_path / "run-kfp.toml").unlink()
    (tmp_path / "run-kfp.toml").write_text("[odd]\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"^2 problems with the registry run-kfp\.toml$"):
        load_registry(None)
    with pytest.raises(InputError, match=r"^2 problems with the registry run-kfp\.toml$"):
        parse_registry("[odd]\n", source="run-kfp.toml", folder=Path())
    with pytest.raises(InputError, match=r"^2 problems with the packaged registry$"):
        parse_registry("[odd]\n", source="the packaged registry", folder=Path())
    (tmp_path / "run-kfp.toml").write_text(ONE, encoding="utf-8")
    assert load_registry(None).containers["1"].name == "step"
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(InputError, match="it is a folder"):
        load_registry(Path("folder.toml"))
