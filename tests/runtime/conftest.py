"""Decode processes that the tests of backends share."""

import pytest
from support.kept_workers import kept_workers


@pytest.fixture(scope="module", autouse=True)
def _kept_workers():
    with kept_workers():
        yield
