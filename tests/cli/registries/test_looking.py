"""`ls`, `tags`, `manifest`, `referrers`: they show what crane shows, and handle hostile registries."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from ociserver.cli.registries import is_here
from tests.cli.process import Serve, clean_environment, serving
from tests.cli.registries.conftest import address, canned, filled, ociserver, ociserver_here, refused, serve_backend
from tests.contract.contents import IMAGE, INDEX, digest_of
from tests.copy.images import SBOM
from tests.support.client import Client
from tests.support.tools import require_tool

CERTIFICATES = Path(__file__).parents[1] / "certificates"


@pytest.fixture
def crane(tmp_path: Path) -> Client:
    environment = {"HOME": str(tmp_path), "PATH": os.environ.get("PATH", os.defpath), "NO_PROXY": "127.0.0.1"}
    return Client(require_tool("crane"), environment, ("--insecure",))


def test_what_crane_lists(servers: tuple[Serve, Serve], crane: Client) -> None:
    _, server = servers
    for name in ("looking/one", "looking/two"):
        filled(server, name)
    registry, repository = address(server), f"{address(server)}/looking/one"
    assert ociserver("ls", registry).stdout.decode() == crane.run("catalog", registry)
    assert ociserver("tags", repository).stdout.decode() == crane.run("ls", repository)
    assert ociserver("ls", registry, "--json").json == {
        "registry": registry,
        "repositories": crane.run("catalog", registry).split(),
    }
    assert ociserver("tags", repository, "--json", "--start-after", "amd64", "--limit", "1").json == {
        "repository": repository,
        "tags": ["latest"],
    }


def test_the_manifest_that_crane_gets(servers: tuple[Serve, Serve], crane: Client) -> None:
    _, server = servers
    images = filled(server, "looking/manifest")
    image = f"{address(server)}/looking/manifest"
    assert ociserver("manifest", image).stdout == images.index == crane.run("manifest", image).encode()
    assert ociserver("manifest", "--platform", "linux/arm64", f"{image}:v1").stdout == images.arm64
    assert ociserver("manifest", f"{image}@{digest_of(images.amd64)}").stdout == images.amd64
    assert ociserver("manifest", "--json", f"{image}:v1").json == {
        "mediaType": INDEX,
        "digest": crane.run("digest", f"{image}:v1").strip(),
        "size": len(images.index),
    }


def test_what_refers_to_an_image(servers: tuple[Serve, Serve]) -> None:
    _, server = servers
    images = filled(server, "looking/referrers")
    image = f"{address(server)}/looking/referrers"
    sbom = {"mediaType": IMAGE, "digest": digest_of(images.sbom), "size": len(images.sbom), "artifactType": SBOM}
    assert ociserver("referrers", "--json", f"{image}:v1").json == {
        "subject": digest_of(images.index),
        "referrers": [sbom],
    }
    assert ociserver("referrers", f"{image}@{digest_of(images.index)}", "--artifact-type", SBOM).lines == [
        f"{digest_of(images.sbom)}  {SBOM}  {len(images.sbom)} B"
    ]
    assert ociserver("referrers", f"{image}:v1", "--artifact-type", "text/plain").lines == []
    assert ociserver("referrers", f"{image}:v1", "--platform", "linux/arm64").lines == []


def test_long_lists_are_read_page_by_page(tmp_path: Path) -> None:
    with serving(tmp_path, "--max-list-page-size", "1000") as server:
        images = filled(server, "many/tags")
        connection = server.http()
        for number in range(1500):
            connection.request("PUT", f"/v2/many/tags/manifests/t{number:05}", images.amd64, {"Content-Type": IMAGE})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 201
        repository = f"{address(server)}/many/tags"
        assert len(ociserver("tags", repository).lines) == 1503
        assert ociserver("tags", repository, "--limit", "1200").lines[-1] == "t01197"


@pytest.mark.anyio
async def test_a_name_cannot_move_the_cursor() -> None:
    tags = ["v1", "\x1b[2Jgone", "a\nb", "x" * 2000]
    async with serve_backend(canned(200, json.dumps({"tags": tags}).encode())) as host:
        done = await ociserver_here("tags", f"{host}/a/b")
    assert done.status == 0, done.stderr
    assert done.lines[0] == "v1"
    assert "\x1b" not in done.stdout.decode()
    assert [line[:6] for line in done.lines[1:]] == [
        "\N{REPLACEMENT CHARACTER}[2Jgo",
        "a\N{REPLACEMENT CHARACTER}b",
        "xxxxxx",
    ]
    assert len(done.lines[3]) < 1100


@pytest.mark.anyio
async def test_an_error_cannot_move_the_cursor() -> None:
    error = {"errors": [{"code": "DENIED", "message": "\x1b[2Jyou\nshall not"}]}
    async with serve_backend(canned(403, json.dumps(error).encode())) as host:
        done = await ociserver_here("tags", f"{host}/a/b")
    assert (done.status, len(done.stderr.splitlines())) == (1, 1)
    assert "\x1b" not in done.stderr
    assert done.stderr.endswith("has permission to do this.\n")


def test_a_manifest_on_a_terminal(servers: tuple[Serve, Serve]) -> None:
    """Raw bytes are for files and pipes."""
    _, server = servers
    connection = server.http()
    content = b'{"a":"\x1b[2J"}\t\n'
    connection.request("PUT", "/v2/looking/odd/manifests/v1", content, {"Content-Type": "text/plain"})
    assert connection.getresponse().status == 201
    image = f"{address(server)}/looking/odd:v1"
    assert ociserver("manifest", image).stdout == content
    ours, theirs = pty.openpty()
    try:
        command = [sys.executable, "-m", "ociserver", "manifest", image]
        subprocess.run(command, env=clean_environment(None), stdout=theirs, check=True, timeout=60)
        shown = os.read(ours, 1000)
    finally:
        os.close(theirs)
        os.close(ours)
    assert shown.decode() == '{"a":"\N{REPLACEMENT CHARACTER}[2J"}    \r\n'


@pytest.mark.anyio
async def test_a_manifest_that_does_not_match_its_digest() -> None:
    async with serve_backend(canned(200, b"{}", content_type=IMAGE)) as host:
        done = await ociserver_here("manifest", f"{host}/a/b@{digest_of(b'other')}")
    assert (done.status, done.stdout) == (1, b"")
    assert "the registry's content does not match its digest" in done.stderr


@pytest.mark.anyio
async def test_a_registry_without_a_catalog() -> None:
    async with serve_backend(canned(404, b"404 page not found")) as host:
        done = await ociserver_here("ls", host)
    assert done.status == 1
    assert "Not every registry has a list of repositories" in done.stderr


def test_tls_on_this_machine(tmp_path: Path) -> None:
    """The command tries TLS before plain HTTP. An untrusted certificate is not treated like a missing one."""
    files = ("--tls-cert", str(CERTIFICATES / "issued.pem"), "--tls-key", str(CERTIFICATES / "issued-key.pem"))
    with serving(tmp_path, *files) as server:
        trusting = subprocess.run(
            [sys.executable, "-m", "ociserver", "ls", f"localhost:{server.port}", "--json"],
            env=clean_environment({"SSL_CERT_FILE": str(CERTIFICATES / "authority.pem")}),
            capture_output=True,
            check=True,
            timeout=60,
        )
        assert json.loads(trusting.stdout) == {"registry": f"localhost:{server.port}", "repositories": []}
        done = ociserver("ls", f"localhost:{server.port}")
        assert done.status == 1
        assert "has a certificate that is not trusted: unable to get local issuer certificate" in done.stderr
        assert done.stderr.endswith("set SSL_CERT_FILE to the file with the authority's certificate.\n")


@pytest.mark.skipif(sys.platform != "linux", reason="0.0.0.0 is an address of this machine on Linux only")
def test_plain_http_to_another_machine_needs_a_flag(tmp_path: Path) -> None:
    everywhere = "0.0.0.0"  # noqa: S104
    with serving(tmp_path, "--host", everywhere) as server:
        host = f"{everywhere}:{server.port}"
        done = ociserver("ls", host)
        assert done.status == 1
        assert "--insecure" in done.stderr
        assert ociserver("ls", host, "--insecure").status == 0


@pytest.mark.parametrize(
    "host, here",
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("127.0.0.1:5000", True),
        ("127.1.2.3", True),
        ("[::1]:5000", True),
        ("[::1]", True),
        ("registry.example", False),
        ("registry.example:5000", False),
        ("192.168.1.1:5000", False),
        ("localhost.example:5000", False),
    ],
)
def test_hosts_of_this_machine(host: str, here: bool) -> None:  # noqa: FBT001
    assert is_here(host) is here


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("ls", "http://localhost:5000"), "write its host, such as localhost:5000"),
        (("ls", "localhost:5000/a"), "write its host"),
        (("ls", "localhost:99999"), "99999 is not the port of a registry; write a number from 1 to 65535."),
        (("ls", "[::1]:0"), "0 is not the port of a registry"),
        (("tags", "localhost:65536/a"), "65536 is not the port of a registry"),
        (("tags", "http://localhost:5000/a"), "is a URL, and not a reference; write HOST/REPOSITORY"),
        (("tags", "localhost:5000/a:v1"), "without a tag or digest"),
        (("tags", "a/b"), "is not a reference"),
        (("tags", "localhost:5000/a", "--limit", "0"), "0 is not in the range"),
        (("manifest", "localhost:5000"), "write HOST/REPOSITORY"),
        (("referrers", "localhost:5000/a@sha256:x"), "is not a reference"),
    ],
)
def test_a_command_line_that_is_wrong(arguments: tuple[str, ...], said: str) -> None:
    assert said in refused(*arguments)
