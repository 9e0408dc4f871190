"""mteb accepts the embedder as a model; its scores are those of our own measures."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from support.evaluation_sets import world

from qvsearch.errors import QvsearchError
from qvsearch.types import EmbedInput

pytestmark = [
    pytest.mark.mteb,
    # libraries that mteb imports warn of one another
    pytest.mark.filterwarnings("default"),
]

WORLD = world(count=10)
COMMON = {
    "dataset": {"path": "none", "revision": "1"},
    "description": "drawn scenes",
    "eval_langs": ["eng-Latn"],
    "eval_splits": ["test"],
}


@pytest.fixture(scope="module")
def mteb():
    return pytest.importorskip("mteb")


@pytest.fixture(scope="module")
def encoder(mteb):
    from qvsearch.mteb import Encoder

    return Encoder("demo", device="cpu")


def task_of(base, kind, score, data, modalities=("text",), category="t2t", name="Drawn", **more):
    """A task of mteb whose data are here, and not on a hub."""
    from mteb.abstasks.task_metadata import TaskMetadata

    class Task(base):
        metadata = TaskMetadata(
            name=f"{name}{kind}",
            type=kind,
            main_score=score,
            modalities=list(modalities),
            category=category,
            **COMMON,
            **more,
        )

        def load_data(self, **_):
            self.dataset, self.data_loaded = data(), True

    return Task()


def retrieval(corpus):
    from datasets import Dataset

    def data():
        count = len(WORLD.scenes)
        queries = Dataset.from_dict(
            {"id": [f"q{n}" for n in range(count)], "text": WORLD.captions["en"]}
        )
        columns = {"id": [f"d{n}" for n in range(count)], **corpus}
        split = {
            "corpus": Dataset.from_dict(columns),
            "queries": queries,
            "relevant_docs": {f"q{n}": {f"d{n}": 1} for n in range(count)},
            "top_ranked": None,
        }
        return {"default": {"test": split}}

    return data


def recall(encoder, instruction, documents):
    queries = [EmbedInput(text, instruction=instruction) for text in WORLD.captions["en"]]
    scores = encoder.embedder.embed(queries) @ encoder.embedder.embed(documents).T
    return (scores.argmax(axis=1) == np.arange(len(queries))).mean()


def test_texts_are_retrieved_with_the_tasks_instruction(mteb, encoder, tmp_path):
    from mteb.abstasks import AbsTaskRetrieval

    from qvsearch.mteb import run

    asked = []
    embed = encoder.embedder.embed

    class Recording:
        dim = encoder.embedder.dim

        def embed(self, inputs):
            asked.extend(each.instruction for each in inputs)
            return embed(inputs)

    prompt = {"query": "Find the note of this scene."}
    corpus = {"text": WORLD.notes, "title": [""] * len(WORLD.notes)}
    task = task_of(AbsTaskRetrieval, "Retrieval", "recall_at_1", retrieval(corpus), prompt=prompt)
    own, encoder.embedder = encoder.embedder, Recording()
    try:
        [(name, score)] = run([task], encoder, tmp_path)
    finally:
        encoder.embedder = own
    assert (name, set(asked)) == ("DrawnRetrieval", {None, prompt["query"]})
    documents = [EmbedInput(text) for text in WORLD.notes]
    assert score == pytest.approx(recall(encoder, prompt["query"], documents))
    (written,) = tmp_path.rglob("DrawnRetrieval.json")
    assert json.loads(written.read_text())["scores"]["test"][0]["main_score"] == score
    assert "qvsearch__demo" in str(written)


def test_pictures_are_retrieved_by_words(encoder, tmp_path):
    from mteb.abstasks import AbsTaskRetrieval

    from qvsearch.mteb import run

    task = task_of(
        AbsTaskRetrieval,
        "Any2AnyRetrieval",
        "recall_at_1",
        retrieval({"image": WORLD.pictures}),
        ("text", "image"),
        "t2i",
        prompt={"query": "Find images matching this description."},
    )
    [(_, score)] = run([task], encoder, tmp_path)
    documents = [EmbedInput(images=(picture,)) for picture in WORLD.pictures]
    assert score == recall(encoder, "Find images matching this description.", documents)


def test_similarity_and_classification_run(encoder, tmp_path):
    from datasets import Dataset, DatasetDict
    from mteb.abstasks import AbsTaskClassification, AbsTaskSTS

    from qvsearch.mteb import run

    def pairs():
        count = len(WORLD.scenes)
        one = WORLD.captions["en"]
        columns = {
            "sentence1": [*one, *one],
            "sentence2": [
                *WORLD.captions["es"],
                *WORLD.captions["es"][1:],
                WORLD.captions["es"][0],
            ],
            "score": [5.0] * count + [0.0] * count,
        }
        return DatasetDict(test=Dataset.from_dict(columns))

    def labelled():
        texts = [
            f"{a} {c} {s}"
            for a in ("a", "the")
            for c in ("red", "blue")
            for s in ("circle", "star", "ring", "square")
        ]
        columns = {"text": texts, "label": [int("blue" in text) for text in texts]}
        return DatasetDict(train=Dataset.from_dict(columns), test=Dataset.from_dict(columns))

    tasks = [
        task_of(AbsTaskSTS, "STS", "cosine_spearman", pairs),
        task_of(AbsTaskClassification, "Classification", "accuracy", labelled),
    ]
    scores = dict(run(tasks, encoder, tmp_path))
    assert scores["DrawnSTS"] > 0.8
    assert scores["DrawnClassification"] > 0.9


def test_sound_and_code_of_data_sets_are_refused(encoder, tmp_path, monkeypatch):
    from mteb.abstasks import AbsTaskRetrieval

    from qvsearch.mteb import run

    task = task_of(AbsTaskRetrieval, "Retrieval", "recall_at_1", dict, ("audio",), "a2t", "Loud")
    with pytest.raises(QvsearchError, match="LoudRetrieval has audio"):
        run([task], encoder, tmp_path)
    monkeypatch.setitem(COMMON, "dataset", {**COMMON["dataset"], "trust_remote_code": True})
    task = task_of(AbsTaskRetrieval, "Retrieval", "recall_at_1", dict, name="Code")
    with pytest.raises(QvsearchError, match="CodeRetrieval runs its data set's own code"):
        run([task], encoder, tmp_path)


def test_a_model_that_would_run_its_own_code_is_refused(mteb, tmp_path, tiny):
    import shutil

    from qvsearch.mteb import Encoder

    folder = shutil.copytree(tiny, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "x.Y"}}))
    with pytest.raises(QvsearchError, match="would run its own code"):
        Encoder(str(folder))
    with pytest.raises(QvsearchError, match="not other"):
        Encoder("demo", "other")


def test_the_program_names_what_is_wrong(mteb):
    command = [sys.executable, "-m", "qvsearch.mteb"]
    done = subprocess.run(
        [*command, "NoSuchTask", "--model", "demo"], capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 2
    assert "no such task" in done.stderr.splitlines()[-1]
