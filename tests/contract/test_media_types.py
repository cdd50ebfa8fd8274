"""Over each of our backends: ociserver.testing.contract.media_types."""

from __future__ import annotations

from ociserver.testing.contract.media_types import MediaTypes


class TestMediaTypes(MediaTypes):
    """Each fixture is in `conftest`."""
