"""Takes the pictures of `docs/serve.md`: `cd tests && python -m support.screenshots [FOLDER]`.

Draws an album of the demo model's world, indexes and serves it, and writes small WebP files.
"""

import io
import sys
import tempfile
from pathlib import Path
from urllib.request import urlopen

from PIL import Image
from playwright.sync_api import sync_playwright

from support.browsing import browser_flags, browser_path, index, serving
from support.drawn_album import write_album

QUERY = "/?q=a+red+star&all=1"
QUALITY = 72
LAPTOP, PHONE = {"width": 1200, "height": 750}, {"width": 390, "height": 780}


def hits(page):
    page.locator("#grid .card img.shown").nth(6).wait_for()


def kept(page):
    """Two hits are selected, and the menu of a third is open."""
    hits(page)
    page.locator("#grid .card .main").first.focus()
    for key in ("Space", "ArrowRight", "Space"):
        page.keyboard.press(key)
    page.locator("#grid .card").nth(4).hover()
    page.locator("#grid .card .round").nth(4).click()


def why(page):
    hits(page)
    page.locator("#grid .card .main").nth(1).focus()
    page.keyboard.press("w")
    page.locator("#reason figure").wait_for()


def video(page):
    page.locator("#grid .card.video .main").first.click()
    page.locator("#viewer video").evaluate(
        "video => new Promise(done => video.addEventListener('timeupdate', done))"
    )


def groups(page):
    page.locator(".group .main").first.wait_for()


# each picture: its name, the colour scheme, the size of the window, the address, what leads to it
PICTURES = [
    ("page-light", "light", LAPTOP, QUERY, kept),
    ("page-dark", "dark", LAPTOP, "/?kind=image&kind=video", hits),
    ("page-why", "dark", LAPTOP, QUERY, why),
    ("page-video", "light", LAPTOP, "/?q=a+star&kind=video&all=1", video),
    ("page-phone", "light", PHONE, QUERY, hits),
    ("page-duplicates", "light", LAPTOP, "/duplicates", groups),
]


def take(browser, url, folder):
    for name, scheme, size, address, lead in PICTURES:
        page = browser.new_page(base_url=url, color_scheme=scheme, viewport=size)
        page.route("**/api/status", lambda route: route.abort())  # pictures need no notice
        page.goto(address)
        lead(page)
        page.wait_for_timeout(1500)  # until pictures have faded in
        with Image.open(io.BytesIO(page.screenshot())) as picture:
            picture.convert("RGB").save(folder / f"{name}.webp", quality=QUALITY, method=6)
        page.close()
        print(folder / f"{name}.webp")  # noqa: T201


def main():
    docs = Path(__file__).parents[2] / "docs" / "images"
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else docs
    folder.mkdir(parents=True, exist_ok=True)
    # a short path, as the pictures show it
    with tempfile.TemporaryDirectory(prefix="demo-") as made, sync_playwright() as playwright:
        album, cache = Path(made) / "album", Path(made) / "cache"
        write_album(album)
        library = index(album, "pictures", "clips", "notes", cache=cache)
        browser = playwright.chromium.launch(executable_path=browser_path(), args=browser_flags())
        with serving(library, cache) as url:
            urlopen(f"{url}api/search?q=loaded").close()  # the model
            take(browser, url, folder)
        browser.close()


if __name__ == "__main__":
    main()
