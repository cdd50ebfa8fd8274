"""The handler: an ASGI application that speaks the distribution API over a backend."""

from ociserver.event import Event
from ociserver.handler.app import Handler

__all__ = ["Event", "Handler"]
