"""Saved searches in a real browser: the start of the page lists them as albums."""

import re

import pytest
from playwright.sync_api import expect
from support.browsing import names

from qvsearch.library.searches import SavedSearch, delete_search, write_search

pytestmark = pytest.mark.browser


def test_albums_are_links_of_the_start_page(page, album):
    library = album[0] / "library"
    write_search(library, SavedSearch("red <b>stars</b>", {"words": "a red star"}))
    write_search(library, SavedSearch("elsewhere", {"file": "/nowhere/a.jpg"}))
    try:
        page.goto("/")
        shelf = page.get_by_role("navigation", name="Saved searches")
        expect(shelf.get_by_role("listitem")).to_have_count(2)
        for width in (700, 1280):
            page.set_viewport_size({"width": width, "height": 800})
            edges = [each.bounding_box()["x"] for each in (shelf, page.locator("#grid"))]
            assert edges[0] == edges[1], width
        link = shelf.get_by_role("link", name="red <b>stars</b>")
        link.focus()
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile(r"/\?q=a\+red\+star$"))
        expect(page.get_by_label("What to look for")).to_have_value("a red star")
        page.locator("#grid .card").first.wait_for()
        assert names(page)
        expect(shelf).to_have_count(0)
        page.go_back()
        expect(shelf.get_by_role("listitem")).to_have_count(2)
        shelf.get_by_role("button", name="Copy the command of elsewhere").click()
        page.get_by_text("Command copied").wait_for()
        copied = page.evaluate("navigator.clipboard.readText()")
        assert copied.startswith("qvsearch search @elsewhere -l ")
    finally:
        delete_search(library, "red <b>stars</b>")
        delete_search(library, "elsewhere")
