"""How much longer a local run takes whose log is searched for secrets, beside the same run without any.

    python3 dev.py bench
    PYTHONPATH=tests .venv/bin/python benchmarks/bench_masking.py --runs 5 --megabytes 100 --json figures.json

A step prints a log of 100 MB, and `run-kfp -r 1 --local --engine process` reads, masks, keeps and prints it: whole
processes, A B A B … (A takes 20 secrets, B none), the CPU time of the program and its step. A line in a hundred
has a secret; some have colours, some are JSON. After each run the log is searched: A must have none of the values, and
B all of them.

    log-secrets   20 secrets: tokens, logins, passwords with every character, a key of 28 lines; at most 1.5 × as long

Exit code 0 with the target met or missed; 1 when a run fails or a mask is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import string
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROGRAM = Path(sys.executable).parent / "run-kfp"
TARGET = 1.5
LETTERS = string.ascii_letters + string.digits


class Failed(Exception):
    """A run failed, or its log does not hold what it must."""


def secrets(chance: random.Random) -> list[str]:
    """Make 20 values of the kinds that people have."""

    def token(size: int) -> str:
        return "".join(chance.choices(LETTERS, k=size))

    return [
        *(token(40) for _ in range(10)),
        *(f"https://somebody:{token(30)}@github.com/team/repository.git" for _ in range(5)),
        *(f"pa55 w'ord\"/ü&<%{token(12)}" for _ in range(4)),
        json.dumps({"private_key": "\n".join(token(64) for _ in range(28)), "private_key_id": token(40)}),
    ]


def write_log(path: Path, megabytes: float, values: list[str], chance: random.Random) -> None:
    """Write lines as programs do: plain, with colours, JSON; one in a hundred with a value."""
    forms = (
        "2026-11-25 12:00:{0:02} INFO step {1} loss {2:.5f} lr 0.001 /gcs/bucket/epoch-{0}/part-{1}.parquet {3}\n",
        "\x1b[32m2026-11-25 12:00:{0:02}\x1b[0m \x1b[1mtrainer\x1b[0m done with {1} of 40000, {2:.3f} s each {3}\n",
        '{{"time": "12:00:{0:02}", "level": "INFO", "message": "read \\"part-{1}\\"", "seconds": {2:.6f}{3}}}\n',
        "sha256:{2} pulled layer {1}: {0} of 60 [=====>     ] {3}\n",
    )
    block = []
    for number in range(100_000):
        value = chance.choice(values) if number % 100 == 0 else ""
        form = forms[chance.choices(range(len(forms)), (6, 2, 2, 1))[0]]
        block.append(form.format(number % 60, number, chance.random(), value))
    text = "".join(block).encode()
    with path.open("wb") as file:
        for _ in range(int(megabytes * 1e6 / len(text)) + 1):
            file.write(text)


def write_registry(folder: Path, log: Path, values: list[str], *, masked: bool) -> None:
    """Write a registry of one container, which gets every secret as an argument, or none."""
    args = ", ".join(f'{{ secret = "key_{number}" }}' for number in range(len(values))) if masked else ""
    lines = [
        '[containers.1]\nname = "one"\nimage = "nobody/one"',
        f"args = [{args}]",
        f'process = {{ entrypoint = ["/bin/sh", "-c", "cat {log}"] }}',
        *(f'[secrets.key_{number}]\nenv = "KEY_{number}"' for number in range(len(values)) if masked),
    ]
    folder.mkdir()
    (folder / "run-kfp.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def run(folder: Path, environment: dict[str, str], values: list[str], *, masked: bool) -> float:
    """Run once; return the seconds of CPU that the program and its step took."""
    before = os.times()
    with Path(os.devnull).open("w") as nowhere:
        done = subprocess.run(
            [PROGRAM, "-r", "1", "--local", "--engine", "process"],
            cwd=folder,
            env=environment,
            stdout=nowhere,
            stderr=nowhere,
            check=False,
        )
    after = os.times()
    if done.returncode != 0:
        raise Failed(f"exit code {done.returncode} in {folder}")
    (log,) = (folder / ".run-kfp").rglob("one.log")
    text = log.read_bytes()
    for value in values[:-1]:
        if (value.encode() in text) == masked:
            raise Failed("a value is not masked" if masked else "a value is missing from the log")
    log.unlink()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main() -> int:
    """Measure, print, and give the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="pairs (default 3)")
    parser.add_argument("--megabytes", type=float, default=100, metavar="N", help="of the log (default 100)")
    parser.add_argument("--only", metavar="ROW", action="append", help="log-secrets; another row is not here")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    options = parser.parse_args()
    if options.only and "log-secrets" not in options.only:
        print("bench_masking: none of these rows is here", file=sys.stderr)
        return 0
    chance = random.Random(20261125)  # the same log each time
    values = secrets(chance)
    times: dict[bool, list[float]] = {True: [], False: []}
    with tempfile.TemporaryDirectory(prefix="run-kfp-bench-") as name:
        top = Path(name)
        write_log(top / "log", options.megabytes, values, chance)
        variables = {"PATH": os.environ["PATH"], "HOME": str(top), "LANG": "C.UTF-8"}
        variables |= {f"KEY_{number}": value for number, value in enumerate(values)}
        for masked in times:
            write_registry(top / str(masked), top / "log", values, masked=masked)
        started = time.monotonic()
        try:
            for _ in range(options.runs):
                for masked, taken in times.items():
                    taken.append(run(top / str(masked), variables, values, masked=masked))
        except Failed as error:
            print(f"bench_masking: {error}", file=sys.stderr)
            return 1
        print(f"{2 * options.runs} runs in {time.monotonic() - started:.0f} s", file=sys.stderr)
    ours, theirs = (statistics.median(times[masked]) for masked in (True, False))
    pairwise = statistics.median(one / other for one, other in zip(times[True], times[False], strict=True))
    met = "met" if pairwise <= TARGET else "missed"
    print("| row | 20 secrets | none | ratio | pairwise | target | |\n|---|---|---|---|---|---|---|")
    print(
        f"| `log-secrets` | {ours:.1f} s | {theirs:.1f} s | {ours / theirs:.2f} | {pairwise:.2f} | ≤ {TARGET} | {met} |"
    )
    if options.json:
        data = {"masked_s": times[True], "plain_s": times[False], "pairwise": pairwise, "target": TARGET}
        options.json.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
