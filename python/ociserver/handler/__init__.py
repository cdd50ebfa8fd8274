"""The handler: an ASGI application that speaks the distribution API over a backend."""

from ociserver.event import Event
from ociserver.handler.app import Handler
from ociserver.handler.body import BodyLimits

__all__ = ["BodyLimits", "Event", "Handler"]
