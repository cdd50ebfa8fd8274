"""The choice of an index's image for a platform."""

from __future__ import annotations

from typing import Any

import pytest

from ociserver import Descriptor, Manifest, Memory
from ociserver.copy import Platform, PlatformError, choose
from tests.contract.contents import CONFIG, IMAGE, INDEX, descriptor, digest_of, encode, image, push_blob, push_manifest

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize(
    "text, parsed",
    [
        ("linux/amd64", Platform("linux", "amd64")),
        ("Linux/x86_64", Platform("linux", "amd64")),
        ("linux/aarch64", Platform("linux", "arm64")),
        ("linux/arm64/v8", Platform("linux", "arm64")),
        ("linux/arm/v7", Platform("linux", "arm", "v7")),
        ("windows/amd64", Platform("windows", "amd64")),
    ],
)
def test_spellings_of_platforms(text: str, parsed: Platform) -> None:
    assert Platform.parse(text) == parsed
    assert Platform.parse(str(parsed)) == parsed


@pytest.mark.parametrize("text", ["", "linux", "linux/", "/amd64", "linux/arm/v7/x", "linux//v7"])
def test_an_invalid_platform(text: str) -> None:
    with pytest.raises(ValueError, match="write linux/amd64"):
        Platform.parse(text)


def entry(number: int, *platform: str) -> dict[str, Any]:
    """An image of an index. It differs from others by its number."""
    names = dict(zip(("os", "architecture", "variant"), platform, strict=False))
    return descriptor(IMAGE, image_of(number), **({"platform": names} if names else {}))


def image_of(number: int) -> bytes:
    return image(b"%d" % number)


@pytest.mark.parametrize(
    "wanted, found",
    [
        ("linux/amd64", 1),
        ("linux/arm64", 2),
        ("linux/arm64/v8", 2),
        ("linux/arm/v6", 3),
        ("linux/arm/v7", 4),
        # Every variant matches, but the image without a variant comes first.
        ("linux/arm", 3),
        ("linux/riscv64", 6),
    ],
)
async def test_the_image_of_a_platform(wanted: str, found: int) -> None:
    backend = Memory(lax_child_references=True)
    entries = [
        entry(0),
        entry(1, "linux", "amd64"),
        entry(2, "linux", "arm64", "v8"),
        entry(3, "linux", "arm", "v6"),
        entry(4, "linux", "arm", "v7"),
        entry(5, "linux", "riscv64", "rva23"),
        entry(6, "linux", "riscv64"),
        entry(7, "unknown", "unknown"),
    ]
    for number in range(8):
        await push_manifest(backend, image_of(number), IMAGE)
    content = encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})
    index = Manifest(Descriptor(INDEX, digest_of(content), len(content)), content)
    chosen = await choose(backend, "group/project", index, Platform.parse(wanted))
    assert chosen.content == image_of(found)
    with pytest.raises(PlatformError, match=r"nothing for windows/amd64; it has linux/amd64, linux/arm/v6") as caught:
        await choose(backend, "group/project", index, Platform.parse("windows/amd64"))
    assert "unknown" not in str(caught.value)


@pytest.mark.parametrize(
    "config, fits",
    [(b'{"os":"linux","architecture":"amd64"}', True), (b'{"os":"linux","architecture":"s390x"}', False)],
)
async def test_the_platform_of_an_image(config: bytes, fits: bool) -> None:  # noqa: FBT001
    backend = Memory()
    await push_blob(backend, config)
    await push_manifest(backend, image(config), IMAGE, "latest")
    manifest = await backend.get_tag("group/project", "latest")
    if fits:
        assert await choose(backend, "group/project", manifest, Platform("linux", "amd64")) is manifest
        return
    with pytest.raises(PlatformError, match="the image is for linux/s390x only"):
        await choose(backend, "group/project", manifest, Platform("linux", "amd64"))


@pytest.mark.parametrize(
    "content", [b"[]", b"{}", b'{"config":{"digest":"x"}}', b'{"manifests":[1,{"platform":5}]}', b"\xff"]
)
async def test_a_manifest_without_a_platform(content: bytes) -> None:
    manifest = Manifest(Descriptor(CONFIG, digest_of(content), len(content)), content)
    with pytest.raises(PlatformError):
        await choose(Memory(), "group/project", manifest, Platform("linux", "amd64"))
