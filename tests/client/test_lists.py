"""Lists by links and by last names, and unfiltered referrers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ociserver import Descriptor, HTTPError
from ociserver.client import Client
from tests.client.conftest import HURRIED
from tests.client.scripted import Reply, Scripted
from tests.contract.contents import IMAGE, INDEX, collect, digest_of
from tests.contract.errors import refused

pytestmark = pytest.mark.anyio

SUBJECT = digest_of(b"subject")


@pytest.fixture
async def paged(registry: Scripted) -> AsyncIterator[Client]:
    """A client that requests two names at a time."""
    async with Client(registry.url, retries=HURRIED, page_size=2) as client:
        yield client


def tags(*names: str, link: str = "") -> Reply:
    return Reply(200, {"Link": link}, json.dumps({"name": "project", "tags": names}).encode())


def referrers(*entries: dict[str, Any], link: str = "", applied: str = "") -> Reply:
    document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
    headers = {"Link": link, "OCI-Filters-Applied": applied, "Content-Type": INDEX}
    return Reply(200, headers, json.dumps(document).encode())


def entry(name: bytes, artifact_type: str) -> dict[str, Any]:
    return {"mediaType": IMAGE, "digest": digest_of(name), "size": 5, "artifactType": artifact_type}


async def test_links_are_followed(paged: Client, registry: Scripted) -> None:
    registry.will(
        tags("a", "b", link="</v2/project/tags/list?token=x%2Fy>; rel=next"),
        # A page that is not full may have a next page.
        tags("c", link=f'<{registry.url}/other>; title="a, b; rel=prev"; rel="prev next"'),
        tags("d", link='</first>; rel="first"'),
    )
    assert await collect(paged.tags("project")) == ["a", "b", "c", "d"]
    assert registry.lines == [
        "GET /v2/project/tags/list?n=2",
        "GET /v2/project/tags/list?token=x%2Fy",
        "GET /other",
    ]


async def test_without_links_the_last_name_is_the_next_position(paged: Client, registry: Scripted) -> None:
    registry.will(tags("a", "b"), tags("c", "d"), tags())
    assert await collect(paged.tags("project", start_after="A")) == ["a", "b", "c", "d"]
    assert registry.lines == [f"GET /v2/project/tags/list?n=2&last={last}" for last in ("A", "b", "d")]


async def test_a_registry_that_ignores_pages(paged: Client, registry: Scripted) -> None:
    registry.will(tags("a", "b", "c"))
    assert await collect(paged.tags("project", start_after="a")) == ["b", "c"]
    # The registry always sends the same names.
    registry.will(tags("a", "b"), tags("a", "b"), tags("a", "b"))
    assert await collect(paged.tags("project")) == ["a", "b"]


async def test_a_link_to_another_host(paged: Client, registry: Scripted, elsewhere: Scripted) -> None:
    registry.will(tags("a", link=f"<{elsewhere.url}/v2/>; rel=next"))
    with pytest.raises(HTTPError, match="another host"):
        await collect(paged.tags("project"))
    assert elsewhere.seen == []


async def test_a_link_to_itself(paged: Client, registry: Scripted) -> None:
    registry.will(tags("a", link="</v2/project/tags/list?n=2>; rel=next"))
    with pytest.raises(HTTPError, match="itself"):
        await collect(paged.tags("project"))


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"tags":5}', b'{"tags":[5]}', b"[" * 100_000])
async def test_an_answer_that_is_not_a_list(paged: Client, registry: Scripted, body: bytes) -> None:
    registry.will(Reply(200, {}, body))
    with pytest.raises(HTTPError):
        await collect(paged.tags("project"))


async def test_null_is_an_empty_list(paged: Client, registry: Scripted) -> None:
    registry.will(Reply(200, {}, b'{"name":"project","tags":null}'), Reply(200, {}, b'{"repositories":null}'))
    assert await collect(paged.tags("project")) == []
    assert await collect(paged.repositories()) == []


async def test_a_limit_bounds_the_page_size(client: Client, registry: Scripted) -> None:
    registry.will(tags("a"))
    assert await collect(client.tags("project", limit=7)) == ["a"]
    assert registry.seen[0].query == {"n": ["7"]}


@pytest.mark.parametrize("applied", ["", "other", "artifactType", "other, artifactType"])
async def test_the_registry_or_the_client_filters_referrers(client: Client, registry: Scripted, applied: str) -> None:
    wanted, other = entry(b"1", "application/a"), entry(b"2", "application/b")
    registry.will(referrers(*([wanted] if "artifactType" in applied else [wanted, other]), applied=applied))
    found = await collect(client.referrers("project", SUBJECT, "application/a"))
    assert found == [Descriptor(IMAGE, wanted["digest"], 5, "application/a")]
    assert registry.seen[0].query == {"artifactType": ["application/a"]}


async def test_referrers_of_all_pages_are_sorted(client: Client, registry: Scripted) -> None:
    entries = sorted((entry(bytes([number]), "application/a") for number in range(6)), key=lambda one: one["digest"])
    registry.will(
        referrers(entries[5], entries[0], link="</v2/next>; rel=next"),
        referrers(entries[3], entries[1], entries[0]),
    )
    found = [one.digest for one in await collect(client.referrers("project", SUBJECT))]
    assert found == [entries[number]["digest"] for number in (0, 1, 3, 5)]


@pytest.mark.parametrize("body", [b"page not found", b'{"errors":[{"code":"UNKNOWN"}]}', b'{"errors":[{"code":"X"}]}'])
async def test_referrers_by_tag(client: Client, registry: Scripted, body: bytes) -> None:
    wanted, other = entry(b"1", "application/a"), entry(b"2", "application/b")
    registry.will(Reply(404, {}, body), referrers(other, wanted))
    found = await collect(client.referrers("project", SUBJECT, "application/a"))
    assert [one.digest for one in found] == [wanted["digest"]]
    assert registry.seen[1].path == f"/v2/project/manifests/{SUBJECT.replace(':', '-')}"


async def test_no_referrers_by_tag(client: Client, registry: Scripted) -> None:
    registry.will(Reply(404), Reply(404))
    assert await collect(client.referrers("project", SUBJECT)) == []


async def test_referrers_of_a_missing_repository(client: Client, registry: Scripted) -> None:
    registry.will(Reply(404, {}, b'{"errors":[{"code":"NAME_UNKNOWN"}]}'))
    with refused("NAME_UNKNOWN"):
        await collect(client.referrers("project", SUBJECT))


@pytest.mark.parametrize(
    "bad", [5, {}, {"mediaType": IMAGE, "digest": "x", "size": 1}, entry(b"1", "a") | {"size": True}]
)
async def test_an_invalid_referrer(client: Client, registry: Scripted, bad: Any) -> None:
    registry.will(referrers(bad))
    with pytest.raises(HTTPError):
        await collect(client.referrers("project", SUBJECT))
