"""Tokens that must not be accepted: the known holes of other verifiers (RFC 8725), one by one and at random."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ociserver.auth.tokens import MAX_TOKEN_BYTES, InvalidTokenError
from tests.auth.forging import KEY, KEY_ID, NOW, SERVICE, claims, decoded, encoded, header, joined, signed, tokens

GOOD = signed(header(), claims())
HEAD, BODY, SIGNATURE = GOOD.split(".")
CERTIFICATE = "MIIBszCCAVmgAwIBAgIUQ0Y0"
JWK = {"kty": "oct", "kid": KEY_ID, "k": encoded(b"the attacker's own key of 32 bytes or more")}
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def refused(text: str, reason: str = ".") -> None:
    """A token is refused, and the error neither shows it nor carries it."""
    with pytest.raises(InvalidTokenError, match=reason) as failed:
        tokens().verify(text)
    error = failed.value
    assert error.__context__ is error.__cause__ is None
    assert error.reason == str(error)
    assert not [part for part in text.split(".") if len(part) > 8 and part in f"{error} {error!r}"]


def test_what_the_others_are_made_of_is_accepted() -> None:
    assert tokens().verify(GOOD).subject == "anna"


@pytest.mark.parametrize(
    "name", sorted({"".join(case) for case in itertools.product(*zip("none", "NONE", strict=True))})
)
@pytest.mark.parametrize("signature", ["", SIGNATURE])
def test_without_an_algorithm(name: str, signature: str) -> None:
    refused(f"{encoded(json.dumps(header(alg=name)).encode())}.{BODY}.{signature}", "algorithm")


@pytest.mark.parametrize(
    "name", ["", "hs256", "HS256 ", "HS384", "HS512", "RS256", "ES256", "EdDSA", "dir", ["HS256"], {}, True, 256]
)
def test_another_algorithm(name: object) -> None:
    refused(signed(header(alg=name), claims()), "algorithm")


@pytest.mark.parametrize("key", [b"", b"\0", KEY_ID.encode(), SERVICE.encode(), KEY[:-1], json.dumps(JWK).encode()])
def test_signed_with_what_an_attacker_knows(key: bytes) -> None:
    refused(signed(header(), claims(), key), "signature is wrong")


@pytest.mark.parametrize("kind", ["RSA", "EC"])
def test_signed_with_a_public_key_as_if_it_were_secret(kind: str) -> None:
    private = rsa.generate_private_key(65537, 2048) if kind == "RSA" else ec.generate_private_key(ec.SECP256R1())
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for key in (pem, pem.rstrip(b"\n")):
        refused(signed(header(), claims(), key), "signature is wrong")


@pytest.mark.parametrize(
    "members",
    [
        {"jwk": JWK},
        {"jku": "https://attacker.example/keys"},
        {"x5c": [CERTIFICATE]},
        {"x5u": "https://attacker.example/certificate"},
        {"x5t": "dGh1bWJwcmludA"},
        {"crit": ["exp"]},
        {"crit": []},
        {"crit": ["b64"], "b64": False},
        {"crit": ["http://openid.net/"], "http://openid.net/": 1},
        {"b64": True},
        {"cty": "JWT"},
        {"zip": "DEF"},
        {"enc": "A128GCM"},
        {"KID": KEY_ID},
        {"": ""},
    ],
)
@pytest.mark.parametrize("key", [KEY, decoded(str(JWK["k"]))])
def test_another_member_of_the_header(members: dict[str, Any], key: bytes) -> None:
    refused(signed(header(**members), claims(), key), "members")


@pytest.mark.parametrize("name", ["alg", "kid", "typ"])
def test_a_missing_member_of_the_header(name: str) -> None:
    refused(signed(header(**{name: None}), claims()), "members")


@pytest.mark.parametrize(
    "key_id",
    [
        "",
        "0",
        "../../../../dev/null",
        "/dev/null",
        "x' UNION SELECT 'key' --",
        "| cat /dev/null",
        KEY_ID + "\0",
        KEY_ID + " ",
        KEY_ID.swapcase(),
        "\ud800",
        0,
        1.5,
        True,
        [KEY_ID],
        {"kid": KEY_ID},
    ],
)
@pytest.mark.parametrize("key", [KEY, b""])
def test_an_unknown_key(key_id: object, key: bytes) -> None:
    refused(signed(header(kid=key_id), claims(), key), "unknown key")


@pytest.mark.parametrize(
    "kind", ["JWT", "at+jwt", "application/registry+jwt", "Registry+JWT", "", "registry+jwt ", [], 1]
)
def test_another_type(kind: object) -> None:
    refused(signed(header(typ=kind), claims()), "another type")


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize(
    "value",
    [
        *("null", "true", "false", "[]", "{}", f'"{NOW}"', f"{NOW}.0", f"{NOW}.5", "1.8e9"),
        *(
            "-1",
            str(2**53),
            str(10**30),
            pytest.param("9" * 5000, id="many digits"),
            "1e400",
            "NaN",
            "Infinity",
            "-Infinity",
        ),
    ],
)
def test_a_time_of_another_type(name: str, value: str) -> None:
    body = json.dumps(claims(**{name: "HERE"})).replace('"HERE"', value)
    refused(signed(header(), body.encode()), f"the claim {name} is not a time|not a JSON object")


@pytest.mark.parametrize("name", ["iss", "aud", "sub", "exp", "nbf", "iat", "jti", "via", "access"])
def test_a_missing_claim(name: str) -> None:
    refused(signed(header(), claims(**{name: None})), f"the claim {name} is not")


@pytest.mark.parametrize("name", ["iss", "aud", "sub", "jti", "via", "stamp"])
@pytest.mark.parametrize("value", [[], [SERVICE], {}, 1, True])
def test_a_text_of_another_type(name: str, value: object) -> None:
    refused(signed(header(), claims(**{name: value})), f"the claim {name} is not a string")


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"aud": "other"}, "another service"),
        ({"aud": ""}, "another service"),
        ({"aud": SERVICE.upper()}, "another service"),
        ({"aud": [SERVICE]}, "aud is not a string"),
        ({"aud": [SERVICE, "other"]}, "aud is not a string"),
        ({"iss": "attacker.example"}, "another issuer"),
        ({"iss": ""}, "another issuer"),
        ({"iss": "registry.example.com."}, "another issuer"),
        ({"access": {}}, "access"),
        ({"access": "*"}, "access"),
        ({"access": ["repository:team/app:pull"]}, "access"),
        ({"access": [{"type": "repository", "name": "a", "actions": "pull"}]}, "access"),
        ({"groups": "admin"}, "groups"),
        ({"groups": {"admin": True}}, "groups"),
        ({"groups": ["dev", 1]}, "groups"),
    ],
)
def test_claims_that_are_signed_but_wrong(changes: dict[str, Any], reason: str) -> None:
    refused(signed(header(), claims(**changes)), reason)


@pytest.mark.parametrize(
    "old, new",
    [
        ('"alg": ', '"alg": "none", "alg": '),
        ('"kid": ', '"kid": "other", "kid": '),
        ('"typ": ', r'"typ": "JWT", "\u0074yp": '),
        ('"sub": ', '"sub": "admin", "sub": '),
        ('"exp": ', f'"exp": {NOW + 1}, "exp": '),
        ('"actions": ', '"actions": ["delete"], "actions": '),
    ],
)
def test_a_member_that_occurs_twice(old: str, new: str) -> None:
    head, body = json.dumps(header()), json.dumps(claims())
    assert (head + body).count(old) == 1
    refused(signed(head.replace(old, new).encode(), body.replace(old, new).encode()), "unique members")


@pytest.mark.parametrize(
    "text",
    [
        *("", ".", "...", HEAD, f"{HEAD}.{BODY}", f"{GOOD}.", f".{GOOD}", f"{GOOD}.{SIGNATURE}", f"{GOOD}.."),
        *(f"{HEAD}.{BODY}..", f"{GOOD},{GOOD}", joined(HEAD, f"{BODY}.{BODY}"), joined(f"{HEAD}.", BODY)),
        *(GOOD.replace(".", "\uff0e"), f"{HEAD}.\uff21{BODY}.{SIGNATURE}", f"{HEAD}.\ud800.{SIGNATURE}", f"{GOOD}\xe9"),
    ],
)
def test_what_is_not_three_parts_in_ascii(text: str) -> None:
    refused(text, "three parts in ASCII")


@pytest.mark.parametrize(
    "text",
    [
        *("..", f"{HEAD}.{BODY}.", f"{HEAD}..{SIGNATURE}", f".{BODY}.{SIGNATURE}", f"{SIGNATURE}.{BODY}.{HEAD}"),
        *(joined(HEAD, ""), joined("", BODY), joined("", ""), joined("e30", "e30"), joined(BODY, HEAD)),
        *(f" {GOOD}", f"{GOOD} ", f"{GOOD}\n", f"\t{GOOD}", f"Bearer {GOOD}", f"{GOOD}\0", GOOD.replace(".", ". ")),
    ],
)
def test_parts_that_are_empty_moved_or_surrounded(text: str) -> None:
    refused(text)


@pytest.mark.parametrize("part", range(3))
@pytest.mark.parametrize("padding", ["=", "==", "===", "\n", " ", "%3D", "+", "/", "*"])
def test_padding(part: int, padding: str) -> None:
    parts = GOOD.split(".")
    parts[part] += padding
    refused(".".join(parts))
    if part < 2:
        # Not even the holder of the key may write so.
        refused(joined(parts[0], parts[1]), "base64url")


def test_bits_that_no_content_has() -> None:
    """The last letter of a part of 3n + 1 or 3n + 2 bytes has bits that say nothing."""
    heads = [encoded(json.dumps(header()).encode() + b" " * spaces) for spaces in range(3)]
    bodies = [encoded(json.dumps(claims()).encode() + b" " * spaces) for spaces in range(3)]
    assert {len(part) % 4 for part in heads} == {len(part) % 4 for part in bodies} == {0, 2, 3}
    tried = 0
    for part in (*heads, *bodies, SIGNATURE):
        for last in ALPHABET:
            other = part[:-1] + last
            if other != part and decoded(other) == decoded(part):
                tried += 1
                if part in heads:
                    refused(joined(other, BODY), "not base64url")
                elif part in bodies:
                    refused(joined(HEAD, other), "not base64url")
                else:
                    refused(f"{HEAD}.{BODY}.{other}", "not base64url")
    assert tried == 15 + 3 + 15 + 3 + 3
    for head, body in itertools.product(heads, bodies):
        assert tokens().verify(joined(head, body)).subject == "anna"


@pytest.mark.parametrize("part", range(3))
def test_one_flipped_bit(part: int) -> None:
    parts = GOOD.split(".")
    content = decoded(parts[part])
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(InvalidTokenError):
            tokens().verify(".".join([*parts[:part], encoded(bytes(flipped)), *parts[part + 1 :]]))


def test_the_signature_is_checked_before_the_claims() -> None:
    for body in (b"no JSON", json.dumps(claims(exp=NOW - 1)).encode(), json.dumps(claims(aud="other")).encode()):
        refused(signed(header(), body, b"another key"), "signature is wrong")


@pytest.mark.parametrize("size", [MAX_TOKEN_BYTES + 1, 2 * MAX_TOKEN_BYTES, 1_000_000])
def test_an_oversized_token(size: int) -> None:
    refused(signed(header(), claims(pad="x" * size)), "too large")
    refused("x" * size, "too large")
    refused("." * size, "too large")


def test_an_oversized_header() -> None:
    refused(signed(json.dumps(header()).encode() + b" " * 1024, claims()), "header is too large")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"1",
        b"{",
        b"{}{}",
        b"{'iss': 1}",
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        b"[" * 700,
        b'{"a":' * 140,
        json.dumps(header() | claims()).encode("utf-16"),
        json.dumps(header() | claims()).encode()[:-1],
    ],
)
def test_what_is_no_json_object(content: bytes) -> None:
    refused(signed(content, claims()))
    refused(signed(header(), content), "JSON object")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_a_number_that_json_does_not_have(number: str) -> None:
    refused(signed(header(), json.dumps(claims(later=0)).replace('"later": 0', f'"later": {number}').encode()), "JSON")


def test_json_that_is_too_deep() -> None:
    refused(signed(header(), b"[" * 5000), "JSON object")
    refused(signed(header(), b'{"a":' * 1000), "JSON object")


parts = st.binary(max_size=60).map(encoded) | st.text(max_size=20) | st.sampled_from([HEAD, BODY, SIGNATURE, ""])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from([NOW, SERVICE]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None)
@given(
    st.text()
    | st.lists(parts, min_size=1, max_size=4).map(".".join)
    | st.binary().map(lambda data: data.decode("latin-1"))
)
@example("\ud800.\ud800.\ud800")
def test_random_text_is_invalid(text: str) -> None:
    if text != GOOD:
        with pytest.raises(InvalidTokenError):
            tokens().verify(text)


@settings(deadline=None)
@given(st.sampled_from([*sorted(claims()), "groups", "stamp", "other"]), values)
def test_random_claims_are_accepted_or_invalid(name: str, value: object) -> None:
    try:
        found = tokens().verify(signed(header(), claims() | {name: value}))
    except InvalidTokenError:
        return
    # No type of the wrong kind comes through.
    assert all(isinstance(text, str) for text in (found.subject, found.via, found.stamp, found.token_id))
    assert {type(at) for at in (found.issued_at, found.not_before, found.expires)} == {int}


@settings(deadline=None)
@given(st.sampled_from(["alg", "kid", "typ", "other"]), values)
def test_a_random_header_is_invalid(name: str, value: object) -> None:
    if header().get(name) != value:
        with pytest.raises(InvalidTokenError):
            tokens().verify(signed(header() | {name: value}, claims()))
