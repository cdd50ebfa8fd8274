"""A registry with users and rights, over HTTP or in this process."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import bcrypt

from ociserver import Handler, Memory
from ociserver.auth import Auth, Rule, TokenKeys
from tests.handler.driver import Reply, request
from tests.support.leaks import remember

PASSWORDS = {
    "alice": "alice's secret",
    "bob": "bob's secret",
    "ci-1": "a robot's secret",
    "mallory": "an evil secret",
}
"""alice: pull, push and delete in team/*; bob: pull there; ci-1: pull and create tags v* there; mallory: nothing."""

GROUPS = {"dev": ["alice"]}

RULES = [
    Rule(groups=("dev",), repositories=("team/*",), allow=("pull", "push", "delete")),
    Rule(users=("bob",), repositories=("team/*",), allow=("pull",)),
    Rule(users=("ci-*",), repositories=("team/*",), allow=("pull", "create"), tags=("v*",)),
    Rule(anonymous=True, repositories=("public/*",), allow=("pull",)),
    Rule(users=("alice",), repositories=("public/*",), allow=("push",)),
]

TOML = """
[auth.htpasswd]
file = "users.htpasswd"

[auth.groups]
dev = ["alice"]

[[auth.rules]]
groups = ["dev"]
repositories = ["team/*"]
allow = ["pull", "push", "delete"]

[[auth.rules]]
users = ["bob"]
repositories = ["team/*"]
allow = ["pull"]

[[auth.rules]]
users = ["ci-*"]
repositories = ["team/*"]
allow = ["pull", "create"]
tags = ["v*"]

[[auth.rules]]
anonymous = true
repositories = ["public/*"]
allow = ["pull"]

[[auth.rules]]
users = ["alice"]
repositories = ["public/*"]
allow = ["push"]
"""
"""The same as a configuration file, whose folder has `users.htpasswd`."""

KEYS = TokenKeys([b"the key of the tests, of 32 bytes"])

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
EMPTY = b"{}"


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def line(user: str, password: str) -> str:
    """A line of an htpasswd file, with the cheapest hash that bcrypt has."""
    remember(password)
    return f"{user}:{bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()}\n"


def htpasswd(folder: Path, passwords: dict[str, str] | None = None) -> Path:
    """A file with these users."""
    path = folder / "users.htpasswd"
    path.write_text("".join(line(*each) for each in (PASSWORDS if passwords is None else passwords).items()))
    return path


def handler(folder: Path, backend: Any = None, **settings: Any) -> Handler:
    """A handler with the users and rules above. A second one for the same folder has the same file."""
    path = folder / "users.htpasswd"
    given = {"groups": GROUPS, "htpasswd": path, "token_keys": KEYS, "rules": RULES, **settings}
    if not path.exists():
        htpasswd(folder)
    proxies = given.pop("proxies", None)
    auth = Auth(given.pop("rules"), **given)
    return Handler(backend or Memory(lax_child_references=True), auth=auth, proxies=proxies)


def basic(user: str, password: str | None = None) -> dict[str, str]:
    """The header of a user, by default with the right password."""
    secret = PASSWORDS[user] if password is None else password
    remember(secret)
    text = f"{user}:{secret}"
    return {"Authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def token(app: Handler, user: str, *scopes: str) -> str:
    """A token of a user; of a client without credentials for ""."""
    query = urlencode([("service", "ociserver"), *(("scope", scope) for scope in scopes)])
    reply = await request(app, "GET", f"/v2/token?{query}", headers=basic(user) if user else None)
    assert reply.status == 200, reply.body
    text: str = reply.json()["token"]
    return text


def manifest(text: str = "") -> bytes:
    """A small manifest without blobs."""
    return (
        f'{{"schemaVersion":2,"mediaType":"{MANIFEST_TYPE}","config":{{"mediaType":"application/vnd.oci.empty.v1+json",'
        f'"digest":"{digest_of(EMPTY)}","size":2}},"layers":[],"annotations":{{"text":"{text}"}}}}'
    ).encode()


async def put_manifest(app: Handler, repository: str, reference: str, headers: dict[str, str], text: str = "") -> Reply:
    content = manifest(text)
    target = f"/v2/{repository}/manifests/{reference}"
    return await request(app, "PUT", target, content, {"content-type": MANIFEST_TYPE, **headers})


async def put_blob(app: Handler, repository: str, content: bytes, headers: dict[str, str]) -> Reply:
    return await request(app, "POST", f"/v2/{repository}/blobs/uploads/?digest={digest_of(content)}", content, headers)
