"""Each command of docs/evaluation.md runs on ten drawn scenes, in the files of the set it names."""

import csv
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from support.commands import home, records, run  # noqa: F401 - fixtures
from support.evaluation_sets import COUNT, world, write_beir, write_lines, write_pictures

from qvsearch.demo.show import write_world

PAGE = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text("utf-8")
COMMANDS = re.findall(r"^\$ qvsearch (evaluate .*)$", PAGE, re.M)
WORLD = world()


def write_table(path, rows, **form):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, **form).writerows(rows)


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), "utf-8")


def own_photos():
    write_pictures(Path("Photos"), WORLD)
    rows = [[text, f"{n}.png"] for n, text in enumerate(WORLD.captions["en"])]
    write_table(Path("queries.csv"), [["query", "file"], *rows])


def ag_news():
    """Notes by the background of their scene, which is their class."""
    Path("ag_news").mkdir()
    grounds = sorted({scene.background for scene in WORLD.scenes})
    Path("ag_news/classes.txt").write_text("".join(f"{each}\n" for each in grounds))
    rows = [
        [str(1 + grounds.index(scene.background)), "A drawing", text]
        for scene, text in zip(WORLD.scenes, WORLD.captions["en"], strict=True)
    ]
    for name in ("train.csv", "test.csv"):
        write_table(Path("ag_news", name), rows, quoting=csv.QUOTE_ALL)


def squad():
    paragraphs = [
        {"context": note, "qas": [{"id": str(n), "question": WORLD.captions["en"][n]}]}
        for n, note in enumerate(WORLD.notes)
    ]
    write_json(Path("dev-v1.1.json"), {"version": "1.1", "data": [{"paragraphs": paragraphs}]})


def ms_marco():
    folder = Path("msmarco")
    folder.mkdir()
    flat = [note.replace("\n", " ").replace("\t", " ") for note in WORLD.notes]
    (folder / "collection.tsv").write_text("".join(f"{n}\t{t}\n" for n, t in enumerate(flat)))
    texts = WORLD.captions["en"]
    (folder / "queries.dev.small.tsv").write_text(
        "".join(f"{n}\t{text}\n" for n, text in enumerate(texts))
    )
    (folder / "qrels.dev.small.tsv").write_text("".join(f"{n}\t0\t{n}\t1\n" for n in range(COUNT)))


def cifar():
    """The binary version, one batch, and the page's own lines to unpack it."""
    folder = Path("cifar-10-batches-bin")
    folder.mkdir()
    grounds = sorted({scene.background for scene in WORLD.scenes})
    (folder / "batches.meta.txt").write_text("\n".join(grounds))
    data = b""
    for scene, picture in zip(WORLD.scenes, WORLD.pictures, strict=True):
        small = np.asarray(picture.resize((32, 32)))
        data += bytes([grounds.index(scene.background)]) + np.moveaxis(small, -1, 0).tobytes()
    for name in ("data_batch_1.bin", "test_batch.bin"):
        (folder / name).write_bytes(data)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    exec(code, {})
    assert len(list(Path("cifar10/test").rglob("*.png"))) == COUNT


def vqa():
    folder = Path("vqav2")
    write_pictures(folder / "val2014", WORLD, "COCO_val2014_{:012}.png")
    questions = [
        {"question_id": 10 * n, "image_id": n, "question": "what is drawn?"} for n in range(COUNT)
    ]
    write_json(
        folder / "v2_OpenEnded_mscoco_val2014_questions.json",
        {"data_subtype": "val2014", "questions": questions},
    )
    answers = [
        {"question_id": 10 * n, "multiple_choice_answer": text}
        for n, text in enumerate(WORLD.captions["en"])
    ]
    write_json(folder / "v2_mscoco_val2014_annotations.json", {"annotations": answers})


def coco():
    write_pictures(Path("val2017"), WORLD)
    images = [{"id": n, "file_name": f"{n}.png"} for n in range(COUNT)]
    captions = [
        {"id": f"{n}{tongue}", "image_id": n, "caption": WORLD.captions[tongue][n]}
        for n in range(COUNT)
        for tongue in ("en", "es")
    ]
    write_json(Path("captions_val2017.json"), {"images": images, "annotations": captions})


def karpathy():
    write_pictures(Path("coco", "val2014"), WORLD)
    images = [
        {
            "filename": f"{n}.png",
            "filepath": "val2014",
            "split": "test",
            "sentences": [{"raw": WORLD.captions["en"][n]}],
        }
        for n in range(COUNT)
    ]
    write_json(Path("dataset_coco.json"), {"images": images, "dataset": "coco"})


def clips():
    """Three clips of three scenes each; what a scene is, is measured elsewhere."""
    write_world(Path("world"))
    Path("world/clips").rename("videos")


def ms_vtt():
    clips()
    rows = [[f"ret{n}", f"clip-{n}", "drawn things"] for n in (1, 2, 3)]
    write_table(Path("MSRVTT_JSFUSION_test.csv"), [["key", "video_id", "sentence"], *rows])


def moments():
    clips()
    lines = [
        {"qid": n, "query": "drawn things", "vid": f"clip-{n}", "relevant_windows": [[4, 8]]}
        for n in (1, 2, 3)
    ]
    write_lines(Path("highlight_val_release.jsonl"), lines)


def sts():
    texts = WORLD.captions["en"]
    lines = [
        f"main\tdrawn\t2012\t{n}\t{5 if m == n else 0}\t{texts[n]}\t{WORLD.captions['es'][m]}\n"
        for n in range(COUNT)
        for m in (n, n - 1)
    ]
    Path("sts-test.csv").write_text("".join(lines), "utf-8")


# the set of each command, the writer of its files, its main measure and the least value of it
SETS = {
    "queries.csv": (own_photos, "recall@1", 0.9),
    "ag_news": (ag_news, "probe_accuracy", 0.5),
    "dev-v1.1.json": (squad, "recall@1", 0.9),
    "msmarco": (ms_marco, "recall@1", 0.9),
    "scifact": (lambda: write_beir(Path("scifact"), WORLD, notes=range(COUNT)), "recall@1", 0.9),
    "cifar10": (cifar, "probe_accuracy", 0.3),
    "vqav2": (vqa, "recall@10", 1.0),  # the demo model was not trained with such instructions
    "captions_val2017.json": (coco, "recall@5", 0.9),
    "dataset_coco.json": (karpathy, "recall@1", 0.9),
    "pages": (lambda: write_beir(Path("pages"), WORLD, notes=()), "recall@1", 0.9),
    "MSRVTT_JSFUSION_test.csv": (ms_vtt, "recall@5", 1.0),
    "highlight_val_release.jsonl": (moments, "recall@10", 1.0),
    "sts-test.csv": (sts, "spearman", 0.8),
}


@pytest.mark.parametrize("line", COMMANDS)
def test_a_recipe_runs(line, home, run, monkeypatch):
    monkeypatch.chdir(home)
    words = shlex.split(line)
    write, measure, least = SETS[words[1]]
    write()
    reranker = ["--reranker", "demo-reranker"] if "--rerank" in words else []
    code, out, error = run(*words, "--model", "demo", "--json", *reranker)
    assert (code, error) == (0, "")
    results = records(out)
    assert results[0]["skipped"] == 0
    assert results[0]["metrics"][measure]["value"] >= least


def test_each_form_of_the_page_has_a_recipe():
    assert {shlex.split(line)[1] for line in COMMANDS} == set(SETS)
    assert "Find the answer to this question about the image." in PAGE
