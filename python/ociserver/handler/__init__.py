"""The handler: an ASGI application that speaks the distribution API over a backend."""

from ociserver.handler.app import Handler
from ociserver.handler.call import Event

__all__ = ["Event", "Handler"]
