"""A node that pushes until it is killed: `python -m tests.store.objects.victim DATABASE BUCKET-URL OPTIONS`.

It prints the digest of each blob, and `whole`, when they are acknowledged.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from pathlib import Path

from ociserver.store import Store
from ociserver.store.collect import Policy, collect
from ociserver.store.objects import ObjectStorage
from ociserver.store.postgres import PostgreSQL
from tests.contract.contents import push_blob, push_image
from tests.store.objects.looking import PART, finish, go_on, start

SEED = 1
CONTENT = random.Random(SEED).randbytes(2 * PART + 100_000)


def store_of(database: str, url: str, options: str) -> Store:
    """The store of a node. `database` is a URL, or the path of a folder."""
    objects = ObjectStorage(url=url, options=json.loads(options), part_size=PART, retry_s=2, delete_after_s=1_300)
    if database.startswith("postgresql:"):
        return Store(database=PostgreSQL(database), objects=objects)
    return Store(Path(database), objects=objects)


async def work(store: Store) -> None:
    """Reach every point where what is stored changes."""
    upload_id = await start(store, CONTENT[:50_000])
    await go_on(store, upload_id, 50_000, CONTENT[50_000 : PART + 7])
    await go_on(store, upload_id, PART + 7, CONTENT[PART + 7 :])
    print(await finish(store, upload_id, CONTENT), flush=True)
    for content in (CONTENT[1:], CONTENT[:60_000], CONTENT[:10]):
        print(await push_blob(store, content), flush=True)
    print(await push_blob(store, CONTENT[1:], "again"), flush=True)
    await push_image(store, "v1", layers=[CONTENT[2:70_000]])
    await store.delete_repository("again")
    await (await store.push_blob_chunked_resume("group/project", await start(store, CONTENT), offset=None)).cancel()
    await collect(store, Policy(unreferenced_after_s=3_600, grace_s=0, upload_timeout_s=3_600))
    print("whole", flush=True)


async def main() -> None:
    async with store_of(*sys.argv[1:]) as store:
        await work(store)


if __name__ == "__main__":
    asyncio.run(main())
