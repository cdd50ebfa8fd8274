"""Turns errors into answers. All errors of the handler end here."""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING, Final

from ociserver.checked_results import wrong_error
from ociserver.errors import HTTPError, OCIError, WireError, marshal_error
from ociserver.handler.body import ClientDisconnectedError
from ociserver.handler.responses import Answer, text
from ociserver.options import Response

if TYPE_CHECKING:
    from ociserver.handler.call import Call

__all__ = ["fail", "response_of", "whole"]

_log = logging.getLogger("ociserver")

_INTERNAL_ERROR: Final = "internal server error"


async def fail(call: Call, error: Exception) -> None:
    """Answer with an error. An error of the server is logged.

    Raises:
        Exception: the error itself, if an answer has begun and the client is still connected. The server then closes
            the connection, so that the client sees a truncated body, and not one that looks complete.
    """
    request_id = call.request_id
    wire = marshal_error(error)
    if call.site.meter:
        call.site.meter.request_failed(wire.code)
    if wire.status >= 500 and not (isinstance(error, OCIError) and error.is_logged):
        ours = _is_ours(error)
        if not ours:
            # The text of this error was not written for clients. The log has it.
            wire.message = f"{_INTERNAL_ERROR} (request {request_id})"
        is_expected = ours and wrong_error(error) is None
        text = "; ".join([str(error) if ours else f"{type(error).__name__}: {error}", *_notes(error)])
        traceback = None if is_expected else error
        _log.error("%s: %s %r: %s", request_id, call.scope["method"], call.scope["path"], text, exc_info=traceback)
    else:
        _log.debug("%s: %s", request_id, error)
    if call.status:
        if isinstance(error, ClientDisconnectedError):
            return
        raise error
    try:
        status, headers, content = whole(await _response(call, error, wire))
    except Exception as cause:
        text = "; ".join(_notes(error)) or wrong_error(error) or str(cause)
        _log.error("%s: the error cannot be sent: %s", request_id, text, exc_info=error)
        status, headers, content = whole(_internal_error(request_id))
    if call.has_body and call.body.abandoned and call.scope["http_version"].startswith("1"):
        headers.append((b"connection", b"close"))
    await call.start(status, headers)
    await call.write(b"" if call.scope["method"] == "HEAD" else content, more=False)


async def _response(call: Call, error: Exception, wire: WireError) -> Response:
    if call.site.options.write_error:
        try:
            response = call.site.options.write_error(call.scope, error)
            return await response if inspect.isawaitable(response) else response
        except Exception:
            _log.exception("%s: write_error failed", call.request_id)
            return _internal_error(call.request_id)
    return response_of(wire)


def _notes(error: Exception) -> list[str]:
    return getattr(error, "__notes__", [])


def _internal_error(request_id: str) -> Response:
    return response_of(WireError(500, "UNKNOWN", f"{_INTERNAL_ERROR} (request {request_id})", None, {}))


def response_of(wire: WireError) -> Response:
    """The response of the spec for an error."""
    return Response(wire.status, {"Content-Type": "application/json", **wire.headers}, wire.content)


def whole(response: Response) -> Answer:
    """A response as an answer, with its Content-Length."""
    headers = [(name.lower().encode(), text(value)) for name, value in response.headers.items()]
    headers.append((b"content-length", b"%d" % len(response.content)))
    return response.status, headers, response.content


def _is_ours(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, (OCIError, HTTPError)):
            return True
        error = error.__cause__
    return False
