"""The text of a file with users: what is accepted, and which line an error names."""

from __future__ import annotations

import re

import pytest

from ociserver.auth.htpasswd import MAX_NAME_SIZE, MAX_USERS, Htpasswd, check_name
from tests.auth.hashes import ARGON2ID, BCRYPT, REFUSED, argon2id_line, bcrypt_line

HASH = BCRYPT[0][1]


def test_users_and_their_hashes() -> None:
    users = Htpasswd.parse(f"# users\n\nalice:{HASH}\r\n  # more\n  bob:{ARGON2ID[0][1]}  \r\nzoë mac:{HASH}")
    assert users.users == {"alice", "bob", "zoë mac"}
    alice, bob = users.hash_of("alice"), users.hash_of("bob")
    assert alice is not None
    assert alice.verify(b"myPassword")
    assert bob is not None
    assert bob.verify(b"password")
    assert users.hash_of("carol") is None
    assert users.hash_of("Alice") is None, "names have upper and lower case"


@pytest.mark.parametrize("text", ["", "\n\n", "# alice:x\n", "\r\n \t\n"])
def test_no_users(text: str) -> None:
    with pytest.raises(ValueError, match="no users"):
        Htpasswd.parse(text)


@pytest.mark.parametrize(
    "line,reason",
    [
        ("secretword", "no colon"),
        (f":{HASH}", "empty"),
        (f"alice :{HASH}", "space"),
        (f"al\x00ice:{HASH}", "cannot be printed"),
        (f"al\x85ice:{HASH}", "cannot be printed"),
        (f"\ufeffalice:{HASH}", "cannot be printed"),
        (f"{'a' * (MAX_NAME_SIZE + 1)}:{HASH}", "255 characters"),
        (f"first:{HASH}", "'first' is in line 2 too"),
        (f"alice:{HASH}:comment", "malformed"),
        (f"alice: {HASH}", "plain text"),
        ("alice:secretword", "plain text"),
    ],
)
def test_a_wrong_line_is_named(line: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^line 4: .*{re.escape(reason)}") as refused:
        Htpasswd.parse(f"# comment\nfirst:{HASH}\n\n{line}\nlast:{HASH}\n")
    assert "secretword" not in str(refused.value)


@pytest.mark.parametrize("text,kind", REFUSED)
def test_the_line_of_a_weak_hash_is_named(text: str, kind: str) -> None:
    with pytest.raises(ValueError, match=f"^line 2: .*{re.escape(kind)}.*ociserver auth hash"):
        Htpasswd.parse(f"alice:{HASH}\nbob:{text}\n")


def test_the_number_of_users_is_bounded() -> None:
    lines = [f"user{number}:{HASH}" for number in range(MAX_USERS)]
    assert len(Htpasswd.parse("\n".join(lines)).users) == MAX_USERS
    with pytest.raises(ValueError, match=r"^line 10001: there are more than 10000 users"):
        Htpasswd.parse("\n".join([*lines, f"more:{HASH}"]))


def test_the_dummy_is_like_the_most_expensive_hash() -> None:
    lines = [bcrypt_line("a", "x", 4), bcrypt_line("b", "x", 6), argon2id_line("c", "x")]
    for order in (lines, lines[::-1]):
        users = Htpasswd.parse("".join(order))
        costs = [hashed.relative_cost for user in users.users if (hashed := users.hash_of(user))]
        assert users.dummy.relative_cost == max(costs)
        assert users.dummy.text.startswith("$2b$06$")


def test_equal_users_are_equal() -> None:
    assert Htpasswd.parse(f"a:{HASH}\nb:{HASH}") == Htpasswd.parse(f"b:{HASH}\r\n# \na:{HASH}")
    assert Htpasswd.parse(f"a:{HASH}") != Htpasswd.parse(f"a:{BCRYPT[1][1]}")


def test_users_show_no_hash() -> None:
    users = Htpasswd.parse(f"alice:{HASH}")
    assert HASH[7:] not in repr(users)
    assert users.dummy.text[7:] not in repr(users)


@pytest.mark.parametrize("name", ["a", "a b", "a#b", "zoë", "a" * MAX_NAME_SIZE, "team/bot@example.com"])
def test_names_that_are_allowed(name: str) -> None:
    check_name(name)
    assert Htpasswd.parse(f"{name}:{HASH}").users == {name}


@pytest.mark.parametrize("name", ["", "#a", " a", "a ", "a:b", "a\nb", "a\tb", "\u202ea", "a" * (MAX_NAME_SIZE + 1)])
def test_names_that_are_not_allowed(name: str) -> None:
    with pytest.raises(ValueError, match="name of the user"):
        check_name(name)
