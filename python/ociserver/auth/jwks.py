"""Where the public keys of an issuer come from: a file, a URL, or the discovery document of OpenID Connect.

All of them keep the last keys that were good. A provider that cannot be reached, or a file that somebody is writing,
refuses nobody who was accepted before.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from ociserver.auth.fetching import Fetch, FetchError, check_url
from ociserver.auth.jose import InvalidTokenError, load_object
from ociserver.auth.public_keys import ALGORITHMS, KeySet, check_packages, of_jwks, of_pem
from ociserver.auth.watched_file import CHECK_EVERY_S, WatchedFile
from ociserver.errors import OCIError
from ociserver.single_flight import SingleFlight
from ociserver.urls import shown

__all__ = [
    "FETCH_EVERY_S",
    "REFRESH_S",
    "RETRY_S",
    "DiscoveredJwks",
    "JwksFile",
    "JwksUrl",
    "KeySource",
]

_log: Final = logging.getLogger("ociserver")

FETCH_EVERY_S: Final = 60.0
"""Seconds between two fetches for tokens with an unknown key. Anybody can make such tokens."""

REFRESH_S: Final = 3600.0
"""Seconds after which keys are fetched again, so that a key that the provider has removed is forgotten."""

RETRY_S: Final = 10.0
"""Seconds between two fetches as long as there have never been any keys. Nobody can sign in meanwhile."""

MAX_FILE: Final = 1024 * 1024
"""The most bytes of a file of keys. A bundle of certificates has some 2 KB for each."""

WELL_KNOWN: Final = "/.well-known/openid-configuration"
"""OpenID Connect Discovery 1.0, 4: the path of the discovery document, behind the issuer."""


class KeySource(Protocol):
    """What has the keys of an issuer."""

    async def keys(self) -> KeySet:
        """The keys of now.

        Raises:
            OCIError: 503 with Retry-After: there have never been any.
        """

    async def looked_again(self) -> KeySet:
        """The keys, after another look at their origin if it is time for one: a token names a key that is unknown.

        Raises:
            OCIError: 503: there have never been any.
        """


class JwksFile:
    """Keys from a file, which is read again when it changes.

    Args:
        path: of a JWK set, or of certificates and public keys in PEM.
        algorithms: that the issuer may use.
        check_every_s: seconds between two looks at the file.

    Raises:
        ValueError: the file has no such keys.
        OSError: it cannot be read.
        ImportError: the packages for signatures are not installed.
    """

    def __init__(
        self, path: Path, algorithms: Collection[str] = ALGORITHMS, *, check_every_s: float = CHECK_EVERY_S
    ) -> None:
        self._path = path
        self._algorithms = algorithms
        self._file = WatchedFile(path, max_size=MAX_FILE, check_every_s=check_every_s)
        try:
            self._keys = self._parsed(self._file.read())
        except ValueError as error:
            raise ValueError(f"the file {path} cannot be used: {error}") from None

    async def keys(self) -> KeySet:
        try:
            content = self._file.changed()
            if content is not None:
                self._keys = self._parsed(content)
                _log.info("read the keys of %s again", self._path)
        except (OSError, ValueError) as error:
            # Once for each state of the file: `changed` returns and raises once.
            _log.error("%s: %s; the keys stay as they were", self._path, error)
        return self._keys

    async def looked_again(self) -> KeySet:
        return await self.keys()

    def _parsed(self, content: bytes) -> KeySet:
        is_json = content.lstrip()[:1] == b"{"
        return (of_jwks if is_json else of_pem)(content, self._algorithms)


class JwksUrl:
    """Keys from a JWK set at a URL. Many requests that need them at the same time wait for one fetch.

    Args:
        url: with `https`; for a loopback address also `http`.
        fetch: fetches documents, within its bounds.
        algorithms: that the issuer may use.
        fetch_every_s: seconds between two fetches for unknown keys, and after a fetch that failed.
        refresh_s: seconds after which keys are fetched again.
        retry_s: seconds between two fetches as long as there have never been any keys.
        clock: seconds of a clock that never goes back.

    Raises:
        ValueError: the URL is not allowed.
        ImportError: the packages for signatures are not installed.
    """

    def __init__(
        self,
        url: str,
        fetch: Fetch,
        *,
        algorithms: Collection[str] = ALGORITHMS,
        fetch_every_s: float = FETCH_EVERY_S,
        refresh_s: float = REFRESH_S,
        retry_s: float = RETRY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        check_packages()
        self._url = check_url(url)
        self._fetch = fetch
        self._algorithms = algorithms
        self._fetch_every_s = fetch_every_s
        self._refresh_s = refresh_s
        self._retry_s = retry_s
        self._clock = clock
        self._keys: KeySet | None = None
        self._fetched_at = 0.0
        self._next_fetch = float("-inf")
        self._has_failed = False
        self._fetches: SingleFlight[str, None] = SingleFlight(own_context=True)

    async def keys(self) -> KeySet:
        if self._keys is None or self._clock() >= self._fetched_at + self._refresh_s:
            await self._update()
        return self._known()

    async def looked_again(self) -> KeySet:
        await self._update()
        return self._known()

    def _known(self) -> KeySet:
        if self._keys is not None:
            return self._keys
        wait = max(1, round(self._next_fetch - self._clock()))
        raise OCIError(
            "UNKNOWN",
            "the keys of the issuer of the token cannot be fetched; try again later",
            status=503,
            headers={"Retry-After": str(wait)},
            is_logged=True,
        )

    async def _update(self) -> None:
        """Fetch the keys, or wait for the fetch that runs, unless the last one was too recent."""
        if self._fetches.is_running("") or self._clock() >= self._next_fetch:
            await self._fetches.do("", self._fetch_keys)

    async def _fetch_keys(self) -> None:
        # Before the fetch: what comes while it runs waits for it, and what comes after it is too early.
        self._next_fetch = self._clock() + (self._retry_s if self._keys is None else self._fetch_every_s)
        try:
            self._keys = of_jwks(await self._document(), self._algorithms)
        except (FetchError, ValueError) as error:
            self._failed(str(error))
        else:
            self._fetched_at = self._clock()
            self._next_fetch = self._fetched_at + self._fetch_every_s
            if self._has_failed:
                self._has_failed = False
                _log.info("%s: the keys can be fetched again", shown(self._url))

    def _failed(self, why: str) -> None:
        if not self._has_failed:
            # Once: while a provider is down, everybody who signs in would log it.
            kept = "nobody can sign in there" if self._keys is None else "the keys stay as they were"
            _log.error("%s: the keys cannot be fetched: %s; %s", shown(self._url), why, kept)
        self._has_failed = True

    async def _document(self) -> bytes:
        """The JWK set as JSON."""
        return await self._fetch.get(self._url)


class DiscoveredJwks(JwksUrl):
    """Keys whose URL is in the discovery document of an issuer (OpenID Connect Discovery 1.0, 4).

    Args:
        issuer: the exact text of `iss` in its tokens: a URL.
        fetch: fetches documents, within its bounds.
        more: settings of `JwksUrl`.

    Raises:
        ValueError: the issuer is not a URL that may be asked.
    """

    def __init__(self, issuer: str, fetch: Fetch, **more: Any) -> None:
        super().__init__(issuer.rstrip("/") + WELL_KNOWN, fetch, **more)
        self._issuer = issuer

    async def _document(self) -> bytes:
        try:
            document = load_object(await self._fetch.get(self._url))
        except InvalidTokenError:
            raise ValueError("the discovery document is not a JSON object") from None
        if document.get("issuer") != self._issuer:
            # Discovery, 4.3: otherwise one issuer could lend its keys to another.
            raise ValueError("the discovery document is of another issuer")
        url = document.get("jwks_uri")
        if not isinstance(url, str):
            raise ValueError("the discovery document has no jwks_uri")
        if urlsplit(url).scheme != urlsplit(self._url).scheme:
            raise ValueError("the jwks_uri of the discovery document has another scheme")
        return await self._fetch.get(url)
