"""The rule of near-duplicates: the least cosine with which two rows count as the same.

No evidence is enough alone. A difference hash has no colour and only 64 cells: drawn scenes that
differ in one colour agree in all bits. A vector describes what a picture shows: photos of two
similar rooms may come close, and a model that was not trained on photos confuses different ones.

- A picture is a copy if the hashes agree far beyond chance and the vectors nearly agree.
- In a burst the clock replaces much of the hash.
- A passage begins with the same words and has the same vector.
- A page of a document does so too, and agrees in its hash; a scan without words is like a picture.
- Proportions must be about the same, and copies of a photo never name two cameras or two times.
- A picture too flat for a hash is the same only if its bytes are. So is a file of several pages or
  frames, since only one of them is indexed.
- A smaller copy has the hash and the mean colours of the large one, whatever its vector is.

`tests/bench/duplicates.py` prints the errors of the thresholds, in both directions.
"""

from __future__ import annotations

import base64
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from qvsearch.types import KIND_CODES, Kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qvsearch.types import Segment

    Numbers = NDArray[np.int64]
    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

BITS = 64
# Hashes are compared by the number of bits that differ, as a share of the number by chance, which
# is 32 for two photos. Another size, format or quality changes up to 4 bits, a crop of 5 % up
# to 13; different photos differ in 20 or more.
COPY_SHARE, COPY_COSINE = 1 / 5, 0.95
CROP_SHARE, CROP_COSINE = 1 / 3, 0.98
COPY_BITS = 10  # the most bits that a share of 1/3 allows
THUMB_SHARE, THUMB_COSINE = 1 / 10, 0.8  # a thumbnail gives a model little detail
# Of 255, between the mean colours of two patches: another size and quality change them by up to 4,
# another colour of one object by 20 or more. A thumbnail gives a model so little detail that the
# vectors of two copies may have nothing in common.
PATCH_STEP = 4
PATCH_BYTES = 4 * 4 * 3
THUMB_PIXELS = 2.0  # the least ratio of pixels between a picture and its thumbnail
PAGE_SHARE, PAGE_COSINE = 1 / 8, 0.985  # pages of one layout differ only in their text
BURST_SHARE, BURST_COSINE = 2 / 3, 0.95  # an object or the camera moved
BURST_SECONDS = 10.0
PASSAGE_COSINE = 0.99
PROPORTION = 0.12  # of log(width / height): a crop of 10 % on one side changes it less
LENGTH = 0.02  # of a video's seconds: another frame rate, a missing last frame
LENGTH_SECONDS = 1.0
CLOCKS = (None, "xmp")  # a name has only the day, a Google Takeout's JSON only UTC
NEVER, ALWAYS = np.inf, -np.inf  # as the least cosine of a pair
ABSENT = -1

_IMAGE, _VIDEO = KIND_CODES[Kind.IMAGE], KIND_CODES[Kind.VIDEO]
_DOCUMENT = KIND_CODES[Kind.DOCUMENT]


class Reason(StrEnum):
    """Why two items are one: the same bytes, the same picture or words, a burst, or one shot."""

    EXACT = "exact"
    COPY = "copy"
    BURST = "burst"
    SHOT = "shot"  # no near-duplicates: see `shots`


@dataclass(frozen=True, slots=True)
class Traits:
    """The evidence of n segments, as arrays (n,).

    Contents, cameras and words are numbers, equal for equal values and ABSENT without a value;
    other absent values are NaN. `patches` (n, PATCH_BYTES) are the mean colours of rows that are
    `patched`. `proportion` is the logarithm of width over height; `taken` is seconds by the
    camera's clock; `start`, `end` and `duration` are seconds; `words` are the start of a passage.
    """

    kind: Numbers
    content: Numbers
    dhash: NDArray[np.uint64]
    hashed: Flags
    patches: NDArray[np.uint8]
    patched: Flags
    proportion: Floats
    pixels: Numbers
    page: Flags
    several: Flags
    taken: Floats
    camera: Numbers
    clip: Flags
    start: Floats
    end: Floats
    duration: Floats
    words: Numbers


def traits(segments: Sequence[Segment]) -> Traits:
    """Return the traits of segments, in order."""
    width = _floats(each.width or None for each in segments)
    height = _floats(each.height or None for each in segments)
    about = [each.metadata for each in segments]
    patches = [_colours(each.patches) for each in segments]
    return Traits(
        kind=np.array([KIND_CODES[each.item.kind] for each in segments], np.int64),
        content=_numbered(each.content_hash or None for each in segments),
        dhash=np.array([each.dhash or 0 for each in segments], np.uint64),
        hashed=np.array([each.dhash is not None for each in segments], np.bool_),
        patches=np.frombuffer(
            b"".join(each or bytes(PATCH_BYTES) for each in patches), np.uint8
        ).reshape(-1, PATCH_BYTES),
        patched=np.array([each is not None for each in patches], np.bool_),
        proportion=np.log(width / height),
        pixels=np.nan_to_num(width * height).astype(np.int64),
        page=np.array(
            [each.metadata.page is True or each.page is not None for each in segments], np.bool_
        ),
        several=np.array([each.several is True for each in about], np.bool_),
        taken=_floats(clock(each.taken) if each.taken_from in CLOCKS else None for each in about),
        camera=_numbered(each.camera for each in about),
        clip=np.array([each.clip for each in segments], np.bool_),
        start=_floats(each.start for each in segments),
        end=_floats(each.end for each in segments),
        duration=_floats(each.duration for each in about),
        words=_numbered(" ".join((each.snippet or "").split()) or None for each in segments),
    )


def clock(taken: str | None) -> float | None:
    """Return seconds since the year 1 by the camera's clock, without its zone: copies lose that."""
    if taken is None or len(taken) <= len("2019-07-04"):
        return None
    try:
        shown = datetime.fromisoformat(taken).replace(tzinfo=None)
    except ValueError:
        return None
    return (shown - datetime.min).total_seconds()


def needed(of: Traits, i: Numbers, j: Numbers) -> Floats:
    """Return the least cosine (k,) with which row i[k] is the same as row j[k], NEVER or ALWAYS.

    Two rows of one item may be the same, too.
    """
    kind = np.where(of.kind[i] == of.kind[j], of.kind[i], ABSENT)
    share = chance_share(of, i, j)
    shaped = ~(np.abs(of.proportion[i] - of.proportion[j]) > PROPORTION)
    least = np.full(len(i), NEVER)

    def enough(pairs: Flags, cosine: float) -> None:
        least[pairs] = np.minimum(least[pairs], cosine)

    image = (kind == _IMAGE) & shaped & ~(of.several[i] | of.several[j])
    page = of.page[i] | of.page[j]
    one_shot = image & ~_two_cameras(of, i, j) & ~(_seconds_apart(of, i, j) > BURST_SECONDS)
    video = (kind == _VIDEO) & shaped & _at_once(of, i, j) & (of.clip[i] == of.clip[j])
    picture = (one_shot & ~page) | video
    enough(picture & (share < COPY_SHARE), COPY_COSINE)
    enough(picture & (share < CROP_SHARE), CROP_COSINE)
    enough(picture & (share < THUMB_SHARE) & _two_sizes(of, i, j), THUMB_COSINE)
    small = np.flatnonzero(one_shot & ~page & (share < COPY_SHARE) & _two_sizes(of, i, j))
    least[small[_same_colours(of, i[small], j[small])]] = ALWAYS
    enough(one_shot & page & (share < PAGE_SHARE), PAGE_COSINE)
    moved = (share < BURST_SHARE) | ~(of.hashed[i] & of.hashed[j])
    enough(image & ~page & _one_burst(of, i, j) & moved, BURST_COSINE)
    worded = (of.words[i] == of.words[j]) & (of.words[i] != ABSENT)
    document = (of.kind[i] == _DOCUMENT) | (of.kind[j] == _DOCUMENT)
    enough(worded & ~document, PASSAGE_COSINE)
    sheet = (kind == _DOCUMENT) & shaped & (share < PAGE_SHARE)  # forms differ only in their text
    enough(worded & sheet, PASSAGE_COSINE)
    enough(sheet & (of.words[i] == ABSENT) & (of.words[j] == ABSENT), PAGE_COSINE)
    least[_exact(of, i, j)] = ALWAYS
    return least


def same_pictures(of: Traits, i: Numbers, j: Numbers) -> Flags:
    """Return whether each pair shows the same picture, without comparing vectors.

    That is for libraries of different models. Hashes agree far beyond chance, and so do the mean
    colours, which a hash lacks. Pages of one layout are not told apart so.
    """
    kind = np.where(of.kind[i] == of.kind[j], of.kind[i], ABSENT)
    shaped = ~(np.abs(of.proportion[i] - of.proportion[j]) > PROPORTION)
    image = (kind == _IMAGE) & ~(of.several[i] | of.several[j]) & ~(of.page[i] | of.page[j])
    image &= ~_two_cameras(of, i, j) & ~(_seconds_apart(of, i, j) > BURST_SECONDS)
    likely = shaped & (image | ((kind == _VIDEO) & _at_once(of, i, j)))
    same: Flags = _exact(of, i, j)
    open_ = np.flatnonzero(likely & ~same & (chance_share(of, i, j) < COPY_SHARE))
    same[open_] = _same_colours(of, i[open_], j[open_])
    return same


def reasons(of: Traits, i: Numbers, j: Numbers) -> list[Reason]:
    """Return the reason of each pair that is the same.

    A photo of the same size and second may be a copy or the next of a burst. It counts as the
    latter, which is a picture of its own.
    """
    moment = (of.pixels[i] == of.pixels[j]) | (_seconds_apart(of, i, j) > 0)
    burst = (of.kind[i] == _IMAGE) & _one_burst(of, i, j) & moment
    named = np.where(_exact(of, i, j), Reason.EXACT, np.where(burst, Reason.BURST, Reason.COPY))
    return [Reason(each) for each in named.tolist()]


def chance_share(of: Traits, i: Numbers, j: Numbers) -> Floats:
    """Return the number of bits in which hashes differ, as a share of the number by chance.

    Chance means two hashes with as many ones in random places. The share is infinite if that number
    is 0, or without a hash.
    """
    differ = np.bitwise_count(of.dhash[i] ^ of.dhash[j]).astype(np.float64)
    mine, other = (np.bitwise_count(of.dhash[rows]) / BITS for rows in (i, j))
    chance = BITS * (mine * (1 - other) + other * (1 - mine))
    known = of.hashed[i] & of.hashed[j] & (chance > 0)
    share: Floats = np.divide(differ, chance, out=np.full(len(i), np.inf), where=known)
    return share


def _exact(of: Traits, i: Numbers, j: Numbers) -> Flags:
    equal: Flags = (of.kind[i] == of.kind[j]) & (of.content[i] == of.content[j])
    known: Flags = of.content[i] != ABSENT
    return equal & known


def _colours(text: str | None) -> bytes | None:
    """Return the bytes of `Segment.patches`, None if there are none."""
    try:
        colours = base64.b64decode(text or "")
    except ValueError:
        return None
    return colours if len(colours) == PATCH_BYTES else None


def _same_colours(of: Traits, i: Numbers, j: Numbers) -> Flags:
    steps = np.abs(of.patches[i].astype(np.int16) - of.patches[j])
    alike: Flags = (steps <= PATCH_STEP).all(axis=1) & of.patched[i] & of.patched[j]
    return alike


def _two_cameras(of: Traits, i: Numbers, j: Numbers) -> Flags:
    named: Flags = (of.camera[i] != ABSENT) & (of.camera[j] != ABSENT)
    differ: Flags = of.camera[i] != of.camera[j]
    return named & differ


def _two_sizes(of: Traits, i: Numbers, j: Numbers) -> Flags:
    smaller = np.minimum(of.pixels[i], of.pixels[j])
    known: Flags = smaller > 0
    far: Flags = np.maximum(of.pixels[i], of.pixels[j]) >= THUMB_PIXELS * smaller
    return known & far


def _one_burst(of: Traits, i: Numbers, j: Numbers) -> Flags:
    one_camera: Flags = (of.camera[i] == of.camera[j]) & (of.camera[i] != ABSENT)
    near: Flags = _seconds_apart(of, i, j) <= BURST_SECONDS
    return one_camera & near


def _seconds_apart(of: Traits, i: Numbers, j: Numbers) -> Floats:
    seconds: Floats = np.abs(of.taken[i] - of.taken[j])
    return seconds


def _at_once(of: Traits, i: Numbers, j: Numbers) -> Flags:
    """Return whether moments of two videos of one length overlap."""
    longer = np.fmax(of.duration[i], of.duration[j])
    apart = np.abs(of.duration[i] - of.duration[j])
    one_length: Flags = ~(apart > np.maximum(LENGTH_SECONDS, LENGTH * longer))
    return one_length & (of.start[i] < of.end[j]) & (of.start[j] < of.end[i])


def _floats(values: Iterable[float | None]) -> Floats:
    return np.array(list(values), np.float64)  # None is NaN


def _numbered(values: Iterable[Hashable | None]) -> Numbers:
    """Return a number for each value: equal for equal values, ABSENT for None."""
    known: dict[Hashable | None, int] = {None: ABSENT}
    return np.array([known.setdefault(each, len(known)) for each in values], np.int64)
