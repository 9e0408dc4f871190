"""The identity of an item: found again by it, and gone with its content or its place."""

from dataclasses import replace

import numpy as np
import pytest
from support.rows import DIM, ROOT, library, photos  # noqa: F401 - a fixture

from qvsearch.library.identity import Gone, segments_of
from qvsearch.types import Item, Kind, Segment


def unit(count):
    vectors = np.random.default_rng(0).normal(size=(count, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_each_item_has_an_identity_of_its_own_that_finds_it(library):
    added = photos(0, 20)
    added.append(replace(added[3], item=replace(added[3].item, path=b"copy.jpg")))
    library.add(added, unit(len(added)))
    assert len({each.item_id for each in added}) == 21
    for each in added:
        (found,) = segments_of(library, each.item_id)
        assert found.item.location == each.item.location


def test_all_moments_of_a_film_are_found_in_their_order(library):
    film = Item(ROOT, b"film.mp4", Kind.VIDEO, 1, 1)
    moments = [Segment(film, "f" * 32, start, start + 2) for start in (4.0, 0.0, 2.0)]
    library.add(moments, unit(3))
    assert [each.start for each in segments_of(library, moments[0].item_id)] == [0.0, 2.0, 4.0]


def test_a_changed_or_removed_item_is_gone(library):
    (before,) = photos(0, 1)
    library.add([before], unit(1))
    with pytest.raises(Gone, match="may have changed"):
        segments_of(library, replace(before, content_hash="1" * 32).item_id)
    library.remove([0])
    with pytest.raises(Gone, match="may have changed"):
        segments_of(library, before.item_id)


@pytest.mark.parametrize(
    "text", ["", "../etc/passwd", "0" * 16, "g" * 48, "f" * 48, "1" * 100_000, "-1" * 24]
)
def test_what_is_no_identity_is_gone_too(library, text):
    library.add(photos(0, 1), unit(1))
    with pytest.raises(Gone):
        segments_of(library, text)
