"""oras: artifacts, their referrers, single blobs."""

from __future__ import annotations

from pathlib import Path

from tests.support.client import Client
from tests.support.images import digest_of, random_bytes
from tests.support.server import Server


def test_artifact_push_and_pull(server: Server, oras: Client, tmp_path: Path) -> None:
    content = random_bytes(1 << 20, seed=4)
    file = tmp_path / "model.bin"
    file.write_bytes(content)
    artifact = f"{server.address}/oras/artifact:v1"
    _push(oras, artifact, file)
    oras.run("pull", "--plain-http", "--output", tmp_path / "out", artifact)
    assert (tmp_path / "out" / "model.bin").read_bytes() == content
    assert oras.run("repo", "tags", "--plain-http", f"{server.address}/oras/artifact").split() == ["v1"]
    assert "oras/artifact" in oras.run("repo", "ls", "--plain-http", server.address).split()


def test_attach_and_discover(server: Server, oras: Client, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"subject")
    subject = f"{server.address}/oras/subject:v1"
    _push(oras, subject, file)
    attached = {kind: _attach(oras, subject, kind, file) for kind in ("example/sbom", "example/signature")}

    found = oras.json("discover", "--plain-http", "--format", "json", subject)["referrers"]
    assert {entry["artifactType"]: entry["digest"] for entry in found} == attached
    assert {entry["annotations"]["example.key"] for entry in found} == {"value"}
    filtered = oras.json("discover", "--plain-http", "--format", "json", "--artifact-type", "example/sbom", subject)[
        "referrers"
    ]
    assert [entry["digest"] for entry in filtered] == [attached["example/sbom"]]
    # It uses the referrers API. The fallback for older registries would have left a tag.
    assert oras.run("repo", "tags", "--plain-http", f"{server.address}/oras/subject").split() == ["v1"]

    copy = f"{server.address}/oras/copied:v1"
    oras.run("cp", "--recursive", "--from-plain-http", "--to-plain-http", subject, copy)
    found = oras.json("discover", "--plain-http", "--format", "json", copy)["referrers"]
    assert {entry["artifactType"]: entry["digest"] for entry in found} == attached


def test_delete_a_referrer(server: Server, oras: Client, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"subject of one referrer")
    subject = f"{server.address}/oras/unreferred:v1"
    _push(oras, subject, file)
    digest = _attach(oras, subject, "example/sbom", file)
    by_digest = f"{server.address}/oras/unreferred@{digest}"
    oras.run("manifest", "delete", "--plain-http", "--force", by_digest)
    assert "not found" in oras.refused("manifest", "fetch", "--plain-http", by_digest)
    assert oras.json("discover", "--plain-http", "--format", "json", subject)["referrers"] == []
    assert oras.run("resolve", "--plain-http", subject).startswith("sha256:")


def test_blobs(server: Server, oras: Client, tmp_path: Path) -> None:
    content = random_bytes(100_000, seed=5)
    blob = f"{server.address}/oras/blobs@{digest_of(content)}"
    (tmp_path / "in").write_bytes(content)
    oras.run("blob", "push", "--plain-http", blob, tmp_path / "in")
    oras.run("blob", "fetch", "--plain-http", "--output", tmp_path / "out", blob)
    assert (tmp_path / "out").read_bytes() == content
    oras.run("blob", "delete", "--plain-http", "--force", blob)
    assert "not found" in oras.refused("blob", "fetch", "--plain-http", "--output", tmp_path / "gone", blob)


def _push(oras: Client, reference: str, file: Path) -> None:
    # Paths become part of the artifact, so oras refuses absolute ones without this flag.
    oras.run(
        "push", "--plain-http", "--disable-path-validation", "--artifact-type", "example/artifact",
        "--annotation-file", _title(file), reference, f"{file}:application/octet-stream",
    )  # fmt: skip


def _title(file: Path) -> Path:
    """An annotation file that names the layer without its folder, so that a pull writes it into another one."""
    annotations = file.with_name("annotations.json")
    annotations.write_text(f'{{"{file}": {{"org.opencontainers.image.title": "{file.name}"}}}}')
    return annotations


def _attach(oras: Client, subject: str, artifact_type: str, file: Path) -> str:
    attached = oras.json(
        "attach", "--plain-http", "--disable-path-validation", "--format", "json", "--artifact-type", artifact_type,
        "--annotation", "example.key=value", subject, f"{file}:text/plain",
    )  # fmt: skip
    digest: str = attached["digest"]
    return digest
