"""Fetches small JSON documents of identity providers, such as their keys.

The URL is from the configuration or from the provider itself, never from a token. All the same the request is bounded
in time and in size, and it follows no redirect: where a document comes from decides who is trusted.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from ociserver.errors import RegistryError

if TYPE_CHECKING:
    import aiohttp

__all__ = ["MAX_DOCUMENT", "TIMEOUT_S", "Fetch", "FetchError", "check_url"]

MAX_DOCUMENT: Final = 256 * 1024
"""The most bytes of a document. The keys of a provider have some 2 to 20 KB, with certificates in them."""

TIMEOUT_S: Final = 10.0
"""Seconds for a document, in all. Requests of clients wait for it, and the provider may be down."""

_HEADERS: Final = {"Accept": "application/json", "Accept-Encoding": "identity"}


class FetchError(RegistryError):
    """A document could not be fetched. The text says why."""


def check_url(url: str) -> str:
    """The same URL, if documents may be fetched from there.

    Args:
        url: with `https`. Only for a loopback address `http` is accepted too, for a side-car or a test.

    Raises:
        ValueError: they may not.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None  # Python's own message repeats a part of the URL
    if not host or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("the URL has no host, or invalid characters")
    if "@" in parts.netloc:
        raise ValueError("the URL contains a user name or a password, which would be logged")
    if parts.fragment:
        raise ValueError("the URL has a fragment")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        raise ValueError("the URL does not begin with https://, and only loopback addresses may be asked without TLS")
    return url


class Fetch:
    """Fetches documents, each over a connection of its own, because there are few.

    Args:
        ca: a file with the certificates of the authorities that are trusted. None: those of the system, or of
            SSL_CERT_FILE.
        max_bytes: the most bytes of a document.
        timeout_s: seconds for a document.

    Raises:
        ImportError: the package for requests is not installed.
        OSError: the file cannot be read.
    """

    def __init__(self, *, ca: Path | None = None, max_bytes: int = MAX_DOCUMENT, timeout_s: float = TIMEOUT_S) -> None:
        try:
            import aiohttp  # late: only servers that ask identity providers need it
        except ImportError as error:
            raise ImportError(
                f"keys at a URL need a package that is not installed ({error}). Install it: pip install "
                "'ociserver[client]'"
            ) from None
        self._aiohttp = aiohttp
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        # Made once, because it reads all authorities of the system, which takes some 20 ms.
        self._context = ssl.create_default_context(cafile=ca)

    async def get(self, url: str) -> bytes:
        """The document at a URL.

        Raises:
            FetchError: there is none, or it is too large, too slow, or elsewhere.
        """
        try:
            check_url(url)
            async with asyncio.timeout(self._timeout_s):
                return await self._get(url)
        except TimeoutError:
            raise FetchError(f"no answer within {self._timeout_s:g} s") from None
        except (self._aiohttp.ClientError, OSError, ValueError) as error:
            raise FetchError(str(error) or type(error).__name__) from None

    async def _get(self, url: str) -> bytes:
        connector = self._aiohttp.TCPConnector(ssl=self._context, force_close=True)
        session = self._aiohttp.ClientSession(
            connector=connector, cookie_jar=self._aiohttp.DummyCookieJar(), auto_decompress=False, trust_env=False
        )
        async with (
            session,
            session.get(url, headers=_HEADERS, allow_redirects=False, proxy=_proxy_of(url)) as response,
        ):
            if 300 <= response.status < 400:
                raise FetchError("the answer is a redirect, which is not followed")
            if response.status != 200:
                raise FetchError(f"the answer has the status {response.status}")
            return await self._read(response)

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        content = bytearray()
        async for piece in response.content.iter_any():
            content += piece
            if len(content) > self._max_bytes:
                raise FetchError(f"the answer has more than {self._max_bytes} bytes")
        return bytes(content)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _proxy_of(url: str) -> str | None:
    """The proxy of the environment for a URL, as for the other requests of this package."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if _is_loopback(host) or proxy_bypass(host):
        return None
    return getproxies().get(parts.scheme)
