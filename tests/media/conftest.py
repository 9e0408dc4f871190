"""Decode processes that the tests of a module share, unless it proves something about these."""

import pytest
from support.kept_workers import kept

OWN = ("test_workers", "test_fatal_pages", "test_hostile_")


@pytest.fixture(scope="module", autouse=True)
def _shared_processes(request):
    if request.path.stem.startswith(OWN):
        yield
        return
    with kept():
        yield
