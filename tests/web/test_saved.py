"""Saved searches for the page: each with the parameters that repeat it."""

import os
import shutil

import pytest
from support.served import index, own_cache, printed, serving

from qvsearch.library.library import Library
from qvsearch.library.searches import SEARCHES
from qvsearch.retrieval.saved import save_search


@pytest.fixture(scope="module")
def home(world, tmp_path_factory):
    home = tmp_path_factory.mktemp("saved")
    for name in ("pictures", "notes"):
        shutil.copytree(world / "files" / name, home / "files" / name)
    with own_cache(world / "cache"):
        index(home / "files")
        yield home


@pytest.fixture(scope="module")
def browser(home):
    with serving(home / "library") as browser:
        yield browser


@pytest.fixture
def save(home):
    """Save a search; all are deleted afterwards."""
    library = Library.open(home / "library")
    yield lambda name, options: save_search(library, name, options)
    shutil.rmtree(home / "library" / SEARCHES, ignore_errors=True)


def test_without_any_the_list_is_empty(browser):
    assert browser.get("/api/saved").json() == []


@pytest.mark.parametrize(
    "options",
    [
        {"words": "a red star & 100%", "kind": ["image", "text"], "all": True},
        {"words": "snow", "not": ["a star"], "min-relevance": 0.05, "min-size": "10x10"},
        {"kind": ["text"], "sort": "path"},
        {"words": "snow", "glob": ["notes/**"], "top": 3, "all": True},
    ],
)
def test_it_is_repeated_as_the_command_line_does(browser, home, save, capsys, options):
    save("some", options)
    (album,) = browser.get("/api/saved").json()
    assert (album["name"], album["library"]) == ("some", str(home / "library"))
    assert "ignored" not in album
    hits = browser.hits(album["query"])
    expected = printed(capsys, "search", "@some", "-l", home / "library")
    count = options.get("top", 10)
    assert [hit["id"] for hit in hits[:count]] == [hit["id"] for hit in expected]
    assert expected


def test_examples_become_identities(browser, home, save):
    example = str(home / "files/pictures/picture-03.jpg")
    save("like", {"words": "at night", "like": [example], "like-weight": 0.5, "exact": True})
    (album,) = browser.get("/api/saved").json()
    item = browser.id_of("picture-03.jpg")
    assert album["query"].endswith(f"like={item}")
    assert browser.hits(album["query"] + "&all=1")
    assert album["ignored"] == ["like-weight"]


def test_one_that_cannot_be_repeated_says_why_and_costs_no_other(browser, home, save):
    away = str(home / "elsewhere.jpg")
    save("away", {"file": away})
    save("good", {"words": "snow"})
    (home / "library" / SEARCHES / f"{'0' * 32}.json").write_text("{}")
    albums = {each["name"]: each for each in browser.get("/api/saved").json()}
    assert f"{away} is not in the library" in albums.pop("away")["problem"]
    assert "query" in albums.pop("good")
    (damaged,) = albums.values()
    assert "is damaged" in damaged["problem"]
    assert "query" not in damaged


def test_each_library_has_its_own(home, world, save, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(home / "library", other)
    save_search(Library.open(other), "mine", {"words": "snow", "all": True})
    with serving(home / "library", other) as browser:
        (album,) = browser.get("/api/saved").json()
        assert {hit["library"] for hit in browser.hits(album["query"])} == {os.fspath(other)}


@pytest.mark.parametrize("value", ["2", "-1", "nan", "much"])
def test_a_least_relevance_is_a_number(browser, value):
    error = browser.get(f"/api/search?q=a&min_relevance={value}", 400).json()["error"]
    assert error == f"min_relevance {value!r} must be a number from 0 to 1"
