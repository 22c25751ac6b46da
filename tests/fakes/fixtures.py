"""Fixtures of the fakes; register them with `pytest_plugins = ["fakes.fixtures"]`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.certs import Authority, service_account_key, write_key
from fakes.google_hosts import GoogleHosts
from fakes.vertex import FakeVertex

PROJECT = "test-project"
EMAIL = f"submitter@{PROJECT}.iam.gserviceaccount.com"


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    """One authority, which the gRPC library of this process trusts too.

    gRPC reads the variable once, when the process opens its first TLS channel; ask for this fixture
    (or one that stands on it) in every test that opens one.
    """
    made = Authority(tmp_path_factory.mktemp("authority"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", str(made.ca_file))
        yield made


@pytest.fixture(scope="session")
def account_key() -> dict[str, str]:
    """A service account key, which `vertex` trusts."""
    return service_account_key(project=PROJECT, email=EMAIL)


@pytest.fixture(scope="session")
def account_key_file(account_key: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The key as a file for GOOGLE_APPLICATION_CREDENTIALS."""
    return write_key(account_key, tmp_path_factory.mktemp("key") / "service-account.json")


@pytest.fixture
def vertex(authority: Authority, account_key: dict[str, str]) -> Iterator[FakeVertex]:
    """A fresh Vertex AI without jobs."""
    with FakeVertex(authority) as running:
        running.trust(account_key)
        yield running


@pytest.fixture
def google_hosts(vertex: FakeVertex) -> Iterator[GoogleHosts]:
    """A proxy through which `vertex` and a token endpoint answer under Google's own names."""
    with GoogleHosts(vertex) as running:
        yield running
