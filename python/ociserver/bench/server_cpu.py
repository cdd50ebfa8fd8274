"""Processor time of a server on the same machine. Only on Linux, which lists sockets and processes in /proc."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Final

__all__ = ["cpu_seconds", "process_tree", "server_cpu_seconds", "server_processes"]

_PROC: Final = Path("/proc")
_LISTENING: Final = "0A"
"""The state of a listening socket in /proc/net/tcp (TCP_LISTEN in the kernel's tcp_states.h)."""


def server_processes(host: str, port: int) -> tuple[int, ...]:
    """Return the ids of the processes that listen at a port of this machine.

    Empty if the host is another machine, the processes belong to another user, or the system is not Linux. A program
    that forwards the port, such as docker-proxy, is found instead of the server behind it.
    """
    if not _is_local(host):
        return ()
    sockets = {f"socket:[{inode}]" for inode in _listening(port)}
    return tuple(pid for pid in _pids() if sockets & _open_files(pid)) if sockets else ()


def server_cpu_seconds(pids: Iterable[int]) -> float | None:
    """Return the processor time in seconds of processes and their descendants; None if there is none of them."""
    times = [cpu_seconds(pid) for pid in {found for pid in pids for found in process_tree(pid)}]
    return sum(times) if times else None


def cpu_seconds(pid: int) -> float:
    """Return the processor time in seconds of one process, as the scheduler counts it; 0 if it has ended."""
    try:
        # The clock of another process; see clock_getcpuclockid(3). It includes threads that have ended.
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


def process_tree(pid: int) -> list[int]:
    """Return the ids of a process and of all its descendants. Empty if it has ended."""
    found = [pid] if (_PROC / str(pid)).exists() else []
    for process in found:
        for children in (_PROC / str(process) / "task").glob("*/children"):
            found += [int(child) for child in _read(children).split()]
    return found


def _is_local(host: str) -> bool:
    try:
        addresses = {ip_address(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, ValueError):
        return False
    return any(address.is_loopback for address in addresses)


def _listening(port: int) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        for line in _read(_PROC / "net" / table).splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]


def _pids() -> Iterator[int]:
    if _PROC.is_dir():
        yield from (int(name) for name in os.listdir(_PROC) if name.isdigit())


def _open_files(pid: int) -> set[str]:
    files = set()
    # The process may end, or belong to another user.
    with suppress(OSError), os.scandir(_PROC / str(pid) / "fd") as links:
        for link in links:
            with suppress(FileNotFoundError):  # closed meanwhile
                files.add(os.readlink(link))
    return files


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
