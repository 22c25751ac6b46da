"""Calls of the program by a fork (`warm`): what they show is what an interpreter of its own shows."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

import warm
from conftest import BASE, Cli, Write

REGISTRY = '[containers.1]\nname = "one"\nimage = "alpine"\nargs = [{ param = "tag" }]\n'
# Its factory tells what it finds around it, on both streams, and ends as it is told to.
AROUND = """
import os, sys
mask = os.umask(0)
here = [os.getcwd(), sys.path, sys.argv, sorted(os.environ.items()), mask, os.getpgid(0)]
streams = [(s.encoding, s.errors, s.line_buffering, s.isatty(), s.seekable()) for s in (sys.stdout, sys.stderr)]
print(*here, *streams, os.read(0, 9), sorted(os.listdir("/proc/self/fd"))[:3])
print(sys.flags, sys.warnoptions, sys.getrecursionlimit(), file=sys.stderr)
sys.stderr.flush()
os.kill(os.getpid(), int(os.environ["GIT_END"]))
"""

forked = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system: all calls are of the other kind")


def both(cli: Cli, *args: str, **variables: str) -> list[tuple[int, bytes, bytes]]:
    """The ends of a call by a fork and of one by an interpreter of its own."""
    process = cli.start(*args, **variables)
    out, err = process.communicate(timeout=60)
    ended = warm.Warm(BASE)
    try:
        return [
            ended.call(args, cli.folder, cli.environment(variables), timeout=60),
            (process.returncode, out.encode(), err.encode()),
        ]
    finally:
        ended.close()


@forked
@pytest.mark.parametrize("end", [0, signal.SIGKILL])
def test_a_fork_finds_the_same_around_it(cli: Cli, write: Write, end: int) -> None:
    write("around.py", AROUND)
    write("run-kfp.toml", '[containers.1]\nname = "one"\nfactory = "around:nothing"\n')

    fork, own = both(cli, "-r", "1", "--compile-only", GIT_END=str(int(end)))

    assert fork == own
    assert fork[0] == (-end or 2)
    assert str(cli.folder).encode() in fork[2]


@forked
@pytest.mark.parametrize(
    "args", ["list", "list --json", "-r 1 --compile-only -o -", "-r 7 --compile-only", "--unheard"]
)
def test_a_fork_says_the_same(cli: Cli, write: Write, args: str) -> None:
    write("run-kfp.toml", REGISTRY)

    fork, own = both(cli, *args.split())

    assert fork == own


@forked
def test_what_a_library_may_read_while_it_is_loaded_gets_an_interpreter_of_its_own(tmp_path: Path) -> None:
    for name, value in (("_KFP_RUNTIME", "true"), ("PYTHONHASHSEED", "1"), ("LANG", "C")):
        assert warm.call(["list"], tmp_path, {**BASE, name: value}, BASE, timeout=60) is None
    without = {name: value for name, value in BASE.items() if name != "PYTHONWARNINGS"}
    assert warm.call(["list"], tmp_path, without, BASE, timeout=60) is None


@forked
def test_a_call_beside_another_one_gets_an_interpreter_of_its_own(tmp_path: Path) -> None:
    with warm.free:
        assert warm.call(["list"], tmp_path, BASE, BASE, timeout=60) is None
    assert warm.call(["list"], tmp_path, BASE, BASE, timeout=60) is not None
