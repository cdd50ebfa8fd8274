"""Annotations that are JSON until somebody looks at them."""

from __future__ import annotations

import copy
import json
import pickle

import pytest

from ociserver import Annotations, Descriptor

VALUES = {"a": "1", "": "", "é\n": 'grüße 🎉 "\\'}


def test_they_are_a_mapping() -> None:
    annotations = Annotations(json.dumps(VALUES).encode())
    assert annotations == VALUES
    plain = dict(VALUES)
    assert plain == annotations
    assert annotations != {**VALUES, "a": "2"}
    assert (dict(annotations), len(annotations), list(annotations)) == (VALUES, 3, list(VALUES))
    assert annotations["a"] == "1"
    assert annotations.get("b", "nothing") == "nothing"
    assert "b" not in annotations
    for twin in (copy.copy(annotations), pickle.loads(pickle.dumps(annotations))):  # noqa: S301 - our own
        assert twin == annotations


def test_what_was_a_mapping_and_is_json() -> None:
    annotations = Annotations.of(VALUES)
    assert json.loads(annotations.json) == VALUES
    assert b" " not in Annotations.of({"a": "b", "c": "d"}).json
    assert Annotations.of(annotations) is annotations
    assert Annotations.of({"half": "\udc80"}) == {"half": "?"}


def test_nothing_is_parsed_for_nothing() -> None:
    annotations = Annotations(b"this is never parsed")
    assert annotations
    assert not Annotations(b"{}")
    assert repr(annotations) == "<Annotations, 20 bytes>"
    assert "<Annotations, 20 bytes>" in repr(Descriptor("a/b", "sha256:x", 1, None, annotations))
    with pytest.raises(ValueError, match="Expecting value"):
        len(annotations)
