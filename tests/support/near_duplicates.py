"""Rows that may be near-duplicates."""

from dataclasses import replace

from qvsearch.types import Item, Kind, Metadata, Segment

HASH = 0xF0E1_D2C3_B4A5_9687  # half of its bits are ones


SHOT = Metadata(taken="2024-05-01T10:00:00", camera="Pixel 8")


def row(name="a", kind=Kind.IMAGE, **fields):
    item = Item(b"/photos", name.encode(), kind, 100, 100)
    known = {"width": 4000, "height": 3000, "dhash": HASH} if kind is Kind.IMAGE else {}
    return Segment(item, **{"content_hash": f"of {name}", **known, **fields})


def sized(name, size, width=4000, mtime=100, **fields):
    segment = row(name, width=width, height=width * 3 // 4, **fields)
    return replace(segment, item=replace(segment.item, size=size, mtime_ns=mtime))
