"""The token endpoint (distribution: token authentication, and its OAuth 2 variant)."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

from ociserver.auth.authorization import Basic
from ociserver.auth.scopes import parse_scopes
from ociserver.errors import OCIError
from ociserver.handler.responses import Answer, document

if TYPE_CHECKING:
    from ociserver.handler.authority import Authority
    from ociserver.handler.call import Call

__all__ = ["token"]

MAX_FORM: Final = 16 * 1024
"""The most bytes of a form or a query. A password and the scopes of a push have a few KiB."""

MAX_FIELDS: Final = 100
"""The most fields of a form or a query."""

Fields = dict[str, list[str]]


async def token(call: Call, auth: Authority) -> Answer:
    """GET or POST /v2/token: 200, 400, 401, 405, 413, 429.

    The token is for what the rules allow of the scopes that are asked for. Fewer rights are no error.
    """
    match call.scope["method"]:
        case "GET":
            fields, credentials = _fields(call.scope["query_string"]), None
        case "POST":
            fields = _fields(await call.body.read(MAX_FORM))
            credentials = _credentials(fields)
        case _:
            raise OCIError("UNSUPPORTED", "use GET or POST", status=405, headers={"Allow": "GET, POST"})
    identity = call.identity = await auth.token_identity(call.scope, credentials, _one(fields, "account"))
    try:
        issued = auth.issue(call.scope, identity, parse_scopes(fields.get("scope", ())))
    except ValueError as error:
        raise OCIError("UNSUPPORTED", str(error)) from None
    content = {
        # `access_token` is the name of OAuth 2, `token` that of older clients.
        "token": issued.text,
        "access_token": issued.text,
        "token_type": "Bearer",
        "expires_in": issued.expires_in,
        "issued_at": datetime.fromtimestamp(issued.issued_at, UTC).isoformat().replace("+00:00", "Z"),
    }
    # RFC 6749, 5.1: no cache may keep a token.
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    return document(headers, json.dumps(content, separators=(",", ":")).encode())


def _fields(encoded: bytes) -> Fields:
    try:
        if len(encoded) > MAX_FORM:
            raise ValueError
        return parse_qs(encoded.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
    except ValueError:
        raise OCIError("UNSUPPORTED", "the form or the query is too long, or not URL-encoded UTF-8 text") from None


def _credentials(fields: Fields) -> Basic | None:
    """The credentials in a form (RFC 6749, 4.3). regctl sends no `grant_type` if it has no credentials."""
    grant, user, password = (_one(fields, name) for name in ("grant_type", "username", "password"))
    if grant == "password":
        return Basic(user, password) if user or password else None
    if grant or user or password:
        # Clients then send a GET with their user name and password.
        raise OCIError("UNSUPPORTED", "the grant_type is missing or not supported: use password")
    return None


def _one(fields: Fields, name: str) -> str:
    values = fields.get(name, [""])
    if len(values) > 1:
        raise OCIError("UNSUPPORTED", f"{name} is there more than once")
    return values[0]
