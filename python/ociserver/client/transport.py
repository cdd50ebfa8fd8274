"""Requests over HTTP: redirects, authorisation, repetitions. The only file that knows the HTTP library."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
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
from ociserver.context import retry_until
from ociserver.errors import HTTPError

__all__ = ["Answer", "Transport"]

Result = TypeVar("Result")

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_NOT_DONE: Final = frozenset({429, 503})
"""Statuses that say that a request was not carried out, so that any may be repeated."""
_PERHAPS_DONE: Final = frozenset({502, 504})
"""Statuses of a gateway that lost the answer."""

_FIRST_READ_SIZE: Final = 64 * 1024
"""Bytes of an answer beyond which no more is read before the first of them are asked for, so that those do not wait."""

_READ_SIZE: Final = 128 * 1024
"""Bytes of an answer that are read ahead from then on. A loop reads up to 256 KiB at once, so that two such pieces
wait, and are joined. With three a server over a client was no faster, and needed more memory."""

_SMALL: Final = 64 * 1024
"""Bytes of an answer that is read and forgotten to keep its connection; beyond that a new one costs less."""


class Answer:
    """An answer whose body is still to be read. Close it.

    Raises:
        InvalidAnswerError: 502 if its status or its Content-Length is invalid.
    """

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: CIMultiDictProxy[str] = response.headers
        self.url = response.url
        if not 100 <= self.status < 600:
            raise InvalidAnswerError(502, f"{_where(self.url)} answers with {self.status}, which is no status of HTTP")
        try:
            self.length = content_length(self.headers)
        except HTTPError:
            raise InvalidAnswerError(502, f"{_where(self.url)} answers with a Content-Length that is no size") from None
        # Where it redirects to, if that was not followed (`Request.stays`).
        self.elsewhere: URL | None = None

    def join(self, target: str) -> URL:
        """The URL that a header of the answer names, kept exactly: it may be signed.

        Raises:
            HTTPError: 502 if no request can be sent to it.
        """
        try:
            joined = self.url.join(URL(target, encoded=True))
            usable = _is_usable(joined)
        except ValueError:
            usable = False
        if not usable or not is_printable(target) or " " in target:
            raise HTTPError(502, f"{self.url.raw_host} sends to something that is no URL of HTTP")
        return joined.with_fragment(None) if joined.raw_fragment else joined

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes.

        Raises:
            UnreachableError: it ended before its end, or nothing came for too long.
        """
        try:
            content = self._response.content
            async for piece in content.iter_any():
                yield piece
                content.set_read_chunk_size(_READ_SIZE)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unreachable(error, self.url) from None

    async def read(self, limit: int) -> bytes | None:
        """The whole body, or None if it is longer than this."""
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
        """Let go of the answer, and keep the connection if it is cheap."""
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
    """Connections to one registry, and what every request to it has in common."""

    def __init__(self, origin: URL, authorization: Authorization, retries: RetryPolicy) -> None:
        self._origin = origin
        self._authorization = authorization
        self.retries = retries
        # What is asked for is what is hashed, so no answer may be compressed on its way.
        self._headers = {"User-Agent": f"ociserver/{__version__}", "Accept-Encoding": "identity"}
        self._session: aiohttp.ClientSession | None = None
        self._proxies: Mapping[str, str] = {}

    async def open(self) -> None:
        """Read what the environment says of certificates and proxies, and be ready."""
        self._proxies = getproxies()
        # Reads SSL_CERT_FILE and SSL_CERT_DIR, as everything over OpenSSL does.
        context = ssl.create_default_context()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS, ssl=context, keepalive_timeout=KEEP_ALIVE_S),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=IDLE_TIMEOUT_S),
            # Credentials are this package's business; cookies and compression nobody's.
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=_FIRST_READ_SIZE,
            max_field_size=MAX_HEADER_SIZE,
            max_line_size=MAX_HEADER_SIZE,
        )
        # It would repeat a DELETE, or a PUT of a tag, whose answer was lost. What is repeated is said in `Request`.
        self._session._retry_connection = False

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(self, request: Request) -> Answer:
        """The answer to a request, whatever its status, with its body still to be read.

        Raises:
            UnreachableError: there is none.
        """

        async def keep(answer: Answer) -> Answer:
            return answer

        return await self._repeat(request, self._authorized, keep)

    async def fetch(self, request: Request, read: Callable[[Answer], Awaitable[Result]]) -> Result:
        """What `read` makes of the answer; a body that breaks off makes the request be repeated too."""

        async def close(answer: Answer) -> Result:
            async with answer:
                return await read(answer)

        return await self._repeat(request, self._authorized, close)

    async def authorizes(self, scope: str) -> bool:
        """Whether requests of this scope show who we are, as far as the registry has asked for it yet."""
        return await self._authorization.header(scope, self._fetch_token) is not None

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
                repeatable = (request.repeatable or isinstance(error, _NotConnectedError)) and request.replayable
                # A kept connection that the registry was just closing: nothing is wrong with it.
                is_stale = attempt == 1 and isinstance(error, _DisconnectedError)
                pause = self._pause_after(attempt, 0.0 if is_stale else None) if repeatable else None
                if pause is None:
                    raise
            await asyncio.sleep(pause)

    def _pause(self, request: Request, answer: Answer, attempt: int) -> float | None:
        """Seconds after which to ask again; None to take the answer."""
        repeated = answer.status in _NOT_DONE or (answer.status in _PERHAPS_DONE and request.repeatable)
        if not repeated or not request.replayable:
            return None
        named = retry_after(answer)
        return self._pause_after(attempt, None if named is None else named[1])

    def _pause_after(self, attempt: int, named_s: float | None) -> float | None:
        """Seconds until the next attempt; None if there is to be none.

        Args:
            attempt: counted from 1.
            named_s: the pause that the registry asks for; None if it does not say.
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
                # The other statuses let a client make a GET of it, which would be another request.
                return answer
            await answer.aclose()
            following = answer.join(target)
            if url.scheme == "https" and following.scheme == "http":
                raise HTTPError(502, f"{url.raw_host} redirects from https to http, which is not followed")
            if request.stays and not self._is_ours(following):
                answer.elsewhere = following
                return answer
            url = following
        raise HTTPError(502, f"{request.url.raw_host} redirects more than {MAX_REDIRECTS} times")

    async def _exchange(self, request: Request, url: URL, headers: Mapping[str, str]) -> Answer:
        if self._session is None:
            raise RuntimeError("the client is not open: use it in `async with`")
        sent = {**self._headers, **request.headers, **headers}
        body = request.body
        if body is not None and body.length is not None:
            sent["Content-Length"] = str(body.length)
        try:
            async with asyncio.timeout(None) as stall:
                data = body.iterate(stall) if body is not None and body.length != 0 else None
                response = await self._session.request(
                    request.method,
                    url,
                    headers=sent,
                    data=data,
                    allow_redirects=False,
                    # Named by the environment, without credentials of a netrc file.
                    proxy=self._proxy_for(url),
                )
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise _unreachable(error, url) from None
        try:
            return Answer(response)
        except HTTPError:
            response.close()
            raise

    def _is_ours(self, url: URL) -> bool:
        return url.origin() == self._origin

    async def _fetch_token(self, token: TokenRequest) -> tuple[int, bytes]:
        """Ask a token server. Never redirected: what is sent is meant for the host that the registry named."""
        try:
            url = URL(token.url, encoded=True)
            usable = _is_usable(url)
        except ValueError:
            usable = False
        if not usable:
            raise HTTPError(502, f"{self._origin.raw_host} names a token server that is no URL of HTTP")
        if self._origin.scheme == "https" and url.scheme == "http":
            raise HTTPError(502, f"{self._origin.raw_host} names a token server without TLS, which gets no credentials")
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
                raise UnreachableError(
                    504, f"{_where(url)} did not answer within {TOKEN_TIMEOUT_S:g} seconds"
                ) from None

        async def read(answer: Answer) -> tuple[int, bytes]:
            async with answer:
                return answer.status, await answer.read(MAX_TOKEN_SIZE) or b""

        try:
            return await self._repeat(request, ask, read)
        except UntrustedError:
            raise
        except UnreachableError as error:
            # Repeated here already: the request that needs the token is not.
            message = f"the token server of {_where(self._origin)} cannot be used: {error.message}"
            raise NoTokenError(error.status, message) from None

    def _proxy_for(self, url: URL) -> str | None:
        """What HTTP_PROXY, HTTPS_PROXY and NO_PROXY said when the client was opened."""
        proxy = self._proxies.get(url.scheme)
        return None if proxy is None or url.host is None or proxy_bypass(url.host) else proxy


class _NotConnectedError(UnreachableError):
    """No byte of the request was sent."""


class _DisconnectedError(UnreachableError):
    """The connection ended before anything of an answer came."""


def _is_usable(url: URL) -> bool:
    """Whether a request can be sent to a URL that comes from elsewhere. Raises ValueError for a host that is none."""
    return url.scheme in ("http", "https") and bool(url.host) and url.raw_user is None


def _where(url: URL) -> str:
    """Host and port, in words."""
    return f"{url.raw_host} port {url.port}"


def _unreachable(error: Exception, url: URL) -> UnreachableError | InvalidAnswerError:
    """Which host and port, and why, in words. Not in the library's: they may repeat URLs with signatures in them."""
    where = _where(url)
    match error:
        case aiohttp.ConnectionTimeoutError():
            return UnreachableError(504, f"{where} did not answer within {CONNECT_TIMEOUT_S:g} seconds")
        case TimeoutError():
            return UnreachableError(504, f"{where} takes too long to answer")
        case aiohttp.ClientConnectorCertificateError():
            reason = getattr(error.certificate_error, "verify_message", "") or "it cannot be verified"
            return UntrustedError(502, f"{where} has a certificate that is not trusted: {reason}")
        case aiohttp.ClientProxyConnectionError():
            return _NotConnectedError(502, f"the proxy {error.host} port {error.port} cannot be reached: {_why(error)}")
        case aiohttp.ClientConnectorError():
            return _NotConnectedError(502, f"{where} cannot be reached: {_why(error)}")
        case aiohttp.ServerDisconnectedError():
            return _DisconnectedError(502, f"{where} closed the connection without an answer")
        case aiohttp.ClientPayloadError():
            return UnreachableError(502, f"{where} broke off in the middle of its answer")
        case OSError():
            return UnreachableError(502, f"{where} broke off: {_why(error)}")
        case aiohttp.ClientResponseError():
            return InvalidAnswerError(502, f"the answer of {where} is not valid HTTP")
    return UnreachableError(502, f"{where} cannot be used: the exchange with it failed")


def _why(error: OSError) -> str:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "there is no host of that name" if error.errno == socket.EAI_NONAME else "its name cannot be looked up"
    if isinstance(error, aiohttp.ClientSSLError):
        return "it does not speak TLS, or none that is spoken here"
    known = error.errno in errno.errorcode
    return os.strerror(error.errno or 0).lower() if known else "the connection failed"
