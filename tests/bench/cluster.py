"""How well and how fast `cluster` groups: `python tests/bench/cluster.py`.

Groups of the demo's world: libraries of themes, which are a shape of a colour on a background, in
pictures, films and notes, beside scenes of no theme. The agreement with the themes is the adjusted
mutual information (AMI) and the adjusted Rand index (ARI), of density and of k-means with the true
number. A name is right if it is true of half of the group's scenes and of fewer of the others.

`--rows` adds the time and memory for vectors like those of tests/bench/million.py, and
`--exact` the agreement with scikit-learn's HDBSCAN on the full vectors.
"""

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

sys.path.insert(0, str(Path(__file__).parent))
import million

from qvsearch.demo.world import (
    BACKGROUNDS,
    COLOURS,
    PLACES,
    SHAPES,
    Part,
    Scene,
    Thing,
    draw,
    film,
    note,
    random_scene,
)
from qvsearch.indexing.baseline_queries import baseline_vectors
from qvsearch.library.library import Library
from qvsearch.models.registry import fingerprint, resolve
from qvsearch.runtime.local import LocalEmbedder
from qvsearch.tasks.grouping import item_vectors, vector_groups
from qvsearch.tasks.grouping.cluster import ClusterOptions, cluster
from qvsearch.tasks.grouping.outliers import outliers
from qvsearch.types import Detail, EmbedInput, Item, Kind, Segment, Stored

GROUNDS = dict(
    grass="grass", sand="sand", water="water", night="night", brick="bricks", snow="snow"
)
FILM_SCENES = 3  # of one theme in a film


def pick(rng, values):
    return list(values)[int(rng.integers(len(values)))]


def themes(rng, count):
    found = {}
    while len(found) < count:
        found[pick(rng, BACKGROUNDS), pick(rng, SHAPES), pick(rng, COLOURS)] = None
    return list(found)


def scene_of(theme, rng):
    """A scene of a theme, with another thing in every second."""
    places = rng.permutation(list(PLACES))
    things = [Thing(str(places[0]), *theme[1:])]
    if rng.random() < 0.5:
        things.append(Thing(str(places[1]), pick(rng, SHAPES), pick(rng, COLOURS)))
    return Scene(theme[0], tuple(sorted(things)))


def source(kind, scene, rng):
    if kind is Kind.TEXT:
        return EmbedInput(text=note(scene, rng))
    if kind is Kind.VIDEO:
        return EmbedInput(video=film(scene, rng))
    return EmbedInput(images=(draw(scene, rng),))


def world(rng, count, files, apart):
    """Yield theme (-1 for none), kind and scenes of each file; a tenth are films, a third notes."""
    for number, theme in enumerate(themes(rng, count)):
        for place in range(int(files * rng.uniform(0.5, 1.5))):
            kind = (Kind.IMAGE, Kind.TEXT, Kind.IMAGE)[place % 3] if place % 10 else Kind.VIDEO
            scenes = FILM_SCENES if kind is Kind.VIDEO else 1
            yield number, kind, [scene_of(theme, rng) for _ in range(scenes)]
    for place in range(apart):
        yield -1, Kind.TEXT if place % 3 == 1 else Kind.IMAGE, [random_scene(rng)]


def demo_library(folder, embedder, rng, files, gap=0.0, store=Stored.FLOAT16):
    """A library of a world; `gap` moves the vectors of notes away from those of pictures."""
    made = fingerprint(resolve("demo", "huggingface"), embedder.dim, Detail.LOW)
    library = Library.create(folder, made, store)
    library.add_root(b"/world")
    segments, sources = [], []
    for number, (_, kind, scenes) in enumerate(files):
        item = Item(b"/world", b"%d" % number, kind, 1, number)
        for place, scene in enumerate(scenes):
            start = float(place) if kind is Kind.VIDEO else None
            end = None if start is None else start + 1
            segments.append(Segment(item, str(number), start, end))
            sources.append(source(kind, scene, rng))
    vectors = np.concatenate(
        [embedder.embed(sources[start : start + 64]) for start in range(0, len(sources), 64)]
    )
    if gap:
        away = rng.standard_normal(vectors.shape[1])
        away *= gap / np.linalg.norm(away)
        texts = np.array([each.item.kind is Kind.TEXT for each in segments])
        vectors[texts] += away.astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    library.set_baseline(baseline_vectors(embedder, made))
    library.add(segments, vectors)
    library.commit()
    return library


def part_of(phrase):
    """The things and the background that a phrase of the baseline names."""
    words = phrase.replace(",", " ").split()
    grounds = [ground for word, ground in GROUNDS.items() if word in phrase.split(" square")[0]]
    things = []
    for place, word in enumerate(words):
        if word in COLOURS:
            shape = words[place + 1] if words[place + 1 : place + 2] != [] else None
            things.append(Part(colour=word, shape=shape if shape in SHAPES else None))
        elif word in SHAPES and (not place or words[place - 1] not in COLOURS):
            things.append(Part(shape=word))
    # white snow, green grass, yellow sand and blue water are grounds
    things = [each for each in things if each.shape or not grounds]
    return [*things, *(Part(background=each) for each in grounds[:1])]


def is_true(phrase, scenes):
    return any(all(part.fits(scene) for part in part_of(phrase)) for scene in scenes)


def agreement(library, files, options):
    """AMI and ARI with the themes, groups, share in no group, and of names: right and all."""
    clusters = cluster(library, None, None, options)
    truth = [theme for theme, _, _ in files]
    found = np.full(len(files), -2)
    right = named = 0
    for each in clusters:
        places = [int(item.segment.item.path) for item in each.items]
        found[places] = each.id
        if each.name is not None:
            named += 1
            true = np.array([is_true(each.name.text, scenes) for _, _, scenes in files])
            inside = np.zeros(len(files), np.bool_)
            inside[places] = True
            right += bool(0.5 <= true[inside].mean() > true[~inside].mean())
    return (
        adjusted_mutual_info_score(truth, found),
        adjusted_rand_score(truth, found),
        sum(each.id >= 0 for each in clusters),
        float((found == -1).mean()),
        right,
        named,
    )


def quality(embedder, folder, worlds, sizes):
    for count, size, apart in sizes:
        rows = {}
        for seed in range(worlds):
            rng = np.random.default_rng(seed)
            files = list(world(rng, count, size, apart))
            for gap in (0.0, 0.7):
                library = demo_library(folder / f"{count}-{seed}-{gap}", embedder, rng, files, gap)
                for how, options in (
                    ("density", ClusterOptions(dedupe=False)),
                    ("k-means", ClusterOptions(groups=count, dedupe=False)),
                ):
                    rows.setdefault((how, gap), []).append(agreement(library, files, options))
                if not gap:
                    apart_found = outliers(library, dedupe=False)
                    true = [files[int(each.segment.item.path)][0] == -1 for each in apart_found]
                    rows.setdefault(("outliers", gap), []).append((sum(true), len(true)))
        for (how, gap), numbers in rows.items():
            title = f"{count} themes, {len(files)} files, {how}{', notes moved' if gap else ''}"
            if how == "outliers":
                right, listed = np.sum(numbers, axis=0)
                print(f"{title}: {right} of {listed} listed have no theme, of {apart * worlds}")
                continue
            ami, ari, groups, none, *_ = np.mean(numbers, axis=0)
            right, named = np.sum(numbers, axis=0)[-2:]
            print(
                f"{title}: AMI {ami:.2f}  ARI {ari:.2f}  {groups:.0f} groups"
                f"  {none:.0%} in none  names {right:.0f} right of {named:.0f}"
            )


def big(folder, rows):
    """Time and memory of a library of vectors as of million.py, in a process of its own."""
    library = Library.open(folder / "library")
    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.perf_counter()
    clusters = cluster(library)
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(
        f"{rows:,} x {million.DIM}: {wall:.0f} s, {cpu:.0f} s of processors,"
        f" {after.ru_maxrss / 1024:,.0f} MB at most, {sum(e.id >= 0 for e in clusters)} groups"
    )
    started = time.perf_counter()
    found = outliers(library)
    print(f"{rows:,} outlier factors: {time.perf_counter() - started:.0f} s, {len(found)} listed")


def exact_agreement(library):
    """AMI with scikit-learn's HDBSCAN on the full vectors, smoothed and as they are."""
    from sklearn.cluster import HDBSCAN

    items = item_vectors.library_items(library, library.columns.live, dedupe=False)
    size = vector_groups.default_size(len(items))
    space = item_vectors.space_of(library, items)
    ours = vector_groups.density_groups(item_vectors.item_vectors(library, items, space), size)
    full = item_vectors.item_vectors(library, items, item_vectors.Space(space.means, None))
    # cosines of all pairs, without an inverted file
    places = np.argpartition(-(full @ full.T), 14, axis=1)[:, : vector_groups.NEIGHBOURS]
    smooth = vector_groups.unit(full[places].mean(axis=1))
    for name, vectors in (("smoothed", smooth), ("not smoothed", full)):
        # of unit vectors Euclidean distances order as cosines do
        hdbscan = HDBSCAN(min_cluster_size=size, min_samples=5, algorithm="brute", copy=True)
        exact = vector_groups.settled(full, hdbscan.fit_predict(vectors).astype(np.int64))
        ami = adjusted_mutual_info_score(exact, ours)
        print(
            f"{len(items):,} files, HDBSCAN on full vectors, {name}: AMI {ami:.2f},"
            f" {exact.max() + 1} groups, {np.mean(exact < 0):.0%} in none;"
            f" ours {ours.max() + 1} groups, {np.mean(ours < 0):.0%}"
        )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--worlds", type=int, default=3, help="of each size")
    parser.add_argument("--tiny", action="store_true", help="one small size only")
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--exact", type=int, default=0, help="rows to compare with HDBSCAN")
    asked = parser.parse_args()
    sizes = [(3, 8, 3)] if asked.tiny else [(6, 12, 10), (12, 40, 50), (25, 60, 150)]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if asked.worlds:
            quality(LocalEmbedder("demo", "cpu", "float32"), folder, asked.worlds, sizes)
        if asked.exact:
            (folder / "exact").mkdir()
            million.fill(folder / "exact", asked.exact, mixed=False)
            exact_agreement(Library.open(folder / "exact" / "library"))
        if asked.rows:
            (folder / "big").mkdir()
            million.fill(folder / "big", asked.rows, mixed=False)
            alone = multiprocessing.get_context("spawn").Process(
                target=big, args=(folder / "big", asked.rows)
            )
            alone.start()
            alone.join()


if __name__ == "__main__":
    main()
