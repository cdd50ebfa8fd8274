"""`ociserver health`: against real servers, and against sockets that answer wrongly or not at all."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.cli.process import Serve, clean_environment, serving
from tests.cli.test_start import CERTIFICATES, EVERYWHERE, TLS
from tests.support.server import free_port


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    with serving(tmp_path_factory.mktemp("health")) as server:
        yield server


@pytest.fixture(scope="module")
def tls_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    with serving(tmp_path_factory.mktemp("health"), *TLS) as server:
        yield server


@contextmanager
def answering(answer: bytes | None) -> Iterator[int]:
    """A port whose connections all get this answer; None: they get none."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        opened: list[socket.socket] = []

        def run() -> None:
            try:
                while True:
                    connection, _ = listener.accept()
                    opened.append(connection)
                    if answer is not None:
                        connection.recv(4096)
                        connection.sendall(answer)
                        connection.close()
            except OSError:
                return

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in opened:
                connection.close()


def run(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ociserver", "health", *arguments],
        env=clean_environment(environment),
        capture_output=True,
        text=True,
        timeout=30,
    )


def healthy(*arguments: str, environment: dict[str, str] | None = None) -> str:
    done = run(*arguments, environment=environment)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def unhealthy(*arguments: str, environment: dict[str, str] | None = None) -> str:
    done = run(*arguments, environment=environment)
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


def test_a_server_that_is_ready(server: Serve) -> None:
    said = f"http://localhost:{server.port}/readyz is healthy\n"
    assert healthy("--port", str(server.port)) == said
    assert healthy(environment={"OCISERVER_PORT": str(server.port)}) == said
    assert healthy(f"http://localhost:{server.port}") == said
    assert healthy(f"localhost:{server.port}/") == said
    assert healthy(f"http://127.0.0.1:{server.port}/healthz").endswith("/healthz is healthy\n")
    # Where a server listens on every address, it is asked on this machine's own.
    assert healthy(environment={"OCISERVER_PORT": str(server.port), "OCISERVER_HOST": "::"})
    assert healthy("--host", EVERYWHERE, "--port", str(server.port))


def test_the_address_of_the_configuration_file(server: Serve, tls_server: Serve, tmp_path: Path) -> None:
    file = tmp_path / "registry.toml"
    file.write_text(f'[server]\nport = {server.port}\nhost = {{ env = "HERE" }}\n')
    variables = {"HERE": "127.0.0.1", "OCISERVER_CONFIG": str(file)}
    assert healthy(environment=variables) == f"http://127.0.0.1:{server.port}/readyz is healthy\n"
    assert "HERE" in unhealthy("--config", str(file))

    (tmp_path / "host").write_text("localhost\n")
    file.write_text(f'[server]\nport = {tls_server.port}\nhost = {{ file = "host" }}\ntls-cert = "cert.pem"\n')
    assert healthy("--config", str(file)) == f"https://localhost:{tls_server.port}/readyz is healthy\n"


def test_a_certificate_is_verified_unless_it_is_this_machines(tls_server: Serve, tmp_path: Path) -> None:
    assert healthy(f"https://127.0.0.1:{tls_server.port}")
    with serving(tmp_path, *TLS, "--host", EVERYWHERE) as server:
        # A name of this machine, but not one that says so.
        other = f"https://{socket.gethostname()}:{server.port}"
        assert "TLS failed: self-signed certificate" in unhealthy(other)
        assert healthy(other, "--insecure")


def test_a_server_that_demands_certificates_is_healthy_if_it_refuses(tls_server: Serve, tmp_path: Path) -> None:
    authority = ("--tls-client-ca", str(CERTIFICATES / "authority.pem"))
    with serving(tmp_path, *TLS, *authority) as server:
        assert healthy("--port", str(server.port), *TLS[:2], *authority)
    assert "accepts clients" in unhealthy("--port", str(tls_server.port), *TLS[:2], *authority)


ANSWERS: Final = {
    "503 and why": (b"HTTP/1.1 503 Service Unavailable\r\n\r\nthe store is being opened\n", "503: the store is being"),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.2\r\n", "the answer is not HTTP"),
    "nothing": (b"", "the answer is not HTTP"),
    "no end": (b"HTTP/1.1 404 Not Found\r\nX: " + bytes(100_000), "404"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_other_answers(name: str) -> None:
    answer, said = ANSWERS[name]
    with answering(answer) as port:
        assert said in unhealthy(f"http://127.0.0.1:{port}")


def test_no_answer() -> None:
    with answering(None) as port:
        assert "no answer within 0.3 s" in unhealthy(f"http://127.0.0.1:{port}", "--timeout", "300ms")
    assert "Connection refused" in unhealthy(f"http://127.0.0.1:{free_port()}")


@pytest.mark.parametrize(
    "url", ["http://user:secret@localhost:5000", "ftp://localhost", "http://", "http://a:99999", "http://a:0"]
)
def test_a_wrong_url_is_not_repeated(url: str) -> None:
    done = run(url)
    assert done.returncode == 2
    assert "secret" not in done.stderr
    assert "Traceback" not in done.stderr


def test_it_loads_little(server: Serve) -> None:
    """It runs every few seconds beside the server. `click` takes most of its time."""
    script = (
        "import sys; from ociserver.cli import main\n"
        f"main(['health', 'http://127.0.0.1:{server.port}'], standalone_mode=False)\n"
        "heavy = {'asyncio', 'pydantic', 'granian', 'ssl', 'http.client', 'ociserver._core', 'ociserver.store'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=clean_environment(None), capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
