"""What systems and programs put beside photos is left out: by every way, and with a way back."""

import os
import shutil
from dataclasses import replace

import pytest
from support.indexer import FINGERPRINT, Bench, note, notes
from support.trees import left_aside, names, put, walk

from qvsearch.indexing.status import library_status
from qvsearch.library.clutter import CLUTTER, Clutter
from qvsearch.library.library import Library
from qvsearch.library.rules import ScanOptions, left_out
from qvsearch.types import Skipped


@pytest.fixture
def bench(tmp_path):
    Library.create(tmp_path / "library", FINGERPRINT)
    (tmp_path / "media").mkdir()
    return Bench(tmp_path / "library", tmp_path / "media")


# As the systems write them, from their own disks.
LEFT_OUT = [
    "@eaDir/IMG.jpg/SYNOPHOTO_THUMB_XL.jpg",
    "2019/@eaDir/IMG.jpg/SYNOPHOTO_THUMB_M.jpg",
    "#recycle/old.jpg",
    "#snapshot/GMT-2024.01.01-00.00.00/a.jpg",
    "$RECYCLE.BIN/S-1-5-21-1/$RABCDEF.jpg",
    "$Recycle.Bin/S-1-5-21-1/$RABCDEF.jpg",
    "@Recycle/a.jpg",
    "@Recently-Snapshot/daily/a.jpg",
    "System Volume Information/a.txt",
    "lost+found/a.jpg",
    "Catalog Previews.lrdata/0/00AB/a.jpg",
    "Catalog Smart Previews.lrdata/0/a.jpg",
    "A.photoslibrary/resources/derivatives/0/a.jpg",
    "A.photoslibrary/scopes/cloudsharing/a.jpg",
    "b/Old.PhotosLibrary/Thumbnails/a.jpg",
    "B.photolibrary/Previews/2019/a.jpg",
    "__MACOSX/a.jpg",
    "~$notes.txt",
    "2019/~$tes.md",
    "appdata_ocq1w2e3r4/preview/0/1/256-256.jpg",
    "files_trashbin/files/a.jpg",
]
LEFT_OUT_IF_HIDDEN = [
    ".thumbnails/a.jpg",
    ".Trash-1000/files/a.jpg",
    ".Trashes/501/a.jpg",
    ".@__thumb/defaulta.jpg",
    ".trashed-1690000000-a.jpg",
    "2019/._a.jpg",
    ".zfs/snapshot/one/a.jpg",
    ".~lock.notes.txt#",
]
TAKEN = [
    "2019/IMG.jpg",
    "A.photoslibrary/originals/0/a.jpg",
    "b/Old.PhotosLibrary/Masters/2012/a.jpg",
    "recycle/a.jpg",
    "recycled/a.jpg",
    "originals/a.jpg",
    "resources/a.jpg",
    "eaDir/a.jpg",
    "~a$.txt",
    "lrdata/a.jpg",
    "photoslibrary/resources/a.jpg",
    "photos.photoslibrary.d/resources/a.jpg",
]


def test_clutter_is_left_out_and_nothing_else(tmp_path):
    put(tmp_path, *LEFT_OUT, *LEFT_OUT_IF_HIDDEN, *TAKEN)
    put(tmp_path, "Thumbs.db", "2019/desktop.ini", "ehthumbs.db", "@eaDir/x.pdf")
    for hidden in (False, True):
        assert sorted(map(os.fsdecode, names(tmp_path, hidden=hidden))) == sorted(TAKEN)
        assert left_aside(tmp_path, hidden=hidden) == {}
    reason = left_out(os.fsencode(tmp_path), ScanOptions())
    for path in (*LEFT_OUT, *LEFT_OUT_IF_HIDDEN):
        assert reason(os.fsencode(path)), path
    assert [path for path in TAKEN if reason(os.fsencode(path))] == []


def test_every_name_of_the_table_is_left_out_with_its_reason(tmp_path):
    clutter = Clutter(os.fsencode(tmp_path), ())
    for why, patterns in CLUTTER.items():
        for pattern in patterns:
            name = os.fsencode(pattern.replace("*", "xyz"))
            assert {clutter.reason(b"", each) for each in (name, name.upper())} == {why}


def test_include_brings_clutter_that_it_names_and_no_other(tmp_path):
    put(tmp_path, *LEFT_OUT, *TAKEN)
    thumbnails = [b"2019/@eaDir/IMG.jpg/SYNOPHOTO_THUMB_M.jpg"]
    thumbnails += [b"@eaDir/IMG.jpg/SYNOPHOTO_THUMB_XL.jpg"]
    assert sorted(names(tmp_path, include=("@eaDir/",))) == sorted(thumbnails)
    assert names(tmp_path, include=("/@eaDir/*/*.jpg",)) == thumbnails[1:]
    assert names(tmp_path, include=("*.lrdata",))[0].endswith(b".lrdata/0/00AB/a.jpg")
    assert names(tmp_path, include=("#recycle",)) == [b"#recycle/old.jpg"]
    assert names(tmp_path, include=("resources/",), exclude=("/resources", "/photos*")) == [
        b"A.photoslibrary/resources/derivatives/0/a.jpg"
    ]
    for pattern in ("*.jpg", "*.md", "*", "**", "**/*.jpg", "2019/", "*.photoslibrary/"):
        found = {os.fsdecode(path) for path in names(tmp_path, include=(pattern,))}
        assert found <= set(TAKEN), pattern
    assert len(names(tmp_path, include=("*", "@eaDir/"))) == len(TAKEN) + 2


def test_a_root_that_is_clutter_or_lies_in_it_is_walked(tmp_path):
    put(tmp_path, "@eaDir/in/a.jpg", "@eaDir/in/@eaDir/b.jpg", "A.photoslibrary/originals/c.jpg")
    put(tmp_path, "A.photoslibrary/resources/d.jpg")
    assert names(tmp_path / "@eaDir") == [b"in/a.jpg"]
    assert names(tmp_path / "@eaDir/in") == [b"a.jpg"]
    assert names(tmp_path / "A.photoslibrary") == [b"originals/c.jpg"]
    assert names(tmp_path / "A.photoslibrary/resources") == [b"d.jpg"]


def test_a_named_path_in_clutter_says_why_it_is_left_out(tmp_path):
    put(tmp_path, "a/@eaDir/b.jpg")
    brings = "add --include '@eaDir' --include '*'"
    reason = f"left out as thumbnails and indexes of a NAS; {brings}"
    for path in (tmp_path / "a/@eaDir", tmp_path / "a/@eaDir/b.jpg"):
        assert walk(path, tmp_path) == [Skipped(os.fsencode(path), reason)]
    assert names(tmp_path / "a/@eaDir", tmp_path, include=("@eaDir", "*")) == [b"a/@eaDir/b.jpg"]


def copy_row(bench, path, to):
    """Give the library a row that an earlier version would have made."""
    library = bench.open()
    (row,) = library.by_location()[os.fsencode(bench.root / path)]
    segment = library.segments[row]
    copied = replace(segment, item=replace(segment.item, path=os.fsencode(to)))
    with library.lock():
        library.add([copied], library.vectors([row]))
        library.commit()


def test_rows_of_clutter_are_named_and_leave_with_prune_only(bench):
    notes(bench.root, 3)
    bench.index()
    old = "@eaDir/a.txt/thumb.txt"
    note(bench.root / old, "note 0")
    copy_row(bench, "000.txt", old)
    said = (Skipped(os.fsencode(bench.root / old), "thumbnails and indexes of a NAS"),)
    assert library_status(bench.open()).left_out == said
    summary = bench.index()
    assert (summary.unchanged, summary.removed, summary.left_out) == (3, 0, 1)
    assert old in bench.names()
    assert (bench.plan().left_out, bench.plan(prune=True).gone) == (1, 1)
    shutil.rmtree(bench.root / "@eaDir")
    assert (bench.index().removed, bench.index().left_out) == (0, 1)
    assert bench.index(bench.root / "000.txt", prune=True).removed == 0, "it is elsewhere"
    summary = bench.index(prune=True)
    assert (summary.removed, summary.left_out) == (1, 0)
    assert library_status(bench.open()).left_out == ()
    assert bench.names() == {"000.txt", "001.txt", "002.txt"}
