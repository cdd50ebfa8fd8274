"""A reverse proxy in front of an object store, which records each request."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.support.nginx import run
from tests.support.server import free_port

__all__ = ["Counted", "Request", "counted"]

_BARRIER: Final = "/.recorded"

# The signature covers the host, so the store must see the host that the client has used.
_SERVER: Final = """\
log_format requests escape=json '{{"method":"$request_method","target":"$request_uri","status":$status}}';
  server {{
    listen 127.0.0.1:{port};
    access_log {log} requests;
    client_max_body_size 0;
    proxy_request_buffering off;
    proxy_buffering off;
    location / {{
      proxy_pass http://127.0.0.1:{upstream};
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Connection "";
      {headers}
    }}
    location = {barrier} {{ access_log off; return 204; }}
  }}"""

_BY_QUERY: Final = {
    ("POST", "uploads"): "create multipart",
    ("PUT", "partNumber"): "put part",
    ("GET", "partNumber"): "get",
    ("POST", "uploadId"): "complete multipart",
    ("DELETE", "uploadId"): "abort multipart",
    ("GET", "uploadId"): "list parts",
    ("GET", "uploads"): "list multiparts",
    ("GET", "list-type"): "list",
    ("GET", "prefix"): "list",
    ("POST", "delete"): "delete many",
    # Azure
    ("PUT", "comp=block"): "put part",
    ("PUT", "comp=blocklist"): "complete multipart",
    ("GET", "comp=list"): "list",
    ("POST", "comp=batch"): "delete many",
}
"""Names of the operations that the method alone does not tell, by a name or a pair of the query."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request. The status is 502 if the store did not answer, and 499 if the client went away before."""

    method: str
    path: str
    query: dict[str, str]
    status: int

    @property
    def operation(self) -> str:
        """What it asks for: `put`, `get`, `head`, `delete`, or one of the operations that have a query."""
        parts = [*self.query, *(f"{name}={value}" for name, value in self.query.items())]
        return next((known for part in parts if (known := _BY_QUERY.get((self.method, part)))), self.method.lower())


class Counted:
    """The proxy, and what has passed it."""

    def __init__(self, port: int, log: Path) -> None:
        self.port = port
        self._log = log
        self._from = 0

    def requests(self) -> list[Request]:
        """All requests that have ended since the start or the last `clear`, in the order in which they ended."""
        self._await_records()
        with self._log.open("rb") as log:
            log.seek(self._from)
            return [_request(json.loads(line)) for line in log]

    def operations(self) -> Counter[str]:
        """How many requests there were for each operation, whatever the answers."""
        return Counter(request.operation for request in self.requests())

    def clear(self) -> None:
        """Forget all requests so far."""
        self._await_records()
        self._from = self._log.stat().st_size

    def _await_records(self) -> None:
        """Wait until each request is recorded whose answer has arrived.

        nginx records a request just after it has sent the end of the answer. Its only worker does one thing at a time,
        so it has recorded those before it answers this one.
        """
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", _BARRIER)
            connection.getresponse().read()
        finally:
            connection.close()


@contextmanager
def counted(upstream: int, folder: Path, *, headers: str = "") -> Iterator[Counted]:
    """Proxy to a port of 127.0.0.1 until the block ends.

    Args:
        upstream: the port of the store, or of another proxy in front of it.
        folder: a new folder for the files of the proxy.
        headers: further directives of nginx for the requests to the store.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port, log = free_port(), folder / "requests.log"
    server = _SERVER.format(port=port, upstream=upstream, log=log, headers=headers, barrier=_BARRIER)
    with run(folder, port, server):
        yield Counted(port, log)


def _request(record: dict[str, str]) -> Request:
    parts = urlsplit(record["target"])
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    return Request(record["method"], unquote(parts.path), query, int(record["status"]))
