"""The bucket that a store gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ociserver.store.objects.settings import ObjectSettings
from ociserver.store.transaction import Metadata

if TYPE_CHECKING:
    from ociserver.store.objects.blobs import BlobObjects

__all__ = ["ObjectStorage"]


class ObjectStorage(ObjectSettings):
    """A bucket for the large contents of a store: `Store(objects=ObjectStorage(url="s3://BUCKET/PREFIX"))`."""

    def blobs(self, database: Metadata) -> BlobObjects:
        """The contents of a store with this metadata.

        Raises:
            ImportError: the extra `objects` is not installed.
            ValueError: the URL or an option is not valid.
        """
        from ociserver.store.objects.blobs import BlobObjects  # the extra may not be installed

        return BlobObjects(database, self)
