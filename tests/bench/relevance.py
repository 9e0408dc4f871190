"""Measure the cut on the drawn world: `python tests/bench/relevance.py`.

Libraries of 50 to 20,000 rows of mixed kinds are asked for what is in them, for what was taken out,
for what many rows match and for nonsense. What the calibrated cut shows is compared with the best
fixed cosine cut, and the best one per kind, both chosen with hindsight over all these queries.

A case counts its F1 where something matches, and 1 or 0 for silence where nothing does; a group of
cases, which is a row of the table, counts their mean, and the summary is the mean of the groups.
With --gap the scores of the kinds are moved apart as the recorded ones of the real model are.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qvsearch.backends.local import LocalEmbedder
from qvsearch.bank import queries
from qvsearch.calibrate import calibrate
from qvsearch.demo.world import (
    Part,
    Scene,
    caption,
    draw,
    film,
    note,
    phrase,
    random_part,
    random_scene,
)
from qvsearch.models.weights import DEMO
from qvsearch.prompt import QUERY_INSTRUCTION
from qvsearch.types import EmbedInput, Kind

KINDS = (Kind.IMAGE, Kind.IMAGE, Kind.IMAGE, Kind.VIDEO, Kind.TEXT)  # in turn: the mix
ITEMS = 2500  # scenes that libraries are filled with, one document each
ASKED = 60  # scenes that are asked for, one document of each kind
SIZES = (50, 500, 5000, 20_000)
SHARES = (0.01, 0.2, 0.8)
FILLERS = 40  # fewest different documents that rows which match a phrase are made of
GRID = np.linspace(-0.3, 1, 261)
NONSENSE = (
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
    """Everything that is embedded: documents with their scenes and kinds, and queries."""

    scenes: Sequence[Scene]
    kinds: np.ndarray
    vectors: np.ndarray
    asked: Sequence[Scene]
    answers: dict[int, np.ndarray]  # by kind, of the scenes asked for
    redrawn: dict[int, np.ndarray]  # the same once more
    captions: np.ndarray
    pictures: np.ndarray
    parts: Sequence[Part]
    phrases: np.ndarray
    nonsense: np.ndarray
    bank: np.ndarray


@dataclass(frozen=True)
class Case:
    """A query to a library: its scores, and which rows match."""

    group: str
    size: int
    scores: np.ndarray
    kinds: np.ndarray
    backgrounds: np.ndarray
    matches: np.ndarray
    worded: bool


def make_pool(model: str, items: int = ITEMS, asked: int = ASKED, seed: int = 7) -> Pool:
    """Draw and embed the pool; kept in the temporary folder, for the next run with this model."""
    rng = np.random.default_rng(seed)
    scenes = [random_scene(rng) for _ in range(items)]
    wanted = [random_scene(rng) for _ in range(asked)]
    parts = [random_part(random_scene(rng), rng) for _ in range(4 * asked)]
    kinds = np.array([list(Kind).index(KINDS[i % len(KINDS)]) for i in range(items)], np.uint8)
    embedder = LocalEmbedder(model, device="cpu")
    path = Path(tempfile.gettempdir()) / (
        f"qvsearch-relevance-{embedder.weights.revision[:16]}-{items}-{asked}-{seed}.npz"
    )
    if not path.exists():
        made = _embedded(embedder, scenes, kinds, wanted, parts, rng)
        with path.open("wb") as file:
            np.savez(file, **made)
    with np.load(path) as file:
        found = dict(file)
    answers = {kind: found[f"answers {kind}"] for kind in range(len(Kind))}
    redrawn = {kind: found[f"redrawn {kind}"] for kind in range(len(Kind))}
    named = {
        name: found[name]
        for name in ("vectors", "captions", "pictures", "phrases", "nonsense", "bank")
    }
    return Pool(scenes, kinds, asked=wanted, answers=answers, redrawn=redrawn, parts=parts, **named)


def _embedded(
    embedder: LocalEmbedder,
    scenes: Sequence[Scene],
    kinds: np.ndarray,
    wanted: Sequence[Scene],
    parts: Sequence[Part],
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    makes: list[Callable[[Scene], EmbedInput]] = [
        lambda scene: EmbedInput(images=(draw(scene, rng),)),
        lambda scene: EmbedInput(video=film(scene, rng)),
        lambda scene: EmbedInput(text=note(scene, rng)),
    ]

    def embed(inputs: list[EmbedInput]) -> np.ndarray:
        return np.concatenate(
            [embedder.embed(inputs[i : i + 64]) for i in range(0, len(inputs), 64)]
        )

    def ask(texts: Sequence[str]) -> np.ndarray:
        return embed([EmbedInput(text=each, instruction=QUERY_INSTRUCTION) for each in texts])

    vectors = np.empty((len(scenes), embedder.dim), np.float32)
    made = {"vectors": vectors}
    for kind, make in enumerate(makes):
        rows = np.flatnonzero(kinds == kind)
        vectors[rows] = embed([make(scenes[row]) for row in rows])
        made[f"answers {kind}"] = embed([make(scene) for scene in wanted])
        made[f"redrawn {kind}"] = embed([make(scene) for scene in wanted])
    pictures = [EmbedInput(images=(draw(s, rng),), instruction=QUERY_INSTRUCTION) for s in wanted]
    return made | {
        "pictures": embed(pictures),
        "captions": ask([caption(scene, rng) for scene in wanted]),
        "phrases": ask([phrase(part, rng) for part in parts]),
        "nonsense": ask(NONSENSE),
        "bank": ask(queries(DEMO)),
    }


def cases(pool: Pool, sizes: Sequence[int], count: int, gap: bool, seed: int = 1) -> Iterator[Case]:
    """Yield `count` cases of each group at each size."""
    rng = np.random.default_rng(seed)
    holds = np.array([[_holds(scene, each) for each in pool.scenes] for scene in pool.asked])
    fits = np.array([[part.fits(each) for each in pool.scenes] for part in pool.parts])
    noise = np.random.default_rng(seed).standard_normal((count, pool.bank.shape[1]))
    for size in sizes:
        fill = _Filler(pool, rng, gap)
        for i in rng.permutation(len(pool.asked))[:count]:
            others = np.flatnonzero(~holds[i])
            for name, query, worded in (
                ("caption", pool.captions[i], True),
                ("picture", pool.pictures[i], False),
            ):
                yield fill(f"{name}, answer in it", size, query, others, answer=i, worded=worded)
                yield fill(f"{name}, taken out", size, query, others, worded=worded)
        for share in SHARES:
            enough = [j for j in range(len(fits)) if FILLERS <= fits[j].sum() < 0.9 * fits.shape[1]]
            for j in rng.permutation(enough)[:count]:
                rest, match = np.flatnonzero(~fits[j]), np.flatnonzero(fits[j])
                yield fill(f"phrase, {share:.0%} match", size, pool.phrases[j], rest, match, share)
        everything = np.arange(len(pool.scenes))
        for vector in pool.nonsense[:count]:
            yield fill("nonsense words", size, vector, everything)
        for vector in noise:
            yield fill("random vector", size, vector / np.linalg.norm(vector), everything)


class _Filler:
    """Makes libraries; rows beyond the pool's are documents drawn once more."""

    def __init__(self, pool: Pool, rng: np.random.Generator, gap: bool) -> None:
        self._pool, self._rng, self._gap = pool, rng, gap

    def __call__(
        self,
        group: str,
        size: int,
        query: np.ndarray,
        others: np.ndarray,
        match: np.ndarray | None = None,
        share: float = 0.0,
        *,
        answer: int | None = None,
        worded: bool = True,
    ) -> Case:
        pool, rng = self._pool, self._rng
        some = 0 if match is None else max(1, round(share * size))
        rows = rng.choice(others, size - some)
        if match is not None:
            rows = np.concatenate([rows, rng.choice(match, some)])
        kinds = pool.kinds[rows]
        vectors = pool.vectors[rows]
        seen = np.zeros(len(pool.scenes), bool)
        for row, document in enumerate(rows.tolist()):
            if seen[document]:
                kind, j = int(kinds[row]), int(rng.integers(len(pool.asked)))
                vectors[row] += pool.redrawn[kind][j] - pool.answers[kind][j]
            seen[document] = True
        matches = np.arange(size) >= size - some
        if answer is not None:
            for row in range(int(rng.integers(1, 4))):
                kind = int(kinds[row])
                vectors[row], matches[row] = pool.answers[kind][answer], True
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        scores, against = vectors @ query.astype(np.float32), vectors @ pool.bank.T
        if self._gap:
            scores, against = _apart(scores, kinds), _apart(against, kinds[:, None])
        backgrounds = np.stack([against.mean(1), against.std(1)], axis=1)
        return Case(group, size, scores, kinds, backgrounds, matches, worded)


def _apart(scores: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """Give pictures and texts the levels that the real model's have, videos one between."""
    level = np.array([0.0, 0.1, 0.3], np.float32)[kinds]
    width = np.array([0.6, 0.5, 0.6], np.float32)[kinds]
    return level + width * scores


def _holds(scene: Scene, other: Scene) -> bool:
    return scene.background == other.background and set(scene.things) <= set(other.things)


def value(shown: np.ndarray, matches: np.ndarray) -> float:
    """Return what a case counts: F1, or whether nothing is shown where nothing matches."""
    if not matches.any():
        return float(not shown.any())
    return 2 * float((shown & matches).sum()) / float(shown.sum() + matches.sum())


def mean_of_groups(found: Sequence[Case], values: np.ndarray) -> np.ndarray:
    """Return the mean over groups and sizes of their cases' mean, of values (..., cases)."""
    names = [f"{case.group} {case.size}" for case in found]
    means = [
        values[..., [i for i, each in enumerate(names) if each == name]].mean(axis=-1)
        for name in dict.fromkeys(names)
    ]
    return np.mean(means, axis=0)


def best_cuts(found: Sequence[Case], rounds: int) -> np.ndarray:
    """Return the cosine cut of each kind (kinds,) that counts most over all cases.

    The best one for all kinds, and then each kind's in turn moved to where it counts most.
    """
    above = np.array([_above(case) for case in found])  # cases, shown or right, kinds, cuts
    matching = np.array([case.matches.sum() for case in found])

    def counts(picks: Sequence[np.ndarray]) -> np.ndarray:
        shown, right = np.sum(
            [above[:, :, kind, pick] for kind, pick in enumerate(picks)], axis=0
        ).transpose(1, 2, 0)
        f1 = 2 * right / np.maximum(shown + matching, 1)
        return mean_of_groups(found, np.where(matching == 0, shown == 0, f1))

    grid = np.arange(len(GRID))
    best = np.repeat(counts([grid] * len(Kind)).argmax(), len(Kind))
    for kind in list(range(len(Kind))) * rounds:
        picks = [np.full(len(grid), place) for place in best]
        picks[kind] = grid
        best[kind] = counts(picks).argmax()
    return GRID[best]


def _above(case: Case) -> np.ndarray:
    """Return how many rows of each kind lie at or above each cut, and how many that match."""
    found = []
    for rows in (np.ones(len(case.matches), bool), case.matches):
        of_kind = [np.sort(case.scores[rows & (case.kinds == kind)]) for kind in range(len(Kind))]
        found.append([len(each) - np.searchsorted(each, GRID) for each in of_kind])
    return np.array(found)


def calibrated(case: Case) -> np.ndarray:
    """Return which rows the calibrated cut shows."""
    scores, kinds = case.scores.astype(np.float32), case.kinds
    found = calibrate(scores, kinds, case.backgrounds.astype(np.float32), worded=case.worded)
    return np.asarray(found.evidence >= 0)


def ways(found: Sequence[Case]) -> dict[str, list[np.ndarray]]:
    """Return what each way to cut shows of each case; ours is the first."""
    one, several = best_cuts(found, 0), best_cuts(found, 2)
    return {
        "calibrated": [calibrated(case) for case in found],
        f"one cosine cut at {one[0]:.3f}": [c.scores >= one[c.kinds] for c in found],
        f"a cosine cut per kind, {several.round(3).tolist()}": [
            c.scores >= several[c.kinds] for c in found
        ],
    }


def figures(found: Sequence[Case], shown: Sequence[np.ndarray]) -> tuple[float, ...]:
    """Return precision, recall, false alarms and wrong rows a query, and what the cases count."""
    has = [(s, c.matches) for s, c in zip(shown, found, strict=True) if c.matches.any()]
    right = [(s & m).sum() / max(s.sum(), 1) for s, m in has]
    recall = [(s & m).sum() / m.sum() for s, m in has]
    silent = [s.any() for s, c in zip(shown, found, strict=True) if not c.matches.any()]
    wrong = [(s & ~c.matches).sum() for s, c in zip(shown, found, strict=True)]
    counts = [value(s, c.matches) for s, c in zip(shown, found, strict=True)]
    nan = float("nan")
    return (
        float(np.mean(right)) if has else nan,
        float(np.mean(recall)) if has else nan,
        float(np.mean(silent)) if silent else nan,
        float(np.mean(wrong)),
        float(np.mean(counts)),
    )


def main() -> None:
    """Print a table for each way to cut."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default=DEMO, help="a checkpoint folder (default: the demo)")
    parser.add_argument("--count", type=int, default=20, help="queries of each group and size")
    parser.add_argument("--gap", action="store_true", help="kinds apart, as the real model's are")
    arguments = parser.parse_args()
    pool = make_pool(arguments.model)
    found = list(cases(pool, SIZES, arguments.count, arguments.gap))
    for name, shown in ways(found).items():
        print(f"\n{name}\n{'':26}{'rows':>7}  precision  recall  false alarm  wrong  counts")
        for group in dict.fromkeys((case.group, case.size) for case in found):
            picks = [i for i, case in enumerate(found) if (case.group, case.size) == group]
            got = figures([found[i] for i in picks], [shown[i] for i in picks])
            cells = ["" if each != each else f"{each:.2f}" for each in got[:3]]
            print(
                f"{group[0]:26}{group[1]:7}{cells[0]:>11}{cells[1]:>8}{cells[2]:>13}"
                f"{got[3]:7.1f}{got[4]:8.2f}"
            )
        counts = np.array([value(s, c.matches) for s, c in zip(shown, found, strict=True)])
        print(f"{'all':26}{'':46}{mean_of_groups(found, counts):8.3f}")


if __name__ == "__main__":
    main()
