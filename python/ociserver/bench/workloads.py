"""The workloads by name: what each pushes before, and what it measures."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final

from ociserver._core import LoadContent, LoadStep, digest_of
from ociserver.bench.pushes import ACCEPT, INDEX_TYPE, MANIFEST_TYPE, SMALL, Image, Pushes
from ociserver.bench.workload import Operation, Workload

__all__ = ["WORKLOADS", "Settings"]

_READ: Final = 32
"""Number of manifests or blobs that are read in turn."""

_RANGE: Final = 1024 * 1024
_RANGES: Final = 256
_CHECKED: Final = 4
"""Size of a range, number of ranges that are read in turn, and number of ranges whose bytes are verified."""

_REPOSITORIES: Final = 16
"""Number of repositories for pushes of images in turn, and for mounts."""

_PAGE: Final = 100


@dataclass(frozen=True, slots=True)
class Settings:
    """How to measure.

    Args:
        repository: gets all contents, together with repositories below it.
        clients: number of concurrent clients, except for workloads with one client.
        seconds: of each measurement, without the preparation.
        large: size of a large blob in bytes.
        entries: length of the lists whose pages are read.
        setup_seconds: limit for pushing what is read later; None for no limit.
        hash: the client hashes what it sends and receives, as real clients do.
        server: ids of the server's processes, whose processor time is measured with that of their descendants.
    """

    repository: str
    clients: int = 8
    seconds: float = 3.0
    large: int = 256 * 1024 * 1024
    entries: int = 1000
    setup_seconds: float | None = None
    hash: bool = False
    server: tuple[int, ...] = ()


_Make = Callable[[Settings, Pushes], Workload]


def _images(settings: Settings, pushes: Pushes, number: int) -> tuple[list[Image], list[Operation]]:
    images = [pushes.image() for _ in range(number)]
    return images, [pushes.push_image(settings.repository, image, f"image-{at}") for at, image in enumerate(images)]


def _manifest(method: str, *, by_tag: bool) -> _Make:
    def make(settings: Settings, pushes: Pushes) -> Workload:
        images, setup = _images(settings, pushes, _READ)

        def operation(at: int, image: Image, *, check: bool) -> Operation:
            reference = f"image-{at}" if by_tag else image.manifest_digest
            path = pushes.path(settings.repository, f"manifests/{reference}")
            digest = image.manifest_digest if check and method == "GET" else None
            return Operation([LoadStep(method, path, headers=ACCEPT, digest=digest)], ())

        return Workload(
            unit="requests/s",
            clients=settings.clients,
            setup=[setup],
            check=[operation(at, image, check=True) for at, image in enumerate(images)],
            operations=iter([operation(at, image, check=False) for at, image in enumerate(images)]),
            repeat=True,
            repositories=(settings.repository,),
        )

    return make


def _blob(method: str) -> _Make:
    def make(settings: Settings, pushes: Pushes) -> Workload:
        contents = [pushes.content(SMALL) for _ in range(_READ)]

        def operation(content: LoadContent, *, check: bool) -> Operation:
            digest = content.digest()
            path = pushes.path(settings.repository, f"blobs/{digest}")
            return Operation([LoadStep(method, path, digest=digest if check and method == "GET" else None)], ())

        return Workload(
            unit="requests/s",
            clients=settings.clients,
            setup=[[pushes.put_blob(settings.repository, content) for content in contents]],
            check=[operation(content, check=True) for content in contents],
            operations=iter([operation(content, check=False) for content in contents]),
            repeat=True,
            repositories=(settings.repository,),
        )

    return make


def _upload(push: Callable[[Pushes, str, LoadContent], Operation], *, parallel: bool) -> _Make:
    def make(settings: Settings, pushes: Pushes) -> Workload:
        return Workload(
            unit="bytes/s",
            clients=settings.clients if parallel else 1,
            operations=(push(pushes, settings.repository, pushes.content(settings.large)) for _ in count()),
            costly=True,
            repositories=(settings.repository,),
            refusals={"202": "the registry does not take a blob in one POST (it answers 202)"}
            if push is Pushes.post_blob
            else {},
        )

    return make


def _download(*, parallel: bool) -> _Make:
    def make(settings: Settings, pushes: Pushes) -> Workload:
        content = pushes.content(settings.large)
        digest = content.digest()
        path = pushes.path(settings.repository, f"blobs/{digest}")
        return Workload(
            unit="bytes/s",
            clients=settings.clients if parallel else 1,
            setup=[[pushes.put_blob(settings.repository, content)]],
            check=[Operation([LoadStep("GET", path, digest=digest)], ())],
            operations=iter([Operation([LoadStep("GET", path)], ())]),
            repeat=True,
            repositories=(settings.repository,),
        )

    return make


def _download_range(settings: Settings, pushes: Pushes) -> Workload:
    content = pushes.content(settings.large)
    path = pushes.path(settings.repository, f"blobs/{content.digest()}")
    size = min(_RANGE, settings.large)

    def operation(start: int, *, check: bool) -> Operation:
        fields = [("Range", f"bytes={start}-{start + size - 1}")]
        digest = content.part(start, size).digest() if check else None
        return Operation([LoadStep("GET", path, headers=fields, expect=[206], digest=digest)], ())

    starts = [secrets.randbelow(settings.large - size + 1) for _ in range(_RANGES)]
    return Workload(
        unit="bytes/s",
        clients=1,
        setup=[[pushes.put_blob(settings.repository, content)]],
        check=[operation(start, check=True) for start in starts[:_CHECKED]],
        operations=iter([operation(start, check=False) for start in starts]),
        repeat=True,
        repositories=(settings.repository,),
        refusals={"200": "the registry does not serve ranges (it answers 200)"},
    )


def _image_push(*, patch: bool) -> _Make:
    def make(settings: Settings, pushes: Pushes) -> Workload:
        repositories = [f"{settings.repository}/{number}" for number in range(_REPOSITORIES)]
        return Workload(
            unit="images/s",
            clients=settings.clients,
            operations=(
                pushes.push_image(repositories[number % _REPOSITORIES], pushes.image(), f"v{number}", patch=patch)
                for number in count()
            ),
            repositories=repositories,
        )

    return make


def _image_pull(settings: Settings, pushes: Pushes) -> Workload:
    images, setup = _images(settings, pushes, _READ)

    def operation(at: int, image: Image, *, check: bool) -> Operation:
        digests = (image.manifest_digest, image.config_digest, image.layer_digest)
        rests = (f"manifests/image-{at}", f"blobs/{image.config_digest}", f"blobs/{image.layer_digest}")
        steps = [
            LoadStep("GET", pushes.path(settings.repository, rest), headers=ACCEPT, digest=digest if check else None)
            for rest, digest in zip(rests, digests, strict=True)
        ]
        return Operation(steps, ())

    return Workload(
        unit="images/s",
        clients=settings.clients,
        setup=[setup],
        check=[operation(at, image, check=True) for at, image in enumerate(images)],
        operations=iter([operation(at, image, check=False) for at, image in enumerate(images)]),
        repeat=True,
        repositories=(settings.repository,),
    )


def _mount(settings: Settings, pushes: Pushes) -> Workload:
    contents = [pushes.content(SMALL) for _ in range(settings.entries)]
    digests = [content.digest() for content in contents]
    targets = [f"{settings.repository}/{number}" for number in range(_REPOSITORIES)]
    return Workload(
        unit="requests/s",
        clients=settings.clients,
        setup=[[pushes.put_blob(settings.repository, content) for content in contents]],
        operations=(pushes.mount_blob(settings.repository, target, digest) for target in targets for digest in digests),
        repositories=(settings.repository, *targets),
        refusals={"202": "the registry does not mount blobs of another repository (it answers 202)"},
    )


def _tags_put(settings: Settings, pushes: Pushes) -> Workload:
    images, setup = _images(settings, pushes, 1)
    return Workload(
        unit="requests/s",
        clients=settings.clients,
        setup=[setup],
        operations=pushes.tags(settings.repository, images[0]),
        repositories=(settings.repository,),
    )


def _tags_page(settings: Settings, pushes: Pushes) -> Workload:
    images, setup = _images(settings, pushes, 1)
    tags = pushes.tags(settings.repository, images[0])
    stages = [setup, [next(tags) for _ in range(settings.entries)]]
    return _page(settings, pushes.path(settings.repository, f"tags/list?n={_PAGE}"), stages, (settings.repository,))


def _referrers_page(settings: Settings, pushes: Pushes) -> Workload:
    images, setup = _images(settings, pushes, 1)
    subject, config = images[0], b"{}"
    config_digest = digest_of(config)
    setup.append(pushes.put_bytes(settings.repository, config, config_digest))
    referrers = []
    for number in range(settings.entries):
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPE,
                "artifactType": "application/vnd.example.bench",
                "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": config_digest, "size": 2},
                "layers": [{"mediaType": "application/vnd.oci.empty.v1+json", "digest": config_digest, "size": 2}],
                "subject": {
                    "mediaType": MANIFEST_TYPE,
                    "digest": subject.manifest_digest,
                    "size": len(subject.manifest),
                },
                "annotations": {"number": str(number)},
            }
        ).encode()
        referrers.append(pushes.push_manifest(settings.repository, digest_of(manifest), manifest))
    path = pushes.path(settings.repository, f"referrers/{subject.manifest_digest}")
    return _page(settings, path, [setup, referrers], (settings.repository,))


def _catalog_page(settings: Settings, pushes: Pushes) -> Workload:
    setup = []
    for number in range(settings.entries):
        # An empty index needs no blob, so a repository costs one request.
        index = json.dumps(
            {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [], "annotations": {"number": str(number)}}
        ).encode()
        repository = f"{settings.repository}/c{number:07}"
        setup.append(pushes.push_manifest(repository, digest_of(index), index, INDEX_TYPE))
    return _page(settings, pushes.root(f"_catalog?n={_PAGE}"), [setup], (), catalog=True)


def _page(
    settings: Settings,
    path: str,
    setup: Sequence[Sequence[Operation]],
    repositories: Sequence[str],
    *,
    catalog: bool = False,
) -> Workload:
    operations: Iterator[Operation] = iter([Operation([LoadStep("GET", path)], ())])
    return Workload(
        unit="requests/s",
        clients=settings.clients,
        setup=setup,
        operations=operations,
        repeat=True,
        repositories=repositories,
        catalog=catalog,
    )


WORKLOADS: Final[dict[str, _Make]] = {
    "manifest-get-tag": _manifest("GET", by_tag=True),
    "manifest-head-tag": _manifest("HEAD", by_tag=True),
    "manifest-get-digest": _manifest("GET", by_tag=False),
    "manifest-head-digest": _manifest("HEAD", by_tag=False),
    "blob-get-4k": _blob("GET"),
    "blob-head": _blob("HEAD"),
    "upload-put": _upload(Pushes.put_blob, parallel=False),
    "upload-chunked": _upload(Pushes.chunk_blob, parallel=False),
    "upload-post": _upload(Pushes.post_blob, parallel=False),
    "upload-put-parallel": _upload(Pushes.put_blob, parallel=True),
    "upload-chunked-parallel": _upload(Pushes.chunk_blob, parallel=True),
    "upload-post-parallel": _upload(Pushes.post_blob, parallel=True),
    "download": _download(parallel=False),
    "download-parallel": _download(parallel=True),
    "download-range": _download_range,
    "image-push": _image_push(patch=False),
    "image-push-patch": _image_push(patch=True),
    "image-pull": _image_pull,
    "mount": _mount,
    "tags-put": _tags_put,
    "tags-page": _tags_page,
    "referrers-page": _referrers_page,
    "catalog-page": _catalog_page,
}
"""The functions that make the workloads, in the order in which they run."""
