"""Figures are combined, compared with the targets, and shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benches.compare.documents import DOCUMENTS, Kind, blocks, overview, replaced
from benches.compare.plots import plot
from benches.compare.results import Figure, Group, Report, Sample, load, load_all
from benches.compare.tables import group_section
from benches.compare.targets import rows
from benches.compare.works import GROUPS

LABELS = {
    "ociserver": "ociserver",
    "distribution3": "distribution 3",
    "distribution3+s3": "distribution 3 over S3",
    "ociserver+s3": "ociserver over S3",
    "distribution2": "distribution 2.8",
    "ociregistry": "Go",
    "constant": "constant",
    "nginx": "nginx",
}


def figure(work: str, server: str, *rates: float, unit: str = "requests/s", cpu: float = 1.0) -> Figure:
    samples = [
        Sample(rate, 1.0, 2.0, int(rate), 1.0, int(rate), cpu, 0.1, {}) for rate in rates
    ]  # fmt: skip
    return Figure(work, work, unit, server, samples)


def report(*figures: Figure) -> Report:
    return Report({"reads": Group("reads", {"rounds": 3}, LABELS, {}, list(figures), {"ociserver": 80.0}, {})})


def reached(*figures: Figure) -> Iterator[tuple[str, str, str]]:
    return ((row[3], row[4], row[6]) for row in rows(report(*figures)) if row[3])


def test_the_median_of_the_rounds_is_compared() -> None:
    found = reached(
        figure("image-pull", "ociserver", 100, 260, 900), figure("image-pull", "distribution3", 190, 200, 210)
    )
    assert list(found) == [("best on disk", "1.30", "yes")]


def test_what_is_missed_is_said() -> None:
    found = reached(figure("image-pull", "ociserver", 259), figure("image-pull", "distribution3", 200))
    assert [answer for *_, answer in found] == ["no"]


def test_the_best_peer_counts_and_one_in_memory_is_not_on_disk() -> None:
    found = reached(
        figure("image-pull", "ociserver", 400),
        figure("image-pull", "distribution3", 100),
        figure("image-pull", "distribution2", 200),
        figure("image-pull", "ociregistry", 9000),
        figure("image-pull", "distribution3+s3", 300),
    )
    assert [ratio for _, ratio, _ in found] == ["2.00"]


def test_ours_over_a_folder_is_not_compared_with_one_over_objects() -> None:
    found = reached(figure("image-push", "ociserver", 400), figure("image-push", "distribution3+s3", 100))
    assert {answer for *_, answer in found} == {"-"}


def test_both_over_objects_are_compared() -> None:
    found = reached(figure("image-push", "ociserver+s3", 400), figure("image-push", "distribution3+s3", 100))
    assert list(found) == [("distribution, both over the same object store", "4.00", "yes")]


def test_without_a_peer_of_that_kind_nothing_is_claimed() -> None:
    assert [answer for *_, answer in reached(figure("image-pull", "ociserver", 400))] == ["-"]


def test_a_cost_is_to_be_less() -> None:
    both = [
        figure("download", "ociserver", 1e9, unit="bytes/s", cpu=0.4),
        figure("download", "distribution3", 1e9, unit="bytes/s", cpu=0.5),
    ]
    costs = [found for found in reached(*both) if "CPU" in found[0]]
    assert costs == [("best on disk, CPU s/GB", "0.80", "yes")]


def test_a_target_beyond_the_constant_answer_does_not_count() -> None:
    found = reached(
        figure("manifest-get-tag", "ociserver", 900),
        figure("manifest-get-tag", "distribution3", 800),
        figure("manifest-get-tag", "constant", 1000),
    )
    assert {what: answer for what, _, answer in found}["best on disk"] == "beyond the constant answer"


def test_memory_has_a_limit() -> None:
    assert ("peak memory, all processes", "80 MiB", "", "", "", "< 100 MiB", "yes") in list(rows(report()))


def test_groups_are_put_together_and_work_is_replaced(tmp_path: Path) -> None:
    first = [figure("manifest-get-tag", "ociserver", 1), figure("blob-get-4k", "ociserver", 2)]
    Group("reads", {"rounds": 3}, LABELS, {}, first, {}, {}).save(tmp_path)
    Group("reads", {"rounds": 3}, LABELS, {}, [figure("blob-get-4k", "ociserver", 3)], {}, {}).save(tmp_path)
    assert {one.work: one.median() for one in load(tmp_path / "reads.json").figures} == {
        "manifest-get-tag": 1,
        "blob-get-4k": 3,
    }
    assert list(load_all(tmp_path, ["reads", "uploads"]).groups) == ["reads"]


def test_a_failure_is_in_the_table_with_its_reason() -> None:
    failed = Figure("mount", "mount of a blob", "requests/s", "ociregistry", [], "it answers 404")
    text = group_section(report(figure("mount", "ociserver", 5), failed).groups["reads"])
    assert "| Go | no |" in text
    assert "- Go, mount of a blob: it answers 404" in text


def test_an_overview_has_a_column_for_each_registry_and_none_for_bounds() -> None:
    measured = report(
        figure("download", "ociserver", 2e9, unit="bytes/s", cpu=0.5),
        figure("download", "nginx", 3e9, unit="bytes/s"),
        figure("mount", "ociserver", 50),
    )
    text = overview(measured, ["download", "mount"])
    assert "| download, GB/s | 2.00 | no | no | no |" in text
    assert "| mount, per second | 50 | no | no | no |" in text
    assert "nginx" not in text
    assert "| download, s/GB | 0.25 | no | no | no |" in overview(measured, ["download"], Kind.COST)


def test_only_the_named_blocks_of_a_document_change() -> None:
    block = "<!-- figures: {} -->\n{}\n<!-- end of figures -->\n"
    text = f"a\n{block.format('one', 'old')}b\n{block.format('two', 'kept')}"
    assert replaced(text, {"one": "new"}) == text.replace("old\n", "\nnew\n\n")


def test_each_part_has_a_place_in_a_document_and_each_place_a_part() -> None:
    groups = {name: Group(name, {"rounds": 3}, LABELS, {}) for name in GROUPS}
    places = {name for path in DOCUMENTS for name in re.findall(r"<!-- figures: ([a-z-]+) -->", path.read_text())}
    assert places == set(blocks(Report(groups)))


@pytest.mark.parametrize("works", [["blob-get-4k"], ["blob-get-4k", "download", "image-push", "mount"]])
def test_the_same_figures_give_the_same_picture(tmp_path: Path, works: list[str]) -> None:
    measured = report(*(figure(work, "ociserver", 10, 20, 30) for work in works))
    for name in ("a.svg", "b.svg"):
        plot(measured, works, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    picture = (tmp_path / "a.svg").read_text()
    assert all(work in picture for work in works)
    # It has no background of its own, and other colours on a dark page.
    assert "#ffffff" not in picture
    assert "prefers-color-scheme: dark" in picture


def test_rounds_in_which_the_cores_share_no_cache_are_told_from_the_others() -> None:
    ours = figure("upload-put", "ociserver", 4e9, 1e9, 2e9, unit="bytes/s")
    ours.samples = [replace(one, apart_ns=apart) for one, apart in zip(ours.samples, (31, 160, 33), strict=True)]
    theirs = figure("upload-put", "distribution3", 5e8, unit="bytes/s")
    text = group_section(Group("uploads", {}, LABELS, {}, [ours, theirs], {}, {}))
    assert "| ociserver | 3.00 (2) / 1.00 (1) |" in text
    assert "| distribution 3 | - / - |" in text


def test_where_the_cores_always_share_a_cache_nothing_is_said_of_it() -> None:
    ours = figure("upload-put", "ociserver", 4e9, unit="bytes/s")
    ours.samples = [replace(one, apart_ns=31) for one in ours.samples]
    assert "apart" not in group_section(Group("uploads", {}, LABELS, {}, [ours], {}, {}))
