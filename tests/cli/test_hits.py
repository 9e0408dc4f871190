"""Which of several copies is the hit: one that is there, then the one with most pixels."""

import os
from dataclasses import replace

import numpy as np
import pytest
from support.colours import FINGERPRINT, ColourEmbedder, unit

from qvsearch.cli import hit_tables
from qvsearch.library.library import Library
from qvsearch.records import library as records
from qvsearch.retrieval.explain import explain
from qvsearch.retrieval.pipeline import SearchOptions, search
from qvsearch.types import Item, Kind, Segment

HASH = 0xF0E1_D2C3_B4A5_9687  # half of its bits are ones
OPTIONS = SearchOptions(min_relevance=0)


def photo(path, width, content="same"):
    item = Item(b"", path, Kind.IMAGE, 1, 0)
    return Segment(item, content, width=width, height=width * 3 // 4, dhash=HASH)


@pytest.fixture
def make(tmp_path):
    """Make a library of (segment, vector); its files are there but those of a root named `gone`."""

    def made(*rows):
        library = Library.create(tmp_path / "library", FINGERPRINT)
        segments = []
        for (folder, segment), _ in rows:
            root = tmp_path / folder
            library.add_root(os.fsencode(root))
            item = replace(segment.item, root=os.fsencode(root))
            segments.append(replace(segment, item=item))
            if folder != "gone":
                root.mkdir(exist_ok=True)
                (root / os.fsdecode(item.path)).touch()
        library.add(segments, np.stack([unit(*vector) for _, vector in rows]))
        library.commit()
        return Library.open(library.folder)

    return made


def found(library, **options):
    hits = search(library, "red", ColourEmbedder(), replace(OPTIONS, **options))
    return [
        (name(hit.segment.item), [name(each) for each in hit.duplicates], hit.gone) for hit in hits
    ]


def name(item):
    return os.path.relpath(os.fsdecode(item.location), os.path.dirname(os.fsdecode(item.root)))


def test_a_file_that_is_there_comes_before_one_that_is_gone(make):
    rows = [(("gone", photo(b"a.jpg", 400)), (1, 0, 0)), (("new", photo(b"a.jpg", 400)), (1, 0, 0))]
    library = make(*rows)
    assert found(library) == [("new/a.jpg", ["gone/a.jpg"], False)]
    assert found(library, dedupe=False) == [("gone/a.jpg", [], True), ("new/a.jpg", [], False)]


def test_the_original_comes_before_its_thumbnail(make):
    library = make(
        (("here", photo(b"small.jpg", 200, "thumbnail")), (10, 0, 0)),
        (("here", photo(b"large.jpg", 4000)), (10, 1, 0)),
        (("gone", photo(b"larger.jpg", 6000)), (10, 1, 0)),
        (("here", photo(b"other.jpg", 4000, "other")), (0, 1, 0)),
    )
    assert found(library) == [
        ("here/large.jpg", ["here/small.jpg", "gone/larger.jpg"], False),
        ("here/other.jpg", [], False),
    ]
    hit = search(library, "red", ColourEmbedder(), OPTIONS)[0]
    assert hit.segment.width == 4000
    assert hit.score == pytest.approx(1.0, abs=1e-3), "it answers as well as its best copy"
    assert (
        hit.relevance
        == search(library, "red", ColourEmbedder(), SearchOptions(min_relevance=0, dedupe=False))[
            0
        ].relevance
    )
    said = explain(library, "red", library.segments[0].item.location, ColourEmbedder(), OPTIONS)
    assert said.folded_into == hit.segment.item.location
    assert explain(library, "red", said.folded_into, ColourEmbedder(), OPTIONS).reason is None


def test_where_all_copies_are_gone_the_hit_is_marked(make, capfdbinary, tmp_path):
    library = make(
        (("gone", photo(b"a.jpg", 400)), (1, 0, 0)),
        (("gone", photo(b"b.jpg", 800)), (1, 0, 0)),
        (("here", photo(b"c.jpg", 400, "other")), (0, 1, 0)),
    )
    assert found(library)[0] == ("gone/b.jpg", ["gone/a.jpg"], True)
    gone, there = search(library, "red", ColourEmbedder(), OPTIONS)
    assert records.hit_record(gone, tmp_path)["gone"] is True
    assert "gone" not in records.hit_record(there, tmp_path)
    hit_tables.print_hits([gone], 0.0)
    assert b"gone: no longer where it was indexed" in capfdbinary.readouterr().out
    hit_tables.print_hits([there], 0.0)
    assert b"gone:" not in capfdbinary.readouterr().out


def test_a_file_that_comes_back_is_a_hit_again(make, tmp_path):
    library = make((("gone", photo(b"a.jpg", 400)), (1, 0, 0)))
    assert found(library) == [("gone/a.jpg", [], True)]
    (tmp_path / "gone").mkdir()
    (tmp_path / "gone/a.jpg").touch()
    assert found(library) == [("gone/a.jpg", [], False)]


@pytest.mark.parametrize("top", [1, 2, 10])
def test_how_many_hits_are_asked_for_does_not_change_which_copy_is_shown(make, top):
    library = make(
        (("here", photo(b"small.jpg", 200, "thumbnail")), (10, 0, 0)),
        *((("here", photo(b"%d.jpg" % n, 300, "other")), (10, n % 7, 5)) for n in range(5)),
        (("here", photo(b"large.jpg", 4000)), (10, 1, 0)),
    )
    assert found(library, top=top)[0][0] == "here/large.jpg"
