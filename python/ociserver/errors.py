"""Errors of the protocol: the classes, the table of codes, and the function that makes an answer of an error.

Each is a `RegistryError`. An `OCIError` has a code of the spec, such as BLOB_UNKNOWN or DENIED. A `ParseError` is an
OCIError about a request that could not be parsed; `err` says why. An `HTTPError` has a status without a code, for
example the answer of another server.

What a client sees of an error depends on its whole chain of causes (`raise ... from ...`, and the members of an
ExceptionGroup, depth first): the first code, the status of this code, and the texts of the chain joined with colons.
Go's `ociregistry.MarshalError` does the same. So an error can pass several registries, one behind another, and its text
does not repeat anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final

__all__ = [
    "BADLY_FORMED_DIGEST",
    "BAD_REQUEST",
    "CODES",
    "CONTENT_UNKNOWN",
    "INVALID_REPOSITORY_NAME",
    "METHOD_NOT_ALLOWED",
    "PAGE_NOT_FOUND",
    "UNKNOWN_URL_PATH",
    "HTTPError",
    "OCIError",
    "ParseError",
    "RegistryError",
    "UnreachableError",
    "WireError",
    "error_text",
    "marshal_error",
]

CODES: Final[Mapping[str, tuple[int, str]]] = {
    "BLOB_UNKNOWN": (404, "blob unknown to registry"),
    "BLOB_UPLOAD_INVALID": (416, "blob upload invalid"),
    "BLOB_UPLOAD_UNKNOWN": (404, "blob upload unknown to registry"),
    "DIGEST_INVALID": (400, "provided digest did not match uploaded content"),
    "MANIFEST_BLOB_UNKNOWN": (404, "manifest references a manifest or blob unknown to registry"),
    "MANIFEST_INVALID": (400, "manifest invalid"),
    "MANIFEST_UNKNOWN": (404, "manifest unknown to registry"),
    "NAME_INVALID": (400, "invalid repository name"),
    "NAME_UNKNOWN": (404, "repository name not known to registry"),
    "SIZE_INVALID": (400, "provided length did not match content length"),
    "UNAUTHORIZED": (401, "authentication required"),
    "DENIED": (403, "requested access to the resource is denied"),
    "UNSUPPORTED": (400, "the operation is unsupported"),
    "TOOMANYREQUESTS": (429, "too many requests"),
    "RANGE_INVALID": (416, "invalid content range"),
}
"""Status and default message by code: the spec's table of error codes, and Docker's RANGE_INVALID."""


def _check_status(status: object) -> None:
    if status is not None and not isinstance(status, int):
        raise TypeError(f"the status of an error is an int such as 404, and not {status!r}")


class RegistryError(Exception):
    """The base of all errors that this package raises on purpose."""


class OCIError(RegistryError):
    """An error with a code of the distribution spec.

    Args:
        code: one of `CODES`, or your own code, which needs a status.
        message: for people; by default the message of the code.
        detail: any JSON value, which is sent to the client.
        status: HTTP status instead of that in the table (413 with SIZE_INVALID, 507 with UNKNOWN).
        headers: response headers that belong to the error, such as `Retry-After`.
        is_logged: the code that raises the error logs its cause once. The handler then does not log it for each
            request.

    `str()` is `<code in words>: <message>`.
    """

    def __init__(
        self,
        code: str,
        message: str = "",
        *,
        detail: Any = None,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        is_logged: bool = False,
    ) -> None:
        given: object = code
        if not isinstance(given, str):
            raise TypeError(f"the code of an OCIError is a str such as 'BLOB_UNKNOWN', and not {code!r}")
        _check_status(status)
        super().__init__(code, message)
        self.code = code
        self.message = message or CODES.get(code, (0, ""))[1]
        self.detail = detail
        self.status = status
        self.headers: Mapping[str, str] = headers or {}
        self.is_logged = is_logged

    def __str__(self) -> str:
        words = _words(self.code)
        return f"{words}: {self.message}" if self.message else words

    def __reduce__(self) -> Any:
        return (_restore, (type(self), self.args, self.__dict__))


class HTTPError(RegistryError):
    """A status without a code of the spec. `str()` is `<status> <reason>[: message]`."""

    def __init__(self, status: int, message: str = "", *, headers: Mapping[str, str] | None = None) -> None:
        _check_status(status)
        super().__init__(status, message)
        self.status = status
        self.message = message
        self.headers: Mapping[str, str] = headers or {}

    def __str__(self) -> str:
        status = _status_text(self.status)
        return f"{status}: {self.message}" if self.message else status


class UnreachableError(HTTPError):
    """A remote registry could not be reached, or its answer broke off (502), or it was too slow (504)."""


CONTENT_UNKNOWN: Final = frozenset({"BLOB_UNKNOWN", "MANIFEST_UNKNOWN", "NAME_UNKNOWN"})
"""Codes that say that a content, or the repository that should have it, does not exist."""

PAGE_NOT_FOUND: Final = HTTPError(404, "page not found")
BADLY_FORMED_DIGEST: Final = OCIError("DIGEST_INVALID", "badly formed digest")
METHOD_NOT_ALLOWED: Final = HTTPError(405, "method not allowed")
BAD_REQUEST: Final = HTTPError(400, "bad request")
INVALID_REPOSITORY_NAME: Final = OCIError("NAME_INVALID")
UNKNOWN_URL_PATH: Final = OCIError("NAME_UNKNOWN", "unknown URL path")


class ParseError(OCIError):
    """A request that does not belong to the distribution API (Go: `ociserver.ParseError`).

    `err` is the wrapped error: `PAGE_NOT_FOUND`, `BADLY_FORMED_DIGEST`, `METHOD_NOT_ALLOWED`, `BAD_REQUEST`,
    `INVALID_REPOSITORY_NAME` or `UNKNOWN_URL_PATH`. Compare it with `is`. For a 405, `allow` lists the methods of the
    endpoint.
    """

    def __init__(self, err: OCIError | HTTPError, message: str = "", *, allow: tuple[str, ...] = ()) -> None:
        code = err.code if isinstance(err, OCIError) else "UNKNOWN"
        status = err.status if isinstance(err, HTTPError) else None
        headers = {"Allow": ", ".join(allow)} if allow else None
        super().__init__(code, message or err.message, status=status, headers=headers)
        self.err = err
        self.allow = allow


class WireError:
    """An error as a client sees it: `status`, `code`, `message`, `detail`, `headers`; `content` is the JSON body."""

    __slots__ = ("code", "detail", "headers", "message", "status")

    def __init__(self, status: int, code: str, message: str, detail: Any, headers: Mapping[str, str]) -> None:
        self.status = status
        self.code = code
        self.message = message
        self.detail = detail
        self.headers = headers

    @property
    def content(self) -> bytes:
        """`{"errors":[{...}]}`. An empty message and an absent detail are left out."""
        entry: dict[str, Any] = {"code": self.code}
        if self.message:
            entry["message"] = self.message
        if self.detail is not None:
            entry["detail"] = self.detail
        return json.dumps({"errors": [entry]}, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def marshal_error(error: BaseException) -> WireError:
    """Turn any exception into what a client sees (Go: `ociregistry.MarshalError`).

    The code and the detail are those of the first `OCIError` in the chain; without one, the code is UNKNOWN. The status
    is that of this error, else that of its code, else that of the first `HTTPError` in the chain, else 500. The message
    is the text of the chain, without a status and a code at its beginning, which the answer has already.
    """
    chain = list(_chain(error))
    coded = next((e for e in chain if isinstance(e, OCIError) and e.code), None)
    http = next((e for e in chain if isinstance(e, HTTPError)), None)
    code = coded.code if coded else "UNKNOWN"
    if coded and coded.status:
        status = coded.status
    elif code in CODES:
        status = CODES[code][0]
    else:
        status = http.status if http else 500
    message = error_text(error)
    message = _without_prefix(message, _status_text(status))
    message = _without_prefix(message, _words(code))
    headers = (coded.headers if coded else None) or (http.headers if http else {})
    return WireError(status, code, message, coded.detail if coded else None, headers)


def error_text(error: BaseException) -> str:
    """The texts of an exception and of its causes, joined with `: `. Those of the members of a group, with `; `."""
    if isinstance(error, BaseExceptionGroup):
        text = "; ".join(error_text(member) for member in error.exceptions)
    else:
        text = str(error)
    cause = error_text(error.__cause__) if error.__cause__ else ""
    return ": ".join(part for part in (text, cause) if part)


def _chain(error: BaseException) -> Iterator[BaseException]:
    yield error
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            yield from _chain(member)
    if error.__cause__:
        yield from _chain(error.__cause__)


def _words(code: str) -> str:
    return code.lower().replace("_", " ")


def _status_text(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _without_prefix(text: str, prefix: str) -> str:
    # The text of an error without a message is only the prefix: then the message is empty.
    return "" if text == prefix else text.removeprefix(f"{prefix}: ")


def _restore(cls: type[OCIError], args: tuple[Any, ...], state: dict[str, Any]) -> OCIError:
    # BaseException's own pickling would lose keyword-only arguments. Worker processes pickle errors.
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error
