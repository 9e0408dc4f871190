"""What a person does with hits, in a real browser: look, play, read, ask why, select, take along.

Proves that every action of a card works by pointer and by key, that videos play their moment, that
names cannot act on the page, and that ten thousand hits take no more memory than a screenful.
"""

import base64
import json
import re
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import expect
from support.browsing import fresh, index, names, serving
from support.coloured_pages import write_pdf
from support.drawn_album import HOSTILE
from support.hostile_videos import film

from qvsearch.display import safe_text

pytestmark = pytest.mark.browser

STAR = "/?q=a+red+star"
MOST_CARDS = 120  # that are elements, in a window of 1280 x 800 and some above and below it
SCROLL = """async (index) => {
    const cards = document.getElementById("grid").children;
    let most = 0;
    while (Number(cards[cards.length - 1].dataset.index) < index) {
        scrollTo(0, document.documentElement.scrollHeight);
        await new Promise(requestAnimationFrame);
        most = Math.max(most, cards.length);
    }
    return most;
}"""


def opened(page, address):
    page.goto(address)
    page.locator("#grid .card .main").first.wait_for()
    return page.locator("#grid .card")


def in_large(page):
    return page.locator("#viewer")


def test_a_hit_opens_in_large_and_back_closes_it(page):
    address = STAR + "&all=1&kind=image"
    cards = opened(page, address)
    shown = names(page)
    cards.nth(1).click()
    in_large(page).get_by_role("heading", name=shown[1]).wait_for()
    image = in_large(page).locator("#stage img")
    expect(image).to_have_attribute("alt", re.compile(re.escape(shown[1]) + ", relevance [0-9]+ %"))
    expect(image).to_have_attribute("src", re.compile("side=1280"))
    in_large(page).get_by_role("button", name="Next").click()
    in_large(page).get_by_role("heading", name=shown[2]).wait_for()
    page.go_back()
    in_large(page).wait_for(state="hidden")
    assert page.url.endswith(address)


def test_the_address_of_a_hit_in_large_can_be_shared(chromium, page, url):
    cards = opened(page, STAR)
    name = names(page)[0]
    cards.first.click()
    in_large(page).get_by_role("heading", name=name).wait_for()
    shared = page.url
    assert re.search("#[0-9a-f]{48}$", shared)
    with fresh(chromium, url) as other:
        other.goto(shared)
        in_large(other).get_by_role("heading", name=name).wait_for()
        other.keyboard.press("Escape")
        in_large(other).wait_for(state="hidden")
        assert other.url.endswith(STAR)


def test_why_draws_what_explain_says(page):
    cards = opened(page, STAR + "&not=snow")
    identity = cards.first.locator(".main").get_attribute("href")[1:]
    said = page.request.get(f"/api/items/{identity}/explain?q=a+red+star&not=snow").json()
    cards.first.locator(".main").focus()
    page.keyboard.press("w")
    reason = page.locator("#reason")
    reason.get_by_text(f"Place {said['rank']} of {said['items']} files").wait_for()
    terms = said["segments"][0]["terms"]
    assert [each["weight"] > 0 for each in terms] == [True, False]
    captions = reason.locator("figcaption").all_inner_texts()
    assert [each.split(":")[0] for each in captions] == ["a red star", "not snow"]
    drawn = reason.locator("svg[role=img]").first
    assert f"cosine {terms[0]['score']:.3f}" in drawn.get_attribute("aria-label")
    here, best = (drawn.locator(name).bounding_box() for name in (".here", ".best"))
    assert here["x"] <= best["x"] + best["width"]


def test_near_duplicates_unfold_with_their_pictures(page):
    opened(page, "/?q=a+red+ring+and+a+yellow+star+at+night&kind=image")
    page.locator(".repeats").first.click()
    repeats = page.locator("#repeats")
    repeats.get_by_role("heading", name="1 near-duplicate").wait_for()
    other = repeats.get_by_role("link")
    name = other.inner_text().strip().split("/")[-1]
    other.click()
    in_large(page).get_by_role("heading", name=name).wait_for()


def test_a_text_shows_its_passage_with_its_lines(page, album):
    opened(page, "/?kind=text&sort=path").first.click()
    lines = page.locator("mark.line")
    lines.first.wait_for()
    text = (album[0] / "notes" / "note 1.txt").read_text().splitlines()
    assert [each.split("\n")[-1] for each in lines.all_inner_texts()] == text
    assert page.locator(".number").all_inner_texts()[: len(text)] == [
        str(number) for number in range(1, len(text) + 1)
    ]


def test_a_text_marks_the_words_of_the_query(page, album):
    word = (album[0] / "notes" / "note 1.txt").read_text().split()[-1].strip(".").lower()
    opened(page, f"/?q={word}&words_only=1&kind=text&all=1").first.click()
    page.locator("mark.line").first.wait_for()
    marked = page.locator("mark.line mark, div.line mark").all_inner_texts()
    assert {each.lower() for each in marked} == {word}


def test_cards_of_pages_and_films_show_the_words_of_the_query_until_pointed_at(chromium, tmp_path):
    files = tmp_path / "files"
    files.mkdir()
    write_pdf(files / "report.pdf", ("grey", "An <b>ode</b> to the quokka"))
    (files / "film.mp4").write_bytes(film("mp4"))
    (files / "film.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nWhere is the\nquokka?\n")
    library = index(tmp_path, "files", cache=tmp_path)
    with serving(library, tmp_path) as address, fresh(chromium, address) as page:
        for query, said in (
            ('"the quokka"', ["An <b>ode</b> to the quokka", "Where is the quokka?"]),
            ("a grey page", []),
            ('"THE quokka"', ["An <b>ode</b> to the quokka", "Where is the quokka?"]),
        ):
            cards = opened(page, f"/?q={query}&all=1")
            words = cards.locator(".words")
            assert sorted(words.all_inner_texts()) == said
        assert words.locator("mark").all_inner_texts() == ["the quokka"] * 2
        expect(words.first).to_have_css("opacity", "1")
        cards.first.hover()
        expect(words.first).to_have_css("opacity", "0")
        expect(cards.first.locator(".caption")).to_have_css("opacity", "1")


def test_cards_show_a_name_with_words_of_the_query_from_the_first_folder_that_has_them(page):
    words = opened(page, "/?q=IMG_0003&kind=image").first.locator(".words")
    assert words.inner_text() == "IMG_0003.jpg"
    assert words.locator("mark").all_inner_texts() == ["0003"]  # most have the other word
    words = opened(page, '/?q="clips"&kind=video').first.locator(".words")
    assert words.inner_text() == f"clips/{names(page)[0]}"
    assert words.locator("mark").all_inner_texts() == ["clips"]
    place = opened(page, '/?q="note 1"&kind=text').first.locator(".place")
    assert place.inner_text().startswith("note 1.txt, line")
    assert place.locator("mark").all_inner_texts() == ["note 1"]


def test_a_card_plays_its_moment_silently_under_the_pointer(page):
    opened(page, "/?q=holiday&kind=video&all=1&glob=*.webm").first.hover()
    video = page.locator(".card video")
    expect(video).to_have_class("shown")
    start, end = (page.locator(".badge").inner_text().strip() for _ in range(2))
    assert start == end
    first, last = (int(part.split(":")[1]) for part in start.split("–"))
    state = "video => [video.muted, video.paused, video.currentTime]"
    muted, paused, time = video.evaluate(state)
    assert (muted, paused) == (True, False)
    assert first - 0.2 <= time <= last + 0.5
    page.mouse.move(0, 0)
    expect(video).to_have_count(0)


def test_a_card_is_still_for_those_who_want_less_motion(chromium, url):
    with fresh(chromium, url, reduced_motion="reduce") as page:
        opened(page, "/?kind=video").first.hover()
        page.wait_for_timeout(600)  # four times what it would wait to begin
        assert page.locator(".card video").count() == 0


@pytest.mark.parametrize(("name", "whole"), [("*.webm", True), ("*.avi", False)])
def test_a_video_plays_its_moment_and_the_others(page, name, whole):
    opened(page, f"/?q=a+star&kind=video&all=1&glob={name}").first.click()
    playing = "video => new Promise(done => video.currentTime > 0 && video.readyState > 1"
    playing += " ? done(true) : video.addEventListener('timeupdate', () => done(true)))"
    video = in_large(page).locator("video")
    assert video.evaluate(playing)
    length = video.evaluate("video => video.duration")
    assert abs(length - (12 if whole else 4)) < 0.6
    moments = in_large(page).get_by_role("group", name="Moments").get_by_role("button")
    assert moments.first.get_attribute("aria-label") or moments.first.inner_text()
    others = (
        in_large(page).get_by_role("group", name="Moments").get_by_role("button", pressed=False)
    )
    address = video.get_attribute("src")
    if moments.count() > 1:
        others.last.click()
        expect(in_large(page).locator("video")).not_to_have_attribute("src", address)
        assert in_large(page).locator("video").evaluate(playing)
    assert in_large(page).get_by_text("made for this browser").count() == (0 if whole else 1)


def test_paths_are_copied_and_files_opened_by_key(page, album):
    cards = opened(page, "/?kind=image&sort=path")
    cards.nth(2).locator(".main").focus()
    page.keyboard.press("c")
    page.get_by_text("Path copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == str(album[0] / "pictures" / names(page)[2])
    with page.expect_request(re.compile(r"/open\?")) as asked:
        page.keyboard.press("o")
    assert asked.value.method == "POST"
    page.locator(".toast.shown").wait_for()


def test_a_selection_becomes_a_zip_and_lists(page, album):
    cards = opened(page, "/?kind=image&sort=path")
    cards.nth(0).hover()
    cards.nth(0).get_by_role("checkbox").check()
    cards.nth(3).get_by_role("checkbox").check()
    chosen = [names(page)[0], names(page)[3]]
    bar = page.get_by_role("region", name="Selection")
    bar.get_by_text("2 files selected").wait_for()
    with page.expect_download() as download:
        bar.get_by_role("button", name="Save as ZIP").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        assert [Path(name).name for name in archive.namelist()] == chosen
        for name in archive.namelist():
            assert archive.read(name) == (album[0] / "pictures" / Path(name).name).read_bytes()
    with page.expect_download() as download:
        bar.get_by_role("button", name="Save as gallery").click()
    page_of_pictures = Path(download.value.path()).read_text()
    assert page_of_pictures.count("<img src=") == 2
    assert all(name in page_of_pictures for name in chosen)
    with page.expect_download() as download:
        bar.get_by_role("button", name="Save list of paths").click()
    paths = Path(download.value.path()).read_text().splitlines()
    assert paths == [str(album[0] / "pictures" / name) for name in chosen]
    bar.get_by_role("button", name="Copy paths").click()
    page.get_by_text("2 paths copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()").split("\n") == paths
    bar.get_by_role("button", name="Clear").click()
    expect(bar).to_be_hidden()
    assert cards.locator("input:checked").count() == 0


def test_a_name_cannot_act_on_the_page(page):
    """Its control and override characters are visible, its markup is text."""
    cards = opened(page, "/?kind=image&glob=**/an*")
    shown = HOSTILE.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e")
    assert names(page) == [shown]
    cards.first.click()
    in_large(page).get_by_role("heading", name=shown).wait_for()
    assert page.locator("img[src=x]").count() == 0
    page.keyboard.press("c")
    page.get_by_text("Path copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("$'/")
    assert "\\x1b[31m" in copied


def test_names_are_shown_as_the_command_line_shows_them(page):
    page.goto("/")
    harmful = [*range(0xA0), 0x61C, *range(0x200E, 0x2010), *range(0x2028, 0x202F), 0xFEFF]
    texts = [f"a{chr(code)}b" for code in [*harmful, *range(0x2066, 0x206A), 0x4E2D, 0x1F600]]
    shown = page.evaluate(
        "texts => import('/static/text.js').then(text => texts.map(text.safe))", texts
    )
    assert shown == [safe_text(text) for text in texts]
    names = [b"/\xff\xfe.jpg", "/\u00e9\u4e2d\U0001f600.jpg".encode() + b"\x80", b"/a\x1b\xc3.txt"]
    paths = page.evaluate(
        """async (names) => {
            const { pathOf } = await import("/static/text.js");
            return names.map((each) => pathOf({ path_b64: each }));
        }""",
        [base64.b64encode(name).decode() for name in names],
    )
    assert paths == [safe_text(name) for name in names]


def test_a_file_that_is_gone_says_so(page, album):
    lost = album[0] / "pictures" / "IMG_0020.jpg"
    content = lost.read_bytes()
    lost.unlink()
    try:
        cards = opened(page, "/?glob=**/IMG_0020.jpg")
        cards.first.get_by_text("missing").first.wait_for()
        cards.first.click()
        page.locator("#stage .problem").wait_for()
        page.keyboard.press("Escape")
        cards.first.locator(".main").wait_for()
    finally:
        lost.write_bytes(content)


def test_a_moment_of_a_motion_photo_plays_and_its_picture_does_not(page):
    identity = page.request.get("/api/search?kind=image&limit=1").json()["hits"][0]["id"]
    photo = {"id": identity, "kind": "image", "path": "/a.jpg", "relevance": 0.9, "duration": 2.5}
    hits = [photo | {"rank": 1, "start": 0, "end": 2}, photo | {"rank": 2}]
    record = {"hits": hits, "relevant": True, "more": False, "seconds": 0}
    page.route("**/api/search?*", lambda route: route.fulfill(json=record))
    cards = opened(page, STAR)
    expect(cards.nth(0).locator(".badge")).to_have_text("0:00–0:02")
    expect(cards.nth(1).locator(".badge")).to_have_count(0)
    with page.expect_request("**/play?start=0&end=2"):
        cards.nth(0).click()
    # this picture has no film; no other program plays a film within a picture
    expect(page.locator("#stage .note")).to_have_text("This browser cannot play the video.")
    page.go_back()
    in_large(page).wait_for(state="hidden")
    cards.nth(1).click()
    expect(in_large(page).locator("#stage img")).to_have_attribute("src", re.compile("side=1280$"))


def test_the_film_of_a_motion_photo_plays_if_its_picture_is_the_hit(page, album):
    identity = page.request.get("/api/search?kind=image&limit=1").json()["hits"][0]["id"]
    photo = {"id": identity, "kind": "image", "path": "/a.jpg", "relevance": 0.9, "duration": 2.5}
    moment = {"start": 0, "end": 2, "relevance": 0.5}
    hits = [photo | {"rank": 1, "moments": [moment]}, photo | moment | {"rank": 2}]
    record = {"hits": hits, "relevant": True, "more": False, "seconds": 0}
    page.route("**/api/search?*", lambda route: route.fulfill(json=record))
    film = album[0] / "clips" / "holiday.webm"
    page.route("**/play?*", lambda route: route.fulfill(path=film))
    cards = opened(page, STAR)
    parts = page.get_by_role("group", name="Parts of this photo").get_by_role("button")
    playing = "video => new Promise(done => video.addEventListener('timeupdate', () => done(true)))"
    for place, source in enumerate(("play?start=0&end=2.5", "play?start=0&end=2")):
        cards.nth(place).click()
        expect(parts).to_have_text(["Picture", "Film"])
        for number, part in enumerate((place, 1 - place, place)):
            if number:
                parts.nth(part).click()
                expect(parts.nth(part)).to_be_focused()
            expect(parts.nth(part)).to_have_attribute("aria-pressed", "true")
            expect(parts.nth(1 - part)).to_have_attribute("aria-pressed", "false")
            expect(page.locator("#stage img")).to_have_count(1 - part)
            expect(page.locator("#stage video")).to_have_count(part)
            if part:
                video = page.locator("#stage video")
                expect(video).to_have_attribute("src", re.compile(re.escape(source)))
                assert video.evaluate(playing)
            else:
                picture = page.locator("#stage img")
                expect(picture).to_have_attribute("src", re.compile("side=1280$"))
        page.keyboard.press("Escape")
        in_large(page).wait_for(state="hidden")


def ten_thousand(page):
    """Let the page be answered with 10,000 hits, as there are no such libraries in a test."""

    # one picture for all: the browser has it already, and no server stands in the way
    identity = page.request.get("/api/search?kind=image&limit=1").json()["hits"][0]["id"]

    def answer(route):
        query = re.search(r"offset=(\d+)&limit=(\d+)", route.request.url)
        offset, limit = int(query[1]), int(query[2])
        hits = [
            {
                "rank": number + 1,
                "relevance": 0.9,
                "id": identity,
                "kind": "image",
                "path": f"/photos/{number}.jpg",
                "width": 300 + number * 7 % 400,
                "height": 300,
            }
            for number in range(offset, min(offset + limit, 10_000))
        ]
        record = {"hits": hits, "relevant": True, "more": offset + limit < 10_000, "seconds": 0}
        route.fulfill(json=record)

    page.route("**/api/search?*", answer)


def test_ten_thousand_hits_take_the_memory_of_a_screenful(page):
    ten_thousand(page)
    opened(page, "/?q=all")
    protocol = page.context.new_cdp_session(page)

    def memory():
        protocol.send("HeapProfiler.collectGarbage")
        return page.evaluate("performance.memory.usedJSHeapSize") / 2**20

    assert page.evaluate(SCROLL, 1_500) < MOST_CARDS
    before = memory()
    assert page.evaluate(SCROLL, 9_999) < MOST_CARDS
    assert memory() < before + 4  # MB; the shapes of 8,500 hits are 0.1
    page.keyboard.press("Escape")
    page.evaluate("scrollTo(0, 0)")
    first = page.locator("[data-index='0'] .caption")
    expect(first).to_have_text("0.jpg")  # its record was forgotten, and is fetched again
    page.locator("[data-index='0'] .main").focus()
    page.keyboard.press("End")
    expect(page.locator("[data-index='9999'] .main")).to_be_focused()


def test_a_hit_keeps_its_place_when_the_window_changes(page):
    ten_thousand(page)
    opened(page, "/?q=all")
    page.evaluate(SCROLL, 500)
    seen = """() => [...document.querySelectorAll('#grid .card')]
        .find(card => card.getBoundingClientRect().top > 100).dataset.index"""
    before = int(page.evaluate(seen))
    page.set_viewport_size({"width": 700, "height": 800})
    page.wait_for_timeout(200)
    assert abs(int(page.evaluate(seen)) - before) < 14  # two rows


def test_the_page_weighs_little():
    static = Path(__file__).parents[2] / "qvsearch" / "web" / "static"
    sizes = {path.name: path.stat().st_size for path in static.iterdir()}
    assert sum(sizes.values()) < 120_000, json.dumps(sizes)
