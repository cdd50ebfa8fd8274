"""A read-only public face of a private registry.

`public/app` there is `app` here. Everything else is not there, and nothing can be pushed or deleted. Credentials of the
private registry are those of `docker login`, and stay on this side.
"""

import os

import ociserver
from ociserver.client import Client, docker_credentials
from ociserver.compose import ReadOnly, Sub

private = Client(os.environ.get("PRIVATE", "http://localhost:5000"), credentials=docker_credentials)

app = ociserver.Handler(ReadOnly(Sub(private, "public")))
