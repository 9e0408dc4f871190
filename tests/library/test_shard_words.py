"""The words of rows on disk: what is found, and what commits, merges and copies keep."""

import random
from collections import Counter

import numpy as np
import pytest
from support import writer

from qvsearch.library import merge_plan
from qvsearch.library.library import Library
from qvsearch.library.repair import check
from qvsearch.library.tokens import tokens
from qvsearch.types import Item, Kind, Segment

VOCABULARY = [
    "invoice",
    "INV-2024-0117",
    "Zoë's",
    "café",
    "straße",
    "STRASSE",
    "snake_case",
    "naïve",
    "ÅNGSTRÖM",
    "ﬁle",
    "℡",
    "x²",
    "Ⅷ",
    "東京都庁",
    "ภาษาไทย",
    "кошка",
    "КОШКА",
    "हिन्दी",
    "12.50",
    "a—b",
    "ß",
    "İstanbul",
    "K2",
    "tab\tbed",
    "\x00",
    "🙂",
    "o'clock",
    "été",
]


@pytest.fixture
def library(tmp_path):
    library = Library.create(tmp_path / "library", writer.FINGERPRINT)
    library.add_root(b"/notes")
    return library


def passage(number, words, path=None):
    item = Item(b"/notes", path or b"%d.txt" % number, Kind.TEXT, number, number)
    return Segment(item, f"hash{number}", lines=(1, 2), words=words)


def add(library, *segments, copied=()):
    vectors = np.stack([writer.vector(each.item.size) for each in segments])
    library.add(segments, vectors, copied)


def texts(count, seed=0):
    rng = random.Random(seed)
    return [" ".join(rng.choices(VOCABULARY, k=rng.randrange(30))) for _ in range(count)]


def scan(wanted):
    """Return what a search by words is to find, from the tokens of each row."""
    return {row: Counter(each) for row, each in wanted.items()}


def found(library, token):
    rows, counts = library.words.postings(token)
    return dict(zip(rows.tolist(), counts.tolist(), strict=True))


def assert_words(library, wanted):
    """Compare all postings, lengths, texts and some phrases with those of `wanted` texts."""
    divided = {row: tokens(library.words.text(row)) for row in wanted}
    assert {row: library.words.text(row) for row in wanted} == wanted
    named = {
        row: tokens(f"{wanted[row]}\nnotes/{library.segments[row].item.path.decode()}")
        for row in wanted
    }
    counts = {row: Counter(each) for row, each in named.items()}
    for token in {token for each in named.values() for token in each}:
        expected = {row: each[token] for row, each in counts.items() if each[token]}
        assert found(library, token) == expected, token
    rows, lengths = library.words.lengths()
    assert dict(zip(rows.tolist(), lengths.tolist(), strict=True)) == {
        row: len(each) for row, each in named.items()
    }
    for row, each in list(divided.items())[::7]:
        for size in (1, 2, 3):
            phrase = each[1 : 1 + size]
            has = [
                other
                for other, words in named.items()
                if phrase and any(words[at : at + size] == phrase for at in range(len(words)))
            ]
            assert library.words.phrase(phrase).tolist() == (has if phrase else []), (row, phrase)


def test_words_are_the_same_before_and_after_a_commit_and_when_opened(library):
    wanted = dict(enumerate(texts(150)))
    add(library, *(passage(row, text) for row, text in wanted.items()))
    wanted = {row: text.replace("\0", " ") for row, text in wanted.items()}
    library.commit()
    assert_words(library, wanted)
    assert_words(Library.open(library.folder), wanted)
    assert check(library.folder) == []


def test_rows_that_wait_have_the_words_that_stored_ones_have(library):
    wanted = dict(enumerate(text.replace("\0", " ") for text in texts(60)))
    add(library, *(passage(row, text) for row, text in wanted.items()))
    assert_words(library, wanted)


def test_merged_shards_keep_the_words_of_live_rows(library, monkeypatch):
    monkeypatch.setattr(merge_plan, "MERGE", 3)
    wanted = dict(enumerate(text.replace("\0", " ") for text in texts(60)))
    for start in range(0, 60, 6):
        add(library, *(passage(row, wanted[row]) for row in range(start, start + 6)))
        if start:
            library.remove([start - 1, start - 2])
        library.commit()
    for start in range(6, 60, 6):
        del wanted[start - 1], wanted[start - 2]
    assert_words(library, wanted)
    again = Library.open(library.folder)
    assert len(again._manifest.files) < 6
    rows = dict(zip(again.segments, wanted.values(), strict=True))
    assert_words(again, rows)
    library.remove(list(wanted)[:30])
    library.commit()
    assert_words(library, dict(list(wanted.items())[30:]))
    assert check(library.folder) == []
