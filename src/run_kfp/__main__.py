"""`python -m run_kfp` is `run-kfp`."""

from run_kfp.cli import main

main()
