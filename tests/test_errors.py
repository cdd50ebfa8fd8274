"""Errors: their text, the chain of causes, and what a client is told (behaviour.md 7, Go: `MarshalError`)."""

from __future__ import annotations

import json
import pickle
from http import HTTPStatus
from typing import Any, TypeVar

import pytest

from ociserver import HTTPError, OCIError, ParseError, RegistryError, errors
from ociserver.errors import CODES, error_text, marshal_error

E = TypeVar("E", bound=Exception)

# The spec's table of codes with Go's default messages, and Docker's RANGE_INVALID.
TABLE = [
    ("BLOB_UNKNOWN", 404, "blob unknown to registry"),
    ("BLOB_UPLOAD_INVALID", 416, "blob upload invalid"),
    ("BLOB_UPLOAD_UNKNOWN", 404, "blob upload unknown to registry"),
    ("DIGEST_INVALID", 400, "provided digest did not match uploaded content"),
    ("MANIFEST_BLOB_UNKNOWN", 404, "manifest references a manifest or blob unknown to registry"),
    ("MANIFEST_INVALID", 400, "manifest invalid"),
    ("MANIFEST_UNKNOWN", 404, "manifest unknown to registry"),
    ("NAME_INVALID", 400, "invalid repository name"),
    ("NAME_UNKNOWN", 404, "repository name not known to registry"),
    ("SIZE_INVALID", 400, "provided length did not match content length"),
    ("UNAUTHORIZED", 401, "authentication required"),
    ("DENIED", 403, "requested access to the resource is denied"),
    ("UNSUPPORTED", 400, "the operation is unsupported"),
    ("TOOMANYREQUESTS", 429, "too many requests"),
    ("RANGE_INVALID", 416, "invalid content range"),
]


def caused_by(error: E, cause: BaseException) -> E:
    error.__cause__ = cause
    return error


def wire(error: BaseException) -> tuple[int, str, str]:
    marshalled = marshal_error(error)
    return marshalled.status, marshalled.code, marshalled.message


def test_the_table_is_complete() -> None:
    assert {code: (status, message) for code, status, message in TABLE} == dict(CODES)


@pytest.mark.parametrize("code, status, message", TABLE)
def test_a_code_has_its_status_and_message(code: str, status: int, message: str) -> None:
    assert wire(OCIError(code)) == (status, code, message)
    assert str(OCIError(code)) == f"{code.lower().replace('_', ' ')}: {message}"


def test_x1_the_body() -> None:
    assert marshal_error(OCIError("DENIED", "no")).content == b'{"errors":[{"code":"DENIED","message":"no"}]}'
    detailed = marshal_error(OCIError("DENIED", "no", detail={"a": [1, "ü"]})).content
    assert json.loads(detailed) == {"errors": [{"code": "DENIED", "message": "no", "detail": {"a": [1, "ü"]}}]}
    # Left out when empty.
    assert marshal_error(OCIError("OWN_CODE")).content == b'{"errors":[{"code":"OWN_CODE"}]}'


@pytest.mark.parametrize("detail", [0, False, "", [], {}])
def test_x1_a_detail_that_is_falsy_is_one(detail: Any) -> None:
    assert json.loads(marshal_error(OCIError("DENIED", detail=detail)).content)["errors"][0]["detail"] == detail


def test_x1_text_that_is_no_unicode_is_sent_all_the_same() -> None:
    assert json.loads(marshal_error(OCIError("DENIED", "a\udc80b")).content)


@pytest.mark.parametrize(
    "error, code, detail",
    [
        (ValueError("plain"), "UNKNOWN", None),
        (OCIError(""), "UNKNOWN", None),
        (OCIError("DENIED", detail=1), "DENIED", 1),
        # The first code in the chain, and the detail of the same error.
        (caused_by(ValueError("context"), OCIError("DENIED", detail=1)), "DENIED", 1),
        (caused_by(OCIError("NAME_UNKNOWN"), OCIError("DENIED", detail=1)), "NAME_UNKNOWN", None),
        (caused_by(OCIError(""), OCIError("DENIED", detail=1)), "DENIED", 1),
        (caused_by(HTTPError(404), caused_by(ValueError(), OCIError("DENIED"))), "DENIED", None),
        # Depth first through the members of a group.
        (
            ExceptionGroup("g", [caused_by(ValueError(), OCIError("DENIED")), OCIError("NAME_UNKNOWN")]),
            "DENIED",
            None,
        ),
        (ExceptionGroup("g", [ValueError("a"), OCIError("NAME_UNKNOWN")]), "NAME_UNKNOWN", None),
    ],
)
def test_x2_the_code(error: BaseException, code: str, detail: Any) -> None:
    marshalled = marshal_error(error)
    assert (marshalled.code, marshalled.detail) == (code, detail)


@pytest.mark.parametrize(
    "error, status",
    [
        (ValueError("plain"), 500),
        (HTTPError(418), 418),
        (caused_by(ValueError(), HTTPError(418)), 418),
        # A known code beats an HTTP error, an unknown one takes it.
        (caused_by(HTTPError(401), OCIError("NAME_UNKNOWN")), 404),
        (caused_by(HTTPError(418), OCIError("SOMECODE")), 418),
        (caused_by(OCIError("SOMECODE"), HTTPError(418)), 418),
        (OCIError("SOMECODE"), 500),
        # An error's own status beats the table.
        (OCIError("SIZE_INVALID", status=413), 413),
        (OCIError("UNKNOWN", status=507), 507),
        (caused_by(HTTPError(401), OCIError("SIZE_INVALID", status=413)), 413),
    ],
)
def test_x3_the_status(error: BaseException, status: int) -> None:
    assert marshal_error(error).status == status


@pytest.mark.parametrize(
    "error, message",
    [
        (ValueError("some text"), "some text"),
        (OCIError("BLOB_UNKNOWN", "where is it"), "where is it"),
        (caused_by(HTTPError(404), OCIError("MANIFEST_UNKNOWN", "gone")), "gone"),
        # Another status than the final one stays, and then the code behind it does too.
        (caused_by(HTTPError(401), OCIError("NAME_UNKNOWN", "gone")), "401 Unauthorized: name unknown: gone"),
        # Only at the start.
        (caused_by(ValueError("some context"), OCIError("BLOB_UNKNOWN", "gone")), "some context: blob unknown: gone"),
        # Each once.
        (
            caused_by(HTTPError(404), caused_by(HTTPError(404), OCIError("BLOB_UNKNOWN", "gone"))),
            "404 Not Found: blob unknown: gone",
        ),
        (
            caused_by(OCIError("BLOB_UNKNOWN", "blob unknown"), OCIError("BLOB_UNKNOWN", "x")),
            "blob unknown: blob unknown: x",
        ),
        (HTTPError(404), ""),
        (HTTPError(404, "page not found"), "page not found"),
        (OCIError("OWN_CODE"), ""),
        (caused_by(HTTPError(418), OCIError("SOMECODE", "text")), "text"),
    ],
)
def test_x4_the_message(error: BaseException, message: str) -> None:
    assert marshal_error(error).message == message


def test_x5_texts() -> None:
    assert str(OCIError("BLOB_UPLOAD_UNKNOWN", "gone")) == "blob upload unknown: gone"
    assert str(OCIError("OWN_CODE")) == "own code"
    assert str(HTTPError(404)) == "404 Not Found"
    assert str(HTTPError(404, "gone")) == "404 Not Found: gone"
    assert str(HTTPError(599)).startswith("599")
    error = caused_by(ValueError("outer"), OCIError("DENIED", "inner"))
    assert error_text(error) == "outer: denied: inner"
    group = ExceptionGroup("several", [OCIError("DENIED", "a"), HTTPError(404, "b")])
    assert error_text(group) == "denied: a; 404 Not Found: b"


def test_x6_errors_survive_a_registry_behind_a_registry() -> None:
    """What a client makes of an answer is marshalled again by the server in front, without a stutter."""
    first = marshal_error(OCIError("MANIFEST_UNKNOWN"))
    for _ in range(3):
        received = caused_by(HTTPError(first.status), OCIError(first.code, first.message))
        assert error_text(received) == "404 Not Found: manifest unknown: manifest unknown to registry"
        first = marshal_error(received)
        assert (first.status, first.code, first.message) == (404, "MANIFEST_UNKNOWN", "manifest unknown to registry")


def test_headers_of_the_first_that_has_some() -> None:
    assert marshal_error(OCIError("TOOMANYREQUESTS", headers={"Retry-After": "5"})).headers == {"Retry-After": "5"}
    wrapped = caused_by(ValueError(), HTTPError(503, headers={"Retry-After": "5"}))
    assert marshal_error(wrapped).headers == {"Retry-After": "5"}
    both = caused_by(HTTPError(503, headers={"Retry-After": "5"}), OCIError("DENIED", headers={"Retry-After": "9"}))
    assert marshal_error(both).headers == {"Retry-After": "9"}
    assert marshal_error(ValueError()).headers == {}


@pytest.mark.parametrize(
    "error",
    [
        OCIError("DENIED", "no", detail={"a": 1}, status=418, headers={"X": "y"}),
        HTTPError(503, "later", headers={"Retry-After": "5"}),
        ParseError(errors.METHOD_NOT_ALLOWED, allow=("GET", "PUT")),
    ],
)
def test_errors_cross_processes(error: RegistryError) -> None:
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301  our own
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert {k: v for k, v in vars(copy).items() if k != "err"} == {k: v for k, v in vars(error).items() if k != "err"}


def test_one_tree() -> None:
    assert issubclass(OCIError, RegistryError)
    assert issubclass(HTTPError, RegistryError)
    assert issubclass(ParseError, OCIError)


@pytest.mark.parametrize(
    "err, status, code, message",
    [
        (errors.PAGE_NOT_FOUND, 404, "UNKNOWN", "page not found"),
        (errors.BADLY_FORMED_DIGEST, 400, "DIGEST_INVALID", "badly formed digest"),
        (errors.METHOD_NOT_ALLOWED, 405, "UNKNOWN", "method not allowed"),
        (errors.BAD_REQUEST, 400, "UNKNOWN", "bad request"),
        (errors.INVALID_REPOSITORY_NAME, 400, "NAME_INVALID", "invalid repository name"),
        (errors.UNKNOWN_URL_PATH, 404, "NAME_UNKNOWN", "unknown URL path"),
    ],
)
def test_a_parse_error_says_what_it_wraps(err: OCIError | HTTPError, status: int, code: str, message: str) -> None:
    error = ParseError(err)
    assert error.err is err
    assert wire(error) == (status, code, message)
    assert wire(ParseError(err, "more exactly")) == (status, code, "more exactly")


def test_a_parse_error_of_a_method_names_those_there_are() -> None:
    error = ParseError(errors.METHOD_NOT_ALLOWED, allow=("GET", "PUT"))
    assert error.allow == ("GET", "PUT")
    assert marshal_error(error).headers == {"Allow": "GET, PUT"}


@pytest.mark.parametrize("status", [status.value for status in HTTPStatus if status >= 400])
def test_every_status_has_a_text(status: int) -> None:
    assert wire(HTTPError(status, "text")) == (status, "UNKNOWN", "text")
