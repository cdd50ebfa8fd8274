"""Tokens of other issuers: those that are right, and those that an attacker would send."""

from __future__ import annotations

import json
from typing import Any, Final

import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from ociserver.auth.authorization import InvalidCredentialsError
from ociserver.auth.jwt_verifier import MAX_TOKEN_BYTES, JwtVerifier, issuer_of
from ociserver.auth.public_keys import ALGORITHMS, KeySet, of_jwks
from tests.auth import forging
from tests.auth.forging import NOW
from tests.auth.provider import new_key, public_jwk, signed

pytestmark = pytest.mark.anyio

ISSUER: Final = "https://issuer.example"
AUDIENCE: Final = "registry.example"
KEY: Final = new_key("RSA")
CLAIMS: Final = {"iss": ISSUER, "aud": AUDIENCE, "sub": "job", "iat": NOW, "nbf": NOW, "exp": NOW + 300}


class Keys:
    """Keys that do not change, and how often somebody looked again for an unknown one."""

    def __init__(self, *jwks: dict[str, Any], algorithms: Any = ALGORITHMS) -> None:
        self._keys = of_jwks(json.dumps({"keys": jwks}).encode(), algorithms)
        self.looks = 0

    async def keys(self) -> KeySet:
        return self._keys

    async def looked_again(self) -> KeySet:
        self.looks += 1
        return self._keys


def verifier(*keys: dict[str, Any], **options: Any) -> JwtVerifier:
    source = Keys(*(keys or (public_jwk(KEY, kid="one"),)))
    return JwtVerifier(source, **{"issuer": ISSUER, "audience": AUDIENCE, "clock": lambda: NOW, **options})


def token(header: dict[str, Any] | None = None, /, **changes: Any) -> str:
    return signed(KEY, CLAIMS | changes, header={"kid": "one"} | (header or {}))


async def refusal(text: str, **options: Any) -> str:
    """Why a token is refused. The reason has nothing of the token."""
    with pytest.raises(InvalidCredentialsError) as caught:
        await verifier(**options).verify(text)
    assert caught.value.__cause__ is None
    assert not any(len(part) > 9 and part in str(caught.value) for part in text.split("."))
    return str(caught.value)


@pytest.mark.parametrize(
    "kind, algorithm",
    [
        *(("RSA", name) for name in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
        ("P-256", "ES256"),
        ("P-384", "ES384"),
        ("P-521", "ES512"),
        ("Ed25519", "EdDSA"),
    ],
)
async def test_every_algorithm(kind: str, algorithm: str) -> None:
    key = new_key(kind)
    mine = verifier(public_jwk(key, kid="one", alg=algorithm), public_jwk(new_key("P-256"), kid="two"))
    text = signed(key, CLAIMS, algorithm, {"kid": "one"})
    assert await mine.verify(text) == CLAIMS
    # With another signature.
    forged = signed(new_key(kind, 1), CLAIMS, algorithm, {"kid": "one"})
    with pytest.raises(InvalidCredentialsError, match="signature"):
        await mine.verify(forged)
    with pytest.raises(InvalidCredentialsError, match="signature"):
        await mine.verify(f"{text.rpartition('.')[0]}.")
    # With other claims.
    head, _, signature = text.split(".")
    body = forging.encoded(json.dumps(CLAIMS | {"sub": "admin"}).encode())
    with pytest.raises(InvalidCredentialsError, match="signature"):
        await mine.verify(f"{head}.{body}.{signature}")


async def test_the_algorithm_is_that_of_the_key() -> None:
    assert await verifier().verify(signed(KEY, CLAIMS, "RS512", {"kid": "one"}))
    text = signed(KEY, CLAIMS, "PS256", {"kid": "one"})
    assert "algorithm" in await refusal(text)


async def test_a_shared_secret_is_never_a_key() -> None:
    """RFC 8725, 2.1: the public key as the secret of HS256."""
    public = KEY.public_key()
    texts = [
        public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
        json.dumps(public_jwk(KEY, kid="one")).encode(),
        b"",
    ]
    for secret in texts:
        assert "algorithm" in await refusal(forging.signed({"alg": "HS256", "kid": "one"}, CLAIMS, secret))


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", "HS256", "RS1", "ES256", "../RS256", "rs256"])
async def test_other_algorithms(algorithm: str) -> None:
    head = forging.encoded(json.dumps({"alg": algorithm, "kid": "one"}).encode())
    body = forging.encoded(json.dumps(CLAIMS).encode())
    signature = token().rpartition(".")[2]
    assert "algorithm" in await refusal(f"{head}.{body}.{signature}")
    assert "algorithm" in await refusal(f"{head}.{body}.")


@pytest.mark.parametrize("algorithm", [None, 5, ["RS256"]])
async def test_an_algorithm_that_is_no_text(algorithm: Any) -> None:
    head = {"alg": algorithm, "kid": "one"} if algorithm else {"kid": "one"}
    assert await refusal(forging.signed(head, CLAIMS)) == "the token names no algorithm"


@pytest.mark.parametrize(
    "member",
    [
        # CVE-2025-24976: a key in the token, with the id of one that is trusted.
        {"jwk": public_jwk(new_key("RSA", 1), kid="one")},
        {"x5c": ["MIIB"]},
        {"x5u": "https://attacker.example/key"},
        {"jku": "https://attacker.example/jwks"},
        {"crit": ["exp"], "exp": NOW},
        {"crit": []},
        {"b64": True},
    ],
)
async def test_members_of_the_header_that_bring_a_key_or_change_the_meaning(member: dict[str, Any]) -> None:
    forged = new_key("RSA", 1)
    # pyjwt refuses to write some of them.
    text = forging.signed({"alg": "RS256", "kid": "one", **member}, CLAIMS)
    head, body, _ = text.split(".")
    from jwt.algorithms import RSAAlgorithm

    for key in (forged, KEY):
        signature = RSAAlgorithm(RSAAlgorithm.SHA256).sign(f"{head}.{body}".encode(), key)
        assert "header" in await refusal(f"{head}.{body}.{forging.encoded(signature)}")


@pytest.mark.parametrize("kind, is_right", [("JWT", True), ("jwt", True), ("application/jwt", True)])
async def test_the_type(kind: str, is_right: bool) -> None:  # noqa: FBT001
    assert await verifier().verify(token({"typ": kind})) == CLAIMS


@pytest.mark.parametrize("kind", ["at+jwt", "logout+jwt", "registry+jwt", "JWE", "application/at+jwt", 5])
async def test_another_type(kind: Any) -> None:
    head = {"alg": "RS256", "kid": "one", "typ": kind}
    assert await refusal(forging.signed(head, CLAIMS)) == "the token is of another type"


async def test_no_type_is_that_of_kubernetes() -> None:
    assert await verifier().verify(signed(KEY, CLAIMS, header={"kid": "one", "typ": None})) == CLAIMS
    text = token()
    with pytest.raises(InvalidCredentialsError, match="another type"):
        await verifier(types={"at+jwt"}).verify(text)


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"iss": None}, "another issuer"),
        ({"iss": ISSUER + "/"}, "another issuer"),
        ({"iss": [ISSUER]}, "another issuer"),
        ({"aud": None}, "another audience"),
        ({"aud": ""}, "another audience"),
        ({"aud": AUDIENCE + ".evil"}, "another audience"),
        ({"aud": []}, "another audience"),
        ({"aud": ["other"]}, "another audience"),
        ({"aud": [[AUDIENCE]]}, "another audience"),
        ({"aud": {AUDIENCE: 1}}, "another audience"),
        ({"exp": None}, "claim exp"),
        ({"exp": float(NOW + 300)}, "claim exp"),
        ({"exp": str(NOW + 300)}, "claim exp"),
        ({"exp": True}, "claim exp"),
        ({"exp": 2**53}, "claim exp"),
        ({"exp": -1}, "claim exp"),
        ({"exp": NOW}, "expired"),
        ({"exp": NOW + 367 * 86400}, "too long"),
        ({"iat": None}, "claim iat"),
        ({"iat": float(NOW)}, "claim iat"),
        ({"iat": NOW + 31}, "not valid yet"),
        ({"nbf": NOW + 31}, "not valid yet"),
        ({"nbf": str(NOW)}, "claim nbf"),
        ({"nbf": True}, "claim nbf"),
    ],
)
async def test_claims_that_are_wrong(changes: dict[str, Any], reason: str) -> None:
    # pyjwt checks some types when it encodes.
    given = {name: value for name, value in (CLAIMS | changes).items() if value is not None}
    text = jwt.api_jws.encode(json.dumps(given).encode(), KEY, "RS256", {"kid": "one"})
    assert reason in await refusal(text)


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": [AUDIENCE]},
        {"aud": ["other", AUDIENCE]},
        {"exp": NOW + 1},
        {"iat": NOW + 30, "nbf": NOW + 30},
        {"nbf": None},
    ],
)
async def test_claims_that_are_right(changes: dict[str, Any]) -> None:
    assert (await verifier().verify(token(**changes)))["sub"] == "job"


async def test_the_key_is_named_unless_it_is_the_only_one() -> None:
    anonymous = signed(KEY, CLAIMS)
    assert await verifier().verify(anonymous) == CLAIMS
    with pytest.raises(InvalidCredentialsError, match="unknown key, or none of several"):
        await verifier(public_jwk(KEY, kid="one"), public_jwk(new_key("P-256"), kid="two")).verify(anonymous)
    assert "unknown key" in await refusal(token({"kid": "../one"}))


@pytest.mark.parametrize("key_id", ["", 5, ["one"], "x" * 1025, None])
async def test_an_id_of_a_key_that_is_none(key_id: Any) -> None:
    text = forging.signed({"alg": "RS256", "kid": key_id}, CLAIMS)
    # null is none.
    assert ("signature" if key_id is None else "id of the key") in await refusal(text)


async def test_only_a_token_that_is_right_apart_from_its_key_looks_for_keys() -> None:
    keys = Keys(public_jwk(KEY, kid="one"))
    mine = JwtVerifier(keys, issuer=ISSUER, audience=AUDIENCE, clock=lambda: NOW)
    for text in (token({"kid": "two"}, aud="other"), token({"kid": "two"}, exp=NOW), signed(KEY, CLAIMS, "RS256")[:-9]):
        with pytest.raises(InvalidCredentialsError):
            await mine.verify(text)
    assert keys.looks == 0
    with pytest.raises(InvalidCredentialsError):
        await mine.verify(token({"kid": "two"}))
    assert keys.looks == 1


async def test_texts_that_are_no_tokens() -> None:
    good = token()
    head, body, signature = good.split(".")
    for text in (
        "",
        ".",
        "..",
        "a.b",
        f"{good}.x",
        f"{head}.{body}",
        f"é{good}",
        f"{good}=",
        f"{head}=.{body}.{signature}",
    ):
        assert await refusal(text)
    assert "too large" in await refusal("x" * (MAX_TOKEN_BYTES + 1))
    twice = b'{"iss":"%b","iss":"%b"}' % (ISSUER.encode(), ISSUER.encode())
    assert "unique members" in await refusal(forging.signed({"alg": "RS256", "kid": "one"}, twice))
    assert "too large" in await refusal(token({"x": "y" * 4096}))


@pytest.mark.parametrize("names", [{"issuer": ""}, {"audience": ""}])
def test_an_issuer_and_an_audience_are_needed(names: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="an audience"):
        verifier(**names)


def test_what_a_token_says_about_its_issuer() -> None:
    assert issuer_of(token()) == ISSUER
    assert issuer_of(token(iss=None)) is None
    assert issuer_of(forging.signed({"alg": "none"}, {"iss": 5})) is None
    assert issuer_of("x") is None
