"""The languages of texts: by sentences of which everybody knows the language."""

import pytest

from qvsearch.media.language import language_of

SENTENCES = {
    "en": "The meeting is moved to Thursday afternoon because the roof is being repaired.",
    "de": "Die Sitzung ist auf Donnerstag verschoben, weil das Dach repariert wird.",
    "fr": "La réunion est reportée à jeudi après-midi parce que le toit est en réparation.",
    "es": "La reunión se aplaza al jueves por la tarde porque están reparando el tejado.",
    "it": "La riunione è rinviata a giovedì pomeriggio perché si ripara il tetto.",
    "pt": "A reunião foi adiada para quinta-feira à tarde porque estão a reparar o telhado.",
    "pl": "Spotkanie zostało przełożone na czwartek, ponieważ naprawiany jest dach.",
    "ru": "Встреча перенесена на четверг, потому что чинят крышу нашего дома.",
    "ja": "屋根を修理しているため、会議は木曜日の午後に延期されました。",
    "zh": "因为正在修理屋顶，会议推迟到星期四下午。",
    "ar": "تم تأجيل الاجتماع إلى بعد ظهر الخميس بسبب إصلاح السقف.",
    "he": "הפגישה נדחתה ליום חמישי אחר הצהריים בגלל תיקון הגג",
}


@pytest.mark.parametrize("language", SENTENCES)
def test_a_sentence_has_its_language(language):
    assert language_of(SENTENCES[language]) == language


@pytest.mark.parametrize(
    "text",
    ["", "INV-2024-0117", "1,2,3\n4,5,6\n", "x" * 5000, "\udcff\0\ufffe\x85", "foo bar"]
    + [f"{SENTENCES['en']} {SENTENCES['de']}"],
)
def test_what_is_no_text_of_one_language_has_none(text):
    assert language_of(text) is None


def test_odd_characters_between_words_change_nothing():
    assert language_of(SENTENCES["de"].replace(" ", " \0\ufffe\udcff ")) == "de"
