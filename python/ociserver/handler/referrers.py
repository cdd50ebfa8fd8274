"""A page of referrers: an index of what refers to a manifest, within bounds, in pieces."""

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
"""Bytes of a page that are sent at a time. A server holds some pieces for each client that is slow to take them; of
annotations of megabytes, which backends give without copying them, it would hold a copy each."""

COPIED: Final = 16 * 1024
"""Bytes of annotations up to which they are joined with the rest of their entry."""

_HEAD: Final = b'{"schemaVersion":2,"mediaType":"%s","manifests":[' % INDEX
_TAIL: Final = b"]}"

_string: Final = json.JSONEncoder(ensure_ascii=False).encode


class ReferrersPage:
    """Entries, as long as there is room for them.

    Args:
        most: entries.
        most_bytes: of the whole index; but for the first entry, which has to come sometime.
    """

    def __init__(self, most: int, most_bytes: int) -> None:
        self.pieces: deque[bytes] = deque([_HEAD])
        self.size = len(_HEAD) + len(_TAIL)
        self.next_after: str | None = None
        """The digest behind which the next page begins, if there is one."""
        self._left = most
        self._most_bytes = most_bytes
        self._last: str | None = None

    def add(self, descriptor: Descriptor) -> bool:
        """Add an entry, if there is room for it; else there is a next page."""
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
        """Nothing more is added."""
        self.pieces.append(_TAIL)

    def take(self) -> Iterator[bytes]:
        """The index in pieces of `PIECE` bytes or less, of which none is kept."""
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
    """An entry of the index without its end: what stands before the annotations, and these as JSON."""
    # Field by field: through a dictionary and `json.dumps`, a page of a thousand spent most of its time here.
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
