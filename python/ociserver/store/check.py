"""Checks that every content which the metadata names exists, is complete and is correct, and repairs what it can."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, Literal

from ociserver._core import ManifestInfo, digest_of, read_stored_manifest
from ociserver.store import checking, collecting
from ociserver.store.backend import Store
from ociserver.store.blobs import UnreadableError
from ociserver.store.collect import unknown_files
from ociserver.store.transaction import Row

__all__ = ["Checked", "Finding", "Kind", "check"]

PAGE: Final = 128
"""Rows in one read."""

Kind = Literal[
    "database",
    "blob missing",
    "blob size",
    "blob digest",
    "blob marked",
    "manifest digest",
    "manifest type",
    "references",
    "dangling",
    "unlinked bytes",
]

HARMLESS: Final = frozenset({"dangling", "unlinked bytes"})
"""Findings that are not faults of the store. A client may delete what a manifest references, a lax registry accepts
manifests without their blobs, and collection frees unlinked bytes."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Args:
        kind: what is wrong.
        what: a digest, or the key of a file.
        repository: the repository that is affected; None if there is none. A content that several repositories have
            is one finding for each of them.
        message: for people.
        repaired: whether it is repaired now. The repair of a blob is a mark: the blob is answered with 404 until it is
            pushed again.
        marked: whether an earlier check has marked the blob.
        manifests: digests of the manifests of the repository that reach the content.
        tags: tags of these manifests, and of the content itself.
    """

    kind: Kind
    what: str
    repository: str | None
    message: str
    repaired: bool = False
    marked: bool = False
    manifests: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


@dataclass(slots=True)
class Checked:
    """The result of a check: how much was checked, and what was found."""

    copies: int = 0
    manifests: int = 0
    files: int = 0
    bytes_hashed: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def faults(self) -> list[Finding]:
        """Findings that are faults."""
        return [finding for finding in self.findings if finding.kind not in HARMLESS]


async def check(
    store: Store,
    *,
    content: bool = False,
    repair: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Checked:
    """Compare metadata and files. A server may use the store at the same time.

    Args:
        store: an open store.
        content: read and hash every blob, instead of only comparing its size.
        repair: mark corrupt copies, so that the next push replaces them, and remove the mark of copies that are
            correct again. Delete manifests that do not match their digest, and rows that refer to rows which do not
            exist. Record the types and references of manifests as their bytes say them.
        on_progress: called with (checked rows, all rows).
    """
    checked = Checked()
    copies, manifests = await store.database.read(checking.count_rows())
    steps = (
        _database(store, repair=repair),
        _copies(store, checked, content=content, repair=repair),
        _manifests(store, checked, repair=repair),
        _files(store, checked),
    )
    for step in steps:
        async for finding in step:
            if finding is not None:
                checked.findings.append(finding)
            elif on_progress:
                on_progress(checked.copies + checked.manifests, copies + manifests)
    return checked


Step = AsyncIterator[Finding | None]
"""Yields findings, and None after each page of rows."""


async def _database(store: Store, *, repair: bool) -> Step:
    for problem in await store.database.problems():
        yield Finding("database", "registry.db", None, problem)
    orphaned = await store.database.read(checking.orphaned_rows())
    if orphaned and repair:
        await store.database.write(checking.drop_orphaned_rows)
    for rows, count in orphaned.items():
        yield Finding("database", "registry.db", None, f"{count} rows of {rows} that do not exist", repair)
    unlisted = await store.database.read(checking.wrongly_listed())
    if unlisted and repair:
        await store.database.write(checking.list_rightly)
    for name in unlisted:
        message = "the catalog does not agree with what this repository holds"
        yield Finding("database", "registry.db", name, message, repair)


async def _copies(store: Store, checked: Checked, *, content: bool, repair: bool) -> Step:
    after = 0
    limit = asyncio.Semaphore((os.cpu_count() or 1) + 1)  # one more than the cores, so that the disk is never idle

    async def look(row: tuple[int, str, int, int, str | None, bytes | None, int]) -> list[Finding]:
        copy_id, digest, size, bad, key, inline, linked = row
        async with limit:
            kind, message = await _verdict(store, digest, size, key, inline, content=content)
        if content and kind in (None, "blob digest"):
            checked.bytes_hashed += size
        if kind is None and bad:
            kind, message = (
                "blob marked",
                "an earlier check marked it; only --content can tell whether it is good again",
            )
        if kind is None:
            return (
                [] if linked else [Finding("unlinked bytes", digest, None, f"{size} bytes that collection will free")]
            )
        again = await store.database.read(collecting.copy_key(copy_id))
        if again != [key]:
            return []  # replaced or collected during this check
        # A marked copy is correct again only if all of it has just been read: it may have been restored from a backup.
        mends = repair and (content or kind != "blob marked")
        if mends:
            await store.database.write(partial(checking.mark, copy_id, key, bad=kind != "blob marked"))
        is_marked = bool(bad) and kind != "blob marked"
        if is_marked:
            message += "; it is marked, and the next push replaces it"
        finding = Finding(kind, digest, None, message, repaired=mends, marked=is_marked)
        affected = await store.database.read(checking.affected_by_blob(digest))
        return [
            replace(finding, repository=one.repository, manifests=one.manifests, tags=one.tags) for one in affected
        ] or [finding]

    while rows := await store.database.read(checking.copies_page(after, PAGE)):
        for findings in await asyncio.gather(*(look(row) for row in rows)):
            for finding in findings:
                yield finding
        checked.copies += len(rows)
        after = rows[-1][0]
        yield None


async def _verdict(
    store: Store, digest: str, size: int, key: str | None, inline: bytes | None, *, content: bool
) -> tuple[Kind | None, str]:
    algorithm = digest.partition(":")[0]
    if inline is not None:
        right = len(inline) == size and digest_of(inline, algorithm) == digest
        return (None, "") if right else ("blob digest", "its bytes in the database do not match its digest")
    assert key is not None
    there = await store.blobs.size(key)
    if there is None:
        return "blob missing", f"its file {key} does not exist"
    if there != size:
        return "blob size", f"its file {key} has {there} bytes, and should have {size}"
    try:
        found = await store.blobs.digest(key, size, algorithm) if content else None
    except UnreadableError as error:
        return "blob digest", f"its file {key} cannot be read: {error}"
    if found not in (None, digest):
        return "blob digest", f"its file {key} hashes to {found}"
    return None, ""


async def _manifests(store: Store, checked: Checked, *, repair: bool) -> Step:
    after = 0
    while rows := await store.database.read(checking.manifests_page(after, PAGE)):
        for row in rows:
            after = row[0]
            checked.manifests += 1
            for finding in await _look_at_manifest(store, row, repair=repair):
                yield finding
        yield None


async def _look_at_manifest(store: Store, row: Row, *, repair: bool) -> list[Finding]:
    manifest_id, repo_id, repository, digest, size = row
    found = await store.database.read(checking.manifest_of(manifest_id))
    if found is None:
        return []  # deleted meanwhile
    if len(found.content) != size or digest_of(found.content, digest.partition(":")[0]) != digest:
        affected = await store.database.read(checking.affected_by(repo_id, repository, digest))
        if repair:
            await store.database.write(partial(checking.delete_bad_manifest, manifest_id, found.content))
        message = "its bytes do not match its digest"
        return [
            Finding(
                "manifest digest",
                digest,
                repository,
                message,
                repaired=repair,
                manifests=affected.manifests,
                tags=affected.tags,
            )
        ]
    info = read_stored_manifest(found.content, found.media_type)
    findings = []
    # A second look: during the first, a push or a deletion may have come between its two reads.
    if not _is_recorded(found, info) and (found := await store.database.read(checking.manifest_of(manifest_id))):
        info = read_stored_manifest(found.content, found.media_type)
        if not _is_recorded(found, info):
            if repair:
                await store.database.write(partial(checking.record, manifest_id, repo_id, found.content, info))
            if found.media_type != info.media_type:
                message = f"it is recorded as {found.media_type}, but its bytes say {info.media_type}"
                findings.append(Finding("manifest type", digest, repository, message, repair))
            else:
                message = "what it references is not recorded"
                findings.append(Finding("references", digest, repository, message, repair))
    # Nondistributable layers are not required. For a manifest of an unknown type, all references count.
    named = [one.digest for one in info.references if one.required or info.kind == "other"]
    findings += [
        Finding("dangling", digest, repository, f"it references {missing}, which does not exist")
        for missing in await store.database.read(checking.missing_references(repo_id, named))
    ]
    return findings


def _is_recorded(found: checking.Recorded, info: ManifestInfo) -> bool:
    references = frozenset(reference.digest for reference in info.references)
    recorded = (found.media_type, found.kind, found.subject, found.references)
    return recorded == (info.media_type, info.kind, info.subject, references)


async def _files(store: Store, checked: Checked) -> Step:
    async for page, unknown in unknown_files(store, PAGE):
        checked.files += len(page)
        for file in unknown:
            yield Finding(
                "unlinked bytes",
                file.key,
                None,
                f"{file.size} bytes of a file that the database does not know, which collection will free",
            )
