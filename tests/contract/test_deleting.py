"""Over each of our backends: ociserver.testing.contract.deleting."""

from __future__ import annotations

from ociserver import Backend
from ociserver.testing.contract.deleting import Deleting
from tests.contract.contents import REPOSITORY, push_blob
from tests.contract.errors import refused


class TestDeleting(Deleting):
    """Each fixture is in `conftest`."""

    async def test_the_message_says_that_it_was_the_tag(self, backend: Backend) -> None:
        await push_blob(backend, b"anything")
        with refused("MANIFEST_UNKNOWN") as caught:
            await backend.delete_tag(REPOSITORY, "unknown")
        assert "manifest unknown to registry: tag does not exist" in str(caught.value)
