"""`ociserver bench` against servers: its counts match the server's log, and it leaves nothing behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ociserver.bench import NAMES
from tests.cli.process import Serve, clean_environment, serving

TIMEOUT_S = 60
QUICK = ("--seconds", "0.1", "--clients", "2", "--large", "6MiB", "--entries", "120", "--repository", "work/bench")

BENCH = (sys.executable, "-m", "ociserver", "bench")
CERTIFICATES = Path(__file__).parent / "certificates"


def bench(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*BENCH, url, *QUICK, *arguments],
        env=clean_environment(None),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def figures(url: str, *arguments: str) -> dict[str, dict[str, Any]]:
    done = bench(url, *arguments, "--json", "-")
    assert done.returncode == 0, done.stderr
    return {workload["name"]: workload for workload in json.loads(done.stdout)["workloads"]}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    with serving(tmp_path_factory.mktemp("bench")) as running:
        yield running


@pytest.fixture
def logging(tmp_path: Path) -> Iterator[Serve]:
    """A server whose access log contains only this test's requests."""
    with serving(tmp_path, "--log-format", "json") as running:
        yield running


def url_of(running: Serve) -> str:
    return f"http://127.0.0.1:{running.port}"


def answered(running: Serve) -> list[tuple[str, str, int]]:
    """All requests in the server's log, after its end."""
    running.signal(signal.SIGTERM)
    running.exit_status()
    lines = [json.loads(line) for line in running.printed().splitlines() if line.startswith("{")]
    return [(line["method"], line["path"], line["status"]) for line in lines if line["message"] == "request"]


def tags(running: Serve, repository: str) -> list[str]:
    status, body = running.get(f"/v2/{repository}/tags/list")
    found: list[str] = json.loads(body)["tags"] if status == 200 else []
    return found


@pytest.mark.parametrize("name", NAMES)
def test_each_workload_has_figures_and_leaves_nothing(server: Serve, name: str) -> None:
    result = figures(url_of(server), "--only", name)[name]
    assert result["failed"] is None
    assert result["errors"] == {}
    assert result["count"] > 0
    assert result["seconds"] > 0
    assert 0 < result["p50_ms"] <= result["p99_ms"] <= result["p999_ms"] <= result["seconds"] * 1000
    amount = result["bytes"] if result["unit"] == "bytes/s" else result["count"]
    assert result["rate"] == pytest.approx(amount / result["seconds"])
    assert result["client_cpu_seconds"] > 0
    assert result["server_cpu_seconds"] > 0
    assert len(result["beside"]) == (2 if name.endswith("-loaded") else 0)
    assert all(rate > 0 for rate in result["beside"].values())
    if name.startswith(("upload", "download")):
        size = 1024 * 1024 if name == "download-range" else 6 * 1024 * 1024
        assert result["bytes"] == result["count"] * size
    assert tags(server, "work/bench") == []
    for number in range(16):
        assert tags(server, f"work/bench/{number}") == []


def test_the_client_hashes_what_it_sends_and_receives(server: Serve) -> None:
    found = figures(url_of(server), "--only", "upload-put,download,manifest-get-tag", "--hash")
    assert all(result["count"] > 0 and result["errors"] == {} for result in found.values())


@pytest.mark.parametrize(
    "name, method, path, others",
    [
        pytest.param("manifest-get-tag", "GET", "/manifests/image-", 32, id="reads"),
        pytest.param("blob-head", "HEAD", "/blobs/", 32, id="heads"),
        pytest.param("download", "GET", "/blobs/", 1, id="downloads"),
    ],
)
def test_the_count_of_reads_matches_the_log(logging: Serve, name: str, method: str, path: str, others: int) -> None:
    """`others` are the requests of the check."""
    result = figures(url_of(logging), "--only", name)[name]
    requests = [line for line in answered(logging) if line[0] == method and path in line[1]]
    assert {status for _, _, status in requests} == {200}
    assert len(requests) == result["count"] + others


def test_the_count_of_pushes_matches_the_log_and_all_is_deleted(logging: Serve) -> None:
    result = figures(url_of(logging), "--only", "image-push")["image-push"]
    requests = answered(logging)
    manifests = [
        path for method, path, status in requests if (method, status) == ("PUT", 201) and "/manifests/" in path
    ]
    blobs = [path for method, path, status in requests if (method, status) == ("PUT", 201) and "/uploads/" in path]
    # The operations of the trial before the measurement: four for each client.
    assert len(manifests) == result["count"] + 8
    assert len(blobs) == 2 * len(manifests)
    deleted = [path for method, path, status in requests if (method, status) == ("DELETE", 202)]
    assert len([path for path in deleted if "/manifests/sha256:" in path]) == len(manifests)
    assert len([path for path in deleted if "/blobs/" in path]) == len(blobs)


def test_keep_keeps(tmp_path: Path) -> None:
    with serving(tmp_path) as running:
        result = figures(url_of(running), "--only", "tags-put", "--keep")["tags-put"]
        kept = [tag for tag in tags(running, "work/bench") if tag.startswith("tag-")]
        assert len(kept) == result["count"] + 8
        assert running.get(f"/v2/work/bench/manifests/{kept[-1]}", "HEAD")[0] == 200


@pytest.mark.parametrize("name, parts", [("upload-put", 0), ("upload-chunked", 2)])
def test_an_upload_consists_of_the_requests_in_its_name(logging: Serve, name: str, parts: int) -> None:
    """6 MiB take two chunks of at most 5 MiB."""
    result = figures(url_of(logging), "--only", name)[name]
    methods = [method for method, path, _ in answered(logging) if "/uploads/" in path]
    uploads = result["count"] + 1
    assert [methods.count(method) for method in ("POST", "PATCH", "PUT")] == [uploads, uploads * parts, uploads]


def test_an_unsupported_workload_is_reported(tmp_path: Path) -> None:
    with serving(tmp_path, "--disable-single-post-upload", "--disable-referrers-api") as running:
        done = bench(
            url_of(running), "--only", "upload-post,referrers-page,blob-head", "--json", str(tmp_path / "json")
        )
    assert done.returncode == 0, done.stderr
    workloads = {each["name"]: each for each in json.loads((tmp_path / "json").read_text())["workloads"]}
    assert workloads["upload-post"]["errors"] == {"202": 1}
    assert "does not take a blob in one POST" in workloads["upload-post"]["failed"]
    assert list(workloads["referrers-page"]["errors"]) == ["404"]
    assert "/referrers/sha256:" in workloads["referrers-page"]["failed"]
    assert workloads["blob-head"]["failed"] is None
    assert "does not take a blob in one POST" in done.stdout
    assert [line.split()[0] for line in done.stdout.splitlines()[:4]] == ["workload", *workloads]


def test_no_server() -> None:
    done = bench("http://127.0.0.1:1", "--only", "blob-head")
    assert done.returncode == 1
    assert done.stderr.startswith("ociserver: 127.0.0.1 port 1 cannot be reached: connection refused; ")
    assert "is the registry running?" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "url, arguments, status, said",
    [
        ("ftp://host", (), 1, "write http://localhost:5000"),
        ("localhost:5000", (), 1, "write http://localhost:5000"),
        (
            "http://localhost:5000",
            ("--only", "blob-heads"),
            2,
            "'blob-heads' is not a workload; choose from manifest-get-tag,",
        ),
        ("http://localhost:5000", ("--repository", "A"), 2, "'A' is not the name of a repository"),
        ("http://localhost:5000", ("--seconds", "0"), 2, "must be more than 0"),
    ],
)
def test_the_message_says_what_is_wrong(url: str, arguments: tuple[str, ...], status: int, said: str) -> None:
    done = bench(url, *arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr


def test_no_registry(server: Serve) -> None:
    done = bench(f"{url_of(server)}/elsewhere")
    assert done.returncode == 1
    assert "answers 404 to GET /v2/" in done.stderr


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Make child processes interruptible, even if a shell has set SIGINT to be ignored, as it does for `&`."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_cleans_up(server: Serve) -> None:
    arguments = [url_of(server), *QUICK, "--only", "tags-put", "--seconds", "60"]
    process = subprocess.Popen(
        [*BENCH, *arguments],
        env=clean_environment(None),
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + TIMEOUT_S
    while len(tags(server, "work/bench")) < 20:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, printed = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 1
    assert "Aborted!" in printed
    assert tags(server, "work/bench") == []


def test_figures_survive_a_registry_that_goes_away(tmp_path: Path) -> None:
    with serving(tmp_path) as running:
        process = subprocess.Popen(
            [
                *BENCH,
                url_of(running),
                *QUICK,
                "--only",
                "blob-head,tags-put,image-pull",
                "--seconds",
                "2",
                "--json",
                "-",
            ],
            env=clean_environment(None),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + TIMEOUT_S
        while len(tags(running, "work/bench")) < 40:  # blobs have none: the second workload has begun
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        running.process.kill()
        output, printed = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, printed
    report = json.loads(output)
    first, second, third = report["workloads"]
    assert first["failed"] is None
    assert first["count"] > 0
    assert set(second["errors"]) & {"no connection", "connection lost"}
    assert "is the registry running?" in third["failed"]
    assert report["not_deleted"]["no connection"] > 40
    assert "not everything in " in printed


def test_tls(tmp_path: Path) -> None:
    """An authority has issued the certificate, for the name and the address."""
    files = ("--tls-cert", str(CERTIFICATES / "issued.pem"), "--tls-key", str(CERTIFICATES / "issued-key.pem"))
    trusting = clean_environment({"SSL_CERT_FILE": str(CERTIFICATES / "authority.pem")})
    with serving(tmp_path, *files) as running:
        for host in ("localhost", "127.0.0.1"):
            command = [*BENCH, f"https://{host}:{running.port}", *QUICK, "--only", "upload-put,download", "--json", "-"]
            done = subprocess.run(command, env=trusting, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
            for workload in json.loads(done.stdout)["workloads"]:
                assert (workload["failed"], workload["errors"]) == (None, {})
                assert workload["bytes"] == workload["count"] * 6 * 1024 * 1024 > 0
        refused = bench(f"https://localhost:{running.port}", "--only", "blob-head")
    assert refused.returncode == 1
    assert "certificate" in refused.stderr
