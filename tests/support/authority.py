"""An authority (CA) that signs certificates for tests of TLS."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["DAY", "Authority", "Issued"]

DAY = dt.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Issued:
    """The files of a certificate (with those of its issuers below the authority) and of its key, PEM."""

    cert: Path
    key: Path


class Authority:
    """Signs certificates. Its own one is in `file`.

    Args:
        folder: for all its files.
        name: of the authority, and of its file.
        issuer: who signs its certificate; by default itself.
    """

    def __init__(self, folder: Path, name: str, issuer: Self | None = None) -> None:
        self._folder = folder
        self._name = _name(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._issuer = issuer
        signer = issuer or self
        self._certificate = signer._sign(name, self._key, DAY, x509.BasicConstraints(ca=True, path_length=None))
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(_pem(self._certificate))

    def issue(
        self,
        name: str,
        *,
        start: dt.timedelta = -DAY,
        end: dt.timedelta = DAY,
        server: bool = False,
        rsa_bits: int | None = None,
    ) -> Issued:
        """A certificate for a client, or for a server on this machine, valid from `start` to `end` relative to now.

        Its key is on the curve P-256, or an RSA key of `rsa_bits`.
        """
        key = rsa.generate_private_key(65537, rsa_bits) if rsa_bits else ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        extensions: tuple[x509.ExtensionType, ...] = (
            x509.BasicConstraints(ca=False, path_length=None),
            x509.ExtendedKeyUsage([usage]),
            x509.SubjectAlternativeName([x509.DNSName("localhost" if server else name)]),
        )
        certificate = self._sign(name, key, end, *extensions, start=start)
        issued = Issued(self._folder / f"{name}.cert", self._folder / f"{name}.key")
        issued.cert.write_bytes(_pem(certificate) + (_pem(self._certificate) if self._issuer else b""))
        issued.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return issued

    def _sign(
        self, name: str, key: Any, end: dt.timedelta, *extensions: x509.ExtensionType, start: dt.timedelta = -DAY
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + start)
            .not_valid_after(now + end)
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(self._key, hashes.SHA256())


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
