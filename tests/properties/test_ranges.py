"""Ranges, compared with RFC 9110 and with slices in Python."""

from __future__ import annotations

import asyncio
import re

from hypothesis import example, given, settings
from hypothesis import strategies as st

from ociserver import ByteRange, Handler, Memory, OCIError
from ociserver._core import parse_content_range, parse_range
from tests.contract.contents import REPOSITORY, digest_of, push_blob
from tests.handler.driver import request
from tests.handler.test_ranges import parts_of

numbers = st.integers(0, 60)
closed = st.tuples(numbers, numbers).map(sorted).map(lambda ends: (ends[0], ends[1]))
opened = numbers.map(lambda first: (first, None))
suffixes = numbers.map(lambda last: (None, last))
ranges: st.SearchStrategy[tuple[int | None, int | None]] = closed | opened | suffixes


def sliced(content: bytes, first: int | None, last: int | None) -> bytes:
    """The bytes of a range (RFC 9110, 14.1.2), as a slice."""
    if first is None:
        assert last is not None
        return content[-last:] if last else b""
    return content[first:] if last is None else content[first : last + 1]


def spelled(first: int | None, last: int | None) -> str:
    return f"{'' if first is None else first}-{'' if last is None else last}"


@given(ranges, st.binary(max_size=50))
def test_a_range_is_a_slice(ends: tuple[int | None, int | None], content: bytes) -> None:
    span = ByteRange(*ends).resolve(len(content))
    wanted = sliced(content, *ends)
    assert (content[span[0] : span[1]] if span else b"") == wanted
    # An empty range is not satisfiable: 416, and not an empty 206.
    assert (span is None) == (not wanted)


@given(st.lists(ranges, min_size=1, max_size=20))
def test_a_header_is_parsed_into_its_ranges(wanted: list[tuple[int | None, int | None]]) -> None:
    header = "bytes=" + ", ".join(spelled(*ends) for ends in wanted)
    found = parse_range(header.encode())
    assert found is not None
    assert [(one.first, one.last) for one in found] == wanted


# RFC 9110, 14.1.1 and 14.1.2: int-range = first-pos "-" [ last-pos ]; suffix-range = "-" suffix-length.
_RANGE_SPEC = r"[ \t]*([0-9]+[ \t]*-[ \t]*([0-9]+)?|-[ \t]*[0-9]+)[ \t]*"
RANGE_SET = re.compile(rf"bytes[ \t]*=({_RANGE_SPEC}(,|$))+", re.ASCII | re.IGNORECASE)


@given(st.text(alphabet="0123456789-, =x", max_size=20))
@example(",,0-")
@example(" , ,0-1, ,-2,")
def test_malformed_ranges_are_refused(text: str) -> None:
    """Only headers that match the grammar are accepted. first > last matches it, and is refused too."""
    header = f"bytes={text}"
    try:
        found = parse_range(header.encode())
    except OCIError as error:
        assert error.code == "RANGE_INVALID"  # noqa: PT017
        return
    if found is None:
        assert not text.strip(" ,")
        return
    # A recipient must ignore empty elements of a list (RFC 9110, 5.6.1.2).
    assert RANGE_SET.fullmatch("bytes=" + ",".join(element for element in text.split(",") if element.strip()))
    assert all(one.last is None or one.first is None or one.first <= one.last for one in found)


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_a_content_range_is_two_numbers(first: int, last: int) -> None:
    header = f"{first}-{last}".encode()
    # Some clients send `N-(N-1)` for no bytes at N.
    if last >= first - 1:
        assert parse_content_range(header) == (first, last)
        return
    code = None
    try:
        parse_content_range(header)
    except OCIError as error:
        code = error.code
    assert code == "UNSUPPORTED"


@given(st.lists(ranges, min_size=2, max_size=6), st.binary(min_size=1, max_size=50))
@settings(max_examples=50)
def test_several_ranges_return_each_requested_byte_once(
    wanted: list[tuple[int | None, int | None]], content: bytes
) -> None:
    async def ask() -> None:
        backend = Memory()
        path = f"/v2/{REPOSITORY}/blobs/{digest_of(content)}"
        await push_blob(backend, content)
        header = "bytes=" + ",".join(spelled(*ends) for ends in wanted)
        reply = await request(Handler(backend), "GET", path, headers={"range": header})
        asked: set[int] = set()
        for first, last in wanted:
            length = len(sliced(content, first, last))
            start = len(content) - length if first is None else first
            asked |= set(range(start, start + length))
        if not asked:
            assert reply.status == 416
            return
        sent: list[int] = []
        for content_range, data in parts_of(reply):
            found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", content_range)
            assert found
            first, last, size = map(int, found.groups())
            assert size == len(content)
            assert data == content[first : last + 1]
            sent += range(first, last + 1)
        # Every requested byte, and none twice.
        assert sorted(sent) == sorted(asked)

    asyncio.run(ask())
