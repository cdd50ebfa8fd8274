"""Reads the metrics of a server as Prometheus does."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

WAIT_S = 20.0


@dataclass(frozen=True, slots=True)
class Scrape:
    """The families of a page."""

    families: list[Metric]
    text: str

    def total(self, sample: str, **labels: str) -> float:
        """The sum of the samples with a name and with these labels, whatever their others."""
        return sum(
            found.value
            for family in self.families
            for found in family.samples
            if found.name == sample and all(found.labels.get(name) == value for name, value in labels.items())
        )

    def by(self, sample: str, *names: str) -> dict[tuple[str, ...], float]:
        """The sums of the samples with a name, by the values of some labels, without zeros."""
        sums: dict[tuple[str, ...], float] = {}
        for family in self.families:
            for found in family.samples:
                if found.name == sample and found.value:
                    key = tuple(found.labels[name] for name in names)
                    sums[key] = sums.get(key, 0.0) + found.value
        return sums

    def names(self) -> set[str]:
        return {sample.name for family in self.families for sample in family.samples}


def read(text: str) -> Scrape:
    families: list[Metric] = list(text_string_to_metric_families(text))
    return Scrape(families, text)


def scrape(port: int) -> Scrape:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=WAIT_S) as answer:
        return read(answer.read().decode())


def eventually(port: int, ask: Callable[[Scrape], Any], expected: Any) -> Scrape:
    """Scrape until `ask` gives what is expected. A server counts a request just after it has sent the answer."""
    deadline = time.monotonic() + WAIT_S
    while True:
        page = scrape(port)
        found = ask(page)
        if found == expected:
            return page
        assert time.monotonic() < deadline, f"{found} is not {expected}"
        time.sleep(0.1)
