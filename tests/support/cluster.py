"""Nodes of `ociserver serve` that share what their configuration names, with nginx in front.

nginx gives each request to the next node in turn, whatever connection it came by. If a node refuses the connection, the
request goes to the next one.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from tests.support import nginx
from tests.support.bucket import ObjectStore
from tests.support.leaks import watched
from tests.support.process import Process
from tests.support.server import PROGRAM, Server, free_port
from tests.support.threads import together

__all__ = ["Cluster", "Node", "cluster", "over_bucket"]

# Otherwise nginx would leave out a node that has failed for 10 seconds.
_NODE: Final = "server 127.0.0.1:{port} max_fails=0;"

_SERVER: Final = """\
upstream nodes {{ {nodes} }}
  server {{
    listen 127.0.0.1:{port};
    client_max_body_size 0;
    large_client_header_buffers 4 64k;
    proxy_request_buffering off;
    proxy_buffering off;
    location / {{
      proxy_pass http://nodes;
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Connection "";
    }}
  }}"""


class Node:
    """One node. A new start has the same port and configuration. When it has ended, its log must not have a secret.

    Args:
        folder: a new folder for its configuration and its log.
        configuration: the text of its configuration file.
        environment: added to the environment of the tests.
        arguments: further ones of `ociserver serve`.
    """

    def __init__(
        self, folder: Path, configuration: str, environment: Mapping[str, str], arguments: Sequence[str]
    ) -> None:
        folder.mkdir(parents=True)
        file = folder / "registry.toml"
        file.write_text(configuration)
        port = free_port()
        self.process = Process(
            [*PROGRAM, "serve", "--config", str(file), "--host", "127.0.0.1", "--port", str(port), *arguments],
            port,
            folder / "server.log",
            # The settings of the person who runs the tests must not change the result.
            {**{name: "" for name in os.environ if name.startswith("OCISERVER_")}, **environment},
            ready="/readyz",
        )
        self._watch = partial(watched, self.process.log, ["--config", str(file), *arguments], environment)
        self._watching = ExitStack()

    @property
    def server(self) -> Server:
        """The node itself, without nginx."""
        return Server("127.0.0.1", self.process.port, self.process.pid, self.process.log)

    def start(self) -> None:
        """Start the node, and wait until it is ready."""
        self._watching.enter_context(self._watch())
        self.process.start()

    def kill(self) -> None:
        """Kill the node with `kill -9`."""
        self.process.kill()
        self._watching.close()

    def drain(self) -> None:
        """Ask the node to end, and wait until it has answered its requests and left without an error."""
        status = self.process.stop()
        assert status in {0, -signal.SIGTERM}, f"the node left with {status}:\n{self.process.log_tail()}"
        self._watching.close()


@dataclass(frozen=True, slots=True)
class Cluster:
    """The nodes, and the address of nginx in front of them."""

    address: str
    nodes: tuple[Node, ...]

    @property
    def url(self) -> str:
        return f"http://{self.address}"


@contextmanager
def cluster(
    folder: Path,
    configure: Callable[[int], str],
    *,
    nodes: int = 2,
    environment: Mapping[str, str] | None = None,
    arguments: Sequence[str] = (),
) -> Iterator[Cluster]:
    """Run nodes and nginx until the block ends. The nodes that still run must then leave without an error.

    Args:
        folder: for the files of the nodes and of nginx.
        configure: makes the configuration file of a node from its number, from 0 on.
        nodes: how many.
        environment: added to the environment of each node, such as the credentials of a bucket.
        arguments: further ones of `ociserver serve`.
    """
    members = tuple(
        Node(folder / f"node-{number}", configure(number), environment or {}, arguments) for number in range(nodes)
    )
    port = free_port()
    server = _SERVER.format(port=port, nodes=" ".join(_NODE.format(port=node.process.port) for node in members))
    (folder / "nginx").mkdir()
    with ExitStack() as stack:
        for node in members:
            stack.callback(node.kill)
        together(node.start for node in members)
        stack.enter_context(nginx.run(folder / "nginx", port, server))
        yield Cluster(f"127.0.0.1:{port}", members)
        together(node.drain for node in members if node.process.runs)
    for node in members:
        text = node.process.log.read_text(errors="replace")
        at = text.find("Traceback")
        assert at == -1, f"a node printed a traceback:\n{text[at : at + 4096]}"


def over_bucket(database: str, store: ObjectStore, *, prefix: str = "", port: int | None = None, more: str = "") -> str:
    """The configuration of a node over a database and a bucket. The keys of the bucket come from the environment.

    Args:
        database: the URL of the database.
        store: where the bucket is.
        prefix: of the keys of all objects.
        port: that of a proxy in front of the store.
        more: further lines of the table `[registry.objects]`, and further tables.
    """
    return f"""\
[registry]
kind = "store"
database = "{database}"

[registry.objects]
url = "{store.url}{prefix and f"/{prefix}"}"
endpoint = "http://127.0.0.1:{port or store.port}"
{more}
"""
