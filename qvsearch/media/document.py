"""Stands in for the decoder of documents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

from qvsearch.errors import MediaError
from qvsearch.types import DecodeOptions, EmbedInput, Item, Segment


def decode_pages(
    file: BinaryIO, item: Item, content_hash: str, options: DecodeOptions, pages: Sequence[int]
) -> list[tuple[Segment, EmbedInput]]:
    """Decode these pages; raises MediaError."""
    raise MediaError("no decoder")
