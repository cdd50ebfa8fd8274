"""Over each of our backends: ociserver.testing.contract.referrers."""

from __future__ import annotations

from ociserver.testing.contract.referrers import Referrers


class TestReferrers(Referrers):
    """Each fixture is in `conftest`."""
