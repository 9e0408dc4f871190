"""Patterns mean what pathspec makes of them, and none takes long, whoever wrote it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pathspec import GitIgnoreSpec

from qvsearch.errors import QvsearchError
from qvsearch.library.patterns import option_spec, spec_of

PIECES = ["a", "b", "*", "?", "/", "**/", "/**/", "/**", "[ab]", "[!a/]", "\\*", "[]a]", "[!]b/]"]


@given(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=9).map("".join),
    st.lists(st.lists(st.sampled_from("ab*"), min_size=1, max_size=4).map("".join), min_size=1),
    st.sampled_from(["", "/"]),
)
def test_patterns_mean_what_pathspec_makes_of_them(pattern, names, end):
    path = "/".join(names) + end
    try:
        expected = GitIgnoreSpec.from_lines([pattern], backend="simple").check_file(path).include
    except ValueError:
        with pytest.raises(ValueError, match=re.escape(repr(pattern))):
            spec_of([pattern])
    else:
        assert spec_of([pattern]).check_file(path).include == expected


@given(st.text("ab[]!^-\\*?/#() \u00e9", max_size=12), st.text("ab[]!^-\\/\u00e9", min_size=1))
def test_any_text_is_a_pattern_or_a_value_error(pattern, path):
    try:
        spec = spec_of([pattern])
    except ValueError:
        return
    spec.check_file(path)


@pytest.mark.parametrize("pattern", ["[b-a]", "x[é-b]*", "!"])
def test_what_is_no_pattern_is_said(pattern):
    with pytest.raises(ValueError, match="pattern"):
        spec_of(["*.jpg", pattern])
    with pytest.raises(QvsearchError, match="--exclude: .*; patterns are written as in .gitignore"):
        option_spec("--exclude", (pattern,))


def test_sets_match_no_slash():
    assert not spec_of(["x[!a]y", "x[+-9]y"]).match_file("x/y")
    assert spec_of(["x[!a]y"]).match_file("xby")


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*a" * 40 + "b", "a" * 255),
        ("*[a]" * 40 + "b", "a" * 255),
        ("*[!b]" * 40 + "b", "a" * 255),
        ("*?" * 40 + "b", "a" * 255),
        ("a/" + "**/a/" * 40 + "b", "a/" * 2000),
        ("a/" + "**/*a*/" * 40 + "b", "a/" * 2000),
    ],
)
def test_no_pattern_is_slow(pattern, path):
    assert not spec_of([pattern]).match_file(path), "without bounds it would take years"
