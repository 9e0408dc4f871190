import os
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from support.colours import FINGERPRINT, ColourEmbedder, ColourReranker, unit

from qvsearch import media
from qvsearch import search as lazy_search
from qvsearch.choices import By, RerankScope
from qvsearch.errors import QvsearchError
from qvsearch.files import content_hash
from qvsearch.library.filters import Filters
from qvsearch.library.library import Library
from qvsearch.models.prompt import QUERY_INSTRUCTION
from qvsearch.retrieval.hits import MOMENTS
from qvsearch.retrieval.options import Rerank
from qvsearch.retrieval.pipeline import Query, SearchOptions, answer, parse_query, search
from qvsearch.retrieval.query import QUERY_SEGMENTS, read_terms
from qvsearch.types import DecodeOptions, Item, Kind, Metadata, Segment

ROOT = b"/media"


def picture(path, mtime_ns=0, content="0"):
    return Segment(Item(ROOT, path, Kind.IMAGE, 1, mtime_ns), content)


def moment(path, start, mtime_ns=0):
    item = Item(ROOT, path, Kind.VIDEO, 1, mtime_ns)
    return Segment(item, "0", start=float(start), end=start + 1.0)


def passage(path, line):
    item = Item(ROOT, path, Kind.TEXT, 1, 0)
    return Segment(item, "0", lines=(line, line + 9), snippet=f"line {line}")


@pytest.fixture
def make_library(tmp_path):
    def make(rows, root=ROOT, name="library"):
        """Make a library of (segment, vector) pairs, in two commits so that it has two files."""
        library = Library.create(tmp_path / name, FINGERPRINT)
        library.add_root(root)
        half = len(rows) // 2
        for part in (rows[:half], rows[half:]):
            if part:
                segments, vectors = zip(*part, strict=True)
                library.add(segments, np.stack([unit(*vector) for vector in vectors]))
                library.commit()
        return Library.open(library.folder)

    return make


def found(hits):
    return [(hit.rank, hit.segment.item.kind.value, hit.segment.item.path) for hit in hits]


RED = Query("red", by=By.MEANING)  # where the names of files have the word, too


def ask(library, query="red", **options):
    """The whole ranking, whatever it is worth, unless the options say otherwise."""
    options = {"min_relevance": 0, "dedupe": False, **options}
    return search(library, query, ColourEmbedder(), SearchOptions(**options))


def test_by_kind_each_kind_is_a_block_with_its_own_ranks(make_library):
    library = make_library(
        [
            (passage(b"a.txt", 1), (9, 1, 0)),
            (picture(b"green.jpg"), (0, 1, 0)),
            (moment(b"a.mp4", 0), (1, 1, 0)),
            (picture(b"red.jpg"), (1, 0, 0)),
            (passage(b"b.txt", 1), (1, 0, 0)),
        ]
    )
    hits = ask(library, by_kind=True)
    assert found(hits) == [
        (1, "image", b"red.jpg"),
        (2, "image", b"green.jpg"),
        (1, "video", b"a.mp4"),
        (1, "text", b"b.txt"),
        (2, "text", b"a.txt"),
    ]
    assert hits[0].score == pytest.approx(1.0, abs=2e-3)
    assert hits[2].score == pytest.approx(2**-0.5, abs=2e-3)


def test_kinds_stand_in_one_list_by_relevance(make_library):
    """Texts score higher than pictures here, as they do with the real model."""
    pictures = [(picture(b"%d.jpg" % n), (1, 9, n % 5)) for n in range(40)]
    passages = [(passage(b"%d.txt" % n, 1), (4, 9, n % 5)) for n in range(40)]
    answer = (picture(b"answer.jpg"), (7, 9, 0))
    library = make_library([*pictures, *passages, answer])
    away = np.random.default_rng(5).normal(0, 0.15, (64, 2))
    library.set_baseline(
        np.stack([unit(1, *each) for each in away])
    )  # what people ask for is reddish
    hits = ask(library, top=81)
    assert [hit.rank for hit in hits] == list(range(1, 82))
    assert hits[0].segment.item.path == b"answer.jpg"
    assert min(hit.score for hit in hits if hit.segment.item.kind is Kind.TEXT) > max(
        hit.score for hit in hits[1:] if hit.segment.item.kind is Kind.IMAGE
    )
    relevance = [hit.relevance for hit in hits]
    assert relevance == sorted(relevance, reverse=True)


def test_only_what_is_relevant_is_shown_unless_all_is_asked_for(make_library):
    random = np.random.default_rng(5)
    rows = [(picture(b"%d.jpg" % n), (0, *random.normal(size=2))) for n in range(60)]
    nothing = make_library(rows, name="nothing")
    library = make_library([*rows, (picture(b"red.jpg"), (1, 0, 0))])
    assert [path for _, _, path in found(ask(library, min_relevance=0.5))] == [b"red.jpg"]
    assert ask(nothing, min_relevance=0.5) == []
    assert len(ask(nothing, top=100)) == 60


def test_the_public_name_is_this_function():
    assert lazy_search is search


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (Filters(kinds=frozenset({Kind.TEXT})), [b"c/d.txt"]),
        (Filters(kinds=frozenset({Kind.IMAGE, Kind.VIDEO})), [b"a/1.jpg", b"ab/2.jpg", b"a/3.mp4"]),
        (Filters(under=(b"/media/a",)), [b"a/1.jpg", b"a/3.mp4"]),
        (Filters(under=(b"/media/a/1.jpg",)), [b"a/1.jpg"]),
        (Filters(under=(b"/",)), [b"a/1.jpg", b"ab/2.jpg", b"a/3.mp4", b"c/d.txt"]),
        (Filters(after=20), [b"ab/2.jpg", b"a/3.mp4"]),
        (Filters(before=20), [b"a/1.jpg", b"c/d.txt"]),
        (Filters(after=10, before=20), [b"a/1.jpg"]),
        (Filters(frozenset({Kind.VIDEO}), (b"/media/a",), after=10), [b"a/3.mp4"]),
    ],
)
def test_filters(make_library, filters, expected):
    library = make_library(
        [
            (picture(b"a/1.jpg", mtime_ns=10), (4, 1, 0)),
            (picture(b"ab/2.jpg", mtime_ns=20), (3, 1, 0)),
            (moment(b"a/3.mp4", 0, mtime_ns=30), (2, 1, 0)),
            (passage(b"c/d.txt", 1), (1, 1, 0)),
        ]
    )
    assert {path for _, _, path in found(ask(library, filters=filters))} == set(expected)


def test_a_folder_may_be_asked_for_by_a_link(make_library, tmp_path):
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    root = os.fsencode(real)
    item = Item(root, b"a.jpg", Kind.IMAGE, 1, 0)
    library = make_library([(Segment(item, "0"), (1, 0, 0))], root)
    assert len(ask(library, filters=Filters(under=(os.fsencode(tmp_path / "link"),)))) == 1


def test_a_folder_that_nobody_knows_is_said_and_one_without_files_is_not(make_library, tmp_path):
    library = make_library([(picture(b"a/1.jpg"), (1, 0, 0))])
    with pytest.raises(QvsearchError, match=r"--under /med is neither on the disk"):
        ask(library, filters=Filters(under=(b"/med",)))
    assert ask(library, filters=Filters(under=(os.fsencode(tmp_path),))) == []


def test_nothing_left_by_the_filters_needs_no_model(make_library):
    library = make_library([(picture(b"a.jpg"), (1, 0, 0))])

    def load():
        raise AssertionError("loaded")

    options = SearchOptions(filters=Filters(before=-(10**9)))
    assert answer(library, Query("red"), options, load) == []


def test_a_video_is_one_hit_with_its_other_moments(make_library):
    rows = [(moment(b"long.mp4", 10 * place), (10, place, 0)) for place in range(9)]
    library = make_library([*rows, (moment(b"short.mp4", 0), (10, 0.5, 0))])
    first, second = ask(library)
    assert (first.segment.item.path, first.segment.start) == (b"long.mp4", 0)
    assert [each.segment.start for each in first.moments] == [10, 20, 30, 40, 50]
    assert len(first.moments) == MOMENTS
    scores = [first.score, *(each.score for each in first.moments)]
    assert scores == sorted(scores, reverse=True)
    assert (second.segment.item.path, second.moments) == (b"short.mp4", ())


def test_top_counts_items_though_one_item_fills_the_first_rows(make_library):
    crowd = [(moment(b"crowd.mp4", start), (1, 0, 0)) for start in range(500)]
    others = [(moment(b"%03d.mp4" % number, 0), (9, 1 + number, 0)) for number in range(30)]
    library = make_library([*crowd, *others])
    hits = ask(library, top=20)
    expected = [b"crowd.mp4", *(b"%03d.mp4" % number for number in range(19))]
    assert [hit.segment.item.path for hit in hits] == expected
    assert len(ask(library, top=100)) == 31


def test_copies_are_one_hit_unless_asked_for(make_library):
    library = make_library([(picture(path, content="same"), (1, 0, 0)) for path in (b"a", b"b")])
    assert [path for _, _, path in found(ask(library))] == [b"a", b"b"]
    (hit,) = ask(library, dedupe=True)
    assert (hit.segment.item.path, [item.path for item in hit.duplicates]) == (b"a", [b"b"])


def test_many_copies_do_not_crowd_the_others_out(make_library):
    copies = [(picture(b"copy-%03d.jpg" % n, content="same"), (1, 0, 0)) for n in range(300)]
    others = [(picture(b"%d.jpg" % n, content=str(n)), (5, 1 + n, 0)) for n in range(4)]
    hits = ask(make_library([*copies, *others]), dedupe=True, top=5)
    assert [hit.segment.item.path for hit in hits[:2]] == [b"copy-000.jpg", b"0.jpg"]
    assert len(hits) == 5
    assert len(hits[0].duplicates) == 299


@pytest.mark.parametrize("seed", range(12))
def test_hits_equal_a_plain_computation_over_all_rows(make_library, seed):
    """With several query vectors too, of which each row's best counts."""
    random = np.random.default_rng(seed)
    count = int(random.integers(50, 800))
    videos = [moment(b"%d.mp4" % random.integers(40), number) for number in range(count)]
    library = make_library([(each, random.normal(size=3)) for each in videos])
    vectors = np.stack([unit(*random.normal(size=3)) for _ in range(int(random.integers(1, 6)))])

    class Fixed:
        dim = 3

        def embed(self, inputs):
            return vectors

    scores = (library.vectors(library.segments) @ vectors.T).max(axis=1)
    best = {}
    for segment, score in zip(library.segments.values(), scores, strict=True):
        best[segment.item.path] = max(score, best.get(segment.item.path, -2))
    expected = sorted(best.values(), reverse=True)[:7]
    options = SearchOptions(top=7, min_relevance=0, dedupe=False)
    hits = search(library, "anything", Fixed(), options)
    assert [hit.score for hit in hits] == pytest.approx(expected, abs=1e-6)
    assert [best[hit.segment.item.path] for hit in hits] == pytest.approx(expected, abs=1e-6)


def test_an_empty_library_is_said_before_any_model_is_loaded(make_library):
    library = make_library([])
    with pytest.raises(QvsearchError, match="is empty; fill it with: qvsearch index FOLDER"):
        search(library, "red")


@pytest.fixture
def red_picture(tmp_path):
    path = tmp_path / "red.png"
    Image.new("RGB", (64, 64), "red").save(path)
    return path


def test_words_are_words_and_existing_files_are_files(red_picture, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    notes = tmp_path / "notes.unknown"
    notes.write_text("red")
    assert parse_query("  a dog ") == Query("a dog")
    assert parse_query("red.png") == Query(file=os.fsencode(red_picture))
    assert parse_query("notes about missing.png") == Query("notes about missing.png")
    assert parse_query("other.unknown") == Query("other.unknown")
    for there, said in (("notes.unknown", "is a .unknown file"), (str(tmp_path), "is a folder")):
        with pytest.raises(QvsearchError, match=said):
            parse_query(there)
    assert parse_query("bluer", b"red.png") == Query("bluer", image=os.fsencode(red_picture))
    assert parse_query(None, b"red.png") == Query(image=os.fsencode(red_picture))
    assert parse_query("dog", instruction="Find cats.").instruction == "Find cats."
    for nothing in ("", "  ", None):
        with pytest.raises(QvsearchError, match="the query looks for nothing"):
            parse_query(nothing)


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({}, "looks for nothing"),
        ({"words": ""}, "looks for nothing"),
        ({"without": ("people",)}, "looks for nothing"),
        ({"unlike": (b"/a.jpg",)}, "looks for nothing"),
        ({"words": "red", "without": (" ",)}, "--not is empty"),
        ({"words": "red", "not_weight": -1.0}, "--not-weight -1 is no weight"),
        ({"like": (b"/a.jpg",), "like_weight": float("nan")}, "--like-weight nan is no weight"),
    ],
)
def test_a_query_that_means_nothing_is_refused_from_python_too(parts, reason):
    with pytest.raises(QvsearchError, match=reason):
        Query(**parts)


@pytest.mark.parametrize(
    ("numbers", "reason"),
    [
        ({"top": 0}, "top is 0"),
        ({"min_relevance": 1.5}, "min_relevance is 1.5"),
        ({"min_relevance": float("nan")}, "min_relevance is nan"),
    ],
)
def test_options_that_can_show_nothing_are_refused(numbers, reason):
    with pytest.raises(QvsearchError, match=reason):
        SearchOptions(**numbers)


def test_a_query_has_the_retrieval_instruction(red_picture):
    ((words,),) = (term.inputs for term in read_terms(Query("a dog"), DecodeOptions(262_144)))
    assert (words.text, words.images, words.instruction) == ("a dog", (), QUERY_INSTRUCTION)
    asked = Query(file=os.fsencode(red_picture), instruction="Find it.")
    ((file,),) = (term.inputs for term in read_terms(asked, DecodeOptions(262_144)))
    assert file.instruction == "Find it."


def test_a_picture_and_words_are_one_input(make_library, red_picture):
    library = make_library(
        [
            (picture(b"red.jpg"), (1, 0, 0)),
            (picture(b"purple.jpg"), (1, 0, 1)),
            (picture(b"blue.jpg"), (0, 0, 1)),
        ]
    )
    embedder = ColourEmbedder()
    query = parse_query("blue", os.fsencode(red_picture))
    hits = search(library, query, embedder, SearchOptions(min_relevance=0))
    assert hits[0].segment.item.path == b"purple.jpg"
    (seen,) = embedder.seen
    assert (seen.text, len(seen.images)) == ("blue", 1)
    assert ask(library, str(red_picture))[0].segment.item.path == b"red.jpg"


def test_a_text_file_as_the_query_is_several_passages(make_library, tmp_path):
    library = make_library([(picture(b"red.jpg"), (1, 0, 0)), (picture(b"blue.jpg"), (0, 0, 1))])
    long = tmp_path / "long.txt"
    filler = "\n\n".join("nothing to see here " * 20 for _ in range(60))
    long.write_text(f"blue blue blue\n\n{filler}\n\nred red red")
    embedder = ColourEmbedder()
    hits = search(library, str(long), embedder, SearchOptions(min_relevance=0, dedupe=False))
    assert len(embedder.seen) == QUERY_SEGMENTS
    assert "blue" in embedder.seen[0].text
    assert "red" in embedder.seen[-1].text
    # each picture is scored with the passage that suits it
    assert [hit.score for hit in hits] == pytest.approx([1, 1], abs=0.01)


def test_a_video_as_the_query_is_several_frames(make_library, tmp_path):
    import av

    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for colour in ((255, 0, 0), (0, 0, 255)):
            for _ in range(15):
                pixels = np.full((64, 64, 3), colour, dtype=np.uint8)
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                container.mux(stream.encode(frame))
        container.mux(stream.encode())
    library = make_library(
        [
            (picture(b"red.jpg"), (1, 0, 0)),
            (picture(b"blue.jpg"), (0, 0, 1)),
            (picture(b"green.jpg"), (0, 1, 0)),
        ]
    )
    hits = ask(library, str(path))
    assert {hit.segment.item.path for hit in hits[:2]} == {b"red.jpg", b"blue.jpg"}
    assert min(hit.score for hit in hits[:2]) > 0.95
    assert hits[2].score < 0.3


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("broken.jpg", b"no picture at all", "broken.jpg cannot be the query"),
        ("empty.png", b"", "empty.png cannot be the query: empty file"),
        ("missing.png", None, "missing.png: no such file"),
        ("sheet.xls", b"x", "has an unsupported suffix"),
        ("clip.mp4", b"x", "--image takes a picture; give .*clip.mp4 as the query itself"),
    ],
)
def test_an_unreadable_query_is_said_before_a_model_is_loaded(
    make_library, tmp_path, name, content, reason
):
    library = make_library([(picture(b"a.jpg"), (1, 0, 0))])
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)

    def load():
        raise AssertionError("loaded")

    query = parse_query("words", os.fsencode(path))
    with pytest.raises(QvsearchError, match=reason):
        answer(library, query, SearchOptions(), load)


@pytest.fixture
def colour_files(tmp_path, make_library):
    """A library of real files whose vectors are all alike, so that only a reranker tells them."""
    root = tmp_path / "files"
    root.mkdir()
    rows = []
    for colour in ("blue", "red", "green"):
        Image.new("RGB", (64, 64), colour).save(root / f"{colour}.png")
        (root / f"{colour}.txt").write_text(f"{colour}\n")
    for place, path in enumerate(sorted(root.iterdir())):
        status = path.stat()
        kind = Kind.IMAGE if path.suffix == ".png" else Kind.TEXT
        item = Item(os.fsencode(root), path.name.encode(), kind, status.st_size, status.st_mtime_ns)
        digest = content_hash(item.location, item.size)
        segment = Segment(item, digest, lines=(1, 1) if kind is Kind.TEXT else None)
        rows.append((segment, (10, place, 0)))
    return make_library(rows, os.fsencode(root))


def rerank(library, judged, missed=None, reranker=None, seconds=None, **options):
    reranker = reranker or ColourReranker()
    how = Rerank(options.pop("scope", RerankScope.ALL), judged, seconds)
    hits = answer(
        library,
        RED,
        SearchOptions(min_relevance=0, dedupe=False, rerank=how, **options),
        ColourEmbedder,
        lambda: reranker,
        missed or (lambda skipped: pytest.fail(str(skipped))),
    )
    return reranker, hits


def test_a_reranker_reorders_the_list_and_both_scores_stay(colour_files):
    before = ask(colour_files, RED)
    assert found(before)[0][2].startswith(b"blue")
    assert not {path for _, _, path in found(before)[:2]} & {b"red.png", b"red.txt"}
    reranker, hits = rerank(colour_files, 20)
    assert {path for _, _, path in found(hits)[:2]} == {b"red.png", b"red.txt"}
    assert len(reranker.seen) == 6
    assert hits[0].rerank_score == pytest.approx(1, abs=0.01)
    relevance = [hit.relevance for hit in hits]
    assert relevance == sorted(relevance, reverse=True)
    cosines = {hit.segment.item.path: hit.score for hit in before}
    assert {hit.segment.item.path: hit.score for hit in hits} == cosines


def test_by_kind_the_first_hits_over_all_kinds_are_judged(colour_files):
    reranker, hits = rerank(colour_files, 3, by_kind=True)
    assert len(reranker.seen) == 3
    judged = [hit.segment.item.path for hit in hits if hit.rerank_score is not None]
    assert sorted(judged) == [b"blue.png", b"blue.txt", b"green.png"]


def test_auto_judges_texts_and_pages_only(colour_files):
    rows = list(colour_files.segments)
    pages = [
        replace(colour_files.segments[row], metadata=Metadata(page=True))
        for row in rows
        if colour_files.segments[row].item.path == b"green.png"
    ]
    colour_files.add(pages, colour_files.vectors(rows[:1]))
    colour_files.remove(
        [row for row in rows if colour_files.segments[row].item.path == b"green.png"][:1]
    )
    reranker, hits = rerank(colour_files, 20, scope=RerankScope.AUTO)
    judged = {hit.segment.item.path for hit in hits if hit.rerank_score is not None}
    assert judged == {b"red.txt", b"blue.txt", b"green.txt", b"green.png"}
    assert len(reranker.seen) == 4


def test_a_budget_that_does_not_last_judges_the_first_and_leaves_the_others(colour_files):
    reranker, hits = rerank(colour_files, 20, seconds=0.0)
    assert len(reranker.seen) == 1
    assert sum(hit.rerank_score is not None for hit in hits) == 1
    assert len(hits) == 6
    assert len(rerank(colour_files, 20, seconds=1e6)[0].seen) == 6


def test_a_reranker_sees_more_than_is_shown(colour_files):
    _, hits = rerank(colour_files, 6, top=1, by_kind=True)
    assert found(hits) == [(1, "image", b"red.png"), (1, "text", b"red.txt")]


def test_hits_whose_file_is_gone_or_changed_keep_their_place_and_are_told(colour_files):
    root = colour_files.roots[0].decode()
    os.remove(f"{root}/red.png")
    with open(f"{root}/blue.png", "ab") as file:
        file.write(b"more")
    missed = []
    _, hits = rerank(colour_files, 20, missed=missed.append)
    unjudged = {hit.segment.item.path for hit in hits if hit.rerank_score is None}
    assert unjudged == {b"red.png", b"blue.png"}
    before = {hit.segment.item.path: hit.relevance for hit in ask(colour_files, RED)}
    assert all(
        hit.relevance == before[hit.segment.item.path] for hit in hits if hit.rerank_score is None
    )
    assert sorted(os.path.basename(skipped.path) for skipped in missed) == [b"blue.png", b"red.png"]


def test_the_reranker_reads_the_passage_of_the_hit_also_in_one_long_line(tmp_path, make_library):
    file = tmp_path / "line.txt"
    file.write_text("blue water. " * 400 + "red sky. " * 400)
    status = file.stat()
    item = Item(os.fsencode(file), b"", Kind.TEXT, status.st_size, status.st_mtime_ns)
    digest = content_hash(item.location, item.size)
    segments = [each for each, _ in media.decode(item, digest, DecodeOptions(0)).segments]
    assert len({each.lines for each in segments}) == 1
    last = len(segments) - 1
    rows = [(each, (10, 0 if place == last else 9, 0)) for place, each in enumerate(segments)]
    reranker, hits = rerank(make_library(rows, os.fsencode(file)), 1)
    assert hits[0].segment.snippet == segments[last].snippet
    assert [each.text[:3] for each in reranker.seen] == ["red"]


def test_what_the_budget_does_not_last_for_is_not_even_read(colour_files):
    """Decoding costs time as well: a second hit that is gone is not noticed."""
    first, second, *_ = [hit.segment.item.location for hit in ask(colour_files, RED)]
    os.remove(second)
    _, hits = rerank(colour_files, 20, seconds=0.0)
    assert [hit.segment.item.location for hit in hits if hit.rerank_score is not None] == [first]


def test_a_reranker_adds_no_moments_that_do_not_answer(make_library):
    random = np.random.default_rng(7)
    rows = [(moment(b"%d.mp4" % n, 0), (0, *random.normal(size=2))) for n in range(40)]
    film = [(moment(b"film.mp4", 0), (1, 0, 0)), (moment(b"film.mp4", 9), (0, 1, 1))]
    library = make_library([*rows, *film])
    asked = SearchOptions(rerank=Rerank(RerankScope.AUTO))
    [hit] = answer(library, Query("red"), asked, ColourEmbedder, ColourReranker)
    assert (hit.segment.item.path, hit.moments) == (b"film.mp4", ())


def test_an_instruction_of_the_user_reaches_the_reranker(colour_files):
    asked = []

    class Recorder(ColourReranker):
        def score(self, query, documents):
            asked.append(query.instruction)
            return super().score(query, documents)

    for instruction in (QUERY_INSTRUCTION, "Find paint."):
        query = replace(Query("red"), instruction=instruction)
        options = SearchOptions(rerank=Rerank(RerankScope.ALL))
        answer(colour_files, query, options, ColourEmbedder, Recorder)
    assert asked == [None, "Find paint."]
