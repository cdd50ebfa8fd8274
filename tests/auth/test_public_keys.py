"""Public keys of other issuers: what is read of a JWK set or of PEM, and what each key may be used for."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
from typing import Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.x509.oid import NameOID
from jwt.algorithms import RSAAlgorithm

from ociserver.auth.public_keys import ALGORITHMS, MAX_KEYS, KeySet, of_jwks, of_pem
from tests.auth.forging import encoded
from tests.auth.provider import new_key, public_jwk

# RFC 7638, 3.1
RFC7638: Final = {
    "kty": "RSA",
    "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3"
    "oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5h"
    "ajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
    "e": "AQAB",
    "alg": "RS256",
}
RFC7638_THUMBPRINT: Final = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
# RFC 8037, A.2 and A.3
RFC8037: Final = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
RFC8037_THUMBPRINT: Final = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"

RS: Final = {"RS256", "RS384", "RS512"}
PS: Final = {"PS256", "PS384", "PS512"}


def jwks(*keys: Any, algorithms: Any = ALGORITHMS) -> KeySet:
    return of_jwks(json.dumps({"keys": keys}).encode(), algorithms)


def uses(keys: KeySet, key_id: str | None = None) -> set[str]:
    """What a key may be used for; nothing if it is not there."""
    found = keys.find(key_id)
    return set() if found is None else set(found.algorithms)


def public_pem(key: Any) -> bytes:
    pem: bytes = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem


def certificate(key: Any) -> bytes:
    """A certificate of a key that has expired, signed by itself."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "token server")])
    then = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, then, then + dt.timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def fingerprint(key: Any) -> str:
    """The steps of https://distribution.github.io/distribution/spec/auth/jwt/: 12 groups of 4 characters."""
    der = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    text = base64.b32encode(hashlib.sha256(der).digest()[: 240 // 8]).decode()
    assert len(text) == 48
    return ":".join(text[4 * group : 4 * group + 4] for group in range(12))


def thumbprint_of(jwk: dict[str, Any]) -> str:
    """RFC 7638, 3: the members that are needed, in order, without spaces."""
    needed = {name: jwk[name] for name in ("crv", "e", "kty", "n", "x", "y") if name in jwk}
    return encoded(hashlib.sha256(json.dumps(needed, sort_keys=True, separators=(",", ":")).encode()).digest())


@pytest.mark.parametrize("jwk, thumbprint", [(RFC7638, RFC7638_THUMBPRINT), (RFC8037, RFC8037_THUMBPRINT)])
def test_a_key_without_an_id_has_its_thumbprint(jwk: dict[str, Any], thumbprint: str) -> None:
    assert thumbprint_of(jwk) == thumbprint
    keys = jwks(jwk, public_jwk(new_key("RSA"), kid="other"))
    assert keys.find(thumbprint)
    assert keys.find("other")
    assert keys.find(None) is None
    named = jwks({**jwk, "kid": "named"})
    assert named.find("named")
    assert named.find(thumbprint) is None


def test_the_only_key_needs_no_id() -> None:
    assert jwks(RFC7638).find(None)
    assert jwks(RFC7638).find("other") is None


@pytest.mark.parametrize(
    "kind, algorithm, expected",
    [
        ("RSA", None, RS),
        ("RSA", "RS384", {"RS384"}),
        ("RSA", "PS512", {"PS512"}),
        ("RSA", "HS256", set()),
        ("RSA", "none", set()),
        ("RSA", "ES256", set()),
        ("RSA", "RSA-OAEP", set()),
        ("RSA", 5, set()),
        ("RSA", "", set()),
        ("P-256", None, {"ES256"}),
        ("P-256", "ES256", {"ES256"}),
        ("P-256", "ES384", set()),
        ("P-384", None, {"ES384"}),
        ("P-521", None, {"ES512"}),
        ("Ed25519", None, {"EdDSA"}),
        ("Ed25519", "EdDSA", {"EdDSA"}),
        ("Ed25519", "Ed25519", {"EdDSA"}),
        ("Ed25519", "HS256", set()),
    ],
)
def test_a_key_has_one_family_of_algorithms(kind: str, algorithm: Any, expected: set[str]) -> None:
    keys = jwks(public_jwk(new_key(kind), kid="one", alg=algorithm), public_jwk(new_key("RSA"), kid="two"))
    assert uses(keys, "one") == expected


@pytest.mark.parametrize(
    "algorithms, expected",
    [
        (["RS256"], {"RS256"}),
        (["PS256", "PS512"], {"PS256", "PS512"}),
        (["PS256", "RS512"], {"RS512"}),
        (["ES256"], set()),
    ],
)
def test_the_configuration_narrows_the_algorithms(algorithms: list[str], expected: set[str]) -> None:
    key, other = public_jwk(new_key("RSA"), kid="one"), public_jwk(new_key("P-256"), kid="two")
    assert uses(jwks(key, other, algorithms=[*algorithms, "ES256"]), "one") == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"use": "enc"},
        {"key_ops": ["sign"]},
        {"key_ops": "verify"},
        {"d": "AQAB"},
        {"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"},
        {"kty": None},
        {"kty": "EC"},
        {"kty": ["RSA"]},
        {"n": None},
        {"n": "!"},
        {"n": 5},
        {"e": "AA"},
        {"e": "AQ"},
    ],
)
def test_a_key_that_cannot_be_used_is_ignored(changes: dict[str, Any]) -> None:
    keys = jwks(public_jwk(new_key("RSA"), kid="one", **changes), public_jwk(new_key("P-256"), kid="two"))
    assert keys.find("one") is None
    assert keys.find("two")
    with pytest.raises(ValueError, match="no public key"):
        jwks(public_jwk(new_key("RSA"), kid="one", **changes))


def test_a_private_key_is_ignored() -> None:
    """Somebody has published it, so anybody may sign with it."""
    private = json.loads(RSAAlgorithm.to_jwk(new_key("RSA")))
    keys = jwks({name: private[name] for name in private if name != "key_ops"} | {"kid": "one"}, RFC8037)
    assert keys.find("one") is None


def test_a_short_rsa_key_is_ignored() -> None:
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505
    with pytest.raises(ValueError, match="no public key"):
        jwks(public_jwk(short))
    with pytest.raises(ValueError, match="type or size"):
        of_pem(public_pem(short))


def test_other_curves_are_ignored() -> None:
    for curve in (ec.SECP256K1(), ec.SECP224R1()):
        with pytest.raises(ValueError, match="type or size"):
            of_pem(public_pem(ec.generate_private_key(curve)))
    with pytest.raises(ValueError, match="type or size"):
        of_pem(public_pem(ed448.Ed448PrivateKey.generate()))
    with pytest.raises(ValueError, match="no public key"):
        jwks({"kty": "EC", "crv": "secp256k1", "x": RFC8037["x"], "y": RFC8037["x"]})
    with pytest.raises(ValueError, match="no public key"):
        jwks({**RFC8037, "kty": "EC"})


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"keys": 5}', b"\xff", b'{"keys": [], "keys": []}'])
def test_what_is_no_set(content: bytes) -> None:
    with pytest.raises(ValueError, match="not a JWK set"):
        of_jwks(content)


def test_members_that_are_no_keys_are_ignored() -> None:
    assert jwks(5, None, [], "x", {}, RFC8037).find(RFC8037_THUMBPRINT)


def test_a_set_has_a_bounded_number_of_keys() -> None:
    with pytest.raises(ValueError, match="more than"):
        jwks(*[RFC8037] * (MAX_KEYS + 1))


def test_of_two_keys_with_one_id_the_first_counts() -> None:
    keys = jwks(public_jwk(new_key("P-256"), kid="one"), public_jwk(new_key("P-384"), kid="one"))
    assert uses(keys, "one") == {"ES256"}


@pytest.mark.parametrize(
    "kind, expected",
    [("RSA", RS), ("P-256", {"ES256"}), ("P-384", {"ES384"}), ("P-521", {"ES512"}), ("Ed25519", {"EdDSA"})],
)
def test_keys_in_pem(kind: str, expected: set[str]) -> None:
    key, other = new_key(kind), new_key("P-256")
    keys = of_pem(b"a comment\n" + public_pem(key) + public_pem(other))
    thumbprint = thumbprint_of(public_jwk(key))
    assert uses(keys, fingerprint(key)) == uses(keys, thumbprint) == expected
    assert keys.find(None) is None
    assert uses(of_pem(public_pem(key))) == expected


def test_keys_of_certificates() -> None:
    first, second = new_key("RSA"), new_key("P-256")
    keys = of_pem(certificate(first) + certificate(second))
    assert uses(keys, fingerprint(first)) == RS
    assert uses(keys, fingerprint(second)) == {"ES256"}
    assert uses(of_pem(certificate(first), ["PS256"])) == {"PS256"}


def test_pem_that_is_wrong() -> None:
    key = new_key("P-256")
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(ValueError, match="private key"):
        of_pem(public_pem(key) + private)
    with pytest.raises(ValueError, match="cannot be read"):
        of_pem(public_pem(key).replace(b"MFkw", b"MFkx"))
    with pytest.raises(ValueError, match="no public key"):
        of_pem(b"nothing")
    with pytest.raises(ValueError, match="for none of the algorithms"):
        of_pem(public_pem(key), ["RS256"])
