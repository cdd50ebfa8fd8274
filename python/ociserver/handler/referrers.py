"""A page of referrers: an index of the manifests that refer to a manifest, of bounded size, in pieces."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from typing import Final

from ociserver.annotations import Annotations
from ociserver.interface import Descriptor

__all__ = ["INDEX", "PIECE", "ReferrersPage"]

INDEX: Final = b"application/vnd.oci.image.index.v1+json"

PIECE: Final = 256 * 1024
"""Bytes of a page that are sent at a time. A server holds some pieces for each slow client. With larger pieces, it
would hold a copy of megabytes of annotations for each client. The backends share these without a copy."""

COPIED: Final = 16 * 1024
"""The most bytes of annotations that are copied into one piece with the rest of their entry."""

_HEAD: Final = b'{"schemaVersion":2,"mediaType":"%s","manifests":[' % INDEX
_TAIL: Final = b"]}"

_string: Final = json.JSONEncoder(ensure_ascii=False).encode


class ReferrersPage:
    """The entries of a page, up to its limits.

    Args:
        most: the most entries.
        most_bytes: the most bytes of the index. The first entry may exceed it, because no page could hold it.
    """

    def __init__(self, most: int, most_bytes: int) -> None:
        self.pieces: deque[bytes] = deque([_HEAD])
        self.size = len(_HEAD) + len(_TAIL)
        self.next_after: str | None = None
        """The digest after which the next page begins, if there is one."""
        self._left = most
        self._most_bytes = most_bytes
        self._last: str | None = None

    def add(self, descriptor: Descriptor) -> bool:
        """Add an entry. False if it does not fit: then there is a next page."""
        head, annotations = _entry(descriptor)
        size = self.size + len(head) + len(annotations)
        if self._last is not None:
            size += 1
            if not self._left or size >= self._most_bytes:
                self.next_after = self._last
                return False
            head = b"," + head
        if len(annotations) < COPIED:
            self.pieces.append(head + annotations + b"}")
        else:
            self.pieces += head, annotations, b"}"
        self.size, self._left, self._last = size + 1, self._left - 1, descriptor.digest
        return True

    def end(self) -> None:
        """End the index: no entry is added after this."""
        self.pieces.append(_TAIL)

    def take(self) -> Iterator[bytes]:
        """Remove and return the index, in pieces of at most `PIECE` bytes."""
        held: list[bytes] = []
        size = 0
        while self.pieces:
            piece = self.pieces.popleft()
            for start in range(0, len(piece), PIECE):
                part = piece[start : start + PIECE]
                if size + len(part) > PIECE:
                    yield b"".join(held)
                    held, size = [], 0
                held.append(part)
                size += len(part)
        yield b"".join(held)


def _entry(descriptor: Descriptor) -> tuple[bytes, bytes]:
    """An entry of the index without its end: the part before the annotations, and the annotations as JSON."""
    # Field by field: with a dictionary and `json.dumps`, a page of a thousand entries spent most of its time here.
    head = (
        f'{{"mediaType":{_string(descriptor.media_type)},"digest":{_string(descriptor.digest)},'
        f'"size":{descriptor.size:d}'
    )
    if descriptor.artifact_type:
        head += f',"artifactType":{_string(descriptor.artifact_type)}'
    annotations = descriptor.annotations
    if not annotations:
        return head.encode(errors="replace"), b""
    if not isinstance(annotations, Annotations):
        annotations = Annotations.of(annotations)
    return f'{head},"annotations":'.encode(errors="replace"), annotations.json
