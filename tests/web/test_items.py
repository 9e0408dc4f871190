"""One item: what is known of it, why it is a hit, its text, and its moments for browsers."""

import io
import math
import os
import time
from pathlib import Path

import av
import pytest
from support.alike import check_alike
from support.served import HOSTILE, Browser, index, own_cache, printed, serving
from support.videos import number_in
from support.viewers import desktop  # noqa: F401 - a fixture

from qvsearch.display import file_url
from qvsearch.records.served import item_record
from qvsearch.types import Hit, Item, Kind, Metadata, Segment


def test_an_item_has_all_its_moments_or_passages(browser):
    film = browser.get(f"/api/items/{browser.id_of('clip-1.mp4')}").json()
    assert film["kind"] == "video"
    assert [each["start"] for each in film["segments"]] == [0.0, 4.0, 8.0]
    assert film["bytes"] == Path(film["path"]).stat().st_size
    text = browser.get(f"/api/items/{browser.id_of('long.txt')}").json()
    lines = [each["lines"] for each in text["segments"]]
    assert lines[0][0] == 1
    assert lines[-1][1] == 400
    assert all(before[0] < after[0] for before, after in zip(lines, lines[1:], strict=False))
    assert not {"rank", "relevance", "score"} & set(film)


def test_an_item_has_the_name_of_its_place():
    item = Item(b"/photos", b"IMG_1.jpg", Kind.IMAGE, 1, 0)

    def place(**metadata):
        segment = Segment(item, "0", metadata=Metadata(**metadata))
        record = item_record(Hit(1, math.nan, math.nan, segment), [], [], Path("/library"))
        return record.get("place")

    assert place(latitude=48.2082, longitude=16.3738) == "Vienna, Austria"
    assert place(latitude=-45.0, longitude=-140.0) is None  # an ocean
    assert place() is None


def test_an_item_has_its_duplicates_in_the_library(browser):
    record = browser.get(f"/api/items/{browser.id_of('picture-01.jpg')}").json()
    names = {Path(each["path"]).name for each in record["duplicates"]}
    assert "copy of picture-01.jpg" in names
    for each in record["duplicates"]:
        assert browser.get(f"/api/items/{each['id']}").json()["path"] == each["path"]
    assert "duplicates" not in browser.get(f"/api/items/{browser.id_of('picture-05.jpg')}").json()


def test_an_explanation_is_that_of_the_command_line(browser, world, capsys):
    hit = browser.hits("q=a+red+star&all=1&limit=1&kind=image")[0]
    path = f"/api/items/{hit['id']}/explain?q=a+red+star&not=snow&kind=image"
    expected = printed(
        capsys,
        "explain",
        "a red star",
        hit["path"],
        "--not",
        "snow",
        "--kind",
        "image",
        "-l",
        world / "library",
        "--device",
        "cpu",
        "--dtype",
        "float32",
    )
    check_alike([browser.get(path).json()], expected)
    browser.get(f"/api/items/{hit['id']}/explain", 400)
    browser.get(f"/api/items/{hit['id']}/explain?q=a&limit=3", 400)


@pytest.mark.parametrize("line", [1, 2, 200, 400])
def test_a_passage_is_shown_with_the_lines_around_it(browser, line):
    item = browser.id_of("long.txt")
    answer = browser.get(f"/api/items/{item}/text?line={line}").json()
    first, last = answer["lines"]
    assert first <= line <= last
    shown = answer["text"].split("\n")
    assert shown[line - first] == f"line {line} about a red star"
    passages = [each["lines"] for each in browser.get(f"/api/items/{item}").json()["segments"]]
    passage = next(each for each in passages if each[0] <= line <= each[1])
    assert first <= max(1, passage[0] - 5)
    assert last >= min(400, passage[1] + 5)


def test_a_text_is_shown_as_it_is(browser):
    answer = browser.get(f"/api/items/{browser.id_of('page.txt')}/text?line=1").json()
    assert answer["text"].startswith("<!doctype html><script>")
    browser.get(f"/api/items/{browser.id_of('page.txt')}/text?line=5000", 400)
    browser.get(f"/api/items/{browser.id_of('page.txt')}/text?line=x", 400)
    browser.get(f"/api/items/{browser.id_of('film.mkv')}/text", 415)


def test_a_film_plays_from_the_server(browser):
    film = browser.id_of("film.mkv")
    answer = browser.get(f"/media/{film}/play?start=2&end=4")
    assert answer.headers["content-type"] == "video/mp4"
    with av.open(io.BytesIO(answer.content)) as container:
        frames = [each.to_ndarray(format="rgb24") for each in container.decode(video=0)]
    assert 10 <= number_in(frames[0]) <= 20
    part = browser.get(f"/media/{film}/play?start=2&end=4", 206, headers={"range": "bytes=0-99"})
    assert part.content == answer.content[:100]
    browser.get(f"/media/{film}/play?start=4&end=2", 400)
    browser.get(f"/media/{film}/play?start=900&end=902", 415)
    browser.get(f"/media/{browser.id_of('page.txt')}/play", 415)


class TestTheDesktop:
    def test_a_file_is_opened_by_its_path_without_a_shell(self, browser, desktop):
        desktop.install("xdg-open")
        hit = next(each for each in browser.all_hits() if each["path"].endswith("gpj.png"))
        assert browser.post(f"/api/items/{hit['id']}/open").json() == {"done": True}
        assert desktop.started() == [("xdg-open", file_url(os.fsencode(hit["path"])).encode())]
        assert HOSTILE in hit["path"]

    def test_a_video_is_opened_at_its_moment(self, browser, desktop, world):
        desktop.install("xdg-open", "mpv")
        browser.post(f"/api/items/{browser.id_of('film.mkv')}/open?start=2.5")
        path = os.fsencode(world / "files/film.mkv")
        assert desktop.started() == [("mpv", b"--start=2.500", b"--", path)]
        browser.post(f"/api/items/{browser.id_of('film.mkv')}/open?start=soon", 400)

    def test_it_is_shown_in_its_folder(self, browser, desktop, world):
        desktop.install("xdg-open")
        browser.post(f"/api/items/{browser.id_of('picture-01.jpg')}/reveal")
        folder = file_url(os.fsencode(world / "files/pictures")).encode()
        assert desktop.started() == [("xdg-open", folder)]

    def test_a_failing_or_missing_program_is_an_error(self, browser, desktop):
        item = browser.id_of("picture-01.jpg")
        assert "xdg-open" in browser.post(f"/api/items/{item}/open", 501).json()["error"]
        desktop.install("xdg-open", code=3)
        assert "could not open" in browser.post(f"/api/items/{item}/open", 501).json()["error"]

    @pytest.mark.parametrize(("address", "is_local"), [("192.168.1.9", True), ("127.0.0.1", False)])
    def test_others_open_nothing_here(self, browser, desktop, address, is_local, tally):
        desktop.install("xdg-open")
        other = Browser(browser.services, address=address, is_local=is_local)
        for way in ("open", "reveal"):
            other.post(f"/api/items/{browser.id_of('picture-01.jpg')}/{way}", 403)
            tally["requests of others to open a file refused"] += 1
        assert desktop.started() == []


def test_groups_are_worked_out_in_the_background(tmp_path, browser, world, capsys):
    def answer(path):
        deadline = time.monotonic() + 120
        while (got := browser.http.get(path)).status_code == 202:
            assert time.monotonic() < deadline, "it takes too long"
        return got.json()

    groups = answer("/api/duplicates?kind=image")["groups"]
    assert groups == printed(capsys, "dupes", "--kind", "image", "-l", world / "library")
    assert groups
    assert all(browser.get(f"/api/items/{each['id']}") for each in groups[0]["items"])
    assert answer("/api/clusters")["clusters"] == printed(
        capsys, "cluster", "-l", world / "library"
    )
    browser.get("/api/duplicates?kind=movie", 400)


def test_the_state_of_the_library_is_shown(browser, world, capsys):
    deadline = time.monotonic() + 120
    while (shelf := browser.get("/api/status").json()["libraries"][0])["changed"] is None:
        assert time.monotonic() < deadline, "it takes too long"
    (expected,) = printed(capsys, "status", "-l", world / "library")
    assert shelf["kinds"] == expected["kinds"]
    assert (shelf["changed"], shelf["gone"]) == (0, 0)
    assert not shelf["empty"]
    (fields,) = browser.get("/api/fields").json()
    assert [fields] == printed(capsys, "status", "--fields", "-l", world / "library")


def test_changes_since_are_counted_and_an_unfinished_run_is_shown(tmp_path):
    from qvsearch.library.library import Library
    from qvsearch.library.pending import Pending

    (tmp_path / "files").mkdir()
    for number in range(4):
        (tmp_path / f"files/{number}.txt").write_text(f"{number} snow\n")
    with own_cache(tmp_path / "cache"):
        library = index(tmp_path / "files")
        (tmp_path / "files/0.txt").unlink()
        (tmp_path / "files/1.txt").write_text("something else\n")
        with serving(library) as browser:
            for _ in range(2000):
                (shelf,) = browser.get("/api/status").json()["libraries"]
                if shelf["changed"] is not None:
                    break
                time.sleep(0.02)
            assert (shelf["changed"], shelf["gone"]) == (1, 1)
            assert "indexing" not in shelf
            assert str(library) in shelf["command"]
            Library.open(library).save_pending([Pending((b"/more",), 7)])
            (shelf,) = browser.get("/api/status").json()["libraries"]
            assert shelf["indexing"] == {"files_left": 7}


def test_the_interface_is_described(browser):
    described = browser.get("/api").json()["endpoints"]
    for each in described:
        path = each["path"].replace("{id}", "0" * 48).replace("{token}", "a")
        answer = browser.http.request(
            each["method"], path, headers={"origin": "http://127.0.0.1:7600"}
        )
        assert answer.status_code not in (404, 405), each
    assert {"/api/search", "/media/{id}/play"} <= {each["path"] for each in described}
