"""Compares records of --json whose numbers were computed in another order."""

import pytest


def check_alike(found, expected):
    """Check that records are equal but for the rounding of cosines.

    Inputs that are embedded together with others differ in the last digits.
    """
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name in expected:
            check_alike(found[name], expected[name])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            check_alike(one, other)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, abs=1e-5)
    else:
        assert found == expected
