"""Parses WWW-Authenticate (RFC 9110, 11.6.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

__all__ = ["Challenge", "parse_challenges"]

_TOKEN: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105
_PARAMETER: Final = re.compile(rf'({_TOKEN})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s,"=][^\s,"]*))', re.DOTALL)
_SCHEME: Final = re.compile(rf"({_TOKEN})(?:[ \t]+|(?=,)|$)")
_TOKEN68: Final = re.compile(r"[A-Za-z0-9\-._~+/]+=*[ \t]*(?=,|$)")
_BETWEEN: Final = re.compile(r"[ \t,]*")
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to authenticate. The scheme and the parameter names are in lower case."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)


def parse_challenges(headers: Sequence[str]) -> list[Challenge]:
    """All challenges of all headers, in order. One header may have several. A syntax error ends its header."""
    return [challenge for header in headers for challenge in _parse(header)]


def _parse(header: str) -> list[Challenge]:
    found: list[Challenge] = []
    at = _skip(header, 0)
    while at < len(header):
        # After a comma, either a parameter or a new scheme follows. Only a parameter has a `=`.
        scheme = _SCHEME.match(header, at)
        if scheme is None or _PARAMETER.match(header, at):
            break
        at = scheme.end()
        parameters: dict[str, str] = {}
        if not _PARAMETER.match(header, at) and (token := _TOKEN68.match(header, at)) and "=" in token[0]:
            # Negotiate and similar schemes. The client does not support them, but another challenge may follow.
            at = _skip(header, token.end())
        while parameter := _PARAMETER.match(header, at):
            name, quoted, plain = parameter.groups()
            parameters.setdefault(name.lower(), plain if quoted is None else _ESCAPE.sub(r"\1", quoted))
            at = _skip(header, parameter.end())
        found.append(Challenge(scheme[1].lower(), parameters))
        at = _skip(header, at)
    return found


def _skip(header: str, at: int) -> int:
    match = _BETWEEN.match(header, at)
    assert match is not None
    return match.end()
