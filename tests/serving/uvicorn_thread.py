"""uvicorn in a thread of this process, so that a test can look into the application."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from tests.serving.site import TIMEOUT_S, Site


@contextmanager
def serve_with_uvicorn(application: Any, **settings: Any) -> Iterator[Site]:
    """Serve an ASGI application until the block ends; `settings` are those of `uvicorn.Config`."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        # From here on connections wait in the backlog until uvicorn takes them.
        listener.listen(128)
        host, port = listener.getsockname()
        defaults: dict[str, Any] = {"lifespan": "off", "log_config": None, "access_log": False, "http": "h11"}
        config = uvicorn.Config(application, **(defaults | settings))
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="uvicorn")
        thread.start()
        try:
            yield Site(host, port)
        finally:
            server.should_exit = True
            thread.join(TIMEOUT_S)
            assert not thread.is_alive(), "uvicorn did not stop"
