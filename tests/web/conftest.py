"""One served library, one album and one Chromium for all tests of the server and the page."""

import pytest
from support.browsing import album, chromium, page, tab, url  # noqa: F401 - fixtures
from support.served import index, own_cache, serving, write_files


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """A folder of files that no test changes, and its library beside it."""
    home = tmp_path_factory.mktemp("served")
    (home / "files").mkdir()
    write_files(home / "files")
    with own_cache(home / "cache"):
        index(home / "files")
    return home


@pytest.fixture(scope="session")
def browser(world):
    """The page's client of a server of that library."""
    with own_cache(world / "cache"), serving(world / "library") as browser:
        yield browser
