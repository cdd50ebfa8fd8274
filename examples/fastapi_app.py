"""A FastAPI application with a registry inside: images are pushed to it, and its own pages know them."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException

import ociserver

store = ociserver.Store(os.environ.get("DATA", "data"))
registry = ociserver.Handler(store)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """A mounted application has no lifespan of its own: this one opens the registry and closes it."""
    async with registry:
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/images/{repository:path}")
async def images(repository: str) -> dict[str, str]:
    """The tags of a repository, and what they name: asked of the store, without HTTP."""
    try:
        tags = [tag async for tag in store.tags(repository)]
        return {tag: (await store.resolve_tag(repository, tag)).digest for tag in tags}
    except ociserver.OCIError as error:
        raise HTTPException(404, error.message) from error


# Last, since it takes every path that is left. Clients look for /v2/ at the root of a site.
app.mount("/", registry)
