"""Base images made on the spot from what this machine has; no image registry is asked."""

from __future__ import annotations

import re
import shutil
import ssl
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path

from engine.daemon import Engine, EngineUnavailableError

BUSYBOX = "busybox:latest"
GCLOUD_BASE = "gcloud-base:latest"

_APPLETS = """
awk base64 basename cat chmod chown cp cut date dirname echo env expr false find grep head id kill
ln ls mkdir mktemp mv od printf ps pwd rm sed seq sh sha256sum sleep sort stat tail tar tee test
touch tr true uname wc which xargs
"""


def busybox(engine: Engine) -> str:
    """Import a busybox with a shell and the usual commands (2 MB); returns its name.

    Raises:
        EngineUnavailableError: this machine has no static busybox.
    """
    binary = _found("busybox", "apt-get install -y --no-install-recommends busybox-static")
    if _libraries([binary]):
        raise EngineUnavailableError("busybox is not static: apt-get install busybox-static")
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder, "busybox.tar")
        with tarfile.open(archive, "w") as tar:
            _add_busybox(tar, binary)
            _add_folders(tar)
        return _import(engine, archive, BUSYBOX, 'CMD ["sh"]')


def python_slim(engine: Engine) -> str:
    """Import the Python that runs the tests as `python:3.X-slim`; returns that name.

    It has pip if that Python has it, a busybox for a shell, and no other package.

    Raises:
        EngineUnavailableError: this machine has no static busybox.
    """
    name = f"python:{sysconfig.get_python_version()}-slim"
    version = f"python{sysconfig.get_python_version()}"
    base = Path(sys.base_prefix)
    binary = (base / "bin" / version).resolve()
    library = base / "lib" / version
    unneeded = {"test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3", "__pycache__"}

    def slim(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        below = Path(member.name).parts[4:]  # usr/local/lib/python3.X
        in_packages = below[:1] in (("site-packages",), ("dist-packages",))
        if below[:1] and below[0] in unneeded:
            return None
        if in_packages and len(below) > 1 and not below[1].startswith("pip"):
            return None
        if below[:1] and below[0].startswith("config-"):  # the static library: 20 MB and more
            return None
        return _owned_by_root(member)

    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder, "python.tar")
        with tarfile.open(archive, "w") as tar:
            _add_busybox(tar, _found("busybox", "apt-get install busybox-static"))
            _add_folders(tar)
            tar.add(binary, f"usr/local/bin/{version}", filter=_owned_by_root)
            tar.add(library, f"usr/local/lib/{version}", filter=slim)
            for alias in ("python3", "python"):
                _add_link(tar, f"usr/local/bin/{alias}", version)
            for path in _libraries([binary, *library.glob("lib-dynload/*.so")]):
                # One that lies in a home folder goes where the loader looks without being told, and every user may.
                system = path.is_relative_to("/lib") or path.parts[1] in ("lib64", "usr")
                target = str(path).lstrip("/") if system else f"usr/lib/{path.name}"
                tar.add(path.resolve(), target, filter=_owned_by_root)
            _add_trust(tar)
        return _import(engine, archive, name, 'ENV PATH="/usr/local/bin:/usr/bin:/bin"', 'CMD ["python3"]')


def gcloud_base(engine: Engine) -> str:
    """Import a minimal Debian with Python and this machine's gcloud; returns its name.

    It stands for Google's slim image, which is the same: a Debian, its Python, gcloud from Google's
    package. What a login does not load is left out: other clouds' SDKs, the clients of 180 services.
    The authorities that this machine trusts are in it, as in the base of a company whose network
    has one of its own.

    Raises:
        EngineUnavailableError: this machine has no gcloud or no mmdebstrap; says how to get them.
    """
    gcloud = Path(_found("gcloud", "see https://cloud.google.com/sdk/docs/install for the Debian package"))
    sdk = gcloud.resolve().parent.parent
    mmdebstrap = _found("mmdebstrap", "apt-get install -y --no-install-recommends mmdebstrap")
    with tempfile.TemporaryDirectory() as folder:
        extra = Path(folder, "gcloud.tar")
        with tarfile.open(extra, "w") as tar:
            _add_gcloud(tar, sdk)
            _add_trust(tar)
        system = Path(folder, "system.tar")
        subprocess.run(
            [
                *(mmdebstrap, "--quiet", "--variant=minbase", "--include=ca-certificates,python3"),
                f"--customize-hook=tar-in {extra} /",
                *(_suite(), str(system)),
            ],
            check=True,
            stdin=subprocess.DEVNULL,
        )
        return _import(engine, system, GCLOUD_BASE, 'CMD ["bash"]')


def _add_gcloud(tar: tarfile.TarFile, sdk: Path) -> None:
    """Add the Cloud SDK at its usual place, without what a login never loads."""
    target = "usr/lib/google-cloud-sdk"
    services = f"{target}/lib/googlecloudsdk/generated_clients/apis/"
    kept_services = ("__", "apis_map", "cloudresourcemanager", "iam", "serviceusage", "storage")
    unneeded = {
        *(f"{target}/lib/third_party/{name}" for name in ("boto3", "botocore", "kubernetes")),
        *(f"{target}/platform/bundledpythonunix/{name}" for name in ("include", "share")),
    }

    def slim(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if member.name in unneeded or member.name.endswith(".a"):
            return None
        if member.name.startswith(services) and not member.name.removeprefix(services).startswith(kept_services):
            return None
        return _owned_by_root(member)

    for part in (
        "VERSION",
        "properties",
        "bin/gcloud",
        "lib",
        "data",
        "platform/bundledpythonunix",
    ):
        if (sdk / part).exists():  # a package of a distribution has no Python of its own
            tar.add(sdk / part, f"{target}/{part}", filter=slim)
    _add_link(tar, "usr/bin/gcloud", "../lib/google-cloud-sdk/bin/gcloud")


def _add_busybox(tar: tarfile.TarFile, binary: str) -> None:
    tar.add(Path(binary).resolve(), "bin/busybox", filter=_owned_by_root)
    for applet in _APPLETS.split():
        _add_link(tar, f"bin/{applet}", "busybox")


def _add_folders(tar: tarfile.TarFile) -> None:
    for name, mode in (("tmp", 0o1777), ("root", 0o700), ("etc", 0o755), ("var", 0o755)):
        folder = tarfile.TarInfo(name)
        folder.type, folder.mode = tarfile.DIRTYPE, mode
        tar.addfile(folder)
    _add_text(tar, "etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
    _add_text(tar, "etc/group", "root:x:0:\n")


def _add_trust(tar: tarfile.TarFile) -> None:
    """Add the authorities that this machine trusts, for pip as well, which else brings its own."""
    paths = ssl.get_default_verify_paths()
    source = Path(paths.cafile or paths.openssl_cafile)
    if not source.exists():
        return
    target = "etc/ssl/certs/ca-certificates.crt"
    tar.add(source.resolve(), target, filter=_owned_by_root)
    _add_text(tar, "etc/pip.conf", f"[global]\ncert = /{target}\n")


def _add_text(tar: tarfile.TarFile, name: str, text: str) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(text.encode())
        file.flush()
        member = tar.gettarinfo(file.name, name)
        member.mode = 0o644
        file.seek(0)
        tar.addfile(_owned_by_root(member), file)


def _add_link(tar: tarfile.TarFile, name: str, target: str) -> None:
    link = tarfile.TarInfo(name)
    link.type, link.linkname = tarfile.SYMTYPE, target
    tar.addfile(link)


def _owned_by_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member


def _libraries(binaries: Iterable[str | Path]) -> list[Path]:
    """The shared libraries that `ldd` names for the binaries, the loader among them, each once."""
    words = subprocess.run(["ldd", *binaries], capture_output=True, text=True, check=False, env={"LC_ALL": "C"}).stdout
    # Lines: "libm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x…)", "/lib64/ld-linux-x86-64.so.2 (0x…)"
    return sorted({Path(path) for path in re.findall(r"^\t(?:.* => )?(/\S+) \(", words, re.MULTILINE)})


def _suite() -> str:
    """The code name of this machine's distribution: gcloud's files fit to its libraries."""
    text = Path("/etc/os-release").read_text(encoding="utf-8")
    found = re.search(r"^VERSION_CODENAME=\"?(\w+)", text, re.MULTILINE)
    if found is None:
        raise EngineUnavailableError("this is no Debian: /etc/os-release has no VERSION_CODENAME")
    return found[1]


def _found(command: str, install: str) -> str:
    path = shutil.which(command)
    if path is None:
        raise EngineUnavailableError(f"no {command} on this machine: {install}")
    return path


def _import(engine: Engine, archive: Path, name: str, *changes: str) -> str:
    options = [word for change in changes for word in ("--change", change)]
    engine.docker("import", *options, archive, name)
    return name
