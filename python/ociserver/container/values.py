"""Values of distribution's variables. distribution reads each as YAML, and durations and addresses as Go does."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["address", "boolean", "duration", "enabled", "listed", "number", "one_of", "text"]

_TRUE: Final = frozenset({"true", "yes", "on", "y"})
_FALSE: Final = frozenset({"false", "no", "off", "n"})
_ENABLED: Final = re.compile(r"""\{\s*['"]?enabled['"]?\s*:\s*(\w+)\s*\}""")
_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION: Final = re.compile(r"(?:(\d+(?:\.\d*)?)(ns|us|µs|ms|s|m|h))")
_ADDRESS: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:]*)):(\d{1,5})")


def text(value: str) -> str:
    """A text, without the quotes of YAML."""
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1]
    return value


def boolean(value: str) -> bool:
    """Whether something is on."""
    word = text(value).lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise ValueError("must be true or false")


def enabled(value: str) -> bool:
    """Whether something is on, also as `{enabled: true}`."""
    found = _ENABLED.fullmatch(value.strip())
    return boolean(found[1] if found else value)


def number(value: str) -> int:
    """A whole number."""
    if not re.fullmatch(r"\d{1,9}", text(value), re.ASCII):
        raise ValueError("must be a whole number")
    return int(text(value))


def duration(value: str) -> float:
    """Seconds: "1h30m", "10s"; a number alone is nanoseconds, as in Go."""
    words = text(value)
    if words.isdecimal():
        return int(words) * 1e-9
    if not _DURATION.sub("", words) and words:
        return sum(float(amount) * _SECONDS[unit] for amount, unit in _DURATION.findall(words))
    raise ValueError('must be a duration, such as "30s" or "1h30m"')


def address(value: str) -> tuple[str, int]:
    """Host and port of `host:port`. Without a host it is "", which means every address."""
    found = _ADDRESS.fullmatch(text(value))
    if not found:
        raise ValueError('must be an address with a port, such as ":5000" or "0.0.0.0:5000"')
    return found[1] or found[2] or "", int(found[3])


def listed(value: str) -> list[str]:
    """A list of texts in brackets, or one text."""
    words = value.strip()
    if words.startswith("[") and words.endswith("]"):
        return [text(each.strip()) for each in words[1:-1].split(",") if each.strip()]
    return [text(words)]


def one_of(choices: dict[str, str], value: str) -> str:
    """What a word stands for."""
    word = text(value).lower()
    if word not in choices:
        raise ValueError(f"must be one of {', '.join(choices)}")
    return choices[word]
