"""A server that is started by distribution's variables, as in place of `registry:2`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import bcrypt

from tests.cli.process import clean_environment, eventually, run_to_end
from tests.container.running import answering, refused, running


def test_without_further_variables_everybody_may_do_everything(tmp_path: Path) -> None:
    with answering(tmp_path, {"REGISTRY_HTTP_SECRET": "unlikely", "REGISTRY_STORAGE_DELETE_ENABLED": "true"}) as server:
        status, headers, _ = server.request("GET", "/v2")
        assert (status, headers["docker-distribution-api-version"]) == (200, "registry/2.0")
        digest = server.push("a/b")
        assert server.health() == 0
        assert "REGISTRY_HTTP_SECRET has no effect" in server.printed()
        assert "unlikely" not in server.printed()
    assert server.health() == 1
    with answering(tmp_path) as server:
        assert server.request("HEAD", f"/v2/a/b/manifests/{digest}")[0] == 200, "it is still there after a restart"
        assert server.request("DELETE", f"/v2/a/b/manifests/{digest}")[0] == 202


def test_a_file_of_users_that_is_copied_in_after_the_start(tmp_path: Path) -> None:
    """As testcontainers' DockerRegistryContainer does: bcrypt with `$2a$`, and `GET /v2` until it is not refused."""
    file = tmp_path / "htpasswd" / "credentials.txt"
    variables = {"REGISTRY_AUTH_HTPASSWD_REALM": "local-registry", "REGISTRY_AUTH_HTPASSWD_PATH": str(file)}
    with running(tmp_path, variables) as server:
        eventually(lambda: "waiting for" in server.printed(), "a notice", server.printed)
        assert not server.is_listening(), "it would have to refuse everybody"
        file.parent.mkdir()
        file.write_bytes(b"alice:" + bcrypt.hashpw(b"alice's secret", bcrypt.gensalt(rounds=4, prefix=b"2a")))
        server.wait()
        assert server.request("GET", "/v2")[0] == 401
        assert server.request("GET", "/v2", user="alice:alice's secret")[0] == 200
        assert server.request("GET", "/v2", user="alice:a wrong secret")[0] == 401
        digest = server.push("a/b", user="alice:alice's secret")
        assert server.request("GET", "/v2/a/b/tags/list")[0] == 401
        assert server.request("DELETE", f"/v2/a/b/manifests/{digest}", user="alice:alice's secret")[0] == 202


def test_it_stops_while_it_waits_for_users(tmp_path: Path) -> None:
    with running(tmp_path, {"REGISTRY_AUTH_HTPASSWD_PATH": str(tmp_path / "nothing")}) as server:
        eventually(lambda: "waiting for" in server.printed(), "a notice", server.printed)


def test_no_deletes(tmp_path: Path) -> None:
    with answering(tmp_path, {"REGISTRY_STORAGE_DELETE_ENABLED": "false"}) as server:
        digest = server.push("a/b")
        status, _, said = server.request("DELETE", f"/v2/a/b/manifests/{digest}")
        assert (status, json.loads(said)["errors"][0]["code"]) == (400, "UNSUPPORTED")
        assert server.request("DELETE", "/v2/a/b/manifests/v1")[0] == 400
        assert server.request("HEAD", "/v2/a/b/manifests/v1")[0] == 200


def test_a_proxy(tmp_path: Path) -> None:
    (tmp_path / "upstream").mkdir()
    (tmp_path / "proxy").mkdir()
    with answering(tmp_path / "upstream") as upstream:
        digest = upstream.push("a/b")
        variables = {"REGISTRY_PROXY_REMOTEURL": f"http://127.0.0.1:{upstream.port}"}
        with answering(tmp_path / "proxy", variables) as proxy:
            status, headers, _ = proxy.request("GET", "/v2/a/b/manifests/v1")
            assert (status, headers["docker-content-digest"]) == (200, digest)
            assert proxy.request("POST", "/v2/mine/blobs/uploads/")[0] == 403


def test_read_only(tmp_path: Path) -> None:
    with answering(tmp_path, {"REGISTRY_STORAGE_MAINTENANCE_READONLY": '{"enabled":true}'}) as server:
        assert server.request("POST", "/v2/a/blobs/uploads/")[0] == 400


def test_what_is_refused_has_one_line_each(tmp_path: Path) -> None:
    variables = {
        "REGISTRY_NOTIFICATIONS_ENDPOINTS_0_URL": "https://user:hidden@a.example",
        "REGISTRY_STORAGE_S3_SECRETKEY": "hidden",
    }
    assert [line.partition(":")[0] for line in refused(tmp_path, variables).splitlines()] == list(variables)
    said = refused(tmp_path, {"REGISTRY_PROXY_REMOTEURL": "https://user:hidden@a.example"})
    assert said.startswith("REGISTRY_PROXY_REMOTEURL: ")
    assert "hidden" not in said


def test_a_configuration_file_beside_variables_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "registry.toml"
    file.write_text('[registry]\nkind = "memory"\n')
    said = refused(tmp_path, {"OCISERVER_CONFIG": str(file)})
    assert "REGISTRY_HTTP_ADDR, REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY" in said


def test_the_folder_of_distribution_is_left_alone(tmp_path: Path) -> None:
    blob = tmp_path / "data" / "docker" / "registry" / "v2" / "blobs" / "sha256" / "aa" / ("aa" * 32) / "data"
    blob.parent.mkdir(parents=True)
    blob.write_text("layer")
    (tmp_path / "data" / "docker" / "registry" / "v2" / "repositories" / "a").mkdir(parents=True)
    before = sorted(tmp_path.joinpath("data").rglob("*"))
    with running(tmp_path) as server:
        assert server.process.wait(30) == 1
        assert "it holds the data of distribution" in server.printed()
        assert "ociserver copy" in server.printed()
    assert sorted(tmp_path.joinpath("data").rglob("*")) == before


def test_commands_find_the_volume() -> None:
    command = [sys.executable, "-m", "ociserver", "check"]
    environment = clean_environment({"OCISERVER_CONTAINER": "1"})
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "/var/lib/registry" in done.stderr


def test_outside_the_image_these_variables_have_no_effect(tmp_path: Path) -> None:
    """Another program's REGISTRY_HTTP_ADDR must not move a server. This one refuses to start for another reason."""
    variables = {"REGISTRY_STORAGE": "s3", "REGISTRY_HTTP_ADDR": ":1"}
    done = run_to_end("--host", "192.0.2.1", "--port", "0", "--memory", environment=clean_environment(variables))
    assert "192.0.2.1" in done.stderr
    assert "REGISTRY" not in done.stderr
