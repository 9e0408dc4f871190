"""TIFF files of several pages, as scanners and fax machines write them."""

from __future__ import annotations

from dataclasses import replace
from typing import BinaryIO

from qvsearch.errors import MediaError
from qvsearch.media.image import decode_tiff_page, read_metadata
from qvsearch.media.pages import Page
from qvsearch.media.tiff import page_places
from qvsearch.types import Item

MOST_DIRECTORIES = 10_000  # that are looked at for pages; a scanned book has 1,000


class TiffDocument:
    """An open TIFF; reduced versions and masks are no pages. Raises MediaError without a page."""

    def __init__(self, file: BinaryIO, item: Item) -> None:
        self._file = file
        self._places = page_places(file, MOST_DIRECTORIES)
        if not self._places:
            raise MediaError("damaged TIFF: it has no pages")
        self.pages = len(self._places)
        self.metadata = replace(read_metadata(file, item), several=None, pages=self.pages)

    def page(self, number: int, max_pixels: int) -> Page:
        """Decode a page, from 1; raises MediaError."""
        pixels, size = decode_tiff_page(self._file, self._places[number - 1], max_pixels)
        return Page(pixels, *size, None)

    def words(self, _: int) -> None:
        """Return None: a TIFF has no text layer."""

    def has_notes(self, _: int) -> bool:
        """Return False: a TIFF has only pictures."""
        return False
