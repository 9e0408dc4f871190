"""Fit the network of relevance: `python tests/bench/fit_relevance.py`.

It writes qvsearch/retrieval/relevance.json. It learns from libraries that tests/bench/relevance.py
never measures: their scenes, pictures and captions differ. Only phrases such as "a red circle" are
the same words. Texts that people wrote are a part of it, too, given models and the datasets of
tests/bench/real_relevance.py: every second query to them is for this fit.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import numpy as np
import real_texts
import torch
from libraries import WORLDS, Case, Pool, cases, kinds_of, make_pool
from real_texts import Dataset

from qvsearch.retrieval.calibration import NETWORK, TILT, Baseline, level_of

NETWORKS = 4  # of the mean: one alone is rough between the libraries of the training set
SHARE = 0.45  # of the examples, for each network
HIDDEN = 40
STEPS = 600  # of LBFGS
DECAY = 1e-5  # of weights
RANKS = 16  # rows of a kind in the training set: the first ranks most often
JITTER = 0.05  # noise of inputs in deviations: a sample of a library measures them inexactly
OF_ONE_SUBJECT = 0.2  # share of the kinds that generic queries are further from, by up to
FURTHEST = 4.0  # spreads: questions to collections of abstracts score all 2.4 to 3.6 higher
OF_REAL_TEXTS = 0.15  # share of the weight
REAL_SIZES = (30, 100, 300, 1000, 3000, 10_000)
REAL_QUERIES = 24  # of each cell
FIRST = 5.0  # weight of the best row, relative to another
SEED = 7  # of the pool; even seeds are for the measurement
# inputs (n, inputs), whether each row matches, and the weight of each
Examples = tuple[np.ndarray, np.ndarray, np.ndarray]
Plan = tuple[tuple[str, ...], tuple[int, ...], int, int]
PLAN: tuple[Plan, ...] = (  # worlds, sizes, queries of each cell, seed
    (WORLDS, (1, 2, 5, 10, 20, 40, 60), 20, 3),
    (WORLDS, (30, 80, 300, 700, 3000), 20, 5),
    (WORLDS, (50, 100, 200, 400, 1000, 2000, 5000), 10, 7),
    (WORLDS, (50, 150, 500, 1500), 20, 9),
    (WORLDS, (20_000,), 10, 11),
    (("normal",), (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000), 60, 13),
    (("normal",), (20_000, 100_000), 40, 15),
)


def libraries(pool: Pool, plan: Iterable[Plan] = PLAN) -> Iterator[Case]:
    """Yield the cases of the training set."""
    return chain.from_iterable(cases(pool, *each) for each in plan)


def examples(found: Iterable[Case], of_one_subject: float = OF_ONE_SUBJECT) -> Examples:
    """Return examples of the rows of libraries; in a share of them one subject is made up."""
    rng = np.random.default_rng(0)
    inputs, matches, weights = [], [], []
    for case in found:
        if case.unwanted is not None:
            continue  # the scores of the wanted part do not show the excluded one
        for kind, rows in kinds_of(case):
            baseline = case.baselines[kind]
            if baseline is not None and case.words > 0 and rng.random() < of_one_subject:
                baseline = _lowered(baseline, FURTHEST * rng.random())
            level = level_of(case.scores[rows], baseline, words=case.words)
            order = rows[np.argsort(-case.scores[rows], kind="stable")]
            ranks = np.exp(rng.uniform(0, np.log(len(rows) + 0.999), RANKS)).astype(int) - 1
            ranks = np.unique([0, *ranks])
            places = level.places(case.scores[order[ranks]])
            inputs.append(np.column_stack([np.tile(level.inputs, (len(ranks), 1)), places]))
            matches.append(case.matches[order[ranks]])
            weights.append(np.where(ranks == 0, FIRST, 1.0))
    return np.concatenate(inputs), np.concatenate(matches), np.concatenate(weights)


def _lowered(baseline: Baseline, spreads: float) -> Baseline:
    """Return a baseline as generic queries have in a library of one subject.

    Each query of the subject then scores all rows far higher, whether or not they answer.
    """
    return Baseline(baseline.centre - spreads * baseline.spread, baseline.spread)


def with_real_texts(drawn: Examples, models: Iterable[str], sets: Sequence[Dataset]) -> Examples:
    """Return examples with those of real texts, whose weight is OF_REAL_TEXTS of all."""
    parts = [drawn]
    for model in models:
        some = real_texts.cases(
            real_texts.embed(model, sets), REAL_SIZES, REAL_QUERIES, real_texts.FITTED
        )
        parts.append(examples(some, of_one_subject=0))
    real = sum(weights.sum() for *_, weights in parts[1:])
    share = OF_REAL_TEXTS / (1 - OF_REAL_TEXTS) * drawn[2].sum() / max(real, 1)
    parts[1:] = [(inputs, matches, share * weights) for inputs, matches, weights in parts[1:]]
    inputs, matches, weights = (np.concatenate(each) for each in zip(*parts, strict=True))
    return inputs, matches, weights


def fitted(inputs: np.ndarray, matches: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Return one network: the mean of several, each fitted to a share of the examples."""
    usual = np.clip(inputs, *np.percentile(inputs, (1, 99), axis=0))  # a few lie far out
    mean, scale = usual.mean(0), usual.std(0)
    rng = np.random.default_rng(0)
    noise = JITTER * rng.standard_normal(inputs.shape)
    noise[:, -1] = 0  # a place is exact
    x = np.clip((inputs - mean) / scale + noise, -3, 3)
    tilt = TILT * (inputs[:, -1] - 1)
    parts = []
    for seed in range(NETWORKS):
        some = rng.random(len(x)) < SHARE
        parts.append(_one(x[some], tilt[some], matches[some], weights[some], seed))
    return {
        "mean": mean,
        "scale": scale,
        "hidden": np.concatenate([each["hidden"] for each in parts], axis=1),
        "bias": np.concatenate([each["bias"] for each in parts]),
        "output": np.concatenate([each["output"] for each in parts]) / NETWORKS,
        "offset": np.mean([each["offset"] for each in parts]),
    }


def _one(
    inputs: np.ndarray, tilt: np.ndarray, matches: np.ndarray, weights: np.ndarray, seed: int
) -> dict[str, np.ndarray]:
    """Return one network, fitted to scaled inputs (n, inputs)."""
    torch.manual_seed(seed)
    x, fixed, y, w = (
        torch.tensor(each, dtype=torch.float32)
        for each in (inputs, tilt, matches, weights / weights.mean())
    )
    parts = {
        "hidden": 0.5 * torch.randn(x.shape[1], HIDDEN),
        "bias": torch.zeros(HIDDEN),
        "output": 0.5 * torch.randn(HIDDEN),
        "offset": torch.zeros(()),
    }
    for each in parts.values():
        each.requires_grad_()
    optimizer = torch.optim.LBFGS(
        list(parts.values()), max_iter=STEPS, history_size=20, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        evidence = torch.tanh(x @ parts["hidden"] + parts["bias"]) @ parts["output"]
        losses = torch.nn.functional.binary_cross_entropy_with_logits(
            evidence + parts["offset"] + fixed, y, w
        )
        total = losses + DECAY * sum((each**2).sum() for each in parts.values())
        total.backward()
        return total

    first = optimizer.step(loss).item()
    print(f"{len(inputs):,} rows, loss {first:.4f} at first, {loss().item():.4f} at last")
    return {name: part.detach().numpy() for name, part in parts.items()}


def main() -> None:
    """Fit and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--to", default=NETWORK, help="where to write (default: the package)")
    parser.add_argument("--tiny", action="store_true", help="few libraries, to try the command")
    parser.add_argument("--model", action="append", default=[], help="of real texts")
    real_texts.add_arguments(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the order of sums is then the same each time
    plan = ((("pictures", "normal"), (20,), 1, 3),) if arguments.tiny else PLAN
    pool = make_pool(count=20, seed=SEED) if arguments.tiny else make_pool(seed=SEED)
    drawn = examples(libraries(pool, plan))
    sets = real_texts.datasets(arguments)
    found = fitted(*with_real_texts(drawn, arguments.model, sets))
    lines = [
        f' "{name}": {json.dumps(np.vectorize(lambda v: float(f"{v:.4g}"))(each).tolist())}'
        for name, each in found.items()
    ]
    with open(arguments.to, "w") as file:
        file.write("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
