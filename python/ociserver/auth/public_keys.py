"""Public keys of other issuers, from a JWK set (RFC 7517) or from certificates and public keys in PEM.

Each key verifies one family of algorithms, which follows from the key and never from a token (RFC 8725, 3.1): a token
cannot choose how its signature is read. Shared secrets (`oct`) are no public keys and are ignored, so HS256 with the
text of a public key as the secret has nothing to verify it.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ociserver.auth.jose import InvalidTokenError, dump_json, load_object

if TYPE_CHECKING:
    from jwt import PyJWK

__all__ = ["ALGORITHMS", "MAX_KEYS", "MIN_RSA_BITS", "KeySet", "PublicKey", "check_packages", "of_jwks", "of_pem"]

MAX_KEYS: Final = 100
"""The most keys of a set. Identity providers have some 2 to 10."""

MIN_RSA_BITS: Final = 2048
"""The fewest bits of an RSA key (RFC 7518, 3.3). Shorter ones are ignored."""

MAX_RSA_BITS: Final = 8192
"""The most bits of an RSA key. Longer ones, which are ignored, would make each signature slow to verify."""

_RS: Final = ("RS256", "RS384", "RS512")
_PS: Final = ("PS256", "PS384", "PS512")
_OF_CURVE: Final = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "Ed25519": "EdDSA"}

ALGORITHMS: Final = (*_RS, *_PS, *_OF_CURVE.values())
"""The algorithms of signatures that can be accepted: asymmetric ones only."""

_ONE_PEM: Final = re.compile(rb"-----BEGIN (CERTIFICATE|PUBLIC KEY)-----.*?-----END \1-----", re.DOTALL)
_PRIVATE: Final = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----")
_LIBTRUST_BYTES: Final = 30


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that verifies signatures.

    Args:
        key: as the package `cryptography` has it.
        algorithms: that it may be used with: one family.
    """

    key: Any
    algorithms: frozenset[str]


class KeySet:
    """The keys of an issuer at one time.

    Args:
        keys: with the ids that tokens may name them by. A key may have several.

    Raises:
        ValueError: there is none.
    """

    __slots__ = ("_keys", "_only")

    def __init__(self, keys: Iterable[tuple[Collection[str], PublicKey]]) -> None:
        pairs = list(keys)
        if not pairs:
            raise ValueError("there is no public key in it that can verify tokens")
        self._keys: dict[str, PublicKey] = {}
        for ids, key in pairs:
            for key_id in ids:
                self._keys.setdefault(key_id, key)
        self._only = pairs[0][1] if len(pairs) == 1 else None

    def find(self, key_id: str | None) -> PublicKey | None:
        """The key with an id. Without an id the only one: a token may leave the choice open if there is none to make.

        Args:
            key_id: `kid` of a token.
        """
        return self._only if key_id is None else self._keys.get(key_id)


def of_jwks(content: bytes, algorithms: Collection[str] = ALGORITHMS) -> KeySet:
    """The keys of a JWK set that can verify signatures. Others are ignored (RFC 7517, 5).

    A key without `kid` has its thumbprint (RFC 7638) as id.

    Args:
        content: the set as JSON.
        algorithms: that the issuer may use.

    Raises:
        ValueError: it is no such set, or too large, or none of its keys can be used.
        ImportError: the packages for signatures are not installed.
    """
    try:
        document = load_object(content)
    except InvalidTokenError:
        document = {}
    keys = document.get("keys")
    if not isinstance(keys, list):
        raise ValueError("it is not a JWK set")
    if len(keys) > MAX_KEYS:
        raise ValueError(f"it has more than {MAX_KEYS} keys")
    found = (_of_jwk(jwk, algorithms) for jwk in keys if isinstance(jwk, dict))
    return KeySet(pair for pair in found if pair is not None)


def of_pem(content: bytes, algorithms: Collection[str] = ALGORITHMS) -> KeySet:
    """The keys of certificates (`CERTIFICATE`) and public keys (`PUBLIC KEY`) in PEM.

    A token names a key by its thumbprint (RFC 7638) or by its fingerprint of libtrust, as token servers of
    distribution do. What a certificate says apart from its key, such as how long it is valid, does not matter.

    Args:
        content: any number of them, one after another.
        algorithms: that the issuer may use.

    Raises:
        ValueError: one of them cannot be read, or has a key that cannot be used, or there is none; or there is a
            private key, which does not belong here.
        ImportError: the packages for signatures are not installed.
    """
    if _PRIVATE.search(content):
        raise ValueError("it has a private key: only the token server may have it")
    blocks = [(found[1], found[0]) for found in _ONE_PEM.finditer(content)]
    if len(blocks) > MAX_KEYS:
        raise ValueError(f"it has more than {MAX_KEYS} keys")
    return KeySet(_of_block(*block, algorithms) for block in blocks)


def check_packages() -> None:
    """Make sure that keys can be read.

    Raises:
        ImportError: the packages for signatures are not installed.
    """
    _jwk_class()


def _of_block(kind: bytes, block: bytes, algorithms: Collection[str]) -> tuple[Collection[str], PublicKey]:
    check_packages()
    from cryptography import x509  # late: only servers with tokens of others need it
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

    try:
        if kind == b"CERTIFICATE":
            key: Any = x509.load_pem_x509_certificate(block).public_key()
        else:
            key = serialization.load_pem_public_key(block)
        info = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("it has a certificate or a public key that cannot be read") from None
    for algorithm in (RSAAlgorithm, ECAlgorithm, OKPAlgorithm):
        try:
            jwk = algorithm.to_jwk(key, as_dict=True)
        except Exception:  # noqa: S112  (each library class has its own error for a key of another type)
            continue
        found = _of_jwk({name: jwk[name] for name in jwk if name not in ("key_ops", "kid")}, algorithms)
        if found is not None:
            return (*found[0], _fingerprint(info)), found[1]
    raise ValueError("it has a key of a type or size that cannot verify tokens, or for none of the algorithms")


def _of_jwk(jwk: Mapping[str, Any], algorithms: Collection[str]) -> tuple[tuple[str, ...], PublicKey] | None:
    """A key with its ids. None: it cannot be used."""
    use, operations, key_id = jwk.get("use", "sig"), jwk.get("key_ops", ["verify"]), jwk.get("kid")
    # With a private part, somebody has published a secret.
    if use != "sig" or not isinstance(operations, list) or "verify" not in operations or "d" in jwk:
        return None
    family = _family(jwk, algorithms)
    if not family:
        return None
    from jwt.exceptions import PyJWTError  # late, for the same reason

    try:
        # `alg` is decided: pyjwt need not know a name for it, such as Ed25519.
        parsed = _jwk_class()({name: jwk[name] for name in jwk if name != "alg"}, min(family))
    except (PyJWTError, ValueError):
        return None
    if jwk["kty"] == "RSA" and not MIN_RSA_BITS <= parsed.key.key_size <= MAX_RSA_BITS:
        return None
    ids = (key_id,) if isinstance(key_id, str) and key_id else (_thumbprint(jwk),)
    return ids, PublicKey(parsed.key, family)


def _family(jwk: Mapping[str, Any], algorithms: Collection[str]) -> frozenset[str]:
    """The algorithms that a key may be used with, by its own `alg`, or by its type. Empty: none."""
    kty, named = jwk.get("kty"), jwk.get("alg")
    if kty == "RSA":
        # Without `alg`, an RSA key fits two families. The configuration can name the other one.
        fits: Collection[str] = (*_RS, *_PS) if named is not None else _RS if set(_RS) & set(algorithms) else _PS
    else:
        curve = jwk.get("crv")
        algorithm = _OF_CURVE.get(curve) if isinstance(curve, str) else None
        is_right_type = kty == ("OKP" if algorithm == "EdDSA" else "EC")
        fits = (algorithm,) if algorithm is not None and is_right_type else ()
    if named == "Ed25519":
        named = "EdDSA"  # RFC 9864 renames it in keys; tokens still have the old name
    return frozenset(fits) & frozenset(algorithms) & (frozenset(fits) if named is None else {str(named)})


def _thumbprint(jwk: Mapping[str, Any]) -> str:
    """RFC 7638: the hash of the members that make the key, in order."""
    members = {"RSA": ("e", "kty", "n"), "EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x")}[jwk["kty"]]
    digest = hashlib.sha256(dump_json({name: jwk[name] for name in members}).encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _fingerprint(info: bytes) -> str:
    """The fingerprint of libtrust: 240 bits of the SHA-256 of the DER form, in base32, in groups of four."""
    text = base64.b32encode(hashlib.sha256(info).digest()[:_LIBTRUST_BYTES]).decode()
    return ":".join(text[start : start + 4] for start in range(0, len(text), 4))


def _jwk_class() -> type[PyJWK]:
    try:
        import cryptography  # noqa: F401  (late: only servers with tokens of others need it)
        from jwt import PyJWK
    except ImportError as error:
        raise ImportError(
            f"tokens of others need packages that are not installed ({error}). Install them: pip install "
            "'ociserver[auth]'"
        ) from None
    return PyJWK
