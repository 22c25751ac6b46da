"""Threads that hold nobody up: neither Ctrl-C nor the end of the program waits for what they wait for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def in_background(call: Callable[[], T]) -> Future[T]:
    """Call in a thread of its own; return what will hold the result, or the error.

    The thread is a daemon. Those of an executor are joined when the program ends, so that a server that does not
    answer would keep it.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised again by who waits
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future
