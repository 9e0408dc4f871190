"""Pictures that are damaged, lie or ask for too much: each is decoded or refused with a reason.

No worker crashes, hangs, holds a gigabyte, writes, starts a process or opens a socket over any of a
thousand damaged pictures (ten thousand in the soak test), nor over the bombs.
"""

import os
import socket
import sys
from pathlib import Path

import pytest
from support import hostile_images, watching
from support.watching import Watch, is_a_reason, is_no_surprise, sort

from qvsearch.errors import MediaError
from qvsearch.indexing.scan import Leftovers, scan
from qvsearch.library.rules import ScanOptions
from qvsearch.media.workers import Decoders
from qvsearch.types import DecodeOptions, Item, Kind

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

FORMATS = 67  # and ways of writing them
CHECKSUMMED = {"png 16 bit"}  # in one part, so that any damage is found
HOSTILE = "pictures that lie or ask for too much"


def decode_damaged(tmp_path, tally, numbers):
    """Decode damaged pictures and return how many of each seed were decoded and refused."""
    found = sort(tmp_path, Kind.IMAGE, map(hostile_images.damaged, numbers), most=1)
    tally["damaged pictures"] += sum(each.total() for each in found)
    return found


def test_every_seed_is_a_picture(tmp_path):
    seeds = hostile_images.seeds()
    assert len(seeds) == FORMATS
    with Watch(tmp_path, Kind.IMAGE) as watch:
        assert dict(watch.outcomes(seeds.items())) == dict.fromkeys(seeds, 1)


def test_a_thousand_damaged_pictures(tmp_path, tally):
    decoded, refused = decode_damaged(tmp_path, tally, range(1000))
    assert decoded.total() + refused.total() == 1000
    assert decoded.total() > 100  # damage beyond the header is looked at, too
    assert len(refused) > FORMATS - 5  # of some formats nearly all is shown, as viewers do


@pytest.mark.soak
def test_ten_thousand_damaged_pictures(tmp_path, tally):
    decoded, refused = decode_damaged(tmp_path, tally, range(1000, 11_000))
    assert decoded.total() + refused.total() == 10_000
    assert len(refused) == FORMATS
    assert decoded.keys() >= hostile_images.seeds().keys() - CHECKSUMMED


def violating(item, content_hash, options):
    """Do what the item's name says, under the watch; runs in the worker process."""
    with pytest.raises(MediaError):
        watching.decode(item, content_hash, options)
    acts = {
        b"write": lambda: Path("written").touch(),
        b"fork": os.fork,
        b"run": lambda: os.system("true"),
        b"connect": socket.socket,
    }
    acts[item.path]()


@pytest.mark.parametrize("name", [b"write", b"fork", b"run", b"connect"])
def test_the_watch_sees_a_violation(name):
    item = Item(b"/nowhere", name, Kind.IMAGE, 1, 1)
    with Decoders(1, violating) as decoders:
        [outcome] = decoders.decode([(item, "hash")], DecodeOptions(1024))
    assert outcome.reason == "the decoder crashed (SIGABRT)"


def test_a_damaged_picture_is_the_same_each_time():
    name, data = hostile_images.damaged(7)
    hostile_images.seeds.cache_clear()
    assert hostile_images.damaged(7) == (name, data)


HARMLESS = {
    "endless.png",
    "channels.psd",
    "frames.gif",
    "frames.apng.png",
    "directories.tif",
    "loop.tif",
    "entries.tif",
}


def test_bombs_cost_little(tmp_path, tally):
    bombs = {name: draw() for name, draw in hostile_images.BOMBS.items()}
    assert all(len(data) < 20_000_000 for data in bombs.values())
    with Watch(tmp_path, Kind.IMAGE) as watch:
        outcomes = dict(watch.outcomes(bombs.items()))
    # of many frames the first is read, and of an endless one what is there
    assert {name for name, outcome in outcomes.items() if outcome == 1} == HARMLESS
    for name in bombs.keys() - HARMLESS:
        assert is_a_reason(outcomes[name]), outcomes[name]
        assert is_no_surprise(outcomes[name]), outcomes[name]
    assert watch.peak < 300_000_000
    tally[HOSTILE] += len(outcomes)


def test_vector_drawings_are_no_pictures(tmp_path):
    (tmp_path / "bomb.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    (tmp_path / "bomb.svgz").write_bytes(b"\x1f\x8b")
    (aside,) = scan(bytes(tmp_path), bytes(tmp_path), ScanOptions())
    assert aside == Leftovers(bytes(tmp_path), {".svg": 1, "others": 1})


POSTSCRIPT = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 64 64
%%EndComments
(%pipe%touch written) (w) file closefile
showpage
%%EOF
"""


LIARS = {
    "eps.jpg": POSTSCRIPT,
    "dos-eps.jpg": b"\xc5\xd0\xd3\xc6" + bytes(26) + POSTSCRIPT,
    "pdf.jpg": b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog >>\nendobj\n",
    "page.png": b"<!DOCTYPE html><img src='http://127.0.0.1/'>",
    "drawing.png": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "film.png": b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41\0\0\0\x08free",
    "fits.jpg": b"SIMPLE  =                    T" + b" " * 2850,
    "icons.jpg": b"icns\0\0\1\0",
    "one-byte.jpg": b"\0",
    "empty.jpg": b"",
}


def test_what_only_claims_to_be_a_picture(tmp_path, tally):
    with Watch(tmp_path, Kind.IMAGE) as watch:
        outcomes = dict(watch.outcomes(LIARS.items()))
    assert outcomes.pop("empty.jpg") == "empty file"
    assert {reason.partition(":")[0] for reason in outcomes.values()} == {"not an image"}
    assert len(outcomes) == len(LIARS) - 1
    tally[HOSTILE] += 1 + len(outcomes)
