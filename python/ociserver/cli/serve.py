"""`ociserver serve`: the flags, and how they become a running server."""

from __future__ import annotations

import functools
import os
import secrets
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, get_args

import click
from click.core import ParameterSource

from ociserver import __version__, build_profile
from ociserver.cli import configured, messages
from ociserver.cli import options as handler_options
from ociserver.cli.collect import policy_options
from ociserver.cli.data import default_folder
from ociserver.cli.errors import CannotServeError
from ociserver.cli.parameters import Command, option
from ociserver.cli.table import counted
from ociserver.handler import Handler
from ociserver.serve import run as server
from ociserver.serve import sockets, tls
from ociserver.serve.log_format import FORMATS
from ociserver.serve.logs import LEVELS, Log
from ociserver.serve.open_files import connections_within_limits
from ociserver.serve.reload import Reload
from ociserver.serve.replaceable import Kept, Replaceable
from ociserver.serve.schedule import Schedule
from ociserver.serve.stores import Store, claim, folder, memory
from ociserver.serve.workers import UPLOAD_KEY, Worker, supervise
from ociserver.store.backend import RENEW_AFTER_S
from ociserver.store.sqlite import Durability
from ociserver.units import parse_duration, parse_port, parse_size

__all__ = ["serve"]

_CONFIG: Final = "Configuration"
_WHERE: Final = "Where to listen"
_KEEP: Final = "Where to keep contents, and what to accept"
_COLLECT: Final = "When to collect"
_LOG: Final = "Log"
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
@option(
    "--host",
    section=_WHERE,
    default="localhost",
    metavar="HOST",
    help="Address or name to listen on. localhost is 127.0.0.1 and ::1, for clients on this machine; 0.0.0.0 "
    "is every IPv4 address of this machine, :: every address.",
)
@option(
    "--port", section=_WHERE, type=parse_port, default="5000", metavar="PORT", help="TCP port; 0 takes any free one."
)
@option(
    "--tls-cert",
    section=_WHERE,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Certificate chain (PEM), to serve HTTPS instead of HTTP. Needs --tls-key.",
)
@option(
    "--tls-key",
    section=_WHERE,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Private key of the certificate (PEM, not encrypted).",
)
@option(
    "--data",
    section=_KEEP,
    type=click.Path(path_type=Path, file_okay=False),
    default=default_folder,
    show_default="the user's data directory",
    metavar="DIR",
    help="Folder to keep everything in. It is made if it is not there; one that holds anything else is refused.",
)
@option(
    "--durability",
    section=_KEEP,
    type=click.Choice(get_args(Durability)),
    default="full",
    help="How much of what was acknowledged a power cut may destroy. full: nothing. normal: the last moments. off: "
    "anything. If the process is killed, nothing is lost with any of them.",
)
@option(
    "--group-readable",
    section=_KEEP,
    is_flag=True,
    help="Let the group of the folder read what is made in it (0750 and 0640), as for a backup by another user. "
    "Without it only the user that serves may (0700 and 0600). What is there keeps its mode.",
)
@option(
    "--memory",
    section=_KEEP,
    is_flag=True,
    help="Keep everything in memory instead. It is lost when the server stops.",
)
@option(
    "--memory-limit",
    section=_KEEP,
    type=parse_size,
    default="50%",
    metavar="SIZE",
    help="Most memory that a registry in memory may take: 512MiB, 2GiB, or a share of the memory of this machine or "
    "container. A push beyond it is refused with 507.",
)
@option(
    "--immutable-tags",
    section=_KEEP,
    is_flag=True,
    help="Refuse to move or delete a tag, and to delete what a tag reaches, with 403 DENIED.",
)
@option(
    "--lax-child-references",
    section=_KEEP,
    is_flag=True,
    help="Accept manifests whose blobs or child manifests are not in the repository, instead of refusing "
    "them with MANIFEST_BLOB_UNKNOWN.",
)
@option(
    "--workers",
    section=_LIMITS,
    type=click.IntRange(1),
    default=1,
    metavar="N",
    help="Number of processes. They share the folder; a registry in memory has one process only.",
)
@option(
    "--max-connections",
    section=_LIMITS,
    type=click.IntRange(1),
    default=1024,
    metavar="N",
    help="Most connections that are open at a time, idle ones included. Further clients wait to be accepted.",
)
@option(
    "--graceful-timeout",
    section=_LIMITS,
    type=parse_duration,
    default="30s",
    metavar="DURATION",
    help="How long requests may go on after SIGINT or SIGTERM before they are cut off.",
)
@option(
    "--collect-every",
    section=_COLLECT,
    type=parse_duration,
    default="1h",
    metavar="DURATION",
    help="How often to free what nothing needs any more, while requests go on; 0 is never. See `ociserver collect`.",
)
@policy_options
@option("--log-level", section=_LOG, type=click.Choice(LEVELS), default="info", help="Lowest level to show.")
@option(
    "--log-format",
    section=_LOG,
    type=click.Choice(FORMATS),
    default="text",
    help="Lines for people, or one JSON object on each line. The log goes to stdout.",
)
@option(
    "--access-log/--no-access-log",
    section=_LOG,
    default=True,
    help="Log each request when it ends. If the log is read too slowly, lines are dropped and counted.",
)
def serve(**values: Any) -> None:
    """Serve a registry over HTTP.

    \b
    ociserver serve                          on localhost:5000, in the user's data directory
    ociserver serve --memory                 the same, but in memory
    ociserver serve --data DIR --workers 2   two processes, one folder
    ociserver serve --config registry.toml   as the file says
    ociserver serve --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem
    """
    # Python has none if it was closed, and the next descriptor that is opened would be taken for it.
    if sys.stdout is None:
        raise CannotServeError("stdout, where the log goes, is closed. Send it to a file, or to /dev/null.")
    if values["config"] is not None:
        # Until it can be read again: by default it would end the process.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    certificate = _certificate(values["tls_cert"], values["tls_key"])
    _refuse_folder(values)
    leaves = configured.leaves(values)
    _refuse_workers(values["workers"], leaves)
    # Looked at before anything is opened.
    handler_options.options_from(values)
    if certificate:
        tls.check(certificate)
    worker = Worker.from_environment()
    # Any worker goes on with an upload at a registry elsewhere, and so does what is served after a reload.
    os.environ.setdefault(UPLOAD_KEY, secrets.token_hex(32))
    stores = [_store(leaf) for leaf in leaves]
    store = configured.together(values, stores)
    if worker is None:
        claimed = [claim(leaf["data"], group_readable=leaf["group_readable"]) for leaf in leaves if not leaf["memory"]]
        listeners = sockets.listen(values["host"], values["port"], configured.called("host", values["host"]))
    else:
        claimed, listeners = [], worker.listeners
    port: int = listeners[0].getsockname()[1]

    log = Log(sys.stdout.fileno(), values["log_format"], values["log_level"])
    limits = server.Limits(connections_within_limits(values["max_connections"]), values["graceful_timeout"])

    def tell() -> None:
        if build_profile == "debug":
            log.say("this build is not optimised, and many times slower than a release; see CONTRIBUTING.md")
        if limits.max_connections < values["max_connections"]:
            count = counted(limits.max_connections, "connection")
            log.say(f"the limit of open files (ulimit -n) is enough for {count} only")
        _welcome(log, values, port, store, is_tls=certificate is not None)

    served, reload = _served(values, leaves, stores, functools.partial(_handler, log, worker), told=worker is None)
    with ExitStack() as collections:
        if worker is None:
            for leaf in leaves:
                collections.enter_context(_collection(leaf))
        if worker is None and values["workers"] > 1:
            status = supervise(
                listeners,
                values["workers"],
                tell,
                None if reload is None else reload.check,
                graceful_timeout_s=values["graceful_timeout"],
            )
            outcome = server.Outcome(status, clean=True)
        else:
            outcome = server.run(
                served,
                listeners,
                limits,
                certificate,
                worker.tell if worker else tell,
                reload,
                unavailable=functools.partial(_unavailable, stores),
                heartbeat=worker.beat if worker else None,
            )
    log.close()
    for descriptor in claimed:
        os.close(descriptor)
    if not outcome.clean:
        # Threads of the server still hold connections; ending the interpreter under them is not safe.
        os._exit(outcome.status)
    sys.exit(outcome.status)


serve.params += handler_options.flags()

_AGES: Final = ("unreferenced_after", "delete_untagged_after")
"""Flags that say for how long collection keeps what a HEAD has found."""


def _certificate(chain: Path | None, key: Path | None) -> tls.Certificate | None:
    if chain is None and key is None:
        return None
    if chain is None or key is None:
        given, missing = ("--tls-key", "--tls-cert") if chain is None else ("--tls-cert", "--tls-key")
        raise click.UsageError(f"{given} needs {missing} too: TLS takes a certificate and its key.")
    called = configured.called("tls_cert", f"--tls-cert {chain}"), configured.called("tls_key", f"--tls-key {key}")
    return tls.Certificate(chain, key, called)


def _handler(log: Log, worker: Worker | None, values: dict[str, Any], stores: Sequence[Store]) -> Handler:
    options = handler_options.options_from(values)
    if worker:
        # Request ids are counted in each process: its number tells them apart.
        options = replace(options, debug_id=f"{options.debug_id or 'ociserver'}{worker.number}")
    backend = configured.together(values, stores).backend
    return Handler(backend, options, observe=log.access if values["access_log"] else None)


def _served(
    values: dict[str, Any],
    leaves: list[dict[str, Any]],
    stores: list[Store],
    make: Callable[[dict[str, Any], Sequence[Store]], Handler],
    *,
    told: bool,
) -> tuple[Handler | Replaceable, Reload | None]:
    """The application; with a file it can be replaced, by what reads that again."""
    if values["config"] is None:
        return make(values, stores), None
    kept = [Store(Kept(each.backend), each.place) for each in stores]
    reload = Reload(serve, sys.argv[2:], values, leaves, kept, make, _store, told=told)
    return Replaceable(make(values, kept), [each.backend for each in stores]), reload


def _unavailable(stores: Sequence[Store]) -> str | None:
    """Why one of the stores cannot be written to; a reload leaves those in folders as they are."""
    return next((store.unavailable for store in stores if store.unavailable), None)


def _refuse_folder(values: dict[str, Any]) -> None:
    source = click.get_current_context().get_parameter_source
    # A variable, as a container image may set it, is less than the flag --memory.
    if (
        values["memory"]
        and values["config"] is None
        and source("data") in (ParameterSource.COMMANDLINE, source("memory"))
    ):
        raise click.UsageError(
            f"--data {values['data']} does not go with --memory, which keeps nothing in a folder. "
            "Use only one of the two."
        )


def _refuse_workers(count: int, leaves: list[dict[str, Any]]) -> None:
    if count > 1 and any(leaf["memory"] for leaf in leaves):
        raise click.UsageError(
            f"--workers {count} does not go with --memory: each process would have a registry of its own, "
            "and a client would find what it pushed only when it happens to reach the same one. Use only one of the "
            "two: one process serves many clients at once."
        )


def _store(values: dict[str, Any]) -> Store:
    accepts = {name: values[name] for name in ("immutable_tags", "lax_child_references")}
    if values["memory"]:
        return memory(max_bytes=values["memory_limit"], **accepts)
    return folder(
        values["data"],
        durability=values["durability"],
        group_readable=values["group_readable"],
        renew_after_s=_renew_after(values),
        **accepts,
    )


def _renew_after(values: dict[str, Any]) -> float:
    """How often a HEAD counts: so that a client can count on nine tenths of the time that the policy gives, or more."""
    ages: list[float] = [age for name in _AGES if (age := values[name]) is not None]
    return min([RENEW_AFTER_S, *(age / 10 for age in ages)])


@contextmanager
def _collection(values: dict[str, Any]) -> Iterator[None]:
    """Collection of a store by the schedule; the parent of several workers does it for all."""
    if values["memory"] or not values["collect_every"]:
        yield
        return
    arguments = ["--data", str(values["data"])]
    for name in ("unreferenced_after", "grace", "upload_timeout", "delete_untagged_after"):
        if values[name] is not None:
            arguments += [f"--{name.replace('_', '-')}", f"{values[name]}s"]
    schedule = Schedule(arguments, values["collect_every"])
    schedule.start()
    try:
        yield
    finally:
        schedule.stop()


def _welcome(log: Log, values: dict[str, Any], port: int, store: Store, *, is_tls: bool) -> None:
    url = f"{'https' if is_tls else 'http'}://{messages.address(values['host'], port)}"
    trial = configured.trial(values)
    command = messages.command(trial, values["host"], port, tls=is_tls)
    if values["log_format"] == "json":
        # `push` or `pull`.
        log.say(f"listening on {url}", version=__version__, url=url, data=store.place, **{trial.action: command})
    else:
        log.show(messages.welcome(__version__, url, store.place, command))
