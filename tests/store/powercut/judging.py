"""What a folder is like after the power was cut."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ociserver.errors import OCIError, RegistryError
from ociserver.store import Store
from ociserver.store.check import check
from tests.store.crash.registry import digest_of

_CONTENT = bytes(40_000)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a store finds.

    Args:
        digests: of what is there, by the path to pull it by; None where there is nothing.
        faults: what a power cut must never leave.
    """

    digests: dict[str, str | None]
    faults: list[str]


def look(data: Path, paths: list[str]) -> Seen:
    """Open a store on the folder, look for these, read every byte, and push."""
    try:
        return asyncio.run(_look(data, paths))
    except (RegistryError, sqlite3.Error) as error:
        return Seen(dict.fromkeys(paths), [f"the store cannot be used: {error}"])


async def _look(data: Path, paths: list[str]) -> Seen:
    # Nothing that happens here has to survive.
    async with Store(data, durability="off") as store:
        digests = {path: await _resolve(store, path) for path in paths}
        checked = await check(store, content=True)
        faults = [f"{found.kind}: {found.what}" for found in checked.findings if found.kind != "unlinked bytes"]
        with closing(sqlite3.connect(data / "registry.db")) as database:
            faults += [row[0] for row in database.execute("PRAGMA integrity_check") if row[0] != "ok"]
        pushed = await _push(store, _CONTENT)
        if digest_of(await _pull(store, pushed)) != pushed:
            faults.append("a push afterwards is not what was pushed")
    return Seen(digests, faults)


async def _resolve(store: Store, path: str) -> str | None:
    name, reference = path.removeprefix("/v2/").rsplit("/", 1)
    repository, kind = name.rsplit("/", 1)
    try:
        if kind == "blobs":
            return (await store.resolve_blob(repository, reference)).digest
        if ":" in reference:
            return (await store.resolve_manifest(repository, reference)).digest
        return (await store.resolve_tag(repository, reference)).digest
    except OCIError as error:
        if error.code not in ("BLOB_UNKNOWN", "MANIFEST_UNKNOWN", "NAME_UNKNOWN"):
            raise
        return None


async def _push(store: Store, content: bytes) -> str:
    digest = digest_of(content)
    upload = await store.push_blob_chunked("afterwards")
    await upload.write(content)
    return (await upload.commit(digest)).digest


async def _pull(store: Store, digest: str) -> bytes:
    reader = await store.get_blob("afterwards", digest)
    try:
        return b"".join([data async for data in reader])
    finally:
        await reader.aclose()
