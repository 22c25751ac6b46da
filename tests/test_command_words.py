"""What single commands show, to the last space and without a process: the overview, a rule, machines, consent."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from run_kfp import program
from run_kfp.cli import command
from run_kfp.commands import explain as explaining
from run_kfp.commands import init, machines, trust
from run_kfp.commands.check import STYLES, wrapped
from run_kfp.consent import read_user
from run_kfp.errors import InputError
from run_kfp.flags import FIRST_DAY
from run_kfp.lines import Text
from run_kfp.machines import load_machines
from run_kfp.preflight import rules
from run_kfp.preflight.rules import rule
from run_kfp.registry_file import packaged_registry_text, parse_registry


def shown(lines: Iterable[Text | str]) -> str:
    return "\n".join(line if isinstance(line, str) else line.plain for line in lines)


class Kept:
    """A screen that keeps what it is given."""

    def __init__(self, *, width: int | None = None, takes_data: bool = False, answer: bool | None = None) -> None:
        self.lines: list[str] = []
        self.said: list[str] = []
        self.asked: list[str] = []
        self.printed: dict[str, Any] = {}
        self.takes_data, self._width, self._answer = takes_data, width, answer

    def show(self, lines: Iterable[Text]) -> None:
        self.lines += [line.plain for line in lines]

    def say(self, *lines: str | Text) -> None:
        self.said += [line if isinstance(line, str) else line.plain for line in lines]

    def out(self, text: str) -> None:
        self.lines.append(text)

    def data(self, **more: Any) -> None:
        self.printed |= more

    def width(self) -> int | None:
        return self._width

    def agree(self, question: str) -> bool:
        self.asked.append(question)
        assert self._answer is not None, "nobody is to be asked"
        return self._answer


def kept(**how: Any) -> Any:
    """Return such a screen, for what takes a real one."""
    return Kept(**how)


# ── the overview ────────────────────────────────────────────────────────────────────────────────────────────────────


def one(panel: str, text: str | None, params: Sequence[Any] = ()) -> Any:
    return SimpleNamespace(rich_help_panel=panel, help=text, params=params)


def flag(name: str, opts: Sequence[str], text: str | None, metavar: str | None = None) -> Any:
    return SimpleNamespace(name=name, opts=opts, help=text, metavar=metavar)


FLAGS = [
    flag(name, [f"--{name.rstrip('_').replace('_', '-')}"], f"Of {name}. More of it.", None if number else "N")
    for number, name in enumerate(FIRST_DAY)
]
FLAGS[1] = flag(FIRST_DAY[1], ["--long", "-l"], None, "TAG")


def test_the_overview_to_the_last_space() -> None:
    commands = {
        "run": one("Do", "Compile: a pipeline; submit.\nMore.", FLAGS),
        "look": one("See", None),
        "go": one("Do", "Go on."),
    }
    lines = shown(program.overview(commands)).splitlines()

    assert lines[:14] == [
        "Run Docker images as a Kubeflow pipeline: on this machine, and from the same file on Vertex AI.",
        "Usage: run-kfp [COMMAND] [FLAGS]",
        "",
        "Examples",
        "  run-kfp -r 1 -r 2 -r 3 -r 4 -t dataset_v22      chain four containers, submit",
        "  run-kfp -r 1-4 -t dataset_v22 --local           run the same pipeline on this machine",
        "  run-kfp -f pipeline.yaml -t dataset_v22 --wait  submit a compiled file, follow the run",
        "  run-kfp check -r 1-4 -t dataset_v22             check a run without submitting it",
        "",
        "Do",
        "  run   Compile: a pipeline; submit",
        "  go    Go on",
        "See",
        "  look  ",
    ]
    first = f"    --{FIRST_DAY[0].rstrip('_').replace('_', '-')} N"
    last = f"    --{FIRST_DAY[-1].rstrip('_').replace('_', '-')}"
    wide = max(len(f"    {each.opts[0]}{' N' if each.metavar == 'N' else ''}") for each in [FLAGS[0], *FLAGS[2:]])
    assert lines[14:18] == [
        "",
        "Flags of a first day",
        f"  {first:<{wide}}  Of {FIRST_DAY[0]}",
        f"  {'-l, --long TAG':<{wide}}  ",
    ]
    assert lines[-4] == f"  {last:<{wide}}  Of {FIRST_DAY[-1]}"
    assert lines[-3:] == [
        "All flags: run-kfp run --help; of a command: run-kfp COMMAND --help",
        "Exit codes: 0 done, 1 internal error, 2 invalid call, 3 check failed, 4 Vertex AI or Docker refused,",
        "            5 the run failed, 6 canceled or paused, 7 stopped waiting, 130 Ctrl-C",
    ]


def test_more_than_twelve_commands_stand_in_pairs() -> None:
    long = "a word and another one, and"  # 28 columns are left for words beside names of 16
    texts = {
        "the-longest-name": "Short.",
        "a": f"{long}, a tail",
        "b": "x" * 28,
        "c": "x" * 29,
        "d": "Write a file; keep what is there.",
        "e": "Show it: all of it.",
        "f": "Version 1.5 of it",
    }
    commands = {name: one("Do", text, FLAGS) for name, text in texts.items()}
    commands |= {f"g{number}": one("See", "See.", FLAGS) for number in range(5)} | {"run": one("See", "Run.", FLAGS)}
    lines = shown(program.overview(commands)).splitlines()
    start = lines.index("Do")

    assert len(commands) == 13
    assert lines[start : start + 9] == [
        "Do",
        f"  the-longest-name  {'Short':<28}  {'a':<16}  a word and another one",
        f"  {'b':<16}  {'x' * 28}  {'c':<16}  {'x' * 27}…",
        f"  {'d':<16}  {'Write a file':<28}  {'e':<16}  Show it",
        f"  {'f':<16}  Version 1.5 of it",
        "See",
        f"  {'g0':<16}  {'See':<28}  {'g1':<16}  See",
        f"  {'g2':<16}  {'See':<28}  {'g3':<16}  See",
        f"  {'g4':<16}  {'See':<28}  {'run':<16}  Run",
    ]
    twelve = {name: each for name, each in commands.items() if name != "g4"}
    assert f"  {'b':<16}  {'x' * 28}" in shown(program.overview(twelve)).splitlines()


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ([], []),
        (["-r", "1"], ["run", "-r", "1"]),
        (["--json", "-r", "1"], ["--json", "run", "-r", "1"]),
        (["--json", "--debug"], ["--json", "--debug", "run"]),
        (["--wait=x"], ["run", "--wait=x"]),
        (["list", "-r"], ["list", "-r"]),
        (["--json", "list"], ["--json", "list"]),
        (["--version"], ["--version"]),
        (["--help"], ["--help"]),
        (["-h"], ["-h"]),
        (["--json", "--version"], ["--json", "--version"]),
        (["--version=1"], ["--version=1"]),
        ([""], [""]),
    ],
)
def test_where_no_command_is_named_run_is_meant(
    monkeypatch: pytest.MonkeyPatch, typed: list[str], read: list[str]
) -> None:
    parsed: list[list[str]] = []
    made = command()
    monkeypatch.setattr(typer.core.TyperGroup, "parse_args", lambda self, ctx, args: parsed.append(list(args)))

    made.parse_args(typer.Context(made, **made.context_settings), typed)

    assert parsed == [read]


def test_flags_of_run_are_offered_where_no_command_is_named() -> None:
    made = command()

    def offered(incomplete: str) -> set[str]:
        return {each.value for each in made.shell_complete(typer.Context(made), incomplete)}

    assert {"--version", "--wait"} <= offered("--")
    assert "--wait" not in offered("l")
    assert {"list", "logs"} <= offered("l")


# ── explain ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["RK-CALL", max(rules(), key=lambda name: rule(name).explanation.count("\n\n"))])
def test_a_rule_is_explained(name: str) -> None:
    screen = kept(width=60)
    known = rule(name)
    explaining.explain(screen, name.lower())

    paragraphs = [["", *wrapped(paragraph, "", 60)] for paragraph in known.explanation.split("\n\n")]
    assert screen.printed == explaining.rule_data(known)
    assert screen.lines == [
        f"{name}  {known.title}",
        f"{STYLES[known.severity][0]} {known.severity.value}; without the check, {known.when.value}:",
        *wrapped(known.impact, "  ", 60),
        *(line for paragraph in paragraphs for line in paragraph),
        "",
        f"source: {known.source}",
        f"to suppress it: --ignore {name}, or in the registry",
        f'  [check.ignore]\n  {name} = "the reason"',
    ]


def test_lines_of_an_explanation_have_120_columns_at_most() -> None:
    wide, piped = kept(width=500), kept()
    explaining.explain(wide, "RK-CALL")
    explaining.explain(piped, "RK-CALL")

    assert wide.lines == piped.lines


def test_all_rules_are_listed_by_group() -> None:
    screen = kept()
    explaining.explain(screen, None)

    known = list(rules().values())
    assert screen.printed == {"codes": [explaining.rule_data(each) for each in known]}
    wide = max(len(each.name) for each in known)
    expected = []
    for group in sorted({each.group for each in known}):
        expected += [group, *(f"  {each.name:<{wide}}  {each.title}" for each in known if each.group == group)]
    assert screen.lines == expected


def test_a_rule_that_is_none() -> None:
    with pytest.raises(InputError) as error:
        explaining.explain(kept(), "RK-CALLL")
    assert "RK-CALLL" in error.value.message
    assert "RK-CALL" in error.value.hint


# ── machines ────────────────────────────────────────────────────────────────────────────────────────────────────────

TABLE = load_machines()


def machine(name: str, vcpus: int | None, memory: float | None, **accelerators: list[int]) -> Mapping[str, Any]:
    return {"machine": name, "vcpus": vcpus, "memory_gb": memory, "accelerators": accelerators}


def accelerator(name: str, counts: list[int], quota: int | None, supported: bool, end: str | None) -> Mapping[str, Any]:
    return {
        "accelerator": name,
        "counts": counts,
        "default_quota": quota,
        "supported": supported,
        "end_of_support": end,
        "regions": ["us-east1", "us-west1"],
    }


def test_the_table_of_machines() -> None:
    rows = [
        machine("n1-standard-4", 4, 15, NVIDIA_TESLA_T4=[1, 2], NVIDIA_L4=[1]),
        machine("m1", 96, 1433.6),
        machine("tpu", None, None),
        machine("odd", 4, None),
    ]
    kinds = [
        accelerator("NVIDIA_L4", [1, 2], 8, True, None),
        accelerator("NVIDIA_K80", [], None, False, "2024-05"),
        accelerator("NVIDIA_P4", [1], 0, False, None),
    ]
    source = TABLE.source

    assert shown(machines.machine_lines(TABLE, rows, kinds, None)) == "\n".join(
        [
            f"{source}  all regions",
            "",
            "  n1-standard-4            4 vCPU      15 GB   1/2 × NVIDIA_TESLA_T4; 1 × NVIDIA_L4",
            "  m1                      96 vCPU  1433.6 GB",
            "  tpu                         size not known",
            "  odd                         size not known",
            "",
            "  NVIDIA_L4             1/2 a machine; default quota 8   us-east1, us-west1",
            "  NVIDIA_K80            machines not known; support ended 2024-05   us-east1, us-west1",
            "  NVIDIA_P4             1 a machine; support ended   us-east1, us-west1",
        ]
    )
    assert shown(machines.machine_lines(TABLE, rows[1:2], kinds[:1], "us-east1")) == "\n".join(
        [
            f"{source}  in us-east1",
            "",
            "  m1                      96 vCPU  1433.6 GB",
            "",
            "  NVIDIA_L4             1/2 a machine; default quota 8",
        ]
    )


@pytest.fixture
def empty(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, empty; nothing of it is agreed to."""
    monkeypatch.chdir(folder)
    for name in ("RUN_KFP_TRUST_HOSTS", "RUN_KFP_ALLOW_FACTORIES", "RUN_KFP_REGISTRY", "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(folder / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return folder


@pytest.mark.usefixtures("empty")
def test_machines_are_chosen_by_region_and_accelerator() -> None:
    screen = kept()
    machines.machines_table(screen, None, "us-east1", "l4")

    data = dict(screen.printed)
    assert data["source"] == TABLE.source
    assert data["regions"] == sorted(TABLE.regions)
    assert [row["accelerator"] for row in data["accelerators"]] == ["NVIDIA_L4"]
    assert data["machines"]
    assert all("NVIDIA_L4" in row["accelerators"] for row in data["machines"])
    assert screen.lines[0] == f"{TABLE.source}  in us-east1"

    machines.machines_table(screen, None, None, None)
    assert {row["accelerator"] for row in screen.printed["accelerators"]} == set(TABLE.accelerators)
    assert len(screen.printed["machines"]) > len(data["machines"]) > 0


@pytest.mark.usefixtures("empty")
@pytest.mark.parametrize(
    ("region", "kind", "message", "hint"),
    [
        ("us-esat1", None, "has no region 'us-esat1'", "us-east1"),
        (None, "NVIDIA_TESLA_T44", "has no accelerator 'NVIDIA_TESLA_T44'", "did you mean 'NVIDIA_TESLA_T4'?"),
        (None, "A100", "has no accelerator 'A100'", "it has NVIDIA_TESLA_A100, NVIDIA_A100_80GB"),
        (None, "zzz", "has no accelerator 'zzz'", f"it has {', '.join(TABLE.accelerators)}"),
    ],
)
def test_a_name_that_is_not_in_the_table(region: str | None, kind: str | None, message: str, hint: str) -> None:
    with pytest.raises(InputError) as error:
        machines.machines_table(kept(), None, region, kind)
    assert error.value.message == f"{TABLE.source} {message}"
    assert hint in error.value.hint


# ── init ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_placeholders_of_secrets() -> None:
    text = """
[containers.1]
name = "x"
image = "x"
[secrets.a]
file = "a.txt"
description = "your key"
[secrets.b]
env = "B"
env_file = "git.env"
description = "https://<login>"
[secrets.c]
env = "C"
env_file = "git.env"
[secrets.d]
env = "D"
[secrets.e]
file = "e.txt"
env = "E"
"""
    assert init.secret_placeholders(parse_registry(text, source="r.toml", folder=Path())) == {
        "a.txt": "<paste your key here>\n",
        "git.env": "B=https://<login>\nC=<paste the value of c here>\n",
        "e.txt": "<paste the value of e here>\n",
    }


def test_the_env_file_that_init_writes() -> None:
    files = {str(path): text for path, text in init.starter_files()}
    packaged = parse_registry(packaged_registry_text(), source="r.toml", folder=Path())
    lines = files[".env"].splitlines()

    assert list(files) == [
        *("run-kfp.toml", "run-kfp.schema.json", ".env", ".gitignore", "secrets/.gitignore"),
        *(f"secrets/{name}" for name in init.secret_placeholders(packaged)),
    ]
    assert "secrets/wandb.txt" in files
    assert lines[2:6] == [
        "",
        "# a project id (6 to 30 lower-case letters, digits, dashes)",
        "GCP_PROJECT=",
        f"# a region such as us-east1; when left empty: {packaged.settings.region}",
    ]
    assert [line for line in lines if not line.startswith("#") and line] == [
        *("GCP_PROJECT=", "GCP_REGION=", "GCS_BUCKET_NAME=", "GCS_SERVICE_ACCOUNT="),
        *("GOOGLE_APPLICATION_CREDENTIALS=", *(f"{param.env}=" for param in packaged.params.values() if param.env)),
    ]
    assert "# parameter num_gpu; when left empty: 4" in lines
    key = "# the file of a service account key; else the login of `gcloud auth application-default login`"
    assert lines[lines.index("GOOGLE_APPLICATION_CREDENTIALS=") - 1] == key
    assert files[".gitignore"].splitlines()[1:] == [".env", "git.env", "secrets/"]
    assert files["secrets/.gitignore"].splitlines()[1:] == ["*"]


def test_what_init_says(empty: Path) -> None:
    screen = kept()
    init.start_folder(screen, Path())

    files = [str(path) for path, _ in init.starter_files()]
    assert screen.lines == files
    assert screen.printed == {"written": files, "kept": []}
    rest = [
        "next: run-kfp -r 1-4 -t dataset_v22 --compile-only",
        "then put your settings into .env and your keys into secrets/, and see what is missing:",
        "      run-kfp check -r 1-4 -t dataset_v22",
    ]
    assert screen.said == rest

    again = kept()
    init.start_folder(again, Path())
    assert again.lines == []
    assert again.printed == {"written": [], "kept": files}
    assert again.said == [*(f"kept: {name}" for name in files), *rest]

    (empty / ".gitignore").write_text("secrets/\n", encoding="utf-8")
    third = kept()
    init.start_folder(third, Path())
    assert third.said[len(files)] == "add a line .env to .gitignore, so that your settings stay out of Git"

    elsewhere = kept()
    init.start_folder(elsewhere, Path("a b"))
    assert elsewhere.said == ["next: cd 'a b'", *rest]
    assert {(empty / "a b" / name).stat().st_mode & 0o777 for name in files if name.startswith("secrets/")} == {0o600}
    assert (empty / "a b/secrets").stat().st_mode & 0o777 == 0o700


def test_init_makes_the_folders_above(empty: Path) -> None:
    before = os.umask(0o022)
    try:
        init.start_folder(kept(), Path("a/b/c"))
    finally:
        os.umask(before)

    assert [(empty / name).stat().st_mode & 0o7777 for name in ("a", "a/b", "a/b/c")] == [0o755] * 3
    assert (empty / "a/b/c/secrets/wandb.txt").is_file()


def test_init_follows_no_link_out_of_its_folder(empty: Path) -> None:
    (empty / "new").mkdir()
    (empty / "new/secrets").symlink_to("..")

    with pytest.raises(InputError, match="new/secrets is a link out of new") as error:
        init.start_folder(kept(), Path("new"))
    assert error.value.hint == "remove the link, or pass another folder"


def test_init_cannot_write_below_a_file(empty: Path) -> None:
    (empty / "file").touch()
    with pytest.raises(InputError, match="cannot create the folder file/new: Not a directory"):
        init.start_folder(kept(), Path("file/new"))


# ── trust ───────────────────────────────────────────────────────────────────────────────────────────────────────────

ASKS = '[containers.1]\nname = "one"\nfactory = "own:make"\n[containers.2]\nname = "two"\nfactory = "own:other"\n'


def agreed(folder: Path) -> list[str]:
    return sorted(read_user(os.environ, (), []).agreed(folder.resolve()))


@pytest.mark.usefixtures("empty")
def test_a_folder_that_asks_for_nothing() -> None:
    screen = kept()
    trust.trust_folder(screen, None, revoke=False, yes=False)

    assert screen.lines == ["Nothing in this folder needs your consent."]
    assert (screen.said, screen.asked, screen.printed) == ([], [], {"wishes": []})


def test_consent_is_asked_for_kept_and_forgotten(empty: Path) -> None:
    (empty / "run-kfp.toml").write_text(ASKS, encoding="utf-8")
    here = empty.resolve()

    refused = kept(answer=False)
    trust.trust_folder(refused, None, revoke=False, yes=False)
    assert refused.asked == ["Agree to these 2?"]
    assert all(line.startswith("? ") for line in refused.lines)
    assert len(refused.lines) == 2
    assert refused.said == ["nothing is changed"]
    assert refused.printed["agreed"] is False
    assert [wish["agreed"] for wish in refused.printed["wishes"]] == [False, False]
    assert agreed(here) == []

    given = kept(answer=True)
    trust.trust_folder(given, None, revoke=False, yes=False)
    assert given.said == [f"kept for {here}; `run-kfp trust --revoke` forgets it"]
    assert given.printed["agreed"] is True
    assert len(agreed(here)) == 2

    again = kept()
    trust.trust_folder(again, None, revoke=False, yes=False)
    assert all(line.startswith("✓ ") for line in again.lines)
    assert again.said == []
    assert "agreed" not in again.printed
    assert [wish["agreed"] for wish in again.printed["wishes"]] == [True, True]

    forgotten = kept()
    trust.trust_folder(forgotten, None, revoke=True, yes=False)
    assert forgotten.said == [f"forgotten for {here}"]
    assert forgotten.printed["forgotten"] == [str(here)]
    assert forgotten.lines == []
    assert agreed(here) == []

    nothing = kept()
    trust.trust_folder(nothing, None, revoke=True, yes=False)
    assert nothing.said == ["you have agreed to nothing in this folder"]
    assert nothing.printed["forgotten"] == []


def test_what_a_folder_no_longer_asks_for_is_forgotten(empty: Path) -> None:
    registry = empty / "run-kfp.toml"
    registry.write_text(ASKS, encoding="utf-8")
    trust.trust_folder(kept(), None, revoke=False, yes=True)
    before = agreed(empty)

    registry.write_text(ASKS.replace("own:other", "own:third"), encoding="utf-8")
    screen = kept(answer=True)
    trust.trust_folder(screen, None, revoke=False, yes=False)

    assert screen.asked == ["Agree to this?"]
    assert [line[:2] for line in screen.lines] == ["✓ ", "? "]
    after = agreed(empty)
    assert len(after) == 2
    assert len(set(before) & set(after)) == 1


@pytest.mark.parametrize("yes", [True, False])
def test_nobody_agrees_to_what_is_not_shown(empty: Path, yes: bool) -> None:
    (empty / "run-kfp.toml").write_text(ASKS, encoding="utf-8")
    screen = kept(takes_data=True, answer=True)
    trust.trust_folder(screen, None, revoke=False, yes=yes)

    assert len([line for line in screen.said if line.startswith("? ")]) == (0 if yes else 2)
    assert screen.asked == ([] if yes else ["Agree to these 2?"])
    assert len(agreed(empty)) == 2


def test_settings_of_trust_that_are_wrong_are_told(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUN_KFP_TRUST_HOSTS", "https://not/a host")
    with pytest.raises(InputError):
        trust.trust_folder(kept(), None, revoke=False, yes=True)
