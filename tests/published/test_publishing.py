import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.rows import FINGERPRINT, photo, photos
from support.shared_table import (
    add,
    in_library,
    in_table,
    new_library,
    passages,
    place,  # noqa: F401 - a fixture
    remove_files,
    rows_of,
    send,
    torn_files,
    units,
)

from qvsearch.errors import LibraryLocked, QvsearchError
from qvsearch.library.library import Library
from qvsearch.library.lock import PublisherLock
from qvsearch.published import publishing, upkeep
from qvsearch.published.address import is_address, read_address, storage_options
from qvsearch.published.differences import RowMarks, differences
from qvsearch.published.engine import OWNERS, VECTOR, Shape, Table
from qvsearch.published.library import PublishedLibrary
from qvsearch.published.publishers import Ledger, Upkeep, list_publishers
from qvsearch.published.publishing import published_name, unpublish
from qvsearch.published.reasons import reason_of
from qvsearch.published.schema import About, Row, arrow_rows, path_column, published
from qvsearch.published.sql import quoted
from qvsearch.types import Item, Kind, Metadata, Segment, Stored


def test_a_table_has_the_rows_of_a_library(tmp_path, place):
    odd = Segment(
        Item(b"/photos", b"\xff'\n.jpg", Kind.IMAGE, 7, -5, 3, 2**64 - 1),
        "odd",
        width=3,
        height=4,
        dhash=2**64 - 1,
        metadata=Metadata("2020-05-06T07:08:09", "Canon", -90.0, 180.0, page=True),
    )
    library = new_library(tmp_path / "library", [*photos(0, 20), *passages(1, 3), odd])
    outcome = send(library, place)
    assert (outcome.files, outcome.added, outcome.rows) == (22, 22, 24)
    assert in_table(place) == in_library(library)
    table = Table(place)
    assert {each.segment.item.root for each in rows_of(table).values()} == {b"anna/photos"}
    assert table.about.fingerprint == FINGERPRINT
    np.testing.assert_array_equal(table.about.baseline, library.baseline)
    (publisher,) = list_publishers(table)
    assert (publisher.files, publisher.rows, publisher.roots) == (22, 24, {"anna/photos": 22})


def test_vectors_of_an_int8_library_are_decoded(tmp_path, place):
    library = new_library(tmp_path / "library", photos(0, 9), store=Stored.INT8)
    send(library, place)
    rows = rows_of(Table(place)).values()
    decoded = {each.content_hash: row for row, each in library.segments.items()}
    for each in rows:
        own = library.vectors([decoded[each.segment.content_hash]])[0]
        np.testing.assert_allclose(each.vector, own, atol=5e-4)


def test_the_nearest_rows_have_their_exact_cosines(tmp_path, place):
    library = new_library(tmp_path / "library", photos(0, 50))
    send(library, place)
    query = units(1, 5)[0]
    found = Table(place).nearest(query, 5, "kind = 0")
    cosines = library.vectors(range(50)) @ query
    np.testing.assert_allclose(found.cosines, sorted(cosines, reverse=True)[:5], atol=1e-3)


def test_a_run_sends_what_changed(tmp_path, place):
    library = new_library(tmp_path / "library", [*photos(0, 10), *passages(1, 5), *passages(2, 2)])
    send(library, place)
    remove_files(library, {b"0/photo 0.jpg", b"notes/1.txt", b"notes/2.txt"})
    add(library, [*photos(10, 12), *passages(1, 3), *passages(2, 4)], seed=1)
    outcome = send(library, place)
    assert (outcome.added, outcome.changed, outcome.unchanged, outcome.removed) == (2, 2, 9, 1)
    assert outcome.rows == 2 + 3 + 4
    assert in_table(place) == in_library(library)


def test_the_same_library_again_commits_nothing(tmp_path, place):
    library = new_library(tmp_path / "library", photos(0, 10))
    send(library, place)
    version = Table(place).version
    outcome = send(library, place)
    assert (outcome.unchanged, outcome.rows) == (10, 0)
    assert Table(place).version == version


def test_without_its_cache_a_run_reads_the_table(tmp_path, place, monkeypatch):
    library = new_library(tmp_path / "library", photos(0, 10))
    send(library, place)
    add(library, photos(10, 11))
    monkeypatch.setattr(publishing, "read_marks", lambda token: None)
    outcome = send(library, place)
    assert (outcome.added, outcome.unchanged, outcome.rows) == (1, 10, 1)


def test_rewritten_shards_are_not_sent_again(tmp_path, place):
    library = new_library(tmp_path / "library", photos(0, 4))
    send(library, place)
    for number in range(4, 14):  # small shards are merged
        add(library, [photo(number)])
    outcome = send(library, place)
    assert (outcome.added, outcome.unchanged) == (10, 4)
    assert in_table(place) == in_library(library)


def test_no_version_of_a_table_has_a_part_of_a_file(tmp_path, place, monkeypatch):
    monkeypatch.setattr(publishing, "ROWS_AT_ONCE", 4)
    library = new_library(tmp_path / "library", [*passages(1, 5), *passages(2, 3)])
    send(library, place)
    remove_files(library, {b"notes/1.txt", b"notes/2.txt"})
    add(library, [*passages(1, 2), *passages(2, 6), *passages(3, 4)], seed=1)
    send(library, place)
    table = Table(place)
    versions = [each["version"] for each in table._rows.list_versions()]
    assert len(versions) > 5
    for version in versions:
        table._rows.checkout(version)
        assert torn_files(table) == []


def test_a_moved_file_is_never_missing(tmp_path, place):
    library = new_library(tmp_path / "library", photos(0, 6))
    send(library, place)
    moved = replace(photo(3), item=replace(photo(3).item, path=b"elsewhere.jpg"))
    remove_files(library, {photo(3).item.path})
    add(library, [moved])
    send(library, place)
    table = Table(place)
    versions = [each["version"] for each in table._rows.list_versions()]
    has = []
    for version in versions:
        table._rows.checkout(version)
        has.append(table.count("content_hash = 'hash3'") > 0)
    assert not any(before and not after for before, after in pairwise(has))


def test_a_moved_root_keeps_its_rows(tmp_path, place):
    from qvsearch.library.moving import move_roots

    there = tmp_path / "elsewhere"
    there.mkdir()
    library = new_library(tmp_path / "library", photos(0, 10))
    send(library, place)
    move_roots(library.folder, {b"/photos": str(there).encode()})
    outcome = send(library, place)
    assert (outcome.unchanged, outcome.rows, outcome.removed) == (10, 0, 0)


def test_roots_of_one_name_are_kept_apart(tmp_path, place):
    library = new_library(tmp_path / "library", photos(0, 4), root=b"/photos")
    library.add_root(b"/media/photos")
    add(library, [photo(0, b"/media/photos")])
    send(library, place)
    assert list_publishers(Table(place))[0].roots == {"anna/photos": 4, "anna/photos-2": 1}


def test_publishers_are_kept_apart(tmp_path, place):
    first = new_library(tmp_path / "first", photos(0, 5))
    second = new_library(tmp_path / "second", photos(0, 7))
    send(first, place, "anna")
    send(second, place, "ben")
    assert in_table(place, "publisher = 'anna'") == in_library(first)
    assert in_table(place, "publisher = 'ben'") == in_library(second)
    outcome = unpublish(place, "anna")
    assert (outcome.rows, outcome.removed) == (5, 5)
    assert in_table(place) == in_library(second)
    assert [each.name for each in list_publishers(Table(place))] == ["ben"]


def test_a_name_belongs_to_one_library(tmp_path, place):
    first = new_library(tmp_path / "first", photos(0, 5))
    second = new_library(tmp_path / "second", photos(0, 7))
    send(first, place, "anna")
    with pytest.raises(QvsearchError, match="another library is published as anna"):
        send(second, place, "anna")
    assert Table(place).count() == 5


def test_of_two_claims_at_once_the_first_commit_holds(tmp_path, place):
    table = Table(place, create=About(FINGERPRINT))
    Ledger(table).claim("anna", "first")
    late = Ledger(Table(place))
    # both looked before either committed
    owners, looks = late._owner_of, iter([None])
    late._owner_of = lambda name: next(looks, owners(name))
    with pytest.raises(QvsearchError, match="another library"):
        late.claim("anna", "second")
    Ledger(Table(place)).claim("anna", "first")


def test_another_name_for_the_same_table_is_refused(tmp_path, place):
    library = new_library(tmp_path / "library", photos(0, 5))
    send(library, place, "anna")
    with pytest.raises(QvsearchError, match="is published to .* as anna; remove its rows first"):
        send(library, place, "ben")
    assert send(library, place, None).name == "anna"


def test_a_copy_that_publishes_meanwhile_is_noticed(tmp_path, place, monkeypatch):
    monkeypatch.setattr(publishing, "ROWS_AT_ONCE", 4)
    library = new_library(tmp_path / "library", photos(0, 12))
    send(library, place)
    add(library, photos(12, 24))
    copied = Library.open(shutil.copytree(library.folder, tmp_path / "copy"))
    copies = []

    def meanwhile(_progress):
        if not copies:
            copies.append(send(copied, place))

    with pytest.raises(QvsearchError, match="a copy of this library is being published as anna"):
        send(library, place, report=meanwhile)
    send(library, place)
    assert in_table(place) == in_library(library)


def test_rows_that_are_there_twice_are_healed(tmp_path, place, monkeypatch):
    library = new_library(tmp_path / "library", [*photos(0, 5), *passages(1, 3)])
    send(library, place)
    table = Table(place)
    table._rows.add(table._rows.to_arrow().slice(2, 4))
    add(library, photos(5, 6))
    monkeypatch.setattr(publishing, "read_marks", lambda token: None)
    send(library, place)
    assert in_table(place) == in_library(library)


def test_rows_that_another_program_deleted_are_sent_again(tmp_path, place):
    library = new_library(tmp_path / "library", [*photos(0, 5), *passages(1, 3)])
    send(library, place)
    Table(place).delete("kind = 2 OR ordinal = 1")
    send(library, place)  # although nothing changed here, and the cache has all
    assert in_table(place) == in_library(library)


def test_an_interrupted_run_goes_on(tmp_path, place, monkeypatch):
    monkeypatch.setattr(publishing, "ROWS_AT_ONCE", 4)
    library = new_library(tmp_path / "library", photos(0, 20))
    commits = []
    first = send(library, place, report=commits.append, stop=lambda: len(commits) == 2)
    assert (first.interrupted, first.added, first.left) == (True, 8, 12)
    assert first.files == first.added + first.changed + first.unchanged + first.left
    assert PublishedLibrary.at(Path(place.uri)).names == ["anna/photos"]
    second = send(library, place)
    assert (second.interrupted, second.added, second.unchanged) == (False, 12, 8)
    assert in_table(place) == in_library(library)


def test_one_process_publishes_a_library(tmp_path, place):
    library = new_library(tmp_path / "library", photos(0, 5))
    with (
        PublisherLock(library.folder).held(),
        pytest.raises(LibraryLocked, match="is being published by process"),
    ):
        send(library, place)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (dict(model="other/model"), "the model of the library is other/model"),
        (dict(revision="2"), "the revision of the library is 2"),
        (dict(dim=32), "the dim of the library is 32"),
        (dict(preprocessing=2), "by another version of qvsearch"),
    ],
)
def test_other_vectors_are_refused(tmp_path, place, change, part):
    send(new_library(tmp_path / "first", photos(0, 5)), place)
    other = replace(FINGERPRINT, **change)
    with pytest.raises(QvsearchError, match=part):
        send(new_library(tmp_path / "other", fingerprint=other), place, "ben")
    assert [each.name for each in list_publishers(Table(place))] == ["anna"]


def test_another_baseline_is_replaced_by_that_of_the_table(tmp_path, place):
    send(new_library(tmp_path / "first", photos(0, 3)), place)
    other = new_library(tmp_path / "other", photos(0, 5))
    other.set_baseline(units(6, 1))
    other.commit()
    send(other, place, "ben")
    baseline = Table(place).about.baseline
    for each in rows_of(Table(place), "publisher = 'ben'").values():
        scores = each.vector @ baseline.T
        np.testing.assert_allclose(each.background, (scores.mean(), scores.std()), atol=1e-3)


def test_a_table_of_a_newer_format_is_refused(tmp_path, place):
    newer = About(FINGERPRINT, format=2)
    for create in (newer, None):  # made, and then opened
        with pytest.raises(QvsearchError, match="has format 2, but this qvsearch reads up to 1"):
            Table(place, create=create)


def test_what_is_no_table_of_ours_is_refused(tmp_path, place):
    import lancedb
    import pyarrow as pa

    lancedb.connect(str(place)).create_table("rows", pa.table({"row": ["a"]}))
    with pytest.raises(QvsearchError, match="is not a table that qvsearch published"):
        Table(place)


def test_a_half_written_table_is_an_error_of_one_line(tmp_path, place):
    send(new_library(tmp_path / "library", photos(0, 5)), place)
    for each in (tmp_path / "shared.lance" / "rows.lance" / "_versions").iterdir():
        each.write_bytes(each.read_bytes()[: each.stat().st_size // 2])
    with pytest.raises(QvsearchError, match=r"^cannot open .* is missing or damaged; [^\n]+$"):
        Table(place)


def test_places_that_cannot_hold_a_table_are_refused(tmp_path):
    library = new_library(tmp_path / "library", photos(0, 5))
    (tmp_path / "file.lance").write_text("")
    with pytest.raises(QvsearchError, match="is a file, and a table is a folder"):
        send(library, read_address(str(tmp_path / "file.lance")))
    with pytest.raises(QvsearchError, match="is not there; mount it"):
        send(library, read_address(str(tmp_path / "unmounted" / "x.lance")))
    with pytest.raises(QvsearchError, match="there is no table at"):
        Table(read_address(str(tmp_path / "none.lance")))


@pytest.mark.parametrize(
    "text", ["", ".lance", "name", "s3://", "s3://b", "s3://B_/x", "gs://bucket/x", "/a\0.lance"]
)
def test_other_texts_are_no_addresses(text):
    with pytest.raises(QvsearchError, match=r"LANCE|\.lance|s3://BUCKET/NAME"):
        read_address(text)


def test_addresses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(read_address("x.lance/")) == str(tmp_path / "x.lance")
    assert str(read_address("s3://bucket/a/b/")) == "s3://bucket/a/b"
    assert is_address("s3://bucket/a")
    assert str(read_address("S3://bucket/a")) == "s3://bucket/a"
    assert not is_address("family")


def test_keys_are_not_sent_unencrypted_to_the_internet(monkeypatch):
    place = read_address("s3://bucket/x")
    monkeypatch.delenv("AWS_ALLOW_HTTP", raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://192.168.1.5:9000")
    assert storage_options(place)["allow_http"] == "true"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://s3.example.com")
    with pytest.raises(QvsearchError, match="unencrypted; use https"):
        storage_options(place)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://anna:secret@s3.example.com")
    with pytest.raises(QvsearchError, match=r"endpoint http://s3\.example\.com would"):
        storage_options(place)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://s3.example.com")
    assert storage_options(place)["allow_http"] == "false"


def test_a_path_that_is_not_utf8_has_a_column():
    assert path_column("anna/photos", b"a\xff.jpg") == "a\U0010ffff.jpg"
    assert path_column("anna/photo.jpg", b"") == "photo.jpg"
    assert path_column("anna/photos", "e\u0301".encode()) == "\xe9"


KEY = (st.integers(0, 5), st.integers(0, 3))
VALUE = (st.integers(-2, 2), st.integers(0, 1))
MARKS = st.lists(st.tuples(*KEY, *VALUE), max_size=12)


def marks(rows):
    columns = np.array(rows, np.int64).reshape(-1, 4).T
    return RowMarks(columns[0], columns[1].astype(np.int32), columns[2], columns[3])


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.tuples(*KEY), st.tuples(*VALUE)), MARKS)
def test_differences_are_those_of_sets(library, table):
    here = {(*key, *value) for key, value in library.items()}
    found = differences(marks(sorted(here)), marks(table))
    keys = [row[:2] for row in table]
    doubled = {key[0] for key in keys if keys.count(key) > 1}
    there = {row for row in table if row[0] not in doubled}
    own, others = (
        {item: {r for r in rows if r[0] == item} for item, *_ in rows} for rows in (here, there)
    )
    assert set(found.added) == own.keys() - others.keys()
    assert set(found.removed) == (others.keys() | doubled) - own.keys()
    assert set(found.doubled) == doubled
    both = own.keys() & others.keys()
    changed = {i for i in both if {r[:3] for r in own[i]} != {r[:3] for r in others[i]}}
    assert set(found.changed) == changed
    reworded = {item for item in both - changed if own[item] != others[item]}
    assert set(found.reworded) == reworded
    assert set(found.shrunk) == {item for item in changed if len(others[item]) > len(own[item])}
    assert found.unchanged == len(both) - len(changed) - len(reworded)


def test_indices_are_built_and_refreshed_as_rows_grow(tmp_path, place, monkeypatch):
    monkeypatch.setattr(upkeep, "INDEX_FROM", 300)
    monkeypatch.setattr(upkeep, "LEAST_LOOSE", 100)
    library = new_library(tmp_path / "library", photos(0, 250))
    send(library, place)
    assert VECTOR not in Table(place).shape.indexed
    add(library, photos(250, 400))
    send(library, place)
    shape = Table(place).shape
    assert VECTOR in shape.indexed
    assert shape.loose == 0
    add(library, photos(400, 440))
    send(library, place)
    assert Table(place).shape.loose == 40
    query = units(1, 3)[0]
    cosines = library.vectors(range(440)) @ query
    exact = Table(place).nearest(query, 3, exact=True)
    assert exact.cosines == pytest.approx(sorted(cosines, reverse=True)[:3], abs=1e-3)
    add(library, photos(440, 640))
    send(library, place)
    assert Table(place).shape.loose == 0
    assert in_table(place) == in_library(library)


@pytest.mark.parametrize(
    ("shape", "due"),
    [
        (Shape(10**6, 1, frozenset(), 0), False),
        (Shape(10**6, 64, frozenset(), 0), True),
        (Shape(10**6, 1, frozenset(), 20_000), False),
        (Shape(10**6, 1, frozenset(), 20_001), True),
        (Shape(2000, 1, frozenset(), 1000), False),
        (Shape(20_000, 1, frozenset(), 2001), True),
    ],
)
def test_compaction_waits_until_it_pays(shape, due):
    assert upkeep.is_due(shape) is due


def test_upkeep_beside_publishers_loses_nothing(tmp_path, place, monkeypatch):
    monkeypatch.setattr(publishing, "ROWS_AT_ONCE", 50)
    first = new_library(tmp_path / "first", [*photos(0, 300), *passages(1, 5)])
    second = new_library(tmp_path / "second", photos(0, 300))
    send(first, place)
    remove_files(first, {each.item.path for each in photos(0, 120)} | {b"notes/1.txt"})
    add(first, [*photos(0, 120), *passages(1, 3)], seed=1)

    def upkeep_of(table):
        for _ in range(3):
            table.refresh()
            table.compact(upkeep.KEPT)
            table.index("row")

    with ThreadPoolExecutor(4) as pool:
        work = [pool.submit(upkeep_of, Table(place)) for _ in range(2)]
        work += [pool.submit(send, first, place), pool.submit(send, second, place, "ben")]
        for each in work:
            each.result()
    assert in_table(place, "publisher = 'anna'") == in_library(first)
    assert in_table(place, "publisher = 'ben'") == in_library(second)


def test_old_versions_go_once_no_query_reads_them(tmp_path, place, monkeypatch):
    library = new_library(tmp_path / "library", photos(0, 50))
    send(library, place)
    ledger = Ledger(table := Table(place))
    ledger.write_upkeep(Upkeep(0, 1))  # compacted in 1970
    monkeypatch.setattr(upkeep, "KEPT", upkeep.KEPT * 0)
    with pytest.warns(UserWarning, match="cleanup_older_than=0"):
        send(library, place)
    assert len(Table(place)._rows.list_versions()) == 1
    assert ledger.upkeep() == Upkeep(0, 0)
    assert in_table(place) == in_library(library)
    assert table.side(OWNERS, None).scan(["name"]).num_rows == 1


def test_a_compaction_of_the_future_deletes_nothing(tmp_path, place):
    library = new_library(tmp_path / "library", photos(0, 50))
    send(library, place)
    Ledger(Table(place)).write_upkeep(Upkeep(0, 2**40))  # by a clock that is far ahead
    before = len(Table(place)._rows.list_versions())
    send(library, place)
    assert len(Table(place)._rows.list_versions()) == before


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("LanceError(IO): Generic S3 error: Failed to resolve region for bucket 'b'", "AWS_REGION"),
        ("LanceError(IO): Permission denied (os error 13)", "permission denied"),
    ],
)
def test_an_error_of_lancedb_has_its_remedy(text, reason):
    assert reason in reason_of(RuntimeError(text), "s3://b/x")


def test_the_name_of_a_table_is_no_reason():
    text = "lance error: no field x in /mnt/credentials Forbidden/a.lance"
    assert "no field x" in reason_of(RuntimeError(text), "/mnt/credentials Forbidden/a.lance")


def test_quotes_in_names(tmp_path, place):
    library = new_library(tmp_path / "library", [photo(1, b"/o'photos")], root=b"/o'photos")
    send(library, place, "o'neil")
    assert quoted("o'neil") == "'o''neil'"
    assert Table(place).count("publisher = 'o''neil'") == 1
    assert unpublish(place, "o'neil").rows == 1


@pytest.mark.parametrize("name", ["", " a", "a/b", "-x", ".", "a\nb", "x" * 101])
def test_names_that_would_be_misread_are_refused(tmp_path, place, name):
    library = new_library(tmp_path / "library")
    with pytest.raises(QvsearchError, match="cannot be a name"):
        send(library, place, name or " ")
    with pytest.raises(QvsearchError, match="cannot be a name"):
        published_name(library.folder, place, name)
    assert not (tmp_path / "shared.lance").exists()


def test_a_damaged_row_of_a_table_is_an_error(tmp_path, place):
    row = Row("anna", "anna/photos", photo(1), 0, 1, units(1, 0)[0], (0.1, 0.1))
    table = arrow_rows([row], FINGERPRINT.dim)
    column = table.column_names.index("line")
    broken = table.set_column(column, table.schema.field(column), [[b"{}"]])
    with pytest.raises(QvsearchError, match="a row of the table is damaged"):
        published(broken, "the table")


@pytest.mark.parametrize(
    ("root", "path"),
    [
        ("anna/photos", b"../../.ssh/key.txt"),
        ("anna/photos", b"/etc/key.txt"),
        ("anna/../..", b"a.jpg"),
        ("/etc", b"a.jpg"),
    ],
)
def test_a_row_that_leads_out_of_its_root_is_damaged(tmp_path, place, root, path):
    segment = photo(1)
    segment = replace(segment, item=replace(segment.item, path=path))
    row = Row("anna", root, segment, 0, 1, units(1, 0)[0], (0.1, 0.1))
    table = Table(place, create=About(FINGERPRINT))
    table.append(arrow_rows([row], FINGERPRINT.dim))
    with pytest.raises(
        QvsearchError, match=r"a row of .*lance is damaged: .* leads out of the root"
    ):
        list(PublishedLibrary.at(Path(place.uri)).segments.values())
    with pytest.raises(QvsearchError, match="a row of the table is damaged"):
        rows_of(table)
