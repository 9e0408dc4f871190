"""The drawn world: scenes of one to three shapes, their pictures, captions and notes.

All randomness comes from the caller's generator.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from qvsearch.demo.words import (
    BACKGROUND_NOTES,
    CAPTIONS,
    CHANGES,
    COLOUR_NOTES,
    NOTES,
    PLACE_NOTES,
    SHAPE_NOTES,
    Language,
)
from qvsearch.types import Frames

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.random import Generator
    from numpy.typing import NDArray

    from qvsearch.types import Pixels

    Plane = NDArray[np.floating[Any]]

T = TypeVar("T")

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
COLOURS = {
    "red": (215, 40, 40),
    "orange": (245, 140, 30),
    "yellow": (245, 225, 50),
    "green": (40, 160, 60),
    "blue": (45, 90, 220),
    "purple": (140, 60, 180),
    "white": (245, 245, 245),
    "black": (20, 20, 20),
}
PLACES = {  # the centre of a shape, as fractions of the width and of the height
    "top left": (0.24, 0.24),
    "top right": (0.76, 0.24),
    "middle": (0.5, 0.5),
    "bottom left": (0.24, 0.76),
    "bottom right": (0.76, 0.76),
}
BACKGROUNDS = ("grass", "sand", "water", "night", "bricks", "snow")
HELD_OUT = 8  # one scene of 8 is never trained
_REACH = 1.4  # times a shape's radius; the corners of a triangle are 1.31 from its centre
_SOFT = 5  # pixels: so far from its shape, at sharp corners, an edge is still seen


@dataclass(frozen=True, slots=True, order=True)
class Thing:
    """A shape of a scene; each field is a key of the tables above."""

    place: str
    shape: str
    colour: str


@dataclass(frozen=True, slots=True)
class Scene:
    """A background with one to three things, each in a place of its own, sorted by place."""

    background: str
    things: tuple[Thing, ...]

    @property
    def held_out(self) -> bool:
        """Whether this scene is kept out of the training; its content alone decides."""
        return zlib.crc32(repr(self).encode()) % HELD_OUT == 0


@dataclass(frozen=True, slots=True)
class Part:
    """The attributes of a scene that a phrase names; None is not named."""

    background: str | None = None
    shape: str | None = None
    colour: str | None = None
    place: str | None = None

    def fits(self, scene: Scene) -> bool:
        """Return whether a scene has the background, and one thing with all named attributes."""
        return self.background in (None, scene.background) and any(
            self.shape in (None, thing.shape)
            and self.colour in (None, thing.colour)
            and self.place in (None, thing.place)
            for thing in scene.things
        )


def random_part(scene: Scene, rng: Generator) -> Part:
    """Return some attributes of a scene: its background, or a thing with or without it."""
    thing = _pick(rng, scene.things)
    what, placed, grounded = int(rng.integers(4)), rng.random() < 1 / 3, rng.random() < 1 / 3
    if what == 0:
        return Part(background=scene.background)
    return Part(
        background=scene.background if grounded else None,
        shape=None if what == 1 else thing.shape,
        colour=None if what == 2 else thing.colour,
        place=thing.place if placed else None,
    )


def random_scene(rng: Generator) -> Scene:
    """Return a random scene of one to three things."""
    places = rng.permutation(list(PLACES))[: rng.integers(1, 4)]
    things = (Thing(str(p), _pick(rng, SHAPES), _pick(rng, tuple(COLOURS))) for p in places)
    return Scene(_pick(rng, BACKGROUNDS), tuple(sorted(things)))


def scenes(rng: Generator, *, held_out: bool) -> Iterator[Scene]:
    """Yield different scenes of one side of the split, without end."""
    seen = set()
    while True:
        scene = random_scene(rng)
        if scene.held_out == held_out and scene not in seen:
            seen.add(scene)
            yield scene


def recoloured(scene: Scene, rng: Generator) -> tuple[Scene, Thing]:
    """Return the scene with one thing's colour changed, and that thing as it is in `scene`."""
    thing = _pick(rng, scene.things)
    colour = _pick(rng, tuple(c for c in COLOURS if c != thing.colour))
    return _with(scene, thing, replace(thing, colour=colour)), thing


def neighbour(scene: Scene, rng: Generator) -> Scene:
    """Return a scene that differs in one attribute: a colour, a shape, a place, the background."""
    what = rng.integers(4)
    if what == 0:
        return recoloured(scene, rng)[0]
    thing = _pick(rng, scene.things)
    if what == 1:
        shape = _pick(rng, tuple(s for s in SHAPES if s != thing.shape))
        return _with(scene, thing, replace(thing, shape=shape))
    if what == 2:
        taken = {each.place for each in scene.things}
        place = _pick(rng, tuple(p for p in PLACES if p not in taken))
        return _with(scene, thing, replace(thing, place=place))
    others = tuple(b for b in BACKGROUNDS if b != scene.background)
    return replace(scene, background=_pick(rng, others))


def caption(scene: Scene, rng: Generator, language: Language = "en") -> str:
    """Return a sentence that describes the whole scene, its parts in any order."""
    words = CAPTIONS[language]
    things = [
        _pick(rng, words.thing).format(
            thing=words.names(each.shape, each.colour)[0],
            place=_pick(rng, words.places[each.place]),
        )
        for each in _shuffled(scene.things, rng)
    ]
    listed = words.comma.join(things[:-1]) + words.last * (len(things) > 1) + things[-1]
    background = _pick(rng, words.backgrounds[scene.background])
    return _pick(rng, words.sentence).format(things=listed, background=background)


def phrase(part: Part, rng: Generator, language: Language = "en") -> str:
    """Return a few words for the part alone."""
    words = CAPTIONS[language]
    thing = _pick(rng, words.names(part.shape, part.colour))
    if part.place is not None:
        place = _pick(rng, words.places[part.place])
        thing = _pick(rng, words.thing).format(thing=thing, place=place)
    if part.background is None:
        return thing
    background = _pick(rng, words.backgrounds[part.background])
    if part == Part(part.background):
        return background
    return words.phrase.format(thing=thing, background=background)


def note(scene: Scene, rng: Generator) -> str:
    """Return a short note on the scene, in other words than its captions."""
    things = [
        _pick(rng, NOTES.thing).format(
            colour=_pick(rng, COLOUR_NOTES[each.colour]),
            shape=_pick(rng, SHAPE_NOTES[each.shape]),
            place=_pick(rng, PLACE_NOTES[each.place]),
        )
        for each in _shuffled(scene.things, rng)
    ]
    background = _pick(rng, BACKGROUND_NOTES[scene.background])
    return _pick(rng, NOTES.whole).format(background=background, things="\n".join(things))


def change(thing: Thing, rng: Generator) -> str:
    """Return the words for a thing's colour, beside a picture with another colour."""
    return _pick(rng, CHANGES).format(shape=thing.shape, colour=thing.colour)


def draw(
    scene: Scene, rng: Generator, width: int = 128, height: int = 128, moved: float = 0.0
) -> Pixels:
    """Return a picture (height, width, 3) of a scene; no two are alike.

    `moved` shifts its things sideways, as a fraction of the width.
    """
    canvas = _background(scene.background, rng, width, height)
    unit = min(width, height)
    for thing in scene.things:
        x, y = PLACES[thing.place]
        x += rng.uniform(-0.05, 0.05) + moved
        y += rng.uniform(-0.05, 0.05)
        radius = rng.uniform(0.13, 0.18) * unit
        turn = rng.uniform(-0.25, 0.25)
        colour = np.array(COLOURS[thing.colour], np.float32) + rng.normal(0, 8, 3)
        edge = 255.0 if thing.colour == "black" else 0.0
        reach = _REACH * radius + _SOFT
        columns, rows = _box(x * width, reach, width), _box(y * height, reach, height)
        distance = _distance(thing.shape, x * width, y * height, radius, turn, columns, rows)
        covered = canvas[rows.start : rows.stop, columns.start : columns.stop]
        _paint(covered, distance - 1.5, np.full(3, edge, np.float32))
        _paint(covered, distance, colour.astype(np.float32))
    canvas *= rng.uniform(0.9, 1.1)
    noise = rng.standard_normal(canvas.shape, np.float32)
    noise *= np.float32(rng.uniform(2, 10))
    canvas += noise
    return canvas.clip(0, 255, out=canvas).astype(np.uint8)


def film(scene: Scene, rng: Generator, width: int = 128, height: int = 128) -> Frames:
    """Return two to eight frames of a scene whose things drift sideways."""
    count = int(rng.integers(2, 9))
    times = rng.uniform(0, 60) + np.arange(count) / rng.choice([0.5, 1, 2, 4, 10])
    steady = int(rng.integers(2**32))  # one seed for all frames, so that only the shapes move
    drift = np.linspace(-0.5, 0.5, count) * rng.uniform(-0.12, 0.12)
    pictures = [draw(scene, np.random.default_rng(steady), width, height, m) for m in drift]
    return Frames(np.stack(pictures), tuple(float(each) for each in times))


def _pick(rng: Generator, values: tuple[T, ...]) -> T:
    return values[int(rng.integers(len(values)))]


def _shuffled(things: tuple[Thing, ...], rng: Generator) -> list[Thing]:
    return [things[i] for i in rng.permutation(len(things))]


def _with(scene: Scene, old: Thing, new: Thing) -> Scene:
    things = (new if each == old else each for each in scene.things)
    return replace(scene, things=tuple(sorted(things)))


def _paint(canvas: Plane, distance: Plane, colour: Plane) -> None:
    """Paint the pixels at negative distances to a shape's edge; the edge is one pixel soft."""
    cover = (0.5 - distance).clip(0, 1)[..., None]
    canvas += cover * (colour - canvas)


def _grid(columns: range, rows: range) -> tuple[Plane, Plane]:
    """Return the places of some columns (1, w) and rows (h, 1)."""
    return np.array(columns, np.float32)[None], np.array(rows, np.float32)[:, None]


def _box(centre: float, reach: float, length: int) -> range:
    """Return the columns or rows of a picture within `reach` of a shape's centre."""
    return range(max(0, int(centre - reach)), max(0, min(length, int(centre + reach) + 1)))


def _distance(
    shape: str, cx: float, cy: float, radius: float, turn: float, columns: range, rows: range
) -> Plane:
    """Return each pixel's signed distance to a shape's edge in pixels, roughly; negative inside."""
    x, y = _grid(columns, rows)
    x, y = x - np.float32(cx), y - np.float32(cy)
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    x, y = cos * x + sin * y, cos * y - sin * x
    if shape == "circle":
        return np.hypot(x, y) - radius
    if shape == "ring":
        return np.abs(np.hypot(x, y) - radius * 0.75) - radius * 0.27
    if shape == "square":
        return np.maximum(np.abs(x), np.abs(y)) - radius * 0.88
    if shape == "cross":
        x, y = np.abs(x), np.abs(y)
        wide: Plane = np.maximum(x - radius, y - radius * 0.32)
        tall: Plane = np.maximum(y - radius, x - radius * 0.32)
        cross: Plane = np.minimum(wide, tall)
        return cross
    if shape == "triangle":
        slope = np.abs(x) * 0.866 - y * 0.5
        triangle: Plane = np.maximum(slope - radius * 0.55, y - radius * 0.75)
        return triangle
    angle = np.arctan2(x, -y) * np.float32(5 / (2 * np.pi))  # a star: five points, one up
    near = np.abs(angle - np.round(angle)) * 2
    return np.hypot(x, y) - radius * (1.2 - near * 0.72)


def _background(name: str, rng: Generator, width: int, height: int) -> Plane:
    """Return a textured ground (height, width, 3) float32, 0 to 255."""
    x, y = _grid(range(width), range(height))
    phase = np.float32(rng.uniform(0, 6.28))
    speckle = rng.standard_normal((height, width), np.float32)
    grounds: dict[str, tuple[tuple[int, int, int], Callable[[], Plane]]] = {
        "grass": ((95, 165, 75), lambda: speckle * 18 + 10 * np.sin(x * 0.9 + phase)),
        "sand": ((222, 196, 140), lambda: speckle * 14),
        "water": (
            (95, 165, 205),
            lambda: 22 * np.sin(y * 0.35 + 1.5 * np.sin(x * 0.08 + phase)),
        ),
        "night": ((28, 30, 66), lambda: np.float32(190) * (speckle > 2.6)),
        "bricks": ((168, 92, 70), lambda: -55 * _mortar(x + phase * 4, y)),
        "snow": ((226, 232, 242), lambda: 12 * np.sin(x * 0.05 + phase) + speckle * 4),
    }
    colour, texture = grounds[name]
    ground: Plane = np.asarray(colour, np.float32) + texture().astype(np.float32)[..., None]
    return ground


def _mortar(x: Plane, y: Plane) -> Plane:
    row = np.floor(y / 12)
    joint: Plane = (((x + 12 * (row % 2)) % 24 < 2) | (y % 12 < 2)).astype(np.float32)
    return joint
