"""The folder that the server is given is not a store: another registry's, or a link to nothing."""

from __future__ import annotations

from pathlib import Path

from tests.faults.registry import ociserver


def test_one_of_another_registry(tmp_path: Path) -> None:
    (tmp_path / "docker" / "registry" / "v2" / "repositories").mkdir(parents=True)
    (tmp_path / "docker" / "registry" / "v2" / "blobs").mkdir()
    for command in (("serve", "--port", "0"), ("collect",), ("check",), ("delete", "a", "--yes")):
        said = ociserver(*command, "--data", tmp_path, status=1)
        assert len(said.splitlines()) == 1
    said = ociserver("serve", "--port", "0", "--data", tmp_path, status=1)
    assert f"{tmp_path} is not a store of ociserver: it holds the data of distribution" in said
    assert "Nothing was changed" in said
    assert "ociserver copy --all-tags" in said
    assert [path.name for path in tmp_path.iterdir()] == ["docker"]


def test_a_link_to_nothing(tmp_path: Path) -> None:
    link = tmp_path / "data"
    link.symlink_to(tmp_path / "gone")
    for path in (link, link / "below"):
        said = ociserver("serve", "--port", "0", "--data", path, status=1)
        assert len(said.splitlines()) == 1
        assert f"{link} is a symbolic link to {tmp_path / 'gone'}, which does not exist" in said
    assert not (tmp_path / "gone").exists()
