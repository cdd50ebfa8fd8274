"""Header fields of an answer, checked. A malformed required field is the registry's fault, and gives a 502.

A malformed optional field counts as missing.
"""

from __future__ import annotations

import email.utils
import re
import time
from typing import Final, Protocol

from multidict import CIMultiDictProxy

from ociserver._core import is_digest
from ociserver.client.limits import MAX_BLOB_SIZE, MAX_MANIFEST_SIZE
from ociserver.errors import HTTPError
from ociserver.media_types import MAX_MEDIA_TYPE, is_media_type

__all__ = [
    "content_length",
    "content_range",
    "digest_header",
    "is_printable",
    "manifest_length",
    "media_type",
    "min_chunk",
    "next_page",
    "required_length",
    "retry_after",
    "size_of_range",
    "subject_header",
    "upload_size",
]

DEFAULT_TYPE: Final = "application/octet-stream"

_SIZE: Final = re.compile(r"\d{1,19}", re.ASCII)
_CONTENT_RANGE: Final = re.compile(r"bytes[ ]+(?:(\d{1,19})-(\d{1,19})|\*)/(\d{1,19}|\*)", re.ASCII)
_UPLOAD_RANGE: Final = re.compile(r"(?:bytes=)?0-(\d{1,19})", re.ASCII)
_RETRY_SECONDS: Final = re.compile(r"\d{1,10}", re.ASCII)
_LINK: Final = re.compile(
    r'[ \t,]*<([^>]*)>((?:[ \t]*;[ \t]*[^\s=;,]+(?:[ \t]*=[ \t]*(?:"(?:[^"\\]|\\.)*"|[^\s;,"]+))?)*)'
)
_NEXT: Final = re.compile(r';[ \t]*rel[ \t]*=[ \t]*(?:"(?:[^"]* )?next(?: [^"]*)?"|next(?=[ \t;,]|$))', re.IGNORECASE)

MAX_RETRY_AFTER: Final = 64
"""Maximum length of a Retry-After header that the client passes on. The longest form of a date has 33 characters."""

Headers = CIMultiDictProxy[str]


class Answered(Protocol):
    """The part of an answer that these functions need."""

    @property
    def headers(self) -> Headers:
        """Field names are not case-sensitive."""

    @property
    def length(self) -> int | None:
        """Content-Length, already checked."""


def is_printable(text: str) -> bool:
    """Whether a text is printable ASCII, so that it can be part of a header and of the log."""
    return text.isascii() and text.isprintable()


def media_type(answer: Answered) -> str:
    """The Content-Type; application/octet-stream if it is missing.

    Raises:
        HTTPError: 502 if it is not a valid media type.
    """
    found = answer.headers.get("Content-Type") or DEFAULT_TYPE
    if not is_media_type(found):
        raise HTTPError(
            502, f"the registry's Content-Type is not {MAX_MEDIA_TYPE} or fewer characters of printable ASCII"
        )
    return found


def content_length(headers: Headers) -> int | None:
    """The size of the body in bytes; None if the header is missing.

    Raises:
        HTTPError: 502 if it is not a number, or larger than any content can be.
    """
    text = headers.get("Content-Length")
    return None if text is None else _size(text, "Content-Length")


def required_length(answer: Answered) -> int:
    """The size of the body in bytes. Raises HTTPError (502) if the header is missing."""
    if answer.length is None:
        raise HTTPError(502, "the registry's answer does not give the size of the content")
    return answer.length


def manifest_length(answer: Answered) -> int | None:
    """The size of a manifest in bytes; None if the header is missing. Raises HTTPError (502) if it is too large."""
    if answer.length is not None and answer.length > MAX_MANIFEST_SIZE:
        raise HTTPError(502, f"the manifest is larger than {MAX_MANIFEST_SIZE} bytes")
    return answer.length


def digest_header(answer: Answered) -> str | None:
    """Docker-Content-Digest; None if it is missing.

    Raises:
        HTTPError: 502 if it is not a digest.
    """
    digest = answer.headers.get("Docker-Content-Digest")
    if digest is not None and not is_digest(digest):
        raise HTTPError(502, "the registry's Docker-Content-Digest is not a digest")
    return digest


def subject_header(answer: Answered) -> str | None:
    """OCI-Subject: the digest of the pushed manifest's subject. None if the registry has not processed it."""
    subject = answer.headers.get("OCI-Subject")
    return subject if subject is not None and is_digest(subject) else None


def content_range(answer: Answered) -> tuple[int, int, int | None] | None:
    """(start, stop, size) of a 206; size is None if it is unknown. None if the header is missing or malformed."""
    match = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    if match is None or match[1] is None:
        return None
    start, stop = int(match[1]), int(match[2]) + 1
    size = None if match[3] == "*" else int(match[3])
    whole = MAX_BLOB_SIZE if size is None else size
    return (start, stop, size) if start < stop <= whole <= MAX_BLOB_SIZE else None


def size_of_range(answer: Answered) -> int | None:
    """The size of the whole blob, from a 416 or a 206; None if the header does not give it."""
    match = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    size = None if match is None or match[3] == "*" else int(match[3])
    return None if size is None or size > MAX_BLOB_SIZE else size


def upload_size(answer: Answered) -> int | None:
    """The current size of an upload in bytes; None if the answer does not give it.

    Registries send `Range: 0-0` both for no byte and for one byte. `Upload-Offset` (draft of Resumable Uploads for
    HTTP), which our server sends too, is exact. Without it, `0-0` counts as no byte.
    """
    offset = answer.headers.get("Upload-Offset", "")
    if _SIZE.fullmatch(offset):
        return _size(offset, "Upload-Offset")
    match = _UPLOAD_RANGE.fullmatch(answer.headers.get("Range", ""))
    if match is None:
        return None
    last = _size(match[1], "Range")
    return last + 1 if last else 0


def min_chunk(answer: Answered) -> int:
    """OCI-Chunk-Min-Length: the smallest chunk that the registry recommends, in bytes; 0 if the header is missing."""
    text = answer.headers.get("OCI-Chunk-Min-Length", "")
    return _size(text, "OCI-Chunk-Min-Length") if _SIZE.fullmatch(text) else 0


def retry_after(answer: Answered) -> tuple[str, float] | None:
    """Retry-After as text and in seconds, from both of its forms (RFC 9110, 10.2.3); None if missing or malformed."""
    text = answer.headers.get("Retry-After", "")
    if _RETRY_SECONDS.fullmatch(text):
        return text, float(text)
    if not text or len(text) > MAX_RETRY_AFTER or not is_printable(text):
        return None
    try:
        return text, max(email.utils.parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
    except (ValueError, TypeError, OverflowError, IndexError, OSError):
        return None


def next_page(answer: Answered) -> str | None:
    """The target of the link to the next page, which may be relative (RFC 8288)."""
    for header in answer.headers.getall("Link", []):
        at = 0
        while match := _LINK.match(header, at):
            if _NEXT.search(match[2]):
                return match[1]
            at = match.end()
    return None


def _size(text: str, name: str) -> int:
    if not _SIZE.fullmatch(text) or int(text) > MAX_BLOB_SIZE:
        raise HTTPError(502, f"the registry's {name} is not a valid size")
    return int(text)
