"""How well moments of videos are found, and at what cost: `python tests/bench/moments.py`.

Drawn films with known events are indexed with the demo model in each video mode. The query for an
event is its caption. The best moment of the film is right if it shares most of its length, or most
of the event's, with the event; the error is that of its start. The model was not trained on these
scenes.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from qvsearch.demo.world import Scene, caption, draw, neighbour, scenes
from qvsearch.indexing import pipeline as ingest
from qvsearch.library.library import Library
from qvsearch.media.frames import Film
from qvsearch.media.looks import look_at
from qvsearch.media.shots import WHOLE, cut
from qvsearch.media.video import MAX_MOMENTS
from qvsearch.models.prompt import QUERY_INSTRUCTION
from qvsearch.models.registry import check_dim, fingerprint, resolve
from qvsearch.runtime.local import LocalEmbedder
from qvsearch.types import Detail, EmbedInput, Segment, VideoMode

WIDTH, HEIGHT, RATE = 160, 128, 10
FILMS = 20
LONG_SECONDS, LONG_RATE = 3600, 5
ROUNDS = 5
SAME = 0.05  # difference of cosines


@dataclass(frozen=True)
class Event:
    """A scene, the way it is shown, and its one or two times in seconds."""

    how: str
    scene: Scene
    times: tuple[tuple[float, float], ...]


def shown(scene: Scene, seconds: float, rng, rate: int, drift: float) -> Iterator[np.ndarray]:
    """Yield noisy frames of a scene that stands still or whose things drift sideways."""
    seed, count = int(rng.integers(2**32)), round(seconds * rate)
    first = draw(scene, np.random.default_rng(seed), WIDTH, HEIGHT)
    for step in range(count):
        if drift:
            moved = drift * (step / count - 0.5)
            yield draw(scene, np.random.default_rng(seed), WIDTH, HEIGHT, moved)
        else:
            noise = rng.integers(-3, 4, first.shape)
            yield (first + noise).clip(0, 255).astype(np.uint8)


def panned(left: Scene, right: Scene, seconds: float, rng) -> Iterator[np.ndarray]:
    """Yield frames of a camera that pans from one scene to another beside it."""
    wide = np.concatenate([draw(each, rng, WIDTH, HEIGHT) for each in (left, right)], axis=1)
    for place in np.linspace(0, WIDTH, round(seconds * RATE)).round().astype(int):
        yield wide[:, place : place + WIDTH]


def make_film(path: Path, rng, source: Iterator[Scene], helpful: bool) -> list[Event]:
    """Write a film of one to three minutes; return its events.

    A `helpful` encoder sets a keyframe at each change of scene, others only every 25 seconds.
    """
    options = {} if helpful else {"sc_threshold": "0", "keyint": "250", "g": "250"}
    events, now = [], 0.0
    length = rng.uniform(60, 180)
    again = next(source)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options=options | {"preset": "fast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"

        def add(frames: Iterator[np.ndarray]) -> tuple[float, float]:
            nonlocal now
            start = now
            for frame in frames:
                pixels = np.ascontiguousarray(frame)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
                now += 1 / RATE
            return start, now

        repeats = [add(shown(again, rng.uniform(3, 8), rng, RATE, 0.08))]
        while now < length:
            scene = next(source)
            events.append(
                Event("a scene", scene, (add(shown(scene, rng.uniform(2, 9), rng, RATE, 0.08)),))
            )
            still = next(source)
            before = add(shown(still, rng.uniform(8, 25), rng, RATE, 0))
            other = neighbour(still, rng)
            short = add(shown(other, rng.uniform(1, 3), rng, RATE, 0))
            after = add(shown(still, rng.uniform(8, 25), rng, RATE, 0))
            events.append(Event("1 to 3 s in a still", other, (short,)))
            events.append(Event("a still", still, (before, after)))
            left, right = next(source), next(source)
            start, end = add(panned(left, right, rng.uniform(8, 14), rng))
            middle = (start + end) / 2
            events.append(Event("a pan", left, ((start, middle),)))
            events.append(Event("a pan", right, ((middle, end),)))
        repeats.append(add(shown(again, rng.uniform(3, 8), rng, RATE, 0.08)))
        events.append(Event("a scene that returns", again, tuple(repeats)))
        container.mux(stream.encode())
    return events


def make_long_film(path: Path, rng, source: Iterator[Scene]) -> list[Event]:
    """Write an hour of scenes of 5 to 40 seconds, with a keyframe every 10 seconds or at a cut."""
    events, now = [], 0.0
    with av.open(str(path), "w") as container:
        options = {"preset": "ultrafast", "g": str(10 * LONG_RATE), "sc_threshold": "40"}
        stream = container.add_stream("libx264", rate=LONG_RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        while now < LONG_SECONDS:
            scene, start = next(source), now
            for frame in shown(scene, rng.uniform(5, 40), rng, LONG_RATE, 0):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
                now += 1 / LONG_RATE
            events.append(Event("in an hour", scene, ((start, now),)))
        container.mux(stream.encode())
    return events


def make_hd_film(path: Path, rng, source: Iterator[Scene]) -> None:
    """Write a minute of 720p at 30 frames a second as common encoders do."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for _ in range(12):
            large = draw(next(source), rng, 1600, 720)
            for step in range(150):
                pixels = np.ascontiguousarray(large[:, step : step + 1280])
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode())


def index(folder: Path, films: Sequence[Path], embedder: LocalEmbedder, mode: VideoMode) -> Library:
    weights = resolve("demo")
    made = fingerprint(weights, check_dim(weights, None), Detail.LOW, mode)
    library = Library.create(folder, made)
    paths = [bytes(path) for path in films]
    ingest.index(
        library, paths, lambda: embedder, ingest.IngestOptions(), lambda _: None, lambda: False
    )
    return library


def best_moment(library: Library, rows: Sequence[int], scores: np.ndarray) -> tuple[float, float]:
    """Return the best moment of one film: the best frames, within the best clip if it has clips.

    Neighbours with nearly the same cosine are joined.
    """
    segments = {row: library.segments[row] for row in rows}
    clips = [row for row in rows if segments[row].clip]
    pictures = [row for row in rows if not segments[row].clip]
    if clips and pictures:
        start, end = joined(segments, clips, scores)
        inside = [row for row in pictures if overlap(segments[row], start, end)]
        return joined(segments, inside, scores)
    return joined(segments, clips or pictures, scores)


def joined(
    segments: dict[int, Segment], rows: Sequence[int], scores: np.ndarray
) -> tuple[float, float]:
    ordered = sorted(rows, key=lambda row: segments[row].start)
    best = max(range(len(ordered)), key=lambda place: scores[ordered[place]])
    values = [float(scores[row]) for row in ordered]
    first = last = best
    while first > 0 and values[first - 1] >= values[best] - SAME:
        first -= 1
    while last + 1 < len(values) and values[last + 1] >= values[best] - SAME:
        last += 1
    return segments[ordered[first]].start, segments[ordered[last]].end


def overlap(segment: Segment, start: float, end: float) -> bool:
    return segment.start < end and start < segment.end


def judge(
    library: Library, embedder: LocalEmbedder, asked: Sequence[tuple[Path, Event]], rng
) -> dict[str, list[float | None]]:
    """Return the errors in seconds, by the way an event is shown; None if it was missed."""
    queries = [
        EmbedInput(caption(event.scene, rng), instruction=QUERY_INSTRUCTION) for _, event in asked
    ]
    vectors = embedder.embed(queries)
    rows = library.by_location()
    errors: dict[str, list[float | None]] = {}
    for (path, event), vector in zip(asked, vectors, strict=True):
        start, end = best_moment(library, rows[bytes(path)], library.scores(vector))
        # they share most of the shorter one
        right = [
            abs(start - begun)
            for begun, ended in event.times
            if min(end, ended) - max(start, begun) > 0.5 * min(end - start, ended - begun)
        ]
        errors.setdefault(event.how, []).append(min(right, default=None))
    return errors


def print_errors(errors: dict[str, list[float | None]]) -> None:
    everything = [error for each in errors.values() for error in each]
    for how, each in [*sorted(errors.items()), ("all", everything)]:
        hits = [error for error in each if error is not None]
        median = f"{statistics.median(hits):.2f}" if hits else "-"
        mean = f"{statistics.fmean(hits):.2f}" if hits else "-"
        print(f"  {how:24}{len(each):5}{len(hits) / len(each):10.3f}{median:>10}{mean:>8}")


def read_every_frame(path: Path) -> None:
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        container.streams.video[0].thread_count = 2
        for _ in container.decode(video=0):
            pass


def read_smartly(path: Path) -> None:
    with path.open("rb") as file:
        film = Film(file)
        looks = look_at(film)
        shots = cut(looks, film.end, WHOLE, MAX_MOMENTS)
        for _ in film.frames_at([shot.picture().time for shot in shots]):
            pass


def print_cost(name: str, path: Path) -> None:
    """Print the CPU seconds of both ways in turns, and the median ratio."""
    costs = [(_cost(read_smartly, path), _cost(read_every_frame, path)) for _ in range(ROUNDS)]
    ratio = statistics.median(ours / all_ for ours, all_ in costs)
    ours, every = (statistics.median(each) for each in zip(*costs, strict=True))
    print(f"  {name:36}{ours:8.2f} s{every:10.2f} s{ratio:8.2f}")


def _cost(read: Callable[[Path], None], path: Path) -> float:
    started = time.process_time()
    read(path)
    return time.process_time() - started


def main() -> None:
    """Draw, index, search and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--films", type=int, default=FILMS, help="how many of 1 to 3 minutes")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    source = scenes(rng, held_out=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asked: list[tuple[Path, Event]] = []
        for number in range(arguments.films):
            path = folder / f"film-{number:02}.mp4"
            asked += [(path, each) for each in make_film(path, rng, source, number % 2 == 0)]
        hour = folder / "hour.mp4"
        asked += [(hour, each) for each in make_long_film(hour, rng, source)]
        films = sorted({path for path, _ in asked})
        embedder = LocalEmbedder("demo", device="cpu")
        for mode in VideoMode:
            started = time.perf_counter()
            library = index(folder / mode, films, embedder, mode)
            seconds = time.perf_counter() - started
            rows = library.by_location()
            ends = {p: max(library.segments[r].end for r in rows[bytes(p)]) for p in films}
            short = [path for path in films if path != hour]
            vectors = sum(len(rows[bytes(path)]) for path in short)
            hours = sum(ends[path] for path in short) / 3600
            print(
                f"{mode}: {vectors / max(hours, 1e-9):.0f} vectors an hour of the short films,"
                f" {len(rows[bytes(hour)])} of the hour; indexed in {seconds:.0f} s"
            )
            print(f"  {'event':24}{'asked':>5}{'hit rate':>10}{'median s':>10}{'mean s':>8}")
            print_errors(judge(library, embedder, asked, np.random.default_rng(arguments.seed)))
        print("decoding, CPU seconds: looked at and cut, every frame, ratio")
        make_hd_film(folder / "hd.mp4", rng, source)
        if arguments.films > 1:
            print_cost("1 to 3 minutes, keyframes at cuts", films[0])
            print_cost("1 to 3 minutes, few keyframes", films[1])
        print_cost("1 minute of 720p at 30 a second", folder / "hd.mp4")
        print_cost("an hour, keyframes every 10 s", hour)


if __name__ == "__main__":
    main()
