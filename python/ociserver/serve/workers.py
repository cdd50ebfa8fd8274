"""Several processes that serve one store, and a parent that starts, watches and stops them.

Each worker runs the same command as the parent, with the same arguments and the parent's listening sockets. It is a
new process and not a fork, so that it inherits no thread and no lock. The parent replaces a worker that ends by itself
or that is frozen (`heartbeat`). When the parent ends, even by `kill -9`, so do its workers: a pipe tells them.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ociserver._core import __version__
from ociserver.serve.errors import CannotServeError
from ociserver.serve.heartbeat import BEAT_S, SILENCE_S, Heart, Pulse
from ociserver.serve.notify import Notifier

__all__ = ["Worker", "supervise"]

_log = logging.getLogger("ociserver.workers")

_VARIABLE: Final = "_OCISERVER_WORKER"
"""Environment variable that makes a process a worker: the version of its parent; its number, which no other worker has
or had; its place, which it has from the worker that it replaces; how many places there are; and the descriptors of its
ends of two pipes, of the memory that all processes share (-1: none) and of its sockets. They are separated by commas.
The meaning of all but the first may change with each version."""

RESTART_S: Final = 1.0
"""Pause before a worker is replaced, so that one that fails at once does not use up the machine."""

GRACEFUL_TIMEOUT_S: Final = 30.0
"""How long workers may take to finish requests, by default."""

STOP_MARGIN_S: Final = 5.0
"""How much longer than that a worker may take to end before it is killed: it cleans up and closes its store."""

MAX_STARTS: Final = 3
"""How many workers in a row may be killed before the first one serves, for example because memory is short."""


class Worker:
    """The worker's side: what it has from its parent.

    Args:
        number: of the worker, from 1.
        place: of the worker, from 0. A worker that replaces another has its place.
        count: number of places.
        listeners: the listening sockets.
        ready: descriptor of the pipe for heartbeats.
        life: descriptor of the pipe that ends when the parent does.
        shared: descriptor of the memory that all processes share; None: there is none.
    """

    def __init__(
        self,
        number: int,
        place: int,
        count: int,
        listeners: list[socket.socket],
        ready: int,
        life: int,
        shared: int | None,
    ) -> None:
        self.number = number
        self.place = place
        self.count = count
        self.listeners = listeners
        self.shared = shared
        self._heart = Heart(ready)
        threading.Thread(target=self._watch, args=(life,), name="ociserver-parent", daemon=True).start()

    @classmethod
    def from_environment(cls) -> Worker | None:
        """This process as a worker; None if no parent has started it.

        Raises:
            CannotServeError: the parent is of another version of ociserver.
        """
        value = os.environ.pop(_VARIABLE, None)
        if value is None:
            return None
        version, *numbers = value.split(",")
        if version != __version__:
            raise CannotServeError(
                f"ociserver {__version__} was installed while a server of another version was running. Restart the "
                "server."
            )
        number, place, count, ready, life, shared, *descriptors = map(int, numbers)
        listeners = [socket.socket(fileno=descriptor) for descriptor in descriptors]
        return cls(number, place, count, listeners, ready, life, shared if shared >= 0 else None)

    def tell(self) -> None:
        """Tell the parent that this worker serves requests."""
        self._heart.serves()

    async def beat(self) -> None:
        """Send heartbeats for as long as the event loop runs."""
        await self._heart.beat()

    @staticmethod
    def _watch(life: int) -> None:
        os.read(life, 1)
        # Nothing is ever written to this pipe, so the parent has ended.
        os.kill(os.getpid(), signal.SIGTERM)


def supervise(
    listeners: list[socket.socket],
    count: int,
    on_ready: Callable[[], None],
    check: Callable[[], bool] | None = None,
    notifier: Notifier | None = None,
    *,
    graceful_timeout_s: float = GRACEFUL_TIMEOUT_S,
    silence_s: float = SILENCE_S,
    stop_margin_s: float = STOP_MARGIN_S,
    restart_s: float = RESTART_S,
    shared: int | None = None,
) -> int:
    """Run `count` workers until a signal.

    Args:
        listeners: listening sockets, from which all workers accept.
        count: number of workers.
        on_ready: called when all of them serve.
        check: called at SIGHUP; says whether to pass the signal on to the workers. None if they do not reload.
        notifier: told of reloads and of the stop, and kept alive. `on_ready` tells it of the start.
        graceful_timeout_s: how long the workers let requests finish.
        silence_s: how long a worker may send no heartbeat before it is killed and replaced.
        stop_margin_s: how long after `graceful_timeout_s` a worker that has not ended is killed.
        restart_s: pause before a worker is replaced.
        shared: descriptor of memory that the workers share, which they inherit.

    Returns:
        The exit status: the highest of those of the workers.
    """
    stop_s = graceful_timeout_s + stop_margin_s
    supervisor = _Supervisor(
        listeners,
        count,
        check,
        notifier or Notifier(),
        stop_s=stop_s,
        silence_s=silence_s,
        restart_s=restart_s,
        shared=shared,
    )
    return asyncio.run(supervisor.run(on_ready))


@dataclass(slots=True)
class _Running:
    """A worker that was started and has not ended, as far as the parent knows."""

    process: asyncio.subprocess.Process
    pulse: Pulse
    is_frozen: bool = False


class _Supervisor:
    def __init__(
        self,
        listeners: list[socket.socket],
        count: int,
        check: Callable[[], bool] | None,
        notifier: Notifier,
        *,
        stop_s: float,
        silence_s: float,
        restart_s: float,
        shared: int | None,
    ) -> None:
        self._listeners = listeners
        self._count = count
        self._check = check
        self._notifier = notifier
        self._stop_s = stop_s
        self._silence_s = silence_s
        self._restart_s = restart_s
        self._shared = shared
        self._numbers = itertools.count(1)
        self._reloads = 0
        self._serving: set[int] = set()
        self._workers: dict[int, _Running] = {}
        self._signals = 0
        self._stopping = asyncio.Event()
        self._life, self._life_of_workers = 0, 0

    async def run(self, on_ready: Callable[[], None]) -> int:
        # The workers hold the reading end. Only this process has the writing end, which ends with it.
        self._life_of_workers, self._life = os.pipe()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)
        if self._check is not None:
            loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        started = [loop.create_future() for _ in range(self._count)]
        keepers = [asyncio.create_task(self._keep(place, each)) for place, each in enumerate(started)]
        ready = asyncio.create_task(self._tell(started, on_ready))
        watching = asyncio.create_task(self._watch())
        keeping_alive = asyncio.create_task(self._notifier.keep_alive())
        statuses = await asyncio.gather(*keepers)
        ready.cancel()
        watching.cancel()
        keeping_alive.cancel()
        return max(statuses)

    async def _tell(self, started: list[asyncio.Future[None]], on_ready: Callable[[], None]) -> None:
        await asyncio.gather(*started)
        on_ready()

    async def _keep(self, place: int, started: asyncio.Future[None]) -> int:
        """Start a worker, and another one each time it ends by itself; returns the status of the last."""
        starts = 0
        while True:
            starts += 1
            number = next(self._numbers)
            reloads = self._reloads
            worker = await self._start(number, place)
            if await worker.pulse.serving:
                self._serving.add(number)
                if reloads != self._reloads:
                    # It may have read the configuration before that was changed.
                    _send(worker, signal.SIGHUP)
                if not started.done():
                    started.set_result(None)
            status = await worker.process.wait()
            worker.pulse.close()
            self._serving.discard(number)
            del self._workers[number]
            if self._stopping.is_set():
                # A worker that the signal itself ended was still starting, and had no requests to finish.
                return 0 if status == -signal.SIGTERM else abs(status)
            if not started.done() and (status > 0 or starts == MAX_STARTS):
                # It could not even start, and neither could another one.
                if status <= 0:
                    # With a positive status it has said why.
                    _log.error(
                        "worker %d ended with status %d before it served, as did %d before it; stopping",
                        number,
                        status,
                        starts - 1,
                    )
                self._stop()
                return abs(status) or 1
            if not worker.is_frozen:
                _log.error("worker %d ended unexpectedly with status %d; starting another", number, status)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._restart_s)
            # Also if the stop comes just after the timeout: the listeners are closed then.
            if self._stopping.is_set():
                return 1

    async def _watch(self) -> None:
        """Kill frozen workers. `_keep` then starts others."""
        while True:
            await asyncio.sleep(BEAT_S)
            for number, worker in self._workers.items():
                silent_s = worker.pulse.tick()
                if silent_s >= self._silence_s and not worker.is_frozen:
                    worker.is_frozen = True
                    then = "killing it" if self._stopping.is_set() else "killing it and starting another"
                    _log.error("worker %d has not responded for %g s; %s", number, silent_s, then)
                    _send(worker, signal.SIGKILL)

    async def _start(self, number: int, place: int) -> _Running:
        ready, ready_of_worker = os.pipe()
        sockets = [each.fileno() for each in self._listeners]
        shared = [] if self._shared is None else [self._shared]
        pipes = (ready_of_worker, self._life_of_workers)
        described = (__version__, number, place, self._count, *pipes, *(shared or [-1]), *sockets)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "ociserver",
            *sys.argv[1:],
            pass_fds=[*pipes, *shared, *sockets],
            env={**os.environ, _VARIABLE: ",".join(map(str, described))},
            # A Ctrl-C in a terminal goes to the whole process group, and only the parent must get it.
            start_new_session=True,
        )
        os.close(ready_of_worker)
        worker = self._workers[number] = _Running(process, Pulse(ready))
        if self._stopping.is_set():
            _send(worker, signal.SIGTERM)
        return worker

    def _on_hangup(self) -> None:
        self._notifier.reloading()
        if self._check is not None and self._check():
            self._reloads += 1
            for number in self._serving:
                _send(self._workers[number], signal.SIGHUP)
        self._notifier.ready()

    def _on_signal(self) -> None:
        self._signals += 1
        if self._signals > 2:
            self._kill_all()
        else:
            self._stop()

    def _kill_all(self) -> None:
        for worker in self._workers.values():
            _send(worker, signal.SIGKILL)

    def _stop(self) -> None:
        if not self._stopping.is_set():
            asyncio.get_running_loop().call_later(self._stop_s, self._kill_all)
            self._notifier.stopping()
        self._stopping.set()
        # Nothing accepts from them any more: a connection that the kernel took would wait in vain.
        for listener in self._listeners:
            listener.close()
        for worker in self._workers.values():
            _send(worker, signal.SIGTERM)


def _send(worker: _Running, number: signal.Signals) -> None:
    # It may have ended before `_keep` was told.
    with contextlib.suppress(ProcessLookupError):
        worker.process.send_signal(number)
