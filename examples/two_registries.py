"""Two registries as one.

A team pushes to a folder, which is in front of a shared registry. If both have a tag, clients get the team's.
"""

import os

import ociserver
from ociserver.client import Client, docker_credentials
from ociserver.compose import ReadOnly, Unify

# A pushed image may have layers that only the shared registry has: clients do not push what HEAD finds.
team = ociserver.Store(os.environ.get("DATA", "data"), lax_child_references=True)
shared = Client(os.environ.get("SHARED", "https://registry-1.docker.io"), credentials=docker_credentials)

app = ociserver.Handler(Unify(team, ReadOnly(shared), writes="first"))
