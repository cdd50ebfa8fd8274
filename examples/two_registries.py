"""Two registries behind one.

What a team pushes is kept in a folder, and lies over a registry that all share: a tag that both have is the team's.
"""

import os

import ociserver
from ociserver.client import Client, docker_credentials
from ociserver.compose import ReadOnly, Unify

# An image may be built on layers that only the shared registry has: a client does not push what it is told is there.
team = ociserver.Store(os.environ.get("DATA", "data"), lax_child_references=True)
shared = Client(os.environ.get("SHARED", "https://registry-1.docker.io"), credentials=docker_credentials)

app = ociserver.Handler(Unify(team, ReadOnly(shared), writes="first"))
