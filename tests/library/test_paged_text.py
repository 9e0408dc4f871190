"""Words of several pages in one text."""

from hypothesis import given
from hypothesis import strategies as st

from qvsearch.library.tokens import tokens
from qvsearch.paged_text import PageText, page_texts, paged_text, without_numbers

WORDS = st.text(st.characters(exclude_characters="\r", exclude_categories=("Cs", "Cc"))) | (
    st.sampled_from(["12\n34", "a\n\nb", "\n", "7\n"])
)


@given(WORDS, st.lists(WORDS))
def test_pages_come_back_as_they_were(own, others):
    behind = [PageText(page, text) for page, text in enumerate(others, 8)]
    text = paged_text(own, behind)
    if text is None:
        assert (own, behind) == ("", [])
        return
    assert page_texts(text, 7) == [PageText(7, own), *behind]
    assert tokens(without_numbers(text)) == [
        each for part in (own, *others) for each in tokens(part)
    ]


def test_a_page_alone_is_its_words():
    assert paged_text("words\nof 2 lines", ()) == "words\nof 2 lines"
    assert paged_text(None, ()) is None
    assert page_texts("words", 3) == [PageText(3, "words")]
