"""A document is one hit with its best page; its other pages stay apart, and are read alone."""

import json
from dataclasses import replace

import numpy as np
import pytest
from support.coloured_pages import colour_of, write_pdf
from support.colours import ColourEmbedder, ColourReranker
from support.page_library import make_library, write_documents
from support.pdf_files import drawn, lines

from qvsearch.choices import By, RerankScope
from qvsearch.cli.output import place_text
from qvsearch.display import json_line
from qvsearch.duplicates.rule import needed, traits
from qvsearch.library.filtering import hidden_by
from qvsearch.library.filters import parse_filters
from qvsearch.media.pages import chosen_pages
from qvsearch.retrieval.asked_words import asked_words
from qvsearch.retrieval.explain import explain
from qvsearch.retrieval.joined_words import matches_in
from qvsearch.retrieval.options import Rerank
from qvsearch.retrieval.pipeline import SearchOptions, answer, parse_query, search
from qvsearch.retrieval.query import PICTURES, Query, Term
from qvsearch.retrieval.similar import similar
from qvsearch.types import EmbedInput, Hit, Item, Kind, Segment

OPTIONS = SearchOptions(min_relevance=0, dedupe=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("documents") / "files"
    folder.mkdir()
    write_documents(folder)
    return folder


@pytest.fixture(scope="module")
def library(folder):
    return make_library(folder.parent / "library", folder)


def library_of_a_book(folder, pages):
    """Make a library of one document with these pages."""
    (folder / "files").mkdir()
    write_pdf(folder / "files" / "book.pdf", *pages)
    return make_library(folder / "library", folder / "files")


def places(hits):
    return {hit.path.name: place_text(hit) for hit in hits}


def test_a_document_is_one_hit_with_its_best_page_first(library):
    hits = search(library, "green", ColourEmbedder(), OPTIONS)
    assert places(hits) == {"report.pdf": "page 2", "other.pdf": "page 2"}
    [report] = [hit for hit in hits if hit.path.name == "report.pdf"]
    assert sorted(place_text(each) for each in report.moments) == ["page 1", "page 3"]
    record = json.loads(json_line(report.to_dict()))
    assert (record["kind"], record["page"], record["pages"]) == ("document", 2, 3)
    assert {each["page"] for each in record["moments"]} == {1, 3}
    assert record["snippet"] == "Meadows"


def test_words_of_pages_between_the_indexed_ones_are_found_on_their_page(tmp_path):
    pages = [("grey", f"Chapter {number}") for number in range(1, 204)]
    assert 35 not in chosen_pages(len(pages))
    pages[34] = ("blue", "Invoice INV-2024-0117")
    library = library_of_a_book(tmp_path, pages)
    reranker = ColourReranker()
    [hit] = answer(
        library,
        Query('"INV-2024-0117"'),
        replace(OPTIONS, rerank=Rerank(RerankScope.AUTO, 10, None)),
        ColourEmbedder,
        lambda: reranker,
        lambda skipped: pytest.fail(str(skipped)),
    )
    assert (place_text(hit), hit.to_dict()["page"]) == ("page 35", 35)
    assert hit.shown.text == "Invoice INV-2024-0117"
    assert [hit.shown.text[start:end] for start, end in hit.shown.marks] == ["INV-2024-0117"]
    assert [colour_of(each.images[0]) for each in reranker.seen] == ["blue"]
    [other] = search(library, '"Chapter 34"', ColourEmbedder(), OPTIONS)
    assert (place_text(other), other.shown.text) == ("page 34", "Chapter 34")
    # a phrase that runs over two pages is on the first of them
    [other] = search(library, '"34 invoice"', ColourEmbedder(), OPTIONS)
    assert (place_text(other), other.shown.text) == ("page 34", "Chapter 34 Invoice INV-2024-0117")
    assert other.shown.marks == ((8, 18),)


def test_words_on_several_pages_are_no_answer_together(tmp_path):
    told = {1: "a quokka", 21: "the zither", 22: "an ocelot wifi6", 50: "an ocelot and the zither"}
    last = {21: "gazelle", 22: "", 50: ""}
    assert {2, 22} & set(chosen_pages(403)) == set()

    def page(paper, number):
        words = "and so on and on in many more words than only one or two"
        many = [words] * 40 if number < 60 else ()
        lines(told.get(number, ""), *many, last.get(number, ""))(paper, number)

    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "yearbook.pdf").write_bytes(drawn(page, pages=403))
    library = make_library(tmp_path / "library", tmp_path / "files")
    for text, coverage in (
        ("zither ocelot", {21: 0.5, 49: 1}),
        ('zither "an ocelot"', {21: 0.5, 49: 1}),
        ("zither gazelle", {21: 1, 49: 0.45}),
        ("yearbook quokka", {1: 1}),
        ("zither wi-fi6", {21: 0.7, 49: 0.3}),
        ("ocelot wi-fi6", {21: 1, 49: 0.3}),
        ("zither ocelot plumber", {21: 0.6, 49: 0.6}),
    ):
        found = matches_in(library, asked_words(text))
        pages = [library.segments[row].page for row in found.rows.tolist()]
        shares = found.coverage.tolist()
        assert dict(zip(pages, shares, strict=True)) == pytest.approx(coverage, abs=0.1), text
    [hit] = search(library, "zither ocelot", ColourEmbedder(), OPTIONS)
    assert place_text(hit) == "page 50"
    [hit] = search(library, '"ocelot"', ColourEmbedder(), OPTIONS)
    assert {place_text(each) for each in (hit, *hit.moments)} >= {"page 22", "page 50"}


@pytest.mark.parametrize("by", list(By))
def test_a_page_that_is_not_asked_for_is_neither_the_hit_nor_beside_it(library, folder, by):
    options = replace(OPTIONS, filters=parse_filters(page="1-2", globs=["report.pdf"]))
    for query in ("green meadows", "blue sea", "annual report"):
        hits = search(library, parse_query(query, by=by), ColourEmbedder(), options)
        pages = {each.segment.page for hit in hits for each in (hit, *hit.moments)}
        assert pages <= {1, 2}, query
        assert hits or (query, by) == ("blue sea", By.WORDS)


def test_of_the_pages_behind_an_indexed_one_only_those_asked_for_are_the_hit(tmp_path):
    pages = [("grey", f"Chapter {number} of quetzals") for number in range(1, 204)]
    pages[34] = ("grey", "Quetzals and quetzals, a quokka")
    library = library_of_a_book(tmp_path, pages)
    for wanted, page in (("30-40", 35), ("34", 34)):
        options = replace(OPTIONS, filters=parse_filters(page=wanted))
        query = parse_query("quetzals quokka", by=By.WORDS)
        [hit] = search(library, query, ColourEmbedder(), options)
        assert hit.segment.page == page


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """A document of 203 pages, of which the 35th has no row of its own."""
    pages = [("grey", f"Chapter {number}") for number in range(1, 204)]
    pages[33:35] = [("blue", f"the {word} and the quokka") for word in ("zither", "ocelot")]
    assert {34, 36} < set(chosen_pages(len(pages))) - {35}
    return library_of_a_book(tmp_path_factory.mktemp("book"), pages)


@pytest.mark.parametrize("by", [By.BOTH, By.WORDS])
def test_words_are_found_on_a_wanted_page_without_a_row_and_on_no_other_page(book, by):
    path = book.folder.parent / "files" / "book.pdf"

    def shown(query, wanted):
        options = replace(OPTIONS, filters=parse_filters(page=wanted))
        asked = parse_query(query, by=by)
        hits = search(book, asked, ColourEmbedder(), options)
        found = explain(book, asked, path, ColourEmbedder(), options)
        assert (found.reason is None) == bool(hits)
        return [(place_text(hit), hit.shown.text) for hit in hits]

    there = [("page 35", "the ocelot and the quokka")]
    for query in ("ocelot", '"ocelot"', "ocelot quokka", "quokka"):
        assert shown(query, "35") == shown(query, "35-40") == there, query
    for query in ("zither", '"zither"', "zither quokka"):
        assert shown(query, "35") == [], query
    assert shown("ocelot", "34") == shown('"ocelot"', "34") == []
    assert shown("zither", "34") == [("page 34", "the zither and the quokka")]
    assert shown("ocelot", "204") == []
    options = replace(OPTIONS, filters=parse_filters(page="34"))
    found = explain(book, parse_query("ocelot", by=by), path, ColourEmbedder(), options)
    assert found.hidden_by == ("--page 34: its words are on others",)


def test_a_wanted_page_without_a_row_is_not_found_by_its_picture(book):
    options = replace(OPTIONS, filters=parse_filters(page="35"))
    assert search(book, "blue", ColourEmbedder(), options) == []
    assert search(book, None, ColourEmbedder(), options) == []


def test_a_page_that_is_found_by_its_picture_stays_the_hit(tmp_path):
    pages = [("grey", f"green chapter {number}") for number in range(1, 204)]
    pages[33] = ("green", "Meadows")
    library = library_of_a_book(tmp_path, pages)
    [hit] = search(library, "green", ColourEmbedder(), OPTIONS)
    assert (place_text(hit), hit.shown.text) == ("page 34", "Meadows")


def test_the_pages_of_a_document_are_the_query(library, tmp_path):
    blue = write_pdf(tmp_path / "blue.pdf", ("blue", "x"))
    best = search(library, str(blue), ColourEmbedder(), OPTIONS)[0]
    assert (best.path.name, place_text(best)) == ("report.pdf", "page 3")
    embedder = ColourEmbedder()
    write_pdf(tmp_path / "long.pdf", *[("red", "x")] * 30)
    search(library, str(tmp_path / "long.pdf"), embedder, OPTIONS)
    assert len(embedder.seen) == 8


def test_similar_compares_pages(library, tmp_path):
    green = write_pdf(tmp_path / "green.pdf", ("green", "Leaves"))
    found = similar(library, green, ColourEmbedder())
    assert {each.segment.item.path: each.segment.page for each in found} == {
        b"report.pdf": 2,
        b"other.pdf": 2,
    }


def test_explain_lists_each_page(library, folder):
    explanation = explain(library, "green", folder / "report.pdf", ColourEmbedder(), OPTIONS)
    assert [each.segment.page for each in explanation.segments][0] == 2
    assert {each.segment.page for each in explanation.segments} == {1, 2, 3}


def test_explain_judges_a_document_by_its_pages_that_pass_the_filters(library, folder):
    def explained(pages):
        options = replace(OPTIONS, filters=parse_filters(page=pages))
        return explain(library, "green", folder / "report.pdf", ColourEmbedder(), options)

    found = explained("1")
    assert (found.reason, found.hidden_by, found.segments[0].segment.page) == (None, (), 1)
    assert found.relevance < explained("1-3").relevance
    assert explained("9").hidden_by == ("--page 9: it has 3 pages",)


def test_explain_says_that_a_page_is_not_in_the_sample(library):
    [segment] = [library.segments[row] for row in library.segments if row == 0]
    sampled = replace(segment, metadata=replace(segment.metadata, pages=2000), page=11)
    assert hidden_by(sampled, parse_filters(page="12")) == [
        "--page 12: it has 2,000 pages, but that one is not indexed"
    ]


@pytest.mark.parametrize("query", ["green", "blue"])
def test_a_reranker_reads_the_page_of_the_hit_alone(library, query):
    reranker = ColourReranker()
    wanted = replace(OPTIONS, rerank=Rerank(RerankScope.AUTO, 10, None))
    hits = answer(
        library,
        Query(query),
        wanted,
        ColourEmbedder,
        lambda: reranker,
        lambda skipped: pytest.fail(str(skipped)),
    )
    assert len(reranker.seen) == len(hits) == 2
    assert all(hit.rerank_score is not None for hit in hits)
    assert places(hits)["report.pdf"] == {"green": "page 2", "blue": "page 3"}[query]
    assert hits[0].rerank_score == pytest.approx(1, abs=0.1)


def test_a_term_of_pages_is_compared_with_pictures():
    page = Segment(Item(b"", b"a.pdf", Kind.DOCUMENT, 1, 1), "00", page=1)
    assert Term("a.pdf", (EmbedInput(),), 1.0, (page,)).like == PICTURES
    assert Kind.DOCUMENT in PICTURES


def page(path, words, dhash, content):
    item = Item(b"/d", path, Kind.DOCUMENT, 1, 1)
    place = {"page": 1, "width": 300, "height": 400, "dhash": dhash, "snippet": words}
    return Segment(item, content, **place)


@pytest.mark.parametrize(
    ("words", "others", "bits", "least"),
    [
        ("Invoice 1 of March", "Invoice 1 of March", 0, 0.99),
        ("Invoice 1 of March", "Invoice 2 of March", 0, np.inf),
        ("Invoice 1 of March", "Invoice 1 of March", 20, np.inf),
        (None, None, 0, 0.985),
        (None, "Invoice 1 of March", 0, np.inf),
    ],
)
def test_forms_are_repeats_only_if_words_and_picture_agree(words, others, bits, least):
    dhash = 0xF0E1_D2C3_B4A5_9687
    pages = [page(b"a.pdf", words, dhash, "1"), page(b"b.pdf", others, dhash ^ (2**bits - 1), "2")]
    assert needed(traits(pages), np.array([0]), np.array([1]))[0] == least


def test_a_section_is_shown_as_it_is():
    item = Item(b"/d", b"a.pptx", Kind.TEXT, 1, 1)
    hit = Hit(1, 0.5, 0.5, Segment(item, "00", section="slide 3\x1b", snippet="x"))
    assert place_text(hit) == "slide 3\\x1b"
    assert hit.to_dict()["section"] == "slide 3\x1b"
