"""What one server counts besides requests, and how it is switched on."""

from __future__ import annotations

import contextlib
import gzip
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

import ociserver
from ociserver._core import RequestRow
from ociserver.metrics import recorder
from ociserver.metrics.listener import MAX_SCRAPES, Listener, listen
from ociserver.metrics.shared import MAX_ROWS, ROW_WIDTH, Shared, rows_of
from tests.auth.registry import basic, bearer, htpasswd
from tests.cli.process import clean_environment, run_to_end
from tests.metrics.generated import LARGE, Generator, digest_of
from tests.metrics.scraping import WAIT_S, eventually, scrape
from tests.support.http import send
from tests.support.server import free_port, serve

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"


@pytest.mark.parametrize("kept", ["memory", "store"])
def test_what_a_store_holds(kept: str, tmp_path: Path) -> None:
    port = free_port()
    arguments = ["--memory"] if kept == "memory" else ["--data", str(tmp_path / "data")]
    with serve([*arguments, "--metrics-address", f"127.0.0.1:{port}"], tmp_path) as server:
        client = Generator(server, 1)
        client.step()
        client.close()
        pushed = client.blobs
        send(server, "POST", "/v2/other/blobs/uploads/")
        # The same blob in another repository has the same bytes on the disk.
        content = next(iter(pushed.values()))
        send(server, "POST", f"/v2/other/blobs/uploads/?digest={digest_of(content)}", content)
        page = eventually(port, lambda page: page.total("ociserver_uploads_open"), 1.0)
        assert page.total("ociserver_blobs") == len(pushed)
        assert page.total("ociserver_stored_bytes") == sum(map(len, pushed.values()))
        assert page.total("ociserver_manifests") == 1
        commits = page.total("ociserver_store_commit_duration_seconds_count")
        if kept == "memory":
            assert "ociserver_disk_available_bytes" not in page.names()
            assert commits == 0
        else:
            assert page.total("ociserver_disk_available_bytes") > 0
            assert 0 < commits <= page.total("ociserver_store_transactions_total")
        assert page.total("process_cpu_seconds_total") > 0
        assert page.total("process_resident_memory_bytes") > 1e6


def test_errors_are_counted_by_their_codes(tmp_path: Path) -> None:
    port = free_port()
    with serve(["--memory", "--metrics-address", str(port)], tmp_path) as server:
        for path in ("/v2/a/manifests/b", "/v2/a/blobs/sha256:x", "/v2/A/manifests/b", "/v2/a/tags/list", "/other"):
            send(server, "GET", path)
        send(server, "BREW", "/v2/a/tags/list")
        page = eventually(port, lambda page: page.total("ociserver_errors_total"), 6.0)
        assert page.by("ociserver_errors_total", "code") == {
            ("NAME_UNKNOWN",): 3.0,
            ("DIGEST_INVALID",): 1.0,
            ("NAME_INVALID",): 1.0,
            ("UNKNOWN",): 1.0,
        }
        count = "http_server_request_duration_seconds_count"
        assert page.total(count, http_request_method="_OTHER", http_route="_OTHER") == 1
        assert page.total(count, http_request_method="GET", http_route="tags_list") == 1
        assert "BREW" not in page.text


def test_every_address_is_also_every_one_of_ipv4(tmp_path: Path) -> None:
    """The container image listens there if REGISTRY_HTTP_DEBUG_ADDR has only a port."""
    port = free_port()
    host = "[::]" if socket.has_dualstack_ipv6() else "0.0.0.0"  # noqa: S104
    with serve(["--memory", "--metrics-address", f"{host}:{port}"], tmp_path):
        assert scrape(port).total("ociserver_worker_starts_total") == 1


def test_slow_clients_do_not_keep_prometheus_out() -> None:
    listening = listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    listener = Listener(listening, CollectorRegistry(), max_scrape_s=0.5)
    listener.start()
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(MAX_SCRAPES)]
    try:
        deadline = time.monotonic() + WAIT_S
        while True:
            for each in slow:
                with contextlib.suppress(OSError):
                    each.send(b"G")
            try:
                scrape(port)
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
    finally:
        for each in slow:
            each.close()
        listener.stop()


def test_active_requests_are_those_that_have_not_ended(tmp_path: Path) -> None:
    port = free_port()
    with serve(["--memory", "--metrics-address", str(port)], tmp_path) as server:
        with socket.create_connection((server.host, server.port)) as client:
            client.sendall(b"POST /v2/a/blobs/uploads/?digest=sha256:" + b"0" * 64 + b" HTTP/1.1\r\nHost: x\r\n")
            client.sendall(b"Content-Length: 1000\r\n\r\nbegin")
            eventually(port, lambda page: page.total("http_server_active_requests"), 1.0)
        eventually(port, lambda page: page.total("http_server_active_requests"), 0.0)


def test_collections_are_counted(tmp_path: Path) -> None:
    port = free_port()
    arguments = ["--data", str(tmp_path / "data"), "--metrics-address", str(port), "--collect-every", "100ms"]
    with serve([*arguments, "--unreferenced-after", "0", "--grace", "0"], tmp_path) as server:
        # Bytes of small blobs are in the database, and stay there as free pages.
        content = bytes(LARGE)
        send(server, "POST", f"/v2/a/blobs/uploads/?digest={digest_of(content)}", content)
        page = eventually(port, lambda page: page.total("ociserver_collection_freed_bytes_total"), float(LARGE))
        assert page.total("ociserver_collections_total", result="success") >= 1
        assert page.total("ociserver_collections_total", result="failure") == 0
        assert page.total("ociserver_collection_duration_seconds_sum") > 0
        assert page.total("ociserver_collection_last_success_timestamp_seconds") > 1.7e9


def test_sign_ins_and_tokens_are_counted(tmp_path: Path) -> None:
    htpasswd(tmp_path)
    port, config = free_port(), tmp_path / "registry.toml"
    config.write_text(f"""
        [registry]
        kind = "memory"
        [metrics]
        address = "127.0.0.1:{port}"
        [auth]
        htpasswd = {{ file = "users.htpasswd" }}
        rules = [{{ users = ["alice"], allow = ["pull", "push"], repositories = ["**"] }}]
    """)
    with serve(["--config", str(config)], tmp_path) as server:
        assert send(server, "GET", "/v2/token", headers=basic("alice")).status == 200
        assert send(server, "GET", "/v2/token", headers=basic("alice", "a wrong secret")).status == 401
        assert send(server, "GET", "/v2/", headers=bearer("x.y.z")).status == 401
        page = eventually(port, lambda page: page.total("ociserver_sign_ins_total"), 3.0)
        assert page.by("ociserver_sign_ins_total", "via", "result") == {
            ("htpasswd", "accepted"): 1.0,
            ("htpasswd", "refused"): 1.0,
            ("token", "refused"): 1.0,
        }
        assert page.total("ociserver_tokens_issued_total") == 1
        assert "alice" not in page.text


def test_the_registry_has_no_metrics_on_its_own_port(tmp_path: Path) -> None:
    port = free_port()
    with serve(["--memory", "--metrics-address", str(port)], tmp_path) as server:
        assert send(server, "GET", "/metrics").status == 404
        assert scrape(port).total("ociserver_worker_starts_total") == 1
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/")
        request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"Accept-Encoding": "gzip"})
        with urllib.request.urlopen(request) as answer:  # noqa: S310
            assert b"ociserver_build_info" in gzip.decompress(answer.read())


def test_an_address_in_use_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run_to_end("--memory", "--port", "0", "--metrics-address", str(port))
    assert f"cannot answer scrapes at 127.0.0.1:{port}: Address already in use. Set --metrics-address" in done.stderr


@pytest.mark.parametrize("address", ["host", ":9100", "::1:9100", "1.2.3.4:99999", "[]:1"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    done = run_to_end("--memory", "--metrics-address", address)
    assert "--metrics-address" in done.stderr
    assert done.returncode == 2


def test_without_the_package_the_message_names_the_extra() -> None:
    script = "import sys; sys.modules['prometheus_client'] = None; from ociserver.cli import main; main()"
    command = [sys.executable, "-c", script, "serve", "--memory", "--metrics-address", "0"]
    done = subprocess.run(command, env=clean_environment(None), capture_output=True, text=True, check=False)
    assert "pip install 'ociserver[metrics]'" in done.stderr
    assert done.returncode == 1


def test_without_an_address_the_package_is_not_loaded(tmp_path: Path) -> None:
    with serve(["--memory"], tmp_path) as server:
        assert "prometheus" not in Path(f"/proc/{server.pid}/maps").read_text()
        assert send(server, "GET", "/metrics").status == 404


def test_statuses_without_end_have_one_row_in_the_end() -> None:
    """A `write_error` of one's own may answer with any status; the memory is bounded."""
    place = Shared.create(1).place(0)
    counted = recorder.Recorder(place)
    for status in range(100, 600):
        for kind in ("ping", "blob_get", None):
            counted.request_answered(ociserver.Event("", "", "GET", b"", kind, None, status, 0, 1, 0.01))
    again = recorder.Recorder(place)
    again.request_answered(ociserver.Event("", "", "GET", b"", "ping", None, 200, 0, 1, 0.01))
    rows = rows_of(place)
    assert len(rows) == MAX_ROWS
    assert sum(sum(place[at + RequestRow.BUCKETS : at + ROW_WIDTH]) for _, at in rows) == 1501
    assert sum(place[at + RequestRow.SUM] for _, at in rows) == pytest.approx(15.01)
    assert sum(place[at + RequestRow.BUCKETS + 1] for _, at in rows) == 1501, "0.01 is in the bucket that ends with it"
