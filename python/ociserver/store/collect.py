"""Collection: freeing what nothing needs any more, while pushes and pulls run, in any process.

Two clocks make it safe (design: invariant 5). `unreferenced_after` unlinks a blob that no manifest of its
repository references, and has to be longer than a push takes; pushing, mounting and asking for a blob start
it again. `grace` deletes a copy that nothing links, and can be zero: a client that pushes the content again at
that moment makes a new copy with a new key, and a client that reads the old one has it open.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Literal

from ociserver.store import collecting
from ociserver.store.backend import Store
from ociserver.store.directory import FAN_OUT, Found
from ociserver.store.errors import StoreError
from ociserver.store.upkeep import Compacted
from ociserver.store.work import Row, Work

__all__ = ["Freed", "Policy", "Report", "collect", "unknown_files"]

PAGE: Final = 256
"""Rows looked at in one read, about a millisecond, after which waiting requests have their turn."""

Reason = Literal["untagged", "abandoned", "unreferenced", "unlinked", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What may go. Times in seconds.

    Args:
        unreferenced_after_s: since a blob was last pushed, mounted or asked for, until it is unlinked
            from a repository none of whose manifests references it. A HEAD counts if the last one that counted is
            `Store.renew_after_s` ago.
        grace_s: since the last link to a copy went, until its bytes are deleted.
        upload_timeout_s: since an upload was last written to, until it is ended.
        delete_untagged_after_s: since a manifest was pushed or asked for by HEAD, or the last tag left it, until it
            is deleted if no tag, no index and no living subject keeps it. None: manifests stay.
    """

    unreferenced_after_s: float = 24 * 3600
    grace_s: float = 600
    upload_timeout_s: float = 24 * 3600
    delete_untagged_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Freed:
    """One thing that went, or would go.

    Args:
        reason: `untagged` manifest, `abandoned` upload, `unreferenced` blob (a link), `unlinked` copy,
            `unknown` file.
        what: a digest, an upload's id or a file's key.
        repository: None where it belongs to none.
        size: bytes; a link frees none by itself.
        in_database: whether the bytes lay in the database, and not in a file of their own.
    """

    reason: Reason
    what: str
    repository: str | None
    size: int
    in_database: bool = False


@dataclass(slots=True)
class Report:
    """What a collection did: how many, and how many bytes, for each reason.

    Args:
        counts: how many went.
        sizes: their bytes.
        in_database: bytes of contents that lay in the database.
        compacted: what the database's file has given back.
    """

    counts: dict[Reason, int] = field(default_factory=dict)
    sizes: dict[Reason, int] = field(default_factory=dict)
    in_database: int = 0
    compacted: Compacted = field(default_factory=Compacted)

    def add(self, freed: Freed) -> None:
        """Count one."""
        self.counts[freed.reason] = self.counts.get(freed.reason, 0) + 1
        self.sizes[freed.reason] = self.sizes.get(freed.reason, 0) + freed.size
        self.in_database += freed.size if freed.in_database else 0

    @property
    def freed_bytes(self) -> int:
        """Bytes of contents that the file system has back. Links free none themselves; manifests are not counted."""
        contents = sum(self.sizes.get(reason, 0) for reason in ("abandoned", "unlinked", "unknown"))
        return contents - self.pending_bytes - self.kept_bytes

    @property
    def pending_bytes(self) -> int:
        """Bytes that the file system gets when a program that has been reading the database for long lets go of it."""
        return min(self.compacted.pending, max(self.in_database - self.compacted.freed, 0))

    @property
    def kept_bytes(self) -> int:
        """Bytes that stay in the database's file, for what is pushed next."""
        return max(self.in_database - self.compacted.freed - self.compacted.pending, 0)


async def collect(
    store: Store,
    policy: Policy | None = None,
    *,
    dry_run: bool = False,
    on_freed: Callable[[Freed], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Free what the policy lets go; one collector at a time for each store.

    Args:
        store: an open store.
        policy: what may go.
        dry_run: only look. What would go because of something else that would go is not seen.
        on_freed: called for each thing, as it goes.
        on_progress: called with (things looked at, things to look at): rows that are old enough, folders of files.

    Raises:
        StoreError: another collection is at work.
    """
    report = Report()
    with _alone(store):
        sweeping = _Sweep(store, policy or Policy(), dry_run=dry_run, on_progress=on_progress)
        async for freed in sweeping.run():
            report.add(freed)
            if on_freed:
                on_freed(freed)
        report.compacted = sweeping.compacted
    return report


class _Sweep:
    """One collection, from the first row to the last file."""

    def __init__(
        self, store: Store, policy: Policy, *, dry_run: bool, on_progress: Callable[[int, int], None] | None
    ) -> None:
        self._store = store
        self._dry_run = dry_run
        self._on_progress = on_progress
        self._done = self._total = 0
        self.compacted = Compacted()
        untagged = policy.delete_untagged_after_s
        self._manifests_before = None if untagged is None else _before(untagged)
        self._uploads_before = _before(policy.upload_timeout_s)
        self._links_before = _before(policy.unreferenced_after_s)
        self._grace_s = policy.grace_s

    async def run(self) -> AsyncIterator[Freed]:
        if self._on_progress:
            rows = await self._store.database.read(
                collecting.count_candidates(self._uploads_before, self._links_before, _before(self._grace_s))
            )
            self._total = rows + FAN_OUT
        for part in (self._manifests(), self._uploads(), self._links(), self._copies(), self._files()):
            async for freed in part:
                yield freed
        if not self._dry_run:
            self.compacted += await self._store.upkeep.compact()
            await self._store.upkeep.refill()
        self._progress(self._total)

    async def _page(self, work: Work[list[Row]]) -> list[Row]:
        """The next rows to look at. On a full disk what the last ones have freed is given back first."""
        if not self._dry_run:
            self.compacted += await self._store.upkeep.compact_when_full()
        await asyncio.sleep(0)
        return await self._store.database.read(work)

    def _progress(self, done: int) -> None:
        """Tell how far it is. More may turn up on the way than was counted."""
        self._done = done
        if self._on_progress:
            self._on_progress(min(done, self._total), self._total)

    async def _manifests(self) -> AsyncIterator[Freed]:
        store, before, after = self._store, self._manifests_before, 0
        if before is None:
            return
        while rows := await self._page(collecting.untagged_manifests(before, after, PAGE)):
            for manifest_id, repository, digest, size in rows:
                if self._dry_run or await store.free(partial(collecting.drop_manifest, manifest_id, before)):
                    yield Freed("untagged", digest, repository, size)
                after = manifest_id

    async def _uploads(self) -> AsyncIterator[Freed]:
        before, after = self._uploads_before, (-1, "")
        while rows := await self._page(collecting.abandoned_uploads(before, after, PAGE)):
            for touched, upload_id, repository, size in rows:
                after = (touched, upload_id)
                freed = await self._end_upload(upload_id, repository, size)
                if freed is not None:
                    yield freed
            self._progress(self._done + len(rows))

    async def _end_upload(self, upload_id: str, repository: str, size: int) -> Freed | None:
        """End an upload; what this frees, None if somebody has written to it after all."""
        store, before = self._store, self._uploads_before
        # One that has been written to need not be recorded: its file knows.
        with contextlib.suppress(BlockingIOError), store.blobs.closed_to_writers(upload_id) as file:
            if file and file.st_mtime >= before:
                return None
            if not self._dry_run:
                # First the row, so that a commit of it fails; then the file, which is nobody's from then on.
                if not await store.free(partial(collecting.drop_upload, upload_id, before), durable=False):
                    return None
                await store.blobs.delete([upload_id])
            if file:
                return Freed("abandoned", upload_id, repository, file.st_size)
            return Freed("abandoned", upload_id, repository, size, in_database=not self._dry_run)
        return None

    async def _links(self) -> AsyncIterator[Freed]:
        store, before, after = self._store, self._links_before, (-1, -1, -1)
        while rows := await self._page(collecting.old_links(before, after, PAGE)):
            for renewed, repo_id, copy_id, repository, digest, size, referenced in rows:
                after = (renewed, repo_id, copy_id)
                if referenced:
                    continue
                work = partial(collecting.unlink_unreferenced, repo_id, copy_id, before, int(time.time()))
                if self._dry_run or await store.free(work):
                    yield Freed("unreferenced", digest, repository, size)
            self._progress(self._done + len(rows))

    async def _copies(self) -> AsyncIterator[Freed]:
        # Now, and not when it began: what was unlinked on the way may go by a grace of nothing.
        store, before, after = self._store, _before(self._grace_s), 0
        while rows := await self._page(collecting.idle_copies(before, after, PAGE)):
            for copy_id, digest, size in rows:
                after = copy_id
                if self._dry_run:
                    yield Freed("unlinked", digest, None, size)
                    continue
                # Synced before the file goes: after a power cut no row may name a file that is not there.
                keys = await store.free(partial(collecting.drop_copy, copy_id, before))
                if keys is None:
                    continue
                await store.blobs.delete(keys)
                yield Freed("unlinked", digest, None, size, in_database=not keys)
            self._progress(self._done + len(rows))

    async def _files(self) -> AsyncIterator[Freed]:
        async for folder, files in unknown_files(self._store):
            for file in files:
                if not self._dry_run:
                    await self._store.blobs.delete([file.key])
                yield Freed("unknown", file.key, None, file.size)
            if not self._dry_run:
                self.compacted += await self._store.upkeep.compact_when_full()
            self._progress(self._total - FAN_OUT + folder)


async def unknown_files(store: Store) -> AsyncIterator[tuple[int, list[Found]]]:
    """Files that neither an upload nor a copy has, page by page, each with the last folder that was looked at."""
    found = iter(store.blobs.keys())
    while batch := await store.blobs.read(lambda: list(itertools.islice(found, PAGE))):
        # An upload's row is there before its file, and one transaction turns it into a copy's: so a file that
        # neither knows, after it was seen in the folder, is nobody's.
        known = await store.database.read(collecting.known_keys([file.key for file in batch]))
        yield batch[-1].folder, [file for file in batch if file.key not in known]


def _before(age_s: float) -> int:
    """What was recorded before this is at least so old. Times are recorded in whole seconds, rounded down."""
    now = time.time()
    # Without an age everything goes, what was recorded in this second too.
    return int(now - age_s) if age_s > 0 else int(now) + 1


@contextlib.contextmanager
def _alone(store: Store) -> Iterator[None]:
    fd = os.open(store.path / "collect.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, store.modes.file)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(f"{store.path}: another collection is running; wait until it has ended") from None
        yield
    finally:
        os.close(fd)
