"""Turns a registry's error answers into exceptions that can be passed on to our own clients."""

from __future__ import annotations

import json
import re
from typing import Any, Final, NoReturn

from ociserver.client.headers import retry_after
from ociserver.client.limits import MAX_ERROR_SIZE
from ociserver.client.requests import UnreachableError
from ociserver.client.transport import Answer
from ociserver.errors import CODES, HTTPError, OCIError, RegistryError

__all__ = ["error_of", "wrong_content"]

MAX_MESSAGE: Final = 1_000
"""Maximum number of characters of a registry's message that the client passes on and logs."""

MAX_DETAIL_DEPTH: Final = 16
"""Maximum nesting of error details that the client passes on. Serialising deeper ones can overflow the stack."""

_CODE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)

_BY_STATUS: Final = {401: "UNAUTHORIZED", 403: "DENIED", 416: "RANGE_INVALID", 429: "TOOMANYREQUESTS"}


async def error_of(answer: Answer, unknown: str) -> RegistryError:
    """The exception for an answer.

    Args:
        answer: with another status than the one that the caller expected. The function reads its body.
        unknown: the code for a 404 whose body has none, such as the answer to a HEAD.
    """
    status = answer.status
    entry = await _entry(answer)
    pause = retry_after(answer)
    headers = {} if pause is None else {"Retry-After": pause[0]}
    if entry is not None:
        code: str = entry["code"]
        known = code in CODES
        # A code of the spec has the status of our table, except where the registry chose another on purpose.
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
        return OCIError("SIZE_INVALID", "the registry refuses the content because it is too large", status=413)
    if status in _BY_STATUS:
        return OCIError(_BY_STATUS[status], headers=headers)
    if status == 405:
        return OCIError("UNSUPPORTED", status=405)
    if status < 400:
        return HTTPError(502, f"the registry answered with the unexpected status {status}")
    return HTTPError(status, "the registry's answer contains no error code", headers=headers)


def wrong_content(wanted: str, found: str) -> OCIError:
    """The error for bytes that do not match the digest. Status 502: the registry is at fault."""
    return OCIError(
        "DIGEST_INVALID",
        "the registry's content does not match its digest",
        detail={"digest": wanted, "content": found},
        status=502,
    )


async def _entry(answer: Answer) -> dict[str, Any] | None:
    """The first error of the body, if it has the spec's form. Ignores Content-Type: many registries get it wrong."""
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
    # Servers send UNKNOWN if they have no better code.
    return None if entry["code"] == "UNKNOWN" and answer.status == 404 else entry


def _message(message: Any) -> str:
    """A registry's message, shortened, and without characters that would break a line of the log."""
    if not isinstance(message, str):
        return ""
    shown = "".join(character if character.isprintable() else " " for character in message[:MAX_MESSAGE])
    return shown.strip()


def _detail(detail: Any) -> Any:
    """A registry's details, or None if their nesting is too deep."""
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
    # Python's parser accepts NaN and Infinity, which are not JSON (RFC 8259).
    raise ValueError(constant)
