"""What all wrappers share: the error of what they do not pass on, and any object behind them."""

from __future__ import annotations

from typing import Any

import pytest

from ociserver import Backend, Descriptor, Manifest
from ociserver.compose import Immutable, ReadOnly, Select
from tests.contract.contents import REPOSITORY, digest_of
from tests.contract.errors import refused

pytestmark = pytest.mark.anyio


class OnlyTags:
    """An object with one method of the interface."""

    async def get_tag(self, repository: str, tag: str) -> Manifest:
        return Manifest(Descriptor("text/plain", digest_of(b"text"), 4), b"text")


WRAPPERS = pytest.mark.parametrize("wrap", [ReadOnly, Immutable, lambda inner: Select(inner, lambda name: True)])


@WRAPPERS
async def test_anything_with_a_method_can_be_wrapped(wrap: Any) -> None:
    backend = wrap(OnlyTags())
    assert isinstance(backend, Backend)
    assert (await backend.get_tag(REPOSITORY, "latest")).content == b"text"
    with refused("UNSUPPORTED"):
        await backend.get_manifest(REPOSITORY, digest_of(b"text"))


@WRAPPERS
def test_what_is_no_backend_cannot(wrap: Any) -> None:
    with pytest.raises(TypeError, match="is not a backend"):
        wrap(object())


async def test_wrappers_compose() -> None:
    backend = ReadOnly(Select(ReadOnly(OnlyTags()), lambda name: name == REPOSITORY))
    assert (await backend.get_tag(REPOSITORY, "latest")).content == b"text"
    with refused("NAME_UNKNOWN"):
        await backend.get_tag("other", "latest")
    with refused("UNSUPPORTED"):
        await backend.delete_tag(REPOSITORY, "latest")
