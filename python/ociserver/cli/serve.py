"""`ociserver serve`: its flags. `ociserver.cli.serving` implements it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final, get_args

import click

from ociserver.cli import configured
from ociserver.cli import options as handler_options
from ociserver.cli.collect import policy_options
from ociserver.cli.data import default_folder
from ociserver.cli.errors import CommandError, serving_errors
from ociserver.cli.parameters import ADDRESS, DURATION, NETWORKS, PORT, SIZE, Command, Option, option
from ociserver.cli.workers import CORES_EACH, MOST
from ociserver.proxies import PROXY_HEADERS
from ociserver.settings import HELP, LOG_FORMATS, LOG_LEVELS, PROFILES
from ociserver.store.sqlite import Durability

__all__ = ["serve"]

_CONFIG: Final = "Configuration"
_WHERE: Final = "Where to listen"
_PROXIES: Final = "Proxies in front"
_KEEP: Final = "Where to keep contents, and what to accept"
_COLLECT: Final = "When to collect"
_LOG: Final = "Log"
_METRICS: Final = "Metrics and traces"
_LIMITS: Final = "Limits"

_EPILOG: Final = """\
Each flag can also be set by the environment variable beside it; the flag overrides the variable. A flag without a
value is set by 1, true, yes or on, and unset by 0, false, no or off.

SIGINT and SIGTERM stop the server: it accepts no more connections and lets requests finish. On SIGHUP it reads the
file of --config again. /healthz says whether the process is alive, /readyz whether it takes requests.
"""


@click.command(
    cls=Command,
    context_settings={"show_default": True},
    epilog=_EPILOG,
    short_help="Serve a registry.",
)
@configured.config_option(_CONFIG)
@option("--host", section=_WHERE, default="localhost", metavar="HOST", help=HELP["host"])
@option("--port", section=_WHERE, type=PORT, default="5000", metavar="PORT", help=HELP["port"])
@option(
    "--print-address",
    section=_WHERE,
    is_flag=True,
    help="Print only the URL, on the first line of stdout, when requests are answered. For programs, with --port 0.",
)
@option("--tls-cert", section=_WHERE, type=click.Path(path_type=Path), metavar="FILE", help=HELP["tls_cert"])
@option("--tls-key", section=_WHERE, type=click.Path(path_type=Path), metavar="FILE", help=HELP["tls_key"])
@option("--tls-client-ca", section=_WHERE, type=click.Path(path_type=Path), metavar="FILE", help=HELP["tls_client_ca"])
@option(
    "--trusted-proxies",
    section=_PROXIES,
    type=NETWORKS,
    default="",
    show_default="none",
    metavar="NETWORK,...",
    help=HELP["trusted_proxies"],
)
@option(
    "--proxy-headers",
    section=_PROXIES,
    type=click.Choice(PROXY_HEADERS),
    default="x-forwarded",
    help=HELP["proxy_headers"],
)
@option(
    "--data",
    section=_KEEP,
    type=click.Path(path_type=Path, file_okay=False),
    default=default_folder,
    show_default="the user's data directory",
    metavar="DIR",
    help=HELP["data"],
)
@option(
    "--durability",
    section=_KEEP,
    type=click.Choice(get_args(Durability)),
    default="full",
    help=HELP["durability"],
)
@option("--group-readable", section=_KEEP, is_flag=True, help=HELP["group_readable"])
@option(
    "--memory",
    section=_KEEP,
    is_flag=True,
    help="Keep everything in memory instead. It is lost when the server stops.",
)
@option("--memory-limit", section=_KEEP, type=SIZE, default="50%", metavar="SIZE", help=HELP["memory_limit"])
@option("--immutable-tags", section=_KEEP, is_flag=True, help=HELP["immutable_tags"])
@option("--lax-child-references", section=_KEEP, is_flag=True, help=HELP["lax_child_references"])
@option(
    "--workers",
    section=_LIMITS,
    type=click.IntRange(1),
    default=None,
    show_default=f"one for each {CORES_EACH} cores, 1 to {MOST}",
    metavar="N",
    help=HELP["workers"],
)
@option(
    "--max-connections",
    section=_LIMITS,
    type=click.IntRange(1),
    default=1024,
    metavar="N",
    help=HELP["max_connections"],
)
@option(
    "--graceful-timeout",
    section=_LIMITS,
    type=DURATION,
    default="30s",
    metavar="DURATION",
    help=HELP["graceful_timeout"],
)
@option(
    "--shutdown-delay",
    section=_LIMITS,
    type=DURATION,
    default="0s",
    metavar="DURATION",
    help=HELP["shutdown_delay"],
)
@option(
    "--collect-every",
    section=_COLLECT,
    type=DURATION,
    default="1h",
    metavar="DURATION",
    help=HELP["collect_every"],
)
@policy_options
@option("--log-level", section=_LOG, type=click.Choice(LOG_LEVELS), default="info", help=HELP["log_level"])
@option("--log-format", section=_LOG, type=click.Choice(LOG_FORMATS), default="text", help=HELP["log_format"])
@option("--access-log/--no-access-log", section=_LOG, default=True, help=HELP["access_log"])
@option("--metrics-address", section=_METRICS, type=ADDRESS, metavar="HOST:PORT", help=HELP["metrics_address"])
@option("--traces", section=_METRICS, is_flag=True, help=HELP["traces"])
@option("--traces-endpoint", section=_METRICS, metavar="URL", help=HELP["traces_endpoint"])
def serve(**values: Any) -> None:
    """Serve a registry over HTTP.

    \b
    ociserver serve                          on localhost:5000, in the user's data directory
    ociserver serve --memory                 the same, but in memory
    ociserver serve --data DIR --workers 2   two processes, one folder
    ociserver serve --config registry.toml   as the file says
    ociserver serve --memory --port 0 --print-address --profile ecr
    ociserver serve --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem
    """
    # If stdout is closed, the next file that is opened would get its descriptor.
    if sys.stdout is None:
        raise CommandError(
            "stdout is closed, and the log cannot be written. Redirect stdout to a file or to /dev/null."
        )
    with serving_errors():
        # Imported late, because the other commands do not need the HTTP server.
        from ociserver.cli.serving import start

        start(values)


serve.params += [
    Option(
        ["--profile"],
        section=handler_options.SECTION,
        type=click.Choice(PROFILES),
        help="For tests: behave as this registry. The other flags of this section count more. See docs/testing.md.",
    ),
    *handler_options.flags(),
]
