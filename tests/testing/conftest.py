"""Fixtures of the tests of `ociserver.testing`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ociserver.testing import Registry
from tests.testing.clients import Clients


@pytest.fixture
def client(oci_registry: Registry) -> Iterator[httpx.Client]:
    """A client in Python."""
    with httpx.Client(base_url=oci_registry.url, trust_env=False, timeout=10) as client:
        yield client


@pytest.fixture
def clients(oci_registry: Registry, tmp_path: Path) -> Clients:
    """Programs that are clients."""
    return Clients(oci_registry, tmp_path)
