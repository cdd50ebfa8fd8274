"""A cache in front of a registry.

The cache keeps what clients pull in a folder, up to 10 GiB, and serves it from there, also while the registry is down.
Credentials are those of `docker login`.
"""

import os

import ociserver
from ociserver.client import Client, docker_credentials
from ociserver.compose import Cache

upstream = Client(os.environ.get("UPSTREAM", "https://registry-1.docker.io"), credentials=docker_credentials)
# The cache keeps a manifest before its blobs: a blob is fetched when a client asks for it.
local = ociserver.Store(os.environ.get("DATA", "data"), lax_child_references=True)

app = ociserver.Handler(Cache(upstream, local, max_bytes=10 * 2**30))
