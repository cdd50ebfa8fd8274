"""What an answer says: errors, digests, ranges, links."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from ociserver._core import is_digest
from ociserver.client.limits import MAX_ERROR_SIZE
from ociserver.client.requests import UnreachableError
from ociserver.client.transport import Answer
from ociserver.errors import CODES, HTTPError, OCIError, RegistryError

__all__ = ["content_range", "digest_header", "error_of", "next_page", "size_of_range", "upload_size", "wrong_content"]

_CONTENT_RANGE: Final = re.compile(r"bytes[ ]+(?:(\d{1,19})-(\d{1,19})|\*)/(\d{1,19}|\*)", re.ASCII)
_UPLOAD_RANGE: Final = re.compile(r"(?:bytes=)?0-(\d{1,19})", re.ASCII)
_LINK: Final = re.compile(
    r'[ \t,]*<([^>]*)>((?:[ \t]*;[ \t]*[^\s=;,]+(?:[ \t]*=[ \t]*(?:"(?:[^"\\]|\\.)*"|[^\s;,"]+))?)*)'
)
_NEXT: Final = re.compile(r';[ \t]*rel[ \t]*=[ \t]*(?:"(?:[^"]* )?next(?: [^"]*)?"|next(?=[ \t;,]|$))', re.IGNORECASE)

_BY_STATUS: Final = {401: "UNAUTHORIZED", 403: "DENIED", 416: "RANGE_INVALID", 429: "TOOMANYREQUESTS"}


async def error_of(answer: Answer, unknown: str) -> RegistryError:
    """The error that an answer is.

    Args:
        answer: of any status but the one that was wanted. Its body is read.
        unknown: the code of a 404 that has none, such as the answer to a HEAD.
    """
    status = answer.status
    entry = await _entry(answer)
    headers = {name: answer.headers[name] for name in ("Retry-After",) if name in answer.headers}
    if entry is not None:
        code: str = entry["code"]
        message = entry.get("message")
        known = code in CODES
        # A code that the table knows has the table's status, except where its sender chose another on purpose.
        own = status >= 400 and (not known or status in (413, 429) or status >= 500)
        return OCIError(
            code,
            message if isinstance(message, str) else "",
            detail=entry.get("detail"),
            status=status if own else None,
            headers=headers,
        )
    if status == 404:
        return OCIError(unknown)
    if status == 413:
        return OCIError("SIZE_INVALID", "the registry refuses it as too large", status=413)
    if status in _BY_STATUS:
        return OCIError(_BY_STATUS[status], headers=headers)
    if status == 405:
        return OCIError("UNSUPPORTED", status=405)
    if status < 400:
        return HTTPError(502, f"the registry answers {status}, which is not expected here")
    return HTTPError(status, "the registry says no more", headers=headers)


async def _entry(answer: Answer) -> dict[str, Any] | None:
    """The first error of the body, if it is one of the spec's. Content-Type is not looked at: many get it wrong."""
    try:
        body = await answer.read(MAX_ERROR_SIZE)
        document: Any = json.loads(body) if body and body.lstrip()[:1] == b"{" else None
    except (UnreachableError, ValueError, RecursionError):
        return None
    errors = document.get("errors") if isinstance(document, dict) else None
    entry = errors[0] if isinstance(errors, list) and errors else None
    if not isinstance(entry, dict) or not isinstance(entry.get("code"), str) or not entry["code"]:
        return None
    # UNKNOWN is what a server says that has no code.
    return None if entry["code"] == "UNKNOWN" and answer.status == 404 else entry


def wrong_content(wanted: str, found: str) -> OCIError:
    """The registry gave other bytes than were asked for: its fault, and not the client's."""
    return OCIError(
        "DIGEST_INVALID",
        "the registry's content is not what its digest says",
        detail={"digest": wanted, "content": found},
        status=502,
    )


def digest_header(answer: Answer) -> str | None:
    """Docker-Content-Digest, if it is there."""
    digest = answer.headers.get("Docker-Content-Digest")
    if digest is not None and not is_digest(digest):
        raise HTTPError(502, "the registry's Docker-Content-Digest is no digest")
    return digest


def content_range(answer: Answer) -> tuple[int, int, int | None] | None:
    """(start, stop, size) of a 206, size None where it is not said; None without a readable header."""
    match = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    if match is None or match[1] is None:
        return None
    return int(match[1]), int(match[2]) + 1, None if match[3] == "*" else int(match[3])


def size_of_range(answer: Answer) -> int | None:
    """The size of the whole that a 416 names."""
    match = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    return None if match is None or match[3] == "*" else int(match[3])


def upload_size(answer: Answer) -> int | None:
    """How far an upload is; None where it is not said.

    `Range: 0-0` is what registries say of no byte and of one. Upload-Offset (draft of Resumable Uploads for
    HTTP), which ours sends beside it, is exact; without it `0-0` is taken for none.
    """
    offset = answer.headers.get("Upload-Offset", "")
    if offset.isascii() and offset.isdigit() and len(offset) < 20:
        return int(offset)
    match = _UPLOAD_RANGE.fullmatch(answer.headers.get("Range", ""))
    if match is None:
        return None
    last = int(match[1])
    return last + 1 if last else 0


def next_page(answer: Answer) -> str | None:
    """The target of the link to the next page, perhaps relative (RFC 8288)."""
    for header in answer.headers.getall("Link", []):
        at = 0
        while match := _LINK.match(header, at):
            if _NEXT.search(match[2]):
                return match[1]
            at = match.end()
    return None
