"""Code of others is left out and counted; photos, notes and the user's own code beside it stay."""

import os

import pytest
from support import office_files
from support.indexer import FINGERPRINT, Bench
from support.trees import left_aside, names, put, walk

from qvsearch.indexing.changes import Target, scan_targets
from qvsearch.indexing.status import library_status
from qvsearch.library.library import Library
from qvsearch.library.rules import ScanOptions, left_out
from qvsearch.types import Skipped

LEFT_OUT = [
    "node_modules/left-pad/index.js",
    "web/node_modules/@a/b/package.json",
    "web/node_modules/b/LICENSE",
    "node_modules/x/index.ts",
    "dist/x/index.d.ts",
    "venv/lib/python3/site-packages/numpy/__init__.py",
    "thing.egg-info/setup.cfg",
    "vendor/github.com/x/y.go",
    "dist/app.js",
    "build/index.html",
    "target/debug/build/out.rs",
    "Build/Upper.CPP",
    "js/jquery.min.js",
    "js/app.bundle.js",
    "package-lock.json",
    "api/thing_pb2.py",
    "Takeout/Photos/IMG_1.jpg.json",
    "Takeout/Photos/IMG_1(2).HEIC.supplemental-meta(2).json",
    "Takeout/Photos/IMG_1.supplemental-metadata.json",
    "Takeout/Photos/" + "x" * 46 + ".json",
    "Takeout/Photos/metadata.json",
]
KEPT = [
    "node_modules/left-pad/logo.png",
    "node_modules/left-pad/guide.md",
    "build/holiday.jpg",
    "coverage/00012.MTS",
    "vendor/film.ts",
    "vendor/offer.docx",
    "vendors/list.py",
    "builder.py",
    "src/build.rs",
    "package.json",
    "photos.json",
]


@pytest.mark.parametrize("name", LEFT_OUT)
def test_code_of_others_is_left_out_and_counted(tmp_path, name):
    put(tmp_path, name)
    assert names(tmp_path) == []
    assert left_aside(tmp_path) == {"vendored": 1}
    assert left_out(os.fsencode(tmp_path), ScanOptions())(name.encode()) is not None
    [skipped] = walk(tmp_path / name, tmp_path)
    assert isinstance(skipped, Skipped)
    assert "--include" in skipped.reason


@pytest.mark.parametrize("name", KEPT)
def test_other_files_stay(tmp_path, name):
    put(tmp_path, name)
    assert names(tmp_path) == [name.encode()]
    assert left_out(os.fsencode(tmp_path), ScanOptions())(name.encode()) is None


def test_include_takes_a_folder_or_a_name(tmp_path):
    put(tmp_path, "node_modules/a/b.js", "dist/c.js", "d.min.js")
    assert names(tmp_path, include=("node_modules", "*")) == [b"node_modules/a/b.js"]
    assert names(tmp_path, include=("*.min.js",)) == [b"d.min.js"]
    assert names(tmp_path, include=("*.js",)) == []


def test_such_a_folder_that_is_the_root_is_the_users_own(tmp_path):
    put(tmp_path / "build", "a.py")
    assert names(tmp_path / "build") == [b"a.py"]


def test_the_scan_of_a_run_counts_them_apart(tmp_path):
    put(tmp_path, "a.py", "dist/b.js", "dist/c.js", "d.xls")
    root = os.fsencode(tmp_path)
    files = scan_targets([Target(root, root)], {root: ScanOptions()}, lambda: False)
    assert (len(files.items), files.vendored, files.left_aside) == (1, 2, {".xls": 1})


def test_status_counts_code_of_others_and_pictures_in_documents(tmp_path):
    Library.create(tmp_path / "library", FINGERPRINT)
    bench = Bench(tmp_path / "library", tmp_path / "media")
    content = office_files.examples()["a.docx"]
    put(tmp_path / "media", "a.docx", content=content)
    put(tmp_path / "media", "node_modules/a.js")
    summary = bench.index()
    assert (summary.indexed, summary.vendored) == (1, 1)
    status = library_status(bench.open())
    assert (status.vendored, status.pictures, status.partial) == (1, (1, 1), ())
