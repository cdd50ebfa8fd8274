"""Lists: whole or by page, streamed where they are long, and every page reachable by its Link."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from ociserver import Annotations, Backend, Descriptor, Handler, Memory, OCIError
from ociserver.handler.referrers import PIECE
from tests.contract.contents import (
    IMAGE,
    INDEX,
    REPOSITORY,
    descriptor,
    digest_of,
    index,
    push_blob,
    push_manifest,
)
from tests.handler.driver import Exchange, Reply, body_messages, make_scope, request
from tests.handler.registry import TAGS

pytestmark = pytest.mark.anyio

SUBJECT = digest_of(b"subject")
REFERRERS = f"/v2/{REPOSITORY}/referrers/{SUBJECT}"


class Names(Backend):
    """Lists as long as wanted, made while they are read. Notes how much was asked for and how much was read."""

    def __init__(self, count: int, *, fail_at: int = -1, annotation: str = "") -> None:
        self.count = count
        self.read = 0
        self.limits: list[int | None] = []
        self._fail_at = fail_at
        self._annotation = annotation

    async def _names(self, start_after: str, limit: int | None, width: int) -> AsyncIterator[str]:
        self.limits.append(limit)
        first = int(start_after[-width:], 16) + 1 if start_after else 0
        for number in range(first, self.count):
            if number == self._fail_at:
                raise OCIError("DENIED")
            self.read += 1
            yield f"{number:0{width}x}"

    def tags(self, repository: str, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]:
        return self._names(start_after, limit, 8)

    def repositories(self, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]:
        return self._names(start_after, limit, 8)

    async def referrers(
        self,
        repository: str,
        digest: str,
        artifact_type: str | None = None,
        *,
        start_after: str = "",
        limit: int | None = None,
    ) -> AsyncIterator[Descriptor]:
        async for name in self._names(start_after, limit, 64):
            yield Descriptor(IMAGE, f"sha256:{name}", 5, artifact_type, {"text": self._annotation})


def names_of(reply: Reply) -> list[str]:
    document = reply.json()
    names: list[str] = document["tags"] if "tags" in document else document["repositories"]
    return names


def next_of(reply: Reply) -> str | None:
    """Where the next page is, or None."""
    links = reply.all("link")
    if not links:
        return None
    (link,) = links
    assert link.startswith("<")
    assert link.endswith('>;rel="next"')
    return link[1 : -len('>;rel="next"')]


async def pages_of(application: Handler, path: str) -> list[Reply]:
    """Every page from here on, as a client follows them."""
    replies: list[Reply] = []
    target: str | None = path
    while target:
        reply = await request(application, "GET", target)
        assert reply.status == 200
        replies.append(reply)
        target = next_of(reply)
    return replies


LISTS = pytest.mark.parametrize("path", [TAGS, "/v2/_catalog"])


@LISTS
@pytest.mark.parametrize("count", [0, 1, 999, 1000, 1001, 2500])
async def test_a_whole_list(path: str, count: int) -> None:
    reply = await request(Handler(Names(count)), "GET", path)
    assert (reply.status, reply["content-type"]) == (200, "application/json")
    assert names_of(reply) == [f"{number:08x}" for number in range(count)]
    assert not reply.all("link")
    assert set(reply.json()) == ({"name", "tags"} if path == TAGS else {"repositories"})
    assert not reply.all("content-length") or reply["content-length"] == str(len(reply.body))


@LISTS
async def test_a_long_list_is_sent_while_it_is_read(path: str) -> None:
    backend = Names(50_000)
    read_at: list[int] = []
    exchange = Exchange(body_messages([]))

    async def send(message: Any) -> None:
        read_at.append(backend.read)
        await exchange.send(message)

    await Handler(backend)(make_scope("GET", path), exchange.receive, send)
    assert len(names_of(exchange.reply)) == 50_000
    steps = [after - before for before, after in zip([0, *read_at], read_at, strict=False)]
    assert max(steps) <= 1001
    assert max(map(len, exchange.reply.pieces)) < 20_000


@LISTS
@pytest.mark.parametrize("fail_at, status", [(0, 403), (500, 403), (1000, 403)])
async def test_a_list_that_fails_early_is_an_error(path: str, fail_at: int, status: int) -> None:
    for query in ("", "?n=2000"):
        reply = await request(Handler(Names(5000, fail_at=fail_at)), "GET", path + query)
        assert (reply.status, reply.code) == (status, "DENIED")


@LISTS
async def test_a_list_that_fails_late_is_cut(path: str) -> None:
    exchange = Exchange(body_messages([]))
    with pytest.raises(OCIError):
        await Handler(Names(5000, fail_at=3000))(make_scope("GET", path), exchange.receive, exchange.send)
    assert (exchange.reply.status, exchange.reply.complete) == (200, False)


@LISTS
@pytest.mark.parametrize("count, size", [(10, 3), (9, 3), (10, 1), (2, 2), (3, 4), (0, 2)])
async def test_pages(path: str, count: int, size: int) -> None:
    backend = Names(count)
    replies = await pages_of(Handler(backend), f"{path}?n={size}")
    assert [name for reply in replies for name in names_of(reply)] == [f"{number:08x}" for number in range(count)]
    # An exactly full last page has no Link, so there is no empty one after it.
    assert [len(names_of(reply)) for reply in replies[:-1]] == [size] * (max(count - 1, 0) // size)
    assert all(limit is not None and limit <= size + 1 for limit in backend.limits)


@LISTS
async def test_a_page_costs_a_page(path: str) -> None:
    backend = Names(1_000_000)
    await request(Handler(backend), "GET", f"{path}?n=100&last=000f0000")
    assert (backend.read, backend.limits) == (101, [101])


@LISTS
async def test_a_page_is_bounded(path: str) -> None:
    backend = Names(100_000)
    reply = await request(Handler(backend), "GET", f"{path}?n=9223372036854775807")
    assert 0 < len(names_of(reply)) < 100_000
    link = next_of(reply)
    assert link is not None
    assert parse_qs(urlsplit(link).query)["last"] == [names_of(reply)[-1]]


@LISTS
async def test_a_link_keeps_the_other_parameters(path: str) -> None:
    query = "?ns=docker.io&n=2&unknown=a%20b%26&empty=&last=00000003"
    reply = await request(Handler(Names(50)), "GET", path + query)
    link = next_of(reply)
    assert link is not None
    assert link.startswith(f"{path}?")
    assert parse_qs(urlsplit(link).query, keep_blank_values=True) == {
        "ns": ["docker.io"],
        "n": ["2"],
        "unknown": ["a b&"],
        "empty": [""],
        "last": ["00000005"],
    }


@LISTS
async def test_after_a_name(path: str) -> None:
    application = Handler(Names(10))
    for query in ("?last=00000007", "?n=5&last=00000007", "?n=&last=00000007"):
        assert names_of(await request(application, "GET", path + query)) == ["00000008", "00000009"]
    assert names_of(await request(application, "GET", path + "?last=00000009")) == []


@LISTS
@pytest.mark.parametrize(
    "n", ["x", "1.5", "1e3", "1_0", "0x10", "%205", "5%20", "9223372036854775808", "%D9%A1", "5,", "--5"]
)
async def test_a_malformed_n(path: str, n: str) -> None:
    reply = await request(Handler(Names(10)), "GET", f"{path}?n={n}")
    assert (reply.status, reply.code) == (400, "UNKNOWN")
    assert reply.message == "query parameter n is not a valid integer"


@LISTS
@pytest.mark.parametrize("n, length", [("%2B5", 5), ("05", 5), ("", 10), ("0", 0), ("-0", 0)])
async def test_an_unusual_n(path: str, n: str, length: int) -> None:
    reply = await request(Handler(Names(10)), "GET", f"{path}?n={n}")
    assert (reply.status, len(names_of(reply))) == (200, length)
    if not length:
        assert not reply.all("link")


async def test_a_repository_of_slashes_in_a_link() -> None:
    backend = Memory()
    await push_manifest(backend, b"text", "text/plain", "a", "b", "c", repository="x/y/z")
    reply = await request(Handler(backend), "GET", "/v2/x%2Fy%2Fz/tags/list?n=1")
    link = next_of(reply)
    assert link is not None
    assert names_of(await request(Handler(backend), "GET", link)) == ["b"]


async def test_names_in_a_link_are_escaped() -> None:
    backend = Memory()
    for name in ("a/b", "a/c"):
        await push_blob(backend, b"text", name)
    link = next_of(await request(Handler(backend), "GET", "/v2/_catalog?n=1"))
    assert link in (f"/v2/_catalog?n=1&last={quote('a/b', safe='')}", "/v2/_catalog?n=1&last=a/b")


async def test_tags_of_an_unknown_repository() -> None:
    reply = await request(Handler(Memory()), "GET", TAGS)
    assert (reply.status, reply.code) == (404, "NAME_UNKNOWN")


# Referrers


async def test_referrers_of_an_unknown_repository() -> None:
    # Spec: "the registry MUST NOT return a 404 Not Found to a referrers API requests."
    reply = await request(Handler(Memory()), "GET", REFERRERS)
    assert (reply.status, reply["content-type"]) == (200, INDEX)
    assert reply.json() == {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}
    assert reply["content-length"] == str(len(reply.body))


async def test_a_referrer() -> None:
    backend = Memory()
    annotations = {"quote": '"\\', "unicode": "grüße 🎉", "": ""}
    content = index(
        subject=descriptor(IMAGE, b"subject"), artifactType="application/vnd.example", annotations=annotations
    )
    await push_manifest(backend, content, INDEX)
    (entry,) = (await request(Handler(backend), "GET", REFERRERS)).json()["manifests"]
    assert entry == {
        **descriptor(INDEX, content),
        "artifactType": "application/vnd.example",
        "annotations": annotations,
    }


async def test_a_referrer_without_type_or_annotations() -> None:
    backend = Memory()
    content = index(subject=descriptor(IMAGE, b"subject"))
    await push_manifest(backend, content, INDEX)
    (entry,) = (await request(Handler(backend), "GET", REFERRERS)).json()["manifests"]
    assert entry == descriptor(INDEX, content)


async def test_a_filter() -> None:
    reply = await request(Handler(Names(3)), "GET", f"{REFERRERS}?artifactType=application%2Fx%2Bjson")
    assert reply["oci-filters-applied"] == "artifactType"
    assert {entry["artifactType"] for entry in reply.json()["manifests"]} == {"application/x+json"}
    # An empty filter is none.
    assert not (await request(Handler(Names(3)), "GET", f"{REFERRERS}?artifactType=")).all("oci-filters-applied")


@pytest.mark.parametrize("artifact_type", ["application/vnd.x+json", "application%2Fvnd.x%2Bjson"])
async def test_a_plus_in_a_filter_is_a_plus(artifact_type: str) -> None:
    """Many clients do not escape it, and no media type has the space that a form would make of it."""
    backend = Memory()
    for kind in ("application/vnd.x+json", "application/vnd.other"):
        content = index(subject=descriptor(IMAGE, b"subject"), artifactType=kind)
        await push_manifest(backend, content, INDEX)
    reply = await request(Handler(backend), "GET", f"{REFERRERS}?artifactType={artifact_type}")
    assert [entry["artifactType"] for entry in reply.json()["manifests"]] == ["application/vnd.x+json"]


@pytest.mark.parametrize("count, pages", [(0, 1), (1000, 1), (1001, 2), (2500, 3)])
async def test_referrers_by_the_thousand(count: int, pages: int) -> None:
    backend = Names(count)
    replies = await pages_of(Handler(backend), f"{REFERRERS}?artifactType=a%2Fb&ns=x")
    assert len(replies) == pages
    digests = [entry["digest"] for reply in replies for entry in reply.json()["manifests"]]
    assert digests == [f"sha256:{number:064x}" for number in range(count)]
    assert {reply["oci-filters-applied"] for reply in replies} == {"artifactType"}
    assert all(limit == 1001 for limit in backend.limits)


@pytest.mark.parametrize("annotation", ["x" * 40_000, "grüße 🎉" * 4000, '"' * 30_000, "\x01" * 10_000])
async def test_referrers_by_the_megabyte(annotation: str) -> None:
    backend = Names(300, annotation=annotation)
    replies = await pages_of(Handler(backend), REFERRERS)
    assert len(replies) > 1
    # Clients bound an index as they bound any manifest.
    assert max(len(reply.body) for reply in replies) <= 4 * 1024 * 1024
    assert sum(len(reply.json()["manifests"]) for reply in replies) == 300


async def test_a_page_of_referrers_is_bounded_to_the_byte() -> None:
    """With entries of 64 KiB, which would fill 4 MiB exactly without the rest of the index."""
    (reply,) = await pages_of(Handler(Names(1)), REFERRERS)
    without = len(json.dumps(reply.json()["manifests"][0], separators=(",", ":"))) + 1
    backend = Names(100, annotation="x" * (64 * 1024 - without))
    replies = await pages_of(Handler(backend), REFERRERS)
    assert max(len(reply.body) for reply in replies) <= 4 * 1024 * 1024


async def test_one_referrer_that_fills_a_page() -> None:
    replies = await pages_of(Handler(Names(3, annotation="x" * (4 * 1024 * 1024))), REFERRERS)
    assert [len(reply.json()["manifests"]) for reply in replies] == [1, 1, 1]


async def test_no_more_is_read_than_fills_a_page() -> None:
    """And one more, which shows that there is a next page."""
    backend = Names(1000, annotation="x" * (1024 * 1024))
    reply = await request(Handler(backend), "GET", REFERRERS)
    assert len(reply.json()["manifests"]) == 3
    assert backend.read == 4


async def test_a_large_page_is_sent_piece_by_piece() -> None:
    """A client that is slow to take it does not have it twice."""
    for size in (10, 100_000, 300_000, 1_000_000, 4_000_000):
        reply = await request(Handler(Names(7, annotation="x" * size)), "GET", REFERRERS)
        assert reply.complete
        assert reply["content-length"] == str(len(reply.body))
        assert max(map(len, reply.pieces)) <= PIECE
        assert (len(reply.pieces) == 1) == (len(reply.body) <= PIECE)
        assert all(entry["annotations"] == {"text": "x" * size} for entry in reply.json()["manifests"])


async def test_annotations_that_are_json_are_sent_as_they_are() -> None:
    class Verbatim(Backend):
        async def referrers(self, *_: object, **__: object) -> AsyncIterator[Descriptor]:
            yield Descriptor(IMAGE, digest_of(b"one"), 3, None, Annotations(b'{ "not" :"\\u0070arsed"}'))
            yield Descriptor(IMAGE, digest_of(b"two"), 3, None, Annotations(b"{}"))

    reply = await request(Handler(Verbatim()), "GET", REFERRERS)
    assert b'"annotations":{ "not" :"\\u0070arsed"}}' in reply.body
    assert "annotations" not in reply.json()["manifests"][1]


async def test_a_list_is_closed_when_it_is_left() -> None:
    closed: list[str] = []

    class Watched(Backend):
        async def tags(self, repository: str, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]:
            try:
                while True:
                    yield f"tag-{len(closed)}"
            finally:
                closed.append(repository)

    reply = await request(Handler(Watched()), "GET", f"{TAGS}?n=3")
    assert (reply.status, closed) == (200, [REPOSITORY])


async def test_lists_are_json_for_any_name() -> None:
    """A backend may have names that the grammar does not allow. A list still has to show them."""

    class Odd(Backend):
        async def tags(self, repository: str, *, start_after: str = "", limit: int | None = None) -> AsyncIterator[str]:
            for tag in ['"', "\\", "grüße", "\n", "\udc80", "</script>"]:
                yield tag

    reply = await request(Handler(Odd()), "GET", TAGS)
    assert len(json.loads(reply.body)["tags"]) == 6


async def test_referrers_are_json_whatever_they_say() -> None:
    odd = ['"', "\\", "grüße", "\n\x00\x1f", "</script>", "\u2028", "{}"]
    said = Descriptor('a/"b"', digest_of(b"one"), 2**53, 'c/"d"\n', {f"name {text}": f"value {text}" for text in odd})

    class Odd(Backend):
        async def referrers(self, *_: object, **__: object) -> AsyncIterator[Descriptor]:
            yield said
            yield Descriptor("", digest_of(b"two"), 0, None, {"": "\udc80"})

    reply = await request(Handler(Odd()), "GET", REFERRERS)
    first, second = json.loads(reply.body)["manifests"]
    assert first == {
        "mediaType": said.media_type,
        "digest": said.digest,
        "size": said.size,
        "artifactType": said.artifact_type,
        "annotations": said.annotations,
    }
    assert second == {"mediaType": "", "digest": digest_of(b"two"), "size": 0, "annotations": {"": "?"}}
