"""A cache in front of a registry.

What is pulled is kept in a folder, 10 GiB at most, and served from there, also while the registry is down. Credentials
are those of `docker login`.
"""

import os

import ociserver
from ociserver.client import Client, docker_credentials
from ociserver.compose import Cache

upstream = Client(os.environ.get("UPSTREAM", "https://registry-1.docker.io"), credentials=docker_credentials)
# Manifests come before the blobs that they name: those are fetched when somebody asks for them.
local = ociserver.Store(os.environ.get("DATA", "data"), lax_child_references=True)

app = ociserver.Handler(Cache(upstream, local, max_bytes=10 * 2**30))
