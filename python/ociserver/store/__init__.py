"""A durable registry in one folder: metadata in a database, large contents in files."""

from ociserver.store.backend import Store
from ociserver.store.errors import StoreError

__all__ = ["Store", "StoreError"]
