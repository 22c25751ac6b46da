"""Fixtures of a real Docker Engine; register them with `pytest_plugins = ["engine.fixtures"]`.

A test that uses them carries the mark `engine`. Where no Engine can be had, it fails if the
variable CI is set, so that no green run hides it, and is skipped with the reason elsewhere.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

from engine import Engine, EngineUnavailableError, images, running_engine

T = TypeVar("T")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "engine: needs a real Docker Engine (dockerd and root)")


@pytest.fixture(scope="session")
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """The session's own Docker Engine; the end of its log is printed if a test failed."""
    starting = running_engine()
    running = _obtained(starting.__enter__)
    try:
        yield running
        if request.session.testsfailed:
            # Past the capture, which shows only what belongs to one test.
            print(f"\n--- end of dockerd's log ---\n{running.log_tail()}", file=sys.__stderr__)
    finally:
        starting.__exit__(None, None, None)


@pytest.fixture(scope="session")
def busybox(engine: Engine) -> str:
    """The name of an image with busybox."""
    return _obtained(lambda: images.busybox(engine))


@pytest.fixture(scope="session")
def python_slim(engine: Engine) -> str:
    """The name of an image with this Python: `python:3.X-slim`."""
    return _obtained(lambda: images.python_slim(engine))


@pytest.fixture(scope="session")
def gcloud_base(engine: Engine) -> str:
    """The name of a Debian image with gcloud and Python."""
    try:
        return images.gcloud_base(engine)
    except EngineUnavailableError as error:
        # Never skipped: what is said of gcloud would not be shown.
        pytest.fail(str(error), pytrace=False)


def _obtained(get: Callable[[], T]) -> T:
    try:
        return get()
    except EngineUnavailableError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error), pytrace=False)
        pytest.skip(f"NOT SHOWN, no Docker Engine: {error}")
