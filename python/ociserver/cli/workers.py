"""Several processes that serve one store together: a parent that starts, watches and stops them.

Each worker is `ociserver serve` again, with the same arguments and the parent's listening sockets. It is
started anew and not forked, so that no thread or lock of the parent is in it. A worker that ends by itself
is replaced; a parent that is gone, even by `kill -9`, takes its workers with it, by a pipe that then ends.
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
from typing import Final

__all__ = ["UPLOAD_KEY", "Worker", "supervise"]

_log = logging.getLogger("ociserver.workers")

_VARIABLE: Final = "_OCISERVER_WORKER"
"""How a worker knows that it is one: its number, which no other has or had, the descriptors of its ends of two pipes,
those of its sockets."""

UPLOAD_KEY: Final = "_OCISERVER_UPLOAD_KEY"
"""What all workers sign ids of uploads at registries elsewhere with, as hexadecimal digits."""

RESTART_S: Final = 1.0
"""Pause before a worker is replaced, so that one that cannot live does not take the machine."""

STARTS: Final = 3
"""How many workers in a row may be killed before the first that serves, by a machine that is short of memory, say."""


class Worker:
    """A worker's side: what it has from its parent."""

    def __init__(self, number: int, listeners: list[socket.socket], ready: int, life: int) -> None:
        self.number = number
        self.listeners = listeners
        self._ready = ready
        threading.Thread(target=self._watch, args=(life,), name="ociserver-parent", daemon=True).start()

    @classmethod
    def from_environment(cls) -> Worker | None:
        """This process as a worker; None if it is not one."""
        value = os.environ.pop(_VARIABLE, None)
        if value is None:
            return None
        number, ready, life, *descriptors = (int(part) for part in value.split(","))
        return cls(number, [socket.socket(fileno=descriptor) for descriptor in descriptors], ready, life)

    def tell(self) -> None:
        """Say that it serves."""
        os.write(self._ready, b"1")
        os.close(self._ready)

    @staticmethod
    def _watch(life: int) -> None:
        os.read(life, 1)
        # Nothing is ever written: the parent has gone.
        os.kill(os.getpid(), signal.SIGTERM)


def supervise(
    listeners: list[socket.socket], count: int, on_ready: Callable[[], None], check: Callable[[], bool] | None = None
) -> int:
    """Run `count` workers until a signal; the status to exit with.

    Args:
        listeners: listening sockets, which all workers accept from.
        count: how many.
        on_ready: called when all of them serve.
        check: called at SIGHUP: whether to pass it on to the workers. None if they do not know it.
    """
    return asyncio.run(_Supervisor(listeners, count, check).run(on_ready))


class _Supervisor:
    def __init__(self, listeners: list[socket.socket], count: int, check: Callable[[], bool] | None) -> None:
        self._listeners = listeners
        self._count = count
        self._check = check
        self._numbers = itertools.count(1)
        self._reloads = 0
        self._serving: set[int] = set()
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._signals = 0
        self._stopping = asyncio.Event()
        self._life, self._life_of_workers = 0, 0

    async def run(self, on_ready: Callable[[], None]) -> int:
        # The workers hold the reading end; the writing end is here alone, and ends with this process.
        self._life_of_workers, self._life = os.pipe()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)
        if self._check is not None:
            loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        started = [loop.create_future() for _ in range(self._count)]
        keepers = [asyncio.create_task(self._keep(each)) for each in started]
        ready = asyncio.create_task(self._tell(started, on_ready))
        statuses = await asyncio.gather(*keepers)
        ready.cancel()
        return max(statuses)

    async def _tell(self, started: list[asyncio.Future[None]], on_ready: Callable[[], None]) -> None:
        await asyncio.gather(*started)
        on_ready()

    async def _keep(self, started: asyncio.Future[None]) -> int:
        """Start a worker, and another one when it ends by itself; the status of the last."""
        starts = 0
        while True:
            starts += 1
            number = next(self._numbers)
            reloads = self._reloads
            process, ready = await self._start(number)
            if await asyncio.to_thread(os.read, ready, 1):
                self._serving.add(number)
                if reloads != self._reloads:
                    # It may have read the file before it was changed.
                    _send(process, signal.SIGHUP)
                if not started.done():
                    started.set_result(None)
            os.close(ready)
            status = await process.wait()
            self._serving.discard(number)
            del self._processes[number]
            if self._stopping.is_set():
                # Ended by the signal itself it was still starting, and had nothing to finish.
                return 0 if status == -signal.SIGTERM else abs(status)
            if not started.done() and (status > 0 or starts == STARTS):
                # It could not even start; the others would fare no better.
                if status <= 0:
                    # Else it has said why.
                    _log.error("worker %d ended by itself with status %d, like those before it", number, status)
                self._stop()
                return abs(status) or 1
            _log.error("worker %d ended by itself with status %d; starting another", number, status)
            try:
                await asyncio.wait_for(self._stopping.wait(), RESTART_S)
            except TimeoutError:
                continue
            return 1

    async def _start(self, number: int) -> tuple[asyncio.subprocess.Process, int]:
        ready, ready_of_worker = os.pipe()
        descriptors = [ready_of_worker, self._life_of_workers, *(each.fileno() for each in self._listeners)]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "ociserver",
            *sys.argv[1:],
            pass_fds=descriptors,
            env={**os.environ, _VARIABLE: ",".join(map(str, (number, *descriptors)))},
            # A Ctrl-C in a terminal goes to the whole group; only the parent is to hear it.
            start_new_session=True,
        )
        os.close(ready_of_worker)
        self._processes[number] = process
        if self._stopping.is_set():
            _send(process, signal.SIGTERM)
        return process, ready

    def _on_hangup(self) -> None:
        if self._check is not None and self._check():
            self._reloads += 1
            for number in self._serving:
                _send(self._processes[number], signal.SIGHUP)

    def _on_signal(self) -> None:
        self._signals += 1
        if self._signals > 2:
            for process in self._processes.values():
                _send(process, signal.SIGKILL)
        else:
            self._stop()

    def _stop(self) -> None:
        self._stopping.set()
        # Nobody accepts from them any more: a connection that the kernel took here would wait in vain.
        for listener in self._listeners:
            listener.close()
        for process in self._processes.values():
            _send(process, signal.SIGTERM)


def _send(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    # It may have ended, and `_keep` not have heard of it yet.
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)
