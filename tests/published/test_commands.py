"""publish, roots -l and roots map as a user calls them."""

import io
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image
from support.commands import records, run  # noqa: F401 - a fixture
from support.shared_table import add, new_library, remove_files

from qvsearch.files import content_hash
from qvsearch.published.address import read_address
from qvsearch.published.engine import Table
from qvsearch.published.mapped_roots import keep_roots, mapped_roots
from qvsearch.published.thumbnails import LARGEST, read_thumbnail
from qvsearch.types import Item, Kind, Segment


def picture(folder, name, colour):
    """A picture on the disk as its segment."""
    path = folder / os.fsdecode(name)
    Image.new("RGB", (90, 60), colour).save(path)
    status = path.stat()
    item = Item(os.fsencode(folder), name, Kind.IMAGE, status.st_size, status.st_mtime_ns)
    return Segment(item, content_hash(item.location, item.size), width=90, height=60)


@pytest.fixture
def drawn(tmp_path):
    """A library of three pictures in tmp_path/Photos."""
    (folder := tmp_path / "Photos").mkdir()
    drawn = {b"a.png": "red", b"b'.png": "blue", b"c.png": "red"}
    segments = [picture(folder, *each) for each in drawn.items()]
    return new_library(tmp_path / "drawn", segments, root=os.fsencode(folder))


@pytest.fixture
def shared(tmp_path):
    return str(tmp_path / "shared.lance")


def test_a_summary_for_a_person(run, drawn, shared):
    code, out, err = run("publish", shared, "-l", drawn.folder, "--as", "anna")
    first, second = out.decode().splitlines()
    assert (code, err) == (0, "")
    assert first == "3 files = new 3 + changed 0 + unchanged 0; removed 0"
    assert second.startswith(f"published 3 rows to {shared} as anna in ")
    code, out, _ = run("publish", shared, "-l", drawn.folder, "--quiet")
    assert (code, out) == (0, b"")


def test_events_for_a_program(run, drawn, shared):
    code, out, _ = run("publish", shared, "-l", drawn.folder, "--as", "anna", "--json")
    *events, summary = records(out)
    assert code == 0
    assert [(each["state"], each["rows"], each["of"]) for each in events] == [("committed", 3, 3)]
    assert summary["files"] == summary["added"] + summary["changed"] + summary["unchanged"]
    assert (summary["name"], summary["left"], summary["removed"]) == ("anna", 0, 0)


def test_thumbnails_are_those_of_the_pictures(run, drawn, shared, tmp_path):
    code, out, _ = run("publish", shared, "-l", drawn.folder, "--as", "anna", "--thumbnails")
    assert code == 0
    # a.png and c.png have the same content, and so one thumbnail
    assert b"published 3 rows and 2 thumbnails" in out
    table = Table(read_address(shared))
    for segment, colour in ((drawn.segments[0], (254, 0, 0)), (drawn.segments[1], (0, 0, 254))):
        webp = read_thumbnail(table, segment)
        assert len(webp) < LARGEST
        shown = Image.open(io.BytesIO(webp))
        assert (shown.format, shown.size) == ("WEBP", (90, 60))
        assert max(abs(a - b) for a, b in zip(shown.getpixel((45, 30)), colour, strict=True)) < 9
    # one that is gone from the disk is named, and the others are there
    add(drawn, [picture(tmp_path / "Photos", b"d.png", "green"), lost := gone(tmp_path)])
    code, out, _ = run("publish", shared, "-l", drawn.folder, "--thumbnails")
    assert code == 3
    assert b"and 1 thumbnail to" in out
    assert os.fsencode(lost.item.location) in out
    # removed with the last file of its content
    remove_files(drawn, {b"b'.png"})
    run("publish", shared, "-l", drawn.folder, "--as", "anna")
    table = Table(read_address(shared))
    assert read_thumbnail(table, drawn.segments[0]) is not None
    assert read_thumbnail(table, picture(tmp_path / "Photos", b"x.png", "blue")) is None


def gone(tmp_path):
    item = Item(os.fsencode(tmp_path / "Photos"), b"gone.png", Kind.IMAGE, 5, 1)
    return Segment(item, "gone-content", width=5, height=5)


def test_removing_needs_a_yes(run, drawn, shared):
    run("publish", shared, "-l", drawn.folder, "--as", "anna", "--thumbnails")
    code, _, err = run("publish", shared, "-l", drawn.folder, "--remove")
    assert (code, Table(read_address(shared)).count()) == (2, 3)
    assert "only with --yes" in err
    code, out, _ = run("publish", shared, "-l", drawn.folder, "--remove", "--yes")
    assert (code, Table(read_address(shared)).count()) == (0, 0)
    assert b"removed 3 rows of anna" in out
    assert read_thumbnail(Table(read_address(shared)), drawn.segments[0]) is None
    code, _, err = run("publish", shared, "-l", drawn.folder, "--remove", "--yes", "--as", "ben")
    assert code == 2
    assert "has no publisher ben; there are: none" in err


def test_published_roots_are_known_here_and_mapped_elsewhere(run, drawn, shared, tmp_path):
    run("publish", shared, "-l", drawn.folder, "--as", "anna")
    address = read_address(shared)
    assert mapped_roots(address) == {"anna/Photos": os.fsencode(tmp_path / "Photos")}
    copied = tmp_path / "copy \xe9"
    (tmp_path / "Photos").rename(copied)
    _, out, _ = run("roots", "-l", shared, "--json")
    (root,) = records(out)
    assert (root["name"], root["files"], root["reachable"]) == ("anna/Photos", 3, False)
    assert b"not there" in run("roots", "-l", shared)[1]
    code, out, _ = run("roots", "map", "Photos", copied, "-l", shared)
    assert (code, out.decode()) == (0, f"anna/Photos is {copied} on this computer\n")
    assert mapped_roots(address) == {"anna/Photos": os.fsencode(copied)}
    # a later run does not take the mapping back
    run("publish", shared, "-l", drawn.folder)
    assert mapped_roots(address) == {"anna/Photos": os.fsencode(copied)}


def test_a_root_is_mapped_only_to_its_files(run, drawn, shared, tmp_path):
    run("publish", shared, "-l", drawn.folder, "--as", "anna")
    (other := tmp_path / "other").mkdir()
    for name, folder, reason in (
        ("anna/Photos", other, "has none of 3 files of anna/Photos that were compared, e.g. "),
        ("anna/Photos", tmp_path / "none", "is not there; nothing was changed"),
        ("ben/Photos", tmp_path, "has no root ben/Photos; there are: anna/Photos"),
    ):
        code, _, err = run("roots", "map", name, folder, "-l", shared)
        assert code == 2
        assert reason in err
    (other / "a.png").write_bytes((tmp_path / "Photos/a.png").read_bytes())
    _, out, _ = run("roots", "map", "Photos", other, "-l", shared)
    assert out.decode().splitlines()[1] == "it has only 1 of 3 files that were compared by size"
    code, _, err = run("roots", "map", "Photos", other, "-l", drawn.folder)
    assert code == 2
    assert "roots map is for shared tables" in err


def test_a_mapping_is_taken_back(run, drawn, shared):
    run("publish", shared, "-l", drawn.folder, "--as", "anna")
    code, out, _ = run("roots", "unmap", "Photos", "-l", shared)
    assert (code, out.decode()) == (0, "anna/Photos has no folder on this computer now\n")
    assert mapped_roots(read_address(shared)) == {}
    assert b"not mapped" in run("roots", "-l", shared)[1]
    code, _, err = run("roots", "unmap", "anna/Photos", "-l", shared)
    assert code == 2
    assert "no root anna/Photos of" in err
    assert "mapped are: none" in err


def test_roots_are_mapped_side_by_side(shared):
    place = read_address(shared)

    def map_some(name):
        for number in range(20):
            keep_roots(place, {f"{name}/{number}": b"/x"})

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(map_some, ("a", "b", "c")))
    assert len(mapped_roots(place)) == 60


def test_an_empty_name_is_not_the_default(run, drawn, shared):
    for more in ((), ("--remove", "--yes")):
        code, _, err = run("publish", shared, "-l", drawn.folder, "--as", "", *more)
        assert (code, "--as '' cannot be a name" in err) == (2, True)


def test_a_missing_extra_is_named(run, drawn, shared, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "lancedb", None)
    code, _, err = run("publish", shared, "-l", drawn.folder)
    assert code == 2
    assert 'shared tables need LanceDB: pip install "qvsearch[lance]"' in err
