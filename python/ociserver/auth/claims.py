"""The claims of our tokens, and their form in JSON.

They are those of https://distribution.github.io/distribution/spec/auth/jwt/, and `via`, `groups`, `stamp` and `claims`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ociserver.auth.identity import Grants
from ociserver.auth.jose import InvalidTokenError
from ociserver.auth.scopes import access_of, grants_of

__all__ = ["Claims"]

_MAX_TIME: Final = 2**53 - 1  # RFC 8259, 6: larger integers are not the same everywhere


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What a token says. All times are seconds since the epoch.

    Args:
        issuer: `iss`.
        service: `aud`, the registry that the token is for.
        subject: `sub`, the user's name; "" for a client without credentials.
        via: how the user signed in, as in `Identity`.
        grants: `access`, what the token may be used for.
        groups: that the sign-in named.
        stamp: of the account, as the caller of `Tokens.issue` gave it; "" without one.
        issued_at: `iat`.
        not_before: `nbf`.
        expires: `exp`. The token is invalid from this time on.
        token_id: `jti`, which names the token in logs.
        provided: `claims`, those of the identity provider that rules use.
    """

    issuer: str
    service: str
    subject: str
    via: str
    grants: Grants
    groups: frozenset[str]
    stamp: str
    issued_at: int
    not_before: int
    expires: int
    token_id: str
    provided: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The claims as a JSON object, without groups, stamp and claims where there are none."""
        value: dict[str, Any] = {
            "iss": self.issuer,
            "aud": self.service,
            "sub": self.subject,
            "exp": self.expires,
            "nbf": self.not_before,
            "iat": self.issued_at,
            "jti": self.token_id,
            "via": self.via,
            "access": access_of(self.grants),
        }
        if self.groups:
            value["groups"] = sorted(self.groups)
        if self.stamp:
            value["stamp"] = self.stamp
        if self.provided:
            value["claims"] = dict(self.provided)
        return value

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Claims:
        """The claims of a JSON object. Members that this version does not know are ignored (RFC 7519, 4).

        Raises:
            InvalidTokenError: a claim is missing, or has the wrong type. An `aud` with several services is refused.
        """
        return cls(
            issuer=_text(value, "iss"),
            service=_text(value, "aud"),
            subject=_text(value, "sub"),
            via=_text(value, "via"),
            grants=_grants(value),
            groups=_groups(value),
            stamp=_text(value, "stamp") if "stamp" in value else "",
            issued_at=_time(value, "iat"),
            not_before=_time(value, "nbf"),
            expires=_time(value, "exp"),
            token_id=_text(value, "jti"),
            provided=_provided(value),
        )


def _text(claims: dict[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str):
        raise InvalidTokenError(f"the claim {name} is not a string")
    return value


def _time(claims: dict[str, Any], name: str) -> int:
    value = claims.get(name)
    # True is an int too.
    if type(value) is not int or not 0 <= value <= _MAX_TIME:
        raise InvalidTokenError(f"the claim {name} is not a time in whole seconds")
    return value


def _groups(claims: dict[str, Any]) -> frozenset[str]:
    groups = claims.get("groups", [])
    if not isinstance(groups, list) or not all(isinstance(group, str) for group in groups):
        raise InvalidTokenError("the claim groups is not a list of strings")
    return frozenset(groups)


def _provided(claims: dict[str, Any]) -> dict[str, Any]:
    provided = claims.get("claims", {})
    if not isinstance(provided, dict):
        raise InvalidTokenError("the claim claims is not an object")
    return provided


def _grants(claims: dict[str, Any]) -> Grants:
    access = claims.get("access")
    if isinstance(access, list):
        with contextlib.suppress(ValueError):
            return grants_of(access)
    raise InvalidTokenError("the claim access is not a list of grants")
