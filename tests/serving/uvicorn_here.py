"""uvicorn on the event loop of the test itself: it starts and stops in milliseconds."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from tests.serving.site import Site


@asynccontextmanager
async def serve_here(application: Any, **settings: Any) -> AsyncIterator[Site]:
    """Serve an ASGI application until the block ends; `settings` are those of `uvicorn.Config`."""
    # asyncio turns Nagle off only where the protocol is named; with it every answer would wait for 40 ms.
    with socket.socket(proto=socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        host, port = listener.getsockname()
        defaults: dict[str, Any] = {"lifespan": "on", "log_config": None, "access_log": False, "http": "h11"}
        config = uvicorn.Config(application, **(defaults | settings))
        config.load()
        server = uvicorn.Server(config)
        # What `Server.serve` does, without its signal handlers and its clock.
        server.lifespan = config.lifespan_class(config)
        await server.startup([listener])
        assert server.started, "uvicorn did not start"
        try:
            yield Site(host, port)
        finally:
            # A client that has closed its connections is gone in a moment; uvicorn would look again in 100 ms.
            for _ in range(20):
                if not server.server_state.connections:
                    break
                await asyncio.sleep(0.001)
            await server.shutdown([listener])
