"""Writes a folder of drawn pictures, clips and notes, with example queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
from PIL import Image

from qvsearch.demo.world import Scene, caption, change, draw, note, recoloured, scenes
from qvsearch.types import Kind

if TYPE_CHECKING:
    from numpy.random import Generator

PICTURES, CLIPS, NOTES = 40, 3, 8
SCENES_PER_CLIP = 3
SCENE_SECONDS = 4
FRAME_RATE = 10  # frames a second
WIDTH, HEIGHT = 160, 128  # pixels


@dataclass(frozen=True, slots=True)
class Example:
    """A query: its title, its arguments, and the file that it should find, if any."""

    title: str
    text: str | None
    image: Path | None
    kind: Kind | None
    answer: Path | None


def write_world(folder: Path, seed: int = 1) -> list[Example]:
    """Write pictures/, clips/, notes/ and queries/ below `folder` and return example queries.

    Only scenes that the checkpoint was never trained on appear. A seed writes the same each time.
    """
    rng = np.random.default_rng(seed)
    source = scenes(rng, held_out=True)
    pictures = _write_pictures(folder / "pictures", list(islice(source, PICTURES)), rng)
    clips = _write_clips(folder / "clips", list(islice(source, CLIPS * SCENES_PER_CLIP)), rng)
    _write_notes(folder / "notes", list(islice(source, NOTES)), rng)
    return _examples(folder / "queries", pictures, clips, rng)


def _write_pictures(folder: Path, shown: Sequence[Scene], rng: Generator) -> dict[Path, Scene]:
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for number, scene in enumerate(shown, 1):
        path = folder / f"picture-{number:02}.jpg"
        _write_picture(path, scene, rng)
        written[path] = scene
    return written


def _write_picture(path: Path, scene: Scene, rng: Generator) -> None:
    Image.fromarray(draw(scene, rng, WIDTH, HEIGHT)).save(path, quality=92)


def _write_clips(
    folder: Path, shown: Sequence[Scene], rng: Generator
) -> dict[Path, Sequence[Scene]]:
    """Write clips of several scenes each, whose shapes drift to the right."""
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for number in range(CLIPS):
        path = folder / f"clip-{number + 1}.mp4"
        part = shown[number * SCENES_PER_CLIP : (number + 1) * SCENES_PER_CLIP]
        _write_clip(path, part, rng)
        written[path] = part
    return written


def _write_clip(path: Path, shown: Sequence[Scene], rng: Generator) -> None:
    frames_per_scene = SCENE_SECONDS * FRAME_RATE
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(FRAME_RATE))
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.bit_rate = 1_500_000
        for scene in shown:
            steady = int(
                rng.integers(2**32)
            )  # one seed for all frames, so that only the shapes move
            for step in range(frames_per_scene):
                moved = 0.08 * (step / frames_per_scene - 0.5)
                picture = draw(scene, np.random.default_rng(steady), WIDTH, HEIGHT, moved)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def _write_notes(folder: Path, shown: Sequence[Scene], rng: Generator) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, scene in enumerate(shown, 1):
        (folder / f"note-{number}.txt").write_text(note(scene, rng), encoding="utf-8")


def _examples(
    folder: Path,
    pictures: dict[Path, Scene],
    clips: dict[Path, Sequence[Scene]],
    rng: Generator,
) -> list[Example]:
    folder.mkdir(parents=True, exist_ok=True)
    (by_words, first), (by_picture, second), _, _, (by_both, third) = list(pictures.items())[:5]
    start, thing = recoloured(third, rng)
    like, other = folder / "like-this.jpg", folder / "but-recoloured.jpg"
    _write_picture(like, second, rng)
    _write_picture(other, start, rng)
    clip, shown = list(clips.items())[1]
    return [
        Example("by words", caption(first, rng), None, None, by_words),
        Example("by a picture", None, like, Kind.IMAGE, by_picture),
        Example("by a picture and words", change(thing, rng), other, Kind.IMAGE, by_both),
        Example("a moment of a video", caption(shown[1], rng), None, Kind.VIDEO, clip),
        Example("something else", "my sister's wedding", None, None, None),
    ]
