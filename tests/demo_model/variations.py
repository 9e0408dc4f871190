"""Targets of the training: hard parts, class numbers and swapped scenes of the drawn world."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from qvsearch.demo.world import (
    BACKGROUNDS,
    COLOURS,
    PLACES,
    SHAPES,
    Part,
    Scene,
    random_part,
)

if TYPE_CHECKING:
    from numpy.random import Generator


def hard_part(scene: Scene, rng: Generator) -> Part:
    """Return two or three attributes of one shape, which the scene with swapped colours lacks."""
    while True:
        part = random_part(scene, rng)
        if part.background is None and (part.shape, part.colour, part.place).count(None) < 2:
            return part


def answers(scene: Scene) -> list[int]:
    """Return a scene as class numbers: the background, then shape and colour place by place."""
    at = {thing.place: thing for thing in scene.things}
    numbers = [BACKGROUNDS.index(scene.background)]
    for place in PLACES:
        thing = at.get(place)
        numbers.append(0 if thing is None else SHAPES.index(thing.shape) + 1)
        numbers.append(0 if thing is None else list(COLOURS).index(thing.colour) + 1)
    return numbers


def findings(scene: Scene) -> list[float]:
    """Return 1 for each shape that a scene has, then for each shape with each colour, else 0."""
    parts = [Part(shape=shape) for shape in SHAPES]
    parts += [Part(shape=shape, colour=colour) for shape in SHAPES for colour in COLOURS]
    return [float(part.fits(scene)) for part in parts]


def swapped(scene: Scene, rng: Generator) -> Scene:
    """Return the scene with two things' colours exchanged; itself if that changes nothing."""
    if len(scene.things) < 2:
        return scene
    things = list(scene.things)
    one, other = rng.permutation(len(things))[:2]
    first, second = things[one], things[other]
    things[one] = replace(first, colour=second.colour)
    things[other] = replace(second, colour=first.colour)
    return replace(scene, things=tuple(sorted(things)))
