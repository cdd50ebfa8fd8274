"""Checks the TLS files before anything starts, and says in plain words what is wrong with them."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from ociserver.cli.errors import CannotServeError

__all__ = ["Certificate", "check"]


@dataclass(frozen=True, slots=True)
class Certificate:
    """The files of a certificate chain and its private key, both PEM.

    Args:
        chain: a path.
        key: a path.
        called: what messages call the two where there is no such file.
    """

    chain: Path
    key: Path
    called: tuple[str, str]


def check(certificate: Certificate) -> None:
    """Make sure that both files can be read and belong together.

    Raises:
        CannotServeError: they cannot, or do not.
    """
    chain, key = certificate.called
    _must_hold(certificate.chain, chain, "CERTIFICATE", "a certificate (the server's own first, then its issuers)")
    _must_hold(certificate.key, key, "PRIVATE KEY", "a private key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate.chain, certificate.key, password=lambda: _refuse_password(certificate.key))
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            problem = f"the key in {certificate.key} does not belong to the certificate in {certificate.chain}"
        else:
            reason = (error.reason or str(error)).replace("_", " ").lower()
            problem = (
                f"the certificate in {certificate.chain} or the key in {certificate.key} cannot be read ({reason})"
            )
        raise CannotServeError(f"cannot serve TLS: {problem}.") from error


def _must_hold(path: Path, called: str, label: str, what: str) -> None:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CannotServeError(f"cannot serve TLS: {called}: {error.strerror}.") from None
    if f"{label}-----".encode() not in content:
        raise CannotServeError(f"cannot serve TLS: {called} holds no PEM block of {what}.")


def _refuse_password(key: Path) -> NoReturn:
    raise CannotServeError(
        f"cannot serve TLS: the key in {key} is encrypted, and nobody can be asked for its password. "
        f"Store it decrypted, readable for this user only: openssl pkey -in {key} -out server.key"
    )
