"""Finds out who sends a request."""

from __future__ import annotations

import hmac
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from ociserver.auth import audit
from ociserver.auth.accounts import Accounts
from ociserver.auth.authorization import Basic, InvalidCredentialsError, authorization_of, parse_authorization
from ociserver.auth.identity import ANONYMOUS, Identity
from ociserver.auth.jose import InvalidTokenError
from ociserver.auth.jwt_verifier import issuer_of
from ociserver.auth.key_accounts import PROVIDER as API_KEYS
from ociserver.auth.key_accounts import VIA as API_KEY
from ociserver.auth.key_accounts import KeyAccounts
from ociserver.auth.oidc import VIA as OIDC
from ociserver.auth.oidc import OidcProvider
from ociserver.auth.origin import client_of
from ociserver.auth.token_server import TokenServer
from ociserver.auth.tokens import Tokens, is_ours
from ociserver.errors import OCIError
from ociserver.lru import LRU
from ociserver.meter import Meter

if TYPE_CHECKING:
    from ociserver.types import Scope

__all__ = ["Authenticate", "Authenticator", "Known"]

Authenticate = Callable[[Mapping[str, str]], Awaitable[Identity | None]]
"""An authenticator of one's own: from the headers of a request, by name in lower case, to an identity. None: it does
not know these credentials, and the other ways to sign in are tried. It may raise an `OCIError` to refuse the request.
It is called for each request, so it should cache what takes long."""

MAX_KNOWN: Final = 2048
"""The most tokens that are remembered."""

MAX_MEMO: Final = 1024
"""The most repositories for which the decision about one identity is remembered."""

REMEMBER_S: Final = 60.0
"""Seconds for which a verified token of another issuer is not verified again: a key that the issuer has removed, and a
changed file of keys, count after this time at the latest."""

RECORD_S: Final = 60.0
"""Seconds in which the audit log has one entry of a user who signs in with each request from the same address."""


@dataclass(slots=True)
class Known:
    """A verified token, or a client without credentials.

    Args:
        identity: whose it is.
        until: time (`time.time`) after which it is not valid.
        pulls: by repository, whether the identity may pull all of it: what a reader without the event loop has to know.
        state: of the API keys when that of the identity was last found; see `KeyAccounts.state`.
    """

    identity: Identity
    until: float
    pulls: dict[str, bool] = field(default_factory=dict)
    state: object = None


class Authenticator:
    """Verifies the credentials of requests, and remembers verified tokens.

    It does not remember passwords: each guess has to pass the throttle of the accounts.

    Args:
        tokens: verifies our own tokens.
        accounts: users with passwords; None: nobody signs in with a password.
        authenticate: an authenticator of one's own, which is asked first.
        check_every_s: seconds between two looks for changed accounts.
        clock: the time in seconds since the epoch.
        token_server: issues the tokens in place of this registry, whose own ones are then refused.
        oidc: providers whose tokens are accepted too.
        meter: is told of sign-ins with a password.
        keys: API keys; None: there are none.

    Raises:
        ValueError: two of them have the same issuer or name, so that it is not clear who verifies a token.
    """

    def __init__(
        self,
        tokens: Tokens,
        accounts: Accounts | None,
        authenticate: Authenticate | None,
        check_every_s: float,
        clock: Callable[[], float] = time.time,
        *,
        token_server: TokenServer | None = None,
        oidc: Sequence[OidcProvider] = (),
        meter: Meter | None = None,
        keys: KeyAccounts | None = None,
    ) -> None:
        self._tokens = tokens
        self._meter = meter or Meter()
        self._keys = keys
        self._accounts = accounts
        self._authenticate = authenticate
        self._known: LRU[bytes, Known] = LRU(MAX_KNOWN)
        self._anonymous = Known(ANONYMOUS, float("inf"))
        self._version: object = None
        self._check_every_s = check_every_s
        self._clock = clock
        self._look_at = 0.0
        self._recorded: LRU[tuple[str, str], float] = LRU(MAX_KNOWN)
        self._token_server = token_server
        self._providers = {provider.name: provider for provider in oidc}
        self._issuers: dict[str, TokenServer | OidcProvider] = {provider.issuer: provider for provider in oidc}
        if token_server is not None:
            self._issuers[token_server.issuer] = token_server
        if len(self._providers) < len(oidc) or len(self._issuers) < len(oidc) + (token_server is not None):
            raise ValueError("two providers of tokens have the same name or the same issuer")
        if keys is not None and API_KEYS in self._providers:
            raise ValueError(f"a provider has the name {API_KEYS}, with which the users of API keys begin")

    async def identify(self, scope: Scope, credentials: Basic | None = None) -> Identity:
        """Who sends a request. Without credentials `ANONYMOUS`.

        Args:
            scope: of the request.
            credentials: those in its body, which count more than those in its headers. None: there are none.

        Raises:
            InvalidCredentialsError: the credentials are wrong, expired or malformed.
            OCIError: UNAUTHORIZED/400 for a malformed request; TOOMANYREQUESTS if the client has to wait.
        """
        # Also for an authenticator, whose map of headers would have only one of several.
        value = authorization_of(scope)
        if self._authenticate is not None:
            identity = await self._authenticate(_headers(scope, credentials))
            if identity is not None:
                if identity.expires is not None and identity.expires <= self._clock():
                    raise InvalidCredentialsError("the credentials have expired")
                return identity
        self._look()
        sent = credentials or (None if value is None else parse_authorization(value))
        if sent is None:
            return ANONYMOUS
        known = None if value is None or credentials is not None else self._known.get(value)
        if known is not None and known.until > self._clock() and await self._still(known.identity):
            return known.identity
        client = client_of(scope)
        if isinstance(sent, Basic):
            identity = await self.sign_in(sent.user, sent.password, client)
            # A token or a key cannot be guessed, so it is remembered. Real passwords are not.
            if identity.via in (OIDC, API_KEY) and value == sent.header.encode():
                self._known.put(value, self._for_a_while(identity))
            return identity
        assert value is not None
        known = await self._of_token(sent.token, client)
        # A token has one entry, however its header is written.
        if value == b"Bearer " + sent.token.encode():
            self._known.put(value, known)
        return known.identity

    def identify_nowait(self, value: bytes | None) -> Known | None:
        """A client whose token is known, or who has none. None: ask `identify`. Any thread may call it.

        Args:
            value: of the only Authorization header.
        """
        if self._authenticate is not None or time.monotonic() >= self._look_at:
            return None
        if value is None:
            return self._anonymous
        known = self._known.peek(value)
        if known is None or known.until <= self._clock():
            return None
        if known.identity.own is not None and not self._is_current_nowait(known):
            return None
        return known

    def _is_current_nowait(self, known: Known) -> bool:
        """Whether the key of a client is still there. False: ask `identify`."""
        if self._keys is None:
            return False
        # Taken before the key is read: if something is committed meanwhile, the key is read again.
        state = self._keys.state()
        if state is not None and state == known.state:
            return True
        if not self._keys.is_current_nowait(known.identity):
            return False
        known.state = state
        return True

    async def sign_in(self, user: str, password: str, client: str) -> Identity:
        """The identity of a user with a password.

        Raises:
            InvalidCredentialsError: the name or the password is wrong.
            OCIError: TOOMANYREQUESTS if the client has to wait; 503 if the keys of a provider cannot be fetched.
        """
        is_key = self._keys is not None and self._keys.takes(password)
        via = API_KEY if is_key else OIDC if user in self._providers else "htpasswd"
        try:
            identity = await self._sign_in(user, password, client)
        except InvalidCredentialsError:
            self._meter.signed_in(via, "refused")
            raise
        except OCIError as error:
            if error.code == "TOOMANYREQUESTS":
                self._meter.signed_in(via, "throttled")
            raise
        self._meter.signed_in(identity.via, "accepted")
        return identity

    async def _sign_in(self, user: str, password: str, client: str) -> Identity:
        if self._keys is not None and self._keys.takes(password):
            return await self._with_key(self._keys, user, password, client)
        provider = self._providers.get(user)
        if provider is not None:
            try:
                identity = await provider.identity(password)
            except InvalidCredentialsError as error:
                audit.record("sign-in-refused", user=user, client=client, reason=str(error))
                raise
            self._record(identity, client)
            return identity
        account = None if self._accounts is None else await self._accounts.sign_in(user, password, client)
        if account is None:
            audit.record("sign-in-refused", user=user, client=client)
            raise InvalidCredentialsError("the user name or the password is wrong")
        self._record(account, client)
        return account

    async def _with_key(self, keys: KeyAccounts, user: str, secret: str, client: str) -> Identity:
        identity = await keys.sign_in(user, secret)
        if identity is None:
            audit.record("sign-in-refused", user=user, via=API_KEY, client=client)
            raise InvalidCredentialsError("the user name or the password is wrong")
        self._record(identity, client)
        return identity

    async def aclose(self) -> None:
        """Refuse the sign-ins that wait, and record the last uses of keys, for which the store must be open."""
        if self._accounts is not None:
            await self._accounts.aclose()
        if self._keys is not None:
            await self._keys.aclose()

    def stamp(self, identity: Identity) -> str:
        """The stamp of the account of an identity, for its tokens; "" if there is no account."""
        if identity.own is not None:
            return identity.own.key.stamp
        if identity.via == OIDC:
            return next((each.stamp for each in self._providers.values() if each.owns(identity.name)), "")
        if self._accounts is None or identity.via != self._accounts.via:
            return ""
        return self._accounts.stamp(identity.name) or ""

    def _is_current(self, identity: Identity, stamp: str) -> bool:
        """Whether the account of a token is still there, with the same password, or with the same provider."""
        if identity.via == OIDC:
            return hmac.compare_digest(self.stamp(identity), stamp)
        if self._accounts is None or identity.via != self._accounts.via:
            return not stamp
        current = self._accounts.stamp(identity.name)
        return current is not None and hmac.compare_digest(current, stamp)

    async def _still(self, identity: Identity) -> bool:
        """Whether an identity that is remembered counts at this moment: that of a key may have been revoked."""
        return identity.own is None or (self._keys is not None and await self._keys.is_current(identity))

    def _record(self, identity: Identity, client: str) -> None:
        """Write a sign-in into the audit log, unless it was written recently."""
        user, now = identity.name, time.monotonic()
        if now >= (self._recorded.get((user, client)) or 0.0):
            # Some clients send the password with each request.
            self._recorded.put((user, client), now + RECORD_S)
            audit.record("sign-in", user=user, via=identity.via, client=client)

    def _look(self) -> None:
        """Forget all tokens if the accounts have changed."""
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + self._check_every_s
        if self._keys is not None:
            self._keys.look()
        version = None if self._accounts is None else self._accounts.version()
        if version is not self._version:
            self._version = version
            self._known = LRU(MAX_KNOWN)

    async def _of_token(self, token: str, client: str) -> Known:
        if self._issuers and not is_ours(token):
            return await self._of_other(token, client)
        if self._token_server is not None:
            raise InvalidCredentialsError("this registry accepts no tokens of its own: a token server issues them")
        try:
            claims = self._tokens.verify(token)
        except InvalidTokenError as error:
            raise InvalidCredentialsError(str(error)) from None
        if claims.via == API_KEY and claims.stamp:
            key = None if self._keys is None else await self._keys.of_token(claims.subject, claims.stamp)
            if key is None:
                raise InvalidCredentialsError("the API key of the token was revoked or changed")
            narrowed = replace(key, grants=claims.grants, expires=claims.expires, issued_here=True)
            return Known(narrowed, claims.expires)
        identity = Identity(
            claims.subject,
            claims.groups,
            claims.via,
            claims.grants,
            claims.expires,
            claims=claims.provided,
            issued_here=True,
        )
        # A token ends with its account, and with the password that it was obtained with, or with its provider.
        if not self._is_current(identity, claims.stamp):
            raise InvalidCredentialsError("the account of the token was removed or changed")
        return Known(identity, claims.expires)

    async def _of_other(self, token: str, client: str) -> Known:
        """A token of another issuer, which says itself who can verify it."""
        verifier = self._issuers.get(issuer_of(token) or "")
        if verifier is None:
            raise InvalidCredentialsError("the token is from an unknown issuer")
        identity = await verifier.identity(token)
        if identity.via == OIDC:
            self._record(identity, client)
        return self._for_a_while(identity)

    def _for_a_while(self, identity: Identity) -> Known:
        until = self._clock() + REMEMBER_S
        return Known(identity, until if identity.expires is None else min(until, identity.expires))


def _headers(scope: Scope, credentials: Basic | None) -> dict[str, str]:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    if credentials is not None:
        headers["authorization"] = credentials.header
    return headers
