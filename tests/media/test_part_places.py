"""Pages of documents are decoded alone: each shows its own colour, and others stay unread."""

import io
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from PIL import Image
from support.coloured_pages import colour_of, write_pdf
from support.images import item_of

from qvsearch.errors import MediaError
from qvsearch.files import content_hash
from qvsearch.media import excerpts, moments, spread, stills, whole
from qvsearch.media.places import page_place, place_of
from qvsearch.media.thumbnails import Thumbnails
from qvsearch.published.thumbnails import thumbnail_key
from qvsearch.types import DecodeOptions, Kind, Segment, Skipped

LOW = DecodeOptions(256 * 32 * 32)
PAGES = [("red", "one"), ("green", "two"), ("blue", "three"), ("grey", "four")]


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    path = write_pdf(tmp_path_factory.mktemp("documents") / "a.pdf", *PAGES)
    item = item_of(path, Kind.DOCUMENT)
    return item, content_hash(item.location, item.size)


def shown(decoded):
    return [(each.page, colour_of(source.images[0])) for each, source in decoded.segments]


@pytest.mark.parametrize("decode", [stills.decode, excerpts.decode])
def test_only_the_wanted_pages_are_decoded_in_their_order(document, decode):
    options = replace(LOW, moments=(page_place(3), page_place(1)))
    assert shown(decode(*document, options)) == [(3, "blue"), (1, "red")]


def test_a_page_that_does_not_exist_is_an_error(document):
    with pytest.raises(MediaError, match="5"):
        stills.decode(*document, replace(LOW, moments=(page_place(5),)))


def test_a_file_without_places_is_decoded_whole(document):
    item, digest = document
    places = {item.location: [page_place(2)]}
    decode = partial(moments.decode, most_frames=1)
    assert shown(decode(item, digest, LOW, moments=places)) == [(2, "green")]
    assert len(shown(decode(item, digest, LOW, moments={}))) == len(PAGES)


def test_the_place_of_a_page_is_its_number(document):
    item, _ = document
    assert place_of(Segment(item, "", page=7)) == (7.0, 8.0)
    assert place_of(Segment(item, "", start=1.5, end=2.0)) == (1.5, 2.0)
    assert place_of(Segment(item, "")) is None


@pytest.mark.parametrize(
    ("most", "pages"), [(1, [1]), (2, [1, 4]), (3, [1, 2, 4]), (8, [1, 2, 3, 4])]
)
def test_a_few_pages_are_spread_over_the_document(document, most, pages):
    assert [number for number, _ in shown(spread.decode(*document, LOW, most=most))] == pages


def test_a_document_is_one_input_of_its_pages(document, tmp_path):
    [(segment, source)] = whole.decode(*document, LOW).segments
    assert segment.page is None
    assert [colour_of(each) for each in source.images] == ["red", "green", "blue", "grey"]
    path = write_pdf(tmp_path / "long.pdf", *PAGES * 10)
    item = item_of(path, Kind.DOCUMENT)
    [(_, source)] = whole.decode(item, "", DecodeOptions(1800 * 32 * 32)).segments
    assert len(source.images) == whole.MOST_PAGES
    assert sum(each.size // 3 for each in source.images) <= whole.TOTAL_PIXELS


def test_a_thumbnail_shows_the_page_of_its_segment(document, tmp_path):
    item, digest = document
    with Thumbnails(1, tmp_path) as thumbnails:
        for page, (colour, _) in enumerate(PAGES, start=1):
            segment = Segment(item, digest, page=page)
            made = thumbnails.webp(segment)
            assert not isinstance(made, Skipped)
            picture = Image.open(io.BytesIO(made)).convert("RGB")
            assert colour_of(np.asarray(picture)) == colour
            assert picture.size == (240, 320)
            assert thumbnails.webp(segment) == made
        large = thumbnails.webp(Segment(item, digest, page=1, width=300, height=400), 1280)
        assert Image.open(io.BytesIO(large)).height > 400  # to be read, above the size of paper
        missing = thumbnails.webp(Segment(item, digest, page=99))
        assert isinstance(missing, Skipped)
    assert len(list(tmp_path.iterdir())) == len(PAGES) + 1


def test_published_thumbnails_of_pages_are_told_apart(document):
    item, digest = document
    keys = {thumbnail_key(Segment(item, digest, page=page)) for page in range(1, 5)}
    assert len(keys) == 4
