"""The package index of tomorrow: a newer, broken version of every package that a lock names.

Whoever clones the repository in a year gets the package index of that day. A lock that is resolved again, and not only
installed, takes what is newest there: pip before 24.1 does so where a dependency asks for an extra (pypa/pip#9644).
"""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "dermaid"
LOCKS = (*ROOT.glob("requirements*.lock"), *EXAMPLE.glob("requirements*.lock"))
BROKEN = "99999.0"


def index_of_tomorrow(folder: Path) -> dict[str, str]:
    """Fill `folder`; return the variables by which pip and uv take it for a part of the index."""
    for name in locked(*LOCKS):
        broken_wheel(folder, name)
    own = os.environ.get("PIP_FIND_LINKS", "")
    return {"PIP_FIND_LINKS": f"{own} {folder}".strip(), "UV_FIND_LINKS": str(folder)}


def locked(*locks: Path) -> dict[str, set[str]]:
    """The versions that locks name, by package; some have several, for other systems or Pythons."""
    versions: dict[str, set[str]] = {}
    for lock in locks:
        for name, version in re.findall(r"(?m)^([a-z0-9._-]+)==([^ \\]+)", lock.read_text(encoding="utf-8")):
            versions.setdefault(name, set()).add(version)
    return versions


def others(installed: dict[str, str], lock: Path) -> dict[str, str]:
    """What is installed in another version than `lock` names."""
    names = locked(lock)
    return {name: version for name, version in installed.items() if version not in names.get(name, {version})}


def broken_wheel(folder: Path, name: str) -> None:
    """A wheel of another day: newer than any other, and of no use."""
    module = name.replace("-", "_").replace(".", "_")
    info = f"{module}-{BROKEN}.dist-info"
    files = {
        f"{module}_broken.py": f"raise ImportError('{name} {BROKEN} is broken')\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {BROKEN}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{module}-{BROKEN}-py3-none-any.whl", "w") as wheel:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            wheel.writestr(path, text)
