"""Methods that the endpoint does not support, and unknown methods."""

from __future__ import annotations

from collections.abc import Iterator

from tests.hostile.application import BLOB_DIGEST
from tests.hostile.attempt import Attempt, below, raw

METHODS = ("POST", "OPTIONS", "TRACE", "PROPFIND", "get", "GET%20", "BREW", "X" * 1000)

TARGETS = {
    "blob": below(f"blobs/{BLOB_DIGEST}"),
    "manifest": below("manifests/latest"),
    "tags": below("tags/list"),
    "catalog": "/v2/_catalog",
}


def attempts() -> Iterator[Attempt]:
    for method in METHODS:
        shown = method if len(method) < 20 else f"{len(method):,} characters"
        for name, target in TARGETS.items():
            yield Attempt(f"method: {shown}; {name}", (raw(method, target),))
