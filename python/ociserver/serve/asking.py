"""Asks a server for its health, over one plain connection. It imports little, because health checks run often."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import time
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from ociserver.serve.health import READY

__all__ = ["REFUSED", "Target", "Unhealthy", "ask", "target_of"]

MAX_ANSWER: Final = 8 * 1024
"""Bytes of an answer that are read. Ours have less than 1 KiB."""

MAX_REASON: Final = 200
"""Characters of a reason that a message shows."""

REFUSED: Final = "CERTIFICATE_REQUIRED"
"""End of OpenSSL's name for the alert to a client without a certificate (RFC 8446, section 6.2)."""

_WILDCARDS: Final = {"0.0.0.0": "127.0.0.1", "::": "localhost", "": "localhost"}  # noqa: S104 - compared, not bound
_PORTS: Final = {"http": 80, "https": 443}


class Unhealthy(Exception):
    """The server is not healthy. The message says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """What to ask.

    Args:
        host: a name or an address.
        port: a TCP port.
        tls: whether to use TLS.
        path: of the URL, with the query.
        demands_certificates: whether the server must refuse clients without a certificate. Then it is healthy if it
            does, since this client has none.
    """

    host: str
    port: int
    tls: bool
    path: str = READY
    demands_certificates: bool = False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{self.path.partition('?')[0]}"

    @property
    def is_here(self) -> bool:
        """Whether the host is this machine."""
        host = _WILDCARDS.get(self.host, self.host)
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"


def target_of(url: str) -> Target:
    """What a URL means. Without a scheme it is plain HTTP, and without a path `/readyz`.

    Raises:
        ValueError: it is not a URL of HTTP. The message does not repeat it, because it may contain a password.
    """
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError("must be a URL such as http://localhost:5000")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not contain a user or a password: health checks need none")
    if parts.port == 0:
        raise ValueError("must not have port 0: give the port that the server prints")
    path = parts.path if parts.path not in ("", "/") else READY
    if not (path + parts.query).isascii() or any(character <= " " for character in path + parts.query):
        raise ValueError("contains characters that must be percent-encoded")
    return Target(
        parts.hostname,
        parts.port or _PORTS[parts.scheme],
        parts.scheme == "https",
        f"{path}?{parts.query}" if parts.query else path,
    )


def ask(target: Target, timeout_s: float, *, verify: bool) -> None:
    """Return if the server is healthy.

    Args:
        target: see there.
        timeout_s: how long connection and answer may take together.
        verify: whether to verify the certificate of the server.

    Raises:
        Unhealthy: it is not, or does not answer.
    """
    deadline = time.monotonic() + timeout_s
    try:
        _ask(target, deadline, verify=verify)
    except TimeoutError:
        raise Unhealthy(f"no answer within {timeout_s:g} s") from None
    except OSError as error:
        raise Unhealthy(f"no answer: {error.strerror or error}") from None


def _ask(target: Target, deadline: float, *, verify: bool) -> None:
    connection = socket.create_connection((_WILDCARDS.get(target.host, target.host), target.port), _left(deadline))
    with contextlib.ExitStack() as opened:
        opened.enter_context(connection)
        if target.tls:
            import ssl  # late: most checks need none

            try:
                connection = opened.enter_context(_encrypted(connection, target, verify=verify))
            except ssl.SSLError as error:
                if target.demands_certificates and (error.reason or "").endswith(REFUSED):
                    return
                raise Unhealthy(f"TLS failed: {_reason_of(error)}") from None
            if target.demands_certificates:
                raise Unhealthy("it accepts clients without a certificate, although it must refuse them")
        request = f"GET {target.path} HTTP/1.1\r\nHost: {target.host}\r\nConnection: close\r\n\r\n"
        connection.sendall(request.encode("ascii", "replace"))
        _check(_answer(connection, deadline))


def _encrypted(connection: socket.socket, target: Target, *, verify: bool) -> socket.socket:
    import ssl

    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if target.demands_certificates:
        # In TLS 1.3 a client completes the handshake before the server has seen that there is no certificate.
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context.wrap_socket(connection, server_hostname=target.host)


def _answer(connection: socket.socket, deadline: float) -> bytes:
    received = b""
    while len(received) < MAX_ANSWER:
        connection.settimeout(_left(deadline))
        piece = connection.recv(MAX_ANSWER - len(received))
        if not piece:
            break
        received += piece
    return received


def _check(answer: bytes) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    protocol, _, rest = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
    if not protocol.startswith("HTTP/"):
        raise Unhealthy("the answer is not HTTP")
    status = rest[:3]
    if status != "200":
        text = "".join(character for character in body.decode(errors="replace").strip() if character.isprintable())
        raise Unhealthy(f"it answers {status}" + (f": {text[:MAX_REASON]}" if text else ""))


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _reason_of(error: OSError) -> str:
    reason = getattr(error, "verify_message", "") or getattr(error, "reason", "") or str(error)
    return reason.replace("_", " ").lower()
