"""The parts of a profile that change requests or answers, as ASGI applications around another."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

from ociserver._core import API_VERSION, parse_request
from ociserver.errors import ParseError

if TYPE_CHECKING:
    from ociserver._core import Request
    from ociserver.testing.profiles.profile import Answering, Pages, RateLimit
    from ociserver.types import Message, Receive, Scope, Send

__all__ = ["with_basic_challenge", "with_pages", "with_rate_limit", "with_token_path"]

TOKEN_PATH = "/v2/token"  # noqa: S105  (a path)


def with_pages(inner: Answering, pages: Pages) -> Answering:
    """Lists of tags have pages, also for clients that do not ask for them."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        request = _parsed(scope)
        if request is not None and request.kind == "tags_list":
            size = pages.size if request.n is None else min(request.n, pages.limit)
            others = [(name, value) for name, value in parse_qsl(scope["query_string"].decode()) if name != "n"]
            scope = {**scope, "query_string": urlencode([*others, ("n", size)]).encode()}
        await inner(scope, receive, send)

    return answer


def with_rate_limit(inner: Answering, limit: RateLimit) -> Answering:
    """Pulls are counted, by address of the client. Each answer for a manifest says how many are left."""
    pulled: dict[str, int] = {}

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        request = _parsed(scope)
        if request is None or request.kind not in ("manifest_get", "manifest_head"):
            await inner(scope, receive, send)
            return
        client = (scope.get("client") or ("",))[0]
        left = limit.pulls - pulled.get(client, 0)
        if request.kind == "manifest_get":
            if left <= 0:
                await _refuse(limit, client, send)
                return
            left -= 1

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                # A pull that failed is none.
                if request.kind == "manifest_get" and message["status"] == 200:
                    pulled[client] = pulled.get(client, 0) + 1
                if message["status"] < 400:
                    message = {**message, "headers": [*message["headers"], *_headers(limit, left, client)]}
            await send(message)

        await inner(scope, receive, counted)

    return answer


def with_token_path(inner: Answering, path: str) -> Answering:
    """The token endpoint has another path."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == path:
            scope = {**scope, "path": TOKEN_PATH, "raw_path": TOKEN_PATH.encode()}
        await inner(scope, receive, send)

    return answer


def with_basic_challenge(inner: Answering, realm: str, service: str) -> Answering:
    """Clients are asked for a user name and a password instead of a token."""
    challenge = f'Basic realm="{realm}",service="{service}"'.encode()

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def changed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [
                    (name, challenge if name == b"www-authenticate" else value) for name, value in message["headers"]
                ]
                message = {**message, "headers": headers}
            await send(message)

        await inner(scope, receive, changed)

    return answer


async def _refuse(limit: RateLimit, client: str, send: Send) -> None:
    body = json.dumps({"errors": [{"code": "TOOMANYREQUESTS", "message": limit.message}]}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), API_VERSION]
    await send({"type": "http.response.start", "status": 429, "headers": [*headers, *_headers(limit, 0, client)]})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _headers(limit: RateLimit, left: int, client: str) -> list[tuple[bytes, bytes]]:
    return [
        (b"ratelimit-limit", f"{limit.pulls};w={limit.window_s}".encode()),
        (b"ratelimit-remaining", f"{left};w={limit.window_s}".encode()),
        (b"docker-ratelimit-source", client.encode()),
    ]


def _parsed(scope: Scope) -> Request | None:
    if scope["type"] != "http":
        return None
    try:
        return parse_request(scope["method"], scope["raw_path"], scope["query_string"])
    except ParseError:
        return None
