"""What the tests of `examples/dermaid` share: its modules and an image to build it on."""

from __future__ import annotations

import re
import shutil
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path

from engine import Engine

# They are in no package: the example is a folder of programs.
sys.path.append(str(Path(__file__).resolve().parent.parent / "examples/dermaid"))
sys.path.append(str(Path(__file__).resolve().parent.parent / "examples/dermaid/containers/shared"))

import tfrecord
from servers.git_server import GitServer, create_repository
from servers.object_store import ObjectStore, ObjectStoreServer

FOLDER = Path(__file__).resolve().parent.parent / "examples" / "dermaid"

__all__ = ["FOLDER", "GitServer", "ObjectStore", "ObjectStoreServer", "create_repository", "image_with_git", "tfrecord"]


def image_with_git(engine: Engine, base: str) -> str:
    """Add this machine's bash and git to the image `base`; returns the name of the image made.

    The example's Dockerfile installs both from Debian where the base has none, which needs a mirror.
    """
    name = "example-python:git"
    git_core = Path(subprocess.run(["git", "--exec-path"], capture_output=True, text=True, check=True).stdout.strip())
    programs = [Path(str(shutil.which("bash"))), Path(str(shutil.which("git"))), git_core / "git-remote-http"]
    # The slim images have libstdc++, which NumPy needs, for apt's sake.
    linked = [*map(str, programs), str(shutil.which("apt-get"))]
    words = subprocess.run(["ldd", *linked], capture_output=True, text=True, check=True, env={"LC_ALL": "C"}).stdout
    libraries = {Path(path) for path in re.findall(r"^\t(?:.* => )?(/\S+) \(", words, re.MULTILINE)}
    # Wheels are linked to these parts of glibc, which have been empty since 2.34 and belong to it still.
    (libc,) = (path for path in libraries if path.name == "libc.so.6")
    empty = ("libdl.so.2", "libm.so.6", "libpthread.so.0", "librt.so.1", "libutil.so.1")
    libraries |= {libc.with_name(part) for part in empty}
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder)
        for path in {*programs, *libraries}:
            target = context / "system" / path.relative_to("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
        (context / "system" / git_core.relative_to("/") / "git-remote-https").symlink_to("git-remote-http")
        # Where OpenSSL looks for authorities: libgit2, which DVC has in it, does not start without.
        trust = Path(ssl.get_default_verify_paths().openssl_cafile)
        (context / "Dockerfile").write_text(
            f"FROM {base}\nCOPY system /\nRUN [ -e /bin/bash ] || ln -s /usr/bin/bash /bin/bash\n"
            f"RUN mkdir -p {trust.parent} && ln -sf /etc/ssl/certs/ca-certificates.crt {trust}\n",
            encoding="utf-8",
        )
        engine.docker("build", "--tag", name, context)
    return name
