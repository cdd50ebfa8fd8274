"""Sizes, durations and ports as people write them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

__all__ = [
    "DURATION_PATTERN",
    "MAX_PORT",
    "PERCENT_PATTERN",
    "SIZE_PATTERN",
    "format_size",
    "machine_memory",
    "parse_address",
    "parse_duration",
    "parse_port",
    "parse_size",
]

# The patterns are in the common part of the syntaxes of Python and of JSON Schema, which uses them too.
SIZE_PATTERN: Final = r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?(?:([KMGT])(iB|B)?|B)?"
"""As for dd: a letter alone and KiB are powers of 1024, KB is a power of 1000."""
PERCENT_PATTERN: Final = r"(100|[0-9]{1,2}) ?%"
DURATION_PATTERN: Final = r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?(ms|s|m|h|d)?"

_SIZE: Final = re.compile(SIZE_PATTERN, re.IGNORECASE | re.ASCII)
_PERCENT: Final = re.compile(PERCENT_PATTERN)
_DURATION: Final = re.compile(DURATION_PATTERN, re.IGNORECASE | re.ASCII)
_PORT: Final = re.compile(r"[0-9]{1,5}")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")

MAX_PORT: Final = 65535

# Where the kernel says how much memory a container may use: cgroup 2, then cgroup 1.
_CGROUP_LIMITS: Final = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def parse_size(text: str) -> int:
    """Bytes of `512MiB`, `2g`, `1.5GB`, `1000000`, or of a share of the machine's memory: `50%`.

    Raises:
        ValueError: the text is not a size; the message gives examples.
    """
    if percent := _PERCENT.fullmatch(text):
        return machine_memory() * int(percent[1]) // 100
    size = _SIZE.fullmatch(text)
    if not size:
        raise ValueError(f"{text!r} is not a size; write 512MiB, 2GiB or 50%.")
    number, letter, suffix = size.groups(default="")
    base = 1000 if suffix.upper() == "B" else 1024
    return int(float(number) * base ** " KMGT".index(letter.upper() or " "))


def parse_duration(text: str) -> float:
    """Seconds of `30`, `30s`, `5m`, `1h`, `90d`, `500ms`.

    Raises:
        ValueError: the text is not a duration; the message gives examples.
    """
    duration = _DURATION.fullmatch(text)
    if not duration:
        raise ValueError(f"{text!r} is not a duration; write 30s, 5m or 1h.")
    return float(duration[1]) * _SECONDS[(duration[2] or "s").lower()]


def parse_port(text: str) -> int:
    """A TCP port; with 0 the system chooses a free one.

    Raises:
        ValueError: the text is not a port.
    """
    if text.startswith("tcp://"):
        raise ValueError(
            f"{text!r} is what Kubernetes sets for a Service named ociserver. Rename the Service, "
            "or set enableServiceLinks: false in the pod."
        )
    if not _PORT.fullmatch(text) or int(text) > MAX_PORT:
        raise ValueError(f"{text!r} is not a port; write a number from 0 to {MAX_PORT}.")
    return int(text)


def parse_address(text: str) -> tuple[str, int]:
    """A host and a port: `127.0.0.1:9100`, `[::1]:9100`; a port alone is one of 127.0.0.1.

    Raises:
        ValueError: the text is not an address.
    """
    host, colon, port = text.rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    if (colon and not host.strip("[]")) or (":" in host and not is_bracketed):
        raise ValueError(f"{text!r} is not an address; write 127.0.0.1:9100, or 9100 for a port of 127.0.0.1.")
    return host.strip("[]") or "127.0.0.1", parse_port(port)


def format_size(size: int) -> str:
    """A number of bytes for people: `512 MiB`, `7.8 GiB`."""
    number, unit = float(size), 0
    while number >= 1024 and unit < len(_UNITS) - 1:
        number, unit = number / 1024, unit + 1
    return f"{number:.1f}".removesuffix(".0") + f" {_UNITS[unit]}"


def machine_memory() -> int:
    """Bytes of memory that this process can use: those of the machine, or of the container if that has fewer."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in _CGROUP_LIMITS:
        try:
            limit = Path(name).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if limit.isdigit():
            memory = min(memory, int(limit))
    return memory
