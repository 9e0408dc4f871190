"""A gallery is whole, safe and self-contained, whatever files are named and contain."""

import base64
import hashlib
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import gallery_reader
from support.images import item_of, scene
from support.terminal import is_harmless
from support.videos import frame_of, make, number_in

from qvsearch.errors import QvsearchError
from qvsearch.files import content_hash
from qvsearch.gallery.cards import Gallery, hit_sections
from qvsearch.gallery.page import check_target, write_gallery
from qvsearch.media.thumbnails import Thumbnails
from qvsearch.types import Hit, Kind, Moment, Segment, Skipped, Snippet


@pytest.fixture(scope="module")
def thumbnails(tmp_path_factory):
    with Thumbnails(1, tmp_path_factory.mktemp("thumbnails")) as made:
        yield made


def hit_of(path, kind=Kind.IMAGE, rank=1, relevance=0.5, **place):
    item = item_of(path, kind)
    segment = Segment(item, content_hash(item.location, item.size), **place)
    return Hit(rank, relevance, 0.25, segment, segment.start, segment.end)


def written(path, hits, thumbnails, title="a query", settings=(), **how):
    failed = write_gallery(path, Gallery(title, hit_sections(hits, **how), settings), thumbnails)
    return gallery_reader.read(path), failed


HOSTILE = [
    b'"><script>alert(1)</script>.png',
    b"' onerror='alert(1)'.png",
    b"&lt;b&gt;&amp;#x3c;.png",
    b"</style><img src=x>.png",
    b"</title>]]>--><!--.png",
    b"javascript:alert(1).png",
    b"a?b#c%41;d\\e.png",
    b"two\nlines\r\t\x1b[31m\x07.png",
    b"\xff\xfe\x80.png",
    "\u202egnp.exe \u2066x\u2028.png".encode(),
    "海の夕日 👩‍👧.png".encode(),
]


def test_hostile_names_are_text_and_links_lead_to_the_exact_files(tmp_path, thumbnails):
    hits = []
    for rank, name in enumerate(HOSTILE, start=1):
        location = os.fsencode(tmp_path) + b"/" + name.replace(b"/", b"\xe2\x88\x95")
        scene(40, 30).save(os.fsdecode(location), "PNG")
        hits.append(hit_of(os.fsdecode(location), rank=rank, snippet=os.fsdecode(name)))
    page, failed = written(
        tmp_path / "g.html",
        hits,
        thumbnails,
        title="<script>\x1b\u202e",
        settings=[("query", "</dd><script>"), ("under", os.fsdecode(HOSTILE[8]))],
    )
    assert failed == []
    assert len(page.images) == len(HOSTILE)
    wanted = {hit.segment.item.location for hit in hits}
    assert {path for path, _ in gallery_reader.paths_of(page)} == wanted
    assert all(is_harmless(text) for text in page.texts)
    assert all(is_harmless(alt) for _, alt in page.images)
    assert "<script>\\x1b\\u202e" in page.texts
    assert "</dd><script>" in page.texts
    assert "two\\nlines\\r\\t\\x1b[31m\\x07.png" in page.texts
    assert "\\xff\\xfe\\x80.png" in page.texts
    assert "海の夕日 👩‍👧.png" in page.texts


def test_the_page_forbids_all_but_its_own_style_and_pictures(tmp_path, thumbnails):
    page, _ = written(tmp_path / "g.html", [], thumbnails)
    [style] = page.styles
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    rules = dict(
        each.strip().split(" ", 1) for each in page.metas["Content-Security-Policy"].split(";")
    )
    assert rules == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": f"'sha256-{digest}'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert page.metas["referrer"] == "no-referrer"
    assert "@media print" in style
    assert "prefers-color-scheme: dark" in style


def test_a_page_has_all_hits_in_order_with_their_pictures_and_places(tmp_path, thumbnails):
    folder = tmp_path / "files"
    folder.mkdir()
    scene(200, 150).save(folder / "photo.png")
    make(folder / "film.mp4", map(frame_of, range(60)), keyframe_every=10)
    (folder / "note.txt").write_text("words")
    film = hit_of(folder / "film.mp4", Kind.VIDEO, 2, start=2.0, end=3.0)
    other = Moment(0.25, 0.2, film.segment, 4.0, 5.0)
    film = replace(
        film, moments=(other,), duplicates=(replace(film.segment.item, path=b"copy.mp4"),)
    )
    note = hit_of(folder / "note.txt", Kind.TEXT, 3, lines=(3, 9), snippet="a < b\n&amp;")
    hits = [hit_of(folder / "photo.png", width=200, height=150, relevance=0.875), film, note]
    page, failed = written(tmp_path / "g.html", hits, thumbnails, settings=[("top", "3")])
    assert failed == []
    (photo, alt), (frame, film_alt) = page.images
    assert np.abs(np.asarray(photo, int) - np.asarray(scene(200, 150), int)).mean() < 8
    assert 20 <= number_in(np.asarray(frame)) < 30
    assert (alt, film_alt) == ("photo.png, 200x150", "film.mp4, 00:02-00:03")
    places = [(os.path.basename(path), moment) for path, moment in gallery_reader.paths_of(page)]
    assert places == [
        *[(b"photo.png", "")] * 2,
        *[(b"film.mp4", "t=2")] * 2,
        (b"film.mp4", "t=4"),
        (b"copy.mp4", ""),
        (b"note.txt", ""),
    ]
    for text in (
        "0.88",
        "00:04-00:05",
        "lines 3-9",
        "a < b &amp;",
        "1 more like it",
        "top",
        "3 files",
    ):
        assert text in page.texts, text


def test_a_file_that_is_gone_or_broken_has_a_card_that_says_so(tmp_path, thumbnails):
    for name in ("gone.png", "kept.png", "changed.png"):
        scene(40, 30).save(tmp_path / name)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    names = ["gone.png", "kept.png", "changed.png", "broken.png"]
    hits = [hit_of(tmp_path / name, rank=rank) for rank, name in enumerate(names, start=1)]
    thumbnails.webp(hits[1].segment)
    scene(60, 30).save(tmp_path / "changed.png")
    for name in names[:2]:
        os.unlink(tmp_path / name)
    hits[:2] = [replace(hit, gone=True) for hit in hits[:2]]
    page, failed = written(tmp_path / "g.html", hits, thumbnails)
    assert [(each.path, bool(each.reason)) for each in failed] == [
        (os.fsencode(tmp_path / name), True) for name in names[2:]
    ]
    assert len(page.images) == 1  # kept in the cache
    assert page.texts.count("no longer there") == 2
    assert {failed[0].reason, failed[1].reason} < set(page.texts)
    linked = {os.path.basename(path).decode() for path, _ in gallery_reader.paths_of(page)}
    assert linked == {"changed.png", "broken.png"}


def test_words_of_the_query_are_marked_and_stay_text(tmp_path, thumbnails):
    place = tmp_path / "a.txt"
    place.write_text("<b>paid</b> now")
    hit = hit_of(place, Kind.TEXT, snippet="<b>paid</b> now")
    hit = replace(hit, snippet=Snippet("<b>paid</b> now", ((3, 7),)))
    page = tmp_path / "page.html"
    written(page, [hit], thumbnails)
    assert "&lt;b&gt;<mark>paid</mark>&lt;/b&gt; now" in page.read_text()


def test_hits_without_a_relevance_have_no_bar(tmp_path, thumbnails):
    scene(40, 30).save(tmp_path / "a.png")
    page, _ = written(
        tmp_path / "g.html", [hit_of(tmp_path / "a.png", relevance=float("nan"))], thumbnails
    )
    assert "meter" not in page.tags
    assert not any("nan" in text for text in page.texts)


def test_each_kind_has_a_section(tmp_path, thumbnails):
    scene(40, 30).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("words")
    hits = [hit_of(tmp_path / "a.png"), hit_of(tmp_path / "a.txt", Kind.TEXT)]
    page, _ = written(tmp_path / "g.html", hits, thumbnails, by_kind=True)
    assert page.tags.count("section") == 2
    assert {"Images", "Texts"} <= set(page.texts)


def test_libraries_are_named_if_there_are_several(tmp_path, thumbnails):
    (tmp_path / "a.txt").write_text("words")
    hit = hit_of(tmp_path / "a.txt", Kind.TEXT)
    hits = [replace(hit, library=Path("/data/photos")), replace(hit, library=Path("/data/work"))]
    page, _ = written(tmp_path / "g.html", hits, thumbnails)
    assert {"photos", "work"} <= set(page.texts)


def test_only_a_gallery_is_replaced(tmp_path, thumbnails):
    place = tmp_path / "g.html"
    written(place, [], thumbnails, title="first")
    page, _ = written(place, [], thumbnails, title="second")
    assert "second" in page.texts
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"precious")
    with pytest.raises(QvsearchError, match="is another file, not a gallery"):
        written(photo, [], thumbnails)
    assert photo.read_bytes() == b"precious"
    os.mkfifo(tmp_path / "pipe.html")
    os.symlink(photo, tmp_path / "link.html")
    for name, message in [
        ("", "is a folder; give --html a file in it"),
        ("none/g.html", "there is no folder .*none"),
        ("pipe.html", "cannot replace .*pipe.html: not a plain file"),
        ("link.html", "is another file, not a gallery"),
    ]:
        with pytest.raises(QvsearchError, match=message):
            check_target(tmp_path / name)
    (tmp_path / "empty.html").touch()
    check_target(tmp_path / "empty.html")


def test_a_page_that_cannot_be_finished_leaves_the_old_one(tmp_path, thumbnails):
    scene(40, 30).save(tmp_path / "a.png")
    place = tmp_path / "g.html"
    written(place, [], thumbnails)
    before = place.read_bytes()
    gallery = Gallery("late", hit_sections([hit_of(tmp_path / "a.png")] * 3))

    def interrupt(number):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_gallery(place, gallery, thumbnails, interrupt)
    assert place.read_bytes() == before
    assert {each.name for each in tmp_path.iterdir()} == {"a.png", "g.html"}
    assert not isinstance(thumbnails.webp(gallery.cards[0].segment), Skipped)  # still at work


def test_many_pictures_come_in_order(tmp_path, thumbnails):
    colours = [(number, 255 - number, 0) for number in range(0, 250, 2)]
    for number, colour in enumerate(colours):
        Image.new("RGB", (16, 16), colour).save(tmp_path / f"{number}.png")
    hits = [hit_of(tmp_path / f"{number}.png", rank=number + 1) for number in range(len(colours))]
    page, _ = written(tmp_path / "g.html", hits, thumbnails)
    seen = [picture.getpixel((8, 8)) for picture, _ in page.images]
    assert np.abs(np.array(seen) - np.array(colours)).max() <= 6
    ranks = [text for text in page.texts if re.fullmatch(r"\d+", text)]
    assert ranks == [str(number + 1) for number in range(len(colours))]
