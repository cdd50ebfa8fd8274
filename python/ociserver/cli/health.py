"""`ociserver health`: whether a server is ready. It imports little, because containers run it every few seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from ociserver.cli import container
from ociserver.cli.errors import CommandError
from ociserver.cli.health_address import address_of, server_table
from ociserver.cli.parameters import DURATION, PORT, Command, option
from ociserver.serve.asking import Target, Unhealthy, ask, target_of

__all__ = ["health"]

_WHAT: Final = "Which server, if no URL is given: as for `ociserver serve`"
_HOW: Final = "How to ask"

TIMEOUT: Final = "5s"
"""Container engines give a health check 30 s by default, and Kubernetes 1 s. A server answers in milliseconds."""


def _read_defaults(context: click.Context, _: click.Parameter, path: Path | None) -> Path | None:
    path = container.file(path)
    table = server_table(path) if path is not None else address_of(container.address(), Path("/"))
    context.default_map = container.defaults() | table
    return path


@click.command(cls=Command, context_settings={"show_default": True}, short_help="Ask whether a server is ready.")
@click.argument("url", required=False)
@option(
    "--config",
    section=_WHAT,
    type=click.Path(path_type=Path, dir_okay=False),
    is_eager=True,
    callback=_read_defaults,
    metavar="FILE",
    help="The configuration file of the server.",
)
@option("--host", section=_WHAT, default="localhost", metavar="HOST", help="Where the server listens.")
@option("--port", section=_WHAT, type=PORT, default="5000", metavar="PORT", help="TCP port of the server.")
@option("--tls-cert", section=_WHAT, metavar="FILE", help="The server has a certificate, so ask over TLS.")
@option(
    "--tls-client-ca",
    section=_WHAT,
    metavar="FILE",
    help="The server refuses clients without a certificate. This command has none, and checks that it is refused.",
)
@option("--timeout", section=_HOW, type=DURATION, default=TIMEOUT, metavar="DURATION", help="How long to wait.")
@option(
    "--insecure",
    section=_HOW,
    is_flag=True,
    help="Do not verify the certificate of the server. That of a server on this machine is never verified.",
)
def health(url: str | None, **values: Any) -> None:
    """Ask a server whether it is ready. Exit status: 0 it is; 1 it is not, or does not answer; 2 a mistake.

    \b
    ociserver health                           the server of this machine, by its variables
    ociserver health --config registry.toml    by its configuration file
    ociserver health http://registry:5000      another one

    A URL without a path means /readyz. With /healthz, it is enough that the process answers.
    """
    target = _target(url, values)
    try:
        ask(target, values["timeout"], verify=not (values["insecure"] or target.is_here))
    except Unhealthy as error:
        raise CommandError(f"{target} is not healthy: {error}") from None
    click.echo(f"{target} is healthy")


def _target(url: str | None, values: dict[str, Any]) -> Target:
    if url is not None:
        try:
            return target_of(url)
        except ValueError as error:
            raise click.UsageError(f"URL: {error}.") from None
    if values["port"] == 0:
        raise click.UsageError("the server chooses its port itself (--port 0). Give the URL that it prints.")
    return Target(
        values["host"],
        values["port"],
        tls=values["tls_cert"] is not None,
        demands_certificates=values["tls_client_ca"] is not None,
    )
