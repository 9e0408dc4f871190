"""Time and memory of a page of a PDF file at each detail."""

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.images import item_of
from support.pdf_files import drawn, lines

from qvsearch import media
from qvsearch.types import DecodeOptions, Detail, Kind

LINES = ["The quick brown fox jumps over page {}, line by line, of a dense report."] * 40


def page_costs(folder: Path, pages: int) -> None:
    path = folder / "drawn.pdf"
    path.write_bytes(drawn(lines(*LINES), pages=pages))
    item = item_of(path, Kind.DOCUMENT)
    for detail in Detail:
        started = time.process_time()
        decoded = media.decode(item, "", DecodeOptions(detail.max_pixels))
        each = (time.process_time() - started) / len(decoded.segments)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{detail}: {1000 * each:.1f} ms of one core a page, {len(decoded.segments)} pages;"
            f" at most {peak:.0f} MB so far"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=40)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        page_costs(Path(place), arguments.pages)


if __name__ == "__main__":
    main()
