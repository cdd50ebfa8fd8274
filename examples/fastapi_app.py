"""A FastAPI application that contains a registry, and a page about the images in it."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException

import ociserver

store = ociserver.Store(os.environ.get("DATA", "data"))
registry = ociserver.Handler(store)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Open and close the registry. FastAPI does not run the lifespan of a mounted application."""
    async with registry:
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/images/{repository:path}")
async def images(repository: str) -> dict[str, str]:
    """The digest of each tag of a repository. This calls the store directly, without HTTP."""
    try:
        tags = [tag async for tag in store.tags(repository)]
        return {tag: (await store.resolve_tag(repository, tag)).digest for tag in tags}
    except ociserver.OCIError as error:
        raise HTTPException(404, error.message) from error


# Last, because it takes all other paths. Clients look for /v2/ at the root of a site.
app.mount("/", registry)
