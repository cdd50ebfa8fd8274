"""A token server for distribution (https://distribution.github.io/distribution/spec/auth/token/)."""

from __future__ import annotations

import base64
import datetime as dt
import time
import uuid
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import parse_qs

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from ociserver.types import Receive, Scope, Send

__all__ = ["ISSUER", "SERVICE", "USERS", "TokenServer"]

ISSUER: Final = "the token server"
SERVICE: Final = "the registry"

USERS: Final = {"user": "password", "reader": "password"}
"""`reader` may only pull. Anonymous users may do nothing."""

Algorithm = Literal["RS256", "ES256"]


class TokenServer:
    """An ASGI application that gives tokens to users with a password, for the allowed part of the scope.

    Args:
        algorithm: signs the tokens, with a new key.
        lifetime_s: lifetime of a token, in seconds.
    """

    def __init__(self, algorithm: Algorithm, lifetime_s: int = 300) -> None:
        self._key = (
            ec.generate_private_key(ec.SECP256R1()) if algorithm == "ES256" else rsa.generate_private_key(65537, 2048)
        )
        self._algorithm = algorithm
        self._lifetime_s = lifetime_s
        self._certificate = _certificate(self._key)
        self.asked: list[tuple[str, list[str]]] = []
        """The user and the scopes of each request."""

    def write_certificate(self, path: Path) -> None:
        """Write the certificate with which a registry verifies tokens (`rootcertbundle`)."""
        path.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert (scope["method"], scope["path"]) == ("GET", "/token")
        query = parse_qs(scope["query_string"].decode())
        user, password = _basic(dict(scope["headers"]).get(b"authorization", b"").decode())
        scopes = query.get("scope", [])
        self.asked.append((user, scopes))
        if query.get("service") != [SERVICE] or not user or USERS.get(user) != password:
            await _answer(send, 401, b'{"details":"wrong service, user or password"}')
            return
        token = self._token(user, [_granted(user, entry) for entry in scopes])
        await _answer(send, 200, b'{"token":"%s","expires_in":%d}' % (token.encode(), self._lifetime_s))

    def _token(self, user: str, access: list[dict[str, Any]]) -> str:
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "sub": user,
            "aud": SERVICE,
            "exp": now + self._lifetime_s,
            "nbf": now - 5,
            "iat": now,
            "jti": str(uuid.uuid4()),
            "access": access,
        }
        chain = [base64.b64encode(self._certificate.public_bytes(serialization.Encoding.DER)).decode()]
        return jwt.encode(claims, self._key, self._algorithm, headers={"x5c": chain})


def _granted(user: str, scope: str) -> dict[str, Any]:
    kind, _, rest = scope.partition(":")
    name, _, actions = rest.rpartition(":")
    allowed = {"pull"} if user == "reader" else {"pull", "push", "delete", "*"}
    return {"type": kind, "name": name, "actions": sorted(allowed & set(actions.split(",")))}


def _basic(header: str) -> tuple[str, str]:
    user, _, password = base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")
    return user, password


def _certificate(key: Any) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, ISSUER)])
    now = dt.datetime.now(dt.UTC)
    day = dt.timedelta(days=1)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )


async def _answer(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
