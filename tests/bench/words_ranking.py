"""Words beside meaning in one list: python tests/bench/words_ranking.py

Libraries and queries are those of tests/bench/word_libraries.py. Printed for each group of queries
and size are nDCG@10 and F1 of the hits at the cut, by meaning, by both, by words alone, and by two
other ways to join them: the sum of reciprocal ranks (Cormack, Clarke and Büttcher 2009), and the
sum of log-odds. Without a match F1 is the share of queries without hits. Then follows how often
hits of a relevance are right. `--fit` prints the numbers of `qvsearch/retrieval/word_evidence.py`,
fitted to libraries with another seed.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
from word_libraries import Asked, Mixed, mixed_libraries

from qvsearch.retrieval.asked_words import asked_words
from qvsearch.retrieval.calibration import ANSWERED, CUT
from qvsearch.retrieval.counted_files import ALIKE
from qvsearch.retrieval.lexical import matches
from qvsearch.retrieval.word_evidence import TIE, Matches
from qvsearch.retrieval.word_ranking import either

SIZES = (100, 2000, 20_000)
SEED, FIT_SEED = 8, 7
RANK = 60  # of reciprocal ranks, as published
BINS = (0.2, 0.4, 0.6, 0.8, 0.9, 1.01)
FIRST = 10  # hits of a query in the calibration


def by_both(meaning: np.ndarray, found: Matches) -> np.ndarray:
    """Return the evidence of a search."""
    evidence, by_words = found.lessened(meaning).copy(), found.evidence
    rows = found.rows[found.counted]
    evidence[rows] = either(evidence[rows], by_words[found.counted])
    return evidence


def by_words(meaning: np.ndarray, found: Matches) -> np.ndarray:
    """Return the evidence of words alone."""
    evidence = np.full(len(meaning), -50.0, np.float32)
    evidence[found.rows] = found.evidence
    return evidence


def by_ranks(meaning: np.ndarray, found: Matches) -> np.ndarray:
    """Return the sum of reciprocal ranks, which is no probability."""
    bm25 = np.full(len(meaning), -1.0, np.float32)
    bm25[found.rows] = found.bm25
    ranks = [np.argsort(np.argsort(-each, kind="stable")) for each in (meaning, bm25)]
    return 1 / (RANK + ranks[0]) + np.where(bm25 > 0, 1 / (RANK + ranks[1]), 0)


def by_sum(meaning: np.ndarray, found: Matches) -> np.ndarray:
    """Return the sum of log-odds of meaning and of words, if these are likelier than not."""
    evidence = meaning.copy()
    evidence[found.rows] += np.maximum(found.evidence, 0)
    return evidence


WAYS: dict[str, Callable[[np.ndarray, Matches], np.ndarray]] = {
    "meaning": lambda meaning, _: meaning,
    "both": by_both,
    "words": by_words,
    "ranks": by_ranks,
    "sum": by_sum,
}


def ndcg(evidence: np.ndarray, right: np.ndarray) -> float:
    """Return nDCG@10 (Järvelin and Kekäläinen 2002)."""
    first = np.argsort(-evidence, kind="stable")[:10]
    gains = right[first] / np.log2(np.arange(2, 2 + len(first)))
    most = (1 / np.log2(np.arange(2, 2 + min(10, int(right.sum()))))).sum()
    return float(gains.sum() / most)


def relevance(evidence: np.ndarray) -> np.ndarray:
    """Return probabilities."""
    return np.asarray(1 / (1 + np.exp(-np.clip(evidence.astype(np.float64), -50, 50))))


def value(evidence: np.ndarray, right: np.ndarray) -> float:
    """Return F1 at the cut, or whether there is no hit if none is right."""
    found = relevance(evidence)
    shown = (found >= CUT) & (found.max() >= ANSWERED)
    if not right.any():
        return float(not shown.any())
    return 2 * float((shown & right).sum()) / float(shown.sum() + right.sum())


def measure(libraries: Sequence[Mixed]) -> None:
    """Print the figures of each group and size, and the calibration."""
    cells: dict[tuple[str, int], list[list[float]]] = defaultdict(list)
    told: list[np.ndarray] = []
    is_right: list[np.ndarray] = []
    for library in libraries:
        for query in library.asked:
            meaning, found = library.evidence(query), _matches(library, query)
            figures = []
            for way in WAYS.values():
                evidence = way(meaning, found)
                has_any = query.matches.any()
                figures += [
                    ndcg(evidence, query.matches) if has_any else np.nan,
                    value(evidence, query.matches),
                ]
            cells[query.group, library.size].append(figures)
            evidence = by_both(meaning, found)
            by_its_words = found.rows[found.counted]
            first = by_its_words[np.argsort(-evidence[by_its_words])[:FIRST]]
            told.append(relevance(evidence)[first])
            is_right.append(query.matches[first])
    print(f"{'nDCG@10 and F1':20}{'rows':>7}" + "".join(f"{name:>14}" for name in WAYS))
    for (group, size), some in sorted(cells.items()):
        means = np.array(some).mean(axis=0)
        row = "".join(f"{a:8.2f}{b:6.2f}" for a, b in means.reshape(-1, 2))
        print(f"{group:20}{size:7,}{row}")
    all_told, all_right = np.concatenate(told), np.concatenate(is_right)
    for low, high in zip(BINS[:-1], BINS[1:], strict=True):
        here = (all_told >= low) & (all_told < high)
        if here.any():
            share = all_right[here].mean()
            print(f"hits by words, relevance from {low}: {share:.2f} of {here.sum()} right")


def _matches(library: Mixed, query: Asked) -> Matches:
    return matches(library.words, library.files, library.segments, asked_words(query.text))


def fit(libraries: Sequence[Mixed]) -> None:
    """Print the numbers of two logistic models: of rows with all words, and of others.

    Rows of equal coverage weigh as much as FIRST of them, since a list shows hardly more.
    """
    inputs, right, has_all, weights, ties = [], [], [], [], []
    for library in libraries:
        for query in library.asked:
            found = _matches(library, query)
            if not len(found.rows):
                continue
            count = np.full(len(found.rows), np.log(max(1, found.among)))
            inputs.append(
                np.stack([np.ones_like(count), count, np.log(found.equal), found.coverage], 1)
            )
            right.append(query.matches[found.rows])
            has_all.append(found.coverage > 1 - ALIKE)
            weights.append(np.minimum(1, FIRST / found.equal))
            ties.append(-TIE * (1 - found.bm25 / found.bm25.max()))
    x, y, w, known = map(np.concatenate, (inputs, right, weights, ties))
    whole = np.concatenate(has_all)
    every = _logistic(x[whole][:, :3], y[whole], w[whole], known[whole]).round(2)
    print("ALL, ALL_ROWS, ALL_EQUAL:", every)
    some = _logistic(x[~whole], y[~whole], w[~whole], known[~whole]).round(2)
    print("SOME, SOME_ROWS, SOME_EQUAL, COVERED:", some)


def _logistic(x: np.ndarray, y: np.ndarray, weights: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the coefficients of a weighted logistic regression, beside known log-odds."""
    found = np.zeros(x.shape[1])
    for _ in range(30):  # of Newton's method
        p = relevance(x @ found + known)
        hessian = (x * (weights * p * (1 - p))[:, None]).T @ x + 1e-3 * np.eye(x.shape[1])
        found += np.linalg.solve(hessian, x.T @ (weights * (y - p)) - 1e-3 * found)
    return found


def main() -> None:
    """Print the figures, or the fit."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=25, help="queries of each group")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--scenes", type=int, default=400, help="scenes that libraries show")
    parser.add_argument("--fit", action="store_true", help="fit to other libraries")
    arguments = parser.parse_args()
    seed = FIT_SEED if arguments.fit else SEED
    libraries = list(mixed_libraries(seed, arguments.sizes, arguments.count, arguments.scenes))
    (fit if arguments.fit else measure)(libraries)


if __name__ == "__main__":
    main()
