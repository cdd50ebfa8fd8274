"""If `serve` cannot serve, its message says what is wrong and what to do.

Status 2 means that the command line is wrong, and status 1 that something else prevents serving.
"""

from __future__ import annotations

import errno
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from ociserver.serve.sockets import why_not
from tests.cli.process import command, eventually, run_to_end

CERTIFICATES: Final = Path(__file__).parent / "certificates"
CERT: Final = str(CERTIFICATES / "cert.pem")
KEY: Final = str(CERTIFICATES / "key.pem")

USAGE: Final = (
    (["--workers", "2"], "--workers 2 cannot be used with --memory"),
    (["--workers", "8"], "Use only one of the two: one process serves many clients at once"),
    (["--data", "folder"], "--data folder cannot be used with --memory, which keeps nothing in a folder."),
    (["--workers", "0"], "Invalid value for '--workers'"),
    (["--port", "http"], "'http' is not a port; write a number from 0 to 65535."),
    (["--port", "65536"], "'65536' is not a port"),
    (["--port", "-1"], "'-1' is not a port"),
    (["--memory-limit", "lots"], "'lots' is not a size; write 512MiB, 2GiB or 50%."),
    (["--memory-limit", "101%"], "'101%' is not a size"),
    (["--graceful-timeout", "soon"], "'soon' is not a duration; write 30s, 5m or 1h."),
    (["--max-list-page-size", "ten"], "Invalid value for '--max-list-page-size'"),
    (["--max-list-page-size", "-1"], "--max-list-page-size is -1; it must be 0 (no limit) or more."),
    (["--max-connections", "0"], "Invalid value for '--max-connections'"),
    (["--log-format", "xml"], "'xml' is not one of 'text', 'json'."),
    (["--log-level", "loud"], "'loud' is not one of"),
    (["--tls-cert", CERT], "--tls-cert requires --tls-key: TLS needs both a certificate and its private key."),
    (["--tls-key", KEY], "--tls-key requires --tls-cert"),
    (["--tls-client-ca", CERT], "--tls-client-ca requires --tls-cert and --tls-key: without TLS"),
    (["--tls-client-ca", CERT, "--tls-cert", CERT], "--tls-cert requires --tls-key"),
    (["--no-such-flag"], "--no-such-flag"),
    (["folder"], "unexpected extra argument (folder)"),
)

ENVIRONMENT: Final = (
    ("OCISERVER_MAX_LIST_PAGE_SIZE", "ten", "'--max-list-page-size' (env var: 'OCISERVER_MAX_LIST_PAGE_SIZE')"),
    ("OCISERVER_IGNORE_PAGINATION", "maybe", "'--ignore-pagination' (env var: 'OCISERVER_IGNORE_PAGINATION')"),
    ("OCISERVER_ACCESS_LOG", "maybe", "(env var: 'OCISERVER_ACCESS_LOG')"),
    ("OCISERVER_WORKERS", "4", "--workers 4 cannot be used with --memory"),
    ("OCISERVER_PORT", "tcp://10.0.0.1:5000", "what Kubernetes sets for a Service named ociserver"),
)

TLS: Final = (
    ("missing.pem", "key.pem", "--tls-cert", "No such file or directory"),
    ("cert.pem", "missing.pem", "--tls-key", "No such file or directory"),
    ("key.pem", "key.pem", "--tls-cert", "contains no PEM certificate"),
    ("cert.pem", "cert.pem", "--tls-key", "contains no PEM private key"),
    ("cert.pem", "other-key.pem", "other-key.pem", "does not match the certificate in"),
    ("cert.pem", "encrypted-key.pem", "encrypted-key.pem", "is encrypted"),
    (".", "key.pem", "--tls-cert", "Is a directory"),
)

LABELS: Final = "-----BEGIN CERTIFICATE-----\n{}-----END CERTIFICATE-----\n"
AUTHORITY: Final = (CERTIFICATES / "authority.pem").read_text()

CLIENT_CA: Final = {
    "an empty file": ("", "contains no PEM certificate of an authority (CA)"),
    "a key": (Path(KEY).read_text(), "contains no PEM certificate of an authority (CA)"),
    "the end is missing": (AUTHORITY.partition("-----END")[0], "contains a malformed PEM certificate"),
    "the end of the first is missing": (
        AUTHORITY.partition("-----END")[0] + AUTHORITY,
        "contains a malformed PEM certificate",
    ),
    "no base64": (LABELS.format("!!!!\n"), "certificate 1 of 1 in"),
    "no certificate": (AUTHORITY + LABELS.format("bm90IGEgY2VydGlmaWNhdGU=\n"), "certificate 2 of 2 in"),
    "nothing between the labels": (LABELS.format(""), "certificate 1 of 1 in"),
    "something after the certificate": (
        AUTHORITY.replace("\n-----END", "AAAA\n-----END"),
        "certificate 1 of 1 in",
    ),
    "a certificate of a server": (
        AUTHORITY + (CERTIFICATES / "issued.pem").read_text(),
        "is not that of an authority (CA). Give the certificate that signs those of clients.",
    ),
}


def refusal(arguments: list[str], status: int, environment: dict[str, str] | None = None) -> str:
    """The message of a command line that must fail with this status."""
    done = run_to_end("--memory", *arguments, environment=environment)
    assert done.returncode == status, done.stderr
    assert done.stdout == "", "nothing is started, and nothing is said of it"
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_folder_and_memory_by_variables() -> None:
    said = run_to_end(environment={"OCISERVER_MEMORY": "1", "OCISERVER_DATA": "folder"}).stderr
    assert "--data folder cannot be used with --memory" in said


@pytest.mark.parametrize(
    "arguments, words", USAGE, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_a_wrong_command_line(arguments: list[str], words: str) -> None:
    said = refusal(arguments, 2)
    assert words in said
    assert "Try 'ociserver serve --help' for help." in said


@pytest.mark.parametrize("name, value, words", ENVIRONMENT)
def test_a_wrong_environment_variable(name: str, value: str, words: str) -> None:
    assert words in refusal([], 2, {name: value})


@pytest.mark.parametrize("cert, key, name, words", TLS)
def test_tls_files_that_cannot_be_used(cert: str, key: str, name: str, words: str) -> None:
    said = refusal(["--port", "0", "--tls-cert", str(CERTIFICATES / cert), "--tls-key", str(CERTIFICATES / key)], 1)
    assert said.startswith("ociserver: cannot serve TLS: ")
    assert said.count("\n") == 1
    assert name in said
    assert words in said


def test_a_file_that_is_not_a_certificate(tmp_path: Path) -> None:
    """PEM labels with invalid data between them."""
    cert = tmp_path / "cert.pem"
    cert.write_text("-----BEGIN CERTIFICATE-----\nbm90IGEgY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n")
    said = refusal(["--port", "0", "--tls-cert", str(cert), "--tls-key", KEY], 1)
    assert f"the certificate in {cert} or the key in {KEY} cannot be read" in said


def refusal_of_client_ca(file: Path) -> str:
    said = refusal(["--port", "0", "--tls-cert", CERT, "--tls-key", KEY, "--tls-client-ca", str(file)], 1)
    assert said.startswith("ociserver: cannot serve TLS: ")
    assert f"--tls-client-ca {file}" in said
    assert said.count("\n") == 1
    return said


@pytest.mark.parametrize("name", CLIENT_CA)
def test_authorities_of_clients_that_cannot_be_used(name: str, tmp_path: Path) -> None:
    content, words = CLIENT_CA[name]
    file = tmp_path / "clients.pem"
    file.write_text(content)
    assert words in refusal_of_client_ca(file)


def test_a_file_of_authorities_that_cannot_be_read(tmp_path: Path) -> None:
    assert "cannot be read: No such file or directory" in refusal_of_client_ca(tmp_path / "missing.pem")
    assert "cannot be read: Is a directory" in refusal_of_client_ca(tmp_path)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "127.0.0.1.1", "..", "a" * 70])
def test_a_host_that_is_not_valid(host: str) -> None:
    said = refusal(["--host", host, "--port", "0"], 1)
    assert f"cannot listen on {host!r}: the host name cannot be resolved" in said
    assert said.count("\n") == 1


def test_a_host_of_another_machine() -> None:
    said = refusal(["--host", "192.0.2.1", "--port", "0"], 1)
    assert "this machine does not have this address" in said


@pytest.mark.parametrize("family, address", [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_port_that_is_taken(family: socket.AddressFamily, address: str) -> None:
    with socket.socket(family) as other:
        # Bind as granian does, which would allow a second server to bind.
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind((address, 0))
        other.listen()
        port = other.getsockname()[1]
        said = refusal(["--port", str(port)], 1)
    assert f"cannot listen on localhost port {port}: another program uses this port" in said
    assert f"--port {port + 1}" in said
    assert said.count("\n") == 1


def test_two_servers_that_start_at_once(tmp_path: Path) -> None:
    """Exactly one of them serves, and the other does not claim that it does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    files = [tmp_path / str(number) for number in range(4)]
    processes = []
    for path in files:
        with path.open("wb") as file:
            arguments = [*command(), "--memory", "--port", str(port)]
            processes.append(subprocess.Popen(arguments, stdout=file, stderr=subprocess.STDOUT))
    try:
        eventually(lambda: len([each for each in processes if each.poll() is None]) <= 1, "three to end", str)
        assert sorted(str(process.poll()) for process in processes) == ["1", "1", "1", "None"]
        (winner,) = (path for path, process in zip(files, processes, strict=True) if process.poll() is None)
        eventually(lambda: "listens on" in winner.read_text(), "the fourth to serve", winner.read_text)
        assert sum("listens on" in path.read_text() for path in files) == 1
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_the_message_for_each_error() -> None:
    """Some errors do not occur everywhere: in most containers, every user may use every port."""
    assert "another program uses this port" in why_not(OSError(errno.EADDRINUSE, ""), "localhost", 5000)
    assert "Ports below 1024 require root or CAP_NET_BIND_SERVICE" in why_not(OSError(errno.EACCES, ""), "::", 80)
    assert "does not have this address" in why_not(OSError(errno.EADDRNOTAVAIL, ""), "10.0.0.1", 5000)
    assert "Too many open files" in why_not(OSError(errno.EMFILE, "Too many open files"), "localhost", 5000)
    assert "--port 65534" in why_not(OSError(errno.EADDRINUSE, ""), "localhost", 65535)


def test_a_closed_stdout() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import os; os.close(1); os.execv({sys.executable!r}, {[*command(), '--port', '0']!r})",
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == (
        "ociserver: stdout is closed, and the log cannot be written. Redirect stdout to a file or to /dev/null.\n"
    )
