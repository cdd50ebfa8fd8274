"""Every hostile request gets a 4xx with an error code, and afterwards the server works as before."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.hostile.application import BLOB_DIGEST
from tests.hostile.attempt import Attempt, Fate, below, raw
from tests.hostile.client import Outcome, exchange
from tests.hostile.every import ATTEMPTS
from tests.hostile.server import GROWTH_MIB, PEAK_MIB, attack, hostile_site, memory_mib
from tests.hostile.table import DOCUMENT, render
from tests.serving.site import Site


@dataclass(frozen=True, slots=True)
class Attacked:
    """A server to which every attempt was sent once."""

    site: Site
    log: Path
    outcomes: dict[str, Outcome]
    began_mib: float


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    log = tmp_path_factory.mktemp("hostile") / "granian.log"
    with hostile_site(log) as site:
        began = memory_mib(site) if sys.platform == "linux" else 0
        yield Attacked(site, log, attack(site), began)


def test_there_are_enough() -> None:
    names = Counter(attempt.name for attempt in ATTEMPTS)
    assert max(names.values()) == 1
    assert sum(attempt.fate is not Fate.TAKEN for attempt in ATTEMPTS) >= 200


@pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda attempt: attempt.name)
def test_an_attempt(attacked: Attacked, attempt: Attempt) -> None:
    outcome = attacked.outcomes[attempt.name]
    if attempt.fate is Fate.REFUSED:
        assert outcome.is_coded
    elif attempt.fate is Fate.STOPPED:
        assert outcome.is_refused
    elif attempt.fate is Fate.FULL:
        assert (outcome.status, outcome.code) == (507, "UNKNOWN")
    else:
        assert 200 <= outcome.status < 300
    # A smuggled request would get a second answer.
    assert outcome.answers <= 1


def test_the_table_is_up_to_date(attacked: Attacked) -> None:
    assert DOCUMENT.read_text() == render(attacked.outcomes, GROWTH_MIB), "run python -m tests.hostile.table"


def test_the_server_still_serves(attacked: Attacked) -> None:
    for target in ("/v2/", below(f"blobs/{BLOB_DIGEST}")):
        assert exchange(attacked.site, [raw("GET", target)]).status == 200


def test_nothing_of_it_was_stored(attacked: Attacked) -> None:
    assert exchange(attacked.site, [raw("GET", "/v2/smuggled/tags/list")]).code == "NAME_UNKNOWN"
    assert exchange(attacked.site, [raw("GET", "/v2/a/tags/list")]).code == "NAME_UNKNOWN"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_flat(attacked: Attacked) -> None:
    before = memory_mib(attacked.site)
    attack(attacked.site)
    after = memory_mib(attacked.site)
    assert after - before < GROWTH_MIB
    assert memory_mib(attacked.site, "VmHWM") - attacked.began_mib < PEAK_MIB


def test_the_log_has_no_traceback(attacked: Attacked) -> None:
    assert "Traceback" not in attacked.log.read_text(errors="replace")
