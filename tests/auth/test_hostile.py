"""A client with a valid, narrow token tries everything on what is not its own.

Nothing may succeed, and no answer may tell whether something exists: each request is made about a repository that has
the content, about one that has not, and about one that does not exist, and the answers must be the same.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from itertools import product
from pathlib import Path

import pytest

from ociserver import Handler, Memory, Store
from tests.auth.registry import (
    EMPTY,
    MANIFEST_TYPE,
    basic,
    bearer,
    digest_of,
    handler,
    manifest,
    put_blob,
    put_manifest,
    token,
)
from tests.handler.driver import Reply, request

pytestmark = pytest.mark.anyio

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
SECRET = b"the content of another team"
UNKNOWN = digest_of(b"what nobody has pushed")

MINE = "repository:mine/app:pull,push"
"""The scope of a push into a repository of mallory's."""
FULL, EMPTY_REPOSITORY, ABSENT = "secret/app", "secret/other", "secret/nothing"
ODD_NAMES = ("team/apps", "team/app/sub", "team", "teams/app", "team/ap")
"""Names beside that of the token, team/app (CVE-2019-12825)."""


@pytest.fixture(params=["memory", "store"])
async def app(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Handler]:
    from ociserver.auth import Rule

    backend = Memory() if request.param == "memory" else Store(tmp_path / "data")
    rules = [
        Rule(users=("alice",), repositories=("*",), allow=("pull", "push", "delete")),
        Rule(users=("bob",), repositories=("team/app",), allow=("pull", "push", "delete")),
        Rule(users=("mallory",), repositories=("mine/*",), allow=("pull", "push", "delete")),
    ]
    async with handler(tmp_path, backend, rules=rules) as app:
        for repository in (FULL, "team/app", *ODD_NAMES):
            assert (await put_blob(app, repository, EMPTY, basic("alice"))).status == 201
            assert (await put_blob(app, repository, SECRET, basic("alice"))).status == 201
            assert (await put_manifest(app, repository, "latest", basic("alice"))).status == 201
        assert (await put_blob(app, EMPTY_REPOSITORY, b"other", basic("alice"))).status == 201
        yield app


def paths(repository: str, upload: str) -> Iterator[str]:
    """Every endpoint of a repository, about contents that exist elsewhere and about contents that do not."""
    for digest in (digest_of(SECRET), digest_of(EMPTY), UNKNOWN):
        yield f"/v2/{repository}/blobs/{digest}"
        yield f"/v2/{repository}/referrers/{digest}"
        yield f"/v2/{repository}/blobs/uploads/?digest={digest}"
        yield f"/v2/{repository}/blobs/uploads/?mount={digest}"
        yield f"/v2/{repository}/blobs/uploads/?mount={digest}&from=team/app"
        yield f"/v2/{repository}/blobs/uploads/{upload}?digest={digest}"
    for reference in ("latest", "absent", digest_of(manifest()), UNKNOWN):
        yield f"/v2/{repository}/manifests/{reference}"
    yield f"/v2/{repository}/tags/list"
    yield f"/v2/{repository}/tags/list?n=1000000000"
    yield f"/v2/{repository}/blobs/uploads/"
    yield f"/v2/{repository}/blobs/uploads/{upload}"


def shown(reply: Reply, repository: str) -> tuple[int, list[tuple[str, str]], bytes]:
    """What a client sees of an answer, without the name that it has sent itself."""
    name = repository.encode()
    # The scopes in a challenge are sorted, so a name also decides where it stands.
    headers = [
        (key, re.sub(r'scope="[^"]*"', "", value).replace(repository, "NAME"))
        for key, value in reply.headers
        if key not in ("content-length", "date")
    ]
    return reply.status, headers, reply.body.replace(name, b"NAME")


async def start(app: Handler, repository: str, headers: dict[str, str]) -> str:
    """The id of an upload that has begun."""
    reply = await request(app, "POST", f"/v2/{repository}/blobs/uploads/", headers=headers)
    assert reply.status == 202
    return reply["location"].rpartition("/")[2]


@pytest.mark.parametrize("who", ["token", "token of all scopes", "password", "anonymous"])
async def test_nothing_of_others_can_be_had_or_told(app: Handler, who: str) -> None:
    headers = {
        "token": bearer(await token(app, "bob", "repository:team/app:pull,push,delete")),
        "token of all scopes": bearer(
            await token(app, "bob", *(f"repository:{name}:*" for name in (FULL, EMPTY_REPOSITORY, ABSENT, *ODD_NAMES)))
        ),
        "password": basic("bob"),
        "anonymous": {},
    }[who]
    upload = await start(app, FULL, basic("alice"))
    found: dict[str, list[tuple[int, list[tuple[str, str]], bytes]]] = {}
    for repository in (FULL, EMPTY_REPOSITORY, ABSENT, *ODD_NAMES):
        for method, path in product(METHODS, paths(repository, upload)):
            if method == "PUT" and path.endswith(upload):
                # Without a digest it is no request of the distribution API.
                continue
            body = manifest() if "/manifests/" in path else SECRET
            reply = await request(app, method, path, body, {"content-type": MANIFEST_TYPE, **headers})
            assert reply.status in (401, 403, 404, 405), (method, path, reply.body)
            found.setdefault(f"{method} {path.replace(repository, 'NAME')}", []).append(shown(reply, repository))
    for asked, answers in found.items():
        assert answers.count(answers[0]) == len(answers), (asked, answers)
    # Nothing has changed.
    names = (await request(app, "GET", "/v2/_catalog", headers=basic("alice"))).json()["repositories"]
    assert names == sorted((FULL, EMPTY_REPOSITORY, "team/app", *ODD_NAMES))
    assert (await request(app, "GET", f"/v2/{FULL}/manifests/latest", headers=basic("alice"))).status == 200


@pytest.mark.parametrize("path", ["/v2/Team/app/tags/list", "/v2/team//app/tags/list", "/v2/TEAM/APP/tags/list"])
async def test_other_spellings_are_other_names(app: Handler, path: str) -> None:
    headers = bearer(await token(app, "bob", "repository:team/app:pull"))
    assert (await request(app, "GET", path, headers=headers)).status in (400, 404)


async def test_an_encoded_slash_is_the_same_name_for_rights_and_contents(app: Handler) -> None:
    mine = bearer(await token(app, "bob", "repository:team/app:pull"))
    assert (await request(app, "GET", "/v2/team%2Fapp/tags/list", headers=mine)).status == 200
    assert (await request(app, "GET", "/v2/secret%2Fapp/tags/list", headers=mine)).status == 403


@pytest.mark.parametrize("who", ["token", "token of all scopes", "password"])
@pytest.mark.parametrize("source", [FULL, EMPTY_REPOSITORY, ABSENT])
async def test_a_mount_of_what_the_client_may_not_pull_starts_an_upload(app: Handler, source: str, who: str) -> None:
    headers = {
        "token": bearer(await token(app, "mallory", MINE)),
        "token of all scopes": bearer(await token(app, "mallory", MINE, f"repository:{source}:pull")),
        "password": basic("mallory"),
    }[who]
    answers = set()
    for digest in (digest_of(SECRET), UNKNOWN):
        for from_ in (f"&from={source}", ""):
            target = f"/v2/mine/app/blobs/uploads/?mount={digest}{from_}"
            reply = await request(app, "POST", target, headers=headers)
            answers.add((reply.status, re.sub(r"/[^/]*$", "", reply["location"]), reply["range"]))
            assert (await request(app, "HEAD", f"/v2/mine/app/blobs/{digest}", headers=basic("mallory"))).status == 404
    assert answers == {(202, "/v2/mine/app/blobs/uploads", "0-0")}


async def test_a_mount_needs_the_scope_of_the_source(app: Handler) -> None:
    """CVE-2026-117685: the rights of the token count, and not only those of the user."""
    narrow = bearer(await token(app, "alice", MINE))
    told = []
    for source, digest in product((FULL, EMPTY_REPOSITORY, ABSENT), (UNKNOWN, digest_of(SECRET))):
        target = f"/v2/mine/app/blobs/uploads/?mount={digest}&from={source}"
        reply = await request(app, "POST", target, headers=narrow)
        assert (reply.status, reply.code) == (401, "UNAUTHORIZED")
        told.append(shown(reply, source))
        (challenge,) = reply.all("www-authenticate")
        assert 'error="insufficient_scope"' in challenge
        (scope,) = re.findall(r'scope="([^"]*)"', challenge)
        assert sorted(scope.split()) == [MINE, f"repository:{source}:pull"]
        # With the token that the client has been told to get, the blob is mounted if it is there.
        both = bearer(await token(app, "alice", scope))
        is_there = source == FULL and digest != UNKNOWN
        assert (await request(app, "POST", target, headers=both)).status == (201 if is_there else 202)
    assert told.count(told[0]) == len(told)


async def test_a_mount_without_a_source_is_from_where_the_token_may_pull(app: Handler) -> None:
    target = f"/v2/mine/app/blobs/uploads/?mount={digest_of(SECRET)}"
    absent = [f"repository:{name}:pull" for name in (ABSENT, EMPTY_REPOSITORY)]
    for scopes, status in (
        ([], 202),
        ([f"repository:{FULL}:push,delete"], 202),
        (absent, 202),
        ([*absent, f"repository:{FULL}:pull"], 201),
        # Now it is in the target itself.
        ([], 201),
    ):
        headers = bearer(await token(app, "alice", MINE, *scopes))
        assert (await request(app, "POST", target, headers=headers)).status == status, scopes
    # A client without a token has named no repository.
    assert (await request(app, "POST", target, headers=basic("alice"))).status == 202


async def test_uploads_belong_to_a_user_and_a_repository(app: Handler) -> None:
    upload = await start(app, "team/app", basic("alice"))
    for repository, user in (("team/app", "bob"), ("team/apps", "alice"), ("mine/app", "mallory")):
        for method in ("GET", "PATCH", "PUT", "DELETE"):
            target = f"/v2/{repository}/blobs/uploads/{upload}?digest={digest_of(b'x')}"
            reply = await request(app, method, target, b"x", basic(user))
            assert (reply.status, reply.code) == (404, "BLOB_UPLOAD_UNKNOWN"), (method, user)
    # A token of the same user continues what the password began.
    narrow = bearer(await token(app, "alice", "repository:team/app:push"))
    target = f"/v2/team/app/blobs/uploads/{upload}"
    assert (await request(app, "GET", target, headers=narrow)).status == 204
    assert (await request(app, "PATCH", target, b"x", narrow)).status == 202
    assert (await request(app, "PUT", f"{target}?digest={digest_of(b'x')}", headers=narrow)).status == 201
    cancelled = await start(app, "team/app", basic("bob"))
    assert (await request(app, "DELETE", f"/v2/team/app/blobs/uploads/{cancelled}", headers=basic("bob"))).status == 204


async def test_pushing_what_exists_elsewhere_needs_the_bytes(app: Handler) -> None:
    """CVE-2024-39897: zot linked a blob of a repository that the client could not read."""
    mine = basic("mallory")
    digest = digest_of(SECRET)
    reply = await request(app, "POST", f"/v2/mine/app/blobs/uploads/?digest={digest}", b"", mine)
    assert reply.status == 400
    upload = await start(app, "mine/app", mine)
    reply = await request(app, "PUT", f"/v2/mine/app/blobs/uploads/{upload}?digest={digest}", b"", mine)
    assert reply.status == 400
    assert (await request(app, "HEAD", f"/v2/mine/app/blobs/{digest}", headers=mine)).status == 404
