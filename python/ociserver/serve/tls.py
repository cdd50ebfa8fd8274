"""Checks the TLS files before anything starts, and says what is wrong with them."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from ociserver.serve.errors import CannotServeError

__all__ = ["Certificate", "check"]


@dataclass(frozen=True, slots=True)
class Certificate:
    """The files of a certificate chain and its private key, both PEM.

    Args:
        chain: path of the chain.
        key: path of the key.
        called: how messages name the two if they cannot be read, chain first. A path may not be shown: it can be a key
            that was given in place of a path.
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
    _check_label(
        certificate.chain, chain, "CERTIFICATE", "certificate (the server's own first, then those of its issuers)"
    )
    _check_label(certificate.key, key, "PRIVATE KEY", "private key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate.chain, certificate.key, password=lambda: _refuse_password(certificate.key))
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            problem = f"the key in {certificate.key} does not match the certificate in {certificate.chain}"
        else:
            reason = (error.reason or str(error)).replace("_", " ").lower()
            problem = (
                f"the certificate in {certificate.chain} or the key in {certificate.key} cannot be read ({reason})"
            )
        raise CannotServeError(f"cannot serve TLS: {problem}.") from error


def _check_label(path: Path, called: str, label: str, what: str) -> None:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CannotServeError(f"cannot serve TLS: {called} cannot be read: {error.strerror}.") from None
    if f"{label}-----".encode() not in content:
        raise CannotServeError(f"cannot serve TLS: {called} contains no PEM {what}.")


def _refuse_password(key: Path) -> NoReturn:
    raise CannotServeError(
        f"cannot serve TLS: the key in {key} is encrypted, and the server cannot ask for its password. "
        f"Decrypt it into a file that only this user can read: openssl pkey -in {key} -out server.key"
    )
