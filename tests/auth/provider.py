"""An identity provider, or a token server, over HTTP on a loopback address, with keys of its own."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

DISCOVERY: Final = "/.well-known/openid-configuration"
JWKS: Final = "/keys"
AUDIENCE: Final = "registry.example"

_RSA: Final = [rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2)]


def new_key(kind: str, number: int = 0) -> Any:
    """A private key. RSA keys take long to make, so there are two, which are used again."""
    match kind:
        case "RSA":
            return _RSA[number]
        case "P-256":
            return ec.generate_private_key(ec.SECP256R1())
        case "P-384":
            return ec.generate_private_key(ec.SECP384R1())
        case "P-521":
            return ec.generate_private_key(ec.SECP521R1())
        case "Ed25519":
            return ed25519.Ed25519PrivateKey.generate()
    raise AssertionError(kind)


def public_jwk(key: Any, **members: Any) -> dict[str, Any]:
    """The public part of a key, as pyjwt writes it."""
    kinds: Any = {rsa.RSAPrivateKey: RSAAlgorithm, ec.EllipticCurvePrivateKey: ECAlgorithm}
    algorithm = next((each for kind, each in kinds.items() if isinstance(key, kind)), OKPAlgorithm)
    jwk: dict[str, Any] = algorithm.to_jwk(key.public_key(), as_dict=True)
    return {name: value for name, value in (jwk | {"use": "sig"} | members).items() if value is not None}


def signed(
    key: Any, claims: Mapping[str, Any], algorithm: str = "RS256", header: Mapping[str, Any] | None = None
) -> str:
    """A token with any claims and any header, signed by pyjwt. None as a value leaves a claim out."""
    given = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(given, key, algorithm, dict(header or {}))


class Provider:
    """What issues tokens. Tests change its attributes."""

    def __init__(self) -> None:
        self.issuer = ""
        self.keys: dict[str, Any] = {"one": new_key("RSA")}
        self.asked: list[str] = []
        self.answers: dict[str, web.Response] = {}
        """Answers in place of the good ones, by path."""
        self.arrived = asyncio.Event()
        """Set when somebody asks."""
        self.opened = asyncio.Event()
        """Answers wait for it."""
        self.opened.set()

    def count(self, path: str = JWKS) -> int:
        """How often a document was asked for."""
        return self.asked.count(path)

    def claims(self, **changes: Any) -> dict[str, Any]:
        now = int(time.time())
        good = {"iss": self.issuer, "aud": AUDIENCE, "sub": "job", "iat": now, "nbf": now, "exp": now + 300}
        return good | changes

    def token(self, key_id: str = "one", *, header: Any = None, **changes: Any) -> str:
        """A good token, with changes of its claims."""
        return signed(self.keys[key_id], self.claims(**changes), header={"kid": key_id, **(header or {})})

    def fails(self, path: str = JWKS, status: int = 500, **answer: Any) -> None:
        """From now on, answer like this."""
        self.answers[path] = web.Response(status=status, **answer)

    def heals(self) -> None:
        self.answers.clear()

    async def answer(self, request: web.BaseRequest) -> web.Response:
        self.asked.append(request.path)
        self.arrived.set()
        await self.opened.wait()
        if request.path in self.answers:
            given = self.answers[request.path]
            return web.Response(status=given.status, headers=given.headers, body=given.body)
        documents: dict[str, Any] = {
            DISCOVERY: {"issuer": self.issuer, "jwks_uri": self.issuer + JWKS},
            JWKS: {"keys": [public_jwk(key, kid=key_id) for key_id, key in self.keys.items()]},
        }
        return web.Response(text=json.dumps(documents[request.path]), content_type="application/json")


@asynccontextmanager
async def running() -> AsyncIterator[Provider]:
    """A provider that runs."""
    provider = Provider()
    server = web.Server(provider.answer)
    runner = web.ServerRunner(server)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        provider.issuer = f"http://{host}:{port}"
        yield provider
    finally:
        await runner.cleanup()
