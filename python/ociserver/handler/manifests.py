"""Manifests and tags: GET, HEAD, PUT and DELETE (spec: end-3, end-7, end-9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ociserver._core import manifest_media_type
from ociserver.handler import locations
from ociserver.handler.responses import Answer, content_headers, empty, not_modified

if TYPE_CHECKING:
    from ociserver.handler.call import Call
    from ociserver.interface import Descriptor

__all__ = ["MAX_MANIFEST_SIZE", "delete", "get", "head", "put"]

MAX_MANIFEST_SIZE: Final = 4 * 1024 * 1024
"""The most bytes of a manifest (spec: pushing manifests: at least 4 megabytes, 413 above the limit)."""


async def get(call: Call) -> Answer:
    """end-3, GET /v2/<name>/manifests/<reference>: 200, 304, 404."""
    request, backend = call.request, call.site.backend
    repository, tag = request.repository, request.tag
    assert repository
    if tag is not None:
        manifest = await backend.get_tag(repository, tag)
    else:
        assert request.digest
        manifest = await backend.get_manifest(repository, request.digest)
    content = manifest.content
    names_digest = tag is None or not call.site.options.omit_digest_from_tag_get_response
    if call.if_none_match is not None and call.not_modified(manifest.descriptor.digest):
        return not_modified(manifest.descriptor, names_digest=names_digest)
    return 200, content_headers(manifest.descriptor, len(content), names_digest=names_digest), content


async def head(call: Call) -> Answer:
    """end-3, HEAD /v2/<name>/manifests/<reference>: 200, 304, 404."""
    request, backend = call.request, call.site.backend
    assert request.repository
    descriptor: Descriptor
    if request.tag is not None:
        descriptor = await backend.resolve_tag(request.repository, request.tag)
    else:
        assert request.digest
        descriptor = await backend.resolve_manifest(request.repository, request.digest)
    if call.if_none_match is not None and call.not_modified(descriptor.digest):
        return not_modified(descriptor)
    return 200, content_headers(descriptor, descriptor.size), b""


async def put(call: Call) -> Answer:
    """end-7, PUT /v2/<name>/manifests/<reference>: 201, 400, 404, 413."""
    request, options = call.request, call.site.options
    assert request.repository
    content = await call.body.read(MAX_MANIFEST_SIZE)
    # Checked here, for every backend: two types of one digest would be two different images.
    media_type = manifest_media_type(content, call.headers.get(b"content-type", b"").decode("latin-1"))
    tags = (request.tag, *(tag for tag in request.tags if tag != request.tag)) if request.tag else request.tags
    pushed = await call.site.backend.push_manifest(
        request.repository, content, media_type, digest=request.digest, tags=tags
    )
    call.pushed = pushed.descriptor.digest
    headers = [
        await locations.of_pushed(call, pushed.descriptor, is_manifest=True),
        (b"docker-content-digest", pushed.descriptor.digest.encode()),
    ]
    if pushed.subject and not options.disable_referrers_api:
        # This header tells clients that they need no referrers tag. So it is sent only with the referrers API.
        headers.append((b"oci-subject", pushed.subject.encode()))
    accepted = [tag for tag in pushed.tags if tag in request.tags]
    if accepted:
        headers.append((b"oci-tag", ", ".join(accepted).encode()))
    return empty(201, headers)


async def delete(call: Call) -> Answer:
    """end-9, DELETE /v2/<name>/manifests/<reference>: 202, 404/400/405."""
    request, backend = call.request, call.site.backend
    assert request.repository
    if request.tag is not None:
        await backend.delete_tag(request.repository, request.tag)
    else:
        assert request.digest
        await backend.delete_manifest(request.repository, request.digest)
    return empty(202, [])
