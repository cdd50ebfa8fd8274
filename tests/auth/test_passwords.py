"""Hashes of passwords: those of other programs are understood, weak and expensive ones are refused."""

from __future__ import annotations

import ctypes
import ctypes.util
import re
import sys

import argon2
import bcrypt
import pytest

from ociserver.auth.argon2_hashes import Argon2idHash
from ociserver.auth.bcrypt_hashes import BcryptHash
from ociserver.auth.passwords import MAX_PASSWORD_SIZE, Kind, dummy_like, hash_password, parse_hash
from tests.auth.hashes import ARGON2ID, BCRYPT, REFUSED

SALT, TAG = "c29tZXNhbHQ", "nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"
CHECKSUM = "CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"


@pytest.mark.parametrize("password,text", BCRYPT + ARGON2ID)
def test_hashes_of_other_programs(password: bytes, text: str) -> None:
    hashed = parse_hash(text)
    assert hashed.verify(password)
    assert not hashed.verify(b"x" + password)
    assert hashed.text == text


def test_the_parameters_of_a_hash() -> None:
    assert parse_hash(BCRYPT[0][1]) == BcryptHash(5, BCRYPT[0][1])
    assert parse_hash(ARGON2ID[1][1]) == Argon2idHash(256, 2, 2, 8, 32, ARGON2ID[1][1])


@pytest.mark.parametrize("text,kind", REFUSED)
def test_other_kinds_are_refused(text: str, kind: str) -> None:
    with pytest.raises(ValueError, match=re.escape(kind)) as refused:
        parse_hash(text)
    assert "ociserver auth hash" in str(refused.value)
    assert not text or text.rpartition("$")[2].rpartition("}")[2] not in str(refused.value)


@pytest.mark.parametrize(
    "text,reason",
    [
        (f"$2b$03${CHECKSUM}", "from 4 to 15"),
        (f"$2b$16${CHECKSUM}", "cost 16"),
        (f"$2b$31${CHECKSUM}", "cost 31"),
        (f"$2b$5${CHECKSUM}", "malformed"),
        (f"$2b$05${CHECKSUM[:-1]}", "malformed"),
        (f"$2b$05${CHECKSUM}W", "malformed"),
        (f"$2b$05${CHECKSUM}\n", "malformed"),
        # Bits that belong to no byte: bcrypt would refuse each password.
        (f"$2b$05${CHECKSUM[:-1]}X", "malformed"),
        (f"$2b$05${CHECKSUM.replace('.', '/')}", "malformed"),
        ("$2b$\u0660\u0665$" + CHECKSUM, "malformed"),  # digits of another script
        (f"$argon2id$v=19$m=4194304,t=1,p=1${SALT}${TAG}", "m=4194304"),
        (f"$argon2id$v=19$m=262145,t=1,p=1${SALT}${TAG}", "to 262144"),
        (f"$argon2id$v=19$m=262144,t=5,p=1${SALT}${TAG}", "product"),
        (f"$argon2id$v=19$m=8,t=1000000,p=1${SALT}${TAG}", "product"),
        (f"$argon2id$v=19$m=262144,t=1,p=17${SALT}${TAG}", "p=17"),
        (f"$argon2id$v=19$m=31,t=1,p=4${SALT}${TAG}", "from 32"),
        (f"$argon2id$v=16$m=256,t=2,p=1${SALT}${TAG}", "older than v=19"),
        (f"$argon2id$m=256,t=2,p=1${SALT}${TAG}", "older than v=19"),
        (f"$argon2id$v=19$m=0256,t=2,p=1${SALT}${TAG}", "malformed"),
        (f"$argon2id$v=19$t=2,m=256,p=1${SALT}${TAG}", "malformed"),
        (f"$argon2id$v=19$m=256,t=2,p=1${SALT}${TAG}=", "malformed"),
        (f"$argon2id$v=19$m=256,t=2,p=1${SALT}${TAG[:-1]}5", "Base64"),
        (f"$argon2id$v=19$m=256,t=2,p=1${SALT}AA${TAG}", "Base64"),
        (f"$argon2id$v=19$m=256,t=2,p=1$c29tZQ${TAG}", "salt has 4 bytes"),
        (f"$argon2id$v=19$m=256,t=2,p=1${SALT}$AAAAAA", "hash has 4 bytes"),
    ],
)
def test_malformed_and_expensive_hashes_are_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as refused:
        parse_hash(text)
    assert "ociserver auth hash" in str(refused.value)
    assert all(secret not in str(refused.value) for secret in (CHECKSUM[:-1], TAG[:-1]))


@pytest.mark.parametrize("cost", [4, 15])
def test_the_bounds_of_bcrypt_are_allowed(cost: int) -> None:
    assert parse_hash(f"$2b${cost:02}${CHECKSUM}").relative_cost > 0


@pytest.mark.parametrize("memory,passes,lanes", [(8, 1, 1), (262144, 4, 1), (65536, 3, 4), (128, 1, 16)])
def test_the_bounds_of_argon2id_are_allowed(memory: int, passes: int, lanes: int) -> None:
    assert parse_hash(f"$argon2id$v=19$m={memory},t={passes},p={lanes}${SALT}${TAG}").relative_cost > 0


def test_a_nul_byte_is_no_second_copy_of_the_password() -> None:
    # bcrypt itself takes both for the same.
    password, text = BCRYPT[2]
    assert bcrypt.checkpw(password + b"\0" + password, text.encode())
    assert not parse_hash(text).verify(password + b"\0" + password)


@pytest.mark.parametrize("kind", ["argon2id", "bcrypt"])
def test_a_new_hash(kind: Kind) -> None:
    text = hash_password("pässword".encode(), kind)
    assert parse_hash(text).verify("pässword".encode())
    assert not parse_hash(text).verify(b"password")
    assert hash_password("pässword".encode(), kind) != text, "the salt is random"


def test_new_hashes_are_as_expensive_as_owasp_recommends() -> None:
    text = hash_password(b"password")
    assert argon2.PasswordHasher().verify(text, b"password")
    found = argon2.extract_parameters(text)
    assert (found.type, found.version, found.memory_cost, found.time_cost, found.parallelism) == (
        argon2.Type.ID,
        19,
        19 * 1024,
        2,
        1,
    )
    assert (found.salt_len, found.hash_len) == (16, 32)
    assert hash_password(b"password", "bcrypt").startswith("$2b$10$")


def test_the_library_of_the_system_understands_new_bcrypt_hashes() -> None:
    name = ctypes.util.find_library("crypt")
    if name is None:
        pytest.skip("the system has no libcrypt")
    crypt = ctypes.CDLL(name).crypt
    crypt.restype = ctypes.c_char_p
    text = hash_password(b"password", "bcrypt").encode()
    made = crypt(b"password", text)
    if made is None or made.startswith(b"*"):
        pytest.skip("the libcrypt of the system knows no bcrypt")
    assert made == text


def test_bcrypt_takes_72_bytes_and_no_more() -> None:
    longest = b"x" * 72
    assert parse_hash(hash_password(longest, "bcrypt")).verify(longest)
    with pytest.raises(ValueError, match=r"73 bytes.*first 72"):
        hash_password(longest + b"x", "bcrypt")
    assert parse_hash(hash_password(longest + b"x")).verify(longest + b"x")
    assert not parse_hash(hash_password(longest + b"x")).verify(longest)


@pytest.mark.parametrize("kind", ["argon2id", "bcrypt"])
@pytest.mark.parametrize(
    "password,reason",
    [
        (b"", "empty"),
        (b"secret\0", "control character"),
        (b"sec\x1bret", "control character"),
        (b"secret\x7f", "control character"),
        (b"s" * (MAX_PASSWORD_SIZE + 1), "1025 bytes"),
    ],
)
def test_passwords_that_are_not_hashed(kind: Kind, password: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as refused:
        hash_password(password, kind)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("text", [BCRYPT[0][1], "$2y$12$" + CHECKSUM, *(text for _, text in ARGON2ID)])
def test_a_dummy_has_the_same_parameters_and_random_content(text: str) -> None:
    like = parse_hash(text)
    dummies = [dummy_like(like) for _ in range(20)]
    for dummy in dummies:
        assert parse_hash(dummy.text) == dummy, "it is well-formed"
        assert dummy.relative_cost == like.relative_cost
        assert len(dummy.text) == len(text)
    assert len({dummy.text for dummy in dummies}) == 20
    prefix = text.rpartition("$")[0].rpartition("$")[0] if "argon2id" in text else text[3:7]
    assert all(prefix in dummy.text for dummy in dummies)


@pytest.mark.parametrize("text", [BCRYPT[2][1], ARGON2ID[0][1]])
def test_a_dummy_matches_no_password(text: str) -> None:
    assert not dummy_like(parse_hash(text)).verify(b"U*U")


def test_costs_are_in_order() -> None:
    cheap, default, dear = (parse_hash(f"$2b${cost}${CHECKSUM}").relative_cost for cost in ("05", "10", "14"))
    assert cheap < default < dear
    small, large = (
        parse_hash(f"$argon2id$v=19$m={memory},t=2,p=1${SALT}${TAG}").relative_cost for memory in (19456, 262144)
    )
    assert cheap < small < large < dear


def test_a_hash_shows_no_secret() -> None:
    for _, text in BCRYPT + ARGON2ID:
        hashed = parse_hash(text)
        for one in (hashed, dummy_like(hashed)):
            assert text[-20:] not in repr(one)
            assert one.text[-20:] not in repr(one)


@pytest.mark.parametrize(
    "module,text,kind", [("bcrypt", BCRYPT[0][1], "bcrypt"), ("argon2", ARGON2ID[0][1], "argon2id")]
)
def test_a_package_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, module: str, text: str, kind: Kind) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # what makes `import` fail
    for use in (lambda: parse_hash(text), lambda: hash_password(b"password", kind)):
        with pytest.raises(ImportError, match=re.escape("pip install 'ociserver[auth]'")):
            use()
