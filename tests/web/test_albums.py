"""Saved searches as the page lists them: each address has the hits of the command line."""

import os
import re
import shutil
from pathlib import Path

import pytest
from support.served import own_cache, printed, serving

from qvsearch.library.library import Library
from qvsearch.library.searches import SavedSearch, write_search

IMAGE = "pictures/picture-02.jpg"


@pytest.fixture(scope="module")
def shelf(world, tmp_path_factory):
    """A server of a library whose searches a test may change, the files and the library."""
    home = tmp_path_factory.mktemp("albums")
    library = shutil.copytree(world / "library", home / "library")
    with own_cache(home / "cache"), serving(library) as browser:
        yield browser, world / "files", library


def save(folder, name, **options):
    write_search(folder, SavedSearch(name, options, "2026-01-01T00:00:00Z"))


def searches(files):
    picture = str(files / IMAGE)
    return {
        "words": {"words": "a red star & 100% of it", "all": True},
        "filters": {"kind": ["image", "text"], "min-size": "100x100", "glob": ["pictures/**"]},
        "all parts": {"words": "snow", "not": ["star", "ring"], "kind": ["image"], "all": True},
        "under": {"under": [str(files / "notes")], "sort": "path"},
        "example": {"like": [picture], "all": True, "no-dedupe": True},
        "unlike": {"words": "snow", "unlike": [picture], "all": True},
        "exact": {"words": "star", "without": ["snow"], "words-only": True, "kind": ["text"]},
        "meaning": {"words": "a red star", "meaning-only": True, "suffix": ["jpg"], "all": True},
        "printing": {"words": "snow", "all": True, "top": 200, "by-kind": True, "exact": True},
    }


@pytest.mark.parametrize("name", searches(Path("/")))
def test_an_address_has_the_hits_of_the_command_line(shelf, capsys, name):
    browser, files, library = shelf
    save(library, name, **(searches(files)[name] | {"no-dedupe": True}))
    albums = {each["name"]: each for each in browser.get("/api/saved").json()}
    address = albums[name]["address"]
    hits = browser.hits(f"{address}&limit=200")
    where = ["-l", library, "--device", "cpu", "--dtype", "float32"]
    expected = printed(capsys, "search", f"@{name}", "-k", "200", *where)
    ids = [hit["id"] for hit in hits]
    whole = [hit["id"] for hit in expected]
    # the page folds near-duplicates, and mixes kinds
    assert set(ids) <= set(whole)
    assert len(ids) >= 0.8 * len(whole) > 0
    assert ids[0] == max(expected, key=lambda hit: hit.get("relevance", 0))["id"] or name == "under"


def test_what_the_page_cannot_show_has_its_command(shelf, tmp_path):
    browser, files, folder = shelf
    picture = str(files / IMAGE)
    cannot = {
        "with words": {"words": "snow", "image": picture},
        "elsewhere": {"file": str(tmp_path / "a.jpg")},
        "its own": {"words": "snow", "instruction": "Find it."},
        "weights": {"words": "snow", "like": [picture], "like-weight": 2.0},
        "bytes": {"under": [os.fsdecode(b"/\xff")]},
    }
    for name, options in cannot.items():
        save(folder, name, **options)
    save(folder, "damaged", words="snow")
    for path in (folder / "searches").glob("*.json"):
        if b'"damaged"' in path.read_bytes():
            path.write_bytes(b"{")
    albums = browser.get("/api/saved").json()
    assert {each["name"] for each in albums if "address" not in each} == {
        *cannot,
        *(each["name"] for each in albums if "problem" in each),
    }
    by_name = {each["name"]: each for each in albums}
    assert by_name["with words"]["command"] == f"qvsearch search '@with words' -l {folder}"
    [damaged] = [each for each in albums if "problem" in each]
    assert re.fullmatch("[0-9a-f]{32}", damaged["name"])
    assert "is damaged" in damaged["problem"]


def test_an_example_that_left_the_library_has_no_address(shelf):
    browser, files, folder = shelf
    gone = str(files / "pictures" / "picture-03.jpg")
    save(folder, "gone", like=[gone])
    before = {each["name"]: each for each in browser.get("/api/saved").json()}
    library = Library.open(folder)
    library.remove(library.by_location()[os.fsencode(gone)])
    library.commit()
    after = {each["name"]: each for each in browser.get("/api/saved").json()}
    assert ("address" in before["gone"], "address" in after["gone"]) == (True, False)
