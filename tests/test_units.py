"""Sizes, durations and ports as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ociserver.units import format_size, machine_memory, parse_duration, parse_port, parse_size


@pytest.mark.parametrize(
    "text, size",
    [
        ("0", 0),
        ("1", 1),
        ("1000000", 1_000_000),
        ("12B", 12),
        ("1k", 1024),
        ("1K", 1024),
        ("1KiB", 1024),
        ("1kb", 1000),
        ("512MiB", 512 << 20),
        ("512m", 512 << 20),
        ("2 GiB", 2 << 30),
        ("1.5G", 3 << 29),
        ("1.5GB", 1_500_000_000),
        ("1t", 1 << 40),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", " ", "lots", "-1", "1.", ".5", "1e9", "1 kk", "5 %%", "101%", "1_000", "\u0661", "1\n", "9" * 400]
)
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


def test_shares_of_the_memory_that_this_process_can_have() -> None:
    assert parse_size("100%") == machine_memory() > 1 << 20
    assert parse_size("50%") == machine_memory() // 2
    assert parse_size("0%") == 0


@pytest.mark.parametrize(
    "text, seconds",
    [
        ("0", 0),
        ("30", 30),
        ("30s", 30),
        ("1.5s", 1.5),
        ("500ms", 0.5),
        ("5m", 300),
        ("1h", 3600),
        ("2 H", 7200),
        ("90d", 7_776_000),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "soon", "-1", "1w", "1:30", "inf", "nan", "1_0", "1\n", "9" * 400])
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


def test_ports() -> None:
    assert [parse_port(text) for text in ("0", "5000", "65535")] == [0, 5000, 65535]


@pytest.mark.parametrize("text", ["", "http", "-1", "65536", "99999", "5000 ", "5_0", "\u0665"])
def test_no_ports(text: str) -> None:
    with pytest.raises(ValueError, match="is not a port"):
        parse_port(text)


@pytest.mark.parametrize(
    "size, text",
    [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (1536, "1.5 KiB"), (2 << 30, "2 GiB"), (5 << 50, "5120 TiB")],
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert format_size(size) == text


@given(st.integers(0, 1 << 60))
def test_a_size_for_people_can_be_read_back(size: int) -> None:
    assert parse_size(format_size(size)) == pytest.approx(size, rel=0.05)
