"""One browser and one served album for all tests of the page."""

from support.browsing import album, browser, page, url  # noqa: F401 - fixtures
