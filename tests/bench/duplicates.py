"""How well near-duplicates are found, and at what cost: `python tests/bench/duplicates.py`.

Copies of drawn pictures must be found, and different pictures must not. `--photos` names a folder
of photos to use as well. Before that, a library of the hashes of photos and of random vectors is
grouped.
"""

from __future__ import annotations

import argparse
import io
import resource
import sys
import tempfile
import time
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageEnhance

sys.path.insert(0, str(Path(__file__).parent.parent))
from qvsearch.demo import world
from qvsearch.duplicates.groups import duplicate_groups, fold
from qvsearch.duplicates.rule import needed, traits
from qvsearch.library.library import Library
from qvsearch.media.pixels import dhash, fit, is_page, patches
from qvsearch.runtime.local import LocalEmbedder
from qvsearch.types import Detail, EmbedInput, Fingerprint, Item, Kind, Metadata, Segment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qvsearch.types import Embedder, Vectors

PIXELS = 256 * 1024
FIRST, MINUTE = datetime(2000, 1, 1), timedelta(minutes=1)  # noqa: DTZ001 - cameras know no zone
Picture = Image.Image


def recoded(picture: Picture, name: str, quality: int) -> Picture:
    """Return a picture after encoding in another format."""
    file = io.BytesIO()
    picture.save(file, name, quality=quality)
    return Image.open(file).convert("RGB")


def cropped(picture: Picture, share: float, left: float = 0.5, top: float = 0.5) -> Picture:
    """Return a picture with a share of each side cut off, at the given place."""
    width, height = picture.size
    x, y = width * share, height * share
    right, bottom = width - x * (1 - left), height - y * (1 - top)
    return picture.crop((round(x * left), round(y * top), round(right), round(bottom)))


def resized(picture: Picture, scale: float) -> Picture:
    """Return a picture in another size."""
    width, height = picture.size
    return picture.resize((round(width * scale), round(height * scale)), Image.Resampling.LANCZOS)


COPIES: dict[str, Callable[[Picture], Picture]] = {
    "half the size": lambda picture: resized(picture, 0.5),
    "a quarter of the size": lambda picture: resized(picture, 0.25),
    "quarter, JPEG, quality 60": lambda picture: recoded(resized(picture, 0.25), "JPEG", 60),
    "an eighth of the size": lambda picture: resized(picture, 0.125),
    "JPEG, quality 40": lambda picture: recoded(picture, "JPEG", 40),
    "WebP, quality 60": lambda picture: recoded(picture, "WEBP", 60),
    "10 % brighter": lambda picture: ImageEnhance.Brightness(picture).enhance(1.1),
    "10 % darker": lambda picture: ImageEnhance.Brightness(picture).enhance(0.9),
    "2 % cropped": lambda picture: cropped(picture, 0.02),
    "5 % cropped": lambda picture: cropped(picture, 0.05),
    "5 % cropped at the left": lambda picture: cropped(picture, 0.05, left=1.0),
    "5 % cropped at a corner": lambda picture: cropped(picture, 0.05, left=1.0, top=1.0),
}


class Judge:
    """Applies the rule to pictures, each a file without EXIF."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    def rows(self, pictures: list[Picture]) -> tuple[list[Segment], Vectors]:
        """Return the segments and vectors that a library would hold."""
        pixels = [fit(picture, PIXELS) for picture in pictures]
        segments = [
            Segment(
                Item(b"/bench", b"%d" % id(picture), Kind.IMAGE, 1, 1),
                str(id(picture)),
                width=picture.width,
                height=picture.height,
                dhash=dhash(seen),
                patches=patches(seen),
                metadata=Metadata(page=is_page(seen)),
            )
            for picture, seen in zip(pictures, pixels, strict=True)
        ]
        batches = [pixels[start : start + 16] for start in range(0, len(pixels), 16)]
        embedded = [
            self._embedder.embed([EmbedInput(images=(each,)) for each in batch])
            for batch in batches
        ]
        return segments, np.concatenate(embedded)

    def share(self, ones: list[Picture], others: list[Picture]) -> float:
        """Return the share of pairs (ones[k], others[k]) that are the same, 0 to 1."""
        segments, vectors = self.rows([*ones, *others])
        i = np.arange(len(ones))
        least = needed(traits(segments), i, i + len(ones))
        cosines = np.einsum("ij,ij->i", vectors[: len(ones)], vectors[len(ones) :])
        return float((cosines >= least).mean())

    def small_pairs(self, pictures: list[Picture]) -> tuple[int, int]:
        """Count the pairs of a picture and another at half its size, and those that pass."""
        segments, vectors = self.rows([*pictures, *(resized(each, 0.5) for each in pictures)])
        i, j = np.nonzero(~np.eye(len(pictures), dtype=bool))
        least = needed(traits(segments), i, j + len(pictures))
        return len(i), int(
            (np.einsum("ij,ij->i", vectors[i], vectors[j + len(pictures)]) >= least).sum()
        )

    def pairs(self, pictures: list[Picture]) -> tuple[int, int, int]:
        """Count all pairs, those with close hashes, and those that are the same."""
        segments, vectors = self.rows(pictures)
        i, j = np.triu_indices(len(pictures), 1)
        least = needed(traits(segments), i, j)
        cosines = (vectors @ vectors.T)[i, j]
        return len(i), int(np.isfinite(least).sum()), int((cosines >= least).sum())


def measure_rule(judge: Judge, name: str, pictures: list[Picture]) -> None:
    """Print the share of copies that are found, and the false pairs."""
    print(f"{len(pictures)} {name}, found to be the same:")
    for title, copied in COPIES.items():
        print(f"  {title:28}{judge.share(pictures, [copied(each) for each in pictures]):6.3f}")
    count, agreeing, same = judge.pairs(pictures)
    print(f"  of {count} pairs of different ones {same}; by the hash alone {agreeing}")
    count, same = judge.small_pairs(pictures)
    print(f"  of {count} pairs of different ones, the second at half the size, {same}")


def measure_drawn(judge: Judge, count: int, side: int) -> None:
    """Print the same for drawn scenes, and for scenes that differ a little."""

    def drawn(scene: world.Scene, seed: int) -> Picture:
        return Image.fromarray(world.draw(scene, np.random.default_rng(seed), side, side))

    rng = np.random.default_rng(5)
    scenes = [world.random_scene(rng) for _ in range(count)]
    pictures = [drawn(scene, seed) for seed, scene in enumerate(scenes)]
    measure_rule(judge, f"drawn pictures of {side}x{side}", pictures)
    for title, others in {
        "one colour changed, else equal": [
            drawn(world.recoloured(scene, rng)[0], seed) for seed, scene in enumerate(scenes)
        ],
        "that at half the size": [
            resized(drawn(world.recoloured(scene, rng)[0], seed), 0.5)
            for seed, scene in enumerate(scenes)
        ],
        "the scene drawn once more": [
            drawn(scene, seed + count) for seed, scene in enumerate(scenes)
        ],
        "that at half the size, too": [
            resized(drawn(scene, seed + count), 0.5) for seed, scene in enumerate(scenes)
        ],
    }.items():
        print(f"  not: {title:33}{judge.share(pictures, others):6.3f}")


def hashes(count: int, rng: np.random.Generator) -> Iterator[int]:
    """Yield hashes like those of photos: from fields whose amplitudes fall with the frequency."""
    frequency = np.hypot(np.fft.fftfreq(32)[:, None], np.fft.rfftfreq(32))
    amplitude = np.divide(1, frequency, out=np.zeros_like(frequency), where=frequency > 0)
    for _ in range(count):
        waves = rng.standard_normal((32, 17)) + 1j * rng.standard_normal((32, 17))
        cells = np.fft.irfft2(waves * amplitude)[:24, :27].reshape(8, 3, 9, 3).mean(axis=(1, 3))
        yield int.from_bytes(np.packbits(np.diff(cells, axis=1) > 0).tobytes())


def measure_library(count: int, dim: int) -> None:
    """Print the cost of grouping a library in which every tenth picture is a copy."""
    rng = np.random.default_rng(7)
    originals = count - count // 10
    codes = list(hashes(originals, rng))
    vectors = rng.standard_normal((originals, dim), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    copied = rng.integers(0, originals, count // 10)
    flips = [1 << int(bit) | 1 << int(other) for bit, other in rng.integers(0, 64, (count, 2))]
    segments = [
        Segment(
            Item(b"/bench", b"%d.jpg" % place, Kind.IMAGE, 1000 + place, place),
            str(place),
            width=4000,
            height=3000,
            dhash=code,
            metadata=Metadata(taken=(FIRST + place * MINUTE).isoformat(), camera="Pixel 8"),
        )
        for place, code in enumerate(codes)
    ]
    segments += [
        replace(
            segments[original],
            item=Item(b"/bench", b"copy %d.jpg" % place, Kind.IMAGE, 500, place),
            content_hash=f"copy {place}",
            dhash=codes[original] ^ flips[place],
        )
        for place, original in enumerate(copied.tolist())
    ]
    made = Fingerprint("bench", "1", dim, Detail.LOW, "", 1, 1)
    with tempfile.TemporaryDirectory() as folder:
        library = Library.create(Path(folder) / "library", made)
        library.add_root(b"/bench")
        library.add(segments, np.concatenate([vectors, vectors[copied]]))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start, busy = time.perf_counter(), time.process_time()
        groups = duplicate_groups(library)
        seconds, busy = time.perf_counter() - start, time.process_time() - busy
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    found = sum(len(group.items) - 1 for group in groups)
    print(f"{count:,} images of {dim} numbers, {len(copied):,} of them copies: {found:,} found,")
    print(f"  {seconds:.1f} s ({busy:.1f} s of computing), {more:.0f} MB more memory")


def measure_fold(count: int, dim: int) -> None:
    """Print the cost of folding a list of hits: all different, or all alike."""
    rng = np.random.default_rng(7)
    vectors = rng.standard_normal((count, dim), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    codes = list(hashes(count, rng))
    for title, seen, known in (
        ("none alike", codes, vectors),
        ("all alike", [codes[0]] * count, np.repeat(vectors[:1], count, axis=0)),
    ):
        segments = [
            Segment(Item(b"/bench", b"%d" % place, Kind.IMAGE, 1, 1), str(place), dhash=code)
            for place, code in enumerate(seen)
        ]
        fold(segments, known)
        busy = time.process_time()
        fold(segments, known)
        print(f"{count} hits, {title}: folded in {1000 * (time.process_time() - busy):.1f} ms")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure how near-duplicates are found.")
    parser.add_argument("--photos", type=Path, help="a folder of photos that all differ")
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=64)
    arguments = parser.parse_args()
    measure_fold(500, 2048)
    measure_library(arguments.rows, arguments.dim)
    judge = Judge(LocalEmbedder("demo", device="cpu"))
    measure_drawn(judge, arguments.scenes, 128)
    measure_drawn(judge, arguments.scenes, 256)
    if arguments.photos:
        files = sorted(arguments.photos.glob("*.jpg"))
        photos = [Image.open(each).convert("RGB") for each in files]
        measure_rule(judge, "photos", photos)
        corners = [(left, top) for left in (0.0, 1.0) for top in (0.0, 1.0)]
        parts = [cropped(photo, 0.5, *corner) for photo in photos for corner in corners]
        measure_rule(judge, "quarters of photos", parts)
