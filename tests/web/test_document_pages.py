"""Documents on the page: pictures of their pages, never the file itself in the browser."""

import io
import re
from urllib.request import urlopen

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import expect
from support import browsing
from support.coloured_pages import colour_of
from support.page_library import make_library, write_documents
from support.served import own_cache, serving

from qvsearch import opening

SEARCH = "/?q=report&all=1"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("documents")
    (place / "files").mkdir()
    write_documents(place / "files")
    return place


@pytest.fixture(scope="module")
def documents(place):
    """A client of a server of two documents."""
    make_library(place / "made", place / "files")
    with own_cache(place / "cache"), serving(place / "made") as client:
        yield client


@pytest.fixture(scope="module")
def address(place):
    """The page of a server of the same documents, indexed by the demo model."""
    library = browsing.index(place, "files", cache=place / "cache")
    with browsing.serving(library, place / "cache") as url:
        urlopen(f"{url}api/search?q=loaded", timeout=browsing.PATIENCE).close()  # loads the model
        yield url


def test_a_thumbnail_shows_the_page(documents):
    report = documents.id_of("report.pdf")
    for parameters, colour in (("", "red"), ("?page=2", "green"), ("?page=3&side=640", "blue")):
        answer = documents.get(f"/media/{report}/thumbnail{parameters}")
        picture = Image.open(io.BytesIO(answer.content)).convert("RGB")
        assert colour_of(np.asarray(picture)) == colour
    refused = documents.get(f"/media/{report}/thumbnail?page=4", 415).json()["error"]
    assert "page 4" in refused
    documents.get(f"/media/{report}/thumbnail?page=x", 400)


def test_the_document_itself_is_only_a_download(documents):
    answer = documents.get(f"/media/{documents.id_of('report.pdf')}/file")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment;")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.content.startswith(b"%PDF")


def test_a_document_has_all_its_pages(documents):
    record = documents.get(f"/api/items/{documents.id_of('report.pdf')}").json()
    assert [each["page"] for each in record["segments"]] == [1, 2, 3]
    assert (record["kind"], record["pages"]) == ("document", 3)


def test_it_opens_at_the_page(documents, monkeypatch):
    opened = []
    monkeypatch.setattr(opening, "open_file", lambda *place, **at: opened.append((place, at)))
    report = documents.id_of("report.pdf")
    documents.post(f"/api/items/{report}/open?page=3")
    [((location,), at)] = opened
    assert location.endswith(b"report.pdf")
    assert at["page"] == 3


@pytest.mark.browser
def test_a_person_looks_through_the_pages(chromium, address, tally):
    with browsing.fresh(chromium, address) as page:
        page.goto(SEARCH)
        card = page.locator("#grid .card", has=page.get_by_text("report.pdf"))
        expect(card.locator(".badge")).to_have_text(re.compile("page [123]"))
        card.locator(".main").click()
        viewer = page.locator("#viewer")
        picture, status = viewer.locator(".screen img"), viewer.get_by_role("status")
        fitting = viewer.get_by_role("group", name="Pages that fit").get_by_role("button")
        expect(fitting).to_have_count(3)
        fitting.nth(0).click()
        expect(status).to_have_text("page 1 of 3")
        expect(picture).to_have_attribute("src", re.compile("page=1&side=1280"))
        page.keyboard.press("PageDown")
        expect(status).to_have_text("page 2 of 3")
        expect(picture).to_have_attribute("src", re.compile("page=2&side=1280"))
        expect(picture).to_have_attribute("alt", re.compile("^document report.pdf, page 2"))
        expect(fitting.nth(1)).to_have_attribute("aria-pressed", "true")
        viewer.get_by_role("button", name="Next page").click()
        page.keyboard.press("PageDown")  # there is none
        expect(status).to_have_text("page 3 of 3")
        expect(picture).not_to_have_class(re.compile("blurred"))
        middle = page.evaluate(MIDDLE)
        assert colour_of(np.full((1, 1, 3), middle)) == "blue"
        assert Axe().run(page).response["violations"] == []
        tally["screens of the page checked with axe-core"] += 1
        with page.expect_request(re.compile("/open")) as asked:
            page.keyboard.press("o")
        assert asked.value.url.endswith("/open?page=3")


MIDDLE = """() => {
    const image = document.querySelector("#viewer .screen img");
    const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight).getContext("2d");
    canvas.drawImage(image, 0, 0);
    const middle = [image.naturalWidth / 2, image.naturalHeight / 2];
    return [...canvas.getImageData(...middle, 1, 1).data].slice(0, 3);
}"""
