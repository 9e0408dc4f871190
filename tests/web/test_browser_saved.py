"""Saved searches as albums on the start of the page."""

import pytest
from playwright.sync_api import expect
from support.browsing import album, browser, names, page, url  # noqa: F401 - fixtures

from qvsearch.library.library import Library
from qvsearch.library.searches import delete_search
from qvsearch.retrieval.saved import save_search

pytestmark = pytest.mark.browser


@pytest.fixture
def saved(album):
    """A saved search with a name that is markup."""
    name = "<b>notes</b>"
    library = Library.open(album[0] / "library")
    save_search(library, name, {"words": "a star", "kind": ["text"], "all": True})
    yield name
    delete_search(library.folder, name)


def test_a_saved_search_is_repeated_by_a_click_and_back_returns(page, saved):
    page.goto("/")
    link = page.get_by_role("navigation", name="Saved searches").get_by_role("link", name=saved)
    link.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/?q=a+star&kind=text&all=1")
    expect(page.locator("#q")).to_have_value("a star")
    page.locator("#grid .card").first.wait_for()
    assert all(name.startswith("note ") for name in names(page))
    expect(link).to_be_hidden()
    page.go_back()
    link.wait_for()
