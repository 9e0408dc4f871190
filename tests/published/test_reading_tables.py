"""A shared table as a user reads it: the same commands and the same page as for a library."""

import io
import json
import os
from dataclasses import replace

import platformdirs
import pytest
from PIL import Image
from support.colours import FINGERPRINT
from support.commands import records, run  # noqa: F401 - a fixture
from support.served import serving
from support.shared_table import new_library, remove_files

from qvsearch.errors import QvsearchError
from qvsearch.files import content_hash
from qvsearch.library.aliases import aliases
from qvsearch.library.library import Library
from qvsearch.library.names import TableUri, is_table, library_folder, option
from qvsearch.mcp.arguments import SimilarArguments, StatusArguments
from qvsearch.mcp.searching import similar
from qvsearch.mcp.state import status
from qvsearch.published import library as published
from qvsearch.published.opening import open_at
from qvsearch.retrieval import shelf as shelves
from qvsearch.retrieval.shelf import Shelf
from qvsearch.types import Item, Kind, Segment

COLOURS = {b"a.png": "red", b"b/\x1b[31mred\xff.png": "blue", b"c.png": "red", b"d.png": "green"}


@pytest.fixture
def drawn(tmp_path):
    """A library of pictures in tmp_path/Photos; two have the same content."""
    folder = tmp_path / "Photos"
    (folder / "b").mkdir(parents=True)
    segments = []
    for number, (name, colour) in enumerate(COLOURS.items()):
        path = os.path.join(os.fsencode(folder), name)
        with open(path, "wb") as file:
            Image.new("RGB", (90, 60), colour).save(file, "PNG")
        os.utime(path, ns=(0, (1000 + number) * 10**9))
        item = Item(
            os.fsencode(folder), name, Kind.IMAGE, os.path.getsize(path), (1000 + number) * 10**9
        )
        digest = content_hash(item.location, item.size)
        segments.append(Segment(item, digest, width=90, height=60))
    fingerprint = replace(FINGERPRINT, dim=64)  # so that rows of other contents are not alike
    return new_library(
        tmp_path / "drawn", segments, root=os.fsencode(folder), fingerprint=fingerprint
    )


@pytest.fixture
def shared(run, drawn, tmp_path):
    place = str(tmp_path / "shared.lance")
    assert run("publish", place, "-l", drawn.folder, "--as", "anna", "--thumbnails")[0] == 0
    return place


@pytest.fixture(params=["small", "large"])
def read(request, shared, monkeypatch):
    """A table that is read whole, and one that is too large for that."""
    if request.param == "large":
        monkeypatch.setattr(published, "WHOLE", 0)
        monkeypatch.setattr(published, "LARGEST", 0)
    return shared


def forget_roots():
    (platformdirs.user_config_path("qvsearch", appauthor=False) / "published-roots.json").unlink()


def without_place(found):
    return [{key: value for key, value in each.items() if key != "library"} for each in found]


@pytest.mark.parametrize(
    "options", [("--sort", "path"), ("--glob", "*d.*"), ("--before", "1970-01-01T00:16:42Z")]
)
def test_a_list_is_that_of_the_library(run, drawn, read, options):
    lists = [run("search", *options, "-l", place, "--json") for place in (drawn.folder, read)]
    assert [code for code, *_ in lists] == [0, 0]
    of_library, of_table = (records(out) for _, out, _ in lists)
    assert without_place(of_table) == without_place(of_library)
    assert {each["library"] for each in of_table} == {read}


def test_files_like_another_need_no_model(run, drawn, read, tmp_path):
    source = tmp_path / "Photos" / "a.png"
    lists = [run("similar", source, "-l", place, "--json")[1] for place in (drawn.folder, read)]
    of_library, of_table = map(records, lists)
    for each in (*of_library, *of_table):
        each["score"] = round(each["score"], 3)
    assert without_place(of_table) == without_place(of_library)
    assert [each.get("reason") for each in of_table].count("exact") == 1


def test_several_libraries_and_tables_are_one_list(run, drawn, read):
    _, out, _ = run("search", "--sort", "path", "-l", drawn.folder, "-l", read, "--json")
    assert len(records(out)) == len(COLOURS)


def test_a_root_that_is_not_here_is_its_name(run, read):
    forget_roots()
    code, out, _ = run("search", "--sort", "path", "-l", read, "--json")
    found = records(out)
    assert code == 0
    assert [each["root"] for each in found] == ["anna/Photos"] * len(COLOURS)
    assert found[0]["path"] == "anna/Photos/a.png"
    assert not any("gone" in each for each in found)
    code, out, err = run("search", "--sort", "path", "-l", read, "--copy-to", f"{read}-copies")
    assert (code, b"anna/Photos/a.png" in out) == (3, True)
    assert "anna/Photos/a.png" in err


def test_roots_of_two_publishers_may_be_one_folder(run, drawn, read, tmp_path):
    some = [each for each in drawn.segments.values() if each.item.path != b"a.png"]
    fingerprint = drawn.fingerprint
    other = new_library(tmp_path / "other", some, root=some[0].item.root, fingerprint=fingerprint)
    assert run("publish", read, "-l", other.folder, "--as", "ben")[0] == 0
    _, out, _ = run("search", "--sort", "path", "-l", read, "--json")
    assert len(records(out)) == len(COLOURS)
    table = open_at(read)
    for segment, copies in ((drawn.segments[0], 1), (drawn.segments[1], 2)):
        assert len(table.numbers_of(segment.item)) == 2
        assert len(table.file(segment.item)) == copies


def test_a_drive_that_is_away_makes_no_file_gone(run, read, tmp_path):
    (tmp_path / "Photos").rename(tmp_path / "away")
    _, out, _ = run("search", "--sort", "path", "-l", read, "--json")
    assert [each["root"] for each in records(out)] == ["anna/Photos"] * len(COLOURS)


def test_the_state_of_a_table(run, read):
    code, out, _ = run("status", "-l", read, "--json")
    (record,) = records(out)
    assert code == 0
    assert (record["files"], record["segments"]) == ({"image": 4}, {"image": 4})
    (publisher,) = record["publishers"]
    assert (publisher["name"], publisher["files"], publisher["whole"]) == ("anna", 4, True)
    text = run("status", "-l", read)[1].decode()
    assert "anna: 4 files, published" in text
    code, out, _ = run("status", "--fields", "-l", read, "--json")
    assert records(out)[0]["fields"]["kind"]["values"] == {"image": 4}


def test_repeats_need_all_rows(run, shared, monkeypatch):
    forget_roots()
    _, out, _ = run("dupes", "-l", shared, "--json")
    (group,) = records(out)
    assert [each["path"] for each in group["items"]] == ["anna/Photos/a.png", "anna/Photos/c.png"]
    assert not any("gone" in each for each in group["items"])
    monkeypatch.setattr(published, "WHOLE", 0)
    monkeypatch.setattr(published, "LARGEST", 0)
    code, _, err = run("dupes", "-l", shared)
    assert code == 2
    assert "this command needs all of them in memory" in err


@pytest.mark.parametrize(
    "command",
    [
        ["index", "."],
        ["check"],
        ["check", "--repair"],
        ["remove", "x"],
        ["watch"],
        ["search", "red", "--save", "name"],
        ["search", "@name"],
        ["searches"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_done_with_a_table_is_one_sentence(run, shared, command):
    before = sorted(os.listdir(shared))
    code, out, err = run(*command, "-l", shared)
    assert (code, out) == (2, b"")
    assert "is a shared table, which only `qvsearch publish` changes" in err
    assert len(err.splitlines()) == 1
    assert sorted(os.listdir(shared)) == before


def test_a_table_that_is_not_there_is_one_sentence(run, tmp_path):
    place = tmp_path / "none.lance"
    code, _, err = run("search", "--sort", "date", "-l", place)
    assert code == 2
    assert f"there is no table at {place}" in err
    code, _, err = run("search", "--sort", "date", "-l", "gs://bucket/name")
    assert (code, "gs:// is not supported" in err) == (2, True)


def test_a_path_may_begin_with_the_name_of_a_root(run, read, tmp_path, monkeypatch):
    """The paths of hits that this computer does not reach are those of --under and explain."""
    forget_roots()
    monkeypatch.chdir(tmp_path)
    everything = ["search", "--sort", "date", "-k", "9", "-l", read, "--json"]
    found = records(run(*everything)[1])
    assert records(run(*everything, "--under", "anna")[1]) == found
    path = next(each["path"] for each in found if each.get("path"))
    code, out, _ = run(*everything, "--under", path)
    assert (code, [each["path"] for each in records(out)]) == (0, [path])
    roots = open_at(library_folder(read)).roots
    assert os.fsencode(path) in aliases(os.fsencode(tmp_path / path), roots)


def test_addresses_are_told_from_names(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for text in ("s3://bucket/family photos", "s3://bucket/a/b/"):
        place = library_folder(text)
        assert isinstance(place, TableUri)
        assert str(place) == text.rstrip("/")
        assert os.fspath(place) == text.rstrip("/")
        assert option(place).removeprefix(" -l ").strip("'") == text.rstrip("/")
    assert library_folder("photos.lance") == tmp_path / "photos.lance"
    assert is_table(library_folder("../photos.lance"))
    assert not is_table(library_folder("photos"))
    with pytest.raises(QvsearchError, match="is a shared table"):
        Library.open(tmp_path / "photos.lance")


def test_the_page_shows_a_table(read):
    with serving(library_folder(read)) as page:
        assert [each["kinds"] for each in page.get("/api/status").json()["libraries"]] == [
            {"image": {"items": 4, "segments": 4}}
        ]
        hits = page.hits("sort=path&limit=10")
        assert os.path.basename(hits[0]["path"]) == "a.png"
        found = page.get(f"/api/items/{hits[0]['id']}").json()
        assert json.dumps(found).count(hits[0]["id"]) >= 1
        page.get(f"/media/{hits[0]['id']}/file")
        assert "fields" in page.get("/api/fields").text


def test_the_page_shows_published_thumbnails_of_what_is_not_here(read):
    forget_roots()
    with serving(library_folder(read)) as page:
        hits = page.hits("sort=path&limit=10")
        assert hits[0]["path"] == "anna/Photos/a.png"
        webp = page.get(f"/media/{hits[0]['id']}/thumbnail").content
        assert Image.open(io.BytesIO(webp)).size == (90, 60)
        page.get(f"/media/{hits[0]['id']}/file", expected=410)


def test_a_server_sees_what_is_published_later(run, drawn, shared, monkeypatch):
    monkeypatch.setattr(shelves, "LOOKED_AGAIN", 0)
    shelf = Shelf([library_folder(shared)])
    first = shelf.now().state
    assert shelf.now().state == first
    remove_files(drawn, {b"d.png"})
    assert run("publish", shared, "-l", drawn.folder)[0] == 0
    now = shelf.now()
    assert now.state != first
    assert len(now.opened[0].library) == 3


def test_an_open_table_stays_as_it_was(run, drawn, shared):
    opened = open_at(shared)
    remove_files(drawn, {b"a.png", b"c.png"})
    run("publish", shared, "-l", drawn.folder)
    assert len(opened) == len(opened.segments) == 4
    assert len(open_at(shared)) == 2


def test_agents_read_a_table(read):
    shelf = Shelf([library_folder(read)])
    (record,) = status(shelf, StatusArguments())["libraries"]
    assert (record["library"], record["files"]) == ("shared.lance", {"image": 4})
    assert record["fields"]["kind"]["values"] == {"image": 4}
    identity = Library.open(library_folder(read).parent / "drawn").segments[0].item_id
    found = similar(shelf, SimilarArguments(id=identity, k=5))["files"]
    assert len(found) == 3
    assert [each.get("reason") for each in found].count("exact") == 1
