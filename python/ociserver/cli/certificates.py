"""The flags of TLS: `--tls-cert`, `--tls-key` and `--tls-client-ca`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ociserver.cli import configured
from ociserver.serve import tls

__all__ = ["certificate_from"]


def certificate_from(values: dict[str, Any]) -> tls.Certificate | None:
    """The files of TLS, not yet checked; None for plain HTTP.

    Raises:
        click.UsageError: one flag is given without another that it requires.
    """
    chain: Path | None = values["tls_cert"]
    key: Path | None = values["tls_key"]
    client_ca: Path | None = values["tls_client_ca"]
    if chain is None and key is None:
        if client_ca is not None:
            raise click.UsageError(
                "--tls-client-ca requires --tls-cert and --tls-key: without TLS, clients show no certificates."
            )
        return None
    if chain is None or key is None:
        given, missing = ("--tls-key", "--tls-cert") if chain is None else ("--tls-cert", "--tls-key")
        raise click.UsageError(f"{given} requires {missing}: TLS needs both a certificate and its private key.")
    called = configured.called("tls_cert", f"--tls-cert {chain}"), configured.called("tls_key", f"--tls-key {key}")
    if client_ca is None:
        return tls.Certificate(chain, key, called)
    called_ca = configured.called("tls_client_ca", f"--tls-client-ca {client_ca}")
    return tls.Certificate(chain, key, called, tls.ClientAuthorities(client_ca, called_ca))
