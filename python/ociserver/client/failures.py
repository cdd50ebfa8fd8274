"""Turns exceptions of the HTTP library into ours, with the host, the port and the reason in words."""

from __future__ import annotations

import errno
import os
import socket

import aiohttp
from yarl import URL

from ociserver.client.limits import CONNECT_TIMEOUT_S
from ociserver.client.requests import InvalidAnswerError, UnreachableError, UntrustedError

__all__ = ["DisconnectedError", "NotConnectedError", "unreachable", "where"]


class NotConnectedError(UnreachableError):
    """The client sent no byte of the request."""


class DisconnectedError(UnreachableError):
    """The connection ended before the answer began."""


def where(url: URL) -> str:
    """Host and port, for messages."""
    return f"{url.raw_host} port {url.port}"


def unreachable(error: Exception, url: URL) -> UnreachableError | InvalidAnswerError:
    """The error with host, port and reason. The library's own messages may contain URLs with signatures."""
    place = where(url)
    match error:
        case aiohttp.ConnectionTimeoutError():
            return UnreachableError(504, f"{place} did not answer within {CONNECT_TIMEOUT_S:g} seconds")
        case TimeoutError():
            return UnreachableError(504, f"{place} took too long to answer")
        case aiohttp.ClientConnectorCertificateError():
            reason = getattr(error.certificate_error, "verify_message", "") or "it cannot be verified"
            return UntrustedError(502, f"{place} has a certificate that is not trusted: {reason}")
        case aiohttp.ClientProxyConnectionError():
            return NotConnectedError(502, f"the proxy {error.host} port {error.port} cannot be reached: {_why(error)}")
        case aiohttp.ClientConnectorError():
            return NotConnectedError(502, f"{place} cannot be reached: {_why(error)}")
        case aiohttp.ServerDisconnectedError():
            return DisconnectedError(502, f"{place} closed the connection without an answer")
        case aiohttp.ClientPayloadError():
            return UnreachableError(502, f"{place} broke off in the middle of its answer")
        case OSError():
            return UnreachableError(502, f"{place} broke off: {_why(error)}")
        case aiohttp.ClientResponseError():
            return InvalidAnswerError(502, f"{place} sent an answer that is not valid HTTP")
    return UnreachableError(502, f"the exchange with {place} failed")


def _why(error: OSError) -> str:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "no host has this name" if error.errno == socket.EAI_NONAME else "the lookup of its name failed"
    if isinstance(error, aiohttp.ClientSSLError):
        return "it does not support TLS, or no TLS version that this client supports"
    known = error.errno in errno.errorcode
    return os.strerror(error.errno or 0).lower() if known else "the connection failed"
