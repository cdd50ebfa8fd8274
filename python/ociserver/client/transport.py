"""HTTP: redirects, authorisation, repetitions. Only this file and `failures` know the HTTP library."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Final, Self, TypeVar
from urllib.request import getproxies, proxy_bypass

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

from ociserver._core import __version__
from ociserver.client.auth import Authorization, TokenRequest, parse_challenges
from ociserver.client.failures import DisconnectedError, NotConnectedError, unreachable, where
from ociserver.client.headers import content_length, is_printable, retry_after
from ociserver.client.limits import (
    CONNECT_TIMEOUT_S,
    IDLE_TIMEOUT_S,
    KEEP_ALIVE_S,
    MAX_CONNECTIONS,
    MAX_HEADER_SIZE,
    MAX_REDIRECTS,
    MAX_TOKEN_SIZE,
    TOKEN_TIMEOUT_S,
)
from ociserver.client.requests import (
    BufferedBody,
    FinalError,
    InvalidAnswerError,
    NoTokenError,
    Request,
    RetryPolicy,
    UnreachableError,
    UntrustedError,
)
from ociserver.context import retry_until, trace_headers
from ociserver.errors import HTTPError
from ociserver.interface import Url

__all__ = ["Answer", "Transport"]

Result = TypeVar("Result")

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_NOT_DONE: Final = frozenset({429, 503})
"""Statuses of a registry that did not execute the request, so that the client may repeat any request."""
_PERHAPS_DONE: Final = frozenset({502, 504})
"""Statuses of a gateway that got no answer. The registry may have executed the request."""

_FIRST_READ_SIZE: Final = 64 * 1024
"""Read-ahead limit in bytes before the first bytes of an answer are consumed. A small value gives those early."""

_READ_SIZE: Final = 128 * 1024
"""Read-ahead limit in bytes after that. The event loop reads up to 256 KiB at once, so two such pieces wait and are
joined. With three pieces, a server in front of a client was no faster and needed more memory."""

_SMALL: Final = 64 * 1024
"""Bytes of a body that the client reads and drops to keep the connection. For more, a new connection is cheaper."""


class Answer:
    """An answer whose body is not read yet. Close it.

    Raises:
        InvalidAnswerError: 502 if its status or its Content-Length is invalid.
    """

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: CIMultiDictProxy[str] = response.headers
        self.url = response.url
        if not 100 <= self.status < 600:
            raise InvalidAnswerError(502, f"{where(self.url)} answered with {self.status}, which is not an HTTP status")
        try:
            self.length = content_length(self.headers)
        except HTTPError:
            raise InvalidAnswerError(502, f"{where(self.url)} sent a Content-Length that is not a valid size") from None
        # The target of a redirect that the client did not follow (`Request.stays`).
        self.elsewhere: URL | None = None

    def join(self, target: str) -> URL:
        """The URL that a header of the answer names, without any change: it may be signed.

        Raises:
            HTTPError: 502 if it is not the URL of an HTTP server.
        """
        try:
            joined = self.url.join(URL(target, encoded=True))
            usable = _is_usable(joined)
        except ValueError:
            usable = False
        if not usable or not is_printable(target) or " " in target:
            raise HTTPError(502, f"{self.url.raw_host} sent a URL that is not a valid HTTP URL")
        return joined.with_fragment(None) if joined.raw_fragment else joined

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body in pieces, as they arrive.

        Raises:
            UnreachableError: the body is incomplete, or nothing arrived for too long.
        """
        try:
            content = self._response.content
            async for piece in content.iter_any():
                yield piece
                content.set_read_chunk_size(_READ_SIZE)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise unreachable(error, self.url) from None

    async def read(self, limit: int) -> bytes | None:
        """The whole body, or None if it has more bytes than `limit`."""
        if self.length is not None and self.length > limit and self._response.method != "HEAD":
            return None
        pieces: list[bytes] = []
        size = 0
        async for piece in self.pieces():
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                return None
        return b"".join(pieces)

    async def aclose(self) -> None:
        """Release the answer. Keep the connection if the rest of the body is small."""
        try:
            if self.length is not None and self.length <= _SMALL and not self._response.content.is_eof():
                await self.read(_SMALL)
        except UnreachableError:
            pass
        finally:
            self._response.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class Transport:
    """The connections to one registry, and what all requests to it share.

    Args:
        origin: scheme, host and port of the registry.
        authorization: makes the Authorization headers.
        retries: how often the client repeats a request.
        idle_timeout_s: seconds without progress after which a request fails.
    """

    def __init__(
        self,
        origin: URL,
        authorization: Authorization,
        retries: RetryPolicy,
        *,
        idle_timeout_s: float = IDLE_TIMEOUT_S,
    ) -> None:
        self._origin = origin
        self._authorization = authorization
        self.retries = retries
        self._idle_timeout_s = idle_timeout_s
        # The client hashes the bytes that it receives, so no server may compress them.
        self._headers = {"User-Agent": f"ociserver/{__version__}", "Accept-Encoding": "identity"}
        self._session: aiohttp.ClientSession | None = None
        self._proxies: Mapping[str, str] = {}

    async def open(self) -> None:
        """Read the environment's certificates and proxies, and get ready."""
        self._proxies = getproxies()
        # This reads SSL_CERT_FILE and SSL_CERT_DIR, like every program that uses OpenSSL.
        context = ssl.create_default_context()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS, ssl=context, keepalive_timeout=KEEP_ALIVE_S),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=self._idle_timeout_s),
            # This package handles credentials. It needs neither cookies nor decompression.
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=_FIRST_READ_SIZE,
            max_field_size=MAX_HEADER_SIZE,
            max_line_size=MAX_HEADER_SIZE,
        )
        # aiohttp would repeat a DELETE, or a PUT of a tag, after a lost answer. `Request` decides what is repeated.
        self._session._retry_connection = False

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(self, request: Request) -> Answer:
        """The answer to a request, with any status. Its body is not read yet.

        Raises:
            UnreachableError: there was no answer.
        """

        async def keep(answer: Answer) -> Answer:
            return answer

        return await self._repeat(request, self._authorized, keep)

    async def fetch(self, request: Request, read: Callable[[Answer], Awaitable[Result]]) -> Result:
        """The result of `read`, which reads the answer. If the body breaks off, the client repeats the request."""

        async def close(answer: Answer) -> Result:
            async with answer:
                return await read(answer)

        return await self._repeat(request, self._authorized, close)

    async def public_url(self, url: URL, scope: str) -> Url | None:
        """A URL in a form for clients that do not have our credentials.

        None if it is a URL of the registry, and the registry has asked for credentials for this scope.
        """
        if self._is_ours(url) and await self._authorization.header(scope, self._fetch_token) is not None:
            return None
        return Url(str(url))

    async def _repeat(
        self,
        request: Request,
        ask: Callable[[Request], Awaitable[Answer]],
        use: Callable[[Answer], Awaitable[Result]],
    ) -> Result:
        attempt = 0
        while True:
            attempt += 1
            try:
                answer = await ask(request)
                pause = self._pause(request, answer, attempt)
                if pause is None:
                    return await use(answer)
                await answer.aclose()
            except FinalError:
                raise
            except UnreachableError as error:
                repeatable = (request.repeatable or isinstance(error, NotConnectedError)) and request.replayable
                # The registry just closed a kept connection. That is not a failure.
                is_stale = attempt == 1 and isinstance(error, DisconnectedError)
                pause = self._pause_after(attempt, 0.0 if is_stale else None) if repeatable else None
                if pause is None:
                    raise
            await asyncio.sleep(pause)

    def _pause(self, request: Request, answer: Answer, attempt: int) -> float | None:
        """Seconds to wait before the next attempt; None to accept the answer."""
        repeated = answer.status in _NOT_DONE or (answer.status in _PERHAPS_DONE and request.repeatable)
        if not repeated or not request.replayable:
            return None
        named = retry_after(answer)
        return self._pause_after(attempt, None if named is None else named[1])

    def _pause_after(self, attempt: int, named_s: float | None) -> float | None:
        """Seconds to wait before the next attempt; None to give up.

        Args:
            attempt: counted from 1.
            named_s: the pause that the registry asks for, in seconds; None if it does not ask for one.
        """
        pause = self.retries.pause(attempt, named_s)
        until = retry_until.get()
        return None if pause is None or (until is not None and time.monotonic() + pause > until) else pause

    async def _authorized(self, request: Request) -> Answer:
        header = await self._authorization.header(request.scope, self._fetch_token)
        answer = await self._redirected(request, header)
        if answer.status != 401 or not self._is_ours(answer.url) or not request.replayable:
            return answer
        challenges = parse_challenges(answer.headers.getall("WWW-Authenticate", []))
        again = await self._authorization.challenge(request.scope, challenges, header, self._fetch_token)
        if again is None:
            return answer
        await answer.aclose()
        return await self._redirected(request, again)

    async def _redirected(self, request: Request, authorization: str | None) -> Answer:
        url = request.url
        for _ in range(MAX_REDIRECTS + 1):
            # Spec: credentials must not be sent to another host.
            own = {"Authorization": authorization} if authorization and self._is_ours(url) else {}
            answer = await self._exchange(request, url, own)
            target = answer.headers.get("Location")
            if answer.status not in _REDIRECTS or target is None or not request.replayable:
                return answer
            if answer.status not in (307, 308) and request.method not in ("GET", "HEAD"):
                # The other statuses allow a client to send a GET instead, which would be another request.
                return answer
            await answer.aclose()
            following = answer.join(target)
            if url.scheme == "https" and following.scheme == "http":
                raise HTTPError(502, f"{url.raw_host} redirects from https to http, which the client does not follow")
            if request.stays and not self._is_ours(following):
                answer.elsewhere = following
                return answer
            url = following
        raise HTTPError(502, f"{request.url.raw_host} redirects more than {MAX_REDIRECTS} times")

    async def _exchange(self, request: Request, url: URL, headers: Mapping[str, str]) -> Answer:
        if self._session is None:
            raise RuntimeError("the client is not open: use it in `async with`")
        sent = {**self._headers, **(trace_headers.get() or {}), **request.headers, **headers}
        body = request.body
        if body is not None and body.length is not None:
            sent["Content-Length"] = str(body.length)
        try:
            async with asyncio.timeout(None) as stall:
                data = body.iterate(stall, self._idle_timeout_s) if body is not None and body.length != 0 else None
                response = await self._session.request(
                    request.method,
                    url,
                    headers=sent,
                    data=data,
                    allow_redirects=False,
                    # From the environment, without the credentials of a netrc file.
                    proxy=self._proxy_for(url),
                )
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise unreachable(error, url) from None
        try:
            return Answer(response)
        except HTTPError:
            response.close()
            raise

    def _is_ours(self, url: URL) -> bool:
        return url.origin() == self._origin

    async def _fetch_token(self, token: TokenRequest) -> tuple[int, bytes]:
        """Ask a token server. Follows no redirect: the credentials are for the host that the registry named."""
        try:
            url = URL(token.url, encoded=True)
            usable = _is_usable(url)
        except ValueError:
            usable = False
        if not usable:
            raise HTTPError(502, f"{self._origin.raw_host} names a token server that is not a valid HTTP URL")
        if self._origin.scheme == "https" and url.scheme == "http":
            raise HTTPError(
                502,
                f"{self._origin.raw_host} names a token server without TLS, to which the client sends no credentials",
            )
        headers, body = dict(token.headers), None
        if token.form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            body = BufferedBody([token.form])
        request = Request("POST" if body else "GET", url, "", headers, body, repeatable=True)

        async def ask(request: Request) -> Answer:
            try:
                async with asyncio.timeout(TOKEN_TIMEOUT_S):
                    return await self._exchange(request, url, {})
            except TimeoutError:
                raise UnreachableError(504, f"{where(url)} did not answer within {TOKEN_TIMEOUT_S:g} seconds") from None

        async def read(answer: Answer) -> tuple[int, bytes]:
            async with answer:
                return answer.status, await answer.read(MAX_TOKEN_SIZE) or b""

        try:
            return await self._repeat(request, ask, read)
        except UntrustedError:
            raise
        except UnreachableError as error:
            # `_repeat` above has already repeated the token request. So the caller must not repeat its own request.
            message = f"the token server of {where(self._origin)} cannot be used: {error.message}"
            raise NoTokenError(error.status, message) from None

    def _proxy_for(self, url: URL) -> str | None:
        """The proxy from HTTP_PROXY, HTTPS_PROXY and NO_PROXY, as they were when the client was opened."""
        proxy = self._proxies.get(url.scheme)
        return None if proxy is None or url.host is None or proxy_bypass(url.host) else proxy


def _is_usable(url: URL) -> bool:
    """Whether a request can go to a URL that another host sent. Raises ValueError for an invalid host."""
    return url.scheme in ("http", "https") and bool(url.host) and url.raw_user is None
