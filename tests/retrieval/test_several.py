"""Several libraries at once: each asked with its own model, one list, one hit for each file."""

import base64
import gc
import os
import weakref
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from support.colours import FINGERPRINT, ColourEmbedder, ColourReranker, unit
from support.near_duplicates import HASH

from qvsearch.choices import RerankScope, Sort
from qvsearch.errors import NothingToSearch, QvsearchError
from qvsearch.files import content_hash
from qvsearch.library.filters import parse_filters
from qvsearch.library.library import Library
from qvsearch.retrieval.explain import explained_in
from qvsearch.retrieval.options import Rerank
from qvsearch.retrieval.pipeline import Query, SearchOptions, search
from qvsearch.retrieval.several import Searched, answer_all, answers_all
from qvsearch.retrieval.similar import similar_in
from qvsearch.types import Detail, Item, Kind, Segment

OTHER = replace(FINGERPRINT, model="shades", revision="2")  # its vectors mean something else
RED, GREEN, BLUE = (1, 0, 0), (0, 1, 0), (0, 0, 1)
ROOT = b"/media"
COLOURS = base64.b64encode(bytes(range(48))).decode()


class ShadeEmbedder(ColourEmbedder):
    """The same with the numbers in another order."""

    def embed(self, inputs):
        return super().embed(inputs)[:, [1, 2, 0]]


MODELS = {FINGERPRINT.revision: ColourEmbedder, OTHER.revision: ShadeEmbedder}


def picture(path, content=None, root=ROOT, kind=Kind.IMAGE, mtime_ns=0, **fields):
    item = Item(root, path, kind, 1, mtime_ns)
    return Segment(item, content or f"of {path.decode()}", **fields)


@pytest.fixture
def make(tmp_path):
    def make(name, rows, fingerprint=FINGERPRINT, root=ROOT):
        """Make a library of (segment, colour) pairs, with the vectors of its model."""
        library = Library.create(tmp_path / name, fingerprint)
        library.add_root(root)
        order = [0, 1, 2] if fingerprint.revision == "1" else [1, 2, 0]
        if rows:
            segments, colours = zip(*rows, strict=True)
            library.add(segments, np.stack([unit(*colour)[order] for colour in colours]))
            library.commit()
        return Library.open(library.folder)

    return make


def asked(*libraries):
    return [Searched(each, MODELS[each.fingerprint.revision]) for each in libraries]


def ask(*libraries, query="red", lost=None, **options):
    """The whole ranking, unless the options say otherwise."""
    wanted = SearchOptions(**{"min_relevance": 0, **options})
    more = {} if lost is None else {"lost": lost}
    return answer_all(asked(*libraries), query and Query(query), wanted, **more)


def found(hits):
    return [(hit.rank, hit.library.name, hit.segment.item.path) for hit in hits]


def test_each_library_is_asked_with_its_own_model_for_one_list_by_relevance(make):
    one = make("one", [(picture(b"a.jpg"), (9, 1, 0)), (picture(b"b.jpg"), GREEN)])
    two = make("two", [(picture(b"c.jpg"), RED), (picture(b"d.jpg"), (1, 9, 0))], OTHER)
    hits = ask(one, two)
    assert [hit.rank for hit in hits] == [1, 2, 3, 4]
    assert {hit.segment.item.path for hit in hits[:2]} == {b"a.jpg", b"c.jpg"}
    relevance = [hit.relevance for hit in hits]
    assert relevance == sorted(relevance, reverse=True)
    alone = {
        (each.folder, hit.segment.item.path): hit.relevance
        for each in (one, two)
        for hit in ask(each)
    }
    assert {(hit.library, hit.segment.item.path): hit.relevance for hit in hits} == alone
    assert len(ask(one, two, top=3)) == 3


def test_one_library_is_answered_as_by_a_search(make):
    rows = [(picture(b"%d.jpg" % n), (9 - n, n, 0)) for n in range(9)]
    library = make("one", rows)
    options = SearchOptions(top=4, min_relevance=0)
    expected = search(library, Query("red"), ColourEmbedder(), options)
    assert answer_all(asked(library), Query("red"), options) == expected
    assert list(answers_all(asked(library), [Query("red")] * 2, options)) == [expected] * 2


def test_equal_hits_keep_the_order_of_the_libraries(make):
    one, two = (make(name, [(picture(name.encode()), RED)]) for name in ("one", "two"))
    assert [hit.library.name for hit in ask(one, two)] == ["one", "two"]
    assert [hit.library.name for hit in ask(two, one)] == ["two", "one"]


@pytest.mark.parametrize("fingerprint", [FINGERPRINT, OTHER])
@pytest.mark.parametrize("dedupe", [True, False])
def test_a_file_of_two_libraries_is_one_hit(make, fingerprint, dedupe):
    file = picture(b"a.jpg", content="before")
    one = make("one", [(file, RED)])
    two = make("two", [(replace(file, content_hash="after"), RED)], fingerprint)
    (hit,) = ask(one, two, dedupe=dedupe)
    assert hit.duplicates == ()
    assert hit.rank == 1


@pytest.mark.parametrize("fingerprint", [FINGERPRINT, OTHER])
def test_a_copy_in_another_library_is_folded_and_the_larger_file_is_shown(make, fingerprint):
    one = make("one", [(picture(b"a.jpg", "same", width=10, height=10), (9, 1, 0))])
    larger = picture(b"b.jpg", "same", width=20, height=20)
    two = make("two", [(larger, (9, 1, 0)), (picture(b"c.jpg"), GREEN)], fingerprint)
    first, other = ask(one, two)
    assert first.segment.item.path == b"b.jpg"
    assert [item.path for item in first.duplicates] == [b"a.jpg"]
    assert first.relevance == max(ask(one)[0].relevance, ask(two)[0].relevance)
    assert other.segment.item.path == b"c.jpg"
    assert len(ask(one, two, dedupe=False)) == 3


@pytest.mark.parametrize(
    ("colours", "fingerprint", "hits"),
    [
        (COLOURS, FINGERPRINT, 1),  # by their vectors
        (COLOURS, OTHER, 1),  # by hash and colours
        (base64.b64encode(bytes(48)).decode(), OTHER, 2),  # the colours differ
        (None, OTHER, 2),  # an older version stored no colours
        (None, FINGERPRINT, 1),
    ],
)
def test_vectors_decide_only_between_libraries_of_one_model(make, colours, fingerprint, hits):
    looks = {"width": 40, "height": 30, "dhash": HASH}
    one = make("one", [(picture(b"a.jpg", patches=COLOURS, **looks), RED)])
    two = make("two", [(picture(b"b.jpg", patches=colours, **looks), RED)], fingerprint)
    assert len(ask(one, two)) == hits


def test_pages_of_one_layout_are_not_folded_without_vectors(make):
    from qvsearch.types import Metadata

    looks = {"width": 40, "height": 30, "dhash": HASH, "patches": COLOURS}
    page = Metadata(page=True)
    one = make("one", [(picture(b"a.png", metadata=page, **looks), RED)])
    two = make("two", [(picture(b"b.png", metadata=page, **looks), RED)], OTHER)
    assert len(ask(one, two)) == 2


def test_each_kind_has_one_list(make):
    rows = [(picture(b"a.jpg"), (9, 1, 0)), (picture(b"a.txt", kind=Kind.TEXT), RED)]
    one = make("one", rows)
    two = make("two", [(picture(b"b.jpg"), RED)], OTHER)
    hits = ask(one, two, by_kind=True)
    assert [(hit.rank, hit.segment.item.kind.value) for hit in hits] == [
        *[(1, "image"), (2, "image")],
        (1, "text"),
    ]


def test_the_nearest_of_all_are_returned_if_none_is_relevant(make):
    one = make("one", [(picture(b"%d.jpg" % n), (n, 9, 0)) for n in range(3)])
    two = make("two", [(picture(b"%d.png" % n), (n, 0, 9)) for n in range(3)], OTHER)
    options = SearchOptions(min_relevance=1.0, nearest=3)
    hits = answer_all(asked(one, two), Query("red"), options)
    assert [hit.rank for hit in hits] == [1, 2, 3]
    best = sorted((hit.relevance for hit in ask(one, two, dedupe=False)), reverse=True)[:3]
    assert [hit.relevance for hit in hits] == best


def test_files_are_listed_by_date_and_by_path_each_once(make):
    one = make("one", [(picture(b"%d.jpg" % n, mtime_ns=n), RED) for n in (1, 3, 5)])
    two = make("two", [(picture(b"%d.jpg" % n, mtime_ns=n), RED) for n in (2, 3, 4)], OTHER)
    hits = ask(one, two, query=None, min_relevance=None, top=4)
    assert found(hits) == [
        (1, "one", b"5.jpg"),
        (2, "two", b"4.jpg"),
        (3, "one", b"3.jpg"),
        (4, "two", b"2.jpg"),
    ]
    hits = ask(one, two, query=None, min_relevance=None, sort=Sort.PATH)
    assert [hit.segment.item.path for hit in hits] == [b"%d.jpg" % n for n in range(1, 6)]
    hits = ask(one, two, sort=Sort.DATE)
    assert [hit.segment.item.mtime_ns for hit in hits] == [5, 4, 3, 2, 1]
    with pytest.raises(QvsearchError, match="nothing is relevant without a query"):
        ask(one, two, query=None, min_relevance=None, sort=Sort.RELEVANCE)


def test_a_library_that_cannot_be_read_is_named_and_the_others_are_searched(make):
    one = make("one", [(picture(b"a.jpg"), RED)])
    broken = make("broken", [(picture(b"b.jpg"), RED)], OTHER)

    def no_model():
        raise QvsearchError("the model is not here")

    searched = [Searched(broken, no_model), *asked(one)]
    lost = []
    options = SearchOptions(min_relevance=0)
    hits = answer_all(searched, Query("red"), options, lost=lost.append)
    assert found(hits) == [(1, "one", b"a.jpg")]
    assert [(each.folder.name, str(each.error)) for each in lost] == [
        ("broken", "the model is not here")
    ]
    several = list(answers_all(searched, [Query("red")] * 3, options, lost=lost.append, at_once=1))
    assert several == [hits] * 3
    assert len(lost) == 2  # it is not tried again
    with pytest.raises(QvsearchError, match="the model is not here"):
        answer_all(searched, Query("red"), options)
    with pytest.raises(QvsearchError, match="the model is not here"):
        answer_all([searched[0]] * 2, Query("red"), options, lost=lost.append)
    assert len(lost) == 2


def test_an_empty_library_and_a_folder_of_another_one_are_no_errors(make, tmp_path):
    one = make("one", [(picture(b"a.jpg"), RED)])
    two = make("two", [(picture(b"b.jpg", root=b"/other"), RED)], OTHER, b"/other")
    empty = make("empty", [])
    assert len(ask(one, two, empty)) == 2
    assert found(ask(one, two, filters=parse_filters(under=[b"/other"]))) == [(1, "two", b"b.jpg")]
    with pytest.raises(NothingToSearch, match="is neither on the disk nor in the library"):
        ask(one, two, filters=parse_filters(under=[b"/nowhere"]))
    with pytest.raises(NothingToSearch, match="is empty"):
        ask(empty, empty)
    with pytest.raises(QvsearchError, match="no such file"):
        answer_all(asked(one, two), Query(file=bytes(tmp_path / "a.jpg")), SearchOptions())


def test_a_query_file_that_cannot_be_read_is_an_error_of_its_query_only(make, tmp_path):
    one = make("one", [(picture(b"a.jpg"), RED)])
    two = make("two", [(picture(b"b.jpg"), RED)], OTHER)
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    queries = [Query(file=bytes(tmp_path / "bad.jpg")), Query("red")]
    lost = []
    bad, good = answers_all(asked(one, two), queries, SearchOptions(), lost=lost.append)
    assert "bad.jpg cannot be the query" in str(bad)
    assert len(good) == 2
    assert lost == []


def test_one_model_leaves_the_memory_before_the_next_one_comes(make):
    one = make("one", [(picture(b"a.jpg"), RED)])
    two = make("two", [(picture(b"b.jpg"), RED)], OTHER)
    loaded, alive = [], []

    def load(model):
        gc.collect()
        alive.append(sum(each() is not None for each in loaded))
        embedder = model()
        loaded.append(weakref.ref(embedder))
        return embedder

    searched = [
        Searched(one, lambda: load(ColourEmbedder)),
        Searched(two, lambda: load(ShadeEmbedder)),
    ]
    hits = list(answers_all(searched, [Query("red")] * 5, SearchOptions(), at_once=3))
    assert [len(each) for each in hits] == [2] * 5
    assert alive == [0] * 4


@pytest.fixture
def files(tmp_path):
    """Real pictures of six colours."""
    root = tmp_path / "files"
    root.mkdir()
    for colour in ("red", "green", "blue", "yellow", "black", "white"):
        Image.new("RGB", (64, 64), colour).save(root / f"{colour}.png")
    return root


def real(root, name):
    status = (root / name).stat()
    item = Item(os.fsencode(root), name.encode(), Kind.IMAGE, status.st_size, status.st_mtime_ns)
    return Segment(item, content_hash(item.location, item.size))


def test_one_reranker_judges_the_merged_list(make, files):
    root = os.fsencode(files)
    one = make("one", [(real(files, "green.png"), RED), (real(files, "red.png"), GREEN)], root=root)
    rows = [(real(files, "blue.png"), (9, 1, 0)), (real(files, "white.png"), BLUE)]
    two = make("two", rows, replace(OTHER, detail=Detail.HIGH), root)
    reranker = ColourReranker()
    how = Rerank(RerankScope.ALL, 3)
    options = SearchOptions(min_relevance=0, rerank=how)
    hits = answer_all(asked(one, two), Query("red"), options, lambda: reranker)
    assert len(reranker.seen) == 3
    assert sum(hit.rerank_score is not None for hit in hits) == 3
    before = ask(one, two)
    judged = {hit.segment.item.path for hit in hits if hit.rerank_score is not None}
    assert judged == {hit.segment.item.path for hit in before[:3]}
    options = replace(options, rerank=replace(how, top=4))
    hits = answer_all(asked(one, two), Query("red"), options, ColourReranker)
    assert hits[0].segment.item.path == b"red.png"


def test_similar_files_of_one_model_are_ordered_by_cosine(make, files):
    root = os.fsencode(files)
    one = make("one", [(real(files, "red.png"), RED), (real(files, "blue.png"), BLUE)], root=root)
    two = make("two", [(real(files, "yellow.png"), (1, 1, 0))], root=root)
    unloaded = [
        Searched(each, lambda: pytest.fail("the vectors are stored")) for each in (one, two)
    ]
    results = similar_in(unloaded, root + b"/red.png", 5)
    assert [(each.rank, each.library.name, each.segment.item.path) for each in results] == [
        (1, "two", b"yellow.png"),
        (2, "one", b"blue.png"),
    ]
    assert results[0].score == pytest.approx(2**-0.5, abs=1e-3)
    assert results[0].relevance is None


def test_similar_files_of_different_models_are_ordered_by_relevance(make, files):
    root = os.fsencode(files)
    names = ("red", "green", "blue", "yellow", "black", "white")
    colours = (RED, GREEN, BLUE, (1, 1, 0), (1, 1, 1), (1, 1, 1))
    rows = [
        (real(files, f"{name}.png"), colour) for name, colour in zip(names, colours, strict=True)
    ]
    one, two = make("one", rows[:4], root=root), make("two", rows[2:], OTHER, root)
    results = similar_in(asked(one, two), root + b"/red.png", 5)
    assert [each.rank for each in results] == [1, 2, 3, 4, 5]
    assert len({each.segment.item.location for each in results}) == 5  # blue and yellow once
    relevance = [each.relevance for each in results]
    assert relevance == sorted(relevance, reverse=True)
    assert results[0].segment.item.path == b"yellow.png"
    assert root + b"/red.png" not in {each.segment.item.location for each in results}
    lost = []
    broken = Searched(two, lambda: (_ for _ in ()).throw(QvsearchError("no model")))
    results = similar_in([*asked(one), broken], root + b"/red.png", 5, lost=lost.append)
    assert [each.library.name for each in results] == ["one"] * 3
    assert [each.folder.name for each in lost] == ["two"]


def test_an_explanation_counts_the_files_of_all_libraries(make):
    far = [(picture(b"%d.jpg" % n), (n, 9, 0)) for n in range(4)]
    one = make("one", [(picture(b"best.jpg"), RED), *far])
    shared = (picture(b"shared.jpg"), (9, 2, 0))
    two = make("two", [shared, (picture(b"two.jpg"), (9, 3, 0))], OTHER)
    three = make("three", [shared, (picture(b"low.jpg"), BLUE)])
    searched = asked(one, two, three)
    options = SearchOptions(min_relevance=0, top=20)
    hits = answer_all(searched, Query("red"), options)
    for hit in hits:
        explanation = explained_in(searched, Query("red"), hit.segment.item.location, options)
        assert explanation.reason is None
        assert (explanation.rank, explanation.items) == (hit.rank, len(hits))
        assert explanation.library == hit.library
        assert explanation.relevance == hit.relevance
    last = hits[-1].segment.item.location
    explanation = explained_in(searched, Query("red"), last, replace(options, top=3))
    assert explanation.reason == f"it ranks {len(hits)}, and 3 are shown; see --top"


def test_an_explanation_names_the_hit_of_another_library_that_shows_the_file(make):
    one = make("one", [(picture(b"a.jpg", "same", width=9, height=9), RED)])
    two = make("two", [(picture(b"b.jpg", "same", width=99, height=99), RED)], OTHER)
    options = SearchOptions(min_relevance=0)
    explanation = explained_in(asked(one, two), Query("red"), ROOT + b"/a.jpg", options)
    assert explanation.folded_into == ROOT + b"/b.jpg"
    assert explanation.reason.startswith("a near-duplicate of /media/b.jpg")
    hidden = replace(options, filters=parse_filters(kinds=[Kind.TEXT]))
    explanation = explained_in(asked(one, two), Query("red"), ROOT + b"/a.jpg", hidden)
    assert explanation.hidden_by
    assert explanation.reason.startswith("hidden by --kind text")


def test_a_file_of_no_library_is_explained_by_the_one_with_its_folder(make, files):
    root = os.fsencode(files)
    one = make("one", [(picture(b"a.jpg"), RED)])
    two = make("two", [(real(files, "red.png"), RED)], OTHER, root)
    explanation = explained_in(asked(one, two), Query("red"), root + b"/blue.png", SearchOptions())
    assert explanation.reason.startswith("it is not indexed: it is new")
    assert explanation.library is None
