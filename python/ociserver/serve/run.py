"""Runs the handler on granian until a signal, and then lets requests finish.

One process: granian's embedded server, in an event loop of ours. granian's own server of several processes cannot be
used: from the third signal on (Ctrl-C twice in a terminal) its workers hang with the GIL held, in the middle of the
requests that they should finish (granian 2.8.7), and they survive a killed parent.

The stop: SIGINT or SIGTERM makes `/readyz` answer 503. After `shutdown_delay_s`, in which everything else goes on, it
closes the listening sockets and idle connections. Requests in progress may then continue for `graceful_timeout_s`.
After that, or at a second signal, they are cut off. Then the backend is closed. The exit status is 0 if no request was
cut off. SIGHUP: see `ociserver.serve.reload`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import signal
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from ociserver.serve.errors import CannotServeError
from ociserver.serve.event_loop import Loop
from ociserver.serve.granian import GranianServer, request_tasks
from ociserver.serve.health import Application, Readiness, with_health
from ociserver.serve.notify import Notifier
from ociserver.serve.probe import wait_until_ready, wait_until_ready_and_refusing
from ociserver.serve.reload import Reload
from ociserver.serve.replaceable import Replaceable
from ociserver.serve.tls import Certificate
from ociserver.store import StoreError
from ociserver.types import Receive, Scope, Send

__all__ = ["Limits", "Outcome", "Served", "run"]

_log = logging.getLogger("ociserver.serve")

CUT_OFF_S: Final = 1.0
"""How long requests that were cut off may take to clean up, and connections to end."""

NOTICE_S: Final = 0.25
"""A stop that takes longer than this logs what it waits for."""

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Served(Protocol):
    """What is served: a `Handler`, or an application around one."""

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer a request."""
        ...

    def answer_nowait(self, scope: Scope, send: Send) -> bool:
        """See `Handler.answer_nowait`."""
        ...

    async def __aenter__(self) -> Any:
        """Open the backend."""

    async def aclose(self) -> None:
        """Close the backend."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of the server.

    Args:
        max_connections: number of connections that are accepted at a time. Further ones wait in the kernel.
        graceful_timeout_s: how long requests may continue after a signal, and after `shutdown_delay_s`.
        shutdown_delay_s: how long to accept connections after a signal, so that load balancers notice `/readyz`.
        cut_off_s: how long requests that were cut off may take to clean up.
    """

    max_connections: int
    graceful_timeout_s: float
    shutdown_delay_s: float = 0.0
    cut_off_s: float = CUT_OFF_S


@dataclass(frozen=True, slots=True)
class Outcome:
    """How serving ended.

    Args:
        status: exit status for the shell.
        clean: whether nothing is left running in the background.
    """

    status: int
    clean: bool


def run(
    handler: Served,
    listeners: list[socket.socket],
    limits: Limits,
    certificate: Certificate | None,
    on_ready: Callable[[], None],
    reload: Reload | None = None,
    *,
    unavailable: Callable[[], str | None] = lambda: None,
    heartbeat: Callable[[], Awaitable[None]] | None = None,
    wrap: Callable[[Application], Application] | None = None,
    notifier: Notifier | None = None,
) -> Outcome:
    """Serve until a signal, or until the server ends by itself.

    Args:
        handler: not yet open. It is opened and closed here.
        listeners: listening sockets. They are closed here.
        limits: see there.
        certificate: checked already; None for plain HTTP.
        on_ready: called when the server answers requests.
        reload: what SIGHUP does, if the handler is a `Replaceable`.
        unavailable: returns why the stores cannot be written to at present, for `/readyz`, or None.
        wrap: puts an application in front of the handler, which then gets all requests on the event loop.
        heartbeat: runs on the event loop for as long as that runs, and tells the parent of several workers so.
        notifier: told of reloads and of the stop. `on_ready` tells it of the start.
    """
    loop = Loop()
    if wrap is None:
        loop.answer_nowait = handler.answer_nowait
    runner = asyncio.Runner(loop_factory=lambda: loop)
    app = handler if wrap is None else wrap(handler)
    server = _Run(handler, app, listeners, limits, certificate, unavailable, notifier or Notifier())
    server.heartbeat = heartbeat
    if reload is not None and isinstance(handler, Replaceable):
        server.reload = functools.partial(reload.replace, handler, request_tasks)
    outcome = runner.run(server.until_stopped(on_ready))
    if outcome.clean:
        runner.close()
    return outcome


class _Run:
    """One run of the server, from its first connection to its last."""

    def __init__(
        self,
        handler: Served,
        app: Application,
        listeners: list[socket.socket],
        limits: Limits,
        certificate: Certificate | None,
        unavailable: Callable[[], str | None],
        notifier: Notifier,
    ) -> None:
        self.reload: Callable[[], Awaitable[None]] | None = None
        self.heartbeat: Callable[[], Awaitable[None]] | None = None
        self._handler = handler
        self._limits = limits
        self._certificate = certificate
        self._notifier = notifier
        self._readiness = Readiness("the store is being opened", unavailable)
        self._signals = 0
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._addresses = [(listener.family, *listener.getsockname()[:2]) for listener in listeners]
        healthy = with_health(app, self._readiness)
        self._servers = [
            GranianServer(
                healthy,
                listener,
                max_connections=limits.max_connections,
                certificate=certificate,
                verbose=_log.isEnabledFor(logging.DEBUG),
            )
            for listener in listeners
        ]

    async def until_stopped(self, on_ready: Callable[[], None]) -> Outcome:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._on_signal)
        # Kept in a variable, as the event loop does not keep its tasks alive.
        beating = None if self.heartbeat is None else asyncio.ensure_future(self.heartbeat())
        serving = [asyncio.create_task(server.serve()) for server in self._servers]
        starting = asyncio.create_task(self._start(on_ready))
        reloading = asyncio.create_task(self._reload(starting))
        stopping = asyncio.create_task(self._stop.wait())
        # One of three things happens: the start ends, and the other two can still happen; a server ends by itself; a
        # signal arrives.
        await asyncio.wait([starting, stopping, *serving], return_when=asyncio.FIRST_COMPLETED)
        failed = await _failure(starting)
        if not failed and not self._stop.is_set():
            await asyncio.wait([stopping, *serving], return_when=asyncio.FIRST_COMPLETED)
            if not self._stop.is_set():
                failed = True
                _log.error("the HTTP server ended unexpectedly; stopping")
        stopping.cancel()
        reloading.cancel()
        await asyncio.wait([reloading])
        await self._tell_to_go(delay_s=0.0 if failed else self._limits.shutdown_delay_s)
        finished = await self._finish(serving)
        closed = await self._close()
        if beating is not None:
            beating.cancel()
        return Outcome(status=int(failed or not finished or not closed), clean=all(task.done() for task in serving))

    async def _start(self, on_ready: Callable[[], None]) -> None:
        # The sockets accept before the store is open. So /healthz can answer that the process runs while /readyz
        # answers that the store is being opened.
        await self._handler.__aenter__()
        self._readiness.reason = None
        if self._certificate is not None and self._certificate.clients is not None:
            await wait_until_ready_and_refusing(self._addresses, self._readiness)
        else:
            await wait_until_ready(self._addresses, tls=self._certificate is not None)
        on_ready()

    async def _reload(self, starting: asyncio.Task[None]) -> None:
        """Reload at each SIGHUP, one after the other. Several that arrive during a reload are one."""
        if self.reload is None:
            return
        hangup = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hangup.set)
        await asyncio.wait([starting])
        while await hangup.wait():
            hangup.clear()
            self._notifier.reloading()
            await self.reload()
            self._notifier.ready()

    def _on_signal(self) -> None:
        self._signals += 1
        if self._signals == 1:
            self._stop.set()
            return
        self._hurry.set()
        # A third signal ends the process whatever it is doing.
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)

    async def _tell_to_go(self, *, delay_s: float) -> None:
        """Tell whoever asks at `/readyz` to send requests elsewhere, and give them the time to do so."""
        self._readiness.reason = "the server is shutting down"
        self._notifier.stopping()
        if delay_s:
            _log.info("stopping: /readyz answers 503; accepting requests for %g s, or until a second signal", delay_s)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), delay_s)

    async def _finish(self, serving: list[asyncio.Task[None]]) -> bool:
        """Let requests finish, within bounds; returns whether all did."""
        for server in self._servers:
            server.stop()
        bound_s = self._limits.graceful_timeout_s
        _, busy = await asyncio.wait(serving, timeout=min(NOTICE_S, bound_s))
        if not busy:
            return True
        _log.info("stopping: %s; waiting up to %g s, or until a second signal", _in_progress(), bound_s)
        hurry = asyncio.create_task(self._hurry.wait())
        ended = asyncio.gather(*busy, return_exceptions=True)
        either: list[asyncio.Future[Any]] = [hurry, ended]
        await asyncio.wait(either, timeout=bound_s, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if ended.done():
            return True
        _log.warning("stopping: cut off what did not finish: %s", _in_progress())
        for task in request_tasks():
            task.cancel()
        await asyncio.wait([ended], timeout=self._limits.cut_off_s)
        return False

    async def _close(self) -> bool:
        try:
            await self._handler.aclose()
        except Exception:
            _log.exception("the store could not be closed")
            return False
        return True


async def _failure(starting: asyncio.Task[None]) -> bool:
    """End the start if it has not ended; returns whether it failed."""
    starting.cancel()
    try:
        await starting
    except asyncio.CancelledError:
        return False
    except StoreError as error:
        _log.error("the store could not be opened: %s", error)
        return True
    except CannotServeError as error:
        _log.error("cannot serve: %s", error)
        return True
    except Exception:
        _log.exception("the store could not be opened")
        return True
    return False


def _in_progress() -> str:
    count = len(request_tasks())
    if not count:
        # The application is done with them, but clients still receive the responses.
        return "responses are still being sent"
    return f"{count} request{'s' if count > 1 else ''} in progress"
