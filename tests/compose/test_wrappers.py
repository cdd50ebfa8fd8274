"""What all wrappers share: the error for calls that they do not support, and any object as their backend."""

from __future__ import annotations

from typing import Any

import pytest

from ociserver import Backend, BlobReader, ByteRange, Descriptor, Manifest, Memory, OCIError
from ociserver.adapt import read_nowait_of
from ociserver.compose import AccessChecker, Debug, Immutable, ReadOnly, Select, Sub, Unify
from tests.contract.contents import BINARY, REPOSITORY, digest_of, push_blob
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
def test_an_object_that_is_not_a_backend_cannot_be_wrapped(wrap: Any) -> None:
    with pytest.raises(TypeError, match="is not a backend"):
        wrap(object())


async def test_wrappers_compose() -> None:
    backend = ReadOnly(Select(ReadOnly(OnlyTags()), lambda name: name == REPOSITORY))
    assert (await backend.get_tag(REPOSITORY, "latest")).content == b"text"
    with refused("NAME_UNKNOWN"):
        await backend.get_tag("other", "latest")
    with refused("UNSUPPORTED"):
        await backend.delete_tag(REPOSITORY, "latest")


async def test_wrappers_that_pass_reads_on_also_answer_without_waiting() -> None:
    memory = Memory()
    digest = await push_blob(memory, b"text")
    for wrap in (ReadOnly, Immutable):
        read_nowait = read_nowait_of(wrap(memory))
        assert read_nowait
        assert read_nowait("blob_get", REPOSITORY, digest) == (Descriptor(BINARY, digest, 4), b"text")
        assert wrap(OnlyTags()).read_nowait("manifest_get", REPOSITORY, "latest") is None
    # A wrapper that checks each read must not answer without its check.
    others = [
        Select(memory, lambda _name: False),
        AccessChecker(memory, lambda _name, _access: None),
        Sub(memory, "team"),
        Debug(memory),
        Unify(memory, Memory()),
        Denying(memory),
    ]
    for other in others:
        assert read_nowait_of(other) is None, other


class Denying(ReadOnly):
    """A wrapper by an author who does not know of `read_nowait`."""

    async def get_blob(self, repository: str, digest: str, range: ByteRange | None = None) -> BlobReader:
        raise OCIError("DENIED")
