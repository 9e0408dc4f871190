"""Queries in other words than captions, and queries that nothing drawn answers.

The measurements have wordings and absent things of their own (tests/bench/libraries.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qvsearch.demo.words import (
    BACKGROUND_NOTES,
    CAPTIONS,
    COLOUR_NOTES,
    PLACE_NOTES,
    SHAPE_NOTES,
    Language,
)
from qvsearch.demo.world import Part, Scene, Thing, phrase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.random import Generator

FRAMED = 0.6  # of the queries: inside a request
SYNONYM = 0.3  # of the words: one that notes use
CAPITALS = 0.25  # of the queries: all letters
FRAMES: dict[Language, tuple[str, ...]] = {
    "en": (
        "a picture of {}",
        "a photo with {}",
        "an image showing {}",
        "show me {}",
        "show me the one with {}",
        "find {}",
        "please find me {}",
        "pictures of {}",
        "I am looking for {}",
        "I remember seeing {}",
        "do you have {}?",
        "is there a picture with {}?",
        "which image contains {}?",
        "which of them shows {}?",
        "there is {}",
        "one can see {}",
        "something like this: {}",
        "what about {}?",
        "search for {}, please",
        "everything with {}",
        "{} in a picture",
        "{}, as far as I remember",
    ),
    "es": ("una imagen de {}", "busco {}", "muéstrame {}", "¿hay {}?", "una foto con {}"),
    "zh": ("{}的图片", "找一张图：{}", "有没有{}？", "我想看{}"),
}
THINGS = (
    "{article} {colour} {shape}",
    "{article} {colour} {shape}",
    "{colour} {shape}",
    "one {colour} {shape}",
    "the {colour} {shape}",
    "a {shape} in {colour}",
    "a {shape} that is {colour}",
    "a {shape}, {colour}",
    "a {shape} coloured {colour}",
    "a {shape} (it is {colour})",
    "something {colour}, namely a {shape}",
)
SHAPES = ("{}", "{}", "{}s", "a {}", "the {}", "some {}s", "any {}")
COLOURS = ("{}", "{}", "something {}", "{} things", "a thing in {}", "anything {}")
PLACED = ("{thing} {place}", "{thing} {place}", "{thing}, {place}", "{place} {thing}")
JOINED = (" and ", ", and ", ", ", " together with ", " plus ", "; ", " next to ")
GROUNDED = (
    "{things} on {background}",
    "{things}, on {background}",
    "{things} over {background}",
    "{things} with {background} behind",
    "{things} in front of {background}",
    "{things}; the background is {background}",
    "{background}, and on it {things}",
    "{background} with {things}",
)
NOUNS = (
    *(
        "apple",
        "aunt",
        "bag",
        "ball game",
        "bank",
        "bed",
        "bird",
        "boat",
        "book",
        "bottle",
        "bread",
    ),
    *("brother", "bus", "butterfly", "café", "camera", "car", "castle", "chair", "city", "clock"),
    *("coat", "coffee", "computer", "concert", "contract", "cow", "cup", "dentist", "desk", "door"),
    *("dress", "engine", "farm", "father", "fire", "fish", "flower", "friend", "garden", "glass"),
    *("grandmother", "guitar", "hat", "hill", "horse", "hospital", "hotel", "insurance", "kitchen"),
    *("knife", "ladder", "lamp", "letter", "library", "lion", "map", "market", "medicine", "milk"),
    *("mirror", "money", "moon", "motorway", "mouse", "museum", "neighbour", "newspaper", "office"),
    *("painting", "paper", "park", "passport", "pencil", "phone", "piano", "pizza", "police"),
    *("potato", "river", "road", "room", "salad", "school", "shoe", "shop", "singer", "spoon"),
    *("street", "table", "teacher", "telephone", "tent", "ticket", "tiger", "tomato", "tooth"),
    *("toy", "tractor", "tree", "truck", "umbrella", "uncle", "village", "violin", "window", "zoo"),
)
STRANGE = (
    "{}",
    "a {}",
    "my {}",
    "{}s",
    "the {} and the {}",
    "a {} in the {}",
    "a {} with a {}",
    "our {} last summer",
    "how to clean a {}",
    "why is the {} broken",
    "a photo of the {}",
    "{} 2017",
    "two people at the {}",
    "an old {} near a {}",
    "price of the {}",
)
LETTERS = "abcdefghijklmnopqrstuvwxyz"
SYMBOLS = "0123456789.,;:?!-_/#*+=()"


def described(scene: Scene, rng: Generator) -> str:
    """Return an English query for everything in a scene, in one of many wordings."""
    things = [scene.things[n] for n in rng.permutation(len(scene.things))]
    joint = str(rng.choice(JOINED))
    said = joint.join(_thing(each, rng) for each in things)
    words = (*CAPTIONS["en"].backgrounds[scene.background], scene.background)
    background = _word(words, BACKGROUND_NOTES[scene.background], rng)
    return str(rng.choice(GROUNDED)).format(things=said, background=background)


def asked(text: str, rng: Generator, language: Language = "en") -> str:
    """Return a query as someone may type it: in a request, or in capitals, or neither."""
    if rng.random() < FRAMED:
        text = str(rng.choice(FRAMES[language])).format(text)
    if rng.random() < CAPITALS:
        return text.upper()
    return text[:1].upper() + text[1:] if rng.random() < CAPITALS else text


def named(part: Part, rng: Generator, language: Language) -> str:
    """Return words for a part of a scene, in English often others than those of captions."""
    shape, colour, background = part.shape, part.colour, part.background
    if language != "en" or part.place is not None:
        return phrase(part, rng, language)
    if shape is None and colour is None and background is not None:
        return _word((background,), BACKGROUND_NOTES[background], rng)
    if shape is not None and colour is not None:
        thing = _attributes(shape, colour, rng)
    elif shape is not None:
        thing = str(rng.choice(SHAPES)).format(_word((shape,), SHAPE_NOTES[shape], rng))
    elif colour is not None:
        thing = str(rng.choice(COLOURS)).format(_word((colour,), COLOUR_NOTES[colour], rng))
    if background is None:
        return thing
    ground = _word(CAPTIONS["en"].backgrounds[background], BACKGROUND_NOTES[background], rng)
    return str(rng.choice(GROUNDED)).format(things=thing, background=ground)


def stranger(rng: Generator) -> str:
    """Return a query that no scene answers: everyday things, invented words, or mere symbols."""
    kind = rng.random()
    if kind < 0.5:
        return str(rng.choice(STRANGE)).format(*rng.choice(NOUNS, 2))
    if kind < 0.6:
        return "".join(rng.choice(list(SYMBOLS), rng.integers(1, 8)))
    words = ("".join(rng.choice(list(LETTERS), rng.integers(1, 9))) for _ in range(4))
    return " ".join(list(words)[: rng.integers(1, 5)])


def _thing(thing: Thing, rng: Generator) -> str:
    said = _attributes(thing.shape, thing.colour, rng)
    place = _word(CAPTIONS["en"].places[thing.place], PLACE_NOTES[thing.place], rng)
    return str(rng.choice(PLACED)).format(thing=said, place=place)


def _attributes(shape: str, colour: str, rng: Generator) -> str:
    shape = _word((shape,), SHAPE_NOTES[shape], rng)
    colour = _word((colour,), COLOUR_NOTES[colour], rng)
    article = "an" if colour[0] in "aeiou" else "a"
    return str(rng.choice(THINGS)).format(article=article, colour=colour, shape=shape)


def _word(usual: Sequence[str], noted: Sequence[str], rng: Generator) -> str:
    return str(rng.choice(noted if rng.random() < SYNONYM else usual))
