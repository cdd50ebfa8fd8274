"""URLs of registries, and how messages show them without secrets.

A URL or a reference that a person types may contain a password, and a URL from a registry may contain a signature.
Messages, logs and tracebacks end up in tickets and log servers, so they show neither.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

__all__ = ["HIDDEN", "HUB_HOSTS", "check_host", "parse_registry_url", "shown"]

HUB_HOSTS: Final = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
"""The hosts of Docker Hub."""

HIDDEN: Final = "***"
"""The replacement for a secret."""

_DIGEST: Final = re.compile(r"(.*)(@sha(?:256|384|512):[0-9A-Fa-f]*)", re.DOTALL)


def shown(text: str) -> str:
    """A URL or a reference without user, password, query and fragment.

    Everything before the last `@` is hidden, unless a digest follows it: a password may have any character.
    """
    found = _DIGEST.fullmatch(text)
    rest, digest = found.groups() if found else (text, "")
    user, at, rest = rest.rpartition("@")
    if at:
        scheme, separator, _ = user.partition("://")
        known = separator and scheme in ("http", "https", "docker")
        rest = f"{scheme}://{HIDDEN}@{rest}" if known else f"{HIDDEN}@{rest}"
    for mark in "?#":
        rest, cut, _ = rest.partition(mark)
        if cut:
            rest += mark + HIDDEN
    return rest + digest


def parse_registry_url(url: str, example: str = "https://registry.example") -> SplitResult:
    """The parts of the URL of a registry: scheme, host, and perhaps a port and a path before `/v2/`.

    Args:
        url: the text to parse.
        example: a valid URL, which messages show.

    Raises:
        ValueError: the text is not such a URL. The message says why, and shows nothing of the text.
    """
    if not url.isprintable() or " " in url:
        raise ValueError(f"the URL has invalid characters; write {example}")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        # Python's own message repeats a part of the URL.
        raise ValueError(f"the URL has an invalid host or port; write {example}") from None
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"the URL begins with neither https:// nor http://; write {example}")
    if "@" in parts.netloc:
        raise ValueError(
            "the URL contains a user name or a password, which would be logged: set them separately, as `username` and "
            "`password` in a configuration file, or as `credentials` in Python"
        )
    if not host or port == 0:
        raise ValueError(f"the URL has no host, or port 0; write {example}")
    if parts.query or parts.fragment:
        raise ValueError(f"the URL has a query or a fragment; write {example}")
    return parts


def check_host(text: str) -> str:
    """The same text, if it is `host` or `host:port`.

    Raises:
        ValueError: it is not. The message does not repeat it.
    """
    try:
        parts = urlsplit(f"//{text}")
        is_host = parts.netloc == text and bool(parts.hostname) and parts.port != 0 and "@" not in text
    except ValueError:
        is_host = False
    if not is_host or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must be the name of a host, such as auth.example or auth.example:5001")
    return text
