"""A server in a thread with an event loop of its own, so that it serves sync and async tests alike."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import struct
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from email.utils import formatdate
from typing import Any, Final, TypeVar

from ociserver.types import Receive, Scope, Send

try:
    from uvicorn.config import Config
    from uvicorn.protocols.http.h11_impl import H11Protocol
    from uvicorn.server import ServerState
except ImportError as error:
    raise ImportError(f"{error}. Install what `ociserver.testing` needs: pip install 'ociserver[testing]'") from error

__all__ = ["CONNECTION", "Connection", "Server"]

HOST: Final = "127.0.0.1"

BACKLOG: Final = 128
"""Connections that wait in the kernel until the server accepts them."""

KEEP_ALIVE_S: Final = 75
"""Seconds after which an idle connection is closed: longer than a test is idle between two requests."""

START_TIMEOUT_S: Final = 10.0
CALL_TIMEOUT_S: Final = 60.0
"""Seconds that `Server.call` waits. The calls only use memory, so more means that something hangs."""

STOP_TIMEOUT_S: Final = 5.0
"""Seconds that requests may take to notice that their connection is gone."""

CONNECTION: Final = "ociserver.connection"
"""Key of the ASGI scope with the `Connection` of a request."""

_TURNS: Final = 5

_NO_LINGER: Final = struct.pack("ii", 1, 0)

_log = logging.getLogger("ociserver.testing")

_Application = Callable[[Scope, Receive, Send], Awaitable[None]]
_Result = TypeVar("_Result")


class Connection(H11Protocol):
    """A connection of uvicorn, which the application can cut off."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._closed = asyncio.Event()
        # Whatever the tests of a user have set up for the loggers of uvicorn is not for this server.
        self.access_log = False
        self.logger = _log
        application: Any = self.app

        async def with_connection(scope: Any, receive: Any, send: Any) -> None:
            # uvicorn hands this list to each answer. Its own server would renew the date in it.
            self.server_state.default_headers[:] = [(b"date", formatdate(usegmt=True).encode())]
            scope[CONNECTION] = self
            await application(scope, receive, send)

        self.app = with_connection

    async def reset(self) -> None:
        """Cut the connection off with a TCP reset. What was sent, and not yet received, is lost."""
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self.transport.abort()
        await self._lost()

    async def close(self) -> None:
        """Close the connection in order, when the client has received what was sent."""
        self.transport.close()
        await self._lost()

    async def pause(self, seconds: float) -> bool:
        """Wait, but no longer than the connection lives. Whether it still does."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._closed.wait(), seconds)
        return not self._closed.is_set()

    async def _lost(self) -> None:
        # uvicorn logs an error if the application returns before the connection is known to be lost.
        await self._closed.wait()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._closed.set()


class Server:
    """Serves an ASGI application on a free port of 127.0.0.1.

    The port is open from the constructor on, so the application may be made for it. `start` returns when requests are
    answered.

    Args:
        context: for HTTPS; None: HTTP.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        # asyncio turns Nagle's algorithm off only where the protocol is named. With it, answers wait for 40 ms.
        self._listener = socket.socket(proto=socket.IPPROTO_TCP)
        try:
            self._listener.bind((HOST, 0))
        except OSError:
            self._listener.close()
            raise
        self.port: int = self._listener.getsockname()[1]
        self._context = context
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._thread: threading.Thread | None = None

    def start(self, application: _Application) -> None:
        """Serve an application.

        Raises:
            OSError, RuntimeError: the server did not start.
        """
        started: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(application, started), name=f"ociserver-testing-{self.port}", daemon=True
        )
        self._thread.start()
        started.result(START_TIMEOUT_S)

    def call(self, coroutine: Coroutine[Any, Any, _Result]) -> _Result:
        """Run a coroutine on the event loop of the server, and wait for its result.

        Raises:
            RuntimeError: the server does not run, or this is its own thread.
        """
        if self._loop is None or not self._loop.is_running() or threading.current_thread() is self._thread:
            coroutine.close()
            raise RuntimeError("the registry does not run: start it, or use it inside of its `with` block")
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(CALL_TIMEOUT_S)

    def stop(self) -> None:
        """Close the port and all connections, and end the thread. May be called more than once."""
        thread, self._thread = self._thread, None
        if thread is not None and self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(self._stop.set)
            thread.join(STOP_TIMEOUT_S + 1)
        self._listener.close()

    def _run(self, application: _Application, started: Future[None]) -> None:
        try:
            # Not the loop of the tests, which may have another policy, or uvloop.
            with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
                runner.run(self._serve(application, started))
        except Exception as error:
            if started.done():
                raise
            started.set_exception(error)

    async def _serve(self, application: _Application, started: Future[None]) -> None:
        self._loop = loop = asyncio.get_running_loop()
        config = Config(
            application,
            http=Connection,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S,
        )
        config.load()
        state = ServerState()
        arriving: dict[asyncio.Task[None], socket.socket] = {}

        def connection() -> Connection:
            return Connection(config=config, server_state=state, app_state={}, _loop=loop)

        self._listener.settimeout(0)
        self._listener.listen(BACKLOG)
        loop.add_reader(self._listener, self._accept, connection, arriving)
        started.set_result(None)
        await self._stop.wait()
        loop.remove_reader(self._listener)
        for task, accepted in list(arriving.items()):
            await _cancel(task)
            # A task that never ran has not closed it.
            accepted.close()
        for one in list(state.connections):
            if isinstance(one, Connection):
                one.transport.abort()
        if state.tasks:
            await asyncio.wait(state.tasks, timeout=STOP_TIMEOUT_S)
        # Transports close their sockets in a later turn of the event loop, and TLS needs one turn more.
        for _ in range(_TURNS):
            await asyncio.sleep(0)

    def _accept(self, connection: Callable[[], Connection], arriving: dict[asyncio.Task[None], socket.socket]) -> None:
        """Accept a connection. It is in `arriving` until its TLS handshake is finished, so that it can be ended."""
        # Not `loop.sock_accept`: if that is cancelled, it may lose a connection that it has just accepted.
        try:
            accepted, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError):
            return
        accepted.setblocking(False)  # noqa: FBT003 - the name of the method says it
        task = asyncio.get_running_loop().create_task(self._connect(connection, accepted))
        arriving[task] = accepted
        task.add_done_callback(arriving.pop)

    async def _connect(self, connection: Callable[[], Connection], accepted: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(connection, accepted, ssl=self._context)
        except OSError:
            # The client does not trust the certificate, or speaks no TLS, or is gone.
            accepted.close()


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
