"""Checks the TLS files before anything starts, and says what is wrong with them."""

from __future__ import annotations

import base64
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from ociserver.serve.errors import CannotServeError

__all__ = ["Certificate", "ClientAuthorities", "check"]

_BEGIN: Final = b"-----BEGIN CERTIFICATE-----"
_BLOCK: Final = re.compile(rb"^%b([^-]*)-----END CERTIFICATE-----" % _BEGIN, re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ClientAuthorities:
    """The authorities (CAs) that sign the certificates of clients.

    Args:
        file: path of their own certificates, PEM.
        called: how messages name the file, as in `Certificate`.
    """

    file: Path
    called: str


@dataclass(frozen=True, slots=True)
class Certificate:
    """The files of a certificate chain and its private key, both PEM.

    Args:
        chain: path of the chain.
        key: path of the key.
        called: how messages name the two if they cannot be read, chain first. A path may not be shown: it can be a key
            that was given in place of a path.
        clients: who signs the certificates of clients; None if clients need no certificate.
    """

    chain: Path
    key: Path
    called: tuple[str, str]
    clients: ClientAuthorities | None = None


def check(certificate: Certificate) -> None:
    """Make sure that the files can be read, and that the chain and the key belong together.

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
    if certificate.clients:
        _check_authorities(certificate.clients)


def _check_authorities(clients: ClientAuthorities) -> None:
    """Look at each certificate: granian panics at one that it cannot read, and would then start without an end."""
    content = _read(clients.file, clients.called)
    blocks = _BLOCK.findall(content)
    if not blocks or len(blocks) != content.count(_BEGIN):
        what = "a malformed PEM certificate" if _BEGIN in content else "no PEM certificate of an authority (CA)"
        raise CannotServeError(f"cannot serve TLS: {clients.called} contains {what}.")
    for number, block in enumerate(blocks, 1):
        which = f"cannot serve TLS: certificate {number} of {len(blocks)} in {clients.called}"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_verify_locations(cadata=base64.b64decode(b"".join(block.split()), validate=True))
        except (ValueError, ssl.SSLError):
            raise CannotServeError(f"{which} cannot be read.") from None
        if not context.cert_store_stats()["x509_ca"]:
            # Its holder could otherwise sign certificates that are accepted.
            raise CannotServeError(
                f"{which} is not that of an authority (CA). Give the certificate that signs those of clients."
            )


def _check_label(path: Path, called: str, label: str, what: str) -> None:
    if f"{label}-----".encode() not in _read(path, called):
        raise CannotServeError(f"cannot serve TLS: {called} contains no PEM {what}.")


def _read(path: Path, called: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CannotServeError(f"cannot serve TLS: {called} cannot be read: {error.strerror}.") from None


def _refuse_password(key: Path) -> NoReturn:
    raise CannotServeError(
        f"cannot serve TLS: the key in {key} is encrypted, and the server cannot ask for its password. "
        f"Decrypt it into a file that only this user can read: openssl pkey -in {key} -out server.key"
    )
