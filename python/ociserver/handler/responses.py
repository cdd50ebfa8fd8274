"""Answers and header fields that several endpoints share. All are pure functions of their arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ociserver import _core

if TYPE_CHECKING:
    from ociserver.interface import Descriptor

__all__ = [
    "Answer",
    "Headers",
    "content_headers",
    "document",
    "empty",
    "etag",
    "not_modified",
    "text",
]

Headers = list[tuple[bytes, bytes]]

Answer = tuple[int, Headers, bytes]
"""A whole answer: status, headers, body. The headers include Content-Length, because HEAD and 304 differ in it."""


def empty(status: int, headers: Headers) -> Answer:
    """An answer without a body."""
    headers.append((b"content-length", b"0"))
    return status, headers, b""


def document(headers: Headers, content: bytes) -> Answer:
    """An answer with a JSON document. The headers name its type."""
    headers.append((b"content-length", b"%d" % len(content)))
    return 200, headers, content


def text(value: str) -> bytes:
    """A header value in latin-1, for HTTP/1. Media types and URLs come from clients and callbacks."""
    return value.encode("latin-1", "replace")


def etag(digest: str) -> bytes:
    """The ETag of a content: its digest is a strong validator (RFC 9110, 8.8.3)."""
    return b'"%s"' % digest.encode()


def content_headers(descriptor: Descriptor, length: int, *, names_digest: bool = True) -> Headers:
    """The headers that describe a content, for GET and HEAD."""
    return _core.content_headers(descriptor.media_type, descriptor.digest, length, names_digest=names_digest)


def not_modified(descriptor: Descriptor, *, names_digest: bool = True) -> Answer:
    """The answer to a client that already has the content."""
    return 304, _core.not_modified_headers(descriptor.digest, names_digest=names_digest), b""
