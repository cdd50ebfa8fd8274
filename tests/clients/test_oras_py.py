"""oras-py (on PyPI: oras): artifacts from Python, in one request or in chunks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from oras.client import OrasClient  # type: ignore[import-untyped]
from oras.oci import Subject  # type: ignore[import-untyped]

from tests.support.http import send
from tests.support.images import digest_of, random_bytes
from tests.support.server import Server

CHUNK = 100_000


@pytest.fixture
def client(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OrasClient]:
    # It looks for credentials in HOME.
    monkeypatch.setenv("HOME", str(tmp_path))
    client = OrasClient(hostname=server.address, insecure=True)
    yield client
    client.session.close()


@pytest.mark.parametrize("chunked", [False, True])
def test_push_and_pull(client: OrasClient, server: Server, tmp_path: Path, *, chunked: bool) -> None:
    content = random_bytes(3 * CHUNK + 1, seed=30)
    file, target = tmp_path / "model.bin", f"{server.address}/oras-py/artifact:{chunked}"
    file.write_bytes(content)
    client.push(target, files=[file], disable_path_validation=True, do_chunked=chunked, chunk_size=CHUNK)
    assert client.get_manifest(target)["layers"][0]["digest"] == digest_of(content)
    (pulled,) = client.pull(target, outdir=str(tmp_path / "out"))
    assert Path(pulled).name == "model.bin"
    assert Path(pulled).read_bytes() == content


def test_a_folder_with_a_subject(client: OrasClient, server: Server, tmp_path: Path) -> None:
    """The client packs the folder into a tar file."""
    folder, target = tmp_path / "data", f"{server.address}/oras-py/folder:v1"
    folder.mkdir()
    (folder / "file").write_bytes(b"in a folder")
    client.push(target, files=[folder], disable_path_validation=True)
    client.pull(target, outdir=str(tmp_path / "out"))
    assert (tmp_path / "out" / "data" / "file").read_bytes() == b"in a folder"

    subject = send(server, "GET", "/v2/oras-py/folder/manifests/v1")
    about = Subject(subject.headers["Content-Type"], digest_of(subject.body), len(subject.body))
    answer = client.push(
        f"{server.address}/oras-py/folder:about", files=[folder / "file"], disable_path_validation=True, subject=about
    )
    assert answer.headers["OCI-Subject"] == about.digest


def test_tags(client: OrasClient, server: Server, tmp_path: Path) -> None:
    file, name = tmp_path / "file", f"{server.address}/oras-py/tags"
    for tag in ("c", "a", "b"):
        file.write_bytes(tag.encode())
        client.push(f"{name}:{tag}", files=[file], disable_path_validation=True)
    assert client.get_tags(name) == ["a", "b", "c"]
    assert client.delete_tags(name, ["a", "absent"]) == ["a"]
    assert client.get_tags(name) == ["b", "c"]
