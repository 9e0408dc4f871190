"""Decode processes that the tests of indexing share."""

import pytest
from support.kept_workers import kept_workers

OWN = {"test_resources"}  # they prove that an index run leaves no process behind


@pytest.fixture(scope="module", autouse=True)
def _kept_workers(request):
    if request.path.stem in OWN:
        yield
        return
    with kept_workers():
        yield
