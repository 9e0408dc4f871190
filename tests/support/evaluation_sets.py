"""Sets of ten drawn scenes, in the forms in which sets are published."""

import json
from dataclasses import dataclass
from itertools import islice

import numpy as np
from PIL import Image

from qvsearch.demo.world import Scene, caption, draw, note, scenes

COUNT = 10


@dataclass(frozen=True)
class World:
    """Scenes that the demo model was not trained on, with a picture, a note and captions each."""

    scenes: list[Scene]
    pictures: list[Image.Image]
    notes: list[str]
    captions: dict[str, list[str]]


def world(seed=3, count=COUNT):
    rng = np.random.default_rng(seed)
    shown = list(islice(scenes(rng, held_out=True), count))
    return World(
        shown,
        [Image.fromarray(draw(scene, rng)) for scene in shown],
        [note(scene, rng) for scene in shown],
        {tongue: [caption(scene, rng, tongue) for scene in shown] for tongue in ("en", "es", "zh")},
    )


def write_lines(path, records):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(each)}\n" for each in records), "utf-8")


def write_pictures(folder, of, names="{}.png"):
    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(of.pictures):
        picture.save(folder / names.format(number))


def write_beir(folder, of, languages=("en",), notes=range(0, COUNT, 3)):
    """Captions look for a picture or, of the scenes in `notes`, for a note."""
    write_pictures(folder / "images", of)
    write_lines(
        folder / "corpus.jsonl",
        (
            {"_id": f"d{number}", "title": "", "text": of.notes[number]}
            if number in notes
            else {"_id": f"d{number}", "image": f"images/{number}.png"}
            for number in range(len(of.scenes))
        ),
    )
    queries = [
        {"_id": f"q{number}-{tongue}", "text": text, "language": tongue}
        for tongue in languages
        for number, text in enumerate(of.captions[tongue])
    ]
    write_lines(folder / "queries.jsonl", queries)
    (folder / "qrels").mkdir(exist_ok=True)
    lines = [f"{each['_id']}\td{each['_id'][1:].split('-')[0]}\t1\n" for each in queries]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))
    return folder
