"""Who may do what, over HTTP: every kind of request with every user."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ociserver import Handler, Memory, Store
from ociserver._core import REQUEST_KINDS
from ociserver.auth.needs import NEEDS
from tests.auth.registry import EMPTY, basic, bearer, digest_of, handler, manifest, put_blob, put_manifest, token
from tests.handler.driver import request

pytestmark = pytest.mark.anyio

LAYER = b"layer"
APP = "/v2/team/app"
WRITES = {
    "upload_start": ("POST", f"{APP}/blobs/uploads/"),
    "upload_blob": ("POST", f"{APP}/blobs/uploads/?digest={digest_of(LAYER)}"),
    "blob_mount": ("POST", f"{APP}/blobs/uploads/?mount={digest_of(LAYER)}&from=team/base"),
}
READS = {
    "manifest_get": ("GET", f"{APP}/manifests/v1"),
    "manifest_head": ("HEAD", f"{APP}/manifests/v1"),
    "blob_get": ("GET", f"{APP}/blobs/{digest_of(EMPTY)}"),
    "blob_head": ("HEAD", f"{APP}/blobs/{digest_of(EMPTY)}"),
    "tags_list": ("GET", f"{APP}/tags/list"),
    "referrers_list": ("GET", f"{APP}/referrers/{digest_of(EMPTY)}"),
}
DELETES = {
    "manifest_delete": ("DELETE", f"{APP}/manifests/v1"),
    "blob_delete": ("DELETE", f"{APP}/blobs/{digest_of(EMPTY)}"),
}


@pytest.fixture(params=["memory", "store"])
async def app(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Handler]:
    backend = Memory() if request.param == "memory" else Store(tmp_path / "data")
    async with handler(tmp_path, backend) as app:
        assert (await put_blob(app, "team/app", EMPTY, basic("alice"))).status == 201
        assert (await put_manifest(app, "team/app", "v1", basic("alice"))).status == 201
        yield app


def test_every_kind_of_request_needs_a_right() -> None:
    assert NEEDS.keys() == set(REQUEST_KINDS)


@pytest.mark.parametrize("method, target", READS.values(), ids=READS)
async def test_reads(app: Handler, method: str, target: str) -> None:
    for user in ("alice", "bob", "ci-1"):
        narrow = bearer(await token(app, user, "repository:team/app:pull"))
        for headers in (basic(user), narrow, narrow):
            assert (await request(app, method, target, headers=headers)).status == 200
    assert (await request(app, method, target, headers=basic("mallory"))).status == 403
    assert (await request(app, method, target)).status == 401
    push_only = bearer(await token(app, "alice", "repository:team/app:push"))
    assert (await request(app, method, target, headers=push_only)).status == 401


@pytest.mark.parametrize("method, target", WRITES.values(), ids=WRITES)
async def test_writes(app: Handler, method: str, target: str) -> None:
    for user in ("alice", "ci-1"):
        # A mount needs the source too.
        scopes = ("repository:team/app:push", "repository:team/base:pull")
        allowed = bearer(await token(app, user, *scopes))
        for headers in (basic(user), allowed):
            assert (await request(app, method, target, LAYER, headers)).status in (201, 202)
    for user in ("bob", "mallory"):
        assert (await request(app, method, target, LAYER, basic(user))).status == 403
    assert (await request(app, method, target, LAYER)).status == 401
    pull_only = bearer(await token(app, "alice", "repository:team/app:pull"))
    assert (await request(app, method, target, LAYER, pull_only)).status == 401


@pytest.mark.parametrize("method, target", DELETES.values(), ids=DELETES)
async def test_deletions(app: Handler, method: str, target: str) -> None:
    for user in ("bob", "ci-1", "mallory"):
        assert (await request(app, method, target, headers=basic(user))).status == 403
    assert (await request(app, method, target)).status == 401
    # zot took every request but GET for a push (CVE-2026-61833).
    push = bearer(await token(app, "alice", "repository:team/app:pull,push"))
    assert (await request(app, method, target, headers=push)).status == 401
    assert (await request(app, method, target, headers=basic("alice"))).status == 202


async def test_a_manifest_by_digest_that_has_tags_is_deleted_only_without_a_limit_on_tags(tmp_path: Path) -> None:
    from ociserver.auth import Rule

    rules = [
        Rule(users=("alice",), repositories=("team/*",), allow=("pull", "push")),
        Rule(users=("alice",), repositories=("team/*",), allow=("delete",), tags=("tmp-*",)),
    ]
    app = handler(tmp_path, rules=rules)
    for tag in ("v1", "tmp-1"):
        assert (await put_manifest(app, "team/app", tag, basic("alice"))).status == 201
    by_digest = f"{APP}/manifests/{digest_of(manifest())}"
    assert (await request(app, "DELETE", by_digest, headers=basic("alice"))).status == 403
    assert (await request(app, "DELETE", f"{APP}/manifests/v1", headers=basic("alice"))).status == 403
    assert (await request(app, "DELETE", f"{APP}/manifests/tmp-1", headers=basic("alice"))).status == 202


async def test_create_never_moves_a_tag(app: Handler) -> None:
    # zot took the move of `latest` for a creation (CVE-2026-31801); here a rule limits the tags too.
    robot = basic("ci-1")
    assert (await put_manifest(app, "team/app", "v2", robot, "new")).status == 201
    assert (await put_manifest(app, "team/app", "v2", robot, "new")).status == 201
    moved = await put_manifest(app, "team/app", "v1", robot, "other")
    assert (moved.status, moved.code) == (403, "DENIED")
    assert "may only create" in moved.message
    assert (await put_manifest(app, "team/app", "latest", robot, "new")).status == 403
    by_digest = f"{digest_of(manifest('new'))}?tag=v3&tag=latest"
    assert (await put_manifest(app, "team/app", by_digest, robot, "new")).status == 403
    by_digest = f"{digest_of(manifest('new'))}?tag=v3&tag=v1"
    assert (await put_manifest(app, "team/app", by_digest, robot, "new")).status == 403
    found = await request(app, "GET", f"{APP}/tags/list", headers=basic("alice"))
    assert found.json()["tags"] == ["v1", "v2"]
    assert (await put_manifest(app, "team/app", "v1", basic("alice"), "other")).status == 201


async def test_the_catalog_shows_what_the_client_may_pull(app: Handler) -> None:
    assert (await put_manifest(app, "public/app", "v1", basic("alice"))).status in (201, 404)
    assert (await put_blob(app, "public/app", EMPTY, basic("alice"))).status == 201
    for user, names in (("alice", ["public/app", "team/app"]), ("bob", ["public/app", "team/app"])):
        reply = await request(app, "GET", "/v2/_catalog", headers=basic(user))
        assert reply.json()["repositories"] == names
        page = await request(app, "GET", "/v2/_catalog?n=1", headers=basic(user))
        assert page.json()["repositories"] == names[:1]
        assert page.all("link")
    for headers in (basic("mallory"), {}):
        assert (await request(app, "GET", "/v2/_catalog", headers=headers)).json()["repositories"] == ["public/app"]
        page = await request(app, "GET", "/v2/_catalog?n=1", headers=headers)
        assert not page.all("link")


async def test_tags_that_the_client_may_not_pull_are_not_listed(tmp_path: Path) -> None:
    from ociserver.auth import Rule

    app = handler(
        tmp_path,
        rules=[
            Rule(users=("alice",), repositories=("*",), allow=("pull", "push")),
            Rule(users=("bob",), repositories=("*",), allow=("pull",), tags=("v*",)),
        ],
    )
    for tag in ("a", "v1", "v2", "v3", "w"):
        assert (await put_manifest(app, "app", tag, basic("alice"))).status == 201
    assert (await request(app, "GET", "/v2/app/tags/list", headers=basic("bob"))).json()["tags"] == ["v1", "v2", "v3"]
    page = await request(app, "GET", "/v2/app/tags/list?n=2", headers=basic("bob"))
    assert page.json()["tags"] == ["v1", "v2"]
    assert page.all("link")
    for path in ("a", "w"):
        for _ in range(2):
            assert (await request(app, "GET", f"/v2/app/manifests/{path}", headers=basic("bob"))).status == 403
    limited = bearer(await token(app, "bob", "repository:app:pull"))
    for _ in range(3):
        assert (await request(app, "GET", "/v2/app/manifests/a", headers=limited)).status == 403
        assert (await request(app, "GET", "/v2/app/manifests/v1", headers=limited)).status == 200


async def test_no_body_is_read_of_a_client_without_the_right(app: Handler) -> None:
    # A body that is no manifest: the answer is about the right, and not about the body.
    for headers in (basic("bob"), basic("mallory")):
        reply = await request(app, "PUT", f"{APP}/manifests/v9", b"x" * 5_000_000, headers)
        assert (reply.status, reply.code) == (403, "DENIED")
    assert (await request(app, "PUT", f"{APP}/manifests/v9", b"x" * 5_000_000)).status == 401
