"""Annotations that are parsed only when they are read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

__all__ = ["Annotations"]


class Annotations(Mapping[str, str]):
    """Annotations of a manifest as JSON, for `Descriptor.annotations`.

    A list of referrers sends the JSON unchanged: annotations can take megabytes, and ten times as much once they are
    parsed. An instance is equal to any mapping with the same keys and values.

    Args:
        json: a JSON object of strings in UTF-8, without spaces around it.
    """

    __slots__ = ("_parsed", "json")

    def __init__(self, json: bytes) -> None:
        self.json = json
        self._parsed: dict[str, str] | None = None

    @classmethod
    def of(cls, values: Mapping[str, str]) -> Annotations:
        """The same annotations as JSON. What cannot be encoded, such as half of a surrogate pair, becomes `?`."""
        if isinstance(values, Annotations):
            return values
        return cls(json.dumps(dict(values), ensure_ascii=False, separators=(",", ":")).encode(errors="replace"))

    def __getitem__(self, key: str) -> str:
        return self._values()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values())

    def __len__(self) -> int:
        return len(self._values())

    def __bool__(self) -> bool:
        return self.json != b"{}"

    def __repr__(self) -> str:
        return f"<Annotations, {len(self.json)} bytes>"

    def _values(self) -> dict[str, str]:
        if self._parsed is None:
            self._parsed = json.loads(self.json)
        return self._parsed
