"""The words of rows on disk: what is found, and what commits, merges and copies keep."""

import random
import sqlite3
import sys
import unicodedata
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support import writer

from qvsearch.errors import QvsearchError
from qvsearch.library import merge_plan, shard_words, words_file
from qvsearch.library.library import Library
from qvsearch.library.manifest import read_committed
from qvsearch.library.repair import check
from qvsearch.library.tokens import folded, tokens
from qvsearch.types import Item, Kind, Segment

VOCABULARY = [
    *("invoice", "INV-2024-0117", "Zoë's", "café", "straße", "STRASSE", "snake_case", "naïve"),
    *("ÅNGSTRÖM", "ﬁle", "℡", "x²", "Ⅷ", "東京都庁", "ภาษาไทย", "кошка", "КОШКА", "हिन्दी", "12.50"),
    *("a—b", "ß", "İstanbul", "\u212a2", "tab\tbed", "\0", "🙂", "o'clock", "e\u0301t\u00e9"),
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
    wanted = dict(enumerate(texts(70)))
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


def test_copied_rows_have_the_words_and_the_readers_of_theirs(library):
    add(library, passage(0, "first"), passage(1, None), passage(2, ""))
    library.commit()
    library.add_words({0: "seen", 2: ""}, "ocr")
    assert library.words.text(0) == "first", "until the next commit"
    add(library, *(passage(row, None, b"copy %d" % row) for row in range(3)), copied=[0, 1, 2])
    library.remove([0, 1, 2])
    library.commit()
    for each in (library, Library.open(library.folder)):
        rows = list(each.segments)
        assert [each.words.text(row) for row in rows] == ["first\nseen", "", ""]
        assert each.words.read_by("ocr").tolist() == [rows[0], rows[2]]
        assert each.words.read_by("file").tolist() == [rows[0], rows[2]]
        assert [rows.tolist() for rows in each.without_words()] == [[rows[1]]]
        assert found(each, "seen") == {rows[0]: 1}
        assert found(each, "copy") == dict.fromkeys(rows, 1)


def test_added_words_write_only_the_files_of_their_shards(library, monkeypatch):
    monkeypatch.setattr(merge_plan, "MERGE", 100)
    for row in range(4):
        add(library, passage(row, f"number {row}"), passage(row + 10, "other"))
        library.commit()
    before = {path.name: path.read_bytes() for path in library.folder.glob("segments/*")}
    library.add_words({2: "late", 3: "late", 99: "nowhere"}, "ocr")
    library.commit()
    after = {path.name: path.read_bytes() for path in library.folder.glob("segments/*")}
    assert [name for name in after if name not in before] == ["000005.words"]
    again = Library.open(library.folder)
    assert found(again, "late") == {2: 1, 3: 1}
    assert again.words.text(2) == "number 1\nlate"
    assert check(library.folder) == []
    add(library, passage(50, "more"))
    library.commit()
    names = [file.words.name for file in read_committed(library.folder).files]
    assert names == ["000001", "000005", "000003", "000004", "000006"]
    assert not (library.folder / "segments" / "000002.words").exists()


def test_an_open_library_reads_its_words_after_others_have_replaced_the_files(library):
    wanted = {row: f"word{row} all" for row in range(400)}
    for start in range(0, 400, 100):
        add(library, *(passage(row, wanted[row]) for row in range(start, start + 100)))
        library.commit()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard_words, "READ_WHOLE", 0)  # so that all stay on the disk
        before = Library.open(library.folder)
    library.remove(range(300))
    library.commit()
    add(library, passage(500, "another"))
    library.commit()
    assert found(before, "word7") == {7: 1}
    assert len(found(before, "all")) == 400
    assert before.words.text(250) == "word250 all"
    assert len(found(Library.open(library.folder), "all")) == 100


def test_frequent_words_are_counted_without_dead_rows(library, monkeypatch):
    monkeypatch.setattr(words_file, "FREQUENT", 3)
    add(library, *(passage(row, "often" if row % 2 else "seldom" * (row < 3)) for row in range(20)))
    assert library.words.at_least("often") == 0, "it waits for the commit"
    library.commit()
    assert library.words.at_least("often") == 10
    assert library.words.at_least("seldom") == library.words.at_least("never") == 0
    library.remove([0, 1, 2])
    assert library.words.at_least("often") == 7, "all dead rows may have had it"
    assert len(library.words.postings("often")[0]) == 9
    add(library, passage(20, "often"))
    library.commit()
    again = Library.open(library.folder)
    assert 0 < again.words.at_least("often") <= len(again.words.postings("often")[0]) == 10


def test_threads_share_the_words(library):
    add(library, *(passage(row, f"a{row % 7} b{row}") for row in range(200)))
    library.commit()
    again = Library.open(library.folder)
    with ThreadPoolExecutor(8) as pool:
        rows = list(pool.map(lambda n: again.words.postings(f"a{n % 7}")[0].tolist(), range(70)))
        texts = list(pool.map(again.words.text, range(200)))
    assert rows == [[row for row in range(200) if row % 7 == n % 7] for n in range(70)]
    assert texts == [f"a{row % 7} b{row}" for row in range(200)]


def test_without_a_full_text_index_all_else_works(library, monkeypatch):
    monkeypatch.setattr(shard_words, "has_full_text", lambda: False)
    add(library, passage(0, "first"))
    library.commit()
    assert check(library.folder) == []
    assert len(Library.open(library.folder)) == 1
    assert Library.open(library.folder).words.lengths()[0].size == 0


def test_all_accents_of_unicode_are_folded():
    text = "".join(map(chr, range(sys.maxunicode + 1)))  # also lone surrogates, as in file names
    decomposed = unicodedata.normalize("NFKD", text)
    assert (
        folded(text)
        == "".join(each for each in decomposed if not unicodedata.combining(each)).casefold()
    )


# ------------------------------------------------------------------ hostile files


def altered(*statements):
    """Return an act that changes a database by SQL."""

    def act(data):
        database = sqlite3.connect(":memory:")
        database.deserialize(data)
        database.executescript(";".join(statements))
        return database.serialize()

    return act


HOSTILE = {
    "no database": lambda _: b"hello" * 100,
    "an empty file": lambda _: b"",
    "cut off": lambda data: data[: len(data) // 2],
    "zeroes": lambda data: data[:4096] + bytes(len(data) - 4096),
    "a view in place of a table": altered(
        "DROP TABLE lengths",
        "CREATE VIEW lengths AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x FROM n)"
        " SELECT count(*) AS data FROM n",
    ),
    "a trigger": altered("CREATE TRIGGER t AFTER INSERT ON texts BEGIN SELECT 1; END"),
    "another table": altered("CREATE TABLE more (x)"),
    "few lengths": altered("UPDATE lengths SET data = zeroblob(4)"),
    "lengths as a text": altered("UPDATE lengths SET data = 'many'"),
    "lengths below zero": altered("UPDATE lengths SET data = x'ffffffff' || data"),
    "no texts": altered("DELETE FROM texts"),
    "texts of fewer rows": altered("UPDATE texts SET data = x'789c030000000001'"),
    "texts that are none": altered("UPDATE texts SET data = zeroblob(100)"),
    "a word of more rows than there are": altered("INSERT INTO frequent VALUES ('word', 101)"),
    "a word of a text of rows": altered("INSERT INTO frequent VALUES ('word', 'many')"),
    "short readers": altered("UPDATE readers SET data = x''"),
    "words of other rows": altered("INSERT INTO words (rowid, text) VALUES (1000, 'word')"),
    "words of a row below zero": altered("INSERT INTO words (rowid, text) VALUES (-9, 'word')"),
    "no postings": altered("DELETE FROM words_data"),
    "another tokenizer": altered(
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET sql = replace(sql, 'ascii', 'porter') WHERE name = 'words'",
    ),
}


def read_all(path, data):
    words = shard_words.ShardWords(path, memoryview(data), np.arange(100))
    words.at_least("word")
    words.postings("word")
    words.phrase(["word", "1"])
    words.check()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused(library, name):
    add(library, *(passage(row, f"word {row}") for row in range(100)))
    library.commit()
    [file] = library.folder.glob("segments/*.words")
    data = HOSTILE[name](file.read_bytes())
    with pytest.raises(QvsearchError, match=r"damaged"):
        read_all(file, data)


def test_random_damage_never_crashes(library):
    add(library, *(passage(row, f"word {row}") for row in range(100)))
    library.commit()
    [file] = library.folder.glob("segments/*.words")
    data, rng, refused = file.read_bytes(), random.Random(5), 0
    for _ in range(300):
        broken = bytearray(data)
        for _ in range(rng.choice([1, 30, 1000])):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        try:
            read_all(file, bytes(broken))
        except QvsearchError:
            refused += 1
    assert refused > 100


def test_a_block_that_unpacks_without_end_is_refused(monkeypatch):
    monkeypatch.setattr(words_file, "LARGEST_BLOCK", 1 << 16)
    bomb = zlib.compress(bytes(1 << 20))
    with pytest.raises(ValueError, match="not of its rows"):
        words_file.unpacked(bomb, 64)
