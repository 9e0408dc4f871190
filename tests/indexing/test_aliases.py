"""A folder under two names is one: it is indexed once, and found by either."""

import json
import os
import shutil

import pytest
from support.cheap_model import DecodersHere, instead
from support.indexer import FINGERPRINT, Bench, note, notes

from qvsearch.cli.app import main
from qvsearch.errors import QvsearchError
from qvsearch.files import is_below
from qvsearch.indexing import pipeline as ingest
from qvsearch.indexing.changes import resolve
from qvsearch.indexing.forget import forget
from qvsearch.indexing.status import library_status
from qvsearch.library.aliases import aliases
from qvsearch.library.filtering import hidden_by, passing_rows
from qvsearch.library.filters import Filters
from qvsearch.library.library import Library
from qvsearch.library.rules import ScanOptions
from qvsearch.retrieval.explain import _why_absent
from qvsearch.types import Kind


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """A library of a folder that is indexed by a link to it."""
    monkeypatch.setattr(ingest, "Decoders", DecodersHere)
    Library.create(tmp_path / "library", FINGERPRINT)
    notes(tmp_path / "photos/2023", 3)
    (tmp_path / "link").symlink_to("photos")
    made = Bench(tmp_path / "library", tmp_path / "link")
    made.index()
    return made


@pytest.fixture
def photos(bench):
    return bench.root.with_name("photos")


def test_a_folder_that_is_a_root_by_another_name_is_that_root(bench, photos):
    before = bench.rows()
    for paths in ([photos], [photos / "2023"], [photos / "2023/000.txt"], [bench.root, photos]):
        summary = bench.index(*paths)
        assert (summary.indexed, summary.unchanged) == (0, 1 if paths[0].suffix else 3)
        assert bench.plan(*paths).reused == 0
    assert bench.rows() == before
    assert bench.open().roots == [os.fsencode(bench.root)]
    (photos / "2023/001.txt").unlink()
    note(photos / "new.txt", "new")
    summary = bench.index(photos)
    assert (summary.embedded, summary.removed) == (1, 1)
    assert bench.names() == {"2023/000.txt", "2023/002.txt", "new.txt"}


def test_two_names_at_once_are_one_root(bench, photos):
    both = [os.fsencode(path) for path in (photos, bench.root)]
    (target,) = resolve([], both)
    assert target.root == target.path == os.fsencode(bench.root)


def test_a_folder_above_a_root_takes_the_rest_only(bench, photos):
    note(photos.parent / "all/other.txt", "other")
    photos.rename(photos.parent / "all/photos")
    bench.root.unlink()
    bench.root.symlink_to("all/photos")
    before = bench.rows()
    summary = bench.index(photos.parent / "all")
    assert (summary.embedded, summary.reused, summary.unchanged) == (1, 0, 3)
    assert bench.plan(photos.parent / "all").unchanged == 4
    after = bench.rows()
    assert after.keys() - before.keys() == {os.fsencode(photos.parent / "all/other.txt")}
    (photos.parent / "all/photos/2023/000.txt").unlink()
    assert bench.index(bench.root).removed == 1


def test_the_rules_of_a_root_hold_from_above_it_and_its_files_count_once(bench, photos):
    photos.parent.joinpath("all").mkdir()
    photos.rename(photos.parent / "all/photos")
    bench.root.unlink()
    bench.root.symlink_to("all/photos")
    draft = note(bench.root / "drafts/a.txt", "draft")
    note(bench.root / "paper.doc", "of a kind that is not taken")
    bench.index(scan=ScanOptions(exclude=("drafts/",)))
    note(photos.parent / "all/b.txt", "beside it")
    summary = bench.index(photos.parent / "all")
    assert (summary.indexed, summary.unchanged, summary.left_aside) == (1, 3, {".doc": 1})
    assert library_status(bench.open()).left_aside == {".doc": 1}
    for path in (draft, photos.parent / "all/photos/drafts/a.txt"):
        assert "--exclude" in _why_absent(bench.open(), os.fsencode(path))


def test_the_rules_of_a_root_hold_from_a_root_around_it(bench, photos):
    home = photos.parent / "home"
    for name in ("a/drafts/x.txt", "a/y.txt", "a/deep/z.txt", "a/deep/w.txt", "drafts/v.txt"):
        note(home / name, f"words of {name}")
    note(home / "a/paper.doc", "of a kind that is not taken")
    bench.index(home / "a/deep", scan=ScanOptions(exclude=("w.*",)))
    bench.index(home / "a", scan=ScanOptions(exclude=("drafts/",)))
    note(home / "a/new.txt", "new")
    assert bench.plan(home).to_index == {Kind.TEXT: 2}
    summary = bench.index(home)
    assert (summary.embedded, summary.unchanged, summary.left_aside) == (2, 2, {".doc": 1})
    found = {each.item.location: each.item.root for each in bench.open().segments.values()}
    held = {"a/y.txt": "a", "a/new.txt": "a", "a/deep/z.txt": "a/deep", "drafts/v.txt": ""}
    expected = {os.fsencode(home / name): os.fsencode(home / root) for name, root in held.items()}
    assert {
        place: found[place] for place in found if is_below(place, os.fsencode(home))
    } == expected
    assert "--exclude" in _why_absent(bench.open(), os.fsencode(home / "a/drafts/x.txt"))
    assert library_status(bench.open()).left_aside == {".doc": 1}


def test_a_file_that_is_a_root_stays_one_from_the_folder_around_it(bench, photos):
    path = note(photos.parent / "home/a.txt", "words")
    bench.index(path)
    path.write_text("other words")
    assert bench.index(path.parent).embedded == 1
    (found,) = [each.item for each in bench.open().segments.values() if b"home" in each.item.root]
    assert (found.root, found.path, found.location) == (os.fsencode(path), b"", os.fsencode(path))


def test_a_root_whose_link_is_gone_leaves_the_folder_free(bench, photos):
    bench.root.unlink()
    summary = bench.index(photos)
    assert (summary.reused, summary.removed) == (3, 0)
    assert set(bench.open().roots) == {os.fsencode(bench.root), os.fsencode(photos)}


def test_files_are_found_by_either_name(bench, photos):
    library = bench.open()
    for folder in (photos, bench.root):
        under = (os.fsencode(folder / "2023"),)
        assert passing_rows(library.columns, Filters(under=under)).sum() == 3
        assert all(not hidden_by(each, Filters(under=under)) for each in library.segments.values())
        names = aliases(os.fsencode(folder / "2023/000.txt"), library.roots)
        assert sum(len(library.by_location().get(name, [])) for name in names) == 1
    other = (os.fsencode(photos.with_name("other")),)
    assert not passing_rows(library.columns, Filters(under=other)).any()


def test_files_are_forgotten_by_either_name(bench, photos):
    assert forget(bench.open(), [os.fsencode(photos / "2023/000.txt")]) == 1
    assert bench.names() == {"2023/001.txt", "2023/002.txt"}
    with pytest.raises(QvsearchError, match="holds nothing at"):
        forget(bench.open(), [os.fsencode(photos / "2023/000.txt")])
    assert forget(bench.open(), [os.fsencode(photos)]) == 2
    assert bench.open().roots == []


def test_only_the_name_that_is_given_is_forgotten_where_both_are_roots(bench, photos):
    bench.root.unlink()
    bench.index(photos)
    bench.root.symlink_to("photos")
    assert forget(bench.open(), [os.fsencode(bench.root)]) == 3
    assert bench.open().roots == [os.fsencode(photos)]


def test_a_bind_mount_is_another_name_too(tmp_path, monkeypatch):
    """It looks like a link that cannot be read."""
    (tmp_path / "disk/2023").mkdir(parents=True)
    (tmp_path / "mounted").symlink_to("disk")
    monkeypatch.setattr(os.path, "realpath", lambda path: path)
    root, place = (os.fsencode(tmp_path / name) for name in ("disk", "mounted/2023/a.jpg"))
    assert aliases(place, [root]) == (place, root + b"/2023/a.jpg")
    assert aliases(place, [root + b"/2023", b"/nowhere"]) == (place, root + b"/2023/a.jpg")


def test_deleting_what_dupes_lists_loses_no_content(tmp_path, capfd):
    """As the README shows: all but the best of each exact group go, whatever else it is called."""
    photos = tmp_path / "photos"
    notes(photos / "a", 2)
    shutil.copytree(photos / "a", photos / "b")
    (photos / "c").mkdir()
    (photos / "c/hard.txt").hardlink_to(photos / "a/000.txt")
    (tmp_path / "link").symlink_to("photos")
    contents = {path.read_bytes() for path in photos.rglob("*.txt")}
    library = ["-l", str(tmp_path / "library")]
    Library.create(tmp_path / "library", FINGERPRINT)
    with instead():
        for folder in ("link", "photos"):
            assert main(["index", str(tmp_path / folder), *library]) == 0
    capfd.readouterr()
    assert main(["dupes", "--json", *library]) == 0
    groups = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert len(groups) == 2
    listed = [each["path"] for group in groups for each in group["items"]]
    assert len({(os.stat(path).st_dev, os.stat(path).st_ino) for path in listed}) == len(listed)
    for group in groups:
        for each in group["items"][1:]:
            os.unlink(each["path"])
    assert {path.read_bytes() for path in photos.rglob("*.txt")} == contents
