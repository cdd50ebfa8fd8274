"""A workload that is measured in rounds: set up once, pushes nothing twice, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest

from ociserver.bench import WORKLOADS, Bench, Prepared, Settings, Target
from ociserver.bench.loaded import Loaded
from ociserver.bench.pushes import Pushes
from tests.cli.process import Serve, serving

CLIENTS = 2
TRIED = 4 * CLIENTS
SETTINGS = Settings("work/rounds", CLIENTS, 0.1, 1 << 20, 50)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    with serving(tmp_path_factory.mktemp("prepared")) as running:
        yield running


def url_of(running: Serve) -> str:
    return f"http://127.0.0.1:{running.port}"


def tags(running: Serve, repository: str) -> list[str]:
    answer = httpx.get(f"{url_of(running)}/v2/{repository}/tags/list")
    return list(answer.json().get("tags") or []) if answer.status_code == 200 else []


def test_each_round_writes_new_contents(server: Serve) -> None:
    prepared = Bench(Target(url_of(server)), SETTINGS).prepare("tags-put")
    rounds = [prepared.measure() for _ in range(3)]
    assert all(one.failed is None and one.count for one in rounds)
    written = [tag for tag in tags(server, SETTINGS.repository) if tag.startswith("tag-")]
    assert len(written) == TRIED + sum(one.count for one in rounds)
    assert prepared.clean() == {}
    assert tags(server, SETTINGS.repository) == []


def test_contents_for_reads_are_pushed_once(server: Serve) -> None:
    prepared = Bench(Target(url_of(server)), SETTINGS).prepare("tags-page")
    prepared.set_up()
    pushed = tags(server, SETTINGS.repository)
    assert len(pushed) == 1 + SETTINGS.entries
    assert all(prepared.measure().count for _ in range(2))
    assert tags(server, SETTINGS.repository) == pushed
    assert prepared.clean() == {}


@pytest.mark.parametrize("name", ["manifest-get-tag", "download", "manifest-get-tag-loaded", "image-push-loaded"])
def test_contents_for_reads_are_pushed_again_after_they_were_deleted(server: Serve, name: str) -> None:
    """As in rounds between which the disk is emptied."""
    settings = Settings(f"work/again-{name}", CLIENTS, 0.1, 1 << 20, 50)
    prepared = Bench(Target(url_of(server)), settings).prepare(name)
    for _ in range(3):
        result = prepared.measure()
        assert result.failed is None
        assert result.count
        assert not result.errors
        assert prepared.clean() == {}


def test_a_setup_that_takes_too_long_is_stopped_and_cleaned_up(server: Serve) -> None:
    settings = Settings("work/long", CLIENTS, 0.1, 1 << 20, 50_000, setup_seconds=0.5)
    prepared = Bench(Target(url_of(server)), settings).prepare("tags-page")
    result = prepared.measure()
    assert prepared.failed == result.failed
    assert result.failed is not None
    assert result.failed.endswith(" of 50000 pushes were finished within 0.5 s")
    assert 0 < len(tags(server, "work/long")) < 50_000
    assert prepared.clean() == {}
    assert tags(server, "work/long") == []


def test_each_round_reports_a_registry_that_is_gone(server: Serve) -> None:
    prepared = Bench(Target("http://127.0.0.1:9"), SETTINGS).prepare("image-push")
    for _ in range(2):
        failed = prepared.measure().failed
        assert failed is not None
        assert "is the registry running?" in failed


def test_a_workload_without_operations_left_says_so(server: Serve) -> None:
    few = Settings("work/few", CLIENTS, 5.0, 1 << 20, 2)
    prepared = Bench(Target(url_of(server)), few).prepare("mount")
    # Two blobs for each of 16 repositories. Some are used for the trial before the measurement.
    assert prepared.measure().count == 2 * 16 - TRIED
    assert prepared.measure().failed == "no operations are left"
    assert prepared.clean() == {}


def test_nothing_is_measured_if_what_should_run_meanwhile_has_failed(server: Serve) -> None:
    target = Target(url_of(server))
    settings = Settings("work/loaded", CLIENTS, 0.1, 1 << 20, 50)
    # Its preparation may take no time.
    failing = replace(settings, repository="work/loaded/beside", setup_seconds=0.0)

    def prepared(name: str, settings: Settings) -> Prepared:
        return Prepared(name, target, settings, WORKLOADS[name](settings, Pushes(target.prefix)))

    loaded = Loaded("tags-put-loaded", prepared("tags-put", settings), [prepared("tags-page", failing)])
    result = loaded.measure()
    assert (result.name, result.count) == ("tags-put-loaded", 0)
    assert result.failed is not None
    assert result.failed.endswith("pushes were finished within 0 s")
    # Only those of the trial before the measurement.
    assert len([tag for tag in tags(server, "work/loaded") if tag.startswith("tag-")]) == TRIED
    assert loaded.clean() == {}
