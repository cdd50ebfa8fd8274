"""Errors of the protocol: one tree, one table, one writer.

* RegistryError
  x OCIError        a code of the spec: BLOB_UNKNOWN, DENIED, ...
    + ParseError    a request that could not be parsed; `err` says why
  x HTTPError       a status without a code, as a server elsewhere answered it

What a client sees of an error is decided by its whole chain of causes (`raise ... from ...`, and the
members of an ExceptionGroup, depth first): the first code, its status from the table, and the text of
the chain joined with colons. That is how Go's `ociregistry.MarshalError` works, and what makes an
error survive several registries behind one another without stuttering.
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
"""Code -> (status, default message): the spec's table of error codes, and Docker's RANGE_INVALID."""


class RegistryError(Exception):
    """Anything that this package raises on purpose."""


class OCIError(RegistryError):
    """An error with a code of the distribution spec.

    Args:
        code: one of `CODES`, or a code of your own.
        message: for people; the code's default message if left out.
        detail: any JSON value, passed through to the client.
        status: HTTP status that beats the table's (413 with SIZE_INVALID, 507 with UNKNOWN).
        headers: response headers that belong to the error, such as `Retry-After`.
        is_logged: the code that raises it logs its cause once, so that the handler does not log it for each request.

    `str()` is `<code in words>: <message>`. Two are equal for `same_code` if their codes are.
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
        super().__init__(status, message)
        self.status = status
        self.message = message
        self.headers: Mapping[str, str] = headers or {}

    def __str__(self) -> str:
        status = _status_text(self.status)
        return f"{status}: {self.message}" if self.message else status


class UnreachableError(HTTPError):
    """A registry elsewhere could not be reached, or stopped in the middle: 502, or 504 where it was too slow."""


PAGE_NOT_FOUND: Final = HTTPError(404, "page not found")
BADLY_FORMED_DIGEST: Final = OCIError("DIGEST_INVALID", "badly formed digest")
METHOD_NOT_ALLOWED: Final = HTTPError(405, "method not allowed")
BAD_REQUEST: Final = HTTPError(400, "bad request")
INVALID_REPOSITORY_NAME: Final = OCIError("NAME_INVALID")
UNKNOWN_URL_PATH: Final = OCIError("NAME_UNKNOWN", "unknown URL path")


class ParseError(OCIError):
    """A request that is not one of the distribution API (Go: `ociserver.ParseError`).

    `err` is the error that it wraps: one of `PAGE_NOT_FOUND`, `BADLY_FORMED_DIGEST`,
    `METHOD_NOT_ALLOWED`, `BAD_REQUEST`, `INVALID_REPOSITORY_NAME`, `UNKNOWN_URL_PATH`; compare with
    `is`. `allow` lists the methods that the endpoint has, for a `405`.
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
        """`{"errors":[{...}]}`; message and detail are left out where there are none."""
        entry: dict[str, Any] = {"code": self.code}
        if self.message:
            entry["message"] = self.message
        if self.detail is not None:
            entry["detail"] = self.detail
        return json.dumps({"errors": [entry]}, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def marshal_error(error: BaseException) -> WireError:
    """Turn any exception into what a client sees (Go: `ociregistry.MarshalError`).

    The code and detail are those of the first `OCIError` in the chain, else UNKNOWN. The status is
    that error's own, else the table's, else that of the first `HTTPError` in the chain, else 500. The
    message is the chain's text without a leading status and a leading code that it would repeat.
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
    """The text of an exception and of its causes, joined with `: `; members of a group with `; `."""
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
    # An error without a message is its prefix alone: then nothing is left to say.
    return "" if text == prefix else text.removeprefix(f"{prefix}: ")


def _restore(cls: type[OCIError], args: tuple[Any, ...], state: dict[str, Any]) -> OCIError:
    # Keyword-only arguments would be lost by BaseException's own pickling (worker processes pickle errors).
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error
