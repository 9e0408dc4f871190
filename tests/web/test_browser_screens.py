"""Every screen in a real browser: accessible, as wide as the window, and plain about its state.

Proves with axe-core that the screens have names, roles and contrast in both colour schemes, that
none is wider than its window from a telephone to 4K, that groups are shown as the command line
prints them, and that an empty, a changed and a busy library say so.
"""

import json
import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from support.browsing import SIZE, fresh, index, names, serving
from support.served import printed

from qvsearch.library.library import Library

pytestmark = pytest.mark.browser

STAR = "/?q=a+red+star&all=1"
OVERFLOW = """async () => {
    for (let frame = 0; frame < 3; frame += 1) await new Promise(requestAnimationFrame);
    return document.documentElement.scrollWidth - innerWidth;
}"""
WIDTHS = (320, 390, 768, 1280, 1920, 3840)


def first_card(page):
    page.locator("#grid .card .main").first.focus()


def choose_two(page):
    first_card(page)
    for key in ("Space", "ArrowRight", "Space"):
        page.keyboard.press(key)


def in_large(page, kind):
    page.locator(f"#grid .card.{kind} .main").first.click()
    page.locator("#viewer .about dl").wait_for()


def why(page):
    first_card(page)
    page.keyboard.press("w")
    page.locator("#reason figure").first.wait_for()


def menu(page):
    page.locator("#grid .card").first.hover()
    page.locator("#grid .card .round").first.click()


def filters(page):
    page.get_by_role("button", name="Date", exact=True).click()


def groups(page):
    page.locator(".group .main, .tiles a").first.wait_for(timeout=30_000)


# each screen: its address, and what leads to it
SCREENS = {
    "hits": (STAR, first_card),
    "all files": ("/", lambda page: page.locator("#grid .card").first.wait_for()),
    "no match": (
        "/?q=my+birthday+cake",
        lambda page: page.get_by_text("Nothing matches").wait_for(),
    ),
    "no file": ("/?after=2040", lambda page: page.get_by_text("No file passes").wait_for()),
    "an error": ("/?near=here", lambda page: page.get_by_role("alert").wait_for()),
    "a selection": (STAR, choose_two),
    "the menu": (STAR, menu),
    "a filter": (STAR, filters),
    "a picture": (STAR, lambda page: in_large(page, "image")),
    "a video": (STAR, lambda page: in_large(page, "video")),
    "a text": (STAR, lambda page: in_large(page, "text")),
    "why": (STAR, why),
    "the keys": ("/", lambda page: page.locator("#keys").click()),
    "duplicates": ("/duplicates", groups),
    "clusters": ("/clusters", groups),
}
MEASURED = ("hits", "no match", "a picture", "a text", "duplicates", "clusters")  # at each width


def test_screens_are_accessible_and_no_wider_than_their_window(chromium, url, tally):
    with fresh(chromium, url, color_scheme="light", reduced_motion="reduce") as page:
        for name, (address, lead) in SCREENS.items():
            page.goto("about:blank")
            page.goto(address)
            lead(page)
            for scheme, rules in (("light", {}), ("dark", {"runOnly": ["color-contrast"]})):
                page.emulate_media(color_scheme=scheme)
                options = {"resultTypes": ["violations"], **rules}
                found = Axe().run(page, options=options).response["violations"]
                told = [
                    (each["id"], [node["html"][:150] for node in each["nodes"]]) for each in found
                ]
                assert told == [], (name, scheme)
                tally["screens of the page checked with axe-core"] += 1
            page.emulate_media(color_scheme="light")
            for width in WIDTHS if name in MEASURED else ():
                page.set_viewport_size({"width": width, "height": 800})
                assert page.evaluate(OVERFLOW) <= 0, (name, width)
                tally["screens of the page measured at a width"] += 1
            page.set_viewport_size(SIZE)


def test_every_control_of_a_card_is_large_enough_for_a_finger(chromium, url):
    with fresh(chromium, url, has_touch=True, is_mobile=True) as page:
        page.set_viewport_size({"width": 390, "height": 844})
        page.goto(STAR)
        page.locator(".card .round").first.wait_for()
        for control in page.locator(".card button, .head button, .chips button").all():
            box = control.bounding_box()
            if box:
                assert min(box["width"], box["height"]) >= 24, control.inner_html()


def right(locator):
    box = locator.bounding_box()
    return box["x"] + box["width"]


def test_on_a_telephone_nothing_covers_or_leaves_its_place(chromium, url):
    with fresh(chromium, url, has_touch=True, is_mobile=True) as page:
        page.set_viewport_size({"width": 390, "height": 844})
        page.goto("/?kind=text")
        page.locator(".card .place").first.wait_for()
        for card in page.locator(".card.text").all():
            # the name ends before the button, however long it is
            assert right(card.locator(".place span")) <= card.locator(".round").bounding_box()["x"]
        for pill in page.locator(".chips .pill[aria-haspopup]").all():
            pill.click()
            choices = page.locator(".choices:popover-open")
            assert choices.bounding_box()["x"] >= 8, pill.inner_text()
            assert right(choices) <= 390 - 8, pill.inner_text()
            for number in choices.locator("small").all():
                assert number.bounding_box()["height"] < 26, number.inner_text()  # one line
            page.keyboard.press("Escape")


def test_duplicates_are_those_of_the_command_line_and_can_be_exported(page, album, capsys):
    found = printed(capsys, "dupes", "-l", album[0] / "library")
    expected = [group["items"] for group in found]
    page.goto("/duplicates")
    page.locator(".group").first.wait_for(timeout=30_000)
    shown = [group.locator("b").all_inner_texts() for group in page.locator(".group").all()]
    assert shown == [[Path(each["path"]).name for each in items] for items in expected]
    for group in page.locator(".group").all():
        badges = group.locator(".badge").all_inner_texts()
        assert badges[0] == "best"
        assert set(badges[1:]) <= {"the very same", "a copy"}
    repeats = [name for names in shown for name in names[1:]]
    with page.expect_download() as download:
        page.get_by_role("button", name="Save list of repeats").click()
    paths = Path(download.value.path()).read_text().splitlines()
    assert paths == [str(album[0] / "pictures" / name) for name in repeats]
    with page.expect_download() as download:
        page.get_by_role("button", name="Save all groups as JSON").click()
    lines = Path(download.value.path()).read_text().splitlines()
    assert [len(json.loads(line)["items"]) for line in lines] == list(map(len, shown))
    page.locator(".member .main").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.locator("#viewer").get_by_role("heading", name=repeats[0]).wait_for()
    page.keyboard.press("Escape")
    assert all(Path(path).exists() for path in paths)  # nothing is deleted


def test_a_cluster_opens_as_a_grid_and_back_closes_it(page):
    page.goto("/clusters")
    tile = page.locator(".tiles a").first
    tile.wait_for(timeout=30_000)
    files = int(tile.locator(".quiet").inner_text().split()[0])
    tile.click()
    page.wait_for_url("**/clusters?group=*")
    expect(page.locator("#message")).to_contain_text(f"{files} files")
    assert 0 < page.locator("#grid .card").count() <= files
    page.go_back()
    page.locator(".tiles a").first.wait_for()


def test_an_empty_library_shows_the_command(chromium, album, tmp_path):
    folder = tmp_path / "new library"
    Library.create(folder, Library.open(album[0] / "library").fingerprint)
    with serving(folder, tmp_path) as address, fresh(chromium, address) as page:
        page.goto("/")
        page.get_by_text("There is nothing here yet.").wait_for()
        command = page.locator("#message code").inner_text()
        assert command.startswith("qvsearch index FOLDER -l ")
        assert str(folder) in command


def test_a_changed_library_says_how_many_files(chromium, tmp_path):
    (tmp_path / "notes").mkdir()
    for number in range(4):
        (tmp_path / "notes" / f"{number}.txt").write_text("a green star on snow\n" * (number + 1))
    library = index(tmp_path, "notes", cache=tmp_path)
    (tmp_path / "notes" / "0.txt").write_text("a red star, and longer than before\n" * 9)
    (tmp_path / "notes" / "1.txt").unlink()
    with serving(library, tmp_path) as address, fresh(chromium, address) as page:
        page.goto("/")
        notices = page.locator("#notices")
        text = "1 file changed and 1 file is missing since it was indexed"
        expect(notices).to_contain_text(text, timeout=120_000)
        assert "qvsearch index" in notices.locator("code").inner_text()


def test_a_library_that_is_being_indexed_shows_how_much_is_left(page):
    said = page.request.get("/api/status").json()
    said["libraries"][0]["indexing"] = {"files_left": 1234}
    page.route("**/api/status", lambda route: route.fulfill(json=said))
    page.goto("/")
    page.get_by_text(re.compile("Indexing: 1,234 files to go")).wait_for()


def test_words_that_are_not_found_yet_are_pointed_out(page):
    said = page.request.get("/api/status").json()
    assert "missing_words" not in said["libraries"][0]
    command = "qvsearch publish /mnt/nas/photos.lance"
    page.route("**/api/status", lambda route: route.fulfill(json=said))
    notices = page.locator("#notices")
    for missing, text in (
        ({"all": True}, "Words are not found yet. To add them"),
        ({"all": False, "publishers": ["anna", "<b>ben"]}, "Words of some files are not found"),
    ):
        said["libraries"][0]["missing_words"] = {**missing, "command": command}
        page.goto("/")
        expect(notices).to_contain_text(text)
        expect(notices.locator("code").last).to_have_text(command)
    expect(notices).to_contain_text("by anna, <b>ben")


def test_a_server_that_has_ended_is_named(chromium, album, tmp_path):
    with fresh(chromium, "http://127.0.0.1") as page:
        with serving(album[0] / "library", tmp_path) as address:
            page.goto(address)
            page.locator("#grid .card").first.wait_for()
        page.get_by_label("What to look for").fill("a star")
        page.keyboard.press("Enter")
        page.get_by_role("alert").get_by_text("Is “qvsearch serve” still running?").wait_for()
        assert page.get_by_role("button", name="Try again").is_visible()
        assert names(page)  # what was there stays
