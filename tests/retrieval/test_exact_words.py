"""Searches by exact words: phrases, words that must not stand, words beside meaning, snippets."""

from dataclasses import replace

import numpy as np
import pytest
from support.colours import FINGERPRINT, ColourEmbedder, unit

from qvsearch.choices import By
from qvsearch.errors import QvsearchError
from qvsearch.library import words_file
from qvsearch.library.filters import Filters
from qvsearch.library.library import Library
from qvsearch.library.tokens import tokens
from qvsearch.retrieval import word_ranking
from qvsearch.retrieval.asked_words import asked_words, plain
from qvsearch.retrieval.explain import explain
from qvsearch.retrieval.joined_words import matches_in
from qvsearch.retrieval.pipeline import Query, SearchOptions, answer, parse_query, search
from qvsearch.retrieval.query import read_terms
from qvsearch.retrieval.scoring import embed_terms
from qvsearch.retrieval.selection import select
from qvsearch.retrieval.snippets import snippet_of
from qvsearch.retrieval.standing import relevances
from qvsearch.types import Item, Kind, Metadata, Segment

ROOT = b"/media"
FILLER = "the quick brown fox jumps over the lazy dog near a river bank today"


def text(path, words, line=1):
    item = Item(ROOT, path, Kind.TEXT, 1, 0)
    return Segment(item, "0", lines=(line, line + 9), snippet=words[:20], words=words)


def picture(path):
    return Segment(Item(ROOT, path, Kind.IMAGE, 1, 0), "0")


@pytest.fixture
def library(tmp_path):
    """Forty texts and forty pictures that the model finds alike, and some with rare words."""
    library = Library.create(tmp_path / "library", FINGERPRINT)
    library.add_root(ROOT)
    rng = np.random.default_rng(3)
    away = np.stack([unit(1, *each) for each in rng.normal(0, 0.15, (64, 2))])
    library.set_baseline(away)
    segments = [text(b"note %d.txt" % n, f"{FILLER} {n}") for n in range(40)]
    segments += [picture(b"IMG_%d.jpg" % (4700 + n)) for n in range(40)]
    segments += [
        text(b"bill.txt", f"{FILLER} invoice INV-2024-0117 was paid by Zoe Brandauer"),
        text(b"other.txt", f"{FILLER} invoice INV-2024-0118 is open, a draft"),
        text(b"reverse.txt", f"{FILLER} the paid sum, 0117 of 2024"),
        text(b"long.txt", f"{FILLER} first chapter", 1),
        text(b"long.txt", f"{FILLER} second chapter has a kumquat", 11),
        text(b"march invoice.txt", f"{FILLER} sums"),
    ]
    vectors = np.stack([unit(0, *rng.uniform(0.2, 1, 2)) for _ in segments])
    library.add(segments, vectors)
    return library


def ask(library, query, **options):
    query = parse_query(query) if isinstance(query, str) else query
    return search(library, query, ColourEmbedder(), SearchOptions(**{"dedupe": False, **options}))


def paths(hits):
    return [hit.segment.item.path for hit in hits]


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("INV-2024-0117", b"bill.txt"),
        ("zoé BRANDAUER", b"bill.txt"),
        ("kumquat", b"long.txt"),
        ("IMG_4711", b"IMG_4711.jpg"),
        ("march invoice.txt ", b"march invoice.txt"),
    ],
)
def test_rare_words_are_found_of_which_the_model_knows_nothing(library, query, first):
    hits = ask(library, query)
    assert paths(hits)[0] == first
    assert hits[0].relevance > 0.5


def test_the_only_file_with_a_name_is_found_however_many_of_its_passages_have_it(library):
    pages = [text(b"manual.txt", f"{FILLER} fivenum {line}", line) for line in range(1, 190, 10)]
    library.add(pages, np.stack([unit(-1, 0, 0)] * len(pages)))
    hits = ask(library, "fivenum", top=200)
    [manual] = [hit for hit in hits if hit.segment.item.path == b"manual.txt"]
    assert manual.relevance > 0.33


@pytest.mark.parametrize("share", [1.0, 0.6])
def test_a_word_on_most_pages_of_one_file_finds_that_file_first(library, share):
    told = ["fivenum" if 19 * share > number else "" for number in range(19)]
    pages = [text(b"manual.txt", f"{FILLER} {each}", 10 * n + 1) for n, each in enumerate(told)]
    library.add(pages, np.stack([unit(-1, 0, 0)] * len(pages)))
    hits = ask(library, "fivenum")
    assert paths(hits)[0] == b"manual.txt"
    assert hits[0].relevance > 0.8


def test_a_word_on_some_pages_of_a_book_counts_on_each_of_them(library):
    told = ["sunset" if number % 3 == 0 else "" for number in range(30)]
    pages = [text(b"novel.txt", f"{FILLER} {each}", 10 * n + 1) for n, each in enumerate(told)]
    library.add(pages, np.stack([unit(-1, 0, 0)] * len(pages)))
    found = matches_in(library, asked_words("sunset"))
    assert found.equal.tolist() == [10.0] * 10
    assert found.evidence.max() < 0.5  # what is meant may be above


@pytest.mark.parametrize("query", ["Hofstetter warranty", "warranty MARCH quokka", "2041 warranty"])
@pytest.mark.parametrize("count", [1, 5])
def test_the_name_of_a_file_and_words_of_a_later_page_are_found_together(library, query, count):
    item = Item(ROOT, b"Hofstetter 2041.pdf", Kind.DOCUMENT, 1, 0)
    metadata = Metadata(pages=30, title="March quokka")
    pages = [
        Segment(item, "0", page=page, words=FILLER, metadata=metadata) for page in range(1, 31)
    ]
    for page in range(17, 17 + count):
        pages[page - 1] = replace(pages[page - 1], words=f"{FILLER} a warranty")
    library.add(pages, np.stack([unit(-1, 0, 0)] * len(pages)))
    others = [text(b"shop %d.txt" % each, f"{FILLER} a warranty") for each in range(9)]
    library.add(others, np.stack([unit(-1, 0, 0)] * len(others)))
    for stored in (False, True):
        if stored:
            library.commit()
        hits = ask(library, query)
        assert (paths(hits)[0], hits[0].segment.page) == (item.path, 17)
        assert hits[0].relevance > 0.8


def test_the_name_of_a_film_and_a_subtitle_are_found_together(library):
    item = Item(ROOT, b"Casablanca.mp4", Kind.VIDEO, 1, 0)
    shots = [Segment(item, "0", start=10.0 * n, end=10.0 * n + 10, words="") for n in range(9)]
    shots[6] = replace(shots[6], words="61.5\tplay the kumquat")
    library.add(shots, np.stack([unit(-1, 0, 0)] * len(shots)))
    [hit, *_] = ask(library, "casablanca kumquat")
    assert (hit.segment.item.path, hit.start) == (item.path, 61.5)
    assert hit.relevance > 0.8


@pytest.mark.parametrize("query", ["Zermatt", "glacier walk", "ZERMATT/glacier"])
def test_a_folder_s_name_finds_all_of_its_files_and_lessens_no_other(library, query):
    folder = b"Zermatt/glacier walk/%d.jpg"
    photos = [replace(picture(folder % each), content_hash=f"{each}") for each in range(20)]
    library.add(photos, np.stack([unit(-1, 0, 0)] * len(photos)))
    by_both, alone = (
        {hit.segment.item.path: hit.relevance for hit in ask(library, asked, top=200)}
        for asked in (query, parse_query(query, by=By.MEANING))
    )
    assert all(by_both.pop(photo.item.path) > 0.33 for photo in photos)
    assert by_both == {path: alone[path] for path in by_both}


@pytest.mark.parametrize(
    "query",
    [
        "INV-2024-0117 reimbursed",
        "the bill INV-2024-0117 of the plumber",
        "march INV-2024-0117",
        "请查找INV-2024-0117的报销",
        '"INV-2024-0117" reimbursed',
        '"Zoe Brandauer" kumquat',
    ],
)
@pytest.mark.parametrize("by", [By.BOTH, By.WORDS])
def test_a_number_or_a_phrase_finds_its_file_beside_words_that_it_lacks(library, query, by):
    hit, *_ = ask(library, parse_query(query, by=by))
    assert hit.segment.item.path == b"bill.txt"
    assert hit.relevance > 0.5


def test_ordinary_numbers_decide_nothing():
    words = (
        "3rd, 100, mp3, 4x4, 2024, 1990s, covid-19, v2.4.1, 360-degree, 2024-03-05, 10:30am, 1080p"
    )
    assert asked_words(words).numbers == ()
    written = "INV-2024-0117, IMG_204.jpg 4711, PX-117, +43 660 1234567"
    numbers = (("inv", "2024", "0117"), ("img", "204", "jpg"), ("4711",), ("px", "117"))
    numbers = (*numbers, ("43", "660", "1234567"))
    assert asked_words(written).numbers == numbers


WRITTEN = (
    ("1234.50", "1,234.50", "1'234.50", "1\u2019234.50", "1.234,50", "1 234,50", "1\u202f234,50"),
    ("82300", "82,300", "82 300"),
    ("2.4.1", "v2.4.1", "V2.4.1"),
    ("DE89370400440532013000", "DE89 3704 0044 0532 0130 00"),
    ("GB29NWBK60161331926819", "GB29 NWBK 6016 1331 9268 19"),
    ("4111111111111111", "4111 1111 1111 1111"),
)
JOINED = (  # whose groups are not guessed
    ("978-3-16-148410-0", "9783161484100"),
    ("+49 30 1234567", "+49301234567"),
    ("INV-2031-0117", "INV20310117"),
)
FULL = (
    *(("1234.50", "1234.5"), ("1,234.50", "1234.5"), ("1,200.00", "1200"), ("1200.00", "1,200")),
    *(("1234.5", "1,234.50"), ("1234,5", "1234.50")),
)


@pytest.mark.parametrize(
    ("query", "written"),
    [
        (one, other)
        for each in WRITTEN
        for one in each
        for other in dict.fromkeys([*each[:2], each[-1]])
    ]
    + list(JOINED + FULL),
)
def test_a_number_is_found_as_others_write_it(library, query, written):
    library.add([text(b"sum.txt", f"{FILLER} is {written}, at 12:01")], np.stack([unit(-1, 0, 0)]))
    hit, *_ = ask(library, query)
    assert hit.segment.item.path == b"sum.txt"
    assert hit.relevance > 0.5
    marked = " ".join(part for part, is_marked in hit.snippet.parts if is_marked)
    assert tokens(marked)[-1] in tokens(written)
    found = explain(library, query, ROOT + b"/sum.txt", ColourEmbedder())
    assert "".join(sorted(found.segments[0].words)) == "".join(sorted(set(tokens(query))))


def test_a_number_in_quotes_is_found_as_it_is_written(library):
    texts = [text(b"%d.txt" % at, f"a sum of {each}") for at, each in enumerate(WRITTEN[0])]
    library.add(texts, np.stack([unit(0, 1, 1)] * len(texts)))
    for at in (0, 1, 4):
        assert paths(ask(library, f'"{WRITTEN[0][at]}"')) == [b"%d.txt" % at]
    assert sorted(paths(ask(library, '"1\'234.50"'))) == [b"2.txt", b"3.txt"]


@pytest.mark.parametrize(
    ("query", "written"), [("82300", "82,300"), ("1234.50", "1,234.50"), *JOINED]
)
def test_a_rare_number_decides_in_all_its_forms(library, query, written):
    library.add([text(b"sum.txt", f"{FILLER} is {written}")], np.stack([unit(-1, 0, 0)]))
    [hit] = ask(library, parse_query(f"{query} nowhere", by=By.WORDS))
    assert hit.segment.item.path == b"sum.txt"


@pytest.mark.parametrize(
    "text", ["in 2024", "3-1", "0117", "1.5m", "a 12 and 300", "no number", "well-known", ""]
)
def test_other_numbers_have_one_form(text):
    assert asked_words(text).forms == {}


def test_a_number_of_many_rows_decides_nothing(library):
    query = parse_query("INV-2024-0117 nowhere", by=By.WORDS)
    [hit] = ask(library, query)
    many = [text(b"%d.txt" % number, f"INV-2024-0117 {number}") for number in range(60)]
    library.add(many, np.stack([unit(-1, 0, 0)] * len(many)))
    assert hit.segment.item.path == b"bill.txt"
    assert ask(library, query) == []


def test_a_number_counts_as_it_is_written(library):
    asked = parse_query("INV-2023-0117 reimbursed", by=By.WORDS)
    assert all(hit.relevance < 0.5 for hit in ask(library, asked, min_relevance=0, top=100))


@pytest.mark.parametrize("by", [By.BOTH, By.WORDS])
def test_phrases_of_one_file_may_stand_in_different_passages(library, by):
    [hit] = ask(library, parse_query('"first chapter" "a kumquat"', by=by))
    assert (hit.segment.item.path, hit.relevance > 0.5) == (b"long.txt", True)
    assert {each.segment.lines for each in (hit, *hit.moments)} == {(1, 10), (11, 20)}
    assert ask(library, parse_query('"first chapter" "INV-2024-0117"', by=by)) == []


def test_without_words_the_same_queries_find_nothing(library):
    asked = parse_query("INV-2024-0117", by=By.MEANING)
    hits = ask(library, asked, min_relevance=0, top=100)
    assert paths(hits)[0] != b"bill.txt" or hits[0].relevance < 0.5


def test_a_word_of_every_file_changes_no_relevance(library):
    by_both = ask(library, "red fox", min_relevance=0, top=100)
    alone = ask(library, parse_query("red fox", by=By.MEANING), min_relevance=0, top=100)
    assert [(h.relevance, h.segment) for h in by_both] == [
        (pytest.approx(h.relevance, abs=0.05), h.segment) for h in alone
    ]


@pytest.mark.parametrize("quote", ['"{}"', "“{}”", "„{}“", "«{}»"])
def test_a_phrase_must_stand_in_the_file(library, quote):
    hits = ask(library, "red " + quote.format("inv-2024-0117"), min_relevance=0, top=100)
    assert paths(hits) == [b"bill.txt"]


SIGNS = {
    b"c++.txt": "templates in C++11, and the STL",
    b"c#.txt": "C# with ASP.NET",
    b"vitamin.txt": "vitamin C, in a net of lemons, 110% of it; at 4 o'clock, 20 to 1 as t is",
    b"bill.txt": "AT&T asks for US$4.20, 10 % off; balance \u2212\u202f7, then \u22121",
    b"oven.txt": "180 \u00b0C; " + "- " * 20_000 + " _ " * 20_000 + "x x" + "-" * 20_000,
    b"speech.txt": "He doesn\u2019t say: \u201cwell\u2011\nknown\u201d",
}


@pytest.mark.parametrize(
    ("quote", "files"),
    [
        ("c++", [b"c++.txt"]),
        ("C#", [b"c#.txt"]),
        (".NET", [b"c#.txt"]),
        ("net", [b"c#.txt", b"vitamin.txt"]),
        ("AT&T", [b"bill.txt"]),
        ("$4.20", [b"bill.txt"]),
        ("10\u00a0%", [b"bill.txt"]),
        ("10%", []),
        ("-1", [b"bill.txt"]),
        ("doesn't", [b"speech.txt"]),
        ("doesn\u2019t", [b"speech.txt"]),
        ("well-known", [b"speech.txt"]),
        ("well known", [b"speech.txt"]),
        ("c++11-and", []),
        ("\u2103", [b"oven.txt"]),
        ("180 \u2103", [b"oven.txt"]),
        ("- - - x", []),
        ("THE_STL", [b"c++.txt"]),
        ("c++.txt", [b"c++.txt"]),
        ("sign/c#", [b"c#.txt"]),
    ],
)
def test_the_signs_of_a_quote_count(library, quote, files):
    texts = [text(b"sign/" + path, words) for path, words in SIGNS.items()]
    library.add(texts, np.stack([unit(0, 1, 1)] * len(texts)))
    for by in (By.BOTH, By.WORDS):
        hits = ask(library, parse_query(f'"{quote}"', by=by))
        assert sorted(paths(hits)) == [b"sign/" + each for each in files]
    every = paths(ask(library, parse_query("signs", lacking=[quote]), top=200, min_relevance=0))
    assert {b"sign/" + path for path in SIGNS} - {*every} == {b"sign/" + each for each in files}


def test_a_hit_shows_the_passage_with_the_signs_of_a_quote(library):
    passages = ["vitamin C is C", "templates in C++", "a C#"]
    texts = [text(b"long c.txt", words, 1 + 10 * at) for at, words in enumerate(passages)]
    library.add(texts, np.stack([unit(0, 1, 1)] * len(texts)))
    [hit] = ask(library, '"C++"')
    assert (hit.segment.lines, hit.moments) == ((11, 20), ())
    [hit] = ask(library, '"C++" "C#"')
    lines = {hit.segment.lines, *(each.segment.lines for each in hit.moments)}
    assert lines == {(11, 20), (21, 30)}


def test_a_phrase_may_stand_in_another_passage_but_the_one_with_it_is_shown(library):
    (hit,) = ask(library, '"kumquat"')
    assert (hit.segment.item.path, hit.segment.lines) == (b"long.txt", (11, 20))


def test_a_phrase_that_no_file_has_finds_nothing(library):
    assert ask(library, '"no such words"', min_relevance=0) == []


def test_an_unbalanced_quote_is_plain_text(library):
    assert paths(ask(library, 'kumquat "'))[0] == b"long.txt"
    assert asked_words('5" and 6" pipes').phrases == ()


def test_words_that_must_not_stand_are_left_out_however_much_else_fits(library):
    asked = parse_query("invoice", lacking=["draft", "march invoice"])
    hits = ask(library, asked, min_relevance=0, top=100)
    assert b"other.txt" not in paths(hits)
    assert b"march invoice.txt" not in paths(hits)
    assert b"bill.txt" in paths(hits)


def test_by_words_only_no_model_is_loaded_and_files_without_them_are_no_hits(library):
    def load():
        raise AssertionError("a model was loaded")

    query = parse_query("invoice paid", by=By.WORDS)
    hits = answer(library, query, SearchOptions(min_relevance=0, top=100), load)
    assert paths(hits)[0] == b"bill.txt"
    assert all(b"note" not in path and b"IMG" not in path for path in paths(hits))
    asked = parse_query("invoice", by=By.WORDS)
    hits = answer(library, asked, SearchOptions(top=100, dedupe=False), load)
    assert {*paths(hits)} == {b"bill.txt", b"other.txt", b"march invoice.txt"}
    assert "score" not in hits[0].to_dict()
    assert all("score" not in each for each in hits[0].to_dict().get("moments", []))


def test_filters_hold_for_words_too(library):
    images = SearchOptions(filters=Filters(kinds=frozenset({Kind.IMAGE})), min_relevance=0)
    hits = search(library, Query(words="invoice", by=By.WORDS), ColourEmbedder(), images)
    assert hits == []


def test_the_model_reads_a_phrase_as_plain_words():
    assert plain('"a red" star') == "a red star"
    assert plain('say "hello') == 'say "hello'


@pytest.mark.parametrize(
    "query",
    [
        {"words": "!!", "by": By.WORDS},
        {"like": (b"/a.jpg",), "by": By.WORDS},
        {"words": "a", "without": ("b",), "by": By.WORDS},
        {"words": "a", "lacking": ("!",)},
        {"words": "a", "lacking": ("b",), "by": By.MEANING},
    ],
)
def test_words_that_cannot_be_compared_are_an_error(query):
    with pytest.raises(QvsearchError, match="--"):
        Query(**query)


def test_explain_names_the_words_of_each_passage_and_missing_phrases(library):
    best, *_ = explain(library, "paid INV-2024-0117", b"/media/bill.txt", ColourEmbedder()).segments
    assert set(best.words) == {"paid", "inv", "2024", "0117"}
    assert best.by_words > 0.5
    without = parse_query('"second chapter" red', lacking=["quick brown"])
    explanation = explain(library, without, b"/media/long.txt", ColourEmbedder())
    assert explanation.hidden_by == ("--without quick brown: the file has it",)
    explanation = explain(library, '"second chapter"', b"/media/bill.txt", ColourEmbedder())
    assert "lacks" in explanation.reason


def test_explain_says_why_words_do_not_match(library):
    def reason(query, path, **parts):
        query = parse_query(query, **parts)
        return explain(library, query, path, ColourEmbedder()).reason

    assert reason('"chapter second"', b"/media/long.txt") == (
        'hidden by "chapter second" in quotes: the file has these words, but not one after another'
    )
    assert reason('"kumquat"', b"/media/bill.txt").endswith("the file lacks it")
    assert reason("kumquat", b"/media/bill.txt", by=By.WORDS) == "it has none of these words"
    alone = parse_query("kumquat", by=By.WORDS)
    assert explain(library, alone, b"/media/bill.txt", ColourEmbedder()).rank is None
    assert reason("kumquat", b"/media/long.txt", by=By.WORDS) is None


def test_explain_names_a_quote_with_other_signs(library):
    library.add([text(b"c.txt", "C code")], np.stack([unit(0, 1, 1)]))
    explanation = explain(library, '"C++"', ROOT + b"/c.txt", ColourEmbedder())
    assert explanation.reason == (
        'hidden by "C++" in quotes: the file has these words, but with other signs'
    )


@pytest.mark.parametrize("query", ['""', '"..."', "«»", '"" "?!"'])
def test_quotes_without_words_are_an_error(query):
    with pytest.raises(QvsearchError, match="has no letter and no digit"):
        parse_query(query)
    assert parse_query(f"{query} star").words
    assert parse_query(query, by=By.MEANING).words


def test_a_snippet_has_the_lines_with_the_words_and_marks_them(library):
    hit = ask(library, "INV-2024-0117")[0]
    record = hit.to_dict()
    marked = [record["snippet"][start:end] for start, end in record["marks"]]
    assert marked == ["INV", "2024", "0117"]


def test_the_best_part_of_a_long_text_is_shown_with_every_match_marked():
    words = f"{'lorem ipsum ' * 90}Café\nNoir costs 5 francs, says the café owner. {'dolor ' * 90}"
    snippet = snippet_of(words, {("cafe",): 2.0, ("francs",): 4.0, ("dolor",): 0.1})
    assert [part for part, is_marked in snippet.parts if is_marked][:3] == [
        "Café",
        "francs",
        "café",
    ]
    assert snippet.text.startswith("… ")
    assert snippet.text.endswith(" …")
    assert len(snippet.text) <= 204
    assert "".join(part for part, _ in snippet.parts) == snippet.text
    assert snippet_of(words, {("absent",): 1.0}) is None


def test_a_snippet_marks_quotes_with_their_signs(library):
    words = f"vitamin C {FILLER * 9} in C++, “C#” and well- known C++14 {FILLER * 9} C"
    library.add([text(b"long.txt", words)], np.stack([unit(0, 1, 1)]))
    for query, marked in (
        ('"C++"', ["C++", "C++"]),
        ('"C++" "C#"', ["C++", "C#", "C++"]),
        ('"C++," "well-known"', ["C++,", "well- known"]),
        ('"C#"', ["C#"]),
    ):
        [hit] = ask(library, query)
        assert [part for part, is_marked in hit.snippet.parts if is_marked] == marked


@pytest.mark.parametrize(
    ("query", "path_marks", "snippet", "marked"),
    [
        ("zermatt", ["Zermatt"], None, []),
        ('"07 zermatt"', ["07 Zermatt"], None, []),
        (
            "zermatt gornergrat alps",
            ["Zermatt"],
            "Gornergrat, Alps of Valais",
            ["Gornergrat", "Alps"],
        ),
        ("leica", [], "LEICA M6", ["LEICA"]),
        ("a red star", [], None, []),
    ],
)
def test_words_of_a_name_a_keyword_or_a_camera_are_marked(
    library, query, path_marks, snippet, marked
):
    about = Metadata(camera="LEICA M6", keywords=("Gornergrat", "Alps of Valais", "red"))
    item = Item(b"/zermatt/trips", b"2019-07 Zermatt/a.jpg", Kind.IMAGE, 1, 0)
    library.add_root(item.root)
    library.add([Segment(item, "1", metadata=about)], np.stack([unit(0, 1, 1)]))
    hits = ask(library, query, min_relevance=0, top=100)
    [hit] = [hit for hit in hits if hit.segment.item == item]
    path = str(hit.path)
    assert [path[start:end] for start, end in hit.path_marks] == path_marks
    assert (hit.snippet and hit.snippet.text) == snippet
    parts = hit.snippet.parts if hit.snippet else ()
    assert [part for part, is_marked in parts if is_marked] == marked


def test_a_title_with_the_words_comes_before_the_beginning_of_a_text(library):
    letter = replace(text(b"a.txt", f"Dear Ann {FILLER}"), metadata=Metadata(title="The Quokka"))
    library.add([letter], np.stack([unit(0, 1, 1)]))
    hit = ask(library, "quokka")[0]
    rest = (f" … {letter.snippet}", False)
    assert list(hit.snippet.parts) == [("The ", False), ("Quokka", True), rest]


def test_words_without_spaces_are_marked_by_characters():
    snippet = snippet_of("今天的会议报告在图书馆", {("会议",): 1.0, ("议报",): 1.0, ("报告",): 1.0})
    assert list(snippet.parts) == [("今天的", False), ("会议报告", True), ("在图书馆", False)]


def test_a_line_of_a_film_is_its_moment(tmp_path):
    library = Library.create(tmp_path / "films", FINGERPRINT)
    library.add_root(ROOT)
    lines = "3.5\tgood evening\n61.25\twhere is the kumquat\n70\tgood night"
    films = [
        Segment(Item(ROOT, b"%d.mp4" % n, Kind.VIDEO, 1, 0), "0", start=0.0, end=90.0, words=words)
        for n, words in enumerate([lines, "1\tnothing here 61.25", None])
    ]
    library.add(films, np.stack([unit(0, 1, 0)] * 3))
    (hit,) = ask(library, parse_query('"the kumquat"'), dedupe=False)
    assert (hit.segment.item.path, hit.start, hit.end) == (b"0.mp4", 61.25, 90.0)
    assert hit.snippet.text == "where is the kumquat"
    assert ask(library, parse_query('"3 5"')) == []


@pytest.mark.parametrize(
    ("query", "start", "marked"),
    [
        ('"kumquat tree"', 61.25, ["kumquat tree"]),
        ('"kumquat tree" grew', 61.25, ["kumquat tree", "grew"]),
        ('"good-bye (for now)"', 67, ["Good- bye (for now)"]),
        ('"the house"', 64.5, ["the house", "The house"]),
    ],
)
def test_a_phrase_over_lines_of_a_film_begins_with_the_first_of_them(
    tmp_path, query, start, marked
):
    library = Library.create(tmp_path / "films", FINGERPRINT)
    library.add_root(ROOT)
    words = (
        "3.5\tgood evening\n61.25\twhere is the kumquat\n61.25\ttree that grew"
        "\n64.5\tbehind the\n64.5\thouse? The  house?\n67\tGood-\n69\tbye (for now)\n70\tnight"
    )
    film = Segment(Item(ROOT, b"a.mp4", Kind.VIDEO, 1, 0), "0", start=0.0, end=90.0, words=words)
    library.add([film], np.stack([unit(0, 1, 0)]))
    (hit,) = ask(library, parse_query(query))
    assert hit.start == start
    assert [part for part, is_marked in hit.snippet.parts if is_marked] == marked


def test_in_a_large_library_rows_with_the_words_are_scored_too(library, monkeypatch):
    from qvsearch.retrieval import first_pass

    monkeypatch.setattr(first_pass, "EXACT_UP_TO", 0)
    monkeypatch.setattr(first_pass, "BEST", 3)
    for query, first in (("kumquat", b"long.txt"), ("IMG_4711", b"IMG_4711.jpg")):
        assert paths(ask(library, query, min_relevance=0))[0] == first
    assert paths(ask(library, '"INV-2024-0117"')) == [b"bill.txt"]


def test_frequent_words_are_left_out_alike_whether_they_are_counted_or_read(library, monkeypatch):
    monkeypatch.setattr(words_file, "FREQUENT", 2)
    asked = [asked_words(each) for each in ("fox kumquat", "red fox", "the lazy dog", "river 7")]
    read = [matches_in(library, each) for each in asked]
    library.commit()
    assert library.words.at_least("fox") == 46
    for each, before in zip(asked, read, strict=True):
        after = matches_in(library, each)
        assert after.weights == before.weights
        for name in ("rows", "bm25", "coverage", "equal"):
            np.testing.assert_array_equal(getattr(after, name), getattr(before, name))


def test_a_phrase_is_read_from_the_command_line_and_saved(library):
    from qvsearch.retrieval.saved import parsed_search

    query, _ = parsed_search({"words": 'a "b c"', "without": ["d"], "words-only": True})
    assert (query.lacking, query.by) == (("d",), By.WORDS)
    with pytest.raises(QvsearchError, match="exclude each other"):
        parsed_search({"words": "a", "words-only": True, "meaning-only": True})


def test_rows_that_no_filter_lets_pass_take_no_place_among_those_that_count(library, monkeypatch):
    query, path = parse_query('"lazy dog"'), b"/media/other.txt"
    few = SearchOptions(filters=Filters(globs=("other.txt",)), min_relevance=0)
    (wanted,) = search(library, query, ColourEmbedder(), few)
    monkeypatch.setattr(word_ranking, "MOST", 3)  # of 46 rows with the phrase
    assert search(library, query, ColourEmbedder(), few) == [wanted]
    assert relevances(library, query, few, ColourEmbedder) == [(path, wanted.relevance)]
    assert explain(library, query, path, ColourEmbedder(), few).relevance == wanted.relevance
    terms = embed_terms(read_terms(query, FINGERPRINT.decode_options), ColourEmbedder)
    (hit,) = select(library, few.filters).best_in_turn(terms, few)
    assert hit.relevance == wanted.relevance
