"""Verifies tokens of another issuer: compact JWS with the claims of a JWT (RFC 7515, RFC 7519, RFC 8725)."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any, Final

from ociserver.auth.authorization import InvalidCredentialsError
from ociserver.auth.jose import InvalidTokenError, decode_part, load_object
from ociserver.auth.jwks import KeySource
from ociserver.auth.public_keys import PublicKey

__all__ = ["LEEWAY_S", "MAX_TOKEN_BYTES", "MAX_VALID_S", "JwtVerifier", "issuer_of"]

MAX_TOKEN_BYTES: Final = 12 * 1024
"""The most bytes of a token. In Basic credentials, base64 makes 16 KiB of them, the most that a header may have."""

LEEWAY_S: Final = 30.0
"""Seconds that the clock of the issuer may be ahead. A token ends at its `exp` all the same, without a leeway: what is
exchanged for it must not live longer, and would otherwise be invalid from the start."""

MAX_VALID_S: Final = 366 * 24 * 3600.0
"""Seconds between `iat` and `exp`. A token that is valid for longer is a mistake of its issuer."""

TYPES: Final = frozenset({"jwt", ""})
"""`typ` of tokens that are accepted, in lower case; "" if it is absent. RFC 8725, 3.11: access tokens (`at+jwt`),
logout tokens (`logout+jwt`) and our own tokens have other types, and other meanings."""

_MAX_HEADER_BYTES: Final = 4 * 1024
_MAX_KEY_ID: Final = 1024
_MAX_TIME: Final = 2**53 - 1  # RFC 8259, 6: larger integers are not the same everywhere

_REFUSED: Final = frozenset({"crit", "b64", "jwk", "jku", "x5c", "x5u"})
"""Members of the header that change what the signature means, or that bring a key along (RFC 7515, 4.1)."""


class JwtVerifier:
    """Verifies the tokens of one issuer for one audience.

    Args:
        keys: of the issuer.
        issuer: the exact `iss`.
        audience: the exact `aud`, or a member of it if it is a list.
        types: values of `typ` that are accepted, in lower case; "" if it may be absent.
        leeway_s: seconds that the clock of the issuer may be ahead.
        max_bytes: the most bytes of a token.
        clock: the time in seconds since the epoch.

    Raises:
        ValueError: the issuer or the audience is empty. Without an audience, every token of the issuer for anybody
            would be accepted.
    """

    def __init__(
        self,
        keys: KeySource,
        *,
        issuer: str,
        audience: str,
        types: Collection[str] = TYPES,
        leeway_s: float = LEEWAY_S,
        max_bytes: int = MAX_TOKEN_BYTES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not issuer or not audience:
            raise ValueError("tokens of another issuer need the name of the issuer and an audience")
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._types = frozenset(types)
        self._leeway_s = leeway_s
        self._max_bytes = max_bytes
        self._clock = clock

    @property
    def issuer(self) -> str:
        """The `iss` of its tokens."""
        return self._issuer

    async def verify(self, token: str) -> dict[str, Any]:
        """The claims of a token that is valid now. `exp` is an integer.

        Raises:
            InvalidCredentialsError: it is not valid. The text has nothing of the token.
            OCIError: 503: the keys of the issuer cannot be fetched.
        """
        try:
            # What costs little comes first: only a token that is right apart from its key may cause a fetch.
            header, claims = _parts(token, self._max_bytes)
            self._check_header(header)
            self._check_claims(claims)
            _check_signature(token, header["alg"], await self._key(header))
        except InvalidTokenError as error:
            raise InvalidCredentialsError(error.reason) from None
        return claims

    def _check_header(self, header: dict[str, Any]) -> None:
        if not _REFUSED.isdisjoint(header):
            raise InvalidTokenError("the header of the token has a key, or members that have to be understood")
        kind = header.get("typ", "")
        if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in self._types:
            raise InvalidTokenError("the token is of another type")
        if not isinstance(header.get("alg"), str):
            raise InvalidTokenError("the token names no algorithm")
        key_id = header.get("kid")
        if key_id is not None and not (isinstance(key_id, str) and 0 < len(key_id) <= _MAX_KEY_ID):
            raise InvalidTokenError("the id of the key of the token is not a text, or too long")

    def _check_claims(self, claims: dict[str, Any]) -> None:
        if claims.get("iss") != self._issuer:
            raise InvalidTokenError("the token is from another issuer")
        audience = claims.get("aud")
        if audience != self._audience and not (isinstance(audience, list) and self._audience in audience):
            raise InvalidTokenError("the token is for another audience")
        now = self._clock()
        expires, issued_at = _time(claims, "exp"), _time(claims, "iat")
        if now >= expires:
            raise InvalidTokenError("the token has expired")
        # OpenID Connect has no `nbf`. If it is there, it counts.
        not_before = _time(claims, "nbf") if "nbf" in claims else issued_at
        if max(issued_at, not_before) > now + self._leeway_s:
            raise InvalidTokenError("the token is not valid yet")
        if expires - issued_at > MAX_VALID_S:
            raise InvalidTokenError("the token was issued for too long")

    async def _key(self, header: dict[str, Any]) -> PublicKey:
        key_id = header.get("kid")
        key = (await self._keys.keys()).find(key_id)
        if key is None and key_id is not None:
            key = (await self._keys.looked_again()).find(key_id)
        if key is None:
            raise InvalidTokenError("the token names an unknown key, or none of several")
        return key


def issuer_of(token: str, max_bytes: int = MAX_TOKEN_BYTES) -> str | None:
    """What a token says about its issuer, to find who can verify it. This is no reason to trust it.

    Returns:
        None if the token names no issuer, or is no JWT.
    """
    try:
        _, claims = _parts(token, max_bytes)
    except InvalidTokenError:
        return None
    issuer = claims.get("iss")
    return issuer if isinstance(issuer, str) else None


def _parts(token: str, max_bytes: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The header and the claims, not yet verified."""
    if len(token) > max_bytes:
        raise InvalidTokenError("the token is too large")
    if not token.isascii() or token.count(".") != 2:
        raise InvalidTokenError("the token is not three parts in ASCII")
    header, payload, _ = token.split(".")
    if len(header) > _MAX_HEADER_BYTES:
        raise InvalidTokenError("the header of the token is too large")
    return load_object(decode_part(header)), load_object(decode_part(payload))


def _check_signature(token: str, algorithm: str, key: PublicKey) -> None:
    from jwt import PyJWS  # late: only servers with tokens of others need it
    from jwt.exceptions import PyJWTError

    if algorithm not in key.algorithms:
        raise InvalidTokenError("the token names an algorithm that its key is not for")
    try:
        PyJWS([algorithm]).decode_complete(token, key.key, [algorithm])
    except (PyJWTError, ValueError, TypeError):
        is_right = False  # outside of this block, the new error does not carry the old one
    else:
        is_right = True
    if not is_right:
        raise InvalidTokenError("the signature of the token is wrong")


def _time(claims: dict[str, Any], name: str) -> int:
    value = claims.get(name)
    # True is an int too.
    if type(value) is not int or not 0 <= value <= _MAX_TIME:
        raise InvalidTokenError(f"the claim {name} is not a time in whole seconds")
    return value
