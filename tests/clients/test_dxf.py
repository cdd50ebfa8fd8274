"""python-dxf: named blobs, as manifests of Docker's type. Their config is the first blob."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from dxf import DXF, DXFBase
from requests import HTTPError

from tests.support.images import digest_of, random_bytes
from tests.support.server import Server

MIB = 1 << 20


@pytest.fixture
def registry(server: Server) -> Iterator[DXFBase]:
    with DXFBase(server.address, insecure=True) as registry:
        yield registry


def test_push_and_pull(registry: DXFBase, tmp_path: Path) -> None:
    repository = DXF.from_base(registry, "dxf/blobs")
    contents = [random_bytes(MIB, seed=40), b"small"]
    (tmp_path / "file").write_bytes(contents[0])
    digests = [
        repository.push_blob(str(tmp_path / "file")),
        # It sends an iterator in chunks, without a length.
        repository.push_blob(data=iter([b"sm", b"all"]), digest=digest_of(contents[1])),
    ]
    assert digests == [digest_of(content) for content in contents]
    repository.set_alias("both", *digests)
    assert repository.get_alias("both") == digests
    for digest, content in zip(digests, contents, strict=True):
        assert repository.blob_size(digest) == len(content)
        assert _pull(repository, digest) == content


def test_mount(registry: DXFBase) -> None:
    source, target = DXF.from_base(registry, "dxf/source"), DXF.from_base(registry, "dxf/target")
    digest = source.push_blob(data=iter([b"mounted"]), digest=digest_of(b"mounted"))
    assert target.mount_blob("dxf/source", digest) == digest
    assert _pull(target, digest) == b"mounted"


def test_lists_and_deletes(registry: DXFBase) -> None:
    repository = DXF.from_base(registry, "dxf/lists")
    names = [f"name-{number}" for number in range(5)]
    digests = {}
    for name in names:
        digests[name] = repository.push_blob(data=iter([name.encode()]), digest=digest_of(name.encode()))
        repository.set_alias(name, digests[name])
    # Two in each page: the client finds the rest by the Link header.
    assert repository.list_aliases(batch_size=2) == names
    assert "dxf/lists" in registry.list_repos(batch_size=2)

    assert repository.del_alias(names[0]) == [digests[names[0]]]
    assert repository.list_aliases() == names[1:]
    repository.del_blob(digests[names[0]])
    with pytest.raises(HTTPError, match="404"):
        repository.blob_size(digests[names[0]])


def _pull(repository: DXF, digest: str) -> bytes:
    """The content of a blob. dxf checks the digest at its end."""
    pieces = repository.pull_blob(digest)
    assert not isinstance(pieces, tuple)
    return b"".join(pieces)
