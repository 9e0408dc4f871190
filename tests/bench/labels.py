"""Measures classification on the drawn world: `cd tests && python -m bench.labels`.

The scenes were never trained. Each has one shape, so that colour, shape and background are one
label each. Everything runs through the functions of `classify`.
"""

from __future__ import annotations

import tempfile
from copy import copy
from itertools import islice
from pathlib import Path

import numpy as np

from qvsearch.demo.world import BACKGROUNDS, COLOURS, SHAPES, draw, film, note, scenes
from qvsearch.indexing.baseline_queries import queries
from qvsearch.library.library import Library
from qvsearch.models import registry
from qvsearch.models.prompt import DOCUMENT_INSTRUCTION, QUERY_INSTRUCTION
from qvsearch.runtime.local import LocalEmbedder
from qvsearch.tasks.agreement import set_scores
from qvsearch.tasks.labelling.classify import ClassifyOptions, zero_shot
from qvsearch.tasks.labelling.examples import by_examples, fit
from qvsearch.tasks.labelling.file_vectors import GivenVectors, Source
from qvsearch.tasks.labelling.labels import Label
from qvsearch.types import Detail, EmbedInput, Item, Kind, Segment

KINDS = (Kind.IMAGE, Kind.VIDEO, Kind.TEXT)
COUNT = 150  # scenes of one shape; 180 are held out
SEED = 30_000
BINS = 10  # of shares
REPEATS = 20
# published ones; the demo's model was trained with the first two only
INSTRUCTIONS = (
    DOCUMENT_INSTRUCTION,
    QUERY_INSTRUCTION,
    "Find images matching this description.",
    "Retrieve relevant passages.",
    "Classify the object in this image.",
)
LABELS = {
    "colour": {name: (f"something {name}", name) for name in COLOURS},
    "shape": {name: (f"a {name}",) for name in SHAPES},
    "background": {name: (name,) for name in BACKGROUNDS},
}


class World:
    """Held-out scenes of one shape as pictures, notes and films, with their vectors and labels."""

    def __init__(self, embedder, count=COUNT, kinds=KINDS):
        self.embedder, self.library = embedder, None
        rng = np.random.default_rng(SEED)
        single = (scene for scene in scenes(rng, held_out=True) if len(scene.things) == 1)
        self.scenes = list(islice(single, count))
        shown = {
            Kind.IMAGE: lambda scene: EmbedInput(images=(draw(scene, rng),)),
            Kind.VIDEO: lambda scene: EmbedInput(video=film(scene, rng)),
            Kind.TEXT: lambda scene: EmbedInput(text=note(scene, rng)),
        }
        self.vectors = {
            kind: embedder.embed([shown[kind](scene) for scene in self.scenes]) for kind in kinds
        }
        self.truth = {
            "colour": [scene.things[0].colour for scene in self.scenes],
            "shape": [scene.things[0].shape for scene in self.scenes],
            "background": [scene.background for scene in self.scenes],
        }
        asks = [EmbedInput(text=text, instruction=QUERY_INSTRUCTION) for text in queries("demo")]
        self.bank = embedder.embed(asks)

    def files(self, kind, rows=None):
        """The files of some scenes, each with one vector."""
        rows = range(len(self.scenes)) if rows is None else rows
        pairs = [(Source(b"%d" % row, kind), self.vectors[kind][row, None]) for row in rows]
        return GivenVectors(pairs, lambda: self.bank, self.library)

    def beside_a_library(self, folder):
        """Return the second half of the scenes as given pictures; the first half is a library."""
        half = len(self.scenes) // 2
        vectors = self.vectors[Kind.IMAGE]
        model = registry.fingerprint(self.embedder.weights, self.embedder.dim, Detail.LOW)
        library = Library.create(folder, model)
        library.add_root(b"/root")
        library.set_baseline(self.bank)
        items = [Item(b"/root", b"%d.jpg" % row, Kind.IMAGE, 1, 1) for row in range(half)]
        library.add([Segment(item, "") for item in items], vectors[:half])
        other = copy(self)
        other.scenes, other.vectors = self.scenes[half:], {Kind.IMAGE: vectors[half:]}
        other.truth = {task: labels[half:] for task, labels in self.truth.items()}
        other.library = library
        return other

    def chosen(self, files, names, task, **options):
        labels = [Label(name, LABELS[task][name]) for name in names]
        return zero_shot(files, labels, self.embedder, ClassifyOptions(**options))


def by_words(world, kind, task, instruction=DOCUMENT_INSTRUCTION):
    """Return the scores of a task with labels in words."""
    results = world.chosen(world.files(kind), LABELS[task], task, instruction=instruction)
    return set_scores(
        [({each.label}, {true}) for each, true in zip(results, world.truth[task], strict=True)]
    )


def calibration_error(world, kind=Kind.IMAGE):
    """Return the expected calibration error of the scores (Guo et al. 2017), over all tasks."""
    shares, right = [], []
    for task, labels in LABELS.items():
        results = world.chosen(world.files(kind), labels, task)
        shares += [each.score for each in results]
        right += [each.label == true for each, true in zip(results, world.truth[task], strict=True)]
    places = np.minimum(np.array(shares) * BINS, BINS - 1).astype(int)
    gaps = [
        (places == place).mean()
        * abs(np.mean(shares, where=places == place) - np.mean(right, where=places == place))
        for place in np.unique(places)
    ]
    return float(np.sum(gaps))


def unsure(world, task, size=None, kind=Kind.IMAGE, repeats=REPEATS):
    """Return what `--unsure` does if only half of the labels are given, to files of any label.

    The accuracy, in which no label is right for the other files, and without the option; the share
    of labelled files among those with a given label, and among the others.
    """
    rng = np.random.default_rng(SEED)
    truth, labels = np.array(world.truth[task]), list(LABELS[task])
    right, plain, kept = [], [], {True: [], False: []}
    for _ in range(repeats):
        known = [labels[place] for place in rng.permutation(len(labels))[: len(labels) // 2]]
        rows = rng.permutation(len(truth))[:size]
        files = world.files(kind, rows)
        results = world.chosen(files, known, task, unsure=True)
        for each, true in zip(results, truth[rows], strict=True):
            right.append(each.label == (true if true in known else None))
            plain.append(each.candidates[0].label == true)
            kept[true in known].append(each.label is not None)
    return tuple(float(np.mean(each)) for each in (right, plain, kept[True], kept[False]))


def films(world, task, moments=3, repeats=200):
    """Return how often a film with most moments of one label gets it, and by its best moment."""
    rng = np.random.default_rng(SEED)
    truth, labels, vectors = (
        np.array(world.truth[task]),
        list(LABELS[task]),
        world.vectors[Kind.IMAGE],
    )
    pairs, parts, wanted = [], [], []
    for number in range(repeats):
        most = labels[rng.integers(len(labels))]
        same = rng.choice(np.flatnonzero(truth == most), moments - 1)
        rows = [*same, rng.choice(np.flatnonzero(truth != most))]
        pairs.append((Source(b"%d" % number, Kind.VIDEO), vectors[rows]))
        parts += [(Source(b"%d" % number, Kind.VIDEO), vectors[row, None]) for row in rows]
        wanted.append(most)
    whole = world.chosen(GivenVectors(pairs, lambda: world.bank), labels, task)
    single = world.chosen(GivenVectors(parts, lambda: world.bank), labels, task)
    best = [
        max(single[start : start + moments], key=lambda each: each.score).label
        for start in range(0, len(single), moments)
    ]
    by_mean = [each.label == true for each, true in zip(whole, wanted, strict=True)]
    return float(np.mean(by_mean)), float(
        np.mean([one == true for one, true in zip(best, wanted, strict=True)])
    )


def by_example(world, task, count, kind=Kind.IMAGE):
    """Return the accuracy with `count` examples a label, of the chosen and of both classifiers.

    And the shares of labelled files with `--unsure`, of a label with examples and of others.
    """
    truth, labels = np.array(world.truth[task]), list(LABELS[task])
    known, examples, others = labels[:-2], [], []
    for place, name in enumerate(known):
        rows = np.flatnonzero(truth == name)
        examples += [(world.vectors[kind][row], place) for row in rows[:count]]
        others += rows[count:].tolist()
    fitted = fit(examples, [Label(name, (name,)) for name in known])
    results = by_examples(world.files(kind, others), fitted, unsure=False)
    right = [each.label == truth[row] for each, row in zip(results, others, strict=True)]
    kept = by_examples(world.files(kind, others), fitted, unsure=True)
    foreign = np.flatnonzero(np.isin(truth, labels[-2:])).tolist()
    strange = by_examples(world.files(kind, foreign), fitted, unsure=True)
    return (
        fitted,
        float(np.mean(right)),
        float(np.mean([each.label is not None for each in kept])),
        float(np.mean([each.label is not None for each in strange])),
    )


def print_words(world):
    print(f"{'labels in words':22}{'accuracy':>9}{'macro-F1':>10}")
    for task in LABELS:
        for kind in world.vectors:
            scores, name = by_words(world, kind, task), f"{task}, {kind}"
            print(f"{name:22}{scores.accuracy:9.3f}{scores.macro_f1:10.3f}")
    print(
        f"\n{'accuracy of pictures by instruction':56}" + "".join(f"{each:>12}" for each in LABELS)
    )
    for instruction in INSTRUCTIONS:
        scores = [by_words(world, Kind.IMAGE, task, instruction) for task in LABELS]
        print(f"{instruction:56}" + "".join(f"{each.accuracy:12.3f}" for each in scores))
    print(f"\ncalibration error of the score: {calibration_error(world):.3f}")
    print(f"\n{'films of 3 moments':22}{'mean':>9}{'best':>9}")
    for task in LABELS:
        mean, best = films(world, task)
        print(f"{task:22}{mean:9.3f}{best:9.3f}")


def print_unsure(world, sizes, where, repeats):
    for task in LABELS:
        for size in sizes:
            right, plain, given, strange = unsure(world, task, size, repeats=repeats)
            name = f"{task}, {size or COUNT} {where}"
            print(f"{name:28}{right:9.3f}{plain:9.3f}{given:8.3f}{strange:8.3f}")


def print_examples(world):
    print(f"\n{'examples':22}{'accuracy':>9}{'given':>8}{'others':>8}  cross-validation")
    for task in LABELS:
        for count in (3, 6, 12):
            fitted, right, given, strange = by_example(world, task, count)
            parts = [f"{each.classifier} {each.scores.accuracy:.3f}" for each in fitted.validations]
            name = f"{task}, {count} each"
            print(f"{name:22}{right:9.3f}{given:8.3f}{strange:8.3f}  {', '.join(parts)}")


def main():
    world = World(LocalEmbedder("demo"))
    print(f"{COUNT} held-out scenes of one shape\n")
    print_words(world)
    print("\n--unsure, half of the labels given")
    print(f"{'':28}{'accuracy':>9}{'without':>9}{'given':>8}{'others':>8}")
    print_unsure(world, (None, 30, 10, 3), "files", REPEATS)
    with tempfile.TemporaryDirectory() as folder:
        beside = world.beside_a_library(Path(folder) / "library")
        print_unsure(beside, (10, 3), "and a library", 2 * REPEATS)
    print_examples(world)


if __name__ == "__main__":
    main()
