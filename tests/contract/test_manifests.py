"""Over each of our backends: ociserver.testing.contract.manifests."""

from __future__ import annotations

from ociserver.testing.contract.manifests import Manifests


class TestManifests(Manifests):
    """Each fixture is in `conftest`."""
