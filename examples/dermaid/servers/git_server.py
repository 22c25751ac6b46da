"""A Git host over HTTP with a login, as github.com is one: `git http-backend` behind Basic authentication."""

from __future__ import annotations

import base64
import hmac
import os
import subprocess
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

from .loopback import BadRequestError, Handler, Server

BRANCH = "main"
SERVICES = ("info/refs", "git-upload-pack", "git-receive-pack")
"""What the smart HTTP protocol asks for (gitprotocol-http); files of the repository are not served."""


def git(*args: str | Path, folder: Path) -> str:
    """Run git in `folder` without the user's own settings; gives what it writes, stripped.

    Raises:
        RuntimeError: it ended with another code than 0; holds its words.
    """
    env = {"PATH": os.environ.get("PATH", os.defpath), "GIT_CONFIG_NOSYSTEM": "1", "HOME": str(folder), "LC_ALL": "C"}
    env |= {f"GIT_{who}_{what}": text for who in ("AUTHOR", "COMMITTER") for what, text in _IDENTITY.items()}
    done = subprocess.run(["git", *args], cwd=folder, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"git {args[0]} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout.strip()


_IDENTITY = {"NAME": "DermAID example", "EMAIL": "example@dermaid.invalid"}


def create_repository(path: Path) -> None:
    """Make a bare repository with one commit on `main`, in which a tag, once pushed, stays what it is."""
    path.mkdir(parents=True)
    git("init", "--quiet", "--bare", f"--initial-branch={BRANCH}", ".", folder=path)
    git("config", "receive.denyNonFastForwards", "true", folder=path)
    git("config", "receive.denyDeletes", "true", folder=path)
    readme = path / "README.new"
    readme.write_text("# dermaid-data\n\nOne tag for each version of the data.\n", encoding="utf-8")
    blob = git("hash-object", "-w", readme, folder=path)
    readme.unlink()
    git("update-index", "--add", "--cacheinfo", f"100644,{blob},README.md", folder=path)
    tree = git("write-tree", folder=path)
    (path / "index").unlink()
    commit = git("commit-tree", tree, "-m", "An empty data set", folder=path)
    git("update-ref", f"refs/heads/{BRANCH}", commit, folder=path)


class _GitHandler(Handler):
    root: ClassVar[Path]
    login: ClassVar[str]
    token: ClassVar[str]

    def do_GET(self) -> None:
        try:
            body = self.body()
        except BadRequestError as error:
            self.close_connection = True
            self.answer(400, str(error).encode())
            return
        parts = urlsplit(self.path)
        repository, _, service = parts.path.lstrip("/").partition("/")
        if not self._logged_in():
            self.answer(401, b"Bad credentials\n", {"WWW-Authenticate": 'Basic realm="dermaid"'})
        elif not repository.endswith(".git") or repository.startswith(".") or service not in SERVICES:
            self.answer(404, b"Not found\n")
        else:
            self._backend(parts.path, parts.query, body)

    do_POST = do_GET

    def _logged_in(self) -> bool:
        expected = base64.b64encode(f"{self.login}:{self.token}".encode()).decode()
        return hmac.compare_digest(self.headers.get("Authorization", "").encode(), f"Basic {expected}".encode())

    def _backend(self, path: str, query: str, body: bytes) -> None:
        """Hand the request to `git http-backend`, a CGI program (RFC 3875), and its answer to the client."""
        env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.root),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REMOTE_USER": self.login,  # without a user, http-backend refuses pushes
            "REMOTE_ADDR": str(self.client_address[0]),
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
        }
        done = subprocess.run(["git", "http-backend"], env=env, input=body, capture_output=True, check=False)
        head, separator, content = done.stdout.partition(b"\r\n\r\n")
        if done.returncode or not separator:
            self.answer(500, done.stderr[-2000:])
            return
        headers = dict(line.split(": ", 1) for line in head.decode("latin-1").split("\r\n"))
        self.answer(int(headers.pop("Status", "200").split()[0]), content, headers)


class GitServer(Server):
    """The bare repositories of `root` over HTTP, for one login."""

    def __init__(self, root: Path, login: str, token: str, host: str = "127.0.0.1") -> None:
        super().__init__(type("GitHandler", (_GitHandler,), {"root": root, "login": login, "token": token}), host)
