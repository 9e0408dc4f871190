"""The words for drawn scenes: captions in three languages, notes, wishes for another colour."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Language = Literal["en", "es", "zh"]


@dataclass(frozen=True, slots=True)
class Captions:
    """How a language describes a scene; the items of a tuple mean the same."""

    names: Callable[[str | None, str | None], tuple[str, ...]]  # of a thing: shape, colour
    places: dict[str, tuple[str, ...]]
    backgrounds: dict[str, tuple[str, ...]]
    thing: tuple[str, ...]
    comma: str
    last: str
    sentence: tuple[str, ...]
    phrase: str  # of a thing and its background


def _english(shape: str | None, colour: str | None) -> tuple[str, ...]:
    if shape is None:
        return ("something",) if colour is None else (f"something {colour}", colour)
    name = shape if colour is None else f"{colour} {shape}"
    return (f"{'an' if name[0] in 'aeiou' else 'a'} {name}", name)


_SPANISH_SHAPES = {  # each with its gender, which decides the ending of the colour
    "circle": ("un círculo", "o"),
    "square": ("un cuadrado", "o"),
    "triangle": ("un triángulo", "o"),
    "star": ("una estrella", "a"),
    "cross": ("una cruz", "a"),
    "ring": ("un anillo", "o"),
}
_SPANISH_COLOURS = {
    "red": "roj*",
    "orange": "naranja",
    "yellow": "amarill*",
    "green": "verde",
    "blue": "azul",
    "purple": "morad*",
    "white": "blanc*",
    "black": "negr*",
}


def _spanish(shape: str | None, colour: str | None) -> tuple[str, ...]:
    noun, gender = ("algo", "o") if shape is None else _SPANISH_SHAPES[shape]
    if colour is None:
        return (noun,)
    word = _SPANISH_COLOURS[colour].replace("*", gender)
    return (f"{noun} {word}",) + (word,) * (shape is None)


_CHINESE_SHAPES = dict(
    circle="圆形", square="方块", triangle="三角形", star="星星", cross="十字", ring="圆环"
)
_CHINESE_COLOURS = dict(
    red="红", orange="橙", yellow="黄", green="绿", blue="蓝", purple="紫", white="白", black="黑"
)


def _chinese(shape: str | None, colour: str | None) -> tuple[str, ...]:
    noun = "东西" if shape is None else _CHINESE_SHAPES[shape]
    if colour is None:
        return (noun,)
    word = f"{_CHINESE_COLOURS[colour]}色"
    return (f"{word}的{noun}",) + (word,) * (shape is None)


CAPTIONS: dict[Language, Captions] = {
    "en": Captions(
        names=_english,
        places={
            "top left": ("at the top left", "in the top left corner"),
            "top right": ("at the top right", "in the top right corner"),
            "middle": ("in the middle", "in the centre"),
            "bottom left": ("at the bottom left", "in the bottom left corner"),
            "bottom right": ("at the bottom right", "in the bottom right corner"),
        },
        backgrounds={
            "grass": ("grass", "green grass"),
            "sand": ("sand", "yellow sand"),
            "water": ("water", "blue water"),
            "night": ("a night sky", "the night sky"),
            "bricks": ("bricks", "a brick wall"),
            "snow": ("snow", "white snow"),
        },
        thing=("{thing} {place}",),
        comma=", ",
        last=" and ",
        sentence=(
            "{things} on {background}",
            "on {background}, {things}",
            "{things}, {background}",
        ),
        phrase="{thing} on {background}",
    ),
    "es": Captions(
        names=_spanish,
        places={
            "top left": ("arriba a la izquierda",),
            "top right": ("arriba a la derecha",),
            "middle": ("en el centro", "en el medio"),
            "bottom left": ("abajo a la izquierda",),
            "bottom right": ("abajo a la derecha",),
        },
        backgrounds={
            "grass": ("hierba", "la hierba"),
            "sand": ("arena", "la arena"),
            "water": ("agua", "el agua"),
            "night": ("un cielo de noche", "el cielo de noche"),
            "bricks": ("ladrillos", "un muro de ladrillos"),
            "snow": ("nieve", "la nieve"),
        },
        thing=("{thing} {place}",),
        comma=", ",
        last=" y ",
        sentence=("{things} sobre {background}", "sobre {background}, {things}"),
        phrase="{thing} sobre {background}",
    ),
    "zh": Captions(
        names=_chinese,
        places={
            "top left": ("左上角", "左上方"),
            "top right": ("右上角", "右上方"),
            "middle": ("中间", "中央"),
            "bottom left": ("左下角", "左下方"),
            "bottom right": ("右下角", "右下方"),
        },
        backgrounds={
            "grass": ("草地",),
            "sand": ("沙地", "沙滩"),
            "water": ("水面", "水"),
            "night": ("夜空",),
            "bricks": ("砖墙",),
            "snow": ("雪地", "雪"),
        },
        thing=("{place}有{thing}", "{place}一个{thing}"),
        comma="，",
        last="，",
        sentence=("{background}上，{things}", "{things}，在{background}上"),
        phrase="{background}上，{thing}",
    ),
}


@dataclass(frozen=True, slots=True)
class Notes:
    """How a note describes a scene."""

    thing: tuple[str, ...]
    whole: tuple[str, ...]


NOTES = Notes(
    thing=(
        "{place}: {colour} {shape}.",
        "{colour} {shape}, {place}.",
        "- {colour} {shape} ({place})",
    ),
    whole=(
        "Seen today on the {background}.\n{things}\n",
        "Note: {background}.\n\n{things}\n",
        "{things}\nAll of it on the {background}.\n",
    ),
)
SHAPE_NOTES = {
    "circle": ("disc", "round spot"),
    "square": ("box", "tile"),
    "triangle": ("wedge", "pyramid"),
    "star": ("five-pointed star", "starfish"),
    "cross": ("plus sign", "plus"),
    "ring": ("hoop", "donut"),
}
COLOUR_NOTES = {
    "red": ("crimson", "red"),
    "orange": ("tangerine", "orange"),
    "yellow": ("lemon", "yellow"),
    "green": ("emerald", "green"),
    "blue": ("navy", "blue"),
    "purple": ("violet", "purple"),
    "white": ("ivory", "white"),
    "black": ("coal", "black"),
}
PLACE_NOTES = {
    "top left": ("upper left", "north-west"),
    "top right": ("upper right", "north-east"),
    "middle": ("centre", "right in the middle"),
    "bottom left": ("lower left", "south-west"),
    "bottom right": ("lower right", "south-east"),
}
BACKGROUND_NOTES = {
    "grass": ("lawn", "meadow"),
    "sand": ("beach", "desert"),
    "water": ("lake", "sea"),
    "night": ("starry dark", "midnight sky"),
    "bricks": ("brickwork", "house wall"),
    "snow": ("winter field", "fresh snow"),
}

CHANGES = (
    "make the {shape} {colour}",
    "but the {shape} is {colour}",
    "the same with a {colour} {shape}",
    "change the {shape} to {colour}",
)
