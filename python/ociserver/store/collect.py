"""Collection: deletes what is no longer needed, while any process serves pushes and pulls.

Two periods make it safe. After `unreferenced_after`, a blob that no manifest of its repository references is unlinked.
This period has to be longer than a push takes; a push, a mount and a HEAD of the blob start it again. After `grace`, a
copy that no repository links is deleted. This period may be zero: a client that pushes the content at that moment makes
a new copy with a new key, and a client that reads the old copy has its file open. An object in a bucket is deleted
later, when no client can have a URL of it any more (`Records.delete_after_s`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Literal

from ociserver.store import collecting
from ociserver.store.backend import Store
from ociserver.store.blobs import Found, HeldError, Records
from ociserver.store.errors import StoreError
from ociserver.store.folder import COLLECTION
from ociserver.store.transaction import LeaseHeldError, Row, Transaction
from ociserver.store.upkeep import Compacted

__all__ = ["CollectionRunningError", "Freed", "Policy", "Report", "collect", "unknown_files"]

PAGE: Final = 256
"""Rows in one read, which takes about a millisecond. Between two reads, the event loop serves requests."""

Reason = Literal["untagged", "abandoned", "unreferenced", "unlinked", "unknown", "recorded"]


class CollectionRunningError(StoreError):
    """Another collection, or a backup, is running on the store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What collection may delete. All times are in seconds.

    Args:
        unreferenced_after_s: a blob is unlinked from a repository if no manifest there references it, and it was last
            pushed, mounted or requested by HEAD this long ago. A HEAD counts if the last one that counted is
            `Store.renew_after_s` ago.
        grace_s: the bytes of a copy are deleted this long after the last link to it was removed.
        upload_timeout_s: an upload is ended this long after it last received data.
        delete_untagged_after_s: a manifest is deleted if no tag, index or existing subject keeps it, and it was last
            pushed, requested by HEAD or untagged this long ago. None: no manifest is deleted.
    """

    unreferenced_after_s: float = 24 * 3600
    grace_s: float = 600
    upload_timeout_s: float = 24 * 3600
    delete_untagged_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Freed:
    """One thing that was deleted, or would be with `dry_run`.

    Args:
        reason: `untagged` manifest, `abandoned` upload, `unreferenced` blob (a link), `unlinked` copy, `unknown` file,
            `recorded` object. The bytes of an object are counted when its copy or upload ends.
        what: a digest, the id of an upload or the key of a file.
        repository: the repository that it belonged to; None if there was none.
        size: bytes. A link alone frees none.
        in_database: whether the bytes were in the database, and not in a separate file.
    """

    reason: Reason
    what: str
    repository: str | None
    size: int
    in_database: bool = False


@dataclass(slots=True)
class Report:
    """What a collection has deleted, for each reason.

    Args:
        counts: how many were deleted.
        sizes: their bytes.
        in_database: bytes of contents that were in the database.
        compacted: bytes that the database file has returned to the file system.
    """

    counts: dict[Reason, int] = field(default_factory=dict)
    sizes: dict[Reason, int] = field(default_factory=dict)
    in_database: int = 0
    compacted: Compacted = field(default_factory=Compacted)

    def add(self, freed: Freed) -> None:
        """Count one deletion."""
        self.counts[freed.reason] = self.counts.get(freed.reason, 0) + 1
        self.sizes[freed.reason] = self.sizes.get(freed.reason, 0) + freed.size
        self.in_database += freed.size if freed.in_database else 0

    @property
    def freed_bytes(self) -> int:
        """Bytes of contents that the file system has again. A link alone frees none. Manifests are not counted."""
        contents = sum(self.sizes.get(reason, 0) for reason in ("abandoned", "unlinked", "unknown"))
        return contents - self.pending_bytes - self.kept_bytes

    @property
    def pending_bytes(self) -> int:
        """Bytes that the file system gets when a long read of the database by another program has ended."""
        return min(self.compacted.pending, max(self.in_database - self.compacted.freed, 0))

    @property
    def kept_bytes(self) -> int:
        """Bytes that stay in the database file, for later pushes."""
        return max(self.in_database - self.compacted.freed - self.compacted.pending, 0)


async def collect(
    store: Store,
    policy: Policy | None = None,
    *,
    dry_run: bool = False,
    on_freed: Callable[[Freed], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    page_size: int = PAGE,
) -> Report:
    """Delete what the policy allows. Only one collection at a time may run on a store.

    Args:
        store: an open store.
        policy: what may be deleted.
        dry_run: delete nothing. Things that could be deleted only after another deletion are not reported.
        on_freed: called after each deletion.
        on_progress: called with (steps done, all steps). A step is a row that is old enough, or a folder of files.
        page_size: rows in one read.

    Raises:
        CollectionRunningError: another collection is running, here or on another node.
    """
    report = Report()
    try:
        async with store.database.lease(COLLECTION):
            sweeping = _Sweep(store, policy or Policy(), dry_run=dry_run, on_progress=on_progress, page_size=page_size)
            async for freed in sweeping.run():
                report.add(freed)
                if on_freed:
                    on_freed(freed)
            report.compacted = sweeping.compacted
    except LeaseHeldError:
        raise CollectionRunningError(
            f"{store.name}: another collection is running, or a backup; wait until it has ended"
        ) from None
    return report


class _Sweep:
    """One collection, from the first row to the last file."""

    def __init__(
        self,
        store: Store,
        policy: Policy,
        *,
        dry_run: bool,
        on_progress: Callable[[int, int], None] | None,
        page_size: int,
    ) -> None:
        self._store = store
        self._page_size = page_size
        self._dry_run = dry_run
        self._on_progress = on_progress
        self._done = self._total = 0
        self.compacted = Compacted()
        untagged = policy.delete_untagged_after_s
        self._manifests_before = None if untagged is None else self._before(untagged)
        self._uploads_before = self._before(policy.upload_timeout_s)
        self._links_before = self._before(policy.unreferenced_after_s)
        self._grace_s = policy.grace_s

    async def run(self) -> AsyncIterator[Freed]:
        if self._on_progress:
            rows = await self._store.database.read(
                collecting.count_candidates(self._uploads_before, self._links_before, self._before(self._grace_s))
            )
            self._total = rows + self._store.blobs.scan_steps
        records = self._store.blobs.records
        contents = self._files() if records is None else self._objects(records)
        for part in (self._manifests(), self._uploads(), self._links(), self._copies(), contents):
            async for freed in part:
                yield freed
        if not self._dry_run:
            self.compacted += await self._store.upkeep.compact()
            await self._store.upkeep.refill()
        self._progress(self._total)

    async def _page(self, transaction: Transaction[list[Row]]) -> list[Row]:
        """The next rows. On a full disk, the space that the last ones have freed is first returned to the disk."""
        if not self._dry_run:
            self.compacted += await self._store.upkeep.compact_when_full()
        await asyncio.sleep(0)
        return await self._store.database.read(transaction)

    def _progress(self, done: int) -> None:
        """Report progress. There may be more rows than were counted at the start."""
        self._done = done
        if self._on_progress:
            self._on_progress(min(done, self._total), self._total)

    async def _manifests(self) -> AsyncIterator[Freed]:
        store, before, after = self._store, self._manifests_before, 0
        if before is None:
            return
        while rows := await self._page(collecting.untagged_manifests(before, after, self._page_size)):
            for manifest_id, repository, digest, size in rows:
                if self._dry_run or await store.free(partial(collecting.drop_manifest, manifest_id, before)):
                    yield Freed("untagged", digest, repository, size)
                after = manifest_id

    async def _uploads(self) -> AsyncIterator[Freed]:
        before, after = self._uploads_before, (-1, "")
        while rows := await self._page(collecting.abandoned_uploads(before, after, self._page_size)):
            for touched, upload_id, repository, size, is_in_row in rows:
                after = (touched, upload_id)
                freed = await self._end_upload(upload_id, repository, size, is_in_row=bool(is_in_row))
                if freed is not None:
                    yield freed
            self._progress(self._done + len(rows))

    async def _end_upload(self, upload_id: str, repository: str, size: int, *, is_in_row: bool) -> Freed | None:
        """End an upload. Returns what this frees; None if a client has written to the upload meanwhile."""
        store, before = self._store, self._uploads_before
        # The row does not record every write, but the modification time of the file shows it.
        with contextlib.suppress(HeldError), store.blobs.closed_to_writers(upload_id) as file:
            if file and file.modified >= before:
                return None
            if not self._dry_run:
                # First the row, so that a commit of the upload fails. From then on nothing needs the file.
                if not await store.free(partial(collecting.drop_upload, upload_id, before), durable=False):
                    return None
                await store.blobs.delete([upload_id])
            if file:
                return Freed("abandoned", upload_id, repository, file.size)
            return Freed("abandoned", upload_id, repository, size, in_database=is_in_row and not self._dry_run)
        return None

    async def _links(self) -> AsyncIterator[Freed]:
        store, before, after = self._store, self._links_before, (-1, -1, -1)
        while rows := await self._page(collecting.old_links(before, after, self._page_size)):
            for renewed, repo_id, copy_id, repository, digest, size, referenced in rows:
                after = (renewed, repo_id, copy_id)
                if referenced:
                    continue
                unlink = partial(collecting.unlink_unreferenced, repo_id, copy_id, before, int(store.database.now()))
                if self._dry_run or await store.free(unlink):
                    yield Freed("unreferenced", digest, repository, size)
            self._progress(self._done + len(rows))

    async def _copies(self) -> AsyncIterator[Freed]:
        # The grace period is counted from now and not from the start: with a grace of 0, what this collection has
        # unlinked may be deleted.
        store, before, after = self._store, self._before(self._grace_s), (-1, -1)
        while rows := await self._page(collecting.idle_copies(before, after, self._page_size)):
            for idle_since, copy_id, digest, size in rows:
                after = (idle_since, copy_id)
                if self._dry_run:
                    yield Freed("unlinked", digest, None, size)
                    continue
                # Synced before the file is deleted: after a power cut no row may name a missing file.
                drop = partial(
                    collecting.drop_copy,
                    copy_id,
                    before,
                    is_recorded=store.blobs.records is not None,
                    now=int(store.database.now()),
                )
                keys = await store.free(drop)
                if keys is None:
                    continue
                await store.blobs.delete(keys)
                yield Freed("unlinked", digest, None, size, in_database=not keys)
            self._progress(self._done + len(rows))

    async def _objects(self, records: Records) -> AsyncIterator[Freed]:
        before, after = self._before(records.delete_after_s), ""
        while objects := await records.page(before, after, self._page_size):
            after = objects[-1].key
            if not self._dry_run:
                await records.delete(objects)
            for one in objects:
                yield Freed("recorded", one.key, None, 0)

    async def _files(self) -> AsyncIterator[Freed]:
        async for page, files in unknown_files(self._store, self._page_size):
            for file in files:
                if not self._dry_run:
                    await self._store.blobs.delete([file.key])
                yield Freed("unknown", file.key, None, file.size)
            if not self._dry_run:
                self.compacted += await self._store.upkeep.compact_when_full()
            self._progress(self._total - self._store.blobs.scan_steps + page[-1].step)

    def _before(self, age_s: float) -> int:
        """The time before which a record has this age. Times are recorded in whole seconds, rounded down."""
        now = self._store.database.now()
        # With an age of 0, everything counts, including what was recorded in this second.
        return int(now - age_s) if age_s > 0 else int(now) + 1


async def unknown_files(store: Store, page_size: int = PAGE) -> AsyncIterator[tuple[list[Found], list[Found]]]:
    """Pages of all files, each with those of them that neither an upload nor a copy has."""
    async for batch in store.blobs.scan(page_size):
        # The row of an upload exists before its file, and one transaction replaces it by the row of a copy. So if
        # neither has the file after it was seen in the folder, nothing needs it.
        known = await store.database.read(collecting.known_keys([file.key for file in batch]))
        yield batch, [file for file in batch if file.key not in known]
