"""Sizes, durations and ports as people write them: types of flags."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

import click

__all__ = ["MAX_PORT", "format_size", "machine_memory", "parse_duration", "parse_port", "parse_size"]

# As dd has it: a letter alone is a power of 1024, and so is KiB; KB is a power of 1000.
_SIZE: Final = re.compile(r"(\d{1,15}(?:\.\d{1,9})?) ?([KMGT]?)(|B|IB)", re.IGNORECASE | re.ASCII)
_PERCENT: Final = re.compile(r"(\d{1,3}) ?%", re.ASCII)
_DURATION: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ?(ms|s|m|h|)", re.IGNORECASE | re.ASCII)
_PORT: Final = re.compile(r"\d{1,5}", re.ASCII)
_SECONDS: Final = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")

MAX_PORT: Final = 65535

# Where the kernel says how much memory a container may use: cgroup 2, then 1.
_CGROUP_LIMITS: Final = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def parse_size(text: str) -> int:
    """Bytes: `512MiB`, `2g`, `1.5GB`, `1000000`, or a share of the machine's memory: `50%`."""
    percent = _PERCENT.fullmatch(text)
    if percent and int(percent[1]) <= 100:
        return machine_memory() * int(percent[1]) // 100
    size = _SIZE.fullmatch(text)
    if not size:
        raise click.BadParameter(f"{text!r} is not a size; write 512MiB, 2GiB or 50%.")
    number, letter, suffix = size.groups()
    base = 1000 if suffix.upper() == "B" and letter else 1024
    return int(float(number) * base ** " KMGT".index(letter.upper() or " "))


def parse_duration(text: str) -> float:
    """Seconds: `30`, `30s`, `5m`, `1h`, `500ms`."""
    duration = _DURATION.fullmatch(text)
    if not duration:
        raise click.BadParameter(f"{text!r} is not a duration; write 30s, 5m or 1h.")
    return float(duration[1]) * _SECONDS[duration[2].lower()]


def parse_port(text: str) -> int:
    """A TCP port; 0 lets the system choose a free one."""
    if text.startswith("tcp://"):
        raise click.BadParameter(
            f"{text!r} is what Kubernetes sets for a Service named ociserver; give the Service another name, "
            "or set enableServiceLinks: false in the pod."
        )
    if not _PORT.fullmatch(text) or int(text) > MAX_PORT:
        raise click.BadParameter(f"{text!r} is not a port; write a number from 0 to {MAX_PORT}.")
    return int(text)


def format_size(size: int) -> str:
    """A size for people: `512 MiB`, `7.8 GiB`."""
    number, unit = float(size), 0
    while number >= 1024 and unit < len(_UNITS) - 1:
        number, unit = number / 1024, unit + 1
    return f"{number:.1f}".removesuffix(".0") + f" {_UNITS[unit]}"


def machine_memory() -> int:
    """Bytes of memory that this process could have: the machine's, or the container's if that is less."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in _CGROUP_LIMITS:
        try:
            limit = Path(name).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if limit.isdigit():
            memory = min(memory, int(limit))
    return memory
