"""Implements `ociserver serve`: from the values of the flags to a running server and its exit status."""

from __future__ import annotations

import functools
import os
import secrets
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click
from click.core import ParameterSource

from ociserver import __version__, build_profile
from ociserver.cli import configured, container, messages
from ociserver.cli import options as handler_options
from ociserver.cli.certificates import certificate_from
from ociserver.cli.metering import metering_from
from ociserver.cli.profiles import profiled, refuse_profile
from ociserver.cli.reread import Rereader
from ociserver.cli.table import counted
from ociserver.cli.terminal import paint
from ociserver.cli.traces import tracing
from ociserver.cli.workers import automatic
from ociserver.handler import Event, Handler
from ociserver.meter import Meter
from ociserver.proxies import TrustedProxies
from ociserver.serve import run, sockets, tls
from ociserver.serve.granian import check as check_granian
from ociserver.serve.logs import Log
from ociserver.serve.notify import Notifier
from ociserver.serve.open_files import connections_within_limits, descriptors_for
from ociserver.serve.reload import Reload
from ociserver.serve.replaceable import Kept, Replaceable
from ociserver.serve.schedule import CollectionMeter, Schedule
from ociserver.serve.stores import Store, claim, durable, memory
from ociserver.serve.tuning import tune_process
from ociserver.serve.workers import Worker, supervise
from ociserver.settings import TOKEN_KEY_VARIABLE, UPLOAD_KEY_VARIABLE
from ociserver.store.backend import RENEW_AFTER_S
from ociserver.store.upload_file import MOST_OF_FEW

if TYPE_CHECKING:
    from ociserver.tracing import Tracing

__all__ = ["start"]

_AGES: Final = ("unreferenced_after", "delete_untagged_after")
"""Flags that determine for how long collection keeps contents that a HEAD has found."""


def start(values: dict[str, Any]) -> NoReturn:
    """Serve as the flags say, until a signal. Ends the process.

    Raises:
        click.UsageError: the flags contradict each other.
        CannotServeError: something else prevents serving.
    """
    # First, because a new version under an old parent can fail at anything.
    worker = Worker.from_environment()
    check_granian()
    if values["config"] is not None:
        # By default the signal would end the process before the server can handle it.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    certificate = certificate_from(values)
    _refuse_folder(values)
    leaves = configured.leaves(values)
    values = _with_workers(values, leaves, worker)
    refuse_profile(values)
    # Check the options before anything is opened.
    handler_options.options_from(values)
    if certificate:
        tls.check(certificate)
    container.wait_for_users(configured.users_file(values))
    notifier = Notifier.from_environment()
    # All workers, and all handlers of reloads, share the key, so that they can resume each other's uploads.
    os.environ.setdefault(UPLOAD_KEY_VARIABLE, configured.upload_key(values))
    os.environ.setdefault(TOKEN_KEY_VARIABLE, secrets.token_hex(32))
    metering = metering_from(values, worker)
    meter = None if metering is None else metering.recorder
    stores = [_store(leaf, meter) for leaf in leaves]
    if worker is None:
        claimed = [
            claim(path, group_readable=leaf["group_readable"])
            for leaf in leaves
            if (path := configured.folder(leaf)) is not None
        ]
        listeners = sockets.listen(values["host"], values["port"], configured.called("host", values["host"]))
    else:
        claimed, listeners = [], worker.listeners
    port: int = listeners[0].getsockname()[1]

    log = Log(sys.stdout.fileno(), values["log_format"], values["log_level"])
    limits = run.Limits(
        connections_within_limits(values["max_connections"]), values["graceful_timeout"], values["shutdown_delay"]
    )

    def on_ready() -> None:
        # The address comes first, so that a program has to read only one line.
        if not values["print_address"]:
            _warn(log, values["max_connections"], limits.max_connections)
        _welcome(log, values, port, configured.place(stores), is_tls=certificate is not None)
        if metering is not None:
            metering.say_where()
        notifier.ready()

    is_supervisor = worker is None and values["workers"] > 1
    with ExitStack() as beside:
        traces = None if is_supervisor else beside.enter_context(tracing(values))
        make = functools.partial(_arguments, log, worker, meter, traces)
        served, reload = _served(values, leaves, stores, make, is_worker=bool(worker))
        if metering is not None:
            beside.enter_context(metering.served(stores))
        if worker is None:
            for leaf in leaves:
                beside.enter_context(_collection(leaf, meter))
        if is_supervisor:
            status = supervise(
                listeners,
                values["workers"],
                on_ready,
                None if reload is None else reload.check,
                notifier,
                graceful_timeout_s=values["graceful_timeout"] + values["shutdown_delay"],
                shared=None if metering is None else metering.shared.descriptor,
            )
            outcome = run.Outcome(status, clean=True)
        else:
            tune_process(upload_buffer_size=MOST_OF_FEW)
            outcome = run.run(
                served,
                listeners,
                limits,
                certificate,
                worker.tell if worker else on_ready,
                reload,
                unavailable=functools.partial(_unavailable, stores),
                heartbeat=worker.beat if worker else notifier.keep_alive,
                notifier=notifier,
                wrap=None if traces is None else traces.wrap,
            )
    log.close()
    for descriptor in claimed:
        os.close(descriptor)
    if not outcome.clean:
        # Threads of the HTTP server still hold connections. Python must not finalize the interpreter under them.
        os._exit(outcome.status)
    sys.exit(outcome.status)


def _arguments(
    log: Log,
    worker: Worker | None,
    meter: Meter | None,
    traces: Tracing | None,
    values: dict[str, Any],
    stores: Sequence[Store],
) -> dict[str, Any]:
    """The arguments of a `Handler`."""
    options = handler_options.options_from(values)
    if worker:
        # Each process counts its own requests. The worker's number makes their ids unique.
        options = replace(options, debug_id=f"{options.debug_id or 'ociserver'}{worker.number}")
    networks = values["trusted_proxies"]
    observers = [log.access] if values["access_log"] else []
    if traces is not None:
        observers.append(traces.observe)
    return {
        "backend": configured.together(values, stores, meter),
        "options": options,
        "auth": configured.authority(values, stores, meter),
        "observe": _observe(observers),
        "proxies": TrustedProxies(networks, values["proxy_headers"]) if networks else None,
        "meter": meter,
    }


def _observe(observers: Sequence[Callable[[Event], None]]) -> Callable[[Event], None] | None:
    """All observers as one."""
    if len(observers) < 2:
        return observers[0] if observers else None

    def observe(event: Event) -> None:
        for each in observers:
            each(event)

    return observe


def _served(
    values: dict[str, Any],
    leaves: list[dict[str, Any]],
    stores: list[Store],
    arguments: Callable[[dict[str, Any], Sequence[Store]], dict[str, Any]],
    *,
    is_worker: bool,
) -> tuple[run.Served, Reload | None]:
    """The application, and with a configuration file also the object that reloads it."""

    def make(values: dict[str, Any], stores: Sequence[Store]) -> Handler:
        return Handler(**arguments(values, stores))

    if values["config"] is None:
        if values["profile"] is not None:
            return profiled(values["profile"], arguments(values, stores)), None
        return make(values, stores), None
    kept = [Store(Kept(each.backend), each.place) for each in stores]
    rereader = Rereader(
        click.get_current_context().command,
        sys.argv[2:],
        values,
        leaves,
        kept,
        make,
        _store,
        warns=not is_worker,
    )
    reload = Reload(rereader.read, is_reported=not is_worker)
    return Replaceable(make(values, kept), [each.backend for each in stores]), reload


def _unavailable(stores: Sequence[Store]) -> str | None:
    """Why one of the stores cannot be written to; None if all can. A reload keeps the stores in folders."""
    return next((store.unavailable for store in stores if store.unavailable), None)


def _refuse_folder(values: dict[str, Any]) -> None:
    source = click.get_current_context().get_parameter_source
    # The flag --memory overrides a variable for the folder, which a container image may set.
    if (
        values["memory"]
        and values["config"] is None
        and source("data") in (ParameterSource.COMMANDLINE, source("memory"))
    ):
        raise click.UsageError(
            f"--data {values['data']} cannot be used with --memory, which keeps nothing in a folder. "
            "Use only one of the two."
        )


def _with_workers(values: dict[str, Any], leaves: list[dict[str, Any]], worker: Worker | None) -> dict[str, Any]:
    """The flags with the number of processes, also if nobody says it."""
    if worker:
        # Cores and the configuration file may have changed since the parent was started.
        return {**values, "workers": worker.count}
    if values["workers"] is None:
        return {**values, "workers": automatic(values, leaves)}
    _refuse_workers(values["workers"], leaves)
    return values


def _refuse_workers(count: int, leaves: list[dict[str, Any]]) -> None:
    if count > 1 and any(leaf["memory"] for leaf in leaves):
        raise click.UsageError(
            f"--workers {count} cannot be used with --memory: each process would have a registry of its own, and a "
            "client would find its push only if it happened to reach the same process again. Use only one of the two: "
            "one process serves many clients at once."
        )


def _store(values: dict[str, Any], meter: Meter | None = None) -> Store:
    accepts = {name: values[name] for name in ("immutable_tags", "lax_child_references")}
    if values["memory"]:
        return memory(max_bytes=values["memory_limit"], **accepts)
    return durable(
        configured.folder(values),
        values["external"],
        durability=values["durability"],
        group_readable=values["group_readable"],
        renew_after_s=_renew_after(values),
        meter=meter,
        **accepts,
    )


def _renew_after(values: dict[str, Any]) -> float:
    """Seconds between two records of a HEAD. A client then has at least nine tenths of the policy's time."""
    ages: list[float] = [age for name in _AGES if (age := values[name]) is not None]
    return min([RENEW_AFTER_S, *(age / 10 for age in ages)])


@contextmanager
def _collection(values: dict[str, Any], meter: CollectionMeter | None) -> Iterator[None]:
    """Scheduled collection of a store. With several workers, their parent does it for all of them."""
    if values["memory"] or not values["collect_every"]:
        yield
        return
    arguments = configured.place_arguments(values)
    for name in ("unreferenced_after", "grace", "upload_timeout", "delete_untagged_after"):
        if values[name] is not None:
            arguments += [f"--{name.replace('_', '-')}", f"{values[name]}s"]
    schedule = Schedule(arguments, values["collect_every"], meter=meter)
    schedule.start()
    try:
        yield
    finally:
        schedule.stop()


def _warn(log: Log, wanted: int, allowed: int) -> None:
    for note in container.notes():
        log.say(note)
    if build_profile == "debug":
        log.say("this is a debug build, many times slower than a release build; see CONTRIBUTING.md")
    if allowed < wanted:
        log.say(
            f"the limit of open files (ulimit -n) allows only {counted(allowed, 'connection')} at a time; "
            f"for {wanted}, raise its hard limit to {descriptors_for(wanted)}"
        )


def _welcome(log: Log, values: dict[str, Any], port: int, place: str, *, is_tls: bool) -> None:
    url = f"{'https' if is_tls else 'http'}://{messages.address(values['host'], port)}"
    if values["print_address"]:
        log.show(url)
        return
    trial = configured.trial(values)
    command = messages.command(trial, values["host"], port, tls=is_tls)
    first = messages.client_certificate(values["host"], port) if values["tls_client_ca"] is not None else ""
    unprotected = messages.unprotected(
        trial,
        values["host"],
        tls=is_tls,
        client_certificates=values["tls_client_ca"] is not None,
        users=configured.has_users(values),
    )
    if values["log_format"] == "json":
        # The key of the command is `push` or `pull`.
        facts = {"unprotected": unprotected, trial.action: command} | ({"first": first} if first else {})
        log.say(f"listening on {url}", version=__version__, url=url, data=place, **facts)
    else:
        log.show("\n".join(_painted(messages.welcome(__version__, url, place, command, first, unprotected))))


def _painted(lines: Sequence[str]) -> Iterator[str]:
    """The first lines for a terminal that shows colours."""
    for line in lines:
        if messages.NOT_PROTECTED in line:
            yield line.replace(messages.NOT_PROTECTED, paint(messages.NOT_PROTECTED, "doubtful"), 1)
        else:
            yield line
