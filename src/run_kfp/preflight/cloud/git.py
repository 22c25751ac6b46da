"""The Git remote that a step pushes to or reads from: whether it lets the login in, and whether the tag is free.

Asks for the list of refs as `git fetch` and `git push` do before anything else (Git's smart HTTP protocol,
https://git-scm.com/docs/http-protocol); nothing is changed.
"""

from __future__ import annotations

import base64
import difflib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urljoin, urlsplit, urlunsplit

from run_kfp.findings import Finding
from run_kfp.preflight.cloud.session import together
from run_kfp.preflight.rules import rule
from run_kfp.threads import in_background
from run_kfp.visible import shell_word

if TYPE_CHECKING:
    import requests
    from pydantic import SecretStr

GIT_LOGIN = rule("RK-GIT-LOGIN")
TAG_TAKEN = rule("RK-GIT-TAG-TAKEN")
TAG_ABSENT = rule("RK-GIT-TAG-ABSENT")
GIT_SKIPPED = rule("RK-GIT-SKIPPED")

_REDIRECTS = (301, 302, 303, 307, 308)
_MOST_REDIRECTS = 3
_LARGEST = 64 * 2**20

# Seconds beyond the limit in which an answer says itself that it comes too late.
_GRACE = 0.5


@dataclass(frozen=True)
class _Refs:
    """What the remote said: a status of HTTP (0 for no answer), why, and its refs."""

    status: int
    why: str = ""
    names: frozenset[str] = field(default=frozenset())


def check_git(
    remote: str, login: SecretStr | None, tag: str | None, *, makes_tag: bool, seconds: float = 10.0
) -> Iterator[Finding]:
    """Look at a Git remote as a step will.

    Args:
        remote: its URL; a login in it is not used and not shown.
        login: `https://user:token`, also with `@` and the remote's host behind it; None to ask without one.
        tag: that the step makes or reads, None for none.
        makes_tag: whether a selected step makes and pushes it.
        seconds: for each answer.
    """
    try:
        parts = urlsplit(remote)
    except ValueError:
        yield GIT_SKIPPED("the Git remote", "it is not a URL")
        return
    shown = _shown(parts)
    place = f"the Git remote {shown}"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        yield GIT_SKIPPED(place, "only http and https remotes can be checked")
        return
    basic = None if login is None else _basic(login, parts.hostname)
    services = ["git-upload-pack", *(["git-receive-pack"] if makes_tag else [])]
    answers = together([partial(_refs_in_time, shown, service, basic, seconds) for service in services])
    for service, answer in zip(services, answers, strict=True):
        verb = "read" if service == "git-upload-pack" else "push"
        if answer.status in (401, 403) and login is not None:
            yield GIT_LOGIN(
                place,
                f"the login is not allowed to {verb} there (the remote answers {answer.status})",
                "create a token with permission to " + ("read and write" if makes_tag else "read") + " the repository",
            )
            return
        if answer.status != 200:
            why = answer.why or {401: "it requires a login", 404: "it has no such repository, or hides it"}.get(
                answer.status, f"it answers {answer.status}"
            )
            yield GIT_SKIPPED(place, why)
            return
    if tag:
        yield from _judge_tag(tag, answers[0].names, shown, makes_tag=makes_tag)


def _judge_tag(tag: str, refs: frozenset[str], shown: str, *, makes_tag: bool) -> Iterator[Finding]:
    tags = sorted(name.removeprefix("refs/tags/") for name in refs if name.startswith("refs/tags/"))
    near = difflib.get_close_matches(tag, [one for one in tags if one != tag], n=5, cutoff=0.5)
    nearby = f"; tags near it: {', '.join(near)}" if near else ""
    if makes_tag and tag in tags:
        yield TAG_TAKEN("-t", f"{shown} already has the tag {tag}{nearby}", "choose a new tag")
    elif not makes_tag and tag not in tags:
        yield TAG_ABSENT("-t", f"{shown} has no tag {tag}{nearby}", f"git ls-remote --tags {shell_word(shown)}")


def _basic(login: SecretStr, host: str) -> str:
    """Return the Basic credentials (RFC 7617) of a login URL."""
    rest = login.get_secret_value().rpartition("://")[2].rstrip("/")
    before, at, after = rest.rpartition("@")
    if at and after.partition(":")[0].lower() == host:
        rest = before
    user, _, token = rest.rstrip("@").partition(":")
    return base64.b64encode(f"{unquote(user)}:{unquote(token)}".encode()).decode()


def _shown(parts: SplitResult) -> str:
    """Return a URL without the login that it may hold."""
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))


def _refs_in_time(remote: str, service: str, basic: str | None, seconds: float) -> _Refs:
    """Ask for the refs; the limits of sockets begin anew with every byte, and headers may come one by one."""
    try:
        return in_background(partial(_refs, remote, service, basic, seconds)).result(seconds + _GRACE)
    except TimeoutError:
        return _Refs(0, f"it did not answer within {seconds:g} s")


def _refs(remote: str, service: str, basic: str | None, seconds: float) -> _Refs:
    import requests
    import urllib3

    end = time.monotonic() + seconds
    url = f"{remote}/info/refs?service={service}"
    try:
        with requests.Session() as session:
            for _ in range(_MOST_REDIRECTS + 1):
                # Neither to another host, nor from TLS to none: where the login goes is what the remote's URL says.
                same = urlsplit(url)[:2] == urlsplit(remote)[:2]
                left = max(end - time.monotonic(), 0.05)
                with session.get(
                    url,
                    auth=_authorize(basic if same else None),
                    timeout=(left, left),
                    allow_redirects=False,
                    stream=True,
                ) as response:
                    if response.status_code in _REDIRECTS and (target := response.headers.get("Location")):
                        url = urljoin(url, target)
                        continue
                    if response.status_code != 200:
                        return _Refs(response.status_code)
                    content = bytearray()
                    # Piece by piece as they come: a larger read would wait for all of it, however long they trickle.
                    while piece := response.raw.read1(65536, decode_content=True):
                        content += piece
                        if time.monotonic() > end or len(content) > _LARGEST:
                            return _Refs(0, "its list of refs did not end")
                    return _read(bytes(content), service)
            return _Refs(0, "it redirects endlessly")
    except (requests.Timeout, urllib3.exceptions.TimeoutError):
        return _Refs(0, f"it did not answer within {seconds:g} s")
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        return _Refs(0, f"it is unreachable ({type(error).__name__})")


def _authorize(basic: str | None) -> Callable[[requests.PreparedRequest], requests.PreparedRequest]:
    """Return what signs a request; without a login it keeps requests from taking one out of a .netrc."""

    def sign(request: requests.PreparedRequest) -> requests.PreparedRequest:
        if basic is not None:
            request.headers["Authorization"] = f"Basic {basic}"
        return request

    return sign


def _read(content: bytes, service: str) -> _Refs:
    """Read the list of refs: pkt-lines (https://git-scm.com/docs/protocol-common), the service's name first."""
    lines: list[bytes] = []
    at = 0
    while at < len(content):
        try:
            size = int(content[at : at + 4], 16)
        except ValueError:
            size = -1
        if size == 0:  # a flush packet
            at += 4
            continue
        if size < 4 or at + size > len(content):
            return _Refs(0, "it does not speak Git's smart HTTP protocol")
        lines.append(content[at + 4 : at + size])
        at += size
    if not lines or lines[0].strip() != f"# service={service}".encode():
        return _Refs(0, "it does not speak Git's smart HTTP protocol")
    names = {line.partition(b"\0")[0].strip().partition(b" ")[2].decode("utf-8", "replace") for line in lines[1:]}
    return _Refs(200, names=frozenset(name for name in names if not name.endswith("^{}")))
