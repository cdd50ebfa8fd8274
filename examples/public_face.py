"""A read-only public view of a private registry.

Clients see `public/app` as `app`. They see no other repository, and cannot push or delete. This server uses the
credentials of `docker login` for the private registry, and its clients need none.
"""

import os

import ociserver
from ociserver.client import Client, docker_credentials
from ociserver.compose import ReadOnly, Sub

private = Client(os.environ.get("PRIVATE", "http://localhost:5000"), credentials=docker_credentials)

app = ociserver.Handler(ReadOnly(Sub(private, "public")))
