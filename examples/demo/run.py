"""The main job on this machine: compile, check, plan, and a rehearsal of four small steps to its end.

    python examples/demo/run.py [FOLDER]      with a Python that has run-kfp; `python3 dev.py demo` installs it first

The settings are made up and the keys are random: nothing leaves this machine. All that it makes is in FOLDER
(build/demo of the checkout), which is emptied first.
"""

import os
import secrets
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parents[1] / "build" / "demo"

JOB = ("-r", "1", "-r", "2", "-r", "3", "-r", "4", "-t", "dataset_v22")
CALLS = (
    (*JOB, "--compile-only"),
    ("check", *JOB, "--offline"),
    (*JOB, "--dry-run"),
    (*JOB, "--registry", "steps/run-kfp.toml", "--local", "--engine", "process"),
)

# Settings and keys of the caller's own, which have no part in it.
OWN = ("GCP_", "GCS_", "GIT_LOGIN", "GOOGLE_", "NUM_GPU", "RUN_KFP_", "WANDB_", "WHYLABS_")

SETTINGS = """\
GCP_PROJECT=demo-project
GCP_REGION=us-east1
GCS_BUCKET_NAME=demo-bucket
GCS_SERVICE_ACCOUNT=runner@demo-project.iam.gserviceaccount.com
WHYLABS_DEFAULT_ORG_ID=org-demo
WHYLABS_DEFAULT_DATASET_ID=model-1
"""


def prepare(folder: Path) -> None:
    """Fill `folder`, which must not exist, with the steps, the settings and one random value for each secret."""
    shutil.copytree(HERE, folder / "steps", ignore=shutil.ignore_patterns("run.py", "__pycache__"))
    (folder / ".env").write_text(SETTINGS, encoding="utf-8")
    (folder / "secrets").mkdir(mode=0o700)
    for name, prefix in {"wandb.txt": "", "whylabs.txt": "", "git.env": "GIT_LOGIN=https://demo-user:"}.items():
        (folder / "secrets" / name).write_text(f"{prefix}{secrets.token_hex(20)}\n", encoding="utf-8")


def environment() -> dict[str, str]:
    """The caller's environment without settings of their own; `run-kfp` and `python` are those of this Python."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OWN)}
    return {**kept, "PATH": os.pathsep.join([sysconfig.get_path("scripts"), kept.get("PATH", os.defpath)])}


def main(folder: Path = FOLDER) -> int:
    """Gives 0, or the exit code of the first call that did not succeed."""
    shutil.rmtree(folder, ignore_errors=True)
    prepare(folder)
    env = environment()
    print(f"in {os.path.relpath(folder)}, with made-up settings and random keys; nothing is submitted", flush=True)
    for call in CALLS:
        print(f"\n$ {shlex.join(['run-kfp', *call])}", flush=True)
        code = subprocess.run([sys.executable, "-m", "run_kfp", *call], cwd=folder, env=env, check=False).returncode
        if code:
            return code
    (report,) = folder.glob(".run-kfp/runs/*/report.html")
    print(f"\nopen in a browser: {os.path.relpath(report)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:2])))
