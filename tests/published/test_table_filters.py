"""The rows that pass in SQL are those that pass in a library."""

import os
import random
import time
from dataclasses import replace

import numpy as np
import pytest
from support.made_rows import FINGERPRINT
from support.tables import NOT_COMPARED, published_copy, published_rows, reopened, unit_rows

from qvsearch.choices import Orientation
from qvsearch.errors import QvsearchError
from qvsearch.indexing.fields import library_fields
from qvsearch.library.columns import Columns, source_of
from qvsearch.library.filtering import passing_rows
from qvsearch.library.filters import Filters
from qvsearch.library.library import Library
from qvsearch.library.places import Place, place_table
from qvsearch.published.address import read_address
from qvsearch.published.engine import Table
from qvsearch.published.filters import CONDITIONS, where_of
from qvsearch.published.schema import About, Row, later_columns, later_types
from qvsearch.retrieval.table_search import where_in
from qvsearch.types import Item, Kind, Metadata, Segment

FINGERPRINT = replace(FINGERPRINT, dim=8)
PLACES = {"media": b"/media", "inner": b"/media/2023", "o'disk": b"/", "one": b"/media/a.jpg"}
NAMES = {place: name for name, place in PLACES.items()}
CAFES = ["Caf\u00e9", "Cafe\u0301"]
PATHS = [b"a.jpg", b"2023/a.jpg", b"2023/b/c.mp4", b"\xff/\n.txt", b"a.jpg/d", b"o'b/[x] {1}.jpg"]
PATHS += [f"{cafe}/a.jpg".encode() for cafe in CAFES]
GLOBS = ["*.jpg", "2023/**", "**/b/*", "?.txt", os.fsdecode(b"\xff/*"), *CAFES, "[!a-b]*", "o'b/*"]
GLOBS += ["[[]x] {1}.jpg", "*[]]*", "*[!~&&-]*.j?g", "media"]
UNDER = [*PLACES.values(), b"/media/", b"/med", b"/media/2023/b", b"/nowhere"]
UNDER += [f"/media/{cafe}".encode() for cafe in CAFES]
CAMERAS = ["Canon EOS 5D", "canon", "Straße", "O'Brien", None]
TITLES = [None, "", "Annual report", "STRASSE", "O'Brien 100% _", "\udcff"]
TITLES += ["Søren Grün", "SOREN GRU\u0308N"]
WORDS = ["Sea", "seaside", "STRASSE", "a.b", "sea\uff0cside", "Café"]
CHANGE, IN_SPRING = 1_679_792_400 * 10**9, "2023-03-26T02:30:00"  # clocks skip this hour
TIMES = [0, 10**18, 2**62, 2**63 - 1, -(2**63), 2**80, -(2**80), CHANGE]
DATES = ["2001-09-09T01:46:40Z", "2023-07-04", IN_SPRING, "9999-12-31", "no date", None]
DEGREES = [(90.0, 0.0), (48.2, 16.37), (48.21, 16.37), (0.0, 180.0), (None, None), (1.0, None)]
DEGREES += [(48.14, 17.11), (48.0, 17.0), (43.0, -79.07), (43.1, -79.05), (47.26, 11.39)]  # borders
PLACES_ASKED = [Place("Vienna", (48.2, 16.37, km)) for km in (0.5, 2)]
PLACES_ASKED += [place_table().meant(name) for name in ("Austria", "Canada", "Tyrol, Austria")]


@pytest.fixture(autouse=True)
def vienna(monkeypatch):
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def drawn(rng, number):
    root = rng.choice([*PLACES.values()])
    path = b"" if root.endswith(b".jpg") else rng.choice(PATHS)
    item = Item(root, path, rng.choice(list(Kind)), 1, rng.choice(TIMES))
    latitude, longitude = rng.choice(DEGREES)
    sides = [None if rng.random() < 0.1 else rng.randint(1, 4) for _ in range(2)]
    metadata = Metadata(
        taken=rng.choice(DATES),
        camera=rng.choice(CAMERAS),
        latitude=latitude,
        longitude=longitude,
        duration=rng.choice([None, 0, 1, 1.5, 60]),
        title=rng.choice(TITLES),
        author=rng.choice(TITLES),
        keywords=rng.choice([None, (), *(tuple(rng.sample(WORDS, 2)) for _ in range(2))]),
        rating=rng.choice([None, 0, 3, 5]),
        language=rng.choice([None, "de", "de-AT", "EN", "d"]),
    )
    page = rng.choice([None, 1, 3, 12])
    size = {"width": sides[0], "height": sides[1]}
    return Segment(item, str(number), metadata=metadata, page=page, **size)


def asked(rng):
    """The value of each filter, one of many."""
    return {
        "kinds": frozenset(rng.sample(list(Kind), rng.randint(1, 3))),
        "under": tuple(rng.sample(UNDER, 2)),
        "globs": tuple(rng.sample(GLOBS, 2)),
        "after": rng.choice(TIMES),
        "before": rng.choice(TIMES),
        "camera": rng.choice(["canon", "STRASSE", "e", "", "o'b"]),
        "near": (
            *rng.choice([each for each in DEGREES if None not in each]),
            rng.choice([0.5, 2, 9e3]),
        ),
        "min_size": (rng.randint(1, 4), rng.randint(1, 4)),
        "duration": (rng.choice([0, 1, 1.5]), rng.choice([1.5, 60, float("inf")])),
        "orientation": rng.choice(list(Orientation)),
        "suffixes": tuple(rng.sample(["jpg", "mp4", "txt", "b", "c"], 2)),
        "title": rng.choice(["REPORT", "ss", "o'b", "100%", "soren g"]),
        "author": rng.choice(["straße", "annual", "grün"]),
        "keywords": tuple(
            rng.sample(["SEA", "sea\uff0cside", "straße", "a.b", "CAFE"], rng.randint(1, 2))
        ),
        "rating": rng.choice([(0, 2), (3, 5)]),
        "pages": rng.choice([(1, 1), (2, 12)]),
        "language": rng.choice(["de", "en"]),
        "place": rng.choice(PLACES_ASKED),
    }


def test_fields_of_a_large_table_are_those_of_its_library(tmp_path, monkeypatch):
    rng = random.Random(5)
    library = Library.create(tmp_path / "library", FINGERPRINT)
    library.add_root(b"/media")
    segments = []
    for number in range(200):
        segment = drawn(rng, number)
        item = replace(segment.item, root=b"/media", path=b"%d.%d" % (number, number % 7))
        segments += [replace(segment, item=item)] * rng.randint(1, 3)  # a file has several rows
    library.add(segments, unit_rows(len(segments), FINGERPRINT.dim))
    library.commit()
    table = published_copy(library, tmp_path / "t.lance")
    monkeypatch.setattr("qvsearch.published.library.WHOLE", 0)
    assert not table.is_small
    assert library_fields(table) == library_fields(Library.open(library.folder))


def test_rows_that_pass_are_those_of_a_library(tmp_path):
    rng = random.Random(17)
    segments = [drawn(rng, number) for number in range(500)]
    vectors = unit_rows(len(segments), FINGERPRINT.dim)
    rows = [(*each, NOT_COMPARED) for each in zip(segments, vectors, strict=True)]
    table = published_rows(tmp_path / "t.lance", FINGERPRINT, rows, NAMES)
    columns = Columns([source_of(np.arange(len(segments)), segments)], len(segments))
    hidden = {name: 0 for name in CONDITIONS}
    for _ in range(25):
        values = asked(rng)
        sets = [{name: value} for name, value in values.items()]
        some = rng.sample(list(values), 3)
        sets.append({name: values[name] for name in some})
        for each in sets:
            filters = Filters(**each)
            rows = table.scan(["content_hash"], where_of(filters, PLACES))
            found = set(map(int, rows.column("content_hash").to_pylist()))
            expected = set(np.flatnonzero(passing_rows(columns, filters)).tolist())
            # clocks changed at that date: times beside it are looked at once more
            near = {row for row in found if segments[row].metadata.taken == IN_SPRING}
            assert expected <= found, filters
            assert found - expected <= (near if CHANGE in each.values() else set()), filters
            if len(each) == 1:
                hidden[[*each][0]] += len(segments) - len(expected)
    assert all(hidden.values())  # each filter excludes rows


def test_rows_of_an_older_version_with_accents_are_still_found(tmp_path, monkeypatch):
    metadata = Metadata(camera="Caméra", title="Müller", author="Søren", keywords=("Café",))
    row = replace(drawn(random.Random(1), 0), metadata=metadata)
    with monkeypatch.context() as patch:
        patch.setattr("qvsearch.published.schema.plain", str.casefold)  # as it wrote them
        rows = [(row, unit_rows(1, FINGERPRINT.dim)[0], NOT_COMPARED)]
        table = published_rows(tmp_path / "t.lance", FINGERPRINT, rows, NAMES)

    def counts(camera, title, author, keyword):
        asked = (
            *(Filters(camera=camera), Filters(title=title)),
            *(Filters(author=author), Filters(keywords=(keyword,))),
        )
        return [table.count(where_of(filters, PLACES)) for filters in asked]

    assert counts("CAMÉ", "müll", "SØREN", "café") == [1, 1, 1, 1]
    assert counts("Canon", "münch", "Sören", "cafés") == [0, 0, 0, 0]
    name = NAMES[row.item.root]
    known = replace(row, item=replace(row.item, root=name.encode()))
    table.complete(later_columns([Row("me", name, known, 0, 0, *rows[0][1:])]))
    assert counts("came", "mull", "soren", "cafe") == [1, 1, 1, 1]


def test_every_filter_of_a_search_is_pushed_down():
    assert set(Filters.__dataclass_fields__) - set(CONDITIONS) == {"items"}
    assert where_of(Filters(), PLACES) is None


def test_a_table_of_an_older_version_gets_its_columns_when_it_is_published_into(tmp_path):
    rng = random.Random(3)
    segments = [replace(drawn(rng, number), metadata=Metadata()) for number in range(9)]
    rows = [
        (*each, NOT_COMPARED) for each in zip(segments, unit_rows(9, FINGERPRINT.dim), strict=True)
    ]
    place = tmp_path / "t.lance"
    table = published_rows(place, FINGERPRINT, rows, NAMES)
    table._rows.drop_columns(list(later_types()))
    older = reopened(place, PLACES)
    assert older.table.lacking.names == list(later_types())
    assert where_in(older, Filters(camera="canon", suffixes=("jpg",)))
    with pytest.raises(
        QvsearchError, match="older version, and has no column for --title; publish"
    ):
        where_in(older, Filters(title="report"))
    with pytest.raises(QvsearchError, match="not have the countries of files by me yet; publish"):
        where_in(older, Filters(place=place_table().meant("Austria")))
    assert where_in(older, Filters(place=PLACES_ASKED[0]))
    Table(read_address(str(place)), create=About(FINGERPRINT))
    newer = reopened(place, PLACES)
    assert newer.table.count(where_in(newer, Filters(title="report"))) == 0
    assert newer.table.count() == 9
    again = published_rows(place, FINGERPRINT, [(drawn(rng, 10), rows[0][1], NOT_COMPARED)], NAMES)
    assert again.count() == 10
