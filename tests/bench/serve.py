"""Times the server of `serve` over 100,000 made-up files, and measures its page and its memory.

    python tests/bench/serve.py [ROWS]

It prints the time from a request to the first hits, of scrolling to hit 10,000, and of thumbnails;
the bytes of the page; and the memory of the server before and after 10,000 hits were asked for.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np  # noqa: E402
from support.images import scene  # noqa: E402

from qvsearch.files import content_hash  # noqa: E402
from qvsearch.indexing.baseline_queries import baseline_vectors  # noqa: E402
from qvsearch.library.library import Library  # noqa: E402
from qvsearch.models.registry import fingerprint, resolve  # noqa: E402
from qvsearch.runtime.local import LocalEmbedder  # noqa: E402
from qvsearch.types import Detail, Item, Kind, Metadata, Segment  # noqa: E402

PICTURES = 60  # real files behind the rows: many names lead to one of them
SCROLLED = 10_000
PAGE = 60


def make_library(folder, rows):
    """A library of the demo's model with made-up vectors: directions around those of real words."""
    pictures = folder / "pictures"
    pictures.mkdir()
    rng = np.random.default_rng(0)
    embedder = LocalEmbedder("demo", "cpu", "float32")
    library = Library.create(
        folder / "library", fingerprint(resolve("demo"), embedder.dim, Detail.LOW)
    )
    root = os.fsencode(pictures)
    library.add_root(root)
    hashes = []
    for number in range(PICTURES):
        path = pictures / f"{number}.jpeg"
        scene(1600 + number, 1200).save(path, quality=85)
        hashes.append((content_hash(os.fsencode(path), path.stat().st_size), path.stat()))
    words = embedder.embed_documents([f"a note about a {c} {s}" for c in COLOURS for s in SHAPES])
    vectors = words[rng.integers(0, len(words), rows)]
    vectors = vectors + rng.standard_normal(vectors.shape).astype(np.float32) * 0.06
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    segments = []
    for number in range(rows):
        digest, status = hashes[number % PICTURES]
        name = b"%d.jpeg" % number if number < PICTURES else b"%d/%d.jpg" % (number % 100, number)
        item = Item(root, name, Kind.IMAGE, status.st_size, status.st_mtime_ns)
        digest = digest if number < PICTURES else f"{number:032x}"
        dhash = int(rng.integers(0, 2**63))
        taken = f"{2000 + number % 25}-{1 + number % 12:02}-{1 + number % 28:02}T12:00:00"
        segments.append(Segment(item, digest, width=1600, height=1200, dhash=dhash,
                                metadata=Metadata(taken=taken, camera="Canon EOS R5")))  # fmt: skip
    library.add(segments, vectors)
    library.set_baseline(baseline_vectors(embedder, library.fingerprint))
    library.commit()
    return folder / "library"


COLOURS = ("red", "green", "blue", "yellow", "crimson", "purple", "orange", "grey")
SHAPES = ("star", "ring", "circle", "square", "triangle", "moon")


@contextmanager
def server(library, home):
    environment = {
        **os.environ,
        "XDG_CACHE_HOME": str(home / "cache"),
        "XDG_RUNTIME_DIR": str(home),
    }
    command = [sys.executable, "-m", "qvsearch", "serve", "-l", str(library), "--port", "0",
               "--no-open", "--device", "cpu"]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        yield process.stdout.readline().strip(), process.pid
    finally:
        process.terminate()
        process.communicate()


def get(url):
    with urllib.request.urlopen(url, timeout=600) as answer:
        return answer.read()


def timed(url):
    started = time.perf_counter()
    body = get(url)
    return (time.perf_counter() - started) * 1000, body


def resident(pid):
    return (
        int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    )


def search(url, words, **parameters):
    return f"{url}api/search?{urllib.parse.urlencode({'q': words, **parameters})}"


def first_hits(url):
    """Milliseconds from a request to its answer, for queries that were never asked before."""
    queries = [f"a {c} {s} on a {g}" for c in COLOURS for s in SHAPES[:3] for g in ("hill", "wall")]
    timed(search(url, "the model is loaded now"))
    times = sorted(timed(search(url, words, limit=PAGE))[0] for words in queries)
    print(
        f"first {PAGE} hits of a new query: median {statistics.median(times):.0f} ms,"
        f" 95 % within {times[int(len(times) * 0.95)]:.0f} ms ({len(times)} queries)"
    )
    again = [timed(search(url, words, limit=PAGE))[0] for words in queries[-10:]]
    print(f"the same asked again: median {statistics.median(again):.0f} ms")
    filtered = [
        timed(search(url, words, limit=PAGE, after=2005, before=2010, orientation="landscape"))[0]
        for words in queries[:10]
    ]
    print(f"with filters: median {statistics.median(filtered):.0f} ms")


def scrolling(url, pid):
    """Scroll to hit 10,000 of the whole ranking, and of a list by date."""
    before = resident(pid)
    for name, parameters in (("ranking", {"q": "a red star", "all": 1}), ("list by date", {})):
        times = []
        for offset in range(0, SCROLLED, PAGE):
            asked = urllib.parse.urlencode({**parameters, "offset": offset, "limit": PAGE})
            milliseconds, body = timed(f"{url}api/search?{asked}")
            times.append(milliseconds)
            if len(json.loads(body)["hits"]) < PAGE:
                break
        print(
            f"{name}: {len(times) * PAGE:,} hits by {PAGE}:"
            f" median {statistics.median(times):.0f} ms,"
            f" slowest pages {', '.join(f'{each:.0f}' for each in sorted(times)[-4:])} ms"
        )
    print(
        f"memory of the server: {before:.0f} MB before,"
        f" {resident(pid):.0f} MB after {2 * SCROLLED:,} hits"
    )


def pictures(url):
    """Make the thumbnails of real files, then read them from the cache."""
    hits = json.loads(get(f"{url}api/search?glob=*.jpeg&limit=200"))["hits"]
    addresses = [f"{url}media/{hit['id']}/thumbnail" for hit in hits]
    made = [timed(each)[0] for each in addresses]
    kept = [timed(each)[0] for each in addresses]
    print(
        f"thumbnails of {len(made)} photos of 1.9 megapixels, one by one: median"
        f" {statistics.median(made):.0f} ms to make, {statistics.median(kept):.1f} ms cached"
    )


def weight(url):
    page = get(url)
    static = Path(__file__).parents[2] / "qvsearch/web/static"
    sizes = {path.name: path.stat().st_size for path in static.iterdir()}
    scripts = sum(size for name, size in sizes.items() if name.endswith(".js"))
    styles = sum(size for name, size in sizes.items() if name.endswith(".css"))
    print(f"page: {len(page):,} bytes of HTML, {scripts:,} of scripts, {styles:,} of styles")


def main(rows):
    """Measure all on a library of so many rows."""
    with tempfile.TemporaryDirectory() as place:
        library = make_library(Path(place), rows)
        cores, load = os.cpu_count(), os.getloadavg()[0]
        print(f"{rows:,} files, demo model, {cores} cores, load {load:.1f}")
        with server(library, Path(place)) as (address, process):
            first_hits(address)
            scrolling(address, process)
            pictures(address)
            weight(address)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
