"""A certificate authority that lives for one test."""

from __future__ import annotations

import shutil
import ssl
import tempfile
from pathlib import Path
from typing import Final

__all__ = ["Certificates"]

CA_FILE: Final = "ca.crt"
"""Clients of the containers family take a folder (`--cert-dir`), in which they look for names that end with `.crt`."""

_NAMES: Final = ("127.0.0.1", "localhost", "::1")


class Certificates:
    """An authority, and the certificate of a server on this machine.

    The private keys never leave the process. Only the certificate of the authority is written to a file.

    Raises:
        ImportError: trustme is not installed.
    """

    def __init__(self) -> None:
        # Imported late: only tests with TLS need it, and it imports a cryptography library.
        try:
            import trustme
        except ImportError as error:
            raise ImportError(f"{error}. Install what TLS in tests needs: pip install 'ociserver[testing]'") from error

        authority = trustme.CA()
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*_NAMES).configure_cert(self.server)
        self._authority = authority.cert_pem.bytes()
        self._folder: Path | None = None

    @property
    def ca_file(self) -> Path:
        """The certificate of the authority (PEM), in a folder of its own."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="ociserver-testing-"))
            (self._folder / CA_FILE).write_bytes(self._authority)
        return self._folder / CA_FILE

    def client(self) -> ssl.SSLContext:
        """A context that trusts only this authority."""
        return ssl.create_default_context(cadata=self._authority.decode())

    def remove(self) -> None:
        """Delete the file."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
