"""A TCP relay that does something in the middle of what a client does, before it passes on a certain request."""

from __future__ import annotations

import re
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

__all__ = ["interposed"]

_PIECE = 1 << 16


@contextmanager
def interposed(address: str, request: str, action: Callable[[], None]) -> Iterator[str]:
    """Relay every connection to `host:port` until the block ends. Yields the address of the relay.

    Before the first request passes whose first line matches, `action` is called. Other connections wait meanwhile.

    Args:
        address: where to relay to.
        request: a regular expression, such as `GET /v2/\\S+/blobs/`.
        action: is called once.
    """
    pattern = re.compile(request.encode())
    passing = threading.Lock()
    called: list[bool] = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            host, _, port = address.rpartition(":")
            with socket.create_connection((host, int(port))) as upstream:
                answering = threading.Thread(target=_relay, args=(upstream, self.request, lambda _: None))
                answering.start()
                _relay(self.request, upstream, look)
                answering.join()

    def look(piece: bytes) -> None:
        with passing:
            if not called and pattern.match(piece):
                called.append(True)
                action()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as listener:
        listener.daemon_threads = True
        serving = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
        serving.start()
        try:
            yield f"127.0.0.1:{listener.server_address[1]}"
        finally:
            listener.shutdown()
            serving.join()


def _relay(source: socket.socket, target: socket.socket, look: Callable[[bytes], None]) -> None:
    """Copy bytes until one side ends, and then shut down this direction on both."""
    with suppress(OSError):
        while piece := source.recv(_PIECE):
            look(piece)
            target.sendall(piece)
    for end, way in ((source, socket.SHUT_RD), (target, socket.SHUT_WR)):
        with suppress(OSError):
            end.shutdown(way)
