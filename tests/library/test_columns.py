import math
import os
import unicodedata
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qvsearch.choices import Orientation
from qvsearch.errors import QvsearchError
from qvsearch.library.columns import CACHED, Columns, Source
from qvsearch.library.filtering import hidden_by, passing_rows, squared_chord
from qvsearch.library.filters import Filters
from qvsearch.library.patterns import glob_regex
from qvsearch.library.shard_columns import NO_ROW, columns_of, point
from qvsearch.times import time_taken
from qvsearch.types import Item, Kind, Metadata, Segment

ROOTS = (b"/media", b"/media/2023", b"/", b"/media/a.jpg")
CAFES = ("Caf\u00e9", "Cafe\u0301")  # two forms of one name
PATHS = (b"a.jpg", b"2023/a.jpg", b"2023/b/c.mp4", b"\xff/\n.txt", b"a.jpg/d")
PATHS += tuple(f"{cafe}/a.jpg".encode() for cafe in CAFES)
GLOBS = ("*.jpg", "2023/**", "**/b/*", "?.txt", os.fsdecode(b"\xff/*"), *CAFES)
CAMERAS = ("Canon EOS 5D", "canon", "Straße", "", "Apple iPhone 12")
WORDS = ("sea", "Seaside", "straße")
TIMES = st.sampled_from([0, 10**18, 2**62, 2**63 - 1, -(2**63), 2**80, -(2**80)])
DATES = ("2001-09-09T01:46:40Z", "2023-07-04", "2023-07-04T12:00:00", "9999-12-31", "no date")
COORDINATES = st.one_of(
    st.tuples(st.sampled_from([-90, 0, 90.0]), st.sampled_from([-180.0, 0, 180])),
    st.tuples(st.floats(-90, 90), st.floats(-180, 180)),
)
SIDES = st.integers(1, 4)
SECONDS = st.sampled_from([0, 1, 1.5, 60])


def all_columns(rows, size):
    """Columns of segments by number, in two sources as of two files."""
    sources = []
    for part in (list(rows)[:2], list(rows)[2:]):
        segments = [rows[row] for row in part]
        roots = [None, *{segment.item.root for segment in segments}]
        numbers = np.array(part, np.int64)
        sources.append(Source(numbers, slice(None), columns_of(segments, roots), roots))
    return Columns(sources, size)


def maybe(strategy):
    return st.none() | strategy


@st.composite
def segments(draw):
    root = draw(st.sampled_from(ROOTS))
    path = b"" if root.endswith(b".jpg") else draw(st.sampled_from(PATHS))
    item = Item(root, path, draw(st.sampled_from(list(Kind))), 1, draw(TIMES))
    place = draw(st.one_of(COORDINATES, st.just((None, None)), st.just((1.0, None))))
    size = draw(st.one_of(st.tuples(SIDES, SIDES), st.just((None, None))))
    metadata = Metadata(
        taken=draw(maybe(st.sampled_from(DATES))),
        camera=draw(maybe(st.sampled_from(CAMERAS))),
        latitude=place[0],
        longitude=place[1],
        duration=draw(maybe(SECONDS)),
        title=draw(maybe(st.sampled_from(CAMERAS))),
        author=draw(maybe(st.sampled_from(CAMERAS))),
        keywords=draw(maybe(st.lists(st.sampled_from(WORDS)).map(tuple))),
        rating=draw(maybe(st.integers(0, 5))),
        language=draw(maybe(st.sampled_from(["de", "de-AT", "en"]))),
    )
    page = draw(maybe(st.integers(1, 9)))
    return Segment(item, "0", width=size[0], height=size[1], metadata=metadata, page=page)


BELOW = (b"/media/", b"/med", b"/media/2023/b", *(f"/media/{cafe}".encode() for cafe in CAFES))
FILTERS = st.builds(
    Filters,
    kinds=maybe(st.frozensets(st.sampled_from(list(Kind)))),
    under=st.lists(st.sampled_from([*ROOTS, *BELOW])).map(tuple),
    globs=st.lists(st.sampled_from(GLOBS)).map(tuple),
    after=maybe(TIMES),
    before=maybe(TIMES),
    camera=maybe(st.sampled_from(["canon", "STRASSE", "e", ""])),
    near=maybe(
        st.builds(lambda place, km: (*place, km), COORDINATES, st.sampled_from([0, 1, 1e4, 5e4]))
    ),
    min_size=maybe(st.tuples(SIDES, SIDES)),
    duration=maybe(st.tuples(SECONDS, SECONDS | st.just(float("inf")))),
    orientation=maybe(st.sampled_from(list(Orientation))),
    suffixes=st.lists(st.sampled_from(["jpg", "mp4", "txt"])).map(tuple),
    title=maybe(st.sampled_from(["canon", "STRASSE"])),
    author=maybe(st.sampled_from(["eos", "x"])),
    keywords=st.lists(st.sampled_from([each.upper() for each in WORDS])).map(tuple),
    rating=maybe(st.sampled_from([(0, 3), (4, 5)])),
    pages=maybe(st.sampled_from([(1, 1), (3, 8)])),
    language=maybe(st.sampled_from(["de", "en"])),
)
NAMES = list(Filters.__dataclass_fields__)


def alone(filters):
    """Each filter by itself, and all of them; most rows fail all together."""
    yield filters
    for name in NAMES:
        yield replace(Filters(), **{name: getattr(filters, name)})


def fits(segment, filters):
    """Which filters a segment passes, one after the other, in plain Python."""
    item, said = segment.item, segment.metadata
    path = composed(os.fsdecode(item.path or os.path.basename(item.root)))
    location = composed(os.fsdecode(item.location)) + "/"
    folders = [composed(os.fsdecode(each)).rstrip("/") + "/" for each in filters.under]
    width, height = segment.width, segment.height
    sized = width is not None and height is not None
    yield filters.kinds is None or item.kind in filters.kinds
    yield not folders or any(location.startswith(each) for each in folders)
    yield not filters.globs or any(glob_regex((each,)).fullmatch(path) for each in filters.globs)
    yield filters.after is None or time_taken(segment) >= filters.after
    yield filters.before is None or time_taken(segment) < filters.before
    camera = said.camera or ""
    yield filters.camera is None or (
        camera != "" and filters.camera.casefold() in camera.casefold()
    )
    if filters.near is not None:
        placed = said.latitude is not None and said.longitude is not None
        yield placed and math.dist(
            point(said.latitude, said.longitude), point(*filters.near[:2])
        ) ** 2 <= squared_chord(filters.near[2]) * (1 + 1e-12)
    if filters.min_size is not None:
        yield sized and width >= filters.min_size[0] and height >= filters.min_size[1]
    if filters.duration is not None:
        least, most = filters.duration
        yield said.duration is not None and least <= said.duration <= most
    if filters.orientation is not None:
        compare = {"landscape": int.__gt__, "portrait": int.__lt__, "square": int.__eq__}
        yield sized and compare[filters.orientation](width, height)
    name = os.fsdecode(item.path or item.root)
    yield not filters.suffixes or name.rpartition(".")[2] in filters.suffixes
    for asked, text in ((filters.title, said.title), (filters.author, said.author)):
        yield asked is None or bool(text and asked.casefold() in text.casefold())
    keywords = [each.casefold() for each in said.keywords or ()]
    yield all(each.casefold() in keywords for each in filters.keywords)
    yield filters.rating is None or said.rating in range(filters.rating[0], filters.rating[1] + 1)
    yield filters.pages is None or segment.page in range(filters.pages[0], filters.pages[1] + 1)
    yield filters.language is None or (said.language or "").split("-")[0] == filters.language


def composed(text):
    return unicodedata.normalize("NFC", text)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.integers(0, 9), segments(), max_size=6), FILTERS)
def test_the_mask_and_the_reasons_are_what_plain_python_computes(rows, asked):
    rows = dict(sorted(rows.items()))
    size = max(rows, default=-1) + 1
    columns = all_columns(rows, size)
    for filters in (Filters(), *alone(asked)):
        expected = [row in rows and all(fits(rows[row], filters)) for row in range(size)]
        assert {row for row in rows if not hidden_by(rows[row], filters)} == {
            row for row in rows if expected[row]
        }
        found = passing_rows(columns, filters)
        assert found.dtype == np.bool_
        assert found.tolist() == expected, filters


def picture(path, root=b"/media", **fields):
    return Segment(Item(root, path, Kind.IMAGE, 1, 0), "0", **fields)


def test_rows_that_are_not_live_have_nothing():
    clip = Segment(Item(b"/media", b"a.mp4", Kind.VIDEO, 1, 5), "0", start=0.0, end=1.0)
    columns = all_columns({1: picture(b"a.jpg"), 3: clip, 4: replace(clip, start=1.0)}, 6)
    image, video = list(Kind).index(Kind.IMAGE), list(Kind).index(Kind.VIDEO)
    assert columns.kinds.tolist() == [NO_ROW, image, NO_ROW, video, video, NO_ROW]
    image, film = columns.items[[1, 3]].tolist()
    assert columns.items.tolist() == [-1, image, -1, film, film, -1]
    assert len({-1, image, film}) == 3
    assert columns.live.tolist() == [False, True, False, True, True, False]
    assert np.isnan(columns.widths).all()
    assert columns.points.shape == (3, 6)


def test_an_empty_library_has_no_rows():
    columns = all_columns({}, 0)
    full = Filters(globs=("*",), under=(b"/",), near=(0, 0, 1), camera="a", after=0)
    for filters in (Filters(), full):
        assert passing_rows(columns, filters).tolist() == []


def test_a_mask_belongs_to_who_asked():
    columns = all_columns({0: picture(b"a.jpg"), 1: picture(b"b.png")}, 2)
    for filters in (Filters(), Filters(globs=("*.jpg",)), Filters(under=(b"/media",))):
        before = passing_rows(columns, filters)
        expected = before.copy()
        before[:] = False
        assert passing_rows(columns, filters).tolist() == expected.tolist()


def test_more_patterns_than_are_remembered():
    columns = all_columns({row: picture(b"%d.jpg" % row) for row in range(CACHED + 9)}, CACHED + 9)
    for _ in range(2):
        for row in range(CACHED + 9):
            assert np.flatnonzero(passing_rows(columns, Filters(globs=(f"{row}.*",)))).tolist() == [
                row
            ]


def test_a_folder_that_nobody_knows_is_said(tmp_path):
    columns = all_columns({0: picture(b"gone/a.jpg")}, 1)
    columns.check_under((b"/media/gone", os.fsencode(tmp_path), b"/media"))
    for wrong in ((b"/med",), (b"/media", b"/media/gon")):
        with pytest.raises(QvsearchError, match=f"--under {wrong[-1].decode()} is neither on"):
            columns.check_under(wrong)


@pytest.mark.parametrize("cafe", CAFES)
def test_both_forms_of_a_name_are_one(cafe):
    paths = [*(f"{each}/a.jpg".encode() for each in CAFES), b"Cafe/a.jpg"]
    columns = all_columns({row: picture(path) for row, path in enumerate(paths)}, 3)
    under = (f"/media/{cafe}".encode(),)
    columns.check_under(under)
    for filters in (Filters(under=under), Filters(globs=(f"{cafe}/*",))):
        assert passing_rows(columns, filters).tolist() == [True, True, False]


def test_a_link_stands_for_where_it_leads(tmp_path):
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    columns = all_columns({0: picture(b"a.jpg", os.fsencode(real)), 1: picture(b"a.jpg")}, 2)
    under = (os.fsencode(tmp_path / "link"),)
    assert passing_rows(columns, Filters(under=under)).tolist() == [True, False]
