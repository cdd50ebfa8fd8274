"""What a server with two workers counts is what its clients have sent and got."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.metrics.generated import Generator
from tests.metrics.scraping import WAIT_S, Scrape, eventually, scrape
from tests.support.server import Server, free_port, serve, workers_of

CLIENTS = 4
RELOADS = 3
KILLS = 1
MOST_KILLS = 8

COUNT = "http_server_request_duration_seconds_count"


def by_status(page: Scrape) -> dict[tuple[str, ...], float]:
    return page.by(COUNT, "http_request_method", "http_response_status_code")


def counted(page: Scrape) -> tuple[Any, ...]:
    received = page.total("ociserver_http_received_bytes_total")
    return by_status(page), received, page.total("ociserver_http_sent_bytes_total")


def monotonic(page: Scrape) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """The samples that must never go back."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in page.families
        if family.type in ("counter", "histogram")
        for sample in family.samples
    }


def until_all_serve(server: Server) -> None:
    """Wait for the line that the parent writes when all workers serve."""
    deadline = time.monotonic() + WAIT_S
    while "metrics are at" not in server.log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def assert_not_back(before: Scrape, after: Scrape) -> None:
    later = monotonic(after)
    back = {name: (value, later.get(name)) for name, value in monotonic(before).items() if later.get(name, 0) < value}
    assert not back


def test_what_two_workers_count_is_what_the_clients_counted_also_beside_reloads(tmp_path: Path) -> None:
    port, config = free_port(), tmp_path / "registry.toml"
    config.write_text(f'[registry]\nkind = "store"\ndata = "{tmp_path}/data"\n[metrics]\naddress = "{port}"\n')
    with serve(["--config", str(config), "--workers", "2"], tmp_path) as server:
        # What the start itself has asked: /readyz is none of the registry's requests.
        assert by_status(scrape(port)) == {}
        clients = [Generator(server, number) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        pages = [scrape(port)]
        for _ in range(RELOADS):
            os.kill(server.pid, signal.SIGHUP)
            time.sleep(0.5)
            pages.append(scrape(port))
            assert_not_back(pages[-2], pages[-1])
        for client in clients:
            client.stop()
        answers: Counter[tuple[str, ...]] = Counter()
        for client in clients:
            answers.update(client.answers)
        assert not any(client.broken for client in clients)
        assert {status for _, status in answers} >= {"200", "201", "202", "206", "400", "404"}
        expected = (
            {key: float(number) for key, number in answers.items()},
            float(sum(client.sent for client in clients)),
            float(sum(client.received for client in clients)),
        )
        page = eventually(port, counted, expected)
        assert_not_back(pages[-1], page)
        assert page.total("http_server_active_requests") == 0
        assert page.total("ociserver_worker_starts_total") == 2
        assert page.total("ociserver_processes") == 3
        assert server.log.read_text().count("was reloaded") == RELOADS


def test_a_killed_worker_takes_nothing_with_it(tmp_path: Path) -> None:
    port = free_port()
    arguments = ["--data", str(tmp_path / "data"), "--workers", "2", "--metrics-address", str(port)]
    with serve(arguments, tmp_path) as server:
        until_all_serve(server)
        clients = [Generator(server, number) for number in range(2 * CLIENTS)]
        for client in clients:
            client.start()
        pages = [eventually(port, lambda page: page.total("ociserver_worker_starts_total"), 2.0)]
        kills = 0
        # On a loaded machine no request may be in flight when a worker is killed. Then more are killed.
        while kills < KILLS or (kills < MOST_KILLS and not any(client.broken for client in clients)):
            time.sleep(0.5)
            os.kill(workers_of(server)[0], signal.SIGKILL)
            pages.append(scrape(port))
            assert_not_back(pages[-2], pages[-1])
            kills += 1
            page = eventually(port, lambda page: page.total("ociserver_worker_starts_total"), 2.0 + kills)
            assert_not_back(pages[-1], page)
            pages.append(page)
        for client in clients:
            client.stop()
        got = sum(sum(client.answers.values()) for client in clients)
        broken = sum(client.broken for client in clients)
        assert broken, "no request was cut off"
        # A request that was cut off may have been counted, and one that was answered just before a kill may not.
        total = scrape(port).total(COUNT)
        assert got - len(clients) * kills <= total <= got + broken
        # The requests of the killed workers are no longer active.
        eventually(port, lambda page: page.total("http_server_active_requests"), 0.0)
