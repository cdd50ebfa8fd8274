"""Our own tokens: what they say, how long they are valid, and that other libraries read and write them."""

from __future__ import annotations

import math
import time
from typing import Any

import jwt
import pytest

from ociserver.auth.identity import CATALOG, Grants
from ociserver.auth.keys import TokenKeys
from ociserver.auth.tokens import ACCEPTED_LIFETIME_S, LEEWAY_S, MAX_TOKEN_BYTES, InvalidTokenError, Tokens, is_ours
from tests.auth.forging import ISSUER, KEY, KEY_ID, NOW, SERVICE, claims, header, signed, tokens

GRANTS: Grants = {"team/app": frozenset({"pull", "push"}), "base": frozenset({"pull"}), CATALOG: frozenset("*")}
ACCESS = [
    {"type": "registry", "name": "catalog", "actions": ["*"]},
    {"type": "repository", "name": "base", "actions": ["pull"]},
    {"type": "repository", "name": "team/app", "actions": ["pull", "push"]},
]
OTHER_KEY = b"Sphinx of black quartz, judge my vow, and again"


def test_a_token_says_what_was_put_into_it() -> None:
    issued = tokens().issue("änna", via="oidc", grants=GRANTS, groups={"dev", "ops"}, stamp="a fingerprint")
    assert (issued.expires_in, issued.issued_at) == (300, NOW)
    found = tokens().verify(issued.text)
    assert (found.issuer, found.service, found.subject, found.via) == (ISSUER, SERVICE, "änna", "oidc")
    assert (found.grants, found.groups, found.stamp) == (GRANTS, frozenset({"dev", "ops"}), "a fingerprint")
    assert (found.issued_at, found.not_before, found.expires) == (NOW, NOW, NOW + 300)


def test_a_token_of_nobody_that_grants_nothing() -> None:
    found = tokens().verify(tokens().issue("", via="anonymous", grants={}).text)
    assert (found.subject, found.via, found.grants, found.groups, found.stamp) == ("", "anonymous", {}, frozenset(), "")


def test_every_token_has_its_own_id() -> None:
    texts = [tokens().issue("anna", via="htpasswd", grants={}).text for _ in range(100)]
    assert len({tokens().verify(text).token_id for text in texts}) == 100


def test_pyjwt_reads_ours() -> None:
    issuing = Tokens(TokenKeys([KEY]), issuer=ISSUER, service=SERVICE, lifetime_s=90)
    before = int(time.time())
    issued = issuing.issue("anna", via="oidc", grants=GRANTS, groups={"ops", "dev"}, stamp="a fingerprint")
    assert jwt.get_unverified_header(issued.text) == {"alg": "HS256", "kid": KEY_ID, "typ": "registry+jwt"}
    required = ["iss", "aud", "sub", "exp", "nbf", "iat", "jti"]
    found = jwt.decode(issued.text, KEY, ["HS256"], {"require": required}, audience=SERVICE, issuer=ISSUER)
    assert len(found.pop("jti")) >= 16
    at = found.pop("iat")
    assert before <= at == issued.issued_at <= time.time()
    assert found == {
        "iss": ISSUER,
        "aud": SERVICE,
        "sub": "anna",
        "exp": at + 90,
        "nbf": at,
        "via": "oidc",
        "access": ACCESS,
        "groups": ["dev", "ops"],
        "stamp": "a fingerprint",
    }
    # What there is not is left out.
    plain = issuing.issue("", via="anonymous", grants={}).text
    found = jwt.decode(plain, KEY, ["HS256"], audience=SERVICE, issuer=ISSUER)
    assert not found.keys() & {"groups", "stamp"}
    assert found["access"] == []


def test_ours_reads_pyjwt() -> None:
    text = jwt.encode(claims(groups=["dev"], access=ACCESS), KEY, "HS256", {"kid": KEY_ID, "typ": "registry+jwt"})
    found = tokens().verify(text)
    assert (found.subject, found.via) == ("anna", "htpasswd")
    assert (found.grants, found.groups) == (GRANTS, frozenset({"dev"}))
    with pytest.raises(InvalidTokenError, match="signature"):
        tokens().verify(jwt.encode(claims(), OTHER_KEY, "HS256", {"kid": KEY_ID, "typ": "registry+jwt"}))


def test_a_claim_of_a_later_version_is_ignored() -> None:
    assert tokens().verify(signed(header(), claims(later={"a": [1.5, None]}))).subject == "anna"


def test_keys_are_replaced() -> None:
    old, new = TokenKeys([OTHER_KEY]), TokenKeys([KEY])
    issued = tokens(keys=old).issue("anna", via="htpasswd", grants={}).text
    assert tokens(keys=TokenKeys([KEY, OTHER_KEY])).verify(issued).subject == "anna"
    # The newest signs.
    later = tokens(keys=TokenKeys([KEY, OTHER_KEY])).issue("anna", via="htpasswd", grants={}).text
    assert tokens(keys=new).verify(later).subject == "anna"
    for keys, text in ((new, issued), (old, later)):
        with pytest.raises(InvalidTokenError, match="unknown key"):
            tokens(keys=keys).verify(text)


def test_a_key_verifies_only_what_names_it() -> None:
    keys = TokenKeys([KEY, OTHER_KEY])
    with pytest.raises(InvalidTokenError, match="signature"):
        tokens(keys=keys).verify(signed(header(), claims(), OTHER_KEY))
    assert tokens(keys=keys).verify(signed(header(kid=keys.ids[1]), claims(), OTHER_KEY)).subject == "anna"


@pytest.mark.parametrize(
    "times, reason",
    [
        ({"exp": NOW + 1}, ""),
        ({"exp": NOW}, "expired"),
        ({"exp": NOW - 1}, "expired"),
        ({"exp": NOW - 300, "iat": NOW - 600, "nbf": NOW - 600}, "expired"),
        ({"nbf": NOW + int(LEEWAY_S)}, ""),
        ({"nbf": NOW + int(LEEWAY_S) + 1}, "not valid yet"),
        ({"iat": NOW + int(LEEWAY_S)}, ""),
        ({"iat": NOW + int(LEEWAY_S) + 1}, "not valid yet"),
        # Such a token would be valid for a year, although each of its claims alone is well.
        ({"iat": NOW + 365 * 86400, "exp": NOW + 365 * 86400 + 300}, "not valid yet"),
        ({"exp": NOW + int(ACCEPTED_LIFETIME_S)}, ""),
        ({"exp": NOW + int(ACCEPTED_LIFETIME_S) + 1}, "too long"),
        ({"iat": NOW - int(ACCEPTED_LIFETIME_S), "exp": NOW + 1}, "too long"),
        ({"exp": 2**53 - 1}, "too long"),
    ],
)
def test_when_a_token_is_valid(times: dict[str, int], reason: str) -> None:
    text = signed(header(), claims(**times))
    if not reason:
        assert tokens().verify(text).subject == "anna"
        return
    with pytest.raises(InvalidTokenError, match=reason):
        tokens().verify(text)


def test_a_token_ends_with_its_lifetime() -> None:
    now = NOW + 0.75
    running = tokens(lifetime_s=90.5, clock=lambda: now)
    issued = running.issue("anna", via="htpasswd", grants={})
    assert issued.expires_in == 90
    now = NOW + 89.999
    assert running.verify(issued.text).expires == NOW + 90
    now = NOW + 90
    with pytest.raises(InvalidTokenError, match="expired"):
        running.verify(issued.text)


def test_a_long_lifetime_is_accepted_only_where_it_is_set() -> None:
    day = tokens(lifetime_s=86400).issue("anna", via="htpasswd", grants={})
    assert tokens(lifetime_s=86400).verify(day.text).expires == NOW + 86400
    with pytest.raises(InvalidTokenError, match="too long"):
        tokens(lifetime_s=300).verify(day.text)
    # Nodes with short lifetimes need not agree.
    hour = tokens(lifetime_s=3600).issue("anna", via="htpasswd", grants={})
    assert tokens(lifetime_s=60).verify(hour.text).expires == NOW + 3600


@pytest.mark.parametrize("lifetime", [59.9, 0, -300, 86401, math.inf, math.nan])
def test_a_lifetime_out_of_bounds_is_refused(lifetime: float) -> None:
    with pytest.raises(ValueError, match="between 60 and 86400 seconds"):
        tokens(lifetime_s=lifetime)


@pytest.mark.parametrize("options", [{"issuer": ""}, {"service": ""}])
def test_a_name_has_to_be_given(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="need an issuer and a service"):
        tokens(**options)


def test_a_token_that_would_be_too_large_is_not_issued() -> None:
    groups = {f"group-{number:04}" for number in range(600)}
    with pytest.raises(ValueError, match=f"do not fit into a token of {MAX_TOKEN_BYTES} bytes"):
        tokens().issue("anna", via="oidc", grants=GRANTS, groups=groups)
    larger = tokens(max_bytes=2 * MAX_TOKEN_BYTES)
    text = larger.issue("anna", via="oidc", grants=GRANTS, groups=groups).text
    assert larger.verify(text).groups == groups
    with pytest.raises(InvalidTokenError, match="too large"):
        tokens().verify(text)


def test_half_of_a_surrogate_pair_is_not_put_into_a_token() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        tokens().issue("\ud800", via="htpasswd", grants={})


def test_no_token_is_shown() -> None:
    issued = tokens().issue("anna", via="htpasswd", grants=GRANTS)
    assert not [part for part in issued.text.split(".") if part in repr(issued)]


@pytest.mark.parametrize(
    "text, wanted",
    [
        (signed(header(), claims()), True),
        # Whose it is says nothing about whether it is valid.
        (signed(header(kid="other", crit=["x"]), b"", b"other"), True),
        (signed(header(typ="JWT"), claims()), False),
        (signed(header(typ=None), claims()), False),
        (signed(header(typ=["registry+jwt"]), claims()), False),
        (signed([], claims()), False),
        (signed(header(pad="x" * MAX_TOKEN_BYTES), claims()), False),
        ("", False),
        ("registry+jwt", False),
        ("\ud800.é.", False),
    ],
)
def test_which_tokens_say_that_they_are_ours(text: str, *, wanted: bool) -> None:
    assert is_ours(text) is wanted
