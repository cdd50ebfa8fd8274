"""docker, containerd and kubelet sign in, pull and push: their requests, one by one, over a real server.

Their daemons cannot run in a test. docker_steps.py and containerd_steps.py have what they send, and where that was
read.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection, HTTPResponse
from typing import Final
from urllib.parse import quote, quote_plus, urlsplit

import pytest

from tests.auth.registry import PASSWORDS
from tests.clients.containerd_steps import CONTAINERD
from tests.clients.contents import IMAGE, OTHER_IMAGE
from tests.clients.docker_steps import DOCKER
from tests.clients.steps import Step
from tests.support.http import with_query
from tests.support.images import DOCKER_MANIFEST, digest_of
from tests.support.server import Server

SEQUENCES: Final = DOCKER | CONTAINERD

_CHALLENGE: Final = re.compile(r'Bearer ((?:\w+="[^"]*",?)+)')

_CONFIG_BLOB, _LAYER = IMAGE.blobs.values()
_OTHER: Final = [*OTHER_IMAGE.blobs.values()][1]


def _docker_manifest() -> bytes:
    def descriptor(content: bytes, media_type: str) -> dict[str, object]:
        return {"mediaType": media_type, "size": len(content), "digest": digest_of(content)}

    layer_type = "application/vnd.docker.image.rootfs.diff.tar.gzip"
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": DOCKER_MANIFEST,
            "config": descriptor(_CONFIG_BLOB, "application/vnd.docker.container.image.v1+json"),
            "layers": [descriptor(_LAYER, layer_type), descriptor(_OTHER, layer_type)],
        }
    ).encode()


CONTENTS: Final = {
    "config": _CONFIG_BLOB,
    "layer": _LAYER,
    "other": _OTHER,
    "manifest": IMAGE.manifest,
    "docker_manifest": _docker_manifest(),
}


@pytest.mark.parametrize("repository, steps", SEQUENCES.values(), ids=SEQUENCES.keys())
def test_sequence(users: Server, repository: str, steps: list[Step]) -> None:
    # To the client, a token that cannot be read is like one whose time is over: see also test_signed_in_expired.py.
    known = {"repository": repository, "source": "team/v1/example", "digest": IMAGE.digest, "expired": "a.b.c"}
    for name, content in CONTENTS.items():
        known |= {f"{name}_digest": digest_of(content), f"{name}_last": str(len(content) - 1)}
    with closing(HTTPConnection(users.host, users.port, timeout=60)) as connection:
        for number, step in enumerate(steps):
            _replay(connection, users, step, known, f"step {number}, {step.request}")


def _replay(connection: HTTPConnection, server: Server, step: Step, known: dict[str, str], where: str) -> None:
    answer = _send(connection, step, known)
    body = answer.read()
    assert answer.status == step.status, (where, body)
    challenges = answer.headers.get_all("WWW-Authenticate") or []
    if step.challenge is not None:
        found = _parameters(challenges, where)
        assert urlsplit(found["realm"]).netloc == server.address, where
        expected = {name: value.format(**known) for name, value in step.challenge.items()}
        assert {name: found[name] for name in found if name not in {"realm", "service"}} == expected, where
        known |= {"realm": found["realm"], "service": found["service"]}
    elif step.status == 401:
        # A token endpoint is not asked for another token.
        assert not any(challenge.startswith("Bearer") for challenge in challenges), where
    for name, value in step.answer.items():
        assert answer.headers[name] == value.format(**known), where
    if step.status in {401, 403} and not step.request.startswith("HEAD"):
        # What docker shows.
        assert json.loads(body)["errors"][0]["code"] == ("UNAUTHORIZED" if step.status == 401 else "DENIED"), where
    for name, source in step.takes.items():
        if name == "location":
            known[name] = answer.headers["Location"]
        else:
            told = json.loads(body)
            known[name] = told[source]
            # docker would keep it, and forget the password.
            assert "refresh_token" not in told, where
            assert told["expires_in"] >= 60, where


def _send(connection: HTTPConnection, step: Step, known: dict[str, str]) -> HTTPResponse:
    method, _, target = step.request.partition(" ")
    user = re.search(r"username=([\w-]+)", step.body)
    password = quote_plus(PASSWORDS[user[1]]) if user and user[1] in PASSWORDS else ""
    body = CONTENTS.get(step.body)
    if body is None and step.body:
        body = step.body.format(
            **{name: quote(value, safe="") for name, value in known.items()}, password=password
        ).encode()
    connection.putrequest(method, _target(target, known), skip_accept_encoding=True)
    for name, value in step.headers:
        connection.putheader(name, value)
    if step.auth:
        connection.putheader("Authorization", _authorization(step.auth, known))
    chunked = ("Transfer-Encoding", "chunked") in step.headers
    if not chunked and (body is not None or method in {"POST", "PUT", "PATCH"}):
        connection.putheader("Content-Length", str(len(body or b"")))
    connection.endheaders(_pieces(body) if chunked and body else body, encode_chunked=chunked)
    return connection.getresponse()


def _pieces(body: bytes) -> Iterator[bytes]:
    yield body[:10]
    yield body[10:]


def _target(template: str, known: dict[str, str]) -> str:
    """The path and the query. Locations and realms are taken as they are, and everything else is quoted."""
    first, _, query = template.partition("?")
    url = urlsplit(first.format(**known))
    target = f"{url.path}?{url.query}" if url.query else url.path
    # In a query, as Go writes it.
    values = {name: quote(value, safe="") for name, value in known.items()}
    return with_query(target, query.format(**values)) if query else target


def _authorization(auth: str, known: dict[str, str]) -> str:
    scheme, _, what = auth.partition(" ")
    if scheme == "Bearer":
        return f"Bearer {known[what]}"
    user, colon, password = what.partition(":")
    secret = password if colon else PASSWORDS[user]
    return f"Basic {base64.b64encode(f'{user}:{secret}'.encode()).decode()}"


def _parameters(challenges: list[str], where: str) -> dict[str, str]:
    """The parameters of the only challenge."""
    assert len(challenges) == 1, where
    matched = _CHALLENGE.fullmatch(challenges[0])
    assert matched, (where, challenges)
    return dict(re.findall(r'(\w+)="([^"]*)"', matched[1]))
