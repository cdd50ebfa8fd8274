"""`--tls-client-ca`: only clients with a certificate that this authority has signed get a connection."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import re
import shutil
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Final

import pytest

from ociserver.serve.errors import CannotServeError
from ociserver.serve.health import Readiness
from ociserver.serve.probe import wait_until_ready_and_refusing
from tests.cli.process import TIMEOUT_S, Serve, eventually, serving
from tests.serve.test_workers import children, is_gone
from tests.support.authority import DAY, Authority, Issued
from tests.support.client import Client
from tests.support.images import Layout, blobs_of
from tests.support.tools import require_tool

VERSIONS: Final = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
REFUSED: Final = {
    "of another authority": "UNKNOWN_CA",
    "of a namesake": "DECRYPT_ERROR",
    "expired": "CERTIFICATE_EXPIRED",
    "not yet valid": "CERTIFICATE_EXPIRED",
    "of a server": "",
}
"""Certificates that are refused, and the end of the name of the alert (RFC 8446, section 6.2)."""

RULE: Final = '[[auth.rules]]\nanonymous = true\nrepositories = ["public"]\nallow = ["pull"]\n'


class Parties:
    """Authorities, and the certificates that they have signed for a server and for clients."""

    def __init__(self, folder: Path) -> None:
        ours, other = Authority(folder, "ours"), Authority(folder, "other")
        between = Authority(folder, "between", ours)
        self.ca, self.other_ca = ours.file, other.file
        self.server = ours.issue("server", server=True)
        self.client = ours.issue("client")
        self.below = between.issue("below")
        self.refused = {
            "of another authority": other.issue("stranger"),
            "of a namesake": Authority(_made(folder / "namesake"), "ours").issue("forged"),
            "expired": ours.issue("expired", start=-2 * DAY, end=-DAY),
            "not yet valid": ours.issue("early", start=DAY, end=2 * DAY),
            "of a server": self.server,
        }


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def parties(tmp_path_factory: pytest.TempPathFactory) -> Parties:
    return Parties(tmp_path_factory.mktemp("parties"))


@contextmanager
def verifying(folder: Path, parties: Parties, *arguments: str, ca: Path | None = None) -> Iterator[Serve]:
    """A server with `--tls-client-ca`."""
    files = ("--tls-cert", str(parties.server.cert), "--tls-key", str(parties.server.key))
    with serving(folder, *files, "--tls-client-ca", str(ca or parties.ca), *arguments) as server:
        yield server


@pytest.fixture(scope="module")
def server(parties: Parties, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    with verifying(tmp_path_factory.mktemp("server"), parties) as server:
        yield server


def context_of(parties: Parties, client: Issued | None, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=parties.ca)
    if version:
        context.minimum_version = context.maximum_version = version
    if client:
        context.load_cert_chain(client.cert, client.key)
    return context


def get(server: Serve, context: ssl.SSLContext, path: str = "/v2/") -> tuple[int, str]:
    """The status and the body of a response."""
    with closing(HTTPSConnection("localhost", server.port, context=context, timeout=TIMEOUT_S)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()


def refusal(server: Serve, context: ssl.SSLContext) -> str:
    """The alert with which the server refuses a client.

    In TLS 1.3 the client's handshake ends before the server has seen its certificate. So it waits for the alert, and
    sends no request, which could meet a closed connection.
    """
    with (
        socket.create_connection(("localhost", server.port), timeout=TIMEOUT_S) as connection,
        pytest.raises(ssl.SSLError) as caught,
        context.wrap_socket(connection, server_hostname="localhost") as secured,
    ):
        secured.recv(1)
    return str(caught.value.reason)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_right_certificate(version: ssl.TLSVersion, server: Serve, parties: Parties) -> None:
    assert get(server, context_of(parties, parties.client, version))[0] == 200


def test_a_certificate_of_an_intermediate_authority(server: Serve, parties: Parties) -> None:
    assert get(server, context_of(parties, parties.below))[0] == 200


@pytest.mark.parametrize("version", VERSIONS)
def test_no_certificate(version: ssl.TLSVersion, server: Serve, parties: Parties) -> None:
    assert refusal(server, context_of(parties, None, version)) == "TLSV13_ALERT_CERTIFICATE_REQUIRED"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", REFUSED)
def test_another_certificate(name: str, version: ssl.TLSVersion, server: Serve, parties: Parties) -> None:
    assert refusal(server, context_of(parties, parties.refused[name], version)).endswith(REFUSED[name])


def test_plain_http(server: Serve) -> None:
    with pytest.raises((HTTPException, OSError)):
        server.get("/v2/")


def test_health_needs_a_certificate_too(server: Serve, parties: Parties) -> None:
    assert get(server, context_of(parties, parties.client), "/readyz") == (200, "ok\n")
    socket.create_connection(("localhost", server.port), TIMEOUT_S).close()


def test_a_refused_client_leaves_nothing_in_the_log(server: Serve, parties: Parties) -> None:
    before = server.printed()
    refusal(server, context_of(parties, None))
    get(server, context_of(parties, parties.client), "/v2/after/tags/list")
    server.wait_for("/v2/after/")
    assert len(server.printed().removeprefix(before).splitlines()) == 1, server.printed()


def test_the_first_lines_name_the_certificate(server: Serve, parties: Parties, tmp_path: Path) -> None:
    said = f"client.cert and client.key in /etc/docker/certs.d/localhost:{server.port}"
    lines = server.wait_for("try it").splitlines()
    assert lines[2].startswith("  not protected: everybody with a client certificate")
    assert lines[3].startswith("  first give docker the certificate")
    assert lines[3].endswith(said)
    assert lines[4].startswith("  try it: docker pull")
    with verifying(tmp_path, parties, "--log-format", "json") as other:
        first = json.loads(other.wait_for("docker push").splitlines()[0])
    assert first["first"].endswith(f"/etc/docker/certs.d/localhost:{other.port}")


def test_the_reason_is_in_the_log_for_debugging(parties: Parties, tmp_path: Path) -> None:
    with verifying(tmp_path, parties, "--log-level", "debug") as started:
        # At this log level, granian has already logged another address.
        found = re.search(r"listens on https://localhost:(\d+)", started.wait_for("try it"))
        assert found
        server = dataclasses.replace(started, port=int(found[1]))
        refusal(server, context_of(parties, parties.refused["of another authority"]))
        server.wait_for("UnknownIssuer")


def test_several_authorities_in_one_file(parties: Parties, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(b"Two of them:\r\n" + parties.other_ca.read_bytes() + b"\n" + parties.ca.read_bytes())
    with verifying(tmp_path, parties, ca=both) as server:
        for client in (parties.client, parties.refused["of another authority"]):
            assert get(server, context_of(parties, client))[0] == 200
        assert refusal(server, context_of(parties, parties.refused["of a namesake"])) == "TLSV1_ALERT_DECRYPT_ERROR"


@pytest.mark.skipif(sys.platform != "linux", reason="finds the workers in /proc")
def test_two_workers(parties: Parties, tmp_path: Path) -> None:
    with verifying(tmp_path, parties, "--data", str(tmp_path / "data"), "--workers", "2") as server:
        assert len(children(server)) == 2
        context, stranger = context_of(parties, parties.client), context_of(parties, None)

        def both_refuse_and_answer() -> bool:
            assert refusal(server, stranger) == "TLSV13_ALERT_CERTIFICATE_REQUIRED"
            assert get(server, context)[0] == 200
            return {"1", "2"} <= set(re.findall(r"id=ociserver(\d)-", server.printed()))

        eventually(both_refuse_and_answer, "an answer of each worker", server.printed)
        killed = min(children(server))
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: is_gone(killed), "its end", server.printed)

        def third_answers() -> bool:
            both_refuse_and_answer()
            return "id=ociserver3-" in server.printed()

        eventually(third_answers, "an answer of a third worker", server.printed)
        server.signal(signal.SIGTERM)
        assert server.exit_status() == 0


def test_users_and_rules_still_decide(parties: Parties, tmp_path: Path) -> None:
    """A certificate opens the connection, and signs nobody in."""
    config = tmp_path / "registry.toml"
    shutil.copy(parties.ca, tmp_path / "clients.pem")
    config.write_text(f'[server]\ntls-client-ca = "clients.pem"\n{RULE}[registry]\nkind = "memory"\n')
    files = ("--tls-cert", str(parties.server.cert), "--tls-key", str(parties.server.key))
    with serving(tmp_path, "--config", str(config), *files) as server:
        context = context_of(parties, parties.client)
        assert get(server, context, "/v2/public/tags/list")[0] == 404, "allowed, and not there"
        assert get(server, context, "/v2/team/tags/list")[0] == 401
        assert refusal(server, context_of(parties, None)) == "TLSV13_ALERT_CERTIFICATE_REQUIRED"


def test_a_reload_says_that_the_file_needs_a_restart(parties: Parties, tmp_path: Path) -> None:
    config = tmp_path / "registry.toml"
    text = f'[server]\ntls-client-ca = "{parties.ca}"\n[registry]\nkind = "memory"\n'
    config.write_text(text)
    files = ("--tls-cert", str(parties.server.cert), "--tls-key", str(parties.server.key))
    with serving(tmp_path, "--config", str(config), *files) as server:
        config.write_text(text.replace(f'tls-client-ca = "{parties.ca}"', ""))
        server.signal(signal.SIGHUP)
        server.wait_for("these settings take effect only after a restart: tls-client-ca")
        server.wait_for("the configuration was reloaded")
        assert refusal(server, context_of(parties, None)) == "TLSV13_ALERT_CERTIFICATE_REQUIRED"


def client_folder(folder: Path, parties: Parties, client: Issued | None) -> Path:
    """A folder like /etc/docker/certs.d/HOST:PORT, which Docker, podman and skopeo read."""
    folder.mkdir()
    shutil.copy(parties.ca, folder / "ca.crt")
    if client:
        shutil.copy(client.cert, folder / "client.cert")
        shutil.copy(client.key, folder / "client.key")
    return folder


def test_skopeo(server: Serve, parties: Parties, tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "PATH": os.environ.get("PATH", os.defpath)}
    skopeo = Client(require_tool("skopeo"), environment, ("--insecure-policy",))
    layout = Layout(tmp_path / "in")
    layout.tag(layout.image(b"one"), "v1")
    image = f"docker://localhost:{server.port}/skopeo:v1"
    known = client_folder(tmp_path / "known", parties, parties.client)
    skopeo.run("copy", "--dest-cert-dir", known, f"oci:{layout.path}:v1", image)
    skopeo.run("copy", "--src-cert-dir", known, image, f"oci:{tmp_path / 'out'}:v1")
    assert blobs_of(tmp_path / "out") == blobs_of(layout.path)
    unknown = client_folder(tmp_path / "unknown", parties, None)
    assert "certificate required" in skopeo.refused("inspect", "--cert-dir", unknown, image)


@contextmanager
def tls_server(parties: Parties, *, demands: bool) -> Iterator[int]:
    """A TLS server that answers nothing, and demands certificates or does not. Yields its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(parties.server.cert, parties.server.key)
    context.load_verify_locations(parties.ca)
    context.verify_mode = ssl.CERT_REQUIRED if demands else ssl.CERT_OPTIONAL
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with (
                listener.accept()[0] as accepted,
                contextlib.suppress(OSError),
                context.wrap_socket(accepted, server_side=True) as secured,
            ):
                secured.recv(1)

        thread = threading.Thread(target=accept)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def test_a_server_that_only_asks_for_certificates_does_not_start(parties: Parties) -> None:
    with tls_server(parties, demands=False) as port, pytest.raises(CannotServeError) as caught:
        probe(port)
    assert "accepts clients without a certificate" in str(caught.value)


def test_the_probe_fails_if_it_is_refused_for_another_reason(parties: Parties) -> None:
    """OpenSSL answers with another alert than rustls. So nobody can tell whether it demands a certificate."""
    with tls_server(parties, demands=True) as port, pytest.raises(CannotServeError) as caught:
        probe(port)
    assert "cannot be found out" in str(caught.value)


def probe(port: int) -> None:
    asyncio.run(wait_until_ready_and_refusing([(socket.AF_INET, "127.0.0.1", port)], Readiness(None)))
