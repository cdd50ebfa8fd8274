"""Does what a registry asks for: Basic, or tokens (https://distribution.github.io/distribution/spec/auth/token/)."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeGuard
from urllib.parse import urlencode, urlsplit

from ociserver.client.auth.authorization import Fetch, TokenRequest
from ociserver.client.auth.challenges import Challenge
from ociserver.client.auth.credentials import Credentials, Find
from ociserver.client.auth.scopes import Scopes
from ociserver.client.headers import is_printable
from ociserver.client.limits import MAX_SCOPE_SIZE, MAX_TOKEN_LIFETIME_S
from ociserver.errors import HTTPError, OCIError, RegistryError, UnreachableError
from ociserver.lru import LRU
from ociserver.single_flight import SingleFlight

__all__ = ["Negotiated"]

DEFAULT_LIFETIME_S: Final = 60.0
"""Of a token whose server says nothing of it (the token protocol's own default)."""

MARGIN_S: Final = 5.0
"""Seconds before its end from which a token is not used: a request is on its way for some of them."""

MAX_TOKENS: Final = 256
"""Tokens that are kept: a registry of many repositories needs one for each."""

SILENT_FOR_S: Final = 1.0
"""Seconds for which a token server that gave no answer is not asked again: the registry sends a request back to it that
has waited for it ahead of time."""

_CLIENT_ID: Final = "ociserver"


@dataclass(frozen=True, slots=True)
class _Realm:
    """Where the registry's tokens come from."""

    url: str
    service: str


class Negotiated:
    """Shows nothing until the registry asks, and then what it asked for, ahead of time from there on.

    A token is kept until it ends, and serves every request whose scope it covers. Many requests that need the
    same one wait for one fetch. The password goes to the registry, and to the token server that it names.

    Args:
        credentials: what to show, or what finds it: called once, when the registry asks for the first time.
        host: what the registry is called, for whatever finds credentials.
        max_tokens: tokens that are kept, of which those stay that were used last.
    """

    def __init__(
        self, credentials: Credentials | Find | None = None, host: str = "", *, max_tokens: int = MAX_TOKENS
    ) -> None:
        self._find = credentials if callable(credentials) else None
        self._found: asyncio.Task[None] | None = None
        self._host = host
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
            # The registry may name another server by now; if it names this one, `challenge` does not wait for it again.
            self._silent = self._realm, error, time.monotonic() + SILENT_FOR_S
            self._realm = None
            return None
        except RegistryError:
            # Ahead of time, and in vain: what the registry asks for now, it says again.
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
        self._realm = _Realm(_checked(bearer.parameters["realm"]), _text(bearer, "service"))
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
            # Some servers refuse what they were not told to ask for; the registry knows best.
            token = await self._fetched(self._realm, asked, fetch)
        again = f"Bearer {token}"
        return None if again == sent else again

    def _use(self, credentials: Credentials | None) -> None:
        self._credentials = credentials or Credentials()
        self._refresh_token = self._credentials.refresh_token

    async def _search(self) -> None:
        """Find the credentials. Once: a failure stays one."""
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
                self._tokens.get(held)  # counts as a use
                return token
        return None

    def _forget(self, header: str) -> None:
        for held, (token, _) in self._tokens.items():
            if header == f"Bearer {token}":
                self._tokens.pop(held)

    async def _fetched(self, realm: _Realm, scopes: Scopes, fetch: Fetch) -> str:
        """A token that is held, or one from the server. Callers that need the same one wait for one request."""
        held = self._token_for(scopes)
        if held is not None:
            return held
        return await self._fetches.do((realm, scopes), lambda: self._fetch(realm, scopes, fetch))

    async def _fetch(self, realm: _Realm, scopes: Scopes, fetch: Fetch) -> str:
        status, body = 404, b""
        if self._refresh_token:
            status, body = await fetch(self._refreshing(realm, scopes))
        if not self._refresh_token or status == 404:
            # Token servers that know no POST say 404 (Docker's own client falls back in this way too).
            status, body = await fetch(self._asking(realm, scopes))
        if status in (400, 401, 403):
            raise OCIError("UNAUTHORIZED", f"{self._server} refuses a token for {scopes or 'it'}")
        if status != 200:
            raise HTTPError(502, f"{self._server} answers {status}")
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
            raise HTTPError(502, f"{self._server} gives no JSON object")
        token = answer.get("token") or answer.get("access_token")
        if not _is_token(token):
            raise HTTPError(502, f"{self._server} gives no token")
        if _is_token(answer.get("refresh_token")):
            self._refresh_token = answer["refresh_token"]
        lifetime = answer.get("expires_in")
        if isinstance(lifetime, int | float) and not isinstance(lifetime, bool) and lifetime > 0:
            # Compared before it becomes a float: an integer may be too large for one.
            return token, float(min(lifetime, MAX_TOKEN_LIFETIME_S))
        return token, DEFAULT_LIFETIME_S


def _is_token(value: Any) -> TypeGuard[str]:
    """Whether a text can stand in a header."""
    return isinstance(value, str) and bool(value) and is_printable(value)


def _text(challenge: Challenge, name: str) -> str:
    """A parameter of a challenge that is sent on to the token server."""
    value = challenge.parameters.get(name, "")
    if len(value) > MAX_SCOPE_SIZE or not is_printable(value):
        raise HTTPError(502, f"the registry asks for a token with a {name} that is too long, or no text")
    return value


def _checked(realm: str) -> str:
    """A realm that is the URL of a server."""
    try:
        parts = urlsplit(realm)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        usable = False
    if not usable or not realm.isascii() or not realm.isprintable() or " " in realm:
        raise HTTPError(502, "the registry names a token server that is no URL")
    return realm
