"""Over each of our backends: ociserver.testing.contract.listing."""

from __future__ import annotations

from ociserver.testing.contract.listing import Listing


class TestListing(Listing):
    """Each fixture is in `conftest`."""
