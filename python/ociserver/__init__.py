"""An OCI registry as a library: an ASGI handler over any backend.

For example:

    app = ociserver.Handler(ociserver.Memory())
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

# On a system where nothing else can be imported, its message says so.
from ociserver import _unix  # noqa: F401

if TYPE_CHECKING:
    from ociserver import compose, errors
    from ociserver._core import ByteRange, __version__, build_profile
    from ociserver.annotations import Annotations
    from ociserver.context import RequestContext, request_context
    from ociserver.errors import HTTPError, OCIError, ParseError, RegistryError
    from ociserver.handler import Event, Handler
    from ociserver.interface import (
        UNKNOWN_SIZE,
        Backend,
        BlobReader,
        BlobWriter,
        Deleter,
        Descriptor,
        File,
        Lister,
        Manifest,
        PushedManifest,
        Reader,
        SpoolLimits,
        Url,
        Writer,
    )
    from ociserver.memory import Memory
    from ociserver.options import Options, Response
    from ociserver.proxies import TrustedProxies
    from ociserver.reference import Reference
    from ociserver.store import Store, StoreError

__all__ = [
    "UNKNOWN_SIZE",
    "Annotations",
    "Backend",
    "BlobReader",
    "BlobWriter",
    "ByteRange",
    "Deleter",
    "Descriptor",
    "Event",
    "File",
    "HTTPError",
    "Handler",
    "Lister",
    "Manifest",
    "Memory",
    "OCIError",
    "Options",
    "ParseError",
    "PushedManifest",
    "Reader",
    "Reference",
    "RegistryError",
    "RequestContext",
    "Response",
    "SpoolLimits",
    "Store",
    "StoreError",
    "TrustedProxies",
    "Url",
    "Writer",
    "__version__",
    "build_profile",
    "compose",
    "errors",
    "request_context",
]

_MODULES: Final = {
    "ociserver._core": (
        "ByteRange",
        "__version__",
        "build_profile",
    ),
    "ociserver.annotations": ("Annotations",),
    "ociserver.context": (
        "RequestContext",
        "request_context",
    ),
    "ociserver.errors": (
        "HTTPError",
        "OCIError",
        "ParseError",
        "RegistryError",
    ),
    "ociserver.handler": (
        "Event",
        "Handler",
    ),
    "ociserver.interface": (
        "UNKNOWN_SIZE",
        "Backend",
        "BlobReader",
        "BlobWriter",
        "Deleter",
        "Descriptor",
        "File",
        "Lister",
        "Manifest",
        "PushedManifest",
        "Reader",
        "SpoolLimits",
        "Url",
        "Writer",
    ),
    "ociserver.memory": ("Memory",),
    "ociserver.options": (
        "Options",
        "Response",
    ),
    "ociserver.proxies": ("TrustedProxies",),
    "ociserver.reference": ("Reference",),
    "ociserver.store": (
        "Store",
        "StoreError",
    ),
}
"""Where the names are defined. A module is imported when one of its names is used for the first time, so that a program
loads only what it uses: `ociserver health` runs every few seconds."""

_ORIGINS: Final = {name: module for module, names in _MODULES.items() for name in names}

if not TYPE_CHECKING:  # a type checker would accept every name

    def __getattr__(name: str) -> Any:
        if name in _ORIGINS:
            value = getattr(importlib.import_module(_ORIGINS[name]), name)
        elif name in __all__:
            value = importlib.import_module(f"{__name__}.{name}")
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
