"""Files and their pictures, by identity: types, ranges, and files that are not what they were."""

import errno
import io
import os
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.served import HOSTILE, SCRIPT, index, own_cache, serving
from support.videos import frame_of, make, number_in

from qvsearch.types import KIND_OF_SUFFIX, Item
from qvsearch.web.media import content_type
from qvsearch.web.names import disposition
from qvsearch.web.problems import CutOff
from qvsearch.web.streaming import Unsatisfiable, read_range

ACTIVE = ("html", "svg", "xml", "javascript", "pdf", "xhtml")


@pytest.mark.parametrize("side", [320, 640, 1280])
def test_a_thumbnail_is_a_picture_of_the_file_that_is_kept_for_ever(browser, side):
    address = f"/media/{browser.id_of('picture-01.jpg')}/thumbnail?side={side}"
    answer = browser.get(address)
    picture = Image.open(io.BytesIO(answer.content))
    assert (picture.format, answer.headers["content-type"]) == ("WEBP", "image/webp")
    assert max(picture.size) <= side
    assert "immutable" in answer.headers["cache-control"]
    etag = answer.headers["etag"]
    again = browser.get(address, 304, headers={"if-none-match": etag})
    assert (again.content, again.headers["etag"]) == (b"", etag)
    other = browser.get(address, headers={"if-none-match": '"other"'})
    assert other.content == answer.content


def test_a_thumbnail_of_a_moment_shows_it(browser):
    film = browser.id_of("film.mkv")
    for start in (0.0, 4.0):
        answer = browser.get(f"/media/{film}/thumbnail?start={start}&end={start + 1}")
        picture = Image.open(io.BytesIO(answer.content)).convert("RGB")
        import numpy as np

        assert start * 10 <= number_in(np.asarray(picture)) <= start * 10 + 10


@pytest.mark.parametrize(
    "parameters",
    [
        "side=1000",
        "side=0",
        "side=99999999999",
        "side=x",
        "start=-1",
        "start=nan",
        "start=1e99",
        "end=inf",
        "start=0x1",
        "width=3",
    ],
)
def test_other_thumbnails_are_refused(browser, parameters):
    browser.get(f"/media/{browser.id_of('film.mkv')}/thumbnail?{parameters}", 400)


def test_a_text_has_no_thumbnail(browser):
    answer = browser.get(f"/media/{browser.id_of('page.txt')}/thumbnail", 415)
    assert "a text has no picture" in answer.json()["error"]


def test_a_file_is_served_with_the_type_of_its_kind(browser, world, tally):
    expected = {
        "image": ("image/",),
        "video": ("video/", "application/octet-stream"),
        "text": ("text/plain",),
    }
    for hit in browser.all_hits():
        answer = browser.get(f"/media/{hit['id']}/file")
        type_ = answer.headers["content-type"]
        assert type_.startswith(expected[hit["kind"]])
        assert not any(word in type_ for word in ACTIVE)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in answer.headers["content-security-policy"]
        with open(hit["path"], "rb") as file:
            assert answer.content == file.read()
        tally["files served with their fixed type"] += 1


def test_no_suffix_leads_to_a_type_with_scripts():
    for suffix, kind in KIND_OF_SUFFIX.items():
        type_, is_shown = content_type(Item(b"/a" + suffix.encode(), b"", kind, 1, 1))
        assert not any(word in type_ for word in ACTIVE)
        assert is_shown or type_ == "application/octet-stream"


@pytest.mark.parametrize("name", ["page.txt", HOSTILE])
def test_a_script_in_a_file_is_never_active(browser, name):
    answer = browser.get(f"/media/{browser.id_of(name)}/file")
    assert SCRIPT.encode() in answer.content
    assert answer.headers["content-type"] in ("text/plain; charset=utf-8", "image/png")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "sandbox" in policy
    assert "script-src" not in policy


@pytest.mark.parametrize(
    "content",
    [
        f"<svg xmlns='http://www.w3.org/2000/svg'>{SCRIPT}</svg>",
        f"<!doctype html><html>{SCRIPT}</html>",
    ],
)
def test_an_active_file_named_as_a_picture_is_not_even_indexed(tmp_path, content):
    (tmp_path / "files").mkdir()
    (tmp_path / "files/a.jpg").write_text(content)
    (tmp_path / "files/a.txt").write_text(content + "\nsnow\n")
    with own_cache(tmp_path / "cache"):
        from qvsearch.cli.app import main

        library = tmp_path / "library"
        assert (
            main(["index", str(tmp_path / "files"), "-l", str(library), "--model", "demo", "-q"])
            == 3
        )
        with serving(library) as browser:
            (hit,) = browser.all_hits()
            assert hit["path"].endswith("a.txt")
            type_ = browser.get(f"/media/{hit['id']}/file").headers["content-type"]
            assert type_ == "text/plain; charset=utf-8"


def test_a_hostile_name_does_not_break_the_headers(browser):
    answer = browser.get(f"/media/{browser.id_of(HOSTILE)}/file")
    assert "set-cookie" not in answer.headers
    value = answer.headers["content-disposition"]
    assert value.isascii()
    assert value.isprintable()
    assert value.startswith("inline; filename=\"a___Set-Cookie_ x=1__gpj.png\"; filename*=UTF-8''a")


@given(st.binary(min_size=1, max_size=60).filter(lambda name: b"/" not in name))
def test_no_name_breaks_the_headers(name):
    value = disposition("attachment", b"/folder/" + name)
    assert value.isascii()
    assert value.isprintable()
    assert value.count('"') == 2
    plain = value.split('"')[1]
    assert "\\" not in plain
    assert "/" not in plain
    assert plain


def test_a_name_is_given_in_utf_8_as_well():
    assert disposition("inline", "/a/Übersicht 1.jpg".encode()).endswith(
        "filename=\"_bersicht 1.jpg\"; filename*=UTF-8''%C3%9Cbersicht%201.jpg"
    )


class TestRanges:
    SIZE = 1000

    @pytest.mark.parametrize(
        ("header", "expected"),
        [
            (None, None),
            ("bytes=0-", (0, 1000)),
            ("bytes=0-0", (0, 1)),
            ("bytes=10-19", (10, 20)),
            ("bytes=-1", (999, 1000)),
            ("bytes=-5000", (0, 1000)),
            ("bytes=990-99999999999999", (990, 1000)),
            ("bytes=0-1,5-6", None),
            ("bytes=" + ",".join(["0-1"] * 2000), None),
            ("bytes=5-2", None),
            ("bytes=-", None),
            ("bytes=a-b", None),
            ("bytes=١-٢", None),
            ("items=0-1", None),
            ("bytes=1-" + "9" * 5000, None),
            ("bytes 0-1", None),
            ("", None),
        ],
    )
    def test_a_range(self, header, expected):
        assert read_range(header, self.SIZE) == expected

    @pytest.mark.parametrize("header", ["bytes=1000-", "bytes=5000-6000", "bytes=-0"])
    def test_a_range_without_bytes(self, header):
        with pytest.raises(Unsatisfiable):
            read_range(header, self.SIZE)

    @settings(max_examples=300)
    @given(st.text(max_size=30), st.integers(0, 10**15))
    def test_any_header_gives_a_part_of_the_file(self, text, size):
        try:
            chosen = read_range("bytes=" + text, size)
        except Unsatisfiable:
            return
        assert chosen is None or 0 <= chosen[0] < chosen[1] <= size

    def test_they_are_answered(self, browser):
        item = browser.id_of("film.mkv")
        whole = browser.get(f"/media/{item}/file")
        assert whole.headers["accept-ranges"] == "bytes"
        part = browser.get(f"/media/{item}/file", 206, headers={"range": "bytes=100-199"})
        assert part.content == whole.content[100:200]
        assert part.headers["content-range"] == f"bytes 100-199/{len(whole.content)}"
        assert part.headers["content-length"] == "100"
        last = browser.get(f"/media/{item}/file", 206, headers={"range": "bytes=-7"})
        assert last.content == whole.content[-7:]
        none = browser.get(f"/media/{item}/file", 416, headers={"range": "bytes=99999999-"})
        assert none.headers["content-range"] == f"bytes */{len(whole.content)}"

    def test_a_part_of_another_version_is_not_sent(self, browser):
        item = browser.id_of("film.mkv")
        headers = {"range": "bytes=0-9", "if-range": '"another"'}
        assert len(browser.get(f"/media/{item}/file", headers=headers).content) > 10
        headers["if-range"] = f'"{item}"'
        assert len(browser.get(f"/media/{item}/file", 206, headers=headers).content) == 10

    def test_a_head_has_no_body(self, browser):
        answer = browser.http.head(f"/media/{browser.id_of('film.mkv')}/file")
        assert answer.status_code == 200
        assert answer.content == b""
        assert int(answer.headers["content-length"]) > 1000


class TestFilesThatChanged:
    @pytest.fixture
    def changing(self, tmp_path):
        files = tmp_path / "files"
        files.mkdir()
        Image.new("RGB", (64, 48), "red").save(files / "a.png")
        (files / "b.txt").write_text("a note about snow\n")
        make(files / "c.mkv", map(frame_of, range(20)), form="matroska")
        with own_cache(tmp_path / "cache"):
            library = index(files)
            (tmp_path / "secret.txt").write_text("the password is snow")
            with serving(library) as browser:
                yield files, browser

    WAYS = ("file", "thumbnail", "play", "text")

    def refused(self, browser, item, ways, tally):
        for way in ways:
            path = f"/api/items/{item}/text" if way == "text" else f"/media/{item}/{way}"
            answer = browser.get(path, 410)
            assert "password" not in answer.text
            tally["changed or exchanged files refused"] += 1

    def test_one_that_is_gone(self, changing, tally):
        files, browser = changing
        for name, ways in (
            ("a.png", ("file", "thumbnail")),
            ("b.txt", ("file", "text")),
            ("c.mkv", ("file", "play")),
        ):
            item = browser.id_of(name)
            (files / name).unlink()
            self.refused(browser, item, ways, tally)
            assert browser.get(f"/api/items/{item}").json()["gone"]
            assert browser.post(f"/api/items/{item}/open", 410).json()["error"]
        assert len(browser.all_hits()) == 3, "the cards are still there"
        assert all(hit["gone"] for hit in browser.all_hits())

    @pytest.mark.parametrize("same_size", [True, False])
    def test_a_link_to_another_file_in_its_place(self, changing, tally, same_size):
        files, browser = changing
        secret = files.parent / "secret.txt"
        for name, ways in (
            ("a.png", ("file", "thumbnail")),
            ("b.txt", ("file", "text")),
            ("c.mkv", ("file", "play")),
        ):
            item, status = browser.id_of(name), os.stat(files / name)
            if same_size:  # and of the same time: an attacker can set those of his own file
                secret.write_bytes(b"the password is snow".ljust(status.st_size)[: status.st_size])
                os.utime(secret, ns=(status.st_atime_ns, status.st_mtime_ns))
            (files / name).unlink()
            (files / name).symlink_to(secret)
            self.refused(browser, item, ways, tally)

    @pytest.mark.parametrize("other", ["fifo", "folder", "device"])
    def test_something_else_in_its_place(self, changing, tally, other):
        files, browser = changing
        item = browser.id_of("b.txt")
        (files / "b.txt").unlink()
        if other == "fifo":
            os.mkfifo(files / "b.txt")
        elif other == "folder":
            (files / "b.txt").mkdir()
        else:
            (files / "b.txt").symlink_to("/dev/zero")
        self.refused(browser, item, ("file", "text"), tally)

    def test_other_content_of_the_same_size_and_time(self, changing, tally):
        files, browser = changing
        item, status = browser.id_of("b.txt"), os.stat(files / "b.txt")
        browser.get(f"/media/{item}/file")
        (files / "b.txt").write_text("a NOTE about snow\n")
        os.utime(files / "b.txt", ns=(status.st_atime_ns, status.st_mtime_ns))
        self.refused(browser, item, ("file", "text"), tally)

    @pytest.mark.parametrize("way", ["shorter", "unplugged"])
    def test_one_that_ends_while_it_is_sent(self, changing, monkeypatch, capsys, way):
        _, browser = changing
        item = browser.id_of("a.png")

        def read(*_):
            if way == "unplugged":
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return b""

        with monkeypatch.context() as patch:
            patch.setattr(os, "pread", read)
            with pytest.raises(CutOff):  # the connection is dropped
                browser.http.get(f"/media/{item}/file")
        browser.get(f"/media/{item}/file")
        assert capsys.readouterr().err == ""

    def test_one_that_was_only_touched_or_copied_is_still_served(self, changing):
        files, browser = changing
        for name in ("a.png", "b.txt", "c.mkv"):
            item = browser.id_of(name)
            shutil.copy(files / name, files / "copy")
            os.replace(files / "copy", files / name)
            browser.get(f"/media/{item}/file")
        browser.get(f"/media/{browser.id_of('a.png')}/thumbnail?side=640")
        assert browser.get(f"/api/items/{browser.id_of('b.txt')}/text?line=1").json()["text"]
        browser.get(f"/media/{browser.id_of('c.mkv')}/play?start=0&end=1")
