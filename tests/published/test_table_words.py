"""Exact words in a shared table find what they find in a library of the same rows."""

import os
import random
import zlib
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from support import made_rows
from support.made_rows import unit
from support.served import serving
from support.tables import reopened

from qvsearch.choices import By
from qvsearch.cli.several import OpenLibraries
from qvsearch.errors import QvsearchError
from qvsearch.library.filters import parse_filters
from qvsearch.library.library import Library
from qvsearch.library.moving import move_roots
from qvsearch.library.names import library_folder
from qvsearch.library.tokens import tokens
from qvsearch.mcp.searching import _hints
from qvsearch.models.prompt import DOCUMENT_INSTRUCTION
from qvsearch.paged_text import PageText, page_texts, paged_text
from qvsearch.published import library as published
from qvsearch.published import upkeep
from qvsearch.published.address import read_address
from qvsearch.published.engine import TOKENS, Table
from qvsearch.published.publishing import publish
from qvsearch.published.schema import later_types
from qvsearch.published.stored_words import COLUMNS
from qvsearch.retrieval import named_files, table_words
from qvsearch.retrieval.explain import explain, explained_in
from qvsearch.retrieval.pipeline import SearchOptions, parse_query, search
from qvsearch.retrieval.scrolling import hits_one_by_one
from qvsearch.retrieval.several import Searched, answer_all
from qvsearch.retrieval.shelf import Opened
from qvsearch.runtime.choice import Choice
from qvsearch.types import Item, Kind, Metadata, Segment

DIM = 32
FINGERPRINT = replace(made_rows.FINGERPRINT, dim=DIM, instruction=DOCUMENT_INSTRUCTION)
FILES = 300
ROOT = b"/media/Archive"
VOCABULARY = [f"word{number}" for number in range(400)]
VOCABULARY += ["Café", "STRASSE", "naïve", "東京都庁", "INV-2024-0117", "o'clock", "ﬁne"]
TIMES = [f"00:00:{second:02}" for second in range(0, 40, 4)]


@dataclass(frozen=True)
class Hashes:
    """Answers a text with a row's vector and noise, the same ones for the same text."""

    vectors: np.ndarray
    dim: int = DIM

    def embed(self, inputs):
        found = []
        for each in inputs:
            rng = np.random.default_rng(zlib.crc32(each.text.encode()))
            row = self.vectors[rng.integers(len(self.vectors))]
            found.append(unit(row + 0.05 * rng.standard_normal(DIM)))
        return np.stack(found)


def made_vectors(rows, seed=0):
    return unit(np.random.default_rng(seed).standard_normal((rows, DIM)) + 0.3)


def text(rng, most=60):
    weights = [1 / (place + 1) for place in range(len(VOCABULARY))]
    chosen = rng.choices(VOCABULARY, weights[::-1] if rng.random() < 0.1 else weights, k=most)
    return rng.choice([" ", "\n"]).join(chosen[: rng.randint(3, most)])


def file(rng, number):
    """The segments of a picture, of a text of some passages, or of a film with subtitles."""
    kind = (Kind.IMAGE, Kind.TEXT, Kind.TEXT, Kind.VIDEO)[number % 4]
    place = rng.choice([(48.2, 16.37), (45.5, -73.6), (None, None)])
    metadata = Metadata(latitude=place[0], longitude=place[1], title=rng.choice(["Café", None]))
    item = Item(ROOT, b"%b/IMG_%d.x" % (kind.encode(), number), kind, 1, number)
    whole = Segment(item, f"hash{number}", metadata=metadata)
    if kind is Kind.IMAGE:
        return [replace(whole, words=rng.choice(["", text(rng, 9)]))]
    if kind is Kind.VIDEO:
        return [replace(whole, start=4.0 * at, end=4.0 * at + 4) for at in range(2)]
    lines = [(each, each + 9) for each in range(1, 10 * rng.randint(1, 4), 10)]
    return [replace(whole, lines=each, words=text(rng)) for each in lines]


def book(rng, number):
    """The segments of a long document: every second page, with the words of the one behind it."""
    item = Item(ROOT, b"IMG_%d.pdf" % number, Kind.DOCUMENT, 1, number)
    whole = Segment(item, f"hash{number}", metadata=Metadata(pages=399))
    for page in range(1, 40, 2):
        words = paged_text(text(rng), [PageText(page + 1, text(rng))])
        yield replace(whole, page=page, words=words)


def report(name, words):
    """The segments of a text with a name, of which each passage has one of these words."""
    item = Item(ROOT, name, Kind.TEXT, 1, 7)
    for line, word in enumerate(words):
        lines = (10 * line + 1, 10 * line + 10)
        yield Segment(item, name.decode(), lines=lines, words=f"word0 word1 {word} word2")


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    rng = random.Random(18)
    made = Library.create(tmp_path_factory.mktemp("words") / "library", FINGERPRINT)
    made.add_root(ROOT)
    segments = [each for number in range(FILES) for each in file(rng, number)]
    segments += [each for number in range(2) for each in book(rng, FILES + number)]
    segments += report(b"Hofstetter.txt", ["word3", "word4", "warranty", "word6", "warranty"])
    segments += report(b"Hofstetter warranty.txt", ["word3", "warranty", "word4"])
    segments += report(b"quokkas.txt", ["quokka", "word3", "quokka", "quokka"])
    segments += report(b"novel.txt", ["ocelot", *["word3", "word4", "ocelot"] * 4])
    vectors = made_vectors(len(segments))
    made.set_baseline(unit(made_vectors(64, 5) + 0.5 * vectors[:64]))
    made.add(segments, vectors)
    made.commit()
    return Library.open(made.folder)


@pytest.fixture(scope="module")
def place(library, tmp_path_factory):
    """The address of a table that has the library's rows, of which some are in no index yet."""
    address = read_address(str(tmp_path_factory.mktemp("copies") / "words.lance"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upkeep, "WORDS_FROM", 0)
        publish(library.folder, address, "anna")
    return address


def opened(place):
    return reopened(Path(place.uri), {"anna/Archive": ROOT})


@pytest.fixture(scope="module")
def small(place):
    return opened(place)


class LargeTable(published.PublishedLibrary):
    """A table that is too large to be read whole."""

    is_small = False

    def _check_size(self):
        raise AssertionError("all rows are read")


@pytest.fixture(scope="module")
def table(place):
    """The same as a large table."""
    found = opened(place)
    found.__class__ = LargeTable
    return found


@pytest.fixture(scope="module")
def embedder(library):
    return Hashes(library.vectors(range(len(library))))


def queries():
    """Thirty drawn queries with their options: words, phrases, names, and what must not stand."""
    rng = random.Random(7)
    for number in range(30):
        words = rng.sample(VOCABULARY, 2) + [f"IMG_{rng.randrange(FILES)}", "Wien", "Canada"]
        some = rng.sample(words, rng.randint(1, 3))
        how = {}
        if number % 3 == 1:
            some.append('"{} {}"'.format(*rng.choices(VOCABULARY[:12], k=2)))
        if number % 5 == 2:
            how["lacking"] = rng.sample(VOCABULARY[:60], 2)
        if number % 5 == 3:
            how["by"] = By.WORDS
        if number % 10 == 9:
            how["by"] = By.MEANING
        options = {"min_relevance": 0.0 if number % 2 else None, "top": 30}
        if number % 4 == 3:
            options["filters"] = parse_filters(kinds=[Kind.TEXT, Kind.IMAGE], globs=["*1*"])
        yield pytest.param(parse_query(" ".join(some), **how), options, id=f"{number}")


def relevances(hits):
    return [each.relevance for each in hits]


def check_alike(library, table, query, embedder, **options):
    options = SearchOptions(**options)
    expected, found = (search(each, query, embedder, options) for each in (library, table))
    assert relevances(found) == pytest.approx(relevances(expected), abs=1e-3)
    others = {each.segment: each for each in found}
    last = expected[-1].relevance if len(expected) == options.top else -1.0
    for one in expected:  # files of one relevance may have another order
        if one.relevance < last + 1e-3:
            break
        other = others[one.segment]
        assert other.relevance == pytest.approx(one.relevance, abs=1e-3)
        assert other.snippet == one.snippet
        assert (other.start, other.duplicates) == (one.start, one.duplicates)
        assert [each.segment for each in other.moments] == [each.segment for each in one.moments]
    return found


@pytest.mark.parametrize(("query", "options"), list(queries()))
def test_hits_are_those_of_a_library(library, small, table, embedder, query, options):
    check_alike(library, small, query, embedder, **options)
    check_alike(library, table, query, embedder, **options)


def test_words_find_what_the_model_does_not(library, table, embedder):
    (name, *_) = check_alike(library, table, parse_query("IMG_204"), embedder)
    assert name.segment.item.path.endswith(b"IMG_204.x")
    (hit, *_) = check_alike(library, table, parse_query('"INV-2024-0117"'), embedder)
    marked = [part for part, is_marked in hit.snippet.parts if is_marked]
    assert tokens(" ".join(marked))[:3] == ["inv", "2024", "0117"]


@pytest.mark.parametrize("by", [By.BOTH, By.WORDS])
@pytest.mark.parametrize(
    "query", ["IMG_204 nowhere", "IMG_204 IMG_12 nowhere", '"word0 word1" "word2 word0"']
)
def test_numbers_and_phrases_decide_as_in_a_library(library, small, table, embedder, query, by):
    for each in (small, table):
        asked = parse_query(query, by=by)
        hits = check_alike(library, each, asked, embedder, min_relevance=0, top=50)
        assert hits[0].relevance > 0.3


@pytest.mark.parametrize("by", [By.BOTH, By.WORDS])
@pytest.mark.parametrize("page", ["2", "12", "11-12", "13"])
def test_words_on_pages_without_a_row_are_found_as_in_a_library(
    library, small, table, embedder, page, by
):
    filters = parse_filters(page=page)
    first, last = filters.pages
    books = [row for row in library.segments if library.columns.pages[row] in (first, first - 1)]
    texts = [
        each.text
        for row in books
        for each in page_texts(library.words.text(row), library.segments[row].page)
        if each.page == first
    ]
    for words in texts:
        query = parse_query(" ".join(words.split()[:2]), by=by)
        for each in (small, table):
            hits = check_alike(library, each, query, embedder, min_relevance=0, filters=filters)
            assert {hit.segment.page for hit in hits} <= set(range(first, last + 1))
            assert hits or by is By.BOTH


@pytest.mark.parametrize("most", [2000, 20])
@pytest.mark.parametrize("by", [By.BOTH, By.WORDS])
@pytest.mark.parametrize(
    "query", ["hofstetter warranty", "Hofstetter word4", "quokka", "ocelot", "archive txt warranty"]
)
def test_files_with_a_name_or_mostly_of_a_word_are_those_of_a_library(
    library, small, table, embedder, query, by, most, monkeypatch
):
    monkeypatch.setattr(named_files, "MOST_ROWS", most)
    for each in (small, table):
        found = check_alike(library, each, parse_query(query, by=by), embedder, min_relevance=0)
        assert found[0].segment.item.path.endswith(b".txt")


@pytest.mark.parametrize(
    ("quote", "is_there"),
    [("o'clock", True), ("O\u2019CLOCK", True), ("o.clock", False), ("INV.2024-0117", False)],
)
def test_signs_of_quotes_count_as_in_a_library(
    library, small, table, embedder, quote, is_there, monkeypatch
):
    monkeypatch.setattr(table_words, "READ_ROWS", 20)
    for each in (small, table):
        hits = check_alike(library, each, parse_query(f'"{quote}"'), embedder, top=50)
        assert bool(hits) == is_there
        check_alike(library, each, parse_query(f'word3 "{quote}"'), embedder)
        asked = parse_query("word0", lacking=[quote])
        assert check_alike(library, each, asked, embedder, min_relevance=0, top=50)


def test_long_lists_of_files_are_not_pushed_into_the_engine(library, table, embedder, monkeypatch):
    monkeypatch.setattr(table_words, "LISTED", 3)
    query = parse_query('word3 "word0 word1"', lacking=["word2 word4", "word300"])
    assert check_alike(library, table, query, embedder, min_relevance=0, top=50)


def test_few_texts_are_read_however_many_rows_have_a_word(library, table, embedder, monkeypatch):
    monkeypatch.setattr(table_words, "READ_ROWS", 20)
    monkeypatch.setattr(table_words, "TOP_ROWS", 5)
    read = []
    by_ids = Table.by_ids
    monkeypatch.setattr(
        Table,
        "by_ids",
        lambda self, ids, names: read.append((names, len(ids))) or by_ids(self, ids, names),
    )
    options = SearchOptions(min_relevance=0, top=40)
    query = parse_query("word0 word1", by=By.WORDS)
    expected, found = (search(each, query, embedder, options) for each in (library, table))
    (texts,) = [count for names, count in read if names == (*COLUMNS, "item")]
    assert 20 <= texts <= 25
    assert relevances(found) == pytest.approx(relevances(expected), abs=0.02)


def test_words_that_no_row_has(library, small, table, embedder):
    for each in (small, table):
        assert check_alike(library, each, parse_query('"no such words"'), embedder) == []
        assert check_alike(library, each, parse_query("nowhere", by=By.WORDS), embedder) == []
        assert check_alike(library, each, parse_query("nowhere"), embedder, min_relevance=0)


@pytest.mark.parametrize(
    ("words", "how"),
    [
        ("IMG_204 Wien", {}),
        ('word7 "word0 word1"', {"lacking": ["word3"]}),
        ("word5 word9", {"by": By.WORDS}),
    ],
)
def test_a_file_is_explained_as_in_a_library(library, small, table, embedder, words, how):
    query, options = parse_query(words, **how), SearchOptions(min_relevance=0.1, top=5)
    hits = search(library, query, embedder, SearchOptions(min_relevance=0, top=60))
    places = [each.segment.item.location for each in hits[::25]]
    places += [library.segments[row].item.location for row in (1, 90)]
    reasons = set()
    for place in places:
        expected = explain(library, query, place, embedder, options)
        reasons.add(expected.reason)
        for each in (small, table):
            found = explain(each, query, place, embedder, options)
            assert (found.items, found.hidden_by) == (expected.items, expected.hidden_by)
            assert (found.rank is None) == (expected.rank is None)
            assert (found.reason is None) == (expected.reason is None)
            if each is table:  # a small one has another order of files of the same relevance
                assert (found.rank or 0) <= (expected.rank or 0)
            assert found.relevance == pytest.approx(expected.relevance, abs=1e-3)
            for one, other in zip(expected.segments, found.segments, strict=True):
                assert (other.segment, other.words) == (one.segment, one.words)
                assert other.by_words == pytest.approx(one.by_words, abs=1e-3)
    assert len(reasons) > 1


def notes(numbers, words):
    for number in numbers:
        item = Item(ROOT, b"note %d.txt" % number, Kind.TEXT, 1, number)
        yield Segment(item, f"note{number}", lines=(1, 9), words=f"{words} {number}")


@pytest.fixture
def beside(tmp_path):
    """A library of other files, of which one has a number that no other file has."""
    made = Library.create(tmp_path / "beside", FINGERPRINT)
    made.add_root(ROOT)
    segments = [*notes(range(40), "word5 word9"), *notes([99], "word5 order ORD-2024-0417")]
    vectors = made_vectors(len(segments), 3)
    made.set_baseline(unit(made_vectors(64, 5)))
    made.add(segments, vectors)
    made.commit()
    return made


@pytest.mark.parametrize("words", ["word5 word9", "IMG_204", "ORD-2024-0417", "quokka", "word300"])
def test_a_small_table_beside_a_library_is_searched_as_one_library_of_both(
    library, small, beside, embedder, tmp_path, words
):
    both = Library.create(tmp_path / "both", FINGERPRINT)
    both.add_root(ROOT)
    for each in (library, beside):
        rows = list(each.segments)
        texts = (replace(each.segments[row], words=each.words.text(row)) for row in rows)
        both.add(list(texts), each.vectors(rows))
    query, options = parse_query(words, by=By.WORDS), SearchOptions(min_relevance=0, top=500)
    expected = search(both, query, embedder, options)
    found = answer_all(
        [Searched(each, lambda: embedder) for each in (small, beside)], query, options
    )
    assert relevances(found) == pytest.approx(relevances(expected), abs=1e-3)


@pytest.mark.parametrize(
    ("words", "file"), [("IMG_204", b"IMG_204.x"), ("ORD-2024-0417", b"note 99.txt")]
)
def test_a_number_in_a_large_table_or_beside_it_lessens_the_other(
    table, beside, embedder, words, file
):
    query, options = parse_query(words), SearchOptions(min_relevance=0, top=500)
    for order in ([table, beside], [beside, table]):
        together = [Searched(each, lambda: embedder) for each in order]
        hits = answer_all(together, query, options)
        assert hits[0].segment.item.path.endswith(file)
        assert hits[1].relevance < 0.3
        scrolled = list(hits_one_by_one(together, query, options))
        assert relevances(scrolled) == pytest.approx(relevances(hits), abs=1e-3)
        for hit in hits[:3]:
            why = explained_in(together, query, hit.segment.item.location, options)
            assert why.relevance == pytest.approx(hit.relevance, abs=1e-3)


@pytest.mark.parametrize("words", ["pomelo 77123 nowhere", "pomelo 77123"])
def test_a_large_table_without_the_words_lessens_no_more_than_a_library(
    library, table, beside, embedder, words
):
    beside.add(list(notes([98], "pomelo 77123")), made_vectors(1, 4))
    query, options = parse_query(words), SearchOptions(min_relevance=0, top=500)
    expected, found = (
        {
            hit.segment.item.path: hit.relevance
            for hit in answer_all(
                [Searched(each, lambda: embedder) for each in (one, beside)], query, options
            )
        }
        for one in (library, table)
    )
    assert found == {path: pytest.approx(each, abs=0.1) for path, each in expected.items()}


@pytest.fixture
def changing(tmp_path):
    """A small library, and a function that publishes it, with an index of words."""
    made = Library.create(tmp_path / "library", FINGERPRINT)
    made.add_root(ROOT)
    made.add(list(notes(range(40), "an old invoice")), made_vectors(40))
    made.commit()
    return made


@pytest.fixture
def send(changing, tmp_path, monkeypatch):
    monkeypatch.setattr(upkeep, "WORDS_FROM", 0)
    address = read_address(str(tmp_path / "shared.lance"))

    def sent():
        done = publish(changing.folder, address, "anna")
        monkeypatch.setattr(published, "WHOLE", 0)
        return done, opened(address)

    return sent


def by_words(library, words):
    hits = search(library, parse_query(words, by=By.WORDS), None, SearchOptions(min_relevance=0))
    return {hit.segment.item.path for hit in hits}


def test_numbers_are_found_in_all_forms_as_in_a_library(changing, send):
    sums = ["82,300", "9783161484100", "v2.4.1", "DE89370400440532013000"]
    for number, each in enumerate(sums, 60):
        changing.add(list(notes([number], f"the sum is {each}, said")), made_vectors(1, number))
    changing.commit()
    embedder = Hashes(changing.vectors(range(len(changing))))
    _, table = send()
    queries = [
        "82300",
        "978-3-16-148410-0",
        "version 2.4.1",
        "DE89 3704 0044 0532 0130 00",
        "82.300",
    ]
    queries += ["82300 nowhere", "978-3-16-148410-0 nowhere", "1.234,50", "invoice 2.4.1 82300"]
    for query, by in product(queries, [By.BOTH, By.WORDS]):
        asked = parse_query(query, by=by)
        check_alike(changing, table, asked, embedder, min_relevance=0, top=50)
    texts = parse_filters(kinds=[Kind.TEXT], globs=["note 6*"])
    (hit,) = search(table, parse_query("82300", by=By.WORDS), None, SearchOptions(filters=texts))
    assert ("82,300", True) in hit.snippet.parts


def test_rows_that_are_in_no_index_yet_are_found(changing, send):
    send()
    changing.remove([3])
    changing.add(list(notes([50, 51], "a new receipt")), made_vectors(2, 9))
    changing.commit()
    _, table = send()
    assert table.table.shape.loose == 2
    assert by_words(table, "receipt") == {b"note 50.txt", b"note 51.txt"}
    assert by_words(table, '"new receipt 51"') == {b"note 51.txt"}
    assert by_words(table, '"invoice 3"') == set()
    assert by_words(table, '"invoice 4"') == {b"note 4.txt"}


def test_words_that_are_added_later_are_sent_without_vectors(changing, send, monkeypatch):
    send()
    changing.add_words({7: "seen in a picture: kumquat"}, "ocr")
    changing.commit()
    monkeypatch.setattr(Table, "append", None)
    monkeypatch.setattr(Table, "replace", None)
    done, table = send()
    assert (done.changed, done.unchanged, done.rows) == (1, 39, 1)
    assert by_words(table, "kumquat") == by_words(table, '"picture kumquat"') == {b"note 7.txt"}
    assert by_words(table, '"old invoice 7"') == {b"note 7.txt"}
    assert send()[0].unchanged == 40


def test_words_that_change_but_not_in_number_are_sent_without_vectors(changing, send, monkeypatch):
    """E.g. those of a subtitle file in which a name is corrected."""
    send()
    before = list(changing.segments.values())[7]
    vector = changing.vectors([7])
    changing.remove([7])
    changing.add([replace(before, words="an old kumquat 7")], vector)
    changing.commit()
    monkeypatch.setattr(Table, "append", None)
    monkeypatch.setattr(Table, "replace", None)
    done, table = send()
    assert (done.changed, done.unchanged, done.rows) == (1, 39, 1)
    assert by_words(table, "kumquat") == {b"note 7.txt"}
    assert by_words(table, '"invoice 7"') == set()
    assert send()[0].unchanged == 40


def test_a_table_without_words_is_searched_by_meaning_until_it_is_published_again(
    changing, send, monkeypatch
):
    _, first = send()
    vectors = first.table.scan(["row", "vector"]).sort_by("row")
    first.table._rows.drop_index("tokens_idx")
    first.table._rows.drop_columns(list(later_types()))
    older = opened(first.table.address)
    assert older.outdated == ["anna"]
    embedder = Hashes(changing.vectors(range(40)))
    options = SearchOptions(min_relevance=0)
    by_meaning = search(changing, parse_query("invoice", by=By.MEANING), embedder, options)
    found = search(older, "invoice", embedder, options)
    assert [each.segment for each in found] == [each.segment for each in by_meaning]
    for query in ('"invoice"', parse_query("a", lacking=["b"]), parse_query("a", by=By.WORDS)):
        with pytest.raises(QvsearchError, match="has no index of words yet; publish a library"):
            search(older, query, embedder, options)
    monkeypatch.setattr(Table, "append", None)
    monkeypatch.setattr(Table, "replace", None)
    done, table = send()
    assert (done.changed, done.unchanged, done.rows) == (40, 0, 40)
    assert table.outdated == []
    assert by_words(table, '"invoice 5"') == {b"note 5.txt"}
    assert table.table.scan(["row", "vector"]).sort_by("row").equals(vectors)


def test_words_without_an_index_are_found_once_it_is_built(changing, send):
    send()[1].table._rows.drop_index("tokens_idx")
    with pytest.raises(QvsearchError, match="has no index of words yet; publish"):
        by_words(opened(read_address(str(changing.folder.parent / "shared.lance"))), "invoice")
    done, table = send()
    assert done.rows == 0
    assert TOKENS in table.table.shape.indexed
    assert by_words(table, '"invoice 5"') == {b"note 5.txt"}


def test_a_moved_root_is_found_by_its_name_in_the_table(changing, send, tmp_path):
    send()
    there = tmp_path / "Attic"
    there.mkdir()
    move_roots(changing.folder, {ROOT: os.fsencode(there)})
    moved = Library.open(changing.folder)
    (new,) = notes([50], "a new receipt")
    moved.add([replace(new, item=replace(new.item, root=os.fsencode(there)))], made_vectors(1, 9))
    moved.commit()
    done, table = send()
    assert (done.added, done.changed, done.unchanged) == (1, 0, 40)
    for number in (3, 50):
        assert by_words(table, f'"archive note {number}"') == {b"note %d.txt" % number}
        assert by_words(table, f'"attic note {number}"') == set()


def hinted(folder, monkeypatch, capsys):
    """Return what a search on a terminal points out about the libraries that it opens."""
    monkeypatch.setattr("qvsearch.cli.output.is_watched", lambda quiet: not quiet)
    OpenLibraries([folder], Choice()).hint(quiet=False)
    return capsys.readouterr().err


def test_a_search_by_meaning_alone_says_so(changing, send, monkeypatch, capsys):
    _, table = send()
    assert "meaning" not in hinted(table.folder, monkeypatch, capsys)
    table.table._rows.drop_index("tokens_idx")
    for _ in range(2):
        assert "has no index of words yet" in hinted(table.folder, monkeypatch, capsys)
    shelf = Opened("shared", opened(table.table.address), None, Hashes(np.empty(0)))
    command = f"qvsearch publish {table.folder}"
    assert list(_hints([shelf])) == [
        "shared: it has no index of words yet, and is searched by meaning alone;"
        f" `{command}` builds it"
    ]
    assert served_lack(table.folder) == {"all": True, "command": command}
    send()
    assert "meaning" not in hinted(table.folder, monkeypatch, capsys)
    assert served_lack(table.folder) is None


def served_lack(folder):
    """Return what the server tells its page about words that are not found."""
    with serving(library_folder(str(folder))) as page:
        [library] = page.get("/api/status").json()["libraries"]
    return library.get("missing_words")


def test_a_page_names_those_who_publish_words_of_an_older_table(send):
    _, table = send()
    table.table._rows.drop_index("tokens_idx")
    table.table._rows.drop_columns(list(later_types()))
    command = f"qvsearch publish {table.folder}"
    assert served_lack(table.folder) == {"all": False, "command": command, "publishers": ["anna"]}


def test_a_table_without_any_words_needs_no_index_of_them(changing, send):
    _, table = send()
    table.table._rows.drop_index("tokens_idx")
    table.table._rows.update(values={"tokens": None, "length": None})
    assert not opened(table.table.address).lacks_word_index


def test_rows_of_an_older_version_are_counted_once(changing, send, monkeypatch, capsys):
    _, table = send()
    table.table._rows.update(where="item % 2 = 0", values={"form": 99})
    assert "by anna adds them" in hinted(table.folder, monkeypatch, capsys)
    count, counted = Table.count, []

    def recorded(self, where=None):
        counted.append(where)
        return count(self, where)

    monkeypatch.setattr(Table, "count", recorded)
    assert opened(table.table.address).outdated == ["anna"]
    assert not hinted(table.folder, monkeypatch, capsys)
    assert not any(counted)  # but all rows, which is a number in the manifest


def away(*_, **__):
    raise QvsearchError("the storage is away")


def test_an_answer_is_not_lost_if_the_table_cannot_be_read_for_its_hints(send, monkeypatch):
    _, table = send()
    shelf = Opened("shared", opened(table.table.address), None, Hashes(np.empty(0)))
    for each in ("count", "scan"):
        monkeypatch.setattr(Table, each, away)
    with pytest.raises(QvsearchError, match="is away"):
        assert shelf.library.outdated
    assert list(_hints([shelf])) == []


def test_the_page_shows_other_libraries_beside_a_table_that_is_away(changing, send, monkeypatch):
    _, table = send()
    with serving(changing.folder, table.folder) as page:
        for each in ("count", "scan"):
            monkeypatch.setattr(Table, each, away)
        here, lost = page.get("/api/status").json()["libraries"]
    assert here["kinds"]["text"]["items"] == 40
    assert lost["problem"] == "the storage is away"


def test_tokens_of_another_version_are_replaced(changing, send):
    _, table = send()
    table.table._rows.update(where="item % 2 = 0", values={"form": 99, "tokens": "other"})
    table = opened(table.table.address)
    assert table.outdated == ["anna"]
    done, table = send()
    assert 0 < done.changed < 40
    assert table.outdated == []
    assert len(by_words(table, "invoice")) == 10
    assert by_words(table, "other") == set()


def test_rows_without_words_lie_beside_others(changing, send, tmp_path, monkeypatch):
    """A Python whose SQLite has no full-text index stores none."""
    other = Library.create(tmp_path / "other", FINGERPRINT)
    other.add_root(ROOT)
    other.add(list(notes([60], "an unread invoice")), made_vectors(1, 9))
    with monkeypatch.context() as patch:
        patch.setattr("qvsearch.library.shard_words.has_full_text", lambda: False)
        other.commit()
        publish(other.folder, read_address(str(tmp_path / "shared.lance")), "bob")
    _, table = send()
    assert table.table.count("tokens IS NULL") == 1
    assert by_words(table, '"invoice 60"') == set()
    assert by_words(table, '"invoice 6"') == {b"note 6.txt"}
    embedder = Hashes(other.vectors([0]))
    (hit, *_) = search(table, "what else", embedder, SearchOptions(min_relevance=0))
    assert hit.segment.item.path == b"note 60.txt"


def test_words_that_most_rows_have_are_not_looked_up(changing, send, monkeypatch):
    _, table = send()
    having, asked = Table.having, []

    def recorded(self, words, *rest, **how):
        asked.append(words)
        return having(self, words, *rest, **how)

    monkeypatch.setattr(Table, "having", recorded)
    assert by_words(table, "an old invoice 7") == {b"note 7.txt"}
    assert asked == [("7",)]
    assert len(by_words(table, "an old invoice")) == 10
