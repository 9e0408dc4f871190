"""Libraries and queries to fit relevance to, and to measure it on.

The demo model embeds everything once: pictures, clips and notes of held-out scenes, and queries in
words, by picture, by both, and with an exclusion. Libraries of any size and kinds are then put
together from these vectors. Two worlds change the scores: `gap` moves the kinds apart, as with the
real model. `real` also bends the scores of words like recorded scores of the real model, whose
matches lie far above the rest. `normal` has synthetic scores.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from qvsearch.demo.world import (
    COLOURS,
    PLACES,
    SHAPES,
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
    recoloured,
    scenes,
)
from qvsearch.indexing.baseline_queries import queries
from qvsearch.media.pixels import fit
from qvsearch.models.prompt import QUERY_INSTRUCTION
from qvsearch.models.registry import DEMO
from qvsearch.retrieval.calibration import Baseline, baseline_between, baseline_of
from qvsearch.retrieval.scoring import QUERIES
from qvsearch.runtime.local import LocalEmbedder
from qvsearch.types import Detail, EmbedInput, Kind

if TYPE_CHECKING:
    from qvsearch.types import Pixels, Vectors

IMAGE, VIDEO, TEXT = range(3)
WORLDS = ("pictures", "copies", "twins", "mixed", "gap", "real", "normal")
SHARES = (0.01, 0.05, 0.2, 0.8)
ASKED = 100  # scenes of captions and picture queries
SCENES = 600  # with pictures in `one_library`
TWINS = 6  # for each of these: scenes that differ in one thing
COPIED = 0.4  # share of scenes with several pictures each, with fresh noise
MIX = (0.6, 0.2, 0.2)  # shares of the kinds in mixed libraries
NOTHING = 3  # synthetic libraries without a match, for each with one, as with drawn ones
LARGE = 20_000  # from this many rows on, half as many queries
NONSENSE = (
    "a recipe for soup",
    "my sister laughing",
    "qwerty uiop",
    "!",
    "an",
    "tax return 2019",
    "zk",
    "a cake on a plate",
    "train timetable",
    "987",
    "how to fix a bicycle tyre",
    "children playing football",
    "meeting notes",
    "---",
    "forest",
    "a bridge in the fog",
    "lkjh gfds",
    "holiday in Rome",
    "a chart of sales",
    "a cat asleep",
    "dog on a beach",
    "a photo of my cat",
    "asdkjh qwe zxcv",
    "?",
    "the",
    "invoice from march 2021",
    "xq",
    "birthday cake with candles",
    "how much do bartenders make",
    "12345",
    "lorem ipsum dolor sit amet",
    "a man on a bicycle",
    "quarterly report",
    "...",
    "mountain",
    "an old church at dusk",
    "jfkdls;a",
    "wedding photos",
    "screenshot of an error message",
    " ",
)


@dataclass(frozen=True)
class Pool:
    """All embedded documents and queries; `scene` (n,) and `kind` (n,) describe each document.

    `things` are the parts that `phrases` name; the first ones are each shape in each colour. `fits`
    (things, n) is True for documents with the part. `holds` (ASKED, n) and `holds_absent` are True
    for documents with everything in the scene of a query.
    """

    scenes: Sequence[Scene]
    scene: np.ndarray
    kind: np.ndarray
    documents: Vectors
    things: Sequence[Part]
    fits: np.ndarray
    holds: np.ndarray
    holds_absent: np.ndarray
    vectors: dict[str, Vectors]  # queries, by group
    texts: Sequence[str]  # of the documents, empty for pictures and clips
    asked: dict[str, list[str]]  # the words of the queries, by group

    @property
    def bank(self) -> Vectors:
        """The generic queries."""
        return self.vectors["bank"]


@dataclass(frozen=True)
class Case:
    """A query to a library: its scores (n,), and which rows match.

    `unwanted` (n,) are the scores of an excluded part; None without one.
    """

    group: str
    world: str
    size: int
    scores: Vectors
    kinds: np.ndarray
    baselines: dict[int, Baseline | None]
    matches: np.ndarray
    words: float
    unwanted: Vectors | None = None

    @property
    def cell(self) -> tuple[str, str, int]:
        """Its cell of the grid."""
        return self.group, self.world, self.size


def make_pool(
    model: str = DEMO, count: int = 1200, seed: int = 7, embedder: LocalEmbedder | None = None
) -> Pool:
    """Draw and embed a pool of `count` scenes; vectors are cached in the temporary folder.

    An `embedder` has precedence over the name of a model.

    Odd and even seeds draw different scenes, and have half of NONSENSE each.
    """
    rng = np.random.default_rng(seed)
    side = (scene for n, scene in enumerate(scenes(_first(), held_out=True)) if n % 2 == seed % 2)
    drawn = [next(side) for _ in range(count + ASKED)]
    shown, absent = drawn[:count], drawn[count:]
    shown += [neighbour(scene, rng) for scene in shown[:ASKED] for _ in range(TWINS)]
    things = [Part(shape=shape, colour=colour) for shape in SHAPES for colour in COLOURS]
    things += [random_part(scene, rng) for scene in absent * 2]
    scene, kind, inputs = _documents(shown, count, rng)
    asked = _queries(shown, absent, things, rng)
    asked["nonsense"] = _words(NONSENSE[seed % 2 :: 2])
    embedder = embedder or LocalEmbedder(model, device="cpu", dtype="float32")
    path = Path(tempfile.gettempdir()) / (
        f"qvsearch-libraries-2-{embedder.weights.revision[:16]}-{count}-{seed}.npz"
    )
    if not path.exists():
        found = {name: _embedded(embedder, some) for name, some in asked.items()}
        found["documents"] = _embedded(embedder, inputs)
        with path.open("wb") as file:
            np.savez(file, **found)
    with np.load(path) as file:
        vectors = dict(file)
    documents = vectors.pop("documents")
    fits = np.array([[part.fits(each) for each in shown] for part in things])[:, scene]
    holds = [
        np.array([_holds(shown, each) for each in some])[:, scene]
        for some in (shown[:ASKED], absent)
    ]
    texts = [each.text or "" for each in inputs]
    words = {name: [each.text or "" for each in some] for name, some in asked.items()}
    return Pool(shown, scene, kind, documents, things, fits, *holds, vectors, texts, words)


def _holds(shown: Sequence[Scene], scene: Scene) -> list[bool]:
    """Return which scenes have everything in one scene, on the same background."""
    return [
        scene.background == each.background and set(scene.things) <= set(each.things)
        for each in shown
    ]


def _first() -> np.random.Generator:
    return np.random.default_rng(5)


def _embedded(embedder: LocalEmbedder, inputs: Sequence[EmbedInput]) -> Vectors:
    batches = [embedder.embed(inputs[start : start + 64]) for start in range(0, len(inputs), 64)]
    return np.concatenate(batches)


def _documents(
    shown: Sequence[Scene], count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, list[EmbedInput]]:
    """Return the scene, kind and input of each document."""
    found: list[tuple[int, int, EmbedInput]] = []
    for number, scene in enumerate(shown):
        several = number < COPIED * count
        for _ in range(4 if several else 1):
            picture = saved(draw(scene, rng), len(found))
            found.append((number, IMAGE, EmbedInput(images=(picture,))))
        if number < count:
            for _ in range(2 if several else 1):
                found.append((number, TEXT, EmbedInput(text=note(scene, rng))))
        if several:
            found.append((number, VIDEO, EmbedInput(video=film(scene, rng))))
    return (
        np.array([each[0] for each in found]),
        np.array([each[1] for each in found], np.uint8),
        [each[2] for each in found],
    )


def saved(picture: Pixels, number: int) -> Pixels:
    """Return a picture after JPEG encoding; every seventh resized, every eleventh cropped."""
    image = Image.fromarray(picture)
    if number % 7 == 0:
        image = image.resize((240, 192), Image.Resampling.BICUBIC)
    elif number % 11 == 0:
        width, height = image.size
        image = image.crop((width // 8, height // 8, width - width // 8, height - height // 8))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return fit(Image.open(file), Detail.LOW.max_pixels)


def _queries(
    shown: Sequence[Scene],
    absent: Sequence[Scene],
    things: Sequence[Part],
    rng: np.random.Generator,
) -> dict[str, list[EmbedInput]]:
    """Return the queries of each group, in the order of its scenes."""
    scenes_asked = shown[:ASKED]

    def picture(scene: Scene, text: str | None = None) -> EmbedInput:
        image = fit(Image.fromarray(draw(scene, rng)), Detail.LOW.max_pixels)
        return EmbedInput(text=text, images=(image,), instruction=QUERY_INSTRUCTION)

    composed = []
    for scene in scenes_asked:
        other, thing = recoloured(scene, rng)
        composed.append(picture(other, change(thing, rng)))
    return {
        "captions": _words([caption(scene, rng) for scene in scenes_asked]),
        "paraphrases": _words([paraphrase(scene, rng) for scene in scenes_asked]),
        "absent": _words([caption(scene, rng) for scene in absent]),
        "pictures": [picture(scene) for scene in scenes_asked],
        "composed": composed,
        "phrases": _words([phrase(part, rng) for part in things]),
        "bank": _words(queries(DEMO)),
    }


def _words(texts: Sequence[str]) -> list[EmbedInput]:
    return [EmbedInput(text=text, instruction=QUERY_INSTRUCTION) for text in texts]


def paraphrase(scene: Scene, rng: np.random.Generator) -> str:
    """Return a sentence about a scene, worded unlike the training set of the demo model."""
    if rng.random() < 0.5:
        return f"where is the picture that has {caption(scene, rng)}?"
    told = [
        f"{'an' if each.shape[0] in 'aeiou' else 'a'} {each.shape} which is {each.colour},"
        f" {'in the middle' if each.place == 'middle' else 'at the ' + each.place}"
        for each in scene.things
    ]
    assert all(each.place in PLACES for each in scene.things)
    return " and ".join(told) + f", on {scene.background}"


def cases(
    pool: Pool, worlds: Sequence[str], sizes: Sequence[int], count: int, seed: int = 1
) -> Iterator[Case]:
    """Yield `count` cases of each group, for libraries of each size and world."""
    rng = np.random.default_rng(seed)
    for world in worlds:
        for size in sizes:
            some = max(3, count // 2) if size >= LARGE else count
            if world == "normal":
                yield from _made_up(size, some, rng)
            else:
                yield from _drawn(_Filler(pool, world, size, rng), some, rng)


def _drawn(fill: _Filler, count: int, rng: np.random.Generator) -> Iterator[Case]:
    pool = fill.pool
    vectors = pool.vectors
    for n in rng.permutation(ASKED)[:count]:
        others, answers = ~pool.holds[n], pool.scene == n
        few = min(fill.size, int(rng.integers(1, 5)))
        for group, words in (
            ("captions", 1.0),
            ("paraphrases", 1.0),
            ("pictures", 0.0),
            ("composed", 0.5),
        ):
            query = vectors[group][n]
            yield fill(f"{group}, few", query, others, answers, few, words=words)
            if group in ("captions", "pictures"):
                yield fill(f"{group}, none", query, others, words=words)
        yield fill("absent captions", vectors["absent"][n], ~pool.holds_absent[n])
    for share in SHARES:
        if round(share * fill.size) < 1:
            continue
        for query, fits in fill.phrases(count):
            matching = round(share * fill.size)
            yield fill(f"phrases, {share:.0%}", query, ~fits, fits, matching)
            if share == SHARES[1]:
                yield fill("phrases, none", query, ~fits)
                yield fill.excluded(query, fits)
    everything = np.ones(len(pool.scene), np.bool_)
    for n in rng.permutation(len(vectors["nonsense"]))[:count]:
        yield fill("nonsense", vectors["nonsense"][n], everything)


def one_library(pool: Pool, size: int, seed: int = 1) -> Iterator[Case]:
    """Yield cases of phrases and captions in a library of this many pictures of 600 scenes.

    A pool with fewer pictures yields nothing.
    """
    rng = np.random.default_rng(seed)
    fill = _Filler(pool, "pictures", size, rng)
    pictures = np.flatnonzero((pool.kind == IMAGE) & (pool.scene < SCENES))
    if len(pictures) < size:
        return
    rows = rng.choice(pictures, size, replace=False)
    for group, vectors, answers in (
        ("phrases", "phrases", pool.fits[: len(SHAPES) * len(COLOURS)]),
        ("captions", "captions", pool.holds),
        ("paraphrases", "paraphrases", pool.holds),
        ("absent captions", "absent", pool.holds_absent),
    ):
        for query, fits in zip(pool.vectors[vectors], answers, strict=False):
            if fits[rows].any() == (vectors != "absent"):
                yield fill.case(group, rows, [query], fits[rows], words=1.0)


class _Filler:
    """Makes libraries of one world and size; repeated documents get fresh noise."""

    def __init__(self, pool: Pool, world: str, size: int, rng: np.random.Generator) -> None:
        self.pool, self.size, self._world, self._rng = pool, size, world, rng
        originals = pool.scene < len(pool.scenes) - ASKED * TWINS
        self._fill = {
            "twins": (pool.scene < ASKED) | ~originals,
            "copies": pool.scene < COPIED * (len(pool.scenes) - ASKED * TWINS),
        }.get(world, originals)
        self._mixed = world in ("mixed", "gap", "real")
        order = np.argsort(pool.scene, kind="stable")
        self._noise = []  # change of a vector when a scene is drawn again, by kind
        for kind in (IMAGE, TEXT):
            rows = order[pool.kind[order] == kind]
            same = pool.scene[rows[1:]] == pool.scene[rows[:-1]]
            self._noise.append(pool.documents[rows[1:]][same] - pool.documents[rows[:-1]][same])

    def phrases(self, count: int) -> list[tuple[Vectors, np.ndarray]]:
        """Return phrases with enough matching and other documents, and the matches (n,)."""
        pool, many = self.pool, self.pool.fits.sum(1)
        fitting = np.flatnonzero((many >= 60) & (many <= len(pool.scene) - 100))
        some = self._rng.permutation(fitting)[:count]
        return [(pool.vectors["phrases"][n], pool.fits[n]) for n in some]

    def __call__(
        self,
        group: str,
        query: Vectors,
        others: np.ndarray,
        match: np.ndarray | None = None,
        some: int = 0,
        *,
        words: float = 1.0,
    ) -> Case:
        rows = self._picked(np.flatnonzero(others & self._fill), self.size - some)
        if match is not None:
            rows = np.concatenate([rows, self._picked(np.flatnonzero(match), some)])
        matches = np.arange(self.size) >= self.size - some
        return self.case(group, rows, [query], matches, words)

    def excluded(self, query: Vectors, fits: np.ndarray) -> Case:
        """Return a case of a phrase with an exclusion that fits some of its matches."""
        pool = self.pool
        both, only = (pool.fits & fits).sum(1), (~pool.fits & fits).sum(1)
        n = self._rng.choice(np.flatnonzero((both >= 5) & (only >= 20)))
        bad = pool.fits[n]
        some = min(self.size, max(2, round(0.2 * self.size)))
        rows = np.concatenate(
            [
                self._picked(np.flatnonzero(~fits & self._fill), self.size - some),
                self._picked(np.flatnonzero(fits), some),
            ]
        )
        matches = fits[rows] & ~bad[rows]
        queries_asked = [query, pool.vectors["phrases"][n]]
        return self.case("phrases, without", rows, queries_asked, matches, words=1.0)

    def _picked(self, rows: np.ndarray, count: int) -> np.ndarray:
        kinds = self.pool.kind[rows]
        if not self._mixed:
            return self._rng.choice(rows[kinds == IMAGE], count)
        counts = self._rng.multinomial(count, MIX)
        of = [rows[kinds == IMAGE], rows[kinds == VIDEO], rows[kinds == TEXT]]
        return np.concatenate(
            [
                self._rng.choice(some if len(some) else of[0], n)
                for some, n in zip(of, counts, strict=True)
            ]
        )

    def case(
        self,
        group: str,
        rows: np.ndarray,
        asked: Sequence[Vectors],
        matches: np.ndarray,
        words: float,
    ) -> Case:
        """Return the case of a query to a library of these documents."""
        pool, rng = self.pool, self._rng
        kinds, vectors = pool.kind[rows], pool.documents[rows]
        again = np.ones(len(rows), np.bool_)
        again[np.unique(rows, return_index=True)[1]] = False
        for text, noise in enumerate(self._noise):
            some = np.flatnonzero(again & ((kinds == TEXT) == bool(text)))
            vectors[some] += noise[rng.integers(len(noise), size=len(some))]
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        scores = [self._shown(vectors @ query, kinds, words) for query in asked]
        baselines = self._baselines(vectors, kinds, words)
        unwanted = scores[1] if len(scores) > 1 else None
        return Case(
            group, self._world, self.size, scores[0], kinds, baselines, matches, words, unwanted
        )

    def _baselines(
        self, vectors: Vectors, kinds: np.ndarray, words: float
    ) -> dict[int, Baseline | None]:
        """Return each kind's baseline as in a search: from generic queries, or from pictures."""
        found = {}
        files = np.flatnonzero(kinds != TEXT)
        by_bank = words == 1 or not len(files)
        files = files[:: -(-len(files) // QUERIES) or 1]
        for kind in set(kinds.tolist()):
            rows = np.flatnonzero(kinds == kind)
            asked = self.pool.bank if by_bank else vectors[files]
            scores = self._shown(vectors[rows] @ asked.T, kinds[rows][:, None], words)
            if by_bank:
                found[kind] = baseline_of(np.stack([scores.mean(1), scores.std(1)], axis=1))
            else:
                found[kind] = baseline_between(scores, rows[:, None] == files)
        return found

    def _shown(self, scores: Vectors, kinds: np.ndarray, words: float) -> Vectors:
        """Return the scores in a world, as the module describes."""
        if self._world not in ("gap", "real"):
            return scores
        level = np.array([0.0, 0.1, 0.3], np.float32)[kinds]
        if self._world == "gap" or words < 1:
            return level + np.array([0.6, 0.5, 0.6], np.float32)[kinds] * scores
        noise = 0.03 * self._rng.standard_normal(scores.shape)
        bent: Vectors = (level + 0.6 * scores * abs(scores) + noise).astype(np.float32)
        return bent


def _made_up(size: int, count: int, rng: np.random.Generator) -> Iterator[Case]:
    """Yield libraries of synthetic scores: other rows, near matches in some, and matches.

    A match lies 3.5 to 8 spreads out, a near match less than half as far. The scores of other rows
    may be skewed, have heavy tails, and lie off the baseline, as the general level of a query may.
    """
    shares = {f"{share:.0%}": round(share * size) for share in (*SHARES, 1.0)}
    counts = {"few": None, "none": 0} | {name: n for name, n in shares.items() if n}
    for name, matching in counts.items():
        for _ in range(count if matching != 0 else NOTHING * count):
            some = int(rng.integers(1, 5)) if matching is None else matching
            matches = np.arange(size) >= size - min(size, some)
            scores = _unrelated(size, rng)
            out, width = rng.uniform(3.5, 8), rng.uniform(0.3, 1)
            if rng.random() < 0.5:
                nearly = rng.random(size) < rng.uniform(0, 0.1)
                scores[nearly] += rng.uniform(0.2, 0.45) * out
            scores[matches] = rng.normal(out, width, matches.sum())
            spread = 0.08 * np.exp(rng.normal(-0.2, 0.35))
            if rng.random() < 0.1:  # identical rows
                spread *= rng.uniform(0, 0.3)
                scores[matches] *= 0.08 / max(spread, 1e-3)
            level = rng.normal(0, 0.6) if rng.random() < 0.9 else rng.uniform(-2.5, 1)
            kind = int(rng.integers(3))
            yield Case(
                f"normal, {name}",
                "normal",
                size,
                (0.1 + 0.08 * level + spread * scores).clip(-1, 1).astype(np.float32),
                np.full(size, kind, np.uint8),
                {kind: Baseline(0.1, 0.08)},
                matches,
                words=float(rng.choice((1, 0.5, 0), p=(0.8, 0.1, 0.1))),
            )


def _unrelated(size: int, rng: np.random.Generator) -> np.ndarray:
    """Return scores (size,) with mean 0 and deviation 1, from a t or a gamma distribution."""
    if rng.random() < 0.5:
        freedom = rng.uniform(6, 60)
        return rng.standard_t(freedom, size) * np.sqrt((freedom - 2) / freedom)
    shape = rng.uniform(10, 200)
    return np.asarray((rng.gamma(shape, size=size) - shape) / np.sqrt(shape))


def kinds_of(case: Case) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each kind in a case, and its rows."""
    for kind in range(len(Kind)):
        rows = np.flatnonzero(case.kinds == kind)
        if len(rows):
            yield kind, rows
