"""How good relevance is on texts that people wrote: `python tests/bench/real_relevance.py MODEL`.

MODEL is any name that `index --model` takes, e.g. st:sentence-transformers/all-MiniLM-L6-v2, which
needs the extra [st]. The texts are published datasets; give the files of at least one:

--captions  Flickr8k.token.txt of Flickr8k: five captions of each picture. One is the query; the
            others are rows, and those of its own picture match. "a dog" and the like are also
            queries, which all captions with the word match.
--nouns     a folder with data.noun and index.noun of WordNet 3.0, e.g. that of Debian's package
            wordnet-base. A noun is the query; the glosses of all that it names match.
--smart     documents, queries and judgements of a test collection in SMART's format, e.g.
            cran.all.1400, cran.qry and cranqrel of Cranfield. Give it once for each collection.

From these texts tests/bench/real_texts.py draws libraries of 50 to 20,000 rows. Every second query
is for tests/bench/fit_relevance.py, the others are measured. Figures are those of
tests/bench/relevance.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
from libraries import Case
from real_texts import MEASURED, add_arguments, cases, datasets, embed
from relevance import (
    APART,
    SIZES,
    by_cell,
    calibration_error,
    print_means,
    relevance,
    reliability,
    silent_though_right,
    ways,
)


def print_figures(found: Sequence[Case]) -> None:
    """Print the value of each cell, their means, and how often hits of a relevance are right."""
    judged = [relevance(case) for case in found]
    values = {name: np.array(each) for name, each in ways(found, judged).items()}
    print(f"{'query':16}{'rows of':14}{'rows':>7}" + "".join(f"{name:>19}" for name in values))
    for (group, world, size), places in by_cell(found).items():
        row = "".join(f"{each[places].mean():19.2f}" for each in values.values())
        print(f"{group:16}{world:14}{size:7,}{row}")
    for title, wanted in (("mean F1", True), ("mean silence", False)):
        some = [p for p in by_cell(found).values() if found[p[0]].matches.any() == wanted]
        means = (np.mean([each[p].mean() for p in some]) for each in values.values())
        print(f"{title:37}" + "".join(f"{mean:19.3f}" for mean in means) + f"   {len(some)} cells")
    print_means(found, values)
    silent, right = silent_though_right(found, judged)
    print(f"silent though the first hit is right and {APART:g} spreads out: {silent} of {right}")
    bins = reliability(found, judged)
    told = ", ".join("{:.2f} {:.2f} {}".format(*each) for each in bins)
    print(f"relevance told, share right, hits: {told}")
    print(f"expected calibration error of the first ten hits {calibration_error(bins):.3f}")


def main() -> None:
    """Embed the datasets and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="as of index --model")
    add_arguments(parser)
    parser.add_argument("--count", type=int, default=24, help="queries of each cell")
    arguments = parser.parse_args()
    sets = datasets(arguments)
    if not sets:
        parser.error("give --captions, --nouns or --smart")
    found = cases(embed(arguments.model, sets), SIZES, arguments.count, MEASURED)
    print_figures(list(found))


if __name__ == "__main__":
    main()
