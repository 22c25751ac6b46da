"""Who decides what: a folder gets no token, no secret, no login and no running code before its user agrees."""

from __future__ import annotations

import dataclasses
import json
import os
import pty
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import PROGRAM, Cli, Write
from dermaid import Canaries, canary
from fakes.google_hosts import GoogleHosts
from online import World, right_world
from run_kfp.consent import Kind, User, read_user
from run_kfp.findings import Finding
from run_kfp.registry_file import parse_registry
from run_kfp.settings import Layers
from run_kfp.trust import POWERS, Judged, judge

SECTIONS = """
[settings]
project = "demo-proj-1"
region = "us-central1"
bucket = "demo-bucket-1"
service_account = "runner@demo-proj-1.iam.gserviceaccount.com"
"""
ONE = '[containers.1]\nname = "train"\nimage = "my-team/train:1"\ncommand = ["train"]\nargs = [{ secret = "login" }]\n'
LOGIN = '[secrets.login]\nenv = "LOGIN"\n'
GIT = '[check.git]\nremote = "https://git.example.com/data.git"\nlogin = "login"\n'
FACTORY = '[containers.2]\nname = "made"\nfactory = "parts:made"\n'
PARTS = """
from pathlib import Path
from kfp import dsl
Path("it-ran").touch()
@dsl.container_component
def made():
    return dsl.ContainerSpec(image="my-team/made:1", command=["made"])
"""

# What the tests' own environment agrees to is taken away.
NOBODY = {"RUN_KFP_TRUST_HOSTS": "", "RUN_KFP_ALLOW_FACTORIES": ""}


@pytest.fixture
def stranger(cli: Cli) -> Cli:
    """The program in a folder that nobody has trusted."""
    return Cli(cli.folder, {**NOBODY, "LOGIN": canary("login")})


def judged(text: str, user: User, tmp_path: Path, dotenv: dict[str, str] | None = None) -> Judged:
    registry = parse_registry(ONE + LOGIN + text, source="run-kfp.toml", folder=tmp_path)
    return judge(Layers({}, {}, dotenv or {}), registry, user, here=tmp_path.resolve())


# ── hosts ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("url", "asks"),
    [
        ("https://storage.googleapis.com", False),
        ("https://storage-mine.p.googleapis.com", False),
        ("https://googleapis.com", False),
        ("https://STORAGE.googleapis.com:443", False),
        ("https://googleapis.com.example.com", True),
        ("https://notgoogleapis.com", True),
        ("https://storage.googleapis.com.", True),
        ("http://127.0.0.1:8080", True),
        ("https://10.0.0.7", True),
        ("https://[::1]:8443", True),
    ],
)
def test_only_googles_own_hosts_get_a_token_unasked(url: str, asks: bool, tmp_path: Path) -> None:
    found = judged(f'[check.endpoints]\nstorage = "{url}"\n', User(), tmp_path)

    assert [wish.gets for wish in found.wishes] == (["a Google access token"] if asks else [])
    assert found.registry.check.endpoints == ({} if asks else {"storage": url})
    assert [one.code for one in found.skipped] == (["RK-TRUST-HOST"] if asks else [])


# What one library reads as a part of the host, and another one as its end.
TWO_READINGS = (r"example.com\.googleapis.com", "example.com;.googleapis.com", "example.com:99999x.googleapis.com")


@pytest.mark.parametrize("host", TWO_READINGS)
def test_a_host_of_two_readings_is_refused_and_never_asked(stranger: Cli, write: Write, host: str) -> None:
    text = f"[check.endpoints]\nstorage = 'https://{host}'\n[check.git]\nremote = 'https://{host}/x'\nlogin = 'login'\n"
    write("run-kfp.toml", SECTIONS + f"api_endpoint = '{host}'\n" + ONE + LOGIN + text)

    told = stranger("check", "-r", "1", "--offline")

    assert told.code == 3
    for place in ("check.endpoints.storage", "check.git.remote", "settings.api_endpoint"):
        assert f"run-kfp.toml: {place}" in told.out
    assert stranger("trust", "--yes", "--json").code == 2


@pytest.mark.parametrize("host", TWO_READINGS)
def test_a_host_of_two_readings_is_not_googles(tmp_path: Path, host: str) -> None:
    registry = parse_registry(ONE + LOGIN, source="run-kfp.toml", folder=tmp_path)
    settings = registry.settings.model_copy(update={"api_endpoint": host})
    check = registry.check.model_copy(update={"endpoints": {"storage": f"https://{host}"}})

    found = judge(
        Layers({}, {}, {}), dataclasses.replace(registry, settings=settings, check=check), User(), here=tmp_path
    )

    assert (found.registry.settings.api_endpoint, found.registry.check.endpoints) == (None, {})


@pytest.mark.parametrize(
    ("hosts", "trusted"),
    [
        ({"git.example.com"}, True),
        ({"git.example.com:443"}, True),
        ({"git.example.com:8443"}, False),
        ({"example.com"}, False),
        ({"git.example.com.example.net"}, False),
    ],
)
def test_a_trusted_host_is_compared_whole(hosts: set[str], trusted: bool, tmp_path: Path) -> None:
    git = judged(GIT, User(frozenset(hosts)), tmp_path).registry.check.git
    assert git is not None
    assert git.login == ("login" if trusted else None)


def test_a_login_never_travels_in_clear(tmp_path: Path) -> None:
    found = judged(GIT.replace("https://", "http://"), User(frozenset({"git.example.com"})), tmp_path)
    assert found.registry.check.git is not None
    assert found.registry.check.git.login is None
    assert [one.code for one in found.skipped] == ["RK-TRUST-CLEAR"]
    local = GIT.replace("https://git.example.com", "http://127.0.0.1:8080")
    found = judged(local, User(frozenset({"127.0.0.1"})), tmp_path)
    assert found.registry.check.git is not None
    assert (found.registry.check.git.login, found.skipped) == ("login", ())


def test_an_endpoint_that_was_typed_is_the_users_word(stranger: Cli, write: Write) -> None:
    write("run-kfp.toml", SECTIONS + 'api_endpoint = "api.example.com"\n' + ONE + LOGIN)

    refused = stranger("-r", "1", "--no-check")
    assert refused.code == 2
    checked = stranger("check", "-r", "1", "--offline", "--json").json["findings"]
    assert "RK-TRUST-ENDPOINT" in [one["code"] for one in checked]
    assert "api.example.com:443 gets a Google access token and the secrets of a run only after your" in refused.err
    assert "run `run-kfp trust`; in CI, pass --trust-host api.example.com:443" in refused.err

    for word in (("--api-endpoint", "api.example.com"), ("--trust-host", "api.example.com")):
        plan = stranger("-r", "1", "--dry-run", "--json", *word)
        assert (plan.code, plan.json["endpoint"]) == (0, "api.example.com")


def test_a_trusted_host_that_is_none_is_told(stranger: Cli, write: Write) -> None:
    write("run-kfp.toml", SECTIONS + ONE + LOGIN)
    for word in ("*.example.com", "https://git.example.com", "a@b", "a/b", "a:port"):
        told = stranger("-r", "1", "--dry-run", "--trust-host", word)
        assert (told.code, f"--trust-host: '{word}' is not a host" in told.err) == (2, True), told.err
        checked = stranger("check", "-r", "1", "--offline", "--json", "--trust-host", word).json["findings"]
        assert "RK-TRUST-INVALID" in [one["code"] for one in checked]


# ── consent ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_consent_is_kept_outside_of_the_folder_and_a_change_asks_again(stranger: Cli, write: Write) -> None:
    text = SECTIONS + ONE + LOGIN + GIT + '[check.endpoints]\nstorage = "https://storage.example.com"\n' + FACTORY
    write("run-kfp.toml", text)
    before = sorted(path.name for path in stranger.folder.iterdir())

    asked = stranger("trust")
    assert asked.code == 2
    assert "pass --yes" in asked.err
    assert [line.split("  (")[0] for line in asked.out.splitlines()] == [
        "? storage.example.com:443 gets a Google access token",
        "? git.example.com:443 gets the secret login",
        "? the Python code parts:made runs on this machine",
    ]
    agreed = stranger("trust", "--yes", "--json")
    assert (agreed.code, agreed.json["agreed"]) == (0, True)
    assert all(wish["agreed"] for wish in stranger("trust", "--json").json["wishes"])
    assert sorted(path.name for path in stranger.folder.iterdir() if path.name != "home") == before
    (record,) = (stranger.folder / "home/.local/state/run-kfp/trust").iterdir()
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    assert stat.S_IMODE(record.parent.stat().st_mode) == 0o700
    assert canary("login") not in record.read_text(encoding="utf-8")

    for new in (
        text.replace("storage.example.com", "storage.example.net"),
        text.replace("git.example.com", "git.example.net"),
        text.replace('login = "login"', 'login = "other"') + '[secrets.other]\nenv = "OTHER"\n',
        text.replace("parts:made", "parts:others"),
    ):
        write("run-kfp.toml", new)
        assert [wish["agreed"] for wish in stranger("trust", "--json", "--yes").json["wishes"]].count(False) == 1
        write("run-kfp.toml", text)
        stranger("trust", "--yes")

    assert stranger("trust", "--revoke").code == 0
    assert not any(wish["agreed"] for wish in stranger("trust", "--json").json["wishes"])
    assert "agreed to nothing" in stranger("trust", "--revoke").err


def test_consent_is_for_one_folder(stranger: Cli, write: Write) -> None:
    for name in ("one", "two"):
        write(f"{name}/run-kfp.toml", SECTIONS + ONE + LOGIN + GIT)
    stranger("trust", "--registry", "one/run-kfp.toml", "--yes")

    assert [
        wish["agreed"]
        for name in ("one", "two")
        for wish in stranger("trust", "--registry", f"{name}/run-kfp.toml", "--json").json["wishes"]
    ] == [True, False]


@pytest.mark.parametrize("record", ["", "[]", "{", '{"folder": "/elsewhere", "agreed": []}', "\x00"])
def test_a_broken_record_is_no_consent(record: str, stranger: Cli, write: Write) -> None:
    write("run-kfp.toml", SECTIONS + ONE + LOGIN + GIT)
    stranger("trust", "--yes")
    (file,) = (stranger.folder / "home/.local/state/run-kfp/trust").iterdir()
    kept = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(record, encoding="utf-8")
    assert [wish["agreed"] for wish in stranger("trust", "--json").json["wishes"]] == [False]
    file.write_text(json.dumps({**kept, "folder": "/elsewhere"}), encoding="utf-8")
    assert [wish["agreed"] for wish in stranger("trust", "--json").json["wishes"]] == [False]


@pytest.mark.parametrize("more", [[], ["--json"]])
@pytest.mark.parametrize(("answer", "agreed"), [("y", True), ("yes", True), ("", False), ("no", False)])
def test_a_person_is_asked(answer: str, agreed: bool, more: list[str], stranger: Cli, write: Write) -> None:
    write("run-kfp.toml", SECTIONS + ONE + LOGIN + GIT)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*PROGRAM, "trust", *more],
        cwd=stranger.folder,
        env=stranger.environment({"TERM": "dumb"}),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    seen = b""
    while b"[y/N]" not in seen:
        seen += os.read(ours, 4096)
    os.write(ours, f"{answer}\n".encode())
    assert process.wait(60) == 0
    os.close(ours)
    assert b"git.example.com:443 gets the secret login" in seen
    assert [wish["agreed"] for wish in stranger("trust", "--json").json["wishes"]] == [agreed]


def test_without_a_home_folder_the_other_ways_are_named(stranger: Cli, write: Write) -> None:
    write("run-kfp.toml", SECTIONS + ONE + LOGIN + GIT)
    told = stranger("trust", "--yes", HOME="")
    assert told.code == 2
    assert "set HOME; in CI, pass --trust-host or set RUN_KFP_TRUST_HOSTS" in told.err


def test_a_folder_that_wants_nothing_asks_nothing(stranger: Cli, write: Write) -> None:
    write("run-kfp.toml", SECTIONS + ONE + LOGIN)
    told = stranger("trust")
    assert (told.code, told.out) == (0, "Nothing in this folder needs your consent.\n")


# ── the user's own file ──────────────────────────────────────────────────────────────────────────────────────────────


def test_the_users_own_file_decides_as_the_environment_does(stranger: Cli, write: Write) -> None:
    write("run-kfp.toml", SECTIONS + ONE + '[secrets.login]\nfile = "login.txt"\n' + GIT)
    write("elsewhere/login.txt", canary("login"))
    write(
        "home/.config/run-kfp/config.toml",
        f'trust_hosts = ["git.example.com"]\nsecrets_dir = "{stranger.folder / "elsewhere"}"\n'
        'credentials_file = "~/key.json"\n',
    )
    assert [wish["agreed"] for wish in stranger("trust", "--json").json["wishes"]] == [True]
    plan = stranger("-r", "1", "--dry-run", "--json")
    assert plan.json["parameter_values"]["login"]["from"] == str(stranger.folder / "elsewhere" / "login.txt")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("trust_host = []", "config.toml: trust_host: unknown key"),
        ('trust_hosts = "x"', "config.toml: trust_hosts: must be an array of strings"),
        ("secrets_dir = 1", "config.toml: secrets_dir: must be a string"),
        ("= 1", "is not TOML"),
    ],
)
def test_a_wrong_file_of_the_user_is_told(text: str, words: str, stranger: Cli, write: Write) -> None:
    write("home/.config/run-kfp/config.toml", text)
    write("run-kfp.toml", SECTIONS + ONE + LOGIN)
    for command in (("-r", "1", "--dry-run"), ("trust",)):
        told = stranger(*command)
        assert (told.code, words in told.err) == (2, True), told.err


def test_a_dotenv_is_not_the_users_word(stranger: Cli, write: Write) -> None:
    write("run-kfp.toml", SECTIONS + ONE + LOGIN + GIT + FACTORY)
    write("parts.py", PARTS)
    write(".env", "RUN_KFP_TRUST_HOSTS=git.example.com\nRUN_KFP_ALLOW_FACTORIES=1\nXDG_STATE_HOME=.\nHOME=.\n")
    assert not any(wish["agreed"] for wish in stranger("trust", "--json").json["wishes"])


# ── paths and credentials ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["GOOGLE_APPLICATION_CREDENTIALS", "RUN_KFP_SECRETS"])
@pytest.mark.parametrize("value", ["{outside}", "../outside", "link", "inside/../../outside"])
def test_a_dotenv_leads_nowhere_else(name: str, value: str, stranger: Cli, write: Write) -> None:
    outside = stranger.folder.parent / "outside"
    outside.mkdir()
    (stranger.folder / "link").symlink_to(outside)
    write("inside/x", "")
    write("run-kfp.toml", SECTIONS + ONE + LOGIN)
    write(".env", f"{name}={value.format(outside=outside)}\n")

    told = stranger("-r", "1", "--dry-run")
    assert told.code == 2
    assert f".env {name}: leads out of this folder, which only you can do" in told.err
    (found,) = [
        one
        for one in stranger("check", "-r", "1", "--offline", "--json").json["findings"]
        if one["severity"] == "error"
    ]
    assert found["code"] == "RK-TRUST-PATH"
    assert stranger("-r", "1", "--dry-run", **{name: str(outside)}).code == 0


def test_a_dotenv_may_name_what_lies_below(stranger: Cli, write: Write) -> None:
    write("keys/login.txt", canary("login"))
    write("run-kfp.toml", SECTIONS + ONE + '[secrets.login]\nfile = "login.txt"\n')
    write(".env", f"RUN_KFP_SECRETS={stranger.folder / 'keys'}\n")
    assert stranger("-r", "1", "--dry-run").code == 0


@pytest.mark.parametrize(("file", "link"), [("login.txt", "secrets/login.txt"), ("", "secrets"), ("x.env", "x.env")])
def test_a_link_out_of_the_project_is_no_secret(file: str, link: str, stranger: Cli, write: Write) -> None:
    outside = stranger.folder.parent / "outside"
    outside.mkdir()
    for name in ("login.txt", "x.env"):
        (outside / name).write_text(f"LOGIN={canary('outside')}", encoding="utf-8")
    (stranger.folder / link).parent.mkdir(exist_ok=True)
    (stranger.folder / link).symlink_to(outside / file)
    source = 'env = "LOGIN"\nenv_file = "x.env"' if link == "x.env" else 'file = "login.txt"'
    write("run-kfp.toml", SECTIONS + ONE + f"[secrets.login]\n{source}\n")

    told = stranger("-r", "1", "--dry-run", LOGIN="")
    assert (told.code, "is a link out of the project and is not followed" in told.err) == (2, True), told.err
    if link == "secrets":  # chosen by its user, a link is followed
        assert stranger("-r", "1", "--dry-run", "--secrets-dir", "secrets", LOGIN="").code == 0


def test_a_link_within_the_project_is_followed(stranger: Cli, write: Write) -> None:
    write("keys/login.txt", canary("login"))
    (stranger.folder / "secrets").symlink_to("keys")
    write("run-kfp.toml", SECTIONS + ONE + '[secrets.login]\nfile = "login.txt"\n')
    assert stranger("-r", "1", "--dry-run").code == 0


EXTERNAL = {
    "type": "external_account",
    "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/a/providers/b",
    "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
    "token_url": "https://sts.example.com/v1/token",
    "credential_source": {"file": "/etc/hostname"},
}


@pytest.mark.parametrize(
    ("content", "asks"),
    [
        (EXTERNAL, True),
        ({**EXTERNAL, "token_url": "https://sts.googleapis.com/v1/token"}, True),  # it sends a file of its choice
        ({"type": "impersonated_service_account", "source_credentials": EXTERNAL}, True),
        ({"type": "service_account", "token_uri": "https://oauth2.example.com/token"}, True),
        ({"type": "service_account", "token_uri": ["https://oauth2.googleapis.com/token"]}, True),
        ({"type": "of another kind"}, True),
        ({"type": "service_account", "token_uri": "https://oauth2.googleapis.com/token"}, False),
        ({"type": "authorized_user", "client_id": "x"}, False),
    ],
)
def test_credentials_of_the_folder_that_lead_elsewhere(content: object, asks: bool, tmp_path: Path) -> None:
    file = tmp_path / "key.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    variables = {"GOOGLE_APPLICATION_CREDENTIALS": str(file)}

    found = judged("", User(), tmp_path, variables)

    assert [wish.kind for wish in found.wishes] == ([Kind.CREDENTIALS] if asks else [])
    assert found.layers.dotenv == ({} if asks else variables)
    assert [one.code for one in found.refused] == (["RK-TRUST-CREDENTIALS"] if asks else [])
    if asks:
        user = User(records=tmp_path / "records")
        user.keep(tmp_path.resolve(), [wish.agreement for wish in found.wishes])
        assert judged("", user, tmp_path, variables).layers.dotenv == variables
        file.write_text(json.dumps({"type": "external_account"}), encoding="utf-8")
        assert judged("", user, tmp_path, variables).layers.dotenv == {}  # another content


# ── factories ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_code_of_the_folder_runs_after_consent_only(stranger: Cli, write: Write) -> None:
    write("run-kfp.toml", SECTIONS + ONE + LOGIN + FACTORY)
    write("parts.py", PARTS)
    ran = stranger.folder / "it-ran"

    refused = stranger("-r", "2", "--compile-only")
    assert refused.code == 2
    assert "the Python code parts:made runs on this machine only after your consent" in refused.err
    checked = stranger("check", "-r", "1-2", "--offline", "--json")
    assert [one["code"] for one in checked.json["findings"] if one["severity"] == "error"] == ["RK-TRUST-FACTORY"]
    assert "train" in checked.json["machines"]  # the rest is checked all the same
    for looking in (("list",), ("--help",), ("trust",), ("-r", "1", "--compile-only")):
        stranger(*looking)
    assert not ran.exists()

    assert stranger("-r", "2", "--compile-only", RUN_KFP_ALLOW_FACTORIES="1").code == 0
    assert ran.exists()
    ran.unlink()
    stranger("trust", "--yes")
    assert stranger("-r", "2", "--compile-only").code == 0
    assert ran.exists()


# ── with everybody that a check asks ─────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def world(google_hosts: GoogleHosts, account_key_file: Path, folder: Path) -> Iterator[World]:
    """Everybody that a check asks, with a Git remote behind a login."""
    canaries = Canaries()
    with right_world(google_hosts, account_key_file, folder, canaries.variables, canaries.token) as opened:
        yield opened


def test_the_git_login_goes_out_after_consent_and_for_a_container_that_takes_it(world: World) -> None:
    """A real Git server: asked without the login at first, with it afterwards."""
    world.registry(git=True)

    def signed() -> list[bool]:
        told = ["Authorization" in one.headers for one in world.git_requests]
        world.git_requests.clear()
        return told

    call = ("check", "-t", "dataset_v22", "--json")
    untrusted = world.cli(*call, "-r", "1-4", **NOBODY)
    assert [one["code"] for one in untrusted.json["findings"]].count("RK-TRUST-HOST") == 1
    assert not any(signed())
    assert world.cli("trust", "--yes", **NOBODY).code == 0
    trusted = world.cli(*call, "-r", "1-4", **NOBODY)
    assert "RK-TRUST-HOST" not in [one["code"] for one in trusted.json["findings"]]
    assert all(signed())
    world.cli(*call, "-r", "1", **NOBODY)  # it takes no login
    assert not any(signed())


def test_the_table_of_powers_is_in_the_docs() -> None:
    page = (Path(__file__).parent.parent / "docs" / "security.md").read_text(encoding="utf-8")
    assert all(f"| {power.decision} | {power.user} | {power.folder} |" in page for power in POWERS)


def test_flags_environment_and_file_name_hosts_together(tmp_path: Path) -> None:
    (tmp_path / "run-kfp").mkdir()
    (tmp_path / "run-kfp" / "config.toml").write_text('trust_hosts = ["d.example"]', encoding="utf-8")
    faults: list[Finding] = []
    environ = {"RUN_KFP_TRUST_HOSTS": "a.example, B.example:8443", "XDG_CONFIG_HOME": str(tmp_path)}
    user = read_user(environ, ["c.example"], faults)
    assert user.hosts == {"a.example", "b.example:8443", "c.example", "d.example"}
    assert (user.records, faults) == (None, [])
