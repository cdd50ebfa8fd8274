"""Limits on what a registry can cost the client. The client trusts a registry's names, but not its use of resources."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MAX_MANIFEST_SIZE: Final = 4 * 1024 * 1024
"""Bytes of a manifest that the client reads. Every registry accepts this size, and our handler accepts no more."""

MAX_BLOB_SIZE: Final = 1 << 50
"""Largest size in bytes of a blob, an upload or a chunk in an answer: 1 PiB. Sums of such sizes fit into 64 bits, as
databases and headers need."""

MAX_LIST_SIZE: Final = 16 * 1024 * 1024
"""Bytes of one page of a list. Some registries ignore `n`: 100,000 names of 128 characters fit."""

MAX_REFERRERS: Final = 100_000
MAX_REFERRERS_SIZE: Final = 64 * 1024 * 1024
"""Maximum number of entries, and of bytes of pages, of a list of referrers that the client sorts in memory. If the
registry's pages are in order, the client needs only one page at a time in memory."""

MAX_ERROR_SIZE: Final = 8 * 1024
"""Bytes that the client reads of an error's body. A longer body is a page for people."""

MAX_TOKEN_SIZE: Final = 64 * 1024
"""Bytes of a token server's answer. Tokens of several KiB exist, and a header must be able to contain them."""

MAX_HEADER_SIZE: Final = 64 * 1024
"""Bytes of a header field. OCI-Tag lists every tag of a push, and redirects contain signatures."""

MAX_SCOPE_SIZE: Final = 4096
"""Maximum length of the service and the scope that a registry sends for its token server."""

MAX_TOKEN_LIFETIME_S: Final = 7 * 24 * 3600.0
"""Longest time in seconds for which the client uses a token, even if its server allows more."""

MAX_REDIRECTS: Final = 5
"""Maximum number of redirects of a request. Registries need one, and their storage sometimes a second."""

MAX_TAGS: Final = 10
"""Tags that one request sets. The spec requires at least this number from a registry that supports the parameter."""

MAX_CONNECTIONS: Final = 256
"""Maximum number of connections to a registry. Further requests wait. A slow reader occupies one connection."""

PAGE_SIZE: Final = 1000
"""Names that the client requests at a time. AWS ECR refuses more."""

CHUNK_SIZE: Final = 4 * 1024 * 1024
"""Default size of a chunk in bytes. The client keeps a chunk until the registry acknowledges it, so that it can send
it again."""

MAX_CHUNK_SIZE: Final = 64 * 1024 * 1024
"""Largest minimum chunk size in bytes that the client accepts from a registry (OCI-Chunk-Min-Length)."""

SINGLE_POST_SIZE: Final = 64 * 1024
"""Largest blob in bytes that the client pushes in one request. The client keeps it in memory, because some registries
ignore the body of that request. For larger blobs, one request less saves little compared with the transfer."""

KEEP_ALIVE_S: Final = 4.0
"""Seconds for which the client keeps an idle connection. Servers keep it longer (uvicorn: 5 seconds). A request on a
connection that the server just closes is lost, and the client may not repeat every request."""

CONNECT_TIMEOUT_S: Final = 15.0
"""Seconds to establish a connection, including TLS."""

IDLE_TIMEOUT_S: Final = 60.0
"""Seconds without any progress of a request after which it fails. A whole request has no deadline."""

TOKEN_TIMEOUT_S: Final = 10.0
"""Seconds until a token server begins its answer. Many requests wait for one token. A cache that probes its upstream
must not wait for a token request that began while the upstream was down."""

MAX_RESUMES: Final = 4
"""How many times the client resumes a blob that breaks off while it reads it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits that a caller of `Client` can choose.

    Args:
        idle_timeout_s: seconds without any progress of a request after which it fails.
        max_referrers: entries of a list of referrers that the client sorts in memory.
        max_referrers_size: bytes of the pages of such a list.
    """

    idle_timeout_s: float = IDLE_TIMEOUT_S
    max_referrers: int = MAX_REFERRERS
    max_referrers_size: int = MAX_REFERRERS_SIZE


DEFAULT_LIMITS: Final = Limits()
