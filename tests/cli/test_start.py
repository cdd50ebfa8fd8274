"""The first lines of a server, and the addresses at which it listens."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import subprocess
import sys
from http.client import HTTPSConnection
from pathlib import Path
from typing import Final

import pytest

import ociserver
from ociserver.cli import configured, messages
from ociserver.config import parse
from tests.cli.process import run_to_end, serving
from tests.support.images import Layout
from tests.support.tools import require_tool

CERTIFICATES: Final = Path(__file__).parent / "certificates"
EVERYWHERE: Final = "0.0.0.0"  # noqa: S104 - for the length of a test
TLS: Final = ("--tls-cert", str(CERTIFICATES / "cert.pem"), "--tls-key", str(CERTIFICATES / "key.pem"))


def has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
    return True


def test_the_first_lines(tmp_path: Path) -> None:
    with serving(tmp_path, "--memory-limit", "2GiB") as server:
        image = f"localhost:{server.port}/hello-world"
        assert server.wait_for("docker push").splitlines()[:4] == [
            f"ociserver {ociserver.__version__} listens on http://localhost:{server.port}",
            "  data is kept in memory, 2 GiB at most, and is lost when this process ends",
            (
                "  not protected: everybody on this machine may push, pull and delete; "
                "[auth] of a configuration file sets users and rights"
            ),
            f"  try it: docker pull hello-world && docker tag hello-world {image} && docker push {image}",
        ]
        assert server.get("/v2/") == (200, b""), "it is said when it is so"


def test_the_first_line_as_json(tmp_path: Path) -> None:
    with serving(tmp_path, "--log-format", "json") as server:
        first = json.loads(server.wait_for("docker push").splitlines()[0])
    assert first["url"] == f"http://localhost:{server.port}"
    assert first["message"] == f"listening on http://localhost:{server.port}"
    assert first["level"] == "info"
    assert first["version"] == ociserver.__version__
    assert first["data"].startswith("in memory")
    assert first["push"].startswith("docker pull")


@pytest.mark.parametrize(
    "host, tls, client_certificates, users, found",
    [
        ("localhost", False, False, False, ["everybody on this machine may push, pull and delete"]),
        ("127.0.0.5", False, False, False, ["everybody on this machine may push, pull and delete"]),
        ("::1", False, False, True, []),
        (EVERYWHERE, False, False, False, ["everybody who reaches this port may push", "nothing is encrypted"]),
        ("registry.example", False, False, True, ["nothing is encrypted"]),
        ("registry.example", True, False, False, ["everybody who reaches this port may push"]),
        ("registry.example", True, True, False, ["everybody with a client certificate may push"]),
        ("registry.example", True, False, True, []),
    ],
)
def test_what_is_not_protected(host: str, tls: bool, client_certificates: bool, users: bool, found: list[str]) -> None:  # noqa: FBT001
    lines = messages.unprotected(messages.PUSH, host, tls=tls, client_certificates=client_certificates, users=users)
    assert len(lines) == len(found)
    for line, text in zip(lines, found, strict=True):
        assert line.startswith(text)


def test_a_registry_with_users_warns_only_of_missing_encryption(tmp_path: Path) -> None:
    config = tmp_path / "registry.toml"
    config.write_text(
        f"registry = {MEMORY}\n[auth]\nrules = [{{ anonymous = true, repositories = ['*'], allow = ['pull'] }}]\n"
    )
    with serving(tmp_path, "--config", str(config), "--host", EVERYWHERE, "--log-format", "json") as server:
        first = json.loads(server.wait_for('"push"').splitlines()[0])
    assert [text.partition(",")[0] for text in first["unprotected"]] == ["nothing is encrypted"]


def test_localhost_is_both_loopback_addresses(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        assert server.host == "localhost"
        socket.create_connection(("127.0.0.1", server.port), 5).close()
        if has_ipv6():
            socket.create_connection(("::1", server.port), 5).close()


@pytest.mark.parametrize("host, reached", [("127.0.0.1", "127.0.0.1"), (EVERYWHERE, "127.0.0.1")])
def test_other_hosts(host: str, reached: str, tmp_path: Path) -> None:
    with serving(tmp_path, "--host", host) as server:
        assert f"http://{host}:{server.port}" in server.printed()
        socket.create_connection((reached, server.port), 5).close()


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("host, reached", [("::1", ["::1"]), ("::", ["::1", "127.0.0.1"])])
def test_ipv6_hosts(host: str, reached: list[str], tmp_path: Path) -> None:
    with serving(tmp_path, "--host", host) as server:
        assert f"http://[{host}]:{server.port}" in server.printed()
        for address in reached:
            socket.create_connection((address, server.port), 5).close()


def test_tls(tmp_path: Path) -> None:
    with serving(tmp_path, *TLS) as server:
        assert f"https://localhost:{server.port}" in server.printed()
        context = ssl.create_default_context(cafile=CERTIFICATES / "cert.pem")
        connection = HTTPSConnection("localhost", server.port, context=context, timeout=10)
        connection.request("GET", "/v2/")
        assert connection.getresponse().status == 200
        connection.close()
        server.signal(signal.SIGTERM)
        assert server.exit_status() == 0


def test_environment_variables_set_flags(tmp_path: Path) -> None:
    environment = {
        "OCISERVER_MEMORY_LIMIT": "1MiB",
        "OCISERVER_MAX_LIST_PAGE_SIZE": "7",
        "OCISERVER_ACCESS_LOG": "no",
        "OCISERVER_DEBUG_ID": "mine",
    }
    with serving(tmp_path, environment=environment) as server:
        assert "in memory, 1 MiB at most" in server.printed()
        status, body = server.get("/v2/a/tags/list?n=8")
        assert (status, json.loads(body)["errors"][0]["code"]) == (400, "UNSUPPORTED")
        assert "access" not in server.printed()


def test_a_flag_wins_over_its_environment_variable(tmp_path: Path) -> None:
    environment = {"OCISERVER_MEMORY_LIMIT": "1MiB"}
    with serving(tmp_path, "--memory-limit", "3MiB", environment=environment) as server:
        assert "in memory, 3 MiB at most" in server.printed()


def test_the_memory_flags_reach_the_store(tmp_path: Path) -> None:
    with serving(
        tmp_path, "--memory", "--memory-limit", "16KiB", "--immutable-tags", "--lax-child-references"
    ) as server:
        connection = server.http()
        connection.request("POST", "/v2/a/blobs/uploads/", b"")
        response = connection.getresponse()
        response.read()
        location = response.headers["Location"]
        connection.request("PATCH", location, bytes(32 * 1024))
        response = connection.getresponse()
        assert response.status == 507, "beyond --memory-limit"
        response.read()

        # The manifest's layer is missing. Only a lax registry accepts that.
        layer = {"mediaType": "application/octet-stream", "digest": f"sha256:{'0' * 64}", "size": 1}
        for annotation, status in (("one", 201), ("two", 403)):
            manifest = {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": layer,
                "layers": [],
                "annotations": {"n": annotation},
            }
            content = json.dumps(manifest)
            connection.request("PUT", "/v2/a/manifests/v1", content, {"Content-Type": str(manifest["mediaType"])})
            response = connection.getresponse()
            assert response.status == status, response.read()
            response.read()


@pytest.mark.parametrize(
    "host, tls, command",
    [
        ("localhost", False, "docker push localhost:5000/hello-world"),
        ("127.0.0.1", False, "docker push 127.0.0.1:5000/hello-world"),
        ("::1", False, "docker push [::1]:5000/hello-world"),
        (EVERYWHERE, False, "docker push localhost:5000/hello-world"),
        ("::", False, "docker push localhost:5000/hello-world"),
        ("registry.example", True, "docker push registry.example:5000/hello-world"),
        (
            "10.0.0.7",
            False,
            "--dest-tls-verify=false docker://docker.io/library/hello-world:latest docker://10.0.0.7:5000",
        ),
        ("registry.example", False, "docker://registry.example:5000/hello-world:latest"),
    ],
)
def test_the_push_command_uses_docker_only_where_docker_trusts_the_registry(host: str, tls: bool, command: str) -> None:  # noqa: FBT001
    assert command in messages.push_command(host, 5000, tls=tls)


MEMORY: Final = '{ kind = "memory" }'
HUB: Final = '{ kind = "client", url = "https://docker.io" }'
ELSEWHERE: Final = '{ kind = "client", url = "https://registry.example" }'
CACHE: Final = f'{{ kind = "cache", local = {MEMORY}, upstream = {HUB} }}'

TRIALS: Final = {
    "": ("push", "hello-world"),
    "[server]\nworkers = 1": ("push", "hello-world"),
    f"registry = {MEMORY}": ("push", "hello-world"),
    f'registry = {{ kind = "immutable", backend = {MEMORY} }}': ("push", "hello-world"),
    f'registry = {{ kind = "debug", backend = {MEMORY} }}': ("push", "hello-world"),
    f'registry = {{ kind = "read-only", backend = {MEMORY} }}': ("pull", ""),
    f'registry = {{ kind = "read-only", backend = {CACHE} }}': ("pull", "library/hello-world"),
    f"registry = {HUB}": ("pull", "library/hello-world"),
    f"registry = {ELSEWHERE}": ("pull", ""),
    # A cache.
    f"registry = {CACHE}": ("pull", "library/hello-world"),
    f'registry = {{ kind = "cache", local = {MEMORY}, upstream = {ELSEWHERE} }}': ("pull", ""),
    f'registry = {{ kind = "cache", local-repositories = ["*"], local = {MEMORY}, upstream = {HUB} }}': (
        "pull",
        "library/hello-world",
    ),
    f'registry = {{ kind = "cache", local = {MEMORY}, hosts = {{ "a.example:5000" = {HUB}, "docker.io" = {HUB} }} }}': (
        "pull",
        "a.example_5000/library/hello-world",
    ),
    # Some of the repositories.
    f'registry = {{ kind = "select", exclude = ["secret/*"], backend = {MEMORY} }}': ("push", "hello-world"),
    f'registry = {{ kind = "select", include = ["a", "team/*"], backend = {MEMORY} }}': ("push", "a"),
    f'registry = {{ kind = "select", include = ["team/*"], backend = {MEMORY} }}': ("push", "team/hello-world"),
    f'registry = {{ kind = "select", include = ["[ab]?"], backend = {MEMORY} }}': ("pull", ""),
    f'registry = {{ kind = "select", include = ["team/*"], backend = {CACHE} }}': ("pull", ""),
    f'registry = {{ kind = "sub", prefix = "team", backend = {MEMORY} }}': ("push", "hello-world"),
    f'registry = {{ kind = "sub", prefix = "library", backend = {CACHE} }}': ("pull", "hello-world"),
    f'registry = {{ kind = "sub", prefix = "team", backend = {CACHE} }}': ("pull", ""),
    (
        'registry = { kind = "sub", prefix = "team", backend = '
        f'{{ kind = "select", include = ["team/a"], backend = {MEMORY} }} }}'
    ): ("push", "a"),
    # Several registries.
    f'registry = {{ kind = "unify", backends = [{MEMORY}, {MEMORY}] }}': ("push", "hello-world"),
    f'registry = {{ kind = "unify", backends = [{MEMORY}, {HUB}] }}': ("pull", "library/hello-world"),
    f'registry = {{ kind = "unify", writes = "first", backends = [{MEMORY}, {HUB}] }}': ("push", "hello-world"),
    f'registry = {{ kind = "unify", writes = "first", backends = [{CACHE}, {MEMORY}] }}': (
        "pull",
        "library/hello-world",
    ),
}


@pytest.mark.parametrize("text", TRIALS)
def test_the_proposed_command_follows_from_the_configuration(text: str) -> None:
    trial = configured.trial({"config": parse(text, Path("registry.toml"))})
    assert (trial.action, trial.repository) == TRIALS[text]


@pytest.mark.parametrize(
    "registry, kept, proposed",
    [
        (CACHE, "in memory", "docker pull {address}/library/hello-world:latest"),
        (f'{{ kind = "read-only", backend = {MEMORY} }}', "in memory", "docker pull {address}/REPOSITORY:TAG"),
        (HUB, "elsewhere: this server has no store of its own", "docker pull {address}/library/hello-world:latest"),
    ],
)
def test_a_pull_is_proposed_if_the_registry_accepts_no_push(
    registry: str, kept: str, proposed: str, tmp_path: Path
) -> None:
    config = tmp_path / "registry.toml"
    config.write_text(f"registry = {registry}")
    with serving(tmp_path, "--config", str(config)) as server:
        lines = server.wait_for("try it").splitlines()
        assert lines[1].startswith(f"  data is kept {kept}")
        assert lines[2].startswith("  not protected: everybody on this machine may pull;")
        assert lines[3] == "  try it: " + proposed.format(address=f"localhost:{server.port}")


def test_a_pull_as_json(tmp_path: Path) -> None:
    config = tmp_path / "registry.toml"
    config.write_text(f"registry = {HUB}")
    with serving(tmp_path, "--config", str(config), "--log-format", "json") as server:
        first = json.loads(server.wait_for("docker pull").splitlines()[0])
    assert first["pull"] == f"docker pull localhost:{server.port}/library/hello-world:latest"
    assert "push" not in first


def test_the_pull_command_pulls(tmp_path: Path) -> None:
    """With our own image, where a cache would have fetched it."""
    skopeo = require_tool("skopeo")
    layout = Layout(tmp_path / "layout")
    layout.tag(layout.image(b"hello"), "latest")
    with serving(tmp_path) as server:
        pushed = f"docker://localhost:{server.port}/library/hello-world:latest"
        push = ["copy", "--dest-tls-verify=false", f"oci:{layout.path}:latest", pushed]
        subprocess.run([str(skopeo), "--insecure-policy", *push], check=True, capture_output=True, timeout=60)
        command = messages.pull_command("registry.example", server.port, tls=False, repository="library/hello-world")
        arguments = command.replace("docker://registry.example:", "docker://localhost:").split()[1:]
        pull = [str(skopeo), "--insecure-policy", *arguments]
        subprocess.run(pull, check=True, capture_output=True, timeout=60, cwd=tmp_path)
    assert (tmp_path / "image" / "index.json").exists()


def test_the_push_command_pushes(tmp_path: Path) -> None:
    """With our own image instead of the one from Docker Hub, which a test cannot reach."""
    skopeo = require_tool("skopeo")
    layout = Layout(tmp_path / "layout")
    layout.tag(layout.image(b"hello"), "latest")
    with serving(tmp_path) as server:
        command = messages.push_command("registry.example", server.port, tls=False)
        command = command.replace("docker://docker.io/library/hello-world:latest", f"oci:{layout.path}:latest")
        command = command.replace("docker://registry.example:", "docker://localhost:")
        arguments = command.removeprefix("skopeo ").split()
        subprocess.run([skopeo, "--insecure-policy", *arguments], check=True, capture_output=True, timeout=60)
        assert server.get("/v2/hello-world/tags/list") == (200, b'{"name":"hello-world","tags":["latest"]}')


def test_version() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ociserver", "--version"], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == f"ociserver {ociserver.__version__}\n"


def test_help_without_a_server() -> None:
    done = run_to_end("--help")
    assert done.returncode == 0
    assert "--graceful-timeout" in done.stdout
