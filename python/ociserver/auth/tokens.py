"""Tokens that the registry issues itself: a compact JWS (RFC 7515) with the claims of `Claims`.

HS256 (RFC 7518, 3.2) needs nothing but the standard library, and there is one algorithm and one type of key, so that a
token cannot choose how it is verified. A token from elsewhere is never one of these: `typ` is our own.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ociserver.auth.claims import Claims
from ociserver.auth.identity import Grants
from ociserver.auth.jose import InvalidTokenError, decode_part, dump_json, encode_part, load_object
from ociserver.auth.keys import TokenKeys

__all__ = [
    "ACCEPTED_LIFETIME_S",
    "LEEWAY_S",
    "LIFETIME_S",
    "MAX_LIFETIME_S",
    "MAX_TOKEN_BYTES",
    "MIN_LIFETIME_S",
    "TYPE",
    "Claims",
    "InvalidTokenError",
    "IssuedToken",
    "Tokens",
    "is_ours",
]

TYPE: Final = "registry+jwt"
"""`typ` in the header of our tokens. RFC 8725, 3.11: a type of its own keeps other kinds of tokens apart."""

MAX_TOKEN_BYTES: Final = 8 * 1024
"""The most bytes of a token. Common proxies refuse header fields that are longer."""

LIFETIME_S: Final = 300.0
"""Seconds that a token is valid. Clients ask for one per operation, and only the start of a request is checked."""

MIN_LIFETIME_S: Final = 60.0
"""The shortest lifetime in seconds: clients use a token for a minute, whatever `expires_in` says."""

MAX_LIFETIME_S: Final = 24 * 3600.0
"""The longest lifetime in seconds. No token can be taken back alone."""

ACCEPTED_LIFETIME_S: Final = 3600.0
"""Seconds. A token that was issued for longer is refused, unless the lifetime is longer now too: nodes may differ while
a new lifetime is rolled out, but a shorter one ends the tokens of a day."""

LEEWAY_S: Final = 5.0
"""Seconds that the clock of the node that issued a token may be ahead."""

_ALGORITHM: Final = "HS256"
_HEADER_MEMBERS: Final = {"alg", "kid", "typ"}
# Ours has 75. The header is all that is parsed before the signature is known to be right.
_MAX_HEADER_BYTES: Final = 1024
_ID_BYTES: Final = 12


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A new token, with what the answer of a token endpoint says about it.

    Args:
        text: the token.
        expires_in: seconds that it is valid.
        issued_at: seconds since the epoch.
    """

    text: str = field(repr=False)
    expires_in: int
    issued_at: int


class Tokens:
    """Issues tokens, and verifies them. Nodes with the same keys, issuer and service accept the tokens of each other.

    Args:
        keys: sign and verify.
        issuer: `iss` of the tokens.
        service: `aud` of the tokens: the name of this registry in the token protocol.
        lifetime_s: seconds that a token is valid, of which fractions are dropped.
        leeway_s: seconds that the clock of another node may be ahead.
        max_bytes: the most bytes of a token.
        clock: the time in seconds since the epoch.

    Raises:
        ValueError: the lifetime is not between `MIN_LIFETIME_S` and `MAX_LIFETIME_S`, or a name is empty.
    """

    def __init__(
        self,
        keys: TokenKeys,
        *,
        issuer: str,
        service: str,
        lifetime_s: float = LIFETIME_S,
        leeway_s: float = LEEWAY_S,
        max_bytes: int = MAX_TOKEN_BYTES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not MIN_LIFETIME_S <= lifetime_s <= MAX_LIFETIME_S:
            raise ValueError(
                f"the lifetime of tokens must be between {MIN_LIFETIME_S:.0f} and {MAX_LIFETIME_S:.0f} seconds"
            )
        if not issuer or not service:
            raise ValueError("tokens need an issuer and a service")
        self._keys = keys
        self._issuer = issuer
        self._service = service
        self._lifetime_s = int(lifetime_s)
        self._accepted_lifetime_s = max(self._lifetime_s, ACCEPTED_LIFETIME_S)
        self._leeway_s = leeway_s
        self._max_bytes = max_bytes
        self._clock = clock
        self._header = _part({"alg": _ALGORITHM, "kid": keys.ids[0], "typ": TYPE})

    def issue(
        self,
        subject: str,
        *,
        via: str,
        grants: Grants,
        groups: Collection[str] = frozenset(),
        stamp: str = "",
        provided: Mapping[str, Any] | None = None,
        expires: float | None = None,
    ) -> IssuedToken:
        """A new token.

        Args:
            subject: the user's name; "" for a client without credentials.
            via: how the user signed in.
            grants: what the token may be used for.
            groups: that the sign-in names.
            stamp: binds the token to the state of the account: a fingerprint of its password hash, for example.
            provided: claims of the identity provider: JSON values.
            expires: time after which the credentials that the token is given for are not valid. The token is not
                either, so its lifetime may be shorter.

        Raises:
            ValueError: the token would be too large, or a text has half of a surrogate pair.
        """
        now = int(self._clock())
        ends = now + self._lifetime_s if expires is None else min(now + self._lifetime_s, int(expires))
        claims = Claims(
            issuer=self._issuer,
            service=self._service,
            subject=subject,
            via=via,
            grants=grants,
            groups=frozenset(groups),
            stamp=stamp,
            issued_at=now,
            not_before=now,
            expires=ends,
            token_id=secrets.token_urlsafe(_ID_BYTES),
            provided=provided or {},
        )
        signed = f"{self._header}.{_part(claims.to_json())}"
        text = f"{signed}.{encode_part(self._keys.sign(signed.encode()))}"
        if len(text) > self._max_bytes:
            raise ValueError(f"the scopes, groups and claims do not fit into a token of {self._max_bytes} bytes")
        return IssuedToken(text, max(ends - now, 0), now)

    def verify(self, text: str) -> Claims:
        """What a token says, if it is one of ours and valid now.

        Raises:
            InvalidTokenError: it is not.
        """
        if len(text) > self._max_bytes:
            raise InvalidTokenError("the token is too large")
        if not text.isascii() or text.count(".") != 2:
            raise InvalidTokenError("the token is not three parts in ASCII")
        signed, _, signature = text.rpartition(".")
        header, _, payload = signed.partition(".")
        self._check_signature(_load_header(header), signed, decode_part(signature))
        claims = Claims.from_json(load_object(decode_part(payload)))
        self._check_claims(claims)
        return claims

    def _check_signature(self, header: dict[str, Any], signed: str, signature: bytes) -> None:
        # Another member may change what the signature means (`crit`, `b64`) or name a key (`jwk`, `jku`, `x5c`).
        if header.keys() != _HEADER_MEMBERS:
            raise InvalidTokenError("the header has not the members of ours")
        if header["typ"] != TYPE:
            raise InvalidTokenError("the token is of another type")
        if header["alg"] != _ALGORITHM:
            raise InvalidTokenError("the token names another algorithm")
        key_id = header["kid"]
        wanted = self._keys.mac(key_id, signed.encode()) if isinstance(key_id, str) else None
        if wanted is None:
            raise InvalidTokenError("the token names an unknown key")
        if not hmac.compare_digest(wanted, signature):
            raise InvalidTokenError("the signature is wrong")

    def _check_claims(self, claims: Claims) -> None:
        if claims.issuer != self._issuer:
            raise InvalidTokenError("the token is from another issuer")
        if claims.service != self._service:
            raise InvalidTokenError("the token is for another service")
        now = self._clock()
        if now >= claims.expires:
            raise InvalidTokenError("the token has expired")
        # A token from the future would be valid for longer than its lifetime.
        if max(claims.issued_at, claims.not_before) > now + self._leeway_s:
            raise InvalidTokenError("the token is not valid yet")
        if claims.expires - claims.issued_at > self._accepted_lifetime_s:
            raise InvalidTokenError("the token was issued for too long")


def is_ours(text: str) -> bool:
    """Whether a token says that it is one of ours. This is no reason to trust it: only `Tokens.verify` is."""
    try:
        return _load_header(text.partition(".")[0]).get("typ") == TYPE
    except InvalidTokenError:
        return False


def _load_header(part: str) -> dict[str, Any]:
    if len(part) > _MAX_HEADER_BYTES:
        raise InvalidTokenError("the header is too large")
    return load_object(decode_part(part))


def _part(value: dict[str, Any]) -> str:
    return encode_part(dump_json(value).encode())
