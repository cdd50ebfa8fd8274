"""Traces, as a collector of OpenTelemetry gets them over OTLP and HTTP."""

from __future__ import annotations

import gzip
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.support.http import send
from tests.support.server import serve

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
WAIT_S = 20.0


@dataclass(frozen=True, slots=True)
class Collector:
    """What a collector has got."""

    port: int
    requests: list[ExportTraceServiceRequest] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def spans(self) -> list[Span]:
        return [
            span
            for request in list(self.requests)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def wait_for(self, count: int) -> list[Span]:
        deadline = time.monotonic() + WAIT_S
        while len(self.spans()) < count:
            assert time.monotonic() < deadline, f"only {len(self.spans())} of {count} spans came"
            time.sleep(0.05)
        return self.spans()

    def resource(self) -> dict[str, Any]:
        return values(self.requests[0].resource_spans[0].resource)


def values(owner: Any) -> dict[str, Any]:
    """The attributes of a span or a resource."""
    return {each.key: getattr(each.value, str(each.value.WhichOneof("value"))) for each in owner.attributes}


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            assert self.path == "/v1/traces"
            assert self.headers["Content-Type"] == "application/x-protobuf"
            collector.requests.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(server.server_port)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans are sent at once, and no variable of the person who tests counts."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")


def test_each_request_is_a_span_that_continues_the_clients_trace(tmp_path: Path) -> None:
    content = b"layer"
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    with collecting() as collector:
        with serve(["--memory", "--traces", "--traces-endpoint", collector.url], tmp_path) as server:
            headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "User-Agent": "test/1"}
            assert send(server, "POST", f"/v2/team/app/blobs/uploads/?digest={digest}", content).status == 201
            assert send(server, "GET", f"/v2/team/app/blobs/{digest}", headers=headers).status == 200
            assert send(server, "GET", "/v2/team/app/manifests/none").status == 404
            assert send(server, "GET", "/healthz").status == 200
            spans = {span.name: span for span in collector.wait_for(3)}
        assert collector.resource()["service.name"] == "ociserver"
    assert set(spans) == {"POST upload_blob", "GET blob_get", "GET manifest_get"}
    read = spans["GET blob_get"]
    assert (read.trace_id.hex(), read.parent_span_id.hex()) == (TRACE, PARENT)
    assert read.kind == Span.SPAN_KIND_SERVER
    assert read.status.code == Status.STATUS_CODE_UNSET
    assert read.end_time_unix_nano > read.start_time_unix_nano
    found = values(read)
    expected = {
        "http.request.method": "GET",
        "http.route": "blob_get",
        "http.response.status_code": 200,
        "http.response.body.size": len(content),
        "url.scheme": "http",
        "url.path": f"/v2/team/app/blobs/{digest}",
        "user_agent.original": "test/1",
        "network.protocol.version": "1.1",
        "client.address": "127.0.0.1",
        "server.port": server.port,
        "ociserver.repository": "team/app",
    }
    assert {name: found.get(name) for name in expected} == expected
    push, missing = spans["POST upload_blob"], spans["GET manifest_get"]
    assert not push.parent_span_id
    assert push.trace_id != read.trace_id
    assert values(push)["http.request.body.size"] == len(content)
    assert values(missing)["http.response.status_code"] == 404
    assert missing.status.code == Status.STATUS_CODE_UNSET, "an error of the client is none of the server"


def test_a_server_error_is_an_error_of_the_span_and_a_cache_passes_the_trace_on(tmp_path: Path) -> None:
    seen: list[str] = []

    class Upstream(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            if self.path != "/v2/":
                seen.append(self.headers.get("traceparent", ""))
            # A cache answers 502 then, and its client does not try again.
            self.send_response(200 if self.path == "/v2/" else 403)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with collecting() as collector, ThreadingHTTPServer(("127.0.0.1", 0), Upstream) as upstream:
        thread = threading.Thread(target=upstream.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        config = tmp_path / "registry.toml"
        config.write_text(f"""
            [telemetry]
            traces = true
            traces-endpoint = "{collector.url}"
            [registry]
            kind = "cache"
            local = {{ kind = "memory" }}
            upstream = {{ kind = "client", url = "http://127.0.0.1:{upstream.server_port}" }}
        """)
        try:
            with serve(["--config", str(config)], tmp_path) as server:
                headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
                answer = send(server, "GET", "/v2/team/app/manifests/latest", headers=headers)
                assert answer.status == 502, answer.body
                (span,) = collector.wait_for(1)
        finally:
            upstream.shutdown()
            thread.join()
    assert span.status.code == Status.STATUS_CODE_ERROR
    assert values(span)["error.type"] == str(answer.status)
    assert span.trace_id.hex() == TRACE
    assert seen
    assert set(seen) == {f"00-{TRACE}-{span.span_id.hex()}-01"}


def test_the_standard_variables_alone_switch_nothing_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
        with serve(["--memory"], tmp_path) as server:
            send(server, "GET", "/v2/")
            assert "opentelemetry" not in Path(f"/proc/{server.pid}/maps").read_text()
        assert collector.spans() == []


def test_with_the_switch_the_standard_variables_count_also_for_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_SERVICE_NAME", "my-registry")
        # Longer than the test: the spans are sent when the server ends.
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "600000")
        with serve(["--data", str(tmp_path / "data"), "--workers", "2", "--traces"], tmp_path) as server:
            send(server, "GET", "/v2/")
        assert [span.name for span in collector.spans()] == ["GET ping"]
        assert collector.resource()["service.name"] == "my-registry"


def test_a_collector_that_is_not_there_costs_no_request(tmp_path: Path) -> None:
    with serve(["--memory", "--traces", "--traces-endpoint", "http://127.0.0.1:9"], tmp_path) as server:
        for _ in range(20):
            assert send(server, "GET", "/v2/").status == 200
