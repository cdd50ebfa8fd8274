"""The registry of the fixture: where it is, what it holds, what it records, who may use it."""

from __future__ import annotations

import gc
import gzip
import hashlib
import io
import json
import socket
import ssl
import subprocess
import tarfile
import threading
import time
from pathlib import Path

import httpx
import pytest

from ociserver import Memory, OCIError, Options
from ociserver.testing import Registry
from ociserver.testing.plugin import RegistryFactory
from tests.support.tools import require_tool

START_S = 0.05
"""The most that a start may take, once everything is imported."""


def client_of(registry: Registry, **arguments: object) -> httpx.Client:
    return httpx.Client(base_url=registry.url, trust_env=False, **arguments)  # type: ignore[arg-type]


def run(*arguments: str | Path, **environment: str) -> str:
    """Run a client. Returns what it prints, also if it fails."""
    done = subprocess.run(
        [*map(str, arguments)], env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    return f"{done.stdout}{done.stderr}" if done.returncode == 0 else f"{done.stdout}{done.stderr}\nfailed"


@pytest.mark.parametrize("tls", [False, True])
def test_it_starts_quickly(*, tls: bool) -> None:
    with Registry(tls=tls):
        pass  # imports what it needs
    times = []
    for _ in range(5):
        began = time.perf_counter()
        registry = Registry(tls=tls)
        with registry:
            times.append(time.perf_counter() - began)
            with client_of(registry, verify=registry.ssl_context() if tls else True) as client:
                assert client.get("/v2/").status_code == 200
    # Other processes of the machine only make it slower.
    assert min(times) < START_S, times


def test_nothing_is_left_of_it() -> None:
    before = set(threading.enumerate())
    with Registry(tls=True) as registry, socket_of(registry):
        file = registry.ca_file
        assert file.read_bytes().startswith(b"-----BEGIN CERTIFICATE-----")
    assert set(threading.enumerate()) == before
    assert not file.parent.exists()
    with pytest.raises(ConnectionRefusedError):
        socket_of(registry)
    with pytest.raises(RuntimeError, match="does not run"):
        registry.push("app", "v1")
    registry.stop()


@pytest.mark.parametrize("tls", [False, True])
def test_a_connection_that_has_just_arrived_is_closed(*, tls: bool) -> None:
    """Otherwise the next garbage collection would warn of an open socket, which is an error here."""
    for _ in range(30):
        with Registry(tls=tls) as registry, socket_of(registry):
            pass
    gc.collect()


def socket_of(registry: Registry) -> socket.socket:
    return socket.create_connection(("127.0.0.1", registry.port), timeout=10)


def test_an_artifact(oci_registry: Registry, tmp_path: Path) -> None:
    """A client finds what was pushed, and the manifest is that of the artifact guidelines."""
    (tmp_path / "data").write_bytes(b"\0\1\2")
    pushed = oci_registry.push(
        "team/models",
        "v1",
        {"readme.txt": "text", "raw": b"bytes", "data.bin": tmp_path / "data"},
        artifact_type="application/vnd.example.model",
        annotations={"key": "value"},
    )
    oras = require_tool("oras")
    output = run(oras, "pull", "--plain-http", "-o", tmp_path / "out", pushed.reference, HOME=str(tmp_path))
    assert "Pulled" in output, output
    files = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert files == {"readme.txt": b"text", "raw": b"bytes", "data.bin": b"\0\1\2"}
    assert pushed.json["artifactType"] == "application/vnd.example.model"
    assert pushed.json["annotations"] == {"key": "value"}
    assert pushed.digest == f"sha256:{hashlib.sha256(pushed.content).hexdigest()}"

    signature = oci_registry.push("team/models", None, {}, artifact_type="application/vnd.example.sig", subject=pushed)
    output = run(oras, "discover", "--plain-http", "--format", "json", pushed.reference, HOME=str(tmp_path))
    assert [each["digest"] for each in json.loads(output)["referrers"]] == [signature.digest]


def test_an_image_that_a_runtime_can_unpack(oci_registry: Registry, tmp_path: Path) -> None:
    image = oci_registry.image("app", "v1", layers=[{"etc/motd": "one"}, {"/bin/run": b"two"}], config={"Env": ["A=b"]})
    crane = require_tool("crane")
    assert run(crane, "validate", "--insecure", "--remote", image.reference, HOME=str(tmp_path)).startswith("PASS")
    config = json.loads(run(crane, "config", "--insecure", image.by_digest, HOME=str(tmp_path)))
    assert config["config"] == {"Env": ["A=b"]}
    first = oci_registry.blob("app", image.json["layers"][0]["digest"])
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(first))) as archive:
        assert archive.getnames() == ["etc", "etc/motd"]


def test_an_image_for_several_platforms(oci_registry: Registry, tmp_path: Path) -> None:
    index = oci_registry.image("app", "v1", platforms=["linux/amd64", "linux/arm64/v8"])
    output = run(
        require_tool("skopeo"), "inspect", "--tls-verify=false", "--override-arch", "arm64", "--override-variant", "v8",
        f"docker://{index.reference}", HOME=str(tmp_path), PATH="/usr/bin:/bin",
    )  # fmt: skip
    assert json.loads(output)["Architecture"] == "arm64"
    assert run(
        require_tool("crane"), "digest", "--insecure", "--platform", "linux/arm64/v8", index.reference,
        HOME=str(tmp_path),
    ).strip() == index.manifests["linux/arm64/v8"].digest  # fmt: skip
    with pytest.raises(ValueError, match="'linux' is not a platform"):
        oci_registry.image("app", platform="linux")
    with pytest.raises(ValueError, match="either `files`"):
        oci_registry.image("app", files={}, layers=[])


def test_what_a_client_has_pushed(oci_registry: Registry) -> None:
    blob = oci_registry.push_blob("app", b"config", media_type="application/json")
    image_type = "application/vnd.oci.image.manifest.v1+json"
    document = {
        "schemaVersion": 2,
        "mediaType": image_type,
        "config": {"mediaType": blob.media_type, "digest": blob.digest, "size": blob.size},
        "layers": [],
    }
    with client_of(oci_registry) as client:
        client.put("/v2/app/manifests/v1", json=document, headers={"Content-Type": image_type})
    assert oci_registry.repositories() == ["app"]
    assert oci_registry.tags("app") == ["v1"]
    assert oci_registry.tags("absent") == []
    assert oci_registry.manifest("app", "v1") == document
    assert oci_registry.manifest("app", oci_registry.digest("app", "v1")) == document
    assert oci_registry.blob("app", blob.digest) == b"config"
    again = oci_registry.push_manifest("app", "v2", document)
    assert oci_registry.tags("app") == ["v1", "v2"]
    assert again.json == document
    with pytest.raises(OCIError):
        oci_registry.manifest("app", "absent")
    with pytest.raises(ValueError, match="no `mediaType`"):
        oci_registry.push_manifest("app", None, {"schemaVersion": 2})


def test_what_was_asked(oci_registry: Registry) -> None:
    image = oci_registry.image("team/app", "v1")
    with client_of(oci_registry) as client:
        client.head(f"/v2/team/app/blobs/{image.blobs[0].digest}", headers={"X-Note": "yes"})
        client.get("/v2/team/app/tags/list?n=5")
        client.get("/v2/team/app/manifests/absent")
        client.get("/nothing")
    blob, tags, absent, nothing = oci_registry.requests
    assert (blob.method, blob.kind, blob.repository, blob.reference, blob.status) == (
        "HEAD", "blob_head", "team/app", image.blobs[0].digest, 200,
    )  # fmt: skip
    assert blob.headers["x-note"] == "yes"
    assert (tags.path, tags.query, tags.target) == ("/v2/team/app/tags/list", "n=5", "/v2/team/app/tags/list?n=5")
    assert (absent.reference, absent.status) == ("absent", 404)
    assert (nothing.kind, str(nothing)) == (None, "GET /nothing 404")
    host = oci_registry.host
    oci_registry.reset()
    assert (oci_registry.requests, oci_registry.repositories(), oci_registry.host) == ([], [], host)


def test_signing_in(oci_registry_factory: RegistryFactory, tmp_path: Path) -> None:
    registry = oci_registry_factory(auth=True)
    assert registry.credentials
    user, password = registry.credentials
    assert password not in repr(registry.credentials)
    registry.image("app", "v1")
    crane = require_tool("crane")
    assert "UNAUTHORIZED" in run(crane, "ls", "--insecure", f"{registry.host}/app", HOME=str(tmp_path))
    run(crane, "auth", "login", "--insecure", registry.host, "-u", user, "-p", password, HOME=str(tmp_path))
    assert run(crane, "ls", "--insecure", f"{registry.host}/app", HOME=str(tmp_path)).split() == ["v1"]
    # The token flow: a challenge, the token endpoint, and the request again with the token.
    flow = registry.requests[-4:]
    assert [(each.kind, each.status) for each in flow] == [
        ("ping", 401), ("token", 200), ("tags_list", 200),
    ][-len(flow):] or [each.kind for each in flow][-3:] == ["ping", "token", "tags_list"]  # fmt: skip
    assert flow[-2].headers["authorization"].startswith("Basic ")
    assert flow[-1].headers["authorization"].startswith("Bearer ")
    with client_of(registry, auth=(user, "wrong")) as client:
        assert client.get("/v2/token").status_code == 401


def test_everybody_may_pull(oci_registry_factory: RegistryFactory, tmp_path: Path) -> None:
    registry = oci_registry_factory(auth="push")
    image = registry.image("app", "v1")
    crane = require_tool("crane")
    assert run(crane, "digest", "--insecure", image.reference, HOME=str(tmp_path)).strip() == image.digest
    assert registry.requests[-2].kind == "token"
    assert "failed" in run(crane, "tag", "--insecure", image.reference, "v2", HOME=str(tmp_path))
    given = oci_registry_factory(auth=("robot*", "secret"))
    assert given.credentials == ("robot*", "secret")
    with client_of(given, auth=given.credentials) as client:
        assert client.get("/v2/").status_code == 200


def test_tls(oci_registry_factory: RegistryFactory) -> None:
    registry, other = oci_registry_factory(tls=True), oci_registry_factory(tls=True)
    with client_of(registry, verify=ssl.create_default_context(cafile=registry.ca_file)) as client:
        assert client.get("/v2/").status_code == 200
    with client_of(registry, verify=other.ssl_context()) as client, pytest.raises(httpx.ConnectError, match="CERT"):
        client.get("/v2/")
    with pytest.raises(ValueError, match="tls=True"):
        _ = oci_registry_factory().ca_file


def test_a_registry_that_cannot_be_made_keeps_no_port() -> None:
    with pytest.raises(TypeError, match="is not a backend"):
        Registry(backend=dict)  # type: ignore[arg-type]
    gc.collect()  # warns of a socket that is open, and warnings are errors


def test_options_and_backend(oci_registry_factory: RegistryFactory) -> None:
    registry = oci_registry_factory(
        options=Options(disable_referrers_api=True), backend=lambda: Memory(immutable_tags=True)
    )
    first = registry.push("app", "v1")
    with pytest.raises(OCIError, match="immutable"):
        registry.push("app", "v1", {"other": "content"})
    with client_of(registry) as client:
        assert client.get(f"/v2/app/referrers/{first.digest}").status_code == 404
