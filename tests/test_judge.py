"""What is left of a folder's files after judgment, in full: the wishes, the findings, the layers and the registry."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from run_kfp.consent import Kind, User, Wish
from run_kfp.findings import Finding, Severity
from run_kfp.registry_file import parse_registry
from run_kfp.settings import Layers
from run_kfp.trust import Judged, judge, untrusted_factories

CREDENTIALS, SECRETS = "GOOGLE_APPLICATION_CREDENTIALS", "RUN_KFP_SECRETS"
IMAGE = '[containers.1]\nname = "train"\nimage = "my-team/train:1"\nargs = [{ secret = "login" }]\n'
LOGIN = '[secrets.login]\nenv = "LOGIN"\n'
GIT = '[check.git]\nremote = "{}/data.git"\nlogin = "login"\n'
ENDPOINT = '[settings]\napi_endpoint = "vertex.example.com:8443"\n'
SERVICES = (
    '[check.endpoints]\nstorage = "https://a.example.com"\niam = "https://b.example.com:444"\nunknown = "https://c.d"\n'
)
MADE = '[containers.2]\nname = "made"\nfactory = "parts:made"\n[containers.3]\nname = "more"\nfactory = "parts:more"\n'
NOBODY = User()
UNTIL = "; until then, a Git remote is asked without a login, and Google's own addresses instead of others"


def judged(
    text: str,
    folder: Path,
    user: User = NOBODY,
    *,
    dotenv: dict[str, str] | None = None,
    environ: dict[str, str] | None = None,
    flags: dict[str, str | None] | None = None,
) -> Judged:
    registry = parse_registry(text + IMAGE + LOGIN, source="run-kfp.toml", folder=folder)
    return judge(Layers(flags or {}, environ or {}, dotenv or {}), registry, user, here=folder)


def host(subject: str, gets: str, key: str, folder: Path) -> Wish:
    return Wish(Kind.HOST, subject, gets, f"run-kfp.toml: {key}", folder)


def test_a_folder_that_wants_nothing(tmp_path: Path) -> None:
    found = judged("", tmp_path, dotenv={"LOGIN": "x"})
    assert (found.wishes, found.refused, found.skipped, found.wrong) == ((), (), (), ())
    assert found.layers == Layers({}, {}, {"LOGIN": "x"}, {})


def test_an_endpoint_that_would_get_the_run(tmp_path: Path) -> None:
    gets = "a Google access token and the secrets of a run"
    found = judged(ENDPOINT, tmp_path)
    assert found.wishes == (host("vertex.example.com:8443", gets, "settings.api_endpoint", tmp_path),)
    assert found.refused == (
        Finding(
            f"vertex.example.com:8443 gets {gets} only after your consent; Google's own address is asked until then",
            "run `run-kfp trust`; in CI, pass --trust-host vertex.example.com:8443",
            "RK-TRUST-ENDPOINT",
            "run-kfp.toml: settings.api_endpoint",
        ),
    )
    assert found.skipped == ()
    assert found.registry.settings.api_endpoint is None

    agreed = judged(ENDPOINT, tmp_path, User(frozenset({"vertex.example.com"})))
    assert (agreed.wishes, agreed.refused) == (found.wishes, ())
    assert agreed.registry.settings.api_endpoint == "vertex.example.com:8443"

    typed = judged(ENDPOINT, tmp_path, flags={"api_endpoint": "other.example.com"})
    assert (typed.wishes, typed.refused) == ((), ())


def test_hosts_that_a_check_can_do_without_are_one_finding(tmp_path: Path) -> None:
    found = judged(SERVICES + GIT.format("https://git.example.com:444"), tmp_path)
    token = "a Google access token"
    assert found.wishes == (
        host("a.example.com:443", token, "check.endpoints.storage", tmp_path),
        host("b.example.com:444", token, "check.endpoints.iam", tmp_path),
        host("git.example.com:444", "the secret login", "check.git.remote", tmp_path),
    )
    assert found.skipped == (
        Finding(
            f"only after your consent: a.example.com:443 gets {token}; b.example.com:444 gets {token}; "
            f"git.example.com:444 gets the secret login{UNTIL}",
            "run `run-kfp trust`; in CI, pass --trust-host a.example.com:443 --trust-host b.example.com:444 "
            "--trust-host git.example.com:444",
            "RK-TRUST-HOST",
            "run-kfp.toml: check.endpoints.storage",
            Severity.WARNING,
        ),
    )
    assert found.refused == ()
    assert found.registry.check.endpoints == {"unknown": "https://c.d"}
    git = found.registry.check.git
    assert git is not None
    assert (git.remote, git.login) == ("https://git.example.com:444/data.git", None)


def test_what_is_wished_twice_is_told_once(tmp_path: Path) -> None:
    text = '[check.endpoints]\nstorage = "https://a.example.com"\niam = "https://a.example.com"\n'
    (finding,) = judged(text, tmp_path).skipped
    assert finding.message == f"only after your consent: a.example.com:443 gets a Google access token{UNTIL}"
    assert finding.hint == "run `run-kfp trust`; in CI, pass --trust-host a.example.com:443"


def test_one_of_two_hosts_is_trusted(tmp_path: Path) -> None:
    found = judged(SERVICES, tmp_path, User(frozenset({"b.example.com:444"})))
    assert found.registry.check.endpoints == {"iam": "https://b.example.com:444", "unknown": "https://c.d"}
    assert [one.place for one in found.skipped] == ["run-kfp.toml: check.endpoints.storage"]


@pytest.mark.parametrize("trusted", [True, False])
def test_a_login_without_tls_is_not_a_question_of_trust(tmp_path: Path, trusted: bool) -> None:
    user = User(frozenset({"git.example.com", "a.example.com", "b.example.com"} if trusted else ()))
    found = judged(GIT.format("http://git.example.com") + SERVICES, tmp_path, user)
    assert found.skipped[0] == Finding(
        "git.example.com:80 would get the login without TLS; it is asked without one",
        "write https://",
        "RK-TRUST-CLEAR",
        "run-kfp.toml: check.git.remote",
        Severity.WARNING,
    )
    assert [one.place for one in found.skipped[1:]] == ([] if trusted else ["run-kfp.toml: check.endpoints.storage"])
    assert all("git.example.com" not in one.message for one in found.skipped[1:])
    assert found.registry.check.git is not None
    assert found.registry.check.git.login is None


@pytest.mark.parametrize("address", ["http://localhost", "http://127.0.0.1:80", "http://[::1]:80", "https://10.0.0.1"])
def test_what_cannot_be_read_on_the_way(tmp_path: Path, address: str) -> None:
    found = judged(GIT.format(address), tmp_path)
    assert [one.code for one in found.skipped] == ["RK-TRUST-HOST"]


def test_a_remote_without_a_login_wants_nothing(tmp_path: Path) -> None:
    found = judged('[check.git]\nremote = "http://git.example.com/data.git"\n', tmp_path)
    assert (found.wishes, found.skipped) == ((), ())
    assert found.registry.check.git is not None
    assert found.registry.check.git.remote == "http://git.example.com/data.git"


@pytest.mark.parametrize("name", [CREDENTIALS, SECRETS])
def test_a_variable_that_leads_out_of_the_folder(name: str, tmp_path: Path) -> None:
    dotenv = {name: "/elsewhere/file", "LOGIN": "x"}
    found = judged("", tmp_path, dotenv=dotenv)
    assert found.wrong == (
        Finding(
            "leads out of this folder, which only you can do",
            f"move it below this folder, or set {name} in the environment",
            "RK-TRUST-PATH",
            f".env {name}",
        ),
    )
    assert found.layers.dotenv == {"LOGIN": "x"}
    assert found.wishes == ()

    set_already = judged("", tmp_path, dotenv=dotenv, environ={name: "/mine"})
    assert (set_already.wrong, set_already.layers.dotenv) == ((), dotenv)

    below = {name: str(tmp_path / "below")}
    assert judged("", tmp_path, dotenv=below).wrong == ()


def test_the_users_own_file_is_a_layer(tmp_path: Path) -> None:
    user = User(credentials_file=tmp_path / "key.json", secrets_dir=tmp_path / "s")
    assert judged("", tmp_path, user).layers.user == {
        CREDENTIALS: str(tmp_path / "key.json"),
        SECRETS: str(tmp_path / "s"),
    }
    assert judged("", tmp_path, User(secrets_dir=tmp_path / "s")).layers.user == {SECRETS: str(tmp_path / "s")}


def test_credentials_of_the_folder_with_addresses_in_them(tmp_path: Path) -> None:
    file = tmp_path / "key.json"
    file.write_text(json.dumps({"type": "external_account"}), encoding="utf-8")
    dotenv = {CREDENTIALS: str(file), "LOGIN": "x"}
    digest = hashlib.sha256(file.read_bytes()).hexdigest()

    found = judged("", tmp_path, dotenv=dotenv)

    assert [(one.kind, one.gets, one.place, one.folder) for one in found.wishes] == [
        (Kind.CREDENTIALS, digest, f".env {CREDENTIALS}", tmp_path)
    ]
    (refused,) = found.refused
    assert refused == Finding(
        f"{found.wishes[0].subject} logs in to Google with the addresses, files and programs that it names, which only "
        "you can agree to; it is not used",
        f"run `run-kfp trust`, or set {CREDENTIALS} in the environment",
        "RK-TRUST-CREDENTIALS",
        f".env {CREDENTIALS}",
    )
    assert found.layers.dotenv == {"LOGIN": "x"}
    assert judged("", tmp_path, dotenv=dotenv, environ={CREDENTIALS: "/mine"}).wishes == ()


@pytest.mark.parametrize("content", ["", "{", "[]", '"text"', "[" * 100_000])
def test_credentials_that_are_none_are_told_by_who_logs_in(content: str, tmp_path: Path) -> None:
    file = tmp_path / "key.json"
    file.write_text(content, encoding="utf-8")
    found = judged("", tmp_path, dotenv={CREDENTIALS: str(file)})
    assert (found.wishes, found.refused, found.layers.dotenv) == ((), (), {CREDENTIALS: str(file)})


def test_a_missing_file_of_credentials_is_told_by_who_logs_in(tmp_path: Path) -> None:
    assert judged("", tmp_path, dotenv={CREDENTIALS: str(tmp_path / "none.json")}).wishes == ()


def test_code_of_the_folder(tmp_path: Path) -> None:
    found = judged(MADE, tmp_path)
    made, more = (
        Wish(Kind.FACTORY, f"parts:{name}", "", f"run-kfp.toml: containers.{index}.factory", tmp_path)
        for name, index in (("made", "2"), ("more", "3"))
    )
    assert found.wishes == (made, more)
    assert (found.refused, found.skipped) == ((), ())

    containers = found.registry.containers.values()
    user = User(records=tmp_path / "records")
    user.keep(tmp_path, [more.agreement])
    assert untrusted_factories(found.registry, containers, user) == {
        "2": Finding(
            "the Python code parts:made runs on this machine only after your consent",
            "read it, then run `run-kfp trust`; in CI, set RUN_KFP_ALLOW_FACTORIES=1",
            "RK-TRUST-FACTORY",
            "run-kfp.toml: containers.2.factory",
        )
    }
    assert list(untrusted_factories(found.registry, containers, User())) == ["2", "3"]
    assert untrusted_factories(found.registry, containers, User(factories=True)) == {}
