"""Fills a memory backend with things of one kind until it refuses more, and says what that took.

`python -m tests.memory.filling KIND LIMIT` prints the bytes by which the memory of the process grew, how many things
fitted, and how many bytes the backend counts.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from ociserver import UNKNOWN_SIZE, Descriptor, Memory, OCIError
from tests.contract.contents import BINARY, IMAGE, digest_of, pieces_of

Add = Callable[[Memory, int], Awaitable[Any]]

PLAIN: Final = "text/plain"
LONG: Final = "/x" * 120
"""With a number of eight digits before it, a repository name of 248 characters. The spec allows 255."""

SOME_REFERENCES: Final = [digest_of(b"%d" % number, "sha512") for number in range(2_000)]


async def empty_uploads(memory: Memory, number: int) -> None:
    await (await memory.push_blob_chunked("a")).aclose()


async def uploads_of_a_byte(memory: Memory, number: int) -> None:
    writer = await memory.push_blob_chunked("a", algorithm="sha512")
    await writer.write(b"x")
    await writer.aclose()


async def uploads_in_repositories(memory: Memory, number: int) -> None:
    await (await memory.push_blob_chunked(f"{number:08}{LONG}")).cancel()


async def blobs(memory: Memory, number: int) -> None:
    content = b"%d" % number
    digest = digest_of(content, "sha512")
    await memory.push_blob("a", Descriptor(BINARY, digest, UNKNOWN_SIZE), pieces_of(content))


async def mounts(memory: Memory, number: int) -> None:
    if number == 0:
        await blobs(memory, 0)
    await memory.mount_blob(None, f"{number:08}{LONG}", digest_of(b"0", "sha512"))


async def tags(memory: Memory, number: int) -> None:
    names = [f"{number:08}{'t' * 118}{each:02}" for each in range(100)]
    await memory.push_manifest("a", b"{}", PLAIN, tags=names)


async def manifests(memory: Memory, number: int) -> None:
    content = b"%d" % number
    digest = digest_of(content, "sha512")
    await memory.push_manifest("a", content, f"text/{number:0250}", digest=digest, tags=[f"{number:0128}"])


async def manifests_in_repositories(memory: Memory, number: int) -> None:
    await memory.push_manifest(f"{number:08}{LONG}", b"{}", PLAIN, tags=["t" * 128])


async def references(memory: Memory, number: int) -> None:
    found = [{"digest": digest_of(b"%d-%d" % (number, each), "sha512")} for each in range(2_000)]
    await memory.push_manifest("a", json.dumps(found).encode(), "application/json")


async def references_to_the_same(memory: Memory, number: int) -> None:
    found = [number, *({"digest": digest} for digest in SOME_REFERENCES)]
    await memory.push_manifest("a", json.dumps(found).encode(), "application/json")


async def referrers(memory: Memory, number: int) -> None:
    await memory.push_manifest("a", referrer(b"%d" % number), IMAGE)


async def annotated_referrers(memory: Memory, number: int) -> None:
    found = {f"{each}-{number}": "" for each in range(20_000)}
    await memory.push_manifest("a", referrer(b"", annotations=found), IMAGE)


async def wide_artifact_types(memory: Memory, number: int) -> None:
    """One character beyond the first 65,536 makes Python keep four bytes of each."""
    await memory.push_manifest("a", referrer(b"", artifactType=f"{'x' * 500_000}{number}\N{ROCKET}"), IMAGE)


async def mixed(memory: Memory, number: int) -> None:
    kinds = [add for name, add in KINDS.items() if name not in ("mixed", "annotated_referrers", "wide_artifact_types")]
    await kinds[number % len(kinds)](memory, number // len(kinds))


def referrer(subject: bytes, **fields: Any) -> bytes:
    described = [{"mediaType": BINARY, "digest": digest_of(each), "size": 1} for each in (b"config", subject)]
    manifest = {"schemaVersion": 2, "config": described[0], "layers": [], "subject": described[1], **fields}
    return json.dumps(manifest, ensure_ascii=False).encode()


KINDS: Final[dict[str, Add]] = {
    add.__name__: add
    for add in (
        empty_uploads,
        uploads_of_a_byte,
        uploads_in_repositories,
        blobs,
        mounts,
        tags,
        manifests,
        manifests_in_repositories,
        references,
        references_to_the_same,
        referrers,
        annotated_referrers,
        wide_artifact_types,
        mixed,
    )
}


async def fill(memory: Memory, add: Add, most: int) -> int:
    """Add items until the backend refuses one, or the process takes too much memory. Returns their number."""
    for number in itertools.count():
        try:
            await add(memory, number)
        except OCIError as error:
            if error.status != 507:
                raise
            return number
        if number % 64 == 0 and resident() > most:
            return number
    raise AssertionError


def resident() -> int:
    """Bytes of memory that this process takes."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def main(kind: str, limit: int) -> None:
    # What is loaded and allocated once does not count.
    await KINDS[kind](Memory(lax_child_references=True), 0)
    gc.collect()
    memory = Memory(lax_child_references=True, max_bytes=limit)
    before = resident()
    added = await fill(memory, KINDS[kind], before + 4 * limit)
    gc.collect()
    print(json.dumps({"grown": resident() - before, "added": added, "counted": memory.size_bytes}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
