"""The program: `run-kfp`, and `python -m run_kfp`."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the program and exit."""
    _prepare()
    try:
        from run_kfp.cli import main as run
    except KeyboardInterrupt:  # while the libraries are loaded: nothing has begun, and there is nothing to tell
        sys.exit(130)
    run()


def _prepare() -> None:
    """Leave nothing to chance that who started the program left: where it imports from, and what its files are.

    `python -m`, and an empty part of PYTHONPATH, let Python import from the current folder, which is somebody's data.
    The first file that is opened after a standard stream was closed would get that stream's number, and the output of
    a program that is started then would end in it.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    try:
        here = os.path.realpath(os.getcwd())  # noqa: PTH109 - pathlib is not loaded yet, and would be from there
    except OSError:
        here = ""
    if here != os.path.dirname(os.path.dirname(os.path.realpath(__file__))):  # noqa: PTH120 - likewise
        sys.path[:] = [folder for folder in sys.path if os.path.realpath(folder) != here]
    if os.name == "posix":
        import resource

        if resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY:
            # Python 3.11 leaves a compiled module cut at the limit, which no later call can load (cpython#126606).
            sys.dont_write_bytecode = True


if __name__ == "__main__":
    main()
