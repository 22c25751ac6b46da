"""The program: `run-kfp`, and `python -m run_kfp`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the program and exit."""
    try:
        from run_kfp.cli import main as run
    except KeyboardInterrupt:  # while the libraries are loaded: nothing has begun, and there is nothing to tell
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
