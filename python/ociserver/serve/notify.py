"""Tells a service manager what the server does, as `sd_notify(3)` and `sd_watchdog_enabled(3)` of systemd describe it.

A state is one datagram to the unix socket that the environment names. Without that variable nothing is sent.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from typing import Final

__all__ = ["Notifier"]

_log = logging.getLogger("ociserver.serve")

_SOCKET: Final = "NOTIFY_SOCKET"
_WATCHDOG_US: Final = "WATCHDOG_USEC"
_WATCHDOG_PID: Final = "WATCHDOG_PID"

_KEEP_ALIVE: Final = "WATCHDOG=1"
_US: Final = 1_000_000

WAIT_S: Final = 1.0
"""How long a state waits while the manager reads nothing. The event loop waits too, so it must not be long. systemd
reads at once, but a state that is lost would make it end the server."""

KEEP_ALIVES: Final = 2
"""How many keep-alives are sent in the time after which the manager kills a silent server, as sd_notify(3) asks for."""


class Notifier:
    """The states of one server.

    Args:
        address: of the manager's socket: a path, or `@` and a name without a file. None: nobody is told.
        watchdog_s: the manager kills the server after this time without a keep-alive. None: it does not.
    """

    def __init__(self, address: str | None = None, watchdog_s: float | None = None) -> None:
        self._address = address
        self._watchdog_s = watchdog_s

    @classmethod
    def from_environment(cls) -> Notifier:
        """The notifier of this process. The variables are removed: child processes must not speak for this one."""
        address = os.environ.pop(_SOCKET, None)
        watchdog = os.environ.pop(_WATCHDOG_US, "")
        pid = os.environ.pop(_WATCHDOG_PID, "")
        is_watched = watchdog.isdecimal() and int(watchdog) > 0 and pid in ("", str(os.getpid()))
        return cls(address or None, int(watchdog) / _US if is_watched else None)

    def ready(self) -> None:
        """The server answers requests, or a reload has ended."""
        self._send("READY=1")

    def reloading(self) -> None:
        """The server reads its configuration again. `ready` must follow."""
        # With the time, a manager of `Type=notify-reload` knows that this answers its signal.
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """The server accepts no more requests."""
        self._send("STOPPING=1")

    async def keep_alive(self) -> None:
        """Send keep-alives for as long as the event loop runs, if the manager wants them."""
        if self._watchdog_s is None:
            return
        while True:
            self._send(_KEEP_ALIVE, wait_s=0)
            await asyncio.sleep(self._watchdog_s / KEEP_ALIVES)

    def _send(self, state: str, wait_s: float = WAIT_S) -> None:
        if self._address is None:
            return
        # The first character of a name without a file is a zero byte for the kernel.
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(wait_s)
                sender.sendto(state.encode(), address)
        except BlockingIOError:
            # The queue of the manager is full of other keep-alives.
            pass
        except OSError as error:
            # The state of the server does not depend on who hears of it.
            _log.warning(
                "the service manager could not be told %s: %s", state.partition("\n")[0], error.strerror or error
            )
