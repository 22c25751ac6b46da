"""Processes that are nobody's children here."""

from __future__ import annotations

import os
import select


def await_end(pid: int) -> None:
    """Return when the process is gone; fail after ten seconds."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], 10)[0], f"process {pid} still runs"
    finally:
        os.close(descriptor)
