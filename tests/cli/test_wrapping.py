"""A text that arrives in pieces is broken between its words, as the standard library does it."""

import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qvsearch.cli.wrapping import Wrapping

WORDS = st.lists(st.text("abc[1].,", min_size=1, max_size=12), max_size=30)


def wrapped(pieces, width):
    written = []
    wrapping = Wrapping(written.append, width)
    for piece in pieces:
        wrapping.add(piece)
    wrapping.end()
    return "".join(written), written


def cut(text, places):
    bounds = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[a:b] for a, b in zip(bounds, bounds[1:], strict=False)]


@given(st.lists(WORDS, min_size=1, max_size=4), st.lists(st.integers(0, 500), max_size=9))
def test_lines_are_those_of_textwrap_however_the_text_arrives(paragraphs, places):
    text = "\n".join(map(" ".join, paragraphs))
    expected = "\n".join(
        textwrap.fill(" ".join(words), 20, break_long_words=False, break_on_hyphens=False)
        for words in paragraphs
    )
    assert wrapped(cut(text, places), 20)[0] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  indented", "  indented"),
        ("a\n\n b", "a\n\n b"),
        ("ends here \n", "ends here\n"),
        ("船船船船 船船船", "船船船船\n船船船"),  # of two cells each
        ("one\x1b[2J two", "one\x1b[2J\ntwo"),  # as wide as it is shown
        ("a\tb\r\nc", "a    b\nc"),
        ("aa b\u00a0c d e\u00a0f g", "aa b\u00a0c d\ne\u00a0f g"),
        ("averyverylongword b", "averyverylongword\nb"),
    ],
)
def test_spaces_wide_letters_and_controls(text, expected):
    assert wrapped([text], 11)[0] == expected


def test_a_word_is_passed_on_as_soon_as_it_is_complete():
    written = wrapped(["A bo", "at", " [1", "] is"], 80)[1]
    assert written == ["A", " boat", " [1]", " is"]
