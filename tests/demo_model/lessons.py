"""What the demo is taught: batches of the drawn world's pictures, clips, notes and queries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from demo_model.wordings import asked, described, named, stranger
from qvsearch.demo.words import Language
from qvsearch.demo.world import (
    Scene,
    caption,
    change,
    draw,
    film,
    neighbour,
    note,
    phrase,
    random_part,
    recoloured,
    scenes,
)
from qvsearch.models.prompt import QUERY_INSTRUCTION
from qvsearch.types import EmbedInput

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

FAMILIES = 16  # scenes of a batch that have nothing to do with each other
TWINS = 4  # each with so many that differ from it in one attribute, itself among them
SIZES = ((128, 128), (128, 128), (128, 128), (128, 96), (96, 128), (160, 128), (128, 160))
LANGUAGES: tuple[Language, ...] = ("en", "es", "zh")
SHARES = (0.4, 0.3, 0.3)
OWN_WORDS = 2 / 3  # of reworded English queries; the others are captions in a request


@dataclass(frozen=True, slots=True)
class Lesson:
    """How long something is taught, and what a batch of it has besides captions."""

    steps: int
    learning_rate: float
    redrawn: int  # queries by picture
    composed: int  # queries by picture and words
    clips: int  # documents that are films, not pictures
    phrases: int  # queries that say a part of a scene
    looks: int  # steps of the vision tower alone, before
    reads: int  # steps with the readers alone, before; one more of them finds shapes anywhere
    reworded: float = 0  # share of the queries of words that are worded as people may
    strangers: int = 0  # queries that nothing answers
    kept: float = 0  # share of the weights before the lesson in those after it


LESSONS = (
    Lesson(3000, 1.5e-3, redrawn=16, composed=24, clips=0, phrases=0, looks=0, reads=0),
    Lesson(1000, 1e-3, redrawn=8, composed=16, clips=12, phrases=64, looks=0, reads=0),
    Lesson(420, 1e-3, redrawn=8, composed=16, clips=12, phrases=96, looks=400, reads=400),
    Lesson(
        steps=400,
        learning_rate=1e-3,
        redrawn=8,
        composed=16,
        clips=12,
        phrases=96,
        looks=0,
        reads=100,
        reworded=0.5,
        strangers=24,
        kept=0.3,
    ),
)


@dataclass(frozen=True, slots=True)
class Batch:
    """What a step learns from; `targets` are rows of `documents`, one a query."""

    documents: list[EmbedInput]
    queries: list[EmbedInput]
    targets: list[int]
    scenes: list[Scene]  # of the documents
    notes: list[EmbedInput]  # of every second document
    phrases: list[EmbedInput]
    fitting: NDArray[np.bool_]  # which of the documents (phrases, documents)
    strangers: list[EmbedInput]


def batches(lesson: Lesson, rng: Generator) -> Iterator[Batch]:
    """Yield batches of scenes that are not held out, without end."""
    while True:
        width, height = SIZES[rng.integers(len(SIZES))]
        family = [twin for _ in range(FAMILIES) for twin in _family(rng)]
        documents = [EmbedInput(images=(draw(scene, rng, width, height),)) for scene in family]
        queries = [
            query(text=_described(scene, tongue, lesson.reworded, rng))
            for scene, tongue in zip(family, _languages(len(family), rng), strict=True)
        ]
        targets = list(range(len(family)))
        for row in rng.permutation(len(family))[: lesson.redrawn]:
            queries.append(query(images=(draw(family[row], rng, width, height),)))
            targets.append(int(row))
        for row in rng.permutation(len(family))[: lesson.composed]:
            other, thing = recoloured(family[row], rng)
            picture = draw(other, rng, width, height)
            queries.append(query(images=(picture,), text=change(thing, rng)))
            targets.append(int(row))
        notes = [EmbedInput(text=note(scene, rng)) for scene in family[::2]]
        if lesson.clips:
            for row in rng.permutation(len(family))[: lesson.clips]:
                documents[row] = EmbedInput(video=film(family[row], rng, width, height))
        phrases, fitting = _phrases(family, lesson, rng)
        strangers = [query(text=stranger(rng)) for _ in range(lesson.strangers)]
        yield Batch(documents, queries, targets, family, notes, phrases, fitting, strangers)


def _family(rng: Generator) -> list[Scene]:
    """Return a trained scene and others that each differ from it in one attribute."""
    first = next(scenes(rng, held_out=False))
    family = [first]
    while len(family) < TWINS:
        twin = neighbour(first, rng)
        if not twin.held_out and twin not in family:
            family.append(twin)
    return family


def _described(scene: Scene, language: Language, reworded: float, rng: Generator) -> str:
    if not reworded or rng.random() >= reworded:
        return caption(scene, rng, language)
    own = language == "en" and rng.random() < OWN_WORDS
    return asked(described(scene, rng) if own else caption(scene, rng, language), rng, language)


def _phrases(
    family: list[Scene], lesson: Lesson, rng: Generator
) -> tuple[list[EmbedInput], NDArray[np.bool_]]:
    """Return phrases that each fit a scene with a note, and which scenes they fit in all."""
    count = lesson.phrases
    rows = rng.integers(0, len(family) // 2, count) * 2
    parts = [random_part(family[row], rng) for row in rows]
    fitting = np.array([[part.fits(scene) for scene in family] for part in parts], np.bool_)
    languages = _languages(count, rng)
    said = [
        asked(named(part, rng, tongue), rng, tongue)
        if lesson.reworded and rng.random() < lesson.reworded
        else phrase(part, rng, tongue)
        for part, tongue in zip(parts, languages, strict=True)
    ]
    return [query(text=text) for text in said], fitting.reshape(count, len(family))


def _languages(count: int, rng: Generator) -> Any:  # noqa: ANN401 (numpy's strings, not Language's)
    return rng.choice(LANGUAGES, count, p=SHARES)


def query(text: str | None = None, images: tuple[Any, ...] = ()) -> EmbedInput:
    """Return a query with the instruction that a library's queries have."""
    return EmbedInput(text=text, images=images, instruction=QUERY_INSTRUCTION)
