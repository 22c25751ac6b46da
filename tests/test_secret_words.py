"""Where a secret is looked for and what is said of it, without a process: one folder, many files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from run_kfp.findings import Finding
from run_kfp.masking import Masker
from run_kfp.registry import SecretSource
from run_kfp.registry_file import parse_registry
from run_kfp.secrets import SecretFinder, SecretRef, is_template, locate_all, secret_finder, value_fault
from run_kfp.settings import Layers

RIGHT = "right-value-1"
BOTH = SecretSource(env="LOGIN", file="login.txt")
ENV_FILE = SecretSource(env="LOGIN", env_file="git.env")


def located(
    source: SecretSource,
    folder: Path,
    files: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
    dotenv: Mapping[str, str] | None = None,
    within: Path | None = None,
) -> list[str]:
    """Write files, look for a secret, and return its place or its faults."""
    for name, text in (files or {}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    layers = Layers({}, environ or {}, dotenv or {})
    finder = SecretFinder(layers, folder / "secrets", within, folder, Masker())
    found = finder.locate("login", source)
    if isinstance(found, SecretRef):
        words = [f"{found.place}{' (more lines)' if found.more_lines else ''} = {found.reveal().get_secret_value()}"]
    else:
        words = [f"{fault.place}: {fault.message} → {fault.hint}" for fault in found]
    return [text.replace(str(folder), "…") for text in words]


def test_the_order_of_places(tmp_path: Path) -> None:
    files = {
        "secrets/login.txt": "from-the-file\n",
        "secrets/git.env": "LOGIN=from-secrets\n",
        "git.env": "LOGIN=from-beside\n",
    }

    assert located(BOTH, tmp_path, files, {"LOGIN": RIGHT}, {"LOGIN": "x"}) == ["environment LOGIN = right-value-1"]
    assert located(BOTH, tmp_path, {}, {"LOGIN": ""}, {"LOGIN": RIGHT}) == [".env LOGIN = right-value-1"]
    assert located(BOTH, tmp_path) == ["…/secrets/login.txt = from-the-file"]
    assert located(ENV_FILE, tmp_path) == ["…/secrets/git.env (LOGIN=…) = from-secrets"]
    (tmp_path / "secrets/git.env").unlink()
    assert located(ENV_FILE, tmp_path) == ["…/git.env (LOGIN=…) = from-beside"]


def test_what_is_missing(tmp_path: Path) -> None:
    assert located(BOTH, tmp_path) == [
        "secrets.login: secret login is missing; looked in: environment LOGIN, .env LOGIN, "
        "…/secrets/login.txt → write it on the first line of …/secrets/login.txt"
    ]
    assert located(ENV_FILE, tmp_path) == [
        "secrets.login: secret login is missing; looked in: environment LOGIN, .env LOGIN, "
        "…/secrets/git.env (LOGIN=…), …/git.env (LOGIN=…) → add a line LOGIN=… to …/secrets/git.env"
    ]
    assert located(SecretSource(env="LOGIN"), tmp_path) == [
        "secrets.login: secret login is missing; looked in: environment LOGIN, .env LOGIN → set the variable LOGIN"
    ]
    assert located(SecretSource(), tmp_path) == []


def test_the_first_line_of_a_file(tmp_path: Path) -> None:
    def of(text: str) -> list[str]:
        return located(SecretSource(env="LOGIN", file="login.txt"), tmp_path, {"secrets/login.txt": text})

    assert of(f"{RIGHT}\n\n  \n") == ["…/secrets/login.txt = right-value-1"]
    assert of(f"{RIGHT}\nmore") == ["…/secrets/login.txt (more lines) = right-value-1"]
    assert of("\nmore") == [
        "…/secrets/login.txt: secret login (…/secrets/login.txt) has an empty first line → move the value "
        "to the first line of the file"
    ]
    assert of("\n") == ["…/secrets/login.txt: secret login (…/secrets/login.txt) is empty → set the value there"]
    assert of('{\n"a": 1}') == [
        "…/secrets/login.txt: secret login (…/secrets/login.txt) is the first line of a JSON file; only "
        "that line is read → put the JSON on one line"
    ]
    assert of('{"a": "long enough",\n"b": 1}') == [
        "…/secrets/login.txt: secret login (…/secrets/login.txt) is the first line of a JSON file; only "
        "that line is read → put the JSON on one line"
    ]
    assert of('{"a": "long enough"}\nmore') == ['…/secrets/login.txt (more lines) = {"a": "long enough"}']
    assert of("-----BEGIN X-----\nmore") == [
        "…/secrets/login.txt: secret login (…/secrets/login.txt) is the first line of a key file; only "
        "that line is read → encode it as one line (base64 -w0 FILE) and decode it in the container"
    ]
    assert of(f"LOGIN={RIGHT}") == [
        "…/secrets/login.txt: secret login (…/secrets/login.txt) begins with LOGIN= → remove this, so "
        "that only the value is left"
    ]
    assert of(f"export LOGIN = {RIGHT}") == [
        "…/secrets/login.txt: secret login (…/secrets/login.txt) begins with export LOGIN = → remove "
        "this, so that only the value is left"
    ]
    assert of(f"LOGIN: {RIGHT}") == [
        "…/secrets/login.txt: secret login (…/secrets/login.txt) begins with LOGIN: → remove this, so "
        "that only the value is left"
    ]
    assert of(f"LOGIN:{RIGHT}") == ["…/secrets/login.txt = LOGIN:right-value-1"]
    assert of("login=lower-case") == ["…/secrets/login.txt = login=lower-case"]


def test_links(tmp_path: Path) -> None:
    (tmp_path / "out.txt").write_text(RIGHT)
    home = tmp_path / "home"
    (home / "secrets").mkdir(parents=True)
    (home / "secrets/login.txt").symlink_to(tmp_path / "out.txt")

    assert located(BOTH, home, within=None) == ["…/secrets/login.txt = right-value-1"]
    assert located(BOTH, home, within=tmp_path) == ["…/secrets/login.txt = right-value-1"]
    assert located(BOTH, home, within=home) == [
        "…/secrets/login.txt: is a link out of the project and is not followed → copy the file, or choose "
        "the folder yourself with --secrets-dir"
    ]


def test_all_faults_come_together(tmp_path: Path) -> None:
    layers = Layers({}, {"A": RIGHT, "B": "short"}, {})
    finder = SecretFinder(layers, None, None, tmp_path, Masker())
    sources = {name: SecretSource(env=name.upper()) for name in "abc"}
    found, faults = locate_all(["a", "b", "c"], sources, finder)

    assert list(found) == ["a"]
    assert [fault.message for fault in faults] == [
        "secret b (environment B) is shorter than 8 characters, too short to mask",
        "secret c is missing; looked in: environment C, .env C",
    ]


def test_which_folder(tmp_path: Path, monkeypatch: Any) -> None:
    here = tmp_path / "above/here"
    here.mkdir(parents=True)
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(here)
    registry = parse_registry("[containers.1]\nname = 'x'\nimage = 'x'", source="run-kfp.toml", folder=here)

    def chosen(
        flag: Path | None = None, environ: Mapping[str, str] | None = None, dotenv: Mapping[str, str] | None = None
    ) -> list[str]:
        faults: list[Finding] = []
        finder = secret_finder(Layers({}, environ or {}, dotenv or {}), registry, Masker(), flag=flag, faults=faults)
        words = [
            str(finder.folder),
            f"within {finder.within}",
            *(f"{fault.place}: {fault.message}" for fault in faults),
        ]
        return [text.replace(str(tmp_path.resolve()), "…").replace(str(tmp_path), "…") for text in words]

    mine = str(tmp_path / "mine")
    assert chosen() in (["None", "within …/above/here"], ["/secrets", "within None"])
    assert chosen(flag=Path(mine)) == ["…/mine", "within None"]
    assert chosen(environ={"RUN_KFP_SECRETS": mine}) == ["…/mine", "within None"]
    assert chosen(dotenv={"RUN_KFP_SECRETS": mine}) == ["…/mine", "within …/above/here"]
    assert chosen(flag=Path("no"), environ={"RUN_KFP_SECRETS": mine}) == [
        "None",
        "within None",
        "--secrets-dir: --secrets-dir names 'no', which is not a folder",
    ]
    (here.parent / "secrets").mkdir()
    assert chosen() == ["../secrets", "within …/above"]
    (here / "secrets").mkdir()
    assert chosen() == ["secrets", "within …/above/here"]


def test_values() -> None:
    expected = {
        "": "is empty",
        " ": "is empty",
        "{": "is the first line of a JSON file; only that line is read",
        "[": "is the first line of a JSON file; only that line is read",
        "<key>": "is still a placeholder",
        "seven77": "is shorter than 8 characters, too short to mask",
        "eight888": None,
        "two\nlines of": "contains a line break",
        "two\rlines of": "contains a line break",
        " leading-x": "begins or ends with white space",
        "trailing-x ": "begins or ends with white space",
        "nul\x00-inside": "contains a NUL character, which a process argument cannot",
        "right-value-1": None,
    }
    assert {text: value_fault(text) for text in expected} == expected


def test_the_file_that_a_secret_was_found_in(tmp_path: Path) -> None:
    def found(source: SecretSource, environ: Mapping[str, str] | None = None) -> SecretRef:
        finder = SecretFinder(Layers({}, environ or {}, {}), tmp_path / "secrets", None, tmp_path, Masker())
        located = finder.locate("login", source)
        assert isinstance(located, SecretRef)
        return located

    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/login.txt").write_text(RIGHT, encoding="utf-8")
    (tmp_path / "git.env").write_text(f"LOGIN={RIGHT}\n", encoding="utf-8")

    in_environment = found(BOTH, {"LOGIN": RIGHT, "OTHER": "another-value"})
    assert in_environment.file is None
    # A traceback or a log of it shows neither values nor where to look for others.
    assert repr(in_environment) == "SecretRef(name='login', place='environment LOGIN', more_lines=False)"
    assert found(ENV_FILE, {"LOGIN": RIGHT}).file is None
    assert found(BOTH).file == tmp_path / "secrets/login.txt"
    assert found(ENV_FILE).file == tmp_path / "git.env"
    (tmp_path / "secrets/git.env").write_text(f"LOGIN={RIGHT}\n", encoding="utf-8")
    assert found(ENV_FILE).file == tmp_path / "secrets/git.env"


def test_an_env_file_that_is_a_link_out_of_the_project_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "out.env").write_text(f"LOGIN={RIGHT}\n", encoding="utf-8")
    home = tmp_path / "home"
    (home / "secrets").mkdir(parents=True)
    (home / "git.env").symlink_to(tmp_path / "out.env")

    # Beside the registry a link stays within its folder whoever chose the secrets folder.
    assert located(ENV_FILE, home) == [
        "…/git.env: is a link out of the project and is not followed → copy the file, or choose the folder yourself "
        "with --secrets-dir"
    ]
    (home / "secrets/git.env").symlink_to(tmp_path / "out.env")
    assert located(ENV_FILE, home) == ["…/secrets/git.env (LOGIN=…) = right-value-1"]
    assert located(ENV_FILE, home, within=home)[0].startswith("…/secrets/git.env: is a link out of the project")


def test_each_template_is_told_from_a_value() -> None:
    templates = [
        *("<paste your key here>", "https://<login>:<token>", "https://me:<token>@host", "${KEY}", "${KEY:-x}", "$KEY"),
        *("$(cat key.txt)", "run-$(date +%F)", "`cat key.txt`", "`date`", "CHANGE_ME", "replace-this", "fillin"),
        *("your-api-key", "YOUR_KEY"),
    ]
    values = ["p<a>ss w0rd", "$ecret{1}", "a $(b", "yours-truly", "`", "<1>", "my-change-me", "x${KEY}"]

    assert [text for text in templates if not is_template(text)] == []
    assert [text for text in values if is_template(text)] == []
