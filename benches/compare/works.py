"""The measured works: workloads of `ociserver bench`, in groups that run one after another."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from benches.compare.peers import REPOSITORY
from ociserver.bench import Settings

MIB: Final = 1024 * 1024
SETUP_S: Final = 180.0
"""Seconds for pushing the entries of a list. A registry that needs longer fails this work."""


@dataclass(frozen=True, slots=True)
class Work:
    """One workload with its settings.

    Args:
        name: the name in the results.
        text: the name in tables.
        workload: a workload of `ociserver bench`, or `start`.
        large: bytes of a large blob.
        entries: entries of a list.
        bounds: the bounds that are measured in the same rounds.
        sync: sync the disk before each measurement, so that no server pays for the writes of another.
        clean: delete the pushed contents after each measurement.
        fill: fill free memory first; see `memory`.
        probe: try a few entries first, because pushing many takes long.
        collecting: run collection at the same time.
        hash: the client hashes what it sends and receives.
    """

    name: str
    text: str
    workload: str
    large: int = 256 * MIB
    entries: int = 1000
    bounds: tuple[str, ...] = ()
    sync: bool = False
    clean: bool = False
    fill: bool = False
    probe: bool = False
    collecting: bool = False
    hash: bool = False

    def settings(self, seconds: float) -> Settings:
        return Settings(f"{REPOSITORY}/{self.name}", 8, seconds, self.large, self.entries, SETUP_S, self.hash)

    def smaller(self) -> Work:
        """Return the same work with so little content that it only checks that the work runs."""
        large, entries = min(self.large, 8 * MIB), min(self.entries, 120)
        return replace(self, text=f"{self.text} (less)", large=large, entries=entries, fill=False)


def _read(name: str, text: str) -> Work:
    return Work(name, text, name, bounds=("constant", "nginx"))


def _upload(name: str, text: str) -> Work:
    large = (32 if name.endswith("parallel") else 256) * MIB
    return Work(name, text, name, large=large, bounds=("drop", "sha256"), sync=True, clean=True, fill=True)


def _page(kind: str, what: str, entries: int) -> Work:
    return Work(f"{kind}-page-{entries}", f"{what} {entries:,}", f"{kind}-page", entries=entries, probe=True)


GROUPS: Final[dict[str, tuple[Work, ...]]] = {
    "reads": (
        _read("manifest-get-tag", "GET manifest by tag"),
        _read("manifest-head-tag", "HEAD manifest by tag"),
        _read("manifest-get-digest", "GET manifest by digest"),
        _read("manifest-head-digest", "HEAD manifest by digest"),
        _read("blob-get-4k", "GET blob of 4 KiB"),
    ),
    "images": (
        Work("image-push", "push of a small image", "image-push", bounds=("fsync",), sync=True),
        Work(
            "image-push-collecting",
            "push of a small image, collection running",
            "image-push",
            sync=True,
            collecting=True,
        ),
        Work("image-push-patch", "push with PATCH requests, as docker does", "image-push-patch", sync=True),
        Work("image-pull", "pull of a small image", "image-pull"),
        Work("mount", "mount of a blob", "mount", entries=2000, sync=True),
        Work("start", "start-up to first answer", "start"),
    ),
    "loaded": (
        Work(
            "manifest-get-tag-loaded",
            "GET manifest, 16 large transfers running",
            "manifest-get-tag-loaded",
            large=32 * MIB,
            sync=True,
            clean=True,
        ),
        Work(
            "image-push-loaded",
            "push of a small image, 16 large transfers running",
            "image-push-loaded",
            large=32 * MIB,
            sync=True,
            clean=True,
        ),
    ),
    "uploads": (
        _upload("upload-put", "upload of 256 MiB in one PUT"),
        _upload("upload-chunked", "upload of 256 MiB in chunks of 5 MiB"),
        _upload("upload-post", "upload of 256 MiB in one POST"),
    ),
    "uploads-parallel": (
        _upload("upload-put-parallel", "upload of 32 MiB in one PUT, 8 clients"),
        _upload("upload-chunked-parallel", "upload of 32 MiB in chunks of 5 MiB, 8 clients"),
        _upload("upload-post-parallel", "upload of 32 MiB in one POST, 8 clients"),
    ),
    "downloads": (
        Work("download", "download of 64 MiB", "download", large=64 * MIB, bounds=("nginx",), sync=True, fill=True),
        Work(
            "download-parallel", "download of 64 MiB, 8 clients", "download-parallel", large=64 * MIB, bounds=("nginx",)
        ),
        Work(
            "download-range",
            "ranges of 1 MiB of a blob",
            "download-range",
            large=64 * MIB,
            bounds=("nginx",),
            fill=True,
        ),
    ),
    "tags": (
        Work("tags-put", "PUT a tag", "tags-put", sync=True),
        _page("tags", "page of 100 tags of", 5_000),
        _page("tags", "page of 100 tags of", 10_000),
    ),
    "lists": (
        _page("catalog", "page of 100 repositories of", 5_000),
        _page("referrers", "page of referrers of", 5_000),
        _page("referrers", "page of referrers of", 10_000),
    ),
}

TITLES: Final = {
    "reads": "Small reads",
    "images": "Small images, mounts, start-up",
    "loaded": "Small requests during large transfers",
    "uploads": "Uploads, one client",
    "uploads-parallel": "Uploads, eight clients",
    "downloads": "Downloads",
    "tags": "Tags",
    "lists": "Catalog and referrers",
}


def chosen(names: list[str]) -> dict[str, tuple[Work, ...]]:
    """Return the works by group that are named by group or by work, or all for no name.

    Raises:
        ValueError: a name is neither a group nor a work.
    """
    known = {*GROUPS, *(work.name for works in GROUPS.values() for work in works)}
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"{unknown[0]!r} is neither a group nor a work; known are {', '.join(sorted(known))}")
    if not names:
        return GROUPS
    groups = {
        group: tuple(work for work in works if group in names or work.name in names) for group, works in GROUPS.items()
    }
    return {group: works for group, works in groups.items() if works}
