"""What the demo reranker is taught: pairs of a query and a document, half of which match.

Its words are English alone: three languages would take three times as long.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from demo_model.lessons import SIZES
from demo_model.variations import answers, hard_part, swapped
from qvsearch.demo.world import (
    PLACES,
    Part,
    Scene,
    caption,
    change,
    draw,
    film,
    neighbour,
    note,
    phrase,
    random_part,
    random_scene,
    recoloured,
)
from qvsearch.types import EmbedInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.random import Generator

QUERIES = 32  # of a batch, each with a document that matches and one that does not


@dataclass(frozen=True, slots=True)
class Course:
    """How long something is taught, and the shares of what it is taught of."""

    steps: int
    things: int  # most in a scene
    told: float  # documents that are notes
    filmed: float  # documents that are films; all others are pictures
    pictured: float  # queries that have a picture
    hard: float = 0.0  # queries that are phrases of what near twins exchange


TERMS = (  # each of courses, and with a learning rate that rises and falls
    (  # to compare one thing with one is learned first, and soon
        Course(400, things=1, told=1.0, filmed=0.0, pictured=0.0),
        Course(1100, things=3, told=1.0, filmed=0.0, pictured=0.0),
        Course(1400, things=3, told=0.3, filmed=0.1, pictured=0.1),
    ),
    (Course(1000, things=3, told=0.45, filmed=0.03, pictured=0.03, hard=0.6),),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A query, a document of `scene`, whether they match, and what the query means."""

    query: EmbedInput
    document: EmbedInput
    scene: Scene
    fits: bool
    meant: Scene | Part


def batches(course: Course, rng: Generator) -> Iterator[list[Verdict]]:
    """Yield batches of scenes that are not held out, without end."""
    while True:
        shown = [_scene(course.things, rng) for _ in range(QUERIES)]
        yield [verdict for scene in shown for verdict in _verdicts(scene, course, rng)]


def comparisons(meant: Scene | Part, scene: Scene) -> list[float]:
    """Return in what a scene agrees with what was meant, 1 or 0; NaN where nothing was said of it.

    Place by place for a scene; field by field, and in each two fields of a thing, for a part.
    """
    if isinstance(meant, Scene):
        same = [float(a == b) for a, b in zip(answers(meant), answers(scene), strict=True)]
        return same + [math.nan] * len(PIECES)
    agree = []
    for fields in PIECES:
        said = {field: getattr(meant, field) for field in fields}
        agree.append(math.nan if None in said.values() else float(Part(**said).fits(scene)))
    return [math.nan] * (1 + 2 * len(PLACES)) + agree


PIECES = (
    ("background",),
    ("shape",),
    ("colour",),
    ("place",),
    ("shape", "colour"),
    ("shape", "place"),
    ("colour", "place"),
)


def _scene(things: int, rng: Generator) -> Scene:
    while True:
        scene = random_scene(rng)
        if len(scene.things) <= things and not scene.held_out:
            return scene


def _verdicts(scene: Scene, course: Course, rng: Generator) -> list[Verdict]:
    """Return a query with its answer and with a document that is nearly one."""
    width, height = SIZES[rng.integers(len(SIZES))]
    meant: Scene | Part = scene
    wrong, kind = scene, rng.random()
    if kind < course.pictured / 2:
        query = EmbedInput(images=(draw(scene, rng, width, height),))
    elif kind < course.pictured:
        start, thing = recoloured(scene, rng)
        query = EmbedInput(text=change(thing, rng), images=(draw(start, rng, width, height),))
        wrong = start if rng.random() < 0.3 else scene
    elif kind < course.pictured + course.hard:
        meant = hard_part(scene, rng)
        query = EmbedInput(text=phrase(meant, rng))
    elif rng.random() < 0.4:
        query = EmbedInput(text=caption(scene, rng))
    else:
        meant = random_part(scene, rng)
        query = EmbedInput(text=phrase(meant, rng))
    while wrong.held_out or (wrong == meant if isinstance(meant, Scene) else meant.fits(wrong)):
        wrong = _twin(scene, rng)
    show = _shown(course, rng, width, height)
    return [
        Verdict(query, show(scene), scene, True, meant),
        Verdict(query, show(wrong), wrong, False, meant),
    ]


def _twin(scene: Scene, rng: Generator) -> Scene:
    """Return a scene, most often one that differs in as little as can be."""
    what = rng.random()
    if what < 0.2:
        return random_scene(rng)
    return swapped(scene, rng) if what < 0.4 else neighbour(scene, rng)


def _shown(
    course: Course, rng: Generator, width: int, height: int
) -> Callable[[Scene], EmbedInput]:
    """Return what makes documents of one kind."""
    kind = rng.random()
    if kind < course.told:
        return lambda scene: EmbedInput(text=note(scene, rng))
    if kind < course.told + course.filmed:
        return lambda scene: EmbedInput(video=film(scene, rng, width, height))
    return lambda scene: EmbedInput(images=(draw(scene, rng, width, height),))
