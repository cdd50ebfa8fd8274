"""A registry behind a handler with one of everything in it."""

from __future__ import annotations

from typing import Any, Final

from ociserver import Handler, Memory, Options
from tests.contract.contents import (
    IMAGE,
    REPOSITORY,
    descriptor,
    digest_of,
    image,
    push_blob,
    push_image,
    push_manifest,
)

TEXT: Final = b"0123456789"
BLOB: Final = f"/v2/{REPOSITORY}/blobs/{digest_of(TEXT)}"
UPLOADS: Final = f"/v2/{REPOSITORY}/blobs/uploads/"
TAGS: Final = f"/v2/{REPOSITORY}/tags/list"

CONTENT: Final = image(b"{}", annotations={"a": "b"})
DIGEST: Final = digest_of(CONTENT)
MANIFEST: Final = f"/v2/{REPOSITORY}/manifests/{DIGEST}"
TAG: Final = f"/v2/{REPOSITORY}/manifests/latest"
REFERRERS: Final = f"/v2/{REPOSITORY}/referrers/{DIGEST}"


async def filled(backend: Any = None) -> Any:
    """Put `TEXT` as a blob into a registry, `CONTENT` as `latest`, and one referrer of it."""
    backend = backend or Memory()
    await push_blob(backend, TEXT)
    await push_blob(backend, b"{}")
    await push_manifest(backend, CONTENT, IMAGE, "latest")
    await push_image(backend, subject=descriptor(IMAGE, CONTENT))
    return backend


async def handler(**options: Any) -> Handler:
    """A handler over such a registry."""
    return Handler(await filled(), Options(**options))
