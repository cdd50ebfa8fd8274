"""Answers scrapes over HTTP, on a port of its own."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import CollectorRegistry, make_wsgi_app

__all__ = ["PATH", "Listener", "listen"]

_log = logging.getLogger("ociserver.metrics")

PATH: Final = "/metrics"

MAX_SCRAPES: Final = 8
"""Connections at a time. Prometheus has one; further ones are closed at once."""

TIMEOUT_S: Final = 10.0
"""Seconds that a client may take to send or to receive anything."""

MAX_SCRAPE_S: Final = 30.0
"""Seconds that a connection may last. Otherwise a few slow clients could keep Prometheus out. It waits 10 s itself."""

_Application = Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Args:
        host: an address, or a name. `::` is every address, of IPv4 too, as for the server itself.
        port: 0 for any free one.

    Raises:
        OSError: the address cannot be used.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, address = found[0]
    both = family == socket.AF_INET6 and address[0] == "::" and socket.has_dualstack_ipv6()
    return socket.create_server(address[:2], family=family, dualstack_ipv6=both)


class Listener:
    """Answers in threads of its own.

    Args:
        socket: listens already. It is closed here.
        registry: what a scrape collects.
        max_scrape_s: see `MAX_SCRAPE_S`.
    """

    def __init__(
        self, socket: socket.socket, registry: CollectorRegistry, *, max_scrape_s: float = MAX_SCRAPE_S
    ) -> None:
        self._server = _Server(socket, _only_metrics(make_wsgi_app(registry)), max_scrape_s)
        self._thread = threading.Thread(target=self._server.serve_forever, name="ociserver-metrics", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Accept no more connections."""
        self._server.shutdown()
        self._server.server_close()


def _only_metrics(app: Any) -> _Application:
    def answer(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == PATH:
            found: Iterable[bytes] = app(environ, start)
            return found
        start("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
        return [f"The metrics are at {PATH}.\n".encode()]

    return answer


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, listening: socket.socket, app: _Application, max_scrape_s: float) -> None:
        address = listening.getsockname()[:2]
        super().__init__(address, _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.server_name, self.server_port = address
        self.setup_environ()
        self.set_app(app)
        self._scrapes = threading.BoundedSemaphore(MAX_SCRAPES)
        self._max_scrape_s = max_scrape_s

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._scrapes.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        ending = threading.Timer(self._max_scrape_s, _cut_off, [request])
        ending.daemon = True
        try:
            ending.start()
            super().process_request_thread(request, client_address)
        finally:
            ending.cancel()
            self._scrapes.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        _log.debug("a scrape ended early", exc_info=True)


def _cut_off(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it has just ended
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(WSGIRequestHandler):
    timeout = TIMEOUT_S

    def log_message(self, format: str, *args: Any) -> None:
        _log.debug("scrape: " + format, *args)
