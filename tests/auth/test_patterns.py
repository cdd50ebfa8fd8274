"""Patterns of names: what they match, what is refused, and that none takes long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ociserver.auth.patterns import MAX_PATTERN, Pattern, Patterns

# A pattern, names that match, names that do not.
TABLE = [
    ("a/b", ["a/b"], ["a/bc", "a/b/c", "A/B", "a/B", "xa/b", "a", "a/b\n", "a//b", "a%2Fb", ""]),
    ("a/*", ["a/b", "a/b/c", "a/"], ["a", "ab/c", "A/b", "x/a/b"]),
    ("*", ["a", "a/b", ""], []),
    ("**", ["a", "a/b", ""], []),
    ("*/b", ["a/b", "a/c/b", "/b"], ["b", "a/bc", "a/b/c"]),
    ("a/*/c", ["a/b/c", "a/b/b/c", "a//c"], ["a/c", "a/b/cc"]),
    ("a?c", ["abc", "a/c"], ["ac", "abbc", "ABC"]),
    ("v[0-9]*", ["v1", "v1.2", "v9-rc"], ["v", "va", "V1", "x1"]),
    ("[!a-c]x", ["dx", "/x"], ["ax", "cx", "x"]),
    ("V?", ["V1"], ["v1"]),
    ("A*B", ["AxB"], ["axb", "AxBc"]),
    ("a.c", ["a.c"], ["abc"]),
    ("a+", ["a+"], ["a", "aa"]),
    ("a|b", ["a|b"], ["a", "b"]),
    ("(a", ["(a"], ["a"]),
    ("^a$", ["^a$"], ["a"]),
    ("a\\", ["a\\"], ["a"]),
    ("(?!)", ["(x!)"], ["(!)"]),
    ("a[", ["a["], ["a"]),
    ("a[]", ["a[]"], ["a"]),
    ("bot[[]x]", ["bot[x]"], ["botx", "bot[", "bot["]),
    ("bot[x]", ["botx"], ["bot[x]"]),
]

names = st.text(alphabet="ab/", max_size=8)
simple_patterns = st.text(alphabet="ab/*?", min_size=1, max_size=8)
odd_patterns = st.text(alphabet="ab*?[]!-^&|~\\/.é\n", min_size=1, max_size=12)


def matches(pattern: str, name: str) -> bool:
    """What `*` and `?` mean, one character after the other."""
    if not pattern:
        return not name
    if pattern[0] == "*":
        return matches(pattern[1:], name) or (name != "" and matches(pattern, name[1:]))
    return name != "" and pattern[0] in ("?", name[0]) and matches(pattern[1:], name[1:])


@pytest.mark.parametrize("text, right, wrong", TABLE)
def test_what_a_pattern_matches(text: str, right: list[str], wrong: list[str]) -> None:
    assert [name for name in (*right, *wrong) if Pattern(text).matches(name)] == right
    assert [name for name in (*right, *wrong) if Patterns.of(["other", text]).matches(name)] == right


@given(simple_patterns, names)
def test_stars_and_question_marks(text: str, name: str) -> None:
    assert Pattern(text).matches(name) == matches(text, name)


@given(st.lists(simple_patterns, max_size=5), names)
def test_several_patterns(texts: list[str], name: str) -> None:
    assert Patterns.of(texts).matches(name) == any(matches(text, name) for text in texts)


@given(odd_patterns, st.text(alphabet="ab[]/", max_size=6))
def test_every_name_that_matches_begins_with_the_prefix(text: str, name: str) -> None:
    try:
        pattern = Pattern(text)
    except ValueError:
        assert "[" in text
        return
    assert text.startswith(pattern.prefix)
    assert not set(pattern.prefix) & set("*?[")
    for candidate in (name, text, pattern.prefix, pattern.prefix + name):
        if pattern.matches(candidate):
            assert candidate.startswith(pattern.prefix)
        if pattern.is_literal:
            assert pattern.matches(candidate) == (candidate == text)
        assert Patterns([pattern]).matches(candidate) == pattern.matches(candidate)


@pytest.mark.parametrize(
    "text, prefix, is_literal",
    [("a/b", "a/b", True), ("a/*", "a/", False), ("*", "", False), ("a?b*", "a", False), ("ab[c]", "ab", False)],
)
def test_the_prefix(*, text: str, prefix: str, is_literal: bool) -> None:
    assert (Pattern(text).prefix, Pattern(text).is_literal) == (prefix, is_literal)


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "empty"),
        ("secret" * MAX_PATTERN, "1024 characters"),
        ("secret[z-a]", "match no character"),
    ],
)
def test_what_is_not_a_pattern(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        Pattern(text)
    assert "secret" not in str(caught.value)


def test_the_longest_pattern() -> None:
    assert Pattern("a" * MAX_PATTERN).matches("a" * MAX_PATTERN)


@pytest.mark.parametrize(
    "text",
    ["*a" * 400 + "b", "*a" * 400 + "*b", "*?" * 400 + "b", "*[ab]" * 200 + "c", "*" + "a" * 500 + "b*c"],
)
def test_no_pattern_takes_exponential_time(text: str) -> None:
    """With backtracking, these would take longer than any test may."""
    assert not Pattern(text).matches("a" * 4096)


def test_no_pattern_matches_nothing() -> None:
    assert not Patterns(()).matches("")
    assert not Patterns(()).matches("a")
