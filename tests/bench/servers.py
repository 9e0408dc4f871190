"""Indexing through model servers: `python tests/bench/servers.py`.

Servers stand in for real ones: each is a process that takes `--rate` photos a second, one after the
other, and answers at once with a constant vector, so that only the client works. Two tables:

- `wire`: decoded photos of medium detail are sent to a server without a limit. Printed are photos a
  second, and the processor's time and the bytes of one photo, lossless and as JPEG.
- `index`: JPEGs of 12 megapixels are indexed through 1 to `--servers` servers, through one without
  a limit, and only decoded, in turns. Printed are photos a second, how many times one server's, and
  the processor's time of a photo here and in the decoders, which hardly depends on other programs.
"""

from __future__ import annotations

import argparse
import base64
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent))

from qvsearch.choices import Wire
from qvsearch.indexing import pipeline
from qvsearch.library.library import Library
from qvsearch.media.workers import Decoders
from qvsearch.models import registry
from qvsearch.runtime.remote import discovery
from qvsearch.runtime.remote.embedder import RemoteEmbedder
from qvsearch.runtime.remote.http import Limits, Server
from qvsearch.runtime.remote.texts import Texts
from qvsearch.types import DecodeOptions, Detail, EmbedInput, Item, Kind

DIM = 128
VECTOR = base64.b64encode(np.full(DIM, DIM**-0.5, "<f4").tobytes()).decode()
CALM = Limits(hedge=60)
BASES = 8  # different pictures; more files differ only in bytes that no decoder reads


class StandIn(ThreadingHTTPServer):
    """Counts conversations without reading them, and waits as long as a model would."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, rate: float) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seconds = 1 / rate if rate else 0.0
        self.lock = threading.Lock()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: StandIn

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.answer('{"data": [{"id": "stand-in"}]}')

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        count = body.count(b'"role":"user"')
        if b"image_url" in body:
            with self.server.lock:
                time.sleep(self.server.seconds * count)
        entries = ",".join(f'{{"index":{each},"embedding":"{VECTOR}"}}' for each in range(count))
        self.answer(f'{{"data":[{entries}]}}')

    def answer(self, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())


@contextmanager
def stand_in(rate: float) -> Iterator[str]:
    """A server in a process of its own; yields its URL."""
    command = [sys.executable, __file__, "--stand-in", str(rate)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.kill()


def embedder_of(urls: Sequence[str], wire: Wire = Wire.LOSSLESS) -> RemoteEmbedder:
    servers = [Server(url, None, CALM) for url in urls]
    dialects = discovery.discover(servers, wire, clips=False)
    return RemoteEmbedder(dialects, Texts(Path), DIM, wire=wire)


def write_photos(folder: Path, count: int, sources: Sequence[Path], size: tuple[int, int]) -> None:
    """Write JPEGs, of the given photos or of drawn ones, each with bytes of its own at its end."""
    rng = np.random.default_rng(0)
    for number in range(min(BASES, count)):
        if sources:
            picture = Image.open(sources[number % len(sources)]).convert("RGB").resize(size)
        else:
            coarse = rng.integers(0, 256, (size[1] // 40, size[0] // 40, 3), np.uint8)
            picture = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
        noise = rng.integers(0, 6, (size[1], size[0], 3), np.uint8)
        pixels = np.minimum(np.array(picture), 249) + noise
        Image.fromarray(pixels).save(folder / f"{number:05}.jpg", quality=90)
    for number in range(BASES, count):
        data = (folder / f"{number % BASES:05}.jpg").read_bytes()
        (folder / f"{number:05}.jpg").write_bytes(data + b"%d" % number)


def items_in(folder: Path) -> list[Item]:
    files = [(each, each.stat()) for each in sorted(folder.glob("*.jpg"))]
    return [
        Item(bytes(folder), each.name.encode(), Kind.IMAGE, status.st_size, status.st_mtime_ns)
        for each, status in files
    ]


def decoded(folder: Path, workers: int | None) -> Iterator[EmbedInput]:
    options = DecodeOptions(Detail.MEDIUM.max_pixels)
    with Decoders(workers) as decoders:
        jobs = [(item, "") for item in items_in(folder)]
        for each in decoders.decode(jobs, options):
            yield each.segments[0][1]


def wire_table(folder: Path, count: int) -> None:
    inputs = [each for each, _ in zip(decoded(folder, None), range(BASES), strict=False)]
    many = [inputs[each % len(inputs)] for each in range(count)]
    with stand_in(0) as url:
        for wire in Wire:
            embedder = embedder_of([url], wire)
            embedder.embed(many[:8])
            start, processor = time.perf_counter(), time.process_time()
            embedder.embed(many)
            took, processor = time.perf_counter() - start, time.process_time() - processor
            (dialect,) = embedder.servers.values()
            prepared = [embedder.texts.document(each) for each in inputs]
            size = sum(len(str(dialect.request([each], wire).body)) for each in prepared)
            print(
                f"{wire}: {count / took:.1f} photos/s, {1000 * processor / count:.1f} ms of"
                f" processor and {size / len(inputs) / 1000:.0f} kB a photo"
            )


def index_seconds(photos: Path, library: Path, urls: Sequence[str], workers: int | None) -> float:
    weights = registry.resolve("demo")
    made = registry.fingerprint(weights, DIM, Detail.MEDIUM)
    options = pipeline.IngestOptions(decode_workers=workers)
    start = time.perf_counter()
    summary = pipeline.index(
        Library.create(library, made),
        [bytes(photos)],
        lambda: embedder_of(urls),
        options,
        lambda _: None,
        lambda: False,
    )
    assert summary.indexed == len(items_in(photos))
    return time.perf_counter() - start


def processor_seconds() -> tuple[float, float]:
    """The processor's time of this process, and of those of its children that have ended."""
    times = os.times()
    return times.user + times.system, times.children_user + times.children_system


def index_table(
    photos: Path, temporary: Path, most: int, rate: float, repeats: int, workers: int | None
) -> None:
    count = len(items_in(photos))
    speeds: dict[str, list[float]] = {}
    costs: list[tuple[float, float]] = []
    with ExitStack() as stack:
        urls = [stack.enter_context(stand_in(rate)) for _ in range(most)]
        unlimited = stack.enter_context(stand_in(0))
        for turn in range(repeats):
            for number in range(1, most + 1):
                name = f"{number} servers of {rate:g} photos/s"
                library = temporary / f"{turn}-{number}"
                before = processor_seconds()
                took = index_seconds(photos, library, urls[:number], workers)
                here, there = np.subtract(processor_seconds(), before) * 1000 / count
                speeds.setdefault(name, []).append(count / took)
                costs.append((float(here), float(there)))
            took = index_seconds(photos, temporary / f"{turn}-u", [unlimited], workers)
            speeds.setdefault("a server without a limit", []).append(count / took)
            start = time.perf_counter()
            for _ in decoded(photos, workers):
                pass
            speeds.setdefault("decoding alone", []).append(count / (time.perf_counter() - start))
    one = median(next(iter(speeds.values())))
    for name, values in speeds.items():
        spread = f"{min(values):.1f} to {max(values):.1f}"
        print(f"{name}: {median(values):.1f} photos/s ({spread}), {median(values) / one:.2f} x")
    here, there = (median(each) for each in zip(*costs, strict=True))
    print(f"processor: {here:.0f} ms of a photo here, {there:.0f} ms in its decoder")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", nargs="+", default=["wire", "index"])
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--size", type=int, nargs=2, default=(4000, 3000))
    parser.add_argument("--sources", type=Path, nargs="*", default=[], help="photos to begin with")
    parser.add_argument("--servers", type=int, default=3)
    parser.add_argument("--rate", type=float, default=2.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--decode-workers", type=int)
    parser.add_argument("--stand-in", type=float, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.stand_in is not None:
        server = StandIn(given.stand_in)
        print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
        server.serve_forever()
    with tempfile.TemporaryDirectory() as name:
        temporary = Path(name)
        photos = temporary / "photos"
        photos.mkdir()
        write_photos(photos, given.photos, given.sources, tuple(given.size))
        if "wire" in given.tables:
            wire_table(photos, given.photos)
        if "index" in given.tables:
            index_table(
                photos,
                temporary,
                given.servers,
                given.rate,
                given.repeats,
                given.decode_workers,
            )


if __name__ == "__main__":
    main()
