"""Everything that relies on undocumented parts of granian, and a check at start that they are there.

The server needs four things for which granian has no option:

* It serves sockets that listen already (`GranianServer`).
* It sees a request in granian's thread, before the event loop does (`is_request`).
* It finds the tasks that serve requests (`request_tasks`), to wait for them or to cancel them.
* It leaves messages out of the log that repeat what is known (`is_noise`, `reports_exception`).

A version of granian with other internals would fail in these silently. So `check` fails loudly, and the requirement in
pyproject.toml is bounded to the minor version that is tested (`GRANIAN`).
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import socket
import sys
from collections.abc import Callable
from typing import Any, Final

from ociserver.serve.errors import UnusableGranianError
from ociserver.serve.health import Application
from ociserver.serve.sockets import BACKLOG
from ociserver.serve.tls import Certificate

try:
    from granian import _futures, net
    from granian.constants import HTTPModes, Interfaces, SSLProtocols
    from granian.http import HTTP1Settings
    from granian.log import LogLevels
    from granian.server.embed import Server
except ImportError as error:
    raise UnusableGranianError(str(error)) from error

__all__ = [
    "IDLE_TIMEOUT_S",
    "RECEIVE_SIZE",
    "GranianServer",
    "check",
    "is_noise",
    "is_request",
    "reports_exception",
    "request_tasks",
]

IDLE_TIMEOUT_S: Final = 75
"""A connection without a request, or with an incomplete head of one, is closed after this time, as by nginx's
keepalive_timeout. It does not concern bodies, whose progress the handler watches."""

RECEIVE_SIZE: Final = 768 * 1024
"""Maximum bytes that are read from a connection at once, and so of a request's head. Each such piece of a body passes
through three threads: with 408 KiB, granian's own bound, an upload of 256 MiB ran at 423 MB/s and took 1.9 CPU seconds
for a GB; with 768 KiB at 483 MB/s and 1.6 seconds; with 1 MiB no faster. Each of 32 uploads at once takes 3.1 MiB of
memory instead of 1.7; with 1 MiB it would be 4.2."""

_REQUEST_TASK: Final = "future_watcher"
"""Name of the coroutine that granian makes for each request."""

_LOGGER: Final = "_granian"
_EXPERIMENTAL: Final = "Embedded server is experimental!"
_RAISED: Final = "Application callable raised an exception"

_LOG_CONFIG: Final[dict[str, Any]] = {
    # Changes only a level. Without `incremental`, granian would replace every handler with its own.
    "version": 1,
    "incremental": True,
    "formatters": {},
    "handlers": {},
    "loggers": {},
}

_HOLDER_BACKLOG: Final = (BACKLOG,) if sys.platform.startswith(("linux", "freebsd")) else ()
"""SocketHolder has this argument where granian listens in each worker."""


class GranianServer(Server):
    """granian's embedded server, over a socket that listens already.

    granian itself would bind with SO_REUSEPORT: a second server on the same port would start without an error, and each
    of the two would get some of the connections.

    Args:
        app: the ASGI application. It gets no lifespan events, which would come once for each socket.
        listener: a listening socket, which granian closes when it stops accepting.
        max_connections: number of connections that are accepted at a time.
        certificate: None for plain HTTP.
        verbose: whether granian's Rust part passes on its messages below `warning`.
    """

    def __init__(
        self,
        app: Application,
        listener: socket.socket,
        *,
        max_connections: int,
        certificate: Certificate | None = None,
        verbose: bool = False,
    ) -> None:
        clients = certificate.clients if certificate else None
        super().__init__(
            target=app,
            interface=Interfaces.ASGINL,
            # HTTP/1.1 only: on an HTTP/2 connection a slow upload would block the others, as they share a window. And
            # each of its frames of 16 KiB would pass through three threads.
            http=HTTPModes.http1,
            http1_settings=HTTP1Settings(header_read_timeout=IDLE_TIMEOUT_S * 1000, max_buffer_size=RECEIVE_SIZE),
            websockets=False,
            backpressure=max_connections,
            log_dictconfig=_LOG_CONFIG,
            # The Rust part asks Python for its level once; at a lower level it would send every record to Python.
            log_level=LogLevels.debug if verbose else LogLevels.warning,
            ssl_cert=certificate.chain if certificate else None,
            ssl_key=certificate.key if certificate else None,
            ssl_protocol_min=SSLProtocols.tls12,
            ssl_ca=clients.file if clients else None,
            # With a CA alone, granian also accepts clients without a certificate.
            ssl_client_verify=clients is not None,
        )
        self._listener = listener
        self._shd: Any = None

    def _init_shared_socket(self) -> None:
        self._shd = _socket_holder(self._listener.detach())

    def stop(self) -> None:
        """Close the listening socket and idle connections, and end `serve` when the requests have ended."""
        super().stop()  # type: ignore[no-untyped-call]


def _socket_holder(descriptor: int) -> Any:
    # granian exports it for pickling only, and its stub does not have the constructor.
    return vars(net)["SocketHolder"](descriptor, False, *_HOLDER_BACKLOG)  # noqa: FBT003 - positional in Rust


def _handover(watcher: object, coroutine: object) -> tuple[Any, tuple[object, ...]]:
    """The callback and the arguments with which granian hands a request to `call_soon_threadsafe`."""
    calls: list[tuple[Any, tuple[object, ...]]] = []

    class Loop:
        def call_soon_threadsafe(self, callback: object, *arguments: object, context: object) -> None:
            calls.append((callback, arguments))

    schedule = _futures._cbsched_aioschedule(Loop(), None, lambda _: coroutine)  # type: ignore[no-untyped-call]
    schedule(watcher)
    (call,) = calls
    return call


def _handover_code() -> object:
    try:
        return _handover(None, None)[0].__code__
    except (AttributeError, TypeError, ValueError):
        # `check` fails. Until then this is the code of no function.
        return object()


_HANDOVER: Final = _handover_code()
"""Code of the function that hands a request to the event loop. granian makes such a function for each server."""


def is_request(callback: Callable[..., object]) -> bool:
    """Whether a callback of `call_soon_threadsafe` hands a request to the event loop.

    Its arguments are then the request's coroutine, not started, and a watcher with its `scope` and `proto`. The
    protocol's `send` takes a message when it is called; it need not be awaited for a whole response.
    """
    return getattr(callback, "__code__", None) is _HANDOVER


def request_tasks() -> list[asyncio.Task[Any]]:
    """The tasks of the running event loop that serve requests.

    They are looked up when they are needed, so that no request has to be counted.
    """
    return [task for task in asyncio.all_tasks() if getattr(task.get_coro(), "__name__", "") == _REQUEST_TASK]


def is_noise(record: logging.LogRecord) -> bool:
    """Whether a log record is granian's notice that its embedded server is experimental."""
    return record.name.startswith(_LOGGER) and record.getMessage() == _EXPERIMENTAL


def reports_exception(record: logging.LogRecord) -> bool:
    """Whether granian reports with a log record that the application raised an exception.

    granian does so while it handles the exception (`sys.exc_info`).
    """
    return record.name.startswith(_LOGGER) and record.getMessage().startswith(_RAISED)


def check() -> None:
    """Make sure that the parts of granian that this file relies on are there.

    A log message whose text has changed is no reason to fail: it is only logged again.

    Raises:
        UnusableGranianError: one of them is not.
    """
    for part, is_there in _PARTS.items():
        try:
            found = is_there()
        except (AttributeError, KeyError, TypeError, ValueError):
            found = False
        if not found:
            raise UnusableGranianError(f"{part} is missing or has changed")


def _holder_takes_a_descriptor() -> bool:
    with socket.socket() as any_socket:
        return bool(_socket_holder(any_socket.fileno()).get_fd() == any_socket.fileno())


def _server_has_a_shared_socket() -> bool:
    # `GranianServer` overrides the method, and sets the attribute.
    return "_init_shared_socket" in _names(Server.startup) and "_shd" in _names(Server._spawn_worker)


def _tasks_have_the_name() -> bool:
    wrapped = _futures._future_watcher_wrapper(None)  # type: ignore[no-untyped-call]
    return wrapped.__name__ == _REQUEST_TASK and {"scope", "proto"} <= set(_names(wrapped))


def _requests_are_handed_over_with_their_watcher() -> bool:
    callback, arguments = _handover("watcher", "coroutine")
    used = {"_future_watcher_wrapper", "_new_cbscheduler"} <= set(_names(inspect.unwrap(Server._spawn_asgi_worker)))
    return used and is_request(callback) and arguments == ("coroutine", "watcher")


def _names(function: Any) -> tuple[str, ...]:
    """The names that a function uses, other than its local variables."""
    names: tuple[str, ...] = function.__code__.co_names
    return names


_PARTS: Final[dict[str, Callable[[], bool]]] = {
    "granian.net.SocketHolder": _holder_takes_a_descriptor,
    "Server._init_shared_socket in granian.server.embed": _server_has_a_shared_socket,
    "_future_watcher_wrapper in granian._futures": _tasks_have_the_name,
    "_cbsched_aioschedule in granian._futures": _requests_are_handed_over_with_their_watcher,
}
