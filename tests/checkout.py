"""Check every compiled pipeline file of a checkout: how many have an error, and which.

    .venv/bin/python tests/checkout.py FOLDER       # a checkout of kubeflow/pipelines, for instance

Each file is read as `run-kfp check -f FILE --offline` reads it, with settings, with any value for the parameters
that need one, and without a registry. In kubeflow/pipelines 7 of 214 files have an error, rightly: two of
its `invalid` folder, and those that name an image or an accelerator that Vertex AI cannot have.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from run_kfp.cli import execute

SETTINGS = (
    *("--project", "a-project-1", "--region", "us-central1", "--bucket", "a-bucket-1"),
    *("--service-account", "runner@a-project-1.iam.gserviceaccount.com"),
)


def compiled_files(folder: Path) -> Iterator[Path]:
    """Yield the YAML and JSON files whose first level is that of a pipeline spec."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".yaml", ".yml", ".json") and path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            if any(line.startswith(("pipelineInfo:", '  "pipelineInfo":')) for line in text.splitlines()):
                yield path


def checked(path: Path) -> dict[str, Any]:
    """Return what `run-kfp check --json` says of a file, called in an empty folder."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()):
        execute(["check", "-f", str(path), "--offline", "--json", *SETTINGS])
    found: dict[str, Any] = json.loads(out.getvalue())
    return found


def main(folder: Path) -> int:
    """Print each file with an error and the errors; return 1 where a file took more than five seconds."""
    files = list(compiled_files(folder))
    wrong = slow = 0
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        for path in files:
            begun = time.monotonic()
            findings = checked(path).get("findings", [])
            slow += time.monotonic() - begun > 5
            # A value that the caller has not passed is no mistake of the file.
            errors = [each for each in findings if each["severity"] == "error" and each["code"] != "RK-PARAM-MISSING"]
            wrong += bool(errors)
            if errors:
                print(path.relative_to(folder))
            for each in errors:
                print(f"    {each['code']} {each['place'].removeprefix(f'{path}: ')}: {each['message']}")
    print(f"{wrong} of {len(files)} files have an error; {slow} took more than 5 s")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
