"""The contents of one repository, with indexes, so that the time of a request does not depend on their number."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Final, Self

from ociserver._core import ManifestInfo
from ociserver.annotations import Annotations
from ociserver.errors import OCIError
from ociserver.interface import Descriptor, Manifest
from ociserver.memory import costs

__all__ = ["Repository", "SortedNames", "Stored"]

BLOCK: Final = 1024
"""The most names in a block. An insertion moves up to 8 KiB, in half a microsecond."""

_last = itemgetter(-1)


class SortedNames:
    """A sorted set of names, in sorted blocks: the cost of an insertion hardly depends on the number of names."""

    __slots__ = ("_blocks",)

    def __init__(self) -> None:
        # No block is empty. All names in a block sort after those in the block before it.
        self._blocks: list[list[str]] = []

    def __len__(self) -> int:
        return sum(map(len, self._blocks))

    def __bool__(self) -> bool:
        return bool(self._blocks)

    def add(self, name: str) -> None:
        """Add a name that is not in the set."""
        if not self._blocks:
            self._blocks.append([name])
            return
        at = min(bisect_left(self._blocks, name, key=_last), len(self._blocks) - 1)
        block = self._blocks[at]
        insort(block, name)
        if len(block) > BLOCK:
            half = len(block) // 2
            self._blocks[at : at + 1] = [block[:half], block[half:]]

    def remove(self, name: str) -> None:
        """Remove a name that is in the set."""
        at = bisect_left(self._blocks, name, key=_last)
        block = self._blocks[at]
        del block[bisect_left(block, name)]
        if not block:
            del self._blocks[at]

    def after(self, name: str, limit: int) -> list[str]:
        """Up to `limit` names that sort after `name`."""
        found: list[str] = []
        for at in range(bisect_right(self._blocks, name, key=_last), len(self._blocks)):
            block = self._blocks[at]
            first = bisect_right(block, name) if not found else 0
            found += block[first : first + limit - len(found)]
            if len(found) >= limit:
                break
        return found


@dataclass(slots=True)
class Stored:
    """A manifest and what was read from it.

    Args:
        manifest: the manifest with its content.
        references: digests that it references, each once, without its subject.
        subject: the digest of its subject.
        referrer: its descriptor in a list of referrers. It has annotations only if there is a subject.
        cost: bytes that this takes in memory, without the content.
    """

    manifest: Manifest
    references: tuple[str, ...]
    subject: str | None
    referrer: Descriptor
    cost: int

    @classmethod
    def of(cls, descriptor: Descriptor, content: bytes, info: ManifestInfo) -> Self:
        """A manifest with the parts of `info` that the registry needs. `info` itself takes more memory."""
        references = tuple(dict.fromkeys(reference.digest for reference in info.references))
        referrer = descriptor
        if info.subject is not None:
            annotations = info.annotations_json
            referrer = Descriptor(
                descriptor.media_type,
                descriptor.digest,
                descriptor.size,
                info.artifact_type,
                {} if annotations is None else Annotations(annotations),
            )
        cost = costs.of_manifest(references, info)
        return cls(Manifest(descriptor, content), references, info.subject, referrer, cost)

    def protects(self) -> Iterator[str]:
        """Digests that a tag on this manifest protects: its references, and its subject."""
        yield from self.references
        if self.subject:
            yield self.subject


class Repository:
    """Blobs, manifests, tags, and who refers to what."""

    def __init__(self) -> None:
        self.blobs: dict[str, Descriptor] = {}
        self.manifests: dict[str, Stored] = {}
        # From the tag directly to the result of a read: with many tags, each further lookup is a cache miss.
        self.tags: dict[str, Manifest] = {}
        self.tag_names = SortedNames()
        self.tags_of: dict[str, set[str]] = {}
        self.referrers: dict[str, SortedNames] = {}
        self._holders: dict[str, set[str]] = {}

    @property
    def is_empty(self) -> bool:
        """Whether it has neither blobs nor manifests, and so no tags."""
        return not self.blobs and not self.manifests

    def put(self, stored: Stored) -> None:
        """Add a manifest that the repository does not have."""
        digest = stored.manifest.descriptor.digest
        self.manifests[digest] = stored
        for held in stored.protects():
            self._holders.setdefault(held, set()).add(digest)
        if stored.subject:
            self.referrers.setdefault(stored.subject, SortedNames()).add(digest)

    def remove(self, digest: str) -> int:
        """Remove a manifest and the tags that point at it. Returns the number of these tags."""
        tags = list(self.tags_of.get(digest, ()))
        for tag in tags:
            self.untag(tag)
        self._unindex(digest)
        del self.manifests[digest]
        return len(tags)

    def tag(self, tag: str, digest: str) -> None:
        """Point a tag at a manifest."""
        old = self.tags.get(tag)
        if old is None:
            self.tag_names.add(tag)
        else:
            self._drop_tag(old.descriptor.digest, tag)
        self.tags[tag] = self.manifests[digest].manifest
        self.tags_of.setdefault(digest, set()).add(tag)

    def untag(self, tag: str) -> None:
        """Remove a tag."""
        self._drop_tag(self.tags.pop(tag).descriptor.digest, tag)
        self.tag_names.remove(tag)

    def tagged(self, tag: str) -> Manifest:
        """The manifest that a tag points at. Raises MANIFEST_UNKNOWN."""
        manifest = self.tags.get(tag)
        if manifest is None:
            raise OCIError("MANIFEST_UNKNOWN")
        return manifest

    def is_held_by_tag(self, digest: str) -> bool:
        """Whether a tag reaches a content through manifests. The search goes from the content upwards."""
        seen = {digest}
        waiting = [digest]
        while waiting:
            current = waiting.pop()
            if current in self.tags_of:
                return True
            new = self._holders.get(current, set()) - seen
            seen |= new
            waiting.extend(new)
        return False

    def _drop_tag(self, digest: str, tag: str) -> None:
        tags = self.tags_of[digest]
        tags.discard(tag)
        if not tags:
            del self.tags_of[digest]

    def _unindex(self, digest: str) -> None:
        stored = self.manifests[digest]
        for held in stored.protects():
            holders = self._holders.get(held)
            if holders is not None:
                holders.discard(digest)
                if not holders:
                    del self._holders[held]
        if stored.subject:
            names = self.referrers[stored.subject]
            names.remove(digest)
            if not names:
                del self.referrers[stored.subject]
