"""An OCI registry as a library: an ASGI handler over any backend.

app = ociserver.Handler(ociserver.Memory())
"""

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
