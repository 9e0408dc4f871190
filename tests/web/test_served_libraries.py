"""A server of several libraries: one list, one of each file, and one that cannot be read."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from support.served import index, own_cache, printed, serving

from qvsearch.cli.app import main
from qvsearch.library.library import Library


@pytest.fixture(scope="module")
def two(world, tmp_path_factory):
    """A library with one file that the world has, and with another one."""
    home = tmp_path_factory.mktemp("two")
    (home / "files").mkdir()
    shutil.copy(world / "files/pictures/picture-03.jpg", home / "files/again.jpg")
    (home / "files/own.txt").write_text("A note about a purple cross at night.\n")
    with own_cache(world / "cache"):
        index(home / "files")
    return [str(world / "library"), str(home / "library")]


@pytest.fixture(scope="module")
def browser(world, two):
    with own_cache(world / "cache"), serving(*map(Path, two), world / "none") as browser:
        yield browser


def test_hits_are_one_list_as_the_command_line_prints_it(browser, two, capsys):
    hits = browser.hits("q=a+note&all=1&limit=200")
    places = [word for each in two for word in ("-l", each)]
    expected = printed(capsys, "search", "a note", "--all", "-k", "200", *places)
    assert [hit["path"] for hit in hits] == [hit["path"] for hit in expected]
    assert {hit["library"] for hit in hits} == set(two)


def test_a_copy_in_another_library_is_folded_and_has_an_identity(browser, two):
    like = next(hit for hit in browser.all_hits() if hit["path"].endswith("picture-03.jpg"))
    first, *others = browser.hits(f"like={like['id']}&kind=image")
    both = [first, *first["duplicates"]]
    assert {os.path.basename(each["path"]) for each in both} == {"picture-03.jpg", "again.jpg"}
    for each in both:
        assert browser.get(f"/api/items/{each['id']}").json()["path"] == each["path"]
        browser.get(f"/media/{each['id']}/thumbnail")
    assert not {each["id"] for each in both} & {each["id"] for each in others}


def leaves(record, place=()):
    """Return the values of a record of JSON by their places."""
    if not isinstance(record, dict | list):
        return {place: record}
    inner = record.items() if isinstance(record, dict) else enumerate(record)
    return {at: each for key, value in inner for at, each in leaves(value, (*place, key)).items()}


def approximately(values):
    """Stand for values whose numbers may differ in the last digit: a sum may end on its edge."""
    return {
        place: pytest.approx(each, rel=0, abs=2e-6) if isinstance(each, float) else each
        for place, each in values.items()
    }


def test_why_counts_the_files_of_all_of_them(browser, two, capsys):
    places = [word for each in two for word in ("-l", each)]
    hits = browser.hits("q=a+note&all=1&limit=200")
    for hit in (hits[0], hits[12], hits[-1]):
        found = browser.get(f"/api/items/{hit['id']}/explain?q=a+note&all=1").json()
        command = ("explain", "a note", hit["path"], "--all", "-k", "200", *places)
        assert leaves([found]) == approximately(leaves(printed(capsys, *command)))
        assert "reason" not in found, "the page shows it, however far"
    other = next(hit for hit in hits if hit["library"] == two[0])
    alone = browser.get(f"/api/items/{other['id']}/explain?q=a+note&library={two[1]}").json()
    assert "it lies in none of the library's folders" in alone["reason"]


def test_one_of_them_is_asked_alone(browser, two):
    hits = browser.hits(f"library={two[1]}&limit=200")
    assert {os.path.basename(hit["path"]) for hit in hits} == {"again.jpg", "own.txt"}
    answer = browser.get("/api/search?library=other", 404).json()["error"]
    assert "there is no library 'other' here; there are: " in answer


def test_a_library_that_cannot_be_read_is_named(browser, world, two):
    libraries = browser.get("/api/status").json()["libraries"]
    assert [each["name"] for each in libraries] == [*two, "none"], "a name if it is the only one"
    assert f"no library at {world / 'none'}" in libraries[-1]["problem"]
    answer = browser.get("/api/search?q=snow").json()
    assert list(answer["left_out"]) == ["none"]
    assert answer["hits"]
    assert "no library at" in browser.get("/api/search?q=snow&library=none", 503).text


def test_a_library_that_fails_in_a_search_is_left_out(tmp_path, world, two):
    """Its model is away, which nobody needs for a list of files."""
    whole = Library.open(Path(two[1]))
    away = replace(whole.fingerprint, model="/nowhere/model", revision="0")
    library = Library.create(tmp_path / "away", away)
    library.add_root(whole.roots[0])
    library.add([whole.segments[row] for row in whole.segments], whole.vectors(whole.segments))
    library.commit()
    with own_cache(world / "cache"), serving(Path(two[0]), library.folder) as browser:
        listed = browser.get("/api/search?limit=200").json()
        assert "left_out" not in listed
        assert {hit["library"] for hit in listed["hits"]} == {two[0], str(library.folder)}
        for query in ("q=snow&all=1&limit=200", "q=zebra"):
            answer = browser.get(f"/api/search?{query}").json()
            assert list(answer["left_out"]) == ["away"]
            assert {hit["library"] for hit in answer["hits"]} == {two[0]}


def test_the_command_names_it_too(world, two, capsys, monkeypatch):
    monkeypatch.setattr("qvsearch.web.serving.serve", lambda _, place, __: place.listening.close())
    places = [word for each in (world / "none", two[1]) for word in ("-l", str(each))]
    with own_cache(world / "cache"):
        assert main(["serve", *places, "--no-open", "--port", "0"]) == 0
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "the library none is left out: no library at" in error
