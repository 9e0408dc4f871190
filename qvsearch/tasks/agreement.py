"""How well chosen labels agree with the true ones: accuracy and macro-F1."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Scores:
    """How well labels agree with the truth.

    `accuracy` is the share of files whose labels are exactly the true ones; `macro_f1` is that of
    `macro_f1`.
    """

    files: int
    accuracy: float
    macro_f1: float


def macro_f1(right: Numbers, chosen: Numbers, true: Numbers) -> float:
    """Return the mean of the labels' F1 (Sokolova and Lapalme 2009), from counts by label (n,).

    They count the files for which a label is chosen and true, chosen, and true. F1 is
    2 right / (chosen + true). A label that is neither chosen nor true counts nothing, as in
    scikit-learn, whose own function takes milliseconds for each resample. Without labels it is 1.
    """
    sizes = chosen + true
    counted = sizes > 0
    return float((2 * right[counted] / sizes[counted]).mean()) if counted.any() else 1.0


def label_scores(chosen: Numbers, true: Numbers) -> Scores:
    """Return the agreement of files with one label each, by number (n,)."""
    labels = 1 + max(true.max(), chosen.max())
    same = chosen == true
    counts = (np.bincount(each, minlength=labels) for each in (true[same], chosen, true))
    return Scores(len(true), float(same.mean()), macro_f1(*counts))


def set_scores(pairs: Iterable[tuple[AbstractSet[str], AbstractSet[str]]]) -> Scores:
    """Return the agreement of chosen with true labels, each pair of one file."""
    pairs = list(pairs)
    labels = sorted(set().union(*(one | other for one, other in pairs)))
    number = {label: place for place, label in enumerate(labels)}

    def counts(sets: Iterable[AbstractSet[str]]) -> Numbers:
        places = np.array([number[label] for each in sets for label in each], np.int64)
        return np.bincount(places, minlength=len(labels))

    exact = sum(chosen == true for chosen, true in pairs)
    return Scores(
        len(pairs),
        exact / len(pairs),
        macro_f1(
            counts(chosen & true for chosen, true in pairs),
            counts(chosen for chosen, _ in pairs),
            counts(true for _, true in pairs),
        ),
    )
