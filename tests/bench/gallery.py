"""Time and size of a gallery: `python tests/bench/gallery.py --photos 1000`.

Photos of 12 megapixels are drawn, each with its own content. A gallery of all is written twice:
with no thumbnail in the cache, and with all of them.
"""

from __future__ import annotations

import argparse
import io
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from qvsearch.files import content_hash
from qvsearch.gallery.cards import Gallery, hit_sections
from qvsearch.gallery.page import write_gallery
from qvsearch.media.thumbnails import Thumbnails
from qvsearch.types import Hit, Item, Kind, Segment

WIDTH, HEIGHT = 4000, 3000
DRAWINGS = 8  # each is written many times with other bytes at its end


def photos(folder: Path, count: int, size: tuple[int, int]) -> list[Hit]:
    """Write photos, and return them as hits."""
    rng = np.random.default_rng(0)
    drawings = []
    for _ in range(min(count, DRAWINGS)):
        coarse = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=90)
        drawings.append(buffer.getvalue())
    hits = []
    for number in range(count):
        path = folder / f"{number:05}.jpg"
        path.write_bytes(drawings[number % DRAWINGS] + number.to_bytes(4, "little"))
        status = path.stat()
        item = Item(
            bytes(folder), path.name.encode(), Kind.IMAGE, status.st_size, status.st_mtime_ns
        )
        segment = Segment(item, content_hash(item.location, item.size))
        hits.append(Hit(number + 1, 0.5, 0.5, segment))
    return hits


def cpu_seconds() -> float:
    """Return the seconds that this process and those that it started have computed."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def main() -> None:
    """Print seconds, bytes and memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=1000)
    parser.add_argument("--size", type=int, nargs=2, default=(WIDTH, HEIGHT))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "photos").mkdir()
        hits = photos(folder / "photos", arguments.photos, tuple(arguments.size))
        gallery = Gallery("photos", hit_sections(hits))
        megabytes = hits[0].segment.item.size / 1e6
        print(f"{len(hits):,} photos of {megabytes:.1f} MB")
        for what in ("without cached thumbnails", "with cached thumbnails"):
            before = psutil.Process().memory_info().rss
            start, work = time.perf_counter(), cpu_seconds()
            with Thumbnails(folder=folder / "cache") as thumbnails:
                failed = write_gallery(folder / "g.html", gallery, thumbnails)
            seconds = time.perf_counter() - start
            grown = (psutil.Process().memory_info().rss - before) / 1e6
            size = (folder / "g.html").stat().st_size / 1e6
            work = cpu_seconds() - work
            print(
                f"{what}: {seconds:.1f} s, {work:.1f} s of CPU, a page of {size:.1f} MB,"
                f" {grown:.0f} MB more memory, {len(failed)} missing"
            )


if __name__ == "__main__":
    main()
