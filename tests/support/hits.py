"""Hits as results are made of, with hostile names."""

import json
from pathlib import Path

from qvsearch.cli import output
from qvsearch.records import library as records
from qvsearch.types import Hit, Item, Kind, Metadata, Segment

ITEM = (Kind.IMAGE, 10, 0)
METADATA = Metadata(  # all of it
    *("2023-07-04", "Canon", 1.0, 2.0, 3.0, True, "name", "the last 9 % is missing", True),
    *("a", "b", ("c",), 4, "de", 2, 3, "5 of 9 rows"),
)


def hit(path=b"/photos/dog.jpg", kind=Kind.IMAGE, rank=1, score=0.5, moments=(), **place):
    mtime_ns = place.pop("mtime_ns", 1_688_488_201_500_000_000)
    rerank_score = place.pop("rerank_score", None)
    segment = Segment(Item(b"/photos", path[8:], kind, 10, mtime_ns), "00", **place)
    assert segment.item.location == path
    return Hit(
        rank,
        score,
        score,
        segment,
        segment.start,
        segment.end,
        moments=moments,
        rerank_score=rerank_score,
    )


def record(*args, **place):
    return json.loads(output.json_line(records.hit_record(hit(*args, **place), Path("/lib"))))


NAMES = [b"/photos/[red]x[/red].jpg", b"/photos/\x1b[31m\n.jpg", b"/photos/\xff.jpg"]
