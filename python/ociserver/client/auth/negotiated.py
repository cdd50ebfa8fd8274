"""Authenticates as the registry asks: Basic, or tokens (https://distribution.github.io/distribution/spec/auth/token/)."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeGuard
from urllib.parse import urlencode, urlsplit

from ociserver.client.auth.authorization import Fetch, TokenRequest
from ociserver.client.auth.challenges import Challenge
from ociserver.client.auth.credentials import Credentials, Find
from ociserver.client.auth.scopes import Scopes
from ociserver.client.auth.token_hosts import TokenHosts
from ociserver.client.headers import is_printable
from ociserver.client.limits import MAX_SCOPE_SIZE, MAX_TOKEN_LIFETIME_S
from ociserver.errors import HTTPError, OCIError, RegistryError, UnreachableError
from ociserver.lru import LRU
from ociserver.single_flight import SingleFlight

__all__ = ["Negotiated"]

DEFAULT_LIFETIME_S: Final = 60.0
"""Lifetime in seconds of a token whose server does not give one (the default of the token protocol)."""

MARGIN_S: Final = 5.0
"""Seconds before a token's end from which the client does not use it. A request needs some of them to arrive."""

MAX_TOKENS: Final = 256
"""Maximum number of tokens in memory. A registry with many repositories needs one for each."""

SILENT_FOR_S: Final = 1.0
"""Seconds for which the client does not ask a token server again that did not answer. The client asks before it sends a
request, and would ask a second time right after that, when the registry answers 401."""

_CLIENT_ID: Final = "ociserver"


@dataclass(frozen=True, slots=True)
class _Realm:
    """The token server that the registry names."""

    url: str
    service: str


class Negotiated:
    """Sends no credentials until the registry asks for them. From then on, it sends them with the first attempt.

    It keeps a token until its end, and uses it for every request whose scope it covers. Concurrent requests that need
    the same token share one token request. The password goes only to the registry, and to a token server on the
    registry's host or on one of `token_hosts`. Without credentials, any token server is asked for a token.

    Args:
        credentials: the credentials, or a function that finds them, called once at the first challenge.
        host: `host` or `host:port` of the registry. Without it, only `token_hosts` get credentials for tokens.
        max_tokens: number of tokens to keep, the most recently used ones.
        token_hosts: other hosts whose token servers may get the credentials, as `host` or `host:port`.

    Raises:
        ValueError: one of `token_hosts` is not the name of a host.
    """

    def __init__(
        self,
        credentials: Credentials | Find | None = None,
        host: str = "",
        *,
        max_tokens: int = MAX_TOKENS,
        token_hosts: Collection[str] = (),
    ) -> None:
        self._find = credentials if callable(credentials) else None
        self._found: asyncio.Task[None] | None = None
        self._host = host
        self._token_hosts = TokenHosts(host, token_hosts)
        self._use(None if callable(credentials) else credentials)
        self._wants_basic = False
        self._realm: _Realm | None = None
        self._silent: tuple[_Realm, UnreachableError, float] | None = None
        self._tokens: LRU[Scopes, tuple[str, float]] = LRU(max_tokens)
        self._fetches: SingleFlight[tuple[_Realm, Scopes], str] = SingleFlight()

    async def header(self, scope: str, fetch: Fetch) -> str | None:
        if self._credentials.access_token:
            return f"Bearer {self._credentials.access_token}"
        if self._wants_basic:
            return self._credentials.basic
        if self._realm is None:
            return None
        scopes = Scopes.parse(scope)
        try:
            token = self._token_for(scopes) or await self._fetched(self._realm, scopes, fetch)
        except UnreachableError as error:
            # The registry may name another token server now. If not, `challenge` does not wait again.
            self._silent = self._realm, error, time.monotonic() + SILENT_FOR_S
            self._realm = None
            return None
        except RegistryError:
            # The token request ahead of the registry's challenge failed. Let the registry say again what it asks for.
            self._realm = None
            return None
        return f"Bearer {token}"

    async def challenge(
        self, scope: str, challenges: Sequence[Challenge], sent: str | None, fetch: Fetch
    ) -> str | None:
        await self._search()
        if self._credentials.access_token:
            own = f"Bearer {self._credentials.access_token}"
            return None if sent == own else own
        basic = self._credentials.basic
        if basic and sent != basic and any(challenge.scheme == "basic" for challenge in challenges):
            self._wants_basic = True
            return basic
        bearer = next((one for one in challenges if one.scheme == "bearer" and "realm" in one.parameters), None)
        if bearer is None:
            return None
        realm = _Realm(_checked(bearer.parameters["realm"]), _text(bearer, "service"))
        if basic or self._refresh_token:
            self._token_hosts.check(realm.url)
        self._realm = realm
        asked, needed = Scopes.parse(_text(bearer, "scope")), Scopes.parse(scope)
        if sent is not None:
            self._forget(sent)
        elif self._silent is not None and self._silent[0] == self._realm and time.monotonic() < self._silent[2]:
            raise self._silent[1]
        try:
            token = await self._fetched(self._realm, asked | needed, fetch)
        except OCIError as error:
            if error.code != "UNAUTHORIZED" or asked >= needed or not asked:
                raise
            # Some token servers refuse a scope that the registry did not name. Ask for the registry's scope alone.
            token = await self._fetched(self._realm, asked, fetch)
        again = f"Bearer {token}"
        return None if again == sent else again

    def _use(self, credentials: Credentials | None) -> None:
        self._credentials = credentials or Credentials()
        self._refresh_token = self._credentials.refresh_token

    async def _search(self) -> None:
        """Find the credentials, once. A failure is final."""
        if self._find is None:
            return
        if self._found is None:
            find = self._find

            async def search() -> None:
                self._use(await find(self._host))

            self._found = asyncio.ensure_future(search())
        await asyncio.shield(self._found)

    def _token_for(self, scopes: Scopes) -> str | None:
        now = time.monotonic()
        for held, (_, ends) in self._tokens.items():
            if ends <= now:
                self._tokens.pop(held)
        for held, (token, _) in self._tokens.items():
            if held >= scopes:
                self._tokens.get(held)  # marks it as used
                return token
        return None

    def _forget(self, header: str) -> None:
        for held, (token, _) in self._tokens.items():
            if header == f"Bearer {token}":
                self._tokens.pop(held)

    async def _fetched(self, realm: _Realm, scopes: Scopes, fetch: Fetch) -> str:
        """A token from memory, or else from the server. Concurrent callers share one request."""
        held = self._token_for(scopes)
        if held is not None:
            return held
        return await self._fetches.do((realm, scopes), lambda: self._fetch(realm, scopes, fetch))

    async def _fetch(self, realm: _Realm, scopes: Scopes, fetch: Fetch) -> str:
        status, body = 404, b""
        if self._refresh_token:
            status, body = await fetch(self._refreshing(realm, scopes))
        if not self._refresh_token or status == 404:
            # Token servers without POST answer 404. Docker's own client falls back to GET, too.
            status, body = await fetch(self._asking(realm, scopes))
        if status in (400, 401, 403):
            raise OCIError("UNAUTHORIZED", f"{self._server} refuses a token for {scopes or 'the request'}")
        if status != 200:
            raise HTTPError(502, f"{self._server} answered with status {status}")
        token, lifetime_s = self._read(body)
        self._tokens.put(scopes, (token, time.monotonic() + max(lifetime_s - MARGIN_S, 0.0)))
        return token

    @property
    def _server(self) -> str:
        return f"the token server of {self._host or 'the registry'}"

    def _asking(self, realm: _Realm, scopes: Scopes) -> TokenRequest:
        query = [("service", realm.service)] if realm.service else []
        query += [("scope", entry) for entry in scopes.entries()]
        if self._credentials.username:
            query.append(("account", self._credentials.username))
        url = realm.url + ("&" if "?" in realm.url else "?") + urlencode(query) if query else realm.url
        basic = self._credentials.basic
        return TokenRequest(url, {"Authorization": basic} if basic else {})

    def _refreshing(self, realm: _Realm, scopes: Scopes) -> TokenRequest:
        form = {
            "grant_type": "refresh_token",
            "refresh_token": self._refresh_token,
            "client_id": _CLIENT_ID,
            "service": realm.service,
            "scope": str(scopes),
        }
        return TokenRequest(realm.url, form=urlencode(form).encode())

    def _read(self, body: bytes) -> tuple[str, float]:
        try:
            answer: Any = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise HTTPError(502, f"the answer of {self._server} is not a JSON object")
        token = answer.get("token") or answer.get("access_token")
        if not _is_token(token):
            raise HTTPError(502, f"the answer of {self._server} contains no token")
        # Without credentials, the token server may be anybody's, and what it gives is for itself alone.
        if _is_token(answer.get("refresh_token")) and self._credentials != Credentials():
            self._refresh_token = answer["refresh_token"]
        lifetime = answer.get("expires_in")
        if isinstance(lifetime, int | float) and not isinstance(lifetime, bool) and lifetime > 0:
            # Compare before the conversion to float: the integer may be too large for a float.
            return token, float(min(lifetime, MAX_TOKEN_LIFETIME_S))
        return token, DEFAULT_LIFETIME_S


def _is_token(value: Any) -> TypeGuard[str]:
    """Whether a value can be sent in a header as a token."""
    return isinstance(value, str) and bool(value) and is_printable(value)


def _text(challenge: Challenge, name: str) -> str:
    """A parameter of a challenge that the client sends to the token server."""
    value = challenge.parameters.get(name, "")
    if len(value) > MAX_SCOPE_SIZE or not is_printable(value):
        raise HTTPError(502, f"the registry names a {name} for its token server that is too long or not printable")
    return value


def _checked(realm: str) -> str:
    """The realm, if it is the URL of a server. Raises HTTPError otherwise."""
    try:
        parts = urlsplit(realm)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        usable = False
    if not usable or not is_printable(realm) or " " in realm:
        raise HTTPError(502, "the registry names a token server that is not a valid URL")
    return realm
