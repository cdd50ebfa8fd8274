"""regctl (regclient): sha512 digests, referrers with filters, image archives."""

from __future__ import annotations

from pathlib import Path

from tests.support.client import Client
from tests.support.images import Layout, digest_of, random_bytes
from tests.support.server import Server


def test_image_push_copy_export_import(server: Server, regctl: Client, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "in")
    images = [layout.image(random_bytes(1 << 20, seed=6)), layout.image(b"arm64", architecture="arm64")]
    digest = layout.tag(layout.index(*images), "multi")
    repository = f"{server.address}/regctl/image"
    regctl.run("image", "copy", f"ocidir://{layout.path}:multi", f"{repository}:v1")
    regctl.run("image", "copy", f"{repository}:v1", f"{server.address}/regctl/copy:v1")
    assert regctl.run("manifest", "head", f"{server.address}/regctl/copy:v1").strip() == digest

    regctl.run("image", "export", f"{repository}:v1", tmp_path / "image.tar")
    regctl.run("image", "import", f"{server.address}/regctl/imported:v1", tmp_path / "image.tar")
    assert regctl.run("manifest", "head", f"{server.address}/regctl/imported:v1").strip() == digest


def test_lists_and_deletes(server: Server, regctl: Client, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "in")
    digest = layout.tag(layout.image(b"listed"), "v1")
    repository = f"{server.address}/regctl/lists"
    for tag in ("c", "a", "b"):
        regctl.run("image", "copy", f"ocidir://{layout.path}:v1", f"{repository}:{tag}")
    assert regctl.run("tag", "ls", repository).split() == ["a", "b", "c"]
    assert regctl.run("tag", "ls", "--limit", "1", "--last", "a", repository).split() == ["b"]
    assert "regctl/lists" in regctl.run("repo", "ls", server.address).split()

    regctl.run("tag", "rm", f"{repository}:a")
    assert regctl.run("tag", "ls", repository).split() == ["b", "c"]
    assert regctl.run("manifest", "head", f"{repository}:b").strip() == digest
    regctl.run("manifest", "rm", f"{repository}@{digest}")
    assert "not found" in regctl.refused("manifest", "head", f"{repository}:b")


def test_referrers(server: Server, regctl: Client, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "in")
    layout.tag(layout.image(b"subject"), "v1")
    subject = f"{server.address}/regctl/subject:v1"
    regctl.run("image", "copy", f"ocidir://{layout.path}:v1", subject)
    for kind in ("example/sbom", "example/signature"):
        regctl.run("artifact", "put", "--artifact-type", kind, "--subject", subject, stdin=kind.encode())

    found = regctl.json("artifact", "list", "--format", "body", subject)["manifests"]
    assert {entry["artifactType"] for entry in found} == {"example/sbom", "example/signature"}
    filtered = regctl.json("artifact", "list", "--format", "body", "--filter-artifact-type", "example/sbom", subject)[
        "manifests"
    ]
    assert [entry["artifactType"] for entry in filtered] == ["example/sbom"]
    assert (
        regctl.run("artifact", "get", "--subject", subject, "--filter-artifact-type", "example/sbom") == "example/sbom"
    )

    copy = f"{server.address}/regctl/subject-copy:v1"
    regctl.run("image", "copy", "--referrers", subject, copy)
    copied = regctl.json("artifact", "list", "--format", "body", copy)["manifests"]
    assert {entry["digest"] for entry in copied} == {entry["digest"] for entry in found}


def test_sha512_image(server: Server, regctl: Client, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "in")
    layout.tag(layout.index(layout.image(b"amd64"), layout.image(b"arm64", architecture="arm64")), "multi")
    repository = f"{server.address}/regctl/sha512"
    regctl.run("image", "copy", f"ocidir://{layout.path}:multi", f"{repository}:v1")
    regctl.run("image", "mod", f"{repository}:v1", "--digest-algo", "sha512", "--create", "v512")

    digest = regctl.run("manifest", "head", f"{repository}:v512").strip()
    raw = regctl.run("manifest", "get", "--format", "raw-body", f"{repository}@{digest}")
    assert digest == digest_of(raw.encode(), "sha512")
    index = regctl.json("manifest", "get", "--format", "raw-body", f"{repository}:v512")
    manifest = regctl.json("manifest", "get", "--format", "raw-body", f"{repository}@{index['manifests'][0]['digest']}")
    digests = [entry["digest"] for entry in (*index["manifests"], manifest["config"], *manifest["layers"])]
    assert {digest.partition(":")[0] for digest in digests} == {"sha512"}

    # Copied to another repository and exported: the client checks every sha512 digest.
    regctl.run("image", "copy", f"{repository}:v512", f"{server.address}/regctl/sha512-copy:v512")
    regctl.run("image", "copy", f"{server.address}/regctl/sha512-copy:v512", f"ocidir://{tmp_path / 'out'}:v512")
    out = {path.name for path in (tmp_path / "out" / "blobs" / "sha512").iterdir()}
    assert {digest.partition(":")[2] for digest in digests} < out


def test_blobs(server: Server, regctl: Client) -> None:
    repository = f"{server.address}/regctl/blobs"
    content = b"a blob"
    for algorithm in ("sha256", "sha512"):
        digest = digest_of(content, algorithm)
        assert regctl.run("blob", "put", "--digest", digest, repository, stdin=content).strip() == digest
        assert regctl.run("blob", "get", repository, digest) == content.decode()
    # After a push with a wrong digest, neither that digest nor the real one may exist.
    wrong = digest_of(b"another blob")
    regctl.refused("blob", "put", "--digest", wrong, f"{repository}/wrong", stdin=content)
    regctl.refused("blob", "head", f"{repository}/wrong", wrong)
