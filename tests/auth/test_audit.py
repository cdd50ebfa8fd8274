"""The audit log and the access log: who did what, and no secret."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ociserver import Event, Handler, Memory
from ociserver.auth import Auth
from tests.auth.registry import (
    EMPTY,
    GROUPS,
    KEYS,
    PASSWORDS,
    RULES,
    basic,
    bearer,
    digest_of,
    htpasswd,
    manifest,
    put_blob,
    put_manifest,
    token,
)
from tests.handler.driver import request

pytestmark = pytest.mark.anyio


@pytest.fixture
def entries(caplog: pytest.LogCaptureFixture) -> Iterator[list[dict[str, Any]]]:
    """The entries of the audit log, which grow."""
    found: list[dict[str, Any]] = []

    class Reader(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            assert json.loads(record.getMessage()) == record.__dict__["fields"]
            found.append(record.__dict__["fields"])

    log, reader = logging.getLogger("ociserver.audit"), Reader()
    log.addHandler(reader)
    with caplog.at_level(logging.DEBUG):
        yield found
    log.removeHandler(reader)


def registry(folder: Path, events: list[Event] | None = None) -> Handler:
    auth = Auth(RULES, groups=GROUPS, htpasswd=htpasswd(folder), token_keys=KEYS)
    return Handler(Memory(), auth=auth, observe=None if events is None else events.append)


async def test_entries(tmp_path: Path, entries: list[dict[str, Any]]) -> None:
    app = registry(tmp_path)
    client = {"client": "192.0.2.1"}
    alice = {"user": "alice", "via": "htpasswd", **client}
    await request(app, "GET", "/v2/", headers=basic("alice", "wrong"))
    await token(app, "alice", "repository:team/app:pull,push", "repository:other:pull")
    await put_blob(app, "team/app", EMPTY, basic("alice"))
    await put_manifest(app, "team/app", f"{digest_of(manifest())}?tag=v1&tag=v2", basic("alice"))
    await request(app, "DELETE", "/v2/team/app/manifests/v1", headers=basic("alice"))
    await request(app, "DELETE", "/v2/team/app/manifests/absent", headers=basic("alice"))
    await request(app, "GET", "/v2/team/app/manifests/v2", headers=basic("mallory"))
    # Challenges are no refusals.
    await request(app, "GET", "/v2/team/app/manifests/v2")
    await request(app, "GET", "/v2/team/app/manifests/v2", headers=bearer("x"))
    await put_manifest(app, "team/app", "v3", basic("alice"), "other")
    assert entries == [
        {"event": "sign-in-refused", "user": "alice", **client},
        {"event": "sign-in", **alice},
        {"event": "token", **alice, "scope": "repository:team/app:pull,push"},
        {"event": "push", **alice, "kind": "upload_blob", "repository": "team/app", "digest": digest_of(EMPTY)},
        {
            "event": "push",
            **alice,
            "kind": "manifest_put",
            "repository": "team/app",
            "digest": digest_of(manifest()),
            "tags": ["v1", "v2"],
        },
        {"event": "delete", **alice, "kind": "manifest_delete", "repository": "team/app", "tags": ["v1"]},
        {"event": "sign-in", "user": "mallory", "via": "htpasswd", **client},
        {
            "event": "denied",
            "user": "mallory",
            "via": "htpasswd",
            **client,
            "kind": "manifest_get",
            "repository": "team/app",
            "reference": "v2",
        },
        {"event": "token-refused", "reason": "the token is not three parts in ASCII", **client},
        {
            "event": "push",
            **alice,
            "kind": "manifest_put",
            "repository": "team/app",
            "digest": digest_of(manifest("other")),
            "tags": ["v3"],
        },
    ]


async def test_events_name_the_user_on_both_paths(tmp_path: Path) -> None:
    events: list[Event] = []
    async with registry(tmp_path, events) as app:
        await put_blob(app, "team/app", EMPTY, basic("alice"))
        await put_manifest(app, "team/app", "v1", basic("alice"))
        mine = bearer(await token(app, "bob", "repository:team/app:pull"))
        events.clear()
        for headers in (basic("bob"), mine, mine, mine, {}):
            await request(app, "GET", "/v2/team/app/manifests/v1", headers=headers)
    found = [(event.user, event.via, event.status) for event in events]
    assert found == [("bob", "htpasswd", 200)] * 4 + [("", "anonymous", 401)]


async def test_no_log_has_a_secret(
    tmp_path: Path, entries: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    events: list[Event] = []
    secrets = [*PASSWORDS.values(), KEYS.derive(b"uploads")[0].hex(), "the key of the tests"]
    async with registry(tmp_path, events) as app:
        for user in PASSWORDS:
            for headers in (basic(user), basic(user, "a wrong secret"), bearer("a.wrong.token"), {}):
                secrets += [value.partition(" ")[2] for value in headers.values()]
                await request(app, "GET", "/v2/", headers=headers)
                await request(app, "GET", "/v2/token?scope=repository:team/app:*", headers=headers)
                await put_manifest(app, "team/app", "v1", headers)
            secrets.append(await token(app, user, "repository:team/app:*"))
            form = f"grant_type=password&username={user}&password={PASSWORDS[user]}".encode()
            await request(app, "POST", "/v2/token", form)
            await put_manifest(app, "team/app", "v1", bearer(secrets[-1]))
    secrets += ["a wrong secret", "a.wrong.token"]
    written = "\n".join([record.getMessage() for record in caplog.records] + [str(event) for event in events])
    assert len(caplog.records) > 10
    for secret in filter(None, secrets):
        assert secret not in written
