"""Runs the handler on granian until a signal says to stop, and then lets requests finish.

One process: granian's embedded server, in an event loop that is ours. Its server of several processes
does not do here: from the third signal on (Ctrl-C twice in a terminal) its workers hang, GIL held, in
the middle of the requests that they should finish (granian 2.8.7), and they outlive a killed parent.

The stop: SIGINT or SIGTERM closes the listening sockets and idle connections at once. Requests under way
go on for as long as `graceful_timeout_s`; after that, or at a second signal, they are cut off.
Then the backend is closed. The exit status is 0 if nothing had to be cut off. SIGHUP: see `ociserver.cli.reload`.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from granian import net
from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server

from ociserver.cli.allocator import keep_what_is_freed
from ociserver.cli.health import Application, Readiness, with_health
from ociserver.cli.logs import GRANIAN_LOG_CONFIG
from ociserver.cli.loop import Loop
from ociserver.cli.probe import wait_until_ready
from ociserver.cli.reload import Reload
from ociserver.cli.replaceable import Replaceable
from ociserver.cli.sockets import BACKLOG
from ociserver.cli.tls import Certificate
from ociserver.handler import Handler
from ociserver.store import StoreError

__all__ = ["Limits", "Outcome", "run"]

_log = logging.getLogger("ociserver.serve")

IDLE_TIMEOUT_S: Final = 75
"""A connection without a request, or with half of one, is closed after this time (nginx's keepalive_timeout).
A body under way is not concerned: the handler watches over its progress."""

RECEIVE_SIZE: Final = 768 * 1024
"""Most bytes that are read from a connection at once, and so of a request's head. Each such piece of a body goes
through three threads: with 408 KiB, which is granian's own bound, an upload of 256 MiB ran at 423 MB/s and took 1.9 CPU
seconds for a GB; with this at 483 and 1.6, and with 1 MiB no faster. Of 32 uploads at once each costs 3.1 MiB of memory
instead of 1.7, and with 1 MiB it would be 4.2."""

CUT_OFF_S: Final = 1.0
"""How long requests that were cut off may take to clean up, and connections to end."""

NOTICE_S: Final = 0.25
"""A stop that takes longer than this says what it is waiting for."""

TURN_S: Final = 0.001
"""After how long a thread that waits for the interpreter gets it (`sys.setswitchinterval`). With Python's 5 ms a push
beside reads at full load, which do not come to the loop, took 10 ms at p99; with this 5, and the reads are as fast."""

_REQUEST_TASK: Final = "future_watcher"
"""Name of the coroutine that granian makes for each request."""

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the server.

    Args:
        max_connections: accepted at a time; more wait in the kernel.
        graceful_timeout_s: see the module.
    """

    max_connections: int
    graceful_timeout_s: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """How serving ended: `status` for the shell; `clean` if nothing is left running in the background."""

    status: int
    clean: bool


class _Server(Server):
    """granian's embedded server, over a socket that listens already."""

    def __init__(
        self, app: Application, listener: socket.socket, limits: Limits, certificate: Certificate | None
    ) -> None:
        super().__init__(
            target=app,
            # The handler is opened and closed here, once, and not by one lifespan for each socket.
            interface=Interfaces.ASGINL,
            # HTTP/1.1 only: on one HTTP/2 connection a slow upload holds up the others, in the window they share.
            http=HTTPModes.http1,
            http1_settings=HTTP1Settings(header_read_timeout=IDLE_TIMEOUT_S * 1000, max_buffer_size=RECEIVE_SIZE),
            websockets=False,
            backpressure=limits.max_connections,
            log_dictconfig=GRANIAN_LOG_CONFIG,
            # The Rust side asks Python for its level once; below this it would send every record over.
            log_level=LogLevels.debug if _log.isEnabledFor(logging.DEBUG) else LogLevels.warning,
            ssl_cert=certificate.chain if certificate else None,
            ssl_key=certificate.key if certificate else None,
            ssl_protocol_min=SSLProtocols.tls12,
        )
        self._listener = listener
        self._shd: Any = None

    def _init_shared_socket(self) -> None:
        # The descriptor is granian's from here on: it closes it when it stops accepting.
        self._shd = _socket_holder(self._listener.detach(), False, *_BACKLOG)  # noqa: FBT003 - positional in Rust


# granian exports it for its own pickling only, and its stub leaves the constructor out.
_socket_holder: Final[Any] = vars(net)["SocketHolder"]
_BACKLOG: Final = (BACKLOG,) if sys.platform.startswith(("linux", "freebsd")) else ()
"""SocketHolder has this argument where granian listens per worker."""


def run(
    handler: Handler | Replaceable,
    listeners: list[socket.socket],
    limits: Limits,
    certificate: Certificate | None,
    on_ready: Callable[[], None],
    reload: Reload | None = None,
    *,
    unavailable: Callable[[], str | None] = lambda: None,
    heartbeat: Callable[[], Awaitable[None]] | None = None,
) -> Outcome:
    """Serve until a signal, or until the server ends by itself.

    Args:
        handler: not yet open; it is opened and closed here.
        listeners: listening sockets; they are closed here.
        limits: see there.
        certificate: checked already; None for plain HTTP.
        on_ready: called when the server answers requests.
        reload: what SIGHUP does, to a handler that is a `Replaceable`.
        unavailable: why the stores cannot be written to just now, for `/readyz`.
        heartbeat: runs on the event loop for as long as that does; tells the parent of several workers that it turns.
    """
    sys.setswitchinterval(TURN_S)
    keep_what_is_freed()
    loop = Loop()
    loop.answer_nowait = handler.answer_nowait
    runner = asyncio.Runner(loop_factory=lambda: loop)
    run = _Run(handler, listeners, limits, certificate, unavailable)
    run.heartbeat = heartbeat
    if reload is not None and isinstance(handler, Replaceable):
        run.reload = functools.partial(reload.replace, handler, _requests)
    outcome = runner.run(run.until_stopped(on_ready))
    if outcome.clean:
        runner.close()
    return outcome


class _Run:
    """One run of the server, from its first connection to its last."""

    def __init__(
        self,
        handler: Handler | Replaceable,
        listeners: list[socket.socket],
        limits: Limits,
        certificate: Certificate | None,
        unavailable: Callable[[], str | None],
    ) -> None:
        self.reload: Callable[[], Awaitable[None]] | None = None
        self.heartbeat: Callable[[], Awaitable[None]] | None = None
        self._handler = handler
        self._limits = limits
        self._tls = certificate is not None
        self._readiness = Readiness("the store is being opened", unavailable)
        self._signals = 0
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._addresses = [(listener.family, *listener.getsockname()[:2]) for listener in listeners]
        app = with_health(handler, self._readiness)
        self._servers = [_Server(app, listener, limits, certificate) for listener in listeners]

    async def until_stopped(self, on_ready: Callable[[], None]) -> Outcome:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._on_signal)
        # Kept, or it could be collected; it ends with the loop.
        beating = None if self.heartbeat is None else asyncio.ensure_future(self.heartbeat())
        serving = [asyncio.create_task(server.serve()) for server in self._servers]
        starting = asyncio.create_task(self._start(on_ready))
        reloading = asyncio.create_task(self._reload(starting))
        stopping = asyncio.create_task(self._stop.wait())
        # The three ways in which this can go on: it starts (and then the other two are left), a server ends
        # by itself, a signal.
        await asyncio.wait([starting, stopping, *serving], return_when=asyncio.FIRST_COMPLETED)
        failed = await _failure(starting)
        if not failed and not self._stop.is_set():
            await asyncio.wait([stopping, *serving], return_when=asyncio.FIRST_COMPLETED)
            if not self._stop.is_set():
                failed = True
                _log.error("the server ended by itself")
        stopping.cancel()
        reloading.cancel()
        await asyncio.wait([reloading])
        finished = await self._finish(serving)
        closed = await self._close()
        if beating is not None:
            beating.cancel()
        return Outcome(status=int(failed or not finished or not closed), clean=all(task.done() for task in serving))

    async def _start(self, on_ready: Callable[[], None]) -> None:
        # The sockets accept before the store is open, so that /healthz can say that the process is well
        # while /readyz says that opening takes its time.
        await self._handler.__aenter__()
        self._readiness.reason = None
        await wait_until_ready(self._addresses, tls=self._tls)
        on_ready()

    async def _reload(self, starting: asyncio.Task[None]) -> None:
        """Reload at each SIGHUP, one after the other; several that come meanwhile are one."""
        if self.reload is None:
            return
        hangup = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hangup.set)
        await asyncio.wait([starting])
        while await hangup.wait():
            hangup.clear()
            await self.reload()

    def _on_signal(self) -> None:
        self._signals += 1
        if self._signals == 1:
            self._stop.set()
            return
        self._hurry.set()
        # Whoever sends a third one wants the process gone, whatever it is doing.
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)

    async def _finish(self, serving: list[asyncio.Task[None]]) -> bool:
        """Let requests finish, within bounds; says whether all did."""
        self._readiness.reason = "the server is shutting down"
        for server in self._servers:
            server.stop()  # type: ignore[no-untyped-call]
        _, busy = await asyncio.wait(serving, timeout=min(NOTICE_S, self._limits.graceful_timeout_s))
        if not busy:
            return True
        bound = self._limits.graceful_timeout_s
        _log.info("stopping: %s; waiting %g s at most, or for a second signal", _under_way(), bound)
        hurry = asyncio.create_task(self._hurry.wait())
        ended = asyncio.gather(*busy, return_exceptions=True)
        either: list[asyncio.Future[Any]] = [hurry, ended]
        await asyncio.wait(either, timeout=bound, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if ended.done():
            return True
        _log.warning("stopping: cut off: %s", _under_way())
        for task in _requests():
            task.cancel()
        await asyncio.wait([ended], timeout=CUT_OFF_S)
        return False

    async def _close(self) -> bool:
        try:
            await self._handler.aclose()
        except Exception:
            _log.exception("the store did not close")
            return False
        return True


async def _failure(starting: asyncio.Task[None]) -> bool:
    """End the start if it is still under way; says whether it failed."""
    starting.cancel()
    try:
        await starting
    except asyncio.CancelledError:
        return False
    except StoreError as error:
        _log.error("the store did not open: %s", error)
        return True
    except Exception:
        _log.exception("the store did not open")
        return True
    return False


def _requests() -> list[asyncio.Task[Any]]:
    """The tasks that serve requests. Looked up when they are needed, so that no request has to be counted."""
    return [task for task in asyncio.all_tasks() if getattr(task.get_coro(), "__name__", "") == _REQUEST_TASK]


def _under_way() -> str:
    count = len(_requests())
    if not count:
        # The application is done with them, but the client still takes the answer.
        return "answers are still being sent"
    return f"{count} request{'s' if count > 1 else ''} under way"
