"""How texts are divided into the words by which they are found."""

import unicodedata

import pytest

from qvsearch.library.tokens import located, plain, plain_texts, tokens

SENTENCES = {
    "Hindi": "मेरी किताब की दुकान में हिन्दी के कर्मचारी हैं",
    "Bengali": "আমার বাংলা বই দোকানে কিনেছি",
    "Tamil": "தமிழ் மொழியில் எழுதிய நூல்",
    "Telugu": "తెలుగు భాషలో పుస్తకం",
    "Malayalam": "മലയാളം പുസ്തകങ്ങൾ",
    "Hebrew": "שָׁלוֹם עוֹלָם",
    "Arabic": "كِتَابٌ جَدِيدٌ",
}


@pytest.mark.parametrize("language", SENTENCES)
def test_vowel_signs_are_parts_of_words(language):
    words = SENTENCES[language].split()
    assert len(tokens(SENTENCES[language])) == len(words)
    assert [SENTENCES[language][a:b] for _, a, b in located(SENTENCES[language])] == words


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("की", "का"),
        ("कि", "क"),
        ("বই", "বি"),
        ("நூல்", "நால"),
        ("กิน", "กัน"),
        ("ที", "ทา"),
        ("မြ", "မိ"),
    ],
)
def test_words_with_other_vowels_are_others(one, other):
    assert set(tokens(one)).isdisjoint(tokens(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("café", "CAFE"),
        ("infor\u00admation", "information"),
        ("\u0db1\u0dca\u200d\u0dba", "\u0db1\u0dca\u0dba"),  # Sinhala with and without a joiner
        ("\u845b\U000e0100\u57ce", "\u845b\u57ce"),  # a variant of a character
        ("שָׁלוֹם", "שלום"),
        ("كتـــاب", "كتاب"),  # with a lengthened stroke
        ("Søren", "soren"),
        ("Łódź", "LODZ"),
        ("Đorđević", "dordevic"),
        ("cœur", "COEUR"),
        ("Ærø", "aero"),
        ("Ísafjörður", "isafjordur"),
        ("Þórr", "thorr"),
        ("DİYARBAKIR", "Diyarbakır"),  # the same case in Turkish
    ],
)
def test_words_that_only_look_different_are_the_same(one, other):
    assert tokens(one) == tokens(other)
    assert [text for text, _, _ in located(one)] == tokens(other)


def test_signs_that_are_no_words_divide():
    assert tokens("1\ufe0f\u20e3 ❤️a—b “c”…d_e") == ["1", "a", "b", "c", "d", "e"]
    assert tokens("Lego™ Duplo® Care℠") == ["lego", "duplo", "care"]
    assert tokens("می\u200cخواهم") == tokens("می خواهم")


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("東京都 x 京", ["東京", "京都", "x", "京"]),
        ("a京b都\0東京C", ["a", "京", "b", "都", "東京", "c"]),
        ("ア゚アｶﾞｶ。が", ["アア", "アカ", "カカ", "か"]),  # sound marks are folded
        ("𠀀𠀁𠀀", ["𠀀𠀁", "𠀁𠀀"]),
        ("도서관에 책", ["도서", "서관", "관에", "책"]),  # a noun with its particle
    ],
)
def test_characters_without_spaces_are_indexed_by_pairs(text, pairs):
    assert tokens(text) == pairs


def test_korean_syllables_are_the_same_in_both_forms():
    every = "".join(map(chr, range(0xAC00, 0xD7A4)))
    assert plain(unicodedata.normalize("NFD", every)) == plain(every) == every
    assert tokens(unicodedata.normalize("NFD", "도서관에")) == tokens("도서관에")


@pytest.mark.parametrize(
    "text",
    [
        "น้ำที่ร้าน",  # tone marks are folded, so there are fewer pairs than characters
        "오늘 도서관에서 책을",
    ],
)
def test_pairs_of_characters_are_found_where_they_are(text):
    found = located(text)
    assert [token for token, _, _ in found] == tokens(text)
    for token, start, end in found:
        assert token in tokens(text[start:end])
    assert max(end - start for _, start, end in found) <= 4


@pytest.mark.parametrize("texts", [[], ["M\0x", "Søren"], ["\u0301a", "", "도서관", "\u1161", "İ"]])
def test_many_texts_are_plain_as_each_of_them_is(texts):
    texts = [*texts, *(unicodedata.normalize("NFD", each) for each in SENTENCES.values()), *texts]
    assert plain_texts(texts) == [plain(each) for each in texts]


def test_no_texts_are_plain():
    assert plain_texts([]) == []
