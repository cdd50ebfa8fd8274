"""Applications that somebody could have a registry in."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

import ociserver

PREFIX = "/some/registry"


def _home(_: object) -> PlainTextResponse:
    return PlainTextResponse("home")


def starlette() -> Starlette:
    """A registry below a prefix; Starlette runs no lifespan of what it mounts."""
    registry = ociserver.Handler(ociserver.Memory(lax_child_references=True))
    return Starlette(routes=[Route("/", _home), Mount(PREFIX, registry)])


def fastapi() -> FastAPI:
    """The same in FastAPI."""
    app = FastAPI()
    app.add_api_route("/", lambda: "home")
    app.mount(PREFIX, ociserver.Handler(ociserver.Memory(lax_child_references=True)))
    return app


def plain() -> ociserver.Handler:
    """A registry and nothing else."""
    return ociserver.Handler(ociserver.Memory(lax_child_references=True))


starlette_app = starlette()
fastapi_app = fastapi()
plain_app = plain()
