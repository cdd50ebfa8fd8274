"""Counts what a store holds, for metrics."""

from __future__ import annotations

from ociserver.meter import Figures
from ociserver.store.transaction import Transaction

__all__ = ["figures"]


def figures() -> Transaction[Figures]:
    """Count. It reads an index of each table, and of the blobs every row: 0.3 seconds for a million blobs."""
    # PostgreSQL's sum is not an integer without the cast.
    rows = yield "SELECT COUNT(*), CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM copies", ()
    blobs, blob_bytes = rows[0]
    rows = yield "SELECT (SELECT COUNT(*) FROM manifests), (SELECT COUNT(*) FROM uploads)", ()
    manifests, uploads = rows[0]
    return Figures(blobs, blob_bytes, manifests, uploads)
