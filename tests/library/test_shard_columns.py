"""What search needs of rows lies in a file of its own: it is what the sidecar says, or refused."""

import os
import shutil
import time
from dataclasses import replace

import numpy as np
import orjson
import pytest
from support import hostile_libraries
from support.readers import make_older, nearest_rows

from qvsearch.errors import QvsearchError
from qvsearch.formats import pack_arrays, unpack_arrays
from qvsearch.library import shard_columns
from qvsearch.library import shards as segments
from qvsearch.library.filtering import hidden_by, passing_rows
from qvsearch.library.filters import Filters, parse_filters
from qvsearch.library.library import Library
from qvsearch.library.repair import check, repair
from qvsearch.library.shards import column_types
from qvsearch.types import Detail, Fingerprint, Item, Kind, Metadata, Segment, Stored
from qvsearch.vectors.encoding import Form

DIM = 16
ROWS = 40
FINGERPRINT = Fingerprint("some/model", "abc123", DIM, Detail.LOW, "Represent.", 1, 1)
ASKED = {
    "kinds": [Kind.VIDEO],
    "under": [b"/photos/\xff"],
    "globs": ["*1?.jpg"],
    "after": "2001-05",
    "camera": "eos",
    "near": "10,20,500",
    "min_size": "800x600",
    "duration": "5s-15s",
    "orientation": "portrait",
    "suffixes": ["mp4"],
    "title": "REPORT 3",
    "author": "curie",
    "keywords": ["sea", "SALT"],
    "rating": "4",
    "page": "3-8",
    "language": "de",
    "place": "Chad",
}
LATER = {"title", "author", "keywords", "rating", "page", "language"}  # what older files lack


def unit(rows, seed):
    vectors = np.random.default_rng(seed).standard_normal((rows, DIM), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def row(number):
    """A photo, or a second of the film of that ten."""
    metadata = Metadata(
        taken=(None, "no date", f"2001-0{number % 9 + 1}-15T12:00:00")[number % 3],
        camera=(None, "Canon EOS 5D", "Straße", "\udcff")[number % 4],
        latitude=float(number) if number % 5 else None,
        longitude=20.0,
        duration=float(number // 10 * 10) if number % 2 else None,
        title=f"Report {number // 10}" if number % 3 else None,
        author="Marie Curie" if number % 3 == 1 else None,
        keywords=(None, ("Sea",), ("salt", "Sea"))[number % 3],
        rating=number % 6 if number % 3 else None,
        language=(None, "de", "en")[number % 3],
    )
    if number % 2:
        item = Item(b"/photos", b"film %d.mp4" % (number // 10), Kind.VIDEO, 5, 10**18)
        place = {"page": number % 10}  # not of a film, but a number like any
        return Segment(item, "h", float(number), number + 1.0, metadata=metadata, **place)
    root = b"/photos/\xff" if number % 4 else b"/photos"
    item = Item(root, b"a\n/%d.jpg" % number, Kind.IMAGE, number, number * 10**17)
    return Segment(item, f"h{number}", width=40 * number, height=800, metadata=metadata)


pytestmark = pytest.mark.usefixtures("disk")


def filled(folder):
    """Rows in two files, some of each dead, with backgrounds."""
    made = Library.create(folder, FINGERPRINT)
    made.add_root(b"/photos")
    made.add_root(b"/photos/\xff")
    made.set_baseline(unit(3, 5))
    vectors = unit(ROWS, 1)
    for start in (0, ROWS // 2):
        rows = [row(number) for number in range(start, start + ROWS // 2)]
        made.add(rows, vectors[start : start + ROWS // 2])
        made.commit()
    made.remove([3, 25])
    made.commit()
    return made


@pytest.fixture
def library(tmp_path):
    return filled(tmp_path / "library")


LIVE = {number: row(number) for number in range(ROWS) if number not in (3, 25)}


def said(segment):
    """A row as JSON can hold it."""
    camera = segment.metadata.camera
    camera = camera and camera.encode(errors="replace").decode()
    return replace(segment, metadata=replace(segment.metadata, camera=camera))


def masks(library):
    """Which rows each filter passes, and which live in one item."""
    columns = library.columns
    asked = [parse_filters(), *(parse_filters(**{name: value}) for name, value in ASKED.items())]
    asked.append(parse_filters(before="2001-07", **ASKED))
    return [passing_rows(columns, each).tolist() for each in asked], columns.items.tolist()


def facts_file(library, number=2):  # 1 is the bank
    return library.folder / "segments" / f"{number:06d}.facts"


def test_rows_are_read_one_by_one_or_at_once_as_they_were_written(library):
    one_by_one = Library.open(library.folder).segments
    assert {number: one_by_one[number] for number in reversed(one_by_one)} == {
        number: said(segment) for number, segment in LIVE.items()
    }
    at_once = Library.open(library.folder).segments
    assert list(at_once.items()) == [(number, said(each)) for number, each in LIVE.items()]
    assert list(at_once.values()) == list(one_by_one.values())
    assert list(at_once) == list(LIVE)
    assert len(at_once) == len(LIVE)
    for gone in (3, 25, ROWS, -1, "0"):
        assert gone not in at_once
        with pytest.raises(KeyError):
            Library.open(library.folder).segments[gone]


def test_columns_are_what_the_segments_say(library):
    again = Library.open(library.folder)
    assert masks(again) == masks(library)
    np.testing.assert_array_equal(again.backgrounds, library.backgrounds)
    np.testing.assert_array_equal(again.kinds, library.kinds)
    passing, items = masks(again)
    for name, mask in zip(["none", *ASKED], passing[:-1], strict=True):
        asked = parse_filters(**({} if name == "none" else {name: ASKED[name]}))
        expected = [n in LIVE and not hidden_by(LIVE[n], asked) for n in range(ROWS)]
        assert mask == expected, name
        assert 0 < sum(mask) <= len(LIVE)
    same = {(items[a] == items[b]) == (LIVE[a].item == LIVE[b].item) for a in LIVE for b in LIVE}
    assert same == {True}


def test_no_line_is_read_that_is_not_asked_for(library, monkeypatch):
    monkeypatch.setattr(segments, "VERIFY_LINES", 0)
    path = library.folder / "segments" / "000002.jsonl"
    data = path.read_bytes()
    place = data.index(b'"10.jpg"'[1:-1])
    path.write_bytes(data[:place] + b"99.jpg" + data[place + 6 :])
    again = Library.open(library.folder)
    assert masks(again) == masks(library)
    found = nearest_rows(again, unit(1, 9)[0], ROWS)
    assert len(found) == len(LIVE)
    assert [again.segments[n] for n in LIVE if n != 10] == [
        said(each) for n, each in LIVE.items() if n != 10
    ]
    for wrong in (lambda: again.segments[10], again.by_location):
        with pytest.raises(
            QvsearchError, match=r"000002\.jsonl is damaged.*check --repair -l /.*library`"
        ):
            wrong()
    assert [each.file for each in check(library.folder)] == ["segments/000002.jsonl"]
    repair(library.folder)  # drops the films beside it as well, because they may have lost a row
    kept = Library.open(library.folder).segments
    assert 10 not in {segment.item.size for segment in kept.values() if segment.start is None}


def test_a_vector_that_is_not_its_lines_is_noticed_when_it_becomes_a_hit(library, monkeypatch):
    monkeypatch.setattr(segments, "VERIFY_AT_OPEN", 0)
    path = library.folder / "segments" / "000002.faiss"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    opened = Library.open(library.folder)
    assert opened.segments[18] == said(LIVE[18])
    with pytest.raises(QvsearchError, match="line 20 and its vector do not match"):
        opened.segments[19]


def test_damaged_vectors_are_refused_whether_their_facts_are_sound_or_not(library):
    for path in (library.folder / "segments" / "000002.faiss", facts_file(library, 2)):
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        with pytest.raises(QvsearchError, match=r"000002\.fa(iss|cts) is damaged: its sha256 is"):
            Library.open(library.folder)


@pytest.mark.parametrize("way", ["gone", "empty", "cut", "flip", "other"])
def test_damaged_facts_are_refused_and_made_anew_without_loss(library, way):
    before = masks(library)
    path = facts_file(library, 3)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    match way:
        case "gone":
            path.unlink()
        case "other":
            path.write_bytes(facts_file(library, 2).read_bytes())
        case _:
            path.write_bytes({"empty": b"", "cut": bytes(data[:-64]), "flip": bytes(data)}[way])
    with pytest.raises(QvsearchError, match=r"000003\.facts is damaged.*check --repair"):
        Library.open(library.folder)
    assert [each.file for each in check(library.folder)] == ["segments/000003.facts"]
    found = repair(library.folder)
    assert (found.kept, found.lost) == (len(LIVE), 0)
    assert check(library.folder) == []
    assert masks(Library.open(library.folder)) == before
    assert dict(Library.open(library.folder).segments) == {n: said(s) for n, s in LIVE.items()}


def test_a_library_of_an_older_version_is_searched_and_gets_facts_with_the_next_commit(library):
    make_older(library.folder)
    assert not facts_file(library).exists()
    again = Library.open(library.folder)
    assert masks(again) == masks(library)
    again.remove([0])
    again.commit()
    assert facts_file(library).exists()
    newest = Library.open(library.folder)
    assert masks(newest) == masks(again)
    np.testing.assert_array_equal(newest.backgrounds, again.backgrounds)
    assert dict(newest.segments) == {n: said(each) for n, each in LIVE.items() if n != 0}
    assert check(library.folder) == []


def test_files_of_columns_that_an_older_version_wrote_have_no_values_until_a_merge(library):
    """Its rows had none: what the lines here say of titles stays unseen until all is rewritten."""
    before, _ = masks(library)
    for number in (2, 3):
        path = facts_file(library, number)
        arrays = dict(unpack_arrays(path.read_bytes(), column_types(Form(DIM, Stored.FLOAT16))))
        shorter = {name: each for name, each in arrays.items() if name not in shard_columns.LATER}
        hostile_libraries.put(path.name, b"".join(map(bytes, pack_arrays(shorter))))(library.folder)
    size = facts_file(library, 2).stat().st_size
    opened = Library.open(library.folder)
    assert facts_file(library, 2).stat().st_size == size
    assert check(library.folder) == []
    for name, mask, whole in zip(["none", *ASKED], masks(opened)[0], before, strict=False):
        assert mask == ([False] * ROWS if name in LATER else whole), name
    opened.remove([each for each in LIVE if each % 10 != 4 and each < 20])
    opened.commit()  # most of the first file is gone, so that it is written anew
    asked = parse_filters(title="report 1")
    again = Library.open(library.folder)
    found = np.flatnonzero(passing_rows(again.columns, asked)).tolist()
    assert [again.segments[row].item.size for row in found] == [14]


def test_a_removed_root_leaves_the_others_of_its_file_readable(tmp_path):
    made = Library.create(tmp_path / "library", FINGERPRINT)
    for root in (b"/a", b"/b"):
        made.add_root(root)
    rows = [
        replace(row(0), item=replace(row(0).item, root=b"/a", path=b"%d" % n)) for n in range(9)
    ]
    rows[4] = replace(rows[4], item=replace(rows[4].item, root=b"/b"))
    made.add(rows, unit(9, 1))
    made.commit()
    made.remove_roots([b"/b"])
    made.commit()
    again = Library.open(made.folder)
    assert list(again.segments.values()) == rows[:4] + rows[5:]
    assert check(made.folder) == []
    facts_file(made, 1).unlink()
    assert repair(made.folder).lost == 0
    assert list(Library.open(made.folder).segments.values()) == rows[:4] + rows[5:]


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone cannot be changed here")
def test_times_are_those_of_the_zone_in_which_one_searches(library, monkeypatch):
    bounds = [int(segment.item.mtime_ns) for segment in LIVE.values()]
    bounds += [parse_filters(after=f"2001-0{n}-15T12:00:00Z").after for n in range(1, 10)]
    for zone in ("Pacific/Kiritimati", "America/Los_Angeles", "UTC"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        columns = Library.open(library.folder).columns
        for bound in bounds:
            asked = Filters(after=bound)
            expected = [n in LIVE and not hidden_by(LIVE[n], asked) for n in range(ROWS)]
            assert passing_rows(columns, asked).tolist() == expected, (zone, bound)
    monkeypatch.undo()
    time.tzset()


TYPES = {"one": np.dtype("<i4"), "two": np.dtype("<f8")}


def test_arrays_come_back_and_what_is_no_such_file_is_refused():
    arrays = {"one": np.arange(7, dtype="<i4"), "two": np.full((2, 0, 3), 1.5)}
    data = b"".join(pack_arrays(arrays))
    for name, found in unpack_arrays(data, TYPES).items():
        np.testing.assert_array_equal(found, arrays[name])
        assert found.dtype == TYPES[name]
    for wrong in (b"", data[:20], data[:-1], data + bytes(64), b"x" + data[1:]):
        with pytest.raises(ValueError):  # noqa: PT011
            unpack_arrays(wrong, TYPES)
    with pytest.raises(ValueError, match="other arrays"):
        unpack_arrays(data, {"one": TYPES["one"]})
    for shape in ([-1], "7", [10**30], [1.5], None):
        header = orjson.dumps({"one": shape, "two": [0]}, option=0) if shape != [10**30] else None
        header = header or b'{"one":[%d],"two":[0]}' % 10**30
        start = data[:8] + len(header).to_bytes(8, "little") + header
        with pytest.raises(ValueError):  # noqa: PT011
            unpack_arrays(start + bytes(256), TYPES)


def test_a_copy_of_a_library_elsewhere_is_the_same(library, tmp_path):
    copy = shutil.copytree(library.folder, tmp_path / os.fsdecode(b"c\xc3\xb6py"))
    assert masks(Library.open(copy)) == masks(library)


def test_a_lost_sidecar_is_one_problem_and_numpys_numbers_are_row_numbers(library):
    row = next(iter(library.segments))
    assert np.int64(row) in library.segments
    assert library.segments[np.int64(row)] is library.segments[row]
    assert np.int64(10**6) not in library.segments
    (library.folder / "segments" / "000002.jsonl").unlink()
    assert [each.file for each in check(library.folder)] == ["segments/000002.jsonl"]
