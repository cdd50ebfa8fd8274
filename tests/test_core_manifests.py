"""Manifests of the compiled module.

The Rust tests check the details. Here a few cases show that Python gets the same.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ociserver import errors
from ociserver._core import ManifestInfo, manifest_media_type, read_manifest, read_referrers, read_stored_manifest

D = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
C = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
IMAGE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def descriptor(digest: str = D, size: int = 3, media_type: str = "a/b") -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": size}


def read(content: Any, media_type: str) -> ManifestInfo:
    return read_manifest(json.dumps(content).encode(), media_type)


def references(info: ManifestInfo) -> list[tuple[str, str, str, bool]]:
    return [(found.field, found.kind, found.digest, found.required) for found in info.references]


def test_image() -> None:
    info = read(
        {
            "config": descriptor(C, media_type="app/config"),
            "layers": [descriptor(), descriptor(media_type="application/vnd.oci.image.layer.nondistributable.v1.tar")],
            "subject": descriptor(C),
            "annotations": {"a": "1", "é": "\n"},
        },
        IMAGE + "; charset=utf-8",
    )
    assert (info.kind, info.media_type) == ("image", IMAGE)
    assert references(info) == [
        ("config", "blob", C, True),
        ("layers[0]", "blob", D, True),
        ("layers[1]", "blob", D, False),
    ]
    assert (info.subject, info.artifact_type) == (C, "app/config")
    assert info.annotations == {"a": "1", "é": "\n"}
    assert info.annotations_json == '{"a":"1","é":"\\n"}'.encode()
    # The same object, so that a list of manifests copies none.
    assert info.annotations_json is info.annotations_json
    assert repr(info) == "<ManifestInfo image, 3 references>"


def test_index() -> None:
    info = read({"manifests": [descriptor()], "artifactType": "own/type"}, INDEX)
    assert references(info) == [("manifests[0]", "unknown", D, True)]
    assert [reference.size for reference in info.references] == [3]
    assert (info.kind, info.subject, info.artifact_type, info.annotations) == ("index", None, "own/type", {})
    assert info.annotations_json is None


def test_reference_is_a_value() -> None:
    info = read({"manifests": [descriptor(media_type=IMAGE), descriptor(media_type=IMAGE)]}, INDEX)
    first, second = info.references
    assert first == info.references[0] != second
    assert hash(first) == hash(info.references[0])
    assert repr(first) == f"<Reference manifests[0]: manifest {D}, required>"
    # Each caller gets its own list and dictionary.
    info.references.clear()
    info.annotations["x"] = "y"
    assert len(info.references) == 2
    assert info.annotations == {}


@pytest.mark.parametrize(
    "media_type, kind, content, found",
    [
        (
            "manifest.v2",
            "image",
            {"config": descriptor(C), "layers": [descriptor()]},
            [("config", "blob", True), ("layers[0]", "blob", True)],
        ),
        ("manifest.list.v2", "index", {"manifests": [descriptor()]}, [("manifests[0]", "unknown", True)]),
        ("manifest.v1", "other", {"fsLayers": [{"blobSum": D}]}, [("fsLayers[0]", "blob", True)]),
        ("unknown", "other", {"a": [{"b": descriptor()}]}, [("a[0].b", "unknown", False)]),
    ],
)
def test_docker_types_and_other_json(
    media_type: str, kind: str, content: Any, found: list[tuple[str, str, bool]]
) -> None:
    info = read({**content, "subject": descriptor()}, f"application/vnd.docker.distribution.{media_type}+json")
    assert info.kind == kind
    # In a manifest that is searched, the subject is a descriptor like any other.
    searched = [("subject", "unknown", False)] if kind == "other" else []
    assert [(one.field, one.kind, one.required) for one in info.references] == found + searched
    assert (info.subject, info.artifact_type) == (None, None)


@pytest.mark.parametrize("content", [b"", b"foo", b"\xff", b"[" * 65, b"{} {}"])
def test_invalid_json_is_opaque(content: bytes) -> None:
    info = read_manifest(content, "application/octet-stream")
    assert (info.kind, info.references) == ("opaque", [])
    for lax in (False, True):
        with pytest.raises(errors.OCIError):
            read_manifest(content, IMAGE, lax=lax)


@pytest.mark.parametrize(
    "content, message",
    [
        ({}, "invalid manifest: no descriptor in config"),
        ({"config": descriptor(), "layers": [descriptor(size=-1)]}, "size of layers[0]"),
        ({"config": descriptor(), "layers": [descriptor("x")]}, 'bad descriptor in layers[0]: invalid digest "x"'),
        ({"config": descriptor(size=0)}, "bad descriptor in config: zero sized content with mismatching digest"),
        ({"config": descriptor(media_type="")}, "bad descriptor in config: no media type in descriptor"),
        ({"config": descriptor(), "subject": {}}, "bad descriptor in subject"),
        ({"config": descriptor(), "annotations": {"a": 1}}, "annotations"),
        ({"config": descriptor(), "Layers": []}, "a key that differs from layers only in case"),
        ([], "expected an object"),
    ],
)
def test_bad_image(content: Any, message: str) -> None:
    with pytest.raises(errors.OCIError) as caught:
        read(content, IMAGE)
    wire = errors.marshal_error(caught.value)
    assert (wire.code, wire.status) == ("MANIFEST_INVALID", 400)
    assert message in wire.message


def test_duplicate_keys() -> None:
    with pytest.raises(errors.OCIError, match="manifests appears twice"):
        read_manifest(b'{"manifests":[],"manifests":[]}', INDEX)


def test_lax_reading_checks_only_the_json() -> None:
    info = read_manifest(json.dumps({"config": {"digest": D}}).encode(), IMAGE, lax=True)
    assert (info.kind, references(info)) == ("image", [("config", "unknown", D, False)])


def test_an_artifact_type_that_is_too_long() -> None:
    with pytest.raises(errors.OCIError, match="longer than 255 bytes"):
        read({"manifests": [], "artifactType": "x" * 256}, INDEX)


def test_read_referrers() -> None:
    entries = [
        {**descriptor(), "artifactType": "a/b", "annotations": {"é": "\n", "b": ""}},
        {**descriptor(C), "annotations": {}, "artifactType": ""},
    ]
    first, second = [(entry["mediaType"], entry["digest"], entry["size"]) for entry in entries]
    content = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
    assert read_referrers(content) == [(*first, "a/b", '{"é":"\\n","b":""}'.encode()), (*second, None, None)]
    assert read_referrers(b'{"manifests":null}') == []
    for bad in (b"", b"[]", b'{"manifests":[{}]}', b"\xff"):
        with pytest.raises(ValueError, match=r"EOF|expected|descriptor"):
            read_referrers(bad)


def test_large_manifests() -> None:
    # Above the size from which reading releases the GIL.
    info = read({"manifests": [], "annotations": {"a": "x" * 3_900_000}}, INDEX)
    assert len(info.annotations["a"]) == 3_900_000
    assert len(read({"manifests": [descriptor()] * 30_000}, INDEX).references) == 30_000


def test_the_media_type_of_a_manifest() -> None:
    content = json.dumps({"mediaType": IMAGE, "config": descriptor()}).encode()
    for declared in ("", IMAGE, IMAGE.upper(), f"{IMAGE}; charset=utf-8"):
        assert manifest_media_type(content, declared) == IMAGE
        assert read_manifest(content, declared).media_type == IMAGE
    for declared in (INDEX, "text/plain"):
        for read_it in (manifest_media_type, read_manifest):
            with pytest.raises(errors.OCIError, match="mediaType in the manifest is") as caught:
                read_it(content, declared)
            assert errors.marshal_error(caught.value).status == 400
        # The document decides the type of a stored manifest.
        stored = read_stored_manifest(content, declared)
        assert (stored.media_type, stored.kind, len(stored.references)) == (IMAGE, "image", 1)
    assert manifest_media_type(b"{}", "") == "application/octet-stream"


@settings(deadline=None)  # A busy machine is not an error.
@given(st.binary(max_size=60), st.sampled_from([IMAGE, INDEX, "text/plain", ""]))
def test_any_manifest_is_read_or_refused(content: bytes, media_type: str) -> None:
    for text in (content, b'{"config":{' + content + b"}}"):
        try:
            read_manifest(text, media_type)
        except errors.OCIError as error:
            assert error.code == "MANIFEST_INVALID"  # noqa: PT017 - not every content is refused
