"""The application that the cases run against. Each case makes a new, empty registry in it.

`POST /case` with the settings of a case as JSON makes the registry. All other requests go to that registry. So one
server process serves all cases.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ociserver import Backend, Descriptor, Handler, Options, compose
from ociserver.types import Message, Receive, Scope, Send
from tests.contract.folders import fresh_folder
from tests.contract.registries import BACKENDS, Settings

_REGISTRIES = {registry.name: registry for registry in BACKENDS}

_OPTIONS = {
    "DisableReferrersAPI": "disable_referrers_api",
    "DisableReferrersFiltering": "disable_referrers_filtering",
    "DisableSinglePostUpload": "disable_single_post_upload",
    "IgnorePagination": "ignore_pagination",
    "MaxListPageSize": "max_list_page_size",
    "OmitDigestFromTagGetResponse": "omit_digest_from_tag_get_response",
    "OmitLinkHeaderFromResponses": "omit_link_header_from_responses",
}


class Application:
    """Serves the registry of the last `POST /case`."""

    def __init__(self) -> None:
        self._handler: Handler | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["path"] == "/case":
            await self._use(json.loads(await _body(receive)))
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})
        elif self._handler:
            await self._handler(scope, receive, send)
        else:
            await send({"type": "http.response.start", "status": 503, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body"})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _use(self, settings: Mapping[str, Any]) -> None:
        await self._close()
        self._folder = fresh_folder()
        self._handler = Handler(_backend(settings, Path(self._folder.name)), _options(settings["server_options"]))

    async def _close(self) -> None:
        if self._handler:
            await self._handler.aclose()
        if self._folder:
            self._folder.cleanup()


async def _body(receive: Receive) -> bytes:
    content = b""
    while True:
        message: Message = await receive()
        content += bytes(message.get("body", b""))
        if not message.get("more_body", False):
            return content


def _backend(settings: Mapping[str, Any], folder: Path) -> Backend:
    wanted = dict(settings["registry_options"])
    registry = _REGISTRIES[settings["registry"]].make(
        folder,
        Settings(
            immutable_tags=wanted.pop("ImmutableTags", False),
            lax_child_references=wanted.pop("LaxChildReferences", False),
        ),
    )
    assert not wanted, f"unknown registry options: {wanted}"
    return _wrapped(settings["backend"] or {"kind": "mem"}, registry)


def _wrapped(wrapper: Mapping[str, Any], registry: Backend) -> Backend:
    kind = wrapper["kind"]
    if kind == "mem":
        return registry
    inner = _wrapped(wrapper["registry"], registry)
    if kind == "readOnly":
        return compose.ReadOnly(inner)
    if kind == "immutable":
        return compose.Immutable(inner)
    if kind == "select":
        include, exclude = re.compile(wrapper.get("include", "")), wrapper.get("exclude")
        return compose.Select(
            inner, lambda name: bool(include.search(name)) and not (exclude and re.search(exclude, name))
        )
    raise ValueError(f"unknown kind of wrapper: {kind}")


def _options(wanted: Mapping[str, Any]) -> Options:
    fields: dict[str, Any] = {}
    for name, value in wanted.items():
        if name == "LocationsForDescriptor":
            fields["locations_for_descriptor"] = _locations_below(value)
        else:
            fields[_OPTIONS[name]] = value
    return Options(**fields)


def _locations_below(prefix: str) -> Any:
    def locations(is_manifest: bool, descriptor: Descriptor) -> list[str]:  # noqa: FBT001  the option's own signature
        return [prefix + descriptor.digest]

    return locations


application = Application()
