"""Consent: what a wish says and keeps, how agreements are kept, and what is read of the user's own file."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from run_kfp.consent import FACTORIES_VARIABLE, HOSTS_VARIABLE, Kind, User, Wish, read_user
from run_kfp.errors import InputError
from run_kfp.findings import Finding

CODE = "RK-TRUST-INVALID"


def wish(kind: Kind, subject: str = "git.example.com:443", gets: str = "", folder: str = "/work") -> Wish:
    return Wish(kind, subject, gets, "run-kfp.toml: place", Path(folder))


def test_what_a_wish_says_and_what_is_kept_of_it() -> None:
    host = wish(Kind.HOST, gets="the secret login")
    file = wish(Kind.CREDENTIALS, "/work/key.json", "0a1b")
    code = wish(Kind.FACTORY, "parts:made")
    assert (host.agreement, host.words) == (
        "host git.example.com:443 the secret login",
        "git.example.com:443 gets the secret login",
    )
    assert (file.agreement, file.words) == (
        "credentials /work/key.json 0a1b",
        "/work/key.json logs in to Google with the addresses, files and programs that it names",
    )
    assert (code.agreement, code.words) == (
        "factory parts:made",
        "the Python code parts:made runs on this machine",
    )


@pytest.mark.parametrize(
    ("user", "agreed"),
    [
        (User(), []),
        (User(frozenset({"git.example.com"})), [Kind.HOST]),
        (User(frozenset({"git.example.com:443"})), [Kind.HOST]),
        (User(frozenset({"git.example.com:80", "example.com"})), []),
        (User(factories=True), [Kind.FACTORY]),
    ],
)
def test_what_a_user_agrees_to_for_every_folder(user: User, agreed: list[Kind]) -> None:
    assert [kind for kind in Kind if user.agrees(wish(kind))] == agreed


def test_agreements_are_kept_for_a_folder_in_a_file_that_nobody_else_reads(tmp_path: Path) -> None:
    user = User(records=tmp_path / "state" / "trust")
    file = user.keep(Path("/work"), {"host b", "factory a:b"})

    assert file.parent == tmp_path / "state" / "trust"
    assert file.read_text(encoding="utf-8") == (
        '{\n  "folder": "/work",\n  "agreed": [\n    "factory a:b",\n    "host b"\n  ]\n}\n'
    )
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert user.agreed(Path("/work")) == ("factory a:b", "host b")
    assert user.agrees(wish(Kind.FACTORY, "a:b"))
    assert not user.agrees(wish(Kind.FACTORY, "a:c"))
    assert not user.agrees(wish(Kind.FACTORY, "a:b", folder="/other"))
    assert user.keep(Path("/work"), ()) == file
    assert user.agreed(Path("/work")) == ()


@pytest.mark.parametrize(
    ("record", "agreed"),
    [
        ({"folder": "/work", "agreed": ["host b", 3]}, ("host b",)),
        ({"folder": "/other", "agreed": ["host b"]}, ()),
        ({"folder": "/work", "agreed": "host b"}, ()),
        ({"agreed": ["host b"]}, ()),
        ({"folder": "/work"}, ()),
        (["host b"], ()),
        (None, ()),
    ],
)
def test_what_counts_of_a_record(record: object, agreed: tuple[str, ...], tmp_path: Path) -> None:
    user = User(records=tmp_path)
    user.keep(Path("/work"), ()).write_text(json.dumps(record), encoding="utf-8")
    assert user.agreed(Path("/work")) == agreed


def test_a_record_that_is_not_json_is_no_consent(tmp_path: Path) -> None:
    user = User(records=tmp_path)
    for text in ("", "{", "[" * 100_000):
        user.keep(Path("/work"), ()).write_text(text, encoding="utf-8")
        assert user.agreed(Path("/work")) == ()


def test_nothing_is_kept_without_a_home_folder() -> None:
    assert User().agreed(Path("/work")) == ()
    with pytest.raises(InputError) as raised:
        User().keep(Path("/work"), ())
    assert raised.value.message == "cannot keep your consent without a home folder"
    assert raised.value.hint == (
        f"set HOME; in CI, pass --trust-host or set {HOSTS_VARIABLE}, and {FACTORIES_VARIABLE}=1 for factories"
    )


def read(environ: dict[str, str], hosts: tuple[str, ...] = ()) -> tuple[User, list[Finding]]:
    faults: list[Finding] = []
    return read_user(environ, hosts, faults), faults


@pytest.mark.parametrize(
    ("environ", "records"),
    [
        ({}, None),
        ({"HOME": "/h"}, "/h/.local/state/run-kfp/trust"),
        ({"USERPROFILE": "/u"}, "/u/.local/state/run-kfp/trust"),
        ({"HOME": "/h", "USERPROFILE": "/u"}, "/h/.local/state/run-kfp/trust"),
        ({"HOME": "/h", "XDG_STATE_HOME": "/s"}, "/s/run-kfp/trust"),
        ({"XDG_STATE_HOME": "/s"}, "/s/run-kfp/trust"),
    ],
)
def test_where_records_are(environ: dict[str, str], records: str | None) -> None:
    assert read(environ) == (User(records=Path(records) if records else None), [])


@pytest.mark.parametrize(
    ("value", "runs"), [("1", True), ("", False), ("0", False), ("true", False), ("11", False), (None, False)]
)
def test_factories_run_by_one_value_alone(value: str | None, runs: bool) -> None:
    user, _ = read({} if value is None else {FACTORIES_VARIABLE: value})
    assert user.factories is runs


def config(folder: Path, text: str) -> Path:
    file = folder / "run-kfp" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text(text, encoding="utf-8")
    return file


def test_the_users_own_file(tmp_path: Path) -> None:
    config(
        tmp_path / ".config",
        'trust_hosts = ["A.example", "b:1"]\ncredentials_file = "~/key.json"\nsecrets_dir = "/s"\n',
    )
    user, faults = read({"HOME": str(tmp_path), HOSTS_VARIABLE: "C.example, d:2 e"}, ("F.example",))
    assert faults == []
    assert user == User(
        frozenset({"a.example", "b:1", "c.example", "d:2", "e", "f.example"}),
        False,
        tmp_path / ".local/state/run-kfp/trust",
        tmp_path / "key.json",
        Path("/s"),
    )


def test_the_folder_of_configurations_may_be_another_one(tmp_path: Path) -> None:
    config(tmp_path / "x", 'secrets_dir = "relative"\n')
    user, faults = read({"HOME": "/h", "XDG_CONFIG_HOME": str(tmp_path / "x")})
    assert (user.credentials_file, user.secrets_dir, faults) == (None, Path("relative"), [])


@pytest.mark.parametrize(
    ("text", "message", "hint", "key"),
    [
        ("trust_host = []", "unknown key", "did you mean 'trust_hosts'?", ": trust_host"),
        ("x = 1", "unknown key", "valid keys: trust_hosts, credentials_file, secrets_dir", ": x"),
        ("trust_hosts = 'a'", "must be an array of strings", '["git.example.com"]', ": trust_hosts"),
        ("trust_hosts = [1]", "must be an array of strings", '["git.example.com"]', ": trust_hosts"),
        ("secrets_dir = 1", "must be a string", "write a path in quotes", ": secrets_dir"),
        ("credentials_file = ['a']", "must be a string", "write a path in quotes", ": credentials_file"),
        ("x", "is not TOML: Expected '=' after a key in a key/value pair (at end of document)", "correct it", ""),
    ],
)
def test_a_wrong_file_of_the_user(text: str, message: str, hint: str, key: str, tmp_path: Path) -> None:
    file = config(tmp_path / ".config", text)
    user, faults = read({"HOME": str(tmp_path)})
    assert user == User(records=tmp_path / ".local/state/run-kfp/trust")
    assert faults == [Finding(message, hint, CODE, f"{file}{key}")]


def test_what_is_right_in_a_wrong_file_counts(tmp_path: Path) -> None:
    config(tmp_path / ".config", 'x = 1\ntrust_hosts = ["a"]\nsecrets_dir = 2\ncredentials_file = "/k"\n')
    user, faults = read({"HOME": str(tmp_path)})
    assert (user.hosts, user.credentials_file, user.secrets_dir) == (frozenset({"a"}), Path("/k"), None)
    assert [fault.message for fault in faults] == ["unknown key", "must be a string"]


def test_a_file_of_the_user_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    config(tmp_path / ".config", "").write_bytes(b"\xff\xfe\xff")
    user, faults = read({"HOME": str(tmp_path)})
    assert user.hosts == frozenset()
    assert len(faults) == 1


@pytest.mark.parametrize(
    ("host", "right"),
    [
        ("git.example.com", True),
        ("git.example.com:8443", True),
        ("LOCALHOST", True),
        ("[::1]", True),
        ("[::1]:443", True),
        ("*.example.com", False),
        ("https://git.example.com", False),
        ("git.example.com/data", False),
        ("git.example.com:port", False),
        ("git.example.com:99999", False),
        ("user@git.example.com", False),
        ("a b", False),
        ("[::1", False),
        (":443", False),
        ("", False),
    ],
)
def test_what_is_a_host(host: str, right: bool) -> None:
    user, faults = read({}, (host,))
    expected = Finding(f"{host!r} is not a host", "write a host, or host:port", CODE, "--trust-host")
    assert faults == ([] if right else [expected])
    assert user.hosts == {host.lower()}


def test_each_place_of_a_host_is_named(tmp_path: Path) -> None:
    config(tmp_path / ".config", 'trust_hosts = ["*"]\n')
    _, faults = read({"HOME": str(tmp_path), HOSTS_VARIABLE: "@"}, ("/",))
    assert [fault.place for fault in faults] == ["--trust-host", HOSTS_VARIABLE, "config.toml: trust_hosts"]
