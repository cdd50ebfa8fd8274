"""What a registry elsewhere may cost us, at most: it is trusted with names, and not with memory or time."""

from __future__ import annotations

from typing import Final

MAX_MANIFEST_SIZE: Final = 4 * 1024 * 1024
"""Bytes of a manifest that is read: what registries accept at least, and what our handler accepts at most."""

MAX_BLOB_SIZE: Final = 1 << 50
"""Largest size in bytes of a blob, an upload or a chunk that an answer may name: 1 PiB. Sums of such sizes fit into 64
bits, as databases and headers need."""

MAX_LIST_SIZE: Final = 16 * 1024 * 1024
"""Bytes of one answer to a list. Some registries ignore `n`: 100,000 names of 128 characters fit."""

MAX_REFERRERS: Final = 100_000
MAX_REFERRERS_SIZE: Final = 64 * 1024 * 1024
"""Entries of a list of referrers, and bytes of its pages, that are held: backends sort them, and registries need not.
Where the registry's pages are in order one is held at a time."""

MAX_ERROR_SIZE: Final = 8 * 1024
"""Bytes that are read of the body of an error; what is longer is a page for people."""

MAX_TOKEN_SIZE: Final = 64 * 1024
"""Bytes of a token server's answer: tokens of several KiB exist, and headers have to carry them."""

MAX_HEADER_SIZE: Final = 64 * 1024
"""Bytes of a header field: OCI-Tag lists every tag of a push, and redirects carry signatures."""

MAX_SCOPE_SIZE: Final = 4096
"""Characters of the service and the scope that a registry names for its token server."""

MAX_TOKEN_LIFETIME_S: Final = 7 * 24 * 3600.0
"""Longest lifetime of a token, in seconds, whatever its server says."""

MAX_REDIRECTS: Final = 5
"""Hops from a request to its answer. Registries need one, their storage at times a second."""

MAX_TAGS: Final = 10
"""Tags that one request sets: as many as the spec wants a registry to take at least."""

MAX_CONNECTIONS: Final = 256
"""Connections to a registry at once; what goes beyond waits. A slow reader of ours holds one meanwhile."""

PAGE_SIZE: Final = 1000
"""Names that are asked for at a time; AWS ECR refuses more."""

CHUNK_SIZE: Final = 4 * 1024 * 1024
"""Bytes of a chunk where nobody wishes another: held until it is acknowledged, so that it can be sent again."""

MAX_CHUNK_SIZE: Final = 64 * 1024 * 1024
"""Bytes of a chunk that a registry may insist on (OCI-Chunk-Min-Length)."""

SINGLE_POST_SIZE: Final = 64 * 1024
"""Bytes of a blob that is pushed in one request. Held, as a registry that does not know this throws it away; for
larger ones the request that is saved is nothing beside the transfer."""

KEEP_ALIVE_S: Final = 4.0
"""Seconds for which an idle connection is kept: less than servers do (uvicorn: 5), as a request that meets the end
of its connection is lost, and not every one may be repeated."""

CONNECT_TIMEOUT_S: Final = 15.0
"""Seconds until a connection stands, TLS included."""

IDLE_TIMEOUT_S: Final = 60.0
"""Seconds in which a registry takes and sends nothing. No request as a whole has a deadline."""

TOKEN_TIMEOUT_S: Final = 10.0
"""Seconds until a token server begins its answer. Many requests wait for one token, and a cache that looks whether its
upstream is back must not wait for a fetch that began when it was not."""

MAX_RESUMES: Final = 4
"""How many times a blob that breaks off is continued where it stopped, while it is being read."""
