"""Lists of referrers (spec: listing referrers)."""

from __future__ import annotations

from typing import Any

import pytest

from ociserver import Backend, Descriptor
from ociserver.testing.contract.capabilities import Settings, Subject, needs
from ociserver.testing.contract.contents import (
    CONFIG,
    IMAGE,
    INDEX,
    REPOSITORY,
    collect,
    descriptor,
    digest_of,
    encode,
    image,
    index,
    push_blob,
    push_image,
    push_manifest,
)
from ociserver.testing.contract.errors import refused

SUBJECT = descriptor(IMAGE, b"a subject that need not exist")
DIGEST = SUBJECT["digest"]


async def referrers(backend: Backend, artifact_type: str | None = None) -> list[Descriptor]:
    return await collect(backend.referrers(REPOSITORY, DIGEST, artifact_type))


@needs("referrers")
class Referrers:
    """Lists of referrers (spec: listing referrers)."""

    pytestmark = pytest.mark.anyio

    async def test_an_image(self, subject: Subject) -> None:
        annotations = {"org.example.key": "value", "empty": "", "unicode": "grüße 🎉", 'quote"': "\\"}
        content = await push_image(
            subject.filled, artifactType="application/vnd.example", subject=SUBJECT, annotations=annotations
        )
        assert await referrers(subject.backend) == [
            Descriptor(IMAGE, digest_of(content), len(content), "application/vnd.example", annotations)
        ]

    async def test_annotations_of_any_size(self, subject: Subject) -> None:
        """Some annotations are read with their page, others one by one. The order is that of the digests."""
        await push_blob(subject.filled, b"{}")
        wanted = {}
        for size in (0, 1, 4000, 4100, 5000, 70_000, 300_000, 1_500_000):
            annotations = {"text": "x" * size} if size else None
            content = index(subject=SUBJECT, annotations=annotations)
            await push_manifest(subject.filled, content, INDEX)
            wanted[digest_of(content)] = annotations or {}
        found = await referrers(subject.backend)
        assert [(entry.digest, entry.annotations) for entry in found] == sorted(wanted.items())
        # And from any place on.
        middle = found[3].digest
        after = await collect(subject.backend.referrers(REPOSITORY, DIGEST, start_after=middle, limit=2))
        assert [entry.digest for entry in after][:2] == [entry.digest for entry in found[4:6]]

    @pytest.mark.parametrize("artifact_type", [{}, {"artifactType": ""}])
    async def test_an_image_without_a_type_has_that_of_its_config(
        self, subject: Subject, artifact_type: dict[str, Any]
    ) -> None:
        # Spec: "If the artifactType is empty or missing in an image manifest, the value of artifactType MUST be
        # set to the config descriptor mediaType value."
        await push_image(subject.filled, config_type="application/vnd.example.config", subject=SUBJECT, **artifact_type)
        assert [entry.artifact_type for entry in await referrers(subject.backend)] == ["application/vnd.example.config"]

    @pytest.mark.parametrize(
        "fields, wanted",
        [({}, None), ({"artifactType": ""}, None), ({"artifactType": "application/x"}, "application/x")],
    )
    async def test_an_index_has_its_own_type_or_none(
        self, subject: Subject, fields: dict[str, str], wanted: str | None
    ) -> None:
        content = index(subject=SUBJECT, annotations={"a": "b"}, **fields)
        await push_manifest(subject.filled, content, INDEX)
        assert await referrers(subject.backend) == [
            Descriptor(INDEX, digest_of(content), len(content), wanted, {"a": "b"})
        ]

    async def test_a_media_type_with_parameters_counts(self, subject: Subject) -> None:
        await push_blob(subject.filled, b"{}")
        await push_manifest(subject.filled, image(b"{}", subject=SUBJECT), IMAGE + "; charset=utf-8")
        assert [entry.artifact_type for entry in await referrers(subject.backend)] == [CONFIG]

    async def test_other_types_have_no_subject(self, subject: Subject) -> None:
        await push_blob(subject.filled, b"{}")
        content = encode({"subject": SUBJECT, "config": descriptor(CONFIG, b"{}"), "layers": []})
        pushed = await push_manifest(
            subject.filled, content, "application/vnd.docker.distribution.manifest.v2+json", "latest"
        )
        assert pushed.subject is None
        assert await referrers(subject.backend) == []

    async def test_sorted_by_digest(self, subject: Subject) -> None:
        contents = [await push_image(subject.filled, subject=SUBJECT, number=number) for number in range(20)]
        wanted = sorted(map(digest_of, contents))
        assert [entry.digest for entry in await referrers(subject.backend)] == wanted
        after = await collect(subject.backend.referrers(REPOSITORY, DIGEST, start_after=wanted[7]))
        assert [entry.digest for entry in after] == wanted[8:]
        some = await collect(subject.backend.referrers(REPOSITORY, DIGEST, start_after=wanted[7], limit=5))
        assert [entry.digest for entry in some][:5] == wanted[8:13]

    async def test_only_of_one_type(self, subject: Subject) -> None:
        wanted = []
        for number in range(10):
            kind = f"application/{number % 3}"
            content = await push_image(subject.filled, subject=SUBJECT, number=number, artifactType=kind)
            if number % 3 == 1:
                wanted.append(digest_of(content))
        found = await referrers(subject.backend, "application/1")
        assert [entry.digest for entry in found] == sorted(wanted)
        assert await referrers(subject.backend, "application/unknown") == []
        # The limit counts what passes the filter.
        some = await collect(subject.backend.referrers(REPOSITORY, DIGEST, "application/1", limit=2))
        assert [entry.digest for entry in some][:2] == sorted(wanted)[:2]

    async def test_of_this_subject_and_this_repository_only(self, subject: Subject) -> None:
        await push_image(subject.filled, subject=descriptor(IMAGE, b"another subject"))
        await push_image(subject.filled, subject=SUBJECT, repository="other")
        assert await referrers(subject.backend) == []

    async def test_referrers_of_an_unknown_repository(self, subject: Subject) -> None:
        if subject.can.remote:
            # Spec: a registry that has the API must not answer 404.
            assert await collect(subject.backend.referrers("no/such", DIGEST)) == []
            return
        with refused("NAME_UNKNOWN"):
            await collect(subject.backend.referrers("no/such", DIGEST))

    async def test_a_subject_that_is_there(self, subject: Subject) -> None:
        content = await push_image(subject.filled, "latest")
        referrer = await push_image(subject.filled, subject=descriptor(IMAGE, content))
        found = await collect(subject.backend.referrers(REPOSITORY, digest_of(content)))
        assert [entry.digest for entry in found] == [digest_of(referrer)]

    async def test_a_sha512_subject_and_referrer(self, subject: Subject) -> None:
        digest = digest_of(b"a subject", "sha512")
        content = index(subject={"mediaType": IMAGE, "digest": digest, "size": 9})
        own = digest_of(content, "sha512")
        await subject.filled.push_manifest(REPOSITORY, content, INDEX, digest=own)
        found = await collect(subject.backend.referrers(REPOSITORY, digest))
        assert [entry.digest for entry in found] == [own]

    @needs("validates")
    @pytest.mark.parametrize("bad", ["text", {}, {"mediaType": IMAGE, "digest": "sha256:abc", "size": 3}, ["x"], 5])
    async def test_a_bad_subject(self, writable: Backend, bad: object) -> None:
        await push_blob(writable, b"{}")
        with refused("MANIFEST_INVALID"):
            await push_manifest(writable, image(b"{}", subject=bad), IMAGE)

    async def test_a_null_subject_is_none(self, writable: Backend) -> None:
        await push_blob(writable, b"{}")
        pushed = await push_manifest(writable, image(b"{}", subject=None, annotations=None), IMAGE)
        assert pushed.subject is None

    @pytest.mark.parametrize("settings", [Settings(lax_child_references=True)])
    async def test_a_lax_registry_knows_referrers_too(self, writable: Backend) -> None:
        content = image(b"missing", subject=SUBJECT)
        await push_manifest(writable, content, IMAGE)
        assert [entry.digest for entry in await referrers(writable)] == [digest_of(content)]

    async def test_pushing_it_again_lists_it_once(self, writable: Backend) -> None:
        content = await push_image(writable, "one", subject=SUBJECT)
        await push_image(writable, "two", subject=SUBJECT)
        assert [entry.digest for entry in await referrers(writable)] == [digest_of(content)]
