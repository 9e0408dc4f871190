"""Time and memory of a page at each detail, and documents that Debian's packages ship.

`--debian` downloads the packages by apt-get and indexes their PDF files with the demo's model.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.images import item_of
from support.pdf_files import drawn, lines

from qvsearch import media
from qvsearch.indexing.pipeline import IngestOptions, index
from qvsearch.library.rules import ScanOptions
from qvsearch.runtime.creating import open_or_create
from qvsearch.runtime.loading import Choice, load_embedder
from qvsearch.types import DecodeOptions, Detail, Kind

PACKAGES = ("bash-doc", "graphviz-doc", "gnuplot-doc", "r-doc-pdf", "zsh-doc")
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


def debian(folder: Path, packages: list[str]) -> None:
    for package in packages:
        subprocess.run(["apt-get", "download", "-q", package], cwd=folder, check=False)
    root = folder / "files"
    for package in sorted(folder.glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", package, root], check=True)
    packed = [path for path in root.rglob("*.pdf.gz") if not path.is_symlink()]
    subprocess.run(["gunzip", *packed], check=True)
    counts: Counter[str] = Counter()

    def report(event) -> None:
        if event.path is not None:
            counts[event.state] += 1
            name = os.fsdecode(os.path.basename(event.path))
            print(f"{event.state}: {name}, {event.segments} pages {event.reason or ''}")

    choice = Choice(model="demo")
    library = open_or_create(folder / "library", choice)
    scan = ScanOptions(frozenset({Kind.DOCUMENT}))
    index(
        library,
        [os.fsencode(root)],
        lambda: load_embedder(library.fingerprint, choice),
        IngestOptions(scan),
        report,
        lambda: False,
    )
    print(", ".join(f"{count} {state}" for state, count in counts.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=40)
    parser.add_argument("--debian", nargs="*", metavar="PACKAGE")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        page_costs(Path(place), arguments.pages)
        if arguments.debian is not None:
            debian(Path(place), arguments.debian or [*PACKAGES])


if __name__ == "__main__":
    main()
