"""How good relevance is: `python tests/bench/relevance.py`.

The grid is that of tests/bench/libraries.py, with scenes and queries outside the training set. A
cell is a group of queries, a world and a size. If rows match, its value is the mean F1 of the hits,
beside that of one standardised threshold, (score - median) / standard deviation of the query's own
scores, chosen with hindsight for each cell. If no row matches, its value is the share of queries
without hits.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from libraries import WORLDS, Case, Pool, cases, make_pool, one_library
from PIL import Image, ImageDraw

from qvsearch.retrieval.calibration import ANSWERED, CUT, calibrate, combine

SIZES = (50, 400, 2000, 20_000)
OF_ONE = (80, 361, 2000)  # different pictures of 600 scenes
THRESHOLDS = np.linspace(-2, 9, 111)  # in standard deviations
RATIO = 0.7  # of the first hit's standardised score, for the simplest rule
APART = 3.0  # spreads: a right first hit this far out must be shown
FIRST = 10  # hits of a query in the calibration
BINS = 10
SEED = 8  # of the pool: even, because the fit has an odd one

Shown = Callable[[Case], np.ndarray]


def relevance(case: Case) -> np.ndarray:
    """Return the relevance (n,) of the rows of a library."""
    terms = [case.scores] if case.unwanted is None else [case.scores, case.unwanted]
    evidence = [
        calibrate(scores, case.kinds, case.baselines, words=case.words).evidence for scores in terms
    ]
    pooled = combine([(1.0, evidence[0])], [(1.0, each) for each in evidence[1:]])
    return np.asarray(1 / (1 + np.exp(-pooled.astype(np.float64))))


def standardised(case: Case) -> np.ndarray:
    """Return scores (n,) in standard deviations above their median."""
    above = case.scores - np.median(case.scores)
    return np.asarray(above / max(float(case.scores.std()), 1e-6))


def shown(relevances: np.ndarray) -> np.ndarray:
    """Return which rows are hits of a search."""
    return (relevances >= CUT) & (relevances.max() >= ANSWERED)


def f1(shown: np.ndarray, matches: np.ndarray) -> float:
    """Return the harmonic mean of precision and recall."""
    return 2 * float((shown & matches).sum()) / max(1, int(shown.sum() + matches.sum()))


def value(shown: np.ndarray, matches: np.ndarray) -> float:
    """Return F1 if a row matches, and otherwise whether there is no hit."""
    return f1(shown, matches) if matches.any() else float(not shown.any())


def by_cell(found: Sequence[Case]) -> dict[tuple[str, str, int], list[int]]:
    """Return the indices of the cases of each cell."""
    cells: dict[tuple[str, str, int], list[int]] = {}
    for place, case in enumerate(found):
        cells.setdefault(case.cell, []).append(place)
    return cells


def ways(found: Sequence[Case], judged: Sequence[np.ndarray]) -> dict[str, list[float]]:
    """Return the value of each way to cut in each case; ours is the first."""
    z = [standardised(case) for case in found]
    grid = np.array([at_thresholds(e, c.matches) for e, c in zip(z, found, strict=True)])
    best = np.empty(len(found))
    for places in by_cell(found).values():
        best[places] = grid[places, grid[places].mean(0).argmax()]
    over_all = np.mean([grid[places].mean(0) for places in by_cell(found).values()], 0).argmax()
    return {
        "relevance": [value(shown(p), c.matches) for p, c in zip(judged, found, strict=True)],
        "best in each cell": best.tolist(),
        f"{THRESHOLDS[over_all]:.1f} everywhere": grid[:, over_all].tolist(),
        f"{RATIO} of the first": [
            value(each >= RATIO * each.max(), case.matches)
            for each, case in zip(z, found, strict=True)
        ],
    }


def at_thresholds(z: np.ndarray, matches: np.ndarray) -> np.ndarray:
    """Return the value of showing rows from each of THRESHOLDS on."""
    order = np.argsort(-z)
    hits = np.searchsorted(-z[order], -THRESHOLDS, side="right")
    if not matches.any():
        return hits == 0
    right = np.append(0, np.cumsum(matches[order]))[hits]
    return np.asarray(2 * right / np.maximum(1, hits + matches.sum()))


def reliability(
    found: Sequence[Case], judged: Sequence[np.ndarray]
) -> list[tuple[float, float, int]]:
    """Return mean relevance, share of right hits and number of the first hits, for each bin."""
    tops = [np.argsort(-each, kind="stable")[:FIRST] for each in judged]
    told = np.concatenate([each[top] for each, top in zip(judged, tops, strict=True)])
    right = np.concatenate([case.matches[top] for case, top in zip(found, tops, strict=True)])
    bins = np.minimum((told * BINS).astype(int), BINS - 1)
    return [
        (float(told[bins == n].mean()), float(right[bins == n].mean()), int((bins == n).sum()))
        for n in range(BINS)
        if (bins == n).any()
    ]


def calibration_error(bins: Sequence[tuple[float, float, int]]) -> float:
    """Return the expected calibration error (Naeini, Cooper and Hauskrecht 2015)."""
    return sum(abs(told - right) * n for told, right, n in bins) / sum(n for *_, n in bins)


def silent_though_right(found: Sequence[Case], judged: Sequence[np.ndarray]) -> tuple[int, int]:
    """Return the number of queries without a hit whose best row is right and APART, and of all."""
    silent = [
        not shown(each).any()
        for case, each in zip(found, judged, strict=True)
        if case.matches[each.argmax()] and standardised(case)[each.argmax()] > APART
    ]
    return sum(silent), len(silent)


def print_means(found: Sequence[Case], values: dict[str, np.ndarray]) -> None:
    """Print the mean over the cells of each world, and of each group without a match."""
    for place, title, wanted in ((1, "mean F1, world {}", True), (0, "mean silence, {}", False)):
        groups: dict[object, list[list[int]]] = {}
        for cell, places in by_cell(found).items():
            if found[places[0]].matches.any() == wanted:
                groups.setdefault(cell[place], []).append(places)
        for name, cells in groups.items():
            means = (np.mean([each[p].mean() for p in cells]) for each in values.values())
            row = "".join(f"{mean:19.3f}" for mean in means)
            print(f"{title.format(name):37}{row}   {len(cells)} cells")


def print_one_library(pool: Pool, size: int) -> None:
    """Print the hits of each group of queries among this many different pictures."""
    found = list(one_library(pool, size))
    if not found:
        return
    judged = [relevance(case) for case in found]
    ours, best, *_ = (np.array(each) for each in ways(found, judged).values())
    print(
        f"\n{f'{size:,} pictures of one library':31}queries  value  best threshold"
        "  shown if ranked right"
    )
    for (group, *_), places in by_cell(found).items():
        row = f"{group:32}{len(places):6}{ours[places].mean():7.2f}{best[places].mean():16.2f}"
        first = [n for n in places if found[n].matches[judged[n].argmax()]]
        said = np.mean([shown(judged[n]).any() for n in first]) if first else np.nan
        print(row + (f"{said:23.2f}" if first else ""))


def plot(bins: Sequence[tuple[float, float, int]], path: Path) -> None:
    """Plot the share of right hits over their relevance, with the diagonal, as a PNG."""
    side, margin = 400, 60
    image = Image.new("RGB", (side + 2 * margin, side + 2 * margin), "white")
    canvas = ImageDraw.Draw(image)

    def at(x: float, y: float) -> tuple[float, float]:
        return margin + x * side, margin + (1 - y) * side

    most = max(n for *_, n in bins)
    for told, right, n in bins:
        left = min(int(told * BINS), BINS - 1) / BINS
        top, bottom = at(left + 0.01, right), at(left + 1 / BINS - 0.01, 0)
        canvas.rectangle((*top, *bottom), fill="#9ecae1", outline="#3182bd")
        x, y = at(told, right)
        radius = 2 + 6 * (n / most) ** 0.5
        canvas.ellipse((x - radius, y - radius, x + radius, y + radius), fill="#08519c")
    canvas.rectangle((*at(0, 1), *at(1, 0)), outline="black")
    canvas.line((*at(0, 0), *at(1, 1)), fill="#888888")
    for tick in (0, 0.5, 1):
        canvas.text((at(tick, 0)[0] - 8, margin + side + 8), f"{tick:g}", fill="black")
        canvas.text((margin - 30, at(0, tick)[1] - 6), f"{tick:g}", fill="black")
    canvas.text((margin + side / 2 - 40, margin + side + 30), "relevance of a hit", fill="black")
    canvas.text((margin, margin - 25), "share of hits that are right", fill="black")
    image.save(path)


def main() -> None:
    """Print the grid, its summary and the calibration."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=20, help="queries of each cell")
    parser.add_argument("--scenes", type=int, default=1200, help="scenes that libraries show")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=WORLDS)
    parser.add_argument("--plot", type=Path, help="a PNG of the reliability, to be written")
    arguments = parser.parse_args()
    pool = make_pool(count=arguments.scenes, seed=SEED)
    found = list(cases(pool, arguments.worlds, arguments.sizes, arguments.count))
    judged = [relevance(case) for case in found]
    values = {name: np.array(each) for name, each in ways(found, judged).items()}
    cells = by_cell(found)
    print(f"{'':20}{'world':10}{'rows':>7}" + "".join(f"{name:>19}" for name in values))
    for (group, world, size), places in cells.items():
        row = "".join(f"{each[places].mean():19.2f}" for each in values.values())
        print(f"{group:20}{world:10}{size:7,}{row}")
    for title, wanted in (("mean F1", True), ("mean silence", False)):
        some = [p for p in cells.values() if found[p[0]].matches.any() == wanted]
        row = "".join(
            f"{np.mean([each[p].mean() for p in some]):19.3f}" for each in values.values()
        )
        print(f"{title:37}{row}   {len(some)} cells")
        if wanted:
            ours, best, *_ = values.values()
            enough = [ours[p].mean() >= 0.9 * best[p].mean() for p in some]
            print(f"{'cells at 0.9 of the best':37}{np.mean(enough):19.3f}")
    print_means(found, values)
    silent, right = silent_though_right(found, judged)
    print(f"silent though the first hit is right and {APART:g} spreads out: {silent} of {right}")
    bins = reliability(found, judged)
    print(
        "relevance told, share right, hits: "
        + ", ".join("{:.2f} {:.2f} {}".format(*b) for b in bins)
    )
    print(f"expected calibration error {calibration_error(bins):.3f}")
    for size in OF_ONE:
        print_one_library(pool, size)
    if arguments.plot:
        plot(bins, arguments.plot)


if __name__ == "__main__":
    main()
