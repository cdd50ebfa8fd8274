"""The errors that a registry answers, in a form that can be passed on."""

from __future__ import annotations

import json
import re
from typing import Any, Final, NoReturn

from ociserver.client.headers import next_page, retry_after
from ociserver.client.limits import MAX_ERROR_SIZE
from ociserver.client.requests import UnreachableError
from ociserver.client.transport import Answer
from ociserver.errors import CODES, HTTPError, OCIError, RegistryError

__all__ = ["error_of", "next_page", "wrong_content"]

MAX_MESSAGE: Final = 1_000
"""Characters of a registry's message that are passed on, and logged."""

MAX_DETAIL_DEPTH: Final = 16
"""Nesting of error details that are passed on. Serialising deeper ones may exceed the stack."""

_CODE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)

_BY_STATUS: Final = {401: "UNAUTHORIZED", 403: "DENIED", 416: "RANGE_INVALID", 429: "TOOMANYREQUESTS"}


async def error_of(answer: Answer, unknown: str) -> RegistryError:
    """The error that an answer is.

    Args:
        answer: of any status but the one that was wanted. Its body is read.
        unknown: the code of a 404 that has none, such as the answer to a HEAD.
    """
    status = answer.status
    entry = await _entry(answer)
    pause = retry_after(answer)
    headers = {} if pause is None else {"Retry-After": pause[0]}
    if entry is not None:
        code: str = entry["code"]
        known = code in CODES
        # A code that the table knows has the table's status, except where its sender chose another on purpose.
        own = status >= 400 and (not known or status in (413, 429) or status >= 500)
        return OCIError(
            code,
            _message(entry.get("message")),
            detail=_detail(entry.get("detail")),
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


def wrong_content(wanted: str, found: str) -> OCIError:
    """The registry gave other bytes than were asked for: its fault, and not the client's."""
    return OCIError(
        "DIGEST_INVALID",
        "the registry's content is not what its digest says",
        detail={"digest": wanted, "content": found},
        status=502,
    )


async def _entry(answer: Answer) -> dict[str, Any] | None:
    """The first error of the body, if it is one of the spec's. Content-Type is not looked at: many get it wrong."""
    try:
        body = await answer.read(MAX_ERROR_SIZE)
        is_object = body is not None and body.lstrip()[:1] == b"{"
        document: Any = json.loads(body or b"", parse_constant=_refuse) if is_object else None
    except (UnreachableError, ValueError, RecursionError):
        return None
    errors = document.get("errors") if isinstance(document, dict) else None
    entry = errors[0] if isinstance(errors, list) and errors else None
    if not isinstance(entry, dict) or not isinstance(entry.get("code"), str) or not _CODE.fullmatch(entry["code"]):
        return None
    # UNKNOWN is what a server says that has no code.
    return None if entry["code"] == "UNKNOWN" and answer.status == 404 else entry


def _message(message: Any) -> str:
    """A registry's message, shortened, and without characters that would break a line of the log."""
    if not isinstance(message, str):
        return ""
    shown = "".join(character if character.isprintable() else " " for character in message[:MAX_MESSAGE])
    return shown.strip()


def _detail(detail: Any) -> Any:
    """A registry's details; None if they are nested too deeply."""
    level = [detail]
    for _ in range(MAX_DETAIL_DEPTH):
        level = [
            inner
            for value in level
            if isinstance(value, (dict, list))
            for inner in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return detail
    return None


def _refuse(constant: str) -> NoReturn:
    # Python reads and writes NaN and Infinity, which are not JSON (RFC 8259).
    raise ValueError(constant)
