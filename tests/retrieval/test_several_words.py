"""Exact words over several libraries count as in one library of all files, the reference here."""

import sqlite3
import zlib
from dataclasses import replace

import numpy as np
import pytest
from support.colours import FINGERPRINT, ColourEmbedder, ColourReranker, unit

from qvsearch.choices import By, RerankScope
from qvsearch.errors import QvsearchError
from qvsearch.library import shard_words
from qvsearch.library.filters import parse_filters
from qvsearch.library.library import Library
from qvsearch.retrieval import scrolling
from qvsearch.retrieval.explain import explain, explained_in
from qvsearch.retrieval.options import Rerank
from qvsearch.retrieval.pipeline import SearchOptions, parse_query, search
from qvsearch.retrieval.several import Searched, answer_all, answers_all
from qvsearch.types import Item, Kind, Metadata, Segment

ROOT = b"/media"
FILLER = "the quick brown fox jumps over the lazy dog near a river bank today"
RANKING = SearchOptions(top=500, min_relevance=0, dedupe=False)
QUERIES = [
    "INV-2024-0117",
    "INV-2024-0117 reimbursed",
    "red INV-2024-0117",
    "IMG_4711",
    "Brandauer",
    "zoé BRANDAUER paid",
    "Hofstetter warranty",
    "invoice paid",
    "march invoice",
    "fox",
    "sunset",
    '"Zoe Brandauer"',
    '"invoice INV-2024-0118" open',
    '"INV-2024-0117" reimbursed',
    "sum 82300",
    '"C++"',
]


def text(path, words, line=1):
    item = Item(ROOT, path, Kind.TEXT, 1, 0)
    return Segment(item, path.decode(), lines=(line, line + 9), snippet=words[:20], words=words)


def files():
    """The segments of each file: notes, pictures, and some texts with rare words."""
    rng = np.random.default_rng(5)
    for number in range(60):
        some = " ".join(rng.choice(["sunset", "invoice", "paid", "open", "march"], 2))
        yield [text(b"note %d.txt" % number, f"{FILLER} {some} {number}")]
    for number in range(40):
        name = b"IMG_%d.jpg" % (4700 + number)
        yield [Segment(Item(ROOT, name, Kind.IMAGE, 1, 0), name.decode())]
    yield [text(b"bill.txt", f"{FILLER} invoice INV-2024-0117 was paid by Zoe Brandauer")]
    yield [text(b"other.txt", f"{FILLER} invoice INV-2024-0118 is open, a draft in C++")]
    yield [text(b"reply.txt", f"{FILLER} as Brandauer says: the sum is 82,300")]
    manual = Item(ROOT, b"Hofstetter.pdf", Kind.DOCUMENT, 1, 0)
    words = [FILLER, f"{FILLER} a warranty", f"{FILLER} sunset"]
    yield [
        Segment(manual, "0", page=page, words=each, metadata=Metadata(pages=3))
        for page, each in enumerate(words, start=1)
    ]
    novel = [f"{FILLER} sunset", *[FILLER] * 3, f"{FILLER} sunset"]
    yield [text(b"novel.txt", each, 10 * at + 1) for at, each in enumerate(novel)]


def vector_of(segment):
    if segment.item.path.startswith(b"crimson"):
        return unit(1, 0, 0)
    rng = np.random.default_rng(zlib.crc32(segment.item.path))
    return unit(0, *rng.uniform(0.2, 1, 2))


def made(folder, parts, fingerprint=FINGERPRINT):
    """A library of files; the model finds those alike whose names have no colour."""
    library = Library.create(folder, fingerprint)
    library.add_root(ROOT)
    rng = np.random.default_rng(3)
    away = np.stack([unit(1, *each) for each in rng.normal(0, 0.15, (64, 2))])
    library.set_baseline(away)
    segments = [each for part in parts for each in part]
    library.add(segments, np.stack([vector_of(each) for each in segments]))
    library.commit()
    return Searched(Library.open(library.folder), ColourEmbedder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return made(tmp_path_factory.mktemp("whole") / "whole", files())


@pytest.fixture(scope="module", params=[2, 3])
def several(request, tmp_path_factory):
    """The same files in two or three libraries, of which the last has another model."""
    folder, some = tmp_path_factory.mktemp("several"), list(files())
    other = replace(FINGERPRINT, model="shades", revision="2")
    return [
        made(folder / f"{place}", some[place :: request.param], fingerprint)
        for place, fingerprint in zip(
            range(request.param), [FINGERPRINT, other, FINGERPRINT], strict=False
        )
    ]


def ask(searched, query, options=RANKING, **how):
    query = parse_query(query, **how) if isinstance(query, str) else query
    return answer_all(searched, query, options)


def relevances(hits):
    return {hit.segment.item.path: hit.relevance for hit in hits}


def same(found):
    return {path: pytest.approx(each, abs=1e-6) for path, each in found.items()}


@pytest.mark.parametrize("query", QUERIES)
def test_by_words_alone_each_file_has_the_relevance_of_one_library(whole, several, query):
    expected = ask([whole], query, by=By.WORDS)
    found = ask(several, query, by=By.WORDS)
    assert relevances(found) == same(relevances(expected))
    assert [hit.relevance for hit in found] == [
        pytest.approx(hit.relevance, abs=1e-6) for hit in expected
    ]
    snippets = {hit.segment.item.path: (hit.segment, hit.snippet) for hit in expected}
    assert {hit.segment.item.path: (hit.segment, hit.snippet) for hit in found} == snippets


@pytest.mark.parametrize("query", QUERIES)
def test_beside_meaning_words_are_worth_what_they_are_in_one_library(whole, several, query):
    for path in (b"bill.txt", b"IMG_4711.jpg", b"Hofstetter.pdf", b"novel.txt", b"note 3.txt"):
        place = b"/".join([ROOT, path])
        expected = explain(whole.library, query, place, ColourEmbedder(), RANKING)
        found = explained_in(several, parse_query(query), place, RANKING)
        others = {each.segment: each for each in expected.segments}
        assert len(found.segments) == len(others)
        for one in found.segments:
            other = others[one.segment]
            assert one.words == other.words
            assert one.by_words == (other.by_words and pytest.approx(other.by_words, abs=1e-6))


@pytest.mark.parametrize("query", QUERIES)
def test_the_first_hits_are_those_of_one_library_if_they_have_the_words(whole, several, query):
    exact = [
        path for path, each in relevances(ask([whole], query, by=By.WORDS)).items() if each > 0.8
    ]
    for together in ([whole], several, several[::-1]):
        first = [hit.segment.item.path for hit in ask(together, query)[: len(exact)]]
        assert sorted(first) == sorted(exact)


def notes(count):
    return [[text(b"note %d.txt" % number, f"{FILLER} {number}")] for number in range(count)]


@pytest.mark.parametrize(
    ("query", "hits"), [("red INV-2024-0117", 1), ("red zoe brandauer", 4), ("red nowhere", 3)]
)
def test_the_words_of_a_library_lessen_what_another_has_by_meaning(tmp_path, query, hits):
    names = [b"crimson %d.jpg" % number for number in range(3)]
    album = [[Segment(Item(ROOT, name, Kind.IMAGE, 1, 0), name.decode())] for name in names]
    bill = [text(b"bill.txt", f"{FILLER} a red INV-2024-0117 by Zoe Brandauer")]
    one = made(tmp_path / "one", [*notes(40), *album])
    two = made(tmp_path / "two", [bill, *notes(40)])
    whole = made(tmp_path / "whole", [bill, *notes(40), *album])
    options = SearchOptions(dedupe=False)
    expected = [hit.segment.item.path for hit in ask([whole], query, options)]
    assert sorted(expected) == sorted([b"bill.txt", *names][-hits:] if hits != 1 else [b"bill.txt"])
    for together in ([one, two], [two, one]):
        found = [hit.segment.item.path for hit in ask(together, query, options)]
        assert found == expected
        scrolled = scrolling.hits_one_by_one(together, parse_query(query), options)
        assert [hit.segment.item.path for hit in scrolled] == expected


def test_a_query_without_its_words_anywhere_is_answered_by_meaning_as_before(several):
    for query in ("green", "a blue thing"):
        assert relevances(ask(several, query)) == relevances(ask(several, query, by=By.MEANING))


def test_queries_of_a_batch_are_answered_as_one_by_one(several):
    queries = [parse_query(each) for each in QUERIES]
    expected = [ask(several, each) for each in queries]
    for at_once in (3, 64):
        assert list(answers_all(several, queries, RANKING, at_once=at_once)) == expected


def test_the_hits_behind_the_first_ones_and_explanations_agree_with_the_search(
    several, monkeypatch
):
    monkeypatch.setattr(scrolling, "FIRST", 7)
    for query in map(parse_query, ("red zoe brandauer", "march invoice", "INV-2024-0117")):
        hits = ask(several, query)
        found = list(scrolling.hits_one_by_one(several, query, RANKING))
        assert [hit.relevance for hit in found] == [hit.relevance for hit in hits]
        assert relevances(found) == relevances(hits)
        for hit in hits[:3]:
            why = explained_in(several, query, hit.segment.item.location, RANKING)
            assert (why.reason, why.rank) == (None, hit.rank)
            assert (why.relevance, why.items) == (hit.relevance, len(hits))


def test_filters_hide_hits_and_change_no_relevance(whole, several):
    for how in ({"kinds": [Kind.IMAGE]}, {"globs": ["note*"]}, {"globs": ["bill*"]}):
        options = replace(RANKING, filters=parse_filters(**how))
        for query in QUERIES:
            expected = ask([whole], query, options, by=By.WORDS)
            found = ask(several, query, options, by=By.WORDS)
            assert relevances(found) == same(relevances(expected))


def test_a_reranker_gets_the_first_hits_by_words(several, tmp_path):
    how = Rerank(RerankScope.ALL, 3)
    missed = []
    options = replace(RANKING, rerank=how)
    query = parse_query("red zoe brandauer")
    list(answers_all(several, [query], options, ColourReranker, missed.append))
    first = [hit.segment.item.location for hit in ask(several, query)[:3]]
    assert [each.path for each in missed] == first  # these files are nowhere


def test_a_file_that_two_libraries_have_counts_once(tmp_path):
    bill = [text(b"bill.txt", f"{FILLER} INV-2024-0117")]
    two = [made(tmp_path / name, [*notes(40), bill]) for name in ("one", "two")]
    (hit,) = ask(two, "INV-2024-0117", by=By.WORDS)
    alone = ask(two[:1], "INV-2024-0117", by=By.WORDS)[0]
    assert hit.relevance == pytest.approx(alone.relevance, abs=0.02)
    assert hit.relevance >= alone.relevance


def without_model(searched):
    def load():
        raise QvsearchError("the model is not here")

    return replace(searched, load=load)


def test_the_words_of_a_library_that_is_lost_do_not_count(several, tmp_path):
    alone = made(tmp_path / "alone", [[text(b"red.txt", f"{FILLER} INV-2024-0117 {FILLER}")]])
    query = parse_query("red INV-2024-0117")
    expected = relevances(ask(several, query))
    assert relevances(ask([*several, alone], query)) != expected
    for together in ([*several, without_model(alone)], [without_model(alone), *several]):
        lost = []
        hits = answer_all(together, query, RANKING, lost=lost.append)
        assert relevances(hits) == expected
        why = explained_in(together, query, ROOT + b"/bill.txt", RANKING, lost.append)
        assert (why.reason, why.relevance) == (None, expected[b"bill.txt"])
        assert [each.folder.name for each in lost] == ["alone"] * 2
        with pytest.raises(QvsearchError, match="the model is not here"):
            explained_in(together, query, ROOT + b"/bill.txt", RANKING)


def test_words_that_cannot_be_read_cost_their_library_alone(several, tmp_path, monkeypatch):
    alone = made(tmp_path / "alone", [[text(b"red.txt", f"{FILLER} INV-2024-0117 {FILLER}")]])
    (file,) = (alone.library.folder / "segments").glob("*.words")
    database = sqlite3.connect(file)
    database.execute("UPDATE lengths SET data = x'00'")
    database.commit()
    database.close()
    monkeypatch.setattr(shard_words, "VERIFY_WORDS", -1)  # as of a large file
    damaged = replace(alone, library=Library.open(alone.library.folder))
    query = parse_query("red INV-2024-0117")
    for together in ([*several, damaged], [damaged, *several]):
        lost = []
        hits = list(answers_all(together, [query] * 2, RANKING, lost=lost.append))
        assert [relevances(each) for each in hits] == [relevances(ask(several, query))] * 2
        assert [each.folder.name for each in lost] == ["alone"]
        assert "numbers of tokens" in str(lost[0].error)


def test_a_library_without_words_yet_is_searched_by_meaning_beside_one_with_words(
    tmp_path, monkeypatch
):
    some = list(files())
    with monkeypatch.context() as patch:
        patch.setattr(shard_words, "has_full_text", lambda: False)
        wordless = made(tmp_path / "wordless", some[:60])
    other = made(tmp_path / "other", some[60:])
    assert search(wordless.library, parse_query("fox", by=By.WORDS), None, RANKING) == []
    query = parse_query("red INV-2024-0117")
    first, *others = ask([wordless, other], query)
    assert first.segment.item.path == b"bill.txt"
    assert first.relevance == ask([other], query)[0].relevance
    assert max(hit.relevance for hit in others) < 0.1
