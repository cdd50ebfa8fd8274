"""The Location of answers. The options decide, then the backend, then the paths of this API."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from ociserver._core import upload_path
from ociserver.handler.responses import text

if TYPE_CHECKING:
    from ociserver.handler.call import Call
    from ociserver.interface import Descriptor

__all__ = ["of_descriptor", "of_pushed", "of_upload"]


async def of_pushed(call: Call, descriptor: Descriptor, *, is_manifest: bool) -> tuple[bytes, bytes]:
    """The Location of a pushed content: the first URL of the option, or the path to pull the content."""
    urls = await of_descriptor(call, descriptor, is_manifest=is_manifest)
    if urls:
        return (b"location", text(urls[0]))
    endpoint = "manifests" if is_manifest else "blobs"
    path = f"/v2/{call.request.repository}/{endpoint}/{descriptor.digest}"
    return (b"location", call.path(path).encode())


async def of_descriptor(call: Call, descriptor: Descriptor, *, is_manifest: bool) -> list[str]:
    """The URLs of `Options.locations_for_descriptor`; empty without the option."""
    option = call.site.options.locations_for_descriptor
    if option is None:
        return []
    urls = option(is_manifest, descriptor)
    return list(await urls if inspect.isawaitable(urls) else urls)


async def of_upload(call: Call, upload_id: str) -> bytes:
    """The Location of an upload: the URL of the option, that of the backend with `redirect_pushes`, or a path."""
    option = call.site.options.location_for_upload_id
    if option is not None:
        url = option(upload_id)
        if inspect.isawaitable(url):
            url = await url
        if url:
            return text(url)
    assert call.request.repository
    if call.site.options.redirect_pushes:
        location = await call.site.backend.locate_upload(call.request.repository, upload_id)
        if location is not None:
            return text(location.url)
    return call.path(upload_path(call.request.repository, upload_id)).encode()
